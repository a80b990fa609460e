"""One network on several ranks: what one process makes, to rounding, and an end to what fails.

What belongs here: starts of `mpiexec`, each of which runs many cases (mpi_runs.py), and what they
gave against one process. What does not: the command line (tests/cli/).
"""

import contextlib
import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastbp

pytest.importorskip("mpi4py")
pytest.importorskip("scipy")

import mpi_runs

FOLDER, ROOT = Path(__file__).parent, Path(fastbp.__file__).parents[1]
MPIEXEC = shutil.which("mpiexec", path=os.pathsep.join(
    [str(Path(sys.executable).parent), os.environ.get("PATH", "")]))  # fmt: skip
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec")
# ranks that wait for each other give their core away: there are fewer cores than ranks
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(FOLDER)]),
    "MPIR_CVAR_ENABLE_HEAVY_YIELD": "1",
    "MPIR_CVAR_POLLS_BEFORE_YIELD": "1",
}
SECONDS = 90


def started(size, out, *names):
    """A process of `mpiexec`, of which `ended` makes sure that nothing is left."""
    program = [MPIEXEC, "-n", str(size), sys.executable, str(FOLDER / "mpi_runs.py"), str(out)]
    return subprocess.Popen(
        [*program, *names],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@contextlib.contextmanager
def ranks(size, out, *names):
    process = started(size, out, *names)
    try:
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=60)


def results(size, out, *names, folder=None):
    """What each rank found, by name."""
    folder = Path(out) if folder is None else folder
    start(size, out, *names)
    return found_in(folder, size)


def found_in(folder, size):
    files = [folder / f"{size}.{rank}.pickle" for rank in range(size)]
    return [pickle.loads(file.read_bytes()) for file in files]


def start(size, out, *names):
    with ranks(size, out, *names) as process:
        try:
            told, _ = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise AssertionError(f"hangs: {error.output}") from None
        assert process.returncode == 0, told


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Of all cases on so many ranks, in one start, also where several processes run the tests."""
    fcntl, folder = pytest.importorskip("fcntl"), tmp_path_factory.getbasetemp()
    folder = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder

    @cache
    def of(size):
        with open(folder / f"ranks{size}", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                return found_in(folder, size)
            failed = folder / f"{size}.failed"
            assert not failed.exists(), failed.read_text()  # once is enough
            try:
                return results(size, folder, *mpi_runs.CASES)
            except AssertionError as error:
                failed.write_text(str(error))
                raise

    return of


@cache
def by_one(name):
    return mpi_runs.EQUAL[name](None)


def assert_same(parts, of=lambda key: True):
    """All ranks have the same bits."""
    for key, value in parts[0].items():
        for other in parts[1:]:
            if of(key):
                assert np.asarray(value).tobytes() == np.asarray(other[key]).tobytes(), key


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", mpi_runs.EQUAL)
def test_ranks_make_what_one_process_makes(name, size, found):
    parts = [of_rank[name] for of_rank in found(size)]
    assert_same(parts)
    expected = by_one(name)
    assert parts[0].keys() == expected.keys()
    is_single = expected["parameters"].dtype == np.float32
    for key, value in expected.items():
        rtol, atol = (1e-5, 1e-6) if is_single else (1e-12, 1e-14)
        if "lbfgs" in name:  # whose line searches magnify the last bits
            rtol, atol = 1e-8, 1e-10
        assert_allclose(parts[0][key], value, rtol=rtol, atol=atol, err_msg=key)


# where one fails


def test_there_is_something_to_make():
    """Cases would be equal too if nothing were trained."""
    for name in mpi_runs.EQUAL:
        if name not in ("all frozen",):
            found = by_one(name)
            make = mpi_runs.regressor if name.startswith("regression") else mpi_runs.classifier
            start = make().parameters
            if start.shape == found["parameters"].shape:
                assert not np.array_equal(start, found["parameters"]), name


EXPECTED = {  # on the rank that fails, what the others are told, and whether steps were made
    "bad data": ("ValueError", "ValueError: X: expected finite", False),
    "bad labels": ("ValueError", "ValueError: Y: expected", False),
    "bad option": ("ValueError", "ValueError: batch_size: expected", False),
    "first fails": ("RuntimeError", "RuntimeError: no", True),
    "callback": ("RuntimeError", "RuntimeError: no", True),
    "callback of a step": ("MemoryError", "MemoryError", True),
    "callback exits": ("SystemExit", "SystemExit: 3", True),
    "callback while others look": ("RuntimeError", "RuntimeError: no", True),
    "metric": ("TypeError", "TypeError: metrics: expected a number", True),
    "order": ("RuntimeError", "RuntimeError: no order", True),
    "schedule": ("ZeroDivisionError", "ZeroDivisionError", True),
    "no rate": ("TypeError", "TypeError: schedule: rate of epoch 2: expected a number", True),
    "memory of a run": ("MemoryError", "MemoryError: none left", False),
    "memory of an epoch": ("MemoryError", "MemoryError: none left", False),
    "lbfgs": ("RuntimeError", "RuntimeError: no", True),
    "steps between means": ("ValueError", "ValueError: callbacks: expected none", False),
}
EVERYWHERE = {  # what all raise
    "other option": (
        "ValueError",
        "l2: expected the same on every rank; got 0.0 on rank 0 and",
    ),
    "other optimizer": ("ValueError", "optimizer: expected the same on every rank"),
    "other network": ("ValueError", "sizes: expected the same on every rank; got [8, 16, 3] on"),
    "other type": ("ValueError", "dtype: expected the same on every rank"),
    "a file on one": ("ValueError", "checkpoint: expected the same on every rank; got None on"),
    "other rows": ("ValueError", "X: expected the same on every rank with shard; got 101 rows"),
    "other targets": ("TypeError", "Y: expected one kind on every rank; got class indices on"),
    "own loss": ("ValueError", "loss: expected none of your own with comm"),
    "sparse file": ("TypeError", "checkpoint: expected dense X where several ranks train"),
    "chunks": ("TypeError", "Y: expected targets of X with comm"),
    "other order": ("ValueError", "shuffle: expected an order of all rows, the same on every"),
    "written": ("ValueError", "callbacks: expected parameters to be written that are the same"),
    "callback interrupts": ("KeyboardInterrupt", ""),
    "other schedule": ("ValueError", "schedule: expected a learning_rate the same on every rank"),
    "watched seconds": ("ValueError", "monitor: expected what is the same on every rank"),
}


def test_all_that_fails_is_expected():
    assert mpi_runs.ODD.keys() == EXPECTED.keys() | EVERYWHERE.keys()


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", EXPECTED)
def test_what_one_rank_raises_ends_all(name, size, found):
    parts = [of_rank[f"odd {name}"] for of_rank in found(size)]
    kind, words, is_trained = EXPECTED[name]
    failed = 0 if name == "first fails" else size - 1
    for rank, told in enumerate(parts):
        assert told["changed"] == is_trained
        if rank == failed:
            assert told["error"] == kind
        else:
            assert told["error"] == "RankError"
            assert told["rank"] == failed
            assert f"rank {failed} failed: {words}" in told["words"]
    if is_trained:  # all have the parameters after the last whole step
        assert_same(parts, lambda key: key == "parameters")


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", EVERYWHERE)
def test_ranks_that_differ_are_refused(name, size, found):
    kind, words = EVERYWHERE[name]
    for of_rank in found(size):
        told = of_rank[f"odd {name}"]
        assert told["error"] == kind, told
        assert words in told["words"]


@pytest.mark.parametrize("size", [2, 3])
def test_divergence_names_the_rank(size, found):
    parts = [of_rank["diverges"] for of_rank in found(size)]
    for told in parts:
        assert told["error"] == "DivergenceError"
        assert told["rank"] == size - 1
        assert f"rank {size - 1}" in told["words"]
        assert told["step"] == 2
        assert np.isfinite(told["parameters"]).all()
    assert_same(parts)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", ["explodes", "local, diverges"])
def test_all_diverge_at_the_same_step(name, size, found):
    parts = [of_rank[name] for of_rank in found(size)]
    assert parts[0]["error"] == "DivergenceError"
    assert np.isfinite(parts[0]["parameters"]).all()
    assert_same(parts)


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize(
    "name", ["interrupted", "interrupted everywhere", "interrupted between means"]
)
def test_an_interrupt_ends_all_after_the_same_step(name, size, found):
    parts = [of_rank[name] for of_rank in found(size)]
    assert {told["error"] for told in parts} == {"KeyboardInterrupt"}
    assert_same(parts, lambda key: key == "parameters")


@pytest.mark.parametrize("size", [2, 3])
@pytest.mark.parametrize("name", ["out of time", "stopped", "stopped at a step"])
def test_one_rank_ends_the_run_for_all(name, size, found):
    parts = [of_rank[name] for of_rank in found(size)]
    assert_same(parts)
    if name == "stopped":
        assert len(parts[0]["loss"]) == parts[0]["seconds"] == 2
    if name == "stopped at a step":
        assert parts[0]["step"] == 5


@pytest.mark.parametrize("size", [2, 3])
def test_means_of_local_steps(size, found):
    """Deterministic, the same on every rank, and something is learnt."""
    every = found(size)
    for name in ("local", "local, all", "local, few", "local, goes on"):
        parts = [of_rank[name] for of_rank in every]
        assert_same(parts)
        assert np.isfinite(parts[0]["parameters"]).all()
        assert parts[0]["loss"][-1] < parts[0]["loss"][0]
    for name in ("local again", "local, goes on"):
        for key, value in every[0]["local"].items():
            assert np.array_equal(value, every[0][name][key]), (name, key)
    net = mpi_runs.classifier()
    expected = mpi_runs.fitted(None, net, mpi_runs.X, mpi_runs.LABELS, batch_size=12)
    own = every[0]["local"]
    assert_allclose(own["loss"], expected["loss"], rtol=0.2)
    assert not np.array_equal(own["parameters"], expected["parameters"])


def test_one_rank_alone_is_an_ordinary_fit(found):
    net = mpi_runs.classifier()
    given = {"epochs": 2, "batch_size": 16, "seed": 3, "threads": 1}
    net.fit(mpi_runs.X, mpi_runs.LABELS, **given)
    for of_rank in found(2):
        assert of_rank["alone"]["parameters"].tobytes() == net.parameters.tobytes()


@pytest.mark.parametrize("size", [2, 3])
def test_ranks_that_part_do_not_wait_for_each_other(size, found):
    for of_rank in found(size):
        assert of_rank["parts"]["error"] == "RuntimeError"
        assert "ranks went different ways" in of_rank["parts"]["words"]


def test_an_event_has_the_outputs_of_own_rows(found):
    assert all(of_rank["outputs"]["same"] for of_rank in found(2))


# files and processes that end


def test_a_checkpoint_goes_on_by_other_ranks(tmp_path):
    """Begun by two, gone on with by three, by one and by two; against a run that never stopped."""
    expected = mpi_runs.checkpointed(tmp_path / "whole", None, True)
    path = tmp_path / "run"
    name = "stopped in a file"
    parts = [of_rank[name] for of_rank in results(2, path, name, folder=tmp_path)]
    assert_same(parts)
    assert parts[0]["error"] == "KeyboardInterrupt"
    copies = [tmp_path / str(i) / "run" for i in range(3)]
    for copy in copies:
        copy.parent.mkdir()
        shutil.copy(path, copy)
    ends = [mpi_runs.checkpointed(copies[0], None, True)]
    name = "ended from a file"
    for size, copy in zip((3, 2), copies[1:], strict=True):
        parts = [of_rank[name] for of_rank in results(size, copy, name, folder=copy.parent)]
        assert_same(parts)
        ends.append(parts[0])
    for end in ends:
        assert end.keys() == expected.keys()
        for key, value in expected.items():
            assert_allclose(end[key], value, rtol=1e-12, atol=1e-14, err_msg=key)


def test_the_job_ends_where_a_rank_is_killed(tmp_path):
    out = tmp_path / "pid"
    with ranks(2, out, "waits") as process:
        files = [Path(f"{out}.{rank}") for rank in range(2)]
        deadline = time.monotonic() + SECONDS
        while not all(file.exists() and file.read_text() for file in files):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        pids = [int(file.read_text()) for file in files]
        os.kill(pids[1], signal.SIGKILL)
        assert process.wait(timeout=30) != 0
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


# without mpiexec


@pytest.mark.parametrize("comm", [3, "world", object()])
def test_what_is_no_communicator(comm):
    with pytest.raises(TypeError, match="comm: expected a communicator, as mpi4py's"):
        mpi_runs.classifier().fit(mpi_runs.X, mpi_runs.LABELS, comm=comm)


@pytest.mark.parametrize("options", [{"shard": True}, {"sync_every": 3}])
def test_what_belongs_to_a_communicator(options):
    with pytest.raises(ValueError, match=f"{next(iter(options))}: expected a communicator"):
        mpi_runs.classifier().fit(mpi_runs.X, mpi_runs.LABELS, **options)


def test_many_networks_take_none():
    with pytest.raises(TypeError, match="unexpected argument 'comm'"):
        fastbp.fit_many([mpi_runs.classifier()], mpi_runs.X, mpi_runs.LABELS, comm=None)
