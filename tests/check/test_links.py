"""Checks of networks with scales: s1[i] in reports, mistakes in a scale's gradient.

What belongs here: what every check makes of a scale. What does not: dense layers (the other files).
"""

import numpy as np
import pytest

import fastbp
from fastbp import check
from fastbp.check.numeric.digits import loss_of
from fastbp.explain import explain
from fastbp.layers import Dense, Scale

rng = np.random.default_rng(0)
X = rng.standard_normal((6, 5))
X[:, 2] = 0  # a scale of nothing but 0 tells nothing of its delta
Y = rng.integers(0, 3, 6)
SIZES = {
    "first": [5, Scale(), 7, 3],
    "between": [5, 7, Scale(), 3],
    "alone": [5, Scale(), 3],
    "many": [5, Scale(), Scale(), 7, Scale(), Dense(4, "glu"), Scale(), 3],
    "kinked": [5, Scale(), Dense(7, "relu"), Scale(), Dense(4, "maxout(2)"), 3],
    "behind softmax": [5, Dense(4, "softmax"), Scale(), Dense(3, "layer_norm"), 3],
}


def scaled(sizes, dtype="float64", kind=fastbp.Network):
    net = kind(sizes, activation="tanh", dtype=dtype, seed=1)
    for name, tensor in net.tensors.items():
        if name[0] == "s":
            tensor[...] = np.random.default_rng(2).uniform(0.5, 2.0, tensor.shape)
    return net


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", SIZES)
def test_right_gradients_pass(name, dtype):
    net = scaled(SIZES[name], dtype)
    for options in (
        {},
        {"l2": 0.3, "l1": 0.2},
        {"sample_weight": np.arange(6.0), "mode": "fast"},
        {"dropout": fastbp.Dropout([0.3] * (len(net.sizes) - 1))},
        {"time_limit": 2.0},
    ):
        found = check.gradients(net, X, Y, **options)
        assert found.verdict.startswith("pass"), (options, str(found))
    assert check.recurrence(net, X[0], Y[0]).ok
    assert check.output_error(net, X[0], Y[0]).ok


def test_every_tensor_and_delta_is_told_by_name():
    found = check.gradients(scaled(SIZES["many"]), X, Y)
    assert [t.name for t in found.tensors] == [
        *("s1", "s2", "W3", "b3", "s4", "W5", "b5", "s6", "W7", "b7"),
        *(f"delta{l}" for l in range(1, 8)),
        "x",
    ]
    n = {t.name: t.n_checked for t in found.tensors}
    assert n["s1"] == 5 and n["delta1"] == 24 and n["delta4"] == 42  # not those of what is 0


def test_of_zeros_nothing_is_told():
    found = check.gradients(scaled(SIZES["alone"]), np.zeros((3, 5)), [0, 1, 2], time_limit=5.0)
    assert found.verdict.startswith("pass") and "delta1" not in [t.name for t in found.tensors]


def test_by_digits():
    net = scaled([5, Scale(), Dense(4, "tanh"), Scale(), 3])
    assert check.gradients(net, X[:2], Y[:2], method="mpmath", l2=0.3, l1=0.1).ok
    assert float(loss_of(net, X, Y, l2=0.3)) == pytest.approx(net.loss(X, Y, l2=0.3), rel=1e-14)


def test_directions_go_by_tensor():
    net = scaled(SIZES["first"])
    assert "s1" in [d.name for d in check.gradients(net, X, Y, mode="fast").directions]


def planted(change):
    """A network with a mistake in its gradient by s1, its first 5 parameters."""

    class Planted(fastbp.Network):
        def gradient(self, X, Y, **options):
            nabla = super().gradient(X, Y, **options)
            change(self, nabla[:5], options, len(X))
            return nabla

    return scaled(SIZES["first"], kind=Planted)


def one(net, nabla, options, n):
    nabla[3] *= 1.5


def twice(net, nabla, options, n):
    nabla *= 2


def lost(net, nabla, options, n):
    nabla[...] = 0


def regularised(net, nabla, options, n):
    nabla += options["l2"] / n * net.tensors["s1"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (one, ["Only scales are wrong (s1)", "Only one element is wrong: s1[3]"]),
        (twice, ["Only scales are wrong (s1), exactly 2 times", "weights and biases agree"]),
        (lost, ["Only scales are wrong (s1), all zero"]),
        (regularised, ["Scales are regularised: L2 stands in their gradient"]),
    ],
)
def test_a_mistake_in_a_scale_is_named(change, said):
    net = planted(change)
    found = check.gradients(net, X, Y, l2=0.3)
    assert found.verdict.startswith("FAIL") and "s1[" in found.verdict
    for words in said:
        assert any(words in text for text in found.findings), found.findings
    fast = check.gradients(net, X, Y, l2=0.3, mode="fast")
    assert fast.verdict.startswith("FAIL") and "s1" in fast.verdict


class WrongDelta(fastbp.Network):
    """delta of layer 2, a scale, is 1.1 times what it should be."""

    def deltas(self, X, Y, **options):
        deltas = super().deltas(X, Y, **options)
        deltas[1] = deltas[1] * 1.1
        return deltas


def test_a_wrong_delta_of_a_scale_is_found():
    net = scaled(SIZES["between"], kind=WrongDelta)
    found = check.gradients(net, X, Y)
    assert found.verdict.startswith("FAIL") and "delta2[" in found.verdict
    assert any("net.deltas is wrong too: delta2." in text for text in found.findings)
    back = check.recurrence(net, X[0], Y[0])
    assert "wrong from layer 2: 1.1 times delta^2" in back.verdict


def test_a_mistake_below_is_inherited_through_the_scale():
    class Doubled(fastbp.Network):
        def gradient(self, X, Y, **options):
            nabla = super().gradient(X, Y, **options)
            nabla[: -self.weights[-1].size - 3] *= 2
            return nabla

    found = check.gradients(scaled(SIZES["between"], kind=Doubled), X, Y)
    said = (
        "delta of layer 2 is exactly 2 times what it should be, and with it the layers below it, 1"
    )
    assert said in " ".join(found.findings)


@pytest.mark.parametrize("name", SIZES)
def test_explanations_are_told(name):
    net = scaled(SIZES[name])
    told = explain(net, X[0], int(Y[0]))
    assert "scale" in str(told) and len(told.to_html()) > 1000
