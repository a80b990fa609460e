"""What every question to a network begins and ends with: data read, arrays for the results.

What belongs here: what predictions, losses and derivatives share. What does not: the questions
(network.py, derivatives.py, one_sample.py), checks of arguments (inputs.py).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import factors, functions, inputs, layers as kinds, sparse
from fastbp.architecture import Architecture
from fastbp.dropout import Dropout, masks_of
from fastbp.inputs import ArrayLike, Rows
from fastbp.samples import Samples
from fastbp.sparse import Lists

if TYPE_CHECKING:
    from fastbp.kernels.engine import Masks

Array = np.ndarray


class Questions(Architecture):
    """A network that can read data; what is asked of it, see `Network`."""

    def _ready(self, X: Rows) -> Array | Lists:
        """X checked, and the parameters, which anybody may have written.

        A frame's columns are found by the names that the network was trained on, where it knows
        them (``metadata["columns"]``). Of a sparse matrix it is `sparse.Lists`.
        """
        if type(X) is not np.ndarray and not isinstance(X, Lists):  # most programs give arrays
            X = self._of_other_kind(X)
        if not isinstance(X, Lists):
            X = inputs.as_matrix(X, "X", self._sizes[0], self._dtype)
        if not self._doors.is_finite(self._parameters):
            inputs.as_numbers(self._parameters, "parameters", self._dtype)
        return X

    def _of_other_kind(self, X: Rows) -> Rows:
        """A sparse matrix checked; a frame's columns found; else X as it came."""
        if sparse.is_sparse(X):
            return sparse.as_lists(X, "X", self._sizes[0], self._dtype)
        if columns := self.columns:
            from fastbp.tabular.names import by_name

            return by_name(X, "X", columns)
        return X

    def _targets(
        self, Y: ArrayLike, n: int, ignore_missing: bool = False
    ) -> tuple[Array | None, Array | None]:
        if ignore_missing is not False and inputs.as_flag(ignore_missing, "ignore_missing"):
            functions.check_separable(self._output, self._loss)
        return inputs.as_targets(
            Y, n, self._n_targets, self._loss, self._dtype, bool(ignore_missing)
        )

    def _samples(
        self,
        X: Rows,
        Y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        ignore_missing: bool = False,
    ) -> Samples:
        """What a user gave, checked, and the parameters too."""
        X = self._ready(X)
        n = X.shape[0]
        dense, labels = self._targets(Y, n, ignore_missing)
        weight = inputs.as_weight(sample_weight, n, self._dtype)
        return Samples(X, dense, labels, weight, bool(ignore_missing))

    def _masks(self, dropout: Dropout | None) -> Masks | None:
        return None if dropout is None else masks_of(dropout, self._layers, self._doors)

    def _warn_unless_finite(self, what: str, *results: Array) -> None:
        """As NumPy does of its own functions: not where np.errstate has it ignored."""
        if not all(map(inputs.is_finite, results)) and np.geterr()["over"] != "ignore":
            warnings.warn(
                f"{what}: NaN or infinity from finite input: a value too large for {self._dtype}",
                RuntimeWarning,
                stacklevel=3,
            )

    def _empty(self, X: Array | Lists, widths: Sequence[int]) -> list[Array]:
        """An array (n, width) for each layer; of those that give lists, one for their values."""
        shapes: list[int | tuple[int, int]] = [(X.shape[0], width) for width in widths]
        if isinstance(X, Lists):
            n_lists = kinds.n_scales(self._layers)
            shapes[:n_lists] = [X.values.size] * n_lists
        return [np.empty(shape, self._dtype) for shape in shapes]

    def _empty_zs(self, X: Array | Lists) -> list[Array]:
        z_per_a = [f.z_per_a for f in self._sigmas]
        return self._empty(X, np.multiply(self._widths[1:], z_per_a).tolist())

    def _as_of(self, X: Array | Lists, arrays: list[Array]) -> list[Any]:
        """What an engine's door has filled: values of lists as a matrix with the elements of X."""
        if not isinstance(X, Lists):
            return arrays
        return [X.tocsr(array) if array.ndim == 1 else array for array in arrays]

    def _decays(self, told: Mapping[str, float] | None = None) -> list[float]:
        """What penalties and weight decay of each tensor are multiplied by."""
        if told is None:
            return [tensor.decay for _, tensor in self._described]
        return factors.decays_of(told, {name: tensor.decay for name, tensor in self._described})

    def _penalty(self, n: int, l2: float, l1: float, decays: Sequence[float]) -> float:
        penalty = self._scaled_penalty(l2 / (2 * n), l1 / n, decays, 1.0)
        if math.isfinite(penalty):
            return penalty
        # of which all have squares
        return self._scaled_penalty(l2 / (2 * n), l1 / n, decays, 2.0**-600)

    def _scaled_penalty(self, l2: float, l1: float, decays: Sequence[float], c: float) -> float:
        """l2 sum W^2 + l1 sum abs(W) by way of c W, each W times its decay."""
        if not (l2 or l1):
            return 0.0
        squares = sizes = 0.0
        with np.errstate(over="ignore"):
            for tensor, decay in zip(self._tensors.values(), decays, strict=True):
                if decay:
                    W = c * tensor.astype(np.float64)
                    squares += decay * float(np.vdot(W, W)) if l2 else 0.0
                    sizes += decay * float(np.abs(W).sum()) if l1 else 0.0
        return l2 / c * squares / c + l1 / c * sizes

    # of samples that are checked, and parameters that are

    def _outputs_of(self, data: Samples) -> Array:
        """a^L   (n, n_L)."""
        outputs = np.empty((len(data.X), self._sizes[-1]), self._dtype)
        self._doors.predict(self._compiled_of(data.X), self._parameters, data.X, outputs)
        return outputs

    def _outputs_and_costs(self, data: Samples, parameters: Array) -> tuple[Array, Array]:
        """a^L (k, n, n_L) and C_x (k, n) by each of k parameter vectors."""
        k, n = len(parameters), data.n
        outputs, C = np.empty((k, n, self._sizes[-1]), self._dtype), np.empty((k, n), self._dtype)
        compiled, of_data = self._compiled_of(data.X), (*data[:3], outputs, C, data.missing)
        self._doors.outputs_and_costs(compiled, parameters, *of_data, data.rows)
        return outputs, C
