"""The engine: one network's passes and its training loop behind a few Python doors.

What belongs here: what a module of the engine is made of, and its tables. What does not: checks of
user input, defaults, names that a user chooses.

Compiled once per CPU level and type, as ``engine_avx2_f32``, ``engine_avx2_f64`` and so on
(setup.py); ``dispatch`` imports one. A parameter array must be followed by 64 readable bytes (rows
of W are read in whole vectors).
"""
from time import monotonic

from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDES, PyBUF_WRITABLE, PyBuffer_IsContiguous,
    PyBuffer_Release, PyObject_GetBuffer)
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_IsValid
from libc.math cimport INFINITY, NAN, ldexp
from libc.math cimport sqrt as sqrt_of_double
from libc.stdint cimport int32_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from libc.time cimport time_t

from fastbp.kernels.arithmetic.active cimport FEW_COLUMNS, active_columns, most_active
from fastbp.kernels.arithmetic.blocking cimport (
    TILE_SIZE, TILE_VECTORS, is_large, packed_columns, rows_times)
from fastbp.kernels.arithmetic.caches cimport (
    BRIEF, CHUNK_REALS, CHUNK_ROWS, FEW, FEW_BYTES, HALF_OF_IT_BYTES, KEPT_BYTES, PAGE_BYTES,
    PART_BYTES, PART_ROWS, SECOND_LEVEL_BYTES, SLICE_BYTES)
from fastbp.kernels.arithmetic.draws cimport bitgen_t, shuffle_by
from fastbp.kernels.arithmetic.elementary cimport (
    erf, exp, expm1, log, log1p, normal_cdf, normal_pdf, sigmoid, softplus, tanh)
from fastbp.kernels.arithmetic.lanes cimport (
    LANES_P, Source, lanes_columns, lanes_gather, lanes_sum)
from fastbp.kernels.arithmetic.random cimport shuffle
from fastbp.kernels.arithmetic.real cimport (
    PANEL, PER_LINE, SINGLE, TILE_ROWS, VECTOR_LANES, larger, real, root, splat, sqrt, vec)
from fastbp.kernels.arithmetic.reductions cimport LANES, row_sum, sum_of_doubles
from fastbp.kernels.functions.activation cimport (
    N_SIGMAS, exponentials, fill_sigmas, softmax_scale, softmax_shift)
from fastbp.kernels.functions.cost cimport (
    Canonical, N_CANONICAL, N_COSTS, at_least_tiny, cost_of_shifted, fill_canonical, fill_costs,
    softmax_delta)
from fastbp.kernels.functions.dropout cimport (
    Dropout, drop, drop_listed, kept, key_of_row, stream_of_layer)
from fastbp.kernels.links.dense cimport dense_link
from fastbp.kernels.links.dot cimport dot_link
from fastbp.kernels.links.scale cimport scale_link
from fastbp.kernels.links.sparse cimport sparse_link, sparse_scale_link
from fastbp.kernels.loop.barrier cimport Barrier, MAX_THREADS, give_up, is_raised, raise_flag, wait
from fastbp.kernels.tables cimport (
    Active, Ahead, Cost, Input, LaneLayer, LaneTensor, Layer, Link, Numbers, Own, Policy, Sigma,
    Step, Tensor, Terms, Turned, dense_input)
from fastbp.kernels.update cimport (
    N_POLICIES, adam_rate_of, begin_step, fill_policies, keep_of, numbers_in_vectors, numbers_of,
    root_bias2_of, set_scale, update_rows)

cdef extern from "<time.h>" nogil:
    struct timespec:
        time_t tv_sec
        long tv_nsec
    const int TIME_UTC
    int timespec_get(timespec *now, int base)

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__linux__)
    #include <sys/mman.h>
    #endif
    #ifdef MADV_HUGEPAGE
    /* Weights of some MB span more pages than the CPU remembers: ask for large ones, as NumPy does
     * for its arrays (a tenth of a step at width 2048 in bench/growth.py). */
    static inline void fastbp_ask_for_huge_pages(void *memory, size_t n)
    {
        const uintptr_t huge = (uintptr_t)1 << 21, at = (uintptr_t)memory;
        const uintptr_t first = (at + huge - 1) & ~(huge - 1);
        if (n >= 2 * huge) (void)madvise((void *)first, at + n - first, MADV_HUGEPAGE);
    }
    #else
    static inline void fastbp_ask_for_huge_pages(void *memory, size_t n) { (void)memory; (void)n; }
    #endif
    /* Numbers below the normal ones count as 0 in this thread: where neurons saturate there are
     * many, and each costs some hundred cycles (784-30-10 on MNIST: half of the later epochs). */
    #if defined(__SSE2__)
    #include <xmmintrin.h>
    static inline uint64_t fastbp_flush_subnormals(void)
    {
        const unsigned mode = _mm_getcsr();
        _mm_setcsr(mode | 0x8040); /* flush to zero, denormals are zero */
        return mode;
    }
    static inline void fastbp_keep_subnormals(uint64_t mode) { _mm_setcsr((unsigned)mode); }
    #elif defined(__aarch64__) && (defined(__GNUC__) || defined(__clang__))
    static inline uint64_t fastbp_flush_subnormals(void)
    {
        uint64_t mode;
        __asm__ __volatile__("mrs %0, fpcr" : "=r"(mode));
        __asm__ __volatile__("msr fpcr, %0" : : "r"(mode | (1ull << 24)));
        return mode;
    }
    static inline void fastbp_keep_subnormals(uint64_t mode)
    {
        __asm__ __volatile__("msr fpcr, %0" : : "r"(mode));
    }
    #else
    static inline uint64_t fastbp_flush_subnormals(void) { return 0; }
    static inline void fastbp_keep_subnormals(uint64_t mode) { (void)mode; }
    #endif
    #if defined(__clang__)
    #define FASTBP_COMPILER "Clang " __clang_version__
    #elif defined(__GNUC__)
    #define FASTBP_COMPILER "GCC " __VERSION__
    #elif defined(_MSC_VER)
    #define FASTBP_STRING_(x) #x
    #define FASTBP_STRING(x) FASTBP_STRING_(x)
    #define FASTBP_COMPILER "MSVC " FASTBP_STRING(_MSC_VER)
    #else
    #define FASTBP_COMPILER "unknown"
    #endif
    """
    const char *COMPILER "FASTBP_COMPILER"
    uint64_t flush_subnormals "fastbp_flush_subnormals"() nogil
    void keep_subnormals "fastbp_keep_subnormals"(uint64_t mode) nogil
    void ask_for_huge_pages "fastbp_ask_for_huge_pages"(void *memory, size_t n)

cdef enum:
    N_LINKS = 5

cdef Link[N_LINKS] LINKS = [
    dense_link(), dot_link(), scale_link(), sparse_link(), sparse_scale_link()]
cdef Sigma[N_SIGMAS] SIGMAS
cdef Cost[N_COSTS] COST_TABLE
cdef Canonical[N_CANONICAL] CANONICAL
cdef Policy[N_POLICIES] POLICIES
fill_sigmas(SIGMAS)
fill_costs(COST_TABLE)
fill_canonical(CANONICAL)
fill_policies(POLICIES)

# the rows by name
LINK_ROWS = {LINKS[row].name.decode(): row for row in range(N_LINKS)}
SIGMA_ROWS = {SIGMAS[row].name.decode(): row for row in range(N_SIGMAS)}
COST_ROWS = {COST_TABLE[row].name.decode(): row for row in range(N_COSTS)}
CANONICAL_ROWS = {
    (CANONICAL[row].sigma.decode(), CANONICAL[row].cost.decode()): row for row in range(N_CANONICAL)
}
POLICY_ROWS = {POLICIES[row].name.decode(): row for row in range(N_POLICIES)}

max_threads = MAX_THREADS
compiler = COMPILER.decode()

include "loop/passes.pxi"
include "loop/lists.pxi"
include "loop/columns.pxi"
include "loop/zeros.pxi"
include "loop/share.pxi"
include "loop/steps.pxi"
include "loop/lanes.pxi"
include "loop/lane_steps.pxi"
include "doors/network.pxi"
include "doors/capi.pxi"
include "doors/predictor.pxi"
include "doors/online.pxi"
include "doors/trainer.pxi"
include "doors/many.pxi"
include "doors/timing.pxi"
