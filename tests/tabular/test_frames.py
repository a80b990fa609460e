"""Frames of pandas, polars and pyarrow as columns, by type of column.

What belongs here: frames. What does not: arrays, lists, cells that are objects (test_columns.py).
"""

import datetime as dt
import sys
from decimal import Decimal

import numpy as np
import pytest
from test_columns import INF, NAN, NEW_YEAR, cells, listed, refused

from fastbp.tabular import Encoder, as_columns

pa = pytest.importorskip("pyarrow")
pytest.importorskip("pyarrow.compute")
pytest.importorskip("narwhals")

TIME = dt.datetime(2020, 1, 1)


def of_pandas(pd):
    """Name: values of the column, and its cells; a list of words where it is refused."""
    return {
        "str": (["a", None], ["a", None]),
        "Int64": (pd.array([1, None], dtype="Int64"), [1, None]),
        "UInt8": (pd.array([255, None], dtype="UInt8"), [255, None]),
        "Float32": (pd.array([0.5, None], dtype="Float32"), [0.5, None]),
        "boolean": (pd.array([True, None], dtype="boolean"), ["true", None]),
        "bool": ([True, False], ["true", "false"]),
        "object": (pd.Series(["a", None, NAN, pd.NA], dtype=object), ["a", None, None, None]),
        "numbers": (pd.Series([1, pd.NA, 2.5], dtype=object), [1, None, 2.5]),
        "dates": (pd.Series([dt.date(2020, 1, 1), None]), [NEW_YEAR, None]),
        "NaN": ([1.0, NAN], [1, None]),
        "None alone": (pd.Series([None, None]), [None, None]),
        "category": (pd.Categorical(["x", None], categories=["z", "x", "y"]), ["x", None]),
        "category of ints": (pd.Categorical([2, 1]), ["2", "1"]),
        "category of floats": (pd.Categorical([1.0, 2.5]), ["1", "2.5"]),
        "category of bools": (pd.Categorical([True, False]), ["true", "false"]),
        "category of dates": (pd.Categorical(pd.to_datetime(["2020-01-01"])), ["2020-01-01"]),
        "cut": (pd.cut(pd.Series([1, 5]), [0, 2, 6]), ["(0, 2]", "(2, 6]"]),
        "zone": (pd.DatetimeIndex(["2020-01-01T01:00"]).tz_localize("Europe/Berlin"), [NEW_YEAR]),
        "ns": (pd.Series(["2020-01-01", None]).astype("datetime64[ns]"), [NEW_YEAR, None]),
        "s": (pd.Series(["2020-01-01", None]).astype("datetime64[s]"), [NEW_YEAR, None]),
        "timedelta": (pd.to_timedelta([1, None], unit="s"), [1, None]),
        "sparse": (pd.arrays.SparseArray([0.0, 1.0]), [0, 1]),
        "string[python]": (pd.array(["a", None], dtype="string[python]"), ["a", None]),
        "string[pyarrow]": (pd.array(["a", None], dtype="string[pyarrow]"), ["a", None]),
        "Arrow's decimal": (
            pd.array([Decimal("1.5"), None], dtype=pd.ArrowDtype(pa.decimal128(5, 2))), [1.5, None],
        ),
        "mixed": (pd.Series([None, 1, "a"], dtype=object), None, "row 2", "'a' (str)"),
        "infinite": ([None, 1, -INF], None, "row 2", "-inf"),
        "period": (pd.period_range("2020", periods=1, freq="M"), None, "period", "to_timestamp"),
        "interval": (pd.interval_range(0, 1), None, "interval", "astype(str)"),
        "lists": (pd.Series([[1], [2]]), None, "row 0", "[1] (list)"),
        "complex": ([1j], None, "row 0", "complex"),
        "bytes": (pd.Series([b"a"]), None, "row 0", "b'a'"),
        "no UTF-8": (pd.Series(["\ud800"], dtype=object), None, "row 0", "UTF-8"),
    }  # fmt: skip


def of_polars(pl):
    return {
        "String": (["a", None], ["a", None]),
        "Categorical": (pl.Series(["x", None], dtype=pl.Categorical), ["x", None]),
        "Enum": (pl.Series(["x", None], dtype=pl.Enum(["y", "x"])), ["x", None]),
        "UInt8": (pl.Series([255, None], dtype=pl.UInt8), [255, None]),
        "Int128": (pl.Series([2**70, None], dtype=pl.Int128), [2.0**70, None]),
        "Decimal": (pl.Series(["1.5", None]).cast(pl.Decimal(9, 2)), [1.5, None]),
        "Float32": (pl.Series([0.5, NAN, None], dtype=pl.Float32), [0.5, None, None]),
        "Boolean": ([True, None], ["true", None]),
        "Date": ([dt.date(2020, 1, 1), None], [NEW_YEAR, None]),
        "Datetime": (pl.Series([TIME, None], dtype=pl.Datetime("ns")), [NEW_YEAR, None]),
        "UTC": (pl.Series([TIME, None], dtype=pl.Datetime("ms", "UTC")), [NEW_YEAR, None]),
        "Time": ([dt.time(1, 2), None], ["1970-01-01T01:02:00", None]),
        "Duration": ([dt.timedelta(seconds=90), None], [90, None]),
        "Null": ([None, None], [None, None]),
        "objects": (pl.Series([1, None, 2.5], dtype=pl.Object), [1, None, 2.5]),
        "Object": (pl.Series([object()], dtype=pl.Object), None, "row 0", "(object)"),
        "List": ([[1]], None, "list"),
        "Array": (pl.Series([[1, 2]], dtype=pl.Array(pl.Int64, 2)), None, "list"),
        "Struct": ([{"a": 1}], None, "struct"),
        "Binary": ([b"a"], None, "binary"),
        "infinite": ([None, INF], None, "row 1", "inf"),
    }


def of_arrow():
    codes, words = pa.array([0, 1, None], pa.int8()), pa.array(["a", "b"])
    return {
        "string": (["a", None], ["a", None]),
        "string_view": (pa.array(["a", None], pa.string_view()), ["a", None]),
        "large_string": (pa.array(["a", None], pa.large_string()), ["a", None]),
        "dictionary": (pa.DictionaryArray.from_arrays(codes, words), ["a", "b", None]),
        "null in it": (pa.DictionaryArray.from_arrays(codes, ["a", None]), ["a", None, None]),
        "twice in it": (pa.DictionaryArray.from_arrays(codes, ["a", "a"]), ["a", "a", None]),
        "of ints": (pa.DictionaryArray.from_arrays(codes, [2, 1]), ["2", "1", None]),
        "run ends": (pa.compute.run_end_encode(pa.array(["a", "a", "b"])), ["a", "a", "b"]),
        "uint64": (pa.array([2**63, None], pa.uint64()), [2.0**63, None]),
        "half": (pa.array(np.array([0.5, NAN], "f2")), [0.5, None]),
        "decimal256": (pa.array([Decimal(3), None], pa.decimal256(70, 2)), [3, None]),
        "bool": ([True, None], ["true", None]),
        "date32": (pa.array([1, None], pa.date32()), ["1970-01-02T00:00:00", None]),
        "date64": (pa.array([86_400_000, None], pa.date64()), ["1970-01-02T00:00:00", None]),
        "timestamp": (pa.array([1, None], pa.timestamp("ns", "Asia/Tokyo")),
                      ["1970-01-01T00:00:00", None]),
        "time32": (pa.array([1, None], pa.time32("s")), ["1970-01-01T00:00:01", None]),
        "duration": (pa.array([1500, None], pa.duration("ms")), [1.5, None]),
        "null": (pa.nulls(2), [None, None]),
        "chunks": (pa.chunked_array([["a"], ["b", None], ["a"]]), ["a", "b", None, "a"]),
        "chunks of numbers": (pa.chunked_array([[1], [], [None, 3]]), [1, None, 3]),
        "chunks of bools": (pa.chunked_array([[True], [None]]), ["true", None]),
        "chunks of times": (pa.chunked_array([[0], [None]]).cast(pa.timestamp("s")),
                            ["1970-01-01T00:00:00", None]),
        "dictionaries": (pa.chunked_array([pa.array(["a", "b"]).dictionary_encode(),
                                           pa.array(["c", "b"]).dictionary_encode()]),
                         ["a", "b", "c", "b"]),
        "a part": (pa.array(["a", "b", None, "a"]).dictionary_encode().slice(2), [None, "a"]),
        "a part of numbers": (pa.array([1, None, 3]).slice(1), [None, 3]),
        "binary": ([b"a"], None, "binary"),
        "list": ([[1]], None, "list"),
        "map": (pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64())), None, "map"),
        "of lists": (pa.DictionaryArray.from_arrays(pa.array([0]), pa.array([[1]])), None, "list"),
        "interval": (pa.array([(1, 2, 3)], pa.month_day_nano_interval()), None, "interval"),
        "uuid": (pa.array([b"0" * 16], pa.uuid()), None, "uuid"),
        "infinite": ([None, INF], None, "row 1", "inf"),
        "far times": (pa.array([2**62], pa.timestamp("s")), None, "out of bounds"),
    }  # fmt: skip


def held(frame, case):
    _, expected, *words = case
    if expected is None:
        refused(frame, "X: column 'a b'", *words)
    else:
        assert listed(frame) == {"a b": expected}


def names(of):
    class Anything:  # stands for the library: only the names of the cases are wanted
        def __getattr__(self, name):
            return self

        def __call__(self, *args, **kwargs):
            return self

    return list(of(Anything()))


@pytest.mark.parametrize("name", names(of_pandas))
def test_pandas(name):
    pd = pytest.importorskip("pandas")
    case = of_pandas(pd)[name]
    frame = pd.DataFrame({"a b": case[0]})
    held(frame, case)
    held({"a b": frame["a b"]}, case)


@pytest.mark.parametrize("name", names(of_polars))
def test_polars(name):
    pl = pytest.importorskip("polars")
    case = of_polars(pl)[name]
    frame = pl.DataFrame({"a b": case[0]})
    held(frame, case)
    held({"a b": frame["a b"]}, case)
    if name != "objects" and name != "Object":  # which no plan takes
        held(frame.lazy(), case)


@pytest.mark.parametrize("name", of_arrow())
def test_arrow(name):
    case = of_arrow()[name]
    table = pa.table({"a b": case[0]})
    held(table, case)
    held({"a b": table["a b"]}, case)
    if table["a b"].num_chunks == 1:
        held(table.to_batches()[0], case)


def test_the_order_of_categories_stays():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": pd.Categorical(["x"], categories=["z", "x", "y"])})
    assert as_columns(frame)["a"].values == ["z", "x", "y"]


def test_what_speaks_arrow_or_narwhals():
    narwhals, pl = pytest.importorskip("narwhals"), pytest.importorskip("polars")

    class Stream:
        def __arrow_c_stream__(self, requested_schema=None):
            return pa.table({"a": [1, None]}).__arrow_c_stream__(requested_schema)

    frame = pl.DataFrame({"a": [1, None]})
    for X in (Stream(), narwhals.from_native(frame), narwhals.from_native(frame.lazy()),
              {"a": narwhals.from_native(frame["a"], series_only=True)}):  # fmt: skip
        assert listed(X) == {"a": [1, None]}


def test_what_only_looks_like_a_frame():
    class Query:
        columns = ("a",)

    class Stream(Query):
        def __arrow_c_stream__(self, requested_schema=None):
            raise RuntimeError

    class Series:
        def to_frame(self):
            raise AssertionError

        def __len__(self):
            return 1

    refused(Query(), "a table", "Query", error=TypeError)
    refused(Stream(), "a table", "Stream", error=TypeError)
    refused({"a": Series()}, "column 'a'", "a column of values", "Series", error=TypeError)


def test_names_of_pandas():
    pd = pytest.importorskip("pandas")
    two = np.array([[1.0, 2.0]])
    assert not as_columns(pd.DataFrame(two)).named
    assert listed(pd.DataFrame(two)) == {"x0": [1], "x1": [2]}
    assert listed(pd.DataFrame(two, columns=[5, "b"])) == {"5": [1], "b": [2]}
    refused(pd.DataFrame(two, columns=["a", "a"]), "'a' twice")
    refused(pd.DataFrame(two, columns=["1", 1]), "'1' twice")
    levels = pd.MultiIndex.from_tuples([("a", 1), ("a", 2)])
    refused(pd.DataFrame(two, columns=levels), "('a', 1)", "MultiIndex", "X.columns = ")
    refused(pa.table([[1], [2]], names=["a", "a"]), "'a' twice")


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_a_series_is_no_table(kind):
    library = pytest.importorskip(kind)
    refused(library.Series([1]), "one column (Series)", "X.to_frame()")
    refused(pa.array([1]), "a table", "Int64Array")
    refused(pa.chunked_array([[1]]), "a table", "ChunkedArray")


def test_frames_without_rows_or_columns():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    types = {"s": pl.String, "c": pl.Categorical, "t": pl.Datetime, "b": pl.Boolean, "n": pl.Int8}
    none = pl.DataFrame(schema=types)
    pandas = pd.DataFrame({"s": pd.Series([], dtype="str"), "c": pd.Series([], dtype="category"),
                           "o": pd.Series([], dtype=object), "n": []})  # fmt: skip
    chunkless = pa.table({"s": pa.chunked_array([], pa.string()),
                          "t": pa.chunked_array([], pa.date32()),
                          "c": pa.chunked_array([], pa.dictionary(pa.int8(), pa.string())),
                          "b": pa.chunked_array([], pa.bool_())})  # fmt: skip
    for X in (none, none.to_arrow(), pandas, chunkless):
        columns = as_columns(X)
        assert len(columns) == 0 and all(cells(column) == [] for column in columns.columns)
    for X in (pd.DataFrame(), pl.DataFrame(), pa.table({})):
        assert listed(X) == {}
    assert len(as_columns(pd.DataFrame(index=range(3)))) == 3


def test_what_is_missing_is_named(monkeypatch):
    encoder = Encoder().fit({"a": ["x", "y", "z"]})
    monkeypatch.setitem(sys.modules, "scipy.sparse", None)
    with pytest.raises(ImportError, match=r"scipy: pip install .*\[tables\]"):
        encoder.transform({"a": ["x"]})
    series = pytest.importorskip("polars").Series([1])
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(ImportError, match=r"pyarrow: pip install .*\[tables\]"):
            as_columns({"a": series})
    pd = pytest.importorskip("pandas")
    monkeypatch.setitem(sys.modules, "narwhals", None)
    with pytest.raises(ImportError, match=r"narwhals: pip install .*\[tables\]"):
        as_columns(pd.DataFrame({"a": [1]}))
    with pytest.raises(ImportError, match=r"narwhals: pip install .*\[tables\]"):
        as_columns({"a": pd.Series([1])})
    assert listed({"a": ["x", 1.5 * NAN]}) == {"a": ["x", None]}  # which needs neither


def test_one_table_of_every_maker():
    """Encoders of one are those of the others."""
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    rng = np.random.default_rng(0)
    n = 300
    texts = [None if c == "d" else c for c in rng.choice(list("abcdé"), n)]
    table = {
        "x": [None if u < 0.1 else u for u in rng.random(n)],
        "i": rng.integers(-9, 9, n),
        "b": rng.random(n) < 0.5,
        "s": texts,
        "t": np.datetime64("2000", "us") + rng.integers(0, 10**15, n).astype("m8[us]"),
    }
    made = {
        "pandas": pd.DataFrame(table),
        "categories": pd.DataFrame(table).astype({"s": "category", "i": "Int8", "t": "M8[ms]"}),
        "objects": pd.DataFrame(table).astype(object),
        "polars": pl.DataFrame(table),
        "cast": pl.DataFrame(table).with_columns(pl.col("s").cast(pl.Categorical)),
        "arrow": pa.table({k: pa.array(v, from_pandas=True) for k, v in table.items()}),
        "rows": {k: list(v) for k, v in table.items()},
    }
    encoder = Encoder().fit(table)
    expected = encoder.transform(table).toarray()
    assert len(encoder.feature_names_out()) == expected.shape[1] == 14
    for name, X in made.items():
        other = Encoder()
        assert (other.fit_transform(X).toarray() == expected).all(), name
        if name != "categories":  # milliseconds
            assert other.to_dict() == encoder.to_dict(), name
        assert (encoder.transform(X).toarray() == expected).all(), name
