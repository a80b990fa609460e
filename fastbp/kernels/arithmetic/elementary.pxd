# Scalar elementary functions, one body for float32 and float64.
#
# What belongs here: exp, log, tanh and their kin, and the arithmetic tools they are made of. What
# does not: activations, costs and derivatives (activation.pxd, cost.pxd), loops, anything with a
# shape.
#
# Every function is branch-free straight-line arithmetic: a plain loop over it vectorises at every
# CPU level (GCC needs -fno-trapping-math to turn the selects into blends), and a scalar tail gives
# the bits of the vector body. Only `fma` depends on the level, so avx2 and avx512 agree to the bit;
# the baseline may differ by a rounding, within the same bounds. Build with -ffp-contract=off: a
# contraction the compiler picks by itself would break that promise.
#
# Domain: all of them take every real number, subnormals, +-0, +-inf; NaN gives NaN. "max ULP" is
# the largest error found against exact values, in units in the last place of the result, at any
# level, as "float32 / float64". Searched: float32, every 61st of all bit patterns and 10 million
# ordinary values, and every single one for exp, tanh and sigmoid at avx512; float64, 1.7 million
# points each against 113 bits. tests/kernels/test_elementary.py holds all of them to 2.
#
cimport cython
from libc.math cimport INFINITY, NAN
from libc.stdint cimport int32_t

from fastbp.kernels.arithmetic.real cimport (
    MANTISSA, SINGLE, TINY, bits, copysign, fabs, fma, from_bits, product_error, real, real_bits,
    sqrt)


# ---- tools: exact, or correctly rounded ----------------------------------------------------------

cdef inline real fmin(real x, real bound) noexcept nogil:
    # x, but at most `bound`. Unlike C's fmin it lets a NaN in x through: a clamp must not hide one
    return bound if bound < x else x


cdef inline real fmax(real x, real bound) noexcept nogil:
    # x, but at least `bound`; a NaN in x passes
    return bound if bound > x else x


cdef inline real least(real x, real bound) noexcept nogil:
    # the smaller of two numbers that are not negative, `bound` for NaN: their bits compare as they
    # do, in one instruction where GCC makes four of fmin (tanh on AVX2: a fifth)
    cdef real_bits u = bits(x), v = bits(bound)
    return from_bits(v if v < u else u)


# ---- building blocks -----------------------------------------------------------------------------
#
# e^x = 2^n e^r with n = round(x / ln 2), |r| <= ln(2)/2. Adding `1.5 * 2^52 + i` (float32: 2^23)
# rounds to an integer and leaves n + i in the low bits of the sum, ready to become an exponent: no
# conversion to int64, which AVX2 has not.

cdef inline real _shift(real offset) noexcept nogil:
    # what to add to n so that _power_of_two makes 2^(n + offset) of the sum
    if SINGLE:
        return <real>(12582912.0 + 127.0) + offset
    else:
        return <real>(6755399441055744.0 + 1023.0) + offset


cdef inline real _power_of_two(real shifted) noexcept nogil:
    # 2^(n + offset) from n + _shift(offset)
    return from_bits(bits(shifted) << MANTISSA)


cdef inline real _round_log2(real x, real shift) noexcept nogil:
    # round(x / ln 2) + shift
    return fma(x, <real>1.4426950408889634, shift)


cdef inline real _remainder_ln2_head(real x, real n) noexcept nogil:
    # x - n h for h close to ln 2; h ends in zeros, so n h and the difference are exact with and
    # without fma
    if SINGLE:
        return fma(n, <real>-0.693359375, x)
    else:
        return fma(n, <real>-6.93147180369123816490e-01, x)


cdef inline real _remainder_ln2_tail(real low, real n) noexcept nogil:
    # low - n (ln 2 - h): x + low - n ln 2 is head + tail, and the tail is small
    if SINGLE:
        return fma(n, <real>2.12194440e-4, low)
    else:
        return fma(n, <real>-1.90821492927058770002e-10, low)


cdef inline real _remainder_ln2(real x, real n) noexcept nogil:
    # x - n ln 2
    return _remainder_ln2_tail(_remainder_ln2_head(x, n), n)


cdef inline real _exp_polynomial(real r) noexcept nogil:
    # q(r) in e^r = 1 + r + r^2 q(r) for |r| <= ln(2)/2
    cdef real q
    if SINGLE:
        q = 0.00139466813
        q = fma(q, r, <real>0.00836675521)
        q = fma(q, r, <real>0.0416662805)
        q = fma(q, r, <real>0.16666542)
        q = fma(q, r, <real>0.5)
    else:
        q = 2.5114748411744283e-08
        q = fma(q, r, <real>2.762668074996522e-07)
        q = fma(q, r, <real>2.7557227179558867e-06)
        q = fma(q, r, <real>2.480150359380106e-05)
        q = fma(q, r, <real>0.00019841269903779607)
        q = fma(q, r, <real>0.001388888893305062)
        q = fma(q, r, <real>0.008333333333314302)
        q = fma(q, r, <real>0.04166666666657171)
        q = fma(q, r, <real>0.16666666666666685)
        q = fma(q, r, <real>0.5000000000000006)
    return q


cdef inline real _expm1_kernel(real r) noexcept nogil:
    # e^r - 1 for |r| <= ln(2)/2
    return fma(r * r, _exp_polynomial(r), r)


@cython.cdivision(True)
cdef inline real _log_kernel(real k, real f) noexcept nogil:
    # k ln 2 + ln(1 + f) for integer k, sqrt(1/2) - 1 <= f <= sqrt(2) - 1
    cdef real half_square = <real>0.5 * f * f
    cdef real q, s, y
    if SINGLE:
        # ln(1 + f) = f - f^2/2 + f^3 q(f): five more fma are cheaper than a division
        q = 0.0691562369
        q = fma(q, f, <real>-0.117897861)
        q = fma(q, f, <real>0.118728399)
        q = fma(q, f, <real>-0.123843409)
        q = fma(q, f, <real>0.142186761)
        q = fma(q, f, <real>-0.166692525)
        q = fma(q, f, <real>0.20002225)
        q = fma(q, f, <real>-0.249999866)
        q = fma(q, f, <real>0.333333105)
        y = fma(k, <real>-2.12194440e-4, f * f * f * q)
        return fma(k, <real>0.693359375, f - (half_square - y))
    else:
        # ln(1 + f) = 2 atanh(s) = 2s + s^3 q(s^2) with s = f / (2 + f), and 2s = f - s f
        s = f / (<real>2 + f)
        y = s * s
        q = 0.1479609791139484
        q = fma(q, y, <real>0.1531403650896081)
        q = fma(q, y, <real>0.1818356484443038)
        q = fma(q, y, <real>0.22222198563802184)
        q = fma(q, y, <real>0.28571428742473404)
        q = fma(q, y, <real>0.39999999999414315)
        q = fma(q, y, <real>0.6666666666666734)
        y = fma(s, fma(y, q, half_square), k * <real>1.90821492927058770002e-10)
        return fma(k, <real>6.93147180369123816490e-01, f - (half_square - y))


cdef inline real _rough_reciprocal(real d) noexcept nogil:
    # 1/d within 6 %, for normal d > 0: subtracting the bits negates the exponent
    if SINGLE:
        return from_bits(<real_bits>0x7ef311c7 - bits(d))
    else:
        return from_bits(<real_bits>0x7fde623822fc16e6 - bits(d))


# ---- exponentials --------------------------------------------------------------------------------

cdef inline real exp(real x) noexcept nogil:
    # e^x    max ULP: 1.06 / 1.01
    cdef real low, high, shift, rest, shifted, p
    # 2^n alone can lie outside the type (2^-1074 e^r, 2^1024 e^r): 2^n = 2^(n + offset) `rest`,
    # which also rounds a subnormal result once only. `low` rounds to 0, `high` overflows.
    if SINGLE:
        low, high = -104, 89
        shift = _shift(<real>-32) if x > <real>0 else _shift(<real>32)
        rest = <real>4294967296.0 if x > <real>0 else <real>2.3283064365386963e-10
    else:
        low, high = -746, 710
        shift = _shift(<real>-64) if x > <real>0 else _shift(<real>64)
        rest = <real>18446744073709551616.0 if x > <real>0 else <real>5.421010862427522e-20
    x = fmin(fmax(x, low), high)
    shifted = _round_log2(x, shift)
    p = _expm1_kernel(_remainder_ln2(x, shifted - shift))
    return (<real>1 + p) * _power_of_two(shifted) * rest


cdef inline real expm1(real x) noexcept nogil:
    # e^x - 1    max ULP: 1.69 / 1.73
    cdef real low, high, tiny, y, shifted, half_power, head, r, p
    cdef real shift = _shift(<real>-1)
    if SINGLE:
        low, high, tiny = -20, 89, 2.9802322387695312e-08
    else:
        low, high, tiny = -40, 710, 5.551115123125783e-17
    y = fmin(fmax(x, low), high)
    shifted = _round_log2(y, shift)
    head = _remainder_ln2_head(y, shifted - shift)
    low = _remainder_ln2_tail(<real>0, shifted - shift)
    r = head + low
    # cancellation at 2^n = 2 would make the rounding of r visible
    p = r + fma(r * r, _exp_polynomial(r), (head - r) + low)
    # 2^n (1 + p) - 1, by halves because 2^1024 overflows
    half_power = _power_of_two(shifted)
    y = <real>2 * fma(half_power, p, half_power - <real>0.5)
    # halving spoils a subnormal, the sum the sign of -0
    return x if fabs(x) < tiny else y


@cython.cdivision(True)
cdef inline real sigmoid(real z) noexcept nogil:
    # 1 / (1 + e^-z)    max ULP: 1.75 / 1.73
    cdef real low, high, shift, one, shifted, power, sum, lost, p
    # Numerator and denominator scaled by 2^-64 (float32: 2^-32): e^-z may exceed the type where its
    # reciprocal is still a subnormal number. One exponential, no case for z < 0.
    if SINGLE:
        low, high, one = -18, 105, 2.3283064365386963e-10
        shift = _shift(<real>-32)
    else:
        low, high, one = -40, 747, 5.421010862427522e-20
        shift = _shift(<real>-64)
    z = fmin(fmax(-z, low), high)
    shifted = _round_log2(z, shift)
    power = _power_of_two(shifted)
    # 1 + e^-z = (2^n + 1) + 2^n p is rounded once: what 2^n + 1 may lose, it gets back
    sum = power + one
    lost = one - (sum - power)
    p = _expm1_kernel(_remainder_ln2(z, shifted - shift))
    return one / (sum + fma(power, p, lost))


@cython.cdivision(True)
cdef inline real tanh_and_slope(real x, real *slope) noexcept nogil:
    # tanh a = M / (1 + M) and tanh' a = r (1 + tanh a) with M = (e^2a - 1) / 2, r = 1 / (1 + M):
    # one division and no case for small a (bench/test_kernels.py). Only 1 - r loses digits there,
    # and it gets them back: it is off by (M (1 - y) - y) r, where 1 - y is exact.
    # max ULP of tanh: 1.78 / 1.83; the slope is off by at most 2 eps, as far as it is normal; the
    # last before it overflows to 0 are subnormal
    cdef real a, y, M, r, shifted, half_power, top, large
    cdef real shift = _shift(<real>-1)
    if SINGLE:
        top, large = shift + <real>128, 1073741824.0
    else:
        top, large = shift + <real>1024, 1152921504606846976.0
    a = fabs(x)
    y = a + a
    shifted = least(_round_log2(y, shift), top)  # the remainder grows then, and M overflows
    half_power = _power_of_two(shifted)
    y = _expm1_kernel(_remainder_ln2(y, shifted - shift))
    M = fma(half_power, y, half_power - <real>0.5)
    r = <real>1 / (<real>1 + M)
    y = <real>1 - r
    M = least(M, large)                         # infinity times 0
    y = fma(product_error(M, <real>1 - y, y), r, y)
    slope[0] = fma(r, y, r)
    return copysign(y, x)


cdef inline real tanh(real x) noexcept nogil:
    # tanh x    max ULP: 1.78 / 1.83
    cdef real slope
    return tanh_and_slope(x, &slope)


# ---- logarithms ----------------------------------------------------------------------------------

cdef inline real log(real x) noexcept nogil:
    # ln x; -inf at +-0, NaN below    max ULP: 0.81 / 0.85
    cdef real k, m, y, bias, special
    cdef real_bits u
    # x = 2^k m with sqrt(1/2) <= m < sqrt(2): the offset between the bits of 1 and of sqrt(1/2)
    # makes the carry into the exponent happen at sqrt(2). Subnormals are scaled up first.
    if SINGLE:
        bias = <real>(127 + 25) if x < TINY else <real>127
        y = x * <real>33554432.0 if x < TINY else x
        u = bits(y) + <real_bits>(0x3f800000 - 0x3f3504f3)
        k = <real><int32_t>(u >> MANTISSA) - bias
        m = from_bits((u & <real_bits>0x007fffff) + <real_bits>0x3f3504f3)
    else:
        bias = <real>(1023 + 54) if x < TINY else <real>1023
        y = x * <real>18014398509481984.0 if x < TINY else x
        u = bits(y) + (<real_bits>0x3ff0000000000000 - <real_bits>0x3fe6a09e667f3bcd)
        # to a floating-point number by way of the mantissa of 2^52
        k = from_bits((u >> MANTISSA) | <real_bits>0x4330000000000000)
        k = k - <real>4503599627370496.0 - bias
        m = from_bits((u & <real_bits>0x000fffffffffffff) + <real_bits>0x3fe6a09e667f3bcd)
    y = _log_kernel(k, m - <real>1)
    special = <real>-INFINITY if x == <real>0 else <real>NAN
    y = y if x > <real>0 else special
    return x if x == <real>INFINITY else y


cdef inline real log1p(real x) noexcept nogil:
    # ln(1 + x); -inf at -1, NaN below    max ULP: 1.37 / 1.31
    cdef real k, f, y, scale, tiny, special
    cdef real_bits u
    # 1 + x = 2^k (1 + f), f = 2^-k x + (2^-k - 1): nothing of x is lost, whatever 1 + x rounds to.
    # `scale` is 4 2^-k, because 2^-1024 is subnormal.
    if SINGLE:
        tiny = 2.9802322387695312e-08
        u = bits(<real>1 + x) + <real_bits>(0x3f800000 - 0x3f3504f3)
        u = u >> MANTISSA
        k = <real><int32_t>u - <real>127
        scale = from_bits((<real_bits>256 - u) << MANTISSA)
    else:
        tiny = 5.551115123125783e-17
        u = bits(<real>1 + x) + (<real_bits>0x3ff0000000000000 - <real_bits>0x3fe6a09e667f3bcd)
        u = u >> MANTISSA
        k = from_bits(u | <real_bits>0x4330000000000000) - <real>(4503599627370496.0 + 1023.0)
        scale = from_bits((<real_bits>2048 - u) << MANTISSA)
    f = fma(<real>0.25 * x, scale, <real>0.25 * scale - <real>1)
    y = _log_kernel(k, f)
    # 0.25 x spoils a subnormal, the sum the sign of -0
    y = x if fabs(x) < tiny else y
    special = <real>-INFINITY if x == <real>-1 else <real>NAN
    y = y if x > <real>-1 else special
    return x if x == <real>INFINITY else y


cdef inline real softplus(real z) noexcept nogil:
    # ln(1 + e^z) = max(z, 0) + ln(1 + e^-|z|)    max ULP: 1.69 / 1.66
    cdef real e = exp(-fabs(z))
    # 1 + e in [1, 2] is 2^k (1 + f) with k = 0 or 1
    cdef bint above = e > <real>0.41421356
    cdef real k = <real>1 if above else <real>0
    cdef real f = fma(<real>0.5, e, <real>-0.5) if above else e
    return fmax(z, <real>0) + _log_kernel(k, f)


# ---- the normal distribution ---------------------------------------------------------------------

cdef inline real erf(real x) noexcept nogil:
    # 2/sqrt(pi) int_0^x e^-t^2 dt    max ULP: 1.25 / 1.40
    cdef real a, y, q, near, far, shifted, power, border
    cdef real shift = _shift(<real>0)
    if SINGLE:
        a = fmin(fabs(x), <real>3.95)       # erf(3.95) rounds to 1
        y = a * a
        # |x| < border: a + a q(a^2)
        border = 0.8
        q = -0.000654918433
        q = fma(q, y, <real>0.0050873803)
        q = fma(q, y, <real>-0.026822079)
        q = fma(q, y, <real>0.112831421)
        q = fma(q, y, <real>-0.376126051)
        q = fma(q, y, <real>0.128379166)
        near = fma(a, q, a)
        # beyond: 1 - e^q(a), q = ln erfc: no division, and 1 - erf need not be accurate in relative
        # terms
        q = 0.000207443445
        q = fma(q, a, <real>-0.00315351598)
        q = fma(q, a, <real>0.0226558372)
        q = fma(q, a, <real>-0.104798064)
        q = fma(q, a, <real>-0.636222601)
        q = fma(q, a, <real>-1.12822855)
        q = fma(q, a, <real>-6.60482547e-05)
    else:
        a = fmin(fabs(x), <real>5.95)
        y = a * a
        border = 0.75
        q = 1.1474600353107505e-08
        q = fma(q, y, <real>-1.5940668651185732e-07)
        q = fma(q, y, <real>1.6430757426871524e-06)
        q = fma(q, y, <real>-1.4924201239687284e-05)
        q = fma(q, y, <real>0.00012055289768327923)
        q = fma(q, y, <real>-0.0008548326193814894)
        q = fma(q, y, <real>0.005223977615497989)
        q = fma(q, y, <real>-0.026866170644435295)
        q = fma(q, y, <real>0.11283791670952627)
        q = fma(q, y, <real>-0.37612638903183715)
        q = fma(q, y, <real>0.1283791670955126)
        near = fma(a, q, a)
        q = 1.8267411789731175e-12
        q = fma(q, a, <real>-7.944007390866857e-11)
        q = fma(q, a, <real>1.6187819590371677e-09)
        q = fma(q, a, <real>-2.053145001235786e-08)
        q = fma(q, a, <real>1.813683484593441e-07)
        q = fma(q, a, <real>-1.1805411343835078e-06)
        q = fma(q, a, <real>5.817653590244146e-06)
        q = fma(q, a, <real>-2.1761146419227092e-05)
        q = fma(q, a, <real>5.962959394937796e-05)
        q = fma(q, a, <real>-0.00010266814505521083)
        q = fma(q, a, <real>1.2236000036590425e-05)
        q = fma(q, a, <real>0.0005609211426534406)
        q = fma(q, a, <real>-0.001679778728722733)
        q = fma(q, a, <real>0.00020312399803058888)
        q = fma(q, a, <real>0.01912933763561788)
        q = fma(q, a, <real>-0.10277218720379143)
        q = fma(q, a, <real>-0.6366200624351038)
        q = fma(q, a, <real>-1.128379092512124)
        q = fma(q, a, <real>-7.622842584482971e-09)
    shifted = _round_log2(q, shift)
    power = _power_of_two(shifted)
    y = _expm1_kernel(_remainder_ln2(q, shifted - shift))
    far = fma(-power, y, <real>1 - power)
    return copysign(near if a < border else far, x)


cdef inline real normal_pdf(real z) noexcept nogil:
    # phi(z) = e^(-z^2/2) / sqrt(2 pi)    max ULP: 1.27 / 1.20
    cdef real a, square, low, x, shift, rest, shifted, p, bound
    if SINGLE:
        bound = 14.5                                # phi(bound) rounds to 0
        shift = _shift(<real>32)
        rest = 2.3283064365386963e-10
    else:
        bound = 38.6
        shift = _shift(<real>64)
        rest = 5.421010862427522e-20
    a = fmin(fabs(z), bound)
    # the rounding of z^2 would become an error of up to z^2/2 in the last place
    square = a * a
    x = <real>-0.5 * square
    shifted = _round_log2(x, shift)
    low = _remainder_ln2_tail(<real>-0.5 * product_error(a, a, square), shifted - shift)
    p = _expm1_kernel(_remainder_ln2_head(x, shifted - shift) + low)
    # (1 + p) / sqrt(2 pi), the constant in two parts
    if SINGLE:
        p = <real>0.398942292 + fma(<real>0.398942292, p, <real>-1.13351701e-08)
    else:
        p = <real>0.3989422804014327 + fma(<real>0.3989422804014327, p, <real>-2.49232720227773e-17)
    return p * _power_of_two(shifted) * rest


@cython.cdivision(True)
cdef inline real normal_cdf(real z) noexcept nogil:
    # Phi(z) = erfc(-z/sqrt(2)) / 2, the lower tail in relative terms too    max ULP: 1.70 / 1.82
    cdef real a, square, head, low, x, shift, rest, shifted, r, p, bound
    cdef real t, q, g, n, d, tail, lost
    if SINGLE:
        bound = 14.5                                # Phi(-bound) rounds to 0
        shift = _shift(<real>32)
        rest = 2.3283064365386963e-10
    else:
        bound = 38.6
        shift = _shift(<real>64)
        rest = 5.421010862427522e-20
    a = fmin(fabs(z), bound)
    # e^(-a^2/2) = 2^n e^r, r as in normal_pdf
    square = a * a
    x = <real>-0.5 * square
    shifted = _round_log2(x, shift)
    head = _remainder_ln2_head(x, shifted - shift)
    low = _remainder_ln2_tail(<real>-0.5 * product_error(a, a, square), shifted - shift)
    r = head + low
    low = (head - r) + low
    # Phi(-a) = e^(-a^2/2) G / d with d = a + 9/8. G(t), t = (a - c) / (a + c), runs from 9/16 at a
    # = 0 to 1/sqrt(2 pi): so flat that the rounding of t does little harm. g + q = G.
    if SINGLE:
        t = (a - <real>4) / (a + <real>4)
        q = -7.09399828e-05
        q = fma(q, t, <real>-6.80399535e-05)
        q = fma(q, t, <real>0.000671029731)
        q = fma(q, t, <real>-0.000222329327)
        q = fma(q, t, <real>-0.00494114868)
        q = fma(q, t, <real>0.0168782603)
        q = fma(q, t, <real>-0.0283391774)
        q = fma(q, t, <real>0.0196365993)
        q = fma(q, t, <real>0.0295470059)
        q = fma(q, t, <real>-0.118003182)
        g = 0.483854532
    else:
        t = (a - <real>6) / (a + <real>6)
        q = 1.49273827458173e-09
        q = fma(q, t, <real>2.8200412584417315e-09)
        q = fma(q, t, <real>-1.526413265911117e-08)
        q = fma(q, t, <real>-2.0196105647342e-08)
        q = fma(q, t, <real>1.295818756486359e-07)
        q = fma(q, t, <real>6.941624404702424e-09)
        q = fma(q, t, <real>-9.85788462914369e-07)
        q = fma(q, t, <real>1.6944202856758607e-06)
        q = fma(q, t, <real>4.4723140371144735e-06)
        q = fma(q, t, <real>-2.5667715114938918e-05)
        q = fma(q, t, <real>3.523110255707646e-05)
        q = fma(q, t, <real>0.00012103642609902226)
        q = fma(q, t, <real>-0.0008464480167735169)
        q = fma(q, t, <real>0.0028089740015708378)
        q = fma(q, t, <real>-0.006632578424376529)
        q = fma(q, t, <real>0.012141059662048844)
        q = fma(q, t, <real>-0.017393019347318846)
        q = fma(q, t, <real>0.01821064958463912)
        q = fma(q, t, <real>-0.009038623252870491)
        q = fma(q, t, <real>-0.014611641754494527)
        q = fma(q, t, <real>0.053040361243739016)
        q = fma(q, t, <real>-0.10042495398789808)
        g = 0.4615526145616838
    q = q * t
    d = a + <real>1.125
    # numerator G e^r, all that is small added first
    p = fma(r * r, _exp_polynomial(r), low)
    p = fma(g + q, r, fma(g + q, p, q))
    n = g + p
    tail = n / d
    # the roundings of n, of d and of the division would add up to more than 2 in the last place
    lost = (p - (n - g)) - tail * (a - (d - <real>1.125)) - product_error(tail, d, n)
    tail = fma(lost, _rough_reciprocal(d), tail)
    tail = tail * _power_of_two(shifted) * rest
    return <real>1 - tail if z > <real>0 else tail
