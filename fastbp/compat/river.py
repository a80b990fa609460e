"""river's protocol: rows as dicts, whose features and classes come as the stream has them.

What belongs here: which column a feature has, which output a class, and how a network grows with
them. What does not: steps (training/online.py).
"""

from __future__ import annotations

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
FIRST_COLUMNS = 8  # there are as many for features to come; then twice as many


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
        self._taken: tuple[Hashable, ...] = ()  # the features of the last row, in its order,
        self._values: Any = None  # and what gets them from one
        self._trainer: OnlineTrainer | None = None
        self._row = np.zeros(0, np.float32)

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
        row = self._row
        try:
            if len(x) != len(self._taken):
                raise KeyError
            row[: len(self._taken)] = self._values(x)
        except (KeyError, TypeError, ValueError):
            row = self._placed(x, learns)
        return row

    def _refuse(self, x: Row) -> None:
        """Name what is not finite of a row that the network has refused."""
        for name, value in x.items():
            if not abs(value) <= LARGEST:
                raise ValueError(f"x[{name!r}]: expected a finite number; got {shown(value)}")

    def _step(self, x: Row, row: np.ndarray, y: Any) -> None:
        try:
            self._trainer.learn_one(row, y)  # type: ignore[union-attr]
        except ValueError:
            self._refuse(x)
            raise

    def _outputs(self, x: Row) -> list[float]:
        row = self._of(x, learns=False)
        try:
            outputs: list[float] = self._trainer.net.predict_one(row).tolist()  # type: ignore[union-attr]
        except ValueError:
            self._refuse(x)
            raise
        return outputs

    def _placed(self, x: Row, learns: bool) -> np.ndarray:
        numbers = {}
        for name, value in x.items():
            try:
                numbers[name] = float(value)
            except (TypeError, ValueError):
                raise TypeError(
                    f"x[{name!r}]: expected a number (river's OneHotEncoder makes some of "
                    f"texts); got {shown(value)}"
                ) from None
        if learns:
            self._know(numbers)
        row = self._row
        row[:] = 0.0
        for name, value in numbers.items():
            if name in self._columns:
                row[self._columns[name]] = value
        in_order = list(self._columns)
        if len(x) == len(in_order) > 1 and set(x) == set(in_order):
            self._taken, self._values = tuple(in_order), itemgetter(*in_order)
        elif self._taken:
            self._taken, self._values = (), None
        return row

    def _know(self, names: Any) -> None:
        """Have a column for each feature; of several new ones in the order of their names."""
        new = sorted((name for name in names if name not in self._columns), key=_by_name)
        for name in new:
            self._columns[name] = len(self._columns)
        if new:
            self._taken, self._values = (), None
        if len(self._columns) > len(self._row):
            width = max(FIRST_COLUMNS, 2 ** (len(self._columns) - 1).bit_length())
            self._row = np.zeros(width, np.float32)
        self._fit_in()

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
            slots = trainer.slots
            last = (f"W{len(sizes) - 1}", f"b{len(sizes) - 1}")
            for target, source in (
                (net.parameters, old.net.parameters),
                *zip(slots, old.slots, strict=True),
            ):
                _copy_into(net, target, old.net, source, last)
            trainer._stand(slots, old.step)
        self._trainer = trainer

    def _matrix(self, X: Any, learns: bool) -> np.ndarray:
        """A frame as the network reads it."""
        import narwhals as nw

        frame = nw.from_native(X, eager_only=True)
        if learns:
            self._know(frame.columns)
        out = np.zeros((len(frame), len(self._row)), np.float32)
        for name in frame.columns:
            if name in self._columns:
                column = inputs.as_numbers(frame[name].to_numpy(), f"X[{name!r}]", out.dtype)
                out[:, self._columns[name]] = column
        return out

    @classmethod
    def _unit_test_params(cls) -> Any:
        yield {"hidden_layer_sizes": (8,)}


def _by_name(name: Any) -> tuple[str, str]:
    return type(name).__name__, repr(name)


def _as_widths(sizes: Any) -> list[int]:
    try:
        widths = [sizes] if isinstance(sizes, int) else list(sizes)
    except TypeError:
        raise TypeError(f"hidden_layer_sizes: expected widths; got {shown(sizes)}") from None
    return [inputs.as_count(width, "hidden_layer_sizes") for width in widths]


def _copy_into(
    net: Network, target: np.ndarray, old: Network, source: np.ndarray, last: Any
) -> None:
    """What both have of each tensor; in the last layer's new columns 0."""
    at = of_old = 0
    for name, tensor in net.tensors.items():
        known = old.tensors[name]
        new = target[at : at + tensor.size].reshape(tensor.shape)
        if name in last:
            new[...] = 0.0
        part = tuple(slice(n) for n in known.shape)
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
    doublings of its columns, so that memory follows the number of features.

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

    def _begin(self) -> None:
        super()._begin()
        self._classes: dict[ClfTarget, int] = {}

    @property
    def _multiclass(self) -> bool:
        return True

    @property
    def _n_outputs(self) -> int:
        return max(2, len(self._classes))

    def _number(self, y: Any) -> int:
        if y not in self._classes:
            self._classes[y] = len(self._classes)
            if self._trainer is not None:
                self._fit_in()
        return self._classes[y]

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
        row = self._of(x, learns=True)
        label = self._classes.get(y)
        self._step(x, row, self._number(y) if label is None else label)

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
        shares = self._outputs(x)[: len(self._classes)]
        total = sum(shares)
        return {name: share / total for name, share in zip(self._classes, shares, strict=True)}

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
        import narwhals as nw

        classes = nw.from_native(y, series_only=True).to_list()
        rows = self._matrix(X, learns=True)
        for name in classes:
            self._number(name)
        labels = np.array([self._classes[name] for name in classes], np.intp)
        self._trainer.learn_many(rows, labels)  # type: ignore[union-attr]

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

        frame = nw.from_native(X, eager_only=True)
        net, names = self.network, list(self._classes)
        shares = np.empty((len(frame), 0))
        if net is not None and names:
            shares = net.predict(self._matrix(X, learns=False))[:, : len(names)].astype(float)
            shares /= shares.sum(axis=1, keepdims=True)
        if nw.get_native_namespace(frame).__name__ == "pandas":
            like: Any = X
            return type(like)(shares, columns=names, index=like.index)
        columns = {str(name): shares[:, i] for i, name in enumerate(names)}
        return nw.from_dict(columns, backend=nw.get_native_namespace(frame)).to_native()


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
        self._step(x, self._of(x, learns=True), y)

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
        import narwhals as nw

        targets = nw.from_native(y, series_only=True).to_numpy()
        rows = self._matrix(X, learns=True)
        self._trainer.learn_many(rows, targets)  # type: ignore[union-attr]

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
        import narwhals as nw

        frame = nw.from_native(X, eager_only=True)
        values = np.zeros(len(frame))
        if self.network is not None:
            values = self.network.predict(self._matrix(X, learns=False))[:, 0].astype(float)
        namespace = nw.get_native_namespace(frame)
        if namespace.__name__ == "pandas":
            like: Any = X
            return namespace.Series(values, index=like.index)
        return nw.new_series("prediction", values, backend=namespace).to_native()
