"""What a run goes on from: which run it is, where it stands, and what it holds there.

What belongs here: facts, and whether two runs are the same. What does not: what a run recorded
(history.py), files (fastbp/files/), what moves it on (driver.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from fastbp.network import Network


class Position(NamedTuple):
    """Where a run stands: all that the engine goes by, in the engine's order."""

    epoch: int = 0
    row: int = 0  # of the epoch's order
    step: int = 0  # steps made since the run began
    loss_sum: float = 0.0  # of the epoch at hand: sum of w C
    weight_sum: float = 0.0


class RunIdentity(NamedTuple):
    """What a run is: what may not change where it is gone on with."""

    n: int  # 0 where it is not known
    batch_size: int
    shuffle: str  # "True", "False", "a callable", or of which chunks
    seed: int
    optimizer: Any  # an Optimizer or LBFGS: its numbers may change, its kind may not
    drop_last: bool = False

    @property
    def steps(self) -> int:
        """Of an epoch."""
        return self.n // self.batch_size if self.drop_last else -(-self.n // self.batch_size)

    @property
    def rows(self) -> int:
        """Rows that an epoch's steps take."""
        return self.steps * self.batch_size if self.drop_last else self.n


class State(NamedTuple):
    """A run that can be gone on with: what it is, where it stands, and what it holds there.

    `parameters` where the network was left with others than those of the last step; `watched`, what
    the watchers keep beside them, each under a name of its own and in the layout of the parameters.
    """

    identity: RunIdentity
    position: Position = Position()
    slots: np.ndarray | None = None
    parameters: np.ndarray | None = None
    watched: Mapping[str, np.ndarray] = MappingProxyType({})

    def resumed(self, identity: RunIdentity, net: Network) -> State:
        """This state for a run that goes on from it, unless that is another run."""
        old, new = self.identity, identity
        for name in ("n", "batch_size", "shuffle", "seed", "drop_last"):
            if getattr(old, name) != getattr(new, name):
                raise ValueError(
                    f"resume: expected the same {name} as in that run, {getattr(old, name)}; got "
                    f"{getattr(new, name)}"
                )
        if old.optimizer.policy != new.optimizer.policy:
            raise ValueError(
                f"resume: expected the same kind of optimizer as in that run, {old.optimizer}; got "
                f"{new.optimizer}"
            )
        slots: Any = self.slots
        if slots.shape[1] != net.n_parameters or slots.dtype != net.dtype:
            raise ValueError(
                f"resume: expected a network as in that run, {slots.shape[1]} parameters of "
                f"{slots.dtype}; got {net.n_parameters} of {net.dtype}"
            )
        return self._replace(identity=identity)
