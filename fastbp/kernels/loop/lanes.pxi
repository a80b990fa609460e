# The passes of many networks of one shape at once: one network a lane of every vector.
#
# What belongs here: what a group of lanes is; gather, forward, output error (BP1), backward (BP2)
# and gradient (BP3, BP4) of their batches. What does not: products (arithmetic/lanes.h, links/),
# where each lane stands (lane_steps.pxi), what goes in and comes out (doors/many.pxi).
#
# Parameter p of network i lies at [p][i], unit j of sample s at [s][j][i]. Each lane has its own X,
# Y, order, numbers, step count, dropout and rows in the batch at hand; where others have more rows,
# it makes its first one again, whose error counts 0 times. Every sum has its terms in the order of
# a single run (steps.pxi), so each lane has that run's bits.

cdef enum:
    MOST_LANES = 16
    TILE_VECTORS_OF_LANES = 24


cdef struct Member:
    # a network: what it learns from, its numbers, where it stands
    bint here, diverged, shuffled, missing, batch_means
    const real *X
    const real *Y
    const Py_ssize_t *labels
    const real *weight
    const Py_ssize_t *rows      # that its order draws from; NULL: 0, ..., n - 1
    Py_ssize_t *order
    Py_ssize_t n, m             # rows of all; of the batch at hand
    Py_ssize_t per_epoch        # as Loop has it
    uint64_t seed
    Orders orders
    Rule rule
    double batch_l2
    Step told, step             # as told, and as the course and t have made it
    double factor               # of dropout, as told
    Dropout dropout
    Position at
    const double *course        # as Loop has it
    long long first_t
    Py_ssize_t n_course
    real *kept                  # states at the ends of epochs, or NULL (Lanes.keep)
    double *rates               # of each tensor, in the order of the public layout
    double *decays


cdef struct LaneNumbers:
    # of a tensor, or of several that have the same rates and decays
    Numbers of
    bint shaped                 # in some lane
    bint trained                # in some lane
    bint held                   # in some lane no step changes them:
    int[MOST_LANES] stays


cdef struct Group:
    const Plan *plan
    const Policy *policy
    Py_ssize_t batch_size
    Py_ssize_t slice            # rows that there is room for
    Py_ssize_t part             # of them, that go through all layers before the next
    Py_ssize_t m                # most rows of any lane's batch
    bint drops, weighted
    bint stale, moved           # numbers are to be spread: all; what goes by the step alone
    Member *members             # VECTOR_LANES
    LaneLayer *layers
    LaneNumbers *numbers        # one a tensor, of which the first of equal ones is filled
    int *numbers_of             # which one a tensor goes by
    Py_ssize_t n_tensors
    Py_ssize_t n_vectors        # of the parameters, and of each slot
    vec *parameters             # then the slots
    vec *nabla                  # where the batch goes in slices
    vec *a0
    Py_ssize_t a0_row
    vec *y                      # of a part, as are z and a of the last layer
    vec *term
    vec *C                      # of the batch: C_s, w_s, and what delta_s is multiplied by
    vec *weight
    vec *scale
    real *zeros                 # the row of X and Y of nobody,
    Py_ssize_t nowhere          # and its place
    Source[MOST_LANES] X, Y
    bint labels                 # some lane has classes
    double[MOST_LANES] total    # sum of w of the batch
    double[MOST_LANES] penalty


cdef inline Py_ssize_t row_of_lanes(Py_ssize_t n) noexcept nogil:
    """Vectors from one row of n to the next: 2 KB apart, rows meet in a few sets of the cache."""
    return n + (n * <Py_ssize_t>sizeof(vec) % 2048 == 0)


cdef void draw_orders(Group *g) noexcept nogil:
    # where an epoch begins, its order; each lane's rows of the batch at hand       orders, m  # OUT
    cdef Member *f
    cdef Py_ssize_t m
    cdef int i
    cdef bint same = not g.weighted
    cdef Source nobody = Source(g.zeros, &g.nowhere, 0)
    g.m = 1
    g.labels = False
    for i in range(VECTOR_LANES):
        f = &g.members[i]
        m = 0
        g.X[i] = g.Y[i] = nobody
        if f.here:
            if f.at.row == 0 and f.shuffled:
                draw(f.order, f.n, f.rows, f.seed, f.at.epoch, &f.orders)
            m = min(f.per_epoch - f.at.row, g.batch_size)
            g.X[i] = Source(f.X, f.order + f.at.row, m)
            if f.labels == NULL:
                g.Y[i] = Source(f.Y, f.order + f.at.row, m)
            else:
                g.labels = True
        same = same and m == f.m
        f.m = m
        g.m = max(g.m, m)
    if not same:
        weigh(g)


cdef void weigh(Group *g) noexcept nogil:
    # w_s, their sum, and w_s over it; 0 behind a lane's last row        weight, total, scale  # OUT
    cdef Member *f
    cdef real *weight = <real *>g.weight
    cdef real *scale = <real *>g.scale
    cdef double of_all
    cdef Py_ssize_t s
    cdef int i, L = VECTOR_LANES
    g.weighted = False
    for i in range(L):
        f = &g.members[i]
        for s in range(g.m):
            weight[s * L + i] = <real>1 if s < f.m else <real>0
        if f.here and f.weight != NULL:
            g.weighted = True
            for s in range(f.m):
                weight[s * L + i] = f.weight[f.order[f.at.row + s]]
        of_all = total_weight(f.weight, f.order + f.at.row, f.m) if f.here else 0.0
        g.total[i] = of_all
        # a batch of weight 0 has no data gradient
        of_all = 1.0 / of_all if of_all > 0.0 else 0.0
        for s in range(g.m):
            scale[s * L + i] = <real>(weight[s * L + i] * of_all)


cdef void gather_lanes(Group *g, Py_ssize_t at, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    # a^0 and y of rows first, ..., first + m - 1 of the batches, a^0 from row `at` on  a0, y  # OUT
    cdef const Member *f
    cdef const LaneLayer *last = &g.layers[g.plan.n_layers - 1]
    cdef real *y
    cdef Py_ssize_t s, j
    cdef int i
    lanes_gather(g.X, g.plan.n_0, first, first + m, g.a0 + at * g.a0_row, g.a0_row)
    lanes_gather(g.Y, g.plan.n_y, first, first + m, g.y, last.row)
    if not g.labels:
        return
    for i in range(VECTOR_LANES):
        f = &g.members[i]
        if f.here and f.labels != NULL:
            for s in range(m):
                y = <real *>(g.y + s * last.row) + i
                for j in range(g.plan.n_y):
                    y[j * VECTOR_LANES] = <real>g.plan.cost.off_target
                j = f.labels[g.X[i].order[first + s if first + s < f.m else 0]]
                y[j * VECTOR_LANES] = <real>1


cdef void drop_lanes(const Group *g, int l, Py_ssize_t first, Py_ssize_t m, Py_ssize_t n,
                     Py_ssize_t row, vec *a, vec *slope) noexcept nogil:
    # a^l <- a^l * mask, of each lane's own stream; slope too, or it is NULL         a, slope  # OUT
    cdef uint64_t[MOST_LANES] of_layer
    cdef uint32_t[MOST_LANES] low, high, first_kept
    cdef real[MOST_LANES] scale
    cdef real *x
    cdef real mask
    cdef uint64_t key
    cdef double rate
    cdef bint some = False
    cdef Py_ssize_t s, j
    cdef int i
    for i in range(VECTOR_LANES):
        rate = 0.0
        if g.members[i].here and g.members[i].dropout.rates != NULL:
            rate = g.members[i].dropout.factor * g.members[i].dropout.rates[l]
        some = some or rate != 0.0
        first_kept[i] = <uint32_t>(rate * 4294967296.0)
        scale[i] = <real>(1.0 / (1.0 - rate))
        of_layer[i] = stream_of_layer(&g.members[i].dropout, l) if rate != 0.0 else 0
    if not some:
        return
    for s in range(m):
        for i in range(VECTOR_LANES):
            key = key_of_row(of_layer[i], first + s)
            low[i] = <uint32_t>key
            high[i] = <uint32_t>(key >> 32)
        for j in range(n):
            for i in range(VECTOR_LANES):
                mask = kept(<uint32_t>j, low[i], high[i], first_kept[i], scale[i])
                x = <real *>(a + s * row + j)
                x[i] = x[i] * mask
                if slope != NULL:
                    x = <real *>(slope + s * row + j)
                    x[i] = x[i] * mask


cdef void forward_lanes(const Group *g, Py_ssize_t at, Py_ssize_t first,
                        Py_ssize_t m) noexcept nogil:
    # z^l = link(a^{l-1}), a^l = sigma(z^l), z <- sigma'(z), of rows from `at` on       z, a  # OUT
    cdef LaneLayer *f
    cdef const vec *a = g.a0 + at * g.a0_row
    cdef vec *z
    cdef vec *a_next
    cdef Py_ssize_t a_row = g.a0_row
    cdef int l, last = g.plan.n_layers - 1
    for l in range(last + 1):
        f = &g.layers[l]
        z = f.z if l == last else f.z + at * f.row
        a_next = f.a if l == last else f.a + at * f.row
        f.flat.link.forward_lanes(f, g.parameters, a, a_row, m, z)
        if l == last and g.plan.canonical:  # the cost makes a^L itself
            return
        f.flat.z_row = f.flat.a_row = m * f.row * VECTOR_LANES
        f.flat.sigma.values_and_slopes(&f.flat, <real *>z, 1, <real *>a_next)
        if g.drops and l < last:
            drop_lanes(g, l + 1, first, m, f.n_z, f.row, a_next, z)
        a = a_next
        a_row = f.row


cdef void backward_lanes(const Group *g, Py_ssize_t at, Py_ssize_t m) noexcept nogil:
    # BP2: delta^l = (delta^{l+1} W^{l+1}^T) * sigma'(z^l), in place of sigma'(z^l)     delta  # OUT
    cdef const LaneLayer *f
    cdef const LaneLayer *before
    cdef int l
    for l in range(g.plan.n_layers - 1, 0, -1):
        f = &g.layers[l]
        before = &g.layers[l - 1]
        f.flat.link.back_lanes(f, g.parameters, f.delta + at * f.row, m, before.z + at * before.row,
                               before.row)


cdef void add_gradients(const Group *g, Py_ssize_t m, bint adds) noexcept nogil:
    # BP3, BP4 of a slice                                                               nabla  # OUT
    cdef const LaneLayer *f
    cdef const LaneTensor *t
    cdef const vec *a = g.a0
    cdef Py_ssize_t a_row = g.a0_row
    cdef int l, i
    for l in range(g.plan.n_layers):
        f = &g.layers[l]
        for i in range(f.flat.n_tensors):
            t = &f.tensors[i]
            f.flat.link.nabla_lanes(f, i, 0, t.rows, 0, t.n, a, a_row, f.delta, m, NULL, adds,
                                    g.nabla + t.at, t.row)
        a = f.a
        a_row = f.row


cdef void separable_error_lanes(const Group *g, Py_ssize_t at, Py_ssize_t m, const vec *scale,
                                vec *C) noexcept nogil:
    # BP1 where only k = j survives, times scale                                delta^L, C  # OUT
    cdef const Plan *plan = g.plan
    cdef const LaneLayer *f = &g.layers[plan.n_layers - 1]
    cdef Py_ssize_t s, j, n = m * f.row
    cdef real *y = <real *>g.y
    cdef real *term = <real *>g.term
    cdef const vec *z = f.z
    cdef vec *x = f.delta + at * f.row
    cdef real *delta = <real *>x
    cdef bint missing = False
    cdef int i
    if plan.canonical:
        plan.terms(<real *>z, y, <real>0, n * VECTOR_LANES, term, delta)
    else:
        plan.terms(<real *>f.a, y, <real>plan.cost_p, n * VECTOR_LANES, term, delta)
    for i in range(VECTOR_LANES):
        missing = missing or (g.members[i].missing and g.members[i].labels == NULL)
    if missing:
        for i in range(VECTOR_LANES):
            if g.members[i].missing and g.members[i].labels == NULL:
                for j in range(n):
                    if y[j * VECTOR_LANES + i] != y[j * VECTOR_LANES + i]:
                        term[j * VECTOR_LANES + i] = <real>0
                        delta[j * VECTOR_LANES + i] = <real>0
    for s in range(m):
        C[s] = lanes_sum(g.term + s * f.row, f.n_z)
        if plan.canonical:
            for j in range(f.n_z):
                x[j] = x[j] * scale[s]
        else:
            for j in range(f.n_z):
                x[j] = x[j] * z[j] * scale[s]
        x += f.row
        z += f.row


cdef void softmax_error_lanes(const Group *g, Py_ssize_t at, Py_ssize_t m, const vec *scale,
                              vec *C) noexcept nogil:
    # BP1 of softmax with cross_entropy or kl, times scale; a class is a row of 0 and 1
    #                                                                           delta^L, C  # OUT
    cdef const LaneLayer *f = &g.layers[g.plan.n_layers - 1]
    cdef vec c = splat(<real>f.flat.p), one = splat(<real>1), top, total, r
    cdef const vec *z = f.z
    cdef vec *a = f.a
    cdef vec *delta = f.delta + at * f.row
    cdef vec *y = g.y
    cdef vec *rest = g.term     # of each sample: the sum less 1
    cdef real *x = <real *>rest
    cdef Py_ssize_t s, j, n = f.n_z
    for s in range(m):
        top = z[s * f.row]
        for j in range(1, n):
            top = larger(z[s * f.row + j], top)
        for j in range(n):
            a[s * f.row + j] = c * (z[s * f.row + j] - top)
    for s in range(m):
        C[s] = shifted_costs(a + s * f.row, y + s * f.row, g.plan.cost.has_entropy, n)
    exponentials(<real *>a, m * f.row * VECTOR_LANES)
    for s in range(m):
        rest[s] = sum_but_top(a + s * f.row, n)
        r = one / (one + rest[s])
        for j in range(n):
            a[s * f.row + j] = a[s * f.row + j] * r
    for j in range(m * VECTOR_LANES):
        x[j] = log1p(x[j])
    for s in range(m):
        total = lanes_sum(y, n)
        C[s] = C[s] + total * rest[s]
        for j in range(n):
            delta[s * f.row + j] = c * (a[j] * total - y[j]) * scale[s]
        a += f.row
        y += f.row


cdef inline vec shifted_costs(const vec *shifted, const vec *y, bint entropy,
                              Py_ssize_t n) noexcept nogil:
    """-<y, c(z - max z)> as cost_of_shifted has it, with `entropy` and sum y ln y."""
    cdef vec[LANES] lane
    cdef vec C
    cdef real *sum = <real *>&C
    cdef const real *x = <const real *>shifted
    cdef const real *t = <const real *>y
    cdef Py_ssize_t j
    cdef int i
    for i in range(LANES):
        lane[i] = splat(<real>0)
    for j in range(n):
        lane[j % LANES] = lane[j % LANES] + shifted[j] * y[j]
    C = -tree_of_lanes(&lane[0])
    for i in range(VECTOR_LANES):
        if sum[i] != sum[i]:  # 0 times -infinity is 0
            sum[i] = <real>0
            for j in range(n):
                if t[j * VECTOR_LANES + i] != <real>0:
                    sum[i] -= x[j * VECTOR_LANES + i] * t[j * VECTOR_LANES + i]
    if entropy:
        for j in range(n):
            for i in range(VECTOR_LANES):
                sum[i] += t[j * VECTOR_LANES + i] * log(at_least_tiny(t[j * VECTOR_LANES + i]))
    return C


cdef inline vec tree_of_lanes(vec *lane) noexcept nogil:
    # as sum_of_lanes
    cdef int i
    for i in range(8):
        lane[i] = lane[i] + lane[i + 8]
    for i in range(4):
        lane[i] = lane[i] + lane[i + 4]
    return (lane[0] + lane[2]) + (lane[1] + lane[3])


cdef inline vec sum_but_top(const vec *a, Py_ssize_t n) noexcept nogil:
    """The sum of e^{c(z - max z)} less 1, in the order of softmax_scale: one of them is counted."""
    cdef vec[LANES] lane
    cdef vec ones = splat(<real>-1)
    cdef real *sum
    cdef real *count = <real *>&ones
    cdef const real *x = <const real *>a
    cdef Py_ssize_t j
    cdef int i
    for i in range(LANES):
        lane[i] = splat(<real>0)
    for j in range(n):
        sum = <real *>&lane[j % PER_LINE]
        for i in range(VECTOR_LANES):
            sum[i] += <real>0 if x[j * VECTOR_LANES + i] == <real>1 else x[j * VECTOR_LANES + i]
            count[i] += <real>1 if x[j * VECTOR_LANES + i] == <real>1 else <real>0
    return tree_of_lanes(&lane[0]) + ones


cdef void pass_lanes(Group *g, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    # rows first, ..., first + m - 1 of the batches, through all layers and back     delta, C  # OUT
    cdef Py_ssize_t at = 0, part
    while at < m:
        part = min(g.part, m - at)
        gather_lanes(g, at, first + at, part)
        if g.drops:
            drop_lanes(g, 0, first + at, part, g.plan.n_0, g.a0_row, g.a0 + at * g.a0_row, NULL)
        forward_lanes(g, at, first + at, part)
        if g.plan.output_error == separable_output_error:
            separable_error_lanes(g, at, part, g.scale + first + at, g.C + first + at)
        else:
            softmax_error_lanes(g, at, part, g.scale + first + at, g.C + first + at)
        backward_lanes(g, at, part)
        at += part
