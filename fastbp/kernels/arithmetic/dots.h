/* Dot products of many rows with one: the innermost loop of a link to one unit, in C.
 *
 * What belongs here: z_s = sum_k a(s, k) w(k) in FASTBP_DOT_LANES sums by k mod FASTBP_DOT_LANES,
 * added in halves (lane i and i + 8, i + 4, i + 2, i + 1), so that the bits depend neither on the
 * level nor on how many rows are made at once. What does not: products with several columns (tile.h).
 */
#ifndef FASTBP_DOTS_H
#define FASTBP_DOTS_H

#include "tile.h"

enum { FASTBP_DOT_LANES = 16, FASTBP_DOT_VECTORS = FASTBP_DOT_LANES / FASTBP_VECTOR_LANES };

/* R rows at once: the sums of one alone wait for each other. Each leaves one vector of `sums`. */
FASTBP_INLINE void dots_body(const int R, ptrdiff_t K, const real *a, ptrdiff_t a_row, const real *w,
                             real *sums)
{
    enum { P = FASTBP_DOT_VECTORS, L = FASTBP_VECTOR_LANES };
    vec acc[4][P];
    real a_last[FASTBP_DOT_LANES], w_last[FASTBP_DOT_LANES];
    const ptrdiff_t whole = K - K % FASTBP_DOT_LANES;
    ptrdiff_t k, i;
    int r, p, half;
    FASTBP_UNROLL for (r = 0; r < R; r++)
        FASTBP_UNROLL for (p = 0; p < P; p++) acc[r][p] = FASTBP_SPLAT(0);
    for (k = 0; k < whole; k += FASTBP_DOT_LANES)
        FASTBP_UNROLL for (p = 0; p < P; p++)
        {
            const vec w_p = *(const vec *)(w + k + p * L);
            FASTBP_UNROLL for (r = 0; r < R; r++) acc[r][p] =
                FASTBP_FMADD(*(const vec *)(a + r * a_row + k + p * L), w_p, acc[r][p]);
        }
    if (whole < K) { /* what lies behind K is not ours: not 0, perhaps not memory */
        for (i = 0; i < FASTBP_DOT_LANES; i++) w_last[i] = whole + i < K ? w[whole + i] : (real)0;
        FASTBP_UNROLL for (r = 0; r < R; r++)
        {
            for (i = 0; i < FASTBP_DOT_LANES; i++)
                a_last[i] = whole + i < K ? a[r * a_row + whole + i] : (real)0;
            FASTBP_UNROLL for (p = 0; p < P; p++) acc[r][p] = FASTBP_FMADD(
                *(const vec *)(a_last + p * L), *(const vec *)(w_last + p * L), acc[r][p]);
        }
    }
    FASTBP_UNROLL for (r = 0; r < R; r++)
    {
        FASTBP_UNROLL for (half = P / 2; half > 0; half /= 2)
            FASTBP_UNROLL for (p = 0; p < half; p++) acc[r][p] += acc[r][p + half];
        *(vec *)(sums + r * L) = acc[r][0];
    }
}

/* The sum of each of n vectors, vector s's in lane s; lanes i >= n are not used. Neighbours fold into
 * one: half of its lanes are sums of the first, half of the second. n is changed as are the x. */
FASTBP_INLINE vec fold(int n, vec *x)
{
    enum { L = FASTBP_VECTOR_LANES };
    int h, i;
#if defined(FASTBP_VECTOR_BYTES) && !defined(__clang__) /* __builtin_shuffle is GCC's */
    vec_bits lane, block;
    FASTBP_UNROLL for (i = 0; i < L; i++) lane[i] = i;
    FASTBP_UNROLL for (h = L / 2; h > 0; h /= 2)
    {
        /* lane j: of block j / h, blocks of 2 h lanes of the first and then of the second */
        block = lane + (lane & -h);
        for (i = 0; i < n; i += 2) x[i / 2] = __builtin_shuffle(x[i], x[i + 1], block) +
                                              __builtin_shuffle(x[i], x[i + 1], block + h);
        n = (n + 1) / 2;
    }
    return x[0];
#else
    vec sum = FASTBP_SPLAT(0);
    for (i = 0; i < n; i++) {
        real *lane = (real *)(x + i);
        for (h = L / 2; h > 0; h /= 2) {
            int j;
            for (j = 0; j < h; j++) lane[j] += lane[j + h];
        }
        ((real *)&sum)[i] = lane[0];
    }
    return sum;
#endif
}

/* z[s * z_row] = b + sum_k a(s, k) w(k), s < m */
static void dots(ptrdiff_t m, ptrdiff_t K, const real *a, ptrdiff_t a_row, const real *w, real b,
                 real *z, ptrdiff_t z_row)
{
    enum { L = FASTBP_VECTOR_LANES, R = FASTBP_DOT_VECTORS <= 2 ? 4 : 1 };
    vec sums[L + 1], z_s;
    ptrdiff_t s, n, i;
    for (s = 0; s < m; s += L) {
        n = m - s < L ? m - s : L;
        for (i = 0; i + R <= n; i += R)
            dots_body(R, K, a + (s + i) * a_row, a_row, w, (real *)(sums + i));
        for (; i < n; i++) dots_body(1, K, a + (s + i) * a_row, a_row, w, (real *)(sums + i));
        sums[n] = FASTBP_SPLAT(0);
        z_s = (n == L ? fold(L, sums) : fold((int)n, sums)) + FASTBP_SPLAT(b);
        for (i = 0; i < n; i++) z[(s + i) * z_row] = ((const real *)&z_s)[i];
    }
}

#endif
