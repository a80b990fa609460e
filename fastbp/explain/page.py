"""An explanation as one HTML page.

What belongs here: each kind of block in HTML that is XML, too, and the page around them. What does
not: what is told (narrative.py), looks (page.css), what follows the pointer (page.js).

Whatever carries ``data-j`` belongs to neuron j of the last layer; `page.js` shows and marks it.
"""

from __future__ import annotations

from html import escape
from importlib import resources

import numpy as np

from fastbp.explain.blocks import (
    Block,
    Drawings,
    Equation,
    Heading,
    Jacobians,
    Ladder,
    Ladders,
    Matrix,
    Numbers,
    Page,
    Paths,
    Picture,
    Rung,
    Section,
    Steps,
    Sum,
    Text,
)
from fastbp.explain.formula import as_mathml, html_of, signed

TITLE = "Why is there a sum over k?"
EXPLORED = ("ladder", "structure")  # sections under the row of neurons to choose from
POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
CELL = 20
STEP = 30  # from one a_k of a drawing to the next


def html(page: Page) -> str:
    sections = {
        section.name: _section(number, section) for number, section in enumerate(page.sections, 1)
    }
    names = list(sections)
    at = names.index(EXPLORED[0])
    explored = _chooser(page) + "".join(sections[name] for name in EXPLORED)
    before = "".join(sections[name] for name in names[:at])
    after = "".join(sections[name] for name in names[at + len(EXPLORED) :])
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta http-equiv="Content-Security-Policy" content="{POLICY}"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta name="color-scheme" content="light dark"/>
<title>{escape(TITLE)}</title>
<style>
{_file("page.css")}</style>
</head>
<body>
<header>
<h1>{escape(TITLE)}</h1>
<p class="verdict {_class_of(page.verdict)}">{escape(page.verdict)}</p>
</header>
<main>
{before}
<div class="explored">
{explored}
</div>
{after}
</main>
<footer><p>Written by <code>fastbp explain</code>.</p></footer>
<script>
{_file("page.js")}</script>
</body>
</html>
"""


def frame(page: Page) -> str:
    """The page inside of another one."""
    return (
        f'<iframe srcdoc="{escape(html(page))}" title="{escape(TITLE)}" '
        'style="width:100%;height:40em;border:0"></iframe>'
    )


def number(value: object) -> str:
    """A value of a table.

    >>> number(-2.5e-07), number("3")
    ('−2.5×10<sup>−7</sup>', '3')
    """
    return html_of(signed(value) if isinstance(value, float) else str(value))


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _class_of(verdict: str) -> str:
    word = verdict.partition(":")[0].lower()
    return word if word in ("pass", "fail", "inconclusive") else ""


def _section(number: int, section: Section) -> str:
    title = f"{number}. {escape(section.title)}"
    body = "\n".join(_block(block) for block in section.blocks)
    return f'<section id="{section.name}">\n<h2>{title}</h2>\n{body}\n</section>\n'


def _chooser(page: Page) -> str:
    """A row of buttons, one for each neuron that is shown."""
    buttons = []
    for j in page.neurons:
        pressed = "true" if j == page.neuron else "false"
        name = f"<small>{escape(page.names[j])}</small>" if page.names else ""
        about = f"neuron {j + 1}" + (f", class {page.names[j]}" if page.names else "")
        buttons.append(
            f'<button type="button" data-j="{j}" aria-pressed="{pressed}" '
            f'aria-label="{escape(about)}">{j + 1}{name}</button>'
        )
    return (
        '<div class="chooser" role="group" aria-label="Neuron j of the last layer">'
        f"<span>neuron {as_mathml('j')}{' <small>class</small>' if page.names else ''}</span>"
        f'<div class="buttons">{"".join(buttons)}</div></div>'
    )


def _block(block: Block) -> str:
    match block:
        case Text(text):
            return f"<p>{html_of(text)}</p>"
        case Equation(formula, note):
            aside = f"<span>{html_of(note)}</span>" if note else ""
            return f'<div class="equation">{as_mathml(formula, display=True)}{aside}</div>'
        case Heading(text):
            return f"<h3>{html_of(text)}</h3>"
        case Numbers():
            return _table(block)
        case Picture(pixels, caption):
            return _picture(pixels, caption)
        case Drawings(paths):
            return f'<div class="matrices">{"".join(map(_paths, paths))}</div>'
        case Ladders(ladders, chosen):
            return "\n".join(_panel(ladder, ladder.j == chosen) for ladder in ladders)
        case Steps(rungs):
            return f'<div class="panel">{_rungs(rungs)}</div>'
        case Jacobians(matrices, chosen):
            return "".join(
                ['<div class="matrices">', *(_matrix(m, chosen) for m in matrices), "</div>"]
            )


def _table(block: Numbers) -> str:
    head = "".join(f'<th scope="col">{html_of(name)}</th>' for name in block.table.header)
    rows = []
    for i, row in enumerate(block.table.rows):
        on = ' class="on"' if i == block.marked else ""
        j = f' data-j="{block.neurons[i]}"' if block.neurons else ""
        cells = "".join(f"<td>{number(value)}</td>" for value in row[1:])
        rows.append(f'<tr{j}{on}><th scope="row">{number(row[0])}</th>{cells}</tr>')
    caption = f"<caption>{html_of(block.table.title)}</caption>" if block.table.title else ""
    words = all(isinstance(value, str) for row in block.table.rows for value in row)
    return (
        f'<div class="scroll" tabindex="0"><table class="{"words" if words else "numbers"}">'
        f"{caption}<thead><tr>{head}</tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _picture(pixels: np.ndarray, caption: str) -> str:
    height, width = pixels.shape
    cells = "".join(
        f'<rect x="{x}" y="{y}" width="1.02" height="1.02" fill-opacity="{pixels[y, x]:.3g}"/>'
        for y, x in np.argwhere(pixels > 0)
    )
    return (
        f'<figure><svg class="digit" viewBox="0 0 {width} {height}" role="img" '
        f'aria-label="{escape(caption)}">{cells}</svg></figure>'
    )


def _paths(drawing: Paths) -> str:
    """z_j, the a_k and C from left to right; what does not change with z_j is faint."""
    middle = (len(drawing.names) - 1) / 2 * STEP
    nodes, lines = [_node(0, middle, "z_j"), _node(240, middle, "C")], []
    for i, (name, reached) in enumerate(zip(drawing.names, drawing.reached, strict=True)):
        y = i * STEP
        if not name:
            nodes.append(f'<text x="120" y="{y}" text-anchor="middle">⋮</text>')
            continue
        kind = "path" if reached else "no path"
        if reached:
            lines.append(f'<line class="{kind}" x1="16" y1="{middle:g}" x2="102" y2="{y}"/>')
        lines.append(f'<line class="{kind}" x1="138" y1="{y}" x2="226" y2="{middle:g}"/>')
        nodes.append(_node(120, y, name, reached))
    height = (len(drawing.names) - 1) * STEP + 32
    about = html_of(drawing.text)
    return (
        f"<figure><figcaption>{escape(drawing.title)}</figcaption>"
        f'<svg class="paths" viewBox="-18 -16 276 {height}" role="img" '
        f'aria-label="{escape(f"paths from z_j to C: {drawing.title}")}">'
        f"{''.join(lines)}{''.join(nodes)}</svg><p>{about}</p></figure>"
    )


def _node(x: float, y: float, name: str, reached: bool = True) -> str:
    letter, _, index = name.partition("_")
    sub = f'<tspan class="index" dy="4">{escape(index.strip("{}"))}</tspan>' if index else ""
    faint = "" if reached else ' class="faint"'
    return (
        f'<text{faint} x="{x:g}" y="{y:g}" text-anchor="middle"><tspan>{escape(letter)}</tspan>'
        f"{sub}</text>"
    )


def _panel(ladder: Ladder, shown: bool) -> str:
    hidden = "" if shown else ' hidden="hidden"'
    title = f"<h4>{escape(ladder.title)}</h4>"
    return f'<div class="panel" data-j="{ladder.j}"{hidden}>{title}{_rungs(ladder.rungs)}</div>'


def _rungs(rungs: tuple[Rung, ...]) -> str:
    out = []
    for rung in rungs:
        value, plus, bound = rung.value.partition(" ± ")
        value = f"<strong>{number(value)}</strong>"
        value += f" <small>± {number(bound)}</small>" if plus else ""
        out.append(
            f'<div class="rung"><b>{escape(rung.label)}</b><span class="equals">'
            f"{as_mathml(rung.formula, display=True)}<span>= {value}</span></span>"
            f'<span class="note">{html_of(rung.note)}</span></div>'
        )
        if rung.sum is not None:
            out.append(_sum(rung.sum))
    return "".join(out)


def _sum(found: Sum) -> str:
    """Each term as a product, and a bar as long as it is large."""
    largest = float(np.abs(np.where(np.isfinite(found.terms), found.terms, 0.0)).max(initial=0.0))
    names = [as_mathml(name) if name != "term" else name for name in found.header]
    head = f'<th scope="col">{names[0]}</th>'
    for i, name in enumerate(names[1:]):
        mark = "" if not i else "<td></td>"
        term = ' class="term"' if name == "term" else ""
        head += f'{mark}<th scope="col"{term}>{name}</th>'
    rows = []
    for k, factors, term in zip(found.indices, found.factors, found.terms, strict=True):
        product = "<td>×</td>".join(f"<td>{number(float(v))}</td>" for v in factors)
        zero = ' class="zero"' if term == 0 else ""
        share = abs(term) / largest if largest and np.isfinite(term) else 0.0
        side = "below" if term < 0 else "above"
        bar = f'<i class="{side}" style="width:{100 * share:.3g}%"></i>' if share else ""
        rows.append(
            f'<tr{zero}><th scope="row">{k + 1}</th>{product}<td>=</td>'
            f'<td class="term">{number(float(term))}</td><td class="bar">{bar}</td></tr>'
        )
    span = 2 * found.factors.shape[1]
    if found.n_rest:
        rows.append(
            f'<tr><th scope="row" colspan="{span}">the other {found.n_rest}</th><td>=</td>'
            f'<td class="term">{number(found.rest)}</td><td class="bar"></td></tr>'
        )
    foot = (
        f'<tr><th scope="row" colspan="{span}">sum</th><td>=</td>'
        f'<td class="term">{number(found.total)}</td><td class="bar"></td></tr>'
    )
    return (
        '<div class="scroll" tabindex="0"><table class="sum"><thead><tr>'
        f'{head}<td class="bar"></td></tr></thead><tbody>{"".join(rows)}</tbody>'
        f"<tfoot>{foot}</tfoot></table></div>"
    )


def _matrix(matrix: Matrix, chosen: int) -> str:
    """Columns of squares; what is 0 stays empty, the rest is at least faintly coloured."""
    J = np.where(np.isfinite(matrix.J), matrix.J, 0.0)
    top = float(np.abs(J).max()) or 1.0
    n, m = J.shape
    parts = [
        f'<text x="-5" y="{(i + 0.5) * CELL}" text-anchor="end">{k + 1}</text>'
        for i, k in enumerate(matrix.rows)
    ]
    for place, j in enumerate(matrix.columns):
        on = " on" if j == chosen else ""
        column = [f'<text x="{(place + 0.5) * CELL}" y="-6" text-anchor="middle">{j + 1}</text>']
        for i, k in enumerate(matrix.rows):
            value = float(J[i, place])
            kind = "none" if value == 0 else "below" if value < 0 else "above"
            opacity = 0.12 + 0.88 * np.sqrt(abs(value) / top) if value else 0
            column.append(
                f'<rect class="{kind}" x="{place * CELL + 1}" y="{i * CELL + 1}" '
                f'width="{CELL - 2}" height="{CELL - 2}" fill-opacity="{opacity:.2f}">'
                f"<title>k = {k + 1}, j = {j + 1}: {signed(value)}</title></rect>"
            )
        frame = f'<rect class="frame" x="{place * CELL}" y="0" width="{CELL}" height="{n * CELL}"/>'
        parts.append(f'<g class="column{on}" data-j="{j}">{"".join(column)}{frame}</g>')
    about = f"Jacobian of {matrix.name}, rows k, columns j"
    return (
        f"<figure><figcaption>{escape(matrix.name)}</figcaption>"
        f'<svg class="matrix" viewBox="-24 -22 {m * CELL + 28} {n * CELL + 26}" role="img" '
        f'aria-label="{escape(about)}">{"".join(parts)}</svg>'
        '<p class="legend"><i class="above"></i> above 0 <i class="below"></i> below 0 '
        f"<i></i> exactly 0; strongest {number(top)}</p><p>{html_of(matrix.text)}</p></figure>"
    )
