"""`fit` on data in chunks: what of it is asked for, and each block checked as `fit` checks arrays.

What belongs here: what is different where the data are not all at hand. What does not: what chunks
are (fastbp/data/), windows of whole batches (windows.py), the steps (chunk_run.py).
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from types import SimpleNamespace
from typing import Any

import numpy as np

from fastbp import inputs, metrics
from fastbp.data.chunks import Block, is_chunks, targets_of
from fastbp.functions import shown
from fastbp.inputs import Rows
from fastbp.network import Network
from fastbp.optimizers import LBFGS
from fastbp.samples import Samples
from fastbp.schedules import InverseScaling
from fastbp.sparse import Lists
from fastbp.training import parts, request
from fastbp.training.chunk_run import ChunkRun
from fastbp.training.request import Request
from fastbp.training.windows import Asker, Window, joined, windows


class Stream:
    """Chunks as a run reads them: block by block, checked.

    `missing`: NaN in Y stands for no target. `encode`: what makes targets of a block's Y.
    `changed`: what makes of samples those that are trained on.
    """

    X = None  # as `Samples` has it; nobody knows yet whether it will be sparse

    def __init__(
        self,
        net: Network,
        chunks: Any,
        missing: bool,
        name: str = "X",
        encode: Callable[[Any], Any] | None = None,
    ) -> None:
        self.net, self.chunks, self.missing, self.name = net, chunks, missing, name
        self.encode = encode
        n_features = inputs.as_count(chunks.n_features, f"{name}: n_features")
        if n_features != net.sizes[0]:
            raise ValueError(f"{name}: expected {net.sizes[0]} columns; got {n_features}")
        n = chunks.n_rows
        self.n = None if n is None else inputs.as_count(n, f"{name}: n_rows")
        self.kind: tuple[bool, ...] = ()  # of the first block, which all others have to be of
        self.changed: Callable[[Samples], Samples] = lambda data: data
        self.told_threads: Any = None

    def arrays(self) -> Any:
        """What tells the data from others, in the place of the arrays of `Samples`."""
        identity = getattr(self.chunks, "identity", None)
        told = {"n_features": self.chunks.n_features, "n_rows": self.n}
        return told | (identity() if identity is not None else {})

    def blocks(
        self, seed: int | None, epoch: int, check: Callable[[], None] = lambda: None
    ) -> Iterator[tuple[Samples, np.ndarray]]:
        """The samples of an epoch's blocks, each with the order in which its rows are read.

        `check`: is called at each block, and raises where no more are wanted.
        """
        chunks, any_weight, number = self.chunks, False, -1
        ordered = getattr(chunks, "epoch", None)
        made = iter(chunks) if ordered is None else ordered(seed, epoch, self.net.dtype)
        if not isinstance(made, Iterator):
            raise TypeError(f"{self.name}: expected an iterator of blocks; got {shown(made)}")
        try:
            for number, given in enumerate(made):
                check()
                block = _as_block(given, f"{self.name}: chunk {number}")
                if block is None:
                    continue
                data, order = self._checked(block, f"chunk {number}")
                any_weight = any_weight or data.weight is None or bool(data.weight.any())
                del given, block
                yield data, order
                del data, order
        finally:
            if (close := getattr(made, "close", None)) is not None:
                close()
        if number >= 0 and self.kind and not any_weight:
            raise ValueError(f"{self.name}: expected a weight above 0; epoch {epoch} has only 0")

    def _checked(self, block: Block, name: str) -> tuple[Samples, np.ndarray]:
        """A block's samples as they are trained on; a refusal says where the rows are from."""
        try:
            data = self.changed(self._samples(block))
        except (TypeError, ValueError) as error:
            raise self._placed(error, block, name) from None
        n = len(data.X)
        order = np.arange(n) if block.order is None else np.asarray(block.order, np.intp)
        kind = isinstance(data.X, Lists), data.labels is not None, data.weight is not None
        for now, first, what in zip(kind, self.kind or kind, _KINDS, strict=True):
            if now != first:
                raise ValueError(
                    f"{block.parts[0][1] if block.parts else name}: expected {what[first]}, as in "
                    f"the first chunk; got {what[now]}"
                )
        self.kind = kind
        return data, order

    def _placed(self, error: Exception, block: Block, name: str) -> Exception:
        """The refusal of a block by the part of it that is refused, where it has parts."""
        ends = [first for first, _ in block.parts[1:]] + [None] * bool(block.parts)
        for (first, place), end in zip(block.parts, ends, strict=True):
            rows = slice(first, end)
            given: tuple[Any, ...] = block[:3]
            cut: list[Any] = [None if part is None else part[rows] for part in given]
            of_part = Block(*cut)
            try:
                self.changed(self._samples(of_part))
            except (TypeError, ValueError) as of_it:
                return type(of_it)(f"{place}: {self._named(of_it, of_part.X)}")
        return type(error)(f"{name}: {error}")

    def _named(self, error: Exception, X: Any) -> str:
        """With the name of the column that is not finite, where columns have names."""
        columns = getattr(self.chunks, "columns", None)
        if columns and isinstance(X, np.ndarray) and X.dtype.kind == "f":
            bad = ~np.isfinite(X).all(axis=0)
            if bad.any() and str(error).startswith("X: expected finite"):
                return f"column {columns[int(np.argmax(bad))]!r}: {error}"
        return str(error)

    def _samples(self, block: Block) -> Samples:
        net = self.net
        given: Rows = block.X
        if not isinstance(given, np.ndarray):
            given = net._of_other_kind(given)
        X: np.ndarray | Lists
        if isinstance(given, Lists):
            X = given
        else:
            X = inputs.as_matrix(given, "X", net.sizes[0], net.dtype)
        n = X.shape[0]
        dense, labels = self._targets(block.Y, n)
        weight = None
        if block.weight is not None:
            weight = self._weight(block.weight, n)
        if not block.parts:  # a user's arrays, which may be written for the next block
            owned = Samples(X, dense, None, weight, self.missing)
            if isinstance(X, Lists):
                values = _own(X.values, None)
                X = Lists(X.starts, X.index, values, X.shape[1], X.form)
            else:
                X = _own(X, block.X)
            dense, weight = _own(owned.dense, block.Y), _own(weight, block.weight)
        return Samples(X, dense, labels, weight, self.missing)

    def _targets(self, Y: Any, n: int) -> tuple[np.ndarray | None, np.ndarray | None]:
        """As `Network._targets`; in a block all may be missing."""
        if self.encode is not None:
            Y = self.encode(Y)
        if self.missing:
            array = inputs.as_array(Y, "Y", True)
            if array.dtype.kind == "f" and array.size and np.isnan(array).all():
                known = array.copy()
                known[(0,) * array.ndim] = 1  # which every loss takes
                dense, labels = self.net._targets(known, n, True)
                if dense is not None:
                    dense[(0,) * dense.ndim] = np.nan
                return dense, labels
        return self.net._targets(Y, n, self.missing)

    def _weight(self, weight: Any, n: int) -> np.ndarray:
        """As `inputs.as_weight`, not scaled, for that has to be the same for all blocks."""
        array = inputs.as_array(weight, "sample_weight")
        if array.shape == (n,) and array.dtype.kind in "fiub" and not array.any():
            return np.zeros(n, self.net.dtype)
        found = inputs.as_weight(array, n, self.net.dtype)
        assert found is not None
        self._check_range(found, array)
        return found

    def _check_range(self, found: np.ndarray, given: np.ndarray) -> None:
        with np.errstate(over="ignore"):
            same = found.max() == np.float64(given.max()).astype(found.dtype)
        if not same:
            raise ValueError(
                f"sample_weight: expected weights within 1e-37 and 1e19 in chunks; got "
                f"{given[given > 0].min():g} to {given.max():g}"
            )

    def weighted(self, data: Samples, class_weight: Any) -> Samples:
        """With weights by class."""
        weight = metrics.class_weights(class_weight, self.net, data)
        if data.weight is not None:
            weight = weight * data.weight
        if not weight.any():
            return data._replace(weight=np.zeros(len(weight), self.net.dtype))
        found = inputs.in_range(weight, self.net.dtype)
        self._check_range(found, weight)
        return data._replace(weight=found)

    def balanced(self) -> dict[Any, float]:
        """n / (K n_class) of each class that occurs, from a pass over the targets."""
        counts = np.zeros(max(2, self.net._n_targets), np.int64)
        for known in self.targets():
            classes = metrics.classes_of(self.net, known)
            if classes is None:  # for the words in which that is refused
                metrics.class_weights("balanced", self.net, known)
            counts += np.bincount(classes, minlength=len(counts))  # type: ignore[arg-type]
        there = counts > 0
        signed = self.net._n_targets == 1 and self.net._loss.signed
        names = [-1, 1] if signed else list(range(len(counts)))
        n, n_classes = int(counts.sum()), int(there.sum())
        return {names[k]: n / (n_classes * counts[k]) for k in np.flatnonzero(there)}

    def targets(self) -> Iterator[Samples]:
        """What is known of the rows of each block as they lie, without their X."""
        if not hasattr(self.chunks, "targets"):
            for data, _ in self.blocks(None, 0):
                yield data._replace(X=np.empty((len(data.X), 0)))
            return
        for place, Y in targets_of(self.chunks):
            if not len(Y):
                continue
            try:
                dense, labels = self._targets(Y, len(Y))
            except (TypeError, ValueError) as error:
                raise type(error)(f"{place}: {error}") from None
            yield Samples(np.empty((len(Y), 0)), dense, labels, None, self.missing)

    def check_schedule(self, name: str, schedule: Any) -> None:
        """Refuse one that goes by the number of rows where that is not known."""
        if self.n is None and (schedule.each == "step" or isinstance(schedule, InverseScaling)):
            raise ValueError(
                f"{name}: expected chunks whose n_rows is known with {schedule}; got n_rows=None"
            )

    # of a run (chunk_run.py)

    def windows(self, request: Request) -> Callable[[Asker], Generator[Window, None, None]]:
        """What makes the windows of a run; it holds on to nothing of the run itself."""
        identity, (first, row, *_) = request.state.identity, request.state.position
        seed = identity.seed if request.shuffle is True else None
        epochs, n, stream = range(first, first + request.epochs), self.n, self
        size, drops = identity.batch_size, identity.drop_last

        def make(asker: Asker) -> Generator[Window, None, None]:
            for epoch in epochs:
                skip = row if epoch == first else 0
                made: Any = stream.blocks(seed, epoch, asker.check)
                with closing(made) as blocks:
                    yield from windows(epoch, blocks, size, drops, skip, n, asker.waits)

        return make

    def nothing(self) -> Samples:
        """One row of zeros, for a trainer that makes no step."""
        X = np.zeros((1, self.net.sizes[0]), self.net.dtype)
        return Samples(X, np.zeros((1, self.net._n_targets), self.net.dtype), None, None)

    def threads(self, n_threads: int, batch_size: int, X: Lists) -> int:
        """How many, where X turns out to be sparse."""
        if self.told_threads is not None:
            return n_threads
        return min(n_threads, request.threads_that_pay(self.net, batch_size, X))


_KINDS = (
    ("dense X", "sparse X"),
    ("targets that are numbers", "class indices"),
    ("no weights", "weights"),
)


def _as_block(given: Any, name: str) -> Block | None:
    """What an iterator gave; None where it has no rows."""
    if not isinstance(given, tuple | list) or not 2 <= len(given) <= len(Block._fields):
        raise TypeError(f"{name}: expected (X, Y) or (X, Y, weight); got {shown(given)}")
    if not isinstance(given, Block) and len(given) > 3:
        raise TypeError(f"{name}: expected (X, Y) or (X, Y, weight); got {len(given)} values")
    block = Block(*given)
    X = given[0]
    shape = getattr(X, "shape", None)
    n = shape[0] if shape else len(X) if hasattr(X, "__len__") else 1
    if n == 0:
        return None
    return block


def _own(array: Any, given: Any) -> Any:
    """An array that nobody else can write: a copy where `given` may be the same memory."""
    if array is None or (array is not given and array.flags.owndata):
        return array
    return array.copy()


class HeldOut:
    """Validation data in chunks: their targets are kept, X is read anew for each evaluation."""

    def __init__(self, stream: Stream) -> None:
        self.stream = stream
        found = [data._replace(X=np.empty((len(data.X), 0))) for data, _ in stream.blocks(None, 0)]
        if not found:
            raise ValueError(f"{stream.name}: expected at least one row; got none")
        self.known = joined(found)

    def __call__(self) -> HeldOut:  # what `Validation` is given is made when a run begins
        return self

    def targets(self) -> Samples:
        return self.known

    def arrays(self) -> Any:
        return self.stream.arrays()

    def outputs_and_costs(self, net: Network) -> tuple[np.ndarray, np.ndarray]:
        """a^L (n, n_L) and C_x (n,) of all rows, as they lie."""
        n, at = self.known.n, 0
        outputs, C = np.empty((n, net.sizes[-1]), net.dtype), np.empty(n, net.dtype)
        for data, order in self.stream.blocks(None, 0):
            rows = slice(at, at := at + len(order))
            if at > n:
                break
            (outputs[rows],), (C[rows],) = net._outputs_and_costs(data, net.parameters[None])
        if at != n:
            raise ValueError(f"{self.stream.name}: expected {n} rows, as before; got {at} or more")
        return outputs, C


def held_out(net: Network, chunks: Any, missing: bool, loss: Any = None) -> HeldOut:
    """Chunks as validation data, whatever is trained on."""
    if loss is not None:
        raise ValueError(
            f"validation: expected (X, Y) with a loss of your own; got {shown(chunks)}"
        )
    return HeldOut(Stream(net, chunks, missing, "validation"))


class OfChunks(SimpleNamespace):
    """What of `Asked` (fit.py) is different for chunks; it stands before that among the bases."""

    def check_options(self) -> None:
        super().check_options()  # type: ignore[misc]
        _refuse(Y=self.Y, sample_weight=self.sample_weight)
        if self.loss is not None:
            raise ValueError(f"loss: expected None with chunks; got {shown(self.loss)}")
        if callable(self.shuffle):
            raise ValueError(
                "shuffle: expected True (the order of the chunks' own, by the seed) or False with "
                f"chunks; got {shown(self.shuffle)}"
            )
        if isinstance(self.optimizer, LBFGS):
            raise ValueError(
                "optimizer: expected one of steps with chunks; got LBFGS, which takes all samples "
                "at once"
            )

    def samples(self) -> Any:
        stream = Stream(self.net, self.X, self.ignore_missing)
        if self.ignore_missing:
            self.net._targets(np.ones(self.net._n_targets)[None], 1, True)
        if not self.net._doors.is_finite(self.net.parameters):
            inputs.as_numbers(self.net.parameters, "parameters", self.net.dtype)
        if stream.n is None:
            needs = {name: getattr(self, name) for name in ("l2", "l1")}
            needs["class_weight"] = isinstance(self.class_weight, str) and self.class_weight
            for name, of in self.schedules.items():
                stream.check_schedule(f"schedule[{name!r}]", of)
            for name, value in needs.items():
                if value:
                    raise ValueError(
                        f"{name}: expected chunks whose n_rows is known; got n_rows=None"
                    )
        stream.told_threads = self.threads
        return stream

    def parts(self, data: Any, shares: bool) -> tuple[Any, Any]:
        if shares:
            raise ValueError(
                "validation: expected (X, Y) or chunks beside chunks, of which no share can be "
                f"split off (those of from_parquet have split(share)); got {self.validation}"
            )
        if is_chunks(self.validation):
            return data, held_out(self.net, self.validation, self.ignore_missing)
        return data, parts.given(self.net, data, self.validation, None)

    def changed(self, data: Any) -> Any:
        class_weight, share = self.class_weight, self.label_smoothing
        if isinstance(class_weight, str) and class_weight == "balanced":
            class_weight = data.balanced()
        if class_weight is None and not share:
            return data
        if share:  # refused before any block is read
            one = np.eye(1, self.net._n_targets, dtype=self.net.dtype)
            parts.smoothed(self.net, Samples(one, one, None, None), share)

        def changed(samples: Samples) -> Samples:
            if class_weight is not None:
                samples = data.weighted(samples, class_weight)
            return parts.smoothed(self.net, samples, share) if share else samples

        data.changed = changed
        return data

    def order(self) -> str:
        if not self.shuffle:
            return "False"
        told = getattr(self.X, "order", None)
        return f"True, of chunks{f' ({told})' if isinstance(told, str) else ''}"

    driver: Any = ChunkRun


def _refuse(**given: Any) -> None:
    for name, value in given.items():
        if value is not None:
            raise ValueError(
                f"{name}: expected none with chunks, whose blocks have their own; got "
                f"{shown(value)}"
            )
