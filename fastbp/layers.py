"""Layers: what a `Network` is made of, z = link(a) and a = sigma(z).

What belongs here: a dataclass for each kind of link, with the tensors it learns, and how a list of
layers is written. What does not: formulas (kernels/links/; the oracle is reference/links.py),
activations (functions.py), what becomes of the tensors (network.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

from fastbp import functions, inputs


class Tensor(NamedTuple):
    """A parameter tensor of a layer; its name is the letter with the layer's number: W1."""

    letter: str
    shape: tuple[int, ...]
    decay: float  # how much penalties and weight decay reach it, unless told otherwise
    start: float | None = None  # what it begins with; None: it is drawn


@dataclass(frozen=True)
class Dense:
    """A dense layer, z = a W + b, a = sigma(z): each unit is connected with all before it.

    In `Network` a whole number is short for it.

    Parameters
    ----------
    n : int
        Activations; z may be wider (glu, maxout).
    activation : str, optional
        Of this layer; without it that of `Network(activation=..., output=...)`.

    Examples
    --------
    >>> from fastbp import Network
    >>> from fastbp.layers import Dense
    >>> net = Network([2, Dense(3, "tanh"), 5, Dense(1, "identity")], loss="mse")
    >>> net.layers[0] == Dense(3, "tanh"), net.layers[1]
    (True, Dense(n=5, activation='sigmoid'))
    """

    n: int
    activation: str | None = None

    link: ClassVar[str] = "dense"
    sparse_link: ClassVar[str] = "sparse"  # where it reads rows as lists
    letters: ClassVar[str] = "Wb"

    def __post_init__(self) -> None:
        inputs.as_count(self.n, "Dense.n")
        if self.activation is not None:
            functions.activation(self.activation, "Dense.activation")

    def tensors(self, n_in: int, n_z: int) -> tuple[Tensor, ...]:
        """Describe W and b, for an input of n_in columns and a z of n_z.

        Parameters
        ----------
        n_in : int
            Columns of the layer's input.
        n_z : int
            Columns of its z.

        Returns
        -------
        tuple of Tensor
            W (n_in, n_z), which penalties reach, and b (n_z,).
        """
        return Tensor("W", (n_in, n_z), 1.0), Tensor("b", (n_z,), 0.0)


@dataclass(frozen=True)
class Scale:
    """A learned factor for each column, a_j = s_j a_j of the layer before, 1 at first.

    Before the first dense layer it learns how much each column of X counts. Neither penalties nor
    weight decay reach s. In what is to be JSON it is written "scale".

    Examples
    --------
    >>> from fastbp import Network
    >>> from fastbp.layers import Scale
    >>> net = Network([8, Scale(), 64, 1], output="identity", loss="mse")
    >>> list(net.tensors), net.tensors["s1"].tolist()
    (['s1', 'W2', 'b2', 'W3', 'b3'], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    """

    link: ClassVar[str] = "scale"
    sparse_link: ClassVar[str] = "sparse scale"
    letters: ClassVar[str] = "s"
    activation: ClassVar[str] = "identity"

    def tensors(self, n_in: int, n_z: int) -> tuple[Tensor, ...]:
        """Describe the vector s; n_z = n_in.

        Parameters
        ----------
        n_in : int
            Columns of the layer's input.
        n_z : int
            Columns of its z.

        Returns
        -------
        tuple of Tensor
            S (n_z,), which begins at 1.
        """
        return (Tensor("s", (n_z,), 0.0, start=1.0),)


Layer = Dense | Scale

# by the letters of tensors' names: how much penalties and weight decay reach them, unless told
DECAYS = {t.letter: t.decay for kind in (Dense(1), Scale()) for t in kind.tensors(1, 1)}
NAMED: dict[str, type[Scale]] = {"scale": Scale}  # what JSON names


def as_sizes(value: Iterable[object]) -> tuple[int, list[Layer]]:
    """What `Network` takes for its sizes: the input's width, and the layers."""
    try:
        if isinstance(value, (str, bytes, bytearray, Set, Mapping)):  # Set: in which order?
            raise TypeError
        given = list(value)
    except Exception:
        raise TypeError(
            f"sizes: expected whole numbers such as [784, 30, 10]; got {functions.shown(value)}"
        ) from None
    checked = [_as_layer(item, f"sizes[{i}]", i == 0) for i, item in enumerate(given)]
    if len(checked) < 2:
        raise ValueError(f"sizes: expected at least an input and an output; got {given}")
    if not isinstance(checked[-1], Dense):
        raise ValueError(f"sizes: expected a dense layer last; got {checked[-1]}")
    return checked[0].n, checked[1:]


def _as_layer(item: Any, name: str, is_input: bool) -> Any:
    if not is_input:
        if isinstance(item, Layer):
            return item
        if isinstance(item, str) and item in NAMED:
            return NAMED[item]()
        if isinstance(item, (str, type)) or item is None:
            raise TypeError(
                f"{name}: expected a whole number, a layer such as Scale() or the name of one, "
                f"{', '.join(NAMED)}; got {functions.shown(item)}"
            )
    return Dense(inputs.as_count(item, name))


def as_json(layer: Layer) -> int | str:
    """A layer in `Network.architecture`, which names its activations apart."""
    return layer.n if isinstance(layer, Dense) else layer.link


def with_activations(layers: Sequence[Layer], names: Iterable[str]) -> tuple[Layer, ...]:
    """The same, each dense layer with the next of the names for its activation."""
    rest = iter(names)
    return tuple(
        Dense(layer.n, next(rest)) if isinstance(layer, Dense) else layer for layer in layers
    )


def of(architecture: dict[str, Any]) -> tuple[Layer, ...]:
    """The layers that `Network.architecture` tells of, each with its activation.

    >>> of({"sizes": [2, "scale", 3, 1], "activation": ["tanh"], "output": "identity"})
    (Scale(), Dense(n=3, activation='tanh'), Dense(n=1, activation='identity'))
    """
    names = [*architecture["activation"], architecture["output"]]
    return with_activations(as_sizes(architecture["sizes"])[1], names)


def widths(n_inputs: int, layers: Sequence[Layer]) -> list[int]:
    """Of a^0, ..., a^L."""
    found = [n_inputs]
    for layer in layers:
        found.append(layer.n if isinstance(layer, Dense) else found[-1])
    return found


def n_scales(layers: Sequence[Layer]) -> int:
    """How many layers come before the first dense one: of sparse rows they give sparse rows."""
    return next(l for l, layer in enumerate(layers) if isinstance(layer, Dense))


def tensors(
    n_inputs: int, layers: Sequence[Layer], z_per_a: Sequence[int]
) -> Iterator[tuple[str, Tensor]]:
    """Every tensor with its name, in the order of `Network.parameters`."""
    n = widths(n_inputs, layers)
    for l, (layer, times) in enumerate(zip(layers, z_per_a, strict=True), 1):
        for tensor in layer.tensors(n[l - 1], n[l] * times):
            yield f"{tensor.letter}{l}", tensor
