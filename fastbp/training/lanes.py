"""Runs side by side: one network in each lane of the CPU's vectors, driven in one thread.

What belongs here: which requests may share a group, what goes in and out of a lane, and when. What
does not: a step (kernels/loop/lanes.pxi), which thread drives which group (crew.py).
"""

from __future__ import annotations

import math
import time
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.dropout import of_layers
from fastbp.sparse import Lists
from fastbp.training.driver import EPOCHS_PER_SLICE, SLICE_SECONDS, Run
from fastbp.training.loop import Loop
from fastbp.training.outcome import Outcome
from fastbp.training.request import Request, flops
from fastbp.training.state import Position, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    Crew = Any  # crew.py's, which imports this file


# of epochs that are looked at together: a run that is to end has made up to as many for nothing
EPOCHS_TOGETHER = 8
KEPT_BYTES = 1 << 21


def key_of(request: Request) -> Any:
    """What the runs of a group have in common; None: this one trains alone."""
    net, data = request.net, request.data
    if request.driver is not Run or request.loss is not None or request.ema is not None:
        return None
    if callable(request.shuffle) or isinstance(data.X, Lists):
        return None
    if "clip_norm" in request.numbers or any(watcher.by_step for watcher in request.watchers):
        return None
    doors = net._doors
    if not doors.lanes_fit(net._compiled_of(data.X)):
        return None
    identity = request.state.identity
    return (
        net.sizes[0], net.layers, net._loss.name, net.dtype.char, identity.batch_size,
        identity.optimizer.policy, data.labels is None, data.missing, request.dropout is None,
        "batch_l2" in request.numbers,
    )  # fmt: skip


def fewest(request: Request) -> float:
    """Networks from which on a group is faster than one after the other."""
    net, identity = request.net, request.state.identity
    n: int = net._doors.fewest_in_lanes(
        net._compiled_of(request.data.X), identity.optimizer.policy, identity.batch_size
    )
    return n or math.inf


class Queue:
    """Requests of a kind that wait for a lane, of which any thread may take the last.

    Attributes
    ----------
    kind : Request
        One of them, by which a group is made, whoever is still waiting then.
    most_epochs : int
        Of any of them.
    """

    def __init__(self, members: Sequence[Outcome], fewest: int) -> None:
        self.waiting, self.fewest = deque(members), fewest
        self.kind = members[0].request
        self.most_epochs = max(outcome.request.epochs for outcome in members)


class Seat:
    """One lane, as the engine's part of one run: what `Run` asks of a trainer."""

    def __init__(self, lanes: Any, lane: int) -> None:
        self.lanes, self.lane, self.n_slots = lanes, lane, lanes.n_slots
        self.left_at: Position | None = None  # where a run stood that has left its lane

    @property
    def position(self) -> tuple[int, int, int, float, float]:
        at: tuple[int, int, int, float, float]
        at = self.lanes.position(self.lane) if self.left_at is None else self.left_at
        return at

    @property
    def epoch(self) -> int:
        return self.position[0]

    @property
    def diverged(self) -> bool:
        return bool(self.lanes.has_diverged(self.lane))

    def draw_by(self, source: Any) -> None:
        self.lanes.draw_by(self.lane, source)

    def stop_by(self, *rule: float) -> None:
        self.lanes.stop_by(self.lane, *rule)

    def set_step(self, numbers: dict[str, float]) -> None:
        self.lanes.set_step(self.lane, numbers)

    def set_course(self, course: np.ndarray) -> None:
        self.lanes.set_course(self.lane, course)


class LaneRun(Run):
    """A run in a lane. One that diverges is made again alone, from its last copy on."""

    loop: Loop
    kept: np.ndarray | None = (
        None  # of epochs that are looked at together: the states at their ends
    )

    def __init__(self, request: Request, group: Group, lane: int) -> None:
        self.group, self.lane, self.request = group, lane, request
        super().__init__(request)

    def begin(self, loop: Loop) -> None:
        """The loop that has this run is there."""
        self.loop = loop
        if loop.takes_several:
            self.kept = self.group.states(self.lane)
            self.group.lanes.keep(self.lane, self.kept)

    def _trainer(self, n_threads: int) -> Seat:
        return Seat(self.group.lanes, self.lane)

    def _ends(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        return self.group.losses[self.lane], self.group.clock[self.lane]

    def _load(self, parameters: np.ndarray, position: Position) -> None:
        data, identity, rates = self.data, self.start.identity, None
        if self.dropout is not None:
            rates = of_layers(self.dropout, self.net.layers)
        self.group.lanes.load(
            self.lane, data.X, data.dense, data.labels, data.weight, data.rows, self.order,
            identity.n, identity.seed, self.is_drawn, self.numbers, rates, *self.factors,
            parameters, self.slots, tuple(position), data.missing, identity.drop_last,
        )  # fmt: skip
        if self.draws is not None:
            self.trainer.draw_by(self.draws.source)
        self.course = self.course[:0]
        self.group.lanes.keep(self.lane, self.kept)

    def _take(self, parameters: np.ndarray) -> None:
        self._load(parameters, Position(*self.trainer.position))

    def _store(self, parameters: np.ndarray, slots: np.ndarray) -> None:
        self.group.lanes.store(self.lane, parameters, slots)

    def _is_finite(self) -> bool:
        return bool(self.group.lanes.has_finite_state(self.lane))

    def _recover(self) -> None:
        at = self.trainer.position
        state = State(self.start.identity, self.synced, self.slots)
        alone = Run(replace(self.request, state=state, numbers=self.numbers, driver=Run))
        alone.end_epoch = self.end_epoch
        try:
            alone.find_divergence(at[2] - self.synced.step)
        finally:
            self.trainer.left_at = self.synced = alone.synced
            self.slots = alone.slots

    def go_on_alone(self) -> None:
        """Leave the lane for an engine of the run's own."""
        self.sync()
        rule = self.group.lanes.rule(self.lane)
        self.group.lanes.clear(self.lane)
        self.__class__ = Run  # type: ignore[assignment]  # whom its watchers know
        self.trainer = self._trainer(1)
        self.losses, self.clock = self._ends(
            min(self.end_epoch - self.synced.epoch, self.losses.size)
        )
        self._load(self.net.parameters, self.synced)
        if rule is not None:
            self.stop_by(*rule)

    def end_with(self, epoch: int, made: int) -> None:
        """Be where so many of the epochs from `epoch` on had ended."""
        assert self.kept is not None
        at = self.trainer.position
        over = (at[0] - epoch - made) * self.per_epoch + at[1] // self.start.identity.batch_size
        self.trainer.left_at = self.synced = Position(epoch + made, step=at[2] - over)
        self.net.parameters[...], self.slots = (
            self.kept[made - 1, 0],
            self.kept[made - 1, 1:].copy(),
        )

    def look(self, epoch: int) -> None:
        """Have the loop look after a slice that began in `epoch`."""
        ended = self.epoch - epoch
        if self.kept is not None and ended:
            self.loop.look_at_several(epoch, self.kept[:ended, 0])
        if self.trainer.diverged and not self.loop.stop:
            if self.kept is None:
                self.loop.note(epoch)
            self._recover()
        if self.trainer.left_at is None:  # else the lane may have gone past the run's end
            self.sync_if_due()
        if self.kept is None or not ended:
            self.loop.look(epoch)

    @property
    def next_end(self) -> int:
        """Epoch before which the engine is to come back."""
        most = self.losses.size
        if self.loop.by_epoch:
            most = 1 if self.kept is None else len(self.kept)
        return min(self.end_epoch, self.epoch + most)


class Group:
    """Up to as many runs as there are lanes; a lane whose run has ended takes the next."""

    def __init__(self, crew: Crew, queue: Queue) -> None:
        first = queue.kind
        net, identity = first.net, first.state.identity
        self.crew, self.queue, self.doors, self.net = crew, queue, net._doors, net
        self.kept: np.ndarray | None = None
        self.lanes = self.doors.Lanes(
            net._compiled_of(first.data.X), identity.optimizer.policy, identity.batch_size,
            first.dropout is not None,
        )  # fmt: skip
        n = self.n_lanes = self.lanes.n_lanes
        self.losses = np.empty((n, max(1, min(queue.most_epochs, EPOCHS_PER_SLICE // n))))
        self.clock = np.empty_like(self.losses)
        self.seated: dict[int, tuple[Outcome, LaneRun]] = {}
        self.n_steps = max(1, int(2e7 / flops(n * net.n_parameters, identity.batch_size)))

    def states(self, lane: int) -> np.ndarray:
        """Room for a lane's parameters and slots at the ends of some epochs."""
        if self.kept is None:
            net, n_arrays = self.net, 1 + self.lanes.n_slots
            of_epoch = self.n_lanes * n_arrays * net.n_parameters * net.dtype.itemsize
            k = max(1, min(EPOCHS_TOGETHER, KEPT_BYTES // of_epoch, self.losses.shape[1]))
            shape = self.n_lanes, k, n_arrays, net.n_parameters
            self.kept = np.empty(shape, net.dtype)
        states: np.ndarray = self.kept[lane]
        return states

    def drive(self) -> None:
        """Train until nobody waits."""
        try:
            while n := self._fill():
                if n < self.queue.fewest and not self.queue.waiting:
                    self._disband()
                    return
                self._slice()
        except BaseException as error:
            for lane in list(self.seated):
                self._leave(lane, error)
            raise

    def _fill(self) -> int:
        """Give free lanes to those that wait; how many are taken."""
        free = [lane for lane in range(self.n_lanes) if lane not in self.seated]
        if free and self.queue.waiting:
            for outcome in self.crew.taken(self.queue, self.n_lanes, len(free)):
                lane = free.pop(0)
                made = replace(outcome.request, driver=lambda r, lane=lane: LaneRun(r, self, lane))
                loop = self.crew.begin(outcome, made)
                if loop is None:
                    self.lanes.clear(lane)
                    free.insert(0, lane)
                    continue
                run: LaneRun = loop.run
                run.begin(loop)
                self.seated[lane] = outcome, run
                if self._is_over(run):
                    self._leave(lane)
                    free.insert(0, lane)
        return len(self.seated)

    def _disband(self) -> None:
        """Too few are left for lanes to pay: each goes on alone, on whichever thread is free."""
        left = []
        for lane, (outcome, run) in list(self.seated.items()):
            try:
                run.go_on_alone()
            except BaseException as error:
                self._leave(lane, error)
            else:
                del self.seated[lane]
                left.append(outcome)
        self.crew.leave_alone(left)

    def _is_over(self, run: LaneRun) -> bool:
        return run.epoch >= run.end_epoch or run.loop.is_over or run.is_late

    def _slice(self) -> None:
        """Make steps for about SLICE_SECONDS, and have each run's loop look."""
        n = self.n_lanes
        ends, firsts = np.zeros(n, np.intp), np.zeros(n, np.intp)
        deadlines = [run.deadline for _, run in self.seated.values() if run.deadline]
        for lane, (_, run) in self.seated.items():
            firsts[lane], ends[lane] = run.epoch, run.next_end
            if run.scheduled:
                run._lay_course(self.n_steps, run.next_end)
        began = time.perf_counter()
        steps = self.doors.train_lanes(
            self.lanes, self.n_steps, ends, firsts, self.losses, self.clock,
            min(deadlines, default=0.0),
        )  # fmt: skip
        took = time.perf_counter() - began
        if steps == self.n_steps or took > 2 * SLICE_SECONDS:
            growth = SLICE_SECONDS / max(took, 1e-6)
            self.n_steps = max(1, int(steps * min(growth, 8.0)))
        of_each = took / len(self.seated)
        for lane, (_, run) in list(self.seated.items()):
            run.seconds += of_each
            if self.crew.halt.on:  # callbacks of others may take their time
                run.loop.note(int(firsts[lane]))
                self._leave(lane)
            else:
                self._look(lane, int(firsts[lane]))

    def _look(self, lane: int, epoch: int) -> None:
        """What is to be done for one run after a slice that it began in `epoch`."""
        _, run = self.seated[lane]
        try:
            run.look(epoch)
            if self._is_over(run):
                run.close()
        except Exception as error:
            self._leave(lane, error)
        else:
            if self._is_over(run):
                self._leave(lane)

    def _leave(self, lane: int, error: BaseException | None = None) -> None:
        """A run has ended: its lane is free."""
        outcome, run = self.seated.pop(lane)
        outcome.error = error
        try:
            halted = run.loop.halt.on or isinstance(error, KeyboardInterrupt)
            run.loop.end(error is None and not halted, halted)
        except Exception as failure:
            outcome.error = failure
        self.lanes.clear(lane)
        self.crew.end(outcome)
