"""What is checked: a network, or any object with `parameters`, `loss` and `gradient`.

What belongs here: one face for both, through public names only; parameters by tensor; losses with
one parameter changed. What does not: derivatives (differences.py), what a right gradient is.
"""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, SupportsFloat, TypeGuard

import numpy as np

from fastbp import factors, functions, inputs
from fastbp.check.numeric.budget import Budget
from fastbp.check.numeric.differences import EPSILON, NOISE_STEPS, noise_of
from fastbp.check.paper.links import links_of
from fastbp.layers import DECAYS
from fastbp.network import Network
from fastbp.tabular.names import by_name

Array = np.ndarray

# Options of a loss that only the loss of all rows at once knows: a mask goes by the row.
FROZEN = {"dropout", "ignore_missing"}
NONE = np.empty(0, int)
MOST_NUMBERS = 2**21  # that are held at once, however many rows X has
MOST_ROWS = 4096  # of X with one input changed each
SCALES = 1e-12, 1e12  # an input beyond that says nothing of the loss
SECONDS_A_ROW = 0.03  # of a time limit, for what is worked out row by row
FLOPS_A_CALL = 2e8  # of one call into the engine: between calls Ctrl-C is heard


@dataclass(frozen=True)
class Tensor:
    """A part of the flat parameters: W1, b1, ..."""

    name: str
    start: int
    shape: tuple[int, ...]

    @property
    def layer(self) -> int:
        """The number in its name."""
        return int(self.name[1:])

    @property
    def size(self) -> int:
        return int(np.prod(self.shape))

    @property
    def part(self) -> slice:
        return slice(self.start, self.start + self.size)


class Differentiable(Protocol):
    """Anybody's network: its `gradient` is held against its `loss`."""

    @property
    def parameters(self) -> Array: ...

    @property
    def loss(self) -> Callable[..., SupportsFloat]: ...


def tensors_of(net: Any, n_parameters: int) -> list[Tensor]:
    """W1, b1, W2, ... where the object has weights and biases that make up its parameters."""
    found: list[Tensor] = []
    at = 0
    for name, array in _named(net):
        found.append(Tensor(name, at, np.shape(array)))
        at += np.size(array)
    if found and at == n_parameters:
        return found
    return [Tensor("parameters", 0, (n_parameters,))]


def _named(net: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(net, Network):
        yield from net.tensors.items()
        return
    weights, biases = getattr(net, "weights", None), getattr(net, "biases", None)
    if isinstance(weights, Sequence) and isinstance(biases, Sequence):
        for layer, pair in enumerate(zip(weights, biases, strict=False), 1):
            yield from zip((f"W{layer}", f"b{layer}"), pair, strict=True)


def twin_of(net: Network) -> Network:
    """The same network in float64, of the class itself: no method of a subclass is its own."""
    twin = Network(**{**net.architecture, "dtype": "float64"}, init="zeros")
    twin.parameters = net.parameters
    return twin


def _root_mean_square(x: Array) -> float:
    largest = float(np.abs(x).max())  # squares of its shares are in range
    return largest * float(np.sqrt(np.mean((x / largest) ** 2))) if largest else 0.0


class Subject:
    """Losses of `net` on X and Y with one parameter changed, and how exact they are.

    Attributes
    ----------
    parameters : ndarray (n_parameters,), float64, a copy
    tensors : list of Tensor
    noise : ndarray (m,)
        Error of each component of a change.
    shares : ndarray (m,)
        With which the components add up to the loss.
    """

    parameters: Array
    tensors: list[Tensor]
    noise: Array
    shares: Array

    def components(self, index: Array, values: Array) -> Array:
        """Changes (k, m) of the parts of the loss where parameters[index] take `values`."""
        raise NotImplementedError

    def penalty(self, index: Array, values: Array) -> Array:
        """Changes (k,) of what is not in the components."""
        return np.zeros(len(index))

    def changes(self, index: Array, values: Array, parts: Array = NONE) -> Array:
        """Changes (k, 1 + len(parts)) of the loss, and of some of its components."""
        out = np.empty((len(index), 1 + len(parts)))
        block = max(1, MOST_NUMBERS // len(self.shares))
        for at in range(0, len(index), block):
            these = slice(at, at + block)
            change = self.components(index[these], values[these])
            out[these, 0] = change @ self.shares + self.penalty(index[these], values[these])
            out[these, 1:] = change[:, parts]
        return out

    def moved(self, parameters: Array) -> Array:
        """The components (m,) at other parameters, less those at the network's own."""
        raise NotImplementedError

    def natural_scale(self) -> Array:
        """For each parameter the length that moves some z by 1; 1 where that is not known."""
        return np.ones_like(self.parameters)

    @property
    def noise_of_sum(self) -> float:
        """Error of a change of the loss: roundings of the components are independent."""
        return float(np.sqrt(np.sum((self.shares * self.noise) ** 2)))


class NetworkSubject(Subject):
    """A `Network`: its float64 twin answers for many parameters in one call."""

    def __init__(
        self,
        net: Network,
        X: Any,
        Y: Any,
        sample_weight: Any,
        l2: float,
        l1: float,
        decays: Any = None,
    ) -> None:
        # what the network computes with: numbers of its own dtype
        X = by_name(X, "X", net.columns)
        self.X = inputs.as_matrix(X, "X", net.sizes[0], net.dtype).astype(np.float64)
        n = len(self.X)
        loss = functions.loss(net.architecture["loss"])
        n_columns = loss.n_targets(net.sizes[-1])
        self.Y = inputs.as_dense_targets(Y, n, n_columns, loss, net.dtype).astype(np.float64)
        weight = inputs.as_weight(sample_weight, n, net.dtype)
        self.sample_weight = np.ones(n) if weight is None else weight.astype(np.float64)
        self.l2, self.l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
        self.twin = twin_of(net)
        self.parameters = self.twin.parameters.copy()
        self.tensors = tensors_of(self.twin, self.parameters.size)
        self.links = links_of(self.twin.layers, self.twin.tensors.values())
        self.decays = penalised([tensor.name for tensor in self.tensors], decays)
        self.decay = np.zeros(self.parameters.size)
        for tensor, decay in zip(self.tensors, self.decays, strict=True):
            self.decay[tensor.part] = decay
        self.base = self.costs(self.X, self.Y)
        self.has_kinks = self.sides(self.X).shape[1] > 0
        if not np.isfinite(self.base).all():
            raise ValueError(
                f"net: expected finite costs; got {self.base[~np.isfinite(self.base)][0]} for row "
                f"{int(np.argmin(np.isfinite(self.base)))} of X"
            )
        self.shares = self.sample_weight / self.sample_weight.sum()
        # the twin takes parameters as they are: where its costs stand still they do
        noise = noise_of(self.moved, self.parameters, self._own_scale(), steps=NOISE_STEPS[:1])
        self.noise = np.maximum(noise, self._least_noise())

    @np.errstate(over="ignore")  # far away much is infinite
    def _least_noise(self) -> Array:
        """Rounding of a cost itself: it does not show where the cost stands still."""
        terms = np.abs(self.base)
        if not functions.loss(self.twin.architecture["loss"]).of_residual:
            z = self.twin.feedforward(self.X)[0][-1]
            terms = terms + np.maximum(1.0, np.abs(z)).sum(axis=1)  # which cancel in C
        return 2 * EPSILON * terms

    def _own_scale(self) -> Array:
        scale = np.empty_like(self.parameters)
        for tensor in self.tensors:
            values = self.parameters[tensor.part]
            scale[tensor.part] = _root_mean_square(values) or 1.0
        return scale

    @np.errstate(over="ignore")
    def costs(self, X: Array, Y: Array) -> Array:
        """C_x of the twin, in calls short enough for Ctrl-C."""
        m = self._rows_a_call()
        parts = [self.twin.costs(X[at : at + m], Y[at : at + m]) for at in range(0, len(X), m)]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _rows_a_call(self) -> int:
        return max(1, int(FLOPS_A_CALL / (2 * self.parameters.size)))

    def moved(self, parameters: Array) -> Array:
        with self.at(parameters):
            return self.costs(self.X, self.Y) - self.base

    @contextlib.contextmanager
    def at(self, parameters: Array) -> Iterator[None]:
        """Have the twin at other parameters for a while."""
        self.twin.parameters[...] = parameters
        try:
            yield
        finally:
            self.twin.parameters[...] = self.parameters

    @np.errstate(over="ignore")
    def sides(self, X: Array) -> Array:
        """On which side of its kinks each unit is, and each output of the loss: (n, units)."""
        zs, activations = self.twin.feedforward(X)
        found = []
        for z, layer in zip(zs, self.twin.layers, strict=True):
            f = functions.activation(layer.activation)
            kind, p = f.kind, f.parameter
            if kind in ("relu", "leaky_relu", "selu", "elu"):
                found.append((z > 0).astype(int))
            elif kind == "hardtanh":
                found.append((z > -1).astype(int) + (z >= 1))
            elif kind == "maxout":
                found.append(z.reshape(len(z), -1, int(p)).argmax(axis=2))
        loss, a = functions.loss(self.twin.architecture["loss"]), activations[-1]
        if loss.of_residual and loss.scale_power == 1:  # |a - y|, whatever its sides weigh
            found.append((a > self.Y).astype(int))
        elif loss.kind == "hinge":
            found.append((a * self.Y < 1).astype(int))
        return np.hstack(found) if found else np.zeros((len(X), 0), int)

    @np.errstate(over="ignore")
    def components(self, index: Array, values: Array) -> Array:
        n, m = len(self.X), self._rows_a_call()
        out = np.empty((len(index), n))
        k = max(1, m // n)
        for at in range(0, len(index), k):
            part = slice(at, at + k)
            for row in range(0, n, m):
                rows = slice(row, row + m)
                out[part, rows] = self.twin.perturbed_costs(
                    self.X[rows], self.Y[rows], index[part], values[part]
                )
        return out - self.base

    def penalty(self, index: Array, values: Array) -> Array:
        if not (self.l2 or self.l1):
            return np.zeros(len(index))
        n, old = len(self.X), self.parameters[index]
        change = self.l2 / (2 * n) * (values - old) * (values + old)
        change += self.l1 / n * (np.abs(values) - np.abs(old))
        return np.where(self.decay[index] != 0, self.decay[index] * change, 0.0)

    def input_changes(self, index: Array, values: Array) -> Array:
        """Changes (k,) of C_x where X.ravel()[index] takes `values`."""
        out = np.empty(len(index))
        row, column = np.divmod(index, self.X.shape[1])
        for at in range(0, len(index), MOST_ROWS):
            part = slice(at, at + MOST_ROWS)
            X = self.X[row[part]]
            X[np.arange(len(X)), column[part]] = values[part]
            out[part] = self.costs(X, self.Y[row[part]]) - self.base[row[part]]
        return out

    @np.errstate(over="ignore")
    def natural_scale(self) -> Array:
        scales = []
        for link, a in zip(self.links, self.activations, strict=False):
            largest = np.abs(a).max(axis=0)
            scales += link.lengths(np.where(largest > 0, largest, 1.0))
        return np.clip(np.concatenate([scale.ravel() for scale in scales]), *SCALES)

    @functools.cached_property
    def activations(self) -> list[Array]:
        """a^0, ..., a^L of the twin."""
        return self.twin.feedforward(self.X)[1]

    def probe(self, layer: int) -> tuple[Tensor, Array]:
        """The tensor whose gradient, of one sample, is delta of that layer times what is given too.

        Both (n, width of z): the factor is 1 for biases, a for scales.
        """
        link = self.links[layer - 1]
        name = f"{link.probe}{layer}"
        tensor = next(t for t in self.tensors if t.name == name)
        factor = link.probed(self.activations[layer - 1])
        return tensor, np.broadcast_to(factor, (len(self.X), tensor.size))


class ObjectSubject(Subject):
    """Anybody's object with `parameters` (flat, writable), `loss` and `gradient`."""

    def __init__(self, net: Any, X: Any, Y: Any, options: dict[str, Any]) -> None:
        for name in ("parameters", "loss"):
            if not hasattr(net, name):
                raise TypeError(
                    "net: expected a fastbp.Network, or an object with parameters, loss and "
                    f"gradient; got {type(net).__name__}, which has no {name}"
                )
        self.net, self.X, self.Y, self.options = net, X, Y, options
        own = net.parameters
        if not (isinstance(own, np.ndarray) and own.ndim == 1 and own.dtype.kind == "f"):
            raise TypeError(
                f"net: expected parameters as a one-dimensional array of floats; got {own!r:.60}"
            )
        self.parameters = own.astype(np.float64)
        self.tensors = tensors_of(net, own.size)
        self.shares = np.ones(1)
        self.base = self._loss()
        if not np.isfinite(self.base):
            raise ValueError(f"net: expected a finite loss; got {self.base}")
        if self._loss() != self.base:
            raise ValueError("net: expected the same loss each time; a repeat gave other bits")
        scale = np.full(own.size, _root_mean_square(self.parameters) or 1.0)
        noise = noise_of(self.moved, self.parameters, scale)
        self.noise = np.maximum(noise, EPSILON * abs(self.base))

    def _loss(self) -> float:
        with np.errstate(all="ignore"):  # far away much may overflow
            value = np.asarray(self.net.loss(self.X, self.Y, **self.options))
        if value.size != 1 or value.dtype.kind not in "fiu":
            raise ValueError(f"net: expected a loss that is one number; got {value!r:.60}")
        return float(value.reshape(()))

    def moved(self, parameters: Array) -> Array:
        try:
            self.net.parameters[...] = parameters
            return np.array([self._loss() - self.base])
        finally:
            self.net.parameters[...] = self.parameters

    def components(self, index: Array, values: Array) -> Array:
        own, out = self.net.parameters, np.empty((len(index), 1))
        try:
            for i, (at, value) in enumerate(zip(index, values, strict=True)):
                own[at] = value
                out[i] = self._loss() - self.base
                own[at] = self.parameters[at]
        finally:
            own[...] = self.parameters
        return out


def has_own_loss(net: object, options: dict[str, Any]) -> TypeGuard[Network]:
    """Whether the loss is that of `Network`, a mean over rows."""
    own = isinstance(net, Network) and type(net).loss is Network.loss
    return own and not options.keys() & FROZEN


def rows_in_time(
    net: Network,
    X: Any,
    Y: Any,
    options: dict[str, Any],
    budget: Budget,
    n_losses: int,
    seed: int,
) -> tuple[Array, Array, dict[str, Any], int]:
    """X, Y and options of so many rows, drawn at random, that there is time for their losses.

    Last the number of all rows.
    """
    X = inputs.as_matrix(X, "X", net.sizes[0], net.dtype)
    n, loss = len(X), functions.loss(net.architecture["loss"])
    dense, labels = inputs.as_targets(Y, n, loss.n_targets(net.sizes[-1]), loss, net.dtype)
    Y = dense if labels is None else labels
    weight = inputs.as_weight(options.get("sample_weight"), n, net.dtype)
    candidates = np.arange(n) if weight is None else np.flatnonzero(weight)
    few = candidates[:16]
    X_few, Y_few = X[few], Y[few]
    for _ in range(2):  # the first call also warms up
        began = time.monotonic()
        net.costs(X_few, Y_few)
        seconds = time.monotonic() - began
    k = budget.left / (n_losses * seconds / len(few) + SECONDS_A_ROW)
    if k >= len(candidates):
        return X, Y, options, n
    rows = np.sort(np.random.default_rng(seed).choice(candidates, max(1, int(k)), replace=False))
    if weight is not None:
        options = {**options, "sample_weight": weight[rows]}
    return X[rows], Y[rows], options, n


def penalised(names: Sequence[str], decays: Any) -> list[float]:
    """What penalties of each tensor are multiplied by."""
    return factors.decays_of(decays, {name: DECAYS.get(name[0], 0.0) for name in names})


def subject(net: Any, X: Any, Y: Any, options: dict[str, Any]) -> Subject:
    """The network's own face where its loss is that of `Network`; else through `net.loss`."""
    if has_own_loss(net, options):
        get = options.get
        return NetworkSubject(
            net, X, Y, get("sample_weight"), get("l2", 0.0), get("l1", 0.0), get("decays")
        )
    return ObjectSubject(net, X, Y, options)
