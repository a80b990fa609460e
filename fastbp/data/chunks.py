"""What chunks are: data that are read block by block, each epoch anew.

What belongs here: the protocol that `fit` reads by, and what a block is. What does not: where
blocks come from (the files beside this one), how a run reads them (training/chunks.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np

from fastbp.inputs import Rows, Sparse


class Block(NamedTuple):
    """Some rows of the data, of which nobody writes a number any more.

    Attributes
    ----------
    X : array_like or sparse (m, n_0)
        Rows.
    Y : array_like
        As `Network.fit` takes it, of these rows.
    weight : array_like (m,), optional
        How much each row counts; None: all the same.
    order : ndarray (m,) of int, optional
        In which order the rows are read; as they lie when None.
    parts : sequence of (first row, name)
        Where the rows are from, each up to the next one's first, for refusals.

    Examples
    --------
    >>> import fastbp.data, numpy as np
    >>> X = np.linspace(-1, 1, 4)[:, None]
    >>> block = next(iter(fastbp.data.from_arrays(X, X[:, 0])))
    >>> block[0].shape, block[1].shape
    ((4, 1), (4,))
    >>> fastbp.data.Block(X, X[:, 0]).order is None
    True
    """

    X: np.ndarray | Sparse
    Y: np.ndarray
    weight: np.ndarray | None = None
    order: np.ndarray | None = None
    parts: tuple[tuple[int, str], ...] = ()


@runtime_checkable
class Chunks(Protocol):
    """Data that are read block by block, each epoch anew: what ``net.fit(chunks)`` takes.

    Any object with these three is one. What else it may have: ``epoch(seed, epoch, dtype)``, an
    iterator of the blocks of an epoch in an order that depends on seed and epoch alone (seed None:
    as they lie), X of that dtype where this spares a copy; ``identity()``, what tells its data from
    others', of what JSON has; ``columns``, names of the columns of X; ``targets()``, an iterator of
    the Y of the blocks as they lie, where Y alone is read faster.

    Attributes
    ----------
    n_features : int
        Columns of X.
    n_rows : int or None
        Rows in all, if known. `l2`, `l1`, schedules of steps and class_weight="balanced" need it.

    Examples
    --------
    >>> import fastbp.data, numpy as np
    >>> class Squares:
    ...     n_features, n_rows = 1, None
    ...     def __iter__(self):
    ...         for k in range(4):
    ...             X = np.linspace(k - 2, k - 1, 100)[:, None]
    ...             yield X, X**2
    >>> isinstance(Squares(), fastbp.data.Chunks)
    True
    >>> net = fastbp.Network([1, 8, 1], activation="tanh", output="identity", loss="mse", seed=0)
    >>> history = net.fit(Squares(), epochs=20, batch_size=32, seed=0)
    >>> history.epochs
    20
    """

    @property
    def n_features(self) -> int:
        """Columns of X."""

    @property
    def n_rows(self) -> int | None:
        """Rows in all, if known."""

    def __iter__(self) -> Iterator[Sequence[Rows | None]]:
        """The blocks as they lie, each (X, Y) or (X, Y, weight)."""


def targets_of(chunks: Any) -> Iterator[tuple[str, Any]]:
    """Where the rows of each block are from, for refusals, and their Y, as they lie."""
    if (placed := getattr(chunks, "placed_targets", None)) is not None:
        yield from placed()
        return
    only = getattr(chunks, "targets", None)
    blocks = (block[1] for block in chunks) if only is None else only()
    for number, Y in enumerate(blocks):
        yield f"chunk {number}", Y


def is_chunks(value: Any) -> bool:
    """Whether `value` is data in chunks: no array, frame or matrix, all of which have a shape."""
    kind, own = type(value), getattr(value, "__dict__", {})
    if hasattr(value, "shape") or not hasattr(kind, "__iter__"):
        return False
    # not isinstance, which asks for the values: of chunks whose encoder is not fitted there is none
    return all(hasattr(kind, name) or name in own for name in ("n_features", "n_rows"))
