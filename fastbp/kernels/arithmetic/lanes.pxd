"""Products of networks that lie one in a lane: the names of lanes.h for Cython.

What belongs here: declarations, and the sides of a tile. What does not: loops over layers
(loop/lanes.pxi).
"""
from fastbp.kernels.arithmetic.real cimport real, vec

cdef extern from "arithmetic/lanes.h":
    const int LANES_P "FASTBP_LANES_P"  # rows and columns of a tile
    const int LANES_Q "FASTBP_LANES_Q"
    void lanes_product(Py_ssize_t P, Py_ssize_t Q, Py_ssize_t K, const vec *A, Py_ssize_t A_p,
                       Py_ssize_t A_t, const vec *B, Py_ssize_t B_q, Py_ssize_t B_t,
                       const vec *init, Py_ssize_t init_p, const vec *minus_rate, bint times,
                       vec *C, Py_ssize_t C_p) noexcept nogil
    void lanes_dots(Py_ssize_t m, Py_ssize_t K, const vec *a, Py_ssize_t a_row, const vec *w,
                    const vec *b, vec *z, Py_ssize_t z_row) noexcept nogil
    vec lanes_sum(const vec *x, Py_ssize_t n) noexcept nogil
    void lanes_gather(const real *const *rows, Py_ssize_t n, vec *t) noexcept nogil


cdef inline void lanes_gradient(Py_ssize_t R, Py_ssize_t V, const vec *a, Py_ssize_t a_k,
                                Py_ssize_t a_row, const vec *delta, Py_ssize_t delta_row,
                                Py_ssize_t m, const vec *minus_rate, bint adds, vec *C,
                                Py_ssize_t C_row) noexcept nogil:
    # BP4: nabla = a^T delta   (R, V), samples in order                                   C  # OUT
    lanes_product(R, V, m, a, a_k, a_row, delta, 1, delta_row, C if adds else NULL, C_row,
                  minus_rate, False, C, C_row)
