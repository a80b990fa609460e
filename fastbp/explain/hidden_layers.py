"""One layer back in sentences: the recurrence, weights and biases.

What belongs here: sections about BP2 to BP4. What does not: the output error (last_layer.py),
notation (formula.py).
"""

from __future__ import annotations

import math

import numpy as np

from fastbp.check.report import Table
from fastbp.check.subject import twin_of
from fastbp.check.terms.ladder import output_error
from fastbp.check.terms.recurrence import HiddenError
from fastbp.check.terms.structure import structure
from fastbp.explain.blocks import (
    SHOWN,
    Block,
    Equation,
    Numbers,
    Rung,
    Steps,
    Sum,
    Text,
)
from fastbp.explain.facts import Facts, claimed_rung, largest, measured_rung
from fastbp.explain.formula import signed

Array = np.ndarray

STEPS = (0.1, 0.001, 0.00001)  # of the quotient of differences by one weight
LARGE = 2.0**20  # of a weight: beside it these steps are lost in rounding


class HiddenLayers(Facts):
    """Sections 5 and 6."""

    # 5

    def recurrence(self) -> list[Block]:
        found = self.first.recurrence
        if not found.layers:
            return [Text("This network has no hidden layer: the output error is all there is.")]
        hidden = found.layers[-1]
        l, j = hidden.layer, self.hidden_neuron(hidden)
        simple = self.is_elementwise(hidden)
        blocks: list[Block] = [
            Text(
                f"Neuron {j + 1} of layer {l} ({hidden.activation}), the hidden neuron with the "
                f"largest error, in the network with {self.first.name}. "
                + (f"Its $a_{j + 1}$ enters " if simple else "What it adds to its layer enters ")
                + "every weighted input of the next layer, "
                "$z_k^{l+1} = ∑_i W_{ki}^{l+1} a_i^l + b_k^{l+1}$, so $C$ depends on it through "
                f"all of them. Again the chain rule adds up the paths, here with $l = {l}$:"
            ),
            Equation("δ_j^l = ∑_k ∂C/∂z_k^{l+1} ∂z_k^{l+1}/∂z_j^l"),
        ]
        if simple:
            blocks.append(Equation("δ_j^l = ∑_k W_{kj}^{l+1} δ_k^{l+1} σ′(z_j^l)"))
        blocks += [
            Steps(tuple(self.hidden_rungs(hidden, j, simple))),
            Text(
                f"No term is left out here, whatever the activation: the weights $W_{{kj}}$ tie "
                f"neuron {j + 1} to every neuron $k$ of the next layer. That is the contrast. In "
                "the last layer the sum runs over the activations of the same layer, and "
                f"{self.contrast()} Between layers it runs over the neurons of the next layer, "
                "and a layer that is fully connected leaves none of them out."
            ),
            Text(
                "$W_{kj}$ leads from neuron $j$ to neuron $k$ of the next layer, as in textbooks; "
                "`net.weights` holds it as [j, k]."
            ),
        ]
        return blocks

    def contrast(self) -> str:
        name = self.first.output_error.activation
        if self.first.output_error.collapses:
            return f"{name} keeps them apart."
        return f"{name} ties them together; with sigmoid, say, it would not."

    def hidden_neuron(self, hidden: HiddenError) -> int:
        size = np.abs(hidden.total)
        return int(np.argmax(np.where(np.isfinite(size), size, -1.0)))

    def is_elementwise(self, hidden: HiddenError) -> bool:
        return structure(hidden.activation, 3).collapses

    def hidden_rungs(self, hidden: HiddenError, j: int, simple: bool) -> list[Rung]:
        l, n = hidden.layer, j + 1
        above = self.above(l)
        terms = hidden.terms[:, j]
        shown = largest(terms, SHOWN)
        at = np.array(shown)
        rest = np.delete(terms, at)
        net = self.first.net
        header: tuple[str, ...]
        if simple:
            W = np.asarray(net.weights[-1][j], np.float64)  # the layer before the last
            z = np.asarray(net.feedforward(self.x.reshape(1, -1))[0][l - 1][0], np.float64)
            slope = self.slope(hidden.activation, z, j)
            header = ("k", f"W_{{k{n}}}", "δ_k", f"σ′(z_{n})", "term")
            factors = np.column_stack([W[at], above[at], np.full(len(at), slope)])
        else:
            header = ("k", f"∂z_k/∂z_{n}", "δ_k", "term")
            with np.errstate(all="ignore"):
                M = np.where(above != 0, terms / np.where(above != 0, above, 1.0), np.nan)
            factors = np.column_stack([M[at], above[at]])
        total = float(hidden.total[j])
        product = f"W_{{k{n}}} δ_k σ′(z_{n})" if simple else f"δ_k ∂z_k/∂z_{n}"
        return [
            measured_rung(hidden, j),
            Rung(
                "BP2",
                f"∑_k {product}",
                signed(total),
                total,
                f"over every neuron $k$ of layer {l + 1}:",
                Sum(header, shown, factors, terms[at], float(rest.sum()), len(rest), total),
            ),
            claimed_rung(hidden, hidden.claimed, "engine", j),
        ]

    def above(self, l: int) -> Array:
        """delta of layer l + 1 by the formula; layers counted from 1."""
        found = self.first.recurrence
        return found.output if l == len(found.layers) else found.layers[l].total

    def slope(self, activation: str, z: Array, j: int) -> float:
        """sigma'(z_j) of an elementwise activation."""
        found = output_error(
            z=z[j : j + 1], y=np.zeros(1), activation=activation, cost=lambda a, y: a[0]
        )
        return float(found.jacobian[0, 0])

    # 6

    def weights(self) -> list[Block]:
        net, error = self.first.net, self.first.output_error
        L, j = len(net.layers), self.j
        a = np.asarray(net.feedforward(self.x.reshape(1, -1))[1][-2][0], np.float64)
        k = int(np.argmax(np.abs(a)))
        if self.first.recurrence.layers:
            neuron = self.hidden_neuron(self.first.recurrence.layers[-1])
            k = neuron if neuron < len(a) and a[neuron] else k
        product = float(a[k] * error.total[j])
        n, m = j + 1, k + 1
        where = f"layer {L - 1}" if L > 1 else "the input"
        W = f"W_{{{n},{m}}}"
        steps, quotients = self.quotients(k)
        best = quotients[-1]
        X, Y = self.x.reshape(1, -1), self.y
        nabla = np.asarray(net.gradient(X, Y), np.float64)
        at = len(nabla) - net.biases[-1].size - net.weights[-1].size
        engine = float(nabla[at + k * net.weights[-1].shape[1] + j])
        rows = [
            [signed(step), value, signed(abs(value - product), 1)]
            for step, value in zip(steps, quotients, strict=True)
        ]
        return [
            Text(
                "With $δ$ of a layer known, its biases and weights are one product away. "
                "$z_i = ∑_m W_{im} a_m + b_i$: the weight $W_{jk}$ enters $z_j$ and no other "
                "$z_i$. So here, too, the chain rule gives a sum, and all terms but one vanish, "
                "whatever the activation:"
            ),
            Equation("∂C/∂b_j = ∑_i δ_i ∂z_i/∂b_j = δ_j"),
            Equation("∂C/∂W_{jk} = ∑_i δ_i ∂z_i/∂W_{jk} = a_k δ_j"),
            Text(
                f"The weight ${W}$ from neuron {m} of {where} to neuron {self.called(j)} of the "
                f"last layer, in the network with {self.first.name}; in the quotient this one "
                "weight is changed by $h$ and $C$ evaluated anew:"
            ),
            Steps(
                (
                    Rung(
                        "(1)",
                        "{C(W + h) − C(W − h)}/{2 h}",
                        signed(best),
                        best,
                        f"$h = {steps[-1]:.5f}$, a quotient of differences",
                    ),
                    Rung(
                        "BP4",
                        f"a_{m} δ_{n}",
                        signed(product),
                        product,
                        f"{signed(a[k])} × {signed(error.total[j])}",
                    ),
                    Rung(
                        "engine",
                        f"∂C/∂{W}",
                        signed(engine),
                        engine,
                        f"what the library computes; {signed(abs(engine - product), 1)} from BP4",
                    ),
                )
            ),
            Numbers(
                Table(
                    "the quotient nears the derivative as $h$ shrinks",
                    ["$h$", "quotient", f"distance from $a_{m} δ_{n}$"],
                    rows,
                )
            ),
        ]

    def quotients(self, k: int) -> tuple[list[float], list[float]]:
        """Steps, and the central quotients by the weight from neuron k to the neuron looked at."""
        twin = twin_of(self.first.net)
        W = twin.weights[-1]
        at = twin.n_parameters - twin.biases[-1].size - W.size + k * W.shape[1] + self.j
        w = float(W[k, self.j])
        steps = np.array(STEPS)
        if abs(w) > LARGE:  # w + h is to differ from w by more than rounding
            steps = np.ldexp(steps, math.frexp(w)[1])
        values = np.concatenate([w + steps, w - steps])
        costs = twin.perturbed_costs(
            self.x.reshape(1, -1), self.y, np.full(len(values), at), values
        )[:, 0]
        up, down = costs[: len(steps)], costs[len(steps) :]
        with np.errstate(invalid="ignore"):  # infinite costs, of which `perturbed_costs` tells
            found = (up - down) / (values[: len(steps)] - values[len(steps) :])
        return steps.tolist(), found.tolist()
