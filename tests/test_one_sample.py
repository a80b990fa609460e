"""`predict_one` and `learn_one`: a row at a time, in place.

What belongs here: their results against `predict`, `gradient` and `fit`, what is refused. What does
not: optimizers with a state (training/test_online.py).
"""

import copy
import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import fastbp

KINDS = {  # sizes, options, a target
    "one number": ([5, 9, 1], {"output": "identity", "loss": "mse"}, 0.3),
    "numbers": (
        [5, 17, 7, 2],
        {"output": "tanh", "loss": "mse", "activation": "gelu"},
        [0.3, -1.0],
    ),
    "classes": ([7, 33, 3], {"activation": "relu"}, 2),
    "shares": ([2, 3, 4], {"output": "sigmoid", "loss": "binary_cross_entropy"}, [0, 1, 0.5, 1]),
    "signs": ([3, 16, 1], {"output": "identity", "loss": "hinge"}, -1.0),
    "counts": ([3, 5, 2], {"output": "exp", "loss": "poisson"}, [0.0, 4.0]),
    "coupled": ([9, 6, 3], {"activation": "layer_norm"}, 0),
    "not canonical": ([9, 6, 3], {"output": "softmax", "loss": "quadratic"}, [0.0, 1.0, 0.0]),
    "scale": ([6, fastbp.layers.Scale(), 8, 1], {"output": "identity", "loss": "huber(0.3)"}, 2.0),
    "wide": ([70, 200, 1], {"output": "identity", "loss": "mse", "activation": "maxout(3)"}, 0.5),
    "no hidden layer": ([1, 1], {"output": "identity", "loss": "mse"}, 0.5),
    "gaussian": ([4, 5, 2], {"output": "identity", "loss": "gaussian_nll"}, 0.5),
}
rng = np.random.default_rng(0)


def network(kind, dtype="float32", **options):
    sizes, own, _ = KINDS[kind]
    return fastbp.Network(sizes, dtype=dtype, seed=1, **own, **options)


def a_row(net):
    return rng.standard_normal(net.sizes[0]).astype(net.dtype)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_is_that_of_fit(kind, dtype, level):
    """Its bits too: of one sample there is one order of the sums."""
    net, y = network(kind, dtype), KINDS[kind][2]
    single = copy.deepcopy(net)
    for step in range(7):
        x = a_row(net)
        loss = net.learn_one(x, y, 1e-3)
        history = single.fit(x[None], [y], epochs=1, optimizer=fastbp.SGD(1e-3))
        assert loss == history["loss"][0], step
        assert_array_equal(net.parameters, single.parameters)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_prediction_is_that_of_predict(kind, dtype, level):
    net = network(kind, dtype)
    x = a_row(net)
    for row in (x, x.astype("float64"), x.tolist(), np.repeat(x, 2)[::2]):
        found = net.predict_one(row)
        assert found.shape == (net.sizes[-1],) and found.dtype == net.dtype
        assert_array_equal(found, net.predict(x[None])[0])


@pytest.mark.parametrize(
    ("kind", "same"),
    [
        ("classes", [2, np.int64(2), np.array(2), [0, 0, 1], np.array([0.0, 0, 1])]),
        ("one number", [0.3, np.float32(0.3), [0.3], np.array([0.3]), np.array(0.3)]),
        ("signs", [-1, -1.0, [-1], np.int8(-1)]),
        ("shares", [[0, 1, 0.5, 1], np.array([0, 1, 0.5, 1], "float32"), (0, 1, 0.5, 1)]),
    ],
)
def test_a_target_may_be_given_in_several_ways(kind, same):
    x, found = a_row(network(kind)), []
    for y in same:
        net = network(kind)
        loss = net.learn_one(x, y)
        found.append((loss, net.parameters.tobytes()))
    assert len(set(found)) == 1


@pytest.mark.parametrize("kind", ["one number", "classes"])
def test_elements_of_arrays_take_the_short_way(kind):
    """As `for x, y in zip(X, Y)` has them: nothing is converted by NumPy."""
    net = network(kind)
    x = a_row(net)
    for y in (1, np.int64(1), np.int8(1), *([] if kind == "classes" else
              [True, np.True_, 1.0, np.float32(1), np.float64(1), 2**53, -(2**53)])):  # fmt: skip
        assert net._learner.learn(x, y, 0.0) is not None, y
        assert net._learner.learn(x, y, np.float64(0.0)) is not None, y
        assert net.learn_one(x, y, 0.0) == net.learn_one(x, np.asarray(float(y)), 0.0)


class NoArray:
    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("it needs a gradient")


REFUSED = {
    "x of another length": ((np.ones(4, "f4"), 0.3), r"x: expected shape \(5,\); got shape \(4,\)"),
    "x a matrix": ((np.ones((1, 5), "f4"), 0.3), r"x: expected shape \(5,\)"),
    "x with NaN": (([0, 0, np.nan, 0, 0], 0.3), "x: .*"),
    "x of names": ((["a"] * 5, 0.3), "x: .*"),
    "y of another length": ((np.ones(5, "f4"), [1.0, 2.0]), "y: expected"),
    "y a matrix": ((np.ones(5, "f4"), [[1.0]]), "y: expected one sample's"),
    "y NaN": ((np.ones(5, "f4"), float("nan")), "y: expected finite"),
    "y a name": ((np.ones(5, "f4"), "cat"), "y: expected"),
    "y None": ((np.ones(5, "f4"), None), "y: expected"),
    "y ragged": ((np.ones(5, "f4"), [[1], [1, 2]]), "y: expected a rectangular"),
    "y no array": ((np.ones(5, "f4"), NoArray()), "y: expected numbers; got NoArray"),
    "y too large": ((np.ones(5, "f4"), 10**400), "y: expected numbers of ordinary size"),
    "y empty": ((np.ones(5, "f4"), []), r"y: expected one sample's, shape \(\) or \(1,\); got"),
    "a rate below 0": ((np.ones(5, "f4"), 0.3, -0.1), "learning_rate: expected a finite"),
    "a rate NaN": ((np.ones(5, "f4"), 0.3, float("nan")), "learning_rate: expected a finite"),
    "a rate of text": ((np.ones(5, "f4"), 0.3, "fast"), "learning_rate: expected a number"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_changes_nothing(name):
    arguments, message = REFUSED[name]
    net = network("one number")
    before = net.parameters.copy()
    with pytest.raises((TypeError, ValueError), match=message):
        net.learn_one(*arguments)
    assert_array_equal(net.parameters, before)


@pytest.mark.parametrize(
    ("kind", "y"),
    [
        ("classes", 3),
        ("classes", -1),
        ("signs", 0.5),
        ("shares", [0, 1, 2, 0]),
        ("counts", [-1, 0]),
    ],
)
def test_targets_that_the_loss_does_not_take(kind, y):
    net = network(kind)
    for given in (y, np.asarray(y, net.dtype) if isinstance(y, list) else y):
        with pytest.raises(ValueError, match="y: "):
            net.learn_one(a_row(net), given)


@pytest.mark.parametrize("kind", ["one number", "classes", "scale"])
def test_a_step_that_overflows_is_not_made(kind):
    sizes, options, y = KINDS[kind]
    net = fastbp.Network(sizes, **options | {"activation": "identity"})
    before = net.parameters.copy()
    for x, rate in ((np.full(net.sizes[0], 3e38, "f4"), 0.1), (a_row(net), 1e38)):
        with pytest.raises(ArithmeticError, match="learn_one: the loss or a step"):
            net.learn_one(x, y, rate)
        assert_array_equal(net.parameters, before)
    net.parameters[3] = np.nan
    with pytest.raises(ValueError, match="parameters: "):
        net.learn_one(a_row(net), y)


@pytest.mark.parametrize("l", [0, 1])
def test_a_row_of_the_parameters_is_read_as_it_was(l, level):
    net = fastbp.Network([4, 4, 4, 1], output="identity", loss="mse")
    apart = copy.deepcopy(net)
    for _ in range(5):
        for x in range(4):
            loss = net.learn_one(net.weights[l][x], 1.0, 0.1)
            assert loss == apart.learn_one(apart.weights[l][x].copy(), 1.0, 0.1)
            assert_array_equal(net.parameters, apart.parameters)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("activation", ["sigmoid", "relu", "tanh", "maxout", "softmax", "exp"])
def test_no_activation_hides_a_parameter_that_is_not_finite(activation, value):
    net = fastbp.Network([3, 8, 8, 1], activation=activation, output="identity", loss="mse")
    net.parameters[0] = value
    before = net.parameters.copy()
    for call in (
        net.learn_one,
        lambda x, y: net.predict_one(x),
        fastbp.OnlineTrainer(net).learn_one,
    ):
        with pytest.raises(ValueError, match=r"parameters: expected finite numbers; .* at \[0\]"):
            call(np.ones(3, "f4"), 1.0)
    assert_array_equal(net.parameters, before)


def test_what_is_written_and_what_is_copied_goes_its_own_way():
    net, x = network("one number"), np.ones(5, "f4")
    net.learn_one(x, 1.0)
    net.parameters[...] = 0.0
    assert net.learn_one(x, 1.0, 0.0) == 1.0
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        before = net.parameters.copy()
        assert twin.learn_one(x, 1.0, 0.5) == 1.0
        assert_array_equal(net.parameters, before)
        assert not np.array_equal(twin.parameters, before)
    net.predict_one(x)
    assert_array_equal(net.learn_one(x, 1.0, 0), 1.0)


def test_columns_of_a_frames_row_are_found_by_name():
    """As `predict` finds the frame's: a loop over its rows gives the same."""
    pandas = pytest.importorskip("pandas")
    net = network("one number")
    net.metadata["columns"] = list("abcde")
    frame = pandas.DataFrame(rng.standard_normal((4, 5)), columns=list("ecabd"))
    frame["more"] = 1.0
    rows = [net.predict_one(row) for _, row in frame.iterrows()]
    assert_array_equal(rows, net.predict(frame))
    twin = copy.deepcopy(net)
    net.learn_one(frame.iloc[0], 0.5)
    twin.learn_one(frame[list("abcde")].iloc[0].to_numpy(), 0.5)
    assert_array_equal(net.parameters, twin.parameters)
    x = pandas.Series(np.arange(5.0))  # no names: by place
    assert_array_equal(net.predict_one(x), net.predict_one(x.tolist()))
    with pytest.raises(ValueError, match=r"x: expected the columns that .* none named 'c'"):
        net.predict_one(frame.iloc[0].drop("c"))
