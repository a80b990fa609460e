"""Dropout: its masks, the gradient through them, and training with them.

What belongs here: masks against their published hash and against chance, `Dropout` held still,
`fit(dropout=...)` against the oracle's training with the same masks.
"""

import itertools
import math

import numpy as np
import pytest
from cases import DTYPES, network, oracle, short, targets
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp import Dropout, check, reference
from fastbp.dropout import as_rates
from fastbp.kernels import dispatch

NETWORKS = {
    "elementwise": ([5, 17, 9, 3], ["tanh", "relu"], "softmax", "cross_entropy", 0.4),
    "coupled": ([6, 9, 7, 9, 5, 4], ["glu", "layer_norm", "maxout(3)", "softmax"], "log_softmax",
                "quadratic", 0.3),
    "more coupled": ([4, 8, 6, 2], ["log_softmax", "softmax(0.7)"], "identity", "huber", 0.25),
    "input too": ([33, 40, 3], "gelu", "sigmoid", "binary_cross_entropy", (0.5, 0.2)),
    "one layer's": ([3, 70, 20, 2], "silu", "identity", "mse", [0.0, 0.7]),
    "scaled": ([5, "scale", 17, "scale", 9, 3], ["tanh", "relu"], "softmax", "cross_entropy", 0.4),
    "scaled, the input too": ([6, "scale", "scale", 9, "scale", 4], "glu", "log_softmax",
                              "quadratic", (0.3, 0.5)),
}  # fmt: skip


def make(name, dtype, n, seed=0):
    sizes, activation, output, loss, rate = NETWORKS[name]
    net = network(sizes, activation, output, loss, dtype, seed)
    rng = np.random.default_rng([3, n])
    return net, short(rng.standard_normal((n, sizes[0]))), targets(rng, loss, n, sizes[-1]), rate


# the masks


def hashed_masks(sizes, rates, seed, step, n):
    """The masks of dropout.pxd in Python's whole numbers."""
    mask64, mask32 = 2**64 - 1, 2**32 - 1

    def splitmix(state):
        x = state = (state + 0x9E3779B97F4A7C15) & mask64
        x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask64
        x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask64
        return x ^ (x >> 31)

    bits = int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0])
    of_step = splitmix(splitmix(bits ^ 0xA5A5F00DC3C30FF1) ^ (step * 0xD1342543DE82EF95 & mask64))
    masks = []
    for layer, (width, rate) in enumerate(zip(sizes, rates, strict=True)):
        of_layer = splitmix(of_step + layer * 0xD1342543DE82EF95 & mask64)
        mask = np.ones((n, width))
        for s, j in itertools.product(range(n), range(width)):
            key = splitmix(of_layer + s * 0x9E3779B97F4A7C15 & mask64)
            h = (j * 0x9E3779B9 + key) & mask32
            h = ((h ^ (h >> 17)) * 0xED5AD4BB) & mask32
            h ^= key >> 32
            h = ((h ^ (h >> 11)) * 0xAC4C1B51) & mask32
            h = ((h ^ (h >> 15)) * 0x31848BAB) & mask32
            h ^= h >> 14
            if rate:
                mask[s, j] = 1 / (1 - rate) if h >= int(rate * 2**32) else 0.0
        masks.append(mask)
    return masks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("seed", "step"), [(0, 0), (7, 3), (2**70, 2**40)])
def test_masks_are_those_of_every_level(level, seed, step, dtype):
    net = fastbp.Network([3, 37, 5, 2], dtype=dtype)
    rates = [0.5, 0.25, 0.9]
    found = Dropout(rates, seed, step).masks(net, 6)
    for mine, its in zip(found, hashed_masks([3, 37, 5], rates, seed, step, 6), strict=True):
        assert_array_equal(mine, its.astype(dtype))


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_masks_look_like_chance(rate):
    """Shares, and correlations of layers, steps, seeds, rows and units, within 4 sigma."""
    n, width = 200, 500
    net = fastbp.Network([1, width, width, 1], output="identity", loss="mse", dtype="float64")
    draws = [
        mask > 0
        for seed, step in ((0, 0), (0, 1), (0, 2), (1, 0))
        for mask in Dropout(rate, seed, step).masks(net, n)[1:]
    ]
    sigma = math.sqrt(rate * (1 - rate))
    for kept in draws:
        assert abs(kept.mean() - (1 - rate)) < 4 * sigma / math.sqrt(kept.size)
        # of single rows and columns: 5 sigma, for there are 700 of them in each of 8 draws
        assert abs(kept.mean(axis=0) - (1 - rate)).max() < 5.2 * sigma / math.sqrt(n)
        assert abs(kept.mean(axis=1) - (1 - rate)).max() < 5.2 * sigma / math.sqrt(width)
    unit = [(kept - (1 - rate)) / sigma for kept in draws]

    def correlation(a, b):
        return (a * b).mean() * math.sqrt(a.size)

    for a, b in itertools.combinations(unit, 2):
        assert abs(correlation(a, b)) < 4
    for a in unit:
        for shift in (1, 2, 3, 7, 16, 100):
            assert abs(correlation(a[shift:], a[:-shift])) < 4.5, shift  # rows
            assert abs(correlation(a[:, shift:], a[:, :-shift])) < 4.5, shift  # units
            assert abs(correlation(a[shift:, shift:], a[:-shift, :-shift])) < 4.5, shift


def test_the_mean_of_what_is_passed_on_stays():
    net = network([3, 40, 2], "sigmoid", "identity", "quadratic", "float64")
    X = np.tile([[0.3, -0.2, 0.5]], (20_000, 1))
    mask = Dropout(0.3, seed=5).masks(net, len(X))[1]
    a = net.feedforward(X[:1])[1][1][0]
    mean = (a * mask).mean(axis=0)
    sigma = a * math.sqrt(0.3 / 0.7 / len(X))
    assert (abs(mean - a) < 4.5 * sigma).all()


# the gradient through frozen masks


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("name", "n"), [*((name, 7) for name in NETWORKS), ("input too", 1500)])
def test_gradient_is_the_oracles(level, name, dtype, n):
    """1,500 rows go through in several chunks."""
    net, X, Y, rate = make(name, dtype, n)
    weight = np.random.default_rng(1).integers(0, 3, n) / 2.0
    drop = Dropout(rate, seed=3, step=11)
    ref, masks = oracle(net), [m.astype(np.float64) for m in drop.masks(net, n)]
    rtol = 1e-11 if dtype == "float64" else 3e-4
    expected = ref.gradient(X, Y, weight, 2.0, 0.5, masks)
    nabla = net.gradient(X, Y, sample_weight=weight, l2=2.0, l1=0.5, dropout=drop)
    assert_allclose(nabla, expected, rtol=rtol, atol=rtol * np.abs(expected).max())
    assert_allclose(net.loss(X, Y, sample_weight=weight, l2=2.0, l1=0.5, dropout=drop),
                    ref.loss(X, Y, weight, 2.0, 0.5, masks), rtol=rtol)  # fmt: skip
    assert np.abs(nabla - net.gradient(X, Y, sample_weight=weight, l2=2.0, l1=0.5)).max() > 1e-3
    for mine, its in zip(net.deltas(X, Y, dropout=drop), ref.deltas(X, Y, masks), strict=True):
        assert_allclose(mine, its, rtol=rtol, atol=rtol * np.abs(its).max())


@pytest.mark.grid(together=1)
@pytest.mark.parametrize("name", NETWORKS)
def test_gradient_is_the_slope_of_the_frozen_loss(level, name):
    net, X, Y, rate = make(name, "float64", 5)
    drop = Dropout(rate, seed=2, step=4)

    def f(parameters):
        net.parameters = parameters
        return net.loss(X, Y, dropout=drop)

    def gradient_of(dropout):
        def gradient(parameters):
            net.parameters = parameters
            return net.gradient(X, Y, dropout=dropout)

        return gradient

    start = net.parameters.copy()
    check.assert_gradients(f, gradient_of(drop), start)
    assert not check.gradient(f, gradient_of(Dropout(rate, seed=2, step=5)), start).ok  # stale


@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_check_holds_the_masks_still(name, mode):
    for dtype in DTYPES:
        net, X, Y, rate = make(name, dtype, 4)
        found = check.gradients(net, X, Y, l2=0.5, dropout=Dropout(rate, 1, 2), mode=mode,
                                max_parameters=150)  # fmt: skip
        assert found.verdict.startswith("pass"), str(found)
    stale = net.gradient(X, Y, dropout=Dropout(rate, 1, 3))
    assert not check.gradients(
        net, X, Y, dropout=Dropout(rate, 1, 2), gradient=stale, mode=mode, max_parameters=150
    ).ok


def test_perturbed_costs_have_the_mask():
    net, X, Y, rate = make("input too", "float64", 5)
    drop = Dropout(rate, seed=2)
    index, values = np.arange(0, net.n_parameters, 97), np.linspace(-1, 1, 15)[:None]
    index = index[: len(values)]
    found = net.perturbed_costs(X, Y, index, values, dropout=drop)
    for i, value, costs in zip(index, values, found, strict=True):
        twin = net.copy()
        twin.parameters[i] = value
        assert_array_equal(twin.costs(X, Y, dropout=drop), costs)


# training


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NETWORKS)
def test_fit_is_the_oracles_training(level, name, dtype):
    net, X, Y, rate = make(name, dtype, 23)
    ref, start = oracle(net), net.copy()
    orders = [np.random.default_rng([5, epoch]).permutation(23) for epoch in range(2)]

    def masks(step, n):
        return [m.astype(np.float64) for m in Dropout(rate, seed=9, step=step).masks(start, n)]

    losses = reference.train(ref, X, Y, orders, 10, reference.SGD(0.05, 0.8), masks=masks)
    history = net.fit(X, Y, epochs=2, batch_size=10, optimizer=fastbp.SGD(0.05, momentum=0.8),
                      shuffle=lambda epoch, n: orders[epoch], seed=9, dropout=rate)  # fmt: skip
    rtol = 1e-11 if dtype == "float64" else 1e-4
    assert_allclose(net.parameters, ref.parameters, rtol=rtol,
                    atol=rtol * np.abs(ref.parameters).max())  # fmt: skip
    assert_allclose(history["loss"], losses, rtol=rtol)


@pytest.mark.threaded
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("n", [40, 3000])
def test_bits_depend_on_the_seed_alone(level, name, n):
    """Neither on threads nor on slices of large batches; a resumed run goes on with its masks."""
    found = []
    for threads, parts in ((1, (2,)), (2, (2,)), (3, (2,)), (1, (1, 1))):
        net, X, Y, rate = make(name, "float32", n)
        history = None
        for epochs in parts:
            history = net.fit(X, Y, epochs=epochs, batch_size=max(16, n // 2), seed=1,
                              dropout=rate, threads=threads, resume=history)  # fmt: skip
        found.append(net.parameters)
    for other in found[1:]:
        assert_array_equal(found[0], other)
    net, X, Y, rate = make(name, "float32", n)
    net.fit(X, Y, epochs=2, batch_size=max(16, n // 2), seed=2, shuffle=False, dropout=rate)
    twin, *_ = make(name, "float32", n)
    twin.fit(X, Y, epochs=2, batch_size=max(16, n // 2), seed=3, shuffle=False, dropout=rate)
    assert (net.parameters != twin.parameters).any()


def test_levels_with_fma_have_the_same_bits(monkeypatch):
    if "avx512" not in dispatch.available_levels():
        pytest.skip("one such level")
    found = []
    for name in ("avx2", "avx512"):
        monkeypatch.setattr(dispatch, "engine", dispatch.load(name))
        net, X, Y, rate = make("coupled", "float32", 50)
        net.fit(X, Y, epochs=3, seed=1, dropout=rate, clip_norm=0.5)
        found.append(net.parameters)
    assert_array_equal(*found)


def test_a_rate_of_zero_changes_no_bit(level):
    found = []
    for options in ({}, {"dropout": 0.0}, {"dropout": [0, 0.0]}, {"dropout": (0, 0, 0)}):
        net, X, Y, _ = make("elementwise", "float32", 50)
        net.fit(X, Y, epochs=2, seed=1, **options)
        found.append(net.parameters)
    for other in found[1:]:
        assert_array_equal(found[0], other)


def test_predictions_and_validation_drop_nothing():
    net, X, Y, _ = make("elementwise", "float64", 50)
    history = net.fit(X, Y, epochs=1, seed=1, dropout=0.5, validation=(X, Y))
    assert_allclose(history["validation_loss"][0], net.loss(X, Y), rtol=1e-12)
    assert_array_equal(net.predict(X), net.feedforward(X)[1][-1])


# what is refused


@pytest.mark.parametrize(
    ("rate", "says"),
    [
        (1.0, r"dropout: expected a number in \[0, 1\); got 1.0"),
        (-0.1, r"dropout: expected a number in \[0, 1\); got -0.1"),
        (math.nan, r"dropout: expected a number in \[0, 1\); got nan"),
        ([0.1, 1.5], r"dropout\[1\]: expected a number in \[0, 1\); got 1.5"),
        ([0.1], "dropout: expected one rate, 2 for the hidden layers or 3 with the input's first"),
        ([0.1] * 4, "dropout: expected one rate, 2 for the hidden layers or 3"),
        ("0.1", r"dropout: expected a rate in \[0, 1\), or a list of rates; got '0.1'"),
        (True, r"dropout: expected a rate in \[0, 1\), or a list of rates; got True"),
        ([0.1, "0.2"], r"dropout\[1\]: expected a number in \[0, 1\); got '0.2'"),
        (None, r"dropout: expected a rate"),
        (Dropout(0.1), r"dropout: expected a rate"),
    ],
)
def test_bad_rates(rate, says):
    net, X, Y, _ = make("elementwise", "float64", 5)
    before = net.parameters.copy()
    with pytest.raises((TypeError, ValueError), match="^" + says):
        net.fit(X, Y, dropout=rate)
    assert_array_equal(net.parameters, before)


def test_bad_dropout():
    for arguments, says in (
        ({"rate": 1.0}, r"Dropout.rate: expected a number in \[0, 1\); got 1.0"),
        ({"rate": "0.1"}, r"Dropout.rate: expected a number"),
        ({"rate": [0.1, 2]}, r"Dropout.rate\[1\]: expected a number in \[0, 1\); got 2.0"),
        ({"rate": 0.1, "seed": -1}, "Dropout.seed: expected a whole number >= 0; got -1"),
        ({"rate": 0.1, "step": 0.5}, "Dropout.step: expected a whole number >= 0; got 0.5"),
        ({"rate": 0.1, "step": 2**64}, "Dropout.step: expected a number below"),
    ):
        with pytest.raises((TypeError, ValueError), match=says):
            Dropout(**arguments)
    net, X, Y, _ = make("elementwise", "float64", 5)
    for ask in (net.loss, net.gradient, net.costs, net.deltas):
        with pytest.raises(TypeError, match=r"dropout: expected a fastbp.Dropout; got 0.5"):
            ask(X, Y, dropout=0.5)
        with pytest.raises(ValueError, match="dropout: expected one rate, 2 for the hidden"):
            ask(X, Y, dropout=Dropout([0.1] * 5))
    with pytest.raises(ValueError, match="dropout: expected hidden layers to drop from"):
        as_rates(0.5, 0)
    assert as_rates([0.5], 0) == [0.5] and as_rates(0.0, 0) is None
