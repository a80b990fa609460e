"""Costs C(a, y) of one sample, and their gradients g = dC/da.

What belongs here: a formula for each kind. What does not: activations, and costs by way of z
(output.py).
"""

import math

import numpy as np

from fastbp.reference.numbers import parse, vector

COSTS = {
    "quadratic": None,
    "mse": 1.0,
    "mae": None,
    "huber": 1.0,
    "log_cosh": 1.0,
    "binary_cross_entropy": None,
    "cross_entropy": None,
    "kl": None,
    "hinge": None,
    "squared_hinge": None,
    "poisson": None,
    "pinball": 0.5,
    "gaussian_nll": None,
}


def y_log(y, x):
    """y ln x term by term, where y = 0 contributes 0 whatever x is."""
    with np.errstate(divide="ignore"):  # ln 0 = -inf is meant
        return np.array(
            [0.0 if y_k == 0 else y_k * np.log(x_k) for y_k, x_k in zip(y, x, strict=True)]
        )


def y_times(y, x):
    """y x term by term, where y = 0 contributes 0 whatever x is."""
    return np.array([0.0 if y_k == 0 else y_k * x_k for y_k, x_k in zip(y, x, strict=True)])


def _y_over(y, x):
    """y / x term by term, where y = 0 contributes 0 whatever x is."""
    with np.errstate(divide="ignore", over="ignore"):  # y / 0 = inf is meant
        return np.array([0.0 if y_k == 0 else y_k / x_k for y_k, x_k in zip(y, x, strict=True)])


def _log_cosh(r):
    # ln cosh r = ln(1 + 2 sinh^2(r/2)) keeps its digits near 0, the other form far away
    if abs(r) < 1:
        return math.log1p(2 * math.sinh(r / 2) ** 2)
    return abs(r) + math.log1p(math.exp(-2 * abs(r))) - math.log(2)


def _scaled_residual(r, s, quarters):
    """r e^(-s quarters/4): factor by factor, of which one alone may be infinite; 0 where r is."""
    with np.errstate(over="ignore"):  # infinity is meant
        quarter = np.where(r == 0, 0.0, np.exp(-s / 4))
        for _ in range(quarters):
            r = r * quarter
    return r


def checked_cost(name, a, y):
    base, parameter = parse(name, COSTS)
    a, y = vector(a, "a"), vector(y, "y")
    expected = 2 * len(y) if base == "gaussian_nll" else len(y)
    if len(a) != expected or len(a) == 0:
        raise ValueError(f"{name}: {len(a)} outputs do not fit {len(y)} targets")
    return base, parameter, a, y


def cost(name, a, y):
    """Cost C of one sample, summed over the outputs (mse: their mean, times its parameter).

    Parameters
    ----------
    name : str
    a : array_like, (n,)
        gaussian_nll: the means followed by the logarithms of the variances, (2 m,).
    y : array_like, (n,)
        gaussian_nll: (m,). hinge and squared_hinge: -1 or 1.

    Returns
    -------
    float

    Examples
    --------
    >>> cost("quadratic", [1, 2], [0, 0])
    2.5
    """
    name, parameter, a, y = checked_cost(name, a, y)
    if name == "gaussian_nll":
        mu, s = a[: len(y)], a[len(y) :]
        return float(np.sum(0.5 * (s + _scaled_residual(mu - y, s, 2) ** 2)))
    r = a - y
    if name == "quadratic":
        C = 0.5 * r**2
    elif name == "mse":
        C = r * (parameter / len(r) * r)
    elif name == "mae":
        C = np.abs(r)
    elif name == "huber":
        d = parameter
        C = np.where(np.abs(r) <= d, 0.5 * r**2, d * (np.abs(r) - d / 2))
    elif name == "log_cosh":
        C = parameter**2 * np.array([_log_cosh(r_k / parameter) for r_k in r])
    elif name == "binary_cross_entropy":
        C = -y_log(y, a) - y_log(1 - y, 1 - a)
    elif name == "cross_entropy":
        C = -y_log(y, a)
    elif name == "kl":
        C = y_log(y, y) - y_log(y, a)
    elif name == "hinge":
        C = np.maximum(0, 1 - y * a)
    elif name == "squared_hinge":
        C = np.maximum(0, 1 - y * a) ** 2
    elif name == "poisson":
        C = a - y_log(y, a)
    elif name == "pinball":
        tau = parameter
        C = np.maximum(tau * (y - a), (tau - 1) * (y - a))
    else:
        raise AssertionError(name)
    return float(np.sum(C))


def cost_gradient(name, a, y):
    """Gradient g = dC/da of one sample.

    At a kink: mae and pinball give 0 at a = y, hinge gives 0 at y a = 1.

    Parameters
    ----------
    name : str
    a, y : array_like
        As for `cost`.

    Returns
    -------
    ndarray, the shape of a

    Examples
    --------
    >>> cost_gradient("pinball(0.25)", [0, 1, 2], [1, 1, 1]).tolist()
    [-0.25, 0.0, 0.75]
    """
    name, parameter, a, y = checked_cost(name, a, y)
    if name == "gaussian_nll":
        mu, s = a[: len(y)], a[len(y) :]
        g_mu = _scaled_residual(mu - y, s, 4)
        g_s = 0.5 * (1 - _scaled_residual(mu - y, s, 2) ** 2)
        return np.concatenate([g_mu, g_s])
    r = a - y
    if name == "quadratic":
        return r
    if name == "mse":
        return parameter * 2 * r / len(r)
    if name == "mae":
        return np.sign(r)
    if name == "huber":
        d = parameter
        return np.clip(r, -d, d)
    if name == "log_cosh":
        return parameter * np.tanh(r / parameter)
    if name == "binary_cross_entropy":
        # r / (a (1 - a)); with a label y = 0 or 1 one factor cancels, which also gives the
        # limit at a = y
        with np.errstate(divide="ignore", over="ignore"):
            denominator = np.where(y == 0, 1 - a, np.where(y == 1, a, a * (1 - a)))
            numerator = np.where(y == 0, 1.0, np.where(y == 1, -1.0, r))
            return numerator / denominator
    if name == "cross_entropy":
        return -_y_over(y, a)
    if name == "kl":
        return -_y_over(y, a)
    if name == "hinge":
        return np.where(y * a < 1, -y, 0.0)
    if name == "squared_hinge":
        return -2 * y * np.maximum(0, 1 - y * a)
    if name == "poisson":
        return 1 - _y_over(y, a)
    if name == "pinball":
        tau = parameter
        return np.where(a < y, -tau, np.where(a > y, 1 - tau, 0.0))
    raise AssertionError(name)
