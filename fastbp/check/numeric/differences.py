"""Derivatives from values of a function alone, each with a bound on its own error.

What belongs here: difference quotients, their extrapolation (Richardson 1911; Ridders 1982), how
much noise a function's values carry (Moré and Wild 2011), complex steps. What does not: networks,
verdicts.

A function is known here by `change(index, values)`: how much f differs from f(x) where x[index[i]]
is values[i]. It answers many such questions at once, (k,), or (k, m) for m functions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

Array = np.ndarray
Change = Callable[[Array, Array], Array]

EPSILON = float(np.finfo(np.float64).eps)
TINY = float(np.finfo(np.float64).tiny)  # what is smaller may have become 0 on its way
N_LEVELS = 5  # steps h, h/2, ... of one extrapolation
# Largest step of each extrapolation, in units of `scale`: the first serves functions that vary on
# that scale; the others those that vary faster, have a kink nearby, or hardly vary at all.
WINDOWS = tuple(2.0**k for k in (-3, -8, 3, -13, -18, -23, 9, -28, -33))
FARTHEST = 1.0  # window above which a slope must have converged to be believed
CONVERGED = 1e-3  # relative
COMPLEX_STEP = 1e-20
NOISE_STEPS = (2.0**-30, 2.0**-14, 2.0**-8)


@dataclass(frozen=True)
class Slopes:
    """Derivatives (k, m) with bounds on their errors, central and one-sided."""

    value: Array
    bound: Array
    left: Array
    left_bound: Array
    right: Array
    right_bound: Array

    @property
    def arrays(self) -> tuple[Array, ...]:
        """All of them, in the order in which they are given."""
        return tuple(getattr(self, field.name) for field in fields(self))

    def take_better(self, at: Array, other: Slopes) -> Array:
        """Put `other`, slopes of the elements `at`, where its bound is smaller; tell where."""
        better = ~(self.bound[at] < other.bound)
        for old, new in zip(self.arrays, other.arrays, strict=True):
            old[at] = np.where(better, new, old[at])
        return better

    def column(self, m: int) -> Slopes:
        """Slopes (k,) of one of the functions."""
        return Slopes(*(np.ascontiguousarray(array[:, m]) for array in self.arrays))


def _extrapolate(quotients: Array, noise: Array, ratio: float) -> tuple[Array, Array]:
    """Best value and bound of Richardson's tableau on (levels, k, m) quotients at halved steps.

    `ratio`: 4 where the error is a series in h^2, 2 where in h; noise: of each quotient.
    """
    best = np.full(quotients.shape[1:], np.nan)
    bound = np.full(quotients.shape[1:], np.inf)
    earlier: list[tuple[Array, Array]] = []
    entries: list[tuple[Array, Array]] = []
    with np.errstate(invalid="ignore", over="ignore"):
        for D, N in zip(quotients, noise, strict=True):
            row = [(D, N)]
            for j, (before, noise_before) in enumerate(earlier, 1):
                last, noise_last = row[-1]
                weight = 1 / (ratio**j - 1)
                T = last + (last - before) * weight
                N_j = noise_last + (noise_last + noise_before) * weight
                error = 2 * np.maximum(np.abs(T - last), np.abs(T - before)) + N_j
                better = (error < bound) & (j > 1)  # three steps agree: two may by chance
                best = np.where(better, T, best)
                bound = np.where(better, error, bound)
                row.append((T, N_j))
                entries.append((T, error))
            earlier = row
        for T, error in entries:  # two estimates that were close by chance: another contradicts
            gap = np.abs(T - best)
            bound = np.where(gap > bound + error, np.maximum(bound, gap), bound)
    return best, bound


def _windows(
    change: Change, x: Array, index: Array, scale: Array, factor: float, largest: Array
) -> tuple[Array, Array, Array, Array]:
    """Changes above and below (levels, k, m), with the steps that were really made (levels, k)."""
    exponent = np.round(np.log2(scale[index] * factor))
    h = np.minimum(np.exp2(np.clip(exponent, -1000, 1000)), largest)
    x_i = x[index]
    h = np.maximum(h, np.exp2(np.ceil(np.log2(np.maximum(np.abs(x_i), 1e-300))) - 40))
    steps = h / 2.0 ** np.arange(N_LEVELS)[:, None]
    up, down = x_i + steps, x_i - steps
    many = np.tile(index, 2 * N_LEVELS)
    changes = change(many, np.concatenate([up.ravel(), down.ravel()]))
    changes = changes.reshape(2, N_LEVELS, len(index), -1)
    return changes[0], changes[1], up - x_i, x_i - down


def slopes(
    change: Change,
    x: Array,
    index: Array,
    *,
    scale: Array,
    noise: Array,
    enough: Callable[[Array, Array], Array],
    largest: Array | None = None,
) -> Slopes:
    """Derivatives of f by x[index], central and one-sided, each with a bound on its error.

    Parameters
    ----------
    change : callable (index (k,), values (k,)) -> (k,) or (k, m)
    x : ndarray (n,)
    index : ndarray of int (k,)
    scale : ndarray (n,)
        A length on which f varies, for each element; wrong by some powers of ten it costs time.
    noise : ndarray (m,) or (k, m)
        Error of a value of f.
    enough : callable (value, bound) -> bool (k,)
        Asked after each window of steps which elements are known well enough.
    largest : ndarray (k,), optional
        No step is larger: where kinks are known to lie beyond.

    Returns
    -------
    Slopes, arrays (k, m)

    Examples
    --------
    >>> f = lambda index, values: np.exp(values) - 1
    >>> found = slopes(f, np.zeros(1), np.array([0]), scale=np.ones(1), noise=np.array([1e-16]),
    ...                enough=lambda value, bound: (bound < 1e-9).all(axis=1))
    >>> bool(abs(found.value[0, 0] - 1) <= found.bound[0, 0] < 1e-9)
    True
    """
    k = len(index)
    m = np.shape(noise)[-1] if np.ndim(noise) else 1
    noise = np.broadcast_to(noise, (k, m))
    largest = np.full(k, np.inf) if largest is None else largest
    values = [np.full((k, m), np.nan) for _ in range(3)]
    bounds = [np.full((k, m), np.inf) for _ in range(3)]
    steps = [np.full((k, m), np.inf) for _ in range(3)]  # the window that each came from
    todo = np.arange(k)
    for factor in WINDOWS:
        above, below, h_up, h_down = _windows(change, x, index[todo], scale, factor, largest[todo])
        with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
            h_up, h_down = h_up[:, :, None], h_down[:, :, None]
            both = h_up + h_down
            error = noise[todo] + EPSILON * np.maximum(np.abs(above), np.abs(below)) + TINY
            found = [
                _extrapolate((above - below) / both, 2 * error / both, 4.0),
                _extrapolate(-below / h_down, 2 * error / h_down, 2.0),
                _extrapolate(above / h_up, 2 * error / h_up, 2.0),
            ]
        if factor > FARTHEST:
            # Over so long a step a bounded function looks flat, and relu looks straight: believed
            # only where it has converged, and to the same on both sides.
            with np.errstate(invalid="ignore"):
                central, left, right = (value for value, _ in found)
                same = np.abs(left - right) <= CONVERGED * np.abs(central)
            found = [
                (v, np.where(same & (b <= CONVERGED * np.abs(central)), b, np.inf))
                for v, b in found
            ]
        for (value, bound), best, best_bound, step in zip(
            found, values, bounds, steps, strict=True
        ):
            v, b, h = best[todo], best_bound[todo], step[todo]
            with np.errstate(invalid="ignore"):
                # Two windows that exclude each other: a kink lies within the larger.
                apart = np.isfinite(bound) & (np.abs(value - v) > bound + b)
                better = np.where(apart, factor < h, bound < b)
            best[todo] = np.where(better, value, v)
            best_bound[todo] = np.where(better, bound, b)
            step[todo] = np.where(better, factor, h)
        done = enough(values[0], bounds[0])
        with np.errstate(invalid="ignore"):
            # Slopes of both sides, or of one and the middle, that differ: x is on a kink or beside
            # one; a smaller step tells.
            size = 1e-6 * np.abs(values[0])
            kink = np.zeros((k, m), bool)
            for one, other in ((0, 1), (0, 2), (1, 2)):
                apart = np.abs(values[one] - values[other]) > bounds[one] + bounds[other] + size
                kink |= apart
        todo = todo[~(done & ~kink.any(axis=1))[todo]]
        if not len(todo):
            break
    return Slopes(values[0], bounds[0], values[1], bounds[1], values[2], bounds[2])


def never(value: Array, bound: Array) -> Array:
    """`enough` for slopes that are to be measured with every window."""
    return np.zeros(len(value), bool)


def noise_of(
    evaluate: Callable[[Array], Array],
    x: Array,
    scale: Array,
    *,
    steps: tuple[float, ...] = NOISE_STEPS,
    seed: int = 0,
) -> Array:
    """How much the last digits of a function's values scatter: (m,) for evaluate(x) of (m,).

    From differences of high order at nine points so close together that the function itself
    contributes none (Moré and Wild 2011). All lie on one side of x, which may be on a kink. Where
    most neighbours have the very same value, as those of a function that rounds its argument to
    float32, the points are set further apart. NaN where no such row of points has finite values.

    >>> found = noise_of(lambda x: np.atleast_1d(np.sin(x).sum()), np.ones(3), np.ones(3))
    >>> bool(1e-17 < found[0] < 1e-14)
    True
    """
    random = np.random.default_rng(seed)
    directions = random.standard_normal((3, *x.shape)) * np.maximum(scale, np.abs(x))
    rough, counted = [], []
    for step in steps:
        tables = [
            np.stack([np.atleast_1d(evaluate(x + k * step * v)) for k in range(1, 10)])
            for v in directions
        ]
        with np.errstate(invalid="ignore", over="ignore"):
            changes = np.stack([np.diff(table, axis=0) for table in tables])
            # Points too close give equal values: such a row does not count, nor does one that
            # leaves a flat part over a kink. A kink before the third point is passed over.
            still = changes == 0
            counts = still.sum(axis=1) <= 1
            leaves = still[:, 0] & ~(~still[:, :-1] & still[:, 1:]).any(axis=1)
            whole = 3 * np.stack([_scatter(table) for table in tables])
            ends = 3 * np.stack([_scatter(table[2:]) for table in tables])
            floor = 2 * EPSILON * np.stack([np.abs(table).max(axis=0) for table in tables])
            rough.append(np.fmax.reduce(np.where(leaves, floor, whole)))
            counted.append(np.fmax.reduce(np.where(counts, ends, np.nan)))
        if step == steps[0]:
            complete = counts.all(axis=0)
            if complete.all():
                break
    coarse, most = np.fmin.reduce(counted), np.fmax.reduce(rough)
    found = np.where(np.isnan(coarse), most, np.fmax(rough[0], coarse))
    return np.where(complete, rough[0], found)


def _scatter(table: Array) -> Array:
    """Standard deviation of the noise in 9 neighbouring values, (9, m) -> (m,)."""
    largest = np.abs(table).max(axis=0)
    short = (table.astype(np.float32) == table).all(axis=0) & (np.ptp(table, axis=0) > 0)
    floor = largest * np.where(short, np.finfo(np.float32).eps / 2, EPSILON / 2)
    levels = []
    gamma = 1.0
    for order in range(1, 7):
        table = np.diff(table, axis=0)
        gamma *= order / (2 * (2 * order - 1))
        if order >= 3:
            levels.append(np.sqrt(gamma * np.mean(table**2, axis=0)))
    return np.maximum(np.median(levels, axis=0), floor)


def complex_step(f: Callable[[Array], object], x: Array, index: Array) -> Array | None:
    """Im f(x + 1e-20 i e_j) / 1e-20 for each j of index; None where f does not take it.

    What comes back may still be wrong (np.abs gives 0, np.maximum the wrong side of a kink): hold
    each value against a difference before it is believed.

    >>> complex_step(lambda x: (x**3).sum(), np.array([2.0]), np.array([0])).tolist()
    [12.0]
    """
    out = np.empty(len(index))
    for i, j in enumerate(index):
        point = x.astype(complex)
        point[j] += COMPLEX_STEP * 1j
        try:
            with np.errstate(all="ignore"):
                value = complex(np.asarray(f(point)).reshape(()))
        except Exception:  # whatever a function raises that was not made for complex numbers
            return None
        out[i] = value.imag / COMPLEX_STEP
    return out if np.isfinite(out).all() else None
