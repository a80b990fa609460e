"""The network: what can be asked of it.

What belongs here: `Network` with predictions and losses. What does not: its description and the
store of its parameters (architecture.py), gradients and Jacobians (derivatives.py), the training
loop (training/), files (files/), checks of arguments (inputs.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import functions, initialization, inputs, layers as kinds, sparse
from fastbp.architecture import Default
from fastbp.derivatives import Derivatives
from fastbp.dropout import Dropout
from fastbp.inputs import ArrayLike, DTypeLike, Rows, Seed
from fastbp.one_sample import OneSample
from fastbp.samples import mean_cost

if TYPE_CHECKING:
    import os

    from fastbp.training.fit import fit as fit_network

Array = np.ndarray

PERTURBED_WORK = 10**8  # multiply-adds of one call of the engine: tens of milliseconds


class _Fit:
    """`fastbp.training.fit` as a method, imported when it is asked for."""

    function: Any = None

    def __get__(self, net: Network | None, owner: type[Network]) -> Any:
        if self.function is None:
            from fastbp import training

            self.function = training.fit
        return self.function if net is None else MethodType(self.function, net)


@inputs.named
class Network(Derivatives, OneSample):
    """A feed-forward network: z^l = a^{l-1} W^l + b^l, a^l = sigma^l(z^l).

    Parameters
    ----------
    sizes : sequence of int or of layers
        Activations a layer, the input's first: [784, 30, 10]. z may be wider (glu, maxout). A
        number is short for `fastbp.layers.Dense`; other layers stand between such:
        [8, fastbp.layers.Scale(), 64, 1].
    activation : str or sequence of str
        Hidden layers: one name, or one a dense layer. A number in brackets sets an activation's
        parameter: "leaky_relu(0.02)". `fastbp.functions.ACTIVATIONS` lists the names. A layer that
        names its own, Dense(64, "relu"), has that.
    output : str
        Activation of the last layer, unless it names its own.
    loss : str
        Cost of one sample, summed over outputs (mse: their mean); a name of
        `fastbp.functions.LOSSES`. The guide has the formulas.
    dtype : "float32" or "float64"
        Of parameters, results and arithmetic.
    init : str
        Initial weights: "scaled" N(0, 1/n_in), "large" N(0, 1), "glorot_uniform", "glorot_normal",
        "he_uniform", "he_normal", "zeros".
    seed : int, None or numpy.random.Generator
        The same seed gives the same bits.

    Attributes
    ----------
    sizes : list of int
        Activations of the input and of each dense layer.
    layers : tuple of fastbp.layers.Dense and others
        All but the input, each with its activation.
    parameters : ndarray (n_parameters,)
        The only store, writable: W1, b1, W2, b2, ... An assignment copies into it.
    tensors : read-only mapping of views of `parameters`
        W1, b1, W2, ... by name, in the order of `parameters`.
    weights, biases : lists of views of `parameters`
        Of each dense layer: weights[l] is (n_in, width of z), biases[l] is (width of z,).
    metadata : dict
        What a model file holds beside the network; JSON-able, free for the user. "classes" and
        "columns" are read: names of the outputs' classes, and of the columns of X.

    Notes
    -----
    Several threads may ask one network at once; `fit` and a change of `parameters` belong to one
    thread.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network([2, 3, 1], output="identity", loss="quadratic", seed=0)
    >>> net.n_parameters, net.weights[0].shape
    (13, (2, 3))
    >>> net.predict([[0.0, 1.0], [1.0, 0.0]]).shape
    (2, 1)
    """

    def __init__(
        self,
        sizes: Sequence[int | kinds.Layer | str],
        *,
        activation: str | Sequence[str] = "sigmoid",
        output: str = Default("softmax"),
        loss: str = "cross_entropy",
        dtype: DTypeLike = "float32",
        init: str = "scaled",
        seed: Seed = 0,
    ) -> None:
        self._describe(sizes, activation, output, loss, dtype)
        initialization.fill(self.weights, self.biases, init, seed)
        for name, tensor in self._described:
            if tensor.start is not None:
                self._tensors[name][...] = tensor.start

    if not TYPE_CHECKING:  # to checkers of types it would say that any name may be assigned

        def __setattr__(self, name, value):
            """Refuse what would hide a method, or change nothing: a network stays as it is made.

            A function in a method's place is Python's to allow: tests put such there.
            """
            if name in _FIXED and not (callable(value) and callable(getattr(self, name, None))):
                told = f"{name}: expected no assignment, a network stays as it is made"
                todo = _instead(name, value)
                raise AttributeError(f"{told}; got {functions.shown(value)}: {todo}")
            object.__setattr__(self, name, value)

    def predict(self, X: Rows, out: Array | None = None) -> Array:
        """Compute the outputs a^L.

        Parameters
        ----------
        X : array_like or sparse (n, n_0)
            Of a frame the columns are found by name, where the network knows names
            (``metadata["columns"]``).
        out : ndarray (n, n_L) of the network's dtype, optional
            Written and returned instead of a new array.

        Returns
        -------
        ndarray (n, n_L)
            A row for each of X: what the last layer's activation gives; of softmax probabilities.

        Raises
        ------
        TypeError, ValueError
            X is no matrix of n_0 columns, or has NaN or infinity; `out` is of another shape or
            dtype, or lies in the network's parameters.

        Warns
        -----
        RuntimeWarning
            An output is too large for the dtype; ``np.errstate(over="ignore")`` has it not told.

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> net = fastbp.Network([2, 3], init="zeros")
        >>> net.biases[0][:] = np.log([1.0, 1.0, 2.0])
        >>> net.predict([[0.5, -0.5]]).tolist()
        [[0.25, 0.25, 0.5]]
        """
        result: Array | None = self._predictor.predict(X, out)
        if result is not None:
            return result
        X = self._ready(X)
        result = inputs.as_output(out, (X.shape[0], self._sizes[-1]), self._dtype)
        if out is not None:
            if np.may_share_memory(out, self._parameters):
                raise ValueError("out: expected memory apart from the network's parameters")
            if np.may_share_memory(out, sparse.values_of(X)):
                X = X.astype(self._dtype)
        self._doors.predict(self._compiled_of(X), self._parameters, X, result)
        self._warn_unless_finite("predict", result)
        return result

    def feedforward(self, X: Rows) -> tuple[list[Array], list[Array]]:
        """Compute z and a of each of `layers`.

        Parameters
        ----------
        X : array_like or sparse (n, n_0)
            As in `predict`.

        Returns
        -------
        zs : list of ndarray (n, width of z)
            What each layer but the input gives its activation.
        activations : list of ndarray (n, n_l)
            What each layer gives the next, the input first: X itself, copied.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([1, 1, 1], output="identity", loss="mse", init="zeros")
        >>> zs, activations = net.feedforward([[2.0]])
        >>> [z.item() for z in zs], [a.item() for a in activations]
        ([0.0, 0.0], [2.0, 0.5, 0.0])
        """
        X = self._ready(X)
        zs, activations = self._empty_zs(X), self._empty(X, self._widths[1:])
        self._doors.feedforward(self._compiled_of(X), self._parameters, X, zs, activations)
        self._warn_unless_finite("feedforward", *zs, *activations)
        return self._as_of(X, zs), self._as_of(X, [sparse.values_of(X).copy(), *activations])

    def loss(
        self,
        X: Rows,
        Y: ArrayLike,
        *,
        sample_weight: ArrayLike | None = None,
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: Dropout | None = None,
        ignore_missing: bool = False,
        decays: Mapping[str, float] | None = None,
    ) -> float:
        """Mean cost with penalties, of n rows of X.

        It is sum_x w_x C_x / sum_x w_x + (l2/2n) sum W^2 + (l1/n) sum abs(W), the function that
        `fit` minimises and whose gradient `gradient` gives.

        Parameters
        ----------
        X : array_like or sparse (n, n_0)
            Of scipy.sparse; the same numbers as of the dense array.
        Y : array_like
            Class indices (n,), or targets (n, n_L); for one output also targets (n,).
        sample_weight : array_like (n,), optional
            w_x >= 0, not all of them 0; None: every sample counts 1.
        l2, l1 : float
            Penalties on weights, not on biases and scales (Nielsen 2015, ch. 3: lambda/n).
        dropout : Dropout, optional
            Masks held still; without it nothing is dropped.
        ignore_missing : bool
            NaN in Y stands for a target that is not known: that output's term of C_x and its error
            are 0. For elementwise outputs, and not for gaussian_nll.
        decays : dict, optional
            Of patterns of tensors and what their penalties are multiplied by, as in `fit`.

        Returns
        -------
        float
            In units of the network's cost: nats a sample of cross_entropy, the mean squared error
            of "mse".

        Raises
        ------
        TypeError, ValueError
            X, Y or sample_weight do not fit the network or each other, or are not finite; a class
            index that no output has; a penalty below 0.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([1, 1], output="identity", loss="mse", init="zeros")
        >>> X, Y = [[1.0], [2.0]], [0.0, 2.0]
        >>> net.loss(X, Y), net.loss(X, Y, sample_weight=[3, 1])
        (2.0, 1.0)
        """
        data = self._samples(X, Y, sample_weight, ignore_missing)
        of_tensors = self._decays(decays)
        masks, n = self._masks(dropout), len(data.X)
        l2, l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
        C = np.empty(n, self._dtype)
        self._doors.costs(
            self._compiled_of(data.X), self._parameters, *data[:3], C, masks, data.missing
        )
        loss = mean_cost(C, data) + self._penalty(n, l2, l1, of_tensors)
        if not math.isfinite(loss):
            self._warn_unless_finite("loss", np.array(loss))
        return loss

    def costs(
        self, X: Rows, Y: ArrayLike, *, dropout: Dropout | None = None, ignore_missing: bool = False
    ) -> Array:
        """Cost C_x of every sample.

        Parameters
        ----------
        X, Y, dropout, ignore_missing : as in `loss`
            Its mean is the mean of these, weighted where there are weights.

        Returns
        -------
        ndarray (n,)
            In units of the network's cost, without penalties.

        Raises
        ------
        TypeError, ValueError
            As in `loss`.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([1, 1], output="identity", loss="quadratic", init="zeros")
        >>> net.costs([[1.0], [2.0]], [0.0, 2.0]).tolist()
        [0.0, 2.0]
        """
        X = self._ready(X)
        dense, labels = self._targets(Y, X.shape[0], ignore_missing)
        masks = self._masks(dropout)
        C = np.empty(X.shape[0], self._dtype)
        self._doors.costs(
            self._compiled_of(X), self._parameters, X, dense, labels, C, masks, ignore_missing
        )
        self._warn_unless_finite("costs", C)
        return C

    def perturbed_costs(
        self,
        X: Rows,
        Y: ArrayLike,
        index: ArrayLike,
        values: ArrayLike,
        *,
        dropout: Dropout | None = None,
        ignore_missing: bool = False,
    ) -> Array:
        """Cost C_x of every sample with one parameter changed, for many such changes in one call.

        Parameters
        ----------
        X, Y : as in `loss`
            The samples, the same for each change.
        index : array_like of int (k,)
            Which of `parameters` takes another value.
        values : array_like (k,)
            That value. The network itself stays as it is.
        dropout, ignore_missing : as in `loss`
            The same for each change, too.

        Returns
        -------
        ndarray (k, n)
            Row i: as `costs`, with the parameter `index[i]` at `values[i]` and all others as they
            are.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([1, 1], output="identity", loss="quadratic", init="zeros")
        >>> net.perturbed_costs([[1.0], [2.0]], [0.0, 2.0], [0, 1], [1.0, 1.0]).tolist()
        [[0.5, 0.0], [0.5, 0.5]]
        """
        X = self._ready(X)
        dense, labels = self._targets(Y, X.shape[0], ignore_missing)
        masks = self._masks(dropout)
        index = inputs.as_indices(index, "index", self.n_parameters)
        values = inputs.as_numbers(values, "values", self._dtype)
        if values.shape != index.shape:
            raise ValueError(
                f"values: expected shape {index.shape}, that of index; got {values.shape}"
            )
        C = np.empty((index.size, X.shape[0]), self._dtype)
        scratch = np.empty(self.n_parameters + 64 // self._dtype.itemsize, self._dtype)
        scratch[: self.n_parameters] = self._parameters
        scratch[self.n_parameters :] = 0
        at_once = max(1, PERTURBED_WORK // (self.n_parameters * X.shape[0]))
        for at in range(0, index.size, at_once):  # Ctrl-C is heard between two calls
            part = slice(at, at + at_once)
            self._doors.perturbed_costs(
                self._compiled_of(X),
                scratch[: self.n_parameters],
                X,
                dense,
                labels,
                index[part],
                values[part],
                C[part],
                masks,
                ignore_missing,
            )
        self._warn_unless_finite("perturbed_costs", C)
        return C

    # what changes it, and files

    if TYPE_CHECKING:
        fit = fit_network
    else:
        fit = _Fit()

    def save(self, path: str | os.PathLike[str], *, metadata: dict[str, Any] | None = None) -> None:
        """Write the network to a safetensors file; `fastbp.load` reads it.

        Parameters
        ----------
        path : str or path-like
            A file there is replaced, whole or not at all.
        metadata : dict, optional
            What the file holds beside the network, JSON-able; None: the network's own `metadata`.

        Raises
        ------
        OSError
            The file could not be written; one that was there is as it was.
        TypeError, ValueError
            `path` is none that a file can have, or `metadata` is not JSON-able.

        Examples
        --------
        >>> import fastbp, pathlib, tempfile
        >>> net = fastbp.Network([2, 3, 1], output="identity", loss="mse", seed=0)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "net.safetensors")
        ...     net.save(path)
        ...     again = fastbp.load(path)
        >>> bool((again.parameters == net.parameters).all())
        True
        """
        from fastbp.files import model

        model.save(self, path, metadata=metadata)


# What `Network` has or is made of: its public names but `parameters`, which is assigned to.
_FIXED = frozenset(
    {*(name for name in dir(Network) if not name.startswith("_")), "activation", "output"}
    - {"parameters"}
)
_WRITABLE = {"weights": "[l][...]", "biases": "[l][...]", "tensors": "[name][...]"}


def _instead(name: str, value: Any) -> str:
    """What to do in place of an assignment."""
    if name in _WRITABLE:
        return f"write into its arrays, net.{name}{_WRITABLE[name]} = ..."
    if name in ("classes", "columns"):
        return f"set net.metadata[{name!r}]"
    if name in ("sizes", "activation", "output", "loss", "dtype"):
        return f"make a new Network(..., {name}={functions.shown(value)})"
    return "make a new Network, or a subclass for a method of your own"


def as_network(value: Any, name: str = "net") -> Network:
    """`value` where it is a network."""
    if not isinstance(value, Network):
        raise TypeError(f"{name}: expected a fastbp.Network; got {type(value).__name__}")
    return value
