"""Searches and cross-validation whose fits are trained together: scikit-learn's own results.

What belongs here: that they equal those of scikit-learn's classes and functions, on our estimators
to the bit and on its own to rounding. What does not: one fit (test_estimators.py).
"""

import signal
import threading
import time
import warnings
import weakref

import joblib
import numpy as np
import pytest
import sklearn
from scipy import sparse
from sklearn import linear_model, model_selection, neural_network
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp import estimators
from fastbp.estimators import tasks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 90
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5))
Y = X[:, 0] + np.sin(X[:, 1]) + 0.1 * RNG.normal(size=N)
LABELS = np.where(Y > 0, "up", np.where(Y < -1, "down", "level"))
GRID = {"alpha": [1e-4, 1.0], "learning_rate_init": [1e-3, 1e-2]}
OPTIONS = {"hidden_layer_sizes": (7,), "max_iter": 6, "random_state": 3}
FUNCTIONS = {
    "cross_validate": {"return_train_score": True},
    "cross_val_score": {},
    "cross_val_predict": {},
    "learning_curve": {"train_sizes": [20, 40]},
    "validation_curve": {"param_name": "alpha", "param_range": [1e-4, 1.0]},
}


def regressor(**options):
    return estimators.MLPRegressor(**(OPTIONS | options))


def classifier(**options):
    return estimators.MLPClassifier(**(OPTIONS | options))


def without_times(results):
    return {k: v for k, v in results.items() if "time" not in k}


def assert_equal(found, expected, tolerance=0.0):
    assert list(found) == list(expected)
    for name, values in without_times(expected).items():
        if np.asarray(values).dtype.kind == "f":
            np.testing.assert_allclose(found[name], values, rtol=tolerance, atol=tolerance)
        else:
            np.testing.assert_array_equal(found[name], values)


def trained_together(monkeypatch):
    """Counts what is trained by `fit_all` at a time."""
    counts, own = [], tasks.fit_all
    monkeypatch.setattr(
        tasks, "fit_all", lambda fits, *a: (counts.append(len(fits)), own(fits, *a))[1]
    )
    return counts


@pytest.mark.parametrize("kind", ["classifier", "regressor"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_grid_gives_what_scikit_learn_gives(kind, solver, monkeypatch):
    make, theirs = {
        "classifier": (classifier, neural_network.MLPClassifier),
        "regressor": (regressor, neural_network.MLPRegressor),
    }[kind]
    y = LABELS if kind == "classifier" else Y
    counts = trained_together(monkeypatch)
    options = {"cv": 3, "return_train_score": True}
    found = estimators.GridSearchCV(make(solver=solver), GRID, **options).fit(X, y)
    assert counts == [12]
    one_by_one = model_selection.GridSearchCV(make(solver=solver), GRID, **options).fit(X, y)
    assert_equal(found.cv_results_, one_by_one.cv_results_)
    assert found.best_params_ == one_by_one.best_params_
    assert found.best_score_ == one_by_one.best_score_
    np.testing.assert_array_equal(found.predict(X), one_by_one.predict(X))
    expected = model_selection.GridSearchCV(theirs(solver=solver, **OPTIONS), GRID, **options)
    assert_equal(found.cv_results_, expected.fit(X, y).cv_results_, 1e-6)


def test_random_and_halving_searches_draw_the_same_candidates():
    spaces = {"alpha": [1e-5, 1e-3, 1e-1, 10.0], "activation": ["relu", "tanh"]}
    options = {"cv": 3, "random_state": 1}
    found = estimators.RandomizedSearchCV(regressor(), spaces, n_iter=5, **options).fit(X, Y)
    expected = model_selection.RandomizedSearchCV(regressor(), spaces, n_iter=5, **options)
    assert_equal(found.cv_results_, expected.fit(X, Y).cv_results_)
    options["n_candidates"] = 6
    found = estimators.HalvingRandomSearchCV(regressor(), spaces, **options).fit(X, Y)
    expected = model_selection.HalvingRandomSearchCV(regressor(), spaces, **options).fit(X, Y)
    assert_equal(found.cv_results_, expected.cv_results_)
    assert found.n_iterations_ == expected.n_iterations_ > 1


@pytest.mark.parametrize("name", FUNCTIONS)
def test_cross_validation_gives_what_scikit_learn_gives(name, monkeypatch):
    counts = trained_together(monkeypatch)
    found = getattr(estimators, name)(classifier(), X, LABELS, cv=3, **FUNCTIONS[name])
    assert sum(counts) in (3, 6)
    expected = getattr(model_selection, name)(classifier(), X, LABELS, cv=3, **FUNCTIONS[name])
    if isinstance(expected, dict):
        assert_equal(found, expected)
    else:
        for own, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(own, theirs)


@pytest.mark.parametrize("method", ["predict", "predict_proba", "predict_log_proba"])
def test_cross_val_predict_asks_each_method(method):
    found = estimators.cross_val_predict(classifier(), X, LABELS, cv=3, method=method)
    expected = model_selection.cross_val_predict(classifier(), X, LABELS, cv=3, method=method)
    np.testing.assert_array_equal(found, expected)


class Counted(StandardScaler):
    """Counts its fits."""

    fits = 0

    def fit(self, X, y=None, sample_weight=None):
        type(self).fits += 1
        return super().fit(X, y, sample_weight)


def test_transformers_of_a_pipeline_are_fitted_once_a_fold_and_their_own_parameters(monkeypatch):
    counts = trained_together(monkeypatch)
    pipeline = Pipeline([("scale", Counted()), ("again", StandardScaler()), ("net", regressor())])
    grid = {"net__alpha": [1e-4, 1.0, 10.0], "scale__with_mean": [True, False]}
    monkeypatch.setattr(Counted, "fits", 0)
    found = estimators.GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, Y)
    assert Counted.fits == 3 * 2
    assert counts == [18]
    expected = model_selection.GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, Y)
    assert_equal(found.cv_results_, expected.cv_results_)


def test_a_pipeline_comes_back_as_it_would_have_been_fitted():
    pipeline = make_pipeline(StandardScaler(), regressor())
    found = estimators.cross_validate(pipeline, X, Y, cv=3, return_estimator=True)["estimator"]
    for fitted in found:
        assert fitted.memory is None
        assert "fit" not in vars(fitted) and "set_params" not in vars(fitted)
        assert "fit" not in vars(fitted[-1])
        assert fitted.predict(X).shape == (N,)
    assert len({id(fitted[0]) for fitted in found}) == 3
    search = estimators.GridSearchCV(pipeline, {"mlpregressor__alpha": [1e-4, 1.0]}, cv=3)
    assert search.fit(X, Y).best_estimator_.memory is None
    steps = {"mlpregressor": [regressor(), linear_model.Ridge()]}  # one of which is not ours
    found = estimators.GridSearchCV(pipeline, steps, cv=3).fit(X, Y)
    expected = model_selection.GridSearchCV(pipeline, steps, cv=3).fit(X, Y)
    assert_equal(without_params(found), without_params(expected))


def without_params(search):
    return {k: v for k, v in search.cv_results_.items() if not k.startswith("param")}


def test_several_scores_and_a_choice_of_the_best():
    options = {
        "cv": 3,
        "scoring": {"r2": "r2", "mae": "neg_mean_absolute_error"},
        "refit": lambda results: int(np.argmin(results["mean_test_mae"])),
    }
    found = estimators.GridSearchCV(regressor(), GRID, **options).fit(X, Y)
    expected = model_selection.GridSearchCV(regressor(), GRID, **options).fit(X, Y)
    assert_equal(found.cv_results_, expected.cv_results_)
    assert found.best_index_ == expected.best_index_


def test_weights_and_groups_are_routed():
    groups, weight = np.arange(N) % 4, RNG.uniform(0.5, 2, N)
    options = {"cv": model_selection.GroupKFold(4)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found, expected = (
            module.GridSearchCV(regressor(), GRID, **options).fit(
                X, Y, groups=groups, sample_weight=weight
            )
            for module in (estimators, model_selection)
        )
    assert_equal(found.cv_results_, expected.cv_results_)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    with sklearn.config_context(enable_metadata_routing=True):
        model = regressor().set_fit_request(sample_weight=True)
        model = model.set_score_request(sample_weight=True)
        found, expected = (
            module.GridSearchCV(model, GRID, **options).fit(
                X, Y, groups=groups, sample_weight=weight
            )
            for module in (estimators, model_selection)
        )
    assert_equal(found.cv_results_, expected.cv_results_)


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failures_are_scored_as_scikit_learn_scores_them():
    grid = {"hidden_layer_sizes": [(7,), (0,)], "learning_rate_init": [1e-3, 1e150]}
    with pytest.warns(FitFailedWarning) as told:
        found = estimators.GridSearchCV(regressor(solver="sgd"), grid, cv=3).fit(X, Y)
    with pytest.warns(FitFailedWarning) as expected_told:
        expected = model_selection.GridSearchCV(regressor(solver="sgd"), grid, cv=3).fit(X, Y)
    assert_equal(found.cv_results_, expected.cv_results_)
    assert np.isnan(found.cv_results_["mean_test_score"]).sum() == 3

    def summary(record):
        message = next(str(w.message) for w in record if w.category is FitFailedWarning)
        return message.split("\n")[:2]

    assert summary(told) == summary(expected_told)
    grid, options = {"hidden_layer_sizes": [(7,), (0,)]}, {"cv": 3, "error_score": "raise"}
    with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
        estimators.GridSearchCV(regressor(), grid, **options).fit(X, Y)


def test_warnings_come_from_the_fits():
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        estimators.cross_val_score(regressor(), X, Y, cv=3)
    assert [w.category for w in record] == [ConvergenceWarning] * 3


def test_messages_are_scikit_learns(capsys):
    def told(module):
        search = module.GridSearchCV(regressor(), GRID, cv=2, verbose=10, refit=False)
        search.fit(X, Y)
        lines = capsys.readouterr().out.splitlines()
        return [line.split(" total time=")[0].replace(".", "") for line in lines]

    assert told(estimators) == told(model_selection)


@pytest.mark.parametrize("options", [{"n_jobs": 1}, {"n_jobs": 2}, {"pre_dispatch": 3}])
def test_neither_threads_nor_dispatching_change_results(options, monkeypatch):
    counts = trained_together(monkeypatch)
    found = estimators.GridSearchCV(regressor(), GRID, cv=3, **options).fit(X, Y)
    assert counts == [12]
    expected = estimators.GridSearchCV(regressor(), GRID, cv=3).fit(X, Y)
    assert_equal(found.cv_results_, expected.cv_results_)


def test_parts_of_x_are_bounded(monkeypatch):
    counts = trained_together(monkeypatch)
    monkeypatch.setattr(tasks, "SPLIT_BYTES", 2.5 * 60 * 5 * 8)
    found = estimators.GridSearchCV(regressor(), GRID, cv=3).fit(X, Y)
    assert counts[0] == 3 and len(counts) > 2 and sum(counts) == 12
    expected = model_selection.GridSearchCV(regressor(), GRID, cv=3).fit(X, Y)
    assert_equal(found.cv_results_, expected.cv_results_)


def test_what_is_not_ours_goes_scikit_learns_way(monkeypatch):
    counts = trained_together(monkeypatch)
    search = estimators.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=3).fit(X, Y)
    expected = model_selection.GridSearchCV(linear_model.Ridge(), {"alpha": [0.1, 1.0]}, cv=3)
    assert_equal(search.cv_results_, expected.fit(X, Y).cv_results_)
    estimators.cross_val_score(linear_model.Ridge(), X, Y, cv=3)
    assert counts == []
    with joblib.parallel_config(backend="sequential"):
        estimators.cross_val_score(regressor(), X, Y, cv=3)
    assert counts == [3]


def test_early_stopping_callbacks_and_scorers():
    inside, most = [], []

    def watch(event):
        inside.append(threading.get_ident())
        most.append(len(inside))
        inside.pop()

    model = classifier(early_stopping=True, callbacks=[watch], max_iter=20)
    found = estimators.GridSearchCV(model, GRID, cv=3, refit=False).fit(X, LABELS)
    assert set(most) == {1}
    expected = model_selection.GridSearchCV(model, GRID, cv=3, refit=False).fit(X, LABELS)
    assert_equal(found.cv_results_, expected.cv_results_)


def test_a_checkpoint_is_refused(tmp_path):
    model = regressor(checkpoint=tmp_path / "fit.npz")
    for search in (
        lambda: estimators.GridSearchCV(model, GRID).fit(X, Y),
        lambda: estimators.cross_val_score(make_pipeline(StandardScaler(), model), X, Y),
    ):
        with pytest.raises(ValueError, match="checkpoint: expected None in the estimator"):
            search()
    grid = {"checkpoint": [tmp_path / "fit.npz"]}
    with pytest.raises(ValueError, match="checkpoint: expected None where many are fitted at once"):
        estimators.GridSearchCV(regressor(), grid, error_score="raise").fit(X, Y)
    assert not (tmp_path / "fit.npz").exists()


def test_without_a_random_state_fits_draw_their_own(monkeypatch):
    def scores():
        np.random.seed(5)  # noqa: NPY002
        return estimators.cross_val_score(regressor(random_state=None), X, Y, cv=3)

    np.testing.assert_array_equal(scores(), scores())
    state = np.random.RandomState(1)
    found = estimators.cross_val_score(regressor(random_state=state), X, Y, cv=3)
    state = np.random.RandomState(1)
    expected = model_selection.cross_val_score(regressor(random_state=state), X, Y, cv=3)
    np.testing.assert_array_equal(found, expected)


def test_a_run_lets_go_of_its_memory_when_it_ends():
    fits = [estimators.together.Fit(regressor()) for _ in range(3)]
    for fit in fits:
        fit.begin(X, Y)
    estimators.together.fit_all(fits)
    assert all(fit.solver.request is None for fit in fits)
    expected = regressor().fit(X, Y)
    for fit in fits:
        model = fit.end()
        np.testing.assert_array_equal(model.network_.parameters, expected.network_.parameters)
        assert model.loss_curve_ == expected.loss_curve_
        model.partial_fit(X, Y)
    np.testing.assert_array_equal(
        model.network_.parameters, expected.partial_fit(X, Y).network_.parameters
    )


def test_optimizers_of_ours_are_candidates():
    grid = {"solver": [fastbp.SGD(0.01), fastbp.AdamW(0.01)]}
    found = estimators.GridSearchCV(regressor(), grid, cv=3).fit(X, Y)
    expected = model_selection.GridSearchCV(regressor(), grid, cv=3).fit(X, Y)
    assert_equal(without_params(found), without_params(expected))


def test_numbers_of_optimizers_and_schedules_are_candidates():
    model = regressor(solver=fastbp.AdamW(0.01), learning_rate=fastbp.schedules.Cosine())
    params = model.get_params()
    assert params["solver__learning_rate"] == 0.01 and "learning_rate__warmup" in params
    assert "solver__learning_rate" not in model.get_params(deep=False)
    old = model.solver
    assert model.set_params(solver__learning_rate=0.1, alpha=0.5) is model
    assert model.solver == fastbp.AdamW(0.1) and model.alpha == 0.5
    assert old == fastbp.AdamW(0.01) and hash(old) == hash(fastbp.AdamW(0.01))
    model.set_params(solver__momentum=0.5, solver=fastbp.SGD(0.2))
    assert model.solver == fastbp.SGD(0.2, momentum=0.5)
    model.set_params(learning_rate__warmup=2)
    assert model.learning_rate == fastbp.schedules.Cosine(warmup=2)
    assert sklearn.base.clone(model).solver == model.solver
    with pytest.raises(ValueError, match="solver__beta: expected one of learning_rate, momentum"):
        model.set_params(solver__beta=1)
    with pytest.raises(ValueError, match=r"SGD.learning_rate: expected a number >= 0"):
        model.set_params(solver__learning_rate=-1.0)
    assert model.solver == fastbp.SGD(0.2, momentum=0.5)
    with pytest.raises(ValueError, match="solver__learning_rate: expected a fastbp optimizer as"):
        regressor().set_params(solver__learning_rate=1.0)
    pipeline = make_pipeline(StandardScaler(), regressor(solver=fastbp.SGD()))
    grid = {"mlpregressor__solver__learning_rate": [1e-6, 1e-2]}
    found = estimators.GridSearchCV(pipeline, grid, cv=3).fit(X, Y)
    assert found.best_params_ == {"mlpregressor__solver__learning_rate": 1e-2}
    assert found.best_estimator_[-1].solver == fastbp.SGD(1e-2)


def test_steps_that_write_into_x_get_a_part_of_their_own():
    pipeline = make_pipeline(StandardScaler(copy=False), regressor())
    grid = {"mlpregressor__alpha": [1e-4, 1.0], "standardscaler__with_mean": [True, False]}
    given = X.copy()
    found = estimators.GridSearchCV(pipeline, grid, cv=3).fit(given, Y)
    expected = model_selection.GridSearchCV(pipeline, grid, cv=3).fit(X.copy(), Y)
    assert_equal(found.cv_results_, expected.cv_results_)


def test_times_are_those_of_the_fits():
    model, grid = regressor(tol=0, n_iter_no_change=10**6), {"max_iter": [2, 20_000]}
    found = estimators.GridSearchCV(model, grid, cv=3, refit=False).fit(X, Y)
    few, many = found.cv_results_["mean_fit_time"]
    assert 0 < few < many


@pytest.mark.parametrize("n_jobs", [1, 2])
@pytest.mark.parametrize("goes_on", [False, True])  # whether waiting does, as polars has it
def test_ctrl_c_ends_a_search(n_jobs, goes_on):
    if hasattr(signal, "siginterrupt"):
        signal.siginterrupt(signal.SIGINT, not goes_on)
    model = regressor(max_iter=10**6, tol=0, n_iter_no_change=10**6)
    search = estimators.GridSearchCV(model, GRID, cv=3, n_jobs=n_jobs)
    main = threading.main_thread().ident
    timer = threading.Timer(0.3, signal.pthread_kill, (main, signal.SIGINT))
    timer.start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        search.fit(X, Y)
    assert time.monotonic() - began < 5
    assert not hasattr(search, "cv_results_")
    estimators.GridSearchCV(regressor(), GRID, cv=3).fit(X, Y)  # nothing is left behind
    if hasattr(signal, "siginterrupt"):
        signal.siginterrupt(signal.SIGINT, True)


def as_frame(X):
    return pytest.importorskip("pandas").DataFrame(X, columns=list("abcde"))


@pytest.mark.parametrize("make", [sparse.csr_matrix, as_frame, np.float32, np.asfortranarray])
@pytest.mark.parametrize("scaled", [False, True])
def test_other_kinds_of_x(make, scaled):
    model, grid = regressor(), {"alpha": [1e-4, 1.0]}
    if scaled:
        model = make_pipeline(StandardScaler(with_mean=False), model)
        grid = {f"mlpregressor__{name}": values for name, values in grid.items()}
    given, both = make(X), np.stack([Y, Y**2], 1)
    found, expected = (
        module.GridSearchCV(model, grid, cv=3, return_train_score=True).fit(given, both)
        for module in (estimators, model_selection)
    )
    assert_equal(found.cv_results_, expected.cv_results_)
    np.testing.assert_array_equal(found.predict(given), expected.predict(given))


def test_a_search_within_a_search():
    search = estimators.GridSearchCV(regressor(), GRID, cv=2)
    expected = model_selection.cross_val_score(search, X, Y, cv=2)
    np.testing.assert_array_equal(estimators.cross_val_score(search, X, Y, cv=2), expected)
    with joblib.parallel_config(backend="threading"):
        found = model_selection.cross_val_score(search, X, Y, cv=2, n_jobs=2)
    np.testing.assert_array_equal(found, expected)


class Louder(estimators.MLPRegressor):
    """A user's own, with a `fit` of its own."""

    fits = 0

    def fit(self, X, y, sample_weight=None):
        type(self).fits += 1
        return super().fit(X, 2 * y, sample_weight)


def test_a_fit_of_the_users_own_is_called(monkeypatch):
    monkeypatch.setattr(Louder, "fits", 0)
    found = estimators.cross_val_predict(Louder(**OPTIONS), X, Y, cv=3)
    assert Louder.fits == 3
    np.testing.assert_array_equal(found, estimators.cross_val_predict(regressor(), X, 2 * Y, cv=3))


class Halves(BaseEstimator, TransformerMixin):
    """Writes into y, which no transformer should."""

    def __init__(self, most=1.0):
        self.most = most

    def fit(self, X, y=None):
        own = getattr(getattr(y, "array", None), "_ndarray", y)
        np.clip(own, None, self.most, out=own)
        return self

    def transform(self, X):
        return X


@pytest.mark.parametrize("framed", [False, True])
def test_steps_that_write_into_y_get_a_part_of_their_own(framed):
    given = pytest.importorskip("pandas").Series(Y) if framed else Y
    pipeline, grid = make_pipeline(Halves(), regressor()), {"halves__most": [0.1, 9.0]}
    found, expected = (
        module.GridSearchCV(pipeline, grid, cv=3).fit(X, given.copy())
        for module in (estimators, model_selection)
    )
    assert_equal(found.cv_results_, expected.cv_results_)


def test_a_wave_lets_go_of_its_parts_of_x(monkeypatch):
    seen, alive, own = [], [], tasks.fit_all

    def noted(fits, *args):
        alive.append(sum(ref() is not None for ref in seen))
        seen.extend(weakref.ref(fit.solver.request.data.X) for fit in fits)
        return own(fits, *args)

    monkeypatch.setattr(tasks, "fit_all", noted)
    monkeypatch.setattr(tasks, "SPLIT_BYTES", 1)  # a wave a task
    pipeline = make_pipeline(StandardScaler(), regressor())
    estimators.GridSearchCV(pipeline, {"mlpregressor__alpha": [0.1, 1.0]}, cv=3).fit(X, Y)
    assert alive == [0] * 6


@pytest.mark.parametrize("dtype", [int, float])
def test_all_forms_of_x_are_counted(dtype):
    common, given = estimators.together.Common(), (10 * X).astype(dtype)
    for seed in (0, 0, 1):
        estimators.together.Fit(regressor(early_stopping=True, random_state=seed), common).begin(
            given, Y
        )
    n_held = 2 * N // 10  # for two states
    assert common.n_bytes == (2 if dtype is int else 1) * X.nbytes + n_held * X[0].nbytes


@pytest.mark.parametrize("options", [{}, {"loss": "poisson"}, {"shuffle": False}])
def test_fits_that_hold_out_rows_share_x(options):
    options = {"early_stopping": True} | options
    fits = [estimators.together.Fit(regressor(alpha=a, **options)) for a in (0.1, 1.0)]
    y = np.abs(Y)
    for fit in fits:
        fit.common = fits[0].common
        fit.begin(X, y)
    first, second = (fit.solver for fit in fits)
    assert (first.request.data.X is second.request.data.X) == ("loss" not in options)
    assert first.held_out.args[0] is second.held_out.args[0]
    estimators.together.fit_all(fits)
    for fit in fits:
        alone = clone(fit.model).fit(X, y)
        np.testing.assert_array_equal(fit.end().network_.parameters, alone.network_.parameters)
        assert fit.model.loss_curve_ == alone.loss_curve_


def test_waves_go_by_folds(monkeypatch):
    monkeypatch.setattr(tasks, "SPLIT_BYTES", 3 * 60 * 5 * 8)  # not of all folds at once
    monkeypatch.setattr(Counted, "fits", 0)
    pipeline = Pipeline([("scale", Counted()), ("net", regressor())])
    grid = {"net__alpha": [1e-4, 1e-3, 1e-2, 0.1, 1.0, 10.0]}
    found = estimators.GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, Y)
    assert Counted.fits < 8  # of 18
    expected = model_selection.GridSearchCV(pipeline, grid, cv=3, refit=False).fit(X, Y)
    assert_equal(found.cv_results_, expected.cv_results_)
    grid["net__hidden_layer_sizes"] = [(7,), (0,)]
    with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
        estimators.GridSearchCV(pipeline, grid, cv=3, error_score="raise").fit(X, Y)
