"""L-BFGS: all samples at once, through SciPy.

What belongs here: how SciPy's minimiser is given a network. What does not: its numbers
(optimizers.py), what is looked at after an iteration (monitor.py).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from fastbp.network import Network
from fastbp.optimizers import LBFGS
from fastbp.run import DivergenceError, Samples


class _Halt(Exception):
    pass


def minimise(
    net: Network,
    data: Samples,
    optimizer: LBFGS,
    l2: float,
    deadline: float,
    each_iteration: Callable[[float], bool],
) -> Any:
    """Move the network's parameters to a minimum of its loss, in float64 whatever its dtype.

    `each_iteration` is called with the loss, penalties left out, when the parameters are those
    after an iteration; where it returns True, or after the deadline (of time.monotonic; 0: none),
    the iterations end. Returns what SciPy tells of its own end, None of these two.
    """
    try:
        from scipy.optimize import minimize
    except ImportError as error:
        from fastbp import hints

        raise hints.missing("LBFGS needs", "SciPy", "lbfgs") from error
    twin = Network(**(net.architecture | {"dtype": "float64"}), init="zeros")
    X = data.X.astype(np.float64)
    Y = data.Y if data.dense is None else data.dense.astype(np.float64)
    options: dict[str, Any] = {
        "sample_weight": data.weight,
        "ignore_missing": data.missing,
        "l2": l2,
    }
    largest = float(np.finfo(net.dtype).max)
    iteration = 0

    def loss_and_gradient(theta: np.ndarray) -> tuple[float, np.ndarray]:
        if deadline and time.monotonic() >= deadline:
            raise _Halt
        twin.parameters[...] = theta
        with np.errstate(all="ignore"):  # a step too far: SciPy turns back
            return twin.loss(X, Y, **options), twin.gradient(X, Y, **options)

    def accept(intermediate_result: Any) -> None:
        nonlocal iteration
        theta, loss = intermediate_result.x, float(intermediate_result.fun)
        if not np.isfinite(loss) or not (np.abs(theta) <= largest).all():
            raise DivergenceError(iteration, iteration, 1.0)
        twin.parameters[...] = theta
        net.parameters[...] = theta
        iteration += 1
        if each_iteration(loss - twin._penalty(X.shape[0], l2, 0.0)):
            raise _Halt

    start = net.parameters.astype(np.float64)
    try:
        if not np.isfinite(loss_and_gradient(start)[0]):
            raise DivergenceError(0, 0, 1.0)
        return minimize(
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
    except _Halt:
        return None
