"""A factor for each parameter tensor, from patterns of their names.

What belongs here: how ``rates={"b*": 0.1}`` becomes a list of numbers. What does not: what is
multiplied by them (optimizers.py says it, kernels/update.pxd does it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from fastbp import inputs
from fastbp.functions import shown


def as_factors(value: Any, names: Sequence[str], argument: str) -> dict[str, float]:
    """The factor of each tensor that a pattern matches; of several patterns the last counts.

    Examples
    --------
    >>> as_factors({"*": 0.5, "b?": 0, "W2": 3}, ["W1", "b1", "W2", "b2"], "rates")
    {'W1': 0.5, 'b1': 0.0, 'W2': 3.0, 'b2': 0.0}
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise TypeError(
            f'{argument}: expected a dict of patterns of tensors and numbers, as {{"b*": 0.1}}; '
            f"got {shown(value)}"
        )
    found: dict[str, float] = {}
    for pattern, factor in value.items():
        if not isinstance(pattern, str):
            raise TypeError(f"{argument}: expected patterns that are str; got {shown(pattern)}")
        matched = [name for name in names if fnmatchcase(name, pattern)]
        if not matched:
            raise ValueError(
                f"{argument}: expected patterns of {', '.join(names)}; got {pattern!r}, which "
                "matches none"
            )
        found |= dict.fromkeys(matched, inputs.as_penalty(factor, f"{argument}[{pattern!r}]"))
    return {name: found[name] for name in names if name in found}


def rates_of(value: Any, names: Sequence[str]) -> list[float] | None:
    """What each tensor's learning rate is multiplied by; None where all are 1."""
    rates = as_factors(value, names, "rates")
    found = [rates.get(name, 1.0) for name in names]
    return None if set(found) == {1.0} else found


def decays_of(value: Any, usual: Mapping[str, float]) -> list[float]:
    """What its penalties and weight decay are multiplied by: what is usual, unless told."""
    return list((dict(usual) | as_factors(value, list(usual), "decays")).values())
