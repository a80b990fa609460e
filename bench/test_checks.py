"""What the checks cost. Run: python -m pytest bench/test_checks.py --benchmark-enable

What belongs here: times of whole checks at the sizes that docs/performance.md tells. What does not:
kernels (test_kernels.py).
"""

import numpy as np
import pytest

import fastbp
from fastbp import check

DIGITS = fastbp.datasets.load_digits()
MNIST_LIKE = np.random.default_rng(0).random((20, 784))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_full_mode_64_30_10(benchmark, dtype):
    """20 samples, 2,260 parameters; limit 0.5 s."""
    net = fastbp.Network([64, 30, 10], dtype=dtype)
    assert benchmark(check.gradients, net, DIGITS.X[:20], DIGITS.Y[:20]).ok


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_fast_mode_784_100_10(benchmark, dtype):
    """20 samples, 79,510 parameters; limit 50 ms."""
    net = fastbp.Network([784, 100, 10], dtype=dtype)
    found = benchmark(check.gradients, net, MNIST_LIKE, DIGITS.Y[:20], mode="fast")
    assert found.ok


def test_ladder(benchmark):
    net = fastbp.Network([64, 30, 10])
    assert benchmark(check.output_error, net, DIGITS.X[0], DIGITS.Y[0]).ok


def test_recurrence(benchmark):
    net = fastbp.Network([64, 30, 30, 10])
    assert benchmark(check.recurrence, net, DIGITS.X[0], DIGITS.Y[0]).ok
