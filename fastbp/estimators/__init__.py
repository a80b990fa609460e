"""scikit-learn's multi-layer perceptrons on fastbp's engine: change the import, keep the code.

What belongs here: the names that users import, and the refusal where scikit-learn is missing. What
does not: any of the work. mlp.py holds what the two estimators share, classifier.py and
regressor.py their targets and predictions, solvers.py the training loops.
"""

from __future__ import annotations

try:
    import sklearn as _  # noqa: F401
except ImportError as error:
    from fastbp import hints

    raise hints.missing("fastbp.estimators needs", "scikit-learn", "sklearn") from error

from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.ensemble import BaggingClassifier, BaggingRegressor
from fastbp.estimators.groups import Groups, fit_groups
from fastbp.estimators.regressor import MLPRegressor
from fastbp.estimators.search import GridSearchCV, HalvingRandomSearchCV, RandomizedSearchCV
from fastbp.estimators.tabular import TabularClassifier, TabularRegressor
from fastbp.estimators.validation import (
    cross_val_predict,
    cross_val_score,
    cross_validate,
    learning_curve,
    validation_curve,
)
from fastbp.plotting import LossCurveDisplay

__all__ = [
    "BaggingClassifier",
    "BaggingRegressor",
    "GridSearchCV",
    "Groups",
    "HalvingRandomSearchCV",
    "LossCurveDisplay",
    "MLPClassifier",
    "MLPRegressor",
    "RandomizedSearchCV",
    "TabularClassifier",
    "TabularRegressor",
    "cross_val_predict",
    "cross_val_score",
    "cross_validate",
    "fit_groups",
    "learning_curve",
    "validation_curve",
]
