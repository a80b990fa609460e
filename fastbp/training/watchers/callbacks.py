"""Callbacks: functions of the user's that see a run after each epoch or step.

What belongs here: which are called when, and that what they write is trained on. What does not:
callbacks that fastbp brings (fastbp/callbacks.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from typing import Any

import numpy as np

from fastbp.functions import shown
from fastbp.training.watchers.watcher import Event, Watcher


def each_step(callback: Callable[[Event], object]) -> Callable[[Event], object]:
    """Have a callback also called after each step, with an event of kind "step".

    It does so for what has an attribute `steps` that is true; a class may set that itself. The run
    then goes through Python at each step, which takes 20 us and more.

    Parameters
    ----------
    callback : callable
        Called with a `fastbp.training.Event`; what it returns ends the run where it is True.

    Returns
    -------
    callable
        To be given to ``fit(callbacks=[...])``.

    Examples
    --------
    >>> import fastbp
    >>> seen = []
    >>> net = fastbp.Network([1, 1], output="identity", loss="quadratic")
    >>> watch = fastbp.each_step(lambda event: seen.append((event.kind, event.step)))
    >>> history = net.fit([[0.0], [1.0]], [0.0, 1.0], epochs=1, batch_size=1, callbacks=[watch])
    >>> seen
    [('step', 1), ('step', 2), ('epoch', 2)]
    """
    if not callable(callback):
        raise TypeError(f"each_step: expected a callable (event) -> stop?; got {shown(callback)}")

    def called(event: Event) -> object:
        return callback(event)

    called.steps = True  # type: ignore[attr-defined]
    return called


def checked(callbacks: Any, name: str = "callbacks") -> list[Callable[[Event], object]]:
    if isinstance(callbacks, (str, bytes)) or not isinstance(callbacks, Iterable):
        raise TypeError(
            f"{name}: expected a list of callables (event) -> stop?; got {shown(callbacks)}"
        )
    try:
        callbacks = list(callbacks)
    except Exception as error:
        raise TypeError(
            f"{name}: expected a list of callables (event) -> stop?; got {shown(callbacks)}: "
            f"{error}"
        ) from error
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"{name}: expected callables (event) -> stop?; got {shown(callback)}")
    return callbacks


class Callbacks(Watcher):
    """Calls each after an epoch, and those that ask for it after a step."""

    by_epoch = True

    def __init__(self, callbacks: list[Callable[[Event], object]], lock: Any = None) -> None:
        self.callbacks, self.lock = callbacks, nullcontext() if lock is None else lock
        self.of_steps = [c for c in callbacks if getattr(c, "steps", False) is True]
        self.by_step = bool(self.of_steps)

    def before(self, run: Any) -> None:
        self.run = run

    def after_step(self, event: Event) -> bool:
        return self._tell(self.of_steps, event)

    def after_epoch(self, event: Event) -> bool:
        self.run.settle()
        return self._tell(self.callbacks, event)

    def _tell(self, callbacks: list[Callable[[Event], object]], event: Event) -> bool:
        """Call each, for every callback sees every event; whether one of them ends the run."""
        with self.lock:  # which runs in other threads hold too
            answers = [callback(event) for callback in callbacks]
        self.run.reload()  # the parameters that they may have written
        return any(isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers)
