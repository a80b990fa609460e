"""Which columns of a table a network is given, and why the others are not.

What belongs here: what a user names, and columns that tell nothing. What does not: what becomes of
a column (encoder.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastbp.functions import shown
from fastbp.tabular.arrow import pyarrow as load_arrow
from fastbp.tabular.dialect import is_unnamed
from fastbp.tabular.names import hint, listed

if TYPE_CHECKING:
    import pyarrow


class Selection(NamedTuple):
    """The columns that a network is given; `choose` makes it.

    Attributes
    ----------
    features : list of str
        In the order of the table, or in that in which they were asked for.
    left_out : dict of str to str
        The others but the target, each with the reason in words.
    categorical, numeric : list of str
        Those of the features that were said to be.

    Examples
    --------
    >>> from fastbp.tabular.selection import choose
    >>> import pyarrow
    >>> table = pyarrow.table({"id": [1, 2, 3], "age": [31, 19, 45], "sold": ["yes", "no", "no"]})
    >>> chosen = choose(table, target="sold", numeric=["age"])
    >>> chosen.features, chosen.categorical, chosen.numeric
    (['age'], [], ['age'])
    """

    features: list[str]
    left_out: dict[str, str]
    categorical: list[str]
    numeric: list[str]


def choose(
    table: pyarrow.Table,
    *,
    target: str | None = None,
    drop: Sequence[str] = (),
    columns: Sequence[str] | None = None,
    categorical: Sequence[str] = (),
    numeric: Sequence[str] = (),
    ids: Sequence[str] = (),
    name: str = "",
    judge: Callable[[list[str]], dict[str, str | None]] | None = None,
) -> Selection:
    """Choose the columns of a table that a network is given.

    Parameters
    ----------
    table : pyarrow.Table
        Its names and its rows decide; it stays as it is.
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
    judge : callable, optional
        Of names, why each of these columns would be of no use, where `table` has no rows
        (`judged_in_parts`).

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
    asking = [column for column in inputs if column not in told]
    named = [column for column in asking if not is_unnamed(column)]
    found_of = judge(named) if judge else {column: _says_nothing(table[column]) for column in named}
    reasons = {column: found_of.get(column, _NAMELESS) for column in asking}
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
    return min(found, key=lambda column: [not found[column].startswith(of) for of in order])


def _says_nothing(column: Any) -> str | None:
    """Why a column would be of no use."""
    arrow = load_arrow()
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


FIRST = 1 << 16  # rows that decide of most columns
DISTINCT = 1 << 17  # texts without a repetition that are enough


def judged_in_parts(
    read: Callable[[list[str]], Iterable[tuple[str, Any]]], names: list[str]
) -> dict[str, str | None]:
    """Why columns would be of no use, of a table that comes in parts.

    `read` gives, of names, the parts anew. All columns are read of the first rows, of the others
    the few that these leave open. Texts are compared until there are `DISTINCT` of them.
    """
    found = {name: _Seen() for name in names}
    for most in (FIRST, None):
        still = {name: _Seen() for name in names if found[name].is_open}
        rows = 0
        for _, part in read(list(still)) if still else ():
            for name, seen in still.items():
                seen.add(part.column(name))
            rows += part.num_rows
            if (most and rows >= most) or not any(seen.is_open for seen in still.values()):
                break
        else:
            return {name: seen.reason() for name, seen in (found | still).items()}
        found |= still
    return {name: seen.reason() for name, seen in found.items()}


class _Seen:
    """What `_says_nothing` asks of a column, as its parts come."""

    def __init__(self) -> None:
        self.n = self.n_missing = 0
        self.first: Any = None
        self.last: Any = None
        self.texts: set[str] = set()
        self.same = self.rises = self.differs = True

    @property
    def is_open(self) -> bool:
        """Whether more rows may change what is said."""
        empty = self.n == self.n_missing
        enough = self.differs and len(self.texts) >= DISTINCT and not self.same
        return empty or (not enough and (self.same or self.rises or self.differs))

    def add(self, column: Any) -> None:
        if not self.is_open:
            return
        types, pc = load_arrow().types, load_arrow().compute
        if types.is_dictionary(column.type):
            column = column.dictionary_decode()
        missing = pc.sum(column.is_null(nan_is_null=True)).as_py() or 0
        self.n, self.n_missing = self.n + len(column), self.n_missing + missing
        if self.n_missing or types.is_nested(column.type):
            self.same = self.rises = self.differs = False
            self.texts.clear()
            return
        if self.first is None:
            self.first = column[0]
        self.same = self.same and bool(pc.all(pc.equal(column, self.first)).as_py())
        self.rises = self.rises and self._goes_on(column, types)
        if not self.differs:
            return
        types_of_text = (types.is_string, types.is_large_string)
        self.differs = any(is_text(column.type) for is_text in types_of_text)
        if self.differs:
            self.texts.update(column.to_pylist())
            self.differs = len(self.texts) == self.n
        if not self.differs:
            self.texts.clear()

    def _goes_on(self, column: Any, types: Any) -> bool:
        if types.is_integer(column.type):
            values = column.to_numpy().astype(np.int64)
        elif types.is_floating(column.type):
            values = column.to_numpy(zero_copy_only=False).astype(np.float64)
        else:
            return False
        before = [] if self.last is None else [self.last]
        self.last = values[-1]
        with np.errstate(over="ignore", invalid="ignore"):
            steps = np.diff(np.concatenate([np.array(before, values.dtype), values]))
        return bool((steps == 1).all() and values[0] % 1 == 0)

    def reason(self) -> str | None:
        if self.n == self.n_missing:
            return _EMPTY
        if self.same:
            return _CONSTANT
        if self.n < 2:
            return None
        if self.rises:
            return _RISING
        if not self.differs:
            return None
        return _UNIQUE if len(self.texts) < DISTINCT else f"{_UNIQUE} of the first {self.n:,}"
