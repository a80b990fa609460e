"""Rows of data as a saved network takes them: inputs, and targets in its own classes.

What belongs here: what `check` and `explain` read for a MODEL. What does not: options, what is done
with the rows.
"""

import argparse
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp import functions
from fastbp.cli import models
from fastbp.cli.options import DIGITS
from fastbp.cli.tables import READ_BY, in_file, reading
from fastbp.datasets import Inputs, load_digits, read_inputs
from fastbp.datasets.dataset import Array, Label
from fastbp.datasets.labels import as_classes, key, word
from fastbp.tabular.names import hint, listed
from fastbp.tabular.reading import is_table as is_file_of_table


class Samples(NamedTuple):
    """X (n, n_0), Y as `Network.loss` takes it, the target of each row in words, the classes."""

    X: Array
    Y: Array
    words: list[str]
    classes: tuple[Label, ...] | None
    name: str


def of_digits() -> Samples:
    """The digits that the package carries."""
    digits = load_digits()
    words = [f"class {label}" for label in digits.Y]
    return Samples(digits.X, digits.Y, words, digits.classes, DIGITS)


def for_model(options: argparse.Namespace, n: int) -> tuple[Any, Samples]:
    """The network of MODEL, or its first, and `n` rows of DATA or more, as it sees them."""
    model = fastbp.load(options.model)
    of_table = models.of_table(model)
    if of_table is None:
        return model, for_network(options, model)
    table = models.rows(options, of_table, needs_target=True)
    (known,) = np.nonzero(table.known)
    if table.Y is None or not len(known):
        raise ValueError(f"{table.source.name}: has no targets, and without them there is no error")
    Y, classes = table.Y[known[:n]], of_table.classes
    with in_file(table.source, known):
        X, targets = of_table.seen(table.columns.rows(known[:n]), Y)
    words = [
        f"target {y:g}" if classes is None else f"class {word(classes[y])}" for y in Y.tolist()
    ]
    return of_table.net, Samples(X, targets, words, classes, table.source.name)


def for_network(options: argparse.Namespace, net: Any) -> Samples:
    """The rows of DATA; without it the digits, where the network's sizes are theirs."""
    if options.data is None and (net.sizes[0], net.sizes[-1]) != (64, 10):
        raise ValueError(
            f"DATA is needed: the digits of the package have 64 inputs and 10 classes, the network "
            f"has sizes {','.join(map(str, net.sizes))}"
        )
    inputs, classes, name = rows(options, net, needs_target=True)
    if inputs.Y is None:
        raise ValueError(f"{name}: has no targets, and without them there is no error")
    if inputs.classes is None:
        Y = _numbers(net, inputs.Y, classes, name)
        words = ["target " + ", ".join(f"{v:g}" for v in row) for row in Y]
    else:
        Y = _targets(net, inputs, classes, name)
        words = [f"class {word(inputs.classes[int(i)])}" for i in inputs.Y]
    return Samples(inputs.X, Y, words, classes, name)


def rows(
    options: argparse.Namespace, net: Any, needs_target: bool = False
) -> tuple[Inputs, tuple[Label, ...] | None, str]:
    """The rows of DATA, read as the training data were; the network's classes; the data's name."""
    columns = _names(net, "columns", (net.sizes[0],), options.model)
    n_classes = (1, 2) if net.sizes[-1] == 1 else (net.sizes[-1],)
    names = _names(net, "classes", n_classes, options.model)
    classes = None if names is None else as_classes(names)
    if options.data is None or (options.data == DIGITS and not os.path.exists(DIGITS)):
        refuse_for_digits(options, "target", "labels", "header")
        digits = load_digits()
        inputs, name = Inputs(digits.X, digits.Y, digits.classes), DIGITS
    else:
        name = os.path.basename(os.path.normpath(options.data))
        is_table = is_file_of_table(name)
        if options.target is not None and not is_table:
            raise ValueError(f"--target: only a CSV file has a target column; {name} is none")
        for text in READ_BY:
            text_of(net, text)
        inputs = read_inputs(
            options.data,
            columns=None if columns is None else tuple(map(str, columns)),
            target=options.target or text_of(net, "target"),
            labels=options.labels,
            task=text_of(net, "task"),
            target_required=options.target is not None or needs_target,
            **reading(options, net.metadata),
        )
    if inputs.X.shape[1] != net.sizes[0]:
        raise ValueError(
            f"{name}: the network takes {net.sizes[0]} inputs, found {inputs.X.shape[1]}"
        )
    if classes is None and inputs.classes is not None and len(inputs.classes) in n_classes:
        classes = inputs.classes  # a network saved without names
    return inputs, classes, name


def text_of(net: Any, key: str) -> str | None:
    """A text of the network's metadata, which another program may have written."""
    value = net.metadata.get(key)
    if not isinstance(value, str | None):
        raise ValueError(f"the network's metadata: expected {key!r} as text; found {value!r:.80}")
    return value


def refuse_for_digits(options: argparse.Namespace, *names: str) -> None:
    """Refuse options that say how to read DATA where they are the digits of the package."""
    for name in names:
        if getattr(options, name) is not None:
            raise ValueError(f"--{name} needs DATA; the digits of the package need none")


def _names(net: Any, what: str, lengths: tuple[int, ...], model: str) -> list[Any] | None:
    """The names that came with the network, if they fit it."""
    given, names = net.metadata.get(what), net._names(what, lengths)
    if names is None and given is not None:
        raise ValueError(
            f"{os.path.basename(model)}: its metadata should name {lengths[-1]} {what}, found "
            f"{given!r:.80}"
        )
    return names


def places(inputs: Inputs, classes: Sequence[Label], name: str) -> Array:
    """The rows' classes by their place among the network's."""
    if inputs.classes is None:
        raise ValueError(f"{name}: the network tells classes, the data have numbers to fit")
    assert inputs.Y is not None
    known = {key(label): place for place, label in enumerate(classes)}
    present = [word(inputs.classes[i]) for i in np.unique(inputs.Y).tolist()]
    if strangers := [label for label in present if key(label) not in known]:
        raise ValueError(
            f"{name}: the network knows no class {listed(strangers)}; its classes are "
            f"{listed(classes)}{hint(strangers, classes)}"
        )
    at = np.array([known.get(key(label), -1) for label in inputs.classes], np.intp)
    return at[inputs.Y]


def _numbers(net: Any, Y: Array, classes: tuple[Label, ...] | None, name: str) -> Array:
    if classes is not None:
        raise ValueError(f"{name}: the network tells classes, the data have numbers to fit")
    Y = np.asarray(Y, np.float64).reshape(len(Y), -1)
    n = functions.loss(net.architecture["loss"]).n_targets(net.sizes[-1])
    if Y.shape[1] != n:
        raise ValueError(f"{name}: the network needs {n} targets a row, found {Y.shape[1]}")
    return Y


def _targets(net: Any, inputs: Inputs, classes: tuple[Label, ...] | None, name: str) -> Array:
    """The rows' classes by their place among the network's, or 0 and 1 (-1 and 1) of one output."""
    assert inputs.classes is not None
    if classes is None:
        raise ValueError(
            f"{name}: the network has {net.sizes[-1]} outputs, the data {len(inputs.classes)} "
            "classes"
        )
    return models.class_targets(net, places(inputs, classes, name))
