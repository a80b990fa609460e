"""Targets: which are classes, and which are numbers to fit."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from fastbp.datasets.dataset import Array

TASKS = ("classification", "regression")
MOST_INTEGER_CLASSES = 100  # integers with more distinct values are numbers to fit
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")  # what int64 holds


def check_task(task: str | None) -> None:
    """Refuse a `task` that is none of `TASKS` and not None."""
    if task is not None and task not in TASKS:
        raise ValueError(f"task: expected one of {', '.join(TASKS)} or None, found {task!r}")


def targets(
    parts: Sequence[Array], name: str, task: str | None, *, always_classes: bool = False
) -> tuple[list[Any], tuple[str, ...] | None]:
    """Return the parts (training, test) as class indices with names, or as numbers with None.

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
            parts = [np.char.decode(p, "utf-8") if p.dtype.kind == "S" else p for p in parts]
            indices, names = _indices(parts)
            "".join(names).encode()
        except ValueError as error:  # code points that are none, halves of pairs
            raise ValueError(f"{name}: expected targets of UTF-8 text: {error}") from None
        return indices, names
    if task == "regression":
        return [_numbers(part) for part in parts], None
    if parts[0].ndim == 2:
        if all(_one_hot(part) for part in parts):
            names = tuple(str(index) for index in range(parts[0].shape[1]))
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


def _indices(parts: Sequence[Array]) -> tuple[list[Any], tuple[str, ...]]:
    values = np.unique(np.concatenate(parts))
    indices = [np.searchsorted(values, part).astype(np.int64) for part in parts]
    return indices, tuple(str(value) for value in values.tolist())


def _numbers(part: Array) -> Array:
    return np.ascontiguousarray(part, dtype=np.float32 if part.dtype.str[1:] == "f4" else float)


def _one_hot(part: Array) -> bool:
    return bool(
        part.shape[1] > 1 and ((part == 0) | (part == 1)).all() and (part.sum(axis=1) == 1).all()
    )


def targets_from_text(
    texts: Sequence[str], lines: Sequence[int], name: str, column: str, task: str | None
) -> tuple[Array, tuple[str, ...] | None]:
    """Return the texts of a CSV column as class indices with names, or as numbers with None.

    Whole numbers of at most 100 distinct values and texts that are no numbers are classes.
    """
    distinct = set(texts)
    where = dict(zip(reversed(texts), reversed(lines), strict=True))  # the first line of each
    for text in distinct:
        if text == "" or text.lower() == "nan":
            raise ValueError(f"{name}: column {column!r}, line {where[text]}: missing value")
    whole = all(WHOLE.fullmatch(text) for text in distinct)
    if whole and (
        task == "classification" or (task is None and len(distinct) <= MOST_INTEGER_CLASSES)
    ):
        values, indices = np.unique([int(text) for text in texts], return_inverse=True)
        return indices.astype(np.int64), tuple(str(value) for value in values.tolist())
    words = [text for text in distinct if not _is_number(text)]
    if words and task is None:
        decimals = [text for text in distinct if _is_number(text) and not WHOLE.fullmatch(text)]
        if decimals:
            raise ValueError(
                f"{name}: column {column!r} mixes numbers and words: line {where[decimals[0]]} "
                f"has {decimals[0]!r}, line {where[words[0]]} has {words[0]!r}"
            )
    if words and task == "regression":
        word = min(words, key=lambda text: where[text])
        raise ValueError(
            f"{name}: column {column!r}, line {where[word]}: expected a number, found {word!r}"
        )
    if words or task == "classification":
        if task is None and len(distinct) > MOST_INTEGER_CLASSES and 2 * len(distinct) > len(texts):
            raise ValueError(
                f"{name}: column {column!r} has {len(distinct)} different texts in {len(texts)} "
                "rows: too many to be classes"
            )
        names = tuple(sorted(distinct))
        index = {text: place for place, text in enumerate(names)}
        return np.array([index[text] for text in texts], dtype=np.int64), names
    numbers = np.array([float(text) for text in texts])
    for text in distinct:
        if not np.isfinite(float(text)):
            raise ValueError(
                f"{name}: column {column!r}, line {where[text]}: expected a finite number, "
                f"found {text!r}"
            )
    return numbers, None


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text
