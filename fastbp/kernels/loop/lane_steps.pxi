# The training loop of many networks in lanes: whole steps of all of them without the GIL.
#
# What belongs here: the order of work in a step, each lane's numbers, and where it stands. What
# does not: the passes (lanes.pxi), formulas of optimizers (update.pxd).

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
    # before the passes: the numbers of the step at hand, where each has its own        steps  # OUT
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
            g.moved = True
            f.step.learning_rate, f.step.weight_decay, f.dropout.factor = now[0], now[1], now[2]
        if f.batch_means:
            l2 = f.batch_l2 / g.total[i] if g.total[i] > 0.0 else 0.0
            if l2 != f.step.l2:
                f.step.l2 = l2
                g.stale = True


cdef void begin_steps(Group *g) noexcept nogil:
    # what depends on t; lanes that stand alike have it from the one before             steps  # OUT
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
    g.moved = True


cdef void spread_numbers(Group *g) noexcept nogil:
    # each lane's numbers of every tensor                                             numbers  # OUT
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
    g.stale = g.moved = False


cdef void move_numbers(Group *g) noexcept nogil:
    # of every tensor what a course changes, or t: a tenth of a step of 16 networks 2-16-1 less than
    # all of them, where Adam trains                                                numbers  # OUT
    cdef double[MOST_LANES] rate, weight_decay, bias1, bias2, epsilon
    cdef const Member *f
    cdef Numbers *of
    cdef int i, at, L = VECTOR_LANES
    for i in range(L):
        f = &g.members[i]
        bias1[i], bias2[i], epsilon[i] = f.step.bias1, f.step.bias2, f.step.epsilon
    for at in range(g.n_tensors):
        if g.numbers_of[at] != at:
            continue
        of = &g.numbers[at].of
        for i in range(L):
            f = &g.members[i]
            rate[i] = f.rates[at] * f.step.learning_rate / f.step.slow
            weight_decay[i] = f.decays[at] * f.step.weight_decay
        for i in range(L):
            (<real *>&of.minus_rate)[i] = <real>(-rate[i])
            (<real *>&of.keep)[i] = keep_of(rate[i], weight_decay[i])
            (<real *>&of.epsilon)[i] = <real>epsilon[i]
            (<real *>&of.root_bias2)[i] = root_bias2_of(bias2[i])
            (<real *>&of.adam_rate)[i] = adam_rate_of(rate[i], bias1[i])
    g.moved = False


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
                V = part_of(t.n - j, lanes_columns(t.rows))
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


cdef void move_lane(const Group *g, int lane, real *outside, Py_ssize_t slot,
                    bint inwards) noexcept nogil:
    # a network's parameters, or a slot, between the public layout and its lane   (n_parameters,)
    cdef const Tensor *o
    cdef const LaneTensor *t
    cdef real *x
    cdef Py_ssize_t k, j
    cdef int l, i
    for l in range(g.plan.n_layers):
        for i in range(g.layers[l].flat.n_tensors):
            o = &g.plan.layers[l].tensors[i]
            t = &g.layers[l].tensors[i]
            for k in range(t.rows):
                x = <real *>(g.parameters + slot * g.n_vectors + t.at + k * t.row) + lane
                for j in range(t.n):
                    if inwards:
                        x[j * VECTOR_LANES] = outside[o.at + k * t.n + j]
                    else:
                        outside[o.at + k * t.n + j] = x[j * VECTOR_LANES]


cdef void keep_state(const Group *g, int lane, Py_ssize_t epoch) noexcept nogil:
    # parameters and slots as they are where the lane's epoch ends, so many behind the first
    #                                                                                kept  # OUT
    cdef Py_ssize_t n = g.plan.n_parameters, slots = g.policy.n_slots + 1, slot
    for slot in range(slots):
        move_lane(g, lane, g.members[lane].kept + (epoch * slots + slot) * n, slot, False)


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
        if at.row == f.per_epoch:
            losses[i * losses_row + at.epoch - first[i]] = at.loss / at.weight
            clock[i * clock_row + at.epoch - first[i]] = seconds()
            ends = ends_run(&f.rule, losses[i * losses_row + at.epoch - first[i]]) or ends
            if f.kept != NULL:
                keep_state(g, i, at.epoch - first[i])
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

    The step with which a lane comes to epoch end[i] or its rule ends it, that of which a lane's
    cost was not finite (it makes none), and the one at hand when `seconds` reach the deadline
    (not 0) are the last.
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
            pass_lanes(g, s, m)
            if g.nabla != NULL:
                add_gradients(g, m, s > 0)
            s += m
        diverged = find_diverged(g)
        begin_steps(g)
        if g.stale:
            spread_numbers(g)
        elif g.moved:
            move_numbers(g)
        update_lanes(g, diverged)
        ends = move_on(g, end, first, losses, losses_row, clock, clock_row) or diverged
        steps += 1
        if deadline != 0.0 and seconds() >= deadline:
            break
    return steps
