"""How an estimator's network is trained: epochs of mini-batches, or L-BFGS.

What belongs here: what scikit-learn's solvers do between epochs (rates, stopping, the best weights)
around the engine's. What does not: data and labels (mlp.py, classifier.py, regressor.py), a step
(the engine; training/driver.py drives it).
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastbp import inputs
from fastbp.dropout import as_rates
from fastbp.functions import shown
from fastbp.optimizers import LBFGS, SGD, Adam, Optimizer
from fastbp.training import lbfgs, request
from fastbp.training.driver import DivergenceError, Run, check_fit
from fastbp.training.history import History
from fastbp.training.loop import Loop
from fastbp.training.request import Request
from fastbp.training.state import Position, RunIdentity, State
from fastbp.training.watchers import callbacks as of_user
from fastbp.training.watchers.schedule import course_of
from fastbp.training.watchers.watcher import Event, Watcher

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
SCORE = "validation_score"  # the name by which a schedule may watch it
SMALLEST_RATE = 1e-6  # of learning_rate="adaptive", as in scikit-learn


def check(model, n_hidden):
    """Refuse callbacks, dropout and schedules that cannot work."""
    if as_rates(model.dropout, n_hidden) is not None and model.solver == "lbfgs":
        raise ValueError(
            f"dropout: expected none with lbfgs, which sees all samples; got {shown(model.dropout)}"
        )
    of_user.checked(() if model.callbacks is None else model.callbacks)
    if isinstance(model.learning_rate, str):
        return
    monitor = request.as_schedule(model.learning_rate).monitor
    known = ("loss", SCORE) if model.early_stopping else ("loss",)
    if monitor is not None and monitor not in known:
        raise ValueError(
            f"learning_rate: expected a schedule that watches {' or '.join(known)}; got {monitor!r}"
        )


def check_numbers(model, data):
    """Refuse numbers that are too large to compute with."""
    for name in ("alpha", "epsilon", "learning_rate_init", "momentum", "power_t", "tol"):
        inputs.as_penalty(getattr(model, name), name)
    request.as_deadline(model.time_limit)
    if model.n_threads is not None:
        inputs.as_count(model.n_threads, "n_threads")
    dtype = np.dtype(np.float64) if model.solver == "lbfgs" else data.X.dtype
    if float(model.alpha) > float(np.finfo(dtype).max) ** 0.5:
        raise ValueError(
            f"alpha: expected a number whose square {dtype} holds; got {float(model.alpha):g}"
        )
    if model.solver == "lbfgs":
        check_fit({"batch_l2": _l2_of_all(model, data)}, dtype)
    else:
        check_fit(Progress(model).numbers(model), dtype)


class Progress:
    """What a stochastic solver carries from one call of `partial_fit` to the next.

    Attributes
    ----------
    learning_rate : float
        Of the next epoch.
    optimizer : Optimizer
    slots : ndarray or None
        Velocities or moments.
    steps : int
    """

    def __init__(self, model):
        self.optimizer = _optimizer(model)
        self.learning_rate = self.optimizer.learning_rate
        self.slots = None
        self.steps = 0

    def numbers(self, model):
        """Of one step, by the engine's names."""
        numbers = self.optimizer.numbers | {"l2": 0.0, "l1": 0.0, "batch_l2": float(model.alpha)}
        numbers["learning_rate"] = self.learning_rate
        if model.solver == "adam":  # scikit-learn adds epsilon to sqrt(v), not to its correction
            numbers["epsilon_hat"] = numbers["epsilon"]
        return numbers


def _optimizer(model):
    if isinstance(model.solver, Optimizer):
        return model.solver
    if model.solver == "adam":
        epsilon = max(float(model.epsilon), 1e-30)
        beta1, beta2 = float(model.beta_1), float(model.beta_2)  # scikit-learn takes False for 0
        return Adam(model.learning_rate_init, beta1, beta2, epsilon)
    momentum = min(float(model.momentum), np.nextafter(1.0, 0.0))  # scikit-learn allows 1
    return SGD(model.learning_rate_init, momentum, bool(model.nesterovs_momentum and momentum > 0))


def descend(model, net, data, held_out, random_state, *, incremental, constants):
    """Train by mini-batches until convergence, `max_iter` or, incrementally, for one epoch.

    `held_out` is None or a function of nothing that scores the network on validation data.
    """
    n = data.X.shape[0]
    batch_size = _batch_size(model, n)
    if not (incremental and hasattr(model, "_optimizer")):
        model._optimizer = Progress(model)
    progress = model._optimizer
    n_threads = request.as_threads(model.n_threads, net, batch_size, "n_threads")
    dropout = as_rates(model.dropout, len(net.sizes) - 2)
    seed = 0 if dropout is None else int(random_state.randint(2**31))  # of the masks
    identity = RunIdentity(n, batch_size, "False", seed, progress.optimizer)
    state = State(identity, Position(step=progress.steps), progress.slots)
    max_iter = 1 if incremental else int(model.max_iter)
    callbacks = of_user.checked(() if model.callbacks is None else model.callbacks)
    deadline = request.as_deadline(model.time_limit)
    schedule, rates, scheduled = None, None, {}
    if not isinstance(model.learning_rate, str):
        schedule, start = request.as_schedule(model.learning_rate), progress.optimizer.learning_rate
        if schedule.each == "step":
            per_epoch = -(-n // batch_size)
            scheduled["learning_rate"] = course_of(
                "learning_rate", schedule, start, max_iter, n, per_epoch
            )
        else:
            rates = schedule.rates(start, max_iter, n)
            progress.learning_rate = next(rates)
    of_rates, of_decays = request.as_factors(net, model.rates, model.decays, progress.optimizer)
    numbers = progress.numbers(model)
    history = History()
    run = Run(
        Request(
            net,
            data,
            numbers,
            max_iter,
            state,
            [],
            history,
            False,
            n_threads,
            dropout,
            deadline,
            rates=of_rates,
            decays=of_decays,
            scheduled=scheduled,
        )  # fmt: skip
    )
    bar = None
    if model.progress:
        from tqdm.auto import tqdm

        bar = tqdm(total=max_iter, unit="epoch")
    best = None
    model.n_iter_ = 0
    try:
        for epoch in range(max_iter):
            if model.shuffle:  # the same draws as scikit-learn's
                if epoch:
                    run.sync()  # a diverged run is made again from here, in this order
                permutation = np.arange(n)
                random_state.shuffle(permutation)
                run.order[...] = run.order[permutation]
            while run.epoch == epoch and not run.is_late:
                run.slice(epoch + 1)
            if run.epoch == epoch:
                break  # out of time
            rate_of_epoch = run.at_ends("learning_rate", 1)[0]
            model.n_iter_ += 1
            model.t_ += n
            model.loss_ = float(run.losses[0])
            if constants is not None:
                model.loss_ += _mean_of_batches(constants, data.weight, run.order, batch_size)
            model.loss_curve_.append(model.loss_)
            if model.verbose:
                print(f"Iteration {model.n_iter_}, loss = {model.loss_:.8f}")
            if held_out is not None:
                run.sync()
                if _note_score(model, held_out()):
                    best = net.parameters.copy()
            else:
                _note_loss(model)
            if model.learning_rate == "invscaling" and model.solver == "sgd":
                _set_rate(model, run, _inverse_scaled(model))
            stop = model._no_improvement_count > model.n_iter_no_change and _has_converged(
                model, run, held_out is not None
            )
            if schedule is not None and rates is not None and epoch + 1 < max_iter:
                watched = model.validation_scores_ if schedule.monitor == SCORE else None
                rate = rates.send(model.loss_ if watched is None else watched[-1])
                stop |= rate is None
                if rate is not None:
                    progress.learning_rate = run.rate = rate
            if callbacks:
                stop |= _call(callbacks, model, run, history, rate_of_epoch)
            if bar is not None:
                bar.set_postfix_str(f"loss {model.loss_:.4g}", refresh=False)
                bar.update()
            if stop:
                break
        else:
            if not incremental:
                warnings.warn(
                    f"Stochastic Optimizer: Maximum iterations ({max_iter}) reached and the "
                    "optimization hasn't converged yet.",
                    ConvergenceWarning,
                    stacklevel=4,
                )
        run.close()  # which may find that the last step was one too many
    except KeyboardInterrupt:
        warnings.warn("Training interrupted by user.", stacklevel=4)
    except DivergenceError as error:
        if held_out is None:
            raise ValueError(f"{NON_FINITE} {error}" if error.place else NON_FINITE) from error
        model.validation_scores_.append(np.nan)
        warnings.warn(
            f"{error}. The weights of the best validation score are kept.",
            ConvergenceWarning,
            stacklevel=4,
        )
    finally:
        if bar is not None:
            bar.close()
        run.close(quiet=True)
        progress.slots, progress.steps = run.slots, run.synced.step
        if best is not None:
            model._best_parameters = best
        if held_out is not None and model._best_parameters is not None:
            net.parameters = model._best_parameters


def _inverse_scaled(model):
    try:
        return float(model.learning_rate_init) / (model.t_ + 1) ** model.power_t
    except OverflowError:  # of the power
        return 0.0


def _batch_size(model, n):
    if isinstance(model.batch_size, str):  # "auto"
        return min(200, n)
    if model.batch_size > n:
        warnings.warn(
            f"batch_size: expected at most the {n} training samples; got "
            f"{shown(model.batch_size)}. It is going to be clipped",
            stacklevel=5,
        )
    return min(int(model.batch_size), n)


def _mean_of_batches(values, weight, order, batch_size):
    """The mean of the batches' weighted means by their rows, as of an epoch's losses."""
    if weight is None:
        return float(values.mean())
    firsts = np.arange(0, order.size, batch_size)
    rows = np.diff(firsts, append=order.size)
    weight = weight[order].astype(np.float64)
    total = np.add.reduceat(weight, firsts)
    sums = np.add.reduceat(weight * values[order], firsts)
    seen = total > 0
    return float(np.average(sums[seen] / total[seen], weights=rows[seen]))


def _note_loss(model):
    worse = not model.loss_ <= model.best_loss_ - model.tol
    model._no_improvement_count = model._no_improvement_count + 1 if worse else 0
    model.best_loss_ = min(model.best_loss_, model.loss_)


def _note_score(model, score):
    """Record a validation score; whether it is the best so far."""
    model.validation_scores_.append(score)
    if model.verbose:
        print(f"Validation score: {score:f}")
    worse = not score >= model.best_validation_score_ + model.tol  # NaN is no improvement
    if len(model.validation_scores_) == 2 and np.isnan(model.validation_scores_).all():
        warnings.warn(
            "validation_score: NaN in every epoch so far, which counts as no improvement",
            RuntimeWarning,
            stacklevel=5,
        )
    model._no_improvement_count = model._no_improvement_count + 1 if worse else 0
    is_best = score > model.best_validation_score_
    if is_best:
        model.best_validation_score_ = score
    return is_best


def _has_converged(model, run, watches_score):
    """Whether to stop after epochs without improvement; "adaptive" lowers its rate first."""
    what = "Validation score" if watches_score else "Training loss"
    reason = (
        f"{what} did not improve more than tol={model.tol:f} for {model.n_iter_no_change} "
        "consecutive epochs."
    )
    rate = model._optimizer.learning_rate
    if model.learning_rate != "adaptive" or model.solver != "sgd":
        ending, stop = "Stopping.", True
    elif rate <= SMALLEST_RATE:
        ending, stop = "Learning rate too small. Stopping.", True
    else:
        _set_rate(model, run, rate / 5.0)
        model._no_improvement_count = 0
        ending, stop = f"Setting learning rate to {rate / 5.0:f}", False
    if model.verbose:
        print(reason, ending)
    return stop


def _set_rate(model, run, rate):
    progress = model._optimizer
    old, progress.learning_rate = progress.learning_rate, rate
    if rate == old:
        return
    run.rate = rate
    if model.solver == "sgd" and run.slots.size:
        # scikit-learn's velocity holds the rate of its time: v <- mu v - eta g. The engine's does
        # not, so that what is in it is scaled for the step to come out the same.
        run.sync()
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scaled = run.slots * np.divide(old, rate)
        run.slots[...] = np.where(np.isfinite(scaled), scaled, 0)
        run.doors.load_state(run.trainer, run.net.parameters, run.slots)


def _call(callbacks, model, run, history, rate):
    """Whether a callback asks to stop; every one sees every epoch."""
    run.sync()
    row = {"loss": model.loss_, "learning_rate": rate}
    if model.validation_scores_ is not None:
        row[SCORE] = model.validation_scores_[-1]
    history.extend(**{name: [value] for name, value in row.items()})
    event = Event(run.epoch - 1, run.end_epoch, run.net, history, step=run.synced.step)
    watcher = of_user.Callbacks(callbacks)
    watcher.before(run)
    return watcher.after_epoch(event)


def _l2_of_all(model, data):
    """What `Network.loss` calls l2, where scikit-learn divides alpha by the sum of the weights."""
    n = data.X.shape[0]
    weight = 1.0 * n if data.weight is None else float(data.weight.sum(dtype=np.float64))
    return float(model.alpha) * n / weight


class Iterations(Watcher):
    """What scikit-learn tells of each iteration of L-BFGS."""

    by_epoch = True

    def __init__(self, model, offset):
        self.model, self.offset = model, offset

    def after_epoch(self, event):
        self.model.n_iter_ += 1
        if self.model.verbose:
            loss = event.history.latest("loss") + self.offset
            print(f"Iteration {self.model.n_iter_}, loss = {loss:.8f}")


def minimise(model, net, data, *, constants):
    """Minimise the loss of all samples with L-BFGS; an exception leaves the last iteration."""
    l2 = _l2_of_all(model, data)
    offset = 0.0 if constants is None else float(np.average(constants, weights=data.weight))
    model.n_iter_ = 0
    optimizer = LBFGS(int(model.max_iter), float(model.tol), int(model.max_fun))
    deadline = request.as_deadline(model.time_limit)
    watchers = [Iterations(model, offset)]
    factors = request.as_factors(net, model.rates, model.decays, optimizer)
    loop = Loop(lbfgs.request_of(net, data, optimizer, l2, deadline, watchers, *factors))
    try:
        loop.go()
    except DivergenceError as error:
        raise ValueError(NON_FINITE) from error
    result = loop.run.result
    if result is not None and result.status != 0:
        warnings.warn(
            f"lbfgs failed to converge after {result.nit} iteration(s) (status={result.status}):\n"
            f"{result.message}\nYou might also want to scale the data, or raise max_iter or "
            "max_fun.",
            ConvergenceWarning,
            stacklevel=4,
        )
    if result is None:
        loss = net.loss(data.X, data.Y, sample_weight=data.weight, l2=l2, decays=model.decays)
    else:
        loss = float(result.fun)
    model.loss_ = loss + offset
