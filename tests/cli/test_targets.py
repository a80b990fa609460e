"""Targets of numbers are standardised and folded back without changing what is computed.

What belongs here: losses, units and biases at the start. What does not: the command line's words
(test_cli.py).
"""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastbp
from fastbp import functions
from fastbp.cli.targets import Standardised, begin_at_mean
from fastbp.datasets.scaling import Scaling

LOSSES = [
    "mse", "mse(0.5)", "quadratic", "mae", "pinball(0.9)", "huber", "huber(0.2)", "log_cosh",
    "log_cosh(30)", "gaussian_nll",
]  # fmt: skip


def test_every_loss_that_follows_its_targets_is_here():
    known = {name for name in functions.LOSSES if functions.loss(name).scale_power is not None}
    assert known == {name.partition("(")[0] for name in LOSSES}


@pytest.mark.parametrize("unit", [1e-6, 1.0, 3e4])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("n_targets", [1, 3])
def test_the_loss_in_units_is_that_of_the_training(name, n_targets, unit):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((40, 4))
    Y = unit * (5 + rng.standard_normal((40, n_targets)) * [1.0, 4.0, 0.1][:n_targets])
    loss = functions.loss(name)
    targets = Standardised(Y, loss, Scaling.of(Y))
    sizes = [4, 7, n_targets * loss.outputs_per_target]
    net = fastbp.Network(sizes, output="identity", loss=targets.loss, dtype="float64", seed=1)
    trained = net.loss(X, targets.apply(Y))
    outputs = targets.undo(net.predict(X))
    own = targets.unfold(net)
    assert own.architecture["loss"] == name
    assert_allclose(own.predict(X), outputs, rtol=1e-12, atol=1e-12 * unit)
    if targets.factor is None:  # the sum over targets is another one
        assert n_targets > 1 and not loss.has_units and loss.scale_power
    else:
        expected = targets.factor * trained + targets.constant
        assert_allclose(own.loss(X, Y), expected, rtol=1e-10, atol=1e-10 * unit**2)


def test_units_differ_between_targets_where_the_loss_has_none():
    Y = np.array([[1.0, 100.0], [2.0, 300.0], [4.0, 100.0]])
    for name, same in (("mse", False), ("huber", True), ("log_cosh", True)):
        s = Standardised(Y, functions.loss(name), Scaling.of(Y)).scaling.deviation
        assert (s[0] == s[1]) == same


@pytest.mark.parametrize(
    ("output", "loss"),
    [("exp", "poisson"), ("softplus", "mse"), ("relu", "mse"), ("sigmoid", "mse"),
     ("tanh", "mae"), ("identity", "mse"), ("gelu", "mse"), ("leaky_relu(0.5)", "mse")],
)  # fmt: skip
def test_outputs_begin_at_the_mean(output, loss):
    Y = np.array([[0.2, 0.7], [0.4, 0.9]])
    net = fastbp.Network([3, 2], output=output, loss=loss, init="zeros", dtype="float64")
    begin_at_mean(net, Y)
    assert_allclose(net.predict(np.zeros((1, 3)))[0], [0.3, 0.8], rtol=1e-12)


def test_what_an_output_does_not_reach_is_left():
    for output, mean in (("sigmoid", 7.0), ("softplus", -1.0), ("relu", -1.0), ("exp", 0.0)):
        net = fastbp.Network([3, 1], output=output, loss="mse", seed=0)
        before = net.parameters.copy()
        begin_at_mean(net, np.full((4, 1), mean))
        assert (net.parameters == before).all()
    net = fastbp.Network([3, 1], output="exp", loss="poisson", init="zeros", dtype="float64")
    begin_at_mean(net, np.full((4, 1), 1e9))
    assert_allclose(net.predict(np.zeros((1, 3)))[0], 1e9)
