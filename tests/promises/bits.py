"""Hashes of what random configurations leave: the bits that the promises speak of.

    python tests/promises/bits.py --count 300 --write before.json    # with one build
    python tests/promises/bits.py --count 300 --against before.json  # with another, same machine

What belongs here: a configuration for each number, drawn from all that a run can have, and the hash
of its parameters, losses, predictions and gradients. What does not: what has to be equal to what
(test_bits.py). `FASTBP_ISA` selects the level, as everywhere.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import fastbp
from fastbp import optimizers, schedules

HIDDEN = (
    "identity", "sigmoid", "tanh", "relu", "leaky_relu(0.02)", "elu", "selu", "gelu", "gelu_tanh",
    "silu", "mish", "softplus", "softsign", "hardtanh", "softmax", "log_softmax", "layer_norm",
    "maxout(3)", "glu",
)  # fmt: skip
ENDS = (  # output and loss
    ("softmax", "cross_entropy"), ("softmax(2)", "kl"), ("sigmoid", "binary_cross_entropy"),
    ("exp", "poisson"), ("sigmoid", "quadratic"), ("tanh", "mse"), ("identity", "mae"),
    ("identity", "huber(0.7)"), ("identity", "log_cosh"), ("tanh", "hinge"),
    ("identity", "squared_hinge"), ("identity", "pinball(0.9)"), ("identity", "gaussian_nll"),
    ("softmax", "quadratic"), ("log_softmax", "mse"), ("layer_norm", "quadratic"),
    ("glu", "huber"), ("maxout", "mae"), ("sigmoid", "cross_entropy"), ("softplus", "poisson"),
)  # fmt: skip
ELEMENTWISE = ("identity", "sigmoid", "tanh", "exp", "softplus")
WIDTHS = (2, 3, 7, 9, 16, 17, 33, 70)


def an_optimizer(rng: np.random.Generator) -> optimizers.Optimizer:
    kinds = (
        lambda: fastbp.SGD(0.05),
        lambda: fastbp.SGD(0.02, momentum=0.9),
        lambda: fastbp.SGD(0.02, momentum=0.8, nesterov=True),
        lambda: fastbp.Adam(0.01),
        lambda: fastbp.AdamW(0.01, weight_decay=0.05),
        lambda: fastbp.AMSGrad(0.01),
        lambda: fastbp.RMSprop(0.003),
        lambda: fastbp.RMSprop(0.003, momentum=0.5),
        lambda: fastbp.RMSprop(0.003, momentum=0.5, centered=True),
        lambda: fastbp.Adagrad(0.05),
        lambda: fastbp.Adadelta(0.5),
        lambda: fastbp.Lion(0.003),
    )
    return kinds[rng.integers(len(kinds))]()


def run(number: int, threads: int = 1, resumed: bool = False) -> str:
    """Hash of configuration `number`; `resumed`: trained in two parts."""
    rng = np.random.default_rng(number)
    output, loss = ENDS[rng.integers(len(ENDS))]
    kind = loss.partition("(")[0]
    dtype = ("float32", "float64")[rng.integers(2)]
    n_hidden = int(rng.integers(0, 4))
    widths = [int(w) for w in rng.choice(WIDTHS, n_hidden + 2)]
    if kind == "gaussian_nll":
        widths[-1] = 2 * int(rng.integers(1, 5))
    elif output in ELEMENTWISE and kind != "cross_entropy" and rng.random() < 0.3:
        widths[-1] = 1
    hidden = [str(name) for name in rng.choice(HIDDEN, n_hidden)]
    net = fastbp.Network(
        widths, activation=hidden, output=output, loss=loss, dtype=dtype, seed=number
    )
    n = int(rng.integers(20, 90))
    X = rng.normal(size=(n, widths[0])).astype(dtype)
    n_y = widths[-1] // 2 if kind == "gaussian_nll" else widths[-1]
    if kind in ("hinge", "squared_hinge"):
        Y = np.where(rng.random((n, n_y)) < 0.5, -1.0, 1.0)
    elif kind in ("cross_entropy", "kl"):
        Y = rng.random((n, n_y)) / n_y
    else:
        Y = rng.random((n, n_y))
    if kind in ("cross_entropy", "kl") and rng.random() < 0.7:
        Y = rng.integers(0, n_y, n)
    elementwise = output.partition("(")[0] in ELEMENTWISE and kind != "gaussian_nll"
    options: dict[str, object] = {"shuffle": bool(rng.random() < 0.8)}
    if elementwise and Y.ndim == 2 and rng.random() < 0.3:
        Y[rng.random(Y.shape) < 0.2] = np.nan
        options["ignore_missing"] = True
    else:
        Y = Y if Y.dtype.kind == "i" else Y.astype(dtype)
    chance = rng.random(12)
    if chance[0] < 0.3:
        options["l2"] = float(rng.random())
    if chance[1] < 0.2:
        options["l1"] = float(rng.random() * 0.1)
    if chance[2] < 0.3:
        options["sample_weight"] = rng.random(n) + 0.1
    if chance[3] < 0.2:
        options["clip_value"] = 0.01
    if chance[4] < 0.25:
        options["clip_norm"] = 0.1
    if chance[5] < 0.3 and n_hidden:
        options["dropout"] = 0.25
    if chance[6] < 0.15:
        options["ema"] = 0.9
    if chance[7] < 0.2 and kind in ("cross_entropy", "kl"):
        options["label_smoothing"] = 0.1
    if chance[8] < 0.2:
        options["schedule"] = schedules.Cosine(warmup=1)
    if chance[9] < 0.3:
        options["validation"] = 0.25
    options["batch_size"] = int(rng.choice((1, 2, 7, 9, 17, 33, 100)))
    options["optimizer"] = an_optimizer(rng)
    options["seed"] = number
    epochs = int(rng.integers(2, 5))
    digest = hashlib.sha256()

    def add(values: object) -> None:
        digest.update(np.ascontiguousarray(values, None).tobytes())

    with np.errstate(all="ignore"):
        try:
            if resumed and "schedule" not in options:
                first = net.fit(X, Y, epochs=1, threads=threads, **options)
                history = net.fit(X, Y, epochs=epochs - 1, threads=threads, resume=first, **options)
            else:
                history = net.fit(X, Y, epochs=epochs, threads=threads, **options)
        except fastbp.DivergenceError as error:
            digest.update(str(error).encode())
        else:
            add(history["loss"])
            if "validation" in options:
                add(history["validation_loss"])
    add(net.parameters)
    add(net.predict(X))
    add(net.predict(X[:1]))
    missing = bool(options.get("ignore_missing"))
    add(net.costs(X, Y, ignore_missing=missing))
    add(net.gradient(X, Y, l2=options.get("l2", 0.0), ignore_missing=missing))
    if not missing:
        add(net.input_gradient(X, Y))
    add(net.jacobian(X[:2]))
    add(net.jvp(X[:3], X[:3]))
    add(net.vjp(X[:3], net.predict(X[:3])))
    return digest.hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--write")
    parser.add_argument("--against")
    given = parser.parse_args()
    found = {str(number): run(number, given.threads) for number in range(given.count)}
    if given.write:
        Path(given.write).write_text(json.dumps(found, indent=0))
    if given.against:
        before = json.loads(Path(given.against).read_text())
        wrong = [number for number, bits in found.items() if before.get(number) != bits]
        print(f"{len(found)} configurations, {len(wrong)} of other bits: {wrong[:20]}")
        return bool(wrong)
    print(f"{len(found)} configurations")
    return 0


if __name__ == "__main__":
    sys.exit(main())
