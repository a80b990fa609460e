"""The threads of one run: what happens where they cannot be had, or others come and go.

What belongs here: starting and ending threads, forks, the end of the process. What does not: Ctrl-C
and divergence (test_interruption.py), the bits of a step (test_training.py).
"""

import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest
from cases import INTERRUPTING

import fastbp
from fastbp.training import driver, team
from fastbp.training.team import Team

pytestmark = pytest.mark.threaded
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
X = np.random.default_rng(0).standard_normal((640, 8)).astype("f4")
Y = np.arange(640) % 3


def fit(threads, net=None, **options):
    net = net or fastbp.Network([8, 16, 3], seed=0)
    net.fit(X, Y, epochs=8, batch_size=64, seed=0, threads=threads, **options)
    return net.parameters.tobytes()


@pytest.mark.parametrize("n_started", range(5))
@pytest.mark.parametrize(
    "error", [RuntimeError("can't start new thread"), MemoryError(), OSError()]
)
def test_fewer_threads_where_no_more_can_be_started(n_started, error, monkeypatch):
    start, started = threading.Thread.start, []

    def limited(thread):
        if len(started) == n_started:
            raise error
        started.append(thread)
        start(thread)

    expected = fit(1)
    monkeypatch.setattr(threading.Thread, "start", limited)
    assert fit(4) == expected
    assert len(started) == min(n_started, 4)
    assert not any(thread.is_alive() for thread in started)


def test_one_thread_where_the_others_leave_no_memory_for_the_run():
    class Doors:
        def __init__(self, doors):
            self.doors, self.asked = doors, []

        def __getattr__(self, name):
            return getattr(self.doors, name)

        def Trainer(self, *args):
            self.asked.append(args[5])
            if self.asked[-1] > 1:
                raise MemoryError("of many threads")
            return self.doors.Trainer(*args)

    net = fastbp.Network([8, 16, 3], seed=0)
    net._doors = Doors(net._doors)
    assert fit(4, net) == fit(1)
    assert net._doors.asked == [4, 1]


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("nth", [1, 2, 5])
def test_a_thread_that_cannot_begin_lets_the_others_go(failing, nth, monkeypatch):
    """Whatever keeps it from its part of the steps, which are then not made."""
    monkeypatch.setattr(driver, "SLICE_SECONDS", 60.0)  # a loaded machine ends no slice early

    class Doors:
        def __init__(self, doors):
            self.doors, self.calls = doors, 0

        def __getattr__(self, name):
            return getattr(self.doors, name)

        def train(self, trainer, thread, *rest):
            self.calls += thread == failing
            if thread == failing and self.calls == nth:
                raise MemoryError("for a thread's part")
            return self.doors.train(trainer, thread, *rest)

    net = fastbp.Network([8, 16, 3], seed=0)
    net._doors = Doors(net._doors)
    watch = {"callbacks": [lambda event: None]}  # an epoch is a call
    with pytest.raises(MemoryError, match="for a thread's part"):
        fit(3, net, **watch)
    twin = fastbp.Network([8, 16, 3], seed=0)
    if nth > 1:
        twin.fit(X, Y, epochs=nth - 1, batch_size=64, seed=0, threads=1)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


def test_a_team_ends_with_its_run():
    before = threading.active_count()
    assert fit(3) == fit(1)
    assert threading.active_count() == before
    team = Team(3)
    assert team.ask(2, pow, 2, 5).get() == (32, None)
    assert isinstance(team.ask(1, pow, 0, -1).get()[1], ZeroDivisionError)
    threads = team.threads
    del team  # nobody closed it
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive()


# Each in a process of its own; what it prints is compared with one thread's fit.
CHILD = """
    import atexit, faulthandler, os, threading, time
    import numpy as np
    import fastbp

    faulthandler.dump_traceback_later(150, exit=True)
    X = np.random.default_rng(0).standard_normal((640, 8)).astype("f4")
    Y = np.arange(640) % 3

    def fit(threads=2, **options):
        net = fastbp.Network([8, 16, 3], seed=0)
        net.fit(X, Y, **{"epochs": 8, "batch_size": 64, "seed": 0, "threads": threads} | options)
        return net.parameters.tobytes()

    right = fit(threads=1)
"""
SLOW = "callbacks=[lambda event: time.sleep(0.02)]"
ENDINGS = {
    "the main thread ends": f"""
    threading.Thread(target=lambda: print(fit({SLOW}) == right)).start()
    time.sleep(0.05)
    """,
    "the main thread has ended": """
    def wait():
        threading.main_thread().join()
        print(fit() == right)
    threading.Thread(target=wait).start()
    """,
    "the process ends": """
    threading.Thread(target=lambda: fit(epochs=10**8), daemon=True).start()
    time.sleep(0.2)
    print(True)
    """,
    "after that": """
    atexit.register(lambda: print(fit() == right))
    """,
    "a fork goes on": """
    children = []
    def fork(event):
        if event.epoch == 3:
            children.append(os.fork())
    same = fit(callbacks=[fork]) == right
    if children == [0]:
        os._exit(0 if same and threading.active_count() == 1 else 1)
    print(same and os.waitpid(children[0], 0)[1] == 0)
    """,
    "a fork ends the run": """
    children = []
    def fork(event):
        if event.epoch == 3:
            children.append(os.fork())
            if children == [0]:
                raise SystemExit
    try:
        same = fit(callbacks=[fork]) == right
    except SystemExit:
        os._exit(7)
    print(same and os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7)
    """,
    "a fork diverges": """
    children = []
    def fork(event):
        if event.epoch == 3:
            children.append(os.fork())
            if children == [0]:
                event.network.parameters[:] = 3e38
    try:
        same = fit(callbacks=[fork]) == right
    except fastbp.DivergenceError:
        os._exit(7)
    print(same and os.waitstatus_to_exitcode(os.waitpid(children[0], 0)[1]) == 7)
    """,
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_no_end_of_others_stops_a_run(ending):
    if "fork" in ending and not hasattr(os, "fork"):
        pytest.skip("forks of POSIX")
    script = textwrap.dedent(CHILD) + textwrap.dedent(ENDINGS[ending])
    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", script],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=180,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (0, "True\n"), done.stderr


# the watchdog of conftest.py

HANGING = """
    import threading
    import pytest

    @pytest.mark.watchdog(1)
    def test_that_hangs():
        lock = threading.Lock()
        lock.acquire()
        lock.acquire()

    def test_that_does_not():
        pass
"""


@pytest.mark.parametrize("workers", [[], ["-n", "1"]])
def test_a_test_that_hangs_is_ended_and_its_stacks_are_told(workers, tmp_path):
    if workers:
        pytest.importorskip("xdist")
    (tmp_path / "conftest.py").write_text((Path(__file__).parents[1] / "conftest.py").read_text())
    (tmp_path / "test_it.py").write_text(textwrap.dedent(HANGING))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *workers, tmp_path],
        capture_output=True, text=True, env=ENVIRONMENT | {"FASTBP_PATIENCE": "1"}, timeout=180,
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1
    assert "in test_that_hangs" in done.stderr
    if workers:  # the worker's end is told with the test's name, and another goes on
        assert "test_that_hangs" in done.stdout and "1 passed" in done.stdout


def test_a_thread_that_dies_at_birth_is_not_waited_for(monkeypatch):
    """Memory may be wanting between the system's start of a thread and its first line."""
    monkeypatch.setattr(team, "BEGIN_SECONDS", 0.2)
    begin, started = threading._start_new_thread, []

    def stillborn(function, arguments):
        started.append(function)
        return begin(function, arguments) if len(started) == 1 else begin(int, ())

    monkeypatch.setattr(threading, "_start_new_thread", stillborn)
    few = team.Team(3)
    assert few.size == 1 and len(started) == 2
    assert few.ask(0, sum, [1, 2]).get() == (3, None)
    few.close()


STARTING = """
    import os, threading
    from fastbp.training import team

    started = []

    def starts(last):  # two threads, interrupted in threading's own lines too
        files = {team.__file__, threading.__file__}
        came, lines = interrupted_after(last, files, lambda: started.append(team.Team(2)))
        while started:
            started.pop().close()
        return came, lines

    _, total = starts(None)
    lost = [last for last in range(1, total + 1) if not starts(last)[0]]
    print(total, lost, flush=True)
    os._exit(0)  # what threading has of threads that were interrupted is not in order
"""


def test_ctrl_c_while_threads_are_started_is_not_lost():
    """It is no want of threads."""
    command = [sys.executable, "-c", INTERRUPTING + textwrap.dedent(STARTING)]
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=120)
    total, _, lost = done.stdout.strip().partition(" ")
    assert int(total) > 30 and lost == "[]", (done.stdout, done.stderr)
