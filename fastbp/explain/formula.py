"""Formulas, written once: as text for a terminal and as MathML for a page.

What belongs here: the notation and its two renderings. What does not: which formulas are shown
(narrative.py), the page around them (page.py).

A formula is written as one would type it, ``δ_j = ∑_k ∂C/∂a_k ∂a_k/∂z_j``: ``_`` and ``^`` before
what stands below and above, a fraction bar between what is written without spaces, ``{}`` around
what belongs together and shows no brackets. In sentences formulas stand between two ``$``.
"""

from __future__ import annotations

import html
import re

TOKEN = re.compile(r"\s+|\d+(?:\.\d+)?|.")
OPERATORS = "=≠≈+−·×,;<>→"
# what terminals show that cannot show the letters
ASCII = str.maketrans(
    {
        "δ": "delta",
        "σ": "sigma",
        "∂": "d",
        "∑": "sum",
        "−": "-",
        "·": ".",
        "×": "x",
        "±": "+-",
        "≠": "!=",
        "≈": "~",
        "½": "1/2",
        "′": "'",
        "→": "->",
        "⋮": ":",
        "─": "-",
        "│": "|",
        **dict.fromkeys("┌├└┐┤┘┬┼┴", "+"),
        "░": ":",
        "▒": "+",
        "▓": "x",
        "█": "#",
        "–": "-",
    }
)


def as_text(formula: str) -> str:
    """The formula for a terminal.

    >>> as_text("e^{z_k}/{∑_i e^{z_i}}"), as_text("W_{kj}^{l+1}")
    ('e^(z_k)/(∑_i e^(z_i))', 'W_kj^(l+1)')
    """
    while True:
        inner = re.search(r"\{([^{}]*)\}", formula)
        if inner is None:
            return formula
        content = inner[1] if inner[1].isalnum() else f"({inner[1]})"
        formula = formula[: inner.start()] + content + formula[inner.end() :]


def as_mathml(formula: str, display: bool = False) -> str:
    """The formula as a MathML element.

    >>> as_mathml("∂C/∂a_k")
    '<math><mfrac><mrow><mi>∂</mi><mi>C</mi></mrow><mrow><mi>∂</mi><msub><mi>a</mi><mi>k</mi></msub></mrow></mfrac></math>'
    """
    parser = _Parser([" " if t.isspace() else t for t in TOKEN.findall(formula)])
    block = ' display="block"' if display else ""
    return f"<math{block}>{parser.row('')}</math>"


def text_of(sentence: str) -> str:
    """A sentence for a terminal, its formulas between dollars included."""
    parts = sentence.split("$")
    return "".join(as_text(part) if i % 2 else part for i, part in enumerate(parts))


def html_of(sentence: str) -> str:
    """A sentence for a page, escaped, its formulas as MathML.

    >>> html_of("`a < b`, 2e−05")
    '<code>a &lt; b</code>, 2×10<sup>−5</sup>'
    """
    parts = sentence.split("$")
    return "".join(as_mathml(part) if i % 2 else _plain(part) for i, part in enumerate(parts))


def _plain(text: str) -> str:
    text = re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(text))
    return re.sub(r"(?<=\d)e([−+])0?(\d+)", power, text)


def power(found: re.Match[str]) -> str:
    """The end of a number such as 2e−05, for a page."""
    return f"×10<sup>{'−' if found[1] == '−' else ''}{found[2]}</sup>"


def _row(elements: list[str]) -> str:
    return elements[0] if len(elements) == 1 else f"<mrow>{''.join(elements)}</mrow>"


class _Parser:
    """Tokens, from the first that has not been read."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at = tokens, 0

    def row(self, end: str) -> str:
        """Words up to a closing bracket (which is read, too), without an mrow around them."""
        out: list[str] = []
        word: list[str] = []
        top: list[str] | None = None  # what stands above a fraction bar

        def finish() -> None:
            nonlocal word, top
            done = word if top is None else [f"<mfrac>{_row(top)}{_row(word)}</mfrac>"]
            if done and out and not (_is_operator(done[0]) or _is_operator(out[-1])):
                out.append('<mspace width="0.25em"></mspace>')
            out.extend(done)
            word, top = [], None

        while self.at < len(self.tokens) and self.tokens[self.at] != end:
            token = self.tokens[self.at]
            if token == " ":
                finish()
                self.at += 1
            elif token == "/":
                self.at += 1
                top, word = word, []
            else:
                word.append(self.scripted())
        finish()
        self.at += 1
        return "".join(out)

    def scripted(self) -> str:
        base = self.atom()
        below = above = ""
        while self.at < len(self.tokens) and self.tokens[self.at] in ("_", "^"):
            self.at += 1
            if self.tokens[self.at - 1] == "_":
                below = self.atom()
            else:
                above = self.atom()
        if "∑" in base and below:
            return f"<munder>{base}{below}</munder>"
        if below and above:
            return f"<msubsup>{base}{below}{above}</msubsup>"
        if below:
            return f"<msub>{base}{below}</msub>"
        return f"<msup>{base}{above}</msup>" if above else base

    def atom(self) -> str:
        token = self.tokens[self.at]
        self.at += 1
        if token == "{":
            return f"<mrow>{self.row('}')}</mrow>"
        if token == "(":
            inside = self.row(")")
            return f'<mrow><mo stretchy="false">(</mo>{inside}<mo stretchy="false">)</mo></mrow>'
        if token[0].isdigit() or token == "½":
            return f"<mn>{token}</mn>"
        if token == "l" and self.tokens[self.at : self.at + 1] == ["n"]:  # the logarithm
            self.at += 1
            return '<mi>ln</mi><mspace width="0.15em"></mspace>'
        if token == "∑":
            return "<mo>∑</mo>"
        if token == "′":  # as a superscript it would be too small to see
            return '<mo lspace="0" rspace="0.1em">′</mo>'
        if token == "h":  # the italic one is missing in many fonts, and replaced by another kind
            return '<mi mathvariant="normal">h</mi>'
        if token in OPERATORS or token in "|":
            return f"<mo>{html.escape(token)}</mo>"
        return f"<mi>{html.escape(token)}</mi>"


def _is_operator(element: str) -> bool:
    return element.startswith("<mo>") and "∑" not in element


def signed(value: float, digits: int = 6) -> str:
    """A number as the texts show it, with a proper minus.

    >>> signed(-0.1201789), signed(0.0), signed(-2.5e-07)
    ('−0.120179', '0', '−2.5e−07')
    """
    return format(float(value) + 0.0, f".{digits}g").replace("-", "−")


def with_formulas(text: str) -> str:
    """A sentence of the checks, with dollars around its formulas and the letters of the textbook.

    >>> with_formulas("da_k/dz_j = 0 for k != j; a_1 changes")
    '$∂a_k/∂z_j = 0$ for $k ≠ j$; $a_1$ changes'
    """
    found = r"\bda_\w+/dz_\w+(?: = 0)?|\b[az]_(?:\{[^}]+\}|\w+)|\bk !?= j\b"
    letters = (("da_", "∂a_"), ("dz_", "∂z_"), ("!=", "≠"))

    def marked(match: re.Match[str]) -> str:
        formula = match[0]
        for plain, proper in letters:
            formula = formula.replace(plain, proper)
        return f"${formula}$"

    return re.sub(found, marked, text)
