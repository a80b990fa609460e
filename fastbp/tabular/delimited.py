"""Delimited text as a pyarrow.Table of texts.

What belongs here: what pyarrow's reader is asked and handed, and when Python's goes before it. What
does not: the dialect (dialect.py), what the texts mean (inference.py).

pyarrow's reader takes no comments and no blanks before a quote, asks for more time where cells hold
line breaks, and names no line. So it is handed the file in pieces that end where a row does, each
looked through for such (`_Pieces`). Where there is one, or pyarrow refuses a row, Python's csv
module reads the file and writes it anew (`_Rewritten`), or says what is wrong with which line.
"""

import csv
import io
import re
from array import array
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from itertools import chain, product
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastbp.tabular import dialect, inference, memory
from fastbp.tabular.arrow import pyarrow
from fastbp.tabular.cells import MARKS_OF_MISSING
from fastbp.tabular.compressed import CHUNK
from fastbp.tabular.dialect import Dialect
from fastbp.tabular.lines import LONGEST_LINE, as_utf8, lines

MARKS = [  # as pyarrow knows them: to the letter
    "".join(letters)
    for mark in sorted(MARKS_OF_MISSING)
    for letters in product(*({letter.lower(), letter.upper()} for letter in mark))
]
_COMMENT = re.compile(rb"^#|\r#", re.MULTILINE)
PIECE, PART = 1 << 20, 1 << 18  # bytes; a part stays in the cache while it is looked through
SPARE = 1 << 16  # bytes that a piece may be longer, up to the end of a row
SAMPLED = 1 << 17  # bytes that tell which columns pyarrow may read itself
TRIES = 50  # lines that may follow a piece until a row ends


class _Other(Exception):
    """Python's reader has to go first."""


class _Quoted(Exception):
    """No row ends with a line of its own."""


class _Pieces(io.RawIOBase):
    """A file from its first row on, in pieces of some `PIECE` bytes, each of whole rows.

    What pyarrow would misread, or refuse without a line, ends it by `_Other`.
    """

    def __init__(self, stream: IO[bytes], found: Dialect, skip: int, whole: bool, budget: Any):
        stream.read(skip)
        self._stream, self._dialect, self._whole, self._budget = stream, found, whole, budget
        self._ended, self._n_quotes = False, 0
        self._first: Any = None

    def readable(self) -> bool:
        return True

    def peek(self) -> Any:
        """The first piece, which `read` then gives; None where it is all there is."""
        self._first = self._next()
        return None if self._ended else self._first

    def read(self, n: int = -1) -> Any:
        """The next piece, whatever its size: pyarrow takes what it gets."""
        self._budget.check()
        data, self._first = self._first, None
        if data is None:
            data = self._next()
        return data

    def _next(self) -> Any:
        if self._ended:
            return b""
        data = pyarrow().allocate_buffer(PIECE + SPARE)  # at hand again when pyarrow has read it
        view, n, n_quotes, has_hash = memoryview(data).cast("B"), 0, 0, False
        while n < PIECE and not self._ended:
            size = self._stream.readinto(view[n : min(n + PART, PIECE)])  # type: ignore[attr-defined]
            self._ended = not size
            part = np.frombuffer(view[n : n + size], np.uint8)
            n_quotes += int(np.count_nonzero(part == ord('"')))
            has_hash = has_hash or bool((part == ord("#")).any())
            if size and not part.min():
                raise _Other("a zero byte")
            n += size
        before = b"" if self._ended else bytes(view[max(0, n - SPARE) : n])
        rest = b"\n" if self._ended else self._rest(before[before.rfind(b"\n") + 1 :], n_quotes)
        if b"\0" in rest:
            raise _Other("a zero byte")
        self._n_quotes += n_quotes + rest.count(b'"')
        if self._ended and self._n_quotes % 2:
            raise _Other("an open quote")
        if len(rest) <= SPARE:
            view[n : n + len(rest)] = rest
            data = data.slice(0, n + len(rest))
        else:
            data = pyarrow().py_buffer(bytes(view[:n]) + rest)
        is_comment = has_hash or b"#" in rest
        if is_comment and self._dialect.hashes != "rows" and _COMMENT.search(data):
            raise _Other("comments")
        return data

    def _rest(self, begun: bytes, n_quotes: int) -> bytes:
        """What follows a piece up to the end of a line; with quotes, of a line that is a row."""
        rest = line = self._stream.readline(LONGEST_LINE)
        n_quotes += line.count(b'"')
        line = begun + line
        for _ in range(TRIES):
            if len(line) >= LONGEST_LINE:
                raise _Other("an endless line")
            is_whole = n_quotes % 2 == 0 and self._is_row(line.decode("utf-8", "replace"))
            if is_whole or not n_quotes or not self._whole:
                return rest
            line = self._stream.readline(LONGEST_LINE)
            n_quotes += line.count(b'"')
            rest += line
        raise _Quoted

    def _is_row(self, line: str) -> bool:
        width = dialect.width(line, self._dialect.delimiter)
        return width == len(self._dialect.names)


def _some_of(piece: Any) -> bytes:
    """Rows from its beginning; all of them where a cell may hold the end of a line."""
    some = bytes(memoryview(piece)[:SAMPLED])
    end = some.rfind(b"\n") + 1
    return bytes(piece) if b'"' in some or not end else some[:end]


class _Rewritten(io.RawIOBase):
    """The same rows as Python's csv module reads them, written as pyarrow's reader takes them."""

    def __init__(self, rows: Iterator[tuple[int, list[str]]], delimiter: str, budget: Any):
        self._rows, self._delimiter, self._budget = rows, delimiter, budget

    def readable(self) -> bool:
        return True

    def read(self, n: int = -1) -> bytes:
        self._budget.check()
        text = io.StringIO(newline="")
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\r\n")
        for _, row in self._rows:
            writer.writerow(row)
            if text.tell() > CHUNK:
                break
        return text.getvalue().encode()


def read_dialect(
    path: Path, encoding: str, header: str, delimiter: str | None, comments: str
) -> tuple[Dialect, int]:
    """How the file is written, and how many bytes of it (as UTF-8) come before the first row."""
    with as_utf8(path, encoding) as stream:
        first_lines = dialect.head(lines(path.name, stream))
    found = dialect.guess(path.name, first_lines, header, delimiter, comments)
    return found, len("".join(first_lines[: found.start]).encode())


def read_columns(
    path: Path,
    encoding: str,
    found: Dialect,
    skip: int,
    columns: list[str],
    texts: set[str],
    marks: list[inference.Marks],
    rewrite: bool = False,
) -> tuple[Any, bool]:
    """The columns, most as untrimmed texts, null where a mark of missing stands.

    Where the first rows tell, and nothing later speaks against it, decimal numbers and times are
    read as such, but for those in `texts`. Also returns whether the csv module went
    first, which is asked for by `rewrite`.
    """
    budget = memory.Budget(path.name)
    whole = is_direct = True
    while not rewrite:
        types: dict[str, Any] = {}
        try:
            with as_utf8(path, encoding) as stream:
                pieces = _Pieces(stream, found, skip, whole, budget)
                picked = [name for name in columns if name not in texts]
                if whole and is_direct and picked and (first := pieces.peek()) is not None:
                    sample = _parsed(io.BytesIO(_some_of(first)), found, picked, False, {})
                    types = inference.directly(sample, marks)
                table = _parsed(pieces, found, columns, not whole, types)
                if not table.num_rows:
                    break
                if inference.is_sound(table, types):
                    return table, False
                is_direct = False
        except _Quoted:
            whole = False
        except _Other:
            break
        except pyarrow().ArrowInvalid as error:
            if not types or "conversion error" not in str(error):
                break
            is_direct = False
    with as_utf8(path, encoding) as stream:
        rows = dialect.records(path.name, lines(path.name, stream), found)
        if (first_row := next(rows, None)) is None:
            what = "below the header line" if found.start else "in it"
            raise ValueError(f"{path.name}: expected rows {what}, found none")
        rewritten = _Rewritten(chain([first_row], rows), found.delimiter, budget)
        return _parsed(rewritten, found, columns, False, {}), True


def _parsed(
    stream: Any,
    found: Dialect,
    columns: list[str],
    newlines: bool,
    types: dict[str, Any],
) -> Any:
    arrow = pyarrow()
    return arrow.csv.read_csv(
        arrow.PythonFile(stream, mode="r"),
        read_options=arrow.csv.ReadOptions(
            use_threads=arrow.cpu_count() > 1,  # 8 % faster without
            column_names=found.names,
            block_size=CHUNK if newlines else 1 << 30,  # else as large as pieces are
        ),
        parse_options=arrow.csv.ParseOptions(
            delimiter=found.delimiter, newlines_in_values=newlines
        ),
        convert_options=arrow.csv.ConvertOptions(
            column_types=dict.fromkeys(columns, arrow.string()) | types,
            include_columns=columns,
            null_values=MARKS,
            strings_can_be_null=True,
        ),
    )


def lines_of_rows(
    path: Path, encoding: str, found: Dialect, rewritten: bool
) -> Callable[[], Sequence[int]]:
    """What gives the number of the line on which each row begins, by reading the file again."""

    @cache
    def give() -> Sequence[int]:
        with as_utf8(path, encoding) as stream:
            rows = dialect.records(path.name, lines(path.name, stream), found, strict=rewritten)
            return array("q", (line for line, _ in rows))

    return give
