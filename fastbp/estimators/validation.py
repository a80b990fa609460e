"""scikit-learn's cross-validation for estimators of ours: the fits of all folds trained together.

What belongs here: the functions by name. What does not: how tasks are trained together (tasks.py).
"""

from __future__ import annotations

import functools

from sklearn import model_selection

from fastbp.estimators.backends import together, with_signature

EXAMPLE = """
    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import MLPRegressor, {name}
    >>> X = np.linspace(-1, 1, 60)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
    >>> {call}
    {shown}
"""


def _together(name, call, shown):
    """scikit-learn's function of that name, with its fits trained together."""
    own = getattr(model_selection, name)

    @functools.wraps(own)
    def function(estimator, *args, executor=None, **named):
        with together(estimator, named.get("n_jobs"), executor=executor):
            return own(estimator, *args, **named)

    function.__module__ = __name__
    function.__doc__ = f"""scikit-learn's `{name}`, with the fits of all folds trained together.

    Parameters and, to rounding, results are scikit-learn's. Where the estimator is `MLPClassifier`
    or `MLPRegressor` of this package, or a pipeline that ends in one, the fits are trained in this
    process, on `n_jobs` threads (None: all cores), or at the workers of an `executor` or a backend
    of joblib's, as in `GridSearchCV`. Any other estimator goes scikit-learn's own way.
{EXAMPLE.format(name=name, call=call, shown=shown)}"""
    return with_signature(function, own)


cross_validate = _together(
    "cross_validate",
    "sorted(cross_validate(model, X, X[:, 0], cv=3))",
    "['fit_time', 'score_time', 'test_score']",
)
cross_val_score = _together(
    "cross_val_score", "cross_val_score(model, X, X[:, 0], cv=3).shape", "(3,)"
)
cross_val_predict = _together(
    "cross_val_predict", "cross_val_predict(model, X, X[:, 0], cv=3).shape", "(60,)"
)
learning_curve = _together(
    "learning_curve",
    "learning_curve(model, X, X[:, 0], cv=3, train_sizes=[20, 40])[0].tolist()",
    "[20, 40]",
)
validation_curve = _together(
    "validation_curve",
    'validation_curve(model, X, X[:, 0], param_name="alpha", param_range=[0, 1], cv=3)[1].shape',
    "(2, 3)",
)
