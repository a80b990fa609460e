"""Checkpoint files: all that a run of `fit` needs to go on with the same bits.

What belongs here: what the file holds, and the refusal of files of other runs. What does not:
writing that leaves the old file whole (persistence.py), when a run ends (training.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import time
import warnings
import zlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from fastbp import inputs, persistence
from fastbp.history import History
from fastbp.network import Network
from fastbp.optimizers import SLOTS, Optimizer
from fastbp.run import State

FORMAT = "fastbp checkpoint"
VERSION = 1
_FINGERPRINT_BYTES = 1 << 26  # of an array are read at most: some 50 ms


def fingerprint(arrays: Iterable[np.ndarray | None]) -> int:
    """A number that tells data apart: of large arrays, rows at equal distances are read."""
    found = 0
    for array in arrays:
        if array is not None:
            rows = array[:: max(1, array.nbytes // _FINGERPRINT_BYTES)]
            head = f"{array.shape} {array.dtype}".encode()
            found = zlib.crc32(np.ascontiguousarray(rows).data, zlib.crc32(head, found))
        else:
            found = zlib.crc32(b"none", found)
    return found


class Checkpoint:
    """The file of one run, written at most once in `every` seconds."""

    def __init__(self, path: str | os.PathLike[str], every: float) -> None:
        self.path = inputs.as_path(path, "checkpoint")
        self.every = every
        self.written_at = time.monotonic()
        self.identity: dict[str, Any] | None = None  # what the run was told to do, by name
        persistence.destination(self.path, "checkpoint")

    def read(self) -> History | None:
        """The run on file, with its state; None where there is no file yet."""
        import safetensors

        if not self.path.exists():
            return None
        try:
            description = persistence.read_description(self.path, FORMAT, VERSION)
            with safetensors.safe_open(self.path, framework="numpy") as file:
                for name in (names := list(file.keys())):
                    kind = file.get_slice(name).get_dtype()
                    _fits(kind in ("F32", "F64"), repr(name), "of dtype F32 or F64", kind)
                tensors = {name: persistence.tensor(file, name) for name in names}
            self.identity, history = _identity(description), _history(description, tensors)
            return history
        except safetensors.SafetensorError as error:
            raise ValueError(f"checkpoint: {self.path}: truncated or damaged: {error}") from None
        except (ValueError, TypeError, RecursionError) as error:
            raise ValueError(f"checkpoint: {self.path}: {error}") from None
        except MemoryError as error:
            raise MemoryError(f"checkpoint: {self.path}: does not fit in memory: {error}") from None

    def identify(self, identity: dict[str, Any]) -> None:
        """Say which run this is; refused where the file is of another."""
        identity = json.loads(json.dumps(identity))
        old = identity if self.identity is None else self.identity
        for name in [*identity, *old]:
            if old.get(name) != identity.get(name):
                raise ValueError(
                    f"checkpoint: {self.path}: expected the same {name} as in that run, "
                    f"{old.get(name)}; got {identity.get(name)} (to train anew, remove the file)"
                )
        self.identity = identity

    def start(
        self, resume: History | None, new: State, net: Network, epochs: int
    ) -> tuple[State, int]:
        """`new`, standing where the run on file ended, and what is left of `epochs` in all."""
        if resume is not None:
            assert resume._state is not None
            self._check(resume._state, new, net)
            new = new.taken_up(resume._state)
        epoch, row = new.position[:2]
        if epoch + (row > 0) > epochs:
            warnings.warn(
                f"checkpoint: {self.path}: that run has made {epoch} epochs and {row} rows, more "
                f"than epochs={epochs}: the network is as it left it, and nothing is trained",
                stacklevel=4,
            )
        left = max(0, epochs - epoch)
        if left and not new.stopped:  # a finished run is only read
            persistence.check_destination(self.path, "checkpoint")
        return new, left

    def _check(self, old: State, new: State, net: Network) -> None:
        """Refuse arrays that do not fit the run, which `identify` found to be that of the file."""
        shape = (net.n_parameters,)
        assert self.identity is not None
        signs = SLOTS[new.optimizer.policy]
        expected = {"slots": (len(signs), *shape), "parameters": shape}
        if self.identity.get("ema") is not None and old.position[2]:
            expected["average"] = shape
        if self.identity.get("early_stopping") is not None and old.best is not None:
            expected["best"] = shape
        names = ("slots", "parameters", "average", "best")
        arrays = {name: a for name in names if (a := getattr(old, name)) is not None}
        try:
            for name in expected:
                array = _taken(arrays, name, expected[name], net.dtype)
                _fits(
                    bool(np.isfinite(array).all()),
                    repr(name),
                    "finite throughout",
                    "NaN or infinity",
                )
                for slot, sign in zip(array, signs if name == "slots" else "", strict=False):
                    fits = sign == "~" or bool((slot >= 0).all())
                    _fits(fits, repr(name), "squares, none below 0", "one below")
            _fits(not arrays, "arrays that fit its description", "no further ones", list(arrays))
        except ValueError as error:
            raise ValueError(f"checkpoint: {self.path}: {error}") from None

    def is_due(self) -> bool:
        """Whether the last writing is long enough ago."""
        return time.monotonic() - self.written_at >= self.every

    def write(self, state: State, parameters: np.ndarray, history: History) -> None:
        """Replace the file. `parameters`: those after the last step.

        Raises
        ------
        OSError
            The disk is full, ...: the file is as it was.
        """
        import safetensors.numpy

        self.written_at = time.monotonic()
        description = {
            "format": FORMAT,
            "version": VERSION,
            "identity": self.identity,
            "position": state.position,
            "seed": state.seed,
            "stopped": state.stopped,
            "seconds": history.seconds,
            "samples": history.samples,
            "columns": list(history),
        }
        tensors = {
            name: value
            for name in ("slots", "average", "best")
            if (value := getattr(state, name)) is not None
        }
        tensors["parameters"] = parameters
        tensors |= {f"history.{name}": values for name, values in history.items()}
        metadata = {FORMAT: json.dumps(description, allow_nan=False)}
        try:
            path = persistence.destination(self.path, "checkpoint")
            # what runs that were killed in the middle of a writing have left
            for name in os.listdir(path.parent):
                if re.fullmatch(rf"\.{re.escape(path.name)}\.[0-9a-f]{{16}}", name):
                    with contextlib.suppress(OSError):
                        os.unlink(path.parent / name)
            persistence.replace(self.path, safetensors.numpy.save(tensors, metadata), "checkpoint")
            self.written_at = time.monotonic()
        except OSError as error:
            told = f"checkpoint: not written, the file is as it was: {error.strerror}"
            raise OSError(error.errno, told, str(self.path)) from error


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
    for name in ("n", "batch_size"):
        _fits(_count(identity.get(name), name) > 0, name, "a number above 0", 0)
    return identity


def _history(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> History:
    """What the description and its arrays say, which must agree; of which run, `identify` asks."""
    identity, at = description["identity"], description.get("position")
    _fits(isinstance(at, list) and len(at) == 5, "'position'", "5 numbers", at)
    assert at is not None
    position = (
        _count(at[0], "epoch"),
        _count(at[1], "row", identity["n"]),
        _count(at[2], "steps"),
        _number(at[3], "sum of losses", -sys.float_info.max),
        _number(at[4], "sum of weights"),
    )
    epoch, row, t, *sums = position
    n, m = identity["n"], identity["batch_size"]
    fits = row % m == 0 and t == epoch * -(-n // m) + row // m and (row > 0 or sums == [0.0, 0.0])
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
        columns[name] = column.tolist()
    history = History()
    history._extend(**columns)
    history.seconds = _number(description.get("seconds"), "'seconds'")
    history.samples = _count(description.get("samples"), "'samples'")
    stopped = description.get("stopped")
    _fits(isinstance(stopped, bool), "'stopped'", "true or false", stopped)
    slots, parameters = tensors.pop("slots", None), tensors.pop("parameters", None)
    average, best = tensors.pop("average", None), tensors.pop("best", None)
    _fits(not tensors, "arrays that fit its description", "no further ones", sorted(tensors))
    _fits(history.epochs == epoch, "'columns'", f"'loss' of {epoch} epochs", names)
    history._state = State(
        position,
        slots,
        _count(description.get("seed"), "'seed'", 1 << 64),
        Optimizer(0.0),  # `identify` has compared what the run was told
        n,
        m,
        str(identity.get("shuffle")),
        parameters,
        average,
        best,
        bool(stopped),
    )
    return history


def _taken(
    arrays: dict[str, np.ndarray], name: str, shape: tuple[int, ...], dtype: np.dtype[Any]
) -> np.ndarray:
    array = arrays.pop(name, None)
    found = None if array is None else (array.shape, str(array.dtype))
    told = "an array that fits its description"
    _fits(found == (shape, str(dtype)), repr(name), f"{told}: {shape} of {dtype}", found)
    assert array is not None
    return array
