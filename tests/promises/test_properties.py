"""Laws that hold without an oracle, for networks that hypothesis draws.

What belongs here: what must be equal to what (a batch and its samples, a run and its continuation,
one CPU level and another, any number of threads). What does not: values (test_network.py,
test_training.py). Equal means the same bits wherever no sum changes its order; examples are drawn
anew the same way on every run.
"""

import contextlib
from dataclasses import dataclass

import numpy as np
import pytest
from cases import ACTIVATIONS, DTYPES, LOSSES, OPTIMIZERS, admitted, fits, network, oracle, targets
from hypothesis import given, reject, settings, strategies as st
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp import functions, training
from fastbp.kernels import dispatch
from fastbp.training import driver as run_module

pytestmark = pytest.mark.sanitizers

LEVELS = dispatch.available_levels()
FMA_LEVELS = [level for level in LEVELS if level != "baseline"]
PAIRS = [(a, c) for a in ACTIVATIONS for c in LOSSES if fits(a, c)]
# e^z of e^z has no bound
HIDDEN = [name for name in ACTIVATIONS if name != "exp"]
# layer_norm of two nearly cancels its slopes: what is left is rounding, other on every way
UNNORMED = [name for name in HIDDEN if not name.startswith("layer_norm")]
SMOOTH = ["tanh", "gelu", "relu", "glu", "softmax", "maxout(3)"]
ENDS = [("softmax", "cross_entropy"), ("identity", "huber(0.4)"), ("log_softmax", "log_cosh"),
        ("sigmoid", "binary_cross_entropy")]  # fmt: skip
EPS = {dtype: float(np.finfo(dtype).eps) for dtype in DTYPES}

settings.register_profile("fastbp", derandomize=True, deadline=None, max_examples=250)
settings.load_profile("fastbp")


@contextlib.contextmanager
def running_on(level):
    """Networks made inside run on this level (a fixture would not come back between examples)."""
    kept = dispatch.engine
    dispatch.engine = dispatch.load(level)
    try:
        yield
    finally:
        dispatch.engine = kept


@dataclass
class Problem:
    """A network to be made, and data for it."""

    sizes: list
    activation: list
    output: str
    loss: str
    dtype: str
    n: int
    seed: int

    def network(self):
        return network(self.sizes, self.activation, self.output, self.loss, self.dtype, self.seed)

    def data(self):
        rng = np.random.default_rng(self.seed)
        X = rng.standard_normal((self.n, self.sizes[0])).astype(self.dtype)
        Y = targets(rng, self.loss, self.n, self.sizes[-1]).astype(self.dtype)
        return X, Y, rng


widths = st.integers(1, 36)


@st.composite
def problems(draw, n=(1, 40), hidden=(0, 3), names=HIDDEN, pairs=PAIRS, scales=(0, 2)):
    depth = draw(st.integers(*hidden))
    output, loss = draw(st.sampled_from(pairs))
    sizes = [draw(widths) for _ in range(depth + 2)]
    activation = [draw(st.sampled_from(names)) for _ in range(depth)]
    for _ in range(draw(st.integers(*scales))):
        sizes.insert(draw(st.integers(1, len(sizes) - 1)), "scale")
    return Problem(
        admitted(sizes, activation, output, loss),
        activation,
        output,
        loss,
        draw(st.sampled_from(DTYPES)),
        draw(st.integers(*n)),
        draw(st.integers(0, 2**32 - 1)),
    )


levels = st.sampled_from(LEVELS)


def close(got, expected, dtype, factor=1e3):
    """To rounding: `factor` roundings of the largest element."""
    expected = np.asarray(expected)
    assert_allclose(
        got, expected, rtol=0, atol=factor * EPS[dtype] * np.abs(expected).max(initial=0)
    )


# ---- samples and batches


@given(problems(n=(1, 70)), levels)
def test_batch_is_stacked_samples(problem, level):
    """Row for row the same bits: a tile adds each output in one order, whatever lies beside it."""
    with running_on(level):
        net = problem.network()
    X, Y, rng = problem.data()
    U = rng.standard_normal((len(X), problem.sizes[-1])).astype(problem.dtype)
    V = rng.standard_normal(X.shape).astype(problem.dtype)
    for ask in (
        lambda rows: [net.predict(X[rows])],
        lambda rows: net.feedforward(X[rows])[0],
        lambda rows: net.deltas(X[rows], Y[rows]),
        lambda rows: [net.input_gradient(X[rows], Y[rows])],
        lambda rows: [net.vjp(X[rows], U[rows])],
        lambda rows: [net.jvp(X[rows], V[rows])],
        lambda rows: [net.jacobian(X[rows])],
    ):
        batch = ask(slice(None))
        for s in range(len(X)):
            for whole, one in zip(batch, ask(slice(s, s + 1)), strict=True):
                assert_array_equal(whole[s : s + 1], one)


@given(problems(), levels)
def test_gradient_of_a_batch_is_the_mean_of_its_samples(problem, level):
    with running_on(level):
        net = problem.network()
    X, Y, rng = problem.data()
    single = np.array([net.gradient(X[s : s + 1], Y[s : s + 1]) for s in range(len(X))], float)
    losses = [net.loss(X[s : s + 1], Y[s : s + 1]) for s in range(len(X))]
    scale = np.abs(single).max() / max(np.abs(single.mean(axis=0)).max(), 1e-300)
    close(net.gradient(X, Y), single.mean(axis=0), problem.dtype, 1e2 * max(scale, 1))
    assert net.loss(X, Y) == pytest.approx(
        np.mean(losses), rel=1e-12, abs=1e-12 * max(np.abs(losses))
    )
    weight = rng.random(len(X)).astype(problem.dtype) + np.asarray(0.1, problem.dtype)
    mean = np.average(single, axis=0, weights=weight)
    close(net.gradient(X, Y, sample_weight=weight), mean, problem.dtype, 1e2 * max(scale, 1) * 10)


@given(problems(n=(2, 20)), levels, st.data())
def test_weight_2_is_a_row_twice(problem, level, data):
    with running_on(level):
        net = problem.network()
    X, Y, _ = problem.data()
    row = data.draw(st.integers(0, len(X) - 1))
    weight = np.ones(len(X))
    weight[row] = 2
    twice = np.append(np.arange(len(X)), row)
    assert net.loss(X, Y, sample_weight=weight) == pytest.approx(
        net.loss(X[twice], Y[twice]), rel=1e-12, abs=1e-12
    )
    single = np.array([np.abs(net.gradient(X[[s]], Y[[s]])) for s in range(len(X))]).max()
    error = np.abs(net.gradient(X, Y, sample_weight=weight) - net.gradient(X[twice], Y[twice]))
    assert error.max() <= 30 * EPS[problem.dtype] * single


@given(
    problems(n=(2, 20), names=["tanh", "glu", "softmax"],
             pairs=[("identity", "log_cosh"), ("softmax", "cross_entropy"), ("sigmoid", "mse")]),
    levels,
    st.sampled_from(sorted(OPTIMIZERS)),
)  # fmt: skip
def test_a_fit_with_weight_2_is_one_with_a_row_twice(problem, level, optimizer):
    problem.dtype = "float64"
    X, Y, _ = problem.data()
    weight = np.ones(len(X))
    weight[-1] = 2
    twice = np.append(np.arange(len(X)), len(X) - 1)
    options = {"epochs": 4, "batch_size": 100, "optimizer": OPTIMIZERS[optimizer][0]}
    with running_on(level):
        one, other = problem.network(), problem.network()
        a = one.fit(X, Y, sample_weight=weight, **options)
        b = other.fit(X[twice], Y[twice], **options)
    assert_allclose(one.parameters, other.parameters, rtol=0, atol=1e-9)
    assert_allclose(a["loss"], b["loss"], rtol=1e-10)


# ---- symmetries and derivatives


def columns_of_z(name, order):
    """Where the columns of z go when the activations go in `order`."""
    f = functions.activation(name)
    if f.kind == "glu":
        return np.concatenate([order, len(order) + order])
    return (order[:, None] * f.z_per_a + np.arange(f.z_per_a)).ravel()


@given(problems(hidden=(1, 3), scales=(0, 0)), levels, st.data())
def test_permuting_hidden_units_leaves_the_output(problem, level, data):
    with running_on(level):
        net, twin = problem.network(), problem.network()
    layer = data.draw(st.integers(0, len(problem.activation) - 1))
    order = np.array(data.draw(st.permutations(range(problem.sizes[layer + 1]))))
    columns = columns_of_z(problem.activation[layer], order)
    twin.weights[layer][...] = net.weights[layer][:, columns]
    twin.biases[layer][...] = net.biases[layer][columns]
    twin.weights[layer + 1][...] = net.weights[layer + 1][order]
    X, _, _ = problem.data()
    # layer_norm of nearly equal z divides rounding errors by as little as sqrt(1e-5)
    normed = sum("layer_norm" in name for name in [*problem.activation, problem.output])
    factor = 1e2 * 300**normed
    if factor * EPS[problem.dtype] < 0.1:
        close(twin.predict(X), net.predict(X), problem.dtype, factor)
        # the unit that moved is the unit that is there
        moved, there = (n.feedforward(X)[1][layer + 1] for n in (twin, net))
        close(moved, there[:, order], problem.dtype, factor)


@given(problems(), levels)
def test_vjp_and_jvp_are_adjoint(problem, level):
    """<J v, u> = <v, J^T u>."""
    with running_on(level):
        net = problem.network()
    X, _, rng = problem.data()
    u = rng.standard_normal((len(X), problem.sizes[-1])).astype(problem.dtype)
    v = rng.standard_normal(X.shape).astype(problem.dtype)
    left = np.einsum("sk,sk->s", net.jvp(X, v).astype(float), u)
    right = np.einsum("sk,sk->s", v.astype(float), net.vjp(X, u))
    J = np.abs(net.jacobian(X).astype(float))
    scale = np.einsum("sk,skj,sj->s", np.abs(u), J, np.abs(v)).max()
    # what cancels inside J (softmax, layer_norm) cancels differently on the two ways
    assert_allclose(left, right, rtol=0, atol=3e3 * EPS[problem.dtype] * (scale + 1e-3))


@given(problems(n=(1, 30)), levels)
def test_rows_of_the_jacobian_are_vjps_of_unit_vectors(problem, level):
    with running_on(level):
        net = problem.network()
    X, _, _ = problem.data()
    J = net.jacobian(X)
    for k in range(problem.sizes[-1]):
        unit = np.zeros((len(X), problem.sizes[-1]), problem.dtype)
        unit[:, k] = 1
        assert_array_equal(net.vjp(X, unit), J[:, k])


@given(
    problems(names=UNNORMED, pairs=[p for p in PAIRS if p[0] in UNNORMED], scales=(0, 0)), levels
)
def test_input_gradient_is_what_the_gradient_is_made_of(problem, level):
    """The first bias's gradient is the mean of delta^1, and dC/dx = delta^1 W^1^T."""
    with running_on(level):
        net = problem.network()
    X, Y, _ = problem.data()
    first = net.deltas(X, Y)[0].astype(float)
    W = net.weights[0]
    scale = (np.abs(first) @ np.abs(W.T)).max(initial=1e-300)
    error = np.abs(net.input_gradient(X, Y) - first @ W.T).max()
    assert error <= 100 * EPS[problem.dtype] * scale
    nabla_b = net.gradient(X, Y)[W.size : W.size + W.shape[1]]
    error = np.abs(nabla_b - first.mean(axis=0)).max()
    assert error <= 100 * EPS[problem.dtype] * np.abs(first).max()


@given(problems(names=SMOOTH, pairs=ENDS, scales=(1, 4)), levels)
def test_any_mix_of_layers_is_what_the_oracle_says(problem, level):
    with running_on(level):
        net = problem.network()
    X, Y, rng = problem.data()
    ref = oracle(net)
    V, U = rng.standard_normal(X.shape), rng.standard_normal((len(X), problem.sizes[-1]))
    V, U = V.astype(problem.dtype), U.astype(problem.dtype)
    close(net.predict(X), ref.predict(X), problem.dtype)
    close(net.jvp(X, V), ref.jvp(X, V), problem.dtype)
    close(net.vjp(X, U), ref.vjp(X, U), problem.dtype)
    for got, expected in zip(net.deltas(X, Y), ref.deltas(X, Y), strict=True):
        close(got, expected, problem.dtype)
    options = {"l2": 0.3, "l1": 0.2}
    close(net.gradient(X, Y, **options), ref.gradient(X, Y, **options), problem.dtype)
    close(net.loss(X, Y, **options), ref.loss(X, Y, **options), problem.dtype)


# ---- the same run


fits_of = problems(n=(1, 45), names=SMOOTH, pairs=ENDS)


def run_of(problem, level, **options):
    """Fit a fresh network; (network, history)."""
    with running_on(level):
        net = problem.network()
        X, Y, rng = problem.data()
        weight = rng.integers(1, 4, len(X)).astype(problem.dtype)
        return net, net.fit(X, Y, sample_weight=weight, l2=0.02, l1=0.01, **options)


def whole_run_of(problem, level, **options):
    """One that the others are held against: not one that diverges, as scales in a row may."""
    try:
        return run_of(problem, level, **options)
    except (fastbp.DivergenceError, RuntimeWarning):
        reject()


def assert_same_run(one, other):
    (a, history_a), (b, history_b) = one, other
    assert_array_equal(a.parameters, b.parameters)
    assert list(history_a) == list(history_b)
    for name in history_a:
        if name != "seconds":
            assert_array_equal(history_a[name], history_b[name], name)


@given(fits_of, levels, st.sampled_from(sorted(OPTIMIZERS)), st.integers(1, 20), st.data())
def test_resuming_is_not_stopping(problem, level, optimizer, batch_size, data):
    a, b, c = (data.draw(st.integers(1, 3)) for _ in range(3))
    shuffle = data.draw(st.sampled_from([True, False, lambda e, n: np.roll(np.arange(n), e)]))
    X, Y, _ = problem.data()
    options = {"batch_size": batch_size, "optimizer": OPTIMIZERS[optimizer][0], "shuffle": shuffle,
               "seed": problem.seed, "validation": (X, Y)}  # fmt: skip
    whole = whole_run_of(problem, level, epochs=a + b + c, **options)
    net, history = run_of(problem, level, epochs=a, **options)
    weight = problem.data()[2].integers(1, 4, len(X)).astype(problem.dtype)
    first = history.to_dict()
    with running_on(level):
        for epochs in (b, c):
            history = net.fit(X, Y, sample_weight=weight, l2=0.02, l1=0.01, epochs=epochs,
                              resume=history, **options)  # fmt: skip
    assert_same_run(whole, (net, history))
    assert history.epochs == a + b + c and len(first["loss"]) == a
    assert (np.diff(history["seconds"]) >= 0).all()


@pytest.mark.parametrize("shuffle", [True, False, lambda e, n: np.roll(np.arange(n), e)])
@pytest.mark.parametrize("stop_after", [3, 4, 5, 11])
def test_resuming_in_the_middle_of_an_epoch(level, monkeypatch, stop_after, shuffle):
    """A run interrupted after any step, 4 of them an epoch, goes on as if nothing had happened."""
    problem = Problem([4, 9, 3], ["tanh"], "softmax", "cross_entropy", "float32", 38, 5)
    X, Y, _ = problem.data()
    options = {"batch_size": 10, "optimizer": fastbp.Adam(0.05), "seed": 8, "shuffle": shuffle}
    whole = problem.network()
    expected = whole.fit(X, Y, epochs=6, **options)

    monkeypatch.setattr(run_module, "flops", lambda *_: 1e12)  # slices of one step
    monkeypatch.setattr(run_module, "SLICE_SECONDS", 0.0)
    slices, histories = [], []
    make_slice = run_module.Run.slice
    make_history = training.History.__init__

    def interrupted(run, end_epoch, *rest):
        if len(slices) == stop_after:
            raise KeyboardInterrupt
        slices.append(end_epoch)
        make_slice(run, end_epoch, *rest)

    def remembered(history, *earlier):
        make_history(history, *earlier)
        histories.append(history)

    net = problem.network()
    with monkeypatch.context() as patch:
        patch.setattr(run_module.Run, "slice", interrupted)
        patch.setattr(training.History, "__init__", remembered)
        with pytest.raises(KeyboardInterrupt):
            net.fit(X, Y, epochs=6, **options)
    history = net.fit(X, Y, epochs=6 - stop_after // 4, resume=histories[0], **options)
    assert_same_run((net, history), (whole, expected))


@pytest.mark.threaded
@given(fits_of, levels, st.sampled_from(sorted(OPTIMIZERS)), st.integers(1, 50))
@settings(max_examples=40)
def test_threads_do_not_change_a_bit(problem, level, optimizer, batch_size):
    optimizer = OPTIMIZERS[optimizer][0]
    options = {"epochs": 2, "batch_size": batch_size, "optimizer": optimizer, "seed": 1}
    alone = whole_run_of(problem, level, threads=1, **options)
    for threads in (2, 3, 5):
        assert_same_run(run_of(problem, level, threads=threads, **options), alone)


@given(fits_of, levels, st.sampled_from(sorted(OPTIMIZERS)), st.integers(1, 20))
@settings(max_examples=30)
def test_slices_do_not_change_a_bit(problem, level, optimizer, batch_size):
    """Coming back to Python after every step, copying the state out each time, or being watched."""
    optimizer = OPTIMIZERS[optimizer][0]
    options = {"epochs": 3, "batch_size": batch_size, "optimizer": optimizer, "seed": 1}
    whole = whole_run_of(problem, level, **options)
    seen = []
    watched = run_of(problem, level, callbacks=[lambda event: seen.append(event.epoch)], **options)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_module, "flops", lambda *_: 1e12)
        patch.setattr(run_module, "SLICE_SECONDS", 0.0)
        patch.setattr(run_module, "SYNC_SECONDS", 0.0)
        sliced = run_of(problem, level, threads=1, **options)
    assert_same_run(watched, whole)
    assert_same_run(sliced, whole)
    assert seen == [0, 1, 2]


# ---- the same bits on every level with fused multiply-add


@pytest.mark.skipif(len(FMA_LEVELS) < 2, reason="needs two levels with FMA")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_avx2_and_avx512_give_the_same_bits(name, dtype):
    losses = [loss for loss in LOSSES if fits(name, loss)]
    for i, loss in enumerate(losses):
        problem = Problem([9, 17, 8 + 9 * (i % 2) + (i % 2)], [name], name, loss, dtype, 35, i)
        if name == "exp":
            problem.activation = ["tanh"]
        X, Y, rng = problem.data()
        U = rng.standard_normal((35, problem.sizes[-1])).astype(dtype)
        results = []
        for level in FMA_LEVELS:
            with running_on(level):
                net = problem.network()
                got = [*net.feedforward(X)[0], *net.feedforward(X)[1], *net.deltas(X, Y),
                       net.predict(X), net.gradient(X, Y, l2=0.1, l1=0.1), net.vjp(X, U),
                       net.jvp(X, X), net.input_gradient(X, Y), net.loss(X, Y)]  # fmt: skip
                for key in sorted(OPTIMIZERS) if loss == "mse" else ["adam"]:
                    optimizer = OPTIMIZERS[key][0]
                    history = net.fit(X, Y, epochs=2, batch_size=8, optimizer=optimizer, seed=1,
                                      l2=0.01, l1=0.01)  # fmt: skip
                    got += [net.parameters.copy(), history["loss"]]
                results.append(got)
        for one, other in zip(*results, strict=True):
            assert_array_equal(one, other)


@pytest.mark.skipif(len(FMA_LEVELS) < 2, reason="needs two levels with FMA")
@given(problems(n=(1, 70)))
def test_any_network_gives_the_same_bits_on_avx2_and_avx512(problem):
    X, Y, _ = problem.data()
    results = []
    for level in FMA_LEVELS:
        with running_on(level):
            net = problem.network()
            results.append([net.predict(X), net.gradient(X, Y), net.jacobian(X[:3])])
    for one, other in zip(*results, strict=True):
        assert_array_equal(one, other)
