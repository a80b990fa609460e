"""`Encoder.fit(chunks)`: what is learnt in one pass, and fits on rows that it encodes.

What does not belong here: what is made of a column (tests/tabular).
"""

import numpy as np
import pytest
from chunk_cases import order_of

import fastbp
import fastbp.data
from fastbp.tabular import Encoder, streams

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("narwhals")
pytest.importorskip("scipy")

N = 500
RNG = np.random.default_rng(0)


def table(n=N):
    rng = np.random.default_rng(n)
    number = rng.standard_normal(n)
    days = (np.datetime64("2020-01-01") + rng.integers(0, 900, n)).astype("M8[us]")
    days[1::13] = np.datetime64("NaT")
    return {
        "number": [None if i % 7 == 0 else v for i, v in enumerate(number)],
        "whole": rng.integers(0, 9, n),
        "constant": np.full(n, 3),
        "mostly": np.where(rng.random(n) < 0.9, 0.0, rng.random(n)),
        "text": [None if i % 11 == 5 else "abcde"[i % 5] for i in range(n)],
        "two": np.array(["no", "yes"])[rng.integers(0, 2, n)],
        "flag": rng.random(n) < 0.3,
        "code": rng.integers(0, 4, n),
        "said": [str(v) for v in rng.integers(0, 50, n)],
        "day": days,
        "row": np.arange(n),
        "y": rng.integers(0, 3, n),
    }


COLUMNS = [name for name in table(1) if name not in ("row", "y")]


def written(path, n=N, group=60):
    parquet.write_table(pyarrow.table(table(n)), path, row_group_size=group)
    return path


def chunks_of(path, columns=COLUMNS, **options):
    return fastbp.data.from_parquet(path, target="y", columns=list(columns), **options)


@pytest.mark.parametrize("n", [2, 7, 9, 33, N])
@pytest.mark.parametrize(
    "options",
    [{}, {"categorical": ["code", "day"], "numeric": ["said"]}, {"max_categories": 3}],
    ids=str,
)
def test_small_data_give_what_the_whole_table_gives(tmp_path, n, options):
    path = written(tmp_path / "t.parquet", n)
    whole = pyarrow.table({name: table(n)[name] for name in COLUMNS})
    expected = Encoder(**options).fit(whole).to_dict()
    assert Encoder(**options).fit(chunks_of(path)).to_dict() == expected


def test_parts_whose_first_is_all_missing():
    parts = [{"a": [None, None], "b": ["x", "y"]}, {"a": [1.0, 3.0], "b": [None, "x"]}]
    chunks = fastbp.data.from_iterable(lambda: ((part, [0, 1]) for part in parts), n_features=2)
    whole = {name: [*parts[0][name], *parts[1][name]] for name in "ab"}
    assert Encoder().fit(chunks).to_dict() == Encoder().fit(whole).to_dict()


@pytest.mark.parametrize("name", ["normal", "sorted", "few", "heavy", "mostly 0"])
def test_quantiles_of_many_numbers(name):
    n = 300_000
    rng = np.random.default_rng(0)
    values = {
        "normal": rng.standard_normal(n),
        "sorted": np.sort(rng.random(n)),
        "few": rng.integers(0, 30, n).astype(float),
        "heavy": np.exp(5 * rng.standard_normal(n)),
        "mostly 0": np.where(rng.random(n) < 0.6, 0.0, rng.random(n)),
    }[name]
    found, again = streams.Quantiles(), streams.Quantiles()
    for part in np.array_split(values, 70):
        found.add(part)
        again.add(part)
    assert found.error < 0.003
    assert sum(part.size for of in found.levels for part in of) < 20 * streams.SIZE
    shares = (0.01, 0.25, 0.5, 0.75, 0.99)
    ordered = np.sort(values)
    for share, value in zip(shares, found.at(shares), strict=True):
        low, high = (
            np.searchsorted(ordered, value, "left"),
            np.searchsorted(ordered, value, "right"),
        )
        assert low - found.error * n <= share * n <= high + found.error * n
    assert found.at(shares) == again.at(shares)
    assert (found.least, found.most) == (values.min(), values.max())
    exact = Encoder().fit({"a": values}).to_dict()["columns"][0]
    assert found.scaling().median == pytest.approx(
        exact["median"], abs=0.02 * exact["scale"] + 1e-9
    )


def test_ids_that_nobody_can_count(monkeypatch):
    monkeypatch.setattr(streams, "DISTINCT", 1000)
    texts = streams.TextStream("")
    for start in range(0, 40_000, 500):
        ids = [f"id {i}" for i in range(start, start + 500)]
        part = np.array(ids + ["often"] * 50 + ["seldom"] * 5)
        texts.add(fastbp.tabular.as_columns({"a": part})["a"], "X")
        assert len(texts.counts) <= 1000
    coding = texts.coding("a", 3)
    assert "often" in coding.categories and coding.other
    assert len(coding.categories) <= 3


@pytest.mark.parametrize("numbers_only", [False, True])
def test_bits_of_encoded_rows(tmp_path, numbers_only):
    path = written(tmp_path / "t.parquet")
    columns = ["number", "whole", "mostly"] if numbers_only else COLUMNS
    encoder = Encoder()
    chunks = chunks_of(path, columns, encoder=encoder, shuffle_buffer=90)
    encoder.fit(chunks)
    X = encoder.transform(pyarrow.table({name: table()[name] for name in columns}))
    assert chunks.n_features == X.shape[1]
    rows = chunks_of(path, ["row"], shuffle_buffer=90)
    memory, streamed = (fastbp.Network([X.shape[1], 8, 3], seed=0) for _ in range(2))
    options = {"epochs": 2, "batch_size": 16, "seed": 1}
    first = memory.fit(X, table()["y"], shuffle=order_of(rows, N, 1), **options)
    second = streamed.fit(chunks, **options)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()
    assert first["loss"].tobytes() == second["loss"].tobytes()


def test_refused(tmp_path):
    path = written(tmp_path / "t.parquet")
    unfitted = chunks_of(path, encoder=Encoder())
    with pytest.raises(ValueError, match="not fitted"):
        fastbp.Network([3, 3]).fit(unfitted)
    missing = table() | {"empty": [None] * N}
    parquet.write_table(pyarrow.table(missing), path)
    with pytest.raises(ValueError, match="column 'empty': expected at least one value"):
        Encoder().fit(chunks_of(path, ["number", "empty"]))
    with pytest.raises(ValueError, match="categorical: expected columns"):
        Encoder(categorical=["nix"]).fit(chunks_of(path))
    odd = table() | {"said": ["x1"] * N}
    parquet.write_table(pyarrow.table(odd), path, row_group_size=100)
    with pytest.raises(ValueError, match=r"t.parquet, row group 0: X: column 'said', row 0"):
        Encoder(numeric=["said"]).fit(chunks_of(path))
    parts = [{"a": [1.0]}, {"b": [1.0]}]
    chunks = fastbp.data.from_iterable(lambda: ((part, [0]) for part in parts), n_features=1)
    with pytest.raises(ValueError, match="chunk 1: X: expected the columns of training; 'a'"):
        Encoder().fit(chunks)
    kinds = [{"a": [1.0]}, {"a": ["x"]}]
    chunks = fastbp.data.from_iterable(lambda: ((part, [0]) for part in kinds), n_features=1)
    with pytest.raises(TypeError, match="chunk 1: X: column 'a', row 0: expected numbers"):
        Encoder().fit(chunks)
    encoder = Encoder().fit({"a": [1.0, 2.0]})
    none = fastbp.data.from_iterable(lambda: iter([]), n_features=1)
    with pytest.raises(ValueError, match="at least one row"):
        encoder.fit(none)
    assert encoder.feature_names_out() == ["a"]  # as it was


def test_a_row_group_that_cannot_be_encoded_is_named(tmp_path):
    path = written(tmp_path / "t.parquet")
    encoder = Encoder().fit({"number": ["x", "y"]})
    with pytest.raises(TypeError, match=r"t.parquet, row group 0.*column 'number'"):
        fastbp.Network([1, 3]).fit(chunks_of(path, ["number"], encoder=encoder, shuffle=False))
