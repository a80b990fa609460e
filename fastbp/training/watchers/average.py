"""The moving average of the parameters: `ema` of fit.

What belongs here: how it is formed, and that the network is judged by it and ends with it. What
does not: what is judged (validation.py).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np

from fastbp.training.driver import Run
from fastbp.training.state import Position
from fastbp.training.watchers.watcher import Event, Watcher, attach


class Average(Watcher):
    """average <- average + (1 - decay) (theta - average), from theta after the first step on."""

    by_step = True
    keeps = ("average",)

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self.average: np.ndarray | None = None

    def needs(self, position: Position) -> tuple[str, ...]:
        return self.keeps if position.step else ()

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        self.average = state.get("average")

    def before(self, run: Run) -> None:
        self.run = run
        run.average = self.average
        # (steps made, the average after them): one store, which Ctrl-C cannot come in between
        self.taken = (run.synced.step, self.average)

    def _take(self) -> None:
        """Let the parameters after the last step enter the average."""
        step, average = self.taken
        if step != self.run.synced.step:
            theta = self.run.net.parameters
            if average is None:
                average = theta.copy()
            else:
                average = average + theta.dtype.type(1 - self.decay) * (theta - average)
            self.taken = (self.run.synced.step, average)
        self.run.average = average

    def after_step(self, event: Event) -> None:
        self._take()
        attach(event, average=self.run.average)

    def ends_with(self, finished: bool) -> np.ndarray | None:
        self._take()  # of a step that Ctrl-C let nobody see
        return self.run.average

    def state(self) -> dict[str, np.ndarray]:
        average = self.taken[1]
        return {} if average is None else {"average": average}


@contextmanager
def judged(event: Event) -> Iterator[None]:
    """Have the network hold what it is judged by: the average, where there is one."""
    parameters = event.network.parameters
    if event.average is None:
        yield
        return
    trained = parameters.copy()
    parameters[...] = event.average
    try:
        yield
    finally:
        parameters[...] = trained
