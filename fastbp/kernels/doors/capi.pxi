# The C-level door: what `cimport fastbp` declares in fastbp/__init__.pxd.
#
# What belongs here: functions on raw pointers that allocate nothing and need no GIL. Each level
# module exports them as capsules, and fastbp/__init__.py hands on those of the level in use.

cdef Py_ssize_t chunk(const Plan *plan, Py_ssize_t n) noexcept nogil:
    """Rows of a pass that stay in the second-level cache; whole tiles, at least 2."""
    cdef Py_ssize_t rows = CHUNK_REALS / plan.width / 28 * 28
    return min(n, max(28, min(CHUNK_ROWS, rows)))


cdef size_t work_bytes(const Plan *plan, Py_ssize_t cap) noexcept nogil:
    """Memory that `lay_out` divides."""
    cdef size_t size = sizeof(real)
    return (<size_t>cap * (plan.width + 1) + 16 + scratch_size(plan)) * size


cdef void lay_out(const Plan *plan, Py_ssize_t cap, void *memory, Rows *r) noexcept nogil:
    """Divide memory among the work area of `cap` rows, their costs, and one thread's scratch."""
    cdef size_t size = sizeof(real)
    r.work = memory
    r.cap = cap
    r.first = r.m = r.batch_row = 0
    r.dropout = NULL
    r.room = 0
    r.C = <char *>memory + cap * plan.width * size
    r.scratch = <char *>r.C + (cap + 15) / 16 * 16 * size


cdef void *aligned(void *memory) noexcept nogil:
    return <void *>((<uintptr_t>memory + 63) & ~<uintptr_t>63)


cdef void forward_rows(const Plan *plan, const real *parameters, const Input *X, Py_ssize_t n,
                       real *out, Rows *r) noexcept nogil:
    # out = a^L   (n, n_L), some rows at a time                                          out  # OUT
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef Input x
    cdef Py_ssize_t s = 0
    while s < n:
        r.m = min(r.cap, n - s)
        x = input_rows(plan, X, s, r)
        forward(plan, parameters, False, &x, r, KEEP_Z)
        copy_rows(rows_of(r, f.a_at, f.a_row), f.a_row, out + s * f.n_a, f.n_a, r.m, f.n_a)
        s += r.m


cdef double gradient_rows(const Plan *plan, const real *parameters, const Input *X,
                          const Targets *targets, double scale, Py_ssize_t n, real *padded,
                          real *nabla, real *C, Rows *r) noexcept nogil:
    # nabla = scale sum_s w_s nabla C_s, laid out as parameters; returns sum_s C_s      nabla  # OUT
    # C_s of each sample, unless C is NULL; in `padded` (n_padded,) it is added up          C  # OUT
    cdef Py_ssize_t s = 0, i
    cdef Input a
    cdef double total = 0.0
    memset(padded, 0, plan.n_padded * sizeof(real))
    while s < n:
        r.m = min(r.cap, n - s)
        r.batch_row = s
        a = input_rows(plan, X, s, r)
        forward(plan, parameters, False, &a, r, gradient_mode(plan))
        output_error(plan, targets, s, r, scale)
        backward(plan, parameters, False, &a, r, False)
        add_gradient(plan, &a, r, 0, 1, False, padded, NULL, NULL)
        for i in range(r.m):
            total += (<real *>r.C)[i]
        if C != NULL:
            memcpy(C + s, r.C, r.m * sizeof(real))
        s += r.m
    unpad(plan, padded, nabla)
    return total


cdef api const void *fastbp_plan(object network) except NULL:
    return <const void *><uintptr_t>network._compiled.address


cdef api size_t fastbp_scratch_bytes(const void *plan, Py_ssize_t n) noexcept nogil:
    cdef const Plan *p = <const Plan *>plan
    cdef size_t reals = p.n_padded + work_bytes(p, chunk(p, n)) / sizeof(real)
    return 64 + reals * p.real_bytes


# Of each pair below dispatch.py hands on that of the build for its type: only there `real` is it.

cdef int forward_of(const void *plan, const void *parameters, const void *X, Py_ssize_t n,
                    void *out, void *scratch) noexcept nogil:
    cdef const Plan *p = <const Plan *>plan
    cdef Rows r
    cdef Input x
    if p.real_bytes != sizeof(real):
        return -1
    x = dense_input(<const real *>X, p.n_0)
    lay_out(p, chunk(p, n), aligned(scratch), &r)
    forward_rows(p, <const real *>parameters, &x, n, <real *>out, &r)
    return 0


cdef int gradient_of(const void *plan, const void *parameters, const void *X, const void *Y,
                     Py_ssize_t n, double *loss, void *gradient, void *scratch) noexcept nogil:
    cdef const Plan *p = <const Plan *>plan
    cdef real *padded = <real *>aligned(scratch)
    cdef Targets targets
    cdef Rows r
    cdef Input x
    memset(&targets, 0, sizeof(Targets))
    targets.Y = Y
    if p.real_bytes != sizeof(real) or n < 1:
        return -1
    x = dense_input(<const real *>X, p.n_0)
    lay_out(p, chunk(p, n), padded + p.n_padded, &r)
    loss[0] = gradient_rows(p, <const real *>parameters, &x, &targets, 1.0 / n, n, padded,
                            <real *>gradient, NULL, &r) / n
    return 0


cdef api int fastbp_forward_f32(const void *plan, const float *parameters, const float *X,
                                Py_ssize_t n, float *out, void *scratch) noexcept nogil:
    return forward_of(plan, parameters, X, n, out, scratch)


cdef api int fastbp_forward_f64(const void *plan, const double *parameters, const double *X,
                                Py_ssize_t n, double *out, void *scratch) noexcept nogil:
    return forward_of(plan, parameters, X, n, out, scratch)


cdef api int fastbp_gradient_f32(const void *plan, const float *parameters, const float *X,
                                 const float *Y, Py_ssize_t n, double *loss, float *gradient,
                                 void *scratch) noexcept nogil:
    return gradient_of(plan, parameters, X, Y, n, loss, gradient, scratch)


cdef api int fastbp_gradient_f64(const void *plan, const double *parameters, const double *X,
                                 const double *Y, Py_ssize_t n, double *loss, double *gradient,
                                 void *scratch) noexcept nogil:
    return gradient_of(plan, parameters, X, Y, n, loss, gradient, scratch)
