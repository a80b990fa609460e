"""What calls are made of: a source of choices, and values that no argument can want.

What does not belong here: which arguments a call takes (operations.py), what must hold (calls.py).
"""

import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pandas as pd
from scipy import sparse

POOL = np.random.default_rng(0).standard_normal(1 << 12)


class Draws:
    """Choices from a seed: the same seed, the same choices."""

    def __init__(self, *seed):
        self._rng = np.random.default_rng(seed)
        self._left = []

    def share(self):
        """A number in [0, 1)."""
        if not self._left:
            self._left = self._rng.random(256).tolist()
        return self._left.pop()

    def below(self, n):
        """A whole number in 0..n-1."""
        return int(self.share() * n)

    def chance(self, p):
        """True in a share p of all cases."""
        return self.share() < p

    def pick(self, values):
        """One of a sequence."""
        return values[self.below(len(values))]

    def of_rows(self, n):
        """Some of n rows, in an order, perhaps several times."""
        return np.array([self.below(n) for _ in range(1 + self.below(2 * n))])

    def normal(self, *shape):
        """Numbers of a standard normal distribution, float64."""
        size = math.prod(shape)
        first = self.below(POOL.size - size)
        return POOL[first : first + size].reshape(shape).copy()


class Stubborn:
    """Whatever is asked of it raises, as of a tensor on another device."""

    def _refuse(self, *args, **options):
        raise RuntimeError("cannot be converted")

    __array__ = __float__ = __index__ = __int__ = __complex__ = _refuse
    __len__ = __iter__ = __getitem__ = __bool__ = __eq__ = __lt__ = __fspath__ = _refuse
    __hash__ = object.__hash__


def _endless():
    inner = []
    inner.append(inner)
    return inner


NONSENSE = {  # each made anew for every call: some are used up or might be written to
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "numpy True": lambda: np.True_,
    "0": lambda: 0,
    "-1": lambda: -1,
    "7": lambda: 7,
    "2**31": lambda: 2**31,
    "2**63": lambda: 2**63,
    "2**64": lambda: 2**64,
    "10**400": lambda: 10**400,
    "-10**400": lambda: -(10**400),
    "10**5000": lambda: 10**5000,
    "0.5": lambda: 0.5,
    "-0.5": lambda: -0.5,
    "1.0": lambda: 1.0,
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "1e308": lambda: 1e308,
    "1e39": lambda: 1e39,
    "5e-324": lambda: 5e-324,
    "complex": lambda: 1 + 2j,
    "numpy complex": lambda: np.complex64(1j),
    "numpy nan": lambda: np.float32(np.nan),
    "long double": lambda: np.longdouble("1e4000"),
    "half": lambda: np.float16(0.25),
    "text": lambda: "abc",
    "no text": lambda: "",
    "digit": lambda: "1",
    "nul": lambda: "a\0b",
    "surrogate": lambda: "\ud800",
    "bytes": lambda: b"abc",
    "bytearray": lambda: bytearray(b"ab"),
    "[]": list,
    "[1]": lambda: [1],
    "[None]": lambda: [None],
    "[nan]": lambda: [math.nan],
    "['a']": lambda: ["a"],
    "[[1]]": lambda: [[1]],
    "ragged": lambda: [[1, 2], [1]],
    "endless": _endless,
    "()": tuple,
    "(1, 2)": lambda: (1, 2),
    "{}": dict,
    "{'a': 1}": lambda: {"a": 1},
    "{1: 'a'}": lambda: {1: "a"},
    "{0: nan}": lambda: {0: math.nan},
    "set": lambda: {1, 2},
    "range": lambda: range(2),
    "iterator": lambda: iter([1, 2]),
    "object": object,
    "type": lambda: Taking,
    "function": lambda: _nothing,
    "module": lambda: math,
    "exception": lambda: ValueError("x"),
    "0-d": lambda: np.array(1.0),
    "0-d int": lambda: np.array(1),
    "0-d text": lambda: np.array("abc"),
    "0-d object": lambda: np.array(None),
    "vector": lambda: np.arange(3.0),
    "ints": lambda: np.arange(2),
    "one number": lambda: np.ones(1),
    "matrix": lambda: np.ones((2, 2)),
    "cube": lambda: np.ones((2, 2, 2)),
    "nothing": lambda: np.empty(0),
    "no columns": lambda: np.empty((3, 0)),
    "texts": lambda: np.array(["a", "b"]),
    "objects": lambda: np.array([None, 1], object),
    "complexes": lambda: np.ones(2, complex),
    "dates": lambda: np.array(["2020-01-01"], "M8[D]"),
    "a date": lambda: np.datetime64("2020-01-01"),
    "a delay": lambda: np.timedelta64(1, "s"),
    "structured": lambda: np.zeros(2, [("a", float)]),
    "void": lambda: np.void(b"ab"),
    "masked": lambda: np.ma.array([1.0, 2.0], mask=[False, True]),
    "a masked number": lambda: np.ma.masked,
    "fraction": lambda: Fraction(1, 3),
    "decimal": lambda: Decimal("0.1"),
    "decimal nan": lambda: Decimal("nan"),
    "signalling nan": lambda: Decimal("sNaN"),
    "pandas NA": lambda: pd.NA,
    "pandas NaT": lambda: pd.NaT,
    "series": lambda: pd.Series([1.0, 2.0]),
    "frame": lambda: pd.DataFrame({"a": [1.0, 2.0], "b": ["x", "y"]}),
    "sparse": lambda: sparse.csr_array(np.eye(3)),
    "sparse nan": lambda: sparse.coo_matrix(np.diag([1.0, math.nan, 1.0])),
    "sparse vector": lambda: sparse.coo_array([0.0, 1.0, 2.0]),
    "timestamp": lambda: pd.Timestamp("2020-01-01"),
    "stubborn": Stubborn,
}


class Taking:
    """A class that can be called with anything."""

    def __init__(self, *args, **options):
        pass


def _nothing(*args, **options):
    return None
