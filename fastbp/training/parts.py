"""What a run is given of the data: what is held out, weights by class, smoothed targets, metrics.

What belongs here: samples made of samples. What does not: the check of what a user hands over
(network.py), when values of held-out data are computed (watchers/validation.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import inputs, metrics
from fastbp.data.chunks import is_chunks
from fastbp.functions import shown
from fastbp.network import Network
from fastbp.samples import Samples
from fastbp.training import own_loss

if TYPE_CHECKING:
    from fastbp.training.own_loss import UserLoss


def as_metrics(net: Network, held_out: Samples | None, value: Any) -> dict[str, Any]:
    """What is recorded of the validation data beside its loss."""
    if value is None:
        is_class = held_out is not None and metrics.classes_of(net, held_out) is not None
        return {"accuracy": None} if is_class else {}
    if held_out is None:
        raise ValueError("metrics: expected validation data with them; got none (validation=None)")
    found = metrics.checked(value)
    metrics.check_targets(net, held_out, found)
    return found


def weighted(net: Network, data: Samples, class_weight: Any) -> Samples:
    """With weights by class."""
    weight = metrics.class_weights(class_weight, net, data.targets())
    if data.rows is not None:  # of the samples' rows alone; nobody asks for the others
        of_all = np.zeros(len(data.X))
        of_all[data.rows] = weight
        weight = of_all
    if data.weight is not None:
        weight = inputs.in_range(weight, np.dtype(np.float64)) * data.weight
    if not weight.any():
        raise ValueError("class_weight: expected a weight above 0 for a class that occurs")
    return data._replace(weight=inputs.in_range(weight, net.dtype))


def smoothed(net: Network, data: Samples, share: float) -> Samples:
    """With targets between their classes and the uniform distribution."""
    if share >= 1:
        raise ValueError(f"label_smoothing: expected a share in [0, 1); got {share}")
    if net._loss.kind not in ("cross_entropy", "kl"):
        raise ValueError(
            f"label_smoothing: expected a network with loss 'cross_entropy' or 'kl'; got "
            f"{net._loss.kind!r}"
        )
    y = inputs.as_dense_targets(data.Y, len(data.Y), net._n_targets, net._loss, net.dtype)
    dense = net.dtype.type(1 - share) * y + net.dtype.type(share / net._n_targets)
    return data._replace(dense=dense, labels=None)


def as_pair(validation: Any) -> tuple[Any, Any, Any]:
    """X, Y and sample_weight of validation data."""
    if is_chunks(validation):
        raise TypeError(
            "validation: expected arrays, for chunks are read by fit of one network in one process "
            f"alone; got {shown(validation)}"
        )
    if not isinstance(validation, (tuple, list)) or len(validation) not in (2, 3):
        raise TypeError(
            f"validation: expected (X, Y), (X, Y, sample_weight), chunks or a share in (0, 1); got "
            f"{type(validation).__name__}"
        )
    X, Y = validation[:2]
    return X, Y, validation[2] if len(validation) == 3 else None


def given(net: Network, data: Samples, validation: Any, loss: UserLoss | None) -> Samples:
    """Validation data that stand beside the training data."""
    X, Y, weight = as_pair(validation)
    try:
        if loss is not None:
            return own_loss.samples(net, X, Y, weight)
        return net._samples(X, Y, weight, data.missing)
    except (TypeError, ValueError) as error:
        raise type(error)(f"validation: {error}") from None


def split_off(n: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Numbers of the samples that are trained on, and of those held out."""
    if not 0 < share < 1 or n < 2:
        raise ValueError(
            f"validation: expected a share in (0, 1) of at least 2 rows; got {share} of {n}"
        )
    n_held = min(max(1, round(n * float(share))), n - 1)
    order = np.random.default_rng([seed, 1]).permutation(n)
    return np.sort(order[n_held:]), np.sort(order[:n_held])


def check_weights(data: Samples, held_out: Samples) -> None:
    """Refuse a part whose samples all weigh nothing."""
    for part, what in ((data, "training"), (held_out, "validation")):
        if part.weight is not None and not part.targets().weight.any():  # type: ignore[union-attr]
            raise ValueError(
                f"validation: expected weights above 0 in both parts; got only zeros for {what}"
            )
