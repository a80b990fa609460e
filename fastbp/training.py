"""`fit`: what a user can ask of a training run, and what is recorded of it.

What belongs here: arguments, epochs, validation, callbacks. What does not: how the engine is driven
(run.py), parameters' values, estimators.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import functions, inputs, metrics
from fastbp.dropout import as_rates
from fastbp.functions import shown
from fastbp.history import History
from fastbp.kernels import dispatch
from fastbp.monitor import Event, Monitor, checked_callbacks, each_step, progress_bar
from fastbp.network import Network
from fastbp.optimizers import LBFGS, OPTIMIZERS, Adam, Optimizer
from fastbp.run import DivergenceError, Run, Samples, State, UserLoss, flops
from fastbp.stopping import NOT_RECORDED

if TYPE_CHECKING:
    from fastbp.checkpoint import Checkpoint
    from fastbp.schedules import Schedule
    from fastbp.stopping import EarlyStopping

__all__ = ["DivergenceError", "Event", "History", "each_step", "fit"]

_BY_NAME = {**OPTIMIZERS, "lbfgs": LBFGS}
FLOPS_PER_THREAD = 8e6  # of one step: below that (some 50 us) a second thread does not pay


def fit(
    net: Network,
    X: Any,
    Y: Any,
    *,
    epochs: int = 30,
    batch_size: int = 10,
    optimizer: Optimizer | LBFGS | str | None = None,
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
    schedule: Schedule | Callable[[int], Any] | None = None,
    metrics: Any = None,
    early_stopping: EarlyStopping | None = None,
    time_limit: float | None = None,
    ema: float | None = None,
    class_weight: Any = None,
    label_smoothing: float = 0.0,
    loss: UserLoss | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 1.0,
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
    optimizer : SGD, Adam, AdamW, AMSGrad, RMSprop, Adagrad, Adadelta, Lion or LBFGS, or str
        A name, as "adam", stands for it with its defaults; Adam() when None. LBFGS takes all
        samples at once: epochs, batch_size, shuffle and threads do not matter to it.
    shuffle : bool or callable
        A new order each epoch, which depends on the seed and the epoch alone; False: as they lie; a
        callable (epoch, n) -> permutation of 0..n-1 replays given orders.
    seed : int, None or numpy.random.SeedSequence
        Of the order and of the split-off validation data. None draws one.
    validation : (X, Y), (X, Y, sample_weight) or float
        Data to evaluate after each epoch, or the share to split off at random. Its loss is without
        label smoothing and class weights.
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
        Each is called with an `Event` after each epoch (and, with `fastbp.each_step`, after each
        step); one that returns True ends the run. They may write `net.parameters`.
    progress : bool
        A tqdm bar, in a terminal or a notebook.
    threads : int or None
        Threads that make each step together, fewer where the system has no more; the bits do not
        depend on it. None: as many as pay.
    resume : History
        Go on where that run of `fit` ended (same data size, batch size, optimizer and shuffle): the
        two together give the bits of one run. Its History is not changed. Where that run left the
        network with averaged or earlier parameters, it goes on from those of its last step.
    schedule : of fastbp.schedules, or callable epoch -> rate
        Learning rate of each epoch, recorded as "learning_rate". The optimizer's when None.
    metrics : names, or {name: callable (y_true, y_pred) -> number}
        Of the validation data, recorded as "validation_<name>": "accuracy", "balanced_accuracy",
        "r2", "mse", "rmse", "mae". A callable is given class indices (n,) or targets (n, n_L), and
        predictions (n, n_L). None: accuracy where the targets are classes.
    early_stopping : EarlyStopping
        End when a recorded value no longer improves, with the best parameters.
    time_limit : float
        Seconds that this call may take; it ends after the step at hand.
    ema : float in [0, 1)
        Decay of a moving average of the parameters, which validation sees and the network ends
        with; callbacks see the parameters that are trained. As in torch.optim.swa_utils: it begins
        as the parameters after the first step, then average <- ema average + (1 - ema) parameters.
        Each step then goes through Python, which takes 30 us and more.
    class_weight : dict of class: weight, or "balanced"
        Multiplies sample_weight; classes not named weigh 1. "balanced": n / (K n_class), of K
        classes that occur.
    label_smoothing : float in [0, 1)
        Trains on (1 - label_smoothing) y + label_smoothing / K; cross_entropy and kl only.
    loss : callable (predictions, targets, weights) -> (loss, gradient)
        A loss of your own in place of the network's: of predictions (m, n_L), targets (m,) or
        (m, k) and weights (m,) of a batch, the number that the batch is to minimise and its
        gradient by the predictions (m, n_L), weights and 1/m included. One thread; each step goes
        through Python.
    checkpoint : str or path-like
        File that the run is kept in. Where it is there already, the run goes on from it, up to
        `epochs` in all, and ends with the same bits as one that was never stopped; a file of a run
        with other data or options is refused. A new file takes the old one's place whole. Where it
        has made more than `epochs` already, the network is as it left it, with a warning.
    every : float
        Seconds from one writing of the checkpoint to the next, within an epoch too.

    Returns
    -------
    History

    Raises
    ------
    DivergenceError
        The loss or a parameter became NaN or infinite.
    OSError
        The checkpoint could not be written; the file is as it was.
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
    deadline = _as_deadline(time_limit)
    ignore_missing = inputs.as_flag(ignore_missing, "ignore_missing")
    label_smoothing = inputs.as_penalty(label_smoothing, "label_smoothing")
    epochs = inputs.as_count(epochs, "epochs")
    batch_size = inputs.as_count(batch_size, "batch_size")
    optimizer = _as_optimizer(optimizer)
    if not (isinstance(shuffle, (bool, np.bool_)) or callable(shuffle)):
        raise TypeError(
            f"shuffle: expected True, False or (epoch, n) -> order; got {shown(shuffle)}"
        )
    shuffle = shuffle if callable(shuffle) else bool(shuffle)
    callbacks = checked_callbacks(callbacks)
    progress = inputs.as_flag(progress, "progress")
    if resume is not None and not isinstance(resume, History):
        raise TypeError(f"resume: expected the History of a finished fit; got {shown(resume)}")
    schedule = None if schedule is None else _as_schedule(schedule)
    if ema is not None and (ema := inputs.as_penalty(ema, "ema")) >= 1:
        raise ValueError(f"ema: expected a number in [0, 1) or None; got {ema}")
    dropped = as_rates(dropout, len(net.sizes) - 2)
    if loss is not None:
        _check_loss(loss, ignore_missing=ignore_missing, label_smoothing=label_smoothing)
    data = _as_data(net, X, Y, sample_weight, ignore_missing, loss)
    shares = isinstance(validation, (float, np.floating))
    every = inputs.as_penalty(every, "every")
    file = None
    if checkpoint is not None:
        file, resume = _opened(checkpoint, every, resume)
    seed_bits = _as_seed(seed, resume, needed=shuffle is True or shares or dropped is not None)
    data, held_out = _as_validation(net, data, validation, seed_bits, loss)
    if class_weight is not None:
        data = _weighted(net, data, class_weight)
    if label_smoothing:
        data = _smoothed(net, data, label_smoothing)
    watched_metrics = _as_metrics(net, held_out, metrics)
    if early_stopping is not None:
        _check_watcher("early_stopping", early_stopping, held_out, watched_metrics)
    if schedule is not None:
        _check_watcher("schedule", schedule, held_out, watched_metrics)
    n = data.X.shape[0]
    batch_size = min(batch_size, n)
    l2, l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
    clipping = {
        name: inputs.as_positive(value, name)
        for name, value in (("clip_value", clip_value), ("clip_norm", clip_norm))
        if value is not None
    }
    if isinstance(optimizer, LBFGS):
        _refuse_with_lbfgs(
            l1=l1,
            **clipping,
            schedule=schedule,
            ema=ema,
            resume=resume,
            checkpoint=checkpoint,
            dropout=dropped,
            loss=loss,
        )
        history = History()
        history._extend(loss=[], seconds=[])
        monitor = Monitor(net, history, held_out, watched_metrics, callbacks, early_stopping)
        return _minimised(data, optimizer, l2, deadline, monitor, progress)
    n_threads = _as_threads(threads, net, batch_size) if loss is None else 1
    order = "a callable" if callable(shuffle) else str(shuffle)
    state = State((0, 0, 0, 0.0, 0.0), None, seed_bits, optimizer, n, batch_size, order)
    if file is not None:
        told = {"l2": l2, "l1": l1, "clipping": clipping, "ema": ema}
        told |= {"schedule": schedule, "early_stopping": early_stopping}
        told |= {"class_weight": class_weight, "label_smoothing": label_smoothing}
        told |= {"dropout": dropped, "ignore_missing": ignore_missing, "own loss": loss}
        file.identify(_identity(net, state, told, data, held_out))
        state, epochs = file.start(resume, state, net, epochs)
    elif resume is not None:
        state = _checked_resume(resume, state, net)

    history = History(resume)
    began = time.time() - (history["seconds"][-1] if history.epochs else 0.0)
    numbers = optimizer.numbers | {"l2": l2 / n, "l1": l1 / n} | clipping
    end_epoch = state.position[0] + epochs
    rates, rate = None, None
    if schedule is not None:
        rates, rate = _rates(schedule, optimizer.learning_rate, end_epoch, n, history)
    history._extend(loss=[], learning_rate=[], seconds=[])
    monitor = Monitor(
        net, history, held_out, watched_metrics, callbacks, early_stopping, state.best, loss
    )
    run = Run(net, data, state, numbers, n_threads, shuffle, epochs, dropped, ema, deadline, loss)
    if rate is not None:
        run.rate = rate
    watched = monitor.looks or rates is not None
    bar = progress_bar(run.epoch, run.end_epoch) if progress else None
    looked_at = history.epochs  # epochs of which all is recorded
    stop, finished, interrupted = state.stopped, False, False
    try:
        while run.epoch < run.end_epoch and not stop:
            if run.is_late:
                break
            epoch = run.epoch
            run.slice(epoch + 1 if watched else run.end_epoch, bool(monitor.step_callbacks))
            ended = run.epoch - epoch
            history._extend(
                loss=run.losses[:ended].tolist(),
                learning_rate=[run.rate] * ended,
                seconds=(run.clock[:ended] - began).tolist(),
            )
            if monitor.step_callbacks:
                stop |= _call(monitor, run, "step", epoch)
            if watched and ended:
                if monitor.looks:
                    stop |= _look(monitor, run, epoch)
                if schedule is not None and rates is not None and run.epoch < run.end_epoch:
                    rate = rates.send(history._latest(schedule.monitor or "loss"))
                    stop |= rate is None
                    run.rate = run.rate if rate is None else rate
            looked_at = epoch + ended
            if file is not None and file.is_due():
                run.sync()
                file.write(run.state(None, monitor.best, stop), net.parameters, history)
            if bar is not None:
                bar.set_postfix_str(history._last(), refresh=False)
                bar.update(ended)
        run.close()  # which may find that the last step was one too many
        finished = True
    except KeyboardInterrupt:
        interrupted = True
        raise
    finally:
        if not finished:
            run.close(quiet=True)
        history.seconds += run.seconds
        history.samples += run.samples
        last = monitor.best if finished and monitor.best is not None else run.average
        trained = None if last is None else net.parameters.copy()
        if last is not None:
            net.parameters[...] = last
        history._state = run.state(trained, monitor.best, stop)
        if bar is not None:
            bar.close()
        is_whole = finished or (interrupted and history.epochs == looked_at == run.epoch)
        if file is not None and is_whole and run.samples:
            file.write(history._state, net.parameters if trained is None else trained, history)
    return history


if not TYPE_CHECKING:  # so that `Network.fit` has these types too
    fit = inputs.keywords(fit)


def _refuse_with_lbfgs(**options: Any) -> None:
    for name, value in options.items():
        if value:
            raise ValueError(
                f"{name}: expected none with LBFGS, which has no steps of a rate; got "
                f"{shown(value)}"
            )


def _minimised(
    data: Samples,
    optimizer: LBFGS,
    l2: float,
    deadline: float,
    monitor: Monitor,
    progress: bool,
) -> History:
    """What `fit` does, an iteration over all samples for an epoch."""
    from fastbp import lbfgs

    net, history = monitor.net, monitor.history
    began = time.perf_counter()
    bar = progress_bar(0, optimizer.max_iter) if progress else None

    def each_iteration(loss: float) -> bool:
        history._extend(loss=[loss], seconds=[time.perf_counter() - began])
        monitor.evaluate()
        if monitor.improved():
            monitor.best = net.parameters.copy()
        epoch = history.epochs - 1
        stop = monitor.has_waited
        stop |= monitor.call(Event(epoch, optimizer.max_iter, net, history, step=epoch + 1))
        if bar is not None:
            bar.set_postfix_str(history._last(), refresh=False)
            bar.update()
        return stop

    try:
        result = lbfgs.minimise(net, data, optimizer, l2, deadline, each_iteration)
        if result is not None and result.status != 0 and result.nit < optimizer.max_iter:
            warnings.warn(
                f"LBFGS: ended after {result.nit} iterations, the tolerance not met (SciPy's "
                f"status {result.status}: {result.message}); standardised data may help, or "
                "more of max_fun",
                RuntimeWarning,
                stacklevel=4,
            )
        if monitor.best is not None:
            net.parameters[...] = monitor.best
    finally:
        history.seconds = time.perf_counter() - began
        history.samples = history.epochs * data.X.shape[0]
        if bar is not None:
            bar.close()
    return history


def _call(monitor: Monitor, run: Run, kind: str, epoch: int) -> bool:
    """Tell the callbacks, and take the parameters that they may have written."""
    step, average = run.synced[2], run.average
    event = Event(epoch, run.end_epoch, run.net, monitor.history, kind, step, average)
    stop = monitor.call(event)
    run.reload()
    return stop


def _look(monitor: Monitor, run: Run, epoch: int) -> bool:
    """What is to be done after an epoch; whether the run is to end."""
    run.sync()
    parameters = run.net.parameters
    if run.average is not None and monitor.held_out is not None:
        trained = parameters.copy()
        parameters[...] = run.average
        try:
            monitor.evaluate()
        finally:
            parameters[...] = trained
    else:
        monitor.evaluate()
    if monitor.improved():
        monitor.best = (parameters if run.average is None else run.average).copy()
    stop = monitor.has_waited
    if monitor.callbacks:
        stop |= _call(monitor, run, "epoch", epoch)
    return stop


def _as_deadline(time_limit: Any) -> float:
    """The time of time.monotonic at which the run is to end; 0 for none."""
    if time_limit is None:
        return 0.0
    if inputs.as_penalty(time_limit, "time_limit") == 0:
        raise ValueError("time_limit: expected seconds above 0 or None; got 0")
    return time.monotonic() + float(time_limit)


def _as_optimizer(value: Any) -> Optimizer | LBFGS:
    if value is None:
        return Adam()
    if isinstance(value, str):
        kind = _BY_NAME.get(value.lower())
        if kind is None:
            raise ValueError(functions.unknown("optimizer", value, _BY_NAME))
        return kind()
    kinds = tuple(_BY_NAME.values())
    if not isinstance(value, kinds):
        raise TypeError(
            f"optimizer: expected {', '.join(kind.__name__ for kind in kinds)} with its numbers, "
            f"or its name; got {shown(value)}"
        )
    return value


def _as_schedule(value: Any) -> Schedule:
    from fastbp import schedules

    if isinstance(value, schedules.Schedule):
        return value
    if isinstance(value, type) or not callable(value):
        raise TypeError(
            "schedule: expected one of fastbp.schedules or a callable epoch -> rate; got "
            f"{shown(value)}"
        )
    return schedules.Given(value)


def _rates(
    schedule: Schedule, start: float, end_epoch: int, n: int, history: History
) -> tuple[Generator[float | None, float, None], float]:
    """The schedule's rates from the first epoch not on record, and the rate of that epoch."""
    rates = schedule.rates(start, end_epoch, n)
    rate = next(rates)
    assert rate is not None
    name = schedule.monitor or "loss"
    began = history._began(name)
    recorded = history[name].tolist() if began < history.epochs else []
    for value in [NOT_RECORDED] * began + recorded[began:]:
        found = rates.send(value)
        rate = rate if found is None else found
    return rates, rate


def _as_metrics(net: Network, held_out: Samples | None, value: Any) -> dict[str, Any]:
    """What is recorded of the validation data beside its loss."""
    if value is None:
        is_class = held_out is not None and metrics.classes_of(net, held_out) is not None
        return {"accuracy": None} if is_class else {}
    if held_out is None:
        raise ValueError("metrics: expected validation data with them; got none (validation=None)")
    found = metrics.checked(value)
    metrics.check_targets(net, held_out, found)
    return found


def _check_watcher(
    name: str, watcher: Any, held_out: Samples | None, watched: dict[str, Any]
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


def _weighted(net: Network, data: Samples, class_weight: Any) -> Samples:
    weight = metrics.class_weights(class_weight, net, data)
    if data.weight is not None:
        weight = inputs.in_range(weight, np.dtype(np.float64)) * data.weight
    if not weight.any():
        raise ValueError("class_weight: expected a weight above 0 for a class that occurs")
    return data._replace(weight=inputs.in_range(weight, net.dtype))


def _smoothed(net: Network, data: Samples, share: float) -> Samples:
    if share >= 1:
        raise ValueError(f"label_smoothing: expected a share in [0, 1); got {share}")
    if net._loss.kind not in ("cross_entropy", "kl"):
        raise ValueError(
            f"label_smoothing: expected a network with loss 'cross_entropy' or 'kl'; got "
            f"{net._loss.kind!r}"
        )
    y = inputs.as_dense_targets(data.Y, len(data.Y), net._n_targets, net._loss, net.dtype)
    dense = net.dtype.type(1 - share) * y + net.dtype.type(share / net._n_targets)
    return data._replace(dense=dense, labels=None)


def _opened(
    checkpoint: Any, every: float, resume: History | None
) -> tuple[Checkpoint, History | None]:
    """The checkpoint, and the run that it holds."""
    from fastbp.checkpoint import Checkpoint

    if resume is not None:
        raise ValueError(
            "resume: expected None with a checkpoint, which knows where its run ended; got "
            f"{resume!r}"
        )
    file = Checkpoint(checkpoint, every)
    return file, file.read()


def _identity(
    net: Network, state: State, told: dict[str, Any], data: Samples, held_out: Samples | None
) -> dict[str, Any]:
    """What tells one run from another, JSON-able: what it is, is told and sees."""
    from fastbp.checkpoint import fingerprint
    from fastbp.schedules import Given

    def plain(value: Any) -> Any:
        if isinstance(value, Given) or callable(value):
            return "a callable"  # nobody can tell whether two do the same
        return value if value is None or isinstance(value, float) else repr(value)

    return {
        **net.architecture,
        "optimizer": repr(state.optimizer),
        **{name: getattr(state, name) for name in ("n", "batch_size", "shuffle", "seed")},
        **{name: plain(value) for name, value in told.items()},
        "data": fingerprint(data[:4]),
        "validation": None if held_out is None else fingerprint(held_out[:4]),
    }


def _as_threads(threads: Any, net: Network, batch_size: int, name: str = "threads") -> int:
    if threads is not None:
        return min(inputs.as_count(threads, name), dispatch.engine.f32.max_threads)
    return threads_that_pay(net, batch_size)


def threads_that_pay(net: Network, batch_size: int) -> int:
    """How many threads a fit uses unless told otherwise."""
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    most = min(cores, dispatch.engine.f32.max_threads)
    return max(1, min(most, int(flops(net, batch_size) / FLOPS_PER_THREAD)))


def _as_data(
    net: Network,
    X: Any,
    Y: Any,
    sample_weight: Any,
    ignore_missing: bool = False,
    loss: UserLoss | None = None,
) -> Samples:
    X = net._ready(X)
    n = X.shape[0]
    if loss is None:
        dense, labels = net._targets(Y, n, ignore_missing)
    else:
        dense, labels = _free_targets(net, Y, n)
    weight = inputs.as_weight(sample_weight, n, net.dtype)
    return Samples(X, dense, labels, weight, bool(ignore_missing))


def _free_targets(net: Network, Y: Any, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Targets of a user's own loss: class indices, or numbers in any number of columns."""
    array, n_outputs = inputs.as_array(Y, "Y"), net.sizes[-1]
    if array.ndim == 2 and array.shape[1]:
        n_outputs = array.shape[1]
    elif array.dtype.kind == "f":
        n_outputs = 1
    return inputs.as_targets(array, n, n_outputs, functions.loss("mse"), net.dtype)


def _check_loss(loss: Any, **options: Any) -> None:
    if not callable(loss):
        raise TypeError(
            "loss: expected a callable (predictions, targets, weights) -> (loss, gradient), for "
            f"Network has the names; got {shown(loss)}"
        )
    for name, value in options.items():
        if value:
            raise ValueError(f"{name}: expected none with a loss of your own; got {shown(value)}")


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
                f"seed: expected a whole number >= 0, None or a Generator; got {shown(seed)}"
            ) from None
    if not needed:
        return 0
    return inputs.as_bits(seed)


def _as_validation(
    net: Network, data: Samples, validation: Any, seed: int, loss: UserLoss | None = None
) -> tuple[Samples, Samples | None]:
    """Training data and what is held out of it or given beside it."""
    if validation is None:
        return data, None
    if isinstance(validation, (tuple, list)) and len(validation) in (2, 3):
        try:
            weight = validation[2] if len(validation) == 3 else None
            return data, _as_data(net, validation[0], validation[1], weight, data.missing, loss)
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
    return new.taken_up(old)._replace(stopped=False)  # it is asked to go on
