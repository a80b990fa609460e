"""The output error, rung by rung: `output_error`.

What belongs here: delta_j = dC/dz_j (1) = sum_k dC/da_k da_k/dz_j (2) = dC/da_j da_j/dz_j (3)
= dC/da_j sigma'(z_j) (4) for one sample, and what it means where two rungs part. What does not:
hidden layers (recurrence.py), the probe of an activation (structure.py), pictures (pictures.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from fastbp import functions, reference
from fastbp.check.report import Result, Table, number
from fastbp.check.structure import (
    F64,
    Derivative,
    Vector,
    about_symmetry,
    called_twice,
    changes,
    collapses_by_name,
    dependence,
    derivatives,
    is_off_diagonal,
    lenient,
    name_of,
    numbers,
    numeric_jacobian,
    why_the_sum,
)
from fastbp.network import Network

Array = np.ndarray
Function = Callable[..., Any]

RELATIVE = {8: 1e-6, 4: 1e-4}  # of the largest |delta|, by bytes of the numbers that are judged
ROUNDINGS = 32  # of numbers of order 1, which no code avoids
MOST_PROBED = 64  # z_j that are changed to see which a_k change; an even selection of more
SHOWN = 3  # places named for each thing that is wrong
WORST_BOUND = 1e-3  # of the largest |delta|: differences that know less judge nothing


# what is compared, and how far apart is too far


@dataclass(frozen=True)
class Judge:
    """Values that are right: between `low` and `high`, `allowance` more on either side."""

    low: Array
    high: Array
    allowance: Array

    def wrong(self, value: Array) -> Array:
        """Where a value is none of these (bool); NaN is wrong."""
        with np.errstate(invalid="ignore"):
            return ~((value >= self.low - self.allowance) & (value <= self.high + self.allowance))


def jitters(z: Array, epsilon: float) -> list[Array]:
    """z with its last digits changed, in some directions."""
    d = ROUNDINGS * epsilon * max(1.0, float(np.abs(z).max()))
    signs = np.where(np.arange(len(z)) % 2, 1.0, -1.0)
    return [z + d, z - d, z + d * signs, z - d * signs]


def spread(values: list[Array], centre: Array) -> Array:
    """Largest distance from `centre`, element by element; infinite where one is NaN."""
    with np.errstate(invalid="ignore", over="ignore"):
        gaps = np.abs(np.stack(values) - centre)
    return np.where(np.isnan(gaps), np.inf, gaps).max(axis=0)


def rounding_of_output_error(
    activation: str, cost: str, z: Array, y: Array, epsilon: float
) -> Array:
    """How far delta^L moves when z and a are changed in their last digits: what rounding costs."""
    with np.errstate(all="ignore"):
        delta = reference.output_error(activation, cost, z, y)
        moved = [reference.output_error(activation, cost, p, y) for p in jitters(z, epsilon)]
        total = spread(moved, delta)
        if not is_canonical(activation, cost):
            a = reference.activation(activation, z)
            g = reference.cost_gradient(cost, a, y)
            near = [reference.cost_gradient(cost, a * (1 + s * epsilon), y) for s in (-4, -2, 2, 4)]
            moved_g = spread(near, g)
            J = np.abs(reference.activation_jacobian(activation, z))
            total = total + np.where(J > 0, J * moved_g[:, None], 0.0).sum(axis=0)
    return np.where(np.isnan(total), np.inf, total)


def identified(
    claimed: Array,
    truth: Array,
    candidates: list[tuple[Array, str]],
    *,
    what: str,
    n_outputs: int,
    relative: float,
) -> str:
    """The mistake that gives these numbers, to stand after "is"; "" where none is known.

    Parameters
    ----------
    claimed, truth : ndarray (n,)
    candidates : list of (what a mistake gives (n,), its name)
    what : str
        Name of what `truth` is.
    n_outputs : int
        A number whose factor is named.
    relative : float
        How well the numbers must agree.

    Examples
    --------
    >>> import numpy as np
    >>> identified(np.array([3.0, -6.0]), np.array([1.0, -2.0]), [], what="delta", n_outputs=3,
    ...            relative=1e-6)
    'exactly 3 times delta, 3 = number of outputs'
    """
    scale = float(np.abs(truth).max())
    if not (np.isfinite(claimed).all() and np.isfinite(scale)):
        return ""
    for candidate, name in [*candidates, (-truth, f"-{what}: the sign is wrong")]:
        if candidate.shape != claimed.shape or not np.isfinite(candidate).all():
            continue
        size = max(float(np.abs(candidate).max()), scale)
        near = np.abs(claimed - candidate).max() <= 10 * relative * size
        other = np.abs(candidate - truth).max() > 30 * relative * size
        if near and other:
            return name
    strong = np.abs(truth) > 1e-3 * scale
    if not strong.any():
        return ""
    ratio = claimed[strong] / truth[strong]
    r = float(np.median(ratio))
    if np.abs(claimed - r * truth).max() > 10 * relative * max(1.0, abs(r)) * scale:
        return ""
    if r == 0 or np.abs(ratio - r).max() > 10 * relative * abs(r):
        return "0" if not claimed.any() else ""
    known = {float(n_outputs): "number of outputs", 1 / n_outputs: "1 / number of outputs"}
    for value, meaning in known.items():
        if n_outputs > 1 and abs(r - value) <= 10 * relative * value:
            return f"exactly {number(value)} times {what}, {number(value)} = {meaning}"
    where = "at every neuron" if strong.sum() > 1 else "at the only neuron that counts"
    return f"{number(r)} times {what} {where}"


def parts_where(wrong: Array, text: Callable[[int], str]) -> str:
    """text(j) of the first places, joined."""
    places = np.flatnonzero(wrong)
    shown = "; ".join(text(int(j)) for j in places[:SHOWN])
    return shown + (f"; and {len(places) - SHOWN} more" if len(places) > SHOWN else "")


# arguments


def as_sample(value: Any, n: int, dtype: Any) -> Array:
    """x of one sample as (1, n), from (n,) or (1, n): float64 numbers that `dtype` holds."""
    if value is None:
        raise TypeError("x: expected one sample; got None")
    array = numbers(value, "x", dtype)
    if array.shape not in ((n,), (1, n)):
        raise ValueError(f"x: expected one sample, shape ({n},) or (1, {n}); got {array.shape}")
    return array.reshape(1, n).astype(np.float64)


def as_target(
    value: Any, n_targets: int, loss: functions.Loss, dtype: Any = F64
) -> tuple[Array, Array]:
    """The target of one sample as a vector (n_targets,), and as `Network` takes it."""
    if value is None:
        raise TypeError("y: expected a class index or a target; got None")
    array = numbers(value, "y", dtype)
    if n_targets > 1 and array.size == 1 and array.ndim <= 1:
        label = float(array.reshape(()))
        if label != int(label) or not 0 <= label < n_targets:
            raise ValueError(f"y: expected a class index 0..{n_targets - 1}; got {label:g}")
        y = np.zeros(n_targets)
        y[int(label)] = 1.0
        return y, np.array([int(label)])
    if array.shape not in ((n_targets,), (1, n_targets)) and (n_targets > 1 or array.ndim):
        either = "a class index or " if n_targets > 1 else "a number or "
        raise ValueError(f"y: expected {either}shape ({n_targets},); got {array.shape}")
    y = array.reshape(n_targets).astype(np.float64)
    fits = {
        "in [0, 1]": (y >= 0) & (y <= 1),
        "at least 0": y >= 0,
        "-1 or 1": np.abs(y) == 1,
    }.get(loss.targets)
    if fits is not None and not fits.all():
        j = int(np.argmin(fits))
        raise ValueError(
            f"y: cost {loss.kind!r} expects targets {loss.targets}; got {y[j]:g} at [{j}]"
        )
    return y, y.reshape(1, -1)


def as_network(value: Any) -> tuple[Network, Network]:
    """The network that was given, and a float64 twin of the library's own class."""
    if not isinstance(value, Network):
        raise TypeError(f"net: expected a fastbp.Network; got {type(value).__name__}")
    twin = Network(**{**value.architecture, "dtype": "float64"}, init="zeros")
    twin.parameters = value.parameters
    return value, twin


def deltas_of(net: Network, X: Array, Y: Array) -> list[Array]:
    """`net.deltas` of one sample, which a subclass may have written: float64, one a layer."""
    deltas = [np.array(delta, np.float64) for delta in net.deltas(X, Y)]
    shapes, wanted = [d.shape for d in deltas], [(1, b.size) for b in net.biases]
    if shapes != wanted:
        raise ValueError(f"net: expected deltas of shapes {wanted}; got {shapes}")
    return [delta[0] for delta in deltas]


def n_targets_of(loss: functions.Loss, n_outputs: int) -> int:
    return n_outputs // 2 if loss.kind == "gaussian_nll" else n_outputs


def bias_slopes(twin: Network, X: Array, Y: Array, layer: int, noise_of_value: float) -> Derivative:
    """dC/db^l = dC/dz^l of one sample from values of C alone, arrays (width of z, 1).

    b_j enters z_j and nothing else, so that the two derivatives are one.
    """
    shapes = [(W.size, b.size) for W, b in zip(twin.weights, twin.biases, strict=True)]
    at = sum(map(sum, shapes[:layer])) + shapes[layer][0]
    b = twin.biases[layer]
    here = b.copy()
    middle = twin.costs(X, Y)

    def change(index: Array, values: Array) -> Array:
        return twin.perturbed_costs(X, Y, at + index, values)[:, 0] - middle

    def evaluate(point: Array) -> Array:
        b[...] = point
        C = twin.costs(X, Y)
        b[...] = here
        return C

    return derivatives(change, evaluate, here, noise_of_value)


def noise_by_rounding(cost_of_a: Vector, a: Array) -> float:
    """How much C moves with the last digit of a: near the end of a's range that is much."""
    epsilon = float(np.finfo(np.float64).eps)
    middle = cost_of_a(a)
    moved = [cost_of_a(a * (1 + s * epsilon)) for s in (-1, 1)]
    with np.errstate(invalid="ignore"):
        gaps = np.abs(np.stack(moved) - middle)
    return float(np.where(np.isfinite(gaps), gaps, 0.0).max())


def is_canonical(activation: object, cost: object) -> bool:
    """Whether C is taken from z, so that a's rounding does not reach it."""
    if not (isinstance(activation, str) and isinstance(cost, str)):
        return False
    return (activation.partition("(")[0], cost.partition("(")[0]) in functions.CANONICAL


# the result


@dataclass(frozen=True, eq=False)
class OutputError(Result):
    """What `output_error` found.

    Attributes
    ----------
    activation, cost : str
        Names; a callable's own.
    z, a : ndarray (n_z,), (n_a,)
    y : ndarray
    g : ndarray (n_a,)
        dC/da_k.
    jacobian : ndarray (n_a, n_z)
        J[k, j] = da_k/dz_j.
    terms : ndarray (n_a, n_z)
        g_k J[k, j].
    black_box : ndarray (n_z,)
        Rung (1): dC/dz_j from values of C alone.
    bound : ndarray (n_z,)
        Of the error of `black_box`.
    interval : ndarray (2, n_z)
        The one-sided slopes, smaller first, where C has a kink in z_j; else `black_box` twice.
    total : ndarray (n_z,)
        Rung (2): the sum of `terms` over k.
    diagonal : ndarray (n_z,)
        Rung (3): the term k = j alone; 0 where there is no a_j.
    product : ndarray (n_z,)
        Rung (4): g_j sigma'(z_j), by the formula of sigma' or the given one.
    claimed : ndarray (n_z,) or None
        What the code that is examined says.
    claimant : str
        "engine", "delta" or "".
    collapses : bool
        Whether a_k was found to depend on z_k only.
    findings, verdict
    """

    activation: str
    cost: str
    z: Array
    a: Array
    y: Array
    g: Array
    jacobian: Array
    terms: Array
    black_box: Array
    bound: Array
    interval: Array
    total: Array
    diagonal: Array
    product: Array
    claimed: Array | None
    claimant: str
    collapses: bool
    findings: tuple[str, ...]
    verdict: str

    title = "output error"

    def tables(self) -> list[Table]:
        """The rungs for each neuron j, and the terms of the sum."""
        header = ["j", "(1) dC/dz_j", "+-", "(2) sum over k", "(3) k=j", "(4) g_j sigma'"]
        columns = [self.total, self.diagonal, self.product]
        if self.claimed is not None:
            header.append(self.claimant)
            columns.append(self.claimed)
        rows = []
        for j, (low, high) in enumerate(self.interval.T):
            first: Any = self.black_box[j]
            if low != high:
                first = f"[{number(low)}, {number(high)}]"
            bound = f"{self.bound[j]:.0e}"
            rows.append([str(j + 1), first, bound, *(column[j] for column in columns)])
        names = ["k", *(f"j={j}" for j in range(1, len(self.z) + 1))]
        terms = [[str(k), *row] for k, row in enumerate(self.terms, 1)]
        pair = f"{self.activation} + {self.cost}"
        return [
            Table(f"delta_j, {pair}", header, rows),
            Table("terms dC/da_k da_k/dz_j", names, terms),
        ]

    def plot(self, ax: Any = None) -> Any:
        """Draw the terms as stacked bars, and the Jacobian (needs matplotlib).

        Returns the Figure; the Axes with the bars alone where one is given.
        """
        from fastbp.check import pictures

        return pictures.output_error(self, ax)


# one sample and its functions, whoever brought them


@dataclass
class _Case:
    activation: str | Function
    cost: str | Function
    z: Array
    y: Any  # a vector; what was given where the cost is a callable
    a: Array
    evaluate: Vector  # z -> a, NaN where it fails
    cost_of_a: Vector  # a -> C, (1,), NaN where it fails
    black_box: Derivative
    claimed: Array | None
    claimant: str
    epsilon: float
    itemsize: int

    @property
    def named(self) -> tuple[str, str] | None:
        if isinstance(self.activation, str) and isinstance(self.cost, str):
            return self.activation, self.cost
        return None


def output_error(
    net: Network | None = None,
    x: Any = None,
    y: Any = None,
    *,
    z: Any = None,
    activation: str | Function | None = None,
    cost: str | Function | None = None,
    activation_prime: Function | None = None,
    cost_prime: Function | None = None,
    delta: Any = None,
) -> OutputError:
    """Hold the output error of one sample against the derivation it comes from, term by term.

    ``delta_j = dC/dz_j`` (1) ``= sum_k dC/da_k da_k/dz_j`` (2) ``= dC/da_j da_j/dz_j`` (3)
    ``= dC/da_j sigma'(z_j)`` (4). (1) is taken from values of C alone. From (2) to (3) goes only
    who knows that each a_k depends on its own z_k.

    Parameters
    ----------
    net, x, y : Network, array_like (n_0,), class index or target
        The last layer of a network and one sample.
    z : array_like (n_z,)
        In place of a network and x: the last layer's weighted input.
    activation : str or callable z -> a (n_a,)
    cost : str or callable (a, y) -> number
    activation_prime : callable z -> sigma'(z) (n_z,) or J (n_a, n_z), optional
        Yours, to be examined.
    cost_prime : callable (a, y) -> dC/da (n_a,), optional
        Yours, to be examined.
    delta : callable (z, y) -> (n_z,), or array_like (n_z,), optional
        What your code says delta is; takes the engine's place.

    Returns
    -------
    OutputError

    Notes
    -----
    A value passes within 1e-6 of the largest abs(delta_j) and the bound on (1); one of float32
    within 1e-4 and some roundings of float32. Where C has a kink, the values between its two
    one-sided slopes are right.

    A callable cost is given y as it came: a class index stays one.

    Examples
    --------
    >>> from fastbp.check.ladder import output_error
    >>> found = output_error(z=[1, 2, 3], y=[0, 0, 1], activation="softmax", cost="quadratic")
    >>> found.total.round(6).tolist(), found.collapses
    ([0.022033, 0.097751, -0.119784], False)
    >>> wrong = output_error(z=[1, 2, 3], y=[0, 0, 1], activation="softmax", cost="quadratic",
    ...                      delta=found.diagonal)
    >>> wrong.verdict
    'FAIL: delta is only the k = j term: the sum over k has been dropped'
    """
    if net is not None:
        for name, value in (("z", z), ("activation", activation), ("cost", cost)):
            if value is not None:
                raise ValueError(
                    f"{name}: expected None beside net, which has its own; got {_shown(value)}"
                )
        case = _of_network(net, x, y)
    else:
        if z is None:
            raise ValueError(
                "net: expected net, x and y, or z, y, activation and cost; got neither"
            )
        if x is not None:
            raise ValueError(f"x: expected None beside z; got {_shown(x)}")
        case = _of_functions(z, y, activation, cost)
    if delta is not None:
        _take_delta(case, delta)
    return _examined(case, activation_prime, cost_prime)


def _shown(value: object) -> str:
    text = repr(value) if not isinstance(value, np.ndarray) else f"an array {value.shape}"
    return text if len(text) <= 60 else text[:57] + "..."


def _of_network(net: Any, x: Any, y: Any) -> _Case:
    net, twin = as_network(net)
    about = net.architecture
    activation, cost = about["output"], about["loss"]
    X = as_sample(x, net.sizes[0], net.dtype)
    loss = functions.loss(cost)
    target, Y = as_target(y, n_targets_of(loss, net.sizes[-1]), loss, net.dtype)
    zs, activations = twin.feedforward(X)
    if not np.isfinite(twin.costs(X, Y)).all():
        raise ValueError("x: expected a sample with a finite cost; got one that is not")
    a = activations[-1][0]
    cost_of_a = lenient(lambda a: np.array([reference.cost(cost, a, target)]), (1,))
    noise = 0.0 if is_canonical(activation, cost) else noise_by_rounding(cost_of_a, a)
    return _Case(
        activation,
        cost,
        zs[-1][0],
        target,
        a,
        lenient(partial(reference.activation, activation), a.shape),
        cost_of_a,
        bias_slopes(twin, X, Y, len(zs) - 1, noise),
        deltas_of(net, X, Y)[-1],
        "engine",
        float(np.finfo(net.dtype).eps),
        net.dtype.itemsize,
    )


def _of_functions(z: Any, y: Any, activation: Any, cost: Any) -> _Case:
    z = numbers(z, "z", F64)
    if z.ndim != 1 or not z.size:
        raise ValueError(f"z: expected one sample, shape (n,); got {z.shape}")
    for name, value in (("activation", activation), ("cost", cost)):
        if not isinstance(value, str) and not callable(value):
            raise TypeError(f"{name}: expected a name (str) or a callable; got {_shown(value)}")
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
    itemsize = a.dtype.itemsize
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
        itemsize = min(itemsize, C.dtype.itemsize)
        cost_of_a = lenient(lambda a: np.reshape(cost(a, _copied(y)), (1,)), (1,))

    def on_z(z: Array) -> Array:
        if isinstance(activation, str) and isinstance(cost, str):
            return np.array([reference.cost_on_z(activation, cost, z, y)])
        return cost_of_a(evaluate(z))

    C_of_z = lenient(on_z, (1,))
    noise = 0.0 if is_canonical(activation, cost) else noise_by_rounding(cost_of_a, a)
    middle = C_of_z(z)
    if not np.isfinite(middle).all():
        raise ValueError(f"cost: expected a finite number; got {middle[0]:g}")
    return _Case(
        activation,
        cost,
        z.copy(),
        y,
        a,
        evaluate,
        cost_of_a,
        derivatives(changes(C_of_z, z), C_of_z, z, noise),
        None,
        "",
        float(np.finfo(np.float64).eps),
        itemsize,
    )


def _copied(y: Any) -> Any:
    return y.copy() if isinstance(y, np.ndarray) else y


def _named_cost(cost: str, y: Any, activation: Any, n_a: int) -> tuple[str, Array]:
    try:
        loss = functions.loss(cost)
        if isinstance(activation, str):
            functions.check_pair(functions.activation(activation), loss)
    except ValueError as error:  # there the argument is called loss
        raise ValueError(str(error).replace("loss:", "cost:", 1)) from None
    if loss.kind == "gaussian_nll" and n_a % 2:
        raise ValueError(
            "cost: 'gaussian_nll' needs an even number of outputs, means then logarithms of "
            f"variances; got {n_a}"
        )
    return loss.name, as_target(y, n_targets_of(loss, n_a), loss)[0]


def _free_target(y: Any) -> Any:
    """y for a callable cost: a class index stays a whole number, all else is an array."""
    if y is None:
        raise TypeError("y: expected a class index or a target; got None")
    array = numbers(y, "y", F64)
    if array.ndim == 0 and np.asarray(y).dtype.kind in "iu":
        return int(array)
    return array.copy()


def _take_delta(case: _Case, delta: Any) -> None:
    if callable(delta):
        found = called_twice(delta, "delta", f"z, shape {case.z.shape}, and y", case.z, case.y)
    else:
        found = numbers(delta, "delta").copy()
    if found.shape != case.z.shape:
        raise ValueError(f"delta: expected shape {case.z.shape}, that of z; got {found.shape}")
    case.claimed = found.astype(np.float64)
    case.claimant = "delta"
    case.epsilon = float(np.finfo(found.dtype).eps)
    case.itemsize = found.dtype.itemsize


# the examination


@dataclass
class _Given:
    """A derivative that the user gave, or the formula's; and the same from differences."""

    value: Array
    low: Array
    high: Array
    error: Array  # of what low, high and (where nothing was given) value are taken from

    def differs(self, given: Array) -> Array:
        scale = float(np.abs(np.where(np.isfinite(self.low), self.low, 0.0)).max(initial=0.0))
        allowance = self.error + RELATIVE[8] * scale
        return Judge(self.low, self.high, allowance).wrong(given)


def _numeric(found: Derivative) -> _Given:
    """Arrays (m, k): functions first."""
    return _Given(found.value.T, found.low.T, found.high.T, found.bound.T)


def _examined(case: _Case, activation_prime: Any, cost_prime: Any) -> OutputError:
    findings: list[str] = []
    wrong: list[str] = []
    z, a = case.z, case.a
    n_z, n_a = len(z), len(a)
    for name, value in (("activation_prime", activation_prime), ("cost_prime", cost_prime)):
        if value is not None and not callable(value):
            raise TypeError(f"{name}: expected a callable; got {_shown(value)}")

    collapses, depends = _dependence(case)
    g, g_error = _cost_gradient(case, cost_prime, findings, wrong)
    J, J_error, sigma_prime = _jacobian(case, activation_prime, findings, wrong)

    with np.errstate(invalid="ignore", over="ignore"):
        terms = g[:, None] * J
    terms = _fused_where_needed(case, g, terms, findings)
    with np.errstate(invalid="ignore", over="ignore"):
        total = terms.sum(axis=0)
        product = np.zeros(n_z)
        diagonal = np.zeros(n_z)
        m = min(n_a, n_z)
        diagonal[:m] = np.diagonal(terms)
        product[:m] = diagonal[:m] if sigma_prime is None else g[:m] * sigma_prime[:m]
        size = np.abs(terms).sum(axis=0)
        error_of_total = np.where(J_error > 0, J_error * np.abs(g)[:, None], 0.0).sum(axis=0)
        error_of_total += np.where(g_error[:, None] > 0, np.abs(J) * g_error[:, None], 0.0).sum(0)

    # (1) against (2) and against what is claimed
    one = case.black_box
    black_box, bound, kink = one.value[:, 0], one.bound[:, 0], one.kink[:, 0]
    low, high = one.low[:, 0], one.high[:, 0]
    scale = float(np.abs(np.where(np.isfinite(black_box), black_box, 0.0)).max())
    order = max(1.0, float(np.abs(a).max()))
    fine = float(np.finfo(np.float64).eps)
    slack = np.zeros(n_z)
    rounding = np.zeros(n_z)
    if case.named is not None:
        slack = np.where(kink, 0.0, rounding_of_output_error(*case.named, z, case.y, fine))
        rounding = np.where(
            kink, 0.0, rounding_of_output_error(*case.named, z, case.y, case.epsilon)
        )
    blunt = _blunt(case, bound + np.maximum(slack, rounding), scale)
    allowance = bound + slack + error_of_total + RELATIVE[8] * scale
    allowance += ROUNDINGS * fine * np.maximum(order, np.where(np.isfinite(size), size, 0.0))
    parted = Judge(low, high, allowance).wrong(total) & ~blunt
    if parted.any():
        text = parts_where(
            parted, lambda j: f"neuron {j + 1}: {number(total[j])}, {number(black_box[j])}"
        )
        if not wrong:
            wrong.append("(1) and (2) part: dC/da or da/dz is wrong")
        findings.append(f"(2), the sum over k, and (1), differences of C, part at {text}.")
    claimed = case.claimed
    if claimed is not None:
        wide = bound + rounding + RELATIVE[case.itemsize] * scale
        wide += ROUNDINGS * case.epsilon * np.maximum(order, np.where(np.isfinite(size), size, 0.0))
        off = Judge(low, high, wide).wrong(claimed) & ~blunt
        if off.any():
            truth = np.clip(claimed, low, high)
            truth = np.where(kink, truth, black_box)
            mistake = _mistake(case, claimed, truth, g, J, diagonal)
            who = "the engine's delta" if case.claimant == "engine" else "delta"
            wrong.append(f"{who} is {mistake}" if mistake else f"{who} is not dC/dz")
            where = parts_where(
                off, lambda j: f"neuron {j + 1}: {number(claimed[j])}, {number(black_box[j])}"
            )
            findings.append(f"{who} and (1), differences of C, part at {where}.")

    if kink.any():
        where = parts_where(
            kink, lambda j: f"z_{j + 1}, slopes {number(low[j])} and {number(high[j])}"
        )
        findings.append(
            f"C has a kink here: {where}. Every value between the one-sided slopes is right."
        )
    findings += _on_the_sum(case, collapses, depends, J, total, diagonal, allowance)
    if blunt.any():
        findings.append(
            f"Rounding hides dC/dz_j at {int(blunt.sum())} of {n_z} neurons: its bound is too wide "
            "to judge by."
        )
    verdict = _verdict(wrong, blunt, case.claimant, collapses)
    return OutputError(
        name_of(case.activation),
        name_of(case.cost),
        z,
        a,
        np.asarray(case.y),
        g,
        J,
        terms,
        black_box,
        bound,
        np.stack([low, high]),
        total,
        diagonal,
        product,
        claimed,
        case.claimant,
        collapses,
        tuple(findings),
        verdict,
    )


def _dependence(case: _Case) -> tuple[bool, Array]:
    """Whether each a_k depends on its own z_k only, and which were found to depend on which."""
    n_a, n_z = len(case.a), len(case.z)
    if isinstance(case.activation, str):
        return collapses_by_name(case.activation, n_a), np.zeros((n_a, n_z), bool)
    random = np.random.default_rng(0)
    points = [case.z, *(spread * random.standard_normal(n_z) for spread in (1.0, 3.0))]
    columns = np.unique(np.linspace(0, n_z - 1, min(n_z, MOST_PROBED)).astype(int)).tolist()
    depends, _ = dependence(case.evaluate, points, columns)
    return not (depends & is_off_diagonal((n_a, n_z))).any(), depends


def _blunt(case: _Case, bound: Array, scale: float) -> Array:
    """Where the bound on (1) is too wide to tell right from wrong."""
    floor = max(WORST_BOUND * scale, 1e-7, 64 * case.epsilon)
    return ~(bound <= floor)


def _verdict(wrong: list[str], blunt: Array, claimant: str, collapses: bool) -> str:
    if wrong:
        return f"FAIL: {wrong[0]}" + (f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else "")
    if blunt.any():
        return "inconclusive: differences of C do not resolve every dC/dz_j here"
    who = {
        "engine": "the engine's delta and the sum over k agree",
        "delta": "delta and the sum over k agree",
    }.get(claimant, "the sum over k agrees")
    rest = "it is its k = j term alone" if collapses else "the terms k != j belong to it"
    return f"pass: {who} with differences of C; {rest}"


def _cost_gradient(
    case: _Case, cost_prime: Any, findings: list[str], wrong: list[str]
) -> tuple[Array, Array]:
    """g that the terms are made of, and its error; a given one is examined."""
    a = case.a
    exact = isinstance(case.cost, str)
    numeric = None
    if cost_prime is not None or not exact:
        numeric = _numeric(derivatives(changes(case.cost_of_a, a), case.cost_of_a, a))
        numeric = _Given(numeric.value[0], numeric.low[0], numeric.high[0], numeric.error[0])
    if cost_prime is None:
        if numeric is None:
            with np.errstate(all="ignore"):
                return reference.cost_gradient(case.cost, a, case.y), np.zeros(len(a))
        findings.append("dC/da_k is taken from differences: no cost_prime is given.")
        return numeric.value, numeric.error
    assert numeric is not None
    g = called_twice(cost_prime, "cost_prime", f"a, shape {a.shape}, and y", a, case.y)
    if g.shape != a.shape:
        raise ValueError(f"cost_prime: expected shape {a.shape}, that of a; got {g.shape}")
    g = g.astype(np.float64)
    off = numeric.differs(g)
    if off.any():
        text = parts_where(
            off,
            lambda k: (
                f"dC/da_{k + 1} is given as {number(g[k])}, differences give "
                f"{number(numeric.value[k])}"
            ),
        )
        mistake = identified(
            g, numeric.value, [], what="dC/da", n_outputs=len(a), relative=RELATIVE[8]
        )
        wrong.append(f"cost_prime is {mistake}" if mistake else "cost_prime is not dC/da")
        findings.append(f"g is wrong: {text}.")
    return g, np.zeros(len(a))


def _jacobian(
    case: _Case, activation_prime: Any, findings: list[str], wrong: list[str]
) -> tuple[Array, Array, Array | None]:
    """J that the terms are made of, its error, and sigma' where one is given."""
    z, n_a, n_z = case.z, len(case.a), len(case.z)
    numeric = None
    if activation_prime is not None or not isinstance(case.activation, str):
        numeric = _numeric(numeric_jacobian(case.evaluate, z))
    if isinstance(case.activation, str):
        with np.errstate(all="ignore"):
            J = reference.activation_jacobian(case.activation, z)
        error = np.zeros(J.shape)
    else:
        assert numeric is not None
        J, error = numeric.value, numeric.error
    if activation_prime is None:
        if numeric is not None:
            findings.append("da_k/dz_j is taken from differences: no activation_prime is given.")
        return J, error, None
    assert numeric is not None
    given = called_twice(activation_prime, "activation_prime", f"z, shape {z.shape}", z)
    given = given.astype(np.float64)
    if given.shape == (n_a, n_z):
        off = numeric.differs(given)
        if off.any():
            _name_jacobian(given, numeric, off, findings, wrong)
        return given, np.zeros(given.shape), None
    if given.shape != (n_z,) or n_a != n_z:
        either = f"({n_z},) or " if n_a == n_z else ""
        raise ValueError(
            f"activation_prime: expected shape {either}({n_a}, {n_z}); got {given.shape}"
        )
    own = _Given(*(np.diagonal(part) for part in _fields(numeric)))
    off = own.differs(given)
    if off.any():
        text = parts_where(
            off,
            lambda j: (
                f"sigma'(z_{j + 1}) is given as {number(given[j])}, differences give "
                f"{number(own.value[j])}"
            ),
        )
        reason = _sigma_prime_mistake(case, activation_prime, given, own)
        wrong.append("sigma' is wrong" + (f": activation_prime is {reason}" if reason else ""))
        findings.append(f"(3) and (4) part: {text}.")
    return J, error, given


def _fields(given: _Given) -> tuple[Array, Array, Array, Array]:
    return given.value, given.low, given.high, given.error


def _name_jacobian(
    given: Array, numeric: _Given, off: Array, findings: list[str], wrong: list[str]
) -> None:
    places = np.argwhere(off)
    shown = [
        f"da_{k + 1}/dz_{j + 1} is given as {number(given[k, j])}, differences give "
        f"{number(numeric.value[k, j])}"
        for k, j in places[:SHOWN]
    ]
    more = f"; and {len(places) - SHOWN} more" if len(places) > SHOWN else ""
    square = given.shape[0] == given.shape[1]
    turned = _Given(*(part.T for part in _fields(numeric)))
    only_diagonal = given[is_off_diagonal(given.shape)]
    if square and not turned.differs(given).any():
        reason = ": it is J^T, rows and columns exchanged"
    elif not only_diagonal.any() and not np.diagonal(off).any():
        reason = ": it is diagonal, but the outputs are coupled"
    else:
        reason = ""
    wrong.append(f"activation_prime is not da/dz{reason}")
    findings.append(f"J is wrong: {'; '.join(shown)}{more}.")


def _sigma_prime_mistake(case: _Case, activation_prime: Function, given: Array, own: _Given) -> str:
    at_a = numeric_jacobian(case.evaluate, case.a)
    J_at_a = _numeric(at_a)
    there = _Given(*(np.diagonal(part) for part in _fields(J_at_a)))
    if np.isfinite(there.value).all() and not there.differs(given).any():
        return "sigma' taken at a instead of z"
    of_a = lenient(activation_prime, given.shape)(case.a)
    if np.isfinite(of_a).all() and not own.differs(of_a).any():
        return "written in terms of a, but is given z"
    return identified(
        given, own.value, [], what="sigma'", n_outputs=len(given), relative=RELATIVE[8]
    )


def _fused_where_needed(case: _Case, g: Array, terms: Array, findings: list[str]) -> Array:
    """Terms of a canonical pair without 1/a, where a has rounded to 0 or 1; else as they are."""
    if case.named is not None and is_canonical(*case.named):
        activation, cost = case.named
        with np.errstate(all="ignore"):
            delta = reference.output_error(activation, cost, case.z, case.y)
            total = terms.sum(axis=0)
        scale = max(1.0, float(np.abs(delta).max()))
        with np.errstate(invalid="ignore"):
            lost = ~(np.abs(total - delta) <= 1e-9 * scale)
        if lost.any() or not np.isfinite(g).all():
            findings.append(
                "a has rounded to 0 or 1, where dC/da_k is infinite or has lost its digits; the "
                "sum is taken in its fused form, a_k cancelled between dC/da_k and da_k/dz_j."
            )
            return _fused_terms(activation, case.a, case.y, delta)
    elif not np.isfinite(terms).all():
        findings.append(
            "dC/da_k is infinite where a_k is so near the end of its range; this pair has no fused "
            "form, so that (2) cannot be taken."
        )
    return terms


def _fused_terms(activation: str, a: Array, y: Array, delta: Array) -> Array:
    if activation.partition("(")[0] != "softmax":
        return np.diag(delta)
    c = functions.activation(activation).parameter
    terms = c * np.outer(y, a)  # -y_k/a_k times -c a_k a_j
    others = np.array([np.delete(a, k).sum() for k in range(len(a))])  # 1 - a_k, all digits kept
    np.fill_diagonal(terms, -c * y * others)
    return terms


def _mistake(case: _Case, claimed: Array, truth: Array, g: Array, J: Array, diagonal: Array) -> str:
    """Which known mistake gives the claimed numbers."""
    n_a, n_z = J.shape
    candidates = [(diagonal, "only the k = j term: the sum over k has been dropped")]
    with np.errstate(all="ignore"):
        if n_a == n_z:
            candidates.append((J @ g, "J g: J where J^T belongs"))
            at_a = (
                reference.activation_jacobian(case.activation, case.a)
                if isinstance(case.activation, str)
                else numeric_jacobian(case.evaluate, case.a).value.T
            )
            candidates += [
                (at_a.T @ g, "sigma' taken at a instead of z"),
                (g, "dC/da alone: da/dz is missing"),
            ]
            if isinstance(case.y, np.ndarray) and case.y.shape == case.a.shape:
                candidates.append((case.a - case.y, "a - y, which belongs to another pair"))
    relative = RELATIVE[case.itemsize]
    return identified(claimed, truth, candidates, what="dC/dz", n_outputs=n_a, relative=relative)


def _on_the_sum(
    case: _Case,
    collapses: bool,
    depends: Array,
    J: Array,
    total: Array,
    diagonal: Array,
    allowance: Array,
) -> list[str]:
    """What became of the sum over k, in words."""
    name = name_of(case.activation)
    n_a, n_z = J.shape
    lines = [why_the_sum(name, collapses, depends)]
    if not collapses:
        with np.errstate(invalid="ignore"):
            apart = np.abs(total - diagonal) > allowance
        if apart.any():
            j = int(np.argmax(np.where(apart, np.abs(total - diagonal), 0)))
            lines.append(
                f"(2) and (3) part at {int(apart.sum())} of {n_z} neurons, as they must: the terms "
                f"k != j add {number(total[j] - diagonal[j])} to the {number(diagonal[j])} of "
                f"neuron {j + 1}."
            )
        else:
            lines.append("At this sample the terms k != j happen to add nothing.")
        symmetric = n_a == n_z and bool(
            (np.abs(J - J.T) <= 1e-7 * max(1e-300, float(np.abs(J).max()))).all()
        )
        lines.append(about_symmetry(name, n_z, n_a, symmetric, collapses))
    return [line for line in lines if line]
