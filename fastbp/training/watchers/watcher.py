"""What a watcher is, and the `Event` that it is given.

What belongs here: the contract between the loop (training/loop.py) and all that looks at a run.
What does not: any one watcher, which has a file of its own beside this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.network import Network
from fastbp.training.history import History

if TYPE_CHECKING:
    from fastbp.training.state import Position


@dataclass(frozen=True)
class Event:
    """What a callback is given; a callback that returns True ends the run.

    Attributes
    ----------
    epoch, epochs : int
        The epoch that ended or is at hand (from 0), and where the run is to end.
    network : Network
        Its parameters are those after the last step; what is written there is trained on.
    history : History
        What was recorded so far; this epoch's values are in it.
    kind : "epoch" or "step"
        What ended; "step" for callbacks of `fastbp.each_step` alone.
    step : int
        Steps made since the run began.
    average : ndarray or None
        The moving average of the parameters, with `ema`.
    outputs : ndarray (n, n_L) or None
        After an epoch, what the network predicts of the validation data (by its average, with
        `ema`); not to be written.

    Examples
    --------
    >>> import fastbp
    >>> def tell(event):
    ...     print(event.kind, event.epoch, event.step)
    ...     return event.epoch == 1
    >>> net = fastbp.Network([1, 1], output="identity", loss="mse")
    >>> history = net.fit([[0.0], [1.0]], [0.0, 1.0], epochs=9, callbacks=[tell], seed=0)
    epoch 0 1
    epoch 1 2
    """

    epoch: int
    epochs: int
    network: Network
    history: History
    kind: str = "epoch"
    step: int = 0
    average: np.ndarray | None = None
    outputs: np.ndarray | None = field(default=None, repr=False)


@dataclass
class Epochs:
    """Several epochs that ended, and what was kept of each.

    Attributes
    ----------
    network : Network
    parameters : ndarray (k, n_parameters)
    values : dict of str: list of float
        What is recorded of them, by name.
    """

    network: Network
    parameters: np.ndarray
    values: dict[str, list[float]]


def attach(event: Event, **values: Any) -> None:
    """Have an event tell what a watcher has found to those after it."""
    vars(event).update(values)  # which is frozen for everybody else


class Watcher:
    """One thing that is looked at or done while a run goes on: here, nothing.

    A run is the driver's (`driver.Run`, `lbfgs.Minimisation`): net, history, epoch, end_epoch, and
    `settle`, after which the network holds the parameters of the last step.

    Attributes
    ----------
    by_epoch, by_step, by_slice, in_bulk : bool
        Of which of `after_epoch`, `after_step`, `after_slice` and `after_epochs` the loop is to
        call; one that asks for each step or each epoch has the engine come back to Python there.
    keeps : tuple of str
        Names of the arrays in its state, each in the layout of the parameters.
    """

    by_epoch, by_step, by_slice, in_bulk = False, False, False, False
    keeps: tuple[str, ...] = ()

    @property
    def takes_several(self) -> bool:
        """Whether `after_several` does for several epochs what `after_epoch` does for each."""
        return False

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Take up what `state` gave when the run that is gone on with ended; before `before`."""

    def needs(self, position: Position) -> tuple[str, ...]:
        """What of `keeps` has to be there for a run that stands at `position`."""
        return ()

    def before(self, run: Any) -> None:
        """The run is about to begin."""

    def after_step(self, event: Event) -> Any:
        """A step was made; True ends the run."""

    def after_epoch(self, event: Event) -> Any:
        """An epoch ended, and is in the history; True ends the run."""

    def after_epochs(self, losses: list[float]) -> Any:
        """Epochs ended, with these losses, and are in the history; before `after_epoch` of others.

        True ends the run; for it to end right there, the engine has to know the rule
        (`driver.Run.stop_by`).
        """

    def after_several(self, epochs: Epochs) -> int | None:
        """Several epochs ended, which are not in the history yet; it may add to their values.

        With which of them, counted from 1, the run is to end; None: it goes on.
        """
        return None

    def after_slice(self, n_epochs: int, stop: bool) -> None:
        """The engine came back, so many epochs on; `stop`: the run is to end."""

    def ends_with(self, finished: bool) -> np.ndarray | None:
        """What the network is to be left with instead of the parameters of the last step.

        `finished`: the run was not ended by an exception.
        """
        return None

    def state(self) -> dict[str, np.ndarray]:
        """What it needs to go on, beside the history."""
        return {}

    def after(self, whole: bool) -> None:
        """The run has ended, `history.state` is made; `whole`: all of it is on record."""


def states(watchers: Iterable[Watcher]) -> dict[str, np.ndarray]:
    """What they need to go on, beside the history."""
    return {name: array for watcher in watchers for name, array in watcher.state().items()}
