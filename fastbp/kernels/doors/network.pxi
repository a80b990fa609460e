# What can be asked of one network: predictions, costs, errors, gradients, Jacobians.
#
# What belongs here: the compiled description of a network, its memory, and functions that take
# arrays already checked by network.py, release the GIL and call the passes. What does not: the
# passes (loop/), training (trainer.pxi).

cdef class Block:
    """Zeroed memory, aligned to 64 bytes."""
    cdef void *raw
    cdef void *data

    def __cinit__(self, double n_bytes):
        # a double, so that the product of the caller's sizes cannot wrap around
        self.raw = NULL
        if n_bytes < 9e18:
            self.raw = PyMem_RawCalloc(<size_t>n_bytes + 64, 1)
        if self.raw == NULL:
            raise MemoryError(f"{n_bytes:.3g} bytes for this network and batch do not fit")
        ask_for_huge_pages(self.raw, <size_t>n_bytes)
        self.data = aligned(self.raw)

    def __dealloc__(self):
        PyMem_RawFree(self.raw)


cdef Py_ssize_t padded_row(Py_ssize_t n):
    """Reals in a row of n, in whole cache lines.

    Rows a multiple of 1 KB apart would meet in a few sets of the caches: one line more (half of a
    step of case F in bench/compare.py).
    """
    cdef Py_ssize_t lines = (n + PER_LINE - 1) // PER_LINE
    return (lines + (lines % 16 == 0)) * PER_LINE


cdef class CompiledNetwork:
    """The description of a network that the passes read: no parameters, no state.

    layers: a list of (link, activation, its parameter, n_in, n_z, n_a); cost: (name, its
    parameter); n_y: columns of Y.
    """
    cdef Plan plan
    cdef Block layers

    def __init__(self, list layers, tuple cost, Py_ssize_t n_y):
        cdef Plan *p = &self.plan
        cdef Layer *f
        cdef int l
        p.n_layers = len(layers)
        self.layers = Block(sizeof(Layer) * <double>p.n_layers)
        p.layers = <Layer *>self.layers.data
        p.real_bytes = sizeof(real)
        p.n_y = n_y
        p.n_0 = layers[0][3]
        p.reads_lists = LINKS[<int>LINK_ROWS[layers[0][0]]].reads_lists
        p.n_lists = 0
        p.a0_row = 0 if p.reads_lists else padded_row(p.n_0)
        p.width = p.g_row = p.a0_row
        p.widest = 0
        p.n_parameters = p.n_padded = 0
        p.lowest = 0
        for l in range(p.n_layers):
            f = &p.layers[l]
            link, sigma, f.p, f.n_in, f.n_z, f.n_a = layers[l]
            # the same products along n_in: 7 % of a step of cases C and D
            link = "dot" if link == "dense" and f.n_z == 1 and l > 0 else link
            f.link = &LINKS[LINK_ROWS[link]]
            f.sigma = &SIGMAS[SIGMA_ROWS[sigma]]
            f.z_row = padded_row(f.n_z)
            f.a_row = padded_row(f.n_a)
            f.z_at = f.a_at = f.delta_at = p.width
            f.n_tensors = self.lay_tensors(f)
            if f.link.gives_lists:
                p.n_lists = l + 1
                continue
            f.a_at = f.z_at + f.z_row
            p.width = f.a_at + f.a_row
            if f.sigma.elementwise and l < p.n_layers - 1:
                f.delta_at = f.z_at
            else:
                f.delta_at = p.width
                p.width += f.z_row
            p.widest = max(p.widest, f.z_row, f.a_row)
            if (not f.link.reads_lists
                    and is_large(3 * TILE_ROWS, f.n_in, f.z_row * <Py_ssize_t>sizeof(real))):
                p.widest = max(p.widest, f.n_in)
            p.g_row = max(p.g_row, f.a_row)
        p.g_at = p.width
        p.width += p.g_row
        self.choose_output_error(sigma, cost[0], cost[1])

    cdef int lay_tensors(self, Layer *f) noexcept:
        # places of a layer's tensors, behind those of the layers before        tensors  # OUT
        cdef Plan *p = &self.plan
        cdef Tensor *t
        cdef int i, n = f.link.tensors(f.n_in, f.n_z, &f.tensors[0])
        for i in range(n):
            t = &f.tensors[i]
            if t.panel == 0:
                t.row = t.panel = padded_row(t.n)
            else:
                t.row = (t.n + PER_LINE - 1) // PER_LINE * PER_LINE
            if t.summed == 0:
                t.summed = t.panel
            t.at, t.padded_at = p.n_parameters, p.n_padded
            p.n_parameters += t.rows * t.n
            p.n_padded += t.rows * t.row
        return n

    @property
    def address(self):
        """Of the plan, for `cimport fastbp`."""
        return <uintptr_t>&self.plan

    cdef int choose_output_error(self, str sigma, str cost, double parameter) except -1:
        cdef Plan *p = &self.plan
        p.cost = &COST_TABLE[COST_ROWS[cost]]
        p.cost_p = parameter
        p.terms = p.cost.terms_and_slopes
        p.canonical = (sigma, cost) in CANONICAL_ROWS
        if p.canonical:
            p.terms = CANONICAL[<int>CANONICAL_ROWS[sigma, cost]].terms_of_z
        if p.layers[p.n_layers - 1].sigma.elementwise and p.cost.separable:
            p.output_error = separable_output_error
        elif p.canonical:
            p.output_error = softmax_output_error
        else:
            p.output_error = coupled_output_error
        return 0


cdef class Masks:
    """Dropout of one step: a rate for each of a^0, ..., a^{L-1}."""
    cdef Block block
    cdef Dropout dropout

    def __init__(self, list rates, uint64_t seed, uint64_t step):
        cdef double *own
        self.block = Block(sizeof(double) * <double>len(rates))
        own = <double *>self.block.data
        for l, rate in enumerate(rates):
            own[l] = rate
        self.dropout.rates = own
        self.dropout.factor = 1.0
        self.dropout.seed = seed
        self.dropout.step = step


cdef class Data:
    """X as the passes read it: a matrix, or what has its rows as lists (fastbp/sparse.py)."""
    cdef const real[:, ::1] matrix
    cdef const Py_ssize_t[::1] starts
    cdef const int32_t[::1] index
    cdef const real[::1] values
    cdef Input x
    cdef readonly Py_ssize_t n

    def __init__(self, X):
        starts = getattr(X, "starts", None)
        if starts is None:
            self.matrix = X
            self.n = self.matrix.shape[0]
            self.x = dense_input(&self.matrix[0, 0], self.matrix.shape[1])
            return
        self.starts, self.index, self.values = starts, X.index, X.values
        self.n = self.starts.shape[0] - 1
        self.x = dense_input(&self.values[0], 0)
        self.x.starts, self.x.index = &self.starts[0], &self.index[0]

    cdef int check(self, const Plan *plan) except -1:
        """Refuse lists for a plan that reads a matrix, and a matrix for one that reads lists."""
        if plan.reads_lists != (self.x.starts != NULL):
            raise TypeError("X is of another kind than the network was compiled for")
        return 0


cdef class Work:
    """Memory for passes over at most `cap` rows of X at a time."""
    cdef Block block, lists
    cdef Rows rows

    def __cinit__(self, CompiledNetwork net, Data X):
        cdef const Plan *p = &net.plan
        cdef Py_ssize_t cap = chunk(p, X.n), room
        cdef size_t of_batch
        X.check(p)
        self.block = Block(work_bytes(p, cap))
        lay_out(p, cap, self.block.data, &self.rows)
        if p.reads_lists:
            room = most_listed(&X.x, X.n, cap)
            of_batch = <size_t>lists_bytes(p, room)
            self.lists = Block(of_batch + columns_bytes(p, cap, room))
            lay_out_lists(p, room, self.lists.data, &self.rows)
            lay_out_columns(p, cap, room, <char *>self.lists.data + of_batch, &self.rows)


cdef const Dropout *dropout_of(Masks masks) noexcept:
    return NULL if masks is None else &masks.dropout


cdef Targets targets_of(const real[:, ::1] Y, const Py_ssize_t[::1] labels,
                        const real[::1] weight, bint missing=False) noexcept:
    cdef Targets t
    t.Y = <const void *>&Y[0, 0] if Y is not None else NULL
    t.labels = &labels[0] if labels is not None else NULL
    t.weight = <const void *>&weight[0] if weight is not None else NULL
    t.order = NULL
    t.missing = missing
    return t


def is_finite(x not None):
    """Whether no element of an array in one piece, of this build's type, is NaN or infinite.

    By its buffer: a memoryview of it takes twice as long as a look at few elements.
    """
    cdef Py_buffer view
    cdef bint answer
    PyObject_GetBuffer(x, &view, PyBUF_SIMPLE)
    with nogil:
        answer = all_finite(<const real *>view.buf, view.len / <Py_ssize_t>sizeof(real))
    PyBuffer_Release(&view)
    return answer


cdef int give_rows(const Rows *r, Py_ssize_t s, const real *z, Py_ssize_t row, Py_ssize_t n,
                   real[:, ::1] out) except -1:
    copy_rows(z, row, &out[s, 0], n, r.m, n)
    return 0


cdef int give_values(const Rows *r, const Input *X, Py_ssize_t s, const real *z,
                     real[::1] out) except -1:
    memcpy(&out[X.starts[s]], z, r.starts[r.m] * sizeof(real))
    return 0


cdef int give(const Plan *p, const Rows *r, const Input *X, Py_ssize_t s, int l, const real *z,
              Py_ssize_t row, Py_ssize_t n, out) except -1:
    """Copy what rows s, s + 1, ... have of layer l, n columns or its elements.        out  # OUT"""
    if l < p.n_lists:
        return give_values(r, X, s, z, out)
    return give_rows(r, s, z, row, n, out)


cdef int give_slopes(const Plan *p, const Rows *r, const Input *X, Py_ssize_t s, out) except -1:
    """Copy what `backward` left of dC/dx of rows s, s + 1, ...                      out  # OUT"""
    if p.reads_lists:
        return give_values(r, X, s, r.slopes + p.n_lists * r.room, out)
    return give_rows(r, s, rows_of(r, p.g_at, p.g_row), p.g_row, p.n_0, out)


def predict(CompiledNetwork net, const real[::1] parameters, X,
            real[:, ::1] out):
    """out = a^L   (n, n_L)."""
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    with nogil:
        forward_rows(&net.plan, &parameters[0], &data.x, data.n, &out[0, 0], &work.rows)


def feedforward(CompiledNetwork net, const real[::1] parameters, X, list zs,
                list activations):
    """zs[l] = z^l (n, n_z) and activations[l] = a^l (n, n_a) of every layer but the input.

    Where a layer gives lists, the values of their elements.
    """
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input x
    cdef const Layer *f
    cdef Py_ssize_t s = 0, n = data.n
    cdef int l
    while s < n:
        r.m = min(r.cap, n - s)
        with nogil:
            x = input_rows(p, &data.x, s, r)
            forward(p, &parameters[0], False, &x, r, KEEP_Z)
        for l in range(p.n_layers):
            f = &p.layers[l]
            x = output_of(p, r, l, &x)
            give(p, r, &data.x, s, l, z_of(p, r, l), f.z_row, f.n_z, zs[l])
            give(p, r, &data.x, s, l, x.a, x.row, f.n_a, activations[l])
        s += r.m


def costs(CompiledNetwork net, const real[::1] parameters, X,
          const real[:, ::1] Y, const Py_ssize_t[::1] labels, real[::1] out, Masks masks=None,
          bint missing=False):
    """out = C_x of every sample   (n,)."""
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input a
    cdef Targets targets = targets_of(Y, labels, None, missing)
    cdef Py_ssize_t s = 0, n = data.n
    r.dropout = dropout_of(masks)
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            r.batch_row = s
            a = input_rows(p, &data.x, s, r)
            forward(p, &parameters[0], False, &a, r, gradient_mode(p))
            output_error(p, &targets, s, r, 1.0)
            memcpy(&out[s], r.C, r.m * sizeof(real))
            s += r.m


def outputs_and_costs(CompiledNetwork net, const real[:, :] parameters, X,
                      const real[:, ::1] Y, const Py_ssize_t[::1] labels, real[:, :, ::1] out,
                      real[:, ::1] C, bint missing=False, const Py_ssize_t[::1] rows=None):
    """out = a^L   (k, n, n_L) and C = C_x of every sample   (k, n), by k parameter vectors, each
    from one pass. `rows` (n,): those of a dense X that the samples are, in the place of all."""
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input x
    cdef const Layer *f = &p.layers[p.n_layers - 1]
    cdef Targets targets = targets_of(Y, labels, None, missing)
    cdef Py_ssize_t i, s, n = out.shape[1]
    if rows is not None:
        targets.order = &rows[0]
    with nogil:
        for i in range(parameters.shape[0]):
            s = 0
            while s < n:
                r.m = min(r.cap, n - s)
                if targets.order == NULL:
                    x = input_rows(p, &data.x, s, r)
                else:
                    x = batch_rows(p, &data.x, targets.order, s, r, False)
                # neither slopes nor an output left to the cost: what it makes of delta nobody reads
                forward(p, &parameters[i, 0], False, &x, r, KEEP_Z)
                copy_rows(rows_of(r, f.a_at, f.a_row), f.a_row, &out[i, s, 0], f.n_a, r.m, f.n_a)
                output_error(p, &targets, s, r, 1.0)
                memcpy(&C[i, s], r.C, r.m * sizeof(real))
                s += r.m


def perturbed_costs(CompiledNetwork net, real[::1] parameters, X,
                    const real[:, ::1] Y, const Py_ssize_t[::1] labels,
                    const Py_ssize_t[::1] index, const real[::1] instead,
                    real[:, ::1] out, Masks masks=None, bint missing=False):
    """out[i] = C_x of every sample with parameters[index[i]] = instead[i]   (k, n).

    Each value is put into `parameters`, which must be nobody else's, and taken out again.
    """
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input a
    cdef Targets targets = targets_of(Y, labels, None, missing)
    cdef Py_ssize_t i, s, n = data.n
    cdef real kept
    r.dropout = dropout_of(masks)
    with nogil:
        for i in range(index.shape[0]):
            kept = parameters[index[i]]
            parameters[index[i]] = instead[i]
            s = 0
            while s < n:
                r.m = min(r.cap, n - s)
                r.batch_row = s
                a = input_rows(p, &data.x, s, r)
                forward(p, &parameters[0], False, &a, r, gradient_mode(p))
                output_error(p, &targets, s, r, 1.0)
                memcpy(&out[i, s], r.C, r.m * sizeof(real))
                s += r.m
            parameters[index[i]] = kept


def deltas(CompiledNetwork net, const real[::1] parameters, X,
           const real[:, ::1] Y, const Py_ssize_t[::1] labels, list out, Masks masks=None,
           bint missing=False):
    """out[l] = delta^l = dC_x/dz^l   (n, n_z), or of the elements of lists."""
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input a
    cdef const Layer *f
    cdef Targets targets = targets_of(Y, labels, None, missing)
    cdef Py_ssize_t s = 0, n = data.n
    cdef int l
    r.dropout = dropout_of(masks)
    while s < n:
        r.m = min(r.cap, n - s)
        with nogil:
            r.batch_row = s
            a = input_rows(p, &data.x, s, r)
            forward(p, &parameters[0], False, &a, r, gradient_mode(p))
            output_error(p, &targets, s, r, 1.0)
            backward(p, &parameters[0], False, &a, r, False)
        for l in range(p.n_layers):
            f = &p.layers[l]
            give(p, r, &data.x, s, l, delta_of(p, r, l), f.z_row, f.n_z, out[l])
        s += r.m


def gradient(CompiledNetwork net, const real[::1] parameters, X,
             const real[:, ::1] Y, const Py_ssize_t[::1] labels, const real[::1] weight,
             double scale, real[::1] out, Masks masks=None, bint missing=False, real[::1] C=None):
    """out = scale * sum_x w_x nabla C_x, in the layout of parameters, and C = C_x   (n,)."""
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Block padded = Block(<double>net.plan.n_padded * sizeof(real))
    cdef Targets targets = targets_of(Y, labels, weight, missing)
    work.rows.dropout = dropout_of(masks)
    with nogil:
        gradient_rows(&net.plan, &parameters[0], &data.x, &targets, scale, data.n,
                      <real *>padded.data, &out[0], &C[0] if C is not None else NULL, &work.rows)


def mask(Masks masks, int l, real[:, ::1] out):
    """out = what a^l of each row of a batch is multiplied by   (n, n_l)."""
    cdef Py_ssize_t n = out.shape[0], width = out.shape[1]
    out[:, :] = 1
    with nogil:
        drop(&masks.dropout, l, 0, n, width, width, &out[0, 0], NULL)


def input_gradient(CompiledNetwork net, const real[::1] parameters, X,
                   const real[:, ::1] Y, const Py_ssize_t[::1] labels, out):
    """out = dC_x/dx   (n, n_0), or of the elements of lists."""
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input x
    cdef Targets targets = targets_of(Y, labels, None)
    cdef Py_ssize_t s = 0, n = data.n
    while s < n:
        r.m = min(r.cap, n - s)
        with nogil:
            x = input_rows(p, &data.x, s, r)
            forward(p, &parameters[0], False, &x, r, gradient_mode(p))
            output_error(p, &targets, s, r, 1.0)
            backward(p, &parameters[0], False, &x, r, True)
        give_slopes(p, r, &data.x, s, out)
        s += r.m


cdef void pull_output(const Plan *p, const real *V, Py_ssize_t V_row, const Rows *r) noexcept nogil:
    # delta^L = J^T V, row by row, after a forward pass that left every slope     g, delta^L  # OUT
    cdef const Layer *f = &p.layers[p.n_layers - 1]
    cdef real *delta = rows_of(r, f.delta_at, f.z_row)
    cdef real *g = rows_of(r, p.g_at, p.g_row)
    cdef Py_ssize_t s, j
    copy_rows(V, V_row, g, p.g_row, r.m, f.n_a)
    f.sigma.vjp(f, rows_of(r, f.z_at, f.z_row), rows_of(r, f.a_at, f.a_row), g, p.g_row, r.m, delta,
                f.z_row)
    for s in range(r.m):
        for j in range(f.n_z, f.z_row):
            delta[s * f.z_row + j] = <real>0


cdef void pull_back(const Plan *p, const real *parameters, const Input *X, const real *V,
                    Py_ssize_t V_row, const Rows *r) noexcept nogil:
    # g = V da^L/dx, row by row, after a forward pass that left every slope                 g  # OUT
    pull_output(p, V, V_row, r)
    backward(p, parameters, False, X, r, True)


def vjp(CompiledNetwork net, const real[::1] parameters, X,
        const real[:, ::1] V, out):
    """out = V da^L/dx, row by row   (n, n_0), or of the elements of lists; V (n, n_L)."""
    cdef Data data = Data(X)
    cdef Work work = Work(net, data)
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input x
    cdef Py_ssize_t s = 0, n = data.n, n_L = V.shape[1]
    while s < n:
        r.m = min(r.cap, n - s)
        with nogil:
            x = input_rows(p, &data.x, s, r)
            forward(p, &parameters[0], False, &x, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
            pull_back(p, &parameters[0], &x, &V[s, 0], n_L, r)
        give_slopes(p, r, &data.x, s, out)
        s += r.m


def jacobian(CompiledNetwork net, const real[::1] parameters, const real[:, ::1] X,
             real[:, :, ::1] out):
    """out = da^L/dx   (n, n_L, n_0), one row of every sample's matrix at a time."""
    cdef Work work = Work(net, Data(X))
    cdef Rows *r = &work.rows
    cdef const Plan *p = &net.plan
    cdef Input x
    cdef Py_ssize_t s = 0, k, n = X.shape[0], n_L = out.shape[1]
    cdef Block unit = Block(<double>n_L * sizeof(real))
    cdef Block slopes = Block(<double>r.cap * p.width * sizeof(real))
    cdef real *e = <real *>unit.data
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            x = dense_input(&X[s, 0], p.n_0)
            forward(p, &parameters[0], False, &x, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
            memcpy(slopes.data, r.work, r.cap * p.width * sizeof(real))
            for k in range(n_L):
                if k > 0:  # delta took their place
                    memcpy(r.work, slopes.data, r.cap * p.width * sizeof(real))
                e[k] = <real>1
                pull_back(p, &parameters[0], &x, e, 0, r)
                e[k] = <real>0
                copy_rows(rows_of(r, p.g_at, p.g_row), p.g_row, &out[s, k, 0], n_L * p.n_0, r.m,
                          p.n_0)
            s += r.m


def jvp(CompiledNetwork net, const real[::1] parameters, X, V, real[:, ::1] out):
    """out = da^L/dx V, row by row   (n, n_L); V (n, n_0), lists where X has such."""
    cdef Data data = Data(X), tangents = Data(V)
    cdef Work work = Work(net, data), of_V = Work(net, tangents)
    cdef Rows *r = &work.rows
    cdef Rows *v = &of_V.rows
    cdef const Plan *p = &net.plan
    cdef Input x
    cdef const Layer *f
    cdef real *dz
    cdef real *g
    cdef Py_ssize_t s = 0, n = data.n, n_L = out.shape[1]
    cdef int l
    with nogil:
        while s < n:
            r.m = min(r.cap, n - s)
            v.m = r.m
            x = input_rows(p, &data.x, s, r)
            forward(p, &parameters[0], False, &x, r, HIDDEN_SLOPES | OUTPUT_SLOPES)
            g = rows_of(r, p.g_at, p.g_row)
            x = input_rows(p, &tangents.x, s, v)
            for l in range(p.n_layers):
                # dz^l = dz/da da^{l-1}, da^l = J dz^l
                f = &p.layers[l]
                if l < p.n_lists:
                    f.link.tangent(f, &parameters[0], &x, r.m, z_of(p, v, l), NULL)
                    x = output_of(p, v, l, &x)
                    continue
                # in the place of a^l, which an elementwise J does not need
                dz = rows_of(r, f.a_at if f.delta_at == f.z_at else f.delta_at, f.z_row)
                f.link.tangent(f, &parameters[0], &x, r.m, dz, <real *>r.scratch)
                f.sigma.jvp(f, rows_of(r, f.z_at, f.z_row), rows_of(r, f.a_at, f.a_row), dz,
                            f.z_row, r.m, g, p.g_row)
                x = dense_input(g, p.g_row)
            copy_rows(g, p.g_row, &out[s, 0], n_L, r.m, n_L)
            s += r.m
