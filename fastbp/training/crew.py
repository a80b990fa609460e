"""The runs of many requests: spread over threads, small ones side by side in lanes.

What belongs here: which thread trains which request, and how all of them end. What does not: what a
request is (request.py), lanes (lanes.py), one run (loop.py).
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue
from typing import Any, Protocol

from fastbp import inputs
from fastbp.training import lanes
from fastbp.training.loop import Halt, Loop
from fastbp.training.outcome import Outcome
from fastbp.training.request import Request, cores, flops, n_used, threads_that_pay
from fastbp.training.team import Team

WAIT_SECONDS = 0.05  # at most, until Ctrl-C is noticed
WORK_OF_A_THREAD = 5e7  # flops of all its runs, 1 ms: below that another does not pay


class Overseer(Protocol):
    """Who is told of each outcome, one at a time."""

    def begin(self) -> None: ...
    def after(self, outcome: Outcome) -> None: ...
    def end(self) -> None: ...


class Crew:
    """Trains requests on up to `n_threads` threads.

    `halts`: whether an error of one run is to end them all; it is raised when they have.
    """

    def __init__(
        self,
        requests: Sequence[Request],
        n_threads: Any = None,
        halts: Callable[[BaseException], bool] = lambda error: True,
    ) -> None:
        self.outcomes = [Outcome(i, request) for i, request in enumerate(requests)]
        self.halts = halts
        self.changed = threading.Condition()  # the queues; overseers are told under its lock
        self.n_groups = 0  # at work
        self.halt = Halt()
        self.overseers: list[Overseer] = []
        self.alone, self.groups = self._sorted()
        if n_threads is None:
            pay = sum(work_of(request) for request in requests) / WORK_OF_A_THREAD
            n_threads = min(cores(), 1 + int(pay))
        self.n_threads = inputs.as_count(n_threads, "threads")

    def watch(self, overseer: Overseer) -> None:
        self.overseers.append(overseer)

    def _sorted(self) -> tuple[deque[Outcome], list[lanes.Queue]]:
        """Those that train alone, the longest first, and those that train in lanes."""
        by_key: dict[Any, list[Outcome]] = {}
        alone = []
        for outcome in self.outcomes:
            key = lanes.key_of(outcome.request)
            if key is None:
                alone.append(outcome)
            else:
                by_key.setdefault(key, []).append(outcome)
        groups = []
        for members in by_key.values():
            if len(members) >= (fewest := lanes.fewest(members[0].request)):
                groups.append(lanes.Queue(members, int(fewest)))
            else:
                alone += members
        alone.sort(key=lambda outcome: -work_of(outcome.request))
        return deque(alone), groups

    def train(self) -> list[Outcome]:
        """Every outcome, in the order of the requests."""
        n_units = len(self.alone) + sum(len(queue.waiting) for queue in self.groups)
        self.size = max(1, min(self.n_threads, n_units))
        if len(self.alone) == n_units < self.n_threads:  # the few that there are share the threads
            for outcome in self.alone:
                request = outcome.request
                batch_size = request.state.identity.batch_size
                pay = threads_that_pay(request.net, batch_size, request.data.X)
                request.n_threads = min(pay, self.n_threads // self.size)
        for overseer in self.overseers:
            overseer.begin()
        try:
            if self.size == 1:
                self._work()
            else:
                self._work_together()
        finally:
            for overseer in self.overseers:
                overseer.end()
        for outcome in self.outcomes:
            if outcome.error is not None and self.halts(outcome.error):
                raise outcome.error
        return self.outcomes

    def _work_together(self) -> None:
        """Have several threads work."""
        team = Team(self.size)
        try:
            if team.size == 0:
                raise RuntimeError("no thread could be started")
            self.size = team.size
            answers = [team.ask(thread, self._work) for thread in range(team.size)]
            errors = [_error(answer) for answer in answers]
        except BaseException:  # Ctrl-C, at any line
            self.halt.on = True  # before it is waited for them
            raise
        finally:
            team.close()
        for error in errors:
            if error is not None:
                raise error

    def _work(self) -> None:
        """What a thread does: requests one by one, then groups of them, until there are none."""
        try:
            while (work := self._next()) is not None:
                if isinstance(work, Outcome):
                    self._train_alone(work)
                    continue
                try:
                    lanes.Group(self, work).drive()
                finally:
                    with self.changed:
                        self.n_groups -= 1
                        self.changed.notify_all()
        except BaseException:
            with self.changed:
                self.halt.on = True
                self.changed.notify_all()
            raise

    def _next(self) -> Outcome | lanes.Queue | None:
        """What a thread is to train; it waits while groups are at work, which may leave some."""
        with self.changed:
            while not self.halt.on:
                if self.alone:
                    return self.alone.popleft()
                for queue in self.groups:
                    if queue.waiting:
                        self.n_groups += 1
                        return queue
                if not self.n_groups:
                    return None
                self.changed.wait(WAIT_SECONDS)
        return None

    def _train_alone(self, outcome: Outcome) -> None:
        loop = outcome.loop or self.begin(outcome, outcome.request)
        if loop is None:
            return
        try:
            loop.go()
        except BaseException as error:
            outcome.error = error
            if not isinstance(error, Exception):
                raise
        finally:
            self.end(outcome)

    def begin(self, outcome: Outcome, request: Request) -> Loop | None:
        """The loop of a request; None: it could not begin, and has ended."""
        try:
            outcome.loop = Loop(request, self.halt)
        except Exception as error:
            outcome.error = error
            self.end(outcome)
        return outcome.loop

    def end(self, outcome: Outcome) -> None:
        """A request has come to its end."""
        if outcome.error is not None and self.halts(outcome.error):
            self.halt.on = True
        with self.changed:
            for overseer in self.overseers:
                overseer.after(outcome)
            outcome.let_go()

    def taken(self, queue: lanes.Queue, n_lanes: int, free: int) -> list[Outcome]:
        """Of those that wait in a queue, what is to have the free lanes of one thread's group.

        A new group leaves their share to the threads that have none; of too few, each trains alone.
        """
        with self.changed:
            waiting = queue.waiting
            n = 0 if self.halt.on else min(free, len(waiting))
            if free == n_lanes:
                share = -(-len(waiting) // (self.size - self.n_groups + 1))
                n = min(n, max(share, queue.fewest))
                if n < queue.fewest:
                    self.leave_alone([waiting.popleft() for _ in range(n)])
                    n = 0
            return [waiting.popleft() for _ in range(n)]

    def leave_alone(self, outcomes: list[Outcome]) -> None:
        """Have them train alone, on whichever threads."""
        with self.changed:
            self.alone.extend(outcomes)
            self.changed.notify_all()


def work_of(request: Request) -> float:
    """Of a run, about, in flops."""
    net, data = request.net, request.data
    return flops(n_used(net, data.X), data.n) * request.epochs


def _error(answer: SimpleQueue[Any]) -> BaseException | None:
    """What ended a thread's work, once it has ended.

    Where a library has waiting go on after a signal (polars does), one without an end would not
    notice Ctrl-C.
    """
    while True:
        try:
            return answer.get(timeout=WAIT_SECONDS)[1]
        except Empty:
            continue
