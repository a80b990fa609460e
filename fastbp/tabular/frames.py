"""Columns of Arrow and of anybody's data frame.

What belongs here: what pyarrow and narwhals are asked, and what of their types no column is made
of. What does not: arrays, lists and dictionaries (columns.py), cells that are Python's objects
(objects.py). Both libraries are imported when a frame comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp import hints
from fastbp.functions import shown
from fastbp.tabular import kinds, objects
from fastbp.tabular.arrow import pyarrow as arrow
from fastbp.tabular.kinds import Column, Numbers, Texts, Times

Getter = Callable[[str], Column]  # of where the column stands, for a refusal


def is_arrow(value: Any) -> bool:
    return any(kind.__module__.split(".")[0] == "pyarrow" for kind in type(value).__mro__)


def is_frame(value: Any) -> bool:
    """Whether it has named columns: of pandas, polars, pyarrow, modin, narwhals, ..."""
    # of the type: of a lazy frame the attribute itself may be made with effort
    return hasattr(type(value), "columns") or hasattr(value, "__arrow_c_stream__")


def opened(X: Any, name: str) -> tuple[list[Any], list[Getter], int]:
    """The labels of a frame's columns as they are, what makes each, and the number of rows."""
    if is_arrow(X):
        pyarrow = arrow()
        if not isinstance(X, (pyarrow.Table, pyarrow.RecordBatch)):
            raise _no_table(X, name)
        return _of_arrow(X)
    if hasattr(type(X), "iloc"):
        names_of(X.columns, name)  # before narwhals refuses them in words of its own
    try:
        import narwhals
    except ImportError as error:
        raise hints.missing("data frames need", "narwhals", "tables") from error
    try:
        frame = narwhals.from_native(X)
    except TypeError:
        if not hasattr(X, "__arrow_c_stream__"):
            raise _no_table(X, name) from None
        try:
            return _of_arrow(arrow().table(X))
        except Exception:
            raise _no_table(X, name) from None
    if isinstance(frame, narwhals.LazyFrame):
        frame = frame.collect()
    if not isinstance(frame, narwhals.DataFrame):
        raise _no_table(X, name)
    labels = list(frame.columns)
    get = [_getter(frame, place) for place in range(len(labels))]
    return labels, get, len(frame)


def _no_table(X: Any, name: str) -> Exception:
    expected = "a table (data frame, pyarrow.Table, dict of columns or 2-D array)"
    return kinds.refusal(name, None, expected, type(X).__name__, TypeError)


def _of_arrow(table: Any) -> tuple[list[str], list[Getter], int]:
    def getter(place: int) -> Getter:
        return lambda where: of_arrow(table.column(place), where)

    return list(table.schema.names), [getter(j) for j in range(table.num_columns)], table.num_rows


def names_of(labels: Sequence[Any], name: str) -> tuple[str, ...]:
    """The labels of columns as texts, each once."""
    names: dict[str, None] = {}
    for label in labels:
        if isinstance(label, tuple):
            joined = "'_'.join(map(str, c))"
            raise ValueError(
                f"{name}: expected columns with one name each; got the levels {shown(label)} (a "
                f"MultiIndex): {name}.columns = [{joined} for c in {name}.columns]"
            )
        column = str(label)
        if column in names:
            raise ValueError(f"{name}: expected columns of different names; got {column!r} twice")
        if not kinds.is_utf8(column):
            raise ValueError(f"{name}: expected names that UTF-8 can hold; got {column!a}")
        names[column] = None
    return tuple(names)


def _getter(frame: Any, place: int) -> Getter:
    return lambda where: of_series(frame[:, place], where)


def of_series(series: Any, where: str) -> Column:
    """The column of a series of narwhals."""
    import narwhals

    native = series.to_native()
    if hasattr(getattr(native, "dtype", None), "categories"):
        if hasattr(native.cat, "codes"):  # of pandas and its like: categories may be anything
            values = [kinds.text_of(value) for value in native.cat.categories]
            return kinds.as_texts(np.asarray(native.cat.codes, np.int32), values, where)
    if series.dtype == narwhals.Object:
        return objects.column_of(series.to_numpy(), where)
    pyarrow = arrow()
    try:
        found = series.to_arrow()
    except Exception:  # what Arrow has no type for: the cells themselves
        return objects.column_of(_cells(series), where)
    if isinstance(found.type, pyarrow.BaseExtensionType):
        hint = ""
        if "period" in str(found.type):
            hint = ", which .dt.to_timestamp() makes times of"
        elif "interval" in str(found.type):
            hint = ", which .astype(str) makes texts of"
        raise _of_no_kind(where, getattr(native, "dtype", found.type), hint)
    return of_arrow(found, where)


def _cells(series: Any) -> Any:
    return np.fromiter(series.to_list(), object, len(series))


def of_arrow(column: Any, where: str) -> Column:
    """The column of an array or chunked array of pyarrow."""
    pyarrow = arrow()
    if not isinstance(column, pyarrow.ChunkedArray):
        column = pyarrow.chunked_array([column])
    kind = column.type
    for is_kind, make in _table():
        if is_kind(kind):
            try:
                return make(column, where)
            except pyarrow.ArrowNotImplementedError:  # a conversion that later releases have
                return objects.column_of(column.to_pylist(), where)
            except pyarrow.ArrowException as error:
                told = str(error).split("\n")[0]
                raise ValueError(f"{where}: expected what can be read; {told}") from error
    raise _of_no_kind(where, kind)


def _of_no_kind(where: str, kind: Any, hint: str = "") -> Exception:
    return kinds.refusal(where, 0, "numbers, texts or times", f"values of type {kind}{hint}",
                        TypeError)  # fmt: skip


def _table() -> list[tuple[Callable[[Any], bool], Callable[[Any, str], Column]]]:
    """Which types of Arrow become what."""
    types = arrow().types
    return [
        (types.is_null, lambda column, where: Numbers(np.full(len(column), np.nan))),
        (types.is_boolean, _booleans),
        (types.is_integer, _numbers),
        (types.is_floating, _numbers),
        (types.is_decimal, _numbers),
        (types.is_duration, _durations),
        (types.is_string, _texts),
        (types.is_large_string, _texts),
        (types.is_string_view, _texts),
        (types.is_dictionary, _dictionary),
        (types.is_run_end_encoded, _decoded),
        (types.is_date, _times),
        (types.is_timestamp, _times),
        (types.is_time, _times_of_day),
    ]


def _flat(column: Any) -> Any:
    """One array of a chunked one."""
    pyarrow = arrow()
    chunks = column.chunks
    if len(chunks) == 1:
        return chunks[0]
    return pyarrow.concat_arrays(chunks) if chunks else pyarrow.array([], column.type)


def _numbers(column: Any, where: str) -> Column:
    values = column.cast(arrow().float64(), safe=False).to_numpy()
    return kinds.as_finite(values, where)


def _durations(column: Any, where: str) -> Column:
    pyarrow = arrow()
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column.type.unit]
    whole = column.cast(pyarrow.int64()).cast(pyarrow.float64(), safe=False).to_numpy()
    return Numbers(whole / per_second)


def _booleans(column: Any, where: str) -> Column:
    codes = column.cast(arrow().int32()).fill_null(-1).to_numpy()
    return Texts(codes, list(kinds.BOOLEANS))


def _texts(column: Any, where: str) -> Column:
    pyarrow = arrow()
    if pyarrow.types.is_string_view(column.type):
        column = column.cast(pyarrow.large_string())
    return _dictionary(pyarrow.compute.dictionary_encode(column), where)


def _dictionary(column: Any, where: str) -> Column:
    pyarrow = arrow()
    array = _flat(column.unify_dictionaries())
    values = array.dictionary
    if pyarrow.types.is_nested(values.type) or pyarrow.types.is_binary(values.type):
        raise _of_no_kind(where, column.type)
    codes = array.indices.cast(pyarrow.int32()).fill_null(-1).to_numpy(zero_copy_only=False)
    if values.null_count:  # a category that stands for missing
        valid = np.asarray(values.is_valid())
        places = np.append(np.where(valid, np.cumsum(valid) - 1, -1), -1)
        codes, values = places[codes].astype(np.int32), values.drop_null()
    return kinds.as_texts(codes, [kinds.text_of(value) for value in values.to_pylist()], where)


def _decoded(column: Any, where: str) -> Column:
    return of_arrow(arrow().compute.run_end_decode(column), where)


def _times(column: Any, where: str) -> Column:
    pyarrow = arrow()
    if pyarrow.types.is_timestamp(column.type) and column.type.tz is not None:
        column = column.cast(pyarrow.timestamp(column.type.unit, "UTC"))
    if pyarrow.types.is_date(column.type):
        column = column.cast(pyarrow.timestamp("ms"))
    to = pyarrow.timestamp("us", getattr(column.type, "tz", None))
    options = pyarrow.compute.CastOptions(to, allow_time_truncate=True)
    whole = _flat(pyarrow.compute.cast(column, options=options)).cast(pyarrow.int64())
    return Times(_microseconds(whole))


def _microseconds(whole: Any) -> np.ndarray:
    """Of int64 with nulls: NaT there."""
    return whole.fill_null(np.iinfo(np.int64).min).to_numpy(zero_copy_only=False).view("M8[us]")


def _times_of_day(column: Any, where: str) -> Column:
    pyarrow = arrow()
    options = pyarrow.compute.CastOptions(pyarrow.time64("us"), allow_time_truncate=True)
    whole = _flat(pyarrow.compute.cast(column, options=options)).cast(pyarrow.int64())
    return Times(_microseconds(whole))


def of_native_series(values: Any, where: str) -> Column:
    """The column of a series of pandas, polars, narwhals and others."""
    try:
        import narwhals
    except ImportError as error:
        raise hints.missing("columns of data frames need", "narwhals", "tables") from error
    try:
        series = narwhals.from_native(values, series_only=True)
    except TypeError:
        got = type(values).__name__
        raise kinds.refusal(where, None, "a column of values", got, TypeError) from None
    return of_series(series, where)
