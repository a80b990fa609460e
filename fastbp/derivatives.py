"""Derivatives of a network: by its parameters, by z of its layers and by its inputs.

What belongs here: `Network`'s gradients, errors, Jacobians and their products, by the engine. What
does not: what they are derivatives of (network.py), whether they are right (check/).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from fastbp import inputs, sparse
from fastbp.dropout import Dropout
from fastbp.inputs import ArrayLike, Rows
from fastbp.questions import Questions
from fastbp.samples import Samples, mean_cost

if TYPE_CHECKING:
    from fastbp.kernels.engine import Masks

Array = np.ndarray


class Derivatives(Questions):
    """What a network has derivatives of; see `Network`."""

    def deltas(
        self, X: Rows, Y: ArrayLike, *, dropout: Dropout | None = None, ignore_missing: bool = False
    ) -> list[Array]:
        """Compute delta^l = dC_x/dz^l of every sample and layer but the input (BP1, BP2).

        Parameters
        ----------
        X, Y, dropout, ignore_missing : as in `loss`
            Weights and penalties are no part of C_x.

        Returns
        -------
        list of ndarray (n, width of z)
            One entry for each of `layers`, the output's last.

        Raises
        ------
        TypeError, ValueError
            As in `loss`.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([1, 1, 1], output="identity", loss="quadratic", init="zeros")
        >>> net.weights[1][:] = 2.0
        >>> [delta.tolist() for delta in net.deltas([[1.0]], [0.0])]
        [[[0.5]], [[1.0]]]
        """
        X = self._ready(X)
        dense, labels = self._targets(Y, X.shape[0], ignore_missing)
        masks = self._masks(dropout)
        out = self._empty_zs(X)
        self._doors.deltas(
            self._compiled_of(X), self._parameters, X, dense, labels, out, masks, ignore_missing
        )
        self._warn_unless_finite("deltas", *out)
        return self._as_of(X, out)

    def gradient(
        self,
        X: Rows,
        Y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: Dropout | None = None,
        ignore_missing: bool = False,
        out: Array | None = None,
        decays: Mapping[str, float] | None = None,
    ) -> Array:
        """Gradient of `loss` with respect to `parameters` (BP3, BP4).

        Parameters
        ----------
        X, Y, sample_weight, l2, l1, dropout, ignore_missing : as in `loss`
            The subgradient of abs(W) at 0 is 0.
        out : ndarray (n_parameters,) of the network's dtype, optional
            Written and returned instead of a new array.
        decays : dict, optional
            As in `loss`.

        Returns
        -------
        ndarray (n_parameters,)
            In the order of `parameters`: W1, b1, W2, b2, ...

        Raises
        ------
        TypeError, ValueError
            As in `loss`; or `out` is of another shape or dtype, or shares memory with what is read.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([1, 1], output="identity", loss="quadratic", init="zeros")
        >>> net.gradient([[1.0], [2.0]], [1.0, 2.0]).tolist()
        [-2.5, -1.5]
        """
        data = self._samples(X, Y, sample_weight, ignore_missing)
        of_tensors = self._decays(decays)
        masks = self._masks(dropout)
        l2, l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
        result = inputs.as_output(out, self._parameters.shape, self._dtype)
        if out is not None and any(
            np.may_share_memory(out, other)
            for other in (self._parameters, sparse.values_of(data.X), *data[1:4])
            if other is not None
        ):
            raise ValueError(
                "out: expected memory apart from the network's parameters, X, Y and sample_weight"
            )
        self._add_up(data, l2, l1, of_tensors, result, masks)
        self._warn_unless_finite("gradient", result)
        return result

    def _add_up(
        self,
        data: Samples,
        l2: float,
        l1: float,
        of_tensors: list[float],
        result: Array,
        masks: Masks | None = None,
        C: Array | None = None,
    ) -> None:
        """The gradient of checked samples into `result`, their costs into C (n,)."""
        n = len(data.X)
        total = n if data.weight is None else float(data.weight.sum(dtype=np.float64))
        self._doors.gradient(
            self._compiled_of(data.X), self._parameters, *data[:4], 1 / total, result, masks,
            data.missing, C
        )  # fmt: skip
        at = 0
        for (_, tensor), decay in zip(self._described, of_tensors, strict=True):
            size = math.prod(tensor.shape)
            if decay and (l2 or l1):
                part, W = result[at : at + size], self._parameters[at : at + size]
                with np.errstate(over="ignore", invalid="ignore"):  # told below
                    if l2:
                        part += self._dtype.type(decay * l2 / n) * W
                    if l1:
                        part += self._dtype.type(decay * l1 / n) * np.sign(W)
            at += size

    def _loss_and_gradient(
        self, data: Samples, l2: float, of_tensors: list[float]
    ) -> tuple[float, Array]:
        """`loss` and `gradient`, from one pass."""
        n, result = len(data.X), np.empty_like(self._parameters)
        C = np.empty(n, self._dtype)
        self._add_up(data, l2, 0.0, of_tensors, result, None, C)
        return mean_cost(C, data) + self._penalty(n, l2, 0.0, of_tensors), result

    def input_gradient(self, X: Rows, Y: ArrayLike) -> Array:
        """Gradient dC_x/dx of every sample's cost by its inputs.

        Parameters
        ----------
        X, Y : as in `loss`
            The samples.

        Returns
        -------
        ndarray (n, n_0)
            Of sparse X a sparse array, of its elements alone.

        Raises
        ------
        TypeError, ValueError
            As in `loss`.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([2, 1], output="identity", loss="quadratic", init="zeros")
        >>> net.weights[0][:] = [[1.0], [3.0]]
        >>> net.input_gradient([[1.0, 0.0]], [0.0]).tolist()
        [[1.0, 3.0]]
        """
        X = self._ready(X)
        dense, labels = self._targets(Y, X.shape[0])
        out = np.empty_like(sparse.values_of(X))
        self._doors.input_gradient(self._compiled_of(X), self._parameters, X, dense, labels, out)
        self._warn_unless_finite("input_gradient", out)
        return self._as_of(X, [out])[0]

    def jacobian(self, X: ArrayLike) -> Array:
        """Jacobian da^L/dx of every sample.

        Parameters
        ----------
        X : array_like (n, n_0)
            As in `predict`, but not sparse: a Jacobian has all columns.

        Returns
        -------
        ndarray (n, n_L, n_0)
            Row j, column i of a sample: the derivative of output j by input i.

        Raises
        ------
        TypeError
            X is sparse; `vjp` takes it.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([2, 1], output="identity", loss="mse", init="zeros")
        >>> net.weights[0][:] = [[1.0], [3.0]]
        >>> net.jacobian([[0.5, 0.5]]).tolist()
        [[[1.0, 3.0]]]
        """
        if sparse.is_sparse(X):
            told = f"X: expected a dense array, for a Jacobian is one; got {type(X).__name__}"
            raise TypeError(f"{told} (vjp takes sparse ones)")
        rows = self._ready(X)
        out = np.empty((rows.shape[0], self._sizes[-1], self._sizes[0]), self._dtype)
        self._doors.jacobian(self._compiled, self._parameters, rows, out)
        self._warn_unless_finite("jacobian", out)
        return out

    def vjp(self, X: Rows, V: ArrayLike) -> Array:
        """Vector times Jacobian, V da^L/dx, sample by sample.

        Parameters
        ----------
        X : array_like or sparse (n, n_0)
            As in `predict`.
        V : array_like (n, n_L)
            A row for each sample: what each output counts.

        Returns
        -------
        ndarray (n, n_0)
            Of sparse X a sparse array, of its elements alone.

        Raises
        ------
        TypeError, ValueError
            X is none that `predict` takes, or V has another shape or is not finite.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([2, 1], output="identity", loss="mse", init="zeros")
        >>> net.weights[0][:] = [[1.0], [3.0]]
        >>> net.vjp([[0.5, 0.5]], [[2.0]]).tolist()
        [[2.0, 6.0]]
        """
        X = self._ready(X)
        V = inputs.as_matrix(V, "V", self._sizes[-1], self._dtype)
        inputs.check_rows(V, "V", X.shape[0])
        out = np.empty_like(sparse.values_of(X))
        self._doors.vjp(self._compiled_of(X), self._parameters, X, V, out)
        self._warn_unless_finite("vjp", out)
        return self._as_of(X, [out])[0]

    def jvp(self, X: Rows, V: Rows) -> Array:
        """Jacobian times vector, da^L/dx V, sample by sample.

        Parameters
        ----------
        X, V : array_like or sparse (n, n_0)
            Samples, and the direction that each is moved in. Where X is sparse, V is sparse too or
            made so.

        Returns
        -------
        ndarray (n, n_L)
            How fast each output changes in that direction.

        Raises
        ------
        TypeError, ValueError
            X is none that `predict` takes, or V has another shape or is not finite.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([2, 1], output="identity", loss="mse", init="zeros")
        >>> net.weights[0][:] = [[1.0], [3.0]]
        >>> net.jvp([[0.5, 0.5]], [[1.0, 1.0]]).tolist()
        [[4.0]]
        """
        X = self._ready(X)
        V = sparse.as_like(V, "V", X)
        inputs.check_rows(V, "V", X.shape[0])
        out = np.empty((X.shape[0], self._sizes[-1]), self._dtype)
        self._doors.jvp(self._compiled_of(X), self._parameters, X, V, out)
        self._warn_unless_finite("jvp", out)
        return out
