"""Schedules of the learning rate, weight decay and dropout.

What belongs here: when the next rate is asked for, and what asks for one each step. What does not:
rates (schedules.py), how they come to the engine (driver.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastbp.stopping import NOT_RECORDED
from fastbp.training.driver import Run
from fastbp.training.history import History
from fastbp.training.request import Course
from fastbp.training.watchers.watcher import Event, Watcher

if TYPE_CHECKING:
    from fastbp import schedules


FORESEEN = 1 << 14  # some 0.3 ms


class Schedule(Watcher):
    """Sets the rate of each epoch, and ends the run where the schedule has no more."""

    by_epoch = True

    def __init__(
        self,
        name: str,
        schedule: schedules.Schedule,
        start: float,
        end_epoch: int,
        n: int,
        history: History,
    ) -> None:
        self.name, self.watched, self.end_epoch = name, schedule.monitor or "loss", end_epoch
        foresee(name, schedule, start, end_epoch, n)
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
        run.set(self.name, check_range(self.name, self.rate))

    def after_epoch(self, event: Event) -> bool:
        if event.epoch + 1 >= self.end_epoch:
            return False
        rate = self.rates.send(event.history.latest(self.watched))
        if rate is not None:
            self.run.set(self.name, check_range(self.name, rate))
        return rate is None


def course_of(
    name: str, schedule: schedules.Schedule, start: float, end_epoch: int, n: int, per_epoch: int
) -> Course:
    """The numbers of any steps of a run with so many steps an epoch."""
    foresee(name, schedule, start, end_epoch, n, per_epoch)

    def of_steps(first: int, count: int) -> np.ndarray:
        found = schedule.of_steps(start, end_epoch, n, per_epoch, first, count)
        check_range(name, float(found.max()))
        return found

    return of_steps


def foresee(
    name: str,
    schedule: schedules.Schedule,
    start: float,
    end_epoch: int,
    n: int,
    per_epoch: int = 1,
) -> None:
    """Refuse before the run what a formula comes to in it, within FORESEEN rates or at last."""
    if not schedule.is_formula:
        return
    count = end_epoch * per_epoch
    for first, several in ((0, min(count, FORESEEN)), (max(0, count - 1), 1)):
        found = schedule.of_steps(start, end_epoch, n, per_epoch, first, several)
        check_range(name, float(found.max(initial=0.0)))


def check_range(name: str, rate: float) -> float:
    """Refuse a rate of dropout that leaves nothing."""
    if name == "dropout" and rate >= 1:
        raise ValueError(f"schedule['dropout']: expected rates in [0, 1); got {rate:g}")
    return rate
