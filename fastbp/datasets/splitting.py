"""Holding out rows."""

from typing import NamedTuple

import numpy as np

from fastbp import inputs
from fastbp.datasets.dataset import Array, Dataset


def held_out(Y: Array, share: float, seed: int) -> tuple[Array, Array]:
    """Split the rows so that every class (or range of targets) is held out in the same share.

    Parameters
    ----------
    Y : ndarray, shape (n,) or (n, n_outputs)
        Class indices or targets.
    share : float
        Share of the rows to hold out, at least 0 and below 1.
    seed : int
        The same seed holds out the same rows.

    Returns
    -------
    kept, held : ndarray
        Row numbers, ascending; ``len(held)`` is ``n * share`` rounded.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.datasets.splitting import held_out
    >>> kept, held = held_out(np.array([0] * 10 + [1] * 20), 0.2, seed=0)
    >>> int((held < 10).sum()), int((held >= 10).sum())
    (2, 4)
    """
    Y = inputs.as_numbers(Y, "Y", np.dtype(np.float64), missing=True)
    if Y.ndim not in (1, 2) or 0 in Y.shape[1:]:
        raise ValueError(f"Y: expected class indices (n,) or targets (n, n_L); got shape {Y.shape}")
    if (share := inputs.as_penalty(share, "share")) >= 1:
        raise ValueError(f"share: expected a number in [0, 1); got {share!r}")
    n, seed = len(Y), inputs.as_count(seed, "seed", 0)
    order = np.random.default_rng(seed).permutation(n)
    key = Y if Y.ndim == 1 else Y[:, 0]
    order = order[np.argsort(key[order], kind="stable")]
    n_held = int(n * share + 0.5)
    places = (np.arange(n_held) * n + n // 2) // max(n_held, 1)
    held = np.zeros(n, dtype=bool)
    held[order[places]] = True
    return np.flatnonzero(~held), np.flatnonzero(held)


class Parts(NamedTuple):
    """The rows to train on, to watch, and to test with: each (X, Y) or None."""

    train: tuple[Array, Array]
    validation: tuple[Array, Array] | None
    test: tuple[Array, Array] | None


def partition(data: Dataset, test: float, validation: float, seed: int) -> Parts:
    """Split `data`: the share `test` unless they bring a test set, then `validation` of the rest.

    Parameters
    ----------
    data : Dataset
        What to split.
    test, validation : float
        Shares, at least 0 and below 1; what comes to no row is None.
    seed : int
        The same seed gives the same rows.

    Returns
    -------
    Parts
        Copies, in the order of `data`.

    Raises
    ------
    ValueError
        No row is left to train on.
    """
    X, Y = data.X, data.Y
    held = None
    if data.X_test is not None and data.Y_test is not None:
        held = data.X_test, data.Y_test
    else:
        kept, rows = held_out(Y, test, seed)
        if len(rows):
            X, Y, held = X[kept], Y[kept], (X[rows], Y[rows])
    watched = None
    kept, rows = held_out(Y, validation, seed)
    if len(rows):
        X, Y, watched = X[kept], Y[kept], (X[rows], Y[rows])
    if not len(Y):
        raise ValueError(f"{data.name}: none of the {data.X.shape[0]} rows is left to train on")
    return Parts((X, Y), watched, held)
