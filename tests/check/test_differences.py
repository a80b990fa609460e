"""Difference quotients: their error bounds hold, and are small."""

import numpy as np
import pytest

from fastbp.check.numeric import differences

# NumPy's function, mpmath's, mpmath's derivative
FUNCTIONS = {
    "sigmoid": (
        lambda x: 1 / (1 + np.exp(-x)),
        lambda m, x: 1 / (1 + m.exp(-x)),
        lambda m, x: m.exp(-x) / (1 + m.exp(-x)) ** 2,
    ),
    "tanh": (np.tanh, lambda m, x: m.tanh(x), lambda m, x: 1 - m.tanh(x) ** 2),
    "sin": (np.sin, lambda m, x: m.sin(x), lambda m, x: m.cos(x)),
    "exp": (np.exp, lambda m, x: m.exp(x), lambda m, x: m.exp(x)),
    "cube": (lambda x: x**3, lambda m, x: x**3, lambda m, x: 3 * x**2),
    "log1p": (
        lambda x: np.log1p(x * x),
        lambda m, x: m.log(1 + x * x),
        lambda m, x: 2 * x / (1 + x * x),
    ),
}


def slope(f, x, index=(0,), scale=None, noise=None, enough=1e-6):
    """Slopes of f, which takes many points at once, (k, n) -> (k,)."""
    x = np.asarray(x, float)
    scale = np.ones(x.shape) if scale is None else scale
    middle = f(x[None])[0]

    def change(i, values):
        points = np.tile(x, (len(i), 1))
        points[np.arange(len(i)), i] = values
        return f(points) - middle

    with np.errstate(all="ignore"):
        if noise is None:
            noise = differences.noise_of(lambda p: f(p[None]), x, scale)
        return differences.slopes(
            change,
            x,
            np.asarray(index),
            scale=scale,
            noise=noise,
            enough=lambda value, bound: (bound <= enough * np.abs(value)).all(axis=1),
        )


def drawn(rng, n):
    names = rng.choice(list(FUNCTIONS), n)
    c = 10 ** rng.uniform(-6, 3, n) * rng.choice([-1, 1], n)
    w = 10 ** rng.uniform(-3, 1.5, n) * rng.choice([-1, 1], n)
    return names, c, w, rng.normal(size=n)


def a_sum(rng, m):
    """c_i phi_i(w_i x + b_i), summed: over decades in every constant."""
    names, c, w, b = drawn(rng, rng.integers(1, 4))
    x = rng.normal() * 10 ** rng.uniform(-6, 0.5)
    if (np.abs(w * x + b) > 30).any():
        return None

    def f(p):
        parts = zip(names, c, w, b, strict=True)
        return sum(c_i * FUNCTIONS[name][0](w_i * p[:, 0] + b_i) for name, c_i, w_i, b_i in parts)

    true = sum(
        m.mpf(c_i) * m.mpf(w_i) * FUNCTIONS[name][2](m, m.mpf(w_i) * m.mpf(x) + m.mpf(b_i))
        for name, c_i, w_i, b_i in zip(names, c, w, b, strict=True)
    )
    return f, [x], true


def a_composition(rng, m):
    """c phi_1(w_1 phi_2(w_2 x_1 + b_2 x_2) x_3 + b_1), by x_1."""
    (outer, inner), (c, _), (w_1, w_2), (b_1, b_2) = drawn(rng, 2)
    x = rng.normal(size=3)
    u = w_2 * x[0] + b_2 * x[1]
    if abs(u) > 30 or abs(w_1 * FUNCTIONS[inner][0](u) * x[2] + b_1) > 30:
        return None

    def f(p):
        inside = FUNCTIONS[inner][0](w_2 * p[:, 0] + b_2 * p[:, 1])
        return c * FUNCTIONS[outer][0](w_1 * inside * p[:, 2] + b_1)

    exact = [m.mpf(float(v)) for v in (*x, c, w_1, w_2, b_1, b_2)]
    x_1, x_2, x_3, c_, w_1_, w_2_, b_1_, b_2_ = exact
    u = w_2_ * x_1 + b_2_ * x_2
    v = w_1_ * FUNCTIONS[inner][1](m, u) * x_3 + b_1_
    true = c_ * FUNCTIONS[outer][2](m, v) * w_1_ * x_3 * FUNCTIONS[inner][2](m, u) * w_2_
    return f, x, true


@pytest.mark.parametrize("n", [1500, pytest.param(9000, marks=pytest.mark.exhaustive)])
def test_bounds_hold_and_are_useful(n):
    mpmath = pytest.importorskip("mpmath")
    rng = np.random.default_rng(1)
    wrong, shares = [], []
    with mpmath.workdps(40):
        while len(shares) < n:
            case = (a_sum if len(shares) < 2 * n / 3 else a_composition)(rng, mpmath.mp)
            if case is None:
                continue
            f, x, true = case
            found = slope(f, x)
            error = abs(mpmath.mpf(float(found.value[0, 0])) - true)
            if not error <= found.bound[0, 0]:
                wrong.append((case, float(error), found.bound[0, 0]))
            shares.append(found.bound[0, 0] / abs(float(true)))
    assert len(wrong) <= 0.001 * len(shares), wrong
    assert np.median(shares) < 1e-9
    assert np.mean(np.array(shares) < 1e-5) > 0.97


def test_bounds_hold_on_the_losses_of_networks():
    mpmath = pytest.importorskip("mpmath")
    from fastbp.check.numeric import digits

    rng = np.random.default_rng(2)
    exact_tanh = np.frompyfunc(mpmath.tanh, 1, 1)
    wrong = total = 0
    shares = []
    for _ in range(100):
        X, y = rng.normal(size=(3, 2)), rng.normal(size=3)
        theta = rng.normal(size=13) * 10 ** rng.uniform(-2, 1)

        def loss(p, tanh, X=X, y=y):
            W, b, w, c = p[..., :6], p[..., 6:9], p[..., 9:12], p[..., 12]
            total = 0
            for x_s, y_s in zip(X, y, strict=True):
                a = tanh(W[..., :3] * x_s[0] + W[..., 3:] * x_s[1] + b)
                total = total + ((a * w).sum(axis=-1) + c - y_s) ** 2
            return total / 6

        index = rng.choice(13, 10, replace=False)
        true = digits.slopes(lambda p, f=loss: f(p, exact_tanh), theta, index)
        found = slope(lambda p, f=loss: f(p, np.tanh), theta, index)
        error = np.abs(found.value - true.value)
        wrong += (error > found.bound + true.bound).sum()
        total += len(index)
        shares.append(found.bound / np.abs(true.value).max())
    assert total == 1000
    assert wrong <= 1
    assert np.median(shares) < 1e-9


@pytest.mark.parametrize("f", [np.abs, lambda x: np.maximum(x, 0), lambda x: np.maximum(3 * x, x)])
def test_one_sided_slopes_on_a_kink(f):
    found = slope(lambda p: f(p[:, 0]) + np.sin(p[:, 0]), [0.0])
    left, right = -(f(np.array(-1.0)) - 0), f(np.array(1.0))
    assert abs(found.left[0, 0] - (left + 1)) <= found.left_bound[0, 0] < 1e-6
    assert abs(found.right[0, 0] - (right + 1)) <= found.right_bound[0, 0] < 1e-6


@pytest.mark.parametrize("distance", 10.0 ** np.arange(-7, 1))
@pytest.mark.parametrize("side", [-1, 1])
def test_slope_beside_a_kink_is_that_of_its_side(distance, side):
    for f, true in (
        (lambda p: np.abs(p[:, 0]) + 3 * np.sin(p[:, 0]), side + 3 * np.cos(distance)),
        (lambda p: np.maximum(p[:, 0], 0), float(side > 0)),
    ):
        found = slope(f, [side * distance], noise=np.array([1e-16]))
        assert abs(found.value[0, 0] - true) <= found.bound[0, 0]
        assert found.bound[0, 0] < 1e-4
        for value, bound in ((found.left, found.left_bound), (found.right, found.right_bound)):
            assert abs(value[0, 0] - true) <= bound[0, 0]


def test_many_kinks_around():
    rng = np.random.default_rng(3)
    knots, heights = rng.normal(size=200), rng.normal(size=200)
    wrong = 0
    for x in rng.normal(size=300):
        found = slope(lambda p: np.maximum(p - knots, 0) @ heights, [x])
        wrong += abs(found.value[0, 0] - heights @ (x > knots)) > found.bound[0, 0]
    assert wrong <= 1


def test_long_steps_do_not_flatten_a_bounded_function():
    # noise of 1e-4 leaves short steps nothing; over long ones a sine does not rise at all
    found = slope(lambda p: 1e12 + np.sin(p[:, 0]), [0.3])
    assert abs(found.value[0, 0] - np.cos(0.3)) <= found.bound[0, 0]


def test_a_straight_line_is_seen_through_noise():
    found = slope(lambda p: 1e6 + p[:, 0], [0.3], enough=1e-12)
    assert abs(found.value[0, 0] - 1) <= found.bound[0, 0] < 1e-10


def test_nothing_is_known_where_there_are_no_values():
    found = slope(lambda p: np.where(p[:, 0] == 1, 0.0, np.nan), [1.0], noise=np.array([1e-16]))
    assert np.isinf(found.bound[0, 0])


def test_several_functions_at_once_with_noise_of_their_own():
    x = np.array([0.5, 2.0])

    def change(index, values):
        points = np.tile(x, (len(index), 1))
        points[np.arange(len(index)), index] = values
        return np.stack([np.sin(points).sum(1), points.prod(1)], 1) - [np.sin(x).sum(), x.prod()]

    found = differences.slopes(
        change,
        x,
        np.array([1, 0]),
        scale=np.ones(2),
        noise=np.full((2, 2), 1e-15),
        enough=lambda value, bound: (bound < 1e-9).all(axis=1),
    )
    true = np.array([[np.cos(2.0), 0.5], [np.cos(0.5), 2.0]])
    assert (np.abs(found.value - true) <= found.bound).all()
    assert found.bound.max() < 1e-9


# noise


def test_noise_of_float64_is_some_roundings():
    rng = np.random.default_rng(0)
    for n in (1, 10, 1000):
        x = rng.normal(size=n)
        noise = differences.noise_of(lambda p: np.atleast_1d(np.exp(p).sum()), x, np.ones(n))
        assert 0.1 < noise[0] / (2.0**-53 * np.exp(x).sum()) < 30


@pytest.mark.parametrize("n", [1, 3, 100])
@pytest.mark.parametrize(
    "kind", ["argument and value", "argument", "value"], ids=lambda s: s.replace(" ", "_")
)
def test_noise_of_float32_is_found(kind, n):
    rng = np.random.default_rng(n)
    for seed in range(5):
        x = rng.normal(size=n)

        def f(p):
            if "argument" in kind:
                p = p.astype(np.float32).astype(float)
            value = np.exp(p).sum()
            return np.atleast_1d(float(np.float32(value)) if "value" in kind else value)

        noise = differences.noise_of(f, x, np.ones(n), seed=seed)
        assert 1e-9 < noise[0] / np.exp(x).sum() < 1e-5


def test_noise_of_a_constant_is_its_rounding():
    noise = differences.noise_of(lambda p: np.ones(1), np.ones(3), np.ones(3))
    assert 1e-17 < noise[0] < 1e-15


def test_noise_is_unknown_where_there_are_no_values():
    assert np.isnan(differences.noise_of(lambda p: np.full(1, np.nan), np.ones(3), np.ones(3)))


# complex steps


def test_complex_step_is_exact():
    x = np.array([0.7, -1.3])
    found = differences.complex_step(lambda z: np.exp(z).sum() * np.sin(z[0]), x, np.arange(2))
    true = [np.exp(x).sum() * np.cos(0.7) + np.exp(0.7) * np.sin(0.7), np.exp(-1.3) * np.sin(0.7)]
    np.testing.assert_allclose(found, true, rtol=4e-16)


def test_complex_step_traps_are_silent():
    # the documented reason why no complex step is believed without a difference
    one = np.array([0])
    assert differences.complex_step(lambda z: np.abs(z).sum(), np.array([2.0]), one) == [0.0]
    assert differences.complex_step(lambda z: np.maximum(z, 0).sum(), np.zeros(1), one) == [1.0]


def test_complex_step_gives_up():
    def refuses(z):
        return np.logaddexp(z, 0).sum()

    assert differences.complex_step(refuses, np.ones(2), np.arange(2)) is None
    assert differences.complex_step(lambda z: z, np.ones(2), np.arange(2)) is None  # no number
    assert differences.complex_step(lambda z: np.nan * z[0], np.ones(2), np.arange(2)) is None
