"""Tables of every maker as columns: what each type becomes, and what is refused and how.

What belongs here: `as_columns`. What does not: what a network sees of them (test_encoder.py).
"""

import numpy as np

from fastbp.tabular import as_columns
from fastbp.tabular.columns import Numbers, Texts, Times


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
    assert listed({"n": [1, None, 2], "t": ["b", "a", "b"]}) == {
        "n": [1, None, 2],
        "t": ["b", "a", "b"],
    }
    assert not as_columns([[1]]).named and as_columns({"a": [1]}).named


def test_rows_and_names_of_columns():
    columns = as_columns({"n": [1, 2, 3], "t": ["b", "a", "b"]})
    assert len(columns) == 3
    part = columns.rows(np.array([2, 0])).take(["t", "n"])
    assert part.names == ("t", "n") and len(part) == 2
    assert cells(part["t"]) == ["b", "b"] and cells(part["n"]) == [3, 1]
    assert len(columns.rows(slice(1, None))) == len(columns.rows([False, True, True])) == 2
    assert as_columns(columns) is columns
