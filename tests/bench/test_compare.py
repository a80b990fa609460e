"""bench/compare.py, NumPy alone or another build beside fastbp: agreement, reports, refusals."""

import importlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

BENCH = Path(__file__).parents[2] / "bench"
ROOT = str(Path(fastbp.__file__).parents[1])
ENVIRONMENT = os.environ | {"PYTHONPATH": os.pathsep.join([str(BENCH), ROOT])}
# little time, and no library that this machine may or may not have
QUICK = """
import sys
import builds
import peers
from fastbp import benchmark
import compare

benchmark.ROUND_SECONDS = builds.ROUND_SECONDS = 1e-3
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


@pytest.mark.grid(together=1)
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


def test_who_does_something_else_is_flagged():
    """A rate 2 % too large, in every case but F, which takes seconds."""
    done = compare("--cases", "A,B,C,D,E,G", change=WRONG_RATE)
    assert done.returncode == 1
    lines = [line for line in done.stdout.splitlines() if "MISMATCH" in line]
    assert [line.split()[0] for line in lines] == ["NumPy"] * 6


def test_who_is_not_here_is_said():
    change = """
def absent(*_):
    import no_such_library
peers.TRAINING["Absent"] = absent
"""
    done = compare("--cases", "E", change=change)
    assert done.returncode == 0, done.stderr
    assert "Absent             left out: No module named 'no_such_library'" in done.stdout


# another build


def build(folder, change):
    """A virtual environment, as it seems, whose fastbp is ours but for a change."""
    code = f"import sys, runpy; sys.path.insert(0, {ROOT!r})\n{change}\n"
    code += "runpy.run_path(sys.argv[1], run_name='__main__')"
    (folder / "changed.py").write_text(code)
    python = folder / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {folder}/changed.py "$@"\n')
    python.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_build_against_itself(tmp_path, dtype):
    file = tmp_path / "out.json"
    done = compare(
        *("--against", ROOT, "--cases", "A,G", "--dtype", dtype, "--repeats", "5"),
        *("--json", str(file)),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(file.read_text())["cases"]
    calls = ["small fit", "one row of C", "one row of B", "images, batch 10", "images, batch 64"]
    assert list(cases) == ["A", "G", *calls]
    for name, found in cases.items():
        us = found["rounds"]
        assert us.keys() == {"ours", "other", "again"}
        assert all(len(rounds) == 5 and min(rounds) > 0 for rounds in us.values())
        ratios = [a / b for a, b in zip(us["ours"], us["other"], strict=True)]
        assert found["ratio"] == pytest.approx(statistics.median(ratios))
        first, third = found["noise_quartiles"]
        assert first <= found["noise"] <= third
        assert found["differs"] == 0 and found["agrees"]
        (line,) = (line for line in done.stdout.splitlines() if line.startswith(name + "  "))
        assert line.endswith("same bits") and f"{found['ratio']:.3f}" in line
    assert done.stdout.count(f"in {ROOT}\n") == 2


def test_a_slower_build_is_seen(tmp_path):
    change = """
import time, fastbp
predict = fastbp.Network.predict
fastbp.Network.predict = lambda *arguments: time.sleep(1e-3) or predict(*arguments)
"""
    file = tmp_path / "out.json"
    other = build(tmp_path, change)
    done = compare("--against", other, "--cases", "E", "--repeats", "5", "--json", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    cases = json.loads(file.read_text())["cases"]
    for name in ("one row of C", "one row of B"):
        assert cases[name]["ratio"] < 0.5 * cases[name]["noise"] and cases[name]["differs"] == 0


def test_a_build_of_other_bits_or_other_updates_is_flagged(tmp_path):
    change = """
import fastbp
SGD = fastbp.SGD
fastbp.SGD = lambda rate: SGD({rate})
"""
    for rate, code, words in (
        ("1.0001 * rate", 0, "   differs by "), ("1.02 * rate", 1, "  <-- MISMATCH"),
    ):  # fmt: skip
        folder = tmp_path / str(code)
        folder.mkdir()
        other = build(folder, change.format(rate=rate))
        done = compare("--against", other, "--cases", "A")
        assert done.returncode == code, done.stdout + done.stderr
        (line,) = (line for line in done.stdout.splitlines() if line.startswith("A "))
        assert words in line


def test_a_build_that_does_not_start_is_said(tmp_path):
    done = compare("--against", build(tmp_path, "raise SystemExit('no fastbp here')"))
    assert done.returncode == 2
    assert "no fastbp here" in done.stderr and f"--against: {tmp_path}" in done.stderr


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--against", "no/such/build"], ["--against", "no/such/build", "virtual environment"]),
        (["--against", ROOT, "--plot", "a.png"], ["--plot", "--against"]),
        (["--against", ROOT, "--predict"], ["--predict", "--against"]),
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


def test_images_have_the_zeros_that_they_are_said_to_have(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    X = importlib.import_module("builds").images(1280)
    assert X.min() == 0 and X.max() == 1
    for rows, share in ((1, 0.19), (10, 0.49), (32, 0.58), (64, 0.63), (128, 0.67)):
        active = [(X[i : i + rows] != 0).any(axis=0).mean() for i in range(0, 1280, rows)]
        assert sum(active) / len(active) == pytest.approx(share, abs=0.01)
