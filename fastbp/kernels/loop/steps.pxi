# The training loop: gather, forward, output error, recurrence, update, for whole epochs without the
# GIL.
#
# What belongs here: the order of steps and what threads share. What does not: when to go back to
# Python (training/driver.py), the passes themselves (passes.pxi).
#
# Every thread runs the same loop. It owns a range of the batch's rows through forward and
# recurrence, and a range of the rows of every W in the update; two barriers a step keep the two
# apart. No sum is split between threads, so the bits do not depend on their number.

cdef enum:
    COURSE_COLUMNS = 3


cdef struct Position:
    Py_ssize_t epoch, row       # the next batch begins at `row` of the order of `epoch`
    long long t                 # steps made
    double loss, weight         # sums of w C and of w over the epoch so far

cdef struct Rule:
    # ends a run after more than `most` epochs in a row whose loss is not `tol` below the best
    bint applies
    double tol, best, most
    Py_ssize_t count            # of such epochs so far

cdef struct Orders:
    # where each epoch's order comes from, if not from seed and epoch:
    bitgen_t *bits              # what draws it from the one before,
    const int32_t *laid         # or all of them, of n numbers each

cdef struct Loop:
    int n_threads
    Py_ssize_t n, batch_size
    Py_ssize_t per_epoch        # how many rows an epoch's steps take
    Py_ssize_t first, end       # which rows of an epoch's order are at hand: all, or a window's
    const Py_ssize_t *rows      # of X, the n that are trained on; NULL: all
    Py_ssize_t slice            # rows that go through all layers before the next
    bint by_columns             # threads share the first layer by columns (columns.pxi)
    Py_ssize_t thread_reals     # from one thread's scratch to the next one's
    bint adds_slices            # the gradient is the sum over slices, then comes the update
    double clip_norm            # of the whole gradient, which is then stored; or infinity
    bint shuffled
    uint64_t seed
    Orders orders
    Rule rule
    bint batch_means            # see Trainer.set_step
    double batch_l2
    Dropout dropout             # without rates: nothing is dropped
    Position at
    Step step
    # learning rate, weight decay and dropout's factor of the n_course steps that come after t =
    # first_t, first_t + 1, ...; NULL: those of `step` and `dropout`
    const double *course
    long long first_t
    Py_ssize_t n_course
    void *average               # of the parameters (n_padded); NULL: none is kept
    double ema                  # its decay
    long long average_from      # the step that it begins with, as the parameters are then
    Share share                 # of a rank among several
    Barrier barrier
    int zeros                   # NOT_SEEN, HAS_ZEROS or IS_DENSE (zeros.pxi)
    int diverged                # raised by a thread whose samples' cost is not finite
    int late                    # raised by thread 0 when the deadline has passed
    int over                    # raised by thread 0 when the rule ends the run


cdef double seconds() noexcept nogil:
    cdef timespec now
    timespec_get(&now, TIME_UTC)
    return <double>now.tv_sec + 1e-9 * <double>now.tv_nsec


cdef bint ends_run(Rule *rule, double loss) noexcept nogil:
    """Whether a run is over, after an epoch with that loss (NaN is no improvement)."""
    if not rule.applies:
        return False
    rule.count = 0 if loss <= rule.best - rule.tol else rule.count + 1
    if loss < rule.best:
        rule.best = loss
    return <double>rule.count > rule.most


cdef void draw(Py_ssize_t *order, Py_ssize_t n, const Py_ssize_t *rows, uint64_t seed,
               Py_ssize_t epoch, const Orders *orders) noexcept nogil:
    # the order of an epoch that begins                                                order  # OUT
    cdef Py_ssize_t i
    if orders.laid != NULL:
        for i in range(n):
            order[i] = orders.laid[epoch * n + i]
            if rows != NULL:
                order[i] = rows[order[i]]
    elif orders.bits != NULL:
        shuffle_by(orders.bits, order, n)
    else:
        shuffle(order, n, rows, seed, <uint64_t>epoch)


cdef void gather(const real *X, Py_ssize_t n_0, const Py_ssize_t *order, Py_ssize_t m, real *a,
                 Py_ssize_t a_row) noexcept nogil:
    # a^0 of the batch: rows order[0..m) of X                                              a  # OUT
    cdef Py_ssize_t s, k
    for s in range(m):
        if n_0 < 16:  # a call takes longer: 5 % of a step of case G
            for k in range(n_0):
                a[s * a_row + k] = X[order[s] * n_0 + k]
        else:
            memcpy(a + s * a_row, X + order[s] * n_0, n_0 * sizeof(real))


cdef Input batch_rows(const Plan *plan, const Input *X, const Py_ssize_t *order, Py_ssize_t s,
                      const Rows *r, bint stay) noexcept nogil:
    """a^0 of rows s, ..., s + r.m - 1 of the batch of `order`, as this step has it.

    `stay`: nobody reads its matrix (zeros.pxi).
    """
    cdef real *a0
    if plan.reads_lists:
        gather_lists(X, order, 0, s, r.m, r)
        return batch_of_lists(r, s)
    a0 = rows_of(r, 0, plan.a0_row)
    if not stay:
        gather(X.a, plan.n_0, order + s, r.m, a0, plan.a0_row)
    if r.dropout != NULL:
        drop(r.dropout, 0, s, r.m, plan.n_0, plan.a0_row, a0, NULL)
    return dense_input(a0, plan.a0_row)


cdef Input whole_batch(const Plan *plan, const Rows *r) noexcept nogil:
    """a^0 of a batch, all of whose rows are there."""
    if plan.reads_lists:
        return batch_of_lists(r, 0)
    return dense_input(<const real *>r.work, plan.a0_row)


cdef Ahead rows_ahead(const Plan *plan, const Loop *loop, Py_ssize_t row, int thread,
                      const char *X, const Py_ssize_t *order) noexcept nogil:
    """This thread's rows of the batch from `row` on; none where X stays in the caches."""
    cdef Ahead ahead
    cdef Part next = part_of_batch(loop, row)
    cdef Py_ssize_t first
    cdef int n_threads = loop.n_threads
    if loop.by_columns:
        thread = 0
        n_threads = 1
    first = next.m * thread / n_threads
    ahead.X = X
    ahead.row_bytes = plan.n_0 * <Py_ssize_t>sizeof(real)
    ahead.order = order + next.first + first
    ahead.rows = next.m * (thread + 1) / n_threads - first
    if plan.reads_lists or loop.n * ahead.row_bytes < KEPT_BYTES:
        ahead.rows = 0
    ahead.at = 0
    ahead.lines = 0
    return ahead


cdef Py_ssize_t scratch_reals(const Plan *plan, Py_ssize_t batch_size) noexcept nogil:
    """A thread's room for panels, packed columns of a, a^0 without zeros, and a list of columns."""
    cdef const Tensor *t
    cdef Py_ssize_t reals = scratch_size(plan)
    cdef int l
    for l in range(plan.n_layers):
        t = &plan.layers[l].tensors[0]
        if is_large(batch_size, t.rows, t.row * <Py_ssize_t>sizeof(real)):
            reals = max(reals, (packed_columns() + PANEL) * batch_size)
    if is_searched(plan, batch_size):
        reals = max(reals, pointers(batch_size) + batch_size * plan.a0_row)
    return (reals + 15) / 16 * 16 + plan.a0_row


cdef double total_weight(const real *weight, const Py_ssize_t *order, Py_ssize_t m) noexcept nogil:
    cdef Py_ssize_t s
    cdef double total = 0.0
    if weight == NULL:
        return <double>m
    for s in range(m):
        total += weight[order[s]]
    return total


cdef double sum_of_costs(const real *C, Py_ssize_t m, const Py_ssize_t *rows,
                         const Targets *targets, double total) noexcept nogil:
    """sum w C of a batch of these rows, added to `total` one by one."""
    cdef Py_ssize_t s
    for s in range(m):
        total += C[s] * (1.0 if targets.weight == NULL else
                         (<const real *>targets.weight)[rows[s]])
    return total


cdef enum:
    BINADES = 600  # 2^-600 times the largest number has a square, and so has the sum of many


cdef void add_squares(const real *x, Py_ssize_t n, double c, double *lane) noexcept nogil:
    # lane += (c x)^2                                                                   lane  # OUT
    cdef Py_ssize_t i, j
    cdef double g
    for j in range(n / LANES):
        for i in range(LANES):
            g = c * x[j * LANES + i]
            lane[i] += g * g
    for i in range(n % LANES):
        g = c * x[n - n % LANES + i]
        lane[i] += g * g


cdef void add_shaped_squares(const real *nabla, const real *W, Py_ssize_t n, const Own *own,
                             double most, double c, double *lane) noexcept nogil:
    # the squares of c times what `update` makes of the gradient before it is scaled    lane  # OUT
    cdef double l2 = own.l2, l1 = own.l1, least = -most, g, w
    cdef Py_ssize_t i, j, whole = n - n % LANES
    if not own.shaped:
        add_squares(nabla, n, c, lane)
        return
    for j in range(n / LANES):
        for i in range(LANES):
            w = W[j * LANES + i]
            g = nabla[j * LANES + i] + l2 * w
            g = g + (l1 if w > 0.0 else 0.0) - (l1 if w < 0.0 else 0.0)
            g = most if g > most else g
            g = c * (least if g < least else g)
            lane[i] += g * g
    for i in range(n % LANES):
        w = W[whole + i]
        g = nabla[whole + i] + l2 * w
        g = g + (l1 if w > 0.0 else 0.0) - (l1 if w < 0.0 else 0.0)
        g = most if g > most else g
        g = c * (least if g < least else g)
        lane[i] += g * g


cdef void add_squares_of(const Tensor *t, const real *nabla, const real *W, const Own *own,
                         double most, double c, double *lane) noexcept nogil:
    # of a whole tensor, as if it lay in panels of `summed` columns                     lane  # OUT
    cdef Py_ssize_t j = 0, k, n, at, whole = (t.n + PER_LINE - 1) / PER_LINE * PER_LINE
    if t.summed == t.panel:
        add_shaped_squares(nabla + t.padded_at, W + t.padded_at, t.rows * t.row, own, most, c, lane)
        return
    while j < whole:
        n = min(t.summed, whole - j)
        for k in range(t.rows):  # a line of doubles is half of the lanes
            at = t.padded_at + k * t.row + j
            add_shaped_squares(nabla + at, W + at, n, own, most, c, lane + k * n % LANES)
        j += t.summed


cdef double squares_of_weights(const Plan *plan, const real *parameters, double c) noexcept nogil:
    """sum decay (c W)^2, padding included, for it is 0."""
    cdef double lane[LANES]
    cdef const Tensor *t
    cdef Own own
    cdef int l, i
    memset(lane, 0, sizeof(lane))
    own.shaped = False
    for l in range(plan.n_layers):
        for i in range(plan.layers[l].n_tensors):
            t = &plan.layers[l].tensors[i]
            if t.decay != 0.0:
                add_squares_of(t, parameters, parameters, &own, INFINITY,
                               c * sqrt_of_double(t.decay), &lane[0])
    return sum_of_doubles(&lane[0])


cdef double penalty_of(const Plan *plan, const real *parameters, double l2) noexcept nogil:
    """l2/2 sum decay W^2, also where the sum alone is too large."""
    cdef double squares = squares_of_weights(plan, parameters, 1.0)
    if squares != INFINITY:
        return 0.5 * l2 * squares
    squares = squares_of_weights(plan, parameters, ldexp(1.0, -BINADES))
    return ldexp(ldexp(0.5 * l2, BINADES) * squares, BINADES)


cdef bint all_finite(const real *x, Py_ssize_t n) noexcept nogil:
    # of each number x - x: 0, or NaN; four sums, so that none waits for the one before
    cdef vec one = splat(<real>0), two = one, three = one, four = one
    cdef const vec *v = <const vec *>x
    cdef const real *lane = <const real *>&one
    cdef real rest = <real>0
    cdef Py_ssize_t i = 0, whole = n / VECTOR_LANES
    while i + 4 <= whole:
        one += v[i] - v[i]
        two += v[i + 1] - v[i + 1]
        three += v[i + 2] - v[i + 2]
        four += v[i + 3] - v[i + 3]
        i += 4
    while i < whole:
        one += v[i] - v[i]
        i += 1
    one += two + three + four
    for i in range(VECTOR_LANES):
        rest += lane[i]
    for i in range(whole * VECTOR_LANES, n):
        rest += x[i] - x[i]
    return rest == <real>0


cdef void update_share(const Plan *plan, const Loop *loop, const Step *step, int thread,
                       const Input *X, const Rows *batch, Ahead *ahead,
                       real *parameters) noexcept nogil:
    # BP3, BP4 and the step, for this thread's rows of every tensor   parameters, slots  # OUT
    cdef const Layer *f
    cdef Input x = X[0]
    cdef int l
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        f.link.update(f, step, &x, delta_of(plan, batch, l), batch.m,
                      f.n_in * thread / loop.n_threads, f.n_in * (thread + 1) / loop.n_threads,
                      thread == loop.n_threads - 1, parameters, plan.n_padded,
                      <real *>batch.scratch, ahead)
        x = output_of(plan, batch, l, &x)


cdef double squares_of_gradient(const Plan *plan, const Step *step, const real *nabla,
                                const real *parameters, double c) noexcept nogil:
    """sum (c g)^2 of all that is trained, with its penalties, always in the same order."""
    cdef const Tensor *t
    cdef Own own
    cdef double lane[LANES]
    cdef int l, i
    memset(lane, 0, sizeof(lane))
    for l in range(plan.n_layers):
        for i in range(plan.layers[l].n_tensors):
            t = &plan.layers[l].tensors[i]
            if t.rate != 0.0:
                own = numbers_of(step, t)
                add_squares_of(t, nabla, parameters, &own, step.clip_value, c, &lane[0])
    return sum_of_doubles(&lane[0])


cdef double gradient_norm(const Plan *plan, const Step *step, const real *nabla,
                          const real *parameters) noexcept nogil:
    """Of the stored gradient of all that is trained, with its penalties, in double."""
    cdef double squares = squares_of_gradient(plan, step, nabla, parameters, 1.0)
    if squares != INFINITY:
        return sqrt_of_double(squares)
    squares = squares_of_gradient(plan, step, nabla, parameters, ldexp(1.0, -BINADES))
    return ldexp(sqrt_of_double(squares), BINADES)


cdef void follow(const Plan *plan, const Loop *loop, int thread, int n_threads, long long t,
                 const real *parameters) noexcept nogil:
    # average <- average + (1 - ema) (theta - average), after step t, for this thread's part of all
    # parameters, whatever tensors they are of; padding stays 0                      average  # OUT
    cdef Py_ssize_t vectors = plan.n_padded / VECTOR_LANES, i
    cdef Py_ssize_t first = vectors * thread / n_threads, last = vectors * (thread + 1) / n_threads
    cdef const vec *theta = <const vec *>parameters
    cdef vec *average = <vec *>loop.average
    cdef vec rest = splat(<real>(1.0 - loop.ema))
    if t == loop.average_from:
        memcpy(average + first, theta + first, (last - first) * sizeof(vec))
        return
    for i in range(first, last):
        average[i] = average[i] + rest * (theta[i] - average[i])


cdef inline void take_course(const Loop *loop, long long t, Step *step,
                             Dropout *dropout) noexcept nogil:
    # the numbers of the step after t, where each has its own                   step, dropout  # OUT
    cdef const double *now
    if loop.course != NULL:
        now = loop.course + (t - loop.first_t) * COURSE_COLUMNS
        step.learning_rate, step.weight_decay, dropout.factor = now[0], now[1], now[2]


cdef void update_stored(const Plan *plan, const Loop *loop, const Step *step, int thread,
                        const real *nabla, real *parameters) noexcept nogil:
    # the step from a stored gradient, for this thread's vectors of every tensor
    #                                                                 parameters, slots  # OUT
    cdef const Tensor *t
    cdef Own own
    cdef Py_ssize_t first, last, at
    cdef int l, i
    for l in range(plan.n_layers):
        for i in range(plan.layers[l].n_tensors):
            t = &plan.layers[l].tensors[i]
            last = t.rows * (t.row / VECTOR_LANES)
            first = last * thread / loop.n_threads
            last = last * (thread + 1) / loop.n_threads
            at = t.padded_at + first * VECTOR_LANES
            if last > first and t.rate != 0.0:
                own = numbers_of(step, t)
                update_rows(step, &own, 1, last - first, nabla + at, parameters + at, 0,
                            plan.n_padded)


cdef void make_step(const Plan *plan, Loop *loop, Step *step, int thread, const Input *a0,
                    const Rows *batch, const Columns *own, real *parameters, real *nabla,
                    Ahead *ahead) noexcept nogil:
    # this thread's share of a step, once every delta of the whole batch is there
    # nabla holds the gradient where slices or ranks were added    parameters, slots, nabla  # OUT
    cdef bint there = loop.adds_slices or loop.share.reduce != NULL
    if loop.clip_norm == INFINITY and not there:
        if loop.by_columns:
            update_by_columns(plan, loop, step, thread, a0, batch.m, own, batch.work, ahead,
                              parameters, <real *>batch.scratch)
        else:
            update_share(plan, loop, step, thread, a0, batch, ahead, parameters)
        return
    if not there:
        add_gradient(plan, a0, batch, thread, loop.n_threads, True, nabla, <real *>batch.scratch,
                     ahead)
        wait(&loop.barrier, loop.n_threads)
    if loop.clip_norm != INFINITY:
        # each thread forms the same sum; W, which is in it, waits for all of them
        set_scale(step, min(1.0, loop.clip_norm / (
            gradient_norm(plan, step, nabla, parameters) + 1e-6)))
        wait(&loop.barrier, loop.n_threads)
    update_stored(plan, loop, step, thread, nabla, parameters)


cdef Py_ssize_t run(const Plan *plan, Loop *loop, int thread, Py_ssize_t max_steps,
                    Py_ssize_t end_epoch, const Input *X, Targets *targets, Py_ssize_t *order,
                    real *parameters, Rows r, Py_ssize_t first_epoch, double *losses,
                    double *clock, double deadline) noexcept nogil:
    """Make at most max_steps steps, ending before `end_epoch`. Returns the steps made.

    Where there is a deadline (not 0), the step at hand when `seconds` reach it is the last.

    `order` is drawn at the start of each epoch when the loop is shuffled, else left as it is.
    Where epoch e ends, its mean loss and the time go to losses[e - first_epoch] and
    clock[e - first_epoch]. An epoch with which the rule ends the run is the last.
    parameters, slots, losses, clock  # OUT
    """
    cdef Position at = loop.at
    cdef Step step = loop.step
    cdef Py_ssize_t steps = 0, m, s, first, last
    cdef Part part
    cdef double weight, penalty = 0.0, total, scale
    cdef Ahead ahead
    cdef Dropout dropout = loop.dropout
    cdef bint stay, skips, adds, reduces = loop.share.reduce != NULL
    cdef Active active
    cdef Input x
    cdef const Py_ssize_t *rows
    cdef real *C = <real *>r.C
    cdef real *nabla = parameters + (step.policy.n_slots + 1) * plan.n_padded
    cdef Columns own = columns(plan, loop.batch_size, thread, loop.n_threads,
                               <real *>r.scratch + scratch_reals(plan, loop.batch_size))
    r.dropout = &dropout if dropout.rates != NULL else NULL
    if thread == 0:  # the others look at it behind two barriers
        loop.late = loop.over = 0
    wait(&loop.barrier, loop.n_threads)  # all are here: from now on none can fail to come
    if is_raised(&loop.barrier.given_up):
        return 0
    if loop.course != NULL:
        max_steps = min(max_steps, loop.first_t + loop.n_course - at.t)
    while steps < max_steps and at.epoch < end_epoch:
        if at.row == 0 and loop.shuffled:
            if thread == 0:
                draw(order, loop.n, loop.rows, loop.seed, at.epoch, &loop.orders)
            wait(&loop.barrier, loop.n_threads)
        part = part_of_batch(loop, at.row)
        m = part.m
        rows = order + part.first
        if loop.share.starts == NULL:
            weight = total_weight(<const real *>targets.weight, rows, m)
        else:
            weight = loop.share.weights[at.row / loop.share.batch_size]
            dropout.places = loop.share.places + part.first
        # where more of a batch is here than there is room for
        adds = loop.adds_slices or m > r.cap
        first = m * thread / loop.n_threads
        last = m * (thread + 1) / loop.n_threads
        if loop.batch_means:
            step.l2 = loop.batch_l2 / weight if weight > 0.0 else 0.0
            if thread == 0 and loop.batch_l2 != 0.0:  # before any thread updates
                penalty = penalty_of(plan, parameters, loop.batch_l2)
        if adds:
            memset(nabla, 0, plan.n_padded * sizeof(real))
        dropout.step = at.t
        take_course(loop, at.t, &step, &dropout)
        # a batch of weight 0 has no data gradient
        scale = 1.0 / weight if weight > 0.0 else 0.0
        ahead = rows_ahead(plan, loop, at.row + part.taken, thread, <const char *>X.a, order)
        stay = loop.zeros == HAS_ZEROS and zeros_stay(plan, loop, &step)
        skips = False
        if plan.reads_lists:
            measure_lists(X, rows, 0, m, &r)
        s = first
        if loop.by_columns:
            if stay:
                skips = find_active(plan, loop, X.a, rows, m, 0, m, own.a0, &r, &ahead, &active)
            if not skips:
                gather(X.a, plan.n_0, rows, m, own.a0, plan.a0_row)
            x = dense_input(own.a0, plan.a0_row)
            x.active = &active if skips else NULL
            pass_by_columns(plan, loop, thread, &x, m, targets, part.first, scale, parameters, &own,
                            &r)
            s = last
        elif loop.zeros == HAS_ZEROS and not adds and m > 0:
            skips = find_active(plan, loop, X.a, rows, m, first, last,
                                <real *>r.work if stay else
                                <real *>r.scratch + pointers(loop.batch_size), &r, &ahead, &active)
        stay = stay and skips
        while s < last:
            r.batch_row = s
            r.m = last - s if last - s < loop.slice else loop.slice
            if adds:  # the next slice takes the memory of the last
                r.C = C + s
            else:
                r.first = s
            x = batch_rows(plan, X, rows, s, &r, stay)
            x.active = &active if skips else NULL
            forward(plan, parameters, True, &x, &r, gradient_mode(plan))
            output_error(plan, targets, part.first + s, &r, scale)
            backward(plan, parameters, True, &x, &r, False)
            if adds:
                add_gradient(plan, &x, &r, 0, 1, False, nabla, NULL, NULL)
            s += r.m
        if not loop.by_columns:
            if not all_finite(C + first, last - first):
                raise_flag(&loop.diverged)
            wait(&loop.barrier, loop.n_threads)
        if is_raised(&loop.diverged) and not reduces:
            break
        r.first = 0
        r.m = m
        if not loop.by_columns:
            x = whole_batch(plan, &r)
            active.a = <const real *>r.work
            x.active = &active if stay else NULL
        if reduces:
            total = sum_of_costs(C, m, rows, targets, 0.0) if thread == 0 else 0.0
            if not reduce_gradient(plan, loop, thread, &x, &r, adds, scale * total, nabla, &ahead):
                break
        at.t += 1
        begin_step(&step, at.t)
        if m > 0 or reduces:
            make_step(plan, loop, &step, thread, &x, &r, &own, parameters, nabla, &ahead)
        if thread == 0:
            if reduces:
                at.loss += weight * told_by(plan, nabla, TOLD_LOSS)
                at.weight += weight
            elif not loop.batch_means:
                at.loss = sum_of_costs(C, m, rows, targets, at.loss)
                at.weight += weight
            elif weight > 0.0:
                total = sum_of_costs(C, m, rows, targets, 0.0)
                at.loss += m * ((total + penalty) / weight)
                at.weight += m
        at.row += part.taken
        if at.row == loop.per_epoch:
            if thread == 0:
                losses[at.epoch - first_epoch] = at.loss / at.weight
                clock[at.epoch - first_epoch] = seconds()
                if ends_run(&loop.rule, losses[at.epoch - first_epoch]):
                    raise_flag(&loop.over)
            at.epoch += 1
            at.row = 0
            at.loss = 0.0
            at.weight = 0.0
        steps += 1
        if deadline != 0.0 and thread == 0 and seconds() >= deadline:
            raise_flag(&loop.late)
        wait(&loop.barrier, loop.n_threads)
        if loop.average != NULL:  # nobody writes the parameters before the next step's barriers
            follow(plan, loop, thread, loop.n_threads, at.t, parameters)
        if deadline != 0.0 and is_raised(&loop.late):
            break
        if at.row == 0 and is_raised(&loop.over):
            break
        if reduces and told_by(plan, nabla, TOLD_END) > 0.0:
            break
    if thread == 0:
        loop.at = at
    return steps
