"""``fastbp train`` of Parquet that is larger than memory: one network, chunk by chunk.

What belongs here: when that is so, targets and encoder in passes of their own, the report. What
does not: chunks (fastbp/data/), tables that fit (train.py, tabular.py).
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

import numpy as np

import fastbp
from fastbp.cli.options import OF_ONE_NETWORK
from fastbp.cli.output import check_writable, fail, print_json, progress_bar, say
from fastbp.cli.report import baseline, dense, gradient_check, tell_scores, worst_fitted
from fastbp.cli.scores import scores
from fastbp.data.parquet import ParquetChunks
from fastbp.datasets.dataset import Array
from fastbp.optimizers import OPTIMIZERS
from fastbp.tabular import Encoder

SHARE = 0.25  # of free memory: larger files are streamed
FEW = 100  # whole numbers of at most so many values are classes
JUDGED = 200_000  # rows that are watched and tested, at most
SEEN = 1_000_000  # targets of training that the baseline is made of
CHECKED_ROWS = 20
# what streams make nothing of
REFUSED = ("labels", "id", "preset", "sizes", "loss", "output", "no_scaling", "strict", "delimiter",
           "decimal", "encoding")  # fmt: skip


def is_asked(options: argparse.Namespace) -> bool:
    """Whether DATA is to be trained on chunk by chunk: --stream, or a file too large for memory."""
    if options.stream:
        return True
    if not options.data.lower().endswith(".parquet") or not os.path.isfile(options.data):
        return False
    free = _free_memory()
    return free is not None and os.path.getsize(options.data) > SHARE * free


def _free_memory() -> int | None:
    try:
        with open("/proc/meminfo") as file:
            for line in file:
                if line.startswith("MemAvailable"):
                    return int(line.split()[1]) * 1024
    except OSError:
        pass
    return None


class Targets:
    """What the target's column is: classes, or numbers that are standardised."""

    def __init__(self, chunks: ParquetChunks, task: str | None, name: str) -> None:
        found: dict[Any, int] = {}
        kind, n, mean, squares, seen = "", 0, 0.0, 0.0, list[Array]()
        for Y in chunks.targets():
            kind = kind or ("text" if Y.dtype.kind in "OU" else Y.dtype.kind)
            if kind == "text" or Y.dtype.kind == "O":
                bad = np.array([value is None for value in Y])
            else:
                bad = np.isnan(Y) if Y.dtype.kind == "f" else np.zeros(len(Y), bool)
            if bad.any():
                raise ValueError(
                    f"{name}: {int(bad.sum())} rows and more without a target, which --stream does "
                    "not leave out: leave them out of the file"
                )
            if len(found) <= FEW or kind == "text":
                for value, count in zip(*np.unique(Y, return_counts=True), strict=True):
                    found[value.item() if hasattr(value, "item") else value] = found.get(
                        value, 0
                    ) + int(count)
            if kind != "text":
                values = Y.astype(float)
                delta = values.mean() - mean
                squares += values.var() * len(Y) + delta**2 * n * len(Y) / (n + len(Y))
                mean += delta * len(Y) / (n + len(Y))
            n += len(Y)
            if sum(map(len, seen)) < SEEN:
                seen.append(Y)
        few = len(found) <= FEW
        whole = all(float(value).is_integer() for value in found) if kind == "f" and few else True
        is_class = kind in ("text", "b") or (kind in "iu" and few)
        is_class = is_class or (task == "classification" and few and whole)
        self.values: Array | None = None
        if is_class and task != "regression":
            self.values = np.array(sorted(found))
            if len(found) < 2:
                raise ValueError(f"{name}: expected at least 2 classes, found only {found}")
        elif kind == "text":
            raise ValueError(f"{name}: expected numbers for --task regression, found texts")
        elif task == "classification":
            raise ValueError(f"{name}: expected at most {FEW} classes, found more")
        self.mean, self.scale = mean, float(np.sqrt(squares / n)) or 1.0
        self.seen = self.places(np.concatenate(seen))

    @property
    def classes(self) -> list[str] | None:
        """Names of the classes, as `predict` knows them."""
        if self.values is None:
            return None
        if self.values.dtype.kind == "b":
            return ["false", "true"][-len(self.values) :]
        if self.values.dtype.kind == "f":
            return [str(int(value)) for value in self.values]
        return [str(value) for value in self.values]

    def places(self, Y: Array) -> Array:
        """Class numbers, or the numbers themselves."""
        if self.values is None:
            return Y.astype(float)
        return np.searchsorted(self.values, Y.astype(self.values.dtype))

    def trained(self, Y: Array) -> Array:
        """As the network is trained on them."""
        places = self.places(Y)
        return places if self.values is not None else (places - self.mean) / self.scale


class Mapped:
    """Chunks with targets of another kind."""

    def __init__(self, chunks: ParquetChunks, targets: Targets) -> None:
        self.chunks, self.map = chunks, targets.trained
        self.order, self.columns, self.n_rows = chunks.order, chunks.columns, chunks.n_rows
        self.n_features, self.identity = chunks.n_features, chunks.identity

    def __iter__(self) -> Iterator[Any]:
        return self.epoch(None, 0, self.chunks.dtype)

    def epoch(self, seed: int | None, epoch: int, dtype: Any) -> Iterator[Any]:
        """As those have it."""
        for block in self.chunks.epoch(seed, epoch, dtype):
            block = block._replace(Y=self.map(block.Y))
            yield block
            del block


def run(options: argparse.Namespace, seed: int) -> int:
    """Train, test, save, check the gradients."""
    for name in REFUSED:
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')}: not with --stream")
    if options.target is None:
        raise ValueError(f"{options.data}: the target column must be named (--target)")
    for name, otherwise in (*OF_ONE_NETWORK.items(), ("epochs", 5), ("validation", 0.1)):
        if getattr(options, name) is None:
            setattr(options, name, otherwise)
    for option, path in (("--save", options.save), ("--checkpoint", options.checkpoint)):
        check_writable(option, path)
    out = sys.stderr if options.json else sys.stdout
    parts = _parts(options, seed)
    train, encoder = parts["train"], parts["train"].encoder
    name = os.path.basename(os.path.normpath(options.data))
    print(f"{name}: {train!r}: targets and encoder, a pass each", file=out, flush=True)
    targets = Targets(train, options.task, f"{name}: column {options.target!r}")
    encoder.fit(train)
    net = _network(options, train.n_features, targets)
    what = "regression" if targets.classes is None else f"{len(targets.classes)} classes"
    counts = ", ".join(f"{part.n_rows} to {of}" for of, part in parts.items())
    print(
        f"{name}: {net.sizes[0]} inputs of {len(train.columns)} columns, {what}; {counts}\n"
        f"network: {','.join(map(str, net.sizes))}; {options.activation}; {net.n_parameters:,} "
        f"parameters, {options.dtype}",
        file=out, flush=True,
    )  # fmt: skip
    try:
        history = _fit(options, net, parts, targets, out)
    except KeyboardInterrupt:
        return fail("interrupted; nothing was saved", code=130)
    except fastbp.DivergenceError as error:
        return fail(f"error: {error}", code=1)
    trained = net.copy()
    if targets.values is None:
        net.weights[-1][...] *= targets.scale
        net.biases[-1][...] = net.biases[-1] * targets.scale + targets.mean
    metadata = {
        "task": "regression" if targets.classes is None else "classification",
        "classes": targets.classes, "target": options.target, "encoder": encoder.to_dict(),
        "columns": train.columns, "not_used": options.drop,
    }  # fmt: skip
    if options.save:
        told = {key: value for key, value in metadata.items() if value}
        net.save(options.save, metadata=told)
    part = "test" if "test" in parts else "training"
    result, base, seen = _judged(net, parts.get("test", train), targets)
    tell_scores(part, result, base, None, targets.classes, out)
    print(
        f"trained in {history.seconds:.3g} s, {history.samples_per_second:,.0f} samples a second",
        file=out,
    )
    if options.save:
        print(f"saved to {options.save}", file=out)
    X, Y = seen
    rows = worst_fitted(trained, X, Y, CHECKED_ROWS)
    check, code = gradient_check(options, trained, dense(X[rows]), Y[rows], out)
    if options.json:
        print_json({
            "fastbp": fastbp.__version__,
            "data": {"name": name, **{f"{k}_rows": v.n_rows for k, v in parts.items()}, **metadata},
            "network": {"sizes": list(net.sizes), "parameters": net.n_parameters},
            "history": history.to_dict(), "test": result if part == "test" else None,
            "training_scores": result if part != "test" else None, "baseline": base,
            "seconds": history.seconds, "gradient_check": check, "saved": options.save,
        })  # fmt: skip
    return code


def _parts(options: argparse.Namespace, seed: int) -> dict[str, ParquetChunks]:
    """The rows to train, to validate and to test, of columns that are encoded."""
    encoder = Encoder(
        categorical=options.categorical or None, numeric=options.numeric or None,
        dtype=options.dtype,
    )  # fmt: skip
    told: dict[str, Any] = {"target": options.target, "encoder": encoder}
    chunks = ParquetChunks(options.data, options.target, None, None, encoder, True, None)
    if options.columns or options.drop:
        for name in (*(options.columns or ()), *options.drop):
            if name not in chunks.schema.names:
                raise ValueError(f"{options.data}: there is no column {name!r}")
        columns = options.columns or [c for c in chunks.columns if c not in options.drop]
        chunks = fastbp.data.from_parquet(options.data, columns=columns, **told)
    found, n_rows = {}, chunks.n_rows or 0
    if options.test:
        share = min(options.test, JUDGED / n_rows)
        chunks, found["test"] = chunks.split(share, seed)
    if options.validation:
        share = min(options.validation, JUDGED / n_rows)
        chunks, found["validate"] = chunks.split(share, seed + 1)
    return {"train": chunks, **found}


def _network(options: argparse.Namespace, n_features: int, targets: Targets) -> Any:
    hidden = [width for width in (options.hidden or [None, 64, 64, None])[1:-1] if width]
    n_outputs = 1 if targets.values is None else len(targets.values)
    output, loss = ("identity", "mse") if targets.values is None else ("softmax", "cross_entropy")
    names = [name.strip() for name in options.activation.split(",")]
    rectified = all(fastbp.functions.activation(name).rectifier for name in names)
    return fastbp.Network(
        [n_features, *hidden, n_outputs],
        activation=names if len(names) > 1 else names[0],
        output=output,
        loss=loss,
        dtype=options.dtype,
        init=options.init or ("he_normal" if rectified else "glorot_uniform"),
        seed=options.seed,
    )


def _fit(
    options: argparse.Namespace,
    net: Any,
    parts: dict[str, ParquetChunks],
    targets: Targets,
    out: TextIO,
) -> Any:
    """Train, with a line an epoch."""
    rate = options.learning_rate or OPTIMIZERS[options.optimizer].of_tables
    optimizer = OPTIMIZERS[options.optimizer](rate)
    if options.optimizer == "sgd":
        optimizer = fastbp.SGD(rate, momentum=0.9 if options.momentum is None else options.momentum)
    schedules = fastbp.schedules
    schedule = {"cosine": schedules.Cosine(), "one-cycle": schedules.OneCycle()}
    watched = parts.get("validate")
    with progress_bar(options.epochs) as bar:

        def each_epoch(event: Any) -> None:
            say(bar, f"epoch {event.epoch + 1}/{options.epochs}  {event.history.in_words()}", out)

        return net.fit(
            Mapped(parts["train"], targets),
            epochs=options.epochs,
            batch_size=options.batch_size or 256,
            optimizer=optimizer,
            seed=options.seed,
            validation=None if watched is None else Mapped(watched, targets),
            l2=options.l2,
            l1=options.l1,
            callbacks=[each_epoch],
            threads=options.threads,
            schedule=schedule.get(options.schedule),
            early_stopping=None
            if options.patience is None
            else fastbp.EarlyStopping(options.patience),
            time_limit=options.time_limit,
            checkpoint=options.checkpoint,
        )


def _judged(
    net: Any, chunks: ParquetChunks, targets: Targets
) -> tuple[dict[str, Any], dict[str, Any], tuple[Any, Array]]:
    """Scores of the first rows, the baseline's, and rows to check gradients on."""
    outputs, Ys, n, seen = [], [], 0, None
    for block in chunks:
        X, Y = block[0].astype(net.dtype), block[1]
        outputs.append(net.predict(X))
        Ys.append(targets.places(Y))
        if seen is None:
            seen = X[:2000], np.asarray(targets.trained(Y[:2000]))
        if (n := n + len(Y)) >= JUDGED:
            break
    assert seen is not None
    Y, classes = np.concatenate(Ys), targets.classes
    result = scores(np.concatenate(outputs), Y, classes, net)
    X, trained = seen
    trained = trained if classes is not None else trained.reshape(-1, 1)
    return result, baseline(targets.seen, Y, classes), (X, trained)
