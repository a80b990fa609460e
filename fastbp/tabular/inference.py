"""What the texts of a column mean: numbers, times, or texts.

What belongs here: the forms of numbers and dates, and the choice among them over a whole column and
a whole file. What does not: files (delimited.py), single cells (cells.py).

A form is tried on the first values, then on all: pyarrow converts, which for numbers gives what
Python's ``float`` gives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from fastbp.tabular.arrow import pyarrow
from fastbp.tabular.cells import CODE, MARKS_OF_MISSING, is_number, looks_like_number

TRIED = 1000  # values of a column that a form is tried on first

DECIMALS = (".", ",")
THOUSANDS = (",", ".", "'", " ")
_SPELLINGS = {"'": "['’]", " ": "[ \u00a0\u2009\u202f]"}  # of a mark of thousands

# The first byte of a plain number, after its sign.
_DIGIT, _ZERO, _SIGN = 1, 2, 3
_FIRST = np.zeros(256, np.uint8)
_FIRST[list(b"123456789.")] = _DIGIT
_FIRST[list(b"0")] = _ZERO
_FIRST[list(b"+-")] = _SIGN
_BLANK = np.zeros(256, bool)  # bytes above ASCII with which a blank begins or ends
_BLANK[[0x85, 0xA0, 0x80, *range(0x80, 0x8B), 0xA8, 0xA9, 0xAF, 0x9F]] = True  # last of UTF-8
_BLANK[[0xC2, 0xE1, 0xE2, 0xE3]] = True  # first of UTF-8


class Marks(NamedTuple):
    """How numbers are written; `thousands` may be none, ""."""

    decimal: str
    thousands: str


class Found(NamedTuple):
    """What a column is.

    `point`: the decimal mark that its numbers show; `readings`: its values by decimal mark, where
    they differ; `odd`: the row of the first text in a column most of which is numbers.
    """

    values: Any
    kind: str  # number, time, text
    point: str | None = None
    readings: dict[str, Any] | None = None
    odd: int | None = None


class Refused(Exception):
    """A cell that cannot be read; `row` counts within the column."""

    def __init__(self, row: int, what: str):
        super().__init__(what)
        self.row, self.what = row, what


class QuotedAfterBlanks(Exception):
    """A cell may be one in quotes with blanks before it, which pyarrow does not read as such."""


class _Form(NamedTuple):
    """A way to write times: what a whole cell must match, and how it becomes ISO 8601."""

    pattern: str
    steps: tuple[tuple[str, str], ...] = ()
    zone: bool = False


ISO = (  # as pyarrow reads it
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}(?:[ T][0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]{1,6})?)?)?"
)
_CLOCK = r"(?:[ T][0-9]{1,2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)?"
_ZONE = r"[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?(?:Z|[+-][0-9]{2}:?[0-9]{2})"
_PADDED = (r"\b([0-9])\b", r"0\1")
_SHORT = (r"(\.[0-9]{6})[0-9]+", r"\1")  # nanoseconds
_TIMES = {
    "iso": _Form(ISO),
    "iso, in any way": _Form(rf"[0-9]{{4}}-[0-9]{{1,2}}-[0-9]{{1,2}}{_CLOCK}", (_PADDED, _SHORT)),
    "iso with zone": _Form(rf"[0-9]{{4}}-[0-9]{{2}}-[0-9]{{2}}{_ZONE}", (_SHORT,), True),
    "y/m/d": _Form(
        rf"[0-9]{{4}}/[0-9]{{1,2}}/[0-9]{{1,2}}{_CLOCK}",
        (_PADDED, _SHORT, (r"^(\d+)/(\d+)/(\d+)", r"\1-\2-\3")),
    ),
    "d.m.y": _Form(
        rf"[0-9]{{1,2}}\.[0-9]{{1,2}}\.[0-9]{{4}}{_CLOCK}",
        ((r"^(\d+)\.(\d+)\.(\d+)", r"\3-\2-\1"), _PADDED, _SHORT),
    ),
    "d/m/y": _Form(
        rf"(?:[0-9]{{1,2}}/[0-9]{{1,2}}/[0-9]{{4}}|[0-9]{{1,2}}-[0-9]{{1,2}}-[0-9]{{4}}){_CLOCK}",
        ((r"^(\d+)[/-](\d+)[/-](\d+)", r"\3-\2-\1"), _PADDED, _SHORT),
    ),
    "m/d/y": _Form(
        rf"(?:[0-9]{{1,2}}/[0-9]{{1,2}}/[0-9]{{4}}|[0-9]{{1,2}}-[0-9]{{1,2}}-[0-9]{{4}}){_CLOCK}",
        ((r"^(\d+)[/-](\d+)[/-](\d+)", r"\3-\1-\2"), _PADDED, _SHORT),
    ),
}
_INFINITE = r"[+-]?(?:inf|infinity|INF|Inf|Infinity|INFINITY)"


_MAY_BE_TIME = re.compile(  # also in forms that are not read
    r"[0-9]{1,4}[-/. ](?:[0-9]{1,2}|[A-Za-z]{3,9})[-/. ][0-9]{1,4}\b.*"
    r"|[0-9]{1,2}:[0-9]{2}(?::[0-9]{2}.*)?|[A-Za-z]{3,9}\.? [0-9]{1,2},? [0-9]{4}|[0-9]{4}-[0-9]{2}"
)


def trimmed(column: Any, is_raw: bool = False) -> Any:
    """Texts without blanks around them, and null where a mark of missing is left.

    `is_raw`: pyarrow read the file as it is, to which blanks before a quote are a part of the cell.
    """
    pc = pyarrow().compute
    if not any(map(_has_blanks, column.chunks)):
        return column
    column = pc.utf8_trim_whitespace(column)
    if is_raw and pc.any(pc.starts_with(column, '"')).as_py():
        raise QuotedAfterBlanks
    marks = pyarrow().array(sorted(MARKS_OF_MISSING))
    missing = pc.is_in(pc.utf8_lower(column), value_set=marks)
    return pc.if_else(missing, None, column)


def directly(sample: Any, marks: Sequence[Marks]) -> dict[str, Any]:
    """The types of columns that pyarrow may read itself, which is faster than by way of texts.

    Those of decimal numbers, and of ISO times. What begins with whole numbers may go on with codes
    or decimal numbers, so that all of its texts are needed; among decimal numbers, 02134 is one.
    """
    arrow = pyarrow()
    types: dict[str, Any] = {}
    for name in sample.column_names:
        column = sample[name]
        if Marks(".", "") not in marks or any(map(_has_blanks, column.chunks)):
            continue
        values = _plain(column)
        if values is not None:
            if _of_plain(column, values, marks).point:
                types[name] = arrow.float64()
        elif column.null_count < len(column) and _matches(column, ISO):
            if _as_times(column, _TIMES["iso"]) is not None:
                types[name] = arrow.timestamp("us")
    return types


def is_sound(table: Any, types: dict[str, Any]) -> bool:
    """Whether all numbers of columns read with these types are finite; pyarrow takes inf, nan."""
    arrow = pyarrow()
    columns = [table[name] for name, kind in types.items() if arrow.types.is_floating(kind)]
    return all(np.isfinite(arrow.compute.sum(column, min_count=0).as_py()) for column in columns)


def of_texts(column: Any, marks: Sequence[Marks], is_raw: bool = False) -> Found:
    """What a column of texts is, where numbers may be written with any of these marks."""
    arrow = pyarrow()
    if arrow.types.is_floating(column.type):
        return Found(column, "number", ".")
    if arrow.types.is_timestamp(column.type):
        return Found(column, "time")
    if Marks(".", "") in marks and (values := _plain(column)) is not None:
        return _of_plain(column, values, marks)
    if (shorter := trimmed(column, is_raw)) is not column:
        column = shorter
        if Marks(".", "") in marks and (values := _plain(column)) is not None:
            return _of_plain(column, values, marks)
    if column.null_count == len(column):
        return Found(arrow.nulls(len(column)), "number")
    first = _first_values(column)
    if (found := _numbers(column, first, marks)) is not None:
        return found
    if (values := _times(column, first)) is not None:
        return Found(values, "time")
    if all(value.lower() in ("true", "false") for value in first):
        values = arrow.compute.unique(column).to_pylist()
        if {value and value.lower() for value in values} <= {"true", "false", None}:
            return Found(arrow.compute.ascii_lower(column), "text")
    return Found(column, "text", odd=_odd(column, first))


def _first_values(column: Any) -> list[str]:
    """Some of those that are there."""
    found = column.slice(0, 2 * TRIED).drop_null()
    return (found if len(found) else column.drop_null()).slice(0, TRIED).to_pylist()


def _bytes(chunk: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of a chunk's texts that are there, none of which is empty: bytes, where each starts, ends."""
    _, offsets, data = chunk.buffers()
    at = np.frombuffer(offsets, np.int32, len(chunk) + 1, chunk.offset * 4).astype(np.intp)
    starts, ends = at[:-1], at[1:]
    if chunk.null_count:
        there = chunk.is_valid().to_numpy(zero_copy_only=False)
        starts, ends = starts[there], ends[there]
    return np.frombuffer(data or b"\0", np.uint8), starts, ends


def _has_blanks(chunk: Any) -> bool:
    data, starts, ends = _bytes(chunk)
    if not len(starts):
        return False
    for edge in (data[starts], data[ends - 1]):
        if edge.min() <= ord(" ") or (edge.max() >= 0x80 and _BLANK[edge].any()):
            return True
    return False


def _plain(column: Any) -> Any:
    """Numbers that Python reads as they are, none of them a code; None where a cell is none."""
    arrow = pyarrow()
    if not all(map(_begins_as_number, column.slice(0, TRIED).chunks)):
        return None
    if not all(map(_begins_as_number, column.chunks)):
        return None
    first = _first_values(column)
    if not first:
        return None
    is_whole = all(value.lstrip("-").isdecimal() for value in first)
    for kind in (arrow.int64(), arrow.float64())[not is_whole :]:
        try:
            return column.cast(kind)
        except arrow.ArrowInvalid:
            continue
    return None


def _begins_as_number(chunk: Any) -> bool:
    """Whether every text begins as one, and none is a code such as 02134, or 0x1F, inf or nan."""
    data, starts, ends = _bytes(chunk)
    if not len(starts):
        return True
    first = _FIRST[data[starts]]
    if not first.all():
        return False
    signed = np.flatnonzero(first == _SIGN)
    if len(signed):
        starts = starts.copy()
        starts[signed] += 1
        if (starts == ends).any():
            return False
        first[signed] = _FIRST[data[starts[signed]]]
        if not first[signed].all() or (first == _SIGN).any():
            return False
    zeros = np.flatnonzero((first == _ZERO) & (ends - starts > 1))
    if not len(zeros):
        return True
    second = data[starts[zeros] + 1]
    if ((second | 32) == ord("x")).any():
        return False
    for row in zeros[(second >= ord("0")) & (second <= ord("9"))].tolist():
        if CODE.fullmatch(bytes(data[starts[row] : ends[row]]).decode("utf-8", "replace")):
            return False
    return True


def _of_plain(column: Any, values: Any, marks: Sequence[Marks]) -> Found:
    arrow = pyarrow()
    if not arrow.types.is_floating(values.type):
        return Found(values, "number")
    infinite = arrow.compute.is_inf(values)
    if arrow.compute.any(infinite).as_py():
        _refuse_infinite(column, infinite)
    points = [value for value in _first_values(column) if "." in value]
    groups = Marks(",", ".")  # 1.200 of 1200
    pattern = _number(groups)
    may_be = groups in marks and points and all(map(re.compile(pattern).fullmatch, points))
    if may_be and _matches(column, pattern):
        return Found(values, "number", None, {".": values, ",": _converted(column, groups)})
    return Found(values, "number", "." if points else None)


def _refuse_infinite(column: Any, infinite: Any) -> None:
    row = int(pyarrow().compute.index(infinite, True).as_py())
    raise Refused(row, f"expected a finite number, found {column[row].as_py()!r:.60}")


@cache
def _number(marks: Marks) -> str:
    """What a whole number or a decimal one matches, written with these marks."""
    point, mark = re.escape(marks.decimal), marks.thousands
    whole = "[0-9]+"
    if mark:
        whole = (
            f"(?:[1-9][0-9]{{0,2}}(?:{_SPELLINGS.get(mark, re.escape(mark))}[0-9]{{3}})+|[0-9]+)"
        )
    return rf"[+-]?(?:{whole}(?:{point}[0-9]*)?|{point}[0-9]+)(?:[eE][+-]?[0-9]+)?"


def _matches(column: Any, pattern: str) -> bool:
    """Whether every text does, as a whole."""
    pc = pyarrow().compute
    return pc.all(pc.match_substring_regex(column, f"^(?:{pattern})$"), min_count=0).as_py()


def _converted(column: Any, marks: Marks) -> Any:
    arrow = pyarrow()
    if marks.thousands:
        pattern = _SPELLINGS.get(marks.thousands, re.escape(marks.thousands))
        column = arrow.compute.replace_substring_regex(column, pattern, "")
    if marks.decimal != ".":
        column = arrow.compute.replace_substring(column, marks.decimal, ".")
    try:
        return column.cast(arrow.int64())
    except arrow.ArrowInvalid:
        return column.cast(arrow.float64())


def _numbers(column: Any, first: Sequence[str], marks: Sequence[Marks]) -> Found | None:
    """Numbers under one reading, or under several that differ."""
    pc = pyarrow().compute
    readings: dict[str, Any] = {}
    if any(map(CODE.fullmatch, first)):
        return None
    for one in marks:
        pattern = _number(one)
        if not all(map(re.compile(f"{pattern}|{_INFINITE}").fullmatch, first)):
            continue
        if _matches(column, pattern):
            if _codes(column):
                return None
            values = _converted(column, one)
            infinite = pc.is_inf(values.cast("float64"))
            if pc.any(infinite).as_py():
                _refuse_infinite(column, infinite)
            readings.setdefault(one.decimal, values)
        elif _matches(column, f"{pattern}|{_INFINITE}"):
            _refuse_infinite(column, pc.match_substring_regex(column, f"^{_INFINITE}$"))
    if not readings:
        return None
    (point, values), *more = readings.items()
    if not more:
        return Found(values, "number", point)
    if all(values.cast("float64").equals(other.cast("float64")) for _, other in more):
        return Found(values, "number")
    return Found(None, "number", None, readings)


def _codes(column: Any) -> bool:
    pc = pyarrow().compute
    return pc.any(pc.match_substring_regex(column, f"^(?:{CODE.pattern})$"), min_count=0).as_py()


def _times(column: Any, first: Sequence[str]) -> Any:
    """Times under the one form that fits; of two orders of day and month that fit, none does."""
    found = []
    for name, form in _TIMES.items():
        if all(map(re.compile(form.pattern).fullmatch, first)) and _matches(column, form.pattern):
            values = _as_times(column, form)
            if values is not None and name not in ("d/m/y", "m/d/y"):
                return values
            if values is not None:
                found.append(values)
    if not found or (len(found) == 2 and not found[0].equals(found[1])):
        return None
    return found[0]


def _as_times(column: Any, form: _Form) -> Any:
    arrow = pyarrow()
    for pattern, to in form.steps:
        column = arrow.compute.replace_substring_regex(column, pattern, to)
    try:
        return column.cast(arrow.timestamp("us", "UTC" if form.zone else None))
    except arrow.ArrowInvalid:  # 30 February
        return None


def _odd(column: Any, first: Sequence[str]) -> int | None:
    """The row of the first text that is no number, or no plain one, where most are; or no date."""
    distinct = set(first)
    for looks, is_plain in ((looks_like_number, is_number), (_looks_like_time, lambda _: False)):
        if 2 * sum(map(looks, distinct)) <= len(distinct) or any(map(CODE.fullmatch, first)):
            continue
        values = pyarrow().compute.unique(column).drop_null().to_pylist()  # as they come
        odd = [value for value in values if not looks(value)]
        odd = odd or [value for value in values if not is_plain(value)]
        return int(pyarrow().compute.index(column, odd[0]).as_py()) if odd else None
    return None


def _looks_like_time(text: str) -> bool:
    return _MAY_BE_TIME.fullmatch(text) is not None


def allowed(decimal: str | None, thousands: str | None) -> list[Marks]:
    """The ways to write numbers that are left to the file."""
    decimals = [d for d in DECIMALS if d != thousands] if decimal is None else [decimal]
    groups = ("", *THOUSANDS) if thousands is None else ("", thousands)
    return [Marks(d, t) for d in decimals for t in groups if d != t]


def settled(found: Sequence[Found], delimiter: str) -> list[Found]:
    """Columns of two readings with the one that the others tell, or still with two and no values.

    A file writes all its numbers in one way: where another column has a decimal comma, 1,200 is
    1.2; where one has decimal points, or fields end at commas, it is 1200.
    """
    points = {one.point for one in found if one.point}
    if not points and delimiter == ",":
        points = {"."}
    return [
        one._replace(values=one.readings[min(points)], readings=None)
        if one.readings and len(points) == 1
        else one
        for one in found
    ]
