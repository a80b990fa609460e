"""Tables in files: CSV, plain or compressed, Parquet, Arrow and Feather, read by pyarrow.

What belongs here: which reader reads what, and where in the file a cell stands. What does not:
delimited text (delimited.py), what its cells mean (inference.py), columns as a network sees them
(encoder.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.functions import one_of, shown
from fastbp.inputs import ArrayLike, as_file
from fastbp.tabular import delimited, dialect, inference, memory
from fastbp.tabular.arrow import pyarrow as load_arrow
from fastbp.tabular.compressed import fits_in_memory
from fastbp.tabular.lines import as_utf8, check_encoding, lines
from fastbp.tabular.names import hint, listed

if TYPE_CHECKING:
    import pyarrow

TEXT = (".csv", ".tsv", ".txt", ".data")  # also .gz, .zst
COMPRESSED = ("", ".gz", ".zst")
PARQUET = (".parquet", ".pq")
ARROW = (".arrow", ".feather", ".ipc")
SUFFIXES = (*(text + end for text in TEXT for end in COMPRESSED), *PARQUET, *ARROW)
MARKS = {
    "decimal": dict.fromkeys(inference.DECIMALS),
    "thousands": dict.fromkeys(inference.THOUSANDS),
}


def is_text(name: str) -> bool:
    """Whether a file of this name is one of delimited text."""
    return name.lower().endswith(tuple(text + end for text in TEXT for end in COMPRESSED))


def is_table(name: str) -> bool:
    """Whether a file of this name is a table."""
    return name.lower().endswith(SUFFIXES)


@dataclass(frozen=True, eq=False)
class Source:
    r"""A table, and where in its file each of its cells stands; `read_source` makes it.

    Attributes
    ----------
    path : Path
        The file.
    table : pyarrow.Table
        As `read_table` gives it.
    notes : dict of str to str
        What somebody should be told of a column, by its name: that it is of texts because of the
        cell in some line, where most of it is numbers or dates.
    decimal : str, optional
        "," where numbers show that this is their decimal mark.

    Examples
    --------
    >>> import tempfile
    >>> from fastbp.tabular import read_source
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("size,wood\n1,oak\n2,elm\n")
    ...     file.flush()
    ...     source = read_source(file.name)
    ...     source.place(1), source.cell("wood", 1)
    ('line 3', 'elm')
    """

    path: Path
    table: pyarrow.Table
    notes: dict[str, str] = field(default_factory=dict)
    decimal: str | None = None
    _give_lines: Callable[[], Sequence[int]] | None = None  # of a file of text
    _give_cell: Callable[[str, int], str] | None = None
    _rows: np.ndarray | None = None  # of the file, where they are not all

    @property
    def name(self) -> str:
        """The file's name, with which every refusal begins."""
        return self.path.name

    def place(self, row: int) -> str:
        """Tell where a row of the table is in the file: its line, if it has lines.

        Parameters
        ----------
        row : int
            Of the table, counted from 0.

        Returns
        -------
        str
            As "line 7"; of a file without lines "row 5".
        """
        row = row if self._rows is None else int(self._rows[row])
        if self._give_lines is None:
            return f"row {row}"
        with suppress(IndexError):
            return f"line {self._give_lines()[row]}"
        return f"row {row}"

    def where(self, column: str, row: int) -> str:
        """Tell where a cell is: file, column and line, as a refusal begins.

        Parameters
        ----------
        column : str
            Its name.
        row : int
            Of the table, counted from 0.

        Returns
        -------
        str
            As "houses.csv: column 'area', line 7".
        """
        return f"{self.name}: column {column!r:.80}, {self.place(row)}"

    def cell(self, column: str, row: int) -> str:
        """Read a cell as the file has it.

        Parameters
        ----------
        column : str
            Its name.
        row : int
            Of the table, counted from 0.

        Returns
        -------
        str
            In a file of text what stands between the delimiters; else the value as Python writes
            it.
        """
        if self._give_cell is None:
            return str(self.table[column][row].as_py())
        return self._give_cell(column, row if self._rows is None else int(self._rows[row]))

    def take(self, rows: ArrayLike) -> Source:
        """Keep these rows alone.

        Parameters
        ----------
        rows : ndarray of bool (n,)
            Which rows are to stay.

        Returns
        -------
        Source
            Its cells are still found in the file.
        """
        mask = np.asarray(rows)
        (kept,) = np.nonzero(mask)
        table = self.table.filter(load_arrow().array(mask))
        return replace(self, table=table, _rows=kept if self._rows is None else self._rows[kept])

    def select(self, columns: Sequence[str]) -> Source:
        """Keep these columns alone.

        Parameters
        ----------
        columns : sequence of str
            Names of those that are to stay.

        Returns
        -------
        Source
            The columns in the order of `columns`.
        """
        return replace(self, table=self.table.select(list(columns)))


def read_table(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    header: str = "auto",
    encoding: str = "utf-8",
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    comments: str = "auto",
) -> pyarrow.Table:
    r"""Read a table from a CSV, Parquet, Arrow or Feather file.

    Parameters
    ----------
    path : path-like
        ``.csv``, ``.tsv``, ``.txt`` or ``.data``, also with ``.gz`` or ``.zst`` behind it;
        ``.parquet``; ``.arrow`` or ``.feather``. All other arguments but `columns` are for the
        first alone.
    columns : sequence of str, optional
        The columns to read, in this order; by default all.
    header : {'auto', 'yes', 'no'}
        Whether the first line names the columns. "auto": yes, but one that holds numbers or dates
        is refused, for it may be data. Without names the columns are "1", "2", ...
    encoding : str
        Such as "latin-1", "cp1252" or "utf-16".
    delimiter : str, optional
        Between fields. By default the one of ``, ; tab |`` under which the first lines have the
        same number of fields, or what a first line ``sep=;`` says.
    decimal : {'.', ','}, optional
        The mark before the decimals of all numbers.
    thousands : {',', '.', "'", ' '}, optional
        The mark between groups of digits. How numbers are written. By default each column may be
        written in any way that reads all of it; where two give other numbers (``1,200`` and
        ``3,500`` alone), the decimal marks in the other columns tell, or commas between fields,
        else the column is refused.
    comments : {'auto', 'yes', 'no'}
        Whether lines that begin with ``#`` are comments. "auto": where they have not a row's number
        of fields; one that has is refused, unless the first row is such.

    Returns
    -------
    pyarrow.Table
        Columns of int64, float64, timestamp[us] and string; of null where nothing is known. Blanks
        around a text are dropped. Missing is null: an empty field, ``?``, ``NA``, ``N/A``, ``NaN``,
        ``null`` and ``none`` in any case. Numbers are what Python's ``float`` makes of them; a
        column with a code, such as ``02134``, is of texts (of a large file, unless its first rows
        hold decimal numbers). Dates: ``2020-01-31``, ``2020/1/31``,
        ``31.1.2020``, all with or without a time of day; ``31/1/2020`` and ``1/31/2020`` where a
        day above 12 tells which. A column of ``True`` and ``false`` holds the texts "true" and
        "false". The columns of Parquet and Arrow files are what they are there.

    Raises
    ------
    ValueError
        The file is not as above; the message names file, column and line.
    OSError
        The file cannot be opened.
    MemoryError
        It holds more than fits in memory.
    ImportError
        pyarrow is not installed.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbp.tabular import read_table
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "houses.csv")
    ...     with open(path, "w") as stream:
    ...         _ = stream.write("area;zip;sold\n71,5;02134;2020-01-31\n?;10001;2021-12-01\n")
    ...     table = read_table(path)
    >>> table["area"].to_pylist(), table["zip"].to_pylist(), table["sold"].type
    ([71.5, None], ['02134', '10001'], TimestampType(timestamp[us]))
    """
    return read_source(
        path, columns=columns, header=header, encoding=encoding, delimiter=delimiter,
        decimal=decimal, thousands=thousands, comments=comments,
    ).table  # fmt: skip


def read_source(
    path: str | os.PathLike[str],
    *,
    texts: Sequence[str] = (),
    without: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    header: str = "auto",
    encoding: str = "utf-8",
    delimiter: str | None = None,
    decimal: str | None = None,
    thousands: str | None = None,
    comments: str = "auto",
) -> Source:
    r"""Read a table as `read_table` does, with the place of each cell.

    Parameters
    ----------
    path : path-like
        As in `read_table`.
    texts : sequence of str
        Columns of a file of text that are to stay as they are written, where it has them; classes
        are decided on those.
    without : sequence of str
        Columns that nobody will look at: those that hold no value a row are then of nulls, and not
        refused.
    columns, header, encoding, delimiter, decimal, thousands, comments : as in `read_table`
        What is read, and how the file is written.

    Returns
    -------
    Source
        The table, and what finds its cells in the file.

    Raises
    ------
    ValueError, OSError, MemoryError, ImportError
        As in `read_table`.

    Examples
    --------
    >>> import tempfile
    >>> from fastbp.tabular import read_source
    >>> with tempfile.NamedTemporaryFile("w", suffix=".csv") as file:
    ...     _ = file.write("size,wood\n1,oak\n2,elm\n")
    ...     file.flush()
    ...     print(read_source(file.name).cell("wood", 1))
    elm
    """
    file = as_file(path, "path")
    if columns is not None:
        columns = _check_columns(columns)
    one_of("header", header, dialect.CHOICES)
    one_of("comments", comments, dialect.CHOICES)
    encoding = check_encoding(encoding)
    for key, value in (("decimal", decimal), ("thousands", thousands)):
        if value is not None:
            one_of(key, value, MARKS[key])
    if decimal is not None and decimal == thousands:
        raise ValueError(f"thousands: expected another mark than decimal; got {thousands!r}")
    if delimiter is not None and not (
        isinstance(delimiter, str) and dialect.can_delimit(delimiter)
    ):
        raise ValueError(
            f"delimiter: expected one ASCII character such as ';'; got {shown(delimiter)}"
        )
    with fits_in_memory(file.name):
        if is_text(file.name):
            found, skip = delimited.read_dialect(file, encoding, header, delimiter, comments)
            picked = _picked(file.name, columns, found.names)
            marks = inference.allowed(decimal, thousands)
            return _of_text(file, encoding, found, skip, picked, set(texts), marks)
        for key, value, default in (
            ("header", header, "auto"), ("encoding", encoding, "utf-8"), ("decimal", decimal, None),
            ("delimiter", delimiter, None), ("thousands", thousands, None),
            ("comments", comments, "auto"),
        ):  # fmt: skip
            if value != default:
                raise ValueError(f"{file.name}: {key}: only a file of text has one; got {value!r}")
        if not is_table(file.name):
            raise ValueError(f"{file.name}: expected a name ending in {', '.join(SUFFIXES)}")
        is_parquet = file.name.lower().endswith(PARQUET)
        return Source(file, (_parquet if is_parquet else _arrow)(file, columns, set(without)))


def _check_columns(columns: Any) -> list[str]:
    is_list = isinstance(columns, Sequence) and not isinstance(columns, (str, bytes))
    if not is_list or not all(isinstance(name, str) for name in columns):
        raise TypeError(f"columns: expected a list of names or None; got {shown(columns)}")
    for name in columns:
        if columns.count(name) > 1:
            raise ValueError(f"columns: expected each name once; got {name!r:.80} twice")
    if not columns:
        raise ValueError("columns: expected at least one name; got none")
    return list(columns)


def _picked(name: str, columns: Sequence[str] | None, known: Sequence[str]) -> list[str]:
    there = set(known)
    missing = [column for column in columns or () if column not in there]
    if missing:
        raise no_column(name, missing, known)
    return list(known if columns is None else columns)


def no_column(name: str, missing: Sequence[str], known: Sequence[str]) -> ValueError:
    """What is raised where a file has no such columns."""
    there = f"the columns are {listed(known)}{hint(missing, known)}"
    return ValueError(f"{name}: no column {listed(missing)}; {there}")


def _of_text(
    path: Path,
    encoding: str,
    found: dialect.Dialect,
    skip: int,
    columns: list[str],
    texts: set[str],
    marks: list[inference.Marks],
) -> Source:
    try:
        return _inferred(path, encoding, found, skip, columns, texts, marks, False)
    except inference.QuotedAfterBlanks:
        return _inferred(path, encoding, found, skip, columns, texts, marks, True)


def _inferred(
    path: Path,
    encoding: str,
    found: dialect.Dialect,
    skip: int,
    columns: list[str],
    texts: set[str],
    marks: list[inference.Marks],
    rewrite: bool,
) -> Source:
    arrow = load_arrow()
    table, rewritten = delimited.read_columns(
        path, encoding, found, skip, columns, texts, marks, rewrite
    )
    give_lines = delimited.lines_of_rows(path, encoding, found, rewritten)

    def give_cell(column: str, row: int) -> str:
        with as_utf8(path, encoding) as stream:
            rows = dialect.records(path.name, lines(path.name, stream), found, strict=rewritten)
            return next(islice(rows, row, None))[1][found.names.index(column)].strip()

    source = Source(path, table, {}, None, give_lines, give_cell)

    def infer(name: str) -> inference.Found:
        column = table[name]
        if name in texts:
            return inference.Found(inference.trimmed(column, not rewritten), "text")
        try:
            return inference.of_texts(column, marks, not rewritten)
        except inference.Refused as error:
            raise ValueError(f"{source.where(name, error.row)}: {error.what}") from None

    threads = min(arrow.cpu_count(), len(columns))
    if threads == 1 or table.nbytes < 1 << 20:
        inferred = list(map(infer, columns))
    else:
        with ThreadPoolExecutor(threads) as pool:
            inferred = list(pool.map(infer, columns))
    kinds = inference.settled(inferred, found.delimiter)
    for name, one in zip(columns, kinds, strict=True):
        if one.values is None:
            raise _unclear(source, name, one)
        if one.odd is not None:
            source.notes[name] = (
                f"column {name!r:.80} is of texts: {source.place(one.odd)} has "
                f"{one.values[one.odd].as_py()!r:.60}, where most are numbers or dates, or are "
                "written as neither is read (12.5, 2020-01-31)"
            )
    points = {one.point for one in kinds if one.point}
    return replace(
        source,
        table=arrow.table([one.values for one in kinds], names=columns),
        decimal="," if points == {","} else None,
    )


def _unclear(source: Source, name: str, found: inference.Found) -> ValueError:
    """What is raised where nothing tells which of two numbers a text is."""
    assert found.readings is not None
    (one, first), (other, second) = found.readings.items()
    values, others = first.cast("float64").to_numpy(), second.cast("float64").to_numpy()
    row = int(np.flatnonzero((values != others) & ~np.isnan(values))[0])
    return ValueError(
        f"{source.where(name, row)}: {source.cell(name, row)!r:.60} may be {values[row]:g} or "
        f"{others[row]:g}: say which mark is the decimal one (decimal={one!r} or {other!r}; "
        f"--decimal)"
    )


def _parquet(path: Path, columns: list[str] | None, without: set[str]) -> Any:
    load_arrow()
    from pyarrow import parquet

    with reading(path.name, "Parquet"), parquet.ParquetFile(path) as file:
        names, nulls = check_schema(path.name, file.schema_arrow, columns, without)
        taken = 8.0 * file.metadata.num_rows * len(names)
        if taken > memory.available():
            raise MemoryError(f"{file.metadata.num_rows} rows of {len(names)} columns")
        table = file.read(columns=names).select(names)
        table.validate(full=True)
        return _with_rows(path.name, table, nulls)


def _arrow(path: Path, columns: list[str] | None, without: set[str]) -> Any:
    arrow = load_arrow()
    from pyarrow import feather

    with reading(path.name, "Arrow"), arrow.OSFile(str(path)) as file:
        start = file.read(6)
        file.seek(0)
        if start[:4] == b"FEA1":
            table = feather.read_table(path)
        elif start == b"ARROW1":
            table = arrow.ipc.open_file(file).read_all()
        else:
            table = arrow.ipc.open_stream(file).read_all()
        table.validate(full=True)  # what is read later is trusted to lie where it is said to
        names, nulls = check_schema(path.name, table.schema, columns, without)
        return _with_rows(path.name, table.select(names), nulls)


@contextmanager
def reading(name: str, kind: str) -> Iterator[None]:
    """Whatever pyarrow finds wrong, with the name of the file."""
    arrow = load_arrow()
    try:
        yield
    except MemoryError:
        raise
    except (arrow.ArrowException, OSError, UnicodeDecodeError, OverflowError) as error:
        told = " ".join(str(error).split())
        raise ValueError(f"{name}: not a sound {kind} file: {told:.200}") from None


def check_schema(
    name: str, schema: Any, columns: list[str] | None, without: set[str]
) -> tuple[list[str], list[str]]:
    """The names of the columns to read, and of those to have nulls in place of columns within them;
    refuses other such columns, and names that are none."""
    types = load_arrow().types
    dialect.check_names(name, schema.names, "yes")
    picked = _picked(name, columns, schema.names)
    nulls = []
    for column in picked:
        kind = schema.field(column).type
        if types.is_dictionary(kind):
            kind = kind.value_type
        if not types.is_nested(kind) or types.is_run_end_encoded(kind):
            continue
        if column not in without:
            raise ValueError(
                f"{name}: column {column!r:.80}: expected a value a row; got {kind} (make columns "
                "of its parts, or leave it out: --drop, columns=)"
            )
        nulls.append(column)
    return [column for column in picked if column not in nulls], nulls


def _with_rows(name: str, table: Any, nulls: list[str]) -> Any:
    if not table.num_rows:
        raise ValueError(f"{name}: expected rows, found none")
    for column in nulls:
        table = table.append_column(column, load_arrow().nulls(table.num_rows))
    return table
