# Layers by columns: how several threads share the first hidden layers of a batch.
#
# What belongs here: the passes in which a thread computes its columns of a layer for all rows of the
# batch, and what one barrier has to part from the next. What does not: the order of steps
# (steps.pxi), layers by rows (passes.pxi).
#
# A thread that has columns of W of its own finds them in its cache at the next step: of case B 12 KB
# cross the cores in a step, and 200 where the threads share rows (bench/threads.py). It gathers all
# rows itself. The layers behind, and the output error, go by rows. No sum is split.

cdef inline void columns_of(const Layer *f, int thread, int n_threads, Py_ssize_t *first,
                            Py_ssize_t *last) noexcept nogil:
    """The thread's columns of a layer: whole panels, so that no line is two threads'."""
    cdef Py_ssize_t panels = (f.n_z + PANEL - 1) / PANEL
    first[0] = panels * thread / n_threads * PANEL
    last[0] = min(f.n_z, panels * (thread + 1) / n_threads * PANEL)


cdef int layers_by_columns(const Plan *plan, int n_threads) noexcept:
    """How many of the first layers go by columns: those of which every thread gets its share."""
    cdef const Layer *f
    cdef Py_ssize_t first, last, most
    cdef int l, thread
    if n_threads == 1 or plan.lowest > 0:
        return 0
    for l in range(plan.n_layers - 1):
        f = &plan.layers[l]
        most = 0
        for thread in range(n_threads):
            columns_of(f, thread, n_threads, &first, &last)
            most = max(most, last - first)
        # an eighth more than the mean is what sharing rows may cost
        if not (f.sigma.elementwise and f.tensors[0].panel == PANEL
                and 8 * most * n_threads <= 9 * f.n_z):
            return l
    return plan.n_layers - 1


cdef inline Layer part_of(const Layer *f, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Columns [first, last) of a layer as a layer: its rows of z and a lie as far apart as before."""
    cdef Layer part = f[0]
    cdef Tensor *W = &part.tensors[0]
    cdef Tensor *b = &part.tensors[1]
    part.n_z = part.n_a = W.n = b.n = last - first
    W.padded_at += first * W.rows
    W.row = (W.row if last == f.n_z else last) - first
    b.padded_at += first
    return part


cdef inline void activate_columns(const Layer *part, Py_ssize_t first, Py_ssize_t m, real *z,
                                  real *a) noexcept nogil:
    # a = sigma(z), z <- sigma'(z)   (m, n_a)                                            z, a  # OUT
    cdef Layer row = part[0]
    cdef Py_ssize_t s
    row.z_row = row.a_row = part.tensors[0].row
    for s in range(m):
        part.sigma.values_and_slopes(&row, z + s * part.z_row + first, 1,
                                     a + s * part.a_row + first)


cdef void forward_columns(const Plan *plan, Loop *loop, int thread, Py_ssize_t m,
                          const real *parameters, const Rows *r, const real *a0) noexcept nogil:
    # z^l, a^l of all rows, this thread's columns, for the layers that go by them        work  # OUT
    cdef Input x = dense_input(a0, plan.a0_row)
    cdef const Layer *f
    cdef Layer part
    cdef Py_ssize_t first, last
    cdef real *z
    cdef real *a
    cdef int l
    for l in range(loop.by_columns):
        f = &plan.layers[l]
        columns_of(f, thread, loop.n_threads, &first, &last)
        part = part_of(f, first, last)
        z = <real *>r.work + r.cap * f.z_at
        a = <real *>r.work + r.cap * f.a_at
        f.link.forward(&part, parameters, True, &x, m, z + first, <real *>r.scratch)
        activate_columns(&part, first, m, z, a)
        x = dense_input(a, f.a_row)
        wait(&loop.barrier, loop.n_threads)  # whole rows of a^l are there


cdef void backward_columns(const Plan *plan, Loop *loop, int thread, Py_ssize_t m,
                           const real *parameters, const Rows *r) noexcept nogil:
    # BP2: this thread's columns of delta^l, for the layers that go by them             delta^l  # OUT
    cdef const Layer *f
    cdef const Layer *before
    cdef Py_ssize_t first, last
    cdef int l = loop.by_columns
    while l > 0:
        f = &plan.layers[l]
        before = &plan.layers[l - 1]
        columns_of(before, thread, loop.n_threads, &first, &last)
        f.link.back(f, parameters, True, <const real *>r.work + r.cap * f.delta_at, m, first, last,
                    True, <real *>r.work + r.cap * before.z_at, before.z_row, <real *>r.scratch)
        l -= 1
        if l > 0:
            wait(&loop.barrier, loop.n_threads)  # whole rows of delta^l are there


cdef void pass_by_columns(const Plan *plan, Loop *loop, int thread, Py_ssize_t m,
                          const Targets *targets, Py_ssize_t at_row, double scale,
                          const real *parameters, Rows *r, const real *a0) noexcept nogil:
    # every delta of the batch, of which this thread has gathered all rows            delta, C  # OUT
    cdef const Layer *f = &plan.layers[loop.by_columns - 1]
    cdef Plan behind = plan[0]
    cdef Input x
    cdef Py_ssize_t last = m * (thread + 1) / loop.n_threads
    behind.lowest = loop.by_columns
    r.first = r.batch_row = m * thread / loop.n_threads
    r.m = last - r.first
    forward_columns(plan, loop, thread, m, parameters, r, a0)
    if r.m > 0:
        x = dense_input(rows_of(r, f.a_at, f.a_row), f.a_row)
        forward_from(loop.by_columns, plan, parameters, True, &x, r, gradient_mode(plan))
        output_error(plan, targets, at_row + r.first, r, scale)
        backward(&behind, parameters, True, r, False)
        if not all_finite(<real *>r.C + r.first, r.m):
            raise_flag(&loop.diverged)
    wait(&loop.barrier, loop.n_threads)  # whole columns of delta are there
    if not is_raised(&loop.diverged):
        backward_columns(plan, loop, thread, m, parameters, r)
