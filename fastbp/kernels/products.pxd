"""The three products: forward, delta recurrence (BP2), weight gradient with update (BP3, BP4).

What belongs here: how a matrix product is cut into register tiles (tile.h). What does not: formulas
of activations, costs, optimizers.

Samples are rows. Rows are padded to 64 bytes at every level, so tiles have no tails: `vectors`
below counts whole vectors, and what lies in the padding is dropped or zero.
"""
from cython cimport floating as real
from fastbp.kernels.update cimport LANES_f32, LANES_f64, SGD, Step, is_shaped, update, v_f32, v_f64

cdef extern from "tile.h":
    const int TILE_ROWS "FASTBP_TILE_ROWS"
    const int TILE_VECTORS "FASTBP_TILE_VECTORS"
    void tile_rows_f32(int, int, Py_ssize_t, const float *, Py_ssize_t, const float *, Py_ssize_t,
                       const float *, bint, float *, Py_ssize_t) noexcept nogil
    void tile_rows_f64(int, int, Py_ssize_t, const double *, Py_ssize_t, const double *, Py_ssize_t,
                       const double *, bint, double *, Py_ssize_t) noexcept nogil
    void tile_columns_f32(int, int, Py_ssize_t, const float *, Py_ssize_t, const float *,
                          Py_ssize_t, const float *, Py_ssize_t, const float *, float *,
                          Py_ssize_t) noexcept nogil
    void tile_columns_f64(int, int, Py_ssize_t, const double *, Py_ssize_t, const double *,
                          Py_ssize_t, const double *, Py_ssize_t, const double *, double *,
                          Py_ssize_t) noexcept nogil

    void prefetch "FASTBP_PREFETCH"(const void *) noexcept nogil
    void prefetch_L2 "FASTBP_PREFETCH_L2"(const void *) noexcept nogil
    void transpose_f32(int, const float *, Py_ssize_t, float *, Py_ssize_t) noexcept nogil
    void transpose_f64(int, const double *, Py_ssize_t, double *, Py_ssize_t) noexcept nogil

cdef enum:
    PANEL = 32  # at most TILE_VECTORS vectors of the widest level: columns of a packed W^T panel
    TILE_SIZE = 14 * PANEL  # elements of the largest tile of any level
    PACKED_COLUMNS = 16  # at least TILE_ROWS of any level


cdef inline Py_ssize_t lanes(const real *kind) noexcept nogil:
    return LANES_f32 if real is float else LANES_f64


cdef inline Py_ssize_t balanced(Py_ssize_t left) noexcept nogil:
    """Rows of the next tile, so that `left` rows make tiles of nearly equal height (64: 13 13 13 13
    12, not 14 14 14 14 8)."""
    cdef Py_ssize_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS
    return (left + tiles - 1) / tiles


cdef inline void rows_times(const real *A, Py_ssize_t A_row, const real *B, Py_ssize_t B_row,
                            const real *b, bint times, real *C, Py_ssize_t C_row, Py_ssize_t m,
                            Py_ssize_t K, Py_ssize_t vectors) noexcept nogil:
    # C = A B + b, or C = C * (A B)                                                       C  # OUT
    # C (m, vectors), A (m, K), B (K, vectors), b (vectors,) or NULL
    cdef Py_ssize_t j = 0, s, R, V, step = lanes(A)
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        s = 0
        while s < m:
            R = balanced(m - s)
            if real is float:
                tile_rows_f32(<int>R, <int>V, K, A + s * A_row, A_row, B + j * step, B_row,
                              b + j * step if b != NULL else NULL, times,
                              C + s * C_row + j * step, C_row)
            else:
                tile_rows_f64(<int>R, <int>V, K, A + s * A_row, A_row, B + j * step, B_row,
                              b + j * step if b != NULL else NULL, times,
                              C + s * C_row + j * step, C_row)
            s += R
        j += V


cdef inline bint is_large(Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t row_bytes) noexcept nogil:
    """Whether W overflows the second-level cache and copies are made for enough tiles to pay."""
    return m >= 3 * TILE_ROWS and n_in * row_bytes >= (1 << 20)


cdef inline void weighted_input(const real *a, Py_ssize_t a_row, const real *W, Py_ssize_t W_row,
                                const real *b, real *z, Py_ssize_t z_row, Py_ssize_t m,
                                Py_ssize_t n_in, Py_ssize_t n_z, real *panel) noexcept nogil:
    # z = a W + b   (m, n_z); `panel` holds PANEL columns of W                             z  # OUT
    cdef Py_ssize_t vectors = (n_z + lanes(a) - 1) / lanes(a), j = 0, k, i, V
    cdef Py_ssize_t columns = TILE_VECTORS * lanes(a)
    if not is_large(m, n_in, W_row * <Py_ssize_t>sizeof(real)):
        rows_times(a, a_row, W, W_row, b, False, z, z_row, m, n_in, vectors)
        return
    # columns side by side, once for all tiles of samples: 5 % of a step of case F
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        for k in range(n_in):
            prefetch(W + (k + 16) * W_row + j * lanes(a))
            prefetch(W + (k + 16) * W_row + (j + 1) * lanes(a))
            for i in range(V * lanes(a)):
                panel[k * columns + i] = W[k * W_row + j * lanes(a) + i]
        rows_times(a, a_row, panel, columns, b + j * lanes(a) if b != NULL else NULL, False,
                   z + j * lanes(a), z_row, m, n_in, V)
        j += V


cdef inline void propagate_back(const real *delta, Py_ssize_t delta_row, const real *W,
                                Py_ssize_t W_row, bint times, real *g, Py_ssize_t g_row,
                                Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t n_z,
                                real *panel) noexcept nogil:
    # BP2: g^{l-1} = delta^l W^T, or g^{l-1} = g^{l-1} * (delta^l W^T)   (m, n_in)         g  # OUT
    # `panel` holds PANEL columns of W^T
    cdef Py_ssize_t k = 0, i, j, width, step = lanes(delta)
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
                if real is float:
                    transpose_f32(<int>(width - i), W + (k + i) * W_row + j, W_row,
                                  panel + j * rows + i, rows)
                else:
                    transpose_f64(<int>(width - i), W + (k + i) * W_row + j, W_row,
                                  panel + j * rows + i, rows)
                j += step
            i += step
        rows_times(delta, delta_row, panel, rows, <const real *>NULL, times, g + k, g_row, m, n_z,
                   (width + step - 1) / step)
        k += rows


cdef inline void gradient_tile(const real *a, Py_ssize_t a_row, const real *delta,
                               Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t R, Py_ssize_t V,
                               const real *init, Py_ssize_t init_row, const real *rate,
                               real *nabla, Py_ssize_t nabla_row) noexcept nogil:
    # nabla = init + a^T delta; with a rate W -= rate a^T delta in its place          nabla  # OUT
    if real is float:
        tile_columns_f32(<int>R, <int>V, m, a, a_row, delta, delta_row, init, init_row, rate,
                         nabla, nabla_row)
    else:
        tile_columns_f64(<int>R, <int>V, m, a, a_row, delta, delta_row, init, init_row, rate,
                         nabla, nabla_row)


cdef inline void weight_gradient(const real *a, Py_ssize_t a_row, const real *delta,
                                 Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t n_in,
                                 Py_ssize_t vectors, real *nabla_W,
                                 Py_ssize_t nabla_row) noexcept nogil:
    # BP4: nabla_W += a^T delta   (n_in, n_z), samples in order                     nabla_W  # OUT
    cdef Py_ssize_t j = 0, k, R, V, step = lanes(a)
    cdef real *at
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        k = 0
        while k < n_in:
            R = balanced(n_in - k)
            at = nabla_W + k * nabla_row + j * step
            gradient_tile(a + k, a_row, delta + j * step, delta_row, m, R, V, at, nabla_row,
                          <const real *>NULL, at, nabla_row)
            k += R
        j += V


cdef inline void bias_gradient(const real *delta, Py_ssize_t delta_row, Py_ssize_t m,
                               Py_ssize_t vectors, real *nabla_b) noexcept nogil:
    # BP3: nabla_b += sum_s delta_s, the weight gradient of an input that is 1      nabla_b  # OUT
    cdef real one = <real>1
    cdef Py_ssize_t j = 0, V
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        gradient_tile(&one, 0, delta + j * lanes(delta), delta_row, m, 1, V,
                      nabla_b + j * lanes(delta), 0, <const real *>NULL,
                      nabla_b + j * lanes(delta), 0)
        j += V


cdef inline void update_rows(const Step *step, bint is_weight, Py_ssize_t R, Py_ssize_t V,
                             const real *nabla, real *W, Py_ssize_t W_row,
                             Py_ssize_t slot) noexcept nogil:
    """Apply one step; W_row and slot count elements.                             W, slots  # OUT"""
    if real is float:
        update(step, is_weight, <int>R, <int>V, <const v_f32 *>nabla, <v_f32 *>W,
               W_row / LANES_f32, slot / LANES_f32)
    else:
        update(step, is_weight, <int>R, <int>V, <const v_f64 *>nabla, <v_f64 *>W,
               W_row / LANES_f64, slot / LANES_f64)


cdef struct Ahead:
    # rows of X that the next batch will gather, fetched a few lines a tile: memory works while the
    # tiles do (a fifth of a step of case A where X is larger than the caches)
    const char *X
    const Py_ssize_t *order     # the next row's place
    Py_ssize_t rows, row_bytes, at, lines  # rows left, bytes of the first that are done, lines a tile


cdef inline void fetch(Ahead *ahead) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(ahead.lines):
        if ahead.rows == 0:
            return
        prefetch_L2(ahead.X + ahead.order[0] * ahead.row_bytes + ahead.at)
        ahead.at += 64
        if ahead.at >= ahead.row_bytes:
            ahead.at = 0
            ahead.order += 1
            ahead.rows -= 1


cdef inline void update_from_tile(const real *a, Py_ssize_t a_row, const real *delta,
                                  Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t R, Py_ssize_t V,
                                  const Step *step, real *W, Py_ssize_t W_row,
                                  Py_ssize_t slot) noexcept nogil:
    # W <- W - step(a^T delta) of one tile; nabla_W is never stored                   W  # OUT
    cdef real nabla[TILE_SIZE]
    cdef real rate = <real>step.learning_rate
    if step.policy == SGD and not is_shaped(step, True):
        # W - rate nabla from registers: 7 % of a step of case A
        gradient_tile(a, a_row, delta, delta_row, m, R, V, <const real *>NULL, 0, &rate, W, W_row)
    else:
        gradient_tile(a, a_row, delta, delta_row, m, R, V, <const real *>NULL, 0,
                      <const real *>NULL, &nabla[0], V * lanes(a))
        update_rows(step, True, R, V, &nabla[0], W, W_row, slot)


cdef inline void weight_update(const real *a, Py_ssize_t a_row, const real *delta,
                               Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t n_in,
                               Py_ssize_t vectors, const Step *step, real *W, Py_ssize_t W_row,
                               Py_ssize_t slot, real *packed, Ahead *ahead) noexcept nogil:
    # BP4 fused with the step, for n_in rows of W; `packed` holds (m, PACKED_COLUMNS)      W  # OUT
    cdef Py_ssize_t j = 0, k = 0, s, i, R, V, width = lanes(a)
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
                                 W + k * W_row + j * width, W_row, slot)
                k += R
            j += V
        return
    # rows of a tile at a time, their columns of a side by side: 9 % of a step of case F
    while k < n_in:
        R = balanced(n_in - k)
        for s in range(m):
            for i in range(PACKED_COLUMNS):  # what lies behind R, or behind a row, is not used
                packed[s * PACKED_COLUMNS + i] = a[s * a_row + k + i]
        j = 0
        while j < vectors:
            V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
            for i in range(R):
                prefetch(W + (k + i) * W_row + j * width)
                prefetch(W + (k + i) * W_row + (j + 1) * width)
            fetch(ahead)
            update_from_tile(packed, PACKED_COLUMNS, delta + j * width, delta_row, m, R, V, step,
                             W + k * W_row + j * width, W_row, slot)
            j += V
        k += R
