"""The command line: training, what it prints and returns, and what is refused and how."""

import gzip
import io
import os
import re
import struct
import subprocess
import sys
import time
from pathlib import Path

import cli_cases
import numpy as np
import pytest
from cli_cases import COMMAND, ENVIRONMENT, MLP, command, flowers, houses, strict, write_csv

import fastbp
from fastbp.datasets import load_digits, read_inputs

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures


# train --------------------------------------------------------------------------------------------


def test_default_run():
    done = command("train")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""  # a bar on a terminal only
    lines = done.stdout.splitlines()
    assert "64 inputs, 10 classes; 1294 to train, 144 to validate, 359 to test" in lines[0]
    assert "64,30,10" in lines[1] and "2,260 parameters" in lines[1]
    epochs = [line for line in lines if line.startswith("epoch")]
    assert len(epochs) == 30
    for line in epochs:
        assert re.fullmatch(
            r"epoch +\d+/30  loss [\d.e-]+  validation loss [\d.e-]+  "
            r"validation accuracy [\d.]+ %",
            line,
        )
    (accuracy,) = re.findall(r"^test accuracy ([\d.]+) % \(\d+ of 359\)$", done.stdout, re.M)
    assert float(accuracy) >= 96
    assert re.search(r"^trained in [\d.e-]+ s, [\d,]+ samples a second$", done.stdout, re.M)
    assert re.search(r"^gradient check: \S", done.stdout, re.M)


@pytest.mark.parametrize("seed", range(10))
def test_default_accuracy_does_not_hang_on_the_seed(run, seed):
    code, out, _ = run("train", "--json", "--seed", seed)
    assert code == 0
    assert strict(out)["test"]["accuracy"] >= 0.96


def test_json_of_train(run):
    code, out, err = run("train", "--json", "--epochs", 3)
    document = strict(out)
    assert code == 0
    assert err.count("epoch ") == 3  # progress goes to stderr
    assert document["fastbp"] == fastbp.__version__
    assert document["data"]["test_rows"] == 359
    assert document["data"]["classes"] == list(range(10))
    assert "CC BY 4.0" in document["data"]["attribution"]
    assert document["network"]["sizes"] == [64, 30, 10]
    assert [record["epoch"] for record in document["training"]["epochs"]] == [1, 2, 3]
    for record in document["training"]["epochs"]:
        assert record["loss"] > 0 and record["validation"]["loss"] > 0
        assert 0 <= record["validation"]["accuracy"] <= 1
    assert document["seconds"] > 0 and document["samples_per_second"] > 0
    assert document["gradient_check"]["ok"] is True
    assert document["gradient_check"]["verdict"]
    assert document["saved"] is None


def test_the_same_seed_gives_the_same_network(run):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert run("train", "--epochs", 2, "--seed", seed, "--save", name)[0] == 0
    a, b, c = (fastbp.load(name).parameters for name in "abc")
    assert np.array_equal(a, b) and not np.array_equal(a, c)


@pytest.mark.parametrize(
    "options",
    [
        ["--sizes", "64,20,10", "--activation", "sigmoid", "--loss", "quadratic"],
        ["--sizes", "auto,20,15,auto", "--activation", "relu,tanh", "--dtype", "float64"],
        ["--hidden", "", "--optimizer", "sgd", "--learning-rate", "0.05"],
        ["--hidden", "16", "--optimizer", "sgd", "--momentum", "0.5", "--l2", "0.1"],
        ["--optimizer", "adamw", "--batch-size", "64", "--init", "large", "--l1", "0.1"],
        ["--activation", "leaky_relu(0.02)", "--output", "sigmoid", "--threads", "2"],
        ["--loss", "binary_cross_entropy", "--validation", "0", "--test", "0.5"],
        ["--test", "0", "--validation", "0"],
    ],
)
def test_options(run, options):
    code, out, err = run("train", "--epochs", 3, *options)
    assert code == 0, err
    assert ("validation" in out) == ("--validation" not in options)
    part = "training" if options[:2] == ["--test", "0"] else "test"
    assert f"\n{part} accuracy " in out


@pytest.mark.parametrize("target", ["classes", "numbers"])
def test_an_epoch_is_one_pass_over_the_validation_data(run, target, monkeypatch):
    write_csv(Path("data.csv"), flowers() if target == "classes" else houses())
    doors, rows = fastbp.kernels.dispatch.doors(np.dtype("f4")), []
    for name in ("predict", "costs", "outputs_and_costs"):
        real = getattr(doors, name)

        def door(net, parameters, X, *args, real=real, name=name):
            rows.append((name, len(X)))
            return real(net, parameters, X, *args)

        monkeypatch.setattr(doors, name, door)
    goal = ["--target", "kind" if target == "classes" else "price"]
    code, out, _ = run("train", "data.csv", "--epochs", 5, "--json", "--no-check", *goal, *MLP)
    document = strict(out)
    assert code == 0 and "validation" in document["training"]["epochs"][-1]
    n = document["data"]["validation_rows"]
    assert [name for name, m in rows if m == n] == ["outputs_and_costs"] * 5


def test_everything_can_be_trained_on(run):
    code, out, _ = run("train", "--test", 0, "--validation", 0, "--epochs", 1, "--json")
    document = strict(out)
    assert code == 0
    assert document["training"]["epochs"][0].keys() == {"epoch", "loss"}
    assert document["training_scores"]["rows"] == 1797 and document["test"] is None


def test_the_check_comes_last_and_may_be_left_out(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastbp.check.gradients", interrupted)
    code, out, err = run("train", "--epochs", 1, "--no-check", "--json")
    assert code == 0 and strict(out)["gradient_check"] is None
    code, out, err = run("train", "--epochs", 1, "--save", "net")
    assert (
        code == 130 and err == "fastbp: interrupted during the gradient check; all else is done\n"
    )
    assert "test accuracy" in out and "saved to net" in out and "gradient check" not in out
    assert fastbp.load("net").metadata["classes"] == list(range(10))
    code, out, _ = run("train", "--epochs", 1, "--json")
    assert code == 130
    assert strict(out)["gradient_check"] is None and strict(out)["test"]["rows"] == 359


def test_the_check_of_a_large_network_has_a_budget(run, tmp_path):
    write_csv(tmp_path / "a.csv", flowers())
    begun = time.process_time()
    options = ("--hidden", "1024,1024", "--epochs", 1, "--test", 0.9, "--validation", 0)
    code, out, err = run("train", "a.csv", "--target", "kind", *options)
    assert code == 0, err
    assert re.search(r"^gradient check: .* of 1,\d+,\d+ parameters", out, re.M | re.S)
    assert time.process_time() - begun < 30  # 54 s without, and 2 now


def test_a_time_limit_before_the_first_step(run, tmp_path):
    code, out, err = run("train", "--time-limit", "1e-9", "--save", "net")
    assert code == 1 and not (tmp_path / "net").exists() and "nan" not in out + err
    assert err == (
        "fastbp: error: --time-limit 1e-09: over before the first step; nothing was trained\n"
    )


def test_a_time_limit_before_the_first_epoch_ends(run, tmp_path, monkeypatch):
    fit = fastbp.Network.fit
    monkeypatch.setattr(
        fastbp.Network,
        "fit",
        lambda self, X, Y, *, callbacks, **options: fit(self, X, Y, **options),
    )
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "a.npz", X=rng.normal(size=(200_000, 50)), y=np.arange(200_000) % 2)
    options = ("--hidden", "500,500", "--time-limit", "0.2", "--threads", "1", "--no-check")
    code, out, err = run("train", "a.npz", *options, "--save", "net")
    assert code == 0, err
    assert re.search(r"trained in [\d.]+ s, less than an epoch, [\d,]+ samples a second", out)
    assert (tmp_path / "net").exists() and "test accuracy" in out


def test_one_output_and_a_loss_that_needs_more(run, tmp_path):
    data = flowers()
    data["kind"] = np.where(data["kind"] == "lily", "no", "yes")
    write_csv(tmp_path / "a.csv", data)
    write_csv(tmp_path / "b.csv", houses())
    one = ("train", "a.csv", "--target", "kind", "--sizes", "auto,5,1")
    number = ("train", "b.csv", "--target", "price")
    for argv, words in (
        ((*one, "--loss", "cross_entropy"), ["loss: 'cross_entropy'", "binary_cross_entropy"]),
        ((*one, "--loss", "kl"), ["loss: 'kl'", "binary_cross_entropy"]),
        ((*one, "--output", "softmax"), ["output: ", "'softmax'", "got 1", "'sigmoid'"]),
        ((*number, "--output", "softmax"), ["output: ", "'softmax'", "'identity'"]),
        ((*number, "--loss", "cross_entropy"), ["loss: 'cross_entropy'"]),
        ((*number, "--hidden", "1", "--activation", "layer_norm"), ["activation: ", "got 1"]),
    ):
        code, _, err = run(*argv)
        assert code == 2 and err.startswith("fastbp: error: ") and err.count("\n") == 1
        for word in words:
            assert word in err


def test_a_bar_while_one_waits(monkeypatch):
    from fastbp.cli.output import waiting_bar

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for seconds, shown in ((0.0, False), (0.8, True)):
        monkeypatch.setattr(sys, "stderr", Terminal())
        with waiting_bar("gradient check", 1.0):
            time.sleep(seconds)
        assert ("gradient check" in sys.stderr.getvalue()) == shown


def test_gradient_check_that_fails(run, monkeypatch):
    class Wrong:
        ok, verdict = False, "wrong: BP2 of layer 1"

        def to_dict(self):
            return {"worst": float("nan")}

    monkeypatch.setattr("fastbp.check.gradients", lambda *_, **__: Wrong())
    code, out, _ = run("train", "--epochs", 1)
    assert code == 1 and "gradient check: wrong: BP2 of layer 1" in out
    code, out, _ = run("train", "--epochs", 1, "--json")
    assert code == 1
    assert strict(out)["gradient_check"] == {
        "worst": None,
        "ok": False,
        "verdict": "wrong: BP2 of layer 1",
    }


def test_divergence(run, tmp_path):
    write_csv(tmp_path / "a.csv", houses())
    code, out, err = run(
        *("train", "a.csv", "--target", "price", "--no-scaling", "--activation", "identity"),
        *("--optimizer", "sgd", "--learning-rate", "1e9", "--save", "net"),
    )
    assert code == 1 and "test accuracy" not in out
    assert re.fullmatch(r"fastbp: error: .*learning.rate 1e\+09.*\n", err)
    assert not (tmp_path / "net").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals")
def test_a_bar_on_a_terminal():
    import fcntl
    import pty
    import select
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 24, 80, 0, 0))
    done = subprocess.run(
        [*COMMAND, "train", "--epochs", "3"],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=theirs,
        text=True,
        timeout=180,
    )
    assert select.select([ours], [], [], 1)[0]
    bar = os.read(ours, 100_000).decode()
    os.close(theirs)
    os.close(ours)
    assert done.returncode == 0
    assert "/3" in bar
    assert done.stdout.count("\nepoch ") == 3
    assert "accuracy" not in bar


# train on files -----------------------------------------------------------------------------------


def write_idx(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_folder(run, tmp_path, suffix):
    digits = load_digits()
    images, labels = (digits.X * 255).round().reshape(-1, 8, 8), digits.Y
    folder = tmp_path / "mnist"
    folder.mkdir()
    for part, rows in (("train", slice(0, 1500)), ("t10k", slice(1500, None))):
        write_idx(folder / f"{part}-images-idx3-ubyte{suffix}", images[rows])
        write_idx(folder / f"{part}-labels-idx1-ubyte{suffix}", labels[rows])
    code, out, _ = run("train", "mnist/", "--json", "--save", "net", "--epochs", 10)
    document = strict(out)
    assert code == 0
    assert document["data"]["train_rows"] == 1350 and document["data"]["test_rows"] == 297
    assert not document["data"]["standardised"]
    assert document["test"]["accuracy"] > 0.85
    code, out, err = run("predict", "net", "mnist", "--json")
    assert strict(out)["correct"] == document["test"]["correct"]
    images_only = folder / f"t10k-images-idx3-ubyte{suffix}"
    code, out, err = run("predict", "net", images_only)
    assert code == 0 and "accuracy" in err and len(out.splitlines()) == 297


def test_csv_classes(run, tmp_path):
    write_csv(tmp_path / "flowers.csv", flowers())
    code, out, err = run(
        "train", "flowers.csv", "--target", "kind", "--save", "net", "--json", "--epochs", 40, *MLP
    )
    document = strict(out)
    assert code == 0, err
    assert "warning" not in err
    assert document["data"]["standardised"]
    assert document["data"]["columns"] == ["petal", "colour"]  # garden is constant
    assert document["test"]["accuracy"] > 0.9
    net = fastbp.load("net")
    assert net.metadata["classes"] == ["aster", "lily", "rose"]
    assert net.metadata["columns"] == ["petal", "colour"]  # garden is constant
    assert net.metadata["target"] == "kind"
    # The saved network takes the raw numbers.
    raw = read_inputs("flowers.csv", target="kind", columns=["petal", "colour"])
    assert np.mean(net.predict(raw.X).argmax(axis=1) == raw.Y) > 0.9

    code, out, err = run("predict", "net", "flowers.csv")
    assert code == 0 and "accuracy 9" in err
    lines = [line.split("\t") for line in out.splitlines()]
    assert len(lines) == 300
    assert {name for name, _ in lines} == {"aster", "lily", "rose"}
    assert all(1 / 3 <= float(probability) <= 1 for _, probability in lines)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_csv_numbers(run, tmp_path, dtype):
    data = houses()
    write_csv(tmp_path / "houses.csv", data)
    code, out, err = run(
        *("train", "houses.csv", "--target", "price", "--save", "net", "--json"),
        *("--epochs", 60, "--dtype", dtype),
    )
    document = strict(out)
    assert code == 0, err
    assert document["network"]["output"] == "identity" and document["network"]["loss"] == "mse"
    assert document["test"]["r2"] > 0.98
    # In the units of the target: the prices have a deviation of some 50,000.
    assert 400 < document["test"]["rmse"] < 10_000
    last = document["training"]["epochs"][-1]
    assert 400**2 < last["validation"]["loss"] < 10_000**2
    assert 400 < last["validation"]["rmse"] < 10_000
    assert np.isclose(last["validation"]["rmse"] ** 2, last["validation"]["loss"], rtol=1e-3)
    code, out, err = run("predict", "net", "houses.csv", "--json")
    document = strict(out)
    assert document["r2"] > 0.98
    predicted = np.array([record["values"][0] for record in document["predictions"]])
    assert np.sqrt(np.mean((predicted - data["price"]) ** 2)) < 10_000
    assert "R^2 0.9" in run("predict", "net", "houses.csv")[2]


@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-4), ("float64", 1e-11)])
def test_folding_leaves_the_predictions(run, tmp_path, monkeypatch, dtype, bound):
    """The saved network predicts from raw numbers what the trained one did from standardised."""
    from fastbp.cli.train import Experiment

    seen = {}
    fold = Experiment.fold

    def spy(self):
        X, _ = self.prepared(self.parts.test)
        seen["before"] = self.targets.undo(self.net.predict(X))
        fold(self)
        seen["after"] = self.net.predict(self.parts.test[0])

    monkeypatch.setattr(Experiment, "fold", spy)
    write_csv(tmp_path / "houses.csv", houses())
    options = ("--target", "price", "--epochs", 5, "--dtype", dtype)
    assert run("train", "houses.csv", *options)[0] == 0
    assert seen["before"].std() > 10_000
    assert np.abs(seen["after"] - seen["before"]).max() < bound * seen["before"].std()


def test_folding_warns_where_float32_is_too_coarse(run, tmp_path):
    data = houses()
    data["area"] = 1e9 + data["area"]
    write_csv(tmp_path / "a.csv", data)
    options = ("train", "a.csv", "--target", "price", "--epochs", 5, *MLP)
    code, _, err = run(*options)
    assert code == 0 and "warning" in err and "--dtype float64" in err
    assert "warning" not in run(*options, "--dtype", "float64")[2]


@pytest.mark.parametrize(
    ("output", "loss", "scaled"),
    [
        ("identity", "quadratic", True),
        ("identity", "mae", True),
        ("identity", "pinball(0.9)", True),
        ("identity", "huber(1.5)", True),
        ("identity", "log_cosh(0.3)", True),
        ("softplus", "mse", False),
        ("exp", "poisson", False),
        ("identity", "gaussian_nll", True),
    ],
)
def test_targets_are_standardised_where_that_only_scales_the_loss(
    run, tmp_path, output, loss, scaled
):
    from fastbp.cli import train

    data = houses()
    data["price"] = data["price"] / 50_000
    write_csv(tmp_path / "a.csv", data)
    seen = []
    metadata = train.Experiment.metadata
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            train.Experiment,
            "metadata",
            lambda self: seen.append(self.targets) or metadata(self),
        )
        code, out, err = run(
            *("train", "a.csv", "--target", "price", "--output", output, "--loss", loss),
            *("--save", "net", "--epochs", 30, "--json"),
        )
    assert code == 0, err
    assert (seen[0] is not None) == scaled
    assert strict(out)["test"]["r2"] > 0.5


@pytest.mark.parametrize(
    ("options", "price", "warns"),
    [
        (["--loss", "huber(10000)"], 1.0, False),
        (["--loss", "log_cosh"], 1.0, False),
        (["--loss", "gaussian_nll"], 1.0, False),
        (["--loss", "huber"], 1e-8, False),
        (["--loss", "huber", "--output", "softplus"], 1.0, True),
        (["--output", "softplus"], 1.0, True),
        (["--output", "sigmoid"], 1e-5, True),  # of values up to 2.5
        (["--output", "exp"], 1.0, False),
        (["--loss", "poisson"], 1.0, False),
        (["--loss", "mae"], 1.0, False),
        (["--loss", "huber(10000)", "--no-scaling"], 1.0, False),
    ],
)
def test_targets_out_of_reach_are_warned_of(run, tmp_path, options, price, warns):
    data = houses()
    data["price"] = data["price"] * price
    write_csv(tmp_path / "a.csv", data)
    code, _, err = run("train", "a.csv", "--target", "price", "--epochs", 1, *options)
    assert code == 0
    if warns:
        assert err.startswith(f"fastbp: warning: {options[0]} {options[1]}" * ("--loss" in options))
        assert "mean" in err and "deviation" in err and "--loss mse" in err
        assert err.count("\n") == 1
    else:
        assert err == ""


def test_two_classes_with_one_output(run, tmp_path):
    data = flowers()
    data["kind"] = np.where(data["kind"] == "lily", "no", "yes")
    write_csv(tmp_path / "a.csv", data)
    options = ("--target", "kind", "--sizes", "auto,20,1", "--epochs", 60, "--save", "net")
    code, out, _ = run("train", "a.csv", *options, "--json")
    document = strict(out)
    assert code == 0 and document["network"]["output"] == "sigmoid"
    assert document["network"]["loss"] == "binary_cross_entropy"
    assert document["test"]["accuracy"] > 0.9
    document = strict(run("predict", "net", "a.csv", "--json")[1])
    assert document["accuracy"] > 0.9
    assert {record["class"] for record in document["predictions"]} == {"yes", "no"}
    assert min(record["probability"] for record in document["predictions"]) >= 0.5


def test_npz(run, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.normal(50, 10, (300, 3))
    Y = np.column_stack([X @ [1, 2, 3], 1000 * (X @ [1, 0, -1])])
    np.savez(tmp_path / "a.npz", X=X, y=Y)
    code, out, err = run("train", "a.npz", "--json", "--save", "net", "--epochs", 60)
    document = strict(out)
    assert code == 0, err
    assert document["network"]["sizes"] == [3, 30, 2]
    assert document["data"]["standardised"] and document["test"]["r2"] > 0.9
    assert strict(run("predict", "net", "a.npz", "--json")[1])["r2"] > 0.9


def test_rows_are_left_over_or_refused(run, tmp_path):
    write_csv(tmp_path / "xor.csv", {"a": [0, 0, 1, 1], "b": [0, 1, 0, 1], "y": [0, 1, 1, 0]})
    options = ("train", "xor.csv", "--target", "y")
    code, out, _ = run(*options, "--test", 0, "--validation", 0, "--hidden", 8, "--epochs", 300)
    assert code == 0 and "training accuracy 100.00 % (4 of 4)" in out
    code, _, err = run(*options, "--test", 0.9, "--validation", 0.9)
    assert code == 2 and "none of the 4 rows is left" in err


def test_constant_target(run, tmp_path):
    write_csv(tmp_path / "a.csv", {"a": range(50), "y": ["1.5"] * 50})
    code, out, err = run("train", "a.csv", "--target", "y", "--epochs", 2, "--json")
    assert code == 0, err
    assert strict(out)["test"]["r2"] is None
    code, out, _ = run("train", "a.csv", "--target", "y", "--epochs", 2)
    assert code == 0 and "R^2 undefined" in out


@pytest.mark.parametrize("sizes", ["auto,20,1", "auto,20,2"])
@pytest.mark.parametrize(
    ("loss", "output", "title"),
    [
        ("hinge", "identity", "score"),
        ("mse", "tanh", "score"),
        ("quadratic", "sigmoid", "probability"),
        ("kl", "softmax", "probability"),
    ],
)
def test_other_losses_for_classes(run, tmp_path, sizes, loss, output, title):
    if loss == "kl" and sizes.endswith("1"):
        pytest.skip("one probability that is always 1")
    data = flowers()
    data["kind"] = np.where(data["kind"] == "lily", "no", "yes")
    write_csv(tmp_path / "a.csv", data)
    code, out, err = run(
        *("train", "a.csv", "--target", "kind", "--sizes", sizes, "--loss", loss, "--save", "net"),
        *(["--output", output] if output != "identity" else []),
        *("--epochs", 60, "--json"),
    )
    assert code == 0, err
    document = strict(out)
    assert document["network"]["output"] == output
    assert document["test"]["accuracy"] > 0.9
    document = strict(run("predict", "net", "a.csv", "--json")[1])
    assert document["accuracy"] > 0.9
    assert document["predictions"][0].keys() == {"class", title}


# What train refuses -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], ["COMMAND", "--help"]),
        (["trane"], ["'trane'", "train"]),
        (["train", "--epochs", "0"], ["--epochs", "at least 1", "'0'", "fastbp train --help"]),
        (["train", "--epochs", "many"], ["--epochs", "'many'"]),
        (["train", "--epochs", "1.5"], ["--epochs", "whole number", "'1.5'"]),
        (["train", "--batch-size", "-1"], ["--batch-size", "at least 1"]),
        (["train", "--learning-rate", "nan"], ["--learning-rate", "positive", "'nan'"]),
        (["train", "--learning-rate", "0"], ["--learning-rate", "positive"]),
        (["train", "--learning-rate", "inf"], ["--learning-rate", "positive"]),
        (["train", "--l2", "-1"], ["--l2", "at least 0"]),
        (["train", "--validation", "1"], ["--validation", "below 1"]),
        (["train", "--momentum", "1"], ["--momentum", "below 1"]),
        (["train", "--momentum", "0.5"], ["--momentum is for --optimizer sgd"]),
        (["train", "--seed", "-1"], ["--seed", "at least 0"]),
        (["train", "--sizes", "64,x,10"], ["--sizes", "64,30,10", "'64,x,10'"]),
        (["train", "--sizes", "64,0,10"], ["--sizes", "at least 1"]),
        (["train", "--sizes", "64,auto,10"], ["--sizes"]),
        (["train", "--sizes", "64"], ["--sizes", "two layers"]),
        (["train", "--sizes", "60,30,10"], ["64 inputs and 10 classes", "found 60,30,10"]),
        (["train", "--sizes", "64,30,9"], ["64 inputs and 10 classes", "found 64,30,9"]),
        (["train", "--hidden", "30,"], ["--hidden"]),
        (["train", "--sizes", "64,10", "--hidden", "5"], ["not allowed with"]),
        (["train", "--dtype", "float16"], ["--dtype", "float32"]),
        (["train", "--optimizer", "adams"], ["--optimizer", "adam"]),
        (["train", "--activation", "rellu"], ["rellu", "relu"]),
        (["train", "--activation", "relu,relu,relu"], ["activation"]),
        (["train", "--output", "sofmax"], ["sofmax", "softmax"]),
        (["train", "--loss", "mean"], ["mean"]),
        (["train", "--init", "hee"], ["hee"]),
        (["train", "--target", "x"], ["--target needs DATA"]),
        (["train", "--save", "nowhere/net"], ["--save", "no folder:", "nowhere"]),
        (["train", "--save", "."], ["--save", "is a folder"]),
        (["train", "nowhere.csv"], ["No such file", "nowhere.csv"]),
        (["train", "bad.csv"], ["bad.csv: the target column must be named", "'a', 'b'"]),
        (["train", "bad.csv", "--target", "c"], ["bad.csv: no column 'c'"]),
        (
            ["train", "bad.csv", "--target", "b", "--numeric", "a"],
            ["bad.csv: column 'a', line 3", "'x'"],
        ),
        (["train", "bad.csv", "--target", "b", "--labels", "bad.csv"], ["bad.csv: a label file"]),
        (["train", "one.csv", "--target", "b"], ["one.csv: expected at least 2 classes", "'k'"]),
        (
            ["train", "huge.csv", "--target", "b", "--preset", "mlp"],
            ["huge.csv", "1e+300", "--dtype float64"],
        ),
        (["train", "empty.npz"], ["empty.npz: not an .npz file"]),
        (["train", "text.txt"], ["text.txt: expected rows"]),
        (["train", "text.doc"], ["text.doc: expected", ".csv"]),
        (["train", "--epoch", "3"], ["--epoch"]),
        (["train", "--hidden", "100000000,100000000"], ["memory"]),
        (["predict", "nowhere", "digits"], ["nowhere"]),
        (["predict", "text.txt", "digits"], ["text.txt"]),
        (["predict", "nowhere"], ["DATA"]),
        (
            ["predict", "nowhere", "digits", "--out", "a.txt"],
            ["--out", ".npy, .csv, .parquet", "'a.txt'"],
        ),
        (["predict", "x", "digits", "--out", "no/a.csv"], ["--out", "no folder:"]),
        (["info", "text.txt"], ["text.txt"]),
        (["info", "--batch-size", "64"], ["--batch-size", "MODEL"]),
        (["info", "text.txt", "--optimizer", "sgd"], ["--optimizer", "--batch-size"]),
        (["info", "text.txt", "--batch-size", "0"], ["--batch-size", "'0'"]),
    ],
)
def test_bad_usage(run, tmp_path, argv, words):
    (tmp_path / "bad.csv").write_text("a,b\n1,k\nx,l\n")
    (tmp_path / "one.csv").write_text("a,b\n1,k\n2,k\n")
    (tmp_path / "huge.csv").write_text("a,b\n1,k\n1e300,l\n")
    (tmp_path / "empty.npz").write_bytes(b"")
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "text.doc").write_text("hello")
    code, out, err = run(*argv)
    assert code == 2, err
    assert out == "" or argv[0] == "train"
    assert err.startswith("fastbp: error: ") and err.count("\n") == 1
    for word in words:
        assert word in err


# what ends a run, and what it goes on from


def test_patience_time_limit_and_schedule(run):
    def epochs(*argv):
        code, out, err = run("train", *argv)
        assert code == 0, err
        return out.count("\nepoch ")

    assert epochs("--epochs", "60", "--learning-rate", "0.1", "--patience", "2") < 60
    assert epochs("--epochs", "100000", "--time-limit", "0.5") < 100000
    ends = []
    for schedule in ("constant", "cosine", "one-cycle"):
        code, out, err = run("train", "--epochs", "4", "--schedule", schedule)
        assert code == 0, err
        ends.append(re.findall(r"epoch 4/4  (loss .*)", out))
    assert len({str(end) for end in ends}) == 3


def test_patience_needs_validation(run):
    code, _, err = run("train", "--validation", "0", "--patience", "2")
    assert code == 2 and "early_stopping: expected validation data" in err


def test_a_checkpoint_is_gone_on_from(run, tmp_path):
    path = str(tmp_path / "run.ckpt")
    models = [str(tmp_path / name) for name in ("a.safetensors", "b.safetensors")]
    for epochs, extra in (("3", ()), ("6", ("--save", models[0]))):
        code, out, err = run("train", "--epochs", epochs, "--checkpoint", path, *extra)
        assert code == 0, err
        assert out.count("\nepoch ") == 3
    code, _, err = run("train", "--epochs", "6", "--save", models[1])
    assert code == 0, err
    nets = [fastbp.load(model) for model in models]
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    code, _, err = run("train", "--epochs", "9", "--checkpoint", path, "--l2", "0.1")
    assert code == 2 and "expected the same l2 as in that run, 0.0; got 0.1" in err


def test_layers_that_are_constant_are_refused_by_name(run, tmp_path):
    write_csv(tmp_path / "houses.csv", houses())
    for options, told in [
        (("--sizes", "auto,5,1", "--output", "softmax"), "output: expected at least 2 units"),
        (("--hidden", "4,1", "--activation", "layer_norm"), "activation: expected at least 2"),
        (("--output", "softplus", "--loss", "cross_entropy"), "loss: 'cross_entropy' needs an out"),
    ]:
        code, out, err = run("train", "houses.csv", "--target", "price", *options)
        assert code == 2 and told in err and "got 1" in err and not out, err
