"""`n_ensemble` of the estimators: several networks behind one, trained together.

What belongs here: what each of them is given, and what the whole has of them. What does not: a fit
(together.py), how their outputs become one (mlp.py, regressor.py), bagging (ensemble.py).
"""

from __future__ import annotations

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_random_state

from fastbp.estimators.together import Common, Fit, fit_all
from fastbp.functions import shown
from fastbp.training.watchers.bar import Members as Bar

# what data alone decide, which the whole has as each of its members
ALIKE = (
    "n_features_in_", "feature_names_in_", "classes_", "n_outputs_", "out_activation_", "n_layers_",
    "_multilabel", "_sparse_labels",
)  # fmt: skip
# what one network has, and an ensemble has not
OF_ONE = (
    "coefs_", "intercepts_", "loss_curve_", "best_loss_", "validation_scores_",
    "best_validation_score_", "_network", "_optimizer", "_no_improvement_count", "_best_parameters",
)  # fmt: skip


def check_single(model, name):
    """Refuse to name one network's among several."""
    if "members_" in vars(model):
        raise AttributeError(
            f"{name}: an ensemble of {len(model.members_)} networks has none of its own; see "
            "networks_ and members_"
        )


def check_count(model):
    """Refuse to go on with another number of networks."""
    known = vars(model)
    n = len(known["members_"]) if "members_" in known else 1
    if n != model.n_ensemble and ("members_" in known or "coefs_" in known):
        raise ValueError(
            f"n_ensemble: expected {n}, as in the fit that is continued; got {model.n_ensemble}"
        )


def fit(model, X, y, sample_weight, incremental, validation):
    """Fit the members, or go on with them; an exception leaves an earlier fit as it was."""
    members = _members(model, incremental)
    common = Common()
    fits = [Fit(member, common) for member in members]
    for of_member in fits:
        if incremental and "classes_" in vars(model):
            of_member.model.classes_ = model.classes_
        of_member.prepare(X, y, sample_weight, incremental, validation)
        if of_member.error is not None:
            raise of_member.error
    fit_all(fits, model.n_threads, [Bar(len(fits))] if model.progress else ())
    errors = []
    for of_member in fits:
        try:
            of_member.end()
        except Exception as error:
            errors.append(error)
    if errors:
        raise errors[0]
    for name in OF_ONE:
        vars(model).pop(name, None)
    first = vars(members[0])
    vars(model).update({name: first[name] for name in ALIKE if name in first})
    model.members_ = members
    model.n_iter_ = max(member.n_iter_ for member in members)
    model.t_ = max(member.t_ for member in members)
    model.loss_ = float(np.mean([member.loss_ for member in members]))
    return model


def _members(model, incremental):
    """Estimators of one network each, with the parameters of `model` as they are now."""
    if model.checkpoint is not None:
        raise ValueError(
            f"checkpoint: expected None with n_ensemble above 1; got {shown(model.checkpoint)}"
        )
    members = vars(model).get("members_")
    own = model.get_params(deep=False) | {"n_ensemble": 1, "progress": False}
    del own["random_state"]
    if members is None or not (incremental or model.warm_start):
        draws = check_random_state(model.random_state)
        seeds = draws.randint(np.iinfo(np.int32).max, size=model.n_ensemble).tolist()
        members = [clone(model).set_params(random_state=seed) for seed in seeds]
    return [member.set_params(**own) for member in members]
