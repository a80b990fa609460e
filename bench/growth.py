"""How the cost of a step grows with width, batch and depth, and whether it falls off a cliff.

    taskset -c 1 python bench/growth.py [--json] [--plot FILE.png]

What belongs here: per cent of the FMA peak (measured right before each point) of training, float32,
SGD, relu, one core, along three lines of networks; in time of the CPU, so that another process on
the core costs its caches and no more. A cliff is a point below 60 % of the better of its two
neighbours, measured twice; the exit code is 1 where there is one. What does not: other libraries
(compare.py), several threads (threads.py). Takes about a minute.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import sys
import time
from dataclasses import asdict, dataclass

import numpy as np

import fastbp
from fastbp.benchmark import peak_gflops
from fastbp.kernels import dispatch

FITS = 5  # a point; their median counts
SECONDS = 0.1  # each fit, at least
STEPS = 60  # each fit, at least: what is before the first step is below 1 %
CLIFF = 0.6

# powers of two, and what lies awkwardly between them for vectors and tiles
WIDTHS = (8, 9, 10, 12, 14, 16, 17, 20, 24, 32, 33, 40, 48, 64, 65, 80, 96, 100, 128, 192, 200, 256,
          384, 512, 768, 1000, 1024, 1536, 2048)  # fmt: skip
BATCHES = (1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 14, 15, 16, 17, 24, 32, 33, 48, 64, 65, 100, 128, 192,
           256, 512, 1000, 1024)  # fmt: skip
DEPTHS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
LINES = {  # what grows: the networks and batches along it
    "width": {w: ([w, w, w], 64) for w in WIDTHS},
    "batch": {m: ([256, 256, 10], m) for m in BATCHES},
    "depth": {L: ([64] * (L + 1), 64) for L in DEPTHS},
}


@dataclass
class Point:
    """One network and batch: its step, measured."""

    grows: str
    at: int
    sizes: list[int]
    batch: int
    us_per_step: float = math.inf
    percent_of_peak: float = 0.0

    def measure(self) -> None:
        """Keep the better of this and an earlier measurement."""
        peak = peak_gflops("float32")
        us = us_per_step(self.sizes, self.batch)
        percent = 100 * flops(self.sizes, self.batch) / us / 1e3 / peak
        if percent > self.percent_of_peak:
            self.us_per_step, self.percent_of_peak = us, percent


def flops(sizes: list[int], batch: int) -> int:
    """Of the three products of a step; no gradient of the input is formed."""
    weights = [a * b for a, b in itertools.pairwise(sizes)]
    return 2 * batch * (3 * sum(weights) - weights[0])


def us_per_step(sizes: list[int], batch: int) -> float:
    """Microseconds of CPU time."""
    # so few samples that they stay in the second-level cache where a batch of them does
    steps = max(1, min(20, 2**17 // (batch * sizes[0])))
    rng = np.random.default_rng(0)
    X = rng.random((batch * steps, sizes[0]), dtype=np.float32)
    Y = rng.random((batch * steps, sizes[-1]), dtype=np.float32)
    net = fastbp.Network(
        sizes, activation="relu", output="identity", loss="quadratic", init="he_normal", seed=0
    )

    def seconds(epochs: int) -> float:
        optimizer = fastbp.SGD(1e-4)  # so small that nothing diverges
        began = time.process_time()
        net.fit(X, Y, epochs=epochs, batch_size=batch, optimizer=optimizer, threads=1, seed=0)
        return time.process_time() - began

    epochs = math.ceil(STEPS / steps)
    while (took := seconds(epochs)) < SECONDS / 2:
        epochs = math.ceil(epochs * min(10.0, SECONDS / max(took, 1e-6)))
    return statistics.median(seconds(epochs) for _ in range(FITS)) / (epochs * steps) * 1e6


def cliffs(line: list[Point]) -> list[Point]:
    """Points below CLIFF of the better of their neighbours.

    The first has no smaller one, and may rise: one sample reads as many weights as two do.
    """
    found = []
    for i, point in enumerate(line[1:], 1):
        beside = line[i - 1 : i] + line[i + 1 : i + 2]
        if point.percent_of_peak < CLIFF * max(p.percent_of_peak for p in beside):
            found.append(point)
    return found


def table(line: list[Point]) -> str:
    """A table in Markdown."""
    rows = [
        f"| {line[0].grows} | network, batch | µs a step | % of the FMA peak |",
        "|--:|---|--:|--:|",
    ]
    for p in line:
        layers = "-".join(map(str, p.sizes)) if len(p.sizes) < 6 else f"{len(p.sizes) - 1} × 64"
        rows.append(
            f"| {p.at} | {layers}, {p.batch} | {p.us_per_step:.2f} | {p.percent_of_peak:.0f} |"
        )
    return "\n".join(rows)


def plot(lines: dict[str, list[Point]], path: str) -> None:
    """Three panels: per cent of the peak against width, batch and depth."""
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 3, sharey=True, figsize=(12, 4), layout="constrained")
    titles = {
        "width": "w-w-w, batch 64",
        "batch": "256-256-10",
        "depth": "depth layers of 64, batch 64",
    }
    for ax, (grows, line) in zip(panels, lines.items(), strict=True):
        ax.plot([p.at for p in line], [p.percent_of_peak for p in line], "o-", markersize=3)
        ax.set_xscale("log", base=2)
        ax.set_xlabel(grows)
        ax.set_title(titles[grows])
        ax.set_ylim(0, 100)
        ax.grid(alpha=0.3)
    panels[0].set_ylabel("% of the FMA peak")
    figure.suptitle(f"A step of training: relu, SGD, float32, one core, {dispatch.level}")
    figure.savefig(path, dpi=150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON and no tables")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the three lines (extra: plot)")
    options = parser.parse_args()
    if options.plot:
        try:
            import matplotlib
        except ImportError:
            print("--plot: needs matplotlib: pip install '.[plot]'", file=sys.stderr)
            return 2
        matplotlib.use("Agg")

    lines = {
        grows: [Point(grows, at, sizes, batch) for at, (sizes, batch) in networks.items()]
        for grows, networks in LINES.items()
    }
    fallen = []
    for line in lines.values():
        for point in line:
            point.measure()
        for point in cliffs(line):  # a neighbour on the machine makes one too
            point.measure()
        fallen += cliffs(line)
        if not options.json:
            print(table(line), end="\n\n", flush=True)

    if options.json:
        found = {
            "level": dispatch.level,
            "lines": {grows: [asdict(p) for p in line] for grows, line in lines.items()},
            "cliffs": [asdict(p) for p in fallen],
        }
        print(json.dumps(found, indent=1))
    else:
        names = ", ".join(f"{p.grows} {p.at} ({p.percent_of_peak:.0f} %)" for p in fallen)
        print(f"cliffs, below {CLIFF:.0%} of the better neighbour: {names or 'none'}")
    if options.plot:
        plot(lines, options.plot)
    return 1 if fallen else 0


if __name__ == "__main__":
    sys.exit(main())
