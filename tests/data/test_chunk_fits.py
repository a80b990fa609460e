"""`fit` on chunks has the bits of `fit` in memory, in the same order.

What belongs here: parameters and History by every option, where blocks and batches begin, resumed
runs. What does not: refusals and ends (test_chunk_errors.py), files (test_parquet.py).
"""

import os
import signal
import subprocess
import sys
from itertools import pairwise

import numpy as np
import pytest
from cases import DTYPES, OPTIMIZERS, SIZES
from chunk_cases import assert_no_readers, order_of

import fastbp
import fastbp.data
from fastbp import schedules
from fastbp.training import windows

N = 203


def data(n=N, k=5, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, k)), rng.integers(0, 3, n), rng.random(n)


def net(dtype="float32", k=5, **options):
    return fastbp.Network([k, 9, 3], dtype=dtype, seed=1, **options)


def both(chunks_of, memory, streamed, n=N, seed=3, **options):
    """Fits the first in memory and the second on chunks, in one order; their Histories."""
    X, Y, w = data(n)
    numbers = chunks_of(np.arange(float(n))[:, None], Y, w)
    options = {"batch_size": 10, "epochs": 3, "seed": seed} | options
    drawn = options.pop("shuffle", True)
    order = order_of(numbers, n, seed) if drawn else False
    weighted = getattr(numbers, "weight", None) is not None
    told = {"sample_weight": w} if weighted else {}
    first = memory.fit(X, Y, shuffle=order, **told, **options)
    second = streamed.fit(chunks_of(X, Y, w), shuffle=drawn, **options)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()
    for name in {*first, *second} - {"seconds"}:
        assert first[name].tobytes() == second[name].tobytes(), name
    assert_no_readers()
    return first, second


def weighted(rows=40, buffer=64):
    return lambda X, Y, w: fastbp.data.from_arrays(X, Y, w, rows=rows, shuffle_buffer=buffer)


def plain(rows=40, buffer=64):
    return lambda X, Y, w: fastbp.data.from_arrays(X, Y, rows=rows, shuffle_buffer=buffer)


@pytest.fixture(params=["gathered", "where they lie"], autouse=True)
def large(request, monkeypatch):
    """Blocks of any size count as large ones, or none does."""
    if request.param == "where they lie":
        monkeypatch.setattr(windows, "SMALL_BYTES", 0)
    else:
        monkeypatch.setattr(windows, "GATHERED_BYTES", 3000)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_bits_of_every_optimizer(optimizer, dtype):
    options = {"optimizer": OPTIMIZERS[optimizer][0]}
    both(weighted(), net(dtype), net(dtype), **options)


@pytest.mark.parametrize("batch_size", [1, 7, 40, 64, 203, 500])
@pytest.mark.parametrize("buffer", [1, 9, 33, 203, 1000])
@pytest.mark.parametrize("drop_last", [False, True])
def test_bits_wherever_blocks_and_batches_begin(batch_size, buffer, drop_last):
    both(plain(17, buffer), net(), net(), batch_size=batch_size, drop_last=drop_last, epochs=2)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("batch_size", SIZES)
def test_bits_of_few_rows(n, batch_size):
    both(plain(3, 4), net(), net(), n=n, batch_size=batch_size)


@pytest.mark.parametrize(
    "options",
    [
        {"shuffle": False},
        {"l2": 0.3, "l1": 0.1},
        {"clip_norm": 0.1, "clip_value": 0.05},
        {"dropout": [0.2, 0.5]},
        {"ema": 0.9},
        {"class_weight": {0: 2.0, 2: 0.5}},
        {"class_weight": "balanced"},
        {"label_smoothing": 0.1},
        {"schedule": schedules.Cosine(each="step")},
        {"schedule": schedules.InverseScaling()},
        {"schedule": {"dropout": schedules.Exponential(0.5)}, "dropout": 0.5},
        {"rates": {"W1": 0.0}, "decays": {"b*": 1.0}, "l2": 0.1},
        {"threads": 2},
        {"batch_size": 64, "threads": 2},
        {"callbacks": [fastbp.each_step(lambda event: event.step == 25)]},
        {"early_stopping": fastbp.EarlyStopping(1, monitor="loss"), "epochs": 9},
    ],
    ids=" ".join,
)
def test_bits_of_every_option(options):
    both(weighted(), net(), net(), **options)


def test_validation_of_arrays_and_of_chunks():
    X, Y, w = data(50, seed=9)
    metrics = ["accuracy", "balanced_accuracy"]
    parts = [slice(0, 7), slice(7, 7), slice(7, 50)]
    held_out = fastbp.data.from_iterable(
        lambda: ((X[part], Y[part], w[part]) for part in parts), n_features=5
    )
    first, second = net(), net()
    stopping = fastbp.EarlyStopping(2, monitor="validation_loss")
    both(weighted(), first, second, validation=(X, Y, w), metrics=metrics, early_stopping=stopping)
    seen = []
    third = net()
    history = third.fit(
        weighted()(*data()), validation=held_out, metrics=metrics, early_stopping=stopping,
        batch_size=10, epochs=3, seed=3, callbacks=[lambda e: seen.append(e.outputs)],
    )  # fmt: skip
    memory = net().fit(
        weighted()(*data()), validation=(X, Y, w), metrics=metrics, early_stopping=stopping,
        batch_size=10, epochs=3, seed=3,
    )  # fmt: skip
    assert third.parameters.tobytes() == first.parameters.tobytes()
    for name in ("validation_loss", "validation_accuracy", "validation_balanced_accuracy"):
        assert history[name].tobytes() == memory[name].tobytes()
    assert seen[0].shape == (50, 3)


def test_numbers_with_missing_targets():
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((90, 3)), rng.standard_normal((90, 2))
    Y[10:40] = np.nan  # whole chunks of them
    Y[50, 1] = np.nan
    nets = [fastbp.Network([3, 4, 2], output="identity", loss="mse", seed=0) for _ in range(2)]
    options = {"shuffle": False, "batch_size": 8, "epochs": 2, "ignore_missing": True}
    first = nets[0].fit(X, Y, **options)
    second = nets[1].fit(fastbp.data.from_arrays(X, Y, shuffle_buffer=10), **options)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    assert first["loss"].tobytes() == second["loss"].tobytes()


def test_weights_of_zero_in_whole_chunks():
    X, Y, w = data()
    w[20:100] = 0
    nets = net(), net()
    nets[0].fit(X, Y, sample_weight=w, shuffle=False, batch_size=10, epochs=2)
    chunks = fastbp.data.from_arrays(X, Y, w, shuffle_buffer=16)
    nets[1].fit(chunks, shuffle=False, batch_size=10, epochs=2)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


@pytest.mark.parametrize("optimizer", [fastbp.SGD(0.1), fastbp.Adam(0.01)], ids=str)
def test_sparse_blocks_whose_batches_grow(optimizer):
    sparse = pytest.importorskip("scipy.sparse")
    rng = np.random.default_rng(0)
    density = np.repeat([0.01, 0.05, 0.4, 0.1], 60)  # the first batch's lists are the shortest
    X = (rng.random((240, 40)) < density[:, None]) * rng.standard_normal((240, 40))
    X, Y = sparse.csr_array(X), rng.integers(0, 3, 240)
    nets = net(k=40), net(k=40)
    options = {"optimizer": optimizer, "batch_size": 16, "epochs": 3, "ema": 0.9}
    first = nets[0].fit(X, Y, shuffle=False, **options)

    def blocks():
        for a, b in pairwise([0, 1, 50, 55, 100, 180, 240]):
            yield X[a:b], Y[a:b]

    second = nets[1].fit(fastbp.data.from_iterable(blocks, n_features=40), **options)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    assert first["loss"].tobytes() == second["loss"].tobytes()


def test_columns_of_zeros_in_some_chunks():
    rng = np.random.default_rng(0)
    X, Y = rng.random((400, 300)), rng.integers(0, 3, 400)
    X[100:300, 20:] = 0
    nets = net(k=300), net(k=300)
    options = {"optimizer": fastbp.SGD(0.1), "batch_size": 10, "epochs": 2, "shuffle": False}
    nets[0].fit(X, Y, **options)
    nets[1].fit(fastbp.data.from_arrays(X, Y, shuffle_buffer=50), **options)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


def test_blocks_that_are_written_again():
    X, Y, _ = data()
    room, targets = np.empty((29, 5), "float32"), np.empty(29, int)

    def blocks():
        for at in range(0, N, 29):
            m = min(29, N - at)
            room[:m], targets[:m] = X[at : at + m], Y[at : at + m]
            yield room[:m], targets[:m]
            room.fill(np.nan)

    nets = net(), net()
    nets[0].fit(X, Y, shuffle=False, epochs=2)
    nets[1].fit(fastbp.data.from_iterable(blocks, n_features=5, n_rows=N), epochs=2)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


def test_frames_as_blocks():
    pandas = pytest.importorskip("pandas")
    X, Y, _ = data()
    frame = pandas.DataFrame(X, columns=list("abcde"))
    chunks = fastbp.data.from_iterable(
        lambda: ((frame[at : at + 50], pandas.Series(Y[at : at + 50])) for at in range(0, N, 50)),
        n_features=5,
    )
    nets = net(), net()
    nets[0].fit(X, Y, shuffle=False, epochs=2)
    nets[1].fit(chunks, epochs=2)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


def test_orders_differ_by_epoch_and_seed_and_are_reproducible():
    chunks = weighted(10, 30)(np.arange(float(N))[:, None], *data()[1:])
    a, b = order_of(chunks, N, 0), order_of(chunks, N, 1)
    assert (a(0, N) == a(0, N)).all()
    assert (a(0, N) != a(1, N)).any()
    assert (a(0, N) != b(0, N)).any()


def test_rows_come_from_all_over_a_buffer():
    chunks = plain(10, 100)(np.arange(float(N))[:, None], *data()[1:])
    first = order_of(chunks, N, 0)(0, N)[:100]
    assert (np.diff(first) == 1).mean() < 0.1
    assert len({int(row) // 10 for row in first}) >= 10


@pytest.mark.parametrize("stop", [1, 7, 21, 22, 30])
@pytest.mark.parametrize("n_rows", [N, None])
def test_resumed_from_the_middle_of_an_epoch(stop, n_rows, tmp_path):
    """By `resume` and by a checkpoint, of a run that ended after any step."""

    def chunks():
        known = weighted()(*data())
        known.n_rows = n_rows
        return known

    options = {"batch_size": 10, "seed": 0, "optimizer": "adam"}
    whole, parts = net(), net()
    expected = whole.fit(chunks(), epochs=3, **options)
    ends = fastbp.each_step(lambda event: event.kind == "step" and event.step == stop)
    first = parts.fit(chunks(), epochs=3, callbacks=[ends], **options)
    assert first.state.position.step == stop
    second = parts.fit(chunks(), epochs=3 - first.epochs, resume=first, **options)
    assert whole.parameters.tobytes() == parts.parameters.tobytes()
    assert expected["loss"].tobytes() == second["loss"].tobytes()
    file, kept = tmp_path / "run.safetensors", net()

    def fails(event):
        if event.step == stop:
            raise LookupError

    with pytest.raises(LookupError):
        kept.fit(chunks(), epochs=3, callbacks=[fastbp.each_step(fails)], checkpoint=file, every=0,
                 **options)  # fmt: skip
    assert file.exists() == (stop > 1)
    kept = net()
    third = kept.fit(chunks(), epochs=3, checkpoint=file, **options)
    assert whole.parameters.tobytes() == kept.parameters.tobytes()
    assert expected["loss"].tobytes() == third["loss"].tobytes()


def test_resumed_with_other_rows_in_a_buffer():
    options = {"batch_size": 10, "seed": 0, "epochs": 1}
    network = net()
    first = network.fit(weighted()(*data()), **options)
    with pytest.raises(ValueError, match=r"resume: expected the same shuffle .* 64\); got .* 65\)"):
        network.fit(weighted(buffer=65)(*data()), resume=first, **options)


KILLED = """
import sys, numpy as np, fastbp, fastbp.data
sys.path.insert(0, {folder!r})
import test_chunk_fits as t
def wait(event):
    if event.step >= 30 and {wait}:
        print("here", flush=True); sys.stdin.read()
calls = [fastbp.each_step(wait)]
network = t.net()
network.fit(t.weighted()(*t.data()), epochs=3, batch_size=10, seed=0, checkpoint={path!r}, every=0,
            callbacks=calls)
print(network.parameters.tobytes().hex())
"""


def test_killed_and_gone_on_with(tmp_path):
    path, folder = str(tmp_path / "run.safetensors"), os.path.dirname(__file__)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    program = KILLED.format(folder=folder, path=path, wait=True)
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        env=environment,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == b"here\n"
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    whole, resumed = net(), net()
    options = {"epochs": 3, "batch_size": 10, "seed": 0}
    whole.fit(weighted()(*data()), **options)
    history = resumed.fit(weighted()(*data()), checkpoint=path, **options)
    assert history.epochs == 3
    assert whole.parameters.tobytes() == resumed.parameters.tobytes()
    X, Y, w = data()
    other = fastbp.data.from_arrays(X[:, :5], Y, w, rows=41, shuffle_buffer=64)
    with pytest.raises(ValueError, match="expected the same data"):
        net().fit(other, checkpoint=path, **options)


def test_an_epoch_is_read_ahead_and_no_further():
    """Of blocks that are large, two are there: one trained on, one that was read."""
    X, Y, _ = data()
    made = []

    def blocks():
        for at in range(0, 200, 20):
            made.append(at)
            yield X[at : at + 20], Y[at : at + 20]

    seen = []

    def look(event):
        seen.append((event.step, len(made)))

    chunks = fastbp.data.from_iterable(blocks, n_features=5)
    net().fit(chunks, epochs=1, batch_size=7, callbacks=[fastbp.each_step(look)])
    if windows.SMALL_BYTES == 0:
        assert all(n <= (7 * step - 1) // 20 + 3 for step, n in seen), seen


@pytest.mark.parametrize("seed", range(15))
def test_any_blocks_and_options_and_a_run_resumed_anywhere(seed):
    rng = np.random.default_rng(seed)
    n, batch_size = int(rng.integers(1, 300)), int(rng.choice([1, 2, 7, 9, 16, 33, 64, 400]))
    X, Y, w = data(n, seed=seed)
    cuts = [0, *np.sort(rng.integers(0, n + 1, int(rng.integers(0, 12)))), n]
    known = bool(rng.random() < 0.5)
    chunks = fastbp.data.from_iterable(
        lambda: ((X[a:b], Y[a:b], w[a:b]) for a, b in pairwise(cuts)),
        n_features=5, n_rows=n if known else None,
    )  # fmt: skip
    options = {
        "batch_size": batch_size, "seed": 7, "shuffle": False, "dropout": 0.3 * (seed % 3 == 0),
        "drop_last": bool(seed % 2) and (known or n >= batch_size),
        "optimizer": str(rng.choice(["sgd", "adam", "adagrad", "lion"])),
    }  # fmt: skip
    memory, streamed, parts = net(), net(), net()
    first = memory.fit(X, Y, sample_weight=w, epochs=3, **options)
    second = streamed.fit(chunks, epochs=3, **options)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()
    assert first["loss"].tobytes() == second["loss"].tobytes()
    assert first.samples == second.samples
    stop = int(rng.integers(1, second.state.position.step + 1))
    ends = fastbp.each_step(lambda event: event.kind == "step" and event.step == stop)
    begun = parts.fit(chunks, epochs=3, callbacks=[ends], **options)
    if begun.epochs < 3:
        parts.fit(chunks, epochs=3 - begun.epochs, resume=begun, **options)
    assert memory.parameters.tobytes() == parts.parameters.tobytes()


def test_validation_of_chunks_beside_arrays(tmp_path):
    X, Y, _ = data()
    first, second = net(), net()
    held = fastbp.data.from_arrays(X[50:], Y[50:], rows=20)
    options = {"epochs": 2, "seed": 0, "checkpoint": tmp_path / "run"}
    streamed = first.fit(X[:50], Y[:50], validation=held, **options)
    options["checkpoint"] = None
    memory = second.fit(X[:50], Y[:50], validation=(X[50:], Y[50:]), **options)
    assert first.parameters.tobytes() == second.parameters.tobytes()
    np.testing.assert_allclose(
        streamed["validation_loss"],
        memory["validation_loss"],
        rtol=1e-6 if X.itemsize > 4 else 1e-4,
    )
    with pytest.raises(TypeError, match="chunks or a share"):
        first.fit(X, Y, validation=3)
    with pytest.raises(TypeError, match="validation: expected arrays, for chunks"):
        fastbp.fit_many([net()], X, Y, validation=held)
    with pytest.raises(ValueError, match=r"validation: expected .* with a loss of your own"):
        first.fit(X, Y, validation=held, loss=lambda a, y, w: (0.0, a))
