"""IDX files, the format of MNIST and Fashion-MNIST.

What belongs here: the format, and the names of its files in a folder. What does not: how a
compressed file is opened (compressed.py).

Two zero bytes, a type code, the rank, the sizes as big-endian uint32, then the numbers, big-endian.
"""

import math
import os
import re
from pathlib import Path
from typing import IO

import numpy as np

from fastbp.datasets.dataset import Array, Dataset, features
from fastbp.datasets.labels import targets
from fastbp.inputs import as_file
from fastbp.tabular.compressed import CHUNK, fits_in_memory, opened

DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
MOST_DIMENSIONS = 32  # NumPy before 2.0 has no more

FILE_NAME = re.compile(
    r"(?P<prefix>.*?)(?P<part>train|t10k|test)-(?P<kind>images|labels)[-.]idx\d-[a-z]+(\.gz)?",
    re.IGNORECASE,
)


def read_idx(path: str | os.PathLike[str]) -> Array:
    """Read one IDX file, plain or gzip-compressed.

    Parameters
    ----------
    path : path-like
        The file. All six types of the format and every rank up to 32 are read.

    Returns
    -------
    ndarray
        The numbers in the machine's byte order, writable.

    Raises
    ------
    ValueError
        Not an IDX file, truncated or too long; the message begins with the file's name and says
        what was expected and what was found. Nothing is allocated for a header that claims more
        than the file can hold.

    Examples
    --------
    >>> import os, tempfile
    >>> from fastbp.datasets import read_idx
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "t10k-labels-idx1-ubyte")
    ...     with open(path, "wb") as stream:
    ...         _ = stream.write(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 2, 1]))
    ...     read_idx(path)
    array([7, 2, 1], dtype=uint8)
    """
    path = as_file(path, "path")
    with fits_in_memory(path.name), opened(path) as (stream, size, most):
        dtype, shape = _read_header(stream, path.name)
        n_bytes = math.prod(shape) * dtype.itemsize
        header = 4 + 4 * len(shape)
        claim = f"the header promises {_describe(dtype, shape)}, {header + n_bytes} bytes in all"
        if header + n_bytes > most:
            found = f"{size} bytes" if size is not None else "a gzip file too small for that"
            raise ValueError(f"{path.name}: truncated: {claim}, found {found}")
        if size is not None and header + n_bytes < size:
            raise ValueError(f"{path.name}: too long: {claim}, found {size} bytes")
        # In chunks: a compressed stream may end early, and then little has been allocated.
        data = bytearray()
        while len(data) < n_bytes:
            chunk = stream.read(min(CHUNK, n_bytes - len(data)))
            if not chunk:
                raise ValueError(
                    f"{path.name}: truncated: {claim}, found {header + len(data)} bytes"
                )
            data += chunk
        if stream.read(1):
            raise ValueError(f"{path.name}: too long: {claim}, found more")
    array = np.frombuffer(data, dtype).reshape(shape)
    return array.astype(dtype.newbyteorder("="), copy=False)


def _read_header(stream: IO[bytes], name: str) -> tuple[np.dtype, tuple[int, ...]]:
    start = stream.read(4)
    if not start:
        raise ValueError(f"{name}: empty: expected an IDX header, found 0 bytes")
    if len(start) < 4 or start[:2] != b"\0\0" or start[2] not in DTYPES:
        raise ValueError(
            f"{name}: not an IDX file: expected the bytes 00 00, a type "
            f"({', '.join(f'{code:02x}' for code in DTYPES)}) and a rank, found {start.hex(' ')}"
        )
    rank = start[3]
    if rank > MOST_DIMENSIONS:
        raise ValueError(f"{name}: expected a rank of at most {MOST_DIMENSIONS}, found {rank}")
    sizes = stream.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise ValueError(
            f"{name}: truncated: expected {4 + 4 * rank} bytes of header for rank {rank}, "
            f"found {4 + len(sizes)}"
        )
    shape = tuple(int(size) for size in np.frombuffer(sizes, ">u4"))
    if math.prod(size for size in shape if size) > np.iinfo(np.intp).max // 8:
        raise ValueError(f"{name}: truncated: the header promises {shape}, more than any file")
    return np.dtype(DTYPES[start[2]]), shape


def _describe(dtype: np.dtype, shape: tuple[int, ...]) -> str:
    return f"{' x '.join(map(str, shape)) or '1'} of {dtype.newbyteorder('=')}"


def looks_like_idx(path: Path) -> bool:
    """Whether the name or the first bytes of the file are those of an IDX file."""
    if FILE_NAME.fullmatch(path.name) or re.search(r"[-.]idx\d?\b", path.name, re.IGNORECASE):
        return True
    try:
        with opened(path) as (stream, _, _):
            start = stream.read(4)
    except ValueError:
        return False
    return len(start) == 4 and start[:2] == b"\0\0" and start[2] in DTYPES


def read_images(path: Path) -> Array:
    """Read an image file as (n, n_pixels) floating; bytes become numbers in [0, 1]."""
    images = read_idx(path)
    if images.ndim < 2:
        raise ValueError(
            f"{path.name}: expected images, of rank 2 or more, found rank {images.ndim}"
            + (" (a label file?)" if images.ndim == 1 else "")
        )
    return features(images, path.name, "the images")


def read_labels(path: Path, n: int, images: str) -> Array:
    """Read a label file that must have `n` labels, one for each image of the file `images`."""
    labels = read_idx(path)
    if labels.ndim != 1:
        raise ValueError(f"{path.name}: expected labels, of rank 1, found rank {labels.ndim}")
    if len(labels) != n:
        raise ValueError(
            f"{path.name}: expected {n} labels, one for each image of {images}, found {len(labels)}"
        )
    return labels


def find_labels(path: Path) -> Path:
    """Return the label file that lies beside the image file `path`."""
    stem = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    start, images, end = stem.rpartition("images")
    if images:
        end = end.replace("idx3", "idx1")
        other = {"-": ".", ".": "-"}.get(end[:1], "") + end[1:]
        for name in (f"{start}labels{tail}" for tail in dict.fromkeys((end, other))):
            for suffix in ("", ".gz"):
                candidate = path.with_name(name + suffix)
                if candidate.is_file():
                    return candidate
        expected = f"expected {start}labels{end} or {start}labels{end}.gz beside it, found neither"
    else:
        expected = "the name does not tell (no 'images' in it)"
    raise ValueError(f"{path.name}: its label file is not known: {expected}; give it by labels=")


def read_image_file(path: Path, labels: Path | None, task: str | None) -> Dataset:
    """Read an image file and its label file."""
    label_path = labels or find_labels(path)
    X = read_images(path)
    parts, classes = targets(
        [read_labels(label_path, len(X), path.name)], label_path.name, task, always_classes=True
    )
    return Dataset(X=X, Y=parts[0], classes=classes, name=path.name)


def read_folder(folder: Path, task: str | None) -> Dataset:
    """Read the files of a folder as MNIST is distributed: training and, if there, test data."""
    files = find_parts(folder)
    if ("train", "images") not in files:
        raise ValueError(
            f"{folder.name}: expected train-images-idx3-ubyte, train-labels-idx1-ubyte, "
            "t10k-images-idx3-ubyte, t10k-labels-idx1-ubyte (or with .gz), found "
            + (", ".join(sorted(path.name for path in files.values())) or "none of them")
        )
    Xs, Ys = [], []
    for part in ("train", "test"):
        images, labels = files.get((part, "images")), files.get((part, "labels"))
        if images is None and labels is None:
            continue
        if images is None or labels is None:
            present = images or labels
            missing = "labels" if labels is None else "images"
            assert present is not None
            raise ValueError(f"{present.name}: the {missing} that belong to it are not beside it")
        Xs.append(read_images(images))
        Ys.append(read_labels(labels, len(Xs[-1]), images.name))
    if len({X.shape[1] for X in Xs}) > 1:
        raise ValueError(
            f"{files['test', 'images'].name}: expected {Xs[0].shape[1]} pixels an image as in "
            f"{files['train', 'images'].name}, found {Xs[1].shape[1]}"
        )
    parts, classes = targets(Ys, files["train", "labels"].name, task, always_classes=True)
    if len(Xs) == 1:
        return Dataset(Xs[0], parts[0], classes=classes, name=folder.name)
    return Dataset(Xs[0], parts[0], Xs[1], parts[1], classes=classes, name=folder.name)


def find_parts(folder: Path) -> dict[tuple[str, str], Path]:
    """Return the files of a folder by (part, kind), a plain file before a compressed one."""
    files: dict[tuple[str, str], Path] = {}
    prefixes = set()
    for path in sorted(folder.iterdir()):  # "name" sorts before "name.gz"
        match = FILE_NAME.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        prefixes.add(match["prefix"])
        part = "train" if match["part"].lower() == "train" else "test"
        files.setdefault((part, match["kind"].lower()), path)
    if len(prefixes) > 1:
        raise ValueError(
            f"{folder.name}: expected one data set, found {', '.join(map(repr, sorted(prefixes)))}"
            "; give the image file"
        )
    return files
