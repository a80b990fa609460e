"""BP2 term by term: right networks pass, planted mistakes are found in their layer and named.

What belongs here: `fastbp.check.recurrence`. What does not: the output layer (test_ladder.py).
"""

import json
import warnings

import numpy as np
import pytest
from cases import ACTIVATIONS, LOSSES, fits, network, oracle, targets

import fastbp
from fastbp import reference
from fastbp.check.terms.recurrence import Recurrence, recurrence

X = np.array([0.5, -1.0, 0.3])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_hidden_activation_passes(activation, dtype):
    for seed in range(2):
        net = network([3, 5, 5, 4], activation, "softmax", "cross_entropy", dtype, seed=seed)
        found = recurrence(net, X, 1)
        assert found.verdict == "pass: delta follows BP2 at 2 hidden layers", found
        true = oracle(net).deltas(X.astype(net.dtype)[None], [[0, 1, 0, 0]])
        for hidden, delta in zip(found.layers, true, strict=False):
            M = hidden.terms
            np.testing.assert_allclose(hidden.total, delta[0], atol=1e-12)
            np.testing.assert_allclose(M.sum(axis=0), hidden.total, atol=1e-12)
            outside = np.abs(hidden.black_box - hidden.total) > hidden.bound + 1e-12
            assert not outside.any() and hidden.status == "right"
            assert hidden.bound.max() < 1e-8
        assert [hidden.layer for hidden in found.layers] == [1, 2]
        np.testing.assert_allclose(found.output, true[-1][0], atol=1e-12)
        np.testing.assert_allclose(found.norms, [np.linalg.norm(d) for d in true])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_every_output_passes(dtype):
    pairs = [(a, c) for a in ACTIVATIONS for c in LOSSES if fits(a, c)]
    for output, loss in pairs[dtype == "float32" :: 2]:
        net = network([3, 5, 4], "tanh", output, loss, dtype)
        y = targets(np.random.default_rng(1), loss, 1, 4)[0]
        assert recurrence(net, X, y).verdict.startswith("pass"), (output, loss)


def test_the_terms():
    net = network([3, 4, 2], "glu", "identity", "quadratic", "float64")
    found = recurrence(net, X, [1.0, 2.0]).layers[0]
    z = net.feedforward(X[None])[0][0][0]
    J = reference.activation_jacobian("glu", z)
    for k in range(2):
        for j in range(8):
            dz = sum(net.weights[1][i, k] * J[i, j] for i in range(4))
            delta = net.deltas(X[None], [[1.0, 2.0]])[1][0, k]
            assert found.terms[k, j] == pytest.approx(dz * delta, abs=1e-14)


# planted mistakes

SIZES = [3, 5, 5, 5, 5]


def planted(layer, wrong):
    """A network whose delta of one layer (from 1) is wrong(...), the others right."""

    class Wrong(fastbp.Network):
        def deltas(self, X, Y):
            out = super().deltas(X, Y)
            zs, _ = self.feedforward(X)
            names = [*self.architecture["activation"], self.architecture["output"]]
            l = layer - 1
            z = zs[l][0].astype(float)
            parts = {"name": names[l], "z": z, "J": reference.activation_jacobian(names[l], z)}
            if layer < len(out):
                parts |= {"W": self.weights[layer].astype(float), "above": out[layer][0]}
            out[l] = wrong(parts, out[l][0])[None].astype(self.dtype)
            return out

    return Wrong


def at_a(p, delta):
    a = reference.activation(p["name"], p["z"])
    return reference.activation_jacobian(p["name"], a).T @ (p["W"] @ p["above"])


MISTAKES = {
    "diagonal": (lambda p, d: np.diag(p["J"]) * (p["W"] @ p["above"]), "only the diagonal"),
    "transposed": (lambda p, d: p["J"] @ (p["W"] @ p["above"]), "J where J^T belongs"),
    "weights": (lambda p, d: p["J"].T @ (p["W"].T @ p["above"]), "W^T where W belongs"),
    "sigma'(a)": (at_a, "taken at a instead of z"),
    "no sigma'": (lambda p, d: p["W"] @ p["above"], "is missing"),
    "sign": (lambda p, d: -d, "the sign is wrong"),
    "twice": (lambda p, d: 2 * d, "2 times delta^"),
    "outputs": (lambda p, d: 5 * d, "5 = number of outputs"),
    "averaged": (lambda p, d: d / 5, "0.2 = 1 / number of outputs"),
    "nothing": (lambda p, d: 0 * d, "it is 0"),
    "one neuron": (lambda p, d: d + np.abs(d).max() * 1e-2 * (np.arange(5) == 3), "neuron 4"),
    "nan": (lambda p, d: d + np.where(np.arange(5) == 2, np.nan, 0), "neuron 3"),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("layer", [1, 2, 3])
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_is_found_in_its_layer_and_named(case, layer, dtype):
    wrong, name = MISTAKES[case]
    activation = "log_softmax" if case in ("diagonal", "transposed") else "tanh"
    right = network(SIZES, activation, "softmax", "cross_entropy", dtype)
    net = planted(layer, wrong)(SIZES, activation=activation, dtype=dtype)
    net.parameters = right.parameters
    assert recurrence(right, X, 1).ok
    found = recurrence(net, X, 1)
    assert not found.ok and found.verdict.startswith("FAIL"), found
    assert f"wrong from layer {layer}" in found.verdict
    assert name in " ".join(found.findings), found
    if layer < 3:
        assert f"right down to layer {layer + 1}" in found.verdict
    others = [hidden.status for hidden in found.layers if hidden.layer != layer]
    assert found.layers[layer - 1].status == "wrong" and others == ["right", "right"]
    json.dumps(found.to_dict(), allow_nan=False)


@pytest.mark.parametrize("activation", ["softmax", "layer_norm(-1.7)", "log_softmax"])
def test_a_dropped_sum_in_a_coupled_hidden_layer(activation):
    right = network([3, 5, 4], activation, "identity", "quadratic", "float32")
    net = planted(1, MISTAKES["diagonal"][0])(
        [3, 5, 4], activation=activation, output="identity", loss="quadratic"
    )
    net.parameters = right.parameters
    verdict = recurrence(net, X, np.ones(4)).verdict
    assert verdict.startswith("FAIL: right at the output, wrong from layer 1: of J only the diag")


def test_a_mistake_that_goes_on_downwards():
    """sigma'(a) at every layer: each is a mistake of its own, on top of a wrong delta."""

    class Wrong(fastbp.Network):
        factors = (1.0, 3.0, 1.0)

        def deltas(self, X, Y):
            out = super().deltas(X, Y)
            zs, _ = self.feedforward(X)
            for l in (2, 1, 0):
                back = self.weights[l + 1] @ out[l + 1][0]
                out[l][0] = (1 - np.tanh(zs[l][0]) ** 2) * back * self.factors[l]
            return out

    net = Wrong(SIZES, activation="tanh", dtype="float64", seed=1)
    found = recurrence(net, X, 1)
    assert [hidden.status for hidden in found.layers] == ["inherited", "wrong", "right"]
    assert "right down to layer 3, wrong from layer 2: 3 times delta^2" in found.verdict
    assert "Layer 1 follows by BP2 from the wrong layer 2" in " ".join(found.findings)
    net.factors = (-1.0, 3.0, 1.0)
    found = recurrence(net, X, 1)
    assert [hidden.status for hidden in found.layers] == ["wrong", "wrong", "right"]
    assert "a mistake of its own at layer 1" in found.verdict


def test_a_wrong_output_error():
    net = planted(2, lambda p, d: 2 * d)([3, 5, 4], dtype="float64")
    found = recurrence(net, X, 1)
    assert found.verdict.startswith("FAIL: wrong from layer 2, the output")
    assert found.layers[0].status == "right"
    only = planted(1, lambda p, d: 2 * d)([3, 4], dtype="float64")
    assert recurrence(only, X, 1).verdict.startswith("FAIL: wrong from layer 1, the output")


def test_a_tiny_error_is_found_in_float64():
    for dtype, ok in (("float64", False), ("float32", True)):
        net = planted(1, lambda p, d: d * (1 + 2e-5))([3, 5, 4], dtype=dtype)
        assert recurrence(net, X, 1).ok == ok


# kinks


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu", "maxout", "selu", "hardtanh"])
def test_at_a_kink_both_slopes_are_right(activation, dtype):
    net = network([3, 5, 5, 4], activation, "softmax", "cross_entropy", dtype)
    W, b = net.weights[1], net.biases[1]
    for bias in (1.0, 0.0):  # z = 1 or 0 throughout the second layer
        W[...] = 0
        b[...] = bias
        found = recurrence(net, X, 1)
        assert found.verdict.startswith("pass"), found
    zero = fastbp.Network([3, 5, 5, 4], activation="relu", dtype=dtype, init="zeros")
    assert recurrence(zero, X, 1).verdict.startswith("pass")


def test_outside_the_slopes_at_a_kink_is_wrong():
    def change(factor):
        def wrong(p, d):
            back = p["W"] @ p["above"]
            return np.where(p["z"] == 0, factor * back, d)

        return wrong

    for factor, ok in ((0.0, True), (0.5, True), (1.0, True), (1.3, False), (-0.3, False)):
        net = planted(1, change(factor))([3, 5, 4], activation="relu", dtype="float64", seed=3)
        net.weights[0][:, 1] = 0
        net.biases[0][1] = 0
        found = recurrence(net, X, 1)
        assert found.ok == ok, (factor, found)
        assert "kink in layer 1: z_2" in " ".join(found.findings)


def test_kinks_within_rounding_of_float32():
    """z of either sign in float32 and in float64: both answers are right."""
    for shift in (1e-9, -1e-9, 3e-8, -3e-8):
        net = network([3, 5, 5, 4], "relu", "softmax", "cross_entropy", "float32")
        W, b = net.weights[1], net.biases[1]
        a = net.feedforward(X[None])[1][1][0].astype(float)
        b[...] = -(a @ W.astype(float)) + shift
        assert not recurrence(net, X, 1).verdict.startswith("FAIL")


# growth


def deep(activation, scale, n_layers=6, seed=0):
    net = fastbp.Network([3] + [20] * n_layers + [4], activation=activation, dtype="float64")
    random = np.random.default_rng(seed)
    for W in net.weights:
        W[...] = random.standard_normal(W.shape) * scale / np.sqrt(W.shape[0])
    return net


@pytest.mark.parametrize(
    ("activation", "scale", "word"),
    [("sigmoid", 1.0, "vanishing"), ("identity", 4.0, "exploding"), ("identity", 1.0, "neither")],
)
def test_the_trend(activation, scale, word):
    found = recurrence(deep(activation, scale), X, 1)
    assert found.trend.startswith(f"{word}: every layer back multiplies delta by about ")
    assert found.trend in found.findings and found.verdict.startswith("pass")
    ratios = np.array(found.norms[:-1]) / np.array(found.norms[1:])
    np.testing.assert_allclose([step.ratio for step in found.growth], ratios)
    assert ("at most 0.25 for sigmoid" in found.trend) == (activation == "sigmoid")
    for step in found.growth:
        assert step.ratio <= step.weights * step.jacobian * (1 + 1e-9)


def test_nothing_goes_back_through_dead_neurons():
    net = fastbp.Network([3, 5, 5, 4], activation="relu", dtype="float64")
    net.biases[1][...] = -100
    found = recurrence(net, X, 1)
    assert found.ok and found.trend.startswith("neither: delta is 0 at a layer")
    assert found.norms[0] == found.norms[1] == 0
    json.dumps(found.to_dict(), allow_nan=False)


def test_no_hidden_layer():
    found = recurrence(fastbp.Network([3, 4]), X, 1)
    assert found.ok and not found.layers and found.trend == ""
    assert "no hidden layer" in found.verdict and "no recurrence" in str(found)
    assert f"{found.output[0]:.6g}" in str(found)


# the result, bad input


def test_the_result():
    found = recurrence(network(SIZES, "tanh", "softmax", "kl", "float32"), X, [0, 1, 0, 0, 0])
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100 and found.verdict in text
    back = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert back["layers"][2]["layer"] == 3 and len(back["norms"]) == 4
    assert isinstance(found._repr_html_(), str) and isinstance(found, Recurrence)
    wide = recurrence(fastbp.Network([3, 40, 40, 4]), X, 1)
    assert max(map(len, str(wide).splitlines())) <= 100
    with pytest.raises(AttributeError):
        found.verdict = "pass"


def test_the_network_stays_as_it_is():
    net = network(SIZES, "tanh", "softmax", "kl", "float32")
    before = net.parameters.tobytes()
    recurrence(net, X, 1)
    assert net.parameters.tobytes() == before


def test_forms_of_x_and_y():
    net = network([3, 5, 4], "tanh", "softmax", "cross_entropy", "float64")
    texts = {
        str(recurrence(net, x, y))
        for x in (X, X[None], list(X))
        for y in (1, np.array([1]), [0, 1, 0, 0], [[0, 1, 0, 0]])
    }
    assert len(texts) == 1


BAD = {
    "net": ((3, X, 1), TypeError, "net: expected a fastbp.Network; got int"),
    "no x": ((None, None, 1), TypeError, "x: expected one sample; got None"),
    "x": ((None, X[:2], 1), ValueError, r"x: expected one sample, shape \(3,\).*got \(2,\)"),
    "rows": ((None, np.ones((2, 3)), 1), ValueError, "x: expected one sample"),
    "nan": ((None, X * np.nan, 1), ValueError, "x: expected finite numbers; got NaN"),
    "text": ((None, "abc", 1), TypeError, "x: expected numbers"),
    "no y": ((None, X, None), TypeError, "y: expected a class index or a target; got None"),
    "class": ((None, X, 4), ValueError, r"y: expected a class index 0\.\.3; got 4"),
    "y": ((None, X, [1.0, 2.0]), ValueError, r"y: expected a class index or shape \(4,\).*\(2,\)"),
    "y nan": ((None, X, [np.nan] * 4), ValueError, "y: expected finite numbers; got NaN"),
    "range": ((None, X, [-1.0] * 4), ValueError, "y: cost 'cross_entropy' expects targets at le"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    (net, x, y), kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        recurrence(fastbp.Network([3, 5, 4]) if net is None else net, x, y)


def test_deltas_of_another_shape():
    net = planted(1, lambda p, d: d[:-1])([3, 5, 4])
    with pytest.raises(ValueError, match=r"net: expected deltas of shapes .*\(1, 5\).*\(1, 4\)"):
        recurrence(net, X, 1)


def test_parameters_that_are_not_finite():
    net = fastbp.Network([3, 5, 4])
    net.parameters[3] = np.nan
    with pytest.raises(ValueError, match="parameters: expected finite numbers; got NaN"):
        recurrence(net, X, 1)


def test_a_picture():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    found = recurrence(deep("sigmoid", 1.0), X, 1)
    ax = found.plot()
    assert ax.get_yscale() == "log"
    np.testing.assert_allclose(ax.lines[0].get_ydata(), found.norms)
    ax.figure.canvas.draw()
    label = ax.yaxis.label.get_window_extent()
    assert label.x0 >= 0 and label.y1 <= ax.figure.bbox.y1  # nothing is cut
    assert found.plot(ax) is ax
    dead = fastbp.Network([3, 5, 4], activation="relu", init="zeros")
    dead.biases[0][...] = -1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        recurrence(dead, X, 1).plot().figure.canvas.draw()
    pyplot.close("all")
