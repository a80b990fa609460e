"""Windows of an epoch: whole batches of rows that lie together, made of blocks of any length.

What belongs here: how batches cross the borders of blocks, and the thread that makes the next
window while the engine trains on one. What does not: where blocks are from and their checks
(chunks.py), the steps (chunk_run.py).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple

import numpy as np

from fastbp.samples import Samples
from fastbp.sparse import Lists, values_of

SMALL_BYTES = 1 << 20  # of X: blocks below are copied together,
GATHERED_BYTES = 1 << 22  # until they are as much
POLL_SECONDS = 0.05  # between looks at signals and at the deadline
CLOSE_SECONDS = 0.05  # that a reader's thread is waited for


class Window(NamedTuple):
    """Rows first, ..., end - 1 of an epoch's order: whole batches, unless the epoch ends there."""

    epoch: int
    data: Samples
    order: np.ndarray  # in which the rows of data are read, (end - first,) of intp
    first: int
    end: int
    is_last: bool


def windows(
    epoch: int,
    blocks: Iterable[tuple[Samples, np.ndarray]],
    batch_size: int,
    drop_last: bool = False,
    skip: int = 0,
    n: int | None = None,
    is_wanted: Callable[[], bool] = lambda: False,
) -> Iterator[Window]:
    """The windows of an epoch from row `skip` on, a large block in one, where it lies.

    Small blocks are gathered, unless somebody waits: `is_wanted`.

    Of each block some rows stay behind, of which the next window or the last one is made: so each
    window ends with a batch, and the last, which nobody knows before the blocks end, has one.
    """
    held = batch_size if drop_last else 1
    at, seen, waiting = skip, 0, list[Samples]()
    for data, order in blocks:
        seen += len(order)
        if n is not None and seen > n:
            raise ValueError(f"X: expected {n} rows, its n_rows; got more")
        if seen - len(order) < skip:
            order = order[skip - (seen - len(order)) :]
        n_waiting = sum(part.n for part in waiting)
        whole = (n_waiting + len(order) - held) // batch_size * batch_size
        if whole <= n_waiting or _bytes(data) < SMALL_BYTES:
            if len(order):
                waiting.append(data.take(order))
            if whole > 0 and (is_wanted() or sum(map(_bytes, waiting)) >= GATHERED_BYTES):
                data = joined(waiting)
                yield Window(epoch, data, np.arange(whole), at, at + whole, False)
                waiting, at = [data.take(np.arange(whole, data.n))], at + whole
            continue
        more = -n_waiting % batch_size
        if waiting:
            bridge = joined([*waiting, data.take(order[:more])])
            waiting = []
            yield Window(epoch, bridge, np.arange(bridge.n), at, at + bridge.n, False)
            at += bridge.n
            del bridge
        main = whole - n_waiting - more
        if main:
            yield Window(epoch, data, order[more : more + main], at, at + main, False)
            at += main
        waiting = [data.take(order[more + main :])]
    del blocks
    yield _last(epoch, waiting, batch_size, drop_last, at, seen, n)


def _last(
    epoch: int,
    waiting: list[Samples],
    batch_size: int,
    drop_last: bool,
    at: int,
    seen: int,
    n: int | None,
) -> Window:
    """What is left when the blocks have ended."""
    if seen == 0:
        hint = " (are they read anew each epoch, or from an iterator that ends once?)"
        raise ValueError(
            f"X: expected at least one row; epoch {epoch} of the chunks has none"
            f"{hint if epoch else ''}"
        )
    if n is not None and seen < n:
        raise ValueError(f"X: expected {n} rows, its n_rows; epoch {epoch} has {seen}")
    if not waiting:
        raise ValueError(
            f"X: expected the chunks of the run that is gone on with; epoch {epoch} has {seen} "
            f"rows, of which that had read {at}"
        )
    data = joined(waiting)
    use = data.n // batch_size * batch_size if drop_last else data.n
    if use == 0:
        raise ValueError(
            f"drop_last: expected epochs of at least one batch, {batch_size} rows; epoch {epoch} "
            f"has {seen}"
        )
    return Window(epoch, data, np.arange(use), at, at + use, True)


def _bytes(data: Samples) -> int:
    return int(values_of(data.X).nbytes)


def joined(samples: list[Samples]) -> Samples:
    """Samples of one kind, one after the other."""
    if len(samples) == 1:
        return samples[0]
    Xs: list[Any] = [part.X for part in samples]
    X = _lists(Xs) if isinstance(Xs[0], Lists) else np.concatenate(Xs)
    columns: Any = zip(*(part[1:4] for part in samples), strict=True)
    dense, labels, weight = (None if of[0] is None else np.concatenate(of) for of in columns)
    return Samples(X, dense, labels, weight, samples[0].missing)


def _lists(Xs: list[Lists]) -> Lists:
    lengths = np.concatenate([np.diff(X.starts) for X in Xs])
    starts = np.zeros(len(lengths) + 1, np.intp)
    np.cumsum(lengths, out=starts[1:])
    index, values = (np.concatenate([getattr(X, name) for X in Xs]) for name in ("index", "values"))
    return Lists(starts, index, values, Xs[0].shape[1], Xs[0].form)


class Over(Exception):
    """Nobody wants what a reader is making."""


class Asker:
    """What a reader knows of who reads on: whether one waits, and whether one is there at all."""

    def __init__(self) -> None:
        self.box: SimpleQueue[Any] = SimpleQueue()
        self.room, self.stopped = threading.Semaphore(1), threading.Event()

    def waits(self) -> bool:
        """Whether all that was made has been taken."""
        return self.box.empty()

    def check(self) -> None:
        """Raise `Over` where nobody is there any more: to be asked at each block."""
        if self.stopped.is_set():
            raise Over


class Feed:
    """A thread that makes one item ahead, while the one before is at work.

    It is a daemon: where a user's iterator waits for ever, it ends with the process; one that gives
    a block ends then. It holds on to nothing of who asks, so that a feed which is forgotten ends
    too.
    """

    def __init__(self, make: Callable[[Asker], Generator[Any, None, None]]) -> None:
        asker = Asker()
        self.box, self.room, self.stopped = asker.box, asker.room, asker.stopped
        self.waited = 0.0  # seconds
        args = make, asker
        self.thread = threading.Thread(target=_serve, args=args, name="fastbp-reader", daemon=True)
        self.thread.start()

    def get(self, deadline: float = 0.0) -> Any:
        """The next item; None where none has come by then (time.monotonic; 0: no deadline)."""
        began = time.perf_counter()
        try:
            while True:
                left = deadline - time.monotonic() if deadline else POLL_SECONDS
                try:
                    item, error = self.box.get(timeout=max(0.0, min(left, POLL_SECONDS)))
                    break
                except Empty:
                    if left <= 0:
                        return None
        finally:
            self.waited += time.perf_counter() - began
        self.room.release()
        if error is not None:
            raise error
        return item

    def end(self) -> None:
        """Have the thread end as soon as it has the block that it is at."""
        self.stopped.set()
        self.room.release()

    __del__ = end

    def close(self) -> None:
        """End the thread; one that waits for data is not waited for."""
        self.end()
        self.thread.join(CLOSE_SECONDS)


def _serve(
    make: Callable[[Asker], Generator[Any, None, None]],
    asker: Asker,
) -> None:
    box = asker.box
    try:
        items = make(asker)
        del make
        try:
            for item in items:
                asker.room.acquire()
                asker.check()
                box.put((item, None))
                del item  # whoever has it decides how long it stays
        finally:
            items.close()
    except Over:
        pass
    except BaseException as error:
        box.put((None, error))
