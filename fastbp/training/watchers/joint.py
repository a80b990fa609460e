"""Watchers of a run that several ranks make together: validation and the checkpoint.

What belongs here: what a watcher does otherwise where data lie on several ranks. What does not: the
watchers themselves (validation.py, checkpoint.py), how ranks agree (training/reduce.py).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from fastbp import metrics
from fastbp.files import checkpoint as files
from fastbp.samples import Samples, mean_cost
from fastbp.sparse import Lists
from fastbp.training.data_parallel import Share
from fastbp.training.reduce import Ranks
from fastbp.training.state import State
from fastbp.training.watchers.callbacks import Callbacks
from fastbp.training.watchers.checkpoint import Checkpoint
from fastbp.training.watchers.validation import Validation
from fastbp.training.watchers.watcher import Event, attach

MEANS = ("accuracy", "mse", "mae")  # over samples: a mean of the ranks' means


class JointValidation(Validation):
    """Loss and metrics of the samples of all ranks; an event has the outputs of a rank's own."""

    def __init__(self, share: Share, data: Samples, recorded: Any) -> None:
        super().__init__(data, recorded)
        self.share, self.ranks = share, share.ranks

    @property
    def takes_several(self) -> bool:
        return False

    def before(self, run: Any) -> None:
        super().before(run)
        n = len(self.share.numbers)
        self.weight = float(n if self.known.weight is None else self.known.weight.sum(dtype="f8"))
        if not n:
            self.weight = 0.0
        # where a target is not known, a column's mean is over fewer samples
        self.summed = [
            name
            for name, own in self.metrics.items()
            if own is None and name in MEANS and not self.data.missing
        ]
        self.gathered = {name: own for name, own in self.metrics.items() if name not in self.summed}
        if self.gathered:
            self.all_known = self._of_all()

    def _of_all(self) -> Samples:
        """What is known of the samples of all ranks."""
        known = self.known
        empty = np.empty((self.share.n, 0))
        dense, labels, weight = map(self._whole, known[1:4])
        return Samples(empty, dense, labels, weight, known.missing)

    def _whole(self, own: np.ndarray | None) -> np.ndarray | None:
        """Rows of all ranks, in order."""
        if own is None:
            return None
        numbers = self.share.numbers
        parts = self.ranks.gather((numbers, own[: len(numbers)]))
        whole = np.empty((self.share.n, *own.shape[1:]), own.dtype)
        for of_rank, rows in parts:
            whole[of_rank] = rows
        return whole

    def _values(self, event: Event) -> dict[str, float]:
        net, data = event.network, self.known
        (outputs,), (C,) = net._outputs_and_costs(self.data, net.parameters[None])
        own = [0.0] * (1 + len(self.summed))
        if self.weight:
            found = metrics.evaluate(net, data, outputs, dict.fromkeys(self.summed))
            own = [mean_cost(C, data), *found.values()]
        loss, *means = self.ranks.mean(own, self.weight)
        net._warn_unless_finite("loss", np.array(loss))
        values = dict(zip(self.summed, means, strict=True))
        if self.gathered:
            whole = self._whole(outputs)
            assert whole is not None
            net._warn_unless_finite("predict", whole)
            values |= metrics.evaluate(net, self.all_known, whole, self.gathered)
            if any(self.gathered.values()):  # who knows what a user's own may come to elsewhere
                values = self.ranks.share(values)
        outputs = outputs[: len(self.share.numbers)]
        outputs.flags.writeable = False
        attach(event, outputs=outputs)
        return {"loss": loss} | {name: values[name] for name in self.metrics}


class JointCallbacks(Callbacks):
    """Calls a rank's own where any rank has some, for all look at the parameters afterwards."""

    def __init__(self, callbacks: list[Callable[[Event], object]], by_step: bool) -> None:
        super().__init__(callbacks)
        self.by_step = by_step


class JointCheckpoint(Checkpoint):
    """The file of a run on several ranks: the first one's, for which the others wait.

    It is that of one process: which rank has which rows is no part of it.

    Attributes
    ----------
    shares : list of Share
        Of the samples whose arrays `identify` is given, in that order.
    """

    shares: list[Share]

    def __init__(self, path: str | os.PathLike[str], every: float, ranks: Ranks) -> None:
        self.ranks = ranks
        super().__init__(path, every)

    def _found(self) -> files.Content | None:
        return self.ranks.share(super()._found() if self.ranks.is_first else None)

    def _fingerprint(self, arrays: Iterable[Any]) -> int:
        share, found = self.shares.pop(0), tuple(arrays)
        if any(isinstance(array, Lists) for array in found):
            raise TypeError("checkpoint: expected dense X where several ranks train; got sparse X")
        own, nothing = files.part_of_fingerprint(found, share.numbers, share.n)
        whole = nothing
        for part in self.ranks.gather(own ^ nothing):
            whole ^= part
        return whole

    def _check_destination(self) -> None:
        if self.ranks.is_first:
            super()._check_destination()

    def after_slice(self, n_epochs: int, stop: bool) -> None:
        due, stopped = self.ranks.agree("write", self.ranks.is_first and self.is_due, stop)
        self.stopped = bool(stopped)
        if due:
            self.write_now()

    def write(self, state: State, parameters: np.ndarray) -> None:
        if self.ranks.told is None:
            self.ranks.together(self._write, state, parameters)
        else:  # the run has ended: nobody waits
            self._write(state, parameters)

    def _write(self, state: State, parameters: np.ndarray) -> None:
        if self.ranks.is_first:
            super().write(state, parameters)
