"""A network on paper: every z, a, J, g and delta, by the reference's formulas.

What belongs here: what the checks need to know of a network beside values of its loss: how far
rounding alone may carry its gradients, and what its gradient would be with a known mistake in it.
What does not: the check itself and words about it (gradients/).

Shapes: W (n_in, width of z), J[k, j] = da_k/dz_j. No matrix here is as wide as a layer on both
sides but W (jacobian.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastbp import functions, inputs, layers, reference
from fastbp.check.paper.jacobian import Jacobian, jacobian, moved, uncancelled
from fastbp.check.paper.links import Link, links_of

Array = np.ndarray
Passed = tuple[Sequence[Array], Sequence[Array]]  # z^1 ... z^L and a^0 ... a^L

# Mistakes that change delta, each at one layer: what is done instead of delta = J^T (W delta).
MISTAKES = ("the k = j term only", "J for J^T", "W for W^T", "sigma'(a) for sigma'(z)")


def by_row(f: Callable[..., Array], *of: Iterable[Any]) -> Array:
    """f of each row of some arrays, stacked."""
    return np.stack([f(*rows) for rows in zip(*of, strict=True)])


def units(name: str, *of: Array) -> list[Array]:
    """Arrays whose rows an activation takes one by one; all as one row where that is the same."""
    coupled = functions.activation(name).coupled
    return [array if coupled else array.reshape(1, -1) for array in of]


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
    tensors : sequence of ndarray
        In the order of `Network.tensors`.
    X : ndarray (n, n_0)
    Y : as in `Network.loss`
    sample_weight : ndarray (n,), optional
    l2, l1 : float
    decays : sequence of float, optional
        What they are multiplied by, for each tensor; 1 for W, 0 for the others.
    """

    def __init__(
        self,
        architecture: dict[str, Any],
        tensors: Sequence[Array],
        X: Array,
        Y: Array,
        sample_weight: Array | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
        decays: Sequence[float] | None = None,
    ) -> None:
        of = layers.of(architecture)
        self.names = [str(layer.activation) for layer in of]
        self.loss = architecture["loss"]
        self.n_outputs = int(architecture["sizes"][-1])
        self.tensors = [np.asarray(tensor, np.float64) for tensor in tensors]
        self.letters = "".join(layer.letters for layer in of)
        self.links = links_of(of, self.tensors)
        self.X = np.asarray(X, np.float64)
        loss = functions.loss(self.loss)
        width = loss.n_targets(self.n_outputs)
        self.Y = inputs.as_dense_targets(Y, len(self.X), width, loss, np.dtype(np.float64))
        self.w = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
        self.l2, self.l1 = l2, l1
        usual = [layers.DECAYS[letter] for letter in self.letters]
        self.decays = usual if decays is None else list(decays)

    def feedforward(self) -> tuple[list[Array], list[Array]]:
        """zs and activations (the input first) of each layer, all samples."""
        zs, activations = [], [self.X]
        for link, name in zip(self.links, self.names, strict=True):
            zs.append(link.forward(activations[-1]))
            a = by_row(partial(reference.activation, name), *units(name, zs[-1]))
            activations.append(a.reshape(len(self.X), -1))
        return zs, activations

    def deltas(
        self, zs: list[Array], activations: list[Array], mistake: Mistake | None = None
    ) -> list[Array]:
        """delta^1 ... delta^L of all samples (BP1, BP2), with a mistake where one is given."""
        last = len(zs) - 1
        out: list[Array] = []
        for layer in range(last, -1, -1):
            here = mistake is not None and mistake.layer in (0, layer + 1)
            kind = mistake.kind if mistake is not None and here else ""
            name = self.names[layer]
            if layer == last:
                if self._is_canonical() and kind in ("", "W for W^T"):
                    fused = partial(reference.output_error, name, self.loss)
                    out.append(by_row(fused, zs[-1], self.Y))
                    continue
                back = self._cost_gradient(activations[-1])
            else:
                link = self.links[layer + 1]
                back = (link.turned() if kind == "W for W^T" else link).back(out[0])

            def delta(z: Array, a: Array, g: Array, name: str = name, kind: str = kind) -> Array:
                J = jacobian(name, z)
                if kind == "the k = j term only" and J.is_square:
                    J = J.diagonal
                elif kind == "J for J^T" and J.is_square:
                    J = J.T
                elif kind == "sigma'(a) for sigma'(z)" and not J.is_coupled:
                    J = jacobian(name, a)
                return J.transposed(g)

            of = units(name, zs[layer], activations[layer + 1], back)
            out.insert(0, by_row(delta, *of).reshape(zs[layer].shape))
        return out

    def _cost_gradient(self, a: Array) -> Array:
        """dC/da of all samples."""
        return by_row(partial(reference.cost_gradient, self.loss), a, self.Y)

    def gradient(self, mistake: Mistake | None = None, weighted: bool = True) -> list[Array]:
        """W1, b1, ... of the data part: sum_x w_x nabla C_x / sum_x w_x (BP3, BP4)."""
        zs, activations = self.feedforward()
        w = self.w if weighted else np.ones_like(self.w)
        shares = (w / w.sum())[:, None]
        out = []
        deltas = self.deltas(zs, activations, mistake)
        for link, a, delta in zip(self.links, activations, deltas, strict=False):
            out += link.gradient(a, shares * delta)
        return out

    def penalties(self, l2: float, l1: float) -> tuple[list[Array], list[Array]]:
        """Gradients (l2/n) W and (l1/n) sign W, with what they would be for the other tensors."""
        n, parts = len(self.X), self.tensors
        return [l2 / n * p for p in parts], [l1 / n * np.sign(p) for p in parts]

    def possible_mistakes(self) -> Iterator[Mistake]:
        """Mistakes that would change this network's gradient, those at every layer last."""
        n_layers = len(self.names)
        for kind in MISTAKES:
            for layer in [*range(n_layers, 0, -1), 0]:
                if kind == "W for W^T" and layer == n_layers:
                    continue
                yield Mistake(kind, layer)

    # rounding

    def rounding(
        self, dtype: np.dtype[Any], computed: Passed | None = None
    ) -> tuple[list[Array], list[Array], Array]:
        """Bounds on what rounding makes of gradient, deltas and dC/dx, n eps throughout.

        Parameters
        ----------
        dtype : float32 or float64
            In which they are computed.
        computed : (zs, activations), optional
            What the forward pass has come to in that dtype, far shorter than float64. Its errors
            are then known, most often far below n eps; the way back alone is bounded by counting.

        Returns
        -------
        gradient : list of ndarray, W1, b1, ...
        deltas : list of ndarray (n, width of z)
        input_gradient : ndarray (n, n_0)
            Infinite where anything may come out.
        """
        with np.errstate(all="ignore"):
            unit = float(np.finfo(dtype).eps) / 2
            nablas, deltas, of_inputs = self._rounding(unit, computed)
        underflow = 1e3 * float(np.finfo(dtype).tiny)

        def known(bound: Array) -> Array:
            return np.where(np.isfinite(bound), bound + underflow, np.inf)

        return [known(b) for b in nablas], [known(b) for b in deltas], known(of_inputs)

    def _rounding(
        self, unit: float, computed: Passed | None
    ) -> tuple[list[Array], list[Array], Array]:
        n, sizes = len(self.X), [link.size() for link in self.links]
        zs, activations = self.feedforward()
        errors_a, slopes = self._forward_errors(sizes, zs, activations, unit, computed)
        deltas = self.deltas(zs, activations)
        errors = self._backward_errors(sizes, zs, activations, deltas, errors_a, slopes, unit)
        shares = (self.w / self.w.sum())[:, None]
        nablas = []
        for layer, (delta, error) in enumerate(zip(deltas, errors, strict=True)):
            # n additions a term; 4 for the products with w and 1/m
            own = shares * (unit * (n + 4) * np.abs(delta) + error)
            through_a = shares * (np.abs(delta) + error)
            link = sizes[layer]
            nablas += [
                one + other
                for one, other in zip(
                    link.gradient(np.abs(activations[layer]), own),
                    link.gradient_by_input(errors_a[layer], through_a),
                    strict=True,
                )
            ]
        for nabla, l2_part, l1_part in zip(nablas, *self.penalties(self.l2, self.l1), strict=True):
            nabla += 4 * unit * (np.abs(l2_part) + np.abs(l1_part))
        of_inputs = self._error_back(sizes[0], deltas[0], errors[0], unit)
        return nablas, errors, of_inputs

    def _error_back(self, size: Link, delta: Array, error: Array, unit: float) -> Array:
        return size.back(error + unit * (size.terms_back + 2) * np.abs(delta))

    def _forward_errors(
        self,
        sizes: list[Link],
        zs: list[Array],
        activations: list[Array],
        unit: float,
        computed: Passed | None,
    ) -> tuple[list[Array], list[list[tuple[Jacobian, Jacobian]]]]:
        """Errors of a^0 ... a^L; of each layer and row J and how far it may move."""
        slopes, errors_a = [], [np.zeros_like(self.X)]
        for layer, link in enumerate(sizes):
            name, Z = self.names[layer], zs[layer]
            errors = unit * (link.terms + 2) * link.forward(np.abs(activations[layer]))
            errors = errors + link.tangent(errors_a[-1])
            if computed is not None:
                errors = _narrowed(errors, computed[0][layer], Z, unit)
            if functions.activation(name).kind == "softmax":
                largest = Z.max(axis=1, keepdims=True)
                errors = errors + 4 * unit * (largest - Z)  # of c, and of c (z - max z)
            own = 8 * unit * np.abs(activations[layer + 1]) + _least(unit)
            of_rows = []
            for z, error, out in zip(*units(name, Z, errors, own), strict=True):
                J = jacobian(name, z)
                change = moved(name, z, J, error)
                whole = J.size.plus(change)
                out += whole.times(error)
                if J.is_coupled:  # log_softmax, layer_norm: differences of numbers as large as z
                    out += 8 * unit * np.abs(z).max() * whole.largest
                of_rows.append((J, change))
            slopes.append(of_rows)
            if computed is not None:
                own = _narrowed(own, computed[1][layer + 1], activations[layer + 1], unit)
            errors_a.append(own)
        return errors_a, slopes

    def _backward_errors(
        self,
        sizes: list[Link],
        zs: list[Array],
        activations: list[Array],
        deltas: list[Array],
        errors_a: list[Array],
        slopes: list[list[tuple[Jacobian, Jacobian]]],
        unit: float,
    ) -> list[Array]:
        last = len(zs) - 1
        out: list[Array] = []
        for layer in range(last, -1, -1):
            A = activations[layer + 1]
            if layer == last and self._is_canonical():
                scale = functions.activation(self.names[-1]).parameter or 1.0
                total = np.maximum(1.0, np.abs(self.Y).sum(axis=1, keepdims=True))
                size = np.abs(A) + np.abs(self.Y)
                out.insert(0, scale * total * (errors_a[-1] + 8 * unit * size))
                continue
            if layer == last:
                G = self._cost_gradient(A)
                with np.errstate(over="ignore"):
                    near = [
                        self._cost_gradient_near(A + s * errors_a[-1], unit) for s in (1.0, -1.0)
                    ]
                error = np.maximum(np.abs(near[0] - G), np.abs(near[1] - G)) + 8 * unit * np.abs(G)
                error = error + unit * (np.abs(A) + 1)  # r = a - y
            else:
                error = self._error_back(sizes[layer + 1], deltas[layer + 1], out[0], unit)
                G = self.links[layer + 1].back(deltas[layer + 1])

            name, of_rows = self.names[layer], []
            rows = zip(*units(name, zs[layer], A, G, error), slopes[layer], strict=True)
            for z, a, g, above, (J, change) in rows:
                terms = uncancelled(name, z, a, J).transposed(np.abs(g))
                own = change.transposed(np.abs(g))
                own += unit * (8 + 2 * len(a) if J.is_coupled else 8) * terms
                of_rows.append(J.size.plus(change).transposed(above) + own)
            out.insert(0, np.stack(of_rows).reshape(zs[layer].shape))
        return out

    def _is_canonical(self) -> bool:
        pair = functions.activation(self.names[-1]).kind, functions.loss(self.loss).kind
        return pair in functions.CANONICAL

    def _cost_gradient_near(self, a: Array, unit: float) -> Array:
        """g beside a, inside the loss's domain; infinite where a may have rounded to its end."""
        domain = functions.loss(self.loss).domain
        tiny = float(np.finfo(np.float64).tiny)
        if domain != "real":
            a = np.maximum(a, tiny)
        if domain == "unit":
            a = np.where(a > 1 - 2 * unit, 1.0, a)
        return self._cost_gradient(a)


def _narrowed(bound: Array, computed: Array, exact: Array, unit: float) -> Array:
    """The bound on an error, or the error and one more rounding, if that is less.

    A wrong forward pass so widens nothing.
    """
    known = np.abs(computed - exact) + unit * np.abs(exact) + _least(unit)
    return np.fmin(bound, known)


def _least(unit: float) -> float:
    """The smallest normal number of the dtype whose half epsilon is `unit`."""
    return float(np.finfo(np.float32 if unit > 1e-12 else np.float64).tiny)
