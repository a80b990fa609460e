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

#if FASTBP_TILE_ROWS >= 8 /* 32 registers: 4 x 6 accumulators + 4 of A + 1 of B */
#define FASTBP_LANES_P 4
#define FASTBP_LANES_Q 6
#elif defined(FASTBP_VECTOR_BYTES) && FASTBP_VECTOR_BYTES == 32 /* 16: 3 x 4 + 3 + 1 */
#define FASTBP_LANES_P 3
#define FASTBP_LANES_Q 4
#else /* 3 x 3 + 3 + 1 + a product: no FMA here */
#define FASTBP_LANES_P 3
#define FASTBP_LANES_Q 3
#endif

/* What becomes of the sum: C = it, C = C * it, or with minus_rate C = C + minus_rate * it. */
FASTBP_INLINE void lanes_body(const int P, const int Q, ptrdiff_t K, const vec *A, ptrdiff_t A_p,
                              ptrdiff_t A_t, const vec *B, ptrdiff_t B_q, ptrdiff_t B_t,
                              const vec *init, ptrdiff_t init_p, const vec *minus_rate, int times,
                              vec *C, ptrdiff_t C_p)
{
    vec acc[FASTBP_LANES_P][FASTBP_LANES_Q], a[FASTBP_LANES_P];
    ptrdiff_t t;
    int p, q;
    FASTBP_UNROLL for (p = 0; p < P; p++)
        FASTBP_UNROLL for (q = 0; q < Q; q++) acc[p][q] =
            init ? init[p * init_p + q] : FASTBP_SPLAT(0);
    for (t = 0; t < K; t++, A += A_t, B += B_t) {
        FASTBP_UNROLL for (p = 0; p < P; p++) a[p] = A[p * A_p];
        FASTBP_UNROLL for (q = 0; q < Q; q++)
        {
            const vec b = B[q * B_q];
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

#define FASTBP_LANES_SHAPE(P, Q, ...)                                                       \
    case (P)*8 + (Q):                                                                       \
        if (P <= FASTBP_LANES_P && Q <= FASTBP_LANES_Q)                                     \
            lanes_body(P <= FASTBP_LANES_P ? P : 1, Q <= FASTBP_LANES_Q ? Q : 1, __VA_ARGS__); \
        break;
#define FASTBP_LANES_SHAPES(P, ...)                                                        \
    FASTBP_LANES_SHAPE(P, 1, __VA_ARGS__) FASTBP_LANES_SHAPE(P, 2, __VA_ARGS__)            \
    FASTBP_LANES_SHAPE(P, 3, __VA_ARGS__) FASTBP_LANES_SHAPE(P, 4, __VA_ARGS__)            \
    FASTBP_LANES_SHAPE(P, 5, __VA_ARGS__) FASTBP_LANES_SHAPE(P, 6, __VA_ARGS__)

static void lanes_tile(int P, int Q, ptrdiff_t K, const vec *A, ptrdiff_t A_p, ptrdiff_t A_t,
                       const vec *B, ptrdiff_t B_q, ptrdiff_t B_t, const vec *init,
                       ptrdiff_t init_p, const vec *minus_rate, int times, vec *C, ptrdiff_t C_p)
{
    switch (P * 8 + Q) {
        FASTBP_LANES_SHAPES(1, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
        FASTBP_LANES_SHAPES(2, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
        FASTBP_LANES_SHAPES(3, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
        FASTBP_LANES_SHAPES(4, K, A, A_p, A_t, B, B_q, B_t, init, init_p, minus_rate, times, C, C_p)
    }
}

/* The whole product, cut into tiles of nearly equal sides. */
static void lanes_product(ptrdiff_t P, ptrdiff_t Q, ptrdiff_t K, const vec *A, ptrdiff_t A_p,
                          ptrdiff_t A_t, const vec *B, ptrdiff_t B_q, ptrdiff_t B_t,
                          const vec *init, ptrdiff_t init_p, const vec *minus_rate, int times,
                          vec *C, ptrdiff_t C_p)
{
    ptrdiff_t p, q, R, V, tiles;
    for (q = 0; q < Q; q += V) {
        tiles = (Q - q + FASTBP_LANES_Q - 1) / FASTBP_LANES_Q;
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

/* z[s * z_row] = b + sum_k a(s, k) w(k), s < m, in the order of dots.h: 16 sums by k mod 16, of which
 * i, i + 4, i + 8 and i + 12 are made together */
static void lanes_dots(ptrdiff_t m, ptrdiff_t K, const vec *a, ptrdiff_t a_row, const vec *w,
                       const vec *b, vec *z, ptrdiff_t z_row)
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
    for (i = 0; i < 16; i++) lane[i] = zero;
    for (j = 0; j < n; j++) lane[j % 16] += x[j];
    for (i = 0; i < 8; i++) lane[i] += lane[i + 8];
    for (i = 0; i < 4; i++) lane[i] += lane[i + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}

/* t[k] = number k of each of the rows, k < n: whole blocks of as many columns as there are lanes are
 * turned in registers, the last one over what the one before has turned already */
static void lanes_gather(const real *const *rows, ptrdiff_t n, vec *t)
{
    enum { L = FASTBP_VECTOR_LANES };
    ptrdiff_t k;
    int i;
#ifdef FASTBP_TURNS
    vec x[L];
    if (n >= L) {
        for (k = 0; k < n; k += L) {
            if (k > n - L) k = n - L;
            FASTBP_UNROLL for (i = 0; i < L; i++) x[i] = *(const vec *)(rows[i] + k);
            turn(x);
            FASTBP_UNROLL for (i = 0; i < L; i++) t[k + i] = x[i];
        }
        return;
    }
#endif
    for (k = 0; k < n; k++)
        FASTBP_UNROLL for (i = 0; i < L; i++)((real *)(t + k))[i] = rows[i][k];
}

#endif
