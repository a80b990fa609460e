"""An encoder's columns as nodes: a table's raw columns in, what a network sees out.

What belongs here: a function for each kind of coding, types of the inputs. What does not: what the
codings are (fastbp/tabular/codings.py), names and networks.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from fastbp.exchange.onnx.graph import ML, OPSET_OF_TEXTS, Graph, Value
from fastbp.functions import shown
from fastbp.tabular import Encoder
from fastbp.tabular.codings import FAR, NumberCoding, Scaling, TextCoding, TimeCoding
from fastbp.tabular.kinds import BOOLEANS

TABLE = "encoder"  # where the metadata of a network on tables have one
# how a category that is a number may be written; others are told by their text alone
NUMBER = r"[+-]?(0|[1-9][0-9]*)(\.[0-9]*)?"
TEXTS, NUMBERS = np.dtype(object), np.dtype(np.float64)
DAY = 86_400_000_000  # microseconds
NO_TIME = np.iinfo(np.int64).min  # NaT
DIGITS = 15  # that tell a float64 from the next


class Given(NamedTuple):
    """Inputs, name and type, and what is made of them (n, k)."""

    inputs: list[tuple[str, np.dtype[Any]]]
    encoded: Value


def add_encoder(graph: Graph, encoder: Encoder, X: Any = None) -> Given:
    """Nodes of all columns, in the order of `Encoder.feature_names_out`."""
    types = _types_of(encoder, X)
    given, parts = [], []
    for coding in encoder._codings:  # all before any node: an input has its column's name
        if not coding.name:
            raise ValueError("model: expected columns with names; got a column ''")
        graph.name(coding.name)
    for coding in encoder._codings:
        kind = types.get(coding.name) or _DEFAULTS[type(coding)]
        if isinstance(coding, TimeCoding):
            kind = _DEFAULTS[TimeCoding]
        given.append((coding.name, kind))
        column = Value(graph, coding.name, kind)
        parts += _CODED[type(coding)](column, coding, encoder._out)
    first, *others = parts
    return Given(given, first.op("Concat", *others, axis=1) if others else first)


def _types_of(encoder: Encoder, X: Any) -> dict[str, np.dtype[Any]]:
    """Of the columns of an example."""
    if X is None:
        return {}
    found: dict[str, np.dtype[Any]] = {}
    for j, coding in enumerate(encoder._codings):
        name = coding.name
        try:
            if isinstance(X, Mapping) or hasattr(X, "columns"):
                values = X[name]
            else:
                values = np.asarray(X)[:, j]
            array = np.asarray(values)
        except Exception as error:
            raise ValueError(f"X: expected the columns of training; {name!r}: {error}") from None
        kind = _kind_of(array, coding.missing)
        if kind is not None:
            found[name] = kind
    return found


def _kind_of(array: np.ndarray, gaps: bool) -> np.dtype[Any] | None:
    """The type of an input; one that holds what is missing where there are, or were, gaps."""
    kind = array.dtype.kind
    if kind == "f" and array.dtype.itemsize == 4:
        return np.dtype(np.float32)
    if kind in "fiub":
        exact = {"f": NUMBERS, "b": TEXTS if gaps else np.dtype(np.bool_)}
        return exact.get(kind, NUMBERS if gaps else np.dtype(np.int64))
    values = array.ravel().tolist()
    present = [v for v in values if not _is_missing(v)]
    if not present:
        return None
    if all(isinstance(v, (bool, np.bool_)) for v in present):
        return TEXTS if gaps or len(present) < len(values) else np.dtype(np.bool_)
    return TEXTS if all(isinstance(v, str) for v in present) else NUMBERS


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or value != value


def _as_numbers(column: Value, coding: Any) -> Value:
    if column.dtype == TEXTS:
        raise TypeError(
            f"X: column {coding.name!r}: expected numbers, which the model takes there; got texts: "
            "make numbers of them"
        )
    return column.cast(np.float64)


def _is_nan(x: Value) -> Value:
    return x.op("IsNaN", dtype=bool)


def _scaled(x: Value, scaling: Scaling, dtype: Any) -> Value:
    """As `Scaling.__call__`, of float64."""
    if scaling.scale == 0:
        return _is_nan(x).cast(dtype) * 0.0
    far = ((x - scaling.median) / scaling.scale).op("Clip", -FAR, FAR)
    third = far / 3.0
    clipped = far / (third * third + 1.0).op("Sqrt")
    return _is_nan(x).where(0.0, clipped).cast(dtype)


def _number(column: Value, coding: NumberCoding, dtype: Any) -> list[Value]:
    x = _as_numbers(column, coding)
    parts = [_scaled(x, coding.scaling, dtype)]
    if coding.missing:
        parts.append(_is_nan(x).cast(dtype))
    return parts


def _time(column: Value, coding: TimeCoding, dtype: Any) -> list[Value]:
    """Of microseconds since 1970, as `dates.parts_of` has it."""
    missing = column.op("Equal", NO_TIME, dtype=bool)
    whole = missing.where(0, column)
    days = _floor(whole, DAY)
    # civil dates of days (H. Hinnant, "chrono-compatible low-level date algorithms"), from March on
    shifted = days + 719468
    in_era = shifted.op("Mod", 146097)
    of_era = (
        in_era - in_era / 1460 + in_era / 36524 - in_era / 146096
    ) / 365  # whole numbers are divided as such
    in_year = in_era - (of_era * 365 + of_era / 4 - of_era / 100)
    march = (in_year * 5 + 2) / 153
    year = of_era + _floor(shifted, 146097) * 400 + (march > 9).cast(np.int64)
    month = march + 3 - (march > 9).cast(np.int64) * 12
    before = year - 1
    first = before * 365 + _floor(before, 4) - _floor(before, 100) + _floor(before, 400) - 719162
    elapsed = whole.cast(np.float64) / float(DAY) - coding.earliest / DAY
    parts = [year, month, (days + 3).op("Mod", 7), days - first + 1, elapsed]
    found = []
    for part, scaling in zip(parts, coding.scalings, strict=True):
        known = part.cast(np.float64)
        found.append(_scaled(missing.where(np.nan, known), scaling, dtype))
    if coding.missing:
        found.append(missing.cast(dtype))
    return found


def _floor(x: Value, by: int) -> Value:
    """x // by of whole numbers of any sign."""
    return (x - x.op("Mod", by)) / by


def _text(column: Value, coding: TextCoding, dtype: Any) -> list[Value]:
    """Places, then 0 and 1 by them; a place behind the last is none."""
    width = len(coding.categories) + coding.other + coding.missing
    other = len(coding.categories) if coding.other else width
    missing = width - 1 if coding.missing else width
    if coding.binary:
        width = other = missing = 2
    places = _places(column, coding, other, missing)
    graph = column.graph
    if coding.binary:
        signs = graph.constant([-1, 1, 0], dtype)
        (out,) = graph.add("Gather", signs.name, places.name, axis=0)
        return [Value(graph, out, dtype)]
    depth = graph.constant([width], np.int64)
    values = graph.constant([0, 1], np.float32)
    (out,) = graph.add("OneHot", places.reshaped(-1).name, depth.name, values.name, axis=-1)
    return [Value(graph, out, np.float32).cast(dtype)]


def _places(column: Value, coding: TextCoding, other: int, missing: int) -> Value:
    """Of each row the category's place (n, 1)."""
    graph, kind = column.graph, column.dtype
    numbers = _numbers_among(coding)
    if kind == np.bool_:
        at = {text: place for place, text in enumerate(coding.categories)}
        ends = [graph.constant([[at.get(text, other)]], np.int64) for text in BOOLEANS]
        return column.where(ends[1], ends[0])
    if kind != TEXTS:
        if not numbers and not coding.declared:
            raise TypeError(
                f"X: column {coding.name!r}: expected texts, as in training; got numbers"
            )
        x = column.cast(np.float64)
        found = _place_of_number(x, numbers, coding, other)
        return _is_nan(x).where(graph.constant([[missing]], np.int64), found)
    keys = {text: place for place, text in enumerate(coding.categories)}
    if coding.missing and "" in keys:
        raise ValueError(
            f"model: column {coding.name!r}: expected other texts than '' beside what is missing, "
            "which ONNX has as ''; got both"
        )
    for text in set(BOOLEANS) & set(keys):  # True, TRUE, ...
        for letters in itertools.product(*((c.lower(), c.upper()) for c in text)):
            keys["".join(letters)] = keys[text]
    keys.setdefault("", missing)
    (out,) = graph.add(
        "LabelEncoder", column.name, domain=ML, keys_strings=list(keys),
        values_int64s=list(keys.values()), default_int64=other,
    )  # fmt: skip
    found = Value(graph, out, np.int64)
    if not numbers:
        return found
    is_number = column.op("RegexFullMatch", dtype=bool, pattern=NUMBER, since=OPSET_OF_TEXTS)
    zero = graph.constant(["0"], object)
    x = is_number.where(column, zero).cast(np.float64)
    return is_number.where(_place_of_number(x, numbers, coding, other), found)


def _numbers_among(coding: TextCoding) -> dict[str, float]:
    """The categories that are numbers, which may be written otherwise."""
    found = {}
    for text in coding.categories:
        if re.fullmatch(NUMBER, text):
            digits = re.sub(r"[^0-9]", "", text).lstrip("0")
            if len(digits) > DIGITS:
                raise ValueError(
                    f"model: column {coding.name!r}: expected categories of at most {DIGITS} "
                    f"digits, which float64 tells apart; got {shown(text)}"
                )
            found[text] = float(text)
    return found


def _place_of_number(
    x: Value, numbers: Mapping[str, float], coding: TextCoding, other: int
) -> Value:
    """Of x (n, 1) that are numbers."""
    graph = x.graph
    if not numbers:
        return _is_nan(x).cast(np.int64) * 0 + other
    known = graph.constant([list(numbers.values())], np.float64)
    places = [coding.categories.index(text) - other for text in numbers]
    equal = x.op("Equal", known, dtype=bool).cast(np.int64)
    return (equal * graph.constant([places], np.int64)).sum() + other


_DEFAULTS = {NumberCoding: NUMBERS, TextCoding: TEXTS, TimeCoding: np.dtype(np.int64)}
_CODED: dict[type, Any] = {NumberCoding: _number, TextCoding: _text, TimeCoding: _time}
