"""The recurrence of the error, term by term: `recurrence`.

What belongs here: BP2 at every hidden layer for one sample, and how delta grows or shrinks on its
way back. What does not: the output error (ladder.py), weights and biases (gradients.py), pictures
(pictures.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import functions, reference
from fastbp.check.ladder import (
    RELATIVE,
    ROUNDINGS,
    WORST_BOUND,
    Judge,
    as_network,
    as_sample,
    as_target,
    bias_slopes,
    deltas_of,
    identified,
    is_canonical,
    jitters,
    n_targets_of,
    noise_by_rounding,
    parts_where,
    rounding_of_output_error,
    spread,
)
from fastbp.check.report import Result, Table, number
from fastbp.check.structure import Derivative, lenient
from fastbp.network import Network

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
    """What `recurrence` found.

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
    findings, verdict
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
        """Norms by layer, then each layer's neurons; terms where the layers are small."""
        L = len(self.norms)
        rows: list[list[Any]] = [[str(L), self.norms[-1], "", "", "", ""]]
        for step in reversed(self.growth):
            row = [step.ratio, step.weights, step.slope, step.jacobian]
            rows.append([str(step.layer), self.norms[step.layer - 1], *row])
        header = ["l", "||delta^l||", "of l+1's", "||W^{l+1}||", "median |sigma'|", "||J_l||"]
        tables = [Table("delta on its way back", header, rows)]
        if not self.layers:
            pairs = zip(self.output, self.output_claimed, strict=True)
            rows = [[str(j), *pair] for j, pair in enumerate(pairs, 1)]
            tables.append(Table("output error", ["j", "formula", "engine"], rows))
        for hidden in reversed(self.layers):
            rows = []
            for j, (low, high) in enumerate(hidden.interval.T):
                first: Any = hidden.black_box[j]
                if low != high:
                    first = f"[{number(low)}, {number(high)}]"
                bound = f"{hidden.bound[j]:.0e}"
                rows.append([str(j + 1), first, bound, hidden.total[j], hidden.claimed[j]])
            title = f"layer {hidden.layer}, {hidden.activation}: {hidden.status}"
            tables.append(Table(title, ["j", "dC/dz_j", "+-", "sum over k", "engine"], rows))
            if max(hidden.terms.shape) <= SMALL:
                names = ["k", *(f"j={j}" for j in range(1, hidden.terms.shape[1] + 1))]
                terms = [[str(k), *row] for k, row in enumerate(hidden.terms, 1)]
                l = hidden.layer
                tables.append(Table(f"terms dz_k^{l + 1}/dz_j^{l} delta_k^{l + 1}", names, terms))
        return tables

    def plot(self, ax: Any = None) -> Any:
        """Draw ||delta^l|| by layer on a logarithmic scale (needs matplotlib); returns the Axes."""
        from fastbp.check import pictures

        return pictures.recurrence(self, ax)


def recurrence(net: Network, x: Any, y: Any) -> Recurrence:
    """Hold delta of every hidden layer against BP2 and against differences, for one sample.

    ``delta_j^l = sum_k dz_k^{l+1}/dz_j^l delta_k^{l+1}`` with
    ``dz_k^{l+1}/dz_j^l = sum_i W^{l+1}[i, k] J_l[i, j]``. Each layer starts from the right
    delta^{l+1}, so that a mistake is found in the layer where it is made.

    Parameters
    ----------
    net : Network
    x : array_like (n_0,)
    y : class index or target

    Returns
    -------
    Recurrence

    Notes
    -----
    A value passes within 1e-6 (float32: 1e-4) of its layer's largest abs(delta_j), the bound of the
    differences, and what rounding in the layers above amounts to. Where C has a kink, the values
    between its two one-sided slopes are right.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.check.recurrence import recurrence
    >>> net = fastbp.Network([2, 3, 3, 2], seed=1)
    >>> found = recurrence(net, [0.5, -1.0], 1)
    >>> found.verdict
    'pass: delta follows BP2 at 2 hidden layers'
    >>> found.layers[0].terms.shape
    (3, 3)
    >>> found.trend.partition(":")[0]
    'vanishing'
    """
    net, twin = as_network(net)
    about = twin.architecture
    names = [*about["activation"], about["output"]]
    X = as_sample(x, net.sizes[0], net.dtype)
    loss = functions.loss(about["loss"])
    target, Y = as_target(y, n_targets_of(loss, net.sizes[-1]), loss, net.dtype)
    if not np.isfinite(twin.costs(X, Y)).all():
        raise ValueError("x: expected a sample with a finite cost; got one that is not")
    zs_, activations = twin.feedforward(X)
    zs = [z[0] for z in zs_]
    cost_of_a = lenient(lambda a: np.array([reference.cost(about["loss"], a, target)]), (1,))
    noise = 0.0
    if not is_canonical(about["output"], about["loss"]):
        noise = noise_by_rounding(cost_of_a, activations[-1][0])
    oracle = reference.Network(
        about["sizes"], about["activation"], about["output"], about["loss"], twin.parameters
    )
    with np.errstate(all="ignore"):
        deltas = [d[0] for d in oracle.deltas(X, target.reshape(1, -1))]
        jacobians = [
            reference.activation_jacobian(name, z) for name, z in zip(names, zs, strict=True)
        ]
    claimed = deltas_of(net, X, Y)
    epsilon, itemsize = float(np.finfo(net.dtype).eps), net.dtype.itemsize
    rounding = rounding_of_output_error(names[-1], about["loss"], zs[-1], target, epsilon)
    a = np.abs(activations[-1][0])
    size = np.abs(deltas[-1]) + (a if len(a) == len(zs[-1]) else a.max())
    rounding = rounding + ROUNDINGS * epsilon * size
    findings: list[str] = []
    off = Judge(
        deltas[-1], deltas[-1], rounding + RELATIVE[itemsize] * np.abs(deltas[-1]).max()
    ).wrong(claimed[-1])
    top_is_wrong = False
    if off.any():  # between one-sided slopes? or beyond what rounding allows
        found = bias_slopes(twin, X, Y, len(zs) - 1, noise)
        low, high = found.low[:, 0], found.high[:, 0]
        allowance = found.bound[:, 0] + rounding + RELATIVE[itemsize] * np.abs(deltas[-1]).max()
        top_is_wrong = bool((off & Judge(low, high, allowance).wrong(claimed[-1])).any())
    if top_is_wrong:
        findings.append(
            f"The output error (layer {len(zs)}) is wrong already: output_error says how. The "
            "layers below are judged from the right one."
        )
    hidden: list[HiddenError] = []
    mistakes: dict[int, str] = {}
    above_wrong = top_is_wrong
    for l in range(len(zs) - 2, -1, -1):
        W = twin.weights[l + 1]
        layer = _Layer(names[l], zs[l], jacobians[l], W, deltas[l + 1], claimed[l + 1])
        found = bias_slopes(twin, X, Y, l, noise)
        error, rounding = _hidden(
            layer, l + 1, found, claimed[l], rounding, epsilon, itemsize, above_wrong
        )
        above_wrong = error.status in ("wrong", "inherited")
        if error.status == "wrong":
            mistakes[l + 1] = _mistake(layer, error, net.sizes[-1], itemsize)
        if error.status != "right":
            findings.append(_about(error, mistakes.get(l + 1, "")))
        hidden.insert(0, error)

    norms = tuple(float(np.linalg.norm(d)) for d in deltas)
    growth = tuple(
        _growth(l + 1, norms, twin.weights[l + 1], jacobians[l], names[l])
        for l in range(len(hidden))
    )
    trend = _trend(growth, names)
    for error in hidden:
        low, high = error.interval
        if (low != high).any():
            where = parts_where(
                low != high, lambda j, e=error: f"z_{j + 1}, slopes {number(e.interval[0, j])} "
                f"and {number(e.interval[1, j])}"  # type: ignore[misc]
            )  # fmt: skip
            findings.append(f"C has a kink in layer {error.layer}: {where}.")
    findings.append(trend if trend else "No hidden layer: there is no recurrence, delta^L is all.")
    statuses = [error.status for error in hidden]
    verdict = _verdict(statuses, top_is_wrong, mistakes, len(zs))
    return Recurrence(
        tuple(hidden), deltas[-1], claimed[-1], norms, growth, trend, tuple(findings), verdict
    )


@dataclass(frozen=True)
class _Layer:
    """What delta^l is made of."""

    activation: str
    z: Array
    J: Array
    W: Array  # (n_l, n_z of l+1)
    delta: Array  # of layer l+1, right
    claimed: Array  # of layer l+1, as the network says


def _hidden(
    layer: _Layer,
    l: int,
    slopes: Derivative,
    claimed: Array,
    rounding: Array,
    epsilon: float,
    itemsize: int,
    above_wrong: bool,
) -> tuple[HiddenError, Array]:
    """One layer judged, and what rounding has amounted to there."""
    M = layer.W.T @ layer.J  # M[k, j] = dz_k^{l+1}/dz_j^l
    terms = M * layer.delta[:, None]
    total = terms.sum(axis=0)
    black_box, bound, kink = slopes.value[:, 0], slopes.bound[:, 0], slopes.kink[:, 0]
    low, high = slopes.low[:, 0], slopes.high[:, 0]
    back = layer.W @ layer.delta
    with np.errstate(all="ignore"):
        near = [
            reference.activation_jacobian(layer.activation, z).T @ back
            for z in jitters(layer.z, epsilon)
        ]
    own = spread(near, total) + ROUNDINGS * epsilon * np.abs(terms).sum(axis=0)
    from_above = np.where(np.abs(M) > 0, np.abs(M) * rounding[:, None], 0.0).sum(axis=0)
    scale = float(np.abs(total).max())
    allowance = bound + from_above + RELATIVE[itemsize] * scale + np.where(kink, 0.0, own)
    judge = Judge(low, high, allowance)
    floor = max(WORST_BOUND * scale, 1e-7, 64 * epsilon)
    blunt = ~(bound + from_above + np.where(kink, 0.0, own) <= floor)
    follows = np.abs(claimed - layer.J.T @ (layer.W @ layer.claimed))
    if (judge.wrong(claimed) & ~blunt).any():
        status = "wrong"
        size = max(float(np.abs(claimed).max()), scale)
        if above_wrong and (follows <= allowance + RELATIVE[itemsize] * size).all():
            status = "inherited"
    elif (judge.wrong(total) & ~blunt).any():
        status = "wrong"
    else:
        status = "unresolved" if blunt.any() else "right"
    interval_ = np.stack([low, high])
    error = HiddenError(
        l, layer.activation, terms, total, black_box, bound, interval_, claimed, status
    )
    return error, from_above + own


def _mistake(layer: _Layer, error: HiddenError, n_outputs: int, itemsize: int) -> str:
    """Which known mistake gives the claimed numbers."""
    n_a, n_z = layer.J.shape
    kind = layer.activation.partition("(")[0]
    for delta in (layer.delta, layer.claimed):  # a mistake may stand on another one
        if not np.isfinite(delta).all():
            continue
        back = layer.W @ delta
        candidates: list[tuple[Array, str]] = []
        if n_a == n_z:
            with np.errstate(all="ignore"):
                a = reference.activation(layer.activation, layer.z)
                J_at_a = reference.activation_jacobian(layer.activation, a)
            diagonal = np.diagonal(layer.J)
            candidates = [
                (diagonal * back, "of J only the diagonal: the sum over i has been dropped"),
                (J_at_a.T @ back, "sigma' taken at a instead of z"),
                (layer.J @ back, "J where J^T belongs"),
                (back, f"W delta^{error.layer + 1} alone: sigma' ({kind}) is missing"),
            ]
            if layer.W.shape[0] == layer.W.shape[1]:
                turned = layer.W.T @ delta
                candidates.append((layer.J.T @ turned, "W^T where W belongs (W is square)"))
        truth = layer.J.T @ back
        name = identified(
            error.claimed,
            truth,
            candidates,
            what=f"delta^{error.layer}",
            n_outputs=n_outputs,
            relative=RELATIVE[itemsize],
        )
        if name:
            return name
    return ""


def _about(error: HiddenError, mistake: str) -> str:
    """One sentence about a layer that is not right."""
    l = error.layer
    if error.status == "unresolved":
        return f"Layer {l}: rounding hides delta^{l}; its bound is too wide to judge by."
    if error.status == "inherited":
        return f"Layer {l} follows by BP2 from the wrong layer {l + 1}: no mistake of its own."
    gap = np.abs(error.claimed - error.total)
    worst = np.zeros(len(gap), bool)
    worst[int(np.argmax(np.where(np.isnan(gap), np.inf, gap)))] = True
    where = parts_where(
        worst,
        lambda j: (
            f"neuron {j + 1}: engine {number(error.claimed[j])}, BP2 "
            f"{number(error.total[j])}, differences {number(error.black_box[j])}"
        ),
    )
    return f"Layer {l} is wrong, {where}" + (f"; it is {mistake}." if mistake else ".")


def _verdict(statuses: list[str], top: bool, mistakes: dict[int, str], L: int) -> str:
    n = len(statuses)
    if top:
        return f"FAIL: wrong from layer {L}, the output" + _also(mistakes)
    if mistakes:
        first = max(mistakes)
        right = f"right down to layer {first + 1}, " if first < L - 1 else "right at the output, "
        name = f": {mistakes[first]}" if mistakes[first] else ""
        others = {l: m for l, m in mistakes.items() if l != first}
        return f"FAIL: {right}wrong from layer {first}{name}{_also(others)}"
    if "unresolved" in statuses:
        return "inconclusive: rounding hides delta at one layer or more"
    if not n:
        return "pass: no hidden layer, so no recurrence; delta^L is right"
    return f"pass: delta follows BP2 at {n} hidden layer" + ("s" if n > 1 else "")


def _also(mistakes: dict[int, str]) -> str:
    if not mistakes:
        return ""
    return f" (and by a mistake of its own at layer {', '.join(map(str, sorted(mistakes)))})"


def _growth(l: int, norms: tuple[float, ...], W: Array, J: Array, name: str) -> Growth:
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
