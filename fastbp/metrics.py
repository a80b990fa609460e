"""How good predictions are: metrics by name, and which class an output means.

What belongs here: numbers and decisions from targets and outputs. What does not: costs that are
trained on (kernels/cost.pxd), when values are computed (monitor.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastbp import functions
from fastbp.network import Network
from fastbp.run import Samples

Array = np.ndarray
Metric = Callable[[Array, Array], Any]

SIGNED_LOSSES = ("hinge", "squared_hinge")  # a single output tells two classes as -1 and 1


def decide(outputs: Array, loss: str, output: str) -> Array:
    """The class of each row of outputs; of one output, whether it is above the middle of the two.

    Parameters
    ----------
    outputs : ndarray (n, n_L)
    loss, output : str
        The network's, as in `Network.architecture`.

    Returns
    -------
    ndarray (n,) of int

    Examples
    --------
    >>> decide(np.array([[0.2, 0.8], [0.6, 0.4]]), "cross_entropy", "softmax").tolist()
    [1, 0]
    >>> decide(np.array([[0.3], [-0.3]]), "hinge", "identity").tolist()
    [1, 0]
    """
    if outputs.shape[1] > 1:
        return np.asarray(outputs.argmax(axis=1))
    signed = functions.loss(loss).kind in SIGNED_LOSSES
    unit = functions.activation(output).range == "unit"
    return (outputs[:, 0] > (0.0 if signed and not unit else 0.5)).astype(np.intp)


def classes_of(net: Network, data: Samples) -> Array | None:
    """The class of each sample, where the targets are classes."""
    if data.labels is not None:
        return data.labels
    y, kind = data.Y, net._loss.kind
    if y.shape[1] == 1:
        low = -1 if kind in SIGNED_LOSSES else 0
        is_class = kind == "binary_cross_entropy" or kind in SIGNED_LOSSES
        return (y[:, 0] > 0).astype(np.intp) if is_class and _holds(y, low, 1) else None
    one_hot = _holds(y, 0, 1) and (y.sum(axis=1) == 1).all()
    return y.argmax(axis=1) if one_hot else None


def _holds(y: Array, low: float, high: float) -> bool:
    return bool(((y == low) | (y == high)).all())


def class_weights(value: Any, net: Network, data: Samples) -> Array:
    """The factor of each sample's weight: a dict by class, or "balanced", n / (K n_class)."""
    classes = classes_of(net, data)
    if classes is None:
        raise ValueError("class_weight: expected targets that are classes; got numbers")
    n_classes = max(2, net._n_targets)
    factors = np.ones(n_classes)
    # the names of the classes are the targets': of a single output of a hinge loss, -1 and 1
    signed = net._n_targets == 1 and net._loss.kind in SIGNED_LOSSES
    names = [-1, 1] if signed else list(range(n_classes))
    if isinstance(value, str) and value == "balanced":
        counts = np.bincount(classes, minlength=n_classes)
        there = counts > 0
        factors[there] = classes.size / (there.sum() * counts[there])
    elif isinstance(value, Mapping):
        from fastbp import inputs

        for name, factor in value.items():
            if name not in names:
                raise ValueError(
                    f"class_weight: expected classes among {names}; got {name!r}, which is unknown"
                )
            factors[names.index(name)] = inputs.as_penalty(factor, f"class_weight[{name!r}]")
    else:
        raise TypeError(
            f"class_weight: expected a dict of class: weight, or 'balanced'; got {value!r}"
        )
    result: Array = factors[classes]
    return result


# metrics by name: (targets, outputs, weight, the network) -> number


def _mean_of_columns(values: Array, weight: Array | None) -> float:
    return float(np.average(values.astype(np.float64), axis=0, weights=weight).mean())


def _means(data: Samples, outputs: Array) -> tuple[Array, Array]:
    """Targets and outputs as numbers; of gaussian_nll, the means are judged."""
    y = data.Y
    if data.labels is not None:
        y = np.zeros(outputs.shape, outputs.dtype)
        y[np.arange(len(y)), data.labels] = 1
    return y.astype(np.float64), outputs[:, : y.shape[1]].astype(np.float64)


def accuracy(net: Network, data: Samples, outputs: Array) -> float:
    """Share of samples with the right class; of several labels a sample, with all of them right."""
    classes = classes_of(net, data)
    if classes is not None:
        right = decide(outputs, net._loss.name, net._output.name) == classes
    elif _is_multilabel(net, data):
        right = ((outputs > 0.5) == (data.Y > 0.5)).all(axis=1)
    else:
        raise ValueError("metrics: 'accuracy' expects targets that are classes; got numbers")
    return float(np.average(right, weights=data.weight))


def _is_multilabel(net: Network, data: Samples) -> bool:
    """Targets 0 or 1, any number of ones a row."""
    return net._loss.kind == "binary_cross_entropy" and _holds(data.Y, 0, 1)


def balanced_accuracy(net: Network, data: Samples, outputs: Array) -> float:
    """Mean over the classes of the share of their samples that are found."""
    classes = classes_of(net, data)
    if classes is None:
        raise ValueError(
            "metrics: 'balanced_accuracy' expects targets that are classes; got numbers"
        )
    right = decide(outputs, net._loss.name, net._output.name) == classes
    weight = np.ones(classes.size) if data.weight is None else data.weight
    total = np.bincount(classes, weight)
    found = np.bincount(classes, weight * right)
    return float((found[total > 0] / total[total > 0]).mean())


def r2(net: Network, data: Samples, outputs: Array) -> float:
    """Coefficient of determination, mean over the targets; NaN where a target is constant."""
    y, a = _means(data, outputs)
    residual = np.average((y - a) ** 2, axis=0, weights=data.weight)
    mean = np.average(y, axis=0, weights=data.weight)
    spread = np.average((y - mean) ** 2, axis=0, weights=data.weight)
    return float((1 - residual / spread).mean()) if (spread > 0).all() else float("nan")


def mse(net: Network, data: Samples, outputs: Array) -> float:
    """Mean squared error, over samples and targets."""
    y, a = _means(data, outputs)
    return _mean_of_columns((y - a) ** 2, data.weight)


def rmse(net: Network, data: Samples, outputs: Array) -> float:
    """Root of the mean squared error."""
    return float(np.sqrt(mse(net, data, outputs)))


def mae(net: Network, data: Samples, outputs: Array) -> float:
    """Mean absolute error, over samples and targets."""
    y, a = _means(data, outputs)
    return _mean_of_columns(np.abs(y - a), data.weight)


METRICS = {f.__name__: f for f in (accuracy, balanced_accuracy, r2, mse, rmse, mae)}


def checked(metrics: Any) -> dict[str, Metric | None]:
    """`metrics` of fit as name: callable, or None for one of METRICS."""
    if isinstance(metrics, str):
        metrics = [metrics]
    if isinstance(metrics, Mapping):
        for name, metric in metrics.items():
            if not isinstance(name, str) or not callable(metric) or name == "loss":
                raise TypeError(
                    "metrics: expected {name: callable (y_true, y_pred)}, a name other than "
                    f"'loss'; got {name!r}: {metric!r}"
                )
        return dict(metrics)
    if not isinstance(metrics, (list, tuple, set, frozenset)):
        raise TypeError(
            f"metrics: expected names, or {{name: callable (y_true, y_pred)}}; got {metrics!r}"
        )
    for name in metrics:
        if name not in METRICS:
            raise ValueError(functions.unknown("metrics", name, METRICS))
    return dict.fromkeys(metrics)


def evaluate(
    net: Network, data: Samples, outputs: Array, metrics: Mapping[str, Metric | None]
) -> dict[str, float]:
    """The metrics of outputs. A user's own is given the targets (n,) or (n, n_L) and a^L."""
    found = {}
    for name, own in metrics.items():
        if own is None:
            found[name] = METRICS[name](net, data, outputs)
            continue
        value = own(data.Y.copy(), outputs.copy())
        if isinstance(value, (str, bytes)) or np.ndim(value):
            raise TypeError(f"metrics: expected a number from {name!r}; got {value!r}")
        try:
            found[name] = float(value)
        except (TypeError, ValueError):
            raise TypeError(f"metrics: expected a number from {name!r}; got {value!r}") from None
    return found
