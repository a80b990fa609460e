"""Numba and tinygrad: peers that compile what their user writes.

What belongs here: as in peers.py, whose table names these functions; how a vector of parameters is
taken apart, for peers.py, too. What does not: libraries that come compiled, and JAX (peers.py).
"""

from __future__ import annotations

import functools
import os
import shutil

import numpy as np

from fastbp import SGD


def views(flat, net):
    """Weights and biases within a vector laid out as net.parameters."""
    W, b, at = [], [], 0
    for shape in (w.shape for w in net.weights):
        W.append(flat[at : (at := at + shape[0] * shape[1])].reshape(shape))
        b.append(flat[at : (at := at + shape[1])])
    return W, b


# Numba: a network by hand, loops and np.dot

KINDS = {"sigmoid": 0, "relu": 1, "tanh": 2}


@functools.cache
def numba_epoch():
    """One pass over all batches, compiled; without Python in it and without new arrays."""
    import numba

    @numba.njit(fastmath=True)
    def add_bias(z, b, kind):  # and sigma(z) of a hidden layer, -1: none
        one = z.dtype.type(1)
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                z[i, j] += b[j]
                if kind == 0:
                    z[i, j] = one / (one + np.exp(-z[i, j]))
                elif kind == 1:
                    z[i, j] = max(z[i, j], one - one)
                elif kind == 2:
                    z[i, j] = np.tanh(z[i, j])

    @numba.njit(fastmath=True)
    def times_slope(delta, a, kind):
        one = a.dtype.type(1)
        for i in range(a.shape[0]):
            for j in range(a.shape[1]):
                if kind == 0:
                    delta[i, j] *= a[i, j] * (one - a[i, j])
                elif kind == 1:
                    delta[i, j] *= a[i, j] > 0
                else:
                    delta[i, j] *= one - a[i, j] * a[i, j]

    @numba.njit(fastmath=True)
    def cross_entropy(z, labels, delta):
        total = 0.0
        for i in range(z.shape[0]):
            most, exponentials = z[i].max(), z.dtype.type(0)
            for j in range(z.shape[1]):
                delta[i, j] = np.exp(z[i, j] - most)
                exponentials += delta[i, j]
            total += np.log(exponentials) + most - z[i, labels[i]]
            for j in range(z.shape[1]):
                delta[i, j] /= exponentials * z.shape[0]
            delta[i, labels[i]] -= z.dtype.type(1) / z.shape[0]
        return total / z.shape[0]

    @numba.njit(fastmath=True)
    def squares(z, y, delta):
        total = 0.0
        for i in range(z.shape[0]):
            for j in range(z.shape[1]):
                off = z[i, j] - y[i, j]
                total += off * off
                delta[i, j] = off / z.shape[0]
        return 0.5 * total / z.shape[0]

    @numba.njit(fastmath=True)
    def adam(p, g, m, v, rate, beta1, beta2, epsilon, root_rest2):
        one = p.dtype.type(1)
        for i in range(p.size):
            m[i] = beta1 * m[i] + (one - beta1) * g[i]
            v[i] = beta2 * v[i] + (one - beta2) * g[i] * g[i]
            p[i] -= rate * m[i] / (np.sqrt(v[i]) / root_rest2 + epsilon)

    @numba.njit(fastmath=True)
    def epoch(X, Y, cost, batch, W, b, a, delta, nabla_W, nabla_b, flat, numbers, t, kind):
        p, g, m, v = flat
        last, total = len(W) - 1, 0.0
        for s in range(0, len(X), batch):
            x = X[s : s + batch]
            for l in range(last + 1):
                np.dot(x if l == 0 else a[l - 1], W[l], a[l])
                add_bias(a[l], b[l], kind if l < last else -1)
            total += cost(a[last], Y[s : s + batch], delta[last])
            for l in range(last, -1, -1):
                np.dot((x if l == 0 else a[l - 1]).T, delta[l], nabla_W[l])
                nabla_b[l][:] = 0
                for i in range(batch):
                    for j in range(delta[l].shape[1]):
                        nabla_b[l][j] += delta[l][i, j]
                if l:
                    np.dot(delta[l], W[l].T, delta[l - 1])
                    times_slope(delta[l - 1], a[l - 1], kind)
            t += 1
            rate, beta1, beta2, epsilon = numbers
            if len(m) == 0:
                for i in range(p.size):
                    p[i] -= rate * g[i]
            else:
                rate_t = p.dtype.type(rate / (1.0 - float(beta1) ** t))
                root = p.dtype.type(np.sqrt(1.0 - float(beta2) ** t))
                adam(p, g, m, v, rate_t, beta1, beta2, epsilon, root)
        return total * batch / len(X)

    return epoch, cross_entropy, squares


def numba_training(case, net, X, Y):
    """As in NumPy one vector of parameters and one of their gradient; a call an epoch."""
    epoch, cross_entropy, squares = numba_epoch()
    o, t = case.optimizer, 0
    p, g = net.parameters.copy(), np.empty_like(net.parameters)
    plain = isinstance(o, SGD)
    m, v = (np.zeros(0 if plain else p.size, p.dtype) for _ in range(2))
    (W, b), (nabla_W, nabla_b) = (tuple(map(tuple, views(of, net))) for of in (p, g))
    a, delta = (
        tuple(np.empty((case.batch, n), net.dtype) for n in case.sizes[1:]) for _ in range(2)
    )
    given = (o.learning_rate, 0, 0, 0) if plain else (o.learning_rate, o.beta1, o.beta2, o.epsilon)
    numbers = tuple(map(net.dtype.type, given))
    cost = cross_entropy if case.classes else squares

    def run(epochs):
        nonlocal t
        losses = []
        for _ in range(epochs):
            given = (X, Y, cost, case.batch, W, b, a, delta, nabla_W, nabla_b, (p, g, m, v))
            losses.append(epoch(*given, numbers, t, KINDS[case.activation]))
            t += case.steps
        return losses

    return run


# tinygrad


def tinygrad_training(case, net, X, Y):
    """A jitted call a step, forward to update; losses are read once an epoch.

    BEAM=2 in the environment has it search for faster kernels, as its documentation says.
    """
    if not shutil.which(os.environ.get("CC", "clang")):
        raise ImportError("needs clang")
    os.environ.setdefault("DEV", "CPU")
    from tinygrad import Context, Tensor, TinyJit, nn

    if net.dtype != np.float32:
        raise ImportError("its optimizers compute in float32")
    W, b = ([Tensor(x.copy()).realize() for x in of] for of in (net.weights, net.biases))
    o, parameters = case.optimizer, [*W, *b]
    if isinstance(o, SGD):
        optimizer = nn.optim.SGD(parameters, lr=o.learning_rate)
    else:
        optimizer = nn.optim.Adam(parameters, o.learning_rate, o.beta1, o.beta2, o.epsilon)
    f = {"sigmoid": Tensor.sigmoid, "relu": Tensor.relu, "tanh": Tensor.tanh}[case.activation]
    total = Tensor.zeros(1).contiguous().realize()

    @TinyJit
    def step(x, y):
        for w, bias in zip(W[:-1], b[:-1], strict=True):
            x = f(x @ w + bias)
        z = x @ W[-1] + b[-1]
        if case.classes:
            loss = z.sparse_categorical_crossentropy(y)
        else:
            loss = 0.5 * (z - y).square().sum() / case.batch
        optimizer.zero_grad()
        loss.backward()
        total.assign(total + loss.detach().reshape(1))
        Tensor.realize(total, *optimizer.schedule_step())

    xs, ys = (
        [Tensor(part[s : s + case.batch].copy()).realize() for s in range(0, len(X), case.batch)]
        for part in (X, Y.astype(np.int32) if case.classes else Y)
    )

    def run(epochs):
        losses = []
        with Context(TRAINING=1):
            for _ in range(epochs):
                total.assign(Tensor.zeros(1)).realize()
                for x, y in zip(xs, ys, strict=True):
                    step(x, y)
                losses.append(total.item() / case.steps)
        return losses

    return run
