"""Everything that can be asked of a network, against the oracle, on every CPU level.

What belongs here: values and derivatives, for every activation, cost and admitted pair. What does
not: training (test_training.py), laws that need no oracle (test_properties.py), refusals of input.

Tolerances. float64: 1e-12 of the largest element of the sample's row (of the layer's part for a
gradient). To it comes what the dtype cannot avoid, n eps S: n additions one after the other on the
way through the network, eps the unit roundoff, S the row's largest sum of moduli of the terms that
make the element, J moving with the errors of z included (`Scales`); that is more than the element
where terms cancel, as in layer_norm of two elements. float32 has this second part alone, against
the oracle in float64 with the same parameters, data and targets, all of which float32 holds.
"""

import functools
import itertools

import numpy as np
import pytest
from cases import (
    ACTIVATIONS,
    BATCHES,
    DTYPES,
    LOSSES,
    SIZES,
    admitted,
    fits,
    network,
    oracle,
    targets,
)  # fmt: skip
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp import functions, reference

pytestmark = pytest.mark.sanitizers


def jacobian_terms(name, z):
    """|J| with every minus of its formula made a plus."""
    kind, parameter = (f := functions.activation(name)).kind, f.parameter
    terms = np.abs(reference.activation_jacobian(name, z))
    if kind in ("softmax", "log_softmax"):  # 1 - p
        terms += 2 * np.diag(np.diag(terms) < 1)
    elif kind == "layer_norm":
        s = np.sqrt(np.var(z) + reference.LAYER_NORM_EPSILON)
        x = (z - z.mean()) / s
        terms = abs(parameter) / s * (np.eye(z.size) + (1 + np.abs(np.outer(x, x))) / z.size)
    return terms


def slope_terms(name, z, moduli):
    """|J|, and how far J moves with an error of z in proportion to the moduli of its terms."""
    h = 1e-6
    J, beside = (reference.activation_jacobian(name, z + step * moduli) for step in (0.0, h))
    return jacobian_terms(name, z) + np.abs(beside - J) / h


class Scales:
    """For each quantity the sums of moduli of its terms, of one network and its data."""

    def __init__(self, ref, X, Y, U, V):
        # a scale s is W = diag(s) and b = 0
        layers = [of if len(of) == 2 else [np.diag(*of), np.zeros(1)] for of in ref.tensors]
        weights = [np.abs(W) for W, _ in layers]
        n_layers = len(weights)
        self.zs = [[] for _ in weights]
        self.activations = [[] for _ in weights]
        self.deltas = [[] for _ in weights]
        self.costs, self.input_gradient, self.jacobian, self.vjp, self.jvp = [], [], [], [], []
        zs, activations = ref.feedforward(X)
        for s, (x, y) in enumerate(zip(X, Y, strict=True)):
            moduli, terms, slopes = np.abs(x), [], []
            for l, W in enumerate(weights):
                z = moduli @ W + np.abs(layers[l][1])
                self.zs[l].append(z)
                terms.append(jacobian_terms(ref.activation_names[l], zs[l][s]))
                slopes.append(slope_terms(ref.activation_names[l], zs[l][s], z))
                moduli = np.abs(activations[l + 1][s]) + terms[l] @ z
                self.activations[l].append(moduli)
            a = activations[-1][s]
            g = np.abs(reference.cost_gradient(ref.loss_name, a, y))
            near = np.ones_like(a)  # a quotient by a or 1 - a has a's relative error
            if functions.loss(ref.loss_name).domain != "real":
                near = np.minimum(np.abs(a), np.abs(1 - a) if a.max() < 1 else 1)
            g = g + moduli * (1 + g / near)
            C = reference.cost(ref.loss_name, a, y)
            self.costs.append(abs(C) + np.abs(a).sum() + g @ moduli + np.abs(y).sum())
            delta = slopes[-1].T @ g
            up, across = np.abs(U[s]), np.eye(a.size)
            along = np.abs(V[s])
            for l in range(n_layers):
                along = slopes[l] @ (along @ weights[l])
            self.jvp.append(along)
            for l in range(n_layers - 1, -1, -1):
                self.deltas[l].append(delta)
                up = weights[l] @ (slopes[l].T @ up)
                across = across @ slopes[l] @ weights[l].T
                delta = weights[l] @ delta
                if l:
                    delta = slopes[l - 1].T @ delta
            self.input_gradient.append(delta)
            self.vjp.append(up)
            self.jacobian.append(across)
        before = [np.abs(X), *map(np.array, self.activations[:-1])]
        self.gradient = []
        for a, delta, tensors in zip(before, self.deltas, ref.tensors, strict=True):
            largest, mean = np.max(delta, axis=0), np.mean(delta, axis=0)
            if len(tensors) == 2:
                self.gradient += [np.mean(a, axis=0)[:, None] * largest, mean]
            else:
                self.gradient += [np.mean(a, axis=0) * largest]


class Case:
    """A network in both dtypes, its data, and what the oracle says of it, once for all levels."""

    def __init__(self, sizes, activation, output, loss, n, seed=0):
        sizes = admitted(sizes, activation, output, loss)
        self.arguments = (sizes, activation, output, loss)
        self.seed = seed
        rng = np.random.default_rng([seed, n])
        self.X, self.U, self.V = (
            rng.standard_normal((n, width)).astype(np.float32).astype(np.float64)
            for width in (sizes[0], sizes[-1], sizes[0])
        )
        self.weight = rng.integers(0, 5, n) / 2.0
        self.weight[0] = 1.5
        self.Y = targets(rng, loss, n, sizes[-1])
        self.ref = oracle(network(*self.arguments, "float64", seed))
        widths = self.ref.widths
        self.longest = sum(widths[:-1]) + len(widths) + sum(b.size for b in self.ref.biases)

    def __str__(self):
        return f"{self.arguments}, {len(self.X)} rows"

    @functools.cached_property
    def scales(self):
        return Scales(self.ref, self.X, self.Y, self.U, self.V)

    @functools.cached_property
    def expected(self):
        ref, X, Y = self.ref, self.X, self.Y
        zs, activations = ref.feedforward(X)
        return {
            "zs": zs,
            "activations": activations[1:],
            "costs": [ref._cost_sample(x, y) for x, y in zip(X, Y, strict=True)],
            "deltas": ref.deltas(X, Y),
            "gradient": ref.gradient(X, Y),
            "input_gradient": ref.input_gradient(X, Y),
            "jacobian": ref.jacobian(X),
            "vjp": ref.vjp(X, self.U),
            "jvp": ref.jvp(X, self.V),
            "penalised_loss": ref.loss(X, Y, sample_weight=self.weight, l2=0.3, l1=0.2),
            "penalised_gradient": ref.gradient(X, Y, sample_weight=self.weight, l2=0.3, l1=0.2),
        }

    def close(self, got, what, scale, dtype, expected=None, terms=None):
        """Every row of an array is as near to the oracle's as the head of this file says."""
        expected = np.asarray(self.expected[what] if expected is None else expected)
        got = np.asarray(got)
        assert got.shape == expected.shape, f"{what} of {self}"
        rows = (len(expected), -1)
        n = self.longest if terms is None else self.longest + terms
        allowed = n * np.finfo(dtype).eps / 2 * np.max(np.reshape(scale, rows), axis=1)
        if dtype == "float64":
            allowed = allowed + 1e-12 * np.abs(expected).reshape(rows).max(axis=1)
        error = np.abs(got - expected).reshape(rows).max(axis=1)
        worst = np.argmax(error - allowed)
        assert np.isfinite(got).all(), f"{what} of {self}: not finite"
        assert error[worst] <= allowed[worst], (
            f"{what} of {self}, row {worst}: error {error[worst]:.3g} exceeds {allowed[worst]:.3g}"
        )

    def check_forward(self, net, dtype):
        zs, activations = net.feedforward(self.X)
        assert_array_equal(activations[0], self.X)
        for l, (z, a) in enumerate(zip(zs, activations[1:], strict=True)):
            assert z.dtype == a.dtype == dtype
            self.close(z, "zs", self.scales.zs[l], dtype, self.expected["zs"][l])
            self.close(a, "activations", self.scales.activations[l], dtype,
                       self.expected["activations"][l])  # fmt: skip
        assert_array_equal(net.predict(self.X), activations[-1])

    def check_errors(self, net, dtype):
        """Cost, output error, recurrence and gradient."""
        X, Y, n = self.X, self.Y, len(self.X)
        costs = [net.loss(X[s : s + 1], Y[s : s + 1]) for s in range(min(n, 3))]
        self.close(costs, "costs", self.scales.costs[: len(costs)], dtype,
                   self.expected["costs"][: len(costs)])  # fmt: skip
        for l, delta in enumerate(net.deltas(X, Y)):
            self.close(delta, "deltas", self.scales.deltas[l], dtype, self.expected["deltas"][l])
        self.close_gradient(net.gradient(X, Y), "gradient", dtype)

    def close_gradient(self, got, what, dtype, extra=0.0):
        at = 0
        assert got.dtype == dtype
        for scale in self.scales.gradient:
            part = slice(at, at + scale.size)
            self.close(got[part][None], what, (scale + extra).reshape(1, -1), dtype,
                       self.expected[what][part][None], terms=len(self.X))  # fmt: skip
            at += scale.size

    def check_all(self, net, dtype):
        X, Y, scales = self.X, self.Y, self.scales
        self.check_forward(net, dtype)
        self.check_errors(net, dtype)
        self.close(net.input_gradient(X, Y), "input_gradient", scales.input_gradient, dtype)
        self.close(net.jacobian(X), "jacobian", scales.jacobian, dtype)
        self.close(net.vjp(X, self.U), "vjp", scales.vjp, dtype)
        self.close(net.jvp(X, self.V), "jvp", scales.jvp, dtype)
        options = {"sample_weight": self.weight, "l2": 0.3, "l1": 0.2}
        parameters = np.abs(self.ref.parameters)
        scale = np.max(scales.costs) + np.sum(parameters) + np.sum(parameters**2)
        self.close([net.loss(X, Y, **options)], "penalised_loss", [scale], dtype,
                   [self.expected["penalised_loss"]], terms=len(X))  # fmt: skip
        extra = 1 + parameters.max()
        share = self.weight.max() / self.weight.mean() if len(X) > 1 else 1
        self.close_gradient(net.gradient(X, Y, **options), "penalised_gradient", dtype,
                            extra * share)  # fmt: skip

    def network(self, dtype):
        return network(*self.arguments, dtype, self.seed)


@functools.cache
def hidden_cases(name):
    """The activation in the middle, every size of it, with other sizes around it."""
    ends = [("identity", "quadratic"), ("softmax", "cross_entropy"), ("sigmoid", "quadratic"),
            ("log_softmax", "mse"), ("tanh", "huber(0.4)"), ("identity", "log_cosh")]  # fmt: skip
    shift = ACTIVATIONS.index(name)
    return [
        Case([SIZES[(i + 2) % 6], n, SIZES[(i + shift) % 6]], name, *ends[(i + shift) % 6],
             BATCHES[(i + shift) % 4])
        for i, n in enumerate(SIZES)
    ]  # fmt: skip


@functools.cache
def scaled():
    """The scale link first, between and doubled, before and behind each kind of activation."""
    found = []
    for i, n in enumerate(SIZES):
        m, k, name = SIZES[(i + 1) % 6], SIZES[(i + 3) % 6], ACTIVATIONS[(5 * i) % len(ACTIVATIONS)]
        found += [
            Case([n, "scale", m, k], "tanh", "identity", "quadratic", BATCHES[i % 4]),
            Case([n, "scale", "scale", m, "scale", k], name, "softmax", "cross_entropy", 3),
            Case([m, n, "scale", k], "softmax", "sigmoid", "quadratic", 10),
            Case([n, "scale", k], "tanh", "log_softmax", "mse", 64),
        ]
    return found


@functools.cache
def output_cases(name):
    """The activation at the end, every size of it, with the losses that go with it by turns."""
    losses = [loss for loss in LOSSES if fits(name, loss) and loss != "gaussian_nll"]
    shift = ACTIVATIONS.index(name)
    return [
        Case([SIZES[(i + 3) % 6], n], (), name, losses[(i + shift) % len(losses)],
             BATCHES[(i + shift + 1) % 4])
        for i, n in enumerate(SIZES)
    ]  # fmt: skip


@functools.cache
def pair_cases(output):
    """Every loss that the output admits."""
    cases = []
    for i, loss in enumerate(loss for loss in LOSSES if fits(output, loss)):
        n = SIZES[(i + ACTIVATIONS.index(output)) % 6]
        cases += [Case([3, 7, n], "tanh", output, loss, 10), Case([2, 4], (), output, loss, 3)]
    return cases


@functools.cache
def deep_cases():
    return [
        Case([9, 17, 7, 33, 9, 2, 7], ["glu", "layer_norm", "maxout(3)", "gelu", "log_softmax"],
             "layer_norm(-1.7)", "huber(0.4)", 10),
        Case([7, 33, 17, 9, 17, 5], ["relu", "softmax(0.7)", "maxout", "glu"], "softmax",
             "cross_entropy", 64),
        Case([2, 9, 9, 9, 9, 9, 1], ["silu", "mish", "softplus", "elu(0.6)", "exp"], "sigmoid",
             "binary_cross_entropy", 3),
        Case([33, 1, 33, 1, 6], ["selu", "layer_norm", "gelu_tanh"], "glu", "gaussian_nll", 10),
        Case([1, 17, 17, 17], ["softsign", "hardtanh"], "exp", "poisson", 64),
        # wider than a panel of W^T and than any tile, one column more than whole vectors
        Case([130, 70, 97], "leaky_relu(0.2)", "log_softmax", "quadratic", 13),
    ]  # fmt: skip


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_hidden_activation(level, dtype, name):
    for case in hidden_cases(name):
        case.check_all(case.network(dtype), dtype)


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_output_activation(level, dtype, name):
    for case in output_cases(name):
        case.check_all(case.network(dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scale_links(level, dtype):
    for case in scaled():
        case.check_all(case.network(dtype), dtype)


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ACTIVATIONS)
def test_every_pair_of_output_and_loss(level, dtype, output):
    for case in pair_cases(output):
        case.check_errors(case.network(dtype), dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("number", range(6))
def test_deep_network(level, dtype, number):
    case = deep_cases()[number]
    case.check_all(case.network(dtype), dtype)


def test_pairs_that_cannot_go_together_are_refused():
    refused = [(a, c) for a in functions.ACTIVATIONS for c in functions.LOSSES if not fits(a, c)]
    for output, loss in refused:
        with pytest.raises(ValueError, match=rf"^loss: '{loss}' needs outputs .*'{output}' gives"):
            fastbp.Network([2, 2], output=output, loss=loss)
    unit, positive = {"sigmoid", "softmax"}, {"sigmoid", "softmax", "softplus", "exp"}
    admitted = {"binary_cross_entropy": unit} | dict.fromkeys(
        ["cross_entropy", "kl", "poisson"], positive
    )
    everything = set(functions.ACTIVATIONS)
    for loss in functions.LOSSES:
        got = everything - {a for a, c in refused if c == loss}
        assert got == admitted.get(loss, everything), loss


# ---- numbers known from elsewhere

GOLDEN = {  # FORMULAS.md, z = (1, 2, 3), y = (0, 0, 1), checked there in 50 digits
    ("sigmoid", "quadratic"): (0.143735, 0.092478, -0.002143),
    ("softmax", "quadratic"): (0.022033, 0.097751, -0.119784),
    ("softmax", "cross_entropy"): (0.090031, 0.244728, -0.334759),
}


def layer(activation, loss, z, dtype="float64", n_a=None):
    """One layer with identity weights: its z is its input."""
    net = fastbp.Network([len(z), n_a or len(z)], output=activation, loss=loss, dtype=dtype,
                         init="zeros")  # fmt: skip
    net.weights[0][...] = np.eye(len(z))
    return net


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("pair", GOLDEN, ids="+".join)
def test_golden_example(level, pair, dtype):
    z, y = [[1.0, 2.0, 3.0]], [[0.0, 0.0, 1.0]]
    net = layer(*pair, z[0], dtype)
    assert_allclose(net.deltas(z, y)[0], [GOLDEN[pair]], atol=6e-7)
    assert_allclose(net.gradient(z, y)[-3:], GOLDEN[pair], atol=6e-7)
    assert_array_equal(net.deltas(z, [2])[0], net.deltas(z, y)[0])


# ---- kinks: one value is declared, the oracle's


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_slope_at_a_kink(level, name, dtype):
    """z at the kinks (0, -0, 1, -1), and equal to its neighbours (maxout: the first wins)."""
    f = functions.activation(name)
    z = np.array([[0.0, 1.0, -1.0, 1.0, 1.0, 1.0, 0.0, -1.0, -1.0, -1.0, -0.0, 0.0]])
    net = layer(name, "quadratic", z[0], dtype, z.size // f.z_per_a)
    ref = oracle(net)
    accuracy = 1e-14 if dtype == "float64" else 1e-6
    assert_allclose(net.predict(z), ref.predict(z), rtol=accuracy, atol=accuracy)
    assert_allclose(net.jacobian(z), ref.jacobian(z), rtol=accuracy, atol=accuracy)
    v = np.arange(1.0, 13.0)[None]
    assert_allclose(net.jvp(z, v), ref.jvp(z, v), rtol=accuracy, atol=20 * accuracy)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_cost_at_a_kink(level, loss, dtype):
    """a = y, |a - y| = d, ya = 1; for the logarithms 0 ln 0 and a label of 0 or 1."""
    f = functions.loss(loss)
    if f.kind == "binary_cross_entropy":
        output, z, y = "softmax", [[0.0, 0.0]], [[0.5, 0.5], [0.0, 0.0], [1.0, 0.0]]
    elif f.domain == "positive":
        # not fused with these; the first a is 0
        output, z, y = "softplus", [[-800.0, 0.5]], [[0.0, 0.5], [0.0, 1.0], [0.0, 0.0]]
    elif f.targets == "-1 or 1":
        output, z, y = "identity", [[1.0, -1.0]], [[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]]
    elif f.kind == "gaussian_nll":
        output, z, y = "identity", [[1.0, 0.0]], [[1.0], [2.0], [0.0]]
    else:
        d = f.parameter if f.kind == "huber" else 1.0
        output, z, y = "identity", [[0.0, 0.0]], [[0.0, 0.0], [d, -d], [2.0, -2.0]]
    net = layer(output, loss, z[0], dtype)
    ref = oracle(net)
    for row in np.asarray(y, dtype)[:, None].astype(float):
        accuracy = 1e-14 if dtype == "float64" else 1e-6
        assert net.loss(z, row) == pytest.approx(ref.loss(z, row), rel=accuracy, abs=accuracy)
        assert_allclose(net.deltas(z, row)[0], ref.deltas(z, row)[0], rtol=accuracy, atol=accuracy)


# ---- saturation


def slopes(net, z):
    """sigma'(z) of a layer with identity weights."""
    return np.einsum("sjj->sj", net.jacobian(z))


def test_slopes_survive_saturation(level):
    z = np.array([[40.0, -40.0, 700.0, -700.0]])
    got = slopes(layer("sigmoid", "quadratic", z[0]), z)
    assert_allclose(got, np.exp(-np.abs(z)), rtol=1e-13)  # 4.2e-18 and 9.9e-305
    z = np.array([[40.0, -40.0, 80.0, -80.0]])
    got = slopes(layer("sigmoid", "quadratic", z[0], "float32"), z)
    assert_allclose(got, np.exp(-np.abs(z)), rtol=1e-6)
    z = np.array([[20.0, -20.0, 350.0, -350.0]])
    got = slopes(layer("tanh", "quadratic", z[0]), z)
    assert_allclose(got, 4 * np.exp(-2 * np.abs(z)), rtol=1e-13)
    z = np.array([[-40.0, -700.0]])
    factors = {"elu": 1, "elu(0.6)": 0.6, "selu": 1.7580993408473766, "softplus": 1}
    for name, factor in factors.items():
        got = slopes(layer(name, "quadratic", z[0]), z)
        assert_allclose(got, factor * np.exp(z), rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_no_nan_where_z_is_large(level, name, dtype):
    """|z| up to 700 (float32: 80, where e^z ends) in every order: values, slopes, deltas."""
    large = 700.0 if dtype == "float64" else 80.0
    values = np.array([large, -large, 40.0, -40.0, 20.0, 0.0]) * (1 if large > 80 else 0.5)
    z = np.array([np.roll(values, i) for i in range(6)])
    width = functions.activation(name).z_per_a
    net = layer(name, "huber", values, dtype, 6 // width)
    y = np.random.default_rng(4).standard_normal((6, 6 // width)).astype(np.float32)
    ref = oracle(net)
    # an element of J is one rounding of g away from 0 where an output is certain
    accuracy = 1e-12 if dtype == "float64" else 2e-5
    for got, expected in (
        (net.predict(z), ref.predict(z)),
        (net.deltas(z, y)[0], ref.deltas(z, y)[0]),
        (net.jacobian(z), ref.jacobian(z)),
    ):
        largest = max(1, np.abs(expected).max())
        assert_allclose(got, expected, rtol=accuracy, atol=accuracy * largest)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "pair",
    [("sigmoid", "binary_cross_entropy"), ("softmax", "cross_entropy"), ("softmax", "kl"),
     ("log_softmax", "quadratic")],
    ids="+".join,
)  # fmt: skip
def test_fused_pairs_far_out(level, pair, dtype):
    """A certain and wrong answer costs 700, not infinity, and is corrected at full strength."""
    z = np.array([[700.0, -700.0, 0.0], [-700.0, 700.0, 1.0]])
    y = np.array([[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    net = layer(*pair, z[0], dtype)
    ref = oracle(net)
    accuracy = 1e-12 if dtype == "float64" else 1e-6
    assert_allclose(net.loss(z, y), ref.loss(z, y), rtol=accuracy)
    assert_allclose(net.deltas(z, y)[0], ref.deltas(z, y)[0], rtol=accuracy, atol=accuracy)
    assert np.abs(net.deltas(z, y)[0]).max() >= 1


def test_poisson_far_out(level):
    z = np.array([[700.0, -700.0]])
    net = layer("exp", "poisson", z[0])
    assert_allclose(net.deltas(z, [[1.0, 1.0]])[0], [[np.exp(700), -1.0]], rtol=1e-12)
    assert_allclose(net.loss([[-700.0, -700.0]], [[1.0, 1.0]]), 1400, rtol=1e-12)


# ---- names that came with it, parts


def frames(X, names, order):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    arrow = pytest.importorskip("pyarrow")
    frame = pandas.DataFrame(X, columns=names)[order]
    return frame, polars.from_pandas(frame), arrow.Table.from_pandas(frame)


def test_columns_of_a_frame_are_found_by_name():
    X, Y = np.random.default_rng(0).normal(size=(6, 3)), [0, 1, 0, 1, 1, 0]
    net = fastbp.Network([3, 4, 2], dtype="float64", seed=1)
    net.metadata = {"columns": ["a", "b", "c"]}
    for order in (["a", "b", "c"], ["c", "a", "b"]):
        for frame in frames(X, ["a", "b", "c"], order):
            assert np.array_equal(net.predict(frame), net.predict(X))
            assert np.array_equal(net.gradient(frame, Y), net.gradient(X, Y))
            assert fastbp.check.gradients(net, frame, Y, mode="fast").ok
            one, other = net.copy(), net.copy()
            one.fit(frame, Y, epochs=2, seed=0, validation=(frame, Y))
            other.fit(X, Y, epochs=2, seed=0, validation=(X, Y))
            assert np.array_equal(one.parameters, other.parameters)
    wider = np.column_stack([X, X])
    for frame in frames(wider, list("xabycz"), list("zcybax")):  # others are left out
        assert np.array_equal(net.predict(frame), net.predict(wider[:, [1, 2, 4]]))


def test_a_frame_that_lacks_a_name_is_refused():
    X = np.ones((2, 3))
    net = fastbp.Network([3, 2])
    for frame in frames(X, ["a", "B", "d"], ["d", "B", "a"]):
        assert net.predict(frame).shape == (2, 2)  # it knows no names
    net.metadata["columns"] = ["a", "b", "c"]
    for frame in frames(X, ["a", "B", "d"], ["d", "B", "a"]):
        with pytest.raises(ValueError, match=r"X: .* none named 'b', 'c'; .*did you mean 'B'\?"):
            net.predict(frame)
    pandas = pytest.importorskip("pandas")
    with pytest.raises(ValueError, match=r"the columns are '0', '1', '2'"):
        net.predict(pandas.DataFrame(X))
    with pytest.raises(ValueError, match="X: expected one column 'a'; got 2"):
        net.predict(pandas.DataFrame(np.ones((2, 4)), columns=["a", "b", "a", "c"]))
    assert net.predict(X.tolist()).shape == (2, 2)
    net.metadata["columns"] = [2019, 2020, 2.5]  # names that are numbers
    with pytest.raises(ValueError, match=r"none named '2020', '2\.5'; .*did you mean '2021'\?"):
        net.predict(pandas.DataFrame(X, columns=[2019, 2021, "x"]))
    for columns in (["a", "b"], "abc", [["a"], "b", "c"], None):  # the user's own
        net.metadata["columns"] = columns
        assert net.predict(pandas.DataFrame(X)).shape == (2, 2)


def test_classes_come_from_the_file(tmp_path):
    net = fastbp.Network([3, 2])
    assert net.classes is None
    for classes, expected in (
        (["no", "yes"], ["no", "yes"]),
        ([False, True], [False, True]),
        (["no"], None),
        ("ab", None),
        ([None, 1], None),
    ):
        net.save(tmp_path / "net", metadata={"classes": classes})
        assert fastbp.load(tmp_path / "net").classes == expected
    one = fastbp.Network([3, 1], output="sigmoid", loss="binary_cross_entropy")
    one.metadata["classes"] = ["no", "yes"]
    assert one.classes == one.copy().classes == ["no", "yes"]


def test_many_perturbed_costs_are_made_in_parts(monkeypatch):
    net = fastbp.Network([3, 4, 2], dtype="float64", seed=1)
    X, index = np.random.default_rng(0).normal(size=(5, 3)), np.arange(net.n_parameters)
    whole = net.perturbed_costs(X, [0, 1, 0, 1, 1], index, index / 10)
    for work in (1, 5 * 7 * net.n_parameters):
        monkeypatch.setattr("fastbp.network.PERTURBED_WORK", work)
        assert np.array_equal(net.perturbed_costs(X, [0, 1, 0, 1, 1], index, index / 10), whole)
    assert net.perturbed_costs(X, [0, 1, 0, 1, 1], [], []).shape == (0, 5)


# ---- labels, outputs, many rows


@pytest.mark.parametrize("loss", ["cross_entropy", "quadratic", "hinge", "squared_hinge", "kl"])
def test_class_indices_are_rows_of_targets(level, loss):
    net = network([4, 6, 5], "tanh", "softmax", loss, "float64")
    rng = np.random.default_rng(1)
    X, classes = rng.standard_normal((20, 4)), rng.integers(0, 5, 20)
    Y = np.eye(5)[classes]
    if "hinge" in loss:
        Y = 2 * Y - 1
    assert net.loss(X, classes) == net.loss(X, Y)
    assert_array_equal(net.gradient(X, classes), net.gradient(X, Y))
    assert_array_equal(net.input_gradient(X, classes), net.input_gradient(X, Y))
    for one, other in zip(net.deltas(X, classes), net.deltas(X, Y), strict=True):
        assert_array_equal(one, other)


def test_results_in_given_memory(level):
    net = network([4, 6, 5], "tanh", "softmax", "cross_entropy", "float32")
    X = np.random.default_rng(2).standard_normal((7, 4)).astype(np.float32)
    Y = [0, 1, 2, 3, 4, 0, 1]
    out = np.full((7, 5), np.nan, np.float32)
    assert net.predict(X, out=out) is out
    assert_array_equal(out, net.predict(X))
    out = np.full(net.n_parameters, np.nan, np.float32)
    assert net.gradient(X, Y, l2=0.1, out=out) is out
    assert_array_equal(out, net.gradient(X, Y, l2=0.1))
    square = network([4, 6, 4], "tanh", "softmax", "cross_entropy", "float32")
    expected = square.predict(X[:4])
    X = X[:4].copy()
    assert_array_equal(square.predict(X, out=X), expected)  # over its own input


@pytest.mark.parametrize("sizes", [[3, 5, 2], [700, 900, 800]], ids=str)
def test_more_rows_than_the_work_area_holds(level, sizes):
    """The passes go over 28 to 1008 rows at a time; where they divide must not show."""
    net = network(sizes, "relu", "identity", "quadratic", "float32")
    rng = np.random.default_rng(3)
    n = 2500 if sizes[0] == 3 else 75
    X = rng.standard_normal((n, sizes[0])).astype(np.float32)
    V = rng.standard_normal((n, sizes[0])).astype(np.float32)
    Y = rng.standard_normal((n, sizes[-1])).astype(np.float32)
    cuts = [0, 1, 28, 29, n // 2, n]
    parts = [slice(a, b) for a, b in itertools.pairwise(cuts)]
    for ask in (
        lambda rows: net.predict(X[rows]),
        lambda rows: net.feedforward(X[rows])[0][1],
        lambda rows: net.deltas(X[rows], Y[rows])[0],
        lambda rows: net.input_gradient(X[rows], Y[rows]),
        lambda rows: net.vjp(X[rows], Y[rows]),
        lambda rows: net.jvp(X[rows], V[rows]),
    ):
        assert_array_equal(ask(slice(n)), np.concatenate([ask(rows) for rows in parts]))
    if sizes[0] == 3:
        rows = [net.jacobian(X[rows]) for rows in parts]
        assert_array_equal(net.jacobian(X), np.concatenate(rows))
    deltas = net.deltas(X, Y)
    a = [X, net.feedforward(X)[1][1]]
    expected = np.concatenate(
        [
            part.ravel()
            for l in range(2)
            for part in (a[l].T.astype(float) @ deltas[l] / n, deltas[l].astype(float).mean(axis=0))
        ]
    )
    assert_allclose(net.gradient(X, Y), expected, atol=4e-6 * np.abs(expected).max())


@pytest.mark.parametrize(("dtype", "last"), [("float32", 43.6), ("float64", 353.9)])
def test_the_slope_of_tanh_keeps_its_digits_to_the_end(dtype, last, level):
    """tanh' = 4 e^-2|z| / (1 + e^-2|z|)^2: 1 - a^2 would be 0 from z = 10 (20) on."""
    net = fastbp.Network([1, 1], output="tanh", loss="quadratic", dtype=dtype, init="zeros")
    net.weights[0][...] = 1
    tiny = 10.0 ** np.linspace(-30, 0, 1001)
    z = np.concatenate([np.linspace(-last, last, 20_001), tiny]).astype(dtype)
    found = net.jacobian(z[:, None])[:, 0, 0].astype(np.float64)
    # e^-706 squares to nothing: the quotient is taken by halves
    half = np.exp(-np.abs(z.astype(np.float64)))
    true = (2 * half / (1 + half * half)) ** 2
    np.testing.assert_allclose(found, true, rtol=2 * float(np.finfo(dtype).eps) + 1e-13)
    beyond = net.jacobian(np.linspace(last, 1.1 * last, 1001).astype(dtype)[:, None])[:, 0, 0]
    assert (np.diff(beyond) <= 0).all() and beyond[-1] == 0  # where what it is made of overflows
    far = net.jacobian([[1.1 * last], [-1e30]])
    assert (far == 0).all() and (net.predict([[1e30]]) == 1).all()


def test_a_table_of_the_layers():
    shown = fastbp.Network([3, 5, 2], activation="glu")._repr_html_()
    assert "<td>3 → 5</td><td>glu</td><td>40</td>" in shown and "52 parameters" in shown


# ---- what is representable comes out, whatever its intermediates


def at_bias(z, output, loss, dtype):
    """A network whose z^L is z, whatever it is asked of."""
    width = len(z) // functions.activation(output).z_per_a
    net = fastbp.Network([1, width], output=output, loss=loss, dtype=dtype, init="zeros")
    net.biases[0][...] = z
    return net


# z, target, C, and delta or None where it is not representable
LIKELIHOODS = [
    ((1.0, -100.0), 1.0, -50.0, (0.0, 0.5)),
    ((1.0, -4000.0), 1.0, -2000.0, (0.0, 0.5)),
    ((0.0, -180.0), 1e-30, 0.5 * 1e-60 * np.exp(180.0) - 90.0, None),
    ((0.0, 170.0), 1e37, 85.0 + 0.5 * (1e37 * np.exp(-85.0)) ** 2, None),
    ((1.0, 2.0), 3.0, 1.0 + 2.0 * np.exp(-2.0), (-2 * np.exp(-2.0), 0.5 - 2 * np.exp(-2.0))),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("z", "y", "C", "delta"), LIKELIHOODS)
def test_gaussian_nll_of_small_and_large_variances(level, z, y, C, delta, dtype):
    net = at_bias(z, "identity", "gaussian_nll", dtype)
    rtol = 1e-4 if dtype == "float32" else 1e-11
    assert_allclose(net.costs([[0]], [[y]]), [C], rtol=rtol)
    assert_allclose(reference.cost("gaussian_nll", z, [y]), C, rtol=1e-11)
    if delta is not None:
        assert_allclose(net.deltas([[0]], [[y]])[0][0], delta, rtol=rtol, atol=1e-7)
        assert_allclose(reference.cost_gradient("gaussian_nll", z, [y]), delta, rtol=1e-11)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1.0, 2.0, -1.0), (3.0, 3.0, 3.0), (1.0, -1.0, 0.0, 0.5)])
def test_layer_norm_of_any_size(level, shape, dtype):
    """(z - mean) / s where z^2, or the sum of z, is too large; 0 of equal numbers, as 1e8 are."""
    info = np.finfo(dtype)
    for exponent in (10, 27, info.maxexp // 2 + 4, info.maxexp - 3):
        z = np.ldexp(np.array(shape), exponent) + (0.1 if exponent == 27 else 0.0)
        z = z.astype(dtype).astype(float)
        unit = z / 2.0**exponent
        x = unit - unit.mean()
        x *= not np.ptp(unit) == 0
        expected = x / np.hypot(np.sqrt(np.mean(x**2)), np.ldexp(1e-5**0.5, -exponent))
        net = at_bias(z, "layer_norm", "quadratic", dtype)
        atol = 100 * info.eps
        assert_allclose(net.predict([[0]])[0], expected, atol=atol)
        assert_allclose(reference.activation("layer_norm", z), expected, atol=1e-10)
        Y = np.arange(len(z))[None]
        delta, ref = net.deltas([[0]], Y)[0][0], oracle(net).deltas([[0]], Y)[0][0]
        assert_allclose(delta, ref, atol=1e-4 * np.abs(ref).max() + 4 * info.tiny)


@pytest.mark.parametrize("dtype", DTYPES)
def test_costs_of_the_largest_numbers(level, dtype):
    top = float(np.finfo(dtype).max)
    net = at_bias([top, -top, 1.0], "softmax", "cross_entropy", dtype)
    assert net.loss([[0]], [[1.0, 0, 0]]) == 0.0 == net.loss([[0]], [0])
    assert at_bias([top], "softsign", "mse", dtype).predict([[0]]) == 1.0
    root = np.sqrt(top)
    net = at_bias([8 * root], "identity", "mse(0.001)", dtype)
    assert net.loss([[0]], [0.0]) == pytest.approx(0.064 * top, rel=1e-5)
    net = at_bias([0.0], "identity", "mse", dtype)
    net.weights[0][...] = 4 * root
    assert net.loss([[0]], [0.0], l2=1e-3) == pytest.approx(0.008 * top, rel=1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("unit", [1e-30, 1e-6, 0.3, 7.0, 1e8, 1e15])
def test_log_cosh_in_every_unit(level, dtype, unit):
    """p^2 ln cosh(r/p), however far apart r and p are."""
    mpmath = pytest.importorskip("mpmath")
    p = float(np.dtype(dtype).type(unit))
    net = fastbp.Network([1, 1], output="identity", loss=f"log_cosh({p!r})", init="zeros",
                         dtype=dtype)  # fmt: skip
    with mpmath.workdps(120):
        for r in (0.0, 1e-6, 1e-3, 0.1, 0.9, 1.1, 5.0, 1e3, 1e10):
            r = float(np.dtype(dtype).type(r))
            u = mpmath.mpf(r) / p
            C = mpmath.mpf(p) ** 2 * (mpmath.log(mpmath.cosh(u)) if u < 1e3 else u - mpmath.log(2))
            rtol = 16 * np.finfo(dtype).eps
            np.testing.assert_allclose(net.loss([[0.0]], [[r]]), float(C), rtol=rtol)
            slope = float(-p * mpmath.tanh(u)) if u < 1e3 else -p
            np.testing.assert_allclose(net.deltas([[0.0]], [[r]])[-1][0, 0], slope, rtol=rtol)


def test_log_cosh_in_a_unit_of_its_own_is_checked():
    net = fastbp.Network(
        [3, 5, 2], output="identity", loss="log_cosh(0.3)", dtype="float64", seed=0
    )
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    assert fastbp.check.gradients(net, X, Y).verdict.startswith("pass")
    assert fastbp.check.output_error(net, X[0], Y[0]).verdict.startswith("pass")
    assert fastbp.check.recurrence(net, X[0], Y[0]).verdict.startswith("pass")


def test_a_mean_of_costs_whose_sum_is_too_large():
    net = at_bias([1.5e154], "identity", "quadratic", "float64")
    n, C = 40, 0.5 * 1.5e154 * 1.5e154
    for weight in (None, np.full(n, 1e300), np.full(n, 1e-320)):
        found = net.loss(np.zeros((n, 1)), np.zeros(n), sample_weight=weight)
        assert found == pytest.approx(C, rel=1e-12)


def test_infinities_are_told():
    """What is asked of a network warns as `predict` does, by its name."""
    net = fastbp.Network([2, 2, 2], activation="exp", output="identity", loss="quadratic", seed=0)
    net.weights[0][...] = 100
    X, Y, V = [[1.0, 1.0]], [[0.0, 0.0]], [[1.0, 1.0]]
    calls = {
        "predict": (X,), "feedforward": (X,), "loss": (X, Y), "costs": (X, Y), "deltas": (X, Y),
        "gradient": (X, Y), "input_gradient": (X, Y), "jacobian": (X,), "vjp": (X, V),
        "jvp": (X, V), "perturbed_costs": (X, Y, [0], [1.0]),
    }  # fmt: skip
    for name, arguments in calls.items():
        with pytest.warns(RuntimeWarning, match=f"^{name}: NaN or infinity") as told:
            getattr(net, name)(*arguments)
        assert len(told) == 1 and told[0].filename == __file__
        with np.errstate(over="ignore"):  # for whoever knows
            getattr(net, name)(*arguments)


def test_tensors_are_views_by_name_in_the_order_of_parameters():
    net = fastbp.Network([3, 4, 2], activation="maxout(2)", output="softmax")
    assert list(net.tensors) == ["W1", "b1", "W2", "b2"]
    assert np.array_equal(np.concatenate([t.ravel() for t in net.tensors.values()]), net.parameters)
    assert all(np.may_share_memory(t, net.parameters) for t in net.tensors.values())
    assert net.tensors["W2"] is net.weights[1]
    assert net.copy().tensors["W1"] is not net.tensors["W1"]
    with pytest.raises(TypeError):
        net.tensors["W1"] = 1


@pytest.mark.parametrize(
    ("name", "told"),
    [
        *((name, "or a subclass") for name in ("predict", "fit", "gradient", "save", "learn_one")),
        *((name, f"{name}='mse'") for name in ("loss", "output", "activation", "sizes", "dtype")),
        ("weights", r"net\.weights\[l\]\[\.\.\.\]"),
        ("classes", r"net\.metadata\['classes'\]"),
    ],
)
def test_a_network_stays_as_it_is_made(name, told):
    net = fastbp.Network([2, 3, 1], output="identity", loss="mse")
    with pytest.raises(AttributeError, match=rf"^{name}: expected no assignment.*'mse'.*{told}"):
        setattr(net, name, "mse")
    assert net.loss(np.ones((1, 2)), [[1.0]]) > 0 and not hasattr(net, "activation")
    net.parameters, net.metadata, net.mine = np.zeros(net.n_parameters), {"a": 1}, 3
    twin = net.copy()
    assert twin.mine == 3 and twin.metadata == {"a": 1} and not twin.parameters.any()
    net.predict = lambda X: "a stand-in"
    assert net.predict(3) == "a stand-in"
    del net.predict
    assert net.predict([[1.0, 2.0]]).shape == (1, 1)
