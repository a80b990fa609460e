"""Names of activations and losses: what is read from them, and what a wrong one is told."""

import numpy as np
import pytest

import fastbp
from fastbp import functions, hints, reference
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
        (functions.activation, "relu)", "'relu)', whose bracket is closed without an opening one"),
        (functions.activation, "elu(1)(2)", "a number in the brackets of 'elu'; got '1)(2'"),
        (functions.loss, "huber(1.5", "'huber(1.5', whose bracket is not closed"),
        (functions.loss, "huber(np.float64(1.5))", "got 'np.float64(1.5)'; of a NumPy number x, "),
        (functions.loss, "huber(numpy.float32(1.5))", "float(x): 'huber(1.5)'"),
        (functions.loss, "huber(1,5)", "a number in the brackets of 'huber'; got '1,5'"),
        (functions.loss, "nonsense(1.5", "expected one of quadratic"),
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


@pytest.mark.parametrize(
    ("argument", "name", "meant"),
    [
        ("activation", "swish", "'silu'"),
        ("activation", "linear", "'identity'"),
        ("activation", "logistic", "'sigmoid'"),
        ("activation", "torch.nn.LeakyReLU", "'leaky_relu'"),
        ("activation", "layer_normalization", "'layer_norm'"),
        ("activation", "ReLU6", None),  # nothing here does the same
        ("activation", "softmin", None),
        ("loss", "categorical_crossentropy", "'cross_entropy'"),
        ("loss", "mean_squared_error", "'mse'"),
        ("loss", "squared_error", "'mse'"),
        ("loss", "bce", "'binary_cross_entropy'"),
        ("loss", "BCEWithLogitsLoss", "'binary_cross_entropy'"),
        ("loss", "nn.L1Loss()", "'mae'"),
        ("loss", "SmoothL1Loss", "'huber'"),
        ("loss", "KLDivLoss", "'kl'"),
        ("loss", "softmax_cross_entropy_with_integer_labels", "'cross_entropy'"),
        ("loss", "focal", None),
        ("init", "xavier_normal_", "'glorot_normal'"),
        ("init", "kaiming_uniform", "'he_uniform'"),
        ("init", "orthogonal", None),
        ("metrics", "acc", "'accuracy'"),
        ("metrics", "r2_score", "'r2'"),
        ("metrics", "neg_root_mean_squared_error", "'rmse'"),
        ("metrics", "f1", None),
        ("optimizer", "adam_w", "'adamw'"),
        ("optimizer", "L-BFGS-B", "'lbfgs'"),
        ("optimizer", "momentum", "SGD(momentum=0.9)"),
        ("optimizer", "Nadam", None),
    ],
)
def test_hints_know_the_names_of_others(argument, name, meant):
    net = fastbp.Network([2, 2])
    ask = {
        "activation": lambda: functions.activation(name),
        "loss": lambda: functions.loss(name),
        "init": lambda: fastbp.Network([2, 2], init=name),
        "metrics": lambda: net.fit(np.eye(2), [0, 1], validation=0.5, metrics=[name]),
        "optimizer": lambda: net.fit(np.eye(2), [0, 1], optimizer=name),
    }[argument]
    with pytest.raises(ValueError) as caught:
        ask()
    assert str(caught.value).startswith(f"{argument}: expected one of ")
    found = str(caught.value).partition("Did you mean ")[2].removesuffix("?")
    assert found == (meant or "")


def test_every_hint_leads_to_a_name_that_is_known():
    from fastbp import initialization, metrics, training

    known = {*functions.ACTIVATIONS, *functions.LOSSES, *initialization.SCHEMES, *metrics.METRICS}
    known |= set(training.request.BY_NAME)
    for alias, names in hints._ALIASES.items():
        assert alias == hints._squeezed(alias), alias
        for name in names:
            assert name in known or fastbp.SGD(momentum=0.9) == eval(f"fastbp.{name}") or alias
        # what is known by itself needs no other name
        assert alias not in {hints._squeezed(name) for name in known}, alias


@pytest.mark.parametrize("name", ["softmax", "softmax(0.5)", "log_softmax", "layer_norm"])
def test_one_unit_alone_is_refused_where_it_is_constant(name):
    kind = name.partition("(")[0]
    with pytest.raises(ValueError, match=f"^output: .*2 units in a layer of '{kind}'; got 1,.*sig"):
        fastbp.Network([4, 5, 1], output=name, loss="quadratic")
    with pytest.raises(ValueError, match=f"^activation: .*2 units in a layer of '{kind}'; got 1,"):
        fastbp.Network([4, 5, 1, 3], activation=["tanh", name])
    fastbp.Network([4, 1, 2], activation="sigmoid", output=name, loss="quadratic")


@pytest.mark.parametrize("name", ["glu", "maxout", "maxout(3)", "identity", "sigmoid"])
def test_one_unit_of_several_z_is_not_constant(name):
    net = fastbp.Network([4, 1, 1], activation=name, output=name, loss="quadratic", init="large")
    assert np.ptp(net.predict(np.random.default_rng(0).normal(size=(20, 4)))) > 1e-3


@pytest.mark.parametrize("output", ["sigmoid", "softplus", "exp"])
@pytest.mark.parametrize("loss", ["cross_entropy", "kl"])
def test_one_output_needs_a_cost_for_both_classes(output, loss):
    with pytest.raises(ValueError, match=f"^loss: '{loss}' .*got 1 output.*binary_cross_entropy"):
        fastbp.Network([4, 1], output=output, loss=loss)
    fastbp.Network([4, 2], output=output, loss=loss)


def test_names_print_as_they_are_written():
    assert functions.activation("maxout(3)").name == "maxout(3)"
    assert functions.activation("leaky_relu(0.02)").name == "leaky_relu(0.02)"
    assert functions.activation("elu(1)").name == "elu"


def test_the_nearest_name_may_be_a_beginning():
    with pytest.raises(ValueError, match=r"Did you mean 'he_uniform'\?"):
        fastbp.Network([2, 1], output="identity", loss="mse", init="he")
