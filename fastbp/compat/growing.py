"""A network that grows with a stream of rows whose features and classes come as they like.

What belongs here: which column a feature has, how a network gets more of them, and what a refused
row leaves as it was. What does not: steps (training/online.py), whose protocol it is (river.py).
"""

from __future__ import annotations

import math
import struct
from collections.abc import Hashable, Mapping, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from fastbp import inputs
from fastbp.functions import shown
from fastbp.network import Network
from fastbp.optimizers import Adam, Optimizer
from fastbp.training.online import OnlineTrainer

if TYPE_CHECKING:
    from river.base.typing import ClfTarget

Row: TypeAlias = "Mapping[Hashable, float] | Mapping[str, float]"
LARGEST = float(np.finfo(np.float32).max)
FIRST_COLUMNS = 8  # for features to come; then twice as many


class Growing:
    """A network whose columns are features and whose outputs are classes, as they come."""

    hidden_layer_sizes: int | Sequence[int]
    activation: str
    optimizer: Optimizer | str | None
    seed: int
    _loss: ClassVar[dict[str, str]]

    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (32,),
        activation: str = "relu",
        optimizer: Optimizer | str | None = None,
        seed: int = 0,
    ) -> None:
        self.hidden_layer_sizes, self.activation = hidden_layer_sizes, activation
        self.optimizer, self.seed = optimizer, seed
        self._begin()

    def _begin(self) -> None:
        """Know nothing yet."""
        self._columns: dict[Hashable, int] = {}
        self._classes: dict[ClfTarget, int] = {}  # of a regressor there are none
        # how a row that has all of them is laid into `_row`: struct's format, and what gets its
        # values; None unless the last row had all
        self._whole: tuple[str, Any] | None = None
        self._trainer: OnlineTrainer | None = None
        self._row: Any = np.zeros(FIRST_COLUMNS, np.float32)

    @property
    def network(self) -> Network | None:
        """The network as it is now, whose columns are `features`; None before the first row."""
        return None if self._trainer is None else self._trainer.net

    @property
    def features(self) -> list[Hashable]:
        """The feature of each column that has one."""
        return list(self._columns)

    def _unit_test_skips(self) -> set[str]:
        # a batch is one step of its mean gradient, not a step a row
        return {"check_learn_many_matches_learn_one"}

    def _of(self, x: Row, learns: bool) -> np.ndarray:
        """A row as the network reads it; features that are not there are 0, as sparse rows have it.

        Unknown ones become columns of their own where the network `learns`, else they are left out.
        """
        # another mapping may have an answer to a name that it lacks
        if self._whole is not None and type(x) is dict and len(x) == len(self._columns):
            layout, values = self._whole
            try:
                struct.pack_into(layout, self._row, 0, *values(x))
            except (KeyError, struct.error):
                pass
            else:
                return self._row
        return self._placed(x, learns)

    def _refused(self, x: Row, error: BaseException) -> BaseException:
        """What to tell of a row that has been refused: which of its numbers is not finite."""
        if not str(error).startswith("x: expected finite"):
            return error
        try:
            for name, value in x.items():
                _as_number(value, name)
        except (TypeError, ValueError) as named:
            return named
        return error

    def _outputs(self, x: Row) -> list[float]:
        row = self._of(x, learns=False)
        try:
            outputs: list[float] = self._trainer._net.predict_one(row).tolist()  # type: ignore[union-attr]
        except ValueError as error:
            raise self._refused(x, error) from None
        return outputs

    def _placed(self, x: Row, learns: bool) -> np.ndarray:
        """A row whose features are looked at one by one."""
        try:
            items = x.items()
        except AttributeError:
            raise TypeError(f"x: expected a dict of features; got {shown(x)}") from None
        numbers = {name: _as_number(value, name) for name, value in items}
        if learns:
            self._know(numbers)
        row, columns = self._row, self._columns
        row[:] = 0.0
        n_known = 0
        for name, number in numbers.items():
            if name in columns:
                row[columns[name]] = number
                n_known += 1
        has_all = len(numbers) == n_known == len(columns) > 1
        self._whole = (f"{n_known}f", itemgetter(*columns)) if has_all else None
        return row

    def _know(self, names: Any) -> None:
        """Have a column for each feature; of several new ones in the order of their names."""
        for name in sorted((name for name in names if name not in self._columns), key=_by_name):
            self._columns[name] = len(self._columns)
            self._whole = None
        if len(self._columns) > len(self._row):
            self._row = np.zeros(2 ** (len(self._columns) - 1).bit_length(), np.float32)
        self._fit_in()

    def _learn(self, x: Row, y: Any) -> None:
        kept = self._kept()
        try:
            row, target = self._of(x, learns=True), self._target(y)
            self._trainer.learn_one(row, target)  # type: ignore[union-attr]
        except BaseException as error:
            self._restore(kept)
            raise self._refused(x, error) from None

    def _target(self, y: Any) -> Any:
        return y

    def _learn_batch(self, X: Any, y: Any) -> None:
        kept = self._kept()
        try:
            rows = self._matrix(X, learns=True)
            targets = self._targets(_as_series(y, len(rows)))
            self._trainer.learn_many(rows, targets)  # type: ignore[union-attr]
        except BaseException:
            self._restore(kept)
            raise

    def _targets(self, series: Any) -> np.ndarray:
        return inputs.as_numbers(series.to_numpy(), "y", self._row.dtype)

    def _kept(self) -> tuple[Any, ...]:
        """What a call that is refused must leave as it was; there is nothing that changes in it."""
        counts = len(self._columns), len(self._classes)
        return *counts, self._whole, self._trainer, self._row

    def _restore(self, kept: tuple[Any, ...]) -> None:
        n_columns, n_classes, self._whole, self._trainer, self._row = kept
        for known, n in ((self._columns, n_columns), (self._classes, n_classes)):
            while len(known) > n:
                known.popitem()

    @property
    def _n_outputs(self) -> int:
        return 1

    def _fit_in(self) -> None:
        """Have a network of as many columns and outputs as there are now; it keeps what it knows.

        New weights of hidden layers are those of a fresh network, and of new outputs 0.
        """
        old = self._trainer
        sizes = [len(self._row), *_as_widths(self.hidden_layer_sizes), self._n_outputs]
        if old is not None and [old.net.sizes[0], old.net.sizes[-1]] == [sizes[0], sizes[-1]]:
            return
        net = Network(sizes, activation=self.activation, seed=self.seed, **self._loss)
        optimizer = Adam(0.01) if self.optimizer is None else self.optimizer
        trainer = OnlineTrainer(net, optimizer)
        if old is not None:
            for tensor in (net.weights[-1], net.biases[-1]):
                tensor[...] = 0.0
            slots = trainer.slots
            for target, source in (
                (net.parameters, old.net.parameters),
                *zip(slots, old.slots, strict=True),
            ):
                _copy_into(net, target, old.net, source)
            trainer._stand(slots, old.step)
        self._trainer = trainer

    def _matrix(self, X: Any, learns: bool) -> np.ndarray:
        """A frame as the network reads it."""
        frame = as_frame(X)
        if learns:
            self._know(frame.columns)
        out = np.zeros((len(frame), len(self._row)), np.float32)
        for name, column in zip(frame.columns, frame.iter_columns(), strict=True):
            if name in self._columns:
                values = inputs.as_numbers(column.to_numpy(), f"X[{name!r}]", out.dtype)
                out[:, self._columns[name]] = values
        return out

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"hidden_layer_sizes": (8,)}


def _by_name(name: Any) -> tuple[str, str]:
    return type(name).__name__, repr(name)


def _as_widths(sizes: Any) -> list[int]:
    try:
        widths = [sizes] if isinstance(sizes, (int, np.integer)) else list(sizes)
    except TypeError:
        raise TypeError(f"hidden_layer_sizes: expected widths; got {shown(sizes)}") from None
    return [inputs.as_count(width, "hidden_layer_sizes") for width in widths]


_PLAIN = frozenset({float, int, bool, np.bool_, np.float32, np.float64, np.int64})


def _as_number(value: Any, name: Any) -> float:
    """A feature's value, which float32 holds."""
    try:
        number = float(value) if type(value) in _PLAIN else inputs.as_number(value)
    except OverflowError:
        number = math.inf
    except Exception:
        raise TypeError(
            f"x[{name!r}]: expected a number (river's OneHotEncoder makes some of texts); got "
            f"{shown(value)}"
        ) from None
    if not abs(number) <= LARGEST:
        raise ValueError(f"x[{name!r}]: expected a finite number; got {shown(value)}")
    return number


def as_frame(X: Any) -> Any:
    import narwhals as nw

    try:
        return nw.from_native(X, eager_only=True)
    except Exception as error:
        raise TypeError(
            "X: expected a pandas or polars frame, no name of a column twice; got "
            f"{type(X).__name__}"
        ) from error


def _as_series(y: Any, n: int) -> Any:
    import narwhals as nw

    try:
        series = nw.from_native(y, series_only=True)
    except TypeError:
        raise TypeError(f"y: expected a pandas or polars series; got {type(y).__name__}") from None
    if len(series) != n:
        raise ValueError(f"y: expected {n} rows, as many as X; got {len(series)}")
    return series


def series_like(X: Any, values: Any) -> Any:
    """Predictions of a frame's rows, as a series of its kind."""
    import narwhals as nw

    namespace = nw.get_native_namespace(X)
    if namespace.__name__ == "pandas":
        return namespace.Series(values, index=X.index)
    return nw.new_series("prediction", values, backend=namespace).to_native()


def _copy_into(net: Network, target: np.ndarray, old: Network, source: np.ndarray) -> None:
    """What both have of each tensor."""
    at = of_old = 0
    for name, tensor in net.tensors.items():
        known = old.tensors[name]
        part = tuple(slice(n) for n in known.shape)
        new = target[at : at + tensor.size].reshape(tensor.shape)
        new[part] = source[of_old : of_old + known.size].reshape(known.shape)
        at, of_old = at + tensor.size, of_old + known.size
