"""Targets: which are classes, and which are numbers to fit.

What belongs here: the choice of the task, and classes in their order. What does not: reading
(tabular/), targets as the engine reads them (inputs.py).
"""

import math
from collections.abc import Callable, Hashable, Iterable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np

from fastbp.datasets.dataset import Array, Label
from fastbp.functions import shown
from fastbp.tabular.cells import CODE, MARKS_OF_MISSING, WHOLE, is_number, looks_like_number

TASKS = ("classification", "regression")
MOST_INTEGER_CLASSES = 100  # integers with more distinct values are numbers to fit


def key(label: Label) -> Hashable:
    """What the ways to write one class have in common.

    >>> key("1") == key("1.0") == key(1), key("True") == key(True), key("02134") == key("2134")
    (True, True, False)
    """
    label = str(label)
    if label.lower() in ("true", "false"):
        return label.lower()
    if CODE.fullmatch(label) or not is_number(label) or not math.isfinite(float(label)):
        return label
    return Decimal(label)


def word(label: Label) -> str:
    """A class as text has it.

    >>> word(True), word(3), word("oak")
    ('true', '3', 'oak')
    """
    return str(label).lower() if isinstance(label, bool) else str(label)


def typed(classes: tuple[str, ...]) -> tuple[Label, ...]:
    """Classes out of a file of text, which has no types, as readers of such files give them.

    >>> typed(("1", "2.0")), typed(("False", "true")), typed(("01", "2"))
    ((1, 2), (False, True), ('01', '2'))
    """
    keys = [key(name) for name in classes]
    if all(isinstance(v, Decimal) and abs(v) < 2**63 and v == int(v) for v in keys):
        return tuple(int(name) for name in keys)  # type: ignore[call-overload]
    if {*keys} <= {"false", "true"}:
        return tuple(name == "true" for name in keys)
    return classes


def as_classes(told: Sequence[Any]) -> tuple[Label, ...]:
    """A model's classes as its file tells them: texts, unless all are of another one type.

    >>> as_classes([1, 2]), as_classes([1, "none"])
    ((1, 2), ('1', 'none'))
    """
    are_one = len({*map(type, told)}) == 1 and isinstance(told[0], (str, int, float))
    return tuple(told) if are_one else tuple(map(str, told))


def as_array(classes: Sequence[Label]) -> Array:
    """Classes of one type as an array, which keeps each of them.

    >>> as_array([1, 2**63]).dtype, as_array([False, True]).dtype, as_array(["oak"]).dtype
    (dtype('uint64'), dtype('bool'), dtype('O'))
    """
    if isinstance(classes[0], str):
        return np.array(classes, object)
    found = np.array(classes)
    if found.dtype.kind != "f" or isinstance(classes[0], float):
        return found
    return np.array(classes, np.uint64)  # some are above what int64 holds


def check_task(task: str | None) -> None:
    """Refuse a `task` that is none of `TASKS` and not None."""
    if not (task is None or (isinstance(task, str) and task in TASKS)):
        told = f"task: expected one of {', '.join(TASKS)} or None, found {shown(task)}"
        raise ValueError(told)


def targets(
    parts: Sequence[Array], name: str, task: str | None, *, always_classes: bool = False
) -> tuple[list[Any], tuple[Label, ...] | None]:
    """Return the parts (training, test) as class indices with classes, or as numbers with None.

    Strings, booleans, one-hot rows and integers of at most 100 distinct values (of any number if
    `always_classes`) are classes; floating numbers are not. `task` decides where it is given.
    """
    parts = [part.reshape(-1) if part.ndim == 2 and part.shape[1] == 1 else part for part in parts]
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError(f"{name}: the training and test targets differ in their columns")
    if any(part.ndim not in (1, 2) for part in parts):
        raise ValueError(f"{name}: expected targets of rank 1 or 2, found rank {parts[0].ndim}")
    for part in parts:
        if part.size == 0:
            raise ValueError(f"{name}: expected a target for each row, found shape {part.shape}")
    kinds = {part.dtype.kind for part in parts}
    if not kinds <= set("buif") and not kinds <= set("US"):
        found = ", ".join(sorted({str(part.dtype) for part in parts}))
        raise ValueError(f"{name}: targets must be numbers or strings, found dtype {found}")
    for part in parts:
        if part.dtype.kind == "f" and not np.isfinite(part).all():
            place = np.argwhere(~np.isfinite(part))[0]
            raise ValueError(
                f"{name}: targets must be finite, found {part[tuple(place)]} in row {place[0]}"
            )
    text = kinds <= set("US")
    if text and (task == "regression" or parts[0].ndim == 2):
        raise ValueError(f"{name}: targets to fit must be numbers, found strings")
    if text:
        try:
            lists = [
                (np.char.decode(p, "utf-8") if p.dtype.kind == "S" else p).tolist() for p in parts
            ]
            texts: list[str] = [label for part in lists for label in part]
            "".join(texts).encode()
        except ValueError as error:  # code points that are none, halves of pairs
            raise ValueError(f"{name}: expected targets of UTF-8 text: {error}") from None
        values, classes = targets_from_text(texts, lambda row: f"{name}: target {row}", task)
        return np.split(values, np.cumsum(list(map(len, lists)))[:-1]), classes
    if task == "regression":
        return [_numbers(part) for part in parts], None
    if parts[0].ndim == 2:
        if all(_one_hot(part) for part in parts):
            names = tuple(range(parts[0].shape[1]))
            return [part.argmax(axis=1).astype(np.int64) for part in parts], names
        if task == "classification":
            raise ValueError(f"{name}: class labels must have one column or be one-hot rows")
        return [_numbers(part) for part in parts], None
    if "f" in kinds:
        if task != "classification":
            return [_numbers(part) for part in parts], None
        for part in parts:
            bad = part[(part != np.round(part)) | (abs(part) >= 2**63)]
            if len(bad):
                raise ValueError(f"{name}: class labels must be whole numbers, found {bad[0]}")
        parts = [part.astype(np.int64) for part in parts]
    few = len(np.unique(np.concatenate(parts))) <= MOST_INTEGER_CLASSES
    if few or always_classes or kinds == {"b"} or task == "classification":
        return _indices(parts)
    return [_numbers(part) for part in parts], None


def _indices(parts: Sequence[Array]) -> tuple[list[Any], tuple[Label, ...]]:
    values = np.unique(np.concatenate(parts))
    indices = [np.searchsorted(values, part).astype(np.int64) for part in parts]
    return indices, tuple(values.tolist())


def _numbers(part: Array) -> Array:
    return np.ascontiguousarray(part, dtype=np.float32 if part.dtype.str[1:] == "f4" else float)


def _one_hot(part: Array) -> bool:
    return bool(
        part.shape[1] > 1 and ((part == 0) | (part == 1)).all() and (part.sum(axis=1) == 1).all()
    )


def _are_flags(texts: Iterable[str]) -> bool:
    """Whether there are 0 and 1 alone, however written: 0.0 and 1.0 are what gaps leave of them."""
    return all(is_number(text) and float(text) in (0.0, 1.0) for text in texts)


def targets_from_text(
    texts: Sequence[str], where: Callable[[int], str], task: str | None
) -> tuple[Array, tuple[str, ...] | None]:
    """Return the texts of a column as class indices with names, or as numbers with None.

    Whole numbers of at most 100 distinct values and texts that are no numbers are classes. `where`:
    of a row, what a refusal begins with.
    """
    rows = {text: row for row, text in reversed(list(enumerate(texts)))}  # the first of each
    words = [text for text in rows if not is_number(text)]
    missing = [text for text in rows if text == "" or text.lower() == "nan"]
    if task is None and len(words) < len(rows) and {w.lower() for w in words} <= MARKS_OF_MISSING:
        missing += words  # among numbers
    if missing:
        text = min(missing, key=rows.__getitem__)
        shown = f" ({text!r})" if text else ""
        mixed = " in a mix of numbers and words" if text in words and text else ""
        raise ValueError(f"{where(rows[text])}: missing value{shown}{mixed}")
    whole = all(map(WHOLE.fullmatch, rows)) or _are_flags(rows)
    named = bool(words) or (whole and any(map(CODE.fullmatch, rows)))
    if words and task != "classification":
        _check_words(words, rows, where, task)
    few = whole and len(rows) <= MOST_INTEGER_CLASSES
    if task == "classification" or (task is None and (named or few)):
        if task is None and len(rows) > MOST_INTEGER_CLASSES and 2 * len(rows) > len(texts):
            raise ValueError(
                f"{where(0)}: one of {len(rows)} different texts in {len(texts)} rows: too many to "
                "be classes"
            )
        return _classes(texts)
    numbers = np.array([float(text) for text in texts])
    for row in np.flatnonzero(~np.isfinite(numbers)).tolist():
        raise ValueError(f"{where(row)}: expected a finite number, found {texts[row]!r}")
    return numbers, None


def _check_words(
    words: Sequence[str], rows: dict[str, int], where: Callable[[int], str], task: str | None
) -> None:
    """Refuse words that cannot be classes, or may be numbers."""
    words = sorted(words, key=rows.__getitem__)
    if task == "regression":
        raise ValueError(f"{where(rows[words[0]])}: expected a number, found {words[0]!r}")
    decimals = [text for text in rows if is_number(text) and not WHOLE.fullmatch(text)]
    if decimals:
        raise ValueError(
            f"{where(rows[words[0]])}: {words[0]!r} in a mix of numbers and words; "
            f"{where(rows[decimals[0]])}: {decimals[0]!r}"
        )
    for word in filter(looks_like_number, words):
        raise ValueError(
            f"{where(rows[word])}: {word!r} may be a number: write it as a plain one such as 1200 "
            "or 3.5; where it is a class, say so (task='classification', --task classification)"
        )


def _classes(texts: Sequence[str]) -> tuple[Array, tuple[str, ...]]:
    names: dict[Hashable, str] = {}
    for text in sorted(set(texts), key=lambda text: (len(text), text)):
        names.setdefault(key(text), text.removeprefix("+"))  # of 1 and 1.0 the shorter
    numeric = all(isinstance(found, Decimal) for found in names)
    order = sorted(names, key=Decimal if numeric else str)  # type: ignore[arg-type]
    place = {found: index for index, found in enumerate(order)}
    index = {text: place[key(text)] for text in set(texts)}
    return np.array([index[text] for text in texts], np.int64), tuple(names[k] for k in order)
