"""How good predictions are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..datasets.dataset import Array


def class_indices(outputs: Array) -> Array:
    """Return the class of each row of outputs; of one output, whether it is above one half."""
    if outputs.shape[1] == 1:
        return (outputs[:, 0] > 0.5).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1))


def scores(outputs: Array, Y: Array, classes: Sequence[str] | None) -> dict[str, Any]:
    """Return the accuracy for classes; R^2 and root mean square error for numbers.

    R^2 is the mean over the targets; None where a target is constant.
    """
    rows = len(Y)
    if classes is not None:
        correct = int((class_indices(outputs) == Y).sum())
        return {"accuracy": correct / rows, "correct": correct, "rows": rows}
    Y = Y.reshape(rows, -1).astype(np.float64)
    squares = np.square(outputs - Y)
    spread = np.square(Y - Y.mean(axis=0)).sum(axis=0)
    r2 = float((1 - squares.sum(axis=0) / spread).mean()) if np.all(spread > 0) else None
    return {"r2": r2, "rmse": float(np.sqrt(squares.mean())), "rows": rows}
