"""Orders that a generator of NumPy's draws in the engine, and the rule that ends a run there.

What belongs here: that they are NumPy's to the bit, leave its generator where NumPy does, and hold
through slices, replays and threads. What does not: what scikit-learn makes of them
(tests/estimators).
"""

import threading

import numpy as np
import pytest

import fastbp
from fastbp.samples import Samples
from fastbp.training import draws, driver
from fastbp.training.crew import Crew
from fastbp.training.draws import Draws, share
from fastbp.training.driver import DivergenceError, Run
from fastbp.training.loop import Loop
from fastbp.training.request import Request
from fastbp.training.state import Position, RunIdentity, State
from fastbp.training.watchers.watcher import Watcher

RNG = np.random.default_rng(0)


class Slices(Watcher):
    """Notes the order at the end of every slice."""

    by_slice = True

    def __init__(self):
        self.orders, self.ended = [], []

    def before(self, run):
        self.run = run

    def after_slice(self, n_epochs, stop):
        self.ended.append(n_epochs)
        self.orders.append(self.run.order.copy())


def request(n, shuffle, epochs=5, *, batch_size=4, watchers=(), rate=0.01, rows=None, **options):
    net = fastbp.Network([3, 4, 1], output="identity", loss="mse", seed=1, dtype="float64")
    X = np.random.default_rng(n).normal(size=(n, 3))
    data = Samples(X, np.ascontiguousarray(X[:, :1] ** 2), None, None, rows=rows)
    m = data.n
    optimizer = fastbp.SGD(rate)
    state = options.pop("state", State(RunIdentity(m, batch_size, "True", 0, optimizer)))
    numbers = optimizer.numbers | {"l2": 0.0, "l1": 0.0}
    return Request(
        net, data, numbers, epochs, state, list(watchers), shuffle=shuffle, driver=Run, **options
    )


def scikit_learns(random_state, n, epochs):
    """The order of each epoch, as its solvers draw them."""
    order, orders = np.arange(n), []
    for _ in range(epochs):
        permutation = np.arange(n)
        random_state.shuffle(permutation)
        order = order[permutation]
        orders.append(order)
    return orders


def same_state(a, b):
    a, b = a.get_state(), b.get_state()
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize(
    "n", [1, 2, 3, 4, 5, 7, 8, 9, 16, 17, 33, 64, 65, 100, 255, 256, 257, 1025]
)
@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_the_engine_draws_as_numpy_does(n, seed):
    own, theirs = np.random.RandomState(seed), np.random.RandomState(seed)
    for state in (own, theirs):
        state.standard_normal(3)  # an odd one keeps the other half of a pair
        state.random_sample(seed % 5)
    watch = Slices()
    made = request(n, Draws(own), watchers=[watch], batch_size=min(n, 64))
    Loop(made).go()
    assert sum(watch.ended) == 5
    np.testing.assert_array_equal(watch.orders[-1], scikit_learns(theirs, n, 5)[-1])
    assert same_state(own, theirs)


@pytest.mark.parametrize("kind", [np.random.PCG64, np.random.MT19937, np.random.Philox])
def test_other_bit_generators_too(kind):
    own, theirs = (np.random.RandomState(kind(5)) for _ in range(2))
    watch = Slices()
    made = request(50, Draws(own), watchers=[watch])
    share((draws, 50, 5) for draws in (made.shuffle, Draws(np.random.RandomState(kind(6)))))
    assert made.shuffle.laid is None
    Loop(made).go()
    np.testing.assert_array_equal(watch.orders[-1], scikit_learns(theirs, 50, 5)[-1])
    np.testing.assert_array_equal(own.random_sample(3), theirs.random_sample(3))


def test_a_subset_of_the_rows_is_drawn_from():
    rows = np.array([8, 3, 3, 5, 11])
    watch = Slices()
    Loop(request(12, Draws(np.random.RandomState(0)), watchers=[watch], rows=rows)).go()
    expected = rows[scikit_learns(np.random.RandomState(0), 5, 5)[-1]]
    np.testing.assert_array_equal(watch.orders[-1], expected)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
@pytest.mark.parametrize("n_steps", [1, 2, 3, 7, 1000])
def test_neither_threads_nor_slices_change_the_bits(n_threads, n_steps, monkeypatch):
    def parameters(shuffle, **options):
        made = request(37, shuffle, **options)
        Loop(made).go()
        return made.net.parameters

    orders = scikit_learns(np.random.RandomState(2), 37, 5)
    expected = parameters(lambda epoch, n: orders[epoch])
    train = Run._train
    monkeypatch.setattr(Run, "_train", lambda self, n, end: train(self, min(n, n_steps), end))
    found = parameters(Draws(np.random.RandomState(2)), n_threads=n_threads)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("position", [Position(2, 0, 20), Position(2, 8, 22)])
def test_a_run_goes_on_with_the_orders_of_the_one_before(position):
    identity = RunIdentity(37, 4, "True", 0, fastbp.SGD(0.01))
    watch, own = Slices(), np.random.RandomState(2)
    made = request(37, Draws(own), 3, watchers=[watch], state=State(identity, position))
    Loop(made).go()
    np.testing.assert_array_equal(
        watch.orders[-1], scikit_learns(np.random.RandomState(2), 37, 5)[-1]
    )


def test_steps_are_made_again_in_the_same_order():
    def diverged(shuffle):
        made = request(37, shuffle, 400, rate=2.0)
        with pytest.raises(DivergenceError) as told:
            Loop(made).go()
        return told.value, made.net.parameters

    orders = scikit_learns(np.random.RandomState(3), 37, 400)
    error, parameters = diverged(Draws(np.random.RandomState(3)))
    expected, expected_parameters = diverged(lambda epoch, n: orders[epoch])
    assert (error.step, error.epoch) == (expected.step, expected.epoch)
    np.testing.assert_array_equal(parameters, expected_parameters)


def test_the_lock_of_the_generator_is_held(monkeypatch):
    own, seen, train = Draws(np.random.RandomState(0)), [], Run._make

    def take():
        seen.append(own.lock.acquire(blocking=False))

    def make(self, rest):
        thread = threading.Thread(target=take)
        thread.start()
        thread.join()
        return train(self, rest)

    monkeypatch.setattr(Run, "_make", make)
    Loop(request(20, own)).go()
    assert seen and not any(seen)
    take()
    assert seen[-1]


def test_others_draw_meanwhile():
    """A generator that other Python threads use: nobody crashes, nobody waits for ever."""
    state, over = np.random.RandomState(0), threading.Event()

    def draw():
        while not over.is_set():
            state.random_sample(100)

    thread = threading.Thread(target=draw)
    thread.start()
    Loop(request(50, Draws(state), 2000)).go()
    over.set()
    thread.join()


class Rule(Watcher):
    """Ends a run by the engine's rule."""

    in_bulk = True

    def __init__(self, tol, most, best=np.inf, count=0):
        self.tol, self.most, self.best, self.count = tol, most, best, count
        self.losses, self.calls = [], 0

    def before(self, run):
        run.stop_by(self.tol, self.best, self.count, self.most)

    def after_epochs(self, losses):
        self.calls += 1
        for loss in losses:
            self.count = 0 if loss <= self.best - self.tol else self.count + 1
            self.best = min(self.best, loss)
        self.losses += losses
        return self.count > self.most


@pytest.mark.parametrize("tol", [0.0, 1e-4, 1e-2, 1e9])
@pytest.mark.parametrize("most", [0, 1, 5, np.inf])
@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_rule_ends_a_run_with_its_epoch(tol, most, n_threads, monkeypatch):
    monkeypatch.setattr(driver, "SLICE_SECONDS", 60.0)  # a loaded machine ends no slice early

    class ByEpoch(Rule):
        by_epoch, in_bulk = True, False

        def before(self, run):
            pass

        def after_epoch(self, event):
            return self.after_epochs([event.history.latest("loss")])

    found = {}
    for kind in (Rule, ByEpoch):
        rule = kind(tol, most)
        made = request(
            40, Draws(np.random.RandomState(1)), 60, watchers=[rule], n_threads=n_threads
        )
        history = Loop(made).go()
        found[kind] = made.net.parameters, rule.losses, history["loss"].tolist(), rule.calls
    np.testing.assert_array_equal(found[Rule][0], found[ByEpoch][0])
    assert found[Rule][1:3] == found[ByEpoch][1:3]
    assert found[Rule][3] < found[ByEpoch][3] or len(found[ByEpoch][1]) <= 2


def test_a_count_that_is_gone_on_with():
    rule = Rule(1e9, 5, 1.0, 4)
    made = request(40, True, 60, watchers=[rule])
    assert Loop(made).go().epochs == 2


@pytest.mark.parametrize("rows", [None, np.arange(36, -1, -2)])
def test_runs_that_draw_the_same_share_their_orders(rows):
    def trained(made):
        Loop(made).go()
        return made.net.parameters

    def several():
        return [
            request(37, Draws(np.random.RandomState(seed)), epochs, rows=rows)
            for seed, epochs in ((4, 5), (4, 7), (4, 3), (5, 5))
        ]

    together = several()
    share((made.shuffle, made.data.n, made.epochs) for made in together)
    laid = [made.shuffle.laid for made in together]
    assert laid[0] is laid[1] is laid[2] and laid[0].shape == (7, 37 if rows is None else 19)
    assert laid[3] is None
    for shared, alone in zip(together, several(), strict=True):
        np.testing.assert_array_equal(trained(shared), trained(alone))


def test_too_many_orders_are_not_laid(monkeypatch):
    monkeypatch.setattr(draws, "LAID_BYTES", 4 * 37 * 5 - 1)
    together = [Draws(np.random.RandomState(1)) for _ in range(2)]
    share((own, 37, 5) for own in together)
    assert together[0].laid is None


def crew_of(several, n_threads=1):
    crew = Crew(several, n_threads, halts=lambda error: False)
    assert not crew.alone  # all of them in lanes
    return crew.train()


def test_lanes_draw_and_end_as_runs_alone(monkeypatch):
    """More than there are lanes: each takes the place of one that has ended by its rule."""

    def several():
        rules = [(1e-3, 0), (1e-4, 2), (1e9, 3), (0.0, np.inf)]
        return [
            request(
                37 + i % 3, Draws(np.random.RandomState(i % 5)), 20 + i % 4, batch_size=8,
                watchers=[Rule(*rules[i % 4])],
            )
            for i in range(41)
        ]  # fmt: skip

    alone = several()
    for made in alone:
        Loop(made).go()
    together, halves = several(), several()
    share((made.shuffle, made.data.n, made.epochs) for made in halves)
    assert any(made.shuffle.laid is not None for made in halves)
    for made in (together, halves):
        crew_of(made, 2)
        for own, other in zip(made, alone, strict=True):
            np.testing.assert_array_equal(own.net.parameters, other.net.parameters)
            assert own.history["loss"].tolist() == other.history["loss"].tolist()
    for own, other in zip(together, alone, strict=True):
        assert same_state(own.shuffle.random_state, other.shuffle.random_state)


def test_a_lane_that_diverges_is_made_again_in_the_same_order():
    def several():
        rates = [2.0 if i % 3 == 0 else 0.01 for i in range(20)]
        return [
            request(37, Draws(np.random.RandomState(i)), 60, rate=rate, batch_size=8)
            for i, rate in enumerate(rates)
        ]

    alone, together = several(), several()
    errors = [outcome.error for outcome in crew_of(together)]
    assert sum(error is not None for error in errors) > 3
    for own, other, error in zip(together, alone, errors, strict=True):
        if error is None:
            Loop(other).go()
        else:
            with pytest.raises(DivergenceError) as told:
                Loop(other).go()
            assert (error.step, error.epoch) == (told.value.step, told.value.epoch)
        np.testing.assert_array_equal(own.net.parameters, other.net.parameters)
