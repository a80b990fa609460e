"""Models that were trained on tables, and the rows of a table as they take them.

What belongs here: what a network with an encoder and an ensemble have in common. What does not:
networks on arrays (samples.py), training (tabular.py, train.py), what is done with rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp import functions
from fastbp.cli import tables
from fastbp.cli.output import fail
from fastbp.datasets.dataset import Array
from fastbp.datasets.labels import key
from fastbp.tabular import Columns, Encoder, as_columns
from fastbp.tabular.cells import MARKS_OF_MISSING
from fastbp.tabular.names import hint, listed
from fastbp.tabular.reading import Source, is_table, is_text, no_column, read_source

ENCODER = "encoder"  # where a network's metadata have one


class Rows(NamedTuple):
    """Rows of a table.

    Attributes
    ----------
    columns : Columns
        Those of training.
    Y : ndarray (n,) or None
        Places among the model's classes, or numbers; None where the table has no targets.
    known : ndarray (n,) of bool
        Whether a row has a target; others have no meaning in Y.
    ids : dict of list
        Columns that name the rows.
    """

    source: Source
    columns: Columns
    Y: Array | None
    known: Array
    ids: dict[str, list[Any]]


class TableModel:
    """A model that takes tables.

    Attributes
    ----------
    model : Network, TabularClassifier or TabularRegressor
    net : Network
        It, or the first of an ensemble.
    classes : tuple of str or None
        Names of the outputs, if it tells classes.
    metadata : dict
    encoder : Encoder
    """

    def __init__(self, model: Any) -> None:
        self.model = model
        self.is_ensemble = not isinstance(model, fastbp.Network)
        self.net = model.networks_[0] if self.is_ensemble else model
        self.metadata = model.metadata_ if self.is_ensemble else model.metadata
        if self.is_ensemble:
            self.encoder = model.encoder_
            self.classes = tuple(map(str, getattr(model, "classes_", ()))) or None
        else:
            self.encoder = Encoder.from_dict(self.metadata[ENCODER])
            names = self.metadata.get("classes")
            self.classes = tuple(map(str, names)) if isinstance(names, list) else None

    def outputs(self, columns: Columns) -> Array:
        """Of each row; an ensemble's probabilities or means   (n, k)."""
        if not self.is_ensemble:
            found: Array = self.net.predict(self._encoded(columns))
        elif self.classes is not None:
            found = self.model.predict_proba(columns)
        else:
            found = np.reshape(self.model.predict(columns), (len(columns), -1))
        return found

    def seen(self, columns: Columns) -> Array:
        """What the network sees of a few rows   (n, n_0)."""
        X = self.model.encoded(columns)[0] if self.is_ensemble else self._encoded(columns)
        found: Array = X.toarray() if hasattr(X, "toarray") else X
        return found

    def targets(self, Y: Array) -> Array:
        """Targets as the network takes them."""
        if self.is_ensemble:
            labels = Y if self.classes is None else self.model.classes_[Y]
            found: Array = self.model._targets.encode(labels)
            return found
        if self.classes is None or self.net.sizes[-1] > 1:
            return Y if self.classes is not None else Y.reshape(len(Y), -1)
        signed = functions.loss(self.net.architecture["loss"]).signed
        return (2.0 * Y - 1 if signed else Y.astype(np.float64)).reshape(-1, 1)

    def _encoded(self, columns: Columns) -> Any:
        return self.encoder.transform(columns).astype(self.net.dtype, copy=False)


def of_table(model: Any) -> TableModel | None:
    """The model, if it takes tables."""
    if isinstance(model, fastbp.Network) and ENCODER not in model.metadata:
        return None
    return TableModel(model)


def rows(options: argparse.Namespace, of: TableModel, needs_target: bool = False) -> Rows:
    """The rows of DATA, read as the table of training was."""
    if options.data is None:
        raise ValueError("DATA is needed: the model takes the rows of a table")
    target = options.target or of.metadata.get("target")
    ids = [name for name in of.metadata.get("ids", ()) if isinstance(name, str)]
    how = {k: v for k, v in of.metadata.items() if k in tables.READ_BY and isinstance(v, str)}
    how |= tables.reading(options)
    texts = [name for name, kind in of.encoder.kinds().items() if kind == "text"] + ids
    if of.classes is not None and target is not None:
        texts.append(target)
    if not is_table(options.data):
        raise ValueError(f"{options.data}: the model takes the rows of a table; found another file")
    if not is_text(options.data):
        how = {}
    source = read_source(options.data, texts=texts, **how)
    known = source.table.column_names
    if target is not None and target not in known:
        if options.target is not None or needs_target:
            raise no_column(source.name, [target], known)
        target = None
    names = of.encoder.feature_names_in_.tolist()
    if missing := [name for name in names if name not in known]:
        raise no_column(source.name, missing, known)
    table = _without_marks(source.table, [name for name in texts if name != target])
    with tables.in_file(source):
        columns = as_columns(table, only=names)
    _tell_strangers(of, source, columns, {*ids, target})
    Y, there = None, np.zeros(len(columns), bool)
    if target is not None:
        try:
            Y, there = _targets(source, target, of.classes)
        except ValueError as error:
            if options.target is not None or needs_target:
                raise
            fail(f"note: {error}: the column is not compared with")
    found = {name: source.table[name].to_pylist() for name in ids if name in known}
    return Rows(source, columns, Y if there.any() else None, there, found)


def _tell_strangers(of: TableModel, source: Source, columns: Columns, known: set[Any]) -> None:
    """Say which columns, and which categories, training did not have."""
    known |= {*columns.names, *of.metadata.get("not_used", ())}
    if others := [name for name in source.table.column_names if name not in known]:
        fail(f"note: {source.name}: columns that the model does not know: {listed(others)}")
    with tables.in_file(source):
        strangers = of.encoder.strangers(columns)
    for name, new in strangers.items():
        fail(
            f"note: {source.name}: column {name!r:.60}: categories that the model does not know: "
            f"{listed(new)}"
        )


def _without_marks(table: Any, names: Sequence[str]) -> Any:
    """A table whose texts that stand for nothing are missing, as they were in training."""
    import pyarrow
    import pyarrow.compute

    marks = pyarrow.array(sorted(MARKS_OF_MISSING))
    for name in {*names} & {*table.column_names}:
        column = table[name]
        if pyarrow.types.is_string(column.type) or pyarrow.types.is_large_string(column.type):
            lower = pyarrow.compute.utf8_lower(column)
            gone = pyarrow.compute.is_in(lower, marks.cast(lower.type))
            column = pyarrow.compute.if_else(gone, pyarrow.scalar(None, column.type), column)
            table = table.set_column(table.column_names.index(name), name, column)
    return table


def _targets(source: Source, target: str, classes: Sequence[str] | None) -> tuple[Array, Array]:
    """Places among classes or numbers, and which rows have one."""
    values = source.table[target].to_pylist()
    if classes is None:
        numbers = np.full(len(values), np.nan)
        for row, value in enumerate(values):
            if isinstance(value, str):
                raise ValueError(
                    f"{source.where(target, row)}: expected a number, found {value!r:.60}"
                )
            numbers[row] = np.nan if value is None else value
        return numbers, ~np.isnan(numbers)
    place = {key(label): i for i, label in enumerate(classes)}
    missing = [value is None or str(value).lower() in MARKS_OF_MISSING for value in values]
    labels = [None if gone else str(v) for v, gone in zip(values, missing, strict=True)]
    strangers = sorted({label for label in labels if label and key(label) not in place})
    if strangers:
        raise ValueError(
            f"{source.name}: the network knows no class {listed(strangers)}; its classes are "
            f"{listed(classes)}{hint(strangers, classes)}"
        )
    found = np.array([-1 if label is None else place[key(label)] for label in labels], np.intp)
    return found, found >= 0
