"""Times taken apart, against Python's own calendar.

What belongs here: `parts_of`. What does not: how its numbers are scaled (test_encoder.py).
"""

import datetime as dt

import numpy as np
import pytest

from fastbp.tabular.dates import PARTS, parts_of

DAY = 86_400_000_000


def expected(t):
    return [t.year, t.month, t.weekday(), t.timetuple().tm_yday]


@pytest.mark.parametrize("years", [1, 30, 3000])
def test_against_the_calendar(years):
    """Days far apart, and so near that each occurs often; leap years, before 1970."""
    rng = np.random.default_rng(years)
    first = dt.datetime(1900 if years < 3000 else 1, 1, 1)
    times = [first + dt.timedelta(seconds=s) for s in rng.random(2000) * years * 365.25 * 86400]
    days = ["1900-02-28", "2000-02-29", "2000-12-31", "2023-12-31", "1969-12-31", "0001-01-01"]
    times += [dt.datetime.fromisoformat(f"{day}T23:59:59.999999") for day in days]
    values = np.array(times, "M8[us]")
    earliest = int(values.min().astype(np.int64))
    parts = parts_of(values, earliest)
    assert len(parts) == len(PARTS)
    assert np.array(parts[:4]).T.tolist() == [expected(t) for t in times]
    days = [(t - min(times)) / dt.timedelta(days=1) for t in times]
    np.testing.assert_allclose(parts[4], days, rtol=1e-9, atol=1e-6)


def test_missing_and_none():
    parts = parts_of(np.array(["NaT", "2020-01-01"], "M8[us]"), 0)
    assert all(np.isnan(part[0]) and np.isfinite(part[1]) for part in parts)
    assert [len(part) for part in parts_of(np.array([], "M8[us]"), 0)] == [0] * 5
    assert all(np.isnan(part).all() for part in parts_of(np.array(["NaT"], "M8[us]"), 0))


def test_the_farthest_times():
    ends = np.array([-(2**63) + 1, 2**63 - 1]).view("M8[us]")
    parts = parts_of(ends, int(ends[0].astype(np.int64)))
    assert np.isfinite(parts).all() and parts[4][0] == 0 and parts[4][1] > 2e8
