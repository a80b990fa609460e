"""Other libraries' gradients: their values are ours, and the check tells the right from the wrong.

Each part is skipped where its library is missing; none of them is needed to use fastbp.
"""

import os
import re
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import cases
import numpy as np
import pytest

from fastbp.check.gradients.function import gradient

# hidden activation, output, loss: whatever the peers have under the same formula
NETWORKS = [
    ("sigmoid", "softmax", "cross_entropy"),
    ("tanh", "sigmoid", "binary_cross_entropy"),
    ("relu", "identity", "quadratic"),
    ("leaky_relu(0.2)", "identity", "mse"),
    ("elu(0.6)", "softplus", "mse"),
    ("selu", "exp", "poisson"),
    ("gelu", "identity", "huber(0.4)"),
    ("gelu_tanh", "log_softmax", "quadratic"),
    ("silu", "tanh", "mae"),
    ("mish", "softmax", "quadratic"),
    ("softplus", "softmax", "kl"),
    ("softsign", "identity", "squared_hinge"),
    ("hardtanh", "identity", "hinge"),
    ("layer_norm(-1.7)", "identity", "log_cosh"),
    ("glu", "identity", "pinball(0.9)"),
    ("maxout(3)", "identity", "gaussian_nll"),
]


def case(activation, output, loss, seed):
    net = cases.network([4, 6, 5, 4], activation, output, loss, "float64", seed)
    rng = np.random.default_rng(seed)
    return net, rng.normal(size=(7, 4)), cases.targets(rng, loss, 7, 4)


def imported(name):
    """A peer; what its import warns of is not ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip(name)


# scikit-learn


def sklearn_functions(model, X, y):
    """Loss and gradient of an MLP by its packed parameters, as its L-BFGS calls them."""
    imported("sklearn")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one iteration does not converge, and need not
        model.fit(X, y)
    module = __import__("sklearn.neural_network._multilayer_perceptron", fromlist=["_pack"])
    target = y.reshape(len(y), -1)
    if hasattr(model, "_label_binarizer"):
        target = model._label_binarizer.transform(y)
    sizes = [X.shape[1], 5, target.shape[1]]
    at = 0
    model._coef_indptr, model._intercept_indptr = [], []
    for n_in, n_out in pairwise(sizes):
        model._coef_indptr.append((at, at + n_in * n_out, (n_in, n_out)))
        at += n_in * n_out
    for n_out in sizes[1:]:
        model._intercept_indptr.append((at, at + n_out))
        at += n_out

    def both(theta):
        return model._loss_grad_lbfgs(
            theta.copy(),
            X,
            target,
            None,
            [X, *(np.empty((len(X), n)) for n in sizes[1:])],
            [None] * 2,
            [np.empty((n, m)) for n, m in pairwise(sizes)],
            [np.empty(n) for n in sizes[1:]],
        )

    start = module._pack(model.coefs_, model.intercepts_)
    return lambda t: both(t)[0], lambda t: both(t)[1], start


def test_the_documented_example():
    """bench/sklearn_gradient.py asks through public attributes alone."""
    imported("sklearn")
    root = Path(__file__).parents[2]
    for outputs, words in ((3, "exactly 3 times the slope"), (1, "function: pass")):
        done = subprocess.run(
            [sys.executable, root / "bench" / "sklearn_gradient.py", "--outputs", str(outputs)],
            capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(root)},
        )  # fmt: skip
        assert done.returncode == 0 and words in done.stdout, done.stderr


@pytest.fixture
def regression():
    rng = np.random.default_rng(0)
    return rng.normal(size=(20, 4)), rng.normal(size=(20, 3))


def mlp(kind, **options):
    neural_network = imported("sklearn.neural_network")
    return getattr(neural_network, kind)(
        hidden_layer_sizes=(5,), activation="tanh", max_iter=1, random_state=0, **options
    )


def test_sklearn_regressor_of_several_outputs_is_found_wrong(regression):
    # its loss is the mean over outputs, its gradient that of their sum (scikit-learn 1.9)
    X, y = regression
    for n_outputs in (2, 3):
        found = gradient(*sklearn_functions(mlp("MLPRegressor", alpha=0), X, y[:, :n_outputs]))
        assert not found.ok
        assert found.findings[0] == f"the gradient is exactly {n_outputs} times the slope"


def test_sklearn_regressor_of_one_output_is_right(regression):
    X, y = regression
    found = gradient(*sklearn_functions(mlp("MLPRegressor", alpha=0.1), X, y[:, 0]))
    assert found.verdict.startswith("pass"), str(found)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_sklearn_classifier_is_right(regression, n_classes):
    X, _ = regression
    y = np.arange(20) % n_classes
    found = gradient(*sklearn_functions(mlp("MLPClassifier", alpha=0.1), X, y))
    assert found.verdict.startswith("pass"), str(found)


# one description of the networks for PyTorch and JAX


def parsed(name):
    kind, number = re.fullmatch(r"(\w+?)(?:\((.*)\))?", name).groups()
    return kind, float(number) if number else None


def activations_of(np_, functions):
    """Activations by name; functions: what the two libraries call differently."""
    sigmoid = functions["sigmoid"]

    def softplus(z):
        return np_.logaddexp(z, 0 * z)

    def layer_norm(z, gain):
        centred = z - z.mean(-1)[..., None]
        return gain * centred / np_.sqrt((centred**2).mean(-1)[..., None] + 1e-5)

    def elu(z, alpha):
        return np_.where(z > 0, z, alpha * np_.expm1(functions["minimum"](z, 0)))

    return {
        "identity": lambda z, _: z,
        "sigmoid": lambda z, _: sigmoid(z),
        "tanh": lambda z, _: np_.tanh(z),
        "relu": lambda z, _: np_.where(z > 0, z, 0 * z),
        "leaky_relu": lambda z, p: np_.where(z > 0, z, p * z),
        "elu": elu,
        "selu": lambda z, _: 1.0507009873554805 * elu(z, 1.6732632423543772),
        "gelu": lambda z, _: z * (1 + functions["erf"](z / 2**0.5)) / 2,
        "gelu_tanh": lambda z, _: (
            z * (1 + np_.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3))) / 2
        ),
        "silu": lambda z, _: z * sigmoid(z),
        "mish": lambda z, _: z * np_.tanh(softplus(z)),
        "softplus": lambda z, _: softplus(z),
        "softsign": lambda z, _: z / (1 + abs(z)),
        "hardtanh": lambda z, _: np_.clip(z, -1, 1),
        "exp": lambda z, _: np_.exp(z),
        "softmax": lambda z, _: functions["softmax"](z),
        "log_softmax": lambda z, _: np_.log(functions["softmax"](z)),
        "layer_norm": layer_norm,
        "glu": lambda z, _: z[:, : z.shape[1] // 2] * sigmoid(z[:, z.shape[1] // 2 :]),
        "maxout": lambda z, p: functions["amax"](z.reshape(len(z), -1, int(p))),
    }


def costs_of(np_):
    """C of every output; y may be 0 where a logarithm of a is taken."""

    def gaussian_nll(a, y, _):
        mu, s = a[:, : y.shape[1]], a[:, y.shape[1] :]
        return (s + (y - mu) ** 2 * np_.exp(-s)) / 2

    def kl(a, y, _):
        return np_.where(y > 0, y * np_.log(np_.where(y > 0, y, 1.0) / a), 0 * a)

    return {
        "quadratic": lambda a, y, _: (a - y) ** 2 / 2,
        "mse": lambda a, y, _: (a - y) ** 2 / a.shape[1],
        "mae": lambda a, y, _: abs(a - y),
        "huber": lambda a, y, d: np_.where(
            abs(a - y) <= d, (a - y) ** 2 / 2, d * (abs(a - y) - d / 2)
        ),
        "log_cosh": lambda a, y, _: np_.log(np_.cosh(a - y)),
        "binary_cross_entropy": lambda a, y, _: -y * np_.log(a) - (1 - y) * np_.log(1 - a),
        "cross_entropy": lambda a, y, _: -y * np_.log(a),
        "kl": kl,
        "hinge": lambda a, y, _: np_.where(y * a < 1, 1 - y * a, 0 * a),
        "squared_hinge": lambda a, y, _: np_.where(y * a < 1, 1 - y * a, 0 * a) ** 2,
        "poisson": lambda a, y, _: a - y * np_.log(a),
        "pinball": lambda a, y, p: np_.where(a < y, p * (y - a), (p - 1) * (y - a)),
        "gaussian_nll": gaussian_nll,
    }


def loss_of(net, np_, functions, X, Y):
    """The loss of a network by its flat parameters, in a peer's functions."""
    about = net.architecture
    activations, costs = activations_of(np_, functions), costs_of(np_)
    shapes = [W.shape for W in net.weights]
    layers = [parsed(name) for name in [*about["activation"], about["output"]]]
    cost, cost_parameter = parsed(about["loss"])

    def loss(theta):
        a, at = X, 0
        for (n_in, n_z), (kind, parameter) in zip(shapes, layers, strict=True):
            W = theta[at : at + n_in * n_z].reshape(n_in, n_z)
            at += n_in * n_z
            a = activations[kind](a @ W + theta[at : at + n_z], parameter)
            at += n_z
        return costs[cost](a, Y, cost_parameter).sum() / len(X)

    return loss


# PyTorch


def torch_loss(net, X, Y, dtype="float64"):
    torch = imported("torch")
    kind = getattr(torch, dtype)
    functions = {
        "sigmoid": torch.sigmoid,
        "erf": torch.erf,
        "softmax": lambda z: torch.softmax(z, -1),
        "minimum": lambda z, bound: torch.clamp(z, max=bound),
        "amax": lambda z: torch.amax(z, -1),
    }
    loss = loss_of(net, torch, functions, torch.tensor(X, dtype=kind), torch.tensor(Y, dtype=kind))

    def f(theta):
        return loss(torch.tensor(theta, dtype=kind))

    def grad(theta):
        leaf = torch.tensor(theta, dtype=kind, requires_grad=True)
        return torch.autograd.grad(loss(leaf), leaf)[0]

    return f, grad


@pytest.mark.parametrize("names", NETWORKS, ids="-".join)
@pytest.mark.parametrize("seed", [0, 1])
def test_torch_has_the_same_gradient(names, seed):
    net, X, Y = case(*names, seed)
    f, grad = torch_loss(net, X, Y)
    assert float(f(net.parameters)) == pytest.approx(net.loss(X, Y), rel=1e-12)
    np.testing.assert_allclose(
        net.gradient(X, Y), grad(net.parameters).numpy(), rtol=1e-10, atol=1e-13
    )


@pytest.mark.parametrize("names", NETWORKS, ids="-".join)
def test_torch_gradients_pass(names):
    net, X, Y = case(*names, 2)
    f, grad = torch_loss(net, X, Y)
    found = gradient(f, grad, net.parameters, max_elements=24)
    assert found.verdict.startswith("pass"), str(found)
    assert not gradient(f, lambda t: grad(t) * 1.001, net.parameters, max_elements=24).ok


@pytest.mark.parametrize("names", [NETWORKS[0], NETWORKS[5], NETWORKS[10]], ids="-".join)
def test_torch_in_float32_passes_and_is_named(names):
    net, X, Y = case(*names, 3)
    f, grad = torch_loss(net, X, Y, "float32")
    found = gradient(f, grad, net.parameters, max_elements=24)
    assert found.verdict.startswith("pass"), str(found)
    assert re.search(r"about [678] digits \(computed in float32\?\)", str(found.findings))
    assert not gradient(f, lambda t: grad(t) * 1.5, net.parameters, max_elements=24).ok


# each with what PyTorch has for it: a constructor, and its arguments but the parameters
TORCH_OPTIMIZERS = {
    "sgd": ("SGD", {"lr": 0.05}),
    "momentum": ("SGD", {"lr": 0.02, "momentum": 0.8}),
    "nesterov": ("SGD", {"lr": 0.02, "momentum": 0.8, "nesterov": True}),
    "adam": ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3}),
    "adamw": ("AdamW", {"lr": 0.02, "eps": 1e-3, "weight_decay": 0.3}),
    "amsgrad": ("Adam", {"lr": 0.02, "betas": (0.8, 0.5), "eps": 1e-3, "amsgrad": True}),
    "rmsprop": ("RMSprop", {"lr": 0.02, "alpha": 0.9, "eps": 1e-2}),
    "rmsprop_momentum": ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-2, "momentum": 0.7}),
    "rmsprop_centered": (
        "RMSprop",
        {"lr": 0.01, "alpha": 0.9, "eps": 0.1, "momentum": 0.5, "centered": True},
    ),
    "adagrad": (
        "Adagrad",
        {"lr": 0.05, "lr_decay": 0.3, "initial_accumulator_value": 0.1, "eps": 1e-3},
    ),
    "adadelta": ("Adadelta", {"lr": 0.8, "rho": 0.7, "eps": 1e-2}),
}


@pytest.mark.parametrize("dtype", cases.DTYPES)
@pytest.mark.parametrize("clipping", [{}, {"clip_value": 0.05}, {"clip_norm": 0.2}], ids=str)
@pytest.mark.parametrize("name", TORCH_OPTIMIZERS)
def test_torch_makes_the_same_steps(name, clipping, dtype):
    """Step for step, on our gradient, with l2 as the part of it that it is."""
    torch = imported("torch")
    _, X, Y = case("tanh", "softmax", "cross_entropy", 4)
    net = cases.network([4, 6, 5, 4], "tanh", "softmax", "cross_entropy", dtype, 4)
    mine, _ = cases.OPTIMIZERS[name]
    kind, numbers = TORCH_OPTIMIZERS[name]
    # weights and biases apart: decoupled decay is for weights alone
    layers = zip(net.weights, net.biases, strict=True)
    tensors = [torch.tensor(part.copy()) for layer in layers for part in layer]
    groups = [{"params": tensors[::2]}, {"params": tensors[1::2], "weight_decay": 0.0}]
    theirs = getattr(torch.optim, kind)(groups, **numbers)
    twin = net.copy()
    history = None
    for step in range(12):
        history = net.fit(X, Y, epochs=1, batch_size=len(X), optimizer=mine, shuffle=False, l2=0.5,
                          resume=history, seed=0, **clipping)  # fmt: skip
        at = 0
        twin.parameters = np.concatenate([t.numpy().ravel() for t in tensors])
        nabla = twin.gradient(X, Y, l2=0.5)
        for tensor in tensors:
            tensor.grad = torch.tensor(nabla[at : at + tensor.numel()]).reshape(tensor.shape)
            at += tensor.numel()
        if "clip_value" in clipping:
            torch.nn.utils.clip_grad_value_(tensors, clipping["clip_value"])
        elif clipping:
            norm = torch.nn.utils.clip_grad_norm_(tensors, clipping["clip_norm"])
            assert norm > 0.2 or step > 0  # it is clipped, and some steps need not be
        theirs.step()
        expected = np.concatenate([t.numpy().ravel() for t in tensors])
        tolerance = 1e-12 if dtype == "float64" else 3e-5
        np.testing.assert_allclose(net.parameters, expected, rtol=tolerance, atol=tolerance)


# JAX


def jax_loss(net, X, Y):
    jax = imported("jax")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import jax.numpy as jnp
        import jax.scipy.special

        functions = {
            "sigmoid": jax.nn.sigmoid,
            "erf": jax.scipy.special.erf,
            "softmax": lambda z: jax.nn.softmax(z, -1),
            "minimum": jnp.minimum,
            "amax": lambda z: jnp.max(z, -1),
        }
        loss = jax.jit(loss_of(net, jnp, functions, X, Y))
        return loss, jax.jit(jax.grad(loss))


@pytest.fixture
def x64():
    jax = imported("jax")
    before = jax.config.jax_enable_x64
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", before)


@pytest.mark.parametrize("names", NETWORKS, ids="-".join)
def test_jax_has_the_same_gradient_and_passes(names, x64):
    net, X, Y = case(*names, 4)
    f, grad = jax_loss(net, X, Y)
    assert float(f(net.parameters)) == pytest.approx(net.loss(X, Y), rel=1e-12)
    np.testing.assert_allclose(net.gradient(X, Y), grad(net.parameters), rtol=1e-10, atol=1e-13)
    found = gradient(f, grad, net.parameters, max_elements=24)
    assert found.verdict.startswith("pass"), str(found)
    assert not gradient(f, lambda t: grad(t) * 1.001, net.parameters, max_elements=24).ok


def test_jax_by_tensors(x64):
    jax = imported("jax")
    import jax.numpy as jnp

    X = np.random.default_rng(0).normal(size=(6, 4))

    def f(p):
        return jnp.tanh(X @ p["W"] + p["b"]).sum()

    x = {"W": X[:4, :3], "b": X[4, :3]}
    assert gradient(f, jax.grad(f), x).verdict.startswith("pass")
