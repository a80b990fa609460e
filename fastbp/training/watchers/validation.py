"""Validation: what is recorded of data that are not trained on.

What belongs here: when values are computed and under which names. What does not: the values
themselves (metrics.py, `Network.loss`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from fastbp import metrics
from fastbp.samples import Samples, mean_cost, mean_costs
from fastbp.training import own_loss
from fastbp.training.watchers.average import judged
from fastbp.training.watchers.watcher import Epochs, Event, Watcher, attach


class Validation(Watcher):
    """Loss and metrics of the validation data after each epoch."""

    by_epoch = True

    def __init__(
        self,
        data: Samples | Callable[[], Any],
        metrics_by_name: Mapping[str, metrics.Metric | None],
        loss: own_loss.UserLoss | None = None,
    ) -> None:
        self.given, self.metrics, self.loss = data, metrics_by_name, loss

    def before(self, run: Any) -> None:
        self.run = run
        self.data = self.given if isinstance(self.given, Samples) else self.given()
        self.known = self.data.targets()
        # there also where the run ends before its first epoch
        run.history.extend(**{f"validation_{name}": [] for name in ("loss", *self.metrics)})

    def after_epoch(self, event: Event) -> None:
        self.run.settle()
        with judged(event):
            values = self._values(event)
        event.history.extend(**{f"validation_{name}": [v] for name, v in values.items()})

    @property
    def takes_several(self) -> bool:
        return self.loss is None

    def after_several(self, epochs: Epochs) -> None:
        net, data = epochs.network, self.known
        outputs, C = net._outputs_and_costs(self.data, epochs.parameters)
        values: dict[str, list[float]] = {name: [] for name in ("loss", *self.metrics)}
        values["loss"] = mean_costs(C, data)
        for loss, of_epoch in zip(values["loss"], outputs, strict=True):
            if not math.isfinite(loss):
                net._warn_unless_finite("loss", np.array(loss))
            if self.metrics:
                net._warn_unless_finite("predict", of_epoch)
                found = metrics.evaluate(net, data, of_epoch, self.metrics)
                for name, value in found.items():
                    values[name].append(value)
        epochs.values |= {f"validation_{name}": of for name, of in values.items()}

    def after(self, whole: bool) -> None:
        del self.data, self.known

    def _outputs_and_costs(self, net: Any) -> tuple[np.ndarray, np.ndarray]:
        if not isinstance(self.data, Samples):  # chunks, which read themselves
            found: tuple[np.ndarray, np.ndarray] = self.data.outputs_and_costs(net)
            return found
        (outputs,), (C,) = net._outputs_and_costs(self.data, net.parameters[None])
        return outputs, C

    def _values(self, event: Event) -> dict[str, float]:
        net, data = event.network, self.known
        if self.loss is None:
            outputs, C = self._outputs_and_costs(net)
            loss = mean_cost(C, data)
            net._warn_unless_finite("loss", np.array(loss))
        else:
            outputs = net._outputs_of(self.data)
            loss = own_loss.value(self.loss, data, outputs)
        if self.metrics:
            net._warn_unless_finite("predict", outputs)
        outputs.flags.writeable = False  # everybody who looks is given the same
        attach(event, outputs=outputs)
        return {"loss": loss} | metrics.evaluate(net, data, outputs, self.metrics)
