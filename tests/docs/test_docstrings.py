"""Every public docstring says what its parameters and results are, as numpydoc reads it.

What belongs here: which of numpydoc's checks hold, and for what. What does not: whether examples
are right, which doctest runs (pyproject.toml), and whether the reference lists all (test_docs.py).
"""

import importlib
import inspect
import re

import pytest
from test_docs import shown

validate = pytest.importorskip("numpydoc.validate")

# Left out: a summary may begin with a formula (SS02, SS05); "seed : int" and "ndarray (n, n_L)" may
# say all there is (PR07, RT03); links to neighbours (SA01), longer texts (ES01) and the writing of
# single lines (GL, SS03, PR08, PR09, RT04, RT05) are the writer's.
CHECKS = {
    "GL06": "sections that numpydoc knows",
    "GL07": "in its order",
    "GL08": "a docstring",
    "SS01": "a summary",
    "PR01": "every parameter",
    "PR02": "no parameter that is not there",
    "PR03": "in the order of the signature",
    "PR04": "each with its type or shape",
    "RT01": "what is returned",
    "YD01": "what is yielded",
}
OF_NAMES = {"EX01": "an example"}  # of functions and classes; methods are in their class's
# what no example says more of than the words do
NO_EXAMPLE = {"fastbp.optimizers.Optimizer"}
# what is the same as another's is told there
REFERS = re.compile(r"[Tt]akes what `|Parameters and, to rounding, results are scikit-learn's")


def public():
    """Full names of functions and classes of the reference, and of what their classes define."""
    for module, listed in shown():
        try:
            found = importlib.import_module(module)
        except ImportError:  # an extra is missing
            continue
        for name in sorted(listed):
            thing = getattr(found, name)
            if isinstance(thing, type) and issubclass(thing, BaseException):
                continue  # raised, and told of where
            if callable(thing):
                # by its file: fastbp.check.gradients is a folder, too
                yield f"{thing.__module__}.{thing.__qualname__}", True
            for member, value in vars(thing).items() if inspect.isclass(thing) else ():
                written = inspect.isfunction(value) or isinstance(
                    value, (property, classmethod, staticmethod)
                )
                if written and not member.startswith("_"):
                    yield f"{module}.{name}.{member}", False


def is_made_here(name):
    """A result or record: nobody calls its class, whose docstring has Attributes instead."""
    text = inspect.getdoc(validate.Validator._load_obj(name)) or ""
    return "\nAttributes\n---" in text and "\nParameters\n---" not in text


def checks_of(name, is_whole):
    """The checks that a docstring has to pass."""
    thing = validate.Validator._load_obj(name)
    text, checks = inspect.getdoc(thing) or "", dict(CHECKS)
    if is_whole and name not in NO_EXAMPLE and not is_made_here(name):
        checks |= OF_NAMES
    if is_whole and is_made_here(name):
        del checks["PR01"]
    if not is_whole and "\n---" not in text:  # a sentence, and types in the signature
        checks = {code: checks[code] for code in ("GL08", "SS01")}
    if not is_whole and text and not getattr(thing, "__doc__", None):
        checks = {}  # the words are inherited
    if REFERS.search(text):
        checks = {c: what for c, what in checks.items() if c not in ("PR01", "PR02", "RT01")}
    return checks


@pytest.mark.parametrize(("name", "is_whole"), list(public()))
def test_a_docstring_is_complete(name, is_whole):
    checks = checks_of(name, is_whole)
    told = [
        f"{code} ({checks[code]}): {text}"
        for code, text in validate.validate(name)["errors"]
        if code in checks
    ]
    assert not told, told


def test_names_without_an_example_are_there():
    assert {name for name, _ in public()} >= NO_EXAMPLE
