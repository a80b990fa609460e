"""A student's network in plain NumPy, with one mistake in its backpropagation on request.

What belongs here: code as people write it by hand, in batches, sharing nothing with fastbp but the
layout of the parameters. What does not: tests.
"""

import itertools

import numpy as np


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def of_softmax(z):
    a = softmax(z)
    return a[:, :, None] * (np.eye(z.shape[1]) - a[:, None, :])


def of_log_softmax(z):
    return np.eye(z.shape[1]) - softmax(z)[:, None, :]


# value, and derivative: (n, k) where it is diagonal, else (n, k, j)
ACTIVATIONS = {
    "sigmoid": (sigmoid, lambda z: sigmoid(z) * (1 - sigmoid(z))),
    "tanh": (np.tanh, lambda z: 1 - np.tanh(z) ** 2),
    "softmax": (softmax, of_softmax),
    "log_softmax": (lambda z: np.log(softmax(z)), of_log_softmax),
}


class Handwritten:
    """Quadratic cost; layers as `ACTIVATIONS` names them; `mistake` is what goes wrong."""

    def __init__(self, sizes, activation, output, mistake=None, layer=None, seed=0, scale=1.0):
        rng = np.random.default_rng(seed)
        self.names = [activation] * (len(sizes) - 2) + [output]
        self.sizes, self.mistake, self.layer, self.scale = sizes, mistake, layer, scale
        n = sum((i + 1) * o for i, o in itertools.pairwise(sizes))
        self.parameters = rng.standard_normal(n)
        self.weights, self.biases, at = [], [], 0
        for i, o in itertools.pairwise(sizes):
            self.weights.append(self.parameters[at : at + i * o].reshape(i, o))
            self.biases.append(self.parameters[at + i * o : at + (i + 1) * o])
            at += (i + 1) * o
        self.mask = np.ones(sizes[1]) if len(sizes) > 2 else None
        if mistake == "dropout":
            self.mask[1] = 0.0

    @property
    def architecture(self):
        return {
            "sizes": list(self.sizes),
            "activation": self.names[:-1],
            "output": self.names[-1],
            "loss": "quadratic",
            "dtype": "float64",
        }

    def feedforward(self, X):
        zs, activations = [], [np.asarray(X)]
        for W, b, name in zip(self.weights, self.biases, self.names, strict=True):
            zs.append(activations[-1] @ W + b)
            activations.append(ACTIVATIONS[name][0](zs[-1]))
        return zs, activations

    def loss(self, X, Y, sample_weight=None, l2=0.0):
        C = 0.5 * ((self.feedforward(X)[1][-1] - Y) ** 2).sum(axis=1)
        penalty = sum((W**2).sum() for W in self.weights)
        mean = np.average(C, weights=sample_weight) / self.scale
        return mean + l2 / (2 * len(C)) * penalty

    def gradient(self, X, Y, sample_weight=None, l2=0.0):
        zs, activations = self.feedforward(X)
        n, m, wrong = len(self.weights), len(np.asarray(X)), self.mistake
        w = np.ones(m) if sample_weight is None or wrong == "sample weight" else sample_weight
        g = activations[-1] - Y
        parts = []
        for layer in range(n - 1, -1, -1):
            here = self.layer in (None, layer + 1)
            prime = ACTIVATIONS[self.names[layer]][1]
            J = prime(activations[layer + 1] if wrong == "sigma'(a)" and here else zs[layer])
            if J.ndim == 3 and wrong == "k = j" and here:
                J = np.einsum("sjj->sj", J)
            if J.ndim == 2:
                delta = g * J
            elif wrong == "J" and here:
                delta = np.einsum("sk,sjk->sj", g, J)
            else:
                delta = np.einsum("sk,skj->sj", g, J)
            if wrong == "delta scaled" and here:
                delta = delta * 2.5
            if wrong == "dropout" and layer == 0:
                delta = delta * self.mask
            delta_w = delta * (w / w.sum())[:, None]
            nabla_b, nabla_W = delta_w.sum(axis=0), activations[layer].T @ delta_w
            if wrong == "bias lost" and here:
                nabla_b = 0 * nabla_b
            if wrong == "bias doubled":
                nabla_b = 2 * nabla_b
            if wrong == "1/m missing":
                nabla_b, nabla_W = nabla_b * m, nabla_W * m
            if wrong == "1/m twice":
                nabla_b, nabla_W = nabla_b / m, nabla_W / m
            if wrong != "l2 forgotten":
                nabla_W = nabla_W + l2 / m * self.weights[layer] * (m if wrong == "l2 loop" else 1)
            if wrong == "bias regularised":
                nabla_b = nabla_b + l2 / m * self.biases[layer]
            if wrong == "transposed" and here:
                nabla_W = nabla_W.T
            parts = [nabla_W.ravel(), nabla_b, *parts]
            W = self.weights[layer]
            g = delta @ (W if wrong == "W" and here and W.shape[0] == W.shape[1] else W.T)
        return np.concatenate(parts) * (-1 if wrong == "sign" else 1)
