"""`fastbp.layers`: how layers are written, what a network of them is called and made of.

What belongs here: vocabulary, names of tensors, refusals. What does not: values against the oracle
(test_network.py, training/test_training.py, test_dropout.py), laws (promises/test_properties.py),
files (files/test_persistence.py), checks of gradients (check/test_check.py).
"""

import copy
import json
import pickle

import numpy as np
import pytest

import fastbp
from fastbp import reference
from fastbp.layers import Dense, Scale

X = np.random.default_rng(0).standard_normal((12, 8)).astype("float32")
Y = X[:, :1]


def regression(*layers, **options):
    return fastbp.Network(
        [8, *layers, 1], **{"output": "identity", "loss": "mse", "seed": 3} | options
    )


def test_layers_are_facts():
    assert Dense(3) == Dense(3, None) and Dense(3) != Dense(3, "relu") and Scale() == Scale()
    assert len({Dense(3), Dense(3), Scale(), Scale()}) == 2
    with pytest.raises(AttributeError):
        Dense(3).n = 4
    assert pickle.loads(pickle.dumps([Dense(3, "relu"), Scale()])) == [Dense(3, "relu"), Scale()]


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: Dense(0), ValueError, "Dense.n: expected a whole number >= 1; got 0"),
        (lambda: Dense(2.0), TypeError, "Dense.n: expected a whole number >= 1; got 2.0"),
        (lambda: Dense(True), TypeError, "Dense.n: expected a whole number"),
        (lambda: Dense(2, "rulu"), ValueError, "Dense.activation: .*relu"),
        (lambda: Dense(2, 5), (TypeError, ValueError), "Dense.activation: "),
        (lambda: Scale(3), TypeError, "argument"),
        (lambda: fastbp.Network([Scale(), 3]), TypeError, r"sizes\[0\]: .*got Scale\(\)"),
        (lambda: fastbp.Network([Dense(3), 3]), TypeError, r"sizes\[0\]: .*got Dense\(n=3"),
        (lambda: fastbp.Network(["scale", 3]), TypeError, r"sizes\[0\]: .*got 'scale'"),
        (lambda: fastbp.Network([3, Scale()]), ValueError, r"dense layer last; got Scale\(\)"),
        (lambda: fastbp.Network([3, 2, "scale"]), ValueError, r"dense layer last; got Scale\(\)"),
        (lambda: fastbp.Network([3, Scale, 2]), TypeError, r"sizes\[1\]: expected a whole number"),
        (lambda: fastbp.Network([3, "dense", 2]), TypeError, r"sizes\[1\]: .*got 'dense'"),
        (lambda: regression(Scale(), activation=["tanh"]), ValueError, "each of the 0 hidden"),
        (
            lambda: fastbp.Network([3, Dense(2, "tanh")], output="softmax", loss="mse"),
            ValueError,
            "output: expected 'tanh', which the last layer names, or none; got 'softmax'",
        ),
        (lambda: fastbp.Network([3, Dense(2, "relu")]), ValueError, "cross_entropy"),
        (lambda: fastbp.Network([3, Dense(1, "softmax"), 2]), ValueError, "activation: "),
        (
            lambda: regression(Dense(2, "leaky_relu(1e300)")),
            ValueError,
            "activation: .*float32",
        ),
    ],
)  # fmt: skip
def test_what_is_refused(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_numbers_are_short_for_dense():
    short, long = regression(5), regression(Dense(5))
    assert short.layers == long.layers == (Dense(5, "sigmoid"), Dense(1, "identity"))
    assert short.architecture == long.architecture
    assert short.parameters.tobytes() == long.parameters.tobytes()


def test_whose_activation():
    net = fastbp.Network(
        [8, Dense(5, "relu"), 4, Dense(3), Dense(1, "tanh")], activation="gelu", loss="mse"
    )
    assert [layer.activation for layer in net.layers] == ["relu", "gelu", "gelu", "tanh"]
    assert net.architecture["activation"] == ["relu", "gelu", "gelu"]
    assert net.architecture["output"] == "tanh"
    each = fastbp.Network([8, Dense(5, "relu"), Scale(), 4, 2], activation=["elu", "selu"])
    assert each.architecture["activation"] == ["relu", "selu"]
    same = fastbp.Network([8, Dense(3, "softmax")], output="softmax(1)")  # the same, said twice
    assert same.architecture["output"] == "softmax"


def test_tensors_are_numbered_by_link():
    net = regression(Scale(), Scale(), 5, Scale())
    assert [(k, v.shape) for k, v in net.tensors.items()] == [
        ("s1", (8,)), ("s2", (8,)), ("W3", (8, 5)), ("b3", (5,)), ("s4", (5,)), ("W5", (5, 1)),
        ("b5", (1,)),
    ]  # fmt: skip
    assert net.sizes == [8, 5, 1] and len(net.weights) == len(net.biases) == 2
    assert net.layers == (Scale(), Scale(), Dense(5, "sigmoid"), Scale(), Dense(1, "identity"))
    zs, activations = net.feedforward(X)
    deltas = net.deltas(X, Y)
    assert [z.shape[1] for z in zs] == [d.shape[1] for d in deltas] == [8, 8, 5, 5, 1]
    assert [a.shape[1] for a in activations] == [8, 8, 8, 5, 5, 1]


@pytest.mark.parametrize("init", ["scaled", "large", "zeros", "he_normal", "glorot_uniform"])
def test_scales_begin_at_1_and_change_no_draw(init):
    plain, scaled = regression(5, init=init), regression(Scale(), 5, Scale(), init=init)
    assert (scaled.tensors["s1"] == 1).all() and (scaled.tensors["s3"] == 1).all()
    for one, other in zip(
        plain.weights + plain.biases, scaled.weights + scaled.biases, strict=True
    ):
        assert one.tobytes() == other.tobytes()
    assert plain.predict(X).tobytes() == scaled.predict(X).tobytes()


def test_the_architecture_makes_the_same_network():
    net = fastbp.Network([8, Scale(), Dense(5, "glu"), Scale(), 3], dtype="float64")
    about = json.loads(json.dumps(net.architecture))
    twin = fastbp.Network(**about)
    assert about["sizes"] == [8, "scale", 5, "scale", 3]
    assert twin.layers == net.layers and twin.architecture == net.architecture
    twin.parameters = net.parameters
    assert twin.predict(X).tobytes() == net.predict(X).tobytes()
    for other in (copy.copy(net), copy.deepcopy(net), net.copy(), pickle.loads(pickle.dumps(net))):
        assert other.layers == net.layers and repr(other) == repr(net)
        assert other.predict(X).tobytes() == net.predict(X).tobytes()
        assert not np.shares_memory(other.parameters, net.parameters)


def test_what_is_shown():
    net = regression(Scale(), 5)
    assert repr(net) == (
        "Network([8, Scale(), 5, 1], activation='sigmoid', output='identity', loss='mse', "
        "dtype='float32': 59 parameters)"
    )
    html = net._repr_html_()
    assert "<td>1</td><td>8 → 8</td><td>scale</td><td>8</td>" in html
    assert "<td>2</td><td>8 → 5</td><td>sigmoid</td><td>45</td>" in html


def test_penalties_and_decay_leave_scales_alone():
    net = regression(Scale(), 5, dtype="float64")
    plain, penalised = net.gradient(X, Y), net.gradient(X, Y, l2=3.0, l1=2.0)
    assert np.array_equal(plain[:8], penalised[:8])
    assert (plain != penalised)[8:48].all()  # W2
    for optimizer in (fastbp.AdamW(0.0, weight_decay=0.9), fastbp.Lion(0.0, weight_decay=0.9)):
        net.fit(X, Y, epochs=1, optimizer=optimizer)
        assert (net.tensors["s1"] == 1).all()


def test_an_overflow_names_the_scale():
    net = regression(Scale())
    big = X.copy()
    big[:, 5] = 1e15
    net.tensors["s1"][:] = 1e-7
    with pytest.raises(fastbp.DivergenceError, match=r"s1\[5\] \(feature X\[:, 5\]\)"):
        net.fit(big, Y, epochs=3, optimizer=fastbp.Adam(1e-3))


def test_delta_norms_have_a_column_a_layer():
    net = regression(Scale(), 5)
    norms = fastbp.callbacks.DeltaNorms(X, Y)
    norms.record(net)
    assert norms.norms.shape == (1, 3)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_a_run_goes_on_from_its_checkpoint(threads, tmp_path):
    options = {"batch_size": 5, "optimizer": fastbp.Adam(0.01), "seed": 2, "dropout": 0.3}
    whole = regression(Scale(), 70, Scale())
    whole.fit(X, Y, epochs=4, **options)
    net = regression(Scale(), 70, Scale())
    net.fit(X, Y, epochs=2, checkpoint=tmp_path / "run", **options)
    again = regression(Scale(), 70, Scale())
    again.fit(X, Y, epochs=4, checkpoint=tmp_path / "run", threads=threads, **options)
    assert again.parameters.tobytes() == whole.parameters.tobytes()
    other = regression(70, Scale())
    with pytest.raises(ValueError, match="checkpoint: "):
        other.fit(X, Y, epochs=4, checkpoint=tmp_path / "run", **options)


def test_lbfgs_learns_scales():
    net = regression(Scale(), dtype="float64", init="zeros")
    net.weights[0][...] = 1
    before = net.loss(X, Y)
    net.fit(X, Y, epochs=20, optimizer=fastbp.LBFGS())
    assert net.loss(X, Y) < 0.01 * before and (net.tensors["s1"] != 1).all()


def test_a_scale_learns_which_columns_count():
    """Of 8 columns one says everything: its scale grows, the others' do not."""
    net = regression(Scale(), 16, activation="tanh", seed=0)
    net.fit(X, Y, epochs=400, optimizer=fastbp.Adam(0.02), seed=0)
    s = np.abs(net.tensors["s1"])
    assert s[0] == s.max() and s[0] > 1.2


def test_the_oracle_knows_the_same_layers():
    """By the chain rule written out."""
    s, W, b = np.array([2.0, -1.0]), np.array([[3.0], [5.0]]), np.array([0.5])
    net = reference.Network([2, "scale", 1], (), "identity", "quadratic", [2, -1, 3, 5, 0.5])
    x, y = np.array([0.3, 0.7]), 1.0
    a = float(x * s @ W[:, 0] + b[0])
    assert net.predict([x])[0, 0] == pytest.approx(a)
    delta = a - y
    expected = [*(delta * W[:, 0] * x), *(delta * x * s), delta]
    np.testing.assert_allclose(net.gradient([x], [[y]]), expected)
    np.testing.assert_allclose(net.input_gradient([x], [[y]])[0], delta * W[:, 0] * s)
    np.testing.assert_allclose(net.jacobian([x])[0], [W[:, 0] * s])
    assert net.is_weight.tolist() == [False, False, True, True, False]
