"""How one of many requests ended.

What belongs here: facts. What does not: who trains it (crew.py, lanes.py).
"""

from __future__ import annotations

from fastbp.training.history import History
from fastbp.training.loop import Loop
from fastbp.training.request import Request


class Outcome:
    """How one request ended.

    Attributes
    ----------
    index : int
        Of the request.
    loop : Loop or None
        While it trains; None before and after, and where there was not memory enough to begin.
    history : History or None
        What it recorded, once it has ended.
    error : BaseException or None
        What ended it before its time.
    """

    def __init__(self, index: int, request: Request) -> None:
        self.index, self.request = index, request
        self.loop: Loop | None = None
        self.history: History | None = None
        self.error: BaseException | None = None

    def let_go(self) -> None:
        """Keep what was recorded, and not the memory that it took to train."""
        if self.loop is not None:
            self.history = self.loop.history
        self.loop, self.request.watchers = None, ()  # which hold the run
