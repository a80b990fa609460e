"""Estimators and tables as ONNX, run by ONNX Runtime."""

import numpy as np
import pytest

import fastbp
from fastbp.exchange import from_onnx, to_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")

from onnx_cases import TARGETS, TOLERANCE, ends, samples, session  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402

from fastbp.estimators import (  # noqa: E402
    MLPClassifier,
    MLPRegressor,
    TabularClassifier,
    TabularRegressor,
)

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.grid(together=2)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("loss", ["log_loss", "hinge"])
@pytest.mark.parametrize("n_ensemble", [1, 3])
@pytest.mark.parametrize("kind", TARGETS)
def test_classifiers(kind, n_ensemble, loss, dtype):
    X = samples(dtype)
    model = MLPClassifier(6, max_iter=3, n_ensemble=n_ensemble, loss=loss, random_state=0,
                          activation="gelu").fit(X, TARGETS[kind](X))  # fmt: skip
    proto = to_onnx(model)
    label, outputs = session(proto).run(None, {"X": X})
    np.testing.assert_array_equal(label, model.predict(X))
    has = loss == "log_loss"
    assert [name for name, _ in ends(proto)] == ["X", "label", "probabilities" if has else "scores"]
    wanted = model.predict_proba(X) if has else model._outputs(X)
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=TOLERANCE[dtype], strict=True)
    if n_ensemble == 1:
        twin = from_onnx(proto)
        assert twin.parameters.tobytes() == model.network_.parameters.tobytes()


def test_types_of_labels():
    X, types = samples(), {}
    for kind, targets in TARGETS.items():
        model = MLPClassifier(3, max_iter=1).fit(X, targets(X))
        types[kind] = dict(ends(to_onnx(model)))["label"]
    texts = {"two texts", "three texts", "objects"}
    assert types == {kind: "(string)" if kind in texts else "(int64)" for kind in TARGETS}


@pytest.mark.grid(together=2)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gaussian_nll", "huber(2)"])
@pytest.mark.parametrize("n_ensemble", [1, 2])
@pytest.mark.parametrize("n_targets", [1, 3])
def test_regressors(n_targets, n_ensemble, loss, dtype):
    X = samples(dtype)
    Y = np.abs(X[:, 0] if n_targets == 1 else X[:, :3])
    model = MLPRegressor(hidden_layer_sizes=6, max_iter=3, n_ensemble=n_ensemble, loss=loss,
                         random_state=0).fit(X, Y)  # fmt: skip
    found = session(to_onnx(model)).run(None, {"X": X})
    wanted = [model.predict(X)]
    if loss == "gaussian_nll":
        wanted = model.predict(X, return_std=True)
    assert len(found) == len(wanted)
    for mine, theirs in zip(found, wanted, strict=True):
        theirs = theirs.reshape(len(X), -1)
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=10 * TOLERANCE[dtype], strict=True)
    assert [name for name, _ in ends(to_onnx(model))][1:] == ["variable", "std"][: len(wanted)]


# tables


def table(n=160, seed=0):
    draws = np.random.default_rng(seed)
    made = {
        "age": draws.normal(40, 10, n),
        "count": draws.integers(0, 9, n),
        "wood": draws.choice(["oak", "elm", "ash"], n).astype(object),
        "doors": draws.choice(["2", "3", "4", "5more"], n).astype(object),
        "sex": draws.choice(["m", "f"], n).astype(object),
        "flag": draws.integers(0, 2, n).astype(bool),
        "code": draws.choice(["02134", "10001"], n).astype(object),
        "label": draws.choice(["True", "False", "?"], n).astype(object),
        "same": np.ones(n),
    }
    made["age"][::7] = np.nan
    made["wood"][::11] = None
    return made


def rows(seed=1):
    """Rows with all that training did not have."""
    new = table(40, seed)
    new["wood"][:5] = ["oak", "pine", None, None, "OAK"]
    new["doors"][:8] = ["2.0", "+3", "4.", "5", "5more", "04", "2.50", "-0"]
    new["label"][:4] = ["TRUE", "tRue", "false", "X"]
    new["age"][:3] = [1e12, -1e300, np.nan]
    new["sex"][:2] = ["x", ""]
    return new


def fed(opened, given):
    """As ONNX takes a table: texts, "" for None; numbers of the input's type."""
    kinds = {"tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(bool)": np.bool_,
             "tensor(int64)": np.int64}  # fmt: skip
    feed = {}
    for value in opened.get_inputs():
        column = given[value.name]
        if value.type == "tensor(string)":
            words = {None: "", True: "true", False: "false"}
            texts = [words[v] if v is None or isinstance(v, bool) else v for v in column.tolist()]
            feed[value.name] = np.array(texts, object)[:, None]
        else:
            feed[value.name] = column.astype(kinds[value.type])[:, None]
    return feed


TABLES = {
    "classes": (TabularClassifier, lambda t: np.where(t["count"] > 4, "many", "few")),
    "three": (TabularClassifier, lambda t: np.digitize(t["count"], [3, 6])),
    "labels": (TabularClassifier, lambda t: np.c_[t["count"] > 4, t["flag"]].astype(int)),
    "numbers": (TabularRegressor, lambda t: 100 * t["count"] + 3.0),
    "several": (TabularRegressor, lambda t: np.c_[t["count"], 1e6 * t["flag"]]),
}


def check_table(model, proto, given):
    opened = session(proto)
    found = opened.run(None, fed(opened, given))
    missing = dict(given, sex=np.array([v or None for v in given["sex"]], object))
    wanted = model.predict(missing)
    if isinstance(model, TabularRegressor):
        scale = np.abs(wanted).max()
        wanted = wanted.reshape(len(wanted), -1)
        np.testing.assert_allclose(found[0], wanted, rtol=0, atol=1e-5 * scale, strict=True)
        return
    np.testing.assert_array_equal(found[0], wanted)
    np.testing.assert_allclose(found[1], model.predict_proba(missing), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", TABLES)
def test_tables(kind, tmp_path):
    estimator, targets = TABLES[kind]
    given = table()
    model = estimator("mlp" if kind == "three" else None, n_ensemble=2, random_state=0)
    model.fit(given, targets(given))
    proto = to_onnx(model, tmp_path / "a.onnx")
    assert {o.domain: o.version for o in proto.opset_import} == {"": 20, "ai.onnx.ml": 2}
    check_table(model, proto, rows())
    check_table(model, to_onnx(model, X=given), rows())
    model.save(tmp_path / "a.safetensors")
    check_table(model, to_onnx(fastbp.load(tmp_path / "a.safetensors")), rows())


def test_inputs_of_a_table():
    given = table()
    model = TabularClassifier("mlp", random_state=0).fit(given, given["count"] > 4)
    types = dict(ends(to_onnx(model)))
    texts = ("wood", "doors", "sex", "flag", "code", "label")
    assert types == {
        **{name: "(string)" if name in texts else "(double)" for name in given},
        "output_label": "(int64)", "probabilities": "(double)",
    }  # fmt: skip
    given["age"] = given["age"].astype(np.float32)
    types = dict(ends(to_onnx(model, X=given)))
    assert (types["age"], types["count"], types["flag"]) == ("(float)", "(int64)", "(bool)")
    plain = {name: given[name] for name in ("age", "count", "wood")}
    model = TabularRegressor("mlp", random_state=0).fit(plain, given["count"])
    assert to_onnx(model).opset_import[0].version == 13


def gaps(n=120, every=7):
    """Columns with what is missing, as objects."""
    draws = np.random.default_rng(2)
    made = {
        "flag": draws.integers(0, 2, n).astype(bool).astype(object),
        "count": draws.integers(0, 9, n).astype(object),
        "x": draws.standard_normal(n),
    }
    for name in ("flag", "count"):
        if every:
            made[name][::every] = None
    return made


@pytest.mark.parametrize("whole", [False, True])
def test_columns_with_gaps_can_tell_them(whole):
    given = gaps()
    model = TabularRegressor("mlp", random_state=0).fit(given, given["x"])
    example = gaps(every=0) if whole else given
    if whole:
        example["flag"] = example["flag"].astype(bool)
        example["count"] = example["count"].astype(int)
    opened = session(to_onnx(model, X=example))
    types = {v.name: v.type for v in opened.get_inputs()}
    assert (types["flag"], types["count"]) == ("tensor(string)", "tensor(double)")
    new = gaps(40, every=3)
    found = opened.run(None, fed(opened, new))[0][:, 0]
    np.testing.assert_allclose(found, model.predict(new), atol=1e-5)


NAMES_OF_NODES = [
    "c",
    "X",
    "W1",
    "b1",
    "gemm",
    "where",
    "classes",
    "outputs",
    "label",
    "a b\n",
    " ",
]


def test_columns_may_have_the_names_of_nodes():
    draws = np.random.default_rng(0)
    given = {"first": draws.choice(["u", "v", "w"], 80)}
    given |= {name: draws.standard_normal(80) for name in NAMES_OF_NODES}
    encoder = fastbp.tabular.Encoder().fit(given)
    net = fastbp.Network([len(encoder.feature_names_out()), 4, 2], seed=0)
    net.metadata = {"encoder": encoder.to_dict(), "classes": ["no", "yes"]}
    proto = to_onnx(net)
    opened = session(proto)
    assert [v.name for v in opened.get_inputs()] == list(given)
    assert [v.name for v in opened.get_outputs()] == ["output_outputs", "output_label"]
    found = opened.run(None, {name: column[:, None] for name, column in given.items()})[0]
    np.testing.assert_allclose(found, net.predict(encoder.transform(given)), rtol=1e-4)
    twin = from_onnx(proto)
    assert twin.parameters.tobytes() == net.parameters.tobytes() and twin.metadata == net.metadata


def test_numbers_that_were_declared_categories():
    given = {"k": np.arange(120) % 3, "x": np.linspace(0, 1, 120)}
    encoder = fastbp.tabular.Encoder(categorical=["k"])
    model = TabularClassifier("mlp", random_state=0, encoder=encoder).fit(given, given["k"] > 1)
    new = {"k": np.array([0, 1, 2, 3, 7]), "x": np.linspace(0, 1, 5)}
    for proto in (to_onnx(model, X=given), to_onnx(model)):
        opened = session(proto)
        feed = {v.name: new[v.name][:, None] for v in opened.get_inputs()}
        for value in opened.get_inputs():
            if value.type == "tensor(string)":
                feed[value.name] = feed[value.name].astype(str).astype(object)
        found = opened.run(None, feed)[1]
        np.testing.assert_allclose(found, model.predict_proba(new), atol=1e-5)


def test_times_are_microseconds():
    draws = np.random.default_rng(0)
    when = np.datetime64("2023-05-01T00:00", "us") + draws.integers(0, 9 * 10**13, 120)
    when[::9] = np.datetime64("NaT")
    given = {"when": when, "x": np.linspace(0, 1, 120)}
    model = TabularRegressor("mlp", random_state=0).fit(given, given["x"])
    encoder = fastbp.tabular.Encoder().fit(given)
    net = fastbp.Network([len(encoder.feature_names_out()), 3], output="identity", loss="mse")
    net.metadata["encoder"] = encoder.to_dict()
    days = ["1970-01-01", "1969-12-31T23:59:59.999999", "2000-02-29", "1900-03-01", "1600-12-31",
            "2024-12-31T23:00", "0001-01-01", "-0001-06-30", "-0400-02-29", "9999-12-31", "NaT",
            "1970-01-01T00:00:00.000001"]  # fmt: skip
    odd = np.array(days, "M8[us]")
    more = draws.integers(-(10**17), 10**17, 400).astype("M8[us]")
    new = {"when": np.concatenate([odd, more]), "x": np.zeros(412)}
    as_int = {"when": new["when"].astype(np.int64)[:, None], "x": new["x"][:, None]}
    for made, wanted in ((model, model.predict(new)[:, None]),
                         (net, net.predict(encoder.transform(new)))):  # fmt: skip
        opened = session(to_onnx(made))
        assert {v.name: v.type for v in opened.get_inputs()}["when"] == "tensor(int64)"
        found = opened.run(None, as_int)[0]
        np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5 * np.abs(wanted).max())
    assert to_onnx(model, X=given).SerializeToString() == to_onnx(model).SerializeToString()


def test_frames_and_arrays():
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("narwhals")
    frame = pandas.DataFrame(table())
    model = TabularRegressor("mlp", random_state=0).fit(frame, frame["count"])
    check_table(model, to_onnx(model, X=frame.head(3)), rows())
    X = samples()
    model = TabularRegressor(n_ensemble=1, random_state=0).fit(X, X[:, 0])
    opened = session(to_onnx(model, X=X[:1]))
    feed = {f"x{j}": X[:, j : j + 1] for j in range(4)}
    np.testing.assert_allclose(opened.run(None, feed)[0][:, 0], model.predict(X), atol=1e-4)


def test_a_network_of_the_command_line_takes_its_table():
    given = table()
    encoder = fastbp.tabular.Encoder().fit(given)
    sizes = [len(encoder.feature_names_out()), 5, 5, 2]
    net = fastbp.Network(sizes, activation=["log_softmax", "layer_norm"], seed=0)
    net.metadata = {"encoder": encoder.to_dict(), "classes": ["few", "many"]}
    proto = to_onnx(net)
    opened = session(proto)
    outputs, label = opened.run(None, fed(opened, rows()))
    new = dict(rows(), sex=np.array([v or None for v in rows()["sex"]], object))
    wanted = net.predict(encoder.transform(new))
    np.testing.assert_allclose(outputs, wanted, rtol=1e-5)
    assert label.tolist() == [["few", "many"][i] for i in wanted.argmax(axis=1)]
    assert from_onnx(proto).metadata == net.metadata


def test_what_is_refused_of_a_table(tmp_path):
    given = table()
    model = TabularRegressor("mlp").fit(given, given["count"])
    with pytest.raises(TypeError, match="column 'age': expected numbers"):
        to_onnx(model, X=dict(given, age=given["wood"]))
    with pytest.raises(TypeError, match="column 'wood': expected texts"):
        to_onnx(model, X=dict(given, wood=given["age"]))
    with pytest.raises(ValueError, match="X: expected the columns of training; 'wood'"):
        to_onnx(model, X={"age": given["age"], "count": given["count"]})
    both = {"c": np.array(["a", "b", "", None] * 30, object)}
    with pytest.raises(ValueError, match="column 'c': expected other texts than ''"):
        to_onnx(TabularRegressor("mlp").fit(both, np.arange(120.0)))
    for unfitted in (MLPClassifier(), TabularRegressor()):
        with pytest.raises(NotFittedError):
            to_onnx(unfitted)
    for nonsense in (3, None, "model", [1], MLPClassifier):
        with pytest.raises(TypeError, match="model: expected"):
            to_onnx(nonsense)
    for nonsense in (3, b"net.onnx", True):
        with pytest.raises(TypeError, match="path: expected a path"):
            to_onnx(fastbp.Network([2, 2]), nonsense)
    odd = fastbp.Network([2, 2])
    odd.metadata["classes"] = ["\ud800", "b"]
    with pytest.raises(ValueError, match="model: expected classes that UTF-8 can hold"):
        to_onnx(odd)
    assert not list(tmp_path.iterdir())
