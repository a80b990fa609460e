"""Fixtures shared by the tests: the CPU levels of this machine."""

import pytest

from fastbp.kernels import dispatch


@pytest.fixture(params=dispatch.available_levels())
def level(request, monkeypatch):
    """Networks made in the test run on this CPU level."""
    monkeypatch.setattr(dispatch, "engine", dispatch.load(request.param))
    return request.param
