"""TabularClassifier and TabularRegressor: raw tables, any targets, what is refused, what is kept.

What belongs here: fitting and predicting. What does not: scikit-learn's checks
(test_tabular_sklearn.py), files (test_tabular_files.py), recipes (test_presets.py).
"""

import copy
import itertools
import pickle
import signal
import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose

pytest.importorskip("sklearn")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastbp
from fastbp import estimators
from fastbp.estimators import TabularClassifier, TabularRegressor, tabular_ensemble
from fastbp.tabular import Encoder

N = 240
DRAWS = np.random.default_rng(0)
SIZE = DRAWS.standard_normal(N)
WOOD = DRAWS.choice(["ash", "elm", "oak"], N)
TABLE = {
    "size": [None if i % 17 == 3 else x for i, x in enumerate(SIZE)],
    "wood": [None if i % 23 == 5 else w for i, w in enumerate(WOOD.tolist())],
    "when": np.datetime64("2024-01-01") + DRAWS.integers(0, 500, N),
    "alive": DRAWS.random(N) < 0.5,
}
CLASSES = np.where((WOOD == "oak") ^ (SIZE > 0), "yes", "no")
NUMBERS = np.sin(2 * SIZE) + (WOOD == "elm")


def classifier(**options):
    return TabularClassifier(**{"random_state": 0, "n_ensemble": 2} | options)


def regressor(**options):
    return TabularRegressor(**{"random_state": 0, "n_ensemble": 2} | options)


def rows(table, which):
    return {name: np.asarray(values, object)[which].tolist() for name, values in table.items()}


@pytest.fixture(scope="module")
def fitted():
    return classifier().fit(TABLE, CLASSES), regressor().fit(TABLE, NUMBERS)


# what it learns


def test_a_table_of_all_kinds(fitted):
    model, numbers = fitted
    assert model.score(TABLE, CLASSES) > 0.9 and numbers.score(TABLE, NUMBERS) > 0.9
    assert model.predict(TABLE).dtype == CLASSES.dtype and numbers.predict(TABLE).shape == (N,)
    p = model.predict_proba(TABLE)
    assert p.shape == (N, 2) and np.allclose(p.sum(axis=1), 1)
    assert (model.classes_[p.argmax(axis=1)] == model.predict(TABLE)).all()
    np.testing.assert_array_equal(model.predict_log_proba(TABLE), np.log(p))
    assert model.feature_names_in_.tolist() == list(TABLE) and model.n_features_in_ == 4
    assert len(model.networks_) == len(model.histories_) == 2


def test_a_wave_is_learnt_where_few_hidden_units_alone_would_not():
    x = np.linspace(0, 30, 1500)
    model = TabularRegressor(random_state=0).fit(x[:, None], np.sin(x))
    assert model.score(x[:, None], np.sin(x)) > 0.99


def test_unseen_categories_and_missing_values(fitted):
    strange = {"size": [None], "wood": ["fir"], "when": [None], "alive": [None]}
    for model in fitted:
        assert len(model.predict(strange)) == 1


def test_columns_are_found_by_name(fitted):
    other = {"more": [0] * N} | dict(reversed(TABLE.items()))
    for model in fitted:
        assert (model.predict(other) == model.predict(TABLE)).all()
        with pytest.raises(ValueError, match="'wood' is missing, unknown: 'Wood'"):
            model.predict({k.replace("w", "W") if k == "wood" else k: v for k, v in TABLE.items()})
        with pytest.raises(TypeError, match="column 'size', row 0: expected numbers"):
            model.predict(TABLE | {"size": WOOD})


def test_a_prediction_in_parts_is_that_of_the_whole(fitted, monkeypatch):
    whole = [model.predict(TABLE) for model in fitted]
    monkeypatch.setattr("fastbp.estimators.design.BLOCK", 1000)
    assert all((model.predict(TABLE) == y).all() for model, y in zip(fitted, whole, strict=True))
    monkeypatch.undo()
    assert (fitted[1].predict(rows(TABLE, [7])) == whole[1][7]).all()


def test_frames():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(TABLE)
    model = classifier(n_ensemble=1).fit(frame, pd.Series(CLASSES))
    same = classifier(n_ensemble=1).fit(pl.from_pandas(frame), pl.Series(CLASSES.tolist()))
    p = model.predict_proba(frame)
    assert (same.predict_proba(frame) == p).all()
    assert (model.predict_proba(pl.from_pandas(frame)) == p).all()
    assert (model.predict_proba(frame.iloc[::-1][frame.columns[::-1]])[::-1] == p).all()


def test_many_categories_go_as_lists():
    n = 4000
    names = np.array([f"town {i}" for i in np.random.default_rng(0).integers(0, 600, n)])
    y = np.array([hash_of(name) for name in names])
    model = classifier().fit({"town": names, "size": np.arange(n)}, y)
    assert model._design.lists and model.score({"town": names, "size": np.arange(n)}, y) > 0.9


def hash_of(name):
    return "even" if int(name.split()[1]) % 2 == 0 else "odd"


# targets


LABELS = {
    "texts": CLASSES,
    "objects": CLASSES.astype(object),
    "list": CLASSES.tolist(),
    "bools": CLASSES == "yes",
    "ints": np.where(CLASSES == "yes", -7, 3),
    "small": np.where(CLASSES == "yes", 1, 0).astype(np.int8),
    "floats": np.where(CLASSES == "yes", 1.0, 2.0),
    "column": CLASSES[:, None],
    "dates": np.where(CLASSES == "yes", np.datetime64("2020"), np.datetime64("2021")),
}


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("name", LABELS)
def test_labels_of_any_make(name):
    y = LABELS[name]
    model = classifier(n_ensemble=1).fit(TABLE, y)
    assert model.classes_.dtype == np.asarray(y).dtype
    assert model.classes_.tolist() == sorted(set(np.asarray(y).ravel().tolist()))
    assert model.score(TABLE, np.asarray(y).ravel()) > 0.85


def test_labels_of_frames():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for y in (
        pd.Series(CLASSES), pd.Series(CLASSES, dtype="category"), pd.Series(CLASSES == "yes"),
        pd.array((CLASSES == "yes").tolist(), dtype="boolean"), pl.Series(CLASSES.tolist()),
        pd.array((CLASSES == "yes").astype(int), dtype="Int64"),
    ):  # fmt: skip
        model = classifier(n_ensemble=1).fit(TABLE, y)
        assert (model.predict(TABLE) == np.asarray(y)).mean() > 0.85


MISSING = {
    "None": [None if i in (5, 9) else y for i, y in enumerate(CLASSES.tolist())],
    "NaN": np.where(np.isin(np.arange(N), (5, 9)), np.nan, 1.0),
    "NaT": np.where(np.isin(np.arange(N), (5, 9)), np.datetime64("NaT"), np.datetime64("2020")),
    "object NaN": np.where(np.isin(np.arange(N), (5, 9)), np.nan, CLASSES.astype(object)),
}


@pytest.mark.parametrize("name", MISSING)
@pytest.mark.parametrize("make", [classifier, regressor])
def test_missing_targets_are_counted(make, name):
    told = "y: expected a target in every row; got none in 2 of 240 rows, the first row 5: leave"
    with pytest.raises(ValueError, match=told):
        make().fit(TABLE, MISSING[name])


def test_missing_targets_of_frames():
    pd, pl = pytest.importorskip("pandas"), pytest.importorskip("polars")
    for y in (pd.Series(MISSING["None"]), pl.Series(MISSING["None"]), pd.array([1, pd.NA] * 120)):
        with pytest.raises(ValueError, match="y: expected a target in every row"):
            classifier().fit(TABLE, y)


@pytest.mark.parametrize(
    ("y", "error", "told"),
    [
        (None, ValueError, "got None"),
        ("yes", TypeError, "one for each row; got 'yes'"),
        ({}, TypeError, "one for each row"),
        (CLASSES[:10], ValueError, "y: expected 240 rows, as many as X; got 10"),
        ([], ValueError, "at least one target"),
        (np.full(N, "a"), ValueError, "two classes or more; got 1 class, 'a'"),
        ([1, "a"] * (N // 2), TypeError, "of one type.*int and str"),
        (NUMBERS, ValueError, "continuous"),
        (np.ones((N, 2, 2)), ValueError, r"got shape \(240, 2, 2\)"),
        (DRAWS.integers(0, 3, (N, 2)), ValueError, "several columns of classes"),
        (np.full(N, 1j), ValueError, "Complex"),
        (np.full(N, np.inf), ValueError, "y: expected finite targets; got inf in row 0"),
    ],
)
def test_bad_labels(y, error, told):
    with pytest.raises(error, match=told):
        classifier().fit(TABLE, y)


@pytest.mark.parametrize(
    ("y", "error", "told"),
    [
        (CLASSES, ValueError, "expected numbers; got '(no|yes)' .row 0.: classes are for"),
        (TABLE["when"], TypeError, "expected numbers; got times"),
        (np.ones((N, 0)), ValueError, "at least one column"),
        (np.where(NUMBERS > 1, -np.inf, 0), ValueError, "expected finite targets; got -inf in row"),
        (NUMBERS[1:], ValueError, "expected 240 rows"),
    ],
)
def test_bad_numbers(y, error, told):
    with pytest.raises(error, match=told):
        regressor().fit(TABLE, y)


def test_a_class_of_one_row_is_trained_on():
    y = np.where(np.arange(N) == 40, "rare", CLASSES)
    model = TabularClassifier(random_state=1).fit(TABLE, y)
    assert model.classes_.tolist() == ["no", "rare", "yes"]
    assert model.predict_proba(TABLE)[40, 1] > 0.1
    alone = classifier().fit(rows(TABLE, slice(4)), list("abcd"))
    assert len(alone.predict(TABLE)) == N


def test_tables_of_few_rows():
    for n in (1, 2, 3):
        X = np.arange(2.0 * n).reshape(n, 2)
        assert np.isfinite(regressor().fit(X, np.arange(n)).predict(X)).all()
    assert set(classifier().fit([[1.0], [2.0]], ["a", "b"]).predict([[1.0]])) <= {"a", "b"}


def test_several_targets():
    Y = np.c_[NUMBERS, 1e6 - 1e5 * NUMBERS]
    model = regressor().fit(TABLE, Y)
    found = model.predict(TABLE)
    assert found.shape == (N, 2) and model.n_outputs_ == 2
    assert model.score(TABLE, Y) > 0.9


def test_several_labels():
    Y = np.c_[CLASSES == "yes", CLASSES == "no", SIZE > 0].astype(int)
    model = classifier().fit(TABLE, Y)
    assert model.predict(TABLE).shape == model.predict_proba(TABLE).shape == (N, 3)
    assert (model.predict(TABLE) == Y).mean() > 0.9
    assert model.classes_.tolist() == [0, 1, 2]


@pytest.mark.parametrize("factor", [1e-300, 1e-30, 1e30, 1e300])
def test_numbers_of_any_size(factor):
    small = regressor().fit(TABLE, NUMBERS)
    large = regressor().fit(TABLE, NUMBERS * factor)
    np.testing.assert_allclose(large.predict(TABLE) / factor, small.predict(TABLE), rtol=1e-2)


def test_a_constant_number():
    assert (regressor().fit(TABLE, np.full(N, 7)).predict(TABLE) == 7).all()


# weights, validation, the split


def test_rows_of_weight_zero_do_not_matter():
    weight = (np.arange(N) % 3 > 0).astype(float)
    spoilt = np.where(weight > 0, NUMBERS, -NUMBERS - 5)
    model = regressor().fit(TABLE, spoilt, weight)
    there = weight > 0
    assert np.corrcoef(model.predict(TABLE)[there], NUMBERS[there])[0, 1] > 0.9
    labels = np.where(weight > 0, CLASSES, "third")
    p = classifier().fit(TABLE, labels, weight).predict_proba(TABLE)
    assert p[:, 1].max() < 0.2


@pytest.mark.parametrize(
    ("weight", "told"),
    [
        (np.ones(3), r"expected shape \(240,\)"),
        (np.zeros(N), "at least one weight above 0"),
        (-np.ones(N), ">= 0"),
        (np.full(N, np.nan), "finite"),
    ],
)
@pytest.mark.parametrize("make", [classifier, regressor])
def test_bad_weights(make, weight, told):
    with pytest.raises(ValueError, match=f"sample_weight: .*{told}"):
        make().fit(TABLE, CLASSES if make is classifier else NUMBERS, weight)


def test_validation_of_ones_own():
    told = rows(TABLE, slice(0, 60))
    model = regressor().fit(TABLE, NUMBERS, X_val=told, y_val=NUMBERS[:60])
    best = min(model.histories_[0]["validation_loss"])
    alone = copy.copy(model)
    alone.networks_ = model.networks_[:1]
    mse = np.mean((alone.predict(told) - NUMBERS[:60]) ** 2) / NUMBERS.var()
    assert mse == pytest.approx(best, rel=1e-4)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"X_val": TABLE}, "y_val: expected validation data beside X_val; got None"),
        ({"y_val": CLASSES}, "X_val: expected validation data beside y_val; got None"),
        ({"X_val": TABLE, "y_val": CLASSES[1:]}, "y_val: expected 240 rows, as many as X_val"),
        ({"X_val": TABLE, "y_val": np.full(N, "maybe")}, "y_val: expected classes that training"),
        ({"X_val": {"size": SIZE}, "y_val": CLASSES}, "^X_val: expected the columns of training"),
    ],
)
def test_bad_validation(given, told):
    with pytest.raises(ValueError, match=told):
        classifier().fit(TABLE, CLASSES, **given)


def test_no_validation():
    model = regressor(validation_fraction=0).fit(TABLE, NUMBERS)
    assert "validation_loss" not in model.histories_[0] and model.score(TABLE, NUMBERS) > 0.9


def test_the_split_has_like_shares():
    draws = np.random.RandomState(0)
    strata = np.repeat([0, 1, 2], [700, 290, 10])
    for n_held in (1, 200, 333, 999):
        kept = tabular_ensemble._kept(strata, n_held, draws)
        assert len(np.unique(kept)) == len(kept) >= 1000 - n_held
        assert set(strata[kept]) == {0, 1, 2}
        shares = np.bincount(strata[kept]) / np.bincount(strata)
        if n_held < 999:
            assert len(kept) == 1000 - n_held
            assert np.abs(shares - (1 - n_held / 1000)).max() <= 0.1
    one, other = (tabular_ensemble._kept(strata, 200, draws) for _ in range(2))
    assert (one != other).any()
    numbers = tabular_ensemble._kept(np.arange(1000.0), 200, draws)
    assert np.diff(numbers).max() <= 2 and len(numbers) == 800


# runs


def test_the_same_bits_at_any_number_of_threads():
    models = [classifier(n_ensemble=3, n_threads=n).fit(TABLE, CLASSES) for n in (1, 2, 3)]
    probabilities = [model.predict_proba(TABLE) for model in models]
    assert (probabilities[0] == probabilities[1]).all()
    assert (probabilities[0] == probabilities[2]).all()
    other = classifier(n_ensemble=3, random_state=1).fit(TABLE, CLASSES)
    assert (other.predict_proba(TABLE) != probabilities[0]).any()


def test_random_states_of_any_kind():
    one, other = (
        regressor(random_state=np.random.RandomState(3)).fit(TABLE, NUMBERS).predict(TABLE)
        for _ in range(2)
    )
    assert (one == other).all()
    regressor(random_state=None).fit(TABLE, NUMBERS)


@pytest.mark.parametrize("limit", [1e-9, 0.02])
def test_a_time_limit(limit):
    model = regressor(n_ensemble=50, time_limit=limit).fit(TABLE, NUMBERS)
    assert 1 <= len(model.networks_) == len(model.histories_) < 50
    assert all(history.epochs for history in model.histories_)
    assert np.isfinite(model.predict(TABLE)).all()


def test_callbacks_see_every_network_and_may_end_it():
    seen = []

    def watch(event):
        seen.append((id(event.network), event.epoch))
        return event.epoch >= 4

    model = regressor(callbacks=[watch]).fit(TABLE, NUMBERS)
    assert model.n_iter_ == 5 and len(seen) == 10
    assert {net for net, _ in seen} == set(map(id, model.networks_))


def test_an_error_leaves_an_earlier_fit_as_it_was(fitted):
    model = copy.deepcopy(fitted[0])
    before, p = dict(vars(model)), model.predict_proba(TABLE)

    def fail(event):
        raise RuntimeError("on purpose")

    model.callbacks = [fail]
    for refused in (
        lambda: model.fit(TABLE, CLASSES),
        lambda: model.partial_fit(TABLE, CLASSES),
        lambda: model.fit(TABLE, CLASSES[1:]),
        lambda: model.partial_fit(TABLE, np.full(N, "maybe")),
        lambda: model.fit({"size": [np.inf] * N}, CLASSES),
    ):
        with pytest.raises((RuntimeError, ValueError)):
            refused()
        assert {**vars(model), "callbacks": None} == before
        assert (model.predict_proba(TABLE) == p).all()


def test_ctrl_c_leaves_an_earlier_fit_as_it_was(fitted):
    model = copy.deepcopy(fitted[1])
    p = model.predict(TABLE)
    assert threading.current_thread() is threading.main_thread()
    for fit in (model.fit, model.partial_fit):
        calls = itertools.count()  # of several threads: one Ctrl-C is pressed, not one by each

        def press(event, calls=calls):
            if next(calls) == 0:
                signal.raise_signal(signal.SIGINT)

        model.set_params(callbacks=[press])
        with pytest.raises(KeyboardInterrupt):
            fit(TABLE, NUMBERS)
        assert (model.predict(TABLE) == p).all()


def test_partial_fits():
    model = classifier()
    for _ in range(15):
        for part in (slice(0, 120), slice(120, N)):
            model.partial_fit(rows(TABLE, part), CLASSES[part], classes=["no", "yes", "maybe"])
    assert model.classes_.tolist() == ["maybe", "no", "yes"] and model.n_iter_ == 30
    assert model.score(TABLE, CLASSES) > 0.8
    numbers = regressor().fit(TABLE, NUMBERS)
    before, n_iter = numbers.networks_[0].parameters.copy(), numbers.n_iter_
    nets = numbers.networks_
    numbers.partial_fit(TABLE, NUMBERS)
    assert numbers.n_iter_ == n_iter + 1
    assert (nets[0].parameters == before).all()  # whoever holds them keeps them
    assert (numbers.networks_[0].parameters != before).any()


def test_networks_that_diverge_are_left_out(monkeypatch):
    import fastbp

    def spoil(nets, *data, **options):
        histories = fastbp.fit_many(nets, *data, **options)
        histories[0].error = fastbp.DivergenceError("on purpose", 3, 0.1)
        return histories

    monkeypatch.setattr(tabular_ensemble, "fit_many", spoil)
    assert len(regressor(n_ensemble=3).fit(TABLE, NUMBERS).networks_) == 2
    with pytest.raises(fastbp.DivergenceError, match="on purpose"):
        regressor(n_ensemble=1).fit(TABLE, NUMBERS)


# importances


def test_the_columns_that_matter(fitted):
    found = fitted[0].permutation_importances(TABLE, CLASSES, random_state=0, n_repeats=3)
    assert found.feature_names.tolist() == list(TABLE) and found.importances.shape == (4, 3)
    mean = dict(zip(found.feature_names, found.importances_mean, strict=True))
    assert min(mean["size"], mean["wood"]) > 0.2 > 0.1 > max(mean["when"], mean["alive"])
    other = dict(reversed(TABLE.items())) | {"more": [0] * N}
    again = fitted[0].permutation_importances(other, CLASSES, random_state=0, n_repeats=3)
    assert (again.importances == found.importances).all()
    by_area = fitted[0].permutation_importances(TABLE, CLASSES, scoring="roc_auc")
    assert by_area.importances_mean.argmax() in (0, 1)
    weighted = fitted[1].permutation_importances(TABLE, NUMBERS, sample_weight=np.ones(N))
    assert weighted.importances_mean[0] > 0.3


def test_importances_of_arrays():
    X = np.random.default_rng(0).standard_normal((300, 3))
    found = regressor().fit(X, X[:, 1]).permutation_importances(X, X[:, 1], random_state=0)
    assert found.feature_names.tolist() == ["x0", "x1", "x2"]
    assert found.importances_mean.argmax() == 1
    with pytest.raises(ValueError, match="n_repeats"):
        regressor().fit(X, X[:, 1]).permutation_importances(X, X[:, 1], n_repeats=0)


# scikit-learn around them


def test_clones_pickles_and_searches(fitted):
    for model, y in zip(fitted, (CLASSES, NUMBERS), strict=True):
        again = pickle.loads(pickle.dumps(model))
        assert (again.predict(TABLE) == model.predict(TABLE)).all()
        assert clone(model).get_params() == model.get_params()
        assert "networks_" not in vars(clone(model))
        with pytest.raises(NotFittedError):
            clone(model).predict(TABLE)
        X = np.c_[SIZE, WOOD == "oak", WOOD == "elm"].astype(float)
        for search in (GridSearchCV, estimators.GridSearchCV):
            found = search(clone(model), {"n_ensemble": [1, 2]}, cv=2).fit(X, y)
            assert found.best_score_ > 0.6
        assert np.mean(cross_val_score(make_pipeline(StandardScaler(), clone(model)), X, y)) > 0.6


def test_searches_over_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame(TABLE)
    search = GridSearchCV(classifier(), {"preset": ["default", "mlp"]}, cv=2).fit(frame, CLASSES)
    assert search.best_estimator_.feature_names_in_.tolist() == list(TABLE)


def test_parameters_are_checked():
    for wrong in (
        {"preset": "bset"}, {"n_ensemble": 0}, {"time_limit": 0}, {"validation_fraction": 1},
        {"n_threads": 0}, {"callbacks": 3},
    ):  # fmt: skip
        with pytest.raises(ValueError, match=next(iter(wrong))):
            regressor(**wrong).fit(TABLE, NUMBERS)
    with pytest.raises(TypeError, match="n_ensembles"):
        TabularRegressor(n_ensembles=3)


def test_an_encoder_says_how_columns_are_taken(tmp_path):
    table = {"kind": [0, 1, 2, 3] * 20, "size": [str(i % 7) for i in range(80)]}
    y = [kind == 2 for kind in table["kind"]]
    encoder = Encoder(categorical=["kind"], numeric=["size"])
    model = TabularClassifier(random_state=0, encoder=encoder).fit(table, y)
    assert model.encoder_.feature_names_out() == [*(f"kind={k}" for k in range(4)), "size"]
    assert model.encoder_ is not encoder and not encoder.__sklearn_is_fitted__()
    other = table | {"kind": [float(k) for k in table["kind"]]}
    assert (model.predict(other) == model.predict(table)).all()
    model.save(tmp_path / "m")
    twin = fastbp.load(tmp_path / "m")
    assert twin.encoder.get_params() == model.encoder_.get_params()
    assert (clone(twin).fit(table, y).predict_proba(table) == model.predict_proba(table)).all()
    with pytest.raises(ValueError, match="encoder"):
        TabularClassifier(encoder="one-hot").fit(table, y)


def test_encoded_rows_are_what_the_networks_see():
    table = {"wood": ["oak", "elm", "ash"] * 20, "x": np.linspace(0, 1, 60)}
    y = np.sin(3 * table["x"])
    model = TabularRegressor(random_state=0).fit(table, y)
    seen, targets = model.encoded(table, y)
    mean = np.mean([net.predict(seen) for net in model.networks_], axis=0)[:, 0]
    assert_allclose(mean * y.std() + y.mean(), model.predict(table), rtol=1e-5)
    assert_allclose(targets[:, 0] * y.std() + y.mean(), y, atol=1e-6)
    assert model.encoded(table)[1] is None
    report = fastbp.check.gradients(model.networks_[0], seen[:5], targets[:5])
    assert report.ok


def test_metadata_stays_with_a_model(tmp_path):
    model = TabularRegressor(random_state=0).fit({"x": np.arange(30.0)}, np.arange(30.0))
    assert model.metadata_ == {}
    model.metadata_ = {"made": "today", "ids": ["a"]}
    model.save(tmp_path / "m")
    assert fastbp.load(tmp_path / "m").metadata_ == model.metadata_
