"""``fastbp info``."""

import argparse
import platform
import sys
from typing import Any

import numpy as np

import fastbp
from fastbp.check.report import plain
from fastbp.cli.output import print_json
from fastbp.kernels import dispatch


def run(options: argparse.Namespace) -> int:
    """Tell versions, CPU level, compiler, and what a saved network is."""
    document: dict[str, Any] = {
        "fastbp": fastbp.__version__,
        "cpu_level": dispatch.level,
        "cpu_levels_available": list(dispatch.available_levels()),
        **dispatch.build_info(),
        "bytes": {
            "float32": np.dtype(np.float32).itemsize,
            "float64": np.dtype(np.float64).itemsize,
            "pointer": np.dtype(np.intp).itemsize,
        },
        "numpy": np.__version__,
        "python": platform.python_version(),
        "platform": f"{sys.platform} {platform.machine()}",
    }
    if options.model is not None:
        net = fastbp.load(options.model)
        document["model"] = {
            "file": options.model,
            "network": repr(net),
            "sizes": list(net.sizes),
            "parameters": net.n_parameters,
            "metadata": net.metadata,
        }
    if options.json:
        print_json(document)
    else:
        _print(document)
    return 0


def _print(document: dict[str, Any], indent: str = "") -> None:
    width = max(len(key) for key in document) + 1
    for key, value in plain(document).items():
        name = f"{indent}{key.replace('_', ' '):{width}}"
        if isinstance(value, dict) and value:
            print(name.rstrip())
            _print(value, indent + "  ")
        else:
            shown = ", ".join(map(str, value)) if isinstance(value, list) else value
            print(f"{name} {shown}")
