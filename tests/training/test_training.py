"""`fit` against the oracle's training, and the order in which it takes the samples.

What belongs here: parameters and losses after some epochs, on every CPU level. What does not: laws
that need no oracle (test_properties.py), refusals, interruption and divergence.

The oracle makes each step sample by sample from the published formulas. Rounding differences grow
from step to step, so float64 is held to 1e-11 of the largest parameter, float32 to n eps with n the
additions on the way through the network times the steps.
"""

import inspect
import itertools
import pydoc

import numpy as np
import pytest
from cases import DTYPES, OPTIMIZERS, SIZES, network, oracle, short, targets
from numpy.testing import assert_allclose, assert_array_equal

import fastbp
from fastbp import reference

pytestmark = pytest.mark.sanitizers

EPOCHS = 3

NETWORKS = {
    "tanh": ([5, 7, 3], "tanh", "softmax", "cross_entropy"),
    "kinked": ([4, 17, 9, 2], ["relu", "leaky_relu(0.2)"], "identity", "huber(0.4)"),
    "coupled": ([6, 9, 7, 9, 5], ["glu", "layer_norm", "maxout(3)"], "log_softmax", "quadratic"),
    "one layer": ([33, 1], (), "sigmoid", "binary_cross_entropy"),
    "smooth": ([2, 33, 4], "gelu", "softplus", "poisson"),
    "likelihood": ([3, 8, 2], "silu", "identity", "gaussian_nll"),
    "scaled": ([9, "scale", 17, "scale", 7, 2], ["tanh", "maxout(3)"], "softmax", "cross_entropy"),
}


def permuted(epoch, n):
    return np.random.default_rng([99, epoch]).permutation(n)


def both(arguments, dtype, optimizer, n, batch_size, weighted=False, l2=0.0, l1=0.0, clipping=(),
         **options):  # fmt: skip
    """Train with the engine and with the oracle: (network, its history), (oracle, its losses)."""
    net = network(*arguments, dtype)
    rng = np.random.default_rng([7, n])
    X = short(rng.standard_normal((n, net.sizes[0])))
    Y = targets(rng, arguments[3], n, net.sizes[-1])
    weight = rng.integers(0, 4, n) / 2.0 if weighted else None
    ref = oracle(net)
    mine, its = OPTIMIZERS[optimizer]
    orders = [permuted(epoch, n) for epoch in range(EPOCHS)]
    shared = {**dict(clipping), "drop_last": options.pop("drop_last", False)}
    losses = reference.train(ref, X, Y, orders, batch_size, its(), weight, l2, l1, **shared)
    history = net.fit(X, Y, epochs=EPOCHS, batch_size=batch_size, optimizer=mine, shuffle=permuted,
                      sample_weight=weight, l2=l2, l1=l1, **shared, **options)  # fmt: skip
    return (net, history), (ref, losses)


def close(fitted, expected, dtype, steps):
    (net, history), (ref, losses) = fitted, expected
    scale = np.abs(ref.parameters).max()
    tolerance = 1e-11
    if dtype == "float32":
        tolerance = sum(net.sizes) * steps * np.finfo(dtype).eps / 2
    assert net.parameters.dtype == dtype
    error = np.abs(net.parameters - ref.parameters).max()
    assert error <= tolerance * scale, f"{error / scale:.3g} exceeds {tolerance:.3g}"
    assert_allclose(history["loss"], losses, rtol=tolerance)


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_fit_is_the_oracles_training(level, name, optimizer, dtype):
    """23 samples in batches of 10, 10 and 3, with everything that enters a step."""
    for options in ({}, {"weighted": True, "l2": 2.0, "l1": 0.5}):
        fitted, expected = both(NETWORKS[name], dtype, optimizer, 23, 10, **options)
        close(fitted, expected, dtype, 3 * EPOCHS)
        start = network(*NETWORKS[name], "float64").parameters
        assert np.abs(fitted[0].parameters - start).max() > 0.01  # it went somewhere


@pytest.mark.grid
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("options", [{"weighted": True}, {"l2": 3.0}, {"l1": 2.0}], ids=str)
def test_each_part_of_a_step_alone(level, optimizer, options):
    close(*both(NETWORKS["coupled"], "float64", optimizer, 23, 7, **options), "float64", 1)


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
@pytest.mark.parametrize(
    ("n", "batch_size"), [(1, 1), (1, 5), (7, 1), (10, 3), (64, 64), (50, 64), (65, 64), (130, 17)]
)
def test_batches(level, n, batch_size, optimizer, dtype):
    """Batches that divide n and do not, of one sample, and of more than there are (counts as n)."""
    fitted, expected = both(
        NETWORKS["kinked"], dtype, optimizer, n, batch_size, weighted=n > 1, l2=0.1
    )
    close(fitted, expected, dtype, EPOCHS * -(-n // batch_size))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    ("n", "batch_size"), [(1, 1), (1, 5), (10, 3), (64, 64), (50, 64), (65, 64), (130, 17), (9, 2)]
)
def test_a_short_last_batch_is_dropped(level, n, batch_size, threads):
    """Unless there is no other: of 65 rows in batches of 64 one is left out of each epoch."""
    options = {"weighted": n > 1, "l2": 0.1, "drop_last": True, "threads": threads}
    fitted, expected = both(NETWORKS["kinked"], "float64", "adamw", n, batch_size, **options)
    steps = max(1, n // batch_size)
    close(fitted, expected, "float64", EPOCHS * steps)
    history = fitted[1]
    assert history.state.position.step == EPOCHS * steps
    assert history.samples == EPOCHS * min(n, steps * batch_size)


def test_dropped_batches_in_every_kind_of_run(tmp_path):
    """Schedules by step end with the run; a loss of one's own, resuming and checkpoints agree."""
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((23, 5)), rng.integers(0, 3, 23)
    options = {"batch_size": 5, "seed": 2, "drop_last": True, "optimizer": fastbp.Adam(0.01)}

    def trained(*calls, **more):
        net, history = network(*NETWORKS["tanh"], "float64"), None
        for call in calls:
            history = net.fit(X, Y, **options | more | call(history))
        return net.parameters, history

    expected, history = trained(lambda _: {"epochs": 4})
    assert history.state.position.step == 16
    resumed, _ = trained(lambda _: {"epochs": 3}, lambda h: {"epochs": 1, "resume": h})
    assert resumed.tobytes() == expected.tobytes()
    file = tmp_path / "run.ckpt"
    kept, _ = trained(*[lambda _, n=n: {"epochs": n, "checkpoint": file} for n in (1, 4)])
    assert kept.tobytes() == expected.tobytes()
    with pytest.raises(ValueError, match="drop_last"):
        trained(lambda _: {"epochs": 5, "checkpoint": file, "drop_last": False})
    with pytest.raises(ValueError, match="same drop_last"):
        trained(lambda _: {"epochs": 1}, lambda h: {"resume": h, "drop_last": False})

    def cross_entropy(a, y, w):
        picked = a[np.arange(len(y)), y.astype(int)]
        slope = np.zeros_like(a)
        slope[np.arange(len(y)), y.astype(int)] = -w / picked / w.sum()
        return -(w * np.log(picked)).sum() / w.sum(), slope

    own, _ = trained(lambda _: {"epochs": 4, "loss": cross_entropy})
    assert_allclose(own, expected, rtol=1e-9)
    cosine = fastbp.schedules.Cosine(each="step")
    _, history = trained(lambda _: {"epochs": 4, "schedule": cosine})
    of_steps = cosine.of_steps(0.01, epochs=4, n=23, per_epoch=4, first=0, count=16)
    assert_allclose(history["learning_rate"], of_steps[3::4])
    with pytest.raises(TypeError, match="drop_last: expected"):
        trained(lambda _: {"drop_last": "yes"})


@pytest.mark.parametrize(
    "sizes",
    [
        *([1, 1], [1, 2, 1], [9, 1, 17], [70, 65, 33], [130, 3, 70]),
        *([n, "scale", m, "scale", n] for n, m in itertools.pairwise(SIZES)),
        *([70, "scale", 1], [33, "scale", "scale", 130, "scale", 2]),
    ],
    ids=str,
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_widths(level, sizes, dtype):
    """Widths below, at and above a tile's, in the fused update too."""
    arguments = (sizes, "sigmoid", "identity", "mse")
    for optimizer in ("momentum", "adam"):
        fitted, expected = both(arguments, dtype, optimizer, 11, 4, l2=1.0, l1=0.1)
        close(fitted, expected, dtype, 3 * EPOCHS)


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("name", ["coupled", "scaled"])
def test_threads(level, name, threads):
    fitted, expected = both(NETWORKS[name], "float64", "adam", 23, 7, weighted=True, l2=1.0,
                            threads=threads)  # fmt: skip
    close(fitted, expected, "float64", 1)


@pytest.mark.threaded
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    "sizes", [[20, 64, 5], [33, 128, 64, 1], [9, 192, 33, 2], [7, 60, 4]], ids=str
)
def test_threads_share_the_first_layer_by_columns(level, sizes, dtype):
    """Columns of it, the rows of the layers behind; frozen tensors, fewer rows than threads."""
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((50, sizes[0])), rng.standard_normal((50, sizes[-1]))
    for optimizer in ("sgd", "adam"):
        for rates in (None, {"W1": 0.0}, {"W2": 0.0, "b1": 0.5}):
            for batch_size in (1, 3, 33, 50):
                found = []
                for threads in (1, 2, 3):
                    net = network(sizes, "tanh", "identity", "quadratic", dtype)
                    net.fit(X, Y, epochs=2, batch_size=batch_size, seed=0, l2=0.5, rates=rates,
                            optimizer=OPTIMIZERS[optimizer][0], threads=threads)  # fmt: skip
                    found.append(net.parameters)
                assert_array_equal(found[0], found[1])
                assert_array_equal(found[0], found[2])
    fitted, expected = both((sizes, "tanh", "identity", "quadratic"), dtype, "adam", 23, 7,
                            weighted=True, l2=1.0, threads=2)  # fmt: skip
    close(fitted, expected, dtype, 3 * EPOCHS)


@pytest.mark.parametrize(
    ("sizes", "activation", "shares"),
    [
        ([20, 64, 5], "tanh", True),
        ([20, 32, 5], "tanh", False),  # float32: one panel, which two threads cannot share
        ([20, 96, 5], "tanh", False),  # one thread would have twice the work of the other
        ([20, 64, 5], "softmax", False),  # each a_k depends on every z_j
        ([20, 64], (), False),
        ([20, "scale", 64, 5], "tanh", False),
    ],
    ids=str,
)
def test_which_networks_are_shared_by_columns(level, sizes, activation, shares):
    net = network(sizes, activation, "identity", "quadratic", "float32")
    numbers = {"learning_rate": 0.1, "l2": 0.0, "l1": 0.0}
    for n_threads in (1, 2):
        trainer = net._doors.Trainer(net._compiled, "sgd", numbers, 50, 10, n_threads, False, 0)
        assert trainer.shares_columns == (shares and n_threads == 2)


CLIPPING = [{"clip_value": 0.02}, {"clip_norm": 0.3}, {"clip_value": 0.05, "clip_norm": 0.3}]


@pytest.mark.grid
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam"])
@pytest.mark.parametrize("clipping", CLIPPING, ids=str)
def test_clipping(level, clipping, optimizer, dtype):
    for options in ({}, {"weighted": True, "l2": 2.0, "l1": 0.5}):
        clipped = both(NETWORKS["coupled"], dtype, optimizer, 23, 10, clipping=clipping, **options)
        close(*clipped, dtype, 3 * EPOCHS)
        free, _ = both(NETWORKS["coupled"], dtype, optimizer, 23, 10, **options)
        assert np.abs(clipped[0][0].parameters - free[0].parameters).max() > 1e-3  # it did clip


@pytest.mark.threaded
@pytest.mark.parametrize("n", [23, 3000])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("clipping", CLIPPING, ids=str)
def test_clipping_has_the_same_bits_at_any_number_of_threads(level, clipping, dtype, n):
    """3,000 rows go through in slices where there is one thread."""
    rng = np.random.default_rng(3)
    X, Y = rng.standard_normal((n, 17)), rng.standard_normal((n, 3))
    found = []
    for threads in (1, 2, 3):
        net = network([17, 70, 9, 3], "tanh", "identity", "quadratic", dtype)
        net.fit(X, Y, epochs=2, batch_size=n, seed=0, l2=1.0, threads=threads, **clipping)
        found.append(net.parameters)
    assert_array_equal(found[0], found[1])
    assert_array_equal(found[0], found[2])


def test_clipping_that_never_acts_changes_no_bit(level):
    """From a stored gradient come the same bits as from registers."""
    for dtype in DTYPES:
        free, _ = both(NETWORKS["coupled"], dtype, "adam", 23, 10, l2=1.0)
        for clipping in ({"clip_value": 1e9}, {"clip_norm": 1e9}):
            clipped, _ = both(NETWORKS["coupled"], dtype, "adam", 23, 10, l2=1.0, clipping=clipping)
            assert_array_equal(clipped[0].parameters, free[0].parameters)


@pytest.mark.parametrize("name", ["clip_value", "clip_norm"])
def test_clipping_is_checked(name):
    net = network([3, 2], (), "identity", "quadratic", "float64")
    before = net.parameters.copy()
    for bad, kind in ((0, ValueError), (-1, ValueError), (np.nan, ValueError), ("1", TypeError)):
        with pytest.raises(kind, match=rf"^{name}: expected a (finite )?number > 0; got"):
            net.fit(np.ones((2, 3)), np.ones((2, 2)), **{name: bad})
    assert_array_equal(net.parameters, before)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_resumed_has_the_same_bits(level, optimizer):
    """Every slot is carried on, with the value it began with."""
    rng = np.random.default_rng(4)
    X, Y = rng.standard_normal((23, 5)), rng.standard_normal((23, 3))
    found = []
    for parts in ((4,), (1, 3)):
        net = network([5, 17, 3], "tanh", "identity", "quadratic", "float32")
        history = None
        for epochs in parts:
            history = net.fit(X, Y, epochs=epochs, optimizer=OPTIMIZERS[optimizer][0], seed=1,
                              resume=history)  # fmt: skip
        found.append(net.parameters)
    assert_array_equal(*found)


def test_weight_of_a_whole_batch_zero(level):
    """Such a batch has no data gradient; the optimizer steps all the same (momentum, penalty)."""
    net = network([3, 4, 2], "tanh", "identity", "quadratic", "float64")
    rng = np.random.default_rng(5)
    X, Y = rng.standard_normal((6, 3)), rng.standard_normal((6, 2))
    weight = np.array([1.0, 2.0, 0.0, 0.0, 1.0, 0.5])
    ref = oracle(net)
    orders = [np.arange(6)] * EPOCHS
    losses = reference.train(ref, X, Y, orders, 2, reference.SGD(0.1, 0.9), weight, 0.5)
    history = net.fit(X, Y, epochs=EPOCHS, batch_size=2, optimizer=fastbp.SGD(0.1, momentum=0.9),
                      shuffle=False, sample_weight=weight, l2=0.5)  # fmt: skip
    close((net, history), (ref, losses), "float64", 9)


def test_class_indices(level):
    rng = np.random.default_rng(6)
    X, classes = rng.standard_normal((23, 5)), rng.integers(0, 3, 23)
    for loss in ("cross_entropy", "quadratic", "hinge"):
        Y = np.eye(3)[classes] * (2 if loss == "hinge" else 1) - (1 if loss == "hinge" else 0)
        one, other = (network([5, 7, 3], "tanh", "softmax", loss, "float64") for _ in range(2))
        a = one.fit(X, classes, epochs=2, batch_size=10, optimizer=fastbp.SGD(0.5), seed=1)
        b = other.fit(X, Y, epochs=2, batch_size=10, optimizer=fastbp.SGD(0.5), seed=1)
        assert_array_equal(one.parameters, other.parameters)
        assert_array_equal(a["loss"], b["loss"])


def test_the_books_rule(level):
    """Nielsen 2015, ch. 3: w <- (1 - eta lambda/n) w - eta/m sum nabla C_x; b without the decay."""
    net = network([4, 3, 2], "sigmoid", "sigmoid", "binary_cross_entropy", "float64")
    rng = np.random.default_rng(8)
    X, Y = rng.standard_normal((12, 4)), rng.integers(0, 2, (12, 2))
    eta, lmbda, n = 0.5, 0.7, 12
    twin = net.copy()
    net.fit(X, Y, epochs=1, batch_size=5, optimizer=fastbp.SGD(eta), shuffle=False, l2=lmbda)
    for start in (0, 5, 10):
        rows = slice(start, start + 5)
        nabla = twin.gradient(X[rows], Y[rows])
        for W in twin.weights:
            W *= 1 - eta * lmbda / n
        twin.parameters -= eta * nabla
    assert_allclose(net.parameters, twin.parameters, rtol=1e-13)


# ---- the order of samples


@pytest.mark.parametrize("n", [1, 2, 3, 20])
def test_shuffle_is_a_permutation_of_seed_and_epoch(level, n):
    def orders(seed, epochs=6):
        seen = []
        net = fastbp.Network([1, 1], output="identity", loss="quadratic", dtype="float64",
                             init="zeros")  # fmt: skip
        # a row's cost is its own power of two, so an epoch's loss so far tells its rows
        numbers = {"learning_rate": 0.0, "l2": 0.0, "l1": 0.0}
        trainer = net._doors.Trainer(net._compiled, "sgd", numbers, n, 1, 1, True, seed)
        X = np.zeros((n, 1))
        Y = 2.0 ** np.arange(n)[:, None]  # C_i = 4^i / 2
        order, losses, clock = np.zeros(n, np.intp), np.zeros(epochs), np.zeros(epochs)
        net._doors.load_state(trainer, net.parameters, np.zeros((0, net.n_parameters)))
        for _ in range(epochs):
            rows, before = [], 0.0
            for _ in range(n):
                net._doors.train(trainer, 0, 1, epochs, X, Y, None, None, order, 0, losses, clock)
                total = trainer.position[3] or losses[trainer.position[0] - 1] * n
                rows.append(round((np.log2(total - before) + 1) / 2))
                before = total
            seen.append(rows)
        return np.array(seen)

    first = orders(11)
    assert_array_equal(np.sort(first, axis=1), np.tile(np.arange(n), (6, 1)))
    assert_array_equal(orders(11), first)
    if n == 20:
        assert len({tuple(row) for row in first}) == 6  # epochs differ
        assert not (orders(12) == first).all(axis=1).any()  # seeds differ
        moved = (first != np.arange(n)).mean()
        assert moved > 0.8


def test_seeds():
    rng = np.random.default_rng(9)
    X, Y = rng.standard_normal((40, 3)), rng.standard_normal((40, 2))

    def run(seed, shuffle=True):
        net = network([3, 5, 2], "tanh", "identity", "quadratic", "float32")
        history = net.fit(X, Y, epochs=3, batch_size=7, optimizer=fastbp.SGD(0.1), seed=seed,
                          shuffle=shuffle)  # fmt: skip
        return net.parameters, history["loss"]

    for shuffle in (True, False):
        for one, other in zip(run(3, shuffle), run(3, shuffle), strict=True):
            assert_array_equal(one, other)
    assert (run(3)[0] != run(4)[0]).any()
    assert (run(None)[0] != run(None)[0]).any()  # None draws one
    assert_array_equal(run(3, False)[0], run(4, False)[0])
    assert_array_equal(run(None, lambda epoch, n: np.arange(n))[0], run(0, False)[0])
    assert_array_equal(run(np.random.SeedSequence(3))[0], run(3)[0])
    left = []
    for shuffle in (True, False):  # what is drawn later from a Generator does not depend on it
        generator = np.random.default_rng(3)
        run(generator, shuffle)
        left.append(generator.integers(2**62))
    assert left[0] == left[1] != np.random.default_rng(3).integers(2**62)
    for bad in (-1, 1.5, "3"):
        with pytest.raises((TypeError, ValueError), match="seed: expected"):
            run(bad, False)


def test_shuffle_uses_every_row_once_an_epoch(level):
    """With a learning rate of 0 the epoch's loss is the loss of the data, whatever the order."""
    net = network([3, 5, 2], "tanh", "identity", "quadratic", "float64")
    rng = np.random.default_rng(10)
    X, Y, weight = rng.standard_normal((37, 3)), rng.standard_normal((37, 2)), rng.random(37)
    history = net.fit(X, Y, epochs=5, batch_size=8, optimizer=fastbp.SGD(0.0), seed=2,
                      sample_weight=weight)  # fmt: skip
    assert_allclose(history["loss"], net.loss(X, Y, sample_weight=weight), rtol=1e-13)
    assert_array_equal(history["learning_rate"], np.zeros(5))
    assert history.epochs == 5 and history.samples == 5 * 37
    assert (np.diff(history["seconds"]) >= 0).all()


def test_order_is_uniform():
    """Every row comes at every place equally often: chi squared over 4000 epochs of 6 rows."""
    n, epochs = 6, 4000
    net = fastbp.Network([1, 1], output="identity", loss="quadratic")
    order, counts = np.zeros(n, np.intp), np.zeros((n, n))
    for epoch in range(epochs):
        net._doors.draw_order(order, None, 123, epoch)
        counts[np.arange(n), order] += 1
    chi_squared = ((counts - epochs / n) ** 2 / (epochs / n)).sum()
    assert 8 < chi_squared < 50  # 25 degrees of freedom: outside with probability 0.3 %


@pytest.mark.parametrize("threads", [1, 2])
def test_subnormal_numbers_are_flushed_in_training_alone(level, threads):
    net = network([1, 1], "tanh", "identity", "quadratic", "float32")
    net.parameters = np.zeros(2)
    X, Y = np.full((4, 1), 1e-40, np.float32), np.ones(4, np.float32)
    net.fit(X, Y, epochs=1, batch_size=4, optimizer=fastbp.SGD(1e30), threads=threads)
    assert net.weights[0] == 0  # else 1e-10, the rate times 1e-40
    assert X[0, 0] * np.float32(0.5) > 0 and np.float64(5e-324) * 1.0 > 0  # this thread's own
    assert net.gradient(X, Y)[0] != 0


# what is asked for by name


@pytest.mark.parametrize("name", ["adam", "SGD", "AdamW", "RMSProp", "lion", "LBFGS"])
def test_an_optimizer_by_name_has_its_defaults(name):
    X, Y = np.random.default_rng(0).normal(size=(12, 3)), np.arange(12) % 2
    kind = {k.lower(): getattr(fastbp, k) for k in fastbp.__all__}[name.lower()]
    nets = [fastbp.Network([3, 4, 2]) for _ in range(2)]
    for net, optimizer in zip(nets, (name, kind()), strict=True):
        net.fit(X, Y, epochs=2, optimizer=optimizer, seed=0)
    assert_array_equal(nets[0].parameters, nets[1].parameters)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("epoch", "'epochs'"),
        ("n_epochs", "'epochs'"),
        ("lr", "optimizer=fastbp.Adam(learning_rate)"),
        ("learning_rate", "optimizer=fastbp.Adam(learning_rate)"),
        ("validation_data", "'validation'"),
        ("validation_split", "'validation'"),
        ("batchsize", "'batch_size'"),
        ("verbose", "'progress'"),
        ("random_state", "'seed'"),
        ("patience", "early_stopping=fastbp.EarlyStopping(patience)"),
        ("criterion", "loss of fastbp.Network"),
        ("droput", "'dropout'"),
    ],
)
def test_unknown_arguments_of_fit(name, told):
    net = fastbp.Network([2, 2])
    with pytest.raises(TypeError) as caught:
        net.fit(np.eye(2), [0, 1], **{name: 1})
    assert str(caught.value) == f"fit: unexpected argument {name!r}. Did you mean {told}?"
    with pytest.raises(TypeError, match=r"'optimizer'\. Did you mean optimizer of fit\?"):
        fastbp.Network([2, 2], optimizer="adam")


def test_the_method_has_the_whole_signature():
    """One source, which help() and whoever completes names find on the class and on a network."""
    whole = inspect.signature(fastbp.training.fit)
    assert inspect.signature(fastbp.Network.fit) == whole
    bound = inspect.signature(fastbp.Network([1, 1], output="exp", loss="poisson").fit)
    assert list(bound.parameters) == list(whole.parameters)[1:]
    assert {"epochs", "batch_size", "optimizer", "validation"} <= set(bound.parameters)
    assert fastbp.Network.fit.__doc__ == fastbp.training.fit.__doc__
    assert "validation : (X, Y)" in pydoc.render_doc(fastbp.Network.fit)

    class Own(fastbp.Network):
        def fit(self, X, Y, **options):
            return super().fit(X, Y, epochs=1, **options)

    assert Own([2, 2]).fit(np.eye(2), [0, 1]).epochs == 1


def test_types_of_the_method(tmp_path):
    api = pytest.importorskip("mypy.api")
    (tmp_path / "it.py").write_text(
        "import fastbp\nnet = fastbp.Network([2, 2])\n"
        "reveal_type(net.fit([[1.0, 2.0]], [0], epochs=3))\nnet.fit([[1.0]], [0], epoch=3)\n"
    )
    told, errors, _ = api.run(["--follow-imports=silent", "--cache-dir", str(tmp_path / "cache"),
                               str(tmp_path / "it.py")])  # fmt: skip
    assert "fastbp.training.history.History" in told, told + errors
    assert 'keyword argument "epoch"' in told, told


# ---- numbers of any size


def weighted_fit(weight, dtype, **options):
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    net = fastbp.Network([3, 5, 3], activation="tanh", dtype=dtype, seed=0)
    history = net.fit(X, Y, epochs=3, seed=1, validation=(X, Y, weight), sample_weight=weight,
                      **options)  # fmt: skip
    asked = net.loss(X, Y, sample_weight=weight), net.gradient(X, Y, sample_weight=weight)
    return net.parameters.copy(), history["loss"], history["validation_loss"], *asked


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shift", [-1070, -800, -140, -20, 60, 500, 1022])
def test_only_ratios_of_weights_matter(level, dtype, shift):
    """A power of two changes no bit, where a weight is below the normal numbers or above all."""
    weight = np.round(np.linspace(1, 8, 60)) / 8  # exact also where 3 bits are left
    options = {"class_weight": {0: 2.0}, "l2": 0.1}
    for one, other in zip(
        weighted_fit(weight, dtype, **options),
        weighted_fit(np.ldexp(weight, shift), dtype, **options),
        strict=True,
    ):
        assert_array_equal(one, other)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_below_the_normal_numbers(dtype):
    low = np.linspace(-98, -93, 60) if dtype == "float32" else np.linspace(-720, -712, 60)
    for one, other in zip(
        weighted_fit(np.exp(low), dtype),
        weighted_fit(np.exp(low - low[-1]), dtype),
        strict=True,
    ):
        assert_allclose(one, other, rtol=1e-4 if dtype == "float32" else 1e-7, atol=1e-7)


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_any_class(dtype):
    plain = weighted_fit(None, dtype)
    for weight, of_class in (
        (None, 1e308),
        (np.full(60, 1e300), 1e300),
        (np.full(60, 1e-9), 1e-320),
    ):
        alike = weighted_fit(weight, dtype, class_weight=dict.fromkeys(range(3), of_class))
        for one, other in zip(plain, alike, strict=True):
            assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert np.isfinite(weighted_fit(None, dtype, class_weight={0: 1e39})[1]).all()


def test_the_norm_of_a_gradient_whose_squares_are_too_large(level):
    X = np.array([[3e155, 4e155]])
    net = fastbp.Network([2, 1], output="identity", loss="quadratic", dtype="float64", init="zeros")
    net.fit(X, [-1.0], epochs=1, optimizer=fastbp.SGD(1.0), clip_norm=0.5)
    assert_allclose(net.weights[0][:, 0], [-0.3, -0.4], rtol=1e-12)
    clipped = reference.clipped(np.array([3e155, 4e155]), np.inf, 0.5)
    assert_allclose(clipped, [0.3, 0.4], rtol=1e-12)
