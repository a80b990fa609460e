/* Columns of a batch that are not 0 in all of its rows, and the rows without the others, in C.
 *
 * What belongs here: finding such columns, a vector of them at a time in all rows, and copying what
 * rows hold there side by side. What does not: who asks and when it pays (active.pxd), products.
 *
 * C and not Cython because a mask of lanes and their compression are intrinsics of the level.
 */
#ifndef FASTBP_ACTIVE_H
#define FASTBP_ACTIVE_H

#include <stddef.h>

#include "real.h"

#if !defined(FASTBP_VECTOR_BYTES)
typedef real_bits fastbp_lanes; /* the bits of a vector */
#else
typedef vec_bits fastbp_lanes;
#endif

/* Lanes in which anything but the sign is set, as bits: -0 is 0, too. */
FASTBP_INLINE unsigned fastbp_nonzero_lanes(fastbp_lanes x)
{
    x += x; /* without the sign */
#if !FASTBP_SINGLE && FASTBP_VECTOR_BYTES + 0 == 64
    return _mm512_test_epi64_mask((__m512i)x, (__m512i)x);
#elif FASTBP_VECTOR_BYTES + 0 == 64
    return _mm512_test_epi32_mask((__m512i)x, (__m512i)x);
#elif !FASTBP_SINGLE && FASTBP_VECTOR_BYTES + 0 == 32
    return _mm256_movemask_pd((__m256d)(x != 0));
#elif FASTBP_VECTOR_BYTES + 0 == 32
    return _mm256_movemask_ps((__m256)(x != 0));
#else
    unsigned mask = 0;
    real_bits lane[FASTBP_VECTOR_LANES];
    int i;
    memcpy(lane, &x, sizeof x);
    for (i = 0; i < FASTBP_VECTOR_LANES; i++) mask |= (unsigned)(lane[i] != 0) << i;
    return mask;
#endif
}

/* The numbers of the lanes in `mask`, ascending, to lane[0], ..; how many. */
FASTBP_INLINE int fastbp_lanes_of(unsigned mask, real_bits *lane)
{
#if FASTBP_VECTOR_BYTES + 0 == 64
#ifdef FASTBP_DOUBLE
    _mm512_storeu_si512(lane, _mm512_maskz_compress_epi64(
                                  (__mmask8)mask, _mm512_set_epi64(7, 6, 5, 4, 3, 2, 1, 0)));
#else
    _mm512_storeu_si512(lane, _mm512_maskz_compress_epi32(
                                  (__mmask16)mask, _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7,
                                                                    6, 5, 4, 3, 2, 1, 0)));
#endif
    return __builtin_popcount(mask);
#else
    int i, n = 0;
    FASTBP_UNROLL for (i = 0; i < FASTBP_VECTOR_LANES; i++)
    {
        lane[n] = i; /* no branch that could be mispredicted */
        n += mask >> i & 1;
    }
    return n;
#endif
}

/* Columns of the rows order[0], ..., order[m - 1] of X, n >= FASTBP_VECTOR_LANES wide, that are not
 * 0 in all of them, to `columns`, ascending; and what rows first, ..., last - 1 of these hold there
 * to rows first, ... of `a`; all of these have room for whole vectors. Returns how many there are;
 * where there are more than `most`, `most` + 1, and what was written is of no use. columns, a # OUT
 * Meanwhile rows next[0], ..., next[ahead - 1] of X are fetched. `rows`: scratch for m + ahead. */
static ptrdiff_t active_columns(const real *X, ptrdiff_t n, const ptrdiff_t *order, ptrdiff_t m,
                                ptrdiff_t first, ptrdiff_t last, ptrdiff_t most, int32_t *columns,
                                real *a, ptrdiff_t a_row, const ptrdiff_t *next,
                                ptrdiff_t ahead, const real **rows)
{
    enum { L = FASTBP_VECTOR_LANES };
    ptrdiff_t k, s, found = 0;
    for (s = 0; s < m; s++) rows[s] = X + order[s] * n;
    for (s = 0; s < ahead; s++) rows[m + s] = X + next[s] * n;
    for (k = 0; k < n; k += L) {
        /* the last vector ends with the row: lanes of the one before it are left out */
        const ptrdiff_t at = k + L <= n ? k : n - L;
        fastbp_lanes any;
        real_bits lane[L] = {0};
        unsigned mask;
        int i, more;
        memset(&any, 0, sizeof any);
        for (s = 0; s < m; s++) {
            fastbp_lanes x;
            memcpy(&x, rows[s] + at, sizeof x);
            any |= x;
        }
        for (s = 0; s < ahead; s++) FASTBP_PREFETCH_L2(rows[m + s] + at);
        mask = fastbp_nonzero_lanes(any) >> (k - at) << (k - at);
        if (!mask) continue;
        more = fastbp_lanes_of(mask, lane);
        if (found + more > most) return most + 1;
        FASTBP_UNROLL for (i = 0; i < L; i++) columns[found + i] = (int32_t)(at + lane[i]);
        for (s = first; s < last; s++) {
            const real *row = rows[s] + at;
            real *to = a + s * a_row + found;
#if FASTBP_VECTOR_BYTES + 0 >= 32 && !defined(__clang__) /* by copies elsewhere: no shuffle there */
            fastbp_lanes at_lane;
            memcpy(&at_lane, lane, sizeof at_lane);
            *(vec *)to = __builtin_shuffle(*(const vec *)row, at_lane);
#else
            for (i = 0; i < more; i++) to[i] = row[lane[i]];
#endif
        }
        found += more;
    }
    return found;
}

#endif
