"""What is told, in which order, with which numbers.

What belongs here: the sentences and the choice of numbers, made of the results of the checks. What
does not: the checks (explanation.py), notation (formula.py), terminals (terminal.py), HTML
(page.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.check.report import Table
from fastbp.check.subject import twin_of
from fastbp.check.terms.ladder import OutputError, output_error
from fastbp.check.terms.recurrence import HiddenError
from fastbp.check.terms.structure import structure, why_the_sum
from fastbp.explain.blocks import (
    SHOWN,
    Block,
    Drawings,
    Equation,
    Heading,
    Jacobians,
    Ladder,
    Ladders,
    Matrix,
    Numbers,
    Paths,
    Picture,
    Rung,
    Section,
    Steps,
    Sum,
    Text,
)
from fastbp.explain.formula import signed, with_formulas

if TYPE_CHECKING:
    from fastbp.explain.explanation import Case

Array = np.ndarray

STEPS = (0.1, 0.001, 0.00001)  # of the quotient of differences by one weight
LARGE = 2.0**20  # of a weight: beside it these steps are lost in rounding
SAME = 1e-9  # rungs apart by less, relative to the largest delta, differ by rounding alone

ACTIVATIONS = {
    "identity": "a_k = z_k",
    "sigmoid": "a_k = 1/{1 + e^{−z_k}}",
    "tanh": "a_k = {e^{z_k} − e^{−z_k}}/{e^{z_k} + e^{−z_k}}",
    "exp": "a_k = e^{z_k}",
    "softmax": "a_k = e^{z_k}/{∑_i e^{z_i}}",
    "log_softmax": "a_k = z_k − ln ∑_i e^{z_i}",
}
COSTS = {
    "quadratic": "C = ½ ∑_k (a_k − y_k)^2",
    "mse": "C = 1/n ∑_k (a_k − y_k)^2",
    "cross_entropy": "C = −∑_k y_k ln a_k",
    "binary_cross_entropy": "C = −∑_k (y_k ln a_k + (1 − y_k) ln(1 − a_k))",
}


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


class Teller:
    """The sections, written from the cases."""

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

    def sections(self) -> tuple[Section, ...]:
        return (
            Section("question", "The question", tuple(self.question())),
            Section("numbers", "The numbers", tuple(self.numbers())),
            Section("ladder", "The ladder", tuple(self.ladder())),
            Section("structure", "What depends on what", tuple(self.structure())),
            Section("recurrence", "One layer back: here the sum stays", tuple(self.recurrence())),
            Section("weights", "Weights and biases", tuple(self.weights())),
            Section("summary", "What was checked", tuple(self.summary())),
        )

    def called(self, j: int) -> str:
        """A neuron of the last layer by number, and by name where it has one."""
        named = self.labels and self.n_z == self.n_a
        return f"{j + 1} (class {self.labels[j]})" if named else f"{j + 1}"

    # 1

    def question(self) -> list[Block]:
        return [
            Text(
                "The error of neuron $j$ in the last layer is $δ_j = ∂C/∂z_j$: how much the cost "
                "$C$ changes with the weighted input $z_j$. Its derivation begins with"
            ),
            Equation("δ_j = ∑_k ∂C/∂a_k ∂a_k/∂z_j"),
            Text(
                "and goes on as if only the term $k = j$ were there. Why does a sum over $k$ "
                "appear when only $k = j$ survives?"
            ),
            Text(
                "The short answer: the chain rule puts the sum there, the model removes it. $C$ "
                "depends on all the $a_k$, and each of them may depend on $z_j$; the chain rule "
                "for several variables adds up all these paths. If each $a_k$ depends on its own "
                "$z_k$ only, as with sigmoid, then $∂a_k/∂z_j = 0$ for $k ≠ j$ and one term is "
                "left. With softmax every $a_k$ depends on every $z_j$: all terms stay, and code "
                "that keeps $k = j$ alone is wrong."
            ),
            Drawings(tuple(self.paths())),
        ]

    def paths(self) -> Iterator[Paths]:
        """From z_j to C, for each activation of the last layer."""
        cases = {case.output_error.activation: case for case in self.cases}
        for name, case in cases.items():
            several, n = not case.output_error.collapses, self.n_a
            one = "a_j" if self.n_z == n else "a_k"  # whose z_j it is, of maxout and glu
            names = {1: (one,), 2: (one, "a_i")}.get(n, ("a_1", "", one, "", f"a_{{{n}}}"))
            all_reached = several and case.structure.kind == "dense"
            text = (
                f"With {name} $z_j$ reaches $C$ through every $a_k$: the sum keeps all its terms."
                if all_reached and n > 1
                else f"With {name} $z_j$ reaches $C$ through one activation: one term is left."
            )
            reached = tuple(all_reached or other == one for other in names)
            yield Paths(name, names, reached, text)

    # 2

    def numbers(self) -> list[Block]:
        sizes = ", ".join(map(str, self.first.net.sizes))
        several = len(self.cases) > 1
        hidden = ", ".join(dict.fromkeys(self.first.net.architecture["activation"]))
        blocks: list[Block] = [
            Text(
                f"The sample: {self.source}. {'Networks' if several else 'A network'} of sizes "
                f"{sizes}; {f'hidden layers: {hidden}' if hidden else 'no hidden layer'}. Neurons "
                "are counted from 1."
            )
        ]
        if self.image is not None:
            pixels = self.x.reshape(self.image)
            height, width = self.image
            blocks.append(Picture(pixels, f"the sample, {height} by {width} pixels"))
        elif len(self.x) <= SHOWN:
            row = ", ".join(signed(v, 4) for v in self.x)
            blocks.append(Text(f"x = ({row})"))
        if self.note:
            blocks.append(Text(self.note))
        for case in self.cases:
            blocks.append(Heading(case.name))
            remark = self.about_the_weights(case)
            if remark:
                blocks.append(Text(remark))
            error = case.output_error
            formulas = [ACTIVATIONS.get(error.activation), COSTS.get(error.cost)]
            n = f"with $n = {self.n_a}$, the number of outputs" if error.cost == "mse" else ""
            notes = ("", n)
            blocks += [Equation(f, note) for f, note in zip(formulas, notes, strict=True) if f]
            blocks.append(self.values(case))
        return blocks

    def about_the_weights(self, case: Case) -> str:
        """One sentence where an earlier network has these weights."""
        before = self.cases[: self.cases.index(case)]
        for other in reversed(before):
            if np.array_equal(other.net.parameters, case.net.parameters):
                about, theirs = case.output_error, other.output_error
                same = about.activation == theirs.activation
                what = "cost" if same else "activation"
                return f"The weights are those of {other.name}; the {what} is another."
        return ""

    def values(self, case: Case) -> Numbers:
        """z, a, y and dC/da of the neurons that are shown."""
        error = case.output_error
        header, rows = ["$j$"], []
        if self.labels:
            header.append("class")
        header += ["$z_j$", "$a_j$", "$y_j$", "$∂C/∂a_j$"]
        y = np.asarray(error.y).reshape(-1)
        for j in self.neurons:
            row: list[Any] = [str(j + 1)]
            if self.labels:
                row.append(self.labels[j] if j < self.n_a and self.n_z == self.n_a else "")
            row.append(float(error.z[j]))
            row += [float(v[j]) if j < len(v) else "" for v in (error.a, y, error.g)]
            rows.append(row)
        return Numbers(Table("", header, rows), self.neurons.index(self.j), self.neurons)

    # 3

    def ladder(self) -> list[Block]:
        blocks: list[Block] = [
            Text(
                "Four expressions for the same $δ_j$, each with more knowledge of the model than "
                "the one before. (1) is measured: $z_j$ is shifted a little and only the values "
                "of $C$ are looked at; $±$ is the bound of that measurement's error. (2) is the "
                "chain rule. From (2) to (3) goes only who knows that $a_k$ depends on $z_k$ alone."
            ),
            Equation("δ_j = ∂C/∂z_j", "(1) by definition"),
            Equation("= ∑_k ∂C/∂a_k ∂a_k/∂z_j", "(2) always"),
            Equation("= ∂C/∂a_j ∂a_j/∂z_j", "(3) if each $a_k$ depends on $z_k$ alone"),
            Equation("= ∂C/∂a_j σ′(z_j)", "(4) the same, with $a_j = σ(z_j)$"),
        ]
        for case in self.cases:
            error = case.output_error
            blocks.append(Heading(case.name))
            ladders = tuple(self.rungs(error, j) for j in self.neurons)
            blocks.append(Ladders(ladders, self.j))
            blocks.append(Text(self.about_the_sum(case)))
            if self.is_cross_entropy(error):
                blocks.append(Text(self.about_the_true_class(error)))
            blocks.append(self.all_neurons(case))
        return blocks

    def rungs(self, error: OutputError, j: int) -> Ladder:
        n = j + 1
        low, high = (float(v) for v in error.interval[:, j])
        one, bound = float(error.black_box[j]), float(error.bound[j])
        measured = f"{signed(one)} ± {signed(bound, 1)}"
        if low != high:
            measured = f"{signed(low)} … {signed(high)}, a kink"
        total, diagonal = float(error.total[j]), float(error.diagonal[j])
        apart = total - diagonal
        scale = float(np.abs(error.total).max())
        if j >= self.n_a:
            note = f"there is no $a_{n}$"
        elif error.collapses:
            note = f"the same: $∂a_k/∂z_{n} = 0$ for $k ≠ {n}$"
        elif abs(apart) > SAME * scale:
            note = f"not (2): the terms $k ≠ {n}$ add {signed(apart)}"
        else:
            note = f"the same here: the terms $k ≠ {n}$ add nothing"
        rungs = [
            Rung("(1)", f"∂C/∂z_{n}", measured, one, "measured from values of $C$ alone"),
            Rung(
                "(2)",
                f"∑_k ∂C/∂a_k ∂a_k/∂z_{n}",
                signed(total),
                total,
                "the chain rule, every term:",
                self.sum_of(error, j),
            ),
            Rung("(3)", f"∂C/∂a_{n} ∂a_{n}/∂z_{n}", signed(diagonal), diagonal, note),
            Rung(
                "(4)",
                f"∂C/∂a_{n} σ′(z_{n})",
                signed(float(error.product[j])),
                float(error.product[j]),
                f"$σ′(z_{n})$ is another name of $∂a_{n}/∂z_{n}$",
            ),
        ]
        if error.claimed is not None:
            claimed = float(error.claimed[j])
            gap = abs(claimed - one) if low == high else 0.0
            rungs.append(
                Rung(
                    error.claimant,
                    f"δ_{n}",
                    signed(claimed),
                    claimed,
                    f"what the library computes; {signed(gap, 1)} from (1)",
                )
            )
        return Ladder(f"Neuron {self.called(j)}", j, tuple(rungs))

    def sum_of(self, error: OutputError, j: int) -> Sum:
        terms = error.terms[:, j]
        shown = largest(terms, SHOWN, j if j < self.n_a else None)
        at = np.array(shown)
        rest = np.delete(terms, at)
        return Sum(
            ("k", "∂C/∂a_k", f"∂a_k/∂z_{j + 1}", "term"),
            shown,
            np.column_stack([error.g[at], error.jacobian[at, j]]),
            terms[at],
            float(rest.sum()),
            len(rest),
            float(error.total[j]),
        )

    def is_cross_entropy(self, error: OutputError) -> bool:
        y = np.asarray(error.y)
        return (
            error.cost.partition("(")[0] in ("cross_entropy", "kl")
            and y.shape == (self.n_a,)
            and error.activation == "softmax"
            and np.array_equal(np.unique(y), [0, 1])
            and y.sum() == 1
        )

    def about_the_sum(self, case: Case) -> str:
        error = case.output_error
        if self.n_a == 1 and self.n_z == 1:
            return "There is one output, so the sum has one term: no other $k$ could couple to it."
        if error.collapses:
            return (
                f"With {error.activation} the sum has {self.n_a} terms, and all but $k = j$ are "
                "exactly 0. (2), (3) and (4) are the same number for every neuron."
            )
        apart = np.abs(error.total - error.diagonal)
        scale = float(np.abs(error.total).max())
        worst = int(np.argmax(apart))
        return (
            f"With {error.activation} (2) and (3) part at {int((apart > SAME * scale).sum())} of "
            f"{self.n_z} neurons. Most at neuron {self.called(worst)}: $k = j$ alone gives "
            f"{signed(error.diagonal[worst])}, the sum {signed(error.total[worst])}. Measurement "
            "(1) sides with the sum."
        )

    def about_the_true_class(self, error: OutputError) -> str:
        c = int(np.flatnonzero(error.y)[0])
        return (
            f"Look at $∂C/∂a_k$ here: it is $−y_k/a_k$, which is 0 for all but the true class, "
            f"neuron {self.called(c)}. So $k = j$ alone gives 0 at every other neuron: code that "
            "drops the sum never pushes a wrong class down. And at the true class the one term "
            "that is not 0 is just $k = j$: there the mistake cannot be seen. With the sum, "
            "$δ_j = a_j − y_j$."
        )

    def all_neurons(self, case: Case) -> Numbers:
        error = case.output_error
        header = ["$j$"] + (["class"] if self.labels else [])
        header += ["(1) $∂C/∂z_j$", "±", "(2) sum", "(3) $k = j$", "(4) $∂C/∂a_j σ′(z_j)$"]
        columns = [error.total, error.diagonal, error.product]
        if error.claimed is not None:
            header.append(error.claimant)
            columns.append(error.claimed)
        rows: list[list[Any]] = []
        for j in self.neurons:
            row: list[Any] = [str(j + 1)]
            if self.labels:
                row.append(self.labels[j] if self.n_z == self.n_a else "")
            row += [float(error.black_box[j]), signed(error.bound[j], 1)]
            rows.append(row + [float(column[j]) for column in columns])
        some = f", {len(self.neurons)} of {self.n_z}" if len(self.neurons) < self.n_z else ""
        return Numbers(
            Table(f"{case.name}: all neurons{some}", header, rows),
            self.neurons.index(self.j),
            self.neurons,
        )

    # 4

    def structure(self) -> list[Block]:
        rows = self.neurons if self.n_z == self.n_a else tuple(range(min(self.n_a, SHOWN)))
        matrices: list[Matrix] = []
        seen: list[tuple[str, Array]] = []
        for case in self.cases:
            error = case.output_error
            if any(error.activation == name and (error.z == z).all() for name, z in seen):
                continue
            seen.append((error.activation, error.z))
            found = case.structure
            text = why_the_sum(error.activation, found.collapses, found.depends)
            matrices.append(
                Matrix(
                    f"{error.activation}: {found.kind}",
                    error.jacobian[np.ix_(rows, self.neurons)],
                    rows,
                    self.neurons,
                    with_formulas(text),
                )
            )
        return [
            Text(
                "The Jacobian $J_{kj} = ∂a_k/∂z_j$ at this sample, row $k$, column $j$. The sum "
                "for $δ_j$ runs down column $j$: each entry times its $∂C/∂a_k$."
            ),
            Jacobians(tuple(matrices), self.j),
        ]

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
            W = np.asarray(net.weights[l][j], np.float64)
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
        low, high = (float(v) for v in hidden.interval[:, j])
        one = float(hidden.black_box[j])
        measured = f"{signed(one)} ± {signed(float(hidden.bound[j]), 1)}"
        if low != high:
            measured = f"{signed(low)} … {signed(high)}, a kink"
        gap = abs(float(hidden.claimed[j]) - one) if low == high else 0.0
        product = f"W_{{k{n}}} δ_k σ′(z_{n})" if simple else f"δ_k ∂z_k/∂z_{n}"
        return [
            Rung("(1)", f"∂C/∂z_{n}", measured, one, "measured from values of $C$ alone"),
            Rung(
                "BP2",
                f"∑_k {product}",
                signed(total),
                total,
                f"over every neuron $k$ of layer {l + 1}:",
                Sum(header, shown, factors, terms[at], float(rest.sum()), len(rest), total),
            ),
            Rung(
                "engine",
                f"δ_{n}",
                signed(float(hidden.claimed[j])),
                float(hidden.claimed[j]),
                f"what the library computes; {signed(gap, 1)} from (1)",
            ),
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
        L, j = len(net.weights), self.j
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

    # 7

    def summary(self) -> list[Block]:
        rows = []
        remarks: list[str] = []
        for case in self.cases:
            for about, result in case.checks():
                rows.append([case.name, about, result.verdict])
                if not result.verdict.startswith("pass"):
                    remarks += [f"{case.name}, {about}: {line}" for line in result.findings]
        return [
            Text(f"{self.verdict()}."),
            Numbers(Table("", ["network", "check", "verdict"], rows)),
            *(Text(remark) for remark in remarks),
        ]

    def verdict(self) -> str:
        results = [result for case in self.cases for _, result in case.checks()]
        failed = sum(result.ok is False for result in results)
        unclear = sum(result.verdict.startswith("inconclusive") for result in results)
        if failed:
            return f"FAIL: {failed} of {len(results)} checks failed"
        if unclear == len(results):
            return f"inconclusive: none of {unclear} checks could tell anything"
        if unclear:
            return f"inconclusive: rounding hides the answer of {unclear} of {len(results)} checks"
        return f"pass: all {len(results)} checks agree within their bounds"
