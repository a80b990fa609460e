"""Columns of tables by name.

What belongs here: picking them from a frame, and words for names that are not there. What does not:
files (reading.py), which columns a network is given (selection.py).
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any


def by_name(value: Any, name: str, columns: list[str | int | float] | None) -> Any:
    """Of a frame (pandas, polars, Arrow) these columns, in this order; all else as it is."""
    kind = type(value)
    found = value.column_names if hasattr(kind, "column_names") else getattr(value, "columns", None)
    if columns is None or found is None or (known := list(found)) == columns:
        return value
    times = Counter(known)
    missing = [column for column in columns if column not in times]
    if missing:
        raise ValueError(
            f"{name}: expected the columns that the network was trained on; got none named "
            f"{listed(missing)}; the columns are {listed(known)}{hint([*map(str, missing)], known)}"
        )
    for column in columns:
        if times[column] > 1:
            raise ValueError(f"{name}: expected one column {column!r}; got {times[column]}")
    return value.select(columns) if hasattr(kind, "select") else value[columns]


def row_by_name(value: Any, name: str, columns: list[str | int | float]) -> Any:
    """Of a pandas Series that names columns, as a frame's row does, these; all else as it is."""
    index = getattr(value, "index", None)  # a list's is a method
    if index is None or callable(index) or not any(known in columns for known in index):
        return value
    return by_name(value.to_frame().T, name, columns).iloc[0]


def listed(names: Sequence[Any]) -> str:
    """Names for a message, the first of many."""
    more = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return ", ".join(f"{str(name)!r:.80}" for name in names[:20]) + more


def hint(names: Sequence[str], known: Sequence[Any]) -> str:
    """Those that may have been meant.

    >>> hint(["Area"], ["area", "price"])
    "; did you mean 'area'?"
    """
    import difflib  # 1 ms that most programs never need

    folded = {str(column).casefold(): column for column in known}
    near = [difflib.get_close_matches(name.casefold(), folded, n=1) for name in names[:20]]
    meant = [folded[found[0]] for found in near if found]
    return f"; did you mean {listed(meant)}?" if meant else ""
