"""The links that read lists: the bits of the dense ones, the oracle's numbers, at every level.

What belongs here: kernels, by way of a network's questions and single steps. What does not: what is
refused (tests/test_sparse.py), options of runs (tests/training/test_sparse_fits.py).
"""

import numpy as np
import pytest
from cases import DTYPES, SIZES, oracle
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import fastbp
from fastbp.layers import Scale

pytestmark = pytest.mark.sanitizers

N = 37  # rows; the fourth has no element, nor has column 5


def rows(n_columns, share=0.15, seed=0):
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((N, n_columns)) < share, rng.standard_normal((N, n_columns)), 0)
    X[3], X[:, 5:6] = 0, 0
    X[0, 0] = 1.5
    return X.astype(np.float32)  # which both dtypes hold


def network(sizes, dtype, seed=0):
    net = fastbp.Network(
        sizes, activation="tanh", output="identity", loss="quadratic", dtype=dtype, seed=seed
    )
    rng = np.random.default_rng(seed)
    for tensor in net.tensors.values():
        tensor += 0.3 * rng.standard_normal(tensor.shape).astype(dtype)
    return net


def on_elements(X, values):
    """The same where X is not 0."""
    return np.where(X != 0, values, 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_z", [*SIZES, 130, 300])
def test_answers_are_those_of_dense_rows_to_the_bit(level, dtype, n_z):
    """n_z of one vector, of a block of eight, and of several blocks."""
    net, X = network([23, n_z, 3], dtype), rows(23)
    S, Y = sparse.csr_matrix(X), np.random.default_rng(1).standard_normal((N, 3))
    V, U = Y[::-1], rows(23, 0.4, seed=2)
    assert_array_equal(net.predict(S), net.predict(X))
    assert_array_equal(net.costs(S, Y), net.costs(X, Y))
    assert net.loss(S, Y) == net.loss(X, Y)
    assert_array_equal(net.gradient(S, Y), net.gradient(X, Y))
    assert_array_equal(net.jvp(S, U), net.jvp(X, U))
    assert_array_equal(net.vjp(S, V).toarray(), on_elements(X, net.vjp(X, V)))
    assert_array_equal(net.input_gradient(S, Y).toarray(), on_elements(X, net.input_gradient(X, Y)))
    for ours, theirs in zip(net.deltas(S, Y), net.deltas(X, Y), strict=True):
        assert_array_equal(ours, theirs)
    index, values = [0, 5, 27], [0.5, -0.5, 2.0]
    assert_array_equal(
        net.perturbed_costs(S, Y, index, values), net.perturbed_costs(X, Y, index, values)
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("scales", [1, 2])
def test_scales_keep_rows_sparse(level, dtype, scales):
    net, X = network([23, *[Scale()] * scales, 17, 3], dtype), rows(23)
    S, Y = sparse.csr_array(X), np.random.default_rng(1).standard_normal((N, 3))
    assert_array_equal(net.predict(S), net.predict(X))
    assert_array_equal(net.gradient(S, Y), net.gradient(X, Y))
    assert_array_equal(net.jvp(S, rows(23, 0.4)), net.jvp(X, rows(23, 0.4)))
    assert_array_equal(net.vjp(S, Y).toarray(), on_elements(X, net.vjp(X, Y)))
    for ours, theirs in zip(net.feedforward(S), net.feedforward(X), strict=True):
        for l, (a, b) in enumerate(zip(ours, theirs, strict=True)):
            assert sparse.issparse(a) == (l < scales + (ours[0] is a) or b.shape[1] == 23)
            assert_array_equal(a.toarray() if sparse.issparse(a) else a, b)
    for l, (a, b) in enumerate(zip(net.deltas(S, Y), net.deltas(X, Y), strict=True)):
        assert sparse.issparse(a) == (l < scales)
        assert_array_equal(*((a.toarray(), on_elements(X, b)) if l < scales else (a, b)))


@pytest.mark.parametrize("sizes", [[23, 9, 3], [23, "scale", 9, 3], [23, 3]], ids=str)
def test_answers_are_the_oracles(level, sizes):
    net, X = network(sizes, "float64"), rows(23).astype(np.float64)
    S, Y = sparse.csr_matrix(X), np.random.default_rng(1).standard_normal((N, 3))
    twin = oracle(net)
    assert_allclose(net.predict(S), twin.predict(X), rtol=0, atol=1e-13)
    assert_allclose(net.gradient(S, Y), twin.gradient(X, Y), rtol=0, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("batch_size", [1, 7, 33])
@pytest.mark.parametrize("n_z", [1, 9, 17, 140])
@pytest.mark.grid
def test_steps_are_those_of_dense_rows_to_the_bit(level, dtype, optimizer, batch_size, n_z):
    X, Y = rows(23), np.random.default_rng(1).standard_normal((N, 3))
    nets = [network([23, n_z, 3], dtype) for _ in range(2)]
    losses = [
        net.fit(data, Y, epochs=2, batch_size=batch_size, optimizer=optimizer, seed=3)["loss"]
        for net, data in zip(nets, (X, sparse.csr_matrix(X)), strict=True)
    ]
    assert_array_equal(nets[0].parameters, nets[1].parameters)
    assert_array_equal(*losses)


def test_only_rows_that_a_batch_touches_take_a_step(level):
    """Of plain SGD; -0 in W tells a row that was left alone from one that took a step of 0."""
    net, X = network([4, 5, 1], "float32"), sparse.csr_matrix([[0, 1, 0, 0], [0, 2, 0, 3.0]])
    before = net.weights[0].copy()
    net.fit(X, [[1.0], [2.0]], epochs=1, batch_size=2, optimizer=fastbp.SGD(0.1))
    moved = (net.weights[0] != before).any(axis=1)
    assert moved.tolist() == [False, True, False, True]
    net.fit(X, [[1.0], [2.0]], epochs=1, batch_size=2, optimizer=fastbp.SGD(0.1), l2=0.1)
    assert (net.weights[0] != before).any(axis=1).all()


def test_a_batch_without_an_element(level):
    X = np.zeros((20, 6), np.float32)
    X[19, 2] = 1
    nets = [network([6, 3, 1], "float64") for _ in range(2)]
    for net, data in zip(nets, (X, sparse.csr_array(X)), strict=True):
        net.fit(data, np.ones((20, 1)), epochs=2, batch_size=4, optimizer="sgd", shuffle=False)
    assert_array_equal(nets[0].parameters, nets[1].parameters)
    nothing = sparse.csr_matrix((5, 6))
    assert_array_equal(nets[0].predict(nothing), nets[0].predict(np.zeros((5, 6))))
    assert nets[0].input_gradient(nothing, np.ones((5, 1))).nnz == 0
