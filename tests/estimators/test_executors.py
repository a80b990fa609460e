"""`executor=` of searches, cross-validation, bags and groups: fits made elsewhere, the same bits.

What belongs here: executors of the standard library, loky's, joblib's backends; what is sent, how
often, and what comes back. What does not: Dask and MPI (test_executors_cluster.py), what the fits
are (test_search.py, test_ensemble.py, test_groups.py).
"""

import copy
import itertools
import multiprocessing
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import warnings
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from scipy import sparse
from sklearn import linear_model, model_selection
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fastbp import estimators
from fastbp.estimators import backends, chunks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 90
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 5))
Y = X[:, 0] + np.sin(X[:, 1]) + 0.1 * RNG.normal(size=N)
LABELS = np.where(Y > 0, "up", np.where(Y < -1, "down", "level"))
WEIGHT = RNG.uniform(0.5, 2, N)
GROUPS = np.array(["pump", "fan", "saw"])[RNG.integers(0, 3, N)]
GRID = {"alpha": [1e-4, 1.0], "hidden_layer_sizes": [(7,), (4, 3)], "random_state": [0, None]}
OPTIONS = {"hidden_layer_sizes": (7,), "max_iter": 6, "random_state": 3}


class Inline(Executor):
    """Does what is submitted at once, of pickles, and counts it; like a process with one worker."""

    _max_workers = 2

    def __init__(self):
        self.names, self.sizes = [], []

    def submit(self, function, /, *args, **named):
        future = Future()
        self.names.append(function.__name__)
        sent = pickle.dumps((function, args, named))
        self.sizes.append(len(sent))
        function, args, named = pickle.loads(sent)
        future.set_result(function(*args, **named))
        return future


def regressor(**options):
    return estimators.MLPRegressor(**(OPTIONS | options))


def classifier(**options):
    return estimators.MLPClassifier(**(OPTIONS | options))


def seeded(call):
    np.random.seed(5)  # noqa: NPY002
    return call()


def grid(executor=None, model=None, y=Y, x=X, **options):
    search = estimators.GridSearchCV(
        regressor() if model is None else model, GRID, cv=3, executor=executor, **options
    )
    return seeded(lambda: search.fit(x, y))


def assert_same(found, expected):
    """Searches, ensembles, dicts, tuples of arrays: equal to the bit but for times."""
    if isinstance(expected, dict):
        assert list(found) == list(expected)
        for name in expected:
            if "time" not in name:
                assert_same(found[name], expected[name])
    elif isinstance(expected, (tuple, list)):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            assert_same(one, other)
    elif hasattr(expected, "cv_results_"):
        assert_same(found.cv_results_, expected.cv_results_)
        assert_same(found.best_estimator_, expected.best_estimator_)
    elif hasattr(expected, "network_"):
        np.testing.assert_array_equal(found.network_.parameters, expected.network_.parameters)
        assert found.loss_curve_ == expected.loss_curve_
    else:
        np.testing.assert_array_equal(found, expected)


@pytest.fixture(scope="module")
def spawned():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder that holds what is sent by files."""
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    return tmp_path


def threads():
    return ThreadPoolExecutor(2)


def loky():
    return joblib.externals.loky.get_reusable_executor(max_workers=1)


def forked():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork"))


CALLS = {
    "cross_validate": {"return_train_score": True, "return_estimator": True},
    "cross_val_score": {},
    "cross_val_predict": {"method": "predict_proba"},
    "learning_curve": {"train_sizes": [20, 40]},
    "validation_curve": {"param_name": "alpha", "param_range": [1e-4, 1.0]},
}


def call_of(name, x=X):
    options = {"cv": 3, **CALLS[name]}
    model = classifier(random_state=None)
    return lambda executor: getattr(estimators, name)(
        model, x, LABELS, executor=executor, **options
    )


def bag(kind, **options):
    make = getattr(estimators, kind)
    member, y = (classifier(), LABELS) if kind.endswith("Classifier") else (regressor(), Y)
    return lambda executor: make(
        member, 5, random_state=1, executor=executor, **options
    ).fit(X, y, sample_weight=WEIGHT).estimators_  # fmt: skip


def groups(executor):
    model = classifier(random_state=None)
    fitted = estimators.fit_groups(
        model, X, LABELS, GROUPS, sample_weight=WEIGHT, unseen="pooled", executor=executor
    )
    return [*fitted.models_.values(), fitted.pooled_]


def other_search(name):
    spaces, options = {"alpha": np.geomspace(1e-5, 10.0, 6).tolist()}, {"cv": 3, "random_state": 1}
    options |= {"n_iter": 3} if name.startswith("Random") else {"n_candidates": 6}
    make = getattr(estimators, name)
    return lambda executor: make(regressor(), spaces, executor=executor, **options).fit(X, Y)


ALL = {
    "grid": grid,
    **{name: other_search(name) for name in ("RandomizedSearchCV", "HalvingRandomSearchCV")},
    **{name: call_of(name) for name in CALLS},
    **{name: bag(name) for name in ("BaggingClassifier", "BaggingRegressor")},
    "features": bag("BaggingRegressor", max_features=0.5, bootstrap_features=True),
    "groups": groups,
}


@pytest.mark.parametrize("name", ALL)
def test_bits_are_those_of_this_process(name):
    expected = seeded(lambda: ALL[name](None))
    executor = Inline()
    assert_same(seeded(lambda: ALL[name](executor)), expected)
    assert executor.names and all(name.startswith("fit MLP") for name in executor.names)
    with threads() as executor:
        assert_same(seeded(lambda: ALL[name](executor)), expected)


@pytest.mark.parametrize("name", ["grid", "cross_validate", "BaggingClassifier", "groups"])
def test_processes_give_the_same_bits(name, spawned, temporary):
    expected = seeded(lambda: ALL[name](None))
    assert_same(seeded(lambda: ALL[name](spawned)), expected)
    assert not list(temporary.iterdir())


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork beside threads
@pytest.mark.parametrize("make", [forked, loky])
def test_other_processes_give_the_same_bits(make):
    pytest.importorskip("joblib.externals.loky")
    with make() as executor:
        assert_same(grid(executor), grid())


@pytest.mark.parametrize("backend", ["loky", "threading", "multiprocessing", "sequential"])
def test_backends_of_joblib_give_the_same_bits(backend, monkeypatch):
    sent, own = [], chunks.Plan.__next__

    def noted(plan):
        sent.append(own(plan))
        return sent[-1]

    monkeypatch.setattr(chunks.Plan, "__next__", noted)
    names = ["grid", "BaggingRegressor", "groups"] if backend == "threading" else ["grid"]
    for name in names:
        expected = seeded(lambda name=name: ALL[name](None))
        sent.clear()
        with joblib.parallel_config(backend, n_jobs=2):
            assert_same(seeded(lambda name=name: ALL[name](None)), expected)
        n_items = [len(chunk.items) for chunk in sent]
        assert (max(n_items) > 1 and len(n_items) > 1) if backend != "sequential" else not sent


def test_a_chunk_is_trained_in_one_crew(monkeypatch):
    counts, own = [], estimators.tasks.fit_all
    monkeypatch.setattr(
        estimators.tasks,
        "fit_all",
        lambda fits, *a: (counts.append((len(fits), *a)), own(fits, *a))[1],
    )
    executor = Inline()
    grid(executor, refit=False)
    assert len(counts) == len(executor.names) == 2
    assert sum(n for n, _ in counts) == 24 and {n for _, n in counts} == {1}
    counts.clear()
    grid(executor, regressor(n_threads=2), refit=False)
    assert {n for _, n in counts} == {2}


@pytest.mark.parametrize("n_jobs", [1, 2, -1])
def test_n_jobs_is_ignored(n_jobs):
    executor = Inline()
    assert_same(grid(executor, n_jobs=n_jobs), grid())
    assert len(executor.names) == 2


def test_a_bag_that_goes_on_sends_no_members():
    bag, other = (
        estimators.BaggingRegressor(
            regressor(hidden_layer_sizes=(300,), max_iter=1), 6, warm_start=True, random_state=0,
            executor=executor,
        ).fit(X, Y)
        for executor in (Inline(), None)
    )  # fmt: skip
    bag.executor.sizes.clear()
    for each in (bag, other):
        each.set_params(n_estimators=8).fit(X, Y)
    assert max(bag.executor.sizes) < 20_000
    assert_same(bag.estimators_, other.estimators_)


BIG = RNG.normal(size=(2000, 20))
TABLES = {
    "array": BIG,
    "columns first": np.asfortranarray(BIG),
    "float32": BIG.astype(np.float32),
    "csr": sparse.csr_array(np.where(BIG > 0.5, BIG, 0)),
    "csr_matrix": sparse.csr_matrix(np.where(BIG > 0.5, BIG, 0)),
    "pandas": pd.DataFrame(BIG, columns=[f"x{i}" for i in range(20)]),
}


def table(name):
    if name == "polars":
        return pytest.importorskip("polars").DataFrame(BIG, schema=[f"x{i}" for i in range(20)])
    return TABLES[name]


@pytest.mark.parametrize("name", [*TABLES, "polars"])
def test_data_go_to_a_worker_once(name, temporary, monkeypatch):
    x, y, weight = table(name), BIG[:, 0] > 0, RNG.uniform(size=2000)
    written, dump = [], joblib.dump
    monkeypatch.setattr(joblib, "dump", lambda *a, **k: (written.append(a), dump(*a, **k))[1])
    monkeypatch.setattr(chunks, "FIRST_SECONDS", 1e-9)
    monkeypatch.setattr(chunks, "SECONDS", (1e-9, 1e-9))  # a task a chunk
    monkeypatch.setattr(chunks, "PART_BYTES", 1 << 12)

    def fitted(executor):
        search = estimators.GridSearchCV(
            classifier(max_iter=2), {"alpha": [1e-4, 1.0, 10.0]}, cv=2, executor=executor
        )
        return search.fit(x, y, sample_weight=weight)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # score takes no weights
        executor = Inline()
        found = fitted(executor)
        assert len(executor.names) == 6 and max(executor.sizes) < 20_000
        assert_same(found, fitted(None))
    assert len(written) == len({id(part) for part, _ in written}) == 6  # x, weight and four folds
    assert not list(temporary.iterdir())


def test_a_search_in_rounds_sends_data_once(temporary, monkeypatch):
    written, dump = [], joblib.dump
    monkeypatch.setattr(joblib, "dump", lambda *a, **k: (written.append(a[0]), dump(*a, **k))[1])
    table, y = TABLES["pandas"].assign(kind="a"), pd.Series(BIG[:, 0])
    numbers = make_pipeline(
        FunctionTransformer(lambda frame: frame.drop(columns="kind").to_numpy()), regressor()
    )
    grid = {"mlpregressor__alpha": np.geomspace(1e-4, 1.0, 4).tolist()}
    options = {"n_candidates": 4, "cv": 2, "random_state": 0, "min_resources": 500}
    found, expected = (
        estimators.HalvingRandomSearchCV(numbers, grid, executor=of, **options).fit(table, y)
        for of in (Inline(), None)
    )
    assert found.n_iterations_ == 2
    np.testing.assert_array_equal(
        found.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )
    assert len(written) == 1 and written[0] is not y and written[0].shape == table.shape


@pytest.mark.parametrize("n", [1, 2, 7, 17, 33])
def test_chunks_have_every_task_once(n):
    values = np.geomspace(1e-4, 1.0, n).tolist()
    executor = Inline()
    found, expected = (
        estimators.GridSearchCV(regressor(max_iter=2), {"alpha": values}, cv=2, executor=of).fit(
            X, Y
        )
        for of in (executor, None)
    )
    assert_same(found, expected)
    assert len(executor.names) == 2


def items_of(**options):
    """Some thirty tasks, of two shapes, as a plan has them."""
    seen = []

    class Kept(backends.Elsewhere):
        def _make(self, batches):
            seen.extend(chunks.Item(batch) for batch in batches)
            raise ZeroDivisionError

    with (
        joblib.parallel_config(Kept(backends.ByThreads(Inline()))),
        pytest.raises(ZeroDivisionError),
    ):
        model_selection.GridSearchCV(regressor(**options), GRID, cv=4).fit(X, Y)
    return seen


def test_chunks_keep_shapes_and_folds_together():
    items = items_of(max_iter=1000)
    plan = chunks.Plan(items, 2)
    plan.timed["ours"] = [16.0, sum(item.work for item in items)]  # seconds that all take
    sizes, order = [], []
    for chunk in plan:
        sizes.append(sum(item.work for item in chunk.items) / plan.timed["ours"][1] * 16.0)
        order += chunk.items
    assert sorted(map(id, order)) == sorted(map(id, items))
    assert max(sizes) <= 4.0 * (1 + 1e-9) and min(sizes[:-1]) >= 0.3 and len(sizes) > 4
    assert sizes[0] > sizes[-1]
    runs = [(item.key, item.fold) for item in order]
    assert len([1 for a, b in itertools.pairwise(runs) if a != b]) == 7


def test_chunks_grow_with_what_has_been_timed():
    items = items_of(max_iter=100_000)
    plan = chunks.Plan(items, 1)
    first = next(plan)
    assert len(first.items) == 1
    plan.ended(chunks.Outcome(first.job.number, [], None, "", [], 0.01))  # much faster
    assert len(next(plan).items) > 10


def test_names_say_what_is_fitted():
    chunk = chunks.Chunk(0, items_of(), None)
    assert (chunk.name, chunk.told) == ("fit MLPRegressor", "candidates 0 to 7, folds 0 to 3")
    alone = chunks.Chunk(0, chunk.items[:1], None)
    assert alone.told == "candidate 0, fold 0"
    executor = Inline()
    estimators.cross_val_score(linear_model.Ridge(), X, Y, executor=executor)
    assert set(executor.names) == {"fit Ridge"}


class Fussy(RegressorMixin, BaseEstimator):
    """Draws by NumPy's global generator, and tells of the process that it is fitted in."""

    def fit(self, X, y):
        self.drawn_, self.pid_ = np.random.random(), os.getpid()  # noqa: NPY002
        return self

    def predict(self, X):
        return np.full(len(X), self.drawn_)


class Drawing(Fussy):
    def __init__(self, random_state=None):
        self.random_state = random_state


def test_estimators_that_are_not_ours_are_sent_too(spawned):
    for model in (linear_model.Ridge(), regressor(n_ensemble=3)):
        for executor in (Inline(), threads()):
            found = estimators.cross_val_score(model, X, Y, cv=3, executor=executor)
            np.testing.assert_array_equal(found, model_selection.cross_val_score(model, X, Y, cv=3))
    found = estimators.cross_validate(
        Drawing(), X, Y, cv=3, return_estimator=True, executor=spawned
    )["estimator"]
    assert os.getpid() not in {model.pid_ for model in found}
    with threads() as executor:
        fitted = estimators.fit_groups(linear_model.Ridge(), X, Y, GROUPS, executor=executor)
    expected = estimators.fit_groups(linear_model.Ridge(), X, Y, GROUPS)
    np.testing.assert_array_equal(fitted.predict(X, GROUPS), expected.predict(X, GROUPS))


@pytest.mark.parametrize(
    "model",
    [
        Drawing(),
        make_pipeline(PCA(3, svd_solver="randomized"), regressor()),
        make_pipeline(StandardScaler(), regressor(random_state=None)),
        regressor(random_state=np.random.RandomState(4)),
    ],
)
def test_draws_are_repeated_however_chunks_are_cut(model, monkeypatch):
    def scores(executor):
        return seeded(lambda: estimators.cross_val_score(model, X, Y, cv=6, executor=executor))

    expected = scores(Inline())
    assert len(set(expected)) == 6
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    estimators.cross_val_score(regressor(), X, Y, cv=3, executor=Inline())
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    monkeypatch.setattr(chunks, "FIRST_SECONDS", 1e-9)
    monkeypatch.setattr(chunks, "SECONDS", (1e-9, 1e-9))
    np.testing.assert_array_equal(scores(Inline()), expected)


def test_tabular_estimators_are_sent():
    frame = pd.DataFrame(X).assign(kind=GROUPS)
    model = estimators.TabularRegressor(n_ensemble=1, random_state=0)
    executor = Inline()
    found = estimators.cross_val_score(model, frame, Y, cv=2, executor=executor)
    np.testing.assert_array_equal(found, model_selection.cross_val_score(model, frame, Y, cv=2))
    assert set(executor.names) == {"fit TabularRegressor"}


def test_clones_share_an_executor_and_copies_on_disk_have_none():
    with threads() as executor:
        search = grid(executor)
        for other in (clone(search), copy.copy(search), clone(make_pipeline(search))[0]):
            assert other.executor is executor
        assert search.executor is executor
        for other in (pickle.loads(pickle.dumps(search)), copy.deepcopy(search)):
            assert other.executor is None
            np.testing.assert_array_equal(other.predict(X), search.predict(X))
        assert clone(search).set_params(cv=4, executor=None).get_params()["executor"] is None
        assert search.get_params()["executor"] is executor and "executor=" in repr(search)
    assert "executor" not in repr(estimators.GridSearchCV(regressor(), GRID))
    bag = estimators.BaggingRegressor(regressor(), executor=executor)
    assert (
        clone(bag).executor is executor and "executor" in estimators.BaggingRegressor().get_params()
    )
    with sklearn.config_context(enable_metadata_routing=True):
        model = regressor().set_fit_request(sample_weight=True)
        assert clone(estimators.GridSearchCV(model, GRID, executor=executor)).executor is executor


@pytest.mark.parametrize("outer", [None, threads, Inline])
@pytest.mark.parametrize("inner", [None, threads, Inline])
def test_nested_cross_validation(outer, inner):
    def scores(outer, inner):
        search = estimators.GridSearchCV(
            make_pipeline(StandardScaler(), regressor()),
            {"mlpregressor__alpha": [1e-4, 1.0]},
            cv=2,
            executor=inner,
        )
        return estimators.cross_val_score(search, X, Y, cv=3, executor=outer)

    made = [None if kind is None else kind() for kind in (outer, inner)]
    if outer is inner is threads:
        made[1] = made[0]  # which would wait for itself
    np.testing.assert_array_equal(scores(*made), scores(None, None))


@pytest.mark.parametrize("executor", ["threads", 2, threading, object()])
def test_what_is_no_executor_is_refused(executor):
    for call in (grid, *map(call_of, CALLS), bag("BaggingClassifier"), groups):
        with pytest.raises(TypeError, match=r"executor: expected a concurrent\.futures\.Executor"):
            call(executor)


def test_refusals_come_before_anything_is_sent(tmp_path):
    executor = Inline()
    with pytest.raises(ValueError, match="checkpoint: expected None"):
        grid(executor, regressor(checkpoint=tmp_path / "x.npz"))
    with pytest.raises(ValueError, match="groups: expected 90 labels"):
        estimators.fit_groups(regressor(), X, Y, GROUPS[1:], executor=executor)
    assert executor.names == []


class Odd(Exception):
    """Cannot be unpickled."""

    def __init__(self, one, other):
        super().__init__(one)


class Failing(Fussy):
    def __init__(self, kind=Odd):
        self.kind = kind

    def fit(self, X, y):
        raise Odd("no luck", 1) if self.kind is Odd else self.kind("no luck")


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failures_come_out_as_here(spawned, temporary):
    values = {"hidden_layer_sizes": [(7,), (0,)]}
    for executor in (Inline(), threads(), spawned):
        with pytest.warns(FitFailedWarning, match="3 fits failed out of a total of 6"):
            search = estimators.GridSearchCV(regressor(), values, cv=3, executor=executor).fit(X, Y)
        assert np.isnan(search.cv_results_["mean_test_score"]).tolist() == [False, True]
        search.set_params(error_score="raise")
        with pytest.raises(ValueError, match="hidden_layer_sizes must be > 0") as raised:
            search.fit(X, Y)
        assert "In a worker" in "".join(raised.value.__notes__)
        bad = np.where(GROUPS == "saw", np.nan, Y)
        with pytest.raises(ValueError, match=r"groups: group 'saw': .*NaN"):
            estimators.fit_groups(regressor(), X, bad, GROUPS, executor=executor)
        with pytest.raises(ValueError, match="non-finite"):
            model = regressor(solver="sgd", learning_rate_init=1e150)
            estimators.BaggingRegressor(model, executor=executor).fit(X, Y)
        assert estimators.cross_val_score(regressor(), X, Y, cv=3, executor=executor).shape == (3,)
    for kind, match in ((Odd, "no luck"), (KeyError, "no luck")):
        with pytest.raises((RuntimeError, KeyError), match=match):
            estimators.cross_val_score(
                Failing(kind), X, Y, cv=3, error_score="raise", executor=spawned
            )
    assert not list(temporary.iterdir())


def test_warnings_of_the_fits_come_back(spawned):
    def told(executor):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            estimators.cross_val_score(regressor(), X, Y, cv=3, executor=executor)
        return [(w.category, str(w.message), w.filename, w.lineno) for w in record]

    for executor in (Inline(), spawned):
        assert told(executor) == told(None)
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("default")
            estimators.cross_val_score(regressor(), X, Y, cv=3, executor=executor)
        assert [w.category for w in record] == [ConvergenceWarning]
        with warnings.catch_warnings(), pytest.raises(ConvergenceWarning):
            warnings.simplefilter("error", ConvergenceWarning)
            estimators.cross_val_score(
                regressor(), X, Y, cv=3, error_score="raise", executor=executor
            )


def test_warnings_of_threads_are_kept_apart():
    own, seen = warnings.showwarning, {}
    barrier = threading.Barrier(3, timeout=60)

    def hear(name):
        with chunks._heard() as told:
            barrier.wait()
            warnings.warn(name, UserWarning, stacklevel=1)
            barrier.wait()
        seen[name] = [str(message) for message, *_ in told]

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        several = [threading.Thread(target=hear, args=(name,)) for name in "abc"]
        for thread in several:
            thread.start()
        for thread in several:
            thread.join(60)
    assert seen == {name: [name] for name in "abc"}
    assert warnings.showwarning is own


class Killing(Fussy):
    """Ends its process where it is not this one."""

    def __init__(self, pid=None):
        self.pid = pid

    def fit(self, X, y):
        if os.getpid() != self.pid:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of fork beside threads
def test_a_worker_that_dies_is_told_as_the_executor_tells_it(temporary):
    with forked() as executor:
        with pytest.raises(BrokenProcessPool):
            estimators.cross_val_score(
                Killing(os.getpid()), BIG, BIG[:, 0], cv=3, executor=executor
            )
    assert not list(temporary.iterdir())


class Held(Executor):
    """Never begins."""

    _max_workers = 2

    def __init__(self):
        self.futures = []

    def submit(self, function, /, *args, **named):
        self.futures.append(Future())
        return self.futures[-1]


def test_an_interruption_cancels_what_waits(temporary):
    executor = Held()

    def interrupt():
        deadline = time.monotonic() + 60
        while len(executor.futures) < 4 and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        estimators.cross_val_score(linear_model.Ridge(), BIG, BIG[:, 0], cv=9, executor=executor)
    thread.join(60)
    assert len(executor.futures) == 4 and all(future.cancelled() for future in executor.futures)
    assert not list(temporary.iterdir())


def test_an_executor_that_has_been_shut_down_says_so():
    executor = threads()
    executor.shutdown()
    with pytest.raises(RuntimeError, match="shutdown"):
        grid(executor)
    with pytest.raises(RuntimeError, match="executor: expected workers that see the file"):
        chunks.mapped(str(Path("nowhere", "0.joblib")))


SCRIPT = """
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    import numpy as np
    from sklearn.base import BaseEstimator, TransformerMixin
    from sklearn.pipeline import make_pipeline
    from fastbp.estimators import MLPRegressor, cross_validate

    class Twice(TransformerMixin, BaseEstimator):
        def fit(self, X, y=None):
            return self
        def transform(self, X):
            return 2 * X

    X = np.random.default_rng(0).normal(size=(60, 3))
    model = make_pipeline(Twice(), MLPRegressor(hidden_layer_sizes=4, random_state=0, tol=9))
    context = multiprocessing.get_context("spawn")
    if __name__ == "__main__":
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            found = cross_validate(
                model, X, X[:, 0], cv=2, executor=executor, return_estimator=True,
                scoring={"own": lambda model, X, y: float(model.predict(X)[0])},
            )
        assert type(found["estimator"][0][0]) is Twice
        print(len(set(found["test_own"])))
"""


def test_classes_and_functions_of_a_script_are_sent(tmp_path):
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    made = subprocess.run(
        [sys.executable, path], capture_output=True, text=True, timeout=240, check=False
    )
    assert made.stdout.split() == ["2"], made.stderr
