"""Products of networks that lie one in a lane: the names of lanes.h for Cython.

What belongs here: declarations. What does not: loops over layers
(loop/lanes.pxi).
"""
from fastbp.kernels.arithmetic.real cimport real, vec

cdef extern from "arithmetic/lanes.h":
    const int LANES_P "FASTBP_LANES_P"  # rows of a tile
    Py_ssize_t lanes_columns(Py_ssize_t P) noexcept nogil
    void lanes_forward(Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const vec *A, Py_ssize_t A_row,
                       const vec *B, Py_ssize_t B_row, const vec *b, vec *C,
                       Py_ssize_t C_row) noexcept nogil
    void lanes_back(Py_ssize_t m, Py_ssize_t n, Py_ssize_t K, const vec *A, Py_ssize_t A_row,
                    const vec *B, Py_ssize_t B_row, vec *C, Py_ssize_t C_row) noexcept nogil
    void lanes_gradient(Py_ssize_t P, Py_ssize_t Q, Py_ssize_t m, const vec *A,
                        Py_ssize_t A_row, const vec *B, Py_ssize_t B_row, const vec *minus_rate,
                        bint adds, vec *C, Py_ssize_t C_row) noexcept nogil
    void lanes_dots(Py_ssize_t m, Py_ssize_t K, const vec *a, Py_ssize_t a_row, const vec *w,
                    const vec *b, vec *z, Py_ssize_t z_row) noexcept nogil
    vec lanes_sum(const vec *x, Py_ssize_t n) noexcept nogil
    ctypedef struct Source "lanes_source":
        const real *X
        const Py_ssize_t *order
        Py_ssize_t m
    void lanes_gather(const Source *lanes, Py_ssize_t n, Py_ssize_t first, Py_ssize_t last, vec *t,
                      Py_ssize_t t_row) noexcept nogil
