"""The time that a check may take.

What belongs here: what is left of it, and how many of many things are done in it. What does not:
which things, and what is said of those that are left out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator


class Budget:
    """Seconds from now on; None: as long as it takes.

    >>> [part.stop for part in Budget(None).parts(5)], list(Budget(1e-9).parts(5))
    ([5], [])
    """

    def __init__(self, seconds: float | None, grace: float | None = None) -> None:
        self.limit = seconds
        self._end = None if seconds is None else time.monotonic() + seconds
        self._last = self._end + seconds if self._end and seconds and grace is None else grace

    @property
    def left(self) -> float:
        return float("inf") if self._end is None else self._end - time.monotonic()

    def _is_not_late(self) -> bool:
        return self._last is None or time.monotonic() < self._last

    def share(self, n: int) -> Budget:
        """An n-th of what is left."""
        return Budget(None if self._end is None else self.left / n, self._last)

    def parts(self, n: int, least: int = 0) -> Iterator[slice]:
        """Slices of n things as long as there is time for more; without a limit all at once.

        Of `least` for as long again as the whole limit. Between two slices the things are done.
        """
        began, done, size = time.monotonic(), 0, n if self._end is None else 1
        while done < n and (self.left > 0 or (done < least and self._is_not_late())):
            yield slice(done, min(n, done + size))
            done = min(n, done + size)
            each = max((time.monotonic() - began) / done, 1e-9)
            size = max(1, int(min(2 * size, self.left / (2 * each))))
