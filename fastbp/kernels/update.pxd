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
    VECTOR_LANES, fmadd, larger, real, root, sign, smaller, splat, vec)
from fastbp.kernels.tables cimport Begin, Own, Policy, Step, Tensor, UpdateTile

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
    own.learning_rate = t.rate * step.learning_rate
    own.weight_decay = t.decay * step.weight_decay
    own.l2 = t.decay * step.l2
    own.l1 = t.decay * step.l1
    own.shaped = step.shaped or own.l2 + own.l1 != 0.0
    own.zero_stays = step.policy.zero_stays and own.l2 + own.l1 + own.weight_decay == 0.0
    return own


cdef inline void update_tile(policy *tag, const Step *step, const Own *own, int R, int V,
                             const vec *nabla, vec *W, Py_ssize_t row,
                             Py_ssize_t slot) noexcept nogil:
    """Apply one step to R rows of V vectors; rows of W lie `row` vectors apart.  W, slots  # OUT"""
    cdef vec minus_rate = splat(<real>(-own.learning_rate))
    cdef vec l2 = splat(<real>own.l2), l1 = splat(<real>own.l1)
    cdef vec least = splat(<real>(-step.clip_value)), most = splat(<real>step.clip_value)
    cdef vec scale = splat(<real>step.scale), zero = splat(<real>0.0)
    cdef vec mu, beta1, beta2, rest1, rest2, rho, rest, epsilon, keep, root_bias2, adam_rate
    cdef vec g, w, m, v, d
    cdef bint shaped = own.shaped
    cdef vec *first = W + slot
    cdef vec *second = first + slot
    cdef vec *third = second + slot
    cdef int _i, j
    mu = splat(<real>step.momentum)
    beta1 = splat(<real>step.beta1)
    beta2 = splat(<real>step.beta2)
    rest1 = splat(<real>(1.0 - step.beta1))
    rest2 = splat(<real>(1.0 - step.beta2))
    rho = splat(<real>step.rho)
    rest = splat(<real>(1.0 - step.rho))
    epsilon = splat(<real>step.epsilon)
    keep = splat(<real>(1.0 - own.learning_rate * own.weight_decay))
    if policy is Adam or policy is AdamW or policy is AmsGrad:
        root_bias2 = splat(<real>(1.0 / c_sqrt(step.bias2)))
        adam_rate = splat(<real>(own.learning_rate / step.bias1))
    if policy is AdaGrad:
        minus_rate = splat(<real>(-own.learning_rate / step.slow))
    for _i in range(R):
        for j in range(V):
            g = nabla[j]
            w = W[j]
            if shaped:
                g = fmadd(l1, sign(w), fmadd(l2, w, g))
                g = larger(least, smaller(most, g)) * scale
            if policy is Sgd:
                W[j] = fmadd(minus_rate, g, w)
            elif policy is Momentum:
                # v <- mu v + g, W <- W - eta v
                v = fmadd(mu, first[j], g)
                first[j] = v
                W[j] = fmadd(minus_rate, v, w)
            elif policy is Nesterov:
                # v <- mu v + g, W <- W - eta (g + mu v)
                v = fmadd(mu, first[j], g)
                first[j] = v
                W[j] = fmadd(minus_rate, fmadd(mu, v, g), w)
            elif policy is RmsProp or policy is RmsPropMomentum or policy is RmsPropCentered:
                # v <- rho v + (1-rho) g^2, d = g / (sqrt v + eps), W <- W - eta d;
                # momentum: d <- mu d + g / (sqrt v + eps); centered: v - m^2 for v,
                # m <- rho m + (1-rho) g
                v = fmadd(rho, first[j], rest * (g * g))
                first[j] = v
                if policy is RmsPropCentered:
                    m = fmadd(rho, third[j], rest * g)
                    third[j] = m
                    v = larger(zero, v - m * m)  # a variance, but for rounding
                d = g / (root(v) + epsilon)
                if policy is not RmsProp:
                    d = fmadd(mu, second[j], d)
                    second[j] = d
                W[j] = fmadd(minus_rate, d, w)
            elif policy is AdaGrad:
                # v <- v + g^2, W <- W - eta / (1 + (t-1) lr_decay) g / (sqrt v + eps)
                v = fmadd(g, g, first[j])
                first[j] = v
                W[j] = fmadd(minus_rate, g / (root(v) + epsilon), w)
            elif policy is AdaDelta:
                # v <- rho v + (1-rho) g^2, d = sqrt((u + eps) / (v + eps)) g,
                # u <- rho u + (1-rho) d^2, W <- W - eta d
                v = fmadd(rho, first[j], rest * (g * g))
                first[j] = v
                d = root(second[j] + epsilon) / root(v + epsilon) * g
                second[j] = fmadd(rho, second[j], rest * (d * d))
                W[j] = fmadd(minus_rate, d, w)
            elif policy is Lion:
                # W <- (1 - eta lambda) W - eta sign(b1 m + (1-b1) g), m <- b2 m + (1-b2) g
                m = first[j]
                d = sign(fmadd(beta1, m, rest1 * g))
                first[j] = fmadd(beta2, m, rest2 * g)
                W[j] = fmadd(minus_rate, d, w * keep)
            else:
                # m <- b1 m + (1-b1) g, v <- b2 v + (1-b2) g^2,
                # W <- W - eta (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps);
                # amsgrad: the largest v so far for v
                if policy is AdamW:
                    w = w * keep
                m = fmadd(beta1, first[j], rest1 * g)
                v = fmadd(beta2, second[j], rest2 * (g * g))
                first[j] = m
                second[j] = v
                if policy is AmsGrad:
                    v = larger(third[j], v)
                    third[j] = v
                W[j] = w - adam_rate * m / fmadd(root(v), root_bias2, epsilon)
        nabla += V
        W += row
        first += row
        second += row
        third += row


cdef inline void update_kind(const policy *numbers, const Own *own, int R, int V, const vec *nabla,
                             vec *W, Py_ssize_t row, Py_ssize_t slot) noexcept nogil:
    # `numbers` is a const Step *: the type that it is given under names the kind, as a tag does
    cdef const Step *step = <const Step *>numbers
    # constant, V unrolls: 6 % of a step of case A in bench/compare.py
    if V == 2:
        update_tile(<policy *>NULL, step, own, R, 2, nabla, W, row, slot)
    else:
        update_tile(<policy *>NULL, step, own, R, V, nabla, W, row, slot)


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
        Policy("sgd", 0, True, True, <UpdateTile>update_kind[Sgd], NULL),
        Policy("momentum", 1, False, False, <UpdateTile>update_kind[Momentum], NULL),
        Policy("nesterov", 1, False, False, <UpdateTile>update_kind[Nesterov], NULL),
        Policy("adam", 2, False, False, <UpdateTile>update_kind[Adam], correct_bias),
        Policy("adamw", 2, False, False, <UpdateTile>update_kind[AdamW], correct_bias),
        Policy("amsgrad", 3, False, False, <UpdateTile>update_kind[AmsGrad], correct_bias),
        Policy("rmsprop", 1, False, False, <UpdateTile>update_kind[RmsProp], NULL),
        Policy("rmsprop_momentum", 2, False, False, <UpdateTile>update_kind[RmsPropMomentum], NULL),
        Policy("rmsprop_centered", 3, False, False, <UpdateTile>update_kind[RmsPropCentered], NULL),
        Policy("adagrad", 1, False, True, <UpdateTile>update_kind[AdaGrad], slow_down),
        Policy("adadelta", 2, False, False, <UpdateTile>update_kind[AdaDelta], NULL),
        Policy("lion", 1, False, False, <UpdateTile>update_kind[Lion], NULL),
    ]
    memcpy(table, rows, sizeof(rows))
