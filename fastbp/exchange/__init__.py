"""Models into and out of other runtimes: ONNX, PyTorch, scikit-learn, Keras, C.

What belongs here: the names. What does not: any of the work; stack.py holds what the formats share,
each format has a file or a folder. A format's own package is imported when it is asked for.
"""

from fastbp.exchange.c import CSource, to_c
from fastbp.exchange.onnx import register_on_import, to_onnx

__all__ = ["CSource", "to_c", "to_onnx"]

register_on_import()
