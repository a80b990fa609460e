"""Models as ONNX and out of it: `to_onnx`, `from_onnx`."""

from fastbp.exchange.onnx.converter import register_on_import
from fastbp.exchange.onnx.reading import from_onnx
from fastbp.exchange.onnx.writing import to_onnx

__all__ = ["from_onnx", "register_on_import", "to_onnx"]
