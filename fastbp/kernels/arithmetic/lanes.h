/* One network a lane: products, dot products and rows where every number is a vector of networks' own.
 *
 * What belongs here: the tile
 *
 *     C[p, q] = init[p, q] + sum_t A[p, t] B[q, t]       p < P, q < Q; all of them vectors
 *
 * whose accumulators stay in registers. Strides alone make it forward, recurrence or gradient. Each
 * lane adds its terms as a single network does (tile.h, dots.h): strictly in t order, one fused
 * multiply-add a term, so its bits are those of a single fit. What does not: what the strides are
 * (links/), formulas (update.pxd).
 */
#ifndef FASTBP_LANES_H
#define FASTBP_LANES_H

#include "dots.h"

/* Accumulators, and the most rows of them; with these P (P + 1 where products are numbers of their own)
 * registers of A and one of B. */
#if FASTBP_TILE_ROWS >= 8 /* 32 registers */
#define FASTBP_LANES_SUMS 24
#define FASTBP_LANES_P 4
#elif defined(FASTBP_VECTOR_BYTES) && FASTBP_VECTOR_BYTES == 32 /* 16 */
#define FASTBP_LANES_SUMS 12
#define FASTBP_LANES_P 3
#else /* 16, without FMA */
#define FASTBP_LANES_SUMS 9
#define FASTBP_LANES_P 3
#endif
#define FASTBP_LANES_MOST_Q 8 /* of lower tiles: as many sums as hide a multiply-add's latency */

/* GCC makes the load of b part of each multiply-add that reads it: P loads for one, and loads are what
 * tiles wait for (3 x 6: 51 % of the peak for 73) */
#if defined(FASTBP_GNU) && defined(__AVX512F__)
#define FASTBP_IN_REGISTER(x) __asm__("" : "+v"(x))
#elif defined(FASTBP_GNU) && defined(__SSE2__)
#define FASTBP_IN_REGISTER(x) __asm__("" : "+x"(x))
#else
#define FASTBP_IN_REGISTER(x) ((void)(x))
#endif

/* What becomes of the sum: C = it, C = C * it, or with minus_rate C = C + minus_rate * it. */
FASTBP_INLINE void lanes_body(const int P, const int Q, ptrdiff_t K, const vec *A, ptrdiff_t A_p,
                              ptrdiff_t A_t, const vec *B, ptrdiff_t B_q, ptrdiff_t B_t,
                              const vec *init, ptrdiff_t init_p, const vec *minus_rate, int times,
                              vec *C, ptrdiff_t C_p)
{
    vec acc[FASTBP_LANES_P][FASTBP_LANES_MOST_Q], a[FASTBP_LANES_P];
    ptrdiff_t t;
    int p, q;
    FASTBP_UNROLL for (p = 0; p < P; p++)
        FASTBP_UNROLL for (q = 0; q < Q; q++) acc[p][q] =
            init ? init[p * init_p + q] : FASTBP_SPLAT(0);
    for (t = 0; t < K; t++, A += A_t, B += B_t) {
        FASTBP_UNROLL for (p = 0; p < P; p++) a[p] = A[p * A_p];
        FASTBP_UNROLL for (q = 0; q < Q; q++)
        {
            vec b = B[q * B_q];
            FASTBP_IN_REGISTER(b);
            FASTBP_UNROLL for (p = 0; p < P; p++) acc[p][q] = FASTBP_FMADD(a[p], b, acc[p][q]);
        }
    }
    if (minus_rate)
        FASTBP_UNROLL for (p = 0; p < P; p++)
            FASTBP_UNROLL for (q = 0; q < Q; q++)
                C[p * C_p + q] = FASTBP_FMADD(*minus_rate, acc[p][q], C[p * C_p + q]);
    else if (times)
        FASTBP_UNROLL for (p = 0; p < P; p++)
            FASTBP_UNROLL for (q = 0; q < Q; q++) C[p * C_p + q] *= acc[p][q];
    else
        FASTBP_UNROLL for (p = 0; p < P; p++)
            FASTBP_UNROLL for (q = 0; q < Q; q++) C[p * C_p + q] = acc[p][q];
}

#define FASTBP_LANES_SHAPE(P, Q, ...)                                                    \
    case (P)*16 + (Q):                                                                   \
        if (P <= FASTBP_LANES_P && P * Q <= FASTBP_LANES_SUMS)                           \
            lanes_body(P <= FASTBP_LANES_P ? P : 1, P * Q <= FASTBP_LANES_SUMS ? Q : 1, \
                       __VA_ARGS__);                                                     \
        break;
#define FASTBP_LANES_SHAPES(P, ...)                                                       \
    FASTBP_LANES_SHAPE(P, 1, __VA_ARGS__) FASTBP_LANES_SHAPE(P, 2, __VA_ARGS__)           \
    FASTBP_LANES_SHAPE(P, 3, __VA_ARGS__) FASTBP_LANES_SHAPE(P, 4, __VA_ARGS__)           \
    FASTBP_LANES_SHAPE(P, 5, __VA_ARGS__) FASTBP_LANES_SHAPE(P, 6, __VA_ARGS__)           \
    FASTBP_LANES_SHAPE(P, 7, __VA_ARGS__) FASTBP_LANES_SHAPE(P, 8, __VA_ARGS__)

FASTBP_INLINE void lanes_tile(int P, int Q, ptrdiff_t K, const vec *A, ptrdiff_t A_p, ptrdiff_t A_t,
                       const vec *B, ptrdiff_t B_q, ptrdiff_t B_t, const vec *init,
                       ptrdiff_t init_p, const vec *minus_rate, int times, vec *C, ptrdiff_t C_p)
{
    switch (P * 16 + Q) {
        FASTBP_LANES_SHAPES(1, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
        FASTBP_LANES_SHAPES(2, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
        FASTBP_LANES_SHAPES(3, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
        FASTBP_LANES_SHAPES(4, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
    }
}

/* Columns of a tile of a product of P rows */
FASTBP_INLINE ptrdiff_t lanes_columns(ptrdiff_t P)
{
    const ptrdiff_t columns = FASTBP_LANES_SUMS / (P < FASTBP_LANES_P ? P : FASTBP_LANES_P);
    return columns < FASTBP_LANES_MOST_Q ? columns : FASTBP_LANES_MOST_Q;
}

/* The whole product, cut into tiles of nearly equal sides. */
FASTBP_INLINE void lanes_product(ptrdiff_t P, ptrdiff_t Q, ptrdiff_t K, const vec *A, ptrdiff_t A_p,
                          ptrdiff_t A_t, const vec *B, ptrdiff_t B_q, ptrdiff_t B_t,
                          const vec *init, ptrdiff_t init_p, const vec *minus_rate, int times,
                          vec *C, ptrdiff_t C_p)
{
    const ptrdiff_t most = lanes_columns(P);
    ptrdiff_t p, q, R, V, tiles;
    for (q = 0; q < Q; q += V) {
        tiles = (Q - q + most - 1) / most;
        V = (Q - q + tiles - 1) / tiles;
        for (p = 0; p < P; p += R) {
            tiles = (P - p + FASTBP_LANES_P - 1) / FASTBP_LANES_P;
            R = (P - p + tiles - 1) / tiles;
            lanes_tile((int)R, (int)V, K, A + p * A_p, A_p, A_t, B + q * B_q, B_q, B_t,
                       init ? init + p * init_p + q : init, init_p, minus_rate, times,
                       C + p * C_p + q, C_p);
        }
    }
}

/* C = init + A B */
static void lanes_forward(ptrdiff_t m, ptrdiff_t n, ptrdiff_t K, const vec *A, ptrdiff_t A_row,
                          const vec *B, ptrdiff_t B_row, const vec *b, vec *C, ptrdiff_t C_row)
{
    lanes_product(m, n, K, A, A_row, 1, B, 1, B_row, b, 0, 0, 0, C, C_row);
}

/* C = C * (A B^T) */
static void lanes_back(ptrdiff_t m, ptrdiff_t n, ptrdiff_t K, const vec *A, ptrdiff_t A_row,
                       const vec *B, ptrdiff_t B_row, vec *C, ptrdiff_t C_row)
{
    lanes_product(m, n, K, A, A_row, 1, B, B_row, 1, 0, 0, 0, 1, C, C_row);
}

/* C = A^T B, or C = C + A^T B, or C = C + minus_rate * A^T B */
static void lanes_gradient(ptrdiff_t P, ptrdiff_t Q, ptrdiff_t m, const vec *A, ptrdiff_t A_row,
                           const vec *B, ptrdiff_t B_row, const vec *minus_rate, int adds, vec *C,
                           ptrdiff_t C_row)
{
    lanes_product(P, Q, m, A, 1, A_row, B, 1, B_row, adds ? C : 0, C_row, minus_rate, 0, C, C_row);
}

/* z[s * z_row] = b + sum_k a(s, k) w(k), s < m, in the order of dots.h: 16 sums by k mod 16, of which
 * i, i + 4, i + 8 and i + 12 are made together */
static FASTBP_NOINLINE void lanes_dots(ptrdiff_t m, ptrdiff_t K, const vec *a, ptrdiff_t a_row,
                                       const vec *w, const vec *b, vec *z, ptrdiff_t z_row)
{
    vec acc[4], part[4];
    ptrdiff_t s, k;
    int i, c;
    for (s = 0; s < m; s++, a += a_row) {
        FASTBP_UNROLL for (i = 0; i < 4; i++)
        {
            FASTBP_UNROLL for (c = 0; c < 4; c++) acc[c] = FASTBP_SPLAT(0);
            for (k = i; k + 12 < K; k += 16)
                FASTBP_UNROLL for (c = 0; c < 4; c++) acc[c] =
                    FASTBP_FMADD(a[k + 4 * c], w[k + 4 * c], acc[c]);
            FASTBP_UNROLL for (c = 0; c < 4; c++) if (k + 4 * c < K) acc[c] =
                FASTBP_FMADD(a[k + 4 * c], w[k + 4 * c], acc[c]);
            part[i] = (acc[0] + acc[2]) + (acc[1] + acc[3]);
        }
        z[s * z_row] = ((part[0] + part[2]) + (part[1] + part[3])) + *b;
    }
}

/* The sum of n numbers in the order of row_sum (reductions.pxd). */
static vec lanes_sum(const vec *x, ptrdiff_t n)
{
    const vec zero = FASTBP_SPLAT(0);
    vec lane[16];
    ptrdiff_t j;
    int i;
    if (n <= 4)
        return (x[0] + (n > 2 ? x[2] : zero)) + ((n > 1 ? x[1] : zero) + (n > 3 ? x[3] : zero));
    FASTBP_UNROLL for (i = 0; i < 16; i++) lane[i] = i < n ? x[i] : zero;
    for (j = 16; j + 16 <= n; j += 16) FASTBP_UNROLL for (i = 0; i < 16; i++) lane[i] += x[j + i];
    FASTBP_UNROLL for (i = 0; i < 16; i++) if (j + i < n) lane[i] += x[j + i];
    FASTBP_UNROLL for (i = 0; i < 8; i++) lane[i] += lane[i + 8];
    FASTBP_UNROLL for (i = 0; i < 4; i++) lane[i] += lane[i + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

/* What each lane reads: row order[s] of X, which has rows of n; of samples s >= m the first again. */
typedef struct {
    const real *X;
    const ptrdiff_t *order;
    ptrdiff_t m;
} lanes_source;

#ifdef FASTBP_TURNS
/* 16 bytes of columns are turned at once, of rows that lie side by side in a vector, `apart` in the
 * list: loads take most of the work from the one port that moves lanes. */
FASTBP_INLINE vec lanes_side_by_side(const real *const *rows, int apart, ptrdiff_t k)
{
#if FASTBP_VECTOR_BYTES == 64
    __m512 x = _mm512_castps128_ps512(_mm_loadu_ps((const float *)(rows[0] + k)));
    x = _mm512_insertf32x4(x, _mm_loadu_ps((const float *)(rows[apart] + k)), 1);
    x = _mm512_insertf32x4(x, _mm_loadu_ps((const float *)(rows[2 * apart] + k)), 2);
    return (vec)_mm512_insertf32x4(x, _mm_loadu_ps((const float *)(rows[3 * apart] + k)), 3);
#elif FASTBP_VECTOR_BYTES == 32
    __m256 x = _mm256_castps128_ps256(_mm_loadu_ps((const float *)(rows[0] + k)));
    return (vec)_mm256_insertf128_ps(x, _mm_loadu_ps((const float *)(rows[apart] + k)), 1);
#else
    (void)apart;
    return *(const vec *)(rows[0] + k);
#endif
}
#endif

/* t[k, i] = number k of row i of L, k < n; not inlined, or GCC keeps the rows in vector registers */
static FASTBP_NOINLINE void lanes_turned(const real *const *rows, ptrdiff_t n, vec *t)
{
    enum { L = FASTBP_VECTOR_LANES };
    ptrdiff_t k = 0;
    int i;
#ifdef FASTBP_TURNS
    enum { W = 16 / sizeof(real) };
    vec x[W];
    for (; n >= W && k < n; k += W) {
        if (k > n - W) k = n - W; /* the last over what the one before has turned already */
        FASTBP_UNROLL for (i = 0; i < W; i++) x[i] = lanes_side_by_side(rows + i, W, k);
        turn(x, W);
        FASTBP_UNROLL for (i = 0; i < W; i++) t[k + i] = x[i];
    }
#endif
    for (; k < n; k++)
        FASTBP_UNROLL for (i = 0; i < L; i++)((real *)(t + k))[i] = rows[i][k];
}

/* The few columns of narrow rows, lane by lane */
FASTBP_INLINE void lanes_narrow(const int n, const lanes_source *lanes, ptrdiff_t first,
                                ptrdiff_t last, vec *t, ptrdiff_t t_row)
{
    enum { L = FASTBP_VECTOR_LANES };
    ptrdiff_t s;
    int i, k;
    for (i = 0; i < L; i++) {
        const lanes_source f = lanes[i];
        const ptrdiff_t own = f.m < last ? f.m : last;
        real *t_i = (real *)t + i;
        for (s = first; s < own; s++, t_i += t_row * L)
            FASTBP_UNROLL for (k = 0; k < n; k++) t_i[k * L] = f.X[f.order[s] * n + k];
        for (; s < last; s++, t_i += t_row * L)
            FASTBP_UNROLL for (k = 0; k < n; k++) t_i[k * L] = f.X[f.order[0] * n + k];
    }
}

/* t[s - first, k] = number k of each lane's sample s, first <= s < last   (last - first, n) */
static void lanes_gather(const lanes_source *lanes, ptrdiff_t n, ptrdiff_t first, ptrdiff_t last,
                         vec *t, ptrdiff_t t_row)
{
    enum { L = FASTBP_VECTOR_LANES };
    const real *rows[L];
    ptrdiff_t s;
    int i;
    if (n * (ptrdiff_t)sizeof(real) < 16) { /* no block of columns is as narrow */
        if (n == 1)
            lanes_narrow(1, lanes, first, last, t, t_row);
        else if (n == 2)
            lanes_narrow(2, lanes, first, last, t, t_row);
        else
            lanes_narrow(3, lanes, first, last, t, t_row);
        return;
    }
    for (s = first; s < last; s++, t += t_row) {
        FASTBP_UNROLL for (i = 0; i < L; i++) rows[i] =
            lanes[i].X + lanes[i].order[s < lanes[i].m ? s : 0] * n;
        lanes_turned(rows, n, t);
    }
}

#endif
