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
        """Search; as scikit-learn's.

        Parameters
        ----------
        X, y, **params : as in scikit-learn's

        Returns
        -------
        self
        """
        with together(self.estimator, self.n_jobs, self, self.executor):
            return super().fit(X, y, **params)


@with_executor
class GridSearchCV(_Search, model_selection.GridSearchCV):
    """scikit-learn's `GridSearchCV`, whose fits are trained together: networks a vector lane each.

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
    estimator, param_grid, scoring, n_jobs, refit, cv, verbose : as in scikit-learn
    pre_dispatch, error_score, return_train_score : as in scikit-learn
        An estimator with a `checkpoint` is refused. With random_state None each
        fit has draws of its own, which ``numpy.random.seed`` repeats, though not as scikit-learn.
        So it does for transformers and other estimators that draw by NumPy's global generator: in
        this process and on threads, which then make them one after another; in processes by
        other draws, as each task has a seed. Who draws so without a random_state is not seen.
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
    """scikit-learn's `RandomizedSearchCV`, whose fits are trained together; see `GridSearchCV`.

    Parameters
    ----------
    estimator, param_distributions, n_iter, scoring, n_jobs, refit, cv : as in scikit-learn
    verbose, pre_dispatch, random_state, error_score, return_train_score : as in scikit-learn
    executor : as in `GridSearchCV`

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
    """scikit-learn's `HalvingRandomSearchCV`, whose fits are trained together; see `GridSearchCV`.

    Parameters
    ----------
    estimator, param_distributions, n_candidates, factor, resource : as in scikit-learn
    max_resources, min_resources, aggressive_elimination, cv, scoring : as in scikit-learn
    refit, error_score, return_train_score, random_state, n_jobs, verbose : as in scikit-learn
    executor : as in `GridSearchCV`

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
