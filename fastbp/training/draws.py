"""`Draws`: the orders of a run's epochs, each drawn from the one before by a generator of NumPy's.

What belongs here: where the generator stood when the order was what, so that steps can be made
again. What does not: the draws themselves (kernels/arithmetic/draws.pxd).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

import numpy as np

from fastbp.training.state import Position

LAID_BYTES = 1 << 25  # at most of orders that several runs share


class Draws:
    """The orders that `random_state.shuffle` makes, one epoch's of the one before: scikit-learn's.

    The engine draws them without the GIL, under the generator's own lock.
    """

    def __init__(self, random_state: np.random.RandomState) -> None:
        self.random_state = random_state
        self._take(random_state)

    def _take(self, random_state: Any) -> None:
        self.random_state, self.bits = random_state, random_state._bit_generator
        self.marked: tuple[Position, Any, np.ndarray] | None = None
        self.laid: np.ndarray | None = None

    @property
    def source(self) -> Any:
        """What the engine draws by (Trainer.draw_by)."""
        return self.bits.capsule if self.laid is None else self.laid

    @property
    def lock(self) -> AbstractContextManager[Any]:
        """Held while the engine draws."""
        return self.bits.lock

    def separate(self) -> None:
        """Draw from now on by a generator that this one seeds, and that nobody else has."""
        self._take(np.random.RandomState(self.random_state.randint(2**31)))

    def mark(self, position: Position, order: np.ndarray) -> None:
        """Note what the order is where a run stands."""
        if self.laid is not None:
            return
        self.marked = position, self.bits.state, order.copy()

    def place(self, position: Position, order: np.ndarray, rows: np.ndarray | None) -> None:
        """Have the order in place of where a run stands: as noted, or from the first epoch on."""
        if self.laid is not None:
            if position.row > 0:
                order[...] = self.laid[position.epoch]
                order[...] = order if rows is None else rows[order]
            return
        if self.marked is not None and self.marked[0] == position:
            self.bits.state = self.marked[1]
            order[...] = self.marked[2]
            return
        for _ in range(position.epoch + (position.row > 0)):
            self.random_state.shuffle(order)


def share(draws: Iterable[tuple[Draws, int, int]]) -> None:
    """Have runs whose orders are the same ones all read them from one array, made here.

    Each is (draws, n, epochs). So are the candidates of a search, whose fits begin with the same
    random_state; drawing takes 10 ns a row and epoch (bench/many.py). Their generators stay where
    they are.
    """
    same: dict[Any, list[tuple[Draws, int]]] = {}
    for of_run, n, epochs in draws:
        state = of_run.bits.state
        if state["bit_generator"] == "MT19937":  # RandomState's, unless it was given another
            key = n, state["state"]["key"].tobytes(), state["state"]["pos"]
            same.setdefault(key, []).append((of_run, epochs))
    for (n, *_), runs in same.items():
        epochs = max(epochs for _, epochs in runs)
        if len(runs) < 2 or 4 * n * epochs > LAID_BYTES:
            continue
        laid = np.empty((epochs, n), np.int32)
        order, draw = np.arange(n), runs[0][0].random_state.shuffle
        for of_epoch in laid:
            draw(order)
            of_epoch[...] = order
        for of_run, _ in runs:
            of_run.laid = laid
