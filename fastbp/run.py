"""One run of the training loop: how the engine is driven from Python.

What belongs here: slices of steps between looks at signals, threads, the state that a diverged run
is brought back from. What does not: what the user asks for (training.py), a step (the engine makes
whole epochs of them without the GIL).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp import inputs
from fastbp.dropout import of_layers
from fastbp.network import Network

if TYPE_CHECKING:
    from fastbp.optimizers import Optimizer
    from fastbp.team import Team

SLICE_SECONDS = 0.03  # between looks at signals: Ctrl-C is to act within 0.1 s
SYNC_SECONDS = 1.0  # between copies of the state that a diverged run is replayed from
EPOCHS_PER_SLICE = 1 << 16  # at most; room for their losses

Position = tuple[int, int, int, float, float]
UserLoss = Callable[[np.ndarray, np.ndarray, np.ndarray], Any]


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
    """

    def __init__(self, step: int, epoch: int, learning_rate: float, place: str = "") -> None:
        what, remedy = "the loss or a parameter became NaN or infinite", "a smaller learning rate"
        if place:
            what = f"the optimizer's state of {place} became infinite: its gradient has no square"
            remedy = "standardised features, dtype='float64' or clip_value"
        super().__init__(
            f"training diverged at step {step} (epoch {epoch}) with learning rate "
            f"{learning_rate:g}: {what}. The network holds the last finite parameters; {remedy} "
            "may help"
        )
        self.step, self.epoch, self.learning_rate, self.place = step, epoch, learning_rate, place

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.epoch, self.learning_rate, self.place)


class Samples(NamedTuple):
    """Samples as the engine reads them."""

    X: np.ndarray
    dense: np.ndarray | None
    labels: np.ndarray | None
    weight: np.ndarray | None
    missing: bool = False  # NaN in `dense` stands for no target

    @property
    def Y(self) -> np.ndarray:
        Y = self.dense if self.labels is None else self.labels
        assert Y is not None
        return Y

    def take(self, rows: np.ndarray) -> Samples:
        dense, labels, weight = (None if part is None else part[rows] for part in self[1:4])
        return Samples(self.X[rows], dense, labels, weight, self.missing)


class State(NamedTuple):
    """Where a run stands: with `History` it is all that resuming needs.

    `parameters` where the network was left with others than those of the last step; `average`, the
    moving average of parameters; `best`, those of early stopping; `stopped`, whether the run ended
    before its last epoch because something asked for it.
    """

    position: Position
    slots: np.ndarray | None
    seed: int
    optimizer: Optimizer
    n: int
    batch_size: int
    shuffle: str
    parameters: np.ndarray | None = None
    average: np.ndarray | None = None
    best: np.ndarray | None = None
    stopped: bool = False

    def taken_up(self, old: State) -> State:
        """This run, standing where `old` ended."""
        names = ("position", "slots", "parameters", "average", "best", "stopped")
        return self._replace(**{name: getattr(old, name) for name in names})


def flops(net: Network, batch_size: int) -> float:
    return 6.0 * batch_size * sum(W.size for W in net.weights)


def value_and_slope(
    loss: UserLoss, outputs: np.ndarray, Y: np.ndarray, weight: np.ndarray
) -> tuple[float, np.ndarray]:
    """What a user's own loss gives, checked: a number and its gradient by the outputs."""
    shape, dtype = outputs.shape, outputs.dtype
    answer = loss(outputs, Y, weight)
    expected = f"loss: expected (number, gradient {shape}) from it; got"
    if not isinstance(answer, (tuple, list)) or len(answer) != 2:
        raise TypeError(f"{expected} {type(answer).__name__}")
    value, slope = (inputs.as_array(part, "loss") for part in answer)
    for part, name in ((value, "a number"), (slope, "a gradient")):
        if part.dtype.kind not in "fiub":
            raise TypeError(f"{expected} {name} of dtype {part.dtype}")
    if value.ndim:
        raise TypeError(f"{expected} a number of shape {value.shape}")
    if slope.shape != shape:
        raise ValueError(f"loss: expected a gradient of shape {shape} from it; got {slope.shape}")
    with np.errstate(over="ignore"):  # infinite it is a step that diverges
        return float(value), inputs.plain(slope, dtype)


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
    """One call of `fit`: the engine's trainer, its threads, the last state known to be finite."""

    def __init__(
        self,
        net: Network,
        data: Samples,
        state: State,
        numbers: dict[str, float],
        n_threads: int,
        shuffle: bool | Callable[[int, int], Any],
        epochs: int,
        dropout: list[float] | None = None,
        ema: float | None = None,
        deadline: float = 0.0,
        loss: UserLoss | None = None,
    ) -> None:
        check_fit(numbers, net.dtype)
        self.net, self.data, self.start, self.shuffle = net, data, state, shuffle
        self.doors = net._doors
        self.numbers, self.ema, self.loss = numbers, ema, loss
        self.deadline = deadline  # in seconds of time.monotonic; 0: none
        parameters = net.parameters if state.parameters is None else state.parameters
        self.team: Team | None = None
        n_threads = 1 if n_threads == 1 else self._gather(n_threads)
        self.trainer = self._trainer(n_threads, dropout)
        self.trainer.position = state.position
        self.end_epoch = state.position[0] + epochs
        self.losses, self.clock = np.zeros((2, min(epochs, EPOCHS_PER_SLICE)))
        self.order = np.arange(state.n, dtype=np.intp)
        self._redraw()
        self.ordered_epoch = -1
        # parameters (in the network) and slots as they were at `synced`, outside the trainer: a run
        # that diverges is made again from here
        self.synced: Position = state.position
        self.slots = np.zeros((self.trainer.n_slots, net.n_parameters), net.dtype)
        if state.slots is not None:
            self.slots[...] = state.slots
        elif state.optimizer.initial_slot:
            self.slots.fill(state.optimizer.initial_slot)
        self.synced_at = time.perf_counter()
        # (steps made, the average after them): one store, which Ctrl-C cannot come in between
        self.averaged = (state.position[2], None if ema is None else state.average)
        self.seconds = 0.0
        self.n_steps = max(1, int(2e7 / flops(net, state.batch_size)))  # about 1 ms to begin with
        self.doors.load_state(self.trainer, parameters, self.slots)
        # last: where memory or threads are wanting, nothing has been changed
        if parameters is not net.parameters:
            net.parameters[...] = parameters

    def _trainer(self, n_threads: int, dropout: list[float] | None) -> Any:
        """The engine's, for so many threads; for one where their memory leaves none for it."""
        state = self.start
        try:
            return self.doors.Trainer(
                self.net._compiled,
                state.optimizer.policy,
                self.numbers,
                state.n,
                state.batch_size,
                n_threads,
                self.shuffle is True,
                state.seed,
                None
                if dropout is None
                else self.doors.Masks(of_layers(dropout, self.net.layers), state.seed, 0),
                self.loss is not None,
            )
        except MemoryError:
            if self.team is None:
                raise
            self.team.close()
            self.team = None
            return self._trainer(1, dropout)

    def _gather(self, n_threads: int) -> int:
        """Start the run's threads; how many there are, on which the bits do not depend."""
        from fastbp.team import Team

        team = Team(n_threads)
        if team.size > 1:
            self.team = team
            return team.size
        team.close()
        self.team = None
        return 1

    @property
    def epoch(self) -> int:
        return int(self.trainer.position[0])

    @property
    def samples(self) -> int:
        """Samples used since the start."""
        epoch, row, *_ = self.trainer.position
        first_epoch, first_row, *_ = self.start.position
        return int((epoch - first_epoch) * self.start.n + row - first_row)

    @property
    def rate(self) -> float:
        """Learning rate."""
        return self.numbers["learning_rate"]

    @rate.setter
    def rate(self, rate: float) -> None:
        if rate != self.rate:
            if self.synced != self.trainer.position:
                self.sync()  # a replay from an earlier step would need the rate of then
            self.numbers = self.numbers | {"learning_rate": rate}
            self.trainer.set_step(self.numbers)

    @property
    def average(self) -> np.ndarray | None:
        """The moving average of the parameters after each step; None before the first."""
        return self.averaged[1]

    @property
    def is_late(self) -> bool:
        return self.deadline != 0.0 and time.monotonic() >= self.deadline

    def slice(self, end_epoch: int, one_step: bool = False) -> None:
        """Make steps for about SLICE_SECONDS, ending before `end_epoch`, or one step."""
        if callable(self.shuffle):
            self._take_order(self.epoch, self.shuffle)
            end_epoch = min(end_epoch, self.epoch + 1)
        began = time.perf_counter()
        if one_step or self.ema is not None:
            steps = self._step_by_step(1 if one_step else self.n_steps, self.epoch + 1)
        else:
            steps = self._train(self.n_steps, end_epoch)
        now = time.perf_counter()
        self.seconds += now - began
        if self.trainer.diverged:
            self._recover()
        if steps == self.n_steps or now - began > 2 * SLICE_SECONDS:
            growth = SLICE_SECONDS / max(now - began, 1e-6)
            self.n_steps = max(1, int(steps * min(growth, 8.0)))
        if now - self.synced_at > SYNC_SECONDS:
            self.sync()

    def _step_by_step(self, n_steps: int, end_epoch: int) -> int:
        """As `_train`, with a look at the parameters after each step."""
        steps = 0
        while steps < n_steps and self.epoch < end_epoch:
            made = self._train(1, end_epoch)
            steps += made
            if not made:
                break
            self.sync()
            if self.is_late:
                break
        return steps

    def _take_average(self) -> None:
        """Let the parameters after the step at hand, just copied out, enter the average."""
        t, average = self.averaged
        if self.ema is None or t == self.trainer.position[2]:
            return
        if average is None:
            average = self.net.parameters.copy()
        else:
            average = average + self.net.dtype.type(1 - self.ema) * (self.net.parameters - average)
        self.averaged = (self.trainer.position[2], average)

    def _train(self, n_steps: int, end_epoch: int) -> int:
        """Make steps with every thread; returns how many. Losses of epochs begin at losses[0]."""
        if self.loss is not None:
            return self._train_in_python(self.loss, n_steps, end_epoch)
        data, first = self.data, self.epoch
        end_epoch = min(end_epoch, first + self.losses.size)
        deadline = self.deadline
        if self.team is not None:  # threads wait long for each other where others want the cores
            latest = time.monotonic() + 2 * SLICE_SECONDS
            deadline = min(deadline, latest) if deadline else latest
        rest: tuple[Any, ...] = (n_steps, end_epoch, data.X, data.dense, data.labels, data.weight)
        rest += (self.order, first, self.losses, self.clock, deadline, data.missing)
        if self.team is not None and not self.team.is_here:  # this is a fork of the run's process
            self._gather(self.team.size)
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
        end_epoch = min(end_epoch, first + self.losses.size)
        while steps < n_steps and self.epoch < end_epoch:
            epoch, row, _, total, weights = trainer.position
            if row == 0 and self.shuffle is True:
                self.doors.draw_order(trainer, self.order)
            m = min(self.start.batch_size, self.start.n - row)
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
        n = self.order.size
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
        self.sync()  # a replay from an earlier epoch would need that epoch's order
        self.order[...] = order
        self.ordered_epoch = epoch

    def sync(self) -> None:
        """Copy the state out of the trainer, unless it is no longer finite."""
        if not self.doors.has_finite_state(self.trainer):
            self._recover()
        self.doors.store_state(self.trainer, self.net.parameters, self.slots)
        self._take_average()
        self.synced = self.trainer.position
        self.synced_at = time.perf_counter()

    def reload(self) -> None:
        """Take the network's parameters, which the user or a callback may have written."""
        if not self.doors.is_finite(self.net.parameters):
            inputs.as_numbers(self.net.parameters, "parameters", self.net.dtype)
        self.doors.load_state(self.trainer, self.net.parameters, self.slots)

    def _recover(self) -> None:
        """Bring back the last finite parameters and raise.

        A step is a function of the state before it and what is not finite stays so: the last finite
        state is found by halving the steps since the last copy and making them again.
        """
        place = ""
        if self.doors.has_finite_state(self.trainer):
            self.sync()
        else:
            place = self._overflowed()
            bad = self.trainer.position[2] - self.synced[2]  # steps from `synced`
            while bad > 1:
                half = bad // 2
                self._remake(half)
                if self.doors.has_finite_state(self.trainer):
                    self.sync()
                    bad -= half
                else:
                    bad = half
            self._remake(0)
        epoch, _, step, *_ = self.synced
        raise DivergenceError(step, epoch, self.rate, place)

    def _overflowed(self) -> str:
        """The first parameter that is finite, as all are, and the optimizer's state of it not."""
        parameters, slots = np.empty_like(self.net.parameters), np.empty_like(self.slots)
        self.doors.store_state(self.trainer, parameters, slots)
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
        self.trainer.position = self.synced  # first: from here on `close` has nothing to copy out
        self.doors.load_state(self.trainer, self.net.parameters, self.slots)
        self._redraw()
        while n_steps > 0 and not self.trainer.diverged:
            n_steps -= self._train(min(n_steps, self.n_steps), self.end_epoch)

    def _redraw(self) -> None:
        """Have the order of an epoch in place that the engine, already within it, will not draw."""
        if self.shuffle is True and self.trainer.position[1] > 0:
            self.doors.draw_order(self.trainer, self.order)

    def close(self, quiet: bool = False) -> None:
        """Leave the network with the parameters after the last whole step that was a good one.

        That a later one was not raises DivergenceError, unless `quiet`: where something else ended
        the run, that is what is to be told. One thread is left, should steps be made again.
        """
        if self.team is not None:
            self.team.close()
            self.team = None
        try:
            if self.synced != self.trainer.position:
                self.sync()
        except DivergenceError:
            if not quiet:
                raise

    def state(
        self,
        parameters: np.ndarray | None = None,
        best: np.ndarray | None = None,
        stopped: bool = False,
    ) -> State:
        """Where the run stands, for `resume`."""
        start = self.start
        return State(
            self.synced,
            self.slots,
            start.seed,
            start.optimizer,
            start.n,
            start.batch_size,
            start.shuffle,
            parameters,
            self.average,
            best,
            stopped,
        )
