"""Early stopping: when a watched value no longer improves.

What belongs here: the rule of improvement, which early stopping and schedules share. What does not:
rates (schedules.py), how values come about (metrics.py), keeping the best parameters
(training/watchers/stopping.py).
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

from fastbp import inputs
from fastbp.functions import one_of, shown

# What is better, by name: a metric of a user's own needs `mode`.
BETTER = {
    "loss": "min",
    "mse": "min",
    "rmse": "min",
    "mae": "min",
    "accuracy": "max",
    "balanced_accuracy": "max",
    "r2": "max",
}


def check_mode(owner: str, monitor: object, mode: object) -> None:
    """Refuse a value to watch of which nobody knows whether less of it is better."""
    if not isinstance(monitor, str):
        raise TypeError(f"{owner}.monitor: expected a name of `History`; got {shown(monitor)}")
    if not (mode is None or (isinstance(mode, str) and mode in ("min", "max"))):
        raise ValueError(f"{owner}.mode: expected 'min', 'max' or None; got {shown(mode)}")
    if mode is None and monitor.removeprefix("validation_") not in BETTER:
        value = monitor.removeprefix("val_")
        hint = f". Did you mean 'validation_{value}'?" if value != monitor else ""
        raise ValueError(
            f"{owner}.mode: expected 'min' or 'max' for {monitor!r}, a value that is not known; "
            f"got None{hint}"
        )


NOT_RECORDED = float("nan")  # stands for an epoch without a value, and is known by what it is


class Best:
    """The best value so far, and how many epochs have not bettered it.

    A value is better if it is so by more than `min_delta`; NaN never is.
    """

    def __init__(
        self,
        monitor: str,
        mode: str | None,
        patience: int,
        min_delta: float = 0.0,
        ties: str = "first",
    ) -> None:
        mode = mode or BETTER[monitor.removeprefix("validation_")]
        self.sign = 1.0 if mode == "min" else -1.0
        self.monitor, self.patience, self.min_delta = monitor, patience, min_delta
        self.takes_equal = ties == "last"
        self.value = math.inf  # times sign
        self.waited = 0
        self.is_told = False  # that there is nothing but NaN

    def improves(self, value: float) -> bool:
        """Take the value of one epoch."""
        if value is NOT_RECORDED:  # of a resumed run that was not watched
            return False
        if self.sign * value < self.value - self.min_delta:
            self.value, self.waited = self.sign * value, 0
            return True
        self.waited += 1
        if self.takes_equal and self.sign * value == self.value < math.inf:
            return True
        never = math.isnan(value) and self.value == math.inf and not self.is_told
        if never and self.waited >= min(2, self.patience):
            self.is_told = True
            warnings.warn(
                f"{self.monitor}: NaN in every epoch so far, which counts as no improvement",
                RuntimeWarning,
                stacklevel=2,
            )
        return False

    @property
    def has_waited(self) -> bool:
        """Whether patience is at an end."""
        return self.waited >= self.patience


@inputs.named
@dataclass(frozen=True)
class EarlyStopping:
    """Stop when a value has not improved in `patience` epochs; the best parameters are restored.

    They are also where the run ends otherwise, but not after Ctrl-C and divergence.

    Parameters
    ----------
    patience : int
        Epochs in a row without an improvement.
    min_delta : float
        An improvement is larger than this.
    monitor : str
        A name of `History`: "loss", "validation_loss", "validation_accuracy", ...
    mode : "min", "max" or None
        Whether less or more is better; None knows it of fastbp's own names.
    ties : "first" or "last"
        Which of equally good epochs has its parameters kept; the last of them, too, is no
        improvement that patience would wait for anew.

    Examples
    --------
    >>> import fastbp
    >>> fastbp.EarlyStopping(5, monitor="validation_accuracy").patience
    5
    """

    patience: int = 10
    min_delta: float = 0.0
    monitor: str = "validation_loss"
    mode: str | None = None
    ties: str = "first"

    def __post_init__(self) -> None:
        inputs.as_count(self.patience, "EarlyStopping.patience")
        min_delta = inputs.as_penalty(self.min_delta, "EarlyStopping.min_delta")
        object.__setattr__(self, "min_delta", min_delta)
        check_mode("EarlyStopping", self.monitor, self.mode)
        one_of("EarlyStopping.ties", self.ties, ("first", "last"))

    def __repr__(self) -> str:
        """Without `ties` where it is the default: files of runs hold what was written before it."""
        names = ["patience", "min_delta", "monitor", "mode"] + ["ties"] * (self.ties != "first")
        told = ", ".join(f"{name}={getattr(self, name)!r}" for name in names)
        return f"EarlyStopping({told})"
