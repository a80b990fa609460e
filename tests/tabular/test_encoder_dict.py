"""The encoder as a dict: exact through JSON, and any other dict refused.

What belongs here: to_dict, from_dict. What does not: what is encoded (test_encoder.py).
"""

import copy
import json
import random

import numpy as np
import pytest
from test_encoder import NAN, TABLE, dense

from fastbp.tabular import Encoder

pytest.importorskip("scipy")


def learnt():
    table = {**TABLE, "code": [1, 2, 3, 4, 1], "text": ["1", "2.5", None, "1e-3", "7"]}
    return Encoder(categorical=["code"], numeric=["text"], max_categories=3).fit(table), table


def test_a_round_trip_through_json():
    encoder, table = learnt()
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict(), allow_nan=False)))
    assert again.to_dict() == encoder.to_dict()
    assert (dense(again.transform(table)) == dense(encoder.transform(table))).all()
    assert again.feature_names_out() == encoder.feature_names_out()
    assert again.get_params() == encoder.get_params()
    assert list(again.feature_names_in_) == list(encoder.feature_names_in_)
    assert again.fit(table).to_dict() == encoder.to_dict()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers_are_exact(dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_cauchy((50, 20)) * 10.0 ** rng.integers(-300, 300, 20)
    encoder = Encoder(dtype=dtype).fit(X)
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert (again.transform(X) == encoder.transform(X)).all()
    assert not hasattr(again, "feature_names_in_") and again.n_features_in_ == 20


def test_the_form_stays():
    """Files have it: a change needs another version."""
    encoder = Encoder(categorical=["c"]).fit(
        {"x": [1, 2, None, 4], "c": [1, 2, 2, None], "t": np.array(["2020"] * 4, "M8[Y]")}
    )
    parts = ["year", "month", "day_of_week", "day_of_year", "elapsed_days"]
    medians = [2020.0, 1.0, 2.0, 1.0, 0.0]
    assert encoder.to_dict() == {
        "version": 1, "dtype": "float32", "max_categories": 10_000, "named": True,
        "columns": [
            {"name": "x", "kind": "number", "missing": True, "median": 2.0, "scale": 1.5,
             "parsed": False},
            {"name": "c", "kind": "text", "missing": True, "categories": ["1", "2"],
             "other": False, "declared": True},
            {"name": "t", "kind": "time", "missing": False, "earliest": 1_577_836_800_000_000,
             "parts": [{"part": part, "median": median, "scale": 0.0}
                       for part, median in zip(parts, medians, strict=True)]},
        ],
    }  # fmt: skip


def changed(path, value):
    facts = learnt()[0].to_dict()
    at = facts
    for key in path[:-1]:
        at = at[key]
    at[path[-1]] = value
    return facts


C = "columns"


@pytest.mark.parametrize(("path", "value"), [
    (["version"], 2), (["version"], True), (["version"], 1.0), (["version"], "1"),
    (["version"], None), (["dtype"], "float16"), (["dtype"], 1), (["dtype"], ["float32"]),
    (["max_categories"], 0), (["max_categories"], 2), (["max_categories"], 3.0),
    (["max_categories"], True), (["named"], 1), (["named"], None), (["named"], False),
    ([C], []), ([C], {}), ([C], None), ([C], "abc"), ([C], [1]), (["extra"], 1),
    ([C, 0, "extra"], 1),
    ([C, 0], None), ([C, 0, "name"], 3), ([C, 0, "name"], "kind"), ([C, 0, "name"], "\ud800"),
    ([C, 0, "kind"], "x"), ([C, 0, "kind"], []), ([C, 0, "missing"], 0),
    ([C, 0, "median"], NAN), ([C, 0, "median"], 10**400), ([C, 0, "median"], "1"),
    ([C, 0, "median"], True), ([C, 0, "scale"], -1.0), ([C, 0, "scale"], float("inf")),
    ([C, 0, "scale"], None), ([C, 0, "parsed"], "no"),
    ([C, 1, "categories"], []), ([C, 1, "categories"], ["a", "a"]), ([C, 1, "categories"], "ab"),
    ([C, 1, "categories"], ["a", 1]), ([C, 1, "categories"], ["1.0"]), ([C, 1, "other"], None),
    ([C, 1, "categories"], ["\ud800"]), ([C, 1, "categories"], ["a", "b", "c", "d"]),
    ([C, 1, "declared"], 2), ([C, 3, "earliest"], 2**63), ([C, 3, "earliest"], -(2**63)),
    ([C, 3, "earliest"], 1.5), ([C, 3, "parts"], []), ([C, 3, "parts", 0], 3),
    ([C, 3, "parts", 0, "part"], "month"), ([C, 3, "parts", 0, "scale"], -1),
    ([C, 3, "parts", 0, "x"], 1),
])  # fmt: skip
def test_refused(path, value):
    facts = changed(path, value)
    before = copy.deepcopy(facts)
    with pytest.raises(ValueError, match=r"^encoder") as caught:
        Encoder.from_dict(facts)
    assert str(facts) == str(before) and len(str(caught.value)) < 500
    key = next((key for key in reversed(path) if isinstance(key, str)), "")
    assert key in str(caught.value) or value in (None, 3), str(caught.value)


@pytest.mark.parametrize("facts", [None, [], "x", 1, {}, {"version": 1}, {1: 2}, {"columns": []}])
def test_no_dict_of_an_encoder(facts):
    with pytest.raises(ValueError, match=r"^encoder"):
        Encoder.from_dict(facts)


ODD = [
    None,
    True,
    0,
    -1,
    1e308,
    NAN,
    float("inf"),
    2**70,
    "",
    "x",
    "\ud800",
    [],
    {},
    [[]],
    {"a": 1},
]


def mutated(facts, rng):
    """One place in it dropped, doubled, moved, or replaced by something odd."""
    places, stack = [], [facts]
    while stack:
        at = stack.pop()
        keys = list(at) if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ()
        for key in keys:
            places.append((at, key))
            stack.append(at[key])
    at, key = rng.choice(places)
    way = rng.randrange(4)
    if way == 0:
        del at[key]
    elif way == 1:
        at[key] = copy.deepcopy(rng.choice(ODD))
    elif way == 2:
        other, place = rng.choice(places)
        at[key] = copy.deepcopy(other[place])
    elif isinstance(at, list):
        at.insert(rng.randrange(len(at) + 1), copy.deepcopy(at[key]))
    else:
        at[rng.choice(["", "name", "kind", "scale"])] = at.pop(key)
    return facts


@pytest.mark.parametrize("seed", range(20))
def test_mutations_are_refused_or_encode(seed):
    """What is taken is an encoder: it encodes, and writes itself down again."""
    rng = random.Random(seed)
    encoder, table = learnt()
    whole, refused = encoder.to_dict(), 0
    for _ in range(150):
        facts = copy.deepcopy(whole)
        for _ in range(rng.choice([1, 1, 1, 2, 5])):
            facts = mutated(facts, rng) if isinstance(facts, dict) and facts else facts
        try:
            found = Encoder.from_dict(facts)
        except ValueError:
            refused += 1
            continue
        assert found.to_dict() == facts
        assert Encoder.from_dict(json.loads(json.dumps(facts))).to_dict() == facts
        try:
            encoded = found.transform(table)
        except (ValueError, TypeError):  # columns of other names or kinds
            continue
        assert np.isfinite(dense(encoded)).all()
        assert encoded.shape == (5, len(found.feature_names_out()))
    assert refused > 75
