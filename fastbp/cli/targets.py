"""Numbers to be predicted: as a network is trained on them, and its outputs in their own units.

What belongs here: which losses allow standardised targets, and folding them back exactly; what the
outputs of the others begin at. What does not: columns' means and deviations (datasets/scaling.py).

A loss allows it where it is only multiplied, or something added to it, when targets and outputs are
(`functions.Loss.scale_power`). One with a parameter in their units is trained with that in units of
the deviation, which then is the same for all targets: huber_d(s r) = s^2 huber_{d/s}(r).
"""

from __future__ import annotations

import math

import numpy as np

from fastbp import functions
from fastbp.datasets.dataset import Array
from fastbp.datasets.scaling import Scaling
from fastbp.network import Network

HALVINGS = 200  # of a range of z, for the one that an output begins at
FARTHEST = 50.0  # from 0 that z is looked for


class Standardised:
    """Targets less their mean, over their deviation.

    Attributes
    ----------
    loss : str
        The name of the loss that the network is trained with.
    factor, constant : float or None, float
        The loss in the targets' own units is factor times that of the training, plus constant.
        None: it is another sum, for each of several targets has a unit of its own.
    """

    def __init__(self, Y: Array, loss: functions.Loss, scaling: Scaling) -> None:
        power = loss.scale_power
        assert power is not None
        s = scaling.deviation
        if loss.has_units and s.size > 1:
            s = np.full_like(s, math.exp(np.log(s).mean()))
        self.scaling, self.own = Scaling(scaling.mean, s), loss
        self.loss = loss.in_units(float(s[0]))
        self.factor = float(s[0]) ** power if (s == s[0]).all() or not power else None
        self.constant = float(np.log(s).sum()) if loss.outputs_per_target > 1 else 0.0

    def apply(self, Y: Array) -> Array:
        """Targets as the network is trained on them   (n, n_targets)."""
        return self.scaling.apply(Y)

    def undo(self, outputs: Array) -> Array:
        """Its outputs in the targets' own units."""
        m = self.scaling.mean.size
        means = self.scaling.undo(outputs[:, :m])
        if self.own.outputs_per_target == 1:
            return means
        return np.hstack([means, outputs[:, m:] + 2 * np.log(self.scaling.deviation)])

    def unfold(self, net: Network) -> Network:
        """A network that gives outputs in the targets' own units, and has their loss."""
        m = self.scaling.mean.size
        found = Network(**net.architecture | {"loss": self.own.name, "init": "zeros"})
        found.parameters[...] = net.parameters
        W, b = found.weights[-1], found.biases[-1]
        self.scaling.unfold_from_outputs(W[:, :m], b[:m])
        if self.own.outputs_per_target > 1:
            b[m:] += (2 * np.log(self.scaling.deviation)).astype(b.dtype)
        return found


def begin_at_mean(net: Network, Y: Array) -> None:
    """Have each output's bias be the z at which the activation is the target's mean, if one is.

    It is found by halving: elementwise activations rise, rectifiers where z is positive.
    """
    output = functions.activation(net.architecture["output"])
    if output.coupled or functions.loss(net.architecture["loss"]).outputs_per_target > 1:
        return
    probe = Network([1, 1], output=output.name, loss="mse", init="zeros", dtype="float64")
    least, most = output.reach
    for j, mean in enumerate(Y.mean(axis=0).tolist()):
        low, high = -FARTHEST, max(FARTHEST, abs(mean))
        if output.rectifier and output.range == "real":
            low = least = 0.0
        if not least < mean < most:
            continue
        with np.errstate(over="ignore"):  # of exp
            for _ in range(HALVINGS):
                middle = (low + high) / 2
                probe.biases[0][0] = middle
                below = probe.predict([[0.0]])[0, 0] < mean
                low, high = (middle, high) if below else (low, middle)
        net.biases[-1][j] = high
