/* The register tile: the innermost loop of all three products, and the only C file.
 *
 * What belongs here: the vector type of the level being compiled, and one tile
 *
 *     C[r, j] = init[r, j] + sum_k a(r, k) B[k, j]        r < R rows, j < V vectors
 *
 * (init: a bias with row stride 0, C itself to go on adding, or NULL for zero), or, with a rate,
 *     C[r, j] -= rate sum_k a(r, k) B[k, j]
 * or, to multiply what is there,
 *     C[r, j] *= sum_k a(r, k) B[k, j]
 * whose accumulators stay in registers. Each output adds its terms strictly in k order, one fused
 * multiply-add a term and no horizontal sum, so the result does not depend on R, V or the level.
 * What does not: loops over matrices (products.pxd), formulas (update.pxd), memory.
 *
 * C and not Cython because GCC's vectoriser loses the tile at some shapes (8x32 falls to a fifth of
 * 8x48); vector extensions with constant R and V do not (bench/test_kernels.py).
 * A compiler without them gets vectors of one lane: slow, the same formulas, the same order.
 */
#ifndef FASTBP_TILE_H
#define FASTBP_TILE_H

#include <stddef.h>
#include <math.h>

#if defined(FASTBP_SCALAR) /* for tests: what a compiler without vector extensions gets */
#elif defined(__GNUC__) && defined(__AVX512F__)
#include <immintrin.h>
#define FASTBP_VECTOR_BYTES 64
#define FASTBP_TILE_ROWS 14 /* 14 x 2 accumulators + 2 of B + 1 of A: 31 of 32 registers */
#define FASTBP_FMADD_f32(a, b, c) ((v_f32)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define FASTBP_FMADD_f64(a, b, c) ((v_f64)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define FASTBP_SPLAT_f32(x) ((v_f32)_mm512_set1_ps(x))
#define FASTBP_SPLAT_f64(x) ((v_f64)_mm512_set1_pd(x))
#define FASTBP_SQRT_f32(x) ((v_f32)_mm512_sqrt_ps((__m512)(x)))
#define FASTBP_SQRT_f64(x) ((v_f64)_mm512_sqrt_pd((__m512d)(x)))

#elif defined(__GNUC__) && defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define FASTBP_VECTOR_BYTES 32
#define FASTBP_TILE_ROWS 6 /* 6 x 2 accumulators + 2 + 1: 15 of 16 registers */
#define FASTBP_FMADD_f32(a, b, c) ((v_f32)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FASTBP_FMADD_f64(a, b, c) ((v_f64)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define FASTBP_SPLAT_f32(x) ((v_f32)_mm256_set1_ps(x))
#define FASTBP_SPLAT_f64(x) ((v_f64)_mm256_set1_pd(x))
#define FASTBP_SQRT_f32(x) ((v_f32)_mm256_sqrt_ps((__m256)(x)))
#define FASTBP_SQRT_f64(x) ((v_f64)_mm256_sqrt_pd((__m256d)(x)))

#elif defined(__GNUC__) && defined(__SSE2__)
#include <immintrin.h>
#define FASTBP_VECTOR_BYTES 16
#define FASTBP_TILE_ROWS 5 /* 5 x 2 accumulators + 2 of B + 1 of A + a product: no FMA here */
#define FASTBP_FMADD_f32(a, b, c) ((a) * (b) + (c))
#define FASTBP_FMADD_f64(a, b, c) ((a) * (b) + (c))
#define FASTBP_SPLAT_f32(x) ((v_f32)_mm_set1_ps(x))
#define FASTBP_SPLAT_f64(x) ((v_f64)_mm_set1_pd(x))
#define FASTBP_SQRT_f32(x) ((v_f32)_mm_sqrt_ps((__m128)(x)))
#define FASTBP_SQRT_f64(x) ((v_f64)_mm_sqrt_pd((__m128d)(x)))

#elif defined(__GNUC__) && defined(__aarch64__)
#include <arm_neon.h>
#define FASTBP_VECTOR_BYTES 16
#define FASTBP_TILE_ROWS 8 /* 8 x 2 accumulators + 2 + 1 of 32 registers */
#define FASTBP_FMADD_f32(a, b, c) \
    ((v_f32)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define FASTBP_FMADD_f64(a, b, c) \
    ((v_f64)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#define FASTBP_SPLAT_f32(x) ((v_f32)vdupq_n_f32(x))
#define FASTBP_SPLAT_f64(x) ((v_f64)vdupq_n_f64(x))
#define FASTBP_SQRT_f32(x) ((v_f32)vsqrtq_f32((float32x4_t)(x)))
#define FASTBP_SQRT_f64(x) ((v_f64)vsqrtq_f64((float64x2_t)(x)))
#endif

#ifdef FASTBP_VECTOR_BYTES
/* aligned to the element only: that costs nothing on aligned data, and predict reads W unpadded */
typedef float v_f32 __attribute__((vector_size(FASTBP_VECTOR_BYTES), aligned(4), may_alias));
typedef double v_f64 __attribute__((vector_size(FASTBP_VECTOR_BYTES), aligned(8), may_alias));
typedef int v_i32 __attribute__((vector_size(FASTBP_VECTOR_BYTES)));
typedef long long v_i64 __attribute__((vector_size(FASTBP_VECTOR_BYTES)));
#define FASTBP_LANES_f32 (FASTBP_VECTOR_BYTES / 4)
#define FASTBP_LANES_f64 (FASTBP_VECTOR_BYTES / 8)
/* 1, 0 or -1: a comparison's lanes are all ones or all zeros, a mask for the bits of 1 */
#define FASTBP_SIGN_f32(x) \
    ((v_f32)(((x) > FASTBP_SPLAT_f32(0)) & (v_i32)FASTBP_SPLAT_f32(1)) - \
     (v_f32)(((x) < FASTBP_SPLAT_f32(0)) & (v_i32)FASTBP_SPLAT_f32(1)))
#define FASTBP_SIGN_f64(x) \
    ((v_f64)(((x) > FASTBP_SPLAT_f64(0)) & (v_i64)FASTBP_SPLAT_f64(1)) - \
     (v_f64)(((x) < FASTBP_SPLAT_f64(0)) & (v_i64)FASTBP_SPLAT_f64(1)))
/* x or y, y where either is NaN: FASTBP_MAX(bound, x) keeps a NaN of x */
#define FASTBP_CHOOSE_f32(mask, x, y) \
    ((v_f32)(((mask) & (v_i32)(x)) | (~(mask) & (v_i32)(y))))
#define FASTBP_CHOOSE_f64(mask, x, y) \
    ((v_f64)(((mask) & (v_i64)(x)) | (~(mask) & (v_i64)(y))))
#define FASTBP_MAX_f32(x, y) FASTBP_CHOOSE_f32((x) > (y), x, y)
#define FASTBP_MAX_f64(x, y) FASTBP_CHOOSE_f64((x) > (y), x, y)
#define FASTBP_MIN_f32(x, y) FASTBP_CHOOSE_f32((x) < (y), x, y)
#define FASTBP_MIN_f64(x, y) FASTBP_CHOOSE_f64((x) < (y), x, y)
#define FASTBP_INLINE static inline __attribute__((always_inline, unused))
#define FASTBP_PREFETCH(x) __builtin_prefetch(x)
#define FASTBP_PREFETCH_L2(x) __builtin_prefetch(x, 0, 2)
#define FASTBP_UNROLL _Pragma("GCC unroll 16")
#else
typedef float v_f32;
typedef double v_f64;
#define FASTBP_LANES_f32 1
#define FASTBP_LANES_f64 1
#define FASTBP_TILE_ROWS 4
#define FASTBP_FMADD_f32(a, b, c) ((a) * (b) + (c))
#define FASTBP_FMADD_f64(a, b, c) ((a) * (b) + (c))
#define FASTBP_SPLAT_f32(x) (x)
#define FASTBP_SPLAT_f64(x) (x)
#define FASTBP_SIGN_f32(x) ((float)((x) > 0) - (float)((x) < 0))
#define FASTBP_SIGN_f64(x) ((double)((x) > 0) - (double)((x) < 0))
#define FASTBP_MAX_f32(x, y) ((x) > (y) ? (x) : (y))
#define FASTBP_MAX_f64(x, y) ((x) > (y) ? (x) : (y))
#define FASTBP_MIN_f32(x, y) ((x) < (y) ? (x) : (y))
#define FASTBP_MIN_f64(x, y) ((x) < (y) ? (x) : (y))
#define FASTBP_SQRT_f32(x) sqrtf(x)
#define FASTBP_SQRT_f64(x) sqrt(x)
#define FASTBP_INLINE static inline
#define FASTBP_PREFETCH(x) ((void)(x))
#define FASTBP_PREFETCH_L2(x) ((void)(x))
#define FASTBP_UNROLL
#endif

#define FASTBP_TILE_VECTORS 2

/* One tile. With R, V and one of the two strides constant after inlining, the three inner loops
 * unroll and acc[][] lives in registers. */
#define FASTBP_DEFINE_TILE(T, real)                                                               \
    FASTBP_INLINE void tile_body_##T(const int R, const int V, ptrdiff_t K, const real *a,        \
                                     ptrdiff_t a_row, ptrdiff_t a_k, const real *B,               \
                                     ptrdiff_t B_row, const real *init, ptrdiff_t init_row,       \
                                     const real *rate, int times, real *C, ptrdiff_t C_row)       \
    {                                                                                             \
        v_##T acc[FASTBP_TILE_ROWS][FASTBP_TILE_VECTORS], b[FASTBP_TILE_VECTORS];                 \
        int r, v;                                                                                 \
        ptrdiff_t k;                                                                              \
        FASTBP_UNROLL for (r = 0; r < R; r++)                                                     \
            FASTBP_UNROLL for (v = 0; v < V; v++) acc[r][v] =                                     \
                init ? ((const v_##T *)(init + r * init_row))[v] : FASTBP_SPLAT_##T(0);           \
        for (k = 0; k < K; k++) {                                                                 \
            FASTBP_UNROLL for (v = 0; v < V; v++) b[v] = ((const v_##T *)(B + k * B_row))[v];     \
            FASTBP_UNROLL for (r = 0; r < R; r++)                                                 \
            {                                                                                     \
                v_##T x = FASTBP_SPLAT_##T(a[r * a_row + k * a_k]);                               \
                FASTBP_UNROLL for (v = 0; v < V; v++) acc[r][v] =                                 \
                    FASTBP_FMADD_##T(x, b[v], acc[r][v]);                                         \
            }                                                                                     \
        }                                                                                         \
        if (rate)                                                                                 \
            FASTBP_UNROLL for (r = 0; r < R; r++)                                                 \
                FASTBP_UNROLL for (v = 0; v < V; v++)((v_##T *)(C + r * C_row))[v] =              \
                    FASTBP_FMADD_##T(FASTBP_SPLAT_##T(-*rate), acc[r][v],                         \
                                     ((v_##T *)(C + r * C_row))[v]);                              \
        else if (times)                                                                           \
            FASTBP_UNROLL for (r = 0; r < R; r++)                                                 \
                FASTBP_UNROLL for (v = 0; v < V; v++)((v_##T *)(C + r * C_row))[v] *= acc[r][v];  \
        else                                                                                      \
            FASTBP_UNROLL for (r = 0; r < R; r++)                                                 \
                FASTBP_UNROLL for (v = 0; v < V; v++)((v_##T *)(C + r * C_row))[v] = acc[r][v];   \
    }                                                                                             \
    /* a(r, k) = a[r * stride + k]: rows of A as they lie (forward, delta recurrence) */          \
    static void tile_rows_##T(int R, int V, ptrdiff_t K, const real *a, ptrdiff_t stride,         \
                              const real *B, ptrdiff_t B_row, const real *init, int times,        \
                              real *C, ptrdiff_t C_row)                                           \
    {                                                                                             \
        FASTBP_SHAPES(T, K, a, stride, 1, B, B_row, init, 0, (const real *)0, times, C, C_row)    \
    }                                                                                             \
    /* a(r, k) = a[r + k * stride]: columns of A as they lie (weight gradient) */                 \
    static void tile_columns_##T(int R, int V, ptrdiff_t K, const real *a, ptrdiff_t stride,      \
                                 const real *B, ptrdiff_t B_row, const real *init,                \
                                 ptrdiff_t init_row, const real *rate, real *C, ptrdiff_t C_row)  \
    {                                                                                             \
        FASTBP_SHAPES(T, K, a, 1, stride, B, B_row, init, init_row, rate, 0, C, C_row)            \
    }

/* Shapes taller than this level's registers are never asked for and compile to nothing. */
#define FASTBP_SHAPE(T, ROWS, ...)                                          \
    case ROWS:                                                              \
        if (ROWS > FASTBP_TILE_ROWS) break;                                 \
        if (V == 2)                                                         \
            tile_body_##T(ROWS > FASTBP_TILE_ROWS ? 1 : ROWS, 2, __VA_ARGS__); \
        else                                                                \
            tile_body_##T(ROWS > FASTBP_TILE_ROWS ? 1 : ROWS, 1, __VA_ARGS__); \
        break;
#define FASTBP_SHAPES(T, ...)                                               \
    switch (R) {                                                            \
        FASTBP_SHAPE(T, 1, __VA_ARGS__) FASTBP_SHAPE(T, 2, __VA_ARGS__)     \
        FASTBP_SHAPE(T, 3, __VA_ARGS__) FASTBP_SHAPE(T, 4, __VA_ARGS__)     \
        FASTBP_SHAPE(T, 5, __VA_ARGS__) FASTBP_SHAPE(T, 6, __VA_ARGS__)     \
        FASTBP_SHAPE(T, 7, __VA_ARGS__) FASTBP_SHAPE(T, 8, __VA_ARGS__)     \
        FASTBP_SHAPE(T, 9, __VA_ARGS__) FASTBP_SHAPE(T, 10, __VA_ARGS__)    \
        FASTBP_SHAPE(T, 11, __VA_ARGS__) FASTBP_SHAPE(T, 12, __VA_ARGS__)   \
        FASTBP_SHAPE(T, 13, __VA_ARGS__) FASTBP_SHAPE(T, 14, __VA_ARGS__)   \
    }

FASTBP_DEFINE_TILE(f32, float)
FASTBP_DEFINE_TILE(f64, double)

/* A square block turned: t[j, i] = a[i, j] for as many i and j as a vector has lanes; rows i >= n of
 * `a` count as zero. In registers, by exchanging halves, quarters, ... of pairs of rows; the masks
 * are constants once the loops are unrolled. */
#if defined(FASTBP_VECTOR_BYTES) && !defined(__clang__) /* __builtin_shuffle is GCC's */
#define FASTBP_DEFINE_TRANSPOSE(T, real, mask)                                                    \
    static void transpose_##T(int n, const real *a, ptrdiff_t a_row, real *t, ptrdiff_t t_row)    \
    {                                                                                             \
        enum { L = FASTBP_LANES_##T };                                                            \
        v_##T x[L];                                                                               \
        mask lane;                                                                                \
        int i, s;                                                                                 \
        FASTBP_UNROLL for (i = 0; i < L; i++) lane[i] = i;                                        \
        FASTBP_UNROLL for (i = 0; i < L; i++) x[i] =                                              \
            i < n ? *(const v_##T *)(a + i * a_row) : FASTBP_SPLAT_##T(0);                        \
        FASTBP_UNROLL for (s = 1; s < L; s *= 2)                                                  \
        {                                                                                         \
            const mask odd = (lane & s) != 0;                                                     \
            FASTBP_UNROLL for (i = 0; i < L; i++) if (!(i & s))                                   \
            {                                                                                     \
                const v_##T low = x[i], high = x[i + s];                                          \
                x[i] = __builtin_shuffle(low, high, lane + (odd & (L - s)));                      \
                x[i + s] = __builtin_shuffle(low, high, lane + (odd & L) + (~odd & s));           \
            }                                                                                     \
        }                                                                                         \
        FASTBP_UNROLL for (i = 0; i < L; i++) *(v_##T *)(t + i * t_row) = x[i];                   \
    }
#else
#define FASTBP_DEFINE_TRANSPOSE(T, real, mask)                                                    \
    static void transpose_##T(int n, const real *a, ptrdiff_t a_row, real *t, ptrdiff_t t_row)    \
    {                                                                                             \
        int i, j;                                                                                 \
        for (j = 0; j < FASTBP_LANES_##T; j++)                                                    \
            for (i = 0; i < FASTBP_LANES_##T; i++)                                                \
                t[j * t_row + i] = i < n ? a[i * a_row + j] : (real)0;                            \
    }
#endif
FASTBP_DEFINE_TRANSPOSE(f32, float, v_i32)
FASTBP_DEFINE_TRANSPOSE(f64, double, v_i64)

#endif
