"""The estimators in pipelines of scikit-learn: converters for skl2onnx.

What belongs here: their registration and what it takes. What does not: nodes (estimators.py).
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from fastbp import hints
from fastbp.exchange.onnx.estimators import add_estimator, class_tensor
from fastbp.exchange.onnx.graph import OPSET, Graph, Value, type_of

_ESTIMATORS = ("MLPClassifier", "MLPRegressor")
_BAGS = ("BaggingClassifier", "BaggingRegressor")  # which are scikit-learn's, fitted otherwise


def register() -> None:
    """Tell skl2onnx of the estimators of fastbp that are for pipelines."""
    try:
        import skl2onnx
    except ImportError as error:
        raise hints.missing("pipelines need", "skl2onnx", "onnx") from error
    from skl2onnx.common._registration import get_converter, get_shape_calculator

    from fastbp import estimators

    zipmap = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True]}
    own = {"MLPClassifier": zipmap | {"nocl": [True, False]}}
    bags = {"BaggingClassifier": zipmap | {"nocl": [True, False], "raw_scores": [True, False]}}
    for name in _ESTIMATORS:
        skl2onnx.update_registered_converter(
            getattr(estimators, name), f"Fastbp{name}", _shapes, _convert, options=own.get(name)
        )
    for name in _BAGS:
        skl2onnx.update_registered_converter(
            getattr(estimators, name), f"Fastbp{name}", get_shape_calculator(f"Sklearn{name}"),
            _named(get_converter(f"Sklearn{name}")), options=bags.get(name),
        )  # fmt: skip


def _named(registered: Any) -> Any:
    """As a function: skl2onnx looks at its name and its parameters."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        registered(scope, operator, container)

    return convert


def converted(model: Any, X: Any) -> Any:
    """A pipeline, or another estimator of scikit-learn, by skl2onnx; probabilities as a tensor."""
    register()
    import skl2onnx
    from sklearn.base import is_classifier

    if X is None:
        raise ValueError(
            f"X: expected an example of the input of {type(model).__name__}, such as X[:1]; got "
            "none"
        )
    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    return skl2onnx.to_onnx(model, X, options=options)


def _kind(operator: Any) -> Any:
    """float64 where the input is, else float32."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    double = isinstance(operator.inputs[0].type, DoubleTensorType)
    return DoubleTensorType if double else FloatTensorType


def _shapes(operator: Any) -> None:
    """Types and shapes of the outputs."""
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

    model, kind = operator.raw_operator, _kind(operator)
    n = operator.inputs[0].get_first_dimension()
    if not hasattr(model, "classes_"):
        operator.outputs[0].set_type(kind([n, model.n_outputs_]))
        return
    several = model._multilabel
    labels = np.int64 if several else class_tensor(model.classes_).dtype
    types = {np.dtype(object): StringTensorType, np.dtype(np.float64): DoubleTensorType}
    shape = [n, model.n_outputs_] if several else [n]
    operator.outputs[0].set_type(types.get(np.dtype(labels), Int64TensorType)(shape))
    binary = model.n_outputs_ == 1 and not model._is_signed()
    operator.outputs[1].set_type(kind([n, 2 if binary else model.n_outputs_]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Nodes of the model, from its input to its outputs."""
    from skl2onnx.common.data_types import (
        BooleanTensorType,
        DoubleTensorType,
        Int64TensorType,
    )

    model = operator.raw_operator
    graph = Graph(_opset_of(container), unique=scope.get_unique_variable_name)
    given = operator.inputs[0]
    types = {DoubleTensorType: np.float64, Int64TensorType: np.int64, BooleanTensorType: np.bool_}
    found = next((types[t] for t in types if isinstance(given.type, t)), np.float32)
    results = add_estimator(graph, model, Value(graph, given.full_name, found))
    wanted = np.float64 if isinstance(given.type, DoubleTensorType) else np.float32
    for (stem, value, _), output in zip(results, operator.outputs, strict=False):
        value = value if stem == "label" else value.cast(wanted)
        value.called(output.full_name)
    for name, array in graph.constants.items():
        values = array.ravel()
        content = [v.encode() for v in values] if array.dtype == object else values
        container.add_initializer(name, type_of(array.dtype), array.shape, content)
    for node in graph.nodes:
        container.add_node(
            node.op, node.inputs, node.outputs, op_domain=node.domain, op_version=node.since,
            name=scope.get_unique_operator_name(node.op), **node.attributes,
        )  # fmt: skip


def _opset_of(container: Any) -> int:
    opset = (
        container.target_opset_any_domain("")
        if hasattr(container, "target_opset_any_domain")
        else container.target_opset
    )
    if opset < OPSET:
        raise ValueError(f"target_opset: expected {OPSET} or later; got {opset}")
    return int(opset)


class _OnImport:
    """Registers once skl2onnx has been imported, whoever imports it."""

    name = "skl2onnx"
    asks = False

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name != self.name or self.asks:
            return None
        import importlib.util

        self.asks = True
        try:
            spec = importlib.util.find_spec(name)  # of the other finders
        finally:
            self.asks = False
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def then_register(module: Any) -> None:
            execute(module)
            register()
            if self in sys.meta_path:
                sys.meta_path.remove(self)

        spec.loader.exec_module = then_register  # type: ignore[method-assign]
        return spec


def register_on_import() -> None:
    """Register now where skl2onnx is there already, else when it comes."""
    if "skl2onnx" in sys.modules:
        register()
    elif not any(isinstance(finder, _OnImport) for finder in sys.meta_path):
        sys.meta_path.insert(0, _OnImport())
