"""Estimators, tables and pipelines as ONNX, run by ONNX Runtime."""

import subprocess
import sys

import numpy as np
import pytest

import fastbp
from fastbp.exchange import from_onnx, to_onnx

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")

from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from fastbp.estimators import (  # noqa: E402
    MLPClassifier,
    MLPRegressor,
    TabularClassifier,
    TabularRegressor,
)

pytestmark = pytest.mark.filterwarnings("ignore")
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def session(proto):
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def told(proto):
    opened = session(proto)
    return [(v.name, v.type.removeprefix("tensor")) for v in
            [*opened.get_inputs(), *opened.get_outputs()]]  # fmt: skip


def samples(dtype="float32", n=80):
    return np.random.default_rng(0).standard_normal((n, 4)).astype(dtype)


def digitized(x):
    return np.digitize(x, [-0.5, 0.5])


TARGETS = {
    "two texts": lambda X: np.where(X[:, 0] > 0, "yes", "no"),
    "booleans": lambda X: X[:, 0] > 0,
    "numbers": lambda X: 5 * (X[:, 0] > 0),
    "floats": lambda X: 2.0 * (X[:, 0] > 0),
    "three": lambda X: digitized(X[:, 1]),
    "three texts": lambda X: np.array(["a", "b", "c"])[digitized(X[:, 1])],
    "objects": lambda X: np.array(["a", "bb", "c"], object)[digitized(X[:, 1])],
    "labels": lambda X: (X[:, :3] > 0).astype(int),
    "one class": lambda X: np.zeros(len(X), int),
}


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
    assert [name for name, _ in told(proto)] == ["X", "label", "probabilities" if has else "scores"]
    wanted = model.predict_proba(X) if has else model._outputs(X)
    np.testing.assert_allclose(outputs, wanted, rtol=0, atol=TOLERANCE[dtype], strict=True)
    if n_ensemble == 1:
        twin = from_onnx(proto)
        assert twin.parameters.tobytes() == model.network_.parameters.tobytes()


def test_types_of_labels():
    X, types = samples(), {}
    for kind, targets in TARGETS.items():
        model = MLPClassifier(3, max_iter=1).fit(X, targets(X))
        types[kind] = dict(told(to_onnx(model)))["label"]
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
    assert [name for name, _ in told(to_onnx(model))][1:] == ["variable", "std"][: len(wanted)]


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
    types = dict(told(to_onnx(model)))
    texts = ("wood", "doors", "sex", "flag", "code", "label")
    assert types == {
        **{name: "(string)" if name in texts else "(double)" for name in given},
        "output_label": "(int64)", "probabilities": "(double)",
    }  # fmt: skip
    given["age"] = given["age"].astype(np.float32)
    types = dict(told(to_onnx(model, X=given)))
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


# pipelines

PIPELINES = {
    "two": lambda: (MLPClassifier(6, max_iter=3, activation="mish"), "two texts"),
    "three": lambda: (MLPClassifier(6, max_iter=3, activation="log_softmax"), "three"),
    "labels": lambda: (MLPClassifier(6, max_iter=3), "labels"),
    "ensemble": lambda: (MLPClassifier(6, max_iter=3, n_ensemble=2), "three texts"),
    "one target": lambda: (MLPRegressor(hidden_layer_sizes=6, max_iter=3), 1),
    "several": lambda: (MLPRegressor(hidden_layer_sizes=6, max_iter=3, activation="gelu"), 3),
}


@pytest.mark.grid(together=2)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("target_opset", [None, 13, 17])
@pytest.mark.parametrize("kind", PIPELINES)
def test_pipelines(kind, target_opset, dtype):
    skl2onnx = pytest.importorskip("skl2onnx")
    X = samples(dtype)
    model, of = PIPELINES[kind]()
    y = TARGETS[of](X) if isinstance(of, str) else X[:, 0] if of == 1 else X[:, :of]
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", model)]).fit(X, y)
    if target_opset is None:
        proto = to_onnx(pipeline, X[:1])
        onnx.checker.check_model(proto, full_check=True)
    else:
        off = {id(pipeline): {"zipmap": False}} if isinstance(of, str) else None
        proto = skl2onnx.to_onnx(pipeline, X[:1], options=off, target_opset=target_opset)
    found = session(proto).run(None, {"X": X})
    wanted = pipeline.predict(X)
    names = [name for name, _ in told(proto)]
    if isinstance(of, str):
        assert names == ["X", "label", "probabilities"]
        np.testing.assert_array_equal(found[0], wanted)
        found, wanted = found[1:], pipeline.predict_proba(X)
    else:
        assert names == ["X", "variable"]
    wanted = wanted.reshape(len(X), -1)
    assert found[0].shape == wanted.shape
    np.testing.assert_allclose(found[0], wanted, rtol=0, atol=10 * TOLERANCE[dtype])


def test_searches_and_bags():
    pytest.importorskip("skl2onnx")
    from fastbp.estimators import BaggingClassifier, GridSearchCV

    X = samples()
    y = TARGETS["three"](X)
    member = MLPClassifier(4, max_iter=2, random_state=0)
    search = GridSearchCV(member, {"alpha": [1e-4, 1e-2]}, cv=2)
    bag = BaggingClassifier(member, n_estimators=2, random_state=0)
    for model in (search, bag, Pipeline([("scale", StandardScaler()), ("bag", bag)])):
        model.fit(X, y)
        label, p = session(to_onnx(model, X[:1])).run(None, {"X": X})
        np.testing.assert_array_equal(label, model.predict(X))
        np.testing.assert_allclose(p, model.predict_proba(X), atol=1e-5)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_bags_of_several_outputs_of_columns_and_of_members_that_lack_classes(dtype):
    pytest.importorskip("skl2onnx")
    from fastbp.estimators import BaggingClassifier, BaggingRegressor

    X = samples(dtype)
    member = MLPRegressor(hidden_layer_sizes=4, max_iter=2, random_state=0)
    piped = Pipeline([("scale", StandardScaler()), ("mlp", member)])
    for of, told in ((member, {"max_features": 2}), (piped, {})):
        bag = BaggingRegressor(of, n_estimators=3, random_state=0, **told).fit(X, X[:, :3])
        (found,) = session(to_onnx(bag, X[:1])).run(None, {"X": X})
        np.testing.assert_allclose(found, bag.predict(X), rtol=0, atol=TOLERANCE[dtype])
        assert found.shape == (len(X), 3)
    y = np.full(len(X), 10**15)
    y[:4] = [-7, -7, 3, 5]
    piped = Pipeline([("mlp", MLPClassifier(4, max_iter=2, random_state=0))])  # takes no weights
    bag = BaggingClassifier(piped, n_estimators=4, max_samples=20, random_state=0).fit(X, y)
    assert min(len(m.classes_) for m in bag.estimators_) < 4
    label, p = session(to_onnx(bag, X[:1])).run(None, {"X": X})
    np.testing.assert_array_equal(label, bag.predict(X))
    np.testing.assert_allclose(p, bag.predict_proba(X), rtol=0, atol=TOLERANCE[dtype])


def test_a_search_within_a_pipeline_is_what_it_found():
    skl2onnx = pytest.importorskip("skl2onnx")
    from fastbp.estimators import GridSearchCV, RandomizedSearchCV

    X = samples()
    search = RandomizedSearchCV(MLPClassifier(4, max_iter=2), {"alpha": [1, 2]}, n_iter=1, cv=2)
    pipeline = Pipeline([("scale", StandardScaler()), ("search", search)])
    pipeline.fit(X, TARGETS["three texts"](X))
    label, p = session(to_onnx(pipeline, X[:1])).run(None, {"X": X})
    np.testing.assert_array_equal(label, pipeline.predict(X))
    np.testing.assert_allclose(p, pipeline.predict_proba(X), atol=1e-5)
    search = GridSearchCV(MLPRegressor(hidden_layer_sizes=4, max_iter=2), {"alpha": [1]}, cv=2)
    search.fit(X, X[:, :2])
    (found,) = session(skl2onnx.to_onnx(search, X[:1])).run(None, {"X": X})
    np.testing.assert_allclose(found, search.predict(X), atol=1e-5)


def test_the_columns_of_a_frame_are_inputs_of_a_converted_estimator():
    skl2onnx = pytest.importorskip("skl2onnx")
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(samples()[:, :2], columns=["a", "b"])
    frame["k"] = np.arange(len(frame)) % 5
    model = MLPRegressor(hidden_layer_sizes=4, max_iter=2).fit(frame, frame["a"])
    opened = session(skl2onnx.to_onnx(model, frame[:1]))
    assert [v.name for v in opened.get_inputs()] == ["a", "b", "k"]
    (found,) = opened.run(None, {name: frame[[name]].to_numpy() for name in frame})
    np.testing.assert_allclose(found[:, 0], model.predict(frame), atol=1e-5)


@pytest.mark.parametrize(
    "options", [{MLPClassifier: {"zipmap": False}}, {"mlp__zipmap": False}], ids=["class", "name"]
)
def test_options_of_a_converter(options):
    skl2onnx = pytest.importorskip("skl2onnx")
    X = samples()
    pipeline = Pipeline([("scale", StandardScaler()), ("mlp", MLPClassifier(4, max_iter=2))])
    pipeline.fit(X, TARGETS["three texts"](X))
    p = session(skl2onnx.to_onnx(pipeline, X[:1], options=options)).run(None, {"X": X})[1]
    np.testing.assert_allclose(p, pipeline.predict_proba(X), atol=1e-5)
    with pytest.raises(ValueError, match="nocl: expected False"):
        skl2onnx.to_onnx(pipeline, X[:1], options={id(pipeline): {"nocl": True}})


def test_pipelines_that_are_refused():
    pytest.importorskip("skl2onnx")
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.compose import TransformedTargetRegressor
    from sklearn.ensemble import BaggingRegressor as Theirs

    from fastbp.estimators import BaggingClassifier, GridSearchCV, fit_groups

    X = samples()
    several = MLPRegressor(hidden_layer_sizes=4, max_iter=2)
    hinge = MLPClassifier(4, max_iter=2, loss="hinge")
    search = GridSearchCV(several, {"alpha": [1]}, cv=2, refit=False)
    calibrated = CalibratedClassifierCV(MLPClassifier(4, max_iter=2), method="isotonic", cv=2)
    groups = fit_groups(several, X, X[:, 0], groups=TARGETS["three"](X))
    for model, told in (
        (Theirs(several, 2).fit(X, X[:, :2]), "2 columns .* BaggingRegressor that makes 1"),
        (BaggingClassifier(hinge, 2).fit(X, TARGETS["three"](X)), "members that tell probabil"),
        (search.fit(X, X[:, 0]), "a search with refit"),
        (
            TransformedTargetRegressor(several).fit(X, X[:, 0]),
            "skl2onnx converts; .*TransformedTar",
        ),
        (calibrated.fit(X, X[:, 0] > 0), "isotonic"),
        (Pipeline([("scale", StandardScaler()), ("last", calibrated)]), "isotonic"),
    ):
        with pytest.raises(ValueError, match=told):
            to_onnx(model, X[:1])
    with pytest.raises(TypeError, match="model: expected"):
        to_onnx(groups, X[:1])
    for unfitted in (Pipeline([("mlp", several)]), GridSearchCV(several, {"alpha": [1]})):
        with pytest.raises(NotFittedError):
            to_onnx(unfitted, X[:1])


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_a_pipeline_of_arrays_needs_no_example(dtype, tmp_path):
    pytest.importorskip("skl2onnx")
    X = samples(dtype)
    for mlp, y in (
        (MLPRegressor(hidden_layer_sizes=4, max_iter=2), X[:, :2]),
        (MLPClassifier(4, max_iter=2), TARGETS["three texts"](X)),
    ):
        pipeline = Pipeline([("scale", StandardScaler()), ("mlp", mlp)]).fit(X, y)
        to_onnx(pipeline, tmp_path / "a.onnx")
        made = onnx.load(tmp_path / "a.onnx")
        assert made.SerializeToString() == to_onnx(pipeline, X[:1]).SerializeToString()
        assert len(session(made).run(None, {"X": X})[0]) == len(X)


def test_a_pipeline_of_frames_needs_an_example(tmp_path):
    pytest.importorskip("skl2onnx")
    pandas = pytest.importorskip("pandas")
    from sklearn.preprocessing import OneHotEncoder

    X = samples()
    mlp = MLPRegressor(hidden_layer_sizes=4, max_iter=2)
    frame = pandas.DataFrame(X, columns=list("abcd"))
    for first, given in ((StandardScaler(), frame), (OneHotEncoder(), X.round().astype(str))):
        pipeline = Pipeline([("first", first), ("mlp", mlp)]).fit(given, X[:, 0])
        with pytest.raises(ValueError, match="X: expected an example"):
            to_onnx(pipeline, tmp_path / "a.onnx")
    pipeline = Pipeline([("mlp", mlp)]).fit(X, X[:, 0])
    to_onnx(pipeline, tmp_path / "a.onnx", X[:1])
    assert session(onnx.load(tmp_path / "a.onnx")).run(None, {"X": X})[0].shape == (80, 1)
    with pytest.raises(TypeError, match="path: expected a path"):
        to_onnx(pipeline, X[:1], X[:1])


@pytest.mark.parametrize(
    "first", ["fastbp.exchange", pytest.param("skl2onnx", marks=pytest.mark.exhaustive)]
)
def test_skl2onnx_knows_the_estimators_whoever_is_imported_first(first):
    pytest.importorskip("skl2onnx")
    second = "skl2onnx" if first == "fastbp.exchange" else "fastbp.exchange"
    code = (
        f"import {first}\nimport {second}\nfrom fastbp.estimators import MLPClassifier\n"
        "X, y = [[0.0], [1.0], [2.0]], [0, 1, 1]\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import numpy as np, skl2onnx\n"
        "made = skl2onnx.to_onnx(MLPClassifier(2, max_iter=1).fit(X, y), np.array(X))\n"
        "assert any(n.op_type == 'Gemm' for n in made.graph.node)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_skl2onnx_is_imported_where_its_converters_cannot_be():
    pytest.importorskip("skl2onnx")
    code = (
        "import warnings, fastbp.exchange\n"
        "from fastbp.exchange.onnx import converter\n"
        "def fail(): raise AttributeError('another release')\n"
        "converter.register = fail\n"
        "with warnings.catch_warnings(record=True) as told:\n"
        "    warnings.simplefilter('always')\n"
        "    import skl2onnx\n"
        "assert any('another release' in str(w.message) for w in told), told\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)


def test_importing_exchange_imports_no_peer():
    code = (
        "import sys, fastbp.exchange\n"
        "peers = {'onnx', 'torch', 'keras', 'skl2onnx', 'sklearn', 'pandas', 'pyarrow'}\n"
        "assert not peers & set(sys.modules), peers & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
