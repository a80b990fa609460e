"""Rows on several ranks, without any: whose are whose, and what tells all of them from others.

What belongs here: what can be asked without MPI. What does not: runs (test_mpi.py).
"""

import sys

import numpy as np
import pytest

import fastbp
from fastbp.files import checkpoint
from fastbp.training.distributed import numbers_of

rng = np.random.default_rng(0)


class Two:
    """What has a communicator's methods, and is the first of two."""

    def Get_rank(self):
        return 0

    def Get_size(self):
        return 2

    Allreduce = Bcast = allgather = bcast = None


for name in ("Allreduce", "Bcast", "allgather", "bcast"):
    setattr(Two, name, lambda *args: pytest.fail("asked of others"))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 17, 33])
@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_rows_of_slices_lie_as_in_one_process(n, size):
    counts = [len(range(rank, n, size)) for rank in range(size)]
    for rank in range(size):
        assert numbers_of(counts, rank).tolist() == list(range(rank, n, size))


@pytest.mark.parametrize("counts", [[3, 1], [0, 5], [1, 0, 4], [2, 2, 7, 0, 1]])
def test_every_row_has_a_number(counts):
    parts = [numbers_of(counts, rank) for rank in range(len(counts))]
    for part, count in zip(parts, counts, strict=True):
        assert len(part) == count
        assert (np.diff(part) > 0).all()
    assert sorted(np.concatenate(parts).tolist()) == list(range(sum(counts)))


@pytest.mark.parametrize("size", [1, 2, 3, 4])
@pytest.mark.parametrize("n", [1, 2, 9, 33])
@pytest.mark.parametrize("most", [64, 1 << 26])  # bytes of an array: some rows, or all
def test_the_check_sum_of_rows_does_not_depend_on_where_they_lie(size, n, most, monkeypatch):
    monkeypatch.setattr(checkpoint, "_FINGERPRINT_BYTES", most)
    arrays = rng.standard_normal((n, 5)).astype("f4"), None, rng.integers(0, 3, n), rng.random(n)
    owner = rng.integers(0, size, n)
    whole = changed = None
    for rank in range(size):
        numbers = np.flatnonzero(owner == rank)
        rows = numbers if numbers.size else [0]  # a row that nobody asks for
        own = [None if array is None else array[rows] for array in arrays]
        part, nothing = checkpoint.part_of_fingerprint(own, numbers, n)
        whole = (nothing if whole is None else whole) ^ part ^ nothing
        if 0 in numbers:
            own[0][0, 0] += 1
        part, _ = checkpoint.part_of_fingerprint(own, numbers, n)
        changed = (nothing if changed is None else changed) ^ part ^ nothing
    assert whole == checkpoint.fingerprint(arrays)
    assert changed != whole


def test_what_is_needed_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "mpi4py", None)
    net = fastbp.Network([2, 2])
    with pytest.raises(ImportError, match=r"several ranks need mpi4py.*mpi"):
        net.fit([[0.0, 1.0]], [0], comm=Two())


def test_a_group_between_two_is_refused():
    class Between(Two):
        def Is_inter(self):
            return True

    with pytest.raises(ValueError, match="comm: expected an intracommunicator"):
        fastbp.Network([2, 2]).fit([[0.0, 1.0]], [0], comm=Between())
