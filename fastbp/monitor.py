"""What is looked at while a run goes on: validation data, early stopping, callbacks, the bar.

What belongs here: what happens after an epoch or a step, and whether the run is to end. What does
not: steps (run.py), the numbers themselves (metrics.py), what a user may ask for (training.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import metrics
from fastbp.functions import shown
from fastbp.history import History
from fastbp.network import Network
from fastbp.run import Samples, UserLoss, value_and_slope
from fastbp.stopping import Best, EarlyStopping


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
    kind : "epoch" or "step"
    step : int
        Steps made since the run began.
    average : ndarray or None
        The moving average of the parameters, with `ema`.
    """

    epoch: int
    epochs: int
    network: Network
    history: History
    kind: str = "epoch"
    step: int = 0
    average: np.ndarray | None = None


def each_step(callback: Callable[[Event], Any]) -> Callable[[Event], Any]:
    """A callback that is also called after each step, with an event of kind "step".

    It does so for what has an attribute `steps` that is true; a class may set that itself. The run
    then goes through Python at each step, which takes 20 us and more.

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

    def called(event: Event) -> Any:
        return callback(event)

    called.steps = True  # type: ignore[attr-defined]
    return called


def checked_callbacks(callbacks: Any) -> list[Callable[[Event], Any]]:
    if isinstance(callbacks, (str, bytes)) or not isinstance(callbacks, Iterable):
        raise TypeError(
            f"callbacks: expected a list of callables (event) -> stop?; got {shown(callbacks)}"
        )
    try:
        callbacks = list(callbacks)
    except Exception as error:
        raise TypeError(
            f"callbacks: expected a list of callables (event) -> stop?; got {shown(callbacks)}: "
            f"{error}"
        ) from error
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(
                f"callbacks: expected callables (event) -> stop?; got {shown(callback)}"
            )
    return callbacks


def tell(callbacks: Iterable[Callable[[Event], Any]], event: Event) -> bool:
    """Call each, for every callback sees every event; whether one of them ends the run."""
    answers = [callback(event) for callback in callbacks]
    return any(isinstance(answer, (bool, np.bool_)) and bool(answer) for answer in answers)


class Monitor:
    """All that looks at one run, and what it recorded."""

    def __init__(
        self,
        net: Network,
        history: History,
        held_out: Samples | None,
        metrics_by_name: Mapping[str, metrics.Metric | None],
        callbacks: list[Callable[[Event], Any]],
        stopping: EarlyStopping | None = None,
        best: np.ndarray | None = None,
        loss: UserLoss | None = None,
    ) -> None:
        self.net, self.history, self.held_out = net, history, held_out
        self.metrics, self.callbacks, self.loss = metrics_by_name, callbacks, loss
        self.step_callbacks = [c for c in callbacks if getattr(c, "steps", False) is True]
        self.stopping: Best | None = None
        self.best: np.ndarray | None = None
        if stopping is not None:
            watched = self.monitor = stopping.monitor
            self.stopping = Best(watched, stopping.mode, stopping.patience, stopping.min_delta)
            if best is not None and watched in history:
                # of a resumed run: what it recorded says how long it waited
                self.best = best
                for value in history[watched][history._began(watched) :]:
                    self._improves(float(value))
        if held_out is not None:  # there also where the run ends before its first epoch
            history._extend(**{f"validation_{name}": [] for name in ("loss", *metrics_by_name)})
        # nobody looks between epochs otherwise, and the engine may run through
        self.looks = held_out is not None or bool(callbacks) or stopping is not None

    def evaluate(self) -> None:
        """Record the metrics of the validation data."""
        if self.held_out is None:
            return
        net, data, values = self.net, self.held_out, {}
        outputs = net.predict(data.X) if self.metrics or self.loss is not None else None
        if self.loss is None:
            values["loss"] = net.loss(
                data.X, data.Y, sample_weight=data.weight, ignore_missing=data.missing
            )
        else:
            weight = np.ones(len(data.Y), net.dtype) if data.weight is None else data.weight.copy()
            assert outputs is not None
            values["loss"] = value_and_slope(self.loss, outputs.copy(), data.Y.copy(), weight)[0]
        if outputs is not None:
            values |= metrics.evaluate(net, data, outputs, self.metrics)
        self.history._extend(**{f"validation_{k}": [v] for k, v in values.items()})

    def improved(self) -> bool:
        """Take the watched value of the last epoch; whether its parameters are the best so far."""
        return self.stopping is not None and self._improves(self.history._latest(self.monitor))

    def _improves(self, value: float) -> bool:
        assert self.stopping is not None
        if self.has_waited:  # whoever goes on all the same is given as many epochs again
            self.stopping.waited = 0
        return self.stopping.improves(value)

    @property
    def has_waited(self) -> bool:
        """Whether early stopping's patience is at an end."""
        return self.stopping is not None and self.stopping.has_waited

    def call(self, event: Event) -> bool:
        """Tell the callbacks, of a step those that ask for it; whether one of them ends the run."""
        return tell(self.callbacks if event.kind == "epoch" else self.step_callbacks, event)


def progress_bar(epoch: int, end_epoch: int) -> Any:
    """A bar over the epochs, in a terminal or a notebook."""
    from tqdm.auto import tqdm

    return tqdm(total=end_epoch, initial=epoch, unit="epoch")
