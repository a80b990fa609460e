"""Tables encoded, beside scikit-learn's pipeline of the same columns: seconds of fit_transform.

What belongs here: data, timing and the table. What does not: tests (tests/tabular).

Usage: taskset -c 1 python bench/encoding.py [--rows N] [--rounds N] [--json]

20 columns: 10 of numbers (two with missing ones), 8 of texts with 5 to 1,000 values (two with
missing ones), 2 of times, which scikit-learn's pipeline has no part for and is not given. Then the
fit of an MLP, ten epochs, on 4,000 rows with two columns of 3,000 and 1,100 categories. The sides
are timed in turn; figures are medians. Exit code 1: slower than the aims.
"""

import argparse
import json
import resource
import statistics
import sys
import time
import warnings

import numpy as np
import polars as pl
import pyarrow as pa
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, RobustScaler
from threadpoolctl import threadpool_limits

from fastbp.estimators import MLPRegressor
from fastbp.tabular import Encoder

AIM = 3.0  # seconds for 1 M rows
FIT_AIM, FIT_GAIN = 0.4, 1.3 / 0.4  # seconds; times scikit-learn's sparse fit
VALUES = (5, 10, 20, 50, 100, 200, 500, 1000)


def table(n):
    rng = np.random.default_rng(0)
    columns = {}
    for j in range(10):
        values = rng.standard_normal(n) if j % 2 else np.exp(rng.standard_normal(n))
        mask = rng.random(n) < 0.05 if j < 2 else None
        columns[f"number{j}"] = pa.array(values, mask=mask)
    for j, k in enumerate(VALUES):
        texts = np.array([f"value {i} of {k}" for i in range(k)], object)
        codes = np.minimum((rng.exponential(k / 4, n)).astype(int), k - 1)
        mask = rng.random(n) < 0.05 if j < 2 else None
        columns[f"text{k}"] = pa.array(texts[codes], mask=mask)
    for j in range(2):
        seconds = rng.integers(1_500_000_000, 1_700_000_000, n)
        columns[f"time{j}"] = pa.array(seconds, pa.int64()).cast(pa.timestamp("s"))
    return pa.table(columns)


def theirs(names):
    numbers = [name for name in names if name.startswith("number")]
    texts = [name for name in names if name.startswith("text")]
    return ColumnTransformer([
        ("numbers", make_pipeline(RobustScaler(), SimpleImputer(add_indicator=True)), numbers),
        ("texts", OneHotEncoder(handle_unknown="ignore", dtype=np.float32), texts),
    ])  # fmt: skip


def wide():
    """4,000 rows: two columns of many categories, one of numbers, and a target of all three."""
    rng = np.random.default_rng(0)
    n, numbers = 4000, rng.standard_normal(4000)
    a, b = rng.integers(0, 3000, n), rng.integers(0, 1100, n)
    y = rng.standard_normal(3000)[a] + rng.standard_normal(1100)[b] + numbers
    texts = {"a": np.char.add("a", a.astype(str)), "b": np.char.add("b", b.astype(str))}
    return pa.table(texts | {"x": numbers}).to_pandas(), y


def fits():
    """Calls that fit an MLP to `wide`."""
    X, y = wide()

    def pipeline(regressor, sparse):
        encoded = ColumnTransformer(
            [
                ("texts", OneHotEncoder(handle_unknown="ignore", sparse_output=sparse), ["a", "b"]),
                ("numbers", RobustScaler(), ["x"]),
            ],
            sparse_threshold=float(sparse),
        )
        return make_pipeline(encoded, regressor(max_iter=10, random_state=0))

    sides = {
        "scikit-learn, sparse": pipeline(TheirRegressor, True),
        "ours behind its dense pipeline": pipeline(MLPRegressor, False),
        "Encoder and ours": make_pipeline(Encoder(), MLPRegressor(max_iter=10, random_state=0)),
    }
    return {side: lambda model=model: model.fit(X, y) for side, model in sides.items()}


def medians(sides, rounds):
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ten epochs do not converge
        times = [{side: seconds(call) for side, call in sides.items()} for _ in range(rounds)]
    return [{"side": side, "seconds": statistics.median(t[side] for t in times)} for side in sides]


def seconds(call):
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    data = table(options.rows)
    frame, polars = data.to_pandas(), pl.from_arrow(data)
    sides = {
        "pyarrow.Table": lambda: Encoder().fit_transform(data),
        "pandas": lambda: Encoder().fit_transform(frame),
        "polars": lambda: Encoder().fit_transform(polars),
        "scikit-learn, pandas": lambda: theirs(frame.columns).fit_transform(frame),
    }
    rows, of_fits = medians(sides, options.rounds), medians(fits(), options.rounds)
    encoder = Encoder().fit(data)
    encoded = encoder.transform(data)
    aim = AIM * options.rows / 1_000_000
    done = {
        "rows": options.rows,
        "columns": encoded.shape[1],
        "nonzeros": encoded.nnz,
        "bytes": encoded.data.nbytes + encoded.indices.nbytes + encoded.indptr.nbytes,
        "most bytes of the process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "aim": aim,
        "sides": rows,
        "fits": of_fits,
    }
    if options.json:
        print(json.dumps(done))
    else:
        print(f"{done['rows']:,} rows to {done['columns']:,} columns, {done['nonzeros']:,} "
              f"nonzeros, {done['bytes'] / 1e6:,.0f} MB")  # fmt: skip
        for row in rows:
            late = row["seconds"] > aim and not row["side"].startswith("scikit")
            print(f"{row['side']:<22} {row['seconds']:6.2f} s  {'MISSED' if late else ''}")
        print("fit, 4,000 rows, 3,000 and 1,100 categories")
        for row in of_fits:
            print(f"{row['side']:<30} {row['seconds']:6.3f} s")
    theirs_takes, _, ours_takes = (row["seconds"] for row in of_fits)
    late = ours_takes > FIT_AIM or theirs_takes < FIT_GAIN * ours_takes
    return int(late or any(row["seconds"] > aim for row in rows[:3]))


if __name__ == "__main__":
    sys.exit(main())
