"""The package as a whole: what importing costs and changes, who imports whom, CPU levels, memory.

What belongs here: facts about no single module. What does not: wheels, compilers (test_build.py).
"""

import ctypes
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

import fastbp
from fastbp import hints
from fastbp.kernels import cpu, dispatch

PACKAGE = Path(fastbp.__file__).parent
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "FASTBP_ISA"} | {
    "PYTHONPATH": str(PACKAGE.parent)
}


def python(code, **environment):
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True, text=True, env=ENVIRONMENT | environment, timeout=180,
    )  # fmt: skip


def output(code, **environment):
    done = python(code, **environment)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


# importing


def test_import_time():
    """Within 0.4 of NumPy's own (30 ms of 75): the processor's time, pairs one after the other and
    their better quarter. Work beside it slows both."""

    def seconds(code):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, env=ENVIRONMENT)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    seconds("import numpy, fastbp")  # bytecode written, files in the cache
    ratios = [seconds("import numpy, fastbp") / seconds("import numpy") for _ in range(15)]
    assert statistics.quantiles(ratios, n=4)[0] < 1.4, sorted(ratios)


def test_import_brings_in_nothing_heavy():
    code = (
        "import sys, json, numpy; before = set(sys.modules); import fastbp;"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    new = {name.partition(".")[0] for name in json.loads(output(code))}
    heavy = {"tqdm", "safetensors", "matplotlib", "scipy", "sklearn", "pandas", "torch", "onnx"}
    assert not new & heavy
    assert "fastbp" in new


def test_what_is_imported_later_is_there():
    for name in fastbp.__all__:
        assert output(f"import fastbp; print(fastbp.{name} is not None)") == "True"
    code = "import fastbp; print(*[n for n in fastbp.__all__ if n not in dir(fastbp)])"
    assert output(code) == ""
    assert "no attribute 'nonsense'" in python("import fastbp; fastbp.nonsense").stderr


def test_modules_are_attributes():
    for name in ("training", "callbacks", "estimators", "metrics", "optimizers"):
        assert output(f"import fastbp; print(fastbp.{name}.__name__)") == f"fastbp.{name}"
    new = output("import sys, fastbp; print(*[m for m in sys.modules if m.startswith('fastbp.')])")
    assert not {"fastbp.training", "fastbp.hints", "fastbp.optimizers"} & set(new.split())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        (None, "pip install 'fastbp[plot]'"),
        ({"url": "file:///a%20b/fastbp", "dir_info": {}}, "pip install '/a b/fastbp[plot]'"),
        ({"url": "file:///c", "dir_info": {"editable": True}}, "pip install -e '/c[plot]'"),
        ({"url": "https://somewhere/fastbp.whl"}, "pip install 'fastbp[plot]'"),
    ],
)
def test_an_extra_comes_as_fastbp_came(monkeypatch, tmp_path, url, told):
    class Distribution:
        def read_text(self, name):
            assert name == "direct_url.json"
            return None if url is None else json.dumps(url)

    monkeypatch.setattr("importlib.metadata.distribution", lambda name: Distribution())
    monkeypatch.setattr(hints, "__file__", str(tmp_path / "fastbp" / "hints.py"))
    error = hints.missing("plots need", "matplotlib", "plot")
    assert isinstance(error, ImportError) and str(error) == f"plots need matplotlib: {told}"
    (tmp_path / "pyproject.toml").touch()  # the source tree itself
    assert f"{tmp_path}[plot]'" in str(hints.missing("plots need", "matplotlib", "plot"))


def test_nothing_else_tells_how_to_install():
    for path in sorted(PACKAGE.rglob("*.py")):
        if path.name != "hints.py":
            assert "[plot]" not in (text := path.read_text()) and "fastbp[" not in text, path


def test_import_leaves_the_process_as_it_was():
    """No flush-to-zero, and neither signals, warnings, random numbers nor the environment."""
    code = """
import os, signal, threading, warnings
import numpy as np

def state():
    return (
        [signal.getsignal(s) for s in sorted(signal.valid_signals())], list(warnings.filters),
        dict(os.environ), os.getcwd(), threading.active_count(), np.geterr(),
        str(np.random.get_state()), np.get_printoptions(),
    )

before = state()
import fastbp
from fastbp import check, datasets, load, persistence, plotting, cli
digits = datasets.load_digits()
net = fastbp.Network([64, 30, 10])
net.fit(digits.X, digits.Y, epochs=1, threads=2)
check.gradients(net, digits.X[:2], digits.Y[:2], max_parameters=20)
assert state() == before, (state(), before)

tiny = 5e-324
assert tiny != 0 and tiny * 1.0 != 0
assert np.float32(1e-45) * np.float32(1) != 0
assert (np.full(100, 1e-310) / 2 != 0).all() and (np.full(100, 1e-40, "f4") / 2 != 0).all()
print("same")
"""
    assert output(code) == "same"


def test_subnormal_numbers_survive_the_engine():
    for dtype, tiny in (("float32", 1e-44), ("float64", 5e-324)):
        net = fastbp.Network([1, 1], output="identity", loss="mse", init="zeros", dtype=dtype)
        net.weights[0][0, 0] = 1
        got = net.predict([[tiny]])
        assert got[0, 0] == net.dtype.type(tiny) != 0


# CPU levels


@pytest.mark.parametrize("level", dispatch.available_levels())
def test_a_level_can_be_forced(level):
    code = (
        "import fastbp; from fastbp.kernels import dispatch; import sys;"
        "n = fastbp.Network([3, 2]); n.predict([[1, 2, 3]]);"
        "print(dispatch.level, dispatch.engine.f32.__name__,"
        " sum(m.startswith('fastbp.kernels.engine_') for m in sys.modules))"
    )
    assert output(code, FASTBP_ISA=level) == f"{level} fastbp.kernels.engine_{level}_f32 1"


def test_the_best_level_is_chosen():
    code = "import fastbp; from fastbp.kernels import dispatch; print(dispatch.level)"
    best = dispatch.available_levels()[-1]
    assert output(code) == best and output(code, FASTBP_ISA="") == best
    assert dispatch.available_levels()[0] == "baseline"


@pytest.mark.parametrize("level", ["sse2", "AVX2", "avx2 ", "../avx2", "baseline,avx2"])
def test_an_unknown_level_is_refused(level):
    done = python("import fastbp", FASTBP_ISA=level)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert last == (
        f"ValueError: FASTBP_ISA: expected one of baseline, avx2, avx512; got {level!r}"
    )


class OtherCpu:
    """A machine with fewer levels than this one."""

    def __init__(self, built, has):
        self.built_levels, self.has = built, has

    def supports(self, level):
        return level in self.has


def test_a_level_that_is_not_there_is_refused_before_it_is_imported(monkeypatch):
    imported = []
    monkeypatch.setattr(dispatch.importlib, "import_module", imported.append)
    monkeypatch.setattr(dispatch, "cpu", OtherCpu(("baseline", "avx2"), ("baseline",)))
    assert dispatch.available_levels() == ("baseline",)
    with pytest.raises(ImportError, match=r"'avx2' is not in this CPU; available: baseline$"):
        dispatch.load("avx2")
    with pytest.raises(ImportError, match=r"'avx512' is not built here; available: baseline$"):
        dispatch.load("avx512")
    assert not imported
    dispatch.Level("baseline").doors(SimpleNamespace(char="d"))
    assert imported == ["fastbp.kernels.engine_baseline_f64"]


def test_the_cpu_answers_for_itself():
    assert cpu.supports("baseline") and not cpu.supports("") and not cpu.supports("mmx")
    if not Path("/proc/cpuinfo").exists():
        pytest.skip("only Linux tells the flags of its CPU in a file")
    flags = set(re.search(r"(?m)^(?:flags|Features)\s*:(.*)$",
                          Path("/proc/cpuinfo").read_text())[1].split())  # fmt: skip
    assert cpu.supports("avx2") == ({"avx2", "fma"} <= flags)
    wanted = {"avx2", "fma", "avx512f", "avx512dq", "avx512bw", "avx512vl"}
    assert cpu.supports("avx512") == (wanted <= flags)


# memory

COUNTER = """
#define _GNU_SOURCE
#include <stddef.h>
#include <stdatomic.h>
extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
static atomic_long calls;
long counted_allocations(void) { return calls; }
void *malloc(size_t n) { calls++; return __libc_malloc(n); }
void *calloc(size_t m, size_t n) { calls++; return __libc_calloc(m, n); }
void *realloc(void *p, size_t n) { calls++; return __libc_realloc(p, n); }
void *memalign(size_t a, size_t n) { calls++; return __libc_memalign(a, n); }
void *aligned_alloc(size_t a, size_t n) { calls++; return __libc_memalign(a, n); }
int posix_memalign(void **p, size_t a, size_t n)
{ calls++; *p = __libc_memalign(a, n); return *p ? 0 : 12; }
"""

COUNTED = """
import ctypes, gc, json
import numpy as np
import fastbp
from fastbp.training.driver import Run
from fastbp.training.request import Request
from fastbp.training.state import RunIdentity, State
from fastbp.kernels import dispatch

count = ctypes.CDLL(None).counted_allocations
count.restype = ctypes.c_long
gc.disable()
before = count()
kept = [bytearray(1000) for _ in range(100)]
assert count() - before >= 100, "the counter does not count"

rng = np.random.default_rng(0)
X = rng.standard_normal((70, 9)).astype("f4")
Y = rng.integers(0, 4, 70)
answers = []
for policy in (fastbp.SGD(0.01), fastbp.SGD(0.01, 0.9), fastbp.Adam(1e-4)):
    for shuffle in (True, False):
        net = fastbp.Network([9, 20, 17, 4], activation=["glu", "layer_norm"], seed=0)
        data = net._samples(X, Y, np.ones(70))
        state = State(RunIdentity(70, 8, "False", 1, policy))
        numbers = policy.numbers | {"l2": 0.1, "l1": 0.1}
        run = Run(Request(net, data, numbers, 10**6, state, [], shuffle=shuffle, driver=Run))

        def allocations(steps):
            before = count()
            made = run._train(steps, 10**6)
            after = count()
            assert made == steps
            return after - before

        allocations(1000)
        answers.append([allocations(1000), allocations(20_000)])
print(json.dumps(answers))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts glibc's allocations")
def test_no_step_allocates(tmp_path):
    """1,000 steps and 20,000 call malloc equally often: when the engine is entered, and no more.

    Python's own objects are counted too: PYTHONMALLOC=malloc.
    """
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not hasattr(ctypes.CDLL(None), "__libc_malloc"):
        pytest.skip("needs a C compiler and glibc")
    (tmp_path / "counter.c").write_text(COUNTER)
    library = tmp_path / "counter.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(tmp_path / "counter.c")],
        check=True,
    )
    answers = json.loads(output(COUNTED, LD_PRELOAD=str(library), PYTHONMALLOC="malloc"))
    assert len(answers) == 6
    for few, many in answers:
        assert few == many < 100, answers


GROWTH = """
import ctypes, json, resource, sys
import numpy as np
import fastbp

X = np.random.default_rng(0).standard_normal((80, 9)).astype("f4")
Y = np.arange(80) % 4
net = fastbp.Network([9, 20, 4], seed=0)

def fit(epochs, threads):
    net.fit(X, Y, epochs=epochs, batch_size=8, seed=0, threads=threads)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

for threads in (1, 2):
    fit(1, threads)
print(json.dumps([[fit(1, t), fit(2000, t), fit(20_000 if t == 1 else 4000, t)] for t in (1, 2)]))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="ru_maxrss in KiB")
def test_memory_does_not_grow_with_steps():
    """200,000 steps more: a leak of 64 bytes a step would be 12,500 KiB."""
    for short, middle, long in json.loads(output(GROWTH)):
        # the record of an epoch is some 100 bytes; 20,000 of them 2,000 KiB and their lists
        assert middle - short < 1500 and long - middle < 6000, (short, middle, long)


def test_tables_without_their_extra_name_it(tmp_path):
    """Whichever of its libraries is missing first."""
    (tmp_path / "a.csv").write_text("a,b\n1,2\n2,3\n")
    code = (
        "import sys; sys.modules |= dict.fromkeys(['pyarrow', 'sklearn', 'narwhals', 'scipy']);"
        "from fastbp.cli import main; sys.exit(main(['train', 'a.csv', '--target', 'b']))"
    )
    environment = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True,
                          text=True, env=environment)  # fmt: skip
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert "pyarrow" in done.stderr and "[tables]" in done.stderr
