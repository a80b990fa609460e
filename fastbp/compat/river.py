"""river's protocol: rows as dicts, whose features and classes come as the stream has them.

What belongs here: the classifier, which output a class has, and the regressor. What does not: how a
network grows (growing.py), steps (training/online.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

import numpy as np

from fastbp.compat.growing import Growing, Row, as_frame, series_like
from fastbp.functions import shown
from fastbp.hints import missing

try:
    from river import base
except ImportError as error:
    raise missing("fastbp.compat.river needs", "river", "river") from error

if TYPE_CHECKING:
    import pandas
    import polars
    from river.base.typing import ClfTarget

Frame: TypeAlias = "pandas.DataFrame | polars.DataFrame"
Series: TypeAlias = "pandas.Series | polars.Series"


class MLPClassifier(Growing, base.MiniBatchClassifier):
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
            return np.empty((len(as_frame(X)), 0))
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
            A column is a feature; none is needed that is not there.

        Returns
        -------
        series (m,) of the kind of X
            Classes as they were learnt.

        Examples
        --------
        >>> from fastbp.compat.river import MLPClassifier
        >>> model = MLPClassifier(hidden_layer_sizes=8, seed=1)
        >>> import pandas as pd
        >>> X = pd.DataFrame({"a": [0.0, 1.0]})
        >>> model.learn_many(X, pd.Series(["high", "high"]))
        >>> model.predict_many(X).tolist()
        ['high', 'high']
        """
        shares, names = self._shares(X), list(self._classes)
        best = shares.argmax(axis=1) if names else []
        return series_like(X, [names[i] for i in best] or [None] * len(shares))


class MLPRegressor(Growing, base.MiniBatchRegressor):
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
            return series_like(X, np.zeros(len(as_frame(X))))
        outputs = self.network.predict(self._matrix(X, learns=False))
        return series_like(X, outputs[:, 0].astype(float))
