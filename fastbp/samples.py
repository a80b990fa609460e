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
    """Samples as the engine reads them: all rows of the arrays, or some of them in an order."""

    X: np.ndarray | Lists
    dense: np.ndarray | None
    labels: np.ndarray | None
    weight: np.ndarray | None
    missing: bool = False  # NaN in `dense` stands for no target
    rows: np.ndarray | None = None  # those that the samples are; None: all

    @property
    def Y(self) -> np.ndarray:
        Y = self.dense if self.labels is None else self.labels
        assert Y is not None
        return Y

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.X) if self.rows is None else len(self.rows)

    def arrays(self) -> tuple[np.ndarray | Lists | None, ...]:
        """What tells them from others."""
        return self[:4] if self.rows is None else (*self[:4], self.rows)

    def of(self, rows: np.ndarray) -> Samples:
        """Some of these samples, by their numbers; nothing is copied but these."""
        return self._replace(rows=rows if self.rows is None else self.rows[rows])

    def whole(self) -> Samples:
        """The same samples as arrays of their own."""
        return self if self.rows is None else self._replace(rows=None).take(self.rows)

    def targets(self) -> Samples:
        """What is known of the same samples, without their X."""
        if self.rows is None:
            return self
        return self._replace(X=np.empty((len(self.X), 0)), rows=None).take(self.rows)

    def take(self, rows: np.ndarray) -> Samples:
        """Some rows of the arrays as arrays of their own."""
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


def mean_costs(C: np.ndarray, data: Samples) -> list[float]:
    """`mean_cost` of each of several C   (k, n)."""
    if data.weight is None:
        with np.errstate(over="ignore", invalid="ignore"):
            means = C.astype(np.float64).mean(axis=1)
        if not np.isinf(means).any():
            of_each: list[float] = means.tolist()
            return of_each
    return [mean_cost(of_one, data) for of_one in C]
