"""Presets: what their networks are, and that "realmlp-td-s" trains by the published formulas.

What belongs here: `Recipe` and the table of presets. What does not: estimators (test_tabular.py).
"""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("sklearn")

import fastbp
from fastbp.estimators.presets import PRESETS, Recipe


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("of", [0, 1])
def test_every_preset_trains(name, of):
    recipe = replace(PRESETS[name][of], epochs=2, members=2)
    output, loss = [("softmax", "cross_entropy"), ("identity", "mse")][of]
    nets = [recipe.network(3, 2, output, loss, seed) for seed in range(recipe.members)]
    assert (nets[0].predict(np.ones((1, 3))) == (0.5, 0.0)[of]).all()  # the last layer begins at 0
    assert (nets[0].parameters != nets[1].parameters).any()
    draws = np.random.default_rng(0)
    X, Y = draws.standard_normal((300, 3)), draws.integers(0, 2, 300)
    Y = Y if of == 0 else np.c_[Y, Y].astype(float)
    rows = [np.arange(200)] * 2
    options = recipe.options(nets[0], True)
    fastbp.fit_many(nets, X, Y, rows=rows, validation="rest", seed=0, **options)


def explicit(recipe, net, X, labels, orders, rates):
    """Adam on z = W a / sqrt(n_in) + b, W and b of variance 1 at first; in plain NumPy."""
    s = np.ones(X.shape[1])
    Ws = [W * np.sqrt(len(W)) for W in net.weights]
    bs = [b.copy() for b in net.biases]
    parameters = [s, *Ws, *bs]
    factors = [6.0] + [1.0] * len(Ws) + [0.1] * len(bs)
    moments = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    selu = 1.0507009873554805, 1.6732632423543772
    targets = np.eye(3)[labels] * 0.9 + 0.1 / 3
    for step, (rows, rate) in enumerate(zip(orders, rates, strict=True), 1):
        a, kept = X[rows] * s, []
        for l, (W, b) in enumerate(zip(Ws, bs, strict=True)):
            z = a @ W / np.sqrt(len(W)) + b
            kept.append((a, z))
            a = z if l == len(Ws) - 1 else selu[0] * np.where(z > 0, z, selu[1] * np.expm1(z))
        p = np.exp(a - a.max(axis=1, keepdims=True))
        p /= p.sum(axis=1, keepdims=True)
        delta, dWs, dbs = (p - targets[rows]) / len(rows), [], []
        for l in reversed(range(len(Ws))):
            a, _ = kept[l]
            dWs.insert(0, a.T @ delta / np.sqrt(len(Ws[l])))
            dbs.insert(0, delta.sum(axis=0))
            delta = delta @ Ws[l].T / np.sqrt(len(Ws[l]))
            if l:
                z = kept[l - 1][1]
                delta = delta * selu[0] * np.where(z > 0, 1, selu[1] * np.exp(np.minimum(z, 0)))
        gradients = [(delta * X[rows]).sum(axis=0), *dWs, *dbs]
        for parameter, g, (m, v), factor in zip(
            parameters, gradients, moments, factors, strict=True
        ):
            m += 0.1 * (g - m)
            v += 0.05 * (g * g - v)
            m_hat, v_hat = m / (1 - 0.9**step), v / (1 - 0.95**step)
            parameter -= rate * factor * m_hat / (np.sqrt(v_hat) + 1e-8)
    return [s, *(W / np.sqrt(len(W)) for W in Ws), *bs]


def test_realmlp_is_what_its_formulas_say():
    published = PRESETS["realmlp-td-s"][0]
    assert published.hidden == (256, 256, 256) and published.epochs == published.batch_size == 256
    recipe = replace(published, hidden=(7, 5), epochs=4, batch_size=8)
    draws = np.random.default_rng(0)
    X, labels = draws.standard_normal((20, 3)), draws.integers(0, 3, 20)
    small = recipe.network(3, 3, "softmax", "cross_entropy", seed=1)
    net = fastbp.Network(
        [3, fastbp.layers.Scale(), 7, 5, 3],
        activation="selu",
        dtype="float64",
    )
    net.parameters = small.parameters
    orders = [draws.permutation(20) for _ in range(4)]
    t = np.arange(8) / 8
    rates = 0.04 * 0.5 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * t)))
    batches = [order[i : i + 8] for order in orders for i in (0, 8)]  # the last 4 rows dropped
    expected = explicit(recipe, net, X, labels, batches, rates)
    net.fit(
        X,
        labels,
        shuffle=lambda epoch, n: orders[epoch],
        label_smoothing=recipe.label_smoothing,
        **recipe.options(net, False),
    )
    found = [net.tensors["s1"], *net.weights, *net.biases]
    assert np.abs(found[0] - 1).max() > 0.1
    for ours, theirs in zip(found, expected, strict=True):
        # up to Adam's epsilon: it stands beside gradients that are 1/sqrt(n_in) of these
        np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=2e-4)


def test_realmlp_of_numbers():
    classes, numbers = PRESETS["realmlp-td-s"]
    differs = {name for name in vars(classes) if getattr(classes, name) != getattr(numbers, name)}
    assert differs == {"activation", "optimizer", "label_smoothing", "watched"}
    assert numbers.activation == "mish" and numbers.optimizer.learning_rate == 0.07
    assert numbers.label_smoothing == 0 and numbers.watched == "validation_rmse"


def test_rates_of_patterns():
    recipe = Recipe(hidden=(4,), scale=True, rates={"s*": 6.0, "b*": 0.1, "b3": 0.0})
    net = recipe.network(9, 2, "identity", "mse", 0)
    assert recipe.options(net, False)["rates"] == {"s1": 6, "W2": 1, "b2": 0.1, "W3": 1, "b3": 0}
    rates = replace(recipe, ntk=True).options(net, False)["rates"]
    assert rates == {"s1": 6, "W2": 1 / 3, "b2": 0.1, "W3": 0.5, "b3": 0}


def test_large_tables_have_fewer_epochs():
    recipe = Recipe(epochs=60, batch_size=100, steps=2000)
    net = recipe.network(9, 2, "identity", "mse", 0)
    epochs = {n: recipe.options(net, True, n)["epochs"] for n in (10, 3300, 3400, 10_000, 10**7)}
    assert epochs == {10: 60, 3300: 60, 3400: 58, 10_000: 20, 10**7: 10}
    assert replace(recipe, steps=None).options(net, True, 10**7)["epochs"] == 60
