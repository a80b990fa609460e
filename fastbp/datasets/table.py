"""Tables of which a column is the target.

What belongs here: the target apart from the other columns, and tables of numbers alone as an array.
What does not: files (tabular/reading.py), what targets are (labels.py), other tables as a network
sees them (tabular/encoder.py).
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.datasets.dataset import Array, Dataset, Inputs, Label
from fastbp.datasets.labels import targets, targets_from_text, typed
from fastbp.tabular.cells import is_number, looks_like_number
from fastbp.tabular.dialect import is_unnamed
from fastbp.tabular.names import listed
from fastbp.tabular.reading import Source, is_text, no_column, read_source


class Split(NamedTuple):
    """The columns but the target, which `Y` and `classes` are as in `Dataset`; rows left out."""

    source: Source
    Y: Array
    classes: tuple[Label, ...] | None
    n_dropped: int


def read_with_target(
    path: str | os.PathLike[str],
    target: str | None,
    task: str | None,
    texts: Sequence[str] = (),
    **options: Any,
) -> Source:
    """`read_source` with the target as it is written, of which classes are made.

    But where it is of numbers that only its whole column tells how to read (3,5 or 1'200), and no
    classes are asked for, it is read as other columns are.
    """
    if target is None:
        return read_source(path, texts=texts, **options)
    source = read_source(path, texts=[*texts, target], **options)
    if target not in source.table.column_names or task == "classification":
        return source
    column = source.table[target]
    if str(column.type) != "string":
        return source
    values = column.unique().drop_null().to_pylist()
    if all(map(is_number, values)) or not all(map(looks_like_number, values)):
        return source
    other = read_source(path, texts=texts, **options)
    return source if str(other.table[target].type) == "string" else other


def split(source: Source, target: str, task: str | None, *, strict: bool = False) -> Split:
    """Take the target column from a table that was read with ``texts=[target]``.

    Rows without a target are dropped and counted, or refused where `strict`.
    """
    names = source.table.column_names
    if target not in names:
        raise no_column(source.name, [target], names)
    missing = source.table[target].is_null(nan_is_null=True).to_numpy()
    if missing.any() and (strict or missing.all()):
        row = int(np.argmax(missing))
        cell = source.cell(target, row) if strict else "in every row"
        raise ValueError(
            f"{source.where(target, row)}: missing value" + (f" ({cell!r})" if cell else "")
        )
    if missing.any():
        source = source.take(~missing)
    column = source.table[target]
    if hasattr(column.type, "value_type"):  # of a dictionary
        column = column.cast(column.type.value_type)
    name = f"{source.name}: column {target!r:.80}"
    if str(column.type) in ("string", "large_string", "string_view"):
        texts = column.to_pylist()
        Y, found = targets_from_text(texts, lambda row: source.where(target, row), task)
        classes = typed(found) if found is not None and is_text(source.name) else found
    else:
        Y, classes = _of_values(column, name, task)
    rest = source.select([other for other in names if other != target])
    return Split(rest, Y, classes, int(missing.sum()))


def _of_values(column: Any, name: str, task: str | None) -> tuple[Array, tuple[Label, ...] | None]:
    """Targets of a column that is not of texts."""
    if str(column.type).startswith("decimal"):
        column = column.cast("float64")
    values = column.to_numpy()
    if values.dtype.kind == "f" and np.isin(values, (0.0, 1.0)).all():  # of gaps that are no more
        values = values.astype(np.int64)
    (Y,), classes = targets([values], name, task)
    return Y, classes


def as_numbers(source: Source) -> Array:
    """The table as float64 (n, n_columns); refuses what is missing and what is no finite number."""
    for place, name in enumerate(source.table.column_names):
        if is_unnamed(name):
            told = " (a row index? save without it)" if place == 0 else ""
            raise ValueError(
                f"{source.name}: column {place + 1} has no name in the header line{told}{_ELSE}"
            )
    X = np.empty((source.table.num_rows, source.table.num_columns))
    for place, name in enumerate(source.table.column_names):
        column = source.table[name]
        if column.null_count:
            row = int(np.argmax(column.is_null().to_numpy()))
            cell = source.cell(name, row)
            told = f" ({cell!r:.60})" if cell and cell != "None" else ""
            raise ValueError(f"{source.where(name, row)}: missing value{told}{_ELSE}")
        kind = str(column.type)
        if not kind.startswith(("int", "uint", "double", "float", "halffloat", "decimal", "bool")):
            row = _first_text(column.to_pylist())
            cell = source.cell(name, row)
            raise ValueError(
                f"{source.where(name, row)}: expected a finite number, found {cell!r:.60}{_ELSE}"
            )
        X[:, place] = column.cast("float64", safe=False).to_numpy()
        infinite = ~np.isfinite(X[:, place])
        if infinite.any():
            row = int(np.argmax(infinite))
            raise ValueError(
                f"{source.where(name, row)}: expected a finite number, found {X[row, place]}"
            )
    return X


_ELSE = (
    "; such tables are read by fastbp.tabular.read_table and `fastbp train`, and encoded by "
    "fastbp.tabular.Encoder"
)


def _first_text(values: Sequence[Any]) -> int:
    """The first that is no number, or that has the column be one of texts."""
    odd = [row for row, value in enumerate(values) if not is_number(str(value))]
    codes = [row for row, value in enumerate(values) if str(value).lstrip("+-")[:1] == "0"]
    return (odd or codes or [0])[0]


def read_dataset(path: Path, target: str | None, task: str | None, **dialect: Any) -> Dataset:
    """Read a table whose column `target` is to be predicted from all the others."""
    source = read_with_target(path, target, task, **dialect)
    if target is None:
        known = listed(source.table.column_names)
        raise ValueError(f"{path.name}: the target column must be named, one of {known}")
    if source.table.column_names == [target]:
        raise ValueError(f"{path.name}: expected columns besides the target {target!r}, found none")
    source, Y, classes, _ = split(source, target, task, strict=True)
    X, columns = as_numbers(source), tuple(source.table.column_names)
    return Dataset(X=X, Y=Y, columns=columns, classes=classes, name=path.name)


def read_rows(
    path: Path,
    columns: Sequence[str] | None,
    target: str | None,
    task: str | None,
    target_required: bool,
    **dialect: Any,
) -> Inputs:
    """Read the numeric `columns` (all but the target if None), and targets where there are any."""
    source = read_with_target(path, target, task, **dialect)
    names = source.table.column_names
    if target is not None and target not in names:
        if target_required:
            raise no_column(source.name, [target], names)
        target = None
    picked = [name for name in names if name != target] if columns is None else list(columns)
    if missing := [name for name in picked if name not in names]:
        raise no_column(source.name, missing, names)
    X = as_numbers(source.select(picked))
    if target is None or source.table[target].null_count == len(X):
        return Inputs(X, None, None)
    _, Y, classes, _ = split(source, target, task, strict=True)
    return Inputs(X, Y, classes)
