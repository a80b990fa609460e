"""What is released: the source distribution, wheels' configuration, where the version stands.

What belongs here: pyproject.toml, MANIFEST.in, setup.py and .github read, and what they must say.
What does not: compiling (test_build.py); wheels themselves (.ci/wheel).
"""

import ast
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

import fastbp

ROOT = Path(__file__).parents[2]
if not (ROOT / "pyproject.toml").exists():
    pytest.skip("needs the source tree", allow_module_level=True)
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
WHEELS = PROJECT["tool"]["cibuildwheel"]


def test_the_source_distribution_has_what_the_repository_has(tmp_path):
    pytest.importorskip("setuptools")
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("needs the repository")
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    tracked = {p for p in listed.stdout.splitlines() if not p.startswith(".")}
    subprocess.run(
        [sys.executable, "setup.py", "-q", "egg_info", "--egg-base", tmp_path],
        cwd=ROOT, check=True, capture_output=True,
    )  # fmt: skip
    found = set((tmp_path / "fastbp.egg-info" / "SOURCES.txt").read_text().splitlines())
    assert sorted(tracked - found) == []
    rubbish = re.compile(r"\.(so|pyc|pyo|pyd|c|o)$|(^|/)(build|__pycache__|_build|generated)/")
    assert [p for p in found if rubbish.search(p)] == []


def test_a_wheel_has_no_tests():
    """Of what lies in the package by its patterns."""
    assert PROJECT["tool"]["setuptools"]["packages"]["find"]["include"] == ["fastbp*"]
    assert not any("test" in p.name for p in (ROOT / "fastbp").rglob("*") if p.is_dir())


def test_the_version_stands_in_one_place():
    assert PROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "fastbp.__version__"}
    assert re.findall(r'(?m)^__version__ = "(.*)"$', (ROOT / "fastbp/__init__.py").read_text()) == [
        fastbp.__version__
    ]
    for name in ("pyproject.toml", "setup.py", "CITATION.cff", "docs/conf.py", "README.md"):
        assert not re.search(rf"(?<![\d.]){re.escape(fastbp.__version__)}(?![\d.])",
                             (ROOT / name).read_text()), name  # fmt: skip


def test_wheels_are_those_of_the_classifiers():
    versions = [c.rpartition("3.")[2] for c in PROJECT["project"]["classifiers"]
                if re.search(r":: 3\.\d+$", c)]  # fmt: skip
    assert WHEELS["build"] == [*(f"cp3{v}-*" for v in versions), f"cp3{versions[-1]}t-*"]


def test_the_wheels_tests_need_no_more_than_is_installed_for_them():
    """Else every wheel fails in the collection of its tests."""
    installed = {re.split("[>=<]", name)[0] for name in WHEELS["test-requires"]}
    installed |= {re.split("[>=<]", name)[0] for name in PROJECT["project"]["dependencies"]}
    own = {path.stem for path in (ROOT / "tests").rglob("*.py")} | {"fastbp"}
    asked = [ROOT / name for name in re.findall(r"\{project\}/(\S+)", WHEELS["test-command"])]
    files = [ROOT / "tests/conftest.py", *(path for path in asked if path.is_file()),
             *(file for path in asked for file in path.rglob("*.py"))]  # fmt: skip
    for file in files:
        for node in ast.parse(file.read_text()).body:
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            roots = {name.partition(".")[0] for name in names}
            assert not roots - installed - own - set(sys.stdlib_module_names), (file.name, roots)


def test_the_workflow_keeps_no_secret_and_names_no_index():
    text = (ROOT / ".github/workflows/release.yml").read_text()
    assert not re.search(r"secrets\.|password:|https?://|repository-url|token:(?! write)", text)
    head, publish = text.split("  publish:")
    assert "permissions: { contents: read }" in head and "id-token" not in head
    assert "permissions: { id-token: write }" in publish


LEVELS = """
import sys
sys.path.insert(0, sys.argv[1])
import cpu
assert cpu.flags == {"baseline": "/O2 /fp:precise", "avx2": "/O2 /clang:-mavx2"}, cpu.flags
assert cpu.built_levels == ("baseline", "avx2")
"""


def test_flags_of_another_compiler_are_read(tmp_path):
    """MSVC's have colons in them, of which the flags were parted from a level's name."""
    pytest.importorskip("Cython")
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = ROOT / "fastbp/kernels/cpu.pyx"
    subprocess.run([sys.executable, "-m", "cython", "-3", "-o", tmp_path / "cpu.c", source],
                   check=True, capture_output=True)  # fmt: skip
    told = 'FASTBP_LEVELS="baseline:/O2 /fp:precise;avx2:/O2 /clang:-mavx2"'
    told = told.replace('"', '\\"')
    (tmp_path / "flags").write_text(f'"-D{told}"')
    built = tmp_path / f"cpu{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = f"-I{sysconfig.get_paths()['include']}"
    subprocess.run(["gcc", "-shared", "-fPIC", "-O0", f"@{tmp_path / 'flags'}", include,
                    tmp_path / "cpu.c", "-o", built], check=True)  # fmt: skip
    done = subprocess.run([sys.executable, "-c", LEVELS, tmp_path], capture_output=True, text=True,
                          env=os.environ, cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stderr
