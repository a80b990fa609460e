"""scikit-learn's multi-layer perceptrons as ours, and back."""

import pickle

import numpy as np
import pytest

import fastbp
from fastbp.exchange import from_sklearn, to_sklearn
from fastbp.layers import Scale

pytest.importorskip("sklearn")

from sklearn import neural_network as theirs
from sklearn.base import clone
from sklearn.exceptions import NotFittedError

from fastbp import estimators as ours

pytestmark = pytest.mark.filterwarnings("ignore")
TARGETS = {
    "booleans": lambda X: X[:, 0] > 0,
    "three": lambda X: np.digitize(X[:, 0], [-0.5, 0.5]),
    "texts": lambda X: np.array(["a", "b", "c"])[np.digitize(X[:, 1], [-0.5, 0.5])],
    "labels": lambda X: (X[:, :3] > 0).astype(int),
    "one label": lambda X: (X[:, :1] > 0).astype(int),
}
OPTIONS = [{}, {"early_stopping": True}, {"solver": "lbfgs"}, {"hidden_layer_sizes": (5, 6)}]
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def samples(dtype):
    return np.random.default_rng(0).standard_normal((60, 4)).astype(dtype)


def tensors(model):
    return [*model.coefs_, *model.intercepts_]


def same_bits(a, b):
    return all(
        x.dtype == y.dtype and x.tobytes() == y.tobytes()
        for x, y in zip(tensors(a), tensors(b), strict=True)
    )


@pytest.mark.grid(together=2)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize(("activation", "dtype"), [
    ("identity", "float64"), ("logistic", "float32"), ("tanh", "float64"), ("relu", "float32"),
])  # fmt: skip
def test_classifiers_there_and_back(activation, dtype, kind, options):
    X = samples(dtype)
    y = TARGETS[kind](X)
    told = {"hidden_layer_sizes": (7,), "activation": activation, "max_iter": 4, "random_state": 1}
    given = theirs.MLPClassifier(**told | options).fit(X, y)
    model = from_sklearn(given)
    assert type(model) is ours.MLPClassifier and model.activation == activation
    np.testing.assert_array_equal(model.predict(X), given.predict(X))
    np.testing.assert_allclose(
        model.predict_proba(X), given.predict_proba(X), rtol=0, atol=TOLERANCE[dtype]
    )
    assert same_bits(model, given) and model.network_.dtype == given.coefs_[0].dtype
    back = to_sklearn(model)
    assert type(back) is theirs.MLPClassifier and same_bits(back, given)
    np.testing.assert_array_equal(back.predict(X), given.predict(X))
    np.testing.assert_array_equal(back.predict_proba(X), given.predict_proba(X))
    for made in (model, back):
        np.testing.assert_array_equal(pickle.loads(pickle.dumps(made)).predict(X), made.predict(X))
        clone(made).fit(X, y)
        if not ({"solver", "early_stopping"} & set(options)):
            made.partial_fit(X, y)


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_regressors_there_and_back(n_targets, loss, dtype):
    X = samples(dtype)
    Y = np.abs(X[:, 0] if n_targets == 1 else X[:, :3])
    given = theirs.MLPRegressor(hidden_layer_sizes=(5, 4), max_iter=4, loss=loss, random_state=1)
    given.fit(X, Y)
    model = from_sklearn(given)
    np.testing.assert_allclose(model.predict(X), given.predict(X), rtol=1e-4, atol=1e-6)
    back = to_sklearn(model)
    assert same_bits(back, given) and same_bits(model, given)
    np.testing.assert_array_equal(back.predict(X), given.predict(X))
    back.partial_fit(X, Y)
    model.partial_fit(X, Y)


@pytest.mark.parametrize("kind", TARGETS)
def test_our_own_fits_become_theirs(kind):
    X = samples("float64")
    model = ours.MLPClassifier(6, max_iter=4, solver=fastbp.AdamW(1e-2), random_state=0)
    model.fit(X, TARGETS[kind](X))
    twin = to_sklearn(model)
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    np.testing.assert_allclose(twin.predict_proba(X), model.predict_proba(X), atol=1e-12)
    assert twin.classes_.tolist() == model.classes_.tolist()


CLASSES = [
    (["yes", "no"], dict(sizes=[4, 3, 1], output="sigmoid", loss="binary_cross_entropy")),
    (["c", "a", "b"], dict(sizes=[4, 3, 3])),
    ([30, -1, 2], dict(sizes=[4, 3, 3])),
    (["yes", "no"], dict(sizes=[4, 3, 2])),
    (["a", 1, 2.5], dict(sizes=[4, 3, 3])),
]


@pytest.mark.parametrize(("classes", "told"), CLASSES)
def test_classes_stay_in_the_networks_order(classes, told):
    from fastbp.metrics import decide

    net = fastbp.Network(**told, activation="tanh", seed=1, dtype="float64")
    net.metadata["classes"] = classes
    net.weights[1][...] = np.random.default_rng(1).normal(0, 5, net.weights[1].shape)
    model, X = to_sklearn(net), samples("float64")
    wanted = [classes[i] for i in decide(net, net.predict(X))]
    assert model.predict(X).tolist() == wanted and len(set(wanted)) > 1
    assert model.classes_.tolist() == classes
    if len({type(c) for c in classes}) == 1 and told["sizes"][-1] != 2:
        model.set_params(learning_rate_init=0.03)
        for _ in range(60):
            model.partial_fit(X, wanted)
        assert model.score(X, wanted) > 0.8


def test_training_one_leaves_the_other_alone():
    X = samples("float64")
    given = theirs.MLPRegressor(hidden_layer_sizes=4, max_iter=3).fit(X, X[:, 0])
    model = from_sklearn(given)
    back = to_sklearn(model)
    for changed, kept in ((model, given), (back, model)):
        before, W = list(kept.loss_curve_), kept.coefs_[0].copy()
        changed.partial_fit(X, X[:, 0])
        assert kept.loss_curve_ == before and (kept.coefs_[0] == W).all()


def test_sparse_labels_stay_sparse():
    sparse = pytest.importorskip("scipy.sparse")
    X = samples("float64")
    given = theirs.MLPClassifier(4, max_iter=3).fit(X, sparse.csr_matrix(TARGETS["labels"](X)))
    for made in (from_sklearn(given), to_sklearn(from_sklearn(given))):
        assert sparse.issparse(made.predict(X))


def test_names_of_columns_stay():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(samples("float64"), columns=list("abcd"))
    given = theirs.MLPRegressor(hidden_layer_sizes=4, max_iter=3).fit(X, X["a"])
    model = from_sklearn(given)
    assert model.feature_names_in_.tolist() == list("abcd") == model.network_.columns
    assert to_sklearn(model).feature_names_in_.tolist() == list("abcd")


NETWORKS = [
    (dict(sizes=[4, 3, 3]), "MLPClassifier"),
    (dict(sizes=[4, 3, 1], output="sigmoid", loss="binary_cross_entropy"), "MLPClassifier"),
    (dict(sizes=[4, 3, 2], output="sigmoid", loss="binary_cross_entropy"), "MLPClassifier"),
    (dict(sizes=[4, 1], output="identity", loss="mse"), "MLPRegressor"),
    (dict(sizes=[4, 3, 2], output="exp", loss="poisson"), "MLPRegressor"),
]


@pytest.mark.parametrize(("told", "kind"), NETWORKS)
def test_networks_become_theirs(told, kind):
    net = fastbp.Network(**told, dtype="float64")
    model, X = to_sklearn(net), samples("float64")
    assert type(model).__name__ == kind
    found = model.predict_proba(X) if kind == "MLPClassifier" else model.predict(X)
    wanted = net.predict(X)
    found = found.reshape(len(X), -1)[:, -wanted.shape[1] :]
    np.testing.assert_allclose(found, wanted, rtol=1e-12)
    assert model.predict(X).shape[0] == len(X)


def named(classes):
    net = fastbp.Network([4, len(classes)])
    net.metadata["classes"] = classes
    return net


def fitted(cls=ours.MLPClassifier, **told):
    X = samples("float32")
    return cls(max_iter=2, **told).fit(X, X[:, 0] > 0)


REFUSED = [
    (lambda: fastbp.Network([4, Scale(), 3, 3]), "layer 1: expected dense layers"),
    (lambda: fastbp.Network([4, 3, 3], activation="gelu"), "layer 1: .* got 'gelu'"),
    (lambda: fastbp.Network([4, 3, 3], output="tanh", loss="mse"), "got 'tanh'"),
    (lambda: fastbp.Network([4, 3, 3, 3], activation=["tanh", "relu"]), "got tanh, relu"),
    (lambda: fitted(n_ensemble=2), "an ensemble of 2"),
    (lambda: fitted(ours.MLPRegressor, loss="gaussian_nll"), "gaussian_nll"),
    (lambda: fitted(loss="hinge"), "hinge"),
    (lambda: fitted(activation="mish"), "mish"),
    (lambda: named(["a", "b", "a"]), "classes that differ"),
]


@pytest.mark.parametrize(("made", "told"), REFUSED)
def test_to_sklearn_names_what_it_has_not(made, told):
    with pytest.raises(ValueError, match=told):
        to_sklearn(made())


def test_refusals():
    for nonsense in (3, None, "model", fastbp.Network([2, 2]), ours.MLPClassifier()):
        with pytest.raises(TypeError, match="model: expected scikit-learn's"):
            from_sklearn(nonsense)
    for unfitted, into in [
        (theirs.MLPClassifier(), from_sklearn),
        (ours.MLPRegressor(), to_sklearn),
        (ours.TabularRegressor(), to_sklearn),
    ]:
        with pytest.raises(NotFittedError):
            into(unfitted)
    with pytest.raises(TypeError, match="model: expected a Network"):
        to_sklearn(theirs.MLPClassifier())
    X = {"a": np.arange(40.0)}
    with pytest.raises(ValueError, match="takes tables"):
        to_sklearn(ours.TabularRegressor("mlp").fit(X, X["a"]))
