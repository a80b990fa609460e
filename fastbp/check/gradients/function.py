"""The gradient of anybody's scalar function, held against the function's own values.

What belongs here: `gradient` and what it tells. What does not: networks (network.py), the
structure of x (variables.py), where slopes come from (slopes.py), the rule that passes an element
(judging.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from fastbp import inputs
from fastbp.check import judging
from fastbp.check.gradients.slopes import (
    FEW_DIGITS,
    Judged,
    Values,
    by_complex_steps,
    by_differences,
)
from fastbp.check.gradients.variables import Nested, Variables
from fastbp.check.judging import FAIL, MOST_POINTS, RESOLUTION, Points, TensorCheck
from fastbp.check.numeric.callables import UncheckableError, called
from fastbp.check.numeric.differences import Slopes
from fastbp.check.report import Result, Table
from fastbp.functions import one_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["FunctionCheck", "UncheckableError", "gradient"]

Array = np.ndarray

METHODS = ("auto", "differences", "complex", "mpmath")


@dataclass(frozen=True, eq=False)
class FunctionCheck(Result):
    """What `gradient` found: whether a function's gradient is right, and where it is not.

    `plot` draws the gradient against slopes, with error bars.

    Attributes
    ----------
    verdict : str
        Begins with "pass", "FAIL" or "inconclusive".
    findings : tuple of str
        What is wrong, in words, and what was left out.
    tensors : tuple of TensorCheck
        Of x, each with its worst element.
    method : str
        Where the slopes come from: "differences", "complex" or "mpmath".
    noise : float
        Error of a value of f, absolute.
    n_checked : int
        Elements.
    points : Points
        All of them, for plots.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> found = fastbp.check.gradient(lambda x: (x**2).sum(), lambda x: x, np.arange(1.0, 4.0))
    >>> found.ok, found.findings
    (False, ('the gradient is exactly 1/2 of the slope',))
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
        """Give the numbers as tables: the worst element of each tensor.

        Returns
        -------
        list of Table
            One, a row a tensor.
        """
        return [judging.table(self.tensors)]

    def to_dict(self) -> dict[str, Any]:
        """Give everything in the types of JSON; None for a number that is NaN or infinite.

        Returns
        -------
        dict
            "ok", "verdict" and every attribute, by name; `points` only where they are not too many.
        """
        found = super().to_dict()
        if self.n_checked > MOST_POINTS:
            del found["points"]
        return found

    def plot(self, ax: Axes | None = None) -> Axes:
        from fastbp.check import pictures

        return pictures.points(self.points, [t.name for t in self.tensors], ax)


def gradient(
    f: Callable[..., SupportsFloat],
    grad: Nested | Callable[..., Nested],
    x: Nested,
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
    x : array_like, or list, tuple, namedtuple or dict of arrays, nested as deep as you like
        Where to check; converted to float64. Tensors are named "x", "x[0]", "x['W']", "x[0].W".
        Of lists of numbers of unequal length, each reaches f as an array.
    tolerance : float
        An element passes if it differs from the slope by no more than this, relative to the larger
        of both, and the slope's own error bound, and 4 roundings of the largest element of its
        tensor that changes f as much as it does.
    method : str
        Where slopes come from. "differences": extrapolated central differences, each with a bound
        on its error. "complex": complex steps, refused where differences contradict them. "auto":
        differences, replaced by complex steps where f takes them and they agree in every element.
        "mpmath": differences of 50 digits; f is handed object arrays of mpmath.mpf. An f that
        keeps state (a model that is trained) wants "differences".
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
    seed = inputs.as_count(seed, "seed", least=0)
    method = one_of("method", method, METHODS)
    variables = Variables(x)
    function = Values(f, variables)
    value = function.first()
    analytic, transposed, epsilons = variables.read(_asked(grad, variables))
    judged = Judged(function, analytic, max_elements, tolerance)
    judged.measure(value, epsilons, seed)
    if method == "mpmath":
        from fastbp.check.numeric import digits

        found = digits.slopes(function.exact, variables.flat, judged.picked).column(0)
        used = "mpmath"
    else:
        found, used = by_differences(judged), "differences"
    function.last()
    if callable(grad):
        _same_again(variables, analytic, variables.read(_asked(grad, variables))[0])
    if method in ("auto", "complex"):  # last: what keeps state may not survive complex numbers
        steps = by_complex_steps(judged, found, method == "complex")
        if steps is not None:
            found, used = steps, "complex"

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
        *_remarks(judged, found, status),
    ]
    starts = np.array([part.start for part in variables.parts])
    return FunctionCheck(
        verdict=verdict,
        findings=tuple(findings),
        tensors=tuple(tensors),
        method=used,
        noise=judged.noise,
        n_checked=len(judged.picked),
        points=Points(
            tensor=judged.tensor,
            index=judged.picked - starts[judged.tensor],
            analytic=judged.a,
            numeric=found.value,
            bound=found.bound,
            status=status,
        ),
    )


def _as_tolerance(value: Any) -> float:
    number = inputs.as_penalty(value, "tolerance")
    if not 0 < number < 1:
        raise ValueError(f"tolerance: expected a number above 0 and below 1; got {number!r}")
    return number


def _asked(grad: Any, variables: Variables) -> Any:
    """The gradient, which may have been given as it is."""
    if not callable(grad):
        return grad
    return called(grad, "grad: expected a gradient at x", variables.build(variables.flat))


def _same_again(variables: Variables, analytic: Array, again: Array) -> None:
    if not np.array_equal(again, analytic, equal_nan=True):
        j = int(np.argmax(~((again == analytic) | (np.isnan(again) & np.isnan(analytic)))))
        raise UncheckableError(
            f"grad: expected the same gradient for the same x; by {variables.name_of(j)} a repeat "
            f"gave {float(again[j])!r} after {float(analytic[j])!r}"
        )


# what the numbers say


def _diagnosis(judged: Judged, found: Slopes, status: Array) -> list[str]:
    """What kind of wrong a wrong gradient is."""
    if not (status == FAIL).any():
        return []
    variables, a, n, bound = judged.variables, judged.a, found.value, found.bound

    def ratio(rows: Array) -> float | None:
        rounding = judged.rounding[rows]
        return judging.ratio_of(
            a[rows], n[rows], bound[rows], tolerance=judged.tolerance, rounding=rounding
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
        if not judged.analytic[variables.parts[t]].any():
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


def _slack(judged: Judged, rows: Array, found: Slopes) -> Array:
    """What an element may differ by, of those in `rows`."""
    size = np.maximum(np.abs(judged.a), np.abs(found.value))
    slack = judged.tolerance * size + found.bound + judged.rounding
    return slack[rows]


def _transposed(judged: Judged, rows: Array, shape: tuple[int, ...], found: Slopes) -> bool:
    """Whether a square tensor's gradient equals the slope's transpose; only of whole tensors."""
    n = found.value[rows]
    if len(shape) != 2 or shape[0] != shape[1] or len(n) != shape[0] ** 2:
        return False
    a = judged.a[rows].reshape(shape)
    slack = _slack(judged, rows, found).reshape(shape)
    return bool((np.abs(a.T - n.reshape(shape)) <= np.maximum(slack, slack.T)).all())


def _penalty(judged: Judged, rows: Array, found: Slopes) -> float | None:
    """The number by which analytic - numeric is proportional to x, over three elements or more."""
    x = judged.variables.flat[judged.picked[rows]]
    gap = judged.a[rows] - found.value[rows]
    slack = _slack(judged, rows, found)
    if len(x) < 3 or not np.isfinite(gap + slack).all():
        return None
    factor = float(gap @ x / (x @ x)) if x.any() else 0.0
    fits = (np.abs(gap - factor * x) <= 2 * slack).all() and (np.abs(gap) > slack).sum() >= 3
    return factor if fits else None


def _remarks(judged: Judged, found: Slopes, status: Array) -> list[str]:
    """Kinks, noise, points without a value, selections."""
    function, variables = judged.function, judged.variables
    remarks = []
    sides = found.left, found.left_bound, found.right, found.right_bound
    kinks = np.nonzero((status == FAIL) & judging.on_kink(*sides, judged.tolerance))[0]
    for i in kinks[:3]:
        where = variables.name_of(int(judged.picked[i]))
        remarks.append(
            f"x lies on a kink at {where}: slope {found.left[i]:.6g} on the "
            f"left, {found.right[i]:.6g} on the right; the gradient {judged.a[i]:.6g} "
            "is outside both (a sum of terms that all have a kink here can cause this: move x a "
            "little and check again)"
        )
    if len(kinks) > 3:
        remarks.append(f"... and {len(kinks) - 3:,} more elements on a kink")
    if judged.share >= FEW_DIGITS:
        n_digits = max(0, round(-np.log10(judged.share)))
        why = "computed in float32?" if 5 <= n_digits <= 8 else "noise"
        largest = judged.largest(found.value, found.bound)[judged.tensor]
        known = -np.log10(np.median(found.bound / np.where(largest > 0, largest, 1.0)))
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
            f"each tensor (max_elements={judged.max_elements})"
        )
    return remarks
