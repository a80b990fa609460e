"""Checks of gradients whose penalties differ by tensor: `decays`.

What belongs here: what is right passes, in every mode, and what is wrong about a penalty is told.
What does not: penalties of weights alone (test_check.py), training (training/test_rates.py).
"""

import numpy as np
import pytest

import fastbp
from fastbp.check import gradients
from fastbp.layers import Scale

X = np.random.default_rng(0).standard_normal((7, 4))
Y = np.array([0, 1, 2, 2, 1, 0, 1])
DECAYS = {"W1": 0.0, "b*": 0.5, "s2": 3.0, "W3": 2.0}


def network(dtype="float64"):
    return fastbp.Network([4, 5, Scale(), 3], activation="tanh", dtype=dtype, init="large", seed=1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("penalty", [{"l2": 3.0}, {"l1": 2.0}, {"l2": 1.0, "l1": 0.5}])
def test_right_gradients_pass(dtype, mode, penalty):
    found = gradients(network(dtype), X, Y, mode=mode, decays=DECAYS, **penalty)
    assert found.ok, str(found)


def test_many_digits_know_them():
    pytest.importorskip("mpmath")
    assert gradients(network(), X, Y, decays=DECAYS, l2=2.0, method="mpmath").ok


def test_dropout_goes_with_them():
    options = {"l2": 2.0, "dropout": fastbp.Dropout(0.3, seed=1)}
    assert gradients(network(), X, Y, decays=DECAYS, **options).ok


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_decays_left_out_of_the_gradient_are_found(mode):
    net = network()
    usual = net.gradient(X, Y, l2=3.0)
    assert gradients(net, X, Y, gradient=usual, mode=mode, l2=3.0).ok
    assert gradients(net, X, Y, gradient=usual, mode=mode, l2=3.0, decays=DECAYS).ok is False


@pytest.mark.parametrize(
    ("factor", "words"),
    [
        (0.0, "The L2 term is left out of the gradient."),
        (7.0, "7 times too large, once for each of the 7 rows"),
        (2.0, "The L2 term is exactly 2 times what it should be."),
    ],
)
def test_what_is_wrong_about_the_penalty_is_told(factor, words):
    net = network()
    data = net.gradient(X, Y)
    right = net.gradient(X, Y, l2=3.0, decays=DECAYS)
    found = gradients(net, X, Y, gradient=data + factor * (right - data), l2=3.0, decays=DECAYS)
    assert found.ok is False and words in str(found)


def test_a_penalty_of_what_has_none_is_told():
    net = network()
    decays = DECAYS | {"b1": 0.0}
    wrong = net.gradient(X, Y, l2=3.0, decays=decays | {"b1": 1.0})
    found = gradients(net, X, Y, gradient=wrong, l2=3.0, decays=decays)
    assert found.ok is False and "Biases are regularised: L2 stands" in str(found)


@pytest.mark.parametrize("bad", [{"Q": 1.0}, {"W1": -1.0}, 3, {"W1": np.nan}])
def test_what_is_no_decay_is_refused(bad):
    with pytest.raises((ValueError, TypeError), match=r"^decays"):
        gradients(network(), X, Y, l2=1.0, decays=bad)
