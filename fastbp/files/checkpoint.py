"""Checkpoint files: all that a run of `fit` needs to go on with the same bits.

What belongs here: what such a file holds, and the refusal of one that contradicts itself. What does
not: writing that leaves the old file whole (replace.py), which run it is of and when it is
written (training/watchers/checkpoint.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fastbp.files import model, replace
from fastbp.sparse import Lists

FORMAT = "fastbp checkpoint"
FORMAT_OF_MANY = "fastbp checkpoint of many"
VERSION = 1
_FINGERPRINT_BYTES = 1 << 26  # of an array are read at most: some 50 ms


class Content(NamedTuple):
    """What a file holds.

    `identity`: what the run was told to do, by name; `position`: epoch, row, steps, sum of losses,
    sum of weights; `columns`: what it recorded; `arrays`: slots, parameters and what watchers keep.
    """

    identity: dict[str, Any]
    position: tuple[int, int, int, float, float]
    seed: int
    stopped: bool  # before its last epoch, because something asked for it
    seconds: float
    samples: int
    columns: dict[str, np.ndarray]
    arrays: dict[str, np.ndarray]


def fingerprint(arrays: Iterable[np.ndarray | Lists | None]) -> int:
    """A number that tells data apart: of large arrays, rows at equal distances are read."""
    found = 0
    for array in (part for whole in arrays for part in _parts(whole)):
        if array is not None:
            rows = array[:: max(1, array.nbytes // _FINGERPRINT_BYTES)]
            head = f"{array.shape} {array.dtype}".encode()
            found = zlib.crc32(np.ascontiguousarray(rows).data, zlib.crc32(head, found))
        else:
            found = zlib.crc32(b"none", found)
    return found


def part_of_fingerprint(
    arrays: Iterable[np.ndarray | None], numbers: np.ndarray, n: int
) -> tuple[int, int]:
    """`fingerprint` of n rows, all 0 but those of these numbers, which are the arrays'; and all 0.

    Of rows that lie in several places, each with others, that of all is the second, to which the
    bits are added (xor) in which the first of each place differs from it: a cyclic redundancy check
    is linear.
    """
    own = nothing = 0
    for array in arrays:
        if array is None:
            own, nothing = zlib.crc32(b"none", own), zlib.crc32(b"none", nothing)
            continue
        shape = array.shape[1:]
        apart = max(1, n * (array.nbytes // len(array)) // _FINGERPRINT_BYTES)
        rows = np.zeros((-(-n // apart), *shape), array.dtype)
        head = f"{(n, *shape)} {array.dtype}".encode()
        nothing = zlib.crc32(rows.data, zlib.crc32(head, nothing))
        here = np.flatnonzero(numbers % apart == 0)
        rows[numbers[here] // apart] = array[here]
        own = zlib.crc32(rows.data, zlib.crc32(head, own))
    return own, nothing


def _parts(array: np.ndarray | Lists | None) -> tuple[np.ndarray | None, ...]:
    return array.arrays() if isinstance(array, Lists) else (array,)


def read(path: Path) -> Content:
    """What is on file."""
    return _read(path, FORMAT, _content)


def read_many(path: Path) -> dict[int, Content]:
    """What is on file of several runs, by their numbers."""
    return _read(path, FORMAT_OF_MANY, _contents)


def _read(path: Path, form: str, content_of: Callable[..., Any]) -> Any:
    import safetensors

    try:
        description = model.read_description(path, form, VERSION)
        with safetensors.safe_open(path, framework="numpy") as file:
            for name in (names := list(file.keys())):
                kind = file.get_slice(name).get_dtype()
                _fits(kind in ("F32", "F64"), repr(name), "of dtype F32 or F64", kind)
            tensors = {name: model.read_tensor(file, name) for name in names}
        return content_of(description, tensors)
    except safetensors.SafetensorError as error:
        raise ValueError(f"checkpoint: {path}: truncated or damaged: {error}") from None
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"checkpoint: {path}: {error}") from None
    except MemoryError as error:
        raise MemoryError(f"checkpoint: {path}: does not fit in memory: {error}") from None


def check_arrays(
    path: Path,
    arrays: dict[str, np.ndarray],
    expected: dict[str, tuple[int, ...]],
    dtype: np.dtype[Any],
    signs: str,
) -> None:
    """Refuse arrays other than those `expected`, with their shapes.

    signs: one character a slot, "~" where it may be below 0.
    """
    arrays = dict(arrays)
    try:
        for name in expected:
            array = _taken(arrays, name, expected[name], dtype)
            finite = bool(np.isfinite(array).all())
            _fits(finite, repr(name), "finite throughout", "NaN or infinity")
            for slot, sign in zip(array, signs if name == "slots" else "", strict=False):
                fits = sign == "~" or bool((slot >= 0).all())
                _fits(fits, repr(name), "squares, none below 0", "one below")
        _fits(not arrays, "arrays that fit its description", "no further ones", sorted(arrays))
    except ValueError as error:
        raise ValueError(f"checkpoint: {path}: {error}") from None


def write(path: Path, content: Content) -> None:
    """Replace the file.

    Raises
    ------
    OSError
        The disk is full, ...: the file is as it was.
    """
    _write(path, FORMAT, *_described(content))


def write_many(path: Path, contents: Mapping[int, Content]) -> None:
    """Replace the file by one of several runs, as `write` does."""
    described: dict[str, Any] = {}
    arrays: dict[str, np.ndarray] = {}
    for i, content in contents.items():
        described[str(i)], own = _described(content)
        arrays |= {f"{i}.{name}": array for name, array in own.items()}
    _write(path, FORMAT_OF_MANY, {"runs": described}, arrays)


def _described(content: Content) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    description = content._asdict()
    del description["arrays"]
    description["columns"] = list(content.columns)
    columns = {f"history.{name}": values for name, values in content.columns.items()}
    return description, content.arrays | columns


def _write(
    path: Path, form: str, description: dict[str, Any], arrays: dict[str, np.ndarray]
) -> None:
    import safetensors.numpy

    description = {"format": form, "version": VERSION} | description
    metadata = {form: json.dumps(description, allow_nan=False)}
    try:
        target = replace.destination(path, "checkpoint")
        # what runs that were killed in the middle of a writing have left
        for name in os.listdir(target.parent):
            if re.fullmatch(rf"\.{re.escape(target.name)}\.[0-9a-f]{{16}}", name):
                with contextlib.suppress(OSError):
                    os.unlink(target.parent / name)
        replace.replace(path, safetensors.numpy.save(arrays, metadata), "checkpoint")
    except OSError as error:
        told = f"checkpoint: not written, the file is as it was: {error.strerror}"
        raise OSError(error.errno, told, str(path)) from error


def _fits(fits: bool, name: str, expected: str, found: object) -> None:
    if not fits:
        raise ValueError(f"expected {name}, {expected}; got {found!r:.100}")


def _number(value: Any, name: str, least: float = 0.0) -> float:
    """A number of JSON that a double holds; 10**400 is one that it does not."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    fits = is_number and least <= value <= sys.float_info.max
    _fits(fits, name, f"a finite number of at least {least:g}", value)
    return float(value)


def _count(value: Any, name: str, below: int = 1 << 63) -> int:
    _fits(type(value) is int and 0 <= value < below, name, "a whole number", value)
    return int(value)


def _identity(description: dict[str, Any]) -> dict[str, Any]:
    identity = description.get("identity")
    _fits(isinstance(identity, dict), "'identity'", "a dict", identity)
    assert identity is not None
    of_chunks = isinstance(identity.get("data"), dict)
    for name in ("n", "batch_size"):  # n is 0 where chunks do not tell it
        least = 0 if name == "n" and of_chunks else 1
        _fits(_count(identity.get(name), name) >= least, name, "a number above 0", 0)
    return identity


def _content(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> Content:
    """What the description and its arrays say, which must agree."""
    identity, at = _identity(description), description.get("position")
    _fits(isinstance(at, list) and len(at) == 5, "'position'", "5 numbers", at)
    assert at is not None
    position = (
        _count(at[0], "epoch"),
        _count(at[1], "row", identity["n"] or 1 << 63),
        _count(at[2], "steps"),
        _number(at[3], "sum of losses", -sys.float_info.max),
        _number(at[4], "sum of weights"),
    )
    epoch, row, t, *sums = position
    n, m = identity["n"], identity["batch_size"]
    steps = n // m if identity.get("drop_last") is True else -(-n // m)
    fits = row % m == 0
    if n:
        fits = fits and row < steps * m and t == epoch * steps + row // m
    else:
        fits = fits and t >= epoch + row // m
    fits = fits and (row > 0 or sums == [0.0, 0.0])
    _fits(fits, "'position'", f"one of batches of {m} of {n} samples", at)
    names = description.get("columns")
    fits = isinstance(names, list) and all(isinstance(name, str) for name in names)
    _fits(fits, "'columns'", "names", names)
    assert names is not None
    columns = {}
    for name in sorted(names, key="loss".__ne__):  # which says how many epochs there are
        column = _taken(tensors, f"history.{name}", (epoch,), np.dtype(np.float64))
        if name in ("loss", "learning_rate", "seconds"):  # others may be NaN
            is_finite = bool(np.isfinite(column).all())
            _fits(is_finite, f"'history.{name}'", "finite throughout", "NaN or infinity")
        columns[name] = column
    stopped = description.get("stopped")
    _fits(isinstance(stopped, bool), "'stopped'", "true or false", stopped)
    n_recorded = len(columns.get("loss", ()))
    _fits(n_recorded == epoch, "'columns'", f"'loss' of {epoch} epochs", names)
    return Content(
        identity,
        position,
        _count(description.get("seed"), "'seed'", 1 << 64),
        bool(stopped),
        _number(description.get("seconds"), "'seconds'"),
        _count(description.get("samples"), "'samples'"),
        columns,
        tensors,
    )


def _contents(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> dict[int, Content]:
    """Of several runs."""
    runs = description.get("runs")
    fits = isinstance(runs, dict) and all(key.isdecimal() for key in runs)
    _fits(fits, "'runs'", "descriptions by number", runs)
    assert runs is not None
    of_each: dict[str, dict[str, np.ndarray]] = {key: {} for key in runs}
    for name, tensor in tensors.items():
        key, _, own = name.partition(".")
        _fits(key in runs, repr(name), "a name that begins with a run's number", key)
        of_each[key][own] = tensor
    found = {}
    for key, run in runs.items():
        _fits(isinstance(run, dict), f"'runs' {key}", "a description", run)
        found[int(key)] = _content(run, of_each[key])
    return found


def _taken(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    array = arrays.pop(name, None)
    found = None if array is None else (array.shape, str(array.dtype))
    told = "an array that fits its description"
    _fits(found == (shape, str(dtype)), repr(name), f"{told}: {shape} of {dtype}", found)
    assert array is not None
    return array
