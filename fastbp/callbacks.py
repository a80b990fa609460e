"""Callbacks that record: what is measured on a network after each epoch of `fit`.

What belongs here: objects to hand to ``fit(callbacks=...)`` that keep what they see. What does not:
when callbacks are called (training/watchers/callbacks.py), values that every run records
(training/history.py), pictures (plotting.py).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from fastbp.functions import shown
from fastbp.inputs import ArrayLike, Rows

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbp.network import Network
    from fastbp.training import Event


class DeltaNorms:
    """How fast each layer learns: the norm of the mean of delta^l over samples, layer by layer.

    That mean is the gradient of the biases of layer l (BP3); where its norm falls from the last
    layer to the first, the gradient vanishes (Nielsen 2015, ch. 5).

    Parameters
    ----------
    X, Y : as in `Network.deltas`
        The samples that the mean is taken over; some hundred will do.

    Attributes
    ----------
    norms : ndarray (records, layers)
        One row an epoch (and one for each call of `record`), one column a layer, the first hidden
        layer first and the output last.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.callbacks import DeltaNorms
    >>> digits = fastbp.datasets.load_digits()
    >>> net = fastbp.Network([64, 16, 16, 16, 10], seed=0)
    >>> speeds = DeltaNorms(digits.X[:200], digits.Y[:200])
    >>> speeds.record(net)  # before training
    >>> history = net.fit(digits.X, digits.Y, epochs=3, callbacks=[speeds], seed=0)
    >>> speeds.norms.shape
    (4, 4)
    >>> bool(speeds.norms[0, 0] < speeds.norms[0, 1] < speeds.norms[0, 2])
    True
    """

    def __init__(self, X: Rows, Y: ArrayLike) -> None:
        for name, value in (("X", X), ("Y", Y)):  # all else is checked against a network
            shape = getattr(value, "shape", None)
            if isinstance(value, (str, bytes)) or not (shape or hasattr(value, "__len__")):
                told = "expected samples, as Network.deltas takes them"
                raise TypeError(f"{name}: {told}; got {shown(value)}")
        self._X, self._Y = X, Y
        self._rows: list[list[float]] = []

    def __call__(self, event: Event) -> None:
        """Record at the end of an epoch."""
        self.record(event.network)

    def record(self, net: Network) -> None:
        """Record a network's norms now, as before its training.

        Parameters
        ----------
        net : Network
            Whose norms make another row of `norms`.
        """
        from fastbp.network import as_network

        net = as_network(net)
        deltas = net.deltas(self._X, self._Y)
        with np.errstate(invalid="ignore"):  # infinities of both signs, which `deltas` has told
            means = [delta.mean(axis=0, dtype=np.float64) for delta in deltas]
            self._rows.append([math.hypot(*mean) for mean in means])

    @property
    def norms(self) -> np.ndarray:
        """What was recorded so far, (records, layers); (0, 0) before anything was."""
        return np.array(self._rows) if self._rows else np.empty((0, 0))

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw a curve a layer (needs fastbp's extra ``plot``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            What is drawn in; a new figure's when None.

        Returns
        -------
        matplotlib.axes.Axes
            Records along x, norms along y, logarithmic.

        Raises
        ------
        ImportError
            matplotlib is missing.
        """
        from fastbp import plotting

        return plotting.delta_norms(self.norms, ax)
