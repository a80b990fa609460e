"""fastbp.compat.river: river's own checks, features and classes that come and go.

What belongs here: what river's protocol asks. What does not: steps (training/test_online.py).
"""

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("river")
from river import checks

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
    predictions = regressor.predict_many(X)
    assert isinstance(predictions, frames.Series)
    assert np.allclose(predictions.to_numpy(), [regressor.predict_one(row) for row in rows])
    assert np.abs(predictions.to_numpy() - (X["a"] - X["b"]).to_numpy()).mean() < 0.1


@pytest.mark.parametrize(
    ("x", "message"),
    [({"a": "red"}, r"x\['a'\]: expected a number"), ({"a": None}, r"x\['a'\]: expected a number"),
     ({"a": float("nan"), "b": 1.0}, r"x\['a'\]: expected a finite"),
     ({"a": 1.0, "b": float("inf")}, r"x\['b'\]: expected a finite")],
)  # fmt: skip
def test_rows_that_are_refused_change_nothing(x, message):
    model = MLPRegressor()
    for i in range(5):
        model.learn_one({"a": float(i), "b": 1.0}, 2.0)
    before = model.network.parameters.copy()
    for call in (lambda: model.learn_one(x, 1.0), lambda: model.predict_one(x)):
        with pytest.raises((TypeError, ValueError), match=message):
            call()
    assert np.array_equal(model.network.parameters, before)


def test_a_pickle_goes_on_alike():
    model = MLPClassifier(hidden_layer_sizes=(8,))
    for i in range(20):
        model.learn_one({"a": i % 3, "b": i % 4}, i % 2)
    twin = pickle.loads(pickle.dumps(model))
    for i in range(20):
        model.learn_one({"a": i % 3, "b": i % 4}, i % 2)
        twin.learn_one({"a": i % 3, "b": i % 4}, i % 2)
    assert model.predict_proba_one({"a": 1}) == twin.predict_proba_one({"a": 1})
