"""What a check found, shown: `Result` and the tables it is printed in.

What belongs here: text, JSON and HTML of any result. What does not: what is checked and how;
pictures (fastbp/plotting.py).
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDTH = 100
MOST_ROWS, MOST_COLUMNS = 24, 24


def plain(value: Any) -> Any:
    """`value` in the types of JSON; a number that is NaN or infinite becomes None."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in fields(value)}
    if hasattr(value, "tolist"):  # arrays and numbers of NumPy
        value = value.tolist()
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, bool | int | str):
        return value
    return str(value)


def number(value: Any, digits: int = 6) -> str:
    """A number as tables show it.

    >>> number(0.1437351), number(float("nan")), number(3)
    ('0.143735', 'nan', '3')
    """
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float | np.floating):
        return format(float(value) + 0.0, f".{digits}g")
    return str(value)


def shown(n: int, most: int) -> list[int | None]:
    """Which of n rows or columns are shown, with None where the middle is left out.

    >>> shown(3, 4), shown(9, 4)
    ([0, 1, 2], [0, 1, None, 7, 8])
    """
    if n <= most + 1:
        return list(range(n))
    return [*range(most // 2), None, *range(n - most // 2, n)]


@dataclass(frozen=True)
class Table:
    """Rows of values under a header; the first column names the row.

    >>> print(Table("terms", ["k", "j=1", "j=2"], [["1", 0.5, 0.25], ["2", 0.0, -1.5]]))
    terms
    k  j=1   j=2
    1  0.5  0.25
    2    0  -1.5
    """

    title: str
    header: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def cells(self) -> list[list[str]]:
        """Header and rows as texts; the middle of what is very long or wide is left out."""
        rows, columns = shown(len(self.rows), MOST_ROWS), shown(len(self.header) - 1, MOST_COLUMNS)
        gap = ["..."] * len(self.header)
        lines = [self.header, *(gap if i is None else self.rows[i] for i in rows)]
        at = [0, *(j if j is None else j + 1 for j in columns)]
        return [["..." if j is None else number(line[j]) for j in at] for line in lines]

    def __str__(self) -> str:
        lines = self.cells()
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        out = [self.title] if self.title else []
        at = 1
        while at < len(widths) or at == 1:  # as many columns side by side as fit
            end, used = at, widths[0]
            while end < len(widths) and (end == at or used + 2 + widths[end] <= WIDTH):
                used += 2 + widths[end]
                end += 1
            out += [""] if at > 1 else []
            for line in lines:
                shown = [line[0].ljust(widths[0])]
                shown += [line[i].rjust(widths[i]) for i in range(at, end)]
                out.append("  ".join(shown).rstrip())
            at = max(end, at + 1)
        return "\n".join(out)

    def to_html(self) -> str:
        """The same as an HTML table."""
        header, *rows = [[html.escape(text) for text in line] for line in self.cells()]
        lines = ["<table>"]
        if self.title:
            lines.append(f"<caption>{html.escape(self.title)}</caption>")
        lines.append("<thead><tr>" + "".join(f"<th>{t}</th>" for t in header) + "</tr></thead>")
        lines.append("<tbody>")
        for first, *rest in rows:
            lines.append(f"<tr><th>{first}</th>" + "".join(f"<td>{t}</td>" for t in rest) + "</tr>")
        return "\n".join([*lines, "</tbody>", "</table>"])


def ok_of(verdict: str) -> bool | None:
    """`ok` of a verdict.

    >>> ok_of("pass: 2 checked"), ok_of("FAIL: 1 of 2"), ok_of("inconclusive: none of 2 resolved")
    (True, False, None)
    """
    return None if verdict.startswith("inconclusive: none of") else not verdict.startswith("FAIL")


class Result:
    """What a check found.

    Attributes
    ----------
    ok : bool or None
        False where something is wrong; None where nothing was found out, or nothing of a part.
    verdict : str
        One line; where a check can fail it begins with "pass", "FAIL" or "inconclusive". The last
        is "inconclusive: none of ..." where `ok` is None.
    findings : sequence of str
        What was noticed, in sentences.
    """

    title: str = "check"
    verdict: str
    findings: Sequence[str]

    @property
    def ok(self) -> bool | None:
        """False where something is wrong; None where nothing was found out, at least of a part."""
        return ok_of(self.verdict)

    def tables(self) -> list[Table]:
        """Give the numbers as tables.

        Returns
        -------
        list of Table
            As `print` shows them; their `rows` are numbers.
        """
        return []

    def __str__(self) -> str:
        parts = [textwrap.fill(f"{self.title}: {self.verdict}", WIDTH)]
        parts += [str(table) for table in self.tables()]
        if self.findings:
            wrapped = [
                textwrap.fill(f"- {text}", WIDTH, subsequent_indent="  ") for text in self.findings
            ]
            parts.append("\n".join(wrapped))
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Give everything in the types of JSON; None for a number that is NaN or infinite.

        Returns
        -------
        dict
            "ok", "verdict" and every attribute, by name.
        """
        found: dict[str, Any] = {"ok": self.ok, "verdict": self.verdict}
        if is_dataclass(self):
            found |= {f.name: plain(getattr(self, f.name)) for f in fields(self)}
        return found

    def _repr_html_(self) -> str:
        colour = {"p": "#1a7f37", "F": "#cf222e", "i": "#9a6700"}.get(self.verdict[0], "inherit")
        items = "".join(f"<li>{html.escape(text)}</li>" for text in self.findings)
        return "\n".join(
            [
                f'<p>{html.escape(self.title)}: <strong style="color:{colour}">'
                f"{html.escape(self.verdict)}</strong></p>",
                *(table.to_html() for table in self.tables()),
                f"<ul>{items}</ul>" if items else "",
            ]
        )

    def plot(self, ax: Axes | None = None) -> Axes | Figure:
        """Draw it (needs fastbp's extra ``plot``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            What is drawn in; a new figure's when None.

        Returns
        -------
        matplotlib.axes.Axes
            What was drawn in.

        Raises
        ------
        ImportError
            matplotlib is missing.
        """
        raise NotImplementedError
