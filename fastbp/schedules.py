"""Learning-rate schedules: the rate of each epoch, from the optimizer's own.

What belongs here: small frozen dataclasses, each with one formula. What does not: optimizers
(optimizers.py), what a step does with the rate (kernels/update.pxd).

A schedule is a generator: `rates` gives the rate of epoch 0, 1, ... and is sent, after each epoch,
the value that the schedule watches; it gives None where the run is to end (and, asked on, the rate
that holds then). A resumed run sends it the values on record, so there is no state to keep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import Any, ClassVar

from fastbp import inputs
from fastbp.stopping import Best, check_mode

MOST_EPOCHS = 2**63 - 1  # as a length that shares are taken of
Rates = Generator[float | None, float, None]

__all__ = [
    "Adaptive",
    "Constant",
    "Cosine",
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


class Schedule:
    """What `fit` asks of a schedule: `rates`, and `monitor`, the name of the value it watches."""

    monitor: ClassVar[str | None] = None

    def rates(self, start: float, epochs: int, n: int) -> Rates:
        """Rates of a run of so many epochs over n samples, from the optimizer's rate `start`."""
        epoch = 0
        while True:
            try:
                rate = start * self._factor(epoch, min(epochs, MOST_EPOCHS), n)
            except OverflowError:  # of a power of floats; a product is infinite then
                rate = math.inf
            if not math.isfinite(rate):
                raise ValueError(
                    f"schedule: expected finite rates; got infinity for epoch {epoch} of {self}"
                )
            yield rate
            epoch += 1

    def _factor(self, epoch: int, epochs: int, n: int) -> float:
        raise NotImplementedError


@inputs.named
@dataclass(frozen=True)
class Constant(Schedule):
    """The optimizer's rate throughout: the same as no schedule."""

    def _factor(self, epoch: int, epochs: int, n: int) -> float:
        return 1.0


@inputs.named
@dataclass(frozen=True)
class Step(Schedule):
    """The rate times `factor` after every so many epochs (torch's StepLR).

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

    def _factor(self, epoch: int, epochs: int, n: int) -> float:
        return float(self.factor) ** (epoch // self.every)


@inputs.named
@dataclass(frozen=True)
class Exponential(Schedule):
    """The rate times `factor` after each epoch (torch's ExponentialLR)."""

    factor: float

    def __post_init__(self) -> None:
        _positive(self, "factor")

    def _factor(self, epoch: int, epochs: int, n: int) -> float:
        return float(self.factor) ** epoch


@inputs.named
@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine from the rate down to `final` times it (Loshchilov & Hutter 2017).

    Without warm-up torch's CosineAnnealingLR with T_max = epochs.

    Parameters
    ----------
    warmup : int
        Epochs in which the rate first rises in equal steps.
    final : float in [0, 1]
        What it falls to, reached after the last epoch.
    epochs : int, optional
        Length; those of the fit when None, and `final` from then on.
    """

    warmup: int = 0
    final: float = 0.0
    epochs: int | None = None

    def __post_init__(self) -> None:
        _take(self, "warmup", inputs.as_count, 0)
        _take(self, "final", inputs.as_penalty)
        if self.final > 1:
            raise ValueError(f"Cosine.final: expected a share in [0, 1]; got {self.final}")
        _epochs_or_none(self)
        if self.epochs is not None and self.epochs <= self.warmup:
            raise ValueError(
                f"Cosine.warmup: expected fewer than the {self.epochs} epochs; got {self.warmup}"
            )

    def _factor(self, epoch: int, epochs: int, n: int) -> float:
        if epoch < self.warmup:
            return (epoch + 1) / (self.warmup + 1)
        length = max(1, (self.epochs or epochs) - self.warmup)
        share = min(1.0, (epoch - self.warmup) / length)
        return self.final + (1 - self.final) * (1 + math.cos(math.pi * share)) / 2


@inputs.named
@dataclass(frozen=True)
class OneCycle(Schedule):
    """Up to `max_factor` times the rate, then down to `final_factor` times it (Smith 2018).

    Both ways are halves of a cosine, as in torch's OneCycleLR with max_lr = max_factor rate,
    div_factor = max_factor, final_div_factor = 1 / final_factor, and a step an epoch.

    Parameters
    ----------
    max_factor : float
    warmup : float in (0, 1)
        Share of the epochs in which the rate rises.
    final_factor : float
    epochs : int, optional
        Length; those of the fit when None.
    """

    max_factor: float = 10.0
    warmup: float = 0.3
    final_factor: float = 1e-4
    epochs: int | None = None

    def __post_init__(self) -> None:
        _positive(self, "max_factor", "warmup", "final_factor")
        if self.warmup >= 1:
            raise ValueError(f"OneCycle.warmup: expected a share in (0, 1); got {self.warmup}")
        _epochs_or_none(self)

    def _factor(self, epoch: int, epochs: int, n: int) -> float:
        length = self.epochs or epochs
        top, last = self.warmup * length - 1, length - 1
        if epoch <= top:
            first, end, share = 1.0, self.max_factor, epoch / top if top else 1.0
        else:
            first, end = self.max_factor, self.final_factor
            share = min(1.0, (epoch - top) / (last - top))
        w = (1 + math.cos(math.pi * share)) / 2
        return first * w + end * (1 - w)


@inputs.named
@dataclass(frozen=True)
class InverseScaling(Schedule):
    """eta / (t + 1)^power, t the samples of the epochs before (scikit-learn's "invscaling")."""

    power: float = 0.5

    def __post_init__(self) -> None:
        _take(self, "power", inputs.as_penalty)

    def _factor(self, epoch: int, epochs: int, n: int) -> float:
        return float((epoch * n + 1.0) ** -float(self.power))


@inputs.named
@dataclass(frozen=True)
class Adaptive(Schedule):
    """A fifth of the rate when the training loss stops falling (scikit-learn's "adaptive").

    That is when, in more than n_iter_no_change epochs in a row, it did not fall by `tol` below the
    least so far. Where the rate is then 1e-6 or less already, the run ends.
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
    monitor, mode
        As in `EarlyStopping`.
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

    function: Callable[[int], Any]

    def rates(self, start: float, epochs: int, n: int) -> Rates:
        epoch = 0
        while True:
            yield inputs.as_penalty(self.function(epoch), f"schedule: rate of epoch {epoch}")
            epoch += 1
