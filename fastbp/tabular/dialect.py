"""How a file of text holds a table: delimiter, comments, names of the columns, where rows begin.

What belongs here: what is guessed from the first lines, and Python's own reader for what pyarrow's
cannot read, which tells lines. What does not: bytes (lines.py), cells (inference.py).
"""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from fastbp.tabular.cells import DATE, looks_like_number

DELIMITERS = ",;\t|"
SAMPLE = 100  # lines that tell the delimiter
SAMPLED = 1 << 20  # characters of them, where they are long
MOST_LINES = 10_000  # of comments before the first line
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # the first line of a table from Excel
CHOICES = ("auto", "yes", "no")


class Dialect(NamedTuple):
    """What the first lines tell.

    `start`: how many lines come before the first row. `hashes`: what lines are that begin with #:
    "rows", "comments", or comments where they do not have a row's number of fields, and else "rows
    or comments" or "unclear".
    """

    delimiter: str
    names: list[str]
    start: int
    hashes: str
    n_sampled: int  # lines looked at
    longest: int  # characters of the longest of them


def can_delimit(text: str) -> bool:
    """Whether a character can stand between fields."""
    return len(text) == 1 and text.isascii() and text not in '\r\n"# \0' and not text.isalnum()


def head(lines: Iterable[str]) -> list[str]:
    """The first lines, as many as tell the dialect."""
    found: list[str] = []
    n = size = 0
    for line in lines:
        found.append(line)
        size += len(line)
        n += not line.startswith("#") and not line.isspace()
        if n >= SAMPLE or (n >= 2 and size > SAMPLED) or len(found) >= MOST_LINES:
            break
    return found


def guess(
    name: str, first_lines: Sequence[str], header: str, delimiter: str | None, comments: str
) -> Dialect:
    """The dialect of a table that begins with these lines."""
    texts = [(place, line) for place, line in enumerate(first_lines) if not line.isspace()]
    if texts and (said := SEPARATOR.fullmatch(texts[0][1].strip(" \r\n"))):
        if not can_delimit(said[1]):
            raise ValueError(
                f"{name}: line {texts[0][0] + 1}: expected 'sep=' and one ASCII character such as "
                f"';', found {said[0]!r}"
            )
        delimiter = delimiter or said[1]
        del texts[0]
    known = [(place, line) for place, line in texts if comments == "no" or line[0] != "#"]
    if not known and comments == "auto":  # a table of such texts
        known, comments = texts, "no"
    if not known:
        raise ValueError(f"{name}: empty: expected a header line with the names of the columns")
    first = known[0][0]
    before = [line for place, line in texts if place < first]
    plain = [line for _, line in (known if len(known) > 1 else texts) if line]
    delimiter = delimiter or max(DELIMITERS, key=lambda mark: _fit(plain, mark))
    reader = csv.reader(first_lines[first:], **_form(delimiter))
    try:
        row = next(reader)
    except csv.Error as error:
        raise ValueError(f"{name}: line {first + reader.line_num}: {error}") from None
    start, names = first + reader.line_num, [cell.strip() for cell in row]
    later = _rows([line for place, line in known if place >= start], delimiter)
    commented = None
    if before and comments == "auto" and header != "no":
        commented = _commented_header(name, before[-1], names, later, delimiter, first)
    if commented is not None or header == "no":
        start = first
    if header == "no":
        names = list(map(str, range(1, len(row) + 1)))
    else:
        names = [cell or unnamed(place) for place, cell in enumerate(commented or names)]
        check_names(name, names, header)
    hashes = {"no": "rows", "yes": "comments"}.get(comments, "unclear")
    if hashes == "unclear":
        following = [line for place, line in texts if place >= start]
        if following and following[0][0] == "#" and width(following[0], delimiter) == len(names):
            hashes = "rows or comments"
    longest = max(map(len, first_lines))
    return Dialect(delimiter, names, start, hashes, len(first_lines), longest)


def _form(delimiter: str, strict: bool = True) -> dict[str, Any]:
    return {"delimiter": delimiter, "strict": strict, "skipinitialspace": True}


def _rows(texts: Sequence[str], delimiter: str) -> list[list[str]]:
    """The rows up to the first that is none, which is told when it is read."""
    rows: list[list[str]] = []
    with suppress(csv.Error):
        rows.extend(filter(None, csv.reader(texts, **_form(delimiter))))
    return rows


def width(line: str, delimiter: str) -> int:
    """The number of fields of a line that is a whole row, else 0."""
    rows = _rows([line], delimiter)
    return len(rows[0]) if rows else 0


def _fit(texts: Sequence[str], delimiter: str) -> tuple[bool, bool, float, int]:
    """How well a delimiter divides lines: alike, the first two at least, into numbers, many."""
    rows = _rows(texts, delimiter)
    widths = [len(row) for row in rows]
    cells = [cell for row in rows for cell in row]
    alike = len(set(widths)) == 1 and widths[0] > 1
    first = len(set(widths[:2])) == 1 and widths[0] > 1
    numbers = sum(map(looks_like_number, cells)) / len(cells) if alike else 0.0
    return alike, first, numbers, widths[0] if widths else 0


def _looks_like_data(row: Sequence[str]) -> str | None:
    """The first cell that may be no name; 0, 1, 2, ... beside a name are what pandas writes."""
    row = [cell.strip() for cell in row]
    numbers = [cell for cell in row if looks_like_number(cell) and cell.lower() != "nan"]
    counted = numbers == list(map(str, range(len(numbers)))) and 2 < len(numbers) < len(row)
    odd = [cell for cell in row if cell == "?" or DATE.match(cell)]
    return next(iter([*([] if counted else numbers), *odd]), None)


def _commented_header(
    name: str, line: str, row: list[str], later: Sequence[Sequence[str]], delimiter: str, at: int
) -> list[str] | None:
    """The names, where a line ``# a,b`` before the first row has them, as NumPy writes it."""
    found = _rows([line.lstrip("#")], delimiter)
    cells = [cell.strip() for cell in found[0]] if found else []
    if len(cells) != len(row) or len(row) == 1 or _looks_like_data(cells):
        return None
    if _looks_like_data(row):
        return cells
    if any(_looks_like_data(other) for other in later):  # so that the line after it has the names
        return None
    raise ValueError(
        f"{name}: line {at} begins with '#': expected a comment or the names of the columns, found "
        f"what may be either, {line.strip()!r:.60}: say which (comments='yes' or 'no')"
    )


def unnamed(place: int) -> str:
    """The name, pandas', of a column without one: a row index, most often."""
    return f"Unnamed: {place}"


def is_unnamed(name: str) -> bool:
    """Whether a column has such a name."""
    return re.fullmatch(r"Unnamed: \d+|__index_level_\d+__", name) is not None


def check_names(name: str, names: Sequence[str], header: str) -> None:
    """Refuse names that are none, or data."""
    if header == "auto" and (found := _looks_like_data(names)):
        what = "numbers" if looks_like_number(found) else "what looks like data"
        raise ValueError(
            f"{name}: expected the names of the columns in the first line, found {what}, "
            f"{found!r:.60}: add a header line, or say whether it is one (header='no' or 'yes', "
            "--header no or yes)"
        )
    times = Counter(names)
    for column in names:
        if times[column] > 1:
            places = [str(at + 1) for at, other in enumerate(names) if other == column]
            twice = "twice" if len(places) == 2 else f"{len(places)} times"
            raise ValueError(
                f"{name}: the header line has the column {column!r:.80} {twice}, as columns "
                f"{', '.join(places[:-1])} and {places[-1]}"
            )


def records(
    name: str, lines: Iterable[str], dialect: Dialect, strict: bool = True
) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header, each with the number of the line on which it begins.

    What is no row of Python's reader is refused, and what has another number of fields.
    """
    n = len(dialect.names)
    is_comment = _comments(name, dialect)
    blanks = "\r\n" if n == 1 else " \r\n"
    number, begins, fresh = 0, 0, True

    def fed() -> Iterator[str]:
        nonlocal number, begins, fresh
        for line in lines:
            number += 1
            if number <= dialect.start:
                continue
            if fresh:
                if not line.strip(blanks) or (line[0] == "#" and is_comment(number, line)):
                    continue
                begins, fresh = number, False
            yield line

    reader = csv.reader(fed(), **_form(dialect.delimiter, strict))
    try:
        for row in reader:
            if len(row) != n:
                raise ValueError(
                    f"{name}: line {begins}: expected {n} fields as in the "
                    f"{'first line' if dialect.start == 0 else 'header'}, found {len(row)}"
                )
            yield begins, row
            fresh = True
    except csv.Error as error:
        told = str(error)
        if "field limit" in told or "end of data" in told:
            told = (
                f"expected a quote that closes the one opened here, found none up to line {number}"
            )
        raise ValueError(f"{name}: line {begins}: {told}") from None


def _comments(name: str, dialect: Dialect) -> Callable[[int, str], bool]:
    """Whether a line that begins with # is a comment."""

    def is_comment(number: int, line: str) -> bool:
        if dialect.hashes in ("rows", "comments"):
            return dialect.hashes == "comments"
        if width(line, dialect.delimiter) != len(dialect.names):
            return True
        if dialect.hashes == "rows or comments":
            return False
        raise ValueError(
            f"{name}: line {number} begins with '#': expected a comment or a row, found what may "
            "be either: say which (comments='yes' or 'no')"
        )

    return is_comment
