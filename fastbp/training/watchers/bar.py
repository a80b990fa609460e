"""The progress bar."""

from __future__ import annotations

from typing import Any

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
