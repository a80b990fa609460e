"""How an estimator's network is trained: epochs of mini-batches, or L-BFGS.

What belongs here: what scikit-learn's solvers do between epochs (rates, stopping, best weights), as
watchers of a run. What does not: data and labels (mlp.py, classifier.py, regressor.py), the loop
over the epochs (training/loop.py), a step (the engine).
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastbp import inputs
from fastbp.dropout import as_rates
from fastbp.functions import shown
from fastbp.optimizers import LBFGS, SGD, Adam, Optimizer
from fastbp.training import lbfgs, request
from fastbp.training.chunk_run import ChunkRun
from fastbp.training.chunks import Stream
from fastbp.training.draws import Draws
from fastbp.training.driver import DivergenceError, Run, check_fit
from fastbp.training.history import History
from fastbp.training.loop import Loop
from fastbp.training.request import Request
from fastbp.training.state import Position, RunIdentity, State
from fastbp.training.watchers import callbacks as of_user
from fastbp.training.watchers.average import Average, judged
from fastbp.training.watchers.bar import Bar
from fastbp.training.watchers.checkpoint import Checkpoint
from fastbp.training.watchers.schedule import Schedule, course_of
from fastbp.training.watchers.watcher import Watcher

NON_FINITE = (
    "Solver produced non-finite parameter weights. The input data may contain large values and "
    "need to be preprocessed."
)
SCORE = "validation_score"  # the name by which a schedule may watch it
FULL_BATCH = 200  # of batch_size="auto"
SMALLEST_RATE = 1e-6  # of learning_rate="adaptive", as in scikit-learn


OF_STEPS = ("ema", "clip_value", "clip_norm", "checkpoint")  # which L-BFGS has none of
# What a run may be gone on with after a change of: how long, how fast, and what is told of it.
FREE = {
    "max_iter", "time_limit", "n_threads", "verbose", "progress", "callbacks", "warm_start",
    "checkpoint", "every",
}  # fmt: skip


def check(model, n_hidden):
    """Refuse callbacks, dropout and schedules that cannot work."""
    if as_rates(model.dropout, n_hidden) is not None and model.solver == "lbfgs":
        raise ValueError(
            f"dropout: expected none with lbfgs, which sees all samples; got {shown(model.dropout)}"
        )
    for name in OF_STEPS if model.solver == "lbfgs" else ():
        if getattr(model, name) is not None:
            raise ValueError(
                f"{name}: expected none with lbfgs, which has no steps of a rate; got "
                f"{shown(getattr(model, name))}"
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


def check_numbers(model, dtype):
    """Refuse numbers that are too large to compute with."""
    for name in ("alpha", "epsilon", "learning_rate_init", "momentum", "power_t", "tol"):
        inputs.as_penalty(getattr(model, name), name)
    if float(model.alpha) > float(np.finfo(dtype).max) ** 0.5:
        raise ValueError(
            f"alpha: expected a number whose square {dtype} holds; got {float(model.alpha):g}"
        )


class Progress:
    """What a stochastic solver carries from one call of `partial_fit` to the next.

    Attributes
    ----------
    learning_rate : float
        Of the next epoch.
    optimizer : Optimizer
    state : State or None
        Where the last call ended.
    """

    def __init__(self, model):
        self.optimizer = _optimizer(model)
        self.learning_rate = self.optimizer.learning_rate
        self.state = None

    def numbers(self, model):
        """Of one step, by the engine's names."""
        numbers = self.optimizer.numbers | {"l2": 0.0, "l1": 0.0, "batch_l2": float(model.alpha)}
        numbers |= request.as_clipping(model.clip_value, model.clip_norm)
        numbers["learning_rate"] = self.learning_rate
        if model.solver == "adam":  # scikit-learn adds epsilon to sqrt(v), not to its correction
            numbers["epsilon_hat"] = numbers["epsilon"]
        return numbers

    def begin(self, identity, with_average):
        """The state of a run that goes on from the last call's."""
        if self.state is None:
            return State(identity)
        position = Position(step=self.state.position.step)
        state = self.state._replace(identity=identity, position=position)
        # the network may have been given other parameters since, which only an average stands for
        return state if with_average else state._replace(parameters=None, watched={})


def _optimizer(model):
    if isinstance(model.solver, Optimizer):
        return model.solver
    if model.solver == "adam":
        epsilon = max(float(model.epsilon), 1e-30)
        beta1, beta2 = float(model.beta_1), float(model.beta_2)  # scikit-learn takes False for 0
        return Adam(model.learning_rate_init, beta1, beta2, epsilon)
    momentum = min(float(model.momentum), np.nextafter(1.0, 0.0))  # scikit-learn allows 1
    return SGD(model.learning_rate_init, momentum, bool(model.nesterovs_momentum and momentum > 0))


class Record(Watcher):
    """The loss of each epoch as scikit-learn has it."""

    def __init__(self, model, data, batch_size, constants):
        self.model, self.data = model, data
        self.batch_size, self.constants, self.t = batch_size, constants, 0
        self.by_epoch = bool(constants is not None or model.verbose)
        self.in_bulk = not self.by_epoch

    def before(self, run):
        self.run = run
        self.model.n_iter_ = 0
        self.after_epochs(run.history["loss"].tolist())  # of the run that is gone on with

    def after_epoch(self, event):
        if self.constants is not None:
            order = self.run.order
            mean = _mean_of_batches(self.constants, self.data.weight, order, self.batch_size)
            event.history.amend("loss", event.history.latest("loss") + mean)
        self.after_epochs([event.history.latest("loss")])
        if self.model.verbose:
            print(f"Iteration {self.model.n_iter_}, loss = {self.model.loss_:.8f}")

    def after_epochs(self, losses):
        model = self.model
        model.n_iter_ += len(losses)
        if self.data.n is None:  # chunks
            model.t_, self.t = model.t_ + self.run.samples - self.t, self.run.samples
        else:
            model.t_ += len(losses) * self.data.n
        model.loss_curve_ += losses
        if losses:
            model.loss_ = losses[-1]


class Convergence(Watcher):
    """scikit-learn's stopping, by the loss or by a score, its rates, and the best weights.

    `held_out` is None or a partial function that scores the network on validation data; `record`
    tells of the losses.
    """

    keeps = ("best",)

    def __init__(self, model, held_out, record):
        self.model, self.held_out = model, held_out
        self.best = None if held_out is None else model._best_parameters
        changes = model.solver == "sgd" and model.learning_rate in ("invscaling", "adaptive")
        self.by_epoch = held_out is not None or record.by_epoch or changes
        self.in_bulk = not self.by_epoch

    def restore(self, state):
        self.best = state.get("best", self.best)

    def before(self, run):
        model, self.run = self.model, run
        history, rate = run.history, run.rate
        if self.held_out is not None:
            history.extend(**{SCORE: []})
        t, model.t_ = model.t_, model.t_ - history.epochs * run.start.identity.n
        for epoch, loss in enumerate(history["loss"].tolist()):  # of the run that is gone on with
            model.t_ += run.start.identity.n
            self._note(loss, None if self.held_out is None else float(history[SCORE][epoch]))
            rate, _ = self._judge(rate)
        model.t_ = t
        run.rate = rate
        if self.in_bulk:
            known = model.best_loss_, model._no_improvement_count
            run.stop_by(float(model.tol), *known, float(model.n_iter_no_change))

    def after_epochs(self, losses):
        for loss in losses:
            self._note(loss, None)
        return self._judge(self.run.rate)[1].endswith("Stopping.")

    def after_epoch(self, event):
        model, run, score = self.model, self.run, None
        if self.held_out is not None:
            run.settle()
            with judged(event):
                score = self.held_out()
            event.history.extend(**{SCORE: [score]})
            if model.verbose:
                print(f"Validation score: {score:f}")
        if self._note(event.history.latest("loss"), score):
            parameters = event.network.parameters if event.average is None else event.average
            self.best = model._best_parameters = parameters.copy()
        rate, ending = self._judge(run.rate)
        if ending and model.verbose:
            what = "Training loss" if self.held_out is None else "Validation score"
            print(
                f"{what} did not improve more than tol={model.tol:f} for "
                f"{model.n_iter_no_change} consecutive epochs. {ending}"
            )
        _set_rate(model, run, rate)
        return ending.endswith("Stopping.")

    def _note(self, loss, score):
        """Count epochs without improvement; whether the score is the best so far."""
        model = self.model
        if self.held_out is None:
            worse = not loss <= model.best_loss_ - model.tol
            model.best_loss_, is_best = min(model.best_loss_, loss), False
        else:
            worse, is_best = _note_score(model, score)
        model._no_improvement_count = model._no_improvement_count + 1 if worse else 0
        return is_best

    def _judge(self, rate):
        """The next epoch's rate, and what is told where there was no improvement for long."""
        model = self.model
        if model.learning_rate == "invscaling" and model.solver == "sgd":
            rate = _inverse_scaled(model)
        if model._no_improvement_count <= model.n_iter_no_change:
            return rate, ""
        if model.learning_rate != "adaptive" or model.solver != "sgd":
            return rate, "Stopping."
        if rate <= SMALLEST_RATE:
            return rate, "Learning rate too small. Stopping."
        model._no_improvement_count = 0
        return rate / 5.0, f"Setting learning rate to {rate / 5.0:f}"

    def ends_with(self, finished):
        return None if self.held_out is None else self.best

    def state(self):
        return {} if self.held_out is None or self.best is None else {"best": self.best}


class End(NamedTuple):
    """How the run of an estimator's request ended; the run itself and its memory are let go."""

    error: BaseException | None
    stopped: bool = False
    epochs: int = 0  # on record
    state: State | None = None
    rate: float = 0.0
    result: Any = None  # SciPy's
    seconds: float = 0.0

    @classmethod
    def of(cls, loop, error):
        """The end of a loop; of None where there was not memory enough to begin."""
        if loop is None:
            return cls(error)
        run, history = loop.run, loop.history
        found = getattr(run, "rate", 0.0), getattr(run, "result", None)
        return cls(error, loop.stop, loop.looked_at, history.state, *found, run.seconds)


def run(solver):
    """Train the network of one estimator."""
    loop, error = Loop(solver.request), None
    try:
        loop.go()
    except BaseException as ended:
        error = ended
    solver.finish(End.of(loop, error))


class Descent:
    """One fit by mini-batches, until convergence, `max_iter` or, incrementally, for one epoch.

    All is checked when it is made; its request is trained, and `finish` told how that ended.
    """

    def __init__(self, model, net, data, held_out, random_state, *, incremental, constants):
        check_numbers(model, net.dtype)
        self.model, self.held_out = model, held_out
        streams = isinstance(data, Stream)
        n = data.n or 0  # of chunks it may not be known
        batch_size = _batch_size(model, n)
        if not (incremental and hasattr(model, "_optimizer")):
            model._optimizer = Progress(model)
        progress = self.progress = model._optimizer
        n_threads = request.as_threads(model.n_threads, net, batch_size, "n_threads", data.X)
        dropout = as_rates(model.dropout, len(net.sizes) - 2)
        draws = dropout is not None or (streams and model.shuffle)
        seed = int(random_state.randint(2**31)) if draws else 0  # of the masks
        deadline = request.as_deadline(model.time_limit)
        rates, decays = request.as_factors(net, model.rates, model.decays, progress.optimizer)
        self.epochs = epochs = 1 if incremental else int(model.max_iter)
        self.warns = not incremental
        shuffle = Draws(random_state) if model.shuffle and not streams else bool(model.shuffle)
        identity = RunIdentity(n, batch_size, str(bool(model.shuffle)), seed, progress.optimizer)
        average = request.as_average(model.ema)
        state = progress.begin(identity, average is not None)
        watchers: list[Watcher] = [] if average is None else [Average()]
        record = Record(model, data, batch_size, constants)
        watchers += [record, Convergence(model, held_out, record)]
        history, self.file, scheduled = History(), None, {}
        if model.checkpoint is not None:
            self.file = self._opened(incremental)
            told = {k: v for k, v in model.get_params(deep=False).items() if k not in FREE}
            told = {"estimator": type(model).__name__} | {f"model.{k}": v for k, v in told.items()}
            self.file.identify(net, identity, told, data, held_out and held_out.args)
            state, epochs = self.file.start(identity, net, watchers, epochs, "max_iter")
            history = self.file.history()
        if not isinstance(model.learning_rate, str):
            schedule = request.as_schedule(model.learning_rate)
            if streams:
                data.check_schedule("learning_rate", schedule)
            start = progress.optimizer.learning_rate
            of_run = ("learning_rate", schedule, start, self.epochs, n)
            if schedule.each == "step":
                scheduled["learning_rate"] = course_of(*of_run, -(-n // batch_size))
            else:
                watchers.append(by_schedule := Schedule(*of_run, history))
                progress.learning_rate = by_schedule.rate
        if callbacks := of_user.checked(() if model.callbacks is None else model.callbacks):
            watchers.append(of_user.Callbacks(callbacks))
        watchers += [Bar()] if model.progress else []
        watchers += [] if self.file is None else [self.file]
        numbers = progress.numbers(model)
        check_fit(numbers, net.dtype)
        self.request = Request(
            net, data, numbers, epochs, state, watchers, history, shuffle, n_threads, dropout,
            deadline, rates=rates, decays=decays, ema=average, scheduled=scheduled,
            driver=ChunkRun if streams else Run,
        )  # fmt: skip

    def _opened(self, incremental):
        model = self.model
        if incremental:
            raise ValueError("partial_fit does not support a checkpoint")
        for name, fits, expected in (
            ("random_state", isinstance(model.random_state, (int, np.integer)), "a whole number"),
            ("warm_start", not model.warm_start, "False"),
        ):
            if not fits:
                raise ValueError(
                    f"{name}: expected {expected} with a checkpoint, from which another process "
                    f"goes on; got {shown(getattr(model, name))}"
                )
        return Checkpoint(model.checkpoint, inputs.as_penalty(model.every, "every"))

    def separate(self):
        """Have the epochs' orders drawn by a generator of this fit's own."""
        if isinstance(self.request.shuffle, Draws):
            self.request.shuffle.separate()

    def finish(self, end):
        """Leave the estimator as scikit-learn's is when a run has come to this end."""
        model, error = self.model, end.error
        self.progress.state, self.progress.learning_rate = end.state, end.rate
        if error is None or isinstance(error, DivergenceError):
            self._warn_unless_converged(end)
        if isinstance(error, KeyboardInterrupt):
            warnings.warn("Training interrupted by user.", stacklevel=5)
        elif isinstance(error, DivergenceError):
            if self.held_out is None:
                raise ValueError(f"{NON_FINITE} {error}" if error.place else NON_FINITE) from error
            model.validation_scores_.append(np.nan)
            warnings.warn(
                f"{error}. The weights of the best validation score are kept.",
                ConvergenceWarning,
                stacklevel=5,
            )
        elif error is not None:
            raise error

    def _warn_unless_converged(self, end):
        stopped = end.stopped or (self.file is not None and self.file.stopped)
        if self.warns and end.epochs == self.epochs and not stopped:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.epochs}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=6,
            )


def _inverse_scaled(model):
    try:
        return float(model.learning_rate_init) / (model.t_ + 1) ** model.power_t
    except OverflowError:  # of the power
        return 0.0


def _batch_size(model, n):
    if isinstance(model.batch_size, str):  # "auto"
        return min(FULL_BATCH, n or FULL_BATCH)
    if model.batch_size > n > 0:
        warnings.warn(
            f"batch_size: expected at most the {n} training samples; got "
            f"{shown(model.batch_size)}. It is going to be clipped",
            stacklevel=7,
        )
    return min(int(model.batch_size), n or int(model.batch_size))


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


def _note_score(model, score):
    """Record a validation score; whether it is no improvement, and whether it is the best."""
    model.validation_scores_.append(score)
    worse = not score >= model.best_validation_score_ + model.tol  # NaN is no improvement
    if len(model.validation_scores_) == 2 and np.isnan(model.validation_scores_).all():
        warnings.warn(
            "validation_score: NaN in every epoch so far, which counts as no improvement",
            RuntimeWarning,
            stacklevel=11,
        )
    is_best = score > model.best_validation_score_
    if is_best:
        model.best_validation_score_ = score
    return worse, is_best


def _set_rate(model, run, rate):
    old = run.rate
    if rate == old:
        return
    run.rate = rate
    if model.solver == "sgd" and run.slots.size:
        # scikit-learn's velocity holds the rate of its time: v <- mu v - eta g. The engine's does
        # not, so that what is in it is scaled for the step to come out the same.
        run.settle()
        with np.errstate(over="ignore", divide="ignore", invalid="ignore"):
            scaled = run.slots * np.divide(old, rate)
        run.slots[...] = np.where(np.isfinite(scaled), scaled, 0)
        run.reload()


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


class Minimum:
    """One fit by L-BFGS over all samples; an exception leaves the last iteration.

    All is checked when it is made; its request is trained, and `finish` told how that ended.
    """

    def __init__(self, model, net, data, *, constants):
        check_numbers(model, np.dtype(np.float64))
        self.model, self.net, self.data = model, net, data
        self.l2 = _l2_of_all(model, data)
        check_fit({"batch_l2": self.l2}, np.dtype(np.float64))
        if model.n_threads is not None:
            inputs.as_count(model.n_threads, "n_threads")
        self.offset = 0.0
        if constants is not None:
            self.offset = float(np.average(constants, weights=data.weight))
        optimizer = LBFGS(int(model.max_iter), float(model.tol), int(model.max_fun))
        deadline = request.as_deadline(model.time_limit)
        watchers = [Iterations(model, self.offset)]
        factors = request.as_factors(net, model.rates, model.decays, optimizer)
        self.request = lbfgs.request_of(net, data, optimizer, self.l2, deadline, watchers, *factors)
        model.n_iter_ = 0

    def separate(self):
        """Nothing is drawn while it runs."""

    def finish(self, end):
        """Leave the estimator as scikit-learn's is when a run has come to this end."""
        model, data, result = self.model, self.data, end.result
        if isinstance(end.error, DivergenceError):
            raise ValueError(NON_FINITE) from end.error
        if end.error is not None:
            raise end.error
        if result is not None and result.status != 0:
            warnings.warn(
                f"lbfgs failed to converge after {result.nit} iteration(s) "
                f"(status={result.status}):\n{result.message}\nYou might also want to scale the "
                "data, or raise max_iter or max_fun.",
                ConvergenceWarning,
                stacklevel=5,
            )
        if result is None:
            loss = self.net.loss(
                data.X, data.Y, sample_weight=data.weight, l2=self.l2, decays=model.decays
            )
        else:
            loss = float(result.fun)
        model.loss_ = loss + self.offset
