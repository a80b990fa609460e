"""Build of the compiled core: one engine module a CPU level and type; else see pyproject.toml."""

import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import tomllib
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMMANDS = {
    "bdist_egg",
    "bdist_wheel",
    "editable_wheel",
    "build",
    "build_ext",
    "develop",
    "install",
}  # compile
KERNELS = Path("fastbp/kernels")
SOURCES = sorted(
    str(p) for pattern in ("*.pxd", "*.pxi", "*.pyx", "*.h") for p in KERNELS.rglob(pattern)
)

# Contraction is off: FMA is written where it is meant, so all levels with FMA give the same bits.
UNIX_FLAGS = ["-O3", "-fno-trapping-math", "-fno-math-errno", "-ffp-contract=off"]
# Of MSVC, which has no vectors and no atomics of GCC's: one lane, one thread. clang-cl has them.
MSVC_FLAGS = ["/O2", "/fp:precise"]
LEVEL_FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma",
        "-mprefer-vector-width=512",
    ],
}  # fmt: skip
TYPES = {"f32": [], "f64": [("FASTBP_DOUBLE", "1")]}

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "initializedcheck": False,
    "cdivision": True,
    "freethreading_compatible": True,
}
# A build with index checks and assertions, for work on the kernels: FASTBP_DEBUG=1 pip install -e .
DEBUG = os.environ.get("FASTBP_DEBUG", "0") not in ("", "0")
# FASTBP_SANITIZE=address,undefined or =thread: what GCC's -fsanitize takes. Such a build has one
# level, FASTBP_ISA's, and is run with the sanitizer preloaded (.ci/sanitizers).
SANITIZE = os.environ.get("FASTBP_SANITIZE", "")
SANITIZE_FLAGS = [
    f"-fsanitize={SANITIZE}", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer",
]  # fmt: skip


class BuildLevels(build_ext):
    """Compile engine.pyx once per level that the compiler and the target know."""

    def finalize_options(self):
        super().finalize_options()
        if self.parallel is None:
            self.parallel = os.cpu_count()

    def build_extensions(self):
        from Cython.Build import cythonize

        unix = self.compiler.compiler_type != "msvc"
        clang = None if unix else clang_cl()
        if clang:
            self.compiler.initialize()
            self.compiler.cc = clang
        elif not unix:
            self.warn("fastbp: MSVC has no vector extensions: one lane and one thread, slow. "
                      "With clang-cl on PATH, or CC=..., the kernels are whole")  # fmt: skip
        levels = {
            name: [f"/clang:{flag}" for flag in flags] if clang else flags
            for name, flags in LEVEL_FLAGS.items()
            if self.can_build(flags, clang)
        }
        flags = list(UNIX_FLAGS if unix else MSVC_FLAGS)
        if clang:
            flags += [f"/clang:{flag}" for flag in UNIX_FLAGS]
        if unix:  # Python's own flags may hold -g
            flags += ["-O1", "-g"] if DEBUG or SANITIZE else ["-g0"]
        if SANITIZE:
            isa = os.environ.get("FASTBP_ISA", "baseline")
            levels = {isa: levels[isa]}
            flags += SANITIZE_FLAGS
        described = ";".join(f"{name}:{' '.join(flags + own)}" for name, own in levels.items())
        directives = dict(DIRECTIVES)
        if DEBUG:
            directives |= {"boundscheck": True, "initializedcheck": True}
        origins = [
            Extension(f"fastbp.kernels.{name}", [str(KERNELS / f"{name}.pyx")])
            for name in ("cpu", "engine")
        ]
        # Cython's own code for memoryviews, once and not in each engine: a quarter of their C
        shared = "fastbp.kernels.views"
        origins.append(Extension(shared, [str(KERNELS / "views.c")]))
        generated = cythonize(
            origins,
            include_path=[str(KERNELS)],
            # a folder of its own for other directives, which do not make what was generated older
            build_dir=os.path.join(self.build_temp, "debug" if DEBUG else "generated"),
            compiler_directives=directives,
            shared_utility_qualified_name=shared,
            force=self.force or None,
        )
        code = {e.name.rpartition(".")[2]: Path(e.sources[0]).read_text() for e in generated}
        # module: what it is generated from, flags, macros
        modules = {
            "cpu": ("cpu", [], [("FASTBP_LEVELS", f'"{described}"')]),
            "views": ("views", [], []),
        }
        for level, own in levels.items():
            for real, macros in TYPES.items():
                name = f"engine_{level}_{real}"
                # one C file for all: only the name by which Python finds the module differs
                modules[name] = ("engine", own, [*macros, ("PyInit_engine", f"PyInit_{name}")])
        self.extensions[:] = [self.extension(m, code, flags, described) for m in modules.items()]
        super().build_extensions()

    def extension(self, module, code, flags, described):
        name, (origin, own, macros) = module
        source = Path(self.build_temp) / f"{name}.c"
        # the flags stand in it so that other flags make it newer than what was built
        text = f"/* {described} */\n{code[origin]}"
        if not source.exists() or source.read_text() != text:
            source.write_text(text)
        made = Extension(
            f"fastbp.kernels.{name}",
            [str(source)],
            include_dirs=[str(KERNELS)],
            define_macros=macros,
            extra_compile_args=flags + own,
            extra_link_args=SANITIZE_FLAGS if SANITIZE else [],
            depends=[path for path in SOURCES if path.endswith(".h")],
        )
        made._needs_stub = False
        return made

    def can_build(self, flags, clang):
        """Whether the compiler takes a level's flags for the machine it compiles for."""
        if not flags:
            return True
        archs = {f for f in os.environ.get("ARCHFLAGS", "").split() if f != "-arch"}
        machine = archs or {sysconfig.get_platform().rsplit("-", 1)[-1], platform.machine()}
        if not machine <= {"x86_64", "amd64", "AMD64"}:
            return False
        if self.compiler.compiler_type == "msvc":
            return bool(clang)
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / "probe.c"
            probe.write_text("int probe(void) { return 0; }\n")
            command = [*self.compiler.compiler_so, *flags, "-Werror", "-c", str(probe), "-o",
                       str(probe.with_suffix(".o"))]  # fmt: skip
            return subprocess.run(command, capture_output=True).returncode == 0


def clang_cl():
    """Where the compiler is that builds whole kernels beside MSVC's linker; or None."""
    named = os.environ.get("CC", "clang-cl")
    return shutil.which(named) if "clang" in Path(named).name else None


def missing():
    """What a build needs and this machine has not, in a line; or None."""
    from setuptools._distutils.ccompiler import new_compiler
    from setuptools._distutils.sysconfig import customize_compiler

    requires = tomllib.loads(Path("pyproject.toml").read_text())["build-system"]["requires"]
    least = next(name.partition(">=")[2] for name in requires if name.startswith("cython"))
    try:
        from Cython import __version__ as cython
    except ImportError:
        return "Cython is not installed, which a build without isolation needs: pip install cython"
    if [*map(int, re.findall(r"\d+", cython)[:3])] < [*map(int, least.split("."))]:
        return f"Cython {cython} is installed; a build needs {least}: pip install -U cython"
    compiler = new_compiler()
    if compiler.compiler_type == "msvc":
        try:
            compiler.initialize()
        except Exception as error:
            return f"no C compiler: {error}"
        if "CC" in os.environ and not shutil.which(os.environ["CC"]):
            return f"no C compiler: {os.environ['CC']}: not found"
        return None
    customize_compiler(compiler)
    command = list(compiler.compiler_so)
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.c"
        probe.write_text("#include <Python.h>\n")
        command += ["-I", sysconfig.get_path("include"), "-c", str(probe), "-o", f"{probe}.o"]
        try:
            tried = subprocess.run(command, capture_output=True, text=True)
        except OSError as error:
            return (
                f"no C compiler: {command[0]}: {error.strerror}. Install one (apt install gcc "
                "python3-dev, dnf install gcc python3-devel, xcode-select --install), name yours "
                "by CC=..., or take a wheel"
            )
    if tried.returncode:
        told = [line for line in tried.stderr.splitlines() if "error" in line] or [tried.stderr]
        hint = ". Install Python's headers (python3-dev, python3-devel)"
        return (
            f"the C compiler {command[0]} cannot compile for this Python: {told[0].strip()}"
            f"{hint if 'Python.h' in tried.stderr else ''}"
        )
    return None


if COMMANDS & set(sys.argv) and (lack := missing()):
    sys.exit(f"fastbp cannot be built here: {lack}")

# Named so that setuptools knows there is something to compile; BuildLevels replaces it.
setup(
    ext_modules=[Extension("fastbp.kernels.engine", ["fastbp/kernels/engine.pyx"])],
    cmdclass={"build_ext": BuildLevels},
)
