"""What the text of a cell says: nothing, a number, a code that only looks like one.

What belongs here: words and patterns that all readers share. What does not: what a whole column
holds (inference.py), classes (datasets/labels.py).
"""

import re

MARKS_OF_MISSING = {"", "na", "n/a", "nan", "null", "none", "?"}
WHOLE = re.compile(r"[+-]?[0-9]{1,18}")  # what int64 holds
CODE = re.compile(r"[+-]?0[0-9]+")  # digits that are no number: 02134
DATE = re.compile(
    r"[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}(?:[ T].*)?|[0-9]{1,2}([./-])[0-9]{1,2}\1[0-9]{4}.*"
)
AS_WRITTEN = re.compile(  # numbers that float() does not read: 3,5  1,200  $12.50  45%  1_000
    r"[-+\u2212(]*\s?(?:[$€£¥₹]|USD|EUR|GBP)?\s?[-+\u2212]?"
    r"(?:(?:\d{1,3}(?:[.,'’_\s]\d{3})+|\d+)(?:[.,]\d+)?|[.,]\d+)(?:[eE][-+]?\d+)?"
    r"\s?(?:[%‰$€£¥₹]|USD|EUR|GBP)?\)?"
)


def is_number(text: str) -> bool:
    """Whether `text` is a number as files of data hold it."""
    try:
        float(text)
    except ValueError:
        return False
    return "_" not in text


def looks_like_number(text: str) -> bool:
    """Whether a reader takes `text` for a number, however it is written."""
    return is_number(text) or AS_WRITTEN.fullmatch(text) is not None
