"""What of a time a network sees.

What belongs here: the numbers that a time is taken apart into. What does not: how numbers are
scaled (codings.py), how times are read (objects.py, frames.py).
"""

from __future__ import annotations

import numpy as np

PARTS = ("year", "month", "day_of_week", "day_of_year", "elapsed_days")

DAY = np.int64(86_400_000_000)  # microseconds


def parts_of(times: np.ndarray, earliest: int) -> list[np.ndarray]:
    """The numbers of `PARTS`: months from 1, Monday is 0, days of the year from 1.

    Parameters
    ----------
    times : ndarray (n,) of datetime64[us]
    earliest : int
        Microseconds since 1970-01-01.

    Returns
    -------
    list of ndarray (n,) of float64
        One for each of `PARTS`, NaN where the time is missing; elapsed days with their fraction.

    Examples
    --------
    >>> times = np.array(["1970-01-01", "2024-02-29T12:00", "NaT"], "M8[us]")
    >>> [part.tolist() for part in parts_of(times, 0)[:4]]
    [[1970.0, 2024.0, nan], [1.0, 2.0, nan], [3.0, 3.0, nan], [1.0, 60.0, nan]]
    >>> parts_of(times, 0)[4].tolist()
    [0.0, 19782.5, nan]
    """
    missing = np.isnat(times)
    whole = np.where(missing, 0, times.view(np.int64))
    day = whole // DAY
    # few days occur often: the calendar is asked for each day once
    first, last = (int(day.min()), int(day.max())) if len(day) else (0, 0)
    if last - first < max(len(day), 1000):
        days, place = np.arange(first, last + 1), day - first
    else:
        days, place = np.unique(day, return_inverse=True)
    dates = days.astype("M8[D]")
    years, months = dates.astype("M8[Y]"), dates.astype("M8[M]").astype(np.int64)
    found = [
        years.astype(np.int64) + 1970,
        months % 12 + 1,
        (days + 3) % 7,
        days - years.astype("M8[D]").astype(np.int64) + 1,
    ]
    parts = [part.astype(np.float64)[place] for part in found]
    parts.append(whole / DAY - earliest / int(DAY))
    for part in parts:
        part[missing] = np.nan
    return parts
