"""Data, executors and calls that the tests of `executor=` share.

What does not belong here: tests, fixtures (conftest.py).
"""

import multiprocessing
import pickle
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor

import joblib
import numpy as np

from fastbp import estimators

N = 90
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5))
Y = X[:, 0] + np.sin(X[:, 1]) + 0.1 * RNG.normal(size=N)
LABELS = np.where(Y > 0, "up", np.where(Y < -1, "down", "level"))
WEIGHT = RNG.uniform(0.5, 2, N)
GROUPS = np.array(["pump", "fan", "saw"])[RNG.integers(0, 3, N)]
GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(7,), (4, 3)], "random_state": [0, None]}
BIG = RNG.normal(size=(2000, 20))
OPTIONS = {"hidden_layer_sizes": (7,), "max_iter": 6, "random_state": 3}


class Inline(Executor):
    """Does what is submitted at once, of pickles, and counts it; like a process with one worker."""

    _max_workers = 2

    def __init__(self):
        self.names, self.sizes = [], []

    def submit(self, function, /, *args, **named):
        future = Future()
        self.names.append(function.__name__)
        sent = pickle.dumps((function, args, named))
        self.sizes.append(len(sent))
        function, args, named = pickle.loads(sent)
        future.set_result(function(*args, **named))
        return future


def regressor(**options):
    return estimators.MLPRegressor(**(OPTIONS | options))


def classifier(**options):
    return estimators.MLPClassifier(**(OPTIONS | options))


def seeded(call):
    np.random.seed(5)  # noqa: NPY002
    return call()


def grid(executor=None, model=None, y=Y, x=X, **options):
    search = estimators.GridSearchCV(
        regressor() if model is None else model, GRID, cv=3, executor=executor, **options
    )
    return seeded(lambda: search.fit(x, y))


def assert_same(found, expected):
    """Searches, ensembles, dicts, tuples of arrays: equal to the bit but for times."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            if "time" not in name:
                assert_same(found[name], expected[name])
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif hasattr(expected, "cv_results_"):
        assert_same(found.cv_results_, expected.cv_results_)
        assert_same(found.best_estimator_, expected.best_estimator_)
    elif hasattr(expected, "network_"):
        np.testing.assert_array_equal(found.network_.parameters, expected.network_.parameters)
        assert found.loss_curve_ == expected.loss_curve_
    else:
        np.testing.assert_array_equal(found, expected)


def threads():
    return ThreadPoolExecutor(2)


def loky():
    return joblib.externals.loky.get_reusable_executor(max_workers=1)


def forked():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))


CALLS = {
    "cross_validate": {"return_train_score": True, "return_estimator": True},
    "cross_val_score": {},
    "cross_val_predict": {"method": "predict_proba"},
    "learning_curve": {"train_sizes": [20, 40]},
    "validation_curve": {"param_name": "alpha", "param_range": [1e-4, 1.0]},
}


def call_of(name, x=X):
    options = {"cv": 3, **CALLS[name]}
    model = classifier(random_state=None)
    return lambda executor: getattr(estimators, name)(
        model, x, LABELS, executor=executor, **options
    )


def bag(kind, **options):
    make = getattr(estimators, kind)
    member, y = (classifier(), LABELS) if kind.endswith("Classifier") else (regressor(), Y)
    return lambda executor: make(
        member, 5, random_state=1, executor=executor, **options
    ).fit(X, y, sample_weight=WEIGHT).estimators_  # fmt: skip


def groups(executor):
    model = classifier(random_state=None)
    fitted = estimators.fit_groups(
        model, X, LABELS, GROUPS, sample_weight=WEIGHT, unseen="pooled", executor=executor
    )
    return [*fitted.models_.values(), fitted.pooled_]


def other_search(name):
    spaces, options = {"alpha": np.geomspace(1e-5, 10.0, 6).tolist()}, {"cv": 3, "random_state": 1}
    options |= {"n_iter": 3} if name.startswith("Random") else {"n_candidates": 6}
    make = getattr(estimators, name)
    return lambda executor: make(regressor(), spaces, executor=executor, **options).fit(X, Y)


ALL = {
    "grid": grid,
    **{name: other_search(name) for name in ("RandomizedSearchCV", "HalvingRandomSearchCV")},
    **{name: call_of(name) for name in CALLS},
    **{name: bag(name) for name in ("BaggingClassifier", "BaggingRegressor")},
    "features": bag("BaggingRegressor", max_features=0.5, bootstrap_features=True),
    "groups": groups,
}
