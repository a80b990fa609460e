"""A network's layers as nodes.

What belongs here: nodes of one network, and what the file tells of it beside them. What does not:
formulas of activations (functions.py), inputs and outputs of a model (writing.py).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from fastbp.exchange.onnx.functions import WRITTEN
from fastbp.exchange.onnx.graph import Graph, Value
from fastbp.exchange.stack import layers_of
from fastbp.network import Network

KEY = "fastbp"  # of the metadata that describe a network
INPUT, OUTPUT = "X", "outputs"


def add_network(graph: Graph, net: Network, x: Value, prefix: str = "") -> Value:
    """a^L of x (n, n_0)."""
    for layer in layers_of(net):
        tensors = [
            graph.tensor(tensor, f"{prefix}{letter}{layer.number}")
            for letter, tensor in layer.tensors.items()
        ]
        z = x.op("Mul", *tensors) if "s" in layer.tensors else x.op("Gemm", *tensors)
        p = float(net.dtype.type(layer.sigma.parameter))
        x = WRITTEN[layer.sigma.kind](z, p, layer.n_out)
    return x


def description(net: Network, nodes: Any, names: Mapping[str, str]) -> str:
    """What `from_onnx` reads a network by, while the nodes are those that were written.

    names: of the file's tensors, by those of the network's, which a column may have taken.
    """
    told = {
        "architecture": net.architecture,
        "metadata": net.metadata,
        "tensors": {name: names[name] for name in net.tensors},
        "nodes": digest(nodes),
    }
    try:
        return json.dumps(told, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"metadata: expected values that JSON holds; {error}") from None


def digest(nodes: Any) -> str:
    """Of the nodes of a graph; weights are no nodes."""
    found = hashlib.sha256()
    for node in nodes:
        told = [
            node.domain, node.op_type, *node.input, "->", *node.output,
            *sorted(a.SerializeToString(deterministic=True).hex() for a in node.attribute),
        ]  # fmt: skip
        found.update("\0".join(told).encode() + b"\n")
    return found.hexdigest()
