"""``fastbp export``."""

import json
import shutil

import numpy as np
import pytest

import fastbp
from fastbp.cli import main

SIZES = [3, 4, 2]


@pytest.fixture
def saved(tmp_path):
    net = fastbp.Network(SIZES, activation="tanh", seed=0)
    net.metadata["classes"] = ["no", "yes"]
    net.save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def test_c(saved, capsys):
    assert main(["export", str(saved), "--to", "c"]) == 0
    out = capsys.readouterr().out
    assert "104 bytes of constants" in out and "RAM" in out and "model_predict, 3 -> 2" in out
    assert "void model_predict(" in saved.with_suffix(".c").read_text()
    other = saved.parent / "n.c"
    command = ["export", str(saved), "--to", "c", "--output", str(other), "--name", "n", "--header"]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["constants"], told["name"], told["path"]) == (104, "n", str(other))
    assert (told["flash"] is None) == (shutil.which("cc") is None or shutil.which("size") is None)
    assert "n_self_test" in other.with_suffix(".h").read_text()


def test_onnx(saved, capsys):
    pytest.importorskip("onnx")
    assert main(["export", str(saved), "--to", "onnx", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["inputs"], told["outputs"]) == (["X"], ["outputs", "label"])
    assert told["opsets"] == {"ai.onnx": 13}
    from fastbp.exchange import from_onnx

    twin = from_onnx(saved.with_suffix(".onnx"))
    assert twin.classes == ["no", "yes"]


def test_torch(saved, capsys):
    torch = pytest.importorskip("torch")
    assert main(["export", str(saved), "--to", "torch"]) == 0
    module = torch.load(saved.with_suffix(".pt"), weights_only=False)
    X = np.ones((2, 3), np.float32)
    with torch.no_grad():
        found = module(torch.from_numpy(X)).numpy()
    np.testing.assert_allclose(found, fastbp.load(saved).predict(X), rtol=1e-5)


def test_sklearn(saved, capsys):
    joblib = pytest.importorskip("joblib")
    pytest.importorskip("sklearn")
    assert main(["export", str(saved), "--to", "sklearn"]) == 0
    model = joblib.load(saved.with_suffix(".joblib"))
    assert model.predict(np.ones((2, 3))).tolist()[0] in ["no", "yes"]
    assert "MLPClassifier" in capsys.readouterr().out


def test_a_model_of_tables(tmp_path, capsys):
    pytest.importorskip("sklearn")
    from fastbp.estimators import TabularRegressor

    given = {"size": np.arange(60.0), "wood": ["oak", "elm", "ash"] * 20}
    TabularRegressor("mlp", random_state=0).fit(given, given["size"]).save(tmp_path / "t.st")
    assert main(["export", str(tmp_path / "t.st"), "--to", "c"]) == 2
    assert "takes tables" in capsys.readouterr().err
    assert not (tmp_path / "t.c").exists()
    pytest.importorskip("onnx")
    assert main(["export", str(tmp_path / "t.st"), "--to", "onnx"]) == 0
    assert "size, wood -> variable" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--to", "onnx", "--name", "a"], "--name: expected --to c"),
        (["--to", "sklearn", "--header"], "--header: expected --to c"),
        (["--to", "c", "--name", "1"], "name: expected letters"),
        (["--to", "c", "--name", ""], "name: expected letters"),
        (["--to", "onnx", "--name", ""], "--name: expected --to c"),
        (["--to", "c", "--output", ""], "--output: "),
        (["--to", "c", "--output", "m.safetensors"], "another file than"),
        (["--to", "c", "--output", "none/m.c"], "no folder"),
        (["--to", "tflite"], "invalid choice"),
        ([], "--to"),
    ],
)
def test_refusals_write_nothing(saved, more, told, capsys, monkeypatch):
    monkeypatch.chdir(saved.parent)
    before = saved.read_bytes()
    assert main(["export", "m.safetensors", *more]) == 2
    assert told in capsys.readouterr().err
    assert [path.name for path in saved.parent.iterdir()] == ["m.safetensors"]
    assert saved.read_bytes() == before


def test_a_header_does_not_take_the_models_place(saved, capsys):
    model = saved.with_suffix(".h")
    saved.rename(model)
    before = model.read_bytes()
    assert main(["export", str(model), "--to", "c", "--header"]) == 2
    assert "--header: expected another file" in capsys.readouterr().err
    assert model.read_bytes() == before and not saved.with_suffix(".c").exists()


def test_what_scikit_learn_has_not(tmp_path, capsys):
    pytest.importorskip("sklearn")
    fastbp.Network(SIZES, activation="gelu").save(tmp_path / "m.st")
    assert main(["export", str(tmp_path / "m.st"), "--to", "sklearn"]) == 2
    assert "got 'gelu'" in capsys.readouterr().err
    assert main(["export", str(tmp_path / "none"), "--to", "c"]) == 2
