"""The estimators in pipelines of scikit-learn: converters for skl2onnx.

What belongs here: their registration and what it takes, bags of members that skl2onnx converts.
What does not: nodes of an estimator (estimators.py).
"""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from fastbp import functions, hints
from fastbp.exchange.onnx.estimators import (
    add_estimator,
    class_tensor,
    labels,
    largest_place,
    mean_of,
)
from fastbp.exchange.onnx.graph import OPSET, Graph, Value, type_of

_ESTIMATORS = ("MLPClassifier", "MLPRegressor")
_BAGS = ("BaggingClassifier", "BaggingRegressor")
_SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingRandomSearchCV")


def register() -> None:
    """Tell skl2onnx of the estimators of fastbp that are for pipelines."""
    try:
        import skl2onnx
    except ImportError as error:
        raise hints.missing("pipelines need", "skl2onnx", "onnx") from error
    from skl2onnx.common._registration import get_converter, get_shape_calculator

    from fastbp import estimators

    options = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True],
               "nocl": [True, False]}  # fmt: skip
    for names, shapes, convert in (
        (_ESTIMATORS, _shapes, _convert),
        (_BAGS, _bag_shapes, _convert_bag),
    ):
        for name in names:
            skl2onnx.update_registered_converter(
                getattr(estimators, name), f"Fastbp{name}", shapes, convert,
                options=options if name.endswith("Classifier") else None,
            )  # fmt: skip
    for name in _SEARCHES:  # as scikit-learn's: what they found is in their place
        skl2onnx.update_registered_converter(
            getattr(estimators, name), f"Fastbp{name}", get_shape_calculator("SklearnGridSearchCV"),
            _named(get_converter("SklearnGridSearchCV")), parser=_parse_search,
            options="passthrough",
        )  # fmt: skip


def _parse_search(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """The best estimator alone."""
    from skl2onnx._parse import parse_sklearn

    options = scope.get_options(model)
    if options:
        scope.add_options(id(model.best_estimator_), options)
    return parse_sklearn(scope, model.best_estimator_, inputs, custom_parsers=custom_parsers)


def _named(registered: Any) -> Any:
    """As a function: skl2onnx looks at its name and its parameters."""

    def convert(scope: Any, operator: Any, container: Any) -> None:
        registered(scope, operator, container)

    return convert


def converted(model: Any, X: Any) -> Any:
    """A pipeline, or another estimator of scikit-learn, by skl2onnx; probabilities as a tensor."""
    register()
    import skl2onnx
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    from sklearn.base import is_classifier, is_regressor
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model)
    X = _example(model) if X is None else X
    last = model[-1] if hasattr(model, "steps") else model
    if hasattr(last, "calibrated_classifiers_") and last.method == "isotonic":
        raise ValueError(
            "model: expected a calibration that ONNX says exactly, method='sigmoid'; got "
            "'isotonic', which skl2onnx approximates by steps"
        )
    options = {id(model): {"zipmap": False}} if is_classifier(model) else None
    try:
        proto = skl2onnx.to_onnx(model, X, options=options)
    except (MissingShapeCalculator, MissingConverter, NotImplementedError) as error:
        told = str(error).strip().split("\n")[0]
        raise ValueError(f"model: expected what skl2onnx converts; {told}") from None
    if is_regressor(model):
        _check_columns(model, proto, X)
    return proto


def _example(model: Any) -> np.ndarray:
    """A row of zeros, where the input was an array of numbers: of float32 where ours is."""
    first, last = (model[0], model[-1]) if hasattr(model, "steps") else (model, model)
    of_frame = hasattr(model, "feature_names_in_")
    of_texts = hasattr(first, "categories_") or hasattr(first, "transformers_")
    if of_frame or of_texts or not hasattr(model, "n_features_in_"):
        raise ValueError(
            f"X: expected an example of the input of {type(model).__name__}, such as X[:1], of "
            "which nothing else tells the columns' types; got none"
        )
    net = getattr(last, "networks_", [None])[0]
    return np.zeros((1, model.n_features_in_), getattr(net, "dtype", np.float64))


def _check_columns(model: Any, proto: Any, X: Any) -> None:
    """Refuse what makes one column of several targets, as some of skl2onnx's converters do."""
    dims = proto.graph.output[0].type.tensor_type.shape.dim
    found = dims[1].dim_value if len(dims) > 1 else 1
    shape = np.shape(model.predict(X))
    wanted = shape[1] if len(shape) > 1 else 1
    if found not in (0, wanted):
        raise ValueError(
            f"model: expected {wanted} columns of numbers, as predict gives; got a converter of "
            f"skl2onnx for {type(model).__name__} that makes {found}"
        )


def _kind(operator: Any) -> Any:
    """float64 where an input is, else float32."""
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    double = any(isinstance(given.type, DoubleTensorType) for given in operator.inputs)
    return DoubleTensorType if double else FloatTensorType


def _label_type(classes: Any) -> Any:
    from skl2onnx.common.data_types import DoubleTensorType, Int64TensorType, StringTensorType

    types = {np.dtype(object): StringTensorType, np.dtype(np.float64): DoubleTensorType}
    return types.get(class_tensor(classes).dtype, Int64TensorType)


def _shapes(operator: Any) -> None:
    """Types and shapes of the outputs."""
    model, kind = operator.raw_operator, _kind(operator)
    n = operator.inputs[0].get_first_dimension()
    if not hasattr(model, "classes_"):
        operator.outputs[0].set_type(kind([n, model.n_outputs_]))
        return
    shape = [n, model.n_outputs_] if model._multilabel else [n]
    operator.outputs[0].set_type(_label_type(model.classes_)(shape))
    binary = model.n_outputs_ == 1 and not model._is_signed()
    operator.outputs[1].set_type(kind([n, 2 if binary else model.n_outputs_]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Nodes of the model, from its input to its outputs."""
    model = operator.raw_operator
    graph = _graph(scope, operator, container)
    results = add_estimator(graph, model, _input(graph, operator, model.networks_[0].dtype))
    for (stem, value, _), output in zip(results, operator.outputs, strict=False):
        value = value if stem == "label" else value.cast(_dtype(operator))
        value.called(output.full_name)
    _add_nodes(graph, scope, container)


def _dtype(operator: Any) -> Any:
    return {"DoubleTensorType": np.float64}.get(_kind(operator).__name__, np.float32)


def _input(graph: Graph, operator: Any, dtype: Any) -> Value:
    """All inputs in one, (n, columns): the columns of a frame are an input each."""
    types = {"DoubleTensorType": np.float64, "Int64TensorType": np.int64,
             "BooleanTensorType": np.bool_}  # fmt: skip
    parts = [
        Value(graph, given.full_name, types.get(type(given.type).__name__, np.float32)).cast(dtype)
        for given in operator.inputs
    ]
    return parts[0].op("Concat", *parts[1:], axis=1) if len(parts) > 1 else parts[0]


def _graph(scope: Any, operator: Any, container: Any) -> Graph:
    """An empty one; refuses the options that scikit-learn's MLPClassifier refuses, too."""
    model = operator.raw_operator
    if hasattr(model, "classes_") and scope.get_options(model, {"nocl": False})["nocl"]:
        raise ValueError("nocl: expected False, labels that are the classes; got True")
    return Graph(_opset_of(container), unique=scope.get_unique_variable_name)


def _add_nodes(graph: Graph, scope: Any, container: Any) -> None:
    for name, array in graph.constants.items():
        values = array.ravel()
        content = [v.encode() for v in values] if array.dtype == object else values
        container.add_initializer(name, type_of(array.dtype), array.shape, content)
    for node in graph.nodes:
        container.add_node(
            node.op, node.inputs, node.outputs, op_domain=node.domain, op_version=node.since,
            name=scope.get_unique_operator_name(node.op), **node.attributes,
        )  # fmt: skip


def _bag_shapes(operator: Any) -> None:
    model, kind = operator.raw_operator, _kind(operator)
    n = operator.inputs[0].get_first_dimension()
    if hasattr(model, "classes_"):
        operator.outputs[0].set_type(_label_type(model.classes_)([n]))
        operator.outputs[1].set_type(kind([n, len(model.classes_)]))
    else:
        member = model.estimators_[0]
        last = member[-1] if hasattr(member, "steps") else member
        operator.outputs[0].set_type(kind([n, getattr(last, "n_outputs_", 1)]))


def _convert_bag(scope: Any, operator: Any, container: Any) -> None:
    """The mean of the members' probabilities, or of their numbers."""
    model, dtype = operator.raw_operator, _dtype(operator)
    graph = _graph(scope, operator, container)
    x = _input(graph, operator, dtype)
    found = []
    for member, features in zip(model.estimators_, model.estimators_features_, strict=True):
        outputs = _add_member(scope, member, _features(graph, scope, operator, x, features))
        value = Value(graph, outputs[-1].full_name, dtype)
        if hasattr(model, "classes_"):  # of those that the member knows
            known = np.arange(len(member.classes_))
            places = np.zeros((len(known), len(model.classes_)))
            places[known, np.asarray(member.classes_, int)] = 1
            value = value.op("Gather", graph.constant(known, np.int64), axis=1)
            value = value.op("MatMul", graph.constant(places, dtype))
        found.append(value)
    mean = mean_of(found)
    if hasattr(model, "classes_"):
        labels(largest_place(mean), model.classes_).called(operator.outputs[0].full_name)
    mean.called(operator.outputs[-1].full_name)
    _add_nodes(graph, scope, container)


def _features(graph: Graph, scope: Any, operator: Any, x: Value, features: Any) -> Any:
    """The columns that a member takes, as one of skl2onnx's variables."""
    taken = x.op("Gather", graph.constant(features, np.int64), axis=1)
    n = operator.inputs[0].get_first_dimension()
    found = scope.declare_local_variable("features", _kind(operator)([n, len(features)]))
    taken.called(found.full_name)
    return found


def _add_member(scope: Any, member: Any, given: Any) -> Any:
    """An operator that skl2onnx converts after this one; gives its outputs."""
    from skl2onnx._supported_operators import sklearn_operator_name_map
    from skl2onnx.common.data_types import Int64TensorType
    from sklearn.base import is_classifier

    if type(member) not in sklearn_operator_name_map:
        raise ValueError(
            f"model: expected members that skl2onnx converts; got {type(member).__name__}"
        )
    if is_classifier(member) and not hasattr(member, "predict_proba"):
        raise ValueError(
            "model: expected members that tell probabilities, whose mean decides; got "
            f"{functions.shown(member)}"
        )
    operator = scope.declare_local_operator(sklearn_operator_name_map[type(member)], member)
    operator.inputs.append(given)
    if is_classifier(member):
        operator.outputs.append(scope.declare_local_variable("label", Int64TensorType()))
    operator.outputs.append(scope.declare_local_variable("outputs", given.type.__class__()))
    return operator.outputs


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
            try:
                register()
            except Exception as error:  # another release of it: its import is the user's
                warnings.warn(f"fastbp: no converters for skl2onnx: {error}", stacklevel=2)
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
