"""river's protocol: rows as dicts, whose features and classes come as the stream has them.

What belongs here: which column a feature has, which output a class, and how a network grows with
them. What does not: steps (training/online.py).
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
from fastbp.hints import missing
from fastbp.network import Network
from fastbp.optimizers import Adam, Optimizer
from fastbp.training.online import OnlineTrainer

try:
    from river import base
except ImportError as error:
    raise missing("fastbp.compat.river needs", "river", "river") from error

if TYPE_CHECKING:
    import pandas
    import polars
    from river.base.typing import ClfTarget

Row: TypeAlias = "Mapping[Hashable, float] | Mapping[str, float]"
Frame: TypeAlias = "pandas.DataFrame | polars.DataFrame"
Series: TypeAlias = "pandas.Series | polars.Series"
LARGEST = float(np.finfo(np.float32).max)
FIRST_COLUMNS = 8  # for features to come; then twice as many


class _MLP:
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
        frame = _as_frame(X)
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


def _as_frame(X: Any) -> Any:
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


def _series_like(X: Any, values: Any) -> Any:
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


class MLPClassifier(_MLP, base.MiniBatchClassifier):
    """A network for streams of rows as dicts, of classes that are found as they come.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    activation : str
        Of the hidden layers (`fastbp.functions.ACTIVATIONS`).
    optimizer : of fastbp.optimizers, or its name
        Adam(0.01) when None.
    seed : int
        The same seed gives the same initial weights.

    Notes
    -----
    Features should be of one scale, as river's StandardScaler makes them. A feature that a row has
    not is 0; one that comes later begins with the weights of a fresh network. The network grows in
    doublings of its columns: memory, and a row's time, follow the number of features so far. A row
    or batch that is refused, for a value or target that is missing, a text or not finite, changes
    nothing.

    Examples
    --------
    >>> from fastbp.compat.river import MLPClassifier
    >>> model = MLPClassifier(hidden_layer_sizes=8, seed=1)
    >>> for i in range(400):
    ...     x = {"a": i % 7 / 7, "b": i % 11 / 11}
    ...     model.learn_one(x, "high" if x["a"] > x["b"] else "low")
    >>> model.predict_one({"a": 0.9, "b": 0.1})
    'high'
    """

    _loss: ClassVar = {"output": "softmax", "loss": "cross_entropy"}

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def _n_outputs(self) -> int:
        return max(2, len(self._classes))

    def _number(self, y: Any) -> int:
        """The output of a class, which may be new."""
        try:
            known = self._classes.get(y)
            if known is None:
                if y is None or y != y:
                    raise TypeError
                known = self._classes[y] = len(self._classes)
        except TypeError:  # pandas' NA, which is neither; what has no hash
            raise TypeError(
                f"y: expected a class, hashable and not missing; got {shown(y)}"
            ) from None
        return known

    def _target(self, y: Any) -> int:
        n = len(self._classes)
        number = self._number(y)
        if len(self._classes) > n:
            self._fit_in()
        return number

    def _targets(self, series: Any) -> np.ndarray:
        numbers = np.array([self._number(name) for name in series.to_list()], np.intp)
        self._fit_in()
        return numbers

    def _shares(self, X: Any) -> np.ndarray:
        """Of each row the probabilities of the classes so far, (m, n_classes)."""
        n = len(self._classes)
        if self.network is None or not n:
            return np.empty((len(_as_frame(X)), 0))
        shares = self.network.predict(self._matrix(X, learns=False))[:, :n].astype(float)
        return shares / shares.sum(axis=1, keepdims=True)

    def learn_one(self, x: Row, y: ClfTarget) -> None:
        """One step on a row.

        Parameters
        ----------
        x : dict of feature: number
            A feature that is not there is 0; a new one gets a column of its own.
        y : hashable
            Its class; a new one gets an output of its own.

        Raises
        ------
        TypeError, ValueError
            A value of the row is no finite number; its feature is named.

        Examples
        --------
        >>> from fastbp.compat.river import MLPClassifier
        >>> model = MLPClassifier(hidden_layer_sizes=8, seed=1)
        >>> model.learn_one({"a": 0.5}, "high")
        >>> model.learn_one({"b": 0.25}, "low")
        >>> model.features
        ['a', 'b']
        """
        self._learn(x, y)

    def predict_proba_one(self, x: Row, **kwargs: object) -> dict[ClfTarget, float]:
        """Predict the probability of each class so far, {} where there is none.

        Parameters
        ----------
        x : dict of feature: number
            Features that no row had are left out.
        **kwargs : not used
            What river's protocol has there.

        Returns
        -------
        dict of class: float
            Adds up to 1.

        Examples
        --------
        >>> from fastbp.compat.river import MLPClassifier
        >>> model = MLPClassifier(hidden_layer_sizes=8, seed=1)
        >>> model.learn_one({"a": 0.5}, "high")
        >>> model.predict_proba_one({"a": 0.5})
        {'high': 1.0}
        """
        if not self._classes:
            return {}
        shares = self._outputs(x)
        if len(self._classes) == 1:  # of two outputs
            del shares[1]
        total = sum(shares)
        return dict(zip(self._classes, [share / total for share in shares], strict=True))

    def learn_many(self, X: Frame, y: Series) -> None:
        """One step on a batch: the mean of its rows' gradients.

        Parameters
        ----------
        X : pandas or polars frame (m, n_features)
            A column is a feature; none is needed that is not there.
        y : series (m,)
            The class of each row.

        Examples
        --------
        >>> from fastbp.compat.river import MLPClassifier
        >>> model = MLPClassifier(hidden_layer_sizes=8, seed=1)
        >>> import pandas as pd
        >>> model.learn_many(pd.DataFrame({"a": [0.0, 1.0]}), pd.Series(["low", "high"]))
        >>> sorted(model.predict_proba_one({"a": 1.0}))
        ['high', 'low']
        """
        self._learn_batch(X, y)

    def predict_proba_many(self, X: Frame) -> Frame:
        """Predict the probability of each class so far, for each row of a batch.

        Parameters
        ----------
        X : pandas or polars frame (m, n_features)
            A column is a feature; none is needed that is not there.

        Returns
        -------
        frame (m, n_classes) of the kind of X
            A column a class, named by it; rows add up to 1.

        Examples
        --------
        >>> from fastbp.compat.river import MLPClassifier
        >>> model = MLPClassifier(hidden_layer_sizes=8, seed=1)
        >>> import pandas as pd
        >>> X = pd.DataFrame({"a": [0.0, 1.0]})
        >>> model.learn_many(X, pd.Series(["low", "high"]))
        >>> list(model.predict_proba_many(X).columns)
        ['low', 'high']
        """
        import narwhals as nw

        shares, names = self._shares(X), list(self._classes)
        namespace = nw.get_native_namespace(X)
        if namespace.__name__ == "pandas":
            like: Any = X
            return type(like)(shares, columns=names, index=like.index)
        columns = {str(name): shares[:, i] for i, name in enumerate(names)}
        return nw.from_dict(columns, backend=namespace).to_native()

    def predict_many(self, X: Frame) -> Series:
        """The most probable class of each row of a batch; None while there is none.

        Parameters
        ----------
        X : pandas or polars frame (m, n_features)

        Returns
        -------
        series (m,) of the kind of X
        """
        shares, names = self._shares(X), list(self._classes)
        best = shares.argmax(axis=1) if names else []
        return _series_like(X, [names[i] for i in best] or [None] * len(shares))


class MLPRegressor(_MLP, base.MiniBatchRegressor):
    """A network for streams of rows as dicts and of numbers as targets.

    Parameters
    ----------
    hidden_layer_sizes, activation, optimizer, seed : as in `MLPClassifier`
        The hidden layers, and how each row's step is made.

    Notes
    -----
    Targets should be of a scale near 1, as river's TargetStandardScaler makes them.

    Examples
    --------
    >>> from fastbp.compat.river import MLPRegressor
    >>> model = MLPRegressor(hidden_layer_sizes=8, seed=1)
    >>> for i in range(800):
    ...     x = {"a": i % 7 / 7, "b": i % 11 / 11}
    ...     model.learn_one(x, x["a"] - x["b"])
    >>> abs(model.predict_one({"a": 0.5, "b": 0.25}) - 0.25) < 0.1
    True
    """

    _loss: ClassVar = {"output": "identity", "loss": "mse"}

    def learn_one(self, x: Row, y: float) -> None:
        """One step on a row.

        Parameters
        ----------
        x : dict of feature: number
            A feature that is not there is 0; a new one gets a column of its own.
        y : float
            Its target.

        Raises
        ------
        TypeError, ValueError
            A value of the row is no finite number; its feature is named.

        Examples
        --------
        >>> from fastbp.compat.river import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=8, seed=1)
        >>> for i in range(300):
        ...     model.learn_one({"a": i % 7 / 7}, i % 7 / 7)
        >>> abs(model.predict_one({"a": 0.5}) - 0.5) < 0.1
        True
        """
        self._learn(x, y)

    def predict_one(self, x: Row) -> float:
        """Predict the target of a row; 0 before the first.

        Parameters
        ----------
        x : dict of feature: number
            Features that no row had are left out.

        Returns
        -------
        float
            In the targets' unit.

        Examples
        --------
        >>> from fastbp.compat.river import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=8, seed=1)
        >>> model.predict_one({"a": 0.5})
        0.0
        """
        output: float = 0.0 if self._trainer is None else self._outputs(x)[0]
        return output

    def learn_many(self, X: Frame, y: Series) -> None:
        """One step on a batch: the mean of its rows' gradients.

        Parameters
        ----------
        X : pandas or polars frame (m, n_features)
            A column is a feature; none is needed that is not there.
        y : series (m,)
            The target of each row.

        Examples
        --------
        >>> from fastbp.compat.river import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=8, seed=1)
        >>> import pandas as pd
        >>> X = pd.DataFrame({"a": [0.0, 1.0]})
        >>> for _ in range(200):
        ...     model.learn_many(X, X["a"])
        >>> bool((model.predict_many(X) - X["a"]).abs().max() < 0.1)
        True
        """
        self._learn_batch(X, y)

    def predict_many(self, X: Frame) -> Series:
        """Predict the target of each row of a batch.

        Parameters
        ----------
        X : pandas or polars frame (m, n_features)
            A column is a feature; none is needed that is not there.

        Returns
        -------
        series (m,) of the kind of X
            In the targets' unit; 0 before anything was learnt.

        Examples
        --------
        >>> from fastbp.compat.river import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=8, seed=1)
        >>> import pandas as pd
        >>> model.predict_many(pd.DataFrame({"a": [0.0, 1.0]})).tolist()
        [0.0, 0.0]
        """
        if self.network is None:
            return _series_like(X, np.zeros(len(_as_frame(X))))
        outputs = self.network.predict(self._matrix(X, learns=False))
        return _series_like(X, outputs[:, 0].astype(float))
