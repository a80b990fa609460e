"""A feed-forward network, one sample at a time: BP1 to BP4, losses, Jacobians.

What belongs here: sums over layers and samples. What does not: formulas of one layer, training.
"""

import math

import numpy as np

from fastbp.reference.activations import activation, activation_jacobian, activation_width
from fastbp.reference.costs import COSTS
from fastbp.reference.links import DENSE, LINKS
from fastbp.reference.numbers import parse, power_above, vector
from fastbp.reference.output import cost_on_z, output_error


def weights_of_samples(sample_weight, n):
    if sample_weight is None:
        return np.ones(n)
    w = vector(sample_weight, "sample_weight")
    if len(w) != n:
        raise ValueError(f"{len(w)} sample weights for {n} samples")
    return w / power_above(w) if w.any() else w  # only their ratios matter


class Network:
    """A feed-forward network evaluated one sample at a time.

    Parameters
    ----------
    sizes : sequence of int or str
        Numbers of activations n_0 ... n_L; "scale" between them is a layer that scales each column.
    activation : str or sequence of str
        Of the hidden dense layers: one name, or one a layer.
    output : str
        Activation of the last layer.
    loss : str
    parameters : array_like, (n_parameters,)
        W1, b1, W2, b2, ..., each W row-major (n_in, width of z); of a scaling layer s, (n_l,).
        Copied to float64.

    Examples
    --------
    >>> net = Network([1, 1], "tanh", "identity", "quadratic", [2, 1])
    >>> net.predict([[3]]).tolist()
    [[7.0]]
    >>> net.gradient([[3]], [[5]]).tolist()
    [6.0, 2.0]
    """

    def __init__(self, sizes, activation, output, loss, parameters):
        self.sizes = [int(n) for n in sizes if n not in LINKS]
        hidden = len(self.sizes) - 2
        if hidden < 0:
            raise ValueError("sizes needs at least an input and an output")
        names = [activation] * hidden if isinstance(activation, str) else list(activation)
        if len(names) != hidden:
            raise ValueError(f"{len(names)} activations for {hidden} hidden layers")
        self.loss_name = loss
        parse(loss, COSTS)
        of_dense = iter([*names, output])
        self.links, self.activation_names, self.widths = [], [], [self.sizes[0]]
        self._shapes = []
        self._n_z = []
        for n in list(sizes)[1:]:
            n_in = self.widths[-1]
            self.links.append(LINKS.get(n, DENSE))
            self.activation_names.append("identity" if n in LINKS else next(of_dense))
            self.widths.append(n_in if n in LINKS else int(n))
            self._n_z.append(activation_width(self.activation_names[-1], self.widths[-1]))
            self._shapes.append(self.links[-1].shapes(n_in, self._n_z[-1]))
        self.n_parameters = sum(math.prod(shape) for layer in self._shapes for shape in layer)
        self.parameters = vector(parameters, "parameters").copy()
        if len(self.parameters) != self.n_parameters:
            raise ValueError(f"{self.n_parameters} parameters needed, got {len(self.parameters)}")

    def _split(self, flat):
        """Views of a flat array: for each layer the list of its tensors."""
        found, start = [], 0
        for shapes in self._shapes:
            tensors = []
            for shape in shapes:
                tensors.append(flat[start : start + math.prod(shape)].reshape(shape))
                start += math.prod(shape)
            found.append(tensors)
        return found

    @property
    def tensors(self):
        """For each layer the list of its tensors, views of parameters."""
        return self._split(self.parameters)

    def _of_weights(self, flat):
        """Views of those parts of a flat array that belong to a W."""
        for link, tensors in zip(self.links, self._split(flat), strict=True):
            for is_weight, tensor in zip(link.is_weight(), tensors, strict=True):
                if is_weight:
                    yield tensor

    @property
    def weights(self):
        """List of views W, (n_in, width of z), of the dense layers."""
        return [tensors[0] for tensors in self.tensors if len(tensors) == 2]

    @property
    def biases(self):
        """List of views b, (width of z,), of the dense layers."""
        return [tensors[1] for tensors in self.tensors if len(tensors) == 2]

    @property
    def is_weight(self):
        """(n_parameters,) bool: True for an element of a W, False for one of a b or an s."""
        mask = np.zeros(self.n_parameters, dtype=bool)
        for W in self._of_weights(mask):
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
        """For each sample what its a^0, ..., a^{L-1} are multiplied by: ones where no mask is.

        `masks` has one for the input and for each hidden dense layer.
        """
        if masks is None:
            return [[1.0] * len(self.links)] * n
        places = [0, *(l for l, link in enumerate(self.links[:-1], 1) if link is DENSE)]
        found = [[1.0] * len(self.links) for _ in range(n)]
        for l, mask in zip(places, masks, strict=True):
            for s in range(n):
                found[s][l] = mask[s]
        return found

    def _feedforward_sample(self, x, mask=None):
        """zs and activations; with `mask` (one factor array for each of a^0 ... a^{L-1})."""
        mask = self._masks_of_samples(None, 1)[0] if mask is None else mask
        zs, activations = [], [x * mask[0]]
        factors = [*mask[1:], 1.0]
        for link, tensors, name, factor in zip(
            self.links, self.tensors, self.activation_names, factors, strict=True
        ):
            zs.append(link.forward(activations[-1], *tensors))
            activations.append(activation(name, zs[-1]) * factor)
        return zs, activations

    def _jacobians_sample(self, x):
        zs, _ = self._feedforward_sample(x)
        return [
            activation_jacobian(name, z) for name, z in zip(self.activation_names, zs, strict=True)
        ]

    def _jvp_sample(self, x, v):
        """J v of the whole network at x; v (n_0,), or (n_0, k) for k of them at once."""
        for link, tensors, J in zip(
            self.links, self.tensors, self._jacobians_sample(x), strict=True
        ):
            v = J @ link.tangent(v, *tensors)
        return v

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
        deltas, tensors = [self._output_error_sample(zs[-1], y)], self.tensors  # BP1
        for layer in range(len(zs) - 2, -1, -1):
            J = activation_jacobian(self.activation_names[layer], zs[layer])
            g = self.links[layer + 1].back(deltas[0], *tensors[layer + 1])
            deltas.insert(0, J.T @ (g * mask[layer + 1]))  # BP2
        return deltas

    def _gradient_sample(self, x, y, mask=None):
        _, activations = self._feedforward_sample(x, mask)
        deltas = self._deltas_sample(x, y, mask)
        parts = []
        for link, a_prev, delta in zip(self.links, activations[:-1], deltas, strict=True):
            parts += [nabla.ravel() for nabla in link.gradient(a_prev, delta)]
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
            One entry a layer, the scaling ones among them.
        activations : list of ndarray, (n, n_l), l = 0 ... L
            activations[0] is X: one entry more than zs.
        """
        X = self._rows(X, self.sizes[0], "X")
        zs = [np.zeros((len(X), width)) for width in self._n_z]
        activations = [np.zeros((len(X), n)) for n in self.widths]
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
            Biases and scales are not regularised; n is the number of rows of X.
        masks : list of array_like, (n, n_l) for l = 0 ... L - 1, optional
            Dropout: what a^l of each sample is multiplied by, 0 or 1 / (1 - rate).

        Returns
        -------
        float
        """
        X, Y = self._data(X, Y)
        w = weights_of_samples(sample_weight, len(X))
        total = 0.0
        for x, y, w_s, mask in zip(X, Y, w, self._masks_of_samples(masks, len(X)), strict=True):
            total += w_s * self._cost_sample(x, y, mask)
        mean = total / w.sum() if w.sum() != 0 else 0.0
        weights = list(self._of_weights(self.parameters))
        sum_of_squares = sum(np.sum(W**2) for W in weights)
        sum_of_moduli = sum(np.sum(np.abs(W)) for W in weights)
        return float(mean + l2 / (2 * len(X)) * sum_of_squares + l1 / len(X) * sum_of_moduli)

    # ---- derivatives

    def deltas(self, X, Y, masks=None):
        """Per-sample errors delta^l = dC_s/dz^l: list of (n, width of z_l), l = 1 ... L."""
        X, Y = self._data(X, Y)
        deltas = [np.zeros((len(X), width)) for width in self._n_z]
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
        """(l2/n) W + (l1/n) sign(W) for weights, 0 for biases and scales; flat."""
        nabla = np.zeros(self.n_parameters)
        weights = self._of_weights(self.parameters)
        for nabla_W, W in zip(self._of_weights(nabla), weights, strict=True):
            nabla_W[...] = l2 / n * W + l1 / n * np.sign(W)
        return nabla

    def gradient(self, X, Y, sample_weight=None, l2=0.0, l1=0.0, masks=None):
        """Gradient of `loss` by the parameters, (n_parameters,), in their layout."""
        X, Y = self._data(X, Y)
        w = weights_of_samples(sample_weight, len(X))
        nabla = self._data_gradient(X, Y, w, self._masks_of_samples(masks, len(X)))
        return nabla + self._regularization_gradient(l2, l1, len(X))

    def input_gradient(self, X, Y):
        """dC_s/dx of each sample, (n, n_0)."""
        X, Y = self._data(X, Y)
        result = np.zeros_like(X)
        for s, (x, y) in enumerate(zip(X, Y, strict=True)):
            delta = self._deltas_sample(x, y)[0]
            result[s] = self.links[0].back(delta, *self.tensors[0])
        return result

    def jacobian(self, X):
        """da^L/dx of each sample, (n, n_L, n_0)."""
        X = self._rows(X, self.sizes[0], "X")
        result = np.zeros((len(X), self.sizes[-1], self.sizes[0]))
        for s, x in enumerate(X):
            result[s] = self._jvp_sample(x, np.eye(self.sizes[0]))
        return result

    def vjp(self, X, V):
        """v^T da^L/dx of each sample: V is (n, n_L), the result (n, n_0)."""
        X, V = self._rows(X, self.sizes[0], "X"), self._rows(V, self.sizes[-1], "V")
        if len(X) != len(V):
            raise ValueError(f"{len(X)} rows of X, {len(V)} of V")
        result = np.zeros_like(X)
        for s, (x, v) in enumerate(zip(X, V, strict=True)):
            layers = [*zip(self.links, self.tensors, self._jacobians_sample(x), strict=True)]
            for link, tensors, J in layers[::-1]:
                v = link.back(J.T @ v, *tensors)
            result[s] = v
        return result

    def jvp(self, X, V):
        """(da^L/dx) v of each sample: V is (n, n_0), the result (n, n_L)."""
        X, V = self._rows(X, self.sizes[0], "X"), self._rows(V, self.sizes[0], "V")
        if len(X) != len(V):
            raise ValueError(f"{len(X)} rows of X, {len(V)} of V")
        result = np.zeros((len(X), self.sizes[-1]))
        for s, (x, v) in enumerate(zip(X, V, strict=True)):
            result[s] = self._jvp_sample(x, v)
        return result
