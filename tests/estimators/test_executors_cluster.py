"""`executor=` of Dask and MPI: the same bits, also where a worker is killed in the middle.

What belongs here: what needs these packages. What does not: other executors (test_executors.py).
"""

import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import joblib
import numpy as np
import pytest
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastbp import estimators
from fastbp.estimators import chunks

distributed = pytest.importorskip("distributed")

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Dask's sockets
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

N = 400
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, 30))
Y = X[:, 0] + np.sin(X[:, 1])
GRID = {"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [(7,), (4, 3)]}
OPTIONS = {"hidden_layer_sizes": (7,), "max_iter": 6, "random_state": 3}
WAIT = 120.0


def regressor(**options):
    return estimators.MLPRegressor(**(OPTIONS | options))


def grid(executor=None, **options):
    search = estimators.GridSearchCV(regressor(**options), GRID, cv=3, executor=executor)
    return search.fit(X, Y).cv_results_


def assert_same(found, expected):
    assert list(found) == list(expected)
    for name in expected:
        if "time" not in name:
            np.testing.assert_array_equal(found[name], expected[name])


def cluster_of(n_workers):
    return distributed.LocalCluster(
        n_workers=n_workers, threads_per_worker=1, processes=True, dashboard_address=":0"
    )


@pytest.fixture(scope="module")
def client():
    with cluster_of(2) as cluster, distributed.Client(cluster) as client:
        yield client


def test_dask_gives_the_same_bits(client):
    assert_same(grid(client.get_executor(pure=False)), grid())
    assert_same(grid(client.get_executor()), grid())
    with pytest.raises(TypeError, match=r"as client\.get_executor\(pure=False\) is; got"):
        grid(client)
    member = estimators.BaggingRegressor(regressor(), 5, random_state=1)
    model = estimators.BaggingRegressor(
        regressor(), 5, random_state=1, executor=client.get_executor(pure=False)
    )
    np.testing.assert_array_equal(model.fit(X, Y).predict(X), member.fit(X, Y).predict(X))
    with joblib.parallel_config("dask"):
        assert_same(grid(), grid(client.get_executor(pure=False)))


def test_the_outer_and_the_inner_search_may_be_sent(client):
    executor = client.get_executor(pure=False)

    def scores(outer, inner):
        search = estimators.GridSearchCV(
            make_pipeline(StandardScaler(), regressor()),
            {"mlpregressor__alpha": [1e-4, 1.0]},
            cv=2,
            executor=inner,
        )
        return estimators.cross_val_score(search, X, Y, cv=3, executor=outer)

    expected = scores(None, None)
    for outer, inner in ((executor, None), (None, executor), (executor, executor)):
        np.testing.assert_array_equal(scores(outer, inner), expected)


def test_tasks_have_names_and_data_are_scattered_once(client, monkeypatch):
    keys, scattered = [], []
    submit, scatter = client.submit, client.scatter
    monkeypatch.setattr(
        client, "submit", lambda *a, **k: (keys.append(k.get("key")), submit(*a, **k))[1]
    )
    monkeypatch.setattr(
        client, "scatter", lambda data, **k: (scattered.extend(data), scatter(data, **k))[1]
    )
    monkeypatch.setattr(chunks, "FIRST_SECONDS", 1e-9)
    monkeypatch.setattr(chunks, "SECONDS", (1e-9, 1e-9))
    grid(client.get_executor(pure=False))
    assert len(keys) == 18 and len(scattered) == 1 and scattered[0] is X
    assert keys[0].startswith("fit MLPRegressor-candidate 0, fold 0-")
    assert {distributed.utils.key_split(key) for key in keys} == {"fit MLPRegressor"}


class Deadly(RegressorMixin, BaseEstimator):
    """Kills the first process that fits it, once, and has it last a little."""

    def __init__(self, path=None):
        self.path = path

    def fit(self, X, y):
        try:
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return self
        os.kill(os.getpid(), signal.SIGKILL)

    def predict(self, X):
        return X[:, 0]


def pending(client):
    """Chunks that have been sent and have not ended."""
    tasks = list(client.cluster.scheduler.tasks.values())
    fits = [task.state for task in tasks if task.key.startswith("fit ")]
    return [state for state in fits if state in ("waiting", "queued", "no-worker", "processing")]


def wait_for(true):
    end = time.monotonic() + WAIT
    while not true() and time.monotonic() < end:
        time.sleep(0.005)
    assert true()


def test_a_worker_that_is_killed_changes_no_bits(client, monkeypatch):
    monkeypatch.setattr(chunks, "FIRST_SECONDS", 1e-9)
    monkeypatch.setattr(chunks, "SECONDS", (1e-9, 1e-9))  # a task a chunk
    options = {"max_iter": 2000, "tol": 0.0, "n_iter_no_change": 2000}
    expected = grid(**options)
    found, executor = {}, client.get_executor(pure=False)
    victim = next(iter(client.run(os.getpid).values()))
    thread = threading.Thread(target=lambda: found.update(grid(executor, **options)), daemon=True)
    thread.start()
    wait_for(lambda: len(pending(client)) >= 3)
    os.kill(victim, signal.SIGKILL)
    assert pending(client)
    thread.join(WAIT)
    assert not thread.is_alive()
    assert_same(found, expected)
    assert victim not in client.run(os.getpid).values()


@pytest.mark.exhaustive
def test_data_that_died_with_the_only_worker_are_sent_again(tmp_path):
    with cluster_of(1) as cluster, distributed.Client(cluster) as client:
        executor = client.get_executor(pure=False)
        found = estimators.cross_val_score(
            Deadly(str(tmp_path / "dead")), X, Y, cv=3, executor=executor
        )
        assert (tmp_path / "dead").exists()
    np.testing.assert_array_equal(
        found, estimators.cross_val_score(Deadly(str(tmp_path / "dead")), X, Y, cv=3)
    )


class Fatal(Deadly):
    """Kills each process that fits it."""

    def fit(self, X, y):
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_that_dies_each_time_and_a_client_that_is_closed_are_told():
    with cluster_of(1) as cluster, distributed.Client(cluster) as client:
        executor = client.get_executor(pure=False)
        with pytest.raises((RuntimeError, distributed.scheduler.KilledWorker), match="fit Fatal"):
            estimators.cross_val_score(Fatal(), X, Y, cv=3, executor=executor)
    with pytest.raises(RuntimeError, match=r"executor: .*client is closed"):
        estimators.cross_val_score(regressor(), X, Y, cv=3, executor=executor)


SCRIPT = """
    import numpy as np
    from mpi4py.futures import MPIPoolExecutor
    from fastbp.estimators import GridSearchCV, MLPRegressor
    X = np.random.default_rng(0).normal(size=(400, 30))
    grid = {"alpha": [1e-4, 1e-2, 1.0], "hidden_layer_sizes": [(7,), (4, 3)]}
    model = MLPRegressor(hidden_layer_sizes=7, max_iter=6, random_state=3)
    if __name__ == "__main__":
        expected = GridSearchCV(model, grid, cv=3).fit(X, X[:, 0]).cv_results_
        with MPIPoolExecutor() as executor:
            found = GridSearchCV(model, grid, cv=3, executor=executor).fit(X, X[:, 0]).cv_results_
        assert (found["mean_test_score"] == expected["mean_test_score"]).all()
        print("same bits")
"""


def test_mpi_gives_the_same_bits(tmp_path):
    pytest.importorskip("mpi4py")
    mpiexec = os.path.join(os.path.dirname(sys.executable), "mpiexec")
    if not os.path.exists(mpiexec):
        pytest.skip("needs the mpiexec of this environment")
    path = tmp_path / "script.py"
    path.write_text(textwrap.dedent(SCRIPT))
    command = [mpiexec, "-n", "2", sys.executable, "-W", "ignore", "-m", "mpi4py.futures", path]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            out, err = process.communicate(timeout=WAIT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    assert out.split() == ["same", "bits"], err
