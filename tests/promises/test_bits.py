"""The same seed gives the same bits: at any number of threads, on AVX2 and AVX-512, resumed or not.

What belongs here: runs of bits.py held against each other. What does not: single features of a run
(test_training.py), another build (`python tests/promises/bits.py --against`).
"""

import pytest
from bits import run

from fastbp.kernels import dispatch

CONFIGURATIONS = range(60)
pytestmark = pytest.mark.filterwarnings("ignore")  # what random configurations may meet


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_threads_levels_and_parts_leave_the_same_bits(level, number):
    one = run(number)
    assert run(number, threads=2) == one
    assert run(number, resumed=True) == one


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_levels_with_fused_instructions_leave_the_same_bits(monkeypatch, number):
    if "avx512" not in dispatch.available_levels():
        pytest.skip("this CPU or build has no AVX-512")
    found = set()
    for name in ("avx2", "avx512"):
        monkeypatch.setattr(dispatch, "engine", dispatch.load(name))
        found.add(run(number))
    assert len(found) == 1


def test_configurations_differ():
    assert len({run(number) for number in CONFIGURATIONS}) == len(CONFIGURATIONS)
