"""`to_torch` and `from_torch`.

What belongs here: which module is which of our layers, both ways. What does not: modules that
PyTorch lacks (modules.py), networks of layers (stack.py).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from types import FunctionType, SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import functions, hints
from fastbp.exchange import modules
from fastbp.exchange.stack import Chain, OneNetwork, layers_of, network_of
from fastbp.functions import shown
from fastbp.network import Network

if TYPE_CHECKING:
    import torch


def _package() -> Any:
    try:
        import torch
    except ImportError as error:
        raise hints.missing("to_torch and from_torch need", "torch", "torch") from error
    return torch


def _softplus(nn: Any) -> Any:
    return nn.Softplus(threshold=50.0)  # of 20, by default, float64 sees the difference


# by kind: of torch.nn, the parameter and the number of a
WRITTEN: dict[str, Callable[[Any, float, int], Any]] = {
    "sigmoid": lambda nn, p, n: nn.Sigmoid(),
    "tanh": lambda nn, p, n: nn.Tanh(),
    "relu": lambda nn, p, n: nn.ReLU(),
    "leaky_relu": lambda nn, p, n: nn.LeakyReLU(p),
    "elu": lambda nn, p, n: nn.ELU(p),
    "selu": lambda nn, p, n: nn.SELU(),
    "gelu": lambda nn, p, n: nn.GELU(),
    "gelu_tanh": lambda nn, p, n: nn.GELU(approximate="tanh"),
    "silu": lambda nn, p, n: nn.SiLU(),
    "mish": lambda nn, p, n: nn.Mish(),
    "softplus": lambda nn, p, n: _softplus(nn),
    "softsign": lambda nn, p, n: nn.Softsign(),
    "hardtanh": lambda nn, p, n: nn.Hardtanh(),
    "exp": lambda nn, p, n: modules.Exp(),
    "softmax": lambda nn, p, n: nn.Softmax(dim=-1) if p == 1 else modules.ScaledSoftmax(p),
    "log_softmax": lambda nn, p, n: nn.LogSoftmax(dim=-1),
    "layer_norm": lambda nn, p, n: (
        nn.LayerNorm(n, elementwise_affine=False) if p == 1 else modules.LayerNorm(n, p)
    ),
    "maxout": lambda nn, p, n: modules.Maxout(int(p)),
    "glu": lambda nn, p, n: nn.GLU(dim=-1),
}


def _over_columns(name: str) -> Callable[[Any], str | None]:
    return lambda m: name if m.dim in (-1, 1, None) else None


def _layer_norm(m: Any) -> str | None:
    gain = 1.0
    if getattr(m, "weight", None) is not None:
        gains = m.weight.detach().cpu().numpy()
        gain = float(gains.flat[0])
        if (gains != gains.flat[0]).any() or gain == 0:
            return None
    bias = getattr(m, "bias", None)
    if abs(m.eps - 1e-5) > 1e-12 or (bias is not None and bias.detach().cpu().numpy().any()):
        return None
    return f"layer_norm({gain!r})"


# by the class: of the module, our activation's name; None where its parameters say another function
READ: dict[str, Callable[[Any], str | None]] = {
    "Identity": lambda m: "identity",
    "Dropout": lambda m: "identity",
    "AlphaDropout": lambda m: "identity",
    "FeatureAlphaDropout": lambda m: "identity",
    "Flatten": lambda m: "identity" if m.start_dim == 1 else None,
    "Sigmoid": lambda m: "sigmoid",
    "Tanh": lambda m: "tanh",
    "ReLU": lambda m: "relu",
    "LeakyReLU": lambda m: f"leaky_relu({float(m.negative_slope)!r})",
    "ELU": lambda m: f"elu({float(m.alpha)!r})",
    "SELU": lambda m: "selu",
    "GELU": lambda m: {"none": "gelu", "tanh": "gelu_tanh"}.get(m.approximate),
    "SiLU": lambda m: "silu",
    "Mish": lambda m: "mish",
    "Softplus": lambda m: "softplus" if m.beta == 1 and m.threshold >= 20 else None,
    "Softsign": lambda m: "softsign",
    "Hardtanh": lambda m: "hardtanh" if (m.min_val, m.max_val) == (-1, 1) else None,
    "Exp": lambda m: "exp",
    "Softmax": _over_columns("softmax"),
    "ScaledSoftmax": lambda m: f"softmax({float(m.c)!r})",
    "LogSoftmax": _over_columns("log_softmax"),
    "LayerNorm": lambda m: f"layer_norm({m.gain!r})" if hasattr(m, "gain") else _layer_norm(m),
    "Maxout": lambda m: f"maxout({m.pieces})",
    "GLU": _over_columns("glu"),
}
# functions that a forward calls: the class that does the same, its parameters and their defaults
_FUNCTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "sigmoid": ("Sigmoid", {}),
    "tanh": ("Tanh", {}),
    "relu": ("ReLU", {"inplace": False}),
    "relu_": ("ReLU", {}),
    "leaky_relu": ("LeakyReLU", {"negative_slope": 0.01, "inplace": False}),
    "elu": ("ELU", {"alpha": 1.0, "inplace": False}),
    "selu": ("SELU", {"inplace": False}),
    "gelu": ("GELU", {"approximate": "none"}),
    "silu": ("SiLU", {"inplace": False}),
    "mish": ("Mish", {"inplace": False}),
    "softplus": ("Softplus", {"beta": 1, "threshold": 20}),
    "softsign": ("Softsign", {}),
    "hardtanh": ("Hardtanh", {"min_val": -1.0, "max_val": 1.0, "inplace": False}),
    "exp": ("Exp", {}),
    "softmax": ("Softmax", {"dim": None, "_stacklevel": 3, "dtype": None}),
    "log_softmax": ("LogSoftmax", {"dim": None, "_stacklevel": 3, "dtype": None}),
    "glu": ("GLU", {"dim": -1}),
    "flatten": ("Flatten", {"start_dim": 0, "end_dim": -1}),
    "dropout": ("Dropout", {"p": 0.5, "training": True, "inplace": False}),
}


def to_torch(model: OneNetwork) -> torch.nn.Sequential:
    """A network as PyTorch's modules, with the same bits for parameters.

    Parameters
    ----------
    model : Network, or fitted MLPClassifier or MLPRegressor of one network
        What is made again; of an estimator its `network_`.

    Returns
    -------
    torch.nn.Sequential
        Of Linear and activations, in evaluation mode, of the network's dtype. What PyTorch lacks
        (Scale, exp, softmax(c), layer_norm with a gain, maxout) are modules of
        `fastbp.exchange.modules`.

    Raises
    ------
    TypeError, ValueError
        No network, an ensemble, parameters that are not finite.
    ImportError
        PyTorch is missing.

    Notes
    -----
    A Linear's weight is W transposed; outputs are those of `predict` to rounding.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.exchange import to_torch
    >>> net = fastbp.Network([2, 3, 1], activation="tanh", output="identity", loss="mse")
    >>> to_torch(net)  # doctest: +SKIP
    Sequential(
      (0): Linear(in_features=2, out_features=3, bias=True)
      (1): Tanh()
      (2): Linear(in_features=3, out_features=1, bias=True)
    )
    """
    net = network_of(model)
    torch = _package()
    dtype = getattr(torch, net.dtype.name)
    found: list[Any] = []
    with torch.no_grad():
        for layer in layers_of(net):
            tensors = {k: torch.from_numpy(v) for k, v in layer.tensors.items()}
            if "s" in tensors:
                link = modules.Scale(layer.n_in, dtype=dtype)
                link.s.copy_(tensors["s"])
            else:
                # not drawn first: torch's state of random numbers is the user's
                link = torch.nn.utils.skip_init(torch.nn.Linear, layer.n_in, layer.n_z, dtype=dtype)
                link.weight.copy_(tensors["W"].T)
                link.bias.copy_(tensors["b"])
            found.append(link)
            if layer.sigma.kind != "identity":
                p = layer.sigma.parameter
                found.append(WRITTEN[layer.sigma.kind](torch.nn, p, layer.n_out))
    return torch.nn.Sequential(*found).eval()


def from_torch(
    module: torch.nn.Module | Mapping[str, torch.Tensor | np.ndarray],
    loss: str = "mse",
    *,
    activation: str | Sequence[str] | None = None,
    output: str | None = None,
) -> Network:
    """A network out of PyTorch's modules or of their state.

    Parameters
    ----------
    module : torch.nn.Module or state_dict
        Linear layers one behind the other and what of our activations, dropout and Flatten comes
        between; of a module of one's own `forward` is followed (torch.fx).
    loss : str, default "mse"
        Of the network; modules tell none.
    activation : as in `Network`, optional
        For a state_dict, which tells none: needed where there are hidden layers. Its layers are in
        its own order; where its names are sorted as texts, as safetensors sorts them, in that of
        their numbers ("2" before "10").
    output : str, optional
        Activation of the last layer where the module has none behind it, as one that gives logits
        to CrossEntropyLoss ("softmax") or BCEWithLogitsLoss ("sigmoid"). Default: "identity".

    Returns
    -------
    Network
        Its parameters have the bits of the module's. Softplus is linear above its threshold in
        PyTorch, which float64 sees: by 2e-9 at 20.

    Raises
    ------
    TypeError, ValueError
        A layer that a Network has not (BatchNorm1d, Conv2d, ReLU6, ...), by its name; hooks, which
        may change anything (pruning, weight_norm); parameters of another type than float32 or
        float64.
    ImportError
        PyTorch is missing.

    Examples
    --------
    >>> import torch  # doctest: +SKIP
    >>> from fastbp.exchange import from_torch
    >>> from_torch(torch.nn.Sequential(torch.nn.Linear(2, 1), torch.nn.Sigmoid()))  # doctest: +SKIP
    Network([2, 1], activation=[], output='sigmoid', loss='mse', dtype='float32': 3 parameters)
    """
    torch = _package()
    chain = Chain("module")
    if isinstance(module, torch.nn.Module):
        if activation is not None:
            raise ValueError("activation: expected none with a module, which tells it itself")
        _follow(torch, module, chain)
        _refuse_hooks(module, chain)
        return chain.built(loss, output)
    if not isinstance(module, Mapping):
        raise TypeError(f"module: expected a torch.nn.Module or a state_dict; got {shown(module)}")
    _state(module, chain, activation, output)
    return chain.built(loss)


def _refuse_hooks(module: Any, chain: Chain) -> None:
    """What they do to inputs, outputs and weights nobody can tell."""
    for name, m in module.named_modules():
        for hooks in (m._forward_pre_hooks, m._forward_hooks):
            if hooks:
                raise chain.refuse(
                    f"{name or 'the module'} ({type(m).__name__})", "no hooks",
                    f"{next(iter(hooks.values()))!r}; of torch.nn.utils, prune.remove and "
                    "remove_weight_norm make plain weights",
                )  # fmt: skip


def _numbers(tensor: Any, chain: Chain, where: str) -> np.ndarray:
    if tensor.is_meta or str(tensor.layout) != "torch.strided":
        kind = "on meta" if tensor.is_meta else str(tensor.layout)
        raise chain.refuse(where, "a tensor with its numbers", kind)
    tensor = tensor.detach().cpu()
    if str(tensor.dtype) not in ("torch.float32", "torch.float64"):
        raise chain.refuse(
            where, "parameters of float32 or float64", f"{tensor.dtype}: module.float() makes such"
        )
    found: np.ndarray = tensor.numpy()
    return found


def _follow(torch: Any, module: Any, chain: Chain) -> None:
    """The layers in the order of `forward`."""
    own = tuple(getattr(modules, name) for name in modules.NAMES)
    if isinstance(module, own) or type(module).__module__.startswith("torch.nn.modules."):
        if not isinstance(module, torch.nn.Sequential):
            _add_module(torch, module, chain, "the module")
            return

    class Tracer(torch.fx.Tracer):
        def is_leaf_module(self, m: Any, qualified_name: str) -> bool:
            return isinstance(m, own) or super().is_leaf_module(m, qualified_name)

    try:
        nodes = list(Tracer().trace(module).nodes)
    except Exception as error:
        raise ValueError(
            f"module: expected a forward that torch.fx can follow; got {type(module).__name__}: "
            f"{error}. Its state_dict() with activation=... is read without"
        ) from None
    before = None
    for node in nodes:
        where = f"{node.name} ({node.target})" if node.op != "output" else "output"
        if node.op == "placeholder":
            if before is None:
                before = node
                continue
            if node.args and not node.users:  # another argument, left at its default
                continue
        if list(node.all_input_nodes) != [before]:
            raise chain.refuse(where, "each layer once behind the other", "another graph")
        before = node
        if node.op == "call_module":
            _add_module(torch, module.get_submodule(node.target), chain, str(node.target))
        elif node.op in ("call_function", "call_method"):
            _add_function(node, chain, where, module.training)
        elif node.op != "output":
            raise chain.refuse(where, "modules and activations", node.op)


def _add_module(torch: Any, m: Any, chain: Chain, where: str) -> None:
    kind = type(m).__name__
    where = f"{where} ({kind})"
    if type(m) is torch.nn.Linear or kind == "NonDynamicallyQuantizableLinear":
        W = _numbers(m.weight, chain, where)
        b = None if m.bias is None else _numbers(m.bias, chain, where)
        chain.dense(W.T, b, where)
    elif isinstance(m, modules.Scale):
        chain.scale(_numbers(m.s, chain, where), where)
    else:
        _add_activation(kind, m, chain, where)


def _add_activation(kind: str, m: Any, chain: Chain, where: str) -> None:
    name = READ[kind](m) if kind in READ else None
    if name is None:
        raise chain.refuse(
            where, f"Linear or one of {', '.join(READ)}, as fastbp has them", repr(m)[:200]
        )
    chain.activation(name, where)


def _add_function(node: Any, chain: Chain, where: str, is_training: bool) -> None:
    name = node.target if isinstance(node.target, str) else node.target.__name__
    foreign = isinstance(node.target, FunctionType) and not str(node.target.__module__).startswith(
        "torch."
    )
    if name not in _FUNCTIONS or foreign:
        raise chain.refuse(where, f"one of {', '.join(_FUNCTIONS)}", str(name))
    kind, defaults = _FUNCTIONS[name]
    given = dict(zip(defaults, node.args[1:], strict=False)) | dict(node.kwargs)
    given.pop("input", None)
    for value in given.values():
        if type(value).__name__ == "dtype":
            raise chain.refuse(where, "no other dtype", str(value))
    if name == "dropout" and given.get("training", True) and not is_training:
        raise chain.refuse(where, "no dropout in evaluation", "training=True: self.training ends")
    _add_activation(kind, SimpleNamespace(**defaults | given), chain, where)


def _state(state: Mapping[str, Any], chain: Chain, activation: Any, output: str | None) -> None:
    """Weights, biases and scales by their names, in their order."""
    names = list(state)
    if not all(isinstance(name, str) and hasattr(state[name], "detach") for name in names):
        raise TypeError(f"module: expected a state_dict of tensors; got {shown(state)}")
    for name in _in_order(names):
        stem, _, letter = name.rpartition(".")
        if letter == "weight" and state[name].ndim == 2:
            bias = state.get(f"{stem}.bias" if stem else "bias")
            b = None if bias is None else _numbers(bias, chain, name)
            chain.dense(_numbers(state[name], chain, name).T, b, name)
        elif letter == "s" and state[name].ndim == 1:
            chain.scale(_numbers(state[name], chain, name), name)
        elif letter != "bias" or f"{stem}.weight".lstrip(".") not in state:
            raise chain.refuse(
                name, "weights (2 dimensions) and biases of Linear layers",
                f"shape {tuple(state[name].shape)}",
            )  # fmt: skip
    dense = [i for i, part in enumerate(chain.parts) if "W" in part.tensors]
    if not dense:
        return  # refused as every chain without
    hidden = [activation] * (len(dense) - 1) if isinstance(activation, str) else activation
    if len(dense) > 1 and (hidden is None or len(hidden) != len(dense) - 1):
        raise ValueError(
            f"activation: expected one name, or one for each of the {len(dense) - 1} hidden "
            f"layers, which a state_dict does not tell; got {shown(activation)}"
        )
    names = [*(hidden or []), output or "identity"]
    for i, name in zip(dense, names, strict=True):
        known = functions.activation(name, "output" if i == dense[-1] else "activation").name
        chain.parts[i] = chain.parts[i]._replace(activation=known)


def _in_order(names: list[str]) -> list[str]:
    """Of the layers: that of the state, unless somebody sorted it as texts, 10 before 2."""
    if names != sorted(names):
        return names
    return sorted(names, key=lambda name: [int(p) if p.isdigit() else p
                                           for p in re.split(r"([0-9]+)", name)])  # fmt: skip
