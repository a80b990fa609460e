"""Labels, probabilities and numbers of estimators as nodes.

What belongs here: what an estimator makes of its networks' outputs. What does not: networks
(network.py), columns of a table (encoder.py), names of a file's inputs (writing.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import functions
from fastbp.exchange.onnx.graph import Graph, Value
from fastbp.exchange.onnx.network import add_network
from fastbp.metrics import middle
from fastbp.network import Network

Found = list[tuple[str, Value, int | None]]  # name, value, columns (None: (n,))


def class_tensor(classes: Any) -> np.ndarray:
    """Classes as ONNX holds them: texts, or int64 as skl2onnx has it, or float64."""
    array = np.asarray(classes)
    if array.dtype.kind in "biu":
        if array.dtype.kind == "u" and array.max(initial=0) > np.iinfo(np.int64).max:
            raise ValueError(f"model: expected classes that int64 holds; got {array.max()}")
        return array.astype(np.int64)
    if array.dtype.kind == "f":
        whole = bool((array == np.round(array)).all()) and bool((np.abs(array) < 2**53).all())
        return array.astype(np.int64 if whole else np.float64)
    values = array.tolist()
    if all(isinstance(v, str) for v in values):
        for v in values:
            if any("\ud800" <= c <= "\udfff" for c in v):
                raise ValueError(f"model: expected classes that UTF-8 can hold; got {v!r}")
        return np.array(values, object)
    if all(isinstance(v, (bool, int, np.integer)) for v in values):
        return np.array([int(v) for v in values], np.int64)
    odd = next(v for v in values if not isinstance(v, str))
    raise TypeError(
        f"model: expected classes that ONNX holds, texts or numbers; got {functions.shown(odd)}"
    )


def labels(places: Value, classes: Any) -> Value:
    """Of places (n,)."""
    tensor = places.graph.tensor(class_tensor(classes), "classes")
    (out,) = places.graph.add("Gather", tensor.name, places.name, axis=0)
    return Value(places.graph, out, tensor.dtype)


def largest_place(outputs: Value) -> Value:
    """(n,), of equals the first."""
    return outputs.op("ArgMax", dtype=np.int64, axis=1, keepdims=0)


def _above(outputs: Value, middle: float) -> Value:
    """0 or 1."""
    return (outputs > middle).cast(np.int64)


def label_of_outputs(outputs: Value, net: Network) -> Value:
    """Of a network that knows its classes, as the command line decides."""
    if net.sizes[-1] > 1:
        return labels(largest_place(outputs), net.classes)
    return labels(_above(outputs, middle(net)).reshaped(-1), net.classes)


def add_estimator(graph: Graph, model: Any, x: Value) -> Found:
    """MLPClassifier or MLPRegressor, of one network or of several."""
    x = x.cast(model.networks_[0].dtype)
    several = [
        add_network(graph, net, x, f"net{i}/" if len(model.networks_) > 1 else "")
        for i, net in enumerate(model.networks_)
    ]
    if hasattr(model, "classes_"):
        return _classifier(model, mean_of(several))
    if not model._is_gaussian():
        return [("variable", mean_of(several), model.n_outputs_)]
    n = model.n_outputs_
    means, logs = zip(*(outputs.parts([n, n], -1) for outputs in several), strict=True)
    mean, variance = means[0], logs[0].exp()
    if len(several) > 1:  # of the mixture
        mean = mean_of(list(means))
        spread = [log.exp() + (m - mean) * (m - mean) for m, log in zip(means, logs, strict=True)]
        variance = mean_of(spread)
        return [("variable", mean, n), ("std", variance.op("Sqrt"), n)]
    return [("variable", mean, n), ("std", (logs[0] * 0.5).exp(), n)]


def mean_of(values: list[Value]) -> Value:
    """Added in order."""
    total = values[0]
    for value in values[1:]:
        total = total + value
    return total if len(values) == 1 else total / float(len(values))


def _classifier(model: Any, outputs: Value) -> Found:
    n, between = model.n_outputs_, model._middle()
    name = "scores" if model._is_signed() else "probabilities"
    if model._multilabel:
        label = ("label", _above(outputs, between), n)
        if n == 1 and name == "probabilities":  # as predict_proba has it
            return [label, (name, _both(outputs), 2)]
        return [label, (name, outputs, n)]
    if n > 1:
        return [("label", labels(largest_place(outputs), model.classes_), None),
                (name, outputs, n)]  # fmt: skip
    places = _above(outputs, between).reshaped(-1)
    if len(model.classes_) == 1:
        places = places * 0
    label = ("label", labels(places, model.classes_), None)
    if name == "scores":
        return [label, (name, outputs, 1)]
    return [label, (name, _both(outputs), 2)]


def _both(p: Value) -> Value:
    """1 - p beside p."""
    return (1.0 - p).op("Concat", p, axis=1)


def add_tabular(graph: Graph, model: Any, encoded: Value) -> Found:
    """TabularClassifier or TabularRegressor; outputs are averaged in float64, as it does."""
    design, targets, nets = model._design, model._targets, model.networks_
    bins = design.bins
    if bins.columns:
        encoded = encoded.op("Concat", _bins(encoded, bins), axis=1)
    several = [
        add_network(graph, net, encoded.cast(net.dtype), f"net{i}/").cast(np.float64)
        for i, net in enumerate(nets)
    ]
    outputs = mean_of(several)
    if hasattr(targets, "scale"):
        numbers = outputs * graph.constant(targets.scale, np.float64) + graph.constant(
            targets.mean, np.float64
        )
        return [("variable", numbers, targets.n_outputs)]
    n = targets.n_outputs
    if targets.several:
        return [("label", _above(outputs, 0.5), n), ("probabilities", outputs, n)]
    return [("label", labels(largest_place(outputs), targets.classes), None),
            ("probabilities", outputs, n)]  # fmt: skip


def _bins(encoded: Value, bins: Any) -> Value:
    """As `Bins.transform`: all bins of all columns at once."""
    dtype, graph = encoded.dtype, encoded.graph
    columns = np.repeat(bins.columns, [len(edges) - 1 for edges in bins.edges])
    lows = np.concatenate([edges[:-1].astype(dtype) for edges in bins.edges])
    widths = np.concatenate([np.diff(edges).astype(dtype) for edges in bins.edges])
    taken = encoded.op("Gather", graph.constant(columns, np.int64), axis=1)
    return ((taken - graph.constant(lows, dtype)) / graph.constant(widths, dtype)).op(
        "Clip", 0.0, 1.0
    )
