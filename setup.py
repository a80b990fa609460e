"""Build of the compiled core: one engine module per CPU level. All else is in pyproject.toml."""

import os
import platform
import subprocess
import sysconfig
import tempfile
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

KERNELS = Path("fastbp/kernels")
SOURCES = sorted(
    str(p) for pattern in ("*.pxd", "*.pxi", "*.pyx", "*.h") for p in KERNELS.glob(pattern)
)

# Contraction is off: FMA is written where it is meant, so all levels with FMA give the same bits.
UNIX_FLAGS = ["-O3", "-fno-trapping-math", "-fno-math-errno", "-ffp-contract=off"]
MSVC_FLAGS = ["/O2", "/fp:precise"]
LEVEL_FLAGS = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": [
        "-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mfma",
        "-mprefer-vector-width=512",
    ],
}  # fmt: skip

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
        levels = {name: flags for name, flags in LEVEL_FLAGS.items() if self.can_build(flags)}
        flags = list(UNIX_FLAGS if unix else MSVC_FLAGS)
        if unix:  # Python's own flags may hold -g
            flags += ["-O1", "-g"] if DEBUG or SANITIZE else ["-g0"]
        if SANITIZE:
            isa = os.environ.get("FASTBP_ISA", "baseline")
            levels = {isa: levels[isa]}
            flags += SANITIZE_FLAGS
        described = ";".join(f"{name}:{' '.join(flags + own)}" for name, own in levels.items())
        sources = Path(self.build_temp) / "levels"
        sources.mkdir(parents=True, exist_ok=True)

        extensions = []
        for module in ["cpu", *(f"engine_{name}" for name in levels)]:
            # a file of its own for each, because two extensions cannot name one .pyx
            source = sources / f"{module}.pyx"
            # the flags stand in it so that other flags make it newer than what was built
            body = f'# {described}\ninclude "kernels/{module.partition("_")[0]}.pyx"\n'
            if not source.exists() or source.read_text() != body:
                source.write_text(body)
            extension = Extension(
                f"fastbp.kernels.{module}",
                [str(source)],
                include_dirs=[str(KERNELS)],
                depends=SOURCES,
            )
            extension.extra_compile_args = flags + levels.get(module.removeprefix("engine_"), [])
            extension.extra_link_args = SANITIZE_FLAGS if SANITIZE else []
            if module == "cpu":
                extension.define_macros = [("FASTBP_LEVELS", f'"{described}"')]
            extensions.append(extension)
        directives = dict(DIRECTIVES)
        if DEBUG:
            directives |= {"boundscheck": True, "initializedcheck": True}
        self.extensions[:] = cythonize(
            extensions,
            include_path=[str(KERNELS), str(KERNELS.parent)],
            compiler_directives=directives,
            force=self.force or None,
        )
        for extension in self.extensions:
            extension._needs_stub = False
        super().build_extensions()

    def can_build(self, flags):
        """Whether the compiler takes a level's flags for the machine it compiles for."""
        if not flags:
            return True
        archs = {f for f in os.environ.get("ARCHFLAGS", "").split() if f != "-arch"}
        machine = archs or {sysconfig.get_platform().rsplit("-", 1)[-1], platform.machine()}
        if not machine <= {"x86_64", "amd64", "AMD64"} or self.compiler.compiler_type == "msvc":
            return False
        with tempfile.TemporaryDirectory() as folder:
            probe = Path(folder) / "probe.c"
            probe.write_text("int probe(void) { return 0; }\n")
            command = [*self.compiler.compiler_so, *flags, "-Werror", "-c", str(probe), "-o",
                       str(probe.with_suffix(".o"))]  # fmt: skip
            return subprocess.run(command, capture_output=True).returncode == 0


# Named so that setuptools knows there is something to compile; BuildLevels replaces it.
setup(
    ext_modules=[Extension("fastbp.kernels.engine", ["fastbp/kernels/engine.pyx"])],
    cmdclass={"build_ext": BuildLevels},
)
