"""Links on paper: z = link(a) of all samples at once, and what goes back.

What belongs here: a class for each kind of link with the numbers that checks need of it, and their
table. What does not: activations, errors of rounding (model.py).

Shapes: A (n, n_in), D (n, width of z). `size()` is the same link with moduli in its place: sums of
moduli bound what rounding does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property

import numpy as np

from fastbp.layers import Layer

Array = np.ndarray


class Dense:
    """z = a W + b."""

    probe = "b"  # the tensor whose gradient is delta

    def __init__(self, W: Array, b: Array) -> None:
        self.W, self.b = W, b

    @property
    def terms(self) -> int:
        """Products that are added up in an element of z."""
        return self.W.shape[0]

    @property
    def terms_back(self) -> int:
        """And in one of what goes back."""
        return self.W.shape[1]

    @property
    def matrix(self) -> Array:
        """dz_j/da_k, rows k, columns j."""
        return self.W

    def size(self) -> Dense:
        return Dense(np.abs(self.W), np.abs(self.b))

    def turned(self) -> Dense:
        """W^T for W, where that fits."""
        return Dense(self.W.T, self.b) if self.W.shape[0] == self.W.shape[1] else self

    def forward(self, A: Array) -> Array:
        return A @ self.W + self.b

    def tangent(self, A: Array) -> Array:
        return A @ self.W

    def back(self, D: Array) -> Array:
        return D @ self.W.T

    def gradient(self, A: Array, D: Array) -> list[Array]:
        return [A.T @ D, D.sum(axis=0)]

    def gradient_by_input(self, A: Array, D: Array) -> list[Array]:
        """What in `gradient` comes by way of A."""
        return [A.T @ D, np.zeros_like(self.b)]

    def probed(self, A: Array) -> Array | float:
        """By what delta is multiplied in the gradient of the probe, sample by sample."""
        return 1.0

    def lengths(self, largest: Array) -> list[Array]:
        """For each parameter the step that moves a z by 1; `largest`: |a| of each input."""
        return [np.broadcast_to(1 / largest[:, None], self.W.shape), np.ones_like(self.b)]

    def steepest(self) -> Array:
        """For each input how far it moves some z."""
        return np.asarray(np.abs(self.W).max(axis=1))


class Scale:
    """z_j = s_j a_j."""

    probe = "s"
    terms = terms_back = 1

    def __init__(self, s: Array) -> None:
        self.s = s

    @cached_property
    def matrix(self) -> Array:
        return np.diag(self.s)

    def size(self) -> Scale:
        return Scale(np.abs(self.s))

    def turned(self) -> Scale:
        return self

    def forward(self, A: Array) -> Array:
        return A * self.s

    tangent = back = forward

    def gradient(self, A: Array, D: Array) -> list[Array]:
        return [(A * D).sum(axis=0)]

    gradient_by_input = gradient

    def probed(self, A: Array) -> Array | float:
        return A

    def lengths(self, largest: Array) -> list[Array]:
        return [1 / largest]

    def steepest(self) -> Array:
        return np.abs(self.s)


Link = Dense | Scale

LINKS: Mapping[str, type[Dense] | type[Scale]] = {"dense": Dense, "scale": Scale}


def links_of(layers: Sequence[Layer], tensors: Iterable[Array]) -> list[Link]:
    """The links of a network, of its tensors in their order; in float64, views where they are."""
    rest = iter(tensors)
    found: list[Link] = []
    for layer in layers:
        own = [np.asarray(next(rest), np.float64) for _ in layer.letters]
        found.append(LINKS[layer.link](*own))
    return found
