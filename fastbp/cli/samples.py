"""Rows of data as a saved network takes them: inputs, and targets in its own classes.

What belongs here: what `check` and `explain` read for a MODEL. What does not: options, what is done
with the rows.
"""

import argparse
import os
from typing import Any, NamedTuple

import numpy as np

from fastbp.cli.options import DIGITS
from fastbp.cli.scores import kind
from fastbp.datasets import Inputs, load_digits, read_inputs
from fastbp.datasets.dataset import Array
from fastbp.metrics import SIGNED_LOSSES


class Samples(NamedTuple):
    """X (n, n_0), Y as `Network.loss` takes it, the target of each row in words, the classes."""

    X: Array
    Y: Array
    words: list[str]
    classes: tuple[str, ...] | None
    name: str


def of_digits() -> Samples:
    """The digits that the package carries."""
    digits = load_digits()
    words = [f"class {label}" for label in digits.Y]
    return Samples(digits.X, digits.Y, words, digits.classes, DIGITS)


def for_network(options: argparse.Namespace, net: Any) -> Samples:
    """The rows of DATA; without it the digits, where the network's sizes are theirs."""
    if options.data is None and (net.sizes[0], net.sizes[-1]) != (64, 10):
        raise ValueError(
            f"DATA is needed: the digits of the package have 64 inputs and 10 classes, the network "
            f"has sizes {','.join(map(str, net.sizes))}"
        )
    inputs, name = _read(options, net)
    if inputs.X.shape[1] != net.sizes[0]:
        raise ValueError(
            f"{name}: the network takes {net.sizes[0]} inputs, found {inputs.X.shape[1]}"
        )
    if inputs.Y is None:
        raise ValueError(f"{name}: has no targets, and without them there is no error")
    classes = _classes(net, inputs)
    if inputs.classes is None:
        Y = _numbers(net, inputs.Y, classes, name)
        words = ["target " + ", ".join(f"{v:g}" for v in row) for row in Y]
    else:
        Y = _places(net, inputs, classes, name)
        words = [f"class {inputs.classes[int(i)]}" for i in inputs.Y]
    return Samples(inputs.X, Y, words, classes, name)


def _read(options: argparse.Namespace, net: Any) -> tuple[Inputs, str]:
    if options.data is None or (options.data == DIGITS and not os.path.exists(DIGITS)):
        digits = load_digits()
        return Inputs(digits.X, digits.Y, digits.classes), DIGITS
    columns = net.metadata.get("columns")
    inputs = read_inputs(
        options.data,
        columns=columns if _are_names(columns, net.sizes[0]) else None,
        target=options.target or text_of(net, "target"),
        labels=options.labels,
        task=text_of(net, "task"),
    )
    return inputs, os.path.basename(os.path.normpath(options.data))


def text_of(net: Any, key: str) -> str | None:
    """A text of the network's metadata, which another program may have written."""
    value = net.metadata.get(key)
    if not isinstance(value, str | None):
        raise ValueError(f"the network's metadata: expected {key!r} as text; found {value!r:.80}")
    return value


def _are_names(value: object, n: int) -> bool:
    return isinstance(value, list) and len(value) == n and all(isinstance(v, str) for v in value)


def _classes(net: Any, inputs: Inputs) -> tuple[str, ...] | None:
    """The names of the classes in the network's order, where it tells classes."""
    names, n = net.metadata.get("classes"), net.sizes[-1]
    if _are_names(names, n) or (n == 1 and _are_names(names, 2)):
        return tuple(names)
    if inputs.classes is not None and len(inputs.classes) in ((1, 2) if n == 1 else (n,)):
        return inputs.classes  # a network saved without names
    return None


def _numbers(net: Any, Y: Array, classes: tuple[str, ...] | None, name: str) -> Array:
    if classes is not None:
        raise ValueError(f"{name}: the network tells classes, the data have numbers to fit")
    Y = np.asarray(Y, np.float64).reshape(len(Y), -1)
    n = net.sizes[-1] // (2 if kind(net.architecture["loss"]) == "gaussian_nll" else 1)
    if Y.shape[1] != n:
        raise ValueError(f"{name}: the network needs {n} targets a row, found {Y.shape[1]}")
    return Y


def _places(net: Any, inputs: Inputs, classes: tuple[str, ...] | None, name: str) -> Array:
    """The rows' classes by their place among the network's, or 0 and 1 (-1 and 1) of one output."""
    assert inputs.classes is not None and inputs.Y is not None
    if classes is None:
        raise ValueError(
            f"{name}: the network has {net.sizes[-1]} outputs, the data {len(inputs.classes)} "
            "classes"
        )
    known = {label: place for place, label in enumerate(classes)}
    present = {inputs.classes[int(i)] for i in inputs.Y}
    if strangers := sorted(present - set(known)):
        raise ValueError(f"{name}: the network knows no class {strangers[0]!r}")
    places = np.array([known[inputs.classes[int(i)]] for i in inputs.Y], np.intp)
    if net.sizes[-1] > 1:
        return places
    signed = kind(net.architecture["loss"]) in SIGNED_LOSSES
    return (2.0 * places - 1 if signed else places.astype(np.float64)).reshape(-1, 1)
