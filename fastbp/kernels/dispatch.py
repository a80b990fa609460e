"""Pick the compiled core of this CPU. What belongs here: levels, and nothing that computes."""

from __future__ import annotations

import functools
import importlib
import os
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from fastbp.kernels.engine import Engine

try:
    from fastbp.kernels import cpu
except ImportError as error:
    raise ImportError(
        f"fastbp's compiled core is missing beside {__file__}. In a source tree build it with: "
        "pip install -e ."
    ) from error

LEVELS = ("baseline", "avx2", "avx512")


def available_levels() -> tuple[str, ...]:
    """Levels that are built and that this CPU can run, slowest first."""
    return tuple(level for level in LEVELS if level in cpu.built_levels and cpu.supports(level))


def _module(name: str) -> Engine:
    return cast("Engine", importlib.import_module(name))


class Level:
    """The engine of one CPU level: a module for each type, imported when asked for."""

    def __init__(self, name: str) -> None:
        self.name = name

    @functools.cached_property
    def f32(self) -> Engine:
        return _module(f"fastbp.kernels.engine_{self.name}_f32")

    @functools.cached_property
    def f64(self) -> Engine:
        return _module(f"fastbp.kernels.engine_{self.name}_f64")

    def doors(self, dtype: Any) -> Engine:
        """The engine for float32 or float64."""
        return self.f32 if dtype.char == "f" else self.f64


def load(name: str) -> Level:
    """The engine of one level.

    The CPU is asked before the import: the modules' own start-up code already holds the level's
    instructions.
    """
    if name not in LEVELS:
        raise ValueError(f"FASTBP_ISA: expected one of {', '.join(LEVELS)}; got {name!r}")
    if name not in available_levels():
        reason = "is not built here" if name not in cpu.built_levels else "is not in this CPU"
        raise ImportError(
            f"FASTBP_ISA: level {name!r} {reason}; available: {', '.join(available_levels())}"
        )
    return Level(name)


def build_info() -> dict[str, str]:
    """Compiler and flags of the level in use."""
    return {"compiler": engine.f32.compiler, "flags": cpu.flags[level]}


def doors(dtype: Any) -> Engine:
    """The engine in use for float32 or float64."""
    return engine.doors(dtype)


def capi() -> dict[str, Any]:
    """What `cimport fastbp` finds: the C functions in use, each of the build for its type."""
    of_double = engine.f64.__pyx_capi__.items()
    return engine.f32.__pyx_capi__ | {k: v for k, v in of_double if k.endswith("_f64")}


level = os.environ.get("FASTBP_ISA") or available_levels()[-1]
engine = load(level)
