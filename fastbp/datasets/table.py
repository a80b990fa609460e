"""CSV files with a header line, plain or gzip-compressed."""

import csv
import difflib
import math
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fastbp.datasets.compressed import opened
from fastbp.datasets.dataset import Array, Dataset
from fastbp.datasets.labels import targets_from_text

LONGEST_LINE = 1 << 24  # characters; a longer one is no table, and may be a decompression bomb
DELIMITERS = ",;\t"
MARKS_OF_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}


class Table(NamedTuple):
    """The numbers of a table, the texts of its target column, the line each row ends on."""

    columns: tuple[str, ...]
    X: Array
    target: list[str] | None
    lines: Sequence[int]


def read_csv(path: Path, target: str | None, task: str | None) -> Dataset:
    """Read a table whose column `target` is to be predicted from all the others."""
    if target is None:
        with opened(path) as (stream, _, _):
            header, _ = _header(path.name, _lines(path.name, stream))
        raise ValueError(f"{path.name}: the target column must be named, one of {_list(header)}")
    table = read_table(path, target=target)
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
) -> Table:
    """Read the numeric `columns` (all but the target if None) and the texts of `target`."""
    name = path.name
    with opened(path) as (stream, _, _):
        header, rows = _header(name, _lines(name, stream))
        place = {column: index for index, column in enumerate(header)}
        if target is not None and target not in place:
            if target_required:
                raise ValueError(f"{name}: no column {target!r}; {_nearest(target, header)}")
            target = None
        if columns is None:
            columns = [column for column in header if column != target]
        missing = [column for column in columns if column not in place]
        if missing:
            raise ValueError(f"{name}: no column {_list(missing)}; {_nearest(missing[0], header)}")
        picked = [place[column] for column in columns]
        at = None if target is None else place[target]
        texts: list[str] = []
        numbers, lines = array("d"), array("q")
        for line, row in rows:
            if len(row) != len(header):
                raise ValueError(
                    f"{name}: line {line}: expected {len(header)} fields as in the header, "
                    f"found {len(row)}"
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


def _header(name: str, lines: Iterator[str]) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """Return the names of the columns and an iterator of (line number, fields)."""
    skipped = 0
    for first in lines:
        if first.strip():
            break
        skipped += 1
    else:
        raise ValueError(f"{name}: empty: expected a header line with the names of the columns")
    delimiter = max(DELIMITERS, key=first.count)  # the first of equals: a comma

    def with_first() -> Iterator[str]:
        yield first
        yield from lines

    rows = _rows(name, with_first(), delimiter, skipped)
    header = [column.strip() for column in next(rows)[1]]
    if all(map(_is_number, header)):
        raise ValueError(
            f"{name}: expected the names of the columns in the first line, found numbers: "
            "add a header line"
        )
    seen: set[str] = set()
    for index, column in enumerate(header):
        if not column:
            raise ValueError(
                f"{name}: column {index + 1} has no name in the header line"
                + (" (a row index? save without it)" if index == 0 else "")
            )
        if column in seen:
            raise ValueError(f"{name}: the header line has the column {column!r} twice")
        seen.add(column)
    return header, rows


def _rows(
    name: str, lines: Iterator[str], delimiter: str, skipped: int
) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num + skipped, row
    except csv.Error as error:
        raise ValueError(f"{name}: line {reader.line_num + skipped}: {error}") from None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _list(names: Sequence[str]) -> str:
    shown = ", ".join(f"{name!r:.80}" for name in names[:20])
    return shown if len(names) <= 20 else f"{shown} and {len(names) - 20} more"


def _nearest(name: str, header: Sequence[str]) -> str:
    by_folded = {column.casefold(): column for column in header}
    near = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    hint = f"; did you mean {by_folded[near[0]]!r:.80}?" if near else ""
    return f"the columns are {_list(header)}{hint}"
