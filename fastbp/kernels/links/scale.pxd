"""The scale link: z = s * a, a learned factor for each column (n_z = n_in).

What belongs here: its forward pass, recurrence, gradient alone and fused with the step, tangent,
and the link's row. What does not: matrices (dense.pxd), formulas of optimizers.
"""
from libc.string cimport memset

from fastbp.kernels.arithmetic.real cimport VECTOR_LANES, fma, fmadd, real, splat, vec
from fastbp.kernels.tables cimport Ahead, Input, LaneLayer, Layer, Link, Own, Step, Tensor
from fastbp.kernels.update cimport numbers_of, update_rows


cdef inline void scale_forward(const Layer *f, const real *parameters, bint padded, const Input *x,
                               Py_ssize_t m, real *z, real *panel) noexcept nogil:
    # z = s * a   (m, n)                                                                  z  # OUT
    cdef const real *s = parameters + (f.tensors[0].padded_at if padded else f.tensors[0].at)
    cdef Py_ssize_t i, k
    for i in range(m):
        for k in range(f.n_in):
            z[i * f.z_row + k] = x.a[i * x.row + k] * s[k]
        for k in range(f.n_in, f.z_row):  # an activation goes over whole rows
            z[i * f.z_row + k] = <real>0


cdef inline void scale_tangent(const Layer *f, const real *parameters, const Input *x,
                               Py_ssize_t m, real *dz, real *panel) noexcept nogil:
    # dz = s * da   (m, n)                                                               dz  # OUT
    scale_forward(f, parameters, False, x, m, dz, panel)


cdef inline void scale_back(const Layer *f, const real *parameters, bint padded, const Input *x,
                            const real *delta, Py_ssize_t m, Py_ssize_t first, Py_ssize_t last,
                            bint times, real *g, Py_ssize_t g_row, real *panel) noexcept nogil:
    # g = s * delta, or g = g * (s * delta)   (m, n)                                      g  # OUT
    cdef const real *s = parameters + (f.tensors[0].padded_at if padded else f.tensors[0].at)
    cdef Py_ssize_t i, k
    for i in range(m):
        if times:
            for k in range(first, last):
                g[i * g_row + k] = g[i * g_row + k] * (delta[i * f.z_row + k] * s[k])
        else:
            for k in range(first, last):
                g[i * g_row + k] = delta[i * f.z_row + k] * s[k]
        if last == f.n_in:
            for k in range(last, f.z_row):
                g[i * g_row + k] = <real>0


cdef inline void add_products(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                              bint anew, real *nabla_s) noexcept nogil:
    # nabla_s = sum_i delta_i * a_i, samples in order                               nabla_s  # OUT
    cdef Py_ssize_t i, k
    if anew:
        memset(nabla_s, 0, f.z_row * sizeof(real))
    for i in range(m):
        for k in range(f.n_in):
            nabla_s[k] = fma(delta[i * f.z_row + k], x.a[i * x.row + k], nabla_s[k])


cdef inline void scale_gradient(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                                int thread, int n_threads, bint anew, real *nabla,
                                real *scratch, Ahead *ahead) noexcept nogil:
    if thread == n_threads - 1 and f.tensors[0].rate != 0.0:  # s is one row
        add_products(f, x, delta, m, anew, nabla + f.tensors[0].padded_at)


cdef inline void scale_update(const Layer *f, const Step *step, const Input *x, const real *delta,
                              Py_ssize_t m, Py_ssize_t first, Py_ssize_t last, bint rest,
                              real *parameters, Py_ssize_t slot, real *scratch,
                              Ahead *ahead) noexcept nogil:
    # the gradient in scratch, then the step                                parameters, slots  # OUT
    cdef Own own
    if rest and f.tensors[0].rate != 0.0:
        own = numbers_of(step, &f.tensors[0])
        add_products(f, x, delta, m, True, scratch)
        update_rows(step, &own, 1, f.z_row / VECTOR_LANES, scratch,
                    parameters + f.tensors[0].padded_at, f.z_row, slot)


# ---- one network a lane --------------------------------------------------------------------------

cdef inline void scale_forward_lanes(const LaneLayer *f, const vec *parameters, const vec *a,
                                     Py_ssize_t a_row, Py_ssize_t m, vec *z) noexcept nogil:
    # z = s * a   (m, n)                                                                  z  # OUT
    cdef const vec *s = parameters + f.tensors[0].at
    cdef Py_ssize_t i, k
    for i in range(m):
        for k in range(f.n_in):
            z[i * f.row + k] = a[i * a_row + k] * s[k]


cdef inline void scale_back_lanes(const LaneLayer *f, const vec *parameters, const vec *delta,
                                  Py_ssize_t m, vec *g, Py_ssize_t g_row) noexcept nogil:
    # g = g * (s * delta)   (m, n)                                                        g  # OUT
    cdef const vec *s = parameters + f.tensors[0].at
    cdef Py_ssize_t i, k
    for i in range(m):
        for k in range(f.n_in):
            g[i * g_row + k] = g[i * g_row + k] * (delta[i * f.row + k] * s[k])


cdef inline void scale_nabla_lanes(const LaneLayer *f, int i, Py_ssize_t k, Py_ssize_t R,
                                   Py_ssize_t j, Py_ssize_t V, const vec *a, Py_ssize_t a_row,
                                   const vec *delta, Py_ssize_t m, const vec *minus_rate,
                                   bint adds, vec *C, Py_ssize_t C_row) noexcept nogil:
    # nabla_s = sum_i delta_i * a_i, samples in order                                     C  # OUT
    cdef vec sum
    cdef Py_ssize_t s, c
    for c in range(V):
        sum = C[c] if adds else splat(<real>0)
        for s in range(m):
            sum = fmadd(delta[s * f.row + j + c], a[s * a_row + j + c], sum)
        C[c] = sum if minus_rate == NULL else fmadd(minus_rate[0], sum, C[c])


# ---- the row -------------------------------------------------------------------------------------

cdef inline void scale_learn(const Layer *f, const Input *x, const real *delta, real minus_rate,
                             real *parameters) noexcept nogil:
    # s <- s + minus_rate delta * a                                               parameters  # OUT
    cdef real *s = parameters + f.tensors[0].at
    cdef Py_ssize_t k
    for k in range(f.n_in):
        s[k] = fma(minus_rate, delta[k] * x.a[k], s[k])


cdef inline int scale_tensors(Py_ssize_t n_in, Py_ssize_t n_z, Tensor *tensors) noexcept nogil:
    tensors[0] = Tensor(0, 0, 1, n_z, 0, 0, 1.0, 0.0, 0)  # s
    return 1


cdef inline Link scale_link() noexcept:
    return Link("scale", scale_forward, scale_back, scale_gradient, scale_update, scale_tangent,
                scale_learn, scale_tensors, False, False, False, scale_forward_lanes,
                scale_back_lanes, scale_nabla_lanes)
