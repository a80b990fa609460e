"""Gradients element by element, each against a difference with a bound of its own.

What belongs here: the full mode of `gradients`: what is measured, with which steps, and what is
let pass. What does not: difference quotients (differences.py), the rule that passes an element
(judging.py), directions (taylor.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from fastbp.check import judging
from fastbp.check.gradients.claim import Claim
from fastbp.check.judging import FAIL, Points, TensorCheck
from fastbp.check.numeric import digits
from fastbp.check.numeric.budget import Budget
from fastbp.check.numeric.differences import WINDOWS, Slopes, never, slopes
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


_Measured = tuple[_Elements, Slopes]


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
    whole : bool
        Whether deltas and dC/dx are looked at beside them.
    unseen : list of str
        Tensors of which time allowed no element.
    untold : list of str
        Deltas of scales of nothing but 0, of which values of the loss tell nothing.
    ambiguous, unrepeated : int
        Elements where several kinks meet; that would fail had time allowed a second look.
    """

    def __init__(
        self,
        claim: Claim,
        tolerance: float,
        max_parameters: int,
        method: str,
        budget: Budget,
        seed: int,
    ) -> None:
        self.claim, self.net, self.checked = claim, claim.net, claim.subject
        self.analytic, self.tolerance, self.method = claim.gradient, tolerance, method
        self.scale = self.checked.natural_scale()
        self.rounding, self.of_deltas, self.of_inputs = claim.rounding
        self.tensors: list[TensorCheck] = []
        self.by_name: dict[str, dict[str, Array]] = {}
        self.untold: list[str] = []
        self.ambiguous = self.unrepeated = 0
        self.random = None if budget.limit is None else np.random.default_rng(seed)
        n = len(self.checked.shares)
        self.rows = self._some(n, min(n, MOST_SAMPLES))
        self.whole = whole = (
            isinstance(self.checked, NetworkSubject) and claim.own and method == "differences"
        )
        todo = list(zip(self.checked.tensors, self._chosen(max_parameters), strict=True))
        if budget.limit is not None:  # what a small one leaves of its time goes to the larger
            todo.sort(key=lambda pair: len(pair[1]))
        for i, (tensor, index) in enumerate(todo):
            self._check_tensor(tensor, index, budget.share(len(todo) - i + whole))
        if isinstance(self.checked, NetworkSubject) and whole:
            self._check_inputs(self.checked, budget)
        wanted = [t.name for t in self.checked.tensors]
        self.n_checked = sum(t.n_checked for t in self.tensors if t.name in wanted)
        if whole:
            wanted += [*dict.fromkeys(f"delta{t.layer}" for t in self.checked.tensors), "x"]
        self.tensors.sort(key=lambda t: wanted.index(t.name))
        self.unseen = [n for n in wanted if n not in self.by_name and n not in self.untold]

    def points(self) -> Points:
        """All of them, in the order of the tensors."""
        parts = [self.by_name[t.name] for t in self.tensors]
        if not parts:
            return Points(*[np.empty(0)] * 6)
        tensor = [np.full(len(p["index"]), i) for i, p in enumerate(parts)]
        keys = ("index", "analytic", "numeric", "bound", "status")
        return Points(
            np.concatenate(tensor), *(np.concatenate([p[k] for p in parts]) for k in keys)
        )

    def _chosen(self, max_parameters: int) -> list[Array]:
        """Flat indices of each tensor that are checked: all, or some of each."""
        sizes = [t.size for t in self.checked.tensors]
        left, counts = max_parameters, [0] * len(sizes)
        order = sorted(range(len(sizes)), key=lambda i: sizes[i])
        for place, i in enumerate(order):  # small tensors whole, the rest is shared
            counts[i] = min(sizes[i], max(1, left // (len(order) - place)) if left > 0 else 0)
            left -= counts[i]
        return [
            t.start + self._some(t.size, n)
            for t, n in zip(self.checked.tensors, counts, strict=True)
        ]

    def _some(self, size: int, n: int) -> Array:
        """n of `size` indices: evenly spaced; drawn, in no order, where time may end the check."""
        if self.random is not None:
            return self.random.choice(size, n, replace=False)
        return np.unique(np.linspace(0, size - 1, n).astype(int)) if n else NONE

    # one tensor

    def _digits(self, index: Array) -> Slopes:
        """Slopes from mpmath's numbers."""
        checked = self.checked
        if not isinstance(checked, NetworkSubject):
            raise ValueError("method: 'mpmath' needs a fastbp.Network with that class's own loss")
        value, bound = digits.network_derivatives(
            checked.twin, checked.X, checked.Y, index, sample_weight=checked.sample_weight,
            l2=checked.l2, l1=checked.l1, decays=checked.decays,
        )  # fmt: skip
        both = [a[:, None] for a in (value, bound)]
        return Slopes(*both, *both, *both)

    def _check_tensor(self, tensor: Tensor, index: Array, budget: Budget) -> None:
        parts = [
            self._of_tensor(tensor, index[at], budget) for at in budget.parts(len(index), least=1)
        ]
        for of in zip(*parts, strict=True):
            self._judge(of)

    def _of_tensor(self, tensor: Tensor, index: Array, budget: Budget) -> list[_Measured]:
        """Some elements of a tensor; with biases or scales the deltas, BP1 and BP2."""
        checked = self.checked
        per_sample = isinstance(checked, NetworkSubject) and tensor.name[0] in "bs"
        rounding = self.rounding[index]

        # of one sample dC_x/db is its delta, dC_x/ds its delta times a: one measurement serves both
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
        out = [(of, self._settled(of, found.column(0), budget))]
        if per_sample and self.claim.own and self.method == "differences":
            out.append(self._of_deltas(tensor, index, found, measure, budget))
        return out

    @cached_property
    def _deltas(self) -> list[Array]:
        assert isinstance(self.checked, NetworkSubject)
        deltas = self.net.deltas(self.checked.X, self.checked.Y)
        return [np.asarray(delta, np.float64) for delta in deltas]

    def _of_deltas(
        self,
        tensor: Tensor,
        index: Array,
        found: Slopes,
        measure: Callable[..., Slopes],
        budget: Budget,
    ) -> _Measured:
        assert isinstance(self.checked, NetworkSubject)
        layer = tensor.layer - 1
        deltas = self._deltas[layer]
        factors = self.checked.probe(tensor.layer)[1]
        k = len(index)
        flat = (self.rows[:, None] * deltas.shape[1] + (index - tensor.start)).ravel()
        told = np.flatnonzero(factors.ravel()[flat])  # a scale of what is 0 tells nothing of delta
        flat = flat[told]
        factor = factors.ravel()[flat]

        def of_delta(arrays: Iterable[Array], factor: Array) -> Slopes:
            """Of what is measured, delta times the factor; every other array is a bound."""
            return Slopes(
                *(a / (np.abs(factor) if i % 2 else factor) for i, a in enumerate(arrays))
            )

        def by_sample(s: Slopes) -> Slopes:
            arrays = (np.ascontiguousarray(a[:, 1:].T).ravel()[told] for a in s.arrays)
            return of_delta(arrays, factor)

        def again(at: Array, largest: Array) -> Slopes:
            sample, place = np.divmod(told[at], k)
            found = measure(place, never, largest / np.abs(factor[at]))
            arrays = (a[np.arange(len(at)), 1 + sample] for a in found.arrays)
            return of_delta(arrays, factor[at])

        rounding = self.of_deltas[layer].ravel()[flat] if self.of_deltas else np.zeros(len(flat))
        name = f"delta{layer + 1}"
        of = _Elements(name, deltas.shape, flat, deltas.ravel()[flat], rounding, None, again)
        return of, self._settled(of, by_sample(found), budget)

    def _check_inputs(self, checked: NetworkSubject, budget: Budget) -> None:
        X = checked.X
        analytic = np.asarray(self.net.input_gradient(X, checked.Y), np.float64).ravel()
        W = checked.links[0].steepest()
        scale = np.tile(np.clip(1 / np.where(W > 0, W, 1.0), *SCALES), len(X))

        def of_inputs(index: Array) -> _Measured:
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
            found = measure(np.arange(len(index)), _enough(rounding, 1))
            return of, self._settled(of, found, budget)

        index = self._some(X.size, min(X.size, MOST_INPUTS))
        parts = [of_inputs(index[at]) for at in budget.parts(len(index), least=1)]
        if parts:
            self._judge(parts)

    def _verdicts(self, of: _Elements, found: Slopes) -> tuple[TensorCheck, Array]:
        return judging.judge(
            of.name, of.shape, of.index, of.analytic, *found.arrays, tolerance=self.tolerance,
            rounding=of.rounding, resolution=RESOLUTION[self.claim.dtype.name],
        )  # fmt: skip

    def _suspects(self, of: _Elements, found: Slopes) -> Array:
        status = self._verdicts(of, found)[1]
        return np.flatnonzero((status == FAIL) & np.isfinite(of.analytic))

    def _settled(self, of: _Elements, found: Slopes, budget: Budget) -> Slopes:
        """What was found, with a second look at all that would fail."""
        suspects = self._suspects(of, found)
        if len(suspects) and self.method == "differences":
            # estimates may have agreed by chance: the first suspects are measured with every step
            found = Slopes(*(a.copy() for a in found.arrays))
            first, done = suspects[:: -(-len(suspects) // MOST_REPEATED)], 0
            for part in budget.share(2).parts(len(first), least=1):
                some, done = first[part], part.stop
                better_ones = of.again(some, self._clear_steps(of, some))
                for a, better in zip(found.arrays, better_ones.arrays, strict=True):
                    a[some] = better
            if budget.limit is not None:  # time ended before the others: they are not judged
                others = np.setdiff1d(suspects, first[:done])
                found.bound[others] = np.inf
                self.unrepeated += len(others)
            suspects = self._suspects(of, found)
        if len(suspects) and isinstance(self.checked, NetworkSubject) and self.checked.has_kinks:
            self._allow_kinks(of, found, suspects)
        return found

    def _judge(self, parts: Sequence[_Measured]) -> None:
        """Keep one tensor's elements, which were measured in parts."""
        first = parts[0][0]
        if not any(len(of.index) for of, _ in parts):  # nothing told of its deltas
            self.untold.append(first.name)
            return
        if len(parts) > 1:
            index, analytic, rounding = (
                np.concatenate([getattr(of, name) for of, _ in parts])
                for name in ("index", "analytic", "rounding")
            )
            of = replace(first, index=index, analytic=analytic, rounding=rounding)
            arrays = zip(*(found.arrays for _, found in parts), strict=True)
            found = Slopes(*map(np.concatenate, arrays))
        else:
            of, found = parts[0]
        check, status = self._verdicts(of, found)
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
            W = checked.links[0].steepest()[of.index[i] % checked.X.shape[1]]
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
        else:  # a delta: move the bias (the scale), look at its sample
            probe, factors = checked.probe(int(of.name.removeprefix("delta")))
            own, column = divmod(int(of.index[i]), probe.size)
            at, step = probe.start + column, step / abs(factors[own, column])
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
