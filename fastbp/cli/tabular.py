"""``fastbp train`` of a table by an ensemble of networks, and such a model to the other commands.

What belongs here: the model by the options, and its report. What does not: one network by options
of its own (train.py), reading (tables.py), training (estimators/tabular.py).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TextIO

import numpy as np

import fastbp
from fastbp.cli import tables
from fastbp.cli.output import check_writable, fail, print_json
from fastbp.cli.report import baseline, dense, gradient_check, tell_scores, worst_fitted
from fastbp.cli.scores import of_classes, of_numbers
from fastbp.datasets.dataset import Array, Label
from fastbp.datasets.splitting import held_out
from fastbp.estimators import TabularClassifier, TabularRegressor
from fastbp.tabular import Columns

CHECKED_ROWS, SEARCHED_ROWS = 20, 2000  # the worst fitted of so many


def run(options: argparse.Namespace, preset: str, split_seed: int) -> int:
    """Train, test, tell what matters, save, check the gradients."""
    check_writable("--save", options.save, options.data, options.labels)
    table = tables.read(options)
    kept, held = held_out(table.Y, options.test, split_seed)
    if not len(kept):
        raise ValueError(f"{table.name}: none of the {len(table.Y)} rows is left to train on")
    out = sys.stderr if options.json else sys.stdout
    model = _model(options, preset, table)
    print("\n".join(_in_words(table, len(kept), len(held))), file=out, flush=True)
    began = time.perf_counter()
    try:
        with tables.in_file(table.features, kept):
            model.fit(table.columns.rows(kept), table.labels[kept])
    except KeyboardInterrupt:
        return fail("interrupted; nothing was trained", code=130)
    except fastbp.DivergenceError as error:
        return fail(f"error: {error}", code=1)
    seconds = time.perf_counter() - began
    model.metadata_ = tables.metadata(options, table)
    if options.save:
        model.save(options.save)

    part, rows = ("test", held) if len(held) else ("training", kept)
    predicted = partial(_predicted, model, table)
    result = _scores(predicted(table.columns.rows(rows)), table.Y[rows], table.classes)
    base = baseline(table.Y[kept], table.Y[rows], table.classes)
    importances = tables.importances(options, table, rows, predicted)
    tell_scores(part, result, base, importances, table.classes, out)
    print(_networks_in_words(model, seconds), file=out)
    if options.save:
        print(f"saved to {options.save}", file=out)
    out.flush()
    check, code = _check(options, model, table, kept[:SEARCHED_ROWS], out)
    if options.json:
        print_json({
            "fastbp": fastbp.__version__,
            "data": {
                "name": table.name, "train_rows": len(kept), "test_rows": len(held),
                **table.document(), **model.metadata_,
            },
            "networks": {
                "preset": preset, "members": len(model.networks_),
                "sizes": list(model.networks_[0].sizes),
                "parameters": sum(net.n_parameters for net in model.networks_),
                "epochs": [history.epochs for history in model.histories_], "seed": options.seed,
            },
            "test": result if len(held) else None,
            "training_scores": None if len(held) else result,
            "baseline": base, "importances": importances, "seconds": seconds,
            "gradient_check": check, "saved": options.save,
        })  # fmt: skip
    return code


def _model(options: argparse.Namespace, preset: str, table: tables.Table) -> Any:
    kind = TabularRegressor if table.classes is None else TabularClassifier
    return kind(
        None if preset == "default" else preset,
        random_state=options.seed,
        n_threads=options.threads,
        time_limit=options.time_limit,
        validation_fraction=0.2 if options.validation is None else options.validation,
        callbacks=None if options.epochs is None else [_ends_after(options.epochs)],
        verbose=sys.stderr.isatty(),
        encoder=table.encoder(),
    )


def _ends_after(epochs: int) -> Callable[[Any], bool]:
    return lambda event: event.epoch + 1 >= epochs


def _in_words(table: tables.Table, n_train: int, n_test: int) -> list[str]:
    """What is trained on what, and what is not, in lines."""
    kinds = [tables.KINDS[type(column)] for column in table.columns.columns]
    counts = ", ".join(f"{kinds.count(kind)} of {kind}" for kind in dict.fromkeys(kinds))
    what = "regression" if table.classes is None else f"{len(table.classes)} classes"
    first = (
        f"{table.name}: {len(kinds)} columns, {counts}; {what}; {n_train} to train, {n_test} to "
        "test"
    )
    return [first, *table.in_words()]


def _predicted(model: Any, table: tables.Table, columns: Columns) -> Array:
    """Class numbers of the table, or the targets."""
    found: Array = model.predict(columns)
    if table.classes is not None:
        place = {label: i for i, label in enumerate(table.classes)}
        found = np.array([place[label] for label in found.tolist()], np.intp)
    return found


def _scores(predicted: Array, Y: Array, classes: Sequence[Label] | None) -> dict[str, Any]:
    """Accuracy; or R^2 and the root of the mean square error."""
    if classes is not None:
        return of_classes(predicted, Y)
    return of_numbers(predicted.reshape(len(Y), -1), Y.reshape(len(Y), -1))


def _networks_in_words(model: Any, seconds: float) -> str:
    first, n = model.networks_[0], len(model.networks_)
    epochs, sizes = max(history.epochs for history in model.histories_), first.sizes
    return (
        f"trained in {seconds:.3g} s: {n} network{'s' * (n > 1)} {','.join(map(str, sizes))}; "
        f"{first.n_parameters:,} parameters each, {epochs} epochs"
    )


def _check(
    options: argparse.Namespace, model: Any, table: tables.Table, rows: Array, out: TextIO
) -> tuple[dict[str, Any] | None, int]:
    """Of the first network, on encoded rows that it fits worst."""
    net = model.networks_[0]
    X, Y = model.encoded(table.columns.rows(rows), table.labels[rows])
    worst = worst_fitted(net, X, Y, CHECKED_ROWS)
    return gradient_check(options, net, dense(X[worst]), Y[worst], out)
