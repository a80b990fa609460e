"""``fastbp train`` of Parquet that is larger than memory: one network, chunk by chunk.

What belongs here: when that is so, targets and encoder in passes of their own, the report. What
does not: chunks (fastbp/data/), tables that fit (train.py, tabular.py).
"""

from __future__ import annotations

import argparse
import glob
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TextIO

import numpy as np

import fastbp
from fastbp.cli.experiment import optimizer_of
from fastbp.cli.options import OF_ONE_NETWORK
from fastbp.cli.output import check_writable, fail, print_json, progress_bar, say
from fastbp.cli.report import baseline, dense, gradient_check, tell_scores, tell_time, worst_fitted
from fastbp.cli.scores import scores
from fastbp.data.parquet import ParquetChunks, _opened
from fastbp.data.tables import kind_of
from fastbp.datasets.dataset import Array, Label
from fastbp.datasets.labels import as_array, targets_from_text
from fastbp.tabular import Encoder
from fastbp.tabular.reading import check_schema, no_column
from fastbp.tabular.selection import Selection, choose, judged_in_parts

SHARE = 0.25  # of free memory: larger files are streamed
FEW = 100  # whole numbers of at most so many values are classes
MOST_TEXTS = 1 << 17  # that are counted as classes
JUDGED = 200_000  # rows that are watched and tested, at most
SEEN = 1_000_000  # targets of training that the baseline is made of
CHECKED_ROWS = 20
# what streams make nothing of
REFUSED = ("labels", "id", "preset", "sizes", "loss", "output", "no_scaling", "delimiter",
           "decimal", "encoding", "importance", "mpi")  # fmt: skip


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

    def __init__(self, name: str, task: str | None, strict: bool) -> None:
        self.name, self.task, self.strict = name, task, strict
        self.found: dict[Any, int] = {}
        self.kinds: set[str] = set()
        self.n = self.n_missing = self.n_trained = 0
        self.mean = self.squares = 0.0
        self.first: list[Array] = []
        self.values: Array | None = None
        self.texts: dict[str, int] = {}  # places of classes that are texts
        self.classes: list[Label] | None = None  # as `predict` knows them

    def add(self, chunks: ParquetChunks, is_trained: bool) -> int:
        """Look at all targets; how many rows have one."""
        n = 0
        for place, batch in chunks.tables(chunks.target_names):
            Y = self._values(batch.column(0), place)
            if not len(Y):
                continue
            n += len(Y)
            is_text = Y.dtype.kind == "O"
            if is_text or len(self.found) <= FEW:
                for value, count in zip(*np.unique(Y, return_counts=True), strict=True):
                    value = value.item() if hasattr(value, "item") else value
                    self.found[value] = self.found.get(value, 0) + int(count)
            if is_text and len(self.found) > MOST_TEXTS:
                raise self._too_many(f"in the first {self.n + n} rows")
            if is_trained:
                self._learn(Y)
        self.n += n
        return n

    def _values(self, column: Any, place: str) -> Array:
        """Those that are there, of Arrow."""
        import pyarrow

        if pyarrow.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        missing = column.is_null(nan_is_null=True)
        n_missing = pyarrow.compute.sum(missing).as_py() or 0
        if n_missing and self.strict:
            raise ValueError(f"{place}: {self.name}: missing value")
        self.n_missing += n_missing
        column = column.filter(_not(missing))
        if pyarrow.types.is_decimal(column.type):
            column = column.cast(pyarrow.float64())
        Y: Array = column.to_numpy(zero_copy_only=False)
        if len(Y):
            self.kinds.add(Y.dtype.kind)
        if Y.dtype.kind == "f" and not np.isfinite(Y).all():
            value = Y[~np.isfinite(Y)][0]
            raise ValueError(f"{place}: {self.name}: targets must be finite, found {value}")
        return Y

    def _learn(self, Y: Array) -> None:
        if Y.dtype.kind != "O":
            values = Y.astype(float)
            n, m = self.n_trained, len(Y)
            delta = values.mean() - self.mean
            self.squares += values.var() * m + delta**2 * n * m / (n + m)
            self.mean += delta * m / (n + m)
        self.n_trained += len(Y)
        if sum(map(len, self.first)) < SEEN:
            self.first.append(Y)

    def _too_many(self, where: str) -> ValueError:
        return ValueError(
            f"{self.name}: {len(self.found)} different texts {where}: too many to be classes"
        )

    def settle(self) -> None:
        """Choose between classes and numbers, when all are seen."""
        found, name, task = self.found, self.name, self.task
        kind = next((kind for kind in "Ofiub" if kind in self.kinds), "")
        if not self.n_trained:
            raise ValueError(f"{name}: missing value in every row")
        few, is_text = len(found) <= FEW, kind == "O"
        if is_text and task == "regression":
            raise ValueError(f"{name}: expected numbers for --task regression, found texts")
        if is_text:
            if task is None and not few and 2 * len(found) > self.n:
                raise self._too_many(f"in {self.n} rows")
            self._settle_texts()
        whole = kind != "f" or all(float(value).is_integer() for value in found)
        if task == "classification" and not whole:
            raise ValueError(f"{name}: class labels must be whole numbers")
        if task == "classification" and not few and not is_text:
            raise ValueError(f"{name}: expected at most {FEW} classes, found more")
        flags = kind == "f" and set(found) <= {0.0, 1.0}
        is_class = is_text or kind == "b" or (kind in "iu" and few) or flags
        if (is_class or task == "classification") and task != "regression" and not is_text:
            self.values = as_array(sorted(found))
            self.classes = [bool(v) if kind == "b" else int(v) for v in self.values]
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError(
                f"{name}: expected at least 2 classes, found only {self.classes[0]!r:.80}"
            )
        self.scale = float(np.sqrt(self.squares / self.n_trained)) or 1.0
        self.seen = self.places(np.concatenate(self.first))

    def _settle_texts(self) -> None:
        texts = list(self.found)  # twice, as each occurs twice at least where they are classes
        places, classes = targets_from_text(2 * texts, lambda row: self.name, self.task)
        if classes is None:
            raise ValueError(
                f"{self.name}: expected classes, or numbers as numbers; found texts of numbers "
                f"such as {texts[0]!r:.60}"
            )
        self.classes = list(classes)
        self.texts = dict(zip(texts, places[: len(texts)].tolist(), strict=True))

    def places(self, Y: Array) -> Array:
        """Class numbers, or the numbers themselves."""
        if self.texts:
            texts, which = np.unique(Y, return_inverse=True)
            return np.array([self.texts[text] for text in texts], np.int64)[which]
        if self.values is None:
            return Y.astype(float)
        return np.searchsorted(self.values, Y.astype(self.values.dtype))

    def trained(self, Y: Array) -> Array:
        """As the network is trained on them."""
        places = self.places(Y)
        return places if self.classes is not None else (places - self.mean) / self.scale


class Part:
    """The rows of chunks that have a target, as the network is trained on them."""

    def __init__(self, chunks: ParquetChunks, targets: Targets, n_rows: int) -> None:
        self.chunks, self.targets, self.n_rows = chunks, targets, n_rows
        self.order, self.columns, self.identity = chunks.order, chunks.columns, chunks.identity

    @property
    def n_features(self) -> int:
        """Of the encoder, once it is fitted."""
        return self.chunks.n_features

    def tables(self) -> Iterator[Any]:
        """As those have it, for the encoder."""
        names = self.chunks.columns
        for place, batch in self.chunks.tables([*names, *self.chunks.target_names]):
            missing = batch.column(len(names)).is_null(nan_is_null=True)
            part = batch.select(names)
            if missing.true_count:
                part = part.filter(_not(missing))
            yield place, part

    def __iter__(self) -> Iterator[Any]:
        return self.epoch(None, 0, self.chunks.dtype)

    def epoch(self, seed: int | None, epoch: int, dtype: Any) -> Iterator[Any]:
        """As those have it."""
        for block in self.blocks(seed, epoch, dtype):
            yield block._replace(Y=self.targets.trained(block.Y))
            del block

    def blocks(self, seed: int | None, epoch: int, dtype: Any) -> Iterator[Any]:
        """Blocks with targets as they are in the files."""
        for block in self.chunks.epoch(seed, epoch, dtype):
            Y = block.Y
            if Y.dtype.kind == "O":
                known = np.array([value is not None for value in Y])
            else:
                known = ~np.isnan(Y) if Y.dtype.kind == "f" else np.ones(len(Y), bool)
            if not known.all():
                block = _of_rows(block, known)
            if len(block.Y):
                yield block
            del block, Y


def _not(mask: Any) -> Any:
    import pyarrow

    return pyarrow.compute.invert(mask)


def _of_rows(block: Any, known: Array) -> Any:
    """These rows of a block, in the same order."""
    places = np.concatenate([[0], np.cumsum(known)])
    order = block.order
    return block._replace(
        X=block.X[known],
        Y=block.Y[known],
        order=None if order is None else places[order[known[order]]],
        parts=tuple((int(places[first]), name) for first, name in block.parts),
    )


def run(options: argparse.Namespace, seed: int) -> int:
    """Train, test, save, check the gradients."""
    _complete(options)
    optimizer = optimizer_of(options)
    for option, path in (("--save", options.save), ("--checkpoint", options.checkpoint)):
        check_writable(option, path)
    out = sys.stderr if options.json else sys.stdout
    name = os.path.basename(os.path.normpath(options.data))
    with _in_one_line():
        chunks, selection = _chosen(options, name)
        print(f"{name}: {chunks!r}: targets and encoder, a pass each", file=out, flush=True)
        targets = Targets(f"column {options.target!r:.80}", options.task, options.strict)
        parts = _parts(options, chunks, targets, seed)
        train, encoder = parts["train"], chunks.encoder
        encoder.fit(train)
    for column, why in selection.left_out.items():
        print(f"left out: {column} ({why})", file=out)
    if targets.n_missing:
        print(f"left out: {targets.n_missing} rows without a target", file=out)
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
        with _in_one_line():
            history = _fit(options, net, parts, optimizer, out)
    except KeyboardInterrupt:
        return fail("interrupted; nothing was saved", code=130)
    except fastbp.DivergenceError as error:
        return fail(f"error: {error}", code=1)
    if not history.samples:
        limit = "" if options.time_limit is None else f"--time-limit {options.time_limit:g}: "
        return fail(f"error: {limit}over before the first step; nothing was trained", code=1)
    trained = net.copy()
    if targets.classes is None:
        net.weights[-1][...] *= targets.scale
        net.biases[-1][...] = net.biases[-1] * targets.scale + targets.mean
    metadata = {
        "task": "regression" if targets.classes is None else "classification",
        "classes": targets.classes, "target": options.target, "encoder": encoder.to_dict(),
        "columns": train.columns, "not_used": list(selection.left_out),
    }  # fmt: skip
    if options.save:
        told = {key: value for key, value in metadata.items() if value}
        net.save(options.save, metadata=told)
    part = "test" if "test" in parts else "training"
    result, base, seen = _judged(net, parts.get("test", train), targets)
    tell_scores(part, result, base, None, targets.classes, out)
    if history.seconds > 0:
        tell_time(history, out)
    if options.save:
        print(f"saved to {options.save}", file=out)
    X, Y = seen
    rows = worst_fitted(trained, X, Y, CHECKED_ROWS)
    check, code = gradient_check(options, trained, dense(X[rows]), Y[rows], out)
    if options.json:
        print_json({
            "fastbp": fastbp.__version__,
            "data": {
                "name": name, **{f"{k}_rows": v.n_rows for k, v in parts.items()}, **metadata,
                "left_out": selection.left_out, "rows_without_target": targets.n_missing,
            },
            "network": {"sizes": list(net.sizes), "parameters": net.n_parameters},
            "history": history.to_dict(), "test": result if part == "test" else None,
            "training_scores": result if part != "test" else None, "baseline": base,
            "seconds": history.seconds, "gradient_check": check, "saved": options.save,
        })  # fmt: skip
    return code


def _complete(options: argparse.Namespace) -> None:
    """Refuse what does not go with streams, and fill in what is not given."""
    for name in REFUSED:
        if getattr(options, name):
            raise ValueError(f"--{name.replace('_', '-')}: not with --stream")
    if options.header not in (None, "auto"):
        raise ValueError("--header: not with --stream")
    if options.target is None:
        raise ValueError(f"{options.data}: the target column must be named (--target)")
    for name, otherwise in (*OF_ONE_NETWORK.items(), ("epochs", 5), ("validation", 0.1)):
        if getattr(options, name) is None:
            setattr(options, name, otherwise)


@contextmanager
def _in_one_line() -> Iterator[None]:
    """What is refused of a column's type is bad input, as what is refused of its values."""
    try:
        yield
    except TypeError as error:
        raise ValueError(str(error)) from error


def _refuse_other_files(data: str) -> None:
    """Refuse a file that is no Parquet; of a folder's pyarrow tells which is none."""
    for path in [data] if os.path.exists(data) else sorted(glob.glob(data, recursive=True)):
        if not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            if file.read(3) != b"PAR":  # PAR1, or PARE of an encrypted one
                raise ValueError(f"--stream: expected Parquet; got {path}, which is another file")


def _chosen(options: argparse.Namespace, name: str) -> tuple[ParquetChunks, Selection]:
    """The columns that are learnt from, of all rows, with an encoder of them; the others."""
    _refuse_other_files(options.data)
    schema, target = _opened(options.data).schema, options.target
    if target not in schema.names:
        raise no_column(name, [target], schema.names)
    without = {*options.drop}
    if options.columns is not None:
        without = {*schema.names} - {*options.columns, target}
    check_schema(name, schema, None, without)
    kind = schema.field(target).type
    if kind_of(kind) not in ("number", "text", "null"):
        told = f"targets must be numbers or strings, found {kind}"
        raise ValueError(f"{name}: column {target!r:.80}: {told}")
    encoder = Encoder(dtype=options.dtype)

    def opened(columns: list[str]) -> ParquetChunks:
        return ParquetChunks(options.data, target, columns, None, encoder, True, None)

    selection = choose(
        schema.empty_table(), target=target, drop=options.drop, columns=options.columns,
        categorical=options.categorical, numeric=options.numeric, name=name,
        judge=lambda names: judged_in_parts(opened(names).tables, names) if names else {},
    )  # fmt: skip
    encoder.set_params(categorical=selection.categorical or None, numeric=selection.numeric or None)
    return opened(selection.features), selection


def _parts(
    options: argparse.Namespace, chunks: ParquetChunks, targets: Targets, seed: int
) -> dict[str, Part]:
    """The rows to train, to validate and to test."""
    found, n_rows = {}, chunks.n_rows or 0
    if options.test:
        share = min(options.test, JUDGED / n_rows)
        chunks, found["test"] = chunks.split(share, seed)
    if options.validation:
        share = min(options.validation, JUDGED / n_rows)
        chunks, found["validate"] = chunks.split(share, seed + 1)
    counts = {}
    for of, part in {"train": chunks, **found}.items():
        counts[of] = targets.add(part, of == "train")
    targets.settle()
    return {
        of: Part(part, targets, counts[of])
        for of, part in {"train": chunks, **found}.items()
        if counts[of]
    }


def _network(options: argparse.Namespace, n_features: int, targets: Targets) -> Any:
    hidden = [width for width in (options.hidden or [None, 64, 64, None])[1:-1] if width]
    n_outputs = 1 if targets.classes is None else len(targets.classes)
    output, loss = ("identity", "mse") if targets.classes is None else ("softmax", "cross_entropy")
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
    parts: dict[str, Part],
    optimizer: Any,
    out: TextIO,
) -> Any:
    """Train, with a line an epoch."""
    schedules = fastbp.schedules
    schedule = {"cosine": schedules.Cosine(), "one-cycle": schedules.OneCycle()}
    watched = parts.get("validate")
    with progress_bar(options.epochs) as bar:

        def each_epoch(event: Any) -> None:
            say(bar, f"epoch {event.epoch + 1}/{options.epochs}  {event.history.in_words()}", out)

        return net.fit(
            parts["train"],
            epochs=options.epochs,
            batch_size=options.batch_size or 256,
            optimizer=optimizer,
            seed=options.seed,
            validation=watched,
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
    net: Any, part: Part, targets: Targets
) -> tuple[dict[str, Any], dict[str, Any], tuple[Any, Array]]:
    """Scores of the first rows, the baseline's, and rows to check gradients on."""
    outputs, Ys, n, seen = [], [], 0, None
    for block in part.blocks(None, 0, net.dtype):
        X, Y = block.X.astype(net.dtype), block.Y
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
