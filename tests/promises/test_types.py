"""A user's program is checked by `mypy --strict`, and what it gets is no Any.

What belongs here: the public API as a typed program uses it. What does not: types within fastbp,
which `mypy` checks as pyproject.toml says; stubs of compiled modules (tests/kernels/test_stubs.py).
"""

import ast
import inspect
import re
from pathlib import Path

import pytest

import fastbp

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
    for module in ("check", "datasets", "estimators", "schedules", "tabular", "data", "exchange"):
        names = __import__(f"fastbp.{module}", fromlist=["__all__"]).__all__
        missing = [name for name in names if not re.search(rf"\b{name}\b", text)]
        assert not missing, f"fastbp.{module}: {missing}"


def test_the_estimators_stub_has_their_signatures():
    estimators = pytest.importorskip("fastbp.estimators", exc_type=ImportError)
    stub = ast.parse(Path(estimators.__file__).with_suffix(".pyi").read_text(encoding="utf-8"))
    public = {n.name: n for n in stub.body if isinstance(n, (ast.ClassDef, ast.FunctionDef))}
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
