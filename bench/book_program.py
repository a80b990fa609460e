"""What the book's program (Nielsen 2015, network2.py) drew and did, for runs that repeat its own.

What belongs here: its initial parameters and its order of the images from its seeds, and its step,
one image at a time in NumPy, whose time the table compares with. What does not: which runs there
are (book.py). fastbp knows none of this: a run is replayed through `net.parameters` and
`fit(shuffle=...)`.
"""

from __future__ import annotations

import random

import numpy as np

SEED = 12345678


class Program:
    """The state that the book's runs share: two seeded generators and the order of the images.

    Parameters
    ----------
    sizes : list of int
    n : int
        Training images. Its lists are shuffled in place: each epoch starts from the order of the
        one before, and a second run from that of the first.
    """

    def __init__(self, sizes: list[int], n: int) -> None:
        self.sizes = sizes
        self.python, self.numpy = random.Random(SEED), np.random.RandomState(SEED)
        self.images = list(range(n))
        self.default = self._draw(scaled=True)  # the constructor draws it, whatever is used

    def initial(self, init: str) -> np.ndarray:
        """Parameters in fastbp's layout: "scaled" were drawn at the start, "large" are now."""
        return self.default if init == "scaled" else self._draw(scaled=False)

    def _draw(self, scaled: bool) -> np.ndarray:
        pairs = list(zip(self.sizes, self.sizes[1:], strict=False))
        biases = [self.numpy.randn(n_out, 1) for _, n_out in pairs]
        weights = [
            self.numpy.randn(n_out, n_in) / (np.sqrt(n_in) if scaled else 1)
            for n_in, n_out in pairs
        ]
        layers = zip(weights, biases, strict=True)
        return np.concatenate([part.ravel() for W, b in layers for part in (W.T, b)])

    def order(self, epoch: int, n: int) -> np.ndarray:
        """The next epoch's order as Python 2's `random.shuffle` made it: for `fit(shuffle=)`."""
        images, draw = self.images, self.python.random
        for i in reversed(range(1, len(images))):
            j = int(draw() * (i + 1))
            images[i], images[j] = images[j], images[i]
        return np.array(images)


def epoch(weights, biases, X, Y, order, batch_size, rate, l2, cost):
    """One epoch of the book's program: each image by itself, W (n_out, n_in), columns.

    Changes the lists `weights` and `biases`; `cost` is "quadratic" or "binary_cross_entropy".
    """
    n = len(order)
    xs, ys = X[:, :, None], np.eye(biases[-1].size)[Y][:, :, None]
    for start in range(0, n, batch_size):
        batch = order[start : start + batch_size]
        nabla_W, nabla_b = [0.0] * len(weights), [0.0] * len(biases)
        for s in batch:
            activations = [xs[s]]
            for W, b in zip(weights, biases, strict=True):
                activations.append(1 / (1 + np.exp(-(W @ activations[-1] + b))))
            a = activations[-1]
            delta = (a - ys[s]) * (a * (1 - a) if cost == "quadratic" else 1)
            for l in reversed(range(len(weights))):
                nabla_W[l] = nabla_W[l] + delta @ activations[l].T
                nabla_b[l] = nabla_b[l] + delta
                if l > 0:
                    a = activations[l]
                    delta = (weights[l].T @ delta) * a * (1 - a)
        for l in range(len(weights)):
            weights[l] = (1 - rate * l2 / n) * weights[l] - rate / len(batch) * nabla_W[l]
            biases[l] = biases[l] - rate / len(batch) * nabla_b[l]
