"""bench/compare.py, NumPy alone beside fastbp: agreement, what is reported, what is refused."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

BENCH = Path(__file__).parents[2] / "bench"
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(BENCH), str(Path(fastbp.__file__).parents[1])])
}
# little time, and no library that this machine may or may not have
QUICK = """
import sys
import peers
from fastbp import benchmark
import compare

benchmark.ROUND_SECONDS = 1e-3
benchmark._array_bytes = lambda: 2**20
for sides in (peers.TRAINING, peers.PREDICTION):
    for name in set(sides) - {"fastbp", "NumPy"}:
        del sides[name]
"""
MAIN = "sys.exit(compare.main(sys.argv[1:]))"


def compare(*argv, change=""):
    """In a process of its own: it pins itself to one core."""
    return subprocess.run(
        [sys.executable, "-c", QUICK + change + MAIN, "--repeats", "1", *argv],
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
    )


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_training(tmp_path, dtype, optimizer):
    file, picture = tmp_path / "out.json", tmp_path / "roofline.png"
    done = compare(
        *("--cases", "A,B,C,E", "--dtype", dtype, "--optimizer", optimizer, "--json", str(file)),
        *("--plot", str(picture)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "MISMATCH" not in done.stdout
    document = json.loads(file.read_text())
    assert list(document["cases"]) == ["A", "B", "C", "E"] and document["dtype"] == dtype
    for found in document["cases"].values():
        assert found["title"].lower().endswith(optimizer)
        assert found["sides"].keys() == {"fastbp", "NumPy"}
        for row in found["sides"].values():
            assert row["agrees"] and row["loss"] < row["first_loss"]
            assert row["gflops"] == pytest.approx(found["flops"] / row["us_per_step"] / 1e3)
    assert found["sides"]["fastbp"]["times_fastbp"] == 1
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_prediction(tmp_path):
    file = tmp_path / "out.json"
    done = compare("--predict", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(file.read_text())["cases"]
    assert len(cases) == 3
    for found in cases.values():
        assert found["sides"].keys() == {"fastbp", "NumPy"}
        assert all(row["agrees"] and row["us"] > 0 for row in found["sides"].values())


WRONG_RATE = """
right = peers.TRAINING["NumPy"]
def wrong(case, net, X, Y):
    from dataclasses import replace
    rate = case.optimizer.learning_rate
    return right(replace(case, optimizer=replace(case.optimizer, learning_rate=1.02 * rate)),
                 net, X, Y)
peers.TRAINING["NumPy"] = wrong
"""


@pytest.mark.parametrize("case", "ABCDEG")
def test_who_does_something_else_is_flagged(case):
    """A rate 2 % too large."""
    done = compare("--cases", case, change=WRONG_RATE)
    assert done.returncode == 1
    (line,) = (line for line in done.stdout.splitlines() if "MISMATCH" in line)
    assert line.split()[0] == "NumPy"


def test_who_is_not_here_is_said():
    change = """
def absent(*_):
    import no_such_library
peers.TRAINING["Absent"] = absent
"""
    done = compare("--cases", "E", change=change)
    assert done.returncode == 0, done.stderr
    assert "Absent             left out: No module named 'no_such_library'" in done.stdout


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--cases", "Z"], ["--cases", "A,B,C", "'Z'"]),
        (["--repeats", "0"], ["--repeats", "at least 1", "'0'"]),
        (["--json", "no/such/folder.json"], ["--json", "no/such/folder.json"]),
        (["--plot", "no/such/folder.png"], ["--plot", "no/such/folder.png"]),
        (["--predict", "--plot", "a.png"], ["--plot", "--predict"]),
    ],
)
def test_bad_usage(argv, words):
    done = compare(*argv)
    assert done.returncode == 2 and done.stdout == ""
    assert all(word in done.stderr for word in words), done.stderr
