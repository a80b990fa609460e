"""A network's gradients (BP1 to BP4) against differences of its loss, element by element.

What belongs here: the full mode of `gradients`, and what it returns. What does not: directions and
Taylor remainders (taylor.py), what is wrong in words (diagnosis.py), other people's functions
(function.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from fastbp import functions, inputs
from fastbp.check import diagnosis, digits, judging, taylor
from fastbp.check.differences import WINDOWS, Slopes, slopes
from fastbp.check.judging import FAIL, MOST_POINTS, Points, TensorCheck
from fastbp.check.model import Model
from fastbp.check.report import Result, Table
from fastbp.check.subject import SCALES, NetworkSubject, ObjectSubject, Subject, Tensor, subject
from fastbp.check.taylor import DirectionCheck

Array = np.ndarray
Given = Array | Sequence[Array] | Callable[[Any, Any], Any] | None

Enough = Callable[[Array, Array], Array]

TOLERANCE = 1e-6
MOST_INPUTS = 2000
MOST_REPEATED = 200
RESOLUTION = {"float64": 1e-4, "float32": 1e-2}
MODES = ("full", "fast")
COUPLED = ("softmax", "log_softmax", "layer_norm")
METHODS = ("differences", "mpmath")
SMALL_STEP = 1e-7  # to either side of a kink, in units in which z moves by 1


@dataclass(frozen=True, eq=False)
class GradientCheck(Result):
    """What `gradients` found.

    Attributes
    ----------
    verdict : str
    findings : tuple of str
        What is wrong, in words; counts of kinks.
    mode : "full" or "fast"
    tensors : tuple of TensorCheck
        Full mode: W1, b1, ..., delta1, ..., x, each with its worst element.
    directions : tuple of DirectionCheck
        Fast mode: the slope of the Taylor remainder along a random direction of each tensor.
    identity : float or None
        |<Jv, u> - <v, J^T u>|, relative, of `jvp` and `vjp`.
    n_checked, n_parameters : int
    kinks, inconclusive : int
        Elements on a kink between whose slopes the analytic value lies; elements that differences
        cannot resolve.
    tolerance : float
    points : Points
        Full mode: every value that was checked, for plots.
    """

    verdict: str
    findings: tuple[str, ...]
    mode: str
    tensors: tuple[TensorCheck, ...]
    directions: tuple[DirectionCheck, ...]
    identity: float | None
    n_checked: int
    n_parameters: int
    kinks: int
    inconclusive: int
    tolerance: float
    points: Points = field(repr=False)

    title = "gradient check"

    def tables(self) -> list[Table]:
        """Tensors, or directions."""
        if self.mode == "fast":
            return [taylor.table(self.directions)]
        return [judging.table(self.tensors)]

    def to_dict(self) -> dict[str, Any]:
        """Everything in the types of JSON; `points` only where they are not too many."""
        found = super().to_dict()
        if len(self.points.index) > MOST_POINTS:
            del found["points"]
        return found

    def plot(self, ax: Any = None) -> Any:
        """Gradient against slopes with error bars, or the Taylor remainders; returns the Axes."""
        from fastbp.check import pictures

        if self.mode == "fast":
            return pictures.remainders(self.directions, ax)
        return pictures.points(self.points, [t.name for t in self.tensors], ax)


def gradients(
    net: Any,
    X: Any,
    Y: Any,
    *,
    gradient: Given = None,
    mode: str = "full",
    sample_weight: Any = None,
    l2: float = 0.0,
    l1: float = 0.0,
    tolerance: float = TOLERANCE,
    max_parameters: int = 5000,
    method: str = "differences",
    seed: int = 0,
) -> GradientCheck:
    """Hold a network's gradients against its loss.

    Parameters
    ----------
    net : Network
        Or any object with `parameters` (flat, writable), `loss(X, Y)` and `gradient(X, Y)`; with
        `weights`, `biases` and `architecture` as `Network` has them it is told what is wrong.
    X, Y : as in `Network.loss`; a few rows will do
    gradient : callable (X, Y) -> array, array or list of arrays, optional
        A gradient of your own instead of `net.gradient`: flat, or W1, b1, W2, b2, ...
    mode : "full" or "fast"
        full: each element with the error bound of its numeric value. fast: along random directions
        only; an error in one element of many may pass.
    sample_weight, l2, l1 : as in `Network.loss`
    tolerance : float
        Relative difference that is let pass, beside the bounds. Full mode.
    max_parameters : int
        Of more, an evenly spaced selection of each tensor is checked. Full mode.
    method : "differences" or "mpmath"
        Where numeric values come from: differences of the loss in float64, or the network
        evaluated in 50 digits (slow; at most some hundred parameters; needs mpmath).
    seed : int
        Of the random directions.

    Returns
    -------
    GradientCheck

    Raises
    ------
    ValueError, TypeError
        For what cannot be checked: a loss that is not finite or not the same each time, gradients
        of a wrong shape.

    Notes
    -----
    Differences (central, extrapolated after Richardson and Ridders) are taken in float64; a float32
    gradient may differ by n eps, worked out layer by layer. An element fails only where it differs
    by more than tolerance, both bounds and rounding allow. On a kink (relu at 0) the analytic value
    has to lie between the one-sided slopes of every sample.

    Examples
    --------
    >>> import fastbp
    >>> digits = fastbp.datasets.load_digits()
    >>> net = fastbp.Network([64, 30, 10])
    >>> fastbp.check.gradients(net, digits.X[:5], digits.Y[:5]).ok
    True
    """
    if mode not in MODES:
        raise ValueError(f"mode: expected one of {', '.join(MODES)}; got {mode!r}")
    if method not in METHODS:
        raise ValueError(f"method: expected one of {', '.join(METHODS)}; got {method!r}")
    max_parameters = inputs.as_count(max_parameters, "max_parameters")
    tolerance = inputs.as_penalty(tolerance, "tolerance")
    checked = subject(net, X, Y, sample_weight, l2, l1)
    analytic, notes = _analytic(net, gradient, checked, X, Y, sample_weight, l2, l1)
    own = gradient is None
    with np.errstate(all="ignore"):  # what overflows is unknown, and counted as such
        if mode == "fast":
            return _fast(net, checked, analytic, notes, own, tolerance, seed)
        return _Full(
            net, checked, analytic, notes, own, tolerance, max_parameters, method, seed
        ).run()


def assert_gradients(*args: Any, **options: Any) -> None:
    """Raise AssertionError unless `gradients` (of a network) or `gradient` (of a function) passes.

    Takes what `gradients(net, X, Y)` or, where the first argument is a function,
    `gradient(f, grad, x)` takes. Inconclusive is not passed. For tests.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> fastbp.check.assert_gradients(lambda x: (x**2).sum(), lambda x: 2 * x, np.arange(3.0))
    """
    from fastbp.check.function import gradient

    is_function = bool(args) and callable(args[0]) and not hasattr(args[0], "parameters")
    found: Result = gradient(*args, **options) if is_function else gradients(*args, **options)
    if not found.verdict.startswith("pass"):
        raise AssertionError(str(found))


def _analytic(
    net: Any,
    given: Given,
    checked: Subject,
    X: Any,
    Y: Any,
    sample_weight: Any,
    l2: float,
    l1: float,
) -> tuple[Array, list[str]]:
    """The gradient to be checked, flat and float64, and what was noticed of its shape."""
    if given is None:
        options = {"sample_weight": sample_weight, "l2": l2 or None, "l1": l1 or None}
        value = net.gradient(X, Y, **{k: v for k, v in options.items() if v is not None})
    else:
        value = given(X, Y) if callable(given) else given
    name = "net: gradient" if given is None else "gradient"
    size = checked.parameters.size
    if isinstance(value, np.ndarray) and value.ndim == 1:
        if value.shape != (size,):
            raise ValueError(f"{name}: expected shape ({size},); got {value.shape}")
        return value.astype(np.float64), []
    if not isinstance(value, Sequence):
        raise TypeError(
            f"{name}: expected a flat array or a list of arrays; got {type(value).__name__}"
        )
    if len(value) != len(checked.tensors):
        names = ", ".join(t.name for t in checked.tensors)
        raise ValueError(
            f"{name}: expected {len(checked.tensors)} arrays, {names}; got {len(value)}"
        )
    flat, notes = np.empty(size), []
    for tensor, array in zip(checked.tensors, value, strict=True):
        array = np.asarray(array, np.float64)
        if array.size == tensor.size and array.shape in (tensor.shape, (1, *tensor.shape)):
            array = array.reshape(tensor.shape)
        elif array.shape == tensor.shape[::-1]:
            notes.append(
                f"The gradient of {tensor.name} is transposed: its shape is {array.shape}, that of "
                f"{tensor.name} is {tensor.shape}."
            )
            array = array.T
        if array.shape != tensor.shape:
            raise ValueError(
                f"{name}: expected shape {tensor.shape} for {tensor.name}; got {array.shape}"
            )
        flat[tensor.part] = array.ravel()
    return flat, notes


def _identity(net: Any, checked: Subject, seed: int) -> tuple[float | None, bool]:
    """|<Jv, u> - <v, J^T u>| of the network's jvp and vjp, relative, and whether it is small.

    None where every product is lost in rounding, as behind saturated layers.
    """
    if not isinstance(checked, NetworkSubject):
        return None, True
    random = np.random.default_rng(seed)
    X = checked.X.astype(net.dtype)
    v = random.standard_normal(X.shape).astype(net.dtype).astype(np.float64)
    u = random.standard_normal((len(X), net.sizes[-1])).astype(net.dtype).astype(np.float64)
    left = np.asarray(net.jvp(X, v), np.float64) * u
    right = np.asarray(net.vjp(X, u), np.float64) * v
    unit = float(np.finfo(net.dtype).eps)
    # rounding of Jv, where J has become small by cancellation or not
    with np.errstate(over="ignore", invalid="ignore"):
        floor = 64 * unit * np.sum(_reach(checked, np.abs(v)) * np.abs(u), axis=1)
        terms = np.abs(left).sum(axis=1) + np.abs(right).sum(axis=1)
        allowed = 16 * unit * (sum(net.sizes) + 16) * terms + floor
        difference = np.abs(left.sum(axis=1) - right.sum(axis=1))
    told = np.isfinite(allowed) & (allowed < terms / 8)
    if not told.any():
        return None, True
    error = difference[told] / terms[told]
    return float(np.max(error)), bool((difference <= allowed)[told].all())


def _reach(checked: NetworkSubject, change: Array) -> Array:
    """How far a^L might move, for |dx| of `change`, if no slope were less than about 1."""
    architecture = checked.twin.architecture
    names = [*architecture["activation"], architecture["output"]]
    for W, n, name in zip(checked.twin.weights, checked.twin.sizes[1:], names, strict=True):
        f = functions.activation(name)
        change = change @ np.abs(W)
        steepest = 2 * max(1.0, abs(f.parameter) if f.kind != "maxout" else 1.0)
        if f.kind in COUPLED:
            change = steepest * (change + change.max(axis=1, keepdims=True))
        else:
            change = steepest * change.reshape(len(change), -1, n).sum(axis=1)
    return change


def _fast(
    net: Any,
    checked: Subject,
    analytic: Array,
    notes: list[str],
    own: bool,
    tolerance: float,
    seed: int,
) -> GradientCheck:
    rounding, of_inputs = np.zeros(analytic.shape), None
    if isinstance(checked, NetworkSubject):
        of_inputs = np.zeros_like(checked.X)
        if net.dtype == np.float32:
            rounding, _, of_inputs = _rounding(checked, analytic, _model(net, checked), net.dtype)
    directions = taylor.directions(checked, analytic, rounding, seed)
    if isinstance(checked, NetworkSubject) and own:
        slope_of_inputs = np.asarray(net.input_gradient(checked.X, checked.Y), np.float64)
        assert of_inputs is not None
        directions.append(taylor.input_direction(checked, slope_of_inputs, of_inputs, seed))
    identity, holds = _identity(net, checked, seed) if own else (None, True)
    findings = notes + taylor.findings(directions)
    if not holds:
        findings.append(_identity_in_words(identity))
    verdict = taylor.verdict_of(directions, holds and not notes)
    unclear = sum(d.status == "inconclusive" for d in directions)
    return GradientCheck(
        verdict, tuple(findings), "fast", (), tuple(directions), identity, analytic.size,
        analytic.size, 0, unclear, tolerance, Points(*[np.empty(0)] * 6),
    )  # fmt: skip


def _identity_in_words(error: float | None) -> str:
    return (
        f"<Jv, u> and <v, J^T u> of jvp and vjp differ by {error:.1e} of their terms: one of them "
        "is not the other's transpose."
    )


def _model(net: Any, checked: Subject) -> Model | None:
    architecture = getattr(net, "architecture", None)
    if isinstance(checked, NetworkSubject):
        twin = checked.twin
        return Model(
            twin.architecture, twin.weights, twin.biases, checked.X, checked.Y,
            checked.sample_weight, checked.l2, checked.l1,
        )  # fmt: skip
    assert isinstance(checked, ObjectSubject)
    if not isinstance(architecture, dict) or len(checked.tensors) < 2:
        return None
    options = checked.options
    return Model(
        architecture, net.weights, net.biases, checked.X, checked.Y, options.get("sample_weight"),
        options.get("l2", 0.0), options.get("l1", 0.0),
    )  # fmt: skip


def _rounding(
    checked: Subject, analytic: Array, model: Model | None, dtype: np.dtype[Any]
) -> tuple[Array, list[Array], Array | None]:
    """What rounding may make of the analytic values: of gradient, deltas and dC/dx."""
    unit = float(np.finfo(dtype).eps) / 2
    if model is None or not isinstance(checked, NetworkSubject):
        largest = np.abs(analytic[np.isfinite(analytic)]).max(initial=0.0)
        return np.full(analytic.shape, 64 * unit * largest), [], None
    with np.errstate(all="ignore"):
        nablas, deltas, of_inputs = model.rounding(unit)
    flat = np.concatenate([nabla.ravel() for nabla in nablas])
    underflow = 1e3 * float(np.finfo(dtype).tiny)
    return (
        _known(flat) + underflow, [_known(d) + underflow for d in deltas],
        _known(of_inputs) + underflow,
    )  # fmt: skip


@dataclass(frozen=True)
class _Elements:
    """Values of one tensor that are to be judged.

    parameters: where they are among the flat parameters, where they belong to some;
    again: measures some of them, by position, with every step up to a largest one.
    """

    name: str
    shape: tuple[int, ...]
    index: Array
    analytic: Array
    rounding: Array
    parameters: Array | None
    again: Callable[[Array, Array], Slopes]


class _Full:
    """One full check: numeric values of every tensor, and the judgement of each."""

    def __init__(
        self,
        net: Any,
        checked: Subject,
        analytic: Array,
        notes: list[str],
        own: bool,
        tolerance: float,
        max_parameters: int,
        method: str,
        seed: int,
    ) -> None:
        self.net, self.checked, self.analytic, self.own = net, checked, analytic, own
        self.notes, self.tolerance, self.method, self.seed = notes, tolerance, method, seed
        self.max_parameters = max_parameters
        self.dtype = net.dtype if isinstance(checked, NetworkSubject) else np.dtype(np.float64)
        self.scale = checked.natural_scale()
        self.model = _model(net, checked)
        self.rounding, self.of_deltas, self.of_inputs = _rounding(
            checked, analytic, self.model, self.dtype
        )
        self.tensors: list[TensorCheck] = []
        self.points: dict[str, dict[str, Array]] = {}
        self.ambiguous = 0  # elements where several kinks meet

    def run(self) -> GradientCheck:
        chosen = self._chosen()
        for tensor, index in zip(self.checked.tensors, chosen, strict=True):
            self._check_tensor(tensor, index)
        if isinstance(self.checked, NetworkSubject) and self.own and self.method == "differences":
            self._check_inputs(self.checked)
        order = {name: i for i, name in enumerate(self._names())}
        self.tensors.sort(key=lambda t: order[t.name])
        identity, holds = _identity(self.net, self.checked, self.seed) if self.own else (None, True)
        failed = any(t.failed for t in self.tensors)
        findings = list(self.notes)
        if failed:
            findings += diagnosis.of(
                self.checked, self.analytic, self.points, self.tensors, self.model
            )
        if not holds:
            findings.append(_identity_in_words(identity))
        n_checked = sum(len(index) for index in chosen)
        kinks = sum(t.kinks for t in self.tensors)
        findings += self._counts(kinks)
        verdict = judging.verdict_of(
            self.tensors, "values (parameters, delta of every layer, inputs)"
        )
        if (self.notes or not holds) and not failed:
            verdict = f"FAIL: {findings[0]}"
        return GradientCheck(
            verdict, tuple(findings), "full", tuple(self.tensors), (), identity, n_checked,
            self.analytic.size, kinks, sum(t.inconclusive for t in self.tensors), self.tolerance,
            self._all_points(),
        )  # fmt: skip

    def _all_points(self) -> Points:
        parts = [self.points[t.name] for t in self.tensors]
        tensor = [np.full(len(p["index"]), i) for i, p in enumerate(parts)]
        keys = ("index", "analytic", "numeric", "bound", "status")
        return Points(
            np.concatenate(tensor), *(np.concatenate([p[k] for p in parts]) for k in keys)
        )

    def _names(self) -> list[str]:
        parameters = [t.name for t in self.checked.tensors]
        return [*parameters, *(f"delta{i + 1}" for i in range(len(parameters) // 2)), "x"]

    def _counts(self, kinks: int) -> list[str]:
        out = []
        if kinks:
            out.append(
                f"{kinks} elements lie on a kink (relu at 0 and its kin); there the analytic value "
                "lies between the one-sided slopes."
            )
        if self.ambiguous:
            out.append(
                f"{self.ambiguous} elements lie where several kinks meet in one sample: values "
                "alone cannot tell which slopes are allowed. Move the parameters a little."
            )
        return out

    def _chosen(self) -> list[Array]:
        """Flat indices of each tensor that are checked: all, or evenly spaced ones of each."""
        sizes = [t.size for t in self.checked.tensors]
        left, counts = self.max_parameters, [0] * len(sizes)
        order = sorted(range(len(sizes)), key=lambda i: sizes[i])
        for place, i in enumerate(order):  # small tensors whole, the rest is shared
            counts[i] = min(sizes[i], max(1, left // (len(order) - place)) if left > 0 else 0)
            left -= counts[i]
        return [
            t.start + np.unique(np.linspace(0, t.size - 1, n).astype(int))
            if n
            else np.empty(0, int)
            for t, n in zip(self.checked.tensors, counts, strict=True)
        ]

    # one tensor

    def _digits(self, index: Array) -> Slopes:
        """Slopes from mpmath's numbers."""
        checked = self.checked
        if not isinstance(checked, NetworkSubject):
            raise ValueError("method: 'mpmath' needs a fastbp.Network with that class's own loss")
        value, bound = digits.network_derivatives(
            checked.twin, checked.X, checked.Y, index, sample_weight=checked.sample_weight,
            l2=checked.l2, l1=checked.l1,
        )  # fmt: skip
        both = [a[:, None] for a in (value, bound)]
        return Slopes(*both, *both, *both)

    def _check_tensor(self, tensor: Tensor, index: Array) -> None:
        if not len(index):
            return
        checked = self.checked
        per_sample = isinstance(checked, NetworkSubject) and tensor.name[0] == "b"
        rounding = self.rounding[index]

        def change(at: Array, values: Array) -> Array:
            parts = checked.components(at, values)
            total = (parts @ checked.shares + checked.penalty(at, values))[:, None]
            return np.hstack([total, parts]) if per_sample else total

        noise = np.array([checked.noise_of_sum])
        if per_sample:  # of one sample dC_x/db is its delta: one measurement serves both
            noise = np.append(noise, checked.noise)

        def measure(at: Array, enough: Enough, largest: Array | None = None) -> Slopes:
            return slopes(
                change, checked.parameters, index[at], scale=self.scale, noise=noise,
                enough=enough, largest=largest,
            )  # fmt: skip

        if self.method == "mpmath":
            found = self._digits(index)
        else:
            found = measure(np.arange(len(index)), _enough(rounding, len(noise)))
        of = _Elements(
            tensor.name, tensor.shape, index - tensor.start, self.analytic[index], rounding, index,
            lambda at, largest: _column(measure(at, never, largest), 0),
        )  # fmt: skip
        self._judge(of, _column(found, 0))
        if per_sample and self.own and self.method == "differences":
            self._check_deltas(tensor, index, found, measure)

    def _check_deltas(
        self,
        tensor: Tensor,
        index: Array,
        found: Slopes,
        measure: Callable[..., Slopes],
    ) -> None:
        """BP1, BP2."""
        layer = int(tensor.name[1:]) - 1
        checked = self.checked
        assert isinstance(checked, NetworkSubject)
        deltas = np.asarray(self.net.deltas(checked.X, checked.Y)[layer], np.float64)
        n, k = len(deltas), len(index)
        flat = (np.arange(n)[:, None] * deltas.shape[1] + (index - tensor.start)).ravel()

        def by_sample(s: Slopes) -> Slopes:
            return Slopes(*(np.ascontiguousarray(a[:, 1:].T).ravel() for a in _arrays(s)))

        def again(at: Array, largest: Array) -> Slopes:
            sample, place = np.divmod(at, k)
            found = measure(place, never, largest)
            return Slopes(*(a[np.arange(len(at)), 1 + sample] for a in _arrays(found)))

        rounding = self.of_deltas[layer].ravel()[flat] if self.of_deltas else np.zeros(len(flat))
        name = f"delta{layer + 1}"
        of = _Elements(name, deltas.shape, flat, deltas.ravel()[flat], rounding, None, again)
        self._judge(of, by_sample(found))

    def _check_inputs(self, checked: NetworkSubject) -> None:
        X = checked.X
        analytic = np.asarray(self.net.input_gradient(X, checked.Y), np.float64).ravel()
        index = np.unique(np.linspace(0, X.size - 1, min(X.size, MOST_INPUTS)).astype(int))
        W = np.abs(checked.twin.weights[0]).max(axis=1)
        scale = np.tile(np.clip(1 / np.where(W > 0, W, 1.0), *SCALES), len(X))
        assert self.of_inputs is not None
        rounding = self.of_inputs.ravel()[index]

        def measure(at: Array, enough: Enough, largest: Array | None = None) -> Slopes:
            noise = checked.noise[index[at] // X.shape[1]][:, None]
            found = slopes(
                checked.input_changes, X.ravel(), index[at], scale=scale, noise=noise,
                enough=enough, largest=largest,
            )  # fmt: skip
            return _column(found, 0)

        of = _Elements(
            "x", X.shape, index, analytic[index], rounding, None,
            lambda at, largest: measure(at, never, largest),
        )  # fmt: skip
        self._judge(of, measure(np.arange(len(index)), _enough(rounding, 1)))

    def _judge(self, of: _Elements, found: Slopes) -> None:
        def judge(s: Slopes) -> tuple[TensorCheck, Array]:
            return judging.judge(
                of.name, of.shape, of.index, of.analytic, *_arrays(s), tolerance=self.tolerance,
                rounding=of.rounding, resolution=RESOLUTION[self.dtype.name],
            )  # fmt: skip

        check, status = judge(found)
        suspects = np.flatnonzero((status == FAIL) & np.isfinite(of.analytic))
        if len(suspects) and self.method == "differences":
            # estimates may have agreed by chance: the first suspects are measured with every step
            found = Slopes(*(a.copy() for a in _arrays(found)))
            first = suspects[:: -(-len(suspects) // MOST_REPEATED)]
            better_ones = of.again(first, self._clear_steps(of, first))
            for a, better in zip(_arrays(found), _arrays(better_ones), strict=True):
                a[first] = better
            check, status = judge(found)
            suspects = np.flatnonzero((status == FAIL) & np.isfinite(of.analytic))
        if len(suspects) and isinstance(self.checked, NetworkSubject) and self.checked.has_kinks:
            self._allow_kinks(of, found, suspects)
            check, status = judge(found)
        self.tensors.append(check)
        self.points[of.name] = {
            "index": of.index, "analytic": of.analytic, "numeric": found.value,
            "bound": found.bound, "status": status,
        }  # fmt: skip

    def _allow_kinks(self, of: _Elements, found: Slopes, suspects: Array) -> None:
        """Put the intervals that kinks allow into `found`."""
        checked = self.checked
        assert isinstance(checked, NetworkSubject)
        units = np.array([self._changes_sides(of, i, SMALL_STEP) for i in suspects])
        at = suspects[(units > 0).any(axis=1)]
        if of.parameters is not None and len(at):
            found.left[at], found.right[at] = self._between(checked, of.parameters[at])
            found.left_bound[at] = found.right_bound[at] = 0.0
        crowded = suspects[(units > 1).any(axis=1)]
        low = np.minimum(found.left - found.left_bound, found.right - found.right_bound)[crowded]
        high = np.maximum(found.left + found.left_bound, found.right + found.right_bound)[crowded]
        a = of.analytic[crowded]
        crowded = crowded[(a < low) | (a > high)]
        found.bound[crowded] = np.inf  # between which slopes it must lie is not known
        self.ambiguous += len(crowded)

    def _between(self, checked: NetworkSubject, index: Array) -> tuple[Array, Array]:
        """Sums over samples of the smaller and of the larger one-sided slope, with bounds."""
        parts = slopes(
            checked.components, checked.parameters, index, scale=self.scale, noise=checked.noise,
            enough=never,
        )  # fmt: skip
        low = np.minimum(parts.left - parts.left_bound, parts.right - parts.right_bound)
        high = np.maximum(parts.left + parts.left_bound, parts.right + parts.right_bound)
        smooth = np.abs(parts.left - parts.right) <= parts.left_bound + parts.right_bound
        low = np.where(smooth, parts.value - parts.bound, low)
        high = np.where(smooth, parts.value + parts.bound, high)
        old = checked.parameters[index]
        h = SMALL_STEP * self.scale[index]
        up, down = checked.penalty(index, old + h) / h, -checked.penalty(index, old - h) / h
        return (
            low @ checked.shares + np.minimum(up, down),
            high @ checked.shares + np.maximum(up, down),
        )

    def _clear_steps(self, of: _Elements, positions: Array) -> Array:
        """For each the largest of the usual steps within which no unit changes sides."""
        largest = np.full(len(positions), np.inf)
        checked = self.checked
        if not isinstance(checked, NetworkSubject) or not checked.has_kinks:
            return largest
        for place, i in enumerate(positions):
            for factor in sorted(WINDOWS, reverse=True):
                if not self._changes_sides(of, i, factor).any():
                    # beyond the largest step: nothing is known, and nothing need be
                    largest[place] = (
                        np.inf if factor == max(WINDOWS) else factor * self._unit(of, i)
                    )
                    break
        return largest

    def _unit(self, of: _Elements, i: int) -> float:
        """The step that moves some z by 1."""
        checked = self.checked
        assert isinstance(checked, NetworkSubject)
        if of.name == "x":
            W = np.abs(checked.twin.weights[0][of.index[i] % checked.X.shape[1]]).max()
            return float(np.clip(1 / W, *SCALES)) if W else 1.0
        return float(self.scale[of.parameters[i]]) if of.parameters is not None else 1.0

    def _changes_sides(self, of: _Elements, i: int, factor: float) -> Array:
        """How many units of each sample change sides between a step down and a step up."""
        checked = self.checked
        assert isinstance(checked, NetworkSubject)
        X, own = checked.X, -1
        step = factor * self._unit(of, i)
        sides = []
        if of.name == "x":
            for sign in (1.0, -1.0):
                moved = X.copy()
                moved.ravel()[of.index[i]] += sign * step
                sides.append(checked.sides(moved))
            return np.asarray(np.sum(sides[0] != sides[1], axis=1))
        if of.parameters is not None:
            at = int(of.parameters[i])
        else:  # a delta: move the bias, look at its sample
            biases = checked.tensors[2 * int(of.name[5:]) - 1]
            own, column = divmod(int(of.index[i]), biases.size)
            at = biases.start + column
        for sign in (1.0, -1.0):
            parameters = checked.parameters.copy()
            parameters[at] += sign * step
            with checked.at(parameters):
                sides.append(checked.sides(X))
        units = np.sum(sides[0] != sides[1], axis=1)
        return units if own < 0 else np.where(np.arange(len(X)) == own, units, 0)


def never(value: Array, bound: Array) -> Array:
    """No window of steps is enough."""
    return np.zeros(len(value), bool)


def _enough(rounding: Array, m: int) -> Enough:
    """Known to a small part of what it will be held against."""
    largest_rounding = rounding[:, None] / 10

    def enough(value: Array, bound: Array) -> Array:
        size = np.abs(np.where(np.isfinite(value), value, 0.0))
        floor = np.hstack(
            [
                np.broadcast_to(1e-11 * size[:, :1].max(initial=0.0), (len(size), 1)),
                np.broadcast_to(1e-9 * size[:, 1:].max(initial=0.0), (len(size), m - 1)),
            ]
        )
        wanted = np.maximum(np.maximum(1e-5 * size, floor), largest_rounding)
        return np.asarray((bound <= wanted).all(axis=1))

    return enough


def _arrays(found: Slopes) -> tuple[Array, ...]:
    return (
        found.value, found.bound, found.left, found.left_bound, found.right, found.right_bound
    )  # fmt: skip


def _column(found: Slopes, column: int) -> Slopes:
    return Slopes(*(np.ascontiguousarray(a[:, column]) for a in _arrays(found)))


def _known(allowance: Array) -> Array:
    """An allowance that overflowed is infinite."""
    return np.where(np.isfinite(allowance), allowance, np.inf)
