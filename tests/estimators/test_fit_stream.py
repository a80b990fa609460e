"""`fit_stream` of the estimators: what `fit` makes of the same rows, from chunks.

What does not belong here: chunks and runs on them (tests/data).
"""

import numpy as np
import pytest

import fastbp
import fastbp.data
from fastbp.estimators import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.standard_normal((120, 4))
NUMBERS = X[:, 0] - X[:, 1] ** 2
LABELS = np.array(["a", "b", "c"])[np.digitize(NUMBERS, [-1.0, 0.5])]
TWO = np.where(NUMBERS > 0, "yes", "no")
WEIGHT = RNG.random(120)


def chunks(y, weight=None, X=X):
    return fastbp.data.from_arrays(X, y, weight, shuffle_buffer=50)


def own(*blocks, n_rows=None):
    return fastbp.data.from_iterable(lambda: iter(blocks), n_features=4, n_rows=n_rows)


def equal(streamed, whole):
    for name in ("coefs_", "intercepts_"):
        for a, b in zip(getattr(streamed, name), getattr(whole, name), strict=True):
            assert a.dtype == b.dtype and a.tobytes() == b.tobytes()
    for name in ("loss_curve_", "n_iter_", "t_", "loss_", "best_loss_", "n_features_in_",
                 "n_layers_", "n_outputs_", "out_activation_", "validation_scores_"):  # fmt: skip
        assert getattr(streamed, name) == getattr(whole, name), name


@pytest.mark.parametrize("y", [LABELS, TWO, NUMBERS > 0, (NUMBERS > 0) * 2.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.5, "tol": 0.01},
        {"solver": "sgd", "learning_rate": "invscaling"},
        {"alpha": 0.1, "batch_size": 7, "n_iter_no_change": 2, "tol": 0.05},
        {"loss": "hinge"},
        {"dropout": 0.2, "ema": 0.9},
        {"learning_rate": fastbp.schedules.Cosine(each="step")},
    ],
    ids=str,
)
def test_classes_as_fit_finds_them(y, options):
    options = {"hidden_layer_sizes": 5, "max_iter": 12, "random_state": 0} | options
    whole = MLPClassifier(**options, shuffle=False).fit(X, y)
    streamed = MLPClassifier(**options, shuffle=False).fit_stream(chunks(y))
    equal(streamed, whole)
    assert (streamed.classes_ == whole.classes_).all()
    assert (streamed.predict(X) == whole.predict(X)).all()


@pytest.mark.parametrize("class_weight", [None, "balanced", {"a": 2.0, "c": 0.5}])
def test_weights(class_weight):
    options = {"max_iter": 5, "random_state": 0, "shuffle": False, "class_weight": class_weight}
    whole = MLPClassifier(**options).fit(X, LABELS, WEIGHT)
    streamed = MLPClassifier(**options).fit_stream(chunks(LABELS, WEIGHT))
    for a, b in zip(streamed.coefs_, whole.coefs_, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-15)  # a product in another order


@pytest.mark.parametrize("y", [NUMBERS, np.stack([NUMBERS, X[:, 2]], axis=1)])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numbers(y, dtype):
    options = {"hidden_layer_sizes": 5, "max_iter": 8, "random_state": 0, "shuffle": False}
    whole = MLPRegressor(**options).fit(X.astype(dtype), y)
    streamed = MLPRegressor(**options).fit_stream(chunks(y, X=X.astype(dtype)))
    equal(streamed, whole)


def test_a_drawn_order_is_reproducible():
    options = {"max_iter": 5, "random_state": 3}
    first, second = (MLPClassifier(**options).fit_stream(chunks(LABELS)) for _ in range(2))
    equal(first, second)
    other = MLPClassifier(max_iter=5, random_state=3, shuffle=False).fit_stream(chunks(LABELS))
    assert other.loss_curve_ != first.loss_curve_


def test_unknown_number_of_rows():
    blocks = own((X[:70], LABELS[:70]), (X[70:], LABELS[70:]))
    options = {"max_iter": 5, "random_state": 0, "shuffle": False, "batch_size": 32}
    whole = MLPClassifier(**options).fit(X, LABELS)
    equal(MLPClassifier(**options).fit_stream(blocks), whole)
    equal(MLPClassifier(**options).fit_stream(blocks, classes=["a", "b", "c"]), whole)


def test_early_stopping_by_given_data():
    options = {"max_iter": 30, "random_state": 0, "shuffle": False, "early_stopping": True}
    told = {"X_val": X[:40], "y_val": LABELS[:40]}
    whole = MLPClassifier(**options).fit(X, LABELS, **told)
    equal(MLPClassifier(**options).fit_stream(chunks(LABELS), **told), whole)
    with pytest.raises(ValueError, match="early_stopping: expected False in fit_stream"):
        MLPClassifier(**options).fit_stream(chunks(LABELS))
    with pytest.raises(ValueError, match="X_val and y_val are used by early stopping"):
        MLPClassifier().fit_stream(chunks(LABELS), **told)


def test_names_of_columns(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow, pandas = pytest.importorskip("pyarrow"), pytest.importorskip("pandas")
    frame = pandas.DataFrame(X.astype("float32"), columns=list("abcd"))
    parquet.write_table(pyarrow.table({**frame, "y": LABELS}), tmp_path / "t.parquet")
    of_file = fastbp.data.from_parquet(tmp_path, target="y")
    model = MLPClassifier(max_iter=4, random_state=0, shuffle=False).fit_stream(of_file)
    whole = MLPClassifier(max_iter=4, random_state=0, shuffle=False).fit(frame, LABELS)
    equal(model, whole)
    assert model.feature_names_in_.tolist() == list("abcd")
    assert (model.predict(frame) == whole.predict(frame)).all()
    assert model.network_.metadata == whole.network_.metadata


def test_a_checkpoint(tmp_path):
    options = {"max_iter": 6, "random_state": 0, "checkpoint": tmp_path / "run.safetensors"}
    short = MLPClassifier(**options | {"max_iter": 3}).fit_stream(chunks(LABELS))
    assert short.n_iter_ == 3
    resumed = MLPClassifier(**options).fit_stream(chunks(LABELS))
    whole = MLPClassifier(max_iter=6, random_state=0).fit_stream(chunks(LABELS))
    equal(resumed, whole)


@pytest.mark.parametrize(
    ("options", "given", "told"),
    [
        ({"solver": "lbfgs"}, LABELS, "solver: expected one of steps"),
        ({"n_ensemble": 2}, LABELS, "n_ensemble: expected 1"),
        ({"warm_start": True}, LABELS, "warm_start: expected False"),
        ({}, np.eye(3)[:, [0, 1, 2]][np.digitize(NUMBERS, [-1, 0.5])], "y: expected labels"),
        ({}, NUMBERS, "got numbers with fractions"),
        ({"class_weight": {"z": 1}}, LABELS, "class_weight: expected classes of y"),
        ({"activation": "nix"}, LABELS, "activation"),
    ],
)
def test_refused(options, given, told):
    model = MLPClassifier(**options)
    before = dict(vars(model))
    with pytest.raises((ValueError, TypeError, AttributeError), match=told):
        model.fit_stream(chunks(given))
    assert vars(model) == before


def test_refused_data():
    with pytest.raises(TypeError, match="chunks: expected what"):
        MLPClassifier().fit_stream(X)
    with pytest.raises(ValueError, match=r"chunk 0: y: expected classes among .*got 'c'"):
        MLPClassifier().fit_stream(own((X, LABELS)), classes=["a", "b"])
    with pytest.raises(ValueError, match="at least one row"):
        MLPClassifier().fit_stream(own())
    with pytest.raises(ValueError, match="at least one row"):
        MLPRegressor().fit_stream(own())
    with pytest.raises(ValueError, match="poisson"):
        MLPRegressor("poisson").fit_stream(chunks(np.abs(NUMBERS)))
    with pytest.raises(ValueError, match="learning_rate: expected chunks whose n_rows is known"):
        MLPRegressor(learning_rate=fastbp.schedules.Cosine(each="step")).fit_stream(
            own((X, NUMBERS))
        )


def test_wrong_labels_of_a_first_pass_are_named_by_their_place(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    for values, told in ((["a", None] * 20, "a missing one"), ([1.0, 0.5] * 20, "fractions")):
        table = pyarrow.table({"x": np.arange(60.0), "y": values[:1] * 20 + values})
        parquet.write_table(table, tmp_path / "rows.parquet", row_group_size=20)
        chunks = fastbp.data.from_parquet(tmp_path / "rows.parquet", target="y")
        with pytest.raises(ValueError, match=f"rows.parquet, row group 1: y: .*{told}"):
            MLPClassifier().fit_stream(chunks)
