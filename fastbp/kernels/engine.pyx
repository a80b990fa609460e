"""The engine: one network's passes and its training loop behind a few Python doors.

What belongs here: the compiled description of a network, its memory, and functions that take arrays
already checked by network.py and training.py, release the GIL and call the passes. What does not:
checks of user input (`Predictor` only sees whether an array needs none), defaults, names.

Compiled once per CPU level as ``engine_baseline``, ``engine_avx2``, ``engine_avx512`` (setup.py);
``dispatch`` imports one. Doors are fused over float32 and float64: ``loss["float"]``,
``loss["double"]``. A parameter array must be followed by 64 readable bytes (rows of W are read in
whole vectors).
"""
from time import monotonic

from cpython.buffer cimport (
    PyBUF_FORMAT, PyBUF_SIMPLE, PyBUF_STRIDES, PyBuffer_IsContiguous, PyBuffer_Release,
    PyObject_GetBuffer)
from cpython.mem cimport PyMem_RawCalloc, PyMem_RawFree
from cython cimport floating as real
from libc.math cimport INFINITY, ldexp
from libc.stdint cimport uint64_t, uintptr_t
from libc.string cimport memcpy, memset
from libc.time cimport time_t

from fastbp.kernels.activation cimport (
    Elu, Exp, Gelu, GeluTanh, Hardtanh, Identity, LANES, LeakyRelu, Mish, Relu, Selu, Sigmoid, Silu,
    Softplus, Softsign, Tanh, elementwise, glu, glu_jvp, glu_vjp, layer_norm, layer_norm_product,
    log_softmax, log_softmax_jvp, log_softmax_vjp, maxout, maxout_jvp, maxout_vjp, row_sum, softmax,
    softmax_product, softmax_scale, softmax_shift, sum_of_lanes, values, values_and_slopes)
from fastbp.kernels.barrier cimport Barrier, MAX_THREADS, give_up, is_raised, raise_flag, wait
from fastbp.kernels.cost cimport (
    Absolute, BinaryCrossEntropy, CrossEntropy, ExpPoisson, Hinge, Huber, KullbackLeibler, LogCosh,
    MeanSquared, Pinball, Poisson, Quadratic, SigmoidBinaryCrossEntropy, SquaredHinge,
    cost_of_shifted, costs_and_slopes, gaussian_nll, softmax_delta)
from fastbp.kernels.dropout cimport Dropout, drop
from fastbp.kernels.elementary cimport (
    erf, exp, expm1, log, log1p, normal_cdf, normal_pdf, sigmoid, softplus, sqrt, tanh)
from fastbp.kernels.products cimport (
    Ahead, PACKED_COLUMNS, PANEL, TILE_ROWS, TILE_SIZE, TILE_VECTORS, bias_gradient, is_large,
    lanes, propagate_back, update_rows, weight_gradient, weight_update, weighted_input)
from fastbp.kernels.random cimport shuffle
from fastbp.kernels.update cimport (
    ADADELTA, ADAGRAD, ADAM, ADAMW, AMSGRAD, LION, MOMENTUM, NESTEROV, RMSPROP, RMSPROP_CENTERED,
    RMSPROP_MOMENTUM, SGD, Step, begin_step, is_shaped, n_slots, set_scale)

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
    #elif defined(__aarch64__) && defined(__GNUC__)
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

include "passes.pxi"
include "training.pxi"

OPTIMIZERS = {
    "sgd": SGD, "momentum": MOMENTUM, "nesterov": NESTEROV, "adam": ADAM, "adamw": ADAMW,
    "amsgrad": AMSGRAD, "rmsprop": RMSPROP, "rmsprop_momentum": RMSPROP_MOMENTUM,
    "rmsprop_centered": RMSPROP_CENTERED, "adagrad": ADAGRAD, "adadelta": ADADELTA, "lion": LION}
max_threads = MAX_THREADS
compiler = COMPILER.decode()


cdef class Block:
    """Zeroed memory, aligned to 64 bytes."""
    cdef void *raw
    cdef void *data

    def __cinit__(self, double n_bytes):
        # a double, so that the product of the caller's sizes cannot wrap around
        self.raw = NULL
        if n_bytes < 9e18:
            self.raw = PyMem_RawCalloc(<size_t>n_bytes + 64, 1)
        if self.raw == NULL:
            raise MemoryError(f"{n_bytes:.3g} bytes for this network and batch do not fit")
        ask_for_huge_pages(self.raw, <size_t>n_bytes)
        self.data = aligned(self.raw)

    def __dealloc__(self):
        PyMem_RawFree(self.raw)


cdef Py_ssize_t padded_row(Py_ssize_t n, Py_ssize_t per_line):
    """Reals in a row of n, in whole cache lines.

    Rows a multiple of 1 KB apart would meet in a few sets of the caches: one line more (half of a
    step of case F in bench/compare.py).
    """
    cdef Py_ssize_t lines = (n + per_line - 1) // per_line
    return (lines + (lines % 16 == 0)) * per_line


cdef class CompiledNetwork:
    """The description of a network that the passes read: no parameters, no state.

    layers: a list of (activation, its parameter, n_in, n_z, n_a); cost: (name, its parameter).
    """
    cdef Plan plan
    cdef Block layers

    def __init__(self, list layers, tuple cost, bint is_double, bint canonical, Py_ssize_t n_y):
        cdef Plan *p = &self.plan
        cdef Py_ssize_t per_line = 8 if is_double else 16  # reals in 64 bytes
        cdef Layer *f
        cdef int l
        p.n_layers = len(layers)
        self.layers = Block(sizeof(Layer) * <double>p.n_layers)
        p.layers = <Layer *>self.layers.data
        p.is_double = is_double
        p.canonical = canonical
        p.cost = COSTS[cost[0]]
        p.cost_p = cost[1]
        p.n_y = n_y
        p.n_0 = layers[0][2]
        p.a0_row = padded_row(p.n_0, per_line)
        p.width = p.g_row = p.a0_row
        p.widest = 0
        p.n_parameters = p.n_padded = 0
        for l in range(p.n_layers):
            f = &p.layers[l]
            name, f.p, f.n_in, f.n_z, f.n_a = layers[l]
            f.activation = ACTIVATIONS[name]
            f.z_row = padded_row(f.n_z, per_line)
            f.a_row = padded_row(f.n_a, per_line)
            f.z_at = p.width
            f.a_at = f.z_at + f.z_row
            p.width = f.a_at + f.a_row
            if is_elementwise(f) and l < p.n_layers - 1:
                f.delta_at = f.z_at
            else:
                f.delta_at = p.width
                p.width += f.z_row
            f.W = p.n_parameters
            f.b = f.W + f.n_in * f.n_z
            p.n_parameters = f.b + f.n_z
            f.W_padded = p.n_padded
            f.b_padded = f.W_padded + f.n_in * f.z_row
            p.n_padded = f.b_padded + f.z_row
            p.widest = max(p.widest, f.z_row, f.a_row)
            if is_large(3 * TILE_ROWS, f.n_in, f.z_row * (8 if is_double else 4)):
                p.widest = max(p.widest, f.n_in)
            p.g_row = max(p.g_row, f.a_row)
        p.g_at = p.width
        p.width += p.g_row


cdef class Masks:
    """Dropout of one step: a rate for each of a^0, ..., a^{L-1}."""
    cdef Block block
    cdef Dropout dropout

    def __init__(self, list rates, uint64_t seed, uint64_t step):
        cdef double *own
        self.block = Block(sizeof(double) * <double>len(rates))
        own = <double *>self.block.data
        for l, rate in enumerate(rates):
            own[l] = rate
        self.dropout.rates = own
        self.dropout.seed = seed
        self.dropout.step = step


include "capi.pxi"


cdef class Work:
    """Memory for passes over at most `cap` rows at a time."""
    cdef Block block
    cdef Rows rows

    def __cinit__(self, CompiledNetwork net, Py_ssize_t n):
        cdef Py_ssize_t cap = chunk(&net.plan, n)
        self.block = Block(work_bytes(&net.plan, cap))
        lay_out(&net.plan, cap, self.block.data, &self.rows)


cdef const Dropout *dropout_of(Masks masks) noexcept:
    return NULL if masks is None else &masks.dropout


cdef Targets targets_of(const real[:, ::1] Y, const Py_ssize_t[::1] labels,
                        const real[::1] weight, bint missing=False) noexcept:
    cdef Targets t
    t.Y = <const void *>&Y[0, 0] if Y is not None else NULL
    t.labels = &labels[0] if labels is not None else NULL
    t.weight = <const void *>&weight[0] if weight is not None else NULL
    t.order = NULL
    t.missing = missing
    return t


def predict(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
            real[:, ::1] out):
    """out = a^L   (n, n_L)."""
    cdef Block scratch = Block(work_bytes(&net.plan, chunk(&net.plan, X.shape[0])))
    with nogil:
        forward_rows(&net.plan, &parameters[0], &X[0, 0], X.shape[0], &out[0, 0], scratch.data)


cdef enum:
    FEW_BYTES = 1 << 15   # of the stack; some systems give a thread 128 KB
    # Multiply-adds. More than FEW do not feel Python's checks, and products of many rows with a
    # large W may want scratch, which is not here. For fewer than BRIEF, a few us, the GIL is kept,
    # which saves 50 ns.
    FEW = 1 << 20
    BRIEF = 100_000


cdef bint forward_few(const Plan *plan, const real *parameters, const real *X, Py_ssize_t n,
                      real *out) noexcept nogil:
    # out = a^L   (n, n_L); False, and nothing written, where X, a parameter, a z or a^L is NaN or
    # infinite: a product with such a number is not finite and stays so in its sum, even times 0,
    # so one look at every z sees them all                                                out  # OUT
    cdef char memory[FEW_BYTES + 64]
    cdef const Layer *f = plan.layers
    cdef const real *a
    cdef Rows r
    cdef Py_ssize_t s
    cdef int l
    memset(&r, 0, sizeof(Rows))
    r.work = aligned(memory)
    r.cap = r.m = n
    forward(plan, parameters, False, X, plan.n_0, &r, KEEP_Z)
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        for s in range(n):
            if not all_finite(rows_of(&r, f.z_at, f.z_row, out) + s * f.z_row, f.n_z):
                return False
    a = rows_of(&r, f.a_at, f.a_row, out)
    for s in range(n):
        if not all_finite(a + s * f.a_row, f.n_a):
            return False
    copy_rows(a, f.a_row, out, f.n_a, n, f.n_a)
    return True


cdef class Predictor:
    """Predictions of few rows of plain arrays: one call checks, computes and writes.

    Made because Python's checks of one row take several times its forward pass. What is not plain
    is left to the checks that say what is wrong or convert it (inputs.py). The work area is on the
    stack: nothing is allocated or shared.
    """
    cdef Block layers
    cdef Plan plan              # the network's without room for deltas, so that more rows fit
    cdef object parameters      # whose memory `values` is
    cdef const char *values
    cdef object empty, dtype    # numpy.empty and what it is to make
    cdef Py_ssize_t size, max_rows

    def __init__(self, CompiledNetwork net, parameters, empty, dtype):
        cdef Plan *p = &self.plan
        cdef Py_buffer view
        cdef Layer *f
        cdef int l
        self.parameters, self.empty, self.dtype = parameters, empty, dtype
        PyObject_GetBuffer(parameters, &view, PyBUF_SIMPLE)
        self.values = <const char *>view.buf
        PyBuffer_Release(&view)
        self.layers = Block(sizeof(Layer) * <double>net.plan.n_layers)
        memcpy(self.layers.data, net.plan.layers, sizeof(Layer) * net.plan.n_layers)
        p[0] = net.plan
        p.layers = <Layer *>self.layers.data
        p.width = 0
        for l in range(p.n_layers):
            f = &p.layers[l]
            f.z_at = p.width
            f.a_at = f.z_at + f.z_row
            p.width = f.a_at + f.a_row
        self.size = 8 if p.is_double else 4
        self.max_rows = min(FEW_BYTES / (p.width * self.size), FEW / p.n_parameters)

    cdef bint take(self, object array, Py_ssize_t columns, Py_buffer *view):
        """Take hold of an array (n, columns) that needs no conversion; else False."""
        if type(array) is not type(self.parameters):
            return False
        try:
            PyObject_GetBuffer(array, view, PyBUF_FORMAT | PyBUF_STRIDES)
        except (BufferError, ValueError):  # a dtype that buffers do not know
            return False
        if (view.ndim == 2 and view.shape[1] == columns and 1 <= view.shape[0] <= self.max_rows
                and view.format[0] == (c"d" if self.plan.is_double else c"f")
                and view.format[1] == 0 and <uintptr_t>view.buf % self.size == 0
                and PyBuffer_IsContiguous(view, c"C")):
            return True
        PyBuffer_Release(view)
        return False

    def predict(self, X, out):
        """a^L (n, n_L), in `out` or where that is None a new array; None where X or out is not
        plain or a number not finite, and nothing is written then."""
        cdef const Plan *p = &self.plan
        cdef Py_ssize_t n_a = p.layers[p.n_layers - 1].n_a
        cdef Py_buffer x, y
        cdef bint done = False
        if not self.take(X, p.n_0, &x):
            return None
        try:
            if out is None:
                out = self.empty((x.shape[0], n_a), self.dtype)
            if not self.take(out, n_a, &y):
                return None
            # out may lie over X, which is read before out is written
            if not (y.readonly or y.shape[0] != x.shape[0] or self.holds(&y)):
                if x.shape[0] * p.n_parameters < BRIEF:
                    done = self.forward(&x, &y)
                else:
                    with nogil:
                        done = self.forward(&x, &y)
            PyBuffer_Release(&y)
        finally:
            PyBuffer_Release(&x)
        return out if done else None

    cdef bint holds(self, const Py_buffer *y) noexcept nogil:
        """Whether y shares memory with the parameters."""
        cdef const char *first = <const char *>y.buf
        return (first < self.values + self.plan.n_parameters * self.size
                and self.values < first + y.len)

    cdef bint forward(self, const Py_buffer *x, const Py_buffer *y) noexcept nogil:
        if self.plan.is_double:
            return forward_few(&self.plan, <const double *>self.values, <const double *>x.buf,
                               x.shape[0], <double *>y.buf)
        return forward_few(&self.plan, <const float *>self.values, <const float *>x.buf,
                           x.shape[0], <float *>y.buf)


def feedforward(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X, list zs,
                list activations):
    """zs[l] = z^l (n, n_z) and activations[l] = a^l (n, n_a) of every layer but the input."""
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef const Layer *f
    cdef Py_ssize_t s = 0, n = X.shape[0]
    cdef real[:, ::1] z, a
    cdef int l
    while s < n:
        r.m = min(r.cap, n - s)
        with nogil:
            forward(p, &parameters[0], False, &X[s, 0], p.n_0, r, KEEP_Z)
        for l in range(p.n_layers):
            f = &p.layers[l]
            z = zs[l]
            a = activations[l]
            copy_rows(rows_of(r, f.z_at, f.z_row, &z[0, 0]), f.z_row, &z[s, 0], f.n_z, r.m, f.n_z)
            copy_rows(rows_of(r, f.a_at, f.a_row, &a[0, 0]), f.a_row, &a[s, 0], f.n_a, r.m, f.n_a)
        s += r.m


def costs(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
          const real[:, ::1] Y, const Py_ssize_t[::1] labels, real[::1] out, Masks masks=None,
          bint missing=False):
    """out = C_x of every sample   (n,)."""
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef const real *a
    cdef Py_ssize_t a_row
    cdef Targets targets = targets_of[real](Y, labels, None, missing)
    cdef Py_ssize_t s = 0, n = X.shape[0]
    r.dropout = dropout_of(masks)
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            r.batch_row = s
            a = input_rows(p, &X[s, 0], r, &a_row)
            forward(p, &parameters[0], False, a, a_row, r, gradient_mode(p))
            output_error(p, &targets, s, r, 1.0, &parameters[0])
            memcpy(&out[s], r.C, r.m * sizeof(real))
            s += r.m


def perturbed_costs(CompiledNetwork net, real[::1] parameters, const real[:, ::1] X,
                    const real[:, ::1] Y, const Py_ssize_t[::1] labels,
                    const Py_ssize_t[::1] index, const real[::1] instead,
                    real[:, ::1] out, Masks masks=None, bint missing=False):
    """out[i] = C_x of every sample with parameters[index[i]] = instead[i]   (k, n).

    Each value is put into `parameters`, which must be nobody else's, and taken out again.
    """
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef const real *a
    cdef Py_ssize_t a_row
    cdef Targets targets = targets_of[real](Y, labels, None, missing)
    cdef Py_ssize_t i, s, n = X.shape[0]
    cdef real kept
    r.dropout = dropout_of(masks)
    with nogil:
        for i in range(index.shape[0]):
            kept = parameters[index[i]]
            parameters[index[i]] = instead[i]
            s = 0
            while s < n:
                r.m = min(r.cap, n - s)
                r.batch_row = s
                a = input_rows(p, &X[s, 0], r, &a_row)
                forward(p, &parameters[0], False, a, a_row, r, gradient_mode(p))
                output_error(p, &targets, s, r, 1.0, &parameters[0])
                memcpy(&out[i, s], r.C, r.m * sizeof(real))
                s += r.m
            parameters[index[i]] = kept


def deltas(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
           const real[:, ::1] Y, const Py_ssize_t[::1] labels, list out, Masks masks=None,
           bint missing=False):
    """out[l] = delta^l = dC_x/dz^l   (n, n_z)."""
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef const real *a
    cdef Py_ssize_t a_row
    cdef const Layer *f
    cdef Targets targets = targets_of[real](Y, labels, None, missing)
    cdef Py_ssize_t s = 0, n = X.shape[0]
    cdef real[:, ::1] delta
    cdef int l
    r.dropout = dropout_of(masks)
    while s < n:
        r.m = min(r.cap, n - s)
        with nogil:
            r.batch_row = s
            a = input_rows(p, &X[s, 0], r, &a_row)
            forward(p, &parameters[0], False, a, a_row, r, gradient_mode(p))
            output_error(p, &targets, s, r, 1.0, &parameters[0])
            backward(p, &parameters[0], False, r, False)
        for l in range(p.n_layers):
            f = &p.layers[l]
            delta = out[l]
            copy_rows(rows_of(r, f.delta_at, f.z_row, &delta[0, 0]), f.z_row, &delta[s, 0], f.n_z,
                      r.m, f.n_z)
        s += r.m


def gradient(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
             const real[:, ::1] Y, const Py_ssize_t[::1] labels, const real[::1] weight,
             double scale, real[::1] out, Masks masks=None, bint missing=False):
    """out = scale * sum_x w_x nabla C_x, in the layout of parameters."""
    cdef Block scratch = Block(fastbp_scratch_bytes(&net.plan, X.shape[0]))
    cdef Targets targets = targets_of[real](Y, labels, weight, missing)
    cdef const Dropout *dropout = dropout_of(masks)
    with nogil:
        gradient_rows(&net.plan, &parameters[0], &X[0, 0], &targets, dropout, scale, X.shape[0],
                      &out[0], scratch.data)


def mask(Masks masks, int l, real[:, ::1] out):
    """out = what a^l of each row of a batch is multiplied by   (n, n_l)."""
    cdef Py_ssize_t n = out.shape[0], width = out.shape[1]
    out[:, :] = 1
    with nogil:
        drop(&masks.dropout, l, 0, n, width, width, &out[0, 0], <real *>NULL)


def input_gradient(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
                   const real[:, ::1] Y, const Py_ssize_t[::1] labels, real[:, ::1] out):
    """out = dC_x/dx   (n, n_0)."""
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Targets targets = targets_of[real](Y, labels, None)
    cdef Py_ssize_t s = 0, n = X.shape[0]
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            forward(p, &parameters[0], False, &X[s, 0], p.n_0, r, gradient_mode(p))
            output_error(p, &targets, s, r, 1.0, &parameters[0])
            backward(p, &parameters[0], False, r, True)
            copy_rows(rows_of(r, p.g_at, p.g_row, &out[0, 0]), p.g_row, &out[s, 0], p.n_0, r.m,
                      p.n_0)
            s += r.m


cdef void pull_output(const Plan *p, const real *V, Py_ssize_t V_row, const Rows *r) noexcept nogil:
    # delta^L = J^T V, row by row, after a forward pass that left every slope     g, delta^L  # OUT
    cdef const Layer *f = &p.layers[p.n_layers - 1]
    cdef real *delta = rows_of(r, f.delta_at, f.z_row, <real *>NULL)
    cdef real *g = rows_of(r, p.g_at, p.g_row, <real *>NULL)
    cdef Py_ssize_t s, j
    copy_rows(V, V_row, g, p.g_row, r.m, f.n_a)
    transpose_jacobian(f, rows_of(r, f.z_at, f.z_row, <real *>NULL),
                       rows_of(r, f.a_at, f.a_row, <real *>NULL), g, p.g_row, r.m, delta)
    for s in range(r.m):
        for j in range(f.n_z, f.z_row):
            delta[s * f.z_row + j] = <real>0


cdef void pull_back(const Plan *p, const real *parameters, const real *V, Py_ssize_t V_row,
                    const Rows *r) noexcept nogil:
    # g = V da^L/dx, row by row, after a forward pass that left every slope                 g  # OUT
    pull_output(p, V, V_row, r)
    backward(p, parameters, False, r, True)


def vjp(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
        const real[:, ::1] V, real[:, ::1] out):
    """out = V da^L/dx, row by row   (n, n_0); V (n, n_L)."""
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Py_ssize_t s = 0, n = X.shape[0], n_L = V.shape[1]
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            forward(p, &parameters[0], False, &X[s, 0], p.n_0, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
            pull_back(p, &parameters[0], &V[s, 0], n_L, r)
            copy_rows(rows_of(r, p.g_at, p.g_row, &out[0, 0]), p.g_row, &out[s, 0], p.n_0, r.m,
                      p.n_0)
            s += r.m


def jacobian(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
             real[:, :, ::1] out):
    """out = da^L/dx   (n, n_L, n_0), one row of every sample's matrix at a time."""
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Py_ssize_t s = 0, k, n = X.shape[0], n_L = out.shape[1]
    cdef Block unit = Block(<double>n_L * sizeof(real))
    cdef Block slopes = Block(<double>r.cap * p.width * sizeof(real))
    cdef real *e = <real *>unit.data
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            forward(p, &parameters[0], False, &X[s, 0], p.n_0, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
            memcpy(slopes.data, r.work, r.cap * p.width * sizeof(real))
            for k in range(n_L):
                if k > 0:  # delta took their place
                    memcpy(r.work, slopes.data, r.cap * p.width * sizeof(real))
                e[k] = <real>1
                pull_back(p, &parameters[0], e, 0, r)
                e[k] = <real>0
                copy_rows(rows_of(r, p.g_at, p.g_row, e), p.g_row, &out[s, k, 0], n_L * p.n_0, r.m,
                          p.n_0)
            s += r.m


def jvp(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
        const real[:, ::1] V, real[:, ::1] out):
    """out = da^L/dx V, row by row   (n, n_L); V (n, n_0)."""
    cdef Work work = Work(net, X.shape[0])
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef const Layer *f
    cdef const real *da
    cdef real *dz
    cdef real *g
    cdef Py_ssize_t s = 0, n = X.shape[0], da_row, n_L = out.shape[1]
    cdef int l
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            forward(p, &parameters[0], False, &X[s, 0], p.n_0, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
            g = rows_of(r, p.g_at, p.g_row, &out[0, 0])
            da = &V[s, 0]
            da_row = p.n_0
            for l in range(p.n_layers):
                # dz^l = da^{l-1} W^l, da^l = J dz^l
                f = &p.layers[l]
                # in the place of a^l, which an elementwise J does not need
                dz = rows_of(r, f.a_at if f.delta_at == f.z_at else f.delta_at, f.z_row,
                             &out[0, 0])
                weighted_input(da, da_row, &parameters[f.W], f.n_z, <const real *>NULL, dz, f.z_row,
                               r.m, f.n_in, f.n_z, <real *>r.scratch)
                apply_jacobian(f, rows_of(r, f.z_at, f.z_row, &out[0, 0]),
                               rows_of(r, f.a_at, f.a_row, &out[0, 0]), dz, r.m, g, p.g_row)
                da = g
                da_row = p.g_row
            copy_rows(g, p.g_row, &out[s, 0], n_L, r.m, n_L)
            s += r.m


def is_finite(const real[::1] x):
    """Whether no element is NaN or infinite."""
    cdef bint answer
    if x.shape[0] == 0:
        return True
    with nogil:
        answer = all_finite(&x[0], x.shape[0])
    return answer


def elementary(str name, const real[::1] x, real[::1] out):
    """out = name(x), for the tests of elementary.pxd."""
    cdef Py_ssize_t i, n = x.shape[0]
    if name == "exp":
        for i in range(n):
            out[i] = exp(x[i])
    elif name == "expm1":
        for i in range(n):
            out[i] = expm1(x[i])
    elif name == "log":
        for i in range(n):
            out[i] = log(x[i])
    elif name == "log1p":
        for i in range(n):
            out[i] = log1p(x[i])
    elif name == "tanh":
        for i in range(n):
            out[i] = tanh(x[i])
    elif name == "sigmoid":
        for i in range(n):
            out[i] = sigmoid(x[i])
    elif name == "erf":
        for i in range(n):
            out[i] = erf(x[i])
    elif name == "normal_cdf":
        for i in range(n):
            out[i] = normal_cdf(x[i])
    elif name == "normal_pdf":
        for i in range(n):
            out[i] = normal_pdf(x[i])
    elif name == "softplus":
        for i in range(n):
            out[i] = softplus(x[i])
    elif name == "sqrt":
        for i in range(n):
            out[i] = sqrt(x[i])
    else:
        raise ValueError(f"no elementary function {name!r}")


def multiply_add(const real[::1] x, Py_ssize_t repeats):
    """Run the tallest register tile on x (1024,), in cache; returns the number of flops it made."""
    cdef real out[TILE_SIZE]
    cdef real total = <real>0
    cdef Py_ssize_t i, width = TILE_VECTORS * lanes(&x[0])
    cdef const real *B = <const real *>aligned(<void *>&x[0])
    cdef Py_ssize_t row = 1 + repeats % 3  # unknown to the compiler: of equal rows it made one
    with nogil:
        for i in range(repeats):  # another place each time, and any element of the result is used
            weighted_input(&x[i % 16], row, B, 0, <const real *>NULL, &out[0], width, TILE_ROWS,
                           960, width, <real *>NULL)
            total += out[i % (TILE_ROWS * width)]
    return 2.0 * repeats * 960 * TILE_ROWS * width if total == total else 0.0


cdef struct Memory:
    double parameters, slots, work_area


cdef Py_ssize_t rows_at_once(const Plan *plan, Py_ssize_t batch_size, int n_threads) noexcept:
    """Rows that go through all layers before the next: the batch, or a slice of it.

    A batch of more than 512 KB goes through in slices of 128 KB, at least 56 rows; its gradient is
    stored and must not be larger than the work area that it replaces (784-100-10, batch 200,
    float64: a sixth of a step; 784-30-10, batch 1,024, float32: a third).
    """
    cdef Py_ssize_t row_bytes = plan.width * (8 if plan.is_double else 4)
    if n_threads > 1 or batch_size * row_bytes < 1 << 19 or batch_size * plan.width < plan.n_padded:
        return batch_size
    return min(batch_size, max(56, (1 << 17) / row_bytes / 28 * 28))


cdef Py_ssize_t thread_bytes(const Plan *plan, Py_ssize_t batch_size) noexcept:
    """Scratch of a thread: whole pages, so that no two threads write one cache line."""
    cdef Py_ssize_t reals = max(scratch_size(plan), PACKED_COLUMNS * batch_size)
    return (reals * (8 if plan.is_double else 4) + 4095) / 4096 * 4096


cpdef Memory memory(CompiledNetwork net, str optimizer, Py_ssize_t batch_size, int n_threads,
                    bint stores_gradient=False, bint whole_batch=False):
    """Bytes that a `Trainer` takes: padded parameters, as much for each slot, and the work area."""
    cdef const Plan *p = &net.plan
    cdef double size = 8 if p.is_double else 4
    cdef Py_ssize_t rows = batch_size if whole_batch else rows_at_once(p, batch_size, n_threads)
    cdef Memory need
    need.parameters = p.n_padded * size
    need.slots = n_slots(OPTIMIZERS[optimizer]) * need.parameters
    # costs, the matrices of the rows, a stored gradient, and each thread's scratch
    need.work_area = ((batch_size + 15) / 16 * 16 + rows * <double>p.width) * size
    if rows < batch_size or stores_gradient:
        need.work_area += need.parameters
    need.work_area += n_threads * <double>thread_bytes(p, batch_size)
    return need


cdef class Trainer:
    """Padded parameters, optimizer slots and work area of one `fit`, and where it stands.

    `whole_batch`: for `step_outputs` and `step_update`, which need all rows of a batch at once.
    """
    cdef CompiledNetwork net
    cdef Block block
    cdef Masks masks
    cdef Loop loop
    cdef Rows rows
    cdef void *parameters      # padded, the slots, a stored gradient: each n_padded reals
    cdef readonly int n_slots
    cdef int most_threads      # that there is scratch for

    def __init__(self, CompiledNetwork net, str optimizer, dict numbers, Py_ssize_t n,
                 Py_ssize_t batch_size, int n_threads, bint shuffled, uint64_t seed,
                 Masks masks=None, bint whole_batch=False):
        cdef const Plan *p = &net.plan
        cdef Step *step = &self.loop.step
        cdef bint clips = "clip_norm" in numbers
        cdef Memory need = memory(net, optimizer, batch_size, n_threads, clips, whole_batch)
        cdef double state = need.parameters + need.slots
        cdef Py_ssize_t size = 8 if p.is_double else 4
        cdef Py_ssize_t rows = batch_size if whole_batch else rows_at_once(p, batch_size, n_threads)
        self.net = net
        self.masks = masks
        memset(&self.loop, 0, sizeof(Loop))
        step.policy = OPTIMIZERS[optimizer]
        self.n_slots = n_slots(step.policy)
        self.loop.n_threads = self.most_threads = n_threads
        self.loop.n = n
        self.loop.batch_size = batch_size
        self.loop.shuffled = shuffled
        self.loop.seed = seed
        if masks is not None:
            self.loop.dropout = masks.dropout
        self.set_step(numbers)
        # also where the batch is kept whole: rows of 1 MB, so that those of a wide layer stay in
        # the second-level cache for all its columns (a quarter of a step of case F in float64)
        self.loop.slice = (1 << 20) // (max(p.g_row, p.widest) * size) // 28 * 28
        self.loop.slice = min(rows, max(112, self.loop.slice))
        self.loop.clip_norm = numbers["clip_norm"] if clips else INFINITY
        self.loop.adds_slices = rows < batch_size
        self.block = Block(state + need.work_area)
        self.parameters = self.block.data
        if self.loop.adds_slices or clips:
            state += need.parameters
        self.rows.C = <char *>self.parameters + <size_t>state
        self.rows.work = <char *>self.rows.C + (batch_size + 15) / 16 * 16 * size
        self.rows.cap = rows
        self.rows.first = self.rows.m = self.rows.batch_row = 0
        self.rows.dropout = NULL
        self.rows.scratch = <char *>self.rows.work + rows * p.width * size

    def set_step(self, dict numbers):
        """Learning rate, penalties (lambda/n), clip_value and the optimizer's own numbers.

        "batch_l2" in l2's place makes each batch a problem of its own, as scikit-learn does: its
        L2 term is divided by the batch's weight and part of the loss, and an epoch's loss is the
        mean of the batches' by their rows.
        """
        cdef Step *step = &self.loop.step
        step.learning_rate = numbers["learning_rate"]
        step.momentum = numbers.get("momentum", 0.0)
        step.beta1 = numbers.get("beta1", 0.0)
        step.beta2 = numbers.get("beta2", 0.0)
        step.epsilon = numbers.get("epsilon", 1.0)
        step.weight_decay = numbers.get("weight_decay", 0.0)
        step.rho = numbers.get("rho", 0.0)
        step.lr_decay = numbers.get("lr_decay", 0.0)
        step.l2 = numbers["l2"]
        step.l1 = numbers["l1"]
        step.epsilon_hat = numbers.get("epsilon_hat", 0.0)
        self.loop.batch_means = "batch_l2" in numbers
        self.loop.batch_l2 = numbers.get("batch_l2", 0.0)
        step.clip_value = numbers.get("clip_value", INFINITY)

    @property
    def position(self):
        """(epoch, row, steps made, sum of w C, sum of w) of the run: all that `train` goes by."""
        cdef Position at = self.loop.at
        return at.epoch, at.row, at.t, at.loss, at.weight

    @position.setter
    def position(self, tuple at):
        self.loop.diverged = 0
        (self.loop.at.epoch, self.loop.at.row, self.loop.at.t, self.loop.at.loss,
         self.loop.at.weight) = at

    def share(self, int n_threads):
        """Have that many threads call `train`, no more than at first; none may be in it."""
        self.loop.n_threads = min(n_threads, self.most_threads)
        memset(&self.loop.barrier, 0, sizeof(Barrier))

    def give_up(self):
        """A thread cannot call `train`: the others return from it with no step made."""
        give_up(&self.loop.barrier)

    @property
    def diverged(self):
        """Whether the last `train` stopped before a step because a cost was NaN or infinite."""
        return self.loop.diverged != 0


def load_state(Trainer t, const real[::1] parameters, const real[:, ::1] slots):
    """Copy parameters (n_parameters,) and slots (n_slots, n_parameters) into the trainer."""
    cdef const Plan *p = &t.net.plan
    cdef int i
    pad(p, &parameters[0], <real *>t.parameters)
    for i in range(t.n_slots):
        pad(p, &slots[i, 0], <real *>t.parameters + (i + 1) * p.n_padded)


def store_state(Trainer t, real[::1] parameters, real[:, ::1] slots):
    """Copy the trainer's parameters and slots out."""
    cdef const Plan *p = &t.net.plan
    cdef int i
    unpad(p, <const real *>t.parameters, &parameters[0])
    for i in range(t.n_slots):
        unpad(p, <const real *>t.parameters + (i + 1) * p.n_padded, &slots[i, 0])


def draw_order(Trainer t, Py_ssize_t[::1] order):
    """Put the order of the epoch at hand in place; `train` does so only where an epoch begins."""
    shuffle(&order[0], t.loop.n, t.loop.seed, <uint64_t>t.loop.at.epoch)


def has_finite_state(Trainer t, const real[::1] kind):
    """Whether parameters and slots in the trainer are finite; `kind` only carries the dtype."""
    return all_finite(<const real *>t.parameters, (1 + t.n_slots) * t.net.plan.n_padded)


def train(Trainer t, int thread, Py_ssize_t max_steps, Py_ssize_t end_epoch,
          const real[:, ::1] X, const real[:, ::1] Y, const Py_ssize_t[::1] labels,
          const real[::1] weight, Py_ssize_t[::1] order, Py_ssize_t first_epoch,
          double[::1] losses, double[::1] clock, double deadline=0.0, bint missing=False):
    """Make at most max_steps steps, ending before `end_epoch`; every thread of the run calls it.

    `missing`: NaN in Y stands for no target. A deadline in seconds of time.monotonic (0: none) ends
    it after the step at hand, for all threads after the same. Returns the number of steps made.
    Where epoch e ends, its mean loss and the time go to losses[e - first_epoch] and
    clock[e - first_epoch].
    """
    cdef Targets targets = targets_of[real](Y, labels, weight, missing)
    cdef Rows r = t.rows
    cdef Py_ssize_t steps
    cdef uint64_t mode
    if deadline != 0.0:  # by the engine's clock
        deadline += seconds() - monotonic()
    targets.order = &order[0]
    r.scratch = <char *>r.scratch + thread * thread_bytes(&t.net.plan, t.loop.batch_size)
    with nogil:
        mode = flush_subnormals()
        steps = run(&t.net.plan, &t.loop, thread, max_steps, end_epoch, &X[0, 0], &targets,
                    &order[0], <real *>t.parameters, r, first_epoch, &losses[0], &clock[0],
                    deadline)
        keep_subnormals(mode)
    return steps


# A loss of the user's: Python has the outputs of a batch and gives back their derivatives. One
# thread, a trainer made with `whole_batch`, and for each step `step_outputs`, then `step_update`.

def step_outputs(Trainer t, const real[:, ::1] X, const Py_ssize_t[::1] order, Py_ssize_t first,
                 Py_ssize_t m, real[:, ::1] out):
    """out = a^L of rows order[first:first + m] of X, with this step's dropout   (m, n_L).

    What `step_update` needs is left in the trainer.
    """
    cdef const Plan *p = &t.net.plan
    cdef const Layer *f = &p.layers[p.n_layers - 1]
    cdef Rows *r = &t.rows
    cdef real *a0 = rows_of(r, 0, p.a0_row, &out[0, 0])
    t.loop.dropout.step = t.loop.at.t
    r.dropout = &t.loop.dropout if t.loop.dropout.rates != NULL else NULL
    r.m = m
    with nogil:
        gather(&X[0, 0], p.n_0, &order[first], m, a0, p.a0_row)
        if r.dropout != NULL:
            drop(r.dropout, 0, 0, m, p.n_0, p.a0_row, a0, <real *>NULL)
        forward(p, <const real *>t.parameters, True, a0, p.a0_row, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
        copy_rows(rows_of(r, f.a_at, f.a_row, &out[0, 0]), f.a_row, &out[0, 0], f.n_a, m, f.n_a)


def step_update(Trainer t, const real[:, ::1] V):
    """Make one step with V = d loss / d a^L of the rows of `step_outputs`   (m, n_L).

    Penalties, clipping and the optimizer are the trainer's; V is taken as it is, weights and 1/m
    included. The position moves on by one step; sums of losses are the caller's. Returns False,
    nothing done but `diverged` set, where V is not finite.
    """
    cdef const Plan *p = &t.net.plan
    cdef Position *at = &t.loop.at
    cdef Step step = t.loop.step
    cdef Rows *r = &t.rows
    cdef real *parameters = <real *>t.parameters
    cdef Ahead ahead
    cdef bint finite
    memset(&ahead, 0, sizeof(Ahead))
    with nogil:
        finite = all_finite(&V[0, 0], V.shape[0] * V.shape[1])
        if finite:
            pull_output(p, &V[0, 0], V.shape[1], r)
            backward(p, parameters, True, r, False)
            at.t += 1
            begin_step(&step, at.t)
            make_step(p, &t.loop, &step, 0, r.m, r, parameters,
                      parameters + (t.n_slots + 1) * p.n_padded, &ahead)
            at.row += r.m
            if at.row == t.loop.n:
                at.epoch += 1
                at.row = 0
    if not finite:
        t.loop.diverged = 1
    return finite
