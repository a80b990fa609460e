"""The engine's smaller parts, asked at its own doors: what no question to a network isolates.

What belongs here: finiteness, orders, the trainer's copy of the parameters, predictions of few
rows, memory. Values and derivatives are in test_network.py, elementary functions in
test_elementary.py.
"""

import copy
import pickle
import platform
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from cases import DTYPES
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp import functions
from fastbp.kernels import dispatch

pytestmark = pytest.mark.sanitizers


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
    return net._doors.Trainer(net._compiled, policy, numbers, n, 2, 1, True, seed)


def test_orders_are_permutations(level):
    engine = fastbp.Network([1, 1], output="identity", loss="mse")._doors
    for n in (*range(1, 40), 1000, 65537):
        order, rows = np.full(n, -1, np.intp), np.arange(n)[::-1] * 3 + 1
        engine.draw_order(order, None, n, 0)
        assert_array_equal(np.sort(order), np.arange(n))
        of_rows = np.empty_like(order)
        engine.draw_order(of_rows, rows, n, 0)
        assert_array_equal(of_rows, rows[order])


def test_orders_are_those_of_every_level():
    """A run goes on with the same order on another machine: the numbers are fixed here."""
    for level in dispatch.available_levels():
        engine = dispatch.load(level).f32
        order = np.zeros(8, np.intp)
        drawn = []
        for epoch in (0, 1, 2**40):
            engine.draw_order(order, None, 2**64 - 1, epoch)
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
@pytest.mark.parametrize(
    ("policy", "n_slots"),
    [("sgd", 0), ("momentum", 1), ("nesterov", 1), ("adam", 2), ("adamw", 2), ("amsgrad", 3),
     ("rmsprop", 1), ("rmsprop_momentum", 2), ("rmsprop_centered", 3), ("adagrad", 1),
     ("adadelta", 2), ("lion", 1)],
)  # fmt: skip
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
    assert net._doors.has_finite_state(trainer)
    for place in range(net.n_parameters):
        parameters[place] = np.nan
        net._doors.load_state(trainer, parameters, slots)
        assert not net._doors.has_finite_state(trainer), place
        parameters[place] = 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_lies_behind_a_row_of_W_does_not_matter(level, dtype):
    """predict reads W unpadded, in whole vectors: into the next row, b, or the 64 bytes behind."""
    net = fastbp.Network([3, 5, 7], output="identity", loss="mse", dtype=dtype, seed=1)
    X = np.ones((4, 3), dtype)
    expected = net.predict(X)
    assert net.parameters.ctypes.data % 64 == 0
    memory = net.parameters.base
    first = (net.parameters.ctypes.data - memory.ctypes.data) // memory.itemsize
    behind = memory[first + net.n_parameters :]
    assert behind.nbytes >= 64
    for value in (np.finfo(dtype).max, np.nan):
        behind[:] = value
        assert_array_equal(net.predict(X), expected)
        assert_array_equal(net.predict(X.tolist()), expected)  # by Python's checks


# predictions of few rows: `Network.predict` asks here first, and then by Python's checks

SMALL = ([5, 9, 3], {"activation": "tanh", "output": "identity", "loss": "mse"})


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("sizes", "options"),
    [
        SMALL,
        ([2, 3], {"output": "softmax"}),
        ([7, 17, 33, 1], {"activation": ["glu", "maxout(3)"], "output": "exp", "loss": "poisson"}),
        ([16, 8, 8, 4], {"activation": ["layer_norm", "gelu"], "output": "log_softmax",
                         "loss": "quadratic"}),
        ([350, 300, 9], {"activation": "relu"}),  # without the GIL
    ],
)  # fmt: skip
def test_few_rows_have_the_bits_of_many(level, sizes, options, dtype):
    net = fastbp.Network(sizes, **options, dtype=dtype, seed=3)
    X = np.random.default_rng(0).standard_normal((17, sizes[0])).astype(dtype)
    expected = np.empty((17, sizes[-1]), dtype)
    net._doors.predict(net._compiled, net.parameters, X, expected)
    for n in (1, 2, 7, 9, 17):
        for start in {0, 17 - n}:
            rows, out = X[start : start + n], np.full((n, sizes[-1]), 7, dtype)
            made = net._predictor.predict(rows, None)
            if n * max(sizes) < 1000:  # surely fits on the stack
                assert made is not None
                assert net._predictor.predict(rows, out) is out
                assert type(made) is np.ndarray and made.dtype == out.dtype
                assert made.tobytes() == out.tobytes() == expected[start : start + n].tobytes()
            assert net.predict(rows).tobytes() == expected[start : start + n].tobytes()
    large = fastbp.Network([70_000, 16, 1], output="identity", loss="mse", init="zeros")
    assert large._predictor.predict(np.ones((1, 70_000), np.float32), None) is None
    many = np.repeat(X, 500, axis=0)
    assert net._predictor.predict(many, None) is None
    assert net.predict(many).tobytes() == np.repeat(expected, 500, axis=0).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_rows_that_are_not_plain(level, dtype):
    """Whatever has to be refused, converted or told is left to Python, and nothing is written."""
    net = fastbp.Network([3, 4, 2], dtype=dtype, seed=0)
    other = np.dtype("float32" if dtype == "float64" else "float64")
    X, out = np.ones((4, 3), dtype), np.full((4, 2), 7, dtype)
    predict = net._predictor.predict
    assert predict(X, None) is not None and predict(X, out) is out
    out[...] = 7

    def unaligned(array):
        raw = np.zeros(array.nbytes + 1, np.uint8)[1:].view(dtype).reshape(array.shape)
        raw[...] = array
        return raw

    def frozen(array):
        array = array.copy()
        array.flags.writeable = False
        return array

    swapped = np.dtype(dtype).newbyteorder()
    nan, infinity, large = X.copy(), X.copy(), X.copy()
    nan[3, 2], infinity[0, 0], large[1, 1] = np.nan, -np.inf, np.finfo(dtype).max
    assert predict(frozen(X), out) is out  # may well be read
    out[...] = 7
    for bad in (
        X.tolist(), memoryview(X), None, 1.0,
        X[0], X[None], X[:, :2], X[:0],
        X.astype(other), X.astype(swapped), X.astype(int), X.astype(np.float16), X.astype(complex),
        X.astype(object), X.astype("M8[s]"), X.astype("U1"), np.zeros((4, 3), [("x", dtype)]),
        np.asfortranarray(X), np.ones((4, 6), dtype)[:, ::2], X[::-1], unaligned(X),
        np.ma.array(X), X.view(type("Sub", (np.ndarray,), {})),
        nan, infinity,
    ):  # fmt: skip
        assert predict(bad, out) is None, bad
        assert predict(bad, None) is None, bad
        assert (out == 7).all()
    for bad in (
        out.tolist(), 1.0, out[0], out[:3], np.full((4, 3), 7, dtype), out.astype(other),
        out.astype(swapped), np.asfortranarray(out), unaligned(out), frozen(out),
        np.full((4, 4), 7, dtype)[:, ::2], np.ma.array(out), net.weights[1],
        np.lib.stride_tricks.as_strided(net.parameters[-1:], (4, 2), out.strides),
    ):  # fmt: skip
        before = net.parameters.copy(), np.array(bad)
        assert predict(X, bad) is None, bad
        assert_array_equal(net.parameters, before[0])
        assert_array_equal(bad, before[1])
    net.weights[0][...] = 2.0
    assert predict(large, out) is None and (out == 7).all()  # z overflows
    net = fastbp.Network([1, 1], output="exp", loss="poisson", dtype=dtype)
    net.parameters = [1e4, 0]
    assert net._predictor.predict(np.ones((1, 1), dtype), None) is None  # a overflows
    with pytest.warns(RuntimeWarning, match="predict: NaN or infinity from finite input"):
        assert net.predict(np.ones((1, 1), dtype)) == np.inf


@pytest.mark.parametrize("dtype", DTYPES)
def test_few_rows_see_every_parameter(level, dtype):
    """Also one that is multiplied by 0, or whose z relu cuts off."""
    net = fastbp.Network([3, 9, 2, 2], activation="relu", dtype=dtype, seed=0)
    for b in net.biases:
        b[...] = -1
    X = np.zeros((2, 3), dtype)
    assert net._predictor.predict(X, None) is not None
    for place in range(net.n_parameters):
        kept = net.parameters[place]
        for bad in (np.nan, np.inf, -np.inf):
            net.parameters[place] = bad
            assert net._predictor.predict(X, None) is None, place
            with pytest.raises(ValueError, match="parameters: expected finite"):
                net.predict(X)
        net.parameters[place] = kept


def test_few_rows_over_their_own_output(level):
    net = fastbp.Network([3, 5, 3], seed=0)
    store = np.random.default_rng(0).standard_normal(12).astype(np.float32)
    X, out = store[:9].reshape(3, 3), store[3:].reshape(3, 3)
    expected = net.predict(X)
    assert net._predictor.predict(X, out) is out
    assert_array_equal(out, expected)


def test_few_rows_allocate_nothing(level):
    net = fastbp.Network([32, 64, 64, 1], activation="tanh", output="identity", loss="mse")
    X, out = np.ones((8, 32), np.float32), np.empty((8, 1), np.float32)
    net.predict(X, out=out)
    tracemalloc.start()
    try:
        net.predict(X, out=out)
        tracemalloc.reset_peak()
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            net.predict(X, out=out)
        now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert now - before < 100
    assert peak - before < 1000  # Python's and NumPy's view of X and out; a row of work is 1,152


def test_few_rows_follow_the_network(level):
    """The predictor reads the parameters of its own network, whatever is done to them."""
    net = fastbp.Network(SMALL[0], **SMALL[1], seed=0)
    X = np.ones((1, 5), np.float32)
    first = net.predict(X)
    for twin in (net.copy(), copy.copy(net), copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert_array_equal(twin._predictor.predict(X, None), first)
        twin.parameters = 2 * net.parameters
        assert twin._predictor.predict(X, None) is not None
        assert (twin.predict(X) != first).any()
        assert_array_equal(net.predict(X), first)
    net.fit(X, np.ones((1, 3)), epochs=1, batch_size=1)
    assert_array_equal(net.predict(X), net.predict(X.tolist()))
    assert (net.predict(X) != first).any()
    predictor, expected = net._predictor, net.predict(X)
    del net
    assert_array_equal(predictor.predict(X, None), expected)


@pytest.mark.threaded
def test_few_rows_from_many_threads(level):
    for sizes in ([5, 9, 3], [350, 300, 9]):  # with the GIL and without
        net = fastbp.Network(sizes, seed=0)
        X = np.random.default_rng(0).standard_normal((40, 1, sizes[0])).astype(np.float32)
        expected = [net.predict(x.tolist()) for x in X]
        with ThreadPoolExecutor(4) as pool:
            for _ in range(20):
                for made, right in zip(pool.map(net.predict, X), expected, strict=True):
                    assert_array_equal(made, right)


# memory


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("optimizer", "slots"), [("sgd", 0), ("momentum", 1), ("adam", 2)])
@pytest.mark.parametrize(
    ("sizes", "batch", "options"),
    [
        ([784, 30, 10], 10, {}),
        ([32, 64, 64, 1], 256, {"output": "identity", "loss": "mse"}),
        ([1024, 1024, 1024, 10], 256, {}),
        ([64] * 17, 100, {}),
        ([20, 50, 30, 5], 64, {"activation": ["glu", "maxout(3)"]}),
    ],
)
def test_memory_of_a_fit(sizes, batch, options, optimizer, slots, dtype):
    """Parameters, slots, three numbers a neuron and sample, and less than a megabyte beside; of
    several threads each has its copy of a^0 and its columns of the first layer."""
    net = fastbp.Network(sizes, **options, dtype=dtype, init="zeros")
    size = net.dtype.itemsize
    numbers = {"learning_rate": 0.0, "l2": 0.0, "l1": 0.0}
    for n_threads in (1, 2):
        need = net._doors.memory(net._compiled, optimizer, batch, n_threads)
        widths = sizes[0] + sum(b.size for b in net.biases)
        bound = net.n_parameters * (1 + slots) + 3 * batch * widths
        if n_threads > 1:
            bound += n_threads * batch * (sizes[0] + 2 * sizes[1])
        assert sum(need.values()) <= bound * size + 2**20
        assert need["parameters"] >= net.n_parameters * size
        assert need["slots"] == slots * need["parameters"]
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            trainer = net._doors.Trainer(
                net._compiled, optimizer, numbers, 1000, batch, n_threads, True, 0
            )
            taken = tracemalloc.get_traced_memory()[0] - before
        finally:
            tracemalloc.stop()
        assert trainer.n_slots == slots
        assert 0 <= taken - sum(need.values()) < 4096  # 64 for alignment, and the object itself


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_deadline_ends_training_after_the_step_at_hand(level, threads):
    """All threads stop at the same step; what is left of the run is made by another call."""
    rng = np.random.default_rng(3)
    net = fastbp.Network([3, 8, 2], output="identity", loss="quadratic")
    X, Y = rng.standard_normal((2, 40, 3)).astype("float32")
    Y = np.ascontiguousarray(Y[:, :2])
    numbers = {"learning_rate": 0.1, "l2": 0.0, "l1": 0.0}
    trainer = net._doors.Trainer(net._compiled, "sgd", numbers, 40, 4, threads, False, 0)
    net._doors.load_state(trainer, net.parameters, np.zeros((0, net.n_parameters), "float32"))
    order, (losses, clock) = np.arange(40, dtype=np.intp), np.zeros((2, 100_000))

    def train(steps, deadline):
        rest = (steps, 10**5, X, Y, None, None, order, 0, losses, clock, deadline)
        with ThreadPoolExecutor(threads) as pool:
            made = list(pool.map(lambda i: net._doors.train(trainer, i, *rest), range(threads)))
        assert len(set(made)) == 1
        return made[0]

    assert train(7, time.monotonic() - 1) == 1  # it has passed: the step at hand is the last
    assert train(7, time.monotonic() + 1000) == 7  # far away, and the last call's is forgotten
    assert train(7, 0.0) == 7
    began, used = time.monotonic(), time.process_time()
    made = train(10**6, began + 0.1)
    assert made < 10**6 and time.monotonic() - began >= 0.1
    assert time.process_time() - used < 0.5 * threads
    assert trainer.position[2] == 15 + made


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("output", ["tanh", "softmax", "layer_norm"])
@pytest.mark.parametrize("policy", ["sgd", "adam"])
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.05}, {"clip_value": 0.01}], ids=str)
def test_a_loss_in_python_makes_the_steps_of_the_built_in_one(
    level, options, policy, output, dtype
):
    """With m a power of two 1/m is exact, and every bit is the same, in batches large and small."""
    rng = np.random.default_rng(1)
    for m, n in ((8, 24), (4096, 8192)):
        net = fastbp.Network([5, 9, 3], activation="tanh", output=output, loss="quadratic",
                             dtype=dtype)  # fmt: skip
        X = rng.standard_normal((n, 5)).astype(dtype)
        Y = rng.standard_normal((n, 3)).astype(dtype)
        masks = net._doors.Masks([0.25, 0.5], 7, 0)
        numbers = {"learning_rate": 0.1, "beta1": 0.9, "beta2": 0.99, "epsilon": 1e-6,
                   "l2": 0.01, "l1": 0.001} | options  # fmt: skip
        order = rng.permutation(n).astype(np.intp)
        slots = np.zeros((2 if policy == "adam" else 0, net.n_parameters), dtype)
        found = []
        for whole in (False, True):
            trainer = net._doors.Trainer(
                net._compiled, policy, numbers, n, m, 1, False, 7, masks, whole
            )
            net._doors.load_state(trainer, net.parameters, slots)
            if whole:
                out = np.empty((m, 3), dtype)
                for step in range(2 * n // m):
                    first = step * m % n
                    net._doors.step_outputs(trainer, X, order, first, m, out)
                    V = (out - Y[order[first : first + m]]) / np.dtype(dtype).type(m)
                    assert net._doors.step_update(trainer, V) is True
            else:
                losses, clock = np.zeros((2, 2))
                net._doors.train(trainer, 0, 10**6, 2, X, Y, None, None, order, 0, losses, clock)
            assert trainer.position[:3] == (2, 0, 2 * n // m)
            parameters, slots_out = np.empty_like(net.parameters), np.empty_like(slots)
            net._doors.store_state(trainer, parameters, slots_out)
            found.append(np.concatenate([parameters, slots_out.ravel()]))
        assert_array_equal(*found)
        assert (found[0][: net.n_parameters] != net.parameters).mean() > 0.7
        before = trainer.position
        net._doors.step_outputs(trainer, X, order, 0, m, out)
        assert net._doors.step_update(trainer, np.full((m, 3), np.nan, dtype)) is False
        assert trainer.diverged and trainer.position == before
        net._doors.store_state(trainer, parameters, slots_out)
        assert_array_equal(parameters, found[1][: net.n_parameters])


# the scale link beside dense ones: z = s * a. The engine has it; `Network` does not offer it yet

SCALED = [("scale", "identity", 0.0, 3, 3, 3), ("dense", "tanh", 0.0, 3, 9, 9),
          ("scale", "sigmoid", 0.0, 9, 9, 9), ("dense", "identity", 0.0, 9, 2, 2)]  # fmt: skip
SHAPES = [(3,), (3, 9), (9,), (9,), (9, 2), (2,)]  # s1, W2, b2, s3, W4, b4


def split(theta):
    at = np.cumsum([0, *map(np.prod, SHAPES)])
    return [theta[i:j].reshape(n) for i, j, n in zip(at, at[1:], SHAPES, strict=False)]


def scaled_outputs(theta, X):
    s1, W2, b2, s3, W4, b4 = split(theta)
    a2 = np.tanh(X * s1 @ W2 + b2)
    return 1 / (1 + np.exp(-a2 * s3)) @ W4 + b4


def scaled_gradient(theta, X, Y):
    """Of the mean of 1/2 (a - y)^2, and dC/dx of each sample, by the chain rule."""
    s1, W2, b2, s3, W4, b4 = split(theta)
    a1 = X * s1
    a2 = np.tanh(a1 @ W2 + b2)
    a3 = 1 / (1 + np.exp(-a2 * s3))
    delta4 = a3 @ W4 + b4 - Y
    delta3 = delta4 @ W4.T * a3 * (1 - a3)
    delta2 = delta3 * s3 * (1 - a2**2)
    delta1 = delta2 @ W2.T
    parts = [(delta1 * X).sum(0), a1.T @ delta2, delta2.sum(0), (delta3 * a2).sum(0),
             a3.T @ delta4, delta4.sum(0)]  # fmt: skip
    return np.concatenate([part.ravel() for part in parts]) / len(X), delta1 * s1


@pytest.fixture
def scaled(level, dtype):
    doors = dispatch.doors(np.dtype(dtype))
    rng = np.random.default_rng(3)
    net = doors.CompiledNetwork(SCALED, ("quadratic", 0.0), 2)
    theta = np.zeros(sum(map(np.prod, SHAPES)) + 16, dtype)[:-16]
    theta[:] = rng.standard_normal(theta.size)
    X, Y = rng.standard_normal((2, 33, 3)).astype(dtype)
    return doors, net, theta, X, np.ascontiguousarray(Y[:, :2])


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_scale_link_answers_as_the_formula(scaled, dtype):
    doors, net, theta, X, Y = scaled
    close = {"rtol": 0, "atol": 2e-5 if dtype == "float32" else 1e-13}
    wide, wide_X = theta.astype(np.float64), X.astype(np.float64)
    out, nabla, of_x = np.empty((33, 2), dtype), np.empty_like(theta), np.empty_like(X)
    doors.predict(net, theta, X, out)
    assert_allclose(out, scaled_outputs(wide, wide_X), **close)
    doors.gradient(net, theta, X, Y, None, None, 1 / 33, nabla)
    doors.input_gradient(net, theta, X, Y, None, of_x)
    expected, expected_of_x = scaled_gradient(wide, wide_X, Y)
    assert_allclose(nabla, expected, **close)
    assert_allclose(of_x, expected_of_x, **close)
    V, jvp, vjp = X[::-1].copy(), np.empty((33, 2), dtype), np.empty_like(X)
    doors.jvp(net, theta, X, V, jvp)
    h = 1e-6
    slope = scaled_outputs(wide, wide_X + h * V) - scaled_outputs(wide, wide_X - h * V)
    assert_allclose(jvp, slope / (2 * h), rtol=0, atol=max(close["atol"], 1e-7))
    doors.vjp(net, theta, X, Y, vjp)
    assert_allclose((jvp * Y).sum(1), (V * vjp).sum(1), rtol=0, atol=30 * close["atol"])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("clip", [None, 0.05])
def test_the_scale_link_is_trained(scaled, dtype, threads, clip):
    """Steps of SGD, the gradient fused with them or (clipped by its norm) stored."""
    doors, net, theta, X, Y = scaled
    numbers = {"learning_rate": 0.1, "l2": 0.0, "l1": 0.0} | ({"clip_norm": clip} if clip else {})
    trainer = doors.Trainer(net, "sgd", numbers, 33, 10, threads, False, 0)
    slots = np.zeros((0, theta.size), dtype)
    doors.load_state(trainer, theta, slots)
    order, (losses, clock) = np.arange(33, dtype=np.intp), np.zeros((2, 3))
    rest = (10**6, 3, X, Y, None, None, order, 0, losses, clock)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(lambda i: doors.train(trainer, i, *rest), range(threads)))
    expected, wide = theta.astype(np.float64), X.astype(np.float64)
    for first in [0, 10, 20, 30] * 3:
        nabla, _ = scaled_gradient(expected, wide[first : first + 10], Y[first : first + 10])
        if clip:
            nabla *= min(1.0, clip / (np.linalg.norm(nabla) + 1e-6))
        expected -= 0.1 * nabla
    doors.store_state(trainer, theta, slots)
    assert_allclose(theta, expected, rtol=0, atol=1e-4 if dtype == "float32" else 1e-13)


# -- one unit: W as a row --------------------------------------------------------------------------

WIDTHS = (2, 7, 9, 16, 17, 33, 100)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", WIDTHS)
def test_one_unit_sums_in_sixteen_parts(level, dtype, n):
    """The bits of sums by k mod 16, added in halves, for any number of rows at once."""
    rng = np.random.default_rng(n)
    net = fastbp.Network([3, n, 1], activation="relu", output="identity", loss="mse", dtype=dtype)
    X = rng.standard_normal((37, 3)).astype(dtype)
    zs, activations = net.feedforward(X)
    a, w = activations[-2], net.weights[1][:, 0]
    rounds_twice = level == "baseline" and platform.machine() in ("x86_64", "AMD64")
    lane = np.zeros((len(X), 16), dtype)
    for k in range(n):
        term = a[:, k] * w[k] if rounds_twice else a[:, k].astype(float) * float(w[k])
        lane[:, k % 16] = lane[:, k % 16] + term  # with fma rounded once
    while lane.shape[1] > 1:
        half = lane.shape[1] // 2
        lane = lane[:, :half] + lane[:, half:]
    expected = lane[:, 0] + net.biases[1][0]
    if dtype == "float32" or rounds_twice:  # NumPy has no fma for doubles
        assert_array_equal(zs[-1][:, 0], expected)
    assert_allclose(zs[-1][:, 0], expected, rtol=0, atol=64 * np.finfo(dtype).eps)
    for m in (1, 2, 3, 5, 8, 15, 16, 17, 33):
        assert_array_equal(net.predict(X[:m]), zs[-1][:m])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"clip_norm": 0.05}, {"l2": 0.01}], ids=str)
@pytest.mark.parametrize("optimizer", [fastbp.SGD(0.1), fastbp.Adam(0.01)], ids=["sgd", "adam"])
def test_one_unit_is_trained_alike_by_any_number_of_threads(level, dtype, optimizer, options):
    """After units whose value at 0 is not 0: what fills the last vector of W stays 0."""
    rng = np.random.default_rng(1)
    for sizes in ([5, 1, 1], [5, 9, 1], [40, 33, 1], [5, 17, 70, 1], [8, 100, 1]):
        X = rng.standard_normal((60, sizes[0])).astype(dtype)
        Y = np.sin(X.sum(axis=1, keepdims=True)).astype(dtype)
        found = []
        for threads in (1, 2, 3):
            net = fastbp.Network(
                sizes, activation="sigmoid", output="identity", loss="mse", dtype=dtype, seed=0
            )
            net.fit(
                X,
                Y,
                epochs=3,
                batch_size=20,
                optimizer=optimizer,
                seed=0,
                threads=threads,
                **options,
            )
            found.append(net)
        for net in found[1:]:
            for name, tensor in net.tensors.items():
                assert_array_equal(tensor, found[0].tensors[name])
        twin = found[0].copy()
        before = {name: tensor.copy() for name, tensor in twin.tensors.items()}
        gradient = twin.gradient(X, Y)
        twin.fit(X, Y, epochs=1, batch_size=60, optimizer=fastbp.SGD(1.0), seed=0, threads=1)
        step = np.concatenate([(before[k] - v).ravel() for k, v in twin.tensors.items()])
        assert_allclose(step, gradient, rtol=0, atol=200 * np.finfo(dtype).eps)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", sorted(functions.ACTIVATIONS))
def test_activations_of_nan_are_nan(name, dtype, level):
    """Also where an overflow inside the network makes it, from finite inputs."""
    net = fastbp.Network([1, 6, 4], activation="exp", output=name,
                         loss="mse", dtype=dtype, init="zeros")  # fmt: skip
    net.biases[0][...] = 1e4  # exp of it is infinite, and 0 times that is NaN
    with np.errstate(over="ignore", invalid="ignore"):
        zs, activations = net.feedforward([[1.0]])
    assert np.isnan(zs[-1]).all()
    assert np.isnan(activations[-1]).all()
