"""Names, vectors and norms as the formulas of the oracle need them.

What belongs here: a name split from its parameter, vectors in double, norms that neither overflow
nor vanish. What does not: formulas.
"""

import re

import numpy as np


def parse(name, table):
    """Split "huber(1.5)" into ("huber", 1.5)."""
    match = re.fullmatch(r"\s*([a-z_]+)\s*(?:\(([^()]*)\))?\s*", name)
    if match is None or match[1] not in table:
        raise ValueError(f"unknown name {name!r}; known: {', '.join(table)}")
    base, text = match.groups()
    if text is None:
        return base, table[base]
    if table[base] is None:
        raise ValueError(f"{base} takes no parameter, got {name!r}")
    try:
        return base, float(text)
    except ValueError:
        raise ValueError(f"the parameter of {name!r} is not a number") from None


def vector(values, what):
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1:
        raise ValueError(f"{what} must be 1-D, got shape {values.shape}")
    return values


def power_above(x):
    """The power of two by which x, divided, has no element above 1 in size."""
    return np.ldexp(1.0, min(1023, int(np.frexp(np.max(np.abs(x)))[1])))


def norm(x):
    """sqrt(sum x^2), also where squares are too large or too small."""
    unit = power_above(x)
    return float(unit * np.sqrt(np.sum((x / unit) ** 2)))
