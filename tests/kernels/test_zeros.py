"""Columns that are 0 in a whole batch are left out, and the bits are those of a dense run.

What belongs here: runs that may leave them out beside runs that may not, at every optimizer, level
and dtype; which runs look for them. What does not: how much time that saves (bench/compare.py).
"""

import numpy as np
import pytest
from cases import DTYPES

import fastbp

OPTIMIZERS = (
    fastbp.SGD(0.1), fastbp.SGD(0.1, momentum=0.9), fastbp.SGD(0.1, momentum=0.9, nesterov=True),
    fastbp.Adam(0.01), fastbp.AdamW(0.01, weight_decay=0.1), fastbp.AMSGrad(0.01),
    fastbp.RMSprop(0.01), fastbp.RMSprop(0.01, momentum=0.5, centered=True), fastbp.Adagrad(0.1),
    fastbp.Adadelta(), fastbp.Lion(0.01),
)  # fmt: skip


def pixels(n, columns, dtype, active=0.4, seed=0):
    """Rows of 0 and -0 but for a share of the columns, most of which are 0 in most rows."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, columns)) * (rng.random((n, columns)) < 0.3)
    X[:, rng.random(columns) >= active] = 0
    X[(X == 0) & (rng.random(X.shape) < 0.1)] = -0.0
    return X.astype(dtype)


@pytest.fixture
def trained(level, monkeypatch):
    """Parameters and losses of a run, and whether it looked for zeros, which `skips` may forbid."""

    def train(X, sizes, skips, dtype, **options):
        net = fastbp.Network([X.shape[1], *sizes], dtype=dtype, seed=3)
        doors, made = net._doors, []

        class Trainer(doors.Trainer):
            def __init__(self, *arguments, **named):
                super().__init__(*arguments, **named)
                self.skips_zeros = skips
                made.append(self)

        options = {"optimizer": fastbp.SGD(0.1), "seed": 5, "epochs": 3, "threads": 1} | options
        Y = np.random.default_rng(1).integers(0, sizes[-1], len(X))
        with monkeypatch.context() as patch:
            patch.setattr(doors, "Trainer", Trainer)
            history = net.fit(X, Y, **options)
        assert len(made) >= 1
        return net.parameters.tobytes() + history["loss"].tobytes(), made[-1].skips_zeros

    return train


def same_bits(trained, X, sizes, dtype, looks=True, **options):
    skipping, looked = trained(X, sizes, True, dtype, **options)
    assert looked == looks
    dense, looked = trained(X, sizes, False, dtype, **options)
    assert not looked
    assert skipping == dense


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("batch_size", [1, 2, 7, 10, 33, 64])
@pytest.mark.parametrize("columns", [64, 65, 79, 100])
def test_the_bits_are_those_of_all_columns(trained, columns, batch_size, dtype):
    X = pixels(97, columns, dtype)
    for sizes in ([3], [9, 2], [30, 10], [33, 2], [70, 17, 2]):
        same_bits(trained, X, sizes, dtype, batch_size=batch_size)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("batch_size", [1, 10, 33])
def test_threads_leave_out_the_same_columns(trained, batch_size, threads, dtype):
    X = pixels(70, 90, dtype)
    one, _ = trained(X, [17, 3], False, dtype, batch_size=batch_size)
    several, looked = trained(X, [17, 3], True, dtype, batch_size=batch_size, threads=threads)
    assert looked and several == one


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "optimizer", OPTIMIZERS, ids=[f"{o.policy}-{i}" for i, o in enumerate(OPTIMIZERS)]
)
def test_optimizers_move_what_they_move(trained, optimizer, dtype):
    """Moments go on where the gradient is 0: then forward alone leaves columns out."""
    X = pixels(140, 200, dtype)
    for threads, batch_size in ((1, 9), (2, 9), (1, 70), (2, 70)):
        options = {"optimizer": optimizer, "threads": threads, "batch_size": batch_size}
        same_bits(trained, X, [17, 3], dtype, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"l2": 0.5},
        {"l1": 0.1},
        {"l1": 0.1, "decays": {"W1": 0.0}},
        {"clip_value": 1e-3},
        {"clip_norm": 0.05},
        {"rates": {"W1": 0.0}},
        {"rates": {"W1": 0.0, "b1": 0.0}},
        {"rates": {"b1": 0.0, "W1": 0.5}},
        {"dropout": [0.0, 0.4]},
        {"sample_weight": np.r_[np.zeros(9), np.ones(61)]},
        {"shuffle": False},
        {"schedule": fastbp.schedules.Cosine(warmup=1)},
        {"validation": 0.2},
        {"ema": 0.9},
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_options_keep_their_bits(trained, options, dtype):
    same_bits(trained, pixels(70, 90, dtype), [17, 3], dtype, batch_size=9, **options)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_masked_input_is_not_searched(trained, dtype):
    X = pixels(70, 90, dtype)
    same_bits(trained, X, [17, 3], dtype, looks=False, batch_size=9, dropout=[0.3, 0.0])


@pytest.mark.parametrize("dtype", DTYPES)
def test_batches_of_nothing_of_one_column_and_of_all(trained, dtype):
    """Order kept: a batch of zeros, one of a single column (each in turn), one of all columns."""
    n, columns = 5, 70
    for column in (0, 1, 15, 16, 63, 64, columns - 1):
        X = np.zeros((4 * n, columns), dtype)
        X[n : 2 * n, column] = 1.5
        X[2 * n + 1, column] = -2.0
        X[3 * n + 2] = np.arange(1, columns + 1) / columns
        # the sample of all of X is of rows 0, 4, 8, ...: without the row of all columns
        assert not X[::4, :column].any()
        same_bits(trained, X, [17, 3], dtype, batch_size=n, shuffle=False)
    same_bits(trained, np.zeros((9, 70), dtype), [17, 3], dtype, batch_size=4)
    same_bits(trained, np.full((9, 70), -0.0, dtype), [17, 3], dtype, batch_size=4)


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_smallest_numbers_are_not_zero(trained, dtype):
    X = np.zeros((8, 70), dtype)
    X[3, 40] = np.finfo(dtype).tiny
    X[5, 41] = -np.finfo(dtype).tiny
    X[6, 42] = np.finfo(dtype).smallest_subnormal
    same_bits(trained, X, [9, 2], dtype, batch_size=4, optimizer=fastbp.SGD(1.0))


def test_who_does_not_look(trained):
    rng = np.random.default_rng(0)
    dense = rng.normal(size=(40, 80)).astype("float32")
    same_bits(trained, dense, [9, 2], "float32", looks=False, batch_size=10)
    few = pixels(40, 63, "float32")
    same_bits(trained, few, [9, 2], "float32", looks=False, batch_size=10)
    one_piece = pixels(5000, 64, "float32")  # one batch in slices
    same_bits(trained, one_piece, [9, 2], "float32", looks=False, batch_size=5000)


def test_parts_of_a_run_leave_the_same_bits(level):
    X, Y = pixels(97, 100, "float32"), np.arange(97) % 3
    whole, parts = (fastbp.Network([100, 17, 3], seed=0) for _ in range(2))
    options = {"batch_size": 10, "optimizer": fastbp.SGD(0.1), "seed": 2, "threads": 1}
    whole.fit(X, Y, epochs=5, **options)
    history = parts.fit(X, Y, epochs=2, **options)
    parts.fit(X, Y, epochs=3, resume=history, **options)
    assert np.array_equal(whole.parameters, parts.parameters)


def test_a_run_that_diverges_ends_as_a_dense_one(level, monkeypatch):
    X, Y = pixels(97, 100, "float32") * 1e6, np.arange(97.0) % 3
    found = []
    for skips in (True, False):
        net = fastbp.Network([100, 17, 1], activation="relu", output="identity", loss="mse", seed=0)
        if not skips:

            class Dense(net._doors.Trainer):
                def __init__(self, *arguments, **named):
                    super().__init__(*arguments, **named)
                    self.skips_zeros = False

            monkeypatch.setattr(net._doors, "Trainer", Dense)
        with pytest.raises(fastbp.DivergenceError) as caught:
            net.fit(X, Y, epochs=5, batch_size=10, optimizer=fastbp.SGD(1e3), threads=1, seed=0)
        found.append((str(caught.value), net.parameters.tobytes()))
    assert found[0] == found[1]
