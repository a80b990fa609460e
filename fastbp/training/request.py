"""A request: all that the loop needs to make a run, and the checks of what is asked for.

What belongs here: checks of options that several doors share (`fit`, the estimators, L-BFGS). What
does not: what one door alone is asked (fit.py, estimators/solvers.py), how a run is made (loop.py).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import factors, functions, inputs
from fastbp.functions import shown
from fastbp.kernels import dispatch
from fastbp.network import Network
from fastbp.optimizers import LBFGS, OPTIMIZERS, Optimizer
from fastbp.samples import Samples
from fastbp.sparse import Lists
from fastbp.training import own_loss
from fastbp.training.draws import Draws
from fastbp.training.history import History
from fastbp.training.state import State
from fastbp.training.watchers.watcher import Watcher

if TYPE_CHECKING:
    from fastbp.schedules import Schedule

BY_NAME = {**OPTIMIZERS, "lbfgs": LBFGS}
KINDS = tuple(BY_NAME.values())
SCHEDULED = ("learning_rate", "weight_decay", "dropout")  # what a schedule may be of
Course = Callable[[int, int], np.ndarray]  # (first, count) -> a number of each of these steps
FLOPS_PER_THREAD = 8e6  # of one step: below that (some 50 us) a second thread does not pay


@dataclass
class Request:
    """One run.

    Attributes
    ----------
    net, data
        What is trained on what.
    numbers : dict
        Of one step, by the engine's names.
    epochs : int
        To be made, from where `state` stands.
    state : State
        What the run is, and where it begins.
    watchers : sequence of Watcher
        What looks at it, in this order.
    shuffle : bool, Draws or callable (epoch, n) -> order
    dropout : rates of a^0, ..., a^{L-1}
    deadline : float
        In seconds of time.monotonic; 0: none.
    loss
        The user's own.
    rates, decays
        Of each tensor, what its learning rate, and its penalties and weight decay, are multiplied
        by; the usual ones when None.
    ema
        Decay of a moving average of the parameters; a watcher (watchers/average.py) goes with it.
    scheduled : dict of name: (first, count) -> numbers
        Numbers that each step has its own of, of any steps from the start of the run.
    recorded : sequence of str
        Names of the numbers that the history is to hold beside the learning rate.
    driver
        What makes the epochs: `driver.Run`, `lbfgs.Minimisation`.
    """

    net: Network
    data: Samples
    numbers: dict[str, float]
    epochs: int
    state: State
    watchers: Sequence[Watcher]
    history: History = field(default_factory=History)
    shuffle: bool | Draws | Callable[[int, int], Any] = True
    n_threads: int = 1
    dropout: list[float] | None = None
    deadline: float = 0.0
    loss: own_loss.UserLoss | None = None
    rates: list[float] | None = None
    decays: list[float] | None = None
    ema: float | None = None
    scheduled: Mapping[str, Course] = field(default_factory=dict)
    recorded: Sequence[str] = ()
    driver: Callable[[Request], Any] = field(kw_only=True)


def n_used(net: Network, X: np.ndarray | Lists | None) -> float:
    """Parameters that a sample meets; of a sparse X, those of its elements alone."""
    if not isinstance(X, Lists):
        return net.n_parameters
    W = net.weights[0]
    return net.n_parameters + (X.values.size / len(X) - len(W)) * W.shape[1]


def flops(n_parameters: float, batch_size: int) -> float:
    """Of one step, about."""
    return 6.0 * batch_size * n_parameters


def as_deadline(time_limit: Any, name: str = "time_limit") -> float:
    """The time of time.monotonic at which the run is to end; 0 for none."""
    if time_limit is None:
        return 0.0
    if inputs.as_penalty(time_limit, name) == 0:
        raise ValueError(f"{name}: expected seconds above 0 or None; got 0")
    return time.monotonic() + float(time_limit)


def as_optimizer(value: Any, name: str) -> Optimizer | LBFGS:
    if isinstance(value, str):
        kind = BY_NAME.get(value.lower())
        if kind is None:
            raise ValueError(functions.unknown(name, value, BY_NAME))
        return kind()
    if not isinstance(value, KINDS):
        raise TypeError(
            f"{name}: expected {', '.join(kind.__name__ for kind in KINDS)} with its numbers, "
            f"or its name; got {shown(value)}"
        )
    return value


def as_schedule(value: Any, name: str = "schedule") -> Schedule:
    from fastbp import schedules

    if isinstance(value, schedules.Schedule):
        return value
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            f"{name}: expected one of fastbp.schedules or a callable epoch -> rate; got "
            f"{shown(value)}"
        )
    return schedules.Given(value)


def as_schedules(value: Any, name: str) -> dict[str, Schedule]:
    """The schedule of each number that follows one; one alone is the learning rate's."""
    if not isinstance(value, Mapping) or not value:
        return {"learning_rate": as_schedule(value, name)}
    for key in value:
        if key not in SCHEDULED:
            raise ValueError(
                f"{name}: expected schedules of {', '.join(SCHEDULED)}; got {shown(key)}"
            )
    return {key: as_schedule(of, f"{name}[{key!r}]") for key, of in value.items()}


def as_factors(
    net: Network, rates: Any, decays: Any, optimizer: Optimizer | LBFGS | None
) -> tuple[list[float] | None, list[float] | None]:
    """A rate and a decay for each tensor; None where they are the usual ones."""
    if rates is None and decays is None:
        return None, None
    of_rates = factors.rates_of(rates, list(net.tensors))
    of_decays = net._decays(decays)
    if of_rates is not None and isinstance(optimizer, LBFGS) and not set(of_rates) <= {0.0, 1.0}:
        odd = next(rate for rate in of_rates if rate not in (0.0, 1.0))
        raise ValueError(
            f"rates: expected 0 or 1 with LBFGS, which has no steps of a rate; got {odd}"
        )
    return of_rates, None if of_decays == net._decays() else of_decays


def as_average(ema: Any) -> float | None:
    """The decay of the moving average."""
    if ema is not None and (ema := inputs.as_penalty(ema, "ema")) >= 1:
        raise ValueError(f"ema: expected a number in [0, 1) or None; got {ema}")
    return ema


def as_clipping(clip_value: Any, clip_norm: Any) -> dict[str, float]:
    """Bounds of a step's gradient, by the engine's names."""
    given = {"clip_value": clip_value, "clip_norm": clip_norm}
    return {k: inputs.as_positive(v, k) for k, v in given.items() if v is not None}


def as_threads(
    threads: Any,
    net: Network,
    batch_size: int,
    name: str = "threads",
    X: np.ndarray | Lists | None = None,
) -> int:
    if threads is not None:
        return min(inputs.as_count(threads, name), dispatch.engine.f32.max_threads)
    return threads_that_pay(net, batch_size, X)


def threads_that_pay(net: Network, batch_size: int, X: np.ndarray | Lists | None = None) -> int:
    """How many threads a fit uses unless told otherwise."""
    pay = int(flops(n_used(net, X), batch_size) / FLOPS_PER_THREAD)
    if pay <= 1:
        return 1
    return min(pay, cores(), dispatch.engine.f32.max_threads)


_most: ContextVar[int | None] = ContextVar("_most", default=None)


@contextmanager
def limited(n: int) -> Iterator[None]:
    """Have `cores` tell of so many at most meanwhile, to this thread."""
    token = _most.set(n)
    try:
        yield
    finally:
        _most.reset(token)


def cores() -> int:
    """Those that this process may use."""
    has_affinity = hasattr(os, "sched_getaffinity")
    n = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    return min(n, _most.get() or n)


def starts_of(
    schedules: Mapping[str, Schedule],
    optimizer: Optimizer,
    dropout: list[float] | None,
    n_hidden: int,
) -> tuple[dict[str, float], list[float] | None]:
    """What each schedule begins from; and dropout's rates, where it has one in units of that."""
    starts = {}
    for name in schedules:
        if name == "dropout":
            starts[name] = max(dropout) if dropout else 0.0
            if not dropout and not n_hidden:
                raise ValueError("schedule['dropout']: expected hidden layers to drop from; got 0")
            dropout = dropout or [0.0] + [1.0] * n_hidden
            dropout = [rate / max(dropout) for rate in dropout]
        elif not hasattr(optimizer, name):
            raise ValueError(f"schedule[{name!r}]: expected an optimizer with it; got {optimizer}")
        else:
            starts[name] = float(getattr(optimizer, name))
    return starts, dropout


def refuse_with_lbfgs(**options: Any) -> None:
    for name, value in options.items():
        if value:
            raise ValueError(
                f"{name}: expected none with LBFGS, which has no steps of a rate; got "
                f"{shown(value)}"
            )


def check_monitor(
    name: str, watcher: Any, held_out: Samples | None, watched: Mapping[str, Any]
) -> None:
    """Refuse early stopping or a schedule that watches what is not recorded."""
    if name == "early_stopping":
        from fastbp.stopping import EarlyStopping

        if not isinstance(watcher, EarlyStopping):
            raise TypeError(f"early_stopping: expected EarlyStopping or None; got {shown(watcher)}")
    monitor = watcher.monitor
    if monitor is None or monitor in ("loss", "learning_rate", "seconds"):
        return
    if held_out is None and monitor.startswith("validation_"):
        raise ValueError(
            f"{name}: expected validation data, for {monitor!r} is watched; got none "
            "(validation=None)"
        )
    there = ["loss", *(f"validation_{key}" for key in ("loss", *watched) if held_out is not None)]
    if monitor not in there:
        raise ValueError(
            f"{name}: expected a monitor that is recorded, {', '.join(there)}; got {monitor!r}"
        )


def as_seed(seed: Any, known: int | None, needed: bool) -> int:
    """64 bits for the engine's streams; 0 where nothing is drawn, for SeedSequence takes a while.

    `known`: that of the run that is gone on with. A Generator moves on all the same: what is drawn
    from it later does not depend on `shuffle`.
    """
    if seed is None and (known is not None or not needed):
        return known or 0
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**64, dtype=np.uint64))
    if seed is not None and not isinstance(seed, np.random.SeedSequence):
        try:
            seed = inputs.as_count(seed, "seed", 0)
        except TypeError:
            raise TypeError(
                f"seed: expected a whole number >= 0, None or a Generator; got {shown(seed)}"
            ) from None
    if not needed:
        return 0
    return inputs.as_bits(seed)
