"""Facts out of a foreign file, each checked when it is read.

What belongs here: the types that JSON has. What does not: what the facts mean (encoder.py,
codings.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from fastbp.functions import shown
from fastbp.tabular.kinds import is_utf8


class Facts:
    """A dict of which every key is read once, and its place in the whole for a refusal.

    >>> Facts({"scale": -1.0}, "columns[0]").number("scale", least=0)
    Traceback (most recent call last):
    ...
    ValueError: columns[0]['scale']: expected a finite number >= 0; got -1.0
    """

    def __init__(self, facts: Any, where: str) -> None:
        if type(facts) is not dict:
            raise ValueError(f"{where}: expected a dict; got {shown(facts)}")
        self.facts, self.where, self.read = facts, where, set[str]()

    def wrong(self, key: str, expected: str) -> ValueError:
        got = shown(self.facts.get(key))
        return ValueError(f"{self.where}[{key!r}]: expected {expected}; got {got}")

    def value(self, key: str) -> Any:
        if key not in self.facts:
            raise ValueError(f"{self.where}: expected {key!r}; got none")
        self.read.add(key)
        return self.facts[key]

    def close(self) -> None:
        """Refuse what was not asked for."""
        for key in self.facts:
            if key not in self.read:
                raise ValueError(f"{self.where}: expected {sorted(self.read)}; got {shown(key)}")

    def text(self, key: str) -> str:
        value = self.value(key)
        if type(value) is not str or not is_utf8(value):
            raise self.wrong(key, "a text")
        return value

    def one_of(self, key: str, known: Sequence[str]) -> str:
        value = self.value(key)
        if type(value) is not str or value not in known:
            raise self.wrong(key, f"one of {', '.join(known)}")
        return value

    def flag(self, key: str) -> bool:
        value = self.value(key)
        if type(value) is not bool:
            raise self.wrong(key, "true or false")
        return value

    def count(self, key: str, least: int, most: int = 2**63 - 1) -> int:
        value = self.value(key)
        if type(value) is not int or not least <= value <= most:
            raise self.wrong(key, f"a whole number in {least}..{most}")
        return value

    def number(self, key: str, least: float = -math.inf) -> float:
        value = self.value(key)
        bound = f" >= {least:g}" if math.isfinite(least) else ""
        try:
            number = float(value) if type(value) in (int, float) else math.nan
        except OverflowError:
            number = math.nan
        if not (math.isfinite(number) and number >= least):
            raise self.wrong(key, f"a finite number{bound}")
        return number

    def entries(self, key: str) -> list[Facts]:
        """A list of dicts."""
        value = self.value(key)
        if type(value) is not list or not value:
            raise self.wrong(key, "a list of at least one dict")
        return [Facts(entry, f"{self.where}[{key!r}][{i}]") for i, entry in enumerate(value)]

    def texts(self, key: str) -> list[str]:
        """A list of distinct texts."""
        value = self.value(key)
        right = type(value) is list and all(type(v) is str and is_utf8(v) for v in value)
        if not right or len(set(value)) < len(value):
            raise self.wrong(key, "a list of distinct texts")
        return list(value)
