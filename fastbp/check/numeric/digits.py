"""Derivatives in numbers of 50 and more digits (mpmath), where no rounding is left to argue about.

What belongs here: differences in mpmath's numbers, and a network's loss written in them from the
formulas. What does not: double precision (differences.py, reference/). mpmath is imported when
it is asked for: fastbp's extra `check`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import functions, inputs
from fastbp.check.numeric.differences import EPSILON, Slopes
from fastbp.layers import DECAYS, of as layers_of

if TYPE_CHECKING:
    from fastbp.network import Network

Array = np.ndarray
Numbers = list[Any]  # of mpmath.mpf

DIGITS = 50
LAYER_NORM_EPSILON = 1e-5
SELU_LAMBDA = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


def _mpmath() -> Any:
    try:
        import mpmath
    except ImportError as error:
        from fastbp import hints

        raise hints.missing("method='mpmath' needs", "mpmath", "check") from error
    return mpmath


def _slope(values: Callable[[Any], Any], middle: Any, h: Any) -> tuple[tuple[Any, Any], ...]:
    """Central, left and right derivative with bounds, from values(step) at h, h/2."""
    above = [values(step) for step in (h, h / 2)]
    below = [values(-step) for step in (h, h / 2)]
    found = []
    for quotients, ratio in (
        ([(u - d) / s for u, d, s in zip(above, below, (2 * h, h), strict=True)], 4),
        ([(middle - d) / s for d, s in zip(below, (h, h / 2), strict=True)], 2),
        ([(u - middle) / s for u, s in zip(above, (h, h / 2), strict=True)], 2),
    ):
        coarse, fine = quotients
        value = fine + (fine - coarse) / (ratio - 1)
        found.append((value, abs(fine - coarse) + abs(value) * EPSILON))
    return tuple(found)


def _step(mp: Any, x: Any, digits: int) -> Any:
    """A third of the digits goes into the step: its square is the error, the rest is left."""
    return mp.mpf(10) ** (-(digits // 3)) * max(1, abs(x))


def slopes(f: Callable[[Array], object], x: Array, index: Array, *, digits: int = DIGITS) -> Slopes:
    """Derivatives of f by x[index] from differences in numbers of that many digits.

    Parameters
    ----------
    f : callable
        Is handed an object array (n,) of mpmath.mpf and must compute with such throughout.
    x : ndarray (n,)
    index : ndarray of int (k,)
    digits : int

    Returns
    -------
    Slopes, arrays (k, 1)

    Raises
    ------
    ValueError
        f does not compute with mpmath's numbers.

    Examples
    --------
    >>> import mpmath
    >>> found = slopes(lambda x: mpmath.exp(x[0]), np.array([1.0]), np.array([0]))
    >>> float(found.value[0, 0]), bool(found.bound[0, 0] < 1e-15)
    (2.718281828459045, True)
    """
    mp = _mpmath()
    out = np.empty((6, len(index), 1))
    with mp.workdps(digits):
        exact = np.array([mp.mpf(float(v)) for v in x], dtype=object)

        def at(point: Array) -> Any:
            try:
                result = f(point)
            except Exception as error:
                raise ValueError(
                    "method: 'mpmath' needs an f that computes with mpmath's numbers in object "
                    f"arrays; this one raises {type(error).__name__}: {error}"
                ) from error
            if isinstance(result, np.ndarray) and result.size == 1:
                result = result.item()
            if not isinstance(result, mp.mpf):
                raise ValueError(
                    "method: 'mpmath' needs an f that returns an mpmath.mpf; this one returns "
                    f"{type(result).__name__}, which has lost the digits"
                )
            return result

        middle = at(exact.copy())
        for i, j in enumerate(index):

            def moved(step: Any, j: int = int(j)) -> Any:
                point = exact.copy()
                point[j] = exact[j] + step
                return at(point)

            found = _slope(moved, middle, _step(mp, exact[j], digits))
            out[:, i, 0] = [float(v) for pair in found for v in pair]
    return Slopes(*out)


# a network in many digits


def loss_of(
    net: Network,
    X: Any,
    Y: Any,
    *,
    sample_weight: Any = None,
    l2: float = 0.0,
    l1: float = 0.0,
    decays: Sequence[float] | None = None,
    digits: int = DIGITS,
) -> Any:
    """The loss of `Network.loss`, evaluated from the formulas in mpmath's numbers.

    Returns
    -------
    mpmath.mpf

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network([1, 2], init="zeros", dtype="float64")
    >>> import mpmath
    >>> mpmath.nstr(loss_of(net, [[1.0]], [0], digits=30), 25)  # ln 2
    '0.6931471805599453094172321'
    """
    mp = _mpmath()
    with mp.workdps(digits):
        twin = _Twin(mp, net, X, Y, sample_weight, l2, l1, decays)
        with mp.workdps(digits + twin.lost_digits()):
            value = twin.loss()
        return +value


def network_derivatives(
    net: Network,
    X: Any,
    Y: Any,
    index: Any,
    *,
    sample_weight: Any = None,
    l2: float = 0.0,
    l1: float = 0.0,
    decays: Sequence[float] | None = None,
    digits: int = DIGITS,
) -> tuple[Array, Array]:
    """Derivatives of a network's loss by some of its parameters, from differences in many digits.

    Parameters
    ----------
    net : Network
        Only its architecture and tensors are used.
    X, Y, sample_weight, l2, l1 : as in `Network.loss`
    decays : sequence of float, optional
        What penalties are multiplied by, for each of `net.tensors`; 1 for W, 0 for others.
    index : array_like of int (k,)
        Positions in `net.parameters`.
    digits : int
        Of which two thirds are left in a derivative; where units saturate, as many as their small
        slopes cost are added.

    Returns
    -------
    value, bound : ndarray (k,)
        On a kink the mean of both slopes.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network([1, 1], output="identity", loss="quadratic", dtype="float64",
    ...                      init="zeros")
    >>> value, bound = network_derivatives(net, [[3.0]], [5.0], [0, 1])
    >>> value.tolist(), bool((bound < 1e-13).all())
    ([-15.0, -5.0], True)
    """
    mp = _mpmath()
    n_parameters = sum(tensor.size for tensor in net.tensors.values())
    index = inputs.as_indices(index, "index", n_parameters)
    value, bound = np.empty((2, len(index)))
    with mp.workdps(digits):
        twin = _Twin(mp, net, X, Y, sample_weight, l2, l1, decays)
        with mp.workdps(digits + twin.lost_digits()):
            middle = twin.loss()
            for i, j in enumerate(index):
                place = twin.place(int(j))
                kept = twin.get(place)

                def moved(step: Any, place: tuple[int, int, int] = place, kept: Any = kept) -> Any:
                    twin.set(place, kept + step)
                    changed = twin.loss(place[0])
                    twin.set(place, kept)
                    return changed

                (v, e), _, _ = _slope(moved, middle, _step(mp, kept, digits))
                value[i], bound[i] = float(v), float(e)
    return value, bound


def _dense(a: Numbers, *rows: Numbers) -> Numbers:
    *W, b = rows
    return [sum((a_k * row[j] for a_k, row in zip(a, W, strict=True)), b[j]) for j in range(len(b))]


def _scale(a: Numbers, s: Numbers) -> Numbers:
    return [a_j * s_j for a_j, s_j in zip(a, s, strict=True)]


LINKS: dict[str, Callable[..., Numbers]] = {"dense": _dense, "scale": _scale}  # z of a and rows


class _Twin:
    """A network's loss in mpmath's numbers, sample by sample."""

    def __init__(
        self,
        mp: Any,
        net: Network,
        X: Any,
        Y: Any,
        sample_weight: Any,
        l2: float,
        l1: float,
        decays: Sequence[float] | None,
    ) -> None:
        self.mp = mp
        about = net.architecture
        dtype = np.dtype(about["dtype"])
        sizes = about["sizes"]
        layers = layers_of(about)
        self.activations = [functions.activation(layer.activation) for layer in layers]
        self.cost = functions.loss(about["loss"])
        X = inputs.as_matrix(X, "X", sizes[0], dtype)
        n_targets = self.cost.n_targets(sizes[-1])
        dense = inputs.as_dense_targets(Y, len(X), n_targets, self.cost, dtype)
        weight = inputs.as_weight(sample_weight, len(X), dtype)
        self.X = [self._exact(row) for row in X]
        self.Y = [self._exact(row) for row in dense]
        self.w = self._exact(np.ones(len(X)) if weight is None else weight)
        self.l2, self.l1 = mp.mpf(float(l2)), mp.mpf(float(l1))
        self.links = [LINKS[layer.link] for layer in layers]
        # rows of each layer's tensors, the weights from each unit, then the biases; and what
        # penalties of each row are multiplied by
        self.layers: list[list[Numbers]] = [[] for _ in layers]
        self.decays: list[list[float]] = [[] for _ in layers]
        usual = [DECAYS[name[0]] for name in net.tensors]
        for (name, tensor), decay in zip(net.tensors.items(), decays or usual, strict=True):
            rows = [self._exact(row) for row in np.atleast_2d(tensor)]
            self.layers[int(name[1:]) - 1] += rows
            self.decays[int(name[1:]) - 1] += [decay] * len(rows)
        self._kept: list[list[Numbers]] = []

    def _exact(self, row: Array) -> Numbers:
        return [self.mp.mpf(float(v)) for v in row]

    def place(self, flat: int) -> tuple[int, int, int]:
        """Layer, row, column of a parameter."""
        for l, rows in enumerate(self.layers):
            width = len(rows[0])
            if flat < len(rows) * width:
                return l, flat // width, flat % width
            flat -= len(rows) * width
        raise AssertionError(flat)

    def get(self, place: tuple[int, int, int]) -> Any:
        l, row, column = place
        return self.layers[l][row][column]

    def set(self, place: tuple[int, int, int], value: Any) -> None:
        l, row, column = place
        self.layers[l][row][column] = value

    def loss(self, changed: int | None = None) -> Any:
        """The loss; `changed`: only this layer differs from the last call without `changed`."""
        mp = self.mp
        if changed is None:
            self._kept = [self._forward(x, 0)[1] for x in self.X]
        start = changed or 0
        total = mp.mpf(0)
        for kept, y, w in zip(self._kept, self.Y, self.w, strict=True):
            a = kept[-1] if changed is None else self._forward(kept[start], start)[1][-1]
            total += w * cost(mp, self.cost.kind, self.cost.parameter, a, y)
        decayed = [
            (decay, v)
            for rows, decays in zip(self.layers, self.decays, strict=True)
            for row, decay in zip(rows, decays, strict=True)
            for v in row
            if decay
        ]
        n = len(self.X)
        value = total / sum(self.w)
        if self.l2:
            value += self.l2 / (2 * n) * sum(decay * v * v for decay, v in decayed)
        if self.l1:
            value += self.l1 / n * sum(decay * abs(v) for decay, v in decayed)
        return value

    def _forward(self, a: Numbers, start: int) -> tuple[list[Numbers], list[Numbers]]:
        """z and a from layer `start` on, whose input is a."""
        zs, activations = [], [a]
        for l in range(start, len(self.layers)):
            f = self.activations[l]
            z = self.links[l](activations[-1], *self.layers[l])
            zs.append(z)
            activations.append(activation(self.mp, f.kind, f.parameter, z))
        return zs, activations

    def lost_digits(self) -> int:
        """How many digits the smallest slopes of saturated units cost, over all layers."""
        most = 0.0
        for x in self.X:
            lost = 0.0
            zs, _ = self._forward(x, 0)
            for z, f in zip(zs, self.activations, strict=True):
                lost += max(_exponent(f.kind, f.parameter, float(v)) for v in z)
            most = max(most, lost)
        return int(most / np.log(10)) + 10


def _exponent(kind: str, parameter: float, z: float) -> float:
    """A bound on -ln of a slope at z; of softmax, whose spread is twice the largest z."""
    size = abs(z)
    if kind == "gelu":
        return z * z / 2 + size
    if kind == "gelu_tanh":
        return 2 * (size + 0.045 * size**3)
    return 2 * size * max(1.0, parameter if kind == "softmax" else 1.0)


def activation(mp: Any, kind: str, parameter: float, z: Numbers) -> Numbers:
    """a = sigma(z) as the formulas say it."""
    one = mp.mpf(1)
    p = mp.mpf(parameter)

    def sigmoid(v: Any) -> Any:
        return one / (one + mp.exp(-v))

    def elu(v: Any, alpha: Any) -> Any:
        return v if v > 0 else alpha * (mp.exp(v) - 1)

    if kind == "softmax":
        e = [mp.exp(p * v) for v in z]
        total = sum(e)
        return [v / total for v in e]
    if kind == "log_softmax":
        log_total = mp.log(sum(mp.exp(v) for v in z))
        return [v - log_total for v in z]
    if kind == "layer_norm":
        n = len(z)
        mean = sum(z) / n
        s = mp.sqrt(sum((v - mean) ** 2 for v in z) / n + mp.mpf(LAYER_NORM_EPSILON))
        return [p * (v - mean) / s for v in z]
    if kind == "maxout":
        n_pieces = int(parameter)
        return [max(z[k : k + n_pieces]) for k in range(0, len(z), n_pieces)]
    if kind == "glu":
        half = len(z) // 2
        return [u * sigmoid(v) for u, v in zip(z[:half], z[half:], strict=True)]
    of: dict[str, Callable[[Any], Any]] = {
        "identity": lambda v: v,
        "sigmoid": sigmoid,
        "tanh": mp.tanh,
        "relu": lambda v: max(v, mp.mpf(0)),
        "leaky_relu": lambda v: v if v > 0 else p * v,
        "elu": lambda v: elu(v, p),
        "selu": lambda v: mp.mpf(SELU_LAMBDA) * elu(v, mp.mpf(SELU_ALPHA)),
        "gelu": lambda v: v * mp.erfc(-v / mp.sqrt(2)) / 2,
        "gelu_tanh": lambda v: (
            v * sigmoid(2 * mp.sqrt(2 / mp.pi) * (v + mp.mpf("0.044715") * v**3))
        ),
        "silu": lambda v: v * sigmoid(v),
        "mish": lambda v: v * mp.tanh(mp.log(1 + mp.exp(v))),
        "softplus": lambda v: mp.log(1 + mp.exp(v)),
        "softsign": lambda v: v / (1 + abs(v)),
        "hardtanh": lambda v: min(max(v, -one), one),
        "exp": mp.exp,
    }
    return [of[kind](v) for v in z]


def cost(mp: Any, kind: str, parameter: float, a: Numbers, y: Numbers) -> Any:
    """C of one sample as the formulas say it."""
    p = mp.mpf(parameter)

    def y_log(y_k: Any, x: Any) -> Any:
        return mp.mpf(0) if y_k == 0 else y_k * mp.log(x)

    if kind == "gaussian_nll":
        m = len(y)
        return sum(
            (s + (y_k - mu) ** 2 * mp.exp(-s)) / 2
            for mu, s, y_k in zip(a[:m], a[m:], y, strict=True)
        )
    n = len(y)
    of: dict[str, Callable[[Any, Any], Any]] = {
        "quadratic": lambda a, y: (a - y) ** 2 / 2,
        "mse": lambda a, y: p * (a - y) ** 2 / n,
        "mae": lambda a, y: abs(a - y),
        "huber": lambda a, y: (a - y) ** 2 / 2 if abs(a - y) <= p else p * (abs(a - y) - p / 2),
        "log_cosh": lambda a, y: p**2 * mp.log(mp.cosh((a - y) / p)),
        "binary_cross_entropy": lambda a, y: -y_log(y, a) - y_log(1 - y, 1 - a),
        "cross_entropy": lambda a, y: -y_log(y, a),
        "kl": lambda a, y: y_log(y, y) - y_log(y, a),
        "hinge": lambda a, y: max(mp.mpf(0), 1 - y * a),
        "squared_hinge": lambda a, y: max(mp.mpf(0), 1 - y * a) ** 2,
        "poisson": lambda a, y: a - y_log(y, a),
        "pinball": lambda a, y: max(p * (y - a), (p - 1) * (y - a)),
    }
    return sum(of[kind](a_k, y_k) for a_k, y_k in zip(a, y, strict=True))
