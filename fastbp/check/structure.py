"""Which a_k depend on which z_j, found by trying: `structure`.

What belongs here: the probe, Jacobians from values alone, and what they say about the sum over k
in delta_j = sum_k dC/da_k da_k/dz_j. What does not: costs, networks, pictures (pictures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

import numpy as np

from fastbp import functions, inputs, reference
from fastbp.check.differences import EPSILON, Change, noise_of, slopes
from fastbp.check.report import Result, Table

Array = np.ndarray
Vector = Callable[[Array], Array]

F64 = np.dtype(np.float64)
STEPS = (2.0**-7, 0.5, -0.5, 3.0, -3.0, 9.0, -9.0)  # finite: a small one stays on a kink's side
ROUNDING = 1e-12  # a change of a_k below that, relative to a_k, is a rounding of the same value
NEAR = tuple(2.0**-k for k in (12, 16, 20, 24, 28))  # steps of the look at both sides of z_j
SPREADS = (1.0, 1.0, 1.0, 0.1, 3.0, 3.0)  # of the random points

# Why the sum over k stays, in words, for those that are known by name.
REASONS = {
    "softmax": "every a_k has all z_j in its denominator",
    "log_softmax": "every a_k has all z_j in the logarithm of a sum",
    "layer_norm": "every a_k has the mean and the variance of all z_j in it",
    "maxout": "each a_k is the largest z_j of its group, and the others do not count",
    "glu": "each a_k is z_k times the sigmoid of z_{k+n}, and depends on both",
}


# functions that somebody else wrote


def name_of(function: object) -> str:
    """A name as it stands, or a callable's own."""
    if isinstance(function, str):
        return function
    return str(getattr(function, "__name__", type(function).__name__))


def called(function: Callable[..., Any], argument: str, takes: str, *values: Any) -> Array:
    """function(*values) in numbers, finite, a copy; what goes wrong is told of `argument`."""
    try:
        with np.errstate(all="ignore"):
            copies = (v.copy() if isinstance(v, np.ndarray) else v for v in values)
            result = np.array(function(*copies))
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise ValueError(
            f"{argument}: expected a function of {takes}; got {type(error).__name__}: {text}"
        ) from error
    return numbers(result, argument)


def numbers(value: Any, name: str, dtype: Any = None) -> Array:
    """`value` as finite numbers of `dtype`; without one float32 stays, all else is float64."""
    if dtype is None:
        short = getattr(value, "dtype", None) == np.float32
        dtype = np.dtype(np.float32) if short else F64
    if isinstance(value, list | tuple) or np.ndim(value):
        return inputs.as_numbers(value, name, dtype)
    return inputs.as_numbers(np.array([value]), name, dtype).reshape(())


def called_twice(function: Callable[..., Any], argument: str, takes: str, *values: Any) -> Array:
    """The same, refused where a second call gives other bits."""
    first = called(function, argument, takes, *values)
    second = called(function, argument, takes, *values)
    if first.shape != second.shape or first.tobytes() != second.tobytes():
        raise ValueError(
            f"{argument}: expected the same result from the same numbers; got {_short(first)}, "
            f"then {_short(second)}"
        )
    return first


def _short(array: Array) -> str:
    text = np.array2string(array.ravel()[:4], precision=6, separator=", ")
    return text if array.size <= 4 else text[:-1] + ", ...]"


def lenient(function: Callable[..., Any], shape: tuple[int, ...]) -> Vector:
    """z -> function(z) as float64; NaN where it raises or has another shape.

    For points near one where it is known to work: some may lie outside its domain.
    """

    def evaluate(z: Array) -> Array:
        try:
            with np.errstate(all="ignore"):
                result = np.array(function(z.copy()), dtype=np.float64)
        except Exception:
            return np.full(shape, np.nan)
        return result if result.shape == shape else np.full(shape, np.nan)

    return evaluate


# what is tried


def dependence(
    evaluate: Vector, points: list[Array], columns: Iterable[int] | None = None
) -> tuple[Array, Array]:
    """Which a_k (rows) change with which z_j (columns), and which of them in last digits only.

    z_j is changed by finite amounts at each point; a_k depends on it where one bit of a_k changes
    by more than rounding. Of all j, or of `columns` alone.

    >>> depends, _ = dependence(np.cumsum, [np.array([1.0, 2.0])])
    >>> depends.tolist()
    [[True, False], [True, True]]
    """
    n_z, n_a = len(points[0]), len(evaluate(points[0]))
    largest = np.zeros((n_a, n_z))
    changed = np.zeros((n_a, n_z), bool)
    for z in points:
        a = evaluate(z)
        if not np.isfinite(a).all():
            continue
        for j in range(n_z) if columns is None else columns:
            for step in STEPS:
                moved = z.copy()
                moved[j] += step
                b = evaluate(moved)
                if np.isnan(b).all():  # outside the domain: nothing learnt
                    continue
                differs = a != b
                with np.errstate(invalid="ignore", divide="ignore"):
                    size = np.abs(b - a) / np.maximum(np.abs(a), np.abs(b))
                size = np.where(differs, np.where(np.isfinite(size), size, np.inf), 0.0)
                largest[:, j] = np.maximum(largest[:, j], size)
                changed[:, j] |= differs
    depends = largest > ROUNDING
    return depends, changed & ~depends


@lru_cache(maxsize=64)
def collapses_by_name(name: str, n_a: int) -> bool:
    """Whether the probe finds a_k to depend on z_k only; n_a above 5 makes no difference."""
    n_z = reference.activation_width(name, min(n_a, 5))
    random = np.random.default_rng(0)
    evaluate = lenient(partial(reference.activation, name), (min(n_a, 5),))
    depends, _ = dependence(evaluate, [s * random.standard_normal(n_z) for s in SPREADS])
    return not (depends & is_off_diagonal(depends.shape)).any()


def enough(value: Array, bound: Array) -> Array:
    """Which derivatives (k,) are known well enough for all that is asked of them here."""
    scale = np.abs(np.where(np.isfinite(value), value, 0.0)).max(initial=0.0)
    return (bound <= max(1e-9 * scale, 1e-13)).all(axis=1)


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


def derivatives(
    change: Change, evaluate: Vector, x: Array, noise_of_value: float = 0.0
) -> Derivative:
    """Derivatives by every x_j: extrapolated differences, held against plain ones close to x.

    Extrapolation has all the digits, but believes a function to be smooth; near a kink it can be
    far off with a narrow bound. Where the slopes on both sides of x contradict it, they win.

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
    index = np.arange(len(x))
    with np.errstate(invalid="ignore", over="ignore", divide="ignore"):
        noise = np.maximum(noise_of(evaluate, x, ones), noise_of_value)
        noise = np.where(np.isfinite(noise), noise, np.inf)
        found = slopes(change, x, index, scale=ones, noise=noise, enough=enough)
        # both sides of x at a few small steps: (steps, k, m)
        unit = np.exp2(np.ceil(np.log2(np.maximum(np.abs(x), 1.0))))
        steps = np.multiply.outer(NEAR, unit)
        points = np.concatenate([x + steps, x - steps])
        values = change(np.tile(index, len(points)), points.ravel()).reshape(*points.shape, -1)
        quotients = values / (points - x)[:, :, None]
        right, left = quotients[: len(NEAR)], quotients[len(NEAR) :]
        slack = np.abs(values[: len(NEAR)]) + np.abs(values[len(NEAR) :])
        slack = 4 * (noise + EPSILON * slack) / steps[:, :, None]
        gap = np.abs(right - left)
        centre = (left + right) / 2
        moved = np.abs(np.diff(centre, axis=0))
        error = gap + slack + np.concatenate([moved[:1], moved])
        error = np.where(np.isnan(error), np.inf, error)
        at = np.argmin(error, axis=0)
        best, centre = _at(error, at), _at(centre, at)
        # The finest step at which both sides clearly differ: of a smooth function they differ 16
        # times less than at the step before. A finer one that would show the gap may show none.
        clear = gap > 8 * slack
        i = len(NEAR) - 1 - np.argmax(clear[::-1], axis=0)
        finer = np.minimum(i + 1, len(NEAR) - 1)
        kink = clear.any(axis=0) & (i > 0) & (_at(gap, i) > _at(gap, np.maximum(i - 1, 0)) / 4)
        kink &= (finer == i) | (8 * _at(slack, finer) > _at(gap, i) / 4)

        value, bound = found.value, found.bound
        apart = np.abs(value - centre) > bound + best + 1e-6 * np.abs(centre)
        other = np.isfinite(best) & (apart | ~(bound <= best))
        value, bound = np.where(other, centre, value), np.where(other, best, bound)

        # at a kink: extrapolated slopes where the plain ones agree with them
        sides = []
        left, right, slack = _at(left, i), _at(right, i), _at(slack, i)
        near = slack + 1e-6 * np.maximum(np.abs(left), np.abs(right))
        near += _at(moved, np.maximum(i - 1, 0))
        for plain, fine, known in (
            (left, found.left, found.left_bound),
            (right, found.right, found.right_bound),
        ):
            agree = (np.abs(fine - plain) <= near) & (known <= near)
            sides.append((np.where(agree, fine, plain), np.where(agree, known, near)))
        (left_, left_error), (right_, right_error) = sides
        low, high = np.minimum(left_, right_), np.maximum(left_, right_)
        return Derivative(
            np.where(kink, (low + high) / 2, value),
            np.where(kink, np.maximum(left_error, right_error), bound),
            np.where(kink, low, value),
            np.where(kink, high, value),
            kink,
        )


def _at(stack: Array, level: Array) -> Array:
    """Of (levels, k, m) the entries (k, m) at the given levels."""
    return np.take_along_axis(stack, level[None], axis=0)[0]


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


def is_off_diagonal(shape: tuple[int, int]) -> Array:
    """True where k != j."""
    return ~np.eye(*shape, dtype=bool)


# the result


@dataclass(frozen=True, eq=False)
class Structure(Result):
    """What `structure` found.

    Attributes
    ----------
    activation : str
    n_z, n_a : int
        Numbers of z_j and of a_k.
    kind : str
        "diagonal" (a_k depends on z_k only), "block" (on the z_j of its group), "one-survivor" (on
        one z_j at a time, which one depends on z), "dense" or "couples samples".
    collapses : bool
        Whether delta_j = sum_k dC/da_k da_k/dz_j is its k = j term alone.
    symmetric : bool
        Whether da_k/dz_j = da_j/dz_k at every point tried.
    depends : ndarray of bool (n_a, n_z)
        Whether a_k changed with z_j at any point.
    jacobian : ndarray (n_a, n_z)
        da_k/dz_j at the first point.
    findings, verdict : as in every result; nothing can be wrong here, `ok` is True
    """

    activation: str
    n_z: int
    n_a: int
    kind: str
    collapses: bool
    symmetric: bool
    depends: Array
    jacobian: Array
    findings: tuple[str, ...]
    verdict: str

    title = "structure"

    def tables(self) -> list[Table]:
        """Which a_k depend on which z_j, and the Jacobian."""
        header = ["k", *(f"j={j}" for j in range(1, self.n_z + 1))]
        marks = [
            [str(k), *("x" if d else "." for d in row)] for k, row in enumerate(self.depends, 1)
        ]
        slopes = [[str(k), *row] for k, row in enumerate(self.jacobian, 1)]
        return [
            Table("a_k changes with z_j", header, marks),
            Table("J[k,j] = da_k/dz_j at a random z", header, slopes),
        ]

    def plot(self, ax: Any = None) -> Any:
        """Draw the Jacobian as a heat map (needs matplotlib); returns the Axes."""
        from fastbp.check import pictures

        return pictures.structure(self, ax)


def structure(
    activation: str | Callable[[Any], Any], n: int | None = None, *, seed: int = 0
) -> Structure:
    """Find out which a_k depend on which z_j, and whether the sum over k collapses.

    Two tests. An exact one: z_j is changed by finite amounts at several random points; does a_k
    keep every bit? And Jacobians at these points: a single one can hold accidental zeros.

    Parameters
    ----------
    activation : str or callable
        A name, or a function of z, shape (n,). If it also takes a batch (m, n), neurons on the
        last axis, whether its rows keep apart is examined, too.
    n : int, optional
        Of a name the number of activations, of a callable the number of z_j. Default 4.
    seed : int
        Of the random points.

    Returns
    -------
    Structure

    Examples
    --------
    >>> from fastbp.check.structure import structure
    >>> structure("sigmoid").verdict
    'diagonal: each a_k depends on its own z_k only'
    >>> found = structure("softmax", 3)
    >>> found.kind, found.collapses, found.symmetric
    ('dense', False, True)
    >>> structure(lambda z: z * z[..., ::-1]).kind
    'block'
    """
    n = 4 if n is None else inputs.as_count(n, "n")
    seed = inputs.as_count(seed, "seed", 0)
    function: Callable[[Any], Any]
    if callable(activation):
        label, n_z, function = name_of(activation), n, activation
    else:
        label = functions.activation(activation, "activation").name
        n_z = reference.activation_width(label, n)
        function = partial(reference.activation, label)
    random = np.random.default_rng(seed)
    points = [spread * random.standard_normal(n_z) for spread in SPREADS]
    n_a = len(_checked(function, points[0]))
    for z in points[1:]:
        _checked(function, z, n_a)
    evaluate = lenient(function, (n_a,))

    depends, rounding = dependence(evaluate, points)
    jacobians, bounds = [], []
    for z in points:
        if callable(activation):
            found = numeric_jacobian(evaluate, z)
            J, bound = found.value.T, found.bound.T
        else:
            with np.errstate(all="ignore"):
                J = reference.activation_jacobian(label, z)
            bound = np.full(J.shape, 4 * EPSILON * np.abs(J).max())
        jacobians.append(np.where(depends | ~(np.abs(J) <= bound), J, 0.0))
        bounds.append(bound)
    first = called(function, "activation", f"z, shape ({n_z},)", points[0])
    if (first.astype(F64) != evaluate(points[0])).any():
        raise ValueError("activation: expected the same result from the same z; got another")

    symmetric = n_a == n_z and all(
        (np.abs(J - J.T) <= b + b.T + 1e-12 * _largest(J)).all()
        for J, b in zip(jacobians, bounds, strict=True)
    )
    alive = [
        np.abs(J) > np.maximum(b, 1e-9 * _largest(J))
        for J, b in zip(jacobians, bounds, strict=True)
    ]
    kind, sentence = _kind(depends, alive, n_z, n_a)
    findings = []
    mixed, remark = _mixed_rows(function, n_z, n_a, random) if callable(activation) else (False, "")
    if mixed:
        findings.append(f"On one sample alone it is {kind}: {sentence}.")
        findings.append("If it is meant for one sample at a time, it must be given no batch.")
        kind, sentence = "couples samples", remark
    elif remark:
        findings.append(remark)
    findings += _explained(label, kind, symmetric, depends, rounding)
    if not np.isfinite(jacobians[0]).all():
        findings.append("Not every da_k/dz_j could be found from differences; NaN stands there.")
    return Structure(
        label,
        n_z,
        n_a,
        kind,
        kind == "diagonal",
        symmetric,
        depends,
        jacobians[0],
        tuple(findings),
        f"{kind}: {sentence}",
    )


def _checked(function: Callable[[Any], Any], z: Array, n_a: int | None = None) -> Array:
    takes = f"z, shape ({len(z)},)"
    a = called_twice(function, "activation", takes, z)
    if a.ndim != 1 or not a.size or (n_a is not None and len(a) != n_a):
        wanted = "(n,)" if n_a is None else f"({n_a},) as before"
        raise ValueError(f"activation: expected shape {wanted} from {takes}; got {a.shape}")
    return a


def _largest(J: Array) -> float:
    return float(np.abs(np.where(np.isfinite(J), J, 0.0)).max())


def _components(depends: Array) -> int:
    """Number of groups of a_k that share no z_j with another group."""
    together = (depends.astype(int) @ depends.T.astype(int)) > 0
    left, count = set(range(len(depends))), 0
    while left:
        todo = [left.pop()]
        count += 1
        while todo:
            near = left & set(np.flatnonzero(together[todo.pop()]).tolist())
            left -= near
            todo += near
    return count


def _kind(depends: Array, alive: list[Array], n_z: int, n_a: int) -> tuple[str, str]:
    if not depends.any():
        return "diagonal", "no a_k depends on any z_j: the output is constant"
    if not (depends & is_off_diagonal(depends.shape)).any():
        return "diagonal", "each a_k depends on its own z_k only"
    several = (np.any(alive, axis=0).sum(axis=1) > 1).any()
    if several and all((a.sum(axis=1) <= 1).all() for a in alive):
        return "one-survivor", (
            "each a_k follows one z_j at a time, and which one depends on z; da_k/dz_j = 0 for the "
            "others"
        )
    groups = _components(depends)
    if groups > 1:
        most = int(depends.sum(axis=1).max())
        return "block", (
            f"the a_k fall into {groups} groups, each with z_j of its own; an a_k depends on up to "
            f"{most} of them"
        )
    if depends.all():
        return "dense", "every a_k depends on every z_j"
    return "dense", f"{int(depends.sum())} of {n_a * n_z} pairs (k, j) depend, all in one group"


def _mixed_rows(
    function: Callable[[Any], Any], n_z: int, n_a: int, random: np.random.Generator
) -> tuple[bool, str]:
    """Whether a row of a batch changes when another row is changed; and a sentence."""
    m = next(m for m in range(3, 9) if m not in (n_z, n_a))
    batch = random.standard_normal((m, n_z))
    evaluate = lenient(function, (m, n_a))
    a = evaluate(batch)
    if not np.isfinite(a).all():
        return False, f"It takes one z at a time: a batch ({m}, {n_z}) gives no ({m}, {n_a})."
    largest = 0.0
    for s in range(m):
        moved = batch.copy()
        moved[s] += random.standard_normal(n_z) * 2
        others = np.arange(m) != s
        b = evaluate(moved)[others]
        size = np.abs(b - a[others]) / np.maximum(np.maximum(np.abs(a[others]), np.abs(b)), 1e-300)
        largest = max(largest, float(np.where(np.isnan(size), np.inf, size).max()))
    if largest <= ROUNDING:
        return False, ""
    return True, (
        "of a batch, one sample's a changes when another sample's z is changed; the cost is then "
        "no mean of C_x, each from its own x"
    )


def why_the_sum(name: str, collapses: bool, depends: Array) -> str:
    """One sentence: whether the sum over k collapses for this activation, and why."""
    if collapses:
        return (
            f"The sum over k collapses for {name}: each a_k depends on its own z_k only, so "
            "da_k/dz_j = 0 for k != j and the k = j term is all of it."
        )
    kind = name.partition("(")[0]
    reason = REASONS.get(kind)
    if reason is None:
        pairs = np.argwhere(depends & is_off_diagonal(depends.shape))
        k, j = pairs[0] + 1 if len(pairs) else (1, 1)
        reason = f"a_{k} changes when z_{j} is changed" if len(pairs) else "samples are coupled"
    return f"The sum over k does not collapse for {name}: {reason}."


def about_symmetry(name: str, n_z: int, n_a: int, symmetric: bool, collapses: bool) -> str:
    """One sentence: what a test with this activation cannot see; "" where there is nothing."""
    if n_z == 1 or n_a == 1 or collapses:
        return ""
    if symmetric:
        return (
            f"J is symmetric for {name}: code with J where J^T belongs gives the same numbers. "
            "log_softmax, whose J is not symmetric, shows that mistake."
        )
    if n_a == n_z:
        return f"J is not symmetric for {name}: J where J^T belongs gives other numbers."
    return f"J is {n_a} by {n_z} for {name}: J where J^T belongs does not even fit."


def _explained(name: str, kind: str, symmetric: bool, depends: Array, rounding: Array) -> list[str]:
    n_a, n_z = depends.shape
    collapses = kind == "diagonal"
    lines = [why_the_sum(name, collapses, depends)]
    lines.append(about_symmetry(name, n_z, n_a, symmetric, collapses))
    if collapses:
        lines.append(
            "J is diagonal: with this activation neither a dropped sum nor J for J^T can be seen."
        )
    constant = np.flatnonzero(~depends.any(axis=1)) + 1
    if len(constant):
        lines.append(f"a_{constant[0]} depends on no z_j: it is constant where it was tried.")
    unused = np.flatnonzero(~depends.any(axis=0)) + 1
    if len(unused) and not len(constant):
        lines.append(f"z_{unused[0]} changes no a_k: its delta is 0 whatever the cost.")
    if rounding.any():
        k, j = np.argwhere(rounding)[0] + 1
        lines.append(
            f"a_{k} changes with z_{j} in its last digits only: a rounding, not a dependence."
        )
    return [line for line in lines if line]
