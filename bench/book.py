"""The book's experiments, repeated: published beside ours.

    python bench/book.py [NAME...|all] [--baseline] [--seeds 5] [--output FOLDER]

What belongs here: every run of M. Nielsen, Neural Networks and Deep Learning (2015), with fully
connected networks: its settings, what was published, how near we come. What does not: the images
(mnist.py), the book's own draws and program (book_program.py), pictures (book_figures.py).

A run whose seed the book gives is replayed image for image in float64, and counts of correct images
must be the same, epoch by epoch. The others are made in float32 with fastbp's own order, from
several seeds, as many at a time as there are cores. Prints a table; writes book.json and a picture
for each chapter to the folder. Exit code 1 where a result is not within its tolerance, 2 where the
images cannot be had. All of it takes three minutes on two idle cores.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import book_program
import fastbp
import mnist
from fastbp.callbacks import DeltaNorms

PUBLISHED = Path(__file__).parent / "published"
BATCH_SIZE = 10
BEST_OF = 3  # runs that the book's first chapter took the best of
POINTS = 0.4  # per cent: how far a mean of several seeds may lie from a published accuracy
DRIFT = 0.15  # points: mean distance of a replay's epochs from the published, where rounding drifts
BASELINE_IMAGES = 2000


@dataclass(frozen=True)
class Experiment:
    """One run of the book.

    Attributes
    ----------
    published : tuple of float
        Accuracies in per cent: one, the best of the run; two, its first and last epoch.
    on : "test" or "validation"
    n : int
        Training images, the first of the 50,000.
    judged : bool
        False where the book shows only what a run looks like: one seed, any result.
    replay : str
        Name of the replay, of one or two runs in turn, that this is a part of; "" for none.
    """

    chapter: int
    sizes: tuple[int, ...]
    rate: float
    published: tuple[float, ...]
    l2: float = 0.0
    loss: str = "binary_cross_entropy"
    init: str = "large"
    epochs: int = 30
    n: int = 50_000
    on: str = "test"
    judged: bool = True
    replay: str = ""

    def network(self, dtype: str, seed: int) -> fastbp.Network:
        return fastbp.Network(
            self.sizes,
            output="sigmoid",
            loss=self.loss,
            init=self.init,
            dtype=dtype,
            seed=seed,
        )

    def fit(self, net: fastbp.Network, X: Any, Y: Any, **options: Any) -> fastbp.History:
        return net.fit(
            X[: self.n],
            Y[: self.n],
            epochs=self.epochs,
            batch_size=BATCH_SIZE,
            optimizer=fastbp.SGD(self.rate),
            l2=self.l2,
            threads=1,
            **options,
        )


def _deep(n_hidden: int, published: float) -> Experiment:
    sizes = (784, *[30] * n_hidden, 10)
    return Experiment(5, sizes, 0.1, (published,), l2=5.0, init="scaled", on="validation")


def _weights(n_hidden: int, init: str, published: tuple[float, float]) -> Experiment:
    return Experiment(
        3, (784, n_hidden, 10), 0.1, published, 5.0, init=init, on="validation",
        replay=f"weight_initialization_{n_hidden}",
    )  # fmt: skip


_30, _100 = (784, 30, 10), (784, 100, 10)

EXPERIMENTS = {
    "chapter1-30": Experiment(1, _30, 3.0, (95.42,), loss="quadratic"),
    "chapter1-100": Experiment(1, _100, 3.0, (96.59,), loss="quadratic"),
    "chapter1-slow": Experiment(1, _100, 0.001, (11.39, 21.42), loss="quadratic", judged=False),
    "chapter1-fast": Experiment(1, _30, 100.0, (10.09,), loss="quadratic", judged=False),
    "chapter3-30": Experiment(3, _30, 0.5, (95.49,)),
    "chapter3-100": Experiment(3, _100, 0.5, (96.82,)),
    "overfitting": Experiment(3, _30, 0.5, (82.27,), epochs=400, n=1000, replay="overfitting"),
    "overfitting-l2": Experiment(
        3, _30, 0.5, (87.10,), l2=0.1, epochs=400, n=1000, replay="overfitting_l2"
    ),
    "overfitting-full": Experiment(3, _30, 0.5, (95.33,), replay="overfitting_full"),
    "overfitting-full-l2": Experiment(3, _30, 0.5, (96.49,), 5.0, replay="overfitting_full_l2"),
    "chapter3-100-l2": Experiment(3, _100, 0.5, (97.92,), 5.0, on="validation"),
    "chapter3-100-60": Experiment(
        3, _100, 0.1, (98.04,), 5.0, init="scaled", epochs=60, on="validation"
    ),
    "weights-30-scaled": _weights(30, "scaled", (92.70, 96.50)),
    "weights-30-large": _weights(30, "large", (86.43, 96.37)),
    "weights-100-scaled": _weights(100, "scaled", (92.95, 97.81)),
    "weights-100-large": _weights(100, "large", (89.94, 97.42)),
    "chapter5-1": _deep(1, 96.48),
    "chapter5-2": _deep(2, 96.90),
    "chapter5-3": _deep(3, 96.57),
    "chapter5-4": _deep(4, 96.53),
}

DARKNESS, SPEEDS = "darkness", "chapter5-speeds"
NAMES = (DARKNESS, *EXPERIMENTS, SPEEDS)

# Chapter 5, unseeded: the norm of the mean of delta by hidden layer, at the start
PUBLISHED_SPEEDS = {2: (0.07, 0.31), 3: (0.012, 0.060, 0.283), 4: (0.003, 0.017, 0.070, 0.285)}


@dataclass
class Row:
    """What came of one experiment.

    Attributes
    ----------
    ours : list of float
        As `Experiment.published`; means over seeds.
    seconds, epochs_per_second : float
        Of training on one core; evaluation apart. Medians over seeds.
    times_book : float or None
        The book's program's time an epoch over ours.
    verdict : str
        How near it came.
    curves : list of dict
        One value an epoch by name: a dict a seed, or the one of a replay.
    """

    name: str
    settings: str
    published: list[float]
    ours: list[float]
    verdict: str
    ok: bool = True
    seconds: float | None = None
    epochs_per_second: float | None = None
    times_book: float | None = None
    curves: list[dict[str, list[float]]] = field(default_factory=list)


# runs


def correct(net: fastbp.Network, images: mnist.Images) -> int:
    return int((net.predict(images.X).argmax(axis=1) == images.Y).sum())


def best_or_ends(e: Experiment, accuracies: list[float]) -> list[float]:
    """Accuracies of a run as the book gave them."""
    if len(e.published) == 1:
        return [max(accuracies)]
    return [accuracies[0], accuracies[-1]]


def within(ours: list[float], published: tuple[float, ...], tolerance: float) -> bool:
    pairs = zip(ours, published, strict=True)
    return all(round(abs(a - b), 6) <= tolerance for a, b in pairs)


def run_seeds(name: str, data: mnist.Mnist, n_seeds: int) -> Row:
    """Train from several seeds in float32."""
    e = EXPERIMENTS[name]
    held_out = getattr(data, e.on)
    stop = threading.Event()

    def train(seed: int) -> fastbp.History:
        net = e.network("float32", seed)
        options = {"validation": tuple(held_out), "callbacks": [lambda event: stop.is_set()]}
        return e.fit(net, *data.training, seed=seed, **options)

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ThreadPoolExecutor(cores) as pool:  # each run on a core of its own
        try:
            histories = list(pool.map(train, range(n_seeds if e.judged else 1)))
        except BaseException:  # Ctrl-C
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    curves = [
        {
            "accuracy": (100 * history["validation_accuracy"]).tolist(),
            "loss": history["validation_loss"].tolist(),
        }
        for history in histories
    ]
    ends = [best_or_ends(e, curve["accuracy"]) for curve in curves]
    seconds = [history.seconds for history in histories]
    ours = [statistics.mean(values) for values in zip(*ends, strict=True)]
    if not e.judged:
        verdict, ok = "the book shows its shape only", True
    elif e.chapter == 1:
        best = max(end[-1] for end in ends[:BEST_OF])
        ok = within([best], e.published, POINTS)
        verdict = f"best of {min(BEST_OF, n_seeds)}: {best:.2f}"
    else:
        ok = within(ours, e.published, POINTS)
        verdict = f"{ours[-1] - e.published[-1]:+.2f}, mean of {n_seeds}"
    return timed(Row(name, settings(e, "float32"), list(e.published), ours, verdict, ok), e,
                 curves, statistics.median(seconds))  # fmt: skip


def timed(row: Row, e: Experiment, curves: list[dict[str, list[float]]], seconds: float) -> Row:
    row.curves, row.seconds, row.epochs_per_second = curves, seconds, e.epochs / seconds
    return row


def published_curves(name: str) -> dict[str, list[float]]:
    """The lists in published/ that belong to a run, by name; none where there is no file."""
    path = PUBLISHED / f"{EXPERIMENTS[name].replay}.json"
    if not path.is_file():
        return {}
    found = json.loads(path.read_text())
    if isinstance(found, dict):
        init = {"scaled": "default", "large": "large"}[EXPERIMENTS[name].init]
        found = found[f"{init}_weight_initialization"]
    names = ("cost", "correct", "training_cost", "training_correct")
    return {key: values for key, values in zip(names, found, strict=True) if values}


def run_replay(names: list[str], data: mnist.Mnist) -> list[Row]:
    """Repeat the runs of one program of the book, one after the other, image for image."""
    first = EXPERIMENTS[names[0]]
    program = book_program.Program(list(first.sizes), first.n)
    rows = []
    for name in names:
        e = EXPERIMENTS[name]
        net = e.network("float64", 0)
        net.parameters = program.initial(e.init)
        held_out = getattr(data, e.on)
        training = mnist.Images(*(part[: e.n] for part in data.training))
        measures: dict[str, Callable[[], float]] = {
            "cost": lambda net=net, e=e, held_out=held_out: net.loss(*held_out, l2=e.l2),
            "correct": lambda net=net, held_out=held_out: correct(net, held_out),
            "training_cost": lambda net=net, e=e, data=training: net.loss(*data, l2=e.l2),
            "training_correct": lambda net=net, data=training: correct(net, data),
        }
        theirs = published_curves(name)
        ours: dict[str, list[float]] = {key: [] for key in theirs or ("correct",)}

        def record(event: object, ours=ours, measures=measures) -> None:
            for key, values in ours.items():
                values.append(measures[key]())

        history = e.fit(net, *training, shuffle=program.order, callbacks=[record])
        accuracies = [100 * count / len(held_out.Y) for count in ours["correct"]]
        ends = best_or_ends(e, accuracies)
        sizes = {"correct": len(held_out.Y), "training_correct": len(training.Y)}
        verdict, ok = judged_replay(e, ends, ours, theirs, sizes)
        row = Row(name, settings(e, "float64"), list(e.published), ends, verdict, ok)
        rows.append(timed(row, e, [{"accuracy": accuracies, **ours}], history.seconds))
    return rows


def judged_replay(e, ends, ours, theirs, sizes) -> tuple[str, bool]:
    """How far a replay is from what was published, and whether that is near enough.

    1,000 images: every count and, to 1e-9, every cost. 50,000: the counts of the first 3 epochs;
    then rounding has grown to whole images (initial weights that differ in their last bit end as
    far apart), and the epochs are held to DRIFT in the mean. Without published curves: the
    accuracies in the text.
    """
    if not theirs:
        ok = within(ends[:-1], e.published[:-1], 0) and within(ends[-1:], e.published[-1:], DRIFT)
        return "as published" if within(ends, e.published, 0) else "differs", ok
    must = e.epochs if e.n == 1000 else 3
    same, off, drift, most = e.epochs, 0.0, 0.0, 0.0
    for key, values in theirs.items():
        differences = np.abs(np.subtract(ours[key], values[: e.epochs]))
        if key in sizes:
            equal = differences == 0
            same = min(same, e.epochs if equal.all() else int(equal.argmin()))
            apart = 100 * differences / sizes[key]
            drift, most = max(drift, apart.mean()), max(most, apart.max())
        elif e.n == 1000:
            off = max(off, float(differences.max()))
    ok = bool(same >= must and drift <= DRIFT and off <= 1e-9)
    verdict = f"{same} of {e.epochs} epochs identical"
    if same < e.epochs:
        verdict += f", in the mean {drift:.2f} points apart, at most {most:.2f}"
    elif e.n == 1000:
        verdict += f", costs to {off:.0e}"
    return verdict, ok


def settings(e: Experiment, dtype: str) -> str:
    """One run in a few words."""
    words = ["-".join(map(str, e.sizes)), f"{e.n:,} images", f"{e.epochs} epochs", f"η {e.rate:g}"]
    words += [f"λ {e.l2:g}"] if e.l2 else []
    cost = "quadratic" if e.loss == "quadratic" else "cross-entropy"
    return ", ".join([*words, cost, e.init, dtype])


def run_darkness(data: mnist.Mnist) -> Row:
    """Chapter 1's first guess: the digit whose mean darkness is nearest to the image's."""
    darkness = data.training.X.sum(axis=1, dtype=np.float64)
    means = np.array([darkness[data.training.Y == digit].mean() for digit in range(10)])
    of_test = data.test.X.sum(axis=1, dtype=np.float64)
    guess = np.abs(of_test[:, None] - means).argmin(axis=1)
    ours = 100 * float((guess == data.test.Y).mean())
    verdict = "as published" if round(ours, 2) == 22.25 else "differs"
    return Row(DARKNESS, "no network", [22.25], [ours], verdict, verdict == "as published")


def run_speeds(data: mnist.Mnist, n_seeds: int) -> Row:
    """Chapter 5: delta by layer at the start, and through 500 epochs of the deepest network."""
    first = mnist.Images(*(part[:1000] for part in data.training))
    curves, ok = [], True
    for n_hidden in PUBLISHED_SPEEDS:
        e = _deep(n_hidden, 0.0)
        starts = DeltaNorms(*first)
        for seed in range(n_seeds):
            starts.record(e.network("float32", seed))
        ours = np.median(starts.norms, axis=0)[:-1]  # hidden layers
        ok &= bool((np.diff(ours) > 0).all())
        curves.append({"published": list(PUBLISHED_SPEEDS[n_hidden]), "ours": ours.tolist()})
    net, speeds = e.network("float32", 0), DeltaNorms(*first)
    speeds.record(net)
    history = net.fit(*first, epochs=500, batch_size=1000, optimizer=fastbp.SGD(e.rate), l2=e.l2,
                      shuffle=False, callbacks=[speeds], threads=1)  # fmt: skip
    curves.append({f"layer {l}": column.tolist() for l, column in enumerate(speeds.norms.T, 1)})
    shown = "norm of mean delta of hidden layers 1 to 4, median of seeds, 1,000 images, float32"
    row = Row(SPEEDS, shown, list(PUBLISHED_SPEEDS[4]), ours.tolist(),
              "rises with every layer" if ok else "does not rise with every layer", ok)  # fmt: skip
    row.curves, row.seconds, row.epochs_per_second = curves, history.seconds, 500 / history.seconds
    return row


@functools.cache
def book_seconds_per_epoch(sizes: tuple[int, ...], loss: str, n: int) -> float:
    """What the book's program takes, from so many images of an epoch."""
    e = Experiment(0, sizes, 0.1, (), loss=loss)
    net = e.network("float64", 0)
    weights, biases = [W.T.copy() for W in net.weights], [b[:, None].copy() for b in net.biases]
    rng = np.random.default_rng(0)
    n_measured = min(n, BASELINE_IMAGES)
    X, Y = rng.random((n_measured, sizes[0])), rng.integers(0, 10, n_measured)
    began = time.perf_counter()
    book_program.epoch(weights, biases, X, Y, range(n_measured), BATCH_SIZE, e.rate, 0.0, loss)
    return (time.perf_counter() - began) * n / n_measured


# what is shown


def table_line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def shown(row: Row) -> str:
    def numbers(values: list[float]) -> str:
        digits = ".3f" if row.name == SPEEDS else ".2f"
        return " → ".join(format(value, digits) for value in values)

    def number(value: float | None, digits: str) -> str:
        return "–" if value is None else format(value, digits)

    return table_line(
        row.name,
        row.settings,
        numbers(row.published),
        numbers(row.ours),
        number(row.seconds, ".2f"),
        number(row.epochs_per_second, ".1f"),
        *([number(row.times_book, ",.0f") + "×" * (row.times_book is not None)]),
        row.verdict if row.ok else f"**{row.verdict}**",
    )


def results(names: list[str], n_seeds: int) -> Iterator[Row]:
    """Rows as they are ready. A replay of two runs gives both."""
    data = mnist.load("float32")
    data_64 = None
    done: set[str] = set()
    for name in names:
        if name in done:
            continue
        if name == DARKNESS:
            rows = [run_darkness(data)]
        elif name == SPEEDS:
            rows = [run_speeds(data, n_seeds)]
        elif EXPERIMENTS[name].replay:
            if data_64 is None:
                data_64 = mnist.Mnist(
                    *(mnist.Images(part.X.astype("float64"), part.Y) for part in data)
                )
            replay = EXPERIMENTS[name].replay
            rows = run_replay([k for k, e in EXPERIMENTS.items() if e.replay == replay], data_64)
        else:
            rows = [run_seeds(name, data, n_seeds)]
        done |= {row.name for row in rows}
        yield from rows


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"all, {', '.join(NAMES)}")
    parser.add_argument("--baseline", action="store_true", help="time the book's program too")
    parser.add_argument("--seeds", type=int, default=5, help="of runs that are no replays")
    parser.add_argument("--output", type=Path, default=Path("book-results"), metavar="FOLDER")
    options = parser.parse_args(argv)
    names = list(NAMES) if options.names in ([], ["all"]) else options.names
    unknown = [name for name in names if name not in NAMES]
    if unknown or options.seeds < 1:
        what = f"NAME: {', '.join(unknown)}" if unknown else "--seeds: below 1"
        parser.error(f"{what}; expected all, or some of {', '.join(NAMES)}; seeds from 1")
    try:
        import book_figures
    except ImportError:
        parser.error("pictures need matplotlib: pip install '.[bench]'")

    began = time.perf_counter()
    print(table_line("run", "settings", "published %", "ours %", "training, s", "epochs/s",
                     "the book's program", "verdict"))  # fmt: skip
    print(table_line("---", "---", "--:", "--:", "--:", "--:", "--:", "---"), flush=True)
    rows = []
    try:
        for row in results(names, options.seeds):
            e = EXPERIMENTS.get(row.name)
            if options.baseline and e is not None and row.seconds:
                theirs = book_seconds_per_epoch(e.sizes, e.loss, e.n)
                row.times_book = theirs * e.epochs / row.seconds
            rows.append(row)
            print(shown(row), flush=True)
    except mnist.NoData as error:
        print(error, file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    document = {"fastbp": fastbp.__version__, "rows": [vars(row) for row in rows]}
    (options.output / "book.json").write_text(json.dumps(document, indent=1, ensure_ascii=False))
    pictures = book_figures.draw(rows, EXPERIMENTS, published_curves, options.output)
    print(f"\n{time.perf_counter() - began:.0f} s; {options.output}: book.json, "
          + ", ".join(path.name for path in pictures))  # fmt: skip
    return 0 if all(row.ok for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
