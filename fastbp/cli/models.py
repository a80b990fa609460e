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
from fastbp.cli.report import dense
from fastbp.cli.several import is_several, read_several, refuse_reading
from fastbp.datasets.dataset import Array, Label
from fastbp.datasets.labels import as_classes, key
from fastbp.tabular import Columns, Encoder, as_columns
from fastbp.tabular.names import hint, listed
from fastbp.tabular.reading import Source, is_table, no_column, read_source

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
    classes : tuple of int, bool or str, or None
        Those of the outputs, if it tells classes; of older files texts throughout.
    metadata : dict
    encoder : Encoder
    """

    classes: tuple[Label, ...] | None

    def __init__(self, model: Any) -> None:
        self.model = model
        self.is_ensemble = not isinstance(model, fastbp.Network)
        self.net = model.networks_[0] if self.is_ensemble else model
        self.metadata = model.metadata_ if self.is_ensemble else model.metadata
        if self.is_ensemble:
            self.encoder = model.encoder_
            self.classes = tuple(model.classes_.tolist()) if hasattr(model, "classes_") else None
        else:
            self.encoder = Encoder.from_dict(self.metadata[ENCODER])
            names = self.metadata.get("classes")
            self.classes = as_classes(names) if isinstance(names, list) else None

    def outputs(self, columns: Columns) -> Array:
        """Of each row; an ensemble's probabilities or means   (n, k)."""
        if not self.is_ensemble:
            found: Array = self.net.predict(self._encoded(columns))
        elif self.classes is not None:
            found = self.model.predict_proba(columns)
        else:
            found = np.reshape(self.model.predict(columns), (len(columns), -1))
        return found

    def seen(self, columns: Columns, Y: Array) -> tuple[Array, Array]:
        """A few rows (n, n_0) and their targets as the network takes them."""
        if self.is_ensemble:
            labels = Y if self.classes is None else self.model.classes_[Y]
            X, targets = self.model.encoded(columns, labels)
            return dense(X), targets
        X = dense(self._encoded(columns))
        return X, Y.reshape(len(Y), -1) if self.classes is None else class_targets(self.net, Y)

    def _encoded(self, columns: Columns) -> Any:
        return self.encoder.transform(columns).astype(self.net.dtype, copy=False)


def class_targets(net: fastbp.Network, places: Array) -> Array:
    """Places among a network's classes as it takes them: of one output 0 and 1, or -1 and 1."""
    if net.sizes[-1] > 1:
        return places
    signed = functions.loss(net.architecture["loss"]).signed
    return (2.0 * places - 1 if signed else places.astype(np.float64)).reshape(-1, 1)


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
    texts = [name for name, kind in of.encoder.kinds().items() if kind == "text"] + ids
    if of.classes is not None and target is not None:
        texts.append(target)
    if is_several(options.data):
        refuse_reading(options)
        source = read_several(options.data)
    elif is_table(options.data):
        source = read_source(options.data, texts=texts, **tables.reading(options, of.metadata))
    else:
        raise ValueError(f"{options.data}: the model takes the rows of a table; found another file")
    known = source.table.column_names
    if target is not None and target not in known:
        if options.target is not None or needs_target:
            raise no_column(source.name, [target], known)
        target = None
    names = of.encoder.feature_names_in_.tolist()
    if missing := [name for name in names if name not in known]:
        raise no_column(source.name, missing, known)
    with tables.in_file(source):
        columns = as_columns(source.table, only=names)
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


def _targets(source: Source, target: str, classes: Sequence[Label] | None) -> tuple[Array, Array]:
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
    labels = [None if value is None else str(value) for value in values]
    strangers = sorted({v for v in labels if v is not None and key(v) not in place})
    if strangers:
        raise ValueError(
            f"{source.name}: the network knows no class {listed(strangers)}; its classes are "
            f"{listed(classes)}{hint(strangers, classes)}"
        )
    found = np.array([-1 if label is None else place[key(label)] for label in labels], np.intp)
    return found, found >= 0
