"""Activations and losses by name: their parameters, what they accept, and which go together.

What belongs here: facts about functions that Python needs before the engine runs. What does not:
their mathematics (kernels/functions/; the oracle is reference/).
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


class _ActivationFacts(NamedTuple):
    range: str
    parameter: Parameter | None = None
    reach: tuple[float, float] = (-math.inf, math.inf)
    coupled: bool = False
    rectifier: bool = False
    of_one: float | None = None
    z_per_a: int | None = 1  # None: the parameter


class _LossFacts(NamedTuple):
    domain: str
    targets: str
    parameter: Parameter | None = None
    output: str | None = None
    of_residual: bool = False
    scale_power: int | None = None
    has_units: bool = False
    outputs_per_target: int = 1


@dataclass(frozen=True)
class Activation:
    """One activation with its parameter set.

    `range`: of which sign its values are; `reach`: between which numbers they lie; `coupled`: some
    a_k depend on several z_j; `rectifier`: it passes about half of its inputs on, for which He's
    initialisation is made; `of_one`: what a layer of one unit always gives, if it does.
    """

    name: str
    kind: str
    parameter: float
    range: str
    reach: tuple[float, float]
    coupled: bool
    rectifier: bool
    of_one: float | None
    z_per_a: int

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Loss:
    """One loss with its parameter set.

    `domain`: which outputs it takes; `targets`: which y; `output`: the activation that usually goes
    with it, if one does; `of_residual`: it depends on a - y alone; `scale_power`: where targets and
    outputs are multiplied, it is only multiplied, by their factor to this power (0: something is
    added, where logarithms of variances are shifted as they have to be); `has_units`: if its
    parameter, a distance between them, is multiplied too.
    """

    name: str
    kind: str
    parameter: float
    domain: str
    targets: str
    output: str | None
    of_residual: bool
    scale_power: int | None
    has_units: bool
    outputs_per_target: int

    def __str__(self) -> str:
        return self.name

    @property
    def signed(self) -> bool:
        """Whether a single output tells two classes as -1 and 1."""
        return self.targets == "-1 or 1"

    def in_units(self, unit: float) -> str:
        """Its name for targets and outputs that are divided by `unit`.

        >>> loss("huber(3)").in_units(2.0), loss("mae").in_units(2.0)
        ('huber(1.5)', 'mae')
        """
        if not self.has_units:
            return self.name
        return _full_name(self.kind, self.parameter / unit, _LOSSES[self.kind].parameter)

    def n_targets(self, n_outputs: int) -> int:
        """Columns of Y: half of the outputs where those are means and logarithms of variances."""
        return n_outputs // self.outputs_per_target


_ANY = Parameter(0.01, "a finite number", math.isfinite)
_POSITIVE = Parameter(1.0, "a finite number above 0", lambda x: 0 < x < math.inf)
_NOT_0 = Parameter(1.0, "a finite number other than 0", lambda x: math.isfinite(x) and x != 0)
_GROUP = Parameter(2, "a whole number from 1 to 1024", lambda x: 1 <= x <= 1024 and x == int(x))
_SHARE = Parameter(0.5, "a number in (0, 1)", lambda x: 0 < x < 1)

_ACTIVATIONS = {
    "identity": _ActivationFacts("real"),
    "sigmoid": _ActivationFacts("unit", reach=(0.0, 1.0)),
    "tanh": _ActivationFacts("real", reach=(-1.0, 1.0)),
    "relu": _ActivationFacts("real", reach=(0.0, math.inf), rectifier=True),
    "leaky_relu": _ActivationFacts("real", _ANY, rectifier=True),
    "elu": _ActivationFacts("real", _POSITIVE, rectifier=True),
    "selu": _ActivationFacts("real"),
    "gelu": _ActivationFacts("real", rectifier=True),
    "gelu_tanh": _ActivationFacts("real", rectifier=True),
    "silu": _ActivationFacts("real", rectifier=True),
    "mish": _ActivationFacts("real", rectifier=True),
    "softplus": _ActivationFacts("positive", reach=(0.0, math.inf), rectifier=True),
    "softsign": _ActivationFacts("real", reach=(-1.0, 1.0)),
    "hardtanh": _ActivationFacts("real", reach=(-1.0, 1.0)),
    "exp": _ActivationFacts("positive", reach=(0.0, math.inf)),
    "softmax": _ActivationFacts("unit", _POSITIVE, reach=(0.0, 1.0), coupled=True, of_one=1),
    "log_softmax": _ActivationFacts("real", reach=(-math.inf, 0.0), coupled=True, of_one=0),
    "layer_norm": _ActivationFacts("real", _NOT_0, coupled=True, of_one=0),
    "maxout": _ActivationFacts("real", _GROUP, coupled=True, z_per_a=None),
    "glu": _ActivationFacts("real", coupled=True, z_per_a=2),
}

_LOSSES = {
    "quadratic": _LossFacts("real", "any", of_residual=True, scale_power=2),
    # a factor: mse(0.5) is scikit-learn's
    "mse": _LossFacts("real", "any", _POSITIVE, of_residual=True, scale_power=2),
    "mae": _LossFacts("real", "any", of_residual=True, scale_power=1),
    "huber": _LossFacts("real", "any", _POSITIVE, of_residual=True, scale_power=2, has_units=True),
    # p^2 ln cosh(r/p)
    "log_cosh": _LossFacts(
        "real", "any", _POSITIVE, of_residual=True, scale_power=2, has_units=True
    ),
    "binary_cross_entropy": _LossFacts("unit", "in [0, 1]", output="sigmoid"),
    "cross_entropy": _LossFacts("positive", "at least 0", output="softmax"),
    "kl": _LossFacts("positive", "at least 0", output="softmax"),
    "hinge": _LossFacts("real", "-1 or 1", output="identity"),
    "squared_hinge": _LossFacts("real", "-1 or 1", output="identity"),
    "poisson": _LossFacts("positive", "at least 0", output="exp"),
    "pinball": _LossFacts("real", "any", _SHARE, of_residual=True, scale_power=1),
    "gaussian_nll": _LossFacts(
        "real", "any", output="identity", scale_power=0, outputs_per_target=2
    ),
}

#: Pairs whose output error the engine takes from z directly.
CANONICAL = {
    ("sigmoid", "binary_cross_entropy"),
    ("softmax", "cross_entropy"),
    ("softmax", "kl"),
    ("exp", "poisson"),
}

#: Activations some of whose a_k depend on several z_j.
COUPLED = tuple(name for name, facts in _ACTIVATIONS.items() if facts.coupled)

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
        name = type(value).__name__
        return f"{'an' if name[0] in 'aeiou' else 'a'} {name} too long to show"
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
    facts = _ACTIVATIONS[kind]
    value = _fill(argument, kind, given, facts.parameter)
    name = _full_name(kind, value, facts.parameter)
    z_per_a = int(value) if facts.z_per_a is None else facts.z_per_a
    return Activation(
        name, kind, value, facts.range, facts.reach, facts.coupled, facts.rectifier, facts.of_one,
        z_per_a,
    )  # fmt: skip


def takes_parameter(kind: str) -> bool:
    """Whether an activation's formula has a number of its own.

    >>> takes_parameter("leaky_relu"), takes_parameter("tanh")
    (True, False)
    """
    return _ACTIVATIONS[kind].parameter is not None


def loss(text: object) -> Loss:
    """Read a loss's name.

    >>> loss("pinball(0.9)").parameter
    0.9
    """
    kind, given = _parse("loss", text, LOSSES)
    facts = _LOSSES[kind]
    value = _fill("loss", kind, given, facts.parameter)
    name = _full_name(kind, value, facts.parameter)
    return Loss(
        name, kind, value, facts.domain, facts.targets, facts.output, facts.of_residual,
        facts.scale_power, facts.has_units, facts.outputs_per_target,
    )  # fmt: skip


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
    if n > 1 or f.of_one is None:
        return
    use = (
        "'sigmoid' with loss 'binary_cross_entropy' tells two classes with one output, 'identity' "
        "with loss 'mse' fits a number"
        if argument == "output"
        else "'tanh' or 'relu' works with one unit"
    )
    raise ValueError(
        f"{argument}: expected at least 2 units in a layer of {f.kind!r}; got 1, whose value is "
        f"always {f.of_one}. {use}"
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
            for name, facts in _ACTIVATIONS.items()
            if RANGES.index(facts.range) <= RANGES.index(loss.domain)
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
    if n_outputs % loss.outputs_per_target:
        raise ValueError(
            f"sizes: loss {loss.kind!r} needs an even number of outputs, means then logarithms of "
            f"variances; got {n_outputs}"
        )


def check_separable(output: Activation, loss: Loss) -> None:
    """Refuse missing targets where a cost needs them all.

    >>> check_separable(activation("softmax"), loss("cross_entropy"))  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    ValueError: ignore_missing: expected an output and a loss whose terms need one target each;...
    """
    if output.coupled or loss.outputs_per_target > 1:
        raise ValueError(
            "ignore_missing: expected an output and a loss whose terms need one target each; got "
            f"output {output.kind!r} with loss {loss.kind!r}"
        )
