"""`fit`: what a user can ask of a training run, and what is recorded of it.

What belongs here: arguments, epochs, validation, callbacks. What does not: how the engine is driven
(run.py), parameters' values, estimators.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.dropout import as_rates
from fastbp.history import History
from fastbp.kernels import dispatch
from fastbp.network import Network
from fastbp.optimizers import OPTIMIZERS, Adam, Optimizer
from fastbp.run import DivergenceError, Run, Samples, State, flops

__all__ = ["DivergenceError", "Event", "History", "fit"]

FLOPS_PER_THREAD = 8e6  # of one step: below that (some 50 us) a second thread does not pay


@dataclass(frozen=True)
class Event:
    """What a callback is given at the end of an epoch (from 0)."""

    epoch: int
    epochs: int
    network: Network
    history: History


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
    clip_value: float | None = None,
    clip_norm: float | None = None,
    dropout: Any = 0.0,
    ignore_missing: bool = False,
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
    optimizer : SGD, Adam, AdamW, AMSGrad, RMSprop, Adagrad, Adadelta or Lion
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
    clip_value : float, optional
        No element of a step's gradient, penalties included, is larger in size.
    clip_norm : float, optional
        The whole gradient of a step, penalties and biases included, is scaled to this norm where
        its own is larger (after `clip_value`; Pascanu, Mikolov & Bengio 2013).
    dropout : float or sequence of float
        The share of activations that each step sets to 0, the rest being divided by 1 - rate: one
        rate for all hidden layers, one a hidden layer, or the input's and one a hidden layer. The
        masks depend on the seed and the step alone (`Dropout` holds one still); predictions and
        validation drop nothing.
    ignore_missing : bool
        NaN in Y stands for a target that is not known, as in `Network.loss`.
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
    if not isinstance(optimizer, tuple(OPTIMIZERS.values())):
        raise TypeError(
            f"optimizer: expected {', '.join(kind.__name__ for kind in OPTIMIZERS.values())} with "
            f"its numbers; got {optimizer!r}"
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
    rates = as_rates(dropout, len(net.sizes) - 2)
    data = _as_data(net, X, Y, sample_weight, ignore_missing)
    shares = isinstance(validation, (float, np.floating))
    seed_bits = _as_seed(seed, resume, needed=shuffle is True or shares or rates is not None)
    data, held_out = _as_validation(net, data, validation, seed_bits)
    n = data.X.shape[0]
    batch_size = min(batch_size, n)
    l2, l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
    clipping = {
        name: inputs.as_positive(value, name)
        for name, value in (("clip_value", clip_value), ("clip_norm", clip_norm))
        if value is not None
    }
    n_threads = _as_threads(threads, net, batch_size)
    order = "a callable" if callable(shuffle) else str(shuffle)
    state = State((0, 0, 0, 0.0, 0.0), None, seed_bits, optimizer, n, batch_size, order)
    if resume is not None:
        state = _checked_resume(resume, state, net)

    history = History(resume)
    began = time.time() - (history["seconds"][-1] if history.epochs else 0.0)
    numbers = optimizer.numbers | {"l2": l2 / n, "l1": l1 / n} | clipping
    run = Run(net, data, state, numbers, n_threads, shuffle, epochs, rates)
    watched = held_out is not None or bool(callbacks)
    bar = _bar(run.epoch, run.end_epoch) if progress else None
    stop = False
    try:
        while run.epoch < run.end_epoch and not stop:
            epoch = run.epoch
            run.slice(epoch + 1 if watched else run.end_epoch)
            ended = run.epoch - epoch
            history._extend(
                loss=run.losses[:ended].tolist(),
                learning_rate=[optimizer.learning_rate] * ended,
                seconds=(run.clock[:ended] - began).tolist(),
            )
            if watched and ended:
                run.sync()
                if held_out is not None:
                    history._extend(**{k: [v] for k, v in _evaluate(net, held_out).items()})
                event = Event(epoch, run.end_epoch, net, history)
                for callback in callbacks:  # every callback sees every epoch
                    answer = callback(event)
                    stop |= isinstance(answer, (bool, np.bool_)) and bool(answer)
                if callbacks:
                    run.reload()
            if bar is not None:
                bar.set_postfix_str(history._last(), refresh=False)
                bar.update(ended)
    finally:
        run.close()
        history.seconds += run.seconds
        history.samples += run.samples
        history._state = run.state()
        if bar is not None:
            bar.close()
    return history


def _as_threads(threads: Any, net: Network, batch_size: int) -> int:
    if threads is not None:
        return min(inputs.as_count(threads, "threads"), dispatch.engine.max_threads)
    return threads_that_pay(net, batch_size)


def threads_that_pay(net: Network, batch_size: int) -> int:
    """How many threads a fit uses unless told otherwise."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    most = min(cores, dispatch.engine.max_threads)
    return max(1, min(most, int(flops(net, batch_size) / FLOPS_PER_THREAD)))


def _as_data(
    net: Network, X: Any, Y: Any, sample_weight: Any, ignore_missing: bool = False
) -> Samples:
    X = net._ready(X)
    dense, labels = net._targets(Y, X.shape[0], ignore_missing)
    weight = inputs.as_weight(sample_weight, X.shape[0], net.dtype)
    return Samples(X, dense, labels, weight, bool(ignore_missing))


def _as_seed(seed: Any, resume: History | None, needed: bool) -> int:
    """64 bits for the engine's streams; 0 where nothing is drawn, for SeedSequence takes a while.

    A Generator moves on all the same: what is drawn from it later does not depend on `shuffle`.
    """
    if seed is None and resume is not None and resume._state is not None:
        return resume._state.seed
    if isinstance(seed, np.random.Generator):
        return int(seed.integers(2**64, dtype=np.uint64))
    if seed is not None and not isinstance(seed, np.random.SeedSequence):
        try:
            seed = inputs.as_count(seed, "seed", 0)
        except TypeError:
            raise TypeError(
                f"seed: expected a whole number >= 0, None or a Generator; got {seed!r}"
            ) from None
    if not needed:
        return 0
    return inputs.as_bits(seed)


def _as_validation(
    net: Network, data: Samples, validation: Any, seed: int
) -> tuple[Samples, Samples | None]:
    """Training data and what is held out of it or given beside it."""
    if validation is None:
        return data, None
    if isinstance(validation, (tuple, list)) and len(validation) in (2, 3):
        try:
            X, Y, *weight = validation
            return data, _as_data(net, X, Y, weight[0] if weight else None, data.missing)
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


def _checked_resume(resume: History, new: State, net: Network) -> State:
    old = resume._state
    if old is None or old.slots is None:
        raise ValueError(f"resume: expected the History of a finished fit; got {resume!r}")
    for name in ("n", "batch_size", "shuffle", "seed"):
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
    return new._replace(position=old.position, slots=old.slots)


def _classes(net: Network, data: Samples) -> np.ndarray | None:
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


def _evaluate(net: Network, data: Samples) -> dict[str, float]:
    """Loss of held-out data and, where they are classes, accuracy; both with their weights."""
    loss = net.loss(data.X, data.Y, sample_weight=data.weight, ignore_missing=data.missing)
    values = {"validation_loss": loss}
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
