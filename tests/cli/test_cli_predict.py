"""The command line: predicting, interrupting, information and help."""

import re
import signal
import subprocess
import sys

import cli_cases
import numpy as np
import pytest
from cli_cases import COMMAND, ENVIRONMENT, MLP, command, flowers, houses, strict, write_csv

import fastbp
from fastbp.cli import main
from fastbp.datasets import load_digits

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures


# predict ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A network that knows flowers, one that knows houses, one that knows digits."""
    folder = tmp_path_factory.mktemp("models")
    write_csv(folder / "flowers.csv", flowers())
    write_csv(folder / "houses.csv", houses())
    for argv in (
        ["digits", "--epochs", "10"],
        [str(folder / "flowers.csv"), "--target", "kind", "--epochs", "30"],
        [str(folder / "houses.csv"), "--target", "price", "--epochs", "30"],
    ):
        name = argv[0].rpartition("/")[2].removesuffix(".csv")
        assert main(["train", *argv, *MLP, "--save", str(folder / name)]) == 0
    return folder


def test_predict_finds_columns_by_name(run, tmp_path, models):
    data = flowers(20, seed=1)
    write_csv(
        tmp_path / "new.csv",
        {"note": ["x"] * 20, "garden": data["garden"]}
        | {"colour": data["colour"], "petal": data["petal"]},
    )
    code, out, err = run("predict", models / "flowers", "new.csv", "--json")
    assert code == 0, err
    assert err == ""
    document = strict(out)
    assert "accuracy" not in document and document["rows"] == 20
    found = [record["class"] for record in document["predictions"]]
    assert np.mean(found == data["kind"]) > 0.8
    write_csv(tmp_path / "new.csv", {"petal": [1], "coulour": [2], "garden": [3]})
    code, _, err = run("predict", models / "flowers", "new.csv")
    assert code == 2 and "new.csv: no column 'colour'" in err and "'coulour'" in err


def test_predict_compares_classes_by_name(run, tmp_path, models):
    data = flowers(100, seed=1)
    rows = data["kind"] == "rose"  # the only class: index 0 here, 2 in the network
    data = {name: column[rows] for name, column in data.items()}
    write_csv(tmp_path / "roses.csv", data)
    document = strict(run("predict", models / "flowers", "roses.csv", "--json")[1])
    assert document["accuracy"] > 0.8
    data["kind"] = np.full(len(data["petal"]), "tulip")
    write_csv(tmp_path / "tulips.csv", data)
    code, out, err = run("predict", models / "flowers", "tulips.csv")
    assert code == 2 and not out
    assert "tulips.csv: the network knows no class 'tulip'; its classes are 'aster'" in err


def test_predict_refuses_a_target_that_is_not_there(run, tmp_path, models):
    data = flowers(20, seed=1)
    write_csv(tmp_path / "a.csv", data)
    np.savez(tmp_path / "a.npz", x=np.ones((2, 3)))
    for name in ("predict", "check", "explain"):
        code, out, err = run(name, models / "flowers", "a.csv", "--target", "Kinds")
        assert code == 2 and not out
        assert "a.csv: no column 'Kinds'" in err and "did you mean 'kind'?" in err
        code, _, err = run(name, models / "flowers", "a.npz", "--target", "kind")
        assert code == 2 and "--target: only a CSV file" in err
        code, _, err = run(name, models / "digits", "digits", "--target", "kind")
        assert code == 2 and "--target needs DATA" in err
    data["Kind"] = data.pop("kind")
    write_csv(tmp_path / "b.csv", data)
    assert run("predict", models / "flowers", "b.csv")[0] == 0
    code, _, err = run("check", models / "flowers", "b.csv")
    assert code == 2 and "b.csv: no column 'kind'" in err and "did you mean 'Kind'?" in err


@pytest.mark.parametrize("name", ["predict", "check", "explain"])
def test_data_of_another_form_than_the_training_data(run, tmp_path, models, name):
    data = flowers(20, seed=1)
    for changed, words in (
        ({"Petal": data["petal"], "colours": data["colour"]}, ["'petal', 'colour'", "'Petal'"]),
        ({"petal": data["petal"]}, ["no column 'colour'", "are 'petal', 'garden', 'kind'"]),
        ({"petal": ["big"] * 20, "colour": data["colour"]}, ["'petal', line 2", "'big'"]),
    ):
        rest = {"garden": data["garden"], "kind": data["kind"]}
        write_csv(tmp_path / "new.csv", changed | rest)
        code, out, err = run(name, models / "flowers", "new.csv")
        assert code == 2 and not out and err.startswith("fastbp: error: new.csv: ")
        for word in words:
            assert word in err


def test_classes_are_one_however_they_are_written(run, tmp_path):
    X, n = {"a": np.arange(40.0)}, 40
    for name, known, new in (
        ("numbers", [1, 2], ["1.0", "2.0"]),
        ("flags", [True, False], ["true", "FALSE"]),
        ("codes", ["02134", "10001"], ["02134", "10001"]),
    ):
        options = ("--target", "t", "--epochs", 200, "--save", name)
        write_csv(tmp_path / "a.csv", X | {"t": np.repeat(known, n // 2)})
        assert run("train", "a.csv", *options, *MLP)[0] == 0
        assert sorted(fastbp.load(name).classes) == sorted(known)
        write_csv(tmp_path / "b.csv", X | {"t": np.repeat(new, n // 2)})
        document = strict(run("predict", name, "b.csv", "--json")[1])
        assert document["accuracy"] > 0.8
        assert {record["class"] for record in document["predictions"]} == set(known)
        assert run("check", name, "b.csv")[0] == 0


def test_a_table_without_a_header_line(run, tmp_path):
    data = flowers(60)
    rows = ["{petal},{colour},{garden},{kind}".format(**dict(zip(data, row, strict=True)))
            for row in zip(*data.values(), strict=True)]  # fmt: skip
    (tmp_path / "a.csv").write_text("\n".join(rows))
    options = ("--target", "4", "--epochs", 3, "--save", "net")
    code, _, err = run("train", "a.csv", *options, *MLP)
    assert code == 2 and "first line" in err and "--header no" in err
    code, out, err = run("train", "a.csv", *options, *MLP, "--header", "no", "--json")
    assert code == 0, err
    document = strict(out)["data"]
    assert sum(document[f"{part}_rows"] for part in ("train", "validation", "test")) == 60
    assert document["columns"] == ["1", "2"] and document["target"] == "4"
    assert strict(run("predict", "net", "a.csv", "--json")[1])["rows"] == 60
    assert run("check", "net", "a.csv")[0] == 0
    assert run("predict", "net", "a.csv", "--header", "auto")[0] == 2


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_networks_of_estimators(run, tmp_path):
    from fastbp.estimators import MLPClassifier, MLPRegressor

    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": np.arange(40.0), "b": np.arange(40.0)[::-1] ** 2})
    for labels in (np.repeat(["no", "yes"], 20), np.arange(40) // 14, np.arange(40) < 20):
        model = MLPClassifier(8, max_iter=3, random_state=0).fit(frame, labels)
        model.network_.save("net")
        net = fastbp.load("net")
        assert net.classes == model.classes_.tolist() and net.metadata["columns"] == ["a", "b"]
        assert np.array_equal(net.predict(frame[["b", "a"]]), net.predict(frame.to_numpy()))
        frame.assign(t=labels)[["t", "b", "a"]].to_csv("a.csv", index=False)
        document = strict(run("predict", "net", "a.csv", "--target", "t", "--json")[1])
        assert document["accuracy"] == model.score(frame, labels)
        predicted = [record["class"] for record in document["predictions"]]
        assert predicted == model.predict(frame).tolist()
    model = MLPClassifier(4, max_iter=3).fit(frame, np.zeros(40))
    model.network_.save("net")
    assert fastbp.load("net").classes == [0.0]
    assert run("predict", "net", "a.csv")[1].startswith("0.0\t")
    model = MLPRegressor(hidden_layer_sizes=4, max_iter=3).fit(frame, np.arange(40))
    assert model.network_.metadata == {"task": "regression", "columns": ["a", "b"]}
    assert model.network_.classes is None


def test_predict_digits(run, models):
    code, out, err = run("predict", models / "digits", "digits")
    assert code == 0 and re.match(r"accuracy 9\d\.\d\d % \(\d+ of 1797\)", err)
    lines = out.splitlines()
    assert len(lines) == 1797 and re.fullmatch(r"0\t[01](\.\d+)?", lines[0])


def test_predict_arrays(run, tmp_path, models):
    digits = load_digits()
    net = fastbp.load(str(models / "digits"))
    expected = net.predict(digits.X)
    np.save(tmp_path / "X.npy", digits.X)
    np.savez(tmp_path / "X.npz", x=digits.X.astype(np.float64))
    np.save(tmp_path / "y.npy", digits.Y)
    for name in ("X.npy", "X.npz"):
        code, out, err = run("predict", models / "digits", name, "--out", "out.npy")
        assert code == 0 and out == ""
        assert "1797 rows written to out.npy" in err
        assert np.array_equal(np.load("out.npy"), expected)
    assert "accuracy 9" in run("predict", models / "digits", "X.npy", "--labels", "y.npy")[2]
    np.save(tmp_path / "narrow.npy", digits.X[:, :60])
    code, _, err = run("predict", models / "digits", "narrow.npy")
    assert code == 2 and "narrow.npy: the network takes 64 inputs, found 60" in err


def test_predict_writes_csv(run, models):
    path = models / "flowers.csv"
    code, out, _ = run("predict", models / "flowers", path, "--out", "out.csv", "--json")
    assert code == 0 and "predictions" not in strict(out)
    with open("out.csv") as stream:
        lines = stream.read().splitlines()
    assert lines[0] == "kind,probability" and len(lines) == 301
    assert re.fullmatch(r"(aster|lily|rose),[\d.]+", lines[1])
    assert run("predict", models / "houses", models / "houses.csv", "--out", "out.csv")[0] == 0
    with open("out.csv") as stream:
        lines = stream.read().splitlines()
    assert lines[0] == "price" and len(lines) == 401
    assert abs(float(lines[1]) - houses()["price"][0]) < 50_000


def test_predict_refuses_classes_for_numbers(run, tmp_path, models):
    data = houses(10)
    data["price"] = ["cheap", "dear"] * 5
    write_csv(tmp_path / "a.csv", data)
    code, _, err = run("predict", models / "houses", "a.csv")
    assert code == 2 and "a.csv" in err and "'cheap'" in err


def test_predict_without_metadata(run, tmp_path, models):
    net = fastbp.load(str(models / "flowers"))
    net.save("bare", metadata={})
    write_csv(tmp_path / "X.csv", {k: v for k, v in flowers(5).items() if k in ("petal", "colour")})
    code, out, _ = run("predict", "bare", "X.csv", "--json")
    assert code == 0
    document = strict(out)
    assert document["classes"] is None
    assert np.allclose([sum(record["values"]) for record in document["predictions"]], 1)
    write_csv(tmp_path / "flowers.csv", {k: v for k, v in flowers().items() if k != "garden"})
    code, out, err = run("predict", "bare", "flowers.csv", "--target", "kind")
    assert code == 0 and "accuracy" in err and out.startswith(("aster", "lily", "rose"))


@pytest.mark.parametrize(
    "metadata", [{"classes": ["a"]}, {"columns": "abc"}, {"classes": [[1], 2, 3]}]
)
def test_predict_refuses_metadata_that_do_not_fit(run, models, metadata):
    fastbp.load(str(models / "flowers")).save("odd", metadata=metadata)
    code, _, err = run("predict", "odd", models / "flowers.csv")
    assert code == 2 and "odd: its metadata should name " in err


def test_predict_into_a_closed_pipe(models):
    process = subprocess.Popen(
        [*COMMAND, "predict", str(models / "digits"), "digits"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(60) == 141
    assert "Traceback" not in err and "Exception" not in err


# Interrupting -------------------------------------------------------------------------------------


def test_interrupt_saves_the_network(run, monkeypatch, tmp_path):
    write_csv(tmp_path / "a.csv", houses())
    fit = fastbp.Network.fit

    def interrupted(self, X, Y, *, epochs, **options):
        fit(self, X, Y, epochs=30, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(fastbp.Network, "fit", interrupted)
    options = ("train", "a.csv", "--target", "price", "--save", "net", "--epochs", 99, *MLP)
    code, _, err = run(*options)
    assert code == 130
    assert err == "fastbp: interrupted after 30 of 99 epochs; saved to net\n"
    assert strict(run("predict", "net", "a.csv", "--json")[1])["r2"] > 0.5  # folded, too
    code, out, err = run(*options, "--json")
    document = strict(out)
    assert code == 130 and document["interrupted"] is True and document["saved"] == "net"
    assert len(document["training"]["epochs"]) == 30


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one process")
def test_ctrl_c():
    process = subprocess.Popen(
        [*COMMAND, "train", "--epochs", "100000", "--save", "net"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if line.startswith("epoch"):
            break
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=180)  # all epochs would take an hour
    assert process.returncode == 130, err
    assert re.fullmatch(r"fastbp: interrupted after \d+ of 100000 epochs; saved to net\n", err)
    assert np.all(np.isfinite(fastbp.load("net").parameters))


# info and help ------------------------------------------------------------------------------------


def test_info(run, models):
    code, out, _ = run("info")
    assert code == 0 and fastbp.__version__ in out and np.__version__ in out
    code, out, _ = run("info", "--json", models / "flowers")
    document = strict(out)
    assert code == 0
    assert document["fastbp"] == fastbp.__version__
    assert document["cpu_level"] in document["cpu_levels_available"]
    assert document["bytes"]["float32"] == 4 and document["bytes"]["float64"] == 8
    assert document["compiler"] and "flags" in document
    assert document["model"]["sizes"] == [2, 30, 3]
    assert document["model"]["metadata"]["columns"] == ["petal", "colour"]
    assert document["model"]["parameters"] == 2 * 30 + 30 + 30 * 3 + 3
    assert "aster" in run("info", models / "flowers")[1]


def test_info_tells_the_memory_of_a_fit(run, models):
    padded = (2 + 1) * 32 + (30 + 1) * 16  # rows of W^1 and W^2, in whole vectors of float32
    for option, slots in ((), 2), (("--optimizer", "sgd"), 0), (("--optimizer", "momentum"), 1):
        code, out, _ = run("info", "--json", models / "flowers", "--batch-size", 64, *option)
        fit = strict(out)["fit"]
        assert code == 0
        assert fit["batch_size"] == 64 and fit["threads"] >= 1
        assert fit["optimizer"] == (option[1] if option else "adam")
        assert fit["bytes"]["parameters"] == 4 * padded
        assert fit["bytes"]["slots"] == slots * 4 * padded
        assert fit["bytes"]["work_area"] > 64 * 4 * (2 + 3 * (30 + 3))
        assert fit["bytes"]["total"] == sum(v for k, v in fit["bytes"].items() if k != "total")
    code, out, _ = run("info", models / "flowers", "--batch-size", 64)
    assert code == 0 and "work area" in out and "slots" in out
    code, _, err = run("info", models / "flowers", "--batch-size", 10**30)
    assert code == 2 and "--batch-size: expected at most" in err


@pytest.mark.parametrize(
    "argv", [["--help"], ["train", "--help"], ["predict", "-h"], ["info", "-h"]]
)
def test_help_ends_with_an_example(run, argv):
    code, out, err = run(*argv)
    assert code == 0 and err == ""
    assert "fastbp " in out.rpartition("example:\n")[2]


def test_version(run):
    assert run("--version") == (0, f"fastbp {fastbp.__version__}\n", "")


def test_subprocess_reports_usage_errors_in_one_line():
    done = command("train", "--epochs", "none")
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith("fastbp: error: ") and done.stderr.count("\n") == 1
