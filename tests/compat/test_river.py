"""fastbp.compat.river: river's own checks, features and classes that come and go.

What belongs here: what river's protocol asks. What does not: steps (training/test_online.py).
"""

import collections
import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("river")
from river import checks

import fastbp
from fastbp.compat.river import MLPClassifier, MLPRegressor

MODELS = {"classifier": MLPClassifier(hidden_layer_sizes=(8,)),
          "regressor": MLPRegressor(hidden_layer_sizes=(8,))}  # fmt: skip
CHECKS = [(name, check) for name, model in MODELS.items() for check in checks.yield_checks(model)
          if check.__name__ not in model._unit_test_skips()]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "check"), CHECKS, ids=lambda v: getattr(v, "__name__", v))
def test_rivers_checks(name, check):
    check(MODELS[name].clone())


def test_features_that_come_late_change_no_prediction_without_them():
    model = MLPRegressor(hidden_layer_sizes=(8,))
    for i in range(50):
        model.learn_one({"a": i % 5, "b": i % 3}, float(i % 5))
    before = model.predict_one({"a": 1.0, "b": 2.0})
    assert model.predict_one({"a": 1.0, "b": 2.0, "new": 5.0}) == before  # not learnt yet
    twin = copy.deepcopy(model)
    twin._know([f"feature {i}" for i in range(40)])
    assert twin.predict_one({"a": 1.0, "b": 2.0}) == pytest.approx(before, rel=1e-6)
    assert twin.network.sizes[0] == 64 and len(twin.features) == 42
    assert twin._trainer.step == model._trainer.step
    twin.learn_one({"feature 7": 1.0}, 3.0)


def test_classes_that_come_late():
    model = MLPClassifier(hidden_layer_sizes=(16,), seed=1)
    assert model.predict_proba_one({"a": 1.0}) == {} and model.predict_one({"a": 1.0}) is None
    model.learn_one({"a": 0.0}, "x")
    assert model.predict_proba_one({"a": 0.0}) == {"x": 1.0}
    for i in range(900):
        model.learn_one({"a": i % 3 - 1.0}, "xyz"[i % 3])
    assert [model.predict_one({"a": a}) for a in (-1.0, 0.0, 1.0)] == ["x", "y", "z"]
    assert sum(model.predict_proba_one({"a": 0.5}).values()) == pytest.approx(1.0)


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_batches_of_either_kind_of_frame(kind):
    frames = pytest.importorskip(kind)
    rng = np.random.default_rng(0)
    X = frames.DataFrame({"a": rng.standard_normal(64), "b": rng.standard_normal(64)})
    y = frames.Series((X["a"] > X["b"]).to_list())
    model = MLPClassifier(hidden_layer_sizes=(16,), seed=1)
    regressor = MLPRegressor(hidden_layer_sizes=(16,), seed=1)
    for _ in range(300):
        model.learn_many(X, y)
        regressor.learn_many(X, X["a"] - X["b"])
    shares = model.predict_proba_many(X)
    assert isinstance(shares, frames.DataFrame) and shares.shape == (64, 2)
    rows = [dict(zip("ab", row, strict=True)) for row in X.to_numpy().tolist()]
    assert [model.predict_one(row) for row in rows] == y.to_list()
    assert model.predict_many(X).to_list() == y.to_list()
    assert MLPClassifier().predict_many(X).to_list() == [None] * 64
    predictions = regressor.predict_many(X)
    assert isinstance(predictions, frames.Series)
    assert np.allclose(predictions.to_numpy(), [regressor.predict_one(row) for row in rows])
    assert np.abs(predictions.to_numpy() - (X["a"] - X["b"]).to_numpy()).mean() < 0.1


def trained(kind, **options):
    model = type(MODELS[kind])(hidden_layer_sizes=(8,), **options)
    for i in range(6):
        model.learn_one({"a": float(i), "b": 1.0}, i % 2)
    return model


def all_of(model):
    """What a call that is refused leaves as it was."""
    known = list(model.features), list(model._classes), len(model._row)
    return *known, model.network.parameters.tobytes(), model._trainer.slots.tobytes()


NO_NUMBERS = {
    "a text": ("red", "a number"), "a number as text": ("1.5", "a number"),
    "NaN as text": ("nan", "a number"), "None": (None, "a number"), "a list": ([1.0], "a number"),
    "an array": (np.ones(1), "a number"), "complex": (1j, "a number"),
    "a date": (np.datetime64("2020-01-01"), "a number"),
    "NaN": (float("nan"), "a finite"), "infinity": (-float("inf"), "a finite"),
    "beyond float32": (1e300, "a finite"), "beyond float": (10**400, "a finite"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("what", NO_NUMBERS)
@pytest.mark.parametrize("row", ["known", "new", "fewer", "first"])
def test_rows_that_are_refused_change_nothing(kind, what, row):
    value, message = NO_NUMBERS[what]
    model = trained(kind)
    x = {
        "known": {"a": value, "b": 1.0}, "new": {"a": 1.0, "b": 1.0, "c": value, "d": 1.0},
        "fewer": {"a": value}, "first": {"a": value, "b": 1.0},
    }[row]  # fmt: skip
    bad = "c" if row == "new" else "a"
    if row == "first":
        model = type(model)()
        with pytest.raises((TypeError, ValueError), match=rf"x\['{bad}'\]: expected {message}"):
            model.learn_one(x, 1)
        assert model.network is None and not model.features and not model._classes
        return
    before = all_of(model)
    for call in (lambda: model.learn_one(x, 1), lambda: model.predict_one(x)):
        with pytest.raises((TypeError, ValueError), match=rf"x\['{bad}'\]: expected {message}"):
            call()
        assert all_of(model) == before
    model.learn_one({"a": 1.0, "b": 2.0}, 1)


NO_TARGETS = {
    "classifier": [None, float("nan"), [1], {}, np.array(1)],
    "regressor": [None, float("nan"), float("inf"), "x", [1.0, 2.0], 1e300, {}],
}


@pytest.mark.parametrize("kind", MODELS)
def test_targets_that_are_refused_change_nothing(kind):
    many = {f"f{i}": 1.0 for i in range(20)}  # such that the network would grow
    for y in NO_TARGETS[kind]:
        model = trained(kind)
        before = all_of(model)
        with pytest.raises((TypeError, ValueError), match="y: expected"):
            model.learn_one(many, y)
        assert all_of(model) == before


def test_a_row_that_diverges_changes_nothing():
    model = trained("regressor", activation="identity")
    before = all_of(model)
    with pytest.raises(ArithmeticError):
        model.learn_one({"a": 1e30, "b": 1.0, "c": 1e30}, 1e30)
    assert all_of(model) == before


@pytest.mark.parametrize(
    "options", [{"activation": "foo"}, {"optimizer": "foo"}, {"hidden_layer_sizes": 0}]
)
def test_what_it_was_made_of_wrongly_leaves_nothing(options):
    model = MLPClassifier(**options)
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected"):
        model.learn_one({"a": 1.0}, "x")
    assert not model.features and not model._classes and model.predict_proba_one({"a": 1.0}) == {}


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_batches_that_are_refused_change_nothing(kind):
    frames = pytest.importorskip(kind)
    a = [0.0, 1.0, 2.0]
    refused = {
        "X: expected a pandas": (np.ones((3, 2)), frames.Series(a)),
        "y: expected a pandas": (frames.DataFrame({"z": a}), a),
        "y: expected 3 rows": (frames.DataFrame({"z": a}), frames.Series([1.0])),
        r"X\['z'\]: expected finite": (
            frames.DataFrame({"z": [None, 1.0, 2.0]}), frames.Series(a)),
        r"X\['z'\]: expected numbers": (frames.DataFrame({"z": ["1"] * 3}), frames.Series(a)),
        "X: expected at least one row": (
            frames.DataFrame({"z": a})[:0], frames.Series(a)[:0]),
        "y: expected": (frames.DataFrame({"z": a}), frames.Series([1.0, None, 2.0])),
    }  # fmt: skip
    for message, (X, y) in refused.items():
        for name in MODELS:
            model = trained(name)
            before = all_of(model)
            with pytest.raises((TypeError, ValueError), match=message):
                model.learn_many(X, y)
            assert all_of(model) == before


def test_a_mapping_that_answers_to_names_that_it_lacks():
    """As a Counter of words does, and a defaultdict, which would keep them too."""
    for make in (collections.Counter, lambda x: collections.defaultdict(float, x)):
        model = trained("regressor")
        x = make({"c": 1, "d": 2})
        assert model.predict_one(x) == model.predict_one({})
        model.learn_one(x, 1.0)
        assert model.features == ["a", "b", "c", "d"] and list(x) == ["c", "d"]


def test_the_first_row_may_have_no_feature():
    for kind, y in (("classifier", "x"), ("regressor", 1.0)):
        model = type(MODELS[kind])()
        model.learn_one({}, y)
        model.learn_one({"a": 1.0}, y)
        assert model.features == ["a"] and model.predict_one({}) is not None


def test_columns_may_be_named_by_numbers():
    pd = pytest.importorskip("pandas")
    X = pd.DataFrame(np.random.default_rng(0).standard_normal((5, 3)))
    model = MLPRegressor()
    model.learn_many(X, X[0])
    rows = [dict(enumerate(row)) for row in X.to_numpy().tolist()]
    assert np.allclose(model.predict_many(X), [model.predict_one(row) for row in rows])
    assert model.predict_many(X[[2, 0, 1]]).equals(model.predict_many(X))


def test_slots_of_what_is_new_are_as_an_optimizer_begins():
    optimizer = fastbp.Adagrad(0.1, initial_accumulator_value=0.5)
    model = MLPClassifier(hidden_layer_sizes=(2,), optimizer=optimizer)
    for y in "xyz":
        model.learn_one({"a": 1.0}, y)
    net, slots = model.network, model._trainer.slots[0]
    unseen = slots[: net.weights[0].size].reshape(net.weights[0].shape)[1:]
    assert (unseen == 0.5).all() and (slots >= 0.5).all()


def test_a_pickle_goes_on_alike():
    model = MLPClassifier(hidden_layer_sizes=(8,))
    for i in range(20):
        model.learn_one({"a": i % 3, "b": i % 4}, i % 2)
    twin = pickle.loads(pickle.dumps(model))
    for i in range(20):
        model.learn_one({"a": i % 3, "b": i % 4}, i % 2)
        twin.learn_one({"a": i % 3, "b": i % 4}, i % 2)
    assert model.predict_proba_one({"a": 1}) == twin.predict_proba_one({"a": 1})
