"""The benchmark: what is trained, what this machine can do, and how fast fastbp trains on it.

What belongs here: the cases, FLOPs and bytes of a step, the machine's peak and bandwidth, timing.
What does not: other libraries (bench/compare.py), options and tables (cli/bench.py).
"""

from __future__ import annotations

import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastbp.functions import shown
from fastbp.kernels import dispatch
from fastbp.network import Network
from fastbp.optimizers import SGD, Adam, Optimizer
from fastbp.training.history import History

Side = Callable[[int], list[float]]  # trains that many epochs further; the loss of each

# of one side, at least: what `fit` does before its first step is below 1 % of it
ROUND_SECONDS = 0.15
ROUND_STEPS = 32
FALLBACK_CACHE = 128 * 2**20  # bytes, where the system does not tell the last level's size


@dataclass(frozen=True)
class Case:
    """A network, its batches and its updates; ten outputs are classes, else numbers are fitted.

    Attributes
    ----------
    sizes : tuple of int
    activation : str
        Of the hidden layers.
    batch : int
        Samples a step.
    steps : int
        An epoch.
    optimizer : SGD (without momentum) or Adam
        Fast enough that a wrong step would show in the loss.

    Examples
    --------
    >>> CASES["E"].title
    '2-16-1 tanh, batch 8, SGD'
    >>> CASES["E"].flops
    1792
    """

    sizes: tuple[int, ...]
    activation: str
    batch: int
    steps: int
    optimizer: Optimizer

    @property
    def title(self) -> str:
        """What it is, in words."""
        layers = "-".join(map(str, self.sizes))
        return f"{layers} {self.activation}, batch {self.batch}, {type(self.optimizer).__name__}"

    @property
    def classes(self) -> bool:
        """Softmax and cross-entropy on labels; else identity and the quadratic cost."""
        return self.sizes[-1] == 10

    @property
    def products(self) -> list[int]:
        """Multiply-adds of a sample in each layer: n_in n_out."""
        return [a * b for a, b in zip(self.sizes, self.sizes[1:], strict=False)]

    @property
    def flops(self) -> int:
        """Of the products of a step: 2 m (3 sum n_in n_out - n_0 n_1).

        Forward, delta recurrence and weight gradient; nobody needs the gradient of the input.
        """
        return 2 * self.batch * (3 * sum(self.products) - self.products[0])

    def bytes_moved(self, dtype: str) -> int:
        """Of a step: parameters (Adam: and m, v) read and written once, the batch read once, each
        activation written and read once."""
        parameters = sum(self.products) + sum(self.sizes[1:])
        arrays = 3 if isinstance(self.optimizer, Adam) else 1
        targets = 1 if self.classes else self.sizes[-1]
        samples = self.sizes[0] + targets + 2 * sum(self.sizes[1:])
        return np.dtype(dtype).itemsize * (2 * arrays * parameters + self.batch * samples)

    def network(self, dtype: str = "float32") -> Network:
        """The network that training starts from."""
        output, loss = ("softmax", "cross_entropy") if self.classes else ("identity", "quadratic")
        return Network(
            self.sizes, activation=self.activation, output=output, loss=loss, dtype=dtype, seed=0
        )

    def data(self, dtype: str = "float32") -> tuple[np.ndarray, np.ndarray]:
        """X and labels (n,) or targets (n, n_L), drawn so that they can be learnt."""
        rng = np.random.default_rng(0)
        X = rng.standard_normal((self.batch * self.steps, self.sizes[0])).astype(dtype)
        teacher = rng.standard_normal((self.sizes[0], self.sizes[-1])) / math.sqrt(self.sizes[0])
        Y = X @ teacher
        return X, Y.argmax(axis=1) if self.classes else np.sin(2 * Y).astype(dtype)


CASES = {
    "A": Case((784, 30, 10), "sigmoid", 10, 200, SGD(0.05)),
    "B": Case((784, 128, 10), "relu", 64, 16, SGD(0.05)),
    "C": Case((32, 64, 64, 1), "tanh", 32, 100, SGD(0.01)),
    "D": Case((32, 64, 64, 1), "tanh", 256, 16, SGD(0.01)),
    "E": Case((2, 16, 1), "tanh", 8, 2000, SGD(0.01)),
    "F": Case((1024, 1024, 1024, 10), "relu", 256, 4, SGD(0.01)),
    # SimpleChains' own benchmark: all rows in one batch
    "G": Case((4, 32, 16, 4), "tanh", 10_000, 1, Adam(1e-3)),
}


def chosen(letters: str) -> dict[str, Case]:
    """Return the cases named by their letters, with commas.

    >>> list(chosen("a,F"))
    ['A', 'F']
    """
    if not isinstance(letters, str):
        raise TypeError(f"letters: expected a str such as 'A,E'; got {shown(letters)}")
    names = [name.strip().upper() for name in letters.split(",")]
    for name in names:
        if name not in CASES:
            raise ValueError(f"cases: expected letters of {','.join(CASES)}; got {letters!r}")
    return {name: CASES[name] for name in names}


# what the machine can do


def machine() -> str:
    """Return the name of the CPU, and how many of its cores this process may use."""
    name = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                name = line.partition(":")[2].strip()
                break
    except OSError:  # not Linux
        pass
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{name}, {cores} of {os.cpu_count()} cores"


def peak_gflops(dtype: str, level: str | None = None) -> float:
    """Return the rate of multiply-adds of one core, on data in its first-level cache.

    A vector holds twice as many float32 as float64, at the same rate: of the two measured rates
    that counts which comes closer to the hardware's.

    Parameters
    ----------
    dtype : "float32" or "float64"
    level : str, optional
        A CPU level that this machine has; that in use by default.
    """
    vectors = max(tile_gflops("float32", level) / 2, tile_gflops("float64", level))
    return vectors * {"float32": 2, "float64": 1}[dtype]


def tile_gflops(dtype: str, level: str | None = None) -> float:
    """Return the rate of a level's largest register tile in one type, best of several."""
    engine = dispatch.engine if level is None else dispatch.load(level)
    door = engine.doors(np.dtype(dtype)).multiply_add
    x = np.ones(1024, dtype)
    best = 0.0
    for _ in range(20):
        began = time.perf_counter()
        flops = door(x, 200)
        best = max(best, flops / (time.perf_counter() - began))
    return best / 1e9


class Memory:
    """Two arrays, each as large as the last-level cache (or a sixteenth of the memory)."""

    def __init__(self) -> None:
        self.read, self.written = np.ones((2, _array_bytes() // 8))

    def gb_per_second(self) -> float:
        """Return the bytes that one core moves, copying and adding arrays, best of several."""
        best = 0.0
        for _ in range(3):
            for arrays, move in ((2, np.copyto), (3, _add)):
                began = time.perf_counter()
                move(self.written, self.read)
                took = time.perf_counter() - began
                best = max(best, arrays * self.read.nbytes / took)
        return best / 1e9


def _add(a: np.ndarray, b: np.ndarray) -> None:
    a += b


def _array_bytes() -> int:
    units = {"K": 2**10, "M": 2**20}
    try:
        caches = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
        texts = [path.read_text().strip() for path in caches]
        largest = max((int(text[:-1]) * units[text[-1]] for text in texts), default=FALLBACK_CACHE)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (OSError, AttributeError, ValueError, KeyError):  # no such files, no such system call
        return FALLBACK_CACHE
    return min(largest, memory // 16)


@dataclass(frozen=True)
class Limits:
    """What one core of this machine can do at the moment: the clock of a shared one moves."""

    gflops: float
    gb_per_second: float


def limits(dtype: str, memory: Memory) -> Limits:
    """Measure the peak of the CPU level in use, and the bandwidth."""
    return Limits(peak_gflops(dtype), memory.gb_per_second())


def peaks() -> dict[str, dict[str, float]]:
    """Measure the GFLOP/s of every CPU level that this machine has, float32 and float64."""
    return {
        level: {dtype: peak_gflops(dtype, level) for dtype in ("float32", "float64")}
        for level in dispatch.available_levels()
    }


# how fast it is


@dataclass(frozen=True)
class Timing:
    """Of one side: the median over the rounds, and the loss of every epoch that it made."""

    us_per_step: float
    losses: list[float]


def measure(sides: Mapping[str, Side], steps: int, rounds: int) -> dict[str, Timing]:
    """Time sides in turn; each trains as many epochs a round as fill it.

    Parameters
    ----------
    sides : mapping of name to function
        The function trains so many epochs further and returns their losses.
    steps : int
        An epoch.
    rounds : int
        Timed ones, after one that is not.
    """
    losses: dict[str, list[float]] = {name: [] for name in sides}
    times: dict[str, list[float]] = {name: [] for name in sides}
    epochs = {}

    def seconds(name: str, epochs: int) -> float:
        began = time.perf_counter()
        made = sides[name](epochs)
        took = time.perf_counter() - began
        losses[name] += made
        return took

    for name in sides:
        seconds(name, 1)  # what is compiled or allocated at first
        epochs[name] = math.ceil(max(ROUND_STEPS / steps, ROUND_SECONDS / seconds(name, 1)))
        seconds(name, epochs[name])
    for _ in range(rounds):
        for name in sides:
            times[name].append(seconds(name, epochs[name]) / (epochs[name] * steps) * 1e6)
    return {name: Timing(statistics.median(times[name]), losses[name]) for name in sides}


def fastbp_side(case: Case, net: Network, X: np.ndarray, Y: np.ndarray, **options: Any) -> Side:
    """Train `net` on one thread; `fit` makes all epochs in one call, with these options too."""

    history: History | None = None

    def run(epochs: int) -> list[float]:
        nonlocal history
        history = net.fit(
            X,
            Y,
            epochs=epochs,
            batch_size=case.batch,
            optimizer=case.optimizer,
            shuffle=False,
            threads=1,
            resume=history,
            **options,
        )
        made: list[float] = history["loss"][-epochs:].tolist()
        return made

    return run


def record(case: Case, us_per_step: float, now: Limits) -> dict[str, float]:
    """Return what a time a step means: GFLOP/s, and per cent of what the machine allows."""
    gflops = case.flops / us_per_step / 1e3
    return {
        "us_per_step": us_per_step,
        "gflops": gflops,
        "percent_of_peak": 100 * gflops / now.gflops,
    }
