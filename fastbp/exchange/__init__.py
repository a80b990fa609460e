"""Models into and out of other runtimes: ONNX, PyTorch, scikit-learn, Keras, C.

What belongs here: the names. What does not: any of the work; stack.py holds what the formats share,
each format has a file or a folder. A format's own package is imported when it is asked for.
"""

from fastbp.exchange.c import CSource, to_c
from fastbp.exchange.keras import from_keras
from fastbp.exchange.onnx import from_onnx, register_on_import, to_onnx
from fastbp.exchange.sklearn import from_sklearn, to_sklearn
from fastbp.exchange.torch import from_torch, to_torch

__all__ = [
    "CSource",
    "from_keras",
    "from_onnx",
    "from_sklearn",
    "from_torch",
    "to_c",
    "to_onnx",
    "to_sklearn",
    "to_torch",
]

register_on_import()
