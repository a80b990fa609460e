# One sample at a time: a forward pass, its recurrence and a step in one call.
#
# What belongs here: the doors that take hold of a row and its target, and the steps behind them.
# What does not: refusals (fastbp/one_sample.py, training/online.py).

cdef enum AllowedTargets:
    ANY, SHARES, COUNTS, SIGNS  # of a loss: any number, in [0, 1], at least 0, -1 or 1


cdef class Sampled:
    """Takes hold of a sample for a step, which is the class's own.

    `allowed`: the targets that the loss takes, of AllowedTargets; `scalar`: numpy.generic.
    """
    cdef CompiledNetwork net
    cdef type kind, scalar
    cdef object parameters      # whose memory `values` is
    cdef real *values
    cdef int allowed

    def __init__(self, CompiledNetwork net, parameters, int allowed, type scalar):
        cdef Py_buffer view
        self.net, self.parameters, self.allowed = net, parameters, allowed
        self.kind, self.scalar = type(parameters), scalar
        PyObject_GetBuffer(parameters, &view, PyBUF_SIMPLE | PyBUF_WRITABLE)
        self.values = <real *>view.buf
        PyBuffer_Release(&view)

    def learn(self, x, y, learning_rate):
        """C of a sample x (n_0,), and then the step; None, and nothing done, where x, y or the rate
        is not plain or a number not finite. y: a class index, a number, or an array (n_y,)."""
        cdef const Plan *p = &self.net.plan
        cdef Py_buffer of_x, of_y
        cdef Targets targets
        cdef Py_ssize_t label
        cdef real value
        cdef double C = NAN, number
        cdef bint holds_y = False
        cdef double rate
        if not isinstance(learning_rate, float):
            return None
        rate = learning_rate
        memset(&targets, 0, sizeof(Targets))
        if isinstance(y, self.scalar):  # what an array's elements are
            y = y.item()
        if type(y) is int and p.n_y > 1:
            if not 0 <= y < p.n_y:
                return None
            label = y
            targets.labels = &label
        elif p.n_y == 1 and (type(y) is float or type(y) is bool
                             or (type(y) is int and -2**53 <= y <= 2**53)):  # double has these
            number = y  # Cython would have it a float, of whatever build
            value = <real>number
            targets.Y = &value
        elif take(y, self.kind, 1, p.n_y, &of_y):
            holds_y = True
            targets.Y = of_y.buf
        else:
            return None
        if ((targets.Y == NULL or self.takes(<const real *>targets.Y))
                and take(x, self.kind, 1, p.n_0, &of_x)):
            if p.n_parameters < BRIEF:
                C = self.step(<const real *>of_x.buf, &targets, rate)
            else:
                with nogil:
                    C = self.step(<const real *>of_x.buf, &targets, rate)
            PyBuffer_Release(&of_x)
        if holds_y:
            PyBuffer_Release(&of_y)
        return C if C == C else None

    cdef bint takes(self, const real *y) noexcept nogil:
        """Whether the loss takes these targets."""
        cdef Py_ssize_t j
        for j in range(self.net.plan.n_y):
            if y[j] - y[j] != <real>0:  # NaN is not 0
                return False
            if self.allowed == SHARES and not (<real>0 <= y[j] <= <real>1):
                return False
            if self.allowed == COUNTS and y[j] < <real>0:
                return False
            if self.allowed == SIGNS and y[j] != <real>1 and y[j] != <real>-1:
                return False
        return True

    cdef double step(self, const real *x, const Targets *targets,
                     double learning_rate) noexcept nogil:
        """C, or NaN where anything is not finite and nothing has been written."""
        return NAN


cdef class Learner(Sampled):
    """Steps of plain SGD, of one sample each, on a network's own parameters.

    They are stepped in place, in the public layout: the trainer's padded copy would have to be made
    and brought back for each step, which takes as long as the step.
    """
    cdef Block block
    cdef Rows rows

    def __init__(self, CompiledNetwork net, parameters, int allowed, type scalar):
        Sampled.__init__(self, net, parameters, allowed, scalar)
        self.block = Block(work_bytes(&net.plan, 1))
        lay_out(&net.plan, 1, self.block.data, &self.rows)

    cdef double step(self, const real *x, const Targets *targets,
                     double learning_rate) noexcept nogil:
        cdef const Plan *p = &self.net.plan
        cdef const Layer *f
        cdef Rows *r = &self.rows
        cdef Input a
        cdef uint64_t mode = flush_subnormals()
        cdef double C, most = ldexp(1.0, 100 if SINGLE else 960)  # see largest_step
        cdef int l
        r.m = 1
        if x < self.values + p.n_parameters and self.values < x + p.n_0:  # the step would change x
            copy_rows(x, p.n_0, rows_of(r, 0, p.a0_row), p.a0_row, 1, p.n_0)
            x = rows_of(r, 0, p.a0_row)
        a = dense_input(x, p.n_0)
        C = errors_of(p, self.values, False, &a, targets, r)
        if (C == C and learning_rate >= 0.0 and largest_step(p, &a, r) * learning_rate < most
                and all_finite(self.values, p.n_parameters)):  # tanh and others hide an infinite z
            for l in range(p.n_layers):
                f = &p.layers[l]
                f.link.learn(f, &a, delta_of(p, r, l), <real>(-learning_rate), self.values)
                a = output_of(p, r, l, &a)
        else:
            C = NAN
        keep_subnormals(mode)
        return C


cdef class Stepper(Sampled):
    """Steps of a `Trainer` on a network's own parameters, which it takes and brings back.

    Nothing is brought back that is not finite; the slots are then as they were.
    """
    cdef Trainer trainer
    cdef Block before           # slots that might not be finite after a step

    def __init__(self, CompiledNetwork net, parameters, int allowed, type scalar,
                 Trainer trainer):
        Sampled.__init__(self, net, parameters, allowed, scalar)
        self.trainer = trainer
        self.before = Block(trainer.n_slots * trainer.plan.n_padded * <double>sizeof(real))

    cdef double step(self, const real *x, const Targets *targets,
                     double learning_rate) noexcept nogil:
        cdef const Plan *p = &self.trainer.plan
        cdef uint64_t mode = flush_subnormals()
        cdef Input a = self.take_rows(x, 1)
        cdef double C = errors_of(p, <const real *>self.trainer.parameters, True, &a, targets,
                                  &self.trainer.rows)
        if C == C and not self.make(&a):
            C = NAN
        keep_subnormals(mode)
        return C

    def learn_many(self, const real[:, ::1] X, const real[:, ::1] Y, const Py_ssize_t[::1] labels):
        """The mean C of rows X (m, n_0), m at most the trainer's, and then a step on all of them;
        None, and nothing done, where anything is not finite."""
        cdef const Plan *p = &self.trainer.plan
        cdef Targets targets = targets_of(Y, labels, None)
        cdef Py_ssize_t m = X.shape[0]
        cdef double total = 0.0
        cdef uint64_t mode
        cdef Input a
        with nogil:
            mode = flush_subnormals()
            a = self.take_rows(&X[0, 0], m)
            total = errors_of(p, <const real *>self.trainer.parameters, True, &a, &targets,
                              &self.trainer.rows)
            if total == total and not self.make(&a):
                total = NAN
            keep_subnormals(mode)
        return total if total == total else None

    def pull(self, X, V):
        """One step with V = d loss / d a^L (m, n_L) of the rows X (m, n_0), as step_update makes it
        of them; whether it was made, or None where X or V is not plain."""
        cdef const Plan *p = &self.trainer.plan
        cdef Py_buffer x, v
        cdef bint done = False, plain
        if not take(X, self.kind, 2, p.n_0, &x):
            return None
        plain = take(V, self.kind, 2, p.layers[p.n_layers - 1].n_a, &v)
        if plain:
            plain = x.shape[0] == v.shape[0] and x.shape[0] <= self.trainer.loop.batch_size
            if plain:
                if x.shape[0] * p.n_parameters < BRIEF:
                    done = self.pull_rows(<const real *>x.buf, <const real *>v.buf, x.shape[0])
                else:
                    with nogil:
                        done = self.pull_rows(<const real *>x.buf, <const real *>v.buf, x.shape[0])
            PyBuffer_Release(&v)
        PyBuffer_Release(&x)
        return done if plain else None

    cdef bint pull_rows(self, const real *X, const real *V, Py_ssize_t m) noexcept nogil:
        cdef const Plan *p = &self.trainer.plan
        cdef const Layer *f = &p.layers[p.n_layers - 1]
        cdef Rows *r = &self.trainer.rows
        cdef uint64_t mode = flush_subnormals()
        cdef Input a = self.take_rows(X, m)
        cdef bint done = all_finite(V, m * f.n_a)
        if done:
            forward(p, <const real *>self.trainer.parameters, True, &a, r,
                    HIDDEN_SLOPES | OUTPUT_SLOPES)
            pull_output(p, V, f.n_a, r)
            backward(p, <const real *>self.trainer.parameters, True, &a, r, False)
            done = self.make(&a)
        keep_subnormals(mode)
        return done

    cdef Input take_rows(self, const real *X, Py_ssize_t m) noexcept nogil:
        """The parameters and rows of X are in the trainer."""
        cdef const Plan *p = &self.trainer.plan
        cdef real *a0 = rows_of(&self.trainer.rows, 0, p.a0_row)
        self.trainer.rows.m = m
        pad(p, self.values, <real *>self.trainer.parameters)
        copy_rows(X, p.n_0, a0, p.a0_row, m, p.n_0)
        return dense_input(a0, p.a0_row)

    cdef bint make(self, const Input *x) noexcept nogil:
        """The step, where each delta is there; False, and nothing done, where it is not finite."""
        cdef const Plan *p = &self.trainer.plan
        cdef Loop *loop = &self.trainer.loop
        cdef const Rows *r = &self.trainer.rows
        cdef real *parameters = <real *>self.trainer.parameters
        cdef Py_ssize_t n_slots = self.trainer.n_slots
        cdef real *slots = parameters + p.n_padded
        cdef size_t n_bytes = n_slots * p.n_padded * sizeof(real)
        cdef double most = largest_step(p, x, r) * max(1.0, loop.step.learning_rate)
        cdef bint kept = not most < ldexp(1.0, 50 if SINGLE else 480)  # its square might not be
        cdef Step step = loop.step
        cdef Ahead ahead
        cdef Columns none
        memset(&ahead, 0, sizeof(Ahead))
        if most == INFINITY:
            return False
        if kept:
            memcpy(self.before.data, slots, n_bytes)
        begin_step(&step, loop.at.t + 1)
        make_step(p, loop, &step, 0, x, r, &none, parameters, slots + n_slots * p.n_padded, &ahead)
        if not all_finite(parameters, (1 + n_slots) * p.n_padded):
            if kept:
                memcpy(slots, self.before.data, n_bytes)
            return False
        loop.at.t += 1
        unpad(p, parameters, self.values)
        return True


cdef double errors_of(const Plan *plan, const real *parameters, bint padded, const Input *x,
                      const Targets *targets, const Rows *r) noexcept nogil:
    """The mean C of the rows, NaN where it is not finite; their errors.             delta  # OUT"""
    cdef double total = 0.0
    cdef Py_ssize_t s
    forward(plan, parameters, padded, x, r, gradient_mode(plan))
    output_error(plan, targets, 0, r, 1.0 / <double>r.m)
    if not all_finite(<real *>r.C, r.m):
        return NAN
    backward(plan, parameters, padded, x, r, False)
    for s in range(r.m):
        total += (<real *>r.C)[s]
    return total / <double>r.m


cdef double largest_step(const Plan *plan, const Input *X, const Rows *r) noexcept nogil:
    """No element of a sample's gradient is larger; infinity where an error is not finite.

    What changes no parameter by half of the last digit of the largest number makes none infinite
    that is finite, so that a step may be made in place.
    """
    cdef const Layer *f
    cdef Input x = X[0]
    cdef double most = 0.0, of_delta
    cdef Py_ssize_t s
    cdef int l
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        of_delta = 0.0
        for s in range(r.m):
            of_delta += largest(delta_of(plan, r, l) + s * f.z_row, f.n_z)
        for s in range(r.m):
            most = max(most, of_delta * max(1.0, largest(x.a + s * x.row, f.n_in)))
        x = output_of(plan, r, l, &x)
    return most


cdef double largest(const real *x, Py_ssize_t n) noexcept nogil:
    """The largest |x_i|; infinity where one is NaN."""
    cdef vec most = splat(<real>0), v
    cdef const real *lane = <const real *>&most
    cdef double found = 0.0
    cdef Py_ssize_t i = 0
    if not all_finite(x, n):
        return INFINITY
    while i + VECTOR_LANES <= n:
        v = (<const vec *>(x + i))[0]
        most = larger(most, larger(v, -v))
        i += VECTOR_LANES
    while i < n:
        found = max(found, x[i] if x[i] > <real>0 else -x[i])
        i += 1
    for i in range(VECTOR_LANES):
        found = max(found, lane[i])
    return found
