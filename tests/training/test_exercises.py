"""The exercises of Nielsen 2015, chapter 3, as a user would do them with fastbp.

What belongs here: each feature's formula or effect on the digits of the package. What does not: the
book's published runs (test_book.py), every case of an optimizer or function (its own test file).
"""

import numpy as np
import pytest

import fastbp
from fastbp import check

DIGITS = fastbp.datasets.load_digits()
X, Y = DIGITS.X[:1000], DIGITS.Y[:1000]
HELD = DIGITS.X[1000:], DIGITS.Y[1000:]


def network(output="softmax", **options):
    options = {"loss": "cross_entropy", "dtype": "float64", "seed": 1} | options
    return fastbp.Network([64, 20, 10], output=output, **options)


def one_step(net, optimizer, **penalty):
    """Weights, biases and the gradient of the cost alone before one step over all samples."""
    before, nabla = net.parameters.copy(), net.gradient(X, Y)
    net.fit(X, Y, epochs=1, batch_size=len(X), optimizer=optimizer, shuffle=False, **penalty)
    is_weight = network(init="zeros")
    for W in is_weight.weights:
        W[...] = 1
    return before, nabla, is_weight.parameters


def test_momentum():
    """v <- mu v - eta nabla, w <- w + v: three steps, each from the gradient where it is made."""
    net, eta, mu = network(), 0.3, 0.8
    twin, v = net.copy(), 0.0
    for _ in range(3):
        v = mu * v - eta * twin.gradient(X, Y)
        twin.parameters += v
    net.fit(X, Y, epochs=3, batch_size=len(X), optimizer=fastbp.SGD(eta, momentum=mu),
            shuffle=False)  # fmt: skip
    np.testing.assert_allclose(net.parameters, twin.parameters, rtol=1e-10, atol=1e-13)


def test_momentum_learns_faster():
    losses = [
        network().fit(X, Y, epochs=5, optimizer=fastbp.SGD(0.02, momentum=mu), seed=0)["loss"][-1]
        for mu in (0.0, 0.9)
    ]
    assert losses[1] < losses[0] / 2


def test_l1():
    """w <- w - eta lambda/n sgn(w) - eta nabla; biases are not regularised."""
    net, eta, l1 = network(), 0.5, 3.0
    before, nabla, is_weight = one_step(net, fastbp.SGD(eta), l1=l1)
    expected = before - eta * (nabla + l1 / len(X) * np.sign(before) * is_weight)
    np.testing.assert_allclose(net.parameters, expected, rtol=1e-12, atol=1e-14)


def test_l1_leaves_few_large_weights():
    """Chapter 3: L1 drives most weights towards 0, L2 shrinks all."""
    near_zero = {}
    for penalty in ("l1", "l2"):
        net = network()
        net.fit(X, Y, epochs=40, optimizer=fastbp.SGD(0.1), seed=0, **{penalty: 2.0})
        W = np.abs(net.weights[0])
        near_zero[penalty] = np.mean(W < 0.01 * W.max())
    assert near_zero["l1"] > 3 * near_zero["l2"]


def test_softmax_with_the_log_likelihood():
    """C = -ln a_y and delta^L_j = a_j - y_j."""
    net = network()
    a = net.predict(X)
    np.testing.assert_allclose(net.costs(X, Y), -np.log(a[np.arange(len(X)), Y]), rtol=1e-12)
    np.testing.assert_allclose(net.deltas(X, Y)[-1], a - np.eye(10)[Y], atol=1e-15)
    history = net.fit(X, Y, epochs=20, optimizer=fastbp.SGD(0.5), validation=HELD, seed=0)
    assert history["validation_accuracy"][-1] > 0.9


@pytest.mark.parametrize("c", [0.5, 1.0, 3.0])
def test_softmax_with_a_temperature(c):
    """a_j = e^{c z_j} / sum_k e^{c z_k}; with the log-likelihood delta_j = c (a_j - y_j)."""
    net = network(f"softmax({c})")
    z = net.feedforward(X)[0][-1]
    e = np.exp(c * (z - z.max(axis=1, keepdims=True)))
    a = e / e.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.predict(X), a, rtol=1e-12)
    np.testing.assert_allclose(net.deltas(X, Y)[-1], c * (a - np.eye(10)[Y]), atol=1e-14)
    assert check.gradients(net, X[:3], Y[:3]).ok


def test_a_softmax_of_large_c_is_the_maximum():
    """Why it is called soft: c -> infinity leaves 1 for the largest z and 0 for the others."""
    soft, hard = network("softmax(0.001)"), network("softmax(1e6)")
    np.testing.assert_allclose(soft.predict(X), 0.1, atol=0.001)
    z = hard.feedforward(X)[0][-1]
    np.testing.assert_allclose(hard.predict(X), np.eye(10)[z.argmax(axis=1)], atol=1e-6)


def epochs_since_best(values):
    return len(values) - 1 - int(np.argmax(values))


def test_no_improvement_in_n():
    """Early stopping ends exactly n epochs after the best accuracy, with that epoch's network."""
    net, n = network(), 5
    history = net.fit(
        X, Y, epochs=500, optimizer=fastbp.SGD(0.5), validation=HELD, seed=0,
        early_stopping=fastbp.EarlyStopping(n, monitor="validation_accuracy"),
    )  # fmt: skip
    accuracy = history["validation_accuracy"]
    assert n < history.epochs < 500 and epochs_since_best(accuracy) == n
    assert (net.predict(HELD[0]).argmax(axis=1) == HELD[1]).mean() == accuracy.max()


def test_a_rate_that_halves():
    """The rate halves whenever n epochs brought no improvement; it ends at 1/128 of the first."""
    net, n, eta = network(), 3, 0.5
    history = net.fit(
        X, Y, epochs=1000, optimizer=fastbp.SGD(eta), validation=HELD, seed=0,
        schedule=fastbp.schedules.HalveOnPlateau(n, monitor="validation_accuracy"),
    )  # fmt: skip
    rates, accuracy = history["learning_rate"], history["validation_accuracy"]
    expected, rate, best, waited = [], eta, -1.0, 0
    for value in accuracy:
        expected.append(rate)
        waited = 0 if value > best else waited + 1
        best = max(best, value)
        if waited == n:
            rate, waited = rate / 2, 0
    assert rates.tolist() == expected
    assert history.epochs < 1000 and rate == eta / 128
