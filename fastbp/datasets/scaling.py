"""Standardising columns, and folding the scaling into a trained network."""

from dataclasses import dataclass

import numpy as np

from fastbp import inputs
from fastbp.datasets.dataset import Array


@dataclass(frozen=True, eq=False)
class Scaling:
    """Mean and deviation of columns: ``(X - mean) / deviation`` has mean 0 and deviation 1.

    Attributes
    ----------
    mean, deviation : ndarray, shape (n_columns,)
        float64; the deviation of a constant column is 1.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.datasets.scaling import Scaling
    >>> X = np.array([[1.0, 7.0], [3.0, 7.0]])
    >>> Scaling.of(X).apply(X)
    array([[-1.,  0.],
           [ 1.,  0.]])
    """

    mean: Array
    deviation: Array

    @classmethod
    def of(cls, X: Array) -> "Scaling":
        """Measure the columns of `X`, (n, n_columns)."""
        single = isinstance(X, np.ndarray) and X.dtype == np.float32
        X = inputs.as_numbers(X, "X", np.dtype(np.float32 if single else np.float64))
        if X.ndim != 2 or not X.size:
            raise ValueError(f"X: expected a table (n, n_columns); got shape {X.shape}")
        lowest, highest = X.min(axis=0), X.max(axis=0)
        constant = lowest == highest
        with np.errstate(over="ignore", invalid="ignore"):
            mean = np.where(constant, X[0], X.mean(axis=0, dtype=np.float64))
            deviation = np.where(constant, 1.0, X.std(axis=0, dtype=np.float64))
            for j in np.flatnonzero((deviation == 0) | ~np.isfinite(mean + deviation)):
                # sums or squares out of range: of the column in other units, a power of two
                unit = int(np.frexp(max(-float(lowest[j]), float(highest[j])))[1])
                column = np.ldexp(X[:, j].astype(np.float64), -unit)
                mean[j], deviation[j] = np.ldexp([column.mean(), column.std()], unit)
            farthest = np.maximum(highest - mean, mean - lowest)
        deviation = np.where(deviation == 0, 1.0, deviation)  # below the least number
        for j in np.flatnonzero(~np.isfinite(deviation + farthest)):
            raise ValueError(f"X: the values of column {j} are too large to standardise")
        return cls(mean.astype(np.float64), deviation)

    def apply(self, X: Array) -> Array:
        """Return `X` standardised, in float64."""
        return (X - self.mean) / self.deviation

    def undo(self, X: Array) -> Array:
        """Return standardised `X` in its own units, in float64."""
        return X * self.deviation + self.mean

    def fold_into_inputs(self, W: Array, b: Array) -> None:
        """Change W (n_in, n_out), b (n_out,) so that raw inputs give what standardised ones gave.

        ``x' W + b`` with ``x' = (x - mean) / deviation`` is ``x (W / deviation) + (b - mean W /
        deviation)``. The bias is made from the weights as rounded to their type, so that the
        rounding is not multiplied by the mean.
        """
        b64 = b.astype(np.float64)
        with np.errstate(over="ignore", invalid="ignore"):  # judged by what comes out
            W[...] = W / self.deviation[:, None]
            b[...] = b64 - self.mean @ W.astype(np.float64)

    def unfold_from_outputs(self, W: Array, b: Array) -> None:
        """Change W (n_in, n_out), b (n_out,) so that standardised outputs come in their own units.

        ``(a W + b) deviation + mean``; right only where the output's activation is the identity.
        """
        with np.errstate(over="ignore", invalid="ignore"):
            W[...] = W * self.deviation
            b[...] = b.astype(np.float64) * self.deviation + self.mean
