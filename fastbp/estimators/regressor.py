"""`MLPRegressor`: numbers in, numbers out.

What belongs here: targets of one or more columns, the losses for them. What does not: fitting
(mlp.py).
"""

from __future__ import annotations

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import check_array, column_or_1d
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from fastbp import functions, inputs
from fastbp.estimators import stream
from fastbp.estimators.mlp import SPARSE, BaseMLP


@inputs.named
class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron for numbers: scikit-learn's `MLPRegressor`, faster.

    Every parameter, default, attribute, warning and exception is scikit-learn's; the same
    `random_state` gives the same initial weights, batches and, to rounding, the same losses. X in
    float32 gives a float32 network.

    Parameters
    ----------
    loss : str
        "squared_error": half the mean square over the outputs; "poisson": half the deviance, with
        outputs e^z. Or a loss of fastbp with outputs z: "mae", "huber(1.5)", ...;
        with "gaussian_nll" each target has a mean and a standard deviation.
    hidden_layer_sizes, activation, solver, alpha, batch_size : as in `MLPClassifier`
        The layers, how they are trained, and the penalty on weights.
    learning_rate, learning_rate_init, power_t, max_iter, shuffle : as in `MLPClassifier`
        The rate of each step, and how many epochs.
    random_state, tol, verbose, warm_start : as in `MLPClassifier`
        Where a fit begins, and what counts as an improvement.
    momentum, nesterovs_momentum : as in `MLPClassifier`
        Of the solver sgd.
    early_stopping, validation_fraction : as in `MLPClassifier`
        Whether the fit ends by samples that are held out, and how many.
    beta_1, beta_2, epsilon, n_iter_no_change, max_fun : as in `MLPClassifier`
        Numbers of adam, the patience with the loss, and lbfgs's most evaluations.
    dropout : float or sequence of float
        As in `Network.fit`: one rate, or one a hidden layer, the input's before them.
    ema, clip_value, clip_norm : as in `Network.fit`
        Of the average that `ema` forms early stopping judges, and it is what the network ends with.
    checkpoint : str or path-like, optional
        File that the fit is kept in, as in `Network.fit`: where it is there already, the fit goes
        on from it, up to `max_iter` in all, and ends with the same bits as one that was never
        stopped. Needs a whole number as random_state.
    every : float
        Seconds from one writing of the checkpoint to the next.
    scoring : str, callable or None
        What early stopping watches; None is R^2.
    callbacks : list of callables
        Each is called with a `fastbp.training.Event` after each epoch; True ends the fit.
    time_limit : float, optional
        Seconds after which the fit ends.
    progress : bool
        A tqdm bar on stderr.
    n_threads : int, optional
        The result does not depend on it. None: as many as pay.
    rates, decays : dict, optional
        As in `Network.fit`: what the learning rate, and `alpha` and weight decay, are multiplied by
        of the tensors W1, b1, ... that a pattern matches; lbfgs takes rates 0 and 1.
    n_ensemble : int
        How many networks are trained together, on as many threads as `n_threads` says (None: all
        cores), each with a random_state of its own that `random_state` draws. Their
        predictions are averaged.

    Attributes
    ----------
    coefs_, intercepts_, loss_, loss_curve_, best_loss_, n_iter_, t_, ...
        As in scikit-learn; coefs_ and intercepts_ are views of the network's parameters.
    network_ : fastbp.Network
        For checks, gradients and files: ``fastbp.check.gradients(model.network_, X, Y)``.
    networks_, members_ : list
        Of an ensemble, the networks, and the estimators that have them. It has no `network_`,
        coefs_, intercepts_ and loss_curve_ of its own; loss_ is the mean, n_iter_ the most.

    Notes
    -----
    With several outputs scikit-learn's gradient (1.9) is not that of its loss: the loss divides by
    the number of outputs and the gradient does not. Here both do. With `solver="sgd"` the same
    steps come from `learning_rate_init` times the number of outputs (and `alpha` divided by it).

    Examples
    --------
    >>> import numpy as np
    >>> from fastbp.estimators import MLPRegressor
    >>> X = np.linspace(-1, 1, 50)[:, None]
    >>> model = MLPRegressor(hidden_layer_sizes=20, solver="lbfgs", random_state=0)
    >>> bool(model.fit(X, X[:, 0] ** 2).score(X, X[:, 0] ** 2) > 0.99)
    True
    """

    _metric = staticmethod(r2_score)

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation="relu",
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        dropout=0.0,
        ema=None,
        clip_value=None,
        clip_norm=None,
        checkpoint=None,
        every=1.0,
        scoring=None,
        callbacks=None,
        time_limit=None,
        progress=False,
        n_threads=None,
        rates=None,
        decays=None,
        n_ensemble=1,
    ):
        super().__init__(**{k: v for k, v in locals().items() if k not in ("self", "__class__")})

    def _output_and_loss(self):
        if self.loss == "squared_error":
            return "identity", "mse(0.5)"
        loss = functions.loss(self.loss)
        return {"unit": "sigmoid", "positive": "exp", "real": "identity"}[loss.domain], self.loss

    def _is_gaussian(self):
        return functions.loss(self._output_and_loss()[1]).outputs_per_target > 1

    def _n_network_outputs(self):
        return 2 * self.n_outputs_ if self._is_gaussian() else self.n_outputs_

    def _check_functions(self):
        super()._check_functions()
        self._output_and_loss()

    def _metadata(self):
        return super()._metadata() | {"task": "regression"}

    # targets

    def _validated(self, X, y, incremental, first):
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=SPARSE,
            multi_output=True,
            y_numeric=True,
            dtype=(np.float64, np.float32),
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        targets = y[:, None] if y.ndim == 1 else y
        if first:
            self.n_outputs_ = targets.shape[1]
            output, _ = self._output_and_loss()
            self.out_activation_ = {"sigmoid": "logistic"}.get(output, output)
        return X, y, targets

    def _validated_y_val(self, y_val):
        try:
            y_val = check_array(y_val, ensure_2d=False, dtype="numeric")
        except ValueError as error:
            raise ValueError(f"y_val: {error}") from None
        columns = 1 if y_val.ndim == 1 else y_val.shape[1]
        if columns != self.n_outputs_:
            raise ValueError(
                f"y_val: expected {self.n_outputs_} columns, as many as y; got {columns}"
            )
        return y_val

    def _constants(self, data):
        if self.loss != "poisson":
            return None
        # scikit-learn's deviance: y ln(y / a) - y + a, where the engine's is a - y ln a
        y = data.dense.astype(np.float64)
        return (y * np.log(y, out=np.zeros_like(y), where=y > 0) - y).sum(axis=1)

    # predictions

    def _averaged(self, outputs):
        if not self._is_gaussian():
            return super()._averaged(outputs)
        # of the mixture: its mean, and the logarithm of its variance
        means, logs = outputs[..., : self.n_outputs_], outputs[..., self.n_outputs_ :]
        mean = means.mean(axis=0)
        variance = (np.exp(logs) + (means - mean) ** 2).mean(axis=0)
        return np.concatenate([mean, np.log(variance)], axis=1)

    def _decoded(self, outputs):
        if self._is_gaussian():
            outputs = outputs[:, : self.n_outputs_]
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit to X and targets y.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
            A sparse one is read as it lies; see `Network.fit`.
        y : array_like (n,) or (n, n_outputs)
            Targets, finite; several columns are several outputs of one network.
        sample_weight : array_like (n,), optional
            How much each sample counts, at least 0; None: all the same.
        X_val, y_val, sample_weight_val : as X, y and sample_weight, optional
            What early stopping watches instead of a share of X.

        Returns
        -------
        self
            The estimator, fitted.

        Raises
        ------
        ValueError
            X and y do not fit each other or are not finite; a parameter is out of its range; a
            weight became NaN or infinite.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.estimators import MLPRegressor
        >>> X = np.linspace(-1, 1, 50)[:, None]
        >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
        >>> model.fit(X, 2 * X[:, 0]).n_outputs_
        1
        """
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_stream(self, chunks, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit to data in chunks, of which no more than two are in memory.

        Parameters
        ----------
        chunks : fastbp.data.Chunks
            Each block's Y is numbers (m,) or (m, n_outputs).
        X_val, y_val, sample_weight_val : as in `fit`, optional
            What early stopping watches; no share is split off of chunks.

        Returns
        -------
        self
            The estimator, fitted.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.data import from_arrays
        >>> from fastbp.estimators import MLPRegressor
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> chunks = from_arrays(X, X[:, 0], rows=50)
        >>> model = MLPRegressor(hidden_layer_sizes=8, learning_rate_init=0.02, random_state=0)
        >>> model = model.fit_stream(chunks)
        >>> bool(model.score(X, X[:, 0]) > 0.9)
        True
        """
        return stream.fit(self, chunks, None, (X_val, y_val, sample_weight_val))

    def _stream_targets(self, chunks, classes):
        self.n_outputs_ = stream.first_targets(chunks)
        output, _ = self._output_and_loss()
        self.out_activation_ = {"sigmoid": "logistic"}.get(output, output)

    def _stream_weights(self, of):
        return None

    @available_if(BaseMLP._is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """One epoch over X and y, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
            Samples of this call; their number may differ from call to call.

        Returns
        -------
        self
            The estimator, an epoch further.

        Examples
        --------
        >>> from fastbp.estimators import MLPRegressor
        >>> model = MLPRegressor(hidden_layer_sizes=4, random_state=0)
        >>> model.partial_fit([[-1.0], [1.0]], [0.0, 1.0]).partial_fit([[2.0]], [2.0]).t_
        3
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X, return_std=False):
        """Predict the targets of each row.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
            Columns as those of `fit`; a frame's have its names.
        return_std : bool
            Also the standard deviations; needs loss "gaussian_nll".

        Returns
        -------
        ndarray (n,) or (n, n_outputs), or two of them
            In the targets' unit; with `return_std` means, then standard deviations.

        Examples
        --------
        >>> import numpy as np
        >>> from fastbp.estimators import MLPRegressor
        >>> X = np.linspace(-1, 1, 50)[:, None]
        >>> model = MLPRegressor(hidden_layer_sizes=8, solver="lbfgs", random_state=0)
        >>> model.fit(X, 2 * X[:, 0]).predict([[0.5]]).round(1).tolist()
        [1.0]
        """
        if inputs.as_flag(return_std, "return_std") and not self._is_gaussian():
            raise ValueError(f"return_std: needs loss 'gaussian_nll'; got {self.loss!r}")
        outputs = self._outputs(X)
        if not return_std:
            return self._decoded(outputs)
        std = np.exp(outputs[:, self.n_outputs_ :] / 2)
        return self._decoded(outputs), std.ravel() if std.shape[1] == 1 else std
