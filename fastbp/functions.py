"""Activations and losses by name: their parameters, what they accept, and which go together.

What belongs here: facts about functions that Python needs before the engine runs. What does not:
their mathematics (kernels/activation.pxd, kernels/cost.pxd; the oracle is reference.py).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

# Which values an output takes and a loss can be given: each kind holds those before it.
RANGES = ("unit", "positive", "real")  # (0, 1); (0, inf); any
RANGE_NAMES = {"unit": "in (0, 1)", "positive": "above 0", "real": "of any sign"}


class Parameter(NamedTuple):
    """The one number that may stand in a name, as in ``"leaky_relu(0.02)"``."""

    default: float
    rule: str
    accepts: Callable[[float], bool]


@dataclass(frozen=True)
class Activation:
    """One activation with its parameter set."""

    name: str
    kind: str
    parameter: float
    range: str
    z_per_a: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Loss:
    """One loss with its parameter set. `domain`: which outputs it takes; `targets`: which y."""

    name: str
    kind: str
    parameter: float
    domain: str
    targets: str

    def __str__(self) -> str:
        return self.name

    def n_targets(self, n_outputs: int) -> int:
        """Columns of Y: half of the outputs where those are means and logarithms of variances."""
        return n_outputs // 2 if self.kind == "gaussian_nll" else n_outputs


_ANY = Parameter(0.01, "a finite number", math.isfinite)
_POSITIVE = Parameter(1.0, "a finite number above 0", lambda x: 0 < x < math.inf)

_ACTIVATIONS: dict[str, tuple[str, Parameter | None]] = {
    "identity": ("real", None),
    "sigmoid": ("unit", None),
    "tanh": ("real", None),
    "relu": ("real", None),
    "leaky_relu": ("real", _ANY),
    "elu": ("real", _POSITIVE),
    "selu": ("real", None),
    "gelu": ("real", None),
    "gelu_tanh": ("real", None),
    "silu": ("real", None),
    "mish": ("real", None),
    "softplus": ("positive", None),
    "softsign": ("real", None),
    "hardtanh": ("real", None),
    "exp": ("positive", None),
    "softmax": ("unit", _POSITIVE),
    "log_softmax": ("real", None),
    "layer_norm": (
        "real",
        Parameter(1.0, "a finite number other than 0", lambda x: math.isfinite(x) and x != 0),
    ),
    "maxout": (
        "real",
        Parameter(2, "a whole number from 1 to 1024", lambda x: x == int(x) and 1 <= x <= 1024),
    ),
    "glu": ("real", None),
}

_LOSSES: dict[str, tuple[str, str, Parameter | None]] = {
    "quadratic": ("real", "any", None),
    "mse": ("real", "any", _POSITIVE),  # a factor: mse(0.5) is scikit-learn's
    "mae": ("real", "any", None),
    "huber": ("real", "any", _POSITIVE),
    "log_cosh": ("real", "any", None),
    "binary_cross_entropy": ("unit", "in [0, 1]", None),
    "cross_entropy": ("positive", "at least 0", None),
    "kl": ("positive", "at least 0", None),
    "hinge": ("real", "-1 or 1", None),
    "squared_hinge": ("real", "-1 or 1", None),
    "poisson": ("positive", "at least 0", None),
    "pinball": ("real", "any", Parameter(0.5, "a number in (0, 1)", lambda x: 0 < x < 1)),
    "gaussian_nll": ("real", "any", None),
}

#: Pairs whose output error the engine takes from z directly.
CANONICAL = {
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
    ("softmax", "kl"),
    ("exp", "poisson"),
}

#: Activations some of whose a_k depend on several z_j.
COUPLED = ("softmax", "log_softmax", "layer_norm", "maxout", "glu")

ACTIVATIONS = tuple(_ACTIVATIONS)
LOSSES = tuple(_LOSSES)


def unknown(argument: str, name: object, known: Iterable[str]) -> str:
    """Message for a name that is not known: the nearest, and all there are."""
    import difflib  # 1 ms that most programs never need

    known = list(known)
    text = str(name).lower()
    near = [entry for entry in known if text and entry.startswith(text)]
    near = near or difflib.get_close_matches(text, known, n=1, cutoff=0.4)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"{argument}: expected one of {', '.join(known)}; got {name!r}.{hint}"


def _parse(argument: str, text: object, known: Iterable[str]) -> tuple[str, float | None]:
    if not isinstance(text, str):
        raise TypeError(f"{argument}: expected a name (str); got {text!r}")
    match = re.fullmatch(r"\s*(\w+)\s*(?:\(([^()]*)\)\s*)?", text)
    if match is None or match[1] not in known:
        raise ValueError(unknown(argument, text.partition("(")[0].strip() or text, known))
    if match[2] is None:
        return match[1], None
    try:
        return match[1], float(match[2])
    except ValueError:
        raise ValueError(
            f"{argument}: expected a number in the brackets of {match[1]!r}; got {text!r}"
        ) from None


def _fill(argument: str, name: str, given: float | None, parameter: Parameter | None) -> float:
    if parameter is None:
        if given is not None:
            raise ValueError(f"{argument}: {name!r} has no parameter; got {name}({given:g})")
        return 0.0
    value = parameter.default if given is None else given
    if not math.isfinite(value) or not parameter.accepts(value):
        raise ValueError(
            f"{argument}: the parameter of {name!r} must be {parameter.rule}; got {value:g}"
        )
    return value


def _full_name(name: str, value: float, parameter: Parameter | None) -> str:
    """The name as a model file holds it: with its parameter where it is not the default."""
    if parameter is None or value == parameter.default:
        return name
    return f"{name}({int(value) if value == int(value) else value!r})"


def activation(text: object, argument: str = "activation") -> Activation:
    """Read an activation's name.

    >>> activation("leaky_relu(0.02)").parameter
    0.02
    """
    kind, given = _parse(argument, text, ACTIVATIONS)
    range_, parameter = _ACTIVATIONS[kind]
    value = _fill(argument, kind, given, parameter)
    z_per_a = {"glu": 2, "maxout": int(value) if kind == "maxout" else 1}.get(kind, 1)
    return Activation(_full_name(kind, value, parameter), kind, value, range_, z_per_a)


def loss(text: object) -> Loss:
    """Read a loss's name.

    >>> loss("pinball(0.9)").parameter
    0.9
    """
    kind, given = _parse("loss", text, LOSSES)
    domain, targets, parameter = _LOSSES[kind]
    value = _fill("loss", kind, given, parameter)
    return Loss(_full_name(kind, value, parameter), kind, value, domain, targets)


def check_parameter(f: Activation | Loss, argument: str, dtype: np.dtype[Any]) -> None:
    """Refuse a parameter that the network's dtype does not hold."""
    limits = np.finfo(dtype)
    if f.parameter and not float(limits.tiny) <= abs(f.parameter) <= float(limits.max):
        raise ValueError(
            f"{argument}: expected a parameter of {f.kind!r} that {dtype} holds; got "
            f"{f.parameter!r}"
        )


def check_pair(output: Activation, loss: Loss) -> None:
    """Refuse an output whose values the loss cannot take.

    >>> from fastbp import functions
    >>> check_pair(activation("tanh"), functions.loss("kl"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: loss: 'kl' needs outputs above 0; output 'tanh' gives values of any sign. Outputs...
    """
    if RANGES.index(output.range) <= RANGES.index(loss.domain):
        return
    fitting = [
        name
        for name, (range_, _) in _ACTIVATIONS.items()
        if RANGES.index(range_) <= RANGES.index(loss.domain)
    ]
    raise ValueError(
        f"loss: {loss.kind!r} needs outputs {RANGE_NAMES[loss.domain]}; output {output.kind!r} "
        f"gives values {RANGE_NAMES[output.range]}. Outputs that fit: {', '.join(fitting)}"
    )


def check_separable(output: Activation, loss: Loss) -> None:
    """Refuse missing targets where a cost needs them all.

    >>> check_separable(activation("softmax"), loss("cross_entropy"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ignore_missing: expected an output and a loss whose terms need one target each;...
    """
    if output.kind in COUPLED or loss.kind == "gaussian_nll":
        raise ValueError(
            "ignore_missing: expected an output and a loss whose terms need one target each; got "
            f"output {output.kind!r} with loss {loss.kind!r}"
        )
