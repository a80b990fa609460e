"""Tables as `train` is given them, and as a saved model takes them.

What belongs here: which DATA is a table, what it is read with, its columns and targets, what a
model that was trained on one remembers of that. What does not: arrays and images (datasets/), how a
file is read (tabular/), training.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fastbp.cli.options import MLP, OF_ONE_NETWORK
from fastbp.datasets.dataset import Array, Dataset, Label
from fastbp.datasets.labels import as_array
from fastbp.datasets.table import read_with_target, split
from fastbp.metrics import r2
from fastbp.tabular import Columns, Encoder, as_columns
from fastbp.tabular.cells import WHOLE
from fastbp.tabular.importance import drops
from fastbp.tabular.kinds import Numbers, Texts, Times, is_missing
from fastbp.tabular.names import listed
from fastbp.tabular.reading import Source, is_table, is_text
from fastbp.tabular.selection import Selection, choose

OF_TABLES = (
    "columns",
    "drop",
    "id",
    "categorical",
    "numeric",
    "strict",
    "preset",
    "encoding",
    "delimiter",
    "decimal",
)
EMPTY: Mapping[str, Any] = MappingProxyType({})
READ_BY = ("header", "encoding", "delimiter", "decimal")  # options that are kept with a model
PLACE = re.compile(r"X: column (?P<column>'.*?'|\".*?\"), row (?P<row>\d+)", re.DOTALL)
KINDS: dict[type, str] = {Numbers: "numbers", Texts: "texts", Times: "dates"}
MOST_JUDGED = 2000  # rows for importances, which are predicted often
REPEATS, MOST_SCORES = 5, 500  # of each column; of all
MOST_COUNTED = 10  # whole numbers that are classes without a word
MOST_CELLS = 1 << 27  # of a round over all columns
MOST_SHUFFLED = 100  # columns, unless importances are asked for


def preset_of(options: argparse.Namespace) -> str | None:
    """The preset that trains DATA: None where that is no table. What does not go together is
    refused."""
    if not is_table(options.data):
        for name in OF_TABLES:
            if getattr(options, name) and getattr(options, name) != MLP:  # which it is
                raise ValueError(f"--{name} is for tables, found {options.data}")
        return None
    if options.labels is not None:
        raise ValueError(
            f"{options.data}: a label file is for an IDX image file or .npy; the target of a table "
            "is a column (--target)"
        )
    chosen = [name for name in OF_ONE_NETWORK if getattr(options, name) is not None]
    if options.preset in (None, MLP):
        return MLP if chosen or options.preset else "default"
    if chosen:
        raise ValueError(
            f"--{chosen[0].replace('_', '-')} is for one network, --preset {MLP}; found --preset "
            f"{options.preset}"
        )
    return str(options.preset)


class Table(NamedTuple):
    """What is trained on.

    Attributes
    ----------
    features : Source
        The columns that are learnt from.
    columns : Columns
        The same, as the encoder takes them.
    Y : ndarray (n,)
        Class numbers, or the targets.
    classes : tuple of int, bool or str, or None
    selection : Selection
    n_dropped : int
        Rows without a target, which are not among these.
    """

    features: Source
    columns: Columns
    Y: Array
    classes: tuple[Label, ...] | None
    selection: Selection
    n_dropped: int

    @property
    def name(self) -> str:
        """The file's."""
        return self.features.name

    @property
    def labels(self) -> Array:
        """Classes, or numbers, one a row."""
        return self.Y if self.classes is None else as_array(self.classes)[self.Y]

    @property
    def is_plain(self) -> bool:
        """Whether there are numbers alone, and one in every row."""
        return all(
            isinstance(column, Numbers) and not is_missing(column).any()
            for column in self.columns.columns
        )

    def encoder(self) -> Encoder:
        """One that takes the columns as the user says."""
        return Encoder(
            categorical=self.selection.categorical or None,
            numeric=self.selection.numeric or None,
        )

    def dataset(self, train: Array) -> tuple[Dataset, Encoder | None]:
        """The rows as one network takes them, and what of these, learnt of some, made them.

        Numbers alone are left as they are: their scaling is folded into the network.
        """
        names = self.columns.names
        if self.is_plain:
            X, encoder = np.column_stack([c.values for c in self.columns.columns]), None
        else:
            with in_file(self.features, train):
                encoder = self.encoder().fit(self.columns.rows(train))
            with in_file(self.features):
                X = encoder.transform(self.columns)
        return Dataset(X, self.Y, columns=names, classes=self.classes, name=self.name), encoder

    def in_words(self) -> list[str]:
        """What is not learnt from, and what somebody should know of the rest, in lines."""
        lines = [f"left out: {name} ({why})" for name, why in self.selection.left_out.items()]
        lines += [note for name, note in self.features.notes.items() if name in self.columns.names]
        if self.n_dropped:
            lines.append(f"left out: {self.n_dropped} rows without a target")
        if len(self.counted) > MOST_COUNTED:
            lines.append(
                f"whole numbers of {len(self.counted)} values are taken for classes; --task "
                "regression fits them"
            )
        return lines

    @property
    def counted(self) -> tuple[Label, ...]:
        """Classes that are numbers, which might have been fitted."""
        classes = self.classes or ()
        return classes if all(WHOLE.fullmatch(str(label)) for label in classes) else ()

    def document(self) -> dict[str, Any]:
        """The same for JSON."""
        return {
            "kinds": {
                name: KINDS[type(column)]
                for name, column in zip(self.columns.names, self.columns.columns, strict=True)
            },
            "left_out": self.selection.left_out,
            "notes": list(self.features.notes.values()),
            "rows_without_target": self.n_dropped,
        }


def read(options: argparse.Namespace) -> Table:
    """The table, its target, and the columns to learn from."""
    target = options.target
    known = read_with_target(
        options.data, target, options.task, options.id, without=options.drop, **reading(options)
    )
    if target is None:
        there = listed(known.table.column_names)
        raise ValueError(
            f"{known.name}: the target column must be named (--target), one of {there}"
        )
    source, Y, classes, n_dropped = split(known, target, options.task, strict=options.strict)
    selection = choose(
        known.table, target=target, drop=options.drop, columns=options.columns,
        categorical=options.categorical, numeric=options.numeric, ids=options.id, name=known.name,
    )  # fmt: skip
    if classes is not None and len(classes) < 2:
        raise ValueError(f"{known.name}: expected at least 2 classes, found only {classes[0]!r}")
    features = source.select(selection.features)
    with in_file(features):
        columns = as_columns(features.table)
    return Table(features, columns, Y, classes, selection, n_dropped)


@contextmanager
def in_file(source: Source, rows: Array | None = None) -> Iterator[None]:
    """Have what an encoder refuses of a table's rows be told by its place in the file.

    `rows`: the numbers of those that it was given, if not all.
    """
    try:
        yield
    except (TypeError, ValueError) as error:
        told = str(error)
        if found := PLACE.match(told):
            row = int(found["row"]) if rows is None else int(rows[int(found["row"])])
            told = f": column {found['column']}, {source.place(row)}{told[found.end() :]}"
        raise ValueError(f"{source.name}{told.removeprefix('X')}") from None


def reading(options: argparse.Namespace, remembered: Mapping[str, Any] = EMPTY) -> dict[str, Any]:
    """What a file is read with, of what the user gave and, of text, what a model remembers."""
    old = {name: remembered.get(name) for name in READ_BY} if is_text(options.data) else {}
    given = {name: getattr(options, name, None) for name in READ_BY}
    told = {name: value for name, value in old.items() if isinstance(value, str)}
    return told | {name: value for name, value in given.items() if value is not None}


def metadata(options: argparse.Namespace, table: Table) -> dict[str, Any]:
    """What `predict` needs to know of a table beside the columns."""
    found = {
        "task": "regression" if table.classes is None else "classification",
        "classes": table.classes and list(table.classes),
        "target": options.target,
        "ids": options.id,
        "not_used": list(table.selection.left_out),
        "decimal": table.features.decimal,
        **reading(options),
    }
    return {key: value for key, value in found.items() if value}


def importances(
    options: argparse.Namespace,
    table: Table,
    rows: Array,
    predict: Callable[[Columns], Array],
) -> dict[str, float] | None:
    """By how much accuracy or R^2 of the rows drops where a column is shuffled: the largest drops.

    None where they are not asked for, or of one column. `predict`: class numbers, or the targets.
    """
    n_columns, most = len(table.columns.names), options.importance
    if most is None:  # the work grows with the square of the columns
        most = 5 if n_columns <= MOST_SHUFFLED else 0
    if not most or n_columns < 2:
        return None
    n_judged = max(50, min(MOST_JUDGED, MOST_CELLS // n_columns**2))
    if len(rows) > n_judged:
        rows = rows[:: -(-len(rows) // n_judged)]
    Y = table.Y[rows]

    def score(columns: Columns) -> float:
        found = predict(columns)
        return float((found == Y).mean()) if table.classes is not None else r2(Y, found)

    draws = np.random.RandomState(0)
    repeats = max(1, min(REPEATS, MOST_SCORES // n_columns))
    found = drops(score, table.columns.rows(rows), repeats, draws).mean(axis=1)
    order = np.argsort(-found, kind="stable")[:most]
    return {table.columns.names[j]: float(found[j]) for j in order if np.isfinite(found[j])}
