"""Chunks of tables: which columns are X, Y and weights, and rows made of them.

What belongs here: what files and frames have in common. What does not: where their rows are had
(parquet.py, dask.py), their order (order.py), what a network sees of a column that is no number
(tabular/encoder.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastbp import hints
from fastbp.data.order import Ordered, narrowed
from fastbp.functions import shown

PART_ROWS = 64  # that are turned from columns to rows at once


class Tables(Ordered):
    """Chunks of which each piece is a `pyarrow.RecordBatch`, of the columns in one order.

    `schema`: the columns that there are, with Arrow's types.
    """

    columns: list[str]

    def __init__(
        self,
        schema: Any,
        target: Any,
        columns: Any,
        weight: Any,
        encoder: Any,
        shuffle: Any,
        shuffle_buffer: Any,
    ) -> None:
        super().__init__(shuffle, shuffle_buffer)
        self.schema = schema
        self.single = isinstance(target, str)
        self.target_names: list[str] = _as_names(target, "target")
        self.weight = None if weight is None else _as_names(weight, "weight", 1)[0]
        names = self.schema.names
        apart = {*self.target_names, self.weight, *index_of(self.schema)}
        if columns is None:
            columns = [name for name in names if name not in apart]
        self.columns = _as_names(columns, "columns")
        for what, found in (
            ("target", self.target_names),
            ("columns", self.columns),
            ("weight", [self.weight] if self.weight else []),
        ):
            for name in found:
                if names.count(name) != 1:
                    hint = hints.nearest(name, names)
                    raise ValueError(
                        f"{what}: expected columns of the data, each there once; got {name!r}."
                        f"{hint}"
                    )
                if what != "target" and name in self.target_names:
                    raise ValueError(f"{what}: expected other columns than target; got {name!r}")
        if self.weight is not None:
            self._check_number(self.weight, "weight")
        self.encoder = encoder
        if encoder is not None and not hasattr(encoder, "feature_names_out"):
            raise TypeError(f"encoder: expected fastbp.tabular.Encoder; got {shown(encoder)}")
        types = [str(self.schema.field(name).type) for name in self.columns]
        if all(name in ("float", "halffloat") for name in types):
            self.dtype = np.dtype(np.float32)
        if encoder is not None:
            self.dtype = np.dtype(encoder.dtype)

    @property
    def n_features(self) -> int:  # type: ignore[override]
        if self.encoder is None:
            for name in self.columns:
                self._check_number(name)
            return len(self.columns)
        return len(self.encoder.feature_names_out())

    def identity(self) -> dict[str, Any]:
        """What tells these data from others, and their order."""
        told = {"target": self.target_names, "columns": self.columns, "weight": self.weight}
        encoder = None if self.encoder is None else self.encoder.to_dict()
        return {**told, "encoder": encoder, "order": self.order}

    def tables(self, names: list[str] | None = None) -> Iterator[Any]:
        """The columns of X, or others, as they lie: a few rows at a time, and where from."""
        self._check()
        for unit in range(self._n_units()):
            for batch in self._batches(unit, self.columns if names is None else names):
                yield self._name(unit, 0), batch

    def _targets_of(self, unit: int) -> Iterator[Any]:
        for batch in self._batches(unit, self.target_names):
            yield self._targets(batch)

    def _batches(self, unit: int, names: list[str]) -> Iterator[Any]:
        """Some columns of a unit, a few rows at a time, in this order."""
        raise NotImplementedError

    def _check_number(self, name: str, what: str = "columns") -> None:
        if kind_of(self.schema.field(name).type) != "number":
            hint = " (encoder=fastbp.tabular.Encoder() makes numbers of other columns)"
            raise TypeError(
                f"{what}: expected numbers; column {name!r} is of {self.schema.field(name).type}"
                f"{hint if what == 'columns' else ''}"
            )

    # as Ordered has it

    def _pieces(self, unit: int) -> Iterator[Any]:
        weight = [] if self.weight is None else [self.weight]
        return self._batches(unit, [*self.columns, *self.target_names, *weight])

    def _length(self, piece: Any) -> int:
        return int(piece.num_rows)

    def _cut(self, piece: Any, first: int, end: int) -> Any:
        return piece.slice(first, end - first)

    def _buffer(self, n: int, dtype: Any) -> Any:
        return super()._buffer(n, dtype) if self.encoder is None else []

    def _fill(self, buffer: Any, at: int, piece: Any) -> tuple[Any, Any]:
        k, n = len(self.columns), piece.num_rows
        if self.encoder is not None:
            import pyarrow

            table = pyarrow.RecordBatch.from_arrays(piece.columns[:k], names=self.columns)
            buffer.append(self.encoder.transform(table))
        else:
            columns = np.empty((k, n), buffer.dtype)
            for j, name in enumerate(self.columns):
                narrowed(columns[j], _as_numbers(piece.column(j)), f"column {name!r}: X")
            # in parts that stay in the cache: twice as fast as a column at a time, bench/chunks.py
            for row in range(0, n, PART_ROWS):
                part = columns[:, row : row + PART_ROWS]
                buffer[at + row : at + row + part.shape[1]] = part.T
        weight = None
        if self.weight is not None:
            weight = _as_numbers(piece.column(piece.num_columns - 1))
        return self._targets(piece), weight

    def _filled(self, buffer: Any, n: int) -> Any:
        if self.encoder is None:
            return buffer[:n]
        if isinstance(buffer[0], np.ndarray):
            return np.concatenate(buffer)
        from scipy.sparse import vstack

        return vstack(buffer, format="csr")

    def _targets(self, piece: Any) -> np.ndarray:
        found = [_as_array(piece.column(name)) for name in self.target_names]
        return found[0] if self.single else np.stack(found, axis=1)


def _as_numbers(column: Any) -> np.ndarray:
    """Of an Arrow array of numbers; NaN where missing."""
    import pyarrow

    if not (pyarrow.types.is_integer(column.type) or pyarrow.types.is_floating(column.type)):
        column = column.cast(pyarrow.float64())
    found: np.ndarray = column.to_numpy(zero_copy_only=False)
    return found


def _as_array(column: Any) -> np.ndarray:
    """Targets as NumPy has them: numbers, texts as objects."""
    import pyarrow

    if pyarrow.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if kind_of(column.type) == "number" and not pyarrow.types.is_boolean(column.type):
        return np.array(_as_numbers(column))
    found: np.ndarray = column.to_numpy(zero_copy_only=False)
    return found


def index_of(schema: Any) -> list[str]:
    """Names of the columns that a frame of pandas had as its index."""
    try:
        told = (schema.pandas_metadata or {}).get("index_columns", [])
    except ValueError:  # metadata that are none
        return []
    return [name for name in told if isinstance(name, str)]


def kind_of(type_: Any) -> str:
    """What columns of one name have to have in common."""
    import pyarrow

    types = pyarrow.types
    for test in (types.is_integer, types.is_floating, types.is_decimal, types.is_boolean):
        if test(type_):
            return "number"
    if types.is_dictionary(type_):
        return kind_of(type_.value_type)
    for name in ("string", "large_string", "string_view"):
        if getattr(types, f"is_{name}")(type_):
            return "text"
    return "time" if types.is_temporal(type_) else str(type_)


def _as_names(value: Any, name: str, most: int | None = None) -> list[str]:
    names = [value] if isinstance(value, str) else value
    if (
        not isinstance(names, Sequence)
        or not names
        or not all(isinstance(item, str) for item in names)
        or len(set(names)) < len(names)
        or (most is not None and len(names) > most)
    ):
        raise TypeError(f"{name}: expected names of columns, each once; got {shown(value)}")
    return list(names)
