"""Chunks of Parquet files: row groups in a drawn order, the wanted columns alone.

What belongs here: `from_parquet`: which files and columns, a row group as small batches, refusals
with the file's name and row group. What does not: the order of rows (order.py), what a network sees
of a column that is no number (tabular/encoder.py).
"""

from __future__ import annotations

import contextlib
import copy
import glob
import os
import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp import hints, inputs
from fastbp.data.tables import Tables, index_of, kind_of

if TYPE_CHECKING:
    from fastbp.tabular.encoder import Encoder

BATCH_ROWS = 8192  # that are decoded at once
SPLIT = 4  # what is drawn by a seed, beside the order's
FOREIGN = " (path='folder/**/*.parquet' leaves out other files of a folder)"
READ_BYTES = 1 << 16  # of a column that are read at once,
READ_BYTES_IN_ALL = 1 << 24  # less where there are many columns


@inputs.keywords
def from_parquet(
    path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    target: str | Sequence[str],
    columns: Sequence[str] | None = None,
    weight: str | None = None,
    encoder: Encoder | None = None,
    shuffle: bool = True,
    shuffle_buffer: int | None = None,
) -> ParquetChunks:
    """Read Parquet files in chunks.

    Parameters
    ----------
    path : path-like, or list of these
        Of a file, of a directory (also one partitioned as Hive does: year=2024/part-0.parquet), or
        with * as `glob` has it; each file once. A relative one is of the folder at the time.
    target : str or list of str
        The column of Y, or several.
    columns : list of str, optional
        Those of X, in this order; when None all but `target`, `weight` and an index of pandas. No
        other is read.
    weight : str, optional
        The column of sample weights.
    encoder : fastbp.tabular.Encoder, optional
        Makes rows of X of columns of any kind. It may be fitted later, by ``encoder.fit(chunks)``.
        Without one all columns have to be numbers, none of them missing.
    shuffle : bool
        Read the row groups in an order drawn for each epoch, and the rows of a buffer too.
    shuffle_buffer : int, optional
        Rows of a block, which are mixed; 65,536 when None. Two blocks are in memory.

    Returns
    -------
    Chunks
        Read anew each epoch, by ``net.fit(chunks)``; iterated they give blocks as they lie.

    Raises
    ------
    ValueError, TypeError, OSError
        Files that are none of Parquet, or whose columns differ from the first one's; while they are
        read, with file and row group: what is missing or not finite, a damaged file, one that has
        changed since.

    Examples
    --------
    >>> import fastbp.data, pyarrow, pyarrow.parquet, tempfile, os
    >>> path = os.path.join(tempfile.mkdtemp(), "squares.parquet")
    >>> x = [i / 100 for i in range(-100, 100)]
    >>> pyarrow.parquet.write_table(pyarrow.table({"x": x, "y": [v * v for v in x]}), path)
    >>> chunks = fastbp.data.from_parquet(path, target="y")
    >>> chunks.n_rows, chunks.columns
    (200, ['x'])
    >>> net = fastbp.Network([1, 8, 1], activation="tanh", output="identity", loss="mse", seed=0)
    >>> net.fit(chunks, epochs=3).epochs
    3
    """
    return ParquetChunks(path, target, columns, weight, encoder, shuffle, shuffle_buffer)


class _Group(NamedTuple):
    """A row group of a file."""

    file: int
    number: int
    n_rows: int


class _File(NamedTuple):
    path: str
    size: int
    changed: int  # in nanoseconds
    keys: dict[str, Any]  # of the folders it is in, by column


class ParquetChunks(Tables):
    """What `from_parquet` makes."""

    def __init__(
        self,
        path: Any,
        target: Any,
        columns: Any,
        weight: Any,
        encoder: Any,
        shuffle: Any,
        shuffle_buffer: Any,
    ) -> None:
        dataset = _opened(path)
        schema, self.takes_all = _schema_of(dataset), columns is None
        super().__init__(schema, target, columns, weight, encoder, shuffle, shuffle_buffer)
        self.is_folder = not isinstance(path, (list, tuple)) and os.path.isdir(path)
        self.files: list[_File] = []
        self.groups: list[_Group] = []
        self.kept: tuple[tuple[int, float, float], ...] = ()  # of whom each row has a number
        self._list(dataset)
        self.n_rows = sum(group.n_rows for group in self.groups)

    def __repr__(self) -> str:
        return (
            f"from_parquet({len(self.files)} files, {len(self.groups)} row groups, {self.n_rows} "
            f"rows, {len(self.columns)} columns)"
        )

    def identity(self) -> dict[str, Any]:
        """What tells these data from others, and their order.

        Of each file name, size, row groups and a checksum of its footer, which holds places, least
        and greatest values of the columns; not all of its values.
        """
        rows: list[list[int]] = [[] for _ in self.files]
        for group in self.groups:
            rows[group.file].append(group.n_rows)
        files = [
            [os.path.basename(file.path), file.size, of_groups, _checksum(file.path, file.size)]
            for file, of_groups in zip(self.files, rows, strict=True)
        ]
        kept = {"rows": [list(part) for part in self.kept]} if self.kept else {}
        return {"files": files, **kept, **super().identity()}

    def split(self, share: float, seed: int = 0) -> tuple[ParquetChunks, ParquetChunks]:
        """These chunks without about a share of their rows, and that share: to validate, to test.

        Each row is drawn by itself: which ones depends on the seed, on how often these chunks were
        split before, and on their places in the row groups alone: the same rows in row groups of
        another size are split elsewhere.

        Examples
        --------
        >>> import fastbp.data, pyarrow, pyarrow.parquet, tempfile, os
        >>> path = os.path.join(tempfile.mkdtemp(), "squares.parquet")
        >>> x = [i / 100 for i in range(-100, 100)]
        >>> pyarrow.parquet.write_table(pyarrow.table({"x": x, "y": [v * v for v in x]}), path)
        >>> chunks = fastbp.data.from_parquet(path, target="y")
        >>> train, rest = chunks.split(0.1)
        >>> train.n_rows, rest.n_rows
        (180, 20)
        >>> net = fastbp.Network([1, 8, 1], output="identity", loss="mse", seed=0)
        >>> history = net.fit(train, validation=rest, epochs=3)
        """
        share = inputs.as_positive(share, "share")
        seed = inputs.as_count(seed, "seed", 0)
        if share >= 1:
            raise ValueError(f"share: expected a number in (0, 1); got {share:g}")
        parts = self._part(seed, share, 1.0), self._part(seed, 0.0, share)
        if not all(part.n_rows for part in parts):
            raise ValueError(f"share: expected rows in both parts; got {share:g} of {self.n_rows}")
        return parts

    def _part(self, seed: int, low: float, high: float) -> ParquetChunks:
        """The rows whose number, drawn by the seed, is in a range."""
        part = copy.copy(self)
        part.kept = (*self.kept, (seed, low, high))
        part.n_rows = sum(int(part._rows(unit).sum()) for unit in range(len(self.groups)))
        return part

    def _rows(self, unit: int) -> np.ndarray:
        """Which of a row group's are read, a mask."""
        group = self.groups[unit]
        mask = np.ones(group.n_rows, bool)
        for depth, (seed, low, high) in enumerate(self.kept):  # each split draws anew
            number = np.random.default_rng([seed, SPLIT, unit, depth]).random(group.n_rows)
            mask &= (low <= number) & (number < high)
        return mask

    def _list(self, dataset: Any) -> None:
        """Files and row groups, each held against the first file's columns."""
        from pyarrow.dataset import get_partition_keys

        wanted = {*self.target_names, *self.columns, *([self.weight] if self.weight else ())}
        for fragment in dataset.get_fragments():
            path, keys = fragment.path, get_partition_keys(fragment.partition_expression)
            with _named(path, FOREIGN if self.is_folder else ""):
                own, groups = fragment.physical_schema, list(fragment.row_groups)
            for name in own.names if self.takes_all else ():
                if name not in {*self.schema.names, *keys, *index_of(own)}:
                    raise ValueError(
                        f"{path}: expected the columns of the first file; got another one, "
                        f"{name!r} (columns= tells which to read)"
                    )
            for name in wanted - set(keys):
                if own.names.count(name) != 1:
                    raise ValueError(f"{path}: expected a column {name!r}, as in the first file")
                first, found = self.schema.field(name).type, own.field(name).type
                if str(found) != "null" and kind_of(first) != kind_of(found):
                    raise TypeError(
                        f"{path}: column {name!r}: expected {first}, as in the first file; got "
                        f"{found}"
                    )
            stat = os.stat(path)
            self.files.append(_File(path, stat.st_size, stat.st_mtime_ns, keys))
            at = len(self.files) - 1
            self.groups += [_Group(at, g.id, g.num_rows) for g in groups if g.num_rows]
        if not self.groups:
            raise ValueError("path: expected files with rows; got none")

    def _check(self) -> None:
        for file in self.files:
            try:
                stat = os.stat(file.path)
            except FileNotFoundError:
                raise FileNotFoundError(f"{file.path}: the file is no longer there") from None
            if (stat.st_size, stat.st_mtime_ns) != (file.size, file.changed):
                raise ValueError(f"{file.path}: the file has changed since the chunks were made")

    @contextlib.contextmanager
    def _reading(self, place: str) -> Iterator[None]:
        """Name the place in errors; of files that have changed meanwhile, that they have."""
        try:
            with _named(place):
                yield
        except Exception:
            self._check()
            raise

    # as Ordered has it

    def _n_units(self) -> int:
        return len(self.groups)

    def _name(self, unit: int, first: int) -> str:
        group = self.groups[unit]
        place = f"{self.files[group.file].path}, row group {group.number}"
        return f"{place}, from row {first} on" if first else place

    def _batches(self, unit: int, names: list[str]) -> Iterator[Any]:
        """Some columns of a row group, a few rows at a time, in this order."""
        import pyarrow
        from pyarrow.parquet import ParquetFile

        group = self.groups[unit]
        path, _, _, keys = self.files[group.file]
        own = [name for name in dict.fromkeys(names) if name not in keys]
        place, seen = self._name(unit, 0), 0
        mask = self._rows(unit) if self.kept else None
        with self._reading(place):
            room = max(4096, min(READ_BYTES, READ_BYTES_IN_ALL // len(names)))
            opened = ParquetFile(path, pre_buffer=False, buffer_size=room)
        with opened as file:
            options = {"row_groups": [group.number], "use_threads": False}
            batches = file.iter_batches(BATCH_ROWS, columns=own, **options)
            while True:
                with self._reading(place):
                    batch = next(batches, None)
                if batch is None:
                    break
                seen += (n := batch.num_rows)
                found = [
                    pyarrow.repeat(pyarrow.scalar(keys[name], self.schema.field(name).type), n)
                    if name in keys
                    else pyarrow.nulls(n, self.schema.field(name).type)
                    if str(batch.column(name).type) == "null"
                    else batch.column(name)
                    for name in names
                ]
                part = pyarrow.RecordBatch.from_arrays(found, names=names)
                if mask is not None:
                    part = part.filter(pyarrow.array(mask[seen - n : seen]))
                if part.num_rows:
                    yield part
                del batch, found, part
        if seen != group.n_rows:
            raise ValueError(f"{place}: expected {group.n_rows} rows; got {seen}")


def _opened(path: Any) -> Any:
    """The files as pyarrow has them; the first one's columns are read."""
    try:
        from pyarrow import dataset
    except ImportError as error:
        raise hints.missing("Parquet files need", "pyarrow", "data") from error
    paths = path if isinstance(path, (list, tuple)) else [path]
    if not paths:
        raise ValueError("path: expected at least one file; got none")
    found: list[str] = []
    for item in paths:
        text = str(inputs.as_path(item, "path"))
        if os.path.exists(text):
            found.append(text)
            continue
        several = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []
        if not several:
            raise FileNotFoundError(f"path: expected files; there is none at {text}")
        found += several
    files: list[str] = []
    keyed = False  # by folders as Hive names them, of those that were told or are within
    for name in found:
        if not Path(name).is_dir():
            inputs.as_file(name, "path")
            files.append(os.path.abspath(name))
            keyed = keyed or "=" in os.path.dirname(name)
            continue
        name = os.path.abspath(name)
        with _named(name, FOREIGN):
            within = dataset.dataset(name, format="parquet", partitioning="hive")
        if not within.files:
            raise FileNotFoundError(f"path: expected Parquet files; there is none in {name}")
        files += within.files
        keyed = keyed or any("=" in os.path.dirname(os.path.relpath(f, name)) for f in within.files)
    for name, times in Counter(files).items():
        if times > 1:
            raise ValueError(f"path: expected files, each once; got {name} again")
    if len(found) == 1 and os.path.isdir(found[0]):
        return within
    with _named(files[0] if len(files) == 1 else f"{files[0]}, ..."):
        return dataset.dataset(files, format="parquet", partitioning="hive" if keyed else None)


def _schema_of(dataset: Any) -> Any:
    """The first file's columns; of those that are all missing there the types of later files."""
    schema = dataset.schema
    for at, field in enumerate(schema):
        if str(field.type) != "null":
            continue
        for fragment in dataset.get_fragments():
            with _named(fragment.path):
                own = fragment.physical_schema
            if own.names.count(field.name) == 1 and str(own.field(field.name).type) != "null":
                schema = schema.set(at, field.with_type(own.field(field.name).type))
                break
    return schema


def _checksum(path: str, size: int) -> int:
    """Of what stands at a file's end: its columns, where each lies, least and greatest values."""
    with open(path, "rb") as file:
        file.seek(max(0, size - 8))
        length = int.from_bytes(file.read(4), "little")
        file.seek(max(0, size - 8 - length))
        return zlib.crc32(file.read())


class _named:
    """What pyarrow raises within, with the name of what is read."""

    def __init__(self, name: str, hint: str = "") -> None:
        self.name, self.hint = name, hint

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        if error is None or not isinstance(error, (OSError, ValueError, NotImplementedError)):
            return
        of = OSError if isinstance(error, OSError) else ValueError
        raise of(f"{self.name}: {error}{self.hint}") from error
