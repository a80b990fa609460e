/* The innermost loops over rows of W that lists name, in C.
 *
 * What belongs here: sums over the elements of one sample's list, or over one column's elements in
 * several, with their accumulators in registers; products back to the elements. Each output adds
 * its terms in order, one fused multiply-add a term, as the tile does (tile.h), which only has
 * further terms of 0. What does not: which lists (links/sparse.pxd).
 *
 * C and not Cython for the same reason as tile.h: accumulators need constant sizes.
 */
#ifndef FASTBP_LISTS_H
#define FASTBP_LISTS_H

#include <stddef.h>
#include <stdint.h>

#include "real.h"

#define FASTBP_LIST_VECTORS 8 /* accumulators: enough to hide an fma's latency at any level */
#define FASTBP_LIST_AHEAD 8   /* elements from one to the one whose row of W is fetched */
#define FASTBP_LIST_CHAINS 8  /* sums at once of a product back */

FASTBP_INLINE void fastbp_fetch_row(const int V, const real *row)
{
    int v;
    FASTBP_UNROLL for (v = 0; v < V; v += FASTBP_PER_LINE / FASTBP_VECTOR_LANES)
        FASTBP_PREFETCH(row + v * FASTBP_VECTOR_LANES);
}

/* z = b + sum_i values[i] W[index[i]] over n elements, V vectors */
FASTBP_INLINE void fastbp_list_body(const int V, ptrdiff_t n, const int32_t *index,
                                    const real *values, const real *W, ptrdiff_t W_row,
                                    const real *b, real *z)
{
    vec acc[FASTBP_LIST_VECTORS];
    ptrdiff_t i;
    int v;
    FASTBP_UNROLL for (v = 0; v < V; v++) acc[v] = b ? ((const vec *)b)[v] : FASTBP_SPLAT(0);
    for (i = 0; i < n; i++) {
        const vec x = FASTBP_SPLAT(values[i]);
        const vec *w = (const vec *)(W + index[i] * W_row);
        /* not beyond the row: what lies there another thread may be writing */
        const ptrdiff_t ahead = i + FASTBP_LIST_AHEAD < n ? i + FASTBP_LIST_AHEAD : n - 1;
        fastbp_fetch_row(V, W + index[ahead] * W_row);
        FASTBP_UNROLL for (v = 0; v < V; v++) acc[v] = FASTBP_FMADD(x, w[v], acc[v]);
    }
    FASTBP_UNROLL for (v = 0; v < V; v++)((vec *)z)[v] = acc[v];
}

/* nabla = init + sum_i values[i] delta[sample[i]] over the elements of one column, linked by `next`
 * from `head` on; with a rate W -= rate times that sum in its place */
FASTBP_INLINE void fastbp_column_body(const int V, int32_t head, const int32_t *next,
                                      const int32_t *sample, const real *values, const real *delta,
                                      ptrdiff_t delta_row, const real *init, const real *rate,
                                      real *nabla)
{
    vec acc[FASTBP_LIST_VECTORS];
    int32_t i;
    int v;
    FASTBP_UNROLL for (v = 0; v < V; v++) acc[v] = init ? ((const vec *)init)[v] : FASTBP_SPLAT(0);
    for (i = head; i; i = next[i - 1]) {
        const vec x = FASTBP_SPLAT(values[i - 1]);
        const vec *d = (const vec *)(delta + sample[i - 1] * delta_row);
        FASTBP_UNROLL for (v = 0; v < V; v++) acc[v] = FASTBP_FMADD(x, d[v], acc[v]);
    }
    if (rate) {
        const vec minus_rate = FASTBP_SPLAT(-*rate);
        FASTBP_UNROLL for (v = 0; v < V; v++)((vec *)nabla)[v] =
            FASTBP_FMADD(minus_rate, acc[v], ((vec *)nabla)[v]);
    } else
        FASTBP_UNROLL for (v = 0; v < V; v++)((vec *)nabla)[v] = acc[v];
}

#define FASTBP_WIDTHS(body, ...)                                               \
    switch (V) {                                                               \
        case 1: body(1, __VA_ARGS__); break; case 2: body(2, __VA_ARGS__); break; \
        case 3: body(3, __VA_ARGS__); break; case 4: body(4, __VA_ARGS__); break; \
        case 5: body(5, __VA_ARGS__); break; case 6: body(6, __VA_ARGS__); break; \
        case 7: body(7, __VA_ARGS__); break; default: body(8, __VA_ARGS__);       \
    }

static void list_times_rows(int V, ptrdiff_t n, const int32_t *index, const real *values,
                            const real *W, ptrdiff_t W_row, const real *b, real *z)
{
    FASTBP_WIDTHS(fastbp_list_body, n, index, values, W, W_row, b, z)
}

static void column_times_rows(int V, int32_t head, const int32_t *next, const int32_t *sample,
                              const real *values, const real *delta, ptrdiff_t delta_row,
                              const real *init, const real *rate, real *nabla)
{
    FASTBP_WIDTHS(fastbp_column_body, head, next, sample, values, delta, delta_row, init, rate,
                  nabla)
}

/* sum += m rows of V vectors, in order */
static void add_rows(int V, ptrdiff_t m, const real *rows, ptrdiff_t row, real *sum)
{
    ptrdiff_t s;
    int v;
    for (s = 0; s < m; s++)
        for (v = 0; v < V; v++) ((vec *)sum)[v] += ((const vec *)(rows + s * row))[v];
}

/* g[i] = sum_j delta[j] W[index[i], j] over n_z columns, for n elements */
static void rows_times_delta(ptrdiff_t n, const int32_t *index, const real *W, ptrdiff_t W_row,
                             const real *delta, ptrdiff_t n_z, real *g)
{
    const real *w[FASTBP_LIST_CHAINS];
    real acc[FASTBP_LIST_CHAINS];
    ptrdiff_t i, j;
    int c;
    for (i = 0; i < n; i += FASTBP_LIST_CHAINS) {
        const int left = n - i < FASTBP_LIST_CHAINS ? (int)(n - i) : FASTBP_LIST_CHAINS;
        for (c = 0; c < FASTBP_LIST_CHAINS; c++) {
            w[c] = W + index[i + (c < left ? c : 0)] * W_row;
            acc[c] = 0;
        }
        for (j = 0; j < n_z; j++)
            FASTBP_UNROLL for (c = 0; c < FASTBP_LIST_CHAINS; c++)
                acc[c] = fastbp_fma(delta[j], w[c][j], acc[c]);
        for (c = 0; c < left; c++) g[i + c] = acc[c];
    }
}

#endif
