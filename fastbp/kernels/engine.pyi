"""Types of the compiled doors: what each module engine_LEVEL_TYPE has (doors/*.pxi, engine.pyx).

What belongs here: names and types, which tests/kernels/test_stubs.py holds against the modules.
What does not: what they do. Arrays are C-contiguous, of the module's float type unless said; X is
such an array, or has its rows as lists where the engine reads rows (fastbp/sparse.py: Lists).
"""

from collections.abc import Callable
from typing import Protocol

import numpy as np

Array = np.ndarray
Position = tuple[float, ...]  # epoch, row, steps made, sum of w C, sum of w
Layer = tuple[str, str, float, int, int, int]  # link, activation, its parameter, n_in, n_z, n_a

class CompiledNetwork:
    def __init__(self, layers: list[Layer], cost: tuple[str, float], n_y: int) -> None: ...
    @property
    def address(self) -> int: ...

class Masks:
    def __init__(self, rates: list[float], seed: int, step: int) -> None: ...

class Predictor:
    def __init__(
        self,
        net: CompiledNetwork,
        parameters: Array,
        empty: Callable[..., Array],
        dtype: np.dtype,
    ) -> None: ...
    def predict(self, X: object, out: Array | None) -> Array | None: ...
    def predict_one(self, x: object) -> Array | None: ...

class Trainer:
    n_slots: int
    position: Position
    skips_zeros: bool
    def __init__(
        self,
        net: CompiledNetwork,
        optimizer: str,
        numbers: dict[str, float],
        n: int,
        batch_size: int,
        n_threads: int,
        shuffled: bool,
        seed: int,
        masks: Masks | None = None,
        whole_batch: bool = False,
        rates: list[float] | None = None,
        decays: list[float] | None = None,
        ema: float | None = None,
        room: int = 0,
        subset: Array | None = None,
        drop_last: bool = False,
        shares: bool = False,
        expected: int = 0,
    ) -> None: ...
    @property
    def shares_columns(self) -> bool: ...
    @property
    def epoch(self) -> int: ...
    @property
    def diverged(self) -> bool: ...
    def set_course(self, course: Array) -> None: ...
    def take_part(
        self, starts: Array, places: Array, weights: Array, batch_size: int, per_epoch: int
    ) -> None: ...
    def reduce_by(self, reducer: Callable[[], object]) -> memoryview: ...
    def set_step(self, numbers: dict[str, float]) -> None: ...
    def look_at(self, n: int, first: int, end: int, is_last: bool) -> None: ...
    def draw_by(self, source: object) -> None: ...
    def stop_by(self, tol: float, best: float, count: int, most: float) -> None: ...
    def share(self, n_threads: int) -> None: ...
    def give_up(self) -> None: ...

class Lanes:
    n_lanes: int
    n_slots: int
    def __init__(
        self, net: CompiledNetwork, optimizer: str, batch_size: int, drops: bool
    ) -> None: ...
    def load(
        self,
        lane: int,
        X: object,
        dense: Array | None,
        labels: Array | None,
        weight: Array | None,
        rows: Array | None,
        order: Array,
        n: int,
        seed: int,
        shuffled: bool,
        numbers: dict[str, float],
        rates: list[float] | None,
        tensor_rates: list[float] | None,
        tensor_decays: list[float] | None,
        parameters: Array,
        slots: Array | None,
        position: Position,
        missing: bool = False,
        drop_last: bool = False,
    ) -> None: ...
    def clear(self, lane: int) -> None: ...
    def draw_by(self, lane: int, source: object) -> None: ...
    def stop_by(self, lane: int, tol: float, best: float, count: int, most: float) -> None: ...
    def rule(self, lane: int) -> tuple[float, float, int, float] | None: ...
    def set_step(self, lane: int, numbers: dict[str, float]) -> None: ...
    def set_course(self, lane: int, course: Array | None) -> None: ...
    def keep(self, lane: int, states: Array | None) -> None: ...
    def position(self, lane: int) -> Position: ...
    def store(self, lane: int, parameters: Array, slots: Array | None) -> None: ...
    def has_finite_state(self, lane: int) -> bool: ...
    def has_diverged(self, lane: int) -> bool: ...

class Sampled:
    def __init__(
        self, net: CompiledNetwork, parameters: Array, allowed: int, scalar: type
    ) -> None: ...
    def learn(self, x: object, y: object, learning_rate: float) -> float | None: ...

class Learner(Sampled): ...

class Stepper(Sampled):
    def __init__(
        self,
        net: CompiledNetwork,
        parameters: Array,
        allowed: int,
        scalar: type,
        trainer: Trainer,
    ) -> None: ...
    def learn_many(self, X: Array, Y: Array | None, labels: Array | None) -> float | None: ...
    def pull(self, X: object, V: object) -> bool | None: ...

# by which the protocol below means the classes, not its own attributes of their names
_Net = CompiledNetwork
_Masks = Masks
_Predictor = Predictor
_Trainer = Trainer
_Lanes = Lanes
_Learner = Learner
_Stepper = Stepper

class Engine(Protocol):
    """A module of the engine."""

    CompiledNetwork: type[_Net]
    Masks: type[_Masks]
    Predictor: type[_Predictor]
    Trainer: type[_Trainer]
    Lanes: type[_Lanes]
    Learner: type[_Learner]
    Stepper: type[_Stepper]
    LINK_ROWS: dict[str, int]
    SIGMA_ROWS: dict[str, int]
    COST_ROWS: dict[str, int]
    CANONICAL_ROWS: dict[tuple[str, str], int]
    POLICY_ROWS: dict[str, int]
    max_threads: int
    compiler: str
    __name__: str
    __pyx_capi__: dict[str, object]

    def is_finite(self, x: Array) -> bool: ...
    def predict(self, net: _Net, parameters: Array, X: object, out: Array) -> None: ...
    def feedforward(
        self, net: _Net, parameters: Array, X: object, zs: list[Array], activations: list[Array]
    ) -> None: ...
    def costs(
        self,
        net: _Net,
        parameters: Array,
        X: object,
        Y: Array | None,
        labels: Array | None,
        out: Array,
        masks: _Masks | None = None,
        missing: bool = False,
    ) -> None: ...
    def outputs_and_costs(
        self,
        net: _Net,
        parameters: Array,
        X: object,
        Y: Array | None,
        labels: Array | None,
        out: Array,
        C: Array,
        missing: bool = False,
        rows: Array | None = None,
    ) -> None: ...
    def perturbed_costs(
        self,
        net: _Net,
        parameters: Array,
        X: object,
        Y: Array | None,
        labels: Array | None,
        index: Array,
        instead: Array,
        out: Array,
        masks: _Masks | None = None,
        missing: bool = False,
    ) -> None: ...
    def deltas(
        self,
        net: _Net,
        parameters: Array,
        X: object,
        Y: Array | None,
        labels: Array | None,
        out: list[Array],
        masks: _Masks | None = None,
        missing: bool = False,
    ) -> None: ...
    def gradient(
        self,
        net: _Net,
        parameters: Array,
        X: object,
        Y: Array | None,
        labels: Array | None,
        weight: Array | None,
        scale: float,
        out: Array,
        masks: _Masks | None = None,
        missing: bool = False,
        C: Array | None = None,
    ) -> None: ...
    def mask(self, masks: _Masks, l: int, out: Array) -> None: ...
    def input_gradient(
        self,
        net: _Net,
        parameters: Array,
        X: object,
        Y: Array | None,
        labels: Array | None,
        out: Array,
    ) -> None: ...
    def vjp(self, net: _Net, parameters: Array, X: object, V: Array, out: Array) -> None: ...
    def jacobian(self, net: _Net, parameters: Array, X: object, out: Array) -> None: ...
    def jvp(self, net: _Net, parameters: Array, X: object, V: object, out: Array) -> None: ...
    def memory(
        self,
        net: _Net,
        optimizer: str,
        batch_size: int,
        n_threads: int,
        stores_gradient: bool = False,
        whole_batch: bool = False,
        averages: bool = False,
        room: int = 0,
        expected: int = 0,
    ) -> dict[str, float]: ...
    def load_state(self, t: _Trainer, parameters: Array, slots: Array) -> None: ...
    def load_average(self, t: _Trainer, average: Array | None) -> None: ...
    def store_average(self, t: _Trainer, average: Array) -> bool: ...
    def store_state(self, t: _Trainer, parameters: Array, slots: Array) -> None: ...
    def draw_order(self, order: Array, subset: Array | None, seed: int, epoch: int) -> None: ...
    def has_finite_state(self, t: _Trainer) -> bool: ...
    def train(
        self,
        t: _Trainer,
        thread: int,
        max_steps: int,
        end_epoch: int,
        X: object,
        Y: Array | None,
        labels: Array | None,
        weight: Array | None,
        order: Array,
        first_epoch: int,
        losses: Array,
        clock: Array,
        deadline: float = 0.0,
        missing: bool = False,
    ) -> int: ...
    def step_outputs(
        self, t: _Trainer, X: object, order: Array, first: int, m: int, out: Array
    ) -> None: ...
    def step_update(self, t: _Trainer, V: Array) -> bool: ...
    def lanes_fit(self, net: _Net) -> bool: ...
    def fewest_in_lanes(self, net: _Net, optimizer: str, batch_size: int) -> int: ...
    def lanes_bytes(self, net: _Net, optimizer: str, batch_size: int) -> float: ...
    def train_lanes(
        self,
        lanes: _Lanes,
        max_steps: int,
        end_epochs: Array,
        first_epochs: Array,
        losses: Array,
        clock: Array,
        deadline: float = 0.0,
    ) -> int: ...
    def elementary(self, name: str, x: Array, out: Array) -> None: ...
    def multiply_add(self, x: Array, repeats: int) -> float: ...
    def is_ascending(self, starts: Array, index: Array) -> bool: ...
