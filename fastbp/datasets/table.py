"""CSV files with a header line, plain or gzip-compressed.

What belongs here: delimiters, headers, cells as numbers, and the place of a cell that is none. What
does not: what the target is (labels.py).
"""

import csv
import math
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np

from fastbp.datasets.columns import hint, listed
from fastbp.datasets.compressed import opened
from fastbp.datasets.dataset import Array, Dataset
from fastbp.datasets.labels import MARKS_OF_MISSING, looks_like_number, targets_from_text

LONGEST_LINE = 1 << 24  # characters; a longer one is no table, and may be a decompression bomb
DELIMITERS = ",;\t|"
SAMPLE = 8  # lines that tell the delimiter
SEPARATOR = re.compile(r'"?sep=(.)"?', re.IGNORECASE)  # the first line of a table from Excel


class Table(NamedTuple):
    """The numbers of a table, the texts of its target column, the line each row ends on."""

    columns: tuple[str, ...]
    X: Array
    target: list[str] | None
    lines: Sequence[int]


def read_csv(path: Path, target: str | None, task: str | None, header: str = "auto") -> Dataset:
    """Read a table whose column `target` is to be predicted from all the others."""
    if target is None:
        with opened(path) as (stream, _, _):
            columns, _ = _columns(path.name, _lines(path.name, stream), header)
        raise ValueError(f"{path.name}: the target column must be named, one of {listed(columns)}")
    table = read_table(path, target=target, header=header)
    assert table.target is not None
    if not table.columns:
        raise ValueError(f"{path.name}: expected columns besides the target {target!r}, found none")
    Y, classes = targets_from_text(table.target, table.lines, path.name, target, task)
    return Dataset(X=table.X, Y=Y, columns=table.columns, classes=classes, name=path.name)


def read_table(
    path: Path,
    *,
    target: str | None = None,
    columns: Sequence[str] | None = None,
    target_required: bool = True,
    header: str = "auto",
) -> Table:
    """Read the numeric `columns` (all but the target if None) and the texts of `target`."""
    name = path.name
    with opened(path) as (stream, _, _):
        known, rows = _columns(name, _lines(name, stream), header)
        place = {column: index for index, column in enumerate(known)}
        if target is not None and target not in place:
            if target_required:
                raise _no_column(name, [target], known)
            target = None
        if columns is None:
            columns = [column for column in known if column != target]
        missing = [column for column in columns if column not in place]
        if missing:
            raise _no_column(name, missing, known)
        picked = [place[column] for column in columns]
        at = None if target is None else place[target]
        texts: list[str] = []
        numbers, lines = array("d"), array("q")
        for line, row in rows:
            if len(row) != len(known):
                raise ValueError(
                    f"{name}: line {line}: expected {len(known)} fields as in the "
                    f"{'first line' if header == 'no' else 'header'}, found {len(row)}"
                )
            cells = [row[index] for index in picked]
            try:
                values = list(map(float, cells))
                fine = math.isfinite(math.fsum(values)) and "_" not in "".join(cells)
            except (ValueError, OverflowError):
                fine = False
            if not fine:
                _check_cells(name, line, columns, cells)
            numbers.extend(values)
            lines.append(line)
            if at is not None:
                texts.append(row[at].strip())
    if not lines:
        raise ValueError(f"{name}: expected rows below the header line, found none")
    X = np.frombuffer(numbers, dtype=np.float64).reshape(len(lines), len(picked))
    return Table(tuple(columns), X, texts if at is not None else None, lines)


def _no_column(name: str, missing: Sequence[str], known: Sequence[str]) -> ValueError:
    there = f"the columns are {listed(known)}{hint(missing, known)}"
    return ValueError(f"{name}: no column {listed(missing)}; {there}")


def _check_cells(name: str, line: int, columns: Sequence[str], cells: Sequence[str]) -> None:
    for column, cell in zip(columns, cells, strict=True):
        where = f"{name}: column {column!r}, line {line}"
        if cell.strip().lower() in MARKS_OF_MISSING:
            raise ValueError(f"{where}: missing value" + (f" ({cell!r})" if cell else ""))
        try:
            finite = math.isfinite(float(cell)) and "_" not in cell
        except ValueError:
            finite = False
        if not finite:
            shown = cell if len(cell) <= 60 else cell[:57] + "..."
            raise ValueError(f"{where}: expected a finite number, found {shown!r}")


def _lines(name: str, stream: IO[bytes]) -> Iterator[str]:
    number = 0
    while line := stream.readline(LONGEST_LINE):
        number += 1
        if number == 1:
            if line[:2] in (b"\xff\xfe", b"\xfe\xff"):
                raise ValueError(f"{name}: expected UTF-8 text, found UTF-16; save it as UTF-8")
            line = line.removeprefix(b"\xef\xbb\xbf")
        if len(line) == LONGEST_LINE:
            raise ValueError(f"{name}: line {number} is longer than {LONGEST_LINE} bytes")
        if b"\0" in line:
            raise ValueError(f"{name}: line {number}: expected text, found a zero byte")
        try:
            yield line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ValueError(
                f"{name}: line {number}: expected UTF-8 text, found the byte "
                f"{line[error.start]:02x} at place {error.start + 1}; save it as UTF-8"
            ) from None


def _columns(
    name: str, lines: Iterator[str], header: str
) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the names of the columns and an iterator of (line number, fields)."""
    skipped, delimiter = 0, ""
    for first in lines:
        skipped += 1
        said = SEPARATOR.fullmatch(first.strip(" \r\n"))
        if said:
            delimiter = said[1]
        elif first.strip():
            break
    else:
        raise ValueError(f"{name}: empty: expected a header line with the names of the columns")
    sample = [first, *islice(lines, SAMPLE - 1)]
    delimiter = delimiter or max(DELIMITERS, key=lambda mark: _fit(sample, mark))  # the first, ","
    rows = _rows(name, chain(sample, lines), delimiter, skipped - 1)
    line, columns = next(rows)
    columns = [column.strip() for column in columns]
    if header == "no":
        names = list(map(str, range(1, len(columns) + 1)))
        return names, chain([(line, columns)], rows)
    if header == "auto":
        _check_names(name, columns)
    seen: set[str] = set()
    for index, column in enumerate(columns):
        if not column:
            raise ValueError(
                f"{name}: column {index + 1} has no name in the header line"
                + (" (a row index? save without it)" if index == 0 else "")
            )
        if column in seen:
            raise ValueError(f"{name}: the header line has the column {column!r} twice")
        seen.add(column)
    return columns, rows


def _fit(sample: Sequence[str], delimiter: str) -> tuple[bool, int]:
    """How well a delimiter divides the first two rows: alike, and into many fields."""
    widths: list[int] = []
    with suppress(csv.Error):  # told when the row is read
        widths.extend(len(row) for row in islice(filter(None, _reader(sample, delimiter)), 2))
    return len(widths) == 2 and widths[0] == widths[1] > 1, widths[0] if widths else 0


def _check_names(name: str, columns: Sequence[str]) -> None:
    """Refuse a first line that may be data; 0, 1, 2, ... beside a name are what pandas writes."""
    numbers = [column for column in columns if looks_like_number(column)]
    counted = numbers == list(map(str, range(len(numbers)))) and 2 < len(numbers) < len(columns)
    if numbers and not counted:
        raise ValueError(
            f"{name}: expected the names of the columns in the first line, found numbers, "
            f"{numbers[0]!r}: add a header line, or say whether it is one (header='no' or 'yes', "
            "--header no or yes)"
        )


def _rows(
    name: str, lines: Iterator[str], delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str]]]:
    reader = _reader(lines, delimiter)
    try:
        for row in reader:
            if row:
                yield reader.line_num + skipped, row
    except csv.Error as error:
        raise ValueError(f"{name}: line {reader.line_num + skipped}: {error}") from None


def _reader(lines: Iterable[str], delimiter: str) -> Any:
    return csv.reader(lines, delimiter=delimiter, strict=True, skipinitialspace=True)
