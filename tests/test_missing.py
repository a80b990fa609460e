"""Targets that are not known: NaN in Y with `ignore_missing`.

What belongs here: that such an output has no cost and no error, in every pair that allows it, and
in training; what is refused. What does not: NaN without the option (test_inputs.py).
"""

import numpy as np
import pytest
from cases import DTYPES, LOSSES, fits, network, oracle, short, targets
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp import check, functions, reference

pytestmark = pytest.mark.sanitizers

OUTPUTS = [name for name in functions.ACTIVATIONS if name not in functions.COUPLED]
PAIRS = [
    (output, loss)
    for output in OUTPUTS
    for loss in LOSSES
    if loss != "gaussian_nll" and fits(output, loss)
]


def make(output, loss, dtype, n=9):
    net = network([4, 6, 5], "tanh", output, loss, dtype)
    rng = np.random.default_rng(2)
    X, Y = short(rng.standard_normal((n, 4))), targets(rng, loss, n, 5)
    Y[rng.random(Y.shape) < 0.4] = np.nan
    Y[0] = np.nan  # a sample that says nothing
    Y[1, 0] = 1.0  # and something is known
    return net, X, Y


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("output", "loss"), PAIRS)
def test_loss_and_gradient_are_the_oracles(level, output, loss, dtype):
    net, X, Y = make(output, loss, dtype)
    ref, weight = oracle(net), np.arange(9) / 4.0
    rtol = 1e-11 if dtype == "float64" else 1e-4
    options = {"sample_weight": weight, "l2": 0.5, "ignore_missing": True}
    assert_allclose(net.loss(X, Y, **options), ref.loss(X, Y, weight, 0.5), rtol=rtol)
    expected = ref.gradient(X, Y, weight, 0.5)
    assert_allclose(
        net.gradient(X, Y, **options), expected, rtol=rtol, atol=rtol * np.abs(expected).max()
    )
    assert net.costs(X, Y, ignore_missing=True)[0] == 0
    delta = net.deltas(X, Y, ignore_missing=True)[-1]
    assert_array_equal(delta[np.isnan(Y)], 0)
    assert (delta[~np.isnan(Y)] != 0).mean() > 0.3


def test_gradient_is_the_slope_of_the_loss(level):
    net, X, Y = make("sigmoid", "binary_cross_entropy", "float64")

    def f(parameters):
        net.parameters = parameters
        return net.loss(X, Y, ignore_missing=True)

    def gradient(parameters):
        net.parameters = parameters
        return net.gradient(X, Y, ignore_missing=True)

    check.assert_gradients(f, gradient, net.parameters.copy())
    check.assert_gradients(net, X, Y, l2=0.5, ignore_missing=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
def test_fit_is_the_oracles_training(level, dtype, threads):
    for output, loss in (("identity", "mse"), ("sigmoid", "binary_cross_entropy")):
        net, X, Y = make(output, loss, dtype, 23)
        ref, orders = oracle(net), [np.random.default_rng(e).permutation(23) for e in range(3)]
        losses = reference.train(ref, X, Y, orders, 7, reference.SGD(0.1))
        history = net.fit(X, Y, epochs=3, batch_size=7, optimizer=fastbp.SGD(0.1), threads=threads,
                          shuffle=lambda epoch, n, orders=orders: orders[epoch],
                          ignore_missing=True)  # fmt: skip
        rtol = 1e-11 if dtype == "float64" else 1e-4
        assert_allclose(net.parameters, ref.parameters, rtol=rtol, atol=rtol)
        assert_allclose(history["loss"], losses, rtol=rtol)


def test_validation_may_miss_targets_too():
    net, X, Y = make("identity", "quadratic", "float64", 40)
    for validation in (0.25, (X, Y)):
        history = net.fit(X, Y, epochs=1, ignore_missing=True, validation=validation, seed=0)
        assert np.isfinite(history["validation_loss"]).all()
    assert history["validation_loss"][0] == net.loss(X, Y, ignore_missing=True)


def test_one_output_and_class_indices():
    one = fastbp.Network([2, 1], output="identity", loss="quadratic", dtype="float64")
    X = np.eye(2)
    full = one.gradient(X[:1], [0.5])
    assert_allclose(one.gradient(X, [0.5, np.nan], ignore_missing=True), full / 2)
    hinge = fastbp.Network([2, 3], output="identity", loss="hinge")
    assert hinge.loss(X, [0, 2], ignore_missing=True) == hinge.loss(X, [0, 2])
    with pytest.raises(ValueError, match=r"Y: expected whole numbers as class indices; got nan"):
        hinge.loss(X, [0, np.nan], ignore_missing=True)


def test_what_is_refused():
    net, X, Y = make("sigmoid", "binary_cross_entropy", "float64")
    before = net.parameters.copy()
    asks = [net.loss, net.gradient, net.costs, net.deltas, net.fit]
    bad = [
        (Y, False, ValueError, r"^Y: expected finite numbers; got NaN at \[0, 0\]"),
        (np.where(np.isnan(Y), np.inf, Y), True, ValueError, "^Y: expected finite .* inf"),
        (np.where(Y == 1, 7, Y), True, ValueError, "^Y: loss .* expects targets in .0, 1.; got 7"),
        (Y * np.nan, True, ValueError, "^Y: expected at least one target that is not missing"),
        (Y, 1, TypeError, "^ignore_missing: expected True or False; got 1"),
    ]  # fmt: skip
    for values, ignore, kind, says in bad:
        for ask in asks:
            with pytest.raises(kind, match=says):
                ask(X, values, ignore_missing=ignore)
    for output, loss in (("softmax", "cross_entropy"), ("layer_norm", "mse"),
                         ("identity", "gaussian_nll")):  # fmt: skip
        coupled = fastbp.Network([4, 6], output=output, loss=loss)
        Y = np.ones((9, 3 if loss == "gaussian_nll" else 6))
        Y[0, 0] = np.nan
        for ask in (coupled.loss, coupled.gradient, coupled.fit):
            with pytest.raises(ValueError, match=f"ignore_missing: expected .* '{output}' with"):
                ask(X, Y, ignore_missing=True)
    assert_array_equal(net.parameters, before)
