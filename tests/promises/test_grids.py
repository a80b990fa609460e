"""What is tested by default is a share of every grid, and no kind is left out of it.

What belongs here: the rule in tests/conftest.py. What does not: what the grids test.
"""

import functools
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

    @pytest.mark.grid(together=1)
    @pytest.mark.parametrize("optimizer", list("abcdefg"))
    def test_thin_grid(level, optimizer):
        pass

    @pytest.mark.parametrize("optimizer", list("abcdefg"))
    def test_no_grid(level, optimizer):
        pass
"""
VALUES = [("baseline", "avx2"), ("softmax", "tanh"), ("mse", "kl"), tuple("abcdefg")]


@pytest.fixture(scope="module")
def collected(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grids")
    for name in ("pyproject.toml", "tests/conftest.py"):
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text((ROOT / name).read_text())
    (folder / "tests" / "test_it.py").write_text(textwrap.dedent(GRID))

    @functools.cache
    def collect(*argv):
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        done = subprocess.run(
            [*command, "--collect-only", *argv], capture_output=True, text=True, cwd=folder
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return re.findall(r"::(test_\w+)\[(.*)\]", done.stdout)

    return collect


def of(name, collected):
    return [tuple(values.split("-")) for test, values in collected if test == name]


def test_every_two_values_meet(collected):
    usual = collected()
    kept = of("test_grid", usual)
    for places in itertools.combinations(range(4), 2):
        met = {tuple(values[place] for place in places) for values in kept}
        assert met == set(itertools.product(*(VALUES[place] for place in places)))
    assert 14 <= len(kept) <= 28 < 56
    thin = of("test_thin_grid", usual)
    assert 7 <= len(thin) <= 9 < 14
    assert {level for level, _ in thin} == set(VALUES[0])
    assert {optimizer for _, optimizer in thin} == set(VALUES[3])
    assert len(of("test_no_grid", usual)) == 14


def test_the_rest_is_exhaustive(collected):
    usual, rest, whole = collected(), collected("-m", "exhaustive"), collected("-m", "")
    assert len(whole) == 56 + 14 + 14 and sorted(usual + rest) == sorted(whole)
    name = rest[0][1]  # asked for, it is run
    assert collected(f"tests/test_it.py::test_grid[{name}]") == [("test_grid", name)]
