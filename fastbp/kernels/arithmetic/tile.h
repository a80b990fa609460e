/* The register tile: the innermost loop of all three products, in C.
 *
 * What belongs here: one tile
 *
 *     C[r, j] = init[r, j] + sum_k a(r, k) B[k, j]        r < R rows, j < V vectors
 *
 * (init: a bias with row stride 0, C itself to go on adding, or NULL for zero), or, with a rate,
 *     C[r, j] -= rate sum_k a(r, k) B[k, j]
 * or, to multiply what is there,
 *     C[r, j] *= sum_k a(r, k) B[k, j]
 * whose accumulators stay in registers. Each output adds its terms strictly in k order, one fused
 * multiply-add a term and no horizontal sum, so the result does not depend on R, V or the level.
 * Meanwhile it fetches what comes next: B twelve rows ahead where it streams from the second-level
 * cache, and for each k `step` reals from `next` on (a sixteenth of a step at widths of 1,024 and
 * more, bench/growth.py).
 * What does not: vectors (real.h), loops over matrices (blocking.pxd), formulas (update.pxd).
 *
 * C and not Cython because GCC's vectoriser loses the tile at some shapes (8x32 falls to a fifth of
 * 8x48); vector extensions with constant R and V do not (bench/test_kernels.py).
 */
#ifndef FASTBP_TILE_H
#define FASTBP_TILE_H

#include <stddef.h>

#include "real.h"

#define FASTBP_TILE_VECTORS 2


/* One tile. With R, V and one of the two strides constant after inlining, the three inner loops
 * unroll and acc[][] lives in registers. */
FASTBP_INLINE void tile_body(const int R, const int V, ptrdiff_t K, const real *a, ptrdiff_t a_row,
                             ptrdiff_t a_k, const real *B, ptrdiff_t B_row, const int fetches,
                             const int streams, const real *next, ptrdiff_t step, const real *init,
                             ptrdiff_t init_row, const real *rate, int times, real *C,
                             ptrdiff_t C_row)
{
    vec acc[FASTBP_TILE_ROWS][FASTBP_TILE_VECTORS], b[FASTBP_TILE_VECTORS];
    const real minus_rate = rate ? -*rate : 0; /* once: C might hold it, thinks GCC */
    int r, v;
    ptrdiff_t k;
    FASTBP_UNROLL for (r = 0; r < R; r++)
        FASTBP_UNROLL for (v = 0; v < V; v++) acc[r][v] =
            init ? ((const vec *)(init + r * init_row))[v] : FASTBP_SPLAT(0);
    for (k = 0; k < K; k++) {
        if (fetches && R * V >= FASTBP_TILE_ROWS) { /* a lower tile would wait for its loads */
            /* where a multiply-add is half as wide, a twentieth of the peak */
            if (sizeof(vec) == 64) FASTBP_PREFETCH_L2(next + k * step);
            if (streams) FASTBP_PREFETCH(B + (k + 12) * B_row);
            if (streams && V * FASTBP_VECTOR_LANES > FASTBP_PER_LINE)
                FASTBP_PREFETCH(B + (k + 12) * B_row + FASTBP_PER_LINE);
        }
        FASTBP_UNROLL for (v = 0; v < V; v++) b[v] = ((const vec *)(B + k * B_row))[v];
        FASTBP_UNROLL for (r = 0; r < R; r++)
        {
            vec x = FASTBP_SPLAT(a[r * a_row + k * a_k]);
            FASTBP_UNROLL for (v = 0; v < V; v++) acc[r][v] = FASTBP_FMADD(x, b[v], acc[r][v]);
        }
    }
    if (rate)
        FASTBP_UNROLL for (r = 0; r < R; r++)
            FASTBP_UNROLL for (v = 0; v < V; v++)((vec *)(C + r * C_row))[v] = FASTBP_FMADD(
                FASTBP_SPLAT(minus_rate), acc[r][v], ((vec *)(C + r * C_row))[v]);
    else if (times)
        FASTBP_UNROLL for (r = 0; r < R; r++)
            FASTBP_UNROLL for (v = 0; v < V; v++)((vec *)(C + r * C_row))[v] *= acc[r][v];
    else
        FASTBP_UNROLL for (r = 0; r < R; r++)
            FASTBP_UNROLL for (v = 0; v < V; v++)((vec *)(C + r * C_row))[v] = acc[r][v];
}

/* Shapes taller than this level's registers are never asked for and compile to nothing. */
#define FASTBP_SHAPE(BODY, ROWS, ...)                                 \
    case ROWS:                                                        \
        if (ROWS > FASTBP_TILE_ROWS) break;                           \
        if (V == 2)                                                   \
            BODY(ROWS > FASTBP_TILE_ROWS ? 1 : ROWS, 2, __VA_ARGS__); \
        else                                                          \
            BODY(ROWS > FASTBP_TILE_ROWS ? 1 : ROWS, 1, __VA_ARGS__); \
        break;
#define FASTBP_SHAPES(BODY, ...)                                                \
    switch (R) {                                                                \
        FASTBP_SHAPE(BODY, 1, __VA_ARGS__) FASTBP_SHAPE(BODY, 2, __VA_ARGS__)   \
        FASTBP_SHAPE(BODY, 3, __VA_ARGS__) FASTBP_SHAPE(BODY, 4, __VA_ARGS__)   \
        FASTBP_SHAPE(BODY, 5, __VA_ARGS__) FASTBP_SHAPE(BODY, 6, __VA_ARGS__)   \
        FASTBP_SHAPE(BODY, 7, __VA_ARGS__) FASTBP_SHAPE(BODY, 8, __VA_ARGS__)   \
        FASTBP_SHAPE(BODY, 9, __VA_ARGS__) FASTBP_SHAPE(BODY, 10, __VA_ARGS__)  \
        FASTBP_SHAPE(BODY, 11, __VA_ARGS__) FASTBP_SHAPE(BODY, 12, __VA_ARGS__) \
        FASTBP_SHAPE(BODY, 13, __VA_ARGS__) FASTBP_SHAPE(BODY, 14, __VA_ARGS__) \
    }

/* a(r, k) = a[r * stride + k]: rows of A as they lie (forward, delta recurrence) */
static void tile_rows(int R, int V, ptrdiff_t K, const real *a, ptrdiff_t stride, const real *B,
                      ptrdiff_t B_row, const real *next, ptrdiff_t step, const real *init,
                      int times, real *C, ptrdiff_t C_row)
{
    if (K < 128) /* B is in the first-level cache */
        FASTBP_SHAPES(tile_body, K, a, stride, 1, B, B_row, 0, 0, B, 0, init, 0, (const real *)0,
                      times, C, C_row)
    else
        FASTBP_SHAPES(tile_body, K, a, stride, 1, B, B_row, 1, 1, next, step, init, 0,
                      (const real *)0, times, C, C_row)
}

/* a(r, k) = a[r + k * stride]: columns of A as they lie (weight gradient) */
static void tile_columns(int R, int V, ptrdiff_t K, const real *a, ptrdiff_t stride, const real *B,
                         ptrdiff_t B_row, const real *next, ptrdiff_t step, const real *init,
                         ptrdiff_t init_row, const real *rate, real *C, ptrdiff_t C_row)
{
    FASTBP_SHAPES(tile_body, K, a, 1, stride, B, B_row, 1, 0, next, step, init, init_row, rate, 0,
                  C, C_row)
}

/* The tile where rows of B (B_at not NULL), or of C, lie where a list says: B_at[k] or C_at[r].
 * With a rate C -= rate times the sum, else C = init + the sum. `next_step` bytes a term are fetched
 * from `next` on. */
FASTBP_INLINE void listed_body(const int R, const int V, ptrdiff_t K, const real *a,
                               ptrdiff_t a_row, ptrdiff_t a_k, const real *B, ptrdiff_t B_row,
                               const int32_t *B_at, const char *next, ptrdiff_t next_step,
                               const real *init, ptrdiff_t init_row, const real *rate, real *C,
                               ptrdiff_t C_row, const int32_t *C_at)
{
    vec acc[FASTBP_TILE_ROWS][FASTBP_TILE_VECTORS], b[FASTBP_TILE_VECTORS];
    const real minus_rate = rate ? -*rate : 0;
    int r, v;
    FASTBP_UNROLL for (r = 0; r < R; r++)
        FASTBP_UNROLL for (v = 0; v < V; v++) acc[r][v] =
            init ? ((const vec *)(init + r * init_row))[v] : FASTBP_SPLAT(0);
    for (; K > 0; K--, a += a_k, next += next_step) { /* few addresses: they would take vectors */
        const real *B_k = B;
        if (B_at)
            B_k += *B_at++ * B_row;
        else
            B += B_row;
        FASTBP_PREFETCH_L2(next);
        FASTBP_UNROLL for (v = 0; v < V; v++) b[v] = ((const vec *)B_k)[v];
        FASTBP_UNROLL for (r = 0; r < R; r++)
        {
            vec x = FASTBP_SPLAT(a[r * a_row]);
            FASTBP_UNROLL for (v = 0; v < V; v++) acc[r][v] = FASTBP_FMADD(x, b[v], acc[r][v]);
        }
    }
    FASTBP_UNROLL for (r = 0; r < R; r++)
    {
        vec *C_r = (vec *)(C + (C_at ? C_at[r] : r) * C_row);
        FASTBP_UNROLL for (v = 0; v < V; v++)
        {
            if (rate)
                C_r[v] = FASTBP_FMADD(FASTBP_SPLAT(minus_rate), acc[r][v], C_r[v]);
            else
                C_r[v] = acc[r][v];
        }
    }
}

/* C = init + A B', where rows of B' are rows B_at[k] of B (forward; init: b, or C to go on adding) */
static void tile_rows_from(int R, int V, ptrdiff_t K, const real *a, ptrdiff_t stride,
                           const real *B, ptrdiff_t B_row, const int32_t *B_at, const char *next,
                           ptrdiff_t next_step, const real *init, ptrdiff_t init_row, real *C,
                           ptrdiff_t C_row)
{
    FASTBP_SHAPES(listed_body, K, a, stride, 1, B, B_row, B_at, next, next_step, init, init_row,
                  (const real *)0, C, C_row, (const int32_t *)0)
}

/* C' -= rate A^T B, where rows of C' are rows C_at[r] of C (update) */
static void tile_columns_to(int R, int V, ptrdiff_t K, const real *a, ptrdiff_t stride,
                            const real *B, ptrdiff_t B_row, const char *next, ptrdiff_t next_step,
                            const real *rate, real *C, ptrdiff_t C_row, const int32_t *C_at)
{
    FASTBP_SHAPES(listed_body, K, a, 1, stride, B, B_row, (const int32_t *)0, next, next_step,
                  (const real *)0, 0, rate, C, C_row, C_at)
}

/* Square blocks of n rows, side by side in n vectors, turned in registers: by exchanging halves,
 * quarters, ... of pairs of rows; the masks are constants once the loops are unrolled. */
#if defined(FASTBP_VECTOR_BYTES) && !defined(__clang__) /* __builtin_shuffle is GCC's */
#define FASTBP_TURNS 1
FASTBP_INLINE void turn(vec *x, const int n)
{
    enum { L = FASTBP_VECTOR_LANES };
    vec_bits lane;
    int i, s;
    FASTBP_UNROLL for (i = 0; i < L; i++) lane[i] = i;
    FASTBP_UNROLL for (s = 1; s < n; s *= 2)
    {
        const vec_bits odd = (lane & s) != 0;
        FASTBP_UNROLL for (i = 0; i < n; i++) if (!(i & s))
        {
            const vec low = x[i], high = x[i + s];
            x[i] = __builtin_shuffle(low, high, lane + (odd & (L - s)));
            x[i + s] = __builtin_shuffle(low, high, lane + (odd & L) + (~odd & s));
        }
    }
}
#endif

/* t[j, i] = a[i, j] for as many i and j as a vector has lanes; rows i >= n of `a` count as zero. */
static FASTBP_NOINLINE void transpose(int n, const real *a, ptrdiff_t a_row, real *t, ptrdiff_t t_row)
{
#ifdef FASTBP_TURNS
    enum { L = FASTBP_VECTOR_LANES };
    vec x[L];
    int i;
    FASTBP_UNROLL for (i = 0; i < L; i++) x[i] =
        i < n ? *(const vec *)(a + i * a_row) : FASTBP_SPLAT(0);
    turn(x, L);
    FASTBP_UNROLL for (i = 0; i < L; i++) *(vec *)(t + i * t_row) = x[i];
#else
    int i, j;
    for (j = 0; j < FASTBP_VECTOR_LANES; j++)
        for (i = 0; i < FASTBP_VECTOR_LANES; i++)
            t[j * t_row + i] = i < n ? a[i * a_row + j] : (real)0;
#endif
}

#endif
