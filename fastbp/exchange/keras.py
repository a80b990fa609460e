"""`from_keras`.

What belongs here: which layer of Keras 3 is which of ours. What does not: networks of layers
(stack.py).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import hints
from fastbp.exchange.stack import Chain
from fastbp.functions import shown
from fastbp.network import Network

if TYPE_CHECKING:
    import keras

# by the name of Keras' function, with its own defaults
ACTIVATIONS = {
    "linear": "identity",
    "sigmoid": "sigmoid",
    "tanh": "tanh",
    "relu": "relu",
    "leaky_relu": "leaky_relu(0.2)",
    "elu": "elu",
    "selu": "selu",
    "gelu": "gelu",
    "silu": "silu",
    "swish": "silu",
    "mish": "mish",
    "softplus": "softplus",
    "softsign": "softsign",
    "hard_tanh": "hardtanh",
    "exponential": "exp",
    "softmax": "softmax",
    "log_softmax": "log_softmax",
    "glu": "glu",
}
# layers that change nothing of a prediction
NOTHING = ("InputLayer", "Dropout", "GaussianNoise", "GaussianDropout", "AlphaDropout",
           "ActivityRegularization", "Identity")  # fmt: skip


def _relu(layer: Any) -> str | None:
    plain = layer.max_value is None and layer.threshold == 0
    slope = float(layer.negative_slope)
    return (f"leaky_relu({slope!r})" if slope else "relu") if plain else None


# layers that are activations; None where their parameters say another function
LAYERS: dict[str, Callable[[Any], str | None]] = {
    "ReLU": _relu,
    "LeakyReLU": lambda m: f"leaky_relu({float(m.negative_slope)!r})",
    "ELU": lambda m: f"elu({float(m.alpha)!r})",
    "Softmax": lambda m: "softmax" if m.axis in (-1, 1) else None,
    # channels first: it would put them last before it flattens
    "Flatten": lambda m: "identity" if m.data_format != "channels_first" else None,
}


def from_keras(model: keras.Model, loss: str = "mse", *, output: str | None = None) -> Network:
    """A network out of a Keras 3 model of Dense layers.

    Parameters
    ----------
    model : keras.Sequential or keras.Model
        Dense layers one behind the other, activations, dropout; of a functional model one chain.
    loss : str, default "mse"
        Of the network.
    output : str, optional
        Activation of the last layer where the model has none behind it, as one whose loss has
        from_logits=True: "softmax", "sigmoid". Default: "identity".

    Returns
    -------
    Network
        Its parameters have the bits of the model's.

    Raises
    ------
    TypeError, ValueError
        A layer or an activation that a Network has not (BatchNormalization, relu6, ...), by its
        name; several inputs, outputs or branches.
    ImportError
        Keras is missing.

    Examples
    --------
    >>> import keras  # doctest: +SKIP
    >>> from fastbp.exchange import from_keras
    >>> stack = [keras.Input((2,)), keras.layers.Dense(1, "sigmoid")]  # doctest: +SKIP
    >>> from_keras(keras.Sequential(stack))  # doctest: +SKIP
    Network([2, 1], activation=[], output='sigmoid', loss='mse', dtype='float32': 3 parameters)
    """
    try:
        import keras
    except ImportError as error:
        raise hints.missing("from_keras needs", "keras", "keras") from error
    if not isinstance(model, keras.Model):
        raise TypeError(f"model: expected a keras.Model; got {shown(model)}")
    chain = Chain("model")
    for layer in _chain_of(keras, model, chain):
        _add(keras, layer, chain)
    shape = model.output_shape
    if len(shape) != 2:
        raise chain.refuse(model.name, "outputs (n, columns)", f"shape {shape}")
    return chain.built(loss, output)


def _chain_of(keras: Any, model: Any, chain: Chain) -> list[Any]:
    """The layers of a model, one behind the other, those of models within it too."""
    if not model.built:
        raise chain.refuse(model.name, "a model that is built", "none yet: model.build(shape)")
    if not _is_theirs(type(model).call):
        raise chain.refuse(
            model.name, "a Sequential or functional model", f"{type(model).__name__} with its call"
        )
    if isinstance(model, keras.Sequential):
        layers = list(model.layers)
    else:
        layers = _of_functional(model, chain)
    found = []
    for layer in layers:
        found += _chain_of(keras, layer, chain) if isinstance(layer, keras.Model) else [layer]
    return found


def _is_theirs(named: Any) -> bool:
    """Whether it is of Keras; what only has the name of theirs may do anything."""
    return str(getattr(named, "__module__", "")).startswith("keras.")


def _of_functional(model: Any, chain: Chain) -> list[Any]:
    if not hasattr(model, "_nodes_by_depth") or not hasattr(model, "operations"):
        raise chain.refuse(
            model.name, "a Sequential or functional model", f"{type(model).__name__}, a subclass"
        )
    by_depth = model._nodes_by_depth
    found: list[Any] = []
    for depth in sorted(by_depth, reverse=True):
        node = by_depth[depth][0]
        parents = [parent.operation for parent in node.parent_nodes]
        if len(by_depth[depth]) != 1 or parents != found[-1:] or node.operation in found:
            raise chain.refuse(
                node.operation.name, "one chain of layers", "branches, or a layer that comes twice"
            )
        found.append(node.operation)
    return found


def _add(keras: Any, layer: Any, chain: Chain) -> None:
    kind = type(layer).__name__
    where = f"{layer.name} ({kind})"
    if type(layer) is keras.layers.Dense:
        if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
            raise chain.refuse(where, "plain weights", "quantized ones, or lora")
        W = np.asarray(keras.ops.convert_to_numpy(layer.kernel))
        b = np.asarray(keras.ops.convert_to_numpy(layer.bias)) if layer.use_bias else None
        if layer.compute_dtype != W.dtype.name:
            raise chain.refuse(
                where, "a layer that computes in its weights' type", f"{layer.compute_dtype}"
            )
        chain.dense(W, b, where)
        _activation(keras, layer.activation, chain, where)
    elif kind == "Activation" and _is_theirs(type(layer)):
        _activation(keras, layer.activation, chain, where)
    elif kind in LAYERS and _is_theirs(type(layer)):
        _of_layer(layer, chain, where)
    elif kind not in NOTHING or not _is_theirs(type(layer)):
        raise chain.refuse(where, _known(), f"{type(layer).__module__}.{kind}")


def _known() -> str:
    return f"Keras' {', '.join(['Dense', 'Activation', *LAYERS, *NOTHING])}"


def _of_layer(layer: Any, chain: Chain, where: str) -> None:
    kind = type(layer).__name__
    name = LAYERS[kind](layer)
    if name is None:
        raise chain.refuse(where, f"{kind} as fastbp has it", str(layer.get_config())[:200])
    chain.activation(name, where)


def _activation(keras: Any, function: Any, chain: Chain, where: str) -> None:
    if type(function).__name__ in LAYERS and _is_theirs(type(function)):
        _of_layer(function, chain, where)  # Dense(4, keras.layers.LeakyReLU())
        return
    name = getattr(function, "__name__", None) or type(function).__name__
    # keras.ops.gelu, for one, is another function than keras.activations.gelu
    if name not in ACTIVATIONS or getattr(keras.activations, name, None) is not function:
        known = f"an activation of keras.activations among {', '.join(ACTIVATIONS)}"
        raise chain.refuse(where, known, f"{getattr(function, '__module__', '')}.{name}")
    chain.activation(ACTIVATIONS[name], where)
