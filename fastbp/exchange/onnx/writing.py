"""`to_onnx`: whole models, checked, in a file or as they are.

What belongs here: which kind of model is written how, inputs and outputs by name. What does not:
nodes (network.py, estimators.py, encoder.py), scikit-learn's pipelines (converter.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from fastbp import inputs
from fastbp.exchange.onnx import converter
from fastbp.exchange.onnx.encoder import TABLE, add_encoder
from fastbp.exchange.onnx.estimators import add_estimator, add_tabular, label_of_outputs
from fastbp.exchange.onnx.graph import Graph, Value, package, type_of
from fastbp.exchange.onnx.network import INPUT, KEY, OUTPUT, add_network, description
from fastbp.exchange.stack import Model, check_finite, fitted_networks, is_estimator
from fastbp.files.replace import check_destination, replace
from fastbp.functions import shown
from fastbp.network import Network
from fastbp.tabular import Encoder
from fastbp.tabular.columns import Table

if TYPE_CHECKING:
    import onnx

LARGEST = 2**31 - 1  # bytes of a protobuf message


def to_onnx(
    model: Model, path: str | os.PathLike[str] | Table | None = None, X: Table | None = None
) -> onnx.ModelProto:
    """Write a model as ONNX.

    A network gets input "X" (n, n_0) and output "outputs", what `predict` gives, and, where it
    knows its classes, "label". Estimators get what skl2onnx calls them: "label" and "probabilities"
    (a tensor; "scores" with a hinge loss), or "variable" (n, n_targets), and "std" with loss
    "gaussian_nll". Where a model takes a table, each column is an input (n, 1) of its name.

    Parameters
    ----------
    model : Network, fitted estimator of fastbp or pipeline of scikit-learn
        A pipeline ends in an estimator of fastbp.
    path : str or path-like, optional
        A file of that name is replaced, whole.
    X : table or array_like, optional
        An example of the input. A table's columns get its types, without it float64 and texts.
        scikit-learn's pipelines need it where they take a frame or texts; without it they get one
        input of floats. As in ``skl2onnx.to_onnx(model, X)`` it may stand in the place of `path`.

    Returns
    -------
    onnx.ModelProto
        Of the lowest opset that has the operators: 13, or 20 where a table has texts for numbers.

    Raises
    ------
    TypeError, ValueError
        What ONNX cannot say exactly, by its name: classes that are dates, for one.
    ImportError
        onnx is missing, or skl2onnx for a pipeline.
    OSError
        The file could not be written; one that was there is as it was.

    Notes
    -----
    The dtype is the network's. ONNX Runtime adds in another order: outputs differ by rounding. In
    columns of texts "" is what is missing, in those of numbers NaN. A column of times is one of
    int64, microseconds since 1970 in UTC, the least int64 where it is missing: what
    ``times.astype("M8[us]").astype("int64")`` of NumPy gives. Columns that were read as numbers
    (``numeric=[...]``) are numbers. The file is checked by onnx.checker before it is written.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.exchange import to_onnx
    >>> net = fastbp.Network([2, 3, 1], output="identity", loss="mse")
    >>> to_onnx(net, "net.onnx").opset_import[0].version  # doctest: +SKIP
    13
    """
    if path is not None and not isinstance(path, (str, os.PathLike)):
        if X is not None or not hasattr(path, "__len__") or isinstance(path, bytes):
            raise TypeError(f"path: expected a path (str or path-like); got {shown(path)}")
        path, X = None, path
    if path is not None:
        path = inputs.as_path(path, "path")
        check_destination(path, "path")
    package()
    proto = _model_of(model, X)
    if path is not None:
        replace(path, proto.SerializeToString())
    return proto


def _model_of(model: Any, X: Any) -> Any:
    if isinstance(model, Network):
        check_finite(model)
        return _of_network(model, X)
    if hasattr(model, "cv_results_"):  # a search
        if not hasattr(model, "best_estimator_"):
            raise ValueError(f"model: expected a search with refit; got refit={model.refit!r}")
        return _model_of(model.best_estimator_, X)
    if is_estimator(model):
        nets = fitted_networks(model)
        for net in nets:
            check_finite(net)
        return _of_estimator(model, nets, X)
    if not hasattr(model, "fit") or isinstance(model, type):
        raise TypeError(
            "model: expected a Network, a fitted estimator of fastbp or a pipeline of "
            f"scikit-learn; got {shown(model)}"
        )
    return converter.converted(model, X)


def _of_network(net: Network, X: Any) -> Any:
    graph = Graph()
    given: list[Any] = []
    table = net.metadata.get(TABLE) if isinstance(net.metadata, dict) else None
    if table is not None:
        encoder = Encoder.from_dict(table)
        given, x = _table(graph, encoder, X, [OUTPUT, "label"])
        x = x.cast(net.dtype)
    else:
        x = _array_input(graph, given, net)
    out = graph.name(_free(OUTPUT, [name for name, *_ in given]))
    results: list[Any] = [(out, net.dtype, net.sizes[-1])]
    outputs = add_network(graph, net, x)
    outputs.called(out)
    if net.classes is not None:
        label = graph.name(_free("label", [name for name, *_ in given]))
        found = label_of_outputs(outputs, net)
        results.append((label, found.dtype, None))
        found.called(label)
    proto = _model(graph, given, results)
    _describe(proto, net, graph)
    return _checked(proto)


def _of_estimator(model: Any, nets: Sequence[Network], X: Any) -> Any:
    graph = Graph()
    given: list[Any] = []
    if hasattr(model, "encoder_"):
        given, x = _table(graph, model.encoder_, X, ["label", "probabilities", "variable"])
        found = add_tabular(graph, model, x)
    else:
        found = add_estimator(graph, model, _array_input(graph, given, nets[0]))
    results = []
    for stem, value, n in found:
        name = graph.name(_free(stem, [name for name, *_ in given]))
        value.called(name)
        results.append((name, value.dtype, n))
    proto = _model(graph, given, results)
    if len(nets) == 1 and not hasattr(model, "encoder_"):
        _describe(proto, nets[0], graph)
    return _checked(proto)


def _describe(proto: Any, net: Network, graph: Graph) -> None:
    told = proto.metadata_props.add()
    told.key, told.value = KEY, description(net, proto.graph.node, graph.tensors)


def _array_input(graph: Graph, given: list[Any], net: Network) -> Value:
    name = graph.name(INPUT)
    given.append((name, net.dtype, net.sizes[0]))
    return Value(graph, name, net.dtype)


def _table(graph: Graph, encoder: Encoder, X: Any, outputs: list[str]) -> tuple[list[Any], Value]:
    """Inputs, one a column, and what the encoder makes of them."""
    given = add_encoder(graph, encoder, X)
    return [(name, dtype, 1) for name, dtype in given.inputs], given.encoded


def _free(stem: str, taken: Sequence[str]) -> str:
    """As skl2onnx names outputs whose name a column has."""
    while stem in taken:
        stem = f"output_{stem}"
    return stem


def _model(graph: Graph, given: list[Any], results: list[Any]) -> Any:
    import fastbp

    onnx = package()
    nodes, tensors = graph.protos()

    def told(entries: list[Any]) -> list[Any]:
        return [
            onnx.helper.make_tensor_value_info(
                name, type_of(dtype), ["n"] if n is None else ["n", n]
            )
            for name, dtype, n in entries
        ]

    proto = onnx.helper.make_model(
        onnx.helper.make_graph(nodes, "fastbp", told(given), told(results), tensors),
        opset_imports=[onnx.helper.make_opsetid(*opset) for opset in graph.opsets()],
        producer_name="fastbp",
        producer_version=fastbp.__version__,
    )
    proto.ir_version = onnx.helper.find_min_ir_version_for(proto.opset_import)
    return proto


def _checked(proto: Any) -> Any:
    onnx = package()
    size = proto.ByteSize()
    if size > LARGEST:
        raise ValueError(f"model: expected less than 2 GiB, which ONNX holds; got {size:,} bytes")
    onnx.checker.check_model(proto, full_check=True)
    return proto
