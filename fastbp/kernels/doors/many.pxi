# Training of many networks of one shape at once: one group of them, each in a lane of the vectors.
#
# What belongs here: memory of a group, what goes in and comes out of a lane, for which networks it
# pays. What does not: the order of work in a step (loop/lane_steps.pxi), which networks are grouped
# and when (training/lanes.py).

cpdef bint lanes_fit(CompiledNetwork net):
    """Whether networks of this description can go into lanes."""
    cdef const Plan *p = &net.plan
    cdef const Layer *f
    cdef int l
    for l in range(p.n_layers):
        f = &p.layers[l]
        if f.link.forward_lanes == NULL or (l < p.n_layers - 1 and not f.sigma.elementwise):
            return False
    return p.output_error != coupled_output_error


cdef enum:
    # of a group's memory what is above this comes from beyond the second-level cache in each step,
    # where one network's own stays there
    PAYING_BYTES = 5 << 18


cpdef int fewest_in_lanes(CompiledNetwork net, str optimizer, Py_ssize_t batch_size):
    """How many networks there have to be, for lanes to be faster than one after the other; or 0.

    Wide layers of one network fill vectors and tiles as well: then lanes gain nothing, or only
    where each is taken (bench/README.md has the ratios). The bits are the same.
    """
    cdef const Plan *p = &net.plan
    cdef double products = 0.0, width = 0.0, of_layer
    cdef int l
    for l in range(p.n_layers):
        of_layer = <double>p.layers[l].tensors[0].rows * p.layers[l].tensors[0].n
        products += of_layer
        width += of_layer * p.layers[l].n_z
    width /= products  # of the layer that a multiply-add is of, on average
    if not lanes_fit(net) or width > 30 or lanes_bytes(net, optimizer, batch_size) > PAYING_BYTES:
        return 0
    if products <= 80:  # of one of 8 or 16 networks 2-16-1: a third or a quarter of the time
        return (3 * VECTOR_LANES + 7) // 8
    if products <= 150:
        return (5 * VECTOR_LANES + 7) // 8
    return 12 if width <= 20 and VECTOR_LANES == 16 else VECTOR_LANES


cdef struct GroupMemory:
    double parameters, work     # the slots among the parameters, in bytes
    Py_ssize_t slice, part
    Py_ssize_t n_vectors, n_tensors


cdef GroupMemory group_memory(const Plan *p, const Policy *policy, Py_ssize_t batch_size) noexcept:
    """Bytes of a group's parameters and slots, and of all else."""
    cdef GroupMemory need
    cdef const Tensor *t
    # of a sample, what a batch has of it: a^0, z and a of hidden layers and delta of the last; and
    # what a part has: z, a, y and C_j of the last
    cdef Py_ssize_t last = row_of_lanes(p.layers[p.n_layers - 1].n_z)
    cdef Py_ssize_t width = row_of_lanes(p.n_0) + last, vectors = 0, tensors = 0, sample
    cdef int l, i
    for l in range(p.n_layers):
        if l < p.n_layers - 1:
            width += 2 * row_of_lanes(p.layers[l].n_z)
        for i in range(p.layers[l].n_tensors):
            t = &p.layers[l].tensors[i]
            vectors += t.rows * (row_of_lanes(t.n) if t.rows > 1 else t.n)
            tensors += 1
    sample = width * <Py_ssize_t>sizeof(vec)
    need.slice = batch_size
    if batch_size * sample > SECOND_LEVEL_BYTES:
        need.slice = max(PART_ROWS, HALF_OF_IT_BYTES // sample // PART_ROWS * PART_ROWS)
        need.slice = min(need.slice, batch_size)
    need.part = max(1, PART_BYTES // (sample + 4 * last * <Py_ssize_t>sizeof(vec)) // LANES_P)
    need.part = min(need.part * LANES_P, need.slice)
    need.n_vectors, need.n_tensors = vectors, tensors
    need.parameters = (policy.n_slots + 1) * <double>vectors * sizeof(vec)
    need.work = (need.slice * <double>width + need.part * 4 * last + 3 * batch_size) * sizeof(vec)
    if need.slice < batch_size:
        need.work += <double>vectors * sizeof(vec)
    need.work += max(p.n_0, p.n_y) * sizeof(real) + 64
    need.work += VECTOR_LANES * <double>(sizeof(Member) + 64)
    need.work += VECTOR_LANES * <double>(p.n_layers + 2 * tensors) * sizeof(double)
    need.work += p.n_layers * <double>sizeof(LaneLayer) + 64
    need.work += tensors * <double>(sizeof(LaneNumbers) + sizeof(int)) + 128
    return need


def lanes_bytes(CompiledNetwork net, str optimizer, Py_ssize_t batch_size):
    """Memory of a group, in bytes."""
    cdef GroupMemory need = group_memory(&net.plan, &POLICIES[<int>POLICY_ROWS[optimizer]],
                                         batch_size)
    return need.parameters + need.work


cdef class Lanes:
    """As many networks of one description as a vector has lanes, each in a run of its own.

    Attributes
    ----------
    n_lanes : int
    n_slots : int
        Of the optimizer.
    """
    cdef CompiledNetwork net
    cdef Block block
    cdef Group group
    cdef list kept              # of each lane, what it reads and writes
    cdef list states            # of each lane, what `keep` was given
    cdef list sources           # of each lane, what its orders are drawn by
    cdef double *dropped        # of each lane, the rates of its dropout
    cdef readonly int n_lanes, n_slots

    def __init__(self, CompiledNetwork net, str optimizer, Py_ssize_t batch_size, bint drops):
        cdef const Plan *p = &net.plan
        cdef Group *g = &self.group
        cdef GroupMemory need
        if not lanes_fit(net):
            raise TypeError("networks of this kind cannot go into lanes")
        self.net = net
        self.n_lanes = VECTOR_LANES
        self.kept = [None] * VECTOR_LANES
        self.states = [None] * VECTOR_LANES
        self.sources = [None] * VECTOR_LANES
        memset(g, 0, sizeof(Group))
        g.plan = p
        g.policy = &POLICIES[<int>POLICY_ROWS[optimizer]]
        self.n_slots = g.policy.n_slots
        g.batch_size = batch_size
        g.drops = drops
        need = group_memory(p, g.policy, batch_size)
        g.slice, g.part = need.slice, need.part
        g.n_vectors, g.n_tensors = need.n_vectors, need.n_tensors
        self.block = Block(need.parameters + need.work)
        self.lay_out(need.parameters)

    cdef void lay_out(self, double of_parameters) noexcept:
        # divide the memory                                                             group  # OUT
        cdef Group *g = &self.group
        cdef const Plan *p = g.plan
        cdef LaneLayer *f
        cdef LaneTensor *t
        cdef double *numbers
        cdef vec *at
        cdef Py_ssize_t vectors = 0, width, of_batches, rows
        cdef int l, i
        g.parameters = <vec *>self.block.data
        at = <vec *>(<char *>self.block.data + <size_t>of_parameters)
        g.C, g.weight, g.scale = at, at + g.batch_size, at + 2 * g.batch_size
        at += 3 * g.batch_size
        if g.slice < g.batch_size:
            g.nabla = at
            at += g.n_vectors
        g.a0_row = row_of_lanes(p.n_0)
        g.a0 = at
        at += g.slice * g.a0_row
        # behind the matrices, whose sizes are known first
        width = row_of_lanes(p.layers[p.n_layers - 1].n_z)
        of_batches = width
        for l in range(p.n_layers - 1):
            of_batches += 2 * row_of_lanes(p.layers[l].n_z)
        g.layers = <LaneLayer *>aligned(at + g.slice * of_batches + 4 * g.part * width)
        g.numbers = <LaneNumbers *>aligned(g.layers + p.n_layers)
        g.members = <Member *>aligned(g.numbers + g.n_tensors)
        numbers = <double *>(g.members + VECTOR_LANES)
        for i in range(VECTOR_LANES):
            g.members[i].rates, g.members[i].decays = numbers, numbers + g.n_tensors
            numbers += 2 * g.n_tensors
            g.members[i].dropout.rates = NULL
        self.dropped = numbers
        numbers += VECTOR_LANES * p.n_layers
        g.numbers_of = <int *>numbers
        g.zeros = <real *>aligned(g.numbers_of + g.n_tensors)
        for l in range(p.n_layers):
            f = &g.layers[l]
            f.flat = p.layers[l]
            f.n_in, f.n_z = p.layers[l].n_in, p.layers[l].n_z
            f.row = row_of_lanes(f.n_z)
            rows = g.slice if l < p.n_layers - 1 else g.part
            f.z = f.delta = at
            f.a = at + rows * f.row
            at += 2 * rows * f.row
            for i in range(f.flat.n_tensors):
                t = &f.tensors[i]
                t.rows, t.n = f.flat.tensors[i].rows, f.flat.tensors[i].n
                t.row = row_of_lanes(t.n) if t.rows > 1 else t.n
                t.at = vectors
                vectors += t.rows * t.row
        f = &g.layers[p.n_layers - 1]
        g.y, g.term, f.delta = at, at + g.part * f.row, at + 2 * g.part * f.row

    cdef Member *member(self, int lane) except NULL:
        if not 0 <= lane < self.n_lanes:
            raise IndexError(f"lane: expected 0 to {self.n_lanes - 1}; got {lane}")
        return &self.group.members[lane]

    def load(self, int lane, X, const real[:, ::1] dense, const Py_ssize_t[::1] labels,
             const real[::1] weight, const Py_ssize_t[::1] rows, Py_ssize_t[::1] order not None,
             Py_ssize_t n, uint64_t seed, bint shuffled, dict numbers, list rates,
             list tensor_rates, list tensor_decays, const real[::1] parameters not None,
             const real[:, ::1] slots, tuple position not None, bint missing=False,
             bint drop_last=False):
        """Put a network into a lane, where its run stands at `position` (Trainer.position).

        The arguments are those of `Trainer` and `train`; `order` (n,) is the lane's own, and in
        place where the run stands within an epoch; it is drawn from `rows`, or from 0, ..., n - 1.
        `rates`: of dropout, of a^0, ..., a^{L-1}.
        """
        cdef Group *g = &self.group
        cdef const Plan *p = g.plan
        cdef Member *f = self.member(lane)
        cdef Data data = Data(X)
        cdef double *dropped = self.dropped + lane * p.n_layers
        cdef const Tensor *t
        cdef int l, i, at = 0
        data.check(p)
        if rates is not None and not g.drops:
            raise ValueError("rates: expected None in lanes that drop nothing")
        f.X, f.n = data.x.a, n
        f.per_epoch = rows_per_epoch(n, g.batch_size, drop_last)
        f.Y = &dense[0, 0] if labels is None else NULL
        f.labels = &labels[0] if labels is not None else NULL
        f.weight = &weight[0] if weight is not None else NULL
        f.rows = &rows[0] if rows is not None else NULL
        f.order = &order[0]
        f.seed, f.shuffled, f.missing = seed, shuffled, missing
        f.dropout.seed = seed
        f.dropout.rates = NULL
        if rates is not None:
            f.dropout.rates = dropped
            for l in range(p.n_layers):
                dropped[l] = rates[l]
        for l in range(p.n_layers):
            for i in range(p.layers[l].n_tensors):
                t = &p.layers[l].tensors[i]
                f.rates[at] = t.rate if tensor_rates is None else tensor_rates[at]
                f.decays[at] = t.decay if tensor_decays is None else tensor_decays[at]
                at += 1
        f.course = NULL
        f.kept = NULL
        f.at.epoch, f.at.row, f.at.t, f.at.loss, f.at.weight = position
        self.take_step(f, numbers)
        move_lane(&self.group, lane, <real *>&parameters[0], 0, True)
        for i in range(g.policy.n_slots):
            move_lane(&self.group, lane, <real *>&slots[i, 0], i + 1, True)
        f.m = -1  # weights are new
        f.here, f.diverged = True, False
        self.kept[lane] = (data, dense, labels, weight, rows, order)
        self.share_numbers()

    cdef int take_step(self, Member *f, dict numbers) except -1:
        read_step(numbers, &f.told)
        f.told.policy = self.group.policy
        f.batch_means = "batch_l2" in numbers
        f.batch_l2 = numbers.get("batch_l2", 0.0)
        f.factor = numbers.get("dropout", 1.0)
        f.step = f.told
        f.dropout.factor = f.factor
        set_scale(&f.step, 1.0)
        self.group.stale = True
        return 0

    cdef void share_numbers(self) noexcept:
        # tensors with the same rates and decays go by the first one's numbers
        cdef Group *g = &self.group
        cdef const Member *f
        cdef int at, other, i
        cdef bint same
        for at in range(g.n_tensors):
            g.numbers_of[at] = at
            for other in range(at - 1, -1, -1):
                same = g.numbers_of[other] == other
                for i in range(VECTOR_LANES):
                    f = &g.members[i]
                    same = same and (not f.here or (f.rates[at] == f.rates[other]
                                                    and f.decays[at] == f.decays[other]))
                if same:
                    g.numbers_of[at] = other
        g.stale = True

    def clear(self, int lane):
        """Leave a lane to nobody."""
        cdef Member *f = self.member(lane)
        memset(&f.orders, 0, sizeof(Orders))
        memset(&f.rule, 0, sizeof(Rule))
        f.here = False
        f.kept = NULL
        self.kept[lane] = self.states[lane] = None
        self.share_numbers()

    def draw_by(self, int lane, source):
        """As Trainer.draw_by, of a lane that has been loaded."""
        cdef Member *f = self.member(lane)
        f.orders = orders_of(source, f.n)
        self.sources[lane] = source

    def stop_by(self, int lane, double tol, double best, Py_ssize_t count, double most):
        """As Trainer.stop_by, until the lane is cleared."""
        self.member(lane).rule = rule_of(tol, best, count, most)

    def rule(self, int lane):
        """What a lane goes on by of `stop_by`, in its words; None: it has no rule."""
        cdef Rule rule = self.member(lane).rule
        return (rule.tol, rule.best, rule.count, rule.most) if rule.applies else None

    def set_step(self, int lane, dict numbers not None):
        """The lane's numbers from here on, as Trainer.set_step takes them."""
        self.take_step(self.member(lane), numbers)

    def set_course(self, int lane, const double[:, ::1] course):
        """As Trainer.set_course; None: every step has the numbers of set_step."""
        cdef Member *f = self.member(lane)
        self.kept[lane] = (*self.kept[lane][:6], course)
        f.step = f.told
        f.dropout.factor = f.factor
        set_scale(&f.step, 1.0)
        self.group.stale = True
        f.course = NULL
        if course is not None:
            f.course = &course[0, 0]
            f.n_course, f.first_t = course.shape[0], f.at.t

    def keep(self, int lane, real[:, :, ::1] states):
        """Have states[e - first epoch] (1 + n_slots, n_parameters) hold parameters and slots as
        they are where the lane's epochs end; None: nowhere. Until the lane is loaded again."""
        cdef Member *f = self.member(lane)
        self.states[lane] = states
        f.kept = &states[0, 0, 0] if states is not None else NULL

    def position(self, int lane):
        """Where the lane's run stands: as Trainer.position."""
        cdef Position at = self.member(lane).at
        return at.epoch, at.row, at.t, at.loss, at.weight

    def store(self, int lane, real[::1] parameters not None, real[:, ::1] slots):
        """Copy a lane's parameters (n_parameters,) and slots (n_slots, n_parameters) out."""
        cdef int i
        self.member(lane)
        move_lane(&self.group, lane, &parameters[0], 0, False)
        for i in range(self.group.policy.n_slots):
            move_lane(&self.group, lane, &slots[i, 0], i + 1, False)

    def has_finite_state(self, int lane):
        """Whether a lane's parameters and slots are finite."""
        cdef const Group *g = &self.group
        cdef const LaneTensor *t
        cdef const real *x
        cdef real rest = <real>0
        cdef Py_ssize_t slot, k, j
        cdef int l, i
        self.member(lane)
        for slot in range(g.policy.n_slots + 1):
            for l in range(g.plan.n_layers):
                for i in range(g.layers[l].flat.n_tensors):
                    t = &g.layers[l].tensors[i]
                    for k in range(t.rows):
                        x = <const real *>(g.parameters + slot * g.n_vectors + t.at
                                           + k * t.row) + lane
                        for j in range(t.n):
                            rest += x[j * VECTOR_LANES] - x[j * VECTOR_LANES]
        return rest == <real>0

    def has_diverged(self, int lane):
        """Whether the lane made no step in the last of `train_lanes`: its cost was not finite."""
        return self.member(lane).diverged


def train_lanes(Lanes lanes not None, Py_ssize_t max_steps, const Py_ssize_t[::1] end_epochs,
                const Py_ssize_t[::1] first_epochs, double[:, ::1] losses, double[:, ::1] clock,
                double deadline=0.0):
    """Make at most max_steps steps of every lane, as `train` does of one run; returns how many.

    It ends after the step with which some lane comes to its end_epochs[lane], or in which a lane's
    cost was not finite (`has_diverged`: that lane made no step), or with the deadline. Where a
    lane's epoch e ends, its mean loss and the time go to losses[lane, e - first_epochs[lane]] and
    clock[lane, e - first_epochs[lane]].
    """
    cdef Group *g = &lanes.group
    cdef Py_ssize_t steps
    cdef uint64_t mode
    if deadline != 0.0:  # by the engine's clock
        deadline += seconds() - monotonic()
    with nogil:
        mode = flush_subnormals()
        steps = run_lanes(g, max_steps, &end_epochs[0], &first_epochs[0], &losses[0, 0],
                          losses.shape[1], &clock[0, 0], clock.shape[1], deadline)
        keep_subnormals(mode)
    return steps
