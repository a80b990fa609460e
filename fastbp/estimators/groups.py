"""`fit_groups`: a model for each group of rows, trained together.

What belongs here: which rows are whose, and which model is asked for which row. What does not: fits
(together.py, tasks.py).
"""

from __future__ import annotations

import numpy as np
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils import _safe_indexing, indexable
from sklearn.utils.metaestimators import _safe_split
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import _check_method_params, _num_samples

from fastbp.estimators.backends import Elsewhere, together
from fastbp.estimators.tasks import begun, ours, seed_of
from fastbp.estimators.together import Common, fit_all
from fastbp.functions import shown

UNSEEN = ("error", "pooled")


def fit_groups(
    estimator, X, y, groups, *, sample_weight=None, unseen="error", n_jobs=None, executor=None
):
    """Fit a model for each group, as ``clone(estimator).fit(X[rows], y[rows])`` would.

    Parameters
    ----------
    estimator : estimator
        Where it is `MLPClassifier` or `MLPRegressor` of this package, or a pipeline that ends in
        one, all are trained together in this process, networks of one shape a vector lane each.
    X, y : as `fit` takes them
        All groups' rows.
    groups : array_like (n,)
        A label for each row.
    sample_weight : as `fit` takes it
        For all groups' rows.
    unseen : "error" or "pooled"
        What is done about groups that are met later only: "pooled" fits a model to all rows too,
        which is asked then.
    n_jobs : int, optional
        Threads, as joblib counts them; None: all cores.
    executor : concurrent.futures.Executor, optional
        Who has the fits made in place of `n_jobs`; see `GridSearchCV`.

    Returns
    -------
    Groups
        The fitted models, which predict by rows and their groups.

    Raises
    ------
    ValueError
        Also where the fit of one group fails, whose name is told.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import MLPRegressor, fit_groups
    >>> X = np.linspace(-1, 1, 90)[:, None]
    >>> pump = np.repeat(["a", "b", "c"], 30)
    >>> y = np.where(pump == "b", X[:, 0], -X[:, 0])
    >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
    >>> fitted = fit_groups(model, X, y, pump)
    >>> fitted.score(X, y, pump) > 0.99
    True
    >>> fitted.predict([[0.5]], ["d"])
    Traceback (most recent call last):
    ValueError: groups: expected those of the fit, or unseen='pooled' there; got 'd'
    """
    if unseen not in UNSEEN:
        raise ValueError(f"unseen: expected 'error' or 'pooled'; got {shown(unseen)}")
    clone(estimator)  # which refuses what is no estimator at all
    if not (is_classifier(estimator) or is_regressor(estimator)):
        raise TypeError(f"estimator: expected a classifier or a regressor; got {shown(estimator)}")
    n = _num_samples(X)
    for name, values in (("y", y), ("sample_weight", sample_weight)):
        n_own = n if values is None else _n_rows(values, name)
        if n_own != n:
            raise ValueError(f"{name}: expected {n} rows, as many as X; got {n_own}")
    X, y, sample_weight = indexable(X, y, sample_weight)  # coo as csr
    names, codes = _as_groups(groups, n)
    parts = [np.flatnonzero(codes == i) for i in range(len(names))]
    if unseen == "pooled":
        parts.append(np.arange(len(codes)))
    weight = {} if sample_weight is None else {"sample_weight": sample_weight}
    titles = [*(f"group {name!r}" for name in names), "all rows"]
    tasks = [
        (clone(estimator), X, y, rows, weight, title)
        for rows, title in zip(parts, titles, strict=False)
    ]
    with together(estimator, n_jobs, executor=executor) as backend:
        if backend is None:
            models = Parallel(n_jobs, require="sharedmem")(
                delayed(_fit_group)(*task) for task in tasks
            )
        elif isinstance(backend, Elsewhere):
            models = Parallel(n_jobs)(delayed(_fit_group)(*task) for task in tasks)
        else:
            models = _fit_together(tasks, backend.n_threads)
    pooled = models.pop() if unseen == "pooled" else None
    counts = [len(rows) for rows in parts]
    return Groups(dict(zip(names, models, strict=True)), pooled, counts)


def _n_rows(values, name):
    try:
        return _num_samples(values)
    except TypeError:
        raise TypeError(
            f"{name}: expected a value for each row of X; got {shown(values)}"
        ) from None


def _is_missing(label):
    try:
        return label is None or bool(label != label)
    except TypeError:  # pandas' NA
        return True


def _as_groups(groups, n):
    """The names of the groups, in order, and the number of each row's."""
    labels = np.asarray(groups)
    if labels.dtype.kind == "M":  # of any unit, as datetime has them
        labels = labels.astype("M8[us]")
    if labels.shape != (n,):
        raise ValueError(f"groups: expected {n} labels, one a row of X; got shape {labels.shape}")
    missing = [i for i, label in enumerate(labels.tolist()) if _is_missing(label)]
    if missing:
        raise ValueError(f"groups: expected a label in each row; got none in row {missing[0]}")
    try:
        names, codes = np.unique(labels, return_inverse=True)
    except TypeError as error:
        raise TypeError(f"groups: expected labels that can be sorted: {error}") from None
    return names.tolist(), codes


def _named(error, title):
    return ValueError(f"groups: {title}: {error}")


def _fit_group(estimator, X, y, train, fit_params, title):
    """A task, with arguments by scikit-learn's names; see tasks.py."""
    part = _safe_split(estimator, X, y, train)
    params = _check_method_params(X, params=fit_params, indices=train)
    try:
        return estimator.fit(*part, **params)
    except Exception as error:
        raise _named(error, title) from error


def _fit_together(tasks, n_threads):
    common, fits = Common(), []
    for model, X, y, train, fit_params, _ in tasks:
        part = _safe_indexing(X, train), _safe_indexing(y, train)
        params = {name: _safe_indexing(values, train) for name, values in fit_params.items()}
        fits.append(begun(model, part, params, common, seed=seed_of(model)))
    fit_all(fits, n_threads)
    for fit, (*_, title) in zip(fits, tasks, strict=True):
        try:
            fit.end()
        except Exception as error:
            raise _named(error, title) from error
    return [model for model, *_ in tasks]


class Groups:
    """A model for each group of rows; `fit_groups` makes it.

    Attributes
    ----------
    models_ : dict
        The fitted model of each group, by its label.
    pooled_ : estimator or None
        What is asked for groups without a model.
    classes_ : ndarray
        Of classifiers, all that some group has.

    Examples
    --------
    >>> from fastbp.estimators import MLPRegressor, fit_groups
    >>> X, pump = [[-1.0], [1.0], [-1.0], [1.0]] * 5, ["a", "a", "b", "b"] * 5
    >>> y = [0.0, 2.0, 2.0, 0.0] * 5
    >>> model = MLPRegressor(hidden_layer_sizes=4, solver="lbfgs", random_state=0)
    >>> fitted = fit_groups(model, X, y, pump)
    >>> sorted(fitted.models_), fitted.pooled_
    (['a', 'b'], None)
    """

    def __init__(self, models, pooled, counts):
        self.models_, self.pooled_, self._counts = models, pooled, counts
        several = [model for model in (*models.values(), pooled) if model is not None]
        self._classifies = is_classifier(several[0])
        if self._classifies:
            self.classes_ = np.unique(np.concatenate([model.classes_ for model in several]))

    def _asked(self, X, groups, ask):
        """What each row's model says, in the rows' order."""
        X = indexable(X)[0]
        names, codes = _as_groups(groups, _num_samples(X))
        if not names:  # what a model has to say of no rows
            return ask(self.pooled_ or next(iter(self.models_.values())), X)
        unseen = [name for name in names if name not in self.models_]
        if unseen and self.pooled_ is None:
            several = ", ".join(map(repr, unseen[:5])) + (", ..." if len(unseen) > 5 else "")
            raise ValueError(
                f"groups: expected those of the fit, or unseen='pooled' there; got {several}"
            )
        parts = [np.flatnonzero(codes == i) for i in range(len(names))]
        said = [
            ask(self.models_.get(name, self.pooled_), _safe_indexing(X, rows))
            for name, rows in zip(names, parts, strict=True)
        ]
        whole = np.concatenate(said)
        out = np.empty_like(whole)
        out[np.concatenate(parts)] = whole
        return out

    def predict(self, X, groups):
        """Predict by the model of each row's group.

        Parameters
        ----------
        X : array_like, sparse matrix or frame (n, n_features)
            Rows of any groups, with the columns of the fit.
        groups : array_like (n,)
            A label for each row.

        Returns
        -------
        ndarray (n,) or (n, n_outputs)
            In the rows' order.

        Raises
        ------
        ValueError
            A group is none of the fit's, and there is no `pooled_` model.

        Examples
        --------
        >>> from fastbp.estimators import MLPRegressor, fit_groups
        >>> X, pump = [[-1.0], [1.0], [-1.0], [1.0]] * 5, ["a", "a", "b", "b"] * 5
        >>> y = [0.0, 2.0, 2.0, 0.0] * 5
        >>> model = MLPRegressor(hidden_layer_sizes=4, solver="lbfgs", random_state=0)
        >>> fitted = fit_groups(model, X, y, pump)
        >>> fitted.predict([[1.0], [1.0]], ["a", "b"]).round(1).tolist()
        [2.0, 0.0]
        """
        return self._asked(X, groups, lambda model, part: model.predict(part))

    def predict_proba(self, X, groups):
        """Predict probabilities of the classes in classes_; 0 of those that a group has not.

        Parameters
        ----------
        X : array_like, sparse matrix or frame (n, n_features)
            Rows of any groups, with the columns of the fit.
        groups : array_like (n,)
            A label for each row.

        Returns
        -------
        ndarray (n, n_classes)
            In the rows' order; each adds up to 1.

        Raises
        ------
        ValueError
            A group is none of the fit's, and there is no `pooled_` model.
        AttributeError
            The models are regressors.

        Examples
        --------
        >>> from fastbp.estimators import MLPClassifier, fit_groups
        >>> X, pump = [[-1.0], [1.0], [-1.0], [1.0]] * 5, ["a", "a", "b", "b"] * 5
        >>> y = [0, 1, 1, 0] * 5
        >>> model = MLPClassifier(hidden_layer_sizes=4, solver="lbfgs", random_state=0)
        >>> fitted = fit_groups(model, X, y, pump)
        >>> fitted.predict_proba([[1.0], [1.0]], ["a", "b"]).round(1).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        """
        if not self._classifies:
            raise AttributeError("predict_proba: expected models of classes; got regressors")

        def ask(model, part):
            own = model.predict_proba(part)
            columns = np.searchsorted(self.classes_, model.classes_)
            all_of_them = np.zeros((len(own), len(self.classes_)), own.dtype)
            all_of_them[:, columns] = own[:, : len(columns)] if len(columns) > 1 else 1.0
            return all_of_them

        return self._asked(X, groups, ask)

    def score(self, X, y, groups, sample_weight=None):
        """Accuracy of classes, or R^2 of numbers, over all rows.

        Parameters
        ----------
        X : as in `predict`
            Rows of any groups.
        y : array_like (n,) or (n, n_outputs)
            Their labels or targets.
        groups : as in `predict`
            As in `predict`.
        sample_weight : array_like (n,), optional
            How much each row counts; None: all the same.

        Returns
        -------
        float
            At most 1; 1 where every prediction is right.
        """
        metric = accuracy_score if self._classifies else r2_score
        return float(metric(y, self.predict(X, groups), sample_weight=sample_weight))

    def to_dict(self):
        """Rows, iterations and loss of each group's model; JSON-able but for odd labels.

        Returns
        -------
        dict
            By group a dict of "rows", and of "iterations" and "loss" where its model has them.
        """
        rows = zip(self.models_.items(), self._counts, strict=False)
        return {name: {"rows": n, **_facts(model)} for (name, model), n in rows}

    def __str__(self):
        lines = [f"{len(self.models_)} groups, {sum(self._counts[: len(self.models_)])} rows"]
        for name, facts in self.to_dict().items():
            told = ", ".join(f"{key} {value:.4g}" for key, value in facts.items())
            lines.append(f"  {name}: {told}")
        if self.pooled_ is not None:
            lines.append("  any other: a model of all rows")
        return "\n".join(lines)

    __repr__ = __str__


def _facts(model):
    last = ours(model) or model
    told = {"iterations": getattr(last, "n_iter_", None), "loss": getattr(last, "loss_", None)}
    return {name: value for name, value in told.items() if value is not None}
