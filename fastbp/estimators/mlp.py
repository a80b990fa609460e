"""What the two estimators share: parameters, the network, fitting and the way to its outputs.

What belongs here: all that does not depend on whether classes or numbers are predicted. What does
not: targets and predictions (classifier.py, regressor.py), the training loops (solvers.py).
"""

from __future__ import annotations

import functools
import operator
import os
from dataclasses import fields, replace
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import HasMethods, Interval, Options, StrOptions
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastbp import functions, inputs, schedules
from fastbp.estimators import members, solvers
from fastbp.estimators.together import Part
from fastbp.network import Network
from fastbp.optimizers import Optimizer
from fastbp.sparse import Lists, is_sparse

STOCHASTIC = ("sgd", "adam")
NAMES = {"logistic": "sigmoid"}  # scikit-learn's where fastbp's differs
SPARSE = ["csr", "csc"]
# parameters that have numbers of their own
PARTED: dict[str, Any] = {"solver": Optimizer, "learning_rate": schedules.Schedule}


class OfOneNetwork:
    """An attribute of a fitted estimator that an ensemble of networks has not."""

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, model, owner=None):
        if model is None:
            return self
        own = vars(model)
        if self.name in own:
            return own[self.name]
        members.check_single(model, self.name)
        raise AttributeError(f"{type(model).__name__!r} object has no attribute {self.name!r}")

    def __set__(self, model, value):
        vars(model)[self.name] = value

    def __delete__(self, model):
        del vars(model)[self.name]


class BaseMLP(BaseEstimator):
    """A network behind scikit-learn's interface."""

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
        "activation": [str, list, tuple],
        "solver": [StrOptions({"lbfgs", "sgd", "adam"}), Optimizer],
        "alpha": [Interval(Real, 0, None, closed="left")],
        "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
        "learning_rate": [
            StrOptions({"constant", "invscaling", "adaptive"}),
            schedules.Schedule,
            callable,
        ],
        "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
        "power_t": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "loss": [str],
        "shuffle": ["boolean"],
        "random_state": ["random_state"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "momentum": [Interval(Real, 0, 1, closed="both")],
        "nesterovs_momentum": ["boolean"],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="left")],
        "beta_1": [Interval(Real, 0, 1, closed="left")],
        "beta_2": [Interval(Real, 0, 1, closed="left")],
        "epsilon": [Interval(Real, 0, None, closed="neither")],
        "n_iter_no_change": [
            Interval(Integral, 1, None, closed="left"),
            Options(Real, {np.inf}),
        ],
        "max_fun": [Interval(Integral, 1, None, closed="left")],
        "ema": [Interval(Real, 0, 1, closed="left"), None],
        "clip_value": [Interval(Real, 0, None, closed="neither"), None],
        "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
        "checkpoint": [str, os.PathLike, None],
        "every": [Interval(Real, 0, None, closed="left")],
        "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
        "scoring": [str, callable, None],
        "callbacks": [HasMethods("__iter__"), None],
        "time_limit": [Interval(Real, 0, None, closed="neither"), None],
        "progress": ["boolean"],
        "n_threads": [Interval(Integral, 1, None, closed="left"), None],
        "rates": [dict, None],
        "decays": [dict, None],
        "n_ensemble": [Interval(Integral, 1, None, closed="left")],
    }
    coefs_, intercepts_ = OfOneNetwork(), OfOneNetwork()
    loss_curve_, best_loss_ = OfOneNetwork(), OfOneNetwork()
    validation_scores_, best_validation_score_ = OfOneNetwork(), OfOneNetwork()

    def __init__(self, **parameters):
        self.__dict__.update(parameters)

    @classmethod
    @functools.cache
    def _names(cls):
        return super()._get_param_names()

    @classmethod
    def _get_param_names(cls):
        """Of the parameters; asked for several times in a fit, and 0.2 ms to find."""
        return list(cls._names())

    def get_params(self, deep=True):
        """The parameters by name.

        Parameters
        ----------
        deep : bool
            Also the numbers of an optimizer and of a schedule: ``solver__learning_rate``.

        Returns
        -------
        dict
            All that the constructor takes, by name.
        """
        found = super().get_params(deep=deep)
        if deep:
            for name in PARTED:
                if isinstance(found[name], PARTED[name]):
                    for field in fields(found[name]):
                        found[f"{name}__{field.name}"] = getattr(found[name], field.name)
        return found

    def set_params(self, **params):
        """Set parameters by name.

        Optimizers and schedules are frozen: ``set_params(solver__learning_rate=0.1)`` gives the
        estimator another.

        Parameters
        ----------
        **params : as the constructor takes them
            ``solver__learning_rate``, ``learning_rate__warmup``, ...: numbers of an optimizer or
            schedule.

        Returns
        -------
        self
            The estimator, not fitted anew.

        Raises
        ------
        ValueError
            There is no such parameter, or no such number of the optimizer or schedule.
        """
        own: dict[str, Any] = {}
        parts: dict[str, dict[str, Any]] = {name: {} for name in PARTED}
        for name, value in params.items():
            whole, _, part = name.partition("__")
            if part and whole in parts:
                parts[whole][part] = value
            else:
                own[name] = value
        for name, changed in parts.items():
            now = own.get(name, getattr(self, name))
            if changed and isinstance(now, PARTED[name]):
                known = [field.name for field in fields(now)]
                for part in changed:
                    if part not in known:
                        raise ValueError(
                            f"{name}__{part}: expected one of {', '.join(known)}, the numbers of "
                            f"{now}"
                        )
                own[name] = replace(now, **changed)
            elif changed:
                kind = PARTED[name].__name__.lower()
                raise ValueError(
                    f"{name}__{next(iter(changed))}: expected a fastbp {kind} as {name}, whose "
                    f"number it is; got {functions.shown(now)}"
                )
        return super().set_params(**own)

    # the network

    def _hidden_sizes(self):
        sizes = self.hidden_layer_sizes
        try:
            sizes = list(sizes)
        except Exception:  # one number, or what is refused below
            sizes = [sizes]
        if any(isinstance(n, Real) and n <= 0 for n in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {functions.shown(sizes)}.")
        return [inputs.as_count(n, f"hidden_layer_sizes[{i}]") for i, n in enumerate(sizes)]

    def _empty_network(self, sizes, dtype):
        """Of these sizes, parameters 0."""
        n_hidden = len(sizes) - 2
        names = self.activation
        names = [names] * n_hidden if isinstance(names, str) else list(names)
        if len(names) != n_hidden:
            raise ValueError(
                f"activation: expected one name, or one for each of the {n_hidden} hidden layers; "
                f"got {self.activation!r}"
            )
        output, loss = self._output_and_loss()
        net = Network(
            sizes,
            activation=[NAMES.get(name, name) for name in names],
            output=output,
            loss=loss,
            dtype=dtype,
            init="zeros",
        )
        net.metadata = self._metadata()
        return net

    def _metadata(self):
        """What a file of the network tells beside it."""
        columns = self.__dict__.get("feature_names_in_")
        return {} if columns is None else {"columns": columns.tolist()}

    def _check_functions(self):
        """Refuse unknown activations before anything changes, also where none is used."""
        names = [self.activation] if isinstance(self.activation, str) else self.activation
        for name in names:
            functions.activation(NAMES.get(name, name) if isinstance(name, str) else name)

    def _adopt(self, net):
        """Make `net` the estimator's: coefs_ and intercepts_ are views of its parameters."""
        self._network = net
        self.coefs_, self.intercepts_ = net.weights, net.biases

    @property
    def network_(self):
        """The trained `fastbp.Network`: its checks, gradients and files."""
        check_is_fitted(self)
        members.check_single(self, "network_")
        net = self.__dict__.get("_network")
        if net is None or not self._is_current(net):  # unpickled, or coefs_ were replaced
            coefs = [np.asarray(W) for W in self.coefs_]
            dtype = np.float32 if all(W.dtype == np.float32 for W in coefs) else np.float64
            sizes = [*(W.shape[0] for W in coefs), self._n_network_outputs()]
            net = self._empty_network(sizes, dtype)
            for own, given in zip(
                [*net.weights, *net.biases], [*coefs, *self.intercepts_], strict=True
            ):
                own[...] = given
            self._adopt(net)
        return net

    @property
    def networks_(self):
        """The trained networks: of an ensemble all, else the one."""
        check_is_fitted(self)
        if "members_" in vars(self):
            return [member.network_ for member in self.members_]
        return [self.network_]

    def _is_current(self, net):
        own = self.__dict__
        coefs, intercepts = own["coefs_"], own["intercepts_"]
        return (
            len(coefs) == len(net._weights)
            and all(map(operator.is_, coefs, net._weights))
            and all(map(operator.is_, intercepts, net._biases))
        )

    def _n_network_outputs(self):
        return self.n_outputs_

    def _initialize(self, n_features, dtype, random_state):
        """Glorot's uniform weights, the same draws as scikit-learn's."""
        hidden = self._hidden_sizes()
        net = self._empty_network([n_features, *hidden, self._n_network_outputs()], dtype)
        names = [f.name for f in net._hidden]
        for W, b, name in zip(
            net.weights, net.biases, [*names, *names[-1:]] or [self.activation], strict=True
        ):
            factor = 2.0 if name in ("sigmoid", "logistic") else 6.0
            bound = np.sqrt(factor / (W.shape[0] + W.shape[1]))
            W[...] = random_state.uniform(-bound, bound, W.shape)
            b[...] = random_state.uniform(-bound, bound, b.shape)
        self._adopt(net)
        self.__dict__.pop("members_", None)
        self.n_iter_ = 0
        self.t_ = 0
        self.loss_ = np.nan  # until an epoch ends
        self.n_layers_ = len(net.sizes)
        self.__dict__.pop("_optimizer", None)
        if self.solver != "lbfgs":
            self.loss_curve_ = []
            self._no_improvement_count = 0
            self._best_parameters = None
            early = self.early_stopping
            self.validation_scores_ = [] if early else None
            self.best_validation_score_ = -np.inf if early else None
            self.best_loss_ = None if early else np.inf

    # training

    def _fit(self, X, y, sample_weight, incremental=False, validation=(None, None, None)):
        if incremental or self.warm_start:
            members.check_count(self)
        if self.n_ensemble > 1:
            return members.fit(self, X, y, sample_weight, incremental, validation)
        solvers.run(self._begin(X, y, sample_weight, incremental, validation))
        return self

    def _begin(
        self,
        X,
        y,
        sample_weight=None,
        incremental=False,
        validation=(None, None, None),
        common=None,
    ):
        """The solver whose request is to be trained; where that is refused, nothing changes.

        `common`: what it has in common with other fits (together.py).
        """
        before = dict(self.__dict__)
        try:
            return self._prepared(X, y, sample_weight, incremental, validation, common or Part)
        except BaseException:  # an earlier fit stays what it was
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _prepared(self, X, y, sample_weight, incremental, validation, part_of):
        """The solver that is to run, everything checked."""
        self._check_functions()
        solvers.check(self, len(self._hidden_sizes()))
        if incremental and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        if not self.early_stopping and any(part is not None for part in validation):
            raise ValueError(
                "X_val and y_val are used by early stopping: expected early_stopping=True with "
                "them; got early_stopping=False"
            )
        first = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        part = part_of(self, X, y, incremental, first)
        X, y, targets = part.X, part.y, part.targets
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
            if sample_weight.dtype.kind != "f":  # complex: all else has become floats
                raise TypeError(
                    f"sample_weight: expected numbers; got an array of dtype {sample_weight.dtype}"
                )
        sample_weight = self._with_class_weight(y, sample_weight, incremental)
        random_state = check_random_state(self.random_state)
        if first:
            self._initialize(X.shape[1], X.dtype, random_state)
        net = self.network_
        self._check_same_architecture(net, X, targets)
        weight = inputs.as_weight(sample_weight, X.shape[0], net.dtype)
        data, held_out = part.samples(self, net)._replace(weight=weight), None
        if self.early_stopping and self.solver != "lbfgs":
            data, held_out = self._held_out(part, data, y, targets, validation, random_state)
        data, constants = self._smoothed(net, data), self._constants(data)
        if constants is not None and data.rows is not None:
            constants = constants[data.rows]
        if constants is not None or self.checkpoint is not None:  # which go by numbers of rows
            data = data.whole()
        if self.solver == "lbfgs":
            return solvers.Minimum(self, net, data, constants=constants)
        return solvers.Descent(
            self, net, data, held_out, random_state, incremental=incremental, constants=constants
        )

    def _targets(self, net, targets):
        try:
            return inputs.as_targets(
                targets, targets.shape[0], net._n_targets, net._loss, net.dtype
            )
        except (TypeError, ValueError) as error:
            raise type(error)(f"y{str(error).removeprefix('Y')}") from None

    def _check_same_architecture(self, net, X, targets):
        """A network that is trained further keeps its shape."""
        if net.sizes[1:-1] != self._hidden_sizes():
            raise ValueError(
                f"hidden_layer_sizes: expected {net.sizes[1:-1]}, those of the fit that is "
                f"continued; got {self._hidden_sizes()}"
            )
        n_targets = 1 if targets.ndim == 1 and net._n_targets == 1 else targets.shape[-1]
        if targets.ndim == 2 and n_targets != net._n_targets:
            raise ValueError(
                f"y: expected {net._n_targets} columns, those of the fit that is continued; got "
                f"{n_targets}"
            )

    def _held_out(self, part, data, y, targets, validation, random_state):
        """Training data, and a function that scores the network on the rest."""
        X_val, y_val, weight_val = validation
        n = data.X.shape[0]
        if X_val is None and y_val is None and weight_val is None:
            if self.validation_fraction == 0:
                raise ValueError(
                    "early_stopping: needs validation data, validation_fraction above 0 or X_val "
                    "and y_val in fit; got validation_fraction=0"
                )
            train, rest = train_test_split(
                np.arange(n),
                random_state=random_state,
                test_size=self.validation_fraction,
                stratify=self._strata(targets),
            )
            if rest.size < 2:
                raise ValueError(
                    "The validation set is too small. Increase 'validation_fraction' or the size "
                    "of your dataset."
                )
            X_val, y_val = part.held(data.X, rest), y[rest]
            weight_val = None if data.weight is None else data.weight[rest]
            data = data.of(train)
        else:
            if X_val is None or y_val is None:
                missing, given = ("X_val", "y_val") if X_val is None else ("y_val", "X_val")
                raise ValueError(f"{missing}: expected validation data beside {given}; got None")
            with np.errstate(invalid="ignore"):  # scikit-learn's look at infinities of both signs
                X_val, y_val, weight_val = self._validation_data(X_val, y_val, weight_val, data)
        return data, partial(self._validation_score, X_val, y_val, weight_val)

    def _validation_data(self, X_val, y_val, weight_val, data):
        try:
            X_val = validate_data(
                self, X_val, accept_sparse=SPARSE, dtype=data.X.dtype, reset=False
            )
        except ValueError as error:
            raise ValueError(f"X_val: {error}") from None
        y_val = self._validated_y_val(y_val)
        if len(y_val) != X_val.shape[0]:
            raise ValueError(
                f"y_val: expected {X_val.shape[0]} rows, as many as X_val; got {len(y_val)}"
            )
        if weight_val is not None:
            weight_val = _check_sample_weight(weight_val, X_val)
            weight_val = inputs.as_weight(
                weight_val, len(y_val), weight_val.dtype, "sample_weight_val"
            )
        if is_sparse(X_val):
            X_val = self._network._ready(X_val)
        return X_val, y_val, weight_val

    def _validation_score(self, X_val, y_val, weight_val):
        if self.scoring is None:
            outputs = self._network.predict(X_val)
            if not np.isfinite(outputs).all():
                return np.nan
            with np.errstate(over="ignore", invalid="ignore"):  # of a run that is about to diverge
                score = self._metric(y_val, self._decoded(outputs), sample_weight=weight_val)
            return float(score)
        # an estimator of the same network that does not ask X_val for the names of its columns
        judged = object.__new__(type(self))
        judged.__dict__.update(self.__dict__)
        judged.__dict__.pop("feature_names_in_", None)
        weights = {} if weight_val is None else {"sample_weight": weight_val}
        X_val = X_val.tocsr() if isinstance(X_val, Lists) else X_val
        return float(check_scoring(judged, self.scoring)(judged, X_val, y_val, **weights))

    def _is_stochastic(self):
        if self.solver == "lbfgs":
            raise AttributeError(
                "partial_fit is only available for stochastic optimizers. lbfgs is not stochastic."
            )
        return True

    # what classes and numbers do differently

    def _with_class_weight(self, y, sample_weight, incremental):
        return sample_weight

    def _constants(self, data):
        """What each sample's loss has in scikit-learn beside ours, or None."""
        return None

    def _smoothed(self, net, data):
        return data

    def _strata(self, targets):
        return None

    # predictions

    def _outputs(self, X):
        """a^L; one clean row takes a few microseconds, everything else scikit-learn's checks."""
        own = self.__dict__
        net = own.get("_network")
        if net is not None and "feature_names_in_" not in own and self._is_current(net):
            outputs = net._predictor.predict(X, None)
            if outputs is not None:
                return outputs
        nets = self.networks_
        if type(X) is np.ndarray and "feature_names_in_" not in own and len(X):
            known = X.dtype == nets[0].dtype and X.ndim == 2 and X.shape[1] == nets[0].sizes[0]
            if known and X.flags.c_contiguous and nets[0]._doors.is_finite(X):
                return self._of_all(nets, X)  # scikit-learn's checks take 0.1 ms to say so too
        X = validate_data(self, X, accept_sparse=SPARSE, reset=False)
        return self._of_all(nets, X)

    def _of_all(self, nets, X):
        if len(nets) == 1:
            return nets[0].predict(X)
        return self._averaged(np.array([net.predict(X) for net in nets]))

    def _averaged(self, outputs):
        """What an ensemble says, of what its networks say."""
        return outputs.mean(axis=0)

    # what scikit-learn asks of an estimator

    def __getstate__(self):
        state = dict(super().__getstate__())
        state.pop("_network", None)  # made again of coefs_ and intercepts_
        return state

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @property
    def _repr_html_(self):
        whole = super()._repr_html_  # AttributeError where diagrams are turned off
        return lambda: whole() + self._layers_html()

    def _repr_mimebundle_(self, **options):
        bundle = super()._repr_mimebundle_(**options)
        if "text/html" in bundle:
            bundle["text/html"] += self._layers_html()
        return bundle

    def _layers_html(self):
        """A table of the layers of a fitted network."""
        if not {"coefs_", "members_"} & set(vars(self)):
            return ""
        return "".join(net._repr_html_() for net in self.networks_)
