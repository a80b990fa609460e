"""Data larger than memory: blocks that are read anew each epoch.

>>> import fastbp.data, numpy as np
>>> X = np.linspace(-1, 1, 300)[:, None]
>>> chunks = fastbp.data.from_arrays(X, X**2)
>>> net = fastbp.Network([1, 8, 1], activation="tanh", output="identity", loss="mse", seed=0)
>>> history = net.fit(chunks, epochs=3, seed=0)
"""

from fastbp.data.arrays import from_arrays
from fastbp.data.chunks import Block, Chunks
from fastbp.data.dask import from_dask
from fastbp.data.iterable import from_iterable
from fastbp.data.parquet import from_parquet

__all__ = ["Block", "Chunks", "from_arrays", "from_dask", "from_iterable", "from_parquet"]
