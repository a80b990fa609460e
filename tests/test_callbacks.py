"""Callbacks that record: what they record is what the network's gradient says."""

import numpy as np
import pytest

import fastbp
from fastbp.callbacks import DeltaNorms


def network():
    return fastbp.Network([64, 12, 9, 10], dtype="float64", seed=3)


def norms_of_bias_gradients(net, X, Y):
    """BP3: dC/db^l of the mean cost is the mean of delta^l."""
    views = fastbp.Network(net.sizes, dtype="float64", init="zeros")
    views.parameters = net.gradient(X, Y)
    return [np.linalg.norm(b) for b in views.biases]


def test_norms_are_those_of_the_gradient_of_the_biases():
    digits = fastbp.datasets.load_digits()
    X, Y = digits.X[:50], digits.Y[:50]
    net, speeds, expected = network(), DeltaNorms(X, Y), []
    speeds.record(net)
    expected.append(norms_of_bias_gradients(net, X, Y))

    def check(event):
        expected.append(norms_of_bias_gradients(event.network, X, Y))

    net.fit(digits.X, digits.Y, epochs=4, callbacks=[speeds, check], seed=0)
    assert speeds.norms.shape == (5, 3)
    np.testing.assert_allclose(speeds.norms, expected, rtol=1e-12)
    assert len({*speeds.norms[:, 0]}) == 5  # the network learns between records


def test_recording_changes_nothing():
    digits = fastbp.datasets.load_digits()
    plain, recorded = network(), network()
    options = {"epochs": 3, "seed": 0, "l2": 0.1}
    plain.fit(digits.X, digits.Y, **options)
    stopped = recorded.fit(
        digits.X, digits.Y, callbacks=[DeltaNorms(digits.X, digits.Y)], **options
    )
    assert stopped.epochs == 3 and np.array_equal(plain.parameters, recorded.parameters)


def test_bad_samples_are_refused_before_a_record():
    speeds = DeltaNorms(np.ones((2, 63)), [0, 1])
    with pytest.raises(ValueError, match=r"X: expected 64 "):
        speeds.record(network())
    assert speeds.norms.size == 0


@pytest.mark.parametrize("bad", [3, None, 2.5, "ab", np.float64(1)], ids=repr)
def test_what_are_no_samples_is_refused_at_once(bad):
    with pytest.raises(TypeError, match=r"^X: expected samples"):
        DeltaNorms(bad, [0])
    with pytest.raises(TypeError, match=r"^Y: expected samples"):
        DeltaNorms([[1.0]], bad)


def test_a_curve_a_layer():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    digits = fastbp.datasets.load_digits()
    speeds = DeltaNorms(digits.X[:20], digits.Y[:20])
    for seed in range(3):
        speeds.record(fastbp.Network([64, 5, 4, 10], seed=seed))
    ax = speeds.plot()
    assert ax.get_yscale() == "log" and len(ax.lines) == 3
    for line, column in zip(ax.lines, speeds.norms.T, strict=True):
        assert np.array_equal(line.get_ydata(), column)
    assert speeds.plot(ax) is ax
