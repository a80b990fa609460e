"""Known mistakes are found in every mode that can see them, and named.

What belongs here: mutations of networks and of a handwritten backpropagation. What does not: right
gradients (test_check.py, test_populations.py).
"""

import numpy as np
import pytest
from handwritten import Handwritten

import fastbp
from fastbp import check

rng = np.random.default_rng(5)
X = rng.standard_normal((6, 4))
Y = rng.uniform(0.1, 0.9, (6, 3))
WEIGHT = np.array([1.0, 2.0, 0.5, 3.0, 1.0, 0.25])

# mistake: (options of the network, options of the loss, what the diagnosis must say)
MISTAKES = {
    "only the k = j term": (
        {"output": "softmax", "mistake": "k = j", "layer": 3},
        {},
        ["Only the k = j term at layer 3", "dropped", "Wrong from the output layer down"],
    ),
    "only the k = j term of a hidden layer": (
        {"activation": "softmax", "output": "sigmoid", "mistake": "k = j", "layer": 2},
        {},
        ["Only the k = j term at layer 2", "Right down to layer 3, wrong from layer 2"],
    ),
    "J for J^T": (
        {"output": "log_softmax", "mistake": "J", "layer": 3},
        {},
        ["J where J^T belongs at layer 3"],
    ),
    "J for J^T in a hidden layer": (
        {"activation": "log_softmax", "output": "sigmoid", "mistake": "J", "layer": 2},
        {},
        ["J where J^T belongs at layer 2", "Right down to layer 3"],
    ),
    "W for W^T": ({"mistake": "W", "layer": 2}, {}, ["W transposed", "layer 1"]),
    "1/m missing": ({"mistake": "1/m missing"}, {}, ["exactly 6 times", "1/m is missing"]),
    "1/m twice": ({"mistake": "1/m twice"}, {}, ["exactly 1/6", "applied twice"]),
    "1/m missing beside L2": (
        {"mistake": "1/m missing"},
        {"l2": 0.3},
        ["data part", "exactly 6 times", "1/m is missing"],
    ),
    "sigma'(a) everywhere": (
        {"activation": "tanh", "output": "tanh", "mistake": "sigma'(a)"},
        {},
        ["sigma'(a) for sigma'(z)", "at every layer"],
    ),
    "sigma'(a) in one layer": (
        {"mistake": "sigma'(a)", "layer": 2},
        {},
        ["sigma'(a) for sigma'(z)", "at layer 2", "Right down to layer 3, wrong from layer 2"],
    ),
    "sign": ({"mistake": "sign"}, {}, ["wrong sign"]),
    "bias regularised": (
        {"mistake": "bias regularised"},
        {"l2": 0.3},
        ["Biases are regularised", "L2"],
    ),
    "L2 per sample": ({"mistake": "l2 loop"}, {"l2": 0.3}, ["L2 term", "6", "loop over samples"]),
    "L2 forgotten": ({"mistake": "l2 forgotten"}, {"l2": 0.3}, ["L2 term is left out"]),
    "loss divided by n_outputs": (
        {"scale": 3.0},
        {},
        ["exactly 3 times", "3 is the number of outputs", "the gradient does not"],
    ),
    "delta of one layer scaled": (
        {"mistake": "delta scaled", "layer": 2},
        {},
        ["delta of layer 2 is exactly 5/2 times", "layers below it, 1", "Right down to layer 3"],
    ),
    "stale dropout mask": ({"mistake": "dropout"}, {}, ["layer 1", "neurons 1", "stale"]),
    "biases lost": ({"mistake": "bias lost"}, {}, ["Only biases are wrong", "all zero"]),
    "one bias lost": ({"mistake": "bias lost", "layer": 2}, {}, ["Only biases are wrong (b2)"]),
    "biases doubled": ({"mistake": "bias doubled"}, {}, ["Only biases are wrong", "exactly 2"]),
    "sample weights forgotten": (
        {"mistake": "sample weight"},
        {"sample_weight": WEIGHT},
        ["sample_weight is left out"],
    ),
    "a square gradient transposed": (
        {"mistake": "transposed", "layer": 2},
        {},
        ["W2 looks transposed", "b2 agrees, and with it delta^2: look at BP4 of layer 2"],
    ),
}
# what random directions cannot see: nothing in this list, but all of it may be seen differently
SIZES = [4, 5, 5, 3]


def handwritten(**options):
    options = {"activation": "sigmoid", "output": "sigmoid"} | options
    return Handwritten(SIZES, **options)


def test_the_handwritten_network_is_right_without_a_mistake():
    for output in ("sigmoid", "tanh", "softmax", "log_softmax"):
        for options in ({}, {"l2": 0.3, "sample_weight": WEIGHT}):
            for mode in ("full", "fast"):
                found = check.gradients(handwritten(output=output), X, Y, mode=mode, **options)
                assert found.verdict.startswith("pass"), found


@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("case", MISTAKES)
def test_a_mistake_in_handwritten_code(case, mode):
    network, options, words = MISTAKES[case]
    net = handwritten(**network)
    before = net.parameters.copy()
    found = check.gradients(net, X, Y, mode=mode, **options)
    assert found.verdict.startswith("FAIL"), found
    assert net.parameters.tobytes() == before.tobytes()
    if mode == "full":
        text = " ".join(found.findings)
        assert all(word in text for word in words), found


@pytest.mark.parametrize("case", [c for c in MISTAKES if c != "loss divided by n_outputs"])
def test_the_same_gradient_held_against_fastbp_s_own_loss(case):
    """`gradient=`: the student's code checked with a network of fastbp, weights copied."""
    network, options, words = MISTAKES[case]
    student = handwritten(**network)
    net = fastbp.Network(**student.architecture)
    net.parameters = student.parameters
    found = check.gradients(
        net, X, Y, gradient=lambda X, Y: student.gradient(X, Y, **options), **options
    )
    assert found.verdict.startswith("FAIL"), found
    text = " ".join(found.findings)
    assert all(word in text for word in words), found


@pytest.mark.parametrize("case", MISTAKES)
def test_the_same_code_as_a_function_of_a_flat_vector(case):
    """`check.gradient` knows nothing of layers: it finds all, and names what ratios tell."""
    network, options, words = MISTAKES[case]
    student = handwritten(**network)

    def at(method):
        def call(parameters):
            kept = student.parameters.copy()
            student.parameters[...] = parameters
            try:
                return method(X, Y, **options)
            finally:
                student.parameters[...] = kept

        return call

    found = check.gradient(at(student.loss), at(student.gradient), student.parameters)
    assert found.verdict.startswith("FAIL"), found
    for factor in ("exactly 6 times", "exactly 1/6", "exactly 3 times"):
        if factor in words and "l2" not in options:
            assert factor in " ".join(found.findings), found


class Mutant(fastbp.Network):
    """The engine's own network with a gradient that is tampered with."""

    change = staticmethod(lambda net, nabla: nabla)

    def gradient(self, *args, **options):
        return self.change(self, super().gradient(*args, **options))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_tampered_engine(dtype):
    net = Mutant(SIZES, output="sigmoid", loss="quadratic", dtype=dtype, seed=1)
    for factor, words in ((3.0, "exactly 3 times"), (-1.0, "wrong sign"), (1 / 6, "exactly 1/6")):
        net.change = lambda net, nabla, factor=factor: nabla * net.dtype.type(factor)
        found = check.gradients(net, X, Y)
        assert found.verdict.startswith("FAIL") and words in " ".join(found.findings), found
        assert check.gradients(net, X, Y, mode="fast").verdict.startswith("FAIL")


def test_gradients_of_any_size_are_told_apart():
    """Behind nearly saturated units gradients are tiny; a mistake is still that mistake."""
    student = handwritten(mistake="sigma'(a)", layer=2)
    student.weights[2][...] *= 1e-9
    found = check.gradients(student, X, Y)
    assert "sigma'(a) for sigma'(z)" in " ".join(found.findings), found
    student.mistake, student.layer = "delta scaled", 1
    found = check.gradients(student, X, Y)
    assert "delta of layer 1 is exactly 5/2 times" in " ".join(found.findings), found


def test_one_wrong_element_is_found_where_it_is():
    net = Mutant(SIZES, output="sigmoid", loss="quadratic", dtype="float64", seed=1)
    at = 4 * 5 + 5 + 2 * 5 + 3  # W2[2, 3]

    def change(net, nabla):
        nabla[at] *= 1.001
        return nabla

    net.change = change
    found = check.gradients(net, X, Y)
    assert "Only one element is wrong: W2[2, 3]." in found.findings, found
    assert {t.name: t.failed for t in found.tensors}["W2"] == 1
    # an error of 1e-3 in one of many elements is what random directions may miss; documented
    assert check.gradients(net, X, Y, mode="fast").mode == "fast"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        ("deltas", "net.deltas is wrong too: delta2"),
        ("input_gradient", "net.input_gradient is wrong"),
        ("jvp", "not the other's transpose"),
        ("vjp", "not the other's transpose"),
    ],
)
def test_other_derivatives_of_a_network_are_checked_too(method, words):
    def tampered(self, *args):
        found = getattr(fastbp.Network, method)(self, *args)
        if method == "deltas":
            found[1][2, 3] += 0.01
        else:
            found[2, 1] += 0.01
        return found

    wrong = type("Wrong", (fastbp.Network,), {method: tampered})
    net = wrong(SIZES, output="sigmoid", loss="quadratic", dtype="float64", seed=1)
    found = check.gradients(net, X, Y)
    assert found.verdict.startswith("FAIL") and words in " ".join(found.findings), found
    if method != "deltas":
        assert check.gradients(net, X, Y, mode="fast").verdict.startswith("FAIL")


def test_the_transposed_jacobian_of_softmax_cannot_be_seen():
    """J of softmax is symmetric: the mistake changes no number, so no check can find it."""
    student = handwritten(output="softmax", mistake="J", layer=3)
    right = handwritten(output="softmax")
    np.testing.assert_allclose(student.gradient(X, Y), right.gradient(X, Y), rtol=1e-12)
    assert check.gradients(student, X, Y).ok
    assert check.structure("softmax").symmetric and not check.structure("log_softmax").symmetric


def test_a_list_of_arrays_with_one_of_them_turned():
    net = fastbp.Network([4, 5, 3], output="sigmoid", loss="quadratic", dtype="float64")
    flat = net.gradient(X, Y)
    parts = [flat[:20].reshape(4, 5), flat[20:25], flat[25:40].reshape(5, 3), flat[40:]]
    assert check.gradients(net, X, Y, gradient=parts).ok
    assert check.gradients(net, X, Y, gradient=lambda X, Y: parts).ok
    parts[0] = parts[0].T
    found = check.gradients(net, X, Y, gradient=parts)
    assert found.verdict.startswith("FAIL")
    assert found.findings[0].startswith("The gradient of W1 is transposed")


# a right gradient, one thing of it changed: what must be said, and what must not


def given():
    net = fastbp.Network(SIZES, output="sigmoid", loss="quadratic", dtype="float64", seed=1)
    flat = net.gradient(X, Y)
    ends = np.cumsum([tensor.size for tensor in net.tensors.values()])[:-1]
    parts = zip(np.split(flat, ends), net.tensors.items(), strict=True)
    return net, {name: part.reshape(tensor.shape) for part, (name, tensor) in parts}


def said(net, parts, **options):
    found = check.gradients(net, X, Y, gradient=list(parts.values()), **options)
    assert found.verdict.startswith("FAIL"), found
    return " ".join(found.findings)


@pytest.mark.parametrize("as_float32", [False, True])
def test_of_a_given_gradient_parameters_alone_are_counted(as_float32):
    net, parts = given()
    n = net.n_parameters
    flat = np.concatenate([part.ravel() for part in parts.values()])
    flat = flat.astype(np.float32) if as_float32 else flat
    found = check.gradients(net, X, Y, gradient=flat, tolerance=1e-5)
    assert found.verdict == f"pass: {n} parameters checked" and found.n_checked == n
    student = check.gradients(handwritten(), X, Y)
    assert student.verdict == f"pass: {student.n_parameters} parameters checked"
    assert "(parameters, delta of every layer, inputs)" in check.gradients(net, X, Y).verdict


def test_where_biases_agree_delta_is_right_and_bp4_is_wrong():
    for change in (np.transpose, lambda W: 2 * W, lambda W: W[::-1]):
        net, parts = given()
        parts["W2"] = change(parts["W2"])
        text = said(net, parts)
        assert "b2 agrees, and with it delta^2: look at BP4 of layer 2" in text, text
        assert "the step from" not in text and "BP1" not in text, text
        assert ("looks transposed" in text) == (change is np.transpose)
        parts["W3"] = parts["W3"] + 1.0
        text = said(net, parts)
        assert "BP4 of layer 2" in text and "BP4 of layer 3" in text and "BP1" not in text, text


def test_where_weights_agree_delta_is_right_and_bp3_is_wrong():
    net, parts = given()
    parts["b1"] = parts["b1"][::-1]
    text = said(net, parts)
    assert "W1 agrees, and with it delta^1: look at BP3 of layer 1" in text, text
    assert "the step from" not in text


PENALTIES = {
    "l2": ({"l2": 0.5}, ["The rest is 0.0833333 W, in all layers", "(l2=0.5 over 6 rows)"]),
    "a small l2": ({"l2": 1e-3}, ["The rest is 0.000166667 W", "(l2=0.001 over 6 rows)"]),
    "l1": ({"l1": 0.3}, ["The rest is 0.05 sign(W)", "(l1=0.3 over 6 rows)"]),
    "both": ({"l2": 0.5, "l1": 0.3}, ["0.0833333 W", "0.05 sign(W)"]),
    "biases too": ({"l2": 0.6, "decays": {"b*": 1}}, ["0.1 W", "0.1 b", "decays={'b*': 1}"]),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", PENALTIES)
def test_a_penalty_that_the_call_has_not(case, dtype):
    options, words = PENALTIES[case]
    net = fastbp.Network(SIZES, output="sigmoid", loss="quadratic", dtype=dtype, seed=1)
    for name in ("b1", "b2", "b3"):
        net.tensors[name][...] = rng.standard_normal(net.tensors[name].shape)
    found = check.gradients(net, X, Y, gradient=net.gradient(X, Y, **options))
    text = " ".join(found.findings)
    assert found.ok is False and "a penalty that the call has not" in text, found
    assert all(word in text for word in words) and "BP" not in text, found


def test_a_penalty_that_the_call_has_and_another_that_it_has_not():
    net, parts = given()
    text = said(net, parts, l2=0.5)
    assert text == "The L2 term is left out of the gradient.", text
    found = check.gradients(net, X, Y, gradient=net.gradient(X, Y, l1=0.3), l2=0.5)
    text = " ".join(found.findings)
    assert "The L2 term is left out" in text and "The rest is 0.05 sign(W)" in text, text
    for name in ("W1", "W2", "W3"):
        parts[name] = parts[name] - 0.01 * net.tensors[name]
    assert "The rest is -0.01 W, in all layers: a penalty with the wrong sign" in said(net, parts)


def test_what_is_in_no_proportion_to_w_is_no_penalty():
    net, parts = given()
    parts["W1"] = parts["W1"] + 0.01 * net.tensors["W1"]
    text = said(net, parts)
    assert "penalty" not in text and "BP4 of layer 1" in text, text


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_what_is_not_a_number_is_told_by_tensor(mode):
    net, parts = given()
    parts["W1"][1, 2] = np.nan
    text = said(net, parts, mode=mode)
    assert "The gradient of W1 has NaN in 1 of 20 elements, first at [1, 2]." in text, text
    assert "Only weights" not in text and "the step from" not in text, text
    parts["b3"][1:] = np.nan, -np.inf
    text = said(net, parts, mode=mode)
    assert "The gradient of b3 has NaN and infinity in 2 of 3 elements, first at [1]." in text
    if mode == "full":
        assert "All that is finite agrees." in text and "dropout" not in text, text
        parts["W2"][0] += 1
        assert "Elements that are finite are wrong too: W2 (5)." in said(net, parts)


def test_what_is_not_a_number_is_seen_among_elements_that_are_not_looked_at():
    net, parts = given()
    parts["W2"][3, 1] = np.nan
    text = said(net, parts, max_parameters=6)
    assert "W2 has NaN in 1 of 25 elements, first at [3, 1]" in text, text


def test_scaled_loss_of_an_object_that_tells_nothing_of_itself():
    class Bare:
        def __init__(self, net):
            self.net, self.parameters = net, net.parameters

        def loss(self, X, Y):
            return self.net.loss(X, Y) / 3

        def gradient(self, X, Y):
            return self.net.gradient(X, Y)

    found = check.gradients(Bare(handwritten()), X, Y)
    assert found.verdict.startswith("FAIL") and "exactly 3 times" in found.findings[0]
