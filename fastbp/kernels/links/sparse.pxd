"""The links that read lists: dense and scale where X is sparse, work for what is not 0 alone.

What belongs here: forward, recurrence to the elements, gradients alone and fused with the step,
tangents, and two rows: "sparse" for a dense layer, "sparse scale" for a scale before it. Each gives
the bits that dense.pxd and scale.pxd give of the same values, up to the sign of a zero, for what
they add besides are products with 0. What does not: innermost loops (lists.h), memory of lists
(loop/lists.pxi).

Where a gradient of 0 changes nothing (`Own.zero_stays`) the step is made of the rows of W that the
batch touches; elsewhere of every row, for each one moves (penalties, momentum, Adam).
"""
from libc.stdint cimport int32_t
from libc.string cimport memset

from fastbp.kernels.arithmetic.real cimport PANEL, PER_LINE, VECTOR_LANES, fma, prefetch, real
from fastbp.kernels.tables cimport Ahead, Input, Layer, Link, Own, Step, Tensor, Turned, tensor
from fastbp.kernels.update cimport numbers_of, update_rows

cdef extern from "arithmetic/lists.h":
    const int LIST_VECTORS "FASTBP_LIST_VECTORS"
    void list_times_rows(int, Py_ssize_t, const int32_t *, const real *, const real *, Py_ssize_t,
                         const real *, real *) noexcept nogil
    void column_times_rows(int, int32_t, const int32_t *, const int32_t *, const real *,
                           const real *, Py_ssize_t, const real *, const real *,
                           real *) noexcept nogil
    void add_rows(int, Py_ssize_t, const real *, Py_ssize_t, real *) noexcept nogil
    void rows_times_delta(Py_ssize_t, const int32_t *, const real *, Py_ssize_t, const real *,
                          Py_ssize_t, real *) noexcept nogil

cdef enum:
    ROWS_AT_ONCE = 8    # of W, where all of them take a step: a call of the policy for each block


cdef inline void listed_input(const real *W, Py_ssize_t W_row, const real *b, const Input *x,
                              Py_ssize_t m, Py_ssize_t n_z, real *z,
                              Py_ssize_t z_row) noexcept nogil:
    # z = x W + b   (m, n_z), each sample's elements in order                               z  # OUT
    cdef Py_ssize_t vectors = (n_z + VECTOR_LANES - 1) / VECTOR_LANES, j = 0, s, at, V
    while j < vectors:
        V = vectors - j if vectors - j < LIST_VECTORS else LIST_VECTORS
        at = j * VECTOR_LANES
        for s in range(m):
            list_times_rows(<int>V, x.starts[s + 1] - x.starts[s], x.index + x.starts[s],
                            x.a + x.starts[s], W + at, W_row, b + at if b != NULL else NULL,
                            z + s * z_row + at)
        j += V


cdef inline void column_gradient(const Turned *turned, Py_ssize_t k, const Input *x,
                                 const real *delta, Py_ssize_t delta_row, Py_ssize_t vectors,
                                 const real *init, const real *rate, real *nabla) noexcept nogil:
    # BP4 for one row of W: nabla = init + sum_s x_sk delta_s, samples in order; with a rate
    # nabla -= rate times that sum                                                      nabla  # OUT
    cdef Py_ssize_t j = 0, at, V
    while j < vectors:
        V = vectors - j if vectors - j < LIST_VECTORS else LIST_VECTORS
        at = j * VECTOR_LANES
        column_times_rows(<int>V, turned.head[k], turned.next, turned.sample, x.a, delta + at,
                          delta_row, init + at if init != NULL else NULL, rate, nabla + at)
        j += V


cdef inline Py_ssize_t link_columns(const Input *x, Py_ssize_t m, Py_ssize_t first,
                                    Py_ssize_t last) noexcept nogil:
    """Link the elements of columns first..last - 1; returns how many columns have some."""
    cdef const Turned *turned = x.turned
    cdef Py_ssize_t s = m, i, n = 0
    cdef int32_t k
    while s > 0:  # from the last, so that the first is at the head
        s -= 1
        for i in range(x.starts[s], x.starts[s + 1]):
            k = x.index[i]
            if first <= k < last:
                if turned.head[k] == 0:
                    turned.touched[n] = k
                    n += 1
                turned.next[i] = turned.head[k]
                turned.head[k] = <int32_t>(i + 1)
                turned.sample[i] = <int32_t>s
    return n


cdef inline void unlink_columns(const Turned *turned, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t t
    for t in range(n):
        turned.head[turned.touched[t]] = 0


cdef inline void update_touched(const Input *x, Py_ssize_t n, const real *delta,
                                Py_ssize_t delta_row, Py_ssize_t vectors, const Step *step,
                                const Own *own, real *W, Py_ssize_t W_row, Py_ssize_t slot,
                                real *nabla) noexcept nogil:
    # BP4 and the step for the n rows of W that the batch touches                W, slots  # OUT
    cdef const Turned *turned = x.turned
    cdef bint in_registers = step.policy.in_registers and not own.shaped
    cdef real rate = <real>own.learning_rate
    cdef Py_ssize_t t, k, j
    for t in range(n):
        k = turned.touched[t]
        j = 0
        while j < W_row and t + 2 < n:
            prefetch(W + turned.touched[t + 2] * W_row + j)
            j += PER_LINE
        if in_registers:
            column_gradient(turned, k, x, delta, delta_row, vectors, NULL, &rate, W + k * W_row)
        else:
            column_gradient(turned, k, x, delta, delta_row, vectors, NULL, NULL, nabla)
            update_rows(step, own, 1, vectors, nabla, W + k * W_row, W_row, slot)


cdef inline void update_all(const Input *x, Py_ssize_t first, Py_ssize_t last, const real *delta,
                            Py_ssize_t delta_row, Py_ssize_t vectors, const Step *step,
                            const Own *own, real *W, Py_ssize_t W_row, Py_ssize_t slot,
                            real *nabla) noexcept nogil:
    # BP4 and the step for rows first..last - 1 of W                              W, slots  # OUT
    cdef Py_ssize_t k = first, i, R, width = vectors * VECTOR_LANES
    while k < last:
        R = last - k if last - k < ROWS_AT_ONCE else ROWS_AT_ONCE
        memset(nabla, 0, R * width * sizeof(real))
        for i in range(R):
            if x.turned.head[k + i] != 0:
                column_gradient(x.turned, k + i, x, delta, delta_row, vectors, NULL, NULL,
                                nabla + i * width)
        update_rows(step, own, R, vectors, nabla, W + k * W_row, W_row, slot)
        k += R


# ---- the row of a dense layer --------------------------------------------------------------------

cdef inline void sparse_forward(const Layer *f, const real *parameters, bint padded, const Input *x,
                                Py_ssize_t m, real *z, real *panel) noexcept nogil:
    listed_input(tensor(f, 0, parameters, padded), f.z_row if padded else f.n_z,
                 tensor(f, 1, parameters, padded), x, m, f.n_z, z, f.z_row)


cdef inline void sparse_tangent(const Layer *f, const real *parameters, const Input *x,
                                Py_ssize_t m, real *dz, real *panel) noexcept nogil:
    # dz = da W   (m, n_z)                                                               dz  # OUT
    listed_input(tensor(f, 0, parameters, False), f.n_z, NULL, x, m, f.n_z, dz, f.z_row)


cdef inline void sparse_back(const Layer *f, const real *parameters, bint padded, const Input *x,
                             const real *delta, Py_ssize_t m, Py_ssize_t first, Py_ssize_t last,
                             bint times, real *g, Py_ssize_t g_row, real *panel) noexcept nogil:
    # BP2 to the elements: g_sk = sum_j delta_sj W_kj                                       g  # OUT
    cdef Py_ssize_t s
    for s in range(m):
        rows_times_delta(x.starts[s + 1] - x.starts[s], x.index + x.starts[s],
                         tensor(f, 0, parameters, padded), f.z_row if padded else f.n_z,
                         delta + s * f.z_row, f.n_z, g + x.starts[s])


cdef inline void sparse_gradient(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                                 int thread, int n_threads, bint anew, real *nabla,
                                 real *scratch, Ahead *ahead) noexcept nogil:
    # BP3, BP4                                                                        nabla  # OUT
    cdef Py_ssize_t vectors = (f.n_z + VECTOR_LANES - 1) / VECTOR_LANES, n, t, k
    cdef Py_ssize_t first = f.n_in * thread / n_threads, last = f.n_in * (thread + 1) / n_threads
    cdef real *nabla_W = nabla + f.tensors[0].padded_at
    cdef real *nabla_b = nabla + f.tensors[1].padded_at
    if f.tensors[0].rate != 0.0:
        if anew:
            memset(nabla_W + first * f.z_row, 0, (last - first) * f.z_row * sizeof(real))
        n = link_columns(x, m, first, last)
        for t in range(n):
            k = x.turned.touched[t]
            column_gradient(x.turned, k, x, delta, f.z_row, vectors, nabla_W + k * f.z_row, NULL,
                            nabla_W + k * f.z_row)
        unlink_columns(x.turned, n)
    if thread == n_threads - 1 and f.tensors[1].rate != 0.0:
        if anew:
            memset(nabla_b, 0, f.z_row * sizeof(real))
        add_rows(<int>vectors, m, delta, f.z_row, nabla_b)  # BP3


cdef inline void sparse_update(const Layer *f, const Step *step, const Input *x, const real *delta,
                               Py_ssize_t m, Py_ssize_t first, Py_ssize_t last, bint rest,
                               real *parameters, Py_ssize_t slot, real *scratch,
                               Ahead *ahead) noexcept nogil:
    # BP3, BP4 and the step; scratch: rows of nabla                         parameters, slots  # OUT
    cdef Py_ssize_t vectors = (f.n_z + VECTOR_LANES - 1) / VECTOR_LANES, n, j
    cdef real *W = parameters + f.tensors[0].padded_at
    cdef Own own
    if f.tensors[0].rate != 0.0:
        own = numbers_of(step, &f.tensors[0])
        n = link_columns(x, m, first, last)
        if own.zero_stays:
            update_touched(x, n, delta, f.z_row, vectors, step, &own, W, f.z_row, slot, scratch)
        else:
            update_all(x, first, last, delta, f.z_row, vectors, step, &own, W, f.z_row, slot,
                       scratch)
        unlink_columns(x.turned, n)
    if rest and f.tensors[1].rate != 0.0:
        own = numbers_of(step, &f.tensors[1])
        for j in range(f.z_row):
            scratch[j] = <real>0
        add_rows(<int>vectors, m, delta, f.z_row, scratch)  # BP3
        update_rows(step, &own, 1, vectors, scratch, parameters + f.tensors[1].padded_at, f.z_row,
                    slot)


cdef inline int sparse_tensors(Py_ssize_t n_in, Py_ssize_t n_z, Tensor *tensors) noexcept nogil:
    # whole rows, for they are read here and there; sums over them go as those of dense.pxd
    tensors[0] = Tensor(0, 0, n_in, n_z, 0, 0, 1.0, 1.0, PANEL)  # W
    tensors[1] = Tensor(0, 0, 1, n_z, 0, 0, 1.0, 0.0, 0)         # b
    return 2


cdef inline Link sparse_link() noexcept:
    return Link("sparse", sparse_forward, sparse_back, sparse_gradient, sparse_update,
                sparse_tangent, NULL, sparse_tensors, False, True, False, NULL, NULL, NULL)


# ---- the row of a scale --------------------------------------------------------------------------

cdef inline void sparse_scale_forward(const Layer *f, const real *parameters, bint padded,
                                      const Input *x, Py_ssize_t m, real *z,
                                      real *panel) noexcept nogil:
    # z_i = s_k x_i of every element, k its column                                          z  # OUT
    cdef const real *s = tensor(f, 0, parameters, padded)
    cdef Py_ssize_t i
    for i in range(x.starts[0], x.starts[m]):
        z[i] = x.a[i] * s[x.index[i]]


cdef inline void sparse_scale_tangent(const Layer *f, const real *parameters, const Input *x,
                                      Py_ssize_t m, real *dz, real *panel) noexcept nogil:
    sparse_scale_forward(f, parameters, False, x, m, dz, panel)


cdef inline void sparse_scale_back(const Layer *f, const real *parameters, bint padded,
                                   const Input *x, const real *delta, Py_ssize_t m,
                                   Py_ssize_t first, Py_ssize_t last, bint times, real *g,
                                   Py_ssize_t g_row, real *panel) noexcept nogil:
    # g_i = delta_i s_k                                                                     g  # OUT
    cdef const real *s = tensor(f, 0, parameters, padded)
    cdef Py_ssize_t i
    for i in range(x.starts[0], x.starts[m]):
        g[i] = delta[i] * s[x.index[i]]


cdef inline void add_listed_products(const Input *x, const real *delta, Py_ssize_t m,
                                     real *nabla_s) noexcept nogil:
    # nabla_s_k += sum_i delta_i x_i over the elements of column k, samples in order  nabla_s  # OUT
    cdef Py_ssize_t i
    for i in range(x.starts[0], x.starts[m]):
        nabla_s[x.index[i]] = fma(delta[i], x.a[i], nabla_s[x.index[i]])


cdef inline void sparse_scale_gradient(const Layer *f, const Input *x, const real *delta,
                                       Py_ssize_t m, int thread, int n_threads, bint anew,
                                       real *nabla, real *scratch, Ahead *ahead) noexcept nogil:
    cdef real *nabla_s = nabla + f.tensors[0].padded_at
    if thread == n_threads - 1 and f.tensors[0].rate != 0.0:
        if anew:
            memset(nabla_s, 0, f.z_row * sizeof(real))
        add_listed_products(x, delta, m, nabla_s)


cdef inline void sparse_scale_update(const Layer *f, const Step *step, const Input *x,
                                     const real *delta, Py_ssize_t m, Py_ssize_t first,
                                     Py_ssize_t last, bint rest, real *parameters, Py_ssize_t slot,
                                     real *scratch, Ahead *ahead) noexcept nogil:
    # all of s takes the step: it is as long as one column of W             parameters, slots  # OUT
    cdef real *sums = x.turned.sums
    cdef Own own
    cdef Py_ssize_t i
    if rest and f.tensors[0].rate != 0.0:
        own = numbers_of(step, &f.tensors[0])
        add_listed_products(x, delta, m, sums)
        update_rows(step, &own, 1, f.z_row / VECTOR_LANES, sums,
                    parameters + f.tensors[0].padded_at, f.z_row, slot)
        for i in range(x.starts[0], x.starts[m]):
            sums[x.index[i]] = <real>0


cdef inline int sparse_scale_tensors(Py_ssize_t n_in, Py_ssize_t n_z,
                                     Tensor *tensors) noexcept nogil:
    tensors[0] = Tensor(0, 0, 1, n_z, 0, 0, 1.0, 0.0, 0)  # s
    return 1


cdef inline Link sparse_scale_link() noexcept:
    return Link("sparse scale", sparse_scale_forward, sparse_scale_back, sparse_scale_gradient,
                sparse_scale_update, sparse_scale_tangent, NULL, sparse_scale_tensors, False,
                True, True, NULL, NULL, NULL)
