"""Runs on sparse X: with every option the bits of the dense run, in memory for its elements.

What belongs here: `fit` of SciPy's matrices. What does not: kernels (tests/kernels/test_lists.py),
what is refused (tests/test_sparse.py), estimators.
"""

import tracemalloc

import numpy as np
import pytest
from cases import DTYPES, OPTIMIZERS
from numpy.testing import assert_array_equal
from scipy import sparse

import fastbp
from fastbp import schedules
from fastbp.layers import Scale

N, N_IN = 70, 40
rng = np.random.default_rng(0)
X = np.where(rng.random((N, N_IN)) < 0.1, rng.standard_normal((N, N_IN)), 0).astype(np.float32)
X[3], X[40:47], X[:, 8] = 0, 0, 0
LABELS = rng.integers(0, 3, N)
WEIGHT = rng.uniform(0, 2, N) * (rng.random(N) < 0.9)


def network(sizes=(N_IN, 9, 3), dtype="float32", **options):
    net = fastbp.Network(list(sizes), dtype=dtype, seed=1, **{"activation": "tanh"} | options)
    for name, tensor in net.tensors.items():
        tensor += 0.1 * np.random.default_rng(2).standard_normal(tensor.shape) * (name[0] == "s")
    return net


def same(X, Y, sizes=(N_IN, 9, 3), dtype="float32", network_options=(), **options):
    """Fits of X as it is and sparse, which must leave the same bits; the sparse one's network."""
    options = {"epochs": 2, "batch_size": 7, "seed": 3} | options
    nets = [network(sizes, dtype, **dict(network_options)) for _ in range(2)]
    histories = [
        net.fit(data, Y, **options)
        for net, data in zip(nets, (X, sparse.csr_matrix(X)), strict=True)
    ]
    assert_array_equal(nets[0].parameters, nets[1].parameters)
    assert set(histories[0]) == set(histories[1])
    for name in set(histories[0]) - {"seconds"}:
        assert_array_equal(histories[0][name], histories[1][name])
    assert np.isfinite(nets[1].parameters).all()
    return nets[1]


OPTIONS = {
    "plain": {},
    "l2": {"l2": 0.3},
    "l1": {"l1": 0.3},
    "clip_value": {"clip_value": 0.01},
    "clip_norm": {"clip_norm": 0.05, "l2": 0.1},
    "dropout": {"dropout": [0.3, 0.2]},
    "weights": {"sample_weight": WEIGHT, "class_weight": "balanced"},
    "validation": {"validation": 0.2, "metrics": "accuracy", "ema": 0.9},
    "rates": {"rates": {"W1": 0.0, "b*": 0.5}, "decays": {"W2": 0.0}, "l2": 0.1},
    "schedule": {"schedule": schedules.Cosine(each="step")},
    "order": {"shuffle": False},
    "smoothed": {"label_smoothing": 0.1},
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("batch_size", [1, 7, 33, N])
@pytest.mark.parametrize("n_z", [9, 33, 140])
@pytest.mark.grid
def test_every_run_leaves_the_bits_of_the_dense_one(dtype, threads, name, options, batch_size, n_z):
    more = {"threads": threads, "optimizer": OPTIMIZERS[name][0], "batch_size": batch_size}
    same(X, LABELS, (N_IN, n_z, 3), dtype, **OPTIONS[options], **more)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", [(Scale(), 9, 3), (Scale(), Scale(), 3)], ids=len)
@pytest.mark.parametrize("options", ["plain", "l2", "clip_norm", "dropout", "rates"])
def test_scales_before_the_first_dense_layer(dtype, threads, sizes, options):
    given = OPTIONS[options]
    if options == "dropout" and len(sizes) == 3 and sizes[1] == Scale():
        given = {"dropout": [0.3]}
    if options == "rates":
        given = {"rates": {"s1": 0.0}, "decays": {"s*": 0.5}, "l2": 0.1}
    for optimizer in ("sgd", "adam"):
        same(X, LABELS, (N_IN, *sizes), dtype, threads=threads, optimizer=optimizer, **given)


@pytest.mark.parametrize("hidden", [(9,), (), (30, 20)])
def test_lbfgs(hidden):
    same(X, LABELS, (N_IN, *hidden, 3), "float64", optimizer=fastbp.LBFGS(max_iter=8), l2=0.1)


def test_a_loss_of_ones_own():
    def squares(a, y, w):
        return float((w * ((a - y) ** 2).sum(1)).sum() / w.sum()), 2 * (a - y) * w[
            :, None
        ] / w.sum()

    options = {"output": "identity", "loss": "mse"}
    for more in ({}, {"dropout": [0.2, 0.2]}, {"clip_norm": 0.1}):
        same(X, np.eye(3)[LABELS], network_options=options, loss=squares, optimizer="sgd", **more)


def test_given_validation_data_may_be_of_the_other_kind():
    nets, losses = [network() for _ in range(3)], []
    S = sparse.csr_array(X)
    for net, data, held in zip(nets, (X, X, S), (X, S, X), strict=True):
        history = net.fit(data, LABELS, epochs=2, seed=1, validation=(held[:9], LABELS[:9]))
        losses.append(history["validation_loss"])
    assert_array_equal(losses[0], losses[1])
    assert_array_equal(losses[0], losses[2])
    with pytest.raises(ValueError, match="validation: X: expected 40 columns; got 39"):
        net.fit(X, LABELS, validation=(S[:, 1:], LABELS))


def test_runs_go_on_with_the_same_bits(tmp_path):
    S, options = sparse.csr_matrix(X), {"optimizer": "adam", "seed": 5, "batch_size": 9}
    whole, parts, kept = (network() for _ in range(3))
    whole.fit(S, LABELS, epochs=4, **options)
    first = parts.fit(S, LABELS, epochs=2, **options)
    parts.fit(S, LABELS, epochs=2, **options, resume=first)
    assert_array_equal(parts.parameters, whole.parameters)
    for epochs in (1, 4):
        kept.fit(S, LABELS, epochs=epochs, **options, checkpoint=tmp_path / "run")
    assert_array_equal(kept.parameters, whole.parameters)
    other = S.copy()
    other.indices[0] = (other.indices[0] + 1) % N_IN
    with pytest.raises(ValueError, match="expected the same data as in that run"):
        kept.fit(other, LABELS, epochs=5, **options, checkpoint=tmp_path / "run")


def test_divergence_names_the_last_good_step():
    net = network(output="identity", loss="mse")
    with pytest.raises(fastbp.training.DivergenceError):
        net.fit(sparse.csr_matrix(1e30 * X), np.eye(3)[LABELS], optimizer=fastbp.SGD(1e6), seed=1)
    assert np.isfinite(net.parameters).all()


def test_memory_grows_with_the_elements(never_dense):
    """20,000 rows of 30,000 columns, 100 elements each: 4.8 GB as a dense array of float64."""
    n, n_columns, each = 20_000, 30_000, 100
    index = np.random.default_rng(0).integers(0, n_columns // each, (n, each))
    index += np.arange(each) * (n_columns // each)
    starts = np.arange(n + 1) * each
    S = sparse.csr_matrix((np.ones(n * each), index.ravel(), starts), shape=(n, n_columns))
    y = (index[:, 0] % 2).astype(float)
    net = fastbp.Network([n_columns, 128, 1], output="sigmoid", loss="binary_cross_entropy")
    tracemalloc.start()
    try:
        net.fit(S, y, epochs=1, batch_size=32, optimizer="adam", seed=0, validation=0.1)
        net.predict(S), net.loss(S, y), net.gradient(S, y), net.input_gradient(S, y)
        assert tracemalloc.get_traced_memory()[1] < 400e6
    finally:
        tracemalloc.stop()
