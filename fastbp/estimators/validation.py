"""scikit-learn's cross-validation for estimators of ours: the fits of all folds trained together.

What belongs here: the functions by name. What does not: how tasks are trained together (tasks.py).
"""

from __future__ import annotations

import functools
import inspect

from sklearn import model_selection

from fastbp.estimators.backends import together, with_signature

# What each argument is, by name. Which of them a function has, and in which order, is said by its
# signature, which scikit-learn's versions change.
ARGUMENTS = {
    "estimator": ("estimator", "Cloned for every fit; itself it is not fitted."),
    "X": ("array_like, sparse matrix or frame (n, n_features)", "All samples."),
    "y": ("array_like (n,) or (n, n_outputs)", "Their targets."),
    "param_name": ("str", "Name of the parameter that is varied."),
    "param_range": ("array_like (n_values,)", "The values that it takes."),
    "groups": (
        "array_like (n,), optional",
        "A label for each sample, for splitters that keep groups.",
    ),
    "train_sizes": (
        "array_like (n_sizes,)",
        "How many samples are trained on: numbers, or shares of the largest there are.",
    ),
    "scoring": (
        "str, callable or None",
        "What is measured on a fold, larger being better; None: the estimator's `score`.",
    ),
    "cv": ("int, splitter, iterable or None", "How many folds, or which; None: 5."),
    "exploit_incremental_learning": (
        "bool",
        "Whether `partial_fit` goes on from size to size; then nothing is trained together.",
    ),
    "n_jobs": ("int, optional", "Threads, as joblib counts them; None: all cores."),
    "verbose": ("int", "At 1 and more what is done is told."),
    "shuffle": ("bool", "Whether samples are drawn at random, by `random_state`, not the first."),
    "random_state": ("int, RandomState instance or None", "The same number gives the same order."),
    "params": ("dict, optional", "Handed to the estimator's `fit`, as sample_weight."),
    "pre_dispatch": ("int or str", "As in scikit-learn; nothing depends on it here."),
    "method": ("str", 'What is predicted with: "predict", "predict_proba", ...'),
    "return_train_score": ("bool", "Whether scores on the training samples are given too."),
    "return_estimator": ("bool", "Whether the fitted estimators are given too."),
    "return_indices": ("bool", "Whether the rows of each fold are given too."),
    "return_times": ("bool", "Whether the seconds of fits and scores are given too."),
    "error_score": ('float or "raise"', "The score of a fit that fails, told by a warning."),
    "executor": (
        "concurrent.futures.Executor, optional",
        "Who has the fits made in place of `n_jobs`; see `GridSearchCV`.",
    ),
}
DOC = """{summary}

    Where the estimator is `MLPClassifier` or `MLPRegressor` of this package, or a pipeline that
    ends in one, the fits are trained in this process, on `n_jobs` threads (None: all cores), or at
    the workers of an `executor` or a backend of joblib's, as in `GridSearchCV`. Any other estimator
    goes scikit-learn's own way. To rounding, results are those of scikit-learn's function.

    Parameters
    ----------
{parameters}

    Returns
    -------
{returns}

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import MLPRegressor, {name}
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
    >>> {call}
    {shown}
"""


def _told(pairs):
    """Sections of a docstring: a line of type and one of words each."""
    return "\n".join(f"    {kind}\n        {words}" for kind, words in pairs)


def _arguments(function):
    for name in inspect.signature(function).parameters:
        kind, words = ARGUMENTS.get(name, ("as in scikit-learn", "As in scikit-learn."))
        yield f"{name} : {kind}", words


def _together(name, summary, returns, call, shown):
    """scikit-learn's function of that name, with its fits trained together."""
    own = getattr(model_selection, name)

    @functools.wraps(own)
    def function(estimator, *args, executor=None, **named):
        with together(estimator, named.get("n_jobs"), executor=executor):
            return own(estimator, *args, **named)

    function.__module__ = __name__
    with_signature(function, own)
    function.__doc__ = DOC.format(
        summary=summary,
        parameters=_told(_arguments(function)),
        returns=_told(returns),
        name=name,
        call=call,
        shown=shown,
    )
    return function


cross_validate = _together(
    "cross_validate",
    "Cross-validate as scikit-learn does, with the fits of all folds trained together.",
    [
        (
            "dict of str: ndarray (n_folds,)",
            '"test_score", "fit_time" and "score_time" (s), and more.',
        )
    ],
    "sorted(cross_validate(model, X, X[:, 0], cv=3))",
    "['fit_time', 'score_time', 'test_score']",
)
cross_val_score = _together(
    "cross_val_score",
    "Score on each fold as scikit-learn does, with the fits of all folds trained together.",
    [("ndarray (n_folds,)", "What `scoring` gives on each fold that was held out.")],
    "cross_val_score(model, X, X[:, 0], cv=3).shape",
    "(3,)",
)
cross_val_predict = _together(
    "cross_val_predict",
    "Predict each sample by a fit without it, with the fits of all folds trained together.",
    [("ndarray (n,) or (n, n_outputs)", "What `method` gives for each sample, in their order.")],
    "cross_val_predict(model, X, X[:, 0], cv=3).shape",
    "(60,)",
)
learning_curve = _together(
    "learning_curve",
    "Score after fits to more and more samples, which are all trained together.",
    [
        ("train_sizes_abs : ndarray of int (n_sizes,)", "How many samples were trained on."),
        ("train_scores : ndarray (n_sizes, n_folds)", "On the samples that were trained on."),
        ("test_scores : ndarray (n_sizes, n_folds)", "On those that were held out."),
        ("fit_times, score_times : ndarray (n_sizes, n_folds)", "In seconds; with `return_times`."),
    ],
    "learning_curve(model, X, X[:, 0], cv=3, train_sizes=[20, 40])[0].tolist()",
    "[20, 40]",
)
validation_curve = _together(
    "validation_curve",
    "Score for each value of one parameter, with all fits trained together.",
    [
        ("train_scores : ndarray (n_values, n_folds)", "On the samples that were trained on."),
        ("test_scores : ndarray (n_values, n_folds)", "On those that were held out."),
    ],
    'validation_curve(model, X, X[:, 0], param_name="alpha", param_range=[0, 1], cv=3)[1].shape',
    "(2, 3)",
)
