"""Gradients against central differences, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastbp.inputs import as_count
from fastbp.network import Network

STEP = 1e-5  # of a float64 central difference: truncation and rounding are both near 1e-10
TOLERANCE = {"float64": 1e-6, "float32": 1e-3}


@dataclass(frozen=True)
class GradientCheck:
    """What `gradients` found.

    Attributes
    ----------
    ok : bool
    error : float
        Largest difference, relative to the largest element of its array's gradient (or to what
        rounding makes of a gradient of 0, where that is more).
    tolerance : float
    worst : str
        Name and index of the parameter it belongs to.
    analytic, numeric : float
        There.
    n_checked : int
    conclusive : bool
        False where the loss is so large that its differences cannot resolve every gradient.
    """

    ok: bool
    error: float
    tolerance: float
    worst: str
    analytic: float
    numeric: float
    n_checked: int
    conclusive: bool

    @property
    def verdict(self) -> str:
        """One line."""
        word = "FAIL" if not self.ok else "pass" if self.conclusive else "inconclusive (huge loss)"
        return (
            f"{word}: largest relative error {self.error:.1e} (tolerance "
            f"{self.tolerance:.0e}) at {self.worst}, {self.n_checked:,} parameters checked"
        )

    def __str__(self) -> str:
        return f"gradient check: {self.verdict}"

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; None for a number that is NaN or infinite."""
        return {
            name: None if isinstance(value, float) and not math.isfinite(value) else value
            for name, value in asdict(self).items()
        }


def gradients(net: Network, X: Any, Y: Any, *, max_parameters: int = 5000) -> GradientCheck:
    """Hold the gradient of a network's loss against central differences in float64.

    The differences come from a float64 twin of the network; a float32 gradient is held against the
    same numbers with a wider tolerance.

    Parameters
    ----------
    net : Network
    X, Y : as in `Network.loss`; a few rows will do
    max_parameters : int
        Of more, an evenly spaced selection is checked.

    Returns
    -------
    GradientCheck

    Notes
    -----
    At a kink (relu at 0) a central difference is the mean of both slopes: where the two one-sided
    differences enclose the analytic value, it is right.

    Examples
    --------
    >>> import fastbp
    >>> digits = fastbp.datasets.load_digits()
    >>> net = fastbp.Network([64, 30, 10])
    >>> fastbp.check.gradients(net, digits.X[:5], digits.Y[:5]).ok
    True
    """
    max_parameters = as_count(max_parameters, "max_parameters")
    twin = Network(**{**net.architecture, "dtype": "float64"}, init="zeros")
    twin.parameters = net.parameters
    analytic = net.gradient(X, Y).astype(np.float64)
    theta = twin.parameters
    index = np.unique(np.linspace(0, theta.size - 1, min(theta.size, max_parameters)).astype(int))
    middle = twin.loss(X, Y)
    numeric, low, high = np.empty((3, index.size))
    for i, at in enumerate(index):
        kept = theta[at]
        h = STEP * max(1.0, abs(kept))
        theta[at] = kept + h
        above = twin.loss(X, Y)
        theta[at] = kept - h
        below = twin.loss(X, Y)
        theta[at] = kept
        slopes = ((above - middle) / h, (middle - below) / h)
        low[i], high[i] = min(slopes), max(slopes)
        numeric[i] = (above - below) / (2 * h)
    picked = analytic[index]
    difference = np.abs(picked - numeric)
    difference[(low <= picked) & (picked <= high)] = 0.0
    tolerance = TOLERANCE[net.dtype.name]
    # what rounding alone makes of a gradient that is nearly 0: of delta, which is a difference of
    # numbers near 1, and of the two losses that are subtracted
    rounding = 32 * float(np.finfo(net.dtype).eps)
    rounding_of_losses = 8 * float(np.finfo(np.float64).eps) * max(1.0, abs(middle)) / STEP
    largest = [max(1.0, float(np.abs(a).max())) for a in twin.feedforward(X)[1]]
    scale, names = _scales(
        twin, analytic, [(rounding * a + rounding_of_losses) / tolerance for a in largest]
    )
    smallest = float(_scales(twin, analytic, [0.0] * len(largest))[0].min())
    error = np.where(np.isfinite(picked), difference / scale[index], np.inf)
    worst = int(np.argmax(error))
    return GradientCheck(
        bool(error[worst] <= tolerance),
        float(error[worst]),
        tolerance,
        names(int(index[worst])),
        float(picked[worst]),
        float(numeric[worst]),
        int(index.size),
        rounding_of_losses <= tolerance * max(1.0, smallest),
    )


def _scales(
    net: Network, gradient: np.ndarray, floors: list[float]
) -> tuple[np.ndarray, Callable[[int], str]]:
    """For each parameter the largest gradient of its array, and a function that names it."""
    gradient = np.where(np.isfinite(gradient), gradient, 0.0)
    scale = np.empty(net.n_parameters)
    starts = []
    at = 0
    for layer, pair in enumerate(zip(net.weights, net.biases, strict=True), 1):
        for letter, array in zip("Wb", pair, strict=True):
            part = np.abs(gradient[at : at + array.size])
            scale[at : at + array.size] = max(float(part.max()), floors[layer - 1])
            starts.append((at, f"{letter}{layer}", array.shape))
            at += array.size

    def name(i: int) -> str:
        start, letter, shape = [entry for entry in starts if entry[0] <= i][-1]
        where = np.unravel_index(i - start, shape)
        return f"{letter}[{', '.join(str(int(k)) for k in where)}]"

    return scale, name
