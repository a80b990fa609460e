"""``fastbp predict``: outputs of a saved model for the rows of a file.

What belongs here: what is written for each row, and where. What does not: how rows are read
(samples.py of arrays, models.py of tables).
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

import fastbp
from fastbp import functions
from fastbp.cli import models
from fastbp.cli.output import check_writable, print_json, scores_in_words
from fastbp.cli.samples import places, rows, text_of
from fastbp.cli.scores import kind, of_numbers, scores
from fastbp.cli.tables import in_file
from fastbp.datasets import Inputs
from fastbp.datasets.dataset import Array, Label
from fastbp.datasets.labels import as_array, word
from fastbp.metrics import decide
from fastbp.network import as_network

PROBABILITIES = ("softmax", "sigmoid")  # what other outputs give is called a score
ENDINGS = (".npy", ".csv", ".parquet")


class Predictions(NamedTuple):
    """What is told of the rows.

    Attributes
    ----------
    outputs : ndarray (n, k)
    classes : sequence of int, bool or str, or None
    records : list of dict
        A class and its probability, or values, of each row.
    scores : dict or None
    ids : dict of list
        Columns that name the rows.
    target : str or None
    """

    outputs: Array
    classes: Sequence[Label] | None
    records: list[dict[str, Any]]
    scores: dict[str, Any] | None
    ids: dict[str, list[Any]]
    target: str | None


def run(options: argparse.Namespace) -> int:
    """Predict the rows of a file."""
    if options.out is not None and not options.out.endswith(ENDINGS):
        raise ValueError(
            f"--out: expected a name ending in {', '.join(ENDINGS)}, found {options.out!r}"
        )
    check_writable("--out", options.out, options.data, options.model, options.labels)
    model = fastbp.load(options.model)
    of_table = models.of_table(model)
    if of_table is None:
        found = _of_arrays(options, as_network(model))
    else:
        found = _of_tables(options, of_table)
    n = len(found.outputs)
    if options.out is not None:
        _write(options.out, found)
    if found.scores is not None:
        print(scores_in_words(found.scores), file=sys.stderr)
    if options.json:
        document: dict[str, Any] = {
            "model": options.model,
            "data": options.data,
            "rows": n,
            "classes": found.classes,
            "out": options.out,
        }
        if options.out is None:
            document["predictions"] = [
                {**{name: ids[row] for name, ids in found.ids.items()}, **record}
                for row, record in enumerate(found.records)
            ]
        compared = found.scores or {}
        if compared.get("rows", n) != n:  # others have no target
            document["rows_compared"] = compared["rows"]
        print_json(compared | document)
    elif options.out is not None:
        print(f"{n} rows written to {options.out}", file=sys.stderr)
    else:
        for row, record in enumerate(found.records):
            fields = [word(v) if k == "class" else v for k, v in record.items()]
            told = [*(ids[row] for ids in found.ids.values()), *record.get("values", fields)]
            print("\t".join(f"{v:.6g}" if isinstance(v, float) else word(v) for v in told))
    return 0


def _of_arrays(options: argparse.Namespace, net: fastbp.Network) -> Predictions:
    inputs, classes, name = rows(options, net)
    outputs = net.predict(inputs.X)
    records = list(_records(net, outputs, classes))
    found = _scores(outputs, inputs, classes, net, name)
    target = options.target or text_of(net, "target")
    return Predictions(outputs, classes, records, found, {}, target)


def _of_tables(options: argparse.Namespace, of: models.TableModel) -> Predictions:
    table = models.rows(options, of)
    with in_file(table.source):
        outputs = of.outputs(table.columns)
    records, found = list(_records(of.net, outputs, of.classes)), None
    if table.Y is not None:
        Y, kept = table.Y[table.known], outputs[table.known]
        if of.classes is None:
            Y = Y.reshape(len(Y), -1)
            found = of_numbers(kept[:, : Y.shape[1]], Y)
        else:
            found = scores(kept, Y, of.classes, of.net)
    target = options.target or of.metadata.get("target")
    return Predictions(outputs, of.classes, records, found, table.ids, target)


def _scores(
    outputs: Array, inputs: Inputs, classes: Sequence[Label] | None, net: Any, name: str
) -> dict[str, Any] | None:
    """Return how good the predictions are, where the data tell; classes are compared by name."""
    if inputs.Y is None:
        return None
    if classes is None:
        width = functions.loss(net.architecture["loss"]).n_targets(outputs.shape[1])
        fits = inputs.classes is None and inputs.Y.size == len(outputs) * width
        return scores(outputs, inputs.Y, None, net) if fits else None
    return scores(outputs, places(inputs, classes, name), classes, net)


def _records(net: Any, outputs: Array, classes: Sequence[Label] | None) -> Iterator[dict[str, Any]]:
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


def _write(path: str, found: Predictions) -> None:
    if path.endswith(".npy"):
        np.save(path, found.outputs, allow_pickle=False)
        return
    columns: dict[str, Any] = dict(found.ids)
    if found.classes is not None:
        for title in found.records[0]:
            name = (found.target or "class") if title == "class" else title
            values = [record[title] for record in found.records]
            is_typed = title == "class" and path.endswith(".parquet")
            columns[_new(name, columns)] = as_array(values) if is_typed else values
    else:
        n, base = found.outputs.shape[1], found.target or "output"
        for j in range(n):
            name = base if n == 1 else f"{base}_{j}"
            columns[_new(name, columns)] = found.outputs[:, j].tolist()
    if path.endswith(".parquet"):
        _write_parquet(path, columns)
        return
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        rows = zip(*columns.values(), strict=True)
        writer.writerows([word(v) if isinstance(v, bool) else v for v in row] for row in rows)


def _new(name: str, columns: dict[str, Any]) -> str:
    """A name that is not taken: a column of the data may be called as the prediction is."""
    while name in columns:
        name = f"{name} (predicted)"
    return name


def _write_parquet(path: str, columns: dict[str, Any]) -> None:
    from fastbp.tabular.arrow import pyarrow

    table = pyarrow().table(columns)
    from pyarrow import parquet

    parquet.write_table(table, path)
