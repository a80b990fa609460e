"""How the engine is driven through a run from Python.

What belongs here: slices of steps between looks at signals, threads, the state that a diverged run
is brought back from. What does not: what the user asks for (fit.py), what is looked at between
slices (loop.py, watchers/), a step (the engine makes whole epochs of them without the GIL).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import inputs
from fastbp.dropout import of_layers
from fastbp.sparse import Lists
from fastbp.training.draws import Draws
from fastbp.training.own_loss import UserLoss, value_and_slope
from fastbp.training.request import Request, flops, n_used
from fastbp.training.state import Position, State

if TYPE_CHECKING:
    from collections.abc import Mapping

    from fastbp.training.loop import Loop
    from fastbp.training.team import Team

SLICE_SECONDS = 0.03  # between looks at signals: Ctrl-C is to act within 0.1 s
SYNC_SECONDS = 1.0  # between copies of the state that a diverged run is replayed from
EPOCHS_PER_SLICE = 1 << 16  # at most; room for their losses
STEPS_AHEAD = 256  # for which numbers are made, where slices are shorter
STEPS_AT_ONCE = 4096  # arrays of so many stay in the caches: half of the time that numbers take

COLUMNS = {"learning_rate": 0.0, "weight_decay": 0.0, "dropout": 1.0}  # of a step, and without
NO_COURSE = np.empty((0, len(COLUMNS)))


class DivergenceError(ArithmeticError):
    """The loss or a parameter became NaN or infinite; the network holds the last finite parameters.

    So did what the optimizer keeps of a parameter, which would stand still from then on.

    Attributes
    ----------
    step : int
        Steps made before, from the start of the run.
    epoch : int
        From 0.
    learning_rate : float
    place : str
        Of the parameter of which the optimizer's state became infinite; else "".
    rank : int or None
        Of several that train together, the first whose rows' gradient was not finite.
    """

    def __init__(
        self,
        step: int,
        epoch: int,
        learning_rate: float,
        place: str = "",
        rank: int | None = None,
    ) -> None:
        what, remedy = "the loss or a parameter became NaN or infinite", "a smaller learning rate"
        if place:
            what = f"the optimizer's state of {place} became infinite: its gradient has no square"
            remedy = "standardised features, dtype='float64' or clip_value"
        if rank is not None:
            what = f"of the rows of rank {rank}, {what}"
        super().__init__(
            f"training diverged at step {step} (epoch {epoch}) with learning rate "
            f"{learning_rate:g}: {what}. The network holds the last finite parameters; {remedy} "
            "may help"
        )
        self.step, self.epoch, self.learning_rate, self.place = step, epoch, learning_rate, place
        self.rank = rank

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.epoch, self.learning_rate, self.place, self.rank)


def check_fit(numbers: dict[str, float], dtype: np.dtype[Any]) -> None:
    """Refuse numbers that the engine, which computes with `dtype`, would take for infinite."""
    if max(numbers.values()) < 3e38:  # of any dtype; what follows takes a microsecond
        return
    largest = float(np.finfo(dtype).max)
    for name, number in numbers.items():
        # without a bound that is never reached there is none
        if not (number <= largest or name in ("clip_value", "clip_norm")):
            shown = {"l2": "l2 / n", "l1": "l1 / n", "batch_l2": "alpha"}.get(name, name)
            raise ValueError(f"{shown}: expected a number that {dtype} holds; got {number:g}")


class Run:
    """The engine's part of one run: its trainer, its threads, the last state known to be finite.

    Attributes
    ----------
    net : Network
        Its parameters are those of `synced`.
    history : History
    average : ndarray or None
        The moving average of the parameters as it was at `synced`, a new array each time; None
        where none is kept, or none has begun: what is judged.
    """

    def __init__(self, request: Request) -> None:
        net, state = request.net, request.state
        identity, own = state.identity, net.parameters
        check_fit(request.numbers, own.dtype)
        self.net, self.data, self.start = net, request.data, state
        self.history, self.shuffle, self.loss = request.history, request.shuffle, request.loss
        self.draws = self.shuffle if isinstance(self.shuffle, Draws) else None
        self.is_drawn = self.shuffle is True or self.draws is not None  # by the engine
        self.doors = net._doors
        self.numbers, self.dropout = request.numbers, request.dropout
        self.factors = request.rates, request.decays
        self.scheduled = request.scheduled
        self.course = NO_COURSE  # numbers of the steps from `course_at` on
        self.course_at = 0
        self.recorded = request.recorded
        self.deadline = request.deadline  # in seconds of time.monotonic; 0: none
        self.ema = request.ema
        self.average = None if self.ema is None else state.watched.get("average")
        parameters = own if state.parameters is None else state.parameters
        self.team: Team | None = None
        self.trainer = self._trainer(
            1 if request.n_threads == 1 else self._gather(request.n_threads)
        )
        self.per_epoch = identity.steps
        self.end_epoch = state.position.epoch + request.epochs
        self.losses, self.clock = self._ends(min(request.epochs, EPOCHS_PER_SLICE))
        self.order = self._first_order()
        self._redraw(state.position)
        if self.draws is not None:
            self.draws.mark(state.position, self.order)
        self.ordered_epoch = -1
        # parameters (in the network) and slots as they were at `synced`, outside the trainer: a run
        # that diverges is made again from here
        self.synced = state.position
        self.slots = np.zeros((self.trainer.n_slots, own.size), own.dtype)
        if state.slots is not None:
            self.slots[...] = state.slots
        elif identity.optimizer.initial_slot:
            self.slots.fill(identity.optimizer.initial_slot)
        self.synced_at = time.perf_counter()
        self.seconds = 0.0
        # about 1 ms to begin with
        self.n_steps = max(1, int(2e7 / flops(n_used(net, self.data.X), identity.batch_size)))
        self._load(parameters, state.position)
        # last: where memory or threads are wanting, nothing has been changed
        if parameters is not own:
            own[...] = parameters

    def _first_order(self) -> np.ndarray:
        """The rows of an epoch, before any order is drawn."""
        rows = self.data.rows
        return np.arange(self.start.identity.n, dtype=np.intp) if rows is None else rows.copy()

    def _room(self, batch_size: int) -> int:
        """Elements of the longest batch there may be, where X is sparse."""
        X = self.data.X
        if not isinstance(X, Lists):
            return 0
        return X.most(batch_size, self.data.rows)

    def _ends(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Room for the losses and times of the ends of so many epochs."""
        return np.empty(n), np.empty(n)

    def _trainer(self, n_threads: int) -> Any:
        """The engine's, for so many threads; for one where their memory leaves none for it."""
        run, masks, X = self.start.identity, None, self.data.X
        n, batch_size, is_drawn, drop_last, *share = self._rows()
        try:
            if self.dropout is not None:
                rates = of_layers(self.dropout, self.net.layers)
                masks = self.doors.Masks(rates, run.seed, 0)
            return self.doors.Trainer(
                self.net._compiled_of(X),
                run.optimizer.policy,
                self.numbers,
                n,
                batch_size,
                n_threads,
                is_drawn,
                run.seed,
                masks,
                self.loss is not None,
                *self.factors,
                self.ema,
                self._room(batch_size),
                self.data.rows,
                drop_last,
                *share,
            )
        except MemoryError:
            if self.team is None:
                raise
            self.team.close()
            self.team = None
            return self._trainer(1)

    def _rows(self) -> tuple[Any, ...]:
        """What the trainer is told of rows: how many, of a batch, who draws and drops some."""
        run = self.start.identity
        return run.n, run.batch_size, self.is_drawn, run.drop_last

    def _gather(self, n_threads: int) -> int:
        """Start the run's threads; how many there are, on which the bits do not depend."""
        from fastbp.training.team import Team

        team = Team(n_threads)
        if team.size > 1:
            self.team = team
            return team.size
        team.close()
        self.team = None
        return 1

    @property
    def epoch(self) -> int:
        return int(self.trainer.epoch)

    @property
    def step(self) -> int:
        """Steps made."""
        return int(self.trainer.position[2])

    @property
    def samples(self) -> int:
        """Samples used since the start."""
        at, first = self.trainer.position, self.start.position
        return int((at[0] - first[0]) * self.start.identity.rows + at[1] - first[1])

    @property
    def rate(self) -> float:
        """Learning rate, of the step at hand."""
        if "learning_rate" in self.scheduled:
            return float(self.scheduled["learning_rate"](self._steps_of_epochs(), 1)[0])
        return self.numbers["learning_rate"]

    @rate.setter
    def rate(self, rate: float) -> None:
        self.set("learning_rate", rate)

    def set(self, name: str, number: float) -> None:
        """Have a number of the steps to come, by the engine's name."""
        if number != self.numbers[name]:
            self.settle()  # a replay from an earlier step would need that of then
            self.numbers = self.numbers | {name: number}
            self.trainer.set_step(self.numbers)
            self.course = self.course[:0]

    def _steps_of_epochs(self) -> int:
        """Steps that the epochs up to the one at hand have had, and that one so far."""
        epoch, row, *_ = self.trainer.position
        return int(epoch * self.per_epoch + row // self.start.identity.batch_size)

    def _lay_course(self, n_steps: int, end_epoch: int) -> None:
        """Hand the engine the numbers of its next steps, where each has its own.

        They go by the step's place in the run: steps that are made again have the same.
        """
        first = self._steps_of_epochs()
        last = min(first + n_steps, end_epoch * self.per_epoch)
        at = first - self.course_at
        if not 0 <= at <= at + last - first <= len(self.course):
            count = min(max(last - first, STEPS_AHEAD), self.end_epoch * self.per_epoch - first)
            self.course, self.course_at, at = np.empty((count, len(COLUMNS))), first, 0
            for column, (name, otherwise) in enumerate(COLUMNS.items()):
                self.course[:, column] = self.numbers.get(name, otherwise)
                for part in range(0, count if name in self.scheduled else 0, STEPS_AT_ONCE):
                    m = min(STEPS_AT_ONCE, count - part)
                    of_each = self.scheduled[name](first + part, m)
                    self.course[part : part + m, column] = of_each
        self.trainer.set_course(self.course[at : at + last - first])

    def at_ends(self, name: str, n_epochs: int) -> list[float]:
        """A number as the last step had it of each of the last epochs, those of the last slice."""
        if name not in self.scheduled:
            return [self.numbers[name]] * n_epochs
        lasts = np.arange(self.epoch - n_epochs + 1, self.epoch + 1) * self.per_epoch - 1
        found: list[float] = self.course[lasts - self.course_at, list(COLUMNS).index(name)].tolist()
        return found

    def is_ready(self) -> bool:
        """Whether there are rows for the next steps."""
        return True

    @property
    def is_late(self) -> bool:
        return self.deadline != 0.0 and time.monotonic() >= self.deadline

    def drive(self, loop: Loop) -> None:
        """Make the run's epochs, and have the loop look after each slice of steps."""
        while (epoch := self.trainer.epoch) < self.end_epoch and not loop.is_over:
            if self.is_late or not self.is_ready():
                break
            self.turn(loop, epoch)
        self.close()  # which may find that the last step was one too many

    def turn(self, loop: Loop, epoch: int) -> None:
        """Make a slice of steps from within an epoch, and have the loop look."""
        self.slice(epoch + 1 if loop.by_epoch else self.end_epoch, bool(loop.by_step))
        loop.look(epoch)

    @property
    def columns(self) -> tuple[str, ...]:
        """What `record` gives, by name."""
        return ("loss", "learning_rate", "seconds", *self.recorded)

    def record(self, n_epochs: int, began: float) -> dict[str, list[float]]:
        """What the history is to hold of the last epochs, those of the last slice."""
        found = {
            "loss": self.losses[:n_epochs].tolist(),
            "learning_rate": self.at_ends("learning_rate", n_epochs),
            "seconds": [at - began for at in self.clock[:n_epochs].tolist()],
        }
        for name in self.recorded:
            found[name] = self.at_ends(name, n_epochs)
        return found

    def slice(self, end_epoch: int, one_step: bool = False) -> None:
        """Make steps for about SLICE_SECONDS, ending before `end_epoch`, or one step."""
        if not self.is_drawn and callable(self.shuffle):
            self._take_order(self.epoch, self.shuffle)
            end_epoch = min(end_epoch, self.epoch + 1)
        began = time.perf_counter()
        steps = self._train(1 if one_step else self.n_steps, end_epoch)
        if one_step and steps:
            self.sync()
        now = time.perf_counter()
        self.seconds += now - began
        if self.trainer.diverged:
            self._recover()
        self._pace(steps, now - began)
        self.sync_if_due()

    def _pace(self, steps: int, seconds: float) -> None:
        """Have slices take about SLICE_SECONDS."""
        if steps == self.n_steps or seconds > 2 * SLICE_SECONDS:
            growth = SLICE_SECONDS / max(seconds, 1e-6)
            self.n_steps = max(1, int(steps * min(growth, 8.0)))

    def _train(self, n_steps: int, end_epoch: int) -> int:
        """Make steps with every thread; returns how many. Losses of epochs begin at losses[0]."""
        data, first = self.data, self.trainer.epoch
        end_epoch = min(end_epoch, first + self.losses.size)
        if self.scheduled:
            self._lay_course(n_steps, end_epoch)
        if self.loss is not None:
            return self._train_in_python(self.loss, n_steps, end_epoch)
        deadline = self.deadline
        if self.team is not None:  # threads wait long for each other where others want the cores
            latest = time.monotonic() + 2 * SLICE_SECONDS
            deadline = min(deadline, latest) if deadline else latest
        rest: tuple[Any, ...] = (n_steps, end_epoch, data.X, data.dense, data.labels, data.weight)
        rest += (self.order, first, self.losses, self.clock, deadline, data.missing)
        if self.team is not None and not self.team.is_here:  # this is a fork of the run's process
            self._gather(self.team.size)
        with nullcontext() if self.draws is None else self.draws.lock:
            return self._make(rest)

    def _make(self, rest: tuple[Any, ...]) -> int:
        """Have the engine make steps, with every thread."""
        if self.team is None:
            self.trainer.share(1)
            return int(self.doors.train(self.trainer, 0, *rest))
        # Ctrl-C acts in the main thread, between any two of its instructions. It must not come when
        # some threads wait at a barrier for another not yet at work: one of them sets all to work.
        steps, error = self.team.ask(0, self._train_together, self.team, rest).get()
        if error is not None:
            raise error
        return int(steps)

    def _train_in_python(self, loss: UserLoss, n_steps: int, end_epoch: int) -> int:
        """As `_train`, with a user's own loss between the two halves of each step."""
        trainer, data, first, steps = self.trainer, self.data, self.epoch, 0
        while steps < n_steps and self.epoch < end_epoch:
            epoch, row, _, total, weights = trainer.position
            if row == 0 and self.is_drawn:
                self._draw(epoch)
            m = min(self.start.identity.batch_size, self.start.identity.rows - row)
            rows = self.order[row : row + m]
            outputs = np.empty((m, self.net.sizes[-1]), self.net.dtype)
            self.doors.step_outputs(trainer, data.X, self.order, row, m, outputs)
            weight = np.ones(m, self.net.dtype) if data.weight is None else data.weight[rows]
            of_batch = float(weight.sum(dtype=np.float64))  # before somebody else has them
            value, slope = value_and_slope(loss, outputs, data.Y[rows], weight)
            if not np.isfinite(value):
                slope = np.full_like(slope, np.nan)  # no step, but the mark of divergence
            if not self.doors.step_update(trainer, slope):
                break
            total, weights = total + value * of_batch, weights + of_batch
            if trainer.position[0] > epoch:
                self.losses[epoch - first] = total / weights
                self.clock[epoch - first] = time.time()
                total = weights = 0.0
            trainer.position = (*trainer.position[:3], total, weights)
            steps += 1
            if self.is_late:
                break
        return steps

    def _train_together(self, team: Team, rest: tuple[Any, ...]) -> int:
        """What the first thread does: have the others do their part, and do its own."""
        self.trainer.share(team.size)
        others, steps, failure = [], 0, None
        try:
            for thread in range(1, team.size):
                others.append(team.ask(thread, self._take_part, thread, rest))
            steps = self._take_part(0, rest)
        except BaseException as error:
            self.trainer.give_up()
            failure = error
        for other in others:
            failure = other.get()[1] or failure
        if failure is not None:
            raise failure
        return steps

    def _take_part(self, thread: int, rest: tuple[Any, ...]) -> int:
        try:
            return int(self.doors.train(self.trainer, thread, *rest))
        except BaseException:
            self.trainer.give_up()  # the others wait for this one
            raise

    def _take_order(self, epoch: int, shuffle: Callable[[int, int], Any]) -> None:
        """Have the caller's order of an epoch in place."""
        if epoch == self.ordered_epoch:
            return
        order = self._asked_order(epoch, shuffle)
        self.sync()  # a replay from an earlier epoch would need that epoch's order
        self.order[...] = order if self.data.rows is None else self.data.rows[order]
        self.ordered_epoch = epoch

    def _asked_order(self, epoch: int, shuffle: Callable[[int, int], Any]) -> np.ndarray:
        """The caller's order of an epoch, checked."""
        n = self.start.identity.n
        order = np.array(shuffle(epoch, n))  # a copy: what is checked is what is used
        if order.shape != (n,) or order.dtype.kind not in "iu":
            raise ValueError(
                f"shuffle: expected a permutation of 0..{n - 1}: ({n},) integers; got shape "
                f"{order.shape} and dtype {order.dtype} for epoch {epoch}"
            )
        in_range = order.min() >= 0 and order.max() < n
        if not in_range or np.bincount(order.astype(np.intp), minlength=n).max() > 1:
            raise ValueError(
                f"shuffle: expected a permutation of 0..{n - 1}; got one that repeats or leaves "
                f"that range for epoch {epoch}"
            )
        return order

    def sync(self) -> None:
        """Copy the state out of the trainer, unless it is no longer finite."""
        if not self._is_finite():
            self._recover()
        self._store(self.net.parameters, self.slots)
        if self.ema is not None:
            average = np.empty_like(self.net.parameters)
            self.average = average if self.doors.store_average(self.trainer, average) else None
        self.synced = Position(*self.trainer.position)
        if self.draws is not None:
            self.draws.mark(self.synced, self.order)
        self.synced_at = time.perf_counter()

    def sync_if_due(self) -> None:
        """What a diverged run is made again from is not to be long ago."""
        if time.perf_counter() - self.synced_at > SYNC_SECONDS:
            self.sync()

    def stop_by(self, tol: float, best: float, count: int, most: float) -> None:
        """Have slices end with the epoch after which this rule ends the run (Trainer.stop_by)."""
        self.trainer.stop_by(tol, best, count, most)

    def settle(self) -> None:
        """Have the network hold the parameters after the last step."""
        if self.synced != self.trainer.position:
            self.sync()

    def reload(self) -> None:
        """Take the network's parameters, which the user or a callback may have written."""
        if not self.doors.is_finite(self.net.parameters):
            inputs.as_numbers(self.net.parameters, "parameters", self.net.dtype)
        self._take(self.net.parameters)

    def _is_finite(self) -> bool:
        """Whether what the engine holds is."""
        return bool(self.doors.has_finite_state(self.trainer))

    def _store(self, parameters: np.ndarray, slots: np.ndarray) -> None:
        """Copy parameters and slots out of the engine."""
        self.doors.store_state(self.trainer, parameters, slots)

    def _take(self, parameters: np.ndarray) -> None:
        """Have the engine go on with these parameters, and the slots that are here."""
        self.doors.load_state(self.trainer, parameters, self.slots)

    def _load(self, parameters: np.ndarray, position: Position) -> None:
        """Have the engine go on from a state: what is here, and where it stands."""
        if self.draws is not None:
            self.trainer.draw_by(self.draws.source)
        self.trainer.position = tuple(position)
        self._take(parameters)
        if self.ema is not None:
            self.doors.load_average(self.trainer, self.average)

    def find_divergence(self, n_steps: int) -> None:
        """Make steps that are known to diverge, and recover from it as `slice` does."""
        while n_steps > 0 and not self.trainer.diverged:
            n_steps -= self._train(min(n_steps, self.n_steps), self.end_epoch)
        if not self.trainer.diverged:
            self._train(1, self.end_epoch)
        self._recover()

    def _recover(self) -> None:
        """Bring back the last finite parameters and raise.

        A step is a function of the state before it and what is not finite stays so: the last finite
        state is found by halving the steps since the last copy and making them again.
        """
        place = ""
        if self._is_finite():
            self.sync()
        else:
            place = self._overflowed()
            bad = self.trainer.position[2] - self.synced.step  # steps from `synced`
            while bad > 1:
                half = bad // 2
                self._remake(half)
                if self._is_finite():
                    self.sync()
                    bad -= half
                else:
                    bad = half
            self._remake(0)
        raise DivergenceError(self.synced.step, self.synced.epoch, self.rate, place)

    def _overflowed(self) -> str:
        """The first parameter that is finite, as all are, and the optimizer's state of it not."""
        parameters, slots = np.empty_like(self.net.parameters), np.empty_like(self.slots)
        self._store(parameters, slots)
        if not np.isfinite(parameters).all():
            return ""
        at = int(np.argmin(np.isfinite(slots).all(axis=0)))
        for name, tensor in self.net.tensors.items():
            if at < tensor.size:
                index = np.unravel_index(at, tensor.shape)
                of_input = f" (feature X[:, {index[0]}])" if name in ("W1", "s1") else ""
                return f"{name}[{', '.join(map(str, index))}]{of_input}"
            at -= tensor.size
        return ""

    def _remake(self, n_steps: int) -> None:
        """Make n_steps steps from the last copy."""
        self.deadline = 0.0  # steps that had been made in time
        # first: from here on `close` has nothing to copy out
        self._load(self.net.parameters, self.synced)
        self._redraw(self.synced)
        while n_steps > 0 and not self.trainer.diverged:
            n_steps -= self._train(min(n_steps, self.n_steps), self.end_epoch)

    def _redraw(self, at: Position) -> None:
        """Have the order of an epoch in place that the engine, already within it, will not draw."""
        if self.draws is not None:
            self.draws.place(at, self.order, self.data.rows)
        elif self.shuffle is True and at.row > 0:
            self._draw(at.epoch)

    def _draw(self, epoch: int) -> None:
        if self.draws is not None:
            self.draws.random_state.shuffle(self.order)
            return
        self.doors.draw_order(self.order, self.data.rows, self.start.identity.seed, epoch)

    def close(self, quiet: bool = False) -> None:
        """Leave the network with the parameters after the last whole step that was a good one.

        That a later one was not raises DivergenceError, unless `quiet`: where something else ended
        the run, that is what is to be told. One thread is left, should steps be made again.
        """
        if self.team is not None:
            self.team.close()
            self.team = None
        try:
            self.settle()
        except DivergenceError:
            if not quiet:
                raise

    def state(self, parameters: np.ndarray | None, watched: Mapping[str, np.ndarray]) -> State:
        """Where the run stands, for `resume`."""
        return State(self.start.identity, self.synced, self.slots, parameters, watched)
