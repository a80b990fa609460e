"""Networks in lanes: each leaves the bits that a run of its own leaves.

What belongs here: groups of networks at the engine's doors, beside `Trainer`, which the oracle
holds (test_network.py, test_training.py). What does not: who is put into which lane
(training/many.py).
"""

import dataclasses

import numpy as np
import pytest
from cases import DTYPES, OPTIMIZERS, SIZES
from numpy.testing import assert_array_equal

import fastbp
from fastbp import functions

pytestmark = pytest.mark.sanitizers

PLAIN = {"learning_rate": 0.1, "l2": 0.0, "l1": 0.0}


@dataclasses.dataclass
class Run:
    """What a network in a lane is to do, and what a run of its own does."""

    net: fastbp.Network
    optimizer: fastbp.optimizers.Optimizer
    X: np.ndarray
    Y: np.ndarray
    batch_size: int = 8
    epochs: int = 2
    seed: int = 0
    shuffled: bool = True
    numbers: dict = dataclasses.field(default_factory=dict)
    weight: np.ndarray | None = None
    rows: np.ndarray | None = None
    dropout: list | None = None
    rates: list | None = None
    decays: list | None = None
    course: np.ndarray | None = None
    missing: bool = False

    def __post_init__(self):
        self.numbers = PLAIN | self.optimizer.numbers | self.numbers
        self.is_labels = self.Y.ndim == 1
        self.n = len(self.X) if self.rows is None else len(self.rows)
        self.order = np.arange(self.n) if self.rows is None else self.rows.copy()
        size = self.net.n_parameters
        self.parameters = self.net.parameters.copy()
        self.losses = np.full(self.epochs, np.nan)
        self.size = size

    def parts(self, rows=slice(None)):
        dense = None if self.is_labels else self.Y[rows]
        labels = self.Y[rows] if self.is_labels else None
        return self.X[rows], dense, labels, None if self.weight is None else self.weight[rows]

    def slots(self, trainer):
        slots = np.zeros((trainer.n_slots, self.size), self.parameters.dtype)
        if self.optimizer.initial_slot:
            slots.fill(self.optimizer.initial_slot)
        return slots

    def alone(self):
        """(parameters, slots, losses, position) of a run of its own."""
        doors, net = self.net._doors, self.net
        masks = None
        if self.dropout is not None:
            masks = doors.Masks(self.dropout, self.seed, 0)
        trainer = doors.Trainer(
            net._compiled, self.optimizer.policy, self.numbers, self.n, self.batch_size, 1,
            self.shuffled, self.seed, masks, False, self.rates, self.decays,
        )  # fmt: skip
        slots, parameters = self.slots(trainer), self.parameters.copy()
        doors.load_state(trainer, parameters, slots)
        if self.course is not None:
            trainer.set_course(self.course)
        X, dense, labels, weight = self.parts(slice(None) if self.rows is None else self.rows)
        losses, order = np.full(self.epochs, np.nan), np.arange(self.n)
        steps = -(-self.n // self.batch_size) * self.epochs
        doors.train(trainer, 0, steps, self.epochs, X, dense, labels, weight, order, 0, losses,
                    np.empty(self.epochs), 0.0, self.missing)  # fmt: skip
        doors.store_state(trainer, parameters, slots)
        return parameters, slots, losses, trainer.position


def in_lanes(runs, max_steps=10**6):
    """The same of each of the runs, all of one shape, refilling lanes from the rest of them."""
    doors, one = runs[0].net._doors, runs[0]
    lanes = doors.Lanes(
        one.net._compiled, one.optimizer.policy, one.batch_size,
        any(run.dropout is not None for run in runs),
    )  # fmt: skip
    queue, at, found = list(enumerate(runs)), [None] * lanes.n_lanes, [None] * len(runs)
    most = max(run.epochs for run in runs)
    losses, clock = np.full((lanes.n_lanes, most), np.nan), np.empty((lanes.n_lanes, most))
    ends, firsts = np.full(lanes.n_lanes, 10**6), np.zeros(lanes.n_lanes, np.intp)
    trainer = doors.Trainer(one.net._compiled, one.optimizer.policy, one.numbers, 1, 1, 1, True, 0)

    def fill(lane):
        at[lane] = queue.pop(0)
        run = at[lane][1]
        lanes.load(
            lane, *run.parts(), run.rows, run.order, run.n, run.seed, run.shuffled, run.numbers,
            run.dropout, run.rates, run.decays, run.parameters, run.slots(trainer),
            (0, 0, 0, 0.0, 0.0), run.missing,
        )  # fmt: skip
        lanes.set_course(lane, run.course)
        ends[lane] = run.epochs
        losses[lane] = np.nan

    for lane in range(0, lanes.n_lanes, 1 if len(runs) > lanes.n_lanes else 2)[: len(runs)]:
        if queue:
            fill(lane)
    while any(at):
        doors.train_lanes(lanes, max_steps, ends, firsts, losses, clock)
        for lane, member in enumerate(at):
            if member is None:
                continue
            place, run = member
            if lanes.position(lane)[0] >= run.epochs or lanes.has_diverged(lane):
                parameters, slots = np.empty_like(run.parameters), run.slots(trainer)
                lanes.store(lane, parameters, slots)
                own = losses[lane, : run.epochs].copy()
                found[place] = parameters, slots, own, lanes.position(lane)
                lanes.clear(lane)
                at[lane], ends[lane] = None, 10**6
                if queue:
                    fill(lane)
    return found


def same(runs, **options):
    learned = 0
    for place, (run, found) in enumerate(zip(runs, in_lanes(runs, **options), strict=True)):
        expected = run.alone()
        learned += np.isfinite(expected[0]).all() and (expected[0] != run.parameters).any()
        for name, a, b in zip(("parameters", "slots", "losses"), found, expected, strict=False):
            assert_array_equal(a, b, f"run {place}: {name}")
        assert found[3] == expected[3], place
    assert 2 * learned >= len(runs)


def networks(count, sizes, dtype, **options):
    return [fastbp.Network(sizes, dtype=dtype, seed=i, **options) for i in range(count)]


def regression(rng, n, net, scale=1.0):
    dtype = net.parameters.dtype
    X = rng.normal(size=(n, net.sizes[0])).astype(dtype)
    return X, (scale * rng.normal(size=(n, net.sizes[-1]))).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", SIZES)
def test_each_lane_is_a_run_of_its_own(level, size, dtype):
    rng = np.random.default_rng(size)
    for sizes in ([size, size], [2, size, 3], [3, size, size, 1], [size, 1], [1, size, 2]):
        nets = networks(19, sizes, dtype, activation="tanh", output="identity", loss="mse")
        runs = [
            Run(
                net, fastbp.SGD(0.01 * (1 + i % 3)), *regression(rng, 5 + 3 * i, net), seed=i,
                epochs=1 + i % 3, shuffled=i % 4 != 3,
            )
            for i, net in enumerate(nets)
        ]  # fmt: skip
        same(runs)


def outputs(kind, rng, n, net, dtype):
    """X and Y that suit a network's cost: numbers, classes, positive numbers, or missing ones."""
    X, Y = regression(rng, n, net)
    if kind == "classes":
        return X, rng.integers(0, net.sizes[-1], n)
    if kind == "shares":
        return X, rng.dirichlet(np.ones(net.sizes[-1]), n).astype(dtype)
    return X, (np.abs(Y) / (1 + np.abs(Y))).astype(dtype) if kind == "positive" else Y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("output", "loss", "kinds"),
    [
        ("softmax", "cross_entropy", ["classes", "shares"]),
        ("softmax(0.7)", "kl", ["classes", "shares"]),
        ("sigmoid", "binary_cross_entropy", ["classes", "positive"]),
        ("exp", "poisson", ["positive"]),
        ("sigmoid", "cross_entropy", ["positive", "classes"]),
        ("sigmoid", "kl", ["positive"]),
        ("identity", "quadratic", ["numbers", "classes"]),
        ("tanh", "mae", ["numbers"]),
        ("identity", "huber(0.4)", ["numbers"]),
        ("identity", "log_cosh(0.3)", ["numbers"]),
        ("identity", "hinge", ["classes"]),
        ("identity", "squared_hinge", ["classes"]),
        ("softplus", "poisson", ["positive"]),
        ("identity", "pinball(0.9)", ["numbers"]),
        ("identity", "mse(0.5)", ["numbers"]),
    ],
)  # fmt: skip
def test_costs(level, output, loss, kinds, dtype):
    for sizes in ([3, 9, 2], [7, 5], [2, 3, 17], [5, 33, 33], [3, 4]):
        rng = np.random.default_rng(sizes[-1])
        nets = networks(17, sizes, dtype, activation="relu", output=output, loss=loss)
        runs = []
        for i, net in enumerate(nets):
            X, Y = outputs(kinds[i % len(kinds)], rng, 9 + i, net, dtype)
            weight = rng.random(len(X)).astype(dtype) if i % 3 == 1 else None
            if i == 4:
                weight = (np.arange(len(X)) > 10).astype(dtype)  # batches of no weight
            runs.append(Run(net, fastbp.SGD(0.05), X, Y, weight=weight, seed=i, batch_size=7))
        same(runs)


ELEMENTWISE = [name for name in functions.ACTIVATIONS if name not in functions.COUPLED]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", [*ELEMENTWISE, "leaky_relu(0.2)", "elu(0.6)"])
def test_activations(level, activation, dtype):
    rng = np.random.default_rng(1)
    for sizes in ([3, 9, 1], [2, 32, 32, 3]):
        nets = networks(5, sizes, dtype, activation=activation, output=activation, loss="mse")
        runs = [Run(net, fastbp.SGD(0.02), *regression(rng, 20, net), seed=i)
                for i, net in enumerate(nets)]  # fmt: skip
        for run in runs:
            run.parameters *= 0.2  # exp of exp
        same(runs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers(level, name, dtype):
    """Each lane has its own numbers, stands at another step, and may have penalties or none."""
    rng, optimizer = np.random.default_rng(2), OPTIMIZERS[name][0]
    for numbers in ([{}], [{"l2": 0.1}, {}, {"l1": 0.05}, {"clip_value": 0.03}]):
        for sizes in ([3, 17, 2], [5, 7, 1]):
            nets = networks(19, sizes, dtype, activation="tanh", output="identity", loss="mse")
            runs = []
            for i, net in enumerate(nets):
                own = dataclasses.replace(optimizer, learning_rate=0.02 / (1 + i % 4))
                X, Y = regression(rng, 9 + 5 * (i % 4), net)
                runs.append(Run(net, own, X, Y, numbers=numbers[i % len(numbers)], seed=i,
                                epochs=2 + i % 2))  # fmt: skip
            same(runs)
            same(runs, max_steps=1)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [fastbp.SGD(0.1), fastbp.Adam(0.01)], ids=str)
def test_rates_and_decays_of_tensors(level, optimizer, dtype):
    rng = np.random.default_rng(3)
    nets = networks(9, [4, 7, 3, 2], dtype, activation="tanh", output="identity", loss="mse")
    rates = [None, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0], [0.5, 2.0, 0.0, 1.0, 1.0, 0.0]]
    decays = [None, [0.0, 0.0, 1.0, 0.5, 2.0, 0.0]]
    runs = [
        Run(net, optimizer, *regression(rng, 20, net), rates=rates[i % 3], decays=decays[i % 2],
            numbers={"l2": 0.1} if i % 4 else {}, seed=i)
        for i, net in enumerate(nets)
    ]  # fmt: skip
    same(runs)
    frozen = [0.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    same([dataclasses.replace(run, rates=frozen, decays=None) for run in runs])


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(level, dtype):
    rng = np.random.default_rng(4)
    nets = networks(19, [9, 17, 7, 2], dtype, activation="relu", output="identity", loss="mse")
    rates = [[0.2, 0.5, 0.3], None, [0.0, 0.4, 0.0], [0.5, 0.0, 0.0]]
    same([
        Run(net, fastbp.SGD(0.05), *regression(rng, 10 + 2 * i, net), dropout=rates[i % 4],
            seed=2**63 + i, numbers={"dropout": 0.5} if i % 5 == 0 else {})
        for i, net in enumerate(nets)
    ])  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [fastbp.SGD(0.1), fastbp.AdamW(0.01, weight_decay=0.1)],
                         ids=str)  # fmt: skip
def test_courses_of_numbers(level, optimizer, dtype):
    rng = np.random.default_rng(5)
    nets = networks(19, [3, 9, 2], dtype, activation="relu", output="identity", loss="mse")
    runs = []
    for i, net in enumerate(nets):
        course = np.column_stack([rng.random(40) * 0.1, rng.random(40) * 0.2, rng.random(40)])
        runs.append(Run(net, optimizer, *regression(rng, 10 + 2 * i, net), seed=i,
                        dropout=[0.2, 0.5], course=course if i % 3 else None))  # fmt: skip
    same(runs)
    same(runs, max_steps=3)


@pytest.mark.parametrize("dtype", DTYPES)
def test_penalties_by_batch(level, dtype):
    """As scikit-learn has them: their part of the loss adds its squares in the trainer's order."""
    rng = np.random.default_rng(6)
    for sizes in ([3, 40, 2], [70, 9, 1], [9, 24, 33, 3], [5, 7, 17, 1]):
        nets = networks(5, sizes, dtype, activation="tanh", output="identity", loss="mse")
        runs = []
        for i, net in enumerate(nets):
            X, Y = regression(rng, 21, net)
            weight = (np.arange(21) > 9 + i).astype(dtype) if i % 2 else None
            run = Run(net, fastbp.SGD(1e-4), X, Y, numbers={"batch_l2": 0.1 * i}, weight=weight,
                      decays=[0.5 + i] * (2 * len(sizes) - 2) if i == 3 else None)  # fmt: skip
            if i == 4:  # squares that no double holds
                run.parameters *= 1e160 if dtype == "float64" else 1.0
                run.X = run.X * 0
            runs.append(run)
        same(runs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_missing_targets(level, dtype):
    rng = np.random.default_rng(7)
    nets = networks(5, [3, 9, 5], dtype, activation="tanh", output="identity", loss="huber")
    runs = []
    for i, net in enumerate(nets):
        X, Y = regression(rng, 30, net)
        Y[rng.random(Y.shape) < 0.3 * (i % 2)] = np.nan
        runs.append(Run(net, fastbp.SGD(0.1), X, Y, missing=i % 2 == 1, seed=i))
    same(runs)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows(level, dtype):
    """Orders are drawn from rows, with repeats: those of a run on X[rows]."""
    rng = np.random.default_rng(8)
    nets = networks(19, [3, 9, 2], dtype, activation="tanh", output="identity", loss="mse")
    X, Y = regression(rng, 40, nets[0])
    same([
        Run(net, fastbp.SGD(0.1), X, Y, rows=rng.integers(0, 40, 8 + i), seed=i,
            weight=None if i % 2 else rng.random(40).astype(dtype), shuffled=i % 5 != 0)
        for i, net in enumerate(nets)
    ])  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
def test_scales(level, dtype):
    rng, layers = np.random.default_rng(9), fastbp.layers
    scale = layers.Scale()
    for sizes in ([33, 5, scale, 7, 2], [9, scale, 2], [32, scale, scale, 17, scale, 1]):
        nets = networks(5, sizes, dtype, output="identity", loss="mse")
        same([Run(net, fastbp.SGD(0.05), *regression(rng, 20, net), seed=i)
              for i, net in enumerate(nets)])  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [fastbp.SGD(1e-3), fastbp.Adam(0.01)], ids=str)
def test_a_lane_that_diverges_makes_no_step(level, optimizer, dtype):
    rng = np.random.default_rng(10)
    nets = networks(5, [3, 9, 2], dtype, activation="relu", output="identity", loss="quadratic")
    runs = []
    for i, net in enumerate(nets):
        run = Run(net, optimizer, *regression(rng, 33, net), seed=i, epochs=3)
        if i in (1, 3):
            run.Y[7] = np.finfo(dtype).max
        runs.append(run)
    same(runs)
    assert in_lanes(runs)[1][3][2] < 15


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_stops_a_call(level, dtype):
    nets = networks(2, [3, 5, 1], dtype, output="identity", loss="mse")
    rng, doors = np.random.default_rng(0), nets[0]._doors
    runs = [Run(net, fastbp.Adam(0.01), *regression(rng, 24, net), seed=i)
            for i, net in enumerate(nets)]  # fmt: skip
    lanes = doors.Lanes(nets[0]._compiled, "adam", 8, False)
    slots = np.zeros((2, nets[0].n_parameters), dtype)
    for lane, run in enumerate(runs):
        lanes.load(lane, *run.parts(), None, run.order, 24, lane, True, run.numbers, None, None,
                   None, run.parameters, slots, (0, 0, 0, 0.0, 0.0), False)  # fmt: skip
    ends, firsts = np.full(lanes.n_lanes, 9), np.zeros(lanes.n_lanes, np.intp)
    losses, clock = np.zeros((lanes.n_lanes, 9)), np.zeros((lanes.n_lanes, 9))

    def go(steps, deadline=0.0):
        return doors.train_lanes(lanes, steps, ends, firsts, losses, clock, deadline)

    assert go(2) == 2 and lanes.position(0)[:3] == (0, 16, 2)
    assert go(10**6, 1e-9) == 1  # a deadline that has passed: the step at hand is the last
    assert lanes.position(1)[:3] == (1, 0, 3)
    ends[1] = 2
    assert go(10**6) == 3 and lanes.position(1)[0] == 2
    assert go(10**6) == 0
    lanes.set_step(0, runs[0].numbers | {"learning_rate": 0.0})
    lanes.clear(1)
    ends[1] = 9
    parameters, after = runs[0].parameters.copy(), runs[0].parameters.copy()
    lanes.store(0, parameters, slots)
    assert lanes.has_finite_state(0)
    assert go(7) == 7
    lanes.store(0, after, slots)
    assert_array_equal(after, parameters)
    lanes.set_course(0, np.zeros((4, 3)))
    assert go(10) == 4
    parameters[-1] = np.inf
    lanes.load(1, *runs[1].parts(), None, runs[1].order, 24, 1, True, runs[1].numbers, None, None,
               None, parameters, slots, (0, 0, 0, 0.0, 0.0), False)  # fmt: skip
    assert not lanes.has_finite_state(1) and lanes.has_finite_state(0)
    for refused in (-1, lanes.n_lanes):
        with pytest.raises(IndexError, match="lane: expected 0 to"):
            lanes.position(refused)


def test_what_cannot_go_into_lanes(level):
    def fit(sizes, **options):
        net = fastbp.Network(sizes, **options)
        return net._doors.lanes_fit(net._compiled)

    assert fit([3, 4, 2]) and fit([3, 1], output="identity", loss="mse")
    assert not fit([3, 4, 2], activation="layer_norm")
    assert not fit([3, 4, 2], activation="glu")
    assert not fit([3, 4, 2], output="log_softmax", loss="quadratic")
    assert not fit([3, 4, 2], output="identity", loss="gaussian_nll")
    net = fastbp.Network([3, 4, 2], activation="maxout(2)")
    with pytest.raises(TypeError, match="cannot go into lanes"):
        net._doors.Lanes(net._compiled, "sgd", 8, False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", [fastbp.SGD(0.01), fastbp.Adam(0.01)], ids=str)
def test_batches_in_slices(level, optimizer, dtype):
    """A batch that overflows the cache adds its gradient slice by slice, samples in order."""
    rng = np.random.default_rng(11)
    for sizes in ([9, 33, 17, 1], [40, 2]):
        nets = networks(5, sizes, dtype, activation="relu", output="identity", loss="mse")
        rates = [0.0, 1.0] * (len(sizes) - 1)
        runs = [
            Run(net, optimizer, *regression(rng, 1500 + 700 * i, net), batch_size=1400, seed=i,
                rates=rates if i == 1 else None, numbers={"l2": 1e-3} if i == 2 else {})
            for i, net in enumerate(nets)
        ]  # fmt: skip
        same(runs)


def test_how_many_networks_lanes_pay_for(level):
    def fewest(sizes, batch_size=32, optimizer="sgd", **options):
        net = fastbp.Network(sizes, output="identity", loss="mse", **options)
        assert net._doors.lanes_bytes(net._compiled, optimizer, batch_size) > 0
        return net._doors.fewest_in_lanes(net._compiled, optimizer, batch_size)

    net = fastbp.Network([2, 1], output="identity", loss="mse")
    n_lanes = net._doors.Lanes(net._compiled, "sgd", 8, False).n_lanes
    assert 1 <= fewest([2, 16, 1]) <= fewest([20, 16, 1]) <= fewest([24, 24, 24]) == n_lanes
    assert fewest([32, 32, 32, 1]) == 0  # as fast as one by one
    assert fewest([64, 128, 128, 1]) == 0  # as wide as a vector, and tiles are as full
    assert fewest([3000, 10]) == 0  # 16 of them do not stay in the cache
    assert fewest([9, 9, 1], activation="layer_norm") == 0
