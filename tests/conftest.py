"""What holds for all tests: CPU levels, shares of grids, an end for those that hang."""

import faulthandler
import itertools
import os
import signal
import sys
import zlib

import pytest

from fastbp.kernels import dispatch

# Seconds after which a test hangs: then every thread's stack is written and the process ends (of
# pytest-xdist the worker, which names the test). FASTBP_PATIENCE is a factor, for sanitizers.
PATIENCE = float(os.environ.get("FASTBP_PATIENCE", "1"))
LONGEST = 900.0  # tests that compile
LONGEST_THREADED = 300.0
PLAIN = str | int | float | None  # values that are the same where they are equal
STDERR = pytest.StashKey[int]()


class NotUnderTSan:
    """Refuses to import what ends the process under TSan: tests that need it are skipped."""

    def find_spec(self, name, path=None, target=None):
        if name in ("polars", "pyarrow"):
            raise ModuleNotFoundError(f"{name} does not bear TSan", name=name)


@pytest.fixture(params=dispatch.available_levels())
def level(request, monkeypatch):
    """Networks made in the test run on this CPU level."""
    monkeypatch.setattr(dispatch, "engine", dispatch.load(request.param))
    return request.param


@pytest.fixture
def never_dense(monkeypatch):
    """No sparse matrix or array may be made dense in the test."""
    sparse = pytest.importorskip("scipy.sparse")

    def refuse(*args, **kwargs):
        raise AssertionError("a sparse matrix was made dense")

    for form in ("csr", "csc", "coo", "bsr", "dia", "dok", "lil"):
        for kind in (getattr(sparse, f"{form}_matrix"), getattr(sparse, f"{form}_array")):
            for name in ("toarray", "todense", "__array__"):
                monkeypatch.setattr(kind, name, refuse, raising=False)


def pytest_configure(config):
    config.stash[STDERR] = os.dup(2)  # not the file that pytest captures it in
    # a shell has its background jobs ignore Ctrl-C, and so would all that the tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("FASTBP_SANITIZE") == "thread":
        sys.meta_path.insert(0, NotUnderTSan())


def pytest_itemcollected(item):
    threads = item.callspec.params.get("threads", 1) if hasattr(item, "callspec") else 1
    if isinstance(threads, int) and threads > 1:
        item.add_marker("threaded")


@pytest.hookimpl(tryfirst=True)  # before -m selects
def pytest_collection_modifyitems(items):
    """Of a `grid` as many tests stay as let every two values meet; the others are exhaustive."""
    grids = {}
    for item in items:
        mark = item.get_closest_marker("grid")
        if mark is not None:
            grids.setdefault((item.path, item.originalname), (mark, []))[1].append(item)
    for mark, grid in grids.values():
        together, seen = mark.kwargs.get("together", 2), set()
        # in an order that mixes the values: else one's meetings all have the others' first
        for item in sorted(grid, key=lambda item: zlib.crc32(item.name.encode())):
            meetings = set(itertools.combinations(values_of(item), together))
            if meetings <= seen:
                item.add_marker("exhaustive")
            seen |= meetings


def values_of(item):
    """Pairs of a parameter's name and what tells its value from others."""
    for name, value in sorted(item.callspec.params.items()):
        yield name, value if isinstance(value, PLAIN) else id(value)


def seconds_of(item):
    mark = item.get_closest_marker("watchdog")
    if mark is not None:
        return mark.args[0]
    return LONGEST_THREADED if item.get_closest_marker("threaded") else LONGEST


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item):
    seconds = PATIENCE * seconds_of(item)
    faulthandler.dump_traceback_later(seconds, exit=True, file=item.config.stash[STDERR])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
