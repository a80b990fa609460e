"""What `train` tells beside the scores: what needs no network, what matters, the gradient check.

What belongs here: the words and figures that networks and ensembles have in common. What does not:
scores themselves (scores.py), printing and files (output.py).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any, TextIO

import numpy as np

from fastbp.cli.output import fail, scores_in_words, waiting_bar
from fastbp.cli.scores import of_classes, of_numbers
from fastbp.datasets.dataset import Array, Label
from fastbp.datasets.labels import word
from fastbp.training import History

CHECKED_PARAMETERS = 1000  # what a fraction of a second checks
CHECK_SECONDS = 2.0  # of larger networks a share


def baseline(train: Array, Y: Array, classes: Sequence[Label] | None) -> dict[str, Any]:
    """The scores on Y of what needs no network: training's most frequent class, or its mean."""
    if classes is None:
        mean = np.atleast_1d(train.mean(axis=0))
        predicted = np.broadcast_to(mean, (len(Y), mean.size))
        return {"predicts": mean.tolist()} | of_numbers(predicted, Y.reshape(len(Y), -1))
    most = int(np.bincount(train).argmax())
    return {"predicts": classes[most]} | of_classes(np.full(len(Y), most), Y)


def tell_time(history: History, out: TextIO, partly: str = "") -> None:
    """How long a run took, and at how many samples a second."""
    print(
        f"trained in {history.seconds:.3g} s, {partly}{history.samples_per_second:,.0f} samples a "
        "second",
        file=out,
    )


def tell_scores(
    part: str,
    scores: dict[str, Any],
    base: dict[str, Any],
    importances: dict[str, float] | None,
    classes: Sequence[Label] | None,
    out: TextIO,
) -> None:
    """Print what a model reaches on a part of the data, beside what needs no network."""
    print(f"{part} {scores_in_words(scores)}", file=out)
    print(_baseline_in_words(base), file=out)
    if importances:
        print(_importances_in_words(importances, classes), file=out)


def _baseline_in_words(base: dict[str, Any]) -> str:
    """One line."""
    what = base["predicts"]
    if isinstance(what, list):
        what = "the mean, " + ", ".join(f"{number:.4g}" for number in what[:3])
    return f"baseline {scores_in_words(base)}: always {word(what)}"


def _importances_in_words(importances: dict[str, float], classes: Sequence[Label] | None) -> str:
    """One line."""
    score = "R^2" if classes is None else "accuracy"
    told = ", ".join(f"{name:.40} {drop:.3g}" for name, drop in importances.items())
    return f"matter most ({score} lost where shuffled): {told}"


def gradient_check(
    options: argparse.Namespace, net: Any, X: Array, Y: Array, out: TextIO
) -> tuple[dict[str, Any] | None, int]:
    """What the check found and the exit code; Ctrl-C ends it, and what came before it is done."""
    from fastbp import check

    if options.no_check:
        return None, 0
    try:
        with waiting_bar("gradient check", CHECK_SECONDS):
            found = check.gradients(
                net, X, Y, max_parameters=CHECKED_PARAMETERS, time_limit=CHECK_SECONDS
            )
    except KeyboardInterrupt:
        return None, fail("interrupted during the gradient check; all else is done", code=130)
    told = {key: value for key, value in found.to_dict().items() if key != "points"}
    print(f"gradient check: {found.verdict}", file=out)
    if not found.verdict.startswith("pass"):
        for finding in told.get("findings", ()):
            print(f"  {finding}", file=out)
    return told | {"ok": found.ok, "verdict": found.verdict}, int(found.ok is False)


def dense(X: Any) -> Array:
    """A few rows, which checks want as an array."""
    found: Array = X.toarray() if hasattr(X, "toarray") else X
    return found


def worst_fitted(net: Any, X: Any, Y: Array, n: int) -> Array:
    """The rows with the largest output errors.

    Where a network has learnt its data, the gradient of most rows is nothing but rounding.
    """
    errors = np.abs(net.deltas(X, Y)[-1]).max(axis=1)
    rows: Array = np.sort(np.argsort(-errors, kind="stable")[:n])
    return rows
