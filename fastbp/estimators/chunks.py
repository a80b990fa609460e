"""Chunks of scikit-learn's tasks, each trained in one crew wherever it is sent.

What belongs here: which tasks make a chunk, how long it may take, what travels with it and what
comes back, and what a worker does with it. What does not: to whom chunks are sent (backends.py),
how tasks are trained together (tasks.py).
"""

from __future__ import annotations

import contextlib
import copy
import io
import itertools
import mmap
import pickle
import threading
import time
import traceback
import warnings
from collections import deque
from contextvars import ContextVar
from pathlib import Path
from typing import Any, NamedTuple

import joblib
import numpy as np
from scipy import sparse

from fastbp.estimators.tasks import Batch, Together, draws_freely, ours, signature_of
from fastbp.functions import shown
from fastbp.training.request import flops, limited

try:
    import cloudpickle  # joblib needs it
except ModuleNotFoundError:  # before 1.6, which had its own
    from joblib.externals import cloudpickle

SPEED = 2e10  # flops a second of one core, until chunks have been timed
FIRST_SECONDS = 0.5  # of a chunk by that guess
SECONDS = 0.5, 4.0  # of a chunk once others have been timed: at least, at most
TURNS = 4  # of a worker, at least, where chunks may be short: others then end about when it does
LANES = 16  # of the widest vector: of networks in lanes, as many more take no longer
PART_BYTES = 1 << 16  # of data that go to a worker once; smaller ones go with each chunk
# executors by one of whose threads this is run: it would wait for itself
WITHIN: ContextVar[tuple[Any, ...]] = ContextVar("WITHIN", default=())


class Item:
    """One of scikit-learn's tasks, and what is known of it before it is begun."""

    def __init__(self, batch):
        self.batch, self.of_bag = batch, False
        (self.call,) = batch.items
        task = batch.tasks[0]
        function, args, named = self.call
        if task is not None:
            estimator, X, n = task.given["estimator"], task.given["X"], len(task.given["train"])
            parameters, self.fold = task.given.get("parameters") or {}, id(task.given["train"])
            self.seed, self.kind = task.seed, "ours"
        else:
            self.of_bag = of_bag = getattr(function, "__name__", "") == "_parallel_build_estimators"
            estimator = named.get("estimator", next(iter(args), None))
            estimator, X = (args[1].estimator_, args[2]) if of_bag else (estimator, None)
            n, parameters, self.fold, self.seed = getattr(X, "shape", (0,))[0], {}, 0, None
            self.kind = "ours" if of_bag and ours(estimator) is not None else "other"
        self.estimator = estimator
        self.name = type(ours(estimator) or estimator).__name__
        self.key, self.work, self.threads = None, 1.0, 1
        if self.kind == "ours":
            self._of_network(ours(estimator), parameters, X, n)

    def _of_network(self, model, parameters, X, n):
        """Of which shape it is, and its flops, about; at most those of max_iter."""
        own = model.get_params(deep=False)
        for name, value in parameters.items():
            if (last := name.rpartition("__")[2]) in own:
                own[last] = value
        try:
            sizes = [int(size) for size in np.atleast_1d(own["hidden_layer_sizes"])]
            widths = [X.shape[1], *sizes, 1]
            n_parameters = sum(a * b for a, b in itertools.pairwise(widths))
            self.work = max(1.0, flops(n_parameters, n) * float(own["max_iter"]))
            self.threads = int(own["n_threads"] or 1)
        except Exception:  # nonsense, which is refused where it is fitted
            sizes = []
        shape = (sizes, own["activation"], own["solver"], own["batch_size"], own["loss"])
        self.key = type(model).__name__, repr(shape)

    def draws_freely(self):
        """Whether its fit draws by NumPy's global generator, other than by a seed from here."""
        estimator, model = self.estimator, ours(self.estimator)
        if self.of_bag or not hasattr(estimator, "get_params") or estimator is model:
            return False  # a bag seeds its members
        last = "" if model is None else f"{estimator.steps[-1][0]}__"
        values = estimator.get_params(deep=True) | (self.call[2].get("parameters") or {})
        for name, value in values.items():
            if model is not None and (value is model or name.startswith(last)):
                continue
            if name.endswith("random_state"):
                free = draws_freely(value)
            else:  # as a splitter has it
                free = draws_freely(getattr(value, "random_state", 0))
                free = free and bool(getattr(value, "shuffle", True))
            if free:
                return True
        return False

    def sent(self, lean):
        """The task; of a bag without the members that it has from before. `lean`: those so far."""
        if not self.of_bag:
            function, args, named = self.call
            if hasattr(named.get("caller"), "_skl_callbacks"):
                return self.call
            # a search, which is told to its callbacks alone: splits and scores need not travel
            return function, args, {**named, "caller": None} if "caller" in named else named
        function, (n, bag, *args), named = self.call
        if id(bag) not in lean:
            lean[id(bag)] = copy.copy(bag)
            lean[id(bag)].estimators_ = []
        return function, (n, lean[id(bag)], *args), named

    @property
    def place(self):
        """Candidate and fold as scikit-learn counts them, or None."""
        named = self.call[2]
        places = named.get("candidate_progress"), named.get("split_progress")
        return tuple(place[0] if place else None for place in places)


class Job(NamedTuple):
    """What is to be done for a chunk: tasks with their seeds, threads, a seed of transformers."""

    number: int
    tasks: list[Any]
    n_threads: int
    seed: int | None


class Chunk:
    """Items that are trained together."""

    def __init__(self, number, items, seed):
        self.items, self.n_lost = items, 0
        lean: dict[int, Any] = {}
        tasks = [(item.sent(lean), item.seed) for item in items]
        self.job = Job(number, tasks, max(item.threads for item in items), seed)

    @property
    def name(self):
        """What it fits: "fit MLPClassifier"."""
        return "fit " + " and ".join(sorted({item.name for item in self.items}))

    @property
    def told(self):
        """Of which it is: "candidates 0 to 4, fold 1"."""
        told = []
        for kind, places in zip(("candidate", "fold"), self._places(), strict=True):
            if len(places) == 1:
                told.append(f"{kind} {places[0]}")
            elif places:
                told.append(f"{kind}s {places[0]} to {places[-1]}")
        return ", ".join(told) or f"{len(self.items)} fits"

    def _places(self):
        both = zip(*(item.place for item in self.items), strict=True)
        return [sorted({place for place in of_kind if place is not None}) for of_kind in both]


class Plan:
    """Chunks of items, made one by one as workers take them, by how long those before took.

    An iterator, which several threads may ask.
    """

    def __init__(self, items, n_workers, seed=None):
        by_key: dict[Any, list[Item]] = {}
        for item in items:
            by_key.setdefault(item.key, []).append(item)
        self.waiting: deque[Item] = deque()
        for group in sorted(by_key.values(), key=lambda group: -group[0].work):
            place: dict[int, int] = {}
            for item in group:
                place.setdefault(item.fold, len(place))
            self.waiting += sorted(group, key=lambda item: place[item.fold])
        self.n_workers, self.seed = n_workers, seed
        self.numbers, self.going = itertools.count(), dict[int, Chunk]()
        self.timed: dict[str, list[float]] = {}  # seconds and work, of each kind
        self.lock = threading.Lock()

    def _seconds(self, item):
        """That an item takes, about."""
        if item.kind in self.timed:
            seconds, work = self.timed[item.kind]
            return item.work * seconds / work
        return item.work / SPEED if item.kind == "ours" else FIRST_SECONDS

    def __iter__(self):
        return self

    def __next__(self):
        with self.lock:
            if not self.waiting:
                raise StopIteration
            going = [item for chunk in self.going.values() for item in chunk.items]
            left = sum(map(self._seconds, self.waiting))
            share = (left + sum(map(self._seconds, going))) / max(1, self.n_workers)
            least, most = SECONDS
            turns = TURNS if self.n_workers > 1 else 1
            wanted = min(most, max(share / turns, min(share, least)))
            if self.waiting[0].kind not in self.timed:
                wanted = min(share, FIRST_SECONDS)
            chunk = [self.waiting.popleft()]
            total = self._seconds(chunk[0])
            while self.waiting and self.waiting[0].kind == chunk[0].kind:
                more = total + self._seconds(self.waiting[0])
                # a rest that is less than half a chunk is none of its own
                if more > wanted * (1 + 1e-9) and left - total > min(wanted, least) / 2:
                    break
                total = more
                chunk.append(self.waiting.popleft())
            while self._fills_lanes(chunk):
                chunk.append(self.waiting.popleft())
            number = next(self.numbers)
            self.going[number] = made = Chunk(number, chunk, self.seed)
            return made

    def _fills_lanes(self, chunk):
        """Whether one more would take a lane that is there anyway, and others have enough."""
        if len(self.waiting) <= LANES * self.n_workers or len(chunk) < LANES // 2:
            return False
        return self.waiting[0].key == chunk[0].key and len(chunk) % LANES > 0

    def ended(self, outcome):
        """The items of the chunk whose outcome it is."""
        with self.lock:
            chunk = self.going.pop(outcome.number).items
            known = self.timed.setdefault(chunk[0].kind, [0.0, 0.0])
            known[0] += max(outcome.seconds, 1e-6)
            known[1] += sum(item.work for item in chunk)
            return chunk


# what travels


def _n_bytes(value):
    """Of an array, a sparse matrix or a table; 0 of anything else."""
    if sparse.issparse(value):
        return sum(
            getattr(value, name).nbytes for name in ("data", "indices") if name in vars(value)
        )
    for name, of_table in (("nbytes", None), ("memory_usage", "sum"), ("estimated_size", None)):
        found = getattr(value, name, None)
        if found is None or isinstance(value, (type, np.generic)):
            continue
        try:
            found = found() if callable(found) else found
            return int(found.sum() if of_table and hasattr(found, "sum") else found)
        except Exception:  # it only has the name
            continue
    return 0


def parts_of(items):
    """Data in the arguments of tasks that are large enough to be sent apart, by their ids."""
    parts: dict[int, Any] = {}
    for item in items:
        _, args, named = item.call
        for value in (*args, *named.values()):
            inner = value.values() if isinstance(value, dict) else (value,)
            for part in inner:
                if id(part) not in parts and _n_bytes(part) >= PART_BYTES:
                    parts[id(part)] = part
    return parts


class _Pickler(cloudpickle.Pickler):
    """Leaves parts out, and notes which."""

    def __init__(self, file, parts):
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self.parts, self.places = parts, {}

    def persistent_id(self, value):
        key = id(value)
        return self.places.setdefault(key, len(self.places)) if key in self.parts else None


class _Unpickler(pickle.Unpickler):
    def __init__(self, file, parts):
        super().__init__(file)
        self.parts = parts

    def persistent_load(self, place):
        return self.parts[place]


def packed(job, parts):
    """A job as bytes, and the ids of `parts` that it leaves out, in the order of their places."""
    pickler = _Pickler(file := io.BytesIO(), parts)
    try:
        pickler.dump(job)
    except Exception as error:
        raise _refused(job, parts, error) from error
    return file.getvalue(), list(pickler.places)


def _refused(job, parts, error):
    """What cannot be pickled is named, as scikit-learn's function of the task names it."""
    for (wrapper, args, named), _ in job.tasks:
        function = getattr(wrapper, "function", wrapper)
        try:
            given = signature_of(function).bind(*args, **named).arguments
        except (TypeError, ValueError):
            given = named
        for name, value in given.items():
            try:
                _Pickler(io.BytesIO(), parts).dump(value)
            except Exception:
                return TypeError(
                    f"{name}: expected what can be pickled, to be sent to a process; got "
                    f"{shown(value)}: {error}. A ThreadPoolExecutor pickles nothing, and functions "
                    "of modules can be pickled"
                )
    return error


class Raised(NamedTuple):
    """An exception that pickle does not make as it was: of other arguments, or with a cause."""

    kind: type[BaseException]
    args: tuple[Any, ...]
    state: dict[str, Any]
    cause: BaseException | None

    def rebuilt(self):
        """The exception, made without its `__init__` where that wants something else."""
        try:
            error = self.kind(*self.args)
            same = repr(_arguments(error)) == repr(self.args)
        except Exception:
            same = False
        if not same:
            error = self.kind.__new__(self.kind, *self.args)
        vars(error).update(self.state)
        error.__cause__ = self.cause
        return error


def _arguments(error):
    """Of an exception, also those that its args leave out, as OSError's do."""
    try:
        _, arguments, *_ = error.__reduce__()
        return tuple(arguments)
    except Exception:  # its own __reduce__
        return error.args


def _sendable(error):
    """The error, or what stands for it, so that it can be pickled and made again."""

    def travels(value):
        try:
            made = pickle.loads(cloudpickle.dumps(value))
            return not isinstance(made, Raised) or made.rebuilt() is not None
        except Exception:
            return False

    if error.__cause__ is None and travels(error):
        return error
    state = {name: value for name, value in vars(error).items() if travels(value)}
    cause = error.__cause__ if travels(error.__cause__) else None
    raised = Raised(type(error), _arguments(error), state, cause)
    if travels(raised):
        return raised
    return error if travels(error) else RuntimeError(f"{type(error).__name__}: {error}")


class Outcome(NamedTuple):
    """What has come of a chunk."""

    number: int
    results: list[Any]
    error: BaseException | Raised | None
    trace: str
    told: list[Any]  # warnings: message, category, file and line
    seconds: float


class Call:
    """A task, as joblib has it, and what it draws by where it is not of ours."""

    def __init__(self, call, seed):
        self.items, self.seed = [call], seed

    def __call__(self):
        if self.seed is not None:
            np.random.seed(self.seed)  # noqa: NPY002
        ((function, args, named),) = self.items
        return [function(*args, **named)]


class Work:
    """What a worker is asked to do with a packed job. Its name says what is fitted."""

    def __init__(self, name, find=None):
        self.__name__ = self.__qualname__ = name
        self.find = find  # parts, of what stands for them

    def __call__(self, payload, *parts):
        began = time.perf_counter()
        if self.find is not None:
            parts = self.find(*parts)
        job = _Unpickler(io.BytesIO(payload), parts).load()
        drawing = contextlib.nullcontext() if job.seed is None else _global_draws()
        with _heard() as told, drawing, _filtered(job):
            outcome = run(job, WITHIN.get(), shared=False)
        found = outcome._replace(told=told, seconds=time.perf_counter() - began)
        if found.error is not None:
            found = found._replace(error=_sendable(found.error))
        try:
            return cloudpickle.dumps(found)
        except Exception as error:
            refused = TypeError(f"{self.__name__}: what comes of it cannot be pickled: {error}")
            return cloudpickle.dumps(found._replace(results=[], error=refused))


def run(job, within, shared=True):
    """Do a job in this process, of which the executors `within` have given it threads.

    `shared`: with the one that sends it, whose global draws are left alone.
    """
    began = time.perf_counter()
    backend = Together(job.n_threads, None if shared else job.seed)
    batches = []
    for call, seed in job.tasks:
        batch = Batch(own := Call(call, None), None, backend)
        if batch.tasks[0] is not None:
            batch.tasks[0].seed = seed
        elif not shared:
            own.seed = seed
        batches.append(batch)
    error, results, trace, token = None, [], "", WITHIN.set(within)
    try:
        with joblib.parallel_config("sequential"), limited(job.n_threads):
            backend.make(batches)
            results = [result for batch in batches for result in batch.get()]
    except Exception as raised:
        error, trace = raised, traceback.format_exc()
    finally:
        WITHIN.reset(token)
    return Outcome(job.number, results, error, trace, [], time.perf_counter() - began)


@contextlib.contextmanager
def _filtered(job):
    """Warnings are told by the filters of who sends the job, also outside of its tasks."""
    (function, *_), _ = job.tasks[0]
    filters = getattr(function, "warning_filters", None)
    with warnings.catch_warnings():
        if filters is not None:
            warnings.resetwarnings()
            known: Any = warnings.filters
            getattr(warnings, "_get_filters", lambda: known)().extend(filters)
        yield


_drawing = threading.Lock()


@contextlib.contextmanager
def _global_draws():
    """One thread's at a time, NumPy's global generator comes out of it as it went in."""
    with _drawing:
        state = np.random.get_state()  # noqa: NPY002
        try:
            yield
        finally:
            np.random.set_state(state)  # noqa: NPY002


# what this process has mapped, of one search: by its folder, and by where it is
_held: dict[str, dict[Any, Any]] = {}


def place_of(part):
    """Where an array lies that is a whole mapped file: what `numpy.memmap` takes; else None."""
    if not isinstance(part, np.memmap) or not isinstance(part.base, mmap.mmap) or part.mode == "c":
        return None  # a part of one, or with changes that the file has not
    part.flush()
    try:
        size = Path(part.filename).stat().st_size
    except (OSError, TypeError):  # TypeError: it is None
        return None
    if size < part.offset + part.nbytes:
        return None
    order = "F" if part.flags.f_contiguous and not part.flags.c_contiguous else "C"
    return str(part.filename), part.dtype.str, "r", part.offset, part.shape, order


def mapped(folder, *places):
    """Data in files, which are mapped into this process's memory."""
    if (known := _held.get(folder)) is None:
        _held.clear()
        known = _held[folder] = {}
    for place in places:
        if place not in known:
            known[place] = _map(place)
    return [known[place] for place in places]


def _map(place):
    try:
        if isinstance(place, str):
            part = joblib.load(place, mmap_mode="r")
        else:
            part = np.memmap(*place)
    except FileNotFoundError as error:
        raise RuntimeError(
            f"executor: expected workers that see the file {error.filename}; set "
            "JOBLIB_TEMP_FOLDER to a folder that all machines share"
        ) from None
    return part.view(np.ndarray) if isinstance(part, np.memmap) else part


class _Heard(threading.local):
    """The warnings of each thread's chunk; `warnings.catch_warnings` is not for threads."""

    told: list[Any] | None = None


_listening, _lock = _Heard(), threading.Lock()
_listeners: list[Any] = []  # whom others' warnings go to, once for each that listens


def _listen(message, category, filename, lineno, file=None, line=None):
    if _listening.told is not None:
        _listening.told.append((message, category, filename, lineno))
    else:
        _listeners[0](message, category, filename, lineno, file, line)


@contextlib.contextmanager
def _heard():
    """A list of the warnings of this thread meanwhile."""
    with _lock:
        _listeners.append(warnings.showwarning if not _listeners else _listeners[0])
        warnings.showwarning = _listen
    told: list[Any] = []
    _listening.told = told
    try:
        yield told
    finally:
        _listening.told = None
        with _lock:
            own = _listeners.pop()
            if not _listeners:
                warnings.showwarning = own
