"""What is told, in which order, with which numbers.

What belongs here: the order of the sections, the question, the numbers, the summary. What does not:
the derivation itself (last_layer.py, hidden_layers.py), the checks (explanation.py), terminals
(terminal.py), HTML (page.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastbp.check.report import Table
from fastbp.explain.blocks import (
    SHOWN,
    Block,
    Drawings,
    Equation,
    Heading,
    Numbers,
    Paths,
    Picture,
    Section,
    Text,
)
from fastbp.explain.facts import Case
from fastbp.explain.formula import signed
from fastbp.explain.hidden_layers import HiddenLayers
from fastbp.explain.last_layer import LastLayer

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


class Teller(LastLayer, HiddenLayers):
    """The sections, written from the cases."""

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
        sizes = ", ".join(map(str, self.first.net.architecture["sizes"]))
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
