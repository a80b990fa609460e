"""`fit_groups`: a model for each group of rows.

What belongs here: that each is the fit to its rows alone, and whom a row's prediction comes from.
What does not: fits together (test_search.py).
"""

import json
import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn import linear_model
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp.estimators import MLPClassifier, MLPRegressor, fit_groups

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 120
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
NAMES = np.array(["pump", "fan", "saw"])[RNG.integers(0, 3, N)]
Y = X[:, 0] * np.where(NAMES == "fan", -1, 1) + (NAMES == "saw")
LABELS = np.where(NAMES == "saw", np.where(Y > 1, "c", "a"), np.where(Y > 0, "b", "a"))
OPTIONS = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0}


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("n_jobs", [None, 1, 2, -1])
def test_each_group_is_a_fit_of_its_own(solver, n_jobs):
    model = MLPRegressor(solver=solver, **OPTIONS)
    fitted = fit_groups(model, X, Y, NAMES, n_jobs=n_jobs)
    assert list(fitted.models_) == ["fan", "pump", "saw"] and fitted.pooled_ is None
    expected = np.empty(N)
    for name, own in fitted.models_.items():
        rows = name == NAMES
        alone = MLPRegressor(solver=solver, **OPTIONS).fit(X[rows], Y[rows])
        np.testing.assert_array_equal(own.network_.parameters, alone.network_.parameters)
        expected[rows] = alone.predict(X[rows])
    np.testing.assert_array_equal(fitted.predict(X, NAMES), expected)
    some = RNG.permutation(N)[:50]
    np.testing.assert_array_equal(fitted.predict(X[some], NAMES[some].tolist()), expected[some])
    assert fitted.score(X, Y, NAMES) == pytest.approx(
        1 - np.sum((Y - expected) ** 2) / np.sum((Y - Y.mean()) ** 2)
    )


def test_classes_differ_by_group():
    fitted = fit_groups(MLPClassifier(**OPTIONS), X, LABELS, NAMES, unseen="pooled")
    assert fitted.classes_.tolist() == ["a", "b", "c"]
    probabilities = fitted.predict_proba(X, NAMES)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert (probabilities[NAMES == "saw", 1] == 0).all()
    assert (probabilities[NAMES != "saw", 2] == 0).all()
    said = fitted.predict(X, NAMES)
    np.testing.assert_array_equal(said, fitted.classes_[probabilities.argmax(axis=1)])
    assert fitted.score(X, LABELS, NAMES) == np.mean(said == LABELS)
    weight = RNG.uniform(size=N)
    assert fitted.score(X, LABELS, NAMES, weight) == pytest.approx(
        np.average(said == LABELS, weights=weight)
    )
    one = np.where(NAMES == "fan", "z", LABELS)  # of one class alone
    fitted = fit_groups(MLPClassifier(**OPTIONS), X, one, NAMES)
    assert (fitted.predict_proba(X, NAMES)[NAMES == "fan", 3] == 1).all()


def test_unseen_groups_are_named_or_pooled():
    model = MLPRegressor(**OPTIONS)
    fitted = fit_groups(model, X, Y, NAMES)
    new = np.where(np.arange(N) == 3, "mill", np.where(np.arange(N) == 5, "axe", NAMES))
    with pytest.raises(ValueError, match=r"groups: expected those of the fit.*got 'axe', 'mill'"):
        fitted.predict(X, new)
    fitted = fit_groups(model, X, Y, NAMES, unseen="pooled")
    pooled = MLPRegressor(**OPTIONS).fit(X, Y)
    np.testing.assert_array_equal(fitted.pooled_.network_.parameters, pooled.network_.parameters)
    said = fitted.predict(X, new)
    np.testing.assert_array_equal(said[[3, 5]], pooled.predict(X[[3, 5]]))
    others = np.delete(np.arange(N), [3, 5])
    np.testing.assert_array_equal(said[others], fitted.predict(X[others], NAMES[others]))


def as_frame(X):
    return pytest.importorskip("pandas").DataFrame(X)


@pytest.mark.parametrize("make", [sparse.csr_array, sparse.coo_array, sparse.coo_matrix, as_frame])
def test_other_kinds_of_x(make):
    fitted = fit_groups(MLPRegressor(**OPTIONS), make(X), Y, NAMES)
    expected = fit_groups(MLPRegressor(**OPTIONS), X, Y, NAMES)
    found = fitted.predict(make(X), NAMES)
    np.testing.assert_allclose(found, expected.predict(X, NAMES), rtol=1e-9, atol=1e-12)


def test_pipelines_weights_several_outputs_and_others_estimators():
    weight = RNG.uniform(0.5, 2, N)
    fitted = fit_groups(MLPRegressor(**OPTIONS), X, Y, NAMES, sample_weight=weight)
    rows = NAMES == "fan"
    alone = MLPRegressor(**OPTIONS).fit(X[rows], Y[rows], weight[rows])
    np.testing.assert_array_equal(
        fitted.models_["fan"].network_.parameters, alone.network_.parameters
    )
    model = make_pipeline(StandardScaler(), MLPRegressor(**OPTIONS))
    both = np.stack([Y, -Y], 1)
    fitted = fit_groups(model, X, both, NAMES)
    np.testing.assert_array_equal(
        fitted.predict(X[rows], NAMES[rows]), model.fit(X[rows], both[rows]).predict(X[rows])
    )
    fitted = fit_groups(linear_model.Ridge(), X, Y, NAMES, sample_weight=weight)
    alone = linear_model.Ridge().fit(X[rows], Y[rows], weight[rows])
    np.testing.assert_array_equal(fitted.models_["fan"].coef_, alone.coef_)
    with pytest.raises(AttributeError, match="predict_proba: expected models of classes"):
        fitted.predict_proba(X, NAMES)
    assert "fan: rows" in str(fitted)


def test_words_and_pickles():
    fitted = fit_groups(MLPRegressor(**OPTIONS), X, Y, np.arange(N) % 3, unseen="pooled")
    assert str(fitted).splitlines()[0] == "3 groups, 120 rows"
    assert "0: rows 40, iterations 20, loss" in str(fitted)
    assert "any other: a model of all rows" in str(fitted)
    assert json.loads(json.dumps(fitted.to_dict()))["2"]["rows"] == 40
    again = pickle.loads(pickle.dumps(fitted))
    groups = [0, 1, 2] * 40
    np.testing.assert_array_equal(again.predict(X, groups), fitted.predict(X, groups))


def test_what_is_refused():
    model = MLPRegressor(**OPTIONS)
    for groups, error, told in (
        (NAMES[:-1], ValueError, "groups: expected 120 labels, one a row of X; got shape"),
        (np.where(NAMES == "fan", None, NAMES), ValueError, "groups: expected a label in each row"),
        ([1, "a"] * 60, None, ""),
        (np.array([1, "a"] * 60, object), TypeError, "groups: expected labels that can be sorted"),
    ):
        if error is None:
            fit_groups(model, X, Y, groups)
            continue
        with pytest.raises(error, match=told):
            fit_groups(model, X, Y, groups)
    with pytest.raises(ValueError, match="unseen: expected 'error' or 'pooled'; got 'mean'"):
        fit_groups(model, X, Y, NAMES, unseen="mean")
    with pytest.raises(ValueError, match="n_jobs"):
        fit_groups(model, X, Y, NAMES, n_jobs=0)
    lonely = np.where(np.arange(N) == 7, "lonely", NAMES)
    early = MLPClassifier(early_stopping=True, **OPTIONS)
    with pytest.raises(ValueError, match="groups: group 'lonely': "):
        fit_groups(early, X, LABELS, lonely)
    with pytest.raises(ValueError, match="groups: group 'fan': "):
        fit_groups(linear_model.Ridge(alpha=-1), X, Y, NAMES)
    with pytest.raises(ValueError, match="checkpoint: expected None"):
        fit_groups(MLPRegressor(checkpoint="fit.npz"), X, Y, NAMES)


def test_lengths_and_estimators_are_refused_by_name():
    model = MLPRegressor(**OPTIONS)
    with pytest.raises(ValueError, match="y: expected 120 rows, as many as X; got 119"):
        fit_groups(model, X, Y[:-1], NAMES)
    for weight, error in ((np.ones(3), ValueError), (2.0, TypeError)):
        with pytest.raises(error, match="sample_weight: expected"):
            fit_groups(model, X, Y, NAMES, sample_weight=weight)
    with pytest.raises(TypeError, match="estimator: expected a classifier or a regressor"):
        fit_groups(StandardScaler(), X, Y, NAMES)
    with pytest.raises(TypeError, match="Cannot clone object"):
        fit_groups(3, X, Y, NAMES)


def test_no_rows_are_the_models_to_answer():
    with pytest.raises(ValueError, match=r"Found array with 0 sample\(s\)"):
        fit_groups(MLPRegressor(**OPTIONS), X, Y, NAMES).predict(X[:0], [])


def test_labels_of_pandas_and_times():
    pd = pytest.importorskip("pandas")
    model = MLPRegressor(**OPTIONS)
    missing = pd.Series([*NAMES[:-1], pd.NA], dtype="string")
    with pytest.raises(ValueError, match="groups: expected a label in each row; got none in row"):
        fit_groups(model, X, Y, missing)
    days = np.array(["2020-01-01", "2020-02-01"], "M8[D]")[np.arange(N) % 2]
    expected = fit_groups(model, X, Y, np.arange(N) % 2).predict(X, np.arange(N) % 2)
    for unit in ("D", "s", "ns"):
        fitted = fit_groups(model, X, Y, days.astype(f"M8[{unit}]"))
        for asked in (
            days, days.astype("M8[ns]"), pd.Series(days), list(map(pd.Timestamp, days)),
            days.astype("M8[s]").astype(object),
        ):  # fmt: skip
            np.testing.assert_array_equal(fitted.predict(X, asked), expected)
