"""The progress bars: of the epochs of one run, of the runs of one call."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from fastbp.training.watchers.watcher import Watcher


class Bar(Watcher):
    """A bar over the epochs, in a terminal or a notebook."""

    by_slice = True

    def before(self, run: Any) -> None:
        from tqdm.auto import tqdm

        self.history = run.history
        self.bar = tqdm(total=run.end_epoch, initial=run.epoch, unit="epoch")

    def after_slice(self, n_epochs: int, stop: bool) -> None:
        self.bar.set_postfix_str(self.history.in_words(), refresh=False)
        self.bar.update(n_epochs)

    def after(self, whole: bool) -> None:
        self.bar.close()


class Members:
    """A bar over the networks of one call, with the best result so far."""

    def __init__(self, n: int) -> None:
        self.n, self.best, self.name = n, math.inf, ""

    def begin(self) -> None:
        from tqdm.auto import tqdm

        self.bar = tqdm(total=self.n, unit="network")

    def after(self, outcome: Any) -> None:
        history = None if outcome.loop is None else outcome.loop.history
        for name in ("validation_loss", "loss"):
            if history is not None and name in history and history.epochs:
                value = float(np.nanmin([*history[name], math.inf]))
                if value < self.best:
                    self.best = value
                    self.bar.set_postfix_str(f"best {name} {value:.4g}", refresh=False)
                break
        self.bar.update()

    def end(self) -> None:
        self.bar.close()
