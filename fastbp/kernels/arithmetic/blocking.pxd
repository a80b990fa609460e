"""How a matrix product is cut into register tiles (tile.h).

What belongs here: sizes of tiles and panels, one tile or row of tiles at a time, what is fetched
ahead. What does not: formulas, which product a kind of link needs (links/).

Samples are rows. Rows are padded to 64 bytes at every level, so tiles have no tails: `vectors`
below counts whole vectors, and what lies in the padding is dropped or zero.
"""
from libc.stdint cimport int32_t

from fastbp.kernels.arithmetic.caches cimport SECOND_LEVEL_BYTES
from fastbp.kernels.arithmetic.real cimport PER_LINE, TILE_ROWS, VECTOR_LANES, prefetch_L2, real
from fastbp.kernels.tables cimport Ahead

cdef extern from "arithmetic/tile.h":
    const int TILE_VECTORS "FASTBP_TILE_VECTORS"
    void tile_rows(int, int, Py_ssize_t, const real *, Py_ssize_t, const real *, Py_ssize_t,
                   const real *, Py_ssize_t, const real *, bint, real *, Py_ssize_t) noexcept nogil
    void tile_columns(int, int, Py_ssize_t, const real *, Py_ssize_t, const real *, Py_ssize_t,
                      const real *, Py_ssize_t, const real *, Py_ssize_t, const real *, real *,
                      Py_ssize_t) noexcept nogil
    void tile_rows_from(int, int, Py_ssize_t, const real *, Py_ssize_t, const real *, Py_ssize_t,
                        const int32_t *, const char *, Py_ssize_t, const real *, Py_ssize_t, real *,
                        Py_ssize_t) noexcept nogil
    void tile_columns_to(int, int, Py_ssize_t, const real *, Py_ssize_t, const real *, Py_ssize_t,
                         const char *, Py_ssize_t, const real *, real *, Py_ssize_t,
                         const int32_t *) noexcept nogil
    void transpose(int, const real *, Py_ssize_t, real *, Py_ssize_t) noexcept nogil

cdef enum:
    TILE_SIZE = 14 * 32  # at least the elements of the largest tile of any level
    BLOCK_ROWS = 252  # of W, at most, whose columns of a are packed at once


cdef inline Py_ssize_t strip() noexcept nogil:
    """Columns of a that lie side by side when packed: a tile's rows of W."""
    return (TILE_ROWS + 7) / 8 * 8


cdef inline Py_ssize_t packed_columns() noexcept nogil:
    return (BLOCK_ROWS + TILE_ROWS - 1) / TILE_ROWS * strip()


cdef inline Py_ssize_t balanced(Py_ssize_t left) noexcept nogil:
    """Rows of the next tile, so that `left` rows make tiles of nearly equal height (64: 13 13 13 13
    12, not 14 14 14 14 8)."""
    cdef Py_ssize_t tiles = (left + TILE_ROWS - 1) / TILE_ROWS
    return (left + tiles - 1) / tiles


cdef inline void rows_times(const real *A, Py_ssize_t A_row, const real *B, Py_ssize_t B_row,
                            const real *b, bint times, real *C, Py_ssize_t C_row, Py_ssize_t m,
                            Py_ssize_t K, Py_ssize_t vectors, const real *next,
                            Py_ssize_t lines) noexcept nogil:
    # C = A B + b, or C = C * (A B)                                                       C  # OUT
    # C (m, vectors), A (m, K), B (K, vectors), b (vectors,) or NULL
    # meanwhile `lines` lines from `next` on are fetched
    cdef Py_ssize_t j = 0, s, R, V, line = 0
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        s = 0
        while s < m:
            R = balanced(m - s)
            tile_rows(<int>R, <int>V, K, A + s * A_row, A_row, B + j * VECTOR_LANES, B_row,
                      next + line * PER_LINE, PER_LINE if line < lines else 0,
                      b + j * VECTOR_LANES if b != NULL else NULL, times,
                      C + s * C_row + j * VECTOR_LANES, C_row)
            line = min(line + K, lines)
            s += R
        j += V


cdef inline void gradient_tile(const real *a, Py_ssize_t a_row, const real *delta,
                               Py_ssize_t delta_row, Py_ssize_t m, Py_ssize_t R, Py_ssize_t V,
                               const real *next, const real *init, Py_ssize_t init_row,
                               const real *rate, real *nabla, Py_ssize_t nabla_row) noexcept nogil:
    # nabla = init + a^T delta; with a rate W -= rate a^T delta in its place          nabla  # OUT
    # a line from `next` on is fetched for each of the m samples
    tile_columns(<int>R, <int>V, m, a, a_row, delta, delta_row, next, PER_LINE, init,
                 init_row, rate, nabla, nabla_row)


cdef inline void bias_gradient(const real *delta, Py_ssize_t delta_row, Py_ssize_t m,
                               Py_ssize_t vectors, real *nabla_b) noexcept nogil:
    # BP3: nabla_b += sum_s delta_s, the weight gradient of an input that is 1      nabla_b  # OUT
    cdef real one = <real>1
    cdef Py_ssize_t j = 0, V
    while j < vectors:
        V = vectors - j if vectors - j < TILE_VECTORS else TILE_VECTORS
        gradient_tile(&one, 0, delta + j * VECTOR_LANES, delta_row, m, 1, V, delta,
                      nabla_b + j * VECTOR_LANES, 0, NULL,
                      nabla_b + j * VECTOR_LANES, 0)
        j += V


cdef inline bint is_large(Py_ssize_t m, Py_ssize_t n_in, Py_ssize_t row_bytes) noexcept nogil:
    """Whether W overflows the second-level cache and copies are made for enough tiles to pay."""
    return m >= 3 * TILE_ROWS and n_in * row_bytes >= SECOND_LEVEL_BYTES


cdef inline const char *next_of(Ahead *ahead, Py_ssize_t n_bytes) noexcept nogil:
    """Where the rest of the next row begins, of which `n_bytes` count as fetched from now on."""
    cdef const char *place = ahead.X + ahead.order[0] * ahead.row_bytes + ahead.at
    ahead.at += n_bytes
    if ahead.at >= ahead.row_bytes:
        ahead.at = 0
        ahead.order += 1
        ahead.rows -= 1
    return place


cdef inline void fetch(Ahead *ahead) noexcept nogil:
    cdef Py_ssize_t _i
    for _i in range(ahead.lines):
        if ahead.rows == 0:
            return
        prefetch_L2(next_of(ahead, 64))


cdef inline const real *upcoming(Ahead *ahead, Py_ssize_t m, Py_ssize_t R, Py_ssize_t V,
                                 const real *W) noexcept nogil:
    """What a tile is to fetch, a line for each of its m terms: X's next rows where it has some to
    fetch and one is long enough, else W from there on; what is over is fetched at once."""
    if ahead.rows > 0 and R * V >= TILE_ROWS and 2 * ahead.row_bytes >= 64 * m >= 32 * ahead.lines:
        return <const real *>next_of(ahead, 64 * m)
    fetch(ahead)
    return W


cdef struct Stretch:
    # what a tile fetches: `step` bytes further with each of K terms
    const char *next
    Py_ssize_t step, K


cdef inline Stretch stretch_of(Ahead *ahead, Py_ssize_t K, Py_ssize_t most,
                               const void *none) noexcept nogil:
    """What a tile of K terms fetches, or of the first of them: at most `most` bytes a term of the
    row of X that is next, and no more terms than that takes; `none` stands for nothing.

    A few bytes a term all over the step: bursts between tiles made memory wait (784-30-10 on MNIST,
    batch 10: a quarter of a step).
    """
    cdef Stretch taken
    cdef Py_ssize_t rest = ahead.row_bytes - ahead.at
    taken.K = K
    taken.step = 0
    taken.next = <const char *>none
    if ahead.rows > 0 and K > 0:
        taken.K = min(K, (rest + most - 1) / most)
        taken.step = most
        taken.next = next_of(ahead, taken.K * most)
    return taken
