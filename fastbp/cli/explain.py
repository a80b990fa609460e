"""``fastbp explain``: the derivation on the numbers of one sample.

What belongs here: which networks and which sample are explained. What does not: what is told of
them (explain/).
"""

import argparse
import sys
from math import isqrt
from pathlib import Path

import numpy as np

import fastbp
from fastbp.cli.output import check_writable, print_json
from fastbp.cli.samples import for_model
from fastbp.datasets import load_digits
from fastbp.datasets.labels import word
from fastbp.explain import Explanation, explain
from fastbp.explain.formula import ASCII
from fastbp.files.replace import replace
from fastbp.tabular.reading import is_table

HELD_OUT = 360  # of the digits the first ones: shown, not trained on
LARGEST_IMAGE = 32  # pixels on a side that are drawn


def run(options: argparse.Namespace) -> int:
    """Walk through the derivation for one row of some data."""
    check_writable("--html", options.html, options.data, options.model)
    if options.model is None:
        found = _of_the_digits(options)
    else:
        found = _of_a_model(options)
    if options.html is not None:
        replace(Path(options.html), found.to_html().encode(), "--html")
    if options.json:
        print_json({"fastbp": fastbp.__version__, **found.to_dict(), "html": options.html})
    elif options.html is not None:
        _print(f"{found.verdict}\npage written to {options.html}")
    else:
        _print(str(found))
    return 1 if found.ok is False else 0


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
        labels=tuple(map(str, digits.classes or ())),
        image=(8, 8),
        source=f"row {row} of the embedded digits, a handwritten {label}, {which} the "
        f"{len(digits.X) - HELD_OUT} that the networks were trained on, for one epoch",
        note=digits.attribution,
    )


def _of_a_model(options: argparse.Namespace) -> Explanation:
    net, samples = for_model(options, options.row + 1)
    row = _row(options, len(samples.X))
    x, y, classes = samples.X[row], samples.Y[row], samples.classes
    side = isqrt(len(x))
    drawn = side * side == len(x) and 4 <= side <= LARGEST_IMAGE and x.min() >= 0 and x.max() <= 1
    return explain(
        net,
        x,
        int(y) if np.ndim(y) == 0 else y,
        neuron=options.neuron,
        labels=tuple(map(word, classes)) if classes and len(classes) == net.sizes[-1] else (),
        image=(side, side) if drawn and not is_table(samples.name) else None,
        source=f"row {row} of {samples.name}, {samples.words[row]}",
    )


def _row(options: argparse.Namespace, n: int) -> int:
    row: int = options.row
    if row >= n:
        raise ValueError(f"--row: expected one of 0..{n - 1}, found {row}")
    return row


def _print(text: str) -> None:
    """Print in the letters of the textbook where stdout has them."""
    encoding = sys.stdout.encoding or "ascii"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        text = text.translate(ASCII).encode(encoding, "replace").decode(encoding)
    print(text)
