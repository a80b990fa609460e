"""``fastbp train``: from a file of data to a network that is tested, saved and checked.

What belongs here: what is trained by which path, and the report. What does not: the network and its
scaling (experiment.py), ensembles on tables (tabular.py), options (options.py).
"""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
from typing import Any, NamedTuple

import fastbp
from fastbp.cli import stream, tables
from fastbp.cli.experiment import Experiment, optimizer_of
from fastbp.cli.options import DIGITS, MLP, OF_ONE_NETWORK
from fastbp.cli.output import check_writable, fail, print_json
from fastbp.cli.report import baseline, gradient_check, tell_scores, tell_time
from fastbp.cli.samples import refuse_for_digits
from fastbp.datasets import Dataset, load_digits, read
from fastbp.datasets.splitting import held_out, partition
from fastbp.tabular.arrow import pyarrow
from fastbp.training.reduce import RankError, Ranks, all_ranks

SPLIT_SEED = 0  # not --seed: runs with different seeds are tested on the same rows
CHECKED_ROWS, CHECKED_WORK = 20, 10**6  # of larger networks fewer rows


def run(options: argparse.Namespace) -> int:
    """Train, save, test, check the gradients."""
    if stream.is_asked(options):
        return stream.run(options, SPLIT_SEED)
    preset = tables.preset_of(options)
    if preset in (None, MLP):
        return _run_on_ranks(options, preset) if options.mpi else _run(options, preset)
    pyarrow()  # whose extra brings all that is needed, where that is not there
    from fastbp.cli import tabular

    return tabular.run(options, preset, SPLIT_SEED)


def _run_on_ranks(options: argparse.Namespace, preset: str | None) -> int:
    """One network by all processes of mpiexec, of which the first one speaks."""
    ranks = all_ranks()
    if ranks is None or ranks.is_first:
        return _run(options, preset, ranks)
    with (
        open(os.devnull, "w") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        try:
            return _run(options, preset, ranks)
        except KeyboardInterrupt:
            return 130
        except Exception:  # which the first one tells
            return 2


def _run(options: argparse.Namespace, preset: str | None, ranks: Ranks | None = None) -> int:
    """One network by the options; `preset` of a table."""
    try:
        begun = options, preset
        found = _begun(*begun) if ranks is None else ranks.together(_begun, *begun)
        return _trained(options, found, ranks)
    except RankError as error:
        return fail(f"error: {error}")


class _Begun(NamedTuple):
    """What is trained, by what, and of a table the rows that are trained on and tested."""

    experiment: Experiment
    optimizer: Any
    table: tables.Table | None
    kept: Any
    held: Any


def _begun(options: argparse.Namespace, preset: str | None) -> _Begun:
    """All that comes before the training."""
    for name, otherwise in (*OF_ONE_NETWORK.items(), ("epochs", 30), ("validation", 0.1)):
        if getattr(options, name) is None:
            setattr(options, name, otherwise)
    check_writable("--save", options.save, options.data, options.labels)
    check_writable("--checkpoint", options.checkpoint, options.data)
    optimizer = optimizer_of(options)
    table, encoder = (tables.read(options) if preset == MLP else None), None
    kept = held = None
    if table is None:
        data = _read(options)
    else:
        kept, held = held_out(table.Y, options.test, SPLIT_SEED)
        data, encoder = table.dataset(kept)
    parts = partition(data, options.test, options.validation, SPLIT_SEED)
    remembered = {} if table is None else tables.metadata(options, table)
    return _Begun(
        Experiment(options, data, parts, encoder, remembered), optimizer, table, kept, held
    )


def _trained(options: argparse.Namespace, begun: _Begun, ranks: Ranks | None) -> int:
    """Train, test, save and check."""
    experiment, optimizer, table, kept, held = begun
    data, parts, is_first = experiment.data, experiment.parts, ranks is None or ranks.is_first
    out = sys.stderr if options.json else sys.stdout
    for line in () if table is None else table.in_words():
        print(line, file=out)
    print(experiment.in_words(), file=out, flush=True)
    try:
        history = experiment.fit(optimizer, out, ranks)
    except KeyboardInterrupt:
        return _interrupted(experiment, options) if is_first else 130
    except fastbp.DivergenceError as error:
        return fail(f"error: {error}", code=1)

    if not history.samples:
        return fail(
            f"error: --time-limit {options.time_limit:g}: over before the first step; nothing was "
            "trained",
            code=1,
        )
    if not is_first:
        return 0
    trained = experiment.net.copy()  # the check is of what was trained, before the scaling
    experiment.fold()
    if options.save:
        experiment.net.save(options.save, metadata=experiment.metadata())
    test = parts.test
    part, judged = ("training", parts.train) if test is None else ("test", test)
    result, base = experiment.scores(judged), baseline(parts.train[1], judged[1], data.classes)
    importances = None
    if table is not None:
        rows = kept if test is None else held
        importances = tables.importances(options, table, rows, experiment.predicted)
    tell_scores(part, result, base, importances, data.classes, out)
    tell_time(history, out, "" if history.epochs else "less than an epoch, ")
    if options.save:
        print(f"saved to {options.save}", file=out)
    out.flush()
    n_checked = max(2, min(CHECKED_ROWS, CHECKED_WORK // trained.n_parameters))
    worst = experiment.worst_fitted_rows(trained, n_checked)
    check, code = gradient_check(options, trained, *worst, out)
    if options.json:
        document = experiment.document() | {
            "test": None if test is None else result,
            "training_scores": result if test is None else None,
            "baseline": base,
            "importances": importances,
            "seconds": history.seconds,
            "samples_per_second": history.samples_per_second,
            "gradient_check": check,
            "saved": options.save,
        }
        print_json(document)
    return code


def _interrupted(experiment: Experiment, options: argparse.Namespace) -> int:
    """Save the network as it is."""
    experiment.fold()
    if options.save:
        experiment.net.save(options.save, metadata=experiment.metadata())
    if options.json:
        print_json(experiment.document() | {"interrupted": True, "saved": options.save})
    done = f"{len(experiment.epochs)} of {options.epochs} epochs"
    saved = f"; saved to {options.save}" if options.save else ""
    return fail(f"interrupted after {done}{saved}", code=130)


def _read(options: argparse.Namespace) -> Dataset:
    if options.data == DIGITS and not os.path.exists(DIGITS):
        refuse_for_digits(options, "target", "labels", "task", "header")
        return load_digits()
    data = read(
        options.data,
        target=options.target,
        labels=options.labels,
        task=options.task,
        header=options.header or "auto",
    )
    if data.classes is not None and len(data.classes) < 2:
        raise ValueError(
            f"{data.name}: expected at least 2 classes, found only {data.classes[0]!r}"
        )
    return data
