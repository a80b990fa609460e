"""Runs on several ranks: the program that `mpiexec` starts for test_mpi.py, and what it runs.

What belongs here: cases, each a function of a communicator, or None for one process, that gives
what is compared. What does not: comparisons (test_mpi.py).
"""

import os
import pickle
import signal
import sys
import threading
from pathlib import Path

import numpy as np
from cases import OPTIMIZERS
from scipy.sparse import csr_array

import fastbp
from fastbp import schedules
from fastbp.training.distributed import numbers_of
from fastbp.training.reduce import as_ranks

N = 101
rng = np.random.default_rng(0)
X = rng.standard_normal((N, 8))
X[:, 5] = X[:, 5] * (rng.random(N) < 0.1)
LABELS = rng.integers(0, 3, N)
NUMBERS = X[:, :2] ** 2 - X[:, 2:4]
WEIGHT = rng.random(N) + 0.1
LIGHT = np.where(np.arange(N) < 32, 0.0, WEIGHT)  # whole batches of weight 0, where in order
KNOWN = np.where(rng.random((N, 2)) < 0.3, np.nan, NUMBERS)
SOFT = rng.dirichlet(np.ones(3), N)
SPARSE = csr_array(X)
EARLY = fastbp.EarlyStopping(patience=2, monitor="validation_loss")


def classifier(**options):
    given = {"sizes": [8, 16, 3], "activation": "tanh", "dtype": "float64", "seed": 1}
    return fastbp.Network(**given | options)


def regressor(**options):
    given = {"sizes": [8, 16, 2], "activation": "tanh", "output": "identity", "loss": "mse"}
    return fastbp.Network(**given | {"dtype": "float64", "seed": 1} | options)


def told(net, history):
    columns = {k: v for k, v in history.items() if k != "seconds"}
    return {"parameters": net.parameters.copy(), **columns}


def fitted(comm, net, X, Y, **options):
    """A fit of the rows of X that a rank has, r, r + size, ..., or of all."""
    given = {"epochs": 3, "batch_size": 16, "seed": 3}
    if comm is not None:
        options |= {"comm": comm, "shard": True}
        if comm.rank:  # the first rank's are what begins
            net.parameters += 1
    return told(net, net.fit(X, Y, **given | options))


def case(make=classifier, X=X, Y=LABELS, net=None, n=N, **options):
    def run(comm):
        given = {k: v[:n] if k == "sample_weight" else v for k, v in options.items()}
        return fitted(comm, make(**net or {}), X[:n], Y[:n], **given)

    return run


def own_rows(by_size, weight=None):
    """Each rank hands over its own rows, however many; one process, all in that order."""

    def run(comm):
        net = classifier()
        counts = by_size[2 if comm is None else comm.size]
        if comm is None:
            n = sum(counts)
            weights = None if weight is None else weight[:n]
            given = {"sample_weight": weights, "validation": (X[:60], LABELS[:60])}
            return fitted(None, net, X[:n], LABELS[:n], **given)
        rows = numbers_of(counts, comm.rank)
        given = {"epochs": 3, "batch_size": 16, "seed": 3, "comm": comm}
        if weight is not None and weight[rows].any():  # who has none weighs 1 a sample
            given["sample_weight"] = weight[rows]
        held = slice(comm.rank, 60, comm.size)
        given["validation"] = X[held], LABELS[held]
        return told(net, net.fit(X[rows], LABELS[rows], **given))

    return run


def sparse(comm):
    many = np.where(rng_of(5).random((N, 40)) < 0.1, 1.5, 0.0)
    many[7] = 0.0
    net = classifier(sizes=[40, 16, 3])
    return fitted(comm, net, csr_array(many), LABELS, dropout=[0.2, 0.1], optimizer="adagrad")


def rng_of(seed):
    return np.random.default_rng(seed)


def wide(comm, batch_size=96, **options):
    """A batch so wide that it goes through in slices, and on a rank at times in two."""
    net = classifier(sizes=[8, 700, 700, 3], activation="tanh", dtype="float32")
    given = {"optimizer": fastbp.SGD(0.1), "batch_size": batch_size, "epochs": 1}
    return fitted(comm, net, X, LABELS, **given | options)


def pixels(comm):
    """Columns that are 0 in most rows are left out."""
    many = np.where(rng_of(6).random((N, 400)) < 0.02, 1.0, 0.0)
    net = classifier(sizes=[400, 16, 3])
    return fitted(comm, net, many, LABELS, optimizer=fastbp.SGD(0.1))


def generator(comm):
    """A seed that is another on each rank: the first rank's counts."""
    rank = 0 if comm is None else comm.rank
    return fitted(comm, classifier(), X, LABELS, seed=np.random.default_rng(rank))


def goes_on(comm):
    """Two runs, the second from where the first ended."""
    net = classifier()
    given = {"batch_size": 16, "seed": 3, "optimizer": "adam"}
    given |= {} if comm is None else {"comm": comm, "shard": True}
    first = net.fit(X, LABELS, epochs=2, **given)
    return told(net, net.fit(X, LABELS, epochs=2, resume=first, **given))


STEPS = schedules.Cosine()
EQUAL = {
    **{f"optimizer {name}": case(optimizer=of[0]) for name, of in OPTIMIZERS.items()},
    "float32": case(net={"dtype": "float32"}),
    "regression float32": case(regressor, Y=NUMBERS, net={"dtype": "float32"}, l2=0.1),
    "batch of all": case(batch_size=1000),
    "batch of one": case(batch_size=1, n=23),
    "one row": case(n=1),
    "two rows": case(n=2, sample_weight=WEIGHT),
    "in order": case(shuffle=False),
    "orders given": case(shuffle=lambda epoch, n: np.roll(np.arange(n), 5 * epoch)),
    "last dropped": case(drop_last=True),
    "weights": case(sample_weight=WEIGHT),
    "batches of weight 0": case(sample_weight=LIGHT, shuffle=False, optimizer="adam"),
    "huge weights": case(sample_weight=1e30 * WEIGHT, net={"dtype": "float32"}),
    "clip_norm": case(clip_norm=0.05, l2=1.0, optimizer="sgd"),
    "clip_value": case(clip_value=0.01, l1=0.5),
    "dropout": case(dropout=[0.1, 0.4]),
    "penalties": case(l2=3.0, l1=0.2, decays={"W1": 0.5, "b2": 1.0}),
    "rates": case(rates={"W1": 0.0, "b*": 0.1}),
    "all frozen": case(rates={"*": 0.0}),
    "scheduled by step": case(schedule=schedules.OneCycle(0.05, each="step")),
    "scheduled by epoch": case(schedule=schedules.Cosine(), optimizer="adamw"),
    "scheduled dropout": case(
        schedule={"dropout": lambda epoch: 0.1 * epoch, "learning_rate": schedules.Cosine()},
        dropout=0.2,
    ),
    "held out": case(validation=0.2),
    "judged": case(validation=0.3, metrics=["accuracy", "balanced_accuracy", "mse", "r2"]),
    "judged numbers": case(
        regressor,
        Y=NUMBERS,
        validation=(X[:41], NUMBERS[:41], WEIGHT[:41]),
        metrics=["mae", "rmse", "mse", "r2"],
    ),
    "judged by a few": case(validation=(X[:2], LABELS[:2]), metrics={"own": lambda y, a: a.sum()}),
    "ends early": case(validation=0.3, early_stopping=EARLY, epochs=12, optimizer=fastbp.Adam(0.1)),
    "plateau": case(schedule=schedules.HalveOnPlateau(1), validation=0.2, epochs=6),
    "average": case(ema=0.9, validation=0.2),
    "soft targets": case(Y=SOFT),
    "classes weigh": case(class_weight="balanced", label_smoothing=0.1),
    "one class weighs": case(class_weight={0: 3.0, 1: 0.0}, sample_weight=WEIGHT),
    "missing": case(regressor, Y=KNOWN, ignore_missing=True, validation=0.3, metrics="mse"),
    "one output": case(
        net={"sizes": [8, 5, 1], "output": "sigmoid", "loss": "binary_cross_entropy"},
        Y=(LABELS > 0).astype(float),
        class_weight="balanced",
    ),
    "odd sizes": case(net={"sizes": [8, 33, 17, 3], "activation": ["relu", "gelu"]}),
    "scales": case(net={"sizes": [8, fastbp.layers.Scale(), 9, 3]}),
    "threads": case(threads=2, net={"sizes": [8, 64, 64, 3]}, clip_norm=0.1),
    "lbfgs": case(optimizer=fastbp.LBFGS(max_iter=8), l2=0.1),
    "lbfgs of weights": case(
        optimizer=fastbp.LBFGS(max_iter=6),
        sample_weight=WEIGHT,
        n=31,
        l2=1.0,
        validation=0.2,
        decays={"b1": 1.0},
        rates={"W2": 0.0},
    ),
    "sparse": sparse,
    "wide": wide,
    "wide and clipped": lambda comm: wide(comm, 64, clip_norm=0.1),
    "pixels": pixels,
    "generator": generator,
    "goes on": goes_on,
    "own rows": own_rows({2: [70, 31], 3: [50, 40, 11]}),
    "own rows, few": own_rows({2: [4, 0], 3: [1, 0, 3]}, WEIGHT),
}


# what does not go well: gives the exception and how the network is left


def told_error(comm, run, net):
    before = net.parameters.copy()
    try:
        run()
    except BaseException as error:
        kind, words = type(error).__name__, str(error)
        rank = getattr(error, "rank", None)
        changed = not np.array_equal(before, net.parameters)
        step = getattr(error, "step", None)
        return {"error": kind, "words": words, "rank": rank, "changed": changed, "step": step,
                "parameters": net.parameters.copy()}  # fmt: skip
    return {"error": None, "parameters": net.parameters.copy()}


class Without:
    """The engine's doors, of which one finds no memory."""

    def __init__(self, doors, name):
        self.doors, self.name = doors, name

    def __getattr__(self, name):
        return self.fail if name == self.name else getattr(self.doors, name)

    def fail(self, *args):
        raise MemoryError("none left")


def fails(last=True, net_of_odd=None, **options):
    """A fit in which the last rank (or the first) is given `odd` options."""

    def run(comm):
        odd = comm.rank == (comm.size - 1 if last else 0)
        net = classifier(**net_of_odd if odd and net_of_odd else {})
        given = {"epochs": 4, "batch_size": 16, "seed": 3, "comm": comm, "shard": True}
        for name, value in options.items():
            if odd or not name.startswith("odd_"):
                given[name.removeprefix("odd_")] = value
        data = given.pop("data", (X, LABELS))
        if (name := given.pop("doors", None)) is not None:
            net._doors = Without(net._doors, name)
        return told_error(comm, lambda: net.fit(*data, **given), net)

    return run


class Raises:
    """A callback that raises when so many events have come."""

    def __init__(self, error, at, steps=False):
        self.error, self.at, self.steps, self.seen = error, at, steps, 0

    def __call__(self, event):
        self.seen += 1
        if self.seen == self.at:
            raise self.error


class Stops(Raises):
    def __call__(self, event):
        self.seen += 1
        return self.seen == self.at


def bad_order(epoch, n):
    if epoch == 1:
        raise RuntimeError("no order")
    return np.arange(n)


def other_order(epoch, n):
    return np.roll(np.arange(n), 1)


def quiet(event):
    """Nothing."""


def writes(event):
    event.network.parameters[0] += 1


def diverges(comm):
    """One rank's rows are far off, from the second batch on."""
    net = regressor(dtype="float32", activation="relu")
    Y = NUMBERS.copy()
    Y[40 + (comm.size - 1 - 40) % comm.size] = 1e30
    given = {"comm": comm, "shard": True, "shuffle": False, "batch_size": 16}
    return told_error(comm, lambda: net.fit(X, Y, optimizer=fastbp.SGD(1e-2), **given), net)


def explodes(comm):
    """All ranks' steps are too long."""
    net = regressor(dtype="float32")
    given = {"comm": comm, "shard": True, "batch_size": 16, "epochs": 50}
    return told_error(comm, lambda: net.fit(X, NUMBERS, optimizer=fastbp.SGD(50.0), **given), net)


def interrupted(everywhere, sync_every=None):
    """Ctrl-C, on the last rank or on all, while the engine is at work."""

    def run(comm):
        net = classifier()
        begun = threading.Event()

        def strike():
            begun.wait(60)
            os.kill(os.getpid(), signal.SIGINT)

        if everywhere or comm.rank == comm.size - 1:
            threading.Thread(target=strike, daemon=True).start()
        given = {"comm": comm, "shard": True, "epochs": 10**6, "sync_every": sync_every}
        given["callbacks"] = [lambda event: begun.set() if event.epoch == 2 else None]
        return told_error(comm, lambda: net.fit(X, LABELS, **given), net)

    return run


def out_of_time(comm):
    """Of one rank: all end after the same step."""
    net = classifier()
    given = {"comm": comm, "shard": True, "epochs": 10**6}
    if comm.rank == 0:
        given["time_limit"] = 0.2
    history = net.fit(X, LABELS, **given)
    return told(net, history) | {"step": history.state.position.step}


def stopped(comm):
    net = classifier()
    own = [Stops(None, 2)] if comm.rank == comm.size - 1 else []
    history = net.fit(X, LABELS, epochs=9, comm=comm, shard=True, callbacks=own)
    return told(net, history) | {"seconds": len(history["seconds"])}


def stopped_at_a_step(comm):
    net = classifier()
    own = [Stops(None, 5, steps=True)] if comm.rank == 0 else []
    history = net.fit(X, LABELS, epochs=9, batch_size=16, comm=comm, shard=True, callbacks=own)
    return told(net, history) | {"step": history.state.position.step}


def local_steps(comm, **options):
    net = classifier()
    given = {"comm": comm, "shard": True, "epochs": 3, "batch_size": 12, "seed": 3}
    history = net.fit(X, LABELS, **given | {"sync_every": 4} | options)
    return told(net, history) | {"slots": history.state.slots}


def local_steps_go_on(comm):
    net = classifier()
    given = {"comm": comm, "shard": True, "batch_size": 12, "seed": 3, "sync_every": 4}
    first = net.fit(X, LABELS, epochs=1, **given)
    history = net.fit(X, LABELS, epochs=2, resume=first, **given)
    return told(net, history) | {"slots": history.state.slots}


def local_steps_diverge(comm):
    wild = np.where(np.arange(N)[:, None] % comm.size == comm.size - 1, 1e30, 1.0) * X
    given = {"comm": comm, "shard": True, "sync_every": 3, "optimizer": fastbp.SGD(1e20)}
    net = regressor(dtype="float32", activation="relu")
    return told_error(comm, lambda: net.fit(wild, NUMBERS, **given), net)


def alone(comm):
    """A communicator of one rank is an ordinary fit."""
    from mpi4py import MPI

    net = classifier()
    given = {"comm": MPI.COMM_SELF, "shard": True, "sync_every": 3, "threads": 1}
    return told(net, net.fit(X, LABELS, epochs=2, batch_size=16, seed=3, **given))


def parts(comm):
    """Ranks that do not do the same, as the project itself would not have them."""
    ranks, net = as_ranks(comm), classifier()
    one = ranks.gather if comm.rank else ranks.share
    return told_error(comm, lambda: one(3), net)


def outputs(comm):
    """An event has the outputs of a rank's own validation rows."""
    net, seen = classifier(), []
    held = slice(comm.rank, 60, comm.size)
    given = {"comm": comm, "epochs": 2, "validation": (X[held], LABELS[held])}
    given["callbacks"] = [lambda event: seen.append(event.outputs.copy())]
    rows = slice(comm.rank, None, comm.size)
    net.fit(X[rows], LABELS[rows], **given)
    return {"parameters": net.parameters, "same": np.allclose(seen[-1], net.predict(X[held]))}


ODD = {
    "bad data": fails(data=(X, LABELS), odd_data=(np.where(X > 2.5, np.nan, X), LABELS)),
    "bad labels": fails(odd_data=(X, LABELS + 1)),
    "bad option": fails(odd_batch_size=0),
    "other option": fails(odd_l2=0.5),
    "other optimizer": fails(optimizer=fastbp.Adam(), odd_optimizer=fastbp.Adam(0.1)),
    "other network": fails(net_of_odd={"sizes": [8, 9, 3]}),
    "other type": fails(net_of_odd={"dtype": "float32"}),
    "a file on one": fails(odd_checkpoint="nowhere"),
    "other rows": fails(odd_data=(X[:50], LABELS[:50])),
    "other targets": fails(odd_data=(X, SOFT)),
    "own loss": fails(loss=lambda a, y, w: (0.0, a)),
    "first fails": fails(last=False, odd_callbacks=[Raises(RuntimeError("no"), 2)]),
    "callback": fails(odd_callbacks=[Raises(RuntimeError("no"), 2)]),
    "callback of a step": fails(odd_callbacks=[Raises(MemoryError(), 5, steps=True)]),
    "callback exits": fails(odd_callbacks=[Raises(SystemExit(3), 2)]),
    "callback interrupts": fails(odd_callbacks=[Raises(KeyboardInterrupt(), 2)]),
    "callback while others look": fails(
        validation=0.3, metrics="r2", ema=0.5, callbacks=[quiet],
        odd_callbacks=[Raises(RuntimeError("no"), 1)],
    ),
    "metric": fails(validation=0.3, metrics={"own": lambda y, a: 0.0},
                    odd_metrics={"own": lambda y, a: "no"}),
    "order": fails(shuffle=lambda epoch, n: np.arange(n), odd_shuffle=bad_order),
    "other order": fails(shuffle=lambda epoch, n: np.arange(n), odd_shuffle=other_order),
    "written": fails(callbacks=[quiet], odd_callbacks=[writes]),
    "schedule": fails(
        schedule=lambda epoch: 0.1, odd_schedule=lambda epoch: 0.1 + 0 // (2 - epoch)
    ),
    "other schedule": fails(schedule=lambda epoch: 0.1, odd_schedule=lambda epoch: 0.2),
    "no rate": fails(
        schedule=lambda epoch: 0.1, odd_schedule=lambda epoch: 0.1 if epoch < 2 else None
    ),
    "lbfgs": fails(optimizer="lbfgs", odd_callbacks=[Raises(RuntimeError("no"), 2)]),
    "memory of a run": fails(odd_doors="Trainer"),
    "memory of an epoch": fails(odd_doors="draw_order"),
    "sparse file": fails(data=(SPARSE, LABELS), checkpoint="nowhere"),
    "chunks": fails(data=(X, None)),
    "steps between means": fails(sync_every=3, odd_callbacks=[Raises(None, 9, steps=True)]),
    "watched seconds": fails(early_stopping=fastbp.EarlyStopping(monitor="seconds", mode="max")),
}  # fmt: skip
OTHERS = {
    "diverges": diverges,
    "explodes": explodes,
    "interrupted": interrupted(False),
    "interrupted everywhere": interrupted(True),
    "interrupted between means": interrupted(False, 5),
    "out of time": out_of_time,
    "stopped": stopped,
    "stopped at a step": stopped_at_a_step,
    "local": local_steps,
    "local again": local_steps,
    "local, all": lambda comm: local_steps(
        comm, ema=0.9, validation=0.2, dropout=0.1, sample_weight=WEIGHT, batch_size=1000,
        schedule=STEPS, clip_norm=0.1, early_stopping=EARLY,
    ),
    "local, few": lambda comm: local_steps(comm, batch_size=2, sync_every=1),
    "local, goes on": local_steps_go_on,
    "local, diverges": local_steps_diverge,
    "alone": alone,
    "outputs": outputs,
    "parts": parts,
}  # fmt: skip
CASES = EQUAL | {f"odd {name}": run for name, run in ODD.items()} | OTHERS


def checkpointed(path, comm, last):
    """A run that its file lets go on, by other ranks; ended in the middle but the last time."""
    net = classifier(seed=7)
    stop = [] if last else [Raises(KeyboardInterrupt(), 17, steps=True)]
    given = {"checkpoint": path, "every": 0.0, "callbacks": stop, "validation": 0.2}
    given |= {"epochs": 5, "batch_size": 16, "seed": 3, "ema": 0.5, "sample_weight": WEIGHT}
    if comm is not None:
        given |= {"comm": comm, "shard": True}
    if last:
        return told(net, net.fit(X, LABELS, **given))
    return told_error(comm, lambda: net.fit(X, LABELS, **given), net)


def waits(path, comm):
    """A run until it is killed."""
    net = classifier()

    def note(event):
        if event.epoch == 3:
            Path(f"{path}.{comm.rank}").write_text(str(os.getpid()))

    net.fit(X, LABELS, epochs=10**9, comm=comm, shard=True, callbacks=[note])


def main():
    from mpi4py import MPI

    comm, out, names = MPI.COMM_WORLD, Path(sys.argv[1]), sys.argv[2:]
    if names == ["waits"]:
        waits(out, comm)
        return
    if names[0] in ("stopped in a file", "ended from a file"):
        found = {names[0]: checkpointed(out, comm, names[0].startswith("ended"))}
        out = out.parent
    else:
        found = {}
        for name in names:
            print(comm.rank, name, flush=True)  # where it hangs
            found[name] = CASES[name](comm)
    (out / f"{comm.size}.{comm.rank}.pickle").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main()
