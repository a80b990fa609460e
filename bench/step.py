"""One training step, fastbp beside other libraries in one run on one core.

    taskset -c 1 python bench/step.py [--repeats 15] [--json]

What belongs here: the same network, data, batches and SGD updates for each side, sides in turn,
medians. Peers that are not installed are left out (extra: bench). The loss of the last timed epoch
is printed for each side, so that nobody is fast by doing something else; per cent is of the FMA
rate measured here.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import time

for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(variable, "1")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np  # noqa: E402

import fastbp  # noqa: E402
from fastbp.kernels import dispatch  # noqa: E402

CASES = {  # name: sizes, hidden activation, batch, steps an epoch
    "A 784-30-10 sigmoid, batch 10": ([784, 30, 10], "sigmoid", 10, 200),
    "B 784-128-10 relu, batch 64": ([784, 128, 10], "relu", 64, 30),
    "C 32-64-64-10 tanh, batch 32": ([32, 64, 64, 10], "tanh", 32, 100),
    "D 32-64-64-10 tanh, batch 256": ([32, 64, 64, 10], "tanh", 256, 30),
}
EPOCHS = 5  # timed together, after one that brings the side's data back into the caches
RATE = 0.02


def peak_gflops(dtype: str) -> float:
    """Multiply-adds a second of the register tile on data in the first-level cache."""
    door = dispatch.engine.multiply_add[{"float32": "float", "float64": "double"}[dtype]]
    x = np.ones(1024, dtype)
    best = 0.0
    for _ in range(20):
        began = time.perf_counter()
        flops = door(x, 200)
        best = max(best, flops / (time.perf_counter() - began))
    return best / 1e9


def fastbp_side(net, X, Y, batch):
    def run(epochs):
        history = net.fit(
            X,
            Y,
            epochs=epochs,
            batch_size=batch,
            optimizer=fastbp.SGD(RATE),
            shuffle=False,
            threads=1,
        )
        return history["loss"][-1]

    return run


def by_epoch(epoch):
    """A side that has no call for several epochs."""

    def run(epochs):
        for _ in range(epochs):
            loss = epoch()
        return loss

    return run


def numpy_side(net, X, Y, batch):
    W, b = [w.copy() for w in net.weights], [v.copy() for v in net.biases]
    f, slope = {
        "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda a: a * (1 - a)),
        "relu": (lambda z: np.maximum(z, 0), lambda a: (a > 0).astype(a.dtype)),
        "tanh": (np.tanh, lambda a: 1 - a * a),
    }[net.architecture["activation"][0]]
    one_hot = np.eye(10, dtype=np.float32)[Y]

    def one_epoch():
        total = 0.0
        for s in range(0, len(X), batch):
            a = [X[s : s + batch]]
            for layer in range(len(W)):
                z = a[-1] @ W[layer] + b[layer]
                a.append(f(z) if layer < len(W) - 1 else z)
            e = np.exp(z - z.max(axis=1, keepdims=True))
            p = e / e.sum(axis=1, keepdims=True)
            y = one_hot[s : s + batch]
            total -= float(np.log((p * y).sum(axis=1)).mean())
            delta = (p - y) / np.float32(batch)
            for layer in reversed(range(len(W))):
                nabla_W, nabla_b = a[layer].T @ delta, delta.sum(axis=0)
                if layer:
                    delta = (delta @ W[layer].T) * slope(a[layer])
                W[layer] -= np.float32(RATE) * nabla_W
                b[layer] -= np.float32(RATE) * nabla_b
        return total / (len(X) // batch)

    return by_epoch(one_epoch)


def torch_side(net, X, Y, batch):
    import torch

    torch.set_num_threads(1)
    kind = {"sigmoid": torch.nn.Sigmoid, "relu": torch.nn.ReLU, "tanh": torch.nn.Tanh}
    layers = []
    for W, b in zip(net.weights, net.biases, strict=True):
        linear = torch.nn.Linear(*W.shape)
        with torch.no_grad():
            linear.weight.copy_(torch.tensor(W.T.copy()))
            linear.bias.copy_(torch.tensor(b.copy()))
        layers += [linear, kind[net.architecture["activation"][0]]()]
    model = torch.nn.Sequential(*layers[:-1])
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, fused=True)
    cost = torch.nn.CrossEntropyLoss()
    x, y = torch.tensor(X), torch.tensor(Y)

    def one_epoch():
        total = 0.0
        for s in range(0, len(x), batch):
            optimizer.zero_grad()
            loss = cost(model(x[s : s + batch]), y[s : s + batch])
            loss.backward()
            optimizer.step()
            total += loss.item()
        return total / (len(x) // batch)

    return by_epoch(one_epoch)


def jax_side(net, X, Y, batch):
    import jax
    import jax.numpy as jnp

    f = {"sigmoid": jax.nn.sigmoid, "relu": jax.nn.relu, "tanh": jnp.tanh}
    f = f[net.architecture["activation"][0]]

    def cost(parameters, x, y):
        for W, b in parameters[:-1]:
            x = f(x @ W + b)
        logits = x @ parameters[-1][0] + parameters[-1][1]
        return -jax.nn.log_softmax(logits)[jnp.arange(batch), y].mean()

    def step(parameters, xy):
        loss, nabla = jax.value_and_grad(cost)(parameters, *xy)
        return jax.tree.map(lambda p, g: p - RATE * g, parameters, nabla), loss

    epoch = jax.jit(lambda parameters, xs, ys: jax.lax.scan(step, parameters, (xs, ys)))
    state = [
        (jnp.array(W.copy()), jnp.array(b.copy()))
        for W, b in zip(net.weights, net.biases, strict=True)
    ]
    xs = jnp.array(X.reshape(-1, batch, X.shape[1]))
    ys = jnp.array(Y.reshape(-1, batch))
    jax.block_until_ready(epoch(state, xs, ys))  # compiled before it is timed

    def one_epoch():
        nonlocal state
        state, losses = jax.block_until_ready(epoch(state, xs, ys))
        return float(losses.mean())

    return by_epoch(one_epoch)


def sklearn_side(net, X, Y, batch):
    from sklearn.neural_network import MLPClassifier

    kind = {"sigmoid": "logistic"}.get(*[net.architecture["activation"][0]] * 2)
    model = MLPClassifier(
        net.sizes[1:-1],
        activation=kind,
        solver="sgd",
        momentum=0.0,
        alpha=0.0,
        batch_size=batch,
        learning_rate_init=RATE,
        shuffle=False,
    )
    model.partial_fit(X[:batch], Y[:batch], classes=np.arange(10))
    model.coefs_ = [w.copy() for w in net.weights]
    model.intercepts_ = [v.copy() for v in net.biases]

    def one_epoch():
        model.partial_fit(X, Y)
        return model.loss_

    return by_epoch(one_epoch)


SIDES = {
    "fastbp": fastbp_side,
    "JAX scan": jax_side,
    "PyTorch eager": torch_side,
    "scikit-learn": sklearn_side,
    "NumPy": numpy_side,
}


def compare(sizes, activation, batch, steps, repeats):
    """{side: (median us a step, loss of the last repeat)}."""
    rng = np.random.default_rng(0)
    X = rng.random((batch * steps, sizes[0]), dtype=np.float32)
    Y = rng.integers(0, 10, batch * steps)
    net = fastbp.Network(sizes, activation=activation, seed=0)
    sides = {}
    for name, make in SIDES.items():
        try:
            sides[name] = make(net.copy(), X, Y, batch)
        except ImportError:
            continue
    times = {name: [] for name in sides}
    losses = {}
    for _ in range(repeats):
        for name, run in sides.items():
            run(1)
            began = time.perf_counter()
            losses[name] = run(EPOCHS)
            times[name].append((time.perf_counter() - began) / (EPOCHS * steps) * 1e6)
    return {name: (statistics.median(times[name]), losses[name]) for name in sides}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results, peaks = {}, []
    for name, (sizes, activation, batch, steps) in CASES.items():
        shapes = list(itertools.pairwise(sizes))
        flops = 2 * batch * (3 * sum(a * b for a, b in shapes) - shapes[0][0] * shapes[0][1])
        peaks.append(peak_gflops("float32"))  # of this moment: the clock of a shared machine moves
        measured = compare(sizes, activation, batch, steps, options.repeats)
        ours = measured["fastbp"][0]
        results[name] = {
            side: {
                "us_per_step": us,
                "percent_of_peak": 100 * flops / us / 1e3 / peaks[-1],
                "times_fastbp": us / ours,
                "loss": loss,
            }
            for side, (us, loss) in measured.items()
        }
        if not options.json:
            print(f"\n{name}")
            for side, row in results[name].items():
                print(
                    f"  {side:14} {row['us_per_step']:9.2f} us a step "
                    f"{row['percent_of_peak']:5.1f} % of peak  x{row['times_fastbp']:6.2f}"
                    f"  loss {row['loss']:.5f}"
                )
    if options.json:
        print(
            json.dumps({"level": dispatch.level, "peak_gflops": peaks, "cases": results}, indent=1)
        )
    else:
        shown = ", ".join(f"{peak:.0f}" for peak in peaks)
        print(f"\n{dispatch.level}, float32 FMA peak before each case: {shown} GFLOP/s")


if __name__ == "__main__":
    main()
