"""What `fit` on chunks refuses, and how a run on them ends.

What belongs here: arguments that make no sense with chunks, blocks that are wrong, ends of the
thread that reads. What does not: the bits of runs (test_chunk_fits.py), files (test_parquet.py).
"""

import os
import signal
import threading
import time

import numpy as np
import pytest
from chunk_cases import assert_no_readers
from numpy.testing import assert_array_equal

import fastbp
import fastbp.data
from fastbp import schedules
from fastbp.training import windows

RNG = np.random.default_rng(0)
X, Y = RNG.standard_normal((60, 4)), RNG.integers(0, 3, 60)
CHUNKS = fastbp.data.from_arrays(X, Y, rows=10, shuffle_buffer=20)


def net(**options):
    return fastbp.Network([4, 5, 3], seed=1, **options)


def of(*blocks, n_rows=None, n_features=4):
    return fastbp.data.from_iterable(lambda: iter(blocks), n_features=n_features, n_rows=n_rows)


UNKNOWN = of((X, Y))


@pytest.fixture(autouse=True)
def ends():
    """Whatever a test does, no thread is left."""
    yield
    assert_no_readers()


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"Y": Y}, ValueError, "Y: expected none with chunks"),
        ({"sample_weight": np.ones(60)}, ValueError, "sample_weight: expected none with chunks"),
        ({"loss": lambda a, y, w: (0, a)}, ValueError, "loss: expected None with chunks"),
        ({"optimizer": "lbfgs"}, ValueError, "optimizer: expected one of steps with chunks"),
        ({"shuffle": lambda e, n: range(n)}, ValueError, "shuffle: expected True"),
        ({"shuffle": 3}, TypeError, "shuffle"),
        ({"validation": 0.2}, ValueError, "validation: expected .* no share can be split off"),
        ({"validation": of((X[:, :3], Y), n_features=3)}, ValueError, "validation: expected 4 col"),
        ({"validation": of((X, Y + 3))}, ValueError, "chunk 0: Y: expected class indices"),
        ({"validation": of()}, ValueError, "validation: expected at least one row"),
        ({"label_smoothing": 1.0}, ValueError, "label_smoothing"),
        ({"class_weight": {7: 1.0}}, ValueError, "class_weight: expected classes among"),
        ({"class_weight": 3}, TypeError, "class_weight: expected a dict"),
        ({"metrics": ["accuracy"]}, ValueError, "metrics: expected validation data"),
        ({"epochs": 0}, ValueError, "epochs"),
        ({"drop_last": 1}, TypeError, "drop_last"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_refused_and_nothing_changed(options, error, told):
    network = net()
    before = network.parameters.copy()
    options = dict(options)
    with pytest.raises(error, match=told):
        network.fit(CHUNKS, *([options.pop("Y")] if "Y" in options else []), **options)
    assert_array_equal(network.parameters, before)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("l2", {"l2": 0.1}),
        ("l1", {"l1": 0.1}),
        ("schedule", {"schedule": schedules.Cosine(each="step")}),
        ("schedule", {"schedule": schedules.InverseScaling()}),
        ("class_weight", {"class_weight": "balanced"}),
    ],
)
def test_what_needs_the_number_of_rows(name, options):
    with pytest.raises(ValueError, match=rf"{name}.*: expected chunks whose n_rows is known"):
        net().fit(UNKNOWN, **options)


def test_what_is_no_chunks():
    for given in ((part for part in [(X, Y)]), lambda: iter([(X, Y)]), None, X, [1, 2]):
        with pytest.raises(TypeError, match=r"Y: expected numbers, targets of X"):
            net().fit(given)
    with pytest.raises(TypeError, match="can be read once"):
        fastbp.data.from_iterable(iter([(X, Y)]), n_features=4)
    with pytest.raises(TypeError, match="factory"):
        net().fit(fastbp.data.from_iterable(lambda: 3, n_features=4))
    with pytest.raises(ValueError, match="expected 4 columns; got 3"):
        net().fit(of((X, Y), n_features=3))
    with pytest.raises(TypeError, match="X: expected arrays in fit_many; got from_arrays"):
        fastbp.fit_many([net()], CHUNKS, None)


class Own:
    """Chunks that nobody helped to make."""

    n_features, n_rows = 4, None

    def __init__(self, n_features=4, n_rows=None, blocks=((X, Y),)):
        self.n_features, self.n_rows, self.blocks = n_features, n_rows, blocks

    def __iter__(self):
        return iter(self.blocks)


@pytest.mark.parametrize("n_features", [0, -1, 2.5, None, "4", True])
def test_nonsense_of_n_features(n_features):
    with pytest.raises((TypeError, ValueError), match="n_features"):
        net().fit(Own(n_features))


@pytest.mark.parametrize("n_rows", [0, -1, 2.5, "4", True])
def test_nonsense_of_n_rows(n_rows):
    with pytest.raises((TypeError, ValueError), match="n_rows"):
        net().fit(Own(n_rows=n_rows))


def bad(array, at, value):
    found = np.array(array, float if np.dtype(type(value)).kind == "f" else None)
    found[at] = value
    return found


WRONG = {
    "width": ((X[:, :3], Y), "X: expected 4 columns; got 3"),
    "NaN": ((bad(X, (3, 2), np.nan), Y), r"X: expected finite numbers; got NaN at \[3, 2\]"),
    "infinity": ((bad(X, (3, 2), np.inf), Y), "X: expected finite numbers; got infinity"),
    "too large": ((bad(X, (3, 2), 1e300), Y), "X: expected values that float32 holds"),
    "label": ((X, bad(Y, 5, 3)), r"Y: expected class indices 0..2.* got 3 at \[5\]"),
    "below 0": ((X, bad(Y, 5, -1)), "Y: expected class indices"),
    "half a class": ((X, bad(Y, 5, 0.5)), "Y: expected whole numbers"),
    "fewer Y": ((X, Y[1:]), "Y: expected 60 rows"),
    "texts": ((X.astype(str), Y), "X: expected numbers"),
    "names": ((X, np.full(60, "a")), "Y: expected class indices"),
    "complex": ((X.astype(complex), Y), "X: expected numbers"),
    "one dimension": ((X[0], Y), "X: expected 2 dimensions"),
    "numbers for classes": ((X, np.eye(3)[Y]), "expected class indices, as in the first chunk"),
    "weights": ((X, Y, np.ones(60)), "expected no weights, as in the first chunk"),
    "negative weights": ((X, Y, -np.ones(60)), "sample_weight: expected numbers >= 0"),
    "huge weights": ((X, Y, np.full(60, 1e300)), "sample_weight: expected weights within"),
    "four parts": ((X, Y, None, None), r"expected \(X, Y\) or \(X, Y, weight\)"),
    "X alone": ((X,), r"expected \(X, Y\) or \(X, Y, weight\)"),
    "an array": (X, r"expected \(X, Y\) or \(X, Y, weight\)"),
    "None": (None, r"expected \(X, Y\) or \(X, Y, weight\)"),
    "no X": ((None, Y), "X: expected"),
}


@pytest.mark.parametrize("case", WRONG)
@pytest.mark.parametrize("small", [False, True])
def test_a_wrong_block_ends_the_run_after_a_whole_step(case, small, monkeypatch):
    monkeypatch.setattr(windows, "SMALL_BYTES", 1 << 20 if small else 0)
    block, told = WRONG[case]
    network, right = net(), net()
    with pytest.raises((TypeError, ValueError), match=rf"chunk 1.*{told}"):
        network.fit(of((X, Y), block, (X, Y)), batch_size=8, epochs=2)
    right.fit(X[:56], Y[:56], shuffle=False, batch_size=8, epochs=1)
    assert_array_equal(network.parameters, right.parameters)


def test_a_wrong_row_of_arrays_is_named_by_its_place():
    chunks = fastbp.data.from_arrays(bad(X, (33, 1), np.nan), Y, rows=10, shuffle_buffer=25)
    with pytest.raises(ValueError, match=r"rows from 30 on: X: expected finite .* NaN at \[3, 1\]"):
        net().fit(chunks, seed=0)


def test_sparse_beside_dense():
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(ValueError, match="chunk 1: expected dense X, as in the first chunk; got"):
        net().fit(of((X, Y), (sparse.csr_array(X), Y)))


def test_empty_blocks_are_skipped():
    first, second = net(), net()
    first.fit(
        of((X[:0], Y[:0]), (X[:9], Y[:9]), ([], []), (X[9:], Y[9:]), (X[:0], Y[:0])), epochs=2
    )
    second.fit(X, Y, shuffle=False, epochs=2)
    assert_array_equal(first.parameters, second.parameters)


@pytest.mark.parametrize("blocks", [[], [(X[:0], Y[:0])]])
def test_no_rows(blocks):
    with pytest.raises(ValueError, match="expected at least one row"):
        net().fit(of(*blocks))


@pytest.mark.parametrize(("n_rows", "told"), [(61, "has 60"), (59, "got more"), (1, "got more")])
def test_another_number_of_rows_than_told(n_rows, told):
    with pytest.raises(ValueError, match=f"expected {n_rows} rows, its n_rows.*{told}"):
        net().fit(of((X[:30], Y[:30]), (X[30:], Y[30:]), n_rows=n_rows))


def test_weights_that_are_all_zero():
    network = net()
    before = network.parameters.copy()
    with pytest.raises(ValueError, match="expected a weight above 0"):
        network.fit(of((X, Y, np.zeros(60)), (X, Y, np.zeros(60))))
    assert_array_equal(network.parameters, before)


def test_drop_last_of_fewer_rows_than_a_batch():
    with pytest.raises(ValueError, match="drop_last: expected epochs of at least one batch, 64"):
        net().fit(UNKNOWN, drop_last=True, batch_size=64)


@pytest.mark.parametrize("error", [ValueError("mine"), OSError(5, "disk"), KeyboardInterrupt()])
def test_what_an_iterator_raises_comes_out(error):
    def blocks():
        yield X, Y
        raise error

    with pytest.raises(type(error)) as raised:
        net().fit(fastbp.data.from_iterable(blocks, n_features=4), epochs=5)
    assert raised.value is error


def closing(closed, n=10**9):
    """Chunks that note when an iterator of theirs begins (False) and is closed (True)."""

    def blocks():
        closed.append(False)
        try:
            for _ in range(n):
                yield np.tile(X, (100, 1)), np.tile(Y, 100)
        finally:
            closed.append(True)

    return fastbp.data.from_iterable(blocks, n_features=4)


def test_a_callback_that_raises_or_stops_closes_the_iterator():
    def fails(event):
        raise LookupError("mine")

    closed = []
    with pytest.raises(LookupError, match="mine"):
        net().fit(closing(closed), callbacks=[fastbp.each_step(fails)])
    assert_no_readers()
    assert closed == [False, True]
    history = net().fit(closing(closed, 2), epochs=50, callbacks=[lambda event: True])
    assert history.epochs == 1
    assert_no_readers()
    assert closed.count(True) == closed.count(False)  # of epochs that were read ahead, too


def test_a_time_limit():
    closed = []
    history = net().fit(closing(closed), epochs=1, time_limit=0.5)
    assert history.epochs == 0
    assert_no_readers()
    assert closed == [False, True]


class Blocked:
    """Chunks whose second block comes when it is let."""

    n_features, n_rows = 4, None

    def __init__(self):
        self.let, self.asked = threading.Event(), threading.Event()

    def __iter__(self):
        yield np.tile(X, (500, 1)), np.tile(Y, 500)
        self.asked.set()
        self.let.wait(60)
        yield X, Y


def test_a_time_limit_while_the_iterator_waits():
    chunks = Blocked()
    began = time.monotonic()
    history = net().fit(chunks, epochs=1, time_limit=0.3)
    assert history.epochs == 0 and time.monotonic() - began < 30
    chunks.let.set()


def test_ctrl_c_while_the_iterator_waits():
    chunks, network = Blocked(), net()

    def press():
        chunks.asked.wait(60)
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=press)
    presses.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        network.fit(chunks, epochs=1)
    assert time.monotonic() - began < 30
    presses.join()
    chunks.let.set()
    assert np.isfinite(network.parameters).all()


def test_divergence_leaves_the_last_finite_step():
    big = X.copy()
    big[41] = 1e30
    options = {"optimizer": fastbp.SGD(1e5), "batch_size": 4, "shuffle": False, "epochs": 3}
    memory = fastbp.Network([4, 5, 1], activation="relu", output="identity", loss="mse", seed=0)
    streamed = fastbp.Network([4, 5, 1], activation="relu", output="identity", loss="mse", seed=0)
    with pytest.raises(fastbp.DivergenceError) as first:
        memory.fit(big, Y.astype(float), **options)
    chunks = fastbp.data.from_arrays(big, Y.astype(float), shuffle_buffer=9)
    with pytest.raises(fastbp.DivergenceError) as second:
        streamed.fit(chunks, **options)
    assert (first.value.step, first.value.epoch) == (second.value.step, second.value.epoch)
    assert_array_equal(memory.parameters, streamed.parameters)


def test_a_validation_that_fails_ends_the_thread():
    calls = []

    def blocks():
        calls.append(True)
        if len(calls) > 2:
            raise OSError("gone")
        yield X, Y

    with pytest.raises(OSError, match="gone"):
        net().fit(CHUNKS, validation=fastbp.data.from_iterable(blocks, n_features=4), epochs=5)


@pytest.mark.parametrize(
    ("arguments", "options", "told"),
    [
        ((X[:, 0], Y), {}, "X: expected 2 dimensions"),
        ((X, Y[1:]), {}, "Y: expected 60 rows"),
        ((X[:0], Y[:0]), {}, "X: expected at least one row"),
        ((X.astype(str), Y), {}, "X: expected numbers"),
        ((X, Y, np.ones(3)), {}, "weight: expected 60 rows"),
        ((X, Y), {"rows": 0}, "rows"),
        ((X, Y), {"shuffle_buffer": -1}, "shuffle_buffer"),
        ((X, Y), {"shuffle": 1}, "shuffle"),
        ((X, Y), {"rowz": 1}, "Did you mean 'rows'"),
    ],
)
def test_from_arrays_refuses(arguments, options, told):
    with pytest.raises((TypeError, ValueError), match=told):
        fastbp.data.from_arrays(*arguments, **options)


class Endless:
    """Small blocks without end, some of which have no rows."""

    n_features, n_rows = 4, None

    def __init__(self, rows, seconds=0.0):
        self.rows, self.seconds, self.n, self.closed = rows, seconds, 0, False

    def __iter__(self):
        try:
            while True:
                self.n += 1
                time.sleep(self.seconds)
                yield X[: self.rows], Y[: self.rows]
        finally:
            self.closed = True


@pytest.mark.parametrize(("rows", "batch_size"), [(60, 10), (60, 10**9), (0, 10)])
def test_the_reader_ends_at_the_next_block(rows, batch_size):
    chunks = Endless(rows, 0.01)
    net().fit(chunks, batch_size=batch_size, time_limit=0.2, epochs=1)
    assert_no_readers()
    assert chunks.closed


def test_the_reader_is_not_waited_for(monkeypatch):
    chunks, joined = Blocked(), []
    monkeypatch.setattr(
        threading.Thread, "join", lambda thread, timeout=None: joined.append(timeout)
    )
    net().fit(chunks, epochs=1, time_limit=0.05)
    chunks.let.set()
    assert max(joined) <= 0.05


def test_steps_begin_when_there_is_a_batch():
    """Whatever else is to come: here nothing, before the first steps are made."""
    made, asked = threading.Event(), []

    def blocks():
        yield X, Y
        asked.append(made.wait(60))
        yield X, Y

    calls = [fastbp.each_step(lambda event: made.set())]
    net().fit(
        fastbp.data.from_iterable(blocks, n_features=4), epochs=1, batch_size=8, callbacks=calls
    )
    assert asked == [True]


def test_seconds_hold_the_waiting():
    def blocks():
        for _ in range(3):
            time.sleep(0.1)
            yield X, Y

    history = net().fit(fastbp.data.from_iterable(blocks, n_features=4), epochs=1)
    assert history.seconds >= 0.29
    assert history.samples_per_second <= 180 / 0.29
    assert net().fit(Endless(0, 0.01), time_limit=0.1).samples_per_second == 0


def test_a_batch_of_more_rows_than_there_are():
    """Also where their number is not known; later epochs may have more."""
    lengths = iter([30, 60, 45])

    def blocks():
        n = next(lengths)
        yield X[:n], Y[:n]

    first, second = net(), net()
    chunks = fastbp.data.from_iterable(blocks, n_features=4)
    history = first.fit(chunks, epochs=3, batch_size=10**12, shuffle=False, seed=0)
    assert history.epochs == 3 and history.samples == 135
    resumed = None
    for n in (30, 60, 45):
        part = Own(blocks=[(X[:n], Y[:n])])
        resumed = second.fit(part, epochs=1, batch_size=64, shuffle=False, resume=resumed, seed=0)
    assert_array_equal(first.parameters, second.parameters)


def test_blocks_that_can_be_read_once():
    once = iter([(X, Y)])
    with pytest.raises(ValueError, match=r"epoch 1 of the chunks has none .*read anew each epoch"):
        net().fit(fastbp.data.from_iterable(lambda: once, n_features=4), epochs=2)
