"""J[k, j] = da_k/dz_j of an activation in a few vectors, however wide the layer is.

What belongs here: the form of each kind's J, its products, bounds on its size and on what rounding
makes of it, all at a cost linear in z. What does not: the full matrix (fastbp/reference/), which
this is tested against; layers (model.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from fastbp import functions, reference

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Jacobian:
    """Slopes of each a_k by the z_j that are its own, and outer products for all other pairs.

    Attributes
    ----------
    own : ndarray (n_a, p)
        da_k/dz_j by the p z_j of a_k: z_k alone, or the pieces of maxout, or the halves of glu.
    u, v : ndarray (r, n_a), (r, n_z)
        sum_r u_k v_j for j other than k; r is 0 where only its own z_j reach a_k.
    apart : bool
        Whether the z_j of a_k lie n_a apart (glu) or side by side.
    """

    own: Array
    u: Array
    v: Array
    apart: bool = False

    @property
    def is_square(self) -> bool:
        return self.own.shape[1] == 1

    @property
    def is_coupled(self) -> bool:
        return not self.is_square or bool(len(self.u))

    def times(self, x: Array) -> Array:
        """J x."""
        near = x.reshape(-1, len(self.own)).T if self.apart else x.reshape(self.own.shape)
        out = (self.own * near).sum(axis=1)
        return out + self._across(self.u, self.v, x) if len(self.u) else out

    def transposed(self, g: Array) -> Array:
        """J^T g."""
        out = self.own * g[:, None]
        out = (out.T if self.apart else out).ravel()
        return out + self._across(self.v, self.u, g) if len(self.u) else out

    @staticmethod
    def _across(to: Array, of: Array, x: Array) -> Array:
        """sum_r to_k sum_{j != k} of_j x_j."""
        terms = of * x
        total = (to * (terms.sum(axis=1, keepdims=True) - terms)).sum(axis=0)
        return np.asarray(total)

    @property
    def T(self) -> Jacobian:
        """Of a square one."""
        return Jacobian(self.own, self.v, self.u)

    @property
    def diagonal(self) -> Jacobian:
        """The k = j terms alone, of a square one."""
        return elementwise(self.own[:, 0])

    @property
    def size(self) -> Jacobian:
        """A bound on |J|: exact for each a_k's own z_j and where r <= 1."""
        return Jacobian(np.abs(self.own), np.abs(self.u), np.abs(self.v), self.apart)

    def plus(self, other: Jacobian) -> Jacobian:
        """The sum of two of the same layer."""
        u, v = np.vstack([self.u, other.u]), np.vstack([self.v, other.v])
        return Jacobian(self.own + other.own, u, v, self.apart)

    @property
    def largest(self) -> float:
        """A bound on the largest entry, of one without negative entries."""
        n, across = len(self.own), 0.0
        for u, v in zip(self.u, self.v, strict=True):
            second, first = np.argsort(v)[-2:] if n > 1 else (0, 0)
            other = np.where(np.arange(n) == first, v[second], v[first])
            across += float((u * other).max())
        return max(float(self.own.max()), across)


def elementwise(slope: Array) -> Jacobian:
    """The Jacobian of which only the diagonal is not 0."""
    nothing = np.empty((0, len(slope)))
    return Jacobian(slope[:, None], nothing, nothing)


def jacobian(name: str, z: Array) -> Jacobian:
    """J of an activation at z (n_z,).

    >>> J = jacobian("softmax", np.array([0.0, 1.0, 2.0]))
    >>> g = np.array([1.0, 0.0, -1.0])
    >>> np.allclose(J.transposed(g), reference.activation_jacobian("softmax", [0, 1, 2]).T @ g)
    True
    """
    slope = reference.activation_slope(name, z)
    if slope is not None:
        return elementwise(np.asarray(slope))
    activation = functions.activation(name)
    return COUPLED[activation.kind](z, activation.parameter)


def moved(name: str, z: Array, J: Jacobian, error: Array) -> Jacobian:
    """How far J moves while z moves by `error`; a kink within reach counts whole."""
    ones = np.ones_like(z)
    signs = [ones, -ones]
    if J.is_coupled:  # softmax does not see a common shift
        signs += list(np.random.default_rng(0).choice([-2.0, 2.0], (4, len(z))))
    near = [jacobian(name, z + sign * error) for sign in signs]
    own, u, v = (
        np.max([np.abs(getattr(other, part) - getattr(J, part)) for other in near], axis=0)
        for part in ("own", "u", "v")
    )
    # u'v' - uv, with u' and v' as far from u and v as they were found
    return Jacobian(own, np.vstack([u, np.abs(J.u)]), np.vstack([np.abs(J.v) + v, v]), J.apart)


def uncancelled(name: str, z: Array, a: Array, J: Jacobian) -> Jacobian:
    """Sizes of the terms whose sum is J."""
    activation = functions.activation(name)
    size = J.size
    if activation.kind == "softmax":
        return Jacobian(activation.parameter * (a + a * a)[:, None], size.u, size.v)
    if activation.kind == "log_softmax":
        return Jacobian(size.own + 1, size.u, size.v)
    if activation.kind == "layer_norm":
        s = np.sqrt(np.var(z) + reference.LAYER_NORM_EPSILON)
        wide = 1 + np.abs(z).max() / s  # x_hat itself is a difference of numbers as large as z
        diagonal = abs(activation.parameter) / s + (size.u * size.v).sum(axis=0)
        return Jacobian(wide * diagonal[:, None], wide * size.u, size.v)
    if not J.is_coupled:  # a product rule's two terms may cancel: sigma' of gelu, mish
        with np.errstate(divide="ignore", invalid="ignore"):
            slope = size.own[:, 0]
            return elementwise(np.where(z == 0, slope, slope + np.abs(a / np.where(z == 0, 1, z))))
    return size


# the kinds that are not elementwise: (z, parameter) -> J


def _probabilities(z: Array) -> tuple[Array, Array]:
    """softmax, and 1 - it with all its digits."""
    p = np.exp(z - z.max())
    p = p / p.sum()
    first = int(np.argmax(p))
    rest = 1 - p  # only of the largest can so much cancel
    rest[first] = p[:first].sum() + p[first + 1 :].sum()
    return p, rest


def _softmax(z: Array, c: float) -> Jacobian:
    p, rest = _probabilities(c * z)
    return Jacobian((c * p * rest)[:, None], -c * p[None], p[None])


def _log_softmax(z: Array, _: float) -> Jacobian:
    p, rest = _probabilities(z)
    return Jacobian(rest[:, None], -np.ones((1, len(z))), p[None])


def _layer_norm(z: Array, gamma: float) -> Jacobian:
    n = len(z)
    s = np.sqrt(np.var(z) + reference.LAYER_NORM_EPSILON)
    x_hat = (z - z.mean()) / s
    v = np.stack([np.ones(n), x_hat])
    u = -gamma / (s * n) * v
    return Jacobian((gamma / s + (u * v).sum(axis=0))[:, None], u, v)


def _maxout(z: Array, pieces: float) -> Jacobian:
    groups = z.reshape(-1, int(pieces))
    first = np.argmax(groups, axis=1)[:, None]
    return _of_groups((np.arange(groups.shape[1]) == first).astype(np.float64))


def _glu(z: Array, _: float) -> Jacobian:
    linear, gate = np.split(z, 2)
    slope = reference.activation_slope("sigmoid", gate)
    return _of_groups(np.stack([reference.activation("sigmoid", gate), linear * slope], 1), True)


def _of_groups(own: Array, apart: bool = False) -> Jacobian:
    return Jacobian(own, np.empty((0, len(own))), np.empty((0, own.size)), apart)


COUPLED: dict[str, Callable[[Array, float], Jacobian]] = {
    "softmax": _softmax,
    "log_softmax": _log_softmax,
    "layer_norm": _layer_norm,
    "maxout": _maxout,
    "glu": _glu,
}
