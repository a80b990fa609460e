"""How good predictions are: metrics by name, and which class an output means.

What belongs here: numbers and decisions from targets and outputs. What does not: costs that are
trained on (kernels/functions/cost.pxd), when values are computed (training/watchers/validation.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, SupportsFloat

import numpy as np

from fastbp import functions, inputs
from fastbp.functions import shown
from fastbp.inputs import ArrayLike
from fastbp.network import Network
from fastbp.samples import Samples

Array = np.ndarray
Metric = Callable[[Array, Array], SupportsFloat]


def decide(net: Network, outputs: Array) -> Array:
    """Name the class of each row of outputs: the largest one's.

    Of one output, whether it is above the middle of its two targets.

    Parameters
    ----------
    net : Network
        Tells by its loss what a single output means.
    outputs : ndarray (n, n_L)
        As `Network.predict` gives them.

    Returns
    -------
    ndarray of int (n,)
        Indices of classes; of one output 0 and 1.

    Examples
    --------
    >>> import fastbp
    >>> decide(fastbp.Network([4, 2]), np.array([[0.2, 0.8], [0.6, 0.4]])).tolist()
    [1, 0]
    >>> net = fastbp.Network([4, 1], output="identity", loss="hinge")
    >>> decide(net, np.array([[0.3], [-0.3]])).tolist()
    [1, 0]
    """
    if outputs.shape[1] > 1:
        return np.asarray(outputs.argmax(axis=1))
    return (outputs[:, 0] > middle(net)).astype(np.intp)


def middle(net: Network) -> float:
    """Above which one output means the second of two classes.

    >>> import fastbp
    >>> middle(fastbp.Network([4, 1], output="sigmoid", loss="binary_cross_entropy"))
    0.5
    """
    signed = net._loss.signed and net._output.range != "unit"
    return 0.0 if signed else 0.5


def classes_of(net: Network, data: Samples) -> Array | None:
    """The class of each sample, where the targets are classes."""
    if data.labels is not None:
        return data.labels
    y, loss = data.Y, net._loss
    if y.shape[1] == 1:
        low = -1 if loss.signed else 0
        is_class = loss.kind == "binary_cross_entropy" or loss.signed
        return (y[:, 0] > 0).astype(np.intp) if is_class and _holds(y, low, 1) else None
    one_hot = y.shape[1] == net._n_targets and _holds(y, 0, 1) and (y.sum(axis=1) == 1).all()
    return y.argmax(axis=1) if one_hot else None


def _instead_of_classes(net: Network, y: Array) -> str:
    """What targets are that are not one class a sample."""
    of_classes = net._loss.kind in ("binary_cross_entropy", "cross_entropy", "kl")
    if of_classes and _holds(y, 0, 1):
        return "several labels a sample; sample_weight weighs samples"
    if of_classes and ((y >= 0) & (y <= 1)).all():
        return "soft labels, shares of classes; sample_weight weighs samples"
    return "numbers"


def _holds(y: Array, low: float, high: float) -> bool:
    return bool(((y == low) | (y == high)).all())


def class_names(net: Network) -> list[int]:
    """Those of the targets: of a single output of a hinge loss, -1 and 1."""
    signed = net._n_targets == 1 and net._loss.signed
    return [-1, 1] if signed else list(range(max(2, net._n_targets)))


def class_weights(value: object, net: Network, data: Samples) -> Array:
    """The factor of each sample's weight: a dict by class, or "balanced", n / (K n_class)."""
    classes = classes_of(net, data)
    if classes is None:
        raise ValueError(
            f"class_weight: expected targets that are classes, one a sample; got "
            f"{_instead_of_classes(net, data.Y)}"
        )
    names = class_names(net)
    n_classes = len(names)
    factors = np.ones(n_classes)
    places = {name: place for place, name in enumerate(names)}  # no name is compared with all
    if isinstance(value, str) and value == "balanced":
        counts = np.bincount(classes, minlength=n_classes)
        there = counts > 0
        factors[there] = classes.size / (there.sum() * counts[there])
    elif isinstance(value, Mapping):
        for name, factor in value.items():
            if name not in places:
                raise ValueError(
                    f"class_weight: expected classes among {names}; got {shown(name)}, which is "
                    "unknown"
                )
            factors[places[name]] = inputs.as_penalty(factor, f"class_weight[{name!r}]")
    else:
        raise TypeError(
            f"class_weight: expected a dict of class: weight, or 'balanced'; got {shown(value)}"
        )
    result: Array = factors[classes]
    return result


# metrics: of (classes, decisions, weight)


def _classes(y: Any, a: Any) -> tuple[Array, Array]:
    """Both as arrays of one shape."""
    y, a = np.asarray(y), np.asarray(a)
    if y.ndim not in (1, 2) or y.shape != a.shape:
        raise ValueError(
            f"a: expected decisions of the classes' shape, (n,) or (n, labels), which is {y.shape};"
            f" got {a.shape}"
        )
    return y, a


def _weights(weight: Any, n: int) -> Array | None:
    """float64 (n,), or None."""
    if weight is None:
        return None
    found = inputs.as_array(weight, "weight").astype(np.float64)
    if found.shape != (n,):
        raise ValueError(f"weight: expected shape ({n},), one for each sample; got {found.shape}")
    return found


def accuracy(y: ArrayLike, a: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Share of samples whose class is right; of several labels a sample, with all of them right.

    Parameters
    ----------
    y : array_like (n,), or of 0 and 1 (n, labels)
        The classes.
    a : array_like of the same shape
        What was decided.
    weight : array_like (n,), optional
        How much each sample counts; None: all the same.

    Returns
    -------
    float in [0, 1]
        1 where all are right.

    Examples
    --------
    >>> accuracy([0, 1, 1, 1], [0, 1, 1, 0])
    0.75
    """
    y, a = _classes(y, a)
    right = y == a if y.ndim == 1 else (y == a).all(axis=1)
    return float(np.average(right, weights=_weights(weight, len(y))))


def balanced_accuracy(y: ArrayLike, a: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean over the classes of the share of their samples that are found.

    Parameters
    ----------
    y : array_like (n,)
        The classes.
    a : array_like (n,)
        What was decided.
    weight : array_like (n,), optional
        How much each sample counts; None: all the same.

    Returns
    -------
    float in [0, 1]
        1 where all are right; classes that do not occur do not count.

    Examples
    --------
    >>> balanced_accuracy([0, 1, 1, 1], [0, 1, 1, 1])
    1.0
    """
    y, a = _classes(y, a)
    if y.ndim != 1:
        raise ValueError(f"y: expected one class a sample, (n,); got shape {y.shape}")
    shares = np.ones(y.size) if weight is None else _weights(weight, y.size)
    _, places = np.unique(y, return_inverse=True)
    total = np.bincount(places, shares)
    found = np.bincount(places, shares * (y == a), total.size)
    return float((found[total > 0] / total[total > 0]).mean())


# metrics: of (targets, outputs, weight), (n, columns) or (n,); NaN stands for a target not known


def _columns(y: Any, a: Any) -> tuple[Array, Array]:
    """Both as (n, columns) of float64: (n,) is one column."""
    y, a = np.asarray(y, np.float64), np.asarray(a, np.float64)
    y, a = (x[:, None] if x.ndim == 1 else x for x in (y, a))
    if y.ndim != 2 or y.shape != a.shape:
        raise ValueError(f"a: expected outputs of the targets' shape {y.shape}; got {a.shape}")
    return y, a


def _mean(values: Array, weight: Array | None) -> Array:
    """Of each column, over the rows whose value is known; NaN where there are none."""
    known = ~np.isnan(values)
    shares = known if weight is None else known * weight[:, None]
    with np.errstate(invalid="ignore"):
        mean: Array = (np.where(known, values, 0.0) * shares).sum(axis=0) / shares.sum(axis=0)
    return mean


def _exponent(values: Array) -> int:
    """2 to this is above every size: divided by it, which takes no digits, all have squares."""
    sizes = np.abs(values)
    return int(np.frexp(sizes.max(initial=0.0, where=np.isfinite(sizes)))[1])


def r2(y: ArrayLike, a: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Coefficient of determination, mean over the targets; NaN where a target is constant.

    Parameters
    ----------
    y : array_like (n,) or (n, targets)
        NaN stands for a target that is not known.
    a : array_like of the same shape
        The outputs.
    weight : array_like (n,), optional
        How much each sample counts; None: all the same.

    Returns
    -------
    float
        1 where all outputs are their targets, 0 where they are no better than the mean.

    Examples
    --------
    >>> r2([0.0, 1.0, 2.0], [0.0, 1.0, 3.0])
    0.5
    """
    targets, outputs = _columns(y, a)
    shares = _weights(weight, len(targets))
    columns = np.arange(targets.shape[1])[:, None]  # each alone, as a column
    return float(np.mean([_r2(targets[:, j], outputs[:, j], shares) for j in columns]))


def _r2(y: Array, a: Array, weight: Array | None) -> float:
    """Of one column."""
    seen = ~np.isnan(y[:, 0]) if weight is None else ~np.isnan(y[:, 0]) & (weight > 0)
    if not seen.any() or (y[seen] == y[seen][0]).all():  # told before anything is rounded
        return float("nan")
    with np.errstate(over="ignore", invalid="ignore"):  # outputs may be as far off as they like
        shift = -1 - _exponent(y[seen])
        y, a = np.ldexp(y, shift), np.ldexp(a, shift)
        shift = -_exponent(y[seen] - y[seen][0])
        residual = _mean(np.ldexp(y - a, shift) ** 2, weight)
        spread = _mean(np.ldexp(y - _mean(y, weight), shift) ** 2, weight)
        return float((1 - residual / spread)[0])


def _mean_of_errors(y: Any, a: Any, weight: Any, power: int) -> tuple[float, int]:
    """Mean of |y - a|^power over samples and targets, as a number and a power of two."""
    y, a = _columns(y, a)
    weight = _weights(weight, len(y))
    with np.errstate(over="ignore", invalid="ignore"):
        errors = np.abs(y - a)
    exponent = _exponent(errors)
    return float(_mean(np.ldexp(errors, -exponent) ** power, weight).mean()), power * exponent


def mse(y: ArrayLike, a: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean squared error, over samples and targets.

    Parameters
    ----------
    y : array_like (n,) or (n, targets)
        NaN stands for a target that is not known.
    a : array_like of the same shape
        The outputs.
    weight : array_like (n,), optional
        How much each sample counts; None: all the same.

    Returns
    -------
    float
        In squares of the targets' unit, at least 0.

    Examples
    --------
    >>> mse([0.0, 2.0], [0.0, 0.0])
    2.0
    """
    with np.errstate(over="ignore"):
        return float(np.ldexp(*_mean_of_errors(y, a, weight, 2)))


def rmse(y: ArrayLike, a: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Root of the mean squared error.

    Parameters
    ----------
    y : array_like (n,) or (n, targets)
        NaN stands for a target that is not known.
    a : array_like of the same shape
        The outputs.
    weight : array_like (n,), optional
        How much each sample counts; None: all the same.

    Returns
    -------
    float
        In the targets' unit, at least 0.

    Examples
    --------
    >>> rmse([0.0, 2.0], [2.0, 0.0])
    2.0
    """
    square, exponent = _mean_of_errors(y, a, weight, 2)
    return float(np.ldexp(np.sqrt(square), exponent // 2))


def mae(y: ArrayLike, a: ArrayLike, weight: ArrayLike | None = None) -> float:
    """Mean absolute error, over samples and targets.

    Parameters
    ----------
    y : array_like (n,) or (n, targets)
        NaN stands for a target that is not known.
    a : array_like of the same shape
        The outputs.
    weight : array_like (n,), optional
        How much each sample counts; None: all the same.

    Returns
    -------
    float
        In the targets' unit, at least 0.

    Examples
    --------
    >>> mae([0.0, 2.0], [0.0, 0.0])
    1.0
    """
    return float(np.ldexp(*_mean_of_errors(y, a, weight, 1)))


OF_CLASSES = {f.__name__: f for f in (accuracy, balanced_accuracy)}
OF_NUMBERS = {f.__name__: f for f in (r2, mse, rmse, mae)}
METRICS = OF_CLASSES | OF_NUMBERS


def checked(metrics: object) -> dict[str, Metric | None]:
    """`metrics` of fit as name: callable, or None for one of METRICS."""
    if isinstance(metrics, str):
        metrics = [metrics]
    if isinstance(metrics, Mapping):
        for name, metric in metrics.items():
            if not isinstance(name, str) or not callable(metric) or name == "loss":
                raise TypeError(
                    "metrics: expected {name: callable (y_true, y_pred)}, a name other than "
                    f"'loss'; got {shown(name)}: {shown(metric)}"
                )
        return dict(metrics)
    if not isinstance(metrics, (list, tuple, set, frozenset)):
        raise TypeError(
            f"metrics: expected names, or {{name: callable (y_true, y_pred)}}; got {shown(metrics)}"
        )
    return dict.fromkeys(functions.one_of("metrics", name, METRICS) for name in metrics)


def check_targets(net: Network, data: Samples, metrics: Mapping[str, Metric | None]) -> None:
    """Refuse metrics of classes where the targets are numbers."""
    for name, own in metrics.items():
        if own is None and name in OF_CLASSES and _decided(net, data, name) is None:
            raise ValueError(f"metrics: {name!r} expects targets that are classes; got numbers")


def _decided(net: Network, data: Samples, name: str) -> tuple[Array, Callable[..., Array]] | None:
    """The true classes, and how outputs become such; None where the targets are none."""
    classes = classes_of(net, data)
    if classes is not None:
        return classes, lambda outputs: decide(net, outputs)
    # several labels a sample
    is_multilabel = net._loss.kind == "binary_cross_entropy" and _holds(data.Y, 0, 1)
    if name == "accuracy" and is_multilabel:
        return data.Y > 0.5, lambda outputs: outputs > 0.5
    return None


def _numbers(data: Samples, outputs: Array) -> tuple[Array, Array]:
    """Targets and outputs; of gaussian_nll, whose outputs are twice as many, the means."""
    y = data.Y
    if data.labels is not None:
        y = np.zeros(outputs.shape, outputs.dtype)
        y[np.arange(len(y)), data.labels] = 1
    return y, outputs[:, : y.shape[1]]


def evaluate(
    net: Network, data: Samples, outputs: Array, metrics: Mapping[str, Metric | None]
) -> dict[str, float]:
    """The metrics of outputs a^L. A user's own is given targets (n,) or (n, n_L), and a^L."""
    found = {}
    for name, own in metrics.items():
        if own is not None:
            found[name] = _as_number(own(data.Y.copy(), outputs.copy()), name)
        elif name in OF_NUMBERS:
            found[name] = OF_NUMBERS[name](*_numbers(data, outputs), data.weight)
        else:
            decided = _decided(net, data, name)
            assert decided is not None
            found[name] = OF_CLASSES[name](decided[0], decided[1](outputs), data.weight)
    return found


def _as_number(value: Any, name: str) -> float:
    try:
        return inputs.as_number(value)
    except Exception:
        raise TypeError(f"metrics: expected a number from {name!r}; got {shown(value)}") from None
