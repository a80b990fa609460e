# The passes over a network's layers: forward, output error (BP1), backward (BP2), gradient (BP3,
# BP4).
#
# What belongs here: which kernel runs for which layer, on which rows of the work area. What does
# not: mathematics (the .pxd files), epochs and threads (training.pxi), Python objects (engine.pyx).
#
# The work area for `cap` rows is one block of cap * plan.width reals: a^0, then z^l, a^l, delta^l
# for each layer, then g (dC/da of the layer at hand). Every row is padded to 64 bytes. In a hidden
# elementwise layer one place holds z, then sigma'(z), then delta: the product that makes delta
# multiplies into it (12 % of a step of case D in bench/compare.py).

cdef enum Activation:
    # elementwise
    IDENTITY
    SIGMOID
    TANH
    RELU
    LEAKY_RELU
    ELU
    SELU
    GELU
    GELU_TANH
    SILU
    MISH
    SOFTPLUS
    SOFTSIGN
    HARDTANH
    EXP
    # coupled
    SOFTMAX
    LOG_SOFTMAX
    LAYER_NORM
    MAXOUT
    GLU

cdef enum Cost:
    QUADRATIC
    MSE
    MAE
    HUBER
    LOG_COSH
    BINARY_CROSS_ENTROPY
    CROSS_ENTROPY
    KL
    HINGE
    SQUARED_HINGE
    POISSON
    PINBALL
    GAUSSIAN_NLL

ACTIVATIONS = {
    "identity": IDENTITY, "sigmoid": SIGMOID, "tanh": TANH, "relu": RELU, "leaky_relu": LEAKY_RELU,
    "elu": ELU, "selu": SELU, "gelu": GELU, "gelu_tanh": GELU_TANH, "silu": SILU, "mish": MISH,
    "softplus": SOFTPLUS, "softsign": SOFTSIGN, "hardtanh": HARDTANH, "exp": EXP,
    "softmax": SOFTMAX, "log_softmax": LOG_SOFTMAX, "layer_norm": LAYER_NORM, "maxout": MAXOUT,
    "glu": GLU}
COSTS = {
    "quadratic": QUADRATIC, "mse": MSE, "mae": MAE, "huber": HUBER, "log_cosh": LOG_COSH,
    "binary_cross_entropy": BINARY_CROSS_ENTROPY, "cross_entropy": CROSS_ENTROPY, "kl": KL,
    "hinge": HINGE, "squared_hinge": SQUARED_HINGE, "poisson": POISSON, "pinball": PINBALL,
    "gaussian_nll": GAUSSIAN_NLL}

cdef struct Layer:
    int activation
    double p                          # the activation's parameter
    Py_ssize_t n_in, n_z, n_a         # widths
    Py_ssize_t z_row, a_row           # the same, padded
    # where the batch's matrices begin, in units of cap; hidden and elementwise: delta_at = z_at
    Py_ssize_t z_at, a_at, delta_at
    Py_ssize_t W, b                   # where W and b begin in `parameters`, rows of W n_z apart
    Py_ssize_t W_padded, b_padded     # and in the trainer's padded copy, rows z_row apart

cdef struct Plan:
    int n_layers, cost
    bint is_double
    bint canonical                    # output activation and cost have a fused output error
    double cost_p
    Py_ssize_t n_0, n_y               # columns of X and of Y (gaussian_nll: half the outputs)
    Py_ssize_t a0_row, width, g_at, g_row, widest
    Py_ssize_t n_parameters, n_padded
    Layer *layers

cdef enum:
    KEEP_Z = 0          # forward leaves z
    HIDDEN_SLOPES = 1   # forward leaves sigma'(z) in place of z in elementwise hidden layers
    OUTPUT_SLOPES = 2   # and in the output layer
    LEAVE_OUTPUT = 4    # z^L is all that is asked for: the cost makes a^L itself


cdef struct Rows:
    # Rows [first, first + m) of a work area of `cap` rows: one thread's share of a batch.
    void *work
    Py_ssize_t cap, first, m
    const Dropout *dropout  # of training, or frozen for a question; NULL: nothing is dropped
    Py_ssize_t batch_row    # the batch's number of the first row: masks go by it
    void *C             # the cost of each of the cap samples
    void *scratch       # this thread's: a panel of W^T, then rows for y, C_j and dC/da


cdef inline Py_ssize_t scratch_size(const Plan *plan) noexcept nogil:
    return PANEL * plan.widest + 4 * plan.widest


cdef inline real *rows_of(const Rows *r, Py_ssize_t at, Py_ssize_t row, real *kind) noexcept nogil:
    """The share's rows of the matrix that begins at cap * at and has rows of `row` reals."""
    return <real *>r.work + r.cap * at + r.first * row


cdef inline bint is_elementwise(const Layer *layer) noexcept nogil:
    return layer.activation < SOFTMAX


cdef inline bint leaves_slope(const Plan *plan, int l, int mode) noexcept nogil:
    if not is_elementwise(&plan.layers[l]):
        return False
    return (mode & OUTPUT_SLOPES) != 0 if l == plan.n_layers - 1 else (mode & HIDDEN_SLOPES) != 0


cdef inline void apply(elementwise *tag, real *z, real p, Py_ssize_t n, bint slopes,
                       real *a) noexcept nogil:
    if slopes:
        values_and_slopes(tag, z, p, n, a)
    else:
        values(tag, z, p, n, a)


cdef void activate(const Layer *f, real *z, Py_ssize_t m, bint slopes, real *a) noexcept nogil:
    # a = sigma(z)   (m, n_a); with `slopes` z <- sigma'(z)                              z, a  # OUT
    cdef Py_ssize_t s, n = m * f.z_row
    cdef int kind = f.activation
    cdef real p = <real>f.p
    if kind == IDENTITY:
        apply(<Identity *>NULL, z, p, n, slopes, a)
    elif kind == SIGMOID:
        apply(<Sigmoid *>NULL, z, p, n, slopes, a)
    elif kind == TANH:
        apply(<Tanh *>NULL, z, p, n, slopes, a)
    elif kind == RELU:
        apply(<Relu *>NULL, z, p, n, slopes, a)
    elif kind == LEAKY_RELU:
        apply(<LeakyRelu *>NULL, z, p, n, slopes, a)
    elif kind == ELU:
        apply(<Elu *>NULL, z, p, n, slopes, a)
    elif kind == SELU:
        apply(<Selu *>NULL, z, p, n, slopes, a)
    elif kind == GELU:
        apply(<Gelu *>NULL, z, p, n, slopes, a)
    elif kind == GELU_TANH:
        apply(<GeluTanh *>NULL, z, p, n, slopes, a)
    elif kind == SILU:
        apply(<Silu *>NULL, z, p, n, slopes, a)
    elif kind == MISH:
        apply(<Mish *>NULL, z, p, n, slopes, a)
    elif kind == SOFTPLUS:
        apply(<Softplus *>NULL, z, p, n, slopes, a)
    elif kind == SOFTSIGN:
        apply(<Softsign *>NULL, z, p, n, slopes, a)
    elif kind == HARDTANH:
        apply(<Hardtanh *>NULL, z, p, n, slopes, a)
    elif kind == EXP:
        apply(<Exp *>NULL, z, p, n, slopes, a)
    elif kind == SOFTMAX:
        softmax(z, p, m, f.n_a, f.a_row, a)
    else:
        for s in range(m):
            if kind == LOG_SOFTMAX:
                log_softmax(z + s * f.z_row, f.n_a, a + s * f.a_row)
            elif kind == LAYER_NORM:
                layer_norm(z + s * f.z_row, p, f.n_a, a + s * f.a_row)
            elif kind == MAXOUT:
                maxout(z + s * f.z_row, <Py_ssize_t>f.p, f.n_a, a + s * f.a_row)
            else:
                glu(z + s * f.z_row, f.n_a, a + s * f.a_row)


cdef void transpose_jacobian(const Layer *f, const real *z, const real *a, const real *g,
                             Py_ssize_t g_row, Py_ssize_t m, real *delta) noexcept nogil:
    # delta = J^T g   (m, n_z); elementwise: z holds sigma'(z), delta = g * that        delta  # OUT
    cdef Py_ssize_t s, j
    cdef const real *z_s
    cdef const real *a_s
    cdef const real *g_s
    cdef real *delta_s
    for s in range(m):
        z_s = z + s * f.z_row
        a_s = a + s * f.a_row
        g_s = g + s * g_row
        delta_s = delta + s * f.z_row
        if is_elementwise(f):
            for j in range(f.z_row):
                delta_s[j] = g_s[j] * z_s[j]
        elif f.activation == SOFTMAX:
            softmax_product(a_s, <real>f.p, g_s, f.n_a, delta_s)
        elif f.activation == LOG_SOFTMAX:
            log_softmax_vjp(a_s, g_s, f.n_a, delta_s)
        elif f.activation == LAYER_NORM:
            layer_norm_product(z_s, <real>f.p, g_s, f.n_a, delta_s)
        elif f.activation == MAXOUT:
            maxout_vjp(z_s, g_s, <Py_ssize_t>f.p, f.n_a, delta_s)
        else:
            glu_vjp(z_s, g_s, f.n_a, delta_s)


cdef void apply_jacobian(const Layer *f, const real *z, const real *a, const real *dz, Py_ssize_t m,
                         real *da, Py_ssize_t da_row) noexcept nogil:
    # da = J dz  (m, n_a); elementwise: z holds sigma'(z)                                  da  # OUT
    cdef Py_ssize_t s, j
    cdef const real *z_s
    cdef const real *a_s
    cdef const real *dz_s
    cdef real *da_s
    for s in range(m):
        z_s = z + s * f.z_row
        a_s = a + s * f.a_row
        dz_s = dz + s * f.z_row
        da_s = da + s * da_row
        if is_elementwise(f):
            for j in range(f.z_row):
                da_s[j] = dz_s[j] * z_s[j]
        elif f.activation == SOFTMAX:
            softmax_product(a_s, <real>f.p, dz_s, f.n_a, da_s)
        elif f.activation == LOG_SOFTMAX:
            log_softmax_jvp(a_s, dz_s, f.n_a, da_s)
        elif f.activation == LAYER_NORM:
            layer_norm_product(z_s, <real>f.p, dz_s, f.n_a, da_s)
        elif f.activation == MAXOUT:
            maxout_jvp(z_s, dz_s, <Py_ssize_t>f.p, f.n_a, da_s)
        else:
            glu_jvp(z_s, dz_s, f.n_a, da_s)


cdef void costs_of(int kind, const real *x, const real *y, real p, Py_ssize_t n, real *term,
                   real *slope) noexcept nogil:
    """C_j and dC/da_j of n outputs from the activations x; gaussian_nll: of one sample.

    term, slope  # OUT
    """
    if kind == QUADRATIC:
        costs_and_slopes(<Quadratic *>NULL, x, y, p, n, term, slope)
    elif kind == MSE:
        costs_and_slopes(<MeanSquared *>NULL, x, y, p, n, term, slope)
    elif kind == MAE:
        costs_and_slopes(<Absolute *>NULL, x, y, p, n, term, slope)
    elif kind == HUBER:
        costs_and_slopes(<Huber *>NULL, x, y, p, n, term, slope)
    elif kind == LOG_COSH:
        costs_and_slopes(<LogCosh *>NULL, x, y, p, n, term, slope)
    elif kind == BINARY_CROSS_ENTROPY:
        costs_and_slopes(<BinaryCrossEntropy *>NULL, x, y, p, n, term, slope)
    elif kind == CROSS_ENTROPY:
        costs_and_slopes(<CrossEntropy *>NULL, x, y, p, n, term, slope)
    elif kind == KL:
        costs_and_slopes(<KullbackLeibler *>NULL, x, y, p, n, term, slope)
    elif kind == HINGE:
        costs_and_slopes(<Hinge *>NULL, x, y, p, n, term, slope)
    elif kind == SQUARED_HINGE:
        costs_and_slopes(<SquaredHinge *>NULL, x, y, p, n, term, slope)
    elif kind == POISSON:
        costs_and_slopes(<Poisson *>NULL, x, y, p, n, term, slope)
    elif kind == PINBALL:
        costs_and_slopes(<Pinball *>NULL, x, y, p, n, term, slope)
    else:
        gaussian_nll(x, y, n / 2, term, slope)


cdef inline bint is_separable(const Plan *plan) noexcept nogil:
    """Whether delta^L_j and C_j depend on z_j and y_j alone."""
    return is_elementwise(&plan.layers[plan.n_layers - 1]) and plan.cost != GAUSSIAN_NLL


cdef struct Targets:
    # Y dense (n, n_y), or class indices (n,) of which sample i's row is made: `on` at its class
    const void *Y
    const Py_ssize_t *labels
    const Py_ssize_t *order     # sample s of the batch is row order[s]; NULL: row s
    const void *weight          # one a sample, or NULL
    bint missing                # NaN in Y stands for no target: no cost and no error there


cdef inline Py_ssize_t target_index(const Targets *t, Py_ssize_t s) noexcept nogil:
    return s if t.order == NULL else t.order[s]


cdef inline const real *target_row(const Plan *plan, const Targets *t, Py_ssize_t i,
                                   real *y) noexcept nogil:
    cdef Py_ssize_t j
    if t.labels == NULL:
        return <const real *>t.Y + i * plan.n_y
    for j in range(plan.n_y):
        y[j] = <real>-1 if plan.cost == HINGE or plan.cost == SQUARED_HINGE else <real>0
    y[t.labels[i]] = <real>1
    return y


cdef void forward(const Plan *plan, const real *parameters, bint padded, const real *X,
                  Py_ssize_t X_row, const Rows *r, int mode) noexcept nogil:
    # z^l = a^{l-1} W^l + b^l, a^l = sigma(z^l) for l = 1..L                             work  # OUT
    cdef const real *a = X
    cdef const real *W
    cdef const real *b
    cdef Py_ssize_t a_row = X_row
    cdef const Layer *f
    cdef real *z
    cdef real *a_next
    cdef int l
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        W = parameters + (f.W_padded if padded else f.W)
        b = parameters + (f.b_padded if padded else f.b)
        z = rows_of(r, f.z_at, f.z_row, <real *>NULL)
        a_next = rows_of(r, f.a_at, f.a_row, <real *>NULL)
        weighted_input(a, a_row, W, f.z_row if padded else f.n_z, b, z, f.z_row, r.m, f.n_in, f.n_z,
                       <real *>r.scratch)
        if l < plan.n_layers - 1 or not mode & LEAVE_OUTPUT:
            activate(f, z, r.m, leaves_slope(plan, l, mode), a_next)
        if r.dropout != NULL and l < plan.n_layers - 1:
            # with the slope, delta needs nothing more: da/dz of what is passed on
            drop(r.dropout, l + 1, r.batch_row, r.m, f.n_a, f.a_row, a_next,
                 z if leaves_slope(plan, l, mode) else <real *>NULL)
        a = a_next
        a_row = f.a_row


cdef const real *input_rows(const Plan *plan, const real *X, const Rows *r,
                            Py_ssize_t *a_row) noexcept nogil:
    """a^0 of the rows: X itself, or its copy with what is dropped."""
    cdef real *a = rows_of(r, 0, plan.a0_row, <real *>NULL)
    a_row[0] = plan.n_0
    if r.dropout == NULL or r.dropout.rates[0] == 0.0:
        return X
    a_row[0] = plan.a0_row
    copy_rows(X, plan.n_0, a, plan.a0_row, r.m, plan.n_0)
    drop(r.dropout, 0, r.batch_row, r.m, plan.n_0, plan.a0_row, a, <real *>NULL)
    return a


cdef inline int gradient_mode(const Plan *plan) noexcept nogil:
    """What `forward` must leave for `output_error` and `backward`."""
    return HIDDEN_SLOPES | (LEAVE_OUTPUT if plan.canonical else OUTPUT_SLOPES)


cdef void softmax_output_error(const Plan *plan, const Targets *targets, Py_ssize_t first,
                               const Rows *r, const real *kind) noexcept nogil:
    # BP1 of softmax with cross_entropy or kl, all rows of the batch at once       delta^L, C  # OUT
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef real *a = rows_of(r, f.a_at, f.a_row, <real *>NULL)
    cdef real *delta = rows_of(r, f.delta_at, f.z_row, <real *>NULL)
    cdef real *log_sum = rows_of(r, plan.g_at, plan.g_row, <real *>NULL)
    cdef real *C = <real *>r.C + r.first
    cdef real c = <real>f.p, total
    cdef const real *y
    cdef Py_ssize_t s, i, j, whole
    softmax_shift(rows_of(r, f.z_at, f.z_row, <real *>NULL), c, r.m, f.n_a, f.a_row, a)
    for s in range(r.m):
        i = target_index(targets, first + s)
        if targets.labels != NULL:  # y is 1 at the class: no row of it is made
            C[s] = -a[s * f.a_row + targets.labels[i]]
        else:
            C[s] = cost_of_shifted(a + s * f.a_row, <const real *>targets.Y + i * plan.n_y,
                                   plan.cost == KL, f.n_a)
    values(<Exp *>NULL, a, <real>0, r.m * f.a_row, a)
    for s in range(r.m):
        log_sum[s] = softmax_scale(a + s * f.a_row, f.a_row)
    whole = (r.m + lanes(a) - 1) / lanes(a) * lanes(a)
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
                                 const Rows *r, const real *kind) noexcept nogil:
    # BP1 where only k = j survives, all rows: delta_j = dC/da_j sigma'(z_j)      delta^L, C  # OUT
    # whole padded rows, so that nothing has a tail: 15 % of a step of case E in bench/compare.py
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef const real *z = rows_of(r, f.z_at, f.z_row, <real *>NULL)
    cdef const real *a = rows_of(r, f.a_at, f.a_row, <real *>NULL)
    cdef real *delta = rows_of(r, f.delta_at, f.z_row, <real *>NULL)
    cdef real *term = rows_of(r, plan.g_at, plan.g_row, <real *>NULL)  # at first y
    cdef real *C = <real *>r.C + r.first
    cdef const real *y
    cdef Py_ssize_t s, j, n = r.m * f.z_row
    memset(term, 0, n * sizeof(real))
    for s in range(r.m):
        y = target_row(plan, targets, target_index(targets, first + s), term + s * f.z_row)
        for j in range(f.n_a):
            term[s * f.z_row + j] = y[j]
    if not plan.canonical:
        costs_of(plan.cost, a, term, <real>plan.cost_p, n, term, delta)
        for j in range(n):
            delta[j] = delta[j] * z[j]
    elif f.activation == SIGMOID:
        costs_and_slopes(<SigmoidBinaryCrossEntropy *>NULL, z, term, <real>0, n, term, delta)
    else:
        costs_and_slopes(<ExpPoisson *>NULL, z, term, <real>0, n, term, delta)
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
                               const Rows *r, const real *kind) noexcept nogil:
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
        z = rows_of(r, f.z_at, f.z_row, <real *>NULL) + s * f.z_row
        a = rows_of(r, f.a_at, f.a_row, <real *>NULL) + s * f.a_row
        costs_of(plan.cost, a, y, <real>plan.cost_p, f.n_a, term, g)
        C[s] = row_sum(term, plan.n_y if plan.cost == GAUSSIAN_NLL else f.n_a)
        transpose_jacobian(f, z, a, g, f.a_row, 1,
                           rows_of(r, f.delta_at, f.z_row, <real *>NULL) + s * f.z_row)


cdef void output_error(const Plan *plan, const Targets *targets, Py_ssize_t first, const Rows *r,
                       double scale, const real *kind) noexcept nogil:
    # BP1: delta^L = J^T dC/da   (m, n_z), times w_s * scale; C_s unweighted       delta^L, C  # OUT
    # the batch's sample s is row first + s of the targets (by way of order)
    cdef const Layer *f = &plan.layers[plan.n_layers - 1]
    cdef real *delta = rows_of(r, f.delta_at, f.z_row, <real *>NULL)
    cdef real *mask = <real *>r.scratch + PANEL * plan.widest
    cdef real w
    cdef Py_ssize_t s, j
    if is_separable(plan):
        separable_output_error(plan, targets, first, r, kind)
    elif plan.canonical:
        softmax_output_error(plan, targets, first, r, kind)
    else:
        coupled_output_error(plan, targets, first, r, kind)
    for j in range(f.z_row):  # the padding becomes 0
        mask[j] = <real>1 if j < f.n_z else <real>0
    for s in range(r.m):
        w = <real>scale
        if targets.weight != NULL:
            w = <real>((<const real *>targets.weight)[target_index(targets, first + s)] * scale)
        for j in range(f.z_row):
            delta[s * f.z_row + j] = delta[s * f.z_row + j] * (w * mask[j])


cdef void backward(const Plan *plan, const real *parameters, bint padded, const Rows *r,
                   bint to_input) noexcept nogil:
    # BP2: delta^l = J_l^T (delta^{l+1} W^{l+1}^T) for l = L-1..1      delta^l  # OUT
    # with to_input also g = delta^1 W^1^T = dC/dx                     g        # OUT
    cdef const Layer *f
    cdef const Layer *before
    cdef const real *W
    cdef real *g = rows_of(r, plan.g_at, plan.g_row, <real *>NULL)
    cdef int l = plan.n_layers - 1
    cdef bint fused, drops
    cdef real *z
    cdef real *a
    while l > 0 or (l == 0 and to_input):
        f = &plan.layers[l]
        W = parameters + (f.W_padded if padded else f.W)
        before = &plan.layers[l - 1] if l > 0 else NULL
        fused = before != NULL and before.delta_at == before.z_at  # delta^{l-1} = z's place * g
        propagate_back(rows_of(r, f.delta_at, f.z_row, <real *>NULL), f.z_row, W,
                       f.z_row if padded else f.n_z, fused,
                       rows_of(r, before.z_at, before.z_row, <real *>NULL) if fused else g,
                       before.z_row if fused else plan.g_row, r.m, f.n_in, f.n_z,
                       <real *>r.scratch)
        if l > 0 and not fused:
            drops = r.dropout != NULL and r.dropout.rates[l] > 0.0
            z = rows_of(r, before.z_at, before.z_row, <real *>NULL)
            a = rows_of(r, before.a_at, before.a_row, <real *>NULL)
            if drops:  # J is that of a before it was masked
                drop(r.dropout, l, r.batch_row, r.m, before.n_a, plan.g_row, g, <real *>NULL)
                activate(before, z, r.m, False, a)
            transpose_jacobian(before, z, a, g, plan.g_row, r.m,
                               rows_of(r, before.delta_at, before.z_row, <real *>NULL))
            if drops:
                drop(r.dropout, l, r.batch_row, r.m, before.n_a, before.a_row, a, <real *>NULL)
        l -= 1


cdef void add_gradient(const Plan *plan, const real *X, Py_ssize_t X_row, const Rows *r,
                       int thread, int n_threads, bint anew, real *nabla) noexcept nogil:
    # BP3, BP4 of every layer, for this thread's rows of every W                       nabla  # OUT
    # added to the padded gradient, or `anew` in its place
    cdef const Layer *f
    cdef const real *a = X
    cdef Py_ssize_t a_row = X_row, vectors, first, last
    cdef real *delta
    cdef real *nabla_W
    cdef int l
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        delta = rows_of(r, f.delta_at, f.z_row, <real *>NULL)
        vectors = (f.n_z + lanes(X) - 1) / lanes(X)
        first = f.n_in * thread / n_threads
        last = f.n_in * (thread + 1) / n_threads
        nabla_W = nabla + f.W_padded + first * f.z_row
        if anew:
            memset(nabla_W, 0, (last - first) * f.z_row * sizeof(real))
        weight_gradient(a + first, a_row, delta, f.z_row, r.m, last - first, vectors, nabla_W,
                        f.z_row)
        if thread == n_threads - 1:
            if anew:
                memset(nabla + f.b_padded, 0, f.z_row * sizeof(real))
            bias_gradient(delta, f.z_row, r.m, vectors, nabla + f.b_padded)
        a = rows_of(r, f.a_at, f.a_row, <real *>NULL)
        a_row = f.a_row


cdef void pad(const Plan *plan, const real *flat, real *padded) noexcept nogil:
    """Copy parameters from their public layout to padded rows.                     padded  # OUT"""
    cdef const Layer *f
    cdef Py_ssize_t k
    cdef int l
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        for k in range(f.n_in):
            memcpy(padded + f.W_padded + k * f.z_row, flat + f.W + k * f.n_z,
                   f.n_z * sizeof(real))
        memcpy(padded + f.b_padded, flat + f.b, f.n_z * sizeof(real))


cdef void unpad(const Plan *plan, const real *padded, real *flat) noexcept nogil:
    """Copy padded rows to the public layout.                                         flat  # OUT"""
    cdef const Layer *f
    cdef Py_ssize_t k
    cdef int l
    for l in range(plan.n_layers):
        f = &plan.layers[l]
        for k in range(f.n_in):
            memcpy(flat + f.W + k * f.n_z, padded + f.W_padded + k * f.z_row,
                   f.n_z * sizeof(real))
        memcpy(flat + f.b, padded + f.b_padded, f.n_z * sizeof(real))


cdef void copy_rows(const real *source, Py_ssize_t source_row, real *target, Py_ssize_t target_row,
                    Py_ssize_t m, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t s
    for s in range(m):
        memcpy(target + s * target_row, source + s * source_row, n * sizeof(real))
