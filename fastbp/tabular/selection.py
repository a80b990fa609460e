"""Which columns of a table a network is given, and why the others are not.

What belongs here: what a user names, and columns that tell nothing. What does not: what becomes of
a column (encoder.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from fastbp.functions import shown
from fastbp.tabular.arrow import pyarrow
from fastbp.tabular.dialect import is_unnamed
from fastbp.tabular.names import hint, listed


class Selection(NamedTuple):
    """The columns that a network is given.

    Attributes
    ----------
    features : list of str
        In the order of the table, or in that in which they were asked for.
    left_out : dict of str to str
        The others but the target, each with the reason in words.
    categorical, numeric : list of str
        Those of the features that were said to be.
    """

    features: list[str]
    left_out: dict[str, str]
    categorical: list[str]
    numeric: list[str]


def choose(
    table: Any,
    *,
    target: str | None = None,
    drop: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    ids: Sequence[str] = (),
    name: str = "",
) -> Selection:
    """Choose the columns of a table that a network is given.

    Parameters
    ----------
    table : pyarrow.Table
    target : str, optional
        The column to predict, which is no input.
    drop : sequence of str
        Columns to leave out.
    columns : sequence of str, optional
        The only inputs, in this order; by default all.
    categorical, numeric : sequence of str
        Inputs that are to be taken as categories, as numbers.
    ids : sequence of str
        Columns to leave out because they number or name the rows.
    name : str
        What the table is called in a refusal.

    Returns
    -------
    Selection
        Left out by default are columns without a name or a value, with one value throughout, of
        texts that are others in every row, and of whole numbers that rise by one from row to row;
        but none that is named in `columns`, `categorical` or `numeric`, and not the last that
        would be left.

    Raises
    ------
    ValueError
        A name is no column's, or is asked for in two ways that do not go together, or no input
        is left.

    Examples
    --------
    >>> import pyarrow
    >>> from fastbp.tabular.selection import choose
    >>> table = pyarrow.table({"id": [1, 2, 3], "age": [31, 19, 45], "sold": ["yes", "no", "no"]})
    >>> choose(table, target="sold").left_out
    {'id': 'whole numbers that rise by one from row to row'}
    """
    at = f"{name}: " if name else ""
    known = list(table.column_names)
    asked = {"drop": drop, "columns": columns or (), "categorical": categorical,
             "numeric": numeric, "ids": ids}  # fmt: skip
    for option, names in asked.items():
        _check(option, names, known, at)
    if target is not None:
        _check("target", [target], known, at)
    _check_together(asked, target, columns is not None, at)
    left_out = {
        column: reason
        for reason, names in (("dropped, as asked", drop), ("names the rows, as told", ids))
        for column in names
    }
    if columns is not None:
        others = [column for column in known if column not in columns and column not in left_out]
        left_out |= {column: "not among the columns asked for" for column in others}
    inputs = [column for column in (columns or known) if column not in left_out]
    inputs = [column for column in inputs if column != target]
    left_out.pop(target, None)  # type: ignore[arg-type]
    if not inputs:
        raise ValueError(f"{at}expected at least one input column; every one is left out")
    told = {*(columns or ()), *categorical, *numeric}
    reasons = {
        column: _NAMELESS if is_unnamed(column) else _says_nothing(table[column])
        for column in inputs
        if column not in told
    }
    found = {column: reason for column, reason in reasons.items() if reason}
    if len(found) == len(inputs):
        del found[_best(found)]
    features = [column for column in inputs if column not in found]
    return Selection(
        features,
        left_out | found,
        [column for column in features if column in categorical],
        [column for column in features if column in numeric],
    )


def _check(option: str, names: Any, known: Sequence[str], at: str) -> None:
    is_list = isinstance(names, Sequence) and not isinstance(names, (str, bytes))
    if not is_list or not all(isinstance(name, str) for name in names):
        raise TypeError(f"{option}: expected a list of names of columns; got {shown(names)}")
    there = set(known)
    if missing := [name for name in names if name not in there]:
        raise ValueError(
            f"{at}{option}: no column {listed(missing)}; the columns are {listed(known)}"
            f"{hint(missing, known)}"
        )
    for name in names:
        if list(names).count(name) > 1:
            raise ValueError(f"{at}{option}: expected each column once; got {name!r:.80} twice")


def _check_together(
    asked: dict[str, Sequence[str]], target: str | None, only: bool, at: str
) -> None:
    """Refuse what is asked for and against."""
    against = [("categorical", "numeric")]
    against += [(out, into) for out in ("drop", "ids") for into in ("columns", "categorical",
                                                                    "numeric")]  # fmt: skip
    for one, other in against:
        for column in asked[one]:
            if column in asked[other]:
                raise ValueError(f"{at}{one}: column {column!r:.80} is among {other}, too")
    for option in ("columns", "categorical", "numeric", "drop", "ids"):
        if target is not None and target in asked[option]:
            raise ValueError(
                f"{at}{option}: column {target!r:.80} is the target, which is no input"
            )
    for option in ("categorical", "numeric"):
        for column in asked[option]:
            if only and column not in asked["columns"]:
                raise ValueError(f"{at}{option}: column {column!r:.80} is not among columns")


_EMPTY = "no value in any row"
_CONSTANT = "the same value in every row"
_UNIQUE = "texts that are others in every row"
_NAMELESS = "a column without a name, such as a row index"
_RISING = "whole numbers that rise by one from row to row"


def _best(found: dict[str, str]) -> str:
    """The column that says most, of those that say little: the first of the kind."""
    order = (_NAMELESS, _RISING, _UNIQUE, _CONSTANT, _EMPTY)
    return min(found, key=lambda column: order.index(found[column]))


def _says_nothing(column: Any) -> str | None:
    """Why a column would be of no use."""
    arrow = pyarrow()
    types, pc = arrow.types, arrow.compute
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if column.null_count == len(column):
        return _EMPTY
    if types.is_nested(column.type):
        return None
    if types.is_floating(column.type):
        values = column.to_numpy()
        if np.isnan(values).all():
            return _EMPTY
        if not column.null_count and values.min() == values.max():
            return _CONSTANT
        return (
            _RISING
            if len(values) > 1 and (np.diff(values) == 1).all() and values[0] % 1 == 0
            else None
        )
    if not column.null_count and pc.all(pc.equal(column, column[0])).as_py():
        return _CONSTANT
    if column.null_count or len(column) < 2:
        return None
    if types.is_integer(column.type):
        return _RISING if (np.diff(column.to_numpy().astype(np.int64)) == 1).all() else None
    is_text = types.is_string(column.type) or types.is_large_string(column.type)
    if is_text and pc.count_distinct(column).as_py() == len(column):
        return _UNIQUE
    return None
