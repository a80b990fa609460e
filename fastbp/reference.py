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

Names may hold a parameter: ``"leaky_relu(0.02)"``; without it the default is taken.
"""

import math
import re

import numpy as np

__all__ = [
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Lion",
    "Network",
    "RMSprop",
    "activation",
    "activation_jacobian",
    "activation_slope",
    "activation_width",
    "cost",
    "cost_gradient",
    "cost_on_z",
    "output_error",
    "train",
]

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
COSTS = {
    "quadratic": None,
    "mse": 1.0,
    "mae": None,
    "huber": 1.0,
    "log_cosh": None,
    "binary_cross_entropy": None,
    "cross_entropy": None,
    "kl": None,
    "hinge": None,
    "squared_hinge": None,
    "poisson": None,
    "pinball": 0.5,
    "gaussian_nll": None,
}
# output activation and cost whose output error is evaluated by a fused formula
CANONICAL = {
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
    ("softmax", "kl"),
    ("exp", "poisson"),
}

LAYER_NORM_EPSILON = 1e-5
SELU_LAMBDA = 1.0507009873554805
SELU_ALPHA = 1.6732632423543772


def _parse(name, table):
    """Split "huber(1.5)" into ("huber", 1.5)."""
    match = re.fullmatch(r"\s*([a-z_]+)\s*(?:\(([^()]*)\))?\s*", name)
    if match is None or match[1] not in table:
        raise ValueError(f"unknown name {name!r}; known: {', '.join(table)}")
    base, text = match.groups()
    if text is None:
        return base, table[base]
    if table[base] is None:
        raise ValueError(f"{base} takes no parameter, got {name!r}")
    try:
        return base, float(text)
    except ValueError:
        raise ValueError(f"the parameter of {name!r} is not a number") from None


def _pieces(parameter):
    """p of maxout(p)."""
    if parameter < 1 or parameter != int(parameter):
        raise ValueError(f"maxout needs a whole number of pieces >= 1, got {parameter}")
    return int(parameter)


def _vector(values, what):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{what} must be 1-D, got shape {values.shape}")
    return values


def _power_above(x):
    """The power of two by which x, divided, has no element above 1 in size."""
    return np.ldexp(1.0, min(1023, int(np.frexp(np.max(np.abs(x)))[1])))


def _norm(x):
    """sqrt(sum x^2), also where squares are too large or too small."""
    unit = _power_above(x)
    return float(unit * np.sqrt(np.sum((x / unit) ** 2)))


# ---------------------------------------------------------------------------------- activations


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


def _log_softmax(z):
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
    unit = max(1.0, _power_above(z))
    x = z / unit - z[0] / unit  # from z_0, or equal numbers might differ from their mean
    x = x - x.mean()
    s = unit * math.hypot(_norm(x) / math.sqrt(len(z)), math.sqrt(LAYER_NORM_EPSILON) / unit)
    return x / (s / unit), s


def _coupled(name, parameter, z):
    """Activation a where a_k depends on more than z_k."""
    if name == "softmax":
        return _softmax(parameter * z)
    if name == "log_softmax":
        return _log_softmax(z)
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


def _parse_activation(name):
    return _parse(name, ELEMENTWISE | COUPLED)


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
    base, parameter = _parse_activation(name)
    if base == "maxout":
        return _pieces(parameter) * n
    if base == "glu":
        return 2 * n
    return n


def _checked_activation(name, z):
    base, parameter = _parse_activation(name)
    z = _vector(z, "z")
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


# ---------------------------------------------------------------------------------------- costs


def _y_log(y, x):
    """y ln x term by term, where y = 0 contributes 0 whatever x is."""
    with np.errstate(divide="ignore"):  # ln 0 = -inf is meant
        return np.array(
            [0.0 if y_k == 0 else y_k * np.log(x_k) for y_k, x_k in zip(y, x, strict=True)]
        )


def _y_times(y, x):
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


def _checked_cost(name, a, y):
    base, parameter = _parse(name, COSTS)
    a, y = _vector(a, "a"), _vector(y, "y")
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
    name, parameter, a, y = _checked_cost(name, a, y)
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
        C = np.array([_log_cosh(r_k) for r_k in r])
    elif name == "binary_cross_entropy":
        C = -_y_log(y, a) - _y_log(1 - y, 1 - a)
    elif name == "cross_entropy":
        C = -_y_log(y, a)
    elif name == "kl":
        C = _y_log(y, y) - _y_log(y, a)
    elif name == "hinge":
        C = np.maximum(0, 1 - y * a)
    elif name == "squared_hinge":
        C = np.maximum(0, 1 - y * a) ** 2
    elif name == "poisson":
        C = a - _y_log(y, a)
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
    name, parameter, a, y = _checked_cost(name, a, y)
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
        return np.tanh(r)
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


# ------------------------------------------------------------------------- cost of z and BP1


def _is_canonical(output_activation, cost_name):
    pair = _parse_activation(output_activation)[0], _parse(cost_name, COSTS)[0]
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
    cost_name, _, _, y = _checked_cost(cost_name, a, y)
    z = _vector(z, "z")
    if cost_name == "binary_cross_entropy":
        C = np.maximum(z, 0) - z * y + np.log1p(np.exp(-np.abs(z)))
    elif cost_name == "cross_entropy":
        c = _parse_activation(output_activation)[1]
        C = -_y_times(y, _log_softmax(c * z))  # summed: lse(cz) sum(y) - y . cz
    elif cost_name == "kl":
        c = _parse_activation(output_activation)[1]
        C = _y_log(y, y) - _y_times(y, _log_softmax(c * z))
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
    _, _, a, y = _checked_cost(cost_name, a, y)
    base, parameter = _parse_activation(output_activation)
    if base == "softmax":
        c = parameter
        return c * (a * np.sum(y) - y)
    return a - y


# -------------------------------------------------------------------------------------- network


def _weights_of_samples(sample_weight, n):
    if sample_weight is None:
        return np.ones(n)
    w = _vector(sample_weight, "sample_weight")
    if len(w) != n:
        raise ValueError(f"{len(w)} sample weights for {n} samples")
    return w / _power_above(w) if w.any() else w  # only their ratios matter


class Network:
    """A feed-forward network evaluated one sample at a time.

    Parameters
    ----------
    sizes : sequence of int
        Numbers of activations n_0 ... n_L.
    activation : str or sequence of str
        Of the hidden layers: one name, or one a layer.
    output : str
        Activation of the last layer.
    loss : str
    parameters : array_like, (n_parameters,)
        W1, b1, W2, b2, ..., each W row-major (n_in, width of z). Copied to float64.

    Examples
    --------
    >>> net = Network([1, 1], "tanh", "identity", "quadratic", [2, 1])
    >>> net.predict([[3]]).tolist()
    [[7.0]]
    >>> net.gradient([[3]], [[5]]).tolist()
    [6.0, 2.0]
    """

    def __init__(self, sizes, activation, output, loss, parameters):
        self.sizes = [int(n) for n in sizes]
        hidden = len(self.sizes) - 2
        if hidden < 0:
            raise ValueError("sizes needs at least an input and an output")
        names = [activation] * hidden if isinstance(activation, str) else list(activation)
        if len(names) != hidden:
            raise ValueError(f"{len(names)} activations for {hidden} hidden layers")
        self.activation_names = [*names, output]
        self.loss_name = loss
        _parse(loss, COSTS)
        self._shapes = [
            (n_in, activation_width(name, n))
            for n_in, n, name in zip(
                self.sizes[:-1], self.sizes[1:], self.activation_names, strict=True
            )
        ]
        self.n_parameters = sum(n_in * width + width for n_in, width in self._shapes)
        self.parameters = _vector(parameters, "parameters").copy()
        if len(self.parameters) != self.n_parameters:
            raise ValueError(f"{self.n_parameters} parameters needed, got {len(self.parameters)}")

    def _split(self, flat):
        """Views of a flat array: list of W (n_in, width of z), list of b (width of z,)."""
        weights, biases, start = [], [], 0
        for n_in, width in self._shapes:
            weights.append(flat[start : start + n_in * width].reshape(n_in, width))
            start += n_in * width
            biases.append(flat[start : start + width])
            start += width
        return weights, biases

    @property
    def weights(self):
        """List of views W, (n_in, width of z)."""
        return self._split(self.parameters)[0]

    @property
    def biases(self):
        """List of views b, (width of z,)."""
        return self._split(self.parameters)[1]

    @property
    def is_weight(self):
        """(n_parameters,) bool: True for an element of a W, False for one of a b."""
        mask = np.zeros(self.n_parameters, dtype=bool)
        for W in self._split(mask)[0]:
            W[...] = True
        return mask

    def _rows(self, values, width, what):
        values = np.asarray(values, dtype=np.float64)
        if values.ndim != 2 or values.shape[1] != width:
            raise ValueError(f"{what} must be (n, {width}), got {values.shape}")
        return values

    def _data(self, X, Y):
        n_targets = self.sizes[-1]
        if self.loss_name == "gaussian_nll":
            n_targets //= 2
        X, Y = self._rows(X, self.sizes[0], "X"), self._rows(Y, n_targets, "Y")
        if len(X) != len(Y):
            raise ValueError(f"{len(X)} rows of X, {len(Y)} of Y")
        return X, Y

    # ---- one sample

    def _masks_of_samples(self, masks, n):
        """For each sample what its a^0, ..., a^{L-1} are multiplied by: ones where no mask is."""
        if masks is None:
            return [[1.0] * (len(self.sizes) - 1)] * n
        return [[mask[s] for mask in masks] for s in range(n)]

    def _feedforward_sample(self, x, mask=None):
        """zs and activations; with `mask` (one factor array for each of a^0 ... a^{L-1})."""
        mask = self._masks_of_samples(None, 1)[0] if mask is None else mask
        zs, activations = [], [x * mask[0]]
        factors = [*mask[1:], 1.0]
        for W, b, name, factor in zip(
            self.weights, self.biases, self.activation_names, factors, strict=True
        ):
            zs.append(activations[-1] @ W + b)
            activations.append(activation(name, zs[-1]) * factor)
        return zs, activations

    def _jacobians_sample(self, x):
        zs, _ = self._feedforward_sample(x)
        return [
            activation_jacobian(name, z) for name, z in zip(self.activation_names, zs, strict=True)
        ]

    def _cost_sample(self, x, y, mask=None):
        z = self._feedforward_sample(x, mask)[0][-1]
        known = ~np.isnan(y)  # a target that is missing has no cost
        if known.all():
            return cost_on_z(self.activation_names[-1], self.loss_name, z, y)
        total = 0.0
        for j in np.nonzero(known)[0]:
            total += self._separable_cost(z[j], y[j])
        return total

    def _separable_cost(self, z_j, y_j):
        """C_j of one of several outputs, each of which depends on its own z alone."""
        one = cost_on_z(self.activation_names[-1], self.loss_name, np.array([z_j]), np.array([y_j]))
        return one / self.sizes[-1] if self.loss_name.startswith("mse") else one

    def _output_error_sample(self, z, y):
        known = ~np.isnan(y)
        if known.all():
            return output_error(self.activation_names[-1], self.loss_name, z, y)
        delta = np.zeros_like(z)
        for j in np.nonzero(known)[0]:
            delta[j : j + 1] = output_error(
                self.activation_names[-1], self.loss_name, z[j : j + 1], y[j : j + 1]
            )
        return delta / self.sizes[-1] if self.loss_name.startswith("mse") else delta

    def _deltas_sample(self, x, y, mask=None):
        mask = self._masks_of_samples(None, 1)[0] if mask is None else mask
        zs, _ = self._feedforward_sample(x, mask)
        deltas = [self._output_error_sample(zs[-1], y)]  # BP1
        for layer in range(len(zs) - 2, -1, -1):
            J = activation_jacobian(self.activation_names[layer], zs[layer])
            g = self.weights[layer + 1] @ deltas[0]
            deltas.insert(0, J.T @ (g * mask[layer + 1]))  # BP2
        return deltas

    def _gradient_sample(self, x, y, mask=None):
        _, activations = self._feedforward_sample(x, mask)
        parts = []
        for a_prev, delta in zip(activations[:-1], self._deltas_sample(x, y, mask), strict=True):
            nabla_W = np.outer(a_prev, delta)  # BP4
            nabla_b = delta  # BP3
            parts += [nabla_W.ravel(), nabla_b]
        return np.concatenate(parts)

    # ---- forward

    def feedforward(self, X):
        """Weighted inputs and activations of every layer.

        Parameters
        ----------
        X : array_like, (n, n_0)

        Returns
        -------
        zs : list of ndarray, (n, width of z_l), l = 1 ... L
        activations : list of ndarray, (n, n_l), l = 0 ... L
            activations[0] is X: one entry more than zs.
        """
        X = self._rows(X, self.sizes[0], "X")
        zs = [np.zeros((len(X), width)) for _, width in self._shapes]
        activations = [np.zeros((len(X), n)) for n in self.sizes]
        for s, x in enumerate(X):
            z_s, a_s = self._feedforward_sample(x)
            for layer, z in enumerate(z_s):
                zs[layer][s] = z
            for layer, a in enumerate(a_s):
                activations[layer][s] = a
        return zs, activations

    def predict(self, X):
        """Activations of the last layer, (n, n_L)."""
        return self.feedforward(X)[1][-1]

    def loss(self, X, Y, sample_weight=None, l2=0.0, l1=0.0, masks=None):
        """sum_s w_s C_s / sum_s w_s + l2/(2n) sum W^2 + l1/n sum |W|.

        Parameters
        ----------
        X : array_like, (n, n_0)
        Y : array_like, (n, n_L), or (n, n_L / 2) for gaussian_nll
            NaN where an output has no target: it has no cost (elementwise outputs only).
        sample_weight : array_like, (n,), optional
            If it sums to 0 the first term is 0.
        l2, l1 : float
            Biases are not regularised; n is the number of rows of X.
        masks : list of array_like, (n, n_l) for l = 0 ... L - 1, optional
            Dropout: what a^l of each sample is multiplied by, 0 or 1 / (1 - rate).

        Returns
        -------
        float
        """
        X, Y = self._data(X, Y)
        w = _weights_of_samples(sample_weight, len(X))
        total = 0.0
        for x, y, w_s, mask in zip(X, Y, w, self._masks_of_samples(masks, len(X)), strict=True):
            total += w_s * self._cost_sample(x, y, mask)
        mean = total / w.sum() if w.sum() != 0 else 0.0
        sum_of_squares = sum(np.sum(W**2) for W in self.weights)
        sum_of_moduli = sum(np.sum(np.abs(W)) for W in self.weights)
        return float(mean + l2 / (2 * len(X)) * sum_of_squares + l1 / len(X) * sum_of_moduli)

    # ---- derivatives

    def deltas(self, X, Y, masks=None):
        """Per-sample errors delta^l = dC_s/dz^l: list of (n, width of z_l), l = 1 ... L."""
        X, Y = self._data(X, Y)
        deltas = [np.zeros((len(X), width)) for _, width in self._shapes]
        masks = self._masks_of_samples(masks, len(X))
        for s, (x, y, mask) in enumerate(zip(X, Y, masks, strict=True)):
            for layer, delta in enumerate(self._deltas_sample(x, y, mask)):
                deltas[layer][s] = delta
        return deltas

    def _data_gradient(self, X, Y, w, masks):
        """sum_s w_s grad C_s / sum_s w_s; zero if the weights sum to 0."""
        total = np.zeros(self.n_parameters)
        if w.sum() == 0:
            return total
        for x, y, w_s, mask in zip(X, Y, w, masks, strict=True):
            total += w_s * self._gradient_sample(x, y, mask)
        return total / w.sum()

    def _regularization_gradient(self, l2, l1, n):
        """(l2/n) W + (l1/n) sign(W) for weights, 0 for biases; flat."""
        nabla = np.zeros(self.n_parameters)
        for nabla_W, W in zip(self._split(nabla)[0], self.weights, strict=True):
            nabla_W[...] = l2 / n * W + l1 / n * np.sign(W)
        return nabla

    def gradient(self, X, Y, sample_weight=None, l2=0.0, l1=0.0, masks=None):
        """Gradient of `loss` by the parameters, (n_parameters,), in their layout."""
        X, Y = self._data(X, Y)
        w = _weights_of_samples(sample_weight, len(X))
        nabla = self._data_gradient(X, Y, w, self._masks_of_samples(masks, len(X)))
        return nabla + self._regularization_gradient(l2, l1, len(X))

    def input_gradient(self, X, Y):
        """dC_s/dx of each sample, (n, n_0)."""
        X, Y = self._data(X, Y)
        result = np.zeros_like(X)
        for s, (x, y) in enumerate(zip(X, Y, strict=True)):
            result[s] = self.weights[0] @ self._deltas_sample(x, y)[0]
        return result

    def jacobian(self, X):
        """da^L/dx of each sample, (n, n_L, n_0)."""
        X = self._rows(X, self.sizes[0], "X")
        result = np.zeros((len(X), self.sizes[-1], self.sizes[0]))
        for s, x in enumerate(X):
            product = np.eye(self.sizes[0])
            for W, J in zip(self.weights, self._jacobians_sample(x), strict=True):
                product = J @ W.T @ product
            result[s] = product
        return result

    def vjp(self, X, V):
        """v^T da^L/dx of each sample: V is (n, n_L), the result (n, n_0)."""
        X, V = self._rows(X, self.sizes[0], "X"), self._rows(V, self.sizes[-1], "V")
        if len(X) != len(V):
            raise ValueError(f"{len(X)} rows of X, {len(V)} of V")
        result = np.zeros_like(X)
        for s, (x, v) in enumerate(zip(X, V, strict=True)):
            for W, J in zip(self.weights[::-1], self._jacobians_sample(x)[::-1], strict=True):
                v = W @ (J.T @ v)
            result[s] = v
        return result

    def jvp(self, X, V):
        """(da^L/dx) v of each sample: V is (n, n_0), the result (n, n_L)."""
        X, V = self._rows(X, self.sizes[0], "X"), self._rows(V, self.sizes[0], "V")
        if len(X) != len(V):
            raise ValueError(f"{len(X)} rows of X, {len(V)} of V")
        result = np.zeros((len(X), self.sizes[-1]))
        for s, (x, v) in enumerate(zip(X, V, strict=True)):
            for W, J in zip(self.weights, self._jacobians_sample(x), strict=True):
                v = J @ (W.T @ v)
            result[s] = v
        return result


# ----------------------------------------------------------------------------------- optimizers


class SGD:
    """Stochastic gradient descent, with momentum in PyTorch's form.

    v = momentum v + g; W = W - learning_rate v, or with nesterov
    W = W - learning_rate (g + momentum v). v starts at 0, so the first v is g.

    Examples
    --------
    >>> SGD(0.5).step(np.array([1.0]), np.array([3.0])).tolist()
    [-0.5]
    """

    def __init__(self, learning_rate, momentum=0.0, nesterov=False):
        self.learning_rate = learning_rate
        self.momentum = momentum
        self.nesterov = nesterov
        self.v = 0.0

    def step(self, parameters, gradient, is_weight=None):
        """Parameters after one step, (n_parameters,); the arguments are not changed."""
        self.v = self.momentum * self.v + gradient
        direction = gradient + self.momentum * self.v if self.nesterov else self.v
        return parameters - self.learning_rate * direction


class Adam:
    """Adam in PyTorch's form: epsilon is added to the root of the corrected second moment.

    Examples
    --------
    >>> Adam(0.5).step(np.array([1.0]), np.array([3.0])).round(6).tolist()
    [0.5]
    """

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.epsilon = epsilon
        self.t = 0
        self.m = 0.0
        self.v = 0.0

    def step(self, parameters, gradient, is_weight=None):
        """Parameters after one step, (n_parameters,); the arguments are not changed."""
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * gradient
        self.v = self.beta2 * self.v + (1 - self.beta2) * gradient**2
        m_hat = self.m / (1 - self.beta1**self.t)
        v_hat = self.v / (1 - self.beta2**self.t)
        return parameters - self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)


class AdamW(Adam):
    """Adam with decoupled weight decay: first W = W (1 - learning_rate weight_decay), then Adam.

    The decay is for weights only: PyTorch decays whatever it is given, this project no biases.

    Examples
    --------
    >>> AdamW(0.5, weight_decay=0.1).step(
    ...     np.array([1.0, 1.0]), np.zeros(2), is_weight=np.array([True, False])
    ... ).tolist()
    [0.95, 1.0]
    """

    def __init__(
        self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8, weight_decay=0.01
    ):
        super().__init__(learning_rate, beta1, beta2, epsilon)
        self.weight_decay = weight_decay

    def step(self, parameters, gradient, is_weight):
        """Parameters after one step; is_weight is bool, (n_parameters,): False for biases."""
        decayed = parameters * (1 - self.learning_rate * self.weight_decay)
        return super().step(np.where(is_weight, decayed, parameters), gradient)


class AMSGrad(Adam):
    """Adam with the largest second moment so far in the place of the second moment.

    Examples
    --------
    >>> adam, amsgrad = Adam(0.5, beta2=0.5), AMSGrad(0.5, beta2=0.5)
    >>> for g in (np.array([3.0]), np.array([1.0])):
    ...     a, b = adam.step(0.0, g), amsgrad.step(0.0, g)
    >>> bool(abs(b[0]) < abs(a[0]))
    True
    """

    def __init__(self, learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-8):
        super().__init__(learning_rate, beta1, beta2, epsilon)
        self.largest = 0.0

    def step(self, parameters, gradient, is_weight=None):
        """Parameters after one step, (n_parameters,); the arguments are not changed."""
        self.t += 1
        self.m = self.beta1 * self.m + (1 - self.beta1) * gradient
        self.v = self.beta2 * self.v + (1 - self.beta2) * gradient**2
        self.largest = np.maximum(self.largest, self.v)
        m_hat = self.m / (1 - self.beta1**self.t)
        v_hat = self.largest / (1 - self.beta2**self.t)
        return parameters - self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)


class RMSprop:
    """RMSprop in PyTorch's form: epsilon is added to the root.

    Examples
    --------
    >>> RMSprop(0.5, alpha=0.75).step(np.array([1.0]), np.array([3.0])).round(6).tolist()
    [0.0]
    """

    def __init__(self, learning_rate=0.01, alpha=0.99, epsilon=1e-8, momentum=0.0, centered=False):
        self.learning_rate = learning_rate
        self.alpha = alpha
        self.epsilon = epsilon
        self.momentum = momentum
        self.centered = centered
        self.squares = 0.0
        self.mean = 0.0
        self.velocity = 0.0

    def step(self, parameters, gradient, is_weight=None):
        """Parameters after one step, (n_parameters,); the arguments are not changed."""
        self.squares = self.alpha * self.squares + (1 - self.alpha) * gradient**2
        self.mean = self.alpha * self.mean + (1 - self.alpha) * gradient
        variance = self.squares - self.mean**2 if self.centered else self.squares
        direction = gradient / (np.sqrt(np.maximum(variance, 0.0)) + self.epsilon)
        self.velocity = self.momentum * self.velocity + direction
        return parameters - self.learning_rate * self.velocity


class Adagrad:
    """Adagrad in PyTorch's form, its learning rate falling as 1 / (1 + (t - 1) lr_decay).

    Examples
    --------
    >>> Adagrad(0.5).step(np.array([1.0]), np.array([3.0])).round(6).tolist()
    [0.5]
    """

    def __init__(
        self, learning_rate=0.01, lr_decay=0.0, initial_accumulator_value=0.0, epsilon=1e-10
    ):
        self.learning_rate = learning_rate
        self.lr_decay = lr_decay
        self.total = initial_accumulator_value
        self.epsilon = epsilon
        self.t = 0

    def step(self, parameters, gradient, is_weight=None):
        """Parameters after one step, (n_parameters,); the arguments are not changed."""
        self.t += 1
        rate = self.learning_rate / (1 + (self.t - 1) * self.lr_decay)
        self.total = self.total + gradient**2
        return parameters - rate * gradient / (np.sqrt(self.total) + self.epsilon)


class Adadelta:
    """Adadelta: steps as large, in the mean, as the last ones.

    Examples
    --------
    >>> Adadelta(1.0, rho=0.0, epsilon=1.0).step(np.array([1.0]), np.zeros(1)).tolist()
    [1.0]
    """

    def __init__(self, learning_rate=1.0, rho=0.9, epsilon=1e-6):
        self.learning_rate = learning_rate
        self.rho = rho
        self.epsilon = epsilon
        self.squares = 0.0
        self.steps = 0.0

    def step(self, parameters, gradient, is_weight=None):
        """Parameters after one step, (n_parameters,); the arguments are not changed."""
        self.squares = self.rho * self.squares + (1 - self.rho) * gradient**2
        ratio = (self.steps + self.epsilon) / (self.squares + self.epsilon)
        direction = np.sqrt(ratio) * gradient
        self.steps = self.rho * self.steps + (1 - self.rho) * direction**2
        return parameters - self.learning_rate * direction


class Lion:
    """Lion (Chen et al. 2023, algorithm 2); weights decay, biases do not.

    Examples
    --------
    >>> Lion(0.5).step(np.array([1.0, 1.0]), np.array([3.0, 0.0]), np.ones(2, bool)).tolist()
    [0.5, 1.0]
    """

    def __init__(self, learning_rate=1e-4, beta1=0.9, beta2=0.99, weight_decay=0.0):
        self.learning_rate = learning_rate
        self.beta1 = beta1
        self.beta2 = beta2
        self.weight_decay = weight_decay
        self.m = 0.0

    def step(self, parameters, gradient, is_weight):
        """Parameters after one step; is_weight is bool, (n_parameters,): False for biases."""
        c = self.beta1 * self.m + (1 - self.beta1) * gradient
        decay = self.weight_decay * np.where(is_weight, parameters, 0.0)
        self.m = self.beta2 * self.m + (1 - self.beta2) * gradient
        return parameters - self.learning_rate * (np.sign(c) + decay)


def clipped(gradient, clip_value=np.inf, clip_norm=np.inf):
    """The gradient with no element above clip_value, then scaled to a norm of clip_norm at most.

    Examples
    --------
    >>> clipped(np.array([3.0, -4.0]), clip_value=3.5).tolist()
    [3.0, -3.5]
    >>> clipped(np.array([3.0, -4.0]), clip_norm=0.5).round(4).tolist()
    [0.3, -0.4]
    """
    gradient = np.clip(gradient, -clip_value, clip_value)
    norm = _norm(gradient)
    return gradient * min(1.0, clip_norm / (norm + 1e-6))


def train(
    network,
    X,
    Y,
    orders,
    batch_size,
    optimizer,
    sample_weight=None,
    l2=0.0,
    l1=0.0,
    clip_value=np.inf,
    clip_norm=np.inf,
    masks=None,
):
    """Train by mini-batches taken in given orders; changes network.parameters.

    Parameters
    ----------
    network : Network
    X : array_like, (n, n_0)
    Y : array_like, (n, n_L), or (n, n_L / 2) for gaussian_nll
    orders : sequence of int arrays, (n,)
        One permutation of the rows an epoch.
    batch_size : int
        Rows a step; the last batch of an epoch may be shorter.
    optimizer : object with step(parameters, gradient, is_weight)
    sample_weight : array_like, (n,), optional
        A batch gradient is sum w_s grad_s / sum w_s, or 0 if the batch's weights sum to 0
        (the optimizer steps all the same).
    l2, l1 : float
        Add (l2/n) W + (l1/n) sign(W) to each batch gradient, n the number of rows of X.
    clip_value, clip_norm : float
        As `clipped` has it, after the penalties.
    masks : callable (step, rows) -> masks as in `Network.gradient`, optional
        Dropout of step 0, 1, ... of that many rows.

    Returns
    -------
    list of float
        For each epoch sum_s w_s C_s / sum_s w_s, C_s taken before the update of its batch,
        without regularisation.
    """
    X, Y = network._data(X, Y)
    n = len(X)
    w = _weights_of_samples(sample_weight, n)
    losses, step = [], 0
    for order in orders:
        order = np.asarray(order)
        if not np.array_equal(np.sort(order), np.arange(n)):
            raise ValueError(f"an order is not a permutation of {n} rows")
        total = 0.0
        for start in range(0, n, batch_size):
            batch = order[start : start + batch_size]
            of_batch = network._masks_of_samples(masks and masks(step, len(batch)), len(batch))
            step += 1
            for s, mask in zip(batch, of_batch, strict=True):
                total += w[s] * network._cost_sample(X[s], Y[s], mask)
            gradient = network._data_gradient(X[batch], Y[batch], w[batch], of_batch)
            gradient += network._regularization_gradient(l2, l1, n)
            gradient = clipped(gradient, clip_value, clip_norm)
            network.parameters = optimizer.step(network.parameters, gradient, network.is_weight)
        losses.append(float(total / w.sum()) if w.sum() != 0 else 0.0)
    return losses
