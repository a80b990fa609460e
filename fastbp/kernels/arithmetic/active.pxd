"""Columns of a batch that are not 0 in all of its rows: found, and the rows without the others.

What belongs here: from how many on it pays, the search for Cython. What does not: the search itself
(active.h), products of what is found (links/active.pxd).
"""
from libc.stdint cimport int32_t

from fastbp.kernels.arithmetic.real cimport real

cdef extern from "arithmetic/active.h":
    Py_ssize_t active_columns(const real *X, Py_ssize_t n, const Py_ssize_t *order, Py_ssize_t m,
                              Py_ssize_t first, Py_ssize_t last, Py_ssize_t most, int32_t *columns,
                              real *a, Py_ssize_t a_row, const Py_ssize_t *next,
                              Py_ssize_t ahead, const real **rows) noexcept nogil

cdef enum:
    FEW_COLUMNS = 64  # of fewer nobody looks which are 0


cdef inline Py_ssize_t most_active(Py_ssize_t n) noexcept nogil:
    """Where more of n columns are active, all are taken as they lie."""
    return n - n / 8
