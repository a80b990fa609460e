"""What a function is asked at: arrays, or a structure of arrays, as one flat vector and back.

What belongs here: x in the form it came in, names and places of its elements, a gradient read in
the same form. What does not: what f and its gradient say there (function.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.check.callables import UncheckableError
from fastbp.check.differences import EPSILON

Array = np.ndarray


class Variables:
    """x as one flat array, and back.

    Attributes
    ----------
    names, shapes : list
        Of its tensors.
    parts : list of slice
        Where each tensor lies in `flat`.
    flat, scale : ndarray (n,)
        x, and a length on which f may vary.
    """

    def __init__(self, x: Any) -> None:
        self.kind, self.keys = _structure_of(x)
        items = [x[key] for key in self.keys] if self.kind else [x]
        self.names = [f"x[{key!r}]" for key in self.keys] if self.kind else ["x"]
        self.scalars = [not isinstance(v, np.ndarray) and np.ndim(v) == 0 for v in items]
        arrays = [
            inputs.as_numbers(v, name, np.dtype(np.float64))
            for v, name in zip(items, self.names, strict=True)
        ]
        self.shapes = [v.shape for v in arrays]
        ends = np.cumsum([0, *(v.size for v in arrays)]).tolist()
        if not ends[-1]:
            raise ValueError(f"x: expected at least one number; got {x!r}")
        self.parts = [slice(*pair) for pair in pairwise(ends)]
        self.flat = np.concatenate([v.ravel() for v in arrays])
        self.scale = np.empty(self.flat.size)
        for part in self.parts:  # an element of 0 takes that of its tensor
            size = np.abs(self.flat[part])
            typical = np.median(size[size > 0]) if size.any() else 1.0
            self.scale[part] = np.clip(np.maximum(size, typical), 1e-150, 1e150)

    def build(self, flat: Array) -> Any:
        """The structure of x, filled with copies of `flat`."""
        items: list[Any] = [
            flat[part.start] if scalar else flat[part].reshape(shape).copy()
            for part, shape, scalar in zip(self.parts, self.shapes, self.scalars, strict=True)
        ]
        if self.kind is None:
            return items[0]
        return dict(zip(self.keys, items, strict=True)) if self.kind is dict else self.kind(items)

    def tensor_of(self, flat: Array) -> Array:
        """Which tensor each of some flat indices lies in."""
        return np.searchsorted([part.stop for part in self.parts], flat, side="right")

    def picked(self, most: int) -> Array:
        """Flat indices of what is checked: whole small tensors, evenly spaced parts of large."""
        sizes = [part.stop - part.start for part in self.parts]
        chosen, left = [], most
        for done, t in enumerate(np.argsort(sizes, kind="stable")):
            share = min(sizes[t], max(1, left // (len(sizes) - done)))
            left -= share
            places = np.unique(np.linspace(0, sizes[t] - 1, share).astype(int))
            chosen.append(self.parts[t].start + places)
        return np.sort(np.concatenate(chosen))

    def name_of(self, flat: int) -> str:
        """Name and index of one element."""
        t = int(self.tensor_of(np.array(flat)))
        if not self.shapes[t]:
            return self.names[t]
        where = np.unravel_index(flat - self.parts[t].start, self.shapes[t])
        return f"{self.names[t]}[{', '.join(str(int(i)) for i in where)}]"

    def read(self, gradient: Any) -> tuple[Array, list[str], list[float]]:
        """A gradient in x's structure: flat; which tensors came transposed; their epsilons."""
        arrays, transposed, epsilons = [], [], []
        for name, shape, item in zip(self.names, self.shapes, self._items(gradient), strict=True):
            of = name.replace("x", "grad", 1)
            try:
                array = np.asarray(item)
            except Exception as error:
                raise UncheckableError(f"{of}: expected an array; {error}") from error
            if array.dtype.kind not in "fiub" and "float" not in str(array.dtype):
                got = repr(item) if array.size == 1 else f"an array of dtype {array.dtype}"
                raise UncheckableError(f"{of}: expected real numbers; got {got}")
            if array.shape != shape and array.shape == shape[::-1]:
                transposed.append(name)
                array = array.T
            if array.shape != shape:
                raise UncheckableError(
                    f"{of}: expected shape {shape}, that of {name}; got {array.shape}"
                )
            epsilons.append(_epsilon(array.dtype))
            arrays.append(array.astype(np.float64).ravel())
        return np.concatenate(arrays), transposed, epsilons

    def _items(self, result: Any) -> list[Any]:
        """The tensors of a gradient, in x's order."""
        if self.kind is None:
            return [result]
        if self.kind is dict:
            if not isinstance(result, Mapping) or set(result) != set(self.keys):
                got = list(result) if isinstance(result, Mapping) else type(result).__name__
                raise UncheckableError(
                    f"grad: expected a dict with the keys {self.keys}, as x has; got {got}"
                )
            return [result[key] for key in self.keys]
        if not isinstance(result, (list, tuple)) or len(result) != len(self.keys):
            got = f"{len(result)}" if isinstance(result, (list, tuple)) else type(result).__name__
            raise UncheckableError(
                f"grad: expected a list or tuple of {len(self.keys)} arrays, as x is; got {got}"
            )
        return list(result)


def _structure_of(x: Any) -> tuple[type | None, list[Any]]:
    if isinstance(x, Mapping):
        return dict, list(x)
    if isinstance(x, (list, tuple)) and any(getattr(v, "shape", ()) for v in x):
        return (tuple if isinstance(x, tuple) else list), list(range(len(x)))
    return None, []


def _epsilon(dtype: Any) -> float:
    if dtype.kind == "f":
        return max(float(np.finfo(dtype).eps), EPSILON)
    return EPSILON if dtype.kind in "iub" else 2.0**-7  # bfloat16 and smaller, of other packages
