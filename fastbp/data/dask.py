"""Chunks of Dask's arrays and data frames: one partition at a time.

What belongs here: `from_dask`. What does not: columns (tables.py), the order of rows (order.py).
Dask itself is imported by whoever hands over something of it; partitions are computed by the
scheduler that is set there: threads, or a client's cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import inputs
from fastbp.data.order import Ordered, narrowed
from fastbp.data.tables import Tables
from fastbp.functions import shown
from fastbp.inputs import ArrayLike

if TYPE_CHECKING:
    import dask.array
    import dask.dataframe

    from fastbp.tabular.encoder import Encoder

BATCH_ROWS = 8192  # that are taken apart at once


@inputs.keywords
def from_dask(
    data: dask.array.Array | dask.dataframe.DataFrame,
    Y: dask.array.Array | ArrayLike | None = None,
    weight: dask.array.Array | ArrayLike | None = None,
    *,
    target: str | Sequence[str] | None = None,
    columns: Sequence[str] | None = None,
    encoder: Encoder | None = None,
    n_rows: int | None = None,
    shuffle: bool = True,
    shuffle_buffer: int | None = None,
) -> Ordered:
    """Read a Dask array or data frame in chunks.

    Parameters
    ----------
    data : dask.array.Array (n, n_0) or dask.dataframe.DataFrame
        Its partitions are computed when they are read, by the scheduler that is set.
    Y : dask.array.Array or array
        Beside an array.
    weight : dask.array.Array or array (n,); str, optional
        Beside an array; a data frame's column.
    target, columns, encoder : as in `from_parquet`
        Of a data frame.
    n_rows : int, optional
        Rows in all, where a data frame's are known.
    shuffle, shuffle_buffer : as in `from_parquet`
        A partition is in memory beside the blocks.

    Returns
    -------
    Chunks
        Read anew each epoch, by ``net.fit(chunks)``; iterated they give blocks as they lie.

    Examples
    --------
    >>> import fastbp.data, dask.array                               # doctest: +SKIP
    >>> X = dask.array.random.random((300, 2), chunks=(100, 2))      # doctest: +SKIP
    >>> fastbp.data.from_dask(X, X.sum(axis=1)).n_rows               # doctest: +SKIP
    300
    """
    order = shuffle, shuffle_buffer
    if hasattr(data, "map_partitions") and hasattr(data, "columns"):
        if Y is not None or target is None:
            raise TypeError(
                f"target: expected the name of a data frame's column, and no Y; got {shown(target)}"
            )
        return FrameChunks(data, target, columns, weight, encoder, n_rows, *order)
    if not (hasattr(data, "blocks") and hasattr(data, "chunks")):
        raise TypeError(f"data: expected a Dask array or data frame; got {shown(data)}")
    for name, value in (("target", target), ("columns", columns), ("encoder", encoder)):
        if value is not None:
            raise TypeError(f"{name}: expected None beside an array; got {shown(value)}")
    return DaskArrayChunks(data, Y, weight, n_rows, *order)


class DaskArrayChunks(Ordered):
    """What `from_dask` makes of arrays."""

    def __init__(
        self, X: Any, Y: Any, weight: Any, n_rows: Any, shuffle: Any, shuffle_buffer: Any
    ) -> None:
        super().__init__(shuffle, shuffle_buffer)
        array: Any = import_module("dask.array")
        if X.ndim != 2 or not X.shape[1] >= 1:
            raise ValueError(f"data: expected 2 dimensions, (n, n_0); got shape {X.shape}")
        if X.dtype.kind not in "fiub":
            raise TypeError(f"data: expected numbers; got dtype {X.dtype}")
        if Y is None:
            raise TypeError("Y: expected an array beside data; got None")
        self.X, rows = X.rechunk({1: -1}), X.chunks[0]
        known = not any(size != size for size in rows)  # NaN where nobody knows
        self.n_features = int(X.shape[1])
        self.n_rows = int(X.shape[0]) if known else None
        if n_rows is not None:
            n_rows = inputs.as_count(n_rows, "n_rows")
            if known and n_rows != self.n_rows:
                raise ValueError(f"n_rows: expected {self.n_rows}, as data has; got {n_rows}")
            self.n_rows = n_rows
        if X.dtype.kind == "f" and X.dtype.itemsize <= 4:
            self.dtype = np.dtype(np.float32)
        self.parts = [self.X]
        for name, part in (("Y", Y), ("weight", weight)):
            if part is None:
                continue
            if not hasattr(part, "blocks"):
                part = array.from_array(np.asarray(part), chunks=-1)
            if known and part.shape[:1] != X.shape[:1]:
                raise ValueError(
                    f"{name}: expected {X.shape[0]} rows, as many as data; got shape {part.shape}"
                )
            if known:
                part = part.rechunk({0: rows, **{i: -1 for i in range(1, part.ndim)}})
            elif part.numblocks[0] != X.numblocks[0]:
                raise ValueError(
                    f"{name}: expected {X.numblocks[0]} chunks, as data has; got "
                    f"{part.numblocks[0]}"
                )
            self.parts.append(part)
        self.weighted = weight is not None

    def __repr__(self) -> str:
        return f"from_dask({self.X!r})"

    def identity(self) -> dict[str, Any]:
        """What tells these data from others, and their order."""
        told = [[str(part.name), str(part.chunks), str(part.dtype)] for part in self.parts]
        return {"dask": told, "order": self.order}

    def _n_units(self) -> int:
        return int(self.X.numblocks[0])

    def _targets_of(self, unit: int) -> Iterator[Any]:
        yield self.parts[1].blocks[unit].compute()

    def _pieces(self, unit: int) -> Iterator[Any]:
        dask: Any = import_module("dask")
        blocks = dask.compute(*(part.blocks[unit] for part in self.parts))
        n = len(blocks[0])
        for block in blocks:
            if len(block) != n:
                raise ValueError(f"{self._name(unit, 0)}: expected {n} rows; got {len(block)}")
        for at in range(0, n, BATCH_ROWS):
            yield [block[at : at + BATCH_ROWS] for block in blocks]

    def _length(self, piece: Any) -> int:
        return len(piece[0])

    def _cut(self, piece: Any, first: int, end: int) -> Any:
        return [part[first:end] for part in piece]

    def _fill(self, buffer: Any, at: int, piece: Any) -> tuple[Any, Any]:
        X, Y, *weight = piece
        narrowed(buffer[at : at + len(X)], X, "X")
        return np.array(Y), np.array(weight[0]) if weight else None

    def _name(self, unit: int, first: int) -> str:
        return f"partition {unit}, from row {first} on" if first else f"partition {unit}"


class FrameChunks(Tables):
    """What `from_dask` makes of data frames."""

    def __init__(
        self,
        frame: Any,
        target: Any,
        columns: Any,
        weight: Any,
        encoder: Any,
        n_rows: Any,
        shuffle: Any,
        shuffle_buffer: Any,
    ) -> None:
        import pyarrow

        schema = pyarrow.Schema.from_pandas(frame._meta, preserve_index=False)
        super().__init__(schema, target, columns, weight, encoder, shuffle, shuffle_buffer)
        self.frame = frame
        self.n_rows = None if n_rows is None else inputs.as_count(n_rows, "n_rows")

    def __repr__(self) -> str:
        return f"from_dask({self.frame.npartitions} partitions, {len(self.columns)} columns)"

    def identity(self) -> dict[str, Any]:
        """What tells these data from others, and their order."""
        return {"dask": self.frame.npartitions, "n_rows": self.n_rows, **super().identity()}

    def _n_units(self) -> int:
        return int(self.frame.npartitions)

    def _batches(self, unit: int, names: list[str]) -> Iterator[Any]:
        import pyarrow

        part = self.frame[list(dict.fromkeys(names))].get_partition(unit).compute()
        for at in range(0, len(part), BATCH_ROWS):
            rows = part.iloc[at : at + BATCH_ROWS]
            batch = pyarrow.RecordBatch.from_pandas(rows, preserve_index=False)
            yield batch.select(names)

    def _name(self, unit: int, first: int) -> str:
        return f"partition {unit}, from row {first} on" if first else f"partition {unit}"
