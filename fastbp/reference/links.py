"""Links, of one sample: z from the activations before, and what goes back through it.

What belongs here: for each kind its tensors, forward pass, Jacobian products and gradient, and the
table. What does not: activations, sums over samples.
"""

import numpy as np


class Dense:
    """z = a W + b; tensors W (n_in, width of z) and b."""

    def shapes(self, n_in, width):
        return [(n_in, width), (width,)]

    def is_weight(self):
        return [True, False]

    def forward(self, a, W, b):
        return a @ W + b

    def tangent(self, da, W, b):
        """dz = (dz/da) da, of one da (n_in,) or of each column of (n_in, k)."""
        return W.T @ da

    def back(self, delta, W, b):
        """dC/da = (dz/da)^T delta."""
        return W @ delta

    def gradient(self, a, delta):
        return [np.outer(a, delta), delta]  # BP4, BP3


class Scale:
    """z_j = s_j a_j; the only tensor is s."""

    def shapes(self, n_in, width):
        return [(width,)]

    def is_weight(self):
        return [False]

    def forward(self, a, s):
        return s * a

    def tangent(self, da, s):
        return (s * da.T).T

    def back(self, delta, s):
        return s * delta

    def gradient(self, a, delta):
        return [a * delta]


# What stands in a network's sizes in place of a whole number, which stands for a dense layer
LINKS = {"scale": Scale()}
DENSE = Dense()
