"""What the two tabular estimators share: an ensemble of networks, fitted, asked and saved.

What belongs here: all that does not depend on whether classes or numbers are predicted. What does
not: the two by name (tabular.py), what networks see of a table (design.py), what is predicted
(targets.py), the numbers of a preset (presets.py).
"""

from __future__ import annotations

import copy
import time
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.metrics import check_scoring
from sklearn.utils import Bunch, check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted

from fastbp import inputs
from fastbp.estimators.design import Design
from fastbp.estimators.presets import PRESETS
from fastbp.estimators.targets import as_targets
from fastbp.files import ensemble
from fastbp.tabular import Encoder, as_columns
from fastbp.tabular.importance import drops
from fastbp.training import fit_many

SEEDS = np.iinfo(np.int32).max


class BaseTabular(BaseEstimator):
    """An ensemble of networks behind scikit-learn's interface."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "preset": [StrOptions(set(PRESETS)), None],
        "n_ensemble": [Interval(Integral, 1, None, closed="left"), None],
        "random_state": ["random_state"],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "callbacks": [HasMethods("__iter__"), None],
        "verbose": ["verbose"],
        "encoder": [Encoder, None],
    }
    _of: int  # which of a preset's two recipes
    _targets: Any

    def __init__(
        self,
        preset=None,
        *,
        n_ensemble=None,
        random_state=None,
        n_threads=None,
        time_limit=None,
        validation_fraction=0.2,
        callbacks=None,
        verbose=False,
        encoder=None,
    ):
        self.preset = preset
        self.n_ensemble = n_ensemble
        self.random_state = random_state
        self.n_threads = n_threads
        self.time_limit = time_limit
        self.validation_fraction = validation_fraction
        self.callbacks = callbacks
        self.verbose = verbose
        self.encoder = encoder

    # fitting

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, X_val=None, y_val=None):
        """Fit to a table and its targets; an error or Ctrl-C leaves an earlier fit as it was.

        Parameters
        ----------
        X : data frame, dict of columns, array (n, k) or list of rows
            Of numbers, texts, booleans, dates; values may be missing. See
            `fastbp.tabular.as_columns`.
        y : array_like (n,) or (n, n_targets)
            None of them missing.
        sample_weight : array_like (n,), optional
            How much each sample counts, at least 0; None: all the same.
        X_val, y_val : as X and y, optional
            What the best epoch is chosen by, instead of a share of X.

        Returns
        -------
        self
            The estimator, fitted.

        Raises
        ------
        TypeError, ValueError
            A column holds what no column can, rows do not match, or a parameter is out of its
            range; the column or parameter is named.
        DivergenceError
            Every network diverged.

        Examples
        --------
        >>> from fastbp.estimators import TabularRegressor
        >>> table = {"size": [1.0, None, 3.0, 9.0] * 20, "wood": ["oak", "elm", "oak", "elm"] * 20}
        >>> model = TabularRegressor("mlp", random_state=0).fit(table, [1, 2, 3, 9] * 20)
        >>> len(model.networks_), model.n_features_in_
        (1, 2)
        """
        began = time.monotonic()
        recipe = self._recipe()
        columns, y, weight = self._given(X, y, sample_weight)
        targets = self._learn_targets(y, weight)
        Y = targets.encode(y)
        design, matrix = Design.fit(columns, recipe.bins, self.encoder)
        draws = check_random_state(self.random_state)
        nets = self._networks(recipe, design, targets, draws)
        seeds = draws.randint(SEEDS, size=len(nets)).tolist()
        split = self._split(design, targets, Y, weight, nets, draws, X_val, y_val)
        n = len(split["rows"][0]) if "rows" in split else len(Y)
        options = self._options(recipe, nets, "validation" in split, n) | split
        histories = self._train(nets, matrix, Y, weight, seeds, began, options)
        self._adopt(design, targets, nets, histories)
        self.metadata_ = {}
        return self

    def _recipe(self):
        return PRESETS[self.preset or "default"][self._of]

    @staticmethod
    def _given(X, y, sample_weight):
        """Table, targets and weights (or None), of equally many rows."""
        y = as_targets(y)  # first: without targets, scikit-learn's checks ask for that refusal
        columns = as_columns(X)
        _check_rows("y", len(y), len(columns))
        if sample_weight is not None:
            n, dtype = len(columns), np.dtype("float32")
            sample_weight = inputs.as_weight(sample_weight, n, dtype, "sample_weight")
        return columns, y, sample_weight

    def _networks(self, recipe, design, targets, draws):
        n = recipe.members if self.n_ensemble is None else self.n_ensemble
        seeds = draws.randint(SEEDS, size=n).tolist()
        shape = design.n_columns, targets.n_outputs, *targets.loss
        return [recipe.network(*shape, seed) for seed in seeds]

    def _options(self, recipe, nets, watches, n):
        """What `fit_many` is told beside data, of n rows."""
        options = recipe.options(nets[0], watches, n)
        if nets[0]._loss.name == "cross_entropy":
            options["label_smoothing"] = recipe.label_smoothing
        return options

    def _split(self, design, targets, Y, weight, nets, draws, X_val, y_val):
        """Rows of each network, and what it is watched on."""
        if (X_val is None) != (y_val is None):
            absent, given = ("X_val", "y_val") if X_val is None else ("y_val", "X_val")
            raise ValueError(f"{absent}: expected validation data beside {given}; got None")
        if X_val is not None:
            matrix = self._validation_matrix(design, X_val)
            Y_val = targets.encode(as_targets(y_val, "y_val"), "y_val")
            _check_rows("y_val", len(Y_val), matrix.shape[0], "X_val")
            return {"validation": (matrix, Y_val)}
        known = np.arange(len(Y)) if weight is None else np.flatnonzero(weight)
        n_held = max(1, round(self.validation_fraction * len(known)))
        if self.validation_fraction == 0 or n_held >= len(known):
            return {}
        strata = targets.strata(Y)[known]
        rows = [known[_kept(strata, n_held, draws)] for _ in nets]
        if any(len(kept) == len(known) for kept in rows):  # classes of one row each
            return {}
        return {"rows": rows, "validation": "rest"}

    @staticmethod
    def _validation_matrix(design, X_val):
        try:
            return design.transform(X_val)
        except (TypeError, ValueError) as error:
            raise type(error)(f"X_val{str(error).removeprefix('X')}") from None

    def _train(self, nets, matrix, Y, weight, seeds, began, options):
        told = {
            "sample_weight": weight,
            "seed": seeds,
            "threads": self.n_threads,
            "progress": bool(self.verbose),
            "callbacks": list(self.callbacks or ()),
            **options,
        }
        if self.time_limit is not None:
            left = max(1e-3, self.time_limit - (time.monotonic() - began))
            told["time_limit"] = left
        histories = fit_many(nets, matrix, Y, **told)
        if not any(history.epochs for history in histories):  # time was over: one network, an epoch
            told = {k: v for k, v in told.items() if k != "time_limit"} | {"epochs": 1}
            told |= {"rows": told["rows"][:1]} if "rows" in told else {}
            told["seed"] = seeds[:1]
            histories = fit_many(nets[:1], matrix, Y, **told) + histories[1:]
        return histories

    def _adopt(self, design, targets, nets, histories):
        """The result of a fit: of networks that were trained and did not diverge."""
        good = [i for i, h in enumerate(histories) if h.epochs and h.error is None]
        if not good:
            raise next(h.error for h in histories if h.error is not None)
        self._design, self._targets = design, targets
        self.networks_ = [nets[i] for i in good]
        self.histories_ = [histories[i] for i in good]
        self.n_iter_ = max(history.epochs for history in self.histories_)
        self._tell()

    def _tell(self):
        """Attributes that scikit-learn knows."""
        self.encoder_ = self._design.encoder
        self.n_features_in_ = self.encoder_.n_features_in_
        self.__dict__.pop("feature_names_in_", None)
        if hasattr(self.encoder_, "feature_names_in_"):
            self.feature_names_in_ = self.encoder_.feature_names_in_
        self.n_outputs_ = self._targets.n_outputs

    def _partial_fit(self, X, y, sample_weight, learn):
        """One epoch at the preset's rate; `learn` gives the targets of the first call."""
        began = time.monotonic()
        recipe = self._recipe()
        first = "networks_" not in vars(self)
        columns, y, weight = self._given(X, y, sample_weight)
        targets = learn(y, weight) if first else self._targets
        Y = targets.encode(y)
        draws = check_random_state(self.random_state)
        if first:
            design, matrix = Design.fit(columns, recipe.bins, self.encoder)
            nets = self._networks(recipe, design, targets, draws)
        else:
            design = self._design
            matrix, nets = design.transform(columns), copy.deepcopy(self.networks_)
        options = self._options(recipe, nets, False, len(Y)) | {"epochs": 1, "schedule": None}
        seeds = draws.randint(SEEDS, size=len(nets)).tolist()
        histories = self._train(nets, matrix, Y, weight, seeds, began, options)
        n_iter = 0 if first else self.n_iter_
        self._adopt(design, targets, nets, histories)
        self.n_iter_ += n_iter
        if first:
            self.metadata_ = {}
        return self

    # predicting

    def _outputs(self, X):
        """The mean of all networks' outputs, float64 (n, n_outputs)."""
        check_is_fitted(self)
        found = []
        for block in self._design.blocks(X):
            total = np.zeros((block.shape[0], self._targets.n_outputs))
            for net in self.networks_:
                total += net.predict(block)
            found.append(total / len(self.networks_))
        return np.concatenate(found)

    def predict(self, X):
        """Predict labels or numbers of a table's rows.

        Parameters
        ----------
        X : as in `fit`
            Columns are found by name, in any order, where the table of `fit` named them.

        Returns
        -------
        ndarray (n,) or (n, n_targets)
            The most probable class of each row, or the targets in their own unit.

        Examples
        --------
        >>> from fastbp.estimators import TabularRegressor
        >>> x = [i / 50 for i in range(300)]
        >>> model = TabularRegressor(random_state=0).fit({"x": x}, x)
        >>> bool(abs(model.predict({"x": [2.5]})[0] - 2.5) < 0.1)
        True
        """
        outputs = self._outputs(X)
        return self._targets.decode(outputs)

    def encoded(self, X, y=None):
        """A table, and its targets, as each of `networks_` sees them.

        Parameters
        ----------
        X, y : as in `fit`
            The table; without its targets they are not encoded.

        Returns
        -------
        matrix : ndarray or scipy.sparse.csr_array (n, n_inputs), float32
            What every network is given.
        targets : ndarray (n,) of class numbers, or (n, n_outputs), or None
            What every network is to give. For checks:
            ``fastbp.check.gradients(model.networks_[0], *model.encoded(X, y))``.
        """
        check_is_fitted(self)
        return self._design.transform(X), None if y is None else self._targets.encode(y)

    def permutation_importances(
        self, X, y, *, scoring=None, n_repeats=5, sample_weight=None, random_state=None
    ):
        """By how much the score drops where one column's values are shuffled (Breiman 2001).

        Parameters
        ----------
        X, y : as in `fit`
            Better others than those of `fit`.
        scoring : str or callable, optional
            As in scikit-learn; None: accuracy of classes, R2 of numbers.
        n_repeats : int
            How often each column is shuffled.
        sample_weight : array_like (n,), optional
            How much each row counts in the score.
        random_state : int, RandomState instance or None
            Of the shuffling: the same number gives the same values.

        Returns
        -------
        sklearn.utils.Bunch
            By the names feature_names (k,), importances_mean, importances_std (k,), importances (k,
            n_repeats).
        """
        check_is_fitted(self)
        n_repeats = inputs.as_count(n_repeats, "n_repeats")
        names = getattr(self, "feature_names_in_", None)
        columns = as_columns(X, only=None if names is None else names.tolist())
        names = columns.names if names is None else names
        scorer = check_scoring(self, scoring)
        weights = {} if sample_weight is None else {"sample_weight": sample_weight}
        draws = check_random_state(random_state)
        found = drops(lambda table: scorer(self, table, y, **weights), columns, n_repeats, draws)
        return Bunch(
            feature_names=np.array(names, object),
            importances_mean=found.mean(axis=1),
            importances_std=found.std(axis=1),
            importances=found,
        )

    # files

    def save(self, path):
        """Write encoder, targets and all networks to a file that `fastbp.load` reads.

        Parameters
        ----------
        path : str or path-like
            A safetensors file, which takes the place of an old one whole. Callbacks, and a
            random_state that is no whole number, are not kept.

        Raises
        ------
        NotFittedError
            Nothing was fitted yet.
        TypeError
            Classes that a file cannot hold (dates, for one).
        OSError
            The file could not be written; one that was there is as it was.

        Examples
        --------
        >>> import fastbp, os, tempfile
        >>> from fastbp.estimators import TabularRegressor
        >>> X = {"x": list(range(40)), "wood": ["oak", "elm"] * 20}
        >>> model = TabularRegressor(random_state=0).fit(X, range(40))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save(os.path.join(folder, "model.safetensors"))
        ...     twin = fastbp.load(os.path.join(folder, "model.safetensors"))
        >>> bool((twin.predict(X) == model.predict(X)).all())
        True
        """
        check_is_fitted(self)
        parameters = self.get_params(deep=False)
        parameters |= {"callbacks": None, "encoder": self.encoder is not None}
        if not isinstance(self.random_state, Integral):
            parameters["random_state"] = None
        told = {name: _as_json(value) for name, value in parameters.items()}
        facts = {
            "estimator": type(self).__name__,
            "parameters": told,
            "n_iter": int(self.n_iter_),
            "design": self._design.to_dict(),
            "targets": self._targets.to_dict(),
            "metadata": self.metadata_,
        }
        ensemble.save(path, self.networks_, facts)

    # what scikit-learn asks of an estimator

    def __sklearn_is_fitted__(self):
        return "networks_" in vars(self)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = True
        tags.input_tags.categorical = True
        tags.non_deterministic = False
        return tags


def _check_rows(name, n, expected, of="X"):
    if n != expected:
        # "inconsistent numbers of samples" are scikit-learn's words
        raise ValueError(
            f"{name}: expected {expected} rows, as many as {of}; got {n}: inconsistent numbers of "
            "samples"
        )


def _as_json(value):
    """A parameter as JSON has it: NumPy's numbers are Python's."""
    return value.item() if isinstance(value, np.generic) else value


def _kept(strata, n_held, draws):
    """Rows to train on, all but `n_held`, which have like shares of all strata.

    Every n/n_held-th of the rows in the order of their strata is held out, rows of one stratum
    being in random order; but the only one of a class is trained on.
    """
    n = len(strata)
    order = draws.permutation(n)
    order = order[np.argsort(strata[order], kind="stable")]
    held = np.zeros(n, bool)
    held[((np.arange(n_held) + draws.uniform()) * (n / n_held)).astype(int)] = True
    if strata.dtype.kind in "iu":
        classes = strata[order]
        for label in np.setdiff1d(classes[held], classes[~held]):
            held[np.argmax(classes == label)] = False
    return np.sort(order[~held])
