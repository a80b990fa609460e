"""`real`, the type that this build of the engine computes in, and the vectors of its CPU level.

What belongs here: the names of real.h for Cython. Each level is compiled twice, for float and with
-DFASTBP_DOUBLE for double; SINGLE is a constant, so that the branch of the other type is no code.
"""
from libc.stdint cimport uint32_t, uint64_t

cdef extern from *:
    """
    /* A loop vectorises only if everything in it is inlined, and GCC leaves functions of this size
       out of line when they are used more than once. Cython marks `cdef inline` with CYTHON_INLINE,
       which is meant to be replaceable. */
    #undef CYTHON_INLINE
    #if defined(__GNUC__) || defined(__clang__)
    #define CYTHON_INLINE __inline__ __attribute__((always_inline, unused))
    #elif defined(_MSC_VER)
    #define CYTHON_INLINE __forceinline
    #else
    #define CYTHON_INLINE inline
    #endif
    """

cdef extern from "arithmetic/real.h":
    ctypedef float real
    ctypedef float vec            # VECTOR_LANES reals
    ctypedef uint64_t real_bits   # as wide as a real
    const bint SINGLE "FASTBP_SINGLE"
    const int MANTISSA "FASTBP_MANTISSA"
    const int VECTOR_LANES "FASTBP_VECTOR_LANES"
    const int PER_LINE "FASTBP_PER_LINE"  # reals in a cache line: padded rows hold whole ones
    const int PANEL "FASTBP_PANEL"        # columns that lie together: two lines
    const int TILE_ROWS "FASTBP_TILE_ROWS"
    const real LOWEST "FASTBP_LOWEST"  # the most negative number
    const real TINY "FASTBP_TINY"      # the smallest normal number

    vec splat "FASTBP_SPLAT"(real) noexcept nogil
    vec fmadd "FASTBP_FMADD"(vec, vec, vec) noexcept nogil
    vec root "FASTBP_SQRT"(vec) noexcept nogil
    vec sign "FASTBP_SIGN"(vec) noexcept nogil
    vec larger "FASTBP_MAX"(vec, vec) noexcept nogil
    vec smaller "FASTBP_MIN"(vec, vec) noexcept nogil
    void prefetch "FASTBP_PREFETCH"(const void *) noexcept nogil
    void prefetch_L2 "FASTBP_PREFETCH_L2"(const void *) noexcept nogil

    real fma "fastbp_fma"(real a, real b, real c) noexcept nogil
    real fabs "FASTBP_C(fabs)"(real x) noexcept nogil
    real sqrt "FASTBP_C(sqrt)"(real x) noexcept nogil
    real copysign "FASTBP_C(copysign)"(real x, real y) noexcept nogil
    real_bits bits "fastbp_bits"(real x) noexcept nogil
    real from_bits "fastbp_from_bits"(real_bits u) noexcept nogil
    real product_error "fastbp_product_error"(real a, real b, real p) noexcept nogil
