"""NumPy's .npy and .npz files, never unpickled.

What belongs here: their headers and members, checked before memory is taken. What does not: which
member is what (reading.py).
"""

import ast
import math
import os
import re
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from fastbp.datasets.dataset import Array, Dataset, Inputs, features
from fastbp.datasets.labels import targets
from fastbp.tabular.compressed import CHUNK, MOST_EXPANSION

# (inputs, targets, test inputs, test targets), in lower case
LAYOUTS = (
    ("x_train", "y_train", "x_test", "y_test"),
    ("x", "y", "x_test", "y_test"),
    ("data", "target", "data_test", "target_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("images", "labels", "images_test", "labels_test"),
)

_LENGTHS = {(1, 0): "<H", (2, 0): "<I"}  # how the length of the header is written, by version
_HEADER_LIMIT = 10_000  # bytes of the header that are read; NumPy takes no more either
_DTYPE = re.compile(r"[<>|=]?[a-zA-Z?][0-9]{0,9}(\[[0-9a-zA-Z/]{1,20}\])?")
_LARGEST = {"b": ("u1", 1), "U": ("u4", 0x10FFFF)}  # what NumPy takes as it is: bools, characters


def read_npy(path: Path) -> Array:
    """Read one array."""
    with open(path, "rb") as stream:
        return _read_array(stream, os.fstat(stream.fileno()).st_size, path.name)


@contextmanager
def _refused(where: str, what: str) -> Iterator[None]:
    """Whatever zipfile, zlib, tokenize, ast and NumPy find wrong, with the name of the file."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(f"{where}: {what}: {told}") from None


def _read_header(stream: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether it lies as in Fortran, dtype.

    NumPy's own reader tokenizes what may have been written by Python 2, which takes hours for some
    headers of 5,000 blanks.
    """
    version = npy.read_magic(stream)
    if version not in _LENGTHS:
        raise ValueError(f"format version {version} is for structured arrays")
    form = _LENGTHS[version]
    (length,) = struct.unpack(form, stream.read(struct.calcsize(form)))
    text = stream.read(min(length, _HEADER_LIMIT + 1)).decode("latin-1")
    if len(text) != length or length > _HEADER_LIMIT:
        raise ValueError(f"expected a header of {length} bytes, at most {_HEADER_LIMIT}")
    try:
        header = ast.literal_eval(re.sub(r"(?<=[0-9])L\b", "", text).strip())  # 3L of Python 2
    except MemoryError:  # the parser's stack, for the text is short
        raise ValueError("its header is nested too deeply") from None
    if not isinstance(header, dict) or set(header) != {"descr", "fortran_order", "shape"}:
        raise ValueError(f"expected a header of descr, fortran_order and shape, found {text!r:.80}")
    descr, is_fortran, shape = header["descr"], header["fortran_order"], header["shape"]
    if not isinstance(descr, str) or not _DTYPE.fullmatch(descr):
        raise ValueError(f"expected a plain array, found the dtype {descr!r:.80}")
    if type(is_fortran) is not bool:
        raise ValueError(f"expected fortran_order of True or False, found {is_fortran!r:.80}")
    is_shape = isinstance(shape, tuple) and all(type(n) is int and n >= 0 for n in shape)
    if not is_shape or len(shape) > 32:
        raise ValueError(f"it claims the shape {shape!r:.80}")
    return shape, is_fortran, np.dtype(descr)


def _read_array(stream: IO[bytes], size: int, where: str) -> Array:
    """Read an array whose header must agree with `size` before anything is allocated for it."""
    with _refused(where, "damaged"):
        head = BytesIO(stream.read(_HEADER_LIMIT + 20))
    with _refused(where, "not a NumPy array"):
        shape, is_fortran, dtype = _read_header(head)
    if dtype.hasobject:
        raise ValueError(f"{where}: holds Python objects, which are never unpickled")
    start, n_bytes = head.tell(), math.prod(shape) * dtype.itemsize
    if start + n_bytes != size:
        raise ValueError(
            f"{where}: {'truncated' if start + n_bytes > size else 'too long'}: shape {shape} of "
            f"{dtype} needs {start + n_bytes} bytes, found {size}"
        )
    with _refused(where, "damaged"):
        if dtype.itemsize == 0:
            raise ValueError(f"expected numbers or texts, found {dtype} of no bytes")
        stream.seek(start)
        flat = np.empty(math.prod(shape), dtype)
        parts = flat.view(np.uint8)
        for at in range(0, n_bytes, CHUNK):  # a stream of a zip makes bytes of each first
            part = parts[at : at + CHUNK]
            if stream.readinto(part) != len(part):  # type: ignore[attr-defined]
                raise ValueError(f"it ends before its {n_bytes} bytes")
        if dtype.kind in _LARGEST and n_bytes:
            code, most = _LARGEST[dtype.kind]
            if flat.view(dtype.byteorder + code).max() > most:
                raise ValueError(f"expected codes of {dtype} of at most {most:#x}")
    return flat.reshape(shape, order="F" if is_fortran else "C")


class Archive:
    """The arrays of an .npz file, found by name whatever its case."""

    def __init__(self, path: Path):
        self.path = path
        self.members: dict[str, str] = {}
        size = path.stat().st_size
        what = f"not an .npz file: found {f'{size} bytes' if size else 'an empty file'}"
        with open(path, "rb") as file, _refused(path.name, what), zipfile.ZipFile(file) as archive:
            names = archive.namelist()
        for name in names:
            key = name.removesuffix(".npy").lower()
            if key in self.members:
                raise ValueError(
                    f"{path.name}: {name!r} and {self.members[key]!r} differ in case only"
                )
            self.members[key] = name

    def __contains__(self, key: str) -> bool:
        return key in self.members

    def where(self, key: str) -> str:
        """How messages call the array `key`."""
        return f"{self.path.name}: {self.members[key].removesuffix('.npy')}"

    def read(self, key: str) -> Array:
        """Read one array."""
        member, where = self.members[key], self.where(key)
        with open(self.path, "rb") as file:
            with _refused(where, "damaged"):
                info = (archive := zipfile.ZipFile(file)).getinfo(member)
                stream = archive.open(info)
            found = min(info.compress_size, os.fstat(file.fileno()).st_size)
            if info.file_size > MOST_EXPANSION * found + MOST_EXPANSION:
                raise ValueError(
                    f"{where}: truncated: promises {info.file_size} bytes, found {found} compressed"
                )
            return _read_array(stream, info.file_size, where)

    def layout(self, n_needed: int) -> tuple[str, str, str, str]:
        """Return the names in use, of which the first `n_needed` are there."""
        for layout in LAYOUTS:
            if all(key in self for key in layout[:n_needed]):
                return layout
        expected = "; ".join(", ".join(layout[:n_needed]) for layout in LAYOUTS)
        found = ", ".join(name.removesuffix(".npy") for name in self.members.values())
        raise ValueError(
            f"{self.path.name}: expected arrays named {expected} (in any case), "
            f"found {found or 'none'}"
        )


def _check_rows(X: Array, Y: Array, where: str, what: str) -> None:
    if Y.ndim == 0 or len(X) != len(Y):
        found = "a single number" if Y.ndim == 0 else str(len(Y))
        raise ValueError(f"{where}: expected {len(X)} rows as in {what}, found {found}")


def read_npz(path: Path, task: str | None) -> Dataset:
    """Read inputs and targets, and a test set if there is one."""
    archive = Archive(path)
    x, y, x_test, y_test = archive.layout(2)
    Xs = [features(archive.read(x), path.name, archive.where(x).removeprefix(f"{path.name}: "))]
    Ys = [archive.read(y)]
    _check_rows(Xs[0], Ys[0], archive.where(y), x)
    if (x_test in archive) != (y_test in archive):
        there, missing = (x_test, y_test) if x_test in archive else (y_test, x_test)
        raise ValueError(f"{archive.where(there)} is there, but {missing} is not")
    if x_test in archive:
        Xs.append(features(archive.read(x_test), path.name, x_test))
        Ys.append(archive.read(y_test))
        _check_rows(Xs[1], Ys[1], archive.where(y_test), x_test)
        if Xs[0].shape[1] != Xs[1].shape[1]:
            raise ValueError(
                f"{archive.where(x_test)}: expected {Xs[0].shape[1]} columns as in {x}, "
                f"found {Xs[1].shape[1]}"
            )
        dtype = np.result_type(*Xs)
        Xs = [X.astype(dtype, copy=False) for X in Xs]
    parts, classes = targets(Ys, archive.where(y), task)
    if len(Xs) == 1:
        return Dataset(Xs[0], parts[0], classes=classes, name=path.name)
    return Dataset(Xs[0], parts[0], Xs[1], parts[1], classes=classes, name=path.name)


def read_npz_inputs(path: Path, task: str | None) -> Inputs:
    """Read the rows to predict: those of the test set where there is one."""
    archive = Archive(path)
    x, y, x_test, y_test = archive.layout(1)
    if x_test in archive:
        x, y = x_test, y_test
    X = features(archive.read(x), path.name, x)
    if y not in archive:
        return Inputs(X, None, None)
    labels = archive.read(y)
    _check_rows(X, labels, archive.where(y), x)
    parts, classes = targets([labels], archive.where(y), task)
    return Inputs(X, parts[0], classes)


def read_npy_file(path: Path, labels: Path | None, task: str | None) -> Dataset:
    """Read inputs from one .npy file and targets from another."""
    if labels is None:
        raise ValueError(f"{path.name}: holds inputs only; give the file of targets by labels=")
    X, Y = features(read_npy(path), path.name), read_npy(labels)
    _check_rows(X, Y, labels.name, path.name)
    parts, classes = targets([Y], labels.name, task)
    return Dataset(X, parts[0], classes=classes, name=path.name)
