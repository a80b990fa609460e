"""`executor=` where something goes wrong: refusals, failures, warnings, deaths, interruptions.

What belongs here: that what comes out is what comes out here, and that nothing is left behind. What
does not: results (test_executors.py), a cluster's deaths (test_executors_cluster.py).
"""

import os
import pickle
import signal
import tempfile
import threading
import time
import warnings
from concurrent.futures import Executor, Future
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
from executor_cases import (
    BIG,
    CALLS,
    GROUPS,
    Inline,
    X,
    Y,
    bag,
    call_of,
    forked,
    grid,
    groups,
    regressor,
    threads,
)
from sklearn import linear_model, model_selection
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning

from fastbp import estimators
from fastbp.estimators import chunks

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),  # of fork beside threads
]


@pytest.fixture(scope="module")
def processes():
    with forked() as executor:
        yield executor


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


class Failing(RegressorMixin, BaseEstimator):
    def __init__(self, kind=Odd):
        self.kind = kind

    def fit(self, X, y):
        raise Odd("no luck", 1) if self.kind is Odd else self.kind("no luck")


@pytest.mark.filterwarnings("ignore:One or more of the test scores are non-finite")
def test_failures_come_out_as_here(processes, temporary):
    values = {"hidden_layer_sizes": [(7,), (0,)]}
    for executor in (Inline(), threads(), processes):
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
        with pytest.raises(kind, match=match):
            estimators.cross_val_score(
                Failing(kind), X, Y, cv=3, error_score="raise", executor=processes
            )
    assert not list(temporary.iterdir())


def test_warnings_of_the_fits_come_back(processes):
    def told(executor):
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            estimators.cross_val_score(regressor(), X, Y, cv=3, executor=executor)
        return [(w.category, str(w.message), w.filename, w.lineno) for w in record]

    for executor in (Inline(), processes):
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


@pytest.mark.parametrize("action", ["ignore", "always", "error"])
def test_warnings_of_members_follow_the_filters_here(action):
    with forked() as executor:
        executor.submit(warnings.simplefilter, "ignore").result()
        executor.submit(warnings.simplefilter, "ignore").result()
        bag = estimators.BaggingRegressor(regressor(), 6, random_state=0, executor=executor)
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter(action)
            if action == "error":
                with pytest.raises(ConvergenceWarning):
                    bag.fit(X, Y)
            else:
                bag.fit(X, Y)
    told = [warning for warning in record if warning.category is ConvergenceWarning]
    assert len(told) == (6 if action == "always" else 0)


@pytest.mark.parametrize("gone", ["unlinked", "nameless", "short"])
def test_mapped_arrays_whose_files_are_gone_are_sent_by_others(gone, tmp_path, processes):
    path = tmp_path / "x"
    with tempfile.TemporaryFile(dir=tmp_path) as nameless:
        x = np.memmap(nameless if gone == "nameless" else path, float, "w+", shape=BIG.shape)
    x[:] = BIG
    if gone != "nameless":
        path.unlink()
    if gone == "short":
        path.write_bytes(b"other")
    found, expected = (
        estimators.cross_val_score(regressor(), of, BIG[:, 0], cv=2, executor=executor)
        for of, executor in ((x, processes), (BIG, None))
    )
    np.testing.assert_array_equal(found, expected)


def test_what_workers_do_not_need_is_not_sent(processes):
    splits = list(model_selection.KFold(3).split(X))
    lock = threading.Lock()

    def best(results):
        with lock:
            return int(np.argmax(results["mean_test_score"]))

    model = regressor()
    for executor in (None, processes, Inline()):
        search = estimators.GridSearchCV(
            model, {"alpha": [1e-4, 1.0]}, cv=(split for split in splits), refit=best,
            executor=executor,
        ).fit(X, Y)  # fmt: skip
        assert search.n_splits_ == 3 and search.best_index_ in (0, 1)


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


class Told(Exception):
    """Says more than it is given."""

    def __init__(self, what):
        super().__init__(f"told {what}")


def decoding():
    try:
        b"\xff".decode()
    except UnicodeDecodeError as error:
        raise error from KeyError(7)


def test_exceptions_are_made_again_with_what_they_know():
    known = OSError(2, "gone", "file")
    known.lock, known.mark = threading.Lock(), 5
    for error in (Odd("no", 1), Told("all"), known):
        made = chunks._sendable(error)
        made = made.rebuilt() if isinstance(made, chunks.Raised) else pickle.loads(
            pickle.dumps(made)
        )  # fmt: skip
        assert type(made) is type(error) and str(made) in (str(error), "told told all")
    assert (made.filename, made.mark) == ("file", 5)
    with pytest.raises(UnicodeDecodeError) as raised:
        decoding()
    made = pickle.loads(pickle.dumps(chunks._sendable(raised.value))).rebuilt()
    assert str(made) == str(raised.value) and repr(made.__cause__) == "KeyError(7)"


class Killing(RegressorMixin, BaseEstimator):
    """Ends its process where it is not this one."""

    def __init__(self, pid=None):
        self.pid = pid

    def fit(self, X, y):
        if os.getpid() != self.pid:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().fit(X, y)


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
    for executor in (threads(), forked()):
        executor.shutdown()
        with pytest.raises(RuntimeError, match=r"executor: .* has not been shut down"):
            grid(executor)
    with pytest.raises(RuntimeError, match="executor: expected workers that see the file"):
        chunks.mapped("nowhere", str(Path("nowhere", "0.joblib")))


class Sticky:
    """Can be copied, not pickled."""

    def __deepcopy__(self, memo):
        return self

    def __reduce__(self):
        raise TypeError("sticky")


def test_what_cannot_be_pickled_is_named(processes, monkeypatch):
    lock = threading.Lock()

    def score(model, X, y):
        return float(lock.locked())

    model = Failing(Sticky())
    for executor in (processes, Inline()):
        with pytest.raises(TypeError, match=r"scorer: expected what can be pickled, .* ThreadPool"):
            estimators.cross_val_score(regressor(), X, Y, cv=3, scoring=score, executor=executor)
        with pytest.raises(TypeError, match="estimator: expected what can be pickled"):
            estimators.cross_val_score(model, X, Y, cv=3, executor=executor)
    with threads() as executor:
        estimators.cross_val_score(regressor(), X, Y, cv=3, scoring=score, executor=executor)
    with pytest.raises(TypeError, match="fit Holding: what comes of it cannot be pickled"):
        estimators.cross_validate(Holding(), X, Y, cv=3, return_estimator=True, executor=processes)
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", "nowhere")
    with pytest.raises(FileNotFoundError, match="JOBLIB_TEMP_FOLDER: expected a folder; got 'now"):
        estimators.cross_val_score(regressor(), BIG, BIG[:, 0], cv=3, executor=processes)


class Holding(Failing):
    """What it learns cannot be pickled."""

    def fit(self, X, y):
        self.lock_ = threading.Lock()
        return self

    def predict(self, X):
        return np.zeros(len(X))


def test_executors_within_one_another_wait_for_nobody():
    with threads() as one, threads() as other:
        model = regressor(max_iter=2)
        for executor in (one, other, one):
            model = estimators.BaggingRegressor(model, 2, executor=executor, random_state=0)
        done = []
        thread = threading.Thread(target=lambda: done.append(model.fit(X, Y)), daemon=True)
        thread.start()
        thread.join(60)
        if not done:  # for this process to come to its end
            for executor in (one, other):
                executor.shutdown(wait=False, cancel_futures=True)
    assert done
