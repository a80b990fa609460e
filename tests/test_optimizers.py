"""The names and numbers of optimizers: what is refused, and what the engine is told."""

import copy
import dataclasses
import inspect
import math
import pickle

import cases
import numpy as np
import pytest

import fastbp
from fastbp import SGD, Adam, AdamW
from fastbp.kernels.dispatch import available_levels, load
from fastbp.optimizers import OPTIMIZERS


def test_policies_are_the_engines():
    policies = {mine.policy for mine, _ in cases.OPTIMIZERS.values()}
    assert policies == set(cases.OPTIMIZERS)
    for level in available_levels():
        assert set(load(level).f32.POLICY_ROWS) == policies
    assert set(OPTIMIZERS) == {type(mine).__name__.lower() for mine, _ in cases.OPTIMIZERS.values()}


def test_numbers():
    assert SGD(3, momentum=0.5).numbers == {"learning_rate": 3.0, "momentum": 0.5, "nesterov": 0.0}
    assert AdamW(0.1, weight_decay=2).numbers == {
        "learning_rate": 0.1,
        "beta1": 0.9,
        "beta2": 0.999,
        "epsilon": 1e-8,
        "weight_decay": 2.0,
    }
    assert all(type(value) is float for value in Adam(np.float32(0.5), beta1=0).numbers.values())
    assert Adam().learning_rate == 1e-3 and SGD(1).momentum == 0  # the usual defaults


@pytest.mark.parametrize("bad", [-1e-9, math.nan, math.inf, -math.inf])
def test_learning_rate_out_of_range(bad):
    for kind in OPTIMIZERS.values():
        with pytest.raises(ValueError) as caught:
            kind(bad)
        assert str(caught.value) == (
            f"{kind.__name__}.learning_rate: expected a number >= 0; got {bad!r}"
        )


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: SGD(1, momentum=1.0), "SGD.momentum: expected a number in [0, 1); got 1.0"),
        (lambda: SGD(1, momentum=-0.1), "SGD.momentum: expected a number in [0, 1)"),
        (lambda: SGD(1, nesterov=True), "SGD.nesterov: expected momentum above 0"),
        (lambda: Adam(beta1=1), "Adam.beta1: expected a number in [0, 1)"),
        (lambda: Adam(beta2=1.5), "Adam.beta2: expected a number in [0, 1)"),
        (lambda: Adam(epsilon=0), "Adam.epsilon: expected a number >= 1e-30; got 0"),
        (lambda: AdamW(weight_decay=-1), "AdamW.weight_decay: expected a number >= 0; got -1"),
        (lambda: AdamW(weight_decay=math.nan), "AdamW.weight_decay"),
        (lambda: fastbp.AMSGrad(beta2=1), "AMSGrad.beta2: expected a number in [0, 1)"),
        (lambda: fastbp.RMSprop(alpha=1), "RMSprop.alpha: expected a number in [0, 1)"),
        (lambda: fastbp.RMSprop(epsilon=0), "RMSprop.epsilon: expected a number >= 1e-30"),
        (lambda: fastbp.RMSprop(momentum=1), "RMSprop.momentum: expected a number in [0, 1)"),
        (lambda: fastbp.Adagrad(lr_decay=-1), "Adagrad.lr_decay: expected a number >= 0"),
        (lambda: fastbp.Adagrad(epsilon=0), "Adagrad.epsilon: expected a number >= 1e-30"),
        (lambda: fastbp.Adagrad(initial_accumulator_value=-1), "Adagrad.initial_accumulator_value"),
        (lambda: fastbp.Adadelta(rho=1), "Adadelta.rho: expected a number in [0, 1)"),
        (lambda: fastbp.Adadelta(epsilon=0), "Adadelta.epsilon: expected a number >= 1e-30"),
        (lambda: fastbp.Lion(beta2=-1), "Lion.beta2: expected a number in [0, 1)"),
        (lambda: fastbp.Lion(weight_decay=-1), "Lion.weight_decay: expected a number >= 0"),
    ],
)
def test_number_out_of_range(make, says):
    with pytest.raises(ValueError) as caught:
        make()
    assert says in str(caught.value)


@pytest.mark.parametrize("bad", ["0.1", None, [0.1], 1j])
def test_not_a_number(bad):
    with pytest.raises(TypeError, match=r"^SGD.learning_rate: expected a number >= 0; got "):
        SGD(bad)
    with pytest.raises(TypeError, match=r"^Adam.beta1: "):
        Adam(beta1=bad)


def test_limits_are_accepted():
    assert SGD(0).learning_rate == 0
    assert SGD(1, momentum=math.nextafter(1, 0)).momentum < 1
    assert Adam(beta1=0, beta2=0, epsilon=1e-30).beta1 == 0
    assert AdamW(weight_decay=0).weight_decay == 0


@pytest.mark.parametrize("optimizer", [mine for mine, _ in cases.OPTIMIZERS.values()], ids=repr)
def test_frozen_equal_and_pickled(optimizer):
    with pytest.raises(dataclasses.FrozenInstanceError):
        optimizer.learning_rate = 1.0
    assert pickle.loads(pickle.dumps(optimizer)) == optimizer
    assert eval(repr(optimizer), vars(fastbp)) == optimizer
    assert dataclasses.replace(optimizer, learning_rate=2.0) != optimizer


@pytest.mark.parametrize(
    "optimizer",
    [
        Adam(epsilon=1e-30),
        fastbp.AMSGrad(epsilon=1e-30),
        fastbp.RMSprop(epsilon=1e-30),
        fastbp.RMSprop(epsilon=1e-30, momentum=0.5, centered=True),
        fastbp.Adagrad(epsilon=1e-30),
        fastbp.Adadelta(epsilon=1e-30),
        fastbp.Lion(),
    ],
    ids=repr,
)
def test_without_gradient_parameters_stay_where_they_are(level, optimizer):
    """0 / epsilon, not 0 / 0, in float32 too."""
    for dtype in ("float32", "float64"):
        net = fastbp.Network([2, 1], output="relu", loss="quadratic", dtype=dtype, init="zeros")
        net.fit([[1.0, 2.0]], [[1.0]], epochs=2, optimizer=optimizer)
        assert not net.parameters.any()


def test_a_variance_that_rounding_makes_negative_is_zero(level):
    """v - m^2 of a gradient that does not change is 0, but for rounding."""
    for dtype in ("float32", "float64"):
        net = fastbp.Network([3, 5], output="identity", loss="mae", dtype=dtype, seed=1)
        net.fit([[0.1, 0.3, 0.7]], np.full((1, 5), 1e9), epochs=300, batch_size=1,
                optimizer=fastbp.RMSprop(1e-9, alpha=0.3, epsilon=1e-6, centered=True))  # fmt: skip
        assert np.isfinite(net.parameters).all()


def test_initial_slots():
    assert fastbp.Adagrad(initial_accumulator_value=0.5).initial_slot == 0.5
    assert all(kind().initial_slot == 0 for kind in OPTIMIZERS.values())


@pytest.mark.parametrize("value", [True, np.True_, "0.1", None, np.array([0.1]), 1j])
def test_what_is_no_number_is_refused(value):
    with pytest.raises(TypeError, match=r"SGD.learning_rate: expected a number >= 0; got"):
        fastbp.SGD(value)
    assert fastbp.SGD(np.float32(0.5)).learning_rate == 0.5
    with pytest.raises(ValueError, match=r"SGD.learning_rate: expected a number >= 0; got"):
        fastbp.SGD(10**400)
    with pytest.raises(TypeError, match=r"SGD.nesterov: expected True or False; got 'no'"):
        fastbp.SGD(0.1, momentum=0.9, nesterov="no")


@pytest.mark.parametrize(
    ("make", "name", "told"),
    [
        (lambda: Adam(lr=1e-3), "lr", " Did you mean 'learning_rate'?"),
        (lambda: SGD(eta=1e-3), "eta", " Did you mean 'learning_rate'?"),
        (lambda: Adam(beta_1=0.9), "beta_1", " Did you mean 'beta1'?"),
        (lambda: Adam(betas=(0.9, 0.99)), "betas", " Did you mean beta1=..., beta2=...?"),
        (lambda: fastbp.RMSprop(eps=1), "eps", " Did you mean 'epsilon'?"),
        (lambda: fastbp.RMSprop(rho=0.9), "rho", " Did you mean 'alpha'?"),
        (lambda: fastbp.Adadelta(alpha=0.9), "alpha", " Did you mean 'rho'?"),
        (lambda: Adam(amsgrad=True), "amsgrad", " Did you mean fastbp.AMSGrad?"),
        (lambda: fastbp.LBFGS(tol=1), "tol", " Did you mean 'tolerance'?"),
        (lambda: fastbp.EarlyStopping(patiance=1), "patiance", " Did you mean 'patience'?"),
        (lambda: SGD(qqq=1), "qqq", ""),
    ],
)
def test_unknown_arguments_are_told_what_is_meant(make, name, told):
    with pytest.raises(TypeError) as caught:
        make()
    assert str(caught.value).endswith(f": unexpected argument {name!r}.{told}")


def test_an_optimizer_keeps_its_signature():
    assert list(inspect.signature(Adam).parameters) == [f.name for f in dataclasses.fields(Adam)]
    assert copy.copy(Adam(0.5)) == pickle.loads(pickle.dumps(Adam(0.5))) == Adam(0.5)
    with pytest.raises(TypeError, match="positional"):
        SGD(0.1, 0.2, True, 4)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "optimizer",
    [fastbp.Adam(), fastbp.AMSGrad(), fastbp.RMSprop(), fastbp.Adagrad(), fastbp.Adadelta()],
    ids=repr,
)
def test_a_gradient_without_a_square_is_told(optimizer, threads):
    """v would be infinite and the weight stand still: the feature is named, nothing is lost."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((60, 3)).astype("f4"), rng.standard_normal(60)
    net, twin = (
        fastbp.Network([3, 4, 1], activation="tanh", output="identity", loss="quadratic", seed=0)
        for _ in range(2)
    )
    X[:, 1] = 0
    for each in (net, twin):
        each.weights[0][1] = 0
    options = {"optimizer": optimizer, "shuffle": False, "threads": threads, "batch_size": 10}
    twin.fit(X[:30], y[:30], epochs=1, **options)
    X[35, 1] = 1e25  # in the fourth of six batches
    with pytest.raises(fastbp.DivergenceError, match=r"of W1\[1, \d\] \(feature X\[:, 1\]\)") as e:
        net.fit(X, y, epochs=3, **options)
    assert e.value.step == 3 and e.value.place.startswith("W1[1, ")
    assert str(pickle.loads(pickle.dumps(e.value))) == str(e.value)
    if optimizer.policy != "adagrad":
        assert net.parameters.tobytes() == twin.parameters.tobytes()
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"optimizer": fastbp.Adagrad(initial_accumulator_value=1e300)}, "initial_accumulator_v"),
        ({"optimizer": Adam(epsilon=1e39)}, "epsilon"),
        ({"optimizer": AdamW(weight_decay=1e300)}, "weight_decay"),
        ({"optimizer": SGD(1e300)}, "learning_rate"),
        ({"l2": 1e308}, "l2 / n"),
        ({"l1": 1e308}, "l1 / n"),
    ],
)
def test_numbers_that_the_dtype_does_not_hold(options, name):
    net = fastbp.Network([2, 2], seed=0)
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=f"^{name}.*: expected a number that float32 holds; got"):
        net.fit(np.eye(2), [0, 1], **options)
    assert net.parameters.tobytes() == before.tobytes()
    net.fit(np.eye(2), [0, 1], clip_value=1e300, clip_norm=1e300)  # as good as none
