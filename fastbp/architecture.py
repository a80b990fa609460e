"""What a network is: its layers, the store of its parameters and the views of it, its copies.

What belongs here: all of `Network` that needs no data. What does not: what can be asked of it
(network.py), kinds of layers (layers.py), the values that it begins with (initialization.py).
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from fastbp import functions, inputs, layers as kinds
from fastbp.inputs import ArrayLike
from fastbp.kernels import dispatch
from fastbp.sparse import Lists

if TYPE_CHECKING:
    from fastbp.kernels.engine import CompiledNetwork

Array = np.ndarray


class Default(str):
    """The default of an argument, told from the same value given."""

    __slots__ = ()


class Architecture:
    """What `Network` is made of; see there."""

    _compiled_for_lists: CompiledNetwork | None

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

    def _compile_links(self, links: Sequence[str]) -> CompiledNetwork:
        """The engine's description, with these links for the layers'."""
        cost_parameter = self._loss.parameter
        if self._loss.kind == "mse":
            cost_parameter /= self._sizes[-1]
        return self._doors.CompiledNetwork(
            [
                (link, f.kind, f.parameter, n_in, n_out * f.z_per_a, n_out)
                for link, f, n_in, n_out in zip(
                    links, self._sigmas, self._widths, self._widths[1:], strict=False
                )
            ],
            (self._loss.kind, cost_parameter),
            self._n_targets,
        )

    def _compiled_of(self, X: object) -> CompiledNetwork:
        """The engine's description for such X; where its rows are lists, made when first asked."""
        if not isinstance(X, Lists):
            return self._compiled
        if self._compiled_for_lists is None:
            first = kinds.n_scales(self._layers)  # the dense layer that the lists lead to
            self._compiled_for_lists = self._compile_links(
                [f.sparse_link if l <= first else f.link for l, f in enumerate(self._layers)]
            )
        return self._compiled_for_lists

    def _compile(self) -> None:
        """Hand the description to the engine."""
        self._doors = dispatch.doors(self._dtype)
        self._compiled = self._compile_links([layer.link for layer in self._layers])
        self._compiled_for_lists = None
        self.__dict__.pop("_learner", None)
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

    @property
    def sizes(self) -> list[int]:
        """Activations of the input and of each dense layer."""
        return list(self._sizes)

    @property
    def layers(self) -> tuple[kinds.Layer, ...]:
        """Every layer but the input, each with its activation."""
        return self._layers

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """Of parameters and results: float32 or float64."""
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
    def parameters(self, value: ArrayLike) -> None:
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
    def classes(self) -> list[str | int | float] | None:
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
    def columns(self) -> list[str | int | float] | None:
        """Names of the columns of X, from ``metadata["columns"]``: a frame's are found by them."""
        return self._names("columns", (self._sizes[0],))

    def _names(self, key: str, lengths: tuple[int, ...]) -> list[str | int | float] | None:
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

    def copy(self) -> Self:
        """A network of its own with the same parameters and metadata.

        Returns
        -------
        Network
            Of the same class; nothing of it is shared.
        """
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


# What `_describe` sets; all else in a network's __dict__ is the user's or a subclass's.
_DESCRIBED = frozenset(
    "_sizes _hidden _output _loss _dtype _layers _sigmas _widths _n_targets _described _parameters "
    "_tensors _weights _biases _compiled _compiled_for_lists _doors _predictor _learner".split()
)


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
    if not isinstance(output, Default) and own != given:
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
