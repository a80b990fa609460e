"""Dropout: the rates of layers, and one step's masks held still.

What belongs here: what a user says of dropout, checked. What does not: the masks themselves, which
the engine makes from (seed, step, layer, row, unit) (kernels/functions/dropout.pxd).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np

from fastbp import inputs
from fastbp.functions import shown
from fastbp.kernels import dispatch
from fastbp.layers import Dense, Layer


@runtime_checkable
class Layered(Protocol):
    """What masks need to know of a network."""

    @property
    def sizes(self) -> list[int]: ...

    @property
    def dtype(self) -> np.dtype[Any]: ...

    @property
    def layers(self) -> tuple[Layer, ...]: ...


@dataclass(frozen=True)
class Dropout:
    """The dropout of one step of training, for questions to a network: its loss, its gradient.

    `Network.loss(X, Y, dropout=...)` and `Network.gradient(X, Y, dropout=...)` see one function of
    the parameters, which can be differentiated. Row i of X has the mask of row i of a batch.

    Parameters
    ----------
    rate : float or sequence of float, in [0, 1)
        As `fit(dropout=...)` takes it.
    seed : int
        At least 0; the same seed gives the same masks.
    step : int
        From 0: the masks are those that ``fit(dropout=rate, seed=seed)`` uses in that step.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network([2, 4, 1], output="identity", loss="quadratic", dtype="float64")
    >>> inputs, hidden = fastbp.Dropout(0.5, seed=1).masks(net, 3)
    >>> inputs.tolist(), sorted(set(hidden.ravel().tolist()))
    ([[1.0, 1.0], [1.0, 1.0], [1.0, 1.0]], [0.0, 2.0])
    """

    rate: float | Sequence[float]
    seed: int = 0
    step: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.rate, Sequence) and not isinstance(self.rate, (str, bytes)):
            for i, rate in enumerate(self.rate):
                _as_rate(rate, f"Dropout.rate[{i}]")
        else:
            _as_rate(self.rate, "Dropout.rate")
        inputs.as_count(self.seed, "Dropout.seed", 0)
        if inputs.as_count(self.step, "Dropout.step", 0) >= 2**64:
            raise ValueError(f"Dropout.step: expected a number below 2**64; got {shown(self.step)}")

    def masks(self, net: Layered, n: int) -> list[np.ndarray]:
        """What input and hidden dense layers of n rows are multiplied by: 0 or 1 / (1 - rate).

        Parameters
        ----------
        net : Network
            Whose layers and dtype they are for.
        n : int
            Rows.

        Returns
        -------
        list of ndarray (n, n_l)
            The input's first; ones where nothing is dropped.
        """
        if not isinstance(net, Layered):
            raise TypeError(f"net: expected a fastbp.Network; got {type(net).__name__}")
        n, widths = inputs.as_count(n, "n"), net.sizes[:-1]
        if n > np.iinfo(np.intp).max // max(widths):
            raise ValueError(f"n: expected rows that an array can have; got {shown(n)}")
        doors = dispatch.doors(net.dtype)
        compiled = masks_of(self, net.layers, doors)
        with inputs.fitting_in_memory("n"):
            found = [np.ones((n, width), net.dtype) for width in widths]
        places = places_of(net.layers)
        for l, mask in zip(places, found if compiled is not None else (), strict=False):
            doors.mask(compiled, l, mask)
        return found


def masks_of(dropout: Any, layers: Sequence[Layer], doors: Any) -> Any:
    """An engine's description of a `Dropout`; None where nothing is dropped."""
    if dropout is None:
        return None
    if not isinstance(dropout, Dropout):
        raise TypeError(f"dropout: expected a fastbp.Dropout; got {shown(dropout)}")
    rates = as_rates(dropout.rate, len(places_of(layers)) - 1)
    if rates is None:
        return None
    return doors.Masks(of_layers(rates, layers), inputs.as_bits(dropout.seed), dropout.step)


def places_of(layers: Sequence[Layer]) -> list[int]:
    """The l of those a^l that may be dropped: the input and what hidden dense layers give."""
    return [0, *(l for l, layer in enumerate(layers[:-1], 1) if isinstance(layer, Dense))]


def of_layers(rates: Sequence[float], layers: Sequence[Layer]) -> list[float]:
    """A rate for each of a^0, ..., a^{L-1} of a network with these layers."""
    found = [0.0] * len(layers)
    for l, rate in zip(places_of(layers), rates, strict=True):
        found[l] = rate
    return found


def as_rates(value: Any, n_hidden: int) -> list[float] | None:
    """A rate for the input and one for each hidden dense layer; None where all are 0."""
    if _is_number(value):
        rate = _as_rate(value, "dropout")
        if rate and not n_hidden:
            raise ValueError(
                f"dropout: expected hidden layers to drop from; got {rate} for a network with none "
                "(one rate in a list is that of the input)"
            )
        return [0.0] + [rate] * n_hidden if rate else None
    is_list = isinstance(value, Sequence) or (isinstance(value, np.ndarray) and value.ndim)
    if isinstance(value, (str, bytes)) or not is_list:
        told = f"dropout: expected a rate in [0, 1), or a list of rates; got {shown(value)}"
        raise TypeError(told)
    rates = [_as_rate(rate, f"dropout[{i}]") for i, rate in enumerate(value)]
    if len(rates) not in (n_hidden, n_hidden + 1):
        raise ValueError(
            f"dropout: expected one rate, {n_hidden} for the hidden layers or {n_hidden + 1} with "
            f"the input's first; got {len(rates)}"
        )
    if len(rates) == n_hidden:
        rates = [0.0, *rates]
    return rates if any(rates) else None


def _is_number(value: Any) -> bool:
    other = (bool, np.bool_, np.timedelta64)  # the last is an integer of NumPy's
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, other)


def _as_rate(value: Any, name: str) -> float:
    if not _is_number(value):
        raise TypeError(f"{name}: expected a number in [0, 1); got {shown(value)}")
    try:
        rate = float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a number in [0, 1); got a larger one") from None
    if not 0 <= rate < 1:
        raise ValueError(f"{name}: expected a number in [0, 1); got {rate!r}")
    return rate
