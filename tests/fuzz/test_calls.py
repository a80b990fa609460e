"""Random calls of everything public: a deterministic share of what calls.py makes in long runs.

What does not belong here: the calls and the laws (calls.py, operations.py, values.py).
"""

import resource

import hypothesis
import pytest
from calls import CALLS, limit_memory, run, session
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from operations import OPERATIONS, Session
from values import Draws

FAILED = {  # what calls.py once found: seed and case (of the operations and values of then)
    "callbacks that are an array": (13, 3054),
    "callbacks that are a frame": (13, 4066),
    "a resumed run and its copy": (21, 656),
    "steps lost beside a large weight": (21, 3121),
    "layer sizes without a dimension": (32, 11907),
}


pytestmark = [pytest.mark.threaded, pytest.mark.watchdog(120)]


@pytest.fixture(autouse=True)
def _apart(tmp_path, monkeypatch):
    """In a folder of its own, for files of bad names, and with little memory."""
    monkeypatch.chdir(tmp_path)
    before = limit_memory()
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("seed", range(4))
def test_random_calls(seed, tmp_path):
    for case in range(40):
        calls, fault = session(seed, case, tmp_path)
        assert fault is None, f"seed {seed} case {case}: {fault[1][-1]}: {fault[0]}"
        assert calls == CALLS


@pytest.mark.parametrize("name", FAILED)
def test_what_failed_once(name, tmp_path):
    _, fault = session(*FAILED[name], tmp_path)
    assert fault is None, f"{fault[1][-1]}: {fault[0]}"


class Chosen(Draws):
    """Choices of hypothesis, which makes them smaller where a law does not hold."""

    def __init__(self, data):
        self.data = data

    def below(self, n):
        return self.data.draw(st.integers(0, n - 1))

    def share(self):
        return self.below(1 << 20) / (1 << 20)

    def chance(self, p):
        return self.share() < p


def machine(folder):
    """Every operation a rule."""

    class Calls(RuleBasedStateMachine):
        @initialize(data=st.data())
        def start(self, data):
            for path in folder.iterdir():
                path.unlink()
            self.session = Session(Chosen(data), folder)

    for number, operation in enumerate(OPERATIONS):

        def made(self, data, operation=operation):
            run(self.session, operation, Chosen(data))

        setattr(Calls, f"{operation.__name__}_{number}", rule(data=st.data())(made))
    return Calls


def test_stateful(tmp_path):
    settings = hypothesis.settings(
        max_examples=25, stateful_step_count=12, deadline=None, derandomize=True, database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )  # fmt: skip
    run_state_machine_as_test(machine(tmp_path), settings=settings)
