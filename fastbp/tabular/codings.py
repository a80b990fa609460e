"""What a network sees of one column: numbers scaled, categories one-hot, times taken apart.

What belongs here: what is learnt of a column, the numbers made of it, how both are written down.
What does not: tables (columns.py), the encoder of all columns (encoder.py).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.functions import shown
from fastbp.tabular import dates, kinds
from fastbp.tabular.facts import Facts
from fastbp.tabular.kinds import Column, Numbers, Texts, Times
from fastbp.tabular.rows import Dense, OneHot, Slot

FAR = 1e9  # what is farther out is at +-3 to the last bit of float64
MARKS_OF_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}  # among numbers as texts

_CODE = re.compile(r"0[0-9]+")  # 02134, which is no number
_NUMBER = re.compile(r"([+-]?)(0|[1-9][0-9]*)(?:\.([0-9]*))?")


def canonical(text: str) -> str:
    """What the ways to write one category have in common.

    >>> [canonical(t) for t in ("1.0", "+1", "-0", "0.50", "True", "02134", "1e3")]
    ['1', '1', '0', '0.5', 'true', '02134', '1e3']
    """
    found = _NUMBER.fullmatch(text)
    if found is None:
        return text.lower() if text.lower() in kinds.BOOLEANS else text
    sign, whole, part = found[1], found[2], (found[3] or "").rstrip("0")
    number = f"{whole}.{part}" if part else whole
    return f"-{number}" if sign == "-" and number != "0" else number


@dataclass(frozen=True)
class Scaling:
    """x <- (x - median) / scale, then x / sqrt(1 + (x/3)^2); 0 where scale is 0.

    scale is the distance of the quartiles, half of the range where they are equal.
    (Holzmueller, Grinsztajn, Steinwart, Better by default, 2024)
    """

    median: float
    scale: float

    @classmethod
    def of(cls, values: np.ndarray) -> Scaling:
        """Of float64 (n,), NaN where missing; at least one is not."""
        known = values[~np.isnan(values)]
        low, median, high = quantiles(known, (0.25, 0.5, 0.75))
        return cls.between(low, median, high, float(known.min()), float(known.max()))

    @classmethod
    def between(cls, low: float, median: float, high: float, least: float, most: float) -> Scaling:
        """By the quartiles, and the least and largest number."""
        scale = min(high - low, float(np.finfo(np.float64).max))
        if scale == 0:
            scale = most / 2 - least / 2
        return cls(float(median), float(scale))

    def facts(self) -> dict[str, Any]:
        return {"median": self.median, "scale": self.scale}

    @classmethod
    def read(cls, of: Facts) -> Scaling:
        return cls(of.number("median"), of.number("scale", least=0))

    def __call__(self, values: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
        if self.scale == 0:
            return np.zeros(len(values), dtype)
        with np.errstate(over="ignore"):
            x = values - self.median
            x /= self.scale
        np.clip(x, -FAR, FAR, out=x)
        y = x / 3
        y *= y
        y += 1
        x /= np.sqrt(y, out=y)
        x[np.isnan(x)] = 0  # the median
        return x.astype(dtype)


def quantiles(values: np.ndarray, at: tuple[float, ...]) -> list[float]:
    """Interpolated as by numpy.quantile, without its overflow of (b - a)."""
    ordered, found = np.sort(values), []  # vectorised by NumPy, faster than its partition
    for q in at:
        place = q * (len(ordered) - 1)
        low, share = int(place), place - int(place)
        a, b = float(ordered[low]), float(ordered[min(low + 1, len(ordered) - 1)])
        found.append(a if a == b else a * (1 - share) + b * share)
    return found


@dataclass(frozen=True)
class NumberCoding:
    """One column of numbers, and one for where they are missing if they were in training."""

    name: str
    scaling: Scaling
    missing: bool
    parsed: bool  # texts are read as numbers

    @classmethod
    def fit(cls, name: str, values: np.ndarray, parsed: bool) -> NumberCoding:
        return cls(name, Scaling.of(values), bool(np.isnan(values).any()), parsed)

    def facts(self) -> dict[str, Any]:
        return {**self.scaling.facts(), "parsed": self.parsed}

    @classmethod
    def read(cls, name: str, missing: bool, of: Facts) -> NumberCoding:
        return cls(name, Scaling.read(of), missing, of.flag("parsed"))

    def names(self) -> list[str]:
        return [self.name, f"{self.name}=missing"] if self.missing else [self.name]

    def slots(self, column: Column, where: str, dtype: np.dtype[Any]) -> list[Slot]:
        values = as_numbers(column, where, self.parsed)
        found: list[Slot] = [Dense(self.scaling(values, dtype))]
        if self.missing:
            found.append(Dense(np.isnan(values).astype(dtype)))
        return found


@dataclass(frozen=True)
class TimeCoding:
    """A column for each part of a time, and one for where it is missing if it was in training."""

    name: str
    earliest: int
    scalings: tuple[Scaling, ...]
    missing: bool

    @classmethod
    def fit(cls, name: str, values: np.ndarray) -> TimeCoding:
        missing = np.isnat(values)
        earliest = int(values[~missing].min().astype(np.int64))
        scalings = tuple(Scaling.of(part) for part in dates.parts_of(values, earliest))
        return cls(name, earliest, scalings, bool(missing.any()))

    def facts(self) -> dict[str, Any]:
        parts = [
            {"part": part, **scaling.facts()}
            for part, scaling in zip(dates.PARTS, self.scalings, strict=True)
        ]
        return {"earliest": self.earliest, "parts": parts}

    @classmethod
    def read(cls, name: str, missing: bool, of: Facts) -> TimeCoding:
        parts = of.entries("parts")
        if len(parts) != len(dates.PARTS):
            raise of.wrong("parts", f"{len(dates.PARTS)} parts")
        scalings = []
        for part, name_of_part in zip(parts, dates.PARTS, strict=True):
            part.one_of("part", (name_of_part,))
            scalings.append(Scaling.read(part))
            part.close()
        return cls(name, of.count("earliest", -(2**63) + 1), tuple(scalings), missing)

    def names(self) -> list[str]:
        parts = (*dates.PARTS, "missing") if self.missing else dates.PARTS
        return [f"{self.name}={part}" for part in parts]

    def slots(self, column: Column, where: str, dtype: np.dtype[Any]) -> list[Slot]:
        values = as_times(column, where)
        parts = dates.parts_of(values, self.earliest)
        found: list[Slot] = [
            Dense(scaling(part, dtype)) for scaling, part in zip(self.scalings, parts, strict=True)
        ]
        if self.missing:
            found.append(Dense(np.isnat(values).astype(dtype)))
        return found


@dataclass(frozen=True)
class TextCoding:
    """A column for each category, for the rest and for missing where they were in training; of two
    categories one column, -1 and +1."""

    name: str
    categories: tuple[str, ...]
    other: bool  # the rest of the categories share a column
    missing: bool
    declared: bool  # numbers and times are categories too

    @classmethod
    def fit(cls, name: str, column: Texts, most: int, declared: bool) -> TextCoding:
        texts = [canonical(value) for value in column.values]
        counts: dict[str, int] = {}
        of_value = np.bincount(column.codes[column.codes >= 0], minlength=len(texts))
        for text, count in zip(texts, of_value.tolist(), strict=True):
            if count:
                counts[text] = counts.get(text, 0) + count
        kept = sorted(counts, key=lambda text: (-counts[text], text))[:most]
        missing = bool((column.codes < 0).any())
        return cls(name, tuple(sorted(kept)), len(kept) < len(counts), missing, declared)

    def facts(self) -> dict[str, Any]:
        return {
            "categories": list(self.categories),
            "other": self.other,
            "declared": self.declared,
        }

    @classmethod
    def read(cls, name: str, missing: bool, of: Facts) -> TextCoding:
        categories = of.texts("categories")
        if not categories or any(canonical(text) != text for text in categories):
            raise of.wrong("categories", "at least one category, each as it is compared")
        return cls(name, tuple(categories), of.flag("other"), missing, of.flag("declared"))

    @property
    def binary(self) -> bool:
        return len(self.categories) == 2 and not self.other and not self.missing

    def names(self) -> list[str]:
        texts = self.categories[1:] if self.binary else self.categories
        rest = ["other"] * self.other + ["missing"] * self.missing
        return [f"{self.name}={text}" for text in (*texts, *rest)]

    def slots(self, column: Column, where: str, dtype: np.dtype[Any]) -> list[Slot]:
        column = as_texts(column, where, self)
        place = {text: i for i, text in enumerate(self.categories)}
        other = len(place) if self.other else -1
        places = [place.get(canonical(value), other) for value in column.values]
        if self.binary:
            signs = np.array([(0, -1, 1)[p + 1] for p in places] + [0], dtype)
            return [Dense(signs[column.codes])]
        width = len(place) + self.other + self.missing
        last = width - 1 if self.missing else -1
        return [OneHot(np.array([*places, last], np.int32)[column.codes], width)]


Coding = NumberCoding | TextCoding | TimeCoding
KINDS: dict[str, type[Coding]] = {
    "number": NumberCoding,
    "text": TextCoding,
    "time": TimeCoding,
}


def kind_of(coding: Coding) -> str:
    """Its name in KINDS."""
    return next(name for name, of in KINDS.items() if isinstance(coding, of))


def to_dict(coding: Coding) -> dict[str, Any]:
    """What was learnt of a column, of what JSON has."""
    own = coding.facts()
    return {"name": coding.name, "kind": kind_of(coding), "missing": coding.missing, **own}


def from_list(columns: list[Facts]) -> list[Coding]:
    """The codings that `to_dict` wrote down; ValueError where it did not."""
    found: dict[str, Coding] = {}
    for of in columns:
        name = of.text("name")
        if name in found:
            raise of.wrong("name", "another name in each column")
        kind = KINDS[of.one_of("kind", list(KINDS))]
        found[name] = kind.read(name, of.flag("missing"), of)
        of.close()
    return list(found.values())


def fit(name: str, column: Column, where: str, most: int, declared: str) -> Coding:
    """The coding of a column; declared: "categorical", "numeric" or ""."""
    if declared == "numeric":
        column = Numbers(as_numbers(column, where, True))
    elif declared == "categorical":
        column = texts_of(column)
    if kinds.is_missing(column).all():
        got = f"a column all missing, which says nothing: leave it out (drop {name!r})"
        raise kinds.refusal(where, None, "at least one value", got)
    if isinstance(column, Numbers):
        return NumberCoding.fit(name, column.values, declared == "numeric")
    if isinstance(column, Texts):
        return TextCoding.fit(name, column, most, declared == "categorical")
    return TimeCoding.fit(name, column.values)


def texts_of(column: Column) -> Texts:
    """Numbers and times as the texts of their values."""
    if isinstance(column, Texts):
        return column
    missing = kinds.is_missing(column)
    values, inverse = np.unique(column.values[~missing], return_inverse=True)
    codes = np.full(len(missing), -1, np.int32)
    codes[~missing] = inverse
    return Texts(codes, [kinds.text_of(value) for value in values])


def as_numbers(column: Column, where: str, parsed: bool) -> np.ndarray:
    """float64 (n,) of what was numbers in training."""
    if isinstance(column, Numbers):
        return column.values
    missing = kinds.is_missing(column)
    if missing.all():
        return np.full(len(missing), np.nan)
    if isinstance(column, Times):
        raise _of_another_kind(column, where, "numbers" if parsed else "numbers as in training")
    if not parsed and set(column.values) != set(kinds.BOOLEANS):
        hint = "; numeric=[...] reads texts as numbers"
        odd = [place for place, value in enumerate(column.values) if not _reads_as_number(value)]
        rows = np.flatnonzero(np.isin(column.codes, odd))  # most texts may be numbers
        row = int(rows[0]) if len(rows) else None
        raise _of_another_kind(column, where, "numbers as in training", hint, row)
    found = np.full(len(column.values) + 1, np.nan)
    for place, value in enumerate(column.values):
        try:
            found[place] = _number(value)
        except ValueError:
            rows = np.flatnonzero(column.codes == place)
            if len(rows):
                expected = "a finite number, or missing"
                raise kinds.refusal(where, int(rows[0]), expected, shown(value)) from None
    return found[column.codes]


def _reads_as_number(text: str) -> bool:
    try:
        _number(text)
    except ValueError:
        return False
    return True


def _number(text: str) -> float:
    text = text.strip()
    if text.lower() in kinds.BOOLEANS:
        return float(kinds.BOOLEANS.index(text.lower()))
    if text.lower() in MARKS_OF_MISSING:
        return np.nan
    value = float(text)
    if "_" in text or not np.isfinite(value):
        raise ValueError
    return value


def as_times(column: Column, where: str) -> np.ndarray:
    """datetime64[us] (n,) of what was times in training."""
    if isinstance(column, Times):
        return column.values
    missing = kinds.is_missing(column)
    if not missing.all():
        hint = "; pandas.to_datetime makes times of texts"
        raise _of_another_kind(column, where, "times as in training", hint)
    return np.full(len(missing), np.datetime64("NaT"), "M8[us]")


def as_texts(column: Column, where: str, coding: TextCoding) -> Texts:
    """Texts of what was texts in training; numbers where categories are such."""
    if isinstance(column, Texts):
        return column
    missing = kinds.is_missing(column)
    coded = isinstance(column, Numbers) and any(map(_CODE.fullmatch, coding.categories))
    if missing.all() or (coding.declared and not coded):
        return texts_of(column)
    if isinstance(column, Numbers) and not coded:
        if any(map(_NUMBER.fullmatch, coding.categories)):
            return texts_of(column)
        if set(coding.categories) <= set(kinds.BOOLEANS):
            values = column.values
            if np.isin(values[~missing], (0, 1)).all():
                return Texts(np.where(missing, -1, values).astype(np.int32), list(kinds.BOOLEANS))
    few = ", ".join(repr(text) for text in coding.categories[:3])
    hint = ", which have lost their 0" if coded else "; categorical=[...] makes categories of them"
    raise _of_another_kind(column, where, f"texts ({few}, ...) as in training", hint)


def _of_another_kind(
    column: Column, where: str, expected: str, hint: str = "", row: int | None = None
) -> Exception:
    if row is None:
        row = int(np.argmin(kinds.is_missing(column)))
    value = column.values[column.codes[row]] if isinstance(column, Texts) else column.values[row]
    text = kinds.text_of(value)
    kind = type(column).__name__.lower()
    got = f"{kind}, such as {text if isinstance(column, Numbers) else repr(text)}{hint}"
    return kinds.refusal(where, row, expected, got, TypeError)
