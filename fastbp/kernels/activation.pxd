"""Activations: sigma and sigma' side by side.

What belongs here: for each elementwise activation one scalar body that gives a = sigma(z) and
sigma'(z) from shared intermediates; for each coupled one (some a_k depends on several z_j) three
row functions: value, J^T g and J v. What does not: costs, sums over layers, memory.

Adding an elementwise activation: a tag, a branch in `value_and_slope`, its number, name and line in
`passes.pxi`, and its facts in `functions.py`. The value at a kink is declared beside the formula.
"""
from cython cimport floating as real
from fastbp.kernels.elementary cimport (
    exp, expm1, fabs, log1p, normal_cdf, normal_pdf, sigmoid, softplus, sqrt, tanh, tanh_and_slope)

cdef enum:
    LANES = 16  # fixed, so that a row's sum has the same bits at every vector width

# One tag an activation: `value_and_slope(<Tanh *>NULL, ...)` is compiled for tanh alone, so its
# loop holds no switch and vectorises.
cdef struct Identity:
    char tag
cdef struct Sigmoid:
    char tag
cdef struct Tanh:
    char tag
cdef struct Relu:
    char tag
cdef struct LeakyRelu:
    char tag
cdef struct Elu:
    char tag
cdef struct Selu:
    char tag
cdef struct Gelu:
    char tag
cdef struct GeluTanh:
    char tag
cdef struct Silu:
    char tag
cdef struct Mish:
    char tag
cdef struct Softplus:
    char tag
cdef struct Softsign:
    char tag
cdef struct Hardtanh:
    char tag
cdef struct Exp:
    char tag

ctypedef fused elementwise:
    Identity
    Sigmoid
    Tanh
    Relu
    LeakyRelu
    Elu
    Selu
    Gelu
    GeluTanh
    Silu
    Mish
    Softplus
    Softsign
    Hardtanh
    Exp


cdef inline real value_and_slope(elementwise *tag, real z, real p, real *slope) noexcept nogil:
    """a = sigma(z) and slope = sigma'(z); p is the activation's parameter."""
    cdef real a, e, r, s, t, u
    if elementwise is Identity:
        slope[0] = <real>1
        return z
    elif elementwise is Sigmoid:
        # from e^-|z|, not a(1 - a), which is 0 at z = 40 where sigma' is 4.2e-18
        e = exp(-fabs(z))
        r = <real>1 / (<real>1 + e)
        slope[0] = e * r * r
        a = r if z >= <real>0 else e * r
        return a
    elif elementwise is Tanh:
        return tanh_and_slope(z, slope)
    elif elementwise is Relu:  # sigma'(0) = 0
        slope[0] = <real>1 if z > <real>0 else <real>0
        # written so that NaN stays NaN
        return <real>0 if z < <real>0 else z
    elif elementwise is LeakyRelu:  # sigma'(0) = p
        slope[0] = <real>1 if z > <real>0 else p
        return z * slope[0]
    elif elementwise is Elu:  # sigma'(0) = p
        # slope from e^z, not expm1(z) + 1, which is 0 at z = -40
        u = z if z < <real>0 else <real>0
        slope[0] = <real>1 if z > <real>0 else p * exp(u)
        a = z if z > <real>0 else p * expm1(u)
        return a
    elif elementwise is Selu:  # sigma'(0) = lambda alpha
        u = z if z < <real>0 else <real>0
        r = <real>1.0507009873554805
        t = <real>1.0507009873554805 * <real>1.6732632423543772
        slope[0] = r if z > <real>0 else t * exp(u)
        a = r * z if z > <real>0 else t * expm1(u)
        return a
    elif elementwise is Gelu:
        t = normal_cdf(z)
        slope[0] = t + z * normal_pdf(z)
        return z * t
    elif elementwise is GeluTanh:
        # 2u = 2 sqrt(2/pi) (z + 0.044715 z^3); a = z s(2u)
        t = z * z
        u = <real>1.5957691216057308 * z * (<real>1 + <real>0.044715 * t)
        e = exp(-fabs(u))
        r = <real>1 / (<real>1 + e)
        s = r if u >= <real>0 else e * r
        # where s s(-2u) is 0, z^3 may be infinite: their product is 0
        a = e * r * r
        t = z * (<real>1.5957691216057308 * (<real>1 + <real>0.134145 * t))
        slope[0] = s + (a * t if a > <real>0 else <real>0)
        return z * s
    elif elementwise is Silu:
        e = exp(-fabs(z))
        r = <real>1 / (<real>1 + e)
        s = r if z >= <real>0 else e * r
        slope[0] = s + z * (e * r * r)
        return z * s
    elif elementwise is Mish:
        # tanh(softplus z) and its slope by way of s = softplus z
        s = softplus(z)
        t = tanh(s)
        e = exp(<real>-2 * s)
        r = <real>1 / (<real>1 + e)
        slope[0] = t + z * (<real>4 * e * r * r) * sigmoid(z)
        return z * t
    elif elementwise is Softplus:
        slope[0] = sigmoid(z)
        return softplus(z)
    elif elementwise is Softsign:
        # 4 / (1 + |z|), which is a normal number for every z
        r = <real>1 / (<real>0.25 + <real>0.25 * fabs(z))
        a = <real>0.25 * r
        slope[0] = a * a
        return z * r * <real>0.25
    elif elementwise is Hardtanh:  # sigma'(-1) = sigma'(1) = 0
        slope[0] = <real>1 if fabs(z) < <real>1 else <real>0
        a = <real>-1 if z < <real>-1 else z
        a = <real>1 if a > <real>1 else a
        return a
    else:  # Exp
        a = exp(z)
        slope[0] = a
        return a


cdef inline void values(elementwise *tag, const real *z, real p, Py_ssize_t n,
                        real *a) noexcept nogil:
    # a = sigma(z)   (n,)                                                             a  # OUT
    cdef Py_ssize_t j
    cdef real unused
    for j in range(n):
        a[j] = value_and_slope(tag, z[j], p, &unused)


cdef inline void values_and_slopes(elementwise *tag, real *z, real p, Py_ssize_t n,
                                   real *a) noexcept nogil:
    # a = sigma(z), z <- sigma'(z)   (n,): z is not needed again, its slope is        z, a  # OUT
    cdef Py_ssize_t j
    cdef real slope
    for j in range(n):
        a[j] = value_and_slope(tag, z[j], p, &slope)
        z[j] = slope


# Row reductions in LANES fixed partial sums: they vectorise without reassociation, so the bits do
# not depend on the level.

cdef inline real sum_of_lanes(const real *lane) noexcept nogil:
    cdef real half[LANES / 2]
    cdef Py_ssize_t i
    for i in range(8):
        half[i] = lane[i] + lane[i + 8]
    for i in range(4):
        half[i] = half[i] + half[i + 4]
    return (half[0] + half[2]) + (half[1] + half[3])


cdef inline real row_sum(const real *x, Py_ssize_t n) noexcept nogil:
    cdef real lane[LANES]
    cdef Py_ssize_t i, j, whole = n - n % LANES
    if n <= 4:  # an only output, or few: 14 % of a 2-16-1 step, batch 8
        return ((x[0] + (x[2] if n > 2 else <real>0))
                + ((x[1] if n > 1 else <real>0) + (x[3] if n > 3 else <real>0)))
    for i in range(LANES):
        lane[i] = <real>0
    for j in range(n / LANES):
        for i in range(LANES):
            lane[i] += x[j * LANES + i]
    for i in range(n % LANES):
        lane[i] += x[whole + i]
    return sum_of_lanes(lane)


cdef inline real row_dot(const real *x, const real *y, Py_ssize_t n) noexcept nogil:
    cdef real lane[LANES]
    cdef Py_ssize_t i, j, whole = n - n % LANES
    for i in range(LANES):
        lane[i] = <real>0
    for j in range(n / LANES):
        for i in range(LANES):
            lane[i] += x[j * LANES + i] * y[j * LANES + i]
    for i in range(n % LANES):
        lane[i] += x[whole + i] * y[whole + i]
    return sum_of_lanes(lane)


cdef inline real row_max(const real *x, Py_ssize_t n) noexcept nogil:
    """Largest element; NaN is skipped (it reaches the result through the sum that follows)."""
    cdef real lane[LANES]
    cdef Py_ssize_t i, j, whole = n - n % LANES
    for i in range(LANES):
        lane[i] = x[0]
    for j in range(n / LANES):
        for i in range(LANES):
            lane[i] = x[j * LANES + i] if x[j * LANES + i] > lane[i] else lane[i]
    for i in range(n % LANES):
        lane[i] = x[whole + i] if x[whole + i] > lane[i] else lane[i]
    for i in range(8):
        lane[i] = lane[i + 8] if lane[i + 8] > lane[i] else lane[i]
    for i in range(4):
        lane[i] = lane[i + 4] if lane[i + 4] > lane[i] else lane[i]
    for i in range(1, 4):
        lane[0] = lane[i] if lane[i] > lane[0] else lane[0]
    return lane[0]


# Coupled activations, one sample a call (the values of softmax: all rows). The bare name: z (n_z,)
# -> a (n_a,); `vjp`: delta = J^T g; `jvp`: da = J dz; `product`: both, where J is symmetric. delta
# may not be g itself.

cdef inline real sum_but_one(real *a, Py_ssize_t n) noexcept nogil:
    """Sum of a less 1, where the first 1 among them is left out: nothing is lost beside it."""
    cdef Py_ssize_t j
    cdef real rest
    for j in range(n):
        if a[j] == <real>1:
            a[j] = <real>0
            rest = row_sum(a, n)
            a[j] = <real>1
            return rest
    return row_sum(a, n) - <real>1  # no 1: NaN or infinity is among them


# softmax takes all rows of a batch at once and whole padded rows, so that nothing has a tail: with
# 10 outputs it costs a third of what a row at a time did (bench/compare.py, cases C and D).

cdef inline Py_ssize_t per_cache_line(const real *kind) noexcept nogil:
    return 16 if real is float else 8  # a padded row holds whole ones


cdef inline void softmax_shift(real *z, real c, Py_ssize_t m, Py_ssize_t n, Py_ssize_t row,
                               real *a) noexcept nogil:
    # a = c (z - max z)  (m, n), padding of z and a far below it                            a  # OUT
    cdef Py_ssize_t s, i, j, W = per_cache_line(z)
    cdef real lane[LANES]
    cdef real top, lowest
    cdef real *z_s
    if real is float:
        lowest = <float>-3.4028234e38
    else:
        lowest = -1.7976931348623157e308
    for s in range(m):
        for j in range(n, row):
            z[s * row + j] = lowest
    for s in range(m):
        z_s = z + s * row
        for i in range(W):
            lane[i] = z_s[i]
        for j in range(1, row / W):
            for i in range(W):
                lane[i] = z_s[j * W + i] if z_s[j * W + i] > lane[i] else lane[i]
        top = lane[0]
        for i in range(1, W):
            top = lane[i] if lane[i] > top else top
        for j in range(row / W):
            for i in range(W):
                a[s * row + j * W + i] = c * (z_s[j * W + i] - top)
    # e^-1e4 is 0, and 0 times -1e4 is still 0, which it would not be with -infinity
    for s in range(m):
        for j in range(n, row):
            a[s * row + j] = <real>-1e4


cdef inline real softmax_scale(real *a, Py_ssize_t row) noexcept nogil:
    """From e^{c(z - max z)} to softmax; returns their sum less 1.                         a  # OUT

    One of them is 1. It is counted, not added, so that log1p of the rest keeps a small rest.
    """
    cdef Py_ssize_t i, j, W = per_cache_line(a)
    cdef real lane[LANES]
    cdef real ones[LANES]
    cdef real rest, r, x
    for i in range(LANES):
        lane[i] = <real>0
        ones[i] = <real>0
    for j in range(row / W):
        for i in range(W):
            x = a[j * W + i]
            lane[i] += <real>0 if x == <real>1 else x
            ones[i] += <real>1 if x == <real>1 else <real>0
    rest = sum_of_lanes(&lane[0]) + (sum_of_lanes(&ones[0]) - <real>1)
    r = <real>1 / (<real>1 + rest)
    for j in range(row / W):
        for i in range(W):
            a[j * W + i] = a[j * W + i] * r
    return rest


cdef inline void softmax(real *z, real c, Py_ssize_t m, Py_ssize_t n, Py_ssize_t row,
                         real *a) noexcept nogil:
    # a = softmax(c z), c > 0  (m, n); the padding of z is written                          a  # OUT
    cdef Py_ssize_t s
    softmax_shift(z, c, m, n, row, a)
    values(<Exp *>NULL, a, <real>0, m * row, a)
    for s in range(m):
        softmax_scale(a + s * row, row)


cdef inline void softmax_product(const real *a, real c, const real *g, Py_ssize_t n,
                                 real *delta) noexcept nogil:
    # delta = c a * (g - <a, g>): J is symmetric, so this is J^T g and J g              delta  # OUT
    cdef Py_ssize_t j
    cdef real mean = row_dot(a, g, n)
    for j in range(n):
        delta[j] = c * a[j] * (g[j] - mean)


cdef inline void log_softmax(const real *z, Py_ssize_t n, real *a) noexcept nogil:
    # a = z - lse(z)                                                                     a  # OUT
    cdef Py_ssize_t j
    cdef real m = row_max(z, n), lse
    for j in range(n):
        a[j] = exp(z[j] - m)
    lse = log1p(sum_but_one(a, n))
    for j in range(n):
        a[j] = (z[j] - m) - lse


cdef inline void log_softmax_vjp(const real *a, const real *g, Py_ssize_t n,
                                 real *delta) noexcept nogil:
    # J = I - 1 p^T is not symmetric: J^T g = g - p sum(g)                              delta  # OUT
    cdef Py_ssize_t j
    cdef real total = row_sum(g, n)
    for j in range(n):
        delta[j] = g[j] - exp(a[j]) * total


cdef inline void log_softmax_jvp(const real *a, const real *dz, Py_ssize_t n,
                                 real *da) noexcept nogil:
    # J dz = dz - <p, dz>                                                                da  # OUT
    cdef Py_ssize_t j
    cdef real mean
    for j in range(n):
        da[j] = exp(a[j]) * dz[j]
    mean = row_sum(da, n)
    for j in range(n):
        da[j] = dz[j] - mean


cdef inline real centred(const real *z, real c, Py_ssize_t n, real *x) noexcept nogil:
    """x = c (z - mean z); returns sqrt(var x + c^2 1e-5), the variance over n (not n - 1)."""
    cdef Py_ssize_t j
    cdef real mean
    # seen from z_0: the mean of equal numbers is one of them, and an offset costs no digits
    for j in range(n):
        x[j] = c * z[j] - c * z[0]
    mean = row_sum(x, n) / <real>n
    for j in range(n):
        x[j] -= mean
    return sqrt(row_dot(x, x, n) / <real>n + <real>1e-5 * c * c)


cdef inline real standardised(const real *z, real gain, Py_ssize_t n, real *x) noexcept nogil:
    """x = gain (z - mean z) / s; returns 1 / s, where s = sqrt(var z + 1e-5)."""
    cdef Py_ssize_t j
    cdef real c = <real>1, s = centred(z, c, n, x), r
    if s - s != <real>0:  # squares too large: of z far smaller, where s is not
        if real is float:
            c = <float>1.2621774483536189e-29  # 2^-96
        else:
            c = 2.409919865102884e-181  # 2^-600
        s = centred(z, c, n, x)
    r = gain / s
    for j in range(n):
        x[j] *= r
    return c / s


cdef inline void layer_norm(const real *z, real gain, Py_ssize_t n, real *a) noexcept nogil:
    # a = gain (z - mean) / s                                                            a  # OUT
    standardised(z, gain, n, a)


cdef inline void layer_norm_product(const real *z, real gain, const real *g, Py_ssize_t n,
                                    real *delta) noexcept nogil:
    # h = gain g; delta = (h - mean h - x mean(h * x)) / s, x = (z - mean)/s            delta  # OUT
    # with one gain for all, J is symmetric: this is J^T g and J g
    cdef Py_ssize_t j
    cdef real r = standardised(z, <real>1, n, delta)
    cdef real h_mean = gain * (row_sum(g, n) / <real>n)
    cdef real hx_mean = gain * (row_dot(g, delta, n) / <real>n)
    for j in range(n):
        delta[j] = (gain * g[j] - h_mean - delta[j] * hx_mean) * r


cdef inline Py_ssize_t argmax_of_group(const real *z, Py_ssize_t p) noexcept nogil:
    """Index of the largest of p; of equals the first. A NaN wins, so that it is not lost."""
    cdef Py_ssize_t i, best = 0
    for i in range(1, p):
        if z[i] > z[best] or (z[i] != z[i] and z[best] == z[best]):
            best = i
    return best


cdef inline void maxout(const real *z, Py_ssize_t p, Py_ssize_t n, real *a) noexcept nogil:
    # a_k = max of the k-th p consecutive z   (n groups)                                 a  # OUT
    cdef Py_ssize_t k
    for k in range(n):
        a[k] = z[k * p + argmax_of_group(z + k * p, p)]


cdef inline void maxout_vjp(const real *z, const real *g, Py_ssize_t p, Py_ssize_t n,
                            real *delta) noexcept nogil:
    # g_k goes to the largest z of its group, 0 to the others  (n p,)                   delta  # OUT
    cdef Py_ssize_t k, i
    for k in range(n):
        for i in range(p):
            delta[k * p + i] = <real>0
        delta[k * p + argmax_of_group(z + k * p, p)] = g[k]


cdef inline void maxout_jvp(const real *z, const real *dz, Py_ssize_t p, Py_ssize_t n,
                            real *da) noexcept nogil:
    cdef Py_ssize_t k
    for k in range(n):
        da[k] = dz[k * p + argmax_of_group(z + k * p, p)]


cdef inline void glu(const real *z, Py_ssize_t n, real *a) noexcept nogil:
    # z = (u, v): a = u * s(v)   (n,)                                                    a  # OUT
    cdef Py_ssize_t j
    for j in range(n):
        a[j] = z[j] * sigmoid(z[n + j])


cdef inline void glu_vjp(const real *z, const real *g, Py_ssize_t n, real *delta) noexcept nogil:
    # delta_u = g * s(v), delta_v = g * u * s'(v)  (2n,)                                delta  # OUT
    cdef Py_ssize_t j
    cdef real s, slope
    for j in range(n):
        s = value_and_slope(<Sigmoid *>NULL, z[n + j], <real>0, &slope)
        delta[j] = g[j] * s
        delta[n + j] = g[j] * (z[j] * slope)


cdef inline void glu_jvp(const real *z, const real *dz, Py_ssize_t n, real *da) noexcept nogil:
    cdef Py_ssize_t j
    cdef real s, slope
    for j in range(n):
        s = value_and_slope(<Sigmoid *>NULL, z[n + j], <real>0, &slope)
        da[j] = dz[j] * s + z[j] * slope * dz[n + j]
