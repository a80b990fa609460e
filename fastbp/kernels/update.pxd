"""Optimizers: one policy each, applied to a tile of parameters beside the tile of their gradient.

What belongs here: W <- W - step, written once on vectors of the level, with the optimizer's slots
(velocity, moments) lying `slot` vectors behind W; at the end their table. What does not: forming
the gradient (links/), its norm (loop/steps.pxi), names and defaults (optimizers.py).

Adding an optimizer: a tag, a branch in `update_tile`, a row, where it needs one a number in `Step`
(tables.pxd), and a dataclass in optimizers.py.
"""
from libc.math cimport INFINITY, pow
from libc.math cimport sqrt as c_sqrt
from libc.stdint cimport int64_t
from libc.string cimport memcpy

from fastbp.kernels.arithmetic.real cimport (
    VECTOR_LANES, fma, fmadd, larger, real, root, sign, smaller, splat, vec)
from fastbp.kernels.tables cimport (
    Begin, Numbers, Own, Policy, Step, Tensor, UpdateLanes, UpdateTile)

cdef struct Sgd:
    char tag
cdef struct Momentum:
    char tag
cdef struct Nesterov:
    char tag
cdef struct Adam:
    char tag
cdef struct AdamW:
    char tag
cdef struct AmsGrad:
    char tag
cdef struct RmsProp:
    char tag
cdef struct RmsPropMomentum:
    char tag
cdef struct RmsPropCentered:
    char tag
cdef struct AdaGrad:
    char tag
cdef struct AdaDelta:
    char tag
cdef struct Lion:
    char tag

ctypedef fused policy:
    Sgd
    Momentum
    Nesterov
    Adam
    AdamW
    AmsGrad
    RmsProp
    RmsPropMomentum
    RmsPropCentered
    AdaGrad
    AdaDelta
    Lion


cdef inline void begin_step(Step *step, int64_t t) noexcept nogil:
    """Set what depends on the number t = 1, 2, ... of the step."""
    if step.policy.begin != NULL:
        step.policy.begin(step, t)
    set_scale(step, 1.0)


cdef inline void correct_bias(Step *step, int64_t t) noexcept nogil:
    step.bias1 = 1.0 - pow(step.beta1, <double>t)
    step.bias2 = 1.0 - pow(step.beta2, <double>t)
    if step.epsilon_hat > 0.0:  # Kingma & Ba 2015, end of section 2: what scikit-learn does
        step.epsilon = step.epsilon_hat / c_sqrt(step.bias2)


cdef inline void slow_down(Step *step, int64_t t) noexcept nogil:
    step.slow = 1.0 + (t - 1) * step.lr_decay


cdef inline void set_scale(Step *step, double scale) noexcept nogil:
    """Set what the gradient of this step is multiplied by: clipping by norm."""
    step.scale = scale
    step.shaped = step.clip_value != INFINITY or scale != 1.0


cdef inline Own numbers_of(const Step *step, const Tensor *t) noexcept nogil:
    """The step's numbers for one tensor: its learning rate, and what it decays by."""
    cdef Own own
    own.learning_rate = t.rate * step.learning_rate / step.slow
    own.weight_decay = t.decay * step.weight_decay
    own.l2 = t.decay * step.l2
    own.l1 = t.decay * step.l1
    own.shaped = step.shaped or own.l2 + own.l1 != 0.0
    own.zero_stays = step.policy.zero_stays and own.l2 + own.l1 + own.weight_decay == 0.0
    return own


cdef inline real keep_of(double learning_rate, double weight_decay) noexcept nogil:
    return <real>(1.0 - learning_rate * weight_decay)


cdef inline real root_bias2_of(double bias2) noexcept nogil:
    return <real>(1.0 / c_sqrt(bias2))


cdef inline real adam_rate_of(double learning_rate, double bias1) noexcept nogil:
    return <real>(learning_rate / bias1)


cdef inline Numbers numbers_in_vectors(const Step *step, const Own *own) noexcept nogil:
    """What a policy computes with. Of what it does not read, nothing is made where this is inlined.
    """
    cdef Numbers c
    c.minus_rate = splat(<real>(-own.learning_rate))
    c.l2 = splat(<real>own.l2)
    c.l1 = splat(<real>own.l1)
    c.least = splat(<real>(-step.clip_value))
    c.most = splat(<real>step.clip_value)
    c.scale = splat(<real>step.scale)
    c.mu = splat(<real>step.momentum)
    c.beta1 = splat(<real>step.beta1)
    c.beta2 = splat(<real>step.beta2)
    c.rest1 = splat(<real>(1.0 - step.beta1))
    c.rest2 = splat(<real>(1.0 - step.beta2))
    c.rho = splat(<real>step.rho)
    c.rest = splat(<real>(1.0 - step.rho))
    c.epsilon = splat(<real>step.epsilon)
    c.keep = splat(keep_of(own.learning_rate, own.weight_decay))
    c.root_bias2 = splat(root_bias2_of(step.bias2))
    c.adam_rate = splat(adam_rate_of(own.learning_rate, step.bias1))
    return c


cdef inline void add_row(Py_ssize_t n, real c, const real *x, real minus_rate,
                         real *w) noexcept nogil:
    # w <- w + minus_rate c x, as Sgd of a gradient c x   (n,)                          w  # OUT
    cdef vec factor = splat(c), rate = splat(minus_rate)
    cdef Py_ssize_t i = 0
    while i + VECTOR_LANES <= n:
        (<vec *>(w + i))[0] = fmadd(rate, factor * (<const vec *>(x + i))[0], (<vec *>(w + i))[0])
        i += VECTOR_LANES
    while i < n:
        w[i] = fma(minus_rate, c * x[i], w[i])
        i += 1


cdef inline void update_tile(policy *tag, const Numbers *numbers, bint shaped, int R, int V,
                             const vec *nabla, vec *W, Py_ssize_t row,
                             Py_ssize_t slot) noexcept nogil:
    """Apply one step to R rows of V vectors; rows of W lie `row` vectors apart.  W, slots  # OUT"""
    cdef Numbers c = numbers[0]
    cdef vec g, w, m, v, d, zero = splat(<real>0.0)
    cdef vec *first = W + slot
    cdef vec *second = first + slot
    cdef vec *third = second + slot
    cdef int _i, j
    for _i in range(R):
        for j in range(V):
            g = nabla[j]
            w = W[j]
            if shaped:
                g = fmadd(c.l1, sign(w), fmadd(c.l2, w, g))
                g = larger(c.least, smaller(c.most, g)) * c.scale
            if policy is Sgd:
                W[j] = fmadd(c.minus_rate, g, w)
            elif policy is Momentum:
                # v <- mu v + g, W <- W - eta v
                v = fmadd(c.mu, first[j], g)
                first[j] = v
                W[j] = fmadd(c.minus_rate, v, w)
            elif policy is Nesterov:
                # v <- mu v + g, W <- W - eta (g + mu v)
                v = fmadd(c.mu, first[j], g)
                first[j] = v
                W[j] = fmadd(c.minus_rate, fmadd(c.mu, v, g), w)
            elif policy is RmsProp or policy is RmsPropMomentum or policy is RmsPropCentered:
                # v <- rho v + (1-rho) g^2, d = g / (sqrt v + eps), W <- W - eta d;
                # momentum: d <- mu d + g / (sqrt v + eps); centered: v - m^2 for v,
                # m <- rho m + (1-rho) g
                v = fmadd(c.rho, first[j], c.rest * (g * g))
                first[j] = v
                if policy is RmsPropCentered:
                    m = fmadd(c.rho, third[j], c.rest * g)
                    third[j] = m
                    v = larger(zero, v - m * m)  # a variance, but for rounding
                d = g / (root(v) + c.epsilon)
                if policy is not RmsProp:
                    d = fmadd(c.mu, second[j], d)
                    second[j] = d
                W[j] = fmadd(c.minus_rate, d, w)
            elif policy is AdaGrad:
                # v <- v + g^2, W <- W - eta / (1 + (t-1) lr_decay) g / (sqrt v + eps)
                v = fmadd(g, g, first[j])
                first[j] = v
                W[j] = fmadd(c.minus_rate, g / (root(v) + c.epsilon), w)
            elif policy is AdaDelta:
                # v <- rho v + (1-rho) g^2, d = sqrt((u + eps) / (v + eps)) g,
                # u <- rho u + (1-rho) d^2, W <- W - eta d
                v = fmadd(c.rho, first[j], c.rest * (g * g))
                first[j] = v
                d = root(second[j] + c.epsilon) / root(v + c.epsilon) * g
                second[j] = fmadd(c.rho, second[j], c.rest * (d * d))
                W[j] = fmadd(c.minus_rate, d, w)
            elif policy is Lion:
                # W <- (1 - eta lambda) W - eta sign(b1 m + (1-b1) g), m <- b2 m + (1-b2) g
                m = first[j]
                d = sign(fmadd(c.beta1, m, c.rest1 * g))
                first[j] = fmadd(c.beta2, m, c.rest2 * g)
                W[j] = fmadd(c.minus_rate, d, w * c.keep)
            else:
                # m <- b1 m + (1-b1) g, v <- b2 v + (1-b2) g^2,
                # W <- W - eta (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps);
                # amsgrad: the largest v so far for v
                if policy is AdamW:
                    w = w * c.keep
                m = fmadd(c.beta1, first[j], c.rest1 * g)
                v = fmadd(c.beta2, second[j], c.rest2 * (g * g))
                first[j] = m
                second[j] = v
                if policy is AmsGrad:
                    v = larger(third[j], v)
                    third[j] = v
                W[j] = w - c.adam_rate * m / fmadd(root(v), c.root_bias2, c.epsilon)
        nabla += V
        W += row
        first += row
        second += row
        third += row


cdef inline void update_kind(const policy *numbers, const Own *own, int R, int V, const vec *nabla,
                             vec *W, Py_ssize_t row, Py_ssize_t slot) noexcept nogil:
    # `numbers` is a const Step *: the type that it is given under names the kind, as a tag does
    cdef Numbers c = numbers_in_vectors(<const Step *>numbers, own)
    # constant, V unrolls: 6 % of a step of case A in bench/compare.py
    if V == 2:
        update_tile(<policy *>NULL, &c, own.shaped, R, 2, nabla, W, row, slot)
    else:
        update_tile(<policy *>NULL, &c, own.shaped, R, V, nabla, W, row, slot)


cdef inline void update_kind_of_lanes(const policy *numbers, bint shaped, int R, int V,
                                      const vec *nabla, vec *W, Py_ssize_t row,
                                      Py_ssize_t slot) noexcept nogil:
    # `numbers` is a const Numbers *
    update_tile(<policy *>NULL, <const Numbers *>numbers, shaped, R, V, nabla, W, row, slot)


cdef inline void update_rows(const Step *step, const Own *own, Py_ssize_t R, Py_ssize_t V,
                             const real *nabla, real *W, Py_ssize_t W_row,
                             Py_ssize_t slot) noexcept nogil:
    """Apply one step of whichever policy; W_row and slot count elements.        W, slots  # OUT"""
    step.policy.update(step, own, <int>R, <int>V, <const vec *>nabla, <vec *>W,
                       W_row / VECTOR_LANES, slot / VECTOR_LANES)


# ---- the table -----------------------------------------------------------------------------------

cdef enum:
    N_POLICIES = 12


cdef inline void fill_policies(Policy *table) noexcept:
    """One row a kind: name, slots, whether a tile makes the step itself, whether zeros stay.

    Every step of moments that fade moves what they are of.                      table  # OUT
    """
    cdef Policy[N_POLICIES] rows = [
        Policy("sgd", 0, True, True, <UpdateTile>update_kind[Sgd],
               <UpdateLanes>update_kind_of_lanes[Sgd], NULL),
        Policy("momentum", 1, False, False, <UpdateTile>update_kind[Momentum],
               <UpdateLanes>update_kind_of_lanes[Momentum], NULL),
        Policy("nesterov", 1, False, False, <UpdateTile>update_kind[Nesterov],
               <UpdateLanes>update_kind_of_lanes[Nesterov], NULL),
        Policy("adam", 2, False, False, <UpdateTile>update_kind[Adam],
               <UpdateLanes>update_kind_of_lanes[Adam], correct_bias),
        Policy("adamw", 2, False, False, <UpdateTile>update_kind[AdamW],
               <UpdateLanes>update_kind_of_lanes[AdamW], correct_bias),
        Policy("amsgrad", 3, False, False, <UpdateTile>update_kind[AmsGrad],
               <UpdateLanes>update_kind_of_lanes[AmsGrad], correct_bias),
        Policy("rmsprop", 1, False, False, <UpdateTile>update_kind[RmsProp],
               <UpdateLanes>update_kind_of_lanes[RmsProp], NULL),
        Policy("rmsprop_momentum", 2, False, False, <UpdateTile>update_kind[RmsPropMomentum],
               <UpdateLanes>update_kind_of_lanes[RmsPropMomentum], NULL),
        Policy("rmsprop_centered", 3, False, False, <UpdateTile>update_kind[RmsPropCentered],
               <UpdateLanes>update_kind_of_lanes[RmsPropCentered], NULL),
        Policy("adagrad", 1, False, True, <UpdateTile>update_kind[AdaGrad],
               <UpdateLanes>update_kind_of_lanes[AdaGrad], slow_down),
        Policy("adadelta", 2, False, False, <UpdateTile>update_kind[AdaDelta],
               <UpdateLanes>update_kind_of_lanes[AdaDelta], NULL),
        Policy("lion", 1, False, False, <UpdateTile>update_kind[Lion],
               <UpdateLanes>update_kind_of_lanes[Lion], NULL),
    ]
    memcpy(table, rows, sizeof(rows))
