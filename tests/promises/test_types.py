"""A user's program is checked by `mypy --strict`, and what it gets is no Any.

What belongs here: the public API as a typed program uses it. What does not: types within fastbp,
which `mypy` checks as pyproject.toml says; stubs of compiled modules (tests/kernels/test_stubs.py).
"""

import ast
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import fastbp

# modules with an `__all__`, and others of which all names count
LISTED = ("check", "datasets", "estimators", "schedules", "tabular", "data", "exchange")
UNLISTED = (
    "", "callbacks", "compat.river", "explain", "layers", "metrics", "optimizers", "plotting",
    "training",
)  # fmt: skip
NUMPYS = ("ArrayLike", "DTypeLike")  # with Any within, which users of NumPy know
SPECIAL = ("__init__", "__call__", "__getitem__", "__iter__")
PROGRAM = Path(__file__).parent / "typed_program.py"


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    api = pytest.importorskip("mypy.api")
    folder = tmp_path_factory.mktemp("typed")
    (folder / "none.ini").write_text("[mypy]\n")  # not the project's own settings
    out, errors, _ = api.run(
        ["--strict", "--follow-imports=silent", "--cache-dir", str(folder), "--config-file",
         str(folder / "none.ini"), str(PROGRAM)]
    )  # fmt: skip
    assert not errors, errors
    return out


@pytest.mark.watchdog(300)
def test_a_strict_program_has_no_errors(told):
    assert ": error:" not in told, told


def test_what_a_program_gets_has_a_type(told):
    revealed = re.findall(r'Revealed type is "(.*)"', told)
    count = PROGRAM.read_text(encoding="utf-8").count("reveal_type(")
    assert len(revealed) == count
    assert not [shown for shown in revealed if shown in ("Any", "typing.Any")], revealed


def test_the_program_uses_every_public_name():
    text = PROGRAM.read_text(encoding="utf-8")
    for name in fastbp.__all__:
        assert re.search(rf"\b{name}\b", text), name
    for module in LISTED:
        names = __import__(f"fastbp.{module}", fromlist=["__all__"]).__all__
        missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
        assert not missing, f"fastbp.{module}: {missing}"


def is_any(annotation, names):
    """Whether it says Any itself, or by a name for a type; but for the values of JSON."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    if re.search(r"\bAny\b", text.replace("dict[str, Any]", "dict")):
        return True
    meant = (names.get(word) for word in re.findall(r"\b[A-Z]\w+", text) if word not in NUMPYS)
    shown = (str(of) for of in meant if not isinstance(of, type))
    return any(re.search(r"\bAny\b", of.replace("numpy.dtype[typing.Any]", "")) for of in shown)


def faces(name, thing):
    """Functions of the public face and classes with attributes of a type, by name."""
    if inspect.isfunction(thing):
        yield name, thing
    for cls in thing.__mro__ if inspect.isclass(thing) else ():
        if not cls.__module__.startswith("fastbp."):
            continue
        yield name, cls
        for member, value in vars(cls).items():
            value = getattr(value, "fget", None) or getattr(value, "__func__", value)
            if inspect.isfunction(value) and (member[0] != "_" or member in SPECIAL):
                yield f"{name}.{member}", value


@pytest.mark.parametrize("module", [*sorted({*LISTED} - {"estimators"}), *UNLISTED])
def test_no_signature_says_any(module):
    found = pytest.importorskip(f"fastbp.{module}" if module else "fastbp", exc_type=ImportError)
    listed = getattr(found, "__all__", None) or [
        name for name, thing in vars(found).items()
        if getattr(thing, "__module__", None) == found.__name__ and name[0] != "_"
    ]  # fmt: skip
    assert listed
    told = []
    for name in listed:
        for called, face in faces(name, getattr(found, name)):
            face = inspect.unwrap(face)
            names = vars(sys.modules[face.__module__])
            annotations = inspect.get_annotations(face)
            told += [
                f"{called}: {part}: {annotation}"
                for part, annotation in annotations.items()
                if (part[0] != "_" or part == "_fields") and is_any(annotation, names)
            ]
    assert not told


def test_any_is_seen_where_it_hides():
    names = {
        "Hidden": Callable[..., Any],
        "Quoted": "list[Any]",
        "Seen": Callable[..., float],
        "ArrayLike": Any,
    }
    for annotation in ("Any", "list[Any]", "Hidden | None", "Quoted", "dict[str, Any] | Any", Any):
        assert is_any(annotation, names), annotation
    for annotation in ("dict[str, Any]", "Seen", "ArrayLike | None", "np.ndarray", int):
        assert not is_any(annotation, names), annotation


def test_the_estimators_stub_has_their_signatures():
    estimators = pytest.importorskip("fastbp.estimators", exc_type=ImportError)
    stub = ast.parse(Path(estimators.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    public = {n.name: n for n in stub.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
    assert "Any" not in Path(estimators.__file__).with_suffix(".pyi").read_text(encoding="utf-8")
    told = {name for name in public if not name.startswith("_")} | {"LossCurveDisplay"}
    assert told == set(estimators.__all__)
    for name in told - {"LossCurveDisplay"}:
        thing, node = getattr(estimators, name), public[name]
        if isinstance(node, ast.FunctionDef):
            assert names_of(node) == list(inspect.signature(thing).parameters), name
            continue
        for method in (n for n in node.body if isinstance(n, ast.FunctionDef)):
            real = getattr(thing, method.name)
            if not (getattr(real, "__module__", None) or "").startswith("fastbp"):
                continue  # scikit-learn's, whose versions differ
            expected = list(inspect.signature(real).parameters)
            assert names_of(method) == expected, f"{name}.{method.name}"
        own = {
            n
            for n, value in vars(thing).items()
            if not n.startswith("_") and inspect.isfunction(value)
        }
        assert own <= {n.name for n in node.body if isinstance(n, ast.FunctionDef)}, name


def names_of(node):
    a = node.args
    rest = [a.vararg.arg] if a.vararg else []
    last = [a.kwarg.arg] if a.kwarg else []
    return [x.arg for x in a.posonlyargs + a.args] + rest + [x.arg for x in a.kwonlyargs] + last
