"""The three kinds of column, in plain NumPy, and how a cell is refused.

What belongs here: what a column is to everything behind it. What does not: how anybody's column
becomes one (columns.py), what a network sees of it (encoder.py).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastbp.functions import shown


class Numbers(NamedTuple):
    """values: float64 (n,), NaN where missing, never infinite."""

    values: np.ndarray


class Texts(NamedTuple):
    """codes: int32 (n,), places in `values`, -1 where missing; values: distinct texts."""

    codes: np.ndarray
    values: list[str]


class Times(NamedTuple):
    """values: datetime64[us] (n,) in UTC, NaT where missing."""

    values: np.ndarray


Column = Numbers | Texts | Times

BOOLEANS = ["false", "true"]


def length(column: Column) -> int:
    return len(column[0])


def taken(column: Column, rows: Any) -> Column:
    """The rows of these numbers, or of a mask or slice."""
    if isinstance(column, Texts):
        return Texts(column.codes[rows], column.values)
    return type(column)(column.values[rows])


def is_missing(column: Column) -> np.ndarray:
    """A mask (n,)."""
    if isinstance(column, Texts):
        return column.codes < 0
    if isinstance(column, Times):
        return np.isnat(column.values)
    return np.isnan(column.values)


def refuse(
    where: str, row: int | None, expected: str, got: object, error: type[Exception] = ValueError
) -> Exception:
    """What is raised of a cell; `where` names argument and column, rows count from 0."""
    at = where if row is None else f"{where}, row {row}"
    return error(f"{at}: expected {expected}; got {got if isinstance(got, str) else shown(got)}")


def as_finite(values: np.ndarray, where: str) -> Numbers:
    """Numbers of float64 (n,), none of them infinite."""
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        what = f"{values[row]} ({int(infinite.sum())} such values)"
        raise refuse(where, row, "finite numbers, or NaN where missing", what)
    return Numbers(values)


def as_texts(codes: np.ndarray, values: list[str], where: str) -> Texts:
    """Texts, each value once and such as UTF-8 has."""
    for place, value in enumerate(values):
        try:
            value.encode()
        except UnicodeEncodeError:  # halves of surrogate pairs
            row = int(np.argmax(codes == place))
            raise refuse(where, row, "text that UTF-8 can hold", ascii(value)) from None
    if len(set(values)) < len(values):
        places: dict[str, int] = {}
        new = np.array([places.setdefault(value, len(places)) for value in values] + [-1])
        codes, values = new[codes], list(places)
    return Texts(codes.astype(np.int32, copy=False), values)
