"""The engine's functions in C99: what kernels/arithmetic/elementary.pxd says, term by term.

What belongs here: pieces of C text with what each needs, `ELEMENTWISE` and `COUPLED`, the tables of
activations, and `written`, which puts pieces in order. What does not: layers and numbers of a
network (source.py), why a formula is as it is (kernels/).

In the texts `R(0.5)` is a constant of the file's type, `@a|b@` is a in float and b in double.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple


class Piece(NamedTuple):
    """C text of one function, and the names of those that it calls."""

    text: str
    needs: tuple[str, ...] = ()


_TOOLS = {
    "bits": Piece("""
static unsigned_real bits(real x)
{
    union { real x; unsigned_real u; } v;
    v.x = x;
    return v.u;
}
"""),
    "from_bits": Piece("""
static real from_bits(unsigned_real u)
{
    union { real x; unsigned_real u; } v;
    v.u = u;
    return v.x;
}
"""),
    "product_error": Piece("""
/* a b - p, p close to a b */
static real product_error(real a, real b, real p) { return FMA(a, b, -p); }
"""),
    "power_of_two": Piece(
        """
/* 2^(n + offset) of n + SHIFT + offset */
#define SHIFT R(@12583039.0|6755399441056767.0@)

static real power_of_two(real shifted) { return from_bits(bits(shifted) << @23|52@); }
""",
        ("bits", "from_bits"),
    ),
    "round_log2": Piece("""
/* round(x / ln 2) + shift, which is large */
static real round_log2(real x, real shift) { return FMA(x, R(1.4426950408889634), shift); }
"""),
    "head": Piece("""
/* x - n ln 2 is head + tail */
static real head(real x, real n)
{
    return FMA(n, R(@-0.693359375|-6.93147180369123816490e-01@), x);
}
"""),
    "tail": Piece("""
static real tail(real low, real n)
{
    return FMA(n, R(@2.12194440e-4|-1.90821492927058770002e-10@), low);
}
"""),
    "exp_polynomial": Piece("""
/* q(r) in e^r = 1 + r + r^2 q(r), |r| <= ln(2)/2 */
static real exp_polynomial(real r)
{
    real q = @R(0.00139466813)|2.5114748411744283e-08@;
@    q = FMA(q, r, R(0.00836675521));
    q = FMA(q, r, R(0.0416662805));
    q = FMA(q, r, R(0.16666542));
    return FMA(q, r, R(0.5));|    q = FMA(q, r, 2.762668074996522e-07);
    q = FMA(q, r, 2.7557227179558867e-06);
    q = FMA(q, r, 2.480150359380106e-05);
    q = FMA(q, r, 0.00019841269903779607);
    q = FMA(q, r, 0.001388888893305062);
    q = FMA(q, r, 0.008333333333314302);
    q = FMA(q, r, 0.04166666666657171);
    q = FMA(q, r, 0.16666666666666685);
    return FMA(q, r, 0.5000000000000006);@
}
"""),
    "expm1_near": Piece(
        """
/* e^r - 1, |r| <= ln(2)/2 */
static real expm1_near(real r) { return FMA(r * r, exp_polynomial(r), r); }
""",
        ("exp_polynomial",),
    ),
    "clamp": Piece("""
/* NaN passes */
static real clamp(real x, real low, real high)
{
    x = low > x ? low : x;
    return high < x ? high : x;
}
"""),
    "e_to": Piece(
        """
/* e^x */
static real e_to(real x)
{
    const real shift = x > R(0.0) ? SHIFT - R(@32.0|64.0@) : SHIFT + R(@32.0|64.0@);
    const real rest = x > R(0.0) ? R(@4294967296.0|18446744073709551616.0@)
                                 : R(@2.3283064365386963e-10|5.421010862427522e-20@);
    real shifted, p;
    x = clamp(x, R(@-104.0|-746.0@), R(@89.0|710.0@));
    shifted = round_log2(x, shift);
    p = expm1_near(tail(head(x, shifted - shift), shifted - shift));
    return (R(1.0) + p) * power_of_two(shifted) * rest;
}
""",
        ("clamp", "power_of_two", "round_log2", "head", "tail", "expm1_near"),
    ),
    "e_to_less_1": Piece(
        """
/* e^x - 1 */
static real e_to_less_1(real x)
{
    const real shift = SHIFT - R(1.0);
    real y = clamp(x, R(@-20.0|-40.0@), R(@89.0|710.0@));
    const real shifted = round_log2(y, shift);
    const real top = head(y, shifted - shift);
    const real low = tail(R(0.0), shifted - shift);
    const real r = top + low;
    const real p = r + FMA(r * r, exp_polynomial(r), (top - r) + low);
    const real half_power = power_of_two(shifted);
    y = R(2.0) * FMA(half_power, p, half_power - R(0.5));
    return ABS(x) < R(@2.9802322387695312e-08|5.551115123125783e-17@) ? x : y;
}
""",
        ("clamp", "power_of_two", "round_log2", "head", "tail", "exp_polynomial"),
    ),
    "logistic": Piece(
        """
/* 1 / (1 + e^-z) */
static real logistic(real z)
{
    const real shift = SHIFT - R(@32.0|64.0@);
    const real one = R(@2.3283064365386963e-10|5.421010862427522e-20@);
    real shifted, power, sum, lost, p;
    z = clamp(-z, R(@-18.0|-40.0@), R(@105.0|747.0@));
    shifted = round_log2(z, shift);
    power = power_of_two(shifted);
    sum = power + one;
    lost = one - (sum - power);
    p = expm1_near(tail(head(z, shifted - shift), shifted - shift));
    return one / (sum + FMA(power, p, lost));
}
""",
        ("clamp", "power_of_two", "round_log2", "head", "tail", "expm1_near"),
    ),
    "hyperbolic_tangent": Piece(
        """
static real hyperbolic_tangent(real x)
{
    const real shift = SHIFT - R(1.0), top = shift + R(@128.0|1024.0@);
    const real large = R(@1073741824.0|1152921504606846976.0@);
    real y = ABS(x) + ABS(x), shifted = round_log2(y, shift), half_power, M, r;
    shifted = shifted < top ? shifted : top; /* top for NaN */
    half_power = power_of_two(shifted);
    y = expm1_near(tail(head(y, shifted - shift), shifted - shift));
    M = FMA(half_power, y, half_power - R(0.5));
    r = R(1.0) / (R(1.0) + M);
    y = R(1.0) - r;
    M = M < large ? M : large;
    y = FMA(product_error(M, R(1.0) - y, y), r, y);
    return COPYSIGN(y, x);
}
""",
        ("product_error", "power_of_two", "round_log2", "head", "tail", "expm1_near"),
    ),
    "log_near": Piece("""
/* k ln 2 + ln(1 + f), sqrt(1/2) <= 1 + f <= sqrt(2) */
static real log_near(real k, real f)
{
    const real half_square = R(0.5) * f * f;
@    real q = R(0.0691562369), y;
    q = FMA(q, f, R(-0.117897861));
    q = FMA(q, f, R(0.118728399));
    q = FMA(q, f, R(-0.123843409));
    q = FMA(q, f, R(0.142186761));
    q = FMA(q, f, R(-0.166692525));
    q = FMA(q, f, R(0.20002225));
    q = FMA(q, f, R(-0.249999866));
    q = FMA(q, f, R(0.333333105));
    y = FMA(k, R(-2.12194440e-4), f * f * f * q);
    return FMA(k, R(0.693359375), f - (half_square - y));|
    const double s = f / (2.0 + f), square = s * s;
    double q = 0.1479609791139484, y;
    q = FMA(q, square, 0.1531403650896081);
    q = FMA(q, square, 0.1818356484443038);
    q = FMA(q, square, 0.22222198563802184);
    q = FMA(q, square, 0.28571428742473404);
    q = FMA(q, square, 0.39999999999414315);
    q = FMA(q, square, 0.6666666666666734);
    y = FMA(s, FMA(square, q, half_square), k * 1.90821492927058770002e-10);
    return FMA(k, 6.93147180369123816490e-01, f - (half_square - y));@
}
"""),
    "log_of_1_and": Piece(
        """
/* ln(1 + x), x >= 0 */
static real log_of_1_and(real x)
{
    const unsigned_real u = (bits(R(1.0) + x) + @(0x3f800000u - 0x3f3504f3u)|\
(0x3ff0000000000000u - 0x3fe6a09e667f3bcdu)@) >> @23|52@;
    const real k = (real)u - R(@127.0|1023.0@);
    const real scale = from_bits((@256u|2048u@ - u) << @23|52@);
    const real y = log_near(k, FMA(R(0.25) * x, scale, R(0.25) * scale - R(1.0)));
    return x != x || x - x != R(0.0)                                          ? x
           : ABS(x) < R(@2.9802322387695312e-08|5.551115123125783e-17@) ? x
                                                                             : y;
}
""",
        ("bits", "from_bits", "log_near"),
    ),
    "smooth_positive": Piece(
        """
/* ln(1 + e^z) */
static real smooth_positive(real z)
{
    const real e = e_to(-ABS(z));
    const int above = e > R(0.41421356);
    const real f = above ? FMA(R(0.5), e, R(-0.5)) : e;
    return (R(0.0) > z ? R(0.0) : z) + log_near(above ? R(1.0) : R(0.0), f);
}
""",
        ("e_to", "log_near"),
    ),
    "normal_share": Piece(
        """
/* Phi(z), the normal distribution below z */
static real normal_share(real z)
{
    const real shift = SHIFT + R(@32.0|64.0@);
    const real a = ABS(z) > R(@14.5|38.6@) ? R(@14.5|38.6@) : ABS(z), square = a * a;
    const real x = R(-0.5) * square, shifted = round_log2(x, shift);
    const real top = head(x, shifted - shift);
    real low = tail(R(-0.5) * product_error(a, a, square), shifted - shift);
    const real r = top + low, t = (a - R(@4.0|6.0@)) / (a + R(@4.0|6.0@));
    const real g = R(@0.483854532|0.4615526145616838@), d = a + R(1.125);
    real q = R(@-7.09399828e-05|1.49273827458173e-09@), p, n, below, lost;
    low = (top - r) + low;
@    q = FMA(q, t, R(-6.80399535e-05));
    q = FMA(q, t, R(0.000671029731));
    q = FMA(q, t, R(-0.000222329327));
    q = FMA(q, t, R(-0.00494114868));
    q = FMA(q, t, R(0.0168782603));
    q = FMA(q, t, R(-0.0283391774));
    q = FMA(q, t, R(0.0196365993));
    q = FMA(q, t, R(0.0295470059));
    q = FMA(q, t, R(-0.118003182));|    q = FMA(q, t, 2.8200412584417315e-09);
    q = FMA(q, t, -1.526413265911117e-08);
    q = FMA(q, t, -2.0196105647342e-08);
    q = FMA(q, t, 1.295818756486359e-07);
    q = FMA(q, t, 6.941624404702424e-09);
    q = FMA(q, t, -9.85788462914369e-07);
    q = FMA(q, t, 1.6944202856758607e-06);
    q = FMA(q, t, 4.4723140371144735e-06);
    q = FMA(q, t, -2.5667715114938918e-05);
    q = FMA(q, t, 3.523110255707646e-05);
    q = FMA(q, t, 0.00012103642609902226);
    q = FMA(q, t, -0.0008464480167735169);
    q = FMA(q, t, 0.0028089740015708378);
    q = FMA(q, t, -0.006632578424376529);
    q = FMA(q, t, 0.012141059662048844);
    q = FMA(q, t, -0.017393019347318846);
    q = FMA(q, t, 0.01821064958463912);
    q = FMA(q, t, -0.009038623252870491);
    q = FMA(q, t, -0.014611641754494527);
    q = FMA(q, t, 0.053040361243739016);
    q = FMA(q, t, -0.10042495398789808);@
    q = q * t;
    p = FMA(r * r, exp_polynomial(r), low);
    p = FMA(g + q, r, FMA(g + q, p, q));
    n = g + p;
    below = n / d;
    lost = (p - (n - g)) - below * (a - (d - R(1.125))) - product_error(below, d, n);
    below = FMA(lost, from_bits(@0x7ef311c7u|0x7fde623822fc16e6u@ - bits(d)), below);
    below = below * power_of_two(shifted) * R(@2.3283064365386963e-10|5.421010862427522e-20@);
    return z > R(0.0) ? R(1.0) - below : below;
}
""",
        ("product_error", "power_of_two", "round_log2", "head", "tail", "exp_polynomial"),
    ),
    "sum_of_lanes": Piece("""
/* of 16 */
static real sum_of_lanes(real *lane)
{
    int i;
    for (i = 0; i < 8; i++) lane[i] += lane[i + 8];
    for (i = 0; i < 4; i++) lane[i] += lane[i + 4];
    return (lane[0] + lane[2]) + (lane[1] + lane[3]);
}
"""),
    "row_sum": Piece(
        """
static real row_sum(const real *x, int n)
{
    real lane[16] = {R(0.0)};
    int j;
    if (n <= 4)
        return (x[0] + (n > 2 ? x[2] : R(0.0))) +
               ((n > 1 ? x[1] : R(0.0)) + (n > 3 ? x[3] : R(0.0)));
    for (j = 0; j < n; j++) lane[j % 16] += x[j];
    return sum_of_lanes(lane);
}
""",
        ("sum_of_lanes",),
    ),
    "largest": Piece("""
/* NaN is left out unless it is the first */
static real largest(const real *x, int n)
{
    real top = x[0];
    int j;
    for (j = 1; j < n; j++) top = x[j] > top ? x[j] : top;
    return top;
}
"""),
    "spread": Piece(
        """
/* x = c (z - mean z); returns sqrt(var x + c^2 1e-5) */
static real spread(const real *z, real c, int n, real *x)
{
    real lane[16] = {R(0.0)}, mean;
    int j;
    for (j = 0; j < n; j++) x[j] = c * z[j] - c * z[0];
    mean = row_sum(x, n) / (real)n;
    for (j = 0; j < n; j++) x[j] -= mean;
    for (j = 0; j < n; j++) lane[j % 16] += x[j] * x[j];
    return SQRT(sum_of_lanes(lane) / (real)n + R(1e-5) * c * c);
}
""",
        ("row_sum", "sum_of_lanes"),
    ),
    "dense": Piece("""
/* z = a W + b, terms in the order of a */
static void dense(const real *a, int n_in, const real *W, const real *b, int n, real *z)
{
    int j, k;
    for (j = 0; j < n; j++) z[j] = b[j];
    for (k = 0; k < n_in; k++, W += n)
        for (j = 0; j < n; j++) z[j] = FMA(a[k], W[j], z[j]);
}
"""),
    "dot": Piece(
        """
/* z = a . w + b, sixteen sums side by side */
static void dot(const real *a, int n_in, const real *w, const real *b, int n, real *z)
{
    real lane[16] = {R(0.0)};
    int k;
    for (k = 0; k < n_in; k++) lane[k % 16] = FMA(a[k], w[k], lane[k % 16]);
    z[n - 1] = sum_of_lanes(lane) + b[0];
}
""",
        ("sum_of_lanes",),
    ),
    "scale": Piece("""
/* z = s * a */
static void scale(const real *a, int n_in, const real *s, real *z)
{
    int k;
    for (k = 0; k < n_in; k++) z[k] = a[k] * s[k];
}
"""),
}

# in place of these where a b + c is rounded twice
_WITHOUT_FMA = {
    "product_error": Piece(
        """
/* a b - p, p close to a b, from products of half mantissas, which are exact (Dekker 1971) */
static real product_error(real a, real b, real p)
{
    const unsigned_real half = @0xfffff000u|0xfffffffff8000000u@;
    const real a1 = from_bits(bits(a) & half), a2 = a - a1;
    const real b1 = from_bits(bits(b) & half), b2 = b - b1;
    return ((a1 * b1 - p) + a1 * b2 + a2 * b1) + a2 * b2;
}
""",
        ("bits", "from_bits"),
    ),
}

# a = sigma(z): bodies of `static real NAME(real z, real p)`, p where the kind has a parameter
_SIGMOID = """    const real e = e_to(-ABS(z)), r = R(1.0) / (R(1.0) + e);
"""
ELEMENTWISE: dict[str, Piece] = {
    "identity": Piece(""),
    "sigmoid": Piece(_SIGMOID + "    return z >= R(0.0) ? r : e * r;", ("e_to",)),
    "tanh": Piece("    return hyperbolic_tangent(z);", ("hyperbolic_tangent",)),
    "relu": Piece("    return z < R(0.0) ? R(0.0) : z;"),
    "leaky_relu": Piece("    return z * (z > R(0.0) ? R(1.0) : p);"),
    "elu": Piece(
        "    return z > R(0.0) ? z : p * e_to_less_1(z < R(0.0) ? z : z - z);", ("e_to_less_1",)
    ),
    "selu": Piece(
        """    const real top = R(1.0507009873554805), below = top * R(1.6732632423543772);
    return z > R(0.0) ? top * z : below * e_to_less_1(z < R(0.0) ? z : z - z);""",
        ("e_to_less_1",),
    ),
    "gelu": Piece("    return z * normal_share(z);", ("normal_share",)),
    "gelu_tanh": Piece(
        """    const real t = z * z;
    const real u = R(1.5957691216057308) * z * (R(1.0) + R(0.044715) * t);
    const real e = e_to(-ABS(u)), r = R(1.0) / (R(1.0) + e);
    return z * (u >= R(0.0) ? r : e * r);""",
        ("e_to",),
    ),
    "silu": Piece(_SIGMOID + "    return z * (z >= R(0.0) ? r : e * r);", ("e_to",)),
    "mish": Piece(
        "    return z * hyperbolic_tangent(smooth_positive(z));",
        ("hyperbolic_tangent", "smooth_positive"),
    ),
    "softplus": Piece("    return smooth_positive(z);", ("smooth_positive",)),
    "softsign": Piece("    return z * (R(1.0) / (R(0.25) + R(0.25) * ABS(z))) * R(0.25);"),
    "hardtanh": Piece("    return z < R(-1.0) ? R(-1.0) : z > R(1.0) ? R(1.0) : z;"),
    "exp": Piece("    return e_to(z);", ("e_to",)),
}

# a = sigma(z): bodies of `static void NAME(const real *z, int n, real p, real *a)`, n of a
COUPLED: dict[str, Piece] = {
    "softmax": Piece(
        """    const real top = largest(z, n);
    real lane[16] = {R(0.0)}, ones = R(0.0), r;
    int j;
    for (j = 0; j < n; j++) {
        a[j] = e_to(p * (z[j] - top));
        lane[j % @16|8@] += a[j] == R(1.0) ? R(0.0) : a[j];
        ones += a[j] == R(1.0) ? R(1.0) : R(0.0);
    }
    r = R(1.0) / (R(1.0) + (sum_of_lanes(lane) + (ones - R(1.0))));
    for (j = 0; j < n; j++) a[j] *= r;""",
        ("e_to", "largest", "sum_of_lanes"),
    ),
    "log_softmax": Piece(
        """    const real top = largest(z, n);
    real rest = R(-1.0);
    int j;
    for (j = 0; j < n; j++) a[j] = e_to(z[j] - top);
    for (j = 0; j < n && rest != R(0.0); j++)
        if (a[j] == R(1.0)) rest = a[j] = R(0.0); /* the first 1 is left out */
    rest += row_sum(a, n);
    rest = log_of_1_and(rest);
    for (j = 0; j < n; j++) a[j] = (z[j] - top) - rest;""",
        ("e_to", "largest", "row_sum", "log_of_1_and"),
    ),
    "layer_norm": Piece(
        """    real s = spread(z, R(1.0), n, a), r;
    int j;
    if (s - s != R(0.0)) /* squares too large: of z far smaller */
        s = spread(z, R(@1.2621774483536189e-29|2.409919865102884e-181@), n, a);
    r = p / s;
    for (j = 0; j < n; j++) a[j] *= r;""",
        ("spread",),
    ),
    "maxout": Piece(
        """    const int pieces = (int)p;
    int j, i;
    for (j = 0; j < n; j++, z += pieces) {
        a[j] = z[0];
        for (i = 1; i < pieces; i++)
            if (z[i] > a[j] || z[i] != z[i]) a[j] = z[i];
    }"""
    ),
    "glu": Piece(
        """    int j;
    for (j = 0; j < n; j++) a[j] = z[j] * logistic(z[n + j]);""",
        ("logistic",),
    ),
}


def _sigma(kind: str, has_parameter: bool) -> Piece:
    """The function of an activation."""
    piece = ELEMENTWISE.get(kind) or COUPLED[kind]
    head = f"static real {kind}_of(real z{', real p' * has_parameter})"
    if kind in COUPLED:
        head = f"static void {kind}_of(const real *z, int n{', real p' * has_parameter}, real *a)"
    return Piece(f"\n{head}\n{{\n{piece.text}\n}}\n", piece.needs)


def written(needs: Iterable[str], kinds: dict[str, bool], is_single: bool, fuses: bool) -> str:
    """C text of the functions that are needed, each behind those that it calls.

    needs: names of links; kinds: activations, and whether each has a parameter.
    """
    known = _TOOLS | {kind: _sigma(kind, p) for kind, p in kinds.items()}
    known |= {} if fuses else _WITHOUT_FMA
    order: dict[str, None] = {}

    def add(name: str) -> None:
        for other in known[name].needs:
            add(other)
        order.setdefault(name)

    for name in [*needs, *kinds]:
        add(name)
    text = "".join(known[name].text for name in order)
    return re.sub(r"@([^@|]*)\|([^@]*)@", lambda m: m[1] if is_single else m[2], text)
