"""Ranks that make one run together: sums over them, and that a failure on one ends all.

What belongs here: the communicator, mpi4py's or one with its methods, and what every use of it goes
through. What does not: who has which rows and how a step is made (data_parallel.py), what is asked
of such a run (distributed.py).

A rank on which something was raised does not stay away, for the others would wait for ever: where
they come together next, it says so. Every sum, gathering and broadcast therefore begins with
`agree`, one small Allreduce that is the same wherever it is called from; only the sum of each step
has what is to be told behind the gradient itself (kernels/loop/share.pxi).
"""

from __future__ import annotations

import signal
import threading
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np

from fastbp.functions import shown

T = TypeVar("T")

ASKED = 3  # numbers that ranks may compare where they agree
METHODS = ("Get_rank", "Get_size", "Allreduce", "Bcast", "allgather", "bcast")


class RankError(RuntimeError):
    """Another rank failed, on which what it raised is raised.

    Attributes
    ----------
    rank : int
    message : str
        What was raised there, in words.

    Examples
    --------
    >>> RankError(1, "ValueError: X: expected finite values")
    RankError('rank 1 failed: ValueError: X: expected finite values')
    """

    def __init__(self, rank: int, message: str) -> None:
        super().__init__(f"rank {rank} failed: {message}")
        self.rank, self.message = rank, message

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.rank, self.message)


def as_ranks(comm: Communicator) -> Ranks | None:
    """The ranks of a communicator; None where there is one alone, whose fit is as without."""
    for name in METHODS:
        if not callable(getattr(comm, name, None)):
            raise TypeError(
                f"comm: expected a communicator, as mpi4py's MPI.COMM_WORLD; got {shown(comm)}"
            )
    if (is_inter := getattr(comm, "Is_inter", None)) is not None and is_inter():
        raise ValueError("comm: expected an intracommunicator; got one between two groups")
    return Ranks(comm) if comm.Get_size() > 1 else None


def digest(array: np.ndarray) -> int:
    """What tells arrays apart."""
    return zlib.crc32(array.data)


def all_ranks() -> Ranks | None:
    """Those that mpiexec started; None where that is one alone."""
    return as_ranks(_mpi().COMM_WORLD)


def _mpi() -> Any:
    try:
        from mpi4py import MPI
    except ImportError as error:
        from fastbp import hints

        raise hints.missing("several ranks need", "mpi4py", "mpi") from error
    return MPI


class Communicator(Protocol):
    """What a user gives: mpi4py's, or one with its methods (`METHODS`)."""

    def Get_rank(self) -> int: ...

    def Get_size(self) -> int: ...


class Ranks:
    """The ranks of one communicator.

    Attributes
    ----------
    rank, size : int
        This one's number, and how many there are.
    told : BaseException or None
        What ended the run on every rank; nothing is agreed any more.
    """

    def __init__(self, comm: Any) -> None:
        self.comm, self.mpi = comm, _mpi()
        self.rank, self.size = comm.Get_rank(), comm.Get_size()
        self.told: BaseException | None = None
        self.interrupts: list[Callable[[], Any]] = []

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    @property
    def takes_threads(self) -> bool:
        """Whether other threads than the first may use the communicator, one at a time."""
        return bool(self.mpi.Query_thread() >= self.mpi.THREAD_SERIALIZED)

    def agree(
        self, what: str, *asked: int, failure: BaseException | None = None
    ) -> tuple[int, ...]:
        """The largest of what the ranks ask; where one failed or was interrupted, all raise.

        So they do where they stand at different places, which `what` tells apart.
        """
        if self.told is not None:
            raise self.told
        failure = failure or self._interrupted()
        place = zlib.crc32(what.encode())
        note = np.zeros(3 + ASKED, np.int64)
        note[:3] = failure is not None, place, -place
        note[3 : 3 + len(asked)] = asked
        self.comm.Allreduce(self.mpi.IN_PLACE, note, self.mpi.MAX)
        if note[0]:
            self._end(failure)
        if note[1] != -note[2]:
            self.refuse(RuntimeError(f"ranks went different ways, this one to {what}"))
        return tuple(note[3 : 3 + len(asked)].tolist())

    def _interrupted(self) -> BaseException | None:
        """What Ctrl-C raises, where it came meanwhile."""
        if not self.interrupts:
            return None
        try:
            self.interrupts.pop(0)()
        except BaseException as error:
            return error
        return None

    def _end(self, failure: BaseException | None) -> None:
        """Raise on every rank: what was raised there, or that another one did."""
        own = None
        if failure is not None:
            words = f"{type(failure).__name__}: {failure}"
            own = words.removesuffix(": "), isinstance(failure, KeyboardInterrupt)
        told = self.comm.allgather(own)
        rank = next(i for i, of_rank in enumerate(told) if of_rank is not None)
        words, is_interrupt = told[rank]
        if failure is None:
            failure = KeyboardInterrupt(f"on rank {rank}") if is_interrupt else None
        self.told = failure or RankError(rank, words)
        raise self.told

    def decide(self, work: Callable[[], Sequence[int]], what: str = "go on") -> tuple[int, ...]:
        """Do a rank's own work, which may fail, and agree on what it asks."""
        asked: Sequence[int] = ()
        failure = None
        try:
            asked = work()
        except BaseException as error:
            failure = error
        if self.told is not None:  # all ranks know
            raise failure or self.told
        return self.agree(what, *asked, failure=failure)

    def together(self, work: Callable[..., T], *given: Any) -> T:
        """Do a rank's own work, which may fail; what it gives, once no rank has failed."""
        found: list[T] = []

        def one() -> tuple[int, ...]:
            found.append(work(*given))
            return ()

        self.decide(one)
        return found[0]

    def first(self, is_it: bool) -> int | None:
        """The first rank of which that is true."""
        (found,) = self.agree("find the first", self.size - self.rank if is_it else 0)
        return self.size - found if found else None

    def refuse(self, error: Exception) -> None:
        """Raise what every rank finds."""
        self.told = error
        raise error

    def same(self, number: int, expected: str) -> None:
        """Refuse numbers that are not the same on every rank."""
        most, minus_least = self.agree(expected, number, -number)
        if most != -minus_least:
            self.refuse(ValueError(f"{expected} the same on every rank; got others"))

    def compare(self, options: Mapping[str, str]) -> None:
        """Refuse options, in words, that are not those of the first rank."""
        told = self.gather(options)
        for name, value in told[0].items():
            for rank, of_rank in enumerate(told):
                if of_rank.get(name) != value:
                    self.refuse(
                        ValueError(
                            f"{name}: expected the same on every rank; got {value} on rank 0 and "
                            f"{of_rank.get(name)} on rank {rank}"
                        )
                    )

    def add(self, array: np.ndarray) -> None:
        """The sum over the ranks in the place of an array, at once: nobody agrees before."""
        self.comm.Allreduce(self.mpi.IN_PLACE, array, self.mpi.SUM)

    def sum(self, array: np.ndarray) -> np.ndarray:
        """The sum over the ranks, in the place of the array."""
        self.agree("add up")
        self.add(array)
        return array

    def gather(self, value: T) -> list[T]:
        """What each rank has."""
        self.agree("gather")
        return self.comm.allgather(value)

    def share(self, value: T) -> T:
        """What the first rank has."""
        self.agree("share")
        return self.comm.bcast(value, 0)

    def share_array(self, array: np.ndarray) -> np.ndarray:
        """The first rank's in the place of an array."""
        self.agree("share an array")
        self.comm.Bcast(array, 0)
        return array

    def mean(self, values: Sequence[float], weight: float) -> list[float]:
        """Means over the ranks, each weighing `weight`; what one of no weight has does not count.

        Infinite or NaN where one of them is.
        """
        parts = np.array([1.0, *values] if weight else [0.0] * (1 + len(values)))
        with np.errstate(over="ignore", invalid="ignore"):
            parts = self.sum(parts * weight)
            return list((parts[1:] / parts[0]).tolist())

    @contextmanager
    def patient(self) -> Iterator[None]:
        """Have Ctrl-C wait until the ranks agree, so that all end after the same step.

        A second one acts at once.
        """
        then = signal.getsignal(signal.SIGINT)
        if threading.current_thread() is not threading.main_thread() or not callable(then):
            yield
            return

        def note(number: int, frame: Any) -> None:
            if self.interrupts:
                self.interrupts.clear()
                then(number, frame)
            self.interrupts.append(lambda: then(number, frame))

        signal.signal(signal.SIGINT, note)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, then)
        if self.interrupts:  # too late for the ranks to agree
            self.interrupts.pop(0)()
