"""A learning rate and a decay of its own for each tensor, and numbers of its own for each step.

What belongs here: the engine's steps with them against the oracle's, and what they leave alone.
What does not: steps that are alike for all tensors (test_training.py), formulas of schedules
(test_schedules.py).
"""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import DTYPES, OPTIMIZERS, network, oracle, short, shown, targets

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


@pytest.mark.grid
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


@pytest.mark.grid
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


@pytest.mark.grid
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


def averaged(net, decay, threads=1, slices=(10**6,), optimizer="adamw", own_loss=False, batch=BATCH,
             **shaping):  # fmt: skip
    """Train by the engine's doors; its average, and NumPy's of the parameters after each step.

    `slices`: steps that a call makes, in turn; after each the trainer is another.
    """
    doors, (X, Y) = net._doors, (np.ascontiguousarray(part, net.dtype) for part in data_of(net))
    optimizer = OPTIMIZERS[optimizer][0]
    numbers = optimizer.numbers | {"l2": 0.0, "l1": 0.0} | shaping
    rates, _ = drawn(net, 4)
    order, (losses, clock) = np.arange(N, dtype=np.intp), np.zeros((2, 3))
    average, expected, position = np.full_like(net.parameters, np.nan), None, (0, 0, 0, 0.0, 0.0)
    twin, state = net.copy(), None

    def trainer(net, slots, n_threads, **options):
        made = doors.Trainer(net._compiled, optimizer.policy, numbers, N, batch, n_threads, False,
                             3, None, own_loss, rates, None, **options)  # fmt: skip
        made.position = position
        if slots is None:
            slots = np.full((made.n_slots, net.n_parameters), optimizer.initial_slot, net.dtype)
        doors.load_state(made, net.parameters, slots)
        return made, slots

    def step(made, n_threads, most):
        if own_loss:
            first = made.position[1]
            out = np.empty((min(batch, N - first), net.sizes[-1]), net.dtype)
            doors.step_outputs(made, X, order, first, len(out), out)
            assert doors.step_update(made, out - Y[first : first + len(out)])
            return
        rest = (most, 3, X, Y, None, None, order, 0, losses, clock)
        with ThreadPoolExecutor(n_threads) as pool:
            list(pool.map(lambda i: doors.train(made, i, *rest), range(n_threads)))

    alone, slots = trainer(twin, None, 1)  # without an average, a step at a time
    n_steps = 3 * -(-N // batch)
    for _ in range(n_steps):
        step(alone, 1, 1)
        doors.store_state(alone, twin.parameters, slots)
        if expected is None:
            expected = twin.parameters.copy()
        else:
            rest = net.dtype.type(1 - decay)
            expected = expected + rest * (twin.parameters - expected)
    with np.errstate(all="ignore"):
        for most in (*slices, *([1] * n_steps)):
            made, state = trainer(net, state, threads, ema=decay)
            doors.load_average(made, average if position[2] else None)
            assert bool(doors.store_average(made, average.copy())) == bool(position[2])
            step(made, threads, most)
            doors.store_state(made, net.parameters, state)
            assert doors.store_average(made, average)
            position = made.position
            if position[0] == 3:
                break
    assert net.parameters.tobytes() == twin.parameters.tobytes()  # training is as without
    return average, expected


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_average_has_numpys_bits(level, optimizer, dtype):
    """With tensors of rates of their own, frozen ones among them, however it is cut and shared."""
    for name, shaping, decay, threads, slices in (
        ("tanh", {}, 0.9, 1, (10**6,)),
        ("coupled", {"l2": 0.1, "clip_norm": 0.1}, 0.99, 2, (1, 3, 2)),
        ("one output", {"clip_value": 0.02}, 0.0, 3, (4, 1)),
    ):
        net = network(*NETWORKS[name], dtype)
        found, expected = averaged(net, decay, threads, slices, optimizer, **shaping)
        assert found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_average_beside_a_loss_in_python(level, dtype):
    net = network([5, 9, 3], "tanh", "identity", "quadratic", dtype)
    found, expected = averaged(net, 0.75, own_loss=True, slices=(1,))
    assert found.tobytes() == expected.tobytes()


def test_the_average_is_part_of_the_memory_that_is_foreseen():
    net = network(*NETWORKS["tanh"], "float32")
    memory, given = net._doors.memory, (net._compiled, "adam", BATCH, 1, False, False)
    without, kept = memory(*given), memory(*given, True)
    assert kept["slots"] - without["slots"] == without["parameters"]
    trainer = net._doors.Trainer(net._compiled, "sgd", {"learning_rate": 0.1, "l2": 0.0, "l1": 0.0},
                                 N, BATCH, 1, False, 0)  # fmt: skip
    assert not net._doors.store_average(trainer, net.parameters)  # which has none


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


# ---- in fit

PATTERNS = {"b*": 0.1, "W1": 0, "W2": 1.5, "b3": 0.0}
DECAYS = {"b1": 0.5, "W2": 0.25}


def factors_of(net, patterns, usual):
    """The factor of each parameter, by a loop of its own over the names."""
    found = {name: usual(name) for name in net.tensors}
    for pattern, value in patterns.items():
        for name in found:
            if name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])):
                found[name] = value
    return np.concatenate([np.full(net.tensors[name].size, float(v)) for name, v in found.items()])


def fitted(net, **options):
    rng = np.random.default_rng(11)
    X = short(rng.standard_normal((23, net.sizes[0])))
    Y = targets(rng, net.architecture["loss"], 23, net.sizes[-1])
    return net.fit(X, Y, **{"epochs": 3, "batch_size": 7, "shuffle": False, **options})


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fit_is_the_oracles_training(level, optimizer, dtype):
    mine, its = OPTIMIZERS[optimizer]
    for shaping in ({}, {"l2": 2.0, "l1": 0.3, "clip_norm": 0.2}, {"l2": 1.0, "clip_value": 0.1}):
        net = network([6, 9, 7, 5], ["glu", "tanh"], "log_softmax", "quadratic", dtype)
        ref, before = oracle(net), net.parameters.copy()
        rng = np.random.default_rng(11)
        X = short(rng.standard_normal((23, 6)))
        Y = targets(rng, "quadratic", 23, 5)
        rates = factors_of(net, PATTERNS, lambda name: 1)
        decays = factors_of(net, DECAYS, lambda name: name[0] == "W")
        losses = reference.train(ref, X, Y, [range(23)] * 3, 7, its(), **shaping, rates=rates,
                                 decays=decays)  # fmt: skip
        history = fitted(net, optimizer=mine, rates=PATTERNS, decays=DECAYS, **shaping)
        assert_close(net, ref.parameters, dtype)
        np.testing.assert_allclose(history["loss"], losses, rtol=1e-4)
        still = rates == 0
        assert net.parameters[still].tobytes() == before[still].tobytes()
        assert (net.parameters != before)[~still].any()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("threads", [1, 2])
def test_resumed_has_the_same_bits(threads, optimizer, tmp_path):
    """Resumed, kept in a file, at any number of threads, with a schedule of each step."""
    mine = OPTIMIZERS[optimizer][0]
    schedule = {"learning_rate": fastbp.schedules.Cosine(warmup=1, each="step"),
                "dropout": fastbp.schedules.Exponential(0.9, each="step")}  # fmt: skip
    options = {"optimizer": mine, "rates": PATTERNS, "decays": DECAYS, "l2": 0.5, "seed": 1}
    options |= {"shuffle": True, "schedule": schedule, "dropout": 0.3, "threads": threads}
    whole, parts, kept, one = (network([6, 9, 7, 5], "tanh", "softmax", "cross_entropy", "float32")
                               for _ in range(4))  # fmt: skip
    history = fitted(whole, epochs=4, **options)
    # the length of a run is its schedule's unless it is told
    schedule["learning_rate"] = fastbp.schedules.Cosine(warmup=1, epochs=4, each="step")
    first = fitted(parts, epochs=1, **options)
    last = fitted(parts, epochs=3, resume=first, **options)
    file = tmp_path / "run.ckpt"
    fitted(kept, epochs=2, checkpoint=file, **options)
    again = fitted(kept, epochs=4, checkpoint=file, **options)
    fitted(one, epochs=4, **options | {"threads": 1})
    for net in (parts, kept, one):
        assert net.parameters.tobytes() == whole.parameters.tobytes()
    for name in ("learning_rate", "dropout", "loss"):
        assert history[name].tobytes() == last[name].tobytes() == again[name].tobytes()


def test_rates_and_schedules_are_part_of_a_checkpoints_identity(tmp_path):
    file, options = tmp_path / "run.ckpt", {"optimizer": fastbp.AdamW(0.01), "seed": 0}
    step = fastbp.schedules.Exponential(0.9, each="step")
    told = {"rates": {"W1": 0.5}, "decays": {"b1": 1.0}, "schedule": {"weight_decay": step}}
    fitted(network(*NETWORKS["tanh"], "float32"), checkpoint=file, **options, **told)
    for name, other in (("rates", {"W1": 0.25}), ("rates", None), ("decays", {"b1": 0.5}),
                        ("schedule", {"weight_decay": fastbp.schedules.Exponential(0.9)}),
                        ("schedule", {"weight_decay": step, "learning_rate": step})):  # fmt: skip
        with pytest.raises(ValueError, match=rf"expected the same {name}"):
            fitted(network(*NETWORKS["tanh"], "float32"), checkpoint=file, epochs=5, **options,
                   **told | {name: other})  # fmt: skip
    # how the factors are written does not matter
    told |= {"rates": {"*": 1, "W1": 2, "W?": 1.0, "?1": 0.5, "b1": 1}}
    assert fitted(network(*NETWORKS["tanh"], "float32"), checkpoint=file, epochs=4, **options,
                  **told).epochs == 4  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_scales_have_rates_too(level, dtype):
    """Frozen, s stays 1 and the network trains as one without it; of rate 6 it moves 6 times."""
    layers = [3, fastbp.layers.Scale(), 8, 2]
    plain = fastbp.Network([3, 8, 2], dtype=dtype, seed=3)
    nets = [fastbp.Network(layers, dtype=dtype, seed=3) for _ in range(3)]
    for net in nets:
        net.parameters[3:] = plain.parameters
    sgd = {"optimizer": fastbp.SGD(0.5), "batch_size": 23, "epochs": 1}
    fitted(plain, **sgd)
    fitted(nets[0], rates={"s1": 0}, **sgd)
    assert (nets[0].tensors["s1"] == 1).all()
    assert nets[0].parameters[3:].tobytes() == plain.parameters.tobytes()
    fitted(nets[1], **sgd)
    fitted(nets[2], rates={"s*": 6}, **sgd)
    moved = [net.tensors["s1"].astype(float) - 1 for net in nets[1:]]
    np.testing.assert_allclose(moved[1], 6 * moved[0], rtol=1e-3 if dtype == "float32" else 1e-10)
    decayed = fastbp.Network(layers, dtype=dtype, seed=3)
    fitted(decayed, optimizer=fastbp.AdamW(0.5, weight_decay=0.5), decays={"s1": 1, "[Wb]*": 0},
           batch_size=23, epochs=1)  # fmt: skip
    assert np.abs(decayed.tensors["s1"].astype(float) - 0.75).max() <= 0.5 + 1e-5


@pytest.mark.parametrize("dtype", DTYPES)
def test_lbfgs_moves_what_is_not_frozen(dtype):
    pytest.importorskip("scipy")
    nets = [network([4, 6, 3], "tanh", "softmax", "cross_entropy", dtype) for _ in range(4)]
    before = nets[0].parameters.copy()
    for net, options in zip(nets, ({}, {"rates": {"W1": 0, "b1": 1}}, {"decays": {"W2": 0.5}},
                                   {"rates": {"*": 0}}), strict=True):  # fmt: skip
        fitted(net, optimizer="lbfgs", l2=5.0, **options)
    assert nets[1].tensors["W1"].tobytes() == before[:24].tobytes()
    assert (nets[1].parameters[24:] != before[24:]).any()
    assert np.linalg.norm(nets[2].tensors["W2"]) > np.linalg.norm(nets[0].tensors["W2"])
    assert nets[3].parameters.tobytes() == before.tobytes()
    rng = np.random.default_rng(11)  # a minimum: the gradient there is 0
    X, Y = short(rng.standard_normal((23, 4))), targets(rng, "cross_entropy", 23, 3)
    assert np.abs(nets[1].gradient(X, Y, l2=5.0)[24:]).max() < 1e-3
    assert np.abs(nets[2].gradient(X, Y, l2=5.0, decays={"W2": 0.5})).max() < 1e-3
    with pytest.raises(ValueError, match=r"rates: expected 0 or 1 with LBFGS.*; got 0\.5"):
        fitted(nets[0], optimizer="lbfgs", rates={"W1": 0.5})


def test_the_penalties_of_loss_and_gradient():
    """Against the formula, and the gradient against differences of the loss."""
    net = network([3, 5, 2], "tanh", "identity", "quadratic", "float64")
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((7, 3)), rng.standard_normal((7, 2))
    told = {"decays": {"b1": 0.5, "W2": 0.25, "W1": 0}, "l2": 3.0, "l1": 0.7}
    decays = factors_of(net, told["decays"], lambda name: name[0] == "W")
    W = net.parameters.copy()
    penalty = (decays * (3.0 / 14 * W**2 + 0.7 / 7 * abs(W))).sum()
    assert net.loss(X, Y, **told) == pytest.approx(net.loss(X, Y) + penalty, rel=1e-13)
    found, numeric = net.gradient(X, Y, **told), np.empty_like(W)
    for i in range(W.size):
        values = []
        for h in (1e-6, -1e-6):
            net.parameters[i] = W[i] + h
            values.append(net.loss(X, Y, **told))
        net.parameters[i] = W[i]
        numeric[i] = (values[0] - values[1]) / 2e-6
    np.testing.assert_allclose(found, numeric, atol=1e-8)


@pytest.mark.parametrize(
    ("told", "error", "message"),
    [
        ({"rates": {"W9": 1}}, ValueError, r"rates: expected patterns of W1, b1, W2, b2; got 'W9'"),
        ({"decays": {"s*": 1}}, ValueError, r"decays: expected patterns of W1, .*; got 's\*'"),
        ({"rates": 0.1}, TypeError, "rates: expected a dict"),
        ({"decays": {"W1": -1}}, ValueError, r"decays\['W1'\]: expected a finite number >= 0"),
        ({"schedule": {"momentum": fastbp.schedules.Cosine()}}, ValueError,
         "schedule: expected schedules of learning_rate, weight_decay, dropout; got 'momentum'"),
        ({"schedule": {"dropout": 0.5}}, TypeError,
         r"schedule\['dropout'\]: expected one of fastbp.schedules or a callable"),
        ({"schedule": {"weight_decay": fastbp.schedules.Cosine()}}, ValueError,
         r"schedule\['weight_decay'\]: expected an optimizer with it; got SGD"),
        ({"schedule": {"dropout": fastbp.schedules.OneCycle(4.0, each="step")}, "dropout": 0.5},
         ValueError, r"schedule\['dropout'\]: expected rates in \[0, 1\); got "),
        ({"schedule": {"dropout": lambda epoch: 1.0}}, ValueError,
         r"schedule\['dropout'\]: expected rates in \[0, 1\); got 1"),
        ({"schedule": {"dropout": fastbp.schedules.HalveOnPlateau()}}, ValueError,
         "schedule: expected validation data"),
    ],
    ids=shown,
)  # fmt: skip
def test_what_fit_refuses(told, error, message):
    net = network(*NETWORKS["tanh"], "float32")
    before = net.parameters.copy()
    with pytest.raises(error, match=message):
        fitted(net, optimizer=fastbp.SGD(0.1), **told)
    assert net.parameters.tobytes() == before.tobytes()


# ---- schedules of each step


def test_fit_follows_a_schedule_of_each_step():
    """As a run of one epoch a step with callables, each of which gives the rates of the formula."""
    steps, net, twin = 12, *(network(*NETWORKS["tanh"], "float64") for _ in range(2))
    decay = fastbp.schedules.Exponential(0.5, each="step")
    schedule = {"learning_rate": fastbp.schedules.OneCycle(5.0, each="step"), "weight_decay": decay}
    history = fitted(net, schedule=schedule, optimizer=fastbp.AdamW(0.01, weight_decay=0.5))
    rng = np.random.default_rng(11)
    X, Y = short(rng.standard_normal((23, 5))), targets(rng, "cross_entropy", 23, 3)
    rates = schedule["learning_rate"].of_steps(0.01, 3, 23, 4, 0, steps)
    decays = 0.5 * 0.5 ** (np.arange(steps) / 4)
    adam = oracle(twin)
    its = EachStep(reference.AdamW(0.01, weight_decay=0.5), zip(rates, decays, strict=True))
    reference.train(adam, X, Y, [range(23)] * 3, 7, its)
    assert_close(net, adam.parameters, "float64")
    assert history["learning_rate"].tolist() == rates[3::4].tolist()
    assert history["weight_decay"] == pytest.approx(decays[3::4], rel=1e-14)
    assert list(history) == ["loss", "learning_rate", "seconds", "weight_decay"]


@pytest.mark.parametrize("extra", [{"ema": 0.9}, {"callbacks": [fastbp.each_step(lambda e: None)]},
                                   {"validation": 0.3}, {"threads": 2}], ids=shown)  # fmt: skip
def test_slices_of_any_length_have_the_same_rates(extra, monkeypatch):
    """Single steps, epochs, and slices cut anywhere: the numbers go by the step."""
    from fastbp.training import driver

    schedule = {"learning_rate": fastbp.schedules.Cosine(each="step"),
                "dropout": fastbp.schedules.Cosine(final=0.5)}  # fmt: skip
    options = {"schedule": schedule, "dropout": 0.4, "seed": 5, "epochs": 40, **extra}
    nets = [network(*NETWORKS["tanh"], "float32") for _ in range(2)]
    found = [fitted(nets[0], **options)]
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-5)
    monkeypatch.setattr(driver, "STEPS_AHEAD", 5)
    found.append(fitted(nets[1], **options))
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    for name in ("loss", "learning_rate", "dropout"):
        assert found[0][name].tobytes() == found[1][name].tobytes()
    assert len(set(found[0]["dropout"])) == 40


def quadratic(a, y, w):
    with np.errstate(all="ignore"):
        return float(((a - y) ** 2).sum() / 2 / len(a)), (a - y) / len(a)


@pytest.mark.parametrize("own_loss", [False, True])
def test_a_run_that_diverges_is_made_again_with_the_rates_of_then(own_loss):
    """The last finite parameters are those of so many steps, and the rate is that of the next."""
    nets = [network([3, 4, 2], "identity", "identity", "quadratic", "float32") for _ in range(2)]
    schedule = fastbp.schedules.Exponential(1e3, each="step")
    options = {"optimizer": fastbp.SGD(1e-3), "schedule": schedule, "batch_size": 2}
    if own_loss:
        options["loss"] = quadratic
    with pytest.raises(fastbp.DivergenceError) as caught:
        fitted(nets[0], epochs=50, **options)
    step = caught.value.step
    assert step > 3 and np.isfinite(nets[0].parameters).all()
    assert caught.value.learning_rate == pytest.approx(1e-3 * 1e3 ** (step / 12), rel=1e-12)

    class Stop(Exception):
        pass

    @fastbp.each_step
    def stop(event):
        return event.step >= step

    fitted(nets[1], epochs=50, callbacks=[stop], **options)
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()


def test_scheduled_dropout():
    """From fit's rate, or in proportion; a callable gives the rate itself; constant it is none."""
    nets = [network([5, 7, 6, 3], "tanh", "softmax", "cross_entropy", "float32") for _ in range(8)]
    half = fastbp.schedules.Step(1, 0.5)
    constant = fastbp.schedules.Constant()
    runs = (
        {"dropout": 0.4, "schedule": {"dropout": constant}}, {"dropout": 0.4},
        {"dropout": [0.1, 0.2, 0.4], "epochs": 2, "schedule": {"dropout": half}},
        {"dropout": [0.1, 0.2, 0.4], "epochs": 1},
        {"schedule": {"dropout": lambda epoch: 0.3}}, {"dropout": 0.3},
        {"dropout": [0.0, 0.0], "schedule": {"dropout": lambda epoch: 0.3}},
        {"dropout": 0.5, "schedule": {"dropout": fastbp.schedules.Cosine(each="step")}},
    )  # fmt: skip
    found = [fitted(net, **{"seed": 3} | run) for net, run in zip(nets, runs, strict=True)]
    assert found[0]["dropout"].tolist() == [0.4] * 3
    assert nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
    assert found[2]["dropout"].tolist() == [0.4, 0.2]
    fitted(nets[3], seed=3, epochs=1, dropout=[0.05, 0.1, 0.2], resume=found[3])
    np.testing.assert_allclose(nets[2].parameters, nets[3].parameters, rtol=1e-4, atol=1e-5)
    assert nets[4].parameters.tobytes() == nets[5].parameters.tobytes()
    assert nets[4].parameters.tobytes() == nets[6].parameters.tobytes()
    assert found[7]["dropout"][-1] == pytest.approx(0.25 * (1 + np.cos(np.pi * 11 / 12)))


@pytest.mark.parametrize(
    "schedule",
    [
        {"dropout": fastbp.schedules.OneCycle(max_factor=3.0, warmup=0.4, epochs=5)},
        {"dropout": fastbp.schedules.OneCycle(max_factor=3.0, warmup=0.4, epochs=5, each="step")},
        {"dropout": fastbp.schedules.Exponential(1.2)},
        {"learning_rate": fastbp.schedules.Exponential(1e200)},
        fastbp.schedules.Step(2, 1e200),
    ],
    ids=repr,
)
def test_what_a_formula_comes_to_is_refused_before_the_run(schedule):
    net = fastbp.Network([4, 5, 3], seed=0)
    rng, before = np.random.default_rng(0), net.parameters.copy()
    X, Y = rng.standard_normal((12, 4)), rng.integers(0, 3, 12)
    with pytest.raises(ValueError, match=r"^schedule"):
        net.fit(X, Y, epochs=5, batch_size=4, dropout=0.5, seed=0, schedule=schedule)
    assert (net.parameters == before).all()
