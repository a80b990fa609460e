"""Names of activations and losses: what is read from them, and what a wrong one is told."""

import pytest

import fastbp
from fastbp import functions, reference
from fastbp.kernels import dispatch
from fastbp.kernels.dispatch import available_levels, load


def test_the_oracle_and_every_engine_know_the_same_names():
    activations, losses = set(functions.ACTIVATIONS), set(functions.LOSSES)
    assert activations == set(reference.ELEMENTWISE) | set(reference.COUPLED)
    assert losses == set(reference.COSTS)
    assert functions.CANONICAL == reference.CANONICAL
    for level in available_levels():
        assert set(load(level).f32.SIGMA_ROWS) == activations
        assert set(load(level).f32.COST_ROWS) == losses
        assert set(load(level).f32.CANONICAL_ROWS) == set(functions.CANONICAL)


def test_defaults_are_the_oracles():
    for name, default in (reference.ELEMENTWISE | reference.COUPLED).items():
        assert functions.activation(name).parameter == (default or 0.0)
    for name, default in reference.COSTS.items():
        assert functions.loss(name).parameter == (default or 0.0)


@pytest.mark.parametrize(
    ("text", "kind", "parameter", "name"),
    [
        ("relu", "relu", 0.0, "relu"),
        ("leaky_relu", "leaky_relu", 0.01, "leaky_relu"),
        ("leaky_relu(0.02)", "leaky_relu", 0.02, "leaky_relu(0.02)"),
        ("leaky_relu(-0.5)", "leaky_relu", -0.5, "leaky_relu(-0.5)"),
        ("leaky_relu(0.01)", "leaky_relu", 0.01, "leaky_relu"),
        (" elu ( 5e-1 ) ", "elu", 0.5, "elu(0.5)"),
        ("softmax(1)", "softmax", 1.0, "softmax"),
        ("maxout(3)", "maxout", 3.0, "maxout(3)"),
        ("maxout", "maxout", 2, "maxout"),
        ("layer_norm(-2)", "layer_norm", -2.0, "layer_norm(-2)"),
    ],
)
def test_activation_is_read(text, kind, parameter, name):
    f = functions.activation(text)
    assert (f.kind, f.parameter, f.name, str(f)) == (kind, parameter, name, name)
    assert functions.activation(f.name) == f  # a model file holds this name


@pytest.mark.parametrize(
    ("text", "parameter", "name"),
    [
        ("huber", 1.0, "huber"),
        ("huber(0.4)", 0.4, "huber(0.4)"),
        ("pinball(0.9)", 0.9, "pinball(0.9)"),
        ("pinball(0.1234567890123456)", 0.1234567890123456, "pinball(0.1234567890123456)"),
    ],
)
def test_loss_is_read(text, parameter, name):
    loss = functions.loss(text)
    assert (loss.parameter, loss.name, str(loss)) == (parameter, name, name)
    assert functions.loss(loss.name) == loss


def test_width_of_z():
    assert functions.activation("glu").z_per_a == 2
    assert functions.activation("maxout(5)").z_per_a == 5
    for name in set(functions.ACTIVATIONS) - {"glu", "maxout"}:
        assert functions.activation(name).z_per_a == 1
    for name in (*functions.ACTIVATIONS, "maxout(3)"):
        net = fastbp.Network([2, 4], output=name, loss="quadratic")
        assert net.weights[0].shape == (2, reference.activation_width(name, 4))


@pytest.mark.parametrize(
    ("read", "text", "says"),
    [
        (functions.activation, "sigmiod", "Did you mean 'sigmoid'?"),
        (functions.activation, "ReLU", "Did you mean 'relu'?"),
        (functions.activation, "leakyrelu(0.1)", "Did you mean 'leaky_relu'?"),
        (functions.activation, "qqqq", "expected one of identity, sigmoid, tanh"),
        (functions.activation, "", "expected one of identity"),
        (functions.activation, "relu)", "expected one of identity"),
        (functions.activation, "elu(1)(2)", "expected one of identity"),
        (functions.activation, "relu(1)", "'relu' has no parameter; got relu(1)"),
        (functions.activation, "elu(zero)", "expected a number in the brackets of 'elu'"),
        (functions.activation, "elu()", "expected a number in the brackets of 'elu'"),
        (functions.activation, "elu(0)", "the parameter of 'elu' must be a finite number above 0"),
        (functions.activation, "elu(nan)", "must be a finite number above 0; got nan"),
        (functions.activation, "leaky_relu(inf)", "must be a finite number; got inf"),
        (functions.activation, "softmax(-1)", "must be a finite number above 0; got -1"),
        (functions.activation, "layer_norm(0)", "must be a finite number other than 0; got 0"),
        (functions.activation, "maxout(0)", "must be a whole number from 1 to 1024; got 0"),
        (functions.activation, "maxout(2.5)", "must be a whole number from 1 to 1024; got 2.5"),
        (functions.activation, "maxout(inf)", "must be a whole number from 1 to 1024; got inf"),
        (functions.loss, "crossentropy", "Did you mean 'cross_entropy'?"),
        (functions.loss, "l2", "expected one of quadratic, mse, mae"),
        (functions.loss, "mae(2)", "'mae' has no parameter; got mae(2)"),
        (functions.loss, "huber(-1)", "the parameter of 'huber' must be a finite number above 0"),
        (functions.loss, "pinball(1)", "must be a number in (0, 1); got 1"),
        (functions.loss, "pinball(0)", "must be a number in (0, 1); got 0"),
    ],
)
def test_wrong_name(read, text, says):
    with pytest.raises(ValueError) as caught:
        read(text)
    message = str(caught.value)
    assert message.startswith("loss: " if read is functions.loss else "activation: ")
    assert says in message


@pytest.mark.parametrize("text", [None, 3, b"relu", ["relu"]])
def test_a_name_is_text(text):
    for read in (functions.activation, functions.loss):
        with pytest.raises(TypeError, match="expected a name"):
            read(text)


def test_the_argument_is_named():
    with pytest.raises(ValueError, match=r"^output: .* got 'softmx'. Did you mean 'softmax'"):
        fastbp.Network([2, 2], output="softmx")
    with pytest.raises(ValueError, match=r"^activation: .*'sigmodi'"):
        fastbp.Network([2, 2], activation="sigmodi")  # even where no hidden layer uses it
    with pytest.raises(ValueError, match=r"^activation: .* the 2 hidden layers; got \['tanh'\]"):
        fastbp.Network([2, 3, 3, 2], activation=["tanh"])
    with pytest.raises(ValueError, match=r"gaussian_nll' needs an even number of outputs.*got 3"):
        fastbp.Network([2, 3], output="identity", loss="gaussian_nll")


def test_every_admitted_pair_makes_a_network():
    assert dispatch.engine is not None
    for output in functions.ACTIVATIONS:
        for loss in functions.LOSSES:
            try:
                functions.check_pair(functions.activation(output), functions.loss(loss))
            except ValueError as error:
                known = str(error).partition("Outputs that fit: ")[2].split(", ")
                assert known and output not in known
                for other in known:
                    fastbp.Network([2, 2], output=other, loss=loss)
            else:
                fastbp.Network([2, 2], output=output, loss=loss)


@pytest.mark.parametrize("name", ["elu(1e300)", "leaky_relu(1e-300)"])
def test_parameters_must_fit_the_dtype(name):
    fastbp.Network([2, 3, 1], activation=name, output="identity", loss="mse", dtype="float64")
    with pytest.raises(ValueError, match=r"activation: .*float32 holds; got 1e[+-]300"):
        fastbp.Network([2, 3, 1], activation=name, output="identity", loss="mse", dtype="float32")


def test_names_print_as_they_are_written():
    assert functions.activation("maxout(3)").name == "maxout(3)"
    assert functions.activation("leaky_relu(0.02)").name == "leaky_relu(0.02)"
    assert functions.activation("elu(1)").name == "elu"


def test_the_nearest_name_may_be_a_beginning():
    with pytest.raises(ValueError, match=r"Did you mean 'he_uniform'\?"):
        fastbp.Network([2, 1], output="identity", loss="mse", init="he")
