"""`fit` on several ranks: what of it is asked for, and which samples are whose.

What belongs here: what is different in the arguments of such a fit, and their comparison over the
ranks. What does not: how ranks agree (reduce.py), the steps (data_parallel.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from fastbp import inputs, metrics, sparse
from fastbp.functions import shown
from fastbp.network import Network
from fastbp.optimizers import LBFGS
from fastbp.samples import Samples
from fastbp.schedules import Given
from fastbp.sparse import Lists
from fastbp.training import parts, request
from fastbp.training.data_parallel import DataParallel, Joint, LocalSteps, Share
from fastbp.training.history import History
from fastbp.training.loop import Loop
from fastbp.training.reduce import Ranks
from fastbp.training.request import Request
from fastbp.training.state import RunIdentity
from fastbp.training.watchers.joint import JointCallbacks, JointCheckpoint, JointValidation
from fastbp.training.watchers.stopping import Stopping
from fastbp.training.watchers.watcher import Watcher

# What every rank has to be told alike, beside the network; of what has no words, its kind; and what
# only has to be there or not.
COMPARED = (
    "epochs", "batch_size", "optimizer", "shuffle", "drop_last", "seed", "l2", "l1", "clip_value",
    "clip_norm", "dropped", "ignore_missing", "schedules", "factors", "early_stopping", "ema",
    "class_weight", "label_smoothing", "shard", "sync_every",
)  # fmt: skip
PRESENT = ("checkpoint", "resume", "metrics", "validation")


class Part(NamedTuple):
    """A rank's own of some samples, and which of all of them these are.

    Where it has none it holds one that nobody asks for.
    """

    data: Samples
    share: Share


class OfRanks(SimpleNamespace):
    """What the arguments of a fit on several ranks (fit.Asked) do otherwise."""

    ranks: Ranks
    own: Part
    watched: Part | None = None

    def go(self: Any) -> History:
        """Train; what is raised on one rank ends all."""
        ranks = self.ranks
        with ranks.patient():
            ranks.together(self.check_options)  # first, for what is odd is told best by itself
            ranks.compare(self._told())
            ranks.together(self.check_data)
            if isinstance(self.optimizer, LBFGS):
                return ranks.together(self.minimised)
            loop = ranks.together(lambda: Loop(self.request()))
            return ranks.together(loop.go)

    def _told(self) -> dict[str, str]:
        """What the ranks are compared by, in words."""
        told = {name: repr(value) for name, value in self.net.architecture.items()}
        told |= {name: _in_words(getattr(self, name)) for name in COMPARED}
        for name in PRESENT:
            value = getattr(self, name)
            is_share = isinstance(value, (float, np.floating))
            told[name] = repr(value) if is_share else "None" if value is None else "some"
        return told

    def check_options(self: Any) -> None:
        super().check_options()  # type: ignore[misc]
        self.check(self.checks)
        if self.Y is None:
            raise TypeError(
                "Y: expected targets of X with comm; got None (data in chunks are one process's)"
            )

    def check_data(self: Any) -> None:
        if self.loss is not None:
            raise ValueError(
                "loss: expected none of your own with comm, for nobody knows how it adds up over "
                f"ranks; got {shown(self.loss)}"
            )
        steps = [c for c in self.callbacks if getattr(c, "steps", False) is True]
        if self.sync_every is not None and steps:
            raise ValueError(
                "callbacks: expected none of each step with sync_every, between whose means every "
                f"rank has parameters of its own; got {shown(steps[0])}"
            )
        self.resume = self.ranks.share(self.resume)
        super().check_data()  # type: ignore[misc]
        for watcher in (*self.schedules.values(), self.early_stopping):
            if watcher is not None and watcher.monitor == "seconds":
                raise ValueError(
                    "monitor: expected what is the same on every rank; got 'seconds', which is not"
                )
        self.progress = self.progress and self.ranks.is_first

    def opened(self: Any) -> JointCheckpoint:
        if self.resume is not None:
            return super().opened()  # type: ignore[misc]
        return JointCheckpoint(self.checkpoint, self.every, self.ranks)

    def seeded(self, *known: Any) -> int:
        """The first rank's: others may have drawn another."""
        return self.ranks.share(super().seeded(*known))  # type: ignore[misc]

    # whose samples are whose

    def samples(self) -> Samples:
        self.own = self._part(self.X, self.Y, self.sample_weight)
        return self.own.data

    def _part(self, X: Any, Y: Any, weight: Any) -> Part:
        """A rank's samples, of all of X or of its own, checked by themselves and over the ranks."""
        ranks, net = self.ranks, self.net
        data, raw = self._checked(X, Y, weight)
        facts = None
        if data is not None:
            kinds = {"Y": "targets" if data.labels is None else "class indices"}
            kinds["X"] = "sparse rows" if isinstance(data.X, Lists) else "an array"
            facts = kinds, len(data.X)
        every = ranks.gather((facts, raw is not None))
        known = [(rank, of) for rank, (of, _) in enumerate(every) if of is not None]
        if not known:
            ranks.refuse(ValueError("X: expected at least one row; got none on any rank"))
        first, (kinds, n) = known[0]
        for rank, (of_rank, n_rows) in known:
            for name, kind in kinds.items():
                if of_rank[name] != kind:
                    told = f"got {kind} on rank {first} and {of_rank[name]} on rank {rank}"
                    ranks.refuse(TypeError(f"{name}: expected one kind on every rank; {told}"))
            if self.shard and n_rows != n:
                told = f"got {n} rows on rank {first} and {n_rows} on rank {rank}"
                ranks.refuse(ValueError(f"X: expected the same on every rank with shard; {told}"))
        counts = [0 if of is None else of[1] for of, _ in every]
        if self.shard:
            counts = [len(range(rank, n, ranks.size)) for rank in range(ranks.size)]
            here = np.arange(ranks.rank, n, ranks.size)
            if data is not None:
                data = data.take(here) if here.size else None
            raw = None if raw is None else raw[here]
        numbers = numbers_of(counts, ranks.rank)
        if data is None:
            data = _nothing(net, kinds)
        data = data._replace(weight=None)
        share = Share(ranks, sum(counts), numbers, float(sum(counts)), False)
        if not any(is_weighted for _, is_weighted in every):
            return Part(data, share)
        raw = np.ones(len(numbers)) if raw is None else raw
        told = "sample_weight: expected at least one weight above 0; got only zeros"
        return self._weighing(Part(data, share), raw, told)

    def _checked(self, X: Any, Y: Any, weight: Any) -> tuple[Samples | None, np.ndarray | None]:
        """Samples as they were given, and their weights as numbers; None where there are none."""
        if not self.shard and _length(X) == 0 == _length(Y):
            return None, None
        raw = None
        if weight is not None:
            raw = inputs.as_numbers(
                inputs.as_array(weight, "sample_weight"), "sample_weight", np.dtype(np.float64)
            )
            if raw.shape == (_length(X),) and not raw.any():
                weight = None  # others may have more
        return self.net._samples(X, Y, weight, self.ignore_missing), raw

    def _weighing(self, part: Part, weight: np.ndarray, refused: str) -> Part:
        """With these weights of its samples, in the range that those of all ranks need."""
        share, net = part.share, self.net
        ends = weight.max(initial=0.0), weight.min(initial=np.inf, where=weight > 0)
        told = np.array(self.ranks.gather(ends))
        if not told[:, 0].any():
            self.ranks.refuse(ValueError(refused))
        ends = told[:, 0].max(), told[:, 1].min()
        weight = inputs.in_range(np.append(weight, ends), net.dtype)[:-2]
        (total,) = self.ranks.sum(np.array([weight.sum(dtype=np.float64)])).tolist()
        if not len(share.numbers):
            weight = np.zeros(1, net.dtype)
        data = part.data._replace(weight=np.ascontiguousarray(weight))
        return Part(data, share._replace(weight=total, is_weighted=True))

    def parts(self: Any, data: Samples, shares: bool) -> tuple[Samples, Samples]:
        if shares:
            split = parts.split_off(self.own.share.n, self.validation, self.seed)
            found = [self._chosen(self.own, rows) for rows in split]
            for part, what in zip(found, ("training", "validation"), strict=True):
                if not part.share.weight > 0:
                    told = "validation: expected weights above 0 in both parts; got only zeros for"
                    self.ranks.refuse(ValueError(f"{told} {what}"))
            self.own, self.watched = found
        else:
            try:
                self.watched = self._part(*parts.as_pair(self.validation))
            except (TypeError, ValueError) as error:
                raise type(error)(f"validation: {error}") from None
        return self.own.data, self.watched.data

    def _chosen(self, part: Part, rows: np.ndarray) -> Part:
        """Of some samples those of these numbers, which are ascending."""
        data, share = part.data, part.share
        here = np.flatnonzero(np.isin(share.numbers, rows))
        numbers = np.searchsorted(rows, share.numbers[here])
        own = data.take(here if here.size else np.zeros(1, np.intp))
        weight = float(here.size)
        if own.weight is not None:
            weight = float(own.weight.sum(dtype=np.float64)) if here.size else 0.0
        (total,) = self.ranks.sum(np.array([weight])).tolist()
        return Part(own, share._replace(n=len(rows), numbers=numbers, weight=total))

    def changed(self: Any, data: Samples) -> Samples:
        if self.class_weight is not None:
            n = len(self.own.share.numbers)
            classes = self._class_weight(data) if self.class_weight == "balanced" else None
            told = self.class_weight if classes is None else classes
            weight = metrics.class_weights(told, self.net, data)[:n]
            if data.weight is not None:
                weight = inputs.in_range(weight, np.dtype(np.float64)) * data.weight[:n]
            refused = "class_weight: expected a weight above 0 for a class that occurs"
            self.own = self._weighing(self.own, weight, refused)
            data = self.own.data
        if self.label_smoothing:
            data = parts.smoothed(self.net, data, self.label_smoothing)
            self.own = self.own._replace(data=data)
        return data

    def _class_weight(self, data: Samples) -> dict[int, float] | None:
        """What "balanced" comes to, from the classes of all ranks."""
        net, n = self.net, len(self.own.share.numbers)
        classes = metrics.classes_of(net, data)
        if classes is None:
            return None  # refused by whoever is asked next
        counts = np.bincount(classes[:n], minlength=max(2, net._n_targets)).astype(np.float64)
        counts = self.ranks.sum(counts)
        names = metrics.class_names(net)
        n_there = int((counts > 0).sum())
        return {
            name: float(counts.sum() / (n_there * count))
            for name, count in zip(names, counts.tolist(), strict=True)
            if count
        }

    def as_metrics(self: Any) -> Mapping[str, Any]:
        if self.watched is None or len(self.watched.share.numbers):
            found = super().as_metrics()  # type: ignore[misc]
        else:
            found = {} if self.metrics is None else metrics.checked(self.metrics)
        if self.watched is None:
            return found
        if self.metrics is None:  # classes only where all have classes
            has_rows = bool(len(self.watched.share.numbers))
            (lacks,) = self.ranks.agree("find classes", has_rows and not found)
            return {} if lacks else {"accuracy": None}
        self.ranks.compare({"metrics": str(list(found))})
        return found

    # the run

    @property
    def n(self) -> int:
        return self.own.share.n

    @property
    def driver(self) -> Callable[[Request], Any]:
        share = self.own.share
        if self.sync_every is None:
            return partial(DataParallel, share)
        return partial(LocalSteps, self.sync_every, share)

    def n_threads(self, batch_size: int) -> int:
        """One a rank, unless told."""
        if self.threads is None or not self.ranks.takes_threads:
            return 1
        return request.as_threads(self.threads, self.net, batch_size)

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = super().told()  # type: ignore[misc]
        return told if self.sync_every is None else told | {"sync_every": self.sync_every}

    def watchers(self) -> list[Watcher]:
        watchers: list[Watcher] = []
        if self.watched is not None:
            watchers.append(JointValidation(self.watched.share, self.watched.data, self.recorded))
        if self.early_stopping is not None:
            watchers.append(Stopping(self.early_stopping))
        steps = any(getattr(callback, "steps", False) is True for callback in self.callbacks)
        any_calls, any_steps = self.ranks.agree("call back", bool(self.callbacks), steps)
        if any_calls:
            watchers.append(JointCallbacks(list(self.callbacks), bool(any_steps)))
        return watchers

    def request(self: Any) -> Request:
        if self.file is not None:
            watched = [] if self.watched is None else [self.watched.share]
            self.file.shares = [self.own.share, *watched]
        made: Request = super().request()  # type: ignore[misc]
        if made.state.parameters is None:
            start = self.ranks.share_array(self.net.parameters.copy())
            made.state = made.state._replace(parameters=start)
        return made

    def minimisation(self, watchers: list[Watcher]) -> Request:
        made: Request = super().minimisation(watchers)  # type: ignore[misc]
        run: RunIdentity = made.state.identity._replace(n=self.n, batch_size=self.n)
        made.state = made.state._replace(identity=run)
        made.driver = partial(Joint, self.own.share)
        return made


def numbers_of(counts: list[int], rank: int) -> np.ndarray:
    """The numbers of a rank's rows among those of all, which are taken from the ranks in turn.

    Row i of rank r is row i * size + r, until a rank has no more.

    Examples
    --------
    >>> [numbers_of([3, 1, 2], rank).tolist() for rank in range(3)]
    [[0, 3, 5], [1], [2, 4]]
    """
    here = np.arange(counts[rank], dtype=np.intp)
    numbers = np.zeros_like(here)
    for other, count in enumerate(counts):
        numbers += np.minimum(here + (other < rank), count)
    return numbers


def _nothing(net: Network, kinds: Mapping[str, str]) -> Samples:
    """A sample in the place of none."""
    X: Any = np.zeros((1, net.sizes[0]), net.dtype)
    if kinds["X"] == "sparse rows":
        starts, index = np.zeros(2, np.intp), np.zeros(0, np.int32)
        X = Lists(starts, index, np.zeros(0, net.dtype), net.sizes[0], None)
    if kinds["Y"] == "targets":
        return Samples(X, np.zeros((1, net._n_targets), net.dtype), None, None)
    return Samples(X, None, np.zeros(1, np.intp), None)


def _length(value: Any) -> int:
    """Rows."""
    if sparse.is_sparse(value) or hasattr(value, "shape"):
        return int(value.shape[0]) if value.shape else -1
    return len(value) if hasattr(value, "__len__") else -1


def _in_words(value: Any) -> str:
    """What tells options apart in any process."""
    if isinstance(value, Mapping):
        return str({str(key): _in_words(part) for key, part in value.items()})
    if isinstance(value, Given) or callable(value):
        return "a callable"
    if isinstance(value, (np.random.Generator, np.random.SeedSequence)):
        return f"a {type(value).__name__}"
    return repr(value)
