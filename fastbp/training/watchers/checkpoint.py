"""The checkpoint of a run: which run a file is of, where that goes on, and when it is written.

What belongs here: what the run and its file have to agree in. What does not: what a file holds and
how it is written (files/checkpoint.py).
"""

from __future__ import annotations

import json
import os
import threading
import time
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.files import checkpoint as files, replace
from fastbp.network import Network
from fastbp.optimizers import SLOTS
from fastbp.samples import Samples
from fastbp.schedules import Given
from fastbp.training.driver import Run
from fastbp.training.history import History
from fastbp.training.state import Position, RunIdentity, State
from fastbp.training.watchers.watcher import Watcher, states


class Checkpoint(Watcher):
    """The file of one run, written at most once in `every` seconds, and at its end."""

    by_slice = True

    def __init__(self, path: str | os.PathLike[str], every: float) -> None:
        self.path: Path = inputs.as_path(path, "checkpoint")
        self.every = every
        self.written_at = time.monotonic()
        self.stopped = False
        self.identity: dict[str, Any] = {}
        self.content = self._found()

    def _found(self) -> files.Content | None:
        """What is on file."""
        replace.destination(self.path, "checkpoint")
        return files.read(self.path) if self.path.exists() else None

    @property
    def seed(self) -> int | None:
        """Of the run on file."""
        return None if self.content is None else self.content.seed

    def history(self) -> History:
        """What the run on file recorded."""
        history = History()
        if self.content is None:
            return history
        history.extend(**{name: v.tolist() for name, v in self.content.columns.items()})
        history.seconds, history.samples = self.content.seconds, self.content.samples
        return history

    def identify(
        self,
        net: Network,
        run: RunIdentity,
        told: dict[str, Any],
        data: Samples,
        held_out: Iterable[Any] | None,
    ) -> None:
        """Say which run this is: what it is, is told and sees; refused where the file is another's.

        `told`: the options by name; `held_out`: the arrays of the validation data.
        """
        identity = {
            **net.architecture,
            "optimizer": repr(run.optimizer),
            **{name: getattr(run, name) for name in ("n", "batch_size", "shuffle", "seed")},
            **({"drop_last": True} if run.drop_last else {}),  # older files do not tell it
            **{name: _plain(value) for name, value in told.items()},
            "data": self._fingerprint(data.arrays()),
            "validation": None if held_out is None else self._fingerprint(held_out),
        }
        self.identity = identity = json.loads(json.dumps(identity))
        old = identity if self.content is None else self.content.identity
        for name in [*identity, *old]:
            if old.get(name) != identity.get(name):
                raise ValueError(
                    f"checkpoint: {self.path}: expected the same {name} as in that run, "
                    f"{old.get(name)}; got {identity.get(name)} (to train anew, remove the file)"
                )

    def _fingerprint(self, arrays: Iterable[Any]) -> Any:
        return arrays if isinstance(arrays, dict) else files.fingerprint(arrays)

    def start(
        self,
        run: RunIdentity,
        net: Network,
        watchers: list[Watcher],
        epochs: int,
        name: str = "epochs",
    ) -> tuple[State, int]:
        """Where the run on file stands, a new one where there is none, and what is left of epochs.

        Its arrays are held against the run, which `identify` found to be that of the file. `name`:
        of the argument that says how many epochs.
        """
        self.watchers, state = watchers, State(run)
        if self.content is not None:
            position, arrays = Position(*self.content.position), dict(self.content.arrays)
            shape, signs = (net.n_parameters,), SLOTS[run.optimizer.policy]
            kept = {name for watcher in watchers for name in watcher.keeps if name in arrays}
            kept |= {name for watcher in watchers for name in watcher.needs(position)}
            expected = {"slots": (len(signs), *shape), "parameters": shape}
            expected |= dict.fromkeys(sorted(kept), shape)
            files.check_arrays(self.path, arrays, expected, net.dtype, signs)
            slots, parameters = arrays.pop("slots"), arrays.pop("parameters")
            state = State(run, position, slots, parameters, arrays)
            self.stopped = self.content.stopped
        epoch, row = state.position[:2]
        if epoch + (row > 0) > epochs:
            warnings.warn(
                f"checkpoint: {self.path}: that run has made {epoch} epochs and {row} rows, more "
                f"than {name}={epochs}: the network is as it left it, and nothing is trained",
                stacklevel=5,
            )
        left = max(0, epochs - epoch)
        if left and not self.stopped:  # a finished run is only read
            self._check_destination()
        return state, left

    def _check_destination(self) -> None:
        replace.check_destination(self.path, "checkpoint")

    def before(self, run: Run) -> None:
        self.run = run
        if self.stopped:
            run.end_epoch = run.epoch

    @property
    def is_due(self) -> bool:
        return time.monotonic() - self.written_at >= self.every

    def after_slice(self, n_epochs: int, stop: bool) -> None:
        self.stopped = stop
        if self.is_due:
            self.write_now()

    def write_now(self) -> None:
        """Write how the run stands."""
        self.run.settle()
        state = self.run.state(None, states(self.watchers))
        self.write(state, self.run.net.parameters)

    def after(self, whole: bool) -> None:
        state = self.run.history.state
        if whole and self.run.samples and state is not None:
            last = self.run.net.parameters if state.parameters is None else state.parameters
            self.write(state, last)

    def write(self, state: State, parameters: np.ndarray) -> None:
        """Replace the file. `parameters`: those after the last step."""
        self.written_at = time.monotonic()
        files.write(self.path, self._content(state, parameters))
        self.written_at = time.monotonic()

    def _content(self, state: State, parameters: np.ndarray) -> files.Content:
        history = self.run.history
        assert state.slots is not None
        arrays = {"slots": state.slots, "parameters": parameters, **state.watched}
        return files.Content(
            self.identity,
            state.position,
            state.identity.seed,
            self.stopped,
            history.seconds,
            history.samples,
            dict(history),
            arrays,
        )


class Shared:
    """The file of several runs, each of which hands over how it stands: written whole."""

    def __init__(self, path: str | os.PathLike[str], every: float) -> None:
        self.path: Path = inputs.as_path(path, "checkpoint")
        self.every = every
        replace.destination(self.path, "checkpoint")
        self.contents = files.read_many(self.path) if self.path.exists() else {}
        self.written_at = time.monotonic()
        self.lock, self.is_new = threading.Lock(), False
        self.fingerprints: dict[tuple[int, ...], int] = {}

    def part(self, index: int) -> Part:
        """The checkpoint of one of the runs."""
        return Part(self, index)

    def fingerprint(self, arrays: tuple[Any, ...]) -> int:
        """As `files.fingerprint`, of arrays that several runs share once."""
        key = tuple(map(id, arrays))
        if key not in self.fingerprints:
            self.fingerprints[key] = files.fingerprint(arrays)
        return self.fingerprints[key]

    def begin(self) -> None:
        """The runs are about to begin."""

    def after(self, outcome: Any) -> None:
        """One has ended, and handed over how it stands."""

    def end(self) -> None:
        """All have."""
        if self.is_new:
            self.write()

    def write(self) -> None:
        """Replace the file."""
        with self.lock:
            self.is_new = False
            self.written_at = time.monotonic()
            files.write_many(self.path, self.contents)
            self.written_at = time.monotonic()


class Part(Checkpoint):
    """One run's part of a shared file."""

    def __init__(self, shared: Shared, index: int) -> None:
        self.shared, self.index, self.path = shared, index, shared.path
        self.identity = {}
        self.every = shared.every
        self.written_at = time.monotonic()
        self.content = shared.contents.get(index)
        self.stopped = False

    def _fingerprint(self, arrays: Iterable[Any]) -> Any:
        whole = tuple(arrays)
        return [self.shared.fingerprint(whole[:4]), files.fingerprint(whole[4:])]

    def write(self, state: State, parameters: np.ndarray) -> None:
        """Hand over how this run stands; replace the file if that is due."""
        content = self._content(state, parameters)
        # copies: the run goes on while others write the file
        own = {name: array.copy() for name, array in content.arrays.items()}
        with self.shared.lock:
            self.shared.contents[self.index] = content._replace(arrays=own)
            self.shared.is_new = True
        self.written_at = time.monotonic()
        if time.monotonic() - self.shared.written_at >= self.every:
            self.shared.write()


def _plain(value: Any) -> Any:
    if isinstance(value, Given) or callable(value):
        return "a callable"  # nobody can tell whether two do the same
    return value if value is None or isinstance(value, float) else repr(value)
