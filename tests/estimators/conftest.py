"""Fixtures of several files of this room.

What does not belong here: data and calls (executor_cases.py).
"""

import pytest


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The folder that holds what is sent to an executor's workers by files."""
    monkeypatch.setenv("JOBLIB_TEMP_FOLDER", str(tmp_path))
    return tmp_path
