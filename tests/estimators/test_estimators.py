"""The estimators beside scikit-learn's: equal answers, its tools, what is more, refusals.

What belongs here: fastbp.estimators and LossCurveDisplay. What does not: scikit-learn's own tests
of its estimators (test_estimators_sklearn_suite.py).
"""

import copy
import inspect
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")

import joblib
import sklearn
import sklearn.neural_network as theirs
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV, cross_validate
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import fastbp
from fastbp import estimators as ours, schedules
from fastbp.estimators import LossCurveDisplay, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

rng = np.random.RandomState(0)
X = rng.randn(130, 6)
WEIGHT = rng.rand(130)
NUMBERS = X[:, 0] - X[:, 1] ** 2 + 0.1 * rng.randn(130)
COUNTS = rng.poisson(np.exp(X[:, 0])).astype(float)
THREE = np.array(["a", "b", "c"])[(X[:, 0] > 0).astype(int) + (X[:, 1] > 0.3)]
TWO = X[:, 0] > 0.2
LABELS = np.column_stack([TWO, X[:, 1] > 0, X[:, 2] > 0.5]).astype(int)
TARGETS = {
    "numbers": ("MLPRegressor", NUMBERS, {}),
    "counts": ("MLPRegressor", COUNTS, {"loss": "poisson"}),
    "three": ("MLPClassifier", THREE, {}),
    "two": ("MLPClassifier", TWO, {}),
    "labels": ("MLPClassifier", LABELS, {}),
}
SETTINGS = [
    {},
    {"batch_size": 32, "alpha": 0.3, "activation": "tanh", "hidden_layer_sizes": (9, 5)},
    {"solver": "sgd", "batch_size": 50, "activation": "logistic", "momentum": 1.0},
    {"solver": "sgd", "batch_size": 32, "nesterovs_momentum": False, "shuffle": False},
    {"solver": "sgd", "batch_size": 32, "momentum": 0, "hidden_layer_sizes": ()},
    {"solver": "sgd", "batch_size": 50, "learning_rate": "invscaling", "learning_rate_init": 0.1},
    {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.1, "tol": 0.01,
     "n_iter_no_change": 2, "max_iter": 120},
    {"early_stopping": True, "batch_size": 32, "n_iter_no_change": 4, "tol": 1e-2},
    {"epsilon": 1e-2, "beta_1": 0.5, "activation": "identity"},
]  # fmt: skip


def both(name, **settings):
    settings = {"max_iter": 25, "random_state": 3} | settings
    return getattr(theirs, name)(**settings), getattr(ours, name)(**settings)


def quick(cls=MLPClassifier, **settings):
    return cls(**({"hidden_layer_sizes": 5, "max_iter": 5, "random_state": 0} | settings))


# equal answers


@pytest.mark.parametrize("weight", [None, WEIGHT], ids=["plain", "weighted"])
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_the_same_run_as_scikit_learn(settings, target, weight):
    """Initial weights, order of samples, steps, rates, stopping: all to rounding."""
    name, y, more = TARGETS[target]
    a, b = both(name, **(settings | more))
    a.fit(X, y, sample_weight=weight)
    b.fit(X, y, sample_weight=weight)
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=1e-9, atol=1e-12)
    if settings.get("early_stopping"):
        np.testing.assert_allclose(b.validation_scores_, a.validation_scores_, rtol=1e-8)
    for theirs_, ours_ in zip(a.coefs_ + a.intercepts_, b.coefs_ + b.intercepts_, strict=True):
        np.testing.assert_allclose(ours_, theirs_, rtol=1e-5, atol=1e-8)
    for attribute in ("n_iter_", "t_", "n_layers_", "n_outputs_", "out_activation_",
                      "n_features_in_"):  # fmt: skip
        assert getattr(a, attribute) == getattr(b, attribute), attribute
    assert type(b.loss_) is float
    for attribute in ("best_loss_", "best_validation_score_"):
        mine, other = getattr(b, attribute), getattr(a, attribute)
        assert (mine is None and other is None) or mine == pytest.approx(other)
    if name == "MLPClassifier":
        np.testing.assert_array_equal(a.classes_, b.classes_)
        np.testing.assert_allclose(b.predict_proba(X), a.predict_proba(X), rtol=1e-5, atol=1e-9)
        np.testing.assert_array_equal(b.predict(X), a.predict(X))
        assert b.predict(X).dtype == a.predict(X).dtype
    else:
        np.testing.assert_allclose(b.predict(X), a.predict(X), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("target", TARGETS)
def test_lbfgs_is_the_same(target):
    name, y, more = TARGETS[target]
    a, b = both(name, solver="lbfgs", max_iter=12, alpha=0.1, hidden_layer_sizes=7, **more)
    assert b.fit(X, y, WEIGHT).loss_ == pytest.approx(a.fit(X, y, WEIGHT).loss_, rel=1e-5)
    assert b.n_iter_ == a.n_iter_
    assert not hasattr(b, "loss_curve_") and not hasattr(b, "partial_fit")


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("target", TARGETS)
def test_partial_fit_and_warm_start_are_the_same(target, solver):
    name, y, more = TARGETS[target]
    a, b = both(name, solver=solver, batch_size=32, learning_rate="invscaling", **more)
    for model in (a, b):
        for first in range(0, 130, 26):
            rows = slice(first, first + 26)
            classes = np.arange(3) if target == "labels" else np.unique(y)
            classes = {"classes": classes} if name == "MLPClassifier" else {}
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # batches of fewer than 32
                model.partial_fit(X[rows], y[rows], sample_weight=WEIGHT[rows], **classes)
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=1e-9)
    np.testing.assert_allclose(b.coefs_[0], a.coefs_[0], rtol=1e-6, atol=1e-9)
    for model in both(name, solver=solver, warm_start=True, max_iter=4, **more):
        model.fit(X, y).fit(X, y)
        assert len(model.loss_curve_) == 8 and model.n_iter_ == 4 and model.t_ == 8 * 130
        a, b = b, model
    np.testing.assert_allclose(b.loss_curve_, a.loss_curve_, rtol=1e-9)


def test_a_multi_output_regressor_follows_its_own_loss():
    """scikit-learn's takes steps that are n_outputs times too long, and its penalty's are not."""
    Y = np.column_stack([NUMBERS, COUNTS, X[:, 3]])
    settings = {"solver": "sgd", "batch_size": 32, "max_iter": 10, "random_state": 1, "tol": 0}
    a = theirs.MLPRegressor(**settings, alpha=0.3, learning_rate_init=1e-3).fit(X, Y)
    b = MLPRegressor(**settings, alpha=0.1, learning_rate_init=3e-3).fit(X, Y)
    np.testing.assert_allclose(b.coefs_[0], a.coefs_[0], rtol=1e-7, atol=1e-10)
    assert b.predict(X).shape == Y.shape
    report = fastbp.check.gradients(b.network_, X[:3], Y[:3])
    assert report.ok, str(report)
    assert b.network_.loss(X, Y) == pytest.approx(0.5 * np.mean((b.predict(X) - Y) ** 2))


@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
@pytest.mark.parametrize("target", TARGETS)
def test_gradients_are_right(target, activation):
    """What scikit-learn's test_gradient asks of its private function."""
    name, y, more = TARGETS[target]
    model = getattr(ours, name)(activation=activation, hidden_layer_sizes=4, max_iter=2, **more)
    model.fit(X, y)
    codes = np.searchsorted(model.classes_, y) if target in ("three", "two") else y
    report = fastbp.check.gradients(model.network_, X[:4], codes[:4], l2=0.1)
    assert report.ok, str(report)


def test_float32_stays_float32():
    for cls, y in ((MLPRegressor, NUMBERS), (MLPClassifier, THREE)):
        single, double = (quick(cls).fit(X.astype(dtype), y) for dtype in ("f4", "f8"))
        assert {W.dtype for W in single.coefs_ + single.intercepts_} == {np.dtype("f4")}
        assert double.coefs_[0].dtype == np.float64
        np.testing.assert_allclose(single.loss_curve_, double.loss_curve_, rtol=1e-4)
    assert single.predict_proba(X.astype("f4")).dtype == np.float32
    assert quick(solver="lbfgs").fit(X.astype("f4"), THREE).coefs_[0].dtype == np.float32


@pytest.mark.threaded
@pytest.mark.parametrize("settings", [{}, {"solver": "sgd", "alpha": 1.0}], ids=str)
def test_bits_do_not_depend_on_threads(settings):
    runs = [
        quick(hidden_layer_sizes=40, batch_size=33, n_threads=n, **settings).fit(X, THREE, WEIGHT)
        for n in (1, 2)
    ]
    assert np.array_equal(runs[0].network_.parameters, runs[1].network_.parameters)
    assert runs[0].loss_curve_ == runs[1].loss_curve_


# scikit-learn's tools


@parametrize_with_checks([MLPClassifier(max_iter=100), MLPRegressor(max_iter=100)])
@pytest.mark.filterwarnings("ignore")
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def test_constructors_are_scikit_learns():
    for name in ("MLPClassifier", "MLPRegressor"):
        a, b = (getattr(module, name)().get_params() for module in (theirs, ours))
        assert a.items() <= b.items(), name
        positional = [
            [p.name for p in inspect.signature(getattr(module, name)).parameters.values()
             if p.kind is p.POSITIONAL_OR_KEYWORD]
            for module in (theirs, ours)
        ]  # fmt: skip
        assert positional[0] == positional[1] != []


def test_pickle_copy_and_clone():
    for model in (quick().fit(X, THREE), quick(MLPRegressor).fit(X.astype("f4"), NUMBERS)):
        want = model.predict(X)
        for twin in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
            assert "_network" not in twin.__dict__
            np.testing.assert_array_equal(twin.predict(X), want)
            assert twin.coefs_[0].dtype == model.coefs_[0].dtype
            # goes on as the original does, moments included
            y = THREE if isinstance(model, MLPClassifier) else NUMBERS
            a = copy.deepcopy(model).partial_fit(X, y)
            b = twin.partial_fit(X, y)
            assert np.array_equal(a.network_.parameters, b.network_.parameters)
        with pytest.raises(NotFittedError):
            clone(model).predict(X)
    assert clone(quick(solver=fastbp.AdamW(1e-2))).solver == fastbp.AdamW(1e-2)


def test_read_only_memory_maps(tmp_path):
    model = quick(MLPRegressor).fit(X, NUMBERS)
    joblib.dump(model, tmp_path / "model.joblib")
    mapped = joblib.load(tmp_path / "model.joblib", mmap_mode="r")
    assert not mapped.coefs_[0].flags.writeable
    np.testing.assert_array_equal(mapped.predict(X), model.predict(X))
    mapped.partial_fit(X, NUMBERS)
    np.save(tmp_path / "X.npy", X)
    on_disk = np.load(tmp_path / "X.npy", mmap_mode="r")
    np.testing.assert_array_equal(
        quick(MLPRegressor).fit(on_disk, NUMBERS).predict(on_disk), model.predict(X)
    )


def test_grid_search_in_two_processes():
    pipeline = make_pipeline(StandardScaler(), quick())
    grid = {"mlpclassifier__alpha": [1e-4, 1e-1], "mlpclassifier__activation": ["tanh", "relu"]}
    with joblib.parallel_config("loky", max_nbytes=1):  # every array goes as a memory map
        found = GridSearchCV(pipeline, grid, n_jobs=2, cv=2).fit(X, THREE)
    alone = GridSearchCV(pipeline, grid, cv=2).fit(X, THREE)
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"]
    )


def test_metadata_routing():
    with sklearn.config_context(enable_metadata_routing=True):
        model = quick().set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        scores = cross_validate(
            make_pipeline(scaler, model), X, THREE, params={"sample_weight": WEIGHT}
        )
        assert len(scores["test_score"]) == 5
    with pytest.raises(RuntimeError):
        quick().set_fit_request(sample_weight=True)


def test_frames_and_their_names():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("uvwxyz"))
    model = quick(early_stopping=True, scoring="balanced_accuracy")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(frame, pandas.Series(THREE))
        assert model.predict(frame).shape == (130,)
    assert list(model.feature_names_in_) == list("uvwxyz")
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        model.predict(X)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame[list("zyxwvu")])
    with pytest.raises(ValueError, match="X_val: The feature names"):
        quick(early_stopping=True).fit(frame, THREE, X_val=frame[list("zyxwvu")], y_val=THREE)
    pipeline = make_pipeline(StandardScaler(), quick()).set_output(transform="pandas")
    assert pipeline.fit(frame, THREE).predict(frame).shape == (130,)
    assert list(pipeline[-1].feature_names_in_) == list("uvwxyz")
    polars = pytest.importorskip("polars")
    assert list(quick().fit(polars.from_pandas(frame), THREE).feature_names_in_) == list("uvwxyz")


@pytest.mark.parametrize(
    "options",
    [{}, {"alpha": 0, "solver": "sgd", "momentum": 0}, {"solver": "lbfgs"},
     {"early_stopping": True}, {"early_stopping": True, "scoring": "accuracy"},
     {"dropout": [0.2, 0.1], "ema": 0.9}],
)  # fmt: skip
def test_sparse_X_gives_the_same(options, never_dense):
    some = np.where(np.abs(X) > 0.5, X, 0)
    for form in (sparse.csr_matrix, sparse.csc_array, sparse.coo_matrix):
        a, b = quick(**options).fit(some, THREE), quick(**options).fit(form(some), THREE)
        assert np.array_equal(a.network_.parameters, b.network_.parameters)
        np.testing.assert_array_equal(b.predict_proba(form(some)), a.predict_proba(some))


def test_sparse_validation_data_give_the_same(never_dense):
    some = np.where(np.abs(X) > 0.5, X, 0)
    models = [quick(MLPRegressor, early_stopping=True) for _ in range(2)]
    for model, form in zip(models, (np.array, sparse.csr_array), strict=True):
        model.fit(form(some), NUMBERS, X_val=form(some[:9]), y_val=NUMBERS[:9])
    assert models[0].validation_scores_ == models[1].validation_scores_
    assert np.array_equal(models[0].predict(some), models[1].predict(sparse.csr_array(some)))


def test_sparse_X_goes_on_from_a_checkpoint(tmp_path):
    some = sparse.csr_matrix(np.where(np.abs(X) > 0.5, X, 0))
    options = {"random_state": 1, "tol": 0, "checkpoint": tmp_path / "run"}
    whole = quick(**{**options, "checkpoint": None, "max_iter": 6}).fit(some, THREE)
    quick(**options, max_iter=3).fit(some, THREE)
    rest = quick(**options, max_iter=6).fit(some, THREE)
    assert np.array_equal(whole.network_.parameters, rest.network_.parameters)
    with pytest.raises(ValueError, match="expected the same data"):
        quick(**options, max_iter=6).fit(2 * some, THREE)


def test_sparse_labels_give_sparse_labels(never_dense):
    labels = quick(solver="lbfgs").fit(X, sparse.csr_matrix(LABELS)).predict(X)
    assert sparse.issparse(labels) and labels.shape == LABELS.shape


# predictions


def test_what_is_not_a_plain_row_is_checked():
    model = quick(MLPRegressor).fit(X, NUMBERS)
    want = model.predict(X)
    np.testing.assert_array_equal(model.predict(X.tolist()), want)
    np.testing.assert_array_equal(model.predict(np.asfortranarray(X)), want)
    np.testing.assert_allclose(model.predict(X[:1]), want[:1], rtol=1e-12)
    np.testing.assert_allclose(model.predict(X.astype("f4")), want, rtol=1e-4, atol=1e-5)
    for bad, message in (
        (X[:1, :5], "X has 5 features, but MLPRegressor is expecting 6 features as input"),
        (X[0], "Expected 2D array"),
        (np.full((1, 6), np.nan), "contains NaN"),
        (np.full((1, 6), np.inf), "contains infinity"),
        (X[:0], "0 sample"),
        (np.array([["x"] * 6]), "strings|could not convert"),
    ):
        with pytest.raises(ValueError, match=message):
            model.predict(bad)


def test_coefs_may_be_written_and_replaced():
    model = quick(MLPRegressor).fit(X, NUMBERS)
    model.intercepts_[-1][:] += 1
    moved = model.predict(X[:1])
    model.intercepts_[-1] = model.intercepts_[-1] + 1
    np.testing.assert_allclose(model.predict(X[:1]), moved + 1)
    np.testing.assert_allclose(model.predict(X), model.network_.predict(X)[:, 0])
    model.partial_fit(X, NUMBERS)
    assert model.coefs_[0] is model.network_.weights[0]


# what is more than scikit-learn's


@pytest.mark.parametrize(
    "optimizer",
    [fastbp.AdamW(1e-2), fastbp.SGD(0.05, 0.9), fastbp.Lion(1e-3), fastbp.Adagrad(0.01)],
    ids=str,
)
def test_an_optimizer_as_solver(optimizer):
    model = quick(solver=optimizer, alpha=0, batch_size=26, max_iter=30, shuffle=False)
    model.fit(X, THREE)
    net = quick(max_iter=1, solver=fastbp.SGD(0.0)).fit(X, THREE).network_  # as it was drawn
    codes = np.searchsorted(model.classes_, THREE)
    net.fit(X, codes, epochs=30, batch_size=26, optimizer=optimizer, shuffle=False)
    assert np.array_equal(net.parameters, model.network_.parameters)


def test_activations_one_a_layer():
    model = quick(hidden_layer_sizes=(6, 5, 4), activation=["gelu", "maxout(3)", "logistic"])
    assert model.fit(X, THREE).network_.architecture["activation"] == [
        "gelu", "maxout(3)", "sigmoid"]  # fmt: skip
    assert model.coefs_[1].shape == (6, 15)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("loss", ["mae", "huber(1.5)", "pinball(0.9)", "log_cosh", "quadratic"])
def test_losses_for_numbers(loss):
    model = quick(MLPRegressor, loss=loss, max_iter=200, learning_rate_init=0.02, tol=0)
    model.fit(X, NUMBERS)
    assert model.loss_curve_[-1] < 0.5 * model.loss_curve_[0]
    if loss == "pinball(0.9)":
        assert 0.8 < np.mean(model.predict(X) > NUMBERS) < 0.97


def test_gaussian_nll_gives_standard_deviations():
    noise = np.random.RandomState(5).randn(2000)
    wide = np.random.RandomState(6).rand(2000, 1) * 2 - 1
    y = np.exp(wide[:, 0]) * noise
    model = MLPRegressor(
        "gaussian_nll", 20, activation="tanh", learning_rate_init=0.01, random_state=0
    )
    mean, std = model.fit(wide, y).predict(wide, return_std=True)
    assert mean.shape == std.shape == (2000,)
    np.testing.assert_array_equal(mean, model.predict(wide))
    np.testing.assert_allclose(std, np.exp(wide[:, 0]), rtol=0.35)
    pair = quick(MLPRegressor, loss="gaussian_nll").fit(X, np.column_stack([NUMBERS, COUNTS]))
    mean, std = pickle.loads(pickle.dumps(pair)).predict(X, return_std=True)
    assert mean.shape == std.shape == (130, 2)
    with pytest.raises(ValueError, match="return_std: needs loss 'gaussian_nll'"):
        quick(MLPRegressor).fit(X, NUMBERS).predict(X, return_std=True)


@pytest.mark.parametrize("loss", ["hinge", "squared_hinge"])
@pytest.mark.parametrize("y", [TWO, THREE, LABELS], ids=["two", "three", "labels"])
def test_hinge_has_labels_and_no_probabilities(loss, y):
    model = quick(loss=loss, max_iter=200, learning_rate_init=0.02, hidden_layer_sizes=20)
    assert model.fit(X, y).score(X, y) > 0.85
    assert not hasattr(model, "predict_proba") and not hasattr(model, "predict_log_proba")


def test_class_weight():
    weighted = quick(class_weight={"a": 3.0, "b": 1.0, "c": 0.5}).fit(X, THREE, WEIGHT)
    by_hand = quick().fit(X, THREE, WEIGHT * np.select([THREE == "a", THREE == "c"], [3, 0.5], 1))
    np.testing.assert_array_equal(weighted.network_.parameters, by_hand.network_.parameters)
    counts = np.array([(THREE == c).sum() for c in "abc"])
    share = dict(zip("abc", 130 / (3 * counts), strict=True))
    a, b = quick(class_weight="balanced").fit(X, THREE), quick(class_weight=share).fit(X, THREE)
    np.testing.assert_array_equal(a.network_.parameters, b.network_.parameters)
    with pytest.raises(ValueError, match=r"class_weight: expected classes of y.*got \['z'\]"):
        quick(class_weight={"z": 1}).fit(X, THREE)
    with pytest.raises(ValueError, match="class_weight: 'balanced' needs all of y"):
        quick(class_weight="balanced").partial_fit(X, THREE, classes=list("abc"))


def test_validation_data_given():
    train, rest = slice(0, 90), slice(90, None)
    settings = {"early_stopping": True, "max_iter": 200, "n_iter_no_change": 3, "tol": 0.0}
    given = {"X_val": X[rest], "y_val": THREE[rest]}
    model = quick(**settings, batch_size=20, learning_rate_init=0.02)
    model.fit(X[train], THREE[train], **given)
    assert model.score(X[rest], THREE[rest]) == model.best_validation_score_
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert len(model.validation_scores_) == model.n_iter_ < 200
    weighted = clone(model).fit(
        X[train], THREE[train], **given, sample_weight_val=np.arange(40) + 1.0
    )
    assert weighted.validation_scores_ != model.validation_scores_
    scored = clone(model).set_params(scoring="neg_log_loss")
    scored.fit(X[train], THREE[train], **given)
    assert max(scored.validation_scores_) < 0
    own = clone(model).set_params(scoring=lambda m, X_val, y_val: m.score(X_val, y_val))
    own.fit(X[train], THREE[train], **given)
    assert own.validation_scores_ == model.validation_scores_
    number = quick(MLPRegressor, **settings, scoring="neg_mean_absolute_error")
    number.fit(X[train], NUMBERS[train], X_val=X[rest], y_val=NUMBERS[rest])
    error = np.abs(number.predict(X[rest]) - NUMBERS[rest]).mean()
    assert number.best_validation_score_ == pytest.approx(-error)


def test_callbacks_stop_and_write():
    seen = []

    def stop_at_three(event):
        seen.append((event.epoch, event.network, float(event.history["loss"][-1])))
        return event.epoch == 2

    model = quick(max_iter=50, callbacks=[stop_at_three]).fit(X, THREE)
    assert model.n_iter_ == 3 and [e for e, *_ in seen] == [0, 1, 2]
    assert [loss for *_, loss in seen] == model.loss_curve_
    assert all(net is model.network_ for _, net, _ in seen)

    def clear(event):
        event.network.parameters[...] = 0

    assert not quick(callbacks=[clear]).fit(X, THREE).network_.parameters.any()


def test_dropout():
    settings = {"hidden_layer_sizes": (30, 20), "batch_size": 26, "random_state": 2}
    plain, half = quick(**settings).fit(X, THREE), quick(dropout=0.5, **settings).fit(X, THREE)
    assert half.loss_curve_ != plain.loss_curve_
    again = [quick(dropout=d, n_threads=n, **settings).fit(X, THREE)
             for d, n in ((0.5, 2), ([0.5, 0.5], 1), ((0.0, 0.5, 0.5), 1))]  # fmt: skip
    for same in again:
        assert np.array_equal(same.network_.parameters, half.network_.parameters)
    np.testing.assert_array_equal(half.predict_proba(X), half.network_.predict(X))
    for bad, settings in (([0.5], {"hidden_layer_sizes": (4, 4, 4)}), (0.5, {"solver": "lbfgs"})):
        with pytest.raises(ValueError, match="dropout: expected"):
            quick(dropout=bad, **settings).fit(X, THREE)


def test_learning_rate_of_an_epoch():
    halves = quick(solver="sgd", learning_rate=lambda epoch: 0.5**epoch, shuffle=False,
                   batch_size=130, alpha=0, max_iter=3)  # fmt: skip
    halves.fit(X, THREE)
    net = quick(max_iter=1, solver=fastbp.SGD(0.0)).fit(X, THREE).network_
    codes, history = np.searchsorted(halves.classes_, THREE), None
    for rate in (1, 0.5, 0.25):
        history = net.fit(X, codes, epochs=1, batch_size=130, shuffle=False, resume=history,
                          optimizer=fastbp.SGD(rate, momentum=0.9, nesterov=True))  # fmt: skip
    np.testing.assert_allclose(net.parameters, halves.network_.parameters, rtol=1e-12)


def test_schedules():
    assert quick(learning_rate=fastbp.schedules.Constant()).fit(X, THREE).loss_curve_ == (
        quick().fit(X, THREE).loss_curve_
    )
    rates = []
    settings = {"callbacks": [lambda event: rates.append(event.history["learning_rate"][-1])],
                "early_stopping": True, "max_iter": 60, "n_iter_no_change": 100}  # fmt: skip
    model = quick(learning_rate=fastbp.schedules.Cosine(), **settings).fit(X, THREE)
    want = [1e-3 * (1 + np.cos(np.pi * epoch / 60)) / 2 for epoch in range(60)]
    np.testing.assert_allclose(rates, want, atol=1e-18)
    rates.clear()
    halve = fastbp.schedules.HalveOnPlateau(1, monitor="validation_score", mode="max")
    model = quick(learning_rate=halve, tol=0.0, **settings).fit(X, THREE)
    assert rates[-1] == 1e-3 / 64 and model.n_iter_ < 60  # it ends at 1/128
    assert clone(model).learning_rate == halve
    with pytest.raises(ValueError, match="learning_rate: expected a schedule that watches loss;"):
        quick(learning_rate=halve).fit(X, THREE)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["sgd", "adam", "lbfgs"])
def test_rates_and_decays(kind, solver):
    """Frozen tensors stay at their first values; alpha reaches what decays."""
    y = THREE if kind is MLPClassifier else X[:, 0]

    def fitted(**options):
        model = kind(
            hidden_layer_sizes=5,
            solver=solver,
            max_iter=5,
            random_state=0,
            batch_size=20,
            **options,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return model.fit(X, y)

    first = fitted(rates={"*": 0}) if solver == "lbfgs" else fitted(learning_rate_init=1e-30)
    frozen, free = fitted(rates={"W1": 0, "b2": 0}), fitted()
    for name in ("W1", "b2"):
        assert (frozen.network_.tensors[name] == first.network_.tensors[name]).all()
        assert (free.network_.tensors[name] != first.network_.tensors[name]).any()
    assert (frozen.network_.tensors["b1"] != first.network_.tensors["b1"]).all()
    usual = fitted(alpha=0.5, decays={"W*": 1, "b*": 0})
    assert usual.network_.parameters.tobytes() == fitted(alpha=0.5).network_.parameters.tobytes()
    none = fitted(alpha=0.5, decays={"*": 0})
    zero = fitted(alpha=0.0)
    np.testing.assert_allclose(none.network_.parameters, zero.network_.parameters, rtol=1e-12)
    assert none.loss_ == pytest.approx(zero.loss_, rel=1e-12) != usual.loss_
    with pytest.raises(ValueError, match=r"^rates: expected patterns of W1, b1, W2, b2; got 'W3'"):
        fitted(rates={"W3": 1})
    with pytest.raises(ValueError, match="'decays' parameter"):
        fitted(decays=0.5)


def test_a_schedule_of_each_step():
    """The rate of an epoch is its last step's; the steps are those of `Network.fit`."""
    seen, schedule = [], schedules.Cosine(each="step")

    def watch(event):
        seen.append(event.history["learning_rate"][-1])

    model = MLPClassifier((5,), solver="sgd", learning_rate_init=0.1, learning_rate=schedule,
                          max_iter=4, batch_size=10, shuffle=False, random_state=0, momentum=0,
                          alpha=0, callbacks=[watch])  # fmt: skip
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, THREE)
        start = MLPClassifier((5,), learning_rate_init=1e-30, max_iter=1, random_state=0)
        net = start.fit(X, THREE).network_
    per_epoch = -(-len(X) // 10)
    rates = schedule.of_steps(0.1, 4, len(X), per_epoch, 0, 4 * per_epoch)
    assert seen == rates[per_epoch - 1 :: per_epoch].tolist()
    labels = np.unique(THREE, return_inverse=True)[1]
    net.fit(X, labels, epochs=4, batch_size=10, shuffle=False, optimizer=fastbp.SGD(0.1),
            schedule=schedule)  # fmt: skip
    np.testing.assert_allclose(net.parameters, model.network_.parameters, rtol=1e-9)


def test_time_limit_and_progress(capsys):
    import time

    for solver in ("adam", "lbfgs"):
        model = quick(solver=solver, max_iter=10**6, tol=0, n_iter_no_change=np.inf,
                      time_limit=0.2, max_fun=10**9, alpha=1.0)  # fmt: skip
        began = time.process_time()
        model.fit(np.tile(X, (200, 1)), np.tile(THREE, 200))
        assert time.process_time() - began < 1.5 and model.n_iter_ < 10**6
    quick(progress=True).fit(X, THREE)
    assert "5/5" in capsys.readouterr().err


def test_an_interruption_keeps_the_network():
    def interrupt(event):
        if event.epoch == 3:
            raise KeyboardInterrupt

    model = quick(max_iter=50, callbacks=[interrupt])
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, THREE)
    want = quick(max_iter=4).fit(X, THREE)
    assert np.array_equal(model.network_.parameters, want.network_.parameters)


def test_divergence_leaves_finite_parameters():
    settings = {"solver": "sgd", "learning_rate_init": 1e8, "max_iter": 100}
    model = quick(MLPRegressor, **settings)
    with pytest.raises(ValueError, match="Solver produced non-finite parameter weights"):
        model.fit(X, NUMBERS)
    assert np.isfinite(model.network_.parameters).all()
    model = quick(MLPRegressor, early_stopping=True, **settings)
    with pytest.warns(ConvergenceWarning, match=r"diverged.*best validation score"):
        model.fit(X, NUMBERS)
    assert np.isnan(model.validation_scores_[-1])
    assert np.isfinite(model.network_.parameters).all()


@pytest.mark.parametrize("estimator", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_fit_that_ends_before_its_first_epoch(estimator, solver):
    y = THREE if estimator is MLPClassifier else NUMBERS
    for early_stopping in (False, True):
        model = quick(estimator, solver=solver, early_stopping=early_stopping).fit(X, y)
        model.set_params(time_limit=1e-9, callbacks=[lambda event: None]).fit(X, y)
        assert model.n_iter_ == 0 and np.isfinite(model.network_.parameters).all()
        assert np.isnan(model.loss_) == (solver != "lbfgs")  # not that of the fit before
        assert getattr(model, "loss_curve_", []) == []
        assert len(model.predict(X)) == len(X)


def test_losses_without_a_cost_for_one_of_two_classes():
    two = np.where(np.asarray(THREE) == "a", "a", "b")
    for y in (two, LABELS):
        for loss in ("cross_entropy", "kl"):
            with pytest.raises(ValueError, match=f"^loss: '{loss}' .*'log_loss'"):
                quick(loss=loss).fit(X, y)
    quick(loss="cross_entropy").fit(X, THREE)
    assert (quick().fit(X, ["a"] * len(X)).predict(X) == "a").all()  # one class alone
    with pytest.raises(ValueError, match="activation: expected at least 2 units"):
        quick(hidden_layer_sizes=(5, 1), activation="layer_norm").fit(X, THREE)
    with pytest.raises(TypeError, match=r"'lr'\. Did you mean 'learning_rate_init'\?"):
        MLPClassifier(lr=0.1)
    with pytest.raises(TypeError, match=r"'epochs'\. Did you mean 'max_iter'\?"):
        MLPRegressor(epochs=3)


def test_loss_curve_display():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    model = quick(early_stopping=True).fit(X, THREE)
    shown = LossCurveDisplay.from_estimator(model, name="mine", color="red")
    assert list(shown.lines_[0].get_ydata()) == model.loss_curve_
    assert list(shown.lines_[1].get_ydata()) == model.validation_scores_
    assert shown.lines_[0].get_color() == "red" and shown.lines_[0].get_label() == "mine"
    _, ax = pyplot.subplots()
    assert LossCurveDisplay.from_estimator(quick().fit(X, THREE), ax=ax).ax_ is ax
    with pytest.raises(ValueError, match="estimator: expected one fitted with a stochastic"):
        LossCurveDisplay.from_estimator(quick(solver="lbfgs").fit(X, THREE))
    pyplot.close("all")


def test_html_shows_layers():
    model = quick(hidden_layer_sizes=(7, 4))
    assert "6 → 7" not in model._repr_html_()
    model.fit(X.astype("f4"), THREE)
    for page in (model._repr_html_(), model._repr_mimebundle_()["text/html"]):
        for text in ("6 → 7", "7 → 4", "4 → 3", "relu", "softmax", "float32", "96 parameters"):
            assert text in page, text
    with sklearn.config_context(display="text"):
        assert "text/html" not in model._repr_mimebundle_() and not hasattr(model, "_repr_html_")


# refusals

HALF = {"X_val": X[:50], "y_val": THREE[:50]}
NAN = np.where(np.arange(130) == 7, np.nan, NUMBERS)


@pytest.mark.parametrize(
    ("settings", "y", "data", "message"),
    [
        ({"hidden_layer_sizes": -1}, THREE, {}, "hidden_layer_sizes"),
        ({"hidden_layer_sizes": (5, 0)}, THREE, {}, "hidden_layer_sizes must be > 0"),
        ({"hidden_layer_sizes": (5.5,)}, THREE, {}, r"hidden_layer_sizes\[0\]: expected a whole"),
        ({"activation": "ghost"}, THREE, {}, "activation: expected one of .* got 'ghost'"),
        ({"activation": ["tanh", "relu"]}, THREE, {}, "one for each of the 1 hidden"),
        ({"solver": "ghost"}, THREE, {}, "'solver' parameter of MLPClassifier"),
        ({"alpha": -1}, THREE, {}, "'alpha' parameter of MLPClassifier"),
        ({"learning_rate": "ghost"}, THREE, {}, "'learning_rate' parameter"),
        ({"momentum": 2}, THREE, {}, "'momentum' parameter"),
        ({"loss": "ghost"}, THREE, {}, "loss: expected one of .* got 'ghost'"),
        ({"loss": "gaussian_nll"}, THREE, {}, "loss: expected one for classes"),
        ({"time_limit": 0}, THREE, {}, "'time_limit' parameter"),
        ({"n_threads": 0}, THREE, {}, "'n_threads' parameter"),
        ({"callbacks": [1]}, THREE, {}, "callbacks: expected callables"),
        ({"early_stopping": True, "validation_fraction": 0.0}, THREE, {},
         "early_stopping: needs validation data"),
        ({}, THREE, HALF, "X_val and y_val are used by early stopping"),
        ({"early_stopping": True}, THREE, {"X_val": X}, "y_val: expected validation data"),
        ({"early_stopping": True}, THREE, {"y_val": THREE}, "X_val: expected validation data"),
        ({"early_stopping": True}, THREE, HALF | {"X_val": X[:50, :4]}, "X_val: X has 4 features"),
        ({"early_stopping": True}, THREE, HALF | {"y_val": THREE[:4]}, "y_val: expected 50 rows"),
        ({"early_stopping": True}, THREE, HALF | {"y_val": ["z"] * 50},
         r"y_val: expected classes that y has.*'z'"),
        ({"early_stopping": True}, LABELS, HALF, "y_val: expected 3 columns"),
        ({}, NUMBERS, {}, "Unknown label type: continuous"),
        ({}, NAN, {}, "y contains NaN"),
        ({}, np.column_stack([COUNTS, THREE == "a"]), {}, "Multioutput|multiclass-multioutput"),
        ({}, THREE[:7], {}, "inconsistent numbers of samples"),
        ({}, THREE, {"sample_weight": -WEIGHT}, "sample_weight: expected numbers >= 0"),
        ({}, THREE, {"sample_weight": WEIGHT[:5]}, "sample_weight"),
    ],
)  # fmt: skip
def test_a_classifier_refuses(settings, y, data, message):
    model = quick().fit(X, THREE)
    model.set_params(**settings)
    before, parameters = dict(model.__dict__), model.network_.parameters.copy()
    with pytest.raises((ValueError, TypeError), match=message):
        model.fit(X, y, **data)
    assert model.__dict__ == before and np.array_equal(model._network.parameters, parameters)


@pytest.mark.parametrize(
    ("settings", "y", "data", "message"),
    [
        ({}, NAN, {}, "y contains NaN"),
        ({"loss": "poisson"}, NUMBERS, {}, "y: loss 'poisson' expects targets at least 0"),
        ({"loss": "ghost"}, NUMBERS, {}, "loss: expected one of"),
        ({"early_stopping": True}, NUMBERS, {"X_val": X, "y_val": LABELS},
         "y_val: expected 1 columns"),
        ({"early_stopping": True}, NUMBERS, {"X_val": X, "y_val": NAN}, "y_val: .*NaN"),
    ],
)  # fmt: skip
def test_a_regressor_refuses(settings, y, data, message):
    with pytest.raises(ValueError, match=message):
        quick(MLPRegressor, **settings).fit(X, y, **data)


def test_a_continued_fit_keeps_its_shape():
    model = quick(MLPRegressor, warm_start=True).fit(X, NUMBERS)
    before = model.network_.parameters.copy()
    with pytest.raises(ValueError, match=r"y: expected 1 columns.*got 3"):
        model.fit(X, LABELS)
    with pytest.raises(ValueError, match=r"hidden_layer_sizes: expected \[5\].*got \[6\]"):
        model.set_params(hidden_layer_sizes=6).fit(X, NUMBERS)
    assert np.array_equal(model.network_.parameters, before)
    classifier = quick().fit(X, THREE)
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        classifier.partial_fit(X[:1], ["z"])
    with pytest.raises(ValueError, match="is not the same as on last call"):
        classifier.partial_fit(X[:1], ["a"], classes=["a", "z"])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        quick().partial_fit(X, THREE)


def test_what_is_no_callback_or_number_is_refused_by_name():
    for callbacks in (np.array([1, 2]), 5, [5]):
        with pytest.raises((TypeError, ValueError), match="callbacks"):
            quick(callbacks=callbacks).fit(X, THREE)
    with pytest.raises((TypeError, ValueError), match=r"^y: expected|y_numeric|'y'|convert"):
        quick(MLPRegressor).partial_fit(X, NUMBERS.astype(str))
    with pytest.raises(TypeError, match=r"hidden_layer_sizes"):
        quick(hidden_layer_sizes=np.array(None)).fit(X, THREE)
    with pytest.raises(TypeError, match=r"^return_std: expected True or False"):
        quick(MLPRegressor).fit(X, NUMBERS).predict(X, return_std=np.ones(2))


def test_without_scikit_learn_the_error_names_the_extra():
    code = "import sys; sys.modules['sklearn'] = None; import fastbp, fastbp.estimators"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "[sklearn]'" in done.stderr


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"alpha": 1e308}, "alpha"),
        ({"alpha": 1e308, "solver": "lbfgs"}, "alpha"),
        ({"alpha": 10**400}, "alpha"),
        ({"power_t": 10**400}, "power_t"),
    ],
)
def test_numbers_too_large_to_compute_with(settings, name, dtype):
    model = MLPClassifier((4,), max_iter=3, random_state=0).fit(X, TWO)
    before = model.network_.parameters.copy()
    with pytest.raises(ValueError, match=f"^{name}: expected"):
        model.set_params(**settings).fit(X.astype(dtype), TWO)
    np.testing.assert_array_equal(model.network_.parameters, before)


def test_a_power_that_no_number_holds():
    settings = {"solver": "sgd", "learning_rate": "invscaling", "power_t": 400, "max_iter": 5}
    assert np.isfinite(MLPClassifier((4,), random_state=0, **settings).fit(X, TWO).loss_)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_weights_of_any_size(early_stopping):
    settings = {"hidden_layer_sizes": (4,), "random_state": 0, "max_iter": 5, "alpha": 0.0}
    model = MLPRegressor(**settings, early_stopping=early_stopping)
    losses = [
        list(model.fit(X, NUMBERS, sample_weight=np.ldexp(1.0 + np.round(WEIGHT), k)).loss_curve_)
        for k in (0, -1070, -140, 900)
    ]
    assert all(one == losses[0] for one in losses)
    model = MLPClassifier(**settings, class_weight=dict.fromkeys("abc", 1e308))
    assert np.isfinite(model.fit(X, THREE, sample_weight=np.full(130, 1e300)).loss_)


def test_a_score_that_is_always_nan_is_told_once():
    settings = {"early_stopping": True, "n_iter_no_change": 3, "random_state": 0}
    model = MLPClassifier((4,), scoring=lambda *_, **__: np.nan, **settings)
    with pytest.warns(RuntimeWarning, match="validation_score: NaN in every epoch so far") as told:
        model.fit(X, TWO)
    assert len(told) == 1 and model.n_iter_ == 4


def test_what_is_refused_late_has_changed_nothing():
    model = quick().fit(X, THREE)
    before = pickle.dumps(model.coefs_), model.loss_curve_
    model.set_params(time_limit=10**400)
    with pytest.raises(ValueError, match=r"^time_limit: expected a finite number"):
        model.fit(X, THREE)
    assert (pickle.dumps(model.coefs_), model.loss_curve_) == before
    model.set_params(time_limit=None, n_threads=True)
    with pytest.raises(TypeError, match=r"^n_threads: expected a whole number"):
        model.fit(X, THREE)
    assert (pickle.dumps(model.coefs_), model.loss_curve_) == before
    with pytest.raises(
        TypeError, match=r"^sample_weight: expected numbers; got an array of dtype c"
    ):
        model.set_params(n_threads=None).fit(X, THREE, sample_weight=1 + 2j)
    quick(beta_1=False).fit(X, THREE)  # 0, as scikit-learn takes it


def test_the_logarithm_of_no_chance_is_minus_infinity():
    model = quick().fit(X, THREE)
    model.network_.biases[-1][:] = 1000, 0, 0
    model.network_.weights[-1][:] = 0
    assert model.predict_log_proba(X[:1]).tolist() == [[0.0, -np.inf, -np.inf]]


def test_sizes_that_cannot_be_read_are_refused_by_name():
    class Stubborn:
        def __iter__(self):
            raise RuntimeError("cannot be asked")

    with pytest.raises((TypeError, ValueError), match="hidden_layer_sizes"):
        quick(hidden_layer_sizes=Stubborn()).fit(X, THREE)
