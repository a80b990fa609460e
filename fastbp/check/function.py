"""The gradient of anybody's scalar function, held against the function's own values.

What belongs here: `gradient`, what it asks of the two callables, and what it tells. What does not:
networks (gradients.py), difference quotients (differences.py), the rule that passes an element
(judging.py).
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.check import differences, judging
from fastbp.check.differences import EPSILON, Slopes
from fastbp.check.judging import FAIL, MOST_POINTS, RESOLUTION, ZERO, Points, TensorCheck
from fastbp.check.report import Result, Table

Array = np.ndarray

METHODS = ("auto", "differences", "complex", "mpmath")
FEW_DIGITS = 1e-9  # relative noise above which values of f are no float64 results
COARSE_RESOLUTION = 1e-2  # of such an f; a slope is known to half of its digits at best


class UncheckableError(ValueError):
    """f or grad cannot be checked: it raises, or what it returns is no value or gradient of x."""


@dataclass(frozen=True, eq=False)
class FunctionCheck(Result):
    """What `gradient` found.

    Attributes
    ----------
    verdict : str
        Begins with "pass", "FAIL" or "inconclusive".
    findings : tuple of str
    tensors : tuple of TensorCheck
    method : str
        Where the slopes come from: "differences", "complex" or "mpmath".
    noise : float
        Error of a value of f, absolute.
    n_checked : int
        Elements.
    points : Points
        All of them, for plots.
    """

    verdict: str
    findings: tuple[str, ...]
    tensors: tuple[TensorCheck, ...]
    method: str
    noise: float
    n_checked: int
    points: Points = field(repr=False)

    title = "gradient of a function"

    def tables(self) -> list[Table]:
        """The worst element of each tensor."""
        return [judging.table(self.tensors)]

    def to_dict(self) -> dict[str, Any]:
        """Everything in the types of JSON; `points` only where they are not too many."""
        found = super().to_dict()
        if self.n_checked > MOST_POINTS:
            del found["points"]
        return found

    def plot(self, ax: Any = None) -> Any:
        """Gradient against slopes, with error bars; returns the Axes."""
        from fastbp.check import pictures

        return pictures.points(self.points, [t.name for t in self.tensors], ax)


def gradient(
    f: Callable[[Any], Any],
    grad: Any,
    x: Any,
    *,
    tolerance: float = 1e-6,
    method: str = "auto",
    max_elements: int = 5000,
    seed: int = 0,
) -> FunctionCheck:
    """Hold a gradient against the values of its function.

    Parameters
    ----------
    f : callable x -> number
        Called with a fresh copy of x each time, 10 times an element and more where its values
        are noisy or f varies on other lengths than x.
    grad : callable x -> gradient, or the gradient itself
        In the structure of x; any floating dtype.
    x : array_like, or list, tuple or dict of arrays
        Where to check; converted to float64. Tensors are named "x", "x[0]", "x['W']".
    tolerance : float
        An element passes if it differs from the slope by no more than this, relative to the larger
        of both, and the slope's own error bound, and 4 roundings of the tensor's largest element.
    method : str
        Where slopes come from. "differences": extrapolated central differences, each with a bound
        on its error. "complex": complex steps, refused where differences contradict them. "auto":
        differences, replaced by complex steps where f takes them and they agree in every element.
        "mpmath": differences of 50 digits; f is handed object arrays of mpmath.mpf.
    max_elements : int
        Of more, an evenly spaced selection of every tensor is checked.
    seed : int
        Of the directions in which f's noise is measured.

    Returns
    -------
    FunctionCheck
        `.ok` is False where an element is wrong. An element where f has a kink is right if it lies
        between the slopes of both sides.

    Raises
    ------
    UncheckableError
        A ValueError: f or grad raises at x, gives something else than one finite number or an
        array of x's shape, or gives another answer when asked again.

    Notes
    -----
    f and grad see NumPy arrays, whatever they compute with. PyTorch::

        def f(x): return loss(torch.from_numpy(x)).item()
        def grad(x):
            t = torch.from_numpy(x).requires_grad_()
            return torch.autograd.grad(loss(t), t)[0].numpy()

    JAX, after ``jax.config.update("jax_enable_x64", True)``: ``gradient(loss, jax.grad(loss), x)``.
    scikit-learn (losses in sklearn._loss): ``gradient(lambda w: loss(y, raw_prediction=w,
    n_threads=1), lambda w: loss.gradient(y, raw_prediction=w) / len(y), w)``. What computes in
    float32 is checked as far as its digits go.

    References
    ----------
    Ridders (1982), Advances in Engineering Software 4, 75-76. Moré and Wild (2011), SIAM Journal
    on Scientific Computing 33, 1292-1314. Squire and Trapp (1998), SIAM Review 40, 110-112.

    Examples
    --------
    >>> import numpy as np
    >>> x = np.array([0.3, -1.2, 2.0])
    >>> print(gradient(lambda x: np.sin(x).sum(), np.cos, x).verdict)
    pass: 3 elements of the gradient checked
    >>> found = gradient(lambda x: np.sin(x).mean(), np.cos, x)
    >>> found.ok, found.findings[0]
    (False, 'the gradient is exactly 3 times the slope')
    """
    tolerance = _as_tolerance(tolerance)
    max_elements = inputs.as_count(max_elements, "max_elements")
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}; got {method!r}")
    variables = _Variables(x)
    function = _Function(f, variables)
    value = function.first()
    analytic, transposed, digits_of = _analytic(grad, variables)
    picked = variables.picked(max_elements)
    judged = _Judged(variables, picked, analytic, tolerance)

    noise = _noise(function, variables, value, seed)
    coarse = FEW_DIGITS <= noise / judged.size_of(value) < np.inf
    judged.rounding = _rounding(variables, analytic, digits_of, coarse)
    judged.resolution = COARSE_RESOLUTION if coarse else RESOLUTION
    if method == "mpmath":
        from fastbp.check import digits

        found = digits.slopes(function.exact, variables.flat, picked)
        used = "mpmath"
    else:
        found = _differences(function, variables, picked, judged, noise, value)
        used = "differences"
        if method != "differences":
            steps = _complex(function, variables, picked, found, judged, method == "complex")
            if steps is not None:
                found, used = steps, "complex"
    function.last()
    if callable(grad):
        _ask_again(grad, variables, analytic)

    tensors, status = judged.by(found)
    verdict = judging.verdict_of(tensors)
    if transposed and not verdict.startswith("FAIL"):
        verdict = f"FAIL: the gradient by {', '.join(transposed)} is transposed"
    findings = [
        *(
            f"transposed: the gradient by {name} has shape {shape[::-1]} where {name} has {shape}; "
            "it was compared after transposing"
            for name, shape in zip(variables.names, variables.shapes, strict=True)
            if name in transposed
        ),
        *_diagnosis(judged, found, status),
        *_remarks(function, variables, judged, found, status, noise, value, max_elements),
    ]
    return FunctionCheck(
        verdict,
        tuple(findings),
        tuple(tensors),
        used,
        noise,
        len(picked),
        Points(
            judged.tensor,
            picked - variables.starts[judged.tensor],
            analytic[picked],
            found.value[:, 0],
            found.bound[:, 0],
            status,
        ),
    )


def _as_tolerance(value: Any) -> float:
    number = inputs.as_penalty(value, "tolerance")
    if not 0 < number < 1:
        raise ValueError(f"tolerance: expected a number above 0 and below 1; got {number!r}")
    return number


# what f is asked


class _Variables:
    """x as one flat array, and back."""

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
        ends = np.cumsum([v.size for v in arrays], dtype=int)
        self.starts = np.concatenate([[0], ends[:-1]]).astype(int)
        self.ends = ends
        if not arrays or not ends[-1]:
            raise ValueError(f"x: expected at least one number; got {x!r}")
        self.flat = np.concatenate([v.ravel() for v in arrays])
        # A length on which f may vary; an element of 0 takes that of its tensor.
        self.scale = np.empty(self.flat.size)
        for start, end in zip(self.starts, ends, strict=True):
            size = np.abs(self.flat[start:end])
            typical = np.median(size[size > 0]) if size.any() else 1.0
            self.scale[start:end] = np.clip(np.maximum(size, typical), 1e-150, 1e150)

    def build(self, flat: Array) -> Any:
        """The structure of x, filled with copies of `flat`."""
        items: list[Any] = [
            flat[start] if scalar else flat[start:end].reshape(shape).copy()
            for start, end, shape, scalar in zip(
                self.starts, self.ends, self.shapes, self.scalars, strict=True
            )
        ]
        if self.kind is None:
            return items[0]
        if self.kind is dict:
            return dict(zip(self.keys, items, strict=True))
        return self.kind(items)

    def picked(self, most: int) -> Array:
        """Flat indices of what is checked: whole small tensors, evenly spaced parts of large."""
        sizes = self.ends - self.starts
        shares = np.zeros(len(sizes), int)
        left = most
        for done, t in enumerate(np.argsort(sizes, kind="stable")):
            shares[t] = min(sizes[t], max(1, left // (len(sizes) - done)))
            left -= shares[t]
        return np.concatenate(
            [
                start + np.unique(np.linspace(0, size - 1, share).astype(int))
                for start, size, share in zip(self.starts, sizes, shares, strict=True)
                if size
            ]
        )

    def name_of(self, flat: int) -> str:
        """Name and index of one element."""
        t = int(np.searchsorted(self.ends, flat, side="right"))
        if not self.shapes[t]:
            return self.names[t]
        where = np.unravel_index(flat - self.starts[t], self.shapes[t])
        return f"{self.names[t]}[{', '.join(str(int(i)) for i in where)}]"


def _structure_of(x: Any) -> tuple[type | None, list[Any]]:
    if isinstance(x, Mapping):
        return dict, list(x)
    if isinstance(x, (list, tuple)) and any(getattr(v, "shape", ()) for v in x):
        return (tuple if isinstance(x, tuple) else list), list(range(len(x)))
    return None, []


def _one_number(result: Any) -> float:
    """What f returned, as a float; TypeError where it is not one real number."""
    if isinstance(result, float):
        return float(result)
    size = int(np.prod(getattr(result, "shape", ())))
    if size != 1:
        raise TypeError(f"an array of shape {tuple(result.shape)}")
    if not hasattr(result, "item"):
        result = np.asarray(result)
        if result.size != 1:
            raise TypeError(f"an array of shape {result.shape}")
    number = result.item()  # also what PyTorch would not convert to an array
    if isinstance(number, complex):
        raise TypeError(f"the complex number {number}")
    if isinstance(number, (bool, str, bytes)) or number is None:
        raise TypeError(repr(number))
    return float(number)


class _Function:
    """f by flat arrays, with what went wrong on the way."""

    def __init__(self, f: Callable[[Any], Any], variables: _Variables) -> None:
        if not callable(f):
            raise TypeError(f"f: expected a callable; got {f!r}")
        self._f = f
        self._variables = variables
        self._value = np.nan
        self.n_calls = 0
        self.n_lost = 0
        self.lost = ""

    def _at_x(self) -> float:
        self.n_calls += 1
        try:
            result = self._f(self._variables.build(self._variables.flat))
        except Exception as error:
            raise UncheckableError(
                f"f: expected a number at x; got {type(error).__name__}: {error}"
            ) from error
        try:
            return _one_number(result)
        except (TypeError, ValueError, AttributeError) as error:
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
                value = _one_number(self._f(self._variables.build(flat)))
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
        point = self._variables.flat.copy()
        for i, (j, v) in enumerate(zip(index, values, strict=True)):
            point[j] = v
            out[i] = self.near(point) - self._value
            point[j] = self._variables.flat[j]
        return out

    def complex(self, flat: Array) -> Any:
        """f at a complex point."""
        self.n_calls += 1
        with warnings.catch_warnings():
            # a cast that drops the imaginary part only warns
            warnings.simplefilter("error", np.exceptions.ComplexWarning)
            return self._f(self._variables.build(flat))

    def exact(self, flat: Array) -> Any:
        """f at a point of mpmath's numbers."""
        self.n_calls += 1
        return self._f(self._variables.build(flat))


def _analytic(grad: Any, variables: _Variables) -> tuple[Array, list[str], list[float]]:
    """The gradient, flat; which tensors came transposed; each tensor's machine epsilon."""
    if callable(grad):
        try:
            result = grad(variables.build(variables.flat))
        except Exception as error:
            raise UncheckableError(
                f"grad: expected a gradient at x; got {type(error).__name__}: {error}"
            ) from error
    else:
        result = grad
    parts = []
    transposed = []
    digits_of = []
    for name, shape, item in zip(
        variables.names, variables.shapes, _items(result, variables), strict=True
    ):
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
        digits_of.append(_epsilon(array.dtype))
        parts.append(array.astype(np.float64).ravel())
    return np.concatenate(parts), transposed, digits_of


def _epsilon(dtype: Any) -> float:
    if dtype.kind == "f":
        return max(float(np.finfo(dtype).eps), EPSILON)
    return EPSILON if dtype.kind in "iub" else 2.0**-7  # bfloat16 and smaller, of other packages


def _items(result: Any, variables: _Variables) -> list[Any]:
    """The tensors of a gradient, in x's order."""
    if variables.kind is None:
        return [result]
    if variables.kind is dict:
        if not isinstance(result, Mapping) or set(result) != set(variables.keys):
            got = list(result) if isinstance(result, Mapping) else type(result).__name__
            raise UncheckableError(
                f"grad: expected a dict with the keys {variables.keys}, as x has; got {got}"
            )
        return [result[key] for key in variables.keys]
    if not isinstance(result, (list, tuple)) or len(result) != len(variables.keys):
        got = f"{len(result)}" if isinstance(result, (list, tuple)) else type(result).__name__
        raise UncheckableError(
            f"grad: expected a list or tuple of {len(variables.keys)} arrays, as x is; got {got}"
        )
    return list(result)


def _ask_again(grad: Callable[[Any], Any], variables: _Variables, analytic: Array) -> None:
    again, _, _ = _analytic(grad, variables)
    if not np.array_equal(again, analytic, equal_nan=True):
        j = int(np.argmax(~((again == analytic) | (np.isnan(again) & np.isnan(analytic)))))
        raise UncheckableError(
            f"grad: expected the same gradient for the same x; by {variables.name_of(j)} a repeat "
            f"gave {float(again[j])!r} after {float(analytic[j])!r}"
        )


def _rounding(
    variables: _Variables, analytic: Array, digits_of: Sequence[float], coarse: bool
) -> Array:
    """4 roundings of each tensor's largest gradient."""
    out = np.empty(analytic.size)
    for start, end, epsilon in zip(variables.starts, variables.ends, digits_of, strict=True):
        part = analytic[start:end]
        part = part[np.isfinite(part)]
        with np.errstate(over="ignore"):
            # where f has few digits, numbers that float32 holds were computed in it
            if coarse and np.array_equal(part.astype(np.float32), part):
                epsilon = max(epsilon, float(np.finfo(np.float32).eps))
        out[start:end] = 4 * epsilon * np.abs(part).max(initial=0.0)
    return out


# slopes


class _Judged:
    """The checked elements' gradients and the rule that is applied to them."""

    def __init__(
        self, variables: _Variables, picked: Array, analytic: Array, tolerance: float
    ) -> None:
        self.variables = variables
        self.picked = picked
        self.tolerance = tolerance
        self.analytic = analytic
        self.rounding = np.zeros(analytic.size)
        self.resolution = RESOLUTION
        self.tensor = np.searchsorted(variables.ends, picked, side="right")
        self.vanishes = np.array(
            [
                not analytic[start:end].any()
                for start, end in zip(variables.starts, variables.ends, strict=True)
            ]
        )

    def size_of(self, value: float) -> float:
        """How large f is, or its first-order change where it is 0."""
        with np.errstate(over="ignore", invalid="ignore"):
            change = np.abs(self.analytic * self.variables.scale)
        change = change[np.isfinite(change)]
        return max(abs(value), float(change.max(initial=0.0)) * 1e-3) or 1.0

    def largest(self, value: Array, bound: Array) -> Array:
        """For each tensor the largest slope that is known to a few digits."""
        out = np.zeros(len(self.variables.names))
        known = bound <= 1e-2 * np.abs(value)
        np.maximum.at(out, self.tensor[known], np.abs(value[known]))
        return out

    def zero(self, value: Array, bound: Array) -> Array:
        """For each tensor a slope that is nothing beside those of the others."""
        scale = self.variables.scale
        starts = np.minimum(self.variables.starts, scale.size - 1)
        known = bound <= 1e-2 * np.abs(value)
        changes = np.abs(value[known]) * scale[self.picked[known]]
        return np.maximum(ZERO, 1e-6 * changes.max(initial=0.0) / scale[starts])

    def enough(self, value: Array, bound: Array) -> Array:
        """Which slopes are known well enough to stop looking."""
        value, bound = value[:, 0], bound[:, 0]
        with np.errstate(invalid="ignore", over="ignore"):
            largest = self.largest(value, bound)
            share = min(1e-5, 10 * self.tolerance)
            fine = bound <= np.maximum(share * np.abs(value), 1e-9 * largest[self.tensor])
            zero = self.zero(value, bound)[self.tensor]
            return fine | ((self.analytic[self.picked] == 0) & (bound <= zero))

    def by(self, found: Slopes) -> tuple[list[TensorCheck], Array]:
        """Every tensor judged, and each element's status."""
        zero = self.zero(found.value[:, 0], found.bound[:, 0])
        tensors = []
        status = np.zeros(len(self.picked), int)
        for t, (name, shape) in enumerate(
            zip(self.variables.names, self.variables.shapes, strict=True)
        ):
            rows = np.nonzero(self.tensor == t)[0]
            flat = self.picked[rows]
            check, status[rows] = judging.judge(
                name,
                shape,
                flat - self.variables.starts[t],
                self.analytic[flat],
                *(
                    part[rows, 0]
                    for part in (
                        found.value,
                        found.bound,
                        found.left,
                        found.left_bound,
                        found.right,
                        found.right_bound,
                    )
                ),
                tolerance=self.tolerance,
                rounding=self.rounding[flat],
                resolution=self.resolution,
                zero=float(zero[t]),
            )
            tensors.append(check)
        return tensors, status


def _noise(function: _Function, variables: _Variables, value: float, seed: int) -> float:
    noise = differences.noise_of(
        lambda point: np.array([function.near(point)]), variables.flat, variables.scale, seed=seed
    )
    least = 3 * EPSILON * abs(value)
    return max(float(noise[0]), least) if np.isfinite(noise[0]) else least


def _differences(
    function: _Function,
    variables: _Variables,
    picked: Array,
    judged: _Judged,
    noise: float,
    value: float,
) -> Slopes:
    def ask(index: Array, enough: Callable[[Array, Array], Array]) -> Slopes:
        return differences.slopes(
            function.change,
            variables.flat,
            index,
            scale=variables.scale,
            noise=np.array([noise]),
            enough=enough,
        )

    found = ask(picked, judged.enough)
    _, status = judged.by(found)
    # What would fail although it lies between the one-sided slopes, as far as these are known, may
    # be on a kink: every step size is tried.
    analytic = judged.analytic[picked, None]
    with np.errstate(invalid="ignore"):
        low = np.minimum(found.left - found.left_bound, found.right - found.right_bound)
        high = np.maximum(found.left + found.left_bound, found.right + found.right_bound)
        outside = (analytic < low) | (analytic > high)
    again = np.nonzero((status == FAIL) & ~outside[:, 0])[0]
    if len(again):
        more = ask(picked[again], lambda value, bound: np.zeros(len(value), bool))
        for name in ("value", "bound", "left", "left_bound", "right", "right_bound"):
            getattr(found, name)[again] = getattr(more, name)
    return found


def _complex(
    function: _Function,
    variables: _Variables,
    picked: Array,
    found: Slopes,
    judged: _Judged,
    wanted: bool,
) -> Slopes | None:
    """The slopes by complex steps; None where f does not take them or differences contradict.

    wanted: then ValueError instead of None.
    """
    value, bound = found.value[:, 0], found.bound[:, 0]
    probe = differences.complex_step(function.complex, variables.flat, picked[:1])
    steps = (
        probe
        if probe is None
        else differences.complex_step(function.complex, variables.flat, picked)
    )
    if steps is None:
        if wanted:
            raise ValueError(
                "method: 'complex' needs an f that computes with complex numbers; this one "
                "raises, drops the imaginary part with a warning, or gives no finite number"
            )
        return None
    largest = np.zeros(len(variables.names))
    np.maximum.at(largest, judged.tensor, np.abs(steps))
    error = 4 * EPSILON * (np.abs(steps) + largest[judged.tensor])
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
        return Slopes(*(part[:, None] for part in (steps, error) * 3))
    # A difference that is known too coarsely could not tell a wrong complex step.
    told = bound <= np.maximum(judged.tolerance * np.abs(value), 1e-6 * largest[judged.tensor])
    if (gap > bound + error).any() or told.mean() < 1 - judging.MOST_INCONCLUSIVE:
        return None
    better = told & (error < bound)
    value, bound = np.where(better, steps, value), np.where(better, error, bound)
    return Slopes(
        value[:, None],
        bound[:, None],
        *(
            np.where(better[:, None], new[:, None], old)
            for new, old in (
                (value, found.left),
                (bound, found.left_bound),
                (value, found.right),
                (bound, found.right_bound),
            )
        ),
    )


# what the numbers say


def _diagnosis(judged: _Judged, found: Slopes, status: Array) -> list[str]:
    """What kind of wrong a wrong gradient is."""
    if not (status == FAIL).any():
        return []
    variables = judged.variables
    a, n, bound = judged.analytic[judged.picked], found.value[:, 0], found.bound[:, 0]
    rounding = judged.rounding[judged.picked]

    def ratio(rows: Array) -> float | None:
        return judging.ratio_of(
            a[rows], n[rows], bound[rows], tolerance=judged.tolerance, rounding=rounding[rows]
        )

    whole = ratio(np.ones(len(a), bool))
    if whole and abs(whole - 1) > judged.tolerance:
        return [_in_words("the gradient", whole, judged.tolerance)]
    findings = []
    right = []
    for t, (name, shape) in enumerate(zip(variables.names, variables.shapes, strict=True)):
        rows = judged.tensor == t
        if not (status[rows] == FAIL).any():
            right += [name] if rows.any() else []
            continue
        of = "the gradient" + (f" by {name}" if len(variables.names) > 1 else "")
        r = ratio(rows)
        if judged.vanishes[t]:
            findings.append(f"{of} is 0 throughout, the slope is not")
        elif not n[rows].any() and (bound[rows] < np.abs(a[rows]).max() * RESOLUTION).all():
            findings.append(f"{of} is not 0, but f does not depend on {name}")
        elif not np.isfinite(a[rows]).all():
            findings.append(
                f"{of} holds {int((~np.isfinite(a[rows])).sum()):,} values that are not finite"
            )
        elif r and abs(r - 1) > judged.tolerance:
            findings.append(_in_words(of, r, judged.tolerance))
        elif _transposed(judged, rows, shape, found):
            findings.append(f"transposed: {of} matches the slope with its indices exchanged")
        elif penalty := _penalty(judged, rows, found):
            findings.append(
                f"{of} differs from the slope by {penalty:.6g} times {name}: the derivative of an "
                "L2 penalty that only one of f and grad has"
            )
    if right and findings:
        findings.append(f"right: {', '.join(right)}")
    return findings


def _in_words(of: str, ratio: float, tolerance: float) -> str:
    text = f"{of} is {judging.in_words(ratio, 10 * tolerance)} the slope"
    return f"{text}: the sign is wrong" if ratio < 0 else text


def _slack(judged: _Judged, rows: Array, found: Slopes) -> Array:
    """What an element may differ by, of those in `rows`."""
    a, n = judged.analytic[judged.picked[rows]], found.value[rows, 0]
    size = np.maximum(np.abs(a), np.abs(n))
    return judged.tolerance * size + found.bound[rows, 0] + judged.rounding[judged.picked[rows]]


def _transposed(judged: _Judged, rows: Array, shape: tuple[int, ...], found: Slopes) -> bool:
    """Whether a square tensor's gradient equals the slope's transpose; only of whole tensors."""
    n = found.value[rows, 0]
    if len(shape) != 2 or shape[0] != shape[1] or len(n) != shape[0] ** 2:
        return False
    a = judged.analytic[judged.picked[rows]].reshape(shape)
    slack = _slack(judged, rows, found).reshape(shape)
    return bool((np.abs(a.T - n.reshape(shape)) <= np.maximum(slack, slack.T)).all())


def _penalty(judged: _Judged, rows: Array, found: Slopes) -> float | None:
    """The number by which analytic - numeric is proportional to x, over three elements or more."""
    x = judged.variables.flat[judged.picked[rows]]
    gap = judged.analytic[judged.picked[rows]] - found.value[rows, 0]
    slack = _slack(judged, rows, found)
    if len(x) < 3 or not np.isfinite(gap + slack).all():
        return None
    factor = float(gap @ x / (x @ x)) if x.any() else 0.0
    fits = (np.abs(gap - factor * x) <= 2 * slack).all() and (np.abs(gap) > slack).sum() >= 3
    return factor if fits else None


def _remarks(
    function: _Function,
    variables: _Variables,
    judged: _Judged,
    found: Slopes,
    status: Array,
    noise: float,
    value: float,
    max_elements: int,
) -> list[str]:
    """Kinks, noise, points without a value, selections."""
    remarks = []
    kinks = np.nonzero(
        (status == FAIL)
        & judging.on_kink(
            found.left[:, 0],
            found.left_bound[:, 0],
            found.right[:, 0],
            found.right_bound[:, 0],
            judged.tolerance,
        )
    )[0]
    for i in kinks[:3]:
        flat = int(judged.picked[i])
        remarks.append(
            f"x lies on a kink at {variables.name_of(flat)}: slope {found.left[i, 0]:.6g} on the "
            f"left, {found.right[i, 0]:.6g} on the right; the gradient {judged.analytic[flat]:.6g} "
            "is outside both (a sum of terms that all have a kink here can cause this: move x a "
            "little and check again)"
        )
    if len(kinks) > 3:
        remarks.append(f"... and {len(kinks) - 3:,} more elements on a kink")
    share = noise / judged.size_of(value)
    if share >= FEW_DIGITS:
        n_digits = max(0, round(-np.log10(share)))
        why = "computed in float32?" if 5 <= n_digits <= 8 else "noise"
        bound = found.bound[:, 0]
        largest = judged.largest(found.value[:, 0], bound)[judged.tensor]
        known = -np.log10(np.median(bound / np.where(largest > 0, largest, 1.0)))
        remarks.append(
            f"values of f carry about {n_digits} digits ({why})"
            + (f"; slopes are known to {known:.0f} or so" if 1 <= known < n_digits else "")
        )
    if function.n_lost:
        remarks.append(
            f"f {function.lost} at {function.n_lost:,} of {function.n_calls:,} points, near x; "
            "slopes come from the others"
        )
    if len(judged.picked) < variables.flat.size:
        remarks.append(
            f"checked {len(judged.picked):,} of {variables.flat.size:,} elements, evenly spaced in "
            f"each tensor (max_elements={max_elements})"
        )
    return remarks
