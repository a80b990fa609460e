"""`to_sklearn` and `from_sklearn`: multi-layer perceptrons of one library in the other.

What belongs here: attributes of fitted estimators, both ways. What does not: networks (stack.py),
what our estimators do (fastbp/estimators/).
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import hints
from fastbp.exchange.stack import OneNetwork, check_finite, network_of
from fastbp.functions import shown
from fastbp.layers import Scale
from fastbp.network import Network

if TYPE_CHECKING:
    import sklearn.neural_network

    from fastbp import estimators

ACTIVATIONS = {"identity": "identity", "sigmoid": "logistic", "tanh": "tanh", "relu": "relu"}
# by our output: theirs
OUTPUTS = {"identity": "identity", "exp": "exp", "sigmoid": "logistic", "softmax": "softmax"}
# what both have by the same name once they are fitted
ALIKE = (
    "n_features_in_", "feature_names_in_", "n_outputs_", "n_layers_", "out_activation_", "n_iter_",
    "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_",
    "_no_improvement_count",
)  # fmt: skip


def _package() -> Any:
    try:
        import sklearn.neural_network
    except ImportError as error:
        raise hints.missing(
            "to_sklearn and from_sklearn need", "scikit-learn", "sklearn"
        ) from error
    return sklearn


def from_sklearn(
    model: sklearn.neural_network.MLPClassifier | sklearn.neural_network.MLPRegressor,
) -> estimators.MLPClassifier | estimators.MLPRegressor:
    """Make our estimator with the network of scikit-learn's, which predicts the same.

    Parameters
    ----------
    model : fitted sklearn.neural_network.MLPClassifier or MLPRegressor
        It stays as it is.

    Returns
    -------
    fastbp.estimators.MLPClassifier or MLPRegressor
        With the same parameters and fitted attributes; `network_` is the Network, whose parameters
        have the bits of coefs_ and intercepts_.

    Raises
    ------
    TypeError
        It is none of scikit-learn's two.
    NotFittedError
        It was not fitted yet.

    Examples
    --------
    >>> from sklearn.neural_network import MLPRegressor
    >>> from fastbp.exchange import from_sklearn
    >>> X, y = [[0.0], [1.0], [2.0]], [0.0, 1.0, 2.0]
    >>> theirs = MLPRegressor(hidden_layer_sizes=4, solver="lbfgs", random_state=0).fit(X, y)
    >>> from_sklearn(theirs).network_.sizes
    [1, 4, 1]
    """
    theirs = _package().neural_network
    from sklearn.utils.validation import check_is_fitted

    from fastbp import estimators

    if isinstance(model, theirs.MLPClassifier):
        made: Any = estimators.MLPClassifier()
    elif isinstance(model, theirs.MLPRegressor):
        made = estimators.MLPRegressor()
    else:
        raise TypeError(
            "model: expected scikit-learn's MLPClassifier or MLPRegressor; got "
            f"{shown(type(model).__name__ if hasattr(model, 'fit') else model)}"
        )
    check_is_fitted(model)
    known = made.get_params(deep=False)
    made.set_params(**{k: v for k, v in model.get_params(deep=False).items() if k in known})
    _copy_alike(model, made)
    if isinstance(model, theirs.MLPClassifier):
        made._multilabel = model._label_binarizer.y_type_.startswith("multilabel")
        made._sparse_labels = bool(model._label_binarizer.sparse_input_)
        made.classes_ = np.arange(model.n_outputs_) if made._multilabel else model.classes_
    made._best_parameters = None
    coefs, intercepts = model.coefs_, model.intercepts_
    dtype = np.float32 if all(W.dtype == np.float32 for W in coefs) else np.float64
    net = made._empty_network([*(len(W) for W in coefs), coefs[-1].shape[1]], dtype)
    for own, given in zip([*net.weights, *net.biases], [*coefs, *intercepts], strict=True):
        own[...] = given
    check_finite(net)
    made._adopt(net)
    return made


def to_sklearn(
    model: OneNetwork,
) -> sklearn.neural_network.MLPClassifier | sklearn.neural_network.MLPRegressor:
    """Make scikit-learn's estimator with our network, which predicts alike.

    Parameters
    ----------
    model : fitted MLPClassifier or MLPRegressor of fastbp, of one network, or Network
        Hidden layers all identity, sigmoid, tanh or relu. A network with output softmax or sigmoid
        becomes a classifier, of its own classes where it knows them.

    Returns
    -------
    sklearn.neural_network.MLPClassifier or MLPRegressor
        Fitted: it predicts what the model predicts, to rounding.

    Raises
    ------
    TypeError, ValueError
        What scikit-learn has not, by its name: an activation, a scale, an output, a loss whose
        outputs are decided otherwise, an ensemble.

    Examples
    --------
    >>> import fastbp
    >>> from fastbp.exchange import to_sklearn
    >>> net = fastbp.Network([2, 3, 2], activation="relu", output="softmax")
    >>> net.metadata["classes"] = ["no", "yes"]
    >>> to_sklearn(net).predict([[0.0, 1.0]]).tolist()[0] in ["no", "yes"]
    True
    """
    theirs = _package().neural_network
    net = network_of(model)
    hidden = _hidden_activation(net)
    is_classifier, classes, several = _task(model, net)
    output = net.architecture["output"]
    cls = theirs.MLPClassifier if is_classifier else theirs.MLPRegressor
    made = cls(hidden_layer_sizes=tuple(net.sizes[1:-1]), activation=hidden)
    if not isinstance(model, Network):
        known = made.get_params(deep=False)
        made.set_params(**{
            k: v for k, v in model.get_params(deep=False).items()
            if k in known and k not in ("activation", "loss") and _is_theirs(k, v)
        })  # fmt: skip
        _copy_alike(model, made)
    if output == "exp":
        made.set_params(loss="poisson")
    made.coefs_ = [W.copy() for W in net.weights]
    made.intercepts_ = [b.copy() for b in net.biases]
    made.n_features_in_, made.n_outputs_ = net.sizes[0], net.sizes[-1]
    made.n_layers_, made.out_activation_ = len(net.sizes), OUTPUTS[output]
    for name, start in (
        ("n_iter_", 0),
        ("t_", 0),
        ("loss_curve_", []),
        ("_no_improvement_count", 0),
    ):
        vars(made).setdefault(name, start)
    vars(made).setdefault("best_loss_", np.inf)
    from sklearn.utils import check_random_state

    made._random_state = check_random_state(made.random_state)
    if is_classifier:
        made.classes_, made._label_binarizer = classes, _binarizer(classes, several)
        made._label_binarizer.sparse_input_ = getattr(model, "_sparse_labels", False)
    return made


def _copy_alike(model: Any, made: Any) -> None:
    """What both have by one name; lists anew, as further training appends to them."""
    for name in ALIKE:
        if name in vars(model):
            vars(made)[name] = copy(vars(model)[name])


def _is_theirs(name: str, value: Any) -> bool:
    """Whether scikit-learn takes the parameter: optimizers and schedules of ours it does not."""
    return name not in ("solver", "learning_rate") or isinstance(value, str)


def _hidden_activation(net: Network) -> str:
    names: dict[str, int] = {}
    for number, layer in enumerate(net.layers, 1):
        if isinstance(layer, Scale):
            raise ValueError(
                f"model: layer {number}: expected dense layers alone, as scikit-learn has; got a "
                "scale"
            )
        if number < len(net.layers):
            names.setdefault(str(layer.activation), number)
    for name, number in names.items():
        if name not in ACTIVATIONS:
            raise ValueError(
                f"model: layer {number}: expected an activation that scikit-learn has, "
                f"{', '.join(ACTIVATIONS)}; got {name!r}"
            )
    if len(names) > 1:
        raise ValueError(
            "model: expected one activation for all hidden layers, as scikit-learn has; got "
            f"{', '.join(names)}"
        )
    return ACTIVATIONS[next(iter(names), "relu")]


def _task(model: Any, net: Network) -> tuple[bool, Any, bool]:
    """Whether it tells classes, which, and whether several labels a row."""
    output, n = net.architecture["output"], net.sizes[-1]
    loss = net.architecture["loss"]
    if output not in OUTPUTS:
        raise ValueError(
            f"model: expected an output that scikit-learn has, {', '.join(OUTPUTS)}; got {output!r}"
        )
    if not isinstance(model, Network):
        if hasattr(model, "classes_"):
            if model._is_signed():
                raise ValueError(f"model: expected a loss of probabilities; got {loss!r}")
            if len(model.classes_) == 1:
                raise ValueError("model: expected two classes or more; got 1")
            return True, model.classes_, model._multilabel
        if net._n_targets != n or output not in ("identity", "exp"):
            raise ValueError(f"model: expected outputs as scikit-learn has; got loss {loss!r}")
        return False, None, False
    if output in ("identity", "exp"):
        if net.classes is not None or net._n_targets != n:
            raise ValueError(
                "model: expected output 'softmax' or 'sigmoid' of a network that tells classes, "
                f"and numbers of others; got output {output!r} with loss {loss!r}"
            )
        return False, None, False
    several = output == "sigmoid" and n > 1
    if several and net.classes is not None:
        raise ValueError(
            "model: expected output 'softmax' with several classes, one of which is true, as "
            "scikit-learn has; got 'sigmoid'"
        )
    classes = np.arange(max(n, 2)) if net.classes is None else _classes_of(net)
    return True, np.arange(n) if several else classes, several


def _classes_of(net: Network) -> np.ndarray:
    """In the network's own order; as objects where an array would change them."""
    told = list(net.classes or [])
    if len(set(told)) < len(told):
        raise ValueError(f"model: expected classes that differ; got {shown(told)}")
    found = np.array(told)
    return found if found.tolist() == told else np.array(told, object)


def _binarizer(classes: np.ndarray, several: bool) -> Any:
    """As if fitted, but for the order of classes, which is that of the outputs."""
    from sklearn.preprocessing import LabelBinarizer

    found = LabelBinarizer()
    kind = "multilabel-indicator" if several else "binary" if len(classes) == 2 else "multiclass"
    found.classes_, found.y_type_ = classes, kind
    return found
