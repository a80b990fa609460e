# The first layer by columns: how several threads share a batch so that little crosses the cores.
#
# What belongs here: the passes of a step in which each thread computes its columns of z^1, a^1 and
# delta^1 for all rows of the batch, and the update of what they belong to. What does not: the order
# of steps (steps.pxi), layers by rows (passes.pxi).
#
# A thread finds its columns of W^1 in its own cache at the next step. It gathers all rows itself
# and keeps its columns of z^1 and a^1 in matrices of its own: of case B 24 KB cross the cores in a
# step, and 400 where the threads share rows alone (bench/threads.py). The layers behind, and the
# output error, go by rows. No sum is split.

cdef struct Columns:
    # one thread's: columns [first, last) of the first layer as a layer, its matrices of all rows
    Py_ssize_t first, last
    Layer layer
    real *a0
    real *z
    real *a


cdef inline void columns_of(const Layer *f, int thread, int n_threads, Py_ssize_t *first,
                            Py_ssize_t *last) noexcept nogil:
    """The thread's columns of a layer: whole panels of W."""
    cdef Py_ssize_t panels = (f.n_z + PANEL - 1) / PANEL
    first[0] = panels * thread / n_threads * PANEL
    last[0] = min(f.n_z, panels * (thread + 1) / n_threads * PANEL)


cdef inline bint is_shared_by_columns(const Plan *plan, int n_threads) noexcept nogil:
    """Whether every thread gets its share of the first layer, which is a hidden one."""
    cdef const Layer *f = plan.layers
    cdef const Layer *next
    cdef Py_ssize_t first, last, most = 0
    cdef int thread
    if n_threads == 1 or plan.lowest > 0 or plan.n_layers == 1 or plan.reads_lists:
        return False
    for thread in range(n_threads):
        columns_of(f, thread, n_threads, &first, &last)
        most = max(most, last - first)
    # an eighth more than the mean is what sharing rows may cost; and the next layer must have a
    # part for each column, in panels of W or one unit's row of it
    next = &plan.layers[1]
    return (f.sigma.elementwise and f.tensors[0].panel == PANEL
            and (next.tensors[0].panel == PANEL or next.n_z == 1) and next.n_tensors == 2
            and 8 * most * n_threads <= 9 * f.n_z)


cdef Columns columns(const Plan *plan, Py_ssize_t batch_size, int thread, int n_threads,
                     real *memory) noexcept nogil:
    """The thread's, in batch_size (a0_row + 2 z_row) reals of memory."""
    cdef Columns own
    cdef Layer *f = &own.layer
    cdef Tensor *W = &own.layer.tensors[0]
    cdef Tensor *b = &own.layer.tensors[1]
    f[0] = plan.layers[0]
    columns_of(f, thread, n_threads, &own.first, &own.last)
    W.row = (W.row if own.last == f.n_z else own.last) - own.first
    W.padded_at += own.first * W.rows
    b.padded_at += own.first
    f.n_z = f.n_a = W.n = b.n = own.last - own.first
    f.z_row = f.a_row = W.row
    own.a0 = memory
    own.z = memory + batch_size * plan.a0_row
    own.a = own.z + batch_size * f.z_row
    return own


cdef void pass_by_columns(const Plan *plan, Loop *loop, int thread, const Input *a0,
                          Py_ssize_t m, const Targets *targets, Py_ssize_t at_row, double scale,
                          const real *parameters, const Columns *own, Rows *r) noexcept nogil:
    # every delta of the batch, all of whose rows a^0 has                  delta, C  # OUT
    cdef const Layer *f = plan.layers
    cdef Plan behind = plan[0]
    cdef Columns other
    cdef Input x
    cdef real *a
    cdef int t
    behind.lowest = 1
    r.first = r.batch_row = m * thread / loop.n_threads
    r.m = m * (thread + 1) / loop.n_threads - r.first
    f.link.forward(&own.layer, parameters, True, a0, m, own.z, <real *>r.scratch)
    activate(&own.layer, own.z, m, True, own.a)
    wait(&loop.barrier, loop.n_threads)  # every column of a^1 is there
    if r.m > 0:
        a = rows_of(r, f.a_at, f.a_row)
        for t in range(loop.n_threads):
            other = columns(plan, loop.batch_size, t, loop.n_threads,
                            own.a0 + (t - thread) * loop.thread_reals)
            copy_rows(other.a + r.first * other.layer.a_row, other.layer.a_row, a + other.first,
                      f.a_row, r.m, other.layer.n_a)
        x = dense_input(a, f.a_row)
        forward_from(1, plan, parameters, True, &x, r, gradient_mode(plan))
        output_error(plan, targets, at_row + r.first, r, scale)
        backward(&behind, parameters, True, &x, r, False)
        if not all_finite(<real *>r.C + r.first, r.m):
            raise_flag(&loop.diverged)
    wait(&loop.barrier, loop.n_threads)  # every row of delta^2 is there
    if not is_raised(&loop.diverged):
        # BP2: these columns of delta^1, from the rows of W^2 that this thread alone will change
        f = &plan.layers[1]
        f.link.back(f, parameters, True, &x, <const real *>r.work + r.cap * f.delta_at, m,
                    own.first, own.last, True, own.z - own.first, own.layer.z_row,
                    <real *>r.scratch)


cdef void update_by_columns(const Plan *plan, const Loop *loop, const Step *step, int thread,
                            const Input *a0, Py_ssize_t m, const Columns *own, const void *work,
                            Ahead *ahead, real *parameters, real *scratch) noexcept nogil:
    # BP3, BP4 and the step: columns of the first layer, as many rows of the next, and this thread's
    # rows of those behind                                            parameters, slots  # OUT
    cdef const Layer *f = plan.layers
    cdef Input x
    cdef int l
    f.link.update(&own.layer, step, a0, own.z, m, 0, f.n_in, True, parameters, plan.n_padded,
                  scratch, ahead)
    x = dense_input(own.a - own.first, own.layer.a_row)
    for l in range(1, plan.n_layers):
        f = &plan.layers[l]
        f.link.update(f, step, &x, <const real *>work + loop.batch_size * f.delta_at, m,
                      own.first if l == 1 else f.n_in * thread / loop.n_threads,
                      own.last if l == 1 else f.n_in * (thread + 1) / loop.n_threads,
                      thread == loop.n_threads - 1, parameters, plan.n_padded, scratch, ahead)
        x = dense_input(<const real *>work + loop.batch_size * f.a_at, f.a_row)
