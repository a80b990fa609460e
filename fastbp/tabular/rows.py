"""Columns joined to rows: one array, or SciPy's sparse rows where there are columns for categories.

What belongs here: the layout of the output. What does not: the numbers in it (codings.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from fastbp import hints

if TYPE_CHECKING:
    import scipy.sparse

BLOCK = 8192  # rows that are put together at a time, in the cache


class Dense(NamedTuple):
    """One output column: values (n,)."""

    values: np.ndarray


class OneHot(NamedTuple):
    """`width` output columns: places (n,), that of the 1, or -1 where there is none."""

    places: np.ndarray
    width: int


Slot = Dense | OneHot
Encoded: TypeAlias = "np.ndarray | scipy.sparse.csr_array"  # sparse where a slot is one-hot


def joined(slots: list[Slot], n_rows: int, dtype: np.dtype[Any]) -> Encoded:
    """An ndarray (n, k), or a csr_array without a 0 where a slot is one-hot."""
    if any(isinstance(slot, OneHot) for slot in slots):
        return _sparse(slots, n_rows, dtype)
    out = np.empty((n_rows, len(slots)), dtype)
    for j, slot in enumerate(slots):
        out[:, j] = slot[0]
    return out


def _sparse(slots: list[Slot], n_rows: int, dtype: np.dtype[Any]) -> Any:
    try:
        from scipy.sparse import csr_array
    except ImportError as error:
        raise hints.missing("columns of categories need", "scipy", "tables") from error
    widths = [slot.width if isinstance(slot, OneHot) else 1 for slot in slots]
    starts = np.concatenate([[0], np.cumsum(widths)])
    most = n_rows * len(slots)
    index_type = np.int32 if max(most, int(starts[-1])) < 2**31 else np.int64
    # as large as they may get: pages that are not written take no memory
    data, indices = np.empty(most, dtype), np.empty(most, index_type)
    counts = np.zeros(n_rows + 1, index_type)
    values = np.empty((min(BLOCK, n_rows), len(slots)), dtype)
    columns = np.empty(values.shape, index_type)
    columns[:] = starts[:-1]
    end = 0
    for first in range(0, n_rows, BLOCK):
        block = slice(first, min(first + BLOCK, n_rows))
        m = block.stop - first
        for j, slot in enumerate(slots):
            part = slot[0][block]
            if isinstance(slot, OneHot):
                np.add(part, starts[j], out=columns[:m, j], casting="unsafe")
                part = part >= 0
            values[:m, j] = part
        there = values[:m] != 0
        counts[first + 1 : block.stop + 1] = there.sum(axis=1)
        n = int(counts[first + 1 : block.stop + 1].sum())
        data[end : end + n] = values[:m][there]
        indices[end : end + n] = columns[:m][there]
        end += n
    data.resize(end, refcheck=False)
    indices.resize(end, refcheck=False)
    indptr = np.cumsum(counts, dtype=index_type)
    return csr_array((data, indices, indptr), shape=(n_rows, int(starts[-1])))
