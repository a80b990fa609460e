"""What an encoder learns of a table that comes in parts, in one pass and bounded memory.

What belongs here: quantiles and counts of a stream, each column's as it grows. What does not: what
is made of them (codings.py), where the parts come from (fastbp/data/).

Up to EXACT numbers and DISTINCT categories a column, what is learnt is what the whole table gives.
Beyond, both sketches are deterministic: the same parts give the same bits.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbp.tabular import codings, dates, kinds
from fastbp.tabular.kinds import Column, Numbers, Texts, Times

EXACT = 1 << 14  # numbers of a column that are kept as they are
SIZE = 1 << 12  # of a level of the sketch
DISTINCT = 1 << 17  # categories of a column that are counted at a time


class Quantiles:
    """Quantiles of a stream of numbers.

    Of more than EXACT numbers every second of SIZE sorted ones stands for two, of these again for
    four, and so on (Manku, Rajagopalan & Lindsay 1998). The rank of what is found is off by at most
    log2(n / SIZE) / SIZE of n: 0.3 % of 10^7, 0.5 % of 10^9.

    Examples
    --------
    >>> found = Quantiles()
    >>> for part in np.array_split(np.arange(100_001.0), 7):
    ...     found.add(part)
    >>> bool(abs(found.at((0.5,))[0] - 50_000) <= 100_001 * found.error)
    True
    """

    def __init__(self) -> None:
        self.n, self.least, self.most = 0, math.inf, -math.inf
        self.exact: list[np.ndarray] | None = []
        self.levels: list[list[np.ndarray]] = []  # of level i each number stands for 2^i
        self.turns: list[int] = []

    def add(self, values: np.ndarray) -> None:
        """Take numbers, none of them NaN."""
        if not values.size:
            return
        self.n += values.size
        self.least = min(self.least, float(values.min()))
        self.most = max(self.most, float(values.max()))
        if self.exact is not None:
            self.exact.append(np.array(values, np.float64))
            if self.n <= EXACT:
                return
            values, self.exact = np.concatenate(self.exact), None
        for at in range(0, values.size, SIZE):
            self._put(0, values[at : at + SIZE])

    def _put(self, level: int, values: np.ndarray) -> None:
        if level == len(self.levels):
            self.levels.append([])
            self.turns.append(0)
        waiting = self.levels[level]
        waiting.append(np.array(values, np.float64))
        if sum(part.size for part in waiting) < SIZE:
            return
        ordered = np.sort(np.concatenate(waiting))
        whole = ordered.size // 2 * 2
        self.levels[level] = [ordered[whole:]]
        self.turns[level] ^= 1  # so that errors of one level cancel
        self._put(level + 1, ordered[self.turns[level] ^ 1 : whole : 2])

    @property
    def error(self) -> float:
        """By which share of all numbers the rank of a quantile may be off."""
        return 0.0 if self.exact is not None else max(1, len(self.levels)) / SIZE

    def at(self, shares: tuple[float, ...], shift: float = 0.0) -> list[float]:
        """Quantiles of the numbers, less `shift`."""
        if self.exact is not None:
            return codings.quantiles(np.concatenate(self.exact) - shift, shares)
        values = [np.concatenate(parts) for parts in self.levels]
        weights = np.concatenate([np.full(of.size, 2.0**i) for i, of in enumerate(values)])
        found = np.concatenate(values)
        order = np.argsort(found, kind="stable")
        ranks = np.cumsum(weights[order])
        places = np.searchsorted(ranks, np.array(shares) * ranks[-1])
        return (found[order][np.minimum(places, found.size - 1)] - shift).tolist()

    def scaling(self, shift: float = 0.0) -> codings.Scaling:
        low, median, high = self.at((0.25, 0.5, 0.75), shift)
        return codings.Scaling.between(low, median, high, self.least - shift, self.most - shift)


class NumberStream:
    def __init__(self, declared: str) -> None:
        self.parsed = declared == "numeric"
        self.values, self.missing = Quantiles(), False

    def add(self, column: Column, where: str) -> None:
        values = codings.as_numbers(column, where, self.parsed)
        missing = np.isnan(values)
        self.missing = self.missing or bool(missing.any())
        self.values.add(values[~missing])

    def coding(self, name: str, most: int) -> codings.Coding:
        return codings.NumberCoding(name, self.values.scaling(), self.missing, self.parsed)


class TimeStream:
    def __init__(self, declared: str) -> None:
        self.parts = [Quantiles() for _ in dates.PARTS]
        self.missing, self.earliest = False, 2**63 - 1

    def add(self, column: Column, where: str) -> None:
        values = codings.as_times(column, where)
        missing = np.isnat(values)
        self.missing = self.missing or bool(missing.any())
        values = values[~missing]
        if values.size:
            self.earliest = min(self.earliest, int(values.min().astype(np.int64)))
            for quantiles, part in zip(self.parts, dates.parts_of(values, 0), strict=True):
                quantiles.add(part)

    def coding(self, name: str, most: int) -> codings.Coding:
        first = self.earliest / dates.DAY
        shifts = [first if part == "elapsed_days" else 0.0 for part in dates.PARTS]
        scalings = (of.scaling(shift) for of, shift in zip(self.parts, shifts, strict=True))
        return codings.TimeCoding(name, self.earliest, tuple(scalings), self.missing)


class TextStream:
    """Counts of categories: exact up to DISTINCT of them.

    Beyond, all counts are lowered so that half of them stay (Misra & Gries 1982): a category that
    occurs in more than 2 / DISTINCT of the rows is never lost.
    """

    def __init__(self, declared: str) -> None:
        self.declared = declared == "categorical"
        self.counts: dict[str, int] = {}
        self.missing = self.lost = False

    def add(self, column: Column, where: str) -> None:
        known = codings.TextCoding("", tuple(self.counts)[:3], False, False, self.declared)
        texts = codings.as_texts(column, where, known)
        of_value = np.bincount(texts.codes[texts.codes >= 0], minlength=len(texts.values))
        for value, count in zip(texts.values, of_value.tolist(), strict=True):
            if count:
                text = codings.canonical(value)
                self.counts[text] = self.counts.get(text, 0) + count
                if len(self.counts) > DISTINCT:
                    self._lower()
        self.missing = self.missing or bool((texts.codes < 0).any())

    def _lower(self) -> None:
        counts = np.fromiter(self.counts.values(), np.int64, len(self.counts))
        least = int(np.partition(counts, len(counts) // 2)[len(counts) // 2])
        self.counts = {text: n - least for text, n in self.counts.items() if n > least}
        self.lost = True

    def coding(self, name: str, most: int) -> codings.Coding:
        counts = self.counts
        kept = sorted(counts, key=lambda text: (-counts[text], text))[:most]
        other = self.lost or len(kept) < len(counts)
        return codings.TextCoding(name, tuple(sorted(kept)), other, self.missing, self.declared)


STREAMS: dict[Any, Any] = {Numbers: NumberStream, Texts: TextStream, Times: TimeStream}
Stream = NumberStream | TextStream | TimeStream


class ColumnStream:
    """One column, of the kind that the first part with a value in it has."""

    def __init__(self, name: str, declared: str) -> None:
        self.name, self.declared = name, declared
        self.stream: Stream | None = None
        self.n_missing = 0  # before the kind was known

    def add(self, column: Column, where: str) -> None:
        kind: Any = {"numeric": Numbers, "categorical": Texts}.get(self.declared, type(column))
        missing = kinds.is_missing(column)
        if missing.all():
            if self.stream is None:
                self.n_missing += len(missing)
            else:
                self.stream.missing = self.stream.missing or bool(missing.size)
            return
        stream: Stream = self.stream or STREAMS[kind](self.declared)
        if self.stream is None:
            stream.missing = self.n_missing > 0
        stream.add(codings.texts_of(column) if self.declared == "categorical" else column, where)
        self.stream = stream

    def coding(self, most: int, where: str) -> codings.Coding:
        if self.stream is None:
            got = f"a column all missing, which says nothing: leave it out (drop {self.name!r})"
            raise kinds.refusal(where, None, "at least one value", got)
        return self.stream.coding(self.name, most)
