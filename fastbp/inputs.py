"""What a user hands over, checked and brought to the form that the engine reads.

What belongs here: every refusal of an array or a number, with the argument's name, what was
expected and what came. What does not: names of functions (functions.py), anything that computes.

Accepted wherever NumPy would: lists, pandas frames, integers, float16, big-endian, Fortran order,
read-only arrays, memory maps. An array that already has the engine's dtype and order is not copied.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import math
import numbers
import operator
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

import numpy as np
from numpy.typing import ArrayLike as ArrayLike, DTypeLike as DTypeLike

from fastbp.functions import Loss, shown
from fastbp.kernels import dispatch

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class Sparse(Protocol):
    """A matrix or an array of scipy.sparse."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    def tocsr(self) -> object: ...


Rows: TypeAlias = "ArrayLike | Sparse"  # of samples; frames are array_like
# in quotes: numpy.random is imported when something is drawn
Seed: TypeAlias = "int | np.integer | np.random.SeedSequence | np.random.Generator | None"


def keywords(f: Callable[P, R]) -> Callable[P, R]:
    """Have an unknown keyword of `f` answered by what is meant with it; costs nothing until then.

    >>> @keywords
    ... def f(epochs): pass
    >>> f(epoch=3)
    Traceback (most recent call last):
    ...
    TypeError: f: unexpected argument 'epoch'. Did you mean 'epochs'?
    """

    @functools.wraps(f)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return f(*args, **kwargs)
        except TypeError:
            import inspect

            from fastbp import hints

            known = list(inspect.signature(f).parameters)
            asked = f.__qualname__.removesuffix(".__init__")
            # of an object the class that was called, not the base that has the arguments
            name = asked if asked == f.__qualname__ else type(args[0]).__name__
            for key in kwargs:
                if key not in known:
                    hint = hints.argument(asked, key, known)
                    raise TypeError(f"{name}: unexpected argument {key!r}.{hint}") from None
            raise

    return called


def named(cls: type[T]) -> type[T]:
    """`keywords` for the arguments that make an object."""
    cls.__init__ = keywords(cls.__init__)  # type: ignore[method-assign]
    return cls


def as_numbers(value: Any, name: str, dtype: np.dtype[Any], missing: bool = False) -> np.ndarray:
    """`value` as a C-contiguous array of `dtype`, finite throughout but for NaN where `missing`."""
    flags = value.flags if type(value) is np.ndarray and value.dtype == dtype else None
    if flags is None or not (flags.c_contiguous and flags.aligned):
        value = converted(value, name, dtype, missing)
    if dispatch.engine.doors(dtype).is_finite(value) or (missing and not np.isinf(value).any()):
        return value
    _refuse_non_finite(value, name)
    return value


def converted(value: Any, name: str, dtype: np.dtype[Any], missing: bool) -> np.ndarray:
    """`value` as a C-contiguous array of `dtype`, which has to hold what is finite in it."""
    array = as_array(value, name, missing)
    if array.dtype.kind not in "fiub":
        what = type(value).__name__ if array.dtype.kind == "O" else "an array"
        odd = _odd(array, value)
        raise TypeError(f"{name}: expected numbers; got {what} of dtype {array.dtype}{odd}")
    if array.dtype.kind == "f" and array.dtype.itemsize > dtype.itemsize:
        with np.errstate(over="ignore"):
            narrow = plain(array, dtype)
        if narrow.size and not is_finite(narrow) and np.isfinite(array).all():
            raise ValueError(
                f"{name}: expected values that {dtype} holds; got one of magnitude "
                f"{np.abs(array).max():g}"
            )
        return narrow
    return plain(array, dtype)


def plain(array: np.ndarray, dtype: Any) -> np.ndarray:
    """`array` as the engine reads it, C-contiguous and aligned; a copy only where it is not so."""
    flags = array.flags
    if array.dtype == dtype and flags.c_contiguous and flags.aligned and type(array) is np.ndarray:
        return array
    # not ascontiguousarray, which makes a scalar one-dimensional and leaves what is not aligned
    return np.require(array, dtype, ["C", "A"])


def as_array(value: Any, name: str, missing: bool = False) -> np.ndarray:
    """`value` as NumPy has it; of objects that are numbers, as in frames of several types, numbers.

    With `missing`, NaN stands for what is missing among them.
    """
    if type(value) is np.ndarray and value.dtype.kind != "O":
        return value
    if hasattr(value, "nnz") and hasattr(value, "todense"):
        raise TypeError(
            f"{name}: expected a dense array; got {type(value).__name__}, a sparse one, of which "
            ".toarray() makes a dense one"
        )
    if isinstance(value, np.ma.MaskedArray) and np.ma.is_masked(value):
        raise ValueError(
            f"{name}: expected no masked values; got {int(np.ma.getmaskarray(value).sum())}"
        )
    try:
        array = np.asarray(value)
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name}: expected a rectangular array of numbers; {error}") from None
    except Exception as error:  # a tensor on another device, one that needs a gradient
        raise TypeError(
            f"{name}: expected numbers; got {type(value).__name__}, of which NumPy makes no array: "
            f"{error}"
        ) from error
    return _of_objects(array, name, missing) if array.dtype.kind == "O" else array


def _of_objects(array: np.ndarray, name: str, missing: bool) -> np.ndarray:
    """As numbers, if all are such; else as it came, for whoever expects numbers to refuse."""
    kinds = {type(item) for item in array.flat}
    if missing and any(map(_is_missing, kinds)):
        absent = [_is_missing(type(item)) for item in array.flat]
        array = np.where(np.reshape(absent, array.shape), math.nan, array)
        kinds = {float, *(kind for kind in kinds if not _is_missing(kind))}
    if any(map(_is_no_number, kinds)):
        return array
    whole = all(issubclass(kind, (numbers.Integral, np.bool_)) for kind in kinds)
    try:
        return array.astype(np.int64 if whole else np.float64)
    except ValueError as error:  # a decimal's signalling NaN
        raise ValueError(f"{name}: expected numbers; {error}") from None
    except OverflowError:
        raise TypeError(
            f"{name}: expected numbers of ordinary size; got an array of dtype object with a larger"
        ) from None


def _is_missing(kind: type) -> bool:
    return kind is type(None) or kind.__name__ in ("NAType", "NaTType")  # pandas' own


def _is_no_number(kind: type) -> bool:
    is_complex = issubclass(kind, (complex, np.complexfloating))
    return is_complex or not issubclass(kind, (numbers.Number, np.bool_))


def _first(array: np.ndarray, of_kind: Callable[[type], bool]) -> tuple[int, ...]:
    """Where the first object of such a type is."""
    at = next((i for i, item in enumerate(array.flat) if of_kind(type(item))), 0)
    return tuple(int(i) for i in np.unravel_index(at, array.shape)) if array.size else ()


def _odd(array: np.ndarray, value: Any) -> str:
    """What stands in an array that is none of numbers, and where, with the column's name."""
    if not array.size:
        return ""
    where = _first(array, _is_no_number)
    item = array.item(where)
    what = repr(item)
    if _is_missing(type(item)):
        n = sum(_is_missing(type(other)) for other in array.flat)
        what = f"the missing value {what} ({n} in all)"
    columns = getattr(value, "columns", None)
    column = "" if columns is None or len(where) < 2 else f", column {columns[where[1]]!r}"
    return f", {what} at [{', '.join(map(str, where))}]{column}" if where else ""


def is_finite(array: np.ndarray) -> bool:
    return bool(dispatch.engine.doors(array.dtype).is_finite(array))


def _refuse_non_finite(array: np.ndarray, name: str) -> None:
    array = np.atleast_1d(array)
    bad = ~np.isfinite(array)
    where = tuple(int(i[0]) for i in np.nonzero(bad))
    kind = "NaN" if np.isnan(array[where]) else "infinity"
    at = ", ".join(map(str, where))
    raise ValueError(
        f"{name}: expected finite numbers; got {kind} at [{at}] ({int(bad.sum())} such values)"
    )


def as_matrix(value: Any, name: str, n_columns: int, dtype: np.dtype[Any]) -> np.ndarray:
    """`value` as (n, n_columns) with n >= 1."""
    array = as_numbers(value, name, dtype)
    if array.ndim != 2:
        hint = "; for one sample, X.reshape(1, -1)" if array.shape == (n_columns,) else ""
        raise ValueError(
            f"{name}: expected 2 dimensions, (samples, {n_columns}); got shape {array.shape}{hint}"
        )
    if array.shape[1] != n_columns:
        raise ValueError(f"{name}: expected {n_columns} columns; got {array.shape[1]}")
    if array.shape[0] == 0:
        raise ValueError(f"{name}: expected at least one row; got shape {array.shape}")
    return array


def check_rows(array: np.ndarray | Sparse, name: str, n: int) -> None:
    if array.shape[0] != n:
        raise ValueError(f"{name}: expected {n} rows, as many as X; got {array.shape[0]}")


_ALLOWED: dict[str, Callable[[np.ndarray], np.ndarray]] = {  # by what functions.py says of a loss
    "in [0, 1]": lambda y: (y >= 0) & (y <= 1),
    "at least 0": lambda y: y >= 0,
    "-1 or 1": lambda y: np.abs(y) == 1,
}


def as_targets(
    value: Any,
    n: int,
    n_columns: int,
    loss: Loss,
    dtype: np.dtype[Any],
    missing: bool = False,
) -> tuple[np.ndarray | None, np.ndarray | None]:
    """`value` as (dense targets (n, n_columns), None) or (None, class indices (n,) of intp).

    One-dimensional values are class indices where there are several columns of targets. With
    `missing`, dense targets may hold NaN, though not alone.
    """
    array = as_array(value, "Y", missing)
    if array.dtype.kind in "OUST":
        _refuse_strings(array, n, n_columns, loss)
    if array.ndim == 1 and n_columns > 1:
        return None, _as_labels(array, n, n_columns)
    if array.ndim == 1:
        value = array.reshape(-1, 1)
    array = as_numbers(value, "Y", dtype, missing)
    if array.ndim != 2 or array.shape[1] != n_columns:
        either = f"class indices ({n},) or " if n_columns > 1 else f"({n},) or "
        raise ValueError(f"Y: expected {either}shape ({n}, {n_columns}); got shape {array.shape}")
    check_rows(array, "Y", n)
    if missing and np.isnan(array).all():
        raise ValueError("Y: expected at least one target that is not missing; got NaN alone")
    allowed = _ALLOWED.get(loss.targets)
    if allowed is not None and not (fits := allowed(array) | (array != array)).all():
        where = tuple(int(i[0]) for i in np.nonzero(~fits))
        raise ValueError(
            f"Y: loss {loss.kind!r} expects targets {loss.targets}; got {array[where]:g} at "
            f"[{where[0]}, {where[1]}]"
        )
    return array, None


def as_dense_targets(
    value: Any, n: int, n_columns: int, loss: Loss, dtype: np.dtype[Any]
) -> np.ndarray:
    """`value` as (n, n_columns): class indices as 1 among 0, for the hinges among -1."""
    dense, labels = as_targets(value, n, n_columns, loss, dtype)
    if labels is None:
        assert dense is not None
        return dense
    rest = -1 if loss.targets == "-1 or 1" else 0
    dense = np.full((n, n_columns), rest, dtype)
    dense[np.arange(n), labels] = 1
    return dense


def _refuse_strings(array: np.ndarray, n: int, n_columns: int, loss: Loss) -> None:
    """Tell what to do with names of classes."""
    where = _first(array, lambda kind: issubclass(kind, (str, bytes)))
    text = array.item(where) if array.size else None
    of_classes = n_columns > 1 or loss.targets in ("in [0, 1]", "-1 or 1")
    if not (of_classes and isinstance(text, (str, bytes))):
        return
    signed = " and 2 * Y - 1" if n_columns == 1 and loss.targets == "-1 or 1" else ""
    what = (
        f"class indices (whole numbers 0..{n_columns - 1})"
        if n_columns > 1
        else f"numbers {loss.targets}"
    )
    raise TypeError(
        f"Y: expected {what} or shape ({n}, {n_columns}); got dtype {array.dtype}, "
        f"strings such as {text!r}. "
        f"classes, Y = numpy.unique(Y, return_inverse=True){signed} makes such numbers; "
        "fastbp.estimators.MLPClassifier takes strings as they are"
    )


def _as_labels(array: np.ndarray, n: int, n_classes: int) -> np.ndarray:
    array = array.copy()  # what is used as an index nobody else may write once it is checked
    if array.dtype.kind not in "iufb":
        raise TypeError(
            f"Y: expected class indices (whole numbers 0..{n_classes - 1}) or shape ({n}, "
            f"{n_classes}); got dtype {array.dtype}{_odd(array, array)}"
        )
    check_rows(array, "Y", n)
    if array.dtype.kind == "f":
        wrong = ~(np.isfinite(array) & (array == np.floor(array)))
        if wrong.any():
            i = int(np.argmax(wrong))
            raise ValueError(f"Y: expected whole numbers as class indices; got {array[i]} at [{i}]")
    if array.min() < 0 or array.max() >= n_classes:
        i = int(np.argmax((array < 0) | (array >= n_classes)))
        raise ValueError(
            f"Y: expected class indices 0..{n_classes - 1}, one for each output; got "
            f"{array[i]:g} at [{i}]"
        )
    return plain(array, np.intp)


def as_weight(
    value: Any, n: int, dtype: np.dtype[Any], name: str = "sample_weight"
) -> np.ndarray | None:
    """`value` as sample weights (n,), none negative, not all zero; None stays None.

    Only their ratios matter: see `in_range`.
    """
    if value is None:
        return None
    value = as_array(value, name)
    weight = as_numbers(value, name, dtype if value.dtype == dtype else np.dtype(np.float64))
    if weight.shape != (n,):
        raise ValueError(f"{name}: expected shape ({n},); got {weight.shape}")
    if (weight < 0).any():
        i = int(np.argmax(weight < 0))
        raise ValueError(f"{name}: expected numbers >= 0; got {weight[i]:g} at [{i}]")
    if not weight.any():
        raise ValueError(f"{name}: expected at least one weight above 0; got only zeros")
    return in_range(weight, dtype)


_HIGH = 64  # binary exponent of weights: of so large ones any number has a sum in float32


def in_range(weight: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Weights as `dtype`, times a power of two where their sums or the least would not fit.

    The engine takes numbers below the normal ones for 0; a power of two leaves all other bits.
    """
    highest = int(np.frexp(weight.max())[1])
    lowest = int(np.frexp(weight.min(initial=np.inf, where=weight > 0))[1])
    least = int(np.finfo(dtype).minexp) + 1
    if lowest < least or highest > _HIGH:  # the largest about 1, or as large as the least needs
        weight = np.ldexp(weight, min(max(1 - highest, least - lowest), _HIGH - highest))
    return weight.astype(dtype, copy=False)


def as_bits(seed: Any) -> int:
    """64 bits for the engine's streams from a whole number, a SeedSequence or None (drawn)."""
    sequence = seed if isinstance(seed, np.random.SeedSequence) else np.random.SeedSequence(seed)
    return int(sequence.generate_state(1, np.uint64)[0])


def as_flag(value: Any, name: str) -> bool:
    """True or False."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name}: expected True or False; got {shown(value)}")
    return bool(value)


def as_indices(value: Any, name: str, n: int) -> np.ndarray:
    """`value` as indices (k,) of intp, each in 0..n-1."""
    array = as_array(value, name).copy()  # nobody else may write what is used as an index
    if array.size == 0:
        array = array.astype(np.intp)
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name}: expected whole numbers; got dtype {array.dtype}")
    if array.ndim != 1:
        raise ValueError(f"{name}: expected 1 dimension; got shape {array.shape}")
    outside = (array < 0) | (array >= n)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(f"{name}: expected indices 0..{n - 1}; got {array[i]} at [{i}]")
    return plain(array, np.intp)


@contextlib.contextmanager
def fitting_in_memory(name: str) -> Iterator[None]:
    """Have a lack of memory name the argument that asked for it."""
    try:
        yield
    except MemoryError as error:
        raise MemoryError(f"{name}: expected what fits in memory; {error}") from None


def as_output(value: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    """`out` as it was given, or a new array."""
    if value is None:
        return np.empty(shape, dtype)
    if not isinstance(value, np.ndarray):
        raise TypeError(f"out: expected a NumPy array; got {type(value).__name__}")
    if value.shape != shape or value.dtype != dtype:
        raise ValueError(
            f"out: expected shape {shape} and dtype {dtype}; got {value.shape} and {value.dtype}"
        )
    if not (value.flags.c_contiguous and value.flags.writeable and value.flags.aligned):
        raise ValueError("out: expected a writable C-contiguous array")
    return value


def as_count(value: Any, name: str, least: int = 1, most: float = math.inf) -> int:
    """A whole number of at least `least`."""
    if type(value) is int and least <= value <= most:
        return value
    try:
        if isinstance(value, (bool, np.bool_)):
            raise TypeError
        count = operator.index(value)
    except Exception:
        told = f"{name}: expected a whole number >= {least}; got {shown(value)}"
        raise TypeError(told) from None
    if count < least:
        raise ValueError(f"{name}: expected a whole number >= {least}; got {shown(count)}")
    if count > most:
        raise ValueError(f"{name}: expected a whole number <= {most}; got {shown(count)}")
    return count


def as_number(value: Any) -> float:
    """`value` as float where it is one real number; what is raised otherwise names nothing."""
    if isinstance(value, float):
        return float(value)
    kind = getattr(getattr(value, "dtype", None), "kind", "f")
    other = (str, bytes, bytearray, bool, np.ma.MaskedArray)  # of which float() makes something
    if isinstance(value, other) or kind not in "fiu" or np.ndim(value):
        raise TypeError
    return float(value)


def as_penalty(value: Any, name: str) -> float:
    """A finite number >= 0."""
    try:
        number = as_number(value)
    except OverflowError:
        raise ValueError(f"{name}: expected a finite number >= 0; got a larger one") from None
    except Exception:
        raise TypeError(f"{name}: expected a number >= 0; got {shown(value)}") from None
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(f"{name}: expected a finite number >= 0; got {number!r}")
    return number


def as_positive(value: Any, name: str) -> float:
    """A finite number > 0."""
    try:
        number = as_penalty(value, name)
    except (TypeError, ValueError) as error:
        raise type(error)(str(error).replace(">= 0", "> 0")) from None
    if number == 0:
        raise ValueError(f"{name}: expected a finite number > 0; got {number!r}")
    return number


def as_path(value: Any, name: str) -> Path:
    """`value` as a path that the file system can be asked for."""
    if not isinstance(value, (str, os.PathLike)):
        raise TypeError(f"{name}: expected a path (str or path-like); got {shown(value)}")
    try:
        text = os.fsdecode(value)
    except Exception as error:
        kind = type(value).__name__
        raise TypeError(f"{name}: expected a path; got {kind}, which gives none: {error}") from None
    try:
        is_name = bool(text) and b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        is_name = False
    if not is_name:
        raise ValueError(f"{name}: expected a path that a file can have; got {text!r:.200}")
    return Path(text)


def as_file(value: Any, name: str) -> Path:
    """`value` as the path of a file to read: a FIFO or a device would block, or never end."""
    path = as_path(value, name)
    check_regular(path.stat().st_mode, path, name)
    return path


def check_regular(mode: int, path: Path, name: str) -> None:
    """Refuse what is no regular file, by the mode that `stat` gives."""
    if not stat.S_ISREG(mode):
        number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
        kind = _KINDS_OF_FILE.get(stat.S_IFMT(mode), "of another kind")
        raise OSError(number, f"{name}: expected a regular file; this is {kind}", str(path))


_KINDS_OF_FILE = {
    stat.S_IFDIR: "a folder",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}
