"""The plan of the house: who imports whom, how large a file may be, how often a kind is named.

What belongs here: what docs/architecture.md says that can be read from the sources. What does not:
what importing costs (test_package.py).
"""

import ast
import re
from pathlib import Path

import pytest

import fastbp

PACKAGE = Path(fastbp.__file__).parent
ROOT = PACKAGE.parent

# A room (a folder or a module of the package) imports its own files and those of lower floors. A
# new room needs a place here.
FLOORS = [
    {"hints", "kernels"},
    {"functions"},
    {"inputs"},
    {
        "factors",
        "initialization",
        "layers",
        "optimizers",
        "plotting",
        "sparse",
        "stopping",
        "tabular",
    },
    {"architecture", "data", "datasets", "dropout", "samples", "schedules"},
    {"questions"},
    {"derivatives", "one_sample"},
    {"network"},
    {"check", "files", "metrics"},
    {"training"},
    {"benchmark", "callbacks", "compat", "estimators", "explain"},
    {"exchange", "persistence"},
    {"cli"},
]
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FACADES = {"__init__", "__main__"}
# the two methods that stand where a user looks for them; imported when they are called
UPWARDS = {("network", "training"), ("network", "files")}
ORACLE = {"math", "re", "numpy"}  # what the reference may import


def sources():
    return sorted(p for p in PACKAGE.rglob("*.py") if "__pycache__" not in p.parts)


def module_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_of(path): path for path in sources()}


def room(name):
    """The room of a module: of fastbp.check.report check."""
    return [*name.split("."), "__init__"][1]


def imports(path):
    """Names of the modules that a file imports, wherever it does: in functions, for types alone."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                yield name if name in MODULES else node.module


GRAPH = {name: {other for other in imports(path) if other in MODULES} - {name, "fastbp"}
         for name, path in MODULES.items()}  # fmt: skip


@pytest.mark.parametrize("name", GRAPH)
def test_imports_run_one_way(name):
    here = room(name)
    if here in FACADES | {"reference"}:
        return
    for other in {room(module) for module in GRAPH[name]} - {here}:
        if (here, other) in UPWARDS or (here, other) == ("check", "reference"):
            continue  # the latter: a second opinion, by other code
        assert other in FLOOR, f"{name} imports {other}"
        assert FLOOR[other] < FLOOR[here], f"{name} imports {other}"


def test_every_room_has_a_floor():
    rooms = {room(name) for name in MODULES}
    assert rooms == {*FLOOR, *FACADES - {"__main__"}, "__main__", "reference"}


def circles(graph):
    """Strongly connected parts of several modules (Tarjan 1972)."""
    index, low, stack, found = {}, {}, [], []

    def visit(name):
        index[name] = low[name] = len(index)
        stack.append(name)
        for other in sorted(graph[name]):
            if other not in index:
                visit(other)
                low[name] = min(low[name], low[other])
            elif other in stack:
                low[name] = min(low[name], index[other])
        if low[name] == index[name]:
            at = stack.index(name)
            if len(stack) - at > 1:
                found.append(sorted(stack[at:]))
            del stack[at:]

    for name in sorted(graph):
        if name not in index:
            visit(name)
    return found


def test_no_circles_of_imports():
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == [["a", "b", "c"]]
    graph = {
        name: {other for other in others if (room(name), room(other)) not in UPWARDS}
        for name, others in GRAPH.items()
    }
    assert circles(graph) == []


def test_the_arrows_upwards_are_two():
    """`Network.fit` and `Network.save`, each imported where it is called."""
    found = {other for name in GRAPH if room(name) == "network" for other in GRAPH[name]
             if (room(name), room(other)) in UPWARDS}  # fmt: skip
    assert {room(other) for other in found} == {"training", "files"}


def test_the_reference_stands_alone():
    for path in (PACKAGE / "reference").glob("*.py"):
        for name in imports(path):
            known = name.partition(".")[0] in ORACLE
            assert known or name.startswith("fastbp.reference"), (path, name)
    for name, others in GRAPH.items():
        if room(name) not in ("reference", "check"):  # which holds the engine against it
            assert "reference" not in set(map(room, others)), name


def test_checks_ask_a_network_in_public():
    for path in (PACKAGE / "check").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match(r"_[a-z](?!ake$)", node.attr):
                owner = node.value  # `_make` is public: namedtuple's
                assert isinstance(owner, ast.Name) and owner.id == "self", (path, node.attr)


def test_no_drawers_for_odds_and_ends():
    names = {p.stem for p in PACKAGE.rglob("*") if p.suffix in (".py", ".pyx", ".pxd", ".pxi")}
    assert "network" in names
    assert not names & {"utils", "util", "common", "helpers", "helper", "misc", "base", "core"}


# sizes and words


def test_no_file_is_over_600_lines():
    files = [p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".pyx", ".pxd", ".pxi", ".h")]
    assert len(files) > 100
    for path in files:
        assert len(path.read_text().splitlines()) <= 600, path


def test_no_function_is_over_80_lines():
    """Without its docstring."""
    longest = 0
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                lines = node.end_lineno - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    lines -= node.body[0].end_lineno - node.body[0].lineno + 1
                assert lines <= 80, (path, node.name)
                longest = max(longest, lines)
    assert longest > 40


@pytest.mark.parametrize(("word", "most"), [("silu", 5), ("pinball", 5), ("lion", 4)])
def test_a_kind_is_named_in_few_files(word, most):
    """Formula, facts, oracle, exact check, hints: a new kind has no other places.

    Besides, each format of exchange has a table that names it.
    """
    files = [p for p in PACKAGE.rglob("*") if p.suffix in (".py", ".pyx", ".pxd", ".pxi", ".h")
             and "exchange" not in p.relative_to(PACKAGE).parts]  # fmt: skip
    found = [p for p in files if re.search(rf"\b{word}\b", p.read_text(), re.IGNORECASE)]
    assert 3 <= len(found) <= most, found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_says_what_belongs_in_it(path):
    text = ast.get_docstring(ast.parse(path.read_text()))
    assert text, path
    if len(path.read_text().splitlines()) > 100 and path.name != "__init__.py":
        assert "belongs here" in text, path


def test_kernels_include_one_way():
    """Arithmetic, tables, formulas, links: each room knows those before it, none the engine."""
    kernels = PACKAGE / "kernels"
    floors = {  # what a file may know: its own floor's files before it are named
        "arithmetic/real": (),
        "arithmetic/caches": (),
        "tables": ("arithmetic.real",),
        "arithmetic": ("arithmetic", "tables"),
        "functions": ("arithmetic", "tables"),
        "update": ("arithmetic", "tables"),
        "links": ("arithmetic", "tables", "update"),
        "loop": (),
    }
    seen = 0
    for path in kernels.rglob("*.pxd"):
        if path.stem == "__init__":
            continue
        place = path.relative_to(kernels).with_suffix("").as_posix()
        allowed = floors.get(place, floors.get(place.partition("/")[0]))
        text = path.read_text()
        used = re.findall(r"from\s+fastbp\.kernels\.([\w.]+)\s+cimport", text)
        seen += len(used)
        for name in used:
            assert name.startswith(allowed), (path, name)
        assert not re.search(r"\b(import numpy|cimport numpy|from \.)", text), path
    assert seen > 10


def test_the_map_has_the_floors():
    text = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", text, re.MULTILINE)
    assert [int(floor) for floor, _ in rows] == list(range(len(FLOORS)))
    assert [set(rooms.split(", ")) for _, rooms in rows] == FLOORS


def test_the_map_names_what_there_is():
    text = (ROOT / "docs" / "architecture.md").read_text()
    for place in re.findall(r"`((?:[a-z_]+/)*[a-z_]+\.(?:pyx|pxd|py))`", text):
        inside = [PACKAGE / place, ROOT / place, *(p / place for p in PACKAGE.iterdir())]
        found = [p for p in inside if p.exists()] or list(PACKAGE.rglob(place.split("/")[-1]))
        assert found, place
