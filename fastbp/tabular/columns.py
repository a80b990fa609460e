"""A table as columns of numbers, texts and times, whoever made it.

What belongs here: arrays, lists and dictionaries as columns, names, which columns are asked for.
What does not: what the columns are (kinds.py), frames (frames.py), cells of several types
(objects.py), what a network sees of them (encoder.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from fastbp.functions import shown
from fastbp.inputs import ArrayLike
from fastbp.tabular import frames, kinds, objects
from fastbp.tabular.kinds import Column, Numbers, Texts, Times

BOOL = (bool, np.bool_)

__all__ = ["Column", "Columns", "Numbers", "Texts", "Times", "as_columns", "missing_columns"]


class Frame(Protocol):
    """A table of pandas, polars, pyarrow or another library that has Arrow's interface."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


@dataclass(frozen=True, eq=False, repr=False)
class Columns:
    """A table of named columns, each of numbers, texts or times; `as_columns` makes it.

    Attributes
    ----------
    names : tuple of str
        x0, x1, ... where the table had none.
    columns : list of Numbers, Texts or Times
        One for each name.
    named : bool
        Whether the table named its columns.
    n_rows : int
        Of each column.

    Examples
    --------
    >>> from fastbp.tabular import as_columns
    >>> columns = as_columns({"size": [1, 2.5, None], "kind": ["oak", "elm", "oak"]})
    >>> columns.names, columns.n_rows, columns["size"].values
    (('size', 'kind'), 3, array([1. , 2.5, nan]))
    """

    names: tuple[str, ...]
    columns: list[Column]
    named: bool
    n_rows: int

    def __len__(self) -> int:
        return self.n_rows

    def __getitem__(self, name: str) -> Column:
        return self.columns[self.names.index(name)]

    def __repr__(self) -> str:
        kinds_ = ", ".join(
            f"{name}: {type(column).__name__}"
            for name, column in zip(self.names, self.columns, strict=True)
        )
        return f"Columns({self.n_rows} rows; {kinds_})"

    def take(self, names: Iterable[str]) -> Columns:
        """Pick the columns of these names, in their order.

        Parameters
        ----------
        names : iterable of str
            Each the name of a column.

        Returns
        -------
        Columns
            In the order of `names`, nothing copied.

        Raises
        ------
        KeyError
            There is no column of such a name.
        """
        names, at = tuple(names), dict(zip(self.names, self.columns, strict=True))
        return Columns(names, [at[name] for name in names], self.named, self.n_rows)

    def rows(self, rows: np.ndarray | slice) -> Columns:
        """Pick some of the rows.

        Parameters
        ----------
        rows : ndarray of int (k,), ndarray of bool (n_rows,) or slice
            Which rows: their numbers from 0, or a mask.

        Returns
        -------
        Columns
            All columns, of these rows alone.
        """
        columns = [kinds.taken(column, rows) for column in self.columns]
        n_rows = len(np.empty(self.n_rows, bool)[rows])
        return Columns(self.names, columns, self.named, n_rows)


Table = Columns | Frame | ArrayLike | Mapping[str, object] | Sequence[object]


def as_columns(X: Table, name: str = "X", only: Sequence[str] | None = None) -> Columns:
    """Bring a table to columns in plain NumPy.

    Parameters
    ----------
    X : array (n, k), list of rows, dict of columns, data frame or pyarrow.Table
        Of numbers, texts, booleans (texts "false", "true"), dates and times (in UTC), durations
        (in seconds), categories; None, NaN, NA, NaT and nulls are missing. Whole numbers beyond
        2^53 are rounded. Frames of pandas, polars and others need narwhals and pyarrow.
    name : str
        What a refusal calls X.
    only : sequence of str, optional
        The columns that are wanted, where the table names its own: in this order, while others are
        not looked at.

    Returns
    -------
    Columns
        Numbers in float64 with NaN for what is missing, texts as codes, times.

    Raises
    ------
    TypeError, ValueError
        Lists, structures, bytes, complex or infinite numbers, several kinds of value in a column:
        with the column's name and the row, which count from 0. Two columns of one name; columns
        missing of `only`.

    Examples
    --------
    >>> as_columns({"size": [1, 2.5, None], "kind": ["oak", "elm", "oak"]})
    Columns(3 rows; size: Numbers, kind: Texts)
    >>> as_columns([[1, "oak"], [2, "elm"]])["x1"]
    Texts(codes=array([0, 1], dtype=int32), values=['oak', 'elm'])
    """
    if isinstance(X, Columns):
        return X if only is None or not X.named else X.take(_found(only, X.names, name))
    labels, get, n_rows = _opened(X, name)
    named = not all(type(a) is int for a in labels) or list(labels) != list(range(len(labels)))
    names = frames.names_of(labels, name) if named else tuple(f"x{j}" for j in range(len(labels)))
    at = dict(zip(names, get, strict=True))
    wanted = names if only is None or not named else _found(only, names, name)
    columns = [at[column](f"{name}: column {column!r}") for column in wanted]
    lengths = [kinds.length(column) for column in columns]
    n_rows = lengths[0] if n_rows is None and lengths else n_rows or 0
    for column, found in zip(wanted, lengths, strict=True):
        if found != n_rows:
            told = f"{name}: column {column!r}: expected {n_rows} rows, as in {wanted[0]!r}"
            raise ValueError(f"{told}; got {found}")
    return Columns(tuple(wanted), columns, named, n_rows)


def missing_columns(only: Sequence[str], names: Sequence[str], name: str = "X") -> str | None:
    """What is told where columns are missing from a table with these names; None where none is.

    >>> missing_columns(["size", "kind"], ["Size", "kind", "id"])
    "X: expected the columns of training; 'size' is missing, unknown: 'Size', 'id'"
    """
    known, wanted = set(names), set(only)
    absent = [column for column in only if column not in known]
    if not absent:
        return None
    verb = "is" if len(absent) == 1 else "are"
    told = f"{name}: expected the columns of training; {_listed(absent)} {verb} missing"
    unknown = [column for column in names if column not in wanted]
    return f"{told}, unknown: {_listed(unknown)}" if unknown else told


def _found(only: Sequence[str], names: Sequence[str], name: str) -> Sequence[str]:
    told = missing_columns(only, names, name)
    if told is not None:
        raise ValueError(told)
    return only


def _listed(names: Sequence[str], most: int = 8) -> str:
    rest = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(shown, names[:most])) + rest


def _opened(X: Any, name: str) -> tuple[Sequence[Any], Sequence[frames.Getter], int | None]:
    """Labels (0, 1, ... where there are none), what makes each column, rows if known."""
    if hasattr(X, "tocsr") and hasattr(X, "nnz"):  # first: some are dictionaries
        got = f"{type(X).__name__}, a sparse matrix, which is numbers already"
        raise kinds.refusal(name, None, "a table", got, TypeError)
    if isinstance(X, Mapping):
        return list(X), [_getter(values) for values in X.values()], None
    if hasattr(X, "to_frame") and not hasattr(type(X), "columns"):
        got = f"one column ({type(X).__name__}): {name}.to_frame() makes a table of it"
        raise kinds.refusal(name, None, "a table", got)
    if isinstance(X, (list, tuple)):
        return _of_rows(X, name)
    if frames.is_arrow(X) or (not isinstance(X, np.ndarray) and frames.is_frame(X)):
        return frames.opened(X, name)
    array = X if isinstance(X, np.ma.MaskedArray) else _as_array(X, name)  # no np.matrix
    fields = array.dtype.names
    if fields is not None:  # structured
        array = np.atleast_1d(array)
        columns = {field: array[field] for field in fields}
        return list(columns), [_getter(values) for values in columns.values()], len(array)
    _check_2d(array.shape, name)
    return range(array.shape[1]), [_getter(column) for column in _columns(array)], array.shape[0]


def _columns(array: np.ndarray) -> Iterable[np.ndarray]:
    return (array[:, j] for j in range(array.shape[1]))


def _as_array(X: Any, name: str) -> np.ndarray:
    expected = "a table (data frame, pyarrow.Table, dict of columns or 2-D array)"
    if isinstance(X, (str, bytes)) or np.isscalar(X) or X is None:
        raise kinds.refusal(name, None, expected, shown(X), TypeError)
    try:
        array = np.asarray(X)
    except Exception as error:
        got = f"{type(X).__name__}, of which NumPy makes no array: {error}"
        raise kinds.refusal(name, None, expected, got, TypeError) from error
    if array.dtype.kind == "O" and array.ndim == 0:
        raise kinds.refusal(name, None, expected, type(X).__name__, TypeError)
    return array


def _check_2d(shape: tuple[int, ...], name: str) -> None:
    if len(shape) != 2:
        hint = ""
        if len(shape) == 1:
            hint = (
                f". Reshape your data: {name}.reshape(-1, 1) if it is one column, "
                f"{name}.reshape(1, -1) if it is one row"
            )
        raise ValueError(f"{name}: expected 2 dimensions, (rows, columns); got shape {shape}{hint}")


def _of_rows(
    X: Sequence[Any], name: str
) -> tuple[Sequence[int], Sequence[frames.Getter], int | None]:
    """Columns of a list of rows, in which a number beside a text stays a number."""
    if not X:
        raise ValueError(f"{name}: expected at least one row; got []")
    try:
        array = np.asarray(X)
    except ValueError:  # rows of different lengths
        array = np.empty(0)
    if array.dtype.kind in "fiuc" and array.size:
        _check_2d(array.shape, name)
    if array.dtype.kind in "fiuc" and array.size and not any(isinstance(v, BOOL) for v in X[0]):
        return range(array.shape[1]), [_getter(column) for column in _columns(array)], len(array)
    rows = []
    for i, row in enumerate(X):
        if isinstance(row, (str, bytes, Mapping)) or not hasattr(row, "__len__"):
            hint = "; pandas.DataFrame(...) makes a table of dictionaries"
            got = f"{shown(row)}{hint if isinstance(row, Mapping) else ''}"
            raise kinds.refusal(name, i, "a row of values (2 dimensions)", got)
        rows.append(list(row))
        if len(rows[i]) != len(rows[0]):
            expected = f"{len(rows[0])} values, as in row 0"
            raise kinds.refusal(name, i, expected, str(len(rows[i])))
    columns = [[row[j] for row in rows] for j in range(len(rows[0]))]
    return range(len(columns)), [_getter(column) for column in columns], len(rows)


def _getter(values: Any) -> frames.Getter:
    return lambda where: column_of(values, where)


def column_of(values: Any, where: str) -> Column:
    """The column of an array, list, series or Arrow array of one dimension."""
    if isinstance(values, (list, tuple, range)):
        return objects.column_of(values, where)
    if isinstance(values, np.ndarray):
        return _of_array(values, where)
    if frames.is_arrow(values):
        return frames.of_arrow(values, where)
    if hasattr(values, "to_frame") or hasattr(values, "__narwhals_series__"):
        return frames.of_native_series(values, where)
    if isinstance(values, (str, bytes, Mapping)) or not hasattr(values, "__len__"):
        raise kinds.refusal(where, None, "a column of values", shown(values), TypeError)
    return _of_array(np.asarray(values), where)


def _of_array(values: np.ndarray, where: str) -> Column:
    if values.ndim != 1:
        raise kinds.refusal(where, None, "one dimension", f"shape {values.shape}")
    mask = np.ma.getmaskarray(values) if isinstance(values, np.ma.MaskedArray) else None
    values = np.asarray(values)
    kind = values.dtype.kind
    if kind in "OUT":
        cells = values.astype(object)
        if mask is not None:
            cells[mask] = None
        return objects.column_of(cells, where)
    if kind not in "fiubmM":
        more = ". Complex data not supported" if kind == "c" else ""
        got = f"dtype {values.dtype}{more}"
        raise kinds.refusal(where, 0, "numbers, texts or times", got,
                           ValueError if more else TypeError)  # fmt: skip
    if kind == "b":
        codes = values.astype(np.int32)
        return Texts(codes if mask is None else np.where(mask, -1, codes), list(kinds.BOOLEANS))
    if kind in "mM":
        return _of_times(values, mask, where)
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float64, copy=mask is not None)
    if mask is not None:
        numbers[mask] = np.nan
    return kinds.as_finite(numbers, where)


def _of_times(values: np.ndarray, mask: np.ndarray | None, where: str) -> Column:
    """Of NumPy's times or durations of any unit."""
    if mask is not None:
        values = np.where(mask, np.array("NaT", values.dtype), values)
    return (kinds.as_times if values.dtype.kind == "M" else kinds.as_seconds)(values, where)
