"""Bagging whose members are trained together: scikit-learn's draws and results.

What belongs here: that members equal scikit-learn's to the bit on our estimators, and to rounding
on its own. What does not: ensembles by `n_ensemble` (test_members.py).
"""

import pickle
import warnings

import numpy as np
import pytest
import sklearn
from sklearn import ensemble, linear_model, neural_network
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import estimators
from fastbp.estimators import MLPClassifier, MLPRegressor, tasks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 80
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
Y = X[:, 0] - X[:, 1] ** 2
LABELS = np.array(["a", "b", "c"])[np.digitize(Y, [-1.5, 0])]
OPTIONS = {"hidden_layer_sizes": (6,), "max_iter": 8}
KINDS = {
    "classifier": (MLPClassifier, neural_network.MLPClassifier, "BaggingClassifier", LABELS),
    "regressor": (MLPRegressor, neural_network.MLPRegressor, "BaggingRegressor", Y),
}
VARIANTS = {
    "bootstrap": {},
    "without replacement": {"bootstrap": False, "max_samples": 0.6},
    "some features": {"max_features": 0.5, "bootstrap_features": True},
    "out of bag": {"oob_score": True, "n_estimators": 12},
    "threads": {"n_jobs": 2},
}


def trained_together(monkeypatch):
    counts, own = [], tasks.fit_all
    monkeypatch.setattr(
        tasks, "fit_all", lambda fits, *a: (counts.append(len(fits)), own(fits, *a))[1]
    )
    return counts


def assert_equal(bag, other, X=X, tolerance=0.0):
    np.testing.assert_allclose(bag._seeds, other._seeds)
    for mine, theirs in zip(bag.estimators_samples_, other.estimators_samples_, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    ask = "predict_proba" if hasattr(bag, "predict_proba") else "predict"
    np.testing.assert_allclose(
        getattr(bag, ask)(X), getattr(other, ask)(X), rtol=tolerance, atol=tolerance
    )
    if hasattr(other, "oob_score_"):
        np.testing.assert_allclose(bag.oob_score_, other.oob_score_, rtol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_members_are_scikit_learns(kind, variant, monkeypatch):
    mine, theirs, name, y = KINDS[kind]
    counts = trained_together(monkeypatch)
    options = {"n_estimators": 5, "random_state": 4} | VARIANTS[variant]
    bag = getattr(estimators, name)(mine(**OPTIONS), **options).fit(X, y)
    assert options["n_estimators"] in counts
    one_by_one = getattr(ensemble, name)(mine(**OPTIONS), **options).fit(X, y)
    assert_equal(bag, one_by_one)
    for member, other in zip(bag.estimators_, one_by_one.estimators_, strict=True):
        np.testing.assert_array_equal(member.network_.parameters, other.network_.parameters)
    # scikit-learn's members see int64 weights, whose sums are rounded otherwise
    assert_equal(bag, getattr(ensemble, name)(theirs(**OPTIONS), **options).fit(X, y), X, 1e-6)


def test_pipelines_and_weights_and_warm_starts():
    options = {"n_estimators": 4, "random_state": 4}
    member = make_pipeline(StandardScaler(), MLPRegressor(**OPTIONS))
    bag = estimators.BaggingRegressor(member, **options).fit(X, Y)
    assert_equal(bag, ensemble.BaggingRegressor(member, **options).fit(X, Y))
    weight = RNG.uniform(0, 2, N)
    bag, other = (
        module.BaggingRegressor(MLPRegressor(**OPTIONS), warm_start=True, **options)
        for module in (estimators, ensemble)
    )
    for k in (4, 7):
        for each in (bag, other):
            each.set_params(n_estimators=k).fit(X, Y, sample_weight=weight)
        assert_equal(bag, other)
    with sklearn.config_context(enable_metadata_routing=True):
        member = MLPRegressor(**OPTIONS).set_fit_request(sample_weight=True)
        bag, other = (
            module.BaggingRegressor(member, **options).fit(X, Y)
            for module in (estimators, ensemble)
        )
        assert_equal(bag, other)


def test_members_share_x():
    bag = estimators.BaggingRegressor(MLPRegressor(**OPTIONS), n_estimators=4, random_state=0)
    seen, own = [], MLPRegressor._prepared

    class Noted(MLPRegressor):
        def _prepared(self, *args):
            solver = own(self, *args)
            seen.append(solver.request.data.X)
            return solver

    bag.set_params(estimator=Noted(**OPTIONS)).fit(X, Y)
    assert len(seen) == 4
    assert len({x.ctypes.data for x in seen}) == 1


def test_what_is_left_is_plain(monkeypatch):
    counts = trained_together(monkeypatch)
    bag = estimators.BaggingClassifier(MLPClassifier(**OPTIONS), n_estimators=3, random_state=0)
    bag.fit(X, LABELS)
    assert all("fit" not in vars(member) for member in bag.estimators_)
    again = pickle.loads(pickle.dumps(bag))
    np.testing.assert_array_equal(again.predict_proba(X), bag.predict_proba(X))
    counts.clear()
    bag = estimators.BaggingRegressor(linear_model.Ridge(), n_estimators=3, random_state=0)
    other = ensemble.BaggingRegressor(linear_model.Ridge(), n_estimators=3, random_state=0)
    assert_equal(bag.fit(X, Y), other.fit(X, Y))
    assert counts == []


def test_errors_and_warnings_come_out():
    bag = estimators.BaggingRegressor(MLPRegressor(solver="sgd", learning_rate_init=1e150))
    with pytest.raises(ValueError, match="non-finite"):
        bag.fit(X, Y)
    with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0"):
        estimators.BaggingRegressor(MLPRegressor(hidden_layer_sizes=(0,))).fit(X, Y)
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        estimators.BaggingRegressor(MLPRegressor(**OPTIONS), n_estimators=3).fit(X, Y)
    assert len(record) == 3
    with pytest.raises(ValueError, match="checkpoint: expected None"):
        estimators.BaggingRegressor(MLPRegressor(checkpoint="fit.npz")).fit(X, Y)
