"""The embedded digits and the readers: what they read, and what they refuse and how."""

import dataclasses
import gzip
import io
import math
import os
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest
from data_cases import refusal

from fastbp import datasets
from fastbp.datasets.scaling import Scaling
from fastbp.datasets.splitting import held_out

CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def idx_bytes(array):
    array = np.asarray(array)
    header = bytes([0, 0, CODES[array.dtype.str[1:]], array.ndim])
    header += struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def write(path, content):
    if isinstance(content, str):
        content = content.encode()
    elif isinstance(content, np.ndarray):
        content = idx_bytes(content)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def images_and_labels(n=12, seed=0, shape=(3, 4)):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
    return images, (np.arange(n) % 3).astype(np.uint8)


def write_mnist(folder, pattern="{}-{}-idx{}-ubyte.gz", parts=("train", "t10k")):
    folder.mkdir(exist_ok=True)
    written = {}
    for seed, part in enumerate(parts):
        images, labels = images_and_labels(12 - 3 * seed, seed)
        written[part] = images, labels
        write(folder / pattern.format(part, "images", 3), images)
        write(folder / pattern.format(part, "labels", 1), labels)
    return written


# The digits ---------------------------------------------------------------------------------------


def test_digits():
    data = datasets.load_digits()
    assert data.X.shape == (1797, 64) and data.X.dtype == np.float32
    assert data.Y.shape == (1797,) and data.Y.dtype == np.int64
    assert data.X.min() == 0 and data.X.max() == 1
    assert np.array_equal(data.X * 16, np.round(data.X * 16))
    counts = [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert np.bincount(data.Y).tolist() == counts
    # The first image, a zero, as the source prints it.
    first = [0, 0, 5, 13, 9, 1, 0, 0, 0, 0, 13, 15, 10, 15, 5, 0]
    assert (data.X[0, :16] * 16).tolist() == first
    assert data.classes == tuple(range(10)) and data.X_test is None


def test_digits_name_their_source():
    file = Path(datasets.__file__).parent / "digits.npz"
    with np.load(file, allow_pickle=False) as archive:
        embedded = str(archive["attribution"])
        assert archive["images"].dtype == archive["labels"].dtype == np.uint8
    assert embedded == datasets.ATTRIBUTION == datasets.load_digits().attribution
    for text in (embedded, datasets.load_digits.__doc__):
        for word in ("Alpaydin", "Kaynak", "10.24432/C50P49", "CC BY 4.0"):
            assert word in text
    assert file.stat().st_size < 100_000


def test_dataset_is_frozen_and_prints_shapes():
    data = datasets.load_digits()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.X = None
    assert "X (1797, 64) float32" in repr(data) and "10 classes" in repr(data)


# IDX ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("dtype", CODES)
@pytest.mark.parametrize("shape", [(), (5,), (2, 3), (2, 3, 4), (1, 2, 1, 2, 1), (0, 3), (3, 0)])
def test_idx_reads_every_type_and_rank(tmp_path, dtype, shape, suffix):
    rng = np.random.default_rng(1)
    array = np.asarray(rng.integers(0, 100, shape)).astype(dtype)
    if dtype[0] in "if":
        array = np.asarray(-array)
    found = datasets.read_idx(write(tmp_path / f"a{suffix}", array))
    assert found.dtype == np.dtype(dtype) and found.dtype.isnative
    assert found.shape == shape and np.array_equal(found, array)
    found[...] = 1  # writable


@pytest.mark.parametrize(
    "pattern",
    ["{}-{}-idx{}-ubyte.gz", "{}-{}-idx{}-ubyte", "{}-{}.idx{}-ubyte", "{}-{}.idx{}-ubyte.gz"],
)
def test_folder_as_mnist_is_distributed(tmp_path, pattern):
    written = write_mnist(tmp_path / "mnist", pattern)
    data = datasets.read(tmp_path / "mnist")
    for X, Y, part in ((data.X, data.Y, "train"), (data.X_test, data.Y_test, "t10k")):
        images, labels = written[part]
        assert X.dtype == np.float32 and Y.dtype == np.int64
        assert np.array_equal(X, images.reshape(-1, 12).astype(np.float32) / np.float32(255))
        assert np.array_equal(Y, labels)
    assert data.classes == (0, 1, 2) and data.name == "mnist"


def test_folder_with_plain_and_compressed_files_and_others(tmp_path):
    write_mnist(tmp_path, "{}-{}-idx{}-ubyte.gz")
    write_mnist(tmp_path, "{}-{}-idx{}-ubyte")
    (tmp_path / "README").write_text("hello")
    (tmp_path / "train-images-idx9-ubyte").mkdir()
    assert datasets.read(str(tmp_path)).X_test.shape == (9, 12)


def test_folder_without_a_test_set(tmp_path):
    write_mnist(tmp_path, parts=("train",))
    data = datasets.read(tmp_path)
    assert data.X_test is None and data.Y_test is None


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"),
        ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
        ("train-images-idx3-ubyte", "train-labels-idx1-ubyte.gz"),
        ("t10k-images.idx3-ubyte", "t10k-labels.idx1-ubyte"),
        ("t10k-images.idx3-ubyte", "t10k-labels-idx1-ubyte"),
        ("letters-images.idx3-ubyte", "letters-labels.idx1-ubyte"),
        ("images", "labels.gz"),
    ],
)
def test_image_file_finds_its_labels(tmp_path, images, labels):
    pixels, kinds = images_and_labels()
    write(tmp_path / images, pixels)
    write(tmp_path / labels, kinds)
    data = datasets.read(tmp_path / images)
    assert data.X.shape == (12, 12) and np.array_equal(data.Y, kinds)


def test_image_file_with_labels_given(tmp_path):
    pixels, kinds = images_and_labels()
    data = datasets.read(
        write(tmp_path / "pixels.idx", pixels), labels=write(tmp_path / "kinds", kinds)
    )
    assert np.array_equal(data.Y, kinds)


def test_labels_are_numbered_without_gaps(tmp_path):
    pixels, _ = images_and_labels(4)
    write(tmp_path / "x-images-idx3-ubyte", pixels)
    write(tmp_path / "x-labels-idx1-ubyte", np.array([26, 1, 10, 1], dtype=np.uint8))
    data = datasets.read(tmp_path / "x-images-idx3-ubyte")
    assert data.classes == (1, 10, 26) and data.Y.tolist() == [2, 0, 1, 0]


def test_images_that_are_not_bytes_keep_their_values(tmp_path):
    pixels = np.array([[[-1.5, 2.0]], [[0.25, 300.0]]], dtype=np.float32)
    write(tmp_path / "a-images", pixels)
    write(tmp_path / "a-labels", np.array([0, 1], dtype=np.int32))
    assert datasets.read(tmp_path / "a-images").X.tolist() == [[-1.5, 2.0], [0.25, 300.0]]


GOOD = idx_bytes(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", ["empty"]),
        (b"\0", ["not an IDX file", "found 00"]),
        (b"\0\0\x08", ["not an IDX file"]),
        (b"\x89PNG\r\n", ["not an IDX file", "expected", "89 50 4e 47"]),
        (b"\0\0\x0a\x01" + GOOD[4:], ["not an IDX file", "00 00 0a 01"]),
        (b"\0\0\x08\xff" + GOOD[4:], ["rank of at most 32", "found 255"]),
        (GOOD[:9], ["truncated", "16 bytes of header", "found 9"]),
        (GOOD[:16], ["truncated", "2 x 3 x 4 of uint8", "40 bytes in all", "found 16"]),
        (GOOD[:-1], ["truncated", "40 bytes in all", "found 39"]),
        (GOOD + b"\0", ["too long", "40 bytes in all", "found"]),
        (b"\0\0\x0e\x04" + b"\xff" * 16, ["truncated"]),
        (b"\0\0\x0e\x03" + b"\0" * 4 + b"\xff" * 8 + b"\0", ["truncated"]),
        (b"\0\0\x08\x02" + b"\x7f\xff\xff\xff\x00\x00\x10\x00", ["truncated", "found"]),
    ],
)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_refuses_damage(tmp_path, content, words, suffix):
    labels = write(tmp_path / "labels", np.zeros(2, dtype=np.uint8))
    path = write(tmp_path / f"some-images-idx3-ubyte{suffix}", content)
    message = refusal(path, labels=labels)
    for word in words:
        assert word in message


def test_idx_refuses_what_is_not_gzip(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(GOOD)
    message = refusal(path, labels=path)
    assert "not gzip" in message and "1f 8b" in message and "00 00" in message
    path.write_bytes(b"")
    assert "empty" in refusal(path, labels=path)


def test_idx_reads_gzip_without_the_suffix(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(gzip.compress(GOOD))
    assert datasets.read_idx(path).shape == (2, 3, 4)


def test_idx_refuses_damaged_gzip(tmp_path):
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = idx_bytes(np.random.default_rng(0).integers(0, 256, (9, 9, 9), dtype=np.uint8))
    good = gzip.compress(content)
    for cut in (5, 12, len(good) // 2, len(good) - 1, len(good) - 8):
        path.write_bytes(good[:cut])
        assert "truncated" in refusal(path, labels=path)
    for place in (3, 10, 40, len(good) // 2, len(good) - 6, len(good) - 2):
        bad = bytearray(good)
        bad[place] ^= 0xFF
        path.write_bytes(bad)
        message = refusal(path, labels=path)
        assert "gzip" in message or "truncated" in message or "IDX" in message


@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_idx_allocates_little_for_a_lying_header(tmp_path, suffix):
    header = b"\0\0\x08\x03" + struct.pack(">3I", 60_000, 28, 28)
    path = write(tmp_path / f"train-images-idx3-ubyte{suffix}", header + b"\0" * 1000)
    bomb = header[:4] + struct.pack(">3I", 10, 10, 10) + b"\0" * 50_000_000
    long = write(tmp_path / f"long-images-idx3-ubyte{suffix}", bomb)
    tracemalloc.start()
    assert "truncated" in refusal(path, labels=path)
    assert "too long" in refusal(long, labels=path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4_000_000


def test_idx_refuses_files_that_do_not_belong_together(tmp_path):
    pixels, kinds = images_and_labels()
    images = write(tmp_path / "train-images-idx3-ubyte", pixels)
    with pytest.raises(ValueError, match=r"train-labels-idx1-ubyte.gz beside it"):
        datasets.read(images)
    short = write(tmp_path / "short", kinds[:-1])
    with pytest.raises(ValueError, match=r"^short: expected 12 labels.*found 11"):
        datasets.read(images, labels=short)
    with pytest.raises(ValueError, match=r"^train-images.*expected labels, of rank 1"):
        datasets.read(images, labels=images)
    labels = write(tmp_path / "train-labels-idx1-ubyte", kinds)
    assert "label file" in refusal(labels, labels=labels)
    empty = write(tmp_path / "none-images", np.zeros((0, 2, 2), dtype=np.uint8))
    assert "empty" in refusal(empty, labels=labels)


def test_folder_refuses_what_is_missing(tmp_path):
    assert "train-images-idx3-ubyte" in refusal(tmp_path)
    written = write_mnist(tmp_path, "{}-{}-idx{}-ubyte")
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(ValueError, match=r"^t10k-images-idx3-ubyte: the labels"):
        datasets.read(tmp_path)
    write(tmp_path / "t10k-labels-idx1-ubyte", written["t10k"][1])
    write(tmp_path / "t10k-images-idx3-ubyte", written["t10k"][0][:, :2])
    with pytest.raises(ValueError, match=r"expected 12 pixels an image.*found 8"):
        datasets.read(tmp_path)
    write_mnist(tmp_path, "emnist-{}-{}-idx{}-ubyte")
    assert "'emnist-'" in refusal(tmp_path)


# NumPy files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("X", "y"), ("X", "Y"), ("x", "y"), ("data", "target")])
def test_npz(tmp_path, names):
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(6, 2)), np.array([0, 1, 0, 1, 2, 2])
    path = tmp_path / "a.npz"
    np.savez(path, **dict(zip(names, (X, Y), strict=True)))
    data = datasets.read(path)
    assert np.array_equal(data.X, X) and data.X.dtype == np.float64
    assert data.Y.tolist() == Y.tolist() and data.classes == (0, 1, 2)


def test_npz_with_a_test_set_of_images(tmp_path):
    pixels, kinds = images_and_labels()
    path = tmp_path / "a.npz"
    np.savez_compressed(
        path, x_train=pixels, y_train=kinds, X_test=pixels[:3], Y_test=kinds[:3, None]
    )
    data = datasets.read(path)
    assert data.X.shape == (12, 12) and data.X_test.shape == (3, 12)
    assert data.X.dtype == np.float32 and data.X.max() <= 1
    assert data.Y_test.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("Y", "classes", "expected"),
    [
        (np.array(["b", "a", "b"]), ("a", "b"), [1, 0, 1]),
        (np.array([b"b", b"a", b"b"]), ("a", "b"), [1, 0, 1]),
        (np.array([True, False, True]), (False, True), [1, 0, 1]),
        (np.array([7, 3, 7], dtype=">i2"), (3, 7), [1, 0, 1]),
        (np.eye(3), (0, 1, 2), [0, 1, 2]),
        (np.array([0.0, 1.0, 2.0]), None, [0.0, 1.0, 2.0]),
        (np.array([[0.5], [1], [2]]), None, [0.5, 1.0, 2.0]),
        (np.array([[1, 2], [3, 4], [5, 6]]), None, [[1, 2], [3, 4], [5, 6]]),
    ],
)
def test_npz_targets(tmp_path, Y, classes, expected):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.ones((3, 1)), y=Y)
    data = datasets.read(path)
    assert data.classes == classes and data.Y.tolist() == expected
    assert classes is None or {*map(type, data.classes)} == {type(classes[0])}
    assert data.Y.dtype.kind == ("f" if classes is None else "i")


def test_task_decides_where_it_is_given(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.ones((3, 1)), y=np.array([0, 1, 2]))
    assert datasets.read(path, task="regression").classes is None
    np.savez(path, X=np.ones((3, 1)), y=np.array([0.0, 1.0, 2.0]))
    assert datasets.read(path, task="classification").classes == (0, 1, 2)
    np.savez(path, X=np.ones((3, 1)), y=np.array([0.0, 1.5, 2.0]))
    assert "whole numbers, found 1.5" in refusal(path, task="classification")
    np.savez(path, X=np.ones((3, 1)), y=np.array(["a", "b", "c"]))
    assert "found strings" in refusal(path, task="regression")
    with pytest.raises(ValueError, match="task: expected one of classification, regression"):
        datasets.read(path, task="clustering")


def test_integers_of_many_values_are_numbers(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.ones((300, 1)), y=np.arange(300))
    assert datasets.read(path).Y.dtype == np.float64
    assert len(datasets.read(path, task="classification").classes) == 300


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"a": 1, "b": 2}, ["expected arrays named", "x, y", "found a, b"]),
        ({"X": np.ones((3, 2))}, ["expected arrays", "found X"]),
        ({"X": np.ones((3, 2)), "y": np.ones(4)}, ["y", "expected 3 rows", "found 4"]),
        ({"X": np.ones((3, 2)), "y": np.float64(1)}, ["a single number"]),
        ({"X": np.ones((0, 2)), "y": np.ones(0)}, ["X is empty", "(0, 2)"]),
        ({"X": np.array(["a"]), "y": np.ones(1)}, ["real numbers", "<U1"]),
        ({"X": np.ones((1, 1)) * 1j, "y": np.ones(1)}, ["real numbers", "complex128"]),
        ({"X": np.array([[1, np.nan]]), "y": np.ones(1)}, ["X must be finite", "row 0, column 1"]),
        ({"X": np.ones((2, 1)), "y": np.array([1, np.inf])}, ["finite", "inf in row 1"]),
        ({"X": np.ones((1, 1)), "y": np.ones(1) * 1j}, ["numbers or strings", "complex128"]),
        ({"X": np.ones((1, 1)), "y": np.array(["2024"], dtype="M8[D]")}, ["datetime64"]),
        ({"X": np.ones((1, 1)), "y": np.ones((1, 2, 2))}, ["rank 1 or 2", "found rank 3"]),
        (
            {"x_train": np.ones((2, 3)), "y_train": np.ones(2), "x_test": np.ones((2, 3))},
            ["x_test is there, but y_test is not"],
        ),
        (
            {"X": np.ones((2, 3)), "y": [0, 1], "x_test": np.ones((2, 4)), "y_test": [0, 1]},
            ["x_test: expected 3 columns", "found 4"],
        ),
        ({"X": np.ones((1, 1)), "x": np.ones((1, 1)), "y": [1]}, ["differ in case only"]),
    ],
)
def test_npz_refuses(tmp_path, arrays, words):
    path = tmp_path / "some.npz"
    np.savez(path, **arrays)
    message = refusal(path)
    for word in words:
        assert word in message


def test_npz_never_unpickles(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("unpickled",))

    path = tmp_path / "trap.npz"
    np.savez(path, X=np.array([[Trap()]], dtype=object), y=np.array([1]))
    assert "never unpickled" in refusal(path)
    np.savez(path, X=np.ones((1, 1)), y=np.array([Trap()], dtype=object))
    assert "never unpickled" in refusal(path)
    np.save(tmp_path / "trap.npy", np.array([Trap()], dtype=object))
    with pytest.raises(ValueError, match=r"^trap.npy: .*never unpickled"):
        datasets.read_inputs(tmp_path / "trap.npy")


def test_npz_refuses_damage(tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(b"")
    assert "not an .npz file: found an empty file" in refusal(path)
    path.write_bytes(b"hello, world")
    assert "not an .npz file" in refusal(path)
    np.savez_compressed(path, X=np.random.default_rng(0).normal(size=(50, 4)), y=np.ones(50))
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert "not an .npz file" in refusal(path)
    bad = bytearray(good)
    bad[300:310] = b"0123456789"
    path.write_bytes(bad)
    assert "damaged" in refusal(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", b"no array")
        archive.writestr("y.npy", b"no array")
    assert "X: not a NumPy array" in refusal(path)


HEADERS = {
    "token": b"{'descr': '<f8', 'fortran_order': False, 'shape': (3L, \n",
    "quotes": b'{\'descr\': """',
    "brackets": b"(" * 200,
    "minus": b"-" * 9000 + b"1",
    "escape": b"{'descr': '\\d', 'fortran_order': False, 'shape': (3,)}",
    "descr": b"{'descr': '<q99', 'fortran_order': False, 'shape': (3,)}",
    "shape": b"{'descr': '<f8', 'fortran_order': False, 'shape': 3}",
    "zero bytes": b"\0" * 40,
    "latin": b"\xff" * 40,
    "long": b" " * 20_000,
    "blanks": b"{'descr': '|urelu(" + b" " * 5_000 + b"\0\0 '",  # hours in tokenize
    "fields": b"{'descr': [('a', '<f8')], 'fortran_order': False, 'shape': (3,)}",
    "commas": b"{'descr': '" + b"," * 5_000 + b"', 'fortran_order': False, 'shape': (3,)}",
    "order": b"{'descr': '<f8', 'fortran_order': 0, 'shape': (3,)}",
    "flag": b"{'descr': '<f8', 'fortran_order': False, 'shape': (True,)}",
    "key": b"{'descr': '<f8', 'fortran_order': False, 'shape': (3,), 'more': 1}",
}


@pytest.mark.parametrize("name", HEADERS)
def test_npy_headers_that_are_none(tmp_path, name):
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(HEADERS[name])) + HEADERS[name]
    (tmp_path / "a.npy").write_bytes(content)
    np.save(tmp_path / "X.npy", np.ones((2, 2)))
    with pytest.raises(ValueError, match=r"^a\.npy: not a NumPy array: ."):
        datasets.read_inputs(tmp_path / "a.npy")
    with pytest.raises(ValueError, match=r"^a\.npy: not a NumPy array: ."):
        datasets.read(tmp_path / "X.npy", labels=tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", content)
        archive.writestr("y.npy", content)
    assert "X: not a NumPy array: " in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("y", "words"),
    [
        (np.ones((12, 0)), "shape (12, 0)"),
        (np.ones((12, 0), int), "shape (12, 0)"),
        (np.array([b"a", b"\xff"] * 6), "UTF-8 text"),
        (np.array(["a", "\ud800"] * 6), "UTF-8 text"),
        (np.full(12, 0x7FFFFFFF, "<u4").view("<U1"), "codes of <U1 of at most 0x10ffff"),
        (np.full(12, 7, np.uint8).view(bool), "codes of bool of at most 0x1"),
    ],
)
def test_targets_that_are_none(tmp_path, y, words):
    np.savez(tmp_path / "a.npz", X=np.ones((12, 2)), y=y)
    assert words in refusal(tmp_path / "a.npz")


def test_class_labels_beyond_whole_numbers(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((2, 2)), y=[0.0, 1e300])
    assert "whole numbers, found 1e+300" in refusal(tmp_path / "a.npz", task="classification")


BOMBS = r"""
import gzip, resource, struct, sys
import pyarrow.csv
from fastbp import datasets
from fastbp.datasets import table
path = sys.argv[1]
content = {
    "gz": b"\0\0\x08\x03" + struct.pack(">3I", 60, 1000, 1000) + bytes(60_000_000),
    "csv.gz": b"a,b\n" + b"1,2\n" * 3_000_000,
}
for suffix, text in content.items():
    with gzip.open(f"{path}.{suffix}", "wb", 1) as file:
        file.write(text)
del content, text
size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (size + 24_000_000,) * 2)
for suffix, options in {"gz": {"labels": f"{path}.gz"}, "csv.gz": {"target": "b"}}.items():
    try:
        datasets.read(f"{path}.{suffix}", **options)
    except MemoryError as error:
        print(error)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory as Linux has")
def test_what_does_not_fit_in_memory_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    done = subprocess.run(
        [sys.executable, "-c", BOMBS, str(tmp_path / "bomb")],
        capture_output=True, text=True, timeout=120,
        env=os.environ | {"PYTHONPATH": str(Path(datasets.__file__).parents[2])},
    )  # fmt: skip
    words = "its contents do not fit in memory"
    found = [line[: len(words) + line.index(":") + 2] for line in done.stdout.splitlines()]
    assert found == [f"bomb.gz: {words}", f"bomb.csv.gz: {words}"], done.stdout + done.stderr


def test_paths(tmp_path):
    for read in (datasets.read, datasets.read_inputs, datasets.read_idx):
        for path in (None, 3, b"a.npz", ["a.npz"]):
            with pytest.raises(TypeError, match="path: expected a path"):
                read(path)
        for path in ("", "a\0.npz", "\ud800.csv"):
            with pytest.raises(ValueError, match="path: expected a path that a file can have"):
                read(path)
    np.save(tmp_path / "X.npy", np.ones((2, 2)))
    for labels, error in ((3, TypeError), ("", ValueError), (tmp_path, IsADirectoryError)):
        with pytest.raises(error, match="labels: expected a"):
            datasets.read(tmp_path / "X.npy", labels=labels)


def test_npy_of_every_kind_and_order(tmp_path):
    rng = np.random.default_rng(0)
    for dtype in ("<f8", ">f4", "<f2", "|u1", ">i4", "|b1"):
        for shape in ((6, 1), (3, 2), (2, 3, 4), (1, 1)):
            for order in "CF":
                array = np.asarray(rng.integers(0, 2, shape).astype(dtype), order=order)
                np.save(tmp_path / "a.npy", array)
                found = datasets.read_inputs(tmp_path / "a.npy").X
                scale = np.float32(255) if dtype == "|u1" else 1
                assert np.array_equal(found, array.reshape(shape[0], -1) / scale)
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (2L, 1L), }\n"  # of Python 2
    content = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header
    (tmp_path / "a.npy").write_bytes(content + struct.pack("<2d", 0.5, 7))
    assert datasets.read_inputs(tmp_path / "a.npy").X.tolist() == [[0.5], [7]]


def npy_header(shape):
    stream = io.BytesIO()
    header = {"descr": "<f8", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(stream, header)
    return stream.getvalue()


@pytest.mark.parametrize("shape", [(10**9, 4), (10**12, 10**12), (2, -1), (1,) * 200])
def test_npz_allocates_nothing_for_a_lying_header(tmp_path, shape):
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("X.npy", npy_header(shape) + b"\0" * 8)
        archive.writestr("y.npy", npy_header((1,)) + b"\0" * 8)
    tracemalloc.start()
    message = refusal(path)
    assert "truncated" in message or "claims the shape" in message
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    (tmp_path / "a.npy").write_bytes(npy_header(shape) + b"\0" * 8)
    with pytest.raises(ValueError, match=r"^a\.npy: "):
        datasets.read_inputs(tmp_path / "a.npy")


def test_npy_with_targets(tmp_path):
    np.save(tmp_path / "X.npy", np.asfortranarray(np.arange(6.0).reshape(3, 2)))
    np.save(tmp_path / "y.npy", np.array([1, 0, 1]))
    data = datasets.read(tmp_path / "X.npy", labels=tmp_path / "y.npy")
    assert data.X.tolist() == [[0, 1], [2, 3], [4, 5]] and data.classes == (0, 1)
    assert "holds inputs only" in refusal(tmp_path / "X.npy")
    assert datasets.read_inputs(tmp_path / "X.npy").Y is None


# Which reader -------------------------------------------------------------------------------------


def test_unknown_files(tmp_path):
    for name, content in (("a.doc", b"hello"), ("a.png", b"\x89PNG"), ("a", b""), ("b.gz", b"x")):
        path = tmp_path / name
        path.write_bytes(content)
        message = refusal(path)
        assert ".npz" in message and ".csv" in message and "IDX" in message
    for name in ("a.csv", "b.npz", "c.npy", "train-images-idx3-ubyte", "d"):
        with pytest.raises(FileNotFoundError, match="nowhere"):
            datasets.read(tmp_path / "nowhere" / name, target="t" if name == "a.csv" else None)


def test_options_that_do_not_fit(tmp_path):
    np.savez(tmp_path / "a.npz", X=np.ones((2, 1)), y=[0, 1])
    assert "only a CSV file" in refusal(tmp_path / "a.npz", target="y")
    path = write(tmp_path / "a.csv", "a,t\n1,2\n")
    assert "label file" in refusal(path, target="t", labels=path)


# Inputs to predict --------------------------------------------------------------------------------


def test_inputs_of_a_folder_are_the_test_set(tmp_path):
    write_mnist(tmp_path)
    X, Y, classes = datasets.read_inputs(tmp_path)
    assert X.shape == (9, 12) and Y.shape == (9,) and classes == (0, 1, 2)
    images = tmp_path / "train-images-idx3-ubyte.gz"
    assert datasets.read_inputs(images).Y.shape == (12,)
    (tmp_path / "train-labels-idx1-ubyte.gz").unlink()
    assert datasets.read_inputs(images).Y is None


def test_inputs_of_npz(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, X=np.ones((2, 3, 4), dtype=np.uint8))
    assert datasets.read_inputs(path).X.shape == (2, 12) and datasets.read_inputs(path).Y is None
    np.savez(path, X=np.ones((2, 3)), y=[1, 2], x_test=np.ones((1, 3)), y_test=[2])
    assert datasets.read_inputs(path).X.shape == (1, 3)


# Splitting and scaling ----------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 3, 7, 100, 1797])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.2, 0.5, 0.9])
def test_held_out_share(n, share):
    Y = np.arange(n) % 5
    kept, held = held_out(Y, share, seed=1)
    assert sorted([*kept, *held]) == list(range(n))
    assert len(held) == math.floor(n * share + 0.5)
    for _ in range(2):
        assert np.array_equal(held_out(Y, share, seed=1)[1], held)


def test_held_out_keeps_the_proportions():
    Y = np.repeat([0, 1, 2], [10, 100, 1000])
    for seed in range(5):
        held = held_out(Y, 0.2, seed)[1]
        assert np.bincount(Y[held]).tolist() == [2, 20, 200]
    assert not np.array_equal(held_out(Y, 0.2, 0)[1], held_out(Y, 0.2, 1)[1])
    assert len(held_out(np.random.default_rng(0).normal(size=(50, 2)), 0.2, 0)[1]) == 10


def test_scaling():
    rng = np.random.default_rng(0)
    X = np.column_stack([rng.normal(5, 3, 50), np.full(50, 0.1), rng.normal(1e9, 2, 50)])
    scaling = Scaling.of(X)
    Z = scaling.apply(X)
    assert np.allclose(Z.mean(axis=0), 0, atol=1e-6)
    assert np.allclose(Z.std(axis=0), [1, 0, 1])
    assert scaling.deviation[1] == 1 and np.all(Z[:, 1] == 0)
    assert np.allclose(scaling.undo(Z), X, rtol=1e-15)
    with pytest.raises(ValueError, match="column 1 are too large"):
        Scaling.of(np.array([[1, 1.7e308], [2, -1.7e308], [3, -1.7e308]]))
    assert np.all(np.isfinite(Scaling.of(np.array([[1e-300], [2e-300]])).apply(np.ones((1, 1)))))
    Z = np.array([[1.0], [2.0], [4.0]])
    for unit in (1e-300, 1e-170, 1e170, 1e308 / 8):  # the squares or their sum out of range
        scaling = Scaling.of(Z * unit)
        assert np.allclose(scaling.apply(Z * unit), Scaling.of(Z).apply(Z), rtol=1e-12)


@pytest.mark.parametrize(("dtype", "bound"), [("float64", 1e-13), ("float32", 1e-5)])
def test_folding_gives_the_same_sums(dtype, bound):
    rng = np.random.default_rng(0)
    X = rng.normal([5, -100, 2000], [3, 0.1, 10], (50, 3))
    scaling = Scaling.of(X)
    W, b = rng.normal(size=(3, 4)).astype(dtype), rng.normal(size=4).astype(dtype)
    expected = scaling.apply(X) @ W.astype(float) + b.astype(float)
    scaling.fold_into_inputs(W, b)
    found = X @ W.astype(float) + b.astype(float)
    # The float32 bias is the sum of terms as large as mean / deviation = 1000.
    assert np.max(np.abs(found - expected)) < bound * 100

    outputs = Scaling(np.array([10.0, -5.0]), np.array([2.0, 100.0]))
    A = rng.normal(size=(20, 4))
    V, c = rng.normal(size=(4, 2)).astype(dtype), rng.normal(size=2).astype(dtype)
    expected = outputs.undo(A @ V.astype(float) + c.astype(float))
    outputs.unfold_from_outputs(V, c)
    assert np.allclose(A @ V.astype(float) + c.astype(float), expected, rtol=bound, atol=bound)
