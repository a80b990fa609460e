"""`fit_stream`: one network's fit on data in chunks.

What belongs here: what of `fit` is different where the data are not all at hand: classes from a
pass over the targets, labels of each block. What does not: the run (solvers.py), chunks and how
they are read (fastbp/data/, training/chunks.py).
"""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import unique_labels

from fastbp import inputs
from fastbp.data.chunks import is_chunks, targets_of
from fastbp.estimators import solvers
from fastbp.functions import shown
from fastbp.training.chunks import Stream


def fit(model, chunks, classes, validation):
    """Train a classifier or a regressor; where it is refused, nothing changes."""
    before = dict(model.__dict__)
    try:
        solver = _prepared(model, chunks, classes, validation)
    except BaseException:  # an earlier fit stays what it was
        model.__dict__.clear()
        model.__dict__.update(before)
        raise
    solvers.run(solver)
    return model


def _prepared(model, chunks, classes, validation):
    if not is_chunks(chunks):
        raise TypeError(
            f"chunks: expected what fastbp.data makes, or an object as it; got {shown(chunks)}"
        )
    _check(model, validation)
    model._check_functions()
    solvers.check(model, len(model._hidden_sizes()))
    model.n_features_in_ = inputs.as_count(chunks.n_features, "chunks: n_features")
    vars(model).pop("feature_names_in_", None)
    columns, encoder = getattr(chunks, "columns", None), getattr(chunks, "encoder", None)
    if columns is not None and encoder is None:
        model.feature_names_in_ = np.array(columns, object)
    encode = model._stream_targets(chunks, classes)
    random_state = check_random_state(model.random_state)
    dtype = _dtype(chunks)
    model._initialize(model.n_features_in_, dtype, random_state)
    net = model._network
    stream = Stream(net, chunks, False, encode=encode)
    stream.told_threads = model.n_threads
    weights = model._stream_weights(stream)

    def changed(data):
        data = data if weights is None else stream.weighted(data, weights)
        return model._smoothed(net, data)

    stream.changed = changed
    if model._constants(SimpleNamespace(dense=np.ones((1, 1)))) is not None:
        raise ValueError(f"loss: expected another one in fit_stream; got {model.loss!r}")
    held_out = None
    if model.early_stopping:
        nothing = stream.nothing()
        _, held_out = model._held_out(None, nothing, None, None, validation, random_state)
    return solvers.Descent(
        model, net, stream, held_out, random_state, incremental=False, constants=None
    )


def _check(model, validation):
    for name, fits, expected in (
        ("solver", model.solver != "lbfgs", "one of steps, not lbfgs, which needs all samples"),
        ("n_ensemble", model.n_ensemble == 1, "1"),
        ("warm_start", not model.warm_start, "False"),
    ):
        if not fits:
            got = shown(getattr(model, name))
            raise ValueError(f"{name}: expected {expected} in fit_stream; got {got}")
    given = [part is not None for part in validation]
    if model.early_stopping and not all(given[:2]):
        raise ValueError(
            "early_stopping: expected False in fit_stream, or X_val and y_val with it, for no "
            "share can be split off of chunks; got True"
        )
    if any(given) and not model.early_stopping:
        raise ValueError(
            "X_val and y_val are used by early stopping: expected early_stopping=True with them; "
            "got early_stopping=False"
        )


def _dtype(chunks):
    """float32 where X is, as in fit."""
    dtype = getattr(chunks, "dtype", None)
    if dtype is None:
        for block in chunks:
            dtype = getattr(block[0], "dtype", None)
            break
    narrow = isinstance(dtype, np.dtype) and dtype == np.float32
    return np.dtype(np.float32 if narrow else np.float64)


def classes_of(chunks, classes):
    """The labels that are told, or else those that a pass over the targets finds."""
    if classes is not None:
        return unique_labels(classes)
    found = None
    for place, Y in targets_of(chunks):
        try:
            Y = _labels(Y)
            if Y.size:
                here = np.unique(Y)
                found = here if found is None else np.union1d(found, here)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{place}: {error}") from None
    if found is None:
        raise ValueError("chunks: expected at least one row; got none")
    return found


def encoder_of(model):
    """What makes the targets of a block of its labels."""
    known = model.classes_

    def encode(Y):
        Y = _labels(Y)
        places = np.searchsorted(known, Y) if Y.size else np.empty(0, np.intp)
        places = np.minimum(places, len(known) - 1)
        wrong = known[places] != Y
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(f"y: expected classes among {known}; got {Y.item(row)!r} at [{row}]")
        if model.n_outputs_ == 1 or model._is_signed():
            targets = places[:, None].astype(float)
            if model.n_outputs_ > 1:
                targets = np.equal.outer(places, np.arange(model.n_outputs_)).astype(float)
            return 2 * targets - 1 if model._is_signed() else targets
        return places

    return encode


def _labels(Y):
    Y = np.asarray(Y)
    if Y.ndim == 2 and Y.shape[1] == 1:
        Y = Y[:, 0]
    if Y.ndim != 1:
        raise ValueError(f"y: expected labels (n,) in fit_stream; got shape {Y.shape}")
    if Y.dtype.kind == "O":
        if any(part is None or part != part for part in Y):
            raise ValueError("y: expected labels; got a missing one")
        Y = Y.astype(str) if all(isinstance(part, str) for part in Y) else Y
    if Y.dtype.kind == "f":
        if not np.isfinite(Y).all():
            raise ValueError("y: expected labels; got NaN or infinity")
        if (Y != np.floor(Y)).any():
            raise ValueError("y: expected labels, for classes; got numbers with fractions")
    return Y


def class_weights(model, stream):
    """Weights of the network's classes, of those of the labels."""
    given = model.class_weight
    if given is None:
        return None
    if isinstance(given, str):
        return stream.balanced()
    if not isinstance(given, dict):
        raise ValueError(f"class_weight: expected a dict or 'balanced'; got {shown(given)}")
    known = model.classes_.tolist()
    unknown = [label for label in given if label not in known]
    if unknown:
        raise ValueError(f"class_weight: expected classes of y, {model.classes_}; got {unknown}")
    signed = model._is_signed() and model.n_outputs_ == 1
    names = [-1, 1] if signed else list(range(len(known)))
    return {names[known.index(label)]: weight for label, weight in given.items()}


def first_targets(chunks):
    """Of a regressor: how many columns Y has."""
    for _, Y in targets_of(chunks):
        shape = np.shape(Y)
        if shape and shape[0]:
            return 1 if len(shape) == 1 else shape[1]
    raise ValueError("chunks: expected at least one row; got none")
