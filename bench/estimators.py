"""The estimators beside scikit-learn's: fits and predictions of one row, on one core, in one run.

What belongs here: data, settings, timing and the table. What does not: tests (tests/).

Usage: taskset -c 1 python bench/estimators.py [--rounds N] [--json]

Both sides get the same data, settings and seeds and are timed in turn; figures are medians. Exit
code 1: a ratio below its aim, or final losses that differ by more than 2 %.
"""

import argparse
import json
import os
import statistics
import sys
import time
import warnings

import numpy as np
from sklearn import neural_network as theirs
from threadpoolctl import threadpool_limits

import fastbp
from fastbp import estimators as ours


def tiny():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((200, 10))
    return X, X[:, 0] - X[:, 1] ** 2 + 0.1 * rng.standard_normal(200)


def housing():
    """20,000 rows of 8 skewed columns and a target that is a smooth function with noise."""
    rng = np.random.default_rng(1)
    X = np.exp(0.5 * rng.standard_normal((20_000, 8)))
    X = (X - X.mean(axis=0)) / X.std(axis=0)
    y = np.tanh(X[:, 0]) + 0.5 * X[:, 1] * X[:, 2] - np.abs(X[:, 3])
    return X, y + 0.3 * rng.standard_normal(20_000)


def digits():
    data = fastbp.datasets.load_digits()
    return data.X.astype(np.float64), data.Y


def images():
    """10,000 images of 784 pixels, 81 % of them 0 as in MNIST: strokes of ten shapes."""
    rng = np.random.default_rng(2)
    shapes = rng.random((10, 784)) < 0.25
    Y = rng.integers(0, 10, 10_000)
    kept = rng.random((10_000, 784)) < 0.68
    noise = rng.random((10_000, 784)) < 0.026
    return np.where((shapes[Y] & kept) | noise, rng.random((10_000, 784)), 0.0), Y


# name, data, estimator, settings, epochs, float32 against their float64, aim
FITS = [
    ("200 × 10, batches of 20", tiny, "MLPRegressor",
     {"hidden_layer_sizes": (10,), "batch_size": 20}, 50, False, 12.0),
    ("200 × 10, one batch", tiny, "MLPRegressor", {"hidden_layer_sizes": (10,)}, 200, False, None),
    ("20,000 × 8 regression", housing, "MLPRegressor", {}, 5, False, 10.0),
    ("digits, 1,797 × 64", digits, "MLPClassifier", {}, 20, False, 4.0),
    ("images, 10,000 × 784", images, "MLPClassifier", {}, 3, False, 2.2),
    ("images, float32 against float64", images, "MLPClassifier", {}, 3, True, 4.5),
]  # fmt: skip
PREDICTIONS = [
    ("one row, regression", tiny, "MLPRegressor", "predict", 10.0),
    ("one row, digits", digits, "MLPClassifier", "predict", 10.0),
    ("one row, probabilities", digits, "MLPClassifier", "predict_proba", 10.0),
]


def seconds(f):
    began = time.perf_counter()
    f()
    return time.perf_counter() - began


def in_turn(f, g, rounds):
    """Medians of both, timed one after the other."""
    times = [(seconds(f), seconds(g)) for _ in range(rounds)]
    return [statistics.median(side) for side in zip(*times, strict=True)]


def fit_row(name, data, estimator, settings, epochs, single, aim, rounds):
    X, y = data()
    settings = {"max_iter": epochs, "tol": 0.0, "n_iter_no_change": epochs, "random_state": 0,
                **settings}  # fmt: skip
    models = [getattr(module, estimator)(**settings) for module in (theirs, ours)]
    mine = X.astype(np.float32) if single else X
    f, g = lambda: models[0].fit(X, y), lambda: models[1].fit(mine, y)
    f(), g()
    losses = [model.loss_ for model in models]
    a, b = in_turn(f, g, rounds)
    return {
        "case": name, "scikit-learn": a, "fastbp": b, "ratio": a / b, "aim": aim, "losses": losses,
        "ok": (aim is None or a / b >= aim) and abs(losses[1] / losses[0] - 1) < 0.02,
    }  # fmt: skip


def prediction_row(name, data, estimator, method, aim, rounds):
    X, y = data()
    models = [
        getattr(module, estimator)(max_iter=5, random_state=0).fit(X, y)
        for module in (theirs, ours)
    ]
    row = X[:1].copy()
    f, g = (getattr(model, method) for model in models)
    calls = range(200)
    a, b = in_turn(lambda: [f(row) for _ in calls], lambda: [g(row) for _ in calls], rounds)
    a, b = a / len(calls), b / len(calls)
    return {
        "case": f"{method} of {name}", "scikit-learn": a, "fastbp": b, "ratio": a / b, "aim": aim,
        "ok": a / b >= aim,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    threadpool_limits(1)  # NumPy's products, as many threads as cores
    warnings.simplefilter("ignore")  # that the fits have not converged
    rows = []
    for row, case in [(fit_row, case) for case in FITS] + [
        (prediction_row, case) for case in PREDICTIONS
    ]:
        rows.append(row(*case, options.rounds))
        if options.json:
            continue
        if len(rows) == 1:
            print(
                "| | scikit-learn | fastbp | times faster | final losses |\n|---|---|---|---|---|"
            )
        done = rows[-1]
        times = [
            f"{1e3 * t:.3g} ms" if t > 1e-3 else f"{1e6 * t:.3g} µs"
            for t in (done["scikit-learn"], done["fastbp"])
        ]
        aim = "" if done["aim"] is None else f" (aim {done['aim']:g})"
        losses = " ".join(f"{loss:.6g}" for loss in done.get("losses", ()))
        print(f"| {done['case']} | {' | '.join(times)} | {done['ratio']:.1f}{aim} | {losses} |")
    if options.json:
        print(json.dumps(rows))
    return 0 if all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
