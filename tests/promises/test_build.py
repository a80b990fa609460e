"""The kernels compile elsewhere: other compilers, other CPUs, no vector extensions; no warnings.

What belongs here: compiling the engine's C without running it. Compilers that the machine lacks are
skipped.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
KERNELS = ROOT / "fastbp" / "kernels"
AVX2 = ["-mavx2", "-mfma"]
AVX512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma"]


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """The engine's C, with the directives of setup.py."""
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("generated")
    directives = "boundscheck=False,wraparound=False,initializedcheck=False,cdivision=True"
    command = [sys.executable, "-m", "cython", "-3", "-X", directives, "-I", KERNELS]
    command += ["-I", KERNELS, "-I", ROOT, "-o", folder / "engine.c", KERNELS / "engine.pyx"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    return folder / "engine.c"


@pytest.mark.parametrize(
    ("compiler", "flags"),
    [
        ("gcc", []),
        ("gcc", AVX2),
        ("gcc", AVX512),
        ("gcc", ["-DFASTBP_DOUBLE"]),
        ("gcc", ["-DFASTBP_DOUBLE", *AVX512]),
        ("gcc", ["-DFASTBP_SCALAR"]),
        ("clang", []),
        ("clang", AVX512),
        ("aarch64-linux-gnu-gcc", []),
    ],
    ids=lambda value: value if isinstance(value, str) else "".join(value[:1]) or "baseline",
)
def test_engine_compiles_without_a_warning(generated, compiler, flags):
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    include = [f"-I{KERNELS}", f"-I{sysconfig.get_paths()['include']}"]
    common = ["-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    # in code that Cython writes, whatever it is made from
    common += ["-Wno-unused-parameter", "-Wno-missing-field-initializers", "-Wno-sign-compare"]
    common += ["-Wno-unused-function", "-Wno-cast-function-type"]
    done = subprocess.run(
        [compiler, *common, *flags, *include, str(generated)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[:3000]


CLANG_CL = """
#include <Python.h>
#include <limits.h>
#include <math.h>
#include <stdint.h>
#include <time.h>
#include <cpuid.h>
#include <immintrin.h>
#undef __GNUC__
"""


@pytest.mark.parametrize("flags", [[], AVX2, [*AVX512, "-DFASTBP_DOUBLE"]])
def test_clang_that_does_not_say_gnuc_has_vectors_and_threads(generated, flags, tmp_path):
    """As clang-cl, which builds the kernels on Windows; the system's headers are read before."""
    if shutil.which("clang") is None:
        pytest.skip("clang is not installed")
    (tmp_path / "clang_cl.h").write_text(CLANG_CL)
    (tmp_path / "engine.c").write_text(
        f"{generated.read_text()}\n#if FASTBP_VECTOR_BYTES < 16 || FASTBP_MAX_THREADS < 2\n"
        "#error no vectors, or no threads\n#endif\n"
    )
    include = [f"-I{KERNELS}", f"-I{sysconfig.get_paths()['include']}"]
    command = ["clang", "-fsyntax-only", "-w", "-include", tmp_path / "clang_cl.h", *flags]
    done = subprocess.run(
        [*command, *include, tmp_path / "engine.c"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[:3000]


def test_users_get_no_flags_that_change_arithmetic_or_need_this_cpu():
    text = (ROOT / "setup.py").read_text()
    for flag in ("-march=native", "-mcpu=native", "-ffast-math", "-Ofast", "-funsafe-math"):
        assert flag not in text


def test_scalar_fallback_gives_the_bits_of_the_vectors(generated, tmp_path):
    """The plain-C path, built and run: same formulas and order as the baseline's vectors."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    script = tmp_path / "compare.py"
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    built = tmp_path / f"engine{suffix}"
    command = ["gcc", "-shared", "-fPIC", "-O1", "-DFASTBP_SCALAR", "-ffp-contract=off"]
    command += ["-fno-math-errno", f"-I{KERNELS}", f"-I{sysconfig.get_paths()['include']}"]
    subprocess.run([*command, str(generated), "-o", str(built), "-lm"], check=True)
    script.write_text(
        """
import sys, numpy as np
from types import SimpleNamespace
import fastbp
from fastbp.kernels import dispatch
sys.path.insert(0, sys.argv[1])
import engine
bits = []
for doors in (dispatch.load("baseline").f32, engine):
    dispatch.engine = SimpleNamespace(doors=lambda dtype: doors, f32=doors)
    net = fastbp.Network([5, 9, 7, 3], activation=["tanh", "layer_norm"], seed=0)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((23, 5)), rng.integers(0, 3, 23)
    net.fit(X, Y, epochs=3, batch_size=6, seed=0, optimizer=fastbp.Adam(), l1=0.1, l2=0.1)
    bits.append(net.parameters.tobytes() + net.jacobian(X).tobytes())
assert bits[0] == bits[1]
"""
    )
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("compiler", "told"),
    [("/nowhere/cc", "no C compiler: /nowhere/cc"), ("false", "the C compiler false cannot")],
)
def test_a_build_without_a_compiler_ends_in_one_line(compiler, told):
    """In whatever command compiles: nothing is built half, and nothing is made without kernels."""
    for command in ("bdist_wheel", "editable_wheel", "build_ext"):
        done = subprocess.run(
            [sys.executable, "setup.py", command],
            cwd=ROOT, capture_output=True, text=True, env=os.environ | {"CC": compiler},
        )  # fmt: skip
        assert done.returncode == 1 and done.stdout == ""
        assert done.stderr.startswith(f"fastbp cannot be built here: {told}")
        assert len(done.stderr.splitlines()) == 1


def test_a_build_with_a_cython_that_is_too_old_ends_in_one_line(tmp_path):
    (tmp_path / "Cython").mkdir()
    (tmp_path / "Cython" / "__init__.py").write_text('__version__ = "3.1.10"\n')
    done = subprocess.run(
        [sys.executable, "setup.py", "bdist_wheel"],
        cwd=ROOT, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert re.search(r"Cython 3\.1\.10 is installed; a build needs 3\.\d", done.stderr)
