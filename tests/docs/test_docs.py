"""What the pages of docs/ say runs: every block of Python, in the order of its page.

What belongs here: the pages as they are written, and whether the reference has every public name.
What does not: the built site (tests/docs/test_site.py), docstrings (test_docstrings.py).

A page's blocks share their names, as a reader's session does. Blocks behind a line `% needs: torch`
are run where it can be imported; the next such line says what counts from there on.
"""

import doctest
import importlib
import importlib.util
import inspect
import os
import re
import warnings
from pathlib import Path

import pytest

os.environ.setdefault("KERAS_BACKEND", "torch")  # which is there where Keras is
DOCS = Path(__file__).parents[2] / "docs"
MADE = ("_build", "gallery", "_examples", "generated", "changes")  # not written by hand
PAGES = sorted(
    path for path in DOCS.rglob("*.md") if not set(MADE) & set(path.relative_to(DOCS).parts)
)
API = DOCS / "api"
# modules without __all__: what of them the reference has to show
NAMED = {
    "fastbp.callbacks": {"DeltaNorms"},
    "fastbp.compat.river": {"MLPClassifier", "MLPRegressor"},
    "fastbp.layers": {"Dense", "Scale"},
    "fastbp.metrics": {"accuracy", "balanced_accuracy", "decide", "mae", "mse", "r2", "rmse"},
    "fastbp.optimizers": {"Optimizer"},
}


def blocks(text):
    """Line (from 1), language and text of each block that is run, and of each `% needs:`."""
    pattern = r"^% needs: (?P<needs>[^\n]*)$|^```(?P<language>python|pycon)\n(?P<block>.*?)^```$"
    for found in re.finditer(pattern, text, re.DOTALL | re.MULTILINE):
        if found["needs"] is not None:
            yield 0, "needs", found["needs"]
        else:
            yield text[: found.start("block")].count("\n") + 1, found["language"], found["block"]


def is_there(name):
    try:
        importlib.import_module(name)
    except ImportError:
        return False
    return True


def run(page, names):
    """Run a page's blocks; the names of what was missing for some."""
    lacking, missing = set(), set()
    for line, language, block in blocks(page.read_text(encoding="utf-8")):
        if language == "needs":
            missing = {name for name in block.split() if not is_there(name)}
            lacking |= missing
        elif missing:
            continue
        elif language == "python":
            shifted = "\n" * (line - 1) + block  # a traceback then names the page's line
            exec(compile(shifted, str(page), "exec"), names)
        else:
            parsed = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), line)
            assert doctest.DocTestRunner().run(parsed, clear_globs=False).failed == 0
    return lacking


def named():
    """Pages that list what there is: where they lie, and what they have to name."""
    from fastbp import functions, initialization, optimizers
    from fastbp.cli.options import parser
    from fastbp.training.fit import fit

    commands = next(a for a in parser()._actions if a.dest == "command").choices
    kinds = (functions.ACTIVATIONS, functions.LOSSES, initialization.SCHEMES)
    yield "guide/networks.md", {name for kind in kinds for name in kind}
    yield "guide/functions.md", {name for kind in kinds[:2] for name in kind}
    yield "guide/training.md", set(inspect.signature(fit).parameters) - {"net", "X", "Y"}
    yield "guide/training.md", {o.__name__ for o in optimizers.Optimizer.__subclasses__()}
    yield "guide/command-line.md", set(commands)


@pytest.mark.parametrize(("page", "names"), [(p, sorted(names)) for p, names in named()])
def test_a_page_that_lists_names_has_all(page, names):
    words = set(re.findall(r"\w+", (DOCS / page).read_text(encoding="utf-8")))
    assert not set(names) - words


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(DOCS)))
def test_the_blocks_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"keras\.")
        lacking = run(page, {"__name__": page.stem})
    if lacking:
        pytest.skip(f"all but what needs {', '.join(sorted(lacking))}")


def test_blocks_that_lack_something_are_left_out(tmp_path):
    page, names = tmp_path / "page.md", {}
    page.write_text(
        "% needs: no_such_thing\n\n```python\nx = 1\n```\n\n% needs: re\n```python\ny = 2\n```\n"
    )
    assert run(page, names) == {"no_such_thing"} and "x" not in names and names["y"] == 2


def test_a_block_that_fails_is_told_with_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# A\n\n```python\nx = 1\n```\n\n```python\nassert x == 2\n```\n")
    with pytest.raises(AssertionError) as told:
        run(page, {})
    assert told.traceback[-1].lineno + 1 == 8
    page.write_text("```pycon\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(AssertionError):
        run(page, {})


def shown():
    """By module, the names that the reference's pages list."""
    for page in sorted(API.glob("*.md")):
        text = page.read_text(encoding="utf-8")
        module = re.search(r"currentmodule:: (\S+)", text)
        if module is not None:
            listed = re.findall(r"^   (\w+)$", text, re.MULTILINE)
            yield module[1], {*listed, *re.findall(r"autodata:: (\w+)", text)}


@pytest.mark.parametrize(("module", "listed"), [pytest.param(*of, id=of[0]) for of in shown()])
def test_the_reference_has_every_public_name(module, listed):
    found = pytest.importorskip(module, exc_type=ImportError)
    expected = NAMED.get(module) or {
        name for name in found.__all__ if not inspect.ismodule(getattr(found, name))
    }
    if module == "fastbp.training":  # the others are in fastbp, `fit` is Network's
        expected -= {*importlib.import_module("fastbp").__all__, "fit"}
    assert listed == expected


def test_public_modules_have_a_page():
    listed = dict(shown())
    package = importlib.import_module("fastbp")
    modules = {f"fastbp.{name}" for name in package.__all__ if name[0].islower()}
    modules = {name for name in modules if importlib.util.find_spec(name) and "each" not in name}
    assert modules <= set(listed), modules - set(listed)
    assert set((API / "index.md").read_text().split()) >= {path.stem for path in API.glob("*.md")
                                                             if path.stem != "index"}  # fmt: skip
