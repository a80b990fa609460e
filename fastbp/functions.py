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
        Parameter(2, "a whole number from 1 to 1024", lambda x: 1 <= x <= 1024 and x == int(x)),
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

_OF_ONE = {"softmax": 1, "log_softmax": 0, "layer_norm": 0}  # what one unit alone always gives

ACTIVATIONS = tuple(_ACTIVATIONS)
LOSSES = tuple(_LOSSES)


def shown(value: object) -> str:
    """`value` in the one line of a refusal.

    >>> shown(np.zeros((2, 30))), shown("relu"), shown(10**5000)
    ('an array (2, 30)', "'relu'", 'an int too long to show')
    """
    if isinstance(value, np.ndarray) and value.size > 8:
        return f"an array {value.shape}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # Python prints no int of more than 4,300 digits
        return f"an {type(value).__name__} too long to show"
    return text if len(text) <= 60 else text[:57] + "..."


def one_of(argument: str, name: object, known: Iterable[str]) -> str:
    """`name` where it is one of those known."""
    if isinstance(name, str) and name in known:
        return str(name)
    raise ValueError(unknown(argument, name, known))


def unknown(argument: str, name: object, known: Iterable[str]) -> str:
    """Message for a name that is not known: what is likely meant, and all there are."""
    from fastbp import hints

    known = list(known)
    hint = hints.nearest(name, known) if isinstance(name, str) else ""
    return f"{argument}: expected one of {', '.join(known)}; got {shown(name)}.{hint}"


def _parse(argument: str, text: object, known: Iterable[str]) -> tuple[str, float | None]:
    if not isinstance(text, str):
        raise TypeError(f"{argument}: expected a name (str); got {shown(text)}")
    name, bracket, number = (part.strip() for part in text.partition("("))
    bare = name.rstrip(")").rstrip()
    if bare not in known:
        raise ValueError(unknown(argument, bare or text, known))
    if bare != name or (bracket and not number.endswith(")")):
        what = "closed without an opening one" if bare != name else "not closed"
        raise ValueError(
            f"{argument}: expected {bare!r}, or a number in brackets behind it; got {text!r}, "
            f"whose bracket is {what}"
        )
    if not bracket:
        return name, None
    number = number.removesuffix(")").strip()
    try:
        return name, float(number)
    except ValueError:
        scalar = re.fullmatch(r"(?:np|numpy)\.\w+\((.*)\)", number)  # as NumPy 2 prints them
        hint = f"; of a NumPy number x, float(x): '{name}({scalar[1]})'" if scalar else ""
        raise ValueError(
            f"{argument}: expected a number in the brackets of {name!r}; got {number!r}{hint}"
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


def check_units(f: Activation, n: int, argument: str) -> None:
    """Refuse a layer of one unit whose value does not depend on its z.

    >>> check_units(activation("softmax"), 1, "output")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: output: expected at least 2 units in a layer of 'softmax'; got 1, whose value is ...
    """
    if n > 1 or f.kind not in _OF_ONE:
        return
    use = (
        "'sigmoid' with loss 'binary_cross_entropy' tells two classes with one output, 'identity' "
        "with loss 'mse' fits a number"
        if argument == "output"
        else "'tanh' or 'relu' works with one unit"
    )
    raise ValueError(
        f"{argument}: expected at least 2 units in a layer of {f.kind!r}; got 1, whose value is "
        f"always {_OF_ONE[f.kind]}. {use}"
    )


def check_pair(output: Activation, loss: Loss, n_outputs: int | None = None) -> None:
    """Refuse an output whose values, or whose number, the loss cannot take.

    >>> from fastbp import functions
    >>> check_pair(activation("tanh"), functions.loss("kl"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: loss: 'kl' needs outputs above 0; output 'tanh' gives values of any sign. Outputs...
    """
    if RANGES.index(output.range) > RANGES.index(loss.domain):
        fitting = [
            name
            for name, (range_, _) in _ACTIVATIONS.items()
            if RANGES.index(range_) <= RANGES.index(loss.domain)
        ]
        raise ValueError(
            f"loss: {loss.kind!r} needs outputs {RANGE_NAMES[loss.domain]}; output {output.kind!r} "
            f"gives values {RANGE_NAMES[output.range]}. Outputs that fit: {', '.join(fitting)}"
        )
    if n_outputs is None:
        return
    if loss.kind in ("cross_entropy", "kl") and n_outputs == 1:
        raise ValueError(
            f"loss: {loss.kind!r} needs an output for each class, 2 or more; got 1 output, and "
            "-y ln a costs nothing where y is 0. 'binary_cross_entropy' tells two classes with one "
            "'sigmoid' output"
        )
    if loss.kind == "gaussian_nll" and n_outputs % 2:
        raise ValueError(
            "sizes: loss 'gaussian_nll' needs an even number of outputs, means then logarithms of "
            f"variances; got {n_outputs}"
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
