"""Two builds of fastbp in turn, in one run: what a change gains or loses, and whether bits differ.

    python bench/compare.py --against BUILD

What belongs here: the processes of the builds, what each is asked, their ratios. What does not: the
cases and one build's timing (fastbp/benchmark.py), options and tables (compare.py).

Run as a program this file is the process of one build: it answers requests, a line of JSON each.
It asks its fastbp for no more than what has been in fastbp.benchmark for long, so that old builds
can answer, too.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUND_SECONDS = 0.1  # of one side, at least
# batch and steps an epoch of training on images, of which many columns are 0 in a whole batch
IMAGES = {"images, batch 10": (10, 200), "images, batch 64": (64, 32)}
# what is asked beside the training of every case: what a call costs before its first step, and rows
CALLS = {
    "small fit": ("fit", "E"),
    "one row of C": ("predict", "C"),
    "one row of B": ("predict", "B"),
    **{name: ("images", "A") for name in IMAGES},
}


def command_of(build):
    """(arguments, environment) of Python with this build; build: as --against takes it."""
    path = Path(build)
    environment = {name: x for name, x in os.environ.items() if name != "PYTHONPATH"}
    if (path / "fastbp" / "__init__.py").is_file():
        return [sys.executable], environment | {"PYTHONPATH": str(path.resolve())}
    for python in (path, path / "bin" / "python", path / "Scripts" / "python.exe"):
        if python.is_file() and os.access(python, os.X_OK):
            return [str(python.absolute())], environment
    raise ValueError(
        "expected a Python that has fastbp, its virtual environment, or the folder that a built "
        f"fastbp lies in; got {build}"
    )


class Side:
    """A process of one build, and the seconds that each of its rounds took."""

    def __init__(self, build):
        arguments, environment = command_of(build)
        self.process = subprocess.Popen(
            [*arguments, __file__],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.seconds, self.numbers = [], []
        try:
            self.about = self.ask({})
        except RuntimeError as error:
            self.end()
            raise RuntimeError(f"{build}: {error}") from None

    def ask(self, request):
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it has ended, so that there is no answer either
        answer = self.process.stdout.readline()
        if not answer:
            raise RuntimeError("this build's process ended; what it said stands above")
        return json.loads(answer)

    def run(self, times):
        answer = self.ask({"times": times})
        self.numbers += answer["numbers"]
        return answer["seconds"]

    def end(self):
        self.process.communicate()  # it reads to the end of what it is asked


def images(n):
    """Grey strokes on black (n, 784), from a seed: two arcs each, 28 pixels wide and high.

    Made to have as many columns that are not 0 in a whole batch as MNIST's training images: of
    batches of 1, 10, 32, 64, 128 rows 19, 49, 58, 63, 67 %.
    """
    import numpy as np

    rng = np.random.default_rng(0)
    y, x = np.divmod(np.arange(784), 28)
    X = np.zeros((n, 784), np.float32)
    for _ in range(2):
        center = 13.5 + 1.3 * rng.standard_normal((2, n, 1))
        radius = rng.uniform(2, 8.8, (2, n, 1))
        dy, dx = y - center[0], x - center[1]
        off = abs(np.hypot(dy / radius[0], dx / radius[1]) - 1) * np.sqrt(radius[0] * radius[1])
        arc = np.cos(np.arctan2(dy, dx) - rng.uniform(0, 2 * np.pi, (n, 1))) > -0.3
        X = np.maximum(X, np.clip(1.5 - off / 1.5, 0, 1) * arc)
    return X


def compare(ours, other, case, dtype, rounds, what="train"):
    """Time `what` in both builds, and in a second process of ours: nothing differs but chance.

    Returns what of the three sides took in every round, in microseconds; the medians; the ratio of
    ours to the other's, and of ours to itself with the middle half of its rounds; how far the
    numbers are from each other.
    """
    sides = {}
    try:
        for name, build in (("ours", ours), ("other", other), ("again", ours)):
            sides[name] = Side(build)
        request = {
            "what": what,
            "case": {
                name: getattr(case, name) for name in ("sizes", "activation", "batch", "steps")
            },
            "optimizer": type(case.optimizer).__name__,
            "learning_rate": case.optimizer.learning_rate,
            "dtype": dtype,
        }
        for side in sides.values():
            side.ask(request)
            side.run(1)  # what is allocated at first
        slowest = max(side.run(1) for side in sides.values())
        times = math.ceil(ROUND_SECONDS / slowest)
        for number in range(rounds + 1):
            order = list(sides) if number % 2 else list(reversed(sides))
            for name in order:
                sides[name].seconds.append(sides[name].run(times))
    finally:
        for side in sides.values():
            side.end()
    us = {  # the first round warms up
        name: [
            x / (times * (case.steps if what in ("train", "images") else 1)) * 1e6
            for x in side.seconds[1:]
        ]
        for name, side in sides.items()
    }
    ratios = {
        name: [a / b for a, b in zip(us["ours"], us[name], strict=True)]
        for name in ("other", "again")
    }
    return {
        "rounds": us,
        "us": {name: statistics.median(values) for name, values in us.items()},
        "ratio": statistics.median(ratios["other"]),
        "noise": statistics.median(ratios["again"]),
        "noise_quartiles": quartiles(ratios["again"]),
        "differs": apart(sides["ours"].numbers, sides["other"].numbers),
        "builds": {name: sides[name].about for name in ("ours", "other")},
    }


def quartiles(values):
    if len(values) == 1:
        return values * 2
    first, _, third = statistics.quantiles(values, n=4, method="inclusive")
    return [first, third]


def apart(ours, other):
    """The largest relative difference; 0 where all bits are the same."""
    return max(
        (abs(a - b) / max(abs(a), sys.float_info.min) for a, b in zip(ours, other, strict=True)),
        default=0.0,
    )


# the process of one build


def asked(request):
    """Return the function that makes what is asked so many times, and returns its numbers."""
    import fastbp
    from fastbp import benchmark

    optimizer = getattr(fastbp, request["optimizer"])(request["learning_rate"])
    case = benchmark.Case(**request["case"] | {"optimizer": optimizer})
    net, (X, Y) = case.network(request["dtype"]), case.data(request["dtype"])
    if request["what"] == "images":
        X = images(len(Y)).astype(request["dtype"])
        Y = X[:, ::79].argmax(axis=1) % 10
    if request["what"] in ("train", "images"):
        return benchmark.fastbp_side(case, net, X, Y)
    one_batch, row = (X[: case.batch], Y[: case.batch]), X[:1]
    options = {"epochs": 1, "batch_size": case.batch, "optimizer": optimizer, "threads": 1}

    def fit(times):
        for _ in range(times):
            history = net.fit(*one_batch, shuffle=False, **options)
        return history["loss"].tolist()

    def predict(times):
        for _ in range(times):
            out = net.predict(row)
        return out.ravel().tolist()

    return {"fit": fit, "predict": predict}[request["what"]]


def answer():
    """Answer requests until there are no more."""
    import time

    import fastbp
    from fastbp.kernels import dispatch

    run = None
    for line in sys.stdin:
        request = json.loads(line)
        if "times" in request:
            began = time.perf_counter()
            numbers = run(request["times"])
            took = time.perf_counter() - began
            said = {"seconds": took, "numbers": numbers}
        elif request:
            run, said = asked(request), {}
        else:
            said = {
                "version": fastbp.__version__,
                "level": dispatch.level,
                "folder": str(Path(fastbp.__file__).parents[1]),
            }
        print(json.dumps(said), flush=True)


if __name__ == "__main__":
    answer()
