"""A network as the stack of layers that every format is written from and read into.

What belongs here: which network is meant, its layers with their tensors, a network made of such
layers. What does not: anything of one format.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from fastbp import functions, inputs
from fastbp.functions import Activation, shown
from fastbp.layers import Dense, Scale
from fastbp.network import Network

if TYPE_CHECKING:
    import sklearn.base

    from fastbp.estimators import (
        MLPClassifier,
        MLPRegressor,
        TabularClassifier,
        TabularRegressor,
    )

# of one network; and what is written whole, a pipeline of scikit-learn too
OneNetwork: TypeAlias = "Network | MLPClassifier | MLPRegressor"
Model: TypeAlias = "OneNetwork | TabularClassifier | TabularRegressor | sklearn.base.BaseEstimator"


class Layer(NamedTuple):
    """One layer, z = a W + b or z = s a, then a = sigma(z).

    Attributes
    ----------
    number : int
        From 1, as in the names of `Network.tensors`.
    tensors : dict of ndarray
        W (n_in, width of z) and b, or s, by their letter; C-contiguous.
    sigma : Activation
    n_in, n_z, n_out : int
    is_dot : bool
        Whether the engine adds its only output in sixteen sums.
    """

    number: int
    tensors: dict[str, np.ndarray]
    sigma: Activation
    n_in: int
    n_z: int
    n_out: int
    is_dot: bool


class Part(NamedTuple):
    """What a format tells of one layer: tensors by their letter, and an activation's name."""

    tensors: dict[str, np.ndarray]
    activation: str
    where: str  # by what name a refusal calls it


def network_of(model: Any, argument: str = "model") -> Network:
    """The network, or the one of an estimator."""
    if isinstance(model, Network):
        net = model
    else:
        if is_estimator(model):
            nets = fitted_networks(model)
        else:
            raise TypeError(
                f"{argument}: expected a Network or a fitted estimator of fastbp; got "
                f"{shown(model)}"
            )
        if hasattr(model, "encoder_"):
            raise ValueError(
                f"{argument}: expected a network on numbers; got {type(model).__name__}, which "
                "takes tables: to_onnx writes it whole; its networks alone are networks_"
            )
        if len(nets) != 1:
            raise ValueError(
                f"{argument}: expected one network; got an ensemble of {len(nets)}: to_onnx writes "
                "it whole; one of them is networks_[0]"
            )
        net = nets[0]
    check_finite(net)
    return net


def is_estimator(model: Any) -> bool:
    """Whether it is one of ours."""
    own = any(cls.__module__.startswith("fastbp.estimators.") for cls in type(model).__mro__)
    return own and hasattr(model, "n_ensemble")


def fitted_networks(model: Any) -> list[Network]:
    """The networks of an estimator.

    Raises
    ------
    NotFittedError
    """
    from sklearn.utils.validation import check_is_fitted

    check_is_fitted(model)
    found: list[Network] = model.networks_
    return found


def check_finite(net: Network) -> None:
    """Refuse parameters that `predict` refuses."""
    inputs.as_numbers(net.parameters, "parameters", net.dtype)


def layers_of(net: Network) -> list[Layer]:
    """The layers of a network, with copies of its tensors."""
    found, n_in = [], net.sizes[0]
    for number, layer in enumerate(net.layers, 1):
        sigma = functions.activation(layer.activation)
        tensors = {
            letter: np.array(net.tensors[f"{letter}{number}"], order="C")
            for letter in layer.letters
        }
        n_out = layer.n if isinstance(layer, Dense) else n_in
        n_z = n_out * sigma.z_per_a
        is_dot = isinstance(layer, Dense) and n_z == 1 and number > 1
        found.append(Layer(number, tensors, sigma, n_in, n_z, n_out, is_dot))
        n_in = n_out
    return found


def with_tensors(twin: Network, tensors: Sequence[np.ndarray]) -> Network:
    """`twin` with these tensors, in its own order."""
    for own, given in zip(twin.tensors.values(), tensors, strict=True):
        own[...] = given
    return twin


def built(parts: Iterable[Part], loss: str, argument: str) -> Network:
    """The network of these layers, whose parameters have the bits of the tensors.

    Raises
    ------
    ValueError
        No layers, layers that do not follow each other, a dtype that is not float32 or float64, a
        loss that does not fit; the message begins with the argument.
    """
    parts = list(parts)
    if not parts:
        raise ValueError(f"{argument}: expected at least one dense layer; got none")
    dtype = _dtype_of(parts, argument)
    first = parts[0].tensors
    n_in = len(first["W"] if "W" in first else first["s"])
    sizes: list[Any] = [n_in]
    for part in parts:
        if "s" in part.tensors:
            sizes.append(Scale())
            if part.activation != "identity":
                raise ValueError(
                    f"{argument}: {part.where}: expected no activation behind a scale; got "
                    f"{part.activation!r}"
                )
            _check_width(part, len(part.tensors["s"]), n_in, argument)
            continue
        W = part.tensors["W"]
        sigma = functions.activation(part.activation)
        _check_width(part, len(W), n_in, argument)
        if W.shape[1] % sigma.z_per_a:
            raise ValueError(
                f"{argument}: {part.where}: expected a multiple of {sigma.z_per_a} outputs before "
                f"{sigma.name!r}; got {W.shape[1]}"
            )
        n_in = W.shape[1] // sigma.z_per_a
        sizes.append(Dense(n_in, sigma.name))
    try:
        net = Network(sizes, loss=loss, dtype=dtype, init="zeros")
    except (TypeError, ValueError) as error:
        told = str(error)
        raise ValueError(told if told.startswith("loss:") else f"{argument}: {told}") from None
    tensors = [tensor for part in parts for tensor in part.tensors.values()]
    for tensor in tensors:
        if not np.isfinite(tensor).all():
            raise ValueError(f"{argument}: expected finite parameters; got NaN or infinity")
    return with_tensors(net, tensors)


def _check_width(part: Part, found: int, expected: int, argument: str) -> None:
    if found != expected:
        raise ValueError(
            f"{argument}: {part.where}: expected {expected} inputs, as many as come before; got "
            f"{found}"
        )


def _dtype_of(parts: Sequence[Part], argument: str) -> np.dtype[Any]:
    dtypes = {tensor.dtype.name: part for part in parts for tensor in part.tensors.values()}
    if len(dtypes) > 1 or not set(dtypes) <= {"float32", "float64"}:
        raise ValueError(
            f"{argument}: expected parameters of one type, float32 or float64; got "
            f"{', '.join(sorted(dtypes))}"
        )
    return np.dtype(next(iter(dtypes)))


class Chain:
    """Layers in the order in which a format tells of them, until they are `built`.

    Attributes
    ----------
    argument : str
        What a refusal begins with.
    """

    def __init__(self, argument: str) -> None:
        self.argument = argument
        self.parts: list[Part] = []

    def refuse(self, where: str, expected: str, got: str) -> Exception:
        return ValueError(f"{self.argument}: {where}: expected {expected}; got {got}")

    def dense(self, W: Any, b: Any, where: str) -> None:
        """z = a W + b; b None: zeros."""
        W = np.asarray(W)
        if W.ndim != 2 or not W.size:
            raise self.refuse(where, "weights of 2 dimensions", f"shape {W.shape}")
        b = np.zeros(W.shape[1], W.dtype) if b is None else np.asarray(b)
        if b.size not in (1, W.shape[1]) or b.shape[-1:] not in ((), (b.size,)):
            raise self.refuse(where, f"{W.shape[1]} biases", f"shape {b.shape}")
        b = np.broadcast_to(b.reshape(-1), W.shape[1])
        self.parts.append(Part({"W": W, "b": b}, "identity", where))

    def scale(self, s: Any, where: str) -> None:
        """z = s a."""
        s = np.asarray(s)
        if not s.ndim or s.shape[-1] != s.size:
            raise self.refuse(where, "a factor for each column", f"shape {s.shape}")
        self.parts.append(Part({"s": s.reshape(-1)}, "identity", where))

    def activation(self, name: str, where: str) -> None:
        """What comes behind the last layer."""
        try:
            name = functions.activation(name).name
        except ValueError as error:
            told = str(error).removeprefix("activation: ")
            raise ValueError(f"{self.argument}: {where}: {told}") from None
        if name == "identity":
            return
        if not self.parts or "s" in self.parts[-1].tensors:
            before = "a scale" if self.parts else "nothing"
            raise self.refuse(where, f"a dense layer before {name!r}", before)
        if self.parts[-1].activation != "identity":
            raise self.refuse(
                where, "one activation behind a dense layer",
                f"{self.parts[-1].activation!r} and {name!r}",
            )  # fmt: skip
        self.parts[-1] = self.parts[-1]._replace(activation=name)

    def built(self, loss: str, output: str | None = None) -> Network:
        """The network; `output`: what the last layer has behind it, where nothing is told."""
        if output is not None:
            chain = Chain("output")
            chain.parts = self.parts
            chain.activation(output, "of a last layer without one")
        try:
            return built(self.parts, loss, self.argument)
        except ValueError as error:
            if "needs outputs" not in str(error) or self.parts[-1].activation != "identity":
                raise
            usual = functions.loss(loss).output  # as logits are for losses of PyTorch and Keras
            raise ValueError(f"{error}. Where it is left to the loss: output={usual!r}") from None
