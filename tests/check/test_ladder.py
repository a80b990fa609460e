"""The output error, rung by rung: right code passes, a wrong rung is found and named.

What belongs here: `fastbp.check.output_error`. What does not: hidden layers (test_recurrence.py),
the probe of an activation (test_structure.py).
"""

import itertools
import json

import numpy as np
import pytest
from cases import ACTIVATIONS, LOSSES, fits, network, targets

import fastbp
from fastbp import reference
from fastbp.check.terms.ladder import OutputError, output_error
from fastbp.check.terms.mistakes import identified
from fastbp.check.terms.recurrence import recurrence

Z, Y = np.array([1.0, 2.0, 3.0]), np.array([0.0, 0.0, 1.0])
X = np.array([0.5, -1.0, 0.3])


def words(found):
    return " ".join([found.verdict, *found.findings])


def softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def softmax_jacobian(z):
    a = softmax(z)
    return np.diag(a) - np.outer(a, a)


def log_softmax(z):
    return z - z.max() - np.log(np.exp(z - z.max()).sum())


def log_softmax_jacobian(z):
    return np.eye(len(z)) - softmax(z)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def sigmoid_prime(z):
    return sigmoid(z) * (1 - sigmoid(z))


def quadratic(a, y):
    return 0.5 * ((a - y) ** 2).sum()


def quadratic_prime(a, y):
    return a - y


def cross_entropy(a, y):
    return -(y * np.log(a)).sum()


# the golden example

GOLDEN = {
    ("sigmoid", "quadratic"): ([0.143735, 0.092478, -0.002143],) * 2,
    ("softmax", "quadratic"): (
        [0.022033, 0.097751, -0.119784],
        [0.007376, 0.045235, -0.074549],
    ),
    ("softmax", "cross_entropy"): ([0.090031, 0.244728, -0.334759], [0.0, 0.0, -0.334759]),
}
OWN = {"sigmoid": sigmoid, "softmax": softmax, "quadratic": quadratic}
OWN["cross_entropy"] = cross_entropy


@pytest.mark.parametrize("own", ["", "activation", "cost", "activation cost"])
@pytest.mark.parametrize("pair", GOLDEN, ids="+".join)
def test_the_golden_example(pair, own):
    activation, cost = (
        OWN[name] if kind in own.split() else name
        for name, kind in zip(pair, ("activation", "cost"), strict=True)
    )
    found = output_error(z=Z, y=Y, activation=activation, cost=cost)
    true, alone = GOLDEN[pair]
    assert found.verdict.startswith("pass"), found
    for rung in (found.black_box, found.total):
        np.testing.assert_allclose(rung, true, atol=6e-7)
    for rung in (found.diagonal, found.product):
        np.testing.assert_allclose(rung, alone, atol=6e-7)
    np.testing.assert_allclose(found.terms.sum(axis=0), found.total)
    np.testing.assert_allclose(found.terms, found.g[:, None] * found.jacobian)
    assert found.collapses == (pair[0] == "sigmoid")
    assert (np.abs(found.black_box - found.total) <= found.bound + 1e-9).all()
    assert found.bound.max() < 1e-9 and found.claimed is None
    for name, own_one in zip((found.activation, found.cost), pair, strict=True):
        assert name == own_one
    assert ("taken from differences" in words(found)) == bool(own)


@pytest.mark.parametrize("pair", GOLDEN, ids="+".join)
def test_the_golden_example_in_a_network(pair):
    net = fastbp.Network([3, 3], output=pair[0], loss=pair[1], dtype="float64", init="zeros")
    net.weights[0][...] = np.eye(3)
    for y in (2, Y):
        found = output_error(net, Z, y)
        assert found.ok and found.claimant == "engine"
        for rung in (found.black_box, found.total, found.claimed):
            np.testing.assert_allclose(rung, GOLDEN[pair][0], atol=6e-7)
        np.testing.assert_allclose(found.diagonal, GOLDEN[pair][1], atol=6e-7)
        np.testing.assert_array_equal(found.z, Z)


def test_what_is_said_of_the_golden_example():
    coupled = output_error(z=Z, y=Y, activation="softmax", cost="quadratic")
    assert "every a_k has all z_j in its denominator" in words(coupled)
    assert "(2) and (3) part at 3 of 3 neurons, as they must" in words(coupled)
    assert "J where J^T belongs gives the same" in words(coupled)
    alone = output_error(z=Z, y=Y, activation="sigmoid", cost="quadratic")
    assert "each a_k depends on its own z_k only" in words(alone) and "part" not in words(alone)
    other = output_error(z=Z, y=Y, activation="log_softmax", cost="quadratic")
    assert "J is not symmetric for log_softmax" in words(other)


# right code passes

PAIRS = [(a, c) for a in ACTIVATIONS for c in LOSSES if fits(a, c)]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_pair_passes_in_a_network(activation, dtype):
    for loss in (c for a, c in PAIRS if a == activation):
        net = network([3, 5, 4], "tanh", activation, loss, dtype)
        y = targets(np.random.default_rng(3), loss, 1, 4)[0]
        found = output_error(net, X, y)
        assert found.verdict.startswith("pass"), found
        assert (np.abs(found.black_box - found.total) <= found.bound + 1e-9).all(), found
        assert found.bound.max() < 1e-7, found


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_pair_passes_by_name(activation):
    rng = np.random.default_rng(4)
    for loss in (c for a, c in PAIRS if a == activation):
        z = rng.standard_normal(reference.activation_width(activation, 4))
        y = targets(rng, loss, 1, 4)[0]
        found = output_error(z=z, y=y, activation=activation, cost=loss)
        assert found.verdict.startswith("pass"), found
        np.testing.assert_allclose(
            found.total, reference.output_error(activation, loss, z, y), atol=1e-12
        )


def test_every_label_passes():
    for dtype, label in itertools.product(("float64", "float32"), range(4)):
        net = network([3, 5, 4], "tanh", "softmax", "cross_entropy", dtype)
        found = output_error(net, X, label)
        assert found.verdict.startswith("pass") and found.y.tolist() == np.eye(4)[label].tolist()


@pytest.mark.parametrize("scale", [1e-3, 10.0, 40.0, 300.0, 800.0])
def test_no_pair_fails_where_outputs_saturate(scale):
    rng = np.random.default_rng(1)
    conclusive = 0
    for activation, loss in PAIRS[::5]:
        z = rng.standard_normal(reference.activation_width(activation, 3)) * scale
        y = targets(rng, loss, 1, 4)[0][: 3 if loss != "gaussian_nll" else 1]
        if loss == "gaussian_nll":
            continue
        try:
            found = output_error(z=z, y=y, activation=activation, cost=loss)
        except ValueError as error:
            assert "finite number" in str(error)
            continue
        assert found.ok is not False, found
        conclusive += found.verdict.startswith("pass")
    assert conclusive > 40


SATURATED = [
    ("softmax", "cross_entropy", [0.0, 800.0], [1.0, 0.0], [-1.0, 1.0]),
    ("softmax(0.5)", "kl", [0.0, 1600.0], [1.0, 0.0], [-0.5, 0.5]),
    ("sigmoid", "binary_cross_entropy", [36.0, -800.0, 50.0], [0.0, 0.5, 0.0], [1.0, -0.5, 1.0]),
    ("exp", "poisson", [-800.0, 1.0], [2.0, 1.0], [-2.0, np.e - 1]),
]


@pytest.mark.parametrize("case", SATURATED, ids=lambda case: case[0])
def test_canonical_pairs_where_a_has_rounded(case):
    activation, loss, z, y, delta = case
    found = output_error(z=z, y=y, activation=activation, cost=loss)
    assert found.verdict.startswith("pass"), found
    assert "fused form" in words(found)
    np.testing.assert_allclose(found.total, delta, atol=1e-12)
    assert np.isfinite(found.terms).all() and np.isfinite(found.product).all()
    wrong = output_error(z=z, y=y, activation=activation, cost=loss, delta=3 * found.total)
    assert "3 times dC/dz" in wrong.verdict


def test_infinite_factors_without_a_fused_form_are_told():
    found = output_error(z=[-712.0, 0.5], y=[1.0, 1.0], activation="sigmoid", cost="cross_entropy")
    assert not found.verdict.startswith("FAIL")
    json.dumps(found.to_dict(), allow_nan=False)


# what the user's code says delta is

CLAIMS = {
    "dropped": (lambda f: f.diagonal, "only the k = j term: the sum over k has been dropped"),
    "sign": (lambda f: -f.total, "-dC/dz: the sign is wrong"),
    "outputs": (lambda f: 3 * f.total, "exactly 3 times dC/dz, 3 = number of outputs"),
    "averaged": (lambda f: f.total / 3, "= 1 / number of outputs"),
    "scaled": (lambda f: 1.25 * f.total, "1.25 times dC/dz at every neuron"),
    "turned": (lambda f: f.jacobian @ f.g, "J g: J where J^T belongs"),
    "no sigma'": (lambda f: f.g, "dC/da alone: da/dz is missing"),
    "zero": (lambda f: 0 * f.total, "delta is 0"),
    "one neuron": (lambda f: f.total + np.array([0, 1e-3, 0]), "part at neuron 2"),
    "little": (lambda f: f.total * (1 + 1e-5), "delta is 1.00001 times"),
}


@pytest.mark.parametrize("form", ["array", "callable", "list"])
@pytest.mark.parametrize("case", CLAIMS)
def test_a_wrong_delta_is_named(case, form):
    wrong, name = CLAIMS[case]
    right = output_error(z=Z, y=Y, activation="log_softmax", cost="quadratic")
    array = np.asarray(wrong(right))
    delta = {"array": array, "list": array.tolist(), "callable": lambda z, y: array}[form]
    found = output_error(z=Z, y=Y, activation="log_softmax", cost="quadratic", delta=delta)
    assert found.verdict.startswith("FAIL: delta is ") and not found.ok
    assert name in words(found), found
    np.testing.assert_array_equal(found.claimed, array)
    assert found.claimant == "delta"


def test_a_right_delta_passes():
    for pair in GOLDEN:
        found = output_error(
            z=Z, y=Y, activation=pair[0], cost=pair[1],
            delta=lambda z, y, pair=pair: reference.output_error(*pair, z, y),
        )  # fmt: skip
        assert found.verdict.startswith("pass: delta and the sum over k agree")


def test_sigma_prime_at_a():
    true = sigmoid_prime(Z) * (sigmoid(Z) - Y)
    delta = sigmoid_prime(sigmoid(Z)) * (sigmoid(Z) - Y)
    for activation in ("sigmoid", sigmoid):
        found = output_error(z=Z, y=Y, activation=activation, cost=quadratic, delta=delta)
        assert "sigma' taken at a instead of z" in found.verdict
        assert output_error(z=Z, y=Y, activation=activation, cost=quadratic, delta=true).ok


def test_a_minus_y_of_another_pair():
    found = output_error(z=Z, y=[1, 1, 0], activation="softmax", cost="cross_entropy",
                         delta=lambda z, y: softmax(z) - y)  # fmt: skip
    assert "a - y, which belongs to another pair" in found.verdict
    assert output_error(z=Z, y=Y, activation="softmax", cost="cross_entropy",
                        delta=lambda z, y: softmax(z) - y).ok  # fmt: skip


def planted(change):
    class Wrong(fastbp.Network):
        def deltas(self, X, Y):
            out = super().deltas(X, Y)
            out[-1] = change(self, X, out[-1]).astype(self.dtype)
            return out

    return Wrong


def dropped(net, X, delta):
    z, a = net.feedforward(X)[0][-1][0], net.predict(X)[0]
    J = reference.activation_jacobian(net.architecture["output"], z)
    return (np.diag(J) * reference.cost_gradient(net.architecture["loss"], a, np.eye(4)[1]))[None]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    ("change", "name"),
    [
        (dropped, "only the k = j term"),
        (lambda net, X, d: -d, "the sign is wrong"),
        (lambda net, X, d: 4 * d, "4 = number of outputs"),
        (lambda net, X, d: d * np.nan, "is not dC/dz"),
        (lambda net, X, d: d + 0.01 * (np.arange(4) == 2), "neuron 3"),
    ],
)
@pytest.mark.parametrize("output", ["softmax", "log_softmax"])
def test_a_wrong_engine_is_found(output, change, name, dtype):
    loss = "quadratic" if output == "log_softmax" else "cross_entropy"
    net = planted(change)([3, 5, 4], output=output, loss=loss, dtype=dtype, seed=1)
    found = output_error(net, X, 1)
    assert found.verdict.startswith("FAIL: the engine's delta is ") and name in words(found), found
    assert output_error(fastbp.Network(**net.architecture, seed=1), X, 1).ok
    json.dumps(found.to_dict(), allow_nan=False)


def test_how_much_float32_is_allowed():
    for dtype, factor, ok in (
        ("float64", 1e-5, False), ("float32", 1e-5, True), ("float32", 1e-3, False),
    ):  # fmt: skip
        net = planted(lambda net, X, d, f=factor: d * (1 + f))([3, 5, 4], dtype=dtype)
        assert output_error(net, X, 1).ok == ok
    right = output_error(z=Z, y=Y, activation="softmax", cost="quadratic").total
    wide = output_error(z=Z, y=Y, activation="softmax", cost="quadratic", delta=np.float32(right))
    assert wide.ok
    narrow = output_error(
        z=Z, y=Y, activation="softmax", cost="quadratic", delta=right * (1 + 1e-5)
    )
    assert not narrow.ok


# the user's derivatives


def test_right_derivatives_pass():
    for prime, f, slope in (
        (sigmoid_prime, sigmoid, True),
        (lambda z: np.diag(sigmoid_prime(z)), sigmoid, False),
        (softmax_jacobian, softmax, False),
        (lambda z: np.diag(softmax_jacobian(z)), softmax, True),
        (log_softmax_jacobian, log_softmax, False),
    ):
        for activation in (f, f.__name__):
            found = output_error(z=Z, y=Y, activation=activation, cost=quadratic,
                                 activation_prime=prime, cost_prime=quadratic_prime)  # fmt: skip
            assert found.verdict.startswith("pass"), found
            np.testing.assert_allclose(found.product, found.diagonal, atol=1e-9)
            if not slope:
                np.testing.assert_array_equal(found.jacobian, prime(Z))
            assert "taken from differences: no" not in words(found)


WRONG_PRIMES = {
    "at a": (sigmoid, lambda z: sigmoid_prime(sigmoid(z)), "sigma' taken at a instead of z"),
    "of a": (sigmoid, lambda a: a * (1 - a), "written in terms of a, but is given z"),
    "sign": (sigmoid, lambda z: -sigmoid_prime(z), "-sigma': the sign is wrong"),
    "half": (sigmoid, lambda z: sigmoid_prime(z) / 2, "0.5 times sigma' at every neuron"),
    "one": (
        sigmoid,
        lambda z: sigmoid_prime(z) + np.array([0, 0.01, 0]),
        "sigma'(z_2) is given as",
    ),
    "transposed": (log_softmax, lambda z: log_softmax_jacobian(z).T, "it is J^T"),
    "diagonal": (softmax, lambda z: np.diag(np.diag(softmax_jacobian(z))), "it is diagonal, but"),
    "entry": (
        softmax,
        lambda z: softmax_jacobian(z) + np.eye(3)[1][:, None] * [0.1, 0, 0],
        "da_2/dz_1 is given as",
    ),
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("case", WRONG_PRIMES)
def test_a_wrong_activation_prime_is_named(case, named):
    f, prime, name = WRONG_PRIMES[case]
    found = output_error(z=Z, y=[1, 0, 1], activation=f.__name__ if named else f, cost=quadratic,
                         activation_prime=prime)  # fmt: skip
    assert found.verdict.startswith("FAIL") and name in words(found), found
    assert "sigma' is wrong" in found.verdict or "activation_prime is not da/dz" in found.verdict


def test_a_wrong_sigma_prime_is_found_where_g_hides_it():
    y = sigmoid(Z)
    found = output_error(z=Z, y=y, activation=sigmoid, cost=quadratic,
                         activation_prime=lambda z: 1 + sigmoid_prime(z))  # fmt: skip
    assert found.verdict.startswith("FAIL: sigma' is wrong")


WRONG_COST_PRIMES = {
    "sign": (lambda a, y: y - a, "cost_prime is -dC/da: the sign is wrong"),
    "mean": (lambda a, y: (a - y) / 3, "= 1 / number of outputs"),
    "twice": (lambda a, y: 2 * (a - y), "cost_prime is 2 times dC/da"),
    "one": (lambda a, y: a - y + [0, 0, 0.1], "dC/da_3 is given as"),
}


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("case", WRONG_COST_PRIMES)
def test_a_wrong_cost_prime_is_named(case, named):
    prime, name = WRONG_COST_PRIMES[case]
    found = output_error(z=Z, y=Y, activation=softmax, cost="quadratic" if named else quadratic,
                         cost_prime=prime)  # fmt: skip
    assert found.verdict.startswith("FAIL: cost_prime") and name in words(found), found
    assert "(1), differences of C, part at" in words(found)


def test_primes_with_a_network():
    net = network([3, 5, 4], "tanh", "softmax", "quadratic", "float64")
    assert output_error(net, X, 1, activation_prime=softmax_jacobian).ok
    assert not output_error(net, X, 1, cost_prime=lambda a, y: 2 * (a - y)).ok
    found = output_error(net, X, 1, delta=lambda z, y: 4 * net.deltas(X[None], [1])[-1][0])
    assert "delta is exactly 4 times" in found.verdict and found.claimant == "delta"


# other shapes


def test_rectangular_activations():
    def glu(z):
        u, v = np.split(z, 2)
        return u * sigmoid(v)

    z, y = np.array([0.3, -1.0, 0.5, 2.0]), np.array([1.0, 0.5])
    mine = output_error(z=z, y=y, activation=glu, cost=quadratic)
    known = output_error(z=z, y=y, activation="glu", cost="quadratic")
    for found in (mine, known):
        assert found.verdict.startswith("pass") and found.jacobian.shape == (2, 4)
        assert (found.diagonal[2:] == 0).all() and not found.collapses
    np.testing.assert_allclose(mine.total, known.total, atol=1e-9)
    assert not output_error(z=z, y=y, activation="glu", cost="quadratic", delta=known.diagonal).ok


def test_one_output():
    found = output_error(z=[0.5], y=1.0, activation="sigmoid", cost="binary_cross_entropy")
    assert found.ok and found.total[0] == pytest.approx(sigmoid(0.5) - 1)
    net = fastbp.Network([3, 1], output="identity", loss="quadratic")
    for y in (0.5, [0.5], [[0.5]]):
        assert output_error(net, X, y).ok


def test_a_class_index_for_the_users_cost():
    found = output_error(z=Z, y=2, activation=softmax, cost=lambda a, y: -np.log(a[y]))
    np.testing.assert_allclose(found.total, GOLDEN["softmax", "cross_entropy"][0], atol=6e-7)
    assert found.y == 2
    named = output_error(z=Z, y=2, activation="softmax", cost="cross_entropy")
    assert named.y.tolist() == [0, 0, 1]


def test_functions_of_float32_are_judged_by_their_digits():
    def rounded(z):
        return softmax(z.astype(np.float32))

    found = output_error(z=Z, y=Y, activation=rounded, cost=quadratic)
    assert not found.verdict.startswith("FAIL")
    far = output_error(z=Z, y=Y, activation=rounded, cost=quadratic, delta=-found.total)
    assert "the sign is wrong" in far.verdict or far.verdict.startswith("inconclusive")


# kinks


@pytest.mark.parametrize(
    ("activation", "cost", "z", "y", "low", "high"),
    [
        ("relu", "quadratic", [0.0, 1.0], [1.0, 0.0], -1.0, 0.0),
        ("relu", "mae", [0.0, 2.0], [1.0, 0.0], -1.0, 0.0),
        ("identity", "mae", [0.5, 2.0], [0.5, 0.0], -1.0, 1.0),
        ("identity", "pinball(0.9)", [0.5, 2.0], [0.5, 0.0], -0.9, 0.1),
        ("identity", "hinge", [1.0, 0.5], [1.0, 1.0], -1.0, 0.0),
        ("hardtanh", "quadratic", [1.0, 0.5], [0.0, 0.0], 0.0, 1.0),
        ("leaky_relu(0.2)", "quadratic", [0.0, 0.5], [1.0, 0.0], -1.0, -0.2),
        ("maxout", "quadratic", [1.0, 1.0], [0.0], 0.0, 1.0),
    ],
)
def test_at_a_kink_values_between_the_slopes_are_right(activation, cost, z, y, low, high):
    def asked(**more):
        return output_error(z=z, y=y, activation=activation, cost=cost, **more)

    found = asked()
    assert found.verdict.startswith("pass") and "C has a kink here: z_1" in words(found), found
    np.testing.assert_allclose(found.interval[:, 0], [low, high], atol=1e-6)
    assert "[" in str(found.tables()[0])
    for share, ok in ((0, True), (0.5, True), (1, True), (-0.1, False), (1.1, False)):
        delta = found.total.copy()
        delta[0] = low + share * (high - low)
        assert asked(delta=delta).ok == ok, share


@pytest.mark.parametrize("distance", [1e-4, -1e-4, 1e-5, -1e-6, 1e-13, -1e-13])
def test_beside_a_kink(distance):
    for activation, cost in (("relu", "quadratic"), ("hardtanh", "mae"), ("selu", "hinge")):
        for z in (0.0, 0.5, 1.0):
            z, y = [z + distance, 0.3], [-1.0, 1.0] if cost == "hinge" else [0.5, 0.0]
            found = output_error(z=z, y=y, activation=activation, cost=cost)
            assert found.ok, found


def test_beside_a_kink_the_other_slope_is_wrong():
    found = output_error(z=[1e-3], y=[1.0], activation="relu", cost="quadratic", delta=[0.0])
    assert found.verdict.startswith("FAIL")


# the result, bad input


@pytest.mark.parametrize(
    "arguments",
    [
        {"z": Z, "y": Y, "activation": "softmax", "cost": "quadratic"},
        {"z": Z, "y": Y, "activation": softmax, "cost": quadratic, "delta": -Z},
        {"z": np.arange(40.0) / 9, "y": 3, "activation": "softmax", "cost": "cross_entropy"},
        {"z": np.arange(12.0), "y": [0.5] * 4, "activation": "maxout(3)", "cost": "mae"},
    ],
)
def test_the_result(arguments):
    found = output_error(**arguments)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100, text
    assert text.startswith("output error: ") and "(2) sum over k" in text
    back = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert back["total"] == found.total.tolist() and back["ok"] == found.ok
    assert isinstance(found._repr_html_(), str) and isinstance(found, OutputError)
    with pytest.raises(AttributeError):
        found.verdict = "pass"


def test_arguments_stay_as_they_are():
    def greedy(z):
        z -= z.max()
        np.exp(z, out=z)
        z /= z.sum()
        return z

    def greedy_cost(a, y):
        a -= y
        y += 1
        return 0.5 * (a**2).sum()

    z, y = Z.copy(), Y.copy()
    found = output_error(z=z, y=y, activation=greedy, cost=greedy_cost)
    np.testing.assert_allclose(found.total, GOLDEN["softmax", "quadratic"][0], atol=6e-7)
    assert (z == Z).all() and (y == Y).all() and (found.y == Y).all()


def raising(*_):
    raise RuntimeError("boiler")


def drifting():
    numbers = itertools.count()
    return lambda *arguments: arguments[0] + next(numbers)


drifts = drifting()


def drifting_cost(a, y):
    return drifts(0.0)


NET = fastbp.Network([3, 4])
BAD = {
    "both": ((NET, X, 1), {"z": Z}, ValueError, "z: expected None beside net"),
    "both names": ((NET, X, 1), {"cost": "mae"}, ValueError, "cost: expected None beside net"),
    "neither": ((), {"y": Y}, ValueError, "net: expected net, x and y, or z.*got neither"),
    "x and z": ((None, X, Y), {"z": Z}, ValueError, "x: expected None beside z"),
    "net": ((3, X, 1), {}, TypeError, "net: expected a fastbp.Network; got int"),
    "no x": ((NET, None, 1), {}, TypeError, "x: expected one sample; got None"),
    "x": ((NET, X[:2], 1), {}, ValueError, r"x: expected one sample, shape \(3,\)"),
    "rows": ((NET, np.ones((2, 3)), 1), {}, ValueError, r"x: expected one sample.*got \(2, 3\)"),
    "x nan": ((NET, X * np.nan, 1), {}, ValueError, "x: expected finite numbers; got NaN"),
    "no y": ((NET, X), {}, TypeError, "y: expected a class index or a target; got None"),
    "class": ((NET, X, 4), {}, ValueError, r"y: expected a class index 0\.\.3; got 4"),
    "part": ((NET, X, 0.5), {}, ValueError, r"y: expected a class index 0\.\.3; got 0.5"),
    "y": ((NET, X, [1.0, 0.0]), {}, ValueError, r"y: expected .* shape \(4,\); got \(2,\)"),
    "y range": ((NET, X, [-1.0] * 4), {}, ValueError, "y: cost 'cross_entropy' expects targets"),
    "z": ((), {"z": [[1.0, 2.0]]}, ValueError, r"z: expected one sample, shape \(n,\)"),
    "z nan": ((), {"z": [1.0, np.nan]}, ValueError, r"z: expected finite numbers; got NaN at \[1"),
    "z text": ((), {"z": "abc"}, TypeError, "z: expected numbers"),
    "z width": ((), {"activation": "glu"}, ValueError, "z: expected a multiple of 2 .*got 3"),
    "y one nan": ((), {"y": np.nan}, ValueError, "y: expected finite numbers; got NaN"),
    "y length": ((), {"y": [1.0, 2.0]}, ValueError, r"y: expected .*\(3,\); got \(2,\)"),
    "y one of two": ((), {"z": [1, 2], "y": [1]}, ValueError, r"y: .*\(2,\); got \(1,\)"),
    "y one short": ((), {"y": [1, 0]}, ValueError, r"y: expected a class .*\(3,\); got \(2,\)"),
    "y turned": ((), {"y": [[1], [0], [0]]}, ValueError, r"y: expected .*\(3,\); got \(3, 1\)"),
    "y none": ((), {"y": None}, TypeError, "y: expected"),
    "y none own": ((), {"y": None, "cost": quadratic}, TypeError, "y: expected"),
    "y nan own": ((), {"y": [0, 0, np.nan], "cost": quadratic}, ValueError, "y: expected finite"),
    "no activation": ((), {"activation": None}, TypeError, "activation: expected a name .*None"),
    "no cost": ((), {"cost": None}, TypeError, "cost: expected a name .*got None"),
    "activation": ((), {"activation": "softmaxx"}, ValueError, "activation: expected one of"),
    "cost": ((), {"cost": "quadratik"}, ValueError, "cost: expected one of.*'quadratic'"),
    "pair": ((), {"activation": "tanh", "cost": "kl"}, ValueError, "cost: 'kl' needs outputs abo"),
    "odd": ((), {"cost": "gaussian_nll"}, ValueError, "cost: 'gaussian_nll' needs an even number"),
    "raises": ((), {"activation": raising}, ValueError, "activation: .*RuntimeError: boiler"),
    "a nan": ((), {"activation": lambda z: z * np.nan}, ValueError, "activation: expected finite"),
    "a shape": ((), {"activation": lambda z: z.sum()}, ValueError, "activation: expected shape"),
    "a text": ((), {"activation": lambda z: "a"}, TypeError, "activation: expected numbers"),
    "a drifts": ((), {"activation": drifting()}, ValueError, "activation: expected the same"),
    "C raises": ((), {"cost": raising}, ValueError, "cost: expected a function of a.*RuntimeError"),
    "C shape": ((), {"cost": lambda a, y: a}, ValueError, r"cost: expected one number.*\(3,\)"),
    "C nan": ((), {"cost": lambda a, y: np.nan}, ValueError, "cost: expected finite numbers"),
    "C drifts": ((), {"cost": drifting_cost}, ValueError, "cost: .*the same"),
    "prime": ((), {"activation_prime": 3}, TypeError, "activation_prime: expected a callable"),
    "prime raises": ((), {"activation_prime": raising}, ValueError, "activation_prime: expected a"),
    "prime shape": (
        (), {"activation_prime": lambda z: z[:2]}, ValueError, r"activation_prime: .*got \(2,\)",
    ),
    "prime nan": (
        (), {"activation_prime": lambda z: z * np.inf}, ValueError, "activation_prime: expected fi",
    ),
    "prime drifts": (
        (), {"activation_prime": drifting()}, ValueError, "activation_prime: expected the same",
    ),
    "g": ((), {"cost_prime": "a"}, TypeError, "cost_prime: expected a callable; got 'a'"),
    "g raises": ((), {"cost_prime": raising}, ValueError, "cost_prime: expected a function"),
    "g shape": ((), {"cost_prime": lambda a, y: 1.0}, ValueError, r"cost_prime: .*got \(\)"),
    "g drifts": ((), {"cost_prime": drifting()}, ValueError, "cost_prime: expected the same"),
    "delta shape": ((), {"delta": [1.0]}, ValueError, r"delta: expected shape \(3,\).*got \(1,\)"),
    "delta nan": ((), {"delta": [1.0, 2.0, np.nan]}, ValueError, "delta: expected finite"),
    "delta text": ((), {"delta": "abc"}, TypeError, "delta: expected numbers"),
    "delta raises": ((), {"delta": raising}, ValueError, "delta: expected a function of z"),
    "delta drifts": ((), {"delta": drifting()}, ValueError, "delta: expected the same"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    positional, named, kind, message = BAD[case]
    known = {"z": Z, "y": Y, "activation": "softmax", "cost": "quadratic"}
    if positional or case == "neither":
        known = {}
    with pytest.raises(kind, match=message):
        output_error(*positional, **{**known, **named})


def test_the_cause_is_kept():
    with pytest.raises(ValueError) as caught:
        output_error(z=Z, y=Y, activation=raising, cost=quadratic)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_known_mistakes_are_told_apart():
    truth = np.array([1.0, -2.0, 0.5])

    def of(claimed, *candidates):
        return identified(
            np.asarray(claimed), truth, list(candidates), what="d", n_outputs=3, relative=1e-6
        )

    assert of(truth) == "1 times d at every neuron"
    assert of(truth + np.array([0, 0, 1])) == "" and of(truth * np.nan) == ""
    assert of(truth * 0) == "0"
    assert of([5.0, 5.0, 5.0], (np.full(3, 5.0), "five")) == "five"
    assert of(-truth) == "-d: the sign is wrong"
    assert of([1.0, -2.0, 1.0], (truth, "no mistake at all")) == ""


def test_a_picture():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = output_error(z=Z, y=Y, activation="softmax", cost="quadratic", delta=-Z)
    figure = found.plot()
    bars, heat = figure.axes[:2]
    heights = [patch.get_height() for patch in bars.patches]
    np.testing.assert_allclose(np.reshape(heights, (3, 3)), found.terms)
    np.testing.assert_allclose(heat.images[0].get_array(), found.jacobian)
    ends = np.array([[p.get_y(), p.get_y() + p.get_height()] for p in bars.patches])
    assert ends.max() == pytest.approx(np.maximum(found.terms, 0).sum(axis=0).max())
    ax = pyplot.subplots()[1]
    assert found.plot(ax) is ax
    figure.canvas.draw()
    pyplot.close("all")


def test_a_picture_without_matplotlib(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib", None)
    found = output_error(z=Z, y=Y, activation="softmax", cost="quadratic")
    with pytest.raises(ImportError, match=r"plots need matplotlib: pip install .*\[plot\]'"):
        found.plot()


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "quadratic"])
def test_a_class_index_means_what_it_means_to_the_network(loss):
    """1 among -1 for the hinges, 1 among 0 for all else."""
    net = network([3, 4, 3], "tanh", "identity", loss, "float64")
    x = np.array([0.3, -0.8, 0.5])
    for label in range(3):
        found = output_error(net, x, label)
        assert found.verdict.startswith("pass"), found
        assert recurrence(net, x, label).verdict.startswith("pass")


def test_a_delta_that_is_zero_by_cancellation_alone():
    """pinball pulls all outputs of softmax alike, which cannot follow: sum_k g_k J_kj = 0."""

    def cool_softmax(z):
        e = np.exp(0.7 * (z - z.max(axis=-1, keepdims=True)))
        return e / e.sum(axis=-1, keepdims=True)

    found = output_error(
        z=[0.3, -1.2, 2.0], y=[1.0, 1.0, 1.0], activation=cool_softmax, cost="pinball(0.9)"
    )
    assert found.ok, found
    assert np.abs(found.total).max() < 1e-9 < np.abs(found.diagonal).max()


@pytest.mark.parametrize("y", [[0.2, 0.3, 0.5], [0.0, 1.0, 0.0]])
@pytest.mark.parametrize("z_1", [-8.0, -27.0, -60.0])
def test_beside_a_tiny_probability_every_term_is_known(z_1, y):
    """dC/da is taken from differences, a_1 from 1e-4 to 1e-27."""
    y = np.array(y)
    found = output_error(z=[z_1, 0.0, 1.0], y=y, activation=softmax,
                         cost=lambda a, y: -(y * np.log(a)).sum())  # fmt: skip
    assert found.verdict.startswith("pass")
    np.testing.assert_allclose(found.g, -y / found.a, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(found.total, found.a - y, atol=1e-6)


def test_an_output_that_rounds_to_the_end_of_its_range_is_no_false_alarm():
    """In float32 a is 1, and dC/da of binary_cross_entropy there whatever 1 - a = 0 makes of it."""
    net = fastbp.Network([1, 2], output="softmax(0.7)", loss="binary_cross_entropy", init="zeros")
    net.biases[0][...] = 31.5, 0.0
    assert net.deltas([[1.0]], [[0.0, 0.25]])[-1][0, 1] < -1e20
    assert output_error(net, [1.0], [0.0, 0.25]).ok is not False
