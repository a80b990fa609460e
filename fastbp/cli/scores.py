"""How good predictions are."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.datasets.dataset import Array

SIGNED_LOSSES = ("hinge", "squared_hinge")  # a single output tells two classes as -1 and 1


def kind(name: str) -> str:
    """Return the name of a loss or activation without its parameter: huber of huber(1.5)."""
    return name.partition("(")[0].strip()


def class_indices(outputs: Array, loss: str) -> Array:
    """Return the class of each row; of one output, whether it is above the middle of the two."""
    if outputs.shape[1] == 1:
        middle = 0.0 if kind(loss) in SIGNED_LOSSES else 0.5
        return (outputs[:, 0] > middle).astype(np.int64)
    return np.asarray(outputs.argmax(axis=1))


def scores(
    outputs: Array, Y: Array, classes: Sequence[str] | None, loss: str = "mse"
) -> dict[str, Any]:
    """Return the accuracy for classes; R^2 and root mean square error for numbers.

    R^2 is the mean over the targets; None where a target is constant. Of the outputs of
    gaussian_nll, means then logarithms of variances, the means are judged.
    """
    rows = len(Y)
    if classes is not None:
        correct = int((class_indices(outputs, loss) == Y).sum())
        return {"accuracy": correct / rows, "correct": correct, "rows": rows}
    Y = Y.reshape(rows, -1).astype(np.float64)
    squares = np.square(outputs[:, : Y.shape[1]] - Y)
    spread = np.square(Y - Y.mean(axis=0)).sum(axis=0)
    r2 = float((1 - squares.sum(axis=0) / spread).mean()) if np.all(spread > 0) else None
    return {"r2": r2, "rmse": float(np.sqrt(squares.mean())), "rows": rows}
