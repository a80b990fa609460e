"""An explanation as text.

What belongs here: each kind of block in lines of at most 100 characters. What does not: what is
told (narrative.py), where it is printed and in which letters (fastbp/cli/explain.py).
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

import numpy as np

from fastbp.check.report import WIDTH, Table
from fastbp.explain.blocks import (
    Block,
    Drawings,
    Equation,
    Heading,
    Jacobians,
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
from fastbp.explain.formula import as_text, signed, text_of

SHADES = " ░▒▓█"  # of pixels
STRENGTHS = "░▒▓█"  # of what is not 0
MARGIN = "    "


def text(sections: Sequence[Section]) -> str:
    """The whole explanation."""
    out = ""
    for number, section in enumerate(sections, 1):
        title = f"{number}. {section.title}"
        out += ("\n\n" if out else "") + f"{title}\n{'=' * len(title)}"
        above: Block | None = None
        for block in section.blocks:
            together = isinstance(block, Equation) and isinstance(above, Equation)
            out += ("\n" if together else "\n\n") + lines(block)
            above = block
    return out


def lines(block: Block) -> str:
    """One block."""
    match block:
        case Text(sentence):
            return textwrap.fill(text_of(sentence), WIDTH)
        case Equation(formula, note):
            return f"{MARGIN}{as_text(formula):<36}{text_of(note)}".rstrip()
        case Heading(sentence):
            return f"--- {text_of(sentence)} ---"
        case Numbers():
            return _table(block)
        case Picture(pixels):
            return _picture(pixels)
        case Drawings(paths):
            return "\n\n".join(_paths(drawing) for drawing in paths)
        case Ladders(ladders, chosen):
            ladder = next(ladder for ladder in ladders if ladder.j == chosen)
            return f"{ladder.title}\n\n{_rungs(ladder.rungs)}"
        case Steps(rungs):
            return _rungs(rungs)
        case Jacobians():
            return _jacobians(block)


def _table(block: Numbers) -> str:
    table = block.table
    header = [text_of(name) for name in table.header]
    rows = [list(row) for row in table.rows]
    if block.marked is not None:
        header.append("")
        rows = [[*row, "<" if i == block.marked else ""] for i, row in enumerate(rows)]
    if all(isinstance(value, str) for row in rows for value in row):  # words, not numbers
        columns = list(zip(header, *rows, strict=True))
        widths = [max(map(len, column)) for column in columns]
        full = [header, *rows]
        return "\n".join(
            textwrap.fill(
                "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip(),
                WIDTH,
                subsequent_indent=" " * (sum(widths[:-1]) + 2 * len(widths[:-1])),
            )
            for row in full
        )
    shown = [[signed(v) if isinstance(v, float) else v for v in row] for row in rows]
    return str(Table(text_of(table.title), header, shown))


def _rungs(rungs: tuple[Rung, ...]) -> str:
    names = max(len(rung.label) for rung in rungs)
    width = max(len(as_text(rung.formula)) for rung in rungs)
    numbers = max(len(rung.value) for rung in rungs)
    out = []
    for rung in rungs:
        head = f"{rung.label:<{names}}  {as_text(rung.formula):<{width}} = "
        note = text_of(rung.note)
        if len(head) + numbers + 2 + len(note) <= WIDTH:
            out.append(f"{head}{rung.value:<{numbers}}  {note}".rstrip())
        else:
            out += [head + rung.value, *textwrap.wrap(note, WIDTH, initial_indent=MARGIN)]
        if rung.sum is not None:
            out += _sum(rung.sum)
    return "\n".join(out)


def _sum(found: Sum) -> list[str]:
    """Every term as a product of its factors."""
    names = [as_text(name) for name in found.header]
    cells = [
        [str(k + 1), *map(signed, factors), signed(term)]
        for k, factors, term in zip(found.indices, found.factors, found.terms, strict=True)
    ]
    widths = [max(map(len, column)) for column in zip(names, *cells, strict=True)]

    def line(row: list[str], times: str, equals: str) -> str:
        shown = [cell.rjust(width) for cell, width in zip(row, widths, strict=True)]
        product = f" {times} ".join(shown[1:-1])
        return f"{MARGIN}{shown[0]}   {product} {equals} {shown[-1]}".rstrip()

    out = [line(names, " ", " "), *(line(row, "×", "=") for row in cells)]
    width = len(out[0])
    if found.n_rest:
        out.append(f"{MARGIN}the other {found.n_rest} terms: {signed(found.rest)}")
    out.append(
        f"{MARGIN}{'sum':<{width - len(MARGIN) - widths[-1]}}{signed(found.total):>{widths[-1]}}"
    )
    return out


def _picture(pixels: np.ndarray) -> str:
    level = np.clip(np.ceil(pixels * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    return "\n".join(MARGIN + "".join(SHADES[v] * 2 for v in row).rstrip() for row in level)


def _paths(drawing: Paths) -> str:
    """Lines from z_j to the a_k that change with it, and from all of them to C."""
    names = [as_text(name) if name else "⋮" for name in drawing.names]
    width = max(map(len, names))
    middle, last = len(names) // 2, len(names) - 1
    out = []
    for i, (name, reached) in enumerate(zip(names, drawing.reached, strict=True)):
        z = as_text("z_j") if i == middle else ""
        many = sum(drawing.reached) > 1
        if not drawing.names[i]:
            left, right = "│" if many else " ", "│"
            line = f"{z:>3} {left}  {name:^{width}}  {right}"
        else:
            left = _joint(i, middle, last) if many else "─" if reached else " "
            stroke = "─" if reached else " "
            right = _joint(i, middle, last, to_the_left=True)
            line = f"{z:>3} {left}{stroke} {name:<{width}} ─{right}"
        out.append(f"{MARGIN}{line}{'── C' if i == middle else ''}".rstrip())
    return "\n".join([*out, "", textwrap.fill(text_of(drawing.text), WIDTH)])


def _joint(i: int, middle: int, last: int, to_the_left: bool = False) -> str:
    """Where line i of a bundle meets the upright one, whose stem leaves at the middle."""
    if last == 0:
        return "─"
    place = 0 if i == 0 else 2 if i == last else 1
    stem = i == middle
    shapes = ("┬┼┴" if stem else "┐┤┘") if to_the_left else ("┬┼┴" if stem else "┌├└")
    return shapes[place]


def _jacobians(block: Jacobians) -> str:
    """The matrices side by side as far as they fit, then a sentence on each."""
    pictures = [_matrix(matrix, block.chosen) for matrix in block.matrices]
    out: list[str] = []
    while pictures:
        n = 1
        while n < len(pictures) and sum(len(p[0]) + 6 for p in pictures[: n + 1]) <= WIDTH:
            n += 1
        for row in zip(*pictures[:n], strict=True):
            out.append((MARGIN + "      ".join(row)).rstrip())
        out.append("")
        pictures = pictures[n:]
    out.append(f"{MARGIN}· exactly 0   {STRENGTHS} not 0, weak to strong   v column j")
    texts = [textwrap.fill(f"{m.name}: {text_of(m.text)}", WIDTH) for m in block.matrices]
    return "\n".join([*out, "", *texts])


def _matrix(matrix: Matrix, chosen: int) -> list[str]:
    size = np.abs(np.where(np.isfinite(matrix.J), matrix.J, 0.0))
    top = float(size.max()) or 1.0
    level = np.ceil(np.sqrt(size / top) * len(STRENGTHS)).astype(int)
    width = 2 * len(matrix.columns)
    head = "".join("v " if j == chosen else "  " for j in matrix.columns)
    body = ["".join(("·" if v == 0 else STRENGTHS[v - 1]) + " " for v in row) for row in level]
    wide = max(width, len(matrix.name))
    return [row.ljust(wide) for row in (matrix.name, head, *body)]
