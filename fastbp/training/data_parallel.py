"""A run that several ranks make together: each has rows of its own, all make the same steps.

What belongs here: which rows of a batch a rank computes, what is summed over ranks and when. What
does not: how they agree and fail (reduce.py), what is asked for (distributed.py), a step (the
engine: kernels/loop/share.pxi).

The order of an epoch is that of all rows, by the seed as in one process; each rank draws it and
takes its own rows from it. So batches, masks and numbers are those of one process, and the bits of
all ranks are the same, for each computes the same from the same sums.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp.training.driver import SLICE_SECONDS, DivergenceError, Run
from fastbp.training.lbfgs import Halt, Minimisation
from fastbp.training.reduce import Ranks, digest
from fastbp.training.state import Position

if TYPE_CHECKING:
    from fastbp.network import Network
    from fastbp.samples import Samples
    from fastbp.training.loop import Loop
    from fastbp.training.request import Request

BAD, END, TOLD = 1, 2, 16  # what is told behind a gradient (kernels/loop/share.pxi)
SYNC_SLICES = 32  # between copies that a diverged run is made again from
ENDLESS = 1 << 62  # steps of a slice, which ends when a rank wants it to


class Share(NamedTuple):
    """Which samples a rank has.

    `numbers`: of its rows, ascending, among the n of all ranks; `weight`: of all n together;
    `is_weighted`: whether the samples have weights.
    """

    ranks: Ranks
    n: int
    numbers: np.ndarray
    weight: float
    is_weighted: bool


class Reducer:
    """Sums the ranks' gradients where the engine asks for it, in the middle of a step.

    It knows neither run nor trainer, so that memory goes with the last of these.
    """

    buffer: np.ndarray

    def __init__(self, ranks: Ranks) -> None:
        self.ranks = ranks
        self.ends_at = math.inf  # in seconds of time.monotonic
        self.error: BaseException | None = None
        self.probes = self.was_bad = False

    @property
    def wants_back(self) -> bool:
        """Whether the engine is to come back to Python after the step."""
        return bool(self.ranks.interrupts) or time.monotonic() >= self.ends_at

    def __call__(self) -> bool:
        """Whether no step is to be made."""
        try:
            if self.probes:
                self.was_bad = bool(self.buffer[-TOLD + BAD]) or not np.isfinite(self.buffer).all()
                return True
            self.buffer[-TOLD + END] = self.wants_back
            self.ranks.add(self.buffer)
            return False
        except BaseException as error:  # the engine cannot pass it on
            self.error = error
            return True


class DataParallel(Run):
    """The engine's part of one rank: its steps are those of one process, to rounding."""

    def __init__(self, share: Share, request: Request) -> None:
        self.share, self.ranks = share, share.ranks
        self.own = np.full(share.n, -1, np.intp)  # where a row of all is here
        self.own[share.numbers] = np.arange(len(share.numbers))
        self.drawn = np.arange(share.n, dtype=np.intp)
        self.late, self.n_slices = False, 0
        self.reducer = Reducer(self.ranks)
        super().__init__(request)
        self.n_steps = ENDLESS
        self._reduce()

    def _reduce(self) -> None:
        """Have every step's gradient summed over the ranks."""
        self.reducer.buffer = np.asarray(self.trainer.reduce_by(self.reducer))

    def _rows(self) -> tuple[Any, ...]:
        run, here = self.start.identity, max(1, len(self.share.numbers))
        most = min(run.batch_size, here)
        usual = run.batch_size / self.ranks.size
        expected = min(most, math.ceil(usual + 3 * math.sqrt(usual)) + 1)
        return here, most, False, False, True, expected

    def _redraw(self, at: Position) -> None:
        """`_lay_epoch` does, where steps are made."""

    def _take_order(self, epoch: int, shuffle: Any) -> None:
        """The same."""

    def _pace(self, steps: int, seconds: float) -> None:
        """Slices end when a rank wants it."""

    def _lay_epoch(self, epoch: int) -> None:
        """Give the engine what is here of the batches of an epoch."""
        run, drawn = self.start.identity, self.drawn
        if callable(self.shuffle):
            self.sync()  # a replay from an earlier epoch would need that epoch's order
            drawn = self._asked_order(epoch, self.shuffle)
            self.ranks.same(digest(drawn), "shuffle: expected an order of all rows,")
        elif self.shuffle:
            self.doors.draw_order(drawn, None, run.seed, epoch)
        here = self.own[drawn[: run.rows]]
        at = np.flatnonzero(here >= 0)
        self.order = here[at]
        if not at.size:  # that nobody reads; but an array has a first element
            self.order = np.zeros(1, np.intp)
        starts = np.searchsorted(at, np.arange(run.steps + 1) * run.batch_size)
        self.weights = self._weights(at // run.batch_size)
        places = at % run.batch_size if at.size else self.order
        self.trainer.take_part(starts, places, self.weights, run.batch_size, run.rows)
        self.ordered_epoch = epoch

    def _weights(self, batches: np.ndarray) -> np.ndarray:
        """Of an epoch's batches, by which their gradients are divided.

        `batches`: of which each row of `order` is.
        """
        run = self.start.identity
        if self.share.is_weighted:
            return self.ranks.sum(self._own_weights(batches))
        weights = np.full(run.steps, float(run.batch_size))
        weights[-1] = run.rows - (run.steps - 1) * run.batch_size
        return weights

    def _own_weights(self, batches: np.ndarray) -> np.ndarray:
        """Of what is here of each."""
        weight = None
        if self.data.weight is not None:
            weight = self.data.weight[self.order[: len(batches)]]
        own = np.bincount(batches, weight, self.start.identity.steps)
        return own.astype(np.float64)

    def _prepare(self, n_steps: int) -> None:
        """Have all in place that the steps at hand need, for within them nothing may fail."""
        epoch = self.epoch
        if epoch != self.ordered_epoch:
            self._lay_epoch(epoch)
        if self.scheduled:
            self._lay_course(min(n_steps, self.per_epoch), epoch + 1)

    def _train(self, n_steps: int, end_epoch: int) -> int:
        self.ranks.together(self._prepare, n_steps)
        return self._steps(n_steps)

    def _steps(self, n_steps: int) -> int:
        """Make steps of the epoch at hand."""
        data, epoch = self.data, self.epoch
        self.reducer.error = None
        steps = self._make(
            (n_steps, epoch + 1, data.X, data.dense, data.labels, data.weight, self.order, epoch,
             self.losses, self.clock, 0.0, data.missing)
        )  # fmt: skip
        if self.reducer.error is not None:
            raise self.reducer.error
        return steps

    def slice(self, end_epoch: int, one_step: bool = False) -> None:
        soon = time.monotonic() + SLICE_SECONDS
        self.reducer.ends_at = min(soon, self.deadline) if self.deadline else soon
        super().slice(end_epoch, one_step)

    def turn(self, loop: Loop, epoch: int) -> None:
        def work() -> tuple[bool, bool]:
            super(DataParallel, self).turn(loop, epoch)
            return loop.stop, self.deadline != 0.0 and time.monotonic() >= self.deadline

        stop, late = self.ranks.decide(work)
        loop.stop, self.late = bool(stop), bool(late)

    @property
    def is_late(self) -> bool:
        """As all ranks have it."""
        return self.late

    def sync_if_due(self) -> None:
        self.n_slices += 1  # not by the clock, which is another on every rank
        if self.n_slices % SYNC_SLICES == 0:
            self.sync()

    def sync(self) -> None:
        super().sync()
        self._check_same("parameters: expected")

    def set(self, name: str, number: float) -> None:
        bits = int(np.float64(number).view(np.int64))
        self.ranks.same(bits, f"schedule: expected a {name}")
        super().set(name, number)

    def reload(self) -> None:
        self._check_same("callbacks: expected parameters to be written that are")
        super().reload()

    def _check_same(self, expected: str) -> None:
        if self.ranks.told is None:
            self.ranks.same(digest(self.net.parameters), expected)

    def _recover(self) -> None:
        self.reducer.ends_at = math.inf
        try:
            super()._recover()
        except DivergenceError as error:
            if self.ranks.told is not None:
                raise
            rank = self._first_bad()
            told = error.step, error.epoch, error.learning_rate, error.place, rank
            raise DivergenceError(*told) from None

    def _first_bad(self) -> int | None:
        """The first rank of whose rows the next step's gradient is not finite."""
        position = self.trainer.position
        self.trainer.position = position  # which is no longer one that has diverged
        self.reducer.probes, self.reducer.was_bad = True, False
        self._train(1, self.epoch + 1)
        self.reducer.probes = False
        self.trainer.position = position
        return self.ranks.first(self.reducer.was_bad)


class LocalSteps(DataParallel):
    """Each rank steps by its own rows alone, and all take the mean of what they have come to.

    That is every so many steps and at the end of each epoch; only there does a run stand, and is
    anything looked at. A rank that has no row of a batch makes no step of it.
    """

    def __init__(self, every: int, share: Share, request: Request) -> None:
        self.every = every
        super().__init__(share, request)
        net, n = self.net, self.net.n_parameters
        self.payload = np.zeros(
            ((1 + len(self.slots) + (self.ema is not None)) * n + TOLD), net.dtype
        )
        self.arrays = self.payload[:-TOLD].reshape(-1, n)
        self._stand(self.synced)

    def _reduce(self) -> None:
        """Nothing is summed within a step."""

    def _rows(self) -> tuple[Any, ...]:
        return (*super()._rows()[:-1], 0)

    def _weights(self, batches: np.ndarray) -> np.ndarray:
        return self._own_weights(batches)

    def _stand(self, at: Position) -> None:
        """Have the trainers go on from here: of the epoch's sums the first one has all."""
        self.synced = at
        sums = (at.loss_sum, at.weight_sum) if self.ranks.is_first else (0.0, 0.0)
        self.trainer.position = (*at[:3], *sums)

    def _train(self, n_steps: int, end_epoch: int) -> int:
        steps, epoch = 0, self.epoch
        self.ranks.together(self._prepare, n_steps)
        while self.epoch == epoch and steps < n_steps:
            steps += self._period(n_steps - steps)
            if self.payload[-TOLD + END] > 0:
                break
        return steps

    def _period(self, most: int) -> int:
        """Make the steps up to the next mean, and form it."""
        first = self.synced
        ahead = min(self.every - first.step % self.every, most)
        steps = self._steps(ahead)
        bad = self.trainer.diverged or not self._is_finite()
        epoch, row, step, loss, weight = self.trainer.position
        batch_size = self.start.identity.batch_size
        if epoch > first.epoch:  # the engine has begun new sums
            weight = first.weight_sum if self.ranks.is_first else 0.0
            weight += float(self.weights[first.row // batch_size :].sum())
            loss = float(self.losses[0]) * weight if weight else 0.0
        tail = self.payload[-TOLD:]
        self.doors.store_state(self.trainer, self.arrays[0], self.arrays[1 : 1 + len(self.slots)])
        if self.ema is not None:
            self.doors.store_average(self.trainer, self.arrays[-1])
        tail[:4] = 0.0 if bad else loss, bad, self.reducer.wants_back, weight
        with np.errstate(over="ignore", invalid="ignore"):
            self.ranks.add(self.payload)
            self.payload[:-TOLD] /= self.ranks.size
        if tail[BAD] > 0 or not np.isfinite(self.payload).all():
            self._go_back(bad)
        return self._take_mean(Position(epoch, row, step, float(tail[0]), float(tail[3])), steps)

    def _take_mean(self, at: Position, steps: int) -> int:
        first = self.synced
        self.net.parameters[...] = self.arrays[0]
        self.slots[...] = self.arrays[1 : 1 + len(self.slots)]
        self._take(self.net.parameters)
        if self.ema is not None:
            self.average = self.arrays[-1].copy()
            self.doors.load_average(self.trainer, self.average)
        if at.epoch > first.epoch:
            self.losses[0] = at.loss_sum / at.weight_sum if at.weight_sum else math.nan
            at = Position(*at[:3])
        self._stand(at)
        return steps

    def _go_back(self, bad: bool) -> None:
        """To the last mean, and raise."""
        self._load(self.net.parameters, self.synced)
        self._stand(self.synced)
        rank = self.ranks.first(bad)
        raise DivergenceError(self.synced.step, self.synced.epoch, self.rate, "", rank)

    def settle(self) -> None:
        """It is where the run stands."""

    def sync(self) -> None:
        """The same."""


class Joint(Minimisation):
    """L-BFGS on the rows of all ranks: SciPy runs on each of them, on the same sums."""

    def __init__(self, share: Share, request: Request) -> None:
        super().__init__(request)
        self.share, self.ranks = share, share.ranks
        self.net.parameters[...] = self.ranks.share_array(self.net.parameters.copy())

    def look(self, loop: Loop) -> None:
        def work() -> tuple[bool]:
            super(Joint, self).look(loop)
            return (loop.stop,)

        (stop,) = self.ranks.decide(work)
        loop.stop = bool(stop)

    def weight(self) -> np.ndarray | None:
        weight = self.data.weight  # in range for the samples of all ranks
        return None if weight is None else weight.astype(np.float64)

    def loss_and_gradient(
        self, twin: Network, data: Samples, decays: list[float]
    ) -> tuple[float, np.ndarray]:
        theta = digest(twin.parameters)
        most, minus_least, late = self.ranks.agree("evaluate", theta, -theta, self.is_late)
        if most != -minus_least:
            self.ranks.refuse(RuntimeError("LBFGS: SciPy went another way on another rank"))
        if late:
            raise Halt
        both = np.zeros(1 + twin.n_parameters)
        here = len(self.share.numbers)
        own = float(here if data.weight is None else data.weight.sum()) if here else 0.0
        if own:
            loss, gradient = twin._loss_and_gradient(data, 0.0, decays)
            share = own / self.share.weight
            both[0], both[1:] = share * loss, share * gradient
        self.ranks.add(both)
        gradient, at = both[1:], 0
        for tensor, decay in zip(twin.tensors.values(), decays, strict=True):
            gradient[at : at + tensor.size] += decay * self.l2 / self.n * tensor.ravel()
            at += tensor.size
        return float(both[0]) + twin._penalty(self.n, self.l2, 0.0, decays), gradient
