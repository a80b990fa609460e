"""What a run records, and the callbacks that watch it.

What belongs here: `History`, its picture, validation, callbacks. What does not: runs that end by
force (test_interruption.py), the numbers of a step (test_training.py).
"""

import copy
import itertools
import json
import math
import pickle
import sys
from collections.abc import Mapping
from importlib import import_module

import matplotlib
import numpy as np
import pytest

import fastbp

matplotlib.use("Agg")

rng = np.random.default_rng(0)
N = 60
X = rng.standard_normal((N, 3)).astype("f4")
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.5)
WEIGHT = rng.uniform(0.1, 2, N).astype("f4")
ALWAYS = ["loss", "learning_rate", "seconds"]
VALIDATED = ["validation_loss", "validation_accuracy"]


def network(**options):
    return fastbp.Network([3, 6, 3], **{"activation": "tanh", "seed": 0} | options)


def fit(net=None, targets=CLASSES, **options):
    net = network() if net is None else net
    return net.fit(X, targets, **{"epochs": 4, "seed": 1, "batch_size": 7} | options)


@pytest.fixture
def figure():
    from matplotlib import pyplot

    yield pyplot
    pyplot.close("all")


# the record


def test_arrays_by_name():
    history = fit(validation=0.25, optimizer=fastbp.SGD(0.5))
    assert isinstance(history, Mapping)
    assert sorted(history) == sorted(ALWAYS + VALIDATED) and len(history) == 5
    for name, array in history.items():
        assert isinstance(array, np.ndarray) and array.shape == (4,) and array.dtype == float
        assert name in history and np.isfinite(array).all()
    assert (history["learning_rate"] == 0.5).all()
    assert (np.diff(history["seconds"]) > 0).all() and history["seconds"][0] > 0
    assert history.epochs == 4 and 0 < history.seconds
    assert history.samples_per_second == pytest.approx(4 * 45 / history.seconds)
    assert "none" not in history and history.get("none") is None
    with pytest.raises(KeyError, match="none"):
        history["none"]
    history["loss"][0] = 99  # a copy
    assert history["loss"][0] != 99


def test_the_loss_is_the_mean_of_each_sample_before_its_update():
    data = network(dtype="float64")
    history = fit(data.copy(), optimizer=fastbp.SGD(0.0))
    assert history["loss"] == pytest.approx(data.loss(X, CLASSES), rel=1e-12)
    history = fit(data.copy(), optimizer=fastbp.SGD(0.0), sample_weight=WEIGHT)
    expected = data.loss(X, CLASSES, sample_weight=WEIGHT)
    assert history["loss"] == pytest.approx(expected, rel=1e-12)
    # penalties are not in it
    history = fit(data.copy(), optimizer=fastbp.SGD(0.0), l2=3.0, l1=1.0)
    assert history["loss"] == pytest.approx(data.loss(X, CLASSES), rel=1e-12)
    # after the first batch of two the second is taken with new parameters
    net, batch = data.copy(), slice(0, 30)
    optimizer = fastbp.SGD(0.5)
    history = fit(net, epochs=1, batch_size=30, shuffle=False, optimizer=optimizer)
    first = data.loss(X[batch], CLASSES[batch])
    data.fit(X[batch], CLASSES[batch], epochs=1, batch_size=30, shuffle=False, optimizer=optimizer)
    second = data.loss(X[30:], CLASSES[30:])
    assert history["loss"][0] == pytest.approx((first + second) / 2, rel=1e-12)


def test_to_dict_is_json():
    history = fit(validation=0.25)
    read = json.loads(json.dumps(history.to_dict(), allow_nan=False))
    assert read == {name: array.tolist() for name, array in history.items()}
    history.to_dict()["loss"].clear()
    assert history.epochs == 4


def test_repr_shows_the_last_epoch():
    history = fit(validation=0.25)
    text = repr(history)
    assert text.startswith("History(4 epochs: ")
    for name, array in history.items():
        assert f"{name} {array[-1]:.4g}" in text
    assert repr(fastbp.History()) == "History(0 epochs: )"


def test_an_empty_history():
    history = fastbp.History()
    assert history.epochs == 0 and len(history) == 0 and history.to_dict() == {}
    assert math.isnan(history.samples_per_second)


def test_equality_and_hash():
    one, other = fit(), fit()
    assert one == one and one != other and one in [other, one] and len({one, other}) == 2


def test_a_resumed_run_continues_the_record():
    net = network()
    first = fit(net)
    kept = first.to_dict()
    second = fit(net, epochs=3, resume=first, validation=(X, CLASSES))
    assert first.to_dict() == kept and first.epochs == 4
    assert second.epochs == 7
    assert second["loss"][:4].tolist() == kept["loss"]
    assert (np.diff(second["seconds"]) > 0).all()
    assert np.isnan(second["validation_loss"]).tolist() == [True] * 4 + [False] * 3
    assert second.to_dict()["validation_loss"][:4] == [None] * 4
    json.dumps(second.to_dict(), allow_nan=False)
    third = fit(net, epochs=2, resume=second)
    assert np.isnan(third["validation_loss"]).tolist() == [True] * 4 + [False] * 3 + [True] * 2
    assert all(array.shape == (9,) for array in third.values())
    one = fit(network(), epochs=9)
    assert third["loss"].tobytes() == one["loss"].tobytes()


@pytest.mark.parametrize(
    "duplicate", [copy.copy, copy.deepcopy, lambda h: pickle.loads(pickle.dumps(h))]
)
def test_copies_can_be_resumed(duplicate):
    net, twin = network(), network()
    history = fit(net)
    other = duplicate(history)
    assert other.to_dict() == history.to_dict() and other.samples == history.samples
    twin.parameters = net.parameters
    fit(net, resume=history)
    fit(twin, resume=other)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


# pictures


def test_plot(figure):
    history = fit(validation=0.25)
    axes = history.plot()
    assert isinstance(axes, matplotlib.axes.Axes)
    assert [line.get_label() for line in axes.lines] == ["training loss", "validation loss"]
    assert axes.lines[0].get_xdata().tolist() == [1, 2, 3, 4]
    assert axes.lines[0].get_ydata().tolist() == history["loss"].tolist()
    assert axes.lines[1].get_ydata().tolist() == history["validation_loss"].tolist()
    (right,) = [a for a in axes.figure.axes if a is not axes]
    assert right.lines[0].get_ydata().tolist() == history["validation_accuracy"].tolist()
    shown = [text.get_text() for text in axes.get_legend().get_texts()]
    assert shown == ["training loss", "validation loss", "validation accuracy"]
    assert axes.get_xlabel() == "epoch" and axes.get_ylabel() == "loss"
    axes.figure.canvas.draw()


def test_plot_on_given_axes_without_validation(figure):
    given = figure.subplots()[1]
    assert fit().plot(given) is given
    assert len(given.lines) == 1 and given.figure.axes == [given]


def test_plot_of_a_resumed_run(figure):
    net = network()
    history = fit(net, resume=fit(net), validation=(X, CLASSES))
    history.plot().figure.canvas.draw()


def test_without_matplotlib_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "matplotlib"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"matplotlib: pip install .*\[plot\]'$"):
        fit().plot()


def is_under(legend, axes):
    """Whether a point of a curve lies under the legend."""
    box = legend.get_window_extent()
    for a in axes:
        for line in a.lines:
            points = line.get_transform().transform(line.get_xydata())
            points = np.concatenate([np.linspace(*pair, 50) for pair in itertools.pairwise(points)])
            if any(box.contains(*point) for point in points):
                return True
    return False


@pytest.mark.parametrize("given", [False, True])
def test_the_legend_covers_no_curve_and_nothing_is_cut(figure, given):
    history = fastbp.History()
    values = np.random.default_rng(0).uniform(size=(2, 100))
    history.extend(loss=values[0].tolist(), validation_accuracy=values[1].tolist())
    axes = history.plot(figure.subplots()[1] if given else None)
    axes.figure.canvas.draw()
    legend, whole = axes.get_legend(), axes.figure.bbox
    assert not is_under(legend, axes.figure.axes)
    for artist in (legend, axes.yaxis.label, axes.figure.axes[1].yaxis.label):
        box = artist.get_window_extent()
        assert whole.x0 <= box.x0 and box.x1 <= whole.x1 and box.y1 <= whole.y1


# before the first epoch


def test_the_bar_of_a_run_that_is_looked_at_within_its_first_epoch(capsys):
    seen = []
    watch = fastbp.each_step(
        lambda event: seen.append((repr(event.history), event.history["loss"].size))
    )
    history = fit(callbacks=[watch], progress=True)
    assert seen[0] == ("History(0 epochs: )", 0) and history.epochs == 4
    assert "4/4" in capsys.readouterr().err
    n = 20_000  # more steps than one slice makes
    net = fastbp.Network([50, 8, 2])
    assert net.fit(np.ones((n, 50)), np.zeros(n, int), epochs=2, progress=True).epochs == 2


@pytest.mark.parametrize("optimizer", ["adam", "lbfgs"])
@pytest.mark.parametrize("validation", [None, 0.25])
def test_a_run_that_ends_before_its_first_epoch(figure, optimizer, validation):
    net = network()
    watch = fastbp.EarlyStopping(3) if validation else None
    schedule = None if optimizer == "lbfgs" else fastbp.schedules.Cosine()
    history = fit(net, optimizer=optimizer, validation=validation, time_limit=1e-9,
                  early_stopping=watch, schedule=schedule, progress=True)  # fmt: skip
    names = [name for name in ALWAYS if optimizer == "adam" or name != "learning_rate"]
    assert list(history) == names + (VALIDATED if validation else [])
    assert all(column.shape == (0,) for column in history.values())
    assert history.epochs == 0 and repr(history) == "History(0 epochs: )"
    assert history.to_dict() == {name: [] for name in history}
    assert "0 epochs" in history._repr_html_()
    history.plot().figure.canvas.draw()
    assert net.parameters.tobytes() == network().parameters.tobytes()
    if optimizer == "adam":
        whole = network()
        fit(net, resume=history, validation=validation)
        fit(whole, validation=validation)
        assert net.parameters.tobytes() == whole.parameters.tobytes()


def test_a_history_is_a_table():
    pandas = pytest.importorskip("pandas")
    net = network()
    first = fit(net)
    for history in (fit(validation=0.25), fit(net, resume=first, validation=(X, CLASSES)),
                    fit(time_limit=1e-9, validation=0.25)):  # fmt: skip
        frame = pandas.DataFrame(history.to_dict())
        assert list(frame) == list(history) and len(frame) == history.epochs
    shown = fit(validation=0.25, metrics={"<b>": lambda y, a: 1.0})._repr_html_()
    assert shown.startswith("<table>") and "validation_&lt;b&gt;" in shown and "4 epochs" in shown


# validation


def test_validation_does_not_change_the_run():
    plain, watched = network(), network()
    fit(plain)
    fit(watched, validation=(X[:20], CLASSES[:20]))
    assert plain.parameters.tobytes() == watched.parameters.tobytes()


@pytest.mark.parametrize("kind", [tuple, list])
def test_given_validation_data(kind):
    net = network()
    history = fit(net, validation=kind((X[:20], CLASSES[:20])))
    assert history["validation_loss"][-1] == net.loss(X[:20], CLASSES[:20])
    right = net.predict(X[:20]).argmax(axis=1) == CLASSES[:20]
    assert history["validation_accuracy"][-1] == right.mean()
    history = fit(net, validation=kind((X[:20], CLASSES[:20], WEIGHT[:20])))
    assert history["validation_loss"][-1] == net.loss(
        X[:20], CLASSES[:20], sample_weight=WEIGHT[:20]
    )
    right = net.predict(X[:20]).argmax(axis=1) == CLASSES[:20]
    assert history["validation_accuracy"][-1] == pytest.approx(
        np.average(right, weights=WEIGHT[:20]), rel=1e-6
    )
    fit(net, validation=kind((X[:20], CLASSES[:20], None)))


@pytest.mark.parametrize(("share", "n_held"), [(0.25, 15), (0.001, 1), (0.999, 59), (0.5, 30)])
def test_a_share_is_held_out(share, n_held, monkeypatch):
    """The rows of both parts are disjoint and all there; those held out never train."""
    seen = {}
    parts = import_module("fastbp.training.parts")
    real = parts.check_weights

    def spy(*args):
        seen["train"], seen["held"] = args
        return real(*args)

    monkeypatch.setattr(parts, "check_weights", spy)
    net = network()
    history = fit(net, validation=share, sample_weight=WEIGHT)
    train, held = seen["train"], seen["held"]
    assert held.X.shape[0] == n_held and train.X.shape[0] == N - n_held
    rows = {row.tobytes(): i for i, row in enumerate(X)}
    index = [rows[row.tobytes()] for row in np.concatenate([train.X, held.X])]
    assert sorted(index) == list(range(N))
    assert CLASSES[index].tolist() == [*train.labels, *held.labels]
    assert WEIGHT[index].tolist() == [*train.weight, *held.weight]
    loss = net.loss(held.X, held.labels, sample_weight=held.weight)
    assert history["validation_loss"][-1] == loss
    twin = network()
    twin.fit(train.X, train.labels, sample_weight=train.weight, epochs=4, seed=1, batch_size=7)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


def test_the_share_depends_on_the_seed_alone():
    one, same, other = (fit(validation=0.3, seed=seed) for seed in (5, 5, 6))
    assert one["validation_loss"].tobytes() == same["validation_loss"].tobytes()
    assert one["validation_loss"].tobytes() != other["validation_loss"].tobytes()


REAL = rng.standard_normal((N, 3))
CASES = [
    ({}, CLASSES, True),
    ({}, np.eye(3)[CLASSES], True),
    ({}, np.full((N, 3), 1 / 3), False),  # probabilities
    ({"output": "identity", "loss": "mse"}, REAL, False),
    ({"sizes": [3, 1], "output": "sigmoid", "loss": "binary_cross_entropy"}, CLASSES > 0, True),
    ({"sizes": [3, 1], "output": "sigmoid", "loss": "binary_cross_entropy"}, 0.5 * CLASSES, False),
    ({"sizes": [3, 1], "output": "identity", "loss": "hinge"}, 2 * (CLASSES > 0) - 1, True),
    ({"sizes": [3, 1], "output": "tanh", "loss": "squared_hinge"}, 2 * (CLASSES > 0) - 1, True),
    ({"sizes": [3, 1], "output": "identity", "loss": "mse"}, CLASSES > 0, False),
]


@pytest.mark.parametrize(("options", "targets", "has"), CASES)
def test_accuracy_is_there_for_classes_only(options, targets, has):
    net = fastbp.Network(**{"sizes": [3, 6, 3], "seed": 0} | options)
    targets = targets.astype(float) if targets.dtype == bool else targets
    history = net.fit(X, targets, validation=(X, targets), epochs=2, seed=0)
    assert ("validation_accuracy" in history) == has and "validation_loss" in history
    if not has:
        return
    a = net.predict(X)
    if a.shape[1] == 1:
        right = (a[:, 0] > (0.5 if net.architecture["output"] == "sigmoid" else 0)) == (targets > 0)
    else:
        right = a.argmax(axis=1) == (targets if targets.ndim == 1 else targets.argmax(axis=1))
    assert history["validation_accuracy"][-1] == right.mean()
    assert 0 < right.mean() < 1


# callbacks


def test_callbacks_are_called_in_order_with_what_happened():
    calls = []
    net = network()

    def callback(name):
        def call(event):
            calls.append((name, event.epoch, event.epochs, event.history.epochs))
            assert event.network is net
            assert np.isfinite(event.history["validation_loss"][-1])
            loss = net.loss(X, CLASSES)
            assert event.history["validation_loss"][-1] == loss  # parameters are the epoch's

        return call

    history = fit(net, callbacks=[callback("a"), callback("b")], validation=(X, CLASSES))
    assert calls == [(name, e, 4, e + 1) for e in range(4) for name in "ab"]
    assert history.epochs == 4
    calls.clear()
    fit(net, callbacks=iter([callback("c")]), validation=(X, CLASSES), epochs=2, resume=history)
    assert calls == [("c", 4, 6, 5), ("c", 5, 6, 6)]


@pytest.mark.parametrize("answer", [True, np.True_, np.bool_(True)])
def test_a_callback_that_returns_true_ends_the_run(answer):
    later, twin = [], network()
    net = network()
    history = fit(net, callbacks=[lambda e: answer if e.epoch == 1 else None, later.append])
    assert history.epochs == 2 and len(later) == 2  # every callback sees every epoch
    fit(twin, epochs=2)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


def test_a_comparison_of_arrays_of_the_record_ends_the_run():
    target = fit()["loss"][1]
    assert fit(callbacks=[lambda e: e.history["loss"][-1] <= target]).epochs == 2


@pytest.mark.parametrize("answer", [None, False, np.False_, 0, 1, "stop", [1], np.ones(3)])
def test_other_answers_do_not(answer):
    assert fit(callbacks=[lambda e: answer]).epochs == 4


def test_callbacks_that_only_look_leave_the_bits():
    plain, watched = network(), network()
    fit(plain, optimizer=fastbp.Adam(0.01))
    fit(watched, optimizer=fastbp.Adam(0.01), callbacks=[lambda e: None])
    assert plain.parameters.tobytes() == watched.parameters.tobytes()


def test_parameters_that_a_callback_writes_take_effect():
    net, twin = network(), network()
    optimizer = fastbp.SGD(0.1)

    def halve(event):
        if event.epoch == 1:
            event.network.parameters *= 0.5

    fit(net, callbacks=[halve], optimizer=optimizer)
    history = fit(twin, epochs=2, optimizer=optimizer)
    twin.parameters *= 0.5
    fit(twin, epochs=2, optimizer=optimizer, resume=history)
    assert net.parameters.tobytes() == twin.parameters.tobytes()
    net, twin = network(), network()
    fit(net, callbacks=[halve], epochs=2)  # in the last epoch too
    fit(twin, epochs=2)
    assert net.parameters.tobytes() == (0.5 * twin.parameters).tobytes()


def test_a_callback_that_writes_nan_is_told():
    def spoil(event):
        event.network.parameters[3] = np.nan

    with pytest.raises(ValueError, match=r"parameters: expected finite.*NaN at \[3\]"):
        fit(callbacks=[spoil])


class Special(BaseException):
    pass


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt, SystemExit, Special])
@pytest.mark.parametrize("threads", [1, 2])
def test_an_exception_in_a_callback_propagates(kind, threads):
    kept = []

    def fail(event):
        kept.append(event.history)
        if event.epoch == 2:
            raise kind("mine")

    net, twin = network(), network()
    with pytest.raises(kind, match="mine"):
        fit(net, callbacks=[fail], epochs=9, threads=threads)
    fit(twin, epochs=3)
    assert net.parameters.tobytes() == twin.parameters.tobytes()
    # what the callback kept is enough to go on
    fit(net, epochs=2, resume=kept[0])
    fit(twin := network(), epochs=5)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


def test_a_callback_may_use_and_train_networks():
    other, net, twin = network(seed=5), network(), network()

    def callback(event):
        event.network.predict(X)
        event.network.copy().fit(X, CLASSES, epochs=1)
        other.fit(X, CLASSES, epochs=1)

    fit(net, callbacks=[callback])
    fit(twin)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


def test_progress_is_a_bar_on_stderr(capsys):
    plain, shown = network(), network()
    fit(plain)
    fit(shown, progress=True, validation=(X, CLASSES))
    out, err = capsys.readouterr()
    assert out == "" and "4/4" in err and "validation_loss" in err
    assert plain.parameters.tobytes() == shown.parameters.tobytes()
    fit(callbacks=[lambda e: None])
    assert capsys.readouterr() == ("", "")
