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
from fastbp.training.request import threads_that_pay


def run(options: argparse.Namespace) -> int:
    """Tell versions, CPU level, compiler, what a saved network is and what training it takes."""
    if options.batch_size is not None and options.model is None:
        raise ValueError("--batch-size: expected MODEL with it; got none")
    if options.optimizer is not None and options.batch_size is None:
        raise ValueError("--optimizer: expected --batch-size with it; got none")
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
        model = fastbp.load(options.model)
        net = model if isinstance(model, fastbp.Network) else model.networks_[0]
        document["model"] = {
            "file": options.model,
            "network": repr(net),
            "sizes": net.architecture["sizes"],
            "parameters": net.n_parameters,
        }
        if isinstance(model, fastbp.Network):
            document["model"]["metadata"] = model.metadata
        else:
            document["model"] |= {
                "metadata": model.metadata_,
                "estimator": type(model).__name__,
                "networks": len(model.networks_),
                "columns": model.encoder_.kinds(),
            }
        if options.batch_size is not None:
            document["fit"] = _fit(net, options.batch_size, options.optimizer or "adam")
    if options.json:
        print_json(document)
    else:
        _print(document)
    return 0


def _fit(net: fastbp.Network, batch_size: int, optimizer: str) -> dict[str, Any]:
    """What a fit takes beside the network and the data, as the engine counts it."""
    if batch_size > sys.maxsize:
        raise ValueError(f"--batch-size: expected at most {sys.maxsize}; got {batch_size}")
    n_threads = threads_that_pay(net, batch_size)
    need = net._doors.memory(net._compiled, optimizer, batch_size, n_threads)
    return {
        "batch_size": batch_size,
        "optimizer": optimizer,
        "threads": n_threads,
        "bytes": {name: int(size) for name, size in (need | {"total": sum(need.values())}).items()},
    }


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
