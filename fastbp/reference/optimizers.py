"""Optimizers: what a step makes of parameters and their gradient.

What belongs here: a class for each kind, with `step(parameters, gradient, is_weight)`. What does
not: where the gradient comes from, clipping (training.py).
"""

import numpy as np

__all__ = ["SGD", "AMSGrad", "Adadelta", "Adagrad", "Adam", "AdamW", "Lion", "RMSprop"]


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
        """Parameters after one step; is_weight (n_parameters,): False for biases, or a factor."""
        decay = self.learning_rate * self.weight_decay * is_weight
        return super().step(parameters * (1 - decay), gradient)


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
        """Parameters after one step; is_weight (n_parameters,): False for biases, or a factor."""
        c = self.beta1 * self.m + (1 - self.beta1) * gradient
        decay = self.weight_decay * (is_weight * parameters)
        self.m = self.beta2 * self.m + (1 - self.beta2) * gradient
        return parameters - self.learning_rate * (np.sign(c) + decay)
