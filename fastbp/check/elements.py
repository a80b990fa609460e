"""Gradients element by element, each against a difference with a bound of its own.

What belongs here: the full mode of `gradients`: what is measured, with which steps, and what is
let pass. What does not: difference quotients (differences.py), the rule that passes an element
(judging.py), directions (taylor.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastbp.check import digits, judging
from fastbp.check.claim import Claim
from fastbp.check.differences import WINDOWS, Slopes, never, slopes
from fastbp.check.judging import FAIL, Points, TensorCheck
from fastbp.check.subject import MOST_NUMBERS, NONE, SCALES, NetworkSubject, Tensor

Array = np.ndarray
Enough = Callable[[Array, Array], Array]

RESOLUTION = {"float64": 1e-4, "float32": 1e-2}
MOST_INPUTS = 2000
MOST_SAMPLES = 64  # whose deltas are checked
MOST_REPEATED = 200
SMALL_STEP = 1e-7  # to either side of a kink, in units in which z moves by 1


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


class Elements:
    """Numeric values of every tensor, and the judgement of each.

    Attributes
    ----------
    tensors : list of TensorCheck
        W1, b1, ..., delta1, ..., x.
    by_name : dict of dict of arrays
        Of each tensor index, analytic, numeric, bound, status and rounding of what was checked.
    n_checked : int
        Parameters.
    ambiguous : int
        Elements where several kinks meet.
    """

    def __init__(self, claim: Claim, tolerance: float, max_parameters: int, method: str) -> None:
        self.claim, self.net, self.checked = claim, claim.net, claim.subject
        self.analytic, self.tolerance, self.method = claim.gradient, tolerance, method
        self.scale = self.checked.natural_scale()
        self.rounding, self.of_deltas, self.of_inputs = claim.rounding
        self.tensors: list[TensorCheck] = []
        self.by_name: dict[str, dict[str, Array]] = {}
        self.ambiguous = 0
        n = len(self.checked.shares)
        self.rows = np.unique(np.linspace(0, n - 1, min(n, MOST_SAMPLES)).astype(int))
        chosen = self._chosen(max_parameters)
        self.n_checked = sum(map(len, chosen))
        for tensor, index in zip(self.checked.tensors, chosen, strict=True):
            self._check_tensor(tensor, index)
        if isinstance(self.checked, NetworkSubject) and claim.own and method == "differences":
            self._check_inputs(self.checked)
        # W1, b1, delta1, W2, ... were checked in this order
        self.tensors.sort(key=lambda t: (t.name == "x", t.name.startswith("delta")))

    def points(self) -> Points:
        """All of them, in the order of the tensors."""
        parts = [self.by_name[t.name] for t in self.tensors]
        tensor = [np.full(len(p["index"]), i) for i, p in enumerate(parts)]
        keys = ("index", "analytic", "numeric", "bound", "status")
        return Points(
            np.concatenate(tensor), *(np.concatenate([p[k] for p in parts]) for k in keys)
        )

    def _chosen(self, max_parameters: int) -> list[Array]:
        """Flat indices of each tensor that are checked: all, or evenly spaced ones of each."""
        sizes = [t.size for t in self.checked.tensors]
        left, counts = max_parameters, [0] * len(sizes)
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

        # of one sample dC_x/db is its delta: one measurement serves both
        rows = self.rows if per_sample else NONE
        noise = np.append(checked.noise_of_sum, checked.noise[rows])

        def change(at: Array, values: Array) -> Array:
            return checked.changes(at, values, rows)

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
            lambda at, largest: measure(at, never, largest).column(0),
        )  # fmt: skip
        self._judge(of, found.column(0))
        if per_sample and self.claim.own and self.method == "differences":
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
        k = len(index)
        flat = (self.rows[:, None] * deltas.shape[1] + (index - tensor.start)).ravel()

        def by_sample(s: Slopes) -> Slopes:
            return Slopes(*(np.ascontiguousarray(a[:, 1:].T).ravel() for a in s.arrays))

        def again(at: Array, largest: Array) -> Slopes:
            sample, place = np.divmod(at, k)
            found = measure(place, never, largest)
            return Slopes(*(a[np.arange(len(at)), 1 + sample] for a in found.arrays))

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
        rounding = self.of_inputs.ravel()[index]

        def measure(at: Array, enough: Enough, largest: Array | None = None) -> Slopes:
            noise = checked.noise[index[at] // X.shape[1]][:, None]
            found = slopes(
                checked.input_changes, X.ravel(), index[at], scale=scale, noise=noise,
                enough=enough, largest=largest,
            )  # fmt: skip
            return found.column(0)

        of = _Elements(
            "x", X.shape, index, analytic[index], rounding, None,
            lambda at, largest: measure(at, never, largest),
        )  # fmt: skip
        self._judge(of, measure(np.arange(len(index)), _enough(rounding, 1)))

    def _judge(self, of: _Elements, found: Slopes) -> None:
        def judge(s: Slopes) -> tuple[TensorCheck, Array]:
            return judging.judge(
                of.name, of.shape, of.index, of.analytic, *s.arrays, tolerance=self.tolerance,
                rounding=of.rounding, resolution=RESOLUTION[self.claim.dtype.name],
            )  # fmt: skip

        check, status = judge(found)
        suspects = np.flatnonzero((status == FAIL) & np.isfinite(of.analytic))
        if len(suspects) and self.method == "differences":
            # estimates may have agreed by chance: the first suspects are measured with every step
            found = Slopes(*(a.copy() for a in found.arrays))
            first = suspects[:: -(-len(suspects) // MOST_REPEATED)]
            better_ones = of.again(first, self._clear_steps(of, first))
            for a, better in zip(found.arrays, better_ones.arrays, strict=True):
                a[first] = better
            check, status = judge(found)
            suspects = np.flatnonzero((status == FAIL) & np.isfinite(of.analytic))
        if len(suspects) and isinstance(self.checked, NetworkSubject) and self.checked.has_kinks:
            self._allow_kinks(of, found, suspects)
            check, status = judge(found)
        self.tensors.append(check)
        self.by_name[of.name] = {
            "index": of.index, "analytic": of.analytic, "numeric": found.value,
            "bound": found.bound, "status": status, "rounding": of.rounding,
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
        low, high = np.empty(len(index)), np.empty(len(index))
        block = max(1, MOST_NUMBERS // (10 * len(checked.shares)))
        for at in range(0, len(index), block):
            these = slice(at, at + block)
            parts = slopes(
                checked.components, checked.parameters, index[these], scale=self.scale,
                noise=checked.noise, enough=never,
            )  # fmt: skip
            smooth = np.abs(parts.left - parts.right) <= parts.left_bound + parts.right_bound
            lower = np.minimum(parts.left - parts.left_bound, parts.right - parts.right_bound)
            upper = np.maximum(parts.left + parts.left_bound, parts.right + parts.right_bound)
            low[these] = np.where(smooth, parts.value - parts.bound, lower) @ checked.shares
            high[these] = np.where(smooth, parts.value + parts.bound, upper) @ checked.shares
        old = checked.parameters[index]
        h = SMALL_STEP * self.scale[index]
        up, down = checked.penalty(index, old + h) / h, -checked.penalty(index, old - h) / h
        return low + np.minimum(up, down), high + np.maximum(up, down)

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
