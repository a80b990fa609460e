"""Pipelines as ONNX by skl2onnx and our converters, run by ONNX Runtime."""

import subprocess
import sys

import numpy as np
import pytest

from fastbp.exchange import to_onnx

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("sklearn")

from onnx_cases import TARGETS, TOLERANCE, ends, samples, session  # noqa: E402
from sklearn.exceptions import NotFittedError  # noqa: E402
from sklearn.pipeline import Pipeline  # noqa: E402
from sklearn.preprocessing import StandardScaler  # noqa: E402

from fastbp.estimators import (  # noqa: E402
    MLPClassifier,
    MLPRegressor,
)

pytestmark = pytest.mark.filterwarnings("ignore")


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
    names = [name for name, _ in ends(proto)]
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
