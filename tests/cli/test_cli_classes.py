"""Classes keep the type of the target's column: in model files, predictions and exports.

What does not belong here: which targets are classes (datasets/test_tables.py).
"""

import cli_cases
import numpy as np
import pytest
from cli_cases import strict, write_csv

import fastbp

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("narwhals")
pytest.importorskip("sklearn")

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures
N = 240
WAYS = {
    "ensemble": (),
    "one network": ("--hidden", "8"),
    "stream": ("--stream", "--batch-size", "16"),
}
TARGETS = {
    "int64": [0, 1, 2],
    "uint64": [7, 2**63],
    "bool": [False, True],
    "text": ["ash", "oak"],
    "digits": ["1", "10", "9"],  # as texts
    "codes": ["02134", "10001"],
}


def table(values, name="target"):
    kinds = np.arange(N) % len(values)
    rng = np.random.default_rng(0)
    return {
        "size": 3.0 * kinds + rng.uniform(0, 1, N),
        "wood": [("oak", "elm", "ash")[k] for k in kinds],
        name: [values[k] for k in kinds],
    }


def classes_of(model):
    if isinstance(model, fastbp.Network):
        return model.classes
    return model.classes_.tolist()


def trained(run, data, way, name="m.safetensors"):
    code, out, err = run("train", data, "--target", "target", "--epochs", 8, "--no-check", "--seed",
                         1, "--save", name, "--json", *WAYS[way])  # fmt: skip
    assert code == 0, err
    return strict(out)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("target", TARGETS)
def test_of_parquet(run, tmp_path, way, target):
    values = TARGETS[target]
    rows = table(values)
    if target == "uint64":  # which Python's numbers are not taken for
        rows["target"] = pyarrow.array(rows["target"], pyarrow.uint64())
    rows = pyarrow.table(rows)
    parquet.write_table(rows, tmp_path / "a.parquet")
    document = trained(run, "a.parquet", way)
    model = fastbp.load("m.safetensors")
    known = classes_of(model)
    assert sorted(known) == sorted(document["data"]["classes"]) == sorted(values)
    assert {*map(type, known)} == {type(values[0])}
    assert type(document["baseline"]["predicts"]) is type(values[0])

    found = strict(run("predict", "m.safetensors", "a.parquet", "--json")[1])
    assert found["classes"] == known and found["accuracy"] > 0.9
    told = [record["class"] for record in found["predictions"]]
    assert {*map(type, told)} == {type(values[0])}
    code, _, err = run("predict", "m.safetensors", "a.parquet", "--out", "p.parquet")
    written = parquet.read_table("p.parquet")["target"]
    assert code == 0 and written.type == rows["target"].type and written.to_pylist() == told, err
    if not isinstance(model, fastbp.Network):
        y = rows["target"].to_numpy(zero_copy_only=False)
        predicted = model.predict(rows)
        assert (predicted == y).mean() == model.score(rows, y) == found["accuracy"]
        own = fastbp.estimators.TabularClassifier(callbacks=[lambda _: True]).fit(rows, y)
        assert own.classes_.dtype == model.classes_.dtype


@pytest.mark.parametrize("way", ["ensemble", "one network"])
@pytest.mark.parametrize(
    ("written", "classes", "told"),
    [
        (["0", "1", "2"], [0, 1, 2], {"0", "1", "2"}),
        (["10", "9"], [9, 10], {"9", "10"}),
        (["True", "False"], [False, True], {"true", "false"}),
        (["true", "false"], [False, True], {"true", "false"}),
        (["02134", "10001"], ["02134", "10001"], {"02134", "10001"}),
        (["1", "2", "many"], ["1", "2", "many"], {"1", "2", "many"}),
    ],
)
def test_of_a_file_of_text(run, tmp_path, way, written, classes, told):
    write_csv(tmp_path / "a.csv", table(written))
    assert trained(run, "a.csv", way)["data"]["classes"] == classes
    model = fastbp.load("m.safetensors")
    assert classes_of(model) == classes
    assert {*map(type, classes_of(model))} == {type(classes[0])}
    found = strict(run("predict", "m.safetensors", "a.csv", "--json")[1])
    assert found["accuracy"] > 0.9
    code, out, _ = run("predict", "m.safetensors", "a.csv")
    assert code == 0 and {line.split("\t")[0] for line in out.splitlines()} == told
    code, _, _ = run("predict", "m.safetensors", "a.csv", "--out", "p.csv")
    lines = (tmp_path / "p.csv").read_text().splitlines()[1:]
    assert code == 0 and {line.split(",")[0] for line in lines} == told
    code, out, _ = run("explain", "m.safetensors", "a.csv")
    assert code == 0 and f"class {written[0].lower()}" in out


@pytest.mark.parametrize("way", ["one network", "ensemble"])
def test_model_files_of_texts_go_on(run, tmp_path, way):
    """As they were written before: the names of numbers and of booleans."""
    for values in (["0", "1", "2"], ["False", "True"]):
        rows = table(values)
        parquet.write_table(pyarrow.table(rows), tmp_path / "old.parquet")
        assert trained(run, "old.parquet", way)["data"]["classes"] == values
        new = [v == "True" if len(values) == 2 else int(v) for v in rows["target"]]
        parquet.write_table(pyarrow.table(rows | {"target": new}), tmp_path / "new.parquet")
        write_csv(tmp_path / "new.csv", rows)
        for name in ("new.parquet", "new.csv"):
            found = strict(run("predict", "m.safetensors", name, "--json")[1])
            assert found["classes"] == values and found["accuracy"] > 0.9


def test_of_an_archive(run, tmp_path):
    rows = table([3, 5, 7])
    np.savez(tmp_path / "a.npz", X=np.array(rows["size"])[:, None], y=np.array(rows["target"]))
    assert run("train", "a.npz", "--save", "net", "--epochs", 1, "--no-check")[0] == 0
    assert fastbp.load("net").classes == [3, 5, 7]
    known = fastbp.exchange.to_sklearn(fastbp.load("net")).classes_
    assert known.dtype == np.int64 and known.tolist() == [3, 5, 7]


@pytest.mark.parametrize("target", ["int64", "bool"])
def test_exports(run, tmp_path, target):
    joblib = pytest.importorskip("joblib")
    rows = table(TARGETS[target])
    X = np.array(rows["size"])
    write_csv(tmp_path / "a.csv", {"size": X, "wide": X**2, "target": rows["target"]})
    trained(run, "a.csv", "one network")
    assert run("export", "m.safetensors", "--to", "sklearn", "--output", "m.joblib")[0] == 0
    model = joblib.load("m.joblib")
    assert model.classes_.dtype == np.array(TARGETS[target]).dtype
    assert model.score(np.column_stack([X, X**2]), rows["target"]) > 0.9


@pytest.mark.parametrize("way", WAYS)
def test_onnx_exports(run, tmp_path, way):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    rows = table([5, 6, 7])
    parquet.write_table(pyarrow.table(rows), tmp_path / "a.parquet")
    trained(run, "a.parquet", way)
    assert run("export", "m.safetensors", "--to", "onnx", "--output", "m.onnx")[0] == 0
    session = runtime.InferenceSession("m.onnx")
    given = {
        "size": np.array(rows["size"])[:, None],
        "wood": np.array(rows["wood"], object)[:, None],
    }
    names = {one.name: one.type for one in session.get_inputs()}
    given = {
        name: given[name].astype("f8" if "double" in type_ else "f4")
        if name == "size" else given[name]
        for name, type_ in names.items()
    }  # fmt: skip
    (found,) = session.run(["label"], given)
    assert found.dtype == np.int64 and (found == rows["target"]).mean() > 0.9
