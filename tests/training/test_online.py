"""`OnlineTrainer`: an optimizer's state between calls of one step.

What belongs here: its steps against those of `fit`, derivatives from outside, what is refused. What
does not: plain steps (test_one_sample.py).
"""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastbp

OPTIMIZERS = [
    fastbp.SGD(0.01), fastbp.SGD(0.01, 0.9), fastbp.SGD(0.01, 0.9, True), fastbp.Adam(0.01),
    fastbp.AdamW(0.01, weight_decay=0.1), fastbp.AMSGrad(0.01), fastbp.RMSprop(0.01),
    fastbp.RMSprop(0.01, momentum=0.5, centered=True), fastbp.Adagrad(0.01), fastbp.Adadelta(0.1),
    fastbp.Lion(0.001),
]  # fmt: skip
rng = np.random.default_rng(0)
X = rng.standard_normal((23, 7)).astype("float32")
Y = rng.standard_normal((23, 2)).astype("float32")


def network(dtype="float32", **options):
    options = {"activation": "tanh", "output": "identity", "loss": "mse"} | options
    return fastbp.Network([7, 17, 9, 2], dtype=dtype, seed=3, **options)


@pytest.mark.parametrize("clip", [{}, {"clip_norm": 0.5}, {"clip_value": 0.1}])
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_its_steps_are_those_of_fit(optimizer, clip, dtype, level):
    net, single = network(dtype), network(dtype)
    x, y = X.astype(dtype), Y.astype(dtype)
    trainer = fastbp.OnlineTrainer(net, optimizer, **clip)
    losses = [trainer.learn_one(row, target) for row, target in zip(x, y, strict=True)]
    history = single.fit(
        x, y, epochs=1, batch_size=1, shuffle=False, optimizer=optimizer, seed=0, threads=1, **clip
    )
    tolerance = 2e-5 if dtype == "float32" else 1e-12
    assert_allclose(net.parameters, single.parameters, rtol=tolerance, atol=tolerance)
    assert np.mean(losses) == pytest.approx(history["loss"][0], rel=1e-5)
    assert trainer.step == len(x)


@pytest.mark.parametrize("m", [1, 2, 7, 9, 17, 33])
def test_derivatives_from_outside(m, level):
    """A step of plain SGD is the gradient; a larger batch than any before keeps the state."""
    net = network("float64")
    trainer = fastbp.OnlineTrainer(net, fastbp.SGD(0.1, 0.9))
    velocity = np.zeros(net.n_parameters)
    for rows in (1, m, 3):
        x, v = rng.standard_normal((rows, 7)), rng.standard_normal((rows, 2))
        theta = net.parameters.copy()
        twin = copy.deepcopy(net)
        twin.parameters[...] = theta
        # sum V a^L has the derivative of mse at targets a - V n_L / 2
        target = twin.predict(x) - v * 2 / 2
        nabla = rows * twin.gradient(x, target)
        trainer.vjp_step(x, v)
        velocity = 0.9 * velocity - 0.1 * nabla
        assert_allclose(net.parameters, theta + velocity, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("m", [1, 2, 7, 23])
@pytest.mark.parametrize("kind", ["numbers", "classes"])
def test_batches(kind, m, level):
    options = {} if kind == "numbers" else {"output": "softmax", "loss": "cross_entropy"}
    targets = Y if kind == "numbers" else (Y[:, 0] > 0).astype(int)
    net, single = network("float64", **options), network("float64", **options)
    trainer = fastbp.OnlineTrainer(net, fastbp.Adam(0.01))
    for first in range(0, 23, m):
        loss = single.loss(X[first : first + m], targets[first : first + m])
        found = trainer.learn_many(X[first : first + m], targets[first : first + m])
        assert found == pytest.approx(loss, rel=1e-12)
        if 23 % m == 0 or m == 1:
            single.parameters[...] = net.parameters
        else:
            break
    fresh = network("float64", **options)
    trainer = fastbp.OnlineTrainer(fresh, fastbp.Adam(0.01))
    other = network("float64", **options)
    other.fit(X, targets, epochs=1, batch_size=m, shuffle=False, optimizer=fastbp.Adam(0.01))
    for first in range(0, 23, m):
        trainer.learn_many(X[first : first + m], targets[first : first + m])
    assert_allclose(fresh.parameters, other.parameters, rtol=1e-9, atol=1e-9)


def test_parameters_that_are_written_are_trained_on():
    net, plain = network(), network()
    trainer = fastbp.OnlineTrainer(net, "sgd")
    for row, y in zip(X, Y, strict=True):
        net.parameters[...] *= 0.5
        plain.parameters[...] *= 0.5
        trainer.learn_one(row, y)
        plain.learn_one(row, y, trainer.optimizer.learning_rate)
    assert_allclose(net.parameters, plain.parameters, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("door", [copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))])
def test_a_copy_goes_on_alike_and_alone(door):
    trainer = fastbp.OnlineTrainer(network(), fastbp.Adam(0.01))
    for row, y in zip(X[:9], Y[:9], strict=True):
        trainer.learn_one(row, y)
    twin = door(trainer)
    assert twin.net is not trainer.net and twin.step == 9
    for row, y in zip(X[9:], Y[9:], strict=True):
        assert trainer.learn_one(row, y) == twin.learn_one(row, y)
    assert_array_equal(trainer.net.parameters, twin.net.parameters)


def test_a_policy_is_learnt_from_its_rewards():
    """REINFORCE: of three actions the best depends on two numbers."""
    draws = np.random.default_rng(0)
    policy = fastbp.Network([2, 16, 3], activation="tanh", init="glorot_uniform", seed=0)
    trainer = fastbp.OnlineTrainer(policy, fastbp.Adam(0.05))

    def best(states):
        return (states > 0).sum(axis=1)

    baseline, rows = 0.0, np.arange(32)
    for _ in range(300):
        states = draws.standard_normal((32, 2)).astype("float32")
        chances = policy.predict(states)
        actions = (chances.cumsum(axis=1) > draws.random((32, 1))).argmax(axis=1)
        rewards = (actions == best(states)).astype("float32")
        V = np.zeros_like(chances)
        V[rows, actions] = -(rewards - baseline) / chances[rows, actions] / 32
        baseline += 0.05 * (rewards.mean() - baseline)
        trainer.vjp_step(states, V)
    states = draws.standard_normal((1000, 2))
    assert (policy.predict(states).argmax(axis=1) == best(states)).mean() > 0.85


def test_what_a_user_keeps_with_it_is_copied():
    class Named(fastbp.OnlineTrainer):
        pass

    trainer = Named(network())
    trainer.name = ["policy"]
    trainer.learn_many(X, Y)
    twin = copy.deepcopy(trainer)
    assert type(twin) is Named and twin.name == ["policy"] and twin.name is not trainer.name
    assert twin.learn_many(X, Y) == trainer.learn_many(X, Y)
    assert copy.copy(trainer).net is trainer.net


@pytest.mark.parametrize("name", ["net", "optimizer", "step", "slots"])
def test_what_it_was_made_of_stays(name):
    """An assignment would have changed nothing of its steps."""
    with pytest.raises(AttributeError):
        setattr(fastbp.OnlineTrainer(network()), name, fastbp.SGD(1.0))


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_that_overflows_is_not_made(optimizer):
    net = network(activation="relu")
    trainer = fastbp.OnlineTrainer(net, optimizer)
    for row, y in zip(X[:5], Y[:5], strict=True):
        trainer.learn_one(row, y)
    before, slots = net.parameters.copy(), trainer.slots
    big = np.full(7, 1e30, "f4")
    with pytest.raises(fastbp.DivergenceError):
        trainer.learn_one(big, Y[0])
    with pytest.raises(fastbp.DivergenceError):
        trainer.vjp_step(big[None], np.full((1, 2), 1e30, "f4"))
    assert_array_equal(net.parameters, before)
    assert_array_equal(trainer.slots, slots)
    assert trainer.step == 5
    trainer.learn_one(X[6], Y[6])  # and it goes on


REFUSED = {
    "net": (lambda: fastbp.OnlineTrainer(3), "net: expected a fastbp.Network"),
    "optimizer": (lambda: fastbp.OnlineTrainer(network(), "adamm"), "optimizer: expected one of"),
    "lbfgs": (lambda: fastbp.OnlineTrainer(network(), "lbfgs"), "optimizer: .* LBFGS"),
    "keyword": (lambda: fastbp.OnlineTrainer(network(), clipnorm=1), "unexpected argument 'clipn"),
    "clip": (lambda: fastbp.OnlineTrainer(network(), clip_norm=-1), "clip_norm: expected"),
    "V": (lambda: fastbp.OnlineTrainer(network()).vjp_step(X, Y[:3]), "V: expected 23 rows"),
    "V wide": (lambda: fastbp.OnlineTrainer(network()).vjp_step(X, X), "V: expected 2 columns"),
    "X": (lambda: fastbp.OnlineTrainer(network()).vjp_step(X[0], Y[:1]), "X: expected 2 dim"),
    "V NaN": (lambda: fastbp.OnlineTrainer(network()).vjp_step(X, Y * np.nan), "V: expected fin"),
    "x": (lambda: fastbp.OnlineTrainer(network()).learn_one(X[:1], Y[0]), "x: expected shape"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused(name):
    call, message = REFUSED[name]
    with pytest.raises((TypeError, ValueError), match=message):
        call()
