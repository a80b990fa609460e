"""Searches, bags and cross-validation beside scikit-learn's, at equal scores, in one run.

What belongs here: data, candidates, timing and the table. What does not: many networks beside other
libraries (many.py), one fit (estimators.py), tests (tests/).

Usage: python bench/search.py [--epochs N] [--jobs N] [--rounds N] [--only TEXT] [--json]

Both sides get the same data, candidates, folds, seeds and `n_jobs` (two idle cores are best left to
it) and are timed in turn; figures are medians. Exit code 1: a ratio below its aim at the epochs
that the aim is for, or scores that differ by more than rounding.
"""

import argparse
import json
import statistics
import sys
import time
import warnings

import numpy as np
from sklearn import ensemble, model_selection, neural_network

from fastbp import estimators

AIM_EPOCHS = 200


def table(dtype):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((2000, 20)).astype(dtype)
    return X, (X[:, 0] + np.sin(X[:, 1]) + 0.1 * rng.standard_normal(2000)).astype(dtype)


def images(dtype):
    """5,000 images of 784 pixels, 81 % of them 0 as in MNIST: strokes of ten shapes."""
    rng = np.random.default_rng(2)
    shapes = rng.random((10, 784)) < 0.25
    Y = rng.integers(0, 10, 5000)
    kept = rng.random((5000, 784)) < 0.68
    noise = rng.random((5000, 784)) < 0.026
    return np.where((shapes[Y] & kept) | noise, rng.random((5000, 784)), 0.0).astype(dtype), Y


def grid(n):
    return {
        "alpha": np.logspace(-6, 0, n // 4).tolist(),
        "learning_rate_init": [3e-4, 1e-3, 3e-3, 1e-2],
    }


def search(sides, model, n, jobs):
    def run(side, X, y):
        kind = model_selection.GridSearchCV if side is neural_network else estimators.GridSearchCV
        made = getattr(side, model[0])(**sides, **model[1])
        return kind(made, grid(n), cv=5, n_jobs=jobs, refit=False).fit(X, y)

    return run, lambda done: done.cv_results_["mean_test_score"]


def bag(sides, model, n, jobs):
    def run(side, X, y):
        module = ensemble if side is neural_network else estimators
        made = getattr(side, model[0])(**sides, **model[1])
        return module.BaggingRegressor(made, n, random_state=0, n_jobs=jobs).fit(X, y)

    return run, lambda done: np.concatenate([member.coefs_[0].ravel() for member in done])


def folds(sides, model, n, jobs):
    def run(side, X, y):
        module = model_selection if side is neural_network else estimators
        made = getattr(side, model[0])(**sides, **model[1])
        return module.cross_val_score(made, X, y, cv=n, n_jobs=jobs)

    return run, lambda done: done


REGRESSOR = "MLPRegressor", {"hidden_layer_sizes": (16,)}
CLASSIFIER = "MLPClassifier", {"hidden_layer_sizes": (30,), "activation": "logistic"}
# name, what, data, dtype, model, candidates or members, share of the epochs, aim
CASES = [
    ("20-16-1, 64 candidates × 5 folds", search, table, "float32", REGRESSOR, 64, 1.0, 40.0),
    ("the same in float64", search, table, "float64", REGRESSOR, 64, 1.0, None),
    ("784-30-10, 8 candidates × 5 folds", search, images, "float32", CLASSIFIER, 8, 0.1, 8.0),
    ("20-16-1, a bag of 32", bag, table, "float32", REGRESSOR, 32, 1.0, None),
    ("20-16-1, 10 folds", folds, table, "float32", REGRESSOR, 10, 1.0, None),
]


def row(case, options):
    name, what, data, dtype, model, n, share, aim = case
    X, y = data(dtype)
    epochs = max(1, round(options.epochs * share))
    settings = {"max_iter": epochs, "random_state": 0, "tol": 0.0}
    run, facts = what(settings, model, n, options.jobs)
    times, found = [], [None, None]
    run(estimators, X[:200], y[:200])  # imports
    for _ in range(options.rounds):
        pair = []
        for i, side in enumerate((neural_network, estimators)):
            began = time.perf_counter()
            found[i] = facts(run(side, X, y))
            pair.append(time.perf_counter() - began)
        times.append(pair)
    a, b = (statistics.median(side) for side in zip(*times, strict=True))
    ratio = statistics.median(theirs / mine for theirs, mine in times)
    apart = float(np.max(np.abs(found[0] - found[1])))
    met = aim is None or ratio >= aim or options.epochs < AIM_EPOCHS
    return {
        "case": name, "epochs": epochs, "scikit-learn": a, "fastbp": b, "ratio": ratio, "aim": aim,
        "apart": apart, "ok": met and apart < 1e-2,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--epochs", type=int, default=AIM_EPOCHS)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--only", default="", help="cases whose name holds this")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # that the fits have not converged
    rows = []
    for case in (case for case in CASES if options.only in case[0]):
        rows.append(row(case, options))
        if options.json:
            continue
        if len(rows) == 1:
            print("| | epochs | scikit-learn, s | fastbp, s | ratio | aim | apart |")
            print("|---|--:|--:|--:|--:|--:|--:|")
        done = rows[-1]
        aim = "" if done["aim"] is None else f"{done['aim']:g}"
        print(
            f"| {done['case']} | {done['epochs']} | {done['scikit-learn']:.2f} | "
            f"{done['fastbp']:.3f} | {done['ratio']:.1f} | {aim} | {done['apart']:.1g} |"
        )
    if options.json:
        print(json.dumps(rows))
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
