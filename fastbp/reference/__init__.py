"""The oracle: backpropagation in plain NumPy, float64, one sample at a time, slow and obvious.

Compiled code is compared with this module, so it must never import the engine, nor any other part
of fastbp, nor share code with them: a common mistake would then confirm itself. Only NumPy and the
standard library are used, and each line can be held against the textbook's formula.

Notation: ``W, b`` weights and biases, ``z`` weighted inputs, ``a`` activations, ``y`` target,
``g = dC/da``, ``J[k, j] = da_k/dz_j``, ``delta = dC/dz``. Vectors are 1-D; a layer computes
``z = a_prev W + b`` with ``W`` of shape (n_in, width of z). The four equations::

    BP1  delta^L = J_L^T g
    BP2  delta^l = J_l^T (W^{l+1} delta^{l+1})
    BP3  nabla_b = delta
    BP4  nabla_W = outer(a_prev, delta)

A layer that scales, ``"scale"`` among the sizes, has ``z = s * a_prev`` (elementwise) in its place:
links.py.

Names may hold a parameter: ``"leaky_relu(0.02)"``; without it the default is taken.
"""

from fastbp.reference import optimizers
from fastbp.reference.activations import (
    COUPLED,
    ELEMENTWISE,
    LAYER_NORM_EPSILON,
    activation,
    activation_jacobian,
    activation_slope,
    activation_width,
)
from fastbp.reference.costs import COSTS, cost, cost_gradient
from fastbp.reference.network import Network
from fastbp.reference.optimizers import *  # noqa: F403 (one class a kind, listed there)
from fastbp.reference.output import CANONICAL, cost_on_z, output_error
from fastbp.reference.training import clipped, train

__all__ = [
    "CANONICAL",
    "COSTS",
    "COUPLED",
    "ELEMENTWISE",
    "LAYER_NORM_EPSILON",
    "Network",
    "activation",
    "activation_jacobian",
    "activation_slope",
    "activation_width",
    "clipped",
    "cost",
    "cost_gradient",
    "cost_on_z",
    "output_error",
    "train",
    *optimizers.__all__,
]
