"""What the tests of the command line share: running it, and data that can be learnt."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.cli import main


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Run in an empty folder, so that names of files can be short."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys):
    """Run a command in this process; return (exit code, stdout, stderr)."""

    def run(*argv):
        code = main([str(argument) for argument in argv])
        out, err = capsys.readouterr()
        return code, out, err

    return run


MLP = ("--preset", "mlp")  # one network, where a table's default would be several

# Processes started elsewhere find the package that is tested, installed or not.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
COMMAND = [sys.executable, "-m", "fastbp"]


def command(*argv):
    return subprocess.run([*COMMAND, *argv], capture_output=True, text=True, env=ENVIRONMENT)


def strict(text):
    def refuse(constant):
        raise AssertionError(f"not JSON: {constant}")

    return json.loads(text, parse_constant=refuse)


def write_csv(path, columns):
    rows = zip(*columns.values(), strict=True)
    path.write_text("\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]))


def flowers(n=300, seed=0):
    """Two features of very different size, one constant, three kinds that they tell apart."""
    rng = np.random.default_rng(seed)
    kind = rng.integers(0, 3, n)
    return {
        "petal": rng.normal(500 + 100 * kind, 20).round(3),
        "colour": rng.normal(-0.001 * kind, 0.0003).round(7),
        "garden": np.full(n, 7),
        "kind": np.array(["aster", "lily", "rose"])[kind],
    }


def houses(n=400, seed=0):
    rng = np.random.default_rng(seed)
    area, age = rng.uniform(20, 200, n), rng.integers(0, 100, n)
    price = 1000 * area + 5000 * np.sin(age / 20) + 50_000 + rng.normal(0, 500, n)
    return {"area": area.round(2), "price": price.round(2), "age": age}
