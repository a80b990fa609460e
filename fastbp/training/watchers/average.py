"""The moving average of the parameters: `ema` of fit.

What belongs here: that the network is judged by it and ends with it. What does not: how it is
formed (kernels/loop/steps.pxi), what is judged (validation.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastbp.training.driver import Run
from fastbp.training.state import Position
from fastbp.training.watchers.watcher import Event, Watcher


class Average(Watcher):
    """Has the network end with the average that a run keeps, and a resumed run go on with it."""

    keeps = ("average",)

    def needs(self, position: Position) -> tuple[str, ...]:
        return self.keeps if position.step else ()

    def before(self, run: Run) -> None:
        self.run = run

    def ends_with(self, finished: bool) -> np.ndarray | None:
        return self.run.average

    def state(self) -> dict[str, np.ndarray]:
        average = self.run.average
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
