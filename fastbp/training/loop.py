"""The loop over the epochs of a run: what is recorded, and which watcher looks when.

A new feature of training is a watcher in the list of a request, and nothing here.

What belongs here: the order of what is done after a slice of steps and when a run ends. What does
not: how steps are made (driver.py, lbfgs.py), any single thing that is looked at (watchers/).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fastbp.training.history import History
from fastbp.training.watchers.watcher import Epochs, Event, Watcher, states

if TYPE_CHECKING:
    import numpy as np

    from fastbp.training.request import Request


class Halt:
    """Once it is on, every run that has it ends after the step at hand, as by Ctrl-C."""

    on = False


class Loop:
    """One run: its driver makes the epochs, its watchers look at them.

    Attributes
    ----------
    run : driver.Run or lbfgs.Minimisation
    by_step, by_epoch, in_bulk : list of Watcher
        Those that are told of each step, of each epoch, of the epochs of a slice together.
    stop : bool
        Whether one of them asked for the end.
    halt : Halt
        Of the runs that end with this one.
    """

    def __init__(self, request: Request, halt: Halt | None = None) -> None:
        self.halt = Halt() if halt is None else halt
        self.history = history = request.history
        self.watchers = watchers = request.watchers
        self.looked_at = epochs = history.epochs  # of which all is recorded
        self.began = time.time() - (history["seconds"][-1] if epochs else 0.0)
        self.run = run = request.driver(request)
        history.begin(run.columns)
        self.by_step: list[Watcher] = []
        self.by_epoch: list[Watcher] = []
        self.by_slice: list[Watcher] = []
        self.in_bulk: list[Watcher] = []
        self.stop = False
        for watcher in watchers:
            for kind in ("by_step", "by_epoch", "by_slice", "in_bulk"):
                if getattr(watcher, kind):
                    getattr(self, kind).append(watcher)
            watcher.restore(request.state.watched)
            watcher.before(run)

    def go(self) -> History:
        """Train."""
        finished = interrupted = False
        try:
            self.run.drive(self)
            finished, interrupted = not self.halt.on, self.halt.on
        except KeyboardInterrupt:
            interrupted = True
            raise
        finally:
            self.end(finished, interrupted)
        return self.history

    @property
    def is_over(self) -> bool:
        """Whether the run is to end before its last epoch."""
        return self.stop or self.halt.on

    def note(self, epoch: int) -> int:
        """Record the epochs that ended in a slice that began in `epoch`; how many."""
        run = self.run
        ended: int = run.epoch - epoch
        if ended:
            self.history.extend(**run.record(ended, self.began))
        return ended

    @property
    def takes_several(self) -> bool:
        """Whether all that watch each epoch can be told of several at once."""
        several = all(watcher.takes_several for watcher in self.by_epoch)
        return several and bool(self.by_epoch) and not self.in_bulk

    def look_at_several(self, epoch: int, parameters: np.ndarray) -> None:
        """What is to be done after a slice in which several epochs ended, from `epoch` on.

        `parameters`: as they were after each.
        """
        run, made = self.run, len(parameters)
        epochs = Epochs(run.net, parameters, dict(run.record(made, self.began)))
        for watcher in self.by_epoch:
            if (end := watcher.after_several(epochs)) is not None:
                self.stop, made = True, min(made, end)
        self.history.extend(**{name: column[:made] for name, column in epochs.values.items()})
        self.looked_at = epoch + made
        if self.stop:
            run.end_with(epoch, made)
        for watcher in self.by_slice:
            watcher.after_slice(made, self.stop)

    def look(self, epoch: int) -> None:
        """What is to be done after a slice that began in `epoch`."""
        ended = self.note(epoch)
        if self.by_step:
            self._tell("step", epoch)
        if ended and self.in_bulk:
            losses = self.history.last("loss", ended)
            for watcher in self.in_bulk:
                self.stop |= bool(watcher.after_epochs(losses))
        if ended and self.by_epoch:
            self._tell("epoch", epoch)
        self.looked_at = epoch + ended
        for watcher in self.by_slice:
            watcher.after_slice(ended, self.stop)

    def _tell(self, kind: str, epoch: int) -> None:
        """Tell the watchers; each sees every event."""
        run = self.run
        if run.ema is not None:
            run.settle()  # an event holds the average
        event = Event(epoch, run.end_epoch, run.net, self.history, kind, run.step, run.average)
        for watcher in self.by_step if kind == "step" else self.by_epoch:
            tell = watcher.after_step if kind == "step" else watcher.after_epoch
            self.stop |= bool(tell(event))

    def end(self, finished: bool, interrupted: bool) -> None:
        """Leave network and history as they are to be, however the run ended."""
        run, history = self.run, self.history
        if not finished:
            run.close(quiet=True)
        history.seconds += run.seconds
        history.samples += run.samples
        left = None
        for watcher in self.watchers:
            instead = watcher.ends_with(finished)
            left = left if instead is None else instead
        trained = None
        if left is not None:
            trained = run.net.parameters.copy()
            run.net.parameters[...] = left
        watched = states(self.watchers) if self.watchers else {}
        history.state = run.state(trained, watched)
        whole = finished or (interrupted and history.epochs == self.looked_at == run.epoch)
        for watcher in self.watchers:
            watcher.after(whole)
