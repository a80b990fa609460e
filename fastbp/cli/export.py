"""``fastbp export``.

What belongs here: files of each format, what is told of them. What does not: the formats
(exchange/).
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fastbp
from fastbp import exchange
from fastbp.cli.models import of_table
from fastbp.cli.options import FORMATS
from fastbp.cli.output import check_writable, print_json
from fastbp.files.replace import replace


def run(options: argparse.Namespace) -> int:
    """Write MODEL as another runtime takes it."""
    for name, given in (("--name", options.name), ("--header", options.header or None)):
        if given is not None and options.to != "c":
            raise ValueError(f"{name}: expected --to c with it; got --to {options.to}")
    model = fastbp.load(options.model)
    output = options.output
    if output is None:
        output = str(Path(options.model).with_suffix(FORMATS[options.to]))
    check_writable("--output", output, options.model)
    path = Path(output)
    if options.header:
        check_writable("--header", str(path.with_suffix(".h")), options.model)
    if options.to != "onnx" and of_table(model) is not None:
        raise ValueError(
            f"{options.model}: expected a network on numbers for --to {options.to}; this model "
            "takes tables, whose encoder --to onnx alone writes"
        )
    try:
        document = _WRITERS[options.to](model, path, options)
    except TypeError as error:
        raise ValueError(str(error)) from None
    told = {"fastbp": fastbp.__version__, "model": options.model, "to": options.to}
    shown = document.pop("shown")
    if options.json:
        print_json(told | {"path": str(path)} | document)
    else:
        print(f"{options.model} written to {path}{shown}")
    return 0


def _onnx(model: Any, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    proto = exchange.to_onnx(model, path)
    names = {
        "inputs": [value.name for value in proto.graph.input],
        "outputs": [value.name for value in proto.graph.output],
        "opsets": {opset.domain or "ai.onnx": opset.version for opset in proto.opset_import},
    }
    shown = f": {', '.join(names['inputs'])} -> {', '.join(names['outputs'])}"
    return names | {"shown": shown}


def _torch(model: Any, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    module = exchange.to_torch(model)
    import torch

    buffer = io.BytesIO()
    torch.save(module, buffer)
    replace(path, buffer.getvalue(), "--output")
    return {"shown": ": torch.load(..., weights_only=False) gives the module"}


def _c(model: Any, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    made = exchange.to_c(
        model, path, name="model" if options.name is None else options.name, header=options.header
    )
    return {**made.to_dict(), "shown": f"\n{made}"}


def _sklearn(model: Any, path: Path, options: argparse.Namespace) -> dict[str, Any]:
    made = exchange.to_sklearn(model)
    import joblib

    buffer = io.BytesIO()
    joblib.dump(made, buffer)
    replace(path, buffer.getvalue(), "--output")
    return {"estimator": type(made).__name__, "shown": f": {type(made).__name__}"}


_WRITERS: dict[str, Callable[[Any, Path, argparse.Namespace], dict[str, Any]]] = {
    "onnx": _onnx,
    "torch": _torch,
    "c": _c,
    "sklearn": _sklearn,
}
