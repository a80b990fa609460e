"""Networks out of Keras."""

import os

import numpy as np
import pytest

from fastbp.exchange import from_keras

os.environ.setdefault("KERAS_BACKEND", "torch")
pytest.importorskip("torch")
keras = pytest.importorskip("keras")
L = keras.layers
ACTIVATIONS = (
    "linear sigmoid tanh relu leaky_relu elu selu gelu silu swish mish softplus softsign "
    "hard_tanh exponential softmax log_softmax"
).split()
X = np.random.default_rng(0).standard_normal((20, 5)).astype("float32")
pytestmark = pytest.mark.filterwarnings("ignore")


def check(model, **more):
    net = from_keras(model, **more)
    wanted = np.asarray(model.predict(X, verbose=0))
    np.testing.assert_allclose(net.predict(X), wanted, rtol=1e-4, atol=1e-5 * np.abs(wanted).max())
    mine = [tensor.ravel() for tensor in net.tensors.values() if tensor.any()]
    theirs = [np.asarray(w).ravel() for w in model.get_weights() if np.asarray(w).any()]
    assert np.array_equal(np.concatenate(mine), np.concatenate(theirs))
    return net


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    model = keras.Sequential([keras.Input((5,)), L.Dense(7, name), L.Dropout(0.2),
                              L.Dense(4, use_bias=False), L.Activation(name)])  # fmt: skip
    check(model)


def test_layers_that_are_activations_and_functional_models():
    given = keras.Input((5,))
    h = L.LeakyReLU(negative_slope=0.3)(L.Dense(4)(given))
    h = L.ELU(alpha=0.5)(L.Dense(4)(L.GaussianNoise(0.1)(h)))
    h = L.Dense(3, L.ReLU())(h)
    model = keras.Model(given, L.Softmax()(L.Dense(2)(h)))
    net = check(model, loss="cross_entropy")
    assert net.architecture["activation"] == ["leaky_relu(0.3)", "elu(0.5)", "relu"]
    assert (net.architecture["output"], net.architecture["loss"]) == ("softmax", "cross_entropy")
    check(keras.Sequential([keras.Input((5,)), model, L.Dense(1)]))


def test_float64():
    model = keras.Sequential([keras.Input((5,), dtype="float64"), L.Dense(3, dtype="float64")])
    assert from_keras(model).dtype == np.float64


def branches():
    given = keras.Input((5,))
    return keras.Model(given, L.Add()([L.Dense(2)(given), L.Dense(2)(given)]))


def two_outputs():
    given = keras.Input((5,))
    return keras.Model(given, [L.Dense(2)(given), L.Dense(2)(given)])


def stack(*layers):
    return keras.Sequential([keras.Input((5,)), *layers])


def tanh(x):
    return 1.7159 * keras.ops.tanh(2 * x / 3)


class ReLU(L.Layer):
    max_value, threshold, negative_slope = None, 0, 0.0

    def call(self, x):
        return 2 * x


class Dropout(L.Layer):
    def call(self, x):
        return 2 * x


class Twice(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return 2 * super().call(x)


REFUSED = [
    (lambda: stack(L.Dense(3, tanh)), r"got .*\.tanh"),
    (lambda: stack(L.Dense(3, keras.ops.gelu)), r"keras\..*gelu"),
    (lambda: stack(L.Dense(3), ReLU()), r"got .*\.ReLU"),
    (lambda: stack(L.Dense(3), Dropout()), r"got .*\.Dropout"),
    (lambda: stack(L.Dense(3, ReLU())), "an activation of keras"),
    (lambda: Twice([keras.Input((5,)), L.Dense(3)]), "Twice with its call"),
    (lambda: keras.Sequential([keras.Input((2, 5)), L.Dense(3), L.Softmax(axis=1)]), "outputs"),
    (lambda: stack(L.Dense(3), L.ELU(0.0)), r"\(ELU\): the parameter of 'elu'"),
    (lambda: stack(L.Flatten(data_format="channels_first"), L.Dense(3)), "Flatten as fastbp"),
    (branches, "one chain of layers"),
    (two_outputs, "one chain of layers"),
    (lambda: stack(L.Dense(3), L.BatchNormalization()), "BatchNormalization"),
    (lambda: stack(L.Dense(3, "relu6")), "relu6"),
    (lambda: stack(L.Dense(3, lambda x: 2 * x)), "lambda"),
    (lambda: stack(L.Dense(3), L.ReLU(max_value=6)), "ReLU as fastbp has it"),
    (lambda: stack(L.Normalization()), "Normalization"),
    (lambda: stack(L.Dense(3, "relu"), L.Activation("tanh")), "'relu' and 'tanh'"),
    (lambda: keras.Sequential([L.Dense(3)]), "a model that is built"),
    (lambda: stack(L.Dense(3, dtype="mixed_float16")), "float16"),
]


@pytest.mark.parametrize(("made", "told"), REFUSED)
def test_from_keras_names_what_it_does_not_know(made, told):
    with pytest.raises(ValueError, match=told):
        from_keras(made())


def test_what_is_left_to_the_loss():
    """from_logits=True."""
    model = keras.Sequential([keras.Input((5,)), L.Dense(3)])
    net = from_keras(model, "cross_entropy", output="softmax")
    assert net.architecture["output"] == "softmax"
    assert np.array_equal(net.weights[-1], model.get_weights()[0])
    with pytest.raises(ValueError, match=r"loss: .* output='softmax'"):
        from_keras(model, "cross_entropy")


def test_refusals():
    for nonsense in (3, None, "model", L.Dense(2)):
        with pytest.raises(TypeError, match=r"model: expected a keras\.Model"):
            from_keras(nonsense)
