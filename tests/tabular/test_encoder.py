"""The encoder: the numbers it makes, columns by name, what is refused, the encoder as a dict.

What belongs here: `Encoder`. What does not: how tables are read (test_columns.py), scikit-learn's
checks (test_encoder_sklearn.py).
"""

import json

import numpy as np
import pytest

from fastbp.tabular import Encoder

TABLE = {
    "size": [1.0, 2.0, None, 3.0, 10.0],
    "kind": ["oak", "elm", "ash", "oak", None],
    "alive": [True, False, True, True, True],
    "when": np.array(["2020-01-01", "2021-06-15", "NaT", "2022-03-03", "2020-01-02"], "M8[D]"),
}


def dense(encoded):
    return np.asarray(encoded.todense() if hasattr(encoded, "todense") else encoded)


def test_a_table_of_all_kinds():
    encoder = Encoder()
    encoded = encoder.fit_transform(TABLE)
    assert encoded.format == "csr" and encoded.dtype == np.float32
    names = encoder.feature_names_out()
    assert names == [
        "size", "size=missing", "kind=ash", "kind=elm", "kind=oak", "kind=missing", "alive=true",
        "when=year", "when=month", "when=day_of_week", "when=day_of_year", "when=elapsed_days",
        "when=missing",
    ]  # fmt: skip
    by_name = dict(zip(names, dense(encoded).T.tolist(), strict=True))
    assert by_name["kind=oak"] == [1, 0, 0, 1, 0] and by_name["kind=missing"] == [0, 0, 0, 0, 1]
    assert by_name["alive=true"] == [1, -1, 1, 1, 1]
    assert by_name["size=missing"] == by_name["when=missing"] == [0, 0, 1, 0, 0]
    x = (np.array([1, 2, 2.5, 3, 10]) - 2.5) / (4.75 - 1.75)
    np.testing.assert_allclose(by_name["size"], x / np.sqrt(1 + (x / 3) ** 2), rtol=1e-6)


def test_a_round_trip_through_json():
    encoder = Encoder().fit(TABLE)
    again = Encoder.from_dict(json.loads(json.dumps(encoder.to_dict())))
    assert again.to_dict() == encoder.to_dict()
    assert (dense(again.transform(TABLE)) == dense(encoder.transform(TABLE))).all()
    assert again.feature_names_out() == encoder.feature_names_out()


def test_columns_are_found_by_name():
    encoder = Encoder().fit(TABLE)
    other = {"extra": [[1]] * 5, **dict(reversed(TABLE.items()))}
    assert (dense(encoder.transform(other)) == dense(encoder.transform(TABLE))).all()
    with pytest.raises(ValueError, match="'kind' is missing, unknown: 'Kind'"):
        encoder.transform({**{k: v for k, v in TABLE.items() if k != "kind"}, "Kind": [1] * 5})
