"""The benchmark and `fastbp bench`: what is counted is right, what is timed is training."""

from dataclasses import replace

import cli_cases
import numpy as np
import pytest
from cli_cases import strict

import fastbp
from fastbp import benchmark
from fastbp.kernels import dispatch

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures

TRIES = 6  # at rates that work on the same core moves
TINY = benchmark.Case((3, 4, 2), "tanh", 5, 2, fastbp.SGD(0.05))


@pytest.fixture
def quick(monkeypatch):
    """Rounds and arrays that take no time, and a case that does not either."""
    monkeypatch.setattr(benchmark, "ROUND_SECONDS", 1e-3)
    monkeypatch.setattr(benchmark, "_array_bytes", lambda: 2**20)


def test_flops_of_a_step():
    """By hand: forward 3x4 + 4x2 = 20 multiply-adds a row, as many for the weights' gradient, 8 for
    the delta of the hidden layer: 48 a row, 5 rows, 2 flops each."""
    assert TINY.flops == 480
    assert benchmark.CASES["A"].flops == 2 * 10 * (3 * (784 * 30 + 30 * 10) - 784 * 30) == 958_800
    assert replace(TINY, sizes=(3, 2)).flops == 2 * 5 * 2 * 6  # no delta is handed further back


def test_bytes_of_a_step():
    """26 parameters read and written; 5 rows of 3 inputs, 2 targets, 6 activations out and in."""
    assert TINY.bytes_moved("float32") == 4 * (2 * 26 + 5 * (3 + 2 + 12))
    adam = replace(TINY, optimizer=fastbp.Adam())
    assert adam.bytes_moved("float64") == 8 * (6 * 26 + 5 * (3 + 2 + 12))


def test_the_networks_have_these_parameters():
    for case in benchmark.CASES.values():
        net = case.network()
        assert sum(case.products) == sum(W.size for W in net.weights)
        assert sum(case.sizes[1:]) == sum(b.size for b in net.biases)


@pytest.mark.parametrize("name", benchmark.CASES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_wrong_step_would_show_in_the_loss(name, dtype):
    """Losses can tell whether two sides do the same only where they fall."""
    case = benchmark.CASES[name]
    net, (X, Y) = case.network(dtype), case.data(dtype)
    assert len(X) == case.batch * case.steps and X.dtype == net.dtype
    side = benchmark.fastbp_side(case, net, X, Y)
    before = net.loss(X, Y)
    losses = side(2) + side(2)
    assert len(losses) == 4 and np.isfinite(losses).all()
    assert losses[3] < losses[0] and net.loss(X, Y) < 0.99 * before
    whole = case.network(dtype)  # two calls are one run: Adam's moments go on
    assert benchmark.fastbp_side(case, whole, X, Y)(4) == losses
    assert np.array_equal(whole.parameters, net.parameters)


def test_sides_take_turns_and_are_counted():
    calls = []

    def side(name):
        def run(epochs):
            calls.append((name, epochs))
            sum(range(20_000))
            return [1.0] * epochs

        return run

    timings = benchmark.measure({"a": side("a"), "b": side("b")}, 10, 3)
    assert [name for name, _ in calls[-6:]] == ["a", "b"] * 3
    for name, timing in timings.items():
        assert len(timing.losses) == sum(n for who, n in calls if who == name) > 3
        assert timing.us_per_step > 0


@pytest.mark.parametrize("level", dispatch.available_levels())
def test_the_tile_makes_all_its_flops(level):
    """Work that the compiler leaves out shows: not in both types alike."""
    for _ in range(TRIES):
        rates = {dtype: benchmark.tile_gflops(dtype, level) for dtype in ("float32", "float64")}
        peaks = {dtype: benchmark.peak_gflops(dtype, level) for dtype in rates}
        twice = 1.4 < rates["float32"] / rates["float64"] < 2.8
        if twice and all(peaks[dtype] > 0.8 * rates[dtype] for dtype in rates):
            return
    raise AssertionError((rates, peaks))


def test_peaks_of_all_levels():
    for _ in range(TRIES):
        peaks = benchmark.peaks()
        assert list(peaks) == list(dispatch.available_levels())
        assert all(peak.keys() == {"float32", "float64"} for peak in peaks.values())
        if all(1.4 < peak["float32"] / peak["float64"] < 2.8 for peak in peaks.values()):
            return
    raise AssertionError(peaks)


def test_limits(quick):
    found = benchmark.limits("float64", benchmark.Memory())
    assert found.gflops > 0.1 and found.gb_per_second > 0.1


def test_bench(run, quick):
    code, out, err = run("bench", "--cases", "E,c")
    assert code == 0 and err == ""
    lines = out.splitlines()
    assert "fastbp" in lines[0] and "cores" in lines[0]
    for level in dispatch.available_levels():
        assert any(line.split()[0] == level for line in lines if line)
    assert [line[0] for line in lines[-2:]] == ["E", "C"]
    assert "2-16-1 tanh, batch 8, SGD" in lines[-2]


def test_json_of_bench(run, quick):
    code, out, _ = run("bench", "--cases", "E", "--dtype", "float64", "--json")
    document = strict(out)
    assert code == 0
    assert document["dtype"] == "float64" and document["cpu_level"] == dispatch.level
    assert document["peak_gflops"].keys() == set(dispatch.available_levels())
    (found,) = document["cases"]
    assert found["case"] == "E" and found["us_per_step"] > 0
    assert found["gflops"] == pytest.approx(benchmark.CASES["E"].flops / found["us_per_step"] / 1e3)
    assert found["percent_of_peak"] == pytest.approx(
        100 * found["gflops"] / found["limits"]["gflops"]
    )
    assert 0 < found["last_loss"] < found["first_loss"]


@pytest.mark.parametrize("cases", ["H", "", "A,,B", "AB"])
def test_an_unknown_case(run, cases):
    code, out, err = run("bench", "--cases", cases)
    assert code == 2 and out == ""
    assert err == f"fastbp: error: cases: expected letters of A,B,C,D,E,F,G; got {cases!r}\n"


def test_an_unknown_dtype(run):
    code, _, err = run("bench", "--dtype", "float16")
    assert code == 2 and "--dtype" in err and "float16" in err
