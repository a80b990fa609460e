"""The recurrence of the error, term by term: `recurrence`.

What belongs here: BP2 at every hidden layer for one sample, and how delta grows or shrinks on its
way back. What does not: the output error (ladder.py), names of mistakes (mistakes.py), weights and
biases (gradients/), pictures (pictures.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import reference
from fastbp.check.numeric.derivative import cells
from fastbp.check.report import Result, Table, number
from fastbp.check.terms.mistakes import (
    RELATIVE,
    identified,
    kinks,
    too_blunt,
)
from fastbp.check.terms.sample import Sample
from fastbp.check.terms.structure import by_k_and_j
from fastbp.inputs import ArrayLike
from fastbp.network import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = np.ndarray

SMALL = 12  # layers up to that wide are printed term by term
VANISHING, EXPLODING = 0.5, 2.0  # factor a layer
LARGEST_SLOPE = {"sigmoid": 0.25, "softsign": 1.0, "tanh": 1.0, "relu": 1.0}


@dataclass(frozen=True, eq=False)
class HiddenError:
    """BP2 at one hidden layer.

    Attributes
    ----------
    layer : int
        Counted from 1, the first after the input.
    activation : str
    terms : ndarray (n_z of l+1, n_z of l)
        dz_k^{l+1}/dz_j^l delta_k^{l+1}, rows k, columns j.
    total : ndarray (n_z of l,)
        Their sum over k: delta_j^l by the formula.
    black_box, bound : ndarray (n_z of l,)
        dC/dz_j^l from values of C alone, and the bound on its error.
    interval : ndarray (2, n_z of l)
        The one-sided slopes where C has a kink in z_j^l; else `black_box` twice.
    claimed : ndarray (n_z of l,)
        `net.deltas`.
    status : str
        "right", "wrong", "inherited" (follows by BP2 from a wrong layer above) or "unresolved".
    """

    layer: int
    activation: str
    terms: Array
    total: Array
    black_box: Array
    bound: Array
    interval: Array
    claimed: Array
    status: str


@dataclass(frozen=True)
class Growth:
    """One step back, from layer l+1 to layer l.

    Attributes
    ----------
    layer : int
        l, counted from 1.
    ratio : float
        ||delta^l|| / ||delta^{l+1}||; NaN where both are 0.
    weights : float
        2-norm of W^{l+1}: the most that it can stretch a vector.
    slope : float
        Median abs(sigma'(z^l)) of the diagonal of J, or of its entries that are not 0 for glu and
        maxout.
    jacobian : float
        2-norm of J_l.
    """

    layer: int
    ratio: float
    weights: float
    slope: float
    jacobian: float


@dataclass(frozen=True, eq=False)
class Recurrence(Result):
    """What `recurrence` found: BP2 at each hidden layer, for one sample.

    `plot` draws ||delta^l|| by layer on a logarithmic scale.

    Attributes
    ----------
    layers : tuple of HiddenError
        The hidden layers, the first first.
    output : ndarray (n_z of L,)
        delta^L by the formula, which the recurrence starts from.
    output_claimed : ndarray (n_z of L,)
        `net.deltas`.
    norms : tuple of float
        ||delta^l||, l = 1 ... L.
    growth : tuple of Growth
        One for each hidden layer.
    trend : str
        "vanishing: ...", "exploding: ..." or "neither: ..."; "" without a hidden layer.
    findings, verdict : tuple of str, str
        What is wrong, in words; begins with "pass", "FAIL" or "inconclusive".

    Examples
    --------
    >>> import fastbp
    >>> found = fastbp.check.recurrence(fastbp.Network([2, 3, 2], seed=0), [0.5, -1.0], 1)
    >>> found.ok, len(found.layers), len(found.norms)
    (True, 1, 2)
    """

    layers: tuple[HiddenError, ...]
    output: Array
    output_claimed: Array
    norms: tuple[float, ...]
    growth: tuple[Growth, ...]
    trend: str
    findings: tuple[str, ...]
    verdict: str

    title = "recurrence"

    def tables(self) -> list[Table]:
        """Give the numbers as tables: norms by layer, then each layer's neurons.

        Terms, too, where the layers are small.

        Returns
        -------
        list of Table
            The output's layer first, as delta goes.
        """
        L = len(self.norms)
        rows: list[list[Any]] = [[str(L), self.norms[-1], "", "", "", ""]]
        for step in reversed(self.growth):
            row = [step.ratio, step.weights, step.slope, step.jacobian]
            rows.append([str(step.layer), self.norms[step.layer - 1], *row])
        header = ["l", "||delta^l||", "of l+1's", "||W^{l+1}||", "median |sigma'|", "||J_l||"]
        tables = [Table("delta on its way back", header, rows)]
        if not self.layers:
            rows = [
                [str(j), *pair]
                for j, pair in enumerate(zip(self.output, self.output_claimed, strict=True), 1)
            ]
            tables.append(Table("output error", ["j", "formula", "engine"], rows))
        for hidden in reversed(self.layers):
            l, first = hidden.layer, cells(hidden.black_box, hidden.bound, hidden.interval)
            columns = zip(first, hidden.total, hidden.claimed, strict=True)
            rows = [[str(j), *cell, *values] for j, (cell, *values) in enumerate(columns, 1)]
            title = f"layer {l}, {hidden.activation}: {hidden.status}"
            tables.append(Table(title, ["j", "dC/dz_j", "+-", "sum over k", "engine"], rows))
            if max(hidden.terms.shape) <= SMALL:
                tables.append(
                    by_k_and_j(f"terms dz_k^{l + 1}/dz_j^{l} delta_k^{l + 1}", hidden.terms)
                )
        return tables

    def plot(self, ax: Axes | None = None) -> Axes:
        from fastbp.check import pictures

        claimed = [*(hidden.claimed for hidden in self.layers), self.output_claimed]
        return pictures.norms(self.norms, [math.hypot(*delta) for delta in claimed], ax)


def recurrence(net: Network, x: ArrayLike, y: ArrayLike) -> Recurrence:
    """Hold delta of every hidden layer against BP2 and against differences, for one sample.

    ``delta_j^l = sum_k dz_k^{l+1}/dz_j^l delta_k^{l+1}`` with
    ``dz_k^{l+1}/dz_j^l = sum_i W^{l+1}[i, k] J_l[i, j]``. Each layer starts from the right
    delta^{l+1}, so that a mistake is found in the layer where it is made.

    Parameters
    ----------
    net : Network
        Whose `deltas` are judged.
    x : array_like (n_0,)
        The sample.
    y : class index or target
        Its class or target, as in `Network.loss`.

    Returns
    -------
    Recurrence
        Its `verdict` names the layer where a mistake is made, and its `trend` how delta grows.

    Notes
    -----
    A value passes within 1e-6 (float32: 1e-4) of its layer's largest abs(delta_j), the bound of the
    differences, and what rounding in the layers above amounts to. Where C has a kink, the values
    between its two one-sided slopes are right.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.check.terms.recurrence import recurrence
    >>> net = fastbp.Network([2, 3, 3, 2], seed=1)
    >>> found = recurrence(net, [0.5, -1.0], 1)
    >>> found.verdict
    'pass: delta follows BP2 at 2 hidden layers'
    >>> found.layers[0].terms.shape
    (3, 3)
    >>> found.trend.partition(":")[0]
    'vanishing'
    """
    sample = Sample(net, x, y)
    with np.errstate(all="ignore"):  # what overflows is unresolved
        return _examined(sample)


def _examined(sample: Sample) -> Recurrence:
    L = len(sample.zs)
    deltas, jacobians = sample.by_formula()
    top_is_wrong = _is_wrong_at_the_top(sample, deltas[-1])
    findings: list[str] = []
    if top_is_wrong:
        findings.append(
            f"The output error (layer {L}) is wrong already: output_error says how. The "
            "layers below are judged from the right one."
        )
    hidden: list[HiddenError] = []
    n_hidden_by_rounding = 0
    mistakes: dict[int, str] = {}
    above_wrong = top_is_wrong
    for l in range(L - 1, 0, -1):
        J, above = jacobians[l - 1], deltas[l]
        error, nothing = _hidden(sample, l, J, above, above_wrong)
        n_hidden_by_rounding += nothing
        above_wrong = error.status in ("wrong", "inherited")
        if error.status == "wrong":
            mistakes[l] = _mistake(sample, l, J, above)
        if error.status != "right":
            findings.append(_about(error, mistakes.get(l, "")))
        hidden.insert(0, error)

    norms = tuple(math.hypot(*d) for d in deltas)
    growth = tuple(_growth(l, norms, sample.links[l].matrix, jacobians[l - 1]) for l in range(1, L))
    trend = _trend(growth, sample.names)
    for error in hidden:
        if where := kinks(*error.interval):
            findings.append(f"C has a kink in layer {error.layer}: {where}.")
    findings.append(trend if trend else "No hidden layer: there is no recurrence, delta^L is all.")
    return Recurrence(
        layers=tuple(hidden),
        output=deltas[-1],
        output_claimed=sample.deltas[-1],
        norms=norms,
        growth=growth,
        trend=trend,
        findings=tuple(findings),
        verdict=_verdict(
            [error.status for error in hidden], n_hidden_by_rounding, top_is_wrong, mistakes, L
        ),
    )


def _is_wrong_at_the_top(sample: Sample, delta: Array) -> bool:
    """Whether delta^L as claimed is neither the formula's nor what differences leave possible."""
    rounding = sample.rounding(len(sample.zs) - 1, sample.dtype)
    size = float(np.abs(delta[np.isfinite(delta)]).max(initial=0.0))
    allowance = rounding + RELATIVE[sample.dtype.name] * size
    claimed = sample.deltas[-1]
    with np.errstate(invalid="ignore"):
        off = ~(np.abs(claimed - delta) <= allowance)
    if not off.any():
        return False
    return bool((off & sample.slopes(len(sample.zs) - 1).excludes(claimed, allowance)).any())


def _hidden(
    sample: Sample, l: int, J: Array, above: Array, above_wrong: bool
) -> tuple[HiddenError, bool]:
    """Layer l judged from the right delta^{l+1}, and whether rounding hides all of it."""
    name, W, claimed = sample.names[l - 1], sample.links[l].matrix, sample.deltas[l - 1]
    relative = RELATIVE[sample.dtype.name]
    slopes = sample.slopes(l - 1)
    M = W.T @ J  # M[k, j] = dz_k^{l+1}/dz_j^l
    terms = M * above[:, None]
    total = terms.sum(axis=0)
    scale = float(np.abs(total).max())
    slack = np.where(slopes.kink, 0.0, sample.rounding(l - 1, sample.dtype))
    blunt = too_blunt(slopes.bound + slack, scale, sample.dtype)
    allowance = slack + relative * scale
    status = "unresolved" if blunt.any() else "right"
    if (slopes.excludes(claimed, allowance) & ~blunt).any():
        follows = np.abs(claimed - J.T @ (W @ sample.deltas[l]))
        size = max(float(np.abs(claimed).max()), scale)
        inherited = above_wrong and (follows <= slopes.bound + allowance + relative * size).all()
        status = "inherited" if inherited else "wrong"
    elif (slopes.excludes(total, allowance) & ~blunt & np.isfinite(total)).any():
        status = "wrong"
    found = HiddenError(
        layer=l,
        activation=name,
        terms=terms,
        total=total,
        black_box=slopes.value,
        bound=slopes.bound,
        interval=np.stack([slopes.low, slopes.high]),
        claimed=claimed,
        status=status,
    )
    return found, bool(blunt.all())


def _mistake(sample: Sample, l: int, J: Array, above: Array) -> str:
    """Which known mistake gives the claimed numbers."""
    name, W, claimed = sample.names[l - 1], sample.links[l].matrix, sample.deltas[l - 1]
    with np.errstate(all="ignore"):
        for delta in (above, sample.deltas[l]):  # a mistake may stand on another one
            back = W @ delta
            candidates: list[tuple[Array, str]] = []
            if J.shape[0] == J.shape[1]:
                J_at_a = reference.activation_jacobian(name, sample.activations[l])
                candidates = [
                    (
                        np.diagonal(J) * back,
                        "of J only the diagonal: the sum over i has been dropped",
                    ),
                    (J_at_a.T @ back, "sigma' taken at a instead of z"),
                    (J @ back, "J where J^T belongs"),
                    (back, f"W delta^{l + 1} alone: sigma' ({name.partition('(')[0]}) is missing"),
                ]
                if W.shape[0] == W.shape[1]:
                    candidates.append((J.T @ (W.T @ delta), "W^T where W belongs (W is square)"))
            found = identified(
                claimed,
                J.T @ back,
                candidates,
                what=f"delta^{l}",
                n_outputs=sample.n_outputs,
                relative=RELATIVE[sample.dtype.name],
            )
            if found:
                return found
    return ""


def _about(error: HiddenError, mistake: str) -> str:
    """One sentence about a layer that is not right."""
    l = error.layer
    if error.status == "unresolved":
        return f"Layer {l}: rounding hides delta^{l}; its bound is too wide to judge by."
    if error.status == "inherited":
        return f"Layer {l} follows by BP2 from the wrong layer {l + 1}: no mistake of its own."
    gap = np.abs(error.claimed - error.total)
    j = int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))
    where = (
        f"neuron {j + 1}: engine {number(error.claimed[j])}, BP2 {number(error.total[j])}, "
        f"differences {number(error.black_box[j])}"
    )
    return f"Layer {l} is wrong, {where}" + (f"; it is {mistake}." if mistake else ".")


def _verdict(
    statuses: list[str], n_unknown: int, top: bool, mistakes: dict[int, str], L: int
) -> str:
    n = len(statuses)
    if top:
        return f"FAIL: wrong from layer {L}, the output" + _also(mistakes)
    if mistakes:
        first = max(mistakes)
        right = f"right down to layer {first + 1}, " if first < L - 1 else "right at the output, "
        name = f": {mistakes[first]}" if mistakes[first] else ""
        others = {l: m for l, m in mistakes.items() if l != first}
        return f"FAIL: {right}wrong from layer {first}{name}{_also(others)}"
    if n and n_unknown == n:
        return f"inconclusive: none of {n} hidden layers could be resolved"
    if "unresolved" in statuses:
        return "inconclusive: rounding hides delta at one layer or more"
    if not n:
        return "pass: no hidden layer, so no recurrence; delta^L is right"
    return f"pass: delta follows BP2 at {n} hidden layer" + ("s" if n > 1 else "")


def _also(mistakes: dict[int, str]) -> str:
    if not mistakes:
        return ""
    return f" (and by a mistake of its own at layer {', '.join(map(str, sorted(mistakes)))})"


def _growth(l: int, norms: tuple[float, ...], W: Array, J: Array) -> Growth:
    above, here = norms[l], norms[l - 1]
    ratio = here / above if above > 0 else float("nan")
    entries = np.diagonal(J) if J.shape[0] == J.shape[1] else J[J != 0]
    slope = float(np.median(np.abs(entries))) if entries.size else 0.0
    return Growth(l, ratio, float(np.linalg.norm(W, 2)), slope, float(np.linalg.norm(J, 2)))


def _trend(growth: tuple[Growth, ...], names: list[str]) -> str:
    if not growth:
        return ""
    ratios = np.array([step.ratio for step in growth])
    if np.isnan(ratios).any():
        return "neither: delta is 0 at a layer, and nothing goes back from there"
    if (ratios == 0).any():
        l = growth[int(np.flatnonzero(ratios == 0)[-1])].layer
        return f"vanishing: delta^{l} is exactly 0, sigma' of all that reaches it is 0"
    factor = float(np.exp(np.log(ratios).mean()))
    slope = float(np.median([step.slope for step in growth]))
    weights = float(np.median([step.weights for step in growth]))
    hidden = sorted({name.partition("(")[0] for name in names[:-1]})
    known = (
        f" (at most {LARGEST_SLOPE[hidden[0]]:g} for {hidden[0]})"
        if len(hidden) == 1 and hidden[0] in LARGEST_SLOPE
        else ""
    )
    causes = f"median |sigma'| {number(slope, 2)}{known}, median ||W|| {number(weights, 2)}"
    word = "vanishing" if factor < VANISHING else "exploding" if factor > EXPLODING else "neither"
    return f"{word}: every layer back multiplies delta by about {number(factor, 2)}; {causes}"
