"""``fastbp explain``."""

import argparse
import os
import sys
import tempfile
from math import isqrt
from typing import Any

import numpy as np

import fastbp
from fastbp.cli.options import DIGITS
from fastbp.cli.output import check_writable, print_json
from fastbp.cli.scores import SIGNED_LOSSES, kind
from fastbp.datasets import Inputs, load_digits, read_inputs
from fastbp.explain import Explanation, explain
from fastbp.explain.formula import ASCII

HELD_OUT = 360  # of the digits the first ones: shown, not trained on
LARGEST_IMAGE = 32  # pixels on a side that are drawn


def run(options: argparse.Namespace) -> int:
    """Walk through the derivation for one row of some data."""
    check_writable("--html", options.html)
    if options.model is None:
        found = _of_the_digits(options)
    else:
        found = _of_a_model(options)
    if options.html is not None:
        _write(options.html, found.to_html())
    if options.json:
        print_json({"fastbp": fastbp.__version__, **found.to_dict(), "html": options.html})
    elif options.html is not None:
        _print(f"{found.verdict}\npage written to {options.html}")
    else:
        _print(str(found))
    return 0 if found.ok else 1


def _of_the_digits(options: argparse.Namespace) -> Explanation:
    """A sigmoid output beside softmax, both after one epoch: errors are still large."""
    if options.target is not None or options.labels is not None:
        raise ValueError("--target and --labels need MODEL and DATA")
    digits = load_digits()
    row = _row(options, len(digits.X))
    nets = []
    for output in ("sigmoid", "softmax"):
        net = fastbp.Network([64, 30, 10], output=output, loss="quadratic", dtype="float64", seed=0)
        net.fit(
            digits.X[HELD_OUT:],
            digits.Y[HELD_OUT:],
            epochs=1,
            batch_size=10,
            optimizer=fastbp.SGD(3.0),
            seed=0,
        )
        nets.append(net)
    usual = fastbp.Network([64, 30, 10], output="softmax", loss="cross_entropy", dtype="float64")
    usual.parameters = nets[-1].parameters
    which = "not among" if row < HELD_OUT else "one of"
    label = int(digits.Y[row])
    return explain(
        [*nets, usual],
        digits.X[row],
        label,
        neuron=options.neuron,
        labels=digits.classes or (),
        image=(8, 8),
        source=f"row {row} of the embedded digits, a handwritten {label}, {which} the "
        f"{len(digits.X) - HELD_OUT} that the networks were trained on, for one epoch",
        note=digits.attribution,
    )


def _of_a_model(options: argparse.Namespace) -> Explanation:
    net = fastbp.load(options.model)
    inputs, name = _read(options, net)
    if inputs.X.shape[1] != net.sizes[0]:
        raise ValueError(
            f"{name}: the network takes {net.sizes[0]} inputs, found {inputs.X.shape[1]}"
        )
    if inputs.Y is None:
        raise ValueError(f"{name}: has no targets, and without one there is no error to explain")
    row = _row(options, len(inputs.X))
    classes = _classes(net, inputs)
    y, label = _target(net, inputs, row, classes, name)
    x = inputs.X[row]
    side = isqrt(len(x))
    drawn = side * side == len(x) and 4 <= side <= LARGEST_IMAGE and x.min() >= 0 and x.max() <= 1
    n_a = net.sizes[-1]
    return explain(
        net,
        x,
        y,
        neuron=options.neuron,
        labels=classes if classes is not None and len(classes) == n_a else (),
        image=(side, side) if drawn and not name.endswith(".csv") else None,
        source=f"row {row} of {name}, {label}",
    )


def _read(options: argparse.Namespace, net: Any) -> tuple[Inputs, str]:
    """The rows, read as for predict, and their name."""
    data = options.data
    if data is None:
        if (net.sizes[0], net.sizes[-1]) != (64, 10):
            raise ValueError(
                f"DATA is needed: the digits of the package have 64 inputs and 10 classes, the "
                f"network has sizes {','.join(map(str, net.sizes))}"
            )
        data = DIGITS
    if data == DIGITS and (options.data is None or not os.path.exists(DIGITS)):
        digits = load_digits()
        return Inputs(digits.X, digits.Y, digits.classes), DIGITS
    columns = net.metadata.get("columns")
    inputs = read_inputs(
        data,
        columns=columns if _names(columns, net.sizes[0]) else None,
        target=options.target or net.metadata.get("target"),
        labels=options.labels,
        task=net.metadata.get("task"),
    )
    return inputs, os.path.basename(os.path.normpath(data))


def _names(value: object, n: int) -> bool:
    return isinstance(value, list) and len(value) == n and all(isinstance(v, str) for v in value)


def _classes(net: Any, inputs: Inputs) -> tuple[str, ...] | None:
    """The names of the classes in the network's order, where it tells classes."""
    names, n = net.metadata.get("classes"), net.sizes[-1]
    if _names(names, n) or (n == 1 and _names(names, 2)):
        return tuple(names)
    if inputs.classes is not None and len(inputs.classes) in ((1, 2) if n == 1 else (n,)):
        return inputs.classes  # a network saved without names
    return None


def _target(
    net: Any, inputs: Inputs, row: int, classes: tuple[str, ...] | None, name: str
) -> tuple[Any, str]:
    """What the network should give for a row, and the same in words."""
    assert inputs.Y is not None
    value = inputs.Y[row]
    if inputs.classes is None:
        if classes is not None:
            raise ValueError(f"{name}: the network tells classes, the data have numbers to fit")
        target = np.asarray(value, np.float64).reshape(-1)
        n = net.sizes[-1] // (2 if kind(net.architecture["loss"]) == "gaussian_nll" else 1)
        if len(target) != n:
            raise ValueError(f"{name}: the network needs {n} targets a row, found {len(target)}")
        return target, "target " + ", ".join(f"{v:g}" for v in target)
    label = inputs.classes[int(value)]
    if classes is None:
        raise ValueError(
            f"{name}: the network has {net.sizes[-1]} outputs, the data {len(inputs.classes)} "
            "classes"
        )
    if label not in classes:
        raise ValueError(f"{name}: the network knows no class {label!r}, that of row {row}")
    place = classes.index(label)
    if net.sizes[-1] > 1:
        return place, f"class {label}"
    signed = kind(net.architecture["loss"]) in SIGNED_LOSSES
    return np.array([2.0 * place - 1 if signed else float(place)]), f"class {label}"


def _row(options: argparse.Namespace, n: int) -> int:
    row: int = options.row
    if row >= n:
        raise ValueError(f"--row: expected one of 0..{n - 1}, found {row}")
    return row


def _write(path: str, page: str) -> None:
    """Write beside the file first: what is there is whole at any time."""
    folder, name = os.path.split(path)
    handle, temporary = tempfile.mkstemp(prefix=f".{name}.", dir=folder or ".")
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as stream:
            stream.write(page)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


def _print(text: str) -> None:
    """Print in the letters of the textbook where stdout has them."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode(encoding, "replace").decode(encoding)
    print(text)
