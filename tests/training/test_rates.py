"""A learning rate and a decay of its own for each tensor, and numbers of its own for each step.

What belongs here: the engine's steps with them against the oracle's, and what they leave alone.
What does not: steps that are alike for all tensors (test_training.py), formulas of schedules
(test_schedules.py).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import DTYPES, OPTIMIZERS, network, oracle, short, targets

import fastbp
from fastbp import reference

pytestmark = pytest.mark.sanitizers

STEPS, BATCH, N = 9, 7, 21  # three epochs of three batches
NETWORKS = {
    "tanh": ([5, 7, 3], "tanh", "softmax", "cross_entropy"),
    "coupled": ([6, 9, 7, 9, 5], ["glu", "layer_norm", "maxout(3)"], "log_softmax", "quadratic"),
    "one output": ([33, 9, 1], "relu", "identity", "huber(0.4)"),
}
SHAPING = ({}, {"l2": 0.1, "l1": 0.02}, {"clip_value": 0.02}, {"l2": 0.1, "clip_norm": 0.1})


def sizes_of(net):
    return [tensor.size for pair in zip(net.weights, net.biases, strict=True) for tensor in pair]


def each(net, values):
    """One value a tensor, for each of its parameters."""
    return np.repeat(np.array(values, float), sizes_of(net))


def drawn(net, seed=0):
    """Rates and decays, among them 0 and 1, of every tensor of a network."""
    rng = np.random.default_rng([seed, net.n_parameters])
    n = len(sizes_of(net))
    return rng.choice([0.0, 0.25, 1.0, 1.5], n).tolist(), rng.choice([0.0, 0.5, 1.0], n).tolist()


def data_of(net):
    rng = np.random.default_rng([5, *net.sizes])
    X = short(rng.standard_normal((N, net.sizes[0])))
    return X, targets(rng, net.loss_name if hasattr(net, "loss_name") else net.architecture["loss"],
                      N, net.sizes[-1])  # fmt: skip


def trained(net, optimizer, shaping, rates=None, decays=None, threads=1, course=None, dropout=None,
            own_loss=False):  # fmt: skip
    """Train the network by the engine's doors; its slots."""
    doors, (X, Y) = net._doors, (np.ascontiguousarray(part, net.dtype) for part in data_of(net))
    numbers = optimizer.numbers | {"l2": 0.0, "l1": 0.0} | shaping
    masks = None if dropout is None else doors.Masks(dropout, 3, 0)
    trainer = doors.Trainer(net._compiled, optimizer.policy, numbers, N, BATCH, threads, False, 3,
                            masks, own_loss, rates, decays)  # fmt: skip
    slots = np.full((trainer.n_slots, net.n_parameters), optimizer.initial_slot, net.dtype)
    doors.load_state(trainer, net.parameters, slots)
    order, (losses, clock) = np.arange(N, dtype=np.intp), np.zeros((2, 3))
    if course is not None:
        trainer.set_course(course)
    if own_loss:
        for step in range(STEPS):
            rows = slice(first := step * BATCH % N, first + BATCH)
            out = np.empty((BATCH, net.sizes[-1]), net.dtype)
            doors.step_outputs(trainer, X, order, first, BATCH, out)
            assert doors.step_update(trainer, (out - Y[rows]) / net.dtype.type(BATCH))
    else:
        rest = (10**6, 3, X, Y, None, None, order, 0, losses, clock)
        with ThreadPoolExecutor(threads) as pool:
            made = list(pool.map(lambda i: doors.train(trainer, i, *rest), range(threads)))
        assert made == [STEPS] * threads
    doors.store_state(trainer, net.parameters, slots)
    return slots


class EachStep:
    """The oracle's optimizer, told a learning rate and a weight decay before each step."""

    def __init__(self, optimizer, numbers):
        self.optimizer, self.numbers = optimizer, iter(numbers)

    def step(self, *arguments):
        self.optimizer.learning_rate, self.optimizer.weight_decay = next(self.numbers)
        return self.optimizer.step(*arguments)


def expected(net, optimizer, shaping, rates, decays, numbers=None):
    """The oracle's parameters after the same steps; `numbers`: (rate, weight decay) of each."""
    ref, step = oracle(net), OPTIMIZERS[optimizer][1]()
    if numbers is not None:
        step = EachStep(step, numbers)
    penalties = {name: N * value for name, value in shaping.items() if name in ("l1", "l2")}
    reference.train(ref, *data_of(net), [range(N)] * 3, BATCH, step, **shaping | penalties,
                    rates=each(net, rates), decays=each(net, decays))  # fmt: skip
    return ref.parameters


def assert_close(net, parameters, dtype):
    tolerance = 1e-11 if dtype == "float64" else sum(net.sizes) * STEPS * np.finfo(dtype).eps
    error = np.abs(net.parameters - parameters).max() / np.abs(parameters).max()
    assert error <= tolerance


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_optimizer_has_the_oracles_steps(level, name, optimizer, dtype):
    for seed, shaping in enumerate(SHAPING):
        net = network(*NETWORKS[name], dtype)
        rates, decays = drawn(net, seed)
        wanted = expected(net, optimizer, shaping, rates, decays)
        trained(net, OPTIMIZERS[optimizer][0], shaping, rates, decays)
        assert_close(net, wanted, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_rates_of_1_and_the_usual_decays_change_no_bit(level, optimizer, dtype):
    for shaping in SHAPING:
        nets = [network(*NETWORKS["coupled"], dtype) for _ in range(2)]
        mine = OPTIMIZERS[optimizer][0]
        slots = trained(nets[0], mine, shaping), trained(nets[1], mine, shaping, [1.0] * 8,
                                                         [1.0, 0.0] * 4)  # fmt: skip
        assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
        assert slots[0].tobytes() == slots[1].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_one_rate_for_all_is_that_learning_rate(level, optimizer, dtype):
    """A power of two, so that no rounding differs."""
    mine = OPTIMIZERS[optimizer][0]
    for shaping in SHAPING:
        nets = [network(*NETWORKS["tanh"], dtype) for _ in range(2)]
        numbers = {"learning_rate": mine.learning_rate / 4}
        for net, rates, shape in zip(nets, (None, [0.25] * 4), (shaping | numbers, shaping),
                                     strict=True):  # fmt: skip
            trained(net, mine, shape, rates)
        assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("frozen", [(0,), (1,), (0, 1, 2), (4, 5), (6,), (0, 1, 2, 3, 4, 5)])
def test_frozen_tensors_and_their_slots_stay_as_they_are(level, frozen, optimizer, dtype):
    """Every bit; and what is trained takes the first step that it would take beside them."""
    mine = OPTIMIZERS[optimizer][0]
    for shaping in SHAPING:
        net = network(*NETWORKS["coupled"], dtype)
        rates = [0.0 if i in frozen else 1.0 for i in range(8)]
        before, still = net.parameters.copy(), each(net, rates) == 0
        slots = trained(net, mine, shaping, rates)
        assert net.parameters[still].tobytes() == before[still].tobytes()
        assert (slots[:, still] == np.array(mine.initial_slot, dtype)).all()
        moved = net.parameters != before
        for i in set(range(8)) - set(frozen):
            assert moved[each(net, [float(j == i) for j in range(8)]) > 0].any()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clip", [{}, {"clip_value": 0.01}])
def test_what_is_trained_has_the_bits_of_a_step_beside_what_is_not(level, clip, dtype):
    """One step: the gradient does not depend on what else is trained."""
    for frozen in range(8):
        nets = [network(*NETWORKS["coupled"], dtype) for _ in range(2)]
        rates = [float(i != frozen) for i in range(8)]
        for net, of_each in zip(nets, (None, rates), strict=True):
            course = np.array([[0.05, 0.0, 1.0]])
            doors = net._doors
            X, Y = (np.ascontiguousarray(part, dtype) for part in data_of(net))
            numbers = {"learning_rate": 0.5, "l2": 0.1, "l1": 0.0} | clip
            trainer = doors.Trainer(net._compiled, "sgd", numbers, N, BATCH, 1, False, 0,
                                    rates=of_each)  # fmt: skip
            doors.load_state(trainer, net.parameters, np.zeros((0, net.n_parameters), dtype))
            trainer.set_course(course)
            order, (losses, clock) = np.arange(N, dtype=np.intp), np.zeros((2, 3))
            assert doors.train(trainer, 0, 5, 3, X, Y, None, None, order, 0, losses, clock) == 1
            doors.store_state(trainer, net.parameters, np.zeros((0, net.n_parameters), dtype))
        trains = each(nets[0], rates) > 0
        assert nets[0].parameters[trains].tobytes() == nets[1].parameters[trains].tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shaping", SHAPING, ids=str)
@pytest.mark.parametrize("threads", [2, 3])
def test_threads_have_the_same_bits(level, threads, shaping, dtype):
    course = np.random.default_rng(0).uniform(0.01, 0.05, (STEPS, 3))
    found = []
    for n_threads in (1, threads):
        net = network(*NETWORKS["coupled"], dtype)
        slots = trained(net, OPTIMIZERS["adamw"][0], shaping, *drawn(net, 2), n_threads, course,
                        [0.2] * 4)  # fmt: skip
        found.append(net.parameters.tobytes() + slots.tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_numbers_of_each_step(level, optimizer, dtype):
    """A learning rate and a weight decay a step, beside rates and decays of the tensors."""
    rng = np.random.default_rng(1)
    course = np.column_stack([rng.uniform(0.005, 0.03, (STEPS, 2)), np.ones(STEPS)])
    for shaping in SHAPING:
        net = network(*NETWORKS["coupled"], dtype)
        rates, decays = drawn(net, 4)
        wanted = expected(net, optimizer, shaping, rates, decays, course[:, :2])
        trained(net, OPTIMIZERS[optimizer][0], shaping, rates, decays, course=course)
        assert_close(net, wanted, dtype)


def test_a_course_goes_by_steps_not_by_slices(level):
    """Rows are those of the steps from where it was set on, and no step is made without one."""
    whole, parts = (network(*NETWORKS["tanh"], "float64") for _ in range(2))
    course = np.random.default_rng(2).uniform(0.01, 0.1, (STEPS, 3))
    trained(whole, OPTIMIZERS["momentum"][0], {}, course=course, dropout=[0.3, 0.5])
    optimizer, doors, (X, Y) = OPTIMIZERS["momentum"][0], parts._doors, data_of(parts)
    numbers = optimizer.numbers | {"l2": 0.0, "l1": 0.0}
    trainer = doors.Trainer(parts._compiled, optimizer.policy, numbers, N, BATCH, 1, False, 3,
                            doors.Masks([0.3, 0.5], 3, 0))  # fmt: skip
    slots = np.zeros((1, parts.n_parameters))
    doors.load_state(trainer, parts.parameters, slots)
    order, (losses, clock) = np.arange(N, dtype=np.intp), np.zeros((2, 3))
    for first, last, most in ((0, 2, 10), (2, 9, 1), (3, 4, 10), (4, 9, 10)):
        trainer.set_course(course[first:last])
        made = doors.train(trainer, 0, most, 3, X, Y, None, None, order, 0, losses, clock)
        assert made == min(most, last - first)
        assert trainer.position[2] == first + made
    doors.store_state(trainer, parts.parameters, slots)
    assert whole.parameters.tobytes() == parts.parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_of_each_step(level, dtype):
    """Its factor multiplies the rates; 0 drops nothing, and 1 is no factor."""
    net, plain, scaled, halved, none = (network(*NETWORKS["tanh"], dtype) for _ in range(5))
    sgd = fastbp.SGD(0.25)
    course = np.tile([0.25, 0.0, 1.0], (STEPS, 1))
    trained(net, sgd, {}, dropout=[0.25, 0.5])
    trained(plain, sgd, {}, dropout=[0.25, 0.5], course=course)
    assert net.parameters.tobytes() == plain.parameters.tobytes()
    trained(scaled, sgd, {}, dropout=[0.125, 0.25])
    course[:, 2] = 0.5
    trained(halved, sgd, {}, dropout=[0.25, 0.5], course=course)
    assert scaled.parameters.tobytes() == halved.parameters.tobytes()
    assert scaled.parameters.tobytes() != net.parameters.tobytes()
    course[:, 2] = 0.0
    trained(none, sgd, {}, dropout=[0.25, 0.5], course=course)
    free = network(*NETWORKS["tanh"], dtype)
    trained(free, sgd, {})
    assert none.parameters.tobytes() == free.parameters.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shaping", SHAPING, ids=str)
def test_a_loss_in_python_has_them_too(level, shaping, dtype):
    """With m a power of two 1/m is exact, but here a step may differ by rounding."""
    course = np.random.default_rng(0).uniform(0.01, 0.1, (STEPS, 3))
    nets = [network([5, 9, 3], "tanh", "identity", "quadratic", dtype) for _ in range(2)]
    rates, decays = [3.0, 0.0, 0.5, 1.0], [0.5, 1.0, 0.0, 1.0]
    for own_loss, net in enumerate(nets):
        trained(net, OPTIMIZERS["adamw"][0], shaping, rates, decays, course=course,
                dropout=[0.25, 0.5], own_loss=bool(own_loss))  # fmt: skip
    assert_close(nets[0], nets[1].parameters, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_large_batches_that_go_through_in_slices(level, dtype):
    """The gradient is added up over slices of rows; what is frozen has none."""
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4096, 64)).astype(dtype), rng.standard_normal((4096, 2))
    found = []
    for threads in (1, 2):  # slices are for one thread alone
        net = fastbp.Network([64, 33, 2], output="identity", loss="quadratic", dtype=dtype, seed=1)
        before = net.parameters.copy()
        doors = net._doors
        numbers = {"learning_rate": 0.1, "momentum": 0.9, "l2": 0.01, "l1": 0.0}
        trainer = doors.Trainer(net._compiled, "momentum", numbers, 4096, 4096, threads, False, 0,
                                rates=[1.0, 0.0, 0.0, 0.5])  # fmt: skip
        slots = np.zeros((1, net.n_parameters), dtype)
        doors.load_state(trainer, net.parameters, slots)
        rest = (10, 4, X, Y.astype(dtype), None, None, np.arange(4096, dtype=np.intp), 0)
        losses, clock = np.zeros((2, 4))
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(lambda i: doors.train(trainer, i, *rest, losses, clock), range(threads)))  # noqa: B023
        doors.store_state(trainer, net.parameters, slots)
        still = each(net, [1.0, 0.0, 0.0, 0.5]) == 0
        assert net.parameters[still].tobytes() == before[still].tobytes()
        assert not slots[:, still].any() and (net.parameters != before)[~still].all()
        found.append(net.parameters.tobytes())
    assert found[0] == found[1]
