"""Bins: where their edges lie, what is made of them, and that a file's are checked.

What belongs here: `Bins`. What does not: who asks for them (tests/estimators/test_tabular.py).
"""

import json

import numpy as np
import pytest

from fastbp.tabular.bins import LEAST, Bins


def test_the_encoding_is_piecewise_linear():
    x = np.linspace(-2, 5, 101)
    bins = Bins([0], [np.array([-1.0, 0.0, 0.5, 4.0])])
    made = bins.transform(x[:, None])
    expected = [np.clip((x - a) / (b - a), 0, 1) for a, b in [(-1, 0), (0, 0.5), (0.5, 4)]]
    np.testing.assert_allclose(made, np.stack(expected, axis=1), atol=1e-12)
    # its columns, weighed by the bins' widths, are the clipped number again
    np.testing.assert_allclose(made @ [1, 0.5, 3.5] - 1, np.clip(x, -1, 4))


def test_edges_are_quantiles():
    x = np.random.default_rng(0).standard_exponential(20_000)
    (edges,) = Bins.fit(x[:, None], 4).edges
    np.testing.assert_allclose(edges, np.quantile(x, [0, 0.25, 0.5, 0.75, 1]), rtol=0.01)


def test_a_frequent_value_takes_no_more_than_a_bin():
    x = np.r_[np.full(9_000, 0.5), np.linspace(0.6, 1, 1_000)]
    (edges,) = Bins.fit(x[:, None], 10).edges
    assert len(edges) == 11 and (edges >= 0.6).sum() >= 7  # of plain quantiles one


def test_few_values_are_the_edges_themselves():
    x = np.repeat(np.array([1.0, 2, 3, 5, 8, 13, 21, 34]), [100, 1, 1, 1, 1, 1, 1, 1])
    assert Bins.fit(x[:, None], 32).edges[0].tolist() == [1, 2, 3, 5, 8, 13, 21, 34]


def test_columns_of_too_few_values_have_none():
    X = np.zeros((100, 4))
    X[:, 1] = np.arange(100) % (LEAST - 1) + 0.5
    X[:, 2] = np.arange(100) % LEAST + 0.5
    X[:, 3] = np.arange(100) % 2 * 2 - 1
    bins = Bins.fit(X, 32)
    assert bins.columns == [2] and bins.n_columns == LEAST - 1


def test_sparse_rows_have_the_same_bins():
    sparse = pytest.importorskip("scipy.sparse")
    draws = np.random.default_rng(0)
    X = draws.standard_normal((300, 5)).astype(np.float32)
    X[:, [0, 3]] = draws.integers(0, 2, (300, 2))  # as categories are
    X[draws.random(300) < 0.3, 1] = 0
    dense, lists = Bins.fit(X, 8), Bins.fit(sparse.csr_array(X), 8)
    assert dense.columns == lists.columns == [1, 2, 4]
    assert all((a == b).all() for a, b in zip(dense.edges, lists.edges, strict=True))
    assert (dense.transform(X) == lists.transform(sparse.csr_array(X))).all()
    assert dense.transform(X).dtype == np.float32


def test_values_beyond_the_edges_and_close_edges():
    x = np.r_[np.arange(8.0), 7 + 1e-12, np.nextafter(7, 8)].astype(np.float32)
    bins = Bins.fit(x[:, None], 32)
    made = bins.transform(np.array([[-1e30], [1e30]], np.float32))
    assert made.tolist() == [[0.0] * 7, [1.0] * 7]
    assert np.isfinite(bins.transform(x[:, None])).all()


def test_a_round_trip_through_json():
    X = np.random.default_rng(0).standard_normal((50, 2)).astype(np.float32)
    bins = Bins.fit(X, 4)
    again = Bins.from_dict(json.loads(json.dumps(bins.to_dict())), 2)
    assert again.columns == bins.columns
    assert (again.transform(X) == bins.transform(X)).all()
    assert Bins.from_dict({"columns": [], "edges": []}, 2).n_columns == 0


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"columns": [1, 0]}, "each column once, in order"),
        ({"columns": [0, 0]}, "each column once"),
        ({"columns": [0, 2]}, "within 0..1"),
        ({"columns": [0, -1]}, "within 0..1"),
        ({"columns": [0, True]}, "a list of whole numbers"),
        ({"columns": None}, "a list of whole numbers"),
        ({"edges": [[0.0, 1.0]]}, "a list of 2"),
        ({"edges": {}}, "a list of 2"),
        ({"edges": [[0.0, 1.0], [0.0]]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], [1.0, 1.0]]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], [1.0, 1.0 + 1e-12]]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], [2.0, 1.0]]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], [0.0, 1e300]]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], [0, 10**400]]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], [0.0, float("nan")]]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], "01"]}, "two rising numbers"),
        ({"edges": [[0.0, 1.0], [False, True]]}, "two rising numbers"),
        ({"more": 1}, "expected"),
    ],
)
def test_what_a_file_may_hold(change, told):
    learnt = {"columns": [0, 1], "edges": [[0.0, 1.0], [0.0, 2.0]]}
    assert Bins.from_dict(learnt, 2).n_columns == 2
    with pytest.raises(ValueError, match=told):
        Bins.from_dict(learnt | change, 2)


def test_a_description_that_is_none():
    for learnt in (None, [], {}, {"columns": []}):
        with pytest.raises(ValueError, match="bins"):
            Bins.from_dict(learnt, 1)
