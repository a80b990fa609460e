"""Tabular estimators out of files.

What belongs here: the estimator that a file's facts describe, each of them checked. What does not:
tensors (fastbp/files/ensemble.py), what `save` writes (tabular.py).
"""

from __future__ import annotations

from fastbp import inputs
from fastbp.estimators.design import Design
from fastbp.estimators.tabular import TabularClassifier, TabularRegressor
from fastbp.estimators.targets import KINDS, Labels, Scaled
from fastbp.files import ensemble
from fastbp.tabular import Encoder
from fastbp.tabular.facts import Facts

ESTIMATORS = {"TabularClassifier": TabularClassifier, "TabularRegressor": TabularRegressor}


def load(path):
    """The estimator that `save` wrote to a file.

    Raises
    ------
    ValueError
        The file is damaged, of another kind, from a later version, or does not fit its own
        description; the message begins with its name.
    OSError
    """
    path = inputs.as_file(path, "path")
    nets, facts = ensemble.load(path)
    try:
        return _built(nets, Facts(facts, "description"))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _built(nets, of):
    model = ESTIMATORS[of.one_of("estimator", list(ESTIMATORS))]()
    given = Facts(of.value("parameters"), "parameters")
    model._design = Design.from_dict(of.value("design"))
    told = {name: given.value(name) for name in model.get_params(deep=False)}
    encoder = Encoder(**model._design.encoder.get_params()) if given.flag("encoder") else None
    model.set_params(**told | {"encoder": encoder})
    given.close()
    model._validate_params()
    targets = Facts(of.value("targets"), "targets")
    kind = targets.one_of("kind", KINDS)
    read = Scaled if kind == "numbers" else Labels
    if (read is Scaled) != isinstance(model, TabularRegressor):
        raise targets.wrong("kind", f"that of {type(model).__name__}")
    model._targets = read.read(targets)
    targets.close()
    model.n_iter_ = of.count("n_iter", 1)
    model.metadata_ = of.value("metadata")
    if type(model.metadata_) is not dict:
        raise of.wrong("metadata", "a dict")
    of.close()
    shape = model._design.n_columns, model._targets.n_outputs, *model._targets.loss
    for i, net in enumerate(nets):
        found = net.sizes[0], net.sizes[-1], net._output.name, net._loss.name
        if found != shape:
            raise ValueError(
                f"networks[{i}]: expected inputs, outputs and loss {shape}; got {found}"
            )
    model.networks_, model.histories_ = nets, []
    model._tell()
    return model
