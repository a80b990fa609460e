"""Which columns of a table matter: what a score loses where one is shuffled (Breiman 2001).

What belongs here: the shuffling of columns. What does not: scores, models
(estimators/tabular_ensemble.py, cli/).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from fastbp.tabular.columns import Columns
from fastbp.tabular.kinds import taken


def drops(
    score: Callable[[Columns], float],
    columns: Columns,
    n_repeats: int,
    draws: np.random.RandomState,
) -> np.ndarray:
    """The score of the table less those with one column shuffled   (k, n_repeats)."""
    whole = score(columns)
    found = np.empty((len(columns.columns), n_repeats))
    for j, column in enumerate(columns.columns):
        for repeat in range(n_repeats):
            parts = list(columns.columns)
            parts[j] = taken(column, draws.permutation(len(columns)))
            found[j, repeat] = whole - score(
                Columns(columns.names, parts, columns.named, columns.n_rows)
            )
    return found
