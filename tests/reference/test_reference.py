"""The oracle against sources that share nothing with it.

Those are textbook formulas in many-digit arithmetic (mpmath), finite differences, hand-computed
numbers and published ones.
"""

import math

import mpmath
import numpy as np
import pytest
from mpmath import mp, mpf
from numpy.testing import assert_allclose, assert_array_equal

from fastbp import reference
from fastbp.reference import (
    SGD,
    Adam,
    AdamW,
    Network,
    activation,
    activation_jacobian,
    activation_width,
    cost,
    cost_gradient,
    cost_on_z,
    output_error,
    train,
)

TINY = 1e-307  # below it float64 loses digits: gradual underflow

# ------------------------------------------------- textbook formulas, naive, for many digits


def mp_sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def mp_elu(z, alpha):
    return z if z > 0 else alpha * (mpmath.exp(z) - 1)


MP_ELEMENTWISE = {
    "identity": lambda z: z,
    "sigmoid": mp_sigmoid,
    "tanh": mpmath.tanh,
    "relu": lambda z: max(z, mpf(0)),
    "leaky_relu": lambda z: z if z > 0 else mpf(0.01) * z,
    "leaky_relu(0.2)": lambda z: z if z > 0 else mpf(0.2) * z,
    "elu": lambda z: mp_elu(z, 1),
    "elu(0.7)": lambda z: mp_elu(z, mpf(0.7)),
    "selu": lambda z: mpf("1.0507009873554805") * mp_elu(z, mpf("1.6732632423543772")),
    "gelu": lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "gelu_tanh": lambda z: (
        z / 2 * (1 + mpmath.tanh(mpmath.sqrt(2 / mp.pi) * (z + mpf("0.044715") * z**3)))
    ),
    "silu": lambda z: z * mp_sigmoid(z),
    "mish": lambda z: z * mpmath.tanh(mpmath.log(1 + mpmath.exp(z))),
    "softplus": lambda z: mpmath.log(1 + mpmath.exp(z)),
    "softsign": lambda z: z / (1 + abs(z)),
    "hardtanh": lambda z: max(mpf(-1), min(mpf(1), z)),
    "exp": mpmath.exp,
}


def mp_softmax(z, c=1):
    e = [mpmath.exp(c * z_k) for z_k in z]
    return [e_k / sum(e) for e_k in e]


def mp_log_softmax(z, c=1):
    return [mpmath.log(a_k) for a_k in mp_softmax(z, c)]


def mp_layer_norm(z, gamma=1):
    n = len(z)
    mean = sum(z) / n
    s = mpmath.sqrt(sum((z_k - mean) ** 2 for z_k in z) / n + mpf("1e-5"))
    return [gamma * (z_k - mean) / s for z_k in z]


def mp_maxout(z, p):
    return [max(z[start : start + p]) for start in range(0, len(z), p)]


def mp_glu(z):
    n = len(z) // 2
    return [u * mp_sigmoid(v) for u, v in zip(z[:n], z[n:], strict=True)]


MP_COUPLED = {
    "softmax": mp_softmax,
    "softmax(2.5)": lambda z: mp_softmax(z, mpf(2.5)),
    "log_softmax": mp_log_softmax,
    "layer_norm": mp_layer_norm,
    "layer_norm(0.3)": lambda z: mp_layer_norm(z, mpf(0.3)),
    "maxout": lambda z: mp_maxout(z, 2),
    "maxout(3)": lambda z: mp_maxout(z, 3),
    "glu": mp_glu,
}


def mp_activation(name, z):
    z = [mpf(float(z_k)) for z_k in z]
    if name in MP_ELEMENTWISE:
        return [MP_ELEMENTWISE[name](z_k) for z_k in z]
    return MP_COUPLED[name](z)


def mp_partials(f, x):
    """D[k, j] = df_k/dx_j; relative error about 1e-60, far below float64's."""
    h = mpf("1e-30")
    x = [mpf(float(x_j)) for x_j in x]
    columns = []
    for j in range(len(x)):
        plus = f([x_i + h * (i == j) for i, x_i in enumerate(x)])
        minus = f([x_i - h * (i == j) for i, x_i in enumerate(x)])
        columns.append([float((p - m) / (2 * h)) for p, m in zip(plus, minus, strict=True)])
    return np.array(columns).T


def mp_jacobian(name, z):
    function = MP_COUPLED.get(name)
    if function is None:
        return mp_partials(lambda x: [MP_ELEMENTWISE[name](x_k) for x_k in x], z)
    return mp_partials(function, z)


def as_float(values):
    return np.array([float(v) for v in values])


def mp_x_log_y(x, y):
    return mpf(0) if x == 0 else x * mpmath.log(y)


def mp_gaussian_nll(a, y):
    m = len(y)
    return sum(
        (s + (y_k - mu) ** 2 * mpmath.exp(-s)) / 2
        for mu, s, y_k in zip(a[:m], a[m:], y, strict=True)
    )


def termwise(term):
    return lambda a, y: sum(term(a_k, y_k) for a_k, y_k in zip(a, y, strict=True))


def mp_pinball(tau):
    return termwise(lambda a, y: tau * (y - a) if y > a else (1 - tau) * (a - y))


def mp_huber(d):
    return termwise(
        lambda a, y: (a - y) ** 2 / 2 if abs(a - y) <= d else d * (abs(a - y) - mpf(d) / 2)
    )


MP_COSTS = {
    "quadratic": termwise(lambda a, y: (a - y) ** 2 / 2),
    "mse": lambda a, y: termwise(lambda p, q: (p - q) ** 2)(a, y) / len(y),
    "mae": termwise(lambda a, y: abs(a - y)),
    "huber": mp_huber(1),
    "huber(0.4)": mp_huber(mpf(0.4)),
    "log_cosh": termwise(lambda a, y: mpmath.log(mpmath.cosh(a - y))),
    "log_cosh(0.3)": termwise(
        lambda a, y: mpf(0.3) ** 2 * mpmath.log(mpmath.cosh((a - y) / mpf(0.3)))
    ),
    "binary_cross_entropy": termwise(lambda a, y: -mp_x_log_y(y, a) - mp_x_log_y(1 - y, 1 - a)),
    "cross_entropy": termwise(lambda a, y: -mp_x_log_y(y, a)),
    "kl": termwise(lambda a, y: mp_x_log_y(y, y / a)),
    "hinge": termwise(lambda a, y: max(mpf(0), 1 - y * a)),
    "squared_hinge": termwise(lambda a, y: max(mpf(0), 1 - y * a) ** 2),
    "poisson": termwise(lambda a, y: a - mp_x_log_y(y, a)),
    "pinball": mp_pinball(mpf(0.5)),
    "pinball(0.9)": mp_pinball(mpf(0.9)),
    "gaussian_nll": mp_gaussian_nll,
}


def mp_vector(values):
    return [mpf(float(v)) for v in values]


def draw_outputs_and_targets(name, n, rng):
    """a and y from the domain of the cost, away from its kinks."""
    if name == "binary_cross_entropy":
        y = np.where(rng.random(n) < 0.5, rng.integers(0, 2, n), rng.random(n))
        return rng.uniform(0.01, 0.99, n), y
    if name in ("cross_entropy", "kl"):
        y = rng.random(n) * (rng.random(n) < 0.7)  # some zeros, sum not 1
        return rng.uniform(0.01, 1, n), y
    if name in ("hinge", "squared_hinge"):
        return rng.normal(0, 2, n), rng.choice([-1.0, 1.0], n)
    if name == "poisson":
        return rng.uniform(0.1, 5, n), rng.integers(0, 4, n).astype(float)
    if name == "gaussian_nll":
        return rng.normal(0, 1.5, 2 * n), rng.normal(0, 1.5, n)
    return rng.normal(0, 1.5, n), rng.normal(0, 1.5, n)


@pytest.fixture
def rng():
    return np.random.default_rng(20260)


# ---------------------------------------------------------------------------- the module itself


def test_tables_here_cover_every_name():
    base = {name.split("(")[0] for name in MP_ELEMENTWISE | MP_COUPLED}
    assert base == set(reference.ELEMENTWISE | reference.COUPLED)
    assert {name.split("(")[0] for name in MP_COSTS} == set(reference.COSTS)


# ------------------------------------------------------------------------------- golden example

GOLDEN = [
    ("sigmoid", "quadratic", [0.143735, 0.092478, -0.002143], [0.143735, 0.092478, -0.002143]),
    ("softmax", "quadratic", [0.022033, 0.097751, -0.119784], [0.007376, 0.045235, -0.074549]),
    ("softmax", "cross_entropy", [0.090031, 0.244728, -0.334759], [0, 0, -0.334759]),
]


@pytest.mark.parametrize("general", [False, True])
@pytest.mark.parametrize("output, loss, expected, diagonal_only", GOLDEN)
def test_golden_example(output, loss, expected, diagonal_only, general):
    z, y = [1, 2, 3], [0, 0, 1]
    delta = output_error(output, loss, z, y, general=general)
    assert_allclose(delta, expected, rtol=0, atol=5.1e-7)
    J, g = activation_jacobian(output, z), cost_gradient(loss, activation(output, z), y)
    assert_allclose(np.diag(J) * g, diagonal_only, rtol=0, atol=5.1e-7)


# ---------------------------------------------------------------------------------- activations


@pytest.mark.parametrize("n", [1, 2, 5])
@pytest.mark.parametrize("name", [*MP_ELEMENTWISE, *MP_COUPLED])
def test_activation_and_jacobian_at_random_z(name, n, rng):
    width = activation_width(name, n)
    for scale in (0.5, 3):
        z = rng.normal(0, scale, width)
        with mp.workdps(100):
            a, J = as_float(mp_activation(name, z)), mp_jacobian(name, z)
        assert activation(name, z).shape == (n,)
        assert activation_jacobian(name, z).shape == (n, width)
        assert_allclose(activation(name, z), a, rtol=1e-12, atol=1e-15)
        # layer_norm's terms cancel: all its digits are absolute
        atol = 1e-15 * (1 + np.abs(J).max()) if "layer_norm" in name else TINY
        if name.startswith("layer_norm") and n < 3:
            atol = 1e-13  # one value: J = 0; two: J is of the order of epsilon
        assert_allclose(activation_jacobian(name, z), J, rtol=1e-12, atol=atol)


EXTREMES = [-700.0, -300.0, -40.0, -20.0, -1e-9, 1e-9, 20.0, 40.0, 300.0, 700.0]


@pytest.mark.parametrize("name", MP_ELEMENTWISE)
def test_elementwise_keeps_its_digits_up_to_700(name):
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        a = activation(name, EXTREMES)
        sigma_prime = np.diag(activation_jacobian(name, EXTREMES))
    with mp.workdps(720):  # 1 - e^-700 needs 305 digits, its difference quotient twice as many
        expected = as_float(mp_activation(name, EXTREMES))
        expected_prime = [mp_jacobian(name, [z])[0, 0] for z in EXTREMES]
    assert_allclose(a, expected, rtol=1e-12, atol=TINY)
    assert_allclose(sigma_prime, expected_prime, rtol=1e-12, atol=TINY)


@pytest.mark.parametrize("name", MP_COUPLED)
def test_coupled_keeps_its_digits_up_to_700(name):
    for z in ([700, -700, 3, 0, 1, 40], [-700, -690, -650, -700, -660, -655]):
        if name == "softmax(2.5)":
            z = np.array(z) / 2.5
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            a, J = activation(name, z), activation_jacobian(name, z)
        with mp.workdps(1300):
            expected, expected_J = as_float(mp_activation(name, z)), mp_jacobian(name, z)
        assert_allclose(a, expected, rtol=1e-12, atol=TINY)
        atol = 1e-15 * np.abs(expected_J).max() if "layer_norm" in name else TINY
        assert_allclose(J, expected_J, rtol=1e-12, atol=atol)


@pytest.mark.parametrize("name", MP_ELEMENTWISE)
def test_elementwise_jacobian_is_diagonal(name, rng):
    J = activation_jacobian(name, rng.normal(0, 2, 4))
    assert_array_equal(J, np.diag(np.diag(J)))


@pytest.mark.parametrize("c", [1, 2.5])
def test_softmax_jacobian_is_dense_symmetric_and_conserves_the_sum(c, rng):
    J = activation_jacobian(f"softmax({c})", rng.normal(0, 1, 4))
    assert np.abs(J).min() > 1e-6
    assert_array_equal(J, J.T)
    assert_allclose(J.sum(axis=0), 0, atol=1e-15)


def test_log_softmax_jacobian_is_asymmetric(rng):
    J = activation_jacobian("log_softmax", rng.normal(0, 1, 4))
    assert np.abs(J).min() > 1e-6
    assert np.abs(J - J.T).max() > 0.1
    assert_allclose(J.sum(axis=1), 0, atol=1e-15)  # over j: the shift z + t changes nothing


def test_layer_norm_ignores_shift_and_has_the_given_gain(rng):
    z = rng.normal(0, 1, 6)
    a, J = activation("layer_norm(3)", z), activation_jacobian("layer_norm(3)", z)
    assert np.abs(J).min() > 1e-6
    assert_allclose(J.sum(axis=1), 0, atol=1e-14)
    assert_allclose(a.mean(), 0, atol=1e-14)
    assert_allclose(np.mean(a**2), 9, rtol=1e-4)


def test_maxout_groups_are_consecutive_and_ties_go_to_the_first():
    z = [1, 1, 5, 7, 3, 2]
    assert_array_equal(activation("maxout", z), [1, 7, 3])
    expected = [[1, 0, 0, 0, 0, 0], [0, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 0]]
    assert_array_equal(activation_jacobian("maxout", z), expected)
    assert_array_equal(activation("maxout(3)", z), [5, 7])
    assert_array_equal(activation_jacobian("maxout(2)", [2, 2]), [[1, 0]])


def test_glu_halves():
    assert_allclose(activation("glu", [3, 8, 0, 100]), [1.5, 8])
    J = activation_jacobian("glu", [3, 8, 0, 100])
    assert_allclose(J, [[0.5, 0, 0.75, 0], [0, 1, 0, 0]], atol=1e-40)


@pytest.mark.parametrize(
    "name, z, slope",
    [
        ("relu", 0.0, 0.0),
        ("leaky_relu", 0.0, 0.01),
        ("leaky_relu(0.3)", 0.0, 0.3),
        ("elu", 0.0, 1.0),
        ("elu(0.3)", 0.0, 0.3),
        ("selu", 0.0, 1.0507009873554805 * 1.6732632423543772),
        ("hardtanh", 1.0, 0.0),
        ("hardtanh", -1.0, 0.0),
    ],
)
def test_slope_at_a_kink(name, z, slope):
    assert activation_jacobian(name, [z])[0, 0] == slope


def test_activation_width():
    assert activation_width("relu", 3) == 3
    assert activation_width("softmax(2)", 3) == 3
    assert activation_width("glu", 3) == 6
    assert activation_width("maxout", 3) == 6
    assert activation_width("maxout(1)", 3) == 3
    assert activation_width("maxout(5)", 3) == 15


@pytest.mark.parametrize(
    "name",
    ["swish", "relu(1)", "elu()", "elu(x)", "elu(1", "", "maxout(0)", "maxout(1.5)", "quadratic"],
)
def test_bad_activation_names(name):
    with pytest.raises(ValueError, match=r"known|parameter|pieces"):
        activation(name, [1.0, 2.0])


def test_bad_activation_shapes():
    for name, z in [("glu", [1, 2, 3]), ("maxout(3)", [1, 2]), ("relu", [])]:
        with pytest.raises(ValueError, match="positive multiple"):
            activation(name, z)
        with pytest.raises(ValueError, match="positive multiple"):
            activation_jacobian(name, z)
    with pytest.raises(ValueError, match="1-D"):
        activation("relu", [[1, 2]])


def test_the_argument_is_not_changed_and_not_returned():
    z = np.array([1.0, 2.0])
    a = activation("identity", z)
    a[0] = 5
    assert z[0] == 1


# ---------------------------------------------------------------------------------------- costs


@pytest.mark.parametrize("n", [1, 3, 6])
@pytest.mark.parametrize("name", MP_COSTS)
def test_cost_and_its_gradient(name, n, rng):
    for _ in range(3):
        a, y = draw_outputs_and_targets(name, n, rng)
        with mp.workdps(100):
            C = float(MP_COSTS[name](mp_vector(a), mp_vector(y)))
            g = mp_partials(lambda x, y=y: [MP_COSTS[name](x, mp_vector(y))], a)[0]
        assert isinstance(cost(name, a, y), float)
        assert_allclose(cost(name, a, y), C, rtol=1e-12, atol=1e-15)
        assert_allclose(cost_gradient(name, a, y), g, rtol=1e-12, atol=1e-15)


def test_log_cosh_near_and_far():
    assert_allclose(cost("log_cosh", [1e-8], [0]), 5e-17, rtol=1e-12)
    assert_allclose(cost("log_cosh", [700], [0]), 700 - math.log(2), rtol=1e-15)


def test_zero_times_infinity_is_zero():
    a, y = [0, 0.5, 0.5], [0, 0.5, 0.5]
    assert cost("kl", a, y) == 0
    assert_allclose(cost("cross_entropy", a, y), math.log(2))
    assert cost("poisson", [0], [0]) == 0
    assert cost("binary_cross_entropy", [0, 1], [0, 1]) == 0
    assert_array_equal(cost_gradient("kl", a, y), [0, -1, -1])
    assert_array_equal(cost_gradient("cross_entropy", a, y), [0, -1, -1])
    assert_array_equal(cost_gradient("poisson", [0], [0]), [1])
    assert_array_equal(cost_gradient("binary_cross_entropy", [0, 1], [0, 1]), [1, -1])


def test_a_certain_mistake_costs_infinity():
    for name in ("cross_entropy", "kl", "poisson", "binary_cross_entropy"):
        assert cost(name, [0.0], [1.0]) == math.inf
        assert_array_equal(cost_gradient(name, [0.0], [1.0]), [-math.inf])


def test_subgradients_at_kinks():
    assert_array_equal(cost_gradient("mae", [2, 3, 1], [2, 2, 2]), [0, 1, -1])
    assert_array_equal(cost_gradient("pinball(0.9)", [2], [2]), [0])
    assert_array_equal(cost_gradient("hinge", [1, -1, 0.5], [1, -1, 1]), [0, 0, -1])
    assert_array_equal(cost_gradient("squared_hinge", [1, -1], [1, -1]), [0, 0])
    assert_array_equal(cost_gradient("squared_hinge", [0], [3]), [-6])  # (1 - 3a)^2
    assert_array_equal(cost_gradient("huber(2)", [2, -2], [0, 0]), [2, -2])


def test_bad_costs():
    with pytest.raises(ValueError, match="known"):
        cost("relu", [1], [1])
    with pytest.raises(ValueError, match="takes no parameter"):
        cost_gradient("mae(2)", [1], [1])
    for name, a, y in [("mse", [1, 2], [1]), ("gaussian_nll", [1, 2, 3], [1, 2, 3])]:
        with pytest.raises(ValueError, match="do not fit"):
            cost(name, a, y)
        with pytest.raises(ValueError, match="do not fit"):
            cost_gradient(name, a, y)


# ------------------------------------------------------------------------- cost of z and BP1

PAIRS = [
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
    ("softmax(0.4)", "cross_entropy"),
    ("softmax", "kl"),
    ("softmax(2)", "kl"),
    ("exp", "poisson"),
]


def mp_cost_of_z(output, loss, z, y):
    a = [MP_ELEMENTWISE[output](z_k) for z_k in z] if output in MP_ELEMENTWISE else None
    if a is None:
        c = float(output[8:-1]) if "(" in output else 1
        a = mp_softmax(z, c)
    return MP_COSTS[loss](a, y)


@pytest.mark.parametrize("output, loss", PAIRS)
def test_canonical_pair_equals_the_general_form(output, loss, rng):
    for _ in range(5):
        z = rng.normal(0, 2, 4)
        _, y = draw_outputs_and_targets(loss, 4, rng)
        assert_allclose(
            output_error(output, loss, z, y),
            output_error(output, loss, z, y, general=True),
            rtol=1e-11,
            atol=1e-14,
        )
        assert_allclose(
            cost_on_z(output, loss, z, y), cost_on_z(output, loss, z, y, general=True), rtol=1e-12
        )


@pytest.mark.parametrize("output, loss", PAIRS)
@pytest.mark.parametrize(
    "z", [[700, -700, 0, 3], [-700, 700, 1, 2], [0, 1, 40, -40], [300, 301, 299, -300]]
)
def test_canonical_pair_is_stable_up_to_700(output, loss, z):
    if output.startswith("softmax"):
        targets = [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0.1, 0.2, 0.4, 0.8]]
    elif output == "sigmoid":
        targets = [[0, 0, 1, 1], [1, 1, 0, 0], [0.3, 0.6, 0.5, 0.5]]
    else:
        targets = [[0, 1, 2, 3], [3, 0, 1, 0]]
    for y in targets:
        with np.errstate(over="raise", invalid="raise", divide="raise"):
            C, delta = cost_on_z(output, loss, z, y), output_error(output, loss, z, y)
        with mp.workdps(1300):
            target = mp_vector(y)
            exact = mp_cost_of_z(output, loss, mp_vector(z), target)
            expected = mp_partials(lambda x, t=target: [mp_cost_of_z(output, loss, x, t)], z)[0]
        # rounding c z to float64 alone may cost 700 epsilon = 1.6e-13
        assert_allclose(C, float(exact), rtol=2e-13, atol=TINY)
        assert_allclose(delta, expected, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "output, loss",
    [
        ("tanh", "quadratic"),
        ("log_softmax", "mse"),
        ("layer_norm(2)", "huber"),
        ("softmax", "log_cosh"),
        ("sigmoid", "cross_entropy"),
        ("glu", "mae"),
        ("maxout(3)", "pinball(0.2)"),
        ("softplus", "poisson"),
    ],
)
def test_output_error_of_other_pairs(output, loss, rng):
    z = rng.normal(0, 1, activation_width(output, 4))
    y = rng.uniform(0.1, 2, 4)
    with mp.workdps(100):

        def exact(x):
            if output in MP_ELEMENTWISE:
                a = [MP_ELEMENTWISE[output](x_k) for x_k in x]
            elif output == "layer_norm(2)":
                a = mp_layer_norm(x, 2)
            else:
                a = MP_COUPLED[output](x)
            if loss == "pinball(0.2)":
                return mp_pinball(mpf(0.2))(a, mp_vector(y))
            return MP_COSTS[loss](a, mp_vector(y))

        C, delta = float(exact(mp_vector(z))), mp_partials(lambda x: [exact(x)], z)[0]
    assert_allclose(cost_on_z(output, loss, z, y), C, rtol=1e-12)
    assert_allclose(output_error(output, loss, z, y), delta, rtol=1e-12, atol=1e-14)
    assert_array_equal(
        output_error(output, loss, z, y), output_error(output, loss, z, y, general=True)
    )


def test_fused_formulas_check_the_targets_too():
    with pytest.raises(ValueError, match="do not fit"):
        output_error("softmax", "cross_entropy", [1, 2, 3], [1])
    with pytest.raises(ValueError, match="do not fit"):
        cost_on_z("sigmoid", "binary_cross_entropy", [1, 2, 3], [1])


# -------------------------------------------------------------------------------------- network

ARCHITECTURES = [
    ([3, 4, 2], "tanh", "identity", "quadratic"),
    ([3, 5, 4, 3], ["sigmoid", "softplus"], "softmax", "cross_entropy"),
    ([4, 3, 2], "maxout(3)", "sigmoid", "binary_cross_entropy"),
    ([3, 4, 5, 3], ["glu", "tanh"], "log_softmax", "mse"),
    ([3, 5, 4, 2], ["layer_norm(0.7)", "glu"], "softmax(1.5)", "kl"),
    ([2, 3, 4], "silu", "identity", "gaussian_nll"),
    ([3, 4, 2], "elu(0.5)", "exp", "poisson"),
    ([3, 4], "relu", "softmax", "quadratic"),
    ([3, 4, 4], "gelu", "layer_norm", "huber(0.5)"),
    ([2, 4, 3], "log_softmax", "maxout", "log_cosh"),
]


def build(architecture, rng):
    sizes, hidden, output, loss = architecture
    names = [hidden] * (len(sizes) - 2) if isinstance(hidden, str) else hidden
    count = 0
    for n_in, n, name in zip(sizes[:-1], sizes[1:], [*names, output], strict=True):
        count += (n_in + 1) * activation_width(name, n)
    net = Network(sizes, hidden, output, loss, rng.normal(0, 0.6, count))
    X = rng.normal(0, 1, (5, sizes[0]))
    n_targets = sizes[-1] // 2 if loss == "gaussian_nll" else sizes[-1]
    Y = np.array([draw_outputs_and_targets(loss, n_targets, rng)[1] for _ in X])
    return net, X, Y


def five_point(f, x, h=1e-3):
    """Derivatives of f (any shape) by each element of x, along a new last axis."""
    x = np.array(x, dtype=float)
    columns = []
    for j in range(x.size):
        e = np.zeros(x.size)
        e[j] = h
        e = e.reshape(x.shape)
        difference = 8 * (f(x + e) - f(x - e)) - (f(x + 2 * e) - f(x - 2 * e))
        columns.append(difference / (12 * h))
    return np.stack(columns, axis=-1)


def with_parameters(net, architecture, parameters):
    sizes, hidden, output, loss = architecture
    return Network(sizes, hidden, output, loss, parameters)


@pytest.fixture(params=ARCHITECTURES, ids=lambda p: f"{p[1]}-{p[2]}-{p[3]}")
def case(request, rng):
    return request.param, *build(request.param, rng)


def test_gradient_against_differences_of_the_loss(case, rng):
    architecture, net, X, Y = case
    for options in (
        {},
        {"sample_weight": rng.uniform(0.1, 2, len(X)), "l2": 0.3, "l1": 0.2},
        {"sample_weight": [0, 3, 0, 1, 0]},
    ):
        expected = five_point(
            lambda p, o=options: with_parameters(net, architecture, p).loss(X, Y, **o),
            net.parameters,
            h=2e-4,
        )
        assert_allclose(net.gradient(X, Y, **options), expected, rtol=1e-8, atol=1e-9)


def test_input_gradient_against_differences(case):
    _, net, X, Y = case
    result = net.input_gradient(X, Y)
    assert result.shape == X.shape
    for s in range(len(X)):
        expected = five_point(lambda x, s=s: net.loss(x[None], Y[s : s + 1]), X[s], h=2e-4)
        assert_allclose(result[s], expected, rtol=1e-8, atol=1e-9)


def test_jacobian_against_differences(case):
    _, net, X, _ = case
    J = net.jacobian(X)
    assert J.shape == (len(X), net.sizes[-1], net.sizes[0])
    for s in range(len(X)):
        expected = five_point(lambda x: net.predict(x[None])[0], X[s], h=2e-4)
        assert_allclose(J[s], expected, rtol=1e-8, atol=1e-9)


def test_vjp_and_jvp(case, rng):
    _, net, X, _ = case
    J = net.jacobian(X)
    V, U = rng.normal(size=(5, net.sizes[0])), rng.normal(size=(5, net.sizes[-1]))
    Jv, Jtu = net.jvp(X, V), net.vjp(X, U)
    assert_allclose(np.sum(Jv * U, axis=1), np.sum(V * Jtu, axis=1), rtol=1e-10, atol=1e-13)
    assert_allclose(Jv, np.einsum("skj,sj->sk", J, V), rtol=1e-10, atol=1e-13)
    assert_allclose(Jtu, np.einsum("skj,sk->sj", J, U), rtol=1e-10, atol=1e-13)


def test_deltas_are_derivatives_by_the_weighted_inputs(case):
    # adding t to b^l adds t to z^l of a single sample
    architecture, net, X, Y = case
    deltas = net.deltas(X, Y)
    assert len(deltas) == len(net.sizes) - 1
    for layer, delta in enumerate(deltas):
        assert delta.shape == (len(X), len(net.biases[layer]))
        for s in range(len(X)):

            def shifted(t, layer=layer, s=s):
                other = with_parameters(net, architecture, net.parameters)
                other.biases[layer][...] += t
                return other.loss(X[s : s + 1], Y[s : s + 1])

            expected = five_point(shifted, np.zeros(delta.shape[1]), h=2e-4)
            assert_allclose(delta[s], expected, rtol=1e-8, atol=1e-9)


def test_feedforward_by_hand():
    W1, b1 = np.array([[1.0, -2.0, 0.5], [3.0, 0.0, -1.0]]), np.array([0.1, 0.2, 0.3])
    W2, b2 = np.array([[1.0], [2.0], [-4.0]]), np.array([-0.5])
    parameters = [1, -2, 0.5, 3, 0, -1, 0.1, 0.2, 0.3, 1, 2, -4, -0.5]
    net = Network([2, 3, 1], "relu", "identity", "quadratic", parameters)
    assert net.n_parameters == 13
    for W, expected in zip(net.weights, [W1, W2], strict=True):
        assert_array_equal(W, expected)
    for b, expected in zip(net.biases, [b1, b2], strict=True):
        assert_array_equal(b, expected)
    assert_array_equal(net.is_weight, [1] * 6 + [0] * 3 + [1] * 3 + [0])
    zs, activations = net.feedforward([[1, 2], [-1, 0]])
    assert_allclose(zs[0], [[7.1, -1.8, -1.2], [-0.9, 2.2, -0.2]])
    assert_array_equal(activations[0], [[1, 2], [-1, 0]])
    assert_allclose(activations[1], [[7.1, 0, 0], [0, 2.2, 0]])
    assert_allclose(zs[1], [[6.6], [3.9]])
    assert_array_equal(activations[2], zs[1])
    assert_array_equal(net.predict([[1, 2], [-1, 0]]), activations[2])
    assert [len(zs), len(activations)] == [2, 3]


def test_loss_by_hand():
    net = Network([1, 1, 1], "identity", "identity", "quadratic", [2, 10, -3, 20])
    X, Y = [[0], [1]], [[-8], [-20]]  # outputs -10 and -16; C = 2 and 8
    assert net.loss(X, Y) == 5
    assert net.loss(X, Y, sample_weight=[3, 1]) == 3.5
    assert net.loss(X, Y, sample_weight=[0, 0]) == 0
    assert_allclose(net.loss(X, Y, l2=0.4), 5 + 0.4 / 4 * 13)
    assert_allclose(net.loss(X, Y, l1=0.4), 5 + 0.4 / 2 * 5)
    assert_allclose(net.loss(X, Y, sample_weight=[0, 0], l2=0.4, l1=0.4), 1.3 + 1)


def test_gradient_with_weights_that_sum_to_zero_is_regularisation_alone():
    net = Network([2, 1], "relu", "identity", "quadratic", [2, 0, 5])
    gradient = net.gradient([[1, 1], [2, 2]], [[0], [1]], [0, 0], l2=0.5, l1=0.3)
    assert_allclose(gradient, [0.5 / 2 * 2 + 0.3 / 2, 0, 0])


def test_gradient_is_the_mean_over_samples_once(rng):
    net, X, Y = build(ARCHITECTURES[1], rng)
    twice = net.gradient(np.vstack([X, X]), np.vstack([Y, Y]))
    assert_allclose(twice, net.gradient(X, Y), rtol=1e-12, atol=1e-15)
    one_by_one = [net.gradient(x[None], y[None]) for x, y in zip(X, Y, strict=True)]
    assert_allclose(np.mean(one_by_one, axis=0), net.gradient(X, Y), rtol=1e-12, atol=1e-15)


def test_gradient_survives_saturation():
    net = Network([1, 2], "relu", "softmax", "cross_entropy", [700, -700, 0, 0])
    assert net.loss([[1]], [[0, 1]]) == 1400
    assert_array_equal(net.gradient([[1]], [[0, 1]]), [1, -1, 1, -1])


def test_parameters_are_copied_and_views_write_through():
    parameters = np.ones(4)
    net = Network([1, 1, 1], "relu", "identity", "mse", parameters)
    net.weights[0][0, 0] = 7
    net.biases[1][0] = 8
    assert_array_equal(parameters, np.ones(4))
    assert_array_equal(net.parameters, [7, 1, 1, 8])


def test_bad_networks_and_data():
    with pytest.raises(ValueError, match="4 parameters needed"):
        Network([1, 1, 1], "relu", "identity", "mse", np.ones(5))
    with pytest.raises(ValueError, match="2 activations for 1"):
        Network([1, 1, 1], ["relu", "relu"], "identity", "mse", np.ones(4))
    with pytest.raises(ValueError, match="known"):
        Network([1, 1], "relu", "identity", "nonsense", np.ones(2))
    with pytest.raises(ValueError, match="sizes"):
        Network([1], "relu", "identity", "mse", [])
    net = Network([2, 1], "relu", "identity", "mse", np.ones(3))
    with pytest.raises(ValueError, match="X must be"):
        net.predict([[1]])
    with pytest.raises(ValueError, match="Y must be"):
        net.loss([[1, 2]], [1])
    with pytest.raises(ValueError, match="1 rows of X, 2 of Y"):
        net.gradient([[1, 2]], [[1], [2]])
    with pytest.raises(ValueError, match="2 sample weights"):
        net.gradient([[1, 2]], [[1]], sample_weight=[1, 2])
    with pytest.raises(ValueError, match="V must be"):
        net.vjp([[1, 2]], [[1, 2]])
    with pytest.raises(ValueError, match="V must be"):
        net.jvp([[1, 2]], [[1]])
    for product, v in [(net.vjp, [[1], [1]]), (net.jvp, [[1, 1], [1, 1]])]:
        with pytest.raises(ValueError, match="1 rows of X, 2 of V"):
            product([[1, 2]], v)


# ----------------------------------------------------------------------------------- optimizers

G1, G2 = np.array([2.0]), np.array([-1.0])  # gradients of two steps from W = 1


def two_steps(optimizer, is_weight=None):
    first = optimizer.step(np.array([1.0]), G1, is_weight)
    second = optimizer.step(first, G2, is_weight)
    return [first[0], second[0]]


def test_sgd_by_hand():
    assert_allclose(two_steps(SGD(0.1)), [0.8, 0.9])
    # v = 2, then 0.9 * 2 - 1 = 0.8
    assert_allclose(two_steps(SGD(0.1, momentum=0.9)), [0.8, 0.72])
    # steps 2 + 0.9 * 2 = 3.8, then -1 + 0.9 * 0.8 = -0.28
    assert_allclose(two_steps(SGD(0.1, momentum=0.9, nesterov=True)), [0.62, 0.648])


# m = 0.2, v = 0.04: corrected 2 and 4; then m = 0.08, v = 0.0496, corrected by 0.19 and 0.0199
ADAM_STEP_1 = 0.1 * 2 / (2 + 0.5)
ADAM_STEP_2 = 0.1 * (0.08 / 0.19) / (math.sqrt(0.0496 / 0.0199) + 0.5)


def test_adam_by_hand():
    expected = [1 - ADAM_STEP_1, 1 - ADAM_STEP_1 - ADAM_STEP_2]
    assert_allclose(two_steps(Adam(0.1, beta1=0.9, beta2=0.99, epsilon=0.5)), expected)


def test_adamw_by_hand_decays_weights_only():
    first = 1 * 0.98 - ADAM_STEP_1
    expected = [first, first * 0.98 - ADAM_STEP_2]
    options = {"beta1": 0.9, "beta2": 0.99, "epsilon": 0.5, "weight_decay": 0.2}
    assert_allclose(two_steps(AdamW(0.1, **options), np.array([True])), expected)
    undecayed = two_steps(Adam(0.1, beta1=0.9, beta2=0.99, epsilon=0.5))
    assert_allclose(two_steps(AdamW(0.1, **options), np.array([False])), undecayed)


def test_adam_defaults_are_the_published_ones():
    p, g = np.array([1.0]), np.array([1e-8])
    assert_allclose(Adam().step(p, g), 1 - 0.001 / 2, rtol=1e-12)
    for optimizer in (Adam(), AdamW()):
        assert (optimizer.beta1, optimizer.beta2, optimizer.epsilon) == (0.9, 0.999, 1e-8)
    decayed = AdamW().step(p, np.zeros(1), np.array([True]))
    assert_allclose(decayed, 1 - 0.001 * 0.01, rtol=1e-15)


@pytest.mark.parametrize("make", [SGD, Adam, AdamW])
def test_optimizers_leave_their_arguments_alone(make):
    parameters, gradient = np.array([1.0]), np.array([2.0])
    optimizer = make(0.1)
    for _ in range(2):
        assert optimizer.step(parameters, gradient, np.array([True])) is not parameters
    assert_array_equal(parameters, [1])
    assert_array_equal(gradient, [2])


# ----------------------------------------------------------------------------------------- train

OPTIMIZERS = {
    "sgd": lambda: SGD(0.5),
    "momentum": lambda: SGD(0.1, momentum=0.9),
    "nesterov": lambda: SGD(0.1, momentum=0.9, nesterov=True),
    "adam": lambda: Adam(0.01),
    "adamw": lambda: AdamW(0.01, weight_decay=0.5),
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_train_is_repeated_manual_steps(name, weighted, rng):
    sizes, hidden, output, loss = ARCHITECTURES[4]
    net, _, _ = build(ARCHITECTURES[4], rng)
    X, Y = rng.normal(size=(7, sizes[0])), rng.dirichlet(np.ones(sizes[-1]), 7)
    w = rng.uniform(0.2, 2, 7) if weighted else None
    l2, l1 = 0.3, 0.2
    orders = [rng.permutation(7) for _ in range(3)]
    start = net.parameters.copy()
    losses = train(net, X, Y, orders, 3, OPTIMIZERS[name](), w, l2=l2, l1=l1)

    other, optimizer = Network(sizes, hidden, output, loss, start), OPTIMIZERS[name]()
    manual = []
    every = np.ones(7) if w is None else w
    for order in orders:
        total = 0
        for rows in (order[:3], order[3:6], order[6:]):
            total += other.loss(X[rows], Y[rows], every[rows]) * every[rows].sum()
            g = other.gradient(X[rows], Y[rows], every[rows])
            p = other.parameters
            g = g + np.where(other.is_weight, l2 / 7 * p + l1 / 7 * np.sign(p), 0)
            other.parameters = optimizer.step(p, g, other.is_weight)
        manual.append(total / every.sum())
    assert_allclose(net.parameters, other.parameters, rtol=1e-12, atol=1e-15)
    assert_allclose(losses, manual, rtol=1e-12)
    assert np.abs(net.parameters - start).max() > 1e-2


def test_train_by_hand():
    # outputs W x + b with W = b = 0; batches of one row, order 1, 0
    net = Network([1, 1], "relu", "identity", "quadratic", [0, 0])
    losses = train(net, [[1], [2]], [[1], [4]], [[1, 0]], 1, SGD(0.1), sample_weight=[1, 3])
    # row 1: delta -4, W 0.8, b 0.4 (the weight 3 cancels); row 0: delta 0.2, W 0.78, b 0.38
    assert_allclose(net.parameters, [0.78, 0.38])
    assert_allclose(losses, [(3 * 8 + 0.02) / 4])


def test_train_steps_on_a_batch_without_weight():
    net = Network([1, 1], "relu", "identity", "quadratic", [2, 5])
    X, Y, w = [[1], [2], [3], [4]], [[0], [0], [0], [0]], [0, 0, 0, 0]
    losses = train(net, X, Y, [[0, 1, 2, 3]], 2, SGD(1.0), w, l2=0.4)
    assert_allclose(net.parameters, [2 * 0.9 * 0.9, 5])
    assert losses == [0]


def test_train_learns(rng):
    X = rng.normal(size=(40, 2))
    Y = np.stack([X[:, 0] > X[:, 1], X[:, 0] <= X[:, 1]], axis=1).astype(float)
    net = Network([2, 4, 2], "tanh", "softmax", "cross_entropy", rng.normal(0, 0.5, 22))
    losses = train(net, X, Y, [rng.permutation(40) for _ in range(15)], 5, Adam(0.05))
    assert losses[0] > 0.4
    assert losses[-1] < 0.15


def test_train_refuses_what_is_not_a_permutation():
    net = Network([1, 1], "relu", "identity", "quadratic", [2, 5])
    with pytest.raises(ValueError, match="permutation"):
        train(net, [[1], [2]], [[1], [4]], [[1, 1]], 1, SGD(0.1))
