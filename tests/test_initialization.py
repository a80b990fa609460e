"""Initial parameters: the distribution of each scheme, seeds, and dtypes."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp
from fastbp import initialization

# variance of W for n_in = 300, n_out = 200, and of b
SCHEMES = {
    "scaled": (1 / 300, 1),
    "large": (1, 1),
    "glorot_uniform": (2 / 500, 0),
    "glorot_normal": (2 / 500, 0),
    "he_uniform": (2 / 300, 0),
    "he_normal": (2 / 300, 0),
    "zeros": (0, 0),
}


def made(init, seed=0, sizes=(300, 200), dtype="float64"):
    return fastbp.Network(sizes, output="identity", loss="mse", init=init, seed=seed, dtype=dtype)


def test_all_schemes_are_tested():
    assert set(SCHEMES) == set(initialization.SCHEMES)


@pytest.mark.parametrize("init", SCHEMES)
def test_distribution(init):
    """Mean and variance within 5 standard errors; the fourth moment tells normal from uniform."""
    net = made(init)
    W, b = net.weights[0].ravel(), net.biases[0]
    variance, bias_variance = SCHEMES[init]
    assert abs(W.mean()) <= 5 * np.sqrt(variance / W.size)
    kurtosis = 1.8 if "uniform" in init else 3.0
    assert abs(W.var() - variance) <= 5 * variance * np.sqrt((kurtosis - 1) / W.size)
    if variance:
        assert (W**4).mean() / W.var() ** 2 == pytest.approx(kurtosis, abs=0.1)
        assert np.unique(W).size == W.size
    if "uniform" in init:
        assert np.abs(W).max() <= np.sqrt(3 * variance)
    assert abs(b.mean()) <= 5 * np.sqrt(bias_variance / b.size)
    assert abs(b.var() - bias_variance) <= 5 * bias_variance * np.sqrt(2 / b.size)


def test_fan_is_the_width_of_z():
    """glu's W is twice as wide, and so is Glorot's n_out."""
    net = fastbp.Network([300, 100], output="glu", loss="mse", init="glorot_normal")
    assert net.weights[0].var() == pytest.approx(2 / 500, rel=0.05)


@pytest.mark.parametrize("init", SCHEMES)
def test_same_seed_same_bits(init):
    sizes = (5, 4, 3)
    first = made(init, 7, sizes).parameters
    assert_array_equal(made(init, 7, sizes).parameters, first)
    assert_array_equal(made(init, np.random.default_rng(7), sizes).parameters, first)
    assert_array_equal(made(init, np.random.SeedSequence(7), sizes).parameters, first)
    assert_array_equal(made(init, np.int64(7), sizes).parameters, first)
    if init != "zeros":
        assert (made(init, 8, sizes).weights[0] != made(init, 7, sizes).weights[0]).all()
        assert (made(init, None, sizes).weights[0] != made(init, None, sizes).weights[0]).all()


def test_a_generator_goes_on():
    rng = np.random.default_rng(1)
    one, other = made("scaled", rng, (3, 2)), made("scaled", rng, (3, 2))
    assert (one.parameters != other.parameters).all()


@pytest.mark.parametrize("init", SCHEMES)
def test_float32_is_float64_rounded(init):
    wide, narrow = (made(init, 3, (7, 5, 2), dtype).parameters for dtype in ("float64", "float32"))
    assert narrow.dtype == np.float32
    assert_array_equal(narrow, wide.astype(np.float32))


def test_layers_are_drawn_one_after_the_other():
    """W1, b1, W2, b2 from one stream: what the second layer is does not change the first."""
    one, other = made("scaled", 5, (4, 3, 2)), made("scaled", 5, (4, 3, 9))
    assert_array_equal(one.weights[0], other.weights[0])
    assert_array_equal(one.biases[0], other.biases[0])
    rng = np.random.default_rng(5)
    assert_array_equal(one.weights[0], rng.standard_normal((4, 3)) / 2)
    assert_array_equal(one.biases[0], rng.standard_normal(3))


def test_wrong_scheme_and_seed():
    with pytest.raises(ValueError, match=r"^init: expected one of .*; got 'glorot'\. Did you"):
        made("glorot")
    with pytest.raises(ValueError, match=r"^init: "):
        made(None)
    for seed, error in ((-1, ValueError), ("a", TypeError), (1.5, TypeError)):
        with pytest.raises(error, match=r"^seed: expected a whole number >= 0, None or"):
            made("scaled", seed)
