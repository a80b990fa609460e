/* The type that a build of the engine computes in, and the vectors of its CPU level.
 *
 * What belongs here: `real` (float, or double with -DFASTBP_DOUBLE), the operations on a vector of it
 * (`vec`) and on its bits that are spelled differently for each type or level. What does not: loops,
 * formulas.
 * A compiler without vector extensions gets vectors of one lane: slow, the same formulas.
 */
#ifndef FASTBP_REAL_H
#define FASTBP_REAL_H

#include <math.h>
#include <stdint.h>
#include <string.h>

#ifdef FASTBP_DOUBLE
typedef double real;
typedef uint64_t real_bits;
#define FASTBP_SINGLE 0
#define FASTBP_MANTISSA 52
#define FASTBP_C(name) name          /* sqrt, fabs */
#define FASTBP_BUILTIN(name) __builtin_##name
#define FASTBP_LOWEST -1.7976931348623157e308
#define FASTBP_TINY 2.2250738585072014e-308
#define FASTBP_HALF_MANTISSA 0xfffffffff8000000u
#else
typedef float real;
typedef uint32_t real_bits;
#define FASTBP_SINGLE 1
#define FASTBP_MANTISSA 23
#define FASTBP_C(name) name##f
#define FASTBP_BUILTIN(name) __builtin_##name##f
#define FASTBP_LOWEST -3.4028234e38f
#define FASTBP_TINY 1.17549435e-38f
#define FASTBP_HALF_MANTISSA 0xfffff000u
#endif

/* ---- vectors: _V(ps) is the spelling of an intrinsic for this type ------------------------------ */

#if defined(__GNUC__) || defined(__clang__) /* clang-cl says the second alone */
#define FASTBP_GNU 1
#endif

#if defined(FASTBP_SCALAR) /* for tests: what a compiler without vector extensions gets */
#elif defined(FASTBP_GNU) && defined(__AVX512F__)
#include <immintrin.h>
#define FASTBP_VECTOR_BYTES 64
#define FASTBP_TILE_ROWS 14 /* 14 x 2 accumulators + 2 of B + 1 of A: 31 of 32 registers */
#ifdef FASTBP_DOUBLE
#define FASTBP_FMADD(a, b, c) ((vec)_mm512_fmadd_pd((__m512d)(a), (__m512d)(b), (__m512d)(c)))
#define FASTBP_SPLAT(x) ((vec)_mm512_set1_pd(x))
#define FASTBP_SQRT(x) ((vec)_mm512_sqrt_pd((__m512d)(x)))
#else
#define FASTBP_FMADD(a, b, c) ((vec)_mm512_fmadd_ps((__m512)(a), (__m512)(b), (__m512)(c)))
#define FASTBP_SPLAT(x) ((vec)_mm512_set1_ps(x))
#define FASTBP_SQRT(x) ((vec)fastbp_root((__m512)(x)))
#define FASTBP_SOFTWARE_ROOT 1
#endif

#elif defined(FASTBP_GNU) && defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define FASTBP_VECTOR_BYTES 32
#define FASTBP_TILE_ROWS 6 /* 6 x 2 accumulators + 2 + 1: 15 of 16 registers */
#ifdef FASTBP_DOUBLE
#define FASTBP_FMADD(a, b, c) ((vec)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#define FASTBP_SPLAT(x) ((vec)_mm256_set1_pd(x))
#define FASTBP_SQRT(x) ((vec)_mm256_sqrt_pd((__m256d)(x)))
#else
#define FASTBP_FMADD(a, b, c) ((vec)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define FASTBP_SPLAT(x) ((vec)_mm256_set1_ps(x))
#define FASTBP_SQRT(x) ((vec)_mm256_sqrt_ps((__m256)(x)))
#endif

#elif defined(FASTBP_GNU) && defined(__SSE2__)
#include <immintrin.h>
#define FASTBP_VECTOR_BYTES 16
#define FASTBP_TILE_ROWS 5 /* 5 x 2 accumulators + 2 of B + 1 of A + a product: no FMA here */
#define FASTBP_FMADD(a, b, c) ((a) * (b) + (c))
#ifdef FASTBP_DOUBLE
#define FASTBP_SPLAT(x) ((vec)_mm_set1_pd(x))
#define FASTBP_SQRT(x) ((vec)_mm_sqrt_pd((__m128d)(x)))
#else
#define FASTBP_SPLAT(x) ((vec)_mm_set1_ps(x))
#define FASTBP_SQRT(x) ((vec)_mm_sqrt_ps((__m128)(x)))
#endif

#elif defined(FASTBP_GNU) && defined(__aarch64__)
#include <arm_neon.h>
#define FASTBP_VECTOR_BYTES 16
#define FASTBP_TILE_ROWS 8 /* 8 x 2 accumulators + 2 + 1 of 32 registers */
#ifdef FASTBP_DOUBLE
#define FASTBP_FMADD(a, b, c) \
    ((vec)vfmaq_f64((float64x2_t)(c), (float64x2_t)(a), (float64x2_t)(b)))
#define FASTBP_SPLAT(x) ((vec)vdupq_n_f64(x))
#define FASTBP_SQRT(x) ((vec)vsqrtq_f64((float64x2_t)(x)))
#else
#define FASTBP_FMADD(a, b, c) \
    ((vec)vfmaq_f32((float32x4_t)(c), (float32x4_t)(a), (float32x4_t)(b)))
#define FASTBP_SPLAT(x) ((vec)vdupq_n_f32(x))
#define FASTBP_SQRT(x) ((vec)vsqrtq_f32((float32x4_t)(x)))
#endif
#endif

#ifdef FASTBP_VECTOR_BYTES
/* aligned to the element only: that costs nothing on aligned data, and predict reads W unpadded */
#ifdef FASTBP_DOUBLE
typedef double vec __attribute__((vector_size(FASTBP_VECTOR_BYTES), aligned(8), may_alias));
typedef long long vec_bits __attribute__((vector_size(FASTBP_VECTOR_BYTES)));
#else
typedef float vec __attribute__((vector_size(FASTBP_VECTOR_BYTES), aligned(4), may_alias));
typedef int vec_bits __attribute__((vector_size(FASTBP_VECTOR_BYTES)));
#endif
enum { FASTBP_VECTOR_LANES = FASTBP_VECTOR_BYTES / sizeof(real) };
/* 1, 0 or -1: a comparison's lanes are all ones or all zeros, a mask for the bits of 1 */
#define FASTBP_SIGN(x) \
    ((vec)(((x) > FASTBP_SPLAT(0)) & (vec_bits)FASTBP_SPLAT(1)) - \
     (vec)(((x) < FASTBP_SPLAT(0)) & (vec_bits)FASTBP_SPLAT(1)))
/* x or y, y where either is NaN: FASTBP_MAX(bound, x) keeps a NaN of x */
#define FASTBP_CHOOSE(mask, x, y) ((vec)(((mask) & (vec_bits)(x)) | (~(mask) & (vec_bits)(y))))
#define FASTBP_MAX(x, y) FASTBP_CHOOSE((x) > (y), x, y)
#define FASTBP_MIN(x, y) FASTBP_CHOOSE((x) < (y), x, y)
#define FASTBP_INLINE static inline __attribute__((always_inline, unused))
#define FASTBP_NOINLINE __attribute__((noinline))
#define FASTBP_PREFETCH(x) __builtin_prefetch(x)
#define FASTBP_PREFETCH_L2(x) __builtin_prefetch(x, 0, 2)
#define FASTBP_UNROLL _Pragma("GCC unroll 16")
#else
typedef real vec;
enum { FASTBP_VECTOR_LANES = 1 };
#define FASTBP_TILE_ROWS 4
#define FASTBP_FMADD(a, b, c) ((a) * (b) + (c))
#define FASTBP_SPLAT(x) ((real)(x))
#define FASTBP_SIGN(x) ((real)((x) > 0) - (real)((x) < 0))
#define FASTBP_MAX(x, y) ((x) > (y) ? (x) : (y))
#define FASTBP_MIN(x, y) ((x) < (y) ? (x) : (y))
#define FASTBP_SQRT(x) FASTBP_C(sqrt)(x)
#define FASTBP_INLINE static inline
#define FASTBP_NOINLINE
#define FASTBP_PREFETCH(x) ((void)(x))
#define FASTBP_PREFETCH_L2(x) ((void)(x))
#define FASTBP_UNROLL
#endif

#ifdef FASTBP_SOFTWARE_ROOT
/* The bits of vsqrtps, which keeps the one divider busy for 12 cycles (Adam: bench/compare.py), by
 * Goldschmidt's iteration from an estimate: 1/sqrt v and sqrt v once better, the remainder v - g^2
 * exact. Equal for 0 and all of [2^-102, 2^67), from whatever estimate within 2^-14, so whoever made
 * the CPU (tests/kernels/test_elementary.py); what lies outside, or is negative or NaN, is left to the
 * hardware. AVX2 has an estimate of 12 bits and needs an iteration more, which costs what it saves. */
FASTBP_INLINE __m512 fastbp_root(__m512 v)
{
    const __m512 half = _mm512_set1_ps(0.5f);
    const int first = 0x0c800000, last = 0x60ffffff; /* bits of 2^-102 and of the last below 2^67 */
    const __mmask16 some = _mm512_cmp_ps_mask(v, _mm512_setzero_ps(), _CMP_NEQ_UQ);
    const __m512i place = _mm512_sub_epi32(_mm512_castps_si512(v), _mm512_set1_epi32(first));
    __m512 g, h, r;
    if (_mm512_mask_cmpgt_epu32_mask(some, place, _mm512_set1_epi32(last - first)))
        return _mm512_sqrt_ps(v);
    r = _mm512_maskz_rsqrt14_ps(some, v);
    g = _mm512_mul_ps(v, r);
    h = _mm512_mul_ps(half, r);
    r = _mm512_fnmadd_ps(g, h, half);
    g = _mm512_fmadd_ps(g, r, g);
    h = _mm512_fmadd_ps(h, r, h);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(g, g, v), h, g);
}
#endif

enum { FASTBP_PER_LINE = 64 / sizeof(real) };
/* columns of a matrix that lie together, row after row: two lines, the widest level's tile */
enum { FASTBP_PANEL = 2 * FASTBP_PER_LINE };

/* ---- one number --------------------------------------------------------------------------------- */

/* Where no fused instruction exists fma() is a slow library call. */
#if defined(FASTBP_GNU) && (defined(__FMA__) || defined(__aarch64__))
#define FASTBP_HAS_FMA 1
static inline real fastbp_fma(real a, real b, real c) { return FASTBP_BUILTIN(fma)(a, b, c); }
#else
#define FASTBP_HAS_FMA 0
static inline real fastbp_fma(real a, real b, real c) { return a * b + c; }
#endif

static inline real_bits fastbp_bits(real x)
{
    real_bits u;
    memcpy(&u, &x, sizeof u);
    return u;
}

static inline real fastbp_from_bits(real_bits u)
{
    real x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* a b - p for p close to a b; without fma from products of half mantissas, which are exact
 * (Dekker 1971) */
static inline real fastbp_product_error(real a, real b, real p)
{
#if FASTBP_HAS_FMA
    return fastbp_fma(a, b, -p);
#else
    const real a1 = fastbp_from_bits(fastbp_bits(a) & FASTBP_HALF_MANTISSA), a2 = a - a1;
    const real b1 = fastbp_from_bits(fastbp_bits(b) & FASTBP_HALF_MANTISSA), b2 = b - b1;
    return ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
#endif
}

#endif
