"""L-BFGS: all samples at once, through SciPy, an iteration for an epoch.

What belongs here: how SciPy's minimiser is given a network. What does not: its numbers
(optimizers.py), what is looked at after an iteration (loop.py, watchers/).
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import inputs
from fastbp.network import Network
from fastbp.optimizers import LBFGS
from fastbp.samples import Samples
from fastbp.training.driver import DivergenceError
from fastbp.training.request import Request
from fastbp.training.state import RunIdentity, State

if TYPE_CHECKING:
    from fastbp.training.loop import Loop
    from fastbp.training.watchers.watcher import Watcher


class Halt(Exception):
    """The end of a minimisation that SciPy does not know of."""


def request_of(
    net: Network,
    data: Samples,
    optimizer: LBFGS,
    l2: float,
    deadline: float,
    watchers: Sequence[Watcher],
    rates: list[float] | None = None,
    decays: list[float] | None = None,
) -> Request:
    """What the loop is asked for a minimum of the network's loss."""
    n = data.X.shape[0]
    state = State(RunIdentity(n, n, "False", 0, optimizer))
    return Request(
        net,
        data,
        {"l2": l2},
        optimizer.max_iter,
        state,
        watchers,
        deadline=deadline,
        driver=Minimisation,
        rates=rates,
        decays=decays,
    )


class Minimisation:
    """Moves the network's parameters to a minimum of its loss, in float64 whatever its dtype.

    Attributes
    ----------
    result : object or None
        What SciPy tells of its own end; None where a watcher or the deadline ended it.
    """

    average = ema = None

    def __init__(self, request: Request) -> None:
        net, data = request.net, request.data
        self.net, self.data, self.history = net, data, request.history
        self.optimizer: Any = request.state.identity.optimizer
        self.l2, self.deadline = request.numbers["l2"], request.deadline
        names = list(net.tensors)
        self.decays = (
            None if request.decays is None else dict(zip(names, request.decays, strict=True))
        )
        self.trained = np.repeat(
            np.array(request.rates or [1.0] * len(names)) != 0,
            [tensor.size for tensor in net.tensors.values()],
        )
        self.n = request.state.identity.n
        self.epoch, self.end_epoch = 0, request.epochs
        self.loss = 0.0  # of the last iteration, penalties left out
        self.result: Any = None
        self.began = time.perf_counter()

    @property
    def step(self) -> int:
        """Iterations made."""
        return self.epoch

    @property
    def samples(self) -> int:
        """Samples used."""
        return self.epoch * self.n

    @property
    def seconds(self) -> float:
        """Since the start."""
        return time.perf_counter() - self.began

    @property
    def columns(self) -> tuple[str, ...]:
        """What `record` gives, by name."""
        return ("loss", "seconds")

    def record(self, n_epochs: int, began: float) -> dict[str, list[float]]:
        """What the history is to hold of the last iteration."""
        return {"loss": [self.loss] * n_epochs, "seconds": [self.seconds] * n_epochs}

    def settle(self) -> None:
        """The network has the parameters after each iteration."""

    def reload(self) -> None:
        """What is written into the network is not seen: SciPy has parameters of its own."""

    def close(self, quiet: bool = False) -> None:
        """There is nothing to leave in order."""

    def state(self, parameters: Any, watched: Any) -> None:
        """None: SciPy's minimiser cannot be gone on with."""

    @property
    def is_late(self) -> bool:
        return self.deadline != 0.0 and time.monotonic() >= self.deadline

    def look(self, loop: Loop) -> None:
        """Have the loop look at the iteration that has ended."""
        loop.look(self.epoch - 1)

    def weight(self) -> np.ndarray | None:
        """Of the samples, in float64."""
        return inputs.as_weight(self.data.weight, len(self.data.X), np.dtype(np.float64))

    def loss_and_gradient(
        self, twin: Network, data: Samples, decays: list[float]
    ) -> tuple[float, np.ndarray]:
        """Of the network's twin, penalties included."""
        if self.is_late:
            raise Halt
        return twin._loss_and_gradient(data, self.l2, decays)

    def drive(self, loop: Loop) -> None:
        """Minimise, and have the loop look after each iteration.

        The iterations end where it says so, or after the deadline.
        """
        try:
            from scipy.optimize import minimize
        except ImportError as error:
            from fastbp import hints

            raise hints.missing("LBFGS needs", "SciPy", "lbfgs") from error
        net, data, optimizer, l2 = self.net, self.data, self.optimizer, self.l2
        trained = self.trained
        twin = Network(**(net.architecture | {"dtype": "float64"}), init="zeros")
        float64, decays = np.dtype(np.float64), twin._decays(self.decays)
        data = Samples(
            data.X.astype(float64),
            None if data.dense is None else data.dense.astype(float64),
            data.labels,
            self.weight(),
            data.missing,
        )
        largest = float(np.finfo(net.dtype).max)

        def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
            twin.parameters[trained] = theta
            with np.errstate(all="ignore"):  # a step too far: SciPy turns back
                loss, gradient = self.loss_and_gradient(twin, data, decays)
                return loss, gradient[trained]

        def accept(intermediate_result: Any) -> None:
            theta, loss = intermediate_result.x, float(intermediate_result.fun)
            if not np.isfinite(loss) or not (np.abs(theta) <= largest).all():
                raise DivergenceError(self.epoch, self.epoch, 1.0)
            twin.parameters[trained] = theta
            net.parameters[trained] = theta
            self.epoch += 1
            self.loss = loss - twin._penalty(self.n, l2, 0.0, decays)
            self.look(loop)
            if loop.is_over:
                raise Halt

        twin.parameters[...] = net.parameters
        start = twin.parameters[trained]
        try:
            if not np.isfinite(loss_and_gradient(start)[0]):
                raise DivergenceError(0, 0, 1.0)
            if not trained.any():
                return
            self.result = minimize(
                loss_and_gradient,
                start,
                method="L-BFGS-B",
                jac=True,
                callback=accept,
                options={
                    "maxiter": optimizer.max_iter,
                    "maxfun": optimizer.max_fun,
                    "gtol": optimizer.tolerance,
                    # near a minimum the loss differs by the gradient squared; at most SciPy's own
                    "ftol": min(2.220446049250313e-9, optimizer.tolerance**2),
                },
            )
        except Halt:
            pass
