"""scikit-learn's bagging for estimators of ours: all members are trained together.

What belongs here: the classes by name, and that their members' fits only begin until all have. What
does not: draws and averages, which are scikit-learn's; ensembles of one estimator (members.py).
"""

from __future__ import annotations

from typing import Any

from sklearn import ensemble

from fastbp.estimators.backends import Sends, together, with_executor
from fastbp.estimators.tasks import CAPTOR, ours


class _Bagging(Sends):
    """Has the fits of the members trained together where the estimator is ours."""

    estimator: Any
    n_jobs: Any

    def fit(self, X, y, sample_weight=None, **fit_params):
        """Fit the members, each to samples of its own.

        Parameters
        ----------
        X : array_like, sparse matrix or frame (n, n_features)
            As the estimator takes it.
        y : array_like (n,) or (n, n_outputs)
            As the estimator takes it.
        sample_weight : array_like (n,), optional
            How much each sample counts; None: all the same.
        **fit_params : as in scikit-learn
            Handed to the estimator's `fit`.

        Returns
        -------
        self
            With `estimators_`, the fitted members.

        Examples
        --------
        >>> from fastbp.estimators import BaggingRegressor, MLPRegressor
        >>> X, y = [[i / 30] for i in range(60)], [i / 30 for i in range(60)]
        >>> member = MLPRegressor(hidden_layer_sizes=4, solver="lbfgs")
        >>> len(BaggingRegressor(member, n_estimators=3, random_state=0).fit(X, y).estimators_)
        3
        """
        token = CAPTOR.set(None)  # of another's tasks, of which this fit may be one
        try:
            with together(self.estimator, self.n_jobs, self, self.executor):
                return super().fit(X, y, sample_weight, **fit_params)
        finally:
            CAPTOR.reset(token)

    def _make_estimator(self, append=True, random_state=None):
        made = super()._make_estimator(append, random_state)
        if (backend := CAPTOR.get()) is not None and ours(made) is not None:
            backend.capture(made)
        return made


@with_executor
class BaggingClassifier(_Bagging, ensemble.BaggingClassifier):
    """Scikit-learn's `BaggingClassifier`, whose members are trained together.

    Draws, parameters, attributes and, to rounding, results are scikit-learn's. Where the estimator
    is `MLPClassifier` of this package, or a pipeline that ends in it, the members are trained in
    this process on `n_jobs` threads (None: all cores), networks of one shape a vector lane each. A
    network's rows are given by their weights, so X is not copied for each, unless `max_features`
    has every member see columns of its own. See `GridSearchCV` for what goes scikit-learn's way,
    and for `executor`, whose workers train members instead.

    Parameters
    ----------
    estimator : estimator, optional
        Cloned for every member; None is a decision tree, as in scikit-learn. One with a
        `checkpoint` is refused.
    n_estimators : int
        Members.
    max_samples, max_features : int, float or None
        How many samples and columns each member sees, or which share of them.
    bootstrap, bootstrap_features : bool
        Whether samples, and columns, are drawn with replacement.
    oob_score, warm_start : as in scikit-learn
        Whether samples are judged by the members that have not seen them, and whether a fit adds
        members to those of the one before.
    n_jobs : int, optional
        Threads; None: all cores. With an `executor` it counts for predictions alone.
    random_state : int, RandomState instance or None
        Of samples, columns and members: the same number draws the same.
    verbose : int
        At 1 and more what is done is told.
    executor : as in `GridSearchCV`
        Who has the members trained, in place of `n_jobs`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import BaggingClassifier, MLPClassifier
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> member = MLPClassifier(hidden_layer_sizes=8, solver="lbfgs")
    >>> bag = BaggingClassifier(member, n_estimators=5, random_state=0).fit(X, X[:, 0] > 0)
    >>> bag.score(X, X[:, 0] > 0) > 0.9
    True
    """


@with_executor
class BaggingRegressor(_Bagging, ensemble.BaggingRegressor):
    """Scikit-learn's `BaggingRegressor`, whose members are trained together.

    Parameters
    ----------
    estimator : estimator, optional
        Cloned for every member; None is a decision tree, as in scikit-learn. One with a
        `checkpoint` is refused.
    n_estimators : int
        Members.
    max_samples, max_features : int, float or None
        How many samples and columns each member sees, or which share of them.
    bootstrap, bootstrap_features : bool
        Whether samples, and columns, are drawn with replacement.
    oob_score, warm_start : as in scikit-learn
        Whether samples are judged by the members that have not seen them, and whether a fit adds
        members to those of the one before.
    n_jobs : int, optional
        Threads; None: all cores. With an `executor` it counts for predictions alone.
    random_state : int, RandomState instance or None
        Of samples, columns and members: the same number draws the same.
    verbose : int
        At 1 and more what is done is told.
    executor : as in `GridSearchCV`
        Who has the members trained, in place of `n_jobs`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import BaggingRegressor, MLPRegressor
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> member = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs")
    >>> bag = BaggingRegressor(member, n_estimators=5, random_state=0).fit(X, X[:, 0] ** 2)
    >>> bag.score(X, X[:, 0] ** 2) > 0.9
    True
    """
