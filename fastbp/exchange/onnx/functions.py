"""Activations as nodes of ONNX, and as single nodes that are read.

What belongs here: `WRITTEN`, by kind what makes a of z, and `READ`, operators that stand for one of
ours. What does not: layers (network.py, reading.py).

Where an operator's own kernel loses digits in a tail (Sigmoid, Elu, Gelu of ONNX Runtime) or is not
there for float64, the formula is the engine's, of Exp, Log, Tanh and Where. NaN stays NaN: a
comparison with it is false, and the branch taken then holds it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastbp.exchange.onnx.graph import Value

# Phi(-a) = e^(-a^2/2) (g + t q(t)) / (a + 9/8), t = (a - c) / (a + c): c, g, bound of a, and q from
# the highest power on, of kernels/arithmetic/elementary.pxd
_PHI: dict[str, tuple[float, float, float, Sequence[float]]] = {
    "float32": (4.0, 0.483854532, 14.5, (
        -7.09399828e-05, -6.80399535e-05, 0.000671029731, -0.000222329327, -0.00494114868,
        0.0168782603, -0.0283391774, 0.0196365993, 0.0295470059, -0.118003182,
    )),
    "float64": (6.0, 0.4615526145616838, 38.6, (
        1.49273827458173e-09, 2.8200412584417315e-09, -1.526413265911117e-08,
        -2.0196105647342e-08, 1.295818756486359e-07, 6.941624404702424e-09,
        -9.85788462914369e-07, 1.6944202856758607e-06, 4.4723140371144735e-06,
        -2.5667715114938918e-05, 3.523110255707646e-05, 0.00012103642609902226,
        -0.0008464480167735169, 0.0028089740015708378, -0.006632578424376529,
        0.012141059662048844, -0.017393019347318846, 0.01821064958463912,
        -0.009038623252870491, -0.014611641754494527, 0.053040361243739016,
        -0.10042495398789808,
    )),
}  # fmt: skip
_SELU, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772
# from which z on squares are too large, and by what z is multiplied then
_LARGE = {"float32": (2.0**62, 2.0**-96), "float64": (2.0**500, 2.0**-600)}


def _sigmoid(z: Value) -> Value:
    e = (-z.abs()).exp()
    r = 1.0 / (1.0 + e)
    return (z < 0.0).where(e * r, r)


def _expm1_below(z: Value) -> Value:
    """e^z - 1 of z <= 0, and of others 0."""
    t = (z.op("Min", 0.0) * 0.5).op("Tanh")
    return 2.0 * t / (1.0 - t)


def _elu(z: Value, alpha: float, scale: float = 1.0) -> Value:
    above = z if scale == 1 else z * scale
    return (z > 0.0).where(above, _expm1_below(z) * (alpha * scale))


def _log1p(x: Value) -> Value:
    """ln(1 + x) of x >= 0; what 1 + x loses is made up for (Kahan)."""
    u = 1.0 + x
    return (u > 1.0).where(u.op("Log") * (x / (u - 1.0)), x)


def _softplus(z: Value) -> Value:
    return z.op("Max", 0.0) + _log1p((-z.abs()).exp())


def _phi(z: Value) -> Value:
    """The normal distribution below z."""
    c, g, bound, q = _PHI[z.dtype.name]
    a = z.abs().op("Min", bound)
    t = (a - c) / (a + c)
    total = t * q[0] + q[1]
    for term in q[2:]:
        total = total * t + term
    below = (a * a * -0.5).exp() * ((total * t + g) / (a + 1.125))
    return (z > 0.0).where(1.0 - below, below)


def _leaky_relu(z: Value, alpha: float) -> Value:
    return (z > 0.0).where(z, z * alpha)


def _layer_norm(z: Value, gain: float, n: int) -> Value:
    large, factor = _LARGE[z.dtype.name]
    c = (z.abs().largest() > large).where(z.graph.constant(factor, z.dtype), 1.0)
    first, _ = z.parts([1, n - 1], -1)
    x = c * z - c * first
    x = x - x.sum() / float(n)
    s = ((x * x).sum() / float(n) + c * c * 1e-5).op("Sqrt")
    return x * (gain / s)


def _softmax(z: Value, c: float) -> Value:
    if c != 1:
        z = (z - z.largest()) * c
    return z.op("Softmax", axis=-1)


def _log_softmax(z: Value) -> Value:
    d = z - z.largest()
    e = d.exp()
    ones = (e < 1.0).where(0.0, z.graph.constant(1.0, z.dtype))
    return d - _log1p((e - ones).sum() + (ones.sum() - 1.0))


def _maxout(z: Value, pieces: int, n: int) -> Value:
    if pieces == 1:
        return z
    first, *others = z.reshaped(-1, n, pieces).parts([1] * pieces, 2)
    return first.op("Max", *others).reshaped(-1, n)


def _glu(z: Value, n: int) -> Value:
    u, v = z.parts([n, n], -1)
    return u * _sigmoid(v)


Made = Callable[[Value, float, int], Value]

# of z, the parameter and the number of a
WRITTEN: dict[str, Made] = {
    "identity": lambda z, p, n: z,
    "sigmoid": lambda z, p, n: _sigmoid(z),
    "tanh": lambda z, p, n: z.op("Tanh"),
    "relu": lambda z, p, n: z.op("Relu"),
    "leaky_relu": lambda z, p, n: _leaky_relu(z, p),
    "elu": lambda z, p, n: _elu(z, p),
    "selu": lambda z, p, n: _elu(z, _SELU_ALPHA, _SELU),
    "gelu": lambda z, p, n: z * _phi(z),
    "gelu_tanh": lambda z, p, n: z * _sigmoid(1.5957691216057308 * z * (1.0 + 0.044715 * (z * z))),
    "silu": lambda z, p, n: z * _sigmoid(z),
    "mish": lambda z, p, n: z * _softplus(z).op("Tanh"),
    "softplus": lambda z, p, n: _softplus(z),
    "softsign": lambda z, p, n: z / (1.0 + z.abs()),
    "hardtanh": lambda z, p, n: z.op("Clip", -1.0, 1.0),
    "exp": lambda z, p, n: z.exp(),
    "softmax": lambda z, p, n: _softmax(z, p),
    "log_softmax": lambda z, p, n: _log_softmax(z),
    "layer_norm": lambda z, p, n: _layer_norm(z, p, n),
    "maxout": lambda z, p, n: _maxout(z, int(p), n),
    "glu": lambda z, p, n: _glu(z, n),
}


def _of_gelu(attributes: dict[str, Any]) -> str | None:
    known = {b"none": "gelu", b"tanh": "gelu_tanh"}
    return known.get(attributes.get("approximate", b"none"))


# what an operator's attributes make of it; None: another function than ours has
READ: dict[str, Callable[[dict[str, Any]], str | None]] = {
    "Sigmoid": lambda a: "sigmoid",
    "Tanh": lambda a: "tanh",
    "Relu": lambda a: "relu",
    "LeakyRelu": lambda a: f"leaky_relu({short(a.get('alpha', 0.01))})",
    "Elu": lambda a: f"elu({short(a.get('alpha', 1.0))})",
    "Selu": lambda a: (
        "selu"
        if abs(a.get("alpha", _SELU_ALPHA) - _SELU_ALPHA) < 1e-6
        and abs(a.get("gamma", _SELU) - _SELU) < 1e-6
        else None
    ),
    "Gelu": lambda a: _of_gelu(a),
    "Mish": lambda a: "mish",
    "Softplus": lambda a: "softplus",
    "Softsign": lambda a: "softsign",
    "Exp": lambda a: "exp",
    "Softmax": lambda a: "softmax" if a.get("axis", -1) in (-1, 1) else None,
    "LogSoftmax": lambda a: "log_softmax" if a.get("axis", -1) in (-1, 1) else None,
    "Swish": lambda a: "silu" if a.get("alpha", 1.0) == 1 else None,
}

# what stands for one of ours in several nodes: x is what it is of, numbers have 5 digits
COMPOSED = {
    "Mul(Sigmoid(x),x)": "silu",
    "Mul(Tanh(Softplus(x)),x)": "mish",
    "Div(x,Add(1,Abs(x)))": "softsign",
    "Where(Greater(x,20),x,Softplus(x))": "softplus",  # the same to float32
    "Mul(First(x),Sigmoid(Second(x)))": "glu",
    **dict.fromkeys(
        (
            "Mul(0.5,Mul(Add(1,Erf(Div(x,1.4142))),x))",
            "Mul(Add(1,Erf(Div(x,1.4142))),Mul(0.5,x))",
            "Mul(Mul(0.5,Add(1,Erf(Div(x,1.4142)))),x)",
            "Mul(0.5,Mul(Add(1,Erf(Mul(0.70711,x))),x))",
            "Mul(Add(1,Erf(Mul(0.70711,x))),Mul(0.5,x))",
            "Mul(Mul(0.5,Add(1,Erf(Mul(0.70711,x)))),x)",
        ),
        "gelu",
    ),
}


def short(x: float) -> str:
    """A float32 attribute as it was meant: 0.02 of 0.019999999552965164."""
    return np.format_float_positional(np.float32(x), trim="-")
