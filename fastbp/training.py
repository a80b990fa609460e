"""`fit`: epochs, shuffling, validation, callbacks, and when to come back from the engine.

What belongs here: everything about a run that Python decides. What does not: a step (the engine
makes whole epochs of them without the GIL), parameters' values, estimators.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.kernels import dispatch
from fastbp.network import Network
from fastbp.optimizers import SGD, Adam, Optimizer

SLICE_SECONDS = 0.03  # between looks at signals: Ctrl-C is to act within 0.1 s
SYNC_SECONDS = 1.0  # between copies of the state that a diverged run is replayed from
EPOCHS_PER_SLICE = 1 << 16  # at most; room for their losses
FLOPS_PER_THREAD = 8e6  # of one step: below that (some 50 us) a second thread does not pay

Position = tuple[int, int, int, float, float]


class DivergenceError(ArithmeticError):
    """The loss or a parameter became NaN or infinite; the network holds the last finite parameters.

    Attributes
    ----------
    step : int
        Steps made before, from the start of the run.
    epoch : int
        From 0.
    learning_rate : float
    """

    def __init__(self, step: int, epoch: int, learning_rate: float) -> None:
        super().__init__(
            f"training diverged at step {step} (epoch {epoch}) with learning rate "
            f"{learning_rate:g}: the loss or a parameter became NaN or infinite. The network holds "
            "the last finite parameters; a smaller learning rate may help"
        )
        self.step, self.epoch, self.learning_rate = step, epoch, learning_rate

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.step, self.epoch, self.learning_rate)


class History(Mapping[str, np.ndarray]):
    """What a run recorded: arrays of one value an epoch, by name.

    "loss": mean data loss of the epoch's batches, each taken before its update, without penalties;
    "seconds": time from the start; "learning_rate"; with validation "validation_loss" and, for
    classes, "validation_accuracy" (NaN for epochs without, where a resumed run changed it).

    Attributes
    ----------
    epochs : int
    seconds : float
        Time spent in training, without validation and callbacks.
    samples_per_second : float
    """

    def __init__(self, earlier: History | None = None) -> None:
        columns = {} if earlier is None else earlier._columns
        self._columns: dict[str, list[float]] = {k: list(v) for k, v in columns.items()}
        self.seconds: float = 0.0 if earlier is None else earlier.seconds
        self.samples: int = 0 if earlier is None else earlier.samples
        self._state: _State | None = None

    def _append(self, **values: float) -> None:
        for name, value in values.items():
            column = self._columns.setdefault(name, [])
            last = self.epochs - (name != "loss")  # which every epoch has, and has first
            column += [math.nan] * (last - len(column)) + [value]

    def __getitem__(self, name: str) -> np.ndarray:
        column = self._columns[name]
        return np.array(column + [math.nan] * (self.epochs - len(column)))

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"History({self.epochs} epochs: {self._last()})"

    def _last(self) -> str:
        return ", ".join(f"{name} {values[-1]:.4g}" for name, values in self._columns.items())

    @property
    def epochs(self) -> int:
        """Epochs recorded."""
        return len(self._columns.get("loss", ()))

    @property
    def samples_per_second(self) -> float:
        """Training samples a second."""
        return self.samples / self.seconds if self.seconds else math.nan

    def to_dict(self) -> dict[str, list[float | None]]:
        """The arrays as lists; JSON-able."""
        return {
            name: [None if math.isnan(value) else value for value in values.tolist()]
            for name, values in self.items()
        }

    def plot(self, ax: Any = None) -> Any:
        """Draw the curves (needs matplotlib: ``pip install fastbp[plot]``); returns the Axes."""
        from fastbp import plotting

        return plotting.history(self, ax)


@dataclass(frozen=True)
class Event:
    """What a callback is given at the end of an epoch (from 0)."""

    epoch: int
    epochs: int
    network: Network
    history: History


@dataclass(frozen=True)
class _Data:
    """Samples as the engine reads them."""

    X: np.ndarray
    dense: np.ndarray | None
    labels: np.ndarray | None
    weight: np.ndarray | None

    @property
    def Y(self) -> np.ndarray:
        Y = self.dense if self.labels is None else self.labels
        assert Y is not None
        return Y

    def take(self, rows: np.ndarray) -> _Data:
        parts = (self.X, self.dense, self.labels, self.weight)
        return _Data(*(None if part is None else part[rows] for part in parts))  # type: ignore[arg-type]


@dataclass(frozen=True)
class _State:
    """Where a run stands: with `History` it is all that resuming needs."""

    position: Position
    slots: np.ndarray | None
    seed: int
    optimizer: Optimizer
    n: int
    batch_size: int
    shuffle: str


def fit(
    net: Network,
    X: Any,
    Y: Any,
    *,
    epochs: int = 30,
    batch_size: int = 10,
    optimizer: Optimizer | None = None,
    shuffle: bool | Callable[[int, int], Any] = True,
    seed: Any = None,
    validation: Any = None,
    l2: float = 0.0,
    l1: float = 0.0,
    sample_weight: Any = None,
    callbacks: Iterable[Callable[[Event], Any]] = (),
    progress: bool = False,
    threads: int | None = None,
    resume: History | None = None,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    net : Network
    X : array_like (n, n_0)
    Y : array_like
        Class indices (n,), or targets (n, n_L); for one output also targets (n,).
    epochs : int
        Passes over the data; with `resume`, further ones.
    batch_size : int
        Samples a step. The last batch of an epoch may be smaller; more than n counts as n.
    optimizer : SGD, Adam, AdamW
        Adam() when None.
    shuffle : bool or callable
        A new order each epoch, which depends on the seed and the epoch alone; False: as they lie; a
        callable (epoch, n) -> permutation of 0..n-1 replays given orders.
    seed : int, None or numpy.random.SeedSequence
        Of the order and of the split-off validation data. None draws one.
    validation : (X, Y), (X, Y, sample_weight) or float
        Data to evaluate after each epoch, or the share to split off at random.
    l2, l1 : float
        Penalties as in `Network.loss`, n the number of training samples; each step follows the
        data's mean over the batch plus l2/n W plus l1/n sign W. Biases are not penalised (Nielsen
        2015: W <- (1 - eta l2/n) W - eta nabla).
    sample_weight : array_like (n,)
        A batch's gradient is sum w nabla C / sum w over the batch.
    callbacks : callables
        Each is called with an `Event` after each epoch; one that returns True ends the run. They
        may write `net.parameters`.
    progress : bool
        A tqdm bar on stderr.
    threads : int or None
        Threads that make each step together; the bits do not depend on it. None: as many as pay.
    resume : History
        Go on where that run of `fit` ended (same data size, batch size, optimizer and shuffle): the
        two together give the bits of one run. Its History is not changed.

    Returns
    -------
    History

    Raises
    ------
    DivergenceError
        The loss or a parameter became NaN or infinite.
    KeyboardInterrupt
        Ctrl-C acts within 0.1 s (or after one step, if that is longer); the parameters are those
        after a whole step.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> X = np.array([[0., 0.], [0., 1.], [1., 0.], [1., 1.]])
    >>> net = fastbp.Network([2, 8, 2], activation="tanh", seed=1)
    >>> adam = fastbp.Adam(0.05)
    >>> history = net.fit(X, [0, 1, 1, 0], epochs=200, batch_size=4, optimizer=adam, seed=0)
    >>> net.predict(X).argmax(axis=1)
    array([0, 1, 1, 0])
    """
    # everything is checked before anything is changed
    epochs = inputs.as_count(epochs, "epochs")
    batch_size = inputs.as_count(batch_size, "batch_size")
    optimizer = Adam() if optimizer is None else optimizer
    if not isinstance(optimizer, (SGD, Adam)):  # AdamW is an Adam
        raise TypeError(
            f"optimizer: expected SGD, Adam or AdamW with its numbers; got {optimizer!r}"
        )
    if not (isinstance(shuffle, (bool, np.bool_)) or callable(shuffle)):
        raise TypeError(f"shuffle: expected True, False or (epoch, n) -> order; got {shuffle!r}")
    shuffle = shuffle if callable(shuffle) else bool(shuffle)
    if isinstance(callbacks, (str, bytes)) or not isinstance(callbacks, Iterable):
        raise TypeError(
            f"callbacks: expected a list of callables (event) -> stop?; got {callbacks!r}"
        )
    callbacks = list(callbacks)
    for callback in callbacks:
        if not callable(callback):
            raise TypeError(f"callbacks: expected callables (event) -> stop?; got {callback!r}")
    if not isinstance(progress, (bool, np.bool_)):
        raise TypeError(f"progress: expected True or False; got {progress!r}")
    if resume is not None and not isinstance(resume, History):
        raise TypeError(f"resume: expected the History of a finished fit; got {resume!r}")
    data = _as_data(net, X, Y, sample_weight)
    seed_bits = _as_seed(seed, resume)
    data, held_out = _as_validation(net, data, validation, seed_bits)
    n = data.X.shape[0]
    batch_size = min(batch_size, n)
    l2, l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
    n_threads = _as_threads(threads, net, batch_size)
    order = "a callable" if callable(shuffle) else str(shuffle)
    state = _State((0, 0, 0, 0.0, 0.0), None, seed_bits, optimizer, n, batch_size, order)
    if resume is not None:
        state = _checked_resume(resume, state, net)

    history = History(resume)
    began = time.time() - (history["seconds"][-1] if history.epochs else 0.0)
    numbers = optimizer.numbers | {"l2": l2 / n, "l1": l1 / n}
    run = _Run(net, data, state, numbers, n_threads, shuffle, epochs)
    watched = held_out is not None or bool(callbacks)
    bar = _bar(run.epoch, run.end_epoch) if progress else None
    stop = False
    try:
        while run.epoch < run.end_epoch and not stop:
            epoch = run.epoch
            run.slice(epoch + 1 if watched else run.end_epoch)
            for ended in range(epoch, run.epoch):
                history._append(
                    loss=float(run.losses[ended - epoch]),
                    learning_rate=optimizer.learning_rate,
                    seconds=float(run.clock[ended - epoch]) - began,
                )
            if watched and run.epoch > epoch:
                run.sync()
                if held_out is not None:
                    history._append(**_evaluate(net, held_out))
                event = Event(epoch, run.end_epoch, net, history)
                for callback in callbacks:  # every callback sees every epoch
                    answer = callback(event)
                    stop |= isinstance(answer, (bool, np.bool_)) and bool(answer)
                if callbacks:
                    run.reload()
            if bar is not None:
                bar.set_postfix_str(history._last(), refresh=False)
                bar.update(run.epoch - epoch)
    finally:
        run.close()
        history.seconds += run.seconds
        history.samples += run.samples
        history._state = run.state()
        if bar is not None:
            bar.close()
    return history


class _Run:
    """One call of `fit`: the engine's trainer, its threads, the last state known to be finite."""

    def __init__(
        self,
        net: Network,
        data: _Data,
        state: _State,
        numbers: dict[str, float],
        n_threads: int,
        shuffle: bool | Callable[[int, int], Any],
        epochs: int,
    ) -> None:
        self.net, self.data, self.start, self.shuffle = net, data, state, shuffle
        self.doors, self.n_threads = net._doors, n_threads
        self.trainer = dispatch.engine.Trainer(
            net._compiled,
            state.optimizer.policy,
            numbers,
            state.n,
            state.batch_size,
            n_threads,
            shuffle is True,
            state.seed,
        )
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
        self.synced_at = time.perf_counter()
        self.seconds = 0.0
        self.n_steps = max(1, int(2e7 / _flops(net, state.batch_size)))  # about 1 ms to begin with
        self.reload()
        self.lead = self.others = None
        if n_threads > 1:
            from concurrent.futures import ThreadPoolExecutor

            self.lead = ThreadPoolExecutor(1, "fastbp")
            self.others = ThreadPoolExecutor(n_threads - 1, "fastbp")
            self.lead.submit(int).result()  # a thread that is up before it is needed

    @property
    def epoch(self) -> int:
        return int(self.trainer.position[0])

    @property
    def samples(self) -> int:
        """Samples used since the start."""
        epoch, row, *_ = self.trainer.position
        first_epoch, first_row, *_ = self.start.position
        return int((epoch - first_epoch) * self.start.n + row - first_row)

    def slice(self, end_epoch: int) -> None:
        """Make steps for about SLICE_SECONDS, ending before `end_epoch`."""
        if callable(self.shuffle):
            self._take_order(self.epoch, self.shuffle)
            end_epoch = min(end_epoch, self.epoch + 1)
        began = time.perf_counter()
        steps = self._train(self.n_steps, end_epoch)
        now = time.perf_counter()
        self.seconds += now - began
        if self.trainer.diverged:
            self._recover()
        if steps == self.n_steps:
            growth = SLICE_SECONDS / max(now - began, 1e-6)
            self.n_steps = max(1, int(steps * min(growth, 8.0)))
        if now - self.synced_at > SYNC_SECONDS:
            self.sync()

    def _train(self, n_steps: int, end_epoch: int) -> int:
        """Make steps with every thread; returns how many. Losses of epochs begin at losses[0]."""
        data, first = self.data, self.epoch
        end_epoch = min(end_epoch, first + self.losses.size)
        rest: tuple[Any, ...] = (n_steps, end_epoch, data.X, data.dense, data.labels, data.weight)
        rest += (self.order, first, self.losses, self.clock)
        if self.lead is None:
            return int(self.doors.train(self.trainer, 0, *rest))
        # Ctrl-C acts in the main thread, between any two of its instructions. It must not come when
        # some threads wait at a barrier for another not yet started, so one task starts them all.
        return self.lead.submit(self._train_together, rest).result()

    def _train_together(self, rest: tuple[Any, ...]) -> int:
        assert self.others is not None
        others = [
            self.others.submit(self.doors.train, self.trainer, thread, *rest)
            for thread in range(1, self.n_threads)
        ]
        steps = int(self.doors.train(self.trainer, 0, *rest))
        for other in others:
            other.result()
        return steps

    def _take_order(self, epoch: int, shuffle: Callable[[int, int], Any]) -> None:
        """Have the caller's order of an epoch in place."""
        if epoch == self.ordered_epoch:
            return
        n = self.order.size
        order = np.asarray(shuffle(epoch, n))
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
        if not self.doors.has_finite_parameters(self.trainer, self.net.parameters):
            self._recover()
        self.doors.store_state(self.trainer, self.net.parameters, self.slots)
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
        if self.doors.has_finite_parameters(self.trainer, self.net.parameters):
            self.sync()
        else:
            bad = self.trainer.position[2] - self.synced[2]  # steps from `synced`
            while bad > 1:
                half = bad // 2
                self._remake(half)
                if self.doors.has_finite_parameters(self.trainer, self.net.parameters):
                    self.sync()
                    bad -= half
                else:
                    bad = half
            self._remake(0)
        epoch, _, step, *_ = self.synced
        raise DivergenceError(step, epoch, self.start.optimizer.learning_rate)

    def _remake(self, n_steps: int) -> None:
        """Make n_steps steps from the last copy."""
        self.doors.load_state(self.trainer, self.net.parameters, self.slots)
        self.trainer.position = self.synced
        self._redraw()
        while n_steps > 0 and not self.trainer.diverged:
            n_steps -= self._train(min(n_steps, self.n_steps), self.end_epoch)

    def _redraw(self) -> None:
        """Have the order of an epoch in place that the engine, already within it, will not draw."""
        if self.shuffle is True and self.trainer.position[1] > 0:
            dispatch.engine.draw_order(self.trainer, self.order)

    def close(self) -> None:
        """Leave the network with the parameters after the last whole step."""
        if self.lead is not None and self.others is not None:
            self.lead.shutdown(wait=True)
            self.others.shutdown(wait=True)
            self.lead = self.others = None
        if self.synced != self.trainer.position:
            self.sync()

    def state(self) -> _State:
        """Where the run stands, for `resume`."""
        return replace(self.start, position=self.synced, slots=self.slots)


def _flops(net: Network, batch_size: int) -> float:
    return 6.0 * batch_size * sum(W.size for W in net.weights)


def _as_threads(threads: Any, net: Network, batch_size: int) -> int:
    most = dispatch.engine.max_threads
    if threads is not None:
        return min(inputs.as_count(threads, "threads"), most)
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    return max(1, min(cores, most, int(_flops(net, batch_size) / FLOPS_PER_THREAD)))


def _as_data(net: Network, X: Any, Y: Any, sample_weight: Any) -> _Data:
    X = net._ready(X)
    dense, labels = net._targets(Y, X.shape[0])
    return _Data(X, dense, labels, inputs.as_weight(sample_weight, X.shape[0], net.dtype))


def _as_seed(seed: Any, resume: History | None) -> int:
    """64 bits for the engine's streams."""
    if seed is None and resume is not None and resume._state is not None:
        return resume._state.seed
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**64, dtype=np.uint64))
    sequence = seed
    if not isinstance(seed, np.random.SeedSequence):
        try:
            sequence = np.random.SeedSequence(
                None if seed is None else inputs.as_count(seed, "seed", 0)
            )
        except TypeError:
            raise TypeError(
                f"seed: expected a whole number >= 0, None or a Generator; got {seed!r}"
            ) from None
    return int(sequence.generate_state(1, np.uint64)[0])


def _as_validation(
    net: Network, data: _Data, validation: Any, seed: int
) -> tuple[_Data, _Data | None]:
    """Training data and what is held out of it or given beside it."""
    if validation is None:
        return data, None
    if isinstance(validation, (tuple, list)) and len(validation) in (2, 3):
        try:
            return data, _as_data(net, *validation, *([None] * (3 - len(validation))))
        except (TypeError, ValueError) as error:
            raise type(error)(f"validation: {error}") from None
    n = data.X.shape[0]
    if isinstance(validation, bool) or not isinstance(validation, (float, np.floating)):
        raise TypeError(
            f"validation: expected (X, Y), (X, Y, sample_weight) or a share in (0, 1); got "
            f"{type(validation).__name__}"
        )
    if not 0 < validation < 1 or n < 2:
        raise ValueError(
            f"validation: expected a share in (0, 1) of at least 2 rows; got {validation} of {n}"
        )
    n_held = min(max(1, round(n * float(validation))), n - 1)
    order = np.random.default_rng([seed, 1]).permutation(n)
    parts = data.take(np.sort(order[n_held:])), data.take(np.sort(order[:n_held]))
    for part, what in zip(parts, ("training", "validation"), strict=True):
        if part.weight is not None and not part.weight.any():
            raise ValueError(
                f"validation: expected weights above 0 in both parts; got only zeros for {what}"
            )
    return parts


def _checked_resume(resume: History, new: _State, net: Network) -> _State:
    old = resume._state
    if old is None or old.slots is None:
        raise ValueError(f"resume: expected the History of a finished fit; got {resume!r}")
    for name in ("n", "batch_size", "seed", "shuffle"):
        if getattr(old, name) != getattr(new, name):
            raise ValueError(
                f"resume: expected the same {name} as in that run, {getattr(old, name)}; got "
                f"{getattr(new, name)}"
            )
    if old.optimizer.policy != new.optimizer.policy:
        raise ValueError(
            f"resume: expected the same kind of optimizer as in that run, {old.optimizer}; got "
            f"{new.optimizer}"
        )
    if old.slots.shape[1] != net.n_parameters or old.slots.dtype != net.dtype:
        raise ValueError(
            f"resume: expected a network as in that run, {old.slots.shape[1]} parameters of "
            f"{old.slots.dtype}; got {net.n_parameters} of {net.dtype}"
        )
    return replace(new, position=old.position, slots=old.slots.copy())


def _classes(net: Network, data: _Data) -> np.ndarray | None:
    """The class of each sample, where the targets are classes."""
    if data.labels is not None:
        return data.labels
    y, kind = data.Y, net._loss.kind
    if y.shape[1] == 1:
        low = -1 if kind in ("hinge", "squared_hinge") else 0
        is_class = kind in ("binary_cross_entropy", "hinge", "squared_hinge")
        return (y[:, 0] > 0) if is_class and ((y == low) | (y == 1)).all() else None
    one_hot = ((y == 0) | (y == 1)).all() and (y.sum(axis=1) == 1).all()
    return y.argmax(axis=1) if one_hot else None


def _evaluate(net: Network, data: _Data) -> dict[str, float]:
    """Loss of held-out data and, where they are classes, accuracy; both with their weights."""
    values = {"validation_loss": net.loss(data.X, data.Y, sample_weight=data.weight)}
    classes = _classes(net, data)
    if classes is not None:
        a = net.predict(data.X)
        if a.shape[1] == 1:
            predicted = a[:, 0] > (0.5 if net._output.range == "unit" else 0.0)
        else:
            predicted = a.argmax(axis=1)
        right = np.average(predicted == classes, weights=data.weight)
        values["validation_accuracy"] = float(right)
    return values


def _bar(epoch: int, end_epoch: int) -> Any:
    from tqdm.auto import tqdm

    return tqdm(total=end_epoch, initial=epoch, unit="epoch")
