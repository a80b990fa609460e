"""Gradients along random directions: does the Taylor remainder fall as h^2?

What belongs here: the fast mode of `gradients`. What does not: single elements (elements.py).

R(h) = |f(theta + h v) - f(theta) - h <gradient, v>| falls as h^2 where the gradient is right and as
h where it is not, however large the second derivative is: the slope of log R against log h is 2 or
1, and no tolerance is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from fastbp.check.gradients.claim import Claim
from fastbp.check.numeric.budget import Budget
from fastbp.check.report import Table
from fastbp.check.subject import NetworkSubject, Subject
from fastbp.network import Network

Array = np.ndarray

STEPS = 2.0 ** np.arange(-2, -26, -2)  # each a quarter of the one before
RIGHT = 1.5  # slopes above are taken for 2 (or 3, where f'' vanishes), those below for 1
ABOVE_NOISE = 16.0
RESOLUTION = 1e-3  # of the directional derivative: less says too little


@dataclass(frozen=True)
class DirectionCheck:
    """The remainder along one random direction.

    Attributes
    ----------
    name : str
        The tensor that moves; "all" for the whole of the parameters, "x" for the inputs.
    slope : float
        Of log R against log h at the smallest steps above the noise: 2 where the gradient is right.
        NaN where no remainder rises above the noise: f is linear there, and the gradient right.
    analytic, numeric : float
        <gradient, v>, and the quotient (f(theta + h v) - f(theta)) / h of the smallest such step.
    resolution : float
        The relative error of <gradient, v> that noise would hide.
    status : "right", "wrong" or "inconclusive"
    reason : str
        Of "inconclusive".
    steps, remainders : tuple of float
    """

    name: str
    slope: float
    analytic: float
    numeric: float
    resolution: float
    status: str
    reason: str
    steps: tuple[float, ...]
    remainders: tuple[float, ...]


def directions(claim: Claim, seed: int, budget: Budget) -> tuple[list[DirectionCheck], list[str]]:
    """One direction for each tensor, one for all parameters, one for the inputs.

    Last the names of those for which there was no time.
    """
    checked, gradient = claim.subject, claim.gradient
    rounding, of_inputs = np.zeros_like(gradient), np.zeros(())
    if claim.dtype == np.float32:
        rounding, _, of_inputs = claim.rounding
    random = np.random.default_rng(seed)
    v = random.standard_normal(gradient.size) * checked.natural_scale()
    asks: dict[str, Callable[[], DirectionCheck]] = {}
    for tensor in checked.tensors:
        # of length 1 in units that move some z by 1, however many elements share it
        v[tensor.part] /= np.sqrt(tensor.shape[0] if tensor.shape[1:] else 1)
        asks[tensor.name] = partial(
            _along, checked, tensor.name, tensor.part, v, gradient, rounding
        )
    if len(asks) > 1:
        every = v / len(checked.tensors)
        asks["all"] = partial(_along, checked, "all", slice(0, len(v)), every, gradient, rounding)
    if isinstance(checked, NetworkSubject) and claim.own:
        asks["x"] = partial(_input_direction, checked, claim.net, of_inputs, seed)
    names, found = list(asks), []
    for part in budget.parts(len(names), least=len(names)):
        found += [asks[name]() for name in names[part]]
    return found, names[len(found) :]


def _along(
    checked: Subject, name: str, part: slice, v: Array, gradient: Array, rounding: Array
) -> DirectionCheck:
    """v[part] is the direction."""
    theta, direction = checked.parameters, v[part]
    index = np.arange(part.start, part.stop)
    point = theta.copy()
    changes = np.empty(len(STEPS))
    for i, h in enumerate(STEPS):
        point[part] = theta[part] + h * direction
        changes[i] = checked.moved(point) @ checked.shares
        changes[i] += checked.penalty(index, point[part]).sum()
    usable = np.ones(len(STEPS), bool)
    if isinstance(checked, NetworkSubject) and checked.has_kinks:
        whole = np.zeros_like(v)
        whole[part] = direction
        usable = _without_kinks(checked, theta, whole)
    terms = gradient[part] * direction
    return _judged(
        name, changes, float(terms.sum()), float(np.sqrt(np.sum(terms**2))), checked.noise_of_sum,
        usable, float(rounding[part] @ np.abs(direction)),
    )  # fmt: skip


def _without_kinks(checked: NetworkSubject, theta: Array, v: Array) -> Array:
    """Which steps leave every unit on its side; all smaller ones than such a step do."""
    with checked.at(theta + STEPS[-1] * v):  # beside theta, which may lie on a kink itself
        beside = checked.sides(checked.X)
    on_it = bool((beside != checked.sides(checked.X)).any())
    usable = np.zeros(len(STEPS), bool)
    for i in range(len(STEPS) - 1, -1, -1):
        with checked.at(theta + STEPS[i] * v):
            if on_it or (checked.sides(checked.X) != beside).any():
                break
        usable[i] = True
    return usable


def _input_direction(
    checked: NetworkSubject, net: Network, rounding: Array, seed: int
) -> DirectionCheck:
    """The same for dC_x/dx, all samples moving at once."""
    gradient = np.asarray(net.input_gradient(checked.X, checked.Y), np.float64)
    random = np.random.default_rng(seed + 1)
    X = checked.X
    W = checked.links[0].steepest()
    V = random.standard_normal(X.shape) / np.where(W > 0, W, 1.0) / np.sqrt(X.shape[1])
    changes = np.empty(len(STEPS))
    usable = np.ones(len(STEPS), bool)
    beside = checked.sides(X + STEPS[-1] * V)
    usable &= not (beside != checked.sides(X)).any()
    for i, h in enumerate(STEPS):
        moved = X + h * V
        changes[i] = (checked.costs(moved, checked.Y) - checked.base) @ checked.shares
        usable[i] &= not (checked.sides(moved) != beside).any()
    weighted = gradient * checked.shares[:, None]
    terms = float(np.sqrt(np.sum((weighted * V) ** 2)))
    of_gradient = float(np.sum(rounding * checked.shares[:, None] * np.abs(V)))
    return _judged(
        "x", changes, float(np.sum(weighted * V)), terms, checked.noise_of_sum, usable, of_gradient
    )


def _judged(
    name: str,
    changes: Array,
    expected: float,
    terms: float,
    noise: float,
    usable: Array,
    of_gradient: float,
) -> DirectionCheck:
    remainders = np.abs(changes - STEPS * expected)
    # of a value of f, and of <gradient, v>
    of_gradient += 4 * float(np.finfo(np.float64).eps) * terms
    floor = ABOVE_NOISE * (2 * noise + np.finfo(np.float64).eps * np.abs(changes))
    floor = floor + STEPS * of_gradient
    usable = usable & np.isfinite(changes)
    quiet = usable & (remainders <= floor)
    loud = np.flatnonzero(usable & (remainders > floor))
    size = max(abs(expected), terms)
    resolution = float(np.min((floor / STEPS)[usable], initial=np.inf) / size) if size else 0.0

    def result(slope: float, status: str, reason: str = "") -> DirectionCheck:
        at = loud[-1] if len(loud) else (np.flatnonzero(usable)[0] if usable.any() else 0)
        return DirectionCheck(
            name, slope, expected, float(changes[at] / STEPS[at]), resolution, status, reason,
            tuple(STEPS.tolist()), tuple(remainders.tolist()),
        )  # fmt: skip

    if not np.isfinite(expected):
        return result(float("nan"), "wrong")
    if not usable.any():
        return result(float("nan"), "inconclusive", "a kink in the way at every step")
    pairs = loud[1:][np.diff(loud) == 1]
    slopes = np.log2(remainders[pairs - 1] / remainders[pairs]) / 2
    if len(slopes):
        slope = float(slopes[-2:].max())  # large steps say little, the last one least
        if slope < RIGHT and len(slopes) < 2 and quiet.any():
            return result(slope, "inconclusive", "too few steps above the noise")
        return result(slope, "right" if slope >= RIGHT else "wrong")
    if not quiet.any() or resolution > RESOLUTION:
        return result(float("nan"), "inconclusive", "the slope drowns in the noise of the loss")
    return result(float("nan"), "right")


def verdict_of(found: Sequence[DirectionCheck]) -> str:
    """One line for all directions."""
    wrong = [d for d in found if d.status == "wrong"]
    if wrong:
        names = ", ".join(d.name for d in wrong)
        return f"FAIL: the Taylor remainder does not fall as h^2 along {names}"
    unclear = [d for d in found if d.status == "inconclusive"]
    if len(unclear) == len(found):
        why = f": {unclear[0].reason}" if unclear else ""
        return f"inconclusive: none of {len(found)} random directions tells anything{why}"
    text = (
        f"pass: Taylor remainders along {len(found) - len(unclear)} random directions fall as h^2"
    )
    if unclear:
        names = ", ".join(d.name for d in unclear)
        text += f"; nothing can be said of {names}: {unclear[0].reason}"
    return text


def findings(found: Sequence[DirectionCheck]) -> list[str]:
    """In which layers directions are wrong, and by which factor."""
    out = []
    for d in found:
        if d.status != "wrong" or (d.name == "all" and len(found) > 2):
            continue
        text = f"Along a random direction of {d.name} the gradient gives {d.analytic:.6g}, "
        text += f"differences give {d.numeric:.6g}"
        if np.isfinite(d.analytic) and d.numeric:
            text += f" (ratio {d.analytic / d.numeric:.6g})"
        out.append(text + ".")
    if out:
        out.append("mode='full' finds the elements, and says more about what is wrong.")
    return out


def table(found: Sequence[DirectionCheck]) -> Table:
    """One row a direction."""
    header = ["direction", "slope of R(h)", "<gradient, v>", "differences", "resolves", ""]
    rows = [
        [d.name, round(d.slope, 3), d.analytic, d.numeric, f"{d.resolution:.0e}", d.status]
        for d in found
    ]
    return Table("slope 2: right, 1: wrong", header, rows)
