"""`check.gradients` and `assert_gradients` on right networks, and what they return and refuse.

What belongs here: networks and objects whose gradients are right; results; bad input. What does
not: planted mistakes (test_diagnosis.py), many random networks (test_populations.py), functions
(test_check_function.py).
"""

import json
import os
import signal
import subprocess
import sys
import time
import tracemalloc
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from cases import ACTIVATIONS, DTYPES, LOSSES, fits, network, targets
from handwritten import Handwritten

import fastbp
from fastbp import check, reference
from fastbp.check.paper import jacobian

matplotlib.use("Agg")

rng = np.random.default_rng(0)
X = rng.standard_normal((4, 3))
LABELS = np.array([0, 1, 1, 0])
FIELDS = [
    "ok", "verdict", "findings", "mode", "tensors", "directions", "identity", "n_checked",
    "n_parameters", "kinks", "inconclusive", "tolerance", "points",
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_hidden_activation_passes(activation, dtype):
    net = network([3, 5, 4, 2], activation, "softmax", "cross_entropy", dtype)
    before = net.parameters.copy()
    for mode in ("full", "fast"):
        found = check.gradients(net, X, LABELS, mode=mode)
        assert found.verdict.startswith("pass"), found
    assert net.parameters.tobytes() == before.tobytes()


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("output", "loss"), [(a, c) for a in ACTIVATIONS for c in LOSSES if fits(a, c)]
)
def test_every_pair_passes(output, loss, dtype):
    net = network([3, 5, 4], "tanh", output, loss, dtype)
    Y = targets(np.random.default_rng(1), loss, len(X), 4)
    if dtype == "float32" and output.startswith("softmax") and loss == "binary_cross_entropy":
        Y = 0.5 + 0 * Y
    for mode in ("full", "fast"):
        found = check.gradients(net, X, Y, mode=mode)
        assert found.verdict.startswith("pass"), found
        if mode == "full":
            assert found.n_checked == net.n_parameters
            names = [t.name for t in found.tensors]
            assert names == ["W1", "b1", "W2", "b2", "delta1", "delta2", "x"]


@pytest.mark.parametrize("dtype", DTYPES)
def test_penalties_and_sample_weights(dtype):
    net = network([3, 5, 2], "tanh", "softmax", "cross_entropy", dtype)
    options = {"l2": 0.7, "l1": 0.2, "sample_weight": [1.0, 0.0, 2.5, 0.3]}
    for mode in ("full", "fast"):
        assert check.gradients(net, X, LABELS, mode=mode, **options).verdict.startswith("pass")
        wrong = check.gradients(
            net, X, LABELS, mode=mode, gradient=net.gradient(X, LABELS), **options
        )
        assert wrong.verdict.startswith("FAIL")


@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("loss", ["hinge", "squared_hinge", "quadratic", "pinball", "mae"])
def test_class_indices_as_targets_of_any_loss(loss, mode):
    net = network([3, 5, 2], "tanh", "identity", loss, "float64")
    found = check.gradients(net, X, LABELS, mode=mode)
    assert found.verdict.startswith("pass"), found


def test_the_subgradient_of_l1_at_zero():
    net = fastbp.Network([3, 4, 2], init="zeros", dtype="float64")
    assert check.gradients(net, X, LABELS, l1=0.5).ok
    nabla = net.gradient(X, LABELS, l1=0.5)
    nabla[:12] += 0.5 / 4 * 0.9  # another subgradient of |W|
    found = check.gradients(net, X, LABELS, l1=0.5, gradient=nabla)
    assert found.ok and found.kinks == 12, found
    nabla[:12] += 0.5 / 4 * 0.2  # none
    assert check.gradients(net, X, LABELS, l1=0.5, gradient=nabla).verdict.startswith("FAIL")


def test_on_the_kink_of_every_relu():
    """All samples at z = 0 of all units at once, and second layers on their kinks too."""
    net = fastbp.Network([3, 5, 4, 2], activation="relu", init="zeros", dtype="float64")
    net.weights[2][...] = rng.standard_normal((4, 2))
    found = check.gradients(net, X, LABELS)
    assert found.ok and found.kinks > 0, found
    assert "lie on a kink" in " ".join(found.findings)
    net.weights[1][...] = rng.standard_normal((5, 4))
    found = check.gradients(net, X, LABELS)
    assert found.ok, found
    fast = check.gradients(net, X, LABELS, mode="fast")
    assert fast.ok, fast


def test_on_a_kink_the_value_must_lie_between_the_slopes():
    net = fastbp.Network([3, 5, 2], activation="relu", init="zeros", dtype="float64")
    net.weights[1][...] = rng.standard_normal((5, 2))
    nabla = net.gradient(X[:1], LABELS[:1])
    nabla[16] += 3 * np.abs(nabla).max()
    found = check.gradients(net, X[:1], LABELS[:1], gradient=nabla)
    assert found.verdict.startswith("FAIL"), found


def test_a_kink_beside_the_point_shrinks_the_step():
    net = fastbp.Network([1, 1], output="relu", loss="quadratic", dtype="float64", init="zeros")
    for distance in (1e-2, 1e-4, 1e-6):
        for side in (1, -1):
            net.parameters = [0.0, side * distance]
            found = check.gradients(net, [[1.0]], [[0.5]])
            assert found.verdict.startswith("pass") and found.kinks == 0, found


def test_saturated_sigmoids_say_what_they_cannot_tell():
    net = fastbp.Network([3, 4, 2], output="sigmoid", loss="quadratic", dtype="float64", seed=0)
    net.biases[0][...] = 40.0
    found = check.gradients(net, X, [[0.0, 1.0]] * 4)
    assert found.ok and found.verdict.startswith("inconclusive")
    assert found.inconclusive > 0


def test_a_huge_loss_is_inconclusive():
    net = fastbp.Network([3, 4, 2], seed=0, dtype="float64")
    net.weights[1][...] *= 1e25
    found = check.gradients(net, X, LABELS)
    assert found.ok and found.verdict.startswith("inconclusive"), found


def test_float32_is_held_against_float64():
    """n eps is let pass, a thousand times that is not."""
    net = fastbp.Network([3, 8, 2], seed=3)
    nabla = net.gradient(X, LABELS)
    assert check.gradients(net, X, LABELS, gradient=nabla * np.float32(1 + 1e-6)).ok
    assert not check.gradients(net, X, LABELS, gradient=nabla * np.float32(1 + 1e-3)).ok


def test_an_error_of_1e_4_is_found_in_one_small_element():
    net = fastbp.Network([3, 8, 2], dtype="float64", seed=3)
    nabla = net.gradient(X, LABELS)
    i = int(np.argmin(np.abs(nabla[:24])))
    nabla[i] *= 1 + 1e-4
    found = check.gradients(net, X, LABELS, gradient=nabla)
    assert found.verdict.startswith("FAIL: 1 of"), found


def test_numbers_of_50_digits():
    pytest.importorskip("mpmath")
    net = network([3, 4, 2], "tanh", "softmax", "cross_entropy", "float64")
    found = check.gradients(net, X, LABELS, method="mpmath", l2=0.1)
    assert found.verdict.startswith("pass"), found
    assert max(t.bound for t in found.tensors) < 1e-14
    nabla = net.gradient(X, LABELS)
    nabla[3] *= 1 + 1e-5
    assert not check.gradients(net, X, LABELS, method="mpmath", gradient=nabla).ok
    with pytest.raises(ValueError, match=r"method: 'mpmath' needs a fastbp\.Network"):
        check.gradients(Handwritten([3, 4, 2], "tanh", "softmax"), X, X[:, :2], method="mpmath")


def test_an_object_of_ones_own():
    student = Handwritten([3, 5, 2], "tanh", "softmax")
    Y = rng.uniform(0, 1, (4, 2))
    before = student.parameters.copy()
    for mode in ("full", "fast"):
        found = check.gradients(student, X, Y, mode=mode, l2=0.3)
        assert found.verdict.startswith("pass"), found
        assert found.identity is None
    assert student.parameters.tobytes() == before.tobytes()


@pytest.mark.parametrize("limit", [1, 2, 7, 31, 32, 10**6, 10**30])
def test_a_selection_of_parameters(limit):
    net = fastbp.Network([3, 5, 2])
    found = check.gradients(net, X, LABELS, max_parameters=limit)
    assert found.ok and found.n_checked == min(limit, net.n_parameters)


def test_a_selection_holds_some_of_every_tensor():
    net = fastbp.Network([30, 20, 2])
    found = check.gradients(net, rng.standard_normal((2, 30)), [0, 1], max_parameters=60)
    assert {t.name for t in found.tensors} >= {"W1", "b1", "W2", "b2"}
    assert found.n_checked == 60 and found.n_parameters == net.n_parameters


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_the_result(mode):
    net = fastbp.Network([3, 5, 2], seed=1)
    found = check.gradients(net, X, LABELS, mode=mode)
    document = found.to_dict()
    assert list(document) == FIELDS
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    text = str(found)
    assert text.startswith("gradient check: pass")
    assert max(map(len, text.splitlines())) <= 100
    assert "<table>" in found._repr_html_() and "pass" in found._repr_html_()
    axes = found.plot()
    assert axes.lines or axes.containers
    matplotlib.pyplot.close(axes.figure)
    with pytest.raises(AttributeError):
        found.verdict = "pass"


def test_a_result_that_is_not_finite_is_plain_json():
    net = fastbp.Network([3, 5, 2], dtype="float64")
    nabla = net.gradient(X, LABELS)
    nabla[3] = np.nan
    found = check.gradients(net, X, LABELS, gradient=nabla)
    assert found.verdict.startswith("FAIL") and "W1[0, 3]" in found.verdict
    json.dumps(found.to_dict(), allow_nan=False)
    nabla[3] = np.inf
    assert not check.gradients(net, X, LABELS, gradient=nabla).ok
    assert not check.gradients(net, X, LABELS, gradient=nabla, mode="fast").ok


def test_two_checks_of_one_network_say_the_same():
    net = fastbp.Network([3, 5, 2], seed=1)
    for mode in ("full", "fast"):
        one, two = (check.gradients(net, X, LABELS, mode=mode) for _ in range(2))
        assert one.to_dict() == two.to_dict()


def test_other_layouts_of_the_same_data():
    net = fastbp.Network([3, 5, 2], seed=1)
    for data in (X.tolist(), np.asfortranarray(X), X.astype("float32"), X.astype(">f8")):
        assert check.gradients(net, data, LABELS.tolist()).ok


# assert_gradients


def test_assert_gradients():
    net = fastbp.Network([3, 5, 2], dtype="float64")
    check.assert_gradients(net, X, LABELS)
    check.assert_gradients(net, X, LABELS, mode="fast")
    check.assert_gradients(lambda x: (x**3).sum(), lambda x: 3 * x**2, np.arange(4.0))
    with pytest.raises(AssertionError, match="exactly 2 times"):
        check.assert_gradients(net, X, LABELS, gradient=2 * net.gradient(X, LABELS))
    with pytest.raises(AssertionError, match="FAIL"):
        check.assert_gradients(lambda x: (x**3).sum(), lambda x: 2 * x**2, np.arange(1, 4.0))


def test_what_is_inconclusive_is_not_asserted():
    net = fastbp.Network([3, 4, 2], seed=0, dtype="float64")
    net.weights[1][...] *= 1e25
    with pytest.raises(AssertionError, match="inconclusive"):
        check.assert_gradients(net, X, LABELS)


# bad input

NET = fastbp.Network([3, 5, 2], dtype="float64")


class Drunk(Handwritten):
    """A loss that is never the same twice."""

    def loss(self, X, Y):
        return super().loss(X, Y) + rng.standard_normal()


def broken(**changes):
    student = Handwritten([3, 2], "tanh", "sigmoid")
    for name, value in changes.items():
        setattr(student, name, value)
    return student


BAD = {
    "unknown mode": (lambda: check.gradients(NET, X, LABELS, mode="x"), "mode: expected one of"),
    "unknown method": (
        lambda: check.gradients(NET, X, LABELS, method="x"), "method: expected one of",
    ),
    "no parameters at all": (
        lambda: check.gradients(NET, X, LABELS, max_parameters=0), "max_parameters: expected",
    ),
    "half a parameter": (
        lambda: check.gradients(NET, X, LABELS, max_parameters=2.5), "max_parameters: expected",
    ),
    "negative tolerance": (
        lambda: check.gradients(NET, X, LABELS, tolerance=-1.0), "tolerance: expected",
    ),
    "wrong columns": (lambda: check.gradients(NET, X[:, :2], LABELS), "X: expected 3 columns"),
    "NaN in X": (lambda: check.gradients(NET, X * np.nan, LABELS), "X: expected finite"),
    "labels outside": (lambda: check.gradients(NET, X, LABELS + 1), "Y: expected class indices"),
    "short gradient": (
        lambda: check.gradients(NET, X, LABELS, gradient=np.zeros(3)),
        r"gradient: expected shape \(32,\); got \(3,\)",
    ),
    "too few arrays": (
        lambda: check.gradients(NET, X, LABELS, gradient=[np.zeros((3, 5))]),
        "gradient: expected 4 arrays, W1, b1, W2, b2; got 1",
    ),
    "an array of another shape": (
        lambda: check.gradients(
            NET, X, LABELS, gradient=[np.zeros((3, 4)), np.zeros(5), np.zeros((5, 2)), np.zeros(2)]
        ),
        r"gradient: expected shape \(3, 5\) for W1; got \(3, 4\)",
    ),
    "a gradient that is no array": (
        lambda: check.gradients(NET, X, LABELS, gradient=lambda X, Y: 3),
        "gradient: expected a flat array or a list of arrays; got int",
    ),
    "a gradient that raises": (
        lambda: check.gradients(NET, X, LABELS, gradient=lambda X, Y: 1 / 0),
        "gradient: expected a function of X and Y; got ZeroDivisionError",
    ),
    "a gradient in words": (
        lambda: check.gradients(NET, X, LABELS, gradient="zero"),
        "gradient: expected a flat array or a list of arrays; got str",
    ),
    "a negative seed": (lambda: check.gradients(NET, X, LABELS, seed=-1), "seed: expected"),
    "no network": (lambda: check.gradients("net", X, LABELS), "net: expected a fastbp.Network"),
    "a loss of several numbers": (
        lambda: check.gradients(broken(loss=lambda X, Y: np.zeros(3)), X, X[:, :2]),
        "net: expected a loss that is one number",
    ),
    "a loss that is NaN": (
        lambda: check.gradients(broken(loss=lambda X, Y: np.nan), X, X[:, :2]),
        "net: expected a finite loss; got nan",
    ),
    "a loss that is random": (
        lambda: check.gradients(Drunk([3, 2], "tanh", "sigmoid"), X, X[:, :2]),
        "net: expected the same loss each time",
    ),
    "parameters in a list": (
        lambda: check.gradients(broken(parameters=[1.0]), X, X[:, :2]),
        "net: expected parameters as a one-dimensional array of floats",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    call, message = BAD[case]
    before = NET.parameters.copy()
    with pytest.raises((ValueError, TypeError), match=message):
        call()
    assert NET.parameters.tobytes() == before.tobytes()


def test_a_loss_that_raises_midway_leaves_the_parameters():
    student = Handwritten([3, 2], "tanh", "sigmoid")
    calls = iter(range(40))

    def loss(X, Y):
        if next(calls) == 35:
            raise RuntimeError("enough")
        return Handwritten.loss(student, X, Y)

    student.loss = loss
    before = student.parameters.copy()
    with pytest.raises(RuntimeError, match="enough"):
        check.gradients(student, X, X[:, :2])
    assert student.parameters.tobytes() == before.tobytes()


def test_costs_that_are_not_finite_are_named():
    net = fastbp.Network([1, 1], output="exp", loss="quadratic", dtype="float64")
    net.parameters = [1000.0, 0.0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match="net: expected finite costs; got inf for row 0 of X"):
            check.gradients(net, [[1.0]], [[1.0]])


def test_perturbed_costs_refuses_what_it_cannot_do():
    for index, values, message in (
        ([0, 32], [1.0, 1.0], r"index: expected indices 0\.\.31; got 32 at \[1\]"),
        ([-1], [1.0], "index: expected indices"),
        ([[0]], [[1.0]], "index: expected 1 dimension"),
        ([0], [1.0, 2.0], r"values: expected shape \(1,\)"),
        ([0], [np.nan], "values: expected finite"),
    ):
        with pytest.raises(ValueError, match=message):
            NET.perturbed_costs(X, LABELS, index, values)
    with pytest.raises(TypeError, match="index: expected whole numbers"):
        NET.perturbed_costs(X, LABELS, [0.5], [1.0])
    assert NET.perturbed_costs(X, LABELS, [], []).shape == (0, 4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_perturbed_costs_are_those_of_the_perturbed_network(dtype, level):
    net = network([3, 7, 2], "tanh", "softmax", "cross_entropy", dtype)
    many = rng.standard_normal((70, 3))
    labels = rng.integers(0, 2, 70)
    index = np.repeat(np.arange(net.n_parameters), 2)
    values = rng.standard_normal(index.size).astype(dtype)
    found = net.perturbed_costs(many, labels, index, values)
    for at, value, costs in zip(index, values, found, strict=True):
        other = net.copy()
        other.parameters[at] = value
        assert costs.tobytes() == other.costs(many, labels).tobytes()
    np.testing.assert_allclose(net.costs(many, labels).mean(), net.loss(many, labels), rtol=1e-5)


def test_perturbed_losses_are_asked_for_in_bulk(monkeypatch):
    """What keeps the check quick (bench/test_checks.py has the times): few calls, many losses."""
    calls = {"perturbed_costs": 0, "costs": 0, "loss": 0}
    for name in calls:
        original = getattr(fastbp.Network, name)

        def counted(self, *args, name=name, original=original, **options):
            calls[name] += 1
            return original(self, *args, **options)

        monkeypatch.setattr(fastbp.Network, name, counted)
    digits = fastbp.datasets.load_digits()
    net = fastbp.Network([64, 30, 10], dtype="float64")
    assert check.gradients(net, digits.X[:20], digits.Y[:20]).n_checked == 2260
    assert calls["perturbed_costs"] < 60 and calls["costs"] < 100 and calls["loss"] == 0, calls
    calls.update(dict.fromkeys(calls, 0))
    net = fastbp.Network([784, 100, 10])
    assert check.gradients(net, rng.random((20, 784)), digits.Y[:20], mode="fast").ok
    assert calls["costs"] < 150 and calls["perturbed_costs"] == calls["loss"] == 0, calls


@pytest.mark.filterwarnings("error")
def test_checks_of_other_threads_touch_no_filters_of_warnings(monkeypatch):
    """They are the whole process's: two threads that change them leave them changed."""

    class Own(fastbp.Network):  # whose loss is asked as anybody's
        def loss(self, *args, **options):
            return super().loss(*args, **options)

    def touched(*_, **__):
        raise AssertionError("the warnings' filters")

    monkeypatch.setattr(warnings, "catch_warnings", touched)
    net = Own([2, 3, 1], output="exp", loss="poisson", dtype="float64", activation="tanh")
    X, Y = np.array([[0.5, -1.0], [2.0, 0.25]]), [[1.0], [3.0]]
    assert check.gradients(net, X, Y).ok
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(check.gradient, lambda x: np.sin(x).sum(), np.cos, X).result()
    assert found.ok and found.method == "complex"


# time


WIDE = fastbp.Network([20, 300, 300, 5], seed=0)
MANY, MANY_LABELS = rng.standard_normal((5000, 20)), rng.integers(0, 5, 5000)


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_a_time_limit_looks_at_a_share_and_says_so(mode):
    began = time.process_time()
    found = check.gradients(WIDE, MANY, MANY_LABELS, mode=mode, time_limit=0.5)
    assert time.process_time() - began < 20  # without: a minute
    assert found.ok is not False and found.n_parameters == WIDE.n_parameters
    assert "of 5,000 rows, drawn at random" in found.findings[-1]
    if mode == "full":
        assert found.n_checked < WIDE.n_parameters
        assert f"{found.n_checked:,} of {WIDE.n_parameters:,} parameters" in found.findings[-1]
    if found.verdict.startswith("pass"):
        assert found.verdict.endswith("of 5,000 rows were looked at")


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_nothing_looked_at_is_not_ok(mode):
    found = check.gradients(WIDE, MANY, MANY_LABELS, mode=mode, time_limit=1e-9)
    assert found.verdict.startswith("inconclusive: none of W1, b1, W2, b2, W3, b3, ")
    assert found.verdict.endswith(" could be checked in 1e-09 s")
    assert (found.ok, found.n_checked) == (None, 0)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["ok"] is None
    assert str(found) and found._repr_html_()
    with pytest.raises(AssertionError, match="none of W1, b1"):
        check.assert_gradients(WIDE, MANY, MANY_LABELS, mode=mode, time_limit=1e-9)


@pytest.mark.parametrize("mode", ["full", "fast"])
def test_time_enough_leaves_nothing_out(mode):
    net = fastbp.Network([3, 5, 2], dtype="float64", seed=1)
    options = {"mode": mode, "l2": 0.1, "sample_weight": [1, 2, 0, 1]}
    whole = check.gradients(net, X, LABELS, **options)
    found = check.gradients(net, X, LABELS, time_limit=60, **options)
    assert (found.verdict, found.n_checked) == (whole.verdict, net.n_parameters)
    assert found.findings == whole.findings == ()
    for one, other in zip(found.tensors, whole.tensors, strict=True):
        assert (one.name, one.n_checked) == (other.name, other.n_checked)


class Doubled(fastbp.Network):
    def gradient(self, *args, **options):
        return 2 * super().gradient(*args, **options)


def test_what_is_wrong_is_found_in_time():
    wrong = Doubled([20, 300, 300, 5], seed=0, dtype="float64")
    for mode in ("full", "fast"):
        found = check.gradients(wrong, MANY, MANY_LABELS, mode=mode, time_limit=2)
        assert found.ok is False, found
    weight = rng.integers(0, 2, len(MANY))  # rows without weight are not drawn
    options = {"l1": 0.5, "sample_weight": weight, "time_limit": 2}
    assert check.gradients(wrong, MANY, MANY_LABELS, **options).ok is False
    right = fastbp.Network([20, 30, 5], seed=0, dtype="float64")
    assert check.gradients(right, MANY, MANY_LABELS, **options).ok is not False
    some, labels = MANY[:200], MANY_LABELS[:200]
    nabla = 2 * right.gradient(some, labels)  # of all rows: none are left out
    found = check.gradients(right, some, labels, gradient=nabla, time_limit=2)
    assert found.ok is False and "rows" not in found.findings[-1], found


def test_a_time_limit_may_be_as_long_as_a_number():
    found = check.gradients(NET, X, LABELS, time_limit=1e308)
    assert found.ok and found.findings == ()


@pytest.mark.parametrize("limit", [0, -1, "1", float("nan"), float("inf"), [1], True])
def test_a_time_limit_is_seconds(limit):
    with pytest.raises((TypeError, ValueError), match=r"^time_limit: expected a"):
        check.gradients(NET, X, LABELS, time_limit=limit)


def test_a_selection_is_told():
    found = check.gradients(WIDE, MANY[:2], MANY_LABELS[:2], max_parameters=3)
    assert found.findings == ("Checked 3 of 98,105 parameters; none of W1, W2, W3.",)


@pytest.mark.parametrize(
    ("output", "loss"), [("softmax", "quadratic"), ("softmax", "cross_entropy"),
                         ("log_softmax", "mse"), ("layer_norm", "mse")],
)  # fmt: skip
def test_many_outputs_take_no_square_of_them(output, loss):
    n = 4000  # one Jacobian: 128 MB
    net = fastbp.Network([3, 2, n], output=output, loss=loss, seed=0)
    tracemalloc.start()
    try:
        found = check.gradients(net, X[:2], rng.integers(0, 2, (2, n)), max_parameters=50)
        doubled = 2 * net.gradient(X[:2], [0, 1]) if loss == "cross_entropy" else None
        if doubled is not None:
            wrong = check.gradients(net, X[:2], [0, 1], gradient=doubled, max_parameters=50)
            assert wrong.ok is False
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert found.ok is not False, found


@pytest.mark.parametrize("z", [rng.standard_normal(12), 40 * rng.standard_normal(12)])
@pytest.mark.parametrize("name", [*ACTIVATIONS, "softmax(2.5)", "layer_norm(-2)", "maxout(3)"])
def test_a_jacobian_in_a_few_vectors_is_the_matrix(name, z):
    matrix = reference.activation_jacobian(name, z)
    J = jacobian.jacobian(name, z)
    g, v = rng.standard_normal(len(matrix)), rng.standard_normal(12)
    np.testing.assert_allclose(J.times(v), matrix @ v, atol=1e-14)
    np.testing.assert_allclose(J.transposed(g), matrix.T @ g, atol=1e-14)
    slack = 1 + 1e-6
    assert (np.abs(matrix) @ np.abs(v) <= slack * J.size.times(np.abs(v)) + 1e-300).all()
    assert np.abs(matrix).max() <= slack * J.size.largest
    if J.is_square:
        np.testing.assert_allclose(J.T.times(g), matrix.T @ g, atol=1e-14)
        np.testing.assert_allclose(J.diagonal.times(v), np.diagonal(matrix) * v, atol=1e-14)
    error = np.full(12, 1e-4)
    change = jacobian.moved(name, z, J, error)
    for sign in (1, -1):
        other = reference.activation_jacobian(name, z + sign * error)
        assert (np.abs(other - matrix) @ np.abs(v) <= change.times(np.abs(v)) + 1e-14).all()


# Ctrl-C


class Interrupted:
    """Somebody's network, in whose loss Ctrl-C is pressed."""

    def __init__(self, at):
        self.parameters, self.left = np.arange(1.0, 4.0), at

    def loss(self, X, Y):
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt
        return float((self.parameters**2).sum())

    def gradient(self, X, Y):
        return 2 * self.parameters


@pytest.mark.parametrize("mode", ["full", "fast"])
@pytest.mark.parametrize("at", [1, 3, 20, 30, 40])
def test_an_interrupted_check_leaves_the_parameters(at, mode):
    net = Interrupted(at)
    with pytest.raises(KeyboardInterrupt):
        check.gradients(net, [[0.0]], [0], mode=mode)
    assert net.parameters.tolist() == [1.0, 2.0, 3.0]


def test_ctrl_c_ends_a_long_check():
    program = """
import numpy as np, fastbp
net = fastbp.Network([30, 500, 500, 10], seed=0)
X, Y = np.ones((3000, 30)), np.zeros(3000, int)
fastbp.check.gradients(net, X[:1], Y[:1], mode="fast")
before = net.parameters.copy()
print("go", flush=True)
try:
    fastbp.check.gradients(net, X, Y)
except KeyboardInterrupt:
    print("stopped", (net.parameters == before).all())
"""
    environment = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            assert process.stdout.readline() == "go\n"
            time.sleep(0.5)
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=60)[0] == "stopped True\n"
        finally:
            process.kill()
