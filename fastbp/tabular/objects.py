"""A column of Python's objects: numbers, texts, times, and None among them.

What belongs here: which kind such a column is, and the first cell that is of another. What does
not: arrays of one type and frames (columns.py, frames.py).
"""

from __future__ import annotations

import datetime
import math
import numbers
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import numpy as np

from fastbp.functions import shown
from fastbp.tabular import kinds
from fastbp.tabular.kinds import Column, Numbers, Times

MISSING = {"NoneType", "NAType", "NaTType", "MaskedConstant"}  # pandas' and NumPy's own
NUMBER = (numbers.Real, Decimal)

# the first that fits: a bool is a number to Python, a datetime a date, NumPy's duration an integer
FAMILIES: list[tuple[str, tuple[type, ...]]] = [
    ("texts", (str,)),
    ("booleans", (bool, np.bool_)),
    ("durations", (datetime.timedelta, np.timedelta64)),
    ("numbers", NUMBER),
    ("times", (datetime.date, np.datetime64)),
    ("times of day", (datetime.time,)),
]


def family(kind: type) -> str:
    """Of an object's type; "" of what is missing, "?" of what no column is made of."""
    if kind.__name__ in MISSING:
        return ""
    return next((name for name, types in FAMILIES if issubclass(kind, types)), "?")


def column_of(values: Any, where: str) -> Column:
    """The column of a sequence of objects.

    >>> column_of(["a", None, "b", "a"], "X: column 'kind'")
    Texts(codes=array([ 0, -1,  1,  0], dtype=int32), values=['a', 'b'])
    """
    values = np.fromiter(values, object, len(values))
    of_type = {kind: family(kind) for kind in set(map(type, values))}
    families = set(of_type.values()) - {""}
    if "numbers" in families and len(families) > 1:  # NaN for what is missing of another kind
        values = np.fromiter((None if _is_nan(v) else v for v in values), object, len(values))
        of_type = {kind: family(kind) for kind in set(map(type, values))}
        families = set(of_type.values()) - {""}
    if not families:
        return Numbers(np.full(len(values), np.nan))
    if len(families) > 1 or "?" in families:
        raise _mixed(values, of_type, where)
    present = np.fromiter((of_type[type(v)] != "" for v in values), bool, len(values))
    return MADE[families.pop()](values, present, where)


def _is_nan(value: Any) -> bool:
    return isinstance(value, (float, np.floating)) and math.isnan(value)


def _mixed(values: np.ndarray, of_type: dict[type, str], where: str) -> Exception:
    """Names the first row that is of no kind, or of another than the first."""
    first = None
    for row, value in enumerate(values):
        kind = of_type[type(value)]
        what = f"{shown(value)} ({type(value).__name__})"
        if kind == "?":
            is_complex = isinstance(value, (complex, np.complexfloating))
            what += ". Complex data not supported" if is_complex else ""
            expected = "a number, a text, a time or what is missing"
            error = ValueError if is_complex else TypeError  # as scikit-learn has it
            raise kinds.refusal(where, row, expected, what, error)
        if kind and first is None:
            first = row, kind
        elif kind and first is not None and kind != first[1]:
            expected = f"{first[1]} throughout, as in row {first[0]}"
            hint = "; .astype(str) makes texts of all"
            raise kinds.refusal(where, row, expected, what + hint, TypeError)
    raise AssertionError("no row is of another kind")


def _numbers(values: np.ndarray, present: np.ndarray, where: str) -> Column:
    try:
        found = np.where(present, values, math.nan).astype(np.float64)
    except Exception:
        for row in np.flatnonzero(present).tolist():
            try:
                float(values[row])
            except Exception:
                expected = "a number that float64 holds"
                raise kinds.refusal(where, row, expected, shown(values[row])) from None
        raise
    return kinds.as_finite(found, where)


def _texts(values: np.ndarray, present: np.ndarray, where: str) -> Column:
    places: dict[str, int] = {}
    codes = np.fromiter(
        (places.setdefault(v, len(places)) if there else -1
         for v, there in zip(values, present.tolist(), strict=True)), np.int32, len(values),
    )  # fmt: skip
    return kinds.as_texts(codes, [str(value) for value in places], where)


def _booleans(values: np.ndarray, present: np.ndarray, where: str) -> Column:
    codes = np.where(present, values, -1).astype(np.int32)
    return kinds.Texts(codes, list(kinds.BOOLEANS))


def _durations(values: np.ndarray, present: np.ndarray, where: str) -> Column:
    found = np.full(len(values), np.nan)
    for row in np.flatnonzero(present).tolist():
        try:
            found[row] = _seconds(values[row], where)
        except ValueError:
            raise kinds.refusal(where, row, kinds.DURATION, shown(values[row])) from None
    return Numbers(found)


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, datetime.timedelta):
        return value / datetime.timedelta(seconds=1)
    return float(kinds.as_seconds(np.array([value]), where).values[0])


def _times(values: np.ndarray, present: np.ndarray, where: str) -> Column:
    found = np.full(len(values), np.datetime64("NaT"), "M8[us]")
    aware: bool | None = None
    for row in np.flatnonzero(present).tolist():
        value = values[row]
        zone = getattr(value, "tzinfo", None) is not None
        if aware is not None and zone != aware:
            expected = "times with a zone, as above" if aware else "times without a zone, as above"
            raise kinds.refusal(where, row, expected, shown(value))
        aware = zone
        if zone:
            value = value.astimezone(datetime.UTC).replace(tzinfo=None)
        try:
            if isinstance(value, np.datetime64):
                found[row] = kinds.as_times(np.array([value]), where).values[0]
            else:
                found[row] = np.datetime64(value, "us")
        except (TypeError, ValueError, OverflowError):
            raise kinds.refusal(where, row, kinds.TIME, shown(value)) from None
    return Times(found)


def _times_of_day(values: np.ndarray, present: np.ndarray, where: str) -> Column:
    def microseconds(t: datetime.time) -> int:
        return ((t.hour * 60 + t.minute) * 60 + t.second) * 1_000_000 + t.microsecond

    found = np.full(len(values), np.datetime64("NaT"), "M8[us]")
    for row in np.flatnonzero(present).tolist():
        found[row] = np.datetime64(microseconds(values[row]), "us")
    return Times(found)


MADE: dict[str, Callable[[np.ndarray, np.ndarray, str], Column]] = {
    "texts": _texts,
    "booleans": _booleans,
    "durations": _durations,
    "numbers": _numbers,
    "times": _times,
    "times of day": _times_of_day,
}
