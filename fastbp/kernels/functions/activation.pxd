"""Activations: sigma and sigma' side by side.

What belongs here: for each elementwise activation one scalar body that gives a = sigma(z) and
sigma'(z) from shared intermediates; for each coupled one (some a_k depends on several z_j) three
functions of rows: values, J^T g and J dz; at the end their table. What does not: costs, sums over
layers, memory.

Adding an elementwise activation: a tag, a branch in `value_and_slope` and a row; a coupled one:
three functions and a row. Its facts stand in `functions.py`. The value at a kink is declared beside
the formula.
"""
from libc.string cimport memcpy

from fastbp.kernels.arithmetic.elementary cimport (
    exp, expm1, log1p, normal_cdf, normal_pdf, sigmoid, softplus, tanh, tanh_and_slope)
from fastbp.kernels.arithmetic.real cimport LOWEST, PER_LINE, SINGLE, fabs, real, sqrt
from fastbp.kernels.arithmetic.reductions cimport LANES, row_dot, row_max, row_sum, sum_of_lanes
from fastbp.kernels.tables cimport Layer, Product, Sigma, Values

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
        u = <real>0 if z >= <real>0 else z  # written so that NaN stays NaN
        slope[0] = <real>1 if z > <real>0 else p * exp(u)
        a = z if z > <real>0 else p * expm1(u)
        return a
    elif elementwise is Selu:  # sigma'(0) = lambda alpha
        u = <real>0 if z >= <real>0 else z  # written so that NaN stays NaN
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


# `layer` is a const Layer *: the type that it is given under names the kind, as a tag does.

cdef inline void values(const elementwise *layer, real *z, Py_ssize_t m, real *a) noexcept nogil:
    # a = sigma(z)   (m, n_a), whole padded rows                                          a  # OUT
    cdef const Layer *f = <const Layer *>layer
    cdef Py_ssize_t j
    cdef real p = <real>f.p, unused
    for j in range(m * f.z_row):
        a[j] = value_and_slope(<elementwise *>NULL, z[j], p, &unused)


cdef inline void values_and_slopes(const elementwise *layer, real *z, Py_ssize_t m,
                                   real *a) noexcept nogil:
    # a = sigma(z), z <- sigma'(z)   (m, n_a): z is not needed again, its slope is     z, a  # OUT
    cdef const Layer *f = <const Layer *>layer
    cdef Py_ssize_t j
    cdef real p = <real>f.p, slope
    for j in range(m * f.z_row):
        a[j] = value_and_slope(<elementwise *>NULL, z[j], p, &slope)
        z[j] = slope


cdef inline void times_slopes(const Layer *f, const real *z, const real *a, const real *x,
                              Py_ssize_t x_row, Py_ssize_t m, real *y,
                              Py_ssize_t y_row) noexcept nogil:
    # y = J x = J^T x, J = diag(z), where z holds sigma'(z)                               y  # OUT
    cdef Py_ssize_t s, j
    for s in range(m):
        for j in range(f.z_row):
            y[s * y_row + j] = x[s * x_row + j] * z[s * f.z_row + j]


# Coupled activations: values, J^T g (`vjp`) and J dz (`jvp`) of m rows, one row at a time (the
# values of softmax: all at once); `product` is both where J is symmetric.

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

cdef inline void softmax_shift(real *z, real c, Py_ssize_t m, Py_ssize_t n, Py_ssize_t row,
                               real *a) noexcept nogil:
    # a = c (z - max z)  (m, n), padding of z and a far below it                            a  # OUT
    cdef Py_ssize_t s, i, j, W = PER_LINE
    cdef real lane[LANES]
    cdef real top
    cdef real *z_s
    for s in range(m):
        for j in range(n, row):
            z[s * row + j] = LOWEST
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
    cdef Py_ssize_t i, j, W = PER_LINE
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


cdef inline void exponentials(real *a, Py_ssize_t n) noexcept nogil:
    # a <- e^a                                                                            a  # OUT
    cdef Py_ssize_t j
    for j in range(n):
        a[j] = exp(a[j])


cdef inline void softmax(const Layer *f, real *z, Py_ssize_t m, real *a) noexcept nogil:
    # a = softmax(p z), p > 0  (m, n_a); the padding of z is written                        a  # OUT
    cdef Py_ssize_t s
    softmax_shift(z, <real>f.p, m, f.n_a, f.a_row, a)
    exponentials(a, m * f.a_row)
    for s in range(m):
        softmax_scale(a + s * f.a_row, f.a_row)


cdef inline void softmax_product(const Layer *f, const real *z, const real *a, const real *x,
                                 Py_ssize_t x_row, Py_ssize_t m, real *y,
                                 Py_ssize_t y_row) noexcept nogil:
    # y = p a * (x - <a, x>): J is symmetric, so this is J^T g and J dz                     y  # OUT
    cdef Py_ssize_t _s, j
    cdef real c = <real>f.p, mean
    for _s in range(m):
        mean = row_dot(a, x, f.n_a)
        for j in range(f.n_a):
            y[j] = c * a[j] * (x[j] - mean)
        a += f.a_row
        x += x_row
        y += y_row


cdef inline void log_softmax(const Layer *f, real *z, Py_ssize_t m, real *a) noexcept nogil:
    # a = z - lse(z)   (m, n_a)                                                          a  # OUT
    cdef Py_ssize_t _s, j
    cdef real top, lse
    for _s in range(m):
        top = row_max(z, f.n_a)
        for j in range(f.n_a):
            a[j] = exp(z[j] - top)
        lse = log1p(sum_but_one(a, f.n_a))
        for j in range(f.n_a):
            a[j] = (z[j] - top) - lse
        z += f.z_row
        a += f.a_row


cdef inline void log_softmax_vjp(const Layer *f, const real *z, const real *a, const real *g,
                                 Py_ssize_t g_row, Py_ssize_t m, real *delta,
                                 Py_ssize_t delta_row) noexcept nogil:
    # J = I - 1 p^T is not symmetric: J^T g = g - p sum(g)                              delta  # OUT
    cdef Py_ssize_t _s, j
    cdef real total
    for _s in range(m):
        total = row_sum(g, f.n_a)
        for j in range(f.n_a):
            delta[j] = g[j] - exp(a[j]) * total
        a += f.a_row
        g += g_row
        delta += delta_row


cdef inline void log_softmax_jvp(const Layer *f, const real *z, const real *a, const real *dz,
                                 Py_ssize_t dz_row, Py_ssize_t m, real *da,
                                 Py_ssize_t da_row) noexcept nogil:
    # J dz = dz - <p, dz>                                                                da  # OUT
    cdef Py_ssize_t _s, j
    cdef real mean
    for _s in range(m):
        for j in range(f.n_a):
            da[j] = exp(a[j]) * dz[j]
        mean = row_sum(da, f.n_a)
        for j in range(f.n_a):
            da[j] = dz[j] - mean
        a += f.a_row
        dz += dz_row
        da += da_row


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
        # 2^-96, 2^-600
        c = <real>1.2621774483536189e-29 if SINGLE else <real>2.409919865102884e-181
        s = centred(z, c, n, x)
    r = gain / s
    for j in range(n):
        x[j] *= r
    return c / s


cdef inline void layer_norm(const Layer *f, real *z, Py_ssize_t m, real *a) noexcept nogil:
    # a = p (z - mean) / s   (m, n_a)                                                    a  # OUT
    cdef Py_ssize_t s
    for s in range(m):
        standardised(z + s * f.z_row, <real>f.p, f.n_a, a + s * f.a_row)


cdef inline void layer_norm_product(const Layer *f, const real *z, const real *a, const real *x,
                                    Py_ssize_t x_row, Py_ssize_t m, real *y,
                                    Py_ssize_t y_row) noexcept nogil:
    # h = p x, u = (z - mean) / s: y = (h - mean h - u mean(h * u)) / s                     y  # OUT
    # with one gain for all, J is symmetric: this is J^T g and J dz
    cdef Py_ssize_t _s, j, n = f.n_a
    cdef real gain = <real>f.p, r, h_mean, hu_mean
    for _s in range(m):
        r = standardised(z, <real>1, n, y)
        h_mean = gain * (row_sum(x, n) / <real>n)
        hu_mean = gain * (row_dot(x, y, n) / <real>n)
        for j in range(n):
            y[j] = (gain * x[j] - h_mean - y[j] * hu_mean) * r
        z += f.z_row
        x += x_row
        y += y_row


cdef inline Py_ssize_t argmax_of_group(const real *z, Py_ssize_t p) noexcept nogil:
    """Index of the largest of p; of equals the first. A NaN wins, so that it is not lost."""
    cdef Py_ssize_t i, best = 0
    for i in range(1, p):
        if z[i] > z[best] or (z[i] != z[i] and z[best] == z[best]):
            best = i
    return best


cdef inline void maxout(const Layer *f, real *z, Py_ssize_t m, real *a) noexcept nogil:
    # a_k = max of the k-th p consecutive z   (m, n_a)                                   a  # OUT
    cdef Py_ssize_t _s, k, p = <Py_ssize_t>f.p
    for _s in range(m):
        for k in range(f.n_a):
            a[k] = z[k * p + argmax_of_group(z + k * p, p)]
        z += f.z_row
        a += f.a_row


cdef inline void maxout_vjp(const Layer *f, const real *z, const real *a, const real *g,
                            Py_ssize_t g_row, Py_ssize_t m, real *delta,
                            Py_ssize_t delta_row) noexcept nogil:
    # g_k goes to the largest z of its group, 0 to the others  (m, n_a p)               delta  # OUT
    cdef Py_ssize_t _s, k, i, p = <Py_ssize_t>f.p
    for _s in range(m):
        for k in range(f.n_a):
            for i in range(p):
                delta[k * p + i] = <real>0
            delta[k * p + argmax_of_group(z + k * p, p)] = g[k]
        z += f.z_row
        g += g_row
        delta += delta_row


cdef inline void maxout_jvp(const Layer *f, const real *z, const real *a, const real *dz,
                            Py_ssize_t dz_row, Py_ssize_t m, real *da,
                            Py_ssize_t da_row) noexcept nogil:
    # of each group the dz of its largest z                                              da  # OUT
    cdef Py_ssize_t _s, k, p = <Py_ssize_t>f.p
    for _s in range(m):
        for k in range(f.n_a):
            da[k] = dz[k * p + argmax_of_group(z + k * p, p)]
        z += f.z_row
        dz += dz_row
        da += da_row


cdef inline void glu(const Layer *f, real *z, Py_ssize_t m, real *a) noexcept nogil:
    # z = (u, v): a = u * s(v)   (m, n_a)                                                a  # OUT
    cdef Py_ssize_t _s, j
    for _s in range(m):
        for j in range(f.n_a):
            a[j] = z[j] * sigmoid(z[f.n_a + j])
        z += f.z_row
        a += f.a_row


cdef inline void glu_vjp(const Layer *f, const real *z, const real *a, const real *g,
                         Py_ssize_t g_row, Py_ssize_t m, real *delta,
                         Py_ssize_t delta_row) noexcept nogil:
    # delta_u = g * s(v), delta_v = g * u * s'(v)  (m, 2 n_a)                           delta  # OUT
    cdef Py_ssize_t _s, j, n = f.n_a
    cdef real gate, slope
    for _s in range(m):
        for j in range(n):
            gate = value_and_slope(<Sigmoid *>NULL, z[n + j], <real>0, &slope)
            delta[j] = g[j] * gate
            delta[n + j] = g[j] * (z[j] * slope)
        z += f.z_row
        g += g_row
        delta += delta_row


cdef inline void glu_jvp(const Layer *f, const real *z, const real *a, const real *dz,
                         Py_ssize_t dz_row, Py_ssize_t m, real *da,
                         Py_ssize_t da_row) noexcept nogil:
    # da = dz_u * s(v) + u * s'(v) dz_v                                                  da  # OUT
    cdef Py_ssize_t _s, j, n = f.n_a
    cdef real gate, slope
    for _s in range(m):
        for j in range(n):
            gate = value_and_slope(<Sigmoid *>NULL, z[n + j], <real>0, &slope)
            da[j] = dz[j] * gate + z[j] * slope * dz[n + j]
        z += f.z_row
        dz += dz_row
        da += da_row


# ---- the table -----------------------------------------------------------------------------------

cdef enum:
    N_SIGMAS = 20


cdef inline Sigma of_elements(const char *name, Values values, Values slopes) noexcept:
    return Sigma(name, True, values, slopes, times_slopes, times_slopes)


cdef inline Sigma of_rows(const char *name, Values values, Product vjp, Product jvp) noexcept:
    return Sigma(name, False, values, values, vjp, jvp)


cdef inline void fill_sigmas(Sigma *table) noexcept:
    """One row a kind.                                                            table  # OUT"""
    cdef Sigma[N_SIGMAS] rows = [
        of_elements("identity", <Values>values[Identity], <Values>values_and_slopes[Identity]),
        of_elements("sigmoid", <Values>values[Sigmoid], <Values>values_and_slopes[Sigmoid]),
        of_elements("tanh", <Values>values[Tanh], <Values>values_and_slopes[Tanh]),
        of_elements("relu", <Values>values[Relu], <Values>values_and_slopes[Relu]),
        of_elements("leaky_relu", <Values>values[LeakyRelu], <Values>values_and_slopes[LeakyRelu]),
        of_elements("elu", <Values>values[Elu], <Values>values_and_slopes[Elu]),
        of_elements("selu", <Values>values[Selu], <Values>values_and_slopes[Selu]),
        of_elements("gelu", <Values>values[Gelu], <Values>values_and_slopes[Gelu]),
        of_elements("gelu_tanh", <Values>values[GeluTanh], <Values>values_and_slopes[GeluTanh]),
        of_elements("silu", <Values>values[Silu], <Values>values_and_slopes[Silu]),
        of_elements("mish", <Values>values[Mish], <Values>values_and_slopes[Mish]),
        of_elements("softplus", <Values>values[Softplus], <Values>values_and_slopes[Softplus]),
        of_elements("softsign", <Values>values[Softsign], <Values>values_and_slopes[Softsign]),
        of_elements("hardtanh", <Values>values[Hardtanh], <Values>values_and_slopes[Hardtanh]),
        of_elements("exp", <Values>values[Exp], <Values>values_and_slopes[Exp]),
        of_rows("softmax", softmax, softmax_product, softmax_product),
        of_rows("log_softmax", log_softmax, log_softmax_vjp, log_softmax_jvp),
        of_rows("layer_norm", layer_norm, layer_norm_product, layer_norm_product),
        of_rows("maxout", maxout, maxout_vjp, maxout_jvp),
        of_rows("glu", glu, glu_vjp, glu_jvp),
    ]
    memcpy(table, rows, sizeof(rows))
