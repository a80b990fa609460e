"""``fastbp predict``: outputs of a saved network for the rows of a file.

What belongs here: what is written for each row, and where. What does not: how rows are read
(samples.py).
"""

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

import fastbp
from fastbp import functions
from fastbp.cli.output import check_writable, print_json, scores_in_words
from fastbp.cli.samples import places, rows, text_of
from fastbp.cli.scores import kind, scores
from fastbp.datasets import Inputs
from fastbp.datasets.dataset import Array
from fastbp.metrics import decide

PROBABILITIES = ("softmax", "sigmoid")  # what other outputs give is called a score


def run(options: argparse.Namespace) -> int:
    """Predict the rows of a file."""
    if options.out is not None and not options.out.endswith((".npy", ".csv")):
        raise ValueError(f"--out: expected a name ending in .npy or .csv, found {options.out!r}")
    check_writable("--out", options.out)
    net = fastbp.load(options.model)
    inputs, classes, name = rows(options, net)
    target = options.target or text_of(net, "target")
    outputs = net.predict(inputs.X)
    found = _scores(outputs, inputs, classes, net, name)
    records = list(_records(net, outputs, classes))

    if options.out is not None:
        _write(options.out, outputs, records, target)
    if found is not None:
        print(scores_in_words(found), file=sys.stderr)
    if options.json:
        document: dict[str, Any] = {
            "model": options.model,
            "data": options.data,
            "rows": len(outputs),
            "classes": classes,
            "out": options.out,
        }
        if options.out is None:
            document["predictions"] = records
        print_json(document | (found or {}))
    elif options.out is not None:
        print(f"{len(outputs)} rows written to {options.out}", file=sys.stderr)
    else:
        for record in records:
            fields = record["values"] if "values" in record else record.values()
            print("\t".join(f"{v:.6g}" if isinstance(v, float) else str(v) for v in fields))
    return 0


def _scores(
    outputs: Array, inputs: Inputs, classes: Sequence[str] | None, net: Any, name: str
) -> dict[str, Any] | None:
    """Return how good the predictions are, where the data tell; classes are compared by name."""
    if inputs.Y is None:
        return None
    if classes is None:
        width = functions.loss(net.architecture["loss"]).n_targets(outputs.shape[1])
        fits = inputs.classes is None and inputs.Y.size == len(outputs) * width
        return scores(outputs, inputs.Y, None, net) if fits else None
    return scores(outputs, places(inputs, classes, name), classes, net)


def _records(net: Any, outputs: Array, classes: Sequence[str] | None) -> Iterator[dict[str, Any]]:
    if classes is None:
        for row in outputs.tolist():
            yield {"values": row}
        return
    signed = functions.loss(net.architecture["loss"]).signed
    title = "probability" if kind(net.architecture["output"]) in PROBABILITIES else "score"
    winners = decide(net, outputs)
    for row, winner in zip(outputs.tolist(), winners.tolist(), strict=True):
        value = row[winner] if len(row) > 1 else row[0]
        if len(row) == 1 and winner == 0:
            value = -value if signed else 1 - value
        yield {"class": classes[min(winner, len(classes) - 1)], title: value}


def _write(
    path: str, outputs: Array, records: Sequence[dict[str, Any]], target: str | None
) -> None:
    if path.endswith(".npy"):
        np.save(path, outputs, allow_pickle=False)
        return
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        if "class" in records[0]:
            writer.writerow([target or "class", *list(records[0])[1:]])
            writer.writerows(record.values() for record in records)
            return
        n, base = outputs.shape[1], target or "output"
        writer.writerow([base] if n == 1 else [f"{base}_{index}" for index in range(n)])
        writer.writerows(record["values"] for record in records)
