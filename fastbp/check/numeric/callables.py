"""Other people's functions, called with care.

What belongs here: what is asked of a callable before it is believed (that it does not raise, gives
finite numbers, and the same ones when asked again), and NaN for points where it has no value. What
does not: which shape is wanted, and what the numbers mean.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp import inputs

Array = np.ndarray
Function = Callable[..., Any]
Vector = Callable[[Array], Array]


class UncheckableError(ValueError):
    """A callable cannot be checked: it raises, or what it returns is not what was asked for."""

    __module__ = "fastbp.check"  # where a user finds it


def name_of(function: object) -> str:
    """A name as it stands, or a callable's own."""
    if isinstance(function, str):
        return function
    return str(getattr(function, "__name__", type(function).__name__))


def numbers(value: Any, name: str, dtype: Any = None) -> Array:
    """`value` as finite numbers of `dtype`; without one float32 stays, all else is float64."""
    if dtype is None:
        dtype = np.float32 if getattr(value, "dtype", None) == np.float32 else np.float64
    return inputs.as_numbers(value, name, np.dtype(dtype))


def copied(value: Any) -> Any:
    """A copy of an array, which a callable may write into; all else as it is."""
    return value.copy() if isinstance(value, np.ndarray) else value


def called(function: Function, expected: str, *values: Any) -> Any:
    """function(*values); what it raises is told after `expected`, as in "f: expected a number".

    >>> called(np.linalg.inv, "f: expected a matrix", np.zeros((2, 2)))
    Traceback (most recent call last):
    ...
    fastbp.check.UncheckableError: f: expected a matrix; got LinAlgError: Singular matrix
    """
    try:
        with np.errstate(all="ignore"):
            return function(*map(copied, values))
    except Exception as error:
        text = str(error).partition("\n")[0]
        raise UncheckableError(f"{expected}; got {type(error).__name__}: {text}") from error


def called_twice(function: Function, argument: str, takes: str, *values: Any) -> Array:
    """function(*values) in finite numbers; refused where a second call gives other bits."""

    def ask() -> Array:
        expected = f"{argument}: expected a function of {takes}"
        return numbers(called(lambda *v: np.array(function(*v)), expected, *values), argument)

    first, second = ask(), ask()
    if first.shape != second.shape or first.tobytes() != second.tobytes():
        raise UncheckableError(
            f"{argument}: expected the same result from the same numbers; got {_short(first)}, "
            f"then {_short(second)}"
        )
    return first


def _short(array: Array) -> str:
    text = np.array2string(array.ravel()[:4], precision=6, separator=", ")
    return text if array.size <= 4 else text[:-1] + ", ...]"


def one_number(result: Any) -> float:
    """What a function returned, as a float; TypeError where it is not one real number."""
    if isinstance(result, float):
        return float(result)
    if int(np.prod(getattr(result, "shape", ()))) != 1:
        raise TypeError(f"an array of shape {tuple(result.shape)}")
    if not hasattr(result, "item"):
        result = np.asarray(result)
        if result.size != 1:
            raise TypeError(f"an array of shape {result.shape}")
    number = result.item()  # also what PyTorch would not convert to an array
    if isinstance(number, complex):
        raise TypeError(f"the complex number {number}")
    if isinstance(number, bool | str | bytes) or number is None:
        raise TypeError(repr(number))
    return float(number)


def lenient(function: Function, shape: tuple[int, ...]) -> Vector:
    """z -> function(z) as float64; NaN where it raises or has another shape.

    For points near one where it is known to work: some may lie outside its domain.
    """

    def evaluate(z: Array) -> Array:
        try:
            with np.errstate(all="ignore"):
                result = np.array(function(z.copy()), dtype=np.float64)
        except Exception:
            return np.full(shape, np.nan)
        return result if result.shape == shape else np.full(shape, np.nan)

    return evaluate
