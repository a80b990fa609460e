"""A rank's share of a step, on every CPU level: two trainers in two threads, summed by a function.

What belongs here: what `take_part` and `reduce_by` ask of the engine. What does not: runs by MPI
(tests/training/test_mpi.py).
"""

import threading

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastbp

pytestmark = pytest.mark.sanitizers
N, BATCH, STEPS = 45, 12, 4  # the last batch has 9
NUMBERS = {"learning_rate": 0.1, "l2": 0.01, "l1": 0.0}
NUMBERS |= {"beta1": 0.9, "beta2": 0.99, "epsilon": 1e-2}


def data(dtype):
    rng = np.random.default_rng(0)
    X, labels = rng.standard_normal((N, 7)).astype(dtype), rng.integers(0, 3, N)
    return X, labels, rng.random(N).astype(dtype)


def trainer_of(net, n, batch_size, dropped, **share):
    doors = net._doors
    masks = doors.Masks([0.0, 0.3], 5, 0) if dropped else None
    given = net._compiled, "adam", NUMBERS, n, batch_size, 1, False, 0, masks
    trainer = doors.Trainer(*given, **share)
    slots = np.zeros((trainer.n_slots, net.n_parameters), net.dtype)
    doors.load_state(trainer, net.parameters, slots)
    return trainer, slots


def parameters_of(net, trainer, slots):
    found = np.empty_like(net.parameters)
    net._doors.store_state(trainer, found, slots)
    return found


def train(net, trainer, X, labels, weight, order, n_steps=STEPS):
    losses, clock = np.zeros(1), np.zeros(1)
    steps = net._doors.train(
        trainer, 0, n_steps, 1, X, None, labels, weight, order, 0, losses, clock
    )
    return steps, losses[0]


class Sum:
    """What two threads reduce by."""

    def __init__(self, ends=()):
        self.barrier, self.buffers = threading.Barrier(2, timeout=60), {}
        self.ends, self.seen = ends, 0

    def of(self, rank):
        def reduce():
            own = self.buffers[rank]
            if rank == 0:
                own[-16 + 2] = self.seen in self.ends
                self.seen += 1
            self.barrier.wait()
            total = self.buffers[0] + self.buffers[1]
            self.barrier.wait()
            own[...] = total
            return False

        return reduce


def by_two(net, X, labels, weight, owner, expected, dropped, ends=()):
    """Parameters, steps and losses of two ranks, of which `owner` says who has which row."""
    total, found = Sum(ends), {}
    order = np.arange(N)
    weights = np.array([weight[i : i + BATCH].sum(dtype="f8") for i in range(0, N, BATCH)])

    def rank_of(rank):
        own = np.flatnonzero(owner == rank)
        starts = np.searchsorted(own, np.arange(STEPS + 1) * BATCH)
        rows = own if own.size else np.zeros(1, np.intp)
        share = {"shares": True, "expected": expected}
        trainer, slots = trainer_of(net, len(rows), min(BATCH, len(rows)), dropped, **share)
        total.buffers[rank] = np.asarray(trainer.reduce_by(total.of(rank)))
        trainer.take_part(starts, rows % BATCH, weights, BATCH, N)
        given = X[rows], labels[rows], weight[rows], order[: len(rows)].copy()
        steps, loss = train(net, trainer, *given)
        while ends and trainer.epoch == 0:
            more, loss = train(net, trainer, *given)
            steps = (steps, more)
        found[rank] = parameters_of(net, trainer, slots), steps, loss

    threads = [threading.Thread(target=rank_of, args=(rank,)) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return found[0], found[1]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("owner", ["turns", "none", "blocks", "few"])
@pytest.mark.parametrize("expected", [1, 12])
@pytest.mark.parametrize("width", [9, 700])  # 700: batches go through in slices
def test_two_shares_are_one_step(level, dtype, owner, expected, width):
    """Also where a rank has no row of a batch, or more of one than are expected."""
    net = fastbp.Network([7, width, 3], activation="tanh", dtype=dtype, seed=1)
    X, labels, weight = data(dtype)
    owners = {"turns": np.arange(N) % 2, "none": np.zeros(N), "blocks": np.arange(N) >= 20,
              "few": np.arange(N) == 13}  # fmt: skip
    trainer, slots = trainer_of(net, N, BATCH, True)
    steps, loss = train(net, trainer, X, labels, weight, np.arange(N))
    whole = parameters_of(net, trainer, slots)
    one, two = by_two(net, X, labels, weight, owners[owner], expected, True)
    assert one[0].tobytes() == two[0].tobytes()
    assert one[1:] == two[1:]
    rtol = 1e-5 if dtype == "float32" else 1e-12
    assert steps == one[1] == STEPS
    assert_allclose(one[0], whole, rtol=rtol, atol=rtol)
    assert_allclose(one[2], loss, rtol=rtol)


def test_a_rank_ends_the_steps_of_all(level):
    net = fastbp.Network([7, 9, 3], activation="tanh", seed=1)
    X, labels, weight = data("f4")
    whole, _ = by_two(net, X, labels, weight, np.arange(N) % 2, 6, False)
    one, two = by_two(net, X, labels, weight, np.arange(N) % 2, 6, False, ends=(1,))
    assert one[1] == two[1] == (2, 2)
    assert one[0].tobytes() == two[0].tobytes() == whole[0].tobytes()


@pytest.mark.parametrize("bad", [0, 1])
def test_no_rank_makes_a_step_of_a_cost_that_is_not_finite(level, bad):
    net = fastbp.Network([7, 9, 3], activation="relu", seed=1)
    X, labels, weight = data("f4")
    X[24 + bad] = np.nan
    for one in by_two(net, X, labels, weight, np.arange(N) % 2, 6, False):
        assert one[1] == 2
        assert np.isfinite(one[0]).all()
