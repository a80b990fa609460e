"""What a network claims its derivatives to be: the things that are checked.

What belongs here: the claimed gradient brought to one form, whatever form it came in, and what
rounding may have made of it. What does not: whether it is right (elements.py, taylor.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fastbp.check.numeric.callables import called
from fastbp.check.paper.model import Model
from fastbp.check.subject import (
    FROZEN,
    NetworkSubject,
    ObjectSubject,
    Subject,
    Tensor,
    penalised,
)

Array = np.ndarray
Given = Array | Sequence[Array] | Callable[..., Array | Sequence[Array]] | None


@dataclass(frozen=True)
class Claim:
    """A gradient of `net`'s loss that may be wrong.

    Attributes
    ----------
    net : Network or anybody's object
    subject : Subject
        Its loss.
    gradient : ndarray (n_parameters,), float64
    own : bool
        Whether it is the network's, whose deltas and dC/dx are then claimed too.
    notes : tuple of str
        What is wrong with its shape, and where it is not finite.
    """

    net: Any
    subject: Subject
    gradient: Array
    own: bool
    notes: tuple[str, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which the claim was computed, as far as that is known."""
        known = isinstance(self.subject, NetworkSubject)
        return self.net.dtype if known else np.dtype(np.float64)

    @cached_property
    def model(self) -> Model | None:
        """The network on paper, where its architecture is told."""
        subject = self.subject
        tensors = [subject.parameters[t.part].reshape(t.shape) for t in subject.tensors]
        if isinstance(subject, NetworkSubject):
            return Model(
                subject.twin.architecture, tensors, subject.X, subject.Y,
                subject.sample_weight, subject.l2, subject.l1, subject.decays,
            )  # fmt: skip
        assert isinstance(subject, ObjectSubject)
        architecture = getattr(self.net, "architecture", None)
        unknown = subject.options.keys() & FROZEN
        if not isinstance(architecture, dict) or len(subject.tensors) < 2 or unknown:
            return None
        options = subject.options
        names = [tensor.name for tensor in subject.tensors]
        return Model(
            architecture, tensors, subject.X, subject.Y,
            options.get("sample_weight"), options.get("l2", 0.0), options.get("l1", 0.0),
            penalised(names, options["decays"]) if "decays" in options else None,
        )  # fmt: skip

    @cached_property
    def rounding(self) -> tuple[Array, list[Array], Array]:
        """What rounding may have made of gradient (flat), deltas and dC/dx; infinite: anything."""
        if not isinstance(self.subject, NetworkSubject) or self.model is None:
            largest = np.abs(self.gradient[np.isfinite(self.gradient)]).max(initial=0.0)
            flat = np.full(self.gradient.shape, 32 * float(np.finfo(self.dtype).eps) * largest)
            return flat, [], np.zeros(0)
        nablas, deltas, of_inputs = self.model.rounding(self.dtype)
        return np.concatenate([nabla.ravel() for nabla in nablas]), deltas, of_inputs


def claimed(
    net: Any, subject: Subject, given: Given, X: Any, Y: Any, options: dict[str, Any]
) -> Claim:
    """The claim of `given`, or of net.gradient(X, Y, **options)."""
    name = "net: gradient" if given is None else "gradient"
    if given is None:
        value = net.gradient(X, Y, **options)
    else:
        expected = "gradient: expected a function of X and Y"
        value = called(given, expected, X, Y) if callable(given) else given
    size = subject.parameters.size
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.dtype != object:
        if value.shape != (size,):
            raise ValueError(f"{name}: expected shape ({size},); got {value.shape}")
        flat = _numbers(value, name)
        return Claim(net, subject, flat, given is None, _not_finite(flat, subject.tensors))
    if not isinstance(value, Sequence) or isinstance(value, str | bytes):
        raise TypeError(
            f"{name}: expected a flat array or a list of arrays; got {type(value).__name__}"
        )
    tensors = subject.tensors
    if len(value) != len(tensors):
        names = ", ".join(t.name for t in tensors)
        raise ValueError(f"{name}: expected {len(tensors)} arrays, {names}; got {len(value)}")
    parts = [_part(_numbers(a, name), t, name) for t, a in zip(tensors, value, strict=True)]
    notes = tuple(
        f"The gradient of {t.name} is transposed: its shape is {t.shape[::-1]}, that of {t.name} "
        f"is {t.shape}."
        for t, (_, turned) in zip(tensors, parts, strict=True)
        if turned
    )
    flat = np.concatenate([array.ravel() for array, _ in parts])
    return Claim(net, subject, flat, given is None, notes + _not_finite(flat, tensors))


def _not_finite(flat: Array, tensors: Sequence[Tensor]) -> tuple[str, ...]:
    """Which tensors have NaN or infinite numbers, how many, and the first."""
    notes = []
    for tensor in tensors:
        values = flat[tensor.part]
        bad = np.flatnonzero(~np.isfinite(values))
        if not len(bad):
            continue
        kinds = (("NaN", np.isnan(values)), ("infinity", np.isinf(values)))
        what = " and ".join(word for word, there in kinds if there.any())
        at = ", ".join(map(str, map(int, np.unravel_index(int(bad[0]), tensor.shape))))
        notes.append(
            f"The gradient of {tensor.name} has {what} in {len(bad):,} of {tensor.size:,} "
            f"elements, first at [{at}]."
        )
    return tuple(notes)


def _numbers(value: Any, name: str) -> Array:
    array = np.asarray(value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name}: expected real numbers; got dtype {array.dtype}")
    return array.astype(np.float64)


def _part(array: Array, tensor: Tensor, name: str) -> tuple[Array, bool]:
    """The array in the tensor's shape, and whether it had to be turned."""
    if array.shape == tensor.shape or array.shape == (1, *tensor.shape):
        return array, False
    if array.shape == tensor.shape[::-1]:
        return array.T, True
    raise ValueError(f"{name}: expected shape {tensor.shape} for {tensor.name}; got {array.shape}")
