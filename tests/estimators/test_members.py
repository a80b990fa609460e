"""`n_ensemble`: several networks behind one estimator.

What belongs here: that each member is the fit that its random_state alone would give, that outputs
are averaged, and that what one network has is asked for by name. What does not: bagging
(test_ensemble.py), one network (test_estimators.py).
"""

import pickle

import numpy as np
import pytest
from sklearn import base
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp import estimators
from fastbp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 80
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 4))
Y = X[:, 0] - X[:, 1] ** 2
LABELS = np.digitize(Y, [-1.5, 0])
OPTIONS = {"hidden_layer_sizes": (6,), "max_iter": 8, "random_state": 5}


def seeds(k, state=5):
    return np.random.RandomState(state).randint(np.iinfo(np.int32).max, size=k).tolist()


def alone(kind, y, seed, **options):
    return kind(**(OPTIONS | options | {"random_state": seed})).fit(X, y)


KINDS = {"classifier": (MLPClassifier, LABELS), "regressor": (MLPRegressor, Y)}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"solver": "lbfgs"}, {"early_stopping": True}])
def test_members_are_fits_of_their_own(kind, options):
    kind, y = KINDS[kind]
    model = kind(n_ensemble=3, **OPTIONS, **options).fit(X, y)
    expected = [alone(kind, y, seed, **options) for seed in seeds(3)]
    for net, other in zip(model.networks_, expected, strict=True):
        np.testing.assert_array_equal(net.parameters, other.network_.parameters)
    assert model.n_iter_ == max(other.n_iter_ for other in expected)
    assert model.loss_ == np.mean([other.loss_ for other in expected])
    ask = "predict" if kind is MLPRegressor else "predict_proba"
    mean = np.mean([getattr(other, ask)(X) for other in expected], axis=0)
    np.testing.assert_allclose(getattr(model, ask)(X), mean, rtol=1e-12)
    assert model.score(X, y) == kind.score(model, X, y)
    if kind is MLPClassifier:
        np.testing.assert_array_equal(model.predict(X), model.classes_[mean.argmax(axis=1)])


def test_two_classes_and_several_labels():
    for y in (LABELS == 0, np.stack([LABELS == 0, LABELS == 2], 1).astype(int)):
        model = MLPClassifier(n_ensemble=2, **OPTIONS).fit(X, y)
        expected = [alone(MLPClassifier, y, seed) for seed in seeds(2)]
        mean = np.mean([other.predict_proba(X) for other in expected], axis=0)
        np.testing.assert_allclose(model.predict_proba(X), mean, rtol=1e-12, atol=1e-15)


def test_spreads_are_those_of_the_mixture():
    model = MLPRegressor(loss="gaussian_nll", n_ensemble=3, **OPTIONS).fit(X, Y)
    means, stds = zip(*(m.predict(X, return_std=True) for m in model.members_), strict=True)
    mean, std = model.predict(X, return_std=True)
    np.testing.assert_allclose(mean, np.mean(means, axis=0))
    variance = np.mean(np.square(stds) + np.square(means), axis=0) - np.mean(means, axis=0) ** 2
    np.testing.assert_allclose(std, np.sqrt(variance))


@pytest.mark.parametrize("kind", KINDS)
def test_one_is_the_fit_of_before(kind):
    kind, y = KINDS[kind]
    model, expected = kind(n_ensemble=1, **OPTIONS).fit(X, y), alone(kind, y, 5)
    np.testing.assert_array_equal(model.network_.parameters, expected.network_.parameters)
    assert model.networks_ == [model.network_]
    assert not hasattr(model, "members_")


@pytest.mark.parametrize("name", ["network_", "coefs_", "intercepts_"])
def test_what_one_network_has_is_refused_by_name(name):
    model = MLPRegressor(n_ensemble=2, **OPTIONS)
    with pytest.raises(AttributeError):
        getattr(model, name)
    model.fit(X, Y)
    with pytest.raises(AttributeError, match=f"{name}: an ensemble of 2 networks .*networks_"):
        getattr(model, name)
    assert not hasattr(model, name)
    model.set_params(n_ensemble=1).fit(X, Y)
    assert len(model.networks_) == 1 and not hasattr(model, "members_")
    getattr(model, name)
    model.set_params(n_ensemble=2).fit(X, Y)
    assert len(model.networks_) == 2 and not hasattr(model, name)
    assert not hasattr(model, "loss_curve_")


def test_partial_fit_and_warm_start_go_on():
    model = MLPClassifier(n_ensemble=2, **OPTIONS)
    singles = [MLPClassifier(**(OPTIONS | {"random_state": seed})) for seed in seeds(2)]
    with pytest.raises(ValueError, match="classes must be passed"):
        model.partial_fit(X, LABELS)
    for rows in (slice(0, 40), slice(40, None), slice(0, 40)):
        for each in (model, *singles):
            each.partial_fit(X[rows], LABELS[rows], classes=[0, 1, 2])
    for net, single in zip(model.networks_, singles, strict=True):
        np.testing.assert_array_equal(net.parameters, single.network_.parameters)
    model = MLPRegressor(n_ensemble=2, warm_start=True, **OPTIONS)
    options = OPTIONS | {"warm_start": True}
    singles = [MLPRegressor(**(options | {"random_state": seed})) for seed in seeds(2)]
    for rate in (0.01, 0.001):
        for each in (model, *singles):
            each.set_params(learning_rate_init=rate).fit(X, Y)
    for net, single in zip(model.networks_, singles, strict=True):
        np.testing.assert_array_equal(net.parameters, single.network_.parameters)
    with pytest.raises(ValueError, match="n_ensemble: expected 2, as in the fit that is continued"):
        model.set_params(n_ensemble=3).fit(X, Y)
    assert len(model.networks_) == 2


def test_clones_and_pickles():
    model = MLPClassifier(n_ensemble=3, **OPTIONS).fit(X, LABELS)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    fresh = base.clone(model)
    assert fresh.n_ensemble == 3 and not hasattr(fresh, "members_")
    assert model._layers_html().count("<table") == 3
    assert estimators.MLPClassifier()._layers_html() == ""


def test_what_is_refused_changes_nothing(tmp_path):
    model = MLPRegressor(n_ensemble=2, **OPTIONS).fit(X, Y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="checkpoint: expected None with n_ensemble above 1"):
        model.set_params(checkpoint=tmp_path / "fit.npz").fit(X, Y)
    model.set_params(checkpoint=None)
    with pytest.raises(ValueError, match="inconsistent numbers"):
        model.fit(X, Y[:-1])
    with pytest.raises(ValueError, match="n_ensemble"):
        model.set_params(n_ensemble=0).fit(X, Y)
    np.testing.assert_array_equal(model.predict(X), before)


def test_callbacks_are_the_users_own():
    seen = []
    model = MLPRegressor(n_ensemble=2, callbacks=[seen.append], **OPTIONS).fit(X, Y)
    assert len(seen) == 2 * 8
    assert {id(event.network) for event in seen} == set(map(id, model.networks_))


def test_searches_over_ensembles():
    search = estimators.GridSearchCV(MLPRegressor(**OPTIONS), {"n_ensemble": [1, 2]}, cv=3)
    search.fit(X, Y)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(search.best_estimator_.networks_) == search.best_params_["n_ensemble"]


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [MLPClassifier(n_ensemble=2, max_iter=100), MLPRegressor(n_ensemble=2, max_iter=100)]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (3, 4)])
@pytest.mark.parametrize("go_on", ["fit", "partial_fit"])
def test_a_fit_that_is_continued_keeps_its_number_of_networks(before, after, go_on):
    model = MLPRegressor(n_ensemble=before, **OPTIONS).fit(X, Y)
    said = model.predict(X)
    model.set_params(n_ensemble=after, warm_start=go_on == "fit")
    told = f"n_ensemble: expected {before}, as in the fit that is continued; got {after}"
    with pytest.raises(ValueError, match=told):
        getattr(model, go_on)(X, Y)
    np.testing.assert_array_equal(model.predict(X), said)
    model.set_params(warm_start=False).fit(X, Y)
    assert len(model.networks_) == after


@pytest.mark.parametrize(
    "name", ["coefs_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_"]
)
def test_what_one_network_has_is_pointed_to(name):
    model = MLPRegressor(n_ensemble=2, early_stopping=True, **OPTIONS).fit(X, Y)
    assert hasattr(model.members_[0], name)
    with pytest.raises(AttributeError, match=f"{name}: an ensemble of 2 networks.*members_"):
        getattr(model, name)
    assert not hasattr(MLPRegressor(), name)


def test_one_bar_tells_of_all_members(monkeypatch):
    made = []

    class Noted:
        def __init__(self, total, unit, **_):
            made.append((total, unit))

        def set_postfix_str(self, *_, **__):
            pass

        update = close = set_postfix_str

    monkeypatch.setattr("tqdm.auto.tqdm", Noted)
    MLPRegressor(n_ensemble=3, progress=True, **OPTIONS).fit(X, Y)
    assert made == [(3, "network")]
