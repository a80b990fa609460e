"""The plain gradient check: it passes right networks and says where a wrong one is wrong.

What belongs here: `fastbp.check`. What does not: the oracle (test_reference.py).
"""

import json

import numpy as np
import pytest
from cases import fits

import fastbp
from fastbp import check, functions

rng = np.random.default_rng(0)
X = rng.standard_normal((4, 3))
LABELS = np.array([0, 1, 1, 0])
TARGETS = rng.uniform(0.1, 0.9, (4, 2))
FIELDS = ["ok", "error", "tolerance", "worst", "analytic", "numeric", "n_checked", "conclusive"]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("activation", [*functions.ACTIVATIONS, "leaky_relu(0.3)", "maxout(3)"])
def test_right_networks_pass(activation, dtype):
    net = fastbp.Network([3, 5, 2], activation=activation, dtype=dtype, seed=2)
    before = net.parameters.copy()
    found = check.gradients(net, X, LABELS)
    assert found.ok and found.n_checked == net.n_parameters, found
    assert found.error <= found.tolerance
    assert net.parameters.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("output", "loss"),
    [(a, c) for a in functions.ACTIVATIONS for c in functions.LOSSES if fits(a, c)],
)
def test_right_pairs_pass(output, loss):
    sign = 2.0 * (TARGETS > 0.5) - 1 if "hinge" in loss else TARGETS
    Y = sign[:, :1] if loss == "gaussian_nll" else sign
    net = fastbp.Network([3, 4, 2], output=output, loss=loss, dtype="float64", seed=3)
    found = check.gradients(net, X, Y)
    assert found.ok, found


def planted(change):
    """A network whose gradient is changed by `change(gradient, network)`."""

    class Wrong(fastbp.Network):
        def gradient(self, *args, **options):
            nabla = super().gradient(*args, **options)
            change(nabla, self)
            return nabla

    return Wrong


def without_the_sum(nabla, net):
    """Softmax's sum over k forgotten: only the term k = j."""
    a = fastbp.Network.predict(net, X)
    y = np.eye(2)[LABELS]
    delta = -y * (1 - a)
    nabla[-2:] = delta.mean(axis=0)


def add(i, amount):
    def change(nabla, net):
        nabla[i] += amount * np.abs(nabla).max()

    return change


def scale(factor, part=slice(None)):
    def change(nabla, net):
        nabla[part] *= factor

    return change


WRONG = {  # with the parameter that must be named, where there is one
    "one weight": (add(4, 0.01), "W1[0, 4]"),
    "another layer": (add(20 + 7, 0.01), "W2[3, 1]"),
    "one bias": (add(15 + 2, -0.01), "b1[2]"),
    "last bias": (add(-1, 0.01), "b2[1]"),
    "sign": (scale(-1.0), ""),
    "sum instead of mean": (scale(4.0), ""),
    "half": (scale(0.5), ""),
    "slightly": (scale(1.01), ""),
    "biases left out": (scale(0.0, slice(15, 20)), "b1["),
    "sum over k": (without_the_sum, "b2["),
    "nan": (scale(np.nan, slice(8, 9)), "W1[1, 3]"),
    "infinity": (scale(np.inf, slice(8, 9)), "W1[1, 3]"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the planted NaN and infinity
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_gradient_is_found_and_named(case, dtype):
    change, where = WRONG[case]
    net = planted(change)([3, 5, 2], activation="tanh", dtype=dtype, seed=1)
    found = check.gradients(net, X, LABELS)
    assert not found.ok
    assert found.worst.startswith(where), found
    assert not found.error <= found.tolerance
    assert "FAIL" in str(found) and found.worst in str(found)
    json.dumps(found.to_dict(), allow_nan=False)


def test_a_tiny_error_is_found_in_float64_alone():
    for dtype, ok in (("float64", False), ("float32", True)):
        net = planted(scale(1 + 1e-5))([3, 5, 2], dtype=dtype, seed=1)
        assert check.gradients(net, X, LABELS).ok == ok


def test_the_numbers_are_those_of_the_worst_parameter():
    net = planted(add(4, 0.5))([3, 5, 2], dtype="float64", seed=1)
    found = check.gradients(net, X, LABELS)
    true = fastbp.Network.gradient(net, X, LABELS)
    assert found.analytic == net.gradient(X, LABELS)[4]
    assert found.numeric == pytest.approx(true[4], abs=1e-8)


def test_the_result():
    found = check.gradients(fastbp.Network([3, 5, 2]), X, LABELS)
    assert list(found.to_dict()) == FIELDS
    assert found.to_dict() == {name: getattr(found, name) for name in FIELDS}
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    assert type(found.ok) is bool and found.ok
    assert str(found) == f"gradient check: {found.verdict}" and "pass" in found.verdict
    with pytest.raises(AttributeError):
        found.ok = False


@pytest.mark.parametrize("limit", [1, 2, 7, 31, 32, 10**6, 10**30])
def test_a_selection_of_parameters(limit):
    net = fastbp.Network([3, 5, 2])
    found = check.gradients(net, X, LABELS, max_parameters=limit)
    assert found.ok and found.n_checked == min(limit, net.n_parameters)


@pytest.mark.parametrize(
    ("limit", "kind"), [(0, ValueError), (-1, ValueError), (2.5, TypeError), ("x", TypeError)]
)
def test_a_bad_selection(limit, kind):
    with pytest.raises(kind, match="max_parameters: expected a whole number"):
        check.gradients(fastbp.Network([3, 5, 2]), X, LABELS, max_parameters=limit)


def test_a_kink_is_not_an_error():
    """At z = 0 relu's gradient may be either one-sided slope or what lies between."""
    net = fastbp.Network([3, 5, 2], activation="relu", init="zeros", dtype="float64")
    net.weights[1][...] = rng.standard_normal((5, 2))
    assert check.gradients(net, X[:1], LABELS[:1]).ok
    outside = planted(add(16, 3.0))([3, 5, 2], activation="relu", init="zeros", dtype="float64")
    outside.weights[1][...] = net.weights[1]
    assert not check.gradients(outside, X[:1], LABELS[:1]).ok


def test_a_loss_too_large_for_differences_is_inconclusive():
    net = fastbp.Network([3, 4, 2], seed=0)
    X, Y = np.random.default_rng(0).standard_normal((5, 3)), [0, 1, 0, 1, 1]
    assert fastbp.check.gradients(net, X, Y).verdict.startswith("pass")
    net.weights[1][...] *= 1e25
    found = fastbp.check.gradients(net, X, Y)
    assert found.ok and not found.conclusive and not found.to_dict()["conclusive"]
    assert found.verdict.startswith("inconclusive (huge loss)")
