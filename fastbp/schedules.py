"""Schedules: the learning rate of each epoch or step, from the optimizer's own.

What belongs here: small frozen dataclasses, each with one formula. What does not: optimizers
(optimizers.py), what a step does with the rate (kernels/update.pxd).

A schedule is a generator: `rates` gives the rate of epoch 0, 1, ... and is sent, after each epoch,
the value that the schedule watches; it gives None where the run is to end (and, asked on, the rate
that holds then). A resumed run sends it the values on record, so there is no state to keep.

One with ``each="step"`` gives, by `of_steps`, the rates of any steps of a run: its formula at epoch
plus the share of the epoch that is over. A rate depends on the step alone, so that steps made again
or in a resumed run have the same. Weight decay and dropout rates follow schedules in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass, fields
from typing import ClassVar, SupportsFloat

import numpy as np

from fastbp import inputs
from fastbp.functions import shown
from fastbp.stopping import Best, check_mode

MOST_EPOCHS = 2**63 - 1  # as a length that shares are taken of
Rates = Generator[float | None, float, None]

__all__ = [
    "Adaptive",
    "Constant",
    "Cosine",
    "CosineLog",
    "Exponential",
    "HalveOnPlateau",
    "InverseScaling",
    "OneCycle",
    "Schedule",
    "Step",
]


def _positive(schedule: object, *names: str) -> None:
    for name in names:
        _take(schedule, name, inputs.as_penalty)
        if getattr(schedule, name) == 0:
            argument = f"{type(schedule).__name__}.{name}"
            raise ValueError(f"{argument}: expected a number above 0; got 0")


def _take(schedule: object, name: str, check: Callable[..., float], *least: int) -> None:
    """Have the number of that name checked, and as Python's own."""
    argument = f"{type(schedule).__name__}.{name}"
    object.__setattr__(schedule, name, check(getattr(schedule, name), argument, *least))


def _epochs_or_none(schedule: object) -> None:
    if schedule.epochs is not None:  # type: ignore[attr-defined]
        _take(schedule, "epochs", inputs.as_count, 1, MOST_EPOCHS)


def _check_each(schedule: Schedule) -> None:
    if not isinstance(schedule.each, str) or schedule.each not in ("epoch", "step"):
        argument = f"{type(schedule).__name__}.each"
        raise ValueError(f"{argument}: expected 'epoch' or 'step'; got {shown(schedule.each)}")


# What follows has the same bits on every CPU, which NumPy's own vectors of cos and power have not.

SINE = [
    (-1) ** k / math.factorial(2 * k + 1) for k in range(10, -1, -1)
]  # to y^21: 1e-18 is missing


def _fall(share: np.ndarray, each: str) -> np.ndarray:
    """(1 + cos(pi share)) / 2, from 1 to 0 on the way from 0 to 1."""
    if each == "epoch":
        return (1 + np.fromiter(map(math.cos, (math.pi * share).tolist()), float, share.size)) / 2
    # -sin(pi (share - 1/2)) for cos: a tenth of the time, which steps of 1 us show
    y = math.pi * (share - 0.5)
    square, sine = y * y, np.full(share.size, SINE[0])
    for c in SINE[1:]:
        sine *= square
        sine += c
    sine *= y
    return 0.5 - 0.5 * sine


def _power(base: np.ndarray, exponent: np.ndarray) -> np.ndarray:
    base, exponent = np.broadcast_arrays(base, exponent)
    pairs = base.tolist(), exponent.tolist()
    try:
        return np.fromiter(map(pow, *pairs), float, base.size)
    except OverflowError:
        return np.fromiter(map(_power_or_infinity, *pairs), float, base.size)


def _power_or_infinity(base: float, exponent: float) -> float:
    try:
        return float(base**exponent)
    except OverflowError:
        return math.inf


class Schedule:
    """What `fit` asks of a schedule: `rates`, and `monitor`, the name of the value it watches.

    `each` says whether there is a rate for each "epoch" or "step".

    Examples
    --------
    >>> import fastbp
    >>> isinstance(fastbp.schedules.Cosine(), fastbp.schedules.Schedule)
    True
    """

    monitor: ClassVar[str | None] = None
    each: str = "epoch"

    @property
    def is_formula(self) -> bool:
        """Whether all rates are known before the run."""
        return type(self)._factors is not Schedule._factors

    def rates(self, start: float, epochs: int, n: int) -> Rates:
        """Generate the rates of a run of so many epochs over n samples, from the optimizer's own.

        Parameters
        ----------
        start : float
            The optimizer's own rate.
        epochs : int
            Of the run.
        n : int
            Training samples.

        Yields
        ------
        float or None
            The rate of epoch 0, 1, ...; None where the run is to end. A schedule with `monitor` is
            sent that value of each epoch.
        """
        epoch = 0
        while True:
            yield float(self.of_steps(start, epochs, n, 1, epoch, 1)[0])
            epoch += 1

    def of_steps(
        self, start: float, epochs: int, n: int, per_epoch: int, first: int, count: int
    ) -> np.ndarray:
        """Compute the rates of steps first, first + 1, ... of a run with so many steps an epoch.

        Parameters
        ----------
        start : float
            The optimizer's own rate.
        epochs : int
            Of the run.
        n : int
            Training samples.
        per_epoch : int
            Steps an epoch.
        first, count : int
            Which steps, counted from 0 over the whole run, and how many.

        Returns
        -------
        ndarray (count,)
            Float64; each depends on its step alone.

        Raises
        ------
        ValueError
            A rate is infinite; the epoch is told.
        """
        t = np.arange(first, first + count) / per_epoch
        with np.errstate(over="ignore"):
            found = start * self._factors(t, 1 / per_epoch, min(epochs, MOST_EPOCHS), n)
        if not np.isfinite(found).all():
            epoch = (first + int(np.argmin(np.isfinite(found)))) // per_epoch
            raise ValueError(
                f"schedule: expected finite rates; got infinity for epoch {epoch} of {self}"
            )
        return found

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        """What the rate is multiplied by, `t` epochs after the start; one a `unit` of epochs."""
        raise NotImplementedError

    def __repr__(self) -> str:
        told = [(field.name, getattr(self, field.name)) for field in fields(self)]  # type: ignore[arg-type]
        if told[-1:] == [("each", "epoch")]:
            told.pop()
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in told)})"


@inputs.named
@dataclass(frozen=True)
class Constant(Schedule):
    """The optimizer's rate throughout: the same as no schedule.

    Examples
    --------
    >>> import fastbp, itertools
    >>> list(itertools.islice(fastbp.schedules.Constant().rates(1.0, 2, 100), 2))
    [1.0, 1.0]
    """

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        return np.ones(t.size)


@inputs.named
@dataclass(frozen=True)
class Step(Schedule):
    """The rate times `factor` after every so many epochs (torch's StepLR).

    Parameters
    ----------
    every : int
        Epochs.
    factor : float
        Above 0; below 1 the rate falls.

    Examples
    --------
    >>> import fastbp, itertools
    >>> list(itertools.islice(fastbp.schedules.Step(2, 0.5).rates(1.0, 6, 100), 6))
    [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    """

    every: int
    factor: float = 0.1

    def __post_init__(self) -> None:
        _take(self, "every", inputs.as_count)
        _positive(self, "factor")

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        return _power(np.array(float(self.factor)), t // min(self.every, MOST_EPOCHS))


@inputs.named
@dataclass(frozen=True, repr=False)
class Exponential(Schedule):
    """The rate times `factor` after each epoch (torch's ExponentialLR).

    Parameters
    ----------
    factor : float
        Above 0; below 1 the rate falls.
    each : "epoch" or "step"
        Whether the rate falls after each epoch, or a little after each step.

    Examples
    --------
    >>> import fastbp, itertools
    >>> list(itertools.islice(fastbp.schedules.Exponential(0.5).rates(1.0, 3, 100), 3))
    [1.0, 0.5, 0.25]
    """

    factor: float
    each: str = "epoch"

    def __post_init__(self) -> None:
        _positive(self, "factor")
        _check_each(self)

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        return _power(np.array(float(self.factor)), t)


@inputs.named
@dataclass(frozen=True, repr=False)
class Cosine(Schedule):
    """Half a cosine from the rate down to `final` times it (Loshchilov & Hutter 2017).

    Without warm-up torch's CosineAnnealingLR with T_max = epochs, or the steps in them.

    Parameters
    ----------
    warmup : int
        Epochs in which the rate first rises in equal steps.
    final : float in [0, 1]
        What it falls to, reached after the last epoch.
    epochs : int, optional
        Length; those of the fit when None, and `final` from then on.
    each : "epoch" or "step"
        What has a rate of its own.

    Examples
    --------
    >>> import fastbp
    >>> schedule = fastbp.schedules.Cosine(each="step")
    >>> schedule.of_steps(1.0, epochs=2, n=100, per_epoch=2, first=0, count=4).round(2).tolist()
    [1.0, 0.85, 0.5, 0.15]
    """

    warmup: int = 0
    final: float = 0.0
    epochs: int | None = None
    each: str = "epoch"

    def __post_init__(self) -> None:
        _check_each(self)
        _take(self, "warmup", inputs.as_count, 0)
        _take(self, "final", inputs.as_penalty)
        if self.final > 1:
            raise ValueError(f"Cosine.final: expected a share in [0, 1]; got {self.final}")
        _epochs_or_none(self)
        if self.epochs is not None and self.epochs <= self.warmup:
            raise ValueError(
                f"Cosine.warmup: expected fewer than the {self.epochs} epochs; got "
                f"{shown(self.warmup)}"
            )

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        warmup = min(self.warmup, MOST_EPOCHS)
        length = max(1, (self.epochs or epochs) - warmup)
        share = np.minimum(1.0, (t - warmup) / length)
        down = self.final + (1 - self.final) * _fall(share, self.each)
        if t[0] >= warmup:
            return down
        return np.where(t < warmup, (t + unit) / (warmup + unit), down)


@inputs.named
@dataclass(frozen=True, repr=False)
class CosineLog(Schedule):
    """From 0 to the rate and back in several waves, each twice as long as the one before.

    The rate times (1 - cos(2 pi log2(1 + (2^cycles - 1) s))) / 2, s the share of the run that is
    over: coslog_4 of Holzmueller, Grinsztajn & Steinwart 2024 ("Better by Default").

    Parameters
    ----------
    cycles : int
        Waves, 1 to 64.
    epochs : int, optional
        Length; those of the fit when None, and 0 from then on.
    each : "epoch" or "step"
        What has a rate of its own. The first one's is 0.

    Examples
    --------
    >>> import fastbp
    >>> schedule = fastbp.schedules.CosineLog(2)
    >>> schedule.of_steps(1.0, epochs=3, n=4, per_epoch=4, first=0, count=12).round(2).tolist()
    [0.0, 0.72, 0.93, 0.32, 0.0, 0.26, 0.72, 0.98, 0.93, 0.65, 0.32, 0.08]
    """

    cycles: int = 4
    epochs: int | None = None
    each: str = "step"

    def __post_init__(self) -> None:
        _check_each(self)
        _take(self, "cycles", inputs.as_count, 1, 64)
        _epochs_or_none(self)

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        over = 1 + (2.0**self.cycles - 1) * np.minimum(1.0, t / (self.epochs or epochs))
        wave = np.fromiter(map(math.log2, over.tolist()), float, over.size) % 1.0
        return _fall(np.abs(2 * wave - 1), self.each)


@inputs.named
@dataclass(frozen=True, repr=False)
class OneCycle(Schedule):
    """Up to `max_factor` times the rate, then down to `final_factor` times it (Smith 2018).

    Both ways are halves of a cosine, as in torch's OneCycleLR with max_lr = max_factor rate,
    div_factor = max_factor, final_div_factor = 1 / final_factor, and a step an epoch, or with
    ``each="step"`` a step a step.

    Parameters
    ----------
    max_factor : float
        The highest rate, in multiples of the optimizer's.
    warmup : float in (0, 1)
        Share of the epochs in which the rate rises.
    final_factor : float
        The last rate, in multiples of the optimizer's.
    epochs : int, optional
        Length; those of the fit when None.
    each : "epoch" or "step"
        What has a rate of its own.

    Examples
    --------
    >>> import fastbp, itertools
    >>> schedule = fastbp.schedules.OneCycle(max_factor=4, warmup=0.5)
    >>> list(itertools.islice(schedule.rates(1.0, 4, 100), 4))
    [1.0, 4.0, 2.00005, 0.0001]
    """

    max_factor: float = 10.0
    warmup: float = 0.3
    final_factor: float = 1e-4
    epochs: int | None = None
    each: str = "epoch"

    def __post_init__(self) -> None:
        _check_each(self)
        _positive(self, "max_factor", "warmup", "final_factor")
        if self.warmup >= 1:
            raise ValueError(f"OneCycle.warmup: expected a share in (0, 1); got {self.warmup}")
        _epochs_or_none(self)

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        length = self.epochs or epochs
        top, last = self.warmup * length - unit, length - unit
        rises = t <= top
        share = np.where(rises, t / top if top else 1.0, np.minimum(1.0, (t - top) / (last - top)))
        w = _fall(share, self.each)
        first = np.where(rises, 1.0, self.max_factor)
        return first * w + np.where(rises, self.max_factor, self.final_factor) * (1 - w)


@inputs.named
@dataclass(frozen=True, repr=False)
class InverseScaling(Schedule):
    """Inverse scaling, eta / (t + 1)^power, t the samples of the epochs before.

    Scikit-learn's "invscaling".

    Parameters
    ----------
    power : float
        At least 0; at 0 the rate stays.
    each : "epoch" or "step"
        Whether t grows by epochs, or with each step.

    Examples
    --------
    >>> import fastbp, itertools
    >>> list(itertools.islice(fastbp.schedules.InverseScaling(1.0).rates(1.0, 2, 100), 2))
    [1.0, 0.009900990099009901]
    """

    power: float = 0.5
    each: str = "epoch"

    def __post_init__(self) -> None:
        _take(self, "power", inputs.as_penalty)
        _check_each(self)

    def _factors(self, t: np.ndarray, unit: float, epochs: int, n: int) -> np.ndarray:
        return _power(t * n + 1.0, np.array(-float(self.power)))


@inputs.named
@dataclass(frozen=True)
class Adaptive(Schedule):
    """A fifth of the rate when the training loss stops falling (scikit-learn's "adaptive").

    That is when, in more than n_iter_no_change epochs in a row, it did not fall by `tol` below the
    least so far. Where the rate is then 1e-6 or less already, the run ends.

    Parameters
    ----------
    tol : float
        What counts as a fall of the loss, in its unit; at least 0.
    n_iter_no_change : int
        Epochs without a fall that are borne.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.Adaptive(tol=1e-3).monitor
    'loss'
    """

    tol: float = 1e-4
    n_iter_no_change: int = 10

    monitor: ClassVar[str | None] = "loss"

    def __post_init__(self) -> None:
        _take(self, "tol", inputs.as_penalty)
        _take(self, "n_iter_no_change", inputs.as_count)

    def rates(self, start: float, epochs: int, n: int) -> Rates:
        rate, least, count = start, math.inf, 0
        answer: float | None = rate
        while True:
            loss = yield answer
            answer = rate
            # unlike early stopping's, the least is also lowered by falls smaller than tol
            count = 0 if loss <= least - self.tol else count + 1  # NaN is no fall
            least = min(least, loss)
            if count > self.n_iter_no_change:
                count = 0
                if rate <= 1e-6:
                    answer = None
                else:
                    answer = rate = rate / 5


@inputs.named
@dataclass(frozen=True)
class HalveOnPlateau(Schedule):
    """Half the rate when a value has not improved in `patience` epochs (Nielsen 2015, ch. 3).

    The run ends when the rate has come down to 1/128 of the first.

    Parameters
    ----------
    patience : int
        Epochs in a row without an improvement that are borne.
    monitor, mode : as in `EarlyStopping`
        Which value is watched, and whether less of it is better.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.schedules.HalveOnPlateau(patience=3).monitor
    'validation_loss'
    """

    patience: int = 10
    monitor: str = "validation_loss"  # type: ignore[misc]
    mode: str | None = None

    def __post_init__(self) -> None:
        _take(self, "patience", inputs.as_count)
        check_mode("HalveOnPlateau", self.monitor, self.mode)

    def rates(self, start: float, epochs: int, n: int) -> Rates:
        rate, best = start, Best(self.monitor, self.mode, self.patience)
        answer: float | None = rate
        while True:
            value = yield answer
            answer = rate
            if not best.improves(value) and best.has_waited:
                best.waited = 0
                rate = max(rate / 2, start / 128)
                answer = rate if rate > start / 128 else None


@inputs.named
@dataclass(frozen=True)
class Given(Schedule):
    """A user's own function: epoch -> rate, in place of the optimizer's."""

    function: Callable[[int], SupportsFloat]

    def rates(self, start: float, epochs: int, n: int) -> Rates:
        epoch = 0
        while True:
            yield inputs.as_penalty(self.function(epoch), f"schedule: rate of epoch {epoch}")
            epoch += 1
