"""Losses and derivatives in 50 digits: they agree with the oracle, and go where it cannot."""

import cases
import numpy as np
import pytest

import fastbp
from fastbp import reference

mpmath = pytest.importorskip("mpmath")

from fastbp.check.numeric import digits  # noqa: E402


def held(net, X, Y, gradient_tolerance=1e-10, **options):
    """Loss and gradient held against the oracle's."""
    index = np.arange(net.n_parameters)
    oracle = cases.oracle(net)
    loss = oracle.loss(X, Y, **options)
    assert float(digits.loss_of(net, X, Y, **options)) == pytest.approx(loss, rel=1e-13, abs=1e-15)
    value, bound = digits.network_derivatives(net, X, Y, index, digits=30, **options)
    gradient = oracle.gradient(X, Y, **options)
    np.testing.assert_allclose(
        value, gradient, rtol=gradient_tolerance, atol=1e-13 * np.abs(gradient).max() + 1e-16
    )
    assert (bound <= 1e-14 * np.maximum(np.abs(value), 1e-3 * np.abs(value).max() + 1e-9)).all()


@pytest.mark.parametrize("activation", cases.ACTIVATIONS)
def test_hidden_activations_agree_with_the_oracle(activation):
    net = cases.network([2, 3, 2], activation, "softmax", "cross_entropy", "float64")
    rng = np.random.default_rng(1)
    held(net, rng.normal(size=(2, 2)), np.array([[0.25, 0.5], [1.0, 0.0]]))


@pytest.mark.parametrize("loss", cases.LOSSES)
def test_costs_agree_with_the_oracle(loss):
    fitting = [
        o for o in ("identity", "sigmoid", "softmax", "exp", "softplus") if cases.fits(o, loss)
    ]
    for output in fitting:
        net = cases.network([2, 3, 2], "tanh", output, loss, "float64")
        rng = np.random.default_rng(2)
        X = rng.normal(size=(2, 2))
        held(net, X, cases.targets(rng, loss, 2, 2))


@pytest.mark.parametrize("output", cases.ACTIVATIONS)
def test_outputs_agree_with_the_oracle(output):
    net = cases.network([2, 3, 2], "tanh", output, "quadratic", "float64")
    rng = np.random.default_rng(3)
    held(net, rng.normal(size=(2, 2)), rng.normal(size=(2, 2)))


def test_penalties_and_weights_of_samples():
    net = cases.network([2, 3, 2], "tanh", "identity", "quadratic", "float64")
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(3, 2)), rng.normal(size=(3, 2))
    held(net, X, Y, sample_weight=np.array([0.5, 0.0, 2.0]), l2=0.3, l1=0.7)


def test_labels_and_one_column_of_targets():
    net = cases.network([2, 3, 2], "tanh", "softmax", "cross_entropy", "float64")
    X = np.eye(2)
    assert digits.loss_of(net, X, [1, 0]) == digits.loss_of(net, X, [[0, 1], [1, 0]])
    net = cases.network([2, 3, 1], "tanh", "identity", "mse", "float64")
    assert digits.loss_of(net, X, [1.0, 0.5]) == digits.loss_of(net, X, [[1.0], [0.5]])


@pytest.mark.parametrize("activation", ["sigmoid", "tanh", "gelu", "softplus", "mish", "elu"])
@pytest.mark.parametrize("size", [-30.0, 30.0])
def test_saturated_units_keep_their_small_slopes(activation, size):
    net = fastbp.Network(
        [1, 1, 1],
        activation=activation,
        output="identity",
        loss="quadratic",
        dtype="float64",
        init="zeros",
    )
    net.parameters = [1.0, size, 1.0, 0.0]
    x = np.array([[0.5]])
    z = 0.5 + size
    a = reference.activation(activation, [z])[0]
    slope = reference.activation_jacobian(activation, [z])[0, 0]
    value, bound = digits.network_derivatives(net, x, [[a - 1]], [1])
    assert value[0] == pytest.approx(slope, rel=1e-12)
    assert bound[0] <= 1e-14 * abs(value[0])


@pytest.mark.parametrize("z", [-700.0, 40.0, 700.0])
def test_costs_of_a_saturated_sigmoid_and_softmax(z):
    net = fastbp.Network(
        [1, 1],
        output="sigmoid",
        loss="binary_cross_entropy",
        dtype="float64",
        init="zeros",
    )
    net.parameters = [0.0, z]
    value, _ = digits.network_derivatives(net, [[0.0]], [[1.0]], [1])
    true = reference.output_error("sigmoid", "binary_cross_entropy", [-z], [0.0])[0]
    assert value[0] == pytest.approx(-true, rel=1e-12)  # -e^-z/(1 + e^-z)
    net = fastbp.Network([1, 2], dtype="float64", init="zeros")
    net.parameters = [0.0, 0.0, z, 0.0]
    assert float(digits.loss_of(net, [[0.0]], [0])) == pytest.approx(
        reference.cost_on_z("softmax", "cross_entropy", [z, 0.0], [1.0, 0.0]), rel=1e-13
    )


def test_float32_network_is_taken_at_its_values():
    net = cases.network([2, 3, 2], "tanh", "softmax", "cross_entropy", "float32")
    X = cases.short(np.random.default_rng(5).normal(size=(3, 2)))
    value, _ = digits.network_derivatives(net, X, [0, 1, 0], range(net.n_parameters), digits=30)
    np.testing.assert_allclose(value, net.gradient(X, [0, 1, 0]), rtol=1e-4, atol=1e-6)


def test_slopes_of_anything():
    found = digits.slopes(lambda x: x[0] ** 3 + abs(x[1]), np.array([2.0, 0.0]), np.arange(2))
    assert found.value[:, 0].tolist() == [12.0, 0.0]
    assert (found.left[1, 0], found.right[1, 0]) == (-1.0, 1.0)
    assert found.bound.max() < 1e-14


@pytest.mark.parametrize(
    ("f", "told"),
    [
        (lambda x: np.exp(x).sum(), "raises TypeError"),
        (lambda x: float(x[0]), "returns float"),
        (lambda x: 3, "returns int"),
    ],
)
def test_functions_that_cannot_are_refused(f, told):
    with pytest.raises(ValueError, match=f"'mpmath' needs an f .*{told}"):
        digits.slopes(f, np.ones(2), np.arange(2))


def test_without_mpmath_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "mpmath", None)
    with pytest.raises(ImportError, match=r"pip install .*\[check\]'"):
        digits.slopes(lambda x: x[0], np.ones(1), np.arange(1))
