"""Derivatives held against their references: which elements are right, and what the wrong ones say.

What belongs here: the one rule by which every check passes or fails an element, and what can be
read from the numbers of a wrong gradient. What does not: where the numbers come from
(differences.py, function.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from fastbp.check.report import Table

Array = np.ndarray

PASS, KINK, INCONCLUSIVE, FAIL = 0, 1, 2, 3
RESOLUTION = 1e-4  # a bound above this share of a tensor's largest slope says too little
MOST_POINTS = 10_000  # more are left out of to_dict()
MOST_INCONCLUSIVE = 0.01  # share of elements that may stay unknown where the rest is right
ZERO = 1e-9


@dataclass(frozen=True)
class TensorCheck:
    """One tensor's elements, counted, and the worst of them.

    Attributes
    ----------
    name : str
    shape : tuple of int
    n_checked : int
    worst : tuple of int
        Index of the element with the largest difference/allowed; one that fails goes before all
        that do not.
    analytic, numeric, bound, difference, allowed : float
        There: the gradient, its reference, the reference's error bound, the gap between the two
        (on a kink: to the nearer one-sided slope), and the gap that is let pass.
    failed, kinks, inconclusive : int
        How many are wrong; lie on a kink and between its slopes; could not be resolved.
    """

    name: str
    shape: tuple[int, ...]
    n_checked: int
    worst: tuple[int, ...]
    analytic: float
    numeric: float
    bound: float
    difference: float
    allowed: float
    failed: int
    kinks: int
    inconclusive: int

    @property
    def element(self) -> str:
        """Name and index of the worst element.

        >>> check, _ = judge("W", (2, 2), [1], [3.0], [1.0], [0.0], [1.0], [0.0], [1.0], [0.0],
        ...                  tolerance=1e-6)
        >>> check.element
        'W[0, 1]'
        """
        return f"{self.name}[{', '.join(map(str, self.worst))}]" if self.worst else self.name


@dataclass(frozen=True, eq=False)
class Points:
    """Every checked element in the order of the tensors, (n_checked,) each.

    `tensor` is its position among the tensors, `index` the flat index there, `status` one of
    PASS, KINK, INCONCLUSIVE, FAIL.
    """

    tensor: Array
    index: Array
    analytic: Array
    numeric: Array
    bound: Array
    status: Array


def table(tensors: Sequence[TensorCheck]) -> Table:
    """One row a tensor: what was counted, and its worst element."""
    counts = [n for n in ("failed", "kinks", "inconclusive") if any(getattr(t, n) for t in tensors)]
    header = ["tensor", "shape", "checked", *counts]
    header += ["worst at", "gradient", "slope", "+-", "gap", "allowed"]
    rows = []
    for t in tensors:
        shape, worst = " x ".join(map(str, t.shape)), ", ".join(map(str, t.worst))
        small = [f"{v:.0e}" for v in (t.bound, t.difference, t.allowed)]
        row = [t.name, shape, t.n_checked, *(getattr(t, name) for name in counts)]
        rows.append([*row, worst, t.analytic, t.numeric, *small])
    return Table("", header, rows)


def judge(
    name: str,
    shape: tuple[int, ...],
    index: Array,
    analytic: Array,
    numeric: Array,
    bound: Array,
    left: Array,
    left_bound: Array,
    right: Array,
    right_bound: Array,
    *,
    tolerance: float,
    rounding: Array | float = 0.0,
    resolution: float = RESOLUTION,
    largest: Array | None = None,
    zero: Array | float = ZERO,
) -> tuple[TensorCheck, Array]:
    """Judge one tensor's elements.

    Parameters
    ----------
    name, shape : str, tuple of int
    index : ndarray of int (k,)
        Flat indices of the elements that were checked.
    analytic, numeric, bound : ndarray (k,)
        The gradient; the derivative; what that may be off by (infinity: unknown).
    left, left_bound, right, right_bound : ndarray (k,)
        The one-sided derivatives. Where they differ by more than their bounds is a kink.
    tolerance : float
        Relative to the larger of `analytic` and `numeric`.
    rounding : ndarray (k,) or float
        What rounding alone may have done to the analytic value, absolute.
    resolution : float
        A bound above this share of `largest` leaves an element inconclusive, unless it fails all
        the same.
    largest : ndarray (k,), optional
        Usually the tensor's largest element.
    zero : float or ndarray (k,)
        A bound up to this resolves an element whose analytic value is exactly 0: where f does not
        depend on it, no share of its slope can be asked for.

    Returns
    -------
    TensorCheck
    status : ndarray of int (k,)
        PASS, KINK (right: between the slopes of both sides), INCONCLUSIVE or FAIL.

    Examples
    --------
    >>> one = np.ones(3)
    >>> check, status = judge("x", (3,), np.arange(3), np.array([1.0, 0.2, 2.0]),
    ...                       np.array([1.0, 0.5, 1.0]), 1e-9 * one, np.array([1.0, 0.0, 1.0]),
    ...                       1e-8 * one, one, 1e-8 * one, tolerance=1e-6)
    >>> status.tolist(), check.element, check.failed, check.kinks
    ([0, 1, 3], 'x[2]', 1, 1)
    """
    index = np.asarray(index)
    a, n, bound, left, left_bound, right, right_bound = (
        np.asarray(v, np.float64)
        for v in (analytic, numeric, bound, left, left_bound, right, right_bound)
    )
    known = np.isfinite(n) & np.isfinite(bound)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        size = np.maximum(np.abs(a), np.abs(np.where(known, n, 0.0)))
        allowed = tolerance * size + np.where(known, bound, np.inf) + rounding
        difference = np.where(known, np.abs(a - n), np.nan)
        wrong = known & (difference > allowed)

        # On a kink every number between the two slopes is a subgradient.
        kink = wrong & on_kink(left, left_bound, right, right_bound, tolerance)
        low = np.minimum(left - left_bound, right - right_bound)
        high = np.maximum(left + left_bound, right + right_bound)
        outside = np.maximum(0.0, np.maximum(low - a, a - high))
        between = kink & (outside <= tolerance * size + rounding)
        difference = np.where(kink, outside, difference)
        allowed = np.where(kink, tolerance * size + rounding, allowed)

        bad = ~np.isfinite(a)
        fails = bad | (wrong & ~between)
        if largest is None:
            largest = np.max(size[~bad & known], initial=0.0)
        enough = np.where(a == 0, np.maximum(zero, resolution * largest), resolution * largest)
        unknown = ~fails & ~between & ~(known & (bound <= enough))
        ratio = np.where(bad, np.inf, difference / allowed)
    ratio = np.where(np.isnan(ratio), 0.0, ratio)  # nothing known, or 0 of 0
    status = np.select([fails, between, unknown], [FAIL, KINK, INCONCLUSIVE], PASS)
    if not len(index):
        nan = float("nan")
        return TensorCheck(name, tuple(shape), 0, (), nan, nan, nan, nan, nan, 0, 0, 0), status
    at = int(np.lexsort((ratio, fails))[-1])
    check = TensorCheck(
        name=name,
        shape=tuple(shape),
        n_checked=len(index),
        worst=tuple(int(i) for i in np.unravel_index(int(index[at]), shape)),
        analytic=float(a[at]),
        numeric=float(n[at]),
        bound=float(bound[at]),
        difference=float(difference[at]),
        allowed=float(allowed[at]),
        failed=int(fails.sum()),
        kinks=int(between.sum()),
        inconclusive=int(unknown.sum()),
    )
    return check, status


def on_kink(
    left: Array, left_bound: Array, right: Array, right_bound: Array, tolerance: float
) -> Array:
    """Where the one-sided slopes differ by more than their bounds.

    >>> bool(on_kink(np.array(-1.0), np.array(1e-9), np.array(1.0), np.array(1e-9), 1e-6))
    True
    """
    with np.errstate(invalid="ignore"):
        slack = tolerance * np.maximum(np.abs(left), np.abs(right))
        return np.abs(left - right) > left_bound + right_bound + slack


def verdict_of(tensors: Sequence[TensorCheck], what: str = "elements of the gradient") -> str:
    """One line for all tensors; `what` names the elements, in the plural.

    >>> check, _ = judge("W", (2,), [0, 1], [1.0, 3.0], [1.0, 1.0], [0.0, 0.0], [1.0, 1.0],
    ...                  [0.0, 0.0], [1.0, 1.0], [0.0, 0.0], tolerance=1e-6)
    >>> verdict_of([check], "parameters")
    'FAIL: 1 of 2 parameters is wrong; W[1] is 3, its slope 1 +- 0'
    """
    total = sum(t.n_checked for t in tensors)
    failed = sum(t.failed for t in tensors)
    inconclusive = sum(t.inconclusive for t in tensors)
    if failed:
        worst = max((t for t in tensors if t.failed), key=_excess)
        return (
            f"FAIL: {failed:,} of {total:,} {what} {'is' if failed == 1 else 'are'} wrong; "
            f"{worst.element} is {worst.analytic:.6g}, its slope {worst.numeric:.6g} "
            f"+- {worst.bound:.1g}"
        )
    blind = [t.name for t in tensors if t.n_checked and t.inconclusive == t.n_checked]
    if blind or inconclusive > MOST_INCONCLUSIVE * total:
        of = f" (every one of {', '.join(blind)})" if blind and len(blind) < len(tensors) else ""
        return (
            f"inconclusive: {inconclusive:,} of {total:,} {what} could not be resolved{of}; "
            "the others agree"
            if inconclusive < total
            else f"inconclusive: none of {total:,} {what} could be resolved"
        )
    extra = f"; {inconclusive:,} could not be resolved" if inconclusive else ""
    kinks = sum(t.kinks for t in tensors)
    extra += f"; {kinks:,} on a kink, between the slopes of both sides" if kinks else ""
    return f"pass: {total:,} {what} checked{extra}"


def _excess(check: TensorCheck) -> float:
    if not np.isfinite(check.analytic):
        return np.inf
    return check.difference / check.allowed if check.allowed else np.inf


def ratio_of(
    analytic: Array, numeric: Array, bound: Array, *, tolerance: float, rounding: Array | float = 0
) -> float | None:
    """The one number r with analytic = r numeric in all elements, or None.

    Only elements that are known to some digits count, at least one.

    >>> ratio_of(np.array([3.0, -6.0]), np.array([1.0, -2.0]), np.zeros(2), tolerance=1e-6)
    3.0
    """
    if not np.isfinite(analytic).all():
        return None
    known = np.isfinite(bound) & np.isfinite(numeric)
    a, n, b = analytic[known], numeric[known], bound[known]
    error = tolerance * np.abs(n) + b + np.broadcast_to(rounding, analytic.shape)[known]
    if not ((error <= 1e-2 * np.abs(n)) & (n != 0)).any():
        return None
    with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
        share = np.where(n != 0, error / np.abs(n), np.inf)
        best = int(np.argmin(share))
        r = a[best] / n[best]
        slack = error * max(1.0, abs(r)) + share[best] * np.abs(a)  # the ratio's own error
        return float(r) if (np.abs(a - r * n) <= 2 * slack).all() else None


def in_words(ratio: float, tolerance: float = 1e-6) -> str:
    """A factor as people name it.

    >>> in_words(3.0), in_words(0.015625), in_words(-1.0), in_words(0.66666667), in_words(1.2345)
    ('exactly 3 times', 'exactly 1/64 of', 'exactly -1 times', 'exactly 2/3 of', '1.2345 times')
    """
    candidates = [Fraction(round(ratio))]
    if ratio and abs(ratio) < 1:
        candidates.append(Fraction(1, round(1 / ratio)))
    if np.isfinite(ratio):
        candidates.append(Fraction(ratio).limit_denominator(12))
    for named in candidates:
        if named and abs(named.numerator) <= 1_000_000 and abs(ratio / named - 1) <= tolerance:
            return f"exactly {named} {'of' if abs(named) < 1 else 'times'}"
    return f"{ratio:.6g} times"
