"""What looks at a run: early stopping, step events, metrics, averages, limits of time.

What belongs here: options of `fit` that watch or end a run. What does not: epoch callbacks and
validation (test_history.py), rates (test_schedules.py), files (test_checkpoint.py).
"""

import time

import numpy as np
import pytest

import fastbp
from fastbp import metrics, schedules

rng = np.random.default_rng(0)
N = 60
X, CLASSES = rng.standard_normal((N, 3)), rng.integers(0, 3, N)
X2, CLASSES2 = rng.standard_normal((40, 3)), rng.integers(0, 3, 40)
ONE_HOT = np.eye(3)[CLASSES]


def network(**options):
    return fastbp.Network(**{"sizes": [3, 6, 3], "activation": "tanh", "seed": 0} | options)


def fit(net=None, targets=CLASSES, **options):
    net = network() if net is None else net
    return net.fit(X, targets, **{"epochs": 4, "seed": 1, "batch_size": 7} | options)


def same(one, other):
    return one.parameters.tobytes() == other.parameters.tobytes()


# early stopping


def overfitting(**options):
    net = network(sizes=[3, 40, 3])
    history = fit(net, epochs=200, optimizer=fastbp.Adam(0.02), validation=(X2, CLASSES2),
                  **options)  # fmt: skip
    return net, history


@pytest.mark.parametrize("monitor", ["validation_loss", "validation_accuracy", "validation_r2"])
def test_the_best_parameters_are_restored(monitor):
    options = {"metrics": ["accuracy", "r2"]}
    stopping = fastbp.EarlyStopping(5, monitor=monitor)
    net, history = overfitting(early_stopping=stopping, **options)
    values = history[monitor] * (1 if monitor == "validation_loss" else -1)
    best = int(values.argmin())
    assert history.epochs == best + 1 + 5 < 200
    twin = network(sizes=[3, 40, 3])
    fit(twin, epochs=best + 1, optimizer=fastbp.Adam(0.02))
    assert same(net, twin)
    assert values[best] == min(values)


def test_without_patience_at_its_end_the_best_are_restored_too():
    stopping = fastbp.EarlyStopping(1000)
    net, history = overfitting(early_stopping=stopping)
    assert history.epochs == 200
    best = history["validation_loss"].argmin()
    assert best < 150 and net.loss(X2, CLASSES2) == history["validation_loss"][best]


@pytest.mark.parametrize("count", [1, 20])  # the latter in lanes, several epochs at once
def test_of_equally_good_epochs_the_first_or_the_last(count):
    for ties, best_of in (("first", np.argmax), ("last", lambda v: len(v) - 1 - v[::-1].argmax())):
        stopping = fastbp.EarlyStopping(30, monitor="validation_accuracy", ties=ties)
        nets = [network(sizes=[3, 40, 3]) for _ in range(count)]
        options = {"optimizer": fastbp.Adam(0.02), "seed": 1, "batch_size": 7}
        history = fastbp.fit_many(
            nets, X, CLASSES, epochs=60, validation=(X2, CLASSES2), early_stopping=stopping,
            **options,
        )[0]  # fmt: skip
        values = history["validation_accuracy"]
        best = int(best_of(values))
        assert (values == values.max()).sum() > 1
        # the last is no improvement that is waited for anew
        assert history.epochs == min(60, int(np.argmax(values)) + 31)
        twin = network(sizes=[3, 40, 3])
        twin.fit(X, CLASSES, epochs=best + 1, **options)
        assert all(same(net, twin) for net in nets)


def test_min_delta_and_the_training_loss():
    history = fit(epochs=50, early_stopping=fastbp.EarlyStopping(3, 1e9, "loss"))
    assert history.epochs == 1 + 3  # the first is an improvement on nothing, none else is
    plain = fit(epochs=50, early_stopping=fastbp.EarlyStopping(3, 0.0, "loss"))
    assert plain.epochs > 10
    # more is better
    history = fit(epochs=50, early_stopping=fastbp.EarlyStopping(3, monitor="loss", mode="max"))
    assert history.epochs < 10


@pytest.mark.parametrize("epochs", [3, 7])
def test_a_resumed_run_waits_as_long(epochs):
    options = {"optimizer": fastbp.Adam(0.02), "validation": (X2, CLASSES2), "epochs": 200,
               "early_stopping": fastbp.EarlyStopping(5)}  # fmt: skip
    net, twin = network(sizes=[3, 40, 3]), network(sizes=[3, 40, 3])
    whole = fit(net, **options)
    first = fit(twin, **options | {"epochs": epochs})
    assert epochs < whole.epochs
    second = fit(twin, resume=first, **options)
    assert same(net, twin) and second.epochs == whole.epochs
    third = fit(twin, resume=second, **options)  # whoever goes on is given as many epochs again
    best = third["validation_loss"].argmin() + 1
    assert third.epochs == max(second.epochs, best) + 5


def test_nan_is_no_improvement():
    values = iter([np.nan, 2.0, 1.0, np.nan, np.nan, 0.0])
    history = fit(
        epochs=9, validation=(X2, CLASSES2), metrics={"mine": lambda y, a: next(values)},
        early_stopping=fastbp.EarlyStopping(2, monitor="validation_mine", mode="min"),
    )  # fmt: skip
    assert history.epochs == 5


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({}, r"early_stopping: expected validation data, for 'validation_loss' is watched"),
        ({"monitor": "validation_r2"}, "expected validation data"),
        ({"monitor": "los", "mode": "min"}, "expected a monitor that is recorded, loss; got 'los'"),
    ],
)
def test_early_stopping_needs_what_it_watches(options, told):
    net = network()
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=told):
        fit(net, early_stopping=fastbp.EarlyStopping(**options))
    assert net.parameters.tobytes() == before.tobytes()


def test_early_stopping_is_shown_as_files_of_runs_have_it():
    plain = "EarlyStopping(patience=3, min_delta=0.0, monitor='loss', mode=None)"
    assert repr(fastbp.EarlyStopping(3, monitor="loss")) == plain
    last = repr(fastbp.EarlyStopping(3, monitor="loss", ties="last"))
    assert last == plain[:-1] + ", ties='last')"


def test_bad_early_stopping():
    for options, told in (
        ({"patience": 0}, "EarlyStopping.patience: expected a whole number >= 1"),
        ({"min_delta": -1.0}, "EarlyStopping.min_delta: expected a finite number >= 0"),
        ({"mode": "up"}, "EarlyStopping.mode: expected 'min', 'max' or None; got 'up'"),
        ({"monitor": "validation_mine"}, "EarlyStopping.mode: expected 'min' or 'max' for"),
        ({"ties": "both"}, "EarlyStopping.ties: expected one of first, last; got 'both'"),
    ):
        with pytest.raises(ValueError, match=told):
            fastbp.EarlyStopping(**options)
    with pytest.raises(TypeError, match=r"EarlyStopping\.monitor: expected a name"):
        fastbp.EarlyStopping(monitor=3)
    with pytest.raises(TypeError, match="early_stopping: expected EarlyStopping or None; got 5"):
        fit(early_stopping=5)


# metrics


def test_metrics_are_recorded():
    net, seen = network(), []

    def mine(y, a):
        seen.append((y, a))
        return np.float32(y.sum())

    history = fit(net, validation=(X2, CLASSES2), metrics={"mine": mine})
    assert set(history) == {
        "loss", "learning_rate", "seconds", "validation_loss", "validation_mine",
    }  # fmt: skip
    assert (history["validation_mine"] == CLASSES2.sum()).all() and len(seen) == 4
    y, a = seen[-1]
    assert y.tolist() == CLASSES2.tolist() and a.tobytes() == net.predict(X2).tobytes()
    history = fit(validation=(X2, CLASSES2), metrics="mae")
    assert "validation_mae" in history and "validation_accuracy" not in history
    assert "validation_accuracy" in fit(validation=(X2, CLASSES2))


def test_metrics_are_scikit_learns():
    peer = pytest.importorskip("sklearn.metrics")
    weight = rng.uniform(0.1, 2, 40)
    targets = rng.standard_normal((40, 2))
    net = network(sizes=[3, 5, 2], output="identity", loss="mse")
    for w in (None, weight):
        data = net._samples(X2, targets, w)
        a = net.predict(X2)
        found = metrics.evaluate(net, data, a, dict.fromkeys(["r2", "mse", "rmse", "mae"]))
        y = data.Y
        assert found["r2"] == pytest.approx(peer.r2_score(y, a, sample_weight=w), rel=1e-5)
        mse = peer.mean_squared_error(y, a, sample_weight=w)
        assert found["mse"] == pytest.approx(mse, rel=1e-5)
        assert found["rmse"] == pytest.approx(mse**0.5, rel=1e-5)
        expected = peer.mean_absolute_error(y, a, sample_weight=w)
        assert found["mae"] == pytest.approx(expected, rel=1e-5)
    net = network()
    for w in (None, weight):
        data = net._samples(X2, CLASSES2, w)
        a, names = net.predict(X2), ["accuracy", "balanced_accuracy"]
        found = metrics.evaluate(net, data, a, dict.fromkeys(names))
        for name, f in zip(names, (peer.accuracy_score, peer.balanced_accuracy_score), strict=True):
            expected = f(CLASSES2, a.argmax(1), sample_weight=w)
            assert 0 < expected < 1 and found[name] == pytest.approx(expected, rel=1e-6)


def test_metrics_leave_out_missing_targets():
    y, a = rng.standard_normal((9, 2)), rng.standard_normal((9, 2))
    y[2, 0] = y[5, 1] = np.nan
    weight = rng.uniform(0.5, 2, 9)
    for f in (metrics.r2, metrics.mse, metrics.mae):
        for w in (None, weight):
            columns = []
            for j in range(2):
                k = ~np.isnan(y[:, j])
                columns.append(f(y[k, j : j + 1], a[k, j : j + 1], None if w is None else w[k]))
            assert f(y, a, w) == pytest.approx(np.mean(columns), rel=1e-12)


@pytest.mark.parametrize("f", [metrics.r2, metrics.mse, metrics.rmse, metrics.mae])
def test_one_column_of_numbers_may_be_flat(f):
    y, a = rng.standard_normal((2, 9))
    assert f(y, a) == f(y[:, None], a) == f(y.tolist(), a[:, None])
    with pytest.raises(ValueError, match=r"^a: expected outputs of the targets' shape \(9, 1\)"):
        f(y, np.ones((9, 2)))


def test_multi_label_targets():
    labels = (rng.random((N, 3)) < 0.5).astype(float)
    net = network(output="sigmoid", loss="binary_cross_entropy")
    history = fit(net, labels, validation=(X, labels), metrics="accuracy", epochs=60,
                  optimizer=fastbp.Adam(0.02))  # fmt: skip
    right = ((net.predict(X) > 0.5) == labels).all(axis=1)
    assert 0 < right.mean() < 1
    assert history["validation_accuracy"][-1] == right.mean()
    assert history["loss"][-1] < 0.8 * history["loss"][0]


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ("acuracy", ValueError, "metrics: expected one of accuracy.*Did you mean 'accuracy'"),
        (["r2", "f3"], ValueError, "metrics: expected one of"),
        ({"mine": 3}, TypeError, "metrics: expected {name: callable"),
        ({"loss": len}, TypeError, "a name other than 'loss'"),
        (3, TypeError, "metrics: expected names"),
    ],
)
def test_bad_metrics(value, kind, told):
    with pytest.raises(kind, match=told):
        fit(validation=(X2, CLASSES2), metrics=value)


def test_metrics_that_do_not_fit():
    with pytest.raises(ValueError, match="metrics: expected validation data with them; got none"):
        fit(metrics="r2")
    net = network(output="identity", loss="mse")
    with pytest.raises(ValueError, match="metrics: 'accuracy' expects targets that are classes"):
        fit(net, X, validation=(X, X), metrics="accuracy")
    with pytest.raises(TypeError, match="metrics: expected a number from 'mine'; got 'high'"):
        fit(validation=(X2, CLASSES2), metrics={"mine": lambda y, a: "high"})


# step events


@pytest.mark.parametrize("threads", [1, 2])
def test_step_events(threads):
    events, kinds = [], []
    net, twin = network(), network()

    def watch(event):
        assert event.network is net and event.epochs == 2
        events.append((event.kind, event.epoch, event.step))

    fit(net, epochs=2, threads=threads,
        callbacks=[fastbp.each_step(watch), lambda event: kinds.append(event.kind)])  # fmt: skip
    steps = [("step", s // 9, s + 1) for s in range(18)]
    assert events == [*steps[:9], ("epoch", 0, 9), *steps[9:], ("epoch", 1, 18)]
    assert kinds == ["epoch", "epoch"]
    fit(twin, epochs=2)
    assert same(net, twin)


def test_a_step_event_ends_the_run_and_writes_parameters():
    net, twin = network(), network()
    history = fit(net, callbacks=[fastbp.each_step(lambda event: event.step == 12)], shuffle=False)
    assert history.state.position[:3] == (1, 21, 12) and history.epochs == 1
    fit(net, epochs=3, resume=history, shuffle=False)
    fit(twin, shuffle=False)
    assert same(net, twin)

    class Halve:
        steps = True

        def __call__(self, event):
            if event.kind == "step" and event.step == 3:
                event.network.parameters *= 0.5

    net, twin = network(), network()
    sgd = {"optimizer": fastbp.SGD(0.1), "shuffle": False, "epochs": 1}
    fit(net, callbacks=[Halve()], **sgd)
    twin.fit(X[:21], CLASSES[:21], batch_size=7, **sgd)
    twin.parameters *= 0.5
    twin.fit(X[21:], CLASSES[21:], batch_size=7, **sgd)
    assert same(net, twin)


def test_each_step_takes_callables():
    with pytest.raises(TypeError, match="each_step: expected a callable"):
        fastbp.each_step(3)


# the moving average


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", [1, 2])
def test_the_average_is_that_of_swa_utils(dtype, threads):
    net, seen, averages = network(dtype=dtype), [], []

    @fastbp.each_step
    def watch(event):
        if event.kind == "step":
            seen.append(event.network.parameters.copy())
            averages.append(event.average)

    history = fit(net, ema=0.9, callbacks=[watch], validation=(X2, CLASSES2), threads=threads)
    expected, exact = seen[0].astype(float), seen[0]
    assert averages[0].tobytes() == exact.tobytes()
    for parameters, average in zip(seen[1:], averages[1:], strict=True):
        expected = 0.9 * expected + 0.1 * parameters
        exact = exact + exact.dtype.type(1 - 0.9) * (parameters - exact)
        assert average.tobytes() == exact.tobytes()
    tolerance = 1e-5 if dtype == "float32" else 1e-13
    np.testing.assert_allclose(net.parameters, expected, rtol=tolerance, atol=tolerance)
    unseen = network(dtype=dtype)  # of which Python sees nothing between the epochs
    fit(unseen, ema=0.9, threads=threads)
    assert unseen.parameters.tobytes() == net.parameters.tobytes()
    assert net.parameters.tobytes() == averages[-1].tobytes()
    assert history["validation_loss"][-1] == net.loss(X2, CLASSES2)
    plain = network(dtype=dtype)
    fit(plain)
    assert plain.parameters.tobytes() == seen[-1].tobytes()  # training itself is as without


def test_torch_has_the_same_average():
    torch = pytest.importorskip("torch")
    net, seen = network(dtype="float64"), []
    fit(net, ema=0.8, callbacks=[fastbp.each_step(
        lambda e: seen.append(e.network.parameters.copy()) if e.kind == "step" else None
    )])  # fmt: skip
    model = torch.nn.Linear(net.n_parameters, 1, bias=False).double()
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.8)
    )
    for parameters in seen:
        with torch.no_grad():
            model.weight[0] = torch.tensor(parameters)
        average.update_parameters(model)
    found = average.module.weight[0].detach().numpy()
    np.testing.assert_allclose(net.parameters, found, rtol=1e-12)


def test_a_resumed_average_is_not_begun_again():
    net, twin = network(), network()
    fit(net, epochs=6, ema=0.95)
    history = fit(twin, epochs=2, ema=0.95)
    fit(twin, epochs=4, ema=0.95, resume=history)
    assert same(net, twin)


@pytest.mark.parametrize("threads", [1, 2])
def test_divergence_leaves_the_average_of_the_good_steps(threads):
    """Steps are made again from the last copy, and so is their average."""

    def fitted(**options):
        net = network(output="identity", loss="quadratic", activation="identity")
        fit(net, ONE_HOT, ema=0.9, optimizer=fastbp.SGD(4.0), threads=threads, **options)
        return net

    averages = []
    with pytest.raises(fastbp.DivergenceError) as failed:
        fitted(
            epochs=500,
            callbacks=[
                fastbp.each_step(
                    lambda event: averages.append(event.average) if event.kind == "step" else None
                )
            ],
        )
    assert len(averages) == failed.value.step > 3
    net = network(output="identity", loss="quadratic", activation="identity")
    with pytest.raises(fastbp.DivergenceError) as again:
        fit(net, ONE_HOT, ema=0.9, optimizer=fastbp.SGD(4.0), threads=threads, epochs=500)
    assert again.value.step == failed.value.step
    assert net.parameters.tobytes() == averages[-1].tobytes()
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("bad", [1.0, -0.1, "fast", np.nan])
def test_bad_average(bad):
    with pytest.raises((TypeError, ValueError), match="ema: expected"):
        fit(ema=bad)


# time


@pytest.mark.parametrize("options", [{}, {"ema": 0.9}, {"threads": 2}, {"validation": 0.1}])
def test_a_time_limit_is_kept(options):
    net = network(sizes=[64, 256, 256, 3])
    data, classes = rng.standard_normal((2000, 64)), rng.integers(0, 3, 2000)
    options = {"batch_size": 32, "optimizer": fastbp.SGD(1e-4), "epochs": 10**6} | options
    late = []
    while len(late) < 10 and (not late or late[-1] >= 0.05):  # a busy machine gets ten tries
        began = time.perf_counter()
        history = net.fit(data, classes, time_limit=0.3, **options)
        late.append(time.perf_counter() - began - 0.3)
        assert history.state.position[2] > 10
    assert min(late) > -0.01 and late[-1] < 0.05, late
    assert np.isfinite(net.parameters).all()


def test_a_run_out_of_time_can_be_resumed():
    data, classes = rng.standard_normal((3000, 20)), rng.integers(0, 3, 3000)
    net, twin = (network(sizes=[20, 60, 3]) for _ in range(2))
    options = {"batch_size": 16, "seed": 2, "threads": 1}
    history = net.fit(data, classes, epochs=10**6, time_limit=0.05, **options)
    done = history.state.position[0]
    net.fit(data, classes, epochs=2, resume=history, **options)
    twin.fit(data, classes, epochs=done + 2, **options)
    assert same(net, twin)


def test_no_time_at_all():
    net, twin = network(), network()
    assert fit(net, time_limit=1e-9).epochs == 0
    assert same(net, twin)
    for bad in (0, -1, "1s", np.nan):
        with pytest.raises((TypeError, ValueError), match="time_limit: expected"):
            fit(time_limit=bad)


# weights of classes, smoothed labels


@pytest.mark.parametrize("given", [None, np.linspace(0.5, 2, N)])
def test_class_weights_multiply_sample_weights(given):
    factors = np.array([2.0, 1.0, 0.5])[CLASSES]
    ours, twin = network(), network()
    fit(ours, class_weight={0: 2.0, 2: 0.5}, sample_weight=given)
    fit(twin, sample_weight=factors * (1 if given is None else given))
    assert same(ours, twin) and not same(ours, network())
    fit(twin := network(), ONE_HOT, class_weight={0: 2.0, 2: 0.5}, sample_weight=given)
    assert same(ours, twin)


def test_balanced_is_scikit_learns():
    peer = pytest.importorskip("sklearn.utils.class_weight")
    uneven = np.repeat([0, 2], [45, 15])
    ours, twin = network(), network()
    fit(ours, uneven, class_weight="balanced")
    fit(twin, uneven, sample_weight=peer.compute_sample_weight("balanced", uneven))
    assert same(ours, twin)


def test_class_weights_of_two_classes():
    signs = np.where(CLASSES > 0, 1.0, -1.0)
    ours, twin = (network(sizes=[3, 4, 1], output="identity", loss="hinge") for _ in range(2))
    fit(ours, signs, class_weight={-1: 3.0})
    fit(twin, signs, sample_weight=np.where(signs < 0, 3.0, 1.0))
    assert same(ours, twin)


@pytest.mark.parametrize(
    ("value", "kind", "told"),
    [
        ({3: 1.0}, ValueError, r"class_weight: expected classes among \[0, 1, 2\]; got 3, which"),
        ({"cat": 1.0}, ValueError, "got 'cat', which is unknown"),
        ({0: -1.0}, ValueError, r"class_weight\[0\]: expected a finite number >= 0"),
        ({0: 0, 1: 0, 2: 0}, ValueError, "class_weight: expected a weight above 0"),
        ("even", TypeError, "class_weight: expected a dict of class: weight, or 'balanced'"),
        (2.0, TypeError, "class_weight: expected a dict"),
    ],
)
def test_bad_class_weights(value, kind, told):
    with pytest.raises(kind, match=told):
        fit(class_weight=value)


def test_class_weights_need_classes():
    net = network(output="identity", loss="mse")
    with pytest.raises(ValueError, match="class_weight: expected targets that are classes"):
        fit(net, X, class_weight="balanced")


def test_class_weights_name_what_came_instead_of_classes():
    soft = np.full((N, 3), 1 / 3)
    with pytest.raises(ValueError, match=r"^class_weight: .*got soft labels.*sample_weight"):
        fit(network(), soft, class_weight={0: 2.0})
    several = np.ones((N, 3))
    net = network(output="sigmoid", loss="binary_cross_entropy")
    with pytest.raises(ValueError, match=r"^class_weight: .*got several labels a sample"):
        fit(net, several, class_weight="balanced")


@pytest.mark.parametrize("loss", ["cross_entropy", "kl"])
def test_label_smoothing(loss):
    smoothed = (0.9 * np.eye(3, dtype="f4") + np.float32(0.1 / 3))[CLASSES]
    ours, twin, dense = (network(loss=loss) for _ in range(3))
    history = fit(ours, label_smoothing=0.1, validation=(X2, CLASSES2))
    fit(twin, smoothed)
    np.testing.assert_allclose(ours.parameters, twin.parameters, rtol=1e-5, atol=1e-6)
    fit(dense, ONE_HOT, label_smoothing=0.1)
    assert same(ours, dense)
    assert history["validation_loss"][-1] == ours.loss(X2, CLASSES2)  # told without smoothing
    fit(plain := network(loss=loss))
    assert not same(ours, plain)


def test_torch_smooths_labels_alike():
    torch = pytest.importorskip("torch")
    net = network(dtype="float64")
    history = fit(net.copy(), label_smoothing=0.2, optimizer=fastbp.SGD(0.0), epochs=1)
    logits = torch.tensor(net.feedforward(X)[0][-1])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor(CLASSES), label_smoothing=0.2)
    assert history["loss"][0] == pytest.approx(float(expected), rel=1e-12)


def test_bad_label_smoothing():
    for bad in (1.0, -0.5, "some"):
        with pytest.raises((TypeError, ValueError), match="label_smoothing: expected"):
            fit(label_smoothing=bad)
    net = network(output="identity", loss="mse")
    with pytest.raises(ValueError, match="label_smoothing: expected a network with loss 'cross_e"):
        fit(net, X, label_smoothing=0.1)


# a loss of the user's own


def drawn(epoch, n):
    return np.random.default_rng(epoch).permutation(n)


def squares(a, y, weight):
    share = (weight / weight.sum())[:, None]
    return float((share * (a - y) ** 2 / 2).sum()), share * (a - y)


@pytest.mark.parametrize("given", [None, np.linspace(0.5, 2, N)])
@pytest.mark.parametrize(
    "shuffle", [True, False, lambda e, n: np.random.default_rng(e).permutation(n)]
)
def test_a_loss_of_ones_own(given, shuffle):
    options = {"output": "identity", "loss": "quadratic", "dtype": "float64"}
    ours, twin = network(**options), network(**options)
    settings = {"sample_weight": given, "shuffle": shuffle, "l2": 0.5, "dropout": 0.2,
                "optimizer": fastbp.Adam(0.01), "validation": (X2, X2)}  # fmt: skip
    own = fit(ours, ONE_HOT, loss=squares, **settings)
    built_in = fit(twin, ONE_HOT, **settings)
    np.testing.assert_allclose(ours.parameters, twin.parameters, rtol=1e-9, atol=1e-12)
    for name in ("loss", "validation_loss"):
        np.testing.assert_allclose(own[name], built_in[name], rtol=1e-9)
    resumed = network(**options)
    first = fit(resumed, ONE_HOT, loss=squares, **settings | {"epochs": 1})
    fit(resumed, ONE_HOT, loss=squares, resume=first, **settings | {"epochs": 3})
    assert same(resumed, ours)


def test_a_loss_of_class_indices():
    def cross_entropy(a, y, weight):
        assert y.shape == weight.shape == (len(a),) and y.dtype.kind == "i"
        slope = np.zeros_like(a)
        rows = np.arange(len(a))
        slope[rows, y] = -1 / a[rows, y] / len(a)
        return -np.log(a[rows, y]).mean(), slope

    ours, twin = network(dtype="float64"), network(dtype="float64")
    fit(ours, loss=cross_entropy, ema=0.5)
    fit(twin, ema=0.5)
    np.testing.assert_allclose(ours.parameters, twin.parameters, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("loss", "kind", "told"),
    [
        ("mse", TypeError, "loss: expected a callable"),
        (lambda a, y, w: 3.0, TypeError, r"loss: expected \(number, gradient \(7, 3\)\) from it"),
        (lambda a, y, w: (1.0, a[:, :1]), ValueError, r"of shape \(7, 3\) from it; got \(7, 1\)"),
        (lambda a, y, w: (np.nan, a), fastbp.DivergenceError, "diverged at step 0"),
        (lambda a, y, w: (1.0, a * np.inf), fastbp.DivergenceError, "diverged at step 0"),
    ],
)
def test_bad_losses(loss, kind, told):
    net = network()
    before = net.parameters.copy()
    with pytest.raises(kind, match=told):
        fit(net, loss=loss)
    assert net.parameters.tobytes() == before.tobytes()


def test_all_at_once():
    """Everything together, in two parts and in one."""
    options = {
        "schedule": schedules.Cosine(warmup=1, epochs=8), "ema": 0.9, "class_weight": "balanced",
        "label_smoothing": 0.1, "metrics": ["accuracy", "mae"], "validation": 0.3, "dropout": 0.1,
        "early_stopping": fastbp.EarlyStopping(20), "clip_norm": 1.0,
    }  # fmt: skip
    net, twin = network(), network()
    whole = fit(net, epochs=8, **options)
    history = fit(twin, epochs=3, **options)
    history = fit(twin, epochs=5, resume=history, **options)
    assert same(net, twin)
    for name in whole:
        if name != "seconds":
            assert whole[name].tobytes() == history[name].tobytes()


# values that are no numbers, and numbers of any size


def test_r2_of_a_constant_target_is_not_known():
    """0.1 has a mean that rounds: whether a target is constant is told before."""
    for constant in (0.1, np.float32(0.1), 1e-300, 1e300, 7.0):
        y = np.full((60, 1), constant)
        assert np.isnan(metrics.r2(y, y + 1)) and np.isnan(metrics.r2(y, 0 * y))
        weight = np.ones(60)
        y[3], weight[3] = 2.0, 0.0  # does not count
        assert np.isnan(metrics.r2(y, y, weight))
        y[3] = np.nan
        assert np.isnan(metrics.r2(y, y))
    two = np.column_stack([np.full(60, 0.1), np.arange(60)])
    assert np.isnan(metrics.r2(two, two)) and metrics.r2(two[:, 1:], two[:, 1:]) == 1.0
    net = network(sizes=[3, 4, 1], output="identity", loss="mse")
    history = fit(net, X[:, 0], validation=(X, np.full(N, 0.1)), metrics=["r2"])
    assert np.isnan(history["validation_r2"]).all()


@pytest.mark.parametrize("exponent", [-1000, -500, 0, 500, 1015])
def test_metrics_of_numbers_of_any_size(exponent):
    y, a = rng.standard_normal((2, 50, 2))
    weight, unit = rng.uniform(0, 2, 50), 2.0**exponent
    for w in (None, weight):
        assert metrics.r2(y * unit, a * unit, w) == pytest.approx(metrics.r2(y, a, w), rel=1e-12)
        for metric in (metrics.rmse, metrics.mae):
            assert metric(y * unit, a * unit, w) == pytest.approx(metric(y, a, w) * unit, rel=1e-12)
    if exponent < 600:
        assert metrics.mse(y * unit, a * unit) == metrics.mse(y, a) * unit * unit


@pytest.mark.parametrize("patience", [1, 2, 4])
def test_a_watched_value_that_is_always_nan_is_told_once(patience):
    monitor = "validation_mine"
    options = {"validation": (X2, CLASSES2), "metrics": {"mine": lambda y, a: np.nan}}
    with pytest.warns(RuntimeWarning, match="validation_mine: NaN in every epoch so far") as told:
        stopping = fastbp.EarlyStopping(patience, monitor=monitor, mode="max")
        history = fit(epochs=30, early_stopping=stopping, **options)
    assert len(told) == 1 and history.epochs == patience
    with pytest.warns(RuntimeWarning, match="validation_mine: NaN in every epoch so far") as told:
        schedule = schedules.HalveOnPlateau(patience, monitor, "max")
        history = fit(epochs=99, schedule=schedule, **options)
    assert len(told) == 1 and history.epochs == 7 * patience


def test_epochs_that_were_not_watched_are_not_waited_for():
    net, schedule = network(), schedules.HalveOnPlateau(3)
    first = fit(net, epochs=5)
    second = fit(net, epochs=2, resume=first, validation=(X2, CLASSES2), schedule=schedule)
    assert len(set(second["learning_rate"])) == 1
    third = fit(net, epochs=1, resume=second, validation=(X2, CLASSES2), schedule=schedule)
    assert len(set(third["learning_rate"])) == 1


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (lambda a: (1.0, a + 0j), "a gradient of dtype complex64"),
        (lambda a: (1j, a), "a number of dtype complex128"),
        (lambda a: ("1", a), "a number of dtype <U1"),
        (lambda a: (1.0, a.astype(str)), "a gradient of dtype <U"),
        (lambda a: (1.0, None), "a gradient of dtype object"),
        (lambda a: ([1.0], a), r"a number of shape \(1,\)"),
        (lambda a: "ab", "str"),
        (lambda a: (1.0, a, a), "tuple"),
    ],
)
def test_a_loss_that_answers_nonsense(answer, told):
    net = network()
    before = net.parameters.copy()
    with pytest.raises(TypeError, match=rf"^loss: expected \(number, gradient \(7, 3\)\).*{told}"):
        fit(net, loss=lambda a, y, w: answer(a))
    assert net.parameters.tobytes() == before.tobytes()
    with pytest.raises(fastbp.DivergenceError):  # larger than float32 holds
        fit(net, loss=lambda a, y, w: (1.0, a.astype(float) * 1e300))
