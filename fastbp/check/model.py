"""A network on paper: every z, a, J, g and delta, by the reference's formulas, a sample at a time.

What belongs here: what the checks need to know of a network beside values of its loss: how far
rounding alone may carry its gradients, and what its gradient would be with a known mistake in it.
What does not: the check itself (gradients.py), words about it (diagnosis.py).

Shapes: W (n_in, width of z), J[k, j] = da_k/dz_j. No matrix here is as wide as a layer on both
sides but W (jacobian.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import functions, inputs, reference
from fastbp.check.jacobian import Jacobian, jacobian, moved, uncancelled

Array = np.ndarray

EPSILON = float(np.finfo(np.float64).eps)

# Mistakes that change delta, each at one layer: what is done instead of delta = J^T (W delta).
MISTAKES = ("the k = j term only", "J for J^T", "W for W^T", "sigma'(a) for sigma'(z)")


@dataclass(frozen=True)
class Mistake:
    """One of MISTAKES at a layer, counted from 1; at 0: at every layer where it makes sense."""

    kind: str
    layer: int


class Model:
    """A network's parameters and architecture, with X and Y, in float64.

    Parameters
    ----------
    architecture : dict
        As `Network.architecture`.
    weights, biases : sequences of ndarray
    X : ndarray (n, n_0)
    Y : as in `Network.loss`
    sample_weight : ndarray (n,), optional
    l2, l1 : float
    """

    def __init__(
        self,
        architecture: dict[str, Any],
        weights: Sequence[Array],
        biases: Sequence[Array],
        X: Array,
        Y: Array,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
    ) -> None:
        self.names = [*architecture["activation"], architecture["output"]]
        self.loss = architecture["loss"]
        self.n_outputs = int(architecture["sizes"][-1])
        self.weights = [np.asarray(W, np.float64) for W in weights]
        self.biases = [np.asarray(b, np.float64) for b in biases]
        self.X = np.asarray(X, np.float64)
        loss = functions.loss(self.loss)
        width = loss.n_targets(self.n_outputs)
        self.Y = inputs.as_dense_targets(Y, len(self.X), width, loss, np.dtype(np.float64))
        self.w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.l2, self.l1 = l2, l1

    def feedforward(self, x: Array) -> tuple[list[Array], list[Array]]:
        """zs and activations (the input first) of one sample."""
        zs, activations = [], [x]
        for W, b, name in zip(self.weights, self.biases, self.names, strict=True):
            zs.append(activations[-1] @ W + b)
            activations.append(reference.activation(name, zs[-1]))
        return zs, activations

    def deltas(
        self, zs: list[Array], activations: list[Array], y: Array, mistake: Mistake | None = None
    ) -> list[Array]:
        """delta^1 ... delta^L of one sample (BP1, BP2), with a mistake where one is given."""
        last = len(zs) - 1
        out: list[Array] = []
        for layer in range(last, -1, -1):
            here = mistake is not None and mistake.layer in (0, layer + 1)
            kind = mistake.kind if mistake is not None and here else ""
            if layer == last:
                if self._is_canonical() and kind in ("", "W for W^T"):
                    out.append(reference.output_error(self.names[-1], self.loss, zs[-1], y))
                    continue
                back = reference.cost_gradient(self.loss, activations[-1], y)
            else:
                W = self.weights[layer + 1]
                square = kind == "W for W^T" and W.shape[0] == W.shape[1]
                back = W.T @ out[0] if square else W @ out[0]
            J = jacobian(self.names[layer], zs[layer])
            if kind == "the k = j term only" and J.is_square:
                J = J.diagonal
            elif kind == "J for J^T" and J.is_square:
                J = J.T
            elif kind == "sigma'(a) for sigma'(z)" and not J.is_coupled:
                J = jacobian(self.names[layer], activations[layer + 1])
            out.insert(0, J.transposed(back))
        return out

    def gradient(self, mistake: Mistake | None = None, weighted: bool = True) -> list[Array]:
        """W1, b1, ... of the data part: sum_x w_x nabla C_x / sum_x w_x (BP3, BP4)."""
        w = self.w if weighted else np.ones_like(self.w)
        a_rows: list[list[Array]] = [[] for _ in self.names]
        delta_rows: list[list[Array]] = [[] for _ in self.names]
        for x, y in zip(self.X, self.Y, strict=True):
            zs, activations = self.feedforward(x)
            for layer, delta in enumerate(self.deltas(zs, activations, y, mistake)):
                a_rows[layer].append(activations[layer])
                delta_rows[layer].append(delta)
        out = []
        for a, deltas in zip(a_rows, delta_rows, strict=True):
            weighted_delta = np.array(deltas) * (w / w.sum())[:, None]
            out += [np.array(a).T @ weighted_delta, weighted_delta.sum(axis=0)]
        return out

    def penalties(self) -> tuple[list[Array], list[Array]]:
        """Gradients (l2/n) W and (l1/n) sign W, with what they would be for biases."""
        n = len(self.X)
        parts = list(self._tensors())
        return [self.l2 / n * p for p in parts], [self.l1 / n * np.sign(p) for p in parts]

    def _tensors(self) -> Iterator[Array]:
        for W, b in zip(self.weights, self.biases, strict=True):
            yield W
            yield b

    def possible_mistakes(self) -> Iterator[Mistake]:
        """Mistakes that would change this network's gradient, those at every layer last."""
        n_layers = len(self.names)
        for kind in MISTAKES:
            for layer in [*range(n_layers, 0, -1), 0]:
                if kind == "W for W^T" and layer == n_layers:
                    continue
                yield Mistake(kind, layer)

    # rounding

    def rounding(self, dtype: np.dtype[Any]) -> tuple[list[Array], list[Array], Array]:
        """Bounds on what rounding makes of gradient, deltas and dC/dx, n eps throughout.

        Parameters
        ----------
        dtype : float32 or float64
            In which they are computed.

        Returns
        -------
        gradient : list of ndarray, W1, b1, ...
        deltas : list of ndarray (n, width of z)
        input_gradient : ndarray (n, n_0)
            Infinite where anything may come out.
        """
        with np.errstate(all="ignore"):
            nablas, deltas, of_inputs = self._rounding(float(np.finfo(dtype).eps) / 2)
        underflow = 1e3 * float(np.finfo(dtype).tiny)

        def known(bound: Array) -> Array:
            return np.where(np.isfinite(bound), bound + underflow, np.inf)

        return [known(b) for b in nablas], [known(b) for b in deltas], known(of_inputs)

    def _rounding(self, unit: float) -> tuple[list[Array], list[Array], Array]:
        n = len(self.X)
        n_layers = len(self.names)
        a_rows: list[list[Array]] = [[] for _ in range(n_layers)]
        own_rows: list[list[Array]] = [[] for _ in range(n_layers)]
        delta_rows: list[list[Array]] = [[] for _ in range(n_layers)]
        error_rows: list[list[Array]] = [[] for _ in range(n_layers)]
        a_error_rows: list[list[Array]] = [[] for _ in range(n_layers)]
        of_inputs = np.zeros_like(self.X)
        Ws = [np.abs(W) for W in self.weights]
        for s, (x, y) in enumerate(zip(self.X, self.Y, strict=True)):
            zs, activations = self.feedforward(x)
            errors_a, slopes = self._forward_errors(Ws, zs, activations, unit)
            deltas = self.deltas(zs, activations, y)
            errors = self._backward_errors(Ws, zs, activations, y, deltas, errors_a, slopes, unit)
            for layer, (delta, error) in enumerate(zip(deltas, errors, strict=True)):
                # n additions a term; 4 for the products with w and 1/m
                own_rows[layer].append(unit * (n + 4) * np.abs(delta) + error)
                delta_rows[layer].append(np.abs(delta) + error)
                error_rows[layer].append(error)
                a_rows[layer].append(np.abs(activations[layer]))
                a_error_rows[layer].append(errors_a[layer])
            n_z = len(deltas[0])
            of_inputs[s] = Ws[0] @ (errors[0] + unit * (n_z + 2) * np.abs(deltas[0]))
        shares = (self.w / self.w.sum())[:, None]
        nablas = []
        for layer in range(n_layers):
            own = shares * np.array(own_rows[layer])
            through_a = np.array(a_error_rows[layer]).T @ (shares * np.array(delta_rows[layer]))
            nablas += [np.array(a_rows[layer]).T @ own + through_a, own.sum(axis=0)]
        for nabla, l2_part, l1_part in zip(nablas, *self.penalties(), strict=True):
            nabla += 4 * unit * (np.abs(l2_part) + np.abs(l1_part))
        return nablas, [np.array(rows) for rows in error_rows], of_inputs

    def _forward_errors(
        self, Ws: list[Array], zs: list[Array], activations: list[Array], unit: float
    ) -> tuple[list[Array], list[tuple[Jacobian, Jacobian]]]:
        """Errors of a^0 ... a^L, and of each layer J and how far it may move; Ws: |W|."""
        slopes, errors_a = [], [np.zeros_like(activations[0])]
        for layer, (W, b) in enumerate(zip(Ws, self.biases, strict=True)):
            name, z, a = self.names[layer], zs[layer], np.abs(activations[layer + 1])
            error = unit * (W.shape[0] + 2) * (np.abs(activations[layer]) @ W + np.abs(b))
            error = error + errors_a[-1] @ W
            if functions.activation(name).kind == "softmax":
                error = error + 4 * unit * (z.max() - z)  # of c, and of c (z - max z)
            J = jacobian(name, z)
            change = moved(name, z, J, error)
            slopes.append((J, change))
            whole = J.size.plus(change)
            own = 8 * unit * a + _least(unit)
            if J.is_coupled:  # log_softmax, layer_norm: differences of numbers as large as z
                own = own + 8 * unit * np.abs(z).max() * whole.largest
            errors_a.append(whole.times(error) + own)
        return errors_a, slopes

    def _backward_errors(
        self,
        Ws: list[Array],
        zs: list[Array],
        activations: list[Array],
        y: Array,
        deltas: list[Array],
        errors_a: list[Array],
        slopes: list[tuple[Jacobian, Jacobian]],
        unit: float,
    ) -> list[Array]:
        last = len(zs) - 1
        errors: list[Array] = []
        for layer in range(last, -1, -1):
            z, a = zs[layer], activations[layer + 1]
            if layer == last and self._is_canonical():
                scale = functions.activation(self.names[-1]).parameter or 1.0
                total = max(1.0, float(np.abs(y).sum()))
                size = np.abs(a) + np.abs(y)
                errors.insert(0, scale * total * (errors_a[-1] + 8 * unit * size))
                continue
            if layer == last:
                g = reference.cost_gradient(self.loss, a, y)
                with np.errstate(over="ignore"):
                    near = [self._cost_gradient_near(a + s * errors_a[-1], y) for s in (1.0, -1.0)]
                error = np.maximum(np.abs(near[0] - g), np.abs(near[1] - g)) + 8 * unit * np.abs(g)
                error = error + unit * (np.abs(a) + 1)  # r = a - y
            else:
                W = Ws[layer + 1]
                error = W @ (errors[0] + unit * (W.shape[1] + 2) * np.abs(deltas[layer + 1]))
                g = self.weights[layer + 1] @ deltas[layer + 1]
            J, change = slopes[layer]
            n = 8 + 2 * len(a) if J.is_coupled else 8
            terms = uncancelled(self.names[layer], z, a, J)
            own = change.transposed(np.abs(g)) + unit * n * terms.transposed(np.abs(g))
            errors.insert(0, J.size.plus(change).transposed(error) + own)
        return errors

    def _is_canonical(self) -> bool:
        pair = functions.activation(self.names[-1]).kind, functions.loss(self.loss).kind
        return pair in functions.CANONICAL

    def _cost_gradient_near(self, a: Array, y: Array) -> Array:
        """g beside a, kept inside the loss's domain."""
        domain = functions.loss(self.loss).domain
        tiny = float(np.finfo(np.float64).tiny)
        if domain != "real":
            a = np.maximum(a, tiny)
        if domain == "unit":
            a = np.minimum(a, 1 - EPSILON / 2)
        return np.asarray(reference.cost_gradient(self.loss, a, y))


def _least(unit: float) -> float:
    """The smallest normal number of the dtype whose half epsilon is `unit`."""
    return float(np.finfo(np.float32 if unit > 1e-12 else np.float64).tiny)
