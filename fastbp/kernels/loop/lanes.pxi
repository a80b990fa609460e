# The training loop of many networks of one shape at once: one network a lane of every vector.
#
# What belongs here: the order of work in a step of all lanes, and where each lane stands. What does
# not: products (arithmetic/lanes.h, links/), formulas, what goes in and out (doors/many.pxi).
#
# Parameter p of network i lies at [p][i], unit j of sample s at [s][j][i]. Each lane has its own X,
# Y, order, numbers, step count, dropout and rows in the batch at hand; where others have more rows,
# it makes its first one again, whose error counts 0 times. Every sum has its terms in the order of
# a single run (steps.pxi), so each lane has that run's bits.

cdef enum:
    MOST_LANES = 16
    TILE_VECTORS_OF_LANES = 24


ctypedef const real *Row


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
    Py_ssize_t slice            # rows that go through all layers before the next
    Py_ssize_t m                # most rows of any lane's batch
    bint drops, stale, weighted
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
    vec *y                      # of a slice, as z of the last layer
    vec *term
    vec *C                      # of the batch: C_s, w_s, and what delta_s is multiplied by
    vec *weight
    vec *scale
    real *zeros                 # a row of X and Y of nobody
    double[MOST_LANES] total    # sum of w of the batch
    double[MOST_LANES] penalty


cdef inline Py_ssize_t row_of_lanes(Py_ssize_t n) noexcept nogil:
    """Vectors from one row of n to the next: rows 2 KB apart would meet in a few sets of the cache."""
    return n + (n * <Py_ssize_t>sizeof(vec) % 2048 == 0)


cdef void draw_orders(Group *g) noexcept nogil:
    # where an epoch begins, its order; each lane's rows of the batch at hand         orders, m  # OUT
    cdef Member *f
    cdef Py_ssize_t m
    cdef int i
    cdef bint same = not g.weighted
    g.m = 1
    for i in range(VECTOR_LANES):
        f = &g.members[i]
        m = 0
        if f.here:
            if f.at.row == 0 and f.shuffled:
                draw(f.order, f.n, f.rows, f.seed, f.at.epoch, &f.orders)
            m = min(f.n - f.at.row, g.batch_size)
        same = same and m == f.m
        f.m = m
        g.m = max(g.m, m)
    if not same:
        weigh(g)


cdef void weigh(Group *g) noexcept nogil:
    # w_s, their sum, and w_s over it; 0 behind a lane's last row          weight, total, scale  # OUT
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


cdef inline Py_ssize_t sample_of(const Member *f, Py_ssize_t s) noexcept nogil:
    """Row s of the lane's batch, as a row of its X."""
    return f.order[f.at.row + (s if s < f.m else 0)]


cdef void gather_lanes(Group *g, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    # a^0 and y of rows first, ..., first + m - 1 of the batches                       a0, y  # OUT
    cdef Row[MOST_LANES] X, Y
    cdef const Member *f
    cdef const LaneLayer *last = &g.layers[g.plan.n_layers - 1]
    cdef real *y
    cdef Py_ssize_t n_0 = g.plan.n_0, n_y = g.plan.n_y, s, k, j
    cdef int i
    cdef bint dense
    for s in range(m):
        dense = True
        for i in range(VECTOR_LANES):
            f = &g.members[i]
            X[i] = Y[i] = g.zeros
            if f.here:
                k = sample_of(f, first + s)
                X[i] = f.X + k * n_0
                if f.labels == NULL:
                    Y[i] = f.Y + k * n_y
                else:
                    dense = False
        lanes_gather(X, n_0, g.a0 + s * g.a0_row)
        lanes_gather(Y, n_y, g.y + s * last.row)
        if dense:
            continue
        for i in range(VECTOR_LANES):
            f = &g.members[i]
            if f.here and f.labels != NULL:
                y = <real *>(g.y + s * last.row) + i
                for j in range(n_y):
                    y[j * VECTOR_LANES] = <real>g.plan.cost.off_target
                y[f.labels[sample_of(f, first + s)] * VECTOR_LANES] = <real>1


cdef void drop_lanes(const Group *g, int l, Py_ssize_t first, Py_ssize_t m, Py_ssize_t n,
                     Py_ssize_t row, vec *a, vec *slope) noexcept nogil:
    # a^l <- a^l * mask, of each lane's own stream; slope, where it is not NULL, too    a, slope  # OUT
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


cdef void forward_lanes(const Group *g, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    # z^l = link(a^{l-1}), a^l = sigma(z^l), z <- sigma'(z)                              z, a  # OUT
    cdef LaneLayer *f
    cdef Layer flat
    cdef const vec *a = g.a0
    cdef Py_ssize_t a_row = g.a0_row
    cdef int l, last = g.plan.n_layers - 1
    for l in range(last + 1):
        f = &g.layers[l]
        f.flat.link.forward_lanes(f, g.parameters, a, a_row, m, f.z)
        if l == last and g.plan.canonical:  # the cost makes a^L itself
            return
        flat = f.flat
        flat.z_row = flat.a_row = m * f.row * VECTOR_LANES
        flat.sigma.values_and_slopes(&flat, <real *>f.z, 1, <real *>f.a)
        if g.drops and l < last:
            drop_lanes(g, l + 1, first, m, f.n_z, f.row, f.a, f.z)
        a = f.a
        a_row = f.row


cdef void backward_lanes(const Group *g, Py_ssize_t m) noexcept nogil:
    # BP2: delta^l = (delta^{l+1} W^{l+1}^T) * sigma'(z^l), in the place of sigma'(z^l)  delta  # OUT
    cdef const LaneLayer *f
    cdef const LaneLayer *before
    cdef int l
    for l in range(g.plan.n_layers - 1, 0, -1):
        f = &g.layers[l]
        before = &g.layers[l - 1]
        f.flat.link.back_lanes(f, g.parameters, f.delta, m, before.z, before.row)


cdef void add_gradients(const Group *g, Py_ssize_t m, bint adds) noexcept nogil:
    # BP3, BP4 of a slice                                                               nabla  # OUT
    cdef const LaneLayer *f
    cdef const LaneTensor *t
    cdef const vec *a = g.a0
    cdef Py_ssize_t a_row = g.a0_row
    cdef int l, i, at = 0
    for l in range(g.plan.n_layers):
        f = &g.layers[l]
        for i in range(f.flat.n_tensors):
            t = &f.tensors[i]
            if g.numbers[g.numbers_of[at]].trained:
                f.flat.link.nabla_lanes(f, i, 0, t.rows, 0, t.n, a, a_row, f.delta, m, NULL, adds,
                                        g.nabla + t.at, t.row)
            at += 1
        a = f.a
        a_row = f.row


cdef void separable_error_lanes(const Group *g, Py_ssize_t m, vec *C) noexcept nogil:
    # BP1 where only k = j survives                                             delta^L, C  # OUT
    cdef const Plan *plan = g.plan
    cdef const LaneLayer *f = &g.layers[plan.n_layers - 1]
    cdef Py_ssize_t s, j, n = m * f.row
    cdef real *y = <real *>g.y
    cdef real *term = <real *>g.term
    cdef real *delta = <real *>f.delta
    cdef bint missing = False
    cdef int i
    if plan.canonical:
        plan.terms(<real *>f.z, y, <real>0, n * VECTOR_LANES, term, delta)
    else:
        plan.terms(<real *>f.a, y, <real>plan.cost_p, n * VECTOR_LANES, term, delta)
        for j in range(n):
            f.delta[j] = f.delta[j] * f.z[j]
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


cdef void softmax_error_lanes(const Group *g, Py_ssize_t m, vec *C) noexcept nogil:
    # BP1 of softmax with cross_entropy or kl; a class is a row of 0 and 1       delta^L, C  # OUT
    cdef const LaneLayer *f = &g.layers[g.plan.n_layers - 1]
    cdef vec c = splat(<real>f.flat.p), one = splat(<real>1), top, total, r
    cdef vec *a = f.a
    cdef vec *y = g.y
    cdef vec *rest = g.term     # of each sample: the sum less 1
    cdef real *x = <real *>rest
    cdef Py_ssize_t s, j, n = f.n_z
    for s in range(m):
        top = f.z[s * f.row]
        for j in range(1, n):
            top = larger(f.z[s * f.row + j], top)
        for j in range(n):
            a[s * f.row + j] = c * (f.z[s * f.row + j] - top)
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
            f.delta[s * f.row + j] = c * (a[j] * total - y[j])
        a += f.row
        y += f.row


cdef inline vec shifted_costs(const vec *shifted, const vec *y, bint entropy,
                              Py_ssize_t n) noexcept nogil:
    """-<y, c(z - max z)> in the order of row_dot, with `entropy` and sum y ln y: cost_of_shifted."""
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


cdef void error_of_lanes(const Group *g, Py_ssize_t first, Py_ssize_t m) noexcept nogil:
    # BP1, times w_s over their sum                                             delta^L, C  # OUT
    cdef const LaneLayer *f = &g.layers[g.plan.n_layers - 1]
    cdef Py_ssize_t s, j
    if g.plan.output_error == separable_output_error:
        separable_error_lanes(g, m, g.C + first)
    else:
        softmax_error_lanes(g, m, g.C + first)
    for s in range(m):
        for j in range(f.n_z):
            f.delta[s * f.row + j] = f.delta[s * f.row + j] * g.scale[first + s]


cdef bint find_diverged(Group *g) noexcept nogil:
    """Whether a cost of some lane's batch is not finite: that lane makes no step."""
    cdef vec rest = splat(<real>0)
    cdef real *x = <real *>&rest
    cdef bint some = False
    cdef Py_ssize_t s
    cdef int i
    for s in range(g.m):  # rows behind a lane's last are its own again
        rest = rest + (g.C[s] - g.C[s])  # 0, or NaN where C is NaN or infinite
    for i in range(VECTOR_LANES):
        g.members[i].diverged = g.members[i].here and x[i] != <real>0
        some = some or g.members[i].diverged
    return some


# ---- the step ------------------------------------------------------------------------------------

cdef void squares_in_lanes(const Group *g, double c, double *squares) noexcept nogil:
    # sum decay (c W)^2 of each lane, in the order of squares_of_weights              squares  # OUT
    cdef double[LANES * MOST_LANES] lane
    cdef double[LANES] one
    cdef double[MOST_LANES] factor
    cdef const Tensor *t
    cdef const vec *W
    cdef const real *w
    cdef double *sum
    cdef double x
    cdef Py_ssize_t first, k, j, width
    cdef int l, tensor_i, i, at = 0, L = VECTOR_LANES
    memset(lane, 0, sizeof(lane))
    for l in range(g.plan.n_layers):
        for tensor_i in range(g.layers[l].flat.n_tensors):
            t = &g.plan.layers[l].tensors[tensor_i]
            W = g.parameters + g.layers[l].tensors[tensor_i].at
            for i in range(L):
                factor[i] = c * sqrt_of_double(g.members[i].decays[at])
            at += 1
            first = 0
            while first < t.n:
                width = min(t.summed, t.row - first)
                for k in range(t.rows):
                    for j in range(min(width, t.n - first)):
                        w = <const real *>(W + k * g.layers[l].tensors[tensor_i].row + first + j)
                        sum = &lane[(k * width + j) % LANES * MOST_LANES]
                        for i in range(L):
                            x = factor[i] * w[i]
                            sum[i] += x * x
                first += width
    for i in range(L):
        for j in range(LANES):
            one[j] = lane[j * MOST_LANES + i]
        squares[i] = sum_of_doubles(&one[0])


cdef void find_penalties(Group *g) noexcept nogil:
    # batch_l2/2 sum decay W^2, as penalty_of has it                                  penalty  # OUT
    cdef double[MOST_LANES] squares, small
    cdef Member *f
    cdef int i
    cdef bint some = False, large = False
    for i in range(VECTOR_LANES):
        g.penalty[i] = 0.0
        some = some or (g.members[i].here and g.members[i].batch_l2 != 0.0)
    if not some:
        return
    squares_in_lanes(g, 1.0, squares)
    for i in range(VECTOR_LANES):
        large = large or squares[i] == INFINITY
    if large:
        squares_in_lanes(g, ldexp(1.0, -BINADES), small)
    for i in range(VECTOR_LANES):
        f = &g.members[i]
        if not f.here or f.batch_l2 == 0.0:
            continue
        if squares[i] != INFINITY:
            g.penalty[i] = 0.5 * f.batch_l2 * squares[i]
        else:
            g.penalty[i] = ldexp(ldexp(0.5 * f.batch_l2, BINADES) * small[i], BINADES)


cdef void take_courses(Group *g) noexcept nogil:
    # before the passes: the numbers of the step at hand, where each has its own         steps  # OUT
    cdef Member *f
    cdef const double *now
    cdef double l2
    cdef int i
    for i in range(VECTOR_LANES):
        f = &g.members[i]
        if not f.here:
            continue
        f.dropout.step = f.at.t
        if f.course != NULL:
            now = f.course + (f.at.t - f.first_t) * COURSE_COLUMNS
            if f.step.learning_rate != now[0] or f.step.weight_decay != now[1]:
                g.stale = True
            f.step.learning_rate, f.step.weight_decay, f.dropout.factor = now[0], now[1], now[2]
        if f.batch_means:
            l2 = f.batch_l2 / g.total[i] if g.total[i] > 0.0 else 0.0
            if l2 != f.step.l2:
                f.step.l2 = l2
                g.stale = True


cdef void begin_steps(Group *g) noexcept nogil:
    # what depends on t; lanes that stand alike have it from the one before              steps  # OUT
    cdef Member *f
    cdef Step *step
    cdef const Step *one = NULL
    cdef long long t = 0
    cdef int i
    if g.policy.begin == NULL:
        return
    for i in range(VECTOR_LANES):
        f = &g.members[i]
        step = &f.step
        if not f.here or f.diverged:
            continue
        if (one != NULL and f.at.t == t and step.beta1 == one.beta1 and step.beta2 == one.beta2
                and step.epsilon_hat == one.epsilon_hat and step.lr_decay == one.lr_decay):
            step.bias1, step.bias2, step.slow = one.bias1, one.bias2, one.slow
            if step.epsilon_hat > 0.0:
                step.epsilon = one.epsilon
            continue
        g.policy.begin(step, f.at.t + 1)
        one = step
        t = f.at.t
    g.stale = True


cdef void spread_numbers(Group *g) noexcept nogil:
    # each lane's numbers of every tensor                                              numbers  # OUT
    cdef Member *f
    cdef LaneNumbers *all
    cdef Numbers one
    cdef Tensor t
    cdef Own own
    cdef Py_ssize_t q
    cdef int i, at, L = VECTOR_LANES
    cdef const real *source = <const real *>&one
    cdef real *target
    for at in range(g.n_tensors):
        if g.numbers_of[at] != at:
            continue
        all = &g.numbers[at]
        target = <real *>&all.of
        all.shaped = all.trained = all.held = False
        for i in range(L):
            f = &g.members[i]
            all.stays[i] = False
            if not f.here:
                continue
            t.rate = f.rates[at]
            t.decay = f.decays[at]
            own = numbers_of(&f.step, &t)
            one = numbers_in_vectors(&f.step, &own)
            for q in range(<Py_ssize_t>(sizeof(Numbers) / sizeof(vec))):
                target[q * L + i] = source[q * L]
            all.shaped = all.shaped or own.shaped
            all.stays[i] = t.rate == 0.0
            all.held = all.held or all.stays[i]
            all.trained = all.trained or not all.stays[i]
    g.stale = False


cdef void update_block(const Group *g, const LaneNumbers *numbers, bint diverged, int R, int V,
                       const vec *nabla, vec *W, Py_ssize_t row) noexcept nogil:
    # the step of a tile; lanes that stay have their numbers back                    W, slots  # OUT
    cdef vec[4 * TILE_VECTORS_OF_LANES] before
    cdef real *now
    cdef const real *kept
    cdef int slots = g.policy.n_slots + 1, c, r, j, i
    cdef bint holds = numbers.held or diverged
    if holds:
        for c in range(slots):
            for r in range(R):
                for j in range(V):
                    before[(c * R + r) * V + j] = W[c * g.n_vectors + r * row + j]
    g.policy.update_lanes(&numbers.of, numbers.shaped, R, V, nabla, W, row, g.n_vectors)
    if holds:
        for c in range(slots):
            for r in range(R):
                for j in range(V):
                    now = <real *>(W + c * g.n_vectors + r * row + j)
                    kept = <const real *>&before[(c * R + r) * V + j]
                    for i in range(VECTOR_LANES):
                        if numbers.stays[i] or g.members[i].diverged:
                            now[i] = kept[i]


cdef void update_lanes(const Group *g, bint diverged) noexcept nogil:
    # BP3, BP4 and the step of every tensor                                parameters, slots  # OUT
    cdef vec[TILE_VECTORS_OF_LANES] tile
    cdef const LaneLayer *f
    cdef const LaneTensor *t
    cdef const LaneNumbers *numbers
    cdef const vec *nabla
    cdef const vec *a = g.a0
    cdef vec *W
    cdef Py_ssize_t a_row = g.a0_row, k, j, r, R, V
    cdef int l, i, at = 0
    for l in range(g.plan.n_layers):
        f = &g.layers[l]
        for i in range(f.flat.n_tensors):
            t = &f.tensors[i]
            numbers = &g.numbers[g.numbers_of[at]]
            at += 1
            W = g.parameters + t.at
            if not numbers.trained:
                continue
            if (g.policy.in_registers and g.nabla == NULL
                    and not (numbers.shaped or numbers.held or diverged)):
                f.flat.link.nabla_lanes(f, i, 0, t.rows, 0, t.n, a, a_row, f.delta, g.m,
                                        &numbers.of.minus_rate, False, W, t.row)
                continue
            j = 0
            while j < t.n:
                V = part_of(t.n - j, LANES_Q)
                k = 0
                while k < t.rows:
                    R = part_of(t.rows - k, LANES_P)
                    if g.nabla == NULL:
                        f.flat.link.nabla_lanes(f, i, k, R, j, V, a, a_row, f.delta, g.m, NULL,
                                                False, tile, V)
                    else:
                        nabla = g.nabla + t.at + k * t.row + j
                        for r in range(R):
                            memcpy(tile + r * V, nabla + r * t.row, V * sizeof(vec))
                    update_block(g, numbers, diverged, <int>R, <int>V, tile, W + k * t.row + j,
                                 t.row)
                    k += R
                j += V
        a = f.a
        a_row = f.row


cdef inline Py_ssize_t part_of(Py_ssize_t left, Py_ssize_t most) noexcept nogil:
    """Of parts of nearly equal size, none over `most`, the next."""
    cdef Py_ssize_t parts = (left + most - 1) / most
    return (left + parts - 1) / parts


cdef bint move_on(Group *g, const Py_ssize_t *end, const Py_ssize_t *first, double *losses,
                  Py_ssize_t losses_row, double *clock, Py_ssize_t clock_row) noexcept nogil:
    """Sum the costs and count the step; whether a lane is where it is to end.

    Where a lane's epoch ends, its mean loss and the time go to losses and clock.
    positions, losses, clock  # OUT
    """
    cdef double[MOST_LANES] total
    cdef const real *C = <const real *>g.C
    cdef const real *weight = <const real *>g.weight
    cdef Member *f
    cdef Position *at
    cdef Py_ssize_t s
    cdef int i, L = VECTOR_LANES
    cdef bint ends = False
    for i in range(L):
        total[i] = 0.0 if g.members[i].batch_means else g.members[i].at.loss
    for s in range(g.m):
        for i in range(L):
            total[i] += <double>C[s * L + i] * <double>weight[s * L + i]
    for i in range(L):
        f = &g.members[i]
        at = &f.at
        if not f.here or f.diverged:
            continue
        at.t += 1
        if not f.batch_means:
            at.loss = total[i]
            at.weight += g.total[i]
        elif g.total[i] > 0.0:
            at.loss += f.m * ((total[i] + g.penalty[i]) / g.total[i])
            at.weight += f.m
        at.row += f.m
        if at.row == f.n:
            losses[i * losses_row + at.epoch - first[i]] = at.loss / at.weight
            clock[i * clock_row + at.epoch - first[i]] = seconds()
            ends = ends_run(&f.rule, losses[i * losses_row + at.epoch - first[i]]) or ends
            at.epoch += 1
            at.row = 0
            at.loss = 0.0
            at.weight = 0.0
            ends = ends or at.epoch >= end[i]
    return ends


cdef Py_ssize_t run_lanes(Group *g, Py_ssize_t max_steps, const Py_ssize_t *end,
                          const Py_ssize_t *first, double *losses, Py_ssize_t losses_row,
                          double *clock, Py_ssize_t clock_row, double deadline) noexcept nogil:
    """Make at most max_steps steps of every lane; returns how many.

    The step with which a lane comes to epoch end[i] or its rule ends it, that of which a lane's cost was not finite (it
    makes none), and the one at hand when `seconds` reach the deadline (not 0) are the last.
    parameters, slots, losses, clock  # OUT
    """
    cdef Member *f
    cdef Py_ssize_t steps = 0, s, m
    cdef bint diverged, ends = False
    cdef int i
    for i in range(VECTOR_LANES):
        f = &g.members[i]
        f.diverged = False
        if f.here:
            ends = ends or f.at.epoch >= end[i]
            if f.course != NULL:
                max_steps = min(max_steps, f.first_t + f.n_course - f.at.t)
    while steps < max_steps and not ends:
        draw_orders(g)
        take_courses(g)
        find_penalties(g)
        s = 0
        while s < g.m:
            m = min(g.slice, g.m - s)
            gather_lanes(g, s, m)
            if g.drops:
                drop_lanes(g, 0, s, m, g.plan.n_0, g.a0_row, g.a0, NULL)
            forward_lanes(g, s, m)
            error_of_lanes(g, s, m)
            backward_lanes(g, m)
            if g.nabla != NULL:
                add_gradients(g, m, s > 0)
            s += m
        diverged = find_diverged(g)
        begin_steps(g)
        if g.stale:
            spread_numbers(g)
        update_lanes(g, diverged)
        ends = move_on(g, end, first, losses, losses_row, clock, clock_row) or diverged
        steps += 1
        if deadline != 0.0 and seconds() >= deadline:
            break
    return steps
