"""The three kinds of column, in plain NumPy, and how a cell is refused.

What belongs here: what a column is to everything behind it. What does not: how anybody's column
becomes one (columns.py), what a network sees of it (encoder.py).
"""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import numpy as np


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
TIME = "a time within 290,000 years of 1970"
DURATION = "a duration in weeks or parts of them"


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


def refusal(
    where: str, row: int | None, expected: str, got: str, error: type[Exception] = ValueError
) -> Exception:
    """What is raised of a cell; `where` names argument and column, rows count from 0."""
    at = where if row is None else f"{where}, row {row}"
    return error(f"{at}: expected {expected}; got {got}")


def text_of(value: Any) -> str:
    """The text of a category that may be none: of a bool, a number, a time, an interval.

    >>> text_of(True), text_of(2.0), text_of(np.datetime64("2024-02-29T00:00")), text_of("a")
    ('true', '2', '2024-02-29', 'a')
    """
    if isinstance(value, (bool, np.bool_)):
        return BOOLEANS[int(value)]
    if isinstance(value, (float, np.floating)):  # without an exponent
        return "0" if value == 0 else np.format_float_positional(value, trim="-")
    if isinstance(value, (datetime.date, np.datetime64)) and not getattr(value, "tzinfo", None):
        text = str(np.array(value, "M8[us]"))
        return text.removesuffix(".000000").removesuffix("T00:00:00")
    return str(value)


def as_finite(values: np.ndarray, where: str) -> Numbers:
    """Numbers of float64 (n,), none of them infinite."""
    infinite = np.isinf(values)
    if infinite.any():
        row = int(np.argmax(infinite))
        what = f"{values[row]} ({int(infinite.sum())} such values)"
        raise refusal(where, row, "finite numbers, or NaN where missing", what)
    return Numbers(values)


def as_times(values: np.ndarray, where: str) -> Times:
    """Times of datetime64 of any unit, all of which microseconds can tell."""
    found = values.astype("M8[us]")
    if np.datetime_data(values.dtype)[0] in ("Y", "M", "W", "D", "h", "m", "s", "ms"):
        lost = ~np.isnat(values) & (found.astype(values.dtype) != values)  # NumPy wraps around
        if lost.any():
            row = int(np.argmax(lost))
            raise refusal(where, row, TIME, str(values[row]))
    return Times(found)


def as_seconds(values: np.ndarray, where: str) -> Numbers:
    """Seconds of timedelta64 of any unit that has a length: months have none."""
    try:
        unit = float(np.array(1, values.dtype) / np.timedelta64(1, "s"))
    except TypeError:
        raise refusal(where, 0, DURATION, str(values.dtype)) from None
    whole = values.astype(np.int64)
    seconds = whole * unit if unit >= 1 else whole / round(1 / unit)
    return Numbers(np.where(np.isnat(values), np.nan, seconds))


def as_texts(codes: np.ndarray, values: list[str], where: str) -> Texts:
    """Texts, each value once and such as UTF-8 has."""
    for place, value in enumerate(values):
        if not is_utf8(value):
            row = int(np.argmax(codes == place))
            raise refusal(where, row, "text that UTF-8 can hold", ascii(value))
    if len(set(values)) < len(values):
        places: dict[str, int] = {}
        new = np.array([places.setdefault(value, len(places)) for value in values] + [-1])
        codes, values = new[codes], list(places)
    return Texts(codes.astype(np.int32, copy=False), values)


def is_utf8(text: str) -> bool:
    """Whether UTF-8 has it: halves of surrogate pairs it has not."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
