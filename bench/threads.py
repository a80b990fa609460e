"""Two threads against one, and two threads among busy neighbours, in one run.

    python bench/threads.py [--json] [--rounds 9]       # needs two cores of its own

What belongs here: what `threads` changes. Large networks: the time of threads=2 over that of
threads=1. Small ones: threads=None over threads=1, which is to be 1.02 at most, for it has nothing
to gain and must not lose. Neighbours: threads=2 beside one spinning process a core, over the fair
share (half of each core: twice the time without them), to be 1.3 at most. Exit code 1 where one of
these limits is missed. What does not: other libraries (compare.py), one core (growth.py).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

from fastbp.benchmark import CASES, Case
from fastbp.kernels import dispatch

LARGE = ("F", "B", "D")  # of fastbp.benchmark
SMALL = ("A", "C", "E")
SECONDS = 0.2  # each fit; beside neighbours twice that, many turns of the scheduler
SMALL_LIMIT = 1.02
FAIR_LIMIT = 1.3

Fit = Callable[[int | None], float]


def timed_fit(case: Case, at_least: float = SECONDS) -> Fit:
    """Return a function of `threads`: seconds a step of a fit that takes long enough."""
    X, Y = case.data()
    net = case.network()

    def seconds(threads: int | None, epochs: int) -> float:
        began = time.perf_counter()
        net.fit(X, Y, epochs=epochs, batch_size=case.batch, optimizer=case.optimizer,
                threads=threads, seed=0)  # fmt: skip
        return time.perf_counter() - began

    epochs = 1
    while (took := seconds(1, epochs)) < at_least / 2:
        epochs = math.ceil(epochs * min(10.0, at_least / took))
    return lambda threads: seconds(threads, epochs) / (epochs * case.steps)


def against_one(fit: Fit, threads: int | None, rounds: int) -> dict[str, float]:
    """Medians of rounds in turn; the ratio is of each pair, so a slower moment counts for both."""
    one, other = [], []
    for i in range(rounds):
        for choice in ((1, threads), (threads, 1))[i % 2]:
            (one if choice == 1 else other).append(fit(choice))
    pairs = zip(other, one, strict=True)
    return {
        "us_per_step_one": 1e6 * statistics.median(one),
        "us_per_step": 1e6 * statistics.median(other),
        "ratio": statistics.median(b / a for b, a in pairs),
    }


@contextlib.contextmanager
def busy_neighbours(cores: list[int]) -> Iterator[None]:
    """One process on each core that never rests."""
    spin = (
        "import os, sys; os.sched_setaffinity(0, {int(sys.argv[1])}); print(flush=True)\nwhile 1: 0"
    )
    spinning = [
        subprocess.Popen([sys.executable, "-c", spin, str(core)], stdout=subprocess.PIPE)
        for core in cores
    ]
    try:
        for process in spinning:
            assert process.stdout is not None
            process.stdout.readline()  # it is up
        yield
    finally:
        for process in spinning:
            process.kill()
            process.communicate()


def beside_neighbours(fit: Fit, cores: list[int], rounds: int) -> dict[str, float]:
    """threads=2 over its fair share, without and with neighbours in turn."""
    alone, beside = [], []
    for _ in range(rounds):
        alone.append(fit(2))
        with busy_neighbours(cores):
            beside.append(fit(2))
    ratios = [b / (2 * a) for b, a in zip(beside, alone, strict=True)]
    return {
        "us_per_step_alone": 1e6 * statistics.median(alone),
        "us_per_step": 1e6 * statistics.median(beside),
        "ratio": statistics.median(ratios),
    }


def row(name: str, cells: dict[str, float], limit: float | None = None) -> str:
    """A line of a table in Markdown."""
    first, second, ratio = cells.values()
    missed = f" (limit {limit})" if limit is not None and ratio > limit else ""
    return f"| {name} {CASES[name].title} | {first:.2f} | {second:.2f} | {ratio:.3f}{missed} |"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print JSON and no tables")
    parser.add_argument("--rounds", type=int, default=9, help="of each pair (default 9)")
    options = parser.parse_args()
    if options.rounds < 1:
        parser.error(f"--rounds: expected at least 1; got {options.rounds}")
    if not hasattr(os, "sched_getaffinity"):
        parser.error("needs os.sched_setaffinity (Linux)")
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        parser.error(f"needs two cores; this process may use core {cores[0]} only")
    os.sched_setaffinity(0, set(cores))  # a third core would be no neighbour's

    found: dict[str, dict[str, dict[str, float]]] = {"two": {}, "none": {}, "neighbours": {}}
    say = (lambda line: None) if options.json else (lambda line: print(line, flush=True))

    say("| two threads | threads=1, µs a step | threads=2, µs a step | ratio |\n|---|--:|--:|--:|")
    for name in LARGE:
        found["two"][name] = against_one(timed_fit(CASES[name]), 2, options.rounds)
        say(row(name, found["two"][name]))
    say("\n| small | threads=1, µs a step | threads=None, µs a step | ratio |\n|---|--:|--:|--:|")
    for name in SMALL:
        found["none"][name] = against_one(timed_fit(CASES[name]), None, options.rounds)
        say(row(name, found["none"][name], SMALL_LIMIT))
    say("\n| neighbours | alone, µs a step | beside them, µs a step | over the fair share |")
    say("|---|--:|--:|--:|")
    for name in LARGE:
        fit = timed_fit(CASES[name], 2 * SECONDS)
        found["neighbours"][name] = beside_neighbours(fit, cores, options.rounds)
        say(row(name, found["neighbours"][name], FAIR_LIMIT))

    if options.json:
        print(json.dumps({"level": dispatch.level, **found}, indent=1))
    limits = {"none": SMALL_LIMIT, "neighbours": FAIR_LIMIT}
    missed = [
        c for kind, limit in limits.items() for c in found[kind].values() if c["ratio"] > limit
    ]
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
