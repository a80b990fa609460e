"""How the engine is driven through data that come in chunks.

What belongs here: which window the engine has, and the change from one to the next. What does not:
windows and the thread that makes them (windows.py), what is asked of such a run (chunks.py),
everything that runs have in common (driver.py).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from fastbp.sparse import Lists
from fastbp.training.driver import Run
from fastbp.training.request import Request
from fastbp.training.windows import Feed, Window


class ChunkRun(Run):
    """A run over windows of its epochs' rows.

    A run that diverges is made again within a window: its state is copied out where one begins.
    """

    def __init__(self, request: Request) -> None:
        source: Any = request.data
        self.source, self.feed = source, Feed(source.windows(request))
        self.window: Window | None = None
        self.room = self.made = 0  # elements of a batch of lists; rows of the windows before
        self.most = 0  # rows of a batch that the trainer has room for
        try:
            window = self.feed.get(request.deadline) if request.epochs else None
            data, self.first_order = source.nothing(), np.empty(0, np.intp)
            if window is not None:
                data, self.first_order = window.data, window.order
            if isinstance(data.X, Lists):
                batch_size = request.state.identity.batch_size
                n_threads = source.threads(request.n_threads, batch_size, data.X)
                request = replace(request, n_threads=n_threads)
                self.room = _room(data.X, batch_size)
            if window is not None:
                self.most = window.end - window.first
            super().__init__(replace(request, data=data, shuffle=False))
        except BaseException:
            self.feed.close()
            raise
        if window is not None:
            self._look_at(window)

    def _first_order(self) -> np.ndarray:
        return self.first_order

    def _room(self, batch_size: int) -> int:
        return self.room

    def _rows(self) -> tuple[Any, ...]:
        n, batch_size, *rest = super()._rows()
        # all of an epoch that is shorter: no room for more, however large a batch was asked for
        return n, min(batch_size, max(1, self.most)), *rest

    @property
    def seconds(self) -> float:
        """Of the steps, and of the waiting for their rows."""
        return self.of_steps + self.feed.waited

    @seconds.setter
    def seconds(self, seconds: float) -> None:
        self.of_steps = seconds - self.feed.waited if seconds else 0.0

    @property
    def samples(self) -> int:
        return self.made + self._rows_made()

    def _rows_made(self) -> int:
        """Of the window at hand."""
        window, at = self.window, self.trainer.position
        if window is None:
            return 0
        return int(window.end if at[0] > window.epoch else at[1]) - window.first

    def is_ready(self) -> bool:
        """Have rows for the next steps; False where none have come by the deadline."""
        window = self.window
        if window is not None and self._rows_made() < window.end - window.first:
            return True
        self.sync()  # with the window that its steps were made of
        window = self.feed.get(self.deadline)
        if window is None:
            return False
        self.made += self._rows_made()
        self._look_at(window)
        return True

    def _look_at(self, window: Window) -> None:
        """Have the engine's next steps made of a window."""
        self.window, self.data, self.order = window, window.data, window.order
        X, batch_size = window.data.X, self.start.identity.batch_size
        n, too_long = window.end - window.first, False
        if isinstance(X, Lists) and X.most(batch_size) > self.room:
            self.room, too_long = _room(X, batch_size), True
        if min(n, batch_size) > self.most:
            self.most, too_long = n, True
        if too_long:
            self.trainer = self._trainer(self.team.size if self.team is not None else 1)
            self._load(self.net.parameters, self.synced)
        self.trainer.look_at(len(X), window.first, window.end, window.is_last)

    def _train(self, n_steps: int, end_epoch: int) -> int:
        """As a Run has it, within the window."""
        assert self.window is not None
        left = self.window.end - self.window.first - self._rows_made()
        return super()._train(min(n_steps, -(-left // self.start.identity.batch_size)), end_epoch)

    def stop_by(self, tol: float, best: float, count: int, most: float) -> None:
        """Nothing: slices end with each epoch in any case."""

    def close(self, quiet: bool = False) -> None:
        self.feed.close()
        super().close(quiet)


def _room(X: Lists, batch_size: int) -> int:
    """Elements of a batch that there is to be room for: longer ones may come."""
    return X.most(batch_size) * 5 // 4
