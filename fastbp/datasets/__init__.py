"""Data: the digits that the package carries, and readers for IDX, ``.npz`` and CSV files.

>>> import fastbp.datasets
>>> fastbp.datasets.load_digits()
Dataset('digits', X (1797, 64) float32, Y (1797,) int64, 10 classes)
"""

from fastbp.datasets.dataset import Dataset, Inputs
from fastbp.datasets.digits import ATTRIBUTION, load_digits
from fastbp.datasets.idx import read_idx
from fastbp.datasets.reading import read, read_inputs

__all__ = [
    "ATTRIBUTION",
    "Dataset",
    "Inputs",
    "load_digits",
    "read",
    "read_idx",
    "read_inputs",
]
