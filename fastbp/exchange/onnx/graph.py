"""A graph of ONNX in the making: nodes and constants, and values that are computed with.

What belongs here: names, operators that newer opsets write otherwise. What does not: what is
computed (functions.py, network.py, ...), whole models (writing.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from fastbp import hints

OPSET = 13  # the first that has all of it, but for texts that are numbers
OPSET_OF_TEXTS = 20  # RegexFullMatch
ML = "ai.onnx.ml"
ML_OPSET = 2  # LabelEncoder of any types


def package() -> Any:
    """The module `onnx`."""
    try:
        import onnx
    except ImportError as error:
        raise hints.missing("ONNX needs", "onnx", "onnx") from error
    return onnx


class Node(NamedTuple):
    """One node; `since`: the opset that has it as it is written here."""

    op: str
    inputs: list[str]
    outputs: list[str]
    attributes: dict[str, Any]
    domain: str
    since: int


class Graph:
    """Nodes and constants.

    Attributes
    ----------
    nodes : list of Node
    constants : dict of ndarray
        Initializers by name.
    tensors : dict of str
        By the stem that was asked for, the name of the last tensor that got it.
    opset : int
        Of the main domain, that operators are written for.
    """

    def __init__(
        self, opset: int = OPSET, taken: Iterable[str] = (), unique: Callable[[str], str] = str
    ) -> None:
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}
        self.tensors: dict[str, str] = {}
        self.opset = opset
        self._taken = set(taken)
        self._unique = unique
        self._known: dict[Any, str] = {}
        self._counts: dict[str, int] = {}

    def name(self, stem: str) -> str:
        """A name that nothing has yet."""
        found = stem
        while found in self._taken:
            self._counts[stem] = self._counts.get(stem, 0) + 1
            found = f"{stem}_{self._counts[stem]}"
        self._taken.add(found)
        return self._unique(found)

    def tensor(self, value: np.ndarray, stem: str) -> Value:
        """A constant of its own name."""
        name = self.tensors[stem] = self.name(stem)
        self.constants[name] = np.ascontiguousarray(value)
        return Value(self, name, value.dtype)

    def constant(self, value: Any, dtype: Any) -> Value:
        """A constant that several nodes may share."""
        array = np.asarray(value, dtype)
        if array.dtype.kind == "O":
            return self.tensor(array, "texts")
        key = array.dtype.str, array.shape, array.tobytes()
        if key not in self._known:
            self._known[key] = self.tensor(array, "c").name
        return Value(self, self._known[key], array.dtype)

    def add(
        self, op: str, *inputs: str, name: str | None = None, domain: str = "", n: int = 1,
        since: int = OPSET, **attributes: Any,
    ) -> list[str]:  # fmt: skip
        """A node; gives the names of its n outputs, `name` where it is given."""
        outputs = [name] if name else [self.name(op.lower()) for _ in range(n)]
        if not domain:
            self.opset = max(self.opset, since)
        self.nodes.append(Node(op, list(inputs), outputs, attributes, domain, since))
        return outputs

    def protos(self) -> tuple[list[Any], list[Any]]:
        """Nodes and initializers as onnx has them."""
        onnx = package()
        nodes = [
            onnx.helper.make_node(
                node.op, node.inputs, node.outputs, name=f"{node.op}_{i}", domain=node.domain,
                **node.attributes,
            )
            for i, node in enumerate(self.nodes)
        ]  # fmt: skip
        tensors = [onnx.numpy_helper.from_array(v, k) for k, v in self.constants.items()]
        return nodes, tensors

    def opsets(self) -> list[tuple[str, int]]:
        """Those that the nodes need."""
        ml = [(ML, ML_OPSET)] if any(node.domain == ML for node in self.nodes) else []
        return [("", self.opset), *ml]


class Value:
    """What a node gives or a constant holds; operators add nodes, numbers take its type."""

    def __init__(self, graph: Graph, name: str, dtype: Any) -> None:
        self.graph, self.name, self.dtype = graph, name, np.dtype(dtype)

    def _as_value(self, other: Any) -> Value:
        return other if isinstance(other, Value) else self.graph.constant(other, self.dtype)

    def op(self, op: str, *others: Any, dtype: Any = None, **attributes: Any) -> Value:
        """op(self, others)."""
        names = [self._as_value(other).name for other in others]
        (out,) = self.graph.add(op, self.name, *names, **attributes)
        return Value(self.graph, out, self.dtype if dtype is None else dtype)

    def __add__(self, other: Any) -> Value:
        return self.op("Add", other)

    def __sub__(self, other: Any) -> Value:
        return self.op("Sub", other)

    def __mul__(self, other: Any) -> Value:
        return self.op("Mul", other)

    def __truediv__(self, other: Any) -> Value:
        return self.op("Div", other)

    def __rsub__(self, other: Any) -> Value:
        return self._as_value(other) - self

    def __rtruediv__(self, other: Any) -> Value:
        return self._as_value(other) / self

    def __neg__(self) -> Value:
        return self.op("Neg")

    __radd__, __rmul__ = __add__, __mul__

    def __lt__(self, other: Any) -> Value:
        return self.op("Less", other, dtype=bool)

    def __gt__(self, other: Any) -> Value:
        return self.op("Greater", other, dtype=bool)

    def where(self, a: Any, b: Any) -> Value:
        """a where self is true, else b; one of them is a Value."""
        like = a if isinstance(a, Value) else b
        a, b = like._as_value(a), like._as_value(b)
        (out,) = self.graph.add("Where", self.name, a.name, b.name)
        return Value(self.graph, out, like.dtype)

    def abs(self) -> Value:
        return self.op("Abs")

    def exp(self) -> Value:
        return self.op("Exp")

    def largest(self) -> Value:
        """Of each row (n, 1)."""
        if self.graph.opset < 18:
            return self.op("ReduceMax", axes=[-1], keepdims=1)
        axes = self.graph.constant([-1], np.int64)
        return self.op("ReduceMax", axes, keepdims=1, since=18)

    def sum(self) -> Value:
        """Of each row (n, 1)."""
        return self.op("ReduceSum", self.graph.constant([-1], np.int64), keepdims=1)

    def parts(self, sizes: list[int], axis: int) -> list[Value]:
        """Split along an axis."""
        split = self.graph.constant(sizes, np.int64)
        names = self.graph.add("Split", self.name, split.name, n=len(sizes), axis=axis)
        return [Value(self.graph, name, self.dtype) for name in names]

    def reshaped(self, *shape: int) -> Value:
        return self.op("Reshape", self.graph.constant(shape, np.int64))

    def cast(self, dtype: Any) -> Value:
        """The same in another type."""
        if np.dtype(dtype) == self.dtype:
            return self
        return self.op("Cast", dtype=dtype, to=type_of(dtype))

    def called(self, name: str) -> Value:
        """The same by a name that the graph promises."""
        self.graph.add("Identity", self.name, name=name)
        return Value(self.graph, name, self.dtype)


def type_of(dtype: Any) -> int:
    """ONNX's number of a type; texts are of NumPy's type object."""
    onnx = package()
    dtype = np.dtype(dtype)
    if dtype.kind == "O":
        return int(onnx.TensorProto.STRING)
    return int(onnx.helper.np_dtype_to_tensor_dtype(dtype))
