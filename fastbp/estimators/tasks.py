"""scikit-learn's tasks of fitting and scoring, trained together: a backend of joblib's.

scikit-learn's searches and cross-validation hand joblib one task a candidate and fold. The backend
here begins the fits of all of them, has them trained at once, and then runs each task as it is,
with an estimator whose `fit` finds its training done. So scores, warnings, messages and what is
made of failures are scikit-learn's own.

What belongs here: which tasks those are, and what candidates of a fold share. What does not: fits
(together.py), on which machine they are trained (backends.py, chunks.py), the classes and functions
that users call (search.py, validation.py).
"""

from __future__ import annotations

import functools
import gc
import inspect
import time
import types
from contextvars import ContextVar

import joblib
import numpy as np
from joblib.parallel import ParallelBackendBase
from scipy import sparse
from sklearn.base import clone
from sklearn.pipeline import Pipeline
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.validation import _check_method_params

from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.mlp import BaseMLP
from fastbp.estimators.regressor import MLPRegressor
from fastbp.estimators.together import Common, Fit, fit_all

FITS = MLPClassifier.fit, MLPRegressor.fit
TASKS = {"_fit_and_score", "_fit_and_predict", "_fit_group"}  # of scikit-learn, of groups.py
SPLIT_BYTES = 1 << 28  # that parts of X may take at a time, before those at hand are trained


def ours(estimator):
    """The estimator of ours that is fitted last where this one is, or None."""
    if type(estimator) is Pipeline and estimator.steps:
        steps = [step for _, step in estimator.steps]
        if any(hasattr(step, "_skl_callbacks") for step in (estimator, *steps)):
            return None
        estimator = steps[-1]
    if not isinstance(estimator, BaseMLP) or estimator.n_ensemble > 1:
        return None
    return estimator if type(estimator).fit in FITS else None  # not a subclass with its own


def draws_freely(random_state):
    """Whether one's draws are those of NumPy's global generator."""
    return random_state is None or random_state is np.random


def seed_of(estimator, parameters=None):
    """What a fit draws by that has no random_state, of NumPy's global generator; else None.

    It is drawn before anything is trained, in the order of the tasks: so a fit does not depend on
    where and beside which others it is trained.
    """
    model = ours(estimator)
    named = (value for name, value in (parameters or {}).items() if name.endswith("random_state"))
    if any(map(draws_freely, (*named, getattr(model, "random_state", 0)))):
        return np.random.randint(2**31)  # noqa: NPY002
    return None


class Together(ParallelBackendBase):
    """Collects tasks, and has the fits in them trained at once, in this process.

    `seed`: what transformers draw by; None: NumPy's global generator as it stands.
    """

    uses_threads = supports_sharedmem = True

    def __init__(self, n_threads=1, seed=None):
        super().__init__()
        self.n_threads, self.seed, self.waiting = n_threads, seed, []
        self.common, self.captured = Common(), []

    def capture(self, estimator):
        """Have the `fit` of an estimator of ours only begin, in a task; it is trained after those.

        Under the estimator's own `fit` the training is done when the tasks' results are there.
        """

        def begin(*part, **params):
            vars(estimator).pop("fit")
            self.captured.append(begun(estimator, part, params, self.common))
            return estimator

        vars(estimator)["fit"] = begin

    def effective_n_jobs(self, n_jobs):
        """How many joblib is told: above 1, for one would have it run tasks itself."""
        return max(2, self.n_threads)

    def submit(self, func, callback=None):
        """Have a batch of tasks wait."""
        batch = Batch(func, callback, self)
        for task in batch.tasks:
            if task is not None:
                task.seed = seed_of(task.given["estimator"], task.given.get("parameters"))
        self.waiting.append(batch)
        return batch

    apply_async = submit  # its name before joblib 1.5

    def retrieve_result(self, out, timeout=None):
        """The results of a batch."""
        return out.get()

    def abort_everything(self, ensure_ready=True):
        """Forget those that wait."""
        self.waiting = []

    def work(self):
        """Have the results of all that wait made."""
        batches = []
        while self.waiting:  # each that is told to have been taken makes room for another
            batch = self.waiting.pop(0)
            batches.append(batch)
            if batch.callback is not None:
                batch.callback(batch)
        self.make(batches)

    def make(self, batches):
        """Have the results of batches made."""
        token = CAPTOR.set(self)
        try:
            self._make(batches)
        finally:
            CAPTOR.reset(token)

    def _make(self, batches):
        shared, begun, waiting = Shared(self.seed), [], batches
        while waiting:
            batch, *waiting = waiting
            begun.append(batch)
            batch.begin(shared)
            if shared.common.n_bytes <= SPLIT_BYTES and waiting:
                continue
            fit_all([fit for done in begun for fit in done.fits], self.n_threads)
            for done in begun:
                if not done.end():
                    for other in batches:  # whichever is asked first
                        other.error = other.error or done.error
                    return
            shared.forget()
            shared, begun = Shared(self.seed), []
            if waiting:
                gc.collect()  # 70 ms; runs and their watchers, who know each other, and X
                # a fold's are transformed once a wave
                place: dict[int, int] = {}
                for other in waiting:
                    place.setdefault(other.fold(), len(place))
                waiting = sorted(waiting, key=lambda other: place[other.fold()])
        if self.captured:
            fit_all(self.captured, self.n_threads)
        for fit in self.captured:
            fit.end()


# Of the tasks that are at work, for a bag's members to begin by (ensemble.py)
CAPTOR: ContextVar[Together | None] = ContextVar("CAPTOR", default=None)


class Shared:
    """What the tasks of a search have in common: parts of X and y, and fitted transformers.

    A memory of a pipeline's too, as joblib's is, of what transformers came to on the same part.
    """

    def __init__(self, seed=None):
        self.parts, self.fitted, self.common = {}, {}, Common()
        self.clock, self.seed = Clock(), seed
        self.sewn = functools.cache(self._sewn)

    def forget(self):
        """Let go of all: what is left of the tasks may outlive them."""
        self.parts, self.fitted, self.common = {}, {}, Common()
        self.sewn.cache_clear()

    def part(self, estimator, X, y, indices, train_indices=None):
        """`_safe_split`, of what is trained on once; `indices` are known by what they are.

        What several tasks see is not to be written: who would is given a part of his own.
        """
        if train_indices is not None:  # of what is tested on
            return _safe_split(estimator, X, y, indices, train_indices)
        key = id(X), id(y), id(indices)
        if key not in self.parts:
            part = _safe_split(estimator, X, y, indices)
            self.common.count(part[0])
            for shared in part:
                _protect(shared)
            self.parts[key] = part, (X, y, indices)  # alive, for others not to get their ids
        return self.parts[key][0]

    def _sewn(self, function):
        """scikit-learn's function of a task, with parts made once, and time as fits have taken it.

        Where it does not ask for them by these names, it is what it was.
        """
        known = function.__globals__
        own = {"_safe_split": self.part, "time": self.clock}
        own = {name: value for name, value in own.items() if name in known}
        made = types.FunctionType(
            function.__code__, {**known, **own}, function.__name__, function.__defaults__,
            function.__closure__,
        )  # fmt: skip
        made.__kwdefaults__ = function.__kwdefaults__
        return made

    def cache(self, function, ignore=None, **options):
        """`function`, which fits a transformer and transforms, as one that does so once."""

        def known(transformer, X, y, *args, params=None, **rest):
            key = None
            if not any((params or {}).values()):
                try:
                    key = id(X), id(y), joblib.hash(transformer)
                except Exception:  # it cannot be pickled, nor be told from others
                    key = None
            if key is None:
                return function(transformer, X, y, *args, params=params, **rest)
            if key not in self.fitted:
                if self.seed is not None:
                    np.random.seed(self.seed)  # noqa: NPY002
                found = function(transformer, X, y, *args, params=params, **rest)
                self.common.count(found[0])
                _protect(found[0])
                self.fitted[key] = found, (X, y)
            return self.fitted[key][0]

        return known


class Clock:
    """`time` for a task: it has stood still while others were trained, and goes on by its fit."""

    def __init__(self):
        self.ahead = 0.0

    def time(self):
        """Seconds, as `time.time` tells them."""
        return time.time() + self.ahead


def _protect(part):
    """Have an array, a sparse matrix or a pandas column read-only."""
    if sparse.issparse(part):
        part = part.data
    part = getattr(getattr(part, "array", None), "_ndarray", part)  # of a pandas column
    if isinstance(part, np.ndarray):
        part.flags.writeable = False


class Batch:
    """Some of joblib's tasks, and what has come of them."""

    def __init__(self, calls, callback, owner):
        self.calls, self.callback, self.owner = calls, callback, owner
        self.results = self.error = None
        self.tasks = [Task.of(*item) for item in self.items]

    @property
    def items(self):
        """joblib's: a function, its arguments, those by name."""
        return getattr(self.calls, "items", [])

    def get(self, timeout=None):
        """The results; the first batch that is asked for them has those of all made."""
        if self.results is None and self.error is None:
            self.owner.work()
        if self.error is not None:
            raise self.error
        return self.results

    def begin(self, shared):
        """Begin the fits of the tasks that are known."""
        for task in self.tasks:
            if task is not None:
                task.begin(shared)

    def fold(self):
        """By which a batch is beside others that train on the same rows."""
        task = self.tasks[0] if self.tasks else None
        return 0 if task is None else id(task.given["train"])

    @property
    def fits(self):
        """What has been begun."""
        return [task.fit for task in self.tasks if task is not None and task.fit is not None]

    def end(self):
        """Run the tasks, and let go of what they share with others; whether none failed."""
        try:
            self.results = self.calls()
        except BaseException as error:
            self.error = error
        self.calls, self.tasks = None, []
        return self.error is None


signature_of = functools.cache(inspect.signature)


class Task:
    """One of scikit-learn's tasks that fit an estimator of ours to some rows."""

    def __init__(self, wrapper, given):
        self.wrapper, self.given, self.fit = wrapper, given, None
        self.seed = None

    @classmethod
    def of(cls, wrapper, args, named):
        """The task, or None where it is another."""
        function = getattr(wrapper, "function", None)  # of scikit-learn's own `delayed`
        if getattr(function, "__name__", "") not in TASKS:
            return None
        try:
            given = signature_of(function).bind(*args, **named).arguments
        except TypeError:
            return None
        known = {"estimator", "X", "y", "train", "fit_params"} <= set(given)
        if not known or hasattr(given.get("caller"), "_skl_callbacks"):
            return None
        return None if ours(given["estimator"]) is None else cls(wrapper, given)

    def begin(self, shared):
        """Begin the fit; what goes wrong is told when the task runs."""
        began = time.perf_counter()
        estimator, parameters = self.given["estimator"], self.given.get("parameters")
        try:
            if parameters is not None:
                estimator.set_params(**clone(parameters, safe=False))
            if ours(estimator) is None:
                return
            X, y, train = self.given["X"], self.given["y"], self.given["train"]
            params = _check_method_params(X, params=self.given["fit_params"] or {}, indices=train)
            part = shared.part(estimator, X, y, train)
        except Exception:  # the task comes to the same
            return
        part = part if part[1] is not None else part[:1]
        fit = begun(estimator, part, params, shared.common, shared, self.seed)
        if fit.error is not None and fit.model is not estimator:  # perhaps a step writes into X
            part = _safe_split(estimator, X, y, train)
            part = part[: 1 + (part[1] is not None)]
            fit = begun(estimator, part, params, shared.common, seed=self.seed)
        self.stand_in(estimator, fit, shared.clock, time.perf_counter() - began)
        self.wrapper.function = shared.sewn(self.wrapper.function)

    def stand_in(self, estimator, fit, clock, seconds):
        """Have the estimator's own `fit` find that it has been trained."""
        self.fit = fit

        def end(*_, **__):
            vars(estimator).pop("fit")
            vars(estimator).pop("set_params")
            clock.ahead += seconds + fit.seconds
            fit.end()
            return estimator

        vars(estimator).update(fit=end, set_params=lambda **_: estimator)


def begun(estimator, part, params, common, memory=None, seed=None):
    """The fit of an estimator of ours, or of the last in a pipeline, which has only begun.

    What is refused is raised by its `end`. `memory`: of a pipeline that has none. `seed`: of a
    model's draws that has no random_state.
    """
    fit = Fit(ours(estimator), common)
    own_state = fit.model.random_state
    if seed is not None and draws_freely(own_state):
        fit.model.random_state = np.random.RandomState(seed)
    try:
        if estimator is fit.model:
            fit.begin(*part, **params)
            return fit
        own = estimator.memory
        vars(fit.model)["fit"] = fit.begin
        if own is None:
            estimator.memory = memory
        try:
            estimator.fit(*part, **params)
        finally:
            estimator.memory = own
            vars(fit.model).pop("fit")
    except Exception as error:
        fit.error = error
    finally:
        fit.model.random_state = own_state
    return fit
