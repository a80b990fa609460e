"""Names, sizes and data that several test files use.

What does not belong here: tests, fixtures (conftest.py), tolerances.
"""

import numpy as np

import fastbp
from fastbp import functions, reference

SIZES = (1, 2, 7, 9, 17, 33)  # below, at and above whole vectors of every level
BATCHES = (1, 3, 10, 64)
DTYPES = ("float64", "float32")

ACTIVATIONS = (
    *functions.ACTIVATIONS,
    "leaky_relu(0.2)",
    "elu(0.6)",
    "softmax(0.7)",
    "layer_norm(-1.7)",
    "maxout(3)",
)
LOSSES = (*functions.LOSSES, "mse(0.5)", "huber(0.4)", "pinball(0.9)")

OPTIMIZERS = {  # each with what the oracle has for it
    "sgd": (fastbp.SGD(0.05), lambda: reference.SGD(0.05)),
    "momentum": (fastbp.SGD(0.02, momentum=0.8), lambda: reference.SGD(0.02, 0.8)),
    "nesterov": (
        fastbp.SGD(0.02, momentum=0.8, nesterov=True),
        lambda: reference.SGD(0.02, 0.8, nesterov=True),
    ),
    "adam": (
        fastbp.Adam(0.02, beta1=0.8, beta2=0.95, epsilon=1e-3),
        lambda: reference.Adam(0.02, 0.8, 0.95, 1e-3),
    ),
    "adamw": (
        fastbp.AdamW(0.02, epsilon=1e-3, weight_decay=0.3),
        lambda: reference.AdamW(0.02, epsilon=1e-3, weight_decay=0.3),
    ),
    "amsgrad": (
        fastbp.AMSGrad(0.02, beta1=0.8, beta2=0.5, epsilon=1e-3),
        lambda: reference.AMSGrad(0.02, 0.8, 0.5, 1e-3),
    ),
    "rmsprop": (
        fastbp.RMSprop(0.02, alpha=0.9, epsilon=1e-2),
        lambda: reference.RMSprop(0.02, 0.9, 1e-2),
    ),
    "rmsprop_momentum": (
        fastbp.RMSprop(0.01, alpha=0.9, epsilon=1e-2, momentum=0.7),
        lambda: reference.RMSprop(0.01, 0.9, 1e-2, 0.7),
    ),
    "rmsprop_centered": (
        fastbp.RMSprop(0.01, alpha=0.9, epsilon=0.1, momentum=0.5, centered=True),
        lambda: reference.RMSprop(0.01, 0.9, 0.1, 0.5, centered=True),
    ),
    "adagrad": (
        fastbp.Adagrad(0.05, lr_decay=0.3, initial_accumulator_value=0.1, epsilon=1e-3),
        lambda: reference.Adagrad(0.05, 0.3, 0.1, 1e-3),
    ),
    "adadelta": (
        fastbp.Adadelta(0.8, rho=0.7, epsilon=1e-2),
        lambda: reference.Adadelta(0.8, 0.7, 1e-2),
    ),
    "lion": (
        fastbp.Lion(0.01, beta1=0.8, beta2=0.95, weight_decay=0.3),
        lambda: reference.Lion(0.01, 0.8, 0.95, 0.3),
    ),
}


def fits(output, loss):
    """Whether the pair is admitted."""
    try:
        functions.check_pair(functions.activation(output), functions.loss(loss))
    except ValueError:
        return False
    return True


def admitted(sizes, activation, output, loss):
    """The sizes, a unit more where so many alone are refused."""
    sizes, names = list(sizes), activation
    dense = [l for l, n in enumerate(sizes) if n != "scale"][1:]
    if isinstance(activation, str):
        names = [activation] * (len(dense) - 1)
    for l, name in zip(dense, [*names, output], strict=True):
        try:
            functions.check_units(functions.activation(name), sizes[l], "activation")
        except ValueError:
            sizes[l] += 1
    try:
        functions.check_pair(functions.activation(output), functions.loss(loss), sizes[-1])
    except ValueError:
        sizes[-1] += 1
    return sizes


def short(values):
    """Rounded to float32: both dtypes hold such values, so one oracle serves both."""
    return np.asarray(values, np.float32).astype(np.float64)


def targets(rng, loss, n, n_outputs):
    """Y of every kind that the loss takes: zeros, ones, and rows whose sum is not 1."""
    kind = functions.loss(loss).kind
    if kind == "gaussian_nll":
        return short(rng.standard_normal((n, n_outputs // 2)))
    shape = (n, n_outputs)
    if kind in ("hinge", "squared_hinge"):
        return rng.choice([-1.0, 1.0], shape)
    if kind == "poisson":
        return rng.poisson(1.5, shape).astype(float)
    if kind in ("binary_cross_entropy", "cross_entropy", "kl"):
        return short(rng.choice([0.0, 1.0, 0.25, 0.6], shape))
    return short(rng.standard_normal(shape))


def network(sizes, activation, output, loss, dtype, seed=0):
    """A network whose parameters keep every layer's z of order 1, and float32 holds them."""
    net = fastbp.Network(
        sizes, activation=activation, output=output, loss=loss, dtype=dtype, init="zeros"
    )
    rng = np.random.default_rng([seed, *net.sizes])
    for name, tensor in net.tensors.items():
        values = rng.standard_normal(tensor.shape)
        if name[0] == "W":
            values /= np.sqrt(len(tensor))
        elif name[0] == "b":
            values *= 0.5
        tensor[...] = short(values)
    return net


def oracle(net):
    """The reference network with the same parameters."""
    about = net.architecture
    return reference.Network(
        about["sizes"], about["activation"], about["output"], about["loss"], net.parameters
    )


def shown(value):
    """A parameter's name without an address, which would differ between processes."""
    return str(value).partition(" at 0x")[0]


# for scripts of processes of their own
INTERRUPTING = """
import sys

def interrupted_after(last, files, work):
    # work() with Ctrl-C after so many lines run of these files; whether it came, and how many ran
    lines = 0

    def trace(frame, event, _):
        nonlocal lines
        if frame.f_code.co_filename not in files:
            return None
        lines += event == "line"
        if lines == last:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True, lines
    finally:
        sys.settrace(None)
    return False, lines
"""
