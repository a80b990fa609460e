"""What a tabular estimator predicts: labels or numbers, as a network's targets and back again.

What belongs here: targets of any make, checked, and what is learnt of them. What does not: tables
and fitting (tabular.py), scikit-learn's multi-layer perceptrons (classifier.py, regressor.py).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets, type_of_target

from fastbp.functions import shown
from fastbp.tabular.facts import Facts

KINDS = ("classes", "labels", "numbers")


def as_targets(y: Any, name: str = "y") -> np.ndarray:
    """An array of targets, none of them missing or infinite, of any make."""
    if y is None:
        told = "requires y to be passed, but the target y is None"  # scikit-learn's words
        raise ValueError(f"{name}: expected targets; got None: this estimator {told}")
    if hasattr(y, "tocsr"):
        y = np.asarray(y.todense())
    if isinstance(y, (str, bytes, dict)):
        raise TypeError(f"{name}: expected targets, one for each row; got {shown(y)}")
    try:
        array = np.asarray(y)
        if isinstance(y, (list, tuple)) and array.dtype.kind == "U":
            array = np.asarray(y, object) if not set(map(type, y)) <= {str, np.str_} else array
    except ValueError as error:
        raise ValueError(f"{name}: expected an array of targets; {error}") from None
    if array.dtype.kind == "c":
        raise ValueError(f"{name}: expected real targets. Complex data not supported")
    if array.ndim not in (1, 2):
        raise ValueError(
            f"{name}: expected (n,) or (n, n_targets); got shape {array.shape}: y should be a 1d "
            "array or a table of several targets"
        )
    if len(array) == 0:
        raise ValueError(f"{name}: expected at least one target; got none")
    rows: np.ndarray = np.atleast_1d(_missing(array).reshape(len(array), -1).any(axis=1))
    if rows.any():
        raise ValueError(
            f"{name}: expected a target in every row; got none in {int(rows.sum())} of "
            f"{len(rows)} rows, the first row {int(np.argmax(rows))}: leave these rows out of X "
            "and y. Input y contains NaN."
        )
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        row = int(np.argmax(~np.isfinite(array.reshape(len(array), -1)).all(axis=1)))
        raise ValueError(
            f"{name}: expected finite targets; got {array[row]} in row {row}. Input y contains "
            "infinity or a value too large"
        )
    return array


def _missing(array: np.ndarray) -> np.ndarray:
    if array.dtype.kind in "fmM":
        return np.asarray(np.isnan(array) if array.dtype.kind == "f" else np.isnat(array))
    if array.dtype.kind != "O":
        return np.zeros(array.shape, bool)
    flat = [v is None or type(v).__name__ == "NAType" or v != v for v in array.ravel().tolist()]
    return np.array(flat, bool).reshape(array.shape)


class Labels:
    """Classes, or an indicator matrix of several labels a row.

    Attributes
    ----------
    classes : ndarray (n_classes,)
        Of several labels, their numbers.
    several : bool
    """

    def __init__(self, classes: np.ndarray, several: bool) -> None:
        self.classes, self.several = classes, several

    @classmethod
    def fit(cls, array: np.ndarray, name: str = "y") -> Labels:
        """Of an array by `as_targets`."""
        if array.ndim == 2 and array.shape[1] == 1:
            array = column_or_1d(array, warn=True)
        if array.dtype.kind == "O" and array.ndim == 1:
            _distinct(array, name)  # of several types: told here by their names
        check_classification_targets(array)
        kind = type_of_target(array, input_name=name)
        if kind == "multiclass-multioutput":
            raise ValueError(
                f"{name}: expected labels (n,), or an indicator matrix (n, n_labels) of 0 and 1; "
                "got several columns of classes. Multioutput target data is not supported"
            )
        if kind == "multilabel-indicator":
            return cls(np.arange(array.shape[1]), True)
        classes = _distinct(array, name)
        if len(classes) < 2:
            raise ValueError(
                f"{name}: expected two classes or more; got 1 class, {classes.tolist()[0]!r}"
            )
        return cls(classes, False)

    @property
    def n_outputs(self) -> int:
        return len(self.classes)

    @property
    def loss(self) -> tuple[str, str]:
        """Output and loss of the networks."""
        if self.several:
            return "sigmoid", "binary_cross_entropy"
        return "softmax", "cross_entropy"

    def encode(self, array: np.ndarray, name: str = "y") -> np.ndarray:
        """Class numbers (n,), or indicators (n, n_labels)."""
        if self.several:
            if array.ndim != 2 or array.shape[1] != len(self.classes):
                raise ValueError(
                    f"{name}: expected an indicator matrix of {len(self.classes)} labels; got "
                    f"shape {array.shape}"
                )
            return array.astype(np.float32)
        array = column_or_1d(array)
        known = {label: code for code, label in enumerate(self.classes.tolist())}
        codes = np.array([known.get(label, -1) for label in array.tolist()], np.intp)
        if (codes < 0).any():
            row = int(np.argmax(codes < 0))
            raise ValueError(
                f"{name}: expected classes that training had, {self.classes}; got "
                f"{array.tolist()[row]!r} (row {row})"
            )
        return codes

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Labels of averaged outputs (n, n_outputs)."""
        if self.several:
            return (outputs > 0.5).astype(int)
        return self.classes.take(outputs.argmax(axis=1))

    def strata(self, targets: np.ndarray) -> np.ndarray:
        """By which a split is to have like shares; the rows of a class are together."""
        return targets if targets.ndim == 1 else targets @ np.arange(1, targets.shape[1] + 1)

    def to_dict(self) -> dict[str, Any]:
        values = self.classes.tolist()
        if not all(type(v) in (str, bool, int, float) for v in values):
            raise TypeError(
                "path: expected classes that a file can hold, texts, numbers or booleans; got "
                f"{shown(next(v for v in values if type(v) not in (str, bool, int, float)))}"
            )
        kind = "labels" if self.several else "classes"
        return {"kind": kind, "dtype": self.classes.dtype.str, "values": values}

    @classmethod
    def read(cls, of: Facts) -> Labels:
        several = of.value("kind") == "labels"
        values, dtype = of.value("values"), of.text("dtype")
        right = type(values) is list and len(values) >= (1 if several else 2)
        if not right or not all(type(v) in (str, bool, int, float) for v in values):
            raise of.wrong("values", "a list of classes")
        if not re.fullmatch(r"[<>=|]?[biufUO][0-9]{0,9}", dtype):
            raise of.wrong("dtype", "a type of labels")
        try:
            classes = np.array(values, object) if dtype == "|O" else np.array(values, dtype)
        except (TypeError, ValueError, OverflowError):
            raise of.wrong("dtype", "a type of its values") from None
        if len(set(classes.tolist())) < len(values) or classes.tolist() != values:
            raise of.wrong("values", f"distinct classes of dtype {dtype}")
        if several and values != list(range(len(values))):
            raise of.wrong("values", "the numbers of labels")
        return cls(classes, several)


def _distinct(array: np.ndarray, name: str) -> np.ndarray:
    try:
        return np.unique(array)
    except TypeError:
        kinds = sorted({type(label).__name__ for label in array.tolist()})
        raise TypeError(
            f"{name}: expected labels of one type, such that they can be sorted; got "
            f"{' and '.join(kinds)}"
        ) from None


class Scaled:
    """Numbers, standardised for the network.

    Attributes
    ----------
    mean, scale : ndarray (n_targets,)
    single : bool
        Whether y had one dimension.
    """

    loss = ("identity", "mse")

    def __init__(self, mean: np.ndarray, scale: np.ndarray, single: bool) -> None:
        self.mean, self.scale, self.single = mean, scale, single

    @classmethod
    def fit(cls, array: np.ndarray, weight: np.ndarray | None, name: str = "y") -> Scaled:
        """Of an array by `as_targets`."""
        if array.ndim == 2 and array.shape[1] == 0:
            raise ValueError(f"{name}: expected at least one column; got shape {array.shape}")
        values = _as_numbers(array, name)
        largest = np.maximum(np.abs(values).max(axis=0), np.finfo(float).tiny)
        part = values / largest  # so that no square is infinite
        mean = np.average(part, axis=0, weights=weight)
        scale = np.sqrt(np.average((part - mean) ** 2, axis=0, weights=weight))
        scale = np.where(scale > 1e-12, scale, 1.0)
        return cls(mean * largest, scale * largest, array.ndim == 1)

    @property
    def n_outputs(self) -> int:
        return len(self.mean)

    def encode(self, array: np.ndarray, name: str = "y") -> np.ndarray:
        """float32 (n, n_targets)."""
        values = _as_numbers(array, name)
        if values.shape[1] != len(self.mean):
            raise ValueError(
                f"{name}: expected {len(self.mean)} columns, as in the first fit; got "
                f"{values.shape[1]}"
            )
        far = float(np.finfo(np.float32).max) / 4
        scaled = values / self.scale - self.mean / self.scale
        return np.clip(scaled, -far, far).astype(np.float32)

    def decode(self, outputs: np.ndarray) -> np.ndarray:
        """Numbers of averaged outputs (n, n_targets)."""
        numbers = outputs * self.scale + self.mean
        return numbers[:, 0] if self.single else numbers

    def strata(self, targets: np.ndarray) -> np.ndarray:
        return targets[:, 0]

    def to_dict(self) -> dict[str, Any]:
        return {
            "kind": "numbers", "single": self.single,
            "mean": self.mean.tolist(), "scale": self.scale.tolist(),
        }  # fmt: skip

    @classmethod
    def read(cls, of: Facts) -> Scaled:
        single = of.flag("single")
        numbers = []
        for key in ("mean", "scale"):
            given = of.value(key)
            if type(given) is not list or not given or not all(type(v) is float for v in given):
                raise of.wrong(key, "a list of numbers")
            numbers.append(np.array(given))
        mean, scale = numbers
        if len(mean) != len(scale) or (single and len(mean) > 1):
            raise of.wrong("scale", "one number a target")
        if not (scale > 0).all():
            raise of.wrong("scale", "numbers above 0")
        return cls(mean, scale, single)


def _as_numbers(array: np.ndarray, name: str) -> np.ndarray:
    """float64 (n, n_targets)."""
    if array.dtype.kind in "mM":
        raise TypeError(f"{name}: expected numbers; got times ({array.dtype})")
    try:
        numbers = array.astype(np.float64)
    except (TypeError, ValueError):
        flat = array.reshape(len(array), -1)[:, 0].tolist()
        odd = next((v for v in flat if not _is_number(v)), flat[0] if flat else None)
        raise ValueError(
            f"{name}: expected numbers; got {odd!r} (row {flat.index(odd)}): classes are for "
            "TabularClassifier"
        ) from None
    return numbers.reshape(len(numbers), -1)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
