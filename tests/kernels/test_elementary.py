"""Accuracy of the functions in kernels/arithmetic/elementary.pxd, at every level of this machine.

The reference is 50-digit arithmetic for float64, and for float32 the float64 functions of NumPy and
SciPy, whose own error is below 1e-5 in the last place of a float32.
"""

import functools
import zlib

import mpmath as mp
import numpy as np
import pytest
import scipy.special as special

from fastbp.kernels import dispatch

pytestmark = pytest.mark.sanitizers

LEVELS = dispatch.available_levels()
DTYPES = [np.float32, np.float64]
MAX_ULP = 2.0
DIGITS = 50

# name: (exact, float64 reference, the critical points: borders of intervals, limits of the range,
# cancellation)
FUNCTIONS = {
    "exp": (mp.exp, np.exp, [-745.13, -708.4, -103.97, -87.34, 0.0, 88.72, 709.78]),
    "expm1": (mp.expm1, np.expm1, [-37.4, -17.3, -0.3466, 0.0, 0.3466, 0.37, 88.72, 709.78]),
    "log": (mp.log, np.log, [0.0, 0.70710678, 1.0, 1.41421356, 2.0]),
    "log1p": (mp.log1p, np.log1p, [-1.0, -0.29289322, 0.0, 0.41421356, 1.0]),
    "tanh": (
        mp.tanh,
        np.tanh,
        [-0.2, 0.0, 0.0617, 0.1733, 0.2049, 0.52, 9.01, 19.06, 44.36, 44.72, 354.9, 355.3],
    ),
    "sigmoid": (
        lambda z: 1 / (1 + mp.exp(-z)),
        lambda z: 1 / (1 + np.exp(-z)),
        [-745.13, -708.4, -103.97, -87.34, -36.74, -16.64, -1.1, 0.0, 17.3, 36.74],
    ),
    "erf": (mp.erf, special.erf, [-0.8, -0.75, 0.0, 0.75, 0.8, 3.92, 3.95, 5.92, 5.95]),
    "normal_cdf": (
        # mpmath's erfc overflows far out
        lambda z: mp.erfc(min(-z, mp.mpf(1000)) / mp.sqrt(2)) / 2,
        lambda z: special.erfc(-z * np.sqrt(0.5)) / 2,
        [-38.47, -37.5, -14.17, -13.1, -2.2, -1.87, -0.79, 0.0, 5.4, 8.3],
    ),
    "normal_pdf": (
        lambda z: mp.exp(-z * z / 2) / mp.sqrt(2 * mp.pi),
        lambda z: np.exp(-z * z / 2) / np.sqrt(2 * np.pi),
        [-38.57, -37.6, -14.3, -13.1, 0.0, 13.1, 14.3, 37.6, 38.57],
    ),
    "softplus": (
        lambda z: max(z, mp.mpf(0)) + mp.log1p(mp.exp(-abs(z))),
        lambda z: np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z))),
        [-745.13, -708.4, -103.97, -87.34, -0.88, -0.4, 0.0, 0.88, 17.3, 36.74],
    ),
}

# f(-inf), f(-0), f(0), f(inf)
SPECIAL = {
    "exp": (0.0, 1.0, 1.0, np.inf),
    "expm1": (-1.0, -0.0, 0.0, np.inf),
    "log": (np.nan, -np.inf, -np.inf, np.inf),
    "log1p": (np.nan, -0.0, 0.0, np.inf),
    "tanh": (-1.0, -0.0, 0.0, 1.0),
    "sigmoid": (0.0, 0.5, 0.5, 1.0),
    "erf": (-1.0, -0.0, 0.0, 1.0),
    "normal_cdf": (0.0, None, None, 1.0),
    "normal_pdf": (0.0, None, None, 0.0),
    "softplus": (0.0, None, None, np.inf),
}

every_level = pytest.mark.parametrize("level", LEVELS)
every_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: d.__name__)
every_function = pytest.mark.parametrize("name", FUNCTIONS)


def evaluate(level, name, x):
    x = np.ascontiguousarray(x)
    out = np.full_like(x, 123)
    dispatch.load(level).doors(x.dtype).elementary(name, x, out)
    return out


def bits(x):
    return x.view(np.uint32 if x.dtype == np.float32 else np.uint64)


@functools.cache
def sample(name, dtype, n):
    """Some 6 n finite points: bit patterns, all magnitudes, ordinary and critical values."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    info = np.finfo(dtype)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    pattern = rng.integers(0, 2**info.bits, n, dtype=unsigned).view(dtype)
    lowest = np.log2(float(info.smallest_subnormal))
    magnitudes = 2.0 ** np.linspace(lowest, info.maxexp - 1e-9, n)
    ordinary = [rng.uniform(-1, 1, n), rng.normal(0, 4, n), rng.uniform(-110, 95, n)]
    if dtype == np.float64:
        ordinary.append(rng.uniform(-750, 715, n))
    critical = np.asarray(FUNCTIONS[name][2])
    around = np.repeat(critical, n // len(critical) // 2 + 1)
    near = around + rng.normal(0, 1, around.size) * 10 ** rng.uniform(-12, -1.5, around.size)
    edges = critical.astype(dtype)[:, None] * (1 + np.arange(-8, 9) * info.eps).astype(dtype)
    smallest = info.smallest_subnormal
    limits = np.array([info.max, info.tiny, smallest, 3 * smallest, info.eps], dtype)
    parts = [pattern, magnitudes, -magnitudes, *ordinary, near, edges, limits, -limits]
    with np.errstate(over="ignore"):
        x = np.concatenate([np.asarray(part, dtype).ravel() for part in parts])
    x = x[np.isfinite(x)]
    if name == "log":  # outside the domain: the tests of special values
        x = np.abs(x[x != 0])
    if name == "log1p":
        x = x[x > -1]
    return x


@functools.cache
def exact(name, dtype, n):
    """The sample and its exact values (head + rest) 2^exponent, 2^exponent one ULP.

    What overflows is given as 2^maxexp.
    """
    info = np.finfo(dtype)
    x = sample(name, dtype, n)
    digits = info.nmant + 1
    lowest, highest = info.minexp - info.nmant, info.maxexp - digits
    if dtype == np.float32:
        with np.errstate(all="ignore"):
            value = FUNCTIONS[name][1](x.astype(np.float64))
        value = np.clip(value, -(2.0**info.maxexp), 2.0**info.maxexp)
        exponent = np.clip(np.frexp(value)[1] - digits, lowest, highest)
        return x, np.ldexp(value, -exponent), np.zeros(x.size), exponent
    head, rest, exponent = np.empty(x.size), np.empty(x.size), np.empty(x.size, int)
    with mp.workdps(DIGITS):
        for i, z in enumerate(x.tolist()):
            value = FUNCTIONS[name][0](mp.mpf(z))
            e = min(max(int(mp.frexp(value)[1]) - digits, lowest), highest)
            scaled = min(mp.ldexp(value, -e), mp.mpf(2) ** digits)
            whole = mp.nint(scaled)
            head[i], rest[i], exponent[i] = float(whole), float(scaled - whole), e
    return x, head, rest, exponent


def ulp_errors(y, head, rest, exponent):
    largest = 2.0 ** (np.finfo(y.dtype).nmant + 1)
    scaled = np.ldexp(y.astype(np.float64), -exponent)
    return np.abs((np.clip(scaled, -largest, largest) - head) - rest)


@every_function
@every_dtype
@every_level
def test_error_in_the_last_place(level, dtype, name):
    x, *value = exact(name, dtype, 200_000 if dtype == np.float32 else 400)
    y = evaluate(level, name, x)
    assert not np.isnan(y).any()
    error = ulp_errors(y, *value)
    worst = error.argmax()
    assert error[worst] <= MAX_ULP, f"{name}({x[worst]!r}) = {y[worst]!r}: {error[worst]:.3f} ULP"


@every_function
@every_dtype
@every_level
def test_special_values(level, dtype, name):
    x = np.array([-np.inf, -0.0, 0.0, np.inf, np.nan, -np.nan], dtype)
    y = evaluate(level, name, x)
    for argument, got, wanted in zip(x, y, (*SPECIAL[name], np.nan, np.nan), strict=True):
        if wanted is None:
            continue
        assert np.array_equal(got, dtype(wanted), equal_nan=True), (argument, got)
        assert np.isnan(wanted) or np.signbit(got) == np.signbit(wanted), (argument, got)


@every_dtype
@every_level
def test_logarithms_below_their_domain(level, dtype):
    info = np.finfo(dtype)
    below_zero = -np.array([info.smallest_subnormal, info.tiny, 1, info.max], dtype)
    assert np.isnan(evaluate(level, "log", below_zero)).all()
    below_minus_one = np.array([np.nextafter(dtype(-1), dtype(-2)), -2, -info.max], dtype)
    assert np.isnan(evaluate(level, "log1p", below_minus_one)).all()
    assert evaluate(level, "log1p", np.array([-1], dtype))[0] == -np.inf


@every_dtype
@every_level
def test_odd_functions_are_odd_to_the_bit(level, dtype):
    for name in ("tanh", "erf"):
        x = sample(name, dtype, 400)
        assert np.array_equal(evaluate(level, name, -x), -evaluate(level, name, x))


@every_dtype
@every_level
def test_far_tails_are_subnormal_not_zero(level, dtype):
    exponential, normal = {np.float32: (-100, -14), np.float64: (-744, -38.2)}[dtype]
    arguments = dict.fromkeys(("exp", "sigmoid", "softplus"), exponential)
    arguments |= dict.fromkeys(("normal_cdf", "normal_pdf"), normal)
    for name, z in arguments.items():
        y = evaluate(level, name, np.array([z], dtype))[0]
        assert 0 < y < np.finfo(dtype).tiny, name


@every_function
@every_dtype
def test_avx2_and_avx512_give_the_same_bits(dtype, name):
    if not {"avx2", "avx512"} <= set(LEVELS):
        pytest.skip("needs both levels")
    x = sample(name, dtype, 50_000)
    assert np.array_equal(bits(evaluate("avx2", name, x)), bits(evaluate("avx512", name, x)))


@every_function
@every_dtype
@every_level
def test_a_short_array_gives_the_bits_of_a_long_one(level, dtype, name):
    x = sample(name, dtype, 400)
    whole = bits(evaluate(level, name, x))
    start = 0
    for length in [*range(1, 34)] * 2:
        part = bits(evaluate(level, name, x[start : start + length]))
        assert np.array_equal(part, whole[start : start + length]), length
        start += length


def assert_is_the_root(level, patterns, dtype):
    x = patterns.view(dtype)
    with np.errstate(invalid="ignore"):
        assert np.array_equal(bits(evaluate(level, "root", x)), bits(np.sqrt(x))), level


@every_dtype
@every_level
def test_vectors_have_the_root_of_the_hardware_to_the_bit(level, dtype):
    """Also beside numbers that a vector leaves to it: subnormal, huge, negative, NaN."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    unsigned = np.uint32 if dtype == np.float32 else np.uint64
    anything = rng.integers(0, 2**info.bits, 1 << 20, dtype=unsigned, endpoint=False)
    assert_is_the_root(level, anything, dtype)
    powers = 2.0 ** rng.integers(info.minexp + 4, info.maxexp, 1 << 20)
    ordinary = (powers * rng.uniform(1, 2, powers.size)).astype(dtype)
    ordinary[rng.random(ordinary.size) < 0.2] = 0
    assert_is_the_root(level, ordinary, dtype)
    borders = 2.0 ** np.array([-126, -102, -101, 66, 67, 68])
    around = (borders[:, None] * (1 + np.arange(-8, 9) * info.eps)).astype(dtype).ravel()
    for border in around:  # alone among ones and zeros
        block = np.repeat(np.array([1, 0], dtype), 32)
        block[17] = border
        assert_is_the_root(level, block, dtype)


@pytest.mark.exhaustive
@every_level
def test_vectors_have_the_root_of_every_single(level):
    for first in range(0, 1 << 32, 1 << 24):
        patterns = np.arange(first, first + (1 << 24), dtype=np.uint64).astype(np.uint32)
        assert_is_the_root(level, patterns, np.float32)
