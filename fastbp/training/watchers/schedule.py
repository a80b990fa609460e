"""The learning rate's schedule.

What belongs here: when the next rate is asked for. What does not: rates (schedules.py), what a step
does with one (kernels/update.pxd).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastbp.stopping import NOT_RECORDED
from fastbp.training.driver import Run
from fastbp.training.history import History
from fastbp.training.watchers.watcher import Event, Watcher

if TYPE_CHECKING:
    from fastbp import schedules


class Schedule(Watcher):
    """Sets the rate of each epoch, and ends the run where the schedule has no more."""

    by_epoch = True

    def __init__(
        self, schedule: schedules.Schedule, start: float, end_epoch: int, n: int, history: History
    ) -> None:
        self.watched, self.end_epoch = schedule.monitor or "loss", end_epoch
        self.rates = schedule.rates(start, end_epoch, n)
        # of the first epoch that is not on record: what is recorded says how it came to it
        rate = next(self.rates)
        assert rate is not None
        self.rate = rate
        began = history.began(self.watched)
        recorded = history[self.watched].tolist() if began < history.epochs else []
        for value in [NOT_RECORDED] * began + recorded[began:]:
            found = self.rates.send(value)
            self.rate = self.rate if found is None else found

    def before(self, run: Run) -> None:
        self.run = run
        run.rate = self.rate

    def after_epoch(self, event: Event) -> bool:
        if event.epoch + 1 >= self.end_epoch:
            return False
        rate = self.rates.send(event.history.latest(self.watched))
        if rate is not None:
            self.run.rate = rate
        return rate is None
