"""The output error, rung by rung: `output_error`.

What belongs here: delta_j = dC/dz_j (1) = sum_k dC/da_k da_k/dz_j (2) = dC/da_j da_j/dz_j (3)
= dC/da_j sigma'(z_j) (4) for one sample, and what it means where two rungs part. What does not:
arguments (sample.py), hidden layers (recurrence.py), the probe of an activation (structure.py),
names of mistakes (mistakes.py), pictures (pictures.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from fastbp import functions, reference
from fastbp.check.numeric.callables import Function, called_twice, lenient, name_of
from fastbp.check.numeric.derivative import Derivative, cells, numeric_jacobian
from fastbp.check.report import Result, Table, number
from fastbp.check.terms.mistakes import (
    FLOAT64,
    RELATIVE,
    identified,
    is_canonical,
    kinks,
    let_pass,
    passed_on,
    places,
    rounding_of_output_error,
    too_blunt,
)
from fastbp.check.terms.sample import Case, of_functions, of_network, take_delta
from fastbp.check.terms.structure import (
    about_symmetry,
    by_k_and_j,
    dependence,
    even_selection,
    is_off_diagonal,
    why_the_sum,
)
from fastbp.functions import shown
from fastbp.inputs import ArrayLike
from fastbp.network import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = np.ndarray

MOST_PROBED = 64  # z_j that are changed to see which a_k change; an even selection of more


# the result


@dataclass(frozen=True, eq=False)
class OutputError(Result):
    """What `output_error` found: BP1 of one sample, rung by rung.

    Attributes
    ----------
    activation, cost : str
        Names; a callable's own.
    z, a : ndarray (n_z,), (n_a,)
        Of the last layer.
    y : ndarray
        The target.
    g : ndarray (n_a,)
        dC/da_k.
    jacobian : ndarray (n_a, n_z)
        J[k, j] = da_k/dz_j.
    terms : ndarray (n_a, n_z)
        g_k J[k, j].
    black_box : ndarray (n_z,)
        Rung (1): dC/dz_j from values of C alone.
    bound : ndarray (n_z,)
        Of the error of `black_box`.
    interval : ndarray (2, n_z)
        The one-sided slopes, smaller first, where C has a kink in z_j; else `black_box` twice.
    total : ndarray (n_z,)
        Rung (2): the sum of `terms` over k.
    diagonal : ndarray (n_z,)
        Rung (3): the term k = j alone; 0 where there is no a_j.
    product : ndarray (n_z,)
        Rung (4): g_j sigma'(z_j), by the formula of sigma' or the given one.
    claimed : ndarray (n_z,) or None
        What the code that is examined says.
    claimant : str
        "engine", "delta" or "".
    collapses : bool
        Whether a_k was found to depend on z_k only.
    findings, verdict : tuple of str, str
        What is wrong, in words; begins with "pass", "FAIL" or "inconclusive".

    Examples
    --------
    >>> import fastbp
    >>> found = fastbp.check.output_error(fastbp.Network([2, 3, 2], seed=0), [0.5, -1.0], 1)
    >>> found.ok, found.activation, found.terms.shape
    (True, 'softmax', (2, 2))
    """

    activation: str
    cost: str
    z: Array
    a: Array
    y: Array
    g: Array
    jacobian: Array
    terms: Array
    black_box: Array
    bound: Array
    interval: Array
    total: Array
    diagonal: Array
    product: Array
    claimed: Array | None
    claimant: str
    collapses: bool
    findings: tuple[str, ...]
    verdict: str

    title = "output error"

    def tables(self) -> list[Table]:
        """Give the numbers as tables: the rungs for each neuron j, and the terms of the sum.

        Returns
        -------
        list of Table
            Rungs (1) to (4), g_k J[k, j], and more.
        """
        header = ["j", "(1) dC/dz_j", "+-", "(2) sum over k", "(3) k=j", "(4) g_j sigma'"]
        columns = [self.total, self.diagonal, self.product]
        if self.claimed is not None:
            header.append(self.claimant)
            columns.append(self.claimed)
        first = cells(self.black_box, self.bound, self.interval)
        rows = [
            [str(j), *cell, *values]
            for j, (cell, *values) in enumerate(zip(first, *columns, strict=True), 1)
        ]
        return [
            Table(f"delta_j, {self.activation} + {self.cost}", header, rows),
            by_k_and_j("terms dC/da_k da_k/dz_j", self.terms),
        ]

    def plot(self, ax: Axes | None = None) -> Axes | Figure:
        """Draw the terms as stacked bars, and the Jacobian (needs fastbp's extra ``plot``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Where the bars are drawn, without the Jacobian; a new figure when None.

        Returns
        -------
        matplotlib.figure.Figure or matplotlib.axes.Axes
            The figure; where `ax` is given, that.

        Raises
        ------
        ImportError
            matplotlib is missing.
        """
        from fastbp.check import pictures

        return pictures.terms(
            self.terms,
            self.black_box,
            self.claimed,
            self.claimant,
            self.jacobian,
            f"{self.activation} + {self.cost}",
            ax,
        )


def output_error(
    net: Network | None = None,
    x: ArrayLike | None = None,
    y: ArrayLike | None = None,
    *,
    z: ArrayLike | None = None,
    activation: str | Callable[[np.ndarray], ArrayLike] | None = None,
    cost: str | Callable[..., SupportsFloat] | None = None,
    activation_prime: Callable[[np.ndarray], ArrayLike] | None = None,
    cost_prime: Callable[..., ArrayLike] | None = None,
    delta: ArrayLike | Callable[..., ArrayLike] | None = None,
) -> OutputError:
    """Hold the output error of one sample against the derivation it comes from, term by term.

    ``delta_j = dC/dz_j`` (1) ``= sum_k dC/da_k da_k/dz_j`` (2) ``= dC/da_j da_j/dz_j`` (3)
    ``= dC/da_j sigma'(z_j)`` (4). (1) is taken from values of C alone. From (2) to (3) goes only
    who knows that each a_k depends on its own z_k.

    Parameters
    ----------
    net, x, y : Network, array_like (n_0,), class index or target
        The last layer of a network and one sample.
    z : array_like (n_z,)
        In place of a network and x: the last layer's weighted input.
    activation : str or callable z -> a (n_a,)
        In place of a network: sigma of its last layer.
    cost : str or callable (a, y) -> number
        In place of a network: C of a sample.
    activation_prime : callable z -> sigma'(z) (n_z,) or J (n_a, n_z), optional
        Yours, to be examined.
    cost_prime : callable (a, y) -> dC/da (n_a,), optional
        Yours, to be examined.
    delta : callable (z, y) -> (n_z,), or array_like (n_z,), optional
        What your code says delta is; takes the engine's place.

    Returns
    -------
    OutputError
        Its `verdict` says which step from (1) to (4) is wrong.

    Notes
    -----
    A value passes within 1e-6 of the largest abs(delta_j) and the bound on (1); one of float32
    within 1e-4 and some roundings of float32. Where C has a kink, the values between its two
    one-sided slopes are right.

    A callable cost is given y as it came: a class index stays one.

    Examples
    --------
    >>> from fastbp.check.terms.ladder import output_error
    >>> found = output_error(z=[1, 2, 3], y=[0, 0, 1], activation="softmax", cost="quadratic")
    >>> found.total.round(6).tolist(), found.collapses
    ([0.022033, 0.097751, -0.119784], False)
    >>> wrong = output_error(z=[1, 2, 3], y=[0, 0, 1], activation="softmax", cost="quadratic",
    ...                      delta=found.diagonal)
    >>> wrong.verdict
    'FAIL: delta is only the k = j term: the sum over k has been dropped'
    """
    if net is not None:
        for name, value in (("z", z), ("activation", activation), ("cost", cost)):
            if value is not None:
                raise ValueError(
                    f"{name}: expected None beside net, which has its own; got {shown(value)}"
                )
        case = of_network(net, x, y)
    elif z is None:
        raise ValueError("net: expected net, x and y, or z, y, activation and cost; got neither")
    elif x is not None:
        raise ValueError(f"x: expected None beside z; got {shown(x)}")
    else:
        case = of_functions(z, y, activation, cost)
    if delta is not None:
        take_delta(case, delta)
    for name, value in (("activation_prime", activation_prime), ("cost_prime", cost_prime)):
        if value is not None and not callable(value):
            raise TypeError(f"{name}: expected a callable; got {shown(value)}")
    return _examined(case, activation_prime, cost_prime)


# the examination


def _examined(case: Case, activation_prime: Any, cost_prime: Any) -> OutputError:
    z, a, one = case.z, case.a, case.black_box
    n_z = len(z)
    depends = _dependence(case)
    collapses = not (depends & is_off_diagonal(depends.shape)).any()
    g, g_error = _cost_gradient(case, cost_prime)
    J, J_error, sigma_prime = _jacobian(case, activation_prime)
    with np.errstate(invalid="ignore", over="ignore"):
        terms = _fused_where_needed(case, g, g[:, None] * J)
        total = terms.sum(axis=0)
        size = np.abs(terms).sum(axis=0)
        diagonal, product = _single_terms(terms, g, sigma_prime)

    # (1) against (2) and against what is claimed
    order = np.maximum(max(1.0, float(np.abs(a).max())), np.where(np.isfinite(size), size, 0.0))

    def rounding(dtype: np.dtype[Any]) -> Array:
        if case.named is None:
            return np.zeros(n_z)
        if case.rounding is not None:
            own = case.rounding(dtype)
        else:
            own = rounding_of_output_error(*case.named, z, case.y, dtype)
        return np.where(one.kink, 0.0, own)

    def allowance(dtype: np.dtype[Any]) -> Array:
        return rounding(dtype) + let_pass(dtype, one.scale, order)

    blunt = too_blunt(one.bound + rounding(FLOAT64), one.scale, case.dtype)
    of_claim = rounding(case.dtype)  # what is beyond even that is wrong, what is within may be
    hidden = too_blunt(one.bound + of_claim, one.scale, case.dtype) & ~blunt
    hidden &= case.claimed is not None
    who = {"engine": "the engine's delta"}.get(case.claimant, case.claimant)
    of_total = allowance(FLOAT64) + passed_on(J_error, np.abs(g)) + passed_on(J, g_error)
    # where the sum cannot be taken, as with an infinite dC/da_k, it is not wrong either
    parted = one.excludes(total, of_total) & ~blunt & np.isfinite(total)
    if parted.any():
        if not case.wrong:
            case.wrong.append("(1) and (2) part: dC/da or da/dz is wrong")
        where = _at_neurons(parted, total, one)
        case.findings.append(f"(2), the sum over k, and (1), differences of C, part at {where}.")
    if case.claimed is not None:
        off = one.excludes(case.claimed, allowance(case.dtype)) & ~blunt
        if off.any():
            mistake = _mistake(case, case.claimed, g, J, diagonal)
            case.wrong.append(f"{who} is {mistake}" if mistake else f"{who} is not dC/dz")
            where = _at_neurons(off, case.claimed, one)
            case.findings.append(f"{who} and (1), differences of C, part at {where}.")
    if one.kink.any():
        case.findings.append(
            f"C has a kink here: {kinks(one.low, one.high)}. Every value between the one-sided "
            "slopes is right."
        )
    case.findings += _on_the_sum(case, collapses, depends, J, total, diagonal, one.bound + of_total)
    case.findings += _on_rounding(blunt, hidden, of_claim, f"{case.dtype} may carry {who}")
    return OutputError(
        activation=name_of(case.activation),
        cost=name_of(case.cost),
        z=z,
        a=a,
        y=np.asarray(case.y),
        g=g,
        jacobian=J,
        terms=terms,
        black_box=one.value,
        bound=one.bound,
        interval=np.stack([one.low, one.high]),
        total=total,
        diagonal=diagonal,
        product=product,
        claimed=case.claimed,
        claimant=case.claimant,
        collapses=collapses,
        findings=tuple(case.findings),
        verdict=_verdict(case, blunt, hidden, who, collapses),
    )


def _on_rounding(blunt: Array, hidden: Array, of_claim: Array, may_carry: str) -> list[str]:
    """Where rounding hides (1), and where only what is claimed, which was computed in less."""
    lines, n = [], len(blunt)
    if blunt.any():
        lines.append(
            f"Rounding hides dC/dz_j at {int(blunt.sum())} of {n} neurons: its bound is too wide "
            "to judge by."
        )
    if hidden.any():
        lines.append(
            f"(1) is resolved, but rounding in {may_carry} as far as "
            f"{number(of_claim[hidden].max(), 1)} at {int(hidden.sum())} of {n} neurons: too far "
            "to judge it by."
        )
    return lines


def _single_terms(terms: Array, g: Array, sigma_prime: Array | None) -> tuple[Array, Array]:
    """Rungs (3) and (4): the terms k = j, and dC/da_j sigma'(z_j)."""
    n_a, n_z = terms.shape
    product, diagonal = np.zeros(n_z), np.zeros(n_z)
    m = min(n_a, n_z)
    diagonal[:m] = np.diagonal(terms)
    product[:m] = diagonal[:m] if sigma_prime is None else g[:m] * sigma_prime[:m]
    return diagonal, product


def _at_neurons(where: Array, value: Array, one: Derivative) -> str:
    return places(where, lambda j: f"neuron {j + 1}: {number(value[j])}, {number(one.value[j])}")


def _dependence(case: Case) -> Array:
    """Which a_k were found to depend on which z_j."""
    n_z = len(case.z)
    random = np.random.default_rng(0)
    points = [case.z, *(spread * random.standard_normal(n_z) for spread in (1.0, 3.0))]
    return dependence(case.evaluate, points, even_selection(n_z, MOST_PROBED))[0]


def _verdict(case: Case, blunt: Array, hidden: Array, who: str, collapses: bool) -> str:
    if case.wrong:
        first, *more = case.wrong
        return f"FAIL: {first}" + (f" (and {len(more)} more)" if more else "")
    if blunt.all():
        return f"inconclusive: none of {len(blunt)} dC/dz_j is resolved by differences of C here"
    if blunt.any():
        return "inconclusive: differences of C do not resolve every dC/dz_j here"
    if case.claimed is None:
        agree = "the sum over k agrees with differences of C"
    elif hidden.any():
        which = f"none of {len(hidden)} values" if hidden.all() else "not every value"
        return (
            f"inconclusive: {which} of {who} can be told from rounding in {case.dtype}; the sum "
            "over k agrees with differences of C"
        )
    else:
        agree = f"{who} and the sum over k agree with differences of C"
    rest = "it is its k = j term alone" if collapses else "the terms k != j belong to it"
    return f"pass: {agree}; {rest}"


# the factors, and what the user says they are


def _is_not(numeric: Derivative, given: Array) -> Array:
    """Where a given derivative is none of what differences leave possible."""
    return numeric.excludes(given, RELATIVE["float64"] * numeric.scale)


def _cost_gradient(case: Case, cost_prime: Any) -> tuple[Array, Array]:
    """g that the terms are made of, and its error; a given one is examined."""
    a = case.a
    if cost_prime is None and isinstance(case.cost, str):
        with np.errstate(all="ignore"):
            return reference.cost_gradient(case.cost, a, case.y), np.zeros(len(a))
    numeric = numeric_jacobian(case.cost_of_a, a).of_one
    if cost_prime is None:
        case.findings.append("dC/da_k is taken from differences: no cost_prime is given.")
        return numeric.value, numeric.bound
    g = called_twice(cost_prime, "cost_prime", f"a, shape {a.shape}, and y", a, case.y)
    if g.shape != a.shape:
        raise ValueError(f"cost_prime: expected shape {a.shape}, that of a; got {g.shape}")
    g = g.astype(np.float64)
    off = _is_not(numeric, g)
    if off.any():
        mistake = _named_factor(g, numeric, "dC/da")
        case.wrong.append(f"cost_prime is {mistake}" if mistake else "cost_prime is not dC/da")
        where = _differing(off, "dC/da_{}", g, numeric)
        case.findings.append(f"g is wrong: {where}.")
    return g, np.zeros(len(a))


def _named_factor(given: Array, numeric: Derivative, what: str) -> str:
    n, relative = len(given), RELATIVE["float64"]
    return identified(given, numeric.value, [], what=what, n_outputs=n, relative=relative)


def _differing(off: Array, name: str, given: Array, numeric: Derivative) -> str:
    """Places where a given derivative is not what differences give."""

    def text(*at: int) -> str:
        what = name.format(*(i + 1 for i in at))
        return (
            f"{what} is given as {number(given[at])}, differences give {number(numeric.value[at])}"
        )

    return places(off, text)


def _jacobian(case: Case, activation_prime: Any) -> tuple[Array, Array, Array | None]:
    """J that the terms are made of, its error, and sigma' where one is given."""
    z, n_a, n_z = case.z, len(case.a), len(case.z)
    if isinstance(case.activation, str):
        with np.errstate(all="ignore"):
            J = reference.activation_jacobian(case.activation, z)
        error = np.zeros(J.shape)
        if activation_prime is None:
            return J, error, None
    numeric = numeric_jacobian(case.evaluate, z).part(np.transpose)
    if not isinstance(case.activation, str):
        J, error = numeric.value, numeric.bound
    if activation_prime is None:
        case.findings.append("da_k/dz_j is taken from differences: no activation_prime is given.")
        return J, error, None
    given = called_twice(activation_prime, "activation_prime", f"z, shape {z.shape}", z)
    given = given.astype(np.float64)
    if given.shape == (n_a, n_z):
        off = _is_not(numeric, given)
        if off.any():
            reason = _jacobian_mistake(given, numeric, off)
            case.wrong.append(f"activation_prime is not da/dz{reason}")
            where = _differing(off, "da_{}/dz_{}", given, numeric)
            case.findings.append(f"J is wrong: {where}.")
        return given, np.zeros(given.shape), None
    if given.shape != (n_z,) or n_a != n_z:
        either = f"({n_z},) or " if n_a == n_z else ""
        raise ValueError(
            f"activation_prime: expected shape {either}({n_a}, {n_z}); got {given.shape}"
        )
    own = numeric.part(np.diagonal)
    off = _is_not(own, given)
    if off.any():
        reason = _sigma_prime_mistake(case, activation_prime, given, own)
        case.wrong.append("sigma' is wrong" + (f": activation_prime is {reason}" if reason else ""))
        where = _differing(off, "sigma'(z_{})", given, own)
        case.findings.append(f"(3) and (4) part: {where}.")
    return J, error, given


def _jacobian_mistake(given: Array, numeric: Derivative, off: Array) -> str:
    square = given.shape[0] == given.shape[1]
    if square and not _is_not(numeric.part(np.transpose), given).any():
        return ": it is J^T, rows and columns exchanged"
    if not given[is_off_diagonal(given.shape)].any() and not np.diagonal(off).any():
        return ": it is diagonal, but the outputs are coupled"
    return ""


def _sigma_prime_mistake(
    case: Case, activation_prime: Function, given: Array, own: Derivative
) -> str:
    at_a = numeric_jacobian(case.evaluate, case.a).part(np.diagonal)
    if np.isfinite(at_a.value).all() and not _is_not(at_a, given).any():
        return "sigma' taken at a instead of z"
    of_a = lenient(activation_prime, given.shape)(case.a)
    if np.isfinite(of_a).all() and not _is_not(own, of_a).any():
        return "written in terms of a, but is given z"
    return _named_factor(given, own, "sigma'")


def _fused_where_needed(case: Case, g: Array, terms: Array) -> Array:
    """Terms of a canonical pair without 1/a, where a has rounded to 0 or 1; else as they are."""
    if case.named is not None and is_canonical(*case.named):
        activation, cost = case.named
        with np.errstate(all="ignore"):
            delta = reference.output_error(activation, cost, case.z, case.y)
            near = np.abs(terms.sum(axis=0) - delta) <= 1e-9 * max(1.0, float(np.abs(delta).max()))
        if not near.all() or not np.isfinite(g).all():
            case.findings.append(
                "a has rounded to 0 or 1, where dC/da_k is infinite or has lost its digits; the "
                "sum is taken in its fused form, a_k cancelled between dC/da_k and da_k/dz_j."
            )
            return _fused_terms(activation, case.a, case.y, delta)
    elif not np.isfinite(terms).all():
        case.findings.append(
            "dC/da_k is infinite where a_k is so near the end of its range; this pair has no fused "
            "form, so that (2) cannot be taken."
        )
    return terms


def _fused_terms(activation: str, a: Array, y: Array, delta: Array) -> Array:
    if activation.partition("(")[0] != "softmax":
        return np.diag(delta)
    c = functions.activation(activation).parameter
    terms = c * np.outer(y, a)  # -y_k/a_k times -c a_k a_j
    others = np.array([np.delete(a, k).sum() for k in range(len(a))])  # 1 - a_k, all digits kept
    np.fill_diagonal(terms, -c * y * others)
    return terms


# what the numbers say


def _mistake(case: Case, claimed: Array, g: Array, J: Array, diagonal: Array) -> str:
    """Which known mistake gives the claimed numbers."""
    n_a, n_z = J.shape
    one = case.black_box
    truth = np.where(one.kink, np.clip(claimed, one.low, one.high), one.value)
    candidates = [(diagonal, "only the k = j term: the sum over k has been dropped")]
    if n_a == n_z:
        with np.errstate(all="ignore"):
            at_a = (
                reference.activation_jacobian(case.activation, case.a)
                if isinstance(case.activation, str)
                else numeric_jacobian(case.evaluate, case.a).value.T
            )
            candidates += [
                (J @ g, "J g: J where J^T belongs"),
                (at_a.T @ g, "sigma' taken at a instead of z"),
                (g, "dC/da alone: da/dz is missing"),
            ]
        if isinstance(case.y, np.ndarray) and case.y.shape == case.a.shape:
            candidates.append((case.a - case.y, "a - y, which belongs to another pair"))
    relative = RELATIVE[case.dtype.name]
    return identified(claimed, truth, candidates, what="dC/dz", n_outputs=n_a, relative=relative)


def _on_the_sum(
    case: Case,
    collapses: bool,
    depends: Array,
    J: Array,
    total: Array,
    diagonal: Array,
    allowance: Array,
) -> list[str]:
    """What became of the sum over k, in words."""
    name = name_of(case.activation)
    n_a, n_z = J.shape
    lines = [why_the_sum(name, collapses, depends)]
    if collapses:
        return lines
    with np.errstate(invalid="ignore"):
        rest = np.abs(total - diagonal)
        counts = rest > allowance
    if counts.any():
        j = int(np.argmax(np.where(counts, rest, 0)))
        lines.append(
            f"(2) and (3) part at {int(counts.sum())} of {n_z} neurons, as they must: the terms "
            f"k != j add {number(total[j] - diagonal[j])} to the {number(diagonal[j])} of "
            f"neuron {j + 1}."
        )
    else:
        lines.append("At this sample the terms k != j happen to add nothing.")
    symmetric = n_a == n_z and np.allclose(J, J.T, rtol=0, atol=1e-7 * float(np.abs(J).max()))
    return lines + about_symmetry(name, J.shape, symmetric, collapses)
