"""Metrics by hand: what they take. Their values in runs are training/test_monitor.py's."""

import numpy as np
import pytest

from fastbp import metrics

LISTS = {
    "accuracy": ([0, 1, 1, 2], [0, 1, 2, 2], 0.75),
    "balanced_accuracy": ([0, 1, 1, 2], [0, 1, 2, 2], 2.5 / 3),
    "r2": ([0, 1, 2, 3], [0, 1, 2, 3], 1.0),
    "mse": ([0, 1, 1, 2], [0, 1, 1, 4], 1.0),
    "rmse": ([0, 1, 1, 2], [0, 1, 1, 4], 1.0),
    "mae": ([0, 1, 1, 2], [0, 1, 1, 4], 0.5),
}


@pytest.mark.parametrize("name", metrics.METRICS)
def test_lists_are_as_good_as_arrays(name):
    metric = metrics.METRICS[name]
    y, a, expected = LISTS[name]
    assert metric(y, a) == pytest.approx(expected)
    assert metric(tuple(y), np.array(a)) == metric(np.array(y), np.array(a)) == metric(y, a)
    weight = [1, 0, 2, 1]
    assert metric(y, a, weight) == metric(np.array(y), np.array(a), np.array(weight, "f4"))
    assert metric(y, a, [1, 1, 1, 1]) == pytest.approx(metric(y, a))


@pytest.mark.parametrize("name", ["accuracy", "balanced_accuracy"])
@pytest.mark.parametrize("classes", [["b", "a"], [True, False], [-1, 1], [0.0, 1.0]], ids=str)
def test_classes_of_any_type(name, classes):
    low, high = classes
    assert metrics.METRICS[name]([low, high, low, high], [low, high, high, high]) == 0.75


def test_several_labels_a_sample():
    assert metrics.accuracy([[0, 1], [1, 1]], [[0, 1], [0, 1]]) == 0.5
    with pytest.raises(ValueError, match=r"^y: expected one class a sample"):
        metrics.balanced_accuracy([[0, 1], [1, 1]], [[0, 1], [0, 1]])


@pytest.mark.parametrize("name", metrics.METRICS)
def test_what_does_not_fit_is_refused(name):
    metric = metrics.METRICS[name]
    for y, a in (([0, 1], [0, 1, 1]), ([0, 1], [[0], [1], [2]]), (0, 1)):
        with pytest.raises(ValueError, match=r"^a: expected "):
            metric(y, a)
    with pytest.raises(ValueError, match=r"^weight: expected shape \(2,\)"):
        metric([0, 1], [0, 1], [1, 1, 1])
