"""Pick the compiled core of this CPU. What belongs here: levels, and nothing that computes."""

from __future__ import annotations

import functools
import importlib
import os
from types import ModuleType, SimpleNamespace
from typing import Any

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


def load(level: str) -> ModuleType:
    """Import the engine of one level.

    The CPU is asked before the import: the module's own start-up code already holds the level's
    instructions.
    """
    if level not in LEVELS:
        raise ValueError(f"FASTBP_ISA: expected one of {', '.join(LEVELS)}; got {level!r}")
    if level not in available_levels():
        reason = "is not built here" if level not in cpu.built_levels else "is not in this CPU"
        raise ImportError(
            f"FASTBP_ISA: level {level!r} {reason}; available: {', '.join(available_levels())}"
        )
    return importlib.import_module(f"fastbp.kernels.engine_{level}")


def build_info() -> dict[str, str]:
    """Compiler and flags of the level in use."""
    return {"compiler": engine.compiler, "flags": cpu.flags[level]}


DOORS = (
    "predict", "feedforward", "costs", "perturbed_costs", "deltas", "gradient", "input_gradient",
    "jacobian", "vjp", "jvp", "is_finite", "elementary", "load_state", "store_state",
    "has_finite_state", "train", "mask", "step_outputs", "step_update",
)  # fmt: skip


@functools.cache
def _doors_of(module: ModuleType, kind: str) -> SimpleNamespace:
    return SimpleNamespace(**{name: getattr(module, name)[kind] for name in DOORS})


def doors(dtype: Any) -> SimpleNamespace:
    """The engine's functions compiled for float32 or float64, by name."""
    return _doors_of(engine, {"f": "float", "d": "double"}[dtype.char])


level = os.environ.get("FASTBP_ISA") or available_levels()[-1]
engine = load(level)
