"""L-BFGS through SciPy.

What belongs here: that it reaches a minimum, and what else `fit` offers with it. What does not:
optimizers that make steps (test_optimizers.py).
"""

import sys
import time
import warnings

import numpy as np
import pytest

import fastbp

pytest.importorskip("scipy.optimize")
rng = np.random.default_rng(0)
X, CLASSES = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)


def network(**options):
    return fastbp.Network(**{"sizes": [3, 6, 3], "activation": "tanh", "seed": 0} | options)


@pytest.mark.parametrize("weight", [None, np.linspace(0.1, 3, 60)])
def test_least_squares_are_solved(weight):
    """A linear network has one minimum, which linear algebra knows."""
    Y = rng.standard_normal((60, 2))
    net = fastbp.Network([3, 2], output="identity", loss="quadratic", dtype="float64")
    optimizer = fastbp.LBFGS(500, 1e-10)
    history = net.fit(X, Y, optimizer=optimizer, l2=0.6, sample_weight=weight)
    w = np.ones(60) if weight is None else weight
    A = np.column_stack([X, np.ones(60)])
    penalty = 0.6 / 60 * np.diag([1, 1, 1, 0])
    share = (w / w.sum())[:, None]
    solution = np.linalg.solve(A.T @ (share * A) + penalty, A.T @ (share * Y))
    np.testing.assert_allclose(net.weights[0], solution[:3], atol=1e-7)
    np.testing.assert_allclose(net.biases[0], solution[3], atol=1e-7)
    assert history["loss"][-1] == pytest.approx(net.loss(X, Y, sample_weight=weight), rel=1e-9)
    assert "learning_rate" not in history and history.epochs == history["loss"].size > 2
    assert (np.diff(history["seconds"]) > 0).all() and history.samples_per_second > 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_gradient_ends_below_the_tolerance(dtype):
    net = network(dtype=dtype)
    history = net.fit(X, CLASSES, optimizer=fastbp.LBFGS(2000, 1e-4), l2=1.0)
    twin = network(dtype="float64")
    twin.parameters = net.parameters
    assert np.abs(twin.gradient(X, CLASSES, l2=1.0)).max() < 1.5e-4
    assert history.epochs < 2000 and net.parameters.dtype == dtype
    assert history["loss"][-1] < 0.9 * history["loss"][0]
    assert network().fit(X, CLASSES, optimizer=fastbp.LBFGS(7)).epochs == 7


def test_scipy_is_given_the_same_problem():
    from scipy.optimize import minimize

    net, twin = network(dtype="float64"), network(dtype="float64")

    def f(theta):
        twin.parameters = theta
        return twin.loss(X, CLASSES, l2=0.5), twin.gradient(X, CLASSES, l2=0.5)

    found = minimize(f, twin.parameters.copy(), jac=True, method="L-BFGS-B",
                     options={"maxiter": 30, "gtol": 1e-4})  # fmt: skip
    net.fit(X, CLASSES, optimizer=fastbp.LBFGS(30), l2=0.5)
    np.testing.assert_allclose(net.parameters, found.x, rtol=1e-12)


def test_validation_stopping_and_callbacks():
    net, events = network(sizes=[3, 30, 3]), []
    history = net.fit(X[:40], CLASSES[:40], optimizer=fastbp.LBFGS(300, 0.0), metrics="mae",
                      validation=(X[40:], CLASSES[40:]), callbacks=[events.append],
                      early_stopping=fastbp.EarlyStopping(5))  # fmt: skip
    best = history["validation_loss"].argmin()
    assert history.epochs == best + 6 == len(events) and "validation_mae" in history
    found = net.loss(X[40:], CLASSES[40:])
    assert found == pytest.approx(history["validation_loss"][best], rel=1e-6)
    assert [e.epoch for e in events] == list(range(history.epochs))
    history = network().fit(X, CLASSES, optimizer=fastbp.LBFGS(),
                            callbacks=[lambda event: event.epoch == 3])  # fmt: skip
    assert history.epochs == 4


def test_time_limit():
    net = network(sizes=[50, 200, 3])
    data, classes = rng.standard_normal((3000, 50)), rng.integers(0, 3, 3000)
    began = time.process_time()
    net.fit(data, classes, optimizer=fastbp.LBFGS(10**6, 0.0, 10**7), time_limit=0.5)
    assert time.process_time() - began < 1.5
    assert np.isfinite(net.parameters).all()


def test_class_weights_and_missing_targets():
    ours, twin = network(), network()
    ours.fit(X, CLASSES, optimizer=fastbp.LBFGS(9), class_weight={0: 3.0})
    twin.fit(X, CLASSES, optimizer=fastbp.LBFGS(9), sample_weight=1.0 + 2.0 * (CLASSES == 0))
    assert ours.parameters.tobytes() == twin.parameters.tobytes()
    Y = rng.standard_normal((60, 2))
    Y[::3, 0] = np.nan
    net = network(sizes=[3, 4, 2], output="identity", loss="quadratic")
    history = net.fit(X, Y, optimizer=fastbp.LBFGS(20), ignore_missing=True)
    assert np.isfinite(history["loss"]).all() and history["loss"][-1] < history["loss"][0]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("l1", 0.1),
        ("schedule", fastbp.schedules.Step(2)),
        ("ema", 0.9),
        ("dropout", 0.1),
        ("clip_norm", 1.0),
        ("loss", lambda a, y, w: (0.0, a)),
    ],
)
def test_what_has_no_meaning_is_refused(name, value):
    net = network()
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=f"{name}: expected none with LBFGS"):
        net.fit(X, CLASSES, optimizer=fastbp.LBFGS(), **{name: value})
    assert net.parameters.tobytes() == before.tobytes()


def test_no_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="checkpoint: expected none with LBFGS"):
        network().fit(X, CLASSES, optimizer=fastbp.LBFGS(), checkpoint=tmp_path / "run")
    assert not list(tmp_path.iterdir())


def test_bad_numbers():
    for options in ({"max_iter": 0}, {"max_fun": -1}, {"tolerance": -1.0}, {"tolerance": np.nan}):
        with pytest.raises(ValueError, match=r"LBFGS\.(max_iter|max_fun|tolerance): expected"):
            fastbp.LBFGS(**options)
    for options in ({"max_iter": 2.5}, {"max_iter": True}, {"tolerance": "small"}):
        with pytest.raises(TypeError, match=r"LBFGS\.(max_iter|tolerance): expected"):
            fastbp.LBFGS(**options)


def test_without_scipy_the_extra_is_named(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "scipy"]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(ImportError, match=r"pip install .*\[lbfgs\]'"):
        network().fit(X, CLASSES, optimizer=fastbp.LBFGS())


@pytest.mark.filterwarnings("error")
def test_a_step_too_far_is_not_told_and_no_filter_is_touched(monkeypatch):
    """Filters are the whole process's: two threads that change them leave them changed."""

    def touched(*_, **__):
        raise AssertionError("the warnings' filters")

    monkeypatch.setattr(warnings, "catch_warnings", touched)
    net = fastbp.Network([3, 3], output="exp", loss="poisson", dtype="float64")
    net.fit(X, np.exp(3 * X), optimizer=fastbp.LBFGS(50))
    assert np.isfinite(net.parameters).all()


def test_numpys_errstate_is_heeded():
    net = fastbp.Network([1, 1], output="exp", loss="poisson")
    net.parameters = [1000.0, 0.0]
    with np.errstate(all="ignore"):
        assert net.predict([[1.0]]) == np.inf
    with pytest.warns(RuntimeWarning, match="predict: NaN or infinity"):
        net.predict([[1.0]])


def test_scipys_status_is_told():
    net = network(sizes=[3, 5, 1], output="identity", loss="quadratic")
    before = net.parameters.copy()
    with pytest.warns(RuntimeWarning, match=r"LBFGS: ended after 0 iterations.*status 2: ABNORMAL"):
        history = net.fit(X * 1e18, X @ [1e18, 2e18, 3e18], optimizer=fastbp.LBFGS())
    assert history["loss"].shape == history["seconds"].shape == (0,)
    assert net.parameters.tobytes() == before.tobytes()
    with pytest.warns(RuntimeWarning, match=r"LBFGS: ended after 1 iterations.*status 1: STOP"):
        history = network().fit(X, CLASSES, optimizer=fastbp.LBFGS(max_fun=1))
    assert history.epochs == 1
    # what was asked for is no news: all iterations, a callback, the time
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        network().fit(X, CLASSES, optimizer=fastbp.LBFGS(2))
        network().fit(X, CLASSES, optimizer=fastbp.LBFGS(), callbacks=[lambda event: True])
        network().fit(X, CLASSES, optimizer=fastbp.LBFGS(), time_limit=1e-9)
