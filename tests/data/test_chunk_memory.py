"""A fit on chunks takes no more memory than two of them, the model and 100 MB.

What belongs here: peaks, in processes of their own. What does not: what is read (test_parquet.py).
"""

import os
import subprocess
import sys

import pytest

# prints what the fit took beyond what there was before, and two chunks, in bytes
PROGRAM = """
import sys
import numpy as np, pyarrow as pa, pyarrow.parquet as pq, pyarrow.dataset
import fastbp, fastbp.data
n, k, buffer, path = 300_000, 128, 1 << 14, sys.argv[1]
rng = np.random.default_rng(0)
schema = pa.schema([(f"x{j}", pa.float32()) for j in range(k)] + [("y", pa.int8())])
rows = rng.standard_normal((50_000, k), dtype=np.float32)
y = pa.array(rng.integers(0, 2, len(rows)).astype("int8"))
with pq.ParquetWriter(path, schema, compression="none", use_dictionary=False) as writer:
    for _ in range(n // len(rows)):
        columns = [pa.array(np.ascontiguousarray(rows[:, j])) for j in range(k)]
        writer.write_table(pa.table([*columns, y], schema=schema))
del rows, columns, y
net = fastbp.Network([k, 8, 2], seed=0)
def status(name):
    found = (line for line in open("/proc/self/status") if line.startswith(name))
    return int(next(found).split()[1]) * 1024
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew
before = status("VmRSS")
chunks = fastbp.data.from_parquet(path, target="y", shuffle_buffer=buffer)
assert chunks.n_rows == n
net.fit(chunks, epochs=1, batch_size=256, seed=0)
print(status("VmHWM") - before, 2 * buffer * k * 4)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/clear_refs"), reason="needs Linux's peaks")
def test_peak_of_parquet(tmp_path):
    pytest.importorskip("pyarrow")
    path = str(tmp_path / "big.parquet")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, path],
        stdout=subprocess.PIPE,
        env=environment,
        timeout=300,
        check=True,
    )
    peak, two_chunks = map(int, found.stdout.split())
    assert os.path.getsize(path) > two_chunks + 130e6  # the data would not fit
    assert peak <= two_chunks + 100e6, f"{peak / 1e6:.0f} MB, two chunks {two_chunks / 1e6:.0f}"
