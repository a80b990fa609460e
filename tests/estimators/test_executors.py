"""`executor=` of searches, cross-validation, bags and groups: fits made elsewhere, the same bits.

What belongs here: executors of the standard library, loky's, joblib's backends; what is sent, how
often, and what comes back. What does not: Dask and MPI (test_executors_cluster.py), failures
(test_executors_failures.py), what the fits are (test_search.py, test_ensemble.py, test_groups.py).
"""

import copy
import itertools
import multiprocessing
import os
import pickle
import subprocess
import sys
import textwrap
import time
import warnings
from concurrent.futures import ProcessPoolExecutor

import joblib
import numpy as np
import pandas as pd
import pytest
import sklearn
from executor_cases import (
    ALL,
    BIG,
    GRID,
    GROUPS,
    LABELS,
    RNG,
    Inline,
    X,
    Y,
    assert_same,
    classifier,
    forked,
    grid,
    loky,
    regressor,
    seeded,
    threads,
)
from scipy import sparse
from sklearn import ensemble, linear_model, model_selection, tree
from sklearn.base import BaseEstimator, RegressorMixin, clone
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from fastbp import estimators
from fastbp.estimators import backends, chunks

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@pytest.fixture(scope="module")
def spawned():
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=context) as executor:
        yield executor


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


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_in_files_are_not_copied(mode, order, tmp_path, monkeypatch):
    written, dump = [], joblib.dump
    monkeypatch.setattr(joblib, "dump", lambda *a, **k: (written.append(a[0]), dump(*a, **k))[1])
    path = tmp_path / "x.npy"
    np.save(path, np.asarray(BIG, order=order))
    whole = np.load(path, mmap_mode=mode)
    part = whole[500:]  # which does not begin where its file does
    for x, copies in ((whole, mode == "c"), (part, 1)):
        if mode != "r":
            x[0, 0] = 2.5
        found, expected = (
            estimators.cross_val_score(regressor(max_iter=2), x, x[:, 0], cv=2, executor=of)
            for of in (Inline(), None)
        )
        np.testing.assert_array_equal(found, expected)
        assert len(written) == copies
        written.clear()


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


def test_chunks_fill_lanes_where_others_have_enough():
    items = 20 * items_of(max_iter=1000)
    plan = chunks.Plan(items, 2)
    plan.timed["ours"] = [160.0, sum(item.work for item in items)]
    sizes = [len(chunk.items) for chunk in plan]
    assert sum(sizes) == len(items) == 640 and sizes[0] == 16
    assert all(size % 16 == 0 for size in sizes[:10])
    plan = chunks.Plan(items[:16], 2)
    assert len(list(plan)) == 2


def test_chunks_grow_with_what_has_been_timed():
    items = items_of(max_iter=1_000_000)
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


class Writing(RegressorMixin, BaseEstimator):
    """Has joblib write into what it holds, with and without a word about shared memory."""

    def fit(self, X, y):
        self.seen_ = {}
        for require in ("sharedmem", None):
            joblib.Parallel(n_jobs=2, require=require, prefer="threads")(
                joblib.delayed(self.seen_.__setitem__)((require, i), i) for i in range(3)
            )
        return self

    def predict(self, X):
        return np.zeros(len(X))


class Splits(model_selection.KFold):
    """Asks joblib before a fit does."""

    def split(self, X, y=None, groups=None):
        assert joblib.Parallel(2)(joblib.delayed(abs)(i) for i in (-1, -2)) == [1, 2]
        return super().split(X, y, groups)


def test_what_is_no_fit_of_a_search_stays_here():
    executor = Inline()
    search = estimators.GridSearchCV(Writing(), {}, cv=Splits(3), executor=executor).fit(X, Y)
    assert len(search.best_estimator_.seen_) == 6 and set(executor.names) == {"fit Writing"}
    executor.names.clear()
    assert len(estimators.cross_val_score(Writing(), X, Y, cv=Splits(3), executor=executor)) == 3
    assert set(executor.names) == {"fit Writing"}
    forest = ensemble.RandomForestClassifier(5, random_state=0)
    found, expected = (
        estimators.BaggingClassifier(
            forest, 25, oob_score=True, random_state=1, executor=of
        ).fit(X, Y > 0).oob_decision_function_
        for of in (executor, None)
    )  # fmt: skip
    np.testing.assert_array_equal(found, expected)


class Slow(Fussy):
    """Draws more than once, with a rest between."""

    def __init__(self, random_state=None):
        self.random_state = random_state

    def fit(self, X, y):
        self.drawn_ = 0.0
        for _ in range(4):
            self.drawn_ += np.random.random()  # noqa: NPY002
            time.sleep(0.001)
        return self


FREE = {
    "slow": Slow(),
    "tree": tree.DecisionTreeClassifier(max_features=2),
    "ensemble": classifier(n_ensemble=2, random_state=None),
    "pipeline": make_pipeline(
        PCA(3, svd_solver="randomized"), classifier(random_state=None, max_iter=2)
    ),
}


@pytest.mark.parametrize("name", FREE)
def test_threads_draw_as_this_process_does(name):
    def found(executor):
        return [
            estimators.cross_val_score(FREE[name], X, (Y > 0) + 0, cv=9, executor=executor),
            np.random.random(),  # noqa: NPY002
        ]

    with threads() as executor:
        assert_same(seeded(lambda: found(executor)), seeded(lambda: found(None)))
    if name == "pipeline":
        with joblib.parallel_config("threading", n_jobs=2):
            there = seeded(lambda: found(None))
        assert_same(there, seeded(lambda: found(None)))


class Strands(Inline):
    """Threads that are sent pickles, as some workers of Dask's are."""

    def __init__(self):
        super().__init__()
        self.pool = threads()

    def submit(self, function, /, *args, **named):
        function, args, named = pickle.loads(pickle.dumps((function, args, named)))
        return self.pool.submit(function, *args, **named)


def test_workers_of_one_process_draw_one_after_another():
    executor = Strands()
    with executor.pool:
        found = [
            seeded(lambda: estimators.cross_val_score(Slow(), X, Y, cv=9, executor=executor))
            for _ in range(2)
        ]
    assert_same(*found)


def test_a_refit_draws_as_it_does_here():
    """Seeds of tasks leave NumPy's global generator where it would be without."""
    grid = {"mlpclassifier__alpha": [0.1, 1.0]}
    model = make_pipeline(StandardScaler(), classifier(random_state=None))

    def searched(kind, executor):
        make, options = estimators.GridSearchCV, {}
        if kind == "halving":
            make, options = estimators.HalvingRandomSearchCV, {"n_candidates": 2}
        search = make(model, grid, cv=2, executor=executor, **options).fit(X, LABELS)
        refitted = search.best_estimator_[-1]
        return [refitted.coefs_, search.cv_results_["mean_test_score"], np.random.random()]  # noqa: NPY002

    for kind in ("grid", "halving"):
        expected = seeded(lambda kind=kind: searched(kind, None))
        assert_same(seeded(lambda kind=kind: searched(kind, Inline())), expected)
        with threads() as executor:
            assert_same(seeded(lambda kind=kind, of=executor: searched(kind, of)), expected)
    plain = classifier(random_state=None)
    found, expected = (
        seeded(lambda of=of: (estimators.cross_val_score(plain, X, LABELS, cv=3, executor=of),
                              np.random.random()))  # noqa: NPY002
        for of in (Inline(), None)
    )  # fmt: skip
    assert_same(found, expected)
