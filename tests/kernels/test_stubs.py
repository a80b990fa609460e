"""kernels/engine.pyi says of the compiled modules what they have.

What belongs here: names and parameters, held against the modules. What does not: types in use,
which mypy checks (`.ci/run`), and users' programs (tests/promises/test_types.py).
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

import fastbp
from fastbp.kernels import dispatch

KERNELS = Path(fastbp.__file__).parent / "kernels"
STUB = ast.parse((KERNELS / "engine.pyi").read_text(encoding="utf-8"))
OF_CLASSES = {node.name: node for node in STUB.body if isinstance(node, ast.ClassDef)}
INNER = {"Block", "Data", "Work"}  # classes that no Python code makes


def methods(cls):
    """Name and parameters, without self, of a class of the stub; no properties."""
    for node in cls.body:
        if isinstance(node, ast.FunctionDef) and not node.decorator_list:
            yield node.name, [argument.arg for argument in node.args.args[1:]]


def fields(cls):
    named = {n.target.id for n in cls.body if isinstance(n, ast.AnnAssign)}
    return named | {n.name for n in cls.body if isinstance(n, ast.FunctionDef) and n.decorator_list}


def parameters(thing):
    return [name for name in inspect.signature(thing).parameters if name != "self"]


@pytest.fixture(params=["f32", "f64"])
def engine(request):
    return getattr(dispatch.engine, request.param)


def test_the_functions_are_those_of_the_module(engine):
    told = dict(methods(OF_CLASSES["Engine"]))
    here = {
        name
        for name, thing in vars(engine).items()
        if type(thing).__name__ in ("cython_function_or_method", "builtin_function_or_method")
        and not name.startswith("_") and name != "monotonic"
    }  # fmt: skip
    assert set(told) == here
    for name, expected in told.items():
        assert parameters(getattr(engine, name)) == expected, name


def test_the_classes_are_those_of_the_module(engine):
    here = {name for name, thing in vars(engine).items() if isinstance(thing, type)}
    assert here - INNER == set(OF_CLASSES) - {"Engine"}
    for name, node in OF_CLASSES.items():
        if name == "Engine":
            continue
        compiled = getattr(engine, name)
        own = {n for n in vars(compiled) if not n.startswith("_")}
        told = dict(methods(node))
        assert own == (set(told) | fields(node)) - {"__init__"}, name
        for method, expected in told.items():
            if method != "__init__":  # of which a compiled class has no signature
                assert parameters(getattr(compiled, method)) == expected, f"{name}.{method}"


def test_what_the_module_tells_of_itself(engine):
    for name in fields(OF_CLASSES["Engine"]):
        assert hasattr(engine, name), name


def test_no_stub_says_any():
    for path in KERNELS.glob("*.pyi"):
        assert not re.search(r"\bAny\b", path.read_text(encoding="utf-8")), path.name
