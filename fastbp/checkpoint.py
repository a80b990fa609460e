"""Checkpoint files: all that a run of `fit` needs to go on with the same bits.

What belongs here: what the file holds, and the refusal of files of other runs. What does not:
writing that leaves the old file whole (persistence.py), when a run ends (training.py).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import persistence
from fastbp.history import History
from fastbp.optimizers import Optimizer
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
        if not isinstance(path, (str, os.PathLike)):
            raise TypeError(f"checkpoint: expected the name of a file; got {path!r}")
        self.path = Path(os.fsdecode(path))
        self.every = every
        self.written_at = time.monotonic()
        self.identity: dict[str, Any] | None = None  # what the run was told to do, by name
        if self.path.is_dir():
            raise IsADirectoryError(f"checkpoint: expected a file; {self.path} is a folder")
        if not self.path.parent.is_dir():
            raise FileNotFoundError(f"checkpoint: there is no folder {self.path.parent}")

    def read(self) -> History | None:
        """The run on file, with its state; None where there is no file yet."""
        import safetensors

        if not self.path.exists():
            return None
        try:
            description = persistence.read_description(self.path, FORMAT, VERSION)
            with safetensors.safe_open(self.path, framework="numpy") as file:
                tensors = {name: file.get_tensor(name) for name in list(file.keys())}
            self.identity = description["identity"]
            return _history(description, tensors)
        except safetensors.SafetensorError as error:
            raise ValueError(f"checkpoint: {self.path}: truncated or damaged: {error}") from None
        except (KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"checkpoint: {self.path}: its description does not fit: {error!r}"
            ) from None
        except ValueError as error:
            raise ValueError(f"checkpoint: {self.path}: {error}") from None

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
        # what runs that were killed in the middle of a writing have left
        for name in os.listdir(self.path.parent):
            if re.fullmatch(rf"\.{re.escape(self.path.name)}\.[0-9a-f]{{16}}", name):
                with contextlib.suppress(OSError):
                    os.unlink(self.path.parent / name)
        try:
            persistence.replace(self.path, safetensors.numpy.save(tensors, metadata))
        except OSError as error:
            told = f"checkpoint: not written, the file is as it was: {error.strerror}"
            raise OSError(error.errno, told, str(self.path)) from error
        self.written_at = time.monotonic()


def _history(description: dict[str, Any], tensors: dict[str, np.ndarray]) -> History:
    history = History()
    history._extend(
        **{name: tensors.pop(f"history.{name}").tolist() for name in description["columns"]}
    )
    history.seconds, history.samples = float(description["seconds"]), int(description["samples"])
    epoch, row, t, loss, weight = description["position"]
    position = int(epoch), int(row), int(t), float(loss), float(weight)
    identity = description["identity"]
    parameters, slots = tensors.pop("parameters"), tensors.pop("slots")
    average, best = tensors.pop("average", None), tensors.pop("best", None)
    dtype, shape = np.dtype(identity["dtype"]), parameters.shape
    arrays = [a for a in (parameters, *slots, average, best) if a is not None]
    is_whole = all(a.dtype == dtype and a.shape == shape for a in arrays)
    is_whole = is_whole and bool(np.isfinite(parameters).all())
    if tensors or not is_whole or history.epochs != epoch or not 0 <= row < identity["n"]:
        raise ValueError("expected arrays that fit its description; got others")
    history._state = State(
        position,
        slots,
        int(description["seed"]),
        Optimizer(0.0),  # `identify` has compared what the run was told
        identity["n"],
        identity["batch_size"],
        identity["shuffle"],
        parameters,
        average,
        best,
        bool(description["stopped"]),
    )
    return history
