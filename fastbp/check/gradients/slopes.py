"""Slopes of anybody's function: how it is asked, and which answers are believed.

What belongs here: f by flat arrays and what goes wrong on the way, the noise of its values, the
choice between differences and complex steps. What does not: the structure of x (variables.py), the
quotients themselves (differences.py), what is told of a wrong gradient (function.py).
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp.check import judging
from fastbp.check.gradients.variables import Variables
from fastbp.check.judging import FAIL, RESOLUTION, ZERO, TensorCheck
from fastbp.check.numeric import differences
from fastbp.check.numeric.callables import UncheckableError, called, one_number
from fastbp.check.numeric.differences import EPSILON, Slopes
from fastbp.functions import shown

Array = np.ndarray

FEW_DIGITS = 1e-9  # relative noise above which values of f are no float64 results
COARSE_RESOLUTION = 1e-2  # of such an f; a slope is known to half of its digits at best


class Values:
    """f by flat arrays, with what went wrong on the way."""

    def __init__(self, f: Callable[[Any], Any], variables: Variables) -> None:
        if not callable(f):
            raise TypeError(f"f: expected a callable; got {shown(f)}")
        self._f = f
        self.variables = variables
        self._value = np.nan
        self.n_calls = 0
        self.n_lost = 0
        self.lost = ""

    def _at_x(self) -> float:
        self.n_calls += 1
        x = self.variables.build(self.variables.flat)
        result = called(self._f, "f: expected a number at x", x)
        try:
            return one_number(result)
        except (TypeError, ValueError, AttributeError, OverflowError) as error:
            raise UncheckableError(f"f: expected one real number at x; got {error}") from error

    def first(self) -> float:
        """f(x), asked twice."""
        value, again = self._at_x(), self._at_x()
        if not np.isfinite(value):
            raise UncheckableError(f"f: expected a finite number at x; got {value}")
        if again != value:
            raise UncheckableError(
                f"f: expected the same value for the same x; a repeat gave {again!r} after "
                f"{value!r}"
            )
        self._value = value
        return value

    def last(self) -> None:
        """f(x) once more, after all other calls."""
        again = self._at_x()
        if again != self._value:
            raise UncheckableError(
                f"f: expected a value that depends on x alone; after {self.n_calls - 3:,} other "
                f"calls f(x) is {again!r} where it was {self._value!r}"
            )

    def near(self, flat: Array) -> float:
        """f at another point; NaN where it has no value there."""
        self.n_calls += 1
        try:
            with np.errstate(all="ignore"):
                value = one_number(self._f(self.variables.build(flat)))
            if np.isfinite(value):
                return value
            what = f"is {value}"
        except Exception as error:
            what = f"raises {type(error).__name__} ({error})"
        self.n_lost += 1
        self.lost = self.lost or what
        return np.nan

    def change(self, index: Array, values: Array) -> Array:
        """f(x) differences, as differences.slopes asks for them."""
        out = np.empty(len(index))
        point = self.variables.flat.copy()
        for i, (j, v) in enumerate(zip(index, values, strict=True)):
            point[j] = v
            out[i] = self.near(point) - self._value
            point[j] = self.variables.flat[j]
        return out

    def complex(self, flat: Array) -> Any:
        """f at a complex point."""
        self.n_calls += 1
        # A cast that drops the imaginary part warns, and differences contradict it: nobody need be
        # told. Filters are the whole process's: two threads that change them leave them changed.
        if threading.current_thread() is not threading.main_thread():
            return self._f(self.variables.build(flat))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            return self._f(self.variables.build(flat))

    def exact(self, flat: Array) -> Any:
        """f at a point of mpmath's numbers."""
        self.n_calls += 1
        return self._f(self.variables.build(flat))


class Judged:
    """The checked elements' gradients and the rule that is applied to them.

    Attributes
    ----------
    analytic : ndarray (n,)
        The gradient.
    picked, tensor, a, rounding : ndarray (k,)
        The checked elements: flat indices, which tensor each lies in, the gradient there, and what
        rounding alone may have done to it.
    noise : float
        Error of a value of f; `share` relative to f's size.
    """

    def __init__(
        self, function: Values, analytic: Array, max_elements: int, tolerance: float
    ) -> None:
        self.function, self.variables = function, function.variables
        self.analytic, self.max_elements, self.tolerance = analytic, max_elements, tolerance
        self.picked = self.variables.picked(max_elements)
        self.tensor = self.variables.tensor_of(self.picked)
        self.a = analytic[self.picked]

    def measure(self, value: float, epsilons: Sequence[float], seed: int) -> None:
        """How exact values of f are, and with that what may be asked of gradient and slopes."""
        variables, analytic, near = self.variables, self.analytic, self.function.near
        least = 3 * EPSILON * abs(value)
        noise = differences.noise_of(
            lambda point: np.array([near(point)]), variables.flat, variables.size, seed=seed
        )[0]
        self.noise = max(float(noise), least) if np.isfinite(noise) else least
        with np.errstate(over="ignore", invalid="ignore"):
            change = np.abs(analytic * variables.size)  # counts where f is 0
            change = change[np.isfinite(change)]
            self.share = self.noise / (
                max(abs(value), float(change.max(initial=0.0)) * 1e-3) or 1.0
            )
            coarse = FEW_DIGITS <= self.share < np.inf
            self.resolution = COARSE_RESOLUTION if coarse else RESOLUTION
            of_tensor = []
            for part, epsilon in zip(variables.parts, epsilons, strict=True):
                known = analytic[part][np.isfinite(analytic[part])]
                # where f has few digits, numbers that float32 holds were computed in it
                if coarse and np.array_equal(known.astype(np.float32), known):
                    epsilon = max(epsilon, float(np.finfo(np.float32).eps))
                of_tensor.append(4 * epsilon)
            self.rounding = np.array(of_tensor)[self.tensor] * self.expected(np.abs(self.a))

    def largest(self, value: Array, bound: Array) -> Array:
        """For each tensor the largest slope that is known to a few digits."""
        out = np.zeros(len(self.variables.names))
        known = bound <= 1e-2 * np.abs(value)
        np.maximum.at(out, self.tensor[known], np.abs(value[known]))
        return out

    def expected(self, size: Array) -> Array:
        """For each element the largest slope that may matter there, of slopes as large as `size`.

        The largest of its tensor, but no more than would change f a hundred times as much as any
        element does, each by its own size: beside p = 1e-12 the slope of log p hides no other.
        """
        own, n = self.variables.size[self.picked], len(self.variables.names)
        size = np.where(np.isfinite(size), size, 0.0)
        largest, change = np.zeros(n), np.zeros(n)
        np.maximum.at(largest, self.tensor, size)
        np.maximum.at(change, self.tensor, size * own)
        return np.minimum(largest[self.tensor], 100 * change[self.tensor] / own)

    def zero(self, value: Array, bound: Array, length: Array) -> Array:
        """For each element a slope that is nothing beside the others, over a length of its own."""
        length = length[self.picked]
        known = bound <= 1e-2 * np.abs(value)
        changes = np.abs(value[known]) * length[known]
        return np.maximum(ZERO, 1e-6 * changes.max(initial=0.0) / length)

    def enough(self, value: Array, bound: Array) -> Array:
        """Which slopes are known well enough to stop looking."""
        value, bound = value[:, 0], bound[:, 0]
        with np.errstate(invalid="ignore", over="ignore"):
            known = np.where(bound <= 1e-2 * np.abs(value), np.abs(value), 0.0)
            share = min(1e-5, 10 * self.tolerance)
            fine = bound <= np.maximum(share * np.abs(value), 1e-9 * self.expected(known))
            zero = self.zero(value, bound, self.variables.scale)
            return fine | ((self.a == 0) & (bound <= zero))

    def by(self, found: Slopes) -> tuple[list[TensorCheck], Array]:
        """Every tensor judged, and each element's status."""
        zero = self.zero(found.value, found.bound, self.variables.size)
        with np.errstate(invalid="ignore"):
            size = np.fmax(np.abs(self.a), np.abs(found.value))
        expected, tensors = self.expected(size), []
        status = np.zeros(len(self.picked), int)
        of = self.variables
        for t, (name, shape, part) in enumerate(zip(of.names, of.shapes, of.parts, strict=True)):
            rows = np.nonzero(self.tensor == t)[0]
            check, status[rows] = judging.judge(
                name,
                shape,
                self.picked[rows] - part.start,
                self.a[rows],
                *(values[rows] for values in found.arrays),
                tolerance=self.tolerance,
                rounding=self.rounding[rows],
                resolution=self.resolution,
                largest=expected[rows],
                zero=zero[rows],
            )
            tensors.append(check)
        return tensors, status


def by_differences(judged: Judged) -> Slopes:
    variables = judged.variables

    def ask(index: Array, enough: Callable[[Array, Array], Array], scale: Array) -> Slopes:
        return differences.slopes(
            judged.function.change, variables.flat, index, scale=scale,
            noise=np.array([judged.noise]), enough=enough,
        ).column(0)  # fmt: skip

    scale = variables.scale
    found = ask(judged.picked, judged.enough, scale)
    # an element far smaller than those beside it: steps for it alone
    small = variables.size[judged.picked] < scale[judged.picked]
    left = np.flatnonzero(small & ~judged.enough(found.value[:, None], found.bound[:, None]))
    if len(left):
        finer = ask(judged.picked[left], differences.never, variables.size)
        better = found.take_better(left, finer)
        scale = scale.copy()
        scale[judged.picked[left[better]]] = variables.size[judged.picked[left[better]]]
    _, status = judged.by(found)
    # What would fail although it lies between the one-sided slopes, as far as these are known, may
    # be on a kink: every step size is tried.
    with np.errstate(invalid="ignore"):
        low = np.minimum(found.left - found.left_bound, found.right - found.right_bound)
        high = np.maximum(found.left + found.left_bound, found.right + found.right_bound)
        outside = (judged.a < low) | (judged.a > high)
    again = np.nonzero((status == FAIL) & ~outside)[0]
    if len(again):
        more = ask(judged.picked[again], differences.never, scale)
        for old, new in zip(found.arrays, more.arrays, strict=True):
            old[again] = new
    return found


def by_complex_steps(judged: Judged, found: Slopes, wanted: bool) -> Slopes | None:
    """The slopes by complex steps; None where f does not take them or differences contradict.

    wanted: then ValueError instead of None.
    """
    variables, picked, value, bound = judged.variables, judged.picked, found.value, found.bound
    steps = differences.complex_step(judged.function.complex, variables.flat, picked)
    if steps is None:
        if wanted:
            raise ValueError(
                "method: 'complex' needs an f that computes with complex numbers; this one "
                "raises or gives no finite number"
            )
        return None
    largest = np.zeros(len(variables.names))
    np.maximum.at(largest, judged.tensor, np.abs(steps))
    error = 4 * EPSILON * (np.abs(steps) + largest[judged.tensor])
    error = error + differences.TINY / differences.COMPLEX_STEP
    known = np.isfinite(bound)
    gap = np.where(known, np.abs(steps - np.where(known, value, 0)), 0.0)
    if wanted:
        # a bound is wrong once in thousands of times; a complex step is wrong by much
        wrong = gap > 10 * bound + error + judged.tolerance * np.abs(steps)
        if wrong.any():
            i = int(np.argmax(np.where(wrong, gap, 0)))
            raise ValueError(
                f"method: 'complex' gives {steps[i]:.6g} by {variables.name_of(int(picked[i]))} "
                f"where differences give {value[i]:.6g} +- {bound[i]:.1g}: f does not carry the "
                "imaginary part (abs, maximum, a comparison, a cast?)"
            )
        return Slopes(*(steps, error) * 3)
    # A difference that is known too coarsely could not tell a wrong complex step.
    told = bound <= np.maximum(judged.tolerance * np.abs(value), 1e-6 * largest[judged.tensor])
    if (gap > bound + error).any() or told.mean() < 1 - judging.MOST_INCONCLUSIVE:
        return None
    better = told & (error < bound)
    pairs = zip((steps, error) * 3, found.arrays, strict=True)
    return Slopes(*(np.where(better, new, old) for new, old in pairs))
