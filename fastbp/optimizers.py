"""Optimizers: the names and numbers a user chooses.

What belongs here: frozen dataclasses that check themselves. What does not: the formulas, which are
applied to weights while their gradient is at hand (kernels/update.pxd).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

from fastbp import inputs
from fastbp.functions import shown


def _check(optimizer: object, name: str, low: float, high: float, rule: str) -> None:
    value = getattr(optimizer, name)
    argument = f"{type(optimizer).__name__}.{name}"
    try:
        value = inputs.as_number(value)
    except OverflowError:  # an int beyond float64
        raise ValueError(f"{argument}: expected a number {rule}; got {shown(value)}") from None
    except Exception:
        raise TypeError(f"{argument}: expected a number {rule}; got {shown(value)}") from None
    object.__setattr__(optimizer, name, value)
    if not (math.isfinite(value) and low <= value <= high):
        raise ValueError(f"{argument}: expected a number {rule}; got {value!r}")


_BELOW_1 = math.nextafter(1.0, 0.0)
_NORMAL = 1e-30  # still a normal float32: where gradient and slots are 0 the step is 0, not 0/0


@dataclass(frozen=True)
class Optimizer:
    """An optimizer as `fit` knows it: the engine's policy and the numbers of one step.

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.

    Examples
    --------
    >>> import fastbp
    >>> isinstance(fastbp.Adam(), fastbp.optimizers.Optimizer), fastbp.Adam().numbers["beta1"]
    (True, 0.9)
    """

    learning_rate: float

    of_tables: ClassVar[float] = 0.005  # a learning rate that suits standardised tables

    def __post_init__(self) -> None:
        _check(self, "learning_rate", 0.0, math.inf, ">= 0")

    @property
    def policy(self) -> str:
        """Name of the engine's update policy."""
        return type(self).__name__.lower()

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of one step, by the engine's names."""
        return dict(vars(self))

    @property
    def initial_slot(self) -> float:
        """What every slot (velocity, moment) holds before the first step."""
        return 0.0


@inputs.named
@dataclass(frozen=True)
class SGD(Optimizer):
    """Gradient descent: v <- mu v + g, W <- W - eta v; with ``nesterov`` W <- W - eta (g + mu v).

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    momentum : float in [0, 1)
        Mu, the share of the step before that goes on. 0 is plain SGD, which keeps no state.
    nesterov : bool
        The gradient counts once more, as if taken ahead (Sutskever et al. 2013). Needs
        momentum > 0.

    Examples
    --------
    >>> SGD(0.1, momentum=0.9)
    SGD(learning_rate=0.1, momentum=0.9, nesterov=False)
    """

    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    of_tables: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "momentum", 0.0, _BELOW_1, "in [0, 1)")
        inputs.as_flag(self.nesterov, "SGD.nesterov")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("SGD.nesterov: expected momentum above 0 with it; got momentum 0")

    @property
    def policy(self) -> str:
        """Name of the engine's update policy."""
        if self.momentum == 0.0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"


@inputs.named
@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma & Ba 2015), with bias correction; l2 and l1 of `fit` enter its gradient.

    m <- b1 m + (1 - b1) g, v <- b2 v + (1 - b2) g^2,
    W <- W - eta (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    beta1, beta2 : float in [0, 1)
        Shares of the old mean in the new one: b1 of gradients, b2 of their squares.
    epsilon : float
        Keeps a step finite where gradients vanish; at least 1e-30.

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
        _check(self, "beta1", 0.0, _BELOW_1, "in [0, 1)")
        _check(self, "beta2", 0.0, _BELOW_1, "in [0, 1)")
        _check(self, "epsilon", _NORMAL, math.inf, ">= 1e-30")


@inputs.named
@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019): W <- (1 - eta lambda) W first.

    Weights decay, biases do not.

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    beta1, beta2 : float in [0, 1)
        Shares of the old mean in the new one: b1 of gradients, b2 of their squares.
    epsilon : float
        Keeps a step finite where gradients vanish; at least 1e-30.
    weight_decay : float
        Lambda, of which eta times is taken off the weights each step; at least 0.

    Examples
    --------
    >>> AdamW(weight_decay=0.1).policy
    'adamw'
    """

    weight_decay: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "weight_decay", 0.0, math.inf, ">= 0")


@inputs.named
@dataclass(frozen=True)
class AMSGrad(Adam):
    """Adam that divides by the largest v so far (Reddi, Kale & Kumar 2018), as PyTorch has it.

    u <- max(u, v), W <- W - eta (m / (1 - b1^t)) / (sqrt(u / (1 - b2^t)) + epsilon)

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    beta1, beta2 : float in [0, 1)
        Shares of the old mean in the new one: b1 of gradients, b2 of their squares.
    epsilon : float
        Keeps a step finite where gradients vanish; at least 1e-30.

    Examples
    --------
    >>> AMSGrad(1e-2).policy
    'amsgrad'
    """


@inputs.named
@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Hinton 2012), as PyTorch has it: epsilon beside the root.

    v <- alpha v + (1 - alpha) g^2, d <- mu d + g / (sqrt(v) + epsilon), W <- W - eta d

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    alpha : float in [0, 1)
        Share of the old mean of squares in the new.
    epsilon : float
        Keeps a step finite where gradients vanish; at least 1e-30.
    momentum : float in [0, 1)
        Mu, the share of the step before that goes on.
    centered : bool
        Divide by the root of the variance v - m^2, m <- alpha m + (1 - alpha) g (Graves 2013).

    Examples
    --------
    >>> RMSprop(1e-3, momentum=0.9).policy
    'rmsprop_momentum'
    """

    learning_rate: float = 1e-2
    alpha: float = 0.99
    epsilon: float = 1e-8
    momentum: float = 0.0
    centered: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "alpha", 0.0, _BELOW_1, "in [0, 1)")
        _check(self, "epsilon", _NORMAL, math.inf, ">= 1e-30")
        _check(self, "momentum", 0.0, _BELOW_1, "in [0, 1)")
        inputs.as_flag(self.centered, "RMSprop.centered")

    @property
    def policy(self) -> str:
        """Name of the engine's update policy."""
        if self.centered:
            return "rmsprop_centered"
        return "rmsprop_momentum" if self.momentum else "rmsprop"

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers of one step, by the engine's names."""
        return super().numbers | {"rho": self.alpha}


@inputs.named
@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi, Hazan & Singer 2011).

    v <- v + g^2, W <- W - eta / (1 + (t - 1) lr_decay) g / (sqrt(v) + epsilon)

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    lr_decay : float
        What the rate falls by: at step t it is eta / (1 + (t - 1) lr_decay); at least 0.
    initial_accumulator_value : float
        Sum of squares v before the first step; at least 0.
    epsilon : float
        Keeps a step finite where gradients vanish; at least 1e-30.

    Examples
    --------
    >>> Adagrad(initial_accumulator_value=0.1).initial_slot
    0.1
    """

    learning_rate: float = 1e-2
    lr_decay: float = 0.0
    initial_accumulator_value: float = 0.0
    epsilon: float = 1e-10

    of_tables: ClassVar[float] = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "lr_decay", 0.0, math.inf, ">= 0")
        _check(self, "initial_accumulator_value", 0.0, math.inf, ">= 0")
        _check(self, "epsilon", _NORMAL, math.inf, ">= 1e-30")

    @property
    def initial_slot(self) -> float:
        """What every slot (the sum of squares) holds before the first step."""
        return self.initial_accumulator_value


@inputs.named
@dataclass(frozen=True)
class Adadelta(Optimizer):
    """Adadelta (Zeiler 2012).

    v <- rho v + (1 - rho) g^2, d = sqrt((u + epsilon) / (v + epsilon)) g,
    u <- rho u + (1 - rho) d^2, W <- W - eta d

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    rho : float in [0, 1)
        Share of the old means of squares in the new.
    epsilon : float
        Makes the first step larger than 0; at least 1e-30.

    Examples
    --------
    >>> Adadelta().rho
    0.9
    """

    learning_rate: float = 1.0
    rho: float = 0.9
    epsilon: float = 1e-6

    of_tables: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "rho", 0.0, _BELOW_1, "in [0, 1)")
        _check(self, "epsilon", _NORMAL, math.inf, ">= 1e-30")


@inputs.named
@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion (Chen et al. 2023): every step is eta up or down, by the sign of a mean of gradients.

    W <- (1 - eta lambda) W - eta sign(b1 m + (1 - b1) g), m <- b2 m + (1 - b2) g

    Weights decay by ``weight_decay`` lambda, biases do not.

    Parameters
    ----------
    learning_rate : float
        Eta, how far a step goes, at least 0; a `schedule` of `fit` replaces it.
    beta1, beta2 : float in [0, 1)
        Shares of the old mean of gradients: b1 in what the sign is taken of, b2 in the new mean.
    weight_decay : float
        Lambda, of which eta times is taken off the weights each step; at least 0.

    Examples
    --------
    >>> Lion(weight_decay=0.1).beta2
    0.99
    """

    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.99
    weight_decay: float = 0.0

    of_tables: ClassVar[float] = 0.0005

    def __post_init__(self) -> None:
        super().__post_init__()
        _check(self, "beta1", 0.0, _BELOW_1, "in [0, 1)")
        _check(self, "beta2", 0.0, _BELOW_1, "in [0, 1)")
        _check(self, "weight_decay", 0.0, math.inf, ">= 0")


@inputs.named
@dataclass(frozen=True)
class LBFGS:
    """Limited-memory BFGS over all samples at once, in float64 (needs SciPy: extra ``lbfgs``).

    It takes the place of epochs: `History` holds a value an iteration. Callbacks may end it, not
    write parameters. There is no learning rate, l1 or clipping.

    Parameters
    ----------
    max_iter : int
        Iterations.
    tolerance : float
        It ends where no element of the gradient is larger, or an iteration lowers the loss by less
        than its square (at most 2.2e-9, SciPy's ftol), relatively.
    max_fun : int
        Evaluations of the loss.

    Examples
    --------
    >>> LBFGS(max_iter=50)
    LBFGS(max_iter=50, tolerance=0.0001, max_fun=15000)
    """

    max_iter: int = 200
    tolerance: float = 1e-4
    max_fun: int = 15000

    def __post_init__(self) -> None:
        for name in ("max_iter", "max_fun"):
            value = inputs.as_count(getattr(self, name), f"LBFGS.{name}")
            object.__setattr__(self, name, value)
        _check(self, "tolerance", 0.0, math.inf, ">= 0")


OPTIMIZERS = {  # by name
    kind.__name__.lower(): kind
    for kind in (SGD, Adam, AdamW, AMSGrad, RMSprop, Adagrad, Adadelta, Lion)
}

# What each policy's slots hold, in the engine's order (kernels/update.pxd): "+" sums or means of
# squares, never below 0, "~" any number
SLOTS = {
    "sgd": "",
    "momentum": "~",
    "nesterov": "~",
    "adam": "~+",
    "adamw": "~+",
    "amsgrad": "~++",
    "rmsprop": "+",
    "rmsprop_momentum": "+~",
    "rmsprop_centered": "+~~",
    "adagrad": "+",
    "adadelta": "++",
    "lion": "~",
}
