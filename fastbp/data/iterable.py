"""Chunks of anything that can be iterated again: a function that makes an iterator of blocks.

What belongs here: `from_iterable`. What does not: sources that know their own order (order.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from fastbp import inputs
from fastbp.functions import shown
from fastbp.inputs import Rows


@inputs.keywords
def from_iterable(
    factory: Callable[[], Iterable[Sequence[Rows | None]]],
    *,
    n_features: int,
    n_rows: int | None = None,
) -> IterableChunks:
    """Read blocks in chunks that a function makes anew each epoch.

    Parameters
    ----------
    factory : callable () -> iterable of (X, Y) or (X, Y, weight)
        Called once an epoch, in a thread of its own, up to one block ahead. Blocks may have any
        number of rows and may be written again for the next one: their numbers are copied. They are
        read in the order in which they come.
        A checkpoint knows the function's name, `n_features` and `n_rows` alone: that its blocks are
        the same is the caller's to see to.
    n_features : int
        Columns of X.
    n_rows : int, optional
        Rows in all, where they are known; another number is refused.

    Returns
    -------
    Chunks
        Read anew each epoch, by ``net.fit(chunks)``; iterated they give blocks as they lie.

    Examples
    --------
    >>> import fastbp.data, numpy as np
    >>> def squares():
    ...     for k in range(4):
    ...         X = np.linspace(k - 2, k - 1, 100)[:, None]
    ...         yield X, X**2
    >>> chunks = fastbp.data.from_iterable(squares, n_features=1, n_rows=400)
    >>> net = fastbp.Network([1, 8, 1], activation="tanh", output="identity", loss="mse", seed=0)
    >>> net.fit(chunks, epochs=3, batch_size=32).epochs
    3
    """
    return IterableChunks(factory, n_features, n_rows)


class IterableChunks:
    """What `from_iterable` makes."""

    order = "as they come"

    def __init__(self, factory: Any, n_features: Any, n_rows: Any) -> None:
        if not callable(factory):
            hint = ""
            if isinstance(factory, Iterator):
                hint = ", which can be read once: the function that makes it is needed"
            raise TypeError(
                f"factory: expected a callable () -> iterable of blocks; got {shown(factory)}{hint}"
            )
        self.factory = factory
        self.n_features = inputs.as_count(n_features, "n_features")
        self.n_rows = None if n_rows is None else inputs.as_count(n_rows, "n_rows")

    def __repr__(self) -> str:
        return f"from_iterable({shown(self.factory)}, {self.n_features} columns)"

    def __iter__(self) -> Iterator[Sequence[Rows | None]]:
        made = self.factory()
        if not isinstance(made, Iterable):
            raise TypeError(f"factory: expected an iterable of blocks from it; got {shown(made)}")
        return iter(made)

    def identity(self) -> dict[str, Any]:
        """What is known of these data."""
        return {"iterable": getattr(self.factory, "__qualname__", "?")}
