"""The loop over the epochs: what it computes once, and hands to all who look.

What belongs here: validation outputs, doors that take checked samples, the order of watchers. What
does not: what each option of `fit` does (test_history.py, test_monitor.py, test_lbfgs.py).
"""

import itertools

import numpy as np
import pytest
from cases import DTYPES

import fastbp
from fastbp import functions
from fastbp.samples import mean_cost
from fastbp.training.driver import Run
from fastbp.training.history import History
from fastbp.training.loop import Loop
from fastbp.training.request import Request
from fastbp.training.state import RunIdentity, State
from fastbp.training.watchers.watcher import Watcher

rng = np.random.default_rng(0)
X, CLASSES = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)


def network(**options):
    return fastbp.Network(**{"sizes": [3, 6, 3], "activation": "tanh", "seed": 0} | options)


def counted(monkeypatch, doors, *names):
    """How often each door of the engine is asked for rows of validation data."""
    calls = dict.fromkeys(names, 0)

    def count(name, real):
        def door(*args, **options):
            calls[name] += 1
            return real(*args, **options)

        return door

    for name in names:
        monkeypatch.setattr(doors, name, count(name, getattr(doors, name)))
    return calls


# validation outputs


@pytest.mark.parametrize("options", [{}, {"ema": 0.5}, {"optimizer": fastbp.LBFGS(4)}])
def test_one_pass_over_the_validation_data_an_epoch(options, monkeypatch):
    net, seen = network(), []
    calls = counted(monkeypatch, net._doors, "outputs_and_costs", "predict", "costs")
    monkeypatch.setattr(fastbp.Network, "predict", None)
    monkeypatch.setattr(fastbp.Network, "loss", None)
    history = net.fit(
        X[20:], CLASSES[20:], epochs=4, validation=(X[:20], CLASSES[:20]), seed=0,
        metrics=["accuracy", "mae", "balanced_accuracy"], early_stopping=fastbp.EarlyStopping(9),
        callbacks=[lambda event: seen.append(event.outputs), lambda e: seen.append(e.outputs)],
        **options,
    )  # fmt: skip
    epochs = history.epochs
    assert calls == {"outputs_and_costs": epochs, "predict": 0, "costs": 0}
    assert len(seen) == 2 * epochs and all(seen[2 * i] is seen[2 * i + 1] for i in range(epochs))


@pytest.mark.parametrize("ema", [None, 0.5])
def test_the_outputs_are_those_of_what_is_judged(ema):
    net, found = network(), []

    def look(event):
        judged = event.network.copy()
        if event.average is not None:
            judged.parameters = event.average
        expected = judged.predict(X[:20])
        found.append((event.outputs.tobytes() == expected.tobytes(), event.kind))
        loss = judged.loss(X[:20], CLASSES[:20])
        assert event.history["validation_loss"][-1] == loss
        with pytest.raises(ValueError, match="read-only"):
            event.outputs[0] = 0

    net.fit(X, CLASSES, epochs=3, validation=(X[:20], CLASSES[:20]), ema=ema, callbacks=[look])
    assert found == [(True, "epoch")] * 3


def test_there_are_no_outputs_without_validation_and_within_an_epoch():
    seen = []
    watch = fastbp.each_step(lambda event: seen.append((event.kind, event.outputs is None)))
    network().fit(X, CLASSES, epochs=1, batch_size=30, callbacks=[watch])
    assert seen == [("step", True), ("step", True), ("epoch", True)]
    network().fit(X, CLASSES, epochs=1, batch_size=60, validation=0.5, callbacks=[watch])
    assert seen[3:] == [("step", True), ("epoch", False)]


def test_a_loss_of_ones_own_is_given_the_outputs():
    net = network(sizes=[3, 4, 2], output="identity", loss="mse")
    Y, seen = rng.standard_normal((60, 2)), []

    def squares(a, y, w):
        return float(((a - y) ** 2).mean()), 2 * (a - y) / a.size

    history = net.fit(X, Y, epochs=2, loss=squares, validation=(X, Y),
                      callbacks=[lambda event: seen.append(event.outputs)])  # fmt: skip
    assert history["validation_loss"][-1] == squares(seen[-1], Y.astype("f4"), None)[0]


# doors


PAIRS = [
    (output, loss)
    for output, loss in itertools.product(functions.ACTIVATIONS, functions.LOSSES)
    if functions.LOSSES and output not in ("glu", "maxout")
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("hidden", ["tanh", "gelu", "layer_norm", "glu"])
def test_one_pass_gives_the_bits_of_two(dtype, hidden):
    """Outputs and loss, loss and gradient: of every output and loss that go together."""
    found = 0
    for output, loss in PAIRS:
        try:
            net = fastbp.Network([3, 8, 6, 4], activation=hidden, output=output, loss=loss,
                                 dtype=dtype, seed=1)  # fmt: skip
        except ValueError:  # which do not
            continue
        found += 1
        rows = rng.standard_normal((40, 3)).astype(dtype)
        n_targets = net._n_targets
        Y = np.sign(rng.standard_normal((40, n_targets)))
        if not functions.loss(loss).signed:
            Y = np.abs(Y) * rng.uniform(0.01, 0.99, (40, n_targets))
        weight = rng.uniform(0.1, 2.0, 40)
        for w, penalty in ((None, 0.0), (weight, 0.3)):
            data = net._samples(rows, Y, w)
            (outputs,), (C,) = net._outputs_and_costs(data, net.parameters[None])
            value = mean_cost(C, data)
            assert outputs.tobytes() == net.predict(rows).tobytes(), (output, loss)
            assert value == net.loss(rows, Y, sample_weight=w), (output, loss)
            value, gradient = net._loss_and_gradient(data, penalty, net._decays())
            assert value == net.loss(rows, Y, sample_weight=w, l2=penalty), (output, loss)
            expected = net.gradient(rows, Y, sample_weight=w, l2=penalty)
            assert gradient.tobytes() == expected.tobytes(), (output, loss)
    assert found > 20


def test_lbfgs_makes_one_pass_an_evaluation(monkeypatch):
    net = network(dtype="float64")
    calls = counted(monkeypatch, net._doors, "gradient", "costs", "is_finite")
    history = net.fit(X, CLASSES, optimizer=fastbp.LBFGS(9))
    assert history.epochs == 9 <= calls["gradient"] < 20 and calls["costs"] == 0
    assert calls["is_finite"] < 9  # X is not looked at again


# watchers


class Told(Watcher):
    """Writes down what it is told, and asks for the end where it is to."""

    keeps = ("told",)

    def __init__(self, log, name, **asks):
        self.log, self.name, self.ends = log, name, asks.pop("ends", None)
        self.__dict__.update(asks)

    def note(self, what):
        self.log.append((self.name, what))
        return what == self.ends

    def restore(self, state):
        self.note("restore")

    def before(self, run):
        self.note("before")

    def after_step(self, event):
        return self.note(f"step {event.step}")

    def after_epoch(self, event):
        return self.note(f"epoch {event.epoch}")

    def after_slice(self, n_epochs, stop):
        self.note(f"slice {n_epochs} {stop}")

    def ends_with(self, finished):
        self.note(f"end {finished}")

    def state(self):
        return {f"told by {self.name}": np.zeros(3)}

    def after(self, whole):
        self.note(f"after {whole}")


def loop(watchers, epochs=3):
    net = network()
    data = net._samples(X, CLASSES)
    adam = fastbp.Adam()
    numbers = adam.numbers | {"l2": 0.0, "l1": 0.0}
    state = State(RunIdentity(60, 30, "True", 0, adam))
    return Loop(Request(net, data, numbers, epochs, state, watchers, History(), driver=Run))


def test_watchers_are_told_in_order_of_what_they_ask_for():
    log = []
    run = loop([Told(log, "a", by_step=True, by_epoch=True), Told(log, "b", by_epoch=True),
                Told(log, "c", by_slice=True)], epochs=1)  # fmt: skip
    history = run.go()
    assert log == [
        *((name, what) for name in "abc" for what in ("restore", "before")),
        ("a", "step 1"), ("c", "slice 0 False"),
        ("a", "step 2"), ("a", "epoch 0"), ("b", "epoch 0"), ("c", "slice 1 False"),
        *((name, "end True") for name in "abc"), *((name, "after True") for name in "abc"),
    ]  # fmt: skip
    assert set(history.state.watched) == {"told by a", "told by b", "told by c"}


@pytest.mark.parametrize("ends", ["epoch 0", "step 1"])
def test_one_that_asks_for_the_end_hides_it_from_nobody(ends):
    log = []
    run = loop([Told(log, "a", by_step=True, by_epoch=True, ends=ends),
                Told(log, "b", by_step=True, by_epoch=True)])  # fmt: skip
    history = run.go()
    assert ("b", ends) in log and run.stop
    assert history.epochs == (ends == "epoch 0")
    assert log[-1] == ("b", "after True")


def test_an_error_is_told_to_all_and_leaves_a_state():
    class Broken(Told):
        def after_epoch(self, event):
            raise RuntimeError("broken")

    log = []
    run = loop([Broken(log, "a", by_epoch=True), Told(log, "b")])
    with pytest.raises(RuntimeError, match="broken"):
        run.go()
    assert log[-4:] == [("a", "end False"), ("b", "end False"),
                        ("a", "after False"), ("b", "after False")]  # fmt: skip
    assert run.history.state.position.epoch == 1
