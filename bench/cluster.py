"""A search at Dask's workers beside the same in this process, in one run.

What belongs here: what sending costs, what a second worker gives, how many tasks a second the
scheduler takes (for a capacity plan). What does not: searches beside other libraries (search.py),
one network over several machines.

Usage: python bench/cluster.py [--seconds N] [--rounds N] [--tasks N] [--json]

Needs `pip install fastbp[cluster]` and two idle cores: workers are processes of this machine, one
thread each. `--seconds`: about, that the search takes here on one thread. Runs are timed in turn;
figures are medians, ratios of each round's own. Exit code 1: one worker takes more than 1.1 times
what this process takes on one thread, two workers are less than 1.8 times as fast as one, or
scores differ in a bit.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
import warnings
from concurrent.futures import wait

import distributed
import numpy as np

from fastbp import estimators

OVERHEAD_LIMIT = 1.1
TWO_LIMIT = 1.8
ROWS, COLUMNS, FOLDS, EPOCHS = 4000, 20, 4, 60


def table():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)
    return X, (X[:, 0] + np.sin(X[:, 1]) + 0.1 * rng.standard_normal(ROWS)).astype(np.float32)


def search(n, executor=None, n_jobs=None):
    """Seconds and scores of a search among n candidates."""
    model = estimators.MLPRegressor(
        hidden_layer_sizes=(16,), max_iter=EPOCHS, tol=0.0, n_iter_no_change=EPOCHS, random_state=0
    )
    grid = {"alpha": np.logspace(-6, 0, n).tolist()}
    made = estimators.GridSearchCV(
        model, grid, cv=FOLDS, refit=False, n_jobs=n_jobs, executor=executor
    )
    X, y = table()
    began = time.perf_counter()
    made.fit(X, y)
    return time.perf_counter() - began, made.cv_results_["mean_test_score"]


def cluster_of(n_workers):
    return distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0"
    )


def tasks_a_second(client, n):
    """Of tasks that do nothing, one submit each."""
    executor = client.get_executor(pure=False)
    began = time.perf_counter()
    wait([executor.submit(int, i) for i in range(n)])
    return n / (time.perf_counter() - began)


def candidates_for(seconds):
    n = 8
    search(n, n_jobs=1)  # imports
    took = search(n, n_jobs=1)[0]
    return max(n, round(n * seconds / took))


def chunk_seconds(client):
    """Medians of how long the chunks took that are known to the scheduler."""
    known = client.cluster.scheduler.task_prefixes
    of_fits = [prefix for name, prefix in known.items() if name.startswith("fit ")]
    return statistics.median(prefix.duration_average for prefix in of_fits)


def measured(options):
    n = candidates_for(options.seconds)
    times, same = [], True
    with cluster_of(1) as one, cluster_of(2) as two:
        with distributed.Client(one) as client_of_one, distributed.Client(two) as client_of_two:
            runs = {
                "here": lambda: search(n, n_jobs=1),
                "one worker": lambda: search(n, client_of_one.get_executor(pure=False)),
                "two workers": lambda: search(n, client_of_two.get_executor(pure=False)),
            }
            expected = runs["here"]()[1]
            for name in ("one worker", "two workers"):  # they import what they need
                same &= bool((runs[name]()[1] == expected).all())
            for i in range(options.rounds):
                order = list(runs)[:: 1 if i % 2 else -1]
                times.append({name: runs[name]()[0] for name in order})
            chunk = chunk_seconds(client_of_one)
            rate = tasks_a_second(client_of_two, options.tasks)
    medians = {name: statistics.median(of[name] for of in times) for name in runs}
    overhead = statistics.median(of["one worker"] / of["here"] for of in times)
    two_to_one = statistics.median(of["one worker"] / of["two workers"] for of in times)
    met = overhead <= OVERHEAD_LIMIT and two_to_one >= TWO_LIMIT
    return {
        "fits": n * FOLDS, "seconds": medians, "one worker / here": overhead,
        "one worker / two workers": two_to_one, "seconds a chunk": chunk,
        "empty tasks a second": rate, "same bits": same, "ok": met and same,
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    found = measured(options)
    if options.json:
        print(json.dumps(found))
        return 0 if found["ok"] else 1
    print(f"{found['fits']} fits, {found['seconds a chunk']:.2f} s a chunk")
    for name, seconds in found["seconds"].items():
        print(f"  {name:12s} {seconds:6.2f} s")
    print(f"one worker / here         {found['one worker / here']:.3f} (<= {OVERHEAD_LIMIT})")
    print(f"one worker / two workers  {found['one worker / two workers']:.2f} (>= {TWO_LIMIT})")
    print(f"empty tasks a second      {found['empty tasks a second']:.0f}")
    print("same bits" if found["same bits"] else "NOT THE SAME BITS")
    return 0 if found["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
