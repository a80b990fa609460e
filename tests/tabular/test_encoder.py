"""The encoder: the numbers it makes, columns by name, what is refused.

What belongs here: `Encoder`. What does not: how tables are read (test_columns.py, test_frames.py),
the encoder as a dict (test_encoder_dict.py), scikit-learn (test_encoder_sklearn.py).
"""

import numpy as np
import pytest

from fastbp.tabular import Encoder, as_columns
from fastbp.tabular.codings import canonical

pytest.importorskip("scipy")

NAN = float("nan")
TABLE = {
    "size": [1.0, 2.0, None, 3.0, 10.0],
    "kind": ["oak", "elm", "ash", "oak", None],
    "alive": [True, False, True, True, True],
    "when": np.array(["2020-01-01", "2021-06-15", "NaT", "2022-03-03", "2020-01-02"], "M8[D]"),
}


def dense(encoded):
    return np.asarray(encoded.todense() if hasattr(encoded, "todense") else encoded)


def by_name(encoder, X):
    encoded = dense(encoder.transform(X))
    assert encoded.shape[1] == len(set(encoder.feature_names_out()))
    return dict(zip(encoder.feature_names_out(), encoded.T.tolist(), strict=True))


def clipped(x):
    x = np.asarray(x, float)
    return x / np.sqrt(1 + (x / 3) ** 2)


def test_a_table_of_all_kinds():
    encoder = Encoder()
    encoded = encoder.fit_transform(TABLE)
    assert encoded.format == "csr" and encoded.dtype == np.float32
    assert encoded.has_canonical_format and (encoded.data != 0).all()
    assert (dense(encoder.transform(TABLE)) == dense(encoded)).all()
    found = by_name(encoder, TABLE)
    assert list(found) == [
        "size", "size=missing", "kind=ash", "kind=elm", "kind=oak", "kind=missing", "alive=true",
        "when=year", "when=month", "when=day_of_week", "when=day_of_year", "when=elapsed_days",
        "when=missing",
    ]  # fmt: skip
    assert found["kind=oak"] == [1, 0, 0, 1, 0] and found["kind=missing"] == [0, 0, 0, 0, 1]
    assert found["alive=true"] == [1, -1, 1, 1, 1]
    assert found["size=missing"] == found["when=missing"] == [0, 0, 1, 0, 0]
    expected = clipped((np.array([1, 2, 2.5, 3, 10]) - 2.5) / (4.75 - 1.75))
    np.testing.assert_allclose(found["size"], expected, rtol=1e-6)
    days = np.array([0, 531, (531 + 1) / 2, 792, 1])
    days = (days - (531 + 1) / 2) / (531 + (792 - 531) / 4 - 0.75)
    np.testing.assert_allclose(found["when=elapsed_days"], clipped(days), rtol=1e-6)
    assert encoder.n_features_in_ == 4 and list(encoder.feature_names_in_) == list(TABLE)


# numbers


def of_numbers(values, others=None, dtype="float64"):
    encoder = Encoder(dtype=dtype).fit({"a": values})
    found = by_name(encoder, {"a": values if others is None else others})
    return found["a"], found.get("a=missing")


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 7, 100])
def test_numbers_are_scaled_by_their_quartiles(n):
    rng = np.random.default_rng(n)
    values = rng.standard_cauchy(n)
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    expected = clipped((values - median) / (high - low if n > 1 else 1))
    np.testing.assert_allclose(of_numbers(values)[0], expected, rtol=1e-12, atol=1e-14)


def test_where_the_quartiles_are_equal_half_of_the_range_scales():
    values = [0.0] * 8 + [4.0]
    assert of_numbers(values)[0] == [0.0] * 8 + [clipped(2.0)]
    assert of_numbers([3.0, 3.0], [3.0, 5.0, None, 1e300])[0] == [0, 0, 0, 0]
    assert of_numbers([0.1 + 0.2] * 7)[0] == [0] * 7


def test_missing_numbers():
    values, missing = of_numbers([1.0, 2.0, 3.0], [NAN, 1.0, None])
    assert values[0] == values[2] == 0 and values[1] < 0 and missing is None
    values, missing = of_numbers([1.0, NAN, 2.0, 3.0], [NAN, 2.0])
    assert values == [0, 0] and missing == [1, 0]


@pytest.mark.parametrize("values", [
    [1e300, -1e300, 1e308, 3.0, 5.0], [1.7e308, -1.7e308], [1.7e308, -1.7e308, 1.7e308, -1.7e308],
    [5e-324, 0.0], [5e-324, 0.0, 1.0], [1e-300, 2e-300, 1e300], [0.0, 0.0, 0.0, 1e308, -1.7e308],
    [1.0, 1.0 + 2**-52, 1e308], [-1.7e308] * 3 + [1.7e308],
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.filterwarnings("error")
def test_the_largest_and_least_numbers(values, dtype):
    found = np.array(of_numbers(values, [*values, 1.7e308, -1.7e308, None], dtype)[0])
    assert np.isfinite(found).all() and (np.abs(found) <= 3).all()
    order = np.argsort(values, kind="stable")
    assert (np.diff(found[order]) >= 0).all()  # in their order


def test_integers_booleans_and_numbers_of_other_types_are_one_column():
    encoder = Encoder().fit({"a": np.array([0, 1, 3])})
    for values in ([1.0], np.array([1], "u1"), np.array([1], object), [True], np.array([True])):
        assert by_name(encoder, {"a": values}) == by_name(encoder, {"a": [1]})


# texts


def test_two_categories_are_one_column():
    encoder = Encoder().fit({"a": ["y", "n", "y"]})
    assert by_name(encoder, {"a": ["n", "y", "other", None]}) == {"a=y": [-1, 1, 0, 0]}
    assert isinstance(encoder.transform({"a": ["n"]}), np.ndarray)
    encoder = Encoder().fit({"a": ["y", "n", None]})
    assert by_name(encoder, {"a": ["n", "y", "other", None]}) == {
        "a=n": [1, 0, 0, 0], "a=y": [0, 1, 0, 0], "a=missing": [0, 0, 0, 1],
    }  # fmt: skip


def test_one_category():
    encoder = Encoder().fit({"a": ["y", "y"]})
    assert by_name(encoder, {"a": ["n", "y", None]}) == {"a=y": [0, 1, 0]}


def test_categories_that_training_did_not_have_are_zeros():
    encoder = Encoder().fit({"a": ["x", "y", "z"]})
    assert by_name(encoder, {"a": ["w", None, "z"]}) == {
        "a=x": [0, 0, 0], "a=y": [0, 0, 0], "a=z": [0, 0, 1],
    }  # fmt: skip


def test_the_most_frequent_are_kept():
    texts = ["c"] * 3 + ["b", "a", "d"] * 2 + ["e", None]
    encoder = Encoder(max_categories=3).fit({"a": texts})
    assert by_name(encoder, {"a": ["a", "b", "c", "d", "e", "new", None]}) == {
        "a=a": [1, 0, 0, 0, 0, 0, 0], "a=b": [0, 1, 0, 0, 0, 0, 0], "a=c": [0, 0, 1, 0, 0, 0, 0],
        "a=other": [0, 0, 0, 1, 1, 1, 0], "a=missing": [0, 0, 0, 0, 0, 0, 1],
    }  # fmt: skip
    encoder = Encoder(max_categories=2).fit({"a": ["x", "y", "z"]})  # not two alone: not -1 and 1
    assert encoder.feature_names_out() == ["a=x", "a=y", "a=other"]
    texts = [f"{i:05}" for i in range(10_003)]
    names = Encoder().fit({"a": texts}).feature_names_out()
    assert len(names) == 10_001 and names[-2:] == ["a=09999", "a=other"]


def test_one_text_a_row_is_as_long_as_the_table():
    encoded = Encoder().fit_transform({"a": list("abcdef"), "b": [1, 2, 3, 4, 5, 6]})
    assert encoded.shape == (6, 7) and encoded.nnz == 12


@pytest.mark.parametrize(("text", "expected"), [
    ("1.0", "1"), ("+1", "1"), ("-0.0", "0"), ("0.50", "0.5"), ("1.", "1"), ("-2.50", "-2.5"),
    ("True", "true"), ("FALSE", "false"), ("02134", "02134"), ("00", "00"), ("1e3", "1e3"),
    ("1,5", "1,5"), ("", ""), (" 1", " 1"), ("yes", "yes"), ("1" * 20 + ".10", "1" * 20 + ".1"),
    ("\u0661", "\u0661"), ("0x10", "0x10"), ("1.2.3", "1.2.3"), (".5", ".5"),
])  # fmt: skip
def test_one_category_however_it_is_written(text, expected):
    assert canonical(text) == expected
    assert canonical(canonical(text)) == canonical(text)


@pytest.mark.parametrize("training", [
    [1, 2, 3], [1.0, 2.0, 3.0], ["1", "2", "3"], ["1.0", "2.0", "3.0"], [3, 2, 1, None],
])  # fmt: skip
def test_numbers_as_categories(training):
    encoder = Encoder(categorical=["a"]).fit({"a": training})
    expected = by_name(encoder, {"a": [1, 2, 9, None]})
    assert expected["a=1"] == [1, 0, 0, 0] and expected["a=2"] == [0, 1, 0, 0]
    for values in ([1.0, 2.0, 9.5, NAN], ["1", "2", "9", None], ["1.0", "+2", "x", None]):
        assert by_name(encoder, {"a": values}) == expected
    # texts that are numbers are categories by themselves
    if isinstance(training[0], str):
        encoder = Encoder().fit({"a": training})
        assert by_name(encoder, {"a": [1, 2, 9, None]}) == expected


def test_categories_of_fractions_and_times():
    encoder = Encoder(categorical=["a", "t"])
    times = np.array(["2020-01-01", "2020-01-01T12:00", "2021-05-05"], "M8[s]")
    encoder.fit({"a": [0.1, 1e22, 1e-7], "t": times})
    assert encoder.feature_names_out() == [
        "a=0.0000001", "a=0.1", "a=10000000000000000000000",
        "t=2020-01-01", "t=2020-01-01T12:00:00", "t=2021-05-05",
    ]  # fmt: skip
    found = by_name(encoder, {"t": times.astype("M8[D]"), "a": ["0.10", "x", "0.1"]})
    assert found["t=2020-01-01"] == [1, 1, 0] and found["a=0.1"] == [1, 0, 1]


def test_booleans():
    for training in ([True, False], ["True", "False"], np.array([True, False])):
        encoder = Encoder().fit({"a": training})
        for values in ([True, False, None], ["true", "FALSE", None], [1, 0, NAN], [1.0, 0.0, None]):
            assert by_name(encoder, {"a": values}) == {"a=true": [1, -1, 0]}
        with pytest.raises(TypeError, match="row 0: expected texts"):
            encoder.transform({"a": [2, 0]})


def test_unused_categories_have_no_column():
    pd = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    values = pd.Categorical(["z", "x", "y"], categories=["w", "z", "y", "x"])
    encoder = Encoder().fit(pd.DataFrame({"a": values}))
    assert encoder.feature_names_out() == ["a=x", "a=y", "a=z"]
    other = pd.DataFrame({"a": pd.Categorical(["y", "x"], categories=["y", "x", "w"])})
    assert by_name(encoder, other) == {"a=x": [0, 1], "a=y": [1, 0], "a=z": [0, 0]}


# texts that are numbers


def test_texts_read_as_numbers():
    encoder = Encoder(numeric=["a"]).fit({"a": ["1", " 2.5", "?", "1e1", "", "NA", None]})
    same = Encoder().fit({"a": [1, 2.5, None, 10]})
    values = [3, 2.5, None]
    assert by_name(encoder, {"a": ["3", "2.50", "n/a"]}) == by_name(same, {"a": values})
    assert by_name(encoder, {"a": values}) == by_name(same, {"a": values})
    assert by_name(Encoder(numeric=["a"]).fit({"a": ["1", "0", "2"]}), {"a": [True]}) == by_name(
        Encoder().fit({"a": [1, 0, 2]}), {"a": [1]}
    )
    assert Encoder().fit({"a": ["1", "2.5", "3"]}).feature_names_out() == ["a=1", "a=2.5", "a=3"]


@pytest.mark.parametrize("text", ["3 m", "1_000", "inf", "1e999", "1,5", "-Infinity"])
def test_cells_that_are_no_numbers(text):
    told = f"X: column 'a', row 2: expected a finite number, or missing; got {text!r}"
    with pytest.raises(ValueError, match=f"^{told}$"):
        Encoder(numeric=["a"]).fit({"a": ["1", "2", text, text]})
    encoder = Encoder(numeric=["a"]).fit({"a": ["1", "2"]})
    with pytest.raises(ValueError, match=f"^{told}$"):
        encoder.transform({"a": ["1", "2", text, text]})


# columns


def test_columns_are_found_by_name():
    encoder = Encoder().fit(TABLE)
    other = {"extra": [[1]] * 5, **dict(reversed(TABLE.items())), "bytes": [b""] * 5}
    assert (dense(encoder.transform(other)) == dense(encoder.transform(TABLE))).all()
    without = {k: v for k, v in TABLE.items() if k != "kind"}
    with pytest.raises(ValueError, match=r"'kind' is missing, unknown: 'Kind'$"):
        encoder.transform({**without, "Kind": [1] * 5})
    with pytest.raises(ValueError, match=r"'kind' is missing$"):
        encoder.transform(without)
    with pytest.raises(ValueError, match="expected columns of different names; got '1' twice"):
        encoder.transform({**TABLE, "1": [1], 1: [2]})


def test_columns_without_names_are_taken_by_place():
    rows = list(zip(*TABLE.values(), strict=True))
    named, unnamed = Encoder().fit(TABLE), Encoder().fit(rows)
    assert unnamed.feature_names_out()[:2] == ["x0", "x0=missing"]
    assert not hasattr(unnamed, "feature_names_in_")
    expected = dense(named.transform(TABLE))
    assert (dense(unnamed.transform(rows)) == expected).all()
    with pytest.warns(UserWarning, match="X does not have valid feature names, but Encoder"):
        assert (dense(named.transform(rows)) == expected).all()
    with pytest.warns(UserWarning, match="X has feature names, but Encoder was fitted without"):
        assert (dense(unnamed.transform(TABLE)) == expected).all()
    with pytest.raises(ValueError, match="expected 4 columns; got 3"):
        unnamed.transform([row[:3] for row in rows])
    again = named.fit(rows)
    assert not hasattr(again, "feature_names_in_")


def test_columns_of_another_kind():
    encoder = Encoder().fit(TABLE)

    def refused(**columns):
        with pytest.raises(TypeError) as caught:
            encoder.transform({**{k: list(v)[:2] for k, v in TABLE.items()}, **columns})
        return str(caught.value)

    assert refused(size=[None, "x"]) == (
        "X: column 'size', row 1: expected numbers as in training; got texts, such as 'x'; "
        "numeric=[...] reads texts as numbers"
    )
    assert "row 0: expected numbers as in training; got texts, such as '1'" in refused(
        size=["1", "2"]
    )
    assert refused(kind=[3, 4.5]) == (
        "X: column 'kind', row 0: expected texts ('ash', 'elm', 'oak', ...) as in training; got "
        "numbers, such as 3; categorical=[...] makes categories of them"
    )
    assert "expected times as in training; got numbers, such as 2020" in refused(when=[2020, 2021])
    assert "got texts, such as '2020-01-01'" in refused(when=["2020-01-01", None])
    assert "expected texts" in refused(kind=TABLE["when"][:2])
    assert "got times, such as '2020-01-01'" in refused(size=TABLE["when"][:2])
    codes = Encoder().fit({"zip": ["02134", "10001", "94110"]})
    with pytest.raises(TypeError, match=r"got numbers, such as 2134, which have lost their 0"):
        codes.transform({"zip": [2134, 10001]})
    codes = Encoder(categorical=["zip"]).fit({"zip": ["02134", "10001"]})
    with pytest.raises(TypeError, match=r"row 1: .*which have lost their 0"):
        codes.transform({"zip": [None, 2134]})


def test_a_column_all_missing_is_of_any_kind():
    encoder = Encoder().fit(TABLE)
    for none in ([None], [NAN], np.array(["NaT"], "M8[s]"), np.array([None])):
        found = by_name(encoder, dict.fromkeys(TABLE, none))
        assert {name for name, (value,) in found.items() if value} == {
            "size=missing", "kind=missing", "when=missing",
        }  # fmt: skip


def test_tables_without_rows():
    encoder = Encoder().fit(TABLE)
    assert encoder.transform({k: [] for k in TABLE}).shape == (0, 13)
    numbers = Encoder().fit([[1.0, 2.0]])
    assert numbers.transform(np.empty((0, 2))).shape == (0, 2)
    with pytest.raises(ValueError, match="at least one row"):
        Encoder().fit({"a": []})
    for X in ({}, np.empty((3, 0))):
        with pytest.raises(ValueError, match="at least one column"):
            Encoder().fit(X)


@pytest.mark.parametrize(("parameters", "none"), [
    ({}, [None, None]), ({}, [NAN, NAN]), ({}, np.array(["NaT"] * 2, "M8[D]")),
    ({"categorical": ["b"]}, [None, None]), ({"categorical": [1]}, [NAN, NAN]),
    ({"numeric": ["b"]}, [None, None]), ({"numeric": ["b"]}, ["?", ""]),
])  # fmt: skip
def test_a_column_all_missing_in_training(parameters, none):
    encoder = Encoder(**parameters)
    with pytest.raises(ValueError, match=r"X: column 'b': expected .*all missing.*drop 'b'"):
        encoder.fit({"a": [1, 2], "b": none})
    assert not hasattr(encoder, "n_features_in_")


def test_names_of_the_output_are_different():
    names = Encoder().fit({
        "a": ["missing", "other", "b", None, "c", "c", "b"], "a=b": [1, 2, NAN, 4, 5, 6, 7],
    }).feature_names_out()  # fmt: skip
    assert names == [
        "a=b",
        "a=c",
        "a=missing",
        "a=other",
        "a=missing (2)",
        "a=b (2)",
        "a=b=missing",
    ]


# parameters


@pytest.mark.parametrize(("parameters", "words"), [
    ({"dtype": "float16"}, "dtype: expected one of float32, float64; got 'float16'"),
    ({"dtype": None}, "dtype: expected one of"), ({"dtype": object}, "dtype: expected one of"),
    ({"dtype": "numbers"}, "dtype: expected one of"), ({"dtype": 3.5}, "dtype: expected one of"),
    ({"max_categories": 0}, "max_categories: expected a whole number >= 1; got 0"),
    ({"max_categories": 2.5}, "max_categories: expected a whole number"),
    ({"max_categories": None}, "max_categories: expected a whole number"),
    ({"categorical": "kind"}, "categorical: expected a list of columns; got 'kind'"),
    ({"categorical": 3}, "categorical: expected a list of columns; got 3"),
    ({"categorical": ["Kind"]}, "got 'Kind'. Did you mean 'kind'"),
    ({"categorical": [4]}, "categorical: expected columns of X"),
    ({"categorical": [True]}, "categorical: expected columns of X"),
    ({"categorical": [None]}, "categorical: expected columns of X"),
    ({"numeric": ["size", "when"]}, "X: column 'when', row 0: expected numbers; got times"),
    ({"numeric": ["kind"]}, "X: column 'kind', row 0: expected a finite number, or missing; got"),
    ({"numeric": ["size"], "categorical": [0]}, "other columns than categorical; got 'size'"),
])  # fmt: skip
def test_wrong_parameters(parameters, words):
    encoder = Encoder().fit({"a": [1, 2]})
    encoder.set_params(**parameters)
    before = encoder.feature_names_in_
    with pytest.raises((TypeError, ValueError)) as caught:
        encoder.fit(TABLE)
    assert words in str(caught.value)
    assert encoder.feature_names_in_ is before  # nothing is changed by a refused call


def test_columns_by_place_and_dtypes():
    assert Encoder(categorical=[0], dtype=np.float64).fit([[3, 1.5], [4, 2.5], [5, 1]]
        ).feature_names_out() == ["x0=3", "x0=4", "x0=5", "x1"]  # fmt: skip
    assert Encoder(dtype=np.float64).fit_transform(TABLE).dtype == np.float64
    assert Encoder(categorical=np.array(["a"])).fit({"a": [1, 2]}).feature_names_out() == ["a=2"]
    with pytest.raises(TypeError, match="unexpected argument 'categories'"):
        Encoder(categories=["a"])


def test_what_was_learnt_stays_until_the_next_fit():
    encoder = Encoder().fit(TABLE)
    facts, expected = encoder.to_dict(), dense(encoder.transform(TABLE))
    encoder.set_params(dtype="float64", max_categories=0, categorical=["none"], numeric=[9])
    assert encoder.to_dict() == facts and Encoder.from_dict(facts).to_dict() == facts
    again = encoder.transform(TABLE)
    assert again.dtype == np.float32 and (dense(again) == expected).all()


def test_not_fitted():
    for call in (lambda e: e.transform(TABLE), lambda e: e.to_dict(),
                 lambda e: e.feature_names_out(), lambda e: e.get_feature_names_out()):  # fmt: skip
        with pytest.raises(ValueError, match="not fitted yet"):
            call(Encoder())


def test_a_repr():
    assert repr(Encoder()) == "Encoder()"
    assert repr(Encoder(categorical=["a"], dtype="float64")) == (
        "Encoder(categorical=['a'], dtype='float64')"
    )


def test_columns_read_once_are_encoded_by_parts():
    columns = as_columns(TABLE)
    encoder = Encoder().fit(columns.rows(slice(0, 4)))
    assert "kind=missing" not in encoder.feature_names_out()
    part = dense(encoder.transform(columns.rows([4, 0])))
    assert (part == dense(encoder.transform(TABLE))[[4, 0]]).all()


@pytest.mark.parametrize("n", [1, 8191, 8192, 8193, 20_000])
def test_sparse_rows_are_the_dense_ones(n):
    rng = np.random.default_rng(n)
    a, b = rng.integers(0, 40, n), rng.integers(0, 2, n)
    x = np.where(rng.random(n) < 0.2, NAN, rng.standard_normal(n))
    x[0] = 1
    table = {"x": x, "a": [None if v == 7 else f"{v:02}" for v in a], "b": b.astype(bool)}
    encoder = Encoder(max_categories=30)
    encoded = encoder.fit_transform(table)
    names, full = encoder.feature_names_out(), encoded.toarray()
    assert encoded.has_sorted_indices and (encoded.data != 0).all()
    for j, name in enumerate(names):
        if name.startswith("a=") and name[2:].isdigit():
            assert (full[:, j] == (a == int(name[2:]))).all()
    if n > 1000:
        kept = [int(name[2:]) for name in names if name.startswith("a=") and name[2:].isdigit()]
        rest = (a != 7) & ~np.isin(a, kept)
        assert len(kept) == 30 and rest.any()
        assert (full[:, names.index("a=other")] == rest).all()
        assert (full[:, names.index("a=missing")] == (a == 7)).all()
        assert (full[:, names.index("x=missing")] == np.isnan(x)).all()
        assert (full[:, names.index("b=true")] == 2 * b - 1).all()


def test_memory_grows_with_what_is_not_zero():
    n = 20_000
    texts = [f"{i % 10_000}" for i in range(n)]
    encoded = Encoder().fit_transform({"a": texts, "b": texts, "x": np.arange(n)})
    assert encoded.shape == (n, 20_001)
    assert (
        encoded.data.nbytes + encoded.indices.nbytes + encoded.indptr.nbytes
        < 8 * 3 * n + 4 * n + 99
    )
