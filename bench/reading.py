"""How fast a table is read: fastbp.tabular.read_table beside the readers of the libraries.

    python bench/reading.py --rows 1000000

pyarrow's reader is the library that ours stands on; it infers types as it reads, and does not tell
codes, decimal commas, marks of missing in texts, or lines. Alternated rounds; medians, and ratios
within rounds.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas
import polars
import pyarrow
import pyarrow.csv

from fastbp.tabular import read_table


def make(n, seed=0):
    """20 columns: whole and decimal numbers, categories, codes, dates, gaps."""
    rng = np.random.default_rng(seed)
    columns = {f"count{i}": rng.integers(0, 10 ** (i + 2), n) for i in range(4)}
    columns |= {f"measure{i}": rng.standard_normal(n) for i in range(3)}
    columns |= {f"price{i}": np.round(100 * rng.standard_normal(n), 2) for i in range(3)}
    for k in (2, 5, 40, 1000):
        columns[f"kind{k}"] = np.array([f"name-{j}" for j in range(k)])[rng.integers(0, k, n)]
    columns["flag"] = np.where(rng.random(n) < 0.5, "True", "False")
    columns["code"] = np.char.zfill(rng.integers(0, 99_999, n).astype(str), 5)
    columns["day"] = (np.datetime64("2010-01-01") + rng.integers(0, 4000, n)).astype(str)
    times = np.datetime64("2010-01-01T00:00:00") + rng.integers(0, 10**8, n)
    columns["time"] = np.char.replace(times.astype(str), "T", " ")
    gaps = np.round(rng.standard_normal(n), 3)
    gaps[rng.random(n) < 0.1] = np.nan
    columns["gaps"] = gaps
    return pandas.DataFrame(columns | {"few": rng.integers(0, 9, n)})


READERS = {
    "fastbp": lambda path: read_table(path),
    "pyarrow": lambda path: pyarrow.csv.read_csv(path),
    "polars": lambda path: polars.read_csv(path, try_parse_dates=True),
    "pandas": lambda path: pandas.read_csv(path),
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default=",".join(READERS), metavar="READER,...")
    options = parser.parse_args()
    names = options.only.split(",")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        make(options.rows).to_csv(path, index=False)
        seconds = {name: [] for name in names}
        for _ in range(options.rounds + 1):  # the first is to warm up
            for name in names:
                began = time.perf_counter()
                READERS[name](path)
                seconds[name].append(time.perf_counter() - began)
        size = path.stat().st_size
    print(f"{options.rows:,} rows, 20 columns, {size / 1e6:.0f} MB, {pyarrow.cpu_count()} threads")
    for name in names:
        ratios = [a / b for a, b in zip(seconds["pyarrow"][1:], seconds[name][1:], strict=True)]
        print(
            f"{name:8} {statistics.median(seconds[name][1:]):.2f} s   speed over pyarrow's "
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
        )


if __name__ == "__main__":
    main()
