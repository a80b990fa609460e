"""What the readers return.

What belongs here: the two kinds of data, and features checked as such. What does not: targets
(labels.py), any one format.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

Array = np.ndarray
Label = str | int  # a class; bool is among int


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Inputs and targets, and a test set where the data bring one.

    Attributes
    ----------
    X : ndarray, shape (n, n_inputs)
        One sample a row, float32 or float64.
    Y : ndarray
        Class indices, int64, (n,); or targets, floating, (n,) or (n, n_outputs).
    X_test, Y_test : ndarray or None
        The same for the test set.
    columns : tuple of str or None
        Names of the columns of `X`, for tables.
    classes : tuple of int, bool or str, or None
        The class of each class index, of the type that the data have; None for regression.
    name : str
        Name of the data, without the folder.
    attribution : str
        Source and licence, where known.

    Examples
    --------
    >>> import fastbp
    >>> digits = fastbp.datasets.load_digits()
    >>> digits.X.shape, digits.Y.dtype, digits.classes[:3]
    ((1797, 64), dtype('int64'), (0, 1, 2))
    """

    X: np.ndarray
    Y: np.ndarray
    X_test: np.ndarray | None = None
    Y_test: np.ndarray | None = None
    columns: tuple[str, ...] | None = None
    classes: tuple[Label, ...] | None = None
    name: str = ""
    attribution: str = ""

    def __repr__(self) -> str:
        parts = [repr(self.name)]
        for key in ("X", "Y", "X_test", "Y_test"):
            array = getattr(self, key)
            if array is not None:
                parts.append(f"{key} {array.shape} {array.dtype}")
        if self.classes is not None:
            parts.append(f"{len(self.classes)} classes")
        return f"Dataset({', '.join(parts)})"


class Inputs(NamedTuple):
    """Rows to predict; `Y` and `classes` as in `Dataset`, None where the data have no labels.

    Attributes
    ----------
    X : ndarray (n, n_0)
        One row to predict each, float32 or float64.
    Y : ndarray (n,), or None
        Class indices or targets.
    classes : tuple of int, bool or str, or None
        The class of each class index; None for regression.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.datasets import Inputs
    >>> X, Y, classes = Inputs(np.ones((3, 2)), None, None)
    >>> X.shape, Y
    ((3, 2), None)
    """

    X: np.ndarray
    Y: np.ndarray | None
    classes: tuple[Label, ...] | None


def features(array: Array, name: str, what: str = "X") -> Array:
    """Return `array` as (n, n_inputs) of float32 or float64; bytes are divided by 255."""
    if array.dtype.kind not in "buif":
        raise ValueError(f"{name}: {what} must hold real numbers, found dtype {array.dtype}")
    if array.ndim == 0:
        raise ValueError(f"{name}: {what} must have a row a sample, found a single number")
    if array.size == 0:
        raise ValueError(f"{name}: {what} is empty, shape {array.shape}")
    flat = array.reshape(len(array), -1)
    if array.dtype == np.uint8:
        return np.divide(flat, np.float32(255), dtype=np.float32)
    single = array.dtype.itemsize <= (4 if array.dtype.kind == "f" else 2)  # exact in float32
    flat = np.ascontiguousarray(flat, dtype=np.float32 if single else np.float64)
    bad = np.argwhere(~np.isfinite(flat))
    if len(bad):
        row, column = bad[0]
        raise ValueError(
            f"{name}: {what} must be finite, found {flat[row, column]} in row {row}, "
            f"column {column}"
        )
    return flat
