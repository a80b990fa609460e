"""Activations a = sigma(z) of one sample, and their Jacobians J[k, j] = da_k/dz_j.

What belongs here: a formula for each kind. What does not: costs, sums over layers.
"""

import math

import numpy as np

from fastbp.reference.numbers import norm, parse, power_above, vector

# name -> default parameter (None: the name takes no parameter)
ELEMENTWISE = {
    "identity": None,
    "sigmoid": None,
    "tanh": None,
    "relu": None,
    "leaky_relu": 0.01,
    "elu": 1.0,
    "selu": None,
    "gelu": None,
    "gelu_tanh": None,
    "silu": None,
    "mish": None,
    "softplus": None,
    "softsign": None,
    "hardtanh": None,
    "exp": None,
}
COUPLED = {
    "softmax": 1.0,
    "log_softmax": None,
    "layer_norm": 1.0,
    "maxout": 2.0,
    "glu": None,
}

LAYER_NORM_EPSILON = 1e-5
SELU_LAMBDA = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


def _pieces(parameter):
    """p of maxout(p)."""
    if parameter < 1 or parameter != int(parameter):
        raise ValueError(f"maxout needs a whole number of pieces >= 1, got {parameter}")
    return int(parameter)


def _sigmoid(z):
    e = np.exp(-np.abs(z))
    return np.where(z >= 0, 1 / (1 + e), e / (1 + e))


def _sigmoid_prime(z):
    # not a(1 - a), which rounds to 0 at z = 40
    e = np.exp(-np.abs(z))
    return e / (1 + e) ** 2


def _tanh_prime(z):
    # not 1 - a^2, which rounds to 0 at z = 20
    e = np.exp(-2 * np.abs(z))
    return 4 * e / (1 + e) ** 2


def _softplus(z):
    return np.maximum(z, 0) + np.log1p(np.exp(-np.abs(z)))


def _elementwise(name, parameter, z):
    """sigma(z) and sigma'(z), each of the shape of z."""
    one = np.ones_like(z)
    if name == "identity":
        return z.copy(), one
    if name == "sigmoid":
        return _sigmoid(z), _sigmoid_prime(z)
    if name == "tanh":
        return np.tanh(z), _tanh_prime(z)
    if name == "relu":
        return np.maximum(0.0, z), np.where(z > 0, 1.0, 0.0)
    if name == "leaky_relu":
        alpha = parameter
        return np.where(z > 0, z, alpha * z), np.where(z > 0, 1.0, alpha)
    if name == "elu":
        alpha = parameter
        below = np.minimum(z, 0)  # e^z of the branch not taken would overflow
        a = np.where(z > 0, z, alpha * np.expm1(below))
        return a, np.where(z > 0, 1.0, alpha * np.exp(below))
    if name == "selu":
        a, sigma_prime = _elementwise("elu", SELU_ALPHA, z)
        return SELU_LAMBDA * a, SELU_LAMBDA * sigma_prime
    if name == "gelu":
        Phi = np.array([0.5 * math.erfc(-z_j / math.sqrt(2)) for z_j in z])
        phi = np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
        return z * Phi, Phi + z * phi
    if name == "gelu_tanh":
        u = math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)
        u_prime = math.sqrt(2 / math.pi) * (1 + 0.134145 * z**2)
        s, s_prime = _sigmoid(2 * u), _sigmoid_prime(2 * u)
        # where s' is 0, z u' may be infinite
        return z * s, s + np.where(s_prime > 0, 2 * z * u_prime, 0.0) * s_prime
    if name == "silu":
        return z * _sigmoid(z), _sigmoid(z) * (1 + z * _sigmoid(-z))
    if name == "mish":
        t = np.tanh(_softplus(z))
        return z * t, t + z * _tanh_prime(_softplus(z)) * _sigmoid(z)
    if name == "softplus":
        return _softplus(z), _sigmoid(z)
    if name == "softsign":
        return z / (1 + np.abs(z)), 1 / (1 + np.abs(z)) ** 2
    if name == "hardtanh":
        return np.clip(z, -1, 1), np.where(np.abs(z) < 1, 1.0, 0.0)
    if name == "exp":
        return np.exp(z), np.exp(z)
    raise AssertionError(name)


def _softmax(z):
    e = np.exp(z - z.max())
    return e / e.sum()


def log_softmax(z):
    # z - lse(z). The largest term of the sum is e^0 = 1; taking it out keeps the digits of the
    # result where that output is nearly certain.
    largest = np.argmax(z)
    others = np.delete(np.exp(z - z[largest]), largest).sum()
    return (z - z[largest]) - math.log1p(others)


def _sum_of_others(a):
    """For each k the sum of a_j over j != k: 1 - a_k without cancellation if a sums to 1."""
    return np.where(np.eye(len(a), dtype=bool), 0.0, a).sum(axis=1)


def _standardised(z):
    """x = (z - mean z) / s and s = sqrt(var z + epsilon), of which no part is too large."""
    unit = max(1.0, power_above(z))
    x = z / unit - z[0] / unit  # from z_0, or equal numbers might differ from their mean
    x = x - x.mean()
    s = unit * math.hypot(norm(x) / math.sqrt(len(z)), math.sqrt(LAYER_NORM_EPSILON) / unit)
    return x / (s / unit), s


def _coupled(name, parameter, z):
    """Activation a where a_k depends on more than z_k."""
    if name == "softmax":
        return _softmax(parameter * z)
    if name == "log_softmax":
        return log_softmax(z)
    if name == "layer_norm":
        return parameter * _standardised(z)[0]
    if name == "maxout":
        return z.reshape(-1, _pieces(parameter)).max(axis=1)
    if name == "glu":
        u, v = np.split(z, 2)
        return u * _sigmoid(v)
    raise AssertionError(name)


def _coupled_jacobian(name, parameter, z):
    """Jacobian J[k, j] = da_k/dz_j of those."""
    if name == "softmax":
        c = parameter
        a = _softmax(c * z)
        J = -c * np.outer(a, a)
        np.fill_diagonal(J, c * a * _sum_of_others(a))  # c a_k (1 - a_k)
        return J
    if name == "log_softmax":
        p = _softmax(z)
        J = -np.outer(np.ones(len(z)), p)
        np.fill_diagonal(J, _sum_of_others(p))  # 1 - p_k
        return J
    if name == "layer_norm":
        gamma, n = parameter, len(z)
        x_hat, s = _standardised(z)
        return gamma / s * (np.eye(n) - 1 / n - np.outer(x_hat, x_hat) / n)
    if name == "maxout":
        p = _pieces(parameter)
        J = np.zeros((len(z) // p, len(z)))
        for k in range(len(J)):
            winner = k * p + np.argmax(z[k * p : (k + 1) * p])  # a tie: the first
            J[k, winner] = 1
        return J
    if name == "glu":
        u, v = np.split(z, 2)
        return np.hstack([np.diag(_sigmoid(v)), np.diag(u * _sigmoid_prime(v))])
    raise AssertionError(name)


def parse_activation(name):
    return parse(name, ELEMENTWISE | COUPLED)


def activation_width(name, n):
    """Width of z for n activations.

    Parameters
    ----------
    name : str
    n : int
        Number of activations.

    Returns
    -------
    int
        p * n for maxout(p), 2 * n for glu, else n.

    Examples
    --------
    >>> activation_width("maxout(3)", 4)
    12
    """
    base, parameter = parse_activation(name)
    if base == "maxout":
        return _pieces(parameter) * n
    if base == "glu":
        return 2 * n
    return n


def _checked_activation(name, z):
    base, parameter = parse_activation(name)
    z = vector(z, "z")
    group = activation_width(name, 1)
    if len(z) == 0 or len(z) % group:
        raise ValueError(f"{name} needs a positive multiple of {group} values, got {len(z)}")
    return base, parameter, z


def activation(name, z):
    """Activation a = sigma(z) of one sample.

    Parameters
    ----------
    name : str
    z : array_like, (width of z,)

    Returns
    -------
    ndarray, (n,)

    Examples
    --------
    >>> activation("maxout(2)", [1, 4, 3, 2]).tolist()
    [4.0, 3.0]
    """
    base, parameter, z = _checked_activation(name, z)
    if base in ELEMENTWISE:
        return _elementwise(base, parameter, z)[0]
    return _coupled(base, parameter, z)


def activation_jacobian(name, z):
    """Full Jacobian J[k, j] = da_k/dz_j, also where it is diagonal.

    At a kink: relu' = 1[z > 0], leaky_relu'(0) = alpha, elu'(0) = alpha, hardtanh' = 1[|z| < 1];
    maxout takes the first of equal pieces.

    Parameters
    ----------
    name : str
    z : array_like, (width of z,)

    Returns
    -------
    ndarray, (n, width of z)

    Examples
    --------
    >>> activation_jacobian("relu", [1, 0]).tolist()
    [[1.0, 0.0], [0.0, 0.0]]
    """
    base, parameter, z = _checked_activation(name, z)
    if base in ELEMENTWISE:
        return np.diag(_elementwise(base, parameter, z)[1])
    return _coupled_jacobian(base, parameter, z)


def activation_slope(name, z):
    """Diagonal sigma'(z) of the Jacobian of an elementwise activation; None for a coupled one.

    Parameters
    ----------
    name : str
    z : array_like, (n,)

    Returns
    -------
    ndarray, (n,), or None

    Examples
    --------
    >>> activation_slope("softsign", [0, 1, -3]).tolist()
    [1.0, 0.25, 0.0625]
    >>> activation_slope("softmax", [0, 1]) is None
    True
    """
    base, parameter, z = _checked_activation(name, z)
    return _elementwise(base, parameter, z)[1] if base in ELEMENTWISE else None
