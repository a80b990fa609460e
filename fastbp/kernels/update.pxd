"""Optimizers: one policy each, applied to a tile of parameters beside the tile of their gradient.

What belongs here: W <- W - step, written once on vectors of the level, with the optimizer's slots
(velocity, moments) lying `slot` vectors behind W. What does not: forming the gradient
(products.pxd), its norm (training.pxi), names and defaults (optimizers.py).

Adding an optimizer: a tag, a branch in `update_tile`, a line in `update`, its slots in `n_slots`,
its name and numbers in `engine.pyx` (OPTIMIZERS, `set_step`) and a dataclass in optimizers.py.
"""
from libc.math cimport INFINITY, pow
from libc.math cimport sqrt as c_sqrt

cdef extern from "tile.h":
    ctypedef float v_f32
    ctypedef double v_f64
    const int LANES_f32 "FASTBP_LANES_f32"
    const int LANES_f64 "FASTBP_LANES_f64"
    v_f32 splat_f32 "FASTBP_SPLAT_f32"(float) noexcept nogil
    v_f64 splat_f64 "FASTBP_SPLAT_f64"(double) noexcept nogil
    v_f32 fmadd_f32 "FASTBP_FMADD_f32"(v_f32, v_f32, v_f32) noexcept nogil
    v_f64 fmadd_f64 "FASTBP_FMADD_f64"(v_f64, v_f64, v_f64) noexcept nogil
    v_f32 sqrt_f32 "FASTBP_SQRT_f32"(v_f32) noexcept nogil
    v_f64 sqrt_f64 "FASTBP_SQRT_f64"(v_f64) noexcept nogil
    v_f32 sign_f32 "FASTBP_SIGN_f32"(v_f32) noexcept nogil
    v_f64 sign_f64 "FASTBP_SIGN_f64"(v_f64) noexcept nogil
    v_f32 max_f32 "FASTBP_MAX_f32"(v_f32, v_f32) noexcept nogil
    v_f64 max_f64 "FASTBP_MAX_f64"(v_f64, v_f64) noexcept nogil
    v_f32 min_f32 "FASTBP_MIN_f32"(v_f32, v_f32) noexcept nogil
    v_f64 min_f64 "FASTBP_MIN_f64"(v_f64, v_f64) noexcept nogil

ctypedef fused vector:
    v_f32
    v_f64

cdef enum Policy:
    SGD
    MOMENTUM
    NESTEROV
    ADAM
    ADAMW
    AMSGRAD
    RMSPROP
    RMSPROP_MOMENTUM
    RMSPROP_CENTERED
    ADAGRAD
    ADADELTA
    LION

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

# The numbers of one step, alike for every parameter.
cdef struct Step:
    int policy
    double learning_rate, momentum, beta1, beta2, epsilon, weight_decay, rho, lr_decay
    double l2, l1  # lambda/n of the penalties; weights only, never biases
    double clip_value  # no element of the gradient with its penalties is larger; or infinity
    double scale  # by which all of it is multiplied then: clipping by norm
    double bias1, bias2  # Adam: 1 - beta^t
    double epsilon_hat   # Adam: where above 0, epsilon is that beside sqrt(v), v not corrected
    double slow  # Adagrad: by which the learning rate is divided
    bint shaped  # clipping or scaling changes the gradient before a policy sees it,
    bint shapes_weights  # these or penalties that of a weight


cdef inline int n_slots(int kind) noexcept nogil:
    if kind == SGD:
        return 0
    if kind == MOMENTUM or kind == NESTEROV or kind == RMSPROP or kind == ADAGRAD or kind == LION:
        return 1
    return 3 if kind == AMSGRAD or kind == RMSPROP_CENTERED else 2


cdef inline void begin_step(Step *step, long long t) noexcept nogil:
    """Set what depends on the number t = 1, 2, ... of the step."""
    if step.policy == ADAM or step.policy == ADAMW or step.policy == AMSGRAD:
        step.bias1 = 1.0 - pow(step.beta1, <double>t)
        step.bias2 = 1.0 - pow(step.beta2, <double>t)
        if step.epsilon_hat > 0.0:  # Kingma & Ba 2015, end of section 2: what scikit-learn does
            step.epsilon = step.epsilon_hat / c_sqrt(step.bias2)
    if step.policy == ADAGRAD:
        step.slow = 1.0 + (t - 1) * step.lr_decay
    set_scale(step, 1.0)


cdef inline void set_scale(Step *step, double scale) noexcept nogil:
    """Set what the gradient of this step is multiplied by: clipping by norm."""
    step.scale = scale
    step.shaped = step.clip_value != INFINITY or scale != 1.0
    step.shapes_weights = step.shaped or step.l2 != 0.0 or step.l1 != 0.0


cdef inline bint is_shaped(const Step *step, bint is_weight) noexcept nogil:
    """Whether penalties or clipping change the gradient before a policy sees it."""
    return step.shapes_weights if is_weight else step.shaped


cdef inline vector splat(vector *kind, double x) noexcept nogil:
    if vector is v_f32:
        return splat_f32(<float>x)
    else:
        return splat_f64(x)


cdef inline vector fmadd(vector a, vector b, vector c) noexcept nogil:
    if vector is v_f32:
        return fmadd_f32(a, b, c)
    else:
        return fmadd_f64(a, b, c)


cdef inline vector root(vector x) noexcept nogil:
    if vector is v_f32:
        return sqrt_f32(x)
    else:
        return sqrt_f64(x)


cdef inline vector sign(vector x) noexcept nogil:
    if vector is v_f32:
        return sign_f32(x)
    else:
        return sign_f64(x)


cdef inline vector larger(vector x, vector y) noexcept nogil:
    if vector is v_f32:
        return max_f32(x, y)
    else:
        return max_f64(x, y)


cdef inline vector smaller(vector x, vector y) noexcept nogil:
    if vector is v_f32:
        return min_f32(x, y)
    else:
        return min_f64(x, y)


cdef inline void update_tile(policy *tag, const Step *step, bint is_weight, int R, int V,
                             const vector *nabla, vector *W, Py_ssize_t row,
                             Py_ssize_t slot) noexcept nogil:
    """Apply one step to R rows of V vectors; rows of W lie `row` vectors apart.  W, slots  # OUT"""
    cdef vector minus_rate = splat(W, -step.learning_rate)
    cdef vector l2 = splat(W, step.l2 if is_weight else 0.0)
    cdef vector l1 = splat(W, step.l1 if is_weight else 0.0)
    cdef vector least = splat(W, -step.clip_value), most = splat(W, step.clip_value)
    cdef vector scale = splat(W, step.scale), zero = splat(W, 0.0)
    cdef vector mu, beta1, beta2, rest1, rest2, rho, rest, epsilon, keep, root_bias2, adam_rate
    cdef vector g, w, m, v, d
    cdef bint shaped = is_shaped(step, is_weight)
    cdef vector *first = W + slot
    cdef vector *second = first + slot
    cdef vector *third = second + slot
    cdef int _i, j
    mu = splat(W, step.momentum)
    beta1 = splat(W, step.beta1)
    beta2 = splat(W, step.beta2)
    rest1 = splat(W, 1.0 - step.beta1)
    rest2 = splat(W, 1.0 - step.beta2)
    rho = splat(W, step.rho)
    rest = splat(W, 1.0 - step.rho)
    epsilon = splat(W, step.epsilon)
    keep = splat(W, 1.0 - step.learning_rate * step.weight_decay if is_weight else 1.0)
    if policy is Adam or policy is AdamW or policy is AmsGrad:
        root_bias2 = splat(W, 1.0 / c_sqrt(step.bias2))
        adam_rate = splat(W, step.learning_rate / step.bias1)
    if policy is AdaGrad:
        minus_rate = splat(W, -step.learning_rate / step.slow)
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


cdef inline void update_rows(policy *tag, const Step *step, bint is_weight, int R, int V,
                             const vector *nabla, vector *W, Py_ssize_t row,
                             Py_ssize_t slot) noexcept nogil:
    # constant, V unrolls: 6 % of a step of case A in bench/compare.py
    if V == 2:
        update_tile(tag, step, is_weight, R, 2, nabla, W, row, slot)
    else:
        update_tile(tag, step, is_weight, R, V, nabla, W, row, slot)


cdef inline void update(const Step *step, bint is_weight, int R, int V, const vector *nabla,
                        vector *W, Py_ssize_t row, Py_ssize_t slot) noexcept nogil:
    """Apply one step of whichever policy.                                        W, slots  # OUT"""
    if step.policy == SGD:
        update_rows(<Sgd *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == MOMENTUM:
        update_rows(<Momentum *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == NESTEROV:
        update_rows(<Nesterov *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == ADAM:
        update_rows(<Adam *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == ADAMW:
        update_rows(<AdamW *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == AMSGRAD:
        update_rows(<AmsGrad *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == RMSPROP:
        update_rows(<RmsProp *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == RMSPROP_MOMENTUM:
        update_rows(<RmsPropMomentum *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == RMSPROP_CENTERED:
        update_rows(<RmsPropCentered *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == ADAGRAD:
        update_rows(<AdaGrad *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    elif step.policy == ADADELTA:
        update_rows(<AdaDelta *>NULL, step, is_weight, R, V, nabla, W, row, slot)
    else:
        update_rows(<Lion *>NULL, step, is_weight, R, V, nabla, W, row, slot)
