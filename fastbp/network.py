"""The network: layers, parameters, and what can be asked of them.

What belongs here: `Network` with predictions, losses, gradients and Jacobians. What does not: the
training loop (training/), files (files/), checks of arguments (inputs.py), kinds of layers
(layers.py).
"""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType, MethodType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import factors, functions, initialization, inputs, samples
from fastbp import layers as kinds
from fastbp.dropout import Dropout, masks_of
from fastbp.kernels import dispatch

if TYPE_CHECKING:
    import os

    from fastbp.samples import Samples
    from fastbp.training.fit import fit as fit_network

Array = np.ndarray

PERTURBED_WORK = 10**8  # multiply-adds of one call of the engine: tens of milliseconds


class _Fit:
    """`fastbp.training.fit` as a method, imported when it is asked for."""

    def __get__(self, net: Network | None, owner: type[Network]) -> Any:
        from fastbp import training

        return training.fit if net is None else MethodType(training.fit, net)


class _Default(str):
    """The default of an argument, told from the same value given."""

    __slots__ = ()


@inputs.named
class Network:
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
        Cost of one sample, summed over outputs (`fastbp.functions.LOSSES`).
    dtype : "float32" or "float64"
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
        output: str = _Default("softmax"),
        loss: str = "cross_entropy",
        dtype: Any = "float32",
        init: str = "scaled",
        seed: Any = 0,
    ) -> None:
        self._describe(sizes, activation, output, loss, dtype)
        initialization.fill(self.weights, self.biases, init, seed)
        for name, tensor in self._described:
            if tensor.start is not None:
                self._tensors[name][...] = tensor.start

    def _describe(
        self,
        sizes: Any,
        activation: str | Sequence[str],
        output: str,
        loss: str,
        dtype: Any,
    ) -> None:
        """Everything but the parameters' values."""
        n_inputs, given = kinds.as_sizes(sizes)
        dense = [layer for layer in given if isinstance(layer, kinds.Dense)]
        self._sizes = [n_inputs, *(layer.n for layer in dense)]
        self._hidden = _hidden_activations(activation, dense[:-1])
        self._output = _output_activation(output, dense[-1])
        self._loss = functions.loss(loss)
        for hidden, n in zip(self._hidden, self._sizes[1:], strict=False):
            functions.check_units(hidden, n, "activation")
        n_outputs = self._sizes[-1]
        functions.check_units(self._output, n_outputs, "output")
        functions.check_pair(self._output, self._loss, n_outputs)
        self._dtype = _checked_dtype(dtype)
        for hidden in self._hidden:
            functions.check_parameter(hidden, "activation", self._dtype)
        functions.check_parameter(self._output, "output", self._dtype)
        functions.check_parameter(self._loss, "loss", self._dtype)
        self.metadata: dict[str, Any] = {}

        names = [f.name for f in (*self._hidden, self._output)]
        self._layers = kinds.with_activations(given, names)
        self._sigmas = [functions.activation(layer.activation) for layer in self._layers]
        self._widths = kinds.widths(n_inputs, self._layers)
        self._n_targets = self._loss.n_targets(n_outputs)
        self._allocate()
        self._compile()

    def _compile(self) -> None:
        """Hand the description to the engine."""
        cost_parameter = self._loss.parameter
        if self._loss.kind == "mse":
            cost_parameter /= self._sizes[-1]
        self._doors = dispatch.doors(self._dtype)
        self._compiled = self._doors.CompiledNetwork(
            [
                (layer.link, f.kind, f.parameter, n_in, n_out * f.z_per_a, n_out)
                for layer, f, n_in, n_out in zip(
                    self._layers, self._sigmas, self._widths, self._widths[1:], strict=False
                )
            ],
            (self._loss.kind, cost_parameter),
            self._n_targets,
        )
        self._predictor = self._doors.Predictor(
            self._compiled, self._parameters, np.empty, self._dtype
        )

    def _allocate(self) -> None:
        """Make the flat store and its views.

        It begins at a multiple of 64 bytes, or one row's prediction takes twice as long; 64 bytes
        behind it may be read by the engine.
        """
        z_per_a = [f.z_per_a for f in self._sigmas]
        self._described = list(kinds.tensors(self._sizes[0], self._layers, z_per_a))
        n_parameters = sum(math.prod(tensor.shape) for _, tensor in self._described)
        slack = 64 // self._dtype.itemsize
        if (n_parameters + 2 * slack) * self._dtype.itemsize > sys.maxsize:
            many = f"{n_parameters:,}" if n_parameters < 10**40 else "10**40 and more"
            raise MemoryError(f"sizes: {many} parameters do not fit in memory")
        with inputs.fitting_in_memory("sizes"):
            memory = np.zeros(n_parameters + 2 * slack, self._dtype)
        first = -memory.ctypes.data % 64 // self._dtype.itemsize
        self._parameters: Array = memory[first : first + n_parameters]
        self._tensors: dict[str, Array] = {}
        at = 0
        for name, tensor in self._described:
            size = math.prod(tensor.shape)
            self._tensors[name] = self._parameters[at : at + size].reshape(tensor.shape)
            at += size
        self._weights = [v for name, v in self._tensors.items() if name[0] == "W"]
        self._biases = [v for name, v in self._tensors.items() if name[0] == "b"]

    # what the network is

    @property
    def sizes(self) -> list[int]:
        """Activations of the input and of each dense layer."""
        return list(self._sizes)

    @property
    def layers(self) -> tuple[kinds.Layer, ...]:
        """Every layer but the input, each with its activation."""
        return self._layers

    @property
    def dtype(self) -> np.dtype[Any]:
        """float32 or float64."""
        return self._dtype

    @property
    def n_parameters(self) -> int:
        """Number of all elements of `tensors`."""
        return self._parameters.size

    @property
    def parameters(self) -> Array:
        """All tensors, (n_parameters,): W1, b1, W2, b2, ..."""
        return self._parameters

    @parameters.setter
    def parameters(self, value: Any) -> None:
        array = inputs.as_numbers(value, "parameters", self._dtype)
        if array.shape != self._parameters.shape:
            raise ValueError(
                f"parameters: expected shape {self._parameters.shape}; got {array.shape}"
            )
        self._parameters[...] = array

    @property
    def weights(self) -> list[Array]:
        """Of each dense layer a view of `parameters`: weights[l] is (n_in, width of z)."""
        return list(self._weights)

    @property
    def biases(self) -> list[Array]:
        """Of each dense layer a view of `parameters`: biases[l] is (width of z,)."""
        return list(self._biases)

    @property
    def tensors(self) -> Mapping[str, Array]:
        """Views of `parameters` by name, in its order: W1 and b1 are those of the first layer.

        The number counts all layers: [8, Scale(), 64, 1] has s1, W2, b2, W3 and b3.

        >>> import fastbp
        >>> net = fastbp.Network([2, 3, 1], output="identity", loss="mse")
        >>> {name: tensor.shape for name, tensor in net.tensors.items()}
        {'W1': (2, 3), 'b1': (3,), 'W2': (3, 1), 'b2': (1,)}
        >>> net.tensors["b1"][:] = 0.5
        >>> net.biases[0].tolist()
        [0.5, 0.5, 0.5]
        """
        return MappingProxyType(self._tensors)

    @property
    def architecture(self) -> dict[str, Any]:
        """The arguments that make such a network, without init and seed; JSON-able.

        >>> import fastbp
        >>> architecture = fastbp.Network([4, fastbp.layers.Scale(), 3, 2]).architecture
        >>> architecture["sizes"], architecture["activation"]
        ([4, 'scale', 3, 2], ['sigmoid'])
        """
        sizes = [self._sizes[0], *map(kinds.as_json, self._layers)]
        return {
            "sizes": sizes,
            "activation": [f.name for f in self._hidden],
            "output": self._output.name,
            "loss": self._loss.name,
            "dtype": self._dtype.name,
        }

    @property
    def classes(self) -> list[Any] | None:
        """Names of the classes in the order of the outputs (of one output: those of 0 and of 1).

        From ``metadata["classes"]``, which the command line and the estimators write; None where
        there are none, or not as many as outputs.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([4, 3, 2])
        >>> net.metadata["classes"] = ["no", "yes"]
        >>> net.classes[int(net.predict([[1.0, 2.0, 3.0, 4.0]]).argmax())] in net.classes
        True
        """
        n = self._sizes[-1]
        return self._names("classes", (1, 2) if n == 1 else (n,))

    @property
    def columns(self) -> list[Any] | None:
        """Names of the columns of X, from ``metadata["columns"]``: a frame's are found by them."""
        return self._names("columns", (self._sizes[0],))

    def _names(self, key: str, lengths: tuple[int, ...]) -> list[Any] | None:
        """The names that came with the network, if they are such."""
        names = self.metadata.get(key) if isinstance(self.metadata, dict) else None
        if not isinstance(names, list) or len(names) not in lengths:
            return None
        return list(names) if all(isinstance(v, (str, int, float)) for v in names) else None

    def __repr__(self) -> str:
        hidden = [f.name for f in self._hidden]
        shown = repr(hidden[0]) if len(set(hidden)) == 1 else repr(hidden)
        sizes = [n.n if isinstance(n, kinds.Dense) else n for n in self._layers]
        return (
            f"Network({[self._sizes[0], *sizes]}, activation={shown}, "
            f"output={self._output.name!r}, loss={self._loss.name!r}, "
            f"dtype={self._dtype.name!r}: {self.n_parameters:,} parameters)"
        )

    def _repr_html_(self) -> str:
        sizes = dict.fromkeys(range(1, len(self._layers) + 1), 0)
        for name, tensor in self._tensors.items():
            sizes[int(name[1:])] += tensor.size
        rows = "".join(
            f"<tr><td>{l}</td><td>{self._widths[l - 1]} → {self._widths[l]}</td><td>{what}</td>"
            f"<td>{sizes[l]:,}</td></tr>"
            for l, what in enumerate(map(_in_words, self._layers), 1)
        )
        return (
            "<table><thead><tr><th>layer</th><th>size</th><th>activation</th><th>parameters</th>"
            f"</tr></thead><tbody>{rows}</tbody><tfoot><tr><td colspan=4>{self.n_parameters:,} "
            f"parameters, {self._dtype.name}, loss {self._loss.name}</td></tr></tfoot></table>"
        )

    def copy(self) -> Network:
        """A network of its own with the same parameters and metadata."""
        import copy

        twin = object.__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__getstate__()))
        return twin

    def __getstate__(self) -> dict[str, Any]:
        extra = {k: v for k, v in self.__dict__.items() if k not in _DESCRIBED}
        return {
            "architecture": self.architecture,
            "parameters": self._parameters.copy(),
            "attributes": extra,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._describe(**state["architecture"])
        self._parameters[...] = state["parameters"]
        self.__dict__.update(state["attributes"])

    # what can be asked of it

    def _ready(self, X: Any) -> Array:
        """X checked, and the parameters, which anybody may have written.

        A frame's columns are found by the names that the network was trained on, where it knows
        them (``metadata["columns"]``).
        """
        if type(X) is not np.ndarray and (columns := self.columns):
            from fastbp.datasets.columns import by_name  # most programs give arrays

            X = by_name(X, "X", columns)
        X = inputs.as_matrix(X, "X", self._sizes[0], self._dtype)
        if not self._doors.is_finite(self._parameters):
            inputs.as_numbers(self._parameters, "parameters", self._dtype)
        return X

    def _targets(
        self, Y: Any, n: int, ignore_missing: bool = False
    ) -> tuple[Array | None, Array | None]:
        if ignore_missing is not False and inputs.as_flag(ignore_missing, "ignore_missing"):
            functions.check_separable(self._output, self._loss)
        return inputs.as_targets(
            Y, n, self._n_targets, self._loss, self._dtype, bool(ignore_missing)
        )

    def _masks(self, dropout: Dropout | None) -> Any:
        return None if dropout is None else masks_of(dropout, self._layers, self._doors)

    def _warn_unless_finite(self, what: str, *results: Array) -> None:
        """As NumPy does of its own functions: not where np.errstate has it ignored."""
        if not all(map(inputs.is_finite, results)) and np.geterr()["over"] != "ignore":
            warnings.warn(
                f"{what}: NaN or infinity from finite input: a value too large for {self._dtype}",
                RuntimeWarning,
                stacklevel=3,
            )

    def predict(self, X: Any, out: Array | None = None) -> Array:
        """Outputs a^L.

        Parameters
        ----------
        X : array_like (n, n_0)
            Of a frame the columns are found by name, where the network knows names
            (``metadata["columns"]``).
        out : ndarray (n, n_L) of the network's dtype, optional
            Written and returned instead of a new array.

        Returns
        -------
        ndarray (n, n_L)
        """
        result: Array | None = self._predictor.predict(X, out)
        if result is not None:
            return result
        X = self._ready(X)
        result = inputs.as_output(out, (X.shape[0], self._sizes[-1]), self._dtype)
        if out is not None:
            if np.may_share_memory(out, self._parameters):
                raise ValueError("out: expected memory apart from the network's parameters")
            if np.may_share_memory(out, X):
                X = X.copy()
        self._doors.predict(self._compiled, self._parameters, X, result)
        self._warn_unless_finite("predict", result)
        return result

    def feedforward(self, X: Any) -> tuple[list[Array], list[Array]]:
        """Every layer's weighted input and activation, one entry for each of `layers`.

        Returns
        -------
        zs : list of ndarray (n, width of z), one a layer but the input
        activations : list of ndarray (n, n_l), the input first
        """
        X = self._ready(X)
        zs = self._empty_zs(X.shape[0])
        activations = [np.empty((X.shape[0], n), self._dtype) for n in self._widths[1:]]
        self._doors.feedforward(self._compiled, self._parameters, X, zs, activations)
        self._warn_unless_finite("feedforward", *zs, *activations)
        return zs, [X.copy(), *activations]

    def _empty_zs(self, n: int) -> list[Array]:
        return [
            np.empty((n, width * f.z_per_a), self._dtype)
            for f, width in zip(self._sigmas, self._widths[1:], strict=True)
        ]

    def _decays(self, told: Any = None) -> list[float]:
        """What penalties and weight decay of each tensor are multiplied by."""
        usual = {name: tensor.decay for name, tensor in self._described}
        return list(usual.values()) if told is None else factors.decays_of(told, usual)

    def _penalty(self, n: int, l2: float, l1: float, decays: Sequence[float]) -> float:
        penalty = self._scaled_penalty(l2 / (2 * n), l1 / n, decays, 1.0)
        if math.isfinite(penalty):
            return penalty
        # of which all have squares
        return self._scaled_penalty(l2 / (2 * n), l1 / n, decays, 2.0**-600)

    def _scaled_penalty(self, l2: float, l1: float, decays: Sequence[float], c: float) -> float:
        """l2 sum W^2 + l1 sum |W| by way of c W, each W times its decay."""
        if not (l2 or l1):
            return 0.0
        squares = sizes = 0.0
        with np.errstate(over="ignore"):
            for tensor, decay in zip(self._tensors.values(), decays, strict=True):
                if decay:
                    W = c * tensor.astype(np.float64)
                    squares += decay * float(np.vdot(W, W)) if l2 else 0.0
                    sizes += decay * float(np.abs(W).sum()) if l1 else 0.0
        return l2 / c * squares / c + l1 / c * sizes

    def loss(
        self,
        X: Any,
        Y: Any,
        *,
        sample_weight: Any = None,
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: Dropout | None = None,
        ignore_missing: bool = False,
        decays: Any = None,
    ) -> float:
        """sum_x w_x C_x / sum_x w_x + (l2/2n) sum W^2 + (l1/n) sum |W|, n rows of X.

        Parameters
        ----------
        X : array_like (n, n_0)
        Y : array_like
            Class indices (n,), or targets (n, n_L); for one output also targets (n,).
        sample_weight : array_like (n,), optional
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
        """
        data = samples.checked(self, X, Y, sample_weight, ignore_missing)
        of_tensors = self._decays(decays)
        masks, n = self._masks(dropout), len(data.X)
        l2, l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
        C = np.empty(n, self._dtype)
        self._doors.costs(self._compiled, self._parameters, *data[:3], C, masks, data.missing)
        loss = samples.mean_cost(C, data) + self._penalty(n, l2, l1, of_tensors)
        self._warn_unless_finite("loss", np.array(loss))
        return loss

    def costs(
        self, X: Any, Y: Any, *, dropout: Dropout | None = None, ignore_missing: bool = False
    ) -> Array:
        """C_x of every sample; takes what `loss` takes of it.

        Returns
        -------
        ndarray (n,)

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
            self._compiled, self._parameters, X, dense, labels, C, masks, ignore_missing
        )
        self._warn_unless_finite("costs", C)
        return C

    def perturbed_costs(
        self,
        X: Any,
        Y: Any,
        index: Any,
        values: Any,
        *,
        dropout: Dropout | None = None,
        ignore_missing: bool = False,
    ) -> Array:
        """C_x of every sample with one parameter changed, for many such changes in one call.

        Parameters
        ----------
        X, Y : as in `loss`
        index : array_like of int (k,)
            Which of `parameters` takes another value.
        values : array_like (k,)
            That value. The network itself stays as it is.
        dropout, ignore_missing : as in `loss`

        Returns
        -------
        ndarray (k, n)

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
                self._compiled,
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

    def deltas(
        self, X: Any, Y: Any, *, dropout: Dropout | None = None, ignore_missing: bool = False
    ) -> list[Array]:
        """delta^l = dC_x/dz^l of every sample and layer but the input (BP1, BP2).

        One entry for each of `layers`. Takes what `loss` takes of C_x.

        Returns
        -------
        list of ndarray (n, width of z)
        """
        X = self._ready(X)
        dense, labels = self._targets(Y, X.shape[0], ignore_missing)
        masks = self._masks(dropout)
        out = self._empty_zs(X.shape[0])
        self._doors.deltas(
            self._compiled, self._parameters, X, dense, labels, out, masks, ignore_missing
        )
        self._warn_unless_finite("deltas", *out)
        return out

    def gradient(
        self,
        X: Any,
        Y: Any,
        *,
        sample_weight: Any = None,
        l2: float = 0.0,
        l1: float = 0.0,
        dropout: Dropout | None = None,
        ignore_missing: bool = False,
        out: Array | None = None,
        decays: Any = None,
    ) -> Array:
        """Gradient of `loss` with respect to `parameters` (BP3, BP4).

        Takes what `loss` takes. The subgradient of |W| at 0 is 0.

        Returns
        -------
        ndarray (n_parameters,)
        """
        data = samples.checked(self, X, Y, sample_weight, ignore_missing)
        of_tensors = self._decays(decays)
        masks = self._masks(dropout)
        l2, l1 = inputs.as_penalty(l2, "l2"), inputs.as_penalty(l1, "l1")
        result = inputs.as_output(out, self._parameters.shape, self._dtype)
        if out is not None and any(
            np.may_share_memory(out, other)
            for other in (self._parameters, *data[:4])
            if other is not None
        ):
            raise ValueError(
                "out: expected memory apart from the network's parameters, X, Y and sample_weight"
            )
        self._add_up(data, l2, l1, of_tensors, result, masks)
        self._warn_unless_finite("gradient", result)
        return result

    def _add_up(
        self,
        data: Samples,
        l2: float,
        l1: float,
        of_tensors: list[float],
        result: Array,
        masks: Any = None,
        C: Array | None = None,
    ) -> None:
        """The gradient of checked samples into `result`, their costs into C (n,)."""
        n = len(data.X)
        total = n if data.weight is None else float(data.weight.sum(dtype=np.float64))
        self._doors.gradient(
            self._compiled, self._parameters, *data[:4], 1 / total, result, masks, data.missing, C
        )
        at = 0
        for (_, tensor), decay in zip(self._described, of_tensors, strict=True):
            size = math.prod(tensor.shape)
            if decay and (l2 or l1):
                part, W = result[at : at + size], self._parameters[at : at + size]
                with np.errstate(over="ignore", invalid="ignore"):  # told below
                    if l2:
                        part += self._dtype.type(decay * l2 / n) * W
                    if l1:
                        part += self._dtype.type(decay * l1 / n) * np.sign(W)
            at += size

    # of samples that are checked, and parameters that are

    def _outputs_of(self, data: Samples) -> Array:
        """a^L   (n, n_L)."""
        outputs = np.empty((len(data.X), self._sizes[-1]), self._dtype)
        self._doors.predict(self._compiled, self._parameters, data.X, outputs)
        return outputs

    def _outputs_and_loss(self, data: Samples) -> tuple[Array, float]:
        """a^L and the loss without penalties, from one pass."""
        n = len(data.X)
        outputs, C = np.empty((n, self._sizes[-1]), self._dtype), np.empty(n, self._dtype)
        self._doors.outputs_and_costs(
            self._compiled, self._parameters, *data[:3], outputs, C, data.missing
        )
        return outputs, samples.mean_cost(C, data)

    def _loss_and_gradient(
        self, data: Samples, l2: float, of_tensors: list[float]
    ) -> tuple[float, Array]:
        """`loss` and `gradient`, from one pass."""
        n, result = len(data.X), np.empty_like(self._parameters)
        C = np.empty(n, self._dtype)
        self._add_up(data, l2, 0.0, of_tensors, result, None, C)
        return samples.mean_cost(C, data) + self._penalty(n, l2, 0.0, of_tensors), result

    def input_gradient(self, X: Any, Y: Any) -> Array:
        """dC_x/dx of every sample.

        Returns
        -------
        ndarray (n, n_0)
        """
        X = self._ready(X)
        dense, labels = self._targets(Y, X.shape[0])
        out = np.empty_like(X)
        self._doors.input_gradient(self._compiled, self._parameters, X, dense, labels, out)
        self._warn_unless_finite("input_gradient", out)
        return out

    def jacobian(self, X: Any) -> Array:
        """da^L/dx of every sample.

        Returns
        -------
        ndarray (n, n_L, n_0)
        """
        X = self._ready(X)
        out = np.empty((X.shape[0], self._sizes[-1], self._sizes[0]), self._dtype)
        self._doors.jacobian(self._compiled, self._parameters, X, out)
        self._warn_unless_finite("jacobian", out)
        return out

    def vjp(self, X: Any, V: Any) -> Array:
        """V da^L/dx, sample by sample.

        Parameters
        ----------
        X : array_like (n, n_0)
        V : array_like (n, n_L)

        Returns
        -------
        ndarray (n, n_0)
        """
        X = self._ready(X)
        V = inputs.as_matrix(V, "V", self._sizes[-1], self._dtype)
        inputs.check_rows(V, "V", X.shape[0])
        out = np.empty_like(X)
        self._doors.vjp(self._compiled, self._parameters, X, V, out)
        self._warn_unless_finite("vjp", out)
        return out

    def jvp(self, X: Any, V: Any) -> Array:
        """da^L/dx V, sample by sample.

        Parameters
        ----------
        X, V : array_like (n, n_0)

        Returns
        -------
        ndarray (n, n_L)
        """
        X = self._ready(X)
        V = inputs.as_matrix(V, "V", self._sizes[0], self._dtype)
        inputs.check_rows(V, "V", X.shape[0])
        out = np.empty((X.shape[0], self._sizes[-1]), self._dtype)
        self._doors.jvp(self._compiled, self._parameters, X, V, out)
        self._warn_unless_finite("jvp", out)
        return out

    # what changes it, and files

    if TYPE_CHECKING:
        fit = fit_network
    else:
        fit = _Fit()

    def save(self, path: str | os.PathLike[str], *, metadata: dict[str, Any] | None = None) -> None:
        """Write the network to a safetensors file; see `fastbp.persistence.save`."""
        from fastbp.files import model

        model.save(self, path, metadata=metadata)


# What `_describe` sets; all else in a network's __dict__ is the user's or a subclass's.
_DESCRIBED = frozenset(
    "_sizes _hidden _output _loss _dtype _layers _sigmas _widths _n_targets _described _parameters "
    "_tensors _weights _biases _compiled _doors _predictor".split()
)


def as_network(value: Any, name: str = "net") -> Network:
    """`value` where it is a network."""
    if not isinstance(value, Network):
        raise TypeError(f"{name}: expected a fastbp.Network; got {type(value).__name__}")
    return value


def _hidden_activations(
    activation: Any, dense: Sequence[kinds.Dense]
) -> list[functions.Activation]:
    """Of the hidden dense layers: their own, or what `activation` says."""
    n_hidden = len(dense)
    names = [activation] * n_hidden if isinstance(activation, str) else activation
    if not isinstance(names, Sequence) or len(names) != n_hidden:
        raise ValueError(
            f"activation: expected one name, or one for each of the {n_hidden} hidden layers; "
            f"got {functions.shown(activation)}"
        )
    if isinstance(activation, str):
        functions.activation(activation)  # refused even where no hidden layer uses it
    given = [functions.activation(name) for name in names]
    return [
        f if layer.activation is None else functions.activation(layer.activation)
        for f, layer in zip(given, dense, strict=True)
    ]


def _output_activation(output: Any, last: kinds.Dense) -> functions.Activation:
    """The last layer's own, or what `output` says; not two that differ."""
    given = functions.activation(output, "output")
    if last.activation is None:
        return given
    own = functions.activation(last.activation)
    if not isinstance(output, _Default) and own != given:
        raise ValueError(
            f"output: expected {own.name!r}, which the last layer names, or none; got "
            f"{given.name!r}"
        )
    return own


def _in_words(layer: kinds.Layer) -> str:
    return str(layer.activation) if isinstance(layer, kinds.Dense) else layer.link


def _checked_dtype(dtype: Any) -> np.dtype[Any]:
    try:
        if not isinstance(dtype, type) and hasattr(dtype, "dtype"):  # NumPy would take an array's
            raise TypeError
        checked = np.dtype(dtype)
    except Exception:  # SyntaxError, DeprecationWarning and others, by what was given
        raise ValueError(functions.unknown("dtype", dtype, ("float32", "float64"))) from None
    if checked not in (np.dtype(np.float32), np.dtype(np.float64)) or dtype is None:
        raise ValueError(functions.unknown("dtype", dtype, ("float32", "float64")))
    return checked.newbyteorder("=")
