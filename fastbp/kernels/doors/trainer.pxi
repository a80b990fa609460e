# Training: the state of one `fit` and the doors that move it on.
#
# What belongs here: memory of a run, what goes in and comes out of it. What does not: the order of
# work in a step (loop/steps.pxi), when to go back to Python (training/driver.py).

cdef struct Memory:
    double parameters, slots, work_area


cdef Py_ssize_t rows_at_once(const Plan *plan, Py_ssize_t batch_size, int n_threads) noexcept:
    """Rows that go through all layers before the next: the batch, or a slice of it.

    A batch that overflows the cache goes through in slices, at least 56 rows; its gradient is
    stored and must not be larger than the work area that it replaces. Lists go through whole: a
    stored gradient has every row of W.
    """
    cdef Py_ssize_t row_bytes = plan.width * <Py_ssize_t>sizeof(real)
    # without g, of which little is used: 784-30-10, batch 64, float64
    cdef Py_ssize_t used = row_bytes - plan.g_row * <Py_ssize_t>sizeof(real)
    cdef bint stays = batch_size * used < HALF_OF_IT_BYTES
    if n_threads > 1 or plan.reads_lists or stays or batch_size * plan.width < plan.n_padded:
        return batch_size
    return min(batch_size, max(56, SLICE_BYTES / row_bytes / 28 * 28))


cdef Py_ssize_t rows_kept(const Plan *plan, Py_ssize_t batch_size, int n_threads, bint whole_batch,
                          Py_ssize_t expected) noexcept:
    """Rows that there is room for: where a batch would go through in slices, of those expected."""
    if whole_batch:
        return batch_size
    if 0 < expected < batch_size and rows_at_once(plan, batch_size, n_threads) < batch_size:
        return rows_at_once(plan, expected, n_threads)
    return rows_at_once(plan, batch_size, n_threads)


cdef Py_ssize_t thread_bytes(const Plan *plan, Py_ssize_t batch_size, int n_threads) noexcept:
    """Scratch of a thread: whole pages, so that no two threads write one cache line."""
    cdef Py_ssize_t reals = scratch_reals(plan, batch_size)
    if is_shared_by_columns(plan, n_threads):
        reals += batch_size * (plan.a0_row + 2 * plan.layers[0].z_row)
    return (reals * <Py_ssize_t>sizeof(real) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES


cdef Py_ssize_t rows_per_epoch(Py_ssize_t n, Py_ssize_t batch_size, bint drop_last) noexcept:
    """Rows of an epoch's order that steps take: all, or as many as whole batches have."""
    return n // batch_size * batch_size if drop_last else n


cpdef Memory memory(CompiledNetwork net, str optimizer, Py_ssize_t batch_size, int n_threads,
                    bint stores_gradient=False, bint whole_batch=False, bint averages=False,
                    Py_ssize_t room=0, Py_ssize_t expected=0):
    """Bytes that a `Trainer` takes: padded parameters, as much for each slot, and the work area.

    The average that `ema` keeps counts as a slot.
    """
    cdef const Plan *p = &net.plan
    cdef double size = sizeof(real)
    cdef Py_ssize_t rows = rows_kept(p, batch_size, n_threads, whole_batch, expected)
    cdef Memory need
    need.parameters = p.n_padded * size
    need.slots = (POLICIES[<int>POLICY_ROWS[optimizer]].n_slots + averages) * need.parameters
    # costs, the matrices of the rows, a stored gradient, each thread's scratch, and the layers
    need.work_area = ((batch_size + 15) / 16 * 16 + rows * <double>p.width) * size
    if rows < batch_size or stores_gradient:
        need.work_area += need.parameters
    need.work_area += n_threads * <double>thread_bytes(p, batch_size, n_threads)
    need.work_area += p.n_layers * sizeof(Layer)
    if p.reads_lists:
        need.work_area += (64 + lists_bytes(p, room)
                           + n_threads * columns_bytes(p, batch_size, room))
    return need


cdef int read_step(dict numbers, Step *step) except -1:
    # a step's numbers by their names                                                   step  # OUT
    step.learning_rate = numbers["learning_rate"]
    step.momentum = numbers.get("momentum", 0.0)
    step.beta1 = numbers.get("beta1", 0.0)
    step.beta2 = numbers.get("beta2", 0.0)
    step.epsilon = numbers.get("epsilon", 1.0)
    step.weight_decay = numbers.get("weight_decay", 0.0)
    step.rho = numbers.get("rho", 0.0)
    step.lr_decay = numbers.get("lr_decay", 0.0)
    step.slow = 1.0
    step.l2 = numbers["l2"]
    step.l1 = numbers["l1"]
    step.epsilon_hat = numbers.get("epsilon_hat", 0.0)
    step.clip_value = numbers.get("clip_value", INFINITY)
    return 0


cdef Orders orders_of(source, Py_ssize_t n):
    """See Trainer.draw_by; `source` has to live as long."""
    cdef Orders orders
    cdef const int32_t[:, ::1] laid
    orders.bits, orders.laid = NULL, NULL
    if PyCapsule_IsValid(source, "BitGenerator"):
        orders.bits = <bitgen_t *>PyCapsule_GetPointer(source, "BitGenerator")
        return orders
    laid = source
    if laid.shape[1] != n:
        raise ValueError(f"orders: expected {n} columns; got {laid.shape[1]}")
    orders.laid = &laid[0, 0]
    return orders


cdef Rule rule_of(double tol, double best, Py_ssize_t count, double most) noexcept:
    cdef Rule rule
    rule.applies, rule.tol, rule.best, rule.count, rule.most = True, tol, best, count, most
    return rule


cdef class Trainer:
    """Padded parameters, optimizer slots and work area of one `fit`, and where it stands.

    `n` rows are here, of which at most batch_size are in one batch. With `shares`, for `take_part`,
    others have rows of these batches too, so that about `expected` of one are here, it may be more.

    `whole_batch`: for `step_outputs` and `step_update`, which need all rows of a batch at once.
    `rates`, `decays`: of each tensor in the order of the public layout, what its learning rate, and
    its penalties and weight decay, are multiplied by (rate 0: it is not trained). `ema`: decay of
    an average of the parameters, which begins with the first step unless `load_average` says
    otherwise. `room`: elements of the longest batch there may be, where X is sparse. `subset` (n,):
    rows of X that are trained on, in the place of 0..n-1. `drop_last`: no step of an epoch's last
    rows where they are fewer than a batch.
    """
    cdef CompiledNetwork net
    cdef Plan plan             # the network's, with the rates and decays of this run
    cdef Block block
    cdef Masks masks
    cdef Loop loop
    cdef Rows rows
    cdef void *parameters      # padded, the slots, a stored gradient, an average: n_padded each
    cdef readonly int n_slots
    cdef int most_threads      # that there is scratch for
    cdef char *columns         # scratch of each thread for lists
    cdef const double[:, ::1] course
    cdef const Py_ssize_t[::1] subset
    cdef object drawn_by       # a generator's capsule
    cdef bint shares
    cdef const Py_ssize_t[::1] starts, places
    cdef const double[::1] weights
    cdef object reducer

    def __init__(self, CompiledNetwork net, str optimizer, dict numbers, Py_ssize_t n,
                 Py_ssize_t batch_size, int n_threads, bint shuffled, uint64_t seed,
                 Masks masks=None, bint whole_batch=False, list rates=None, list decays=None,
                 ema=None, Py_ssize_t room=0, const Py_ssize_t[::1] subset=None,
                 bint drop_last=False, bint shares=False, Py_ssize_t expected=0):
        cdef const Plan *p = &net.plan
        cdef Step *step = &self.loop.step
        cdef bint clips = "clip_norm" in numbers
        cdef bint averages = ema is not None
        cdef bint stores = clips or expected > 0
        cdef Memory need = memory(net, optimizer, batch_size, n_threads, stores, whole_batch,
                                  averages, room, expected)
        cdef double state = need.parameters + need.slots
        cdef Py_ssize_t size = sizeof(real)
        cdef Py_ssize_t rows = rows_kept(p, batch_size, n_threads, whole_batch, expected)
        self.shares = shares
        self.net = net
        self.masks = masks
        memset(&self.loop, 0, sizeof(Loop))
        step.policy = &POLICIES[<int>POLICY_ROWS[optimizer]]
        self.n_slots = step.policy.n_slots
        self.loop.n_threads = self.most_threads = n_threads
        self.loop.n = n
        self.loop.per_epoch = self.loop.end = rows_per_epoch(n, batch_size, drop_last)
        if subset is not None:
            self.subset = subset
            self.loop.rows = &subset[0]
        self.loop.batch_size = batch_size
        self.loop.shuffled = shuffled
        self.loop.seed = seed
        if masks is not None:
            self.loop.dropout = masks.dropout
        self.set_step(numbers)
        # also where the batch is kept whole: rows of 1 MB, so that those of a wide layer stay in
        # the second-level cache for all its columns (a quarter of a step of case F in float64)
        self.loop.slice = SECOND_LEVEL_BYTES // (max(p.g_row, p.widest) * size) // 28 * 28
        self.loop.slice = min(rows, max(112, self.loop.slice))
        self.loop.clip_norm = numbers["clip_norm"] if clips else INFINITY
        self.loop.adds_slices = rows < min(batch_size, expected or batch_size)
        self.block = Block(state + need.work_area + TOLD * size)
        self.parameters = self.block.data
        if self.loop.adds_slices or stores:
            state += need.parameters + TOLD * size
        if averages:
            self.loop.average = <char *>self.parameters + <size_t>(state - need.parameters)
            self.loop.ema = ema
            self.loop.average_from = 1
        self.rows.C = <char *>self.parameters + <size_t>state
        self.rows.work = <char *>self.rows.C + (batch_size + 15) / 16 * 16 * size
        self.rows.cap = rows
        self.rows.first = self.rows.m = self.rows.batch_row = 0
        self.rows.dropout = NULL
        self.rows.scratch = <char *>self.rows.work + rows * p.width * size
        self.plan = net.plan
        self.plan.layers = <Layer *>(<char *>self.rows.scratch
                                     + n_threads * thread_bytes(p, batch_size, n_threads))
        memcpy(self.plan.layers, net.plan.layers, p.n_layers * sizeof(Layer))
        if p.reads_lists:
            self.columns = <char *>aligned(self.plan.layers + p.n_layers)
            lay_out_lists(p, room, self.columns, &self.rows)
            self.columns += <size_t>lists_bytes(p, room)
        self.give_scratch(0, &self.rows)
        self.take_factors(rates, decays)
        self.choose_columns()

    cdef void give_scratch(self, int thread, Rows *r) noexcept:
        # what is a thread's own                                                        r  # OUT
        cdef const Plan *p = &self.plan
        cdef Py_ssize_t cap = self.loop.batch_size
        r.scratch = <real *>self.rows.scratch + thread * self.loop.thread_reals
        r.columns = <int32_t *>(<real *>r.scratch + scratch_reals(p, cap) - p.a0_row)
        if p.reads_lists:
            lay_out_columns(p, cap, r.room,
                            self.columns + thread * <size_t>columns_bytes(p, cap, r.room), r)

    cdef int take_factors(self, list rates, list decays) except -1:
        cdef Plan *p = &self.plan
        cdef Layer *f
        cdef int l, i, at = 0
        cdef bint trained = False
        for l in range(p.n_layers):
            f = &p.layers[l]
            for i in range(f.n_tensors):
                if rates is not None:
                    f.tensors[i].rate = rates[at]
                if decays is not None:
                    f.tensors[i].decay = decays[at]
                trained = trained or f.tensors[i].rate != 0.0
                at += 1
            if not trained:
                p.lowest = l + 1
        return 0

    cdef int choose_columns(self) except -1:
        """Have threads share the first layer by columns where batches go whole and as they are."""
        cdef Loop *loop = &self.loop
        loop.thread_reals = thread_bytes(&self.net.plan, loop.batch_size,
                                         self.most_threads) // sizeof(real)
        loop.by_columns = (loop.slice >= loop.batch_size and loop.clip_norm == INFINITY
                           and self.masks is None and not self.shares
                           and is_shared_by_columns(&self.net.plan, self.most_threads)
                           and is_shared_by_columns(&self.plan, loop.n_threads))
        return 0

    @property
    def shares_columns(self):
        """Whether its threads share the first layer by columns."""
        return self.loop.by_columns

    def set_course(self, const double[:, ::1] course not None):
        """Learning rate, weight decay and dropout's factor, in rows of the steps from here on.

        `train` makes no more steps than there are rows.
        """
        self.course = course
        self.loop.course = &course[0, 0]
        self.loop.n_course = course.shape[0]
        self.loop.first_t = self.loop.at.t

    def take_part(self, const Py_ssize_t[::1] starts not None,
                  const Py_ssize_t[::1] places not None, const double[::1] weights not None,
                  Py_ssize_t batch_size, Py_ssize_t per_epoch):
        """What is here of the epoch at hand, for the steps of `train` within it.

        Rows order[starts[i]:starts[i + 1]] of its batch i, of `batch_size` rows everywhere and of
        that weight, at `places` in it; `per_epoch`: rows everywhere that its steps take.
        """
        self.starts, self.places, self.weights = starts, places, weights
        self.loop.share.starts, self.loop.share.places = &starts[0], &places[0]
        self.loop.share.weights = &weights[0]
        self.loop.share.batch_size = batch_size
        self.loop.per_epoch = per_epoch

    def reduce_by(self, reducer):
        """Have `reducer()` add up in place, over all ranks, what it is given here.

        Returns that: the stored gradient as an array, and behind it `TOLD` numbers of which the
        third, above 0, has `train` end after the step. Where it returns True, none is made.
        """
        cdef const Plan *p = &self.plan
        cdef Py_ssize_t n = p.n_padded + TOLD
        cdef real *nabla = <real *>self.parameters + (self.n_slots + 1) * p.n_padded
        self.reducer = reducer
        self.loop.share.reducer = <void *>reducer
        self.loop.share.reduce = call_reducer
        return <real[:n]>nabla

    def set_step(self, dict numbers):
        """Learning rate, penalties (lambda/n), clip_value and the optimizer's own numbers.

        "dropout": what the masks' rates are multiplied by.

        "batch_l2" in l2's place makes each batch a problem of its own, as scikit-learn does: its
        L2 term is divided by the batch's weight and part of the loss, and an epoch's loss is the
        mean of the batches' by their rows.
        """
        read_step(numbers, &self.loop.step)
        self.loop.batch_means = "batch_l2" in numbers
        self.loop.batch_l2 = numbers.get("batch_l2", 0.0)
        self.loop.dropout.factor = numbers.get("dropout", 1.0)

    def look_at(self, Py_ssize_t n, Py_ssize_t first, Py_ssize_t end, bint is_last):
        """Have `train` be given a window of an epoch's rows: first, ..., end - 1 of its order.

        They are among n rows of X. `is_last`: the epoch ends with them; otherwise `train` may be
        asked for whole batches alone.
        """
        self.loop.n = n
        self.loop.first = first
        self.loop.end = end
        self.loop.per_epoch = end if is_last else -1
        if self.loop.zeros == HAS_ZEROS:  # these rows may have none
            self.loop.zeros = NOT_SEEN

    def draw_by(self, source):
        """Have each epoch's order drawn from the one before, as `RandomState.shuffle` draws it.

        `source`: the capsule of a NumPy bit generator, which nobody else may use meanwhile; or all
        orders there will be, int32 (epochs, n).
        """
        self.loop.orders = orders_of(source, self.loop.n)
        self.drawn_by = source

    def stop_by(self, double tol, double best, Py_ssize_t count, double most):
        """Have `train` end with the epoch after which more than `most` in a row were no better.

        That is: their losses were not `tol` below the best of before. `best`, `count`: so far.
        """
        self.loop.rule = rule_of(tol, best, count, most)

    @property
    def epoch(self):
        """The first part of `position`, which is asked for more often than the others."""
        return self.loop.at.epoch

    @property
    def position(self):
        """(epoch, row, steps made, sum of w C, sum of w) of the run: all that `train` goes by."""
        cdef Position at = self.loop.at
        return at.epoch, at.row, at.t, at.loss, at.weight

    @position.setter
    def position(self, tuple at):
        self.loop.diverged = 0
        (self.loop.at.epoch, self.loop.at.row, self.loop.at.t, self.loop.at.loss,
         self.loop.at.weight) = at

    @property
    def skips_zeros(self):
        """Whether batches are searched for columns of zeros; False forbids it, for tests."""
        return self.loop.zeros == HAS_ZEROS

    @skips_zeros.setter
    def skips_zeros(self, bint allowed):
        self.loop.zeros = NOT_SEEN if allowed else IS_DENSE

    def share(self, int n_threads):
        """Have that many threads call `train`, no more than at first; none may be in it."""
        self.loop.n_threads = min(n_threads, self.most_threads)
        self.choose_columns()
        memset(&self.loop.barrier, 0, sizeof(Barrier))

    def give_up(self):
        """A thread cannot call `train`: the others return from it with no step made."""
        give_up(&self.loop.barrier)

    @property
    def diverged(self):
        """Whether the last `train` stopped before a step because a cost was NaN or infinite."""
        return self.loop.diverged != 0


cdef int call_reducer(void *reducer) noexcept with gil:
    return (<object>reducer)()


def load_state(Trainer t, const real[::1] parameters, const real[:, ::1] slots):
    """Copy parameters (n_parameters,) and slots (n_slots, n_parameters) into the trainer."""
    cdef const Plan *p = &t.plan
    cdef int i
    pad(p, &parameters[0], <real *>t.parameters)
    for i in range(t.n_slots):
        pad(p, &slots[i, 0], <real *>t.parameters + (i + 1) * p.n_padded)


def load_average(Trainer t, const real[::1] average):
    """Go on with an average; None: it begins with the next step."""
    t.loop.average_from = 0 if average is not None else t.loop.at.t + 1
    if average is not None:
        pad(&t.plan, &average[0], <real *>t.loop.average)


def store_average(Trainer t, real[::1] average):
    """Copy the average out; False, and nothing is written, where it has not begun."""
    if t.loop.average == NULL or t.loop.at.t < t.loop.average_from:
        return False
    unpad(&t.plan, <const real *>t.loop.average, &average[0])
    return True


def store_state(Trainer t, real[::1] parameters, real[:, ::1] slots):
    """Copy the trainer's parameters and slots out."""
    cdef const Plan *p = &t.plan
    cdef int i
    unpad(p, <const real *>t.parameters, &parameters[0])
    for i in range(t.n_slots):
        unpad(p, <const real *>t.parameters + (i + 1) * p.n_padded, &slots[i, 0])


def draw_order(Py_ssize_t[::1] order, const Py_ssize_t[::1] subset, uint64_t seed,
               Py_ssize_t epoch):
    """Put an epoch's order in place, of a subset (None: of all rows) of X.

    `train` does so only where an epoch begins.
    """
    shuffle(&order[0], order.shape[0], &subset[0] if subset is not None else NULL, seed,
            <uint64_t>epoch)


def has_finite_state(Trainer t):
    """Whether parameters and slots in the trainer are finite."""
    return all_finite(<const real *>t.parameters, (1 + t.n_slots) * t.plan.n_padded)


def train(Trainer t, int thread, Py_ssize_t max_steps, Py_ssize_t end_epoch, X,
          const real[:, ::1] Y, const Py_ssize_t[::1] labels, const real[::1] weight,
          Py_ssize_t[::1] order, Py_ssize_t first_epoch, double[::1] losses, double[::1] clock,
          double deadline=0.0, bint missing=False):
    """Make at most max_steps steps, ending before `end_epoch`; every thread of the run calls it.

    `missing`: NaN in Y stands for no target. A deadline in seconds of time.monotonic (0: none) ends
    it after the step at hand, for all threads after the same. Returns the number of steps made.
    Where epoch e ends, its mean loss and the time go to losses[e - first_epoch] and
    clock[e - first_epoch].
    """
    cdef Data data = Data(X)
    cdef Targets targets = targets_of(Y, labels, weight, missing)
    cdef Rows r = t.rows
    cdef Py_ssize_t steps
    cdef uint64_t mode
    cdef Py_ssize_t *row_0 = &order[0] - t.loop.first  # where the epoch's first row would stand
    if deadline != 0.0:  # by the engine's clock
        deadline += seconds() - monotonic()
    targets.order = row_0
    data.check(&t.plan)
    t.give_scratch(thread, &r)
    if t.loop.zeros == NOT_SEEN:  # each thread finds the same
        t.loop.zeros = zeros_of(&t.plan, &t.loop, data.x.a, &r)
    with nogil:
        mode = flush_subnormals()
        steps = run(&t.plan, &t.loop, thread, max_steps, end_epoch, &data.x, &targets,
                    row_0, <real *>t.parameters, r, first_epoch, &losses[0], &clock[0],
                    deadline)
        keep_subnormals(mode)
    return steps


# A loss of the user's: Python has the outputs of a batch and gives back their derivatives. One
# thread, a trainer made with `whole_batch`, and for each step `step_outputs`, then `step_update`.

def step_outputs(Trainer t, X, const Py_ssize_t[::1] order, Py_ssize_t first, Py_ssize_t m,
                 real[:, ::1] out):
    """out = a^L of rows order[first:first + m] of X, with this step's dropout   (m, n_L).

    What `step_update` needs is left in the trainer.
    """
    cdef const Plan *p = &t.plan
    cdef const Layer *f = &p.layers[p.n_layers - 1]
    cdef Rows *r = &t.rows
    cdef Data data = Data(X)
    cdef Input x
    cdef Step step
    data.check(p)
    t.loop.dropout.step = t.loop.at.t
    take_course(&t.loop, t.loop.at.t, &step, &t.loop.dropout)
    r.dropout = &t.loop.dropout if t.loop.dropout.rates != NULL else NULL
    r.m = m
    with nogil:
        if p.reads_lists:
            measure_lists(&data.x, &order[first], 0, m, r)
        x = batch_rows(p, &data.x, &order[first], 0, r, False)
        forward(p, <const real *>t.parameters, True, &x, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
        copy_rows(rows_of(r, f.a_at, f.a_row), f.a_row, &out[0, 0], f.n_a, m, f.n_a)


def step_update(Trainer t, const real[:, ::1] V):
    """Make one step with V = d loss / d a^L of the rows of `step_outputs`   (m, n_L).

    Penalties, clipping and the optimizer are the trainer's; V is taken as it is, weights and 1/m
    included. The position moves on by one step; sums of losses are the caller's. Returns False,
    nothing done but `diverged` set, where V is not finite.
    """
    cdef const Plan *p = &t.plan
    cdef Position *at = &t.loop.at
    cdef Step step = t.loop.step
    cdef Rows *r = &t.rows
    cdef real *parameters = <real *>t.parameters
    cdef Ahead ahead
    cdef Columns none
    cdef Input x = whole_batch(p, r)
    cdef bint finite
    memset(&ahead, 0, sizeof(Ahead))
    with nogil:
        finite = all_finite(&V[0, 0], V.shape[0] * V.shape[1])
        if finite:
            pull_output(p, &V[0, 0], V.shape[1], r)
            backward(p, parameters, True, &x, r, False)
            take_course(&t.loop, at.t, &step, &t.loop.dropout)
            at.t += 1
            begin_step(&step, at.t)
            make_step(p, &t.loop, &step, 0, &x, r, &none, parameters,
                      parameters + (t.n_slots + 1) * p.n_padded, &ahead)
            if t.loop.average != NULL:
                follow(p, &t.loop, 0, 1, at.t, parameters)
            at.row += r.m
            if at.row == t.loop.per_epoch:
                at.epoch += 1
                at.row = 0
    if not finite:
        t.loop.diverged = 1
    return finite
