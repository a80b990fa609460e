"""The threads of one run.

What belongs here: how they start, get work and end. What does not: the work (driver.py), how they
wait for each other within a step (kernels/loop/barrier.pxd).

They are plain daemon threads, not a pool of concurrent.futures: such a pool takes no work once the
main thread has ended, though a run may go on in another, and keeps a process from its end.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any

Answer = tuple[Any, BaseException | None]
BEGIN_SECONDS = 5.0  # within which a thread begins, on however busy a machine


class _Beginning(threading.Event):
    """What `Thread.start` waits for: not for ever, for a thread may die at birth (no memory).

    By a queue, which Ctrl-C leaves in order: in the middle of an event's own `wait` it becomes a
    RuntimeError, of a lock released twice, and is lost.
    """

    def __init__(self) -> None:
        super().__init__()
        self.begun: SimpleQueue[None] = SimpleQueue()

    def set(self) -> None:
        super().set()
        self.begun.put(None)

    def wait(self, timeout: float | None = None) -> bool:
        try:
            self.begun.get(timeout=BEGIN_SECONDS)
        except Empty:
            raise RuntimeError("a thread was started and has not begun") from None
        return True


def _serve(inbox: SimpleQueue[Any], inboxes: list[SimpleQueue[Any]]) -> None:
    """What a thread does until it is told to end; it holds on to nothing of the run's."""
    while (task := inbox.get()) is not None:
        answer, work, args = task
        try:
            answer.put((work(*args), None))
        except BaseException as error:
            answer.put((None, error))
        del task, answer, work, args
    if inbox in inboxes[:1]:  # which may have asked the others until now
        for other in inboxes[1:]:
            other.put(None)


class Team:
    """Up to `n_threads` threads: fewer where no more can be started.

    Only the process that started them has them: a fork is left with the thread that forked.
    """

    inboxes: Sequence[SimpleQueue[Any]] = ()

    def __init__(self, n_threads: int) -> None:
        self.process = os.getpid()
        self.threads: list[threading.Thread] = []
        self.inboxes = inboxes = list[SimpleQueue[Any]]()
        for i in range(n_threads):
            inbox: SimpleQueue[Any] = SimpleQueue()
            thread = threading.Thread(
                target=_serve, args=(inbox, inboxes), name=f"fastbp-{i}", daemon=True
            )
            thread._started = _Beginning()  # type: ignore[attr-defined]
            inboxes.append(inbox)
            try:
                thread.start()
            except Exception:  # a limit of the system's, or the interpreter is about to end
                inboxes.pop()
                inbox.put(None)  # should it begin after all, it ends
                break
            self.threads.append(thread)

    @property
    def size(self) -> int:
        return len(self.threads)

    @property
    def is_here(self) -> bool:
        return self.process == os.getpid()

    def ask(self, thread: int, work: Callable[..., Any], *args: Any) -> SimpleQueue[Answer]:
        """Have a thread do work(*args) after what it was asked before; the queue of the answer."""
        answer: SimpleQueue[Answer] = SimpleQueue()
        self.inboxes[thread].put((answer, work, args))
        return answer

    def close(self) -> None:
        """End the threads and wait for that."""
        self.end()
        for thread in self.threads if self.is_here else ():
            thread.join()

    def end(self) -> None:
        """Have the threads end when they have done what they were asked."""
        for inbox in self.inboxes[:1]:
            inbox.put(None)

    __del__ = end  # where Ctrl-C came between a run and its `close`
