"""Networks and inputs that every format is held to."""

import warnings

import numpy as np

import fastbp
from fastbp import functions
from fastbp.layers import Scale

PARAMETRISED = ["leaky_relu(0.02)", "leaky_relu(-0.5)", "elu(0.7)", "softmax(2)", "softmax(0.25)",
                "layer_norm(-1.5)", "maxout(3)", "maxout(1)"]  # fmt: skip
NAMES = [*functions.ACTIVATIONS, *PARAMETRISED]
SIZES = [1, 2, 3, 7, 8, 9, 16, 17, 33]


def networks(n, dtype, seed=0):
    """Every activation as a hidden layer and as the output, by turns; all links; odd widths."""
    draws = np.random.default_rng(seed)
    for i in range(n):
        output = NAMES[i % len(NAMES)]
        hidden = [NAMES[(i * 7 + 3 * k) % len(NAMES)] for k in range(int(draws.integers(0, 4)))]
        least = [2 if functions.activation(name).of_one is not None else 1
                 for name in (*hidden, output)]  # fmt: skip
        widths = [max(a, int(draws.choice(SIZES))) for a in least]
        sizes = [int(draws.choice(SIZES)), *widths]
        if i % 3 == 0:
            sizes.insert(1, Scale())
        if i % 5 == 0:
            sizes.insert(len(sizes) - 1, Scale())
        yield network(sizes, hidden, output, dtype, i)


def network(sizes, hidden, output, dtype, seed=0):
    """With parameters drawn, also of biases and scales."""
    net = fastbp.Network(sizes, activation=hidden, output=output, loss="mse", dtype=dtype,
                         seed=seed)  # fmt: skip
    draws = np.random.default_rng(1000 + seed)
    for name, tensor in net.tensors.items():
        if name[0] != "W":
            tensor += draws.normal(0, 0.5, tensor.shape).astype(dtype)
    return net


def inputs(net, n=40, seed=0):
    """Ordinary ones, and 0, subnormal, +-1e4."""
    draws = np.random.default_rng(seed)
    X = draws.standard_normal((n, net.sizes[0])).astype(net.dtype)
    odd = [0.0, -0.0, float(np.finfo(net.dtype).smallest_subnormal) * 5, 1e4, -1e4, 30.0, -30.0]
    for row, value in enumerate(odd):
        X[row, :] = value
    X[len(odd) : len(odd) + 3] *= np.array([1e-3, 10, 100], net.dtype)[:, None]
    return X


def outputs(net, X):
    """As `predict` gives them, without its word on overflows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return net.predict(X)


def of_engine(net, X):
    """The same of X that `predict` refuses."""
    X = np.ascontiguousarray(X, net.dtype)
    out = np.empty((len(X), net.sizes[-1]), net.dtype)
    net._doors.predict(net._compiled, net.parameters, X, out)
    return out
