"""scikit-learn's own tests of its multi-layer perceptrons, with our two classes in their place.

What belongs here: running sklearn/neural_network/tests/test_mlp.py from the installed wheel, and
the cases that cannot pass, each with its reason. What does not: tests of our own
(test_estimators.py).
"""

import importlib.util
import sys
from pathlib import Path

import pytest

pytest.importorskip("sklearn")

import sklearn.neural_network

from fastbp import estimators

SUITE = Path(sklearn.neural_network.__file__).parent / "tests/test_mlp.py"

# Cases about scikit-learn's own inside, and where what they test is tested of ours.
PRIVATE = {
    "test_gradient": (
        "calls the private _loss_grad_lbfgs with lists of work arrays; public: model.network_."
        "gradient, fastbp.check.gradients (test_estimators.py::test_gradients_are_right)"
    ),
}


def load():
    """The suite as a module that sees our classes."""
    spec = importlib.util.spec_from_file_location("sklearn_test_mlp", SUITE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def as_scikit_learn_runs_it(recwarn):
    """Without this project's filters: unawaited ConvergenceWarnings do not fail a case there."""


pytestmark = pytest.mark.filterwarnings("default")

original = sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor
sklearn.neural_network.MLPClassifier = estimators.MLPClassifier
sklearn.neural_network.MLPRegressor = estimators.MLPRegressor
try:
    suite = load()
finally:
    sklearn.neural_network.MLPClassifier, sklearn.neural_network.MLPRegressor = original

for name, case in vars(suite).items():
    if name.startswith("test_"):
        if name in PRIVATE:
            case = pytest.mark.skip(reason=PRIVATE[name])(case)
        globals()[name] = case


@pytest.fixture(params=[0, 42])
def global_random_seed(request):
    return request.param


def test_the_suite_is_ours():
    """Its names are bound to our classes, and the list of exceptions names cases that exist."""
    assert suite.MLPClassifier is estimators.MLPClassifier
    assert suite.MLPRegressor is estimators.MLPRegressor
    assert sklearn.neural_network.MLPClassifier is original[0]
    assert set(PRIVATE) <= set(vars(suite))
    assert sum(name.startswith("test_") for name in vars(suite)) >= 35
