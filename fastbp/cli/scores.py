"""How good predictions are."""

import math
from collections.abc import Sequence
from typing import Any

from fastbp.datasets.dataset import Array, Label
from fastbp.metrics import decide, r2, rmse
from fastbp.network import Network


def kind(name: str) -> str:
    """Return the name of a loss or activation without its parameter: huber of huber(1.5)."""
    return name.partition("(")[0].strip()


def scores(
    outputs: Array, Y: Array, classes: Sequence[Label] | None, net: Network
) -> dict[str, Any]:
    """Return the accuracy for classes; R^2 and root mean square error for numbers.

    R^2 is the mean over the targets; None where a target is constant. Of the outputs of
    gaussian_nll, means then logarithms of variances, the means are judged.
    """
    if classes is not None:
        return of_classes(decide(net, outputs), Y)
    Y = Y.reshape(len(Y), -1)
    return of_numbers(outputs[:, : Y.shape[1]], Y)


def of_classes(predicted: Array, Y: Array) -> dict[str, Any]:
    """Accuracy of class numbers (n,)."""
    correct = int((predicted == Y).sum())
    return {"accuracy": correct / len(Y), "correct": correct, "rows": len(Y)}


def of_numbers(predicted: Array, Y: Array) -> dict[str, Any]:
    """R^2 and root mean square error of numbers (n, n_targets)."""
    found = r2(Y, predicted)
    return {"r2": None if math.isnan(found) else found, "rmse": rmse(Y, predicted), "rows": len(Y)}
