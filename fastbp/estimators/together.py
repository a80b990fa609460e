"""Fits of several estimators that are trained in one crew: `Fit` and `fit_all`.

What belongs here: a fit taken apart into what comes before its training and what comes after. What
does not: who asks for many of them (tasks.py, ensemble.py, groups.py), how one is checked and what
it leaves (mlp.py, solvers.py), how they are trained side by side (training/crew.py).
"""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
from sklearn import config_context
from sklearn.utils._param_validation import validate_parameter_constraints

from fastbp.estimators.solvers import End
from fastbp.functions import shown
from fastbp.samples import Samples
from fastbp.sparse import Lists
from fastbp.training.crew import Crew
from fastbp.training.draws import Draws, share
from fastbp.training.watchers import callbacks as of_user


class Part:
    """X and y of a fit, checked, and what checking them has an estimator know."""

    def __init__(self, model, X, y, incremental, first):
        before = dict(vars(model))
        self.given = X, y
        self.X, self.y, self.targets = model._validated(X, y, incremental, first)
        self.facts = {k: v for k, v in vars(model).items() if v is not before.get(k, before)}
        self.known, self.apart = None, {}

    def samples(self, model, net):
        """As the engine reads them."""
        if self.known is None:
            dense, labels = model._targets(net, self.targets)
            self.known = Samples(net._ready(self.X), dense, labels, None)
        return self.known

    def held(self, X, rows):
        """Rows of X that fits hold out: one copy for all that hold out the same."""
        key = rows.tobytes()
        if key not in self.apart:
            self.apart[key] = X[rows]
        return self.apart[key]


def _n_bytes(X):
    """Of an array, sparse rows or a frame."""
    if hasattr(X, "memory_usage"):
        return int(X.memory_usage(index=False).sum())
    parts = (X.data, X.indices) if hasattr(X, "indptr") else (X,)
    return sum(getattr(part, "nbytes", 0) for part in (X.arrays() if type(X) is Lists else parts))


class Common:
    """What fits have in common that are begun one after another: it is checked once."""

    def __init__(self):
        self.parameters, self.parts, self.sizes = {}, {}, {}

    @property
    def n_bytes(self):
        """What is held of X, in all its forms."""
        for part in self.parts.values():
            known = () if part.known is None else (part.known.X,)
            for X in (part.given[0], part.X, *known, *part.apart.values()):
                self.count(X)
        return sum(self.sizes.values())

    def count(self, X):
        """X is held from now on; its bytes."""
        if id(X) not in self.sizes:
            self.sizes[id(X)] = _n_bytes(X)

    def validate(self, model):
        """scikit-learn's look at the parameters: those that the model before had not."""
        own, before = model.get_params(deep=False), self.parameters.get(type(model), {})
        new = {name: v for name, v in own.items() if v is not before.get(name, before)}
        constraints = model._parameter_constraints
        validate_parameter_constraints(constraints, new, caller_name=type(model).__name__)
        self.parameters[type(model)] = own

    def part(self, model, X, y, incremental, first):
        """X and y, which are known by what they are, not by their numbers."""
        if "n_features_in_" in vars(model):  # it has been fitted: what it knows may stay
            return Part(model, X, y, incremental, first)
        key = type(model), id(X), id(y), model.loss
        if key not in self.parts:
            self.parts[key] = Part(model, X, y, incremental, first)
        part = self.parts[key]
        vars(model).update(part.facts)
        return part


class Fit:
    """One call of an estimator's `fit`, before and after its training.

    Attributes
    ----------
    model : MLPClassifier or MLPRegressor
    seconds : float
        That its training took, without what it waited for others.
    """

    def __init__(self, model, common=None):
        self.common = Common() if common is None else common
        self.model, self.seconds = model, 0.0
        self.solver: Any = None
        self.error = self.ended = None

    def begin(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """What `fit` does before it trains; what it refuses is raised by `end`."""
        return self.prepare(X, y, sample_weight, False, (X_val, y_val, sample_weight_val))

    def prepare(self, X, y, sample_weight, incremental, validation):
        """`begin`, or where it is `incremental` what `partial_fit` does."""
        model = self.model
        try:
            if model.checkpoint is not None:
                raise ValueError(
                    "checkpoint: expected None where many are fitted at once; got "
                    f"{shown(model.checkpoint)}"
                )
            self.common.validate(model)
            with config_context(skip_parameter_validation=True):
                self.solver = model._begin(
                    X, y, sample_weight, incremental, validation, self.common.part
                )
        except Exception as error:
            self.error = error
        return model

    def end(self):
        """What `fit` does after it has trained; the estimator."""
        self.common = None
        if self.error is not None:
            raise self.error
        solver, self.solver = self.solver, None
        solver.finish(self.ended)
        return self.model

    def note(self, outcome):
        """The training has come to its end: keep what `end` needs, and let go of its memory."""
        self.ended = End.of(outcome.loop, outcome.error)
        self.seconds = self.ended.seconds
        self.solver.request = None


class _Notes:
    """Tells each fit how its training ended."""

    def __init__(self, fits):
        self.fits = fits

    def begin(self):
        """All are about to begin."""

    def after(self, outcome):
        """One has ended."""
        self.fits[outcome.index].note(outcome)

    def end(self):
        """All have."""


def fit_all(fits, n_threads=None, watchers=()):
    """Train what `begin` has prepared, on up to `n_threads` threads (None: all cores).

    Afterwards `end` of each tells how it ended, as `fit` alone would have. Each has draws of its
    own: where random_state is None, of a generator that is seeded by NumPy's global one.
    `watchers` are the crew's.
    """
    fits = [fit for fit in fits if fit.solver is not None]
    lock = threading.RLock()  # held while a callback of the user's runs
    for fit in fits:
        request = fit.solver.request
        request.n_threads = 1
        if fit.model.random_state is None or fit.model.random_state is np.random:
            fit.solver.separate()
        for watcher in request.watchers:
            if isinstance(watcher, of_user.Callbacks):
                watcher.lock = lock
    requests = [fit.solver.request for fit in fits]
    share((r.shuffle, r.data.n, r.epochs) for r in requests if isinstance(r.shuffle, Draws))
    if fits:
        crew = Crew(requests, n_threads, halts=lambda error: False)
        for watcher in (*watchers, _Notes(fits)):
            crew.watch(watcher)
        crew.train()
