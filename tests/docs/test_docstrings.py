"""Every public docstring says what goes in, what comes out and how it is called.

What belongs here: which of numpydoc's checks hold, and for what. What does not: whether examples
are right, which doctest runs (pyproject.toml), and whether the reference lists all (test_docs.py).
"""

import importlib
import inspect

import pytest
from test_docs import shown

validate = pytest.importorskip("numpydoc.validate")
get_doc_object = pytest.importorskip("numpydoc.docscrape").get_doc_object

# not asked: links to neighbours (SA01), more than a summary (ES01), how lines are written: where
# a text begins and ends (GL01-GL03), capitals and full stops of descriptions
NOT_ASKED = {"SA01", "ES01", "GL01", "GL02", "GL03", "PR05", "PR08", "PR09", "RT04", "RT05"}
# methods with an example of their own; the others' are in their class's
MAIN = set(
    "predict predict_proba predict_one predict_many predict_proba_one predict_proba_many fit "
    "partial_fit fit_stream learn_one learn_many vjp_step feedforward loss costs perturbed_costs "
    "deltas gradient input_gradient jacobian vjp jvp save transform".split()
)


def members(cls):
    """Names and values of the public methods and properties of a class and its bases in fastbp."""
    found = {}
    for base in cls.__mro__:
        if base.__module__.startswith("fastbp."):
            found = vars(base) | found
    for name, value in sorted(found.items()):
        if name.startswith("_"):
            continue
        if isinstance(value, property):
            yield name, value
        elif str(getattr(value, "__module__", "")).startswith("fastbp."):  # not scikit-learn's own
            method = getattr(cls, name)  # of whatever kind its descriptor is
            if inspect.isroutine(method):
                yield name, method


def public():
    """Full names of functions and classes of the reference, and of what their classes have."""
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
                yield f"{thing.__module__}.{thing.__qualname__}"
            for member, value in members(thing) if inspect.isclass(thing) else ():
                if value.__doc__ or not inspect.getdoc(getattr(thing, member)):
                    yield f"{module}.{name}.{member}"  # else its words are inherited


def let_off(name):
    """Codes that do not count for one name."""
    thing = validate.Validator._load_obj(name)
    text = inspect.getdoc(thing) or ""
    if inspect.isclass(thing):
        # a result or record: nobody calls its class, whose docstring has Attributes instead
        is_made_here = "\nAttributes\n---" in text and "\nParameters\n---" not in text
        return {"PR01"} if is_made_here else set()
    is_member = "." in name.removeprefix(f"{getattr(thing, '__module__', '')}.")
    return {"EX01"} if is_member and name.rpartition(".")[2] not in MAIN else set()


def undescribed(name):
    """What numpydoc does not look at: attributes, errors and options in braces without a word."""
    doc = get_doc_object(validate.Validator._load_obj(name))
    return [
        f"{section}: {first or kind}"
        for section in ("Parameters", "Attributes", "Yields", "Raises", "Warns")
        for first, kind, words in doc[section]
        if (kind or section != "Attributes") and not "".join(words).strip()
    ]


@pytest.mark.parametrize("name", list(public()))
def test_a_docstring_is_complete(name):
    told = [
        f"{code}: {text}"
        for code, text in validate.validate(name)["errors"]
        if code not in NOT_ASKED | let_off(name)
    ]
    assert not told + undescribed(name)


def test_main_methods_are_there():
    assert {name.rpartition(".")[2] for name in public()} >= MAIN
