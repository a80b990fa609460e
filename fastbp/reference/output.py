"""The last layer: the cost as a function of z, and the output error delta^L = dC/dz^L (BP1).

What belongs here: activation and cost together, also where a fused formula keeps the digits that
going by way of a would lose. What does not: each of them alone, hidden layers.
"""

import numpy as np

from fastbp.reference.activations import (
    activation,
    activation_jacobian,
    log_softmax,
    parse_activation,
)
from fastbp.reference.costs import COSTS, checked_cost, cost, cost_gradient, y_log, y_times
from fastbp.reference.numbers import parse, vector

# output activation and cost whose output error is evaluated by a fused formula
CANONICAL = {
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
    ("softmax", "kl"),
    ("exp", "poisson"),
}


def _is_canonical(output_activation, cost_name):
    pair = parse_activation(output_activation)[0], parse(cost_name, COSTS)[0]
    return pair in CANONICAL


def cost_on_z(output_activation, cost_name, z, y, *, general=False):
    """Cost C(sigma(z), y) of one sample.

    The canonical pairs (sigmoid + binary_cross_entropy, softmax + cross_entropy, softmax + kl,
    exp + poisson) are evaluated from z, finite where a has rounded to 0 or 1.

    Parameters
    ----------
    output_activation, cost_name : str
    z : array_like, (width of z,)
    y : array_like, (n,)
    general : bool
        True: always by way of a.

    Returns
    -------
    float

    Examples
    --------
    >>> cost_on_z("softmax", "cross_entropy", [0, 700], [1, 0])
    700.0
    """
    a = activation(output_activation, z)
    if general or not _is_canonical(output_activation, cost_name):
        return cost(cost_name, a, y)
    cost_name, _, _, y = checked_cost(cost_name, a, y)
    z = vector(z, "z")
    if cost_name == "binary_cross_entropy":
        C = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    elif cost_name == "cross_entropy":
        c = parse_activation(output_activation)[1]
        C = -y_times(y, log_softmax(c * z))  # summed: lse(cz) sum(y) - y . cz
    elif cost_name == "kl":
        c = parse_activation(output_activation)[1]
        C = y_log(y, y) - y_times(y, log_softmax(c * z))
    elif cost_name == "poisson":
        C = np.exp(z) - y * z
    else:
        raise AssertionError(cost_name)
    return float(np.sum(C))


def output_error(output_activation, cost_name, z, y, *, general=False):
    """Output error delta^L = dC/dz^L of one sample (BP1).

    delta = J^T g, except for the canonical pairs, which use the fused formulas a - y and
    c (a sum(y) - y) for softmax(c).

    Parameters
    ----------
    output_activation, cost_name : str
    z : array_like, (width of z,)
    y : array_like, (n,)
    general : bool
        True: always J^T g.

    Returns
    -------
    ndarray, (width of z,)

    Examples
    --------
    >>> output_error("softmax", "quadratic", [1, 2, 3], [0, 0, 1]).round(6).tolist()
    [0.022033, 0.097751, -0.119784]
    """
    a = activation(output_activation, z)
    if general or not _is_canonical(output_activation, cost_name):
        J = activation_jacobian(output_activation, z)
        g = cost_gradient(cost_name, a, y)
        return J.T @ g
    _, _, a, y = checked_cost(cost_name, a, y)
    base, parameter = parse_activation(output_activation)
    if base == "softmax":
        c = parameter
        return c * (a * np.sum(y) - y)
    return a - y
