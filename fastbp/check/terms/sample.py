"""One sample before a network or anybody's functions: what ladder and recurrence start from.

What belongs here: their arguments, refused or brought to one form, and dC/dz from values of C
alone. What does not: what is held against it (ladder.py, recurrence.py), batches (subject.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fastbp import functions, inputs, reference
from fastbp.check.numeric.callables import Function, Vector, called_twice, copied, lenient, numbers
from fastbp.check.numeric.derivative import Derivative, derivatives, numeric_jacobian
from fastbp.check.numeric.differences import EPSILON
from fastbp.check.paper.links import links_of
from fastbp.check.paper.model import Model, Passed
from fastbp.check.subject import tensors_of, twin_of
from fastbp.check.terms.mistakes import FLOAT64, is_canonical
from fastbp.functions import shown
from fastbp.layers import Dense
from fastbp.network import Network, as_network

Array = np.ndarray


class Sample:
    """One sample and its network, in float64.

    Attributes
    ----------
    names : list of str
        Activations of the layers.
    cost : str
    zs, activations : list of ndarray
        Of each layer; the activations begin with x.
    y : ndarray
        The target as a vector.
    deltas : list of ndarray
        `net.deltas`, which a subclass may have written.
    dtype
        What the network computes in.
    """

    def __init__(self, net: Any, x: Any, y: Any) -> None:
        net = as_network(net)
        self.names = [str(layer.activation) for layer in net.layers]
        self.cost = net.architecture["loss"]
        self.dtype = net.dtype
        self.twin = twin_of(net)
        self.X = _as_sample(x, net.sizes[0], net.dtype)
        self.y, self.Y = _as_target(
            y, net.sizes[-1], functions.loss(self.cost), net.dtype, of_rows=True
        )
        with np.errstate(over="ignore"):
            if not np.isfinite(self.twin.costs(self.X, self.Y)).all():
                raise ValueError("x: expected a sample with a finite cost; got one that is not")
            self.zs, self.activations = (
                [rows[0] for rows in layers] for layers in self.twin.feedforward(self.X)
            )
        given = [np.array(delta, np.float64) for delta in net.deltas(self.X, self.Y)]
        shapes, wanted = [d.shape for d in given], [(1, len(z)) for z in self.zs]
        if shapes != wanted:
            raise ValueError(f"net: expected deltas of shapes {wanted}; got {shapes}")
        self.deltas = [delta[0] for delta in given]
        self.computed = self._computed(net)
        self.links = links_of(self.twin.layers, self.twin.tensors.values())
        self.n_outputs = net.sizes[-1]

    @np.errstate(over="ignore")  # what is not finite narrows nothing
    def _computed(self, net: Network) -> Passed | None:
        """The engine's forward pass in float32, whose errors are so known.

        Of a subclass with deltas of its own nobody knows from which pass they come.
        """
        own = all(getattr(type(net), f) is getattr(Network, f) for f in ("deltas", "feedforward"))
        if self.dtype == FLOAT64 or not own:
            return None
        zs, activations = net.feedforward(self.X)
        return [z.astype(np.float64) for z in zs], [a.astype(np.float64) for a in activations]

    def by_formula(self) -> tuple[list[Array], list[Array]]:
        """delta and J of every layer, by other code than the network's."""
        about = self.twin.architecture
        oracle = reference.Network(
            about["sizes"], about["activation"], about["output"], self.cost, self.twin.parameters
        )
        with np.errstate(all="ignore"):
            deltas = [delta[0] for delta in oracle.deltas(self.X, self.y[None])]
            pairs = zip(self.names, self.zs, strict=True)
            return deltas, [reference.activation_jacobian(name, z) for name, z in pairs]

    def rounding(self, layer: int, dtype: np.dtype[Any], of_engine: bool = True) -> Array:
        """What rounding may make of delta of that layer where it is computed in `dtype`.

        In the network's own: by the engine, or by whatever code.
        """
        twin = self.twin
        model = Model(twin.architecture, list(twin.tensors.values()), self.X, self.y[None])
        computed = self.computed if of_engine and dtype == self.dtype else None
        return model.rounding(dtype, computed)[1][layer][0]

    def cost_of_a(self, a: Array) -> Array:
        """C, (1,); NaN where it has no value."""
        return lenient(lambda a: np.array([reference.cost(self.cost, a, self.y)]), (1,))(a)

    def slopes(self, layer: int) -> Derivative:
        """dC/dz^l from values of C alone, arrays (width of z,).

        They are dC/db^l: b_j enters z_j and nothing else.
        """
        net = _with_bias(self.twin, layer)
        name = f"b{layer + 1}"
        start = next(t.start for t in tensors_of(net, net.n_parameters) if t.name == name)
        b = net.tensors[name]
        here = b.copy()
        middle = net.costs(self.X, self.Y)

        @np.errstate(over="ignore")  # far away much is infinite
        def change(index: Array, values: Array) -> Array:
            return net.perturbed_costs(self.X, self.Y, start + index, values)[:, 0] - middle

        @np.errstate(over="ignore")
        def evaluate(point: Array) -> Array:
            b[...] = point
            C = net.costs(self.X, self.Y)
            b[...] = here
            return C

        noise = 0.0
        if not is_canonical(self.names[-1], self.cost):
            noise = _noise_by_rounding(self.cost_of_a, self.activations[-1])
        return derivatives(change, evaluate, here, noise).of_one


def _with_bias(net: Network, layer: int) -> Network:
    """A network that computes the same and has a bias in that layer, counted from 0."""
    if isinstance(net.layers[layer], Dense):
        return net
    link = links_of(net.layers, net.tensors.values())[layer]
    layers = list(net.layers)
    layers[layer] = Dense(len(link.matrix), layers[layer].activation)
    sizes = [net.sizes[0], *layers]
    other = Network(sizes, loss=net.architecture["loss"], dtype=net.dtype, init="zeros")
    for name, tensor in other.tensors.items():
        if int(name[1:]) != layer + 1:
            tensor[...] = net.tensors[name]
        elif name[0] == "W":
            tensor[...] = link.matrix
    return other


# one sample and its functions, whoever brought them


@dataclass
class Case:
    """What `output_error` examines, and what it has found so far."""

    activation: str | Function
    cost: str | Function
    z: Array
    y: Any  # a vector; what was given where the cost is a callable
    a: Array
    evaluate: Vector  # z -> a, NaN where it fails
    cost_of_a: Vector  # a -> C, (1,), NaN where it fails
    black_box: Derivative  # dC/dz, arrays (n_z,)
    claimed: Array | None = None
    claimant: str = ""
    dtype: np.dtype[Any] = FLOAT64  # of what is claimed
    rounding: Callable[..., Array] | None = None  # of delta, computed in some dtype
    findings: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)  # the verdict begins with the first

    @property
    def named(self) -> tuple[str, str] | None:
        if isinstance(self.activation, str) and isinstance(self.cost, str):
            return self.activation, self.cost
        return None


def of_network(net: Network, x: Any, y: Any) -> Case:
    """The last layer of a network."""
    sample = Sample(net, x, y)
    name, a = sample.names[-1], sample.activations[-1]
    return Case(
        name,
        sample.cost,
        sample.zs[-1],
        sample.y,
        a,
        lenient(partial(reference.activation, name), a.shape),
        sample.cost_of_a,
        sample.slopes(len(sample.zs) - 1),
        sample.deltas[-1],
        "engine",
        sample.dtype,
        partial(sample.rounding, len(sample.zs) - 1),
    )


def of_functions(z: Any, y: Any, activation: Any, cost: Any) -> Case:
    """Anybody's functions, or names."""
    z = numbers(z, "z", FLOAT64)
    if z.ndim != 1 or not z.size:
        raise ValueError(f"z: expected one sample, shape (n,); got {z.shape}")
    for name, value in (("activation", activation), ("cost", cost)):
        if not isinstance(value, str) and not callable(value):
            raise TypeError(f"{name}: expected a name (str) or a callable; got {shown(value)}")
    takes = f"z, shape {z.shape}"
    function: Function = activation
    if isinstance(activation, str):
        known = functions.activation(activation, "activation")
        activation = known.name
        if len(z) % known.z_per_a:
            raise ValueError(
                f"z: expected a multiple of {known.z_per_a} values for {activation!r}; got {len(z)}"
            )
        function = partial(reference.activation, activation)
    a = called_twice(function, "activation", takes, z)
    if a.ndim != 1 or not a.size:
        raise ValueError(f"activation: expected shape (n,) from {takes}; got {a.shape}")
    a = a.astype(np.float64)
    evaluate = lenient(function, a.shape)

    if isinstance(cost, str):
        cost, y = _named_cost(cost, y, activation, len(a))
        cost_of_a = lenient(lambda a: np.array([reference.cost(cost, a, y)]), (1,))
    else:
        y = _free_target(y)
        C = called_twice(cost, "cost", f"a, shape {a.shape}, and y", a, y)
        if C.size != 1:
            raise ValueError(f"cost: expected one number; got shape {C.shape}")
        cost_of_a = lenient(lambda a: np.reshape(cost(a, copied(y)), (1,)), (1,))

    def on_z(z: Array) -> Array:
        if isinstance(activation, str) and isinstance(cost, str):
            return np.array([reference.cost_on_z(activation, cost, z, y)])
        return cost_of_a(evaluate(z))

    C_of_z = lenient(on_z, (1,))
    noise = 0.0 if is_canonical(activation, cost) else _noise_by_rounding(cost_of_a, a)
    if not np.isfinite(C_of_z(z)).all():
        raise ValueError(f"cost: expected a finite number; got {C_of_z(z)[0]:g}")
    slopes = numeric_jacobian(C_of_z, z, noise).of_one
    return Case(activation, cost, z.copy(), y, a, evaluate, cost_of_a, slopes)


def _named_cost(cost: str, y: Any, activation: Any, n_a: int) -> tuple[str, Array]:
    try:
        loss = functions.loss(cost)
        if isinstance(activation, str):
            functions.check_pair(functions.activation(activation), loss)
    except ValueError as error:  # there the argument is called loss
        raise ValueError(str(error).replace("loss:", "cost:", 1)) from None
    if n_a % loss.outputs_per_target:
        raise ValueError(
            f"cost: {loss.kind!r} needs an even number of outputs, means then logarithms of "
            f"variances; got {n_a}"
        )
    return loss.name, _as_target(y, n_a, loss)[0]


def _free_target(y: Any) -> Any:
    """y for a callable cost: a class index stays a whole number, all else is an array."""
    if y is None:
        raise TypeError("y: expected a class index or a target; got None")
    array = numbers(y, "y", FLOAT64)
    if array.ndim == 0 and np.asarray(y).dtype.kind in "iu":
        return int(array)
    return array.copy()


def take_delta(case: Case, delta: Any) -> None:
    """What is claimed: the delta that was given."""
    if callable(delta):
        found = called_twice(delta, "delta", f"z, shape {case.z.shape}, and y", case.z, case.y)
    else:
        found = numbers(delta, "delta").copy()
    if found.shape != case.z.shape:
        raise ValueError(f"delta: expected shape {case.z.shape}, that of z; got {found.shape}")
    if case.rounding is not None:
        case.rounding = partial(case.rounding, of_engine=False)
    case.claimed, case.claimant, case.dtype = found.astype(np.float64), "delta", found.dtype


# arguments


def _noise_by_rounding(cost_of_a: Vector, a: Array) -> float:
    """How much C moves with the last digit of a: near the end of a's range that is much."""
    middle = cost_of_a(a)
    moved = [cost_of_a(a * (1 + s * EPSILON)) for s in (-1, 1)]
    with np.errstate(invalid="ignore"):
        gaps = np.abs(np.stack(moved) - middle)
    return float(np.where(np.isfinite(gaps), gaps, 0.0).max())


def _as_sample(value: Any, n: int, dtype: Any) -> Array:
    """x of one sample as (1, n), from (n,) or (1, n): float64 numbers that `dtype` holds."""
    if value is None:
        raise TypeError("x: expected one sample; got None")
    array = numbers(value, "x", dtype)
    if array.shape not in ((n,), (1, n)):
        raise ValueError(f"x: expected one sample, shape ({n},) or (1, {n}); got {array.shape}")
    return array.reshape(1, n).astype(np.float64)


def _as_target(
    value: Any,
    n_outputs: int,
    loss: functions.Loss,
    dtype: Any = FLOAT64,
    *,
    of_rows: bool = False,
) -> tuple[Array, Array]:
    """The target of one sample as a vector (n,), and as `Network` takes it.

    A whole number is a class; beside a network's row (`of_rows`) so is an array (1,) of it, as in
    `Network.loss`.
    """
    n = loss.n_targets(n_outputs)
    if value is None:
        raise TypeError("y: expected a class index or a target; got None")
    array = numbers(value, "y", dtype)
    if n > 1 and array.shape in ([(), (1,)] if of_rows else [()]):
        label = float(array.reshape(()))
        if label != int(label) or not 0 <= label < n:
            raise ValueError(f"y: expected a class index 0..{n - 1}; got {label:g}")
        labels = np.array([int(label)])
        return inputs.as_dense_targets(labels, 1, n, loss, FLOAT64)[0], labels
    if array.shape not in ((n,), (1, n)) and (n > 1 or array.ndim):
        either = "a class index or " if n > 1 else "a number or "
        raise ValueError(f"y: expected {either}shape ({n},); got {array.shape}")
    Y = array.reshape(1, n).astype(np.float64)
    try:
        inputs.as_targets(Y, 1, n, loss, FLOAT64)
    except ValueError as error:  # of a matrix there
        told = str(error).replace("Y: loss", "y: cost", 1).replace("[0, ", "[", 1)
        raise ValueError(told) from None
    return Y[0], Y
