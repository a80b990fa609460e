# The lists of a batch, where X is sparse: their memory, and how rows of X become such.
#
# What belongs here: what `Rows` has of lists. What does not: what is computed with them
# (links/sparse.pxd).
#
# A batch has room for `room` elements: their columns, and for a^0 and each layer that gives lists
# their values and the errors of these. They are copied out of X, so that what is dropped or scaled
# has a place; no row is ever made dense.

cdef inline Py_ssize_t whole_lines(Py_ssize_t n_bytes) noexcept nogil:
    return (n_bytes + 63) / 64 * 64


cdef Py_ssize_t values_bytes(const Plan *plan, Py_ssize_t room) noexcept nogil:
    return whole_lines((plan.n_lists + 1) * room * <Py_ssize_t>sizeof(real))


cdef double lists_bytes(const Plan *plan, Py_ssize_t room) noexcept nogil:
    """Memory of a batch that `lay_out_lists` divides."""
    return whole_lines(room * 4) + 2.0 * values_bytes(plan, room)


cdef double columns_bytes(const Plan *plan, Py_ssize_t cap, Py_ssize_t room) noexcept nogil:
    """And of each of its threads."""
    return (whole_lines((cap + 1) * <Py_ssize_t>sizeof(Py_ssize_t)) + 3.0 * whole_lines(room * 4)
            + whole_lines(plan.n_0 * 4) + whole_lines((plan.n_0 + 64) * <Py_ssize_t>sizeof(real)))


cdef void lay_out_lists(const Plan *plan, Py_ssize_t room, void *memory, Rows *r) noexcept nogil:
    """Divide zeroed memory of a batch.                                                r  # OUT"""
    r.room = room
    r.index = <int32_t *>memory
    r.values = <real *>(<char *>memory + whole_lines(room * 4))
    r.slopes = <real *>(<char *>r.values + values_bytes(plan, room))


cdef void lay_out_columns(const Plan *plan, Py_ssize_t cap, Py_ssize_t room, void *memory,
                          Rows *r) noexcept nogil:
    """Divide zeroed memory of a thread.                                               r  # OUT"""
    cdef char *at = <char *>memory
    r.starts = <Py_ssize_t *>at
    at += whole_lines((cap + 1) * <Py_ssize_t>sizeof(Py_ssize_t))
    r.turned.next = <int32_t *>at
    at += whole_lines(room * 4)
    r.turned.sample = <int32_t *>at
    at += whole_lines(room * 4)
    r.turned.touched = <int32_t *>at
    at += whole_lines(room * 4)
    r.turned.head = <int32_t *>at
    at += whole_lines(plan.n_0 * 4)
    r.turned.sums = <real *>at


cdef Py_ssize_t most_listed(const Input *X, Py_ssize_t n, Py_ssize_t cap) noexcept nogil:
    """Elements of the longest of the batches of `cap` rows that n rows in order make."""
    cdef Py_ssize_t s = 0, most = 0
    while s < n:
        most = max(most, X.starts[min(n, s + cap)] - X.starts[s])
        s += cap
    return most


cdef Input batch_of_lists(const Rows *r, Py_ssize_t first) noexcept nogil:
    """a^0 of the batch's rows from `first` on, once they are there."""
    cdef Input x = dense_input(r.values, 0)
    x.starts, x.index = r.starts + first, r.index
    x.turned = &r.turned
    return x


cdef void measure_lists(const Input *X, const Py_ssize_t *order, Py_ssize_t first, Py_ssize_t m,
                        const Rows *r) noexcept nogil:
    # where each row of a batch will begin: each thread has to know of all        starts  # OUT
    cdef Py_ssize_t s, i
    r.starts[0] = 0
    for s in range(m):
        i = first + s if order == NULL else order[first + s]
        r.starts[s + 1] = r.starts[s] + X.starts[i + 1] - X.starts[i]


cdef void gather_lists(const Input *X, const Py_ssize_t *order, Py_ssize_t first, Py_ssize_t at,
                       Py_ssize_t m, const Rows *r) noexcept nogil:
    # rows at, ..., at + m - 1 of the batch that begins with row `first`     index, values  # OUT
    cdef Py_ssize_t s, i, n
    for s in range(at, at + m):
        i = first + s if order == NULL else order[first + s]
        n = X.starts[i + 1] - X.starts[i]
        memcpy(r.index + r.starts[s], X.index + X.starts[i], n * sizeof(int32_t))
        memcpy(r.values + r.starts[s], X.a + X.starts[i], n * sizeof(real))
    if r.dropout != NULL and r.dropout.rates[0] != 0.0:
        drop_listed(r.dropout, r.batch_row, m, r.starts + at, r.index, r.values)
