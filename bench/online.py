"""One row at a time: a prediction and a step, by row and by library.

    python bench/online.py [--rows 2000]

Rows of ten features as dicts, two classes, hidden layers of 32; each library predicts a row and
then learns it, alternated in rounds; the median of the rounds' microseconds a row. deep-river
(PyTorch) and river's logistic regression are left out where they are not installed. Then what a
call takes on plain rows of 32-64-64-1, and a step with a derivative from outside beside fit's own.
"""

import argparse
import statistics
import time

import numpy as np

import fastbp

WIDTH, FEATURES = 32, 10


def models():
    """Of each library that is here: its name, and what makes a fresh model."""
    from fastbp.compat.river import MLPClassifier

    found = {"fastbp": lambda: MLPClassifier(hidden_layer_sizes=(WIDTH,), seed=0)}
    try:
        import torch
        from deep_river.classification import Classifier

        class Net(torch.nn.Module):
            def __init__(self, n_features=FEATURES):
                super().__init__()
                self.hidden = torch.nn.Linear(n_features, WIDTH)
                self.output = torch.nn.Linear(WIDTH, 2)

            def forward(self, x):
                return self.output(torch.relu(self.hidden(x)))

        torch.set_num_threads(1)
        found["deep-river"] = lambda: Classifier(
            Net(), loss_fn="cross_entropy", optimizer_fn="adam", lr=0.01
        )
    except ImportError as error:
        print(f"without deep-river: {error}")
    try:
        from river import linear_model

        found["river's logistic regression"] = linear_model.LogisticRegression
    except ImportError as error:
        print(f"without river: {error}")
    return found


def rows(n):
    X = np.random.default_rng(0).standard_normal((n, FEATURES))
    y = X[:, 0] * X[:, 1] > 0
    dicts = [{f"x{i}": v for i, v in enumerate(row)} for row in X.tolist()]
    return list(zip(dicts, y.tolist(), strict=True))


def by_row(n, rounds):
    """Median microseconds a row of each library."""
    stream = rows(n)
    made = {name: make() for name, make in models().items()}
    taken = {name: [] for name in made}
    for model in made.values():
        for x, y in stream[:20]:
            model.learn_one(x, y)
    for _ in range(rounds):
        for name, model in made.items():
            part = stream[: n // 10] if name == "deep-river" else stream
            began = time.perf_counter()
            for x, y in part:
                model.predict_proba_one(x)
                model.learn_one(x, y)
            taken[name].append((time.perf_counter() - began) / len(part) * 1e6)
    return {name: statistics.median(times) for name, times in taken.items()}


def best(call, n=2000, rounds=40):
    """Microseconds a call."""
    found = []
    for _ in range(rounds):
        began = time.perf_counter()
        for _ in range(n):
            call()
        found.append((time.perf_counter() - began) / n * 1e6)
    return statistics.quantiles(found, n=4)[0]


def calls():
    """What a call takes on plain rows."""
    net = fastbp.Network([32, 64, 64, 1], activation="relu", output="identity", loss="mse", seed=0)
    x, V = np.full(32, 0.3, np.float32), np.full((1, 1), 1e-4, np.float32)
    X, y, out = x[None], np.zeros((1, 1), np.float32), {}
    out["predict_one"] = best(lambda: net.predict_one(x))
    out["learn_one"] = best(lambda: net.learn_one(x, 0.0))
    for optimizer in (fastbp.SGD(1e-3), fastbp.Adam(1e-3)):
        name = type(optimizer).__name__
        trainer = fastbp.OnlineTrainer(net, optimizer)
        out[f"OnlineTrainer.learn_one, {name}"] = best(lambda t=trainer: t.learn_one(x, 0.0))
        out[f"OnlineTrainer.vjp_step, {name}"] = best(lambda t=trainer: t.vjp_step(X, V))
        n = 20000
        single = fastbp.Network(**net.architecture)
        history = single.fit(X, y, epochs=n, batch_size=1, optimizer=optimizer, shuffle=False)
        out[f"a step of fit, {name}"] = history.seconds / n * 1e6
    return out


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    found = by_row(given.rows, given.rounds)
    for name, microseconds in found.items():
        print(
            f"{name:30} {microseconds:9.1f} us a row, {microseconds / found['fastbp']:7.1f} times"
        )
    for name, microseconds in calls().items():
        print(f"{name:30} {microseconds:9.2f} us")
