"""Early stopping: the end of a run that no longer improves, and its best parameters.

What belongs here: what is kept of the best epoch. What does not: what an improvement is
(fastbp/stopping.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastbp.stopping import Best, EarlyStopping
from fastbp.training.watchers.watcher import Epochs, Event, Watcher


class Stopping(Watcher):
    """Ends the run when the watched value no longer improves, with the best epoch's parameters."""

    by_epoch = True
    keeps = ("best",)

    def __init__(self, stopping: EarlyStopping) -> None:
        self.monitor = stopping.monitor
        self.rule = Best(
            self.monitor, stopping.mode, stopping.patience, stopping.min_delta, stopping.ties
        )
        self.best: np.ndarray | None = None

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.best = state.get("best")

    def before(self, run: Any) -> None:
        self.run, history = run, run.history
        if self.best is None or self.monitor not in history:
            self.best = None
            return
        # of a resumed run: what it recorded says how long it waited
        for value in history[self.monitor][history.began(self.monitor) :]:
            self._improves(float(value))

    def after_epoch(self, event: Event) -> bool:
        self.run.settle()
        if self._improves(event.history.latest(self.monitor)):
            judged = event.network.parameters if event.average is None else event.average
            self.best = judged.copy()
        return self.rule.has_waited

    @property
    def takes_several(self) -> bool:
        return self.monitor == "loss" or self.monitor.startswith("validation_")

    def after_several(self, epochs: Epochs) -> int | None:
        best, end = -1, None
        for place, value in enumerate(epochs.values[self.monitor]):
            if self._improves(value):
                best = place
            if self.rule.has_waited:
                end = place + 1
                break
        if best >= 0:
            self.best = epochs.parameters[best].copy()
        return end

    def _improves(self, value: float) -> bool:
        if self.rule.has_waited:  # whoever goes on all the same is given as many epochs again
            self.rule.waited = 0
        return self.rule.improves(value)

    def ends_with(self, finished: bool) -> np.ndarray | None:
        return self.best if finished else None

    def state(self) -> dict[str, np.ndarray]:
        return {} if self.best is None else {"best": self.best}
