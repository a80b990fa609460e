"""What a function is asked at: arrays, or a structure of arrays, as one flat vector and back.

What belongs here: x in the form it came in, names and places of its elements, a gradient read in
the same form. What does not: what f and its gradient say there (function.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.check.numeric.callables import UncheckableError
from fastbp.check.numeric.differences import EPSILON
from fastbp.functions import shown
from fastbp.inputs import ArrayLike

Array = np.ndarray
# numbers, or lists and dictionaries of such
Nested = ArrayLike | Sequence[object] | Mapping[str, object] | Mapping[int, object]


@dataclass(frozen=True)
class _Branch:
    """A dict, list, tuple or namedtuple in x; a leaf is a position among the tensors."""

    build: Callable[[list[Any]], Any]
    name: str
    keys: list[Any]
    children: list[_Branch | int]
    is_dict: bool


class Variables:
    """x as one flat array, and back.

    Attributes
    ----------
    names, shapes : list
        Of its tensors.
    parts : list of slice
        Where each tensor lies in `flat`.
    flat, scale, size : ndarray (n,)
        x; a length on which f may vary, at least that of a typical element of the tensor; that of
        the element alone.
    """

    def __init__(self, x: Any) -> None:
        leaves: list[tuple[str, Any]] = []
        try:
            self._tree = _taken_apart(x, "x", leaves)
        except RecursionError:
            raise ValueError("x: expected no list or dict that holds itself; got one") from None
        self.names, items = [name for name, _ in leaves], [value for _, value in leaves]
        arrays = [
            inputs.as_numbers(v, name, np.dtype(np.float64))
            for v, name in zip(items, self.names, strict=True)
        ]
        self.scalars = [
            not isinstance(v, np.ndarray) and array.ndim == 0
            for v, array in zip(items, arrays, strict=True)
        ]
        self.shapes = [v.shape for v in arrays]
        ends = np.cumsum([0, *(v.size for v in arrays)]).tolist()
        if not ends[-1]:
            raise ValueError(f"x: expected at least one number; got {x!r}")
        self.parts = [slice(*pair) for pair in pairwise(ends)]
        self.flat = np.concatenate([v.ravel() for v in arrays])
        self.scale, self.size = np.empty(self.flat.size), np.empty(self.flat.size)
        for part in self.parts:  # an element of 0 takes that of its tensor
            size = np.abs(self.flat[part])
            typical = np.median(size[size > 0]) if size.any() else 1.0
            self.scale[part] = np.clip(np.maximum(size, typical), 1e-150, 1e150)
            self.size[part] = np.clip(np.where(size > 0, size, typical), 1e-300, 1e150)

    def build(self, flat: Array) -> Any:
        """The structure of x, filled with copies of `flat`."""
        items: list[Any] = [
            flat[part.start] if scalar else flat[part].reshape(shape).copy()
            for part, shape, scalar in zip(self.parts, self.shapes, self.scalars, strict=True)
        ]
        return _put_together(self._tree, items)

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
        items = _items(self._tree, gradient)
        for name, shape, item in zip(self.names, self.shapes, items, strict=True):
            of = name.replace("x", "grad", 1)
            try:
                array = np.asarray(item)
            except Exception as error:
                raise UncheckableError(f"{of}: expected an array; {error}") from error
            if array.dtype.kind not in "fiub" and "float" not in str(array.dtype):
                got = shown(item) if array.size == 1 else f"an array of dtype {array.dtype}"
                raise UncheckableError(f"{of}: expected real numbers; got {got}")
            if array.shape != shape and array.shape == shape[::-1]:
                transposed.append(name)
                array = array.T
            if array.shape != shape:
                raise UncheckableError(
                    f"{of}: expected shape {shape}, that of {name}; got {array.shape}"
                )
            epsilons.append(_epsilon(array.dtype))
            with np.errstate(over="ignore"):  # of a longer type: counted as infinite
                arrays.append(array.astype(np.float64).ravel())
        return np.concatenate(arrays), transposed, epsilons


def _is_structure(x: Any) -> bool:
    """Whether x is no array itself: it holds arrays or dicts, or rows of unequal length."""
    if isinstance(x, Mapping):
        return True
    if not isinstance(x, (list, tuple)):
        return False
    if hasattr(x, "_fields") or any(getattr(v, "shape", ()) or _is_structure(v) for v in x):
        return True
    try:
        np.asarray(x)
    except ValueError:
        return True
    return False


def _taken_apart(x: Any, name: str, leaves: list[tuple[str, Any]]) -> _Branch | int:
    """The structure of x; its arrays are appended to `leaves`."""
    if not _is_structure(x):
        leaves.append((name, x))
        return len(leaves) - 1
    build: Callable[[list[Any]], Any]
    if isinstance(x, Mapping):
        keys, values = list(x), [x[key] for key in x]
        build = partial(_as_dict, keys)
    else:
        keys, values = list(range(len(x))), list(x)
        named = partial(_as_namedtuple, type(x)) if hasattr(x, "_fields") else None
        build = named or (tuple if isinstance(x, tuple) else list)
    names = [f".{key}" for key in getattr(x, "_fields", ())] or [f"[{key!r}]" for key in keys]
    children = [
        _taken_apart(value, name + step, leaves) for value, step in zip(values, names, strict=True)
    ]
    return _Branch(build, name, keys, children, isinstance(x, Mapping))


def _as_dict(keys: list[Any], items: list[Any]) -> dict[Any, Any]:
    return dict(zip(keys, items, strict=True))


def _as_namedtuple(kind: type, items: list[Any]) -> Any:
    return kind(*items)


def _put_together(tree: _Branch | int, items: list[Any]) -> Any:
    if isinstance(tree, int):
        return items[tree]
    return tree.build([_put_together(child, items) for child in tree.children])


def _items(tree: _Branch | int, result: Any) -> Iterator[Any]:
    """The tensors of a gradient, in x's order."""
    if isinstance(tree, int):
        yield result
        return
    of, like = tree.name.replace("x", "grad", 1), tree.name
    if tree.is_dict:
        if not isinstance(result, Mapping) or set(result) != set(tree.keys):
            got = list(result) if isinstance(result, Mapping) else type(result).__name__
            raise UncheckableError(
                f"{of}: expected a dict with the keys {tree.keys}, as {like} has; got {got}"
            )
    elif not isinstance(result, (list, tuple)) or len(result) != len(tree.keys):
        got = f"{len(result)}" if isinstance(result, (list, tuple)) else type(result).__name__
        raise UncheckableError(
            f"{of}: expected a list or tuple of {len(tree.keys)} arrays, as {like} is; got {got}"
        )
    for key, child in zip(tree.keys, tree.children, strict=True):
        yield from _items(child, result[key])


def _epsilon(dtype: Any) -> float:
    if dtype.kind == "f":
        return max(float(np.finfo(dtype).eps), EPSILON)
    return EPSILON if dtype.kind in "iub" else 2.0**-7  # bfloat16 and smaller, of other packages
