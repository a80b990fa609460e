# The passes over a network's layers: forward, output error (BP1), backward (BP2), gradient (BP3,
# BP4).
#
# What belongs here: which kernel runs for which layer, on which rows of the work area. What does
# not: mathematics (functions/, links/), epochs and threads (steps.pxi), Python objects (doors/).
#
# The work area for `cap` rows is one block of cap * plan.width reals: a^0, then z^l, a^l, delta^l
# for each layer, then g (dC/da of the layer at hand). Every row is padded to 64 bytes. In a hidden
# elementwise layer one place holds z, then sigma'(z), then delta: the product that makes delta
# multiplies into it (12 % of a step of case D in bench/compare.py).

cdef struct Targets:
    # Y dense (n, n_y), or class indices (n,) of which sample i's row is made: `on` at its class
    const void *Y
    const Py_ssize_t *labels
    const Py_ssize_t *order     # sample s of the batch is row order[s]; NULL: row s
    const void *weight          # one a sample, or NULL
    bint missing                # NaN in Y stands for no target: no cost and no error there


cdef struct Plan

cdef struct Rows:
    # Rows [first, first + m) of a work area of `cap` rows: one thread's share of a batch.
    void *work
    Py_ssize_t cap, first, m
    const Dropout *dropout  # of training, or frozen for a question; NULL: nothing is dropped
    Py_ssize_t batch_row    # the batch's number of the first row: masks go by it
    void *C             # the cost of each of the cap samples
    void *scratch       # this thread's: a panel of W^T, then rows for y, C_j and dC/da
    int32_t *columns    # this thread's: a list of those that are not 0 in the whole batch
    # of the batch's lists, where X is sparse (lists.pxi): elements that there is room for, their
    # columns, values of a^0 and of each layer that gives lists, and the errors of these, dC/dx last
    Py_ssize_t room
    int32_t *index
    real *values
    real *slopes
    Py_ssize_t *starts  # this thread's: of the rows of the whole batch
    Turned turned       # and this


# BP1 of the rows of a batch whose first is row `first` of the targets           delta^L, C  # OUT
ctypedef void (*OutputError)(const Plan *plan, const Targets *targets, Py_ssize_t first,
                             const Rows *r) noexcept nogil

cdef struct Plan:
    int n_layers
    int real_bytes                    # of the build that this is for
    const Cost *cost
    double cost_p
    OutputError output_error
    Terms terms                       # of the cost; canonical: on z, or NULL
    bint canonical                    # output activation and cost have an output error of their own
    Py_ssize_t n_0, n_y               # columns of X and of Y (gaussian_nll: half the outputs)
    Py_ssize_t a0_row, width, g_at, g_row, widest
    Py_ssize_t n_parameters, n_padded
    bint reads_lists                  # the first link does: a0_row and what goes by it are 0
    int n_lists                       # layers, the first ones, that give lists
    int lowest                        # layer that an error is needed of: those below are frozen
    Layer *layers

cdef enum:
    KEEP_Z = 0          # forward leaves z
    HIDDEN_SLOPES = 1   # forward leaves sigma'(z) in place of z in elementwise hidden layers
    OUTPUT_SLOPES = 2   # and in the output layer
    LEAVE_OUTPUT = 4    # z^L is all that is asked for: the cost makes a^L itself


cdef inline Py_ssize_t scratch_size(const Plan *plan) noexcept nogil:
    return PANEL * plan.widest + 4 * plan.widest


cdef inline real *rows_of(const Rows *r, Py_ssize_t at, Py_ssize_t row) noexcept nogil:
    """The share's rows of the matrix that begins at cap * at and has rows of `row` reals."""
    return <real *>r.work + r.cap * at + r.first * row


cdef inline real *z_of(const Plan *plan, const Rows *r, int l) noexcept nogil:
    if l < plan.n_lists:
        return r.values + (l + 1) * r.room
    return rows_of(r, plan.layers[l].z_at, plan.layers[l].z_row)


cdef inline real *delta_of(const Plan *plan, const Rows *r, int l) noexcept nogil:
    if l < plan.n_lists:
        return r.slopes + l * r.room
    return rows_of(r, plan.layers[l].delta_at, plan.layers[l].z_row)


cdef inline Input output_of(const Plan *plan, const Rows *r, int l, const Input *x) noexcept nogil:
    """a^l, after a layer that has read x."""
    cdef Input a = x[0]
    if l >= plan.n_lists:
        return dense_input(rows_of(r, plan.layers[l].a_at, plan.layers[l].a_row),
                           plan.layers[l].a_row)
    a.a = z_of(plan, r, l)
    return a


cdef inline bint leaves_slope(const Plan *plan, int l, int mode) noexcept nogil:
    if not plan.layers[l].sigma.elementwise:
        return False
    return (mode & OUTPUT_SLOPES) != 0 if l == plan.n_layers - 1 else (mode & HIDDEN_SLOPES) != 0


cdef inline void activate(const Layer *f, real *z, Py_ssize_t m, bint slopes,
                          real *a) noexcept nogil:
    # a = sigma(z)   (m, n_a); with `slopes` z <- sigma'(z)                              z, a  # OUT
    if slopes:
        f.sigma.values_and_slopes(f, z, m, a)
    else:
        f.sigma.values(f, z, m, a)


cdef inline Py_ssize_t target_index(const Targets *t, Py_ssize_t s) noexcept nogil:
    return s if t.order == NULL else t.order[s]


cdef inline const real *target_row(const Plan *plan, const Targets *t, Py_ssize_t i,
                                   real *y) noexcept nogil:
    cdef Py_ssize_t j
    if t.labels == NULL:
        return <const real *>t.Y + i * plan.n_y
    for j in range(plan.n_y):
        y[j] = <real>plan.cost.off_target
    y[t.labels[i]] = <real>1
    return y


cdef inline void forward(const Plan *plan, const real *parameters, bint padded, const Input *X,
                         const Rows *r, int mode) noexcept nogil:
    # z^l = link(a^{l-1}), a^l = sigma(z^l) for l = 1..L                                 work  # OUT
    forward_from(0, plan, parameters, padded, X, r, mode)


cdef void forward_from(int first, const Plan *plan, const real *parameters, bint padded,
                       const Input *X, const Rows *r, int mode) noexcept nogil:
    # the same from plan.layers[first] on, which reads X                                 work  # OUT
    cdef Input x = X[0]
    cdef const Layer *f
    cdef real *z
    cdef real *a_next
    cdef int l
    for l in range(first, plan.n_layers):
        f = &plan.layers[l]
        z = z_of(plan, r, l)
        f.link.forward(f, parameters, padded, &x, r.m, z, <real *>r.scratch)
        x = output_of(plan, r, l, &x)
        if l < plan.n_lists:  # the identity, and nothing is dropped from it
            continue
        a_next = rows_of(r, f.a_at, f.a_row)
        if l < plan.n_layers - 1 or not mode & LEAVE_OUTPUT:
            activate(f, z, r.m, leaves_slope(plan, l, mode), a_next)
        if r.dropout != NULL and l < plan.n_layers - 1:
            # with the slope, delta needs nothing more: da/dz of what is passed on
            drop(r.dropout, l + 1, r.batch_row, r.m, f.n_a, f.a_row, a_next,
                 z if leaves_slope(plan, l, mode) else NULL)


cdef Input input_rows(const Plan *plan, const Input *X, Py_ssize_t first,
                      const Rows *r) noexcept nogil:
    """a^0 of rows first, ..., first + m - 1 of X: X itself, or its copy with what is dropped."""
    cdef real *a = rows_of(r, 0, plan.a0_row)
    if plan.reads_lists:
        measure_lists(X, NULL, first, r.m, r)
        gather_lists(X, NULL, first, 0, r.m, r)
        return batch_of_lists(r, 0)
    if r.dropout == NULL or r.dropout.rates[0] == 0.0:
        return dense_input(X.a + first * X.row, X.row)
    copy_rows(X.a + first * X.row, X.row, a, plan.a0_row, r.m, plan.n_0)
    drop(r.dropout, 0, r.batch_row, r.m, plan.n_0, plan.a0_row, a, NULL)
    return dense_input(a, plan.a0_row)


cdef inline int gradient_mode(const Plan *plan) noexcept nogil:
    """What `forward` must leave for `output_error` and `backward`."""
    return HIDDEN_SLOPES | (LEAVE_OUTPUT if plan.canonical else OUTPUT_SLOPES)


cdef void softmax_output_error(const Plan *plan, const Targets *targets, Py_ssize_t first,
                               const Rows *r) noexcept nogil:
    # BP1 of softmax with cross_entropy or kl, all rows of the batch at once       delta^L, C  # OUT
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef real *a = rows_of(r, f.a_at, f.a_row)
    cdef real *delta = rows_of(r, f.delta_at, f.z_row)
    cdef real *log_sum = rows_of(r, plan.g_at, plan.g_row)
    cdef real *C = <real *>r.C + r.first
    cdef real c = <real>f.p, total
    cdef const real *y
    cdef Py_ssize_t s, i, j, whole
    softmax_shift(rows_of(r, f.z_at, f.z_row), c, r.m, f.n_a, f.a_row, a)
    for s in range(r.m):
        i = target_index(targets, first + s)
        if targets.labels != NULL:  # y is 1 at the class: no row of it is made
            C[s] = -a[s * f.a_row + targets.labels[i]]
        else:
            C[s] = cost_of_shifted(a + s * f.a_row, <const real *>targets.Y + i * plan.n_y,
                                   plan.cost.has_entropy, f.n_a)
    exponentials(a, r.m * f.a_row)
    for s in range(r.m):
        log_sum[s] = softmax_scale(a + s * f.a_row, f.a_row)
    whole = (r.m + VECTOR_LANES - 1) / VECTOR_LANES * VECTOR_LANES
    for s in range(r.m, whole):
        log_sum[s] = <real>0
    for s in range(whole):  # no tail
        log_sum[s] = log1p(log_sum[s])
    for s in range(r.m):
        i = target_index(targets, first + s)
        if targets.labels != NULL:
            C[s] += log_sum[s]
            for j in range(f.a_row):
                delta[j] = c * a[j]
            delta[targets.labels[i]] = c * (a[targets.labels[i]] - <real>1)
        else:
            y = <const real *>targets.Y + i * plan.n_y
            total = row_sum(y, f.n_a)
            C[s] += total * log_sum[s]
            softmax_delta(a, y, c, f.n_a, total, delta)
        a += f.a_row
        delta += f.z_row


cdef void separable_output_error(const Plan *plan, const Targets *targets, Py_ssize_t first,
                                 const Rows *r) noexcept nogil:
    # BP1 where only k = j survives, all rows: delta_j = dC/da_j sigma'(z_j)      delta^L, C  # OUT
    # whole padded rows, so that nothing has a tail: 15 % of a step of case E in bench/compare.py
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef const real *z = rows_of(r, f.z_at, f.z_row)
    cdef const real *a = rows_of(r, f.a_at, f.a_row)
    cdef real *delta = rows_of(r, f.delta_at, f.z_row)
    cdef real *term = rows_of(r, plan.g_at, plan.g_row)  # at first y
    cdef real *C = <real *>r.C + r.first
    cdef const real *y
    cdef Py_ssize_t s, j, n = r.m * f.z_row
    memset(term, 0, n * sizeof(real))
    for s in range(r.m):
        y = target_row(plan, targets, target_index(targets, first + s), term + s * f.z_row)
        for j in range(f.n_a):
            term[s * f.z_row + j] = y[j]
    if plan.canonical:
        plan.terms(z, term, <real>0, n, term, delta)
    else:
        plan.terms(a, term, <real>plan.cost_p, n, term, delta)
        for j in range(n):
            delta[j] = delta[j] * z[j]
    if targets.missing and targets.labels == NULL:
        for s in range(r.m):
            y = <const real *>targets.Y + target_index(targets, first + s) * plan.n_y
            for j in range(f.n_a):
                if y[j] != y[j]:
                    term[s * f.z_row + j] = <real>0
                    delta[s * f.z_row + j] = <real>0
    for s in range(r.m):
        C[s] = row_sum(term + s * f.z_row, f.n_a)


cdef void coupled_output_error(const Plan *plan, const Targets *targets, Py_ssize_t first,
                               const Rows *r) noexcept nogil:
    # BP1 with the whole sum over k, row by row: delta = J^T dC/da                delta^L, C  # OUT
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef real *y_made = <real *>r.scratch + PANEL * plan.widest
    cdef real *term = y_made + plan.widest
    cdef real *g = term + plan.widest
    cdef real *C = <real *>r.C + r.first
    cdef const real *z
    cdef const real *a
    cdef const real *y
    cdef Py_ssize_t s
    for s in range(r.m):
        y = target_row(plan, targets, target_index(targets, first + s), y_made)
        z = rows_of(r, f.z_at, f.z_row) + s * f.z_row
        a = rows_of(r, f.a_at, f.a_row) + s * f.a_row
        plan.terms(a, y, <real>plan.cost_p, f.n_a, term, g)
        C[s] = row_sum(term, f.n_a / plan.cost.outputs_per_target)
        f.sigma.vjp(f, z, a, g, f.a_row, 1,
                    rows_of(r, f.delta_at, f.z_row) + s * f.z_row, f.z_row)


cdef void output_error(const Plan *plan, const Targets *targets, Py_ssize_t first, const Rows *r,
                       double scale) noexcept nogil:
    # BP1: delta^L = J^T dC/da   (m, n_z), times w_s * scale; C_s unweighted       delta^L, C  # OUT
    # the batch's sample s is row first + s of the targets (by way of order)
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef real *delta = rows_of(r, f.delta_at, f.z_row)
    cdef real *mask = <real *>r.scratch + PANEL * plan.widest
    cdef real w
    cdef Py_ssize_t s, j
    plan.output_error(plan, targets, first, r)
    for j in range(f.z_row):  # the padding becomes 0
        mask[j] = <real>1 if j < f.n_z else <real>0
    for s in range(r.m):
        w = <real>scale
        if targets.weight != NULL:
            w = <real>((<const real *>targets.weight)[target_index(targets, first + s)] * scale)
        for j in range(f.z_row):
            delta[s * f.z_row + j] = delta[s * f.z_row + j] * (w * mask[j])


cdef void backward(const Plan *plan, const real *parameters, bint padded, const Input *X,
                   const Rows *r, bint to_input) noexcept nogil:
    # BP2: delta^l = J_l^T (delta^{l+1} W^{l+1}^T) for l = L-1..lowest delta^l  # OUT
    # with to_input also g = delta^1 W^1^T = dC/dx                     g        # OUT
    # of lists what is in them alone, dC/dx behind the other errors
    cdef const Layer *f
    cdef const Layer *before
    cdef real *g = rows_of(r, plan.g_at, plan.g_row)
    cdef int l = plan.n_layers - 1
    cdef bint fused, drops
    cdef real *z
    cdef real *a
    while l > plan.lowest or (l == 0 and to_input):
        f = &plan.layers[l]
        before = &plan.layers[l - 1] if l > 0 else NULL
        if f.link.reads_lists:
            f.link.back(f, parameters, padded, X, delta_of(plan, r, l), r.m, 0, f.n_in, False,
                        r.slopes + (l - 1 if l > 0 else plan.n_lists) * r.room, 0, NULL)
            l -= 1
            continue
        fused = before != NULL and before.delta_at == before.z_at  # delta^{l-1} = z's place * g
        f.link.back(f, parameters, padded, X, rows_of(r, f.delta_at, f.z_row), r.m, 0, f.n_in,
                    fused, rows_of(r, before.z_at, before.z_row) if fused else g,
                    before.z_row if fused else plan.g_row, <real *>r.scratch)
        if l > 0 and not fused:
            drops = r.dropout != NULL and r.dropout.rates[l] > 0.0
            z = rows_of(r, before.z_at, before.z_row)
            a = rows_of(r, before.a_at, before.a_row)
            if drops:  # J is that of a before it was masked
                drop(r.dropout, l, r.batch_row, r.m, before.n_a, plan.g_row, g, NULL)
                activate(before, z, r.m, False, a)
            before.sigma.vjp(before, z, a, g, plan.g_row, r.m,
                             rows_of(r, before.delta_at, before.z_row), before.z_row)
            if drops:
                drop(r.dropout, l, r.batch_row, r.m, before.n_a, before.a_row, a, NULL)
        l -= 1


cdef void add_gradient(const Plan *plan, const Input *X, const Rows *r, int thread, int n_threads,
                       bint anew, real *nabla, real *scratch, Ahead *ahead) noexcept nogil:
    # BP3, BP4 of every layer, for this thread's rows of every W                       nabla  # OUT
    # added to the padded gradient, or `anew` in its place; scratch, `ahead`: as links take them
    cdef const Layer *f
    cdef Input x = X[0]
    cdef int l
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        f.link.gradient(f, &x, delta_of(plan, r, l), r.m, thread, n_threads, anew, nabla, scratch,
                        ahead)
        x = output_of(plan, r, l, &x)


cdef void pad(const Plan *plan, const real *flat, real *padded) noexcept nogil:
    """Copy parameters from their public layout to padded rows.                     padded  # OUT"""
    move_parameters(plan, <real *>flat, padded, True)


cdef void unpad(const Plan *plan, const real *padded, real *flat) noexcept nogil:
    """Copy padded rows to the public layout.                                         flat  # OUT"""
    move_parameters(plan, flat, <real *>padded, False)


cdef void move_parameters(const Plan *plan, real *flat, real *padded, bint inwards) noexcept nogil:
    cdef const Tensor *t
    cdef Py_ssize_t j, k, m, n, row
    cdef real *outside
    cdef real *inside
    cdef int l, i
    for l in range(plan.n_layers):
        for i in range(plan.layers[l].n_tensors):
            t = &plan.layers[l].tensors[i]
            k = 0
            while k < t.rows:  # a few rows at a time: their lines stay until all panels had a part
                m = min(16, t.rows - k)
                j = 0
                while j < t.n:
                    row = min(t.panel, t.row - j)
                    n = min(row, t.n - j)
                    outside = flat + t.at + k * t.n + j
                    inside = padded + t.padded_at + j * t.rows + k * row
                    if inwards:
                        copy_rows(outside, t.n, inside, row, m, n)
                    else:
                        copy_rows(inside, row, outside, t.n, m, n)
                    j += t.panel
                k += m


cdef void copy_rows(const real *source, Py_ssize_t source_row, real *target, Py_ssize_t target_row,
                    Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t s
    for s in range(m):
        memcpy(target + s * target_row, source + s * source_row, n * sizeof(real))
