"""Sparse X beside dense X and beside scikit-learn: steps of fits, on one core, in one run.

What belongs here: data, timing and the table. What does not: tests (tests/).

Usage: taskset -c 1 python bench/sparse.py [--rounds N] [--json]

Dense X is timed as it is, and without a 0, so that no batch leaves out a column. The sides of a row
are timed in turn; figures are medians, of a step. Exit code 1: a ratio below its aim, bits that
differ from the dense run's, or more than 1 GB taken.
"""

import argparse
import json
import resource
import statistics
import sys
import time
import warnings

import numpy as np
from scipy import sparse
from sklearn import neural_network as theirs
from threadpoolctl import threadpool_limits

import fastbp
from fastbp import estimators as ours

BATCH, HIDDEN = 32, 128
MOST_BYTES = 1e9
LEFT_OUT = "columns of zeros left out"


def one_hot(n, n_columns=20, n_values=50):
    """20 columns of 50 values, each an element among 50."""
    rng = np.random.default_rng(0)
    index = rng.integers(0, n_values, (n, n_columns)) + n_values * np.arange(n_columns)
    shape, starts = (n, n_columns * n_values), np.arange(n + 1) * n_columns
    return sparse.csr_matrix((np.ones(index.size, np.float32), index.ravel(), starts), shape)


def text(n, n_words=30_000, each=100, zipf=False):
    """Rows of some 100 of 30,000 words, all alike or, with zipf, some far more often."""
    rng = np.random.default_rng(1)
    shares = 1 / np.arange(1, n_words + 1) if zipf else np.ones(n_words)
    draws = rng.choice(n_words, (n, each), p=shares / shares.sum())
    rows = np.repeat(np.arange(n), each)
    X = sparse.csr_matrix((np.ones(rows.size, np.float32), (rows, draws.ravel())), (n, n_words))
    X.sum_duplicates()
    X.data[:] = rng.random(X.nnz)
    return X


CASES = {
    "one-hot, 20 of 50 values": (lambda: one_hot(3200), 3200),
    "text, 30,000 words": (lambda: text(3200), 320),
    "text, 30,000 words by Zipf": (lambda: text(3200, zipf=True), 320),
}
OPTIMIZERS = {"SGD": fastbp.SGD(0.01), "Adam": fastbp.Adam()}
AIMS = {("one-hot, 20 of 50 values", "SGD"): 5.0, ("text, 30,000 words", "SGD"): 15.0}


def labels(n):
    return np.random.default_rng(2).integers(0, 2, n)


def microseconds(net, X, Y, optimizer):
    """Of a step of one epoch."""
    history = net.fit(X, Y, epochs=1, batch_size=BATCH, optimizer=optimizer, seed=0, threads=1)
    return 1e6 * history.seconds * BATCH / X.shape[0]


def beside_dense(case, name, rounds):
    make, n_dense = CASES[case]
    X = make()
    few, Y = X[:n_dense], labels(X.shape[0]).astype(np.float32)
    dense = few.toarray()  # as many rows as are quickly trained on
    full = np.full_like(dense, 0.01)  # of which no column is left out
    net = fastbp.Network(
        [X.shape[1], HIDDEN, 1], activation="relu", output="sigmoid", loss="binary_cross_entropy"
    )
    optimizer, twins = OPTIMIZERS[name], [net.copy(), net.copy()]
    for twin, data in zip(twins, (dense, few), strict=True):
        twin.fit(data, Y[:n_dense], epochs=1, batch_size=BATCH, optimizer=optimizer, seed=0)
    times = [
        [microseconds(net, data, Y[: data.shape[0]], optimizer) for data in (full, dense, X)]
        for _ in range(rounds)
    ]
    a, with_zeros, b = (statistics.median(side) for side in zip(*times, strict=True))
    equal, aim = bool((twins[0].parameters == twins[1].parameters).all()), AIMS.get((case, name))
    return {"case": f"{case}, {name}", "beside": "dense", "other": a, "fastbp": b, "ratio": a / b,
            "aim": aim, "ok": equal and (aim is None or a / b >= aim),
            LEFT_OUT: with_zeros}  # fmt: skip


def beside_scikit_learn(case, aim, rounds):
    """Fits with scikit-learn's own settings: Adam, alpha 1e-4, so that every weight moves."""
    X = CASES[case][0]()
    y, times = labels(X.shape[0]), []
    settings = {"hidden_layer_sizes": (HIDDEN,), "batch_size": BATCH, "max_iter": 1,
                "random_state": 0}  # fmt: skip
    for _ in range(rounds):
        sides = []
        for module in (theirs, ours):
            more = {} if module is theirs else {"n_threads": 1}
            model = module.MLPClassifier(**settings, **more)
            began = time.perf_counter()
            model.fit(X, y)
            sides.append((time.perf_counter() - began) * 1e6 * BATCH / X.shape[0])
        times.append(sides)
    a, b = (statistics.median(side) for side in zip(*times, strict=True))
    return {"case": f"{case}, MLPClassifier", "beside": "scikit-learn", "other": a, "fastbp": b,
            "ratio": a / b, "aim": aim, "ok": a / b >= aim}  # fmt: skip


def memory():
    """The most that a process takes which trains on 20,000 rows of 30,000 columns."""
    X = text(20_000)
    net = fastbp.Network([X.shape[1], HIDDEN, 2])
    net.fit(X, labels(X.shape[0]), epochs=1, batch_size=BATCH, validation=0.1, seed=0)
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"case": "20,000 x 30,000, 100 a row", "bytes": taken, "ok": taken < MOST_BYTES}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    taken = memory()  # first: what comes later is dense
    with threadpool_limits(1):
        rows = [beside_dense(case, name, options.rounds) for case in CASES for name in OPTIMIZERS]
        rows += [beside_scikit_learn(case, 5.0, options.rounds) for case in CASES
                 if case.startswith("text")]  # fmt: skip
    if options.json:
        print(json.dumps({"version": fastbp.__version__, "rows": rows, "memory": taken}))
    else:
        print(f"{'step':<42} {'beside':<13} {'other':>10} {'fastbp':>10} {'ratio':>7} {'aim':>5}")
        for row in rows:
            print(f"{row['case']:<42} {row['beside']:<13} {row['other']:8.1f}us "
                  f"{row['fastbp']:8.1f}us {row['ratio']:6.1f}x {row['aim'] or '':>5} "
                  f"{'' if row['ok'] else 'MISSED'}"
                  + (f" ({row[LEFT_OUT] / row['fastbp']:.1f}x with columns of zeros left out)"
                     if LEFT_OUT in row else ""))  # fmt: skip
        print(f"{taken['case']}: {taken['bytes'] / 1e6:,.0f} MB {'' if taken['ok'] else 'MISSED'}")
    return 0 if taken["ok"] and all(row["ok"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
