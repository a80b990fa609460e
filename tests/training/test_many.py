"""`fit_many`: each network ends as its own `fit` would leave it, to the bit.

What belongs here: arguments that differ, rows, threads, groups in lanes, refills, divergence,
refusals. What does not: the kernels of lanes (kernels/test_lanes.py), Ctrl-C and kills
(promises/test_interruption.py, files/test_checkpoint.py).
"""

import inspect
import threading
import time
import tracemalloc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp import schedules
from fastbp.training import driver, lanes, many
from fastbp.training.crew import Crew

pytestmark = pytest.mark.threaded
rng = np.random.default_rng(0)
N = 70
X = rng.standard_normal((N, 5))
CLASSES = rng.integers(0, 3, N)
REAL = rng.standard_normal((N, 2))
ONE = np.sin(X[:, :1])
SIGNS = (X[:, 0] > 0).astype(float)[:, None]

# What is trained: sizes, options of Network, targets. The first ones go into lanes.
KINDS = {
    "softmax": ([5, 7, 3], {"activation": "tanh"}, CLASSES),
    "softmax, dense": ([5, 9, 3], {"activation": "relu", "loss": "kl"}, np.eye(3)[CLASSES]),
    "numbers": ([5, 17, 2], {"activation": "silu", "output": "identity", "loss": "mse"}, REAL),
    "one output": ([5, 33, 7, 1], {"output": "identity", "loss": "huber(0.3)"}, ONE),
    "sigmoid": ([5, 2, 1], {"output": "sigmoid", "loss": "binary_cross_entropy"}, SIGNS),
    "one column": ([5, 1], {"output": "identity", "loss": "mse"}, ONE),
    "scale": ([5, fastbp.layers.Scale(), 6, 3], {"activation": "gelu"}, CLASSES),
    "coupled": ([5, 6, 3], {"activation": "layer_norm"}, CLASSES),
    "gaussian": ([5, 6, 4], {"output": "identity", "loss": "gaussian_nll"}, REAL),
}  # fmt: skip
OPTIMIZERS = [
    fastbp.SGD, fastbp.Adam, fastbp.AdamW, fastbp.AMSGrad, fastbp.RMSprop, fastbp.Adagrad,
    fastbp.Adadelta, fastbp.Lion, lambda r: fastbp.SGD(r, 0.9), lambda r: fastbp.SGD(r, 0.9, True),
    lambda r: fastbp.RMSprop(r, momentum=0.5), lambda r: fastbp.RMSprop(r, centered=True),
]  # fmt: skip


@pytest.fixture(autouse=True, params=[1, 5], ids=["lanes", "lanes of five and more"])
def fewest(request, monkeypatch):
    """Groups go into lanes here also where that is slower; or their last ones go on alone."""
    monkeypatch.setattr(lanes, "fewest", lambda request_: request.param)
    return request.param


def networks(kind="softmax", n=5, dtype="float32"):
    sizes, options, _ = KINDS[kind]
    return [fastbp.Network(sizes, dtype=dtype, seed=i, **options) for i in range(n)]


def one_by_one(nets, X, Y, rows=None, **options):
    """The single fits that a call of fit_many stands for, and what they leave."""
    histories = []
    for i, net in enumerate(nets):
        own = {
            name: value[i] if isinstance(value, list) else value for name, value in options.items()
        }
        of_net = [part[i] if isinstance(part, list) else part for part in (X, Y)]
        if rows is not None:
            everybody = np.arange(of_net[0].shape[0])
            at = everybody[rows[i]]
            if own.get("validation") == "rest":
                rest = np.setdiff1d(everybody, at)
                own["validation"] = tuple(part[rest] for part in of_net)
                if own.get("sample_weight") is not None:
                    own["validation"] += (own["sample_weight"][rest],)
            if own.get("sample_weight") is not None:
                own["sample_weight"] = own["sample_weight"][at]
            of_net = [part[at] for part in of_net]
        histories.append(net.fit(*of_net, **own))
    return histories


def assert_same(nets, histories, singles, expected):
    for i, (net, history, single, other) in enumerate(
        zip(nets, histories, singles, expected, strict=True)
    ):
        told = f"network {i}"
        assert_array_equal(net.parameters, single.parameters, told)
        assert list(history) == list(other), told
        for name in history:
            if name != "seconds":
                assert_array_equal(history[name], other[name], f"{told}: {name}")
        assert history.state.position == other.state.position, told
        assert_array_equal(history.state.slots, other.state.slots, told)
        assert history.samples == other.samples


def compare(kind="softmax", n=5, dtype="float32", X=X, Y=None, threads=None, **options):
    Y = KINDS[kind][2] if Y is None else Y
    nets, singles = networks(kind, n, dtype), networks(kind, n, dtype)
    options = {"epochs": 3, "batch_size": 8, "seed": 3} | options
    histories = fastbp.fit_many(nets, X, Y, threads=threads, **options)
    X = list(X) if isinstance(X, np.ndarray) and X.ndim == 3 else X
    assert_same(nets, histories, singles, one_by_one(singles, X, Y, **options))
    return nets, histories


def goes_into_lanes(nets, Y, **options):
    call = many.Call(nets, X, Y, None, {"seed": 0} | options)
    return [lanes.key_of(member.request()) is not None for member in call.members]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_each_is_as_if_alone(kind, dtype, level):
    n = 19  # more than there are lanes
    compare(kind, n, dtype, optimizer=[fastbp.SGD(0.01 * (i + 1)) for i in range(n)],
            epochs=[1 + i % 4 for i in range(n)], seed=list(range(n)))  # fmt: skip


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer, level):
    compare("numbers", 17, optimizer=[optimizer(10.0**-k) for k in np.linspace(1, 3, 17)])


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_any_number_of_threads(threads):
    compare("softmax", 40, threads=threads, epochs=[1 + i % 5 for i in range(40)])


OWN = {  # an option of which five networks have their own
    "l2": [0.0, 0.1, 1.0, 0.0, 0.3],
    "l1": [0.0, 0.1, 0.0, 0.5, 0.2],
    "both": {"l2": [0.0, 0.3, 0.0, 1.0, 0.1], "l1": [0.1, 0.0, 0.0, 0.1, 0.2]},
    "batch_size": [1, 7, 8, 70, 1000],
    "clip_value": [None, 0.01, 0.1, None, 1.0],
    "clip_norm": [None, 0.01, 0.1, None, 1.0],
    "dropout": [[0.0], [0.5], [0.1, 0.2], [0.0, 0.3], [0.9]],
    "ema": [None, 0.9, 0.99, 0.5, None],
    "shuffle": [True, False, True, lambda epoch, n: np.arange(n)[::-1], False],
    "drop_last": [True, False, True, True, False],
    "schedule": [
        None, schedules.Cosine(), schedules.Exponential(0.9), lambda epoch: 0.1 / (epoch + 1),
        schedules.OneCycle(0.1),
    ],
    "steps": {"schedule": [
        {"learning_rate": schedules.Cosine(each="step")}, None,
        {"dropout": schedules.Cosine(each="step")} , schedules.Cosine(each="step"),
        schedules.Exponential(0.9),
    ], "dropout": 0.1},
    "early_stopping": [
        None, *(fastbp.EarlyStopping(patience=k, monitor="loss") for k in range(1, 5)),
    ],
    "class_weight": [None, "balanced", {0: 2.0}, {1: 0.0, 2: 3.0}, "balanced"],
    "label_smoothing": [0.0, 0.1, 0.0, 0.3, 0.1],
    "rates": [None, {"b*": 0.1}, {"W1": 0.0}, {"*": 0.0, "W2": 1.0}, {"b1": 3.0}],
    "decays": {"decays": [None, {"b*": 1.0}, {"W1": 0.0}, {"*": 0.5}, None], "l2": 0.3},
    "validation": [None, 0.2, 0.5, (X[:9], CLASSES[:9]), 0.3],
    "sample_weight": [None, *(rng.uniform(0, 2, N) for _ in range(4))],
    "optimizer": ["adam", "sgd", fastbp.Adam(0.1), fastbp.AdamW(0.01, weight_decay=0.1), None],
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_an_option_may_differ(name, level):
    options = OWN[name] if isinstance(OWN[name], dict) else {name: OWN[name]}
    compare("softmax", optimizer=options.pop("optimizer", fastbp.SGD(0.3)), epochs=4, **options)


WATCHED = {
    "numbers": ("numbers", {}),
    "classes": ("softmax", {}),
    "by accuracy": ("softmax", {"monitor": "validation_accuracy"}),
    "by loss": ("softmax", {"monitor": "loss", "min_delta": 0.01}),
    "one": ("one output", {"min_delta": 0.001}),
}


@pytest.mark.parametrize("sync_seconds", [0.0, driver.SYNC_SECONDS])
@pytest.mark.parametrize("patience", [1, 2, 9])
@pytest.mark.parametrize("watched", WATCHED)
def test_runs_end_at_the_epoch_that_stops_them(watched, patience, sync_seconds, level, monkeypatch):
    """Epochs are made and judged several at a time; those behind the end leave no trace.

    A second between copies may be over anywhere, on a machine that others use.
    """
    monkeypatch.setattr(driver, "SYNC_SECONDS", sync_seconds)
    kind, options = WATCHED[watched]
    n = 22
    _, histories = compare(
        kind, n, epochs=[17 + i for i in range(n)], validation=0.3, threads=2,
        early_stopping=fastbp.EarlyStopping(patience=patience, **options),
        optimizer=[fastbp.Adam(10 ** -(0.5 + i / 10)) for i in range(n)],
        seed=list(range(n)), metrics="mse" if kind == "numbers" else None,
    )  # fmt: skip
    ends = {history.epochs for history in histories}
    assert len(ends) > 1 and (min(ends) < 17 or patience == 9)


def test_metrics_and_callbacks_may_differ():
    seen = []

    def watch(name):
        return lambda event: seen.append((name, event.epoch)) or (name == 1 and event.epoch == 1)

    several = [["accuracy"], ["balanced_accuracy", "accuracy"], {"one": lambda y, a: 1.0}]
    _, histories = compare("softmax", 3, metrics=several, validation=0.3,
                           callbacks=[[watch(0)], [watch(1)], []], epochs=4)  # fmt: skip
    assert [history.epochs for history in histories] == [4, 2, 4]
    assert "validation_one" in histories[2] and "validation_accuracy" not in histories[2]
    assert {(0, 3), (1, 1)} <= set(seen) and (1, 2) not in seen
    everybody = []
    fastbp.fit_many(networks(n=3), X, CLASSES, callbacks=[everybody.append], epochs=2)
    assert len(everybody) == 6 and len({id(event.network) for event in everybody}) == 3


def test_what_a_callback_writes_is_trained_on(level):
    def halve(event):
        event.network.parameters[...] *= 0.5

    Y = KINDS["softmax"][2]
    nets, singles = networks(n=20), networks(n=20)
    options = {"optimizer": fastbp.Adam(0.01), "epochs": 3, "callbacks": [halve], "seed": 0}
    histories = fastbp.fit_many(nets, X, Y, **options)
    expected = [net.fit(X, Y, **options) for net in singles]
    assert_same(nets, histories, singles, expected)


ROWS = {
    "folds": [np.setdiff1d(np.arange(N), np.arange(i, N, 5)) for i in range(5)],
    "bootstraps": [rng.integers(0, N, N) for _ in range(5)],
    "groups": [rng.permutation(N)[: 1 + 15 * i] for i in range(5)],
    "one of all": [np.full(3, 4)] * 5,
    "mask": rng.random((5, N)) < 0.5,
}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows", ROWS)
def test_rows_are_as_if_they_were_copied(rows, shuffle, level):
    weight = rng.uniform(0.5, 2, N)
    compare("softmax", rows=ROWS[rows], validation="rest", sample_weight=weight, shuffle=shuffle,
            l2=0.1, early_stopping=fastbp.EarlyStopping(patience=2), epochs=5,
            optimizer=fastbp.Adam(0.05))  # fmt: skip
    compare("coupled", rows=ROWS[rows], l2=0.1, dropout=0.2, class_weight="balanced")


def test_rows_of_sparse_data():
    sparse = pytest.importorskip("scipy.sparse")
    dense = np.where(rng.random((N, 5)) < 0.4, X, 0.0)
    dense[3] = X[3]  # the longest row, which occurs three times in a batch
    rows = [np.array([3, 3, 3, 1, 2]), *ROWS["bootstraps"][1:]]
    compare("softmax", X=sparse.csr_array(dense), rows=rows, batch_size=3, validation="rest")


def test_data_of_each():
    Xs = [X[: 10 + 9 * i] for i in range(5)]
    compare("softmax", X=Xs, Y=[CLASSES[: len(part)] for part in Xs], epochs=[5, 4, 3, 2, 1])
    compare("numbers", X=np.stack([X, X + 1, X * 2, X, X]), Y=[REAL * i for i in range(5)])
    compare("numbers", Y=[REAL * i for i in range(5)])
    compare("softmax", X=[part.tolist() for part in Xs], Y=[CLASSES[: len(x)] for x in Xs])


@pytest.mark.parametrize("options", [{"class_weight": "balanced"}, {"label_smoothing": 0.1}])
def test_data_of_each_with_targets_in_common(options):
    """What is made of the targets is shared by networks of the same X alone."""
    one_hot = np.eye(3, dtype=np.float32)[CLASSES]  # which is read as it is, and not copied
    compare("softmax, dense", 3, X=[X, X + 1, X * 2], Y=[one_hot] * 3, **options)


def test_each_finds_its_own_columns_in_validation_data():
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame(dict(zip("abcde", X.T, strict=True)))
    nets, singles = networks(n=2), networks(n=2)
    for net in (nets[1], singles[1]):
        net.metadata = {"columns": list("edcba")}
    options = {"epochs": 2, "seed": 0, "validation": (frame, CLASSES)}
    histories = fastbp.fit_many(nets, [X, X], [CLASSES] * 2, **options)
    expected = [net.fit(X, CLASSES, **options) for net in singles]
    assert_same(nets, histories, singles, expected)


def test_groups_of_several_shapes_and_kinds(level):
    nets, singles = (
        [net for kind in ("softmax", "coupled", "scale") for net in networks(kind, 9)]
        for _ in range(2)
    )
    nets, singles = (sorted(both, key=lambda net: net.parameters[0]) for both in (nets, singles))
    options = {
        "optimizer": [OPTIMIZERS[i % 12](0.01) for i in range(27)],
        "batch_size": [(4, 9)[i % 2] for i in range(27)], "seed": 1, "epochs": 2,
    }  # fmt: skip
    histories = fastbp.fit_many(nets, X, CLASSES, **options)
    assert_same(nets, histories, singles, one_by_one(singles, X, CLASSES, **options))


def test_a_thread_that_comes_when_others_have_taken_all():
    """Between its look at who waits and its group, another thread may have been quicker."""
    call = many.Call(networks(n=9), X, CLASSES, None, {"seed": 0, "epochs": 2})
    crew = Crew([member.request() for member in call.members], 2, halts=lambda error: True)
    (queue,) = crew.groups
    taken = [queue.waiting.popleft() for _ in range(9)]
    lanes.Group(crew, queue).drive()
    assert not queue.waiting and not any(outcome.loop for outcome in taken)


def test_seeds():
    twins = [fastbp.Network([5, 4, 3], seed=0) for _ in range(3)]
    fastbp.fit_many(twins, X, CLASSES, seed=7, epochs=2)
    assert_array_equal(twins[0].parameters, twins[2].parameters)
    fastbp.fit_many(twins, X, CLASSES, epochs=2)
    assert (twins[0].parameters != twins[1].parameters).any()


def test_resumed():
    nets, singles = networks(n=20), networks(n=20)
    options = {"optimizer": fastbp.Adam(0.02), "seed": 1, "batch_size": 8}
    first = fastbp.fit_many(nets, X, CLASSES, epochs=2, **options)
    histories = fastbp.fit_many(nets, X, CLASSES, epochs=3, resume=first, **options)
    assert_same(nets, histories, singles, one_by_one(singles, X, CLASSES, epochs=5, **options))


def test_no_epochs_are_made_after_the_time(level):
    nets = networks(n=30)
    before = [net.parameters.copy() for net in nets]
    histories = fastbp.fit_many(nets, X, CLASSES, epochs=10**7, time_limit=0.3, threads=2)
    assert max(history.seconds for history in histories) < 3
    assert sum((net.parameters != old).any() for net, old in zip(nets, before, strict=True)) > 0


# divergence


def wild(n=20, at=(3, 11)):
    nets = networks("numbers", n, "float64")
    rates = [fastbp.SGD(1e4 if i in at else 0.01) for i in range(n)]
    return nets, {"optimizer": rates, "epochs": 30, "seed": 2, "batch_size": 8}


@pytest.mark.parametrize("threads", [1, 2])
def test_one_that_diverges_ends_alone(threads, level):
    nets, options = wild()
    singles, _ = wild()
    histories = fastbp.fit_many(nets, X, REAL, threads=threads, **options)
    for i, (net, single, history) in enumerate(zip(nets, singles, histories, strict=True)):
        own = options | {"optimizer": options["optimizer"][i]}
        error = None
        try:
            single.fit(X, REAL, **own)
        except fastbp.DivergenceError as found:
            error = found
        assert (error is not None) == (i in (3, 11))
        assert_array_equal(net.parameters, single.parameters, str(i))
        assert str(history.error) == str(error)
        assert np.isfinite(net.parameters).all()
        if error is not None:
            assert history.error.step == error.step == history.state.position.step


def test_divergence_raises_where_that_is_asked_for():
    nets, options = wild()
    with pytest.raises(fastbp.DivergenceError, match="diverged at step"):
        fastbp.fit_many(nets, X, REAL, raise_on_divergence=True, **options)
    assert all(np.isfinite(net.parameters).all() for net in nets)


def test_an_error_of_a_callback_ends_all():
    def fail(event):
        raise KeyError("mine")

    nets = networks(n=20)
    with pytest.raises(KeyError, match="mine"):
        fastbp.fit_many(nets, X, CLASSES, callbacks=[[fail], *[[]] * 19], epochs=10**6)
    assert threading.active_count() < 10


def test_callbacks_are_called_one_at_a_time():
    inside, most = [], []

    def watch(event):
        inside.append(event)
        most.append(len(inside))
        for _ in range(200):
            len(inside)
        inside.pop()

    fastbp.fit_many(networks(n=8), X, CLASSES, callbacks=[watch], epochs=20, threads=4)
    assert len(most) == 160 and max(most) == 1


# refusals


class Odd:
    pass


REFUSED = {
    "no networks": ({"networks": []}, ValueError, "networks: expected at least one; got none"),
    "a network": ({"networks": networks(n=1)[0]}, TypeError, "networks: expected a list"),
    "no network": ({"networks": [1, 2]}, TypeError, r"networks\[0\]: expected a Network; got 1"),
    "mixed dtype": (
        {"networks": [*networks(n=1), *networks(n=1, dtype="float64")]}, TypeError,
        r"networks: expected one dtype for one X; got float32 and float64 \(networks\[1\]\)",
    ),
    "few": ({"l2": [0.1, 0.2]}, ValueError, "l2: expected one for each of the 5 networks; got 2"),
    "few epochs": ({"epochs": [1] * 6}, ValueError, "epochs: expected one for each of the 5"),
    "few dropout": ({"dropout": [[0.1]] * 4}, ValueError, "dropout: expected one for each of"),
    "array": ({"l2": np.ones(3)}, ValueError, "l2: expected one for each of the 5 networks; got 3"),
    "progress": ({"progress": [True] * 5}, TypeError, "progress: expected one for the whole call"),
    "checkpoint": ({"checkpoint": ["a"] * 5}, TypeError, "checkpoint: expected one for the whole"),
    "time": ({"time_limit": [1.0] * 5}, TypeError, "time_limit: expected one for the whole call"),
    "missing": ({"ignore_missing": [True] * 5}, TypeError, "ignore_missing: expected one for the"),
    "unknown": ({"epoch": 3}, TypeError, "fit_many: unexpected argument 'epoch'. Did you mean"),
    "comm": ({"comm": Odd()}, TypeError, "fit_many: unexpected argument 'comm'"),
    "lbfgs": ({"optimizer": ["adam"] * 4 + ["lbfgs"]}, ValueError,
              r"optimizer: expected one of steps in fit_many; got LBFGS.*networks\[4\]"),
    "few rows": ({"rows": [[0]]}, ValueError, "rows: expected one for each of the 5 networks"),
    "empty rows": ({"rows": [[0]] * 4 + [[]]}, ValueError, r"rows\[4\]: expected at least one row"),
    "range": ({"rows": [[0]] * 4 + [[N]]}, ValueError, rf"rows\[4\]: expected rows 0..{N - 1}"),
    "negative": ({"rows": [[-1]] * 5}, ValueError, rf"rows\[0\]: expected rows 0..{N - 1}; got -1"),
    "odd rows": ({"rows": [[0.5]] * 5}, TypeError, r"rows\[0\]: expected row numbers"),
    "one row list": ({"rows": np.arange(5)}, ValueError, "rows: expected an index array for each"),
    "a mask": ({"rows": np.ones((5, N - 1), bool)}, ValueError, r"rows\[0\]: expected a mask of"),
    "no rows left": ({"rows": [np.arange(N)] * 5, "validation": "rest"}, ValueError,
                     f"validation: expected rows left over for 'rest'; got all {N}"),
    "rest": ({"validation": "rest"}, ValueError, "validation: expected rows with 'rest'; got none"),
    "few X": ({"X": [X, X]}, ValueError, "X: expected one for each of the 5 networks"),
    "few Y": ({"X": [X] * 5}, ValueError, "Y: expected one for each of the 5 networks"),
    "bad option": ({"l2": [0.1, 0.2, -1, 0, 0]}, ValueError, r"l2: expected .*networks\[2\]"),
    "weights": ({"rows": [[0]] * 5, "sample_weight": np.arange(N) * 1.0}, ValueError,
                "sample_weight: expected at least one weight above 0 among the network's rows"),
    "threads": ({"threads": 0}, ValueError, "threads: expected"),
    "flag": ({"raise_on_divergence": 1}, TypeError, "raise_on_divergence: expected True or False"),
    "sparse list": ({"X": X[:, :4]}, ValueError, "X: expected 5 columns; got 4"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_changes_nothing(case):
    changed, kind, message = REFUSED[case]
    nets = changed.get("networks", networks())
    arguments = {"networks": nets, "X": X, "Y": CLASSES} | changed
    before = [net.parameters.copy() for net in nets] if isinstance(nets, list) and (
        nets and isinstance(nets[0], fastbp.Network)) else []  # fmt: skip
    with pytest.raises(kind, match=message):
        fastbp.fit_many(**arguments)
    for net, old in zip(nets if before else [], before, strict=True):
        assert_array_equal(net.parameters, old)


def test_the_same_network_twice_is_refused():
    nets = networks(n=3)
    with pytest.raises(ValueError, match=r"networks\[2\]: expected each network once; got netw"):
        fastbp.fit_many([*nets[:2], nets[0]], X, CLASSES)


def test_the_signature_names_every_option():
    known = inspect.signature(fastbp.fit_many).parameters
    of_one = {"net", "comm", "shard", "sync_every"}
    assert set(inspect.signature(fastbp.training.fit).parameters) - of_one <= set(known)
    assert known["epochs"].default == 30


# memory, and what is told


def test_X_is_not_copied_for_each():
    n, big = 24, rng.standard_normal((20_000, 40)).astype(np.float32)  # 3.2 MB
    nets = [fastbp.Network([40, 4, 1], output="identity", loss="mse", seed=i) for i in range(n)]
    rows = [np.flatnonzero(rng.random(len(big)) < 0.8) for _ in range(3)] * 8
    y = big[:, :1] * 2
    tracemalloc.start()
    fastbp.fit_many(nets, big, y, rows=rows, epochs=1, batch_size=256, threads=2, validation="rest")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    indices = sum(part.nbytes for part in rows)
    # three parts are held out, once each; an order for each run at hand
    assert peak < 0.8 * big.nbytes + 2 * indices + 16e6


def test_the_memory_of_a_run_goes_with_it():
    """Work areas and padded copies are there for as many networks as train at once."""
    big, n = rng.standard_normal((512, 40)).astype(np.float32), 24
    nets = [fastbp.Network([40, 300, 1], output="identity", loss="mse", seed=i) for i in range(n)]
    options = {"epochs": 1, "batch_size": 512, "clip_norm": 1.0}  # which is not for lanes
    fastbp.fit_many(nets[:2], big, big[:, :1], threads=2, **options)
    tracemalloc.start()
    histories = fastbp.fit_many(nets, big, big[:, :1], threads=2, **options)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    kept = sum(history.state.slots.nbytes + net.parameters.nbytes
               for net, history in zip(nets, histories, strict=True))  # fmt: skip
    work = 512 * (3 * 304 + 100) * 4  # of one
    assert peak < 1.1 * kept + 4 * work


def test_progress_is_told(capsys):
    fastbp.fit_many(networks(n=3), X, CLASSES, epochs=2, progress=True, validation=0.2)
    told = capsys.readouterr().err
    assert "3/3" in told and "best validation_loss" in told


def test_held_out_rows_are_not_copied_for_each():
    n, big = 40, rng.standard_normal((20_000, 20)).astype(np.float32)  # 1.6 MB
    nets = [fastbp.Network([20, 4, 1], output="identity", loss="mse", seed=i) for i in range(n)]
    rows = [np.arange(i, i + 100) for i in range(n)]
    tracemalloc.start()
    fastbp.fit_many(nets, big, big[:, :1], rows=rows, epochs=1, validation="rest", threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # of the runs at hand the numbers of the rows, outputs and costs
    assert peak < 34 * 20_000 * 16 + 4e6 < 40 * big.nbytes


def test_missing_targets_of_a_networks_own_rows():
    Y = REAL.copy()
    Y[:10] = np.nan
    nets = networks("numbers", 2)
    options = {"ignore_missing": True, "epochs": 2, "seed": 0}
    with pytest.raises(ValueError, match="Y: expected at least one target that is not missing"):
        fastbp.fit_many(nets, X, Y, rows=[range(40), range(10)], **options)
    compare("numbers", 3, Y=Y, rows=[np.arange(40), np.arange(5, 30), np.arange(60)], **options)


def test_read_only_parameters_are_refused_before_any_is_trained():
    nets = networks(n=3)
    before = nets[0].parameters.copy()
    nets[2].parameters.setflags(write=False)
    with pytest.raises(ValueError, match=r"networks: expected parameters that can be written"):
        fastbp.fit_many(nets, X, CLASSES, epochs=1)
    assert_array_equal(nets[0].parameters, before)


def test_an_end_asked_for_does_not_wait_for_the_others_callbacks():
    def slow(event):
        time.sleep(0.02)
        if event.epoch == 1:
            raise KeyError("mine")

    began = time.monotonic()
    with pytest.raises(KeyError):
        fastbp.fit_many(networks(n=16), X, CLASSES, callbacks=[slow], epochs=10, threads=1)
    assert time.monotonic() - began < 16 * 0.02 + 1


@pytest.mark.parametrize(("kind", "expected"), [("softmax", True), ("coupled", False)])
def test_which_go_into_lanes(kind, expected):
    nets = networks(kind)
    if not hasattr(nets[0]._doors, "Lanes"):
        pytest.skip("not built")
    assert goes_into_lanes(nets, KINDS[kind][2]) == [expected] * 5
    for options in ({"ema": 0.9}, {"clip_norm": 1.0}, {"shuffle": lambda e, n: np.arange(n)}):
        assert goes_into_lanes(nets, KINDS[kind][2], **options) == [False] * 5
