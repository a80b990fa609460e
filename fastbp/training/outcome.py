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
        None where there was not memory enough to begin.
    error : BaseException or None
        What ended it before its time.
    """

    def __init__(self, index: int, request: Request) -> None:
        self.index, self.request = index, request
        self.loop: Loop | None = None
        self.error: BaseException | None = None

    @property
    def history(self) -> History | None:
        return None if self.loop is None else self.loop.history
