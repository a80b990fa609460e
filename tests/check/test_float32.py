"""What float32 does to a delta: how far the checks let it pass, and what they say where it is far.

What belongs here: `output_error` and `recurrence` of networks in float32 whose delta is a small
difference of larger numbers. What does not: which mistakes are named (test_ladder.py).
"""

import numpy as np
import pytest

import fastbp
from fastbp.check import output_error, recurrence
from fastbp.check.paper.model import Model
from fastbp.check.subject import twin_of

x = np.random.default_rng(3).standard_normal(30).astype(np.float32)


def near(gap, level=0.0, kind=fastbp.Network, output="identity", loss="mse"):
    """A network, and a target that far from what it says; both about `level`."""
    about = {"activation": "relu", "output": output, "loss": loss, "dtype": "float32"}
    net = kind([30, 64, 64, 1], **about, seed=2)
    net.tensors["b3"][...] = level
    return net, float(net.predict(x[None])[0, 0]) + gap


class Own(fastbp.Network):
    """Deltas of a subclass: nobody knows from which forward pass they come."""

    factor = 1.0

    def deltas(self, X, Y):
        return [np.float32(self.factor) * delta for delta in super().deltas(X, Y)]


@pytest.mark.parametrize(
    ("gap", "level"), [(3.0, 0.0), (0.1, 0.0), (-0.01, 0.0), (3.0, 400.0), (-0.3, 400.0)]
)
def test_a_small_difference_of_output_and_target_is_judged(gap, level):
    net, y = near(gap, level)
    found = output_error(net, x, y)
    assert found.verdict.startswith("pass: the engine's delta"), found
    assert recurrence(net, x, y).verdict.startswith("pass"), recurrence(net, x, y)


def test_a_sigmoid_near_its_target_is_judged():
    net, y = near(0.003, 1.0, output="sigmoid", loss="quadratic")
    assert output_error(net, x, y).verdict.startswith("pass")
    assert recurrence(net, x, y).verdict.startswith("pass")


def test_what_is_hidden_is_the_claim_not_the_differences():
    net, y = near(0.01, kind=Own)
    found = output_error(net, x, y)
    assert found.ok is None and found.bound[0] < 1e-10
    assert found.verdict == (
        "inconclusive: none of 1 values of the engine's delta can be told from rounding in "
        "float32; the sum over k agrees with differences of C"
    )
    assert any("(1) is resolved, but rounding in float32" in text for text in found.findings)
    assert not any("Rounding hides" in text for text in found.findings), found
    given = output_error(near(0.01)[0], x, y, delta=found.claimed.astype(np.float32))
    assert "none of 1 values of delta can be told" in given.verdict


def test_beyond_all_rounding_is_wrong_however_much_rounding_may_do():
    Wrong = type("Wrong", (Own,), {"factor": -1.0})
    net, y = near(0.01, kind=Wrong)
    assert output_error(net, x, y).verdict.startswith("FAIL: the engine's delta is"), net


def test_a_forward_pass_that_is_known_narrows_bounds_and_a_wrong_one_widens_none():
    net, y = near(0.1)
    twin = twin_of(net)
    model = Model(twin.architecture, list(twin.tensors.values()), x[None], np.array([[y]]))
    counted = model.rounding(net.dtype)[1]
    zs, activations = ([np.float64(v) for v in part] for part in net.feedforward(x[None]))
    known = model.rounding(net.dtype, (zs, activations))[1]
    wrong = model.rounding(net.dtype, ([z + 1 for z in zs], [a * np.nan for a in activations]))[1]
    exact = model.deltas(*model.feedforward())
    for k, c, w, e, delta in zip(
        known, counted, wrong, exact, net.deltas(x[None], [y]), strict=True
    ):
        assert k.max() < c.max() / 20
        np.testing.assert_array_equal(w, c)
        assert (np.abs(delta - e) <= k + 1e-4 * np.abs(e).max()).all()


def test_a_forward_pass_that_overflows_float32_is_no_warning_of_the_checks():
    net = fastbp.Network([2, 3, 2], seed=0)
    net.parameters *= np.float32(1e20)
    far = np.float32([1e30, -1e30])
    assert output_error(net, far, 0).verdict and recurrence(net, far, 0).verdict  # no warning
