"""Which columns of a table a network is given: what is left out unasked, what is asked for."""

import re

import numpy as np
import pytest

from fastbp.tabular.selection import choose

pyarrow = pytest.importorskip("pyarrow")

UNIQUE = "texts that are others in every row"
RISING = "whole numbers that rise by one from row to row"
SAME = "the same value in every row"
EMPTY = "no value in any row"
GOOD = [3, 1, 4, 1]


def table(**columns):
    return pyarrow.table({"good": GOOD, **columns})


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a", "b", "c", "d"], UNIQUE),
        (["a", "b", "c", "a"], None),
        (["a", "b", "c", None], None),
        (pyarrow.array(["a", "b", "c", "d"]).dictionary_encode(), UNIQUE),
        (pyarrow.array(["a", "b", "c", "d"], "large_string"), UNIQUE),
        ([7, 8, 9, 10], RISING),
        ([7.0, 8.0, 9.0, 10.0], RISING),
        ([7.5, 8.5, 9.5, 10.5], None),
        ([7, 8, 9, 11], None),
        ([10, 9, 8, 7], None),
        ([7, 8, 9, None], None),
        (np.array([253, 254, 255, 0], np.uint8), None),
        ([5, 5, 5, 5], SAME),
        ([5.5] * 4, SAME),
        (["x"] * 4, SAME),
        ([True] * 4, SAME),
        ([5, 5, None, 5], None),
        (np.array(["2020-01-01"] * 4, "M8[D]"), SAME),
        (np.arange(4).astype("M8[D]"), None),
        ([None] * 4, EMPTY),
        (pyarrow.array([None] * 4, "string"), EMPTY),
        ([float("nan")] * 4, EMPTY),
    ],
)
def test_what_is_left_out_unasked(values, reason):
    data = table(other=values)
    found = choose(data)
    assert found.left_out == ({"other": reason} if reason else {})
    assert found.features == (["good"] if reason else ["good", "other"])
    for option in ("columns", "categorical", "numeric"):
        assert "other" in choose(data, **{option: ["other"]}).features


def test_the_last_input_stays():
    data = pyarrow.table({"empty": [None] * 4, "same": ["x"] * 4, "id": [*"abcd"], "t": GOOD})
    found = choose(data, target="t")
    assert found.features == ["id"] and found.left_out == {"empty": EMPTY, "same": SAME}
    assert choose(data.select(["same", "t"]), target="t").features == ["same"]
    assert choose(data, target="t", drop=["id", "same"]).features == ["empty"]
    with pytest.raises(ValueError, match="every one is left out"):
        choose(data, target="t", drop=["id", "same", "empty"])


def test_what_is_asked_for():
    data = table(a=GOOD, b=[*"xyxy"], id=[1, 2, 3, 4], t=GOOD)
    found = choose(data, target="t", columns=["id", "b", "a"], categorical=["a"], numeric=["id"])
    assert found.features == ["id", "b", "a"] and found.left_out == {
        "good": "not among the columns asked for"
    }
    assert (found.categorical, found.numeric) == (["a"], ["id"])
    found = choose(data, target="t", drop=["a"], ids=["b"])
    assert found.features == ["good"]
    assert found.left_out == {
        "a": "dropped, as asked",
        "b": "names the rows, as told",
        "id": RISING,
    }
    assert choose(data, target="t", numeric=["id"]).features == ["good", "a", "b", "id"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"drop": ["Good"]}, "drop: no column 'Good'; the columns are .*did you mean 'good'"),
        ({"target": "T"}, "target: no column 'T'.*did you mean 't'"),
        ({"columns": ["a", "a"]}, "columns: expected each column once"),
        ({"categorical": ["a"], "numeric": ["a"]}, "column 'a' is among numeric, too"),
        ({"drop": ["a"], "columns": ["a"]}, "column 'a' is among columns, too"),
        ({"ids": ["a"], "categorical": ["a"]}, "column 'a' is among categorical, too"),
        ({"target": "t", "columns": ["t"]}, "column 't' is the target"),
        ({"target": "t", "drop": ["t"]}, "column 't' is the target"),
        ({"columns": ["good"], "numeric": ["a"]}, "column 'a' is not among columns"),
    ],
)
def test_refusals(options, words):
    with pytest.raises(ValueError, match=f"^a.csv: .*{words}"):
        choose(table(a=GOOD, t=GOOD), name="a.csv", **options)


def test_names_are_lists():
    with pytest.raises(
        TypeError, match=re.escape("drop: expected a list of names of columns; got 'a'")
    ):
        choose(table(a=GOOD), drop="a")
