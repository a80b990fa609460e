"""Which a_k depend on which z_j, found by trying: `structure`.

What belongs here: the probe, and what it says about the sum over k in
delta_j = sum_k dC/da_k da_k/dz_j. What does not: costs, networks, derivatives from values
(derivative.py), pictures (pictures.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from fastbp import functions, inputs, reference
from fastbp.check.numeric.callables import Function, Vector, called_twice, lenient, name_of
from fastbp.check.numeric.derivative import numeric_jacobian
from fastbp.check.numeric.differences import EPSILON
from fastbp.check.report import MOST_COLUMNS, MOST_ROWS, Result, Table, shown
from fastbp.inputs import ArrayLike

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray

STEPS = (2.0**-7, 0.5, -0.5, 3.0, -3.0, 9.0, -9.0)  # finite: a small one stays on a kink's side
MOST_NUMBERS = 2**22  # of J
ROUNDING = 1e-12  # a change of a_k below that, relative to a_k, is a rounding of the same value
# z_j that are changed of a named activation, whose number may make them many; z_j times all z_j
LEAST_PROBED, MOST_PROBED, MOST_PAIRS = 16, 512, 2**21
SPREADS = (1.0, 1.0, 1.0, 0.1, 3.0, 3.0)  # of the random points

# Why the sum over k stays, in words, for those that are known by name.
REASONS = {
    "softmax": "every a_k has all z_j in its denominator",
    "log_softmax": "every a_k has all z_j in the logarithm of a sum",
    "layer_norm": "every a_k has the mean and the variance of all z_j in it",
    "maxout": "each a_k is the largest z_j of its group, and the others do not count",
    "glu": "each a_k is z_k times the sigmoid of z_{k+n}, and depends on both",
}


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


def even_selection(n: int, most: int) -> list[int]:
    """All of n indices, or an even selection."""
    return np.unique(np.linspace(0, n - 1, min(n, most)).astype(int)).tolist()


def is_off_diagonal(shape: tuple[int, int]) -> Array:
    """True where k != j."""
    return ~np.eye(*shape, dtype=bool)


def by_k_and_j(title: str, rows: Array) -> Table:
    """A table of what has a value for each k (rows) and j (columns)."""
    at_k, at_j = shown(rows.shape[0], MOST_ROWS), shown(rows.shape[1], MOST_COLUMNS)
    header = ["k", *("..." if j is None else f"j={j + 1}" for j in at_j)]
    gap = ["..."] * len(header)
    cells = [
        gap if k is None else [str(k + 1), *("..." if j is None else rows[k, j] for j in at_j)]
        for k in at_k
    ]
    return Table(title, header, cells)


# the result


@dataclass(frozen=True, eq=False)
class Structure(Result):
    """What `structure` found: which a_k depend on which z_j.

    `plot` draws the Jacobian as a heat map.

    Attributes
    ----------
    activation : str
        Its name; of a callable its own.
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
        Whether a_k changed with z_j at any point. Of a name with more than 512 z_j an even
        selection is changed; the others depend where J says so at one of the points.
    jacobian : ndarray (n_a, n_z)
        da_k/dz_j at the first point.
    findings, verdict : tuple of str, str
        In words; nothing can be wrong here, `ok` is True.

    Examples
    --------
    >>> import fastbp
    >>> found = fastbp.check.structure("softmax", 3)
    >>> found.kind, found.depends.tolist()
    ('dense', [[True, True, True], [True, True, True], [True, True, True]])
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
        """Give the numbers as tables: which a_k depend on which z_j, and the Jacobian.

        Returns
        -------
        list of Table
            Both with a row for each k.
        """
        return [
            by_k_and_j("a_k changes with z_j", np.where(self.depends, "x", ".")),
            by_k_and_j("J[k,j] = da_k/dz_j at a random z", self.jacobian),
        ]

    def plot(self, ax: Axes | None = None) -> Axes:
        from fastbp.check import pictures

        title = f"da_k/dz_j of {self.activation}: {self.kind}"
        return pictures.heat_map(self.jacobian, title, ax)


def structure(
    activation: str | Callable[[np.ndarray], ArrayLike], n: int | None = None, *, seed: int = 0
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
        Its `kind` and `collapses` are the answer.

    Raises
    ------
    ValueError
        The Jacobian would be too large, or a function gives what is no activation.

    Examples
    --------
    >>> from fastbp.check.terms.structure import structure
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
    function: Function
    if callable(activation):
        label, n_z, function = name_of(activation), n, activation
    else:
        label = functions.activation(activation, "activation").name
        n_z, function = reference.activation_width(label, n), partial(reference.activation, label)
    if n * n_z > MOST_NUMBERS:
        raise ValueError(
            f"n: expected a Jacobian of at most {MOST_NUMBERS:,} numbers; got "
            f"{functions.shown(n)} by {functions.shown(n_z)}"
        )
    random = np.random.default_rng(seed)
    points = [spread * random.standard_normal(n_z) for spread in SPREADS]
    values = _values(function, points)
    n_a = len(values[0])
    evaluate = lenient(function, (n_a,))

    most = n_z if callable(activation) else min(MOST_PROBED, MOST_PAIRS // n_z)
    columns = even_selection(n_z, max(LEAST_PROBED, most))
    depends, rounding = dependence(evaluate, points, columns)
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
    tried = np.zeros(n_z, bool)
    tried[columns] = True
    for J in jacobians:
        depends[:, ~tried] |= J[:, ~tried] != 0
    if (values[0] != evaluate(points[0])).any():
        raise ValueError("activation: expected the same result from the same z; got another")

    sizes = [np.abs(np.where(np.isfinite(J), J, 0.0)).max() for J in jacobians]
    symmetric = n_a == n_z and all(
        (np.abs(J - J.T) <= b + b.T + 1e-12 * size).all()
        for J, b, size in zip(jacobians, bounds, sizes, strict=True)
    )
    alive = [
        np.abs(J) > np.maximum(b, 1e-9 * size)
        for J, b, size in zip(jacobians, bounds, sizes, strict=True)
    ]
    kind, sentence = _kind(depends, alive)
    findings = []
    mixed, remark = _mixed_rows(function, n_z, n_a, random) if callable(activation) else (False, "")
    if mixed:
        findings.append(f"On one sample alone it is {kind}: {sentence}.")
        findings.append("If it is meant for one sample at a time, it must be given no batch.")
        kind, sentence = "couples samples", remark
    elif remark:
        findings.append(remark)
    findings += _explained(label, kind == "diagonal", symmetric, depends, rounding, tried)
    if not tried.all():
        findings.append(f"Changed were {tried.sum():,} of {n_z:,} z_j, evenly spaced.")
    if not np.isfinite(jacobians[0]).all():
        findings.append("Not every da_k/dz_j could be found from differences; NaN stands there.")
    return Structure(
        activation=label,
        n_z=n_z,
        n_a=n_a,
        kind=kind,
        collapses=kind == "diagonal",
        symmetric=symmetric,
        depends=depends,
        jacobian=jacobians[0],
        findings=tuple(findings),
        verdict=f"{kind}: {sentence}",
    )


def _values(function: Function, points: list[Array]) -> list[Array]:
    """a at every point, all of one length."""
    takes = f"z, shape {points[0].shape}"
    values: list[Array] = []
    for z in points:
        a = called_twice(function, "activation", takes, z)
        if a.ndim != 1 or not a.size or (values and len(a) != len(values[0])):
            wanted = f"({len(values[0])},) as before" if values else "(n,)"
            raise ValueError(f"activation: expected shape {wanted} from {takes}; got {a.shape}")
        values.append(a)
    return values


def _components(depends: Array) -> int:
    """Number of groups of a_k that share no z_j with another group."""
    group = np.arange(len(depends))
    for column in depends.T:  # what depends on one z_j belongs together
        joined = group[column]
        group[np.isin(group, joined)] = joined.min(initial=len(group))
    return len(np.unique(group))


def _kind(depends: Array, alive: list[Array]) -> tuple[str, str]:
    """Its kind, and what that means in words."""
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
    return "dense", f"{int(depends.sum())} of {depends.size} pairs (k, j) depend, all in one group"


def _mixed_rows(
    function: Function, n_z: int, n_a: int, random: np.random.Generator
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


def about_symmetry(
    name: str, shape: tuple[int, ...], symmetric: bool, collapses: bool
) -> list[str]:
    """What a test with this activation cannot see, where there is something."""
    n_a, n_z = shape
    if n_z == 1 or n_a == 1 or collapses:
        return []
    if symmetric:
        return [
            f"J is symmetric for {name}: code with J where J^T belongs gives the same numbers. "
            "log_softmax, whose J is not symmetric, shows that mistake."
        ]
    if n_a == n_z:
        return [f"J is not symmetric for {name}: J where J^T belongs gives other numbers."]
    return [f"J is {n_a} by {n_z} for {name}: J where J^T belongs does not even fit."]


def _explained(
    name: str, collapses: bool, symmetric: bool, depends: Array, rounding: Array, tried: Array
) -> list[str]:
    lines = [why_the_sum(name, collapses, depends)]
    lines += about_symmetry(name, depends.shape, symmetric, collapses)
    if collapses:
        lines.append(
            "J is diagonal: with this activation neither a dropped sum nor J for J^T can be seen."
        )
    constant = np.flatnonzero(~depends.any(axis=1)) + 1
    if len(constant):
        lines.append(f"a_{constant[0]} depends on no z_j: it is constant where it was tried.")
    unused = np.flatnonzero(tried & ~depends.any(axis=0)) + 1
    if len(unused) and not len(constant):
        lines.append(f"z_{unused[0]} changes no a_k: its delta is 0 whatever the cost.")
    if rounding.any():
        k, j = np.argwhere(rounding)[0] + 1
        lines.append(
            f"a_{k} changes with z_{j} in its last digits only: a rounding, not a dependence."
        )
    return lines
