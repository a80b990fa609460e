"""When a delta is wrong, and which mistake makes it so: what the ladder and the recurrence share.

What belongs here: how far a delta may be off, names of known mistakes, lists of places. What does
not: gradients by tensor (judging.py, diagnosis.py), where the numbers come from.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import functions, reference
from fastbp.check import judging
from fastbp.check.report import number

Array = np.ndarray

RELATIVE = {"float64": 1e-6, "float32": 1e-4}  # of the largest |delta|, by what was computed in
ROUNDINGS = 32  # of numbers of order 1, which no code avoids
SHOWN = 3  # places named for each thing that is wrong
WORST_BOUND = 1e-3  # of the largest |delta|: differences that know less judge nothing
FLOAT64 = np.dtype(np.float64)


# how far off


def let_pass(dtype: np.dtype[Any], scale: float, size: Array) -> Array:
    """A share of the largest |delta|, and roundings of what it is added up from."""
    return RELATIVE[dtype.name] * scale + roundings(dtype) * size


def roundings(dtype: np.dtype[Any]) -> float:
    return ROUNDINGS * float(np.finfo(dtype).eps)


def jitters(z: Array, dtype: np.dtype[Any]) -> list[Array]:
    """z with its last digits changed, in some directions."""
    d = roundings(dtype) * max(1.0, float(np.abs(z).max()))
    signs = np.where(np.arange(len(z)) % 2, 1.0, -1.0)
    return [z + d, z - d, z + d * signs, z - d * signs]


def spread(values: list[Array], centre: Array) -> Array:
    """Largest distance from `centre`, element by element; infinite where one is NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(np.stack(values) - centre)
    return np.where(np.isnan(gaps), np.inf, gaps).max(axis=0)


def passed_on(M: Array, error: Array) -> Array:
    """What errors of v_k come to in sum_k M[k, j] v_k; an infinite one nothing where M is 0."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.where(M != 0, np.abs(M) * error[:, None], 0.0).sum(axis=0)


def rounding_of_output_error(
    activation: str, cost: str, z: Array, y: Array, dtype: np.dtype[Any]
) -> Array:
    """How far delta^L moves when z and a are changed in their last digits: what rounding costs."""
    with np.errstate(all="ignore"):
        delta = reference.output_error(activation, cost, z, y)
        total = spread(
            [reference.output_error(activation, cost, p, y) for p in jitters(z, dtype)], delta
        )
        if not is_canonical(activation, cost):
            a = reference.activation(activation, z)
            g = reference.cost_gradient(cost, a, y)
            epsilon = np.finfo(dtype).eps
            near = [reference.cost_gradient(cost, a * (1 + s * epsilon), y) for s in (-4, -2, 2, 4)]
            total = total + passed_on(reference.activation_jacobian(activation, z), spread(near, g))
    return np.where(np.isnan(total), np.inf, total)


def is_canonical(activation: object, cost: object) -> bool:
    """Whether C is taken from z, so that a's rounding does not reach it."""
    if not (isinstance(activation, str) and isinstance(cost, str)):
        return False
    return (activation.partition("(")[0], cost.partition("(")[0]) in functions.CANONICAL


def too_blunt(bound: Array, scale: float, dtype: np.dtype[Any]) -> Array:
    """Where a bound on dC/dz is too wide to tell right from wrong."""
    return ~(bound <= max(WORST_BOUND * scale, 1e-7, 2 * roundings(dtype)))


# which mistake


def identified(
    claimed: Array,
    truth: Array,
    candidates: list[tuple[Array, str]],
    *,
    what: str,
    n_outputs: int,
    relative: float,
) -> str:
    """The mistake that gives these numbers, to stand after "is"; "" where none is known.

    Parameters
    ----------
    claimed, truth : ndarray (n,)
    candidates : list of (what a mistake gives (n,), its name)
    what : str
        Name of what `truth` is.
    n_outputs : int
        A number whose factor is named.
    relative : float
        How well the numbers must agree.

    Examples
    --------
    >>> import numpy as np
    >>> identified(np.array([3.0, -6.0]), np.array([1.0, -2.0]), [], what="delta", n_outputs=3,
    ...            relative=1e-6)
    'exactly 3 times delta, 3 = number of outputs'
    """
    scale = float(np.abs(truth).max())
    close = 10 * relative
    if not (np.isfinite(claimed).all() and np.isfinite(scale)):
        return ""
    for candidate, name in [*candidates, (-truth, f"-{what}: the sign is wrong")]:
        if candidate.shape != claimed.shape or not np.isfinite(candidate).all():
            continue
        size = max(float(np.abs(candidate).max()), scale)
        near = np.abs(claimed - candidate).max() <= close * size
        if near and np.abs(candidate - truth).max() > 3 * close * size:
            return name
    error = np.full(truth.shape, close * scale)
    r = judging.ratio_of(claimed, truth, error, tolerance=close)
    if r is None:
        return ""
    if not claimed.any():
        return "0"
    for value, meaning in (
        (n_outputs, "number of outputs"),
        (1 / n_outputs, "1 / number of outputs"),
    ):
        if n_outputs > 1 and abs(r - value) <= close * value:
            shown = number(float(value))
            return f"exactly {shown} times {what}, {shown} = {meaning}"
    strong = np.abs(truth) > 1e-3 * scale
    where = "at every neuron" if strong.sum() > 1 else "at the only neuron that counts"
    return f"{number(r)} times {what} {where}"


def places(wrong: Array, text: Callable[..., str]) -> str:
    """text(j), or text(k, j), of the first places, joined."""
    at = np.argwhere(wrong)
    listed = "; ".join(text(*map(int, index)) for index in at[:SHOWN])
    return listed + (f"; and {len(at) - SHOWN} more" if len(at) > SHOWN else "")


def kinks(low: Array, high: Array) -> str:
    """Where two one-sided slopes differ, and what they are; "" where they nowhere do."""
    return places(
        low != high, lambda j: f"z_{j + 1}, slopes {number(low[j])} and {number(high[j])}"
    )
