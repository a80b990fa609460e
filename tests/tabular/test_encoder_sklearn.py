"""The encoder as a transformer of scikit-learn: its own checks, pipelines, frames as output.

What belongs here: what scikit-learn asks of it. What does not: the numbers (test_encoder.py).
"""

import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

from fastbp.tabular import Encoder

pytest.importorskip("sklearn")

from sklearn import config_context
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

with warnings.catch_warnings():  # it does not inherit what only an import of the library has
    warnings.filterwarnings("ignore", "Estimator Encoder does not inherit")
    checks = estimator_checks.parametrize_with_checks([Encoder()])  # it passes all


@pytest.mark.filterwarnings("default:Estimator Encoder does not inherit")
@checks
def test_checks_of_scikit_learn(estimator, check):
    check(estimator)


BY_NAME = {
    "check_dataframe_column_names_consistency": (
        "expects columns in another order to be refused; ours are found by name "
        "(test_encoder.py::test_columns_are_found_by_name)"
    ),
}
OF_NAMES = [
    "check_dataframe_column_names_consistency",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
]


@pytest.mark.filterwarnings("ignore:X .*feature names, but Encoder was fitted")
@pytest.mark.parametrize("name", OF_NAMES)
def test_checks_of_names_and_frames(name):
    """Those of its own transformers, which are no part of the checks above."""
    for library in ("pandas", "polars", "pyarrow", "narwhals"):
        pytest.importorskip(library)
    check = getattr(estimator_checks, name)
    if name in BY_NAME:
        with pytest.raises(AssertionError, match="did not raise"):
            check("Encoder", Encoder())
    else:
        check("Encoder", Encoder())


def frame():
    pd = pytest.importorskip("pandas")
    for library in ("pyarrow", "narwhals"):
        pytest.importorskip(library)
    rng = np.random.default_rng(0)
    kinds = rng.choice(["oak", "elm", "ash"], 60)
    return pd.DataFrame({"size": rng.random(60), "kind": kinds, "id": range(60)}), kinds == "oak"


def test_a_pipeline_and_a_search():
    X, y = frame()
    pipeline = make_pipeline(Encoder(), LogisticRegression())
    assert pipeline.fit(X, y).score(X, y) == 1
    assert list(pipeline[:-1].get_feature_names_out()) == [
        "size", "kind=ash", "kind=elm", "kind=oak", "id",
    ]  # fmt: skip
    search = GridSearchCV(pipeline, {"encoder__max_categories": [1, 10]}, cv=3).fit(X, y)
    assert search.best_params_ == {"encoder__max_categories": 10}


def test_a_column_transformer():
    X, _ = frame()
    both = make_column_transformer(
        (Encoder(), ["size", "kind"]), (Encoder(categorical=[0]), ["id"]), sparse_threshold=1.0
    )
    encoded = both.fit_transform(X)
    assert encoded.shape == (60, 64) and encoded.format == "csr"
    assert both.get_feature_names_out()[:2].tolist() == ["encoder-1__size", "encoder-1__kind=ash"]


def test_copies():
    X, _ = frame()
    encoder = Encoder(categorical=["id"], dtype="float64").fit(X)
    expected = encoder.transform(X).toarray()
    again = pickle.loads(pickle.dumps(encoder))
    assert (again.transform(X).toarray() == expected).all() and again.to_dict() == encoder.to_dict()
    other = clone(encoder)
    assert other.get_params() == encoder.get_params() and not hasattr(other, "n_features_in_")
    assert (other.fit_transform(X).toarray() == expected).all()
    with pytest.raises(ValueError, match="Did you mean 'numeric'"):
        other.set_params(numerics=["a"])


@pytest.mark.parametrize("kind", ["pandas", "polars"])
def test_frames_as_output(kind):
    library = pytest.importorskip(kind)
    X, _ = frame()
    encoder = Encoder().set_output(transform=kind)
    encoded = encoder.fit_transform(X)
    assert isinstance(encoded, library.DataFrame)
    assert list(encoded.columns) == encoder.feature_names_out()
    plain = clone(encoder).set_output(transform="default").fit(X)
    assert (np.asarray(encoded) == plain.transform(X).toarray()).all()
    with config_context(transform_output=kind):
        other = Encoder().fit(X)
        assert isinstance(other.transform(X), library.DataFrame)
        assert plain.transform(X).format == "csr"
    assert encoder.set_output(transform="default").transform(X).format == "csr"


def test_without_scikit_learn(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "sklearn"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Without(), *sys.meta_path])
    encoder = Encoder().fit([[1.0], [2.0]])
    assert encoder.set_output(transform="default").transform([[1.5]]).tolist() == [[0]]
    with pytest.raises(ImportError, match=r"scikit-learn: pip install .*\[tables\]"):
        encoder.set_output(transform="pandas").transform([[1.5]])
    with pytest.raises(ValueError, match="not fitted yet"):
        Encoder().transform([[1.5]])


class Without:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "sklearn":
            raise ImportError(name)


def test_it_is_not_fitted_as_scikit_learn_says_it():
    with pytest.raises(NotFittedError, match="not fitted yet"):
        Encoder().transform([[1.0]])
    assert Encoder().set_output(transform=None).fit_transform([[1.0]]).tolist() == [[0]]


def test_names_of_the_input():
    X, _ = frame()
    encoder = Encoder().fit(X)
    assert list(encoder.get_feature_names_out(list(X))) == encoder.feature_names_out()
    for names in (["a"], ["a", "b", "c"]):
        with pytest.raises(ValueError, match="input_features"):
            encoder.get_feature_names_out(names)


def test_an_encoder_does_not_import_scikit_learn():
    code = (
        "import sys, fastbp; table = {'a': ['x', 'y', 'z'], 'b': [1, 2, 3]};"
        "e = fastbp.tabular.Encoder().fit(table); e.transform({'a': ['x'], 'b': [None]});"
        "e.get_params(); repr(e); e.to_dict();"
        "print({'sklearn', 'pyarrow', 'narwhals', 'pandas', 'polars'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
