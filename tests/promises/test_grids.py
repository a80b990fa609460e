"""What is tested by default is a share of every grid, and no kind is left out of it.

What belongs here: the rule in tests/conftest.py. What does not: what the grids test.
"""

import itertools
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GRID = """
    import pytest

    pairs = [("softmax", "mse"), ("softmax", "kl"), ("tanh", "mse"), ("tanh", "kl")]

    @pytest.fixture(params=["baseline", "avx2"])
    def level(request):
        return request.param

    @pytest.mark.grid
    @pytest.mark.parametrize("optimizer", list("abcdefg"))
    @pytest.mark.parametrize(("output", "loss"), pairs)
    def test_grid(level, output, loss, optimizer):
        pass

    @pytest.mark.parametrize("optimizer", list("abcdefg"))
    def test_no_grid(level, optimizer):
        pass
"""


@pytest.fixture
def collected(tmp_path):
    for name in ("pyproject.toml", "tests/conftest.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((ROOT / name).read_text())
    (tmp_path / "tests" / "test_it.py").write_text(textwrap.dedent(GRID))

    def collect(*argv):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "--collect-only", *argv], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"::(test_\w+)\[(.*)\]", done.stdout)

    return collect


def test_every_value_of_each_parameter_stays(collected):
    usual = collected()
    assert sum(name == "test_no_grid" for name, _ in usual) == 14
    kept = [values.split("-") for name, values in usual if name == "test_grid"]
    assert 7 <= len(kept) <= 12 < 56
    for place, values in enumerate([("baseline", "avx2"), ("softmax", "tanh"), ("mse", "kl")]):
        assert {found[place] for found in kept} == set(values)
    assert {found[3] for found in kept} == set("abcdefg")
    assert collected() == usual  # whatever the day


def test_the_rest_is_exhaustive(collected):
    usual, rest, whole = collected(), collected("-m", "exhaustive"), collected("-m", "")
    assert len(whole) == 56 + 14 and sorted(usual + rest) == sorted(whole)
    (one,) = collected("tests/test_it.py::test_grid[baseline-tanh-kl-g]")  # asked for by name
    assert one == ("test_grid", "baseline-tanh-kl-g")
    order = [values for name, values in whole if name == "test_grid"]
    expected = itertools.product(("baseline", "avx2"), ("softmax", "tanh"), ("mse", "kl"))
    assert {values.rpartition("-")[0] for values in order} == {"-".join(e) for e in expected}
