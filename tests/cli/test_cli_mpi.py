"""``fastbp train --mpi``: one network by all processes of mpiexec, of which the first one speaks.

What belongs here: processes that mpiexec starts, and what of them is seen. What does not: what such
a fit computes (tests/training/test_mpi.py).
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_cases import COMMAND, ENVIRONMENT, elsewhere, flowers, run, strict, write_csv
from numpy.testing import assert_allclose

import fastbp

pytest.importorskip("mpi4py")

__all__ = ["elsewhere", "run"]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]))  # fmt: skip
needs_mpiexec = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
YIELDING = {"MPIR_CVAR_ENABLE_HEAVY_YIELD": "1", "MPIR_CVAR_POLLS_BEFORE_YIELD": "1"}


def arrays(n):
    columns = flowers(n)
    Y = np.unique(columns.pop("kind"), return_inverse=True)[1]
    return np.column_stack(list(columns.values())), Y


def by_ranks(size, *argv, first=None):
    """Code, stdout and stderr of so many processes; `first`: what the first one runs instead."""
    one = ["-n", str(size), *COMMAND, *argv]
    program = [MPIEXEC, *one] if first is None else [MPIEXEC, *first, ":", *one]
    process = subprocess.Popen(
        program, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=ENVIRONMENT | YIELDING, start_new_session=True,
    )  # fmt: skip
    try:
        out, err = process.communicate(timeout=120)
    finally:
        with contextlib.suppress(ProcessLookupError):
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)
    return process.returncode, out, err


@needs_mpiexec
def test_ranks_train_what_one_process_trains(run, tmp_path):
    X, Y = arrays(300)
    np.savez("data.npz", X=X, y=Y)
    told = ["train", "data.npz", "--hidden", "9", "--epochs", "3", "--batch-size", "32", "--json"]
    told += ["--dtype", "float64", "--seed", "1", "--no-check"]
    code, out, err = by_ranks(2, *told, "--mpi", "--save", "two.safetensors")
    assert code == 0, err
    one_code, one_out, _ = run(*told, "--save", "one.safetensors")
    assert one_code == 0
    two, one = fastbp.load("two.safetensors"), fastbp.load("one.safetensors")
    assert_allclose(two.parameters, one.parameters, rtol=1e-10, atol=1e-12)
    assert two.metadata == one.metadata
    found, expected = strict(out), strict(one_out)
    assert found["test"] == expected["test"]
    epochs = [document["training"]["epochs"] for document in (found, expected)]
    for of_two, of_one in zip(*epochs, strict=True):
        assert_allclose(of_two["loss"], of_one["loss"], rtol=1e-10)
        assert of_two["validation"]["accuracy"] == of_one["validation"]["accuracy"]
    lines = [line for line in err.splitlines() if line.startswith("epoch")]
    assert len(lines) == 3  # of one rank alone
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "data.npz", "one.safetensors", "two.safetensors"
    ]  # fmt: skip


@needs_mpiexec
def test_a_table_is_one_network(run):
    write_csv(Path("table.csv"), flowers(120))
    told = ["train", "table.csv", "--target", "kind", "--epochs", "2", "--mpi", "--no-check"]
    code, out, err = by_ranks(2, *told)
    assert code == 0, err
    assert out.count("epoch 2/2") == 1
    assert out.count("test accuracy") == 1
    code, out, err = run(*told, "--preset", "best")
    assert code == 2
    assert "--mpi is for one network, --preset mlp; found --preset best" in err


@needs_mpiexec
def test_what_is_refused_is_told_once():
    code, out, err = by_ranks(2, "train", "nowhere.npz", "--mpi")
    assert code == 2
    assert out == ""
    assert err.count("fastbp: error") == 1
    assert "nowhere.npz" in err


@needs_mpiexec
def test_a_file_that_one_rank_lacks_ends_all(tmp_path):
    """The first rank has it, and is told who has not."""
    X, Y = arrays(50)
    (tmp_path / "here").mkdir()
    np.savez("here/data.npz", X=X, y=Y)
    told = ["train", "data.npz", "--mpi", "--epochs", "1"]
    first = ["-n", "1", "-wdir", str(tmp_path / "here"), *COMMAND, *told]
    code, _, err = by_ranks(1, *told, first=first)
    assert code == 2
    assert "fastbp: error: rank 1 failed: FileNotFoundError" in err


def test_one_process_alone_is_an_ordinary_run(run):
    X, Y = arrays(60)
    np.savez("data.npz", X=X, y=Y)
    told = ["train", "data.npz", "--hidden", "5", "--epochs", "1", "--no-check", "--threads", "1"]
    for name, more in (("a", ()), ("b", ("--mpi",))):
        assert run(*told, *more, "--save", f"{name}.safetensors")[0] == 0
    a, b = fastbp.load("a.safetensors"), fastbp.load("b.safetensors")
    assert a.parameters.tobytes() == b.parameters.tobytes()
