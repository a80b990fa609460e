"""Is `vjp` the transpose of `jvp`? <Jv, u> = <v, J^T u> needs no differences.

What belongs here: the dot-product identity, on random vectors. What does not: whether J itself is
right (elements.py, taylor.py).
"""

from __future__ import annotations

import numpy as np

from fastbp import functions
from fastbp.check.gradients.claim import Claim
from fastbp.check.subject import NetworkSubject

Array = np.ndarray


def identity(claim: Claim, seed: int) -> tuple[float | None, list[str]]:
    """|<Jv, u> - <v, J^T u>| relative to its terms, and what is wrong in a sentence.

    None where nothing is told: no network of fastbp, or every product is lost in rounding, as
    behind saturated layers.
    """
    checked, net = claim.subject, claim.net
    if not (claim.own and isinstance(checked, NetworkSubject)):
        return None, []
    random = np.random.default_rng(seed)
    X = checked.X.astype(net.dtype)
    v = random.standard_normal(X.shape).astype(net.dtype).astype(np.float64)
    u = random.standard_normal((len(X), net.sizes[-1])).astype(net.dtype).astype(np.float64)
    left = np.asarray(net.jvp(X, v), np.float64) * u
    right = np.asarray(net.vjp(X, u), np.float64) * v
    epsilon = float(np.finfo(net.dtype).eps)
    # rounding of Jv, where J has become small by cancellation or not
    floor = 64 * epsilon * np.sum(_reach(checked, np.abs(v)) * np.abs(u), axis=1)
    terms = np.abs(left).sum(axis=1) + np.abs(right).sum(axis=1)
    allowed = 16 * epsilon * (sum(a.shape[1] for a in checked.activations) + 16) * terms + floor
    difference = np.abs(left.sum(axis=1) - right.sum(axis=1))
    told = np.isfinite(allowed) & (allowed < terms / 8)
    if not told.any():
        return None, []
    error = float(np.max(difference[told] / terms[told]))
    if (difference <= allowed)[told].all():
        return error, []
    return error, [
        f"<Jv, u> and <v, J^T u> of jvp and vjp differ by {error:.1e} of their terms: one of them "
        "is not the other's transpose."
    ]


def _reach(checked: NetworkSubject, change: Array) -> Array:
    """How far a^L might move, for |dx| of `change`, if no slope were less than about 1."""
    for link, layer in zip(checked.links, checked.twin.layers, strict=True):
        f = functions.activation(layer.activation)
        change = link.size().tangent(change)
        steepest = 2 * max(1.0, abs(f.parameter) if f.kind != "maxout" else 1.0)
        if f.coupled and f.z_per_a == 1:
            change = steepest * (change + change.max(axis=1, keepdims=True))
        else:
            n = change.shape[1] // f.z_per_a
            change = steepest * change.reshape(len(change), -1, n).sum(axis=1)
    return change
