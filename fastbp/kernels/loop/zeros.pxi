# Columns that are 0 in a whole batch: whether anybody looks for them, and what is found.
#
# What belongs here: for which runs and steps a search pays, and the batch's rows without what was
# found. What does not: the search (arithmetic/active.h), products (links/dense.pxd).
#
# Both questions are answered by X, the batch and the step alone, never by what was found before: so
# threads, slices of a run and a resumed one leave out the same columns.

cdef enum:
    NOT_SEEN = 0    # X has not been asked
    HAS_ZEROS = 1
    IS_DENSE = 2


cdef inline bint is_searched(const Plan *plan, Py_ssize_t batch_size) noexcept nogil:
    """Whether the first link can leave columns out, and a batch is small enough to gain by it."""
    return (plan.n_0 >= FEW_COLUMNS and plan.layers[0].link.skips_zeros
            and batch_size * plan.a0_row * <Py_ssize_t>sizeof(real) <= SECOND_LEVEL_BYTES)


cdef inline Py_ssize_t pointers(Py_ssize_t batch_size) noexcept nogil:
    """Reals of scratch that hold where rows are: of a batch, and of a part of the next."""
    return (2 * batch_size * <Py_ssize_t>sizeof(void *) + 63) / 64 * PER_LINE


cdef int zeros_of(const Plan *plan, const Loop *loop, const real *X, const Rows *r) noexcept nogil:
    """Whether batches are searched: by as many rows from all over X."""
    cdef const real **rows = <const real **>r.scratch
    cdef Py_ssize_t *order = <Py_ssize_t *>(rows + loop.batch_size)
    cdef Py_ssize_t m = min(loop.batch_size, loop.n), s, most = most_active(plan.n_0)
    if not is_searched(plan, loop.batch_size):
        return IS_DENSE
    # a batch in one piece, and as it is in X
    if loop.adds_slices or loop.batch_size > loop.slice:
        return IS_DENSE
    if loop.dropout.rates != NULL and loop.dropout.rates[0] != 0.0:
        return IS_DENSE
    for s in range(m):
        order[s] = s * (loop.n / m)
        if loop.rows != NULL:
            order[s] = loop.rows[order[s]]
    if active_columns(X, plan.n_0, order, m, 0, 0, most, r.columns, NULL, 0, NULL, 0, rows) > most:
        return IS_DENSE
    return HAS_ZEROS


cdef bint zeros_stay(const Plan *plan, const Loop *loop, const Step *step) noexcept nogil:
    """Whether rows of the first W whose column of a^0 is 0 are as they were after the step."""
    cdef const Layer *f = &plan.layers[0]
    cdef Own own
    cdef int i
    for i in range(f.n_tensors):
        own = numbers_of(step, &f.tensors[i])
        if f.tensors[i].rows == f.n_in and f.tensors[i].rate != 0.0 and not own.zero_stays:
            return False
    return loop.clip_norm == INFINITY and loop.share.reduce == NULL


cdef bint find_active(const Plan *plan, const Loop *loop, const real *X, const Py_ssize_t *order,
                      Py_ssize_t m, Py_ssize_t first, Py_ssize_t last, real *compact, const Rows *r,
                      Ahead *ahead, Active *active) noexcept nogil:
    """Whether enough columns of the batch are 0; then rows [first, last) without them stand in
    `compact`, a0_row apart as in a^0.                                     compact, active  # OUT"""
    cdef Py_ssize_t most = most_active(plan.n_0), fetched = min(m / 5, ahead.rows)
    active.columns = r.columns
    active.n = active_columns(X, plan.n_0, order, m, first, last, most, r.columns, compact,
                              plan.a0_row, ahead.order, fetched, <const real **>r.scratch)
    ahead.order += fetched
    ahead.rows -= fetched
    active.ahead = ahead
    active.a = compact + first * plan.a0_row
    return active.n <= most
