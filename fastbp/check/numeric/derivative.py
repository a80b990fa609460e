"""Derivatives as intervals: what a function's values alone leave possible.

What belongs here: slopes by every variable, with their bounds, at kinks between the slopes of both
sides. What does not: how a slope is taken (differences.py), what is held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from fastbp.check.numeric.callables import Vector
from fastbp.check.numeric.differences import Change, noise_of, slopes
from fastbp.check.report import number

Array = np.ndarray

# Of the largest slope, beside the bounds, which once in thousands are a little too narrow: what two
# one-sided slopes have to differ by at a kink; a central one and that of a side.
SAME, ACROSS = 1e-6, 1e-4
SMALL = 2.0**-10  # an x_j below may need steps of its own size


@dataclass(frozen=True)
class Derivative:
    """Derivatives of m functions by k variables from values alone, arrays (k, m).

    Every number between `low` and `high`, `bound` more on either side, is right; the two differ
    where a kink is too near to be told from one at x, else both are `value`.
    """

    value: Array
    bound: Array
    low: Array
    high: Array
    kink: Array

    def part(self, of: Callable[[Array], Array]) -> Derivative:
        """The same of all arrays: transposed, the diagonal."""
        return Derivative(*(of(getattr(self, field.name)) for field in fields(self)))

    @property
    def of_one(self) -> Derivative:
        """Arrays (k,), where m is 1."""
        return self.part(lambda array: array[:, 0])

    @property
    def scale(self) -> float:
        """Size of the largest derivative that is known."""
        return float(np.abs(np.where(np.isfinite(self.value), self.value, 0.0)).max(initial=0.0))

    def excludes(self, claimed: Array, allowance: Array | float) -> Array:
        """Where a claimed derivative is wrong, by more than `allowance`; NaN is."""
        off = self.bound + allowance
        with np.errstate(invalid="ignore"):
            return ~((claimed >= self.low - off) & (claimed <= self.high + off))


def derivatives(
    change: Change, evaluate: Vector, x: Array, noise_of_value: float = 0.0
) -> Derivative:
    """Derivatives by every x_j.

    Parameters
    ----------
    change : callable (index (k,), values (k,)) -> (k,) or (k, m)
        As `fastbp.check.numeric.differences` has it.
    evaluate : callable x -> (m,)
        The functions themselves, for the noise of their values.
    noise_of_value : float
        What that noise is at least.

    Examples
    --------
    >>> f = lambda index, values: np.abs(values)
    >>> found = derivatives(f, lambda x: np.abs(x), np.zeros(1))
    >>> found.kink.item(), found.low.item(), found.high.item()
    (True, -1.0, 1.0)
    """
    ones = np.ones_like(x)
    with np.errstate(invalid="ignore", over="ignore"):
        # near the end of its domain, as log's, f varies with the size of x itself
        length = np.where((x != 0) & (np.abs(x) < SMALL), np.abs(x), 1.0)
        noise = np.maximum(noise_of(evaluate, x, length), noise_of_value)
        noise = np.where(np.isfinite(noise), noise, np.inf)
        found = slopes(change, x, np.arange(len(x)), scale=ones, noise=noise, enough=_enough)
        left = np.flatnonzero((length < 1) & ~np.isfinite(found.bound).all(axis=1))
        if len(left):
            finer = slopes(change, x, left, scale=length, noise=noise, enough=_enough)
            found.take_better(left, finer)
        low, high = np.minimum(found.left, found.right), np.maximum(found.left, found.right)
        bound = np.maximum(found.left_bound, found.right_bound)
        size = np.maximum(np.abs(low), np.abs(high))
        scale = size[bound <= 1e-2 * size].max(initial=0.0)
        kink = high - low > found.left_bound + found.right_bound + SAME * scale
        # a central slope that a side does not bear out was taken across a kink
        far = ACROSS * scale
        kink |= np.abs(found.value - found.left) > found.bound + found.left_bound + far
        kink |= np.abs(found.value - found.right) > found.bound + found.right_bound + far
    return Derivative(
        np.where(kink, (low + high) / 2, found.value),
        np.where(kink, bound, found.bound),
        np.where(kink, low, found.value),
        np.where(kink, high, found.value),
        kink,
    )


def cells(value: Array, bound: Array, interval: Array) -> list[list[Any]]:
    """Derivatives (n,) in a table: each, or both slopes (2, n) where they differ, and its bound."""
    return [
        [v if low == high else f"[{number(low)}, {number(high)}]", f"{error:.0e}"]
        for v, error, low, high in zip(value, bound, *interval, strict=True)
    ]


def _enough(value: Array, bound: Array) -> Array:
    """Which derivatives (k,) are known well enough for all that is asked of them here."""
    size = np.abs(value)
    scale = size[bound <= 1e-2 * size].max(initial=0.0)
    return (bound <= max(1e-9 * scale, 1e-13)).all(axis=1)


def changes(evaluate: Vector, x: Array) -> Change:
    """How much evaluate, (m,), changes where one element of x takes another value."""
    middle = evaluate(x)

    def change(index: Array, values: Array) -> Array:
        out = np.empty((len(index), len(middle)))
        for row, (j, value) in enumerate(zip(index, values, strict=True)):
            moved = x.copy()
            moved[j] = value
            out[row] = evaluate(moved)
        return out - middle

    return change


def numeric_jacobian(evaluate: Vector, z: Array, noise_of_value: float = 0.0) -> Derivative:
    """da_k/dz_j from values of a alone: arrays (n_z, n_a), one row for each z_j."""
    return derivatives(changes(evaluate, z), evaluate, z, noise_of_value)
