"""The dense link: z = a W + b, its products cut into register tiles.

What belongs here: forward, recurrence (BP2), weight and bias gradient (BP3, BP4) alone and fused
with the step, tangent, and the link's row. What does not: tiles (blocking.pxd), formulas of
activations, costs, optimizers.
"""
from libc.string cimport memset

from fastbp.kernels.arithmetic.blocking cimport (
    PACKED_COLUMNS, PANEL, TILE_SIZE, TILE_VECTORS, balanced, fetch, is_large, rows_times,
    tile_columns, transpose)
from fastbp.kernels.arithmetic.caches cimport HALF_OF_IT_BYTES
from fastbp.kernels.arithmetic.real cimport TILE_ROWS, VECTOR_LANES, prefetch, real
from fastbp.kernels.tables cimport Ahead, Input, Layer, Link, Own, Step, Tensor
from fastbp.kernels.update cimport numbers_of, update_rows


cdef inline void weighted_input(const real *a, Py_ssize_t a_row, const real *W, Py_ssize_t W_row,
                                const real *b, real *z, Py_ssize_t z_row, Py_ssize_t m,
                                Py_ssize_t n_in, Py_ssize_t n_z, real *panel) noexcept nogil:
    # z = a W + b   (m, n_z); `panel` holds PANEL columns of W                             z  # OUT
    cdef Py_ssize_t vectors = (n_z + VECTOR_LANES - 1) / VECTOR_LANES, j = 0, k, i, V
    cdef Py_ssize_t columns = TILE_VECTORS * VECTOR_LANES
    if not is_large(m, n_in, W_row * <Py_ssize_t>sizeof(real)):
        rows_times(a, a_row, W, W_row, b, False, z, z_row, m, n_in, vectors)
        return
    # columns side by side, once for all tiles of samples: 5 % of a step of case F
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        for k in range(n_in):
            prefetch(W + (k + 16) * W_row + j * VECTOR_LANES)
            prefetch(W + (k + 16) * W_row + (j + 1) * VECTOR_LANES)
            for i in range(V * VECTOR_LANES):
                panel[k * columns + i] = W[k * W_row + j * VECTOR_LANES + i]
        rows_times(a, a_row, panel, columns, b + j * VECTOR_LANES if b != NULL else NULL, False,
                   z + j * VECTOR_LANES, z_row, m, n_in, V)
        j += V


cdef inline void propagate_back(const real *delta, Py_ssize_t delta_row, const real *W,
                                Py_ssize_t W_row, bint times, real *g, Py_ssize_t g_row,
                                Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_z,
                                real *panel) noexcept nogil:
    # BP2: g^{l-1} = delta^l W^T, or g^{l-1} = g^{l-1} * (delta^l W^T)   (m, n_in)         g  # OUT
    # `panel` holds PANEL columns of W^T
    cdef Py_ssize_t k = 0, i, j, width, step = VECTOR_LANES
    cdef Py_ssize_t rows = TILE_VECTORS * step
    while k < n_in:
        width = n_in - k if n_in - k < rows else rows
        i = 0
        while i < rows and n_z == 1:  # a column: 6 % of a step of case E
            panel[i] = W[(k + i) * W_row] if i < width else <real>0
            i += 1
        while i < width:
            j = 0
            # by blocks in registers: 12 % of a 32-64-64-1 step, batch 32; what lies behind n_z is
            # turned too and never read
            while j < n_z:
                transpose(<int>(width - i), W + (k + i) * W_row + j, W_row, panel + j * rows + i,
                          rows)
                j += step
            i += step
        rows_times(delta, delta_row, panel, rows, NULL, times, g + k, g_row, m, n_z,
                   (width + step - 1) / step)
        k += rows


cdef inline void gradient_tile(const real *a, Py_ssize_t a_row, const real *delta,
                               Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t R, Py_ssize_t V,
                               const real *init, Py_ssize_t init_row, const real *rate,
                               real *nabla, Py_ssize_t nabla_row) noexcept nogil:
    # nabla = init + a^T delta; with a rate W -= rate a^T delta in its place          nabla  # OUT
    tile_columns(<int>R, <int>V, m, a, a_row, delta, delta_row, init, init_row, rate, nabla,
                 nabla_row)


cdef inline void weight_gradient(const real *a, Py_ssize_t a_row, const real *delta,
                                 Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t n_in,
                                 Py_ssize_t vectors, real *nabla_W,
                                 Py_ssize_t nabla_row) noexcept nogil:
    # BP4: nabla_W += a^T delta   (n_in, n_z), samples in order                     nabla_W  # OUT
    cdef Py_ssize_t j = 0, k, R, V, step = VECTOR_LANES
    cdef real *at
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        k = 0
        while k < n_in:
            R = balanced(n_in - k)
            at = nabla_W + k * nabla_row + j * step
            gradient_tile(a + k, a_row, delta + j * step, delta_row, m, R, V, at, nabla_row,
                          NULL, at, nabla_row)
            k += R
        j += V


cdef inline void bias_gradient(const real *delta, Py_ssize_t delta_row, Py_ssize_t m,
                               Py_ssize_t vectors, real *nabla_b) noexcept nogil:
    # BP3: nabla_b += sum_s delta_s, the weight gradient of an input that is 1      nabla_b  # OUT
    cdef real one = <real>1
    cdef Py_ssize_t j = 0, V
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        gradient_tile(&one, 0, delta + j * VECTOR_LANES, delta_row, m, 1, V,
                      nabla_b + j * VECTOR_LANES, 0, NULL,
                      nabla_b + j * VECTOR_LANES, 0)
        j += V


cdef inline void update_from_tile(const real *a, Py_ssize_t a_row, const real *delta,
                                  Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t R, Py_ssize_t V,
                                  const Step *step, const Own *own, real *W, Py_ssize_t W_row,
                                  Py_ssize_t slot) noexcept nogil:
    # W <- W - step(a^T delta) of one tile; nabla_W is never stored                   W  # OUT
    cdef real nabla[TILE_SIZE]
    cdef real rate = <real>own.learning_rate
    if step.policy.in_registers and not own.shaped:
        # W - rate nabla from registers: 7 % of a step of case A
        gradient_tile(a, a_row, delta, delta_row, m, R, V, NULL, 0, &rate, W, W_row)
    else:
        gradient_tile(a, a_row, delta, delta_row, m, R, V, NULL, 0,
                      NULL, &nabla[0], V * VECTOR_LANES)
        update_rows(step, own, R, V, &nabla[0], W, W_row, slot)


cdef inline void weight_update(const real *a, Py_ssize_t a_row, const real *delta,
                               Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t n_in,
                               Py_ssize_t vectors, const Step *step, const Own *own, real *W,
                               Py_ssize_t W_row, Py_ssize_t slot, real *packed,
                               Ahead *ahead) noexcept nogil:
    # BP4 fused with the step, for n_in rows of W; `packed` holds (m, PACKED_COLUMNS)      W  # OUT
    cdef Py_ssize_t j = 0, k = 0, s, i, R, V, width = VECTOR_LANES, first = 0, last, block
    i = ((n_in + TILE_ROWS - 1) / TILE_ROWS) * ((vectors + TILE_VECTORS - 1) / TILE_VECTORS)
    if ahead.rows > 0 and i > 0:
        ahead.lines = (ahead.rows * ((ahead.row_bytes + 63) / 64) + i - 1) / i
    if not is_large(m, n_in, W_row * <Py_ssize_t>sizeof(real)):
        while j < vectors:
            V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
            k = 0
            while k < n_in:
                R = balanced(n_in - k)
                fetch(ahead)
                update_from_tile(a + k, a_row, delta + j * width, delta_row, m, R, V, step,
                                 own, W + k * W_row + j * width, W_row, slot)
                k += R
            j += V
        return
    # columns of delta that stay in the cache; in them rows of a tile at a time, their columns of a
    # side by side: 9 % of a step of case F
    block = max(HALF_OF_IT_BYTES / (m * <Py_ssize_t>sizeof(real) * width), 2 * TILE_VECTORS)
    while first < vectors:
        last = min(first + block, vectors)
        k = 0
        while k < n_in:
            R = balanced(n_in - k)
            for s in range(m):
                for i in range(PACKED_COLUMNS):  # what lies behind R, or behind a row, is not used
                    packed[s * PACKED_COLUMNS + i] = a[s * a_row + k + i]
            j = first
            while j < last:
                V = last - j if last - j < TILE_VECTORS else TILE_VECTORS
                for i in range(R):
                    prefetch(W + (k + i) * W_row + j * width)
                    prefetch(W + (k + i) * W_row + (j + 1) * width)
                fetch(ahead)
                update_from_tile(packed, PACKED_COLUMNS, delta + j * width, delta_row, m, R, V,
                                 step, own, W + k * W_row + j * width, W_row, slot)
                j += V
            k += R
        first = last


# ---- the row -------------------------------------------------------------------------------------

cdef inline const real *tensor(const Layer *f, int i, const real *parameters,
                               bint padded) noexcept nogil:
    return parameters + (f.tensors[i].padded_at if padded else f.tensors[i].at)


cdef inline void dense_forward(const Layer *f, const real *parameters, bint padded, const Input *x,
                               Py_ssize_t m, real *z, real *panel) noexcept nogil:
    weighted_input(x.a, x.row, tensor(f, 0, parameters, padded), f.z_row if padded else f.n_z,
                   tensor(f, 1, parameters, padded), z, f.z_row, m, f.n_in, f.n_z, panel)


cdef inline void dense_tangent(const Layer *f, const real *parameters, const Input *x,
                               Py_ssize_t m, real *dz, real *panel) noexcept nogil:
    # dz = da W   (m, n_z)                                                               dz  # OUT
    weighted_input(x.a, x.row, tensor(f, 0, parameters, False), f.n_z, NULL, dz, f.z_row, m, f.n_in,
                   f.n_z, panel)


cdef inline void dense_back(const Layer *f, const real *parameters, bint padded, const real *delta,
                            Py_ssize_t m, bint times, real *g, Py_ssize_t g_row,
                            real *panel) noexcept nogil:
    propagate_back(delta, f.z_row, tensor(f, 0, parameters, padded), f.z_row if padded else f.n_z,
                   times, g, g_row, m, f.n_in, f.n_z, panel)


cdef inline void dense_gradient(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                                int thread, int n_threads, bint anew, real *nabla) noexcept nogil:
    # BP3, BP4                                                                        nabla  # OUT
    cdef Py_ssize_t vectors = (f.n_z + VECTOR_LANES - 1) / VECTOR_LANES
    cdef Py_ssize_t first = f.n_in * thread / n_threads, last = f.n_in * (thread + 1) / n_threads
    cdef real *nabla_W = nabla + f.tensors[0].padded_at + first * f.z_row
    cdef real *nabla_b = nabla + f.tensors[1].padded_at
    if f.tensors[0].rate != 0.0:
        if anew:
            memset(nabla_W, 0, (last - first) * f.z_row * sizeof(real))
        weight_gradient(x.a + first, x.row, delta, f.z_row, m, last - first, vectors, nabla_W,
                        f.z_row)
    if thread == n_threads - 1 and f.tensors[1].rate != 0.0:
        if anew:
            memset(nabla_b, 0, f.z_row * sizeof(real))
        bias_gradient(delta, f.z_row, m, vectors, nabla_b)


cdef inline void dense_update(const Layer *f, const Step *step, const Input *x, const real *delta,
                              Py_ssize_t m, int thread, int n_threads, real *parameters,
                              Py_ssize_t slot, real *scratch, Ahead *ahead) noexcept nogil:
    # BP3, BP4 and the step; scratch: nabla_b, or columns of a              parameters, slots  # OUT
    cdef Py_ssize_t vectors = (f.n_z + VECTOR_LANES - 1) / VECTOR_LANES, j
    cdef Py_ssize_t first = f.n_in * thread / n_threads, last = f.n_in * (thread + 1) / n_threads
    cdef Own own
    if f.tensors[0].rate != 0.0:
        own = numbers_of(step, &f.tensors[0])
        weight_update(x.a + first, x.row, delta, f.z_row, m, last - first, vectors, step, &own,
                      parameters + f.tensors[0].padded_at + first * f.z_row, f.z_row, slot, scratch,
                      ahead)
    if thread == n_threads - 1 and f.tensors[1].rate != 0.0:
        own = numbers_of(step, &f.tensors[1])
        for j in range(f.z_row):
            scratch[j] = <real>0
        bias_gradient(delta, f.z_row, m, vectors, scratch)
        update_rows(step, &own, 1, vectors, scratch, parameters + f.tensors[1].padded_at, f.z_row,
                    slot)


cdef inline int dense_tensors(Py_ssize_t n_in, Py_ssize_t n_z, Tensor *tensors) noexcept nogil:
    tensors[0] = Tensor(0, 0, n_in, n_z, 0, 1.0, 1.0)  # W
    tensors[1] = Tensor(0, 0, 1, n_z, 0, 1.0, 0.0)     # b
    return 2


cdef inline Link dense_link() noexcept:
    return Link("dense", dense_forward, dense_back, dense_gradient, dense_update, dense_tangent,
                dense_tensors)
