# A run that several ranks make together, each with rows of its own: one rank's share of a step.
#
# What belongs here: which rows of a batch are here, and where the ranks' gradients become one. What
# does not: who owns which rows, how a sum over ranks is formed (training/data_parallel.py).

# Add up in place what every rank holds; not 0 where it cannot
ctypedef int (*Reduce)(void *reducer) noexcept nogil

cdef struct Share:
    # of the epoch at hand; rows order[starts[i]:starts[i + 1]] of its batch i are here
    const Py_ssize_t *starts    # NULL: all are
    const Py_ssize_t *places    # of each of these rows in its batch: masks go by it
    const double *weights       # of the batches, by which their gradients are divided
    Py_ssize_t batch_size       # of all ranks together
    Reduce reduce               # of the stored gradient and what is told behind it; NULL: of none
    void *reducer

cdef enum:
    # what is told behind the gradient, in reals
    TOLD_LOSS = 0       # mean of w C: the sum of the ranks' parts
    TOLD_BAD = 1        # above 0 where a rank's cost is NaN or infinite: no step is made
    TOLD_END = 2        # above 0 where a rank wants to go back to Python after the step
    TOLD = 16

cdef struct Part:
    Py_ssize_t first, m         # rows first, ..., first + m - 1 of the order
    Py_ssize_t taken            # rows of the batch on all ranks


cdef struct Loop


cdef inline Part part_of_batch(const Loop *loop, Py_ssize_t row) noexcept nogil:
    """Of the batch that begins at `row` of an epoch's order, what is here; nothing behind it."""
    cdef const Share *share = &loop.share
    cdef Part part
    cdef Py_ssize_t i
    if share.starts == NULL:
        part.first = row
        part.m = part.taken = min(loop.end - row, loop.batch_size)
        return part
    part.first = part.m = 0
    part.taken = min(loop.per_epoch - row, share.batch_size)
    if part.taken > 0:
        i = row / share.batch_size
        part.first = share.starts[i]
        part.m = share.starts[i + 1] - part.first
    return part


cdef inline double told_by(const Plan *plan, const real *nabla, int what) noexcept nogil:
    """What the ranks told with the last sum."""
    return <double>nabla[plan.n_padded + what]


cdef bint reduce_gradient(const Plan *plan, Loop *loop, int thread, const Input *a0,
                          const Rows *batch, bint added, double loss, real *nabla,
                          Ahead *ahead) noexcept nogil:
    # BP3, BP4 of the rows that are here, then the sum over ranks; whether a step is to be made of
    # it. `added`: nabla holds these rows' already; `loss`: their sum of w C, divided   nabla  # OUT
    cdef real *told = nabla + plan.n_padded
    cdef bint bad = is_raised(&loop.diverged)
    if not added and not bad and batch.m > 0:
        add_gradient(plan, a0, batch, thread, loop.n_threads, True, nabla, <real *>batch.scratch,
                     ahead)
    wait(&loop.barrier, loop.n_threads)
    if thread == 0:
        if batch.m == 0:
            memset(nabla, 0, plan.n_padded * sizeof(real))
        told[TOLD_LOSS] = <real>(0.0 if bad else loss)
        told[TOLD_BAD] = <real>(1.0 if bad else 0.0)
        told[TOLD_END] = <real>0
        if loop.share.reduce(loop.share.reducer) != 0 or told[TOLD_BAD] > <real>0:
            raise_flag(&loop.diverged)
    wait(&loop.barrier, loop.n_threads)
    return not is_raised(&loop.diverged)
