"""Chunks of arrays, which may be mapped from files.

What belongs here: `from_arrays`. What does not: the order of rows (order.py), other sources.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.data.order import Ordered, narrowed
from fastbp.functions import shown
from fastbp.inputs import ArrayLike

PIECE_ROWS = 4096  # that are copied at once
CHECKED_BYTES = 1 << 26  # of an array that its checksum is of, about


@inputs.keywords
def from_arrays(
    X: ArrayLike,
    Y: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    rows: int = 1 << 14,
    shuffle: bool = True,
    shuffle_buffer: int | None = None,
) -> ArrayChunks:
    """Read arrays in chunks: they need not fit in memory.

    As those of ``np.load(..., mmap_mode="r")`` and np.memmap.

    Parameters
    ----------
    X : array (n, n_0)
        Of any number type; only the rows at hand are read.
    Y : array
        As `Network.fit` takes it.
    weight : array (n,), optional
        How much each sample counts; None: all the same.
    rows : int
        Rows that lie together and are read together: where each epoch's order begins anew.
    shuffle : bool
        Read these in an order drawn for each epoch, and the rows of a buffer too.
    shuffle_buffer : int, optional
        Rows of a block, which are mixed; 65,536 when None. Two blocks are in memory.

    Returns
    -------
    Chunks
        Read anew each epoch, by ``net.fit(chunks)``; iterated they give blocks as they lie.

    Examples
    --------
    >>> import fastbp.data, numpy as np
    >>> X = np.linspace(-1, 1, 300)[:, None]
    >>> chunks = fastbp.data.from_arrays(X, X**2, rows=50, shuffle_buffer=100)
    >>> [block[0].shape for block in chunks]
    [(100, 1), (100, 1), (100, 1)]
    """
    return ArrayChunks(X, Y, weight, rows, shuffle, shuffle_buffer)


class ArrayChunks(Ordered):
    """What `from_arrays` makes."""

    def __init__(
        self, X: Any, Y: Any, weight: Any, rows: Any, shuffle: Any, shuffle_buffer: Any
    ) -> None:
        super().__init__(shuffle, shuffle_buffer)
        self.rows = inputs.as_count(rows, "rows")
        self.X, self.Y = _as_array(X, "X"), _as_array(Y, "Y")
        self.weight = None if weight is None else _as_array(weight, "weight")
        if self.X.ndim != 2 or not self.X.shape[1]:
            raise ValueError(f"X: expected 2 dimensions, (n, n_0); got shape {self.X.shape}")
        if self.X.dtype.kind not in "fiub":
            raise TypeError(f"X: expected numbers; got dtype {self.X.dtype}")
        self.n_rows, self.n_features = self.X.shape
        if self.X.dtype.kind == "f" and self.X.dtype.itemsize <= 4:
            self.dtype = np.dtype(np.float32)
        if not self.n_rows:
            raise ValueError(f"X: expected at least one row; got shape {self.X.shape}")
        for name, array in (("Y", self.Y), ("weight", self.weight)):
            if array is not None and array.shape[:1] != (self.n_rows,):
                raise ValueError(
                    f"{name}: expected {self.n_rows} rows, as many as X; got shape {array.shape}"
                )

    def __repr__(self) -> str:
        return f"from_arrays({self.n_rows} rows, {self.n_features} columns of {self.X.dtype})"

    def identity(self) -> dict[str, Any]:
        """What tells these data from others, and their order.

        Shapes and dtypes; of arrays in memory a checksum (of large ones, of rows at equal
        distances), of maps of files their files' names, sizes and times.
        """
        arrays = self.X, self.Y, self.weight
        told = [None if a is None else [list(a.shape), a.dtype.str, _told(a)] for a in arrays]
        return {"arrays": told, "rows": self.rows, "order": self.order}

    def _targets_of(self, unit: int) -> Iterator[Any]:
        yield self.Y[unit * self.rows : (unit + 1) * self.rows]

    def _n_units(self) -> int:
        return -(-len(self.X) // self.rows)

    def _pieces(self, unit: int) -> Iterator[tuple[int, int]]:
        first, end = unit * self.rows, min((unit + 1) * self.rows, len(self.X))
        for at in range(first, end, PIECE_ROWS):
            yield at, min(at + PIECE_ROWS, end)

    def _length(self, piece: tuple[int, int]) -> int:
        return piece[1] - piece[0]

    def _cut(self, piece: tuple[int, int], first: int, end: int) -> tuple[int, int]:
        return piece[0] + first, piece[0] + end

    def _fill(self, buffer: np.ndarray, at: int, piece: tuple[int, int]) -> tuple[Any, Any]:
        first, end = piece
        narrowed(buffer[at : at + end - first], self.X[first:end], "X")
        weight = None if self.weight is None else np.array(self.weight[first:end])
        return np.array(self.Y[first:end]), weight

    def _name(self, unit: int, first: int) -> str:
        return f"rows from {unit * self.rows + first} on"


def _told(array: np.ndarray) -> Any:
    """What tells the numbers of an array from others."""
    base: Any = array
    while base is not None:
        if isinstance(base, np.memmap) and base.filename is not None:
            stat = os.stat(base.filename)
            return [os.path.basename(base.filename), stat.st_size, stat.st_mtime_ns]
        base = getattr(base, "base", None)
    some = array[:: max(1, array.nbytes // CHECKED_BYTES)]
    if some.dtype.kind == "O":
        return zlib.crc32(repr(some.tolist()).encode())
    return zlib.crc32(np.ascontiguousarray(some).view(np.uint8).data)


def _as_array(value: Any, name: str) -> np.ndarray:
    """`value` as NumPy has it, a map of a file as it is."""
    if hasattr(value, "nnz") and hasattr(value, "tocsr"):
        raise TypeError(f"{name}: expected a dense array; got {type(value).__name__}")
    try:
        array = np.asarray(value)
    except Exception as error:
        raise TypeError(f"{name}: expected an array; got {shown(value)}: {error}") from error
    return array
