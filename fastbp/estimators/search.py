"""scikit-learn's searches for estimators of ours: candidates and folds are trained together.

What belongs here: the classes by name. What does not: how tasks are trained together (tasks.py).
"""

from __future__ import annotations

from typing import Any

from sklearn import model_selection
from sklearn.experimental import enable_halving_search_cv  # noqa: F401

from fastbp.estimators.backends import Sends, together, with_executor


class _Search(Sends):
    """Has the fits of a search trained together where its estimator is ours."""

    estimator: Any
    n_jobs: Any

    def fit(self, X, y=None, **params):
        """Search: fit and score every candidate on every fold, and the best one to all samples.

        Parameters
        ----------
        X : array_like, sparse matrix or frame (n, n_features)
            As the estimator takes it.
        y : array_like (n,) or (n, n_outputs), optional
            As the estimator takes it.
        **params : as in scikit-learn
            Handed to the estimator's `fit`, as sample_weight, and groups to the splitter.

        Returns
        -------
        self
            With `best_estimator_`, `best_params_`, `best_score_` and `cv_results_`.

        Examples
        --------
        >>> from fastbp.estimators import GridSearchCV, MLPRegressor
        >>> X, y = [[i / 30] for i in range(60)], [i / 30 for i in range(60)]
        >>> model = MLPRegressor(hidden_layer_sizes=4, solver="lbfgs", random_state=0)
        >>> GridSearchCV(model, {"alpha": [1e-4, 1e3]}, cv=3).fit(X, y).best_params_
        {'alpha': 0.0001}
        """
        with together(self.estimator, self.n_jobs, self, self.executor):
            return super().fit(X, y, **params)


@with_executor
class GridSearchCV(_Search, model_selection.GridSearchCV):
    """Scikit-learn's `GridSearchCV`, whose fits are trained together: networks a vector lane each.

    Parameters, attributes, messages and, to rounding, results are scikit-learn's. Where the
    estimator is `MLPClassifier` or `MLPRegressor` of this package, or a pipeline that ends in one,
    all candidates and folds are trained in this process, on `n_jobs` threads (None: all cores);
    transformers are fitted once for a fold and their own parameters. Any other estimator goes
    scikit-learn's own way.

    With an `executor`, or under ``joblib.parallel_config("loky" | "dask" | "ray" | ...)``, chunks
    of fits go to its workers, each trained together there on one thread (on `n_threads` of the
    estimator, where it says so), data once a worker: the same bits. A chunk takes some seconds.

    Parameters
    ----------
    estimator : estimator
        Cloned for every fit. One with a `checkpoint` is refused.
    param_grid : dict of str: list, or list of such
        The values that each parameter is to take, by its name.
    scoring, n_jobs, refit, cv, verbose : as in scikit-learn
        What is measured, on how many threads (None: all cores), what is fitted to all samples in
        the end, which folds, and what is told.
    pre_dispatch, error_score, return_train_score : as in scikit-learn
        What is dispatched at once, the score of a fit that fails, and whether training samples are
        scored too. With random_state None each fit has draws of its own, which
        ``numpy.random.seed`` repeats, though not as scikit-learn. So it does for transformers and
        other estimators that draw by NumPy's global generator: in this process and on threads,
        which then make them one after another; in processes by other draws, as each task has a
        seed. Who draws so without a random_state is not seen.
    executor : concurrent.futures.Executor, optional
        Who has the fits made, of any estimator, in place of `n_jobs`: a ProcessPoolExecutor or
        ThreadPoolExecutor, loky's, ``client.get_executor(pure=False)`` of Dask, mpi4py's
        MPIPoolExecutor. Clones share it; copies by pickle and joblib have None. Workers on other
        machines than Dask's read data from files in JOBLIB_TEMP_FOLDER, which all have to see.
        In processes callbacks, like all that an estimator holds, are copies: what they note stays
        with the worker.

    Attributes
    ----------
    cv_results_, best_estimator_, best_score_, best_params_, best_index_, ...
        As in scikit-learn; fit_time is the share of a fit in its training.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import GridSearchCV, MLPRegressor
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=8, max_iter=300, random_state=0)
    >>> search = GridSearchCV(model, {"learning_rate_init": [1e-5, 1e-2]}, cv=3)
    >>> search.fit(X, X[:, 0]).best_params_
    {'learning_rate_init': 0.01}
    """


@with_executor
class RandomizedSearchCV(_Search, model_selection.RandomizedSearchCV):
    """Scikit-learn's `RandomizedSearchCV`, whose fits are trained together; see `GridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        Cloned for every fit. One with a `checkpoint` is refused.
    param_distributions : dict of str: list or distribution, or list of such
        What each parameter is drawn from, by its name.
    n_iter : int
        Candidates that are drawn.
    scoring, n_jobs, refit, cv, verbose, pre_dispatch : as in scikit-learn
        See `GridSearchCV`.
    random_state : int, RandomState instance or None
        Of the candidates: the same number draws the same.
    error_score, return_train_score : as in scikit-learn
        The score of a fit that fails, and whether training samples are scored too.
    executor : as in `GridSearchCV`
        Who has the fits made, in place of `n_jobs`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import MLPRegressor, RandomizedSearchCV
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
    >>> grid = {"alpha": [1e-4, 1e3]}
    >>> RandomizedSearchCV(model, grid, n_iter=2, cv=3, random_state=0).fit(X, X[:, 0]).best_params_
    {'alpha': 0.0001}
    """


@with_executor
class HalvingRandomSearchCV(_Search, model_selection.HalvingRandomSearchCV):
    """Scikit-learn's `HalvingRandomSearchCV`, whose fits are trained together; see `GridSearchCV`.

    Parameters
    ----------
    estimator : estimator
        Cloned for every fit. One with a `checkpoint` is refused.
    param_distributions : dict of str: list or distribution, or list of such
        What each parameter is drawn from, by its name.
    n_candidates, factor, resource, max_resources, min_resources : as in scikit-learn
        How many candidates begin, of which 1 / factor go on with `factor` times the samples (or
        another `resource`), and the most and the fewest of them.
    aggressive_elimination, cv, scoring, refit, error_score, return_train_score : as in scikit-learn
        Whether the first rounds are repeated until few are left; otherwise as in `GridSearchCV`.
    random_state : int, RandomState instance or None
        Of the candidates and of the samples: the same number draws the same.
    n_jobs, verbose : as in scikit-learn
        See `GridSearchCV`.
    executor : as in `GridSearchCV`
        Who has the fits made, in place of `n_jobs`.

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import HalvingRandomSearchCV, MLPRegressor
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
    >>> search = HalvingRandomSearchCV(model, {"alpha": [1.0, 1e3]}, n_candidates=2, cv=3)
    >>> search.fit(X, X[:, 0]).n_iterations_ >= 1
    True
    """
