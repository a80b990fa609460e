"""In which order rows are read that lie in units: pieces of an array, row groups of files.

What belongs here: the order by seed and epoch, and blocks of it in one buffer each. What does not:
what a unit is and how its rows are had (arrays.py, parquet.py, dask.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.data.chunks import Block
from fastbp.inputs import Sparse

BUFFER_ROWS = 1 << 16
UNITS, ROWS = 2, 3  # what is drawn by a seed: after the split of fit, [seed, 1]


class Ordered:
    """Chunks made of units that are read one after the other.

    With shuffle, an epoch reads the units in a drawn order; the stream of their rows is cut into
    blocks of `shuffle_buffer` rows, and each block's rows are read in a drawn order. Both are
    functions of seed and epoch alone.

    Attributes
    ----------
    n_features : int
    n_rows : int or None
    columns : list of str or None
        Names of the columns of X.
    dtype : numpy.dtype
        That holds all numbers of X.
    """

    n_features: int
    dtype: np.dtype[Any] = np.dtype(np.float64)  # that X has unless another one is asked for
    n_rows: int | None = None
    columns: list[str] | None = None

    def __init__(self, shuffle: Any, shuffle_buffer: Any) -> None:
        self.shuffle = inputs.as_flag(shuffle, "shuffle")
        rows = BUFFER_ROWS if shuffle_buffer is None else shuffle_buffer
        self.shuffle_buffer = inputs.as_count(rows, "shuffle_buffer")

    @property
    def order(self) -> str:
        """What tells the order from others."""
        return f"shuffle_buffer {self.shuffle_buffer}" if self.shuffle else "as they lie"

    def targets(self) -> Iterator[Any]:
        """Y alone, in small blocks as they lie."""
        for _, Y in self.placed_targets():
            yield Y

    def placed_targets(self) -> Iterator[tuple[str, Any]]:
        """The same, each with the name of the place that it is from."""
        self._check()
        for unit in range(self._n_units()):
            for Y in self._targets_of(unit):
                yield self._name(unit, 0), Y

    # of the units, for who extends this

    def _n_units(self) -> int:
        raise NotImplementedError

    def _pieces(self, unit: int) -> Iterator[Any]:
        """What of a unit's rows is had at once, in their order, each small."""
        raise NotImplementedError

    def _targets_of(self, unit: int) -> Iterator[Any]:
        """Y of a unit's rows, a few at a time."""
        raise NotImplementedError

    def _length(self, piece: Any) -> int:
        raise NotImplementedError

    def _cut(self, piece: Any, first: int, end: int) -> Any:
        """Some rows of a piece, without a copy."""
        raise NotImplementedError

    def _buffer(self, n: int, dtype: Any) -> Any:
        """Room for X of n rows."""
        return np.empty((n, self.n_features), dtype)

    def _fill(self, buffer: Any, at: int, piece: Any) -> tuple[Any, Any]:
        """Put X of a piece in a buffer's rows from `at` on; its Y, and its weights or None."""
        raise NotImplementedError

    def _filled(self, buffer: Any, n: int) -> Any:
        """X of the first n rows of a buffer."""
        return buffer[:n]

    def _name(self, unit: int, first: int) -> str:
        """What a refusal calls the rows of a unit from `first` on."""
        raise NotImplementedError

    def _check(self) -> None:
        """Refuse to read what is no longer as it was."""

    # the order

    def __iter__(self) -> Iterator[tuple[np.ndarray | Sparse, ...]]:
        """Blocks (X, Y) or (X, Y, weight) as they lie."""
        for block in self.epoch(None, 0, self.dtype):
            pair = block.X, block.Y
            yield pair if block.weight is None else (*pair, block.weight)

    def epoch(self, seed: int | None, epoch: int, dtype: Any) -> Iterator[Block]:
        """The blocks of an epoch; of seed None as they lie."""
        self._check()
        drawn = [seed, epoch] if seed is not None and self.shuffle else None
        units = np.arange(self._n_units())
        if drawn is not None:
            np.random.default_rng([*drawn, UNITS]).shuffle(units)
        for number, block in enumerate(self._blocks(units.tolist(), dtype)):
            if drawn is not None:
                rng = np.random.default_rng([*drawn, ROWS, number])
                block = block._replace(order=rng.permutation(len(block.Y)))
            yield block
            del block

    def _blocks(self, units: list[int], dtype: Any) -> Iterator[Block]:
        """Blocks of `shuffle_buffer` rows of the stream of these units."""
        most, seen, told = self.shuffle_buffer, 0, self.n_rows
        building: _Building | None = None
        for unit in units:
            row = 0
            for piece in self._pieces(unit):
                n, at = self._length(piece), 0
                seen += n
                if told is not None and seen > told:
                    raise ValueError(
                        f"{self._name(unit, row)}: expected {told} rows, n_rows; got more"
                    )
                while at < n:
                    if building is None:
                        building = _Building(self, most, dtype)
                    m = min(n - at, most - building.n)
                    part = piece if m == n else self._cut(piece, at, at + m)
                    building.add(part, m, self._name(unit, row + at), unit)
                    at += m
                    del part
                    if building.n == most:
                        yield building.block()
                        building = None
                row += n
                del piece
        if building is not None:
            yield building.block()


def narrowed(into: np.ndarray, values: Any, name: str) -> None:
    """Put numbers into an array of another dtype, unless one is larger than that holds."""
    try:
        with np.errstate(over="raise"):
            into[...] = values
    except FloatingPointError:
        sizes = np.abs(np.asarray(values, np.float64))
        raise ValueError(
            f"{name}: expected values that {into.dtype} holds; got one of magnitude "
            f"{sizes[np.isfinite(sizes)].max():g}"
        ) from None


class _Building:
    """A block as it grows."""

    def __init__(self, source: Ordered, most: int, dtype: Any) -> None:
        n_rows = source.n_rows
        self.source, self.n = source, 0
        self.buffer = source._buffer(most if n_rows is None else min(most, n_rows), dtype)
        self.Ys: list[Any] = []
        self.weights: list[Any] = []
        self.parts: list[tuple[int, str]] = []
        self.unit = -1

    def add(self, piece: Any, m: int, name: str, unit: int) -> None:
        if unit != self.unit:
            self.parts.append((self.n, name))
            self.unit = unit
        try:
            Y, weight = self.source._fill(self.buffer, self.n, piece)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None
        self.Ys.append(Y)
        self.weights.append(weight)
        self.n += m

    def block(self) -> Block:
        X = self.source._filled(self.buffer, self.n)
        weight = None if self.weights[0] is None else np.concatenate(self.weights)
        Y = np.concatenate(self.Ys)
        self.buffer = None
        return Block(X, Y, weight, None, tuple(self.parts))
