"""Costs: C and dC/da side by side, and the output error of the canonical pairs.

What belongs here: for each cost one scalar body that gives a sample's term C_j and dC/da_j; for
each canonical pair (output activation, cost) the term on z and delta_j = dC/dz_j, which loses no
digits where a saturates; at the end their tables. What does not: J^T g (activation.pxd), means over
samples (passes.pxi).

Adding a cost: a tag, a branch in `term_and_slope` and a row. Its facts stand in `functions.py`.

y = 0 times ln a = -inf counts as 0: logarithms and quotients see a >= the smallest normal number.
"""
from libc.string cimport memcpy

from fastbp.kernels.arithmetic.elementary cimport exp, expm1, log, log1p, tanh
from fastbp.kernels.arithmetic.real cimport TINY, fabs, real
from fastbp.kernels.arithmetic.reductions cimport row_dot
from fastbp.kernels.tables cimport Cost, Terms

cdef struct Quadratic:
    char tag
cdef struct MeanSquared:
    char tag
cdef struct Absolute:
    char tag
cdef struct Huber:
    char tag
cdef struct LogCosh:
    char tag
cdef struct BinaryCrossEntropy:
    char tag
cdef struct CrossEntropy:
    char tag
cdef struct KullbackLeibler:
    char tag
cdef struct Hinge:
    char tag
cdef struct SquaredHinge:
    char tag
cdef struct Poisson:
    char tag
cdef struct Pinball:
    char tag
# canonical pairs: x is z, and the slope is delta_j
cdef struct SigmoidBinaryCrossEntropy:
    char tag
cdef struct ExpPoisson:
    char tag

ctypedef fused separable:
    Quadratic
    MeanSquared
    Absolute
    Huber
    LogCosh
    BinaryCrossEntropy
    CrossEntropy
    KullbackLeibler
    Hinge
    SquaredHinge
    Poisson
    Pinball
    SigmoidBinaryCrossEntropy
    ExpPoisson


cdef inline real at_least_tiny(real a) noexcept nogil:
    """a, or the smallest normal number where a is less (NaN stays NaN)."""
    return TINY if a < TINY else a


cdef inline real term_and_slope(separable *tag, real x, real y, real p, real *slope) noexcept nogil:
    """C_j and dC/dx_j; x is a (for a canonical pair z), p the cost's parameter (mse: factor/n)."""
    cdef real a, b, r, s
    if separable is Quadratic:
        r = x - y
        slope[0] = r
        return <real>0.5 * r * r
    elif separable is MeanSquared:
        r = x - y
        s = r * p  # before r^2, which a small factor may bring back into range
        slope[0] = <real>2 * s
        return r * s
    elif separable is Absolute:  # sgn 0 = 0
        r = x - y
        s = <real>1 if r > <real>0 else r * <real>0
        slope[0] = <real>-1 if r < <real>0 else s
        return fabs(r)
    elif separable is Huber:
        r = x - y
        s = -p if r < -p else r
        s = p if s > p else s
        slope[0] = s
        # d(|r| - d/2) outside, r^2/2 inside: both are s (r - s/2)
        return s * (r - <real>0.5 * s)
    elif separable is LogCosh:  # p^2 ln cosh u, u = r/p
        r = x - y
        s = r * (<real>1 / p)
        slope[0] = p * tanh(s)
        r = fabs(r)
        s = fabs(s)
        # |u| + log1p(e^-2|u|) - ln 2 cancels near 0; there log1p(cosh u - 1), e = e^|u| - 1. Far
        # away |r| stands for p |u|, which may be infinite, near 0 r^2/2, where u^2 is nothing
        b = r + p * (log1p(exp(<real>-2 * s)) - <real>0.6931471805599453)
        a = expm1(<real>1 if s > <real>1 else s)
        a = log1p(a * a / (<real>2 * (<real>1 + a))) * p
        a = p * (a if s < <real>1 else b)
        return <real>0.5 * r * r if s < <real>1e-8 else a
    elif separable is BinaryCrossEntropy:
        a = at_least_tiny(x)
        b = at_least_tiny(<real>1 - x)
        slope[0] = (<real>1 - y) / b - y / a
        return -(y * log(a) + (<real>1 - y) * log(b))
    elif separable is CrossEntropy:
        a = at_least_tiny(x)
        slope[0] = -y / a
        return -y * log(a)
    elif separable is KullbackLeibler:
        a = at_least_tiny(x)
        slope[0] = -y / a
        return y * (log(at_least_tiny(y)) - log(a))
    elif separable is Hinge:  # slope 0 at ya = 1
        r = <real>1 - y * x
        slope[0] = -y if r > <real>0 else <real>0
        return <real>0 if r < <real>0 else r
    elif separable is SquaredHinge:
        r = <real>1 - y * x
        r = <real>0 if r < <real>0 else r
        slope[0] = <real>-2 * y * r
        return r * r
    elif separable is Poisson:
        a = at_least_tiny(x)
        slope[0] = <real>1 - y / a
        return x - y * log(a)
    elif separable is Pinball:  # slope 0 at a = y
        r = y - x
        s = -p if r > <real>0 else <real>0
        slope[0] = <real>1 - p if r < <real>0 else s
        a = p * r
        b = (p - <real>1) * r
        return b if b > a else a
    elif separable is SigmoidBinaryCrossEntropy:
        # C = max(z, 0) - z y + log1p(e^-|z|); delta = a - y, from e^-|z| as a itself is
        r = exp(-fabs(x))
        s = <real>1 / (<real>1 + r)
        a = s if x >= <real>0 else r * s
        slope[0] = a - y
        b = <real>0 if x < <real>0 else x
        return b - x * y + log1p(r)
    else:  # ExpPoisson: C = e^z - y z, delta = a - y
        a = exp(x)
        slope[0] = a - y
        return a - y * x


cdef inline void terms_and_slopes(const separable *inputs, const real *y, real p, Py_ssize_t n,
                                  real *term, real *slope) noexcept nogil:
    # C_j and dC/dx_j of n outputs, of one sample or many (n,); term may be y     term, slope  # OUT
    # `inputs` is x, a const real *: the type that it is given under names the kind, as a tag does
    cdef const real *x = <const real *>inputs
    cdef Py_ssize_t j
    cdef real s
    for j in range(n):
        term[j] = term_and_slope(<separable *>NULL, x[j], y[j], p, &s)
        slope[j] = s


# softmax with cross_entropy or kl: C = sum_j y_j (log sum - c(z_j - max z)), where no two terms
# have different signs, and delta = c (a sum y - y). The part of C that needs z comes before a
# replaces it.

cdef inline real cost_of_shifted(const real *shifted, const real *y, bint kl,
                                 Py_ssize_t n) noexcept nogil:
    """-<y, c(z - max z)>, for kl with sum y ln y."""
    cdef Py_ssize_t j
    cdef real C = -row_dot(shifted, y, n)
    if C != C:  # 0 times -infinity is 0
        C = <real>0
        for j in range(n):
            if y[j] != <real>0:
                C -= shifted[j] * y[j]
    if kl:
        for j in range(n):
            C += y[j] * log(at_least_tiny(y[j]))
    return C


cdef inline void softmax_delta(const real *a, const real *y, real c, Py_ssize_t n, real total,
                               real *delta) noexcept nogil:
    # delta = c (a sum y - y)  (n,)                                                     delta  # OUT
    cdef Py_ssize_t j
    for j in range(n):
        delta[j] = c * (a[j] * total - y[j])


cdef inline void gaussian_nll(const real *a, const real *y, real p, Py_ssize_t n, real *term,
                              real *g) noexcept nogil:
    # of one sample: a = (mu, s), s = ln variance, both (n/2,):
    # C = 1/2 sum [s + (y - mu)^2 e^-s]                                              term, g  # OUT
    cdef Py_ssize_t j, half = n / 2
    cdef real r, w, x
    for j in range(half):
        r = a[j] - y[j]
        # e^-s in four factors: where one is infinite, so is (y - mu)^2 e^-s, but for r = 0
        w = exp(<real>-0.25 * a[half + j])
        w = <real>0 if r == <real>0 else w
        x = r * w * w
        g[j] = x * w * w
        g[half + j] = <real>0.5 * (<real>1 - x * x)
        term[j] = <real>0.5 * (a[half + j] + x * x)


# ---- the tables ----------------------------------------------------------------------------------

cdef struct Canonical:
    # An output and a cost whose error is taken from z: by terms on z, or (NULL) as softmax's
    const char *sigma
    const char *cost
    Terms terms_of_z


cdef enum:
    N_COSTS = 13
    N_CANONICAL = 4


cdef inline Cost of_outputs(const char *name, Terms terms, double off_target=0.0,
                            bint has_entropy=False) noexcept:
    return Cost(name, True, 1, off_target, has_entropy, terms)


cdef inline void fill_costs(Cost *table) noexcept:
    """One row a kind.                                                            table  # OUT"""
    cdef Cost[N_COSTS] rows = [
        of_outputs("quadratic", <Terms>terms_and_slopes[Quadratic]),
        of_outputs("mse", <Terms>terms_and_slopes[MeanSquared]),
        of_outputs("mae", <Terms>terms_and_slopes[Absolute]),
        of_outputs("huber", <Terms>terms_and_slopes[Huber]),
        of_outputs("log_cosh", <Terms>terms_and_slopes[LogCosh]),
        of_outputs("binary_cross_entropy", <Terms>terms_and_slopes[BinaryCrossEntropy]),
        of_outputs("cross_entropy", <Terms>terms_and_slopes[CrossEntropy]),
        of_outputs("kl", <Terms>terms_and_slopes[KullbackLeibler], 0.0, True),
        of_outputs("hinge", <Terms>terms_and_slopes[Hinge], -1.0),
        of_outputs("squared_hinge", <Terms>terms_and_slopes[SquaredHinge], -1.0),
        of_outputs("poisson", <Terms>terms_and_slopes[Poisson]),
        of_outputs("pinball", <Terms>terms_and_slopes[Pinball]),
        Cost("gaussian_nll", False, 2, 0.0, False, gaussian_nll),
    ]
    memcpy(table, rows, sizeof(rows))


cdef inline void fill_canonical(Canonical *table) noexcept:
    """One row a pair.                                                            table  # OUT"""
    cdef Canonical[N_CANONICAL] rows = [
        Canonical("sigmoid", "binary_cross_entropy",
                  <Terms>terms_and_slopes[SigmoidBinaryCrossEntropy]),
        Canonical("exp", "poisson", <Terms>terms_and_slopes[ExpPoisson]),
        Canonical("softmax", "cross_entropy", NULL),
        Canonical("softmax", "kl", NULL),
    ]
    memcpy(table, rows, sizeof(rows))
