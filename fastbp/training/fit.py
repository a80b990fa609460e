"""`fit`: what a user can ask of a training run.

What belongs here: arguments, checked, as a request. What does not: checks that other doors share
(request.py), how the run is made (loop.py), what is looked at (watchers/).
"""

from __future__ import annotations

import inspect
import os
import warnings
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, SupportsFloat

import numpy as np

from fastbp import inputs
from fastbp.data.chunks import is_chunks
from fastbp.dropout import as_rates
from fastbp.functions import shown
from fastbp.inputs import ArrayLike, Rows, Seed
from fastbp.network import Network
from fastbp.optimizers import LBFGS, Adam, Optimizer
from fastbp.samples import Samples
from fastbp.training import chunks, own_loss, parts, request
from fastbp.training.driver import Run
from fastbp.training.history import History
from fastbp.training.loop import Loop
from fastbp.training.request import Request
from fastbp.training.state import RunIdentity, State
from fastbp.training.watchers import callbacks as callbacks_module
from fastbp.training.watchers.average import Average
from fastbp.training.watchers.bar import Bar
from fastbp.training.watchers.schedule import Schedule as ScheduleWatcher, course_of
from fastbp.training.watchers.stopping import Stopping
from fastbp.training.watchers.validation import Validation
from fastbp.training.watchers.watcher import Event, Watcher

if TYPE_CHECKING:
    from fastbp.data.chunks import Chunks
    from fastbp.metrics import Metric
    from fastbp.schedules import Schedule
    from fastbp.stopping import EarlyStopping
    from fastbp.training.own_loss import UserLoss
    from fastbp.training.reduce import Communicator
    from fastbp.training.watchers.checkpoint import Checkpoint


def fit(
    net: Network,
    X: Rows | Chunks,
    Y: ArrayLike | None = None,
    *,
    epochs: int = 30,
    batch_size: int = 10,
    optimizer: Optimizer | LBFGS | str | None = None,
    shuffle: bool | Callable[[int, int], ArrayLike] = True,
    drop_last: bool = False,
    seed: Seed = None,
    validation: float
    | tuple[Rows, ArrayLike]
    | tuple[Rows, ArrayLike, ArrayLike | None]
    | Chunks
    | None = None,
    l2: float = 0.0,
    l1: float = 0.0,
    sample_weight: ArrayLike | None = None,
    clip_value: float | None = None,
    clip_norm: float | None = None,
    dropout: float | Sequence[float] = 0.0,
    ignore_missing: bool = False,
    callbacks: Iterable[Callable[[Event], object]] = (),
    progress: bool = False,
    threads: int | None = None,
    resume: History | None = None,
    schedule: Schedule
    | Callable[[int], SupportsFloat]
    | Mapping[str, Schedule | Callable[[int], SupportsFloat]]
    | None = None,
    rates: Mapping[str, float] | None = None,
    decays: Mapping[str, float] | None = None,
    metrics: str | Collection[str] | Mapping[str, Metric] | None = None,
    early_stopping: EarlyStopping | None = None,
    time_limit: float | None = None,
    ema: float | None = None,
    class_weight: Mapping[int, float] | Mapping[str, float] | str | None = None,
    label_smoothing: float = 0.0,
    loss: UserLoss | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    every: float = 1.0,
    comm: Communicator | None = None,
    shard: bool = False,
    sync_every: int | None = None,
) -> History:
    """Train a network in place.

    Parameters
    ----------
    net : Network
        Its parameters change; as a method, the network itself.
    X : array_like or sparse (n, n_0)
        What is of scipy.sparse is never made dense: work and memory grow with its elements, and the
        numbers are those of the dense array. Where a gradient of 0 changes nothing (SGD without
        momentum, Adagrad; no penalty on W1, no clip_norm) a step touches only the rows of W1 whose
        columns the batch has; elsewhere each of them moves, which costs as much as of dense X.
        Or `fastbp.data.Chunks`, of which no more than two are in memory.
    Y : array_like
        Class indices (n,), or targets (n, n_L); for one output also targets (n,). Chunks have
        their own.
    epochs : int
        Passes over the data; with `resume`, further ones.
    batch_size : int
        Samples a step. The last batch of an epoch may be smaller; more than n counts as n.
    optimizer : of fastbp.optimizers, as Adam(1e-3) or LBFGS(), or str
        A name, as "adam", stands for it with its defaults; Adam() when None. LBFGS takes all
        samples at once: epochs, batch_size, shuffle and threads do not matter to it.
    shuffle : bool or callable
        A new order each epoch, which depends on the seed and the epoch alone (chunks have their
        own); False: as they lie; a callable (epoch, n) -> permutation of 0..n-1 replays orders.
    drop_last : bool
        Leave out an epoch's last batch where it is smaller than the others: other rows each epoch,
        where there is a new order. Its rows still count in n.
    seed : int, None or numpy.random.SeedSequence
        Of the order and of the split-off validation data. None draws one.
    validation : (X, Y), (X, Y, sample_weight), Chunks or float
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
        Learning rate of each epoch, recorded as "learning_rate". The optimizer's when None. Those
        with ``each="step"`` give each step its own, and the last one's is recorded. A dict of
        "learning_rate", "weight_decay" (of an optimizer that has one) and "dropout" has a schedule
        for each, from the optimizer's own and from `dropout` (of which a list keeps its
        proportions); they are recorded under these names.
    rates : dict of pattern: factor
        What the learning rate of the tensors is multiplied by whose names (those of `net.tensors`,
        W1, b1, s1, ...) match, as ``{"b*": 0.1, "W1": 0}`` (fnmatch); of several patterns the last
        counts. At 0 a tensor is frozen: it and what the optimizer keeps of it stay, and it is no
        part of the norm that `clip_norm` bounds. LBFGS takes 0 and 1.
    decays : dict of pattern: factor
        What their penalties `l2` and `l1` and an optimizer's weight decay are multiplied by: 1 for
        W, 0 for b and s unless told. Tensor i of rate r and decay d is stepped with learning
        rate r eta, penalties d l2 and d l1, and decay (1 - r eta d lambda).
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
    comm : communicator of mpi4py, optional
        Every rank calls fit with rows of its own and the same options, and all end with the same
        bits: to rounding those of one process whose row i * size + r is row i of rank r, starting
        from rank 0's parameters. `batch_size`, weights, penalties, clipping and validation are of
        all ranks' rows; one thread a rank unless told. What one rank raises ends all, and the
        others raise `training.RankError`; `loss` is not to be had, `checkpoint` is rank 0's.
    shard : bool
        Every rank gives the same data, of which rank r takes the rows r, r + size, ...
    sync_every : int, optional
        Each rank steps by its own rows of a batch alone, and parameters and the optimizer's state
        become the ranks' mean after so many steps and at the end of each epoch: for networks so
        small that sums take longer than steps. Not what one process does.

    Returns
    -------
    History
        The losses and metrics of each epoch, and what ``fit(resume=...)`` goes on from.

    Raises
    ------
    TypeError, ValueError
        An argument is refused, by its name; nothing has changed.
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
    given = locals()
    if comm is not None and (joint := _of_ranks(Asked(**given))) is not None:
        return joint.go()
    asked = (Asked if Y is not None and type(X) is np.ndarray else _asked_of(X, Y))(**given)
    asked.check_options()
    asked.check_data()
    if isinstance(asked.optimizer, LBFGS):
        return asked.minimised()
    return Loop(asked.request()).go()


if not TYPE_CHECKING:  # so that `Network.fit` has these types too
    fit = inputs.keywords(fit)


_NOTHING: dict[str, Any] = {}  # nobody writes there


class Asked(SimpleNamespace):
    """The arguments of one call, each as it came until it is checked.

    All are checked before anything is changed. What is left at its default needs no check, and
    most is: half of the time of these checks in a fit of one step (bench/compare.py, "small fit").
    """

    net: Network
    optimizer: Any  # of mini-batches in `request`, LBFGS in `minimised`
    epochs: Any
    batch_size: Any
    shuffle: Any
    drop_last: Any
    seed: Any
    l2: Any
    l1: Any
    callbacks: Any
    ema: Any
    every: Any
    comm: Any = None
    shard: Any = False
    sync_every: Any = None

    # what the defaults come to
    deadline = 0.0
    schedules: Mapping[str, Schedule] = _NOTHING
    factors: tuple[list[float] | None, list[float] | None] = None, None
    dropped: list[float] | None = None
    file: Checkpoint | None = None
    held_out: Any = None  # Samples, or what makes them when a run begins
    recorded: Mapping[str, Any] = _NOTHING
    lock: Any = None  # of runs whose callbacks are called one at a time
    clipping: Mapping[str, float] = _NOTHING
    driver: Callable[[Request], Any] = Run

    def check(self, options: Iterable[tuple[str, Any, str, Callable[[Any, str], Any]]]) -> None:
        """Each as its check has it."""
        given = vars(self)
        for name, default, becomes, check in options:
            if (value := given[name]) is not default:
                given[becomes] = check(value, name)

    def check_options(self) -> None:
        """Those that do not depend on the data."""
        self.check(_OPTIONS)
        if self.comm is None and (self.shard is not False or self.sync_every is not None):
            self.check(_OF_RANKS)
            if self.shard or self.sync_every is not None:
                name = "shard" if self.shard else "sync_every"
                raise ValueError(f"{name}: expected a communicator (comm) with it; got comm=None")
        if self.optimizer is None:
            self.optimizer = Adam()
        if self.rates is not None or self.decays is not None:
            self.factors = request.as_factors(self.net, self.rates, self.decays, self.optimizer)
        if self.ema is not None:
            self.ema = request.as_average(self.ema)
        if self.dropout is not _DEFAULTS["dropout"]:
            self.dropped = as_rates(self.dropout, len(self.net.sizes) - 2)

    def check_data(self) -> None:
        """Samples, what is held out of them, and what is recorded and watched of that."""
        if (loss := self.loss) is not None:
            refused = {name: getattr(self, name) for name in ("ignore_missing", "label_smoothing")}
            own_loss.check(loss, **refused)
        data = self.samples()
        self.check(_EVERY)
        if self.checkpoint is not None:
            self.file = self.opened()
        drops = self.dropped is not None or "dropout" in self.schedules
        shares = isinstance(self.validation, (float, np.floating))
        old = None if self.resume is None else self.resume.state
        known = self.file.seed if self.file is not None else old and old.identity.seed
        draws = self.shuffle is True or drops or shares
        self.seed = self.seeded(known, draws)
        if self.validation is not None:
            data, self.held_out = self.parts(data, shares)
        self.data = self.changed(data)
        if self.held_out is not None or self.metrics is not None:
            self.recorded = self.as_metrics()
        for watcher in self.schedules.values():
            request.check_monitor("schedule", watcher, self.held_out, self.recorded)
        if self.early_stopping is not None:
            request.check_monitor(
                "early_stopping", self.early_stopping, self.held_out, self.recorded
            )
        self.check(_PENALTIES)
        if self.clip_value is not None or self.clip_norm is not None:
            self.clipping = request.as_clipping(self.clip_value, self.clip_norm)

    def seeded(self, known: int | None, draws: bool) -> int:
        """The engine's seed; 0 where nobody asks for one."""
        asked = draws or known or self.seed is not None
        return request.as_seed(self.seed, known, draws) if asked else 0

    def as_metrics(self) -> Mapping[str, Any]:
        """What is recorded of what is held out."""
        return parts.as_metrics(self.net, self.judged(), self.metrics)

    @property
    def n(self) -> int:
        """Training samples."""
        return self.data.n

    def n_threads(self, batch_size: int) -> int:
        if self.loss is not None:
            return 1
        return request.as_threads(self.threads, self.net, batch_size, X=self.data.X)

    def opened(self) -> Checkpoint:
        """The checkpoint, with the run that it holds."""
        from fastbp.training.watchers.checkpoint import Checkpoint

        if self.resume is not None:
            raise ValueError(
                "resume: expected None with a checkpoint, which knows where its run ended; got "
                f"{self.resume!r}"
            )
        return Checkpoint(self.checkpoint, self.every)

    def samples(self) -> Samples:
        """What was given, checked."""
        given = self.X, self.Y, self.sample_weight
        if self.loss is not None:
            return own_loss.samples(self.net, *given)
        return self.net._samples(*given, self.ignore_missing)

    def parts(self, data: Samples, shares: bool) -> tuple[Samples, Any]:
        """What is trained on and what is held out of it, or given beside it."""
        if is_chunks(self.validation):
            given = self.net, self.validation, self.ignore_missing, self.loss
            return data, chunks.held_out(*given)
        if not shares:
            return data, parts.given(self.net, data, self.validation, self.loss)
        data, held_out = map(data.take, parts.split_off(data.n, self.validation, self.seed))
        parts.check_weights(data, held_out)
        return data, held_out

    def judged(self) -> Samples | None:
        """What is held out, for the checks of what is recorded of it."""
        held_out = self.held_out
        return held_out.targets() if isinstance(held_out, chunks.HeldOut) else held_out

    def changed(self, data: Samples) -> Samples:
        """With weights and targets as they are to be."""
        if self.class_weight is not None:
            data = parts.weighted(self.net, data, self.class_weight)
        if self.label_smoothing:
            data = parts.smoothed(self.net, data, self.label_smoothing)
        return data

    def watchers(self) -> list[Watcher]:
        """What looks at each epoch, whatever makes it."""
        watchers: list[Watcher] = []
        if self.held_out is not None:
            watchers.append(Validation(self.held_out, self.recorded, self.loss))
        if self.early_stopping is not None:
            watchers.append(Stopping(self.early_stopping))
        if self.callbacks:
            watchers.append(callbacks_module.Callbacks(self.callbacks, self.lock))
        return watchers

    def request(self) -> Request:
        """Of a run by mini-batches."""
        net, data, schedules = self.net, self.data, self.schedules
        n = self.n or 0  # of chunks it may not be known, and nothing asked for that needs it
        batch_size = min(self.batch_size, n or self.batch_size)
        starts: dict[str, float] = {}
        relative = self.dropped
        if schedules:
            n_hidden = len(net.sizes) - 2
            starts, relative = request.starts_of(schedules, self.optimizer, self.dropped, n_hidden)
        run = RunIdentity(n, batch_size, self.order(), self.seed, self.optimizer, self.drop_last)
        watchers = self.watchers()
        if self.ema is not None:
            watchers.insert(0, Average())
        history, state, epochs, file = History(self.resume), State(run), self.epochs, self.file
        if file is not None:
            held_out = self.held_out() if callable(self.held_out) else self.held_out
            held = None if held_out is None else held_out.arrays()
            file.identify(net, run, self.told(), data, held)
            state, epochs = file.start(run, net, watchers, epochs)
            history = file.history()
        elif self.resume is not None:
            state = _resumed(self.resume, run, net)
        end_epoch, per_epoch, scheduled = state.position.epoch + epochs, run.steps, {}
        for name, of in schedules.items():
            if of.each == "step":
                scheduled[name] = course_of(name, of, starts[name], end_epoch, n, per_epoch)
            else:
                watchers.append(ScheduleWatcher(name, of, starts[name], end_epoch, n, history))
        if self.progress:
            watchers.append(Bar())
        if file is not None:
            watchers.append(file)
        penalties = {"l2": self.l2 / (n or 1), "l1": self.l1 / (n or 1)}
        numbers = {**self.optimizer.numbers, **penalties}
        numbers |= self.clipping
        numbers |= starts
        rates, decays = self.factors
        return Request(
            net, data, numbers, epochs, state, watchers, history, self.shuffle,
            self.n_threads(batch_size), relative,
            self.deadline, self.loss, rates=rates, decays=decays, ema=self.ema, scheduled=scheduled,
            recorded=[name for name in schedules if name != "learning_rate"] if schedules else (),
            driver=self.driver,
        )  # fmt: skip

    def order(self) -> str:
        """What tells the order of this run from others."""
        return "a callable" if callable(self.shuffle) else str(self.shuffle)

    def told(self) -> dict[str, Any]:
        """What tells this run from others, beside its data: part of a checkpoint."""
        names = "l2", "l1", "clipping", "ema", "early_stopping", "class_weight", "label_smoothing"
        told = {name: getattr(self, name) for name in names}
        told["schedule"] = self.schedules.get("learning_rate")
        for name in ("weight_decay", "dropout"):
            told[f"schedule of {name}"] = self.schedules.get(name)
        told["rates"], told["decays"] = self.factors
        more = {"dropout": self.dropped, "ignore_missing": self.ignore_missing}
        return told | more | {"own loss": self.loss}

    def minimised(self) -> History:
        """Of L-BFGS, an iteration over all samples for an epoch."""
        request.refuse_with_lbfgs(
            l1=self.l1,
            **self.clipping,
            schedule=self.schedule,
            ema=self.ema,
            resume=self.resume,
            checkpoint=self.checkpoint,
            dropout=self.dropped,
            loss=self.loss,
            sync_every=self.sync_every,
        )
        watchers = self.watchers()
        if self.progress:
            watchers.append(Bar())
        loop = Loop(self.minimisation(watchers))
        history, result = loop.go(), loop.run.result
        if result is not None and result.status != 0 and result.nit < self.optimizer.max_iter:
            warnings.warn(
                f"LBFGS: ended after {result.nit} iterations, the tolerance not met (SciPy's "
                f"status {result.status}: {result.message}); standardised data may help, or "
                "more of max_fun",
                RuntimeWarning,
                stacklevel=4,
            )
        return history

    def minimisation(self, watchers: list[Watcher]) -> Request:
        """Of a minimum by L-BFGS."""
        from fastbp.training.lbfgs import request_of

        given = self.net, self.data, self.optimizer, self.l2, self.deadline
        return request_of(*given, watchers, *self.factors)


def _of_ranks(asked: Asked) -> Any:
    """The same arguments of a fit on several ranks; None where there is one alone."""
    from fastbp.training.reduce import as_ranks

    if (ranks := as_ranks(asked.comm)) is None:
        asked.check(_OF_RANKS)
        return None
    from fastbp.training.distributed import OfRanks

    class AskedOfRanks(OfRanks, Asked):
        """The arguments of one call on several ranks."""

    return AskedOfRanks(**vars(asked), ranks=ranks, checks=_OF_RANKS)


class AskedOfChunks(chunks.OfChunks, Asked):
    """The arguments of one call on data in chunks."""


def _asked_of(X: Any, Y: Any) -> type[Asked]:
    """Arguments of a fit on arrays, or on chunks."""
    if is_chunks(X):
        return AskedOfChunks
    if Y is None:
        raise TypeError(
            f"Y: expected numbers, targets of X, {shown(X)}; got NoneType (of a generator of "
            "blocks, fastbp.data.from_iterable makes chunks, which have their own)"
        )
    return Asked


def _as_shuffle(shuffle: Any, name: str) -> bool | Callable[[int, int], Any]:
    if callable(shuffle):
        return shuffle
    if not isinstance(shuffle, (bool, np.bool_)):
        raise TypeError(
            f"{name}: expected True, False or (epoch, n) -> order; got {shown(shuffle)}"
        )
    return bool(shuffle)


def _as_history(resume: Any, name: str) -> History:
    if not isinstance(resume, History):
        raise TypeError(f"{name}: expected the History of a finished fit; got {shown(resume)}")
    return resume


_DEFAULTS = {name: of.default for name, of in inspect.signature(fit).parameters.items()}


def _checks(*rows: tuple[str, str, Callable[[Any, str], Any]]) -> list[tuple[Any, ...]]:
    return [(name, _DEFAULTS[name], becomes, check) for name, becomes, check in rows]


# An option, what it becomes, and its check, in the order in which they are refused.
_OPTIONS = _checks(
    ("time_limit", "deadline", request.as_deadline),
    ("ignore_missing", "ignore_missing", inputs.as_flag),
    ("label_smoothing", "label_smoothing", inputs.as_penalty),
    ("epochs", "epochs", inputs.as_count),
    ("batch_size", "batch_size", inputs.as_count),
    ("optimizer", "optimizer", request.as_optimizer),
    ("shuffle", "shuffle", _as_shuffle),
    ("drop_last", "drop_last", inputs.as_flag),
    ("callbacks", "callbacks", callbacks_module.checked),
    ("progress", "progress", inputs.as_flag),
    ("resume", "resume", _as_history),
    ("schedule", "schedules", request.as_schedules),
)
_OF_RANKS = _checks(
    ("shard", "shard", inputs.as_flag), ("sync_every", "sync_every", inputs.as_count)
)
_EVERY = _checks(("every", "every", inputs.as_penalty))
_PENALTIES = _checks(("l2", "l2", inputs.as_penalty), ("l1", "l1", inputs.as_penalty))


def _resumed(resume: History, run: RunIdentity, net: Network) -> State:
    if resume.state is None:
        raise ValueError(f"resume: expected the History of a finished fit; got {resume!r}")
    return resume.state.resumed(run, net)
