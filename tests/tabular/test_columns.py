"""Tables of every maker as columns: what each type becomes, and what is refused and how.

What belongs here: `as_columns`. What does not: what a network sees of them (test_encoder.py).
"""

import datetime as dt
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from fastbp.tabular import as_columns
from fastbp.tabular.columns import Numbers, Texts, Times

INF = float("inf")
NAN = float("nan")
NEW_YEAR = "2020-01-01T00:00:00"


def cells(column):
    """A column as a list, None where missing."""
    if isinstance(column, Texts):
        assert column.codes.dtype == np.int32 and len(set(column.values)) == len(column.values)
        return [None if code < 0 else column.values[code] for code in column.codes]
    if isinstance(column, Times):
        assert column.values.dtype == "M8[us]"
        return [None if np.isnat(v) else str(v.astype("M8[s]")) for v in column.values]
    assert isinstance(column, Numbers) and column.values.dtype == np.float64
    return [None if np.isnan(v) else v for v in column.values.tolist()]


def listed(X, **options):
    columns = as_columns(X, **options)
    return {name: cells(columns[name]) for name in columns.names}


def test_lists_and_dictionaries():
    assert listed([[1, "a"], [2.5, None]]) == {"x0": [1, 2.5], "x1": ["a", None]}
    assert listed([[1, True], [2, False]]) == {"x0": [1, 2], "x1": ["true", "false"]}
    table = {"n": [1, None, 2], "t": ["b", "a", "b"]}
    assert listed(table) == table
    assert not as_columns([[1]]).named and as_columns({"a": [1]}).named
    assert listed({"a": range(2)}) == {"a": [0, 1]} and listed({}) == {}


def test_rows_and_names_of_columns():
    columns = as_columns({"n": [1, 2, 3], "t": ["b", "a", "b"]})
    assert len(columns) == 3
    part = columns.rows(np.array([2, 0])).take(["t", "n"])
    assert part.names == ("t", "n") and len(part) == 2
    assert cells(part["t"]) == ["b", "b"] and cells(part["n"]) == [3, 1]
    assert len(columns.rows(slice(1, None))) == len(columns.rows([False, True, True])) == 2
    assert as_columns(columns) is columns
    assert as_columns(columns, only=["t"]).names == ("t",)
    assert repr(columns) == "Columns(3 rows; n: Numbers, t: Texts)"


def test_of_a_named_table_only_what_is_asked_for_is_looked_at():
    table = {"junk": [[1], {}], "b": [1, 2], "a": ["x", "y"]}
    assert list(listed(table, only=["a", "b"])) == ["a", "b"]
    with pytest.raises(ValueError, match=r"^Z: expected the columns of training; 'c', 'd' are "
                       r"missing, unknown: 'junk', 'b'$"):  # fmt: skip
        as_columns(table, "Z", only=["a", "c", "d"])


ARRAYS = {
    "int": (np.array([1, 2]), [1, 2]),
    "big endian": (np.array([1, 2], ">f8"), [1, 2]),
    "float16": (np.array([0.5, NAN], "f2"), [0.5, None]),
    "uint64": (np.array([2**63], "u8"), [2.0**63]),
    "bool": (np.array([True, False]), ["true", "false"]),
    "U": (np.array(["b", "a", "b"]), ["b", "a", "b"]),
    "objects": (np.array([1, None, 2.5], object), [1, None, 2.5]),
    "dates": (np.array(["2020-01-01", "NaT"], "M8[D]"), [NEW_YEAR, None]),
    "years": (np.array(["2020"], "M8[Y]"), [NEW_YEAR]),
    "ns": (np.array(["2020-01-01T00:00:00.123456789"], "M8[ns]"), [NEW_YEAR]),
    "durations": (np.array([1, "NaT", 2**62], "m8[h]"), [3600, None, 3600 * 2.0**62]),
    "short durations": (np.array([1500, "NaT"], "m8[ns]"), [1.5e-6, None]),
    "steps": (np.array([3], "m8[25s]"), [75]),
    "masked": (np.ma.array([1, 2], mask=[False, True]), [1, None]),
    "masked times": (np.ma.array(["2020", "2021"], "M8[Y]", mask=[False, True]), [NEW_YEAR, None]),
    "masked bools": (np.ma.array([True, False], mask=[True, False]), [None, "false"]),
    "masked texts": (np.ma.array(["a", "b"], mask=[True, False]), [None, "b"]),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays(name):
    values, expected = ARRAYS[name]
    assert listed({"a": values}) == {"a": expected}
    two = np.ma.column_stack if isinstance(values, np.ma.MaskedArray) else np.column_stack
    assert listed(two([values, values])) == {"x0": expected, "x1": expected}


def test_arrays_of_other_classes():
    two = np.array([[1.0, 2.0]])

    class Array:
        def __array__(self, dtype=None, copy=None):
            return two

    for X in (two, two.view(np.matrix), Array(), two.tolist(), tuple(two), np.asfortranarray(two)):
        assert listed(X) == {"x0": [1], "x1": [2]}
    fields = np.array([(1, "a"), (2, "b")], dtype=[("n", "i4"), ("t", "U3")])
    assert listed(fields) == {"n": [1, 2], "t": ["a", "b"]} and as_columns(fields).named


class Rows:
    """What NumPy makes arrays of, as tensors are."""

    def __init__(self, values, error=None):
        self.values, self.error = values, error

    def __len__(self):
        return len(self.values)

    def __array__(self, dtype=None, copy=None):
        if self.error is not None:
            raise self.error
        return np.array(self.values)


def test_tensors():
    assert listed(Rows([[1, 2], [3, 4]])) == {"x0": [1, 3], "x1": [2, 4]}
    assert listed({"a": Rows([1, 2]), "b": (3, 4)}) == {"a": [1, 2], "b": [3, 4]}
    refused(Rows([1], RuntimeError("on another device")), "NumPy makes no array", "device")
    refused({"a": Rows([[1]])}, "column 'a'", "one dimension")


def test_what_is_given_stays_as_it_is():
    values = np.ma.array([1.0, 2.0], mask=[False, True])
    cells_ = np.array(["a", None], object)
    as_columns({"a": values, "b": cells_})
    assert values.data.tolist() == [1, 2] and cells_.tolist() == ["a", None]


OBJECTS = {
    "large ints": ([2**60, 2**53 + 1], [2.0**60, 2.0**53]),
    "decimals": ([Decimal("1.5"), None, Decimal("NaN")], [1.5, None, None]),
    "fractions": ([Fraction(1, 4), 2, np.int8(3), np.float32(0.5)], [0.25, 2, 3, 0.5]),
    "texts and NaN": (["x", NAN, None, np.str_("x")], ["x", None, None, "x"]),
    "bools": ([True, None, np.False_], ["true", None, "false"]),
    "dates": ([dt.date(2020, 1, 1), None, dt.datetime(2020, 1, 1), np.datetime64("2020-01-01")],
              [NEW_YEAR, None, NEW_YEAR, NEW_YEAR]),
    "zones": ([dt.datetime(2020, 1, 1, 2, tzinfo=dt.timezone(dt.timedelta(hours=2))), None],
              [NEW_YEAR, None]),
    "durations": ([dt.timedelta(days=1), np.timedelta64(5, "ms"), None, dt.timedelta.max],
                  [86400, 0.005, None, 86399999999999.999999]),
    "times of day": ([dt.time(12, 30), None], ["1970-01-01T12:30:00", None]),
    "missing": ([None, NAN, np.ma.masked], [None, None, None]),
    "none": ([], []),
}  # fmt: skip


@pytest.mark.parametrize("name", OBJECTS)
def test_objects(name):
    values, expected = OBJECTS[name]
    assert listed({"a": values}) == {"a": expected}
    if values:
        assert listed([[v, "t"] for v in values])["x0"] == expected


def refused(X, *words, error=(TypeError, ValueError), **options):
    with pytest.raises(error) as caught:
        as_columns(X, **options)
    assert type(caught.value) in (TypeError, ValueError)
    for word in words:
        assert word in str(caught.value), str(caught.value)


REFUSED = {
    "number and text": ([None, 1, "b"], "row 2", "numbers throughout", "row 1", "'b' (str)"),
    "bool and number": ([True, 1], "row 1", "booleans throughout", "1 (int)"),
    "infinite": ([1.0, -INF], "row 1", "finite", "-inf"),
    "infinite array": (np.array([1.0, INF, INF], "f4"), "row 1", "2 such values"),
    "too long": (np.array([np.longdouble("1e4000")]), "row 0", "finite"),
    "too large": ([1, 10**400], "row 1", "float64"),
    "signalling": ([Decimal("sNaN"), 1], "row 0", "sNaN"),
    "bytes": ([b"x"], "row 0", "b'x' (bytes)"),
    "array of bytes": (np.array([b"x"]), "|S1"),
    "complex": ([1, 1j], "row 1", "1j (complex)"),
    "complex array": (np.array([1j]), "complex128"),
    "lists": ([[1], [2]], "row 0", "[1] (list)"),
    "dicts": ([None, {}], "row 1", "{} (dict)"),
    "with and without zone": (
        [dt.datetime(2020, 1, 1), dt.datetime(2020, 1, 1, tzinfo=dt.UTC)], "row 1", "zone"),
    "months": ([np.timedelta64(5, "M")], "row 0", "duration"),
    "array of months": (np.array([5], "m8[M]"), "duration"),
    "far times": (np.array([2**62], "M8[s]"), "row 0", "290,000 years"),
    "far time": ([np.datetime64(2**62, "s")], "row 0", "290,000 years"),
    "no UTF-8": (["a", "\ud800"], "row 1", "UTF-8", r"'\ud800'"),
    "one value": (1, "column of values"),
    "a text": ("abc", "column of values", "'abc'"),
    "two dimensions": (np.ones((2, 2)), "one dimension", "(2, 2)"),
    "void": (np.zeros(1, "V3"), "V3"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_cells(name):
    values, *words = REFUSED[name]
    refused({"good": [1, 2][: np.size(values)], "odd one": values}, "T: column 'odd one'", *words,
            name="T")  # fmt: skip


TABLES = {
    "none": (None, "a table", "None"),
    "path": ("a.csv", "a table", "'a.csv'"),
    "number": (3, "a table"),
    "set": ({1, 2}, "a table", "set"),
    "1-D": (np.ones(3), "2 dimensions", "Reshape"),
    "0-D": (np.array(1.0), "2 dimensions"),
    "3-D": (np.ones((1, 1, 1)), "2 dimensions"),
    "list of numbers": ([1, 2], "2 dimensions", "Reshape"),
    "list of texts": (["ab", "cd"], "row 0", "a row of values", "'ab'"),
    "list of dicts": ([{"a": 1}], "row 0", "DataFrame"),
    "no rows": ([], "at least one row"),
    "ragged": ([[1, 2], [3, "a"], [3]], "row 2", "2 values", "got 1"),
    "lengths": ({"a": [1], "b": [1, 2]}, "column 'b'", "1 rows, as in 'a'", "got 2"),
    "twice": ({"1": [1], 1: [2]}, "'1' twice"),
    "name": ({"\ud800": [1]}, "UTF-8"),
}


@pytest.mark.parametrize("name", TABLES)
def test_refused_tables(name):
    X, *words = TABLES[name]
    refused(X, "T", *words, name="T")


def test_sparse_matrices_are_no_tables():
    sparse = pytest.importorskip("scipy.sparse")
    for kind in ("csr", "dok", "coo", "dia"):  # dok: a dict, to some releases
        for form in ("array", "matrix"):
            X = getattr(sparse, f"{kind}_{form}")(np.eye(2))
            refused(X, "a table", f"{kind}_{form}", "sparse")
