"""What data larger than memory cost: a fit on Parquet under a limit of memory, and beside memory.

python bench/chunks.py [--gb 8] [--limit 1] [--folder DIR] [--seconds 50]

First generated Parquet (row groups of 64 MB, written one by one, so that writing takes little
memory too) is trained on for an epoch in a process whose memory is limited (RLIMIT_DATA). Then the
same order in memory and in chunks of a file of 0.25 GB: equal bits, and an epoch's time in turns.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

K = 64
ROWS = 1 << 18  # of a row group: 64 MB
SIZES = {"64-32-2": [K, 32, 2], "64-64-64-2": [K, 64, 64, 2], "64-256-256-2": [K, 256, 256, 2]}


def write(path, gigabytes):
    """A file whose classes can be learnt, in row groups that differ."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    n = max(1, round(gigabytes * 1e9 / (4 * K)))
    schema = pa.schema([(f"x{j}", pa.float32()) for j in range(K)] + [("y", pa.int8())])
    rng = np.random.default_rng(0)
    direction = rng.standard_normal(K).astype("float32")
    with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
        for at in range(0, n, ROWS):
            X = rng.standard_normal((K, min(ROWS, n - at)), dtype=np.float32)
            y = pa.array((direction @ X > 0).astype("int8"))
            writer.write_table(pa.table([*(pa.array(x) for x in X), y], schema=schema))


def peak():
    # not ru_maxrss, which a process has from the one that started it
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]) * 1024


def train(path, limit):
    """In a process of its own: an epoch, with what it took."""
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))

    import pyarrow.dataset
    import pyarrow.parquet  # noqa: F401

    import fastbp
    import fastbp.data

    before, began = peak(), time.perf_counter()
    chunks = fastbp.data.from_parquet(path, target="y")
    net = fastbp.Network(SIZES["64-64-64-2"], activation="relu", seed=0)
    history = net.fit(chunks, epochs=1, batch_size=256, seed=0, threads=1)
    told = {
        "rows": chunks.n_rows,
        "loss": history["loss"][-1],
        "seconds": time.perf_counter() - began,
        "peak_mb": peak() / 1e6,
        "before_mb": before / 1e6,
        "two_chunks_mb": 2 * chunks.shuffle_buffer * K * 4 / 1e6,
    }
    print(json.dumps(told))


def beside_memory(path, seconds):
    """Epochs in memory and in chunks, in turns."""
    import pyarrow.parquet as pq

    import fastbp
    import fastbp.data

    table = pq.read_table(path)
    X = np.empty((table.num_rows, K), "float32")
    for j in range(K):
        X[:, j] = table.column(j).to_numpy()
    Y = table.column(K).to_numpy().astype(int)
    del table
    chunks = fastbp.data.from_parquet(path, target="y")
    arrays = fastbp.data.from_arrays(X, Y)
    began = time.perf_counter()
    for _ in chunks.epoch(0, 0, X.dtype):
        pass
    print(f"read alone: {time.perf_counter() - began:.2f} s")
    for name, sizes in SIZES.items():
        nets = [fastbp.Network(sizes, activation="relu", seed=0) for _ in range(3)]
        options = {"batch_size": 256, "threads": 1, "shuffle": False, "epochs": 2}
        # without a drawn order the two are one order
        nets[0].fit(X, Y, **options)
        nets[1].fit(chunks, **options)
        same = nets[0].parameters.tobytes() == nets[1].parameters.tobytes()
        told, until = [[], [], []], time.perf_counter() + seconds / len(SIZES)
        options |= {"epochs": 1, "shuffle": True, "seed": 0}
        while len(told[0]) < 3 or time.perf_counter() < until:
            for i, source in enumerate([(X, Y), (chunks,), (arrays,)]):
                began = time.perf_counter()
                nets[i].fit(*source, **options)
                told[i].append(time.perf_counter() - began)
        ratios = [
            statistics.median(b / a for a, b in zip(told[0], of, strict=True)) for of in told[1:]
        ]
        print(
            f"{name}: an epoch of {len(X):,} rows in memory {statistics.median(told[0]):.2f} s, "
            f"of Parquet x {ratios[0]:.2f}, of arrays in chunks x {ratios[1]:.2f} (medians of "
            f"{len(told[0])} turns); equal bits: {same}"
        )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gb", type=float, default=8.0)
    parser.add_argument("--limit", type=float, default=1.0, help="in GB")
    parser.add_argument("--folder", default=None)
    parser.add_argument("--seconds", type=float, default=50.0)
    parser.add_argument("--train", default=None, help=argparse.SUPPRESS)
    told = parser.parse_args()
    if told.train is not None:
        train(told.train, int(told.limit * 1e9))
        return
    with tempfile.TemporaryDirectory(dir=told.folder) as folder:
        small, big = Path(folder) / "small.parquet", Path(folder) / "big.parquet"
        write(small, 0.25)
        beside_memory(small, told.seconds)
        small.unlink()
        if told.gb:
            write(big, told.gb)
            size = os.path.getsize(big)
            print(f"{size / 1e9:.2f} GB written with a peak of {peak() / 1e6:.0f} MB in all")
            command = [sys.executable, __file__, "--train", big, "--limit", str(told.limit)]
            found = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            result = json.loads(found.stdout)
            print(f"under {told.limit:g} GB:", json.dumps(result))
            over = result["peak_mb"] - result["before_mb"] - result["two_chunks_mb"]
            print(f"beyond two chunks and what there was before: {over:.0f} MB (promised: 100)")


if __name__ == "__main__":
    main()
