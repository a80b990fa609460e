"""`MLPClassifier`: labels in, labels and probabilities out.

What belongs here: classes, their weights and their network outputs. What does not: fitting
(mlp.py).
"""

from __future__ import annotations

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.utils import column_or_1d
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels
from sklearn.utils.validation import validate_data

from fastbp import functions, inputs
from fastbp.estimators import stream
from fastbp.estimators.mlp import SPARSE, BaseMLP
from fastbp.training import parts


def _as_indicators(y):
    """Sparse indicators of labels, a column each, as an array; what is none as it came."""
    if not sparse.issparse(y):
        return y
    y = y.tocoo()
    indicators = np.zeros(y.shape, y.dtype)
    np.add.at(indicators, (y.row, y.col), y.data)
    return indicators


@inputs.named
class MLPClassifier(ClassifierMixin, BaseMLP):
    """Multi-layer perceptron for classes: scikit-learn's `MLPClassifier`, faster.

    Every parameter, default, attribute, warning and exception is scikit-learn's; the same
    `random_state` gives the same initial weights, batches and, to rounding, the same losses. X in
    float32 gives a float32 network.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int
        Units of each hidden layer.
    activation : str or sequence of str
        Of the hidden layers, by scikit-learn's names or `Network`'s; a list has one a hidden layer.
    solver : "adam", "sgd", "lbfgs" or of fastbp.optimizers
        An optimizer such as ``fastbp.AdamW(1e-3)`` brings its own numbers, and those below that are
        named for scikit-learn's solvers do not count.
    alpha : float
        L2 penalty: alpha / 2m sum W^2 is added to the mean loss of a batch of m samples.
    batch_size : int or "auto"
        Samples a step; "auto" is min(200, n). Of lbfgs it is all of them.
    learning_rate : "constant", "invscaling", "adaptive", of fastbp.schedules, or callable
        How the rate goes on; a callable gives it by epoch. Not for lbfgs.
    learning_rate_init : float
        The rate of the first step, of sgd and adam.
    power_t : float
        Exponent of "invscaling".
    max_iter : int
        Epochs at most, of lbfgs iterations.
    shuffle : bool
        A new order of the samples each epoch.
    random_state : int, RandomState instance or None
        Of weights, order, split-off samples and dropout: the same number gives the same bits.
    tol : float
        An epoch that does not lower the loss (or raise the score) by it is no improvement.
    verbose : bool or int
        Prints the loss of each epoch.
    warm_start : bool
        A fit begins with the weights of the one before.
    momentum : float in [0, 1]
        Share of the step before that goes on, of sgd.
    nesterovs_momentum : bool
        Whether sgd's momentum is Nesterov's.
    early_stopping : bool
        End by the score on samples that are held out, with the best weights, not by the training
        loss.
    validation_fraction : float in [0, 1)
        Share of the samples that are held out for it.
    beta_1, beta_2, epsilon : float
        Of adam: decays of the means of gradients and of their squares, and what keeps a step
        finite.
    n_iter_no_change : int
        Epochs in a row without an improvement that end the fit.
    max_fun : int
        Evaluations of the loss at most, of lbfgs.
    loss : str
        "log_loss": cross-entropy, binary where there are two classes or several labels. Or a loss
        of fastbp; with "hinge" and "squared_hinge" there are no probabilities.
    class_weight : dict {class: weight}, "balanced" or None
        Multiplies sample_weight.
    dropout : float or sequence of float
        As in `Network.fit`: one rate, or one a hidden layer, the input's before them.
    ema, clip_value, clip_norm, label_smoothing : as in `Network.fit`
        Of the average that `ema` forms early stopping judges, and it is what the network ends with.
    checkpoint : str or path-like, optional
        File that the fit is kept in, as in `Network.fit`: where it is there already, the fit goes
        on from it, up to `max_iter` in all, and ends with the same bits as one that was never
        stopped. Needs a whole number as random_state.
    every : float
        Seconds from one writing of the checkpoint to the next.
    scoring : str, callable or None
        What early stopping watches; None is accuracy.
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
        probabilities are averaged.

    Attributes
    ----------
    classes_, coefs_, intercepts_, loss_, loss_curve_, best_loss_, n_iter_, t_, ...
        As in scikit-learn; coefs_ and intercepts_ are views of the network's parameters.
    network_ : fastbp.Network
        For checks, gradients and files: ``fastbp.check.gradients(model.network_, X, Y)``. Its
        `classes` are those of classes_, its metadata also names the columns of a frame.
    networks_, members_ : list
        Of an ensemble, the networks, and the estimators that have them. It has no `network_`,
        coefs_, intercepts_ and loss_curve_ of its own; loss_ is the mean, n_iter_ the most.

    Examples
    --------
    >>> from fastbp.estimators import MLPClassifier
    >>> X, y = [[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]], ["no", "yes", "yes", "no"]
    >>> model = MLPClassifier(8, activation="tanh", solver="lbfgs", random_state=0).fit(X, y)
    >>> model.predict(X).tolist()
    ['no', 'yes', 'yes', 'no']
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **BaseMLP._parameter_constraints,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }
    _metric = staticmethod(accuracy_score)

    def __init__(
        self,
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
        loss="log_loss",
        class_weight=None,
        dropout=0.0,
        ema=None,
        clip_value=None,
        clip_norm=None,
        label_smoothing=0.0,
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
        binary = not self._is_softmax()
        if self.loss == "log_loss":
            return ("sigmoid", "binary_cross_entropy") if binary else ("softmax", "cross_entropy")
        if self._is_signed():
            return "identity", self.loss
        if binary and functions.loss(self.loss).kind in ("cross_entropy", "kl"):
            raise ValueError(
                f"loss: {self.loss!r} costs nothing where a label is 0, and needs three classes or "
                "more, one a sample; got two classes or several labels, for which 'log_loss' is "
                "'binary_cross_entropy'"
            )
        return ("sigmoid" if binary else "softmax"), self.loss

    def _is_softmax(self):
        return self.n_outputs_ > 1 and not self._multilabel

    def _is_signed(self):
        return self.loss != "log_loss" and functions.loss(self.loss).signed

    def _check_functions(self):
        super()._check_functions()
        if self.loss != "log_loss" and functions.loss(self.loss).outputs_per_target > 1:
            raise ValueError(f"loss: expected one for classes; got {self.loss!r}")

    # labels

    def _validated(self, X, y, incremental, first):
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse=SPARSE,
            multi_output=True,
            dtype=(np.float64, np.float32),
            reset=first,
        )
        if not sparse.issparse(y) and y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        check_classification_targets(y)
        kind = type_of_target(y, input_name="y")
        if kind == "multiclass-multioutput":
            raise ValueError(
                "Multioutput target data is not supported: expected labels (n,) or an indicator "
                "matrix of several labels a sample"
            )
        if kind == "multilabel-indicator":
            found = np.arange(y.shape[1])
        else:
            found, codes = np.unique(y, return_inverse=True)
        known = self.__dict__.get("classes_")
        if known is None or not (self.warm_start or incremental):
            known = found
        elif self.warm_start and not incremental and set(found) != set(known):
            raise ValueError(
                "warm_start can only be used where `y` has the same classes as in the previous "
                f"call to fit. Previously got {known}, `y` has {found}"
            )
        elif not np.isin(found, known).all():
            raise ValueError(
                "`y` has classes not in `self.classes_`. "
                f"`self.classes_` has {known}. 'y' has {found}."
            )
        self.classes_ = known
        self._multilabel = kind == "multilabel-indicator"
        self._sparse_labels = sparse.issparse(y)
        if self._multilabel:
            y = _as_indicators(y)
            targets = np.asarray(y, dtype=X.dtype)
            self.n_outputs_ = targets.shape[1]
        else:
            codes = codes if known is found else np.searchsorted(known, y)
            self.n_outputs_ = 1 if len(known) <= 2 else len(known)
            targets = codes.astype(X.dtype)[:, None] if self.n_outputs_ == 1 else codes
        if self._is_signed():
            if targets.ndim == 1:
                targets = np.equal.outer(targets, np.arange(self.n_outputs_)).astype(X.dtype)
            targets = 2 * targets - 1
        output, _ = self._output_and_loss()
        self.out_activation_ = "logistic" if output == "sigmoid" else output
        return X, y, targets

    def _targets(self, net, targets):
        if targets.ndim == 1:
            return None, np.ascontiguousarray(targets, np.intp)
        return super()._targets(net, targets)

    def _metadata(self):
        known = super()._metadata()
        if self._multilabel:  # an output a label, not one a class
            return known
        labels = [v if isinstance(v, (str, int, float)) else str(v) for v in self.classes_.tolist()]
        return known | {"task": "classification", "classes": labels}

    def _validated_y_val(self, y_val):
        y_val = np.asarray(_as_indicators(y_val))
        if not self._multilabel:
            y_val = column_or_1d(y_val)
            unknown = np.setdiff1d(y_val, self.classes_)
            if unknown.size:
                raise ValueError(
                    f"y_val: expected classes that y has, {self.classes_}; got {unknown}"
                )
        elif y_val.ndim != 2 or y_val.shape[1] != self.n_outputs_:
            raise ValueError(
                f"y_val: expected {self.n_outputs_} columns, as many as y; got shape {y_val.shape}"
            )
        return y_val

    def _with_class_weight(self, y, sample_weight, incremental):
        if self.class_weight is None:
            return sample_weight
        if incremental and isinstance(self.class_weight, str):
            raise ValueError(
                "class_weight: 'balanced' needs all of y, which partial_fit does not see; give "
                "a dict {class: weight}"
            )
        if isinstance(self.class_weight, dict):
            known = set(self.classes_.tolist())
            unknown = [label for label in self.class_weight if label not in known]
            if unknown:
                raise ValueError(
                    f"class_weight: expected classes of y, {self.classes_}; got {unknown}"
                )
        weight = compute_sample_weight(self.class_weight, y)
        if sample_weight is None:
            return weight
        return inputs.in_range(weight, weight.dtype) * inputs.in_range(sample_weight, weight.dtype)

    def _smoothed(self, net, data):
        share = inputs.as_penalty(self.label_smoothing, "label_smoothing")
        return parts.smoothed(net, data, share) if share else data

    def _strata(self, targets):
        # of two classes only, as scikit-learn does
        return None if self.n_outputs_ > 1 else targets > targets.dtype.type(self._middle())

    # predictions

    def _middle(self):
        return 0.0 if self._is_signed() else 0.5

    def _decoded(self, outputs):
        """Labels of network outputs."""
        if self._multilabel:
            labels = (outputs > self._middle()).astype(int)
            return sparse.csr_matrix(labels) if self._sparse_labels else labels
        if outputs.shape[1] > 1:
            return self.classes_.take(outputs.argmax(axis=1))
        if len(self.classes_) == 1:
            return np.repeat(self.classes_, len(outputs))
        return self.classes_.take(outputs[:, 0] > self._middle())

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit to X and labels y.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
            A sparse one is read as it lies; see `Network.fit`.
        y : array_like (n,) or (n, n_labels)
            Labels of any kind, or an indicator matrix of several labels a sample.
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
        >>> from fastbp.estimators import MLPClassifier
        >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["low", "low", "high", "high"]
        >>> model = MLPClassifier(4, solver="lbfgs", random_state=0)
        >>> model.fit(X, y).classes_.tolist()
        ['high', 'low']
        """
        return self._fit(X, y, sample_weight, validation=(X_val, y_val, sample_weight_val))

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_stream(self, chunks, classes=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit to data in chunks, of which no more than two are in memory.

        Parameters
        ----------
        chunks : fastbp.data.Chunks
            Each block's Y is labels (m,).
        classes : array_like (n_classes,), optional
            All labels there are; found in a pass over the targets when None.
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
        >>> from fastbp.estimators import MLPClassifier
        >>> X = np.linspace(-1, 1, 200)[:, None]
        >>> chunks = from_arrays(X, X[:, 0] > 0, rows=50)
        >>> model = MLPClassifier(8, learning_rate_init=0.02, tol=0.01, random_state=0)
        >>> model = model.fit_stream(chunks)
        >>> bool(model.score(X, X[:, 0] > 0) > 0.9)
        True
        """
        return stream.fit(self, chunks, classes, (X_val, y_val, sample_weight_val))

    def _stream_targets(self, chunks, classes):
        self.classes_ = stream.classes_of(chunks, classes)
        self._multilabel = self._sparse_labels = False
        self.n_outputs_ = 1 if len(self.classes_) <= 2 else len(self.classes_)
        output, _ = self._output_and_loss()
        self.out_activation_ = "logistic" if output == "sigmoid" else output
        return stream.encoder_of(self)

    def _stream_weights(self, of):
        return stream.class_weights(self, of)

    @available_if(BaseMLP._is_stochastic)
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """One epoch over X and y, from where the last call ended.

        Parameters
        ----------
        X, y, sample_weight : as in `fit`
            Samples of this call; their number may differ from call to call.
        classes : array_like (n_classes,), optional
            All that will ever come; needed in the first call.

        Returns
        -------
        self
            The estimator, an epoch further.

        Examples
        --------
        >>> from fastbp.estimators import MLPClassifier
        >>> model = MLPClassifier(4, random_state=0)
        >>> model.partial_fit([[-1.0], [1.0]], [0, 1], classes=[0, 1, 2]).t_
        2
        >>> model.partial_fit([[2.0]], [2]).t_  # samples seen
        3
        """
        known = self.__dict__.get("classes_")
        if known is None:
            if classes is None:
                raise ValueError("classes must be passed on the first call to partial_fit.")
            self.classes_ = unique_labels(classes)
        elif classes is not None and not np.array_equal(known, unique_labels(classes)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{known!r}"
            )
        try:
            return self._fit(X, y, sample_weight, incremental=True)
        except Exception:
            if known is None and not hasattr(self, "coefs_"):
                del self.classes_
            raise

    def predict(self, X):
        """Predict the label of each row.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
            Columns as those of `fit`; a frame's have its names.

        Returns
        -------
        ndarray (n,) or (n, n_labels)
            The most probable class of each row; of several labels, 1 for each that is more probable
            than not.

        Examples
        --------
        >>> from fastbp.estimators import MLPClassifier
        >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["low", "low", "high", "high"]
        >>> model = MLPClassifier(4, solver="lbfgs", random_state=0)
        >>> model.fit(X, y).predict([[-3.0], [3.0]]).tolist()
        ['low', 'high']
        """
        return self._decoded(self._outputs(X))

    def _has_probabilities(self):
        if self._is_signed():
            raise AttributeError(f"probabilities need a loss other than {self.loss!r}")
        return True

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Predict probabilities of the classes, in the order of classes_.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
            Columns as those of `fit`; a frame's have its names.

        Returns
        -------
        ndarray (n, n_classes)
            In [0, 1]; rows add up to 1, but those of several labels.

        Examples
        --------
        >>> from fastbp.estimators import MLPClassifier
        >>> X, y = [[-2.0], [-1.0], [1.0], [2.0]], ["low", "low", "high", "high"]
        >>> model = MLPClassifier(4, solver="lbfgs", random_state=0)
        >>> model.fit(X, y).predict_proba([[-3.0], [3.0]]).round(3).tolist()
        [[0.0, 1.0], [1.0, 0.0]]
        """
        outputs = self._outputs(X)
        return outputs if outputs.shape[1] > 1 else np.hstack([1 - outputs, outputs])

    @available_if(_has_probabilities)
    def predict_log_proba(self, X):
        """Predict the logarithms of `predict_proba`.

        Parameters
        ----------
        X : array_like or sparse matrix (n, n_features)
            Columns as those of `fit`; a frame's have its names.

        Returns
        -------
        ndarray (n, n_classes)
            Natural logarithms; -inf of a probability of 0.
        """
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):  # of 0 it is -inf
            return np.log(probabilities, out=probabilities)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
