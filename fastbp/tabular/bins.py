"""Numbers as their places among quantiles: what lets a small network follow a bent curve.

What belongs here: where the bins of an encoded column lie, and the columns made of them. What does
not: how a table's columns become numbers (encoder.py), who asks for bins (estimators/presets.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.tabular.facts import Facts

LEAST = 8  # distinct values that a column with bins has


class Bins:
    """Piecewise-linear encoding of the columns of an encoded table that have many values.

    Column x with edges e_0 < ... < e_T becomes T further ones, min(1, max(0, (x - e_{t-1}) / (e_t -
    e_{t-1}))): 1 for a bin that x is beyond, 0 for one that it has not reached, its place within
    its own. So one layer on top can be any function that is linear between edges. The edges are
    quantiles in which no value weighs more than a bin, so that a frequent value (a median that
    stands for missing ones) does not take the place of others; of at most T + 1 values, those.

    Parameters
    ----------
    columns : sequence of int
        The columns that have bins.
    edges : sequence of ndarray (T + 1,)
        Of each, rising.

    References
    ----------
    Y. Gorishniy, I. Rubachev, A. Babenko, "On embeddings for numerical features in tabular deep
    learning", 2022: the encoding, with plain quantiles.

    Examples
    --------
    >>> import numpy as np
    >>> bins = Bins.fit(np.arange(9.0)[:, None], 2)
    >>> bins.edges[0].tolist(), bins.transform(np.array([[-1.0], [3.0], [6.0]])).tolist()
    ([0.0, 4.0, 8.0], [[0.0, 0.0], [0.75, 0.0], [1.0, 0.5]])
    """

    def __init__(self, columns: Sequence[int], edges: Sequence[np.ndarray]) -> None:
        self.columns, self.edges = list(columns), list(edges)

    @classmethod
    def fit(cls, X: Any, n_bins: int) -> Bins:
        """Bins of the columns of X, an array or `csr_array` (n, k), that have enough values."""
        columns, edges = [], []
        candidates = _candidates(X)
        values = _taken(X, candidates)
        for place, j in enumerate(candidates):
            found = _edges(values[:, place], n_bins)
            if found is not None:
                columns.append(j)
                edges.append(found)
        return cls(columns, edges)

    @property
    def n_columns(self) -> int:
        """Of what `transform` makes."""
        return sum(len(edges) - 1 for edges in self.edges)

    def transform(self, X: Any) -> np.ndarray:
        """The bins of all columns, (n, n_columns), of X's own dtype."""
        out = np.empty((X.shape[0], self.n_columns), X.dtype)
        values, at = _taken(X, self.columns), 0
        for place, edges in enumerate(self.edges):
            low, width = edges[:-1].astype(X.dtype), np.diff(edges).astype(X.dtype)
            part = out[:, at : at + len(width)]
            np.subtract(values[:, place, None], low, out=part)
            part /= width
            np.clip(part, 0, 1, out=part)
            at += len(width)
        return out

    def to_dict(self) -> dict[str, Any]:
        """Of what JSON has."""
        return {"columns": list(map(int, self.columns)), "edges": [e.tolist() for e in self.edges]}

    @classmethod
    def from_dict(cls, learnt: Any, n_columns: int) -> Bins:
        """What `to_dict` wrote down of an encoded table of `n_columns`, checked.

        Raises
        ------
        ValueError
        """
        of = Facts(learnt, "bins")
        columns, edges = of.value("columns"), of.value("edges")
        of.close()
        if type(columns) is not list or not all(type(j) is int for j in columns):
            raise of.wrong("columns", "a list of whole numbers")
        if columns != sorted({j for j in columns if 0 <= j < n_columns}):
            raise of.wrong("columns", f"each column once, in order, within 0..{n_columns - 1}")
        if type(edges) is not list or len(edges) != len(columns):
            raise of.wrong("edges", f"a list of {len(columns)}, one of each column")
        return cls(columns, [_as_edges(of, given) for given in edges])


def _as_edges(of: Facts, given: Any) -> np.ndarray:
    """Edges out of a file."""
    if type(given) is list and len(given) > 1 and all(type(e) in (int, float) for e in given):
        try:
            with np.errstate(over="ignore"):
                edges = np.array(given, np.float32)
        except OverflowError:  # of a whole number
            edges = np.full(2, np.inf, np.float32)
        if np.isfinite(edges).all() and (np.diff(edges) > 0).all():
            return edges
    raise of.wrong("edges", "lists of two rising numbers or more")


def _candidates(X: Any) -> list[int]:
    """Columns that hold other numbers than 0, 1 and -1."""
    if isinstance(X, np.ndarray):
        return [j for j, x in enumerate(X.T) if ((x != 0) & (np.abs(x) != 1)).any()]
    found: list[int] = np.unique(X.indices[np.abs(X.data) != 1]).tolist()
    return found


def _taken(X: Any, columns: list[int]) -> np.ndarray:
    """These columns as an array."""
    if isinstance(X, np.ndarray):
        return X[:, columns]
    out = np.zeros((X.shape[0], len(columns)), X.dtype)
    place = np.full(X.shape[1], -1)
    place[columns] = np.arange(len(columns))
    there = np.flatnonzero(place[X.indices] >= 0)
    rows = np.searchsorted(X.indptr, there, side="right") - 1
    out[rows, place[X.indices[there]]] = X.data[there]
    return out


def _edges(values: np.ndarray, n_bins: int) -> np.ndarray | None:
    """None where there are too few values."""
    distinct, counts = np.unique(values, return_counts=True)
    if len(distinct) < LEAST:
        return None
    if len(distinct) <= n_bins + 1:
        return distinct
    counts = np.minimum(counts, -(-len(values) // n_bins))
    middle = np.cumsum(counts) - counts / 2
    share = (middle - middle[0]) / (middle[-1] - middle[0])
    edges = np.interp(np.linspace(0, 1, n_bins + 1), share, distinct)
    return np.unique(edges.astype(values.dtype))
