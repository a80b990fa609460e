"""Optimizers: the names and numbers a user chooses.

What belongs here: frozen dataclasses that check themselves. What does not: the formulas, which are
applied to weights while their gradient is at hand (kernels/update.pxd).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import numpy as np


def _check(optimizer: object, name: str, low: float, high: float, rule: str) -> None:
    value = getattr(optimizer, name)
    argument = f"{type(optimizer).__name__}.{name}"
    # NumPy's scalars are numbers; bool is an int but not meant here, and an array is not one number
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.number)):
        raise TypeError(f"{argument}: expected a number {rule}; got {value!r}")
    try:
        value = float(value)
    except (OverflowError, TypeError):  # an int beyond float64, a complex number
        raise ValueError(f"{argument}: expected a number {rule}; got {value!r}") from None
    object.__setattr__(optimizer, name, value)
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{argument}: expected a number {rule}; got {value!r}")


@dataclass(frozen=True)
class Optimizer:
    """What `fit` needs to know: the engine's policy and the numbers of one step."""

    learning_rate: float

    def __post_init__(self) -> None:
        _check(self, "learning_rate", 0.0, math.inf, ">= 0")

    @property
    def policy(self) -> str:
        """Name of the engine's update policy."""
        return type(self).__name__.lower()

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of one step, by the engine's names."""
        return {field.name: float(getattr(self, field.name)) for field in fields(self)}


@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent: v <- mu v + g, W <- W - eta v; with ``nesterov`` W <- W - eta (g + mu v).

    Parameters
    ----------
    learning_rate : float, eta
    momentum : float in [0, 1), mu
    nesterov : bool
        Needs momentum > 0.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "momentum", 0.0, math.nextafter(1.0, 0.0), "in [0, 1)")
        if not isinstance(self.nesterov, (bool, np.bool_)):
            raise TypeError(f"SGD.nesterov: expected True or False; got {self.nesterov!r}")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("SGD.nesterov: expected momentum above 0 with it; got momentum 0")

    @property
    def policy(self) -> str:
        if self.momentum == 0.0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with bias correction; l2 and l1 of `fit` enter its gradient.

    m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,
    W <- W - eta (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

    Examples
    --------
    >>> Adam(1e-2).beta2
    0.999
    """

    learning_rate: float = 1e-3
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        below_1 = math.nextafter(1.0, 0.0)
        _check(self, "beta1", 0.0, below_1, "in [0, 1)")
        _check(self, "beta2", 0.0, below_1, "in [0, 1)")
        # 1e-30 is still a normal float32: where m = v = 0 the step is 0, not 0/0
        _check(self, "epsilon", 1e-30, math.inf, ">= 1e-30")


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): W <- (1 - eta lambda) W first.

    Weights decay, biases do not.

    Examples
    --------
    >>> AdamW(weight_decay=0.1).policy
    'adamw'
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "weight_decay", 0.0, math.inf, ">= 0")
