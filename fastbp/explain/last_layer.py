"""The last layer in sentences: the ladder of delta_j, and what depends on what.

What belongs here: sections about the output error (BP1). What does not: layers before it
(hidden_layers.py), notation (formula.py).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp.check.report import Table
from fastbp.check.terms.ladder import OutputError
from fastbp.check.terms.structure import why_the_sum
from fastbp.explain.blocks import (
    SHOWN,
    Block,
    Equation,
    Heading,
    Jacobians,
    Ladder,
    Ladders,
    Matrix,
    Numbers,
    Rung,
    Sum,
    Text,
)
from fastbp.explain.facts import SAME, Case, Facts, claimed_rung, largest, measured_rung
from fastbp.explain.formula import signed, with_formulas

Array = np.ndarray


class LastLayer(Facts):
    """Sections 3 and 4."""

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
            measured_rung(error, j),
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
            rungs.append(claimed_rung(error, error.claimed, error.claimant, j))
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
