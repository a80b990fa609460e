"""Many networks in one call: a loop of fits, scikit-learn, JAX and PyTorch train the same ones.

    python bench/many.py                      # one core: fit_many beside a loop of Network.fit
    python bench/many.py --peers              # and beside what else is installed
    python bench/many.py --widths             # where lanes pay: square networks of growing width
    python bench/many.py --threads 2          # fit_many on two cores beside itself on one
    python bench/many.py --watched            # with validation and early stopping, which never ends

Exit code 1: a ratio below its aim. What belongs here: members, how each library trains them,
timing. What does not: whether they end with the same bits (tests/training/test_many.py), searches
(search.py).

Every member has its own start, order of rows and learning rate, SGD or Adam, relu, half the mean
square error. The sides of a row run in turn; figures are medians over rounds. scikit-learn has one
process a core and its own orders, JAX one `jit(vmap(scan))` over stacked parameters, PyTorch
`torch.func.vmap` of `grad` over them, a call a step.
"""

from __future__ import annotations

import argparse
import functools
import os
import statistics
import sys
import time
import warnings
from typing import NamedTuple

import numpy as np

import fastbp

N = 512


class Case(NamedTuple):
    sizes: list[int]
    batch: int
    over_loop: float | None = None  # aims: times a loop of fits, times JAX
    over_jax: float | None = None


CASES = {
    "2-16-1": Case([2, 16, 1], 8, 6.0, 12.0),
    "8-8-8": Case([8, 8, 8], 32, 3.5, 6.0),
    "20-16-1": Case([20, 16, 1], 32, 2.5, 5.0),
    "32-16-16-1": Case([32, 16, 16, 1], 32, 2.0, 4.0),
    "32-32-32-1": Case([32, 32, 32, 1], 32, 1.6, 2.5),
    "32-64-64-1": Case([32, 64, 64, 1], 32, 1.0),
    "64-128-128-1": Case([64, 128, 128, 1], 32, 1.0),
}


class Members:
    """Networks of one shape, their data, rates and orders."""

    def __init__(
        self, case: Case, n: int, optimizer: str, dtype: str, seconds: float, watched: bool = False
    ) -> None:
        stopping = fastbp.EarlyStopping(patience=10**6)
        self.watched = {"validation": 0.2, "early_stopping": stopping} if watched else {}
        rng = np.random.default_rng(0)
        self.case, self.n, self.dtype = case, n, dtype
        self.X = rng.standard_normal((N, case.sizes[0])).astype(dtype)
        self.Y = rng.standard_normal((N, case.sizes[-1])).astype(dtype)
        rates = 10 ** rng.uniform(-4, -2, n)
        kind = {"sgd": fastbp.SGD, "adam": fastbp.Adam}[optimizer]
        self.optimizers = [kind(float(rate)) for rate in rates]
        self.steps = -(-N // case.batch)  # an epoch
        of_ten = self.loop(11) - self.loop(1)
        self.epochs = max(1, int(10 * seconds / of_ten))

    def networks(self) -> list[fastbp.Network]:
        sizes, options = self.case.sizes, {"output": "identity", "loss": "mse(0.5)"}
        return [
            fastbp.Network(sizes, activation="relu", dtype=self.dtype, seed=i, **options)
            for i in range(self.n)
        ]

    def loop(self, epochs: int) -> float:
        """Seconds that fits one after the other take."""
        nets = self.networks()
        began = time.perf_counter()
        for i, net in enumerate(nets):
            net.fit(self.X, self.Y, epochs=epochs, batch_size=self.case.batch, seed=i, threads=1,
                    optimizer=self.optimizers[i], **self.watched)  # fmt: skip
        return time.perf_counter() - began

    def many(self, epochs: int, threads: int = 1) -> float:
        """Seconds that one call takes."""
        nets = self.networks()
        began = time.perf_counter()
        fastbp.fit_many(
            nets, self.X, self.Y, epochs=epochs, batch_size=self.case.batch,
            seed=list(range(self.n)), optimizer=self.optimizers, threads=threads,
            **self.watched,
        )  # fmt: skip
        return time.perf_counter() - began

    def orders(self, epochs: int) -> np.ndarray:
        """(members, steps, batch) rows; drawn outside of what is timed."""
        rng = np.random.default_rng(1)
        shape = (self.n, epochs, N)
        rows = rng.permuted(np.broadcast_to(np.arange(N), shape), axis=2)
        return rows.reshape(self.n, epochs * self.steps, self.case.batch)


# peers: each takes members and gives a function of nothing that trains them once


def scikit_learn(members: Members, epochs: int):
    from joblib import Parallel, delayed
    from sklearn.neural_network import MLPRegressor

    case, cores = members.case, len(os.sched_getaffinity(0))
    y = members.Y[:, 0] if case.sizes[-1] == 1 else members.Y

    def fit(i):
        rate = members.optimizers[i].learning_rate
        solver = "adam" if isinstance(members.optimizers[i], fastbp.Adam) else "sgd"
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            MLPRegressor(
                hidden_layer_sizes=case.sizes[1:-1], solver=solver, alpha=0, momentum=0,
                batch_size=case.batch, learning_rate_init=rate, max_iter=epochs, tol=0,
                n_iter_no_change=epochs + 1, random_state=i,
            ).fit(members.X, y)  # fmt: skip

    pool = Parallel(n_jobs=cores)
    pool(delayed(fit)(i) for i in range(cores))  # the processes are there
    return lambda: pool(delayed(fit)(i) for i in range(members.n))


def stacked(members: Members):
    """Parameters of all members, [W, b] a layer, members first."""
    nets = members.networks()
    return [
        [np.stack([getattr(net, kind)[layer] for net in nets]) for kind in ("weights", "biases")]
        for layer in range(len(members.case.sizes) - 1)
    ]


def jax_vmap(members: Members, epochs: int):
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", members.dtype == "float64")
    X, Y = jnp.asarray(members.X), jnp.asarray(members.Y)
    rates = jnp.asarray([o.learning_rate for o in members.optimizers], members.dtype)
    is_adam = isinstance(members.optimizers[0], fastbp.Adam)

    def loss(parameters, x, y):
        for W, b in parameters[:-1]:
            x = jax.nn.relu(x @ W + b)
        W, b = parameters[-1]
        return 0.5 * ((x @ W + b - y) ** 2).mean()

    def step(rate, state, rows):
        parameters, m, v, t = state
        value, g = jax.value_and_grad(loss)(parameters, X[rows], Y[rows])
        t = t + 1
        if is_adam:
            m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
            c1, c2 = 1 - 0.9**t, 1 - 0.999**t
            parameters = jax.tree.map(
                lambda p, m, v: p - rate * (m / c1) / (jnp.sqrt(v / c2) + 1e-8), parameters, m, v
            )
        else:
            parameters = jax.tree.map(lambda p, g: p - rate * g, parameters, g)
        return (parameters, m, v, t), value

    @jax.jit
    @jax.vmap
    def train(rate, parameters, rows):
        zeros = jax.tree.map(jnp.zeros_like, parameters)
        start = parameters, zeros, zeros, jnp.zeros((), members.dtype)
        return jax.lax.scan(functools.partial(step, rate), start, rows)

    start = jax.tree.map(jnp.asarray, stacked(members))
    rows = jnp.asarray(members.orders(epochs), jnp.int32)
    jax.block_until_ready(train(rates, start, rows))  # compiled
    return lambda: jax.block_until_ready(train(rates, start, rows))


def torch_func(members: Members, epochs: int):
    import torch

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    X, Y = torch.from_numpy(members.X), torch.from_numpy(members.Y)
    dtype = getattr(torch, members.dtype)
    rates = torch.tensor([o.learning_rate for o in members.optimizers], dtype=dtype)
    is_adam = isinstance(members.optimizers[0], fastbp.Adam)

    def loss(parameters, x, y):
        for W, b in parameters[:-1]:
            x = torch.relu(x @ W + b)
        W, b = parameters[-1]
        return 0.5 * ((x @ W + b - y) ** 2).mean()

    gradients = torch.func.vmap(torch.func.grad(loss))
    rows = torch.from_numpy(members.orders(epochs)).transpose(0, 1).contiguous()

    def train():
        parameters = [tuple(map(torch.from_numpy, layer)) for layer in stacked(members)]
        flat = [p for layer in parameters for p in layer]
        scaled = [rates.reshape(-1, *[1] * (p.ndim - 1)) for p in flat]
        m, v = ([torch.zeros_like(p) for p in flat] for _ in range(2))
        for t, of_step in enumerate(rows, 1):
            g = gradients(parameters, X[of_step], Y[of_step])
            g = [p for layer in g for p in layer]
            if is_adam:
                torch._foreach_lerp_(m, g, 0.1)
                torch._foreach_mul_(v, 0.999)
                torch._foreach_addcmul_(v, g, g, 0.001)
                root = torch._foreach_sqrt(torch._foreach_div(v, 1 - 0.999**t))
                torch._foreach_add_(root, 1e-8)
                g = torch._foreach_div(torch._foreach_div(m, 1 - 0.9**t), root)
            torch._foreach_sub_(flat, torch._foreach_mul(g, scaled))

    return train


PEERS = {
    "scikit-learn": (scikit_learn, 4),  # and how many times fewer epochs it is given
    "JAX vmap": (jax_vmap, 1),
    "PyTorch func": (torch_func, 8),
}


def median_seconds(sides: dict, rounds: int) -> dict[str, float]:
    """Of each side, a function, in turn; what it tells itself, or what it takes."""
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            began = time.perf_counter()
            told = side()
            took = time.perf_counter() - began
            taken[name].append(told if isinstance(told, float) else took)
    return {name: statistics.median(times) for name, times in taken.items()}


def measured(case: Case, options: argparse.Namespace, optimizer: str) -> dict[str, float]:
    """Nanoseconds a network and step, by side."""
    members = Members(
        case, options.members, optimizer, options.dtype, options.seconds, options.watched
    )
    epochs = members.epochs
    sides = {
        "fit_many": functools.partial(members.many, epochs),
        "loop": functools.partial(members.loop, epochs),
    }
    parts = dict.fromkeys(sides, 1)
    if options.threads > 1:
        sides = {
            "fit_many": functools.partial(members.many, epochs),
            f"{options.threads} threads": functools.partial(members.many, epochs, options.threads),
        }
        parts = dict.fromkeys(sides, 1)
    if options.peers:
        for name, (make, fewer) in PEERS.items():
            try:
                sides[name] = make(members, max(1, epochs // fewer))
            except ImportError:
                continue
            parts[name] = epochs / max(1, epochs // fewer)
    steps = epochs * members.steps * members.n
    seconds = median_seconds(sides, options.rounds)
    return {name: 1e9 * of * parts[name] / steps for name, of in seconds.items()}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", help="comma-separated (default: all)")
    parser.add_argument("--optimizers", default="sgd,adam")
    parser.add_argument("--members", type=int, default=64, metavar="N")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=0.3, help="of a side, about")
    parser.add_argument("--peers", action="store_true")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--widths", action="store_true")
    parser.add_argument("--watched", action="store_true")
    options = parser.parse_args(argv)
    if options.threads == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    cases = CASES
    if options.widths:
        cases = {
            f"{w}-{w}-{w}, {m} rows": Case([w, w, w], m) for m in (8, 32, 128)
            for w in (4, 8, 16, 24, 32, 48, 64, 96)
        }  # fmt: skip
    if options.cases:
        cases = {name: CASES[name] for name in options.cases.split(",")}
    fell_short = False
    for optimizer in options.optimizers.split(","):
        for name, case in cases.items():
            ns = measured(case, options, optimizer)
            mine = ns.pop("fit_many")
            told = "  ".join(f"{side} {of / mine:6.2f}x" for side, of in ns.items())
            print(
                f"{name:16} batch {case.batch:3} {optimizer:5} {mine:9.1f} ns  {told}", flush=True
            )
            for aim, side in ((case.over_loop, "loop"), (case.over_jax, "JAX vmap")):
                fell_short |= aim is not None and ns.get(side, np.inf) < aim * mine
    return int(fell_short)


if __name__ == "__main__":
    sys.exit(main())
