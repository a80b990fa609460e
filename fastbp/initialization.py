"""Initial parameters. What belongs here: distributions of weights and biases by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.functions import one_of, shown

SCHEMES = (
    "scaled",
    "large",
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "zeros",
)


def _as_seed(seed: Any) -> Any:
    """`seed` where NumPy takes it: it recurses without end into a list that holds itself."""
    known = np.random.SeedSequence | np.random.BitGenerator | np.random.Generator
    if seed is None or isinstance(seed, known | np.random.RandomState):
        return seed
    if isinstance(seed, (list, tuple)) or (isinstance(seed, np.ndarray) and seed.ndim == 1):
        return [inputs.as_count(part, "seed", 0) for part in seed]
    return inputs.as_count(seed, "seed", 0)


def fill(
    weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], scheme: str, seed: object
) -> None:
    """Draw weights and biases in place, layer by layer, W before b, in float64.

    Parameters
    ----------
    weights, biases : arrays (n_in, n_out) and (n_out,)
    scheme : str
        "scaled": W ~ N(0, 1/n_in), b ~ N(0, 1); "large": both N(0, 1) (Nielsen 2015, ch. 3 and 1).
        "glorot_*": variance 2/(n_in + n_out) (Glorot & Bengio 2010); "he_*": 2/n_in (He et al.
        2015); "zeros"; these with b = 0.
    seed : int, None, SeedSequence, BitGenerator or Generator
        As `numpy.random.default_rng` takes it. The same seed gives the same bits.
    """
    one_of("init", scheme, SCHEMES)
    try:
        rng = np.random.default_rng(_as_seed(seed))
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"seed: expected a whole number >= 0, None or a Generator; got {shown(seed)}"
        ) from error
    for W, b in zip(weights, biases, strict=True):
        n_in, n_out = W.shape
        fan = n_in + n_out if scheme.startswith("glorot") else n_in
        b[...] = 0
        if scheme == "zeros":
            W[...] = 0
        elif scheme == "scaled":
            W[...] = rng.standard_normal(W.shape) / np.sqrt(n_in)
        elif scheme == "large":
            W[...] = rng.standard_normal(W.shape)
        elif scheme.endswith("uniform"):
            limit = np.sqrt(6 / fan)
            W[...] = rng.uniform(-limit, limit, W.shape)
        else:
            W[...] = rng.standard_normal(W.shape) * np.sqrt(2 / fan)
        if scheme in ("scaled", "large"):
            b[...] = rng.standard_normal(b.shape)
