"""No false alarm and no false pass, over a thousand random networks each (a quarter by default).

What belongs here: rates. What does not: single cases (test_check.py, test_diagnosis.py).
"""

import warnings

import numpy as np
import pytest
from cases import ACTIVATIONS, LOSSES, admitted, fits, targets

import fastbp
from fastbp import check

N = 1000
PART = 250  # networks a test, so that a failure is found soon
EXHAUSTIVE = pytest.mark.exhaustive
SHARES = [PART, pytest.param(N, marks=EXHAUSTIVE)]


def random_network(rng, *, wild, dtype=None):
    """Any sizes, activations and loss. Wild: weights and inputs of sizes 1e-6 to 1e6, zeros."""
    depth = int(rng.integers(1, 5))
    sizes = [int(n) for n in rng.integers(1, 9, depth + 1)]
    while True:
        output, loss = str(rng.choice(ACTIVATIONS)), str(rng.choice(LOSSES))
        if fits(output, loss) and admitted(sizes[-2:], (), output, "quadratic") == sizes[-2:]:
            break
    activation = [str(name) for name in rng.choice(ACTIVATIONS, depth - 1)]
    sizes = admitted(sizes, activation, output, loss)
    net = fastbp.Network(
        sizes,
        activation=activation,
        output=output,
        loss=loss,
        dtype=dtype or str(rng.choice(["float32", "float64"])),
        init=str(rng.choice(["scaled", "large", "zeros"] if wild else ["scaled", "large"])),
        seed=int(rng.integers(1000)),
    )
    n = int(rng.integers(1, 6))
    X = rng.standard_normal((n, sizes[0]))
    if wild:
        for W, b in zip(net.weights, net.biases, strict=True):
            W *= 10 ** rng.uniform(-6, 6) if rng.random() < 0.5 else 1
            b *= 10 ** rng.uniform(-6, 6) if rng.random() < 0.3 else 1
        X *= 10 ** rng.uniform(-3, 3) if rng.random() < 0.3 else 1
    return net, X, targets(rng, loss, n, sizes[-1])


def is_finite(net, X, Y):
    """Whether costs and gradient are: where float32 overflows there is nothing to check."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return bool(np.isfinite(net.costs(X, Y)).all() and np.isfinite(net.gradient(X, Y)).all())


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=EXHAUSTIVE) for first in range(PART, N, PART))]
)
def test_no_false_alarm(first):
    checked = {"full": 0, "fast": 0}
    for seed in range(first, first + PART):
        net, X, Y = random_network(np.random.default_rng([1, seed]), wild=True)
        if not is_finite(net, X, Y):
            continue
        for mode in checked:
            found = check.gradients(net, X, Y, mode=mode)
            assert found.ok is not False, (seed, net, found)
            checked[mode] += found.verdict.startswith("pass")
    # what is inconclusive is neither: most networks are neither saturated nor lost in rounding
    assert min(checked.values()) > 0.75 * PART, checked


@pytest.mark.parametrize("n", SHARES)
def test_no_false_alarm_term_by_term(n):
    passed = dict.fromkeys((check.output_error, check.recurrence), 0)
    for seed in range(n):
        net, X, Y = random_network(np.random.default_rng([3, seed]), wild=True)
        if not is_finite(net, X, Y):
            continue
        for look in passed:
            found = look(net, X[0], Y[0])
            assert found.ok is not False, (seed, net, found)
            passed[look] += found.verdict.startswith("pass")
    assert min(passed.values()) > 0.85 * n, passed


def planted(net, X, Y, rng):
    """A gradient with one relative error of 1e-4 to 1; None where it is 0 throughout."""
    nabla = net.gradient(X, Y)
    parts, at = [], 0
    for W, b in zip(net.weights, net.biases, strict=True):
        parts += [slice(at, at + W.size), slice(at + W.size, at + W.size + b.size)]
        at += W.size + b.size
    error = 10 ** rng.uniform(-4, 0) * rng.choice([-1, 1])
    if rng.random() < 0.5:  # one element, of at least 1e-6 of its tensor's largest
        for i in rng.permutation(len(parts)):
            size = np.abs(nabla[parts[i]])
            eligible = np.flatnonzero((size >= 1e-6 * size.max()) & (size > 0))
            if len(eligible):
                nabla[parts[i].start + rng.choice(eligible)] *= 1 + error
                return nabla
        return None
    layer = int(rng.integers(len(net.weights)))
    whole = slice(parts[2 * layer].start, parts[2 * layer + 1].stop)
    if not nabla[whole].any():
        return None
    nabla[whole] *= 1 + error
    return nabla


@pytest.mark.parametrize("n", SHARES)
def test_no_false_pass(n):
    caught = passed = unclear = 0
    for seed in range(n):
        rng = np.random.default_rng([2, seed])
        net, X, Y = random_network(rng, wild=False, dtype="float64")
        nabla = planted(net, X, Y, rng) if is_finite(net, X, Y) else None
        if nabla is None:
            continue
        found = check.gradients(net, X, Y, gradient=nabla)
        caught += found.verdict.startswith("FAIL")
        passed += found.verdict.startswith("pass")
        unclear += found.verdict.startswith("inconclusive")
    total = caught + passed + unclear
    assert total > 0.9 * n
    assert caught >= 0.99 * total, (caught, passed, unclear)
    # what escapes is said to be inconclusive: gradients smaller than any difference resolves
    assert passed <= 0.001 * total, (caught, passed, unclear)
