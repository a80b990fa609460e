"""The link to one unit behind another layer: z = a . w + b, whose W is kept as a row.

What belongs here: what the dense link (dense.pxd) is where n_z = 1, with full vectors along n_in:
as a column W would fill one lane of each. The public layout is the same, (n_in, 1). What does not:
the first layer's, which stays dense: rows of X may end where memory does.
"""
from libc.string cimport memset

from fastbp.kernels.arithmetic.blocking cimport TILE_VECTORS, bias_gradient, gradient_tile
from fastbp.kernels.arithmetic.lanes cimport lanes_dots, lanes_gradient
from fastbp.kernels.arithmetic.real cimport PANEL, VECTOR_LANES, fma, real, splat, vec
from fastbp.kernels.tables cimport Ahead, Input, LaneLayer, Layer, Link, Own, Step, Tensor, tensor
from fastbp.kernels.update cimport add_row, numbers_of, update_rows

cdef extern from "arithmetic/dots.h":
    # z = a . w + b, whose rows lie z_row apart                                             z  # OUT
    void dots(Py_ssize_t m, Py_ssize_t n_in, const real *a, Py_ssize_t a_row, const real *w, real b,
              real *z, Py_ssize_t z_row) noexcept nogil


cdef inline Py_ssize_t whole(Py_ssize_t n) noexcept nogil:
    """n, or what fills its last vector."""
    return (n + VECTOR_LANES - 1) / VECTOR_LANES * VECTOR_LANES


cdef inline void dot_forward(const Layer *f, const real *parameters, bint padded, const Input *x,
                             Py_ssize_t m, real *z, real *panel) noexcept nogil:
    # z = a . w + b   (m,), the padding 0                                                 z  # OUT
    memset(z, 0, m * f.z_row * sizeof(real))
    dots(m, f.n_in, x.a, x.row, tensor(f, 0, parameters, padded),
         tensor(f, 1, parameters, padded)[0], z, f.z_row)


cdef inline void dot_tangent(const Layer *f, const real *parameters, const Input *x, Py_ssize_t m,
                             real *dz, real *panel) noexcept nogil:
    # dz = da . w   (m,)                                                                 dz  # OUT
    memset(dz, 0, m * f.z_row * sizeof(real))
    dots(m, f.n_in, x.a, x.row, tensor(f, 0, parameters, False), <real>0, dz, f.z_row)


cdef inline void dot_back(const Layer *f, const real *parameters, bint padded, const Input *x,
                          const real *delta, Py_ssize_t m, Py_ssize_t first, Py_ssize_t last,
                          bint times, real *g, Py_ssize_t g_row, real *panel) noexcept nogil:
    # BP2: g = delta w, or g = g * (delta w), and 0 in what fills the last vector         g  # OUT
    cdef const real *w = tensor(f, 0, parameters, padded)
    cdef Py_ssize_t s, k
    cdef real delta_s
    for s in range(m):
        delta_s = delta[s * f.z_row]
        if times:
            for k in range(first, last):
                g[k] = g[k] * (delta_s * w[k])
        else:
            for k in range(first, last):
                g[k] = delta_s * w[k]
        for k in range(last, whole(last)):
            g[k] = <real>0
        g += g_row


cdef inline void nabla_panel(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                             Py_ssize_t k, Py_ssize_t last, const real *init,
                             real *nabla) noexcept nogil:
    # BP4: nabla_w = init + delta^T a   (last - k,), samples in order; what fills the last vector
    # stays 0                                                                         nabla  # OUT
    cdef Py_ssize_t V = whole(last - k) / VECTOR_LANES, i
    gradient_tile(delta, f.z_row, x.a + k, x.row, m, 1, V, delta, init, 0, NULL, nabla, 0)
    for i in range(last - k, V * VECTOR_LANES):
        nabla[i] = <real>0


cdef inline void dot_gradient(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                              int thread, int n_threads, bint anew, real *nabla,
                              real *scratch, Ahead *ahead) noexcept nogil:
    # BP3, BP4                                                                        nabla  # OUT
    cdef Py_ssize_t width = TILE_VECTORS * VECTOR_LANES
    cdef Py_ssize_t tiles = (f.n_in + width - 1) / width, k = tiles * thread / n_threads
    cdef real *nabla_w = nabla + f.tensors[0].padded_at
    cdef real *nabla_b = nabla + f.tensors[1].padded_at
    while f.tensors[0].rate != 0.0 and k < tiles * (thread + 1) / n_threads:
        nabla_panel(f, x, delta, m, k * width, min((k + 1) * width, f.n_in),
                    NULL if anew else nabla_w + k * width, nabla_w + k * width)
        k += 1
    if thread == n_threads - 1 and f.tensors[1].rate != 0.0:
        if anew:
            memset(nabla_b, 0, f.z_row * sizeof(real))
        bias_gradient(delta, f.z_row, m, 1, nabla_b)


cdef inline void dot_update(const Layer *f, const Step *step, const Input *x, const real *delta,
                            Py_ssize_t m, Py_ssize_t first, Py_ssize_t last, bint rest,
                            real *parameters, Py_ssize_t slot, real *scratch,
                            Ahead *ahead) noexcept nogil:
    # BP3, BP4 and the step, of whole vectors that begin in [first, last)   parameters, slots  # OUT
    cdef real nabla[PANEL]
    cdef Py_ssize_t k = whole(first), stop
    cdef Own own
    last = min(whole(last), f.n_in)
    if f.tensors[0].rate != 0.0:
        own = numbers_of(step, &f.tensors[0])
        while k < last:
            stop = min(k + TILE_VECTORS * VECTOR_LANES, last)
            nabla_panel(f, x, delta, m, k, stop, NULL, &nabla[0])
            update_rows(step, &own, 1, whole(stop - k) / VECTOR_LANES, &nabla[0],
                        parameters + f.tensors[0].padded_at + k, 0, slot)
            k = stop
    if rest and f.tensors[1].rate != 0.0:
        own = numbers_of(step, &f.tensors[1])
        memset(scratch, 0, f.z_row * sizeof(real))
        bias_gradient(delta, f.z_row, m, 1, scratch)
        update_rows(step, &own, 1, 1, scratch, parameters + f.tensors[1].padded_at, 0, slot)


# ---- one network a lane --------------------------------------------------------------------------

cdef inline void dot_forward_lanes(const LaneLayer *f, const vec *parameters, const vec *a,
                                   Py_ssize_t a_row, Py_ssize_t m, vec *z) noexcept nogil:
    # z = a . w + b   (m,)                                                                z  # OUT
    lanes_dots(m, f.n_in, a, a_row, parameters + f.tensors[0].at, parameters + f.tensors[1].at, z,
               f.row)


cdef inline void dot_back_lanes(const LaneLayer *f, const vec *parameters, const vec *delta,
                                Py_ssize_t m, vec *g, Py_ssize_t g_row) noexcept nogil:
    # BP2: g = g * (delta w)   (m, n_in)                                                  g  # OUT
    cdef const vec *w = parameters + f.tensors[0].at
    cdef vec delta_s
    cdef Py_ssize_t s, k
    for s in range(m):
        delta_s = delta[s * f.row]
        for k in range(f.n_in):
            g[k] = g[k] * (delta_s * w[k])
        g += g_row


cdef inline void dot_nabla_lanes(const LaneLayer *f, int i, Py_ssize_t k, Py_ssize_t R,
                                 Py_ssize_t j, Py_ssize_t V, const vec *a, Py_ssize_t a_row,
                                 const vec *delta, Py_ssize_t m, const vec *minus_rate, bint adds,
                                 vec *C, Py_ssize_t C_row) noexcept nogil:
    # BP3, BP4: w is a row                                                                C  # OUT
    cdef vec one = splat(<real>1)
    lanes_gradient(1, V, m, delta, f.row, <const vec *>&one if i == 1 else a + j,
                   0 if i == 1 else a_row, minus_rate, adds, C, C_row)


# ---- the row -------------------------------------------------------------------------------------

cdef inline void dot_learn(const Layer *f, const Input *x, const real *delta, real minus_rate,
                           real *parameters) noexcept nogil:
    # w <- w + minus_rate delta a, b <- b + minus_rate delta                      parameters  # OUT
    cdef real *b = parameters + f.tensors[1].at
    add_row(f.n_in, delta[0], x.a, minus_rate, parameters + f.tensors[0].at)
    b[0] = fma(minus_rate, delta[0], b[0])


cdef inline int dot_tensors(Py_ssize_t n_in, Py_ssize_t n_z, Tensor *tensors) noexcept nogil:
    tensors[0] = Tensor(0, 0, 1, n_in, 0, 0, 1.0, 1.0, 0)  # W
    tensors[1] = Tensor(0, 0, 1, 1, 0, 0, 1.0, 0.0, 0)     # b
    return 2


cdef inline Link dot_link() noexcept:
    return Link("dot", dot_forward, dot_back, dot_gradient, dot_update, dot_tangent, dot_learn,
                dot_tensors, False, False, False, dot_forward_lanes, dot_back_lanes,
                dot_nabla_lanes)
