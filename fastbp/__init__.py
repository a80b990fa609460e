"""Backpropagation on CPUs at the speed of the hardware, with every gradient checkable.

>>> import fastbp
>>> digits = fastbp.datasets.load_digits()
>>> net = fastbp.Network([64, 30, 10], seed=0)
>>> history = net.fit(digits.X, digits.Y, epochs=20, optimizer=fastbp.Adam(3e-3), seed=0)
>>> bool((net.predict(digits.X).argmax(axis=1) == digits.Y).mean() > 0.97)
True
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from fastbp.dropout import Dropout
from fastbp.network import Network

if TYPE_CHECKING:
    # those beside __all__ too, which are attributes as well
    from fastbp import (
        callbacks as callbacks,
        check,
        data,
        datasets,
        estimators as estimators,
        exchange as exchange,
        layers,
        metrics as metrics,
        optimizers as optimizers,
        schedules,
        tabular,
        training,
    )
    from fastbp.optimizers import (
        LBFGS,
        SGD,
        Adadelta,
        Adagrad,
        Adam,
        AdamW,
        AMSGrad,
        Lion,
        RMSprop,
    )
    from fastbp.persistence import load
    from fastbp.stopping import EarlyStopping
    from fastbp.training import DivergenceError, History, OnlineTrainer, each_step, fit_many

__version__ = "0.1.0"

__all__ = [
    "LBFGS",
    "SGD",
    "AMSGrad",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "DivergenceError",
    "Dropout",
    "EarlyStopping",
    "History",
    "Lion",
    "Network",
    "OnlineTrainer",
    "RMSprop",
    "check",
    "data",
    "datasets",
    "each_step",
    "fit_many",
    "layers",
    "load",
    "schedules",
    "tabular",
    "training",
]

_LATER = {  # where the name is found; a module stands for itself
    **dict.fromkeys(set(__all__) - set(globals()), "fastbp.optimizers"),  # those not named below
    "EarlyStopping": "fastbp.stopping",
    "check": "fastbp.check",
    "datasets": "fastbp.datasets",
    **dict.fromkeys(
        ("DivergenceError", "History", "OnlineTrainer", "each_step", "fit_many"), "fastbp.training"
    ),
    "load": "fastbp.persistence",
    "schedules": "fastbp.schedules",
    **{
        name: f"fastbp.{name}"
        for name in (
            "callbacks",
            "data",
            "estimators",
            "exchange",
            "metrics",
            "optimizers",
            "tabular",
            "training",
        )
    },
}


def _found(name: str) -> object:
    """Import when asked for: `import fastbp` is to cost little beside NumPy's own."""
    if name == "__pyx_capi__":  # where `cimport fastbp` looks for what __init__.pxd declares
        return import_module("fastbp.kernels.dispatch").capi()
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = import_module(_LATER[name])
    found = getattr(module, name, module)
    globals()[name] = found
    return found


if not TYPE_CHECKING:  # a type checker is to refuse other names
    __getattr__ = _found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
