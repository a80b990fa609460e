"""Sparse rows: what of SciPy's sparse matrices and arrays the engine reads.

What belongs here: their checks and refusals, rows as lists of (column, value), how these are taken
apart and given back. What does not: dense arrays (inputs.py), what is computed from either
(network.py; kernels/links/sparse.pxd). SciPy is imported by whoever hands over something of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.kernels import dispatch

MOST_COLUMNS = 2**31 - 1  # and elements of a batch: the engine counts them in 32 bits


class Lists:
    """Rows as lists of what is not 0: row s has values[i] in column index[i], ascending, for
    starts[s] <= i < starts[s + 1].

    Attributes
    ----------
    starts : ndarray (n + 1,) of intp
    index : ndarray (nnz,) of int32
    values : ndarray (nnz,)
    shape : (n, n_0)
    form : type
        SciPy's class that results have, csr_array or csr_matrix.
    """

    __slots__ = ("form", "index", "shape", "starts", "values")

    def __init__(
        self, starts: np.ndarray, index: np.ndarray, values: np.ndarray, n_columns: int, form: Any
    ) -> None:
        self.starts, self.index, self.values = starts, index, values
        self.shape, self.form = (len(starts) - 1, n_columns), form

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    def __getitem__(self, rows: np.ndarray) -> Lists:
        """The rows of these numbers."""
        lengths = np.diff(self.starts)[rows]
        starts = np.zeros(len(lengths) + 1, np.intp)
        np.cumsum(lengths, out=starts[1:])
        # element i of the result lies as far behind its row's first as in these lists
        at = np.arange(starts[-1]) + np.repeat(self.starts[:-1][rows] - starts[:-1], lengths)
        return Lists(starts, self.index[at], self.values[at], self.shape[1], self.form)

    def astype(self, dtype: Any) -> Lists:
        """The same with values of another type."""
        values = self.values.astype(dtype)
        return Lists(self.starts, self.index, values, self.shape[1], self.form)

    def tocsr(self, values: np.ndarray | None = None) -> Any:
        """As SciPy has it, with these or other values of the same elements."""
        values = self.values.copy() if values is None else values
        return self.form((values, self.index.copy(), self.starts.copy()), self.shape)

    def most(self, n_rows: int, rows: np.ndarray | None = None) -> int:
        """Elements that n_rows of the rows, or of these rows, have at most together."""
        lengths = np.diff(self.starts)
        if rows is not None:
            lengths = lengths[rows]
        if n_rows < len(lengths):
            lengths = np.partition(lengths, len(lengths) - n_rows)[-n_rows:]
        return int(lengths.sum())

    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.starts, self.index, self.values


def values_of(X: np.ndarray | Lists) -> np.ndarray:
    """The numbers of X as the engine reads it."""
    return X.values if isinstance(X, Lists) else X


def is_sparse(value: Any) -> bool:
    """Whether `value` is a matrix or array of scipy.sparse."""
    kinds = type(value).__mro__
    return hasattr(value, "tocsr") and any(
        kind.__module__.startswith("scipy.sparse") for kind in kinds
    )


def as_lists(value: Any, name: str, n_columns: int, dtype: np.dtype[Any]) -> Lists:
    """A sparse `value` as lists of (n, n_columns) with n >= 1, finite throughout; it stays as is.

    Elements that occur twice are added, as in SciPy; rows need not be sorted.
    """
    if value.ndim != 2:
        raise ValueError(
            f"{name}: expected 2 dimensions, (samples, {n_columns}); got shape {value.shape}"
        )
    n = value.shape[0]
    if value.shape[1] != n_columns:
        raise ValueError(f"{name}: expected {n_columns} columns; got {value.shape[1]}")
    if n == 0:
        raise ValueError(f"{name}: expected at least one row; got shape {value.shape}")
    if n_columns > MOST_COLUMNS:
        raise ValueError(f"{name}: expected at most {MOST_COLUMNS} columns where it is sparse")
    if value.dtype.kind not in "fiub":
        what = type(value).__name__
        raise TypeError(f"{name}: expected numbers; got {what} of dtype {value.dtype}")
    csr = value.tocsr()
    # copies: what is used as an index nobody else may write once it is checked
    starts, index = np.array(csr.indptr, np.intp), np.array(csr.indices)
    doors, size = dispatch.doors(dtype), csr.data.size
    if len(starts) != n + 1 or starts[0] != 0 or (np.diff(starts) < 0).any() or starts[n] > size:
        raise ValueError(f"{name}: expected rows that follow one another; got indptr that do not")
    index, data = index[: starts[n]], csr.data[: starts[n]]
    if index.size != data.size or (index.size and not 0 <= index.min() <= index.max() < n_columns):
        raise ValueError(f"{name}: expected indices 0..{n_columns - 1}; got others")
    index = index.astype(np.int32, copy=False)
    if not doors.is_ascending(starts, index):
        # another object, which knows nothing yet of its own order
        csr = type(csr)((data.copy(), index, starts), shape=csr.shape)
        csr.sum_duplicates()
        starts, index, data = csr.indptr.astype(np.intp), csr.indices.astype(np.int32), csr.data
    values = inputs.converted(data, name, dtype, False)
    if not inputs.is_finite(values):
        _refuse_non_finite(starts, index, values, name)
    form = type(csr)
    return Lists(starts, index, values, n_columns, form)


def as_like(value: Any, name: str, X: np.ndarray | Lists) -> np.ndarray | Lists:
    """`value` of the columns and kind of X: beside lists, lists."""
    n_columns, dtype = X.shape[1], X.dtype
    if not isinstance(X, Lists):
        return inputs.as_matrix(value, name, n_columns, dtype)
    if not is_sparse(value):
        value = X.form(inputs.as_matrix(value, name, n_columns, dtype))
    return as_lists(value, name, n_columns, dtype)


def _refuse_non_finite(
    starts: np.ndarray, index: np.ndarray, values: np.ndarray, name: str
) -> None:
    bad = ~np.isfinite(values)
    i = int(np.argmax(bad))
    row = int(np.searchsorted(starts, i, "right")) - 1
    kind = "NaN" if np.isnan(values[i]) else "infinity"
    raise ValueError(
        f"{name}: expected finite numbers; got {kind} at [{row}, {index[i]}] "
        f"({int(bad.sum())} such values)"
    )
