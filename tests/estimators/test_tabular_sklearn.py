"""scikit-learn's own checks of estimators, on the two tabular ones.

What belongs here: those checks, and which cannot pass, each with its reason. What does not: what
our own tests say (test_tabular.py).
"""

import pytest

pytest.importorskip("sklearn")

from sklearn.utils.estimator_checks import parametrize_with_checks

from fastbp.estimators import TabularClassifier, TabularRegressor

FAIL = {
    "check_sample_weight_equivalence_on_dense_data": (
        "rows repeated are other batches and another split than rows weighed, as in every fit of "
        "mini-batches"
    ),
}
MODELS = [TabularClassifier(random_state=0), TabularRegressor(random_state=0)]


@pytest.mark.filterwarnings("default")
@parametrize_with_checks(MODELS, expected_failed_checks=lambda model: FAIL)
def test_scikit_learns_checks(estimator, check):
    check(estimator)
