"""What is known of the sample that is explained: the networks there, and what the checks found.

What belongs here: the facts that every section is written from, and the choice of neurons. What
does not: sentences (narrative.py, last_layer.py, hidden_layers.py), the checks (explanation.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp.check.gradients.network import GradientCheck
from fastbp.check.terms.ladder import OutputError
from fastbp.check.terms.recurrence import HiddenError, Recurrence
from fastbp.check.terms.structure import Structure
from fastbp.explain.blocks import Rung
from fastbp.explain.formula import signed
from fastbp.network import Network

Array = np.ndarray

SAME = 1e-9  # rungs apart by less, relative to the largest delta, differ by rounding alone


@dataclass(frozen=True, eq=False)
class Case:
    """One network at the sample, and what the checks found there."""

    name: str
    net: Network
    output_error: OutputError
    recurrence: Recurrence
    gradients: GradientCheck
    structure: Structure

    def checks(self) -> list[tuple[str, Any]]:
        """Those that can fail, by what they are about."""
        return [
            ("output error, rungs (1) to (4)", self.output_error),
            ("recurrence, BP2", self.recurrence),
            ("gradients, BP3 and BP4", self.gradients),
        ]


def largest(values: Array, n: int, also: int | None = None) -> tuple[int, ...]:
    """Places of the n largest absolute values, in order; `also` is among them."""
    order = np.argsort(-np.abs(values), kind="stable")[:n].tolist()
    if also is not None and also not in order:
        order[-1] = also
    return tuple(sorted(order))


def shows_the_sum(error: OutputError) -> Array:
    """At which neurons the terms k != j add something, where they belong to the sum at all."""
    apart = np.abs(error.total - error.diagonal)
    scale = float(np.abs(error.total).max())
    if error.collapses or not (apart > SAME * scale).any():
        return np.ones(len(apart), bool)
    return np.asarray(apart > SAME * scale)


def measured_rung(found: OutputError | HiddenError, j: int) -> Rung:
    """dC/dz_j from values of C alone, with its bound, or the slopes of both sides of a kink."""
    low, high = (float(v) for v in found.interval[:, j])
    one, bound = float(found.black_box[j]), float(found.bound[j])
    shown = f"{signed(one)} ± {signed(bound, 1)}"
    if low != high:
        shown = f"{signed(low)} … {signed(high)}, a kink"
    return Rung("(1)", f"∂C/∂z_{j + 1}", shown, one, "measured from values of $C$ alone")


def claimed_rung(found: OutputError | HiddenError, claimed: Array, claimant: str, j: int) -> Rung:
    """delta_j as somebody computes it, and how far it is from what is measured."""
    low, high = (float(v) for v in found.interval[:, j])
    value = float(claimed[j])
    gap = abs(value - float(found.black_box[j])) if low == high else 0.0
    note = f"what the library computes; {signed(gap, 1)} from (1)"
    return Rung(claimant, f"δ_{j + 1}", signed(value), value, note)


class Facts:
    """The cases at one sample x with target y; neuron j is the one that is looked at."""

    def __init__(
        self,
        cases: tuple[Case, ...],
        x: Array,
        j: int,
        neurons: tuple[int, ...],
        labels: tuple[str, ...],
        image: tuple[int, int] | None,
        source: str,
        note: str,
        y: Array,
    ) -> None:
        self.cases, self.x, self.j, self.neurons = cases, x, j, neurons
        self.note, self.y = note, y
        self.labels, self.image, self.source = labels, image, source
        self.first = cases[0]
        self.n_z, self.n_a = len(self.first.output_error.z), len(self.first.output_error.a)

    def called(self, j: int) -> str:
        """A neuron of the last layer by number, and by name where it has one."""
        named = self.labels and self.n_z == self.n_a
        return f"{j + 1} (class {self.labels[j]})" if named else f"{j + 1}"
