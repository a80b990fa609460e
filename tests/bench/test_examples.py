"""bench/examples: each runs as a script in a process of its own, and its result is what it says."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

EXAMPLES = Path(__file__).parents[2] / "bench" / "examples"
# the names asked for, of those that the example leaves behind
RUN = """
import json, runpy, sys
left = runpy.run_path(sys.argv[1], run_name="__main__")
print()
print(json.dumps({name: eval(name, left) for name in sys.argv[2:]}))
"""
TESTED = {
    "check_your_backprop", "fashion", "first_network", "learning_slowdown", "replace_scikit_learn",
    "surrogate_jacobian", "universality", "vanishing_gradient",
}  # fmt: skip


@pytest.fixture
def left(tmp_path):
    """Run an example in an empty folder, short; returns the values of expressions after it."""

    def run(name, *expressions, **environment):
        root = str(Path(fastbp.__file__).parents[1])
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", "-c", RUN,
             str(EXAMPLES / f"{name}.py"), *expressions],
            capture_output=True, text=True, cwd=tmp_path,
            env=os.environ | {"FASTBP_SHORT": "1", "MPLBACKEND": "Agg", "PYTHONPATH": root}
            | environment,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run


def test_each_example_has_a_test():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == TESTED


@pytest.mark.parametrize("name", sorted(TESTED))
def test_the_form_of_a_notebook(name):
    """Cells as Jupyter, VS Code and Spyder read them, a title first."""
    lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# %% [markdown]" and lines[1].startswith("# # ")
    assert "# %%" in lines and "What belongs here" in " ".join(
        line.removeprefix("# ") for line in lines[:12]
    )


def test_first_network(left):
    """On MNIST, or without network on the digits of the package."""
    found = left("first_network", "float(accuracy[0])", "float(accuracy.max())", "net.sizes[0]")
    first, best, pixels = found.values()
    assert pixels in (64, 784) and best > first and best > 0.85


def test_first_network_without_network(left, tmp_path):
    found = left("first_network", "float(accuracy.max())", "net.sizes[0]",
                 XDG_CACHE_HOME=str(tmp_path), PIP_NO_INDEX="1")  # fmt: skip
    assert found["net.sizes[0]"] == 64 and found["float(accuracy.max())"] > 0.85


def test_check_your_backprop(left):
    found = left("check_your_backprop", "wrong.ok", "error.ok", "str(error)", "right.ok")
    assert (found["wrong.ok"], found["error.ok"], found["right.ok"]) == (False, False, True)
    assert "the sum over k has been dropped" in found["str(error)"]


def test_replace_scikit_learn(left):
    pytest.importorskip("sklearn")
    scores = left("replace_scikit_learn", "scores")["scores"]
    assert min(scores.values()) > 0.95 and abs(scores["sklearn"] - scores["fastbp"]) < 0.015


def test_surrogate_jacobian(left):
    found = left("surrogate_jacobian", "float(error)", "float(jacobian_error)", "missed")
    assert found["float(error)"] < 0.006 and found["float(jacobian_error)"] < 0.05
    assert found["missed"] < 0.006


def test_learning_slowdown(left):
    """Chapter 3 to the four digits that it prints."""
    found = left("learning_slowdown", "list(outputs.values())", "steepest")
    published = [[0.8176, 0.0940], [0.9820, 0.2028]]
    assert [[round(a, 4) for a in pair] for pair in found["list(outputs.values())"]] == published
    assert found["steepest"]["cross-entropy"] == 0 and found["steepest"]["quadratic"] > 100


def test_universality(left):
    """Chapter 4: the challenge is met by an average deviation of at most 0.40 with five bumps."""
    found = left("universality", "step.tolist()", "bump.tolist()", "list(deviations.items())")
    step, bump = found["step.tolist()"], found["bump.tolist()"]
    assert step[390] < 1e-4 and step[410] > 1 - 1e-4
    assert bump[390] < 1e-4 and abs(bump[500] - 0.8) < 1e-9 and bump[610] < 1e-4
    deviations = dict(found["list(deviations.items())"])
    assert deviations[5] <= 0.40 and deviations[50] < deviations[10] < deviations[5]


def test_vanishing_gradient(left, tmp_path):
    found = left("vanishing_gradient", "product", "engine", "speeds.norms.tolist()")
    assert found["product"] == pytest.approx(found["engine"], rel=1e-13) and found["product"] != 0
    start = found["speeds.norms.tolist()"][0]
    assert start == sorted(start) and start[0] < start[3] / 20  # hidden layers 1 and 4
    assert (tmp_path / "vanishing_gradient.png").read_bytes().startswith(b"\x89PNG")


def fashion_folder():
    return Path(os.environ.get("FASHION_MNIST", "/usr/share/datasets/fashion-mnist"))


@pytest.mark.skipif(not fashion_folder().is_dir(), reason="Fashion-MNIST is not installed")
def test_fashion(left, tmp_path):
    assert left("fashion", "accuracy")["accuracy"] > 0.75
    assert (tmp_path / "fashion.png").read_bytes().startswith(b"\x89PNG")


def test_fashion_says_what_is_missing(tmp_path):
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / "fashion.py")], capture_output=True, text=True,
        cwd=tmp_path, env=os.environ | {"FASHION_MNIST": str(tmp_path / "nowhere"),
                                        "PYTHONPATH": str(Path(fastbp.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 1 and "apt install dataset-fashion-mnist" in done.stderr
