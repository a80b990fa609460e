"""`from_onnx`: graphs that are shaped like a multi-layer perceptron.

What belongs here: the way back from an output to the input, nodes by operator. What does not: which
operator is which activation (functions.py), networks of layers (stack.py).
"""

from __future__ import annotations

import json
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import functions, inputs
from fastbp.exchange.onnx.functions import COMPOSED, READ, short
from fastbp.exchange.onnx.graph import package
from fastbp.exchange.onnx.network import KEY, digest
from fastbp.exchange.stack import Chain
from fastbp.files.model import check_tensors
from fastbp.functions import shown
from fastbp.network import Network

if TYPE_CHECKING:
    import onnx

NOTHING = ("Identity", "Dropout", "Flatten", "Reshape", "Squeeze", "Cast")  # of numbers, rows kept
DEEPEST = 8  # nodes of an activation that is written in several


def from_onnx(
    model: str | os.PathLike[str] | bytes | onnx.ModelProto,
    loss: str | None = None,
    *,
    output: str | None = None,
) -> Network:
    """A network out of an ONNX graph.

    Parameters
    ----------
    model : str, path-like, bytes or onnx.ModelProto
        What `to_onnx` wrote of a network; or a chain of Gemm, or MatMul and Add, with activations
        between them, as PyTorch, Keras and skl2onnx export it.
    loss : str, optional
        Of the network; a graph tells none. By default what the network had that `to_onnx` wrote,
        else "mse".
    output : str, optional
        Which output of the graph is meant; by default the last that is of floats.

    Returns
    -------
    Network
        Its parameters have the bits of the file's.

    Raises
    ------
    TypeError, ValueError
        A damaged file; a node that stands for no layer or activation of fastbp, by its name.
    ImportError
        onnx is missing.
    OSError
        There is no such file, or it is no regular one.

    Notes
    -----
    Of a binary classifier that gives 1 - p beside p, the network gives p.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.exchange import from_onnx, to_onnx
    >>> net = fastbp.Network([2, 3, 1], output="identity", loss="mse")
    >>> from_onnx(to_onnx(net)).architecture == net.architecture  # doctest: +SKIP
    True
    """
    onnx = package()
    proto = _loaded(onnx, model)
    described = _described(onnx, proto, output)
    if described is not None:
        net = described
        if loss is not None and functions.loss(loss).name != net.architecture["loss"]:
            net = Network(**{**net.architecture, "loss": loss, "init": "zeros"})
            net.parameters, net.metadata = described.parameters, described.metadata
        return net
    try:
        chain = _Graph(onnx, proto.graph).read(output)
    except (KeyError, IndexError) as error:  # a weight that is no constant
        raise ValueError(f"model: expected weights as constants; {error} is none") from None
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        if str(error).startswith(("model: ", "output: ")):
            raise
        raise ValueError(f"model: expected a graph of layers; {error}") from None  # of odd shape
    return chain.built(loss or "mse")


def _loaded(onnx: Any, model: Any) -> Any:
    if isinstance(model, onnx.ModelProto):
        return model
    try:
        if isinstance(model, bytes):
            return onnx.load_model_from_string(model)
        if not isinstance(model, (str, os.PathLike)):
            raise TypeError(
                f"model: expected a path, bytes or an onnx.ModelProto; got {shown(model)}"
            )
        path = inputs.as_file(model, "model")
        proto = onnx.load(str(path))
    except (TypeError, OSError):
        raise
    except Exception as error:  # protobuf's own
        raise ValueError(
            f"{shown(model)}: expected an ONNX model; this is none, or damaged: {error}"
        ) from None
    if not proto.graph.node:
        raise ValueError(f"{shown(model)}: expected an ONNX model; got one without nodes")
    return proto


def _described(onnx: Any, proto: Any, output: str | None) -> Network | None:
    """The network that `to_onnx` wrote, where its nodes are still those."""
    text = next((entry.value for entry in proto.metadata_props if entry.key == KEY), None)
    if text is None or output not in (None, "outputs"):
        return None
    try:
        told = json.loads(text)
        if told["nodes"] != digest(proto.graph.node):
            return None
        tensors = _Tensors(onnx, proto.graph, dict(told["tensors"]))
        check_tensors(told["architecture"], tensors)  # before memory is taken for what it claims
        net = Network(**{**told["architecture"], "init": "zeros"})
        net.metadata = dict(told["metadata"])
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    for name, own in net.tensors.items():
        own[...] = tensors.array(name)
    if not np.isfinite(net.parameters).all():
        raise ValueError("model: expected finite parameters; got NaN or infinity")
    return net


def _array(onnx: Any, tensor: Any) -> np.ndarray:
    try:
        found: np.ndarray = onnx.numpy_helper.to_array(tensor)
    except Exception as error:  # of many kinds, by what is damaged
        raise ValueError(
            f"model: tensor {tensor.name!r}: expected its numbers in the file; {error}"
        ) from None
    return found


class _Tensors:
    """Initializers, by the network's names, as `fastbp.files.model.check_tensors` asks for them."""

    def __init__(self, onnx: Any, graph: Any, names: dict[str, str]) -> None:
        there = {tensor.name: tensor for tensor in graph.initializer}
        self._onnx, self._known = onnx, {name: there[names[name]] for name in names}

    def keys(self) -> list[str]:
        return list(self._known)

    def array(self, name: str) -> np.ndarray:
        return _array(self._onnx, self._known[name])

    def get_slice(self, name: str) -> Any:
        array = self.array(name)
        codes = {"float32": "F32", "float64": "F64"}
        return SimpleNamespace(
            get_shape=lambda: list(array.shape),
            get_dtype=lambda: codes.get(array.dtype.name, array.dtype.name),
        )


class _Graph:
    """Nodes by what they give."""

    def __init__(self, onnx: Any, graph: Any) -> None:
        self.onnx, self.graph = onnx, graph
        self.chain = Chain("model")
        self.constants = {t.name: _array(onnx, t) for t in graph.initializer}
        self.makers = {}
        for node in graph.node:
            if node.op_type in _FOLDED and all(name in self.constants for name in node.input):
                self.constants[node.output[0]] = self._folded(node)
            for name in node.output:
                self.makers[name] = node
        self.inputs = {i.name: i for i in graph.input if i.name not in self.constants}

    def _folded(self, node: Any) -> np.ndarray:
        """What a node makes of constants, or of nothing."""
        given = self._attributes(node)
        if node.op_type != "Constant":
            return _FOLDED[node.op_type](self.constants[node.input[0]], given)
        if "value" in given:
            return _array(self.onnx, given["value"])
        for name, dtype in (("value_float", np.float32), ("value_int", np.int64)):
            for value in (given.get(name), given.get(f"{name}s")):
                if value is not None:
                    return np.asarray(value, dtype)
        raise self._refuse(node, "numbers", ", ".join(given) or "nothing")

    def _attributes(self, node: Any) -> dict[str, Any]:
        return {a.name: self.onnx.helper.get_attribute_value(a) for a in node.attribute}

    def _where(self, node: Any) -> str:
        return f"node {node.name or node.output[0]!r} ({node.op_type})"

    def _refuse(self, node: Any, expected: str, got: str) -> Exception:
        return self.chain.refuse(self._where(node), expected, got)

    def read(self, output: str | None) -> Chain:
        """The layers, from the input to the output."""
        value, steps, seen = self._output(output), [], set()
        while value not in self.inputs:
            node = self.makers.get(value)
            if node is None or value in self.constants or value in seen:
                raise ValueError(f"model: expected layers between input and output; got {value!r}")
            seen.add(value)
            value, step = self._step(node)
            if step is not None:
                steps.append(step)
        for kind, *given in reversed(steps):
            if kind == "columns":
                self._check_columns(*given)
            else:
                getattr(self.chain, kind)(*given)
        self._check_input(self.inputs[value])
        return self.chain

    def _check_input(self, given: Any) -> None:
        """Refuse a graph whose rows are not those of its input: a Reshape, a Flatten."""
        dims = [d.dim_value for d in given.type.tensor_type.shape.dim][1:]
        if self.chain.parts and dims and all(n > 0 for n in dims):
            first = next(iter(self.chain.parts[0].tensors.values()))
            if len(first) != np.prod(dims):
                raise self.chain.refuse(
                    self.chain.parts[0].where, f"{np.prod(dims)} inputs, as input {given.name!r}",
                    str(len(first)),
                )  # fmt: skip

    def _check_columns(self, n: int, where: str) -> None:
        """Refuse a Reshape that does not keep the columns that come before."""
        if self.chain.parts:
            last = self.chain.parts[-1]
            width = max(tensor.shape[-1] for tensor in last.tensors.values())
            width //= functions.activation(last.activation).z_per_a
            if n != width:
                raise self.chain.refuse(where, f"{width} columns, as before", str(n))

    def _output(self, name: str | None) -> str:
        known = [o.name for o in self.graph.output]
        if name is not None:
            return functions.one_of("output", name, known)
        floats = (1, 10, 11, 16)  # FLOAT, FLOAT16, DOUBLE, BFLOAT16
        found = [o.name for o in self.graph.output if o.type.tensor_type.elem_type in floats]
        if found:
            return found[-1]
        for node in self.graph.node:  # a map of probabilities
            if node.op_type == "ZipMap":
                return str(node.input[0])
        raise ValueError(f"model: expected an output of floats; got {', '.join(known)}")

    def _step(self, node: Any) -> tuple[str, Any]:
        """What comes before a node, and the call of Chain that it is."""
        op, where = node.op_type, self._where(node)
        if node.domain not in ("", "ai.onnx"):
            raise self._refuse(node, "an operator of ONNX", f"one of {node.domain}")
        varying = [name for name in node.input if name and name not in self.constants]
        if op == "Concat" and (p := self._both(node)):
            return p, None
        composed = self._composed(node)
        if composed is not None:
            return composed[0], ("activation", composed[1], where)
        if op not in KNOWN:
            raise self._refuse(node, f"one of {', '.join(KNOWN)}", op)
        if len(varying) != 1:
            raise self._refuse(node, "one chain of layers", f"{len(varying)} inputs that vary")
        (x,) = varying
        if op in NOTHING:
            return x, self._nothing(node)
        if op in _LINKS:
            return _LINKS[op](self, node, x)
        given = self._attributes(node)
        name = READ[op](given) if op in READ else None
        if op == "Clip":
            name = self._clip(node)
        if op == "LayerNormalization":
            name = self._layer_norm(node, given)
        if name is None:
            raise self._refuse(node, f"{op} as fastbp has it", f"{op} {given or ''}")
        return x, ("activation", name, where)

    def _nothing(self, node: Any) -> Any:
        """What is to be seen to where a node keeps numbers and rows."""
        given = self._attributes(node)
        to = given.get("to")
        if to is not None and to not in (1, 11):
            raise self._refuse(node, "floats", self.onnx.TensorProto.DataType.Name(to))
        axes = [given.get("axis", 1)]
        if node.op_type == "Squeeze":
            axes = given.get("axes", [])
            axes = self.constants[node.input[1]].ravel().tolist() if node.input[1:] else axes
        if any(axis == 0 or axis < -1 for axis in axes):
            raise self._refuse(node, "rows that stay", f"axes {axes}")
        if node.op_type != "Reshape":
            return None
        shape = self.constants[node.input[1]].ravel().tolist()
        if len(shape) == 2 and shape[0] in (-1, 0) and shape[1] > 0:
            return "columns", shape[1], self._where(node)
        if len(shape) == 2 and shape[1] == -1 and shape[0] == 0:
            return None
        raise self._refuse(node, "rows and columns that stay", f"a shape {shape}")

    def _both(self, node: Any) -> str | None:
        """p of 1 - p beside p."""
        if len(node.input) != 2:
            return None
        first, p = node.input
        made = self.makers.get(first)
        if made is None or made.op_type != "Sub" or made.input[1] != p:
            return None
        one = self.constants.get(made.input[0])
        return str(p) if one is not None and (one == 1).all() else None

    def _dense(self, node: Any, x: str) -> tuple[str, Any]:
        where = self._where(node)
        if node.op_type == "Gemm":
            given = self._attributes(node)
            plain = given.get("alpha", 1.0) == 1
            plain &= given.get("beta", 1.0) == 1 or len(node.input) < 3
            if not plain or given.get("transA", 0) or node.input[0] != x:
                raise self._refuse(node, "x W + b", f"Gemm {given}")
            W = self.constants[node.input[1]]
            b = self.constants[node.input[2]] if len(node.input) > 2 else None
            return x, ("dense", W.T if given.get("transB", 0) else W, b, where)
        if node.input[0] != x:
            raise self._refuse(node, "x W", "W x")
        return x, ("dense", self.constants[node.input[1]], None, where)

    def _bias(self, node: Any, x: str) -> tuple[str, Any]:
        """MatMul and Add are one layer."""
        made = self.makers.get(x)
        (b,) = [self.constants[name] for name in node.input if name != x]
        if made is None or made.op_type != "MatMul" or made.input[1] not in self.constants:
            before = "the input" if made is None else self._where(made)
            raise self._refuse(node, "a MatMul before what is added", before)
        return str(made.input[0]), ("dense", self.constants[made.input[1]], b, self._where(made))

    def _scale(self, node: Any, x: str) -> tuple[str, Any]:
        (s,) = [self.constants[name] for name in node.input if name != x]
        return x, ("scale", s, self._where(node))

    def _clip(self, node: Any) -> str | None:
        given = self._attributes(node)
        ends = [given.get("min", -np.inf), given.get("max", np.inf)]
        for i, name in enumerate(node.input[1:3]):
            if name:
                ends[i] = float(self.constants[name])
        return {(-1.0, 1.0): "hardtanh", (0.0, np.inf): "relu"}.get(
            (float(ends[0]), float(ends[1]))
        )

    def _layer_norm(self, node: Any, given: dict[str, Any]) -> str | None:
        gains = self.constants.get(node.input[1])
        bias = self.constants.get(node.input[2]) if len(node.input) > 2 else None
        plain = abs(given.get("epsilon", 1e-5) - 1e-5) < 1e-11 and given.get("axis", -1) in (-1, 1)
        if gains is None or not plain or (bias is not None and bias.any()):
            return None
        first = float(gains.flat[0])
        return f"layer_norm({short(first)})" if (gains == first).all() and first else None

    def _composed(self, node: Any) -> tuple[str, str] | None:
        """An activation that several nodes make: what it is of, and its name."""
        if node.op_type not in ("Mul", "Div", "Where"):
            return None
        candidates, ahead = [], [(name, 0) for name in node.input]
        while ahead:
            name, depth = ahead.pop()
            if name in self.constants or name in candidates or depth > DEEPEST:
                continue
            candidates.append(name)
            if name in self.makers:
                ahead += [(other, depth + 1) for other in self.makers[name].input]
        for x in candidates:
            name = COMPOSED.get(self._expression(node.output[0], x, 0))
            if name is not None:
                return x, name
        return None

    def _half(self, node: Any, value: str) -> str:
        """Which half of the columns it is."""
        given = self._attributes(node)
        sizes = given.get("split", [1, 1])
        sizes = self.constants[node.input[1]].ravel().tolist() if node.input[1:] else sizes
        halves = len(node.output) == len(sizes) == 2 and sizes[0] == sizes[1]
        if not halves or given.get("axis", 0) not in (-1, 1):
            return "?"
        return "First" if value == node.output[0] else "Second"

    def _expression(self, value: str, x: str, depth: int) -> str:
        if value == x:
            return "x"
        if value in self.constants:
            constant = self.constants[value]
            return f"{float(constant.flat[0]):.5g}" if constant.size == 1 else "?"
        if value not in self.makers or depth > DEEPEST:
            return "?"
        node = self.makers[value]
        if node.op_type == "Split":
            return f"{self._half(node, value)}({self._expression(node.input[0], x, depth + 1)})"
        parts = [self._expression(name, x, depth + 1) for name in node.input]
        if node.op_type in ("Add", "Mul"):
            parts.sort()
        return f"{node.op_type}({','.join(parts)})"


# nodes that exporters put between a constant and the layer that has it
_FOLDED: dict[str, Any] = {
    "Constant": None,
    "Identity": lambda x, given: x,
    "Transpose": lambda x, given: np.transpose(x, given.get("perm")),
    "Cast": lambda x, given: x.astype({1: np.float32, 11: np.float64}[given["to"]]),
}
_LINKS: dict[str, Any] = {
    "Gemm": _Graph._dense,
    "MatMul": _Graph._dense,
    "Add": _Graph._bias,
    "Mul": _Graph._scale,
}
KNOWN = sorted({*_LINKS, *READ, *NOTHING, "Clip", "LayerNormalization", "Concat"})
