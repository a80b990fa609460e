"""A loss of the user's own: what it is given, and what its answer has to be.

What belongs here: the checks around that call. What does not: costs of the engine
(kernels/functions/cost.pxd), the steps that are made with it (driver.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import functions, inputs
from fastbp.functions import shown
from fastbp.inputs import ArrayLike, Rows
from fastbp.network import Network
from fastbp.samples import Samples

UserLoss = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[ArrayLike, ArrayLike]]


def check(loss: Any, **options: Any) -> None:
    """Refuse what is no function, and options that are the engine's losses'."""
    if not callable(loss):
        raise TypeError(
            "loss: expected a callable (predictions, targets, weights) -> (loss, gradient), for "
            f"Network has the names; got {shown(loss)}"
        )
    for name, value in options.items():
        if value:
            raise ValueError(f"{name}: expected none with a loss of your own; got {shown(value)}")


def samples(net: Network, X: Rows, Y: ArrayLike, sample_weight: ArrayLike | None) -> Samples:
    """Checked, with targets of any kind: class indices, or numbers in any number of columns."""
    X = net._ready(X)
    n = X.shape[0]
    array, n_outputs = inputs.as_array(Y, "Y"), net.sizes[-1]
    if array.ndim == 2 and array.shape[1]:
        n_outputs = array.shape[1]
    elif array.dtype.kind == "f":
        n_outputs = 1
    dense, labels = inputs.as_targets(array, n, n_outputs, functions.loss("mse"), net.dtype)
    return Samples(X, dense, labels, inputs.as_weight(sample_weight, n, net.dtype))


def value(loss: UserLoss, data: Samples, outputs: np.ndarray) -> float:
    """The loss of samples with these outputs; the user has copies of all."""
    weight = np.ones(len(data.Y), outputs.dtype) if data.weight is None else data.weight.copy()
    return value_and_slope(loss, outputs.copy(), data.Y.copy(), weight)[0]


def value_and_slope(
    loss: UserLoss, outputs: np.ndarray, Y: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    """What a user's own loss gives, checked: a number and its gradient by the outputs."""
    shape, dtype = outputs.shape, outputs.dtype
    answer = loss(outputs, Y, weight)
    expected = f"loss: expected (number, gradient {shape}) from it; got"
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise TypeError(f"{expected} {type(answer).__name__}")
    value, slope = (inputs.as_array(part, "loss") for part in answer)
    for part, name in ((value, "a number"), (slope, "a gradient")):
        if part.dtype.kind not in "fiub":
            raise TypeError(f"{expected} {name} of dtype {part.dtype}")
    if value.ndim:
        raise TypeError(f"{expected} a number of shape {value.shape}")
    if slope.shape != shape:
        raise ValueError(f"loss: expected a gradient of shape {shape} from it; got {slope.shape}")
    with np.errstate(over="ignore"):  # infinite it is a step that diverges
        return float(value), inputs.plain(slope, dtype)
