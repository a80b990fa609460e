"""Types of the estimators, whose modules follow scikit-learn, which has none.

What belongs here: the signatures that users see, which tests/promises/test_types.py holds against
the classes. What does not: what they do. Of searches, folds and bags X is whatever
their estimator takes.
"""

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from typing import Literal, Protocol, Self, overload

import numpy as np

from fastbp.data import Chunks
from fastbp.inputs import ArrayLike, Rows
from fastbp.network import Network
from fastbp.optimizers import Optimizer
from fastbp.plotting import LossCurveDisplay as LossCurveDisplay
from fastbp.schedules import Schedule
from fastbp.tabular import Encoder
from fastbp.tabular.columns import Table
from fastbp.tabular.rows import Encoded
from fastbp.training import Event, History

class _Estimator:
    def get_params(self, deep: bool = True) -> dict[str, object]: ...
    def set_params(self, **params: object) -> Self: ...

class _Fitted(Protocol):
    """What a search or a group has: whatever estimator it was given, fitted; `isinstance` tells."""

    def predict(self, X: object, /) -> np.ndarray: ...
    def get_params(self, deep: bool = True) -> dict[str, object]: ...

class _Importances:
    """Scikit-learn's Bunch with what `permutation_importances` gives."""

    feature_names: np.ndarray
    importances_mean: np.ndarray
    importances_std: np.ndarray
    importances: np.ndarray

class BaggingClassifier(_Estimator):
    estimators_: list[_Fitted]
    classes_: np.ndarray
    def __init__(
        self,
        estimator: object = None,
        n_estimators: int = 10,
        *,
        max_samples: int | float | None = None,
        max_features: int | float = 1.0,
        bootstrap: bool = True,
        bootstrap_features: bool = False,
        oob_score: bool | Callable[..., object] = False,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int | bool = 0,
        executor: Executor | None = None,
    ) -> None: ...
    def decision_function(self, X: object) -> np.ndarray: ...
    def fit(
        self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None, **fit_params: object
    ) -> Self: ...
    def predict(self, X: object, **params: object) -> np.ndarray: ...
    def predict_log_proba(self, X: object, **params: object) -> np.ndarray: ...
    def predict_proba(self, X: object, **params: object) -> np.ndarray: ...
    def score(self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float: ...

class BaggingRegressor(_Estimator):
    estimators_: list[_Fitted]
    def __init__(
        self,
        estimator: object = None,
        n_estimators: int = 10,
        *,
        max_samples: int | float | None = None,
        max_features: int | float = 1.0,
        bootstrap: bool = True,
        bootstrap_features: bool = False,
        oob_score: bool | Callable[..., object] = False,
        warm_start: bool = False,
        n_jobs: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        verbose: int | bool = 0,
        executor: Executor | None = None,
    ) -> None: ...
    def fit(
        self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None, **fit_params: object
    ) -> Self: ...
    def predict(self, X: object, **params: object) -> np.ndarray: ...
    def score(self, X: object, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float: ...

class GridSearchCV(_Estimator):
    cv_results_: dict[str, np.ndarray]
    best_estimator_: _Fitted
    best_score_: float
    best_params_: dict[str, object]
    best_index_: int
    def __init__(
        self,
        estimator: object,
        param_grid: object,
        *,
        scoring: object = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., object] = True,
        cv: object = None,
        verbose: int | bool = 0,
        pre_dispatch: object = "2*n_jobs",
        error_score: object = ...,
        return_train_score: bool = False,
        executor: Executor | None = None,
    ) -> None: ...
    def decision_function(self, X: object) -> np.ndarray: ...
    def fit(self, X: object, y: ArrayLike | None = None, **params: object) -> Self: ...
    def predict(self, X: object) -> np.ndarray: ...
    def predict_proba(self, X: object) -> np.ndarray: ...
    def score(self, X: object, y: ArrayLike | None = None, **params: object) -> float: ...

class Groups:
    models_: dict[object, _Fitted]
    pooled_: _Fitted | None
    classes_: np.ndarray
    def predict(self, X: object, groups: ArrayLike) -> np.ndarray: ...
    def predict_proba(self, X: object, groups: ArrayLike) -> np.ndarray: ...
    def score(
        self, X: object, y: ArrayLike, groups: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float: ...
    def to_dict(self) -> dict[str, object]: ...

class HalvingRandomSearchCV(_Estimator):
    cv_results_: dict[str, np.ndarray]
    best_estimator_: _Fitted
    best_score_: float
    best_params_: dict[str, object]
    best_index_: int
    def __init__(
        self,
        estimator: object,
        param_distributions: object,
        *,
        n_candidates: object = "exhaust",
        factor: float = 3,
        resource: str = "n_samples",
        max_resources: object = "auto",
        min_resources: object = "smallest",
        aggressive_elimination: bool = False,
        cv: object = 5,
        scoring: object = None,
        refit: bool | str | Callable[..., object] = True,
        error_score: object = ...,
        return_train_score: bool = True,
        random_state: int | np.random.RandomState | None = None,
        n_jobs: int | None = None,
        verbose: int | bool = 0,
        executor: Executor | None = None,
    ) -> None: ...
    def decision_function(self, X: object) -> np.ndarray: ...
    def fit(self, X: object, y: ArrayLike | None = None, **params: object) -> Self: ...
    def predict(self, X: object) -> np.ndarray: ...
    def predict_proba(self, X: object) -> np.ndarray: ...
    def score(self, X: object, y: ArrayLike | None = None, **params: object) -> float: ...

class MLPClassifier(_Estimator):
    classes_: np.ndarray
    network_: Network
    networks_: list[Network]
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    loss_: float
    best_loss_: float | None
    loss_curve_: list[float]
    n_iter_: int
    n_features_in_: int
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = ...,
        activation: str | Sequence[str] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 0.0001,
        verbose: int | bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-08,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        loss: str = "log_loss",
        class_weight: Mapping[int, float] | Mapping[str, float] | str | None = None,
        dropout: float | Sequence[float] = 0.0,
        ema: float | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        label_smoothing: float = 0.0,
        checkpoint: str | os.PathLike[str] | None = None,
        every: float = 1.0,
        scoring: str | Callable[..., object] | None = None,
        callbacks: Sequence[Callable[[Event], object]] | None = None,
        time_limit: float | None = None,
        progress: bool = False,
        n_threads: int | None = None,
        rates: Mapping[str, float] | None = None,
        decays: Mapping[str, float] | None = None,
        n_ensemble: int = 1,
    ) -> None: ...
    def fit(
        self,
        X: Rows,
        y: Rows,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Rows | None = None,
        y_val: Rows | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self: ...
    def fit_stream(
        self,
        chunks: Chunks,
        classes: ArrayLike | None = None,
        *,
        X_val: Rows | None = None,
        y_val: Rows | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self: ...
    def predict(self, X: Rows) -> np.ndarray: ...
    def predict_proba(self, X: Rows) -> np.ndarray: ...
    def score(self, X: Rows, y: Rows, sample_weight: ArrayLike | None = None) -> float: ...

class MLPRegressor(_Estimator):
    network_: Network
    networks_: list[Network]
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    loss_: float
    best_loss_: float | None
    loss_curve_: list[float]
    n_iter_: int
    n_features_in_: int
    def __init__(
        self,
        loss: str = "squared_error",
        hidden_layer_sizes: int | Sequence[int] = ...,
        activation: str | Sequence[str] = "relu",
        *,
        solver: str | Optimizer = "adam",
        alpha: float = 0.0001,
        batch_size: int | str = "auto",
        learning_rate: str | Schedule | Callable[[int], float] = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 0.0001,
        verbose: int | bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-08,
        n_iter_no_change: int = 10,
        max_fun: int = 15000,
        dropout: float | Sequence[float] = 0.0,
        ema: float | None = None,
        clip_value: float | None = None,
        clip_norm: float | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        every: float = 1.0,
        scoring: str | Callable[..., object] | None = None,
        callbacks: Sequence[Callable[[Event], object]] | None = None,
        time_limit: float | None = None,
        progress: bool = False,
        n_threads: int | None = None,
        rates: Mapping[str, float] | None = None,
        decays: Mapping[str, float] | None = None,
        n_ensemble: int = 1,
    ) -> None: ...
    def fit(
        self,
        X: Rows,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        X_val: Rows | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self: ...
    def fit_stream(
        self,
        chunks: Chunks,
        *,
        X_val: Rows | None = None,
        y_val: ArrayLike | None = None,
        sample_weight_val: ArrayLike | None = None,
    ) -> Self: ...
    @overload
    def predict(self, X: Rows, return_std: Literal[False] = False) -> np.ndarray: ...
    @overload
    def predict(self, X: Rows, return_std: Literal[True]) -> tuple[np.ndarray, np.ndarray]: ...
    def score(self, X: Rows, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float: ...

class RandomizedSearchCV(_Estimator):
    cv_results_: dict[str, np.ndarray]
    best_estimator_: _Fitted
    best_score_: float
    best_params_: dict[str, object]
    best_index_: int
    def __init__(
        self,
        estimator: object,
        param_distributions: object,
        *,
        n_iter: int = 10,
        scoring: object = None,
        n_jobs: int | None = None,
        refit: bool | str | Callable[..., object] = True,
        cv: object = None,
        verbose: int | bool = 0,
        pre_dispatch: object = "2*n_jobs",
        random_state: int | np.random.RandomState | None = None,
        error_score: object = ...,
        return_train_score: bool = False,
        executor: Executor | None = None,
    ) -> None: ...
    def decision_function(self, X: object) -> np.ndarray: ...
    def fit(self, X: object, y: ArrayLike | None = None, **params: object) -> Self: ...
    def predict(self, X: object) -> np.ndarray: ...
    def predict_proba(self, X: object) -> np.ndarray: ...
    def score(self, X: object, y: ArrayLike | None = None, **params: object) -> float: ...

class TabularClassifier(_Estimator):
    classes_: np.ndarray
    networks_: list[Network]
    histories_: list[History]
    encoder_: Encoder
    metadata_: dict[str, object]
    n_features_in_: int
    def __init__(
        self,
        preset: str | None = None,
        *,
        n_ensemble: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_threads: int | None = None,
        time_limit: float | None = None,
        validation_fraction: float = 0.2,
        callbacks: Sequence[Callable[[Event], object]] | None = None,
        verbose: int | bool = False,
        encoder: Encoder | None = None,
    ) -> None: ...
    @overload
    def encoded(self, X: Table, y: None = None) -> tuple[Encoded, None]: ...
    @overload
    def encoded(self, X: Table, y: ArrayLike) -> tuple[Encoded, np.ndarray]: ...
    def fit(
        self,
        X: Table,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: Table | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self: ...
    def partial_fit(
        self,
        X: Table,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self: ...
    def permutation_importances(
        self,
        X: Table,
        y: ArrayLike,
        *,
        scoring: str | Callable[..., object] | None = None,
        n_repeats: int = 5,
        sample_weight: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> _Importances: ...
    def predict(self, X: Table) -> np.ndarray: ...
    def predict_log_proba(self, X: Table) -> np.ndarray: ...
    def predict_proba(self, X: Table) -> np.ndarray: ...
    def save(self, path: str | os.PathLike[str]) -> None: ...
    def score(self, X: Table, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float: ...

class TabularRegressor(_Estimator):
    networks_: list[Network]
    histories_: list[History]
    encoder_: Encoder
    metadata_: dict[str, object]
    n_features_in_: int
    def __init__(
        self,
        preset: str | None = None,
        *,
        n_ensemble: int | None = None,
        random_state: int | np.random.RandomState | None = None,
        n_threads: int | None = None,
        time_limit: float | None = None,
        validation_fraction: float = 0.2,
        callbacks: Sequence[Callable[[Event], object]] | None = None,
        verbose: int | bool = False,
        encoder: Encoder | None = None,
    ) -> None: ...
    @overload
    def encoded(self, X: Table, y: None = None) -> tuple[Encoded, None]: ...
    @overload
    def encoded(self, X: Table, y: ArrayLike) -> tuple[Encoded, np.ndarray]: ...
    def fit(
        self,
        X: Table,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: Table | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self: ...
    def partial_fit(
        self, X: Table, y: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> Self: ...
    def permutation_importances(
        self,
        X: Table,
        y: ArrayLike,
        *,
        scoring: str | Callable[..., object] | None = None,
        n_repeats: int = 5,
        sample_weight: ArrayLike | None = None,
        random_state: int | np.random.RandomState | None = None,
    ) -> _Importances: ...
    def predict(self, X: Table) -> np.ndarray: ...
    def save(self, path: str | os.PathLike[str]) -> None: ...
    def score(self, X: Table, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float: ...

def cross_val_predict(
    estimator: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    cv: object = None,
    n_jobs: int | None = None,
    verbose: int | bool = 0,
    params: object = None,
    pre_dispatch: object = "2*n_jobs",
    method: str = "predict",
    executor: Executor | None = None,
) -> np.ndarray: ...
def cross_val_score(
    estimator: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    scoring: object = None,
    cv: object = None,
    n_jobs: int | None = None,
    verbose: int | bool = 0,
    params: object = None,
    pre_dispatch: object = "2*n_jobs",
    error_score: object = ...,
    executor: Executor | None = None,
) -> np.ndarray: ...
def cross_validate(
    estimator: object,
    X: object,
    y: ArrayLike | None = None,
    *,
    groups: ArrayLike | None = None,
    scoring: object = None,
    cv: object = None,
    n_jobs: int | None = None,
    verbose: int | bool = 0,
    params: object = None,
    pre_dispatch: object = "2*n_jobs",
    return_train_score: bool = False,
    return_estimator: bool = False,
    return_indices: bool = False,
    error_score: object = ...,
    executor: Executor | None = None,
) -> dict[str, np.ndarray]: ...
def fit_groups(
    estimator: object,
    X: object,
    y: ArrayLike,
    groups: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    unseen: str = "error",
    n_jobs: int | None = None,
    executor: Executor | None = None,
) -> Groups: ...
def learning_curve(
    estimator: object,
    X: object,
    y: ArrayLike,
    *,
    groups: ArrayLike | None = None,
    train_sizes: ArrayLike = ...,
    cv: object = None,
    scoring: object = None,
    exploit_incremental_learning: bool = False,
    n_jobs: int | None = None,
    pre_dispatch: object = "all",
    verbose: int | bool = 0,
    shuffle: bool = False,
    random_state: int | np.random.RandomState | None = None,
    error_score: object = ...,
    return_times: bool = False,
    params: object = None,
    executor: Executor | None = None,
) -> tuple[np.ndarray, ...]: ...
def validation_curve(
    estimator: object,
    X: object,
    y: ArrayLike,
    *,
    param_name: str,
    param_range: Iterable[object],
    groups: ArrayLike | None = None,
    cv: object = None,
    scoring: object = None,
    n_jobs: int | None = None,
    pre_dispatch: object = "all",
    verbose: int | bool = 0,
    error_score: object = ...,
    params: object = None,
    executor: Executor | None = None,
) -> tuple[np.ndarray, np.ndarray]: ...

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
