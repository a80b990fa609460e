"""Derivatives as intervals: what a function's values alone leave possible.

What belongs here: slopes by every variable, with their bounds, at kinks between the slopes of both
sides. What does not: how a slope is taken (differences.py), what is held against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from fastbp.check.callables import Vector
from fastbp.check.differences import Change, noise_of, slopes

Array = np.ndarray

SAME = 1e-6  # of the largest slope: one-sided slopes that are nearer make no kink


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
        """The same function of all arrays: transposed, a column, the diagonal."""
        return Derivative(*(of(getattr(self, field.name)) for field in fields(self)))

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
        As `fastbp.check.differences` has it.
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
        noise = np.maximum(noise_of(evaluate, x, ones), noise_of_value)
        noise = np.where(np.isfinite(noise), noise, np.inf)
        found = slopes(change, x, np.arange(len(x)), scale=ones, noise=noise, enough=_enough)
        low, high = np.minimum(found.left, found.right), np.maximum(found.left, found.right)
        bound = np.maximum(found.left_bound, found.right_bound)
        same = SAME * np.abs(np.where(np.isfinite(low + high), [low, high], 0.0)).max(initial=0.0)
        # a central slope that both sides do not bear out was taken across a kink
        kink = high - low > 2 * (found.left_bound + found.right_bound) + same
        kink |= np.abs(found.value - found.left) > 2 * (found.bound + found.left_bound) + same
        kink |= np.abs(found.value - found.right) > 2 * (found.bound + found.right_bound) + same
    return Derivative(
        np.where(kink, (low + high) / 2, found.value),
        np.where(kink, bound, found.bound),
        np.where(kink, low, found.value),
        np.where(kink, high, found.value),
        kink,
    )


def _enough(value: Array, bound: Array) -> Array:
    """Which derivatives (k,) are known well enough for all that is asked of them here."""
    scale = np.abs(np.where(np.isfinite(value), value, 0.0)).max(initial=0.0)
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


def numeric_jacobian(evaluate: Vector, z: Array) -> Derivative:
    """da_k/dz_j from values of a alone: arrays (n_z, n_a), one row for each z_j."""
    return derivatives(changes(evaluate, z), evaluate, z)
