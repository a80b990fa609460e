"""Data larger than memory: blocks that are read anew each epoch.

>>> import fastbp.data, numpy as np
>>> X = np.linspace(-1, 1, 300)[:, None]
>>> chunks = fastbp.data.from_arrays(X, X**2)
>>> net = fastbp.Network([1, 8, 1], activation="tanh", output="identity", loss="mse", seed=0)
>>> history = net.fit(chunks, epochs=3, seed=0)
"""

from importlib import import_module
from typing import TYPE_CHECKING

from fastbp.data.chunks import Block, Chunks

if TYPE_CHECKING:
    from fastbp.data.arrays import from_arrays
    from fastbp.data.dask import from_dask
    from fastbp.data.iterable import from_iterable
    from fastbp.data.parquet import from_parquet

__all__ = ["Block", "Chunks", "from_arrays", "from_dask", "from_iterable", "from_parquet"]


def _found(name: str) -> object:
    """Import a source when it is asked for: every fit asks what chunks are, few are of such."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"fastbp.data.{name.removeprefix('from_')}"), name)
    globals()[name] = found
    return found


if not TYPE_CHECKING:  # a type checker is to refuse other names
    __getattr__ = _found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
