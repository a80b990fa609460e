"""Where scikit-learn's tasks are trained: in this process, by an executor, by joblib's workers.

What belongs here: which of them it is, how chunks of tasks and their data get there and back. What
does not: what a chunk is (chunks.py), how the tasks of one are trained (tasks.py). Queues, workers
and their failures are the executor's own.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import inspect
import os
import pickle
import shutil
import tempfile
import uuid
import warnings
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    ThreadPoolExecutor,
    wait,
)  # fmt: skip
from pathlib import Path
from typing import Any

import joblib
import numpy as np
from joblib.parallel import ParallelBackendBase, SequentialBackend
from sklearn.base import BaseEstimator

from fastbp.estimators import chunks
from fastbp.estimators.tasks import TASKS, Together, ours
from fastbp.functions import shown
from fastbp.training.request import cores

QUEUED = 2  # chunks a worker: the one that it is at, and the one that it begins then
SENT_AGAIN = 3  # times at most that data are sent again which the workers that had them have lost
WAIT_SECONDS = 1.0  # at most, until Ctrl-C is noticed
# besides those that are trained together here
SENT = TASKS | {"_parallel_build_estimators", "_incremental_fit_estimator"}
MANY = 1 << 16  # tasks that a bag may be cut into: one a member


@contextlib.contextmanager
def together(estimator, n_jobs=None, caller=None, executor=None):
    """A context in which scikit-learn's tasks of `estimator` are trained together.

    By `executor`, or else by the backend of joblib's that has been chosen, or else, and if it is
    ours, in this process, with `n_jobs` threads as joblib counts them; None: all cores. The
    backend, or None where tasks stay scikit-learn's own.
    """
    backend = _backend(estimator, n_jobs, caller, executor)
    if backend is None:
        yield None
        return
    try:
        with joblib.parallel_config(backend=backend):
            yield backend
    finally:
        if isinstance(backend, Elsewhere):
            backend.sender.close()


def _backend(estimator, n_jobs, caller, executor):
    model = ours(estimator)
    sender = None if executor is None else sender_of(executor)
    if getattr(model, "checkpoint", None) is not None:
        raise ValueError(
            "checkpoint: expected None in the estimator of a search, whose fits would share the "
            f"file; got {shown(model.checkpoint)}"
        )
    if sender is not None and executor not in chunks.WITHIN.get():
        return Elsewhere(sender)
    if model is None or hasattr(caller, "_skl_callbacks") or not hasattr(joblib, "parallel_config"):
        return None
    config = getattr(joblib.parallel._backend, "config", {})
    chosen = config.get("backend")
    if n_jobs is None and isinstance(config.get("n_jobs"), int):
        n_jobs = config["n_jobs"]
    if not isinstance(chosen, ParallelBackendBase):
        return Together(threads_of(n_jobs))
    if isinstance(chosen, SequentialBackend) or joblib.effective_n_jobs(n_jobs) == 1:
        return Together(1)
    return Elsewhere(ByJoblib(dict(config), n_jobs))


def threads_of(n_jobs):
    """How many threads, of joblib's number; None: all cores."""
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")
    if n_jobs is None:
        return cores()
    return n_jobs if n_jobs > 0 else max(1, cores() + 1 + n_jobs)


class Elsewhere(Together):
    """Collects tasks, and has a sender have them trained at workers, chunk by chunk.

    Of one object of joblib's alone: what tasks here, a refit or a score among them, ask joblib for
    meanwhile is done as it would be without.
    """

    supports_sharedmem = False

    def __init__(self, sender):
        super().__init__()
        self.sender = sender
        self.told: dict[Any, Any] = {}  # the registry of warnings that workers had
        self.before = getattr(joblib.parallel._backend, "config", None)

    def effective_n_jobs(self, n_jobs):
        """How many tasks joblib may make at once of what can be cut into any number."""
        return MANY

    def configure(self, n_jobs=1, parallel=None, **options):
        """How many tasks joblib hands over before it is told that one has been taken."""
        self.parallel = parallel
        self.during = joblib.parallel._backend.config
        if self.before is None:
            del joblib.parallel._backend.config
        else:
            joblib.parallel._backend.config = self.before
        return max(2, cores())

    def _make(self, batches):
        if not all(map(_of_fits, batches)):  # of a splitter's, which asked first
            joblib.parallel._backend.config = self.during
            super()._make(batches)
            return
        items = [chunks.Item(batch) for batch in batches]
        free = any(item.draws_freely() for item in items)
        if free and self.sender.shared:  # threads would draw in any order
            self.n_threads = self.sender.n_workers()
            super()._make(batches)
            return
        seed = self._draw(items) if free else None
        self.sender.carry(chunks.parts_of(items))
        plan = chunks.Plan(items, self.sender.n_workers(), seed)
        with contextlib.closing(self.sender.outcomes(plan)) as outcomes:
            for outcome in outcomes:
                chunk = plan.ended(outcome)
                for message, category, filename, line in outcome.told:
                    warnings.warn_explicit(message, category, filename, line, registry=self.told)
                if outcome.error is not None:
                    outcome.error.add_note(f"In a worker:\n{outcome.trace}")
                    raise outcome.error
                for item, result in zip(chunk, outcome.results, strict=True):
                    item.batch.results = [result]
        for batch in batches:
            batch.calls, batch.tasks = None, []

    def _draw(self, items):
        """Seeds of tasks that are not ours, and of transformers, where anything draws freely.

        NumPy's global generator is left where it would be here, if fits of ours have drawn by it.
        """
        own = [item.seed for item in items if item.seed is not None]
        draws = np.random.RandomState(own) if own else np.random
        seeds = draws.randint(2**31, size=1 + len(items))
        for item, seed in zip(items, seeds[1:].tolist(), strict=True):
            item.seed = seed if item.seed is None else item.seed
        return int(seeds[0])


def _of_fits(batch):
    """Whether a batch is one task of those that are for workers."""
    names = [getattr(function, "__name__", "") for function, *_ in batch.items]
    return len(names) == 1 and names[0] in SENT


# how chunks are sent


def sender_of(executor):
    """How chunks and data get to this executor's workers."""
    if not isinstance(executor, Executor):
        hint = (
            ", as client.get_executor(pure=False) is" if hasattr(executor, "get_executor") else ""
        )
        raise TypeError(
            f"executor: expected a concurrent.futures.Executor{hint}; got {shown(executor)}"
        )
    if isinstance(executor, ThreadPoolExecutor):
        return ByThreads(executor)
    if type(executor).__module__.startswith("distributed."):
        return ByDask(executor)
    return ByFiles(executor)


class ByThreads:
    """To threads of this process, which see all that there is."""

    shared = True  # with this process, NumPy's global generator too

    def __init__(self, executor):
        self.executor = executor
        self.parts: dict[int, Any] = {}

    def n_workers(self):
        """At work at a time."""
        known = (getattr(self.executor, name, None) for name in ("num_workers", "_max_workers"))
        return next((n for n in known if isinstance(n, int) and n > 0), cores())

    def carry(self, parts):
        """Data that chunks will name by their ids."""
        self.parts.update(parts)

    def submit(self, chunk):
        """The future of a chunk's outcome, or of its bytes."""
        within = (*chunks.WITHIN.get(), self.executor)
        return self.executor.submit(chunks.run, chunk.job, within)

    def lost(self):
        """Whether what workers have lost has been given to them again."""
        return False

    def _sent(self, chunk):
        try:
            return self.submit(chunk)
        except BrokenExecutor:
            raise
        except RuntimeError as error:
            if "shut" not in str(error):
                raise
            raise RuntimeError(
                f"executor: expected one that has not been shut down; got {shown(self.executor)}: "
                f"{error}"
            ) from error

    def close(self):
        """Nothing will be sent any more."""
        self.parts.clear()

    def outcomes(self, plan):
        """What comes of the chunks of a plan, as workers end them."""
        pending: dict[Any, chunks.Chunk] = {}
        try:
            while True:
                plan.n_workers = max(1, self.n_workers())
                while len(pending) < QUEUED * plan.n_workers:
                    if (chunk := next(plan, None)) is None:
                        break
                    pending[self._sent(chunk)] = chunk
                if not pending:
                    return
                for future in wait(pending, WAIT_SECONDS, FIRST_COMPLETED).done:
                    chunk = pending.pop(future)
                    try:
                        found = future.result()
                    except CancelledError as error:
                        chunk.n_lost += 1
                        if not self.lost():
                            raise RuntimeError(
                                f"executor: {chunk.name}, {chunk.told}: cancelled "
                                f"{chunk.n_lost} times, as where its worker dies each time or "
                                "the executor is shut down"
                            ) from error
                        pending[self._sent(chunk)] = chunk
                    else:
                        yield opened(found)
        finally:
            for future in pending:
                future.cancel()


def opened(found):
    """An outcome, also of its bytes."""
    if not isinstance(found, bytes):
        return found
    outcome = pickle.loads(found)
    if isinstance(outcome.error, chunks.Raised):
        return outcome._replace(error=outcome.error.rebuilt())
    return outcome


class ByFiles(ByThreads):
    """To processes, by files that they map into their memory."""

    shared = False
    folder: Any = None

    def carry(self, parts):
        if self.folder is None and parts:
            place = os.environ.get("JOBLIB_TEMP_FOLDER")
            if place is not None and not Path(place).is_dir():
                raise FileNotFoundError(f"JOBLIB_TEMP_FOLDER: expected a folder; got {place!r}")
            self.folder = tempfile.mkdtemp(prefix="fastbp-", dir=place)
        for key, part in parts.items():
            if key not in self.parts:
                place = chunks.place_of(part)
                if place is None:
                    place = str(Path(self.folder, f"{len(self.parts)}.joblib"))
                    joblib.dump(part, place)
                self.parts[key] = part, place

    def submit(self, chunk):
        payload, used = chunks.packed(chunk.job, self.parts)
        places = [self.parts[key][1] for key in used]
        work = chunks.Work(chunk.name, chunks.mapped)
        return self.executor.submit(work, payload, self.folder, *places)

    def close(self):
        super().close()
        if self.folder is not None:
            shutil.rmtree(self.folder, ignore_errors=True)


class ByDask(ByThreads):
    """To Dask's workers, which hold data by themselves."""

    shared = False

    def __init__(self, executor):
        super().__init__(executor)
        self.client, self.sent, self.n_sent = executor._client, {}, 0
        self._check()

    def _check(self):
        if self.client.status != "running":
            raise RuntimeError(
                "executor: expected that of a client which is open; got one whose client is "
                f"{self.client.status}"
            )

    def n_workers(self):
        return sum(self.client.nthreads().values())

    def carry(self, parts):
        self._await()
        new = [key for key in parts if key not in self.parts]
        self.parts.update(parts)
        self._scatter(new)

    def _await(self):
        if not self.n_workers():  # whoever adapts the cluster to its tasks is to see one
            self.client.submit(int, pure=False).result()

    def _scatter(self, keys):
        if keys:
            self._await()
            data = [self.parts[key] for key in keys]
            futures = self.client.scatter(data, broadcast=True, hash=False)
            self.sent.update(zip(keys, futures, strict=True))

    def submit(self, chunk):
        payload, used = chunks.packed(chunk.job, self.parts)
        key = f"{chunk.name}-{chunk.told}-{uuid.uuid4().hex}"
        futures = [self.sent[key] for key in used]
        return self.executor.submit(chunks.Work(chunk.name), payload, *futures, key=key, pure=False)

    def lost(self):
        self._check()
        gone = [key for key, future in self.sent.items() if future.status != "finished"]
        self.n_sent += bool(gone)
        if self.n_sent > SENT_AGAIN:
            return False
        self._scatter(gone)
        return bool(self.sent)

    def close(self):
        super().close()
        self.sent.clear()


class ByJoblib(ByThreads):
    """To the workers of the backend of joblib's that has been chosen."""

    def __init__(self, config, n_jobs):
        super().__init__(None)
        self.config, self.n_jobs = config, n_jobs
        self.shared = getattr(config["backend"], "supports_sharedmem", False)

    def n_workers(self):
        with joblib.parallel_config(**self.config):
            return joblib.effective_n_jobs(self.n_jobs)

    def _call(self, chunk):
        if self.shared:
            return chunks.run, (chunk.job, chunks.WITHIN.get()), {}
        payload, used = chunks.packed(chunk.job, self.parts)
        return chunks.Work(chunk.name), (payload, *(self.parts[key] for key in used)), {}

    def outcomes(self, plan):
        unordered = self.config["backend"].supports_return_generator
        with joblib.parallel_config(**self.config):
            parallel = joblib.Parallel(
                self.n_jobs,
                batch_size=1,
                pre_dispatch=f"{QUEUED} * n_jobs",
                return_as="generator_unordered" if unordered else "list",
            )
            found = parallel(map(self._call, plan))
        try:
            yield from map(opened, found)
        finally:
            if unordered:
                found.close()


# what has an executor as a parameter


def with_executor(cls):
    """A class of scikit-learn's with `executor` among its parameters."""
    own = cls.__init__

    @functools.wraps(own)
    def __init__(self, *args, executor=None, **named):
        own(self, *args, **named)
        self.executor = executor

    cls.__init__ = with_signature(__init__, own)
    return cls


def with_signature(made, function):
    """What has been made of a function, with the function's signature and one argument more."""
    own = inspect.signature(function)
    executor = inspect.Parameter("executor", inspect.Parameter.KEYWORD_ONLY, default=None)
    *others, last = own.parameters.values()
    ends = [last] if last.kind is inspect.Parameter.VAR_KEYWORD else []
    parameters = [*others, *([] if ends else [last]), executor, *ends]
    made.__signature__ = own.replace(parameters=parameters)
    return made


class Sends(BaseEstimator):
    """Has an executor, which clones share, and which is no part of what is copied or kept."""

    executor: Any = None

    def __getstate__(self):
        return {**super().__getstate__(), "executor": None}

    def __copy__(self):
        made = type(self).__new__(type(self))
        made.__dict__.update(vars(self))
        return made

    def __sklearn_clone__(self):
        bare = copy.copy(self)
        bare.executor = None  # scikit-learn would copy it
        made = super(Sends, bare).__sklearn_clone__()
        made.executor = self.executor
        return made
