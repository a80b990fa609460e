"""Other libraries, each as its user would make it fast, on the networks of fastbp.benchmark.

What belongs here: for each library one function that trains and one that predicts, from the same
parameters, data and batches. What does not: timing and output (compare.py).

`train(case, net, X, Y)` returns a function: train so many epochs further, return their losses.
`predict(net, x)` returns a function of nothing that predicts x. ImportError: not here.
"""

from __future__ import annotations

import functools
import os
import shutil
import warnings

import compiled_peers
import numpy as np
from compiled_peers import views

from fastbp import SGD, benchmark


def by_epoch(one_epoch):
    """Of a library that has no call for several epochs."""
    return lambda epochs: [one_epoch() for _ in range(epochs)]


# fastbp


def fastbp_prediction(net, x):
    out = net.predict(x)
    return lambda: net.predict(x, out=out)


# NumPy


NUMPY_ACTIVATIONS = {  # and the slope, from a
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
    "relu": (lambda z: np.maximum(z, 0), lambda a: a > 0),
    "tanh": (np.tanh, lambda a: 1 - a * a),
}


def numpy_softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def numpy_training(case, net, X, Y):
    """One vector of parameters, one of their gradient: an update is a few calls for all layers."""
    f, slope = NUMPY_ACTIVATIONS[case.activation]
    parameters, nabla = net.parameters.copy(), np.empty_like(net.parameters)
    (W, b), (nabla_W, nabla_b) = views(parameters, net), views(nabla, net)
    m, v, t = np.zeros_like(nabla), np.zeros_like(nabla), 0
    o = case.optimizer
    batch, rows = case.batch, np.arange(case.batch)

    def one_epoch():
        nonlocal t
        total = 0.0
        for s in range(0, len(X), batch):
            a, y = [X[s : s + batch]], Y[s : s + batch]
            for layer in range(len(W)):
                z = a[-1] @ W[layer] + b[layer]
                a.append(f(z) if layer < len(W) - 1 else z)
            if case.classes:
                delta = numpy_softmax(z)
                total -= float(np.log(delta[rows, y]).mean())
                delta[rows, y] -= 1
            else:
                delta = z - y
                total += 0.5 * float(np.vdot(delta, delta)) / batch
            delta /= batch
            for layer in reversed(range(len(W))):
                np.matmul(a[layer].T, delta, out=nabla_W[layer])
                delta.sum(axis=0, out=nabla_b[layer])
                if layer:
                    delta = (delta @ W[layer].T) * slope(a[layer])
            if isinstance(o, SGD):
                np.multiply(nabla, o.learning_rate, out=nabla)
            else:
                t += 1
                m[...] = o.beta1 * m + (1 - o.beta1) * nabla
                v[...] = o.beta2 * v + (1 - o.beta2) * nabla**2
                root = np.sqrt(v / (1 - o.beta2**t))
                np.divide(o.learning_rate / (1 - o.beta1**t) * m, root + o.epsilon, out=nabla)
            np.subtract(parameters, nabla, out=parameters)
        return total / case.steps

    return by_epoch(one_epoch)


def numpy_prediction(net, x):
    f = NUMPY_ACTIVATIONS[net.architecture["activation"][0]][0]
    *hidden, (W_L, b_L) = zip(net.weights, net.biases, strict=True)
    softmax = net.architecture["output"] == "softmax"

    def predict():
        a = x
        for W, b in hidden:
            a = f(a @ W + b)
        z = a @ W_L + b_L
        return numpy_softmax(z) if softmax else z

    return predict


# PyTorch


def torch_model(net):
    """The network's twin; its last layer gives z."""
    import torch

    torch.set_num_threads(1)
    kind = {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    layers = []
    for W, b in zip(net.weights, net.biases, strict=True):
        linear = torch.nn.Linear(*W.shape, dtype=getattr(torch, net.dtype.name))
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(W.T.copy()))
            linear.bias.copy_(torch.tensor(b))
        layers += [linear, kind[net.architecture["activation"][0]]()]
    return torch.nn.Sequential(*layers[:-1])


def torch_cost(case):
    from torch.nn import functional

    if case.classes:
        return functional.cross_entropy
    return lambda a, y: functional.mse_loss(a, y, reduction="sum") / (2 * case.batch)


def torch_batches(case, X, Y):
    import torch

    return list(
        zip(torch.tensor(X).split(case.batch), torch.tensor(Y).split(case.batch), strict=True)
    )


def torch_training(case, net, X, Y):
    """Eager, with the fused optimizer; losses add up in a tensor that is read once an epoch."""
    import torch

    model, cost, o = torch_model(net), torch_cost(case), case.optimizer
    if isinstance(o, SGD):
        optimizer = torch.optim.SGD(model.parameters(), lr=o.learning_rate, fused=True)
    else:
        optimizer = torch.optim.Adam(
            model.parameters(),
            lr=o.learning_rate,
            betas=(o.beta1, o.beta2),
            eps=o.epsilon,
            fused=True,
        )
    batches = torch_batches(case, X, Y)
    total = torch.zeros((), dtype=torch.float64)

    def one_epoch():
        total.zero_()
        for x, y in batches:
            optimizer.zero_grad()
            loss = cost(model(x), y)
            loss.backward()
            optimizer.step()
            total.add_(loss.detach())
        return total.item() / case.steps

    return by_epoch(one_epoch)


def torch_compiled_training(case, net, X, Y):
    """The whole step, loss, gradient and update, in one compiled function."""
    import torch

    if not any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++"))):
        raise ImportError("needs a C++ compiler")
    model, cost, o = torch_model(net), torch_cost(case), case.optimizer
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    m, v = ({name: torch.zeros_like(p) for name, p in parameters.items()} for _ in range(2))
    # of one element: torch.compile (2.13) loses what is added to a float64 scalar
    t = torch.zeros(1, dtype=getattr(torch, net.dtype.name))
    total = torch.zeros((), dtype=torch.float64)

    def loss_of(parameters, x, y):
        return cost(torch.func.functional_call(model, parameters, (x,)), y)

    def step(parameters, m, v, t, x, y):
        nabla, loss = torch.func.grad_and_value(loss_of)(parameters, x, y)
        t.add_(1)
        for name, p in parameters.items():
            g = nabla[name]
            if isinstance(o, SGD):
                p.sub_(o.learning_rate * g)
            else:
                m[name].mul_(o.beta1).add_((1 - o.beta1) * g)
                v[name].mul_(o.beta2).add_((1 - o.beta2) * g * g)
                root = (v[name] / (1 - o.beta2**t)).sqrt()
                p.sub_(o.learning_rate / (1 - o.beta1**t) * m[name] / (root + o.epsilon))
        return loss

    # each case and each bound of a slice its own graph, never one for shapes that may change
    torch.compiler.reset()
    compiled = torch.compile(step, fullgraph=True, dynamic=False)
    batches = torch_batches(case, X, Y)

    def one_epoch():
        total.zero_()
        for x, y in batches:
            total.add_(compiled(parameters, m, v, t, x, y))
        return total.item() / case.steps

    return by_epoch(torch.no_grad()(one_epoch))


def torch_prediction(net, x):
    import torch

    model = torch_model(net)
    if net.architecture["output"] == "softmax":
        model.append(torch.nn.Softmax(dim=1))
    model.requires_grad_(False)
    x = torch.tensor(x)

    @torch.inference_mode()
    def predict():
        return model(x)

    return predict


# JAX


def jax_start(net):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", net.dtype == np.float64)
    return [(jnp.array(W), jnp.array(b)) for W, b in zip(net.weights, net.biases, strict=True)]


def jax_forward(net):
    """z^L of parameters and inputs."""
    import jax
    import jax.numpy as jnp

    f = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}
    f = f[net.architecture["activation"][0]]

    def forward(parameters, x):
        *hidden, (W_L, b_L) = parameters
        for W, b in hidden:
            x = f(x @ W + b)
        return x @ W_L + b_L

    return forward


def jax_step(case, net):
    """(state, (x, y)) -> (state, loss), and the first state."""
    import jax
    import jax.numpy as jnp

    forward, o = jax_forward(net), case.optimizer

    def cost(parameters, x, y):
        z = forward(parameters, x)
        if case.classes:
            return -jnp.take_along_axis(jax.nn.log_softmax(z), y[:, None], axis=1).mean()
        return 0.5 * jnp.square(z - y).sum() / case.batch

    def step(state, xy):
        parameters, m, v, t = state
        loss, nabla = jax.value_and_grad(cost)(parameters, *xy)
        if isinstance(o, SGD):
            parameters = jax.tree.map(lambda p, g: p - o.learning_rate * g, parameters, nabla)
            return (parameters, m, v, t), loss
        t = t + 1
        m = jax.tree.map(lambda m, g: o.beta1 * m + (1 - o.beta1) * g, m, nabla)
        v = jax.tree.map(lambda v, g: o.beta2 * v + (1 - o.beta2) * g * g, v, nabla)
        rate, rest2 = o.learning_rate / (1 - o.beta1**t), 1 - o.beta2**t
        parameters = jax.tree.map(
            lambda p, m, v: p - rate * m / (jnp.sqrt(v / rest2) + o.epsilon), parameters, m, v
        )
        return (parameters, m, v, t), loss

    parameters = jax_start(net)
    m, v = (
        () if isinstance(o, SGD) else jax.tree.map(jnp.zeros_like, parameters) for _ in range(2)
    )
    return step, (parameters, m, v, jnp.zeros((), net.dtype))


def jax_batches(case, X, Y):
    import jax.numpy as jnp

    xs = jnp.array(X.reshape(-1, case.batch, X.shape[1]))
    return xs, jnp.array(Y.reshape(-1, case.batch, *Y.shape[1:]))


def jax_training(case, net, X, Y):
    """A jitted call a step; losses are read once an epoch."""
    import jax

    step, state = jax_step(case, net)
    batches = list(zip(*jax_batches(case, X, Y), strict=True))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def counted_step(state, total, xy):
        state, loss = step(state, xy)
        return state, total + loss

    def one_epoch():
        nonlocal state
        total = jax.numpy.zeros((), net.dtype)
        for xy in batches:
            state, total = counted_step(state, total, xy)
        jax.block_until_ready(state)
        return float(total) / case.steps

    return by_epoch(one_epoch)


def scanned(step, state, batches):
    """A jitted call for all epochs: a scan over them of a scan over the batches."""
    import jax

    @functools.partial(jax.jit, donate_argnums=0, static_argnums=2)
    def several(state, batches, epochs):
        def epoch(state, _):
            state, losses = jax.lax.scan(step, state, batches)
            return state, losses.mean()

        return jax.lax.scan(epoch, state, length=epochs)

    def run(epochs):
        nonlocal state
        state, losses = jax.block_until_ready(several(state, batches, epochs))
        return losses.tolist()

    return run


def jax_scan_training(case, net, X, Y):
    return scanned(*jax_step(case, net), jax_batches(case, X, Y))


# Keras


def keras_training(case, net, X, Y):
    """On JAX, by its stateless calls: a scan over the epochs of a scan over the batches, jitted.

    Its Adam has epsilon beside the root that is not corrected, as scikit-learn's.
    """
    os.environ.setdefault("KERAS_BACKEND", "jax")
    import keras

    if net.dtype != np.float32:
        raise ImportError("its optimizers' numbers are float32")
    if keras.backend.backend() != "jax":
        raise ImportError(f"Keras runs on {keras.backend.backend()} here, not on JAX")
    import jax

    jax.config.update("jax_enable_x64", False)
    hidden, dtype = case.activation, net.dtype.name
    last = len(case.sizes) - 2
    model = keras.Sequential(
        [keras.Input((case.sizes[0],), dtype=dtype)]
        + [
            keras.layers.Dense(n, activation=hidden if l < last else None, dtype=dtype)
            for l, n in enumerate(case.sizes[1:])
        ]
    )
    model.set_weights([part for pair in zip(net.weights, net.biases, strict=True) for part in pair])
    o = case.optimizer
    if isinstance(o, SGD):
        optimizer = keras.optimizers.SGD(o.learning_rate)
    else:
        optimizer = keras.optimizers.Adam(o.learning_rate, o.beta1, o.beta2, o.epsilon)
    optimizer.build(model.trainable_variables)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, dtype=dtype)

    def cost(trainable, fixed, x, y):
        z, fixed = model.stateless_call(trainable, fixed, x, training=True)
        if case.classes:
            return cross_entropy(y, z), fixed
        return 0.5 * keras.ops.sum(keras.ops.square(z - y)) / case.batch, fixed

    slope = jax.value_and_grad(cost, has_aux=True)

    def step(state, xy):
        trainable, fixed, slots = state
        (loss, fixed), nabla = slope(trainable, fixed, *xy)
        trainable, slots = optimizer.stateless_apply(slots, nabla, trainable)
        return (trainable, fixed, slots), loss

    state = tuple(
        [variable.value for variable in variables]
        for variables in (
            model.trainable_variables, model.non_trainable_variables, optimizer.variables,
        )
    )  # fmt: skip
    return scanned(step, state, jax_batches(case, X, Y))


def jax_prediction(net, x):
    import jax
    import jax.numpy as jnp

    forward, parameters = jax_forward(net), jax_start(net)
    softmax = net.architecture["output"] == "softmax"
    compiled = jax.jit(lambda p, x: jax.nn.softmax(forward(p, x)) if softmax else forward(p, x))
    x = jnp.array(x)
    return lambda: compiled(parameters, x).block_until_ready()


# scikit-learn


def sklearn_model(net, X, Y, **settings):
    """Set up by one small step, then given the network's parameters and a fresh optimizer."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    classes = net.architecture["output"] == "softmax"
    activation = net.architecture["activation"][0]
    model = (MLPClassifier if classes else MLPRegressor)(
        hidden_layer_sizes=net.sizes[1:-1],
        activation={"sigmoid": "logistic"}.get(activation, activation),
        alpha=0.0,
        shuffle=False,
        **settings,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that these rows are fewer than a batch
        model.partial_fit(
            X[:1], Y[:1], **({"classes": np.arange(net.sizes[-1])} if classes else {})
        )
    model.coefs_ = [W.copy() for W in net.weights]
    model.intercepts_ = [b.copy() for b in net.biases]
    del model._optimizer  # partial_fit makes another: Adam's moments begin at 0
    return model


def sklearn_training(case, net, X, Y):
    """A call of partial_fit an epoch. Of its squared loss it reports the mean over the outputs.

    Its Adam adds epsilon before the bias correction, in the first steps a larger one: in F, whose
    gradients are small, the losses differ by more than rounding and are flagged.
    """
    o = case.optimizer
    settings = {"solver": "sgd", "momentum": 0.0}
    if not isinstance(o, SGD):
        settings = {"solver": "adam", "beta_1": o.beta1, "beta_2": o.beta2, "epsilon": o.epsilon}
    Y = Y.ravel() if Y.shape[1:] == (1,) else Y
    model = sklearn_model(
        net, X, Y, batch_size=case.batch, learning_rate_init=o.learning_rate, **settings
    )
    outputs = 1 if case.classes else net.sizes[-1]

    def one_epoch():
        model.partial_fit(X, Y)
        return float(model.loss_) * outputs

    return by_epoch(one_epoch)


def sklearn_prediction(net, x):
    classes, outputs = net.architecture["output"] == "softmax", net.sizes[-1]
    Y = np.zeros(1, int) if classes else np.zeros((1, outputs)).squeeze(1)
    model = sklearn_model(net, x[:1], Y)
    return lambda: model.predict_proba(x) if classes else model.predict(x)


# ONNX Runtime


def onnx_model(net):
    """The network as an ONNX graph: Gemm and activation a layer."""
    from onnx import TensorProto, checker, helper, numpy_helper

    kind = {"sigmoid": "Sigmoid", "relu": "Relu", "tanh": "Tanh"}
    kind = kind[net.architecture["activation"][0]]
    number = {"float32": TensorProto.FLOAT, "float64": TensorProto.DOUBLE}[net.dtype.name]
    nodes, constants, a = [], [], "x"
    for layer, (W, b) in enumerate(zip(net.weights, net.biases, strict=True), 1):
        constants += [numpy_helper.from_array(W, f"W{layer}")]
        constants += [numpy_helper.from_array(b, f"b{layer}")]
        nodes.append(helper.make_node("Gemm", [a, f"W{layer}", f"b{layer}"], [f"z{layer}"]))
        a = f"z{layer}"
        if layer < len(net.weights):
            nodes.append(helper.make_node(kind, [a], [f"a{layer}"]))
            a = f"a{layer}"
    if net.architecture["output"] == "softmax":
        nodes.append(helper.make_node("Softmax", [a], ["p"], axis=1))
        a = "p"
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", number, ["n", net.sizes[0]])],
        [helper.make_tensor_value_info(a, number, ["n", net.sizes[-1]])],
        constants,
    )
    # versions that Runtimes of some years ago read too
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    return model


def onnx_prediction(net, x):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        onnx_model(net).SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    feed = {"x": x}
    return lambda: session.run(None, feed)[0]


TRAINING = {
    "fastbp": benchmark.fastbp_side,
    "JAX lax.scan": jax_scan_training,
    "JAX jit a step": jax_training,
    "PyTorch compiled": torch_compiled_training,
    "PyTorch eager": torch_training,
    "scikit-learn": sklearn_training,
    "NumPy": numpy_training,
    "Numba": compiled_peers.numba_training,
    "Keras on JAX": keras_training,
    "tinygrad": compiled_peers.tinygrad_training,
}
PREDICTION = {
    "fastbp": fastbp_prediction,
    "ONNX Runtime": onnx_prediction,
    "JAX jit": jax_prediction,
    "PyTorch eager": torch_prediction,
    "scikit-learn": sklearn_prediction,
    "NumPy": numpy_prediction,
}
