"""Chunks for tests, and the order in which they are read.

What does not belong here: tests.
"""

import threading
import time

import numpy as np

from fastbp import inputs


def order_of(chunks, n, seed):
    """(epoch, n) -> the order in which a fit with this seed reads chunks, for ``shuffle=``.

    `chunks`: of the same rows, the first column of X their numbers.
    """
    bits = inputs.as_bits(seed)

    def order(epoch, _):
        blocks = list(chunks.epoch(bits, epoch, np.dtype("float64")))
        rows = [block.X[np.arange(len(block.X)) if block.order is None else block.order, 0]
                for block in blocks]  # fmt: skip
        found = np.concatenate(rows).astype(int)
        assert sorted(found) == list(range(n))
        return found

    return order


def readers():
    """Threads that read chunks."""
    return [t for t in threading.enumerate() if t.name == "fastbp-reader" and t.is_alive()]


def assert_no_readers():
    """They have ended, or do so soon."""
    until = time.monotonic() + 60
    while readers() and time.monotonic() < until:
        time.sleep(0.01)
    assert not readers()
