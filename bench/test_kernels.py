"""Kernels by shape, level and dtype: ``python -m pytest bench --benchmark-enable``."""

import numpy as np
import pytest

import fastbp
from fastbp import benchmark, schedules
from fastbp.kernels import dispatch

SHAPES = "ABCDE"  # of fastbp.benchmark


@pytest.fixture(params=dispatch.available_levels())
def level(request, monkeypatch):
    monkeypatch.setattr(dispatch, "engine", dispatch.load(request.param))
    return request.param


def made(case, dtype):
    case = benchmark.CASES[case]
    sizes, batch = case.sizes, case.batch
    net = fastbp.Network(
        sizes, activation=case.activation, output="identity", loss="quadratic", dtype=dtype
    )
    rng = np.random.default_rng(0)
    X = rng.random((batch * 20, sizes[0])).astype(dtype)
    return net, X, rng.random((batch * 20, sizes[-1])).astype(dtype), batch


@pytest.mark.parametrize("optimizer", [fastbp.SGD(1e-3), fastbp.Adam()], ids=["sgd", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", SHAPES)
def test_twenty_steps(benchmark, level, case, dtype, optimizer):
    net, X, Y, batch = made(case, dtype)
    benchmark(lambda: net.fit(X, Y, epochs=1, batch_size=batch, optimizer=optimizer, threads=1))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", SHAPES)
@pytest.mark.parametrize("method", ["predict", "gradient"])
def test_pass(benchmark, level, case, dtype, method):
    net, X, Y, _ = made(case, dtype)
    arguments = (X,) if method == "predict" else (X, Y)
    benchmark(lambda: getattr(net, method)(*arguments))


@pytest.mark.parametrize("n", [1, 2, 8])
@pytest.mark.parametrize("case", ["B", "C"])
@pytest.mark.parametrize("given", ["out", "nothing", "list"])
def test_one_row(benchmark, level, case, n, given):
    """A few rows with `out=`, without, and (a list) by Python's checks."""
    net, X, Y, _ = made(case, "float32")
    rows = X[:n].tolist() if given == "list" else X[:n]
    out = np.empty_like(Y[:n]) if given == "out" else None
    benchmark(lambda: net.predict(rows, out=out))


@pytest.mark.parametrize("n_epochs", [1, 2])
@pytest.mark.parametrize("shuffle", [True, False])
def test_start_of_fit(benchmark, level, shuffle, n_epochs):
    """Eight steps of case E, or sixteen: what the two have in common is the start."""
    net, X, Y, batch = made("E", "float32")
    X, Y, optimizer = X[:64], Y[:64], fastbp.SGD(1e-3)
    options = {"batch_size": batch, "optimizer": optimizer, "threads": 1, "seed": 0}
    benchmark(lambda: net.fit(X, Y, epochs=n_epochs, shuffle=shuffle, **options))


@pytest.mark.parametrize(
    "schedule",
    [None, schedules.Cosine(each="step"), schedules.OneCycle(each="step")],
    ids=["none", "cosine", "one-cycle"],
)
@pytest.mark.parametrize("case", SHAPES)
def test_rates_of_each_step(benchmark, level, case, schedule):
    """4,000 steps with rates of their own, beside those of one rate: at most 1 % more."""
    net, X, Y, batch = made(case, "float32")
    options = {"batch_size": batch, "optimizer": fastbp.SGD(1e-3), "threads": 1, "seed": 0}
    benchmark(lambda: net.fit(X, Y, epochs=200, schedule=schedule, **options))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["exp", "log", "tanh", "sigmoid", "erf", "normal_cdf"])
def test_elementary(benchmark, level, name, dtype):
    x = np.linspace(-5, 5, 2048).astype(dtype)
    out = np.empty_like(x)
    door = dispatch.doors(x.dtype).elementary
    benchmark(lambda: door(name, x, out))
    if benchmark.stats is not None:  # None with --benchmark-disable
        benchmark.extra_info["ns_per_element"] = 1e9 * benchmark.stats.stats.median / x.size
