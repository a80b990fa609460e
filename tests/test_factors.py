"""Patterns of tensors' names and the factors that they stand for."""

import math

import numpy as np
import pytest

from fastbp import factors

NAMES = ["W1", "b1", "s2", "W3", "b3", "W10", "b10"]


@pytest.mark.parametrize(
    ("patterns", "found"),
    [
        (None, {}),
        ({}, {}),
        ({"W1": 0.5}, {"W1": 0.5}),
        ({"W*": 2}, {"W1": 2.0, "W3": 2.0, "W10": 2.0}),
        ({"?1": np.float32(0.25)}, {"W1": 0.25, "b1": 0.25}),
        ({"[bs]*": 0}, {"b1": 0.0, "s2": 0.0, "b3": 0.0, "b10": 0.0}),
        ({"b*": 0.1, "b3": 3.0}, {"b1": 0.1, "b3": 3.0, "b10": 0.1}),
        ({"b3": 3.0, "b*": 0.1}, {"b1": 0.1, "b3": 0.1, "b10": 0.1}),
    ],
    ids=str,
)
def test_a_later_pattern_counts(patterns, found):
    assert factors.as_factors(patterns, NAMES, "rates") == found


def test_what_is_not_told_is_as_usual():
    assert factors.rates_of(None, NAMES) is factors.rates_of({"*": 1}, NAMES) is None
    assert factors.rates_of({"*": 1, "s2": 6}, NAMES) == [1, 1, 6, 1, 1, 1, 1]
    usual = dict(zip(NAMES, [1, 0, 0, 1, 0, 1, 0], strict=True))
    assert factors.decays_of(None, usual) == list(usual.values())
    assert factors.decays_of({"s2": 0.5, "W1": 0}, usual) == [0, 0, 0.5, 1, 0, 1, 0]


@pytest.mark.parametrize(
    ("value", "error", "told"),
    [
        (0.1, TypeError, r"rates: expected a dict of patterns .*; got 0.1"),
        ([("W1", 0.1)], TypeError, r"rates: expected a dict of patterns"),
        ({1: 0.1}, TypeError, r"rates: expected patterns that are str; got 1"),
        ({"W1": "fast"}, TypeError, r"rates\['W1'\]: expected a number >= 0"),
        ({"W1": None}, TypeError, r"rates\['W1'\]: expected a number >= 0"),
        ({"W1": -0.5}, ValueError, r"rates\['W1'\]: expected a finite number >= 0"),
        ({"W1": math.nan}, ValueError, r"rates\['W1'\]: expected a finite number >= 0"),
        ({"W1": math.inf}, ValueError, r"rates\['W1'\]: expected a finite number >= 0"),
        ({"W1": 1, "w*": 0.1}, ValueError, r"rates: expected patterns of W1, b1, s2, W3, b3, W10, "
         r"b10; got 'w\*', which matches none"),
        ({"": 1}, ValueError, "got '', which matches none"),
    ],
    ids=str,
)  # fmt: skip
def test_what_is_refused(value, error, told):
    with pytest.raises(error, match=told):
        factors.as_factors(value, NAMES, "rates")
