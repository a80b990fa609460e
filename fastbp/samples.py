"""`Samples`: data as the engine reads them.

What belongs here: arrays that are checked once, how they are taken apart, and the mean over them.
What does not: the checks themselves (inputs.py), what is computed from them (network.py).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from fastbp.sparse import Lists


class Samples(NamedTuple):
    """Samples as the engine reads them."""

    X: np.ndarray | Lists
    dense: np.ndarray | None
    labels: np.ndarray | None
    weight: np.ndarray | None
    missing: bool = False  # NaN in `dense` stands for no target

    @property
    def Y(self) -> np.ndarray:
        Y = self.dense if self.labels is None else self.labels
        assert Y is not None
        return Y

    def take(self, rows: np.ndarray) -> Samples:
        dense, labels, weight = (None if part is None else part[rows] for part in self[1:4])
        return Samples(self.X[rows], dense, labels, weight, self.missing)


def mean_cost(C: np.ndarray, data: Samples) -> float:
    """sum_x w_x C_x / sum_x w_x."""
    with np.errstate(over="ignore", invalid="ignore"):  # for the caller to tell
        of_each = C.astype(np.float64)
        if data.weight is None:  # as np.average has it, which takes 3 us more to come to that
            mean = float(of_each.mean())
        else:
            mean = float(np.average(of_each, weights=data.weight))
        if math.isinf(mean):  # of costs, not their sum
            mean = float(np.average(2.0**-100 * C, weights=data.weight)) * 2.0**100
    return mean
