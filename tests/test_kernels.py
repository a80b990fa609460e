"""The engine's smaller parts, asked at its own doors: what no question to a network isolates.

What belongs here: finiteness, orders, the trainer's copy of the parameters, memory. Values and
derivatives are in test_network.py, elementary functions in test_elementary.py.
"""

import numpy as np
import pytest
from cases import DTYPES
from numpy.testing import assert_array_equal

import fastbp
from fastbp.kernels import dispatch


@pytest.mark.parametrize("dtype", DTYPES)
def test_is_finite_looks_at_every_place(level, dtype):
    is_finite = dispatch.doors(np.dtype(dtype)).is_finite
    largest = np.finfo(dtype).max
    for n in (0, 1, 15, 16, 17, 33, 70):
        x = np.full(n, largest, dtype)  # a sum of them would overflow
        assert is_finite(x)
        for place in range(n):
            for bad in (np.nan, np.inf, -np.inf):
                x[place] = bad
                assert not is_finite(x), (n, place, bad)
            x[place] = -largest
        assert is_finite(x)


def trainer_of(net, policy="sgd", n=5, seed=0):
    numbers = {"learning_rate": 0.0, "l2": 0.0, "l1": 0.0}
    return dispatch.engine.Trainer(net._compiled, policy, numbers, n, 2, 1, True, seed)


def test_orders_are_permutations(level):
    net = fastbp.Network([1, 1], output="identity", loss="mse")
    for n in (*range(1, 40), 1000, 65537):
        trainer, order = trainer_of(net, n=n, seed=n), np.full(n, -1, np.intp)
        dispatch.engine.draw_order(trainer, order)
        assert_array_equal(np.sort(order), np.arange(n))


def test_orders_are_those_of_every_level():
    """A run goes on with the same order on another machine: the numbers are fixed here."""
    for level in dispatch.available_levels():
        engine = dispatch.load(level)
        net = engine.CompiledNetwork([("identity", 0.0, 1, 1, 1)], ("mse", 1.0), False, False, 1)
        numbers = {"learning_rate": 0.0, "l2": 0.0, "l1": 0.0}
        trainer = engine.Trainer(net, "sgd", numbers, 8, 2, 1, True, 2**64 - 1)
        order = np.zeros(8, np.intp)
        drawn = []
        for epoch in (0, 1, 2**40):
            trainer.position = (epoch, 0, 0, 0.0, 0.0)
            engine.draw_order(trainer, order)
            drawn.append(order.tolist())
        assert drawn == splitmix_orders(2**64 - 1, (0, 1, 2**40), 8)


def splitmix_orders(seed, epochs, n):
    """The generator of random.pxd in Python's whole numbers, from its published description."""
    mask = 2**64 - 1

    def next_random(state):
        state = (state + 0x9E3779B97F4A7C15) & mask
        x = state
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
        return state, x ^ (x >> 31)

    orders = []
    for epoch in epochs:
        state = next_random(seed)[1] ^ (epoch * 0xD1342543DE82EF95 & mask)
        state = next_random(state)[1]
        order = list(range(n))
        for i in range(n - 1, 0, -1):
            bound = i + 1
            while True:
                state, x = next_random(state)
                product = (x >> 32) * bound
                if product % 2**32 >= 2**32 % bound:
                    break
            j = product >> 32
            order[i], order[j] = order[j], order[i]
        orders.append(order)
    return orders


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("policy", "n_slots"), [("sgd", 0), ("momentum", 1), ("nesterov", 1),
                                                 ("adam", 2), ("adamw", 2)])  # fmt: skip
def test_state_goes_in_and_comes_out(level, policy, n_slots, dtype):
    """Padding of rows comes and goes without a trace; the slots are the optimizer's."""
    net = fastbp.Network([7, 17, 9, 2], activation=["glu", "maxout(3)"], dtype=dtype)
    trainer = trainer_of(net, policy)
    assert trainer.n_slots == n_slots
    rng = np.random.default_rng(1)
    parameters = rng.standard_normal(net.n_parameters).astype(dtype)
    slots = rng.standard_normal((n_slots, net.n_parameters)).astype(dtype)
    net._doors.load_state(trainer, parameters, slots)
    out, slots_out = np.zeros_like(parameters), np.zeros_like(slots)
    net._doors.store_state(trainer, out, slots_out)
    assert_array_equal(out, parameters)
    assert_array_equal(slots_out, slots)
    assert net._doors.has_finite_parameters(trainer, parameters)
    for place in range(net.n_parameters):
        parameters[place] = np.nan
        net._doors.load_state(trainer, parameters, slots)
        assert not net._doors.has_finite_parameters(trainer, parameters), place
        parameters[place] = 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_behind_a_row_of_W_does_not_matter(level, dtype):
    """predict reads W unpadded, in whole vectors: into the next row, b, or the 64 bytes behind."""
    net = fastbp.Network([3, 5, 7], output="identity", loss="mse", dtype=dtype, seed=1)
    X = np.ones((4, 3), dtype)
    expected = net.predict(X)
    behind = net.parameters.base
    assert behind.nbytes >= net.parameters.nbytes + 64
    behind[net.n_parameters :] = np.finfo(dtype).max
    assert_array_equal(net.predict(X), expected)
    behind[net.n_parameters :] = np.nan
    assert_array_equal(net.predict(X), expected)
