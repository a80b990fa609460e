"""How the tabular estimators' networks look and are trained: presets by name.

What belongs here: the numbers of each preset, and a network by them. What does not: tables and
targets (tabular.py), what was tried to find the numbers (bench/tables.py).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any

from fastbp import layers, schedules
from fastbp.network import Network
from fastbp.optimizers import Adam, AdamW, Optimizer
from fastbp.stopping import EarlyStopping

FEWEST = 10  # epochs of the largest tables


@dataclass(frozen=True)
class Recipe:
    """The networks of one estimator.

    Attributes
    ----------
    members : int
        Networks that are trained, their outputs averaged.
    hidden : tuple of int
    activation : str
    scale : bool
        A learned factor for each input.
    bins : int
        At most as many bins a column of numbers (tabular/bins.py); 0: none.
    init : str
        Of all layers but the last, whose parameters begin at 0.
    optimizer, schedule, epochs, batch_size, drop_last, dropout, label_smoothing
        As in `Network.fit`; label smoothing of classes alone.
    rates : dict
        As in `Network.fit`.
    steps : int, optional
        As many steps as a network makes; of larger tables fewer epochs, down to `FEWEST`.
    ntk : bool
        Weights learn at 1/sqrt(n_in) of the rate. Under Adam, which steps by the gradient's sign
        and not by its size, that is z = W a / sqrt(n_in) + b with W of variance 1, up to Adam's
        epsilon (which is epsilon sqrt(n_in) for those).
    watched : str
        Of which value the best epoch is kept.
    last : bool
        Of equally good epochs the last.
    """

    members: int = 1
    hidden: tuple[int, ...] = (128, 128)
    activation: str = "relu"
    scale: bool = False
    bins: int = 0
    init: str = "he_normal"
    optimizer: Optimizer = field(default_factory=Adam)
    schedule: schedules.Schedule = field(default_factory=schedules.Constant)
    epochs: int = 60
    steps: int | None = None
    batch_size: int = 128
    drop_last: bool = False
    dropout: float = 0.0
    label_smoothing: float = 0.0
    rates: dict[str, float] = field(default_factory=dict)
    ntk: bool = False
    watched: str = "validation_loss"
    last: bool = False

    def network(self, n_inputs: int, n_outputs: int, output: str, loss: str, seed: int) -> Network:
        """A network of this recipe, untrained."""
        first: list[Any] = [layers.Scale()] if self.scale else []
        net = Network(
            [n_inputs, *first, *self.hidden, n_outputs],
            activation=self.activation,
            output=output,
            loss=loss,
            init=self.init,
            seed=seed,
        )
        net.weights[-1][...] = 0
        net.biases[-1][...] = 0
        return net

    def options(self, net: Network, watches: bool, n: int = 0) -> dict[str, Any]:
        """What `fit_many` is told, of `net` and all that are shaped as it is, on n rows."""
        told: dict[str, Any] = {
            name: getattr(self, name)
            for name in ("optimizer", "schedule", "epochs", "batch_size", "drop_last", "dropout")
        }
        if self.steps is not None and n:
            most = max(FEWEST, self.steps // -(-n // self.batch_size))
            told["epochs"] = min(self.epochs, most)
        told["rates"] = self._rates(net)
        if watches:
            metric = self.watched.removeprefix("validation_")
            told["metrics"] = () if metric == "loss" else (metric,)
            ties = "last" if self.last else "first"
            told["early_stopping"] = EarlyStopping(self.epochs, monitor=self.watched, ties=ties)
        return told

    def _rates(self, net: Network) -> dict[str, float]:
        rates = {}
        for name, tensor in net.tensors.items():
            rate = 1.0
            for pattern, factor in self.rates.items():
                rate = factor if fnmatchcase(name, pattern) else rate
            if self.ntk and tensor.ndim == 2:
                rate /= tensor.shape[0] ** 0.5
            rates[name] = rate
        return rates


_DEFAULT = Recipe(
    members=4,
    hidden=(64, 64),
    scale=True,
    bins=32,
    optimizer=AdamW(6e-3, weight_decay=0.1),
    schedule=schedules.Cosine(warmup=2),
    rates={"s*": 12.0},
    batch_size=64,
    steps=20_000,
)
_BEST = replace(_DEFAULT, members=8, hidden=(128, 128))

# RealMLP-TD-S of Holzmueller, Grinsztajn & Steinwart 2024, by their formulas.
_REALMLP_TD_S = Recipe(
    hidden=(256, 256, 256),
    activation="selu",
    scale=True,
    init="scaled",
    optimizer=Adam(0.04, beta2=0.95),
    schedule=schedules.CosineLog(4),
    epochs=256,
    batch_size=256,
    drop_last=True,
    label_smoothing=0.1,
    rates={"s*": 6.0, "b*": 0.1},
    ntk=True,
    watched="validation_accuracy",
    last=True,
)
_MLP = Recipe(hidden=(100,), optimizer=Adam(1e-3), epochs=200, init="glorot_uniform")

# By name, of classes and of numbers.
PRESETS: dict[str, tuple[Recipe, Recipe]] = {
    "default": (_DEFAULT, _DEFAULT),
    "best": (_BEST, _BEST),
    "realmlp-td-s": (
        _REALMLP_TD_S,
        replace(
            _REALMLP_TD_S,
            activation="mish",
            optimizer=Adam(0.07, beta2=0.95),
            label_smoothing=0.0,
            watched="validation_rmse",
        ),
    ),
    "mlp": (_MLP, _MLP),
}
