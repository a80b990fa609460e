"""Networks as C: compiled, and held to the engine's own bits."""

import ctypes
import os
import shutil
import subprocess
import sys

import exchange_cases as cases
import numpy as np
import pytest

import fastbp
from fastbp.exchange import to_c
from fastbp.kernels import dispatch

FLAGS = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]
TYPES = {"float32": ctypes.c_float, "float64": ctypes.c_double}
FOREIGN = ["arm-none-eabi-gcc", "arm-linux-gnueabihf-gcc", "aarch64-linux-gnu-gcc",
           "riscv64-linux-gnu-gcc"]  # fmt: skip


def compiler(name):
    if shutil.which(name) is None:
        pytest.skip(f"no {name}")
    return name


def compiled(cc, sources, folder, *more):
    library = folder / f"models_{cc}.so"
    command = [cc, *FLAGS, "-O0", "-shared", "-fPIC", *more, *map(str, sources), "-lm"]
    subprocess.run([*command, "-o", str(library)], check=True, timeout=300)
    return ctypes.CDLL(str(library))


def predicted(function, X, n_outputs):
    kind = ctypes.POINTER(TYPES[X.dtype.name])
    Y = np.full((len(X), n_outputs), 7, X.dtype)
    for x, y in zip(X, Y, strict=True):
        function(x.ctypes.data_as(kind), y.ctypes.data_as(kind))
    return Y


def ulps(a, b):
    """Numbers of their type from one to the other."""
    whole = np.int32 if a.dtype == np.float32 else np.int64

    def place(x):
        size = np.abs(x).view(whole).astype(object)
        return np.where(x < 0, -size, size)

    return np.abs(place(a) - place(b)).max(initial=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("cc", "n"), [("gcc", len(cases.NAMES)), ("clang", 7)])
def test_c_has_the_engines_bits(cc, n, dtype, tmp_path):
    nets = list(cases.networks(n, dtype, seed=n))
    for i, net in enumerate(nets):
        to_c(net, tmp_path / f"m{i}.c", name=f"m{i}")
    sources = [tmp_path / f"m{i}.c" for i in range(len(nets))]
    library = compiled(compiler(cc), sources, tmp_path)
    for i, net in enumerate(nets):
        X = cases.inputs(net)
        wanted = cases.outputs(net, X)
        found = predicted(getattr(library, f"m{i}_predict"), X, net.sizes[-1])
        np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted), err_msg=str(net))
        there = ~np.isnan(wanted)
        assert ulps(found[there], wanted[there]) <= 4, net
        assert getattr(library, f"m{i}_self_test")() == 0, net


EXACT = """
import ctypes, subprocess, sys
sys.path.insert(0, sys.argv[1])
import exchange_cases as cases, numpy as np
from test_exchange_c import FLAGS, TYPES, predicted
from fastbp.exchange import to_c

nets = [net for k, dtype in enumerate(TYPES)
        for net in [*cases.networks(len(cases.NAMES), dtype, seed=4)][k::2]]
texts = [to_c(net, f"m{i}.c", name=f"m{i}").path.read_text() for i, net in enumerate(nets)]
assert all(("#define FMA(a, b, c) ((a) * (b) + (c))" in text) != ("FMA fma" in text)
           for text in texts)
sources = [f"m{i}.c" for i in range(len(nets))]
command = ["gcc", *FLAGS, "-O0", "-shared", "-fPIC", *sources, "-lm", "-o", "m.so"]
subprocess.run(command, check=True)
library = ctypes.CDLL("./m.so")
for i, net in enumerate(nets):
    X = cases.inputs(net)
    found = predicted(getattr(library, f"m{i}_predict"), X, net.sizes[-1])
    np.testing.assert_array_equal(found, cases.outputs(net, X), err_msg=str(net))
    assert getattr(library, f"m{i}_self_test")() == 0, net
"""


@pytest.mark.parametrize("level", ["baseline", pytest.param("avx2", marks=pytest.mark.exhaustive)])
def test_c_has_the_bits_of_each_level(level, tmp_path):
    compiler("gcc")
    if level not in dispatch.available_levels():
        pytest.skip(f"no {level}")
    here = os.path.dirname(__file__)
    subprocess.run([sys.executable, "-c", EXACT, here], check=True, cwd=tmp_path, timeout=300,
                   env=os.environ | {"FASTBP_ISA": level})  # fmt: skip


@pytest.mark.parametrize("name", cases.NAMES)
def test_c_lets_nan_and_infinity_through(name, tmp_path):
    net = cases.network([3, 4, 3], ["tanh"], name, "float32")
    first = cases.network([3, 4], [], name, "float32")
    to_c(net, tmp_path / "a.c", name="a")
    to_c(first, tmp_path / "b.c", name="b")
    library = compiled(compiler("gcc"), [tmp_path / "a.c", tmp_path / "b.c"], tmp_path)
    nan = np.full((1, 3), np.nan, np.float32)
    assert np.isnan(predicted(library.a_predict, nan, 3)).all()
    assert np.isnan(predicted(library.b_predict, nan, 4)).all()
    one = np.array([[np.inf, 0, 0], [-np.inf, 0, 0], [0, np.nan, 0]], np.float32)
    np.testing.assert_array_equal(predicted(library.b_predict, one, 4), cases.of_engine(first, one))


def test_c_self_test_finds_a_wrong_weight(tmp_path):
    net = cases.network([3, 4, 2], ["relu"], "identity", "float64")
    to_c(net, tmp_path / "a.c", name="a")
    text = (tmp_path / "a.c").read_text()
    constant = float(net.biases[1][0]).hex()
    assert text.count(constant) == 1
    (tmp_path / "a.c").write_text(text.replace(constant, (1.5).hex()))
    assert compiled(compiler("gcc"), [tmp_path / "a.c"], tmp_path).a_self_test() == 1


def test_c_tells_what_it_takes_and_writes_a_header(tmp_path):
    net = fastbp.Network([32, 64, 64, 1], activation="tanh", output="identity", loss="mse")
    made = to_c(net, tmp_path / "m.c", name="m", header=True)
    assert (made.constants, made.n_inputs, made.n_outputs) == (4 * net.n_parameters, 32, 1)
    assert made.ram == 4 * (64 + 64 + 16)
    assert str(made.constants // 1000) in str(made) and "RAM" in str(made)
    main = '#include "m.h"\nint main(void) { return m_self_test(); }\n'
    (tmp_path / "main.c").write_text(main)
    command = [compiler("gcc"), *FLAGS, "m.c", "main.c", "-o", "main", "-lm"]
    subprocess.run(command, check=True, cwd=tmp_path, timeout=300)
    assert subprocess.run([str(tmp_path / "main")], timeout=60).returncode == 0
    if shutil.which("size"):
        assert made.flash() > made.constants
    assert not (to_c(net, tmp_path / "n.c") and (tmp_path / "n.h").exists())


# numbers of the arrays that are there at the deepest call: rooms for z and a, sums side by side
ROOMS = [
    ([32, 64, 4], ["tanh"], "identity", 64),
    ([32, 64, 4], ["layer_norm"], "identity", 64 + 64 + 32),
    ([32, 64, 4], ["relu"], "softmax", 64 + 4 + 16),
    ([32, 4], [], "tanh", 0),
]


@pytest.mark.parametrize(("sizes", "hidden", "output", "numbers"), ROOMS)
def test_c_counts_its_arrays(sizes, hidden, output, numbers, tmp_path):
    for dtype, size in (("float32", 4), ("float64", 8)):
        net = cases.network(sizes, hidden, output, dtype)
        assert to_c(net, tmp_path / "m.c").ram == size * numbers


def test_c_of_a_large_network_is_not_compiled(tmp_path, monkeypatch):
    net = fastbp.Network([600, 600, 3], output="identity", loss="mse", init="zeros")
    made = to_c(net, tmp_path / "m.c")
    monkeypatch.setattr(subprocess, "run", None)
    assert made.flash() is None and "not measured" in str(made)


@pytest.mark.parametrize("cc", FOREIGN)
def test_c_compiles_for_other_machines(cc, tmp_path):
    for dtype in TYPES:
        to_c(cases.network([3, 4, 2], ["gelu"], "softmax", dtype), tmp_path / f"{dtype}.c")
        command = [compiler(cc), *FLAGS, "-c", f"{dtype}.c", "-o", "out.o"]
        subprocess.run(command, check=True, cwd=tmp_path, timeout=300)


def test_c_needs_no_more_than_math(tmp_path):
    to_c(cases.network([3, 8, 4], ["mish"], "softmax", "float32"), tmp_path / "a.c")
    made = tmp_path / "a.o"
    subprocess.run([compiler("gcc"), *FLAGS, "-c", str(tmp_path / "a.c"), "-o", str(made)],
                   check=True, timeout=300)  # fmt: skip
    if shutil.which("nm") is None:
        pytest.skip("no nm")
    told = subprocess.run(["nm", "-u", str(made)], capture_output=True, text=True, timeout=60)
    assert {line.split()[-1] for line in told.stdout.splitlines()} <= {
        "fmaf", "copysignf", "fabsf", "sqrtf", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"
    }  # fmt: skip


def test_c_refusals_write_nothing(tmp_path):
    net = fastbp.Network([2, 2], output="identity", loss="mse")
    path = tmp_path / "a.c"
    path.write_text("before")
    for name in ("", "1a", "a-b", "ä", None, 3, "a b"):
        with pytest.raises(ValueError, match="name: expected letters"):
            to_c(net, path, name=name)
    with pytest.raises(TypeError, match="model: expected a Network"):
        to_c("net", path)
    with pytest.raises(ValueError, match=r"path: expected a \.c file"):
        to_c(net, tmp_path / "a.h", header=True)
    net.parameters[0] = np.nan
    with pytest.raises(ValueError, match="parameters"):
        to_c(net, path)
    net.parameters[:] = 3e38
    with pytest.raises(OSError):
        to_c(net, tmp_path / "none" / "a.c")
    assert path.read_text() == "before"
    assert os.listdir(tmp_path) == ["a.c"]
