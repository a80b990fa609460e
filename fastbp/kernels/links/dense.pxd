"""The dense link: z = a W + b, its products cut into register tiles.

What belongs here: forward, recurrence (BP2), weight and bias gradient (BP3, BP4) alone and fused
with the step, tangent, and the link's row. What does not: tiles (blocking.pxd), formulas of
activations, costs, optimizers.
"""
from libc.stdint cimport int32_t
from libc.string cimport memset

from fastbp.kernels.arithmetic.blocking cimport (
    BLOCK_ROWS, TILE_SIZE, TILE_VECTORS, Stretch, balanced, bias_gradient, fetch, gradient_tile,
    is_large, packed_columns, rows_times, stretch_of, strip, tile_columns_to, tile_rows_from,
    transpose, upcoming)
from fastbp.kernels.arithmetic.lanes cimport lanes_back, lanes_forward, lanes_gradient
from fastbp.kernels.arithmetic.real cimport (
    PANEL, PER_LINE, TILE_ROWS, VECTOR_LANES, prefetch, real, splat, vec)
from fastbp.kernels.tables cimport (
    Active, Ahead, Input, LaneLayer, Layer, Link, Own, Step, Tensor, tensor)
from fastbp.kernels.update cimport add_row, numbers_of, update_rows


# Of W in its public layout rows lie n_z apart; in the trainer's copy columns lie in panels of PANEL
# (tables.pxd: Tensor), so that a tile reads and writes one piece of memory, and a panel of W is the
# right factor of a product as it lies.

cdef inline Py_ssize_t panel_at(const Tensor *t, bint padded, Py_ssize_t j) noexcept nogil:
    """Where the panel of columns [j, j + PANEL) begins in W; j is a multiple of PANEL."""
    return j * t.rows if padded else j


cdef inline Py_ssize_t panel_row(const Tensor *t, bint padded, Py_ssize_t j) noexcept nogil:
    """How far apart its rows lie."""
    return min(PANEL, t.row - j) if padded else t.n


cdef inline Py_ssize_t panel_vectors(const Tensor *t, Py_ssize_t j) noexcept nogil:
    return (min(PANEL, t.n - j) + VECTOR_LANES - 1) / VECTOR_LANES


cdef inline void weighted_input(const real *a, Py_ssize_t a_row, const Tensor *t, const real *W,
                                bint padded, const real *b, real *z, Py_ssize_t z_row,
                                Py_ssize_t m, real *panel) noexcept nogil:
    # z = a W + b   (m, n_z); `panel`: room for one of W                                   z  # OUT
    cdef Py_ssize_t j = 0, k, i, row, width
    cdef const real *B
    cdef bint copies = not padded and is_large(m, t.rows, t.n * <Py_ssize_t>sizeof(real))
    while j < t.n:
        B = W + panel_at(t, padded, j)
        row = panel_row(t, padded, j)
        if copies:  # columns side by side, once for all tiles of samples: 5 % of a step of case F
            width = panel_vectors(t, j) * VECTOR_LANES
            for k in range(t.rows):
                prefetch(B + (k + 16) * row)
                prefetch(B + (k + 16) * row + width)
                for i in range(width):
                    panel[k * PANEL + i] = B[k * row + i]
            B = panel
            row = PANEL
        rows_times(a, a_row, B, row, b + j if b != NULL else NULL, False, z + j, z_row, m, t.rows,
                   panel_vectors(t, j), B + t.rows * PANEL,
                   t.rows * PANEL / PER_LINE if padded and j + PANEL < t.n else 0)
        j += PANEL


cdef inline void propagate_back(const real *delta, Py_ssize_t delta_row, const Tensor *t,
                                const real *W, bint padded, Py_ssize_t first, Py_ssize_t last,
                                bint times, real *g, Py_ssize_t g_row, Py_ssize_t m,
                                real *panel) noexcept nogil:
    # BP2: g^{l-1} = delta^l W^T, or g^{l-1} = g^{l-1} * (delta^l W^T)   (m, n_in)         g  # OUT
    # columns [first, last) of it; `panel` holds TILE_VECTORS vectors of columns of W^T
    cdef Py_ssize_t k = first, i, j, p, width, row, step = VECTOR_LANES
    cdef Py_ssize_t rows = TILE_VECTORS * step
    cdef const real *B
    while k < last:
        width = last - k if last - k < rows else rows
        j = 0
        # by blocks in registers: 12 % of a 32-64-64-1 step, batch 32; what lies behind n_z is
        # turned too and never read
        while j < t.n:
            row = panel_row(t, padded, j)
            B = W + panel_at(t, padded, j) + k * row
            p = j
            while p < t.n and p < j + PANEL:
                i = 0
                while i < width:
                    transpose(<int>(width - i), B + i * row + p - j, row, panel + p * rows + i,
                              rows)
                    i += step
                p += step
            j += PANEL
        rows_times(delta, delta_row, panel, rows, NULL, times, g + k, g_row, m, t.n,
                   (width + step - 1) / step, panel, 0)
        k += rows


cdef inline void weight_gradient(const real *a, Py_ssize_t a_row, const real *delta,
                                 Py_ssize_t delta_row, Py_ssize_t m, const Tensor *t,
                                 Py_ssize_t first, Py_ssize_t last, real *nabla_W) noexcept nogil:
    # BP4: rows [first, last) of nabla_W += a^T delta   (n_in, n_z), samples in order
    #                                                                               nabla_W  # OUT
    cdef Py_ssize_t j = 0, v, k, R, V, row
    cdef real *at
    while j < t.n:
        row = panel_row(t, True, j)
        v = 0
        while v < panel_vectors(t, j):
            V = min(TILE_VECTORS, panel_vectors(t, j) - v)
            k = first
            while k < last:
                R = balanced(last - k)
                at = nabla_W + panel_at(t, True, j) + k * row + v * VECTOR_LANES
                gradient_tile(a + k, a_row, delta + j + v * VECTOR_LANES, delta_row, m, R, V, at,
                              at, row, NULL, at, row)
                k += R
            v += V
        j += PANEL


cdef inline void update_from_tile(const real *a, Py_ssize_t a_row, const real *delta,
                                  Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t R, Py_ssize_t V,
                                  const real *next, const Step *step, const Own *own, real *W,
                                  Py_ssize_t W_row, Py_ssize_t slot) noexcept nogil:
    # W <- W - step(a^T delta) of one tile; nabla_W is never stored                   W  # OUT
    # without a step it is, in the place of W
    cdef real nabla[TILE_SIZE]
    cdef real rate
    if step == NULL:
        gradient_tile(a, a_row, delta, delta_row, m, R, V, next, NULL, 0, NULL, W, W_row)
        return
    rate = <real>own.learning_rate
    if step.policy.in_registers and not own.shaped:
        # W - rate nabla from registers: 7 % of a step of case A
        gradient_tile(a, a_row, delta, delta_row, m, R, V, next, NULL, 0, &rate, W, W_row)
    else:
        gradient_tile(a, a_row, delta, delta_row, m, R, V, next, NULL, 0,
                      NULL, &nabla[0], V * VECTOR_LANES)
        update_rows(step, own, R, V, &nabla[0], W, W_row, slot)


cdef inline void weight_update(const real *a, Py_ssize_t a_row, const real *delta,
                               Py_ssize_t delta_row, Py_ssize_t m, const Tensor *t,
                               Py_ssize_t first, Py_ssize_t last, const Step *step, const Own *own,
                               real *W, Py_ssize_t slot, real *packed, Ahead *ahead) noexcept nogil:
    # BP4 fused with the step, for rows [first, last) of W; without a step nabla_W in its place
    #                                                                                      W  # OUT
    # `packed` holds m rows of packed_columns() and PANEL reals
    cdef Py_ssize_t j, v, k, s, i, R, V, row, strips, width = VECTOR_LANES
    cdef Py_ssize_t blocks, block
    cdef const real *next
    cdef real *at
    cdef real *delta_panel = packed + m * packed_columns()
    i = ((last - first + TILE_ROWS - 1) / TILE_ROWS) * ((t.n + 2 * width - 1) / (2 * width))
    if ahead.rows > 0 and i > 0:
        ahead.lines = (ahead.rows * ((ahead.row_bytes + 63) / 64) + i - 1) / i
    if not is_large(m, last - first, t.row * <Py_ssize_t>sizeof(real)):
        j = 0
        while j < t.n:
            row = panel_row(t, True, j)
            v = 0
            while v < panel_vectors(t, j):
                V = min(TILE_VECTORS, panel_vectors(t, j) - v)
                k = first
                at = W + panel_at(t, True, j) + v * width
                while k < last:
                    R = balanced(last - k)
                    next = upcoming(ahead, m, R, V, at + (k + R) * row)
                    update_from_tile(a + k, a_row, delta + j + v * width, delta_row, m, R, V, next,
                                     step, own, at + k * row, row, slot)
                    k += R
                v += V
            j += PANEL
        return
    # strips of a side by side, then a panel of delta, both for all tiles that need them
    while first < last:
        blocks = (last - first + BLOCK_ROWS - 1) / BLOCK_ROWS
        block = first + (last - first + blocks - 1) / blocks
        k = first
        strips = 0
        while k < block:
            R = balanced(block - k)
            for s in range(m):
                for i in range(strip()):  # what lies behind R, or behind a row, is not used
                    packed[(strips * m + s) * strip() + i] = a[s * a_row + k + i]
            strips += 1
            k += R
        j = 0
        while j < t.n:
            row = panel_row(t, True, j)
            for s in range(m):
                for i in range(min(PANEL, t.row - j)):
                    delta_panel[s * PANEL + i] = delta[s * delta_row + j + i]
            v = 0
            while v < panel_vectors(t, j):
                V = min(TILE_VECTORS, panel_vectors(t, j) - v)
                at = W + panel_at(t, True, j) + v * width
                k = first
                strips = 0
                while k < block:
                    R = balanced(block - k)
                    fetch(ahead)
                    update_from_tile(packed + strips * m * strip(), strip(),
                                     delta_panel + v * width, PANEL, m, R, V, at + (k + R) * row,
                                     step, own, at + k * row, row, slot)
                    strips += 1
                    k += R
                v += V
            j += PANEL
        first = block


# ---- columns that are 0 in the whole batch left out ----------------------------------------------

# The bits are those of all columns. A term 0 w changes no sum but one that is -0; and of a column
# of zeros the gradient is +0, whose step changes nothing where zeros stay.

cdef enum:
    FORWARD_BYTES = 32  # fetched a term: half of a line, the other half of X's rows in the update


cdef inline void active_input(const Active *x, Py_ssize_t a_row, const Tensor *t, const real *W,
                              const real *b, real *z, Py_ssize_t z_row,
                              Py_ssize_t m) noexcept nogil:
    # z = a W + b   (m, n_z)                                                              z  # OUT
    cdef Py_ssize_t j = 0, v, s, k, R, V, init_row
    cdef const real *B
    cdef const real *init
    cdef real *C
    cdef Stretch part
    while j < t.n:
        v = 0
        while v < panel_vectors(t, j):
            V = min(TILE_VECTORS, panel_vectors(t, j) - v)
            B = W + panel_at(t, True, j) + v * VECTOR_LANES
            s = 0
            while s < m:
                R = balanced(m - s)
                C = z + s * z_row + j + v * VECTOR_LANES
                init = b + j + v * VECTOR_LANES
                init_row = k = 0
                while k < x.n or k == 0:
                    part = stretch_of(x.ahead, x.n - k, FORWARD_BYTES, W)
                    tile_rows_from(<int>R, <int>V, part.K, x.a + s * a_row + k, a_row, B,
                                   panel_row(t, True, j), x.columns + k, part.next, part.step,
                                   init, init_row, C, z_row)
                    init = C
                    init_row = z_row
                    k += max(part.K, 1)
                s += R
            v += V
        j += PANEL


cdef inline Py_ssize_t active_before(const Active *x, Py_ssize_t k) noexcept nogil:
    """How many of the active columns come before column k."""
    cdef Py_ssize_t low = 0, high = x.n, middle
    while low < high:
        middle = (low + high) / 2
        if x.columns[middle] < k:
            low = middle + 1
        else:
            high = middle
    return low


cdef inline void active_update(const Active *x, Py_ssize_t a_row, const real *delta,
                               Py_ssize_t delta_row, Py_ssize_t m, const Tensor *t,
                               Py_ssize_t first, Py_ssize_t last, const Step *step, const Own *own,
                               real *W, Py_ssize_t slot, Ahead *ahead) noexcept nogil:
    # BP4 fused with the step, for the active rows of W in [first, last)               W  # OUT
    cdef Py_ssize_t j = 0, v, k, R, V, terms, fetched
    first = active_before(x, first)
    last = active_before(x, last)
    terms = m * ((last - first + TILE_ROWS - 1) / TILE_ROWS) * ((t.n + 2 * VECTOR_LANES - 1)
                                                                / (2 * VECTOR_LANES))
    fetched = min(64, 1 + (ahead.rows * ahead.row_bytes - ahead.at) / max(terms, 1))
    while j < t.n:
        v = 0
        while v < panel_vectors(t, j):
            V = min(TILE_VECTORS, panel_vectors(t, j) - v)
            k = first
            while k < last:
                R = balanced(last - k)
                update_active_tile(x.a + k, a_row, delta + j + v * VECTOR_LANES, delta_row, m, R, V,
                                   step, own, W + panel_at(t, True, j) + v * VECTOR_LANES,
                                   panel_row(t, True, j), x.columns + k, slot, fetched, ahead)
                k += R
            v += V
        j += PANEL


cdef inline void update_active_tile(const real *a, Py_ssize_t a_row, const real *delta,
                                    Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t R,
                                    Py_ssize_t V, const Step *step, const Own *own, real *W,
                                    Py_ssize_t W_row, const int32_t *rows, Py_ssize_t slot,
                                    Py_ssize_t fetched, Ahead *ahead) noexcept nogil:
    # rows[0], ..., rows[R - 1] of W <- W - step(a^T delta)                                W  # OUT
    cdef real nabla[TILE_SIZE]
    cdef real rate = <real>own.learning_rate
    cdef Py_ssize_t r
    cdef Stretch part
    if step.policy.in_registers and not own.shaped:
        part = stretch_of(ahead, m, max(1, min(fetched, ahead.row_bytes / m)), W)
        tile_columns_to(<int>R, <int>V, m, a, a_row, delta, delta_row, part.next, part.step,
                        &rate, W, W_row, rows)
        return
    gradient_tile(a, a_row, delta, delta_row, m, R, V, W, NULL, 0, NULL, &nabla[0],
                  V * VECTOR_LANES)
    for r in range(R):
        update_rows(step, own, 1, V, &nabla[r * V * VECTOR_LANES], W + rows[r] * W_row, W_row, slot)


# ---- one network a lane --------------------------------------------------------------------------

cdef inline void dense_forward_lanes(const LaneLayer *f, const vec *parameters, const vec *a,
                                     Py_ssize_t a_row, Py_ssize_t m, vec *z) noexcept nogil:
    # z = a W + b   (m, n_z)                                                              z  # OUT
    lanes_forward(m, f.n_z, f.n_in, a, a_row, parameters + f.tensors[0].at, f.tensors[0].row,
                  parameters + f.tensors[1].at, z, f.row)


cdef inline void dense_back_lanes(const LaneLayer *f, const vec *parameters, const vec *delta,
                                  Py_ssize_t m, vec *g, Py_ssize_t g_row) noexcept nogil:
    # BP2: g = g * (delta W^T)   (m, n_in)                                                g  # OUT
    lanes_back(m, f.n_in, f.n_z, delta, f.row, parameters + f.tensors[0].at, f.tensors[0].row, g,
               g_row)


cdef inline void dense_nabla_lanes(const LaneLayer *f, int i, Py_ssize_t k, Py_ssize_t R,
                                   Py_ssize_t j, Py_ssize_t V, const vec *a, Py_ssize_t a_row,
                                   const vec *delta, Py_ssize_t m, const vec *minus_rate,
                                   bint adds, vec *C, Py_ssize_t C_row) noexcept nogil:
    # BP3, BP4: b is the row of W of an input that is 1                                   C  # OUT
    cdef vec one = splat(<real>1)
    lanes_gradient(R, V, m, <const vec *>&one if i == 1 else a + k, 0 if i == 1 else a_row,
                   delta + j, f.row, minus_rate, adds, C, C_row)


# ---- the row -------------------------------------------------------------------------------------

cdef inline void dense_forward(const Layer *f, const real *parameters, bint padded, const Input *x,
                               Py_ssize_t m, real *z, real *panel) noexcept nogil:
    if x.active != NULL:
        active_input(x.active, x.row, &f.tensors[0], tensor(f, 0, parameters, True),
                     tensor(f, 1, parameters, True), z, f.z_row, m)
        return
    weighted_input(x.a, x.row, &f.tensors[0], tensor(f, 0, parameters, padded), padded,
                   tensor(f, 1, parameters, padded), z, f.z_row, m, panel)


cdef inline void dense_tangent(const Layer *f, const real *parameters, const Input *x,
                               Py_ssize_t m, real *dz, real *panel) noexcept nogil:
    # dz = da W   (m, n_z)                                                               dz  # OUT
    weighted_input(x.a, x.row, &f.tensors[0], tensor(f, 0, parameters, False), False, NULL, dz,
                   f.z_row, m, panel)


cdef inline void dense_back(const Layer *f, const real *parameters, bint padded, const Input *x,
                            const real *delta, Py_ssize_t m, Py_ssize_t first, Py_ssize_t last,
                            bint times, real *g, Py_ssize_t g_row, real *panel) noexcept nogil:
    propagate_back(delta, f.z_row, &f.tensors[0], tensor(f, 0, parameters, padded), padded, first,
                   last, times, g, g_row, m, panel)


cdef inline void dense_gradient(const Layer *f, const Input *x, const real *delta, Py_ssize_t m,
                                int thread, int n_threads, bint anew, real *nabla,
                                real *scratch, Ahead *ahead) noexcept nogil:
    # BP3, BP4                                                                        nabla  # OUT
    cdef Py_ssize_t vectors = (f.n_z + VECTOR_LANES - 1) / VECTOR_LANES, j = 0, row
    cdef Py_ssize_t first = f.n_in * thread / n_threads, last = f.n_in * (thread + 1) / n_threads
    cdef const Tensor *t = &f.tensors[0]
    cdef real *nabla_W = nabla + t.padded_at
    cdef real *nabla_b = nabla + f.tensors[1].padded_at
    if t.rate != 0.0 and scratch != NULL:
        weight_update(x.a, x.row, delta, f.z_row, m, t, first, last, NULL, NULL, nabla_W, 0,
                      scratch, ahead)
    elif t.rate != 0.0:
        while anew and j < t.n:
            row = panel_row(t, True, j)
            memset(nabla_W + panel_at(t, True, j) + first * row, 0,
                   (last - first) * row * sizeof(real))
            j += PANEL
        weight_gradient(x.a, x.row, delta, f.z_row, m, t, first, last, nabla_W)
    if thread == n_threads - 1 and f.tensors[1].rate != 0.0:
        if anew:
            memset(nabla_b, 0, f.z_row * sizeof(real))
        bias_gradient(delta, f.z_row, m, vectors, nabla_b)


cdef inline void dense_update(const Layer *f, const Step *step, const Input *x, const real *delta,
                              Py_ssize_t m, Py_ssize_t first, Py_ssize_t last, bint rest,
                              real *parameters, Py_ssize_t slot, real *scratch,
                              Ahead *ahead) noexcept nogil:
    # BP3, BP4 and the step; scratch: nabla_b, or columns of a              parameters, slots  # OUT
    cdef Py_ssize_t vectors = (f.n_z + VECTOR_LANES - 1) / VECTOR_LANES, j
    cdef Own own
    if f.tensors[0].rate != 0.0 and x.active != NULL:
        own = numbers_of(step, &f.tensors[0])
        active_update(x.active, x.row, delta, f.z_row, m, &f.tensors[0], first, last, step, &own,
                      parameters + f.tensors[0].padded_at, slot, ahead)
    elif f.tensors[0].rate != 0.0:
        own = numbers_of(step, &f.tensors[0])
        weight_update(x.a, x.row, delta, f.z_row, m, &f.tensors[0], first, last, step, &own,
                      parameters + f.tensors[0].padded_at, slot, scratch, ahead)
    if rest and f.tensors[1].rate != 0.0:
        own = numbers_of(step, &f.tensors[1])
        for j in range(f.z_row):
            scratch[j] = <real>0
        bias_gradient(delta, f.z_row, m, vectors, scratch)
        update_rows(step, &own, 1, vectors, scratch, parameters + f.tensors[1].padded_at, f.z_row,
                    slot)


cdef inline void dense_learn(const Layer *f, const Input *x, const real *delta, real minus_rate,
                             real *parameters) noexcept nogil:
    # W_k <- W_k + minus_rate a_k delta, b <- b + minus_rate delta                parameters  # OUT
    cdef real *W = parameters + f.tensors[0].at
    cdef Py_ssize_t k
    for k in range(f.n_in):
        add_row(f.n_z, x.a[k], delta, minus_rate, W + k * f.n_z)
    add_row(f.n_z, <real>1, delta, minus_rate, parameters + f.tensors[1].at)


cdef inline int dense_tensors(Py_ssize_t n_in, Py_ssize_t n_z, Tensor *tensors) noexcept nogil:
    tensors[0] = Tensor(0, 0, n_in, n_z, 0, PANEL, 1.0, 1.0, 0)  # W
    tensors[1] = Tensor(0, 0, 1, n_z, 0, 0, 1.0, 0.0, 0)         # b
    return 2


cdef inline Link dense_link() noexcept:
    return Link("dense", dense_forward, dense_back, dense_gradient, dense_update, dense_tangent,
                dense_learn, dense_tensors, True, False, False, dense_forward_lanes,
                dense_back_lanes, dense_nabla_lanes)
