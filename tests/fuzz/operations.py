"""The calls: each makes a public callable and good arguments for it from a session and choices.

What does not belong here: bad arguments (values.py), what must hold of a call (calls.py).
"""

import copy
import pickle
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from users import ANSWERS, Callback, OwnLoss, own

import fastbp
from fastbp import benchmark, callbacks, check, datasets, explain, functions, schedules
from fastbp.datasets import scaling, splitting
from fastbp.estimators import MLPClassifier, MLPRegressor

ACTIVATIONS = (*functions.ACTIVATIONS, "leaky_relu(0.2)", "elu(0.6)", "softmax(0.7)", "maxout(3)")
LOSSES = (*functions.LOSSES, "mse(0.5)", "huber(0.4)", "pinball(0.9)")
INITS = (
    "scaled", "large", "glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "zeros",
)  # fmt: skip
OPTIMIZERS = {
    fastbp.SGD: {"learning_rate": 0.1, "momentum": 0.9, "nesterov": True},
    fastbp.Adam: {"learning_rate": 0.01, "beta1": 0.8, "beta2": 0.9, "epsilon": 1e-8},
    fastbp.AdamW: {"learning_rate": 0.01, "beta1": 0.8, "epsilon": 1e-8, "weight_decay": 0.1},
    fastbp.AMSGrad: {"learning_rate": 0.01, "beta2": 0.9},
    fastbp.RMSprop: {"learning_rate": 0.01, "alpha": 0.9, "momentum": 0.9, "centered": True},
    fastbp.Adagrad: {"learning_rate": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.1},
    fastbp.Adadelta: {"learning_rate": 1.0, "rho": 0.8, "epsilon": 1e-6},
    fastbp.Lion: {"learning_rate": 1e-3, "beta1": 0.8, "weight_decay": 0.1},
    fastbp.LBFGS: {"max_iter": 3, "tolerance": 1e-5, "max_fun": 20},
}
SCHEDULES = {
    schedules.Constant: {},
    schedules.Step: {"every": 2, "factor": 0.5},
    schedules.Exponential: {"factor": 0.9, "each": "step"},
    schedules.Cosine: {"warmup": 1, "final": 0.1, "epochs": 5, "each": "step"},
    schedules.CosineLog: {"cycles": 3, "epochs": 5, "each": "step"},
    schedules.OneCycle: {
        "max_factor": 3.0,
        "warmup": 0.4,
        "final_factor": 0.1,
        "epochs": 5,
        "each": "step",
    },
    schedules.InverseScaling: {"power": 0.5, "each": "step"},
    schedules.Adaptive: {"tol": 1e-3, "n_iter_no_change": 1},
    schedules.HalveOnPlateau: {"patience": 1, "monitor": "loss", "mode": "min"},
}


@dataclass
class Call:
    """One call. `owner`: the network or estimator that it may change where it succeeds."""

    function: Callable[..., Any]
    arguments: dict[str, Any]
    owner: Any = None
    repeats: bool = False  # asked again it gives the same bits
    twice: Callable[[], Any] | None = None  # the same on copies, made before: the bits again
    keep: Callable[[Any], Any] = lambda result: None  # what the session does with the result
    writes: tuple[str, ...] = ()  # arguments that are written to
    touches_files: bool = False


class Session:
    """A network with data, and what earlier calls have left for later ones."""

    def __init__(self, draws, folder):
        self.folder = folder
        self.model = None
        self.take(fastbp.Network([3, 4, 2], seed=1), draws)

    def take(self, net, d):
        """Go on with another network, and data that fit it."""
        self.net, self.history = net, None
        n, n_targets = 1 + d.below(9), net._n_targets
        size = d.pick((1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 1e-30, 1e4, 1e18, 1e37))
        self.X = (size * d.normal(n, net.sizes[0])).astype(net.dtype)
        kind = functions.loss(net.architecture["loss"]).targets
        Y = d.normal(n, n_targets) * d.pick((1.0, 1.0, 1.0, 0.0, 1e10))
        if kind == "-1 or 1":
            Y = np.where(Y > 0, 1.0, -1.0)
        elif kind == "in [0, 1]":
            Y = (Y > 0) * 1.0 if d.chance(0.7) else np.clip(Y, 0, 1)
        elif kind == "at least 0":
            Y = np.abs(Y)
        self.Y = Y.astype(net.dtype)
        self.labels = np.abs(Y).argmax(axis=1) if n_targets > 1 else None
        self.weight = np.abs(d.normal(n)) + 0.1


def form(d, array):
    """The same numbers as somebody else would hand them over."""
    kind = d.below(9)
    if kind == 0:
        return array.tolist()
    if kind == 1:
        return np.asfortranarray(array)
    if kind == 2:
        return array.astype(array.dtype.newbyteorder())
    if kind == 3:
        array = array.copy()
        array.flags.writeable = False
    return array


def data(s, d, **more):
    """X and Y of some of the session's rows."""
    k = d.below(len(s.X)) + 1 if d.chance(0.3) else len(s.X)
    Y = s.Y if s.labels is None or d.chance(0.3) else s.labels
    found = {"X": form(d, s.X[:k]), "Y": form(d, Y[:k])}
    for name, value in more.items():
        if d.chance(0.3):
            found[name] = value(k)
    return found


def loss_options(s, d):
    return {
        "sample_weight": lambda k: form(d, s.weight[:k]),
        "l2": lambda k: d.pick((0, 0.1, 1e3)),
        "l1": lambda k: d.pick((0.0, 0.1)),
        "dropout": lambda k: fastbp.Dropout(0.5, seed=d.below(9), step=d.below(9)),
        "ignore_missing": lambda k: d.chance(0.5),
    }


# the network


def with_layers(d, sizes):
    """The same with scales between, and some numbers written as layers."""
    kinds = fastbp.layers
    found = [n if d.chance(0.6) else kinds.Dense(n) for n in sizes]
    found[0] = sizes[0]
    for _ in range(d.below(4)):
        found.insert(1 + d.below(len(found) - 1), d.pick((kinds.Scale(), "scale")))
    if d.chance(0.2):
        found[-1] = kinds.Dense(sizes[-1], d.pick(ACTIVATIONS))
    return found


def network(s, d):
    sizes = [1 + d.below(4) for _ in range(2 + d.below(3))]
    loss, output = d.pick(LOSSES), d.pick(ACTIVATIONS)
    if loss == "gaussian_nll":
        sizes[-1] = 2 * d.below(2) + 2
    hidden = [d.pick(ACTIVATIONS) for _ in sizes[1:-1]]
    sizes = d.pick((list, tuple, np.array))(sizes) if d.chance(0.6) else with_layers(d, sizes)
    arguments = {
        "sizes": sizes,
        "activation": hidden if d.chance(0.5) or not hidden else hidden[0],
        "output": output,
        "loss": loss,
        "dtype": d.pick(("float32", "float64", np.float32, np.dtype("float64"))),
        "init": d.pick(INITS),
        "seed": d.below(5),
    }
    return Call(fastbp.Network, arguments, repeats=True, keep=lambda net: s.take(net, d))


def asked(name, *options):
    """A question to the network that changes nothing."""

    def made(s, d):
        known = loss_options(s, d)
        arguments = data(s, d, **{option: known[option] for option in options})
        return Call(getattr(s.net, name), arguments, repeats=True)

    return made


def of_inputs(name):
    def made(s, d):
        net, arguments = s.net, {"X": form(d, s.X)}
        if name == "vjp":
            arguments["V"] = form(d, d.normal(len(s.X), net.sizes[-1]))
        if name == "jvp":
            arguments["V"] = form(d, d.normal(len(s.X), net.sizes[0]))
        writes = ()
        if name == "predict" and d.chance(0.2):
            arguments["out"] = np.empty((len(s.X), net.sizes[-1]), net.dtype)
            writes = ("out",)
        return Call(getattr(net, name), arguments, repeats=not writes, writes=writes)

    return made


def gradient(s, d):
    arguments = data(s, d, **loss_options(s, d))
    writes = ()
    if d.chance(0.2):
        arguments["out"] = np.empty(s.net.n_parameters, s.net.dtype)
        writes = ("out",)
    return Call(s.net.gradient, arguments, repeats=not writes, writes=writes)


def perturbed(s, d):
    k = 1 + d.below(4)
    arguments = data(s, d)
    arguments["index"] = form(d, np.array([d.below(s.net.n_parameters) for _ in range(k)]))
    arguments["values"] = form(d, d.normal(k))
    return Call(s.net.perturbed_costs, arguments, repeats=True)


def assign(s, d):
    size = d.pick((1.0, 1.0, 1.0, 0.0, 1e-30, 1e5, 1e30))
    value = form(d, (size * d.normal(s.net.n_parameters)).astype(s.net.dtype))

    def parameters(parameters):
        s.net.parameters = parameters

    return Call(parameters, {"parameters": value}, owner=s.net)


def twin(s, d):
    make = d.pick((copy.copy, copy.deepcopy, fastbp.Network.copy, pickled))
    net = s.net

    def keep(other):
        assert other.parameters.tobytes() == net.parameters.tobytes()
        assert repr(other) == repr(net)
        s.net = other

    return Call(lambda: make(net), {}, keep=keep)


def pickled(value):
    return pickle.loads(pickle.dumps(value))


def file(s, d):
    """Save and load."""
    path, net = s.folder / "net.safetensors", s.net

    def keep(_):
        other = fastbp.load(arguments["path"])
        assert other.parameters.tobytes() == net.parameters.tobytes()

    arguments = {"path": d.pick((path, str(path)))}
    if d.chance(0.3):
        arguments["metadata"] = {"a": [1, None, "x"]}
    return Call(net.save, arguments, keep=keep, touches_files=True)


def load(s, d):
    path = s.folder / "net.safetensors"
    if not path.exists():
        s.net.save(path)
    return Call(fastbp.load, {"path": path}, repeats=True, touches_files=True)


# fit, and what it is told


def optimizer(d, names=tuple(OPTIMIZERS)):
    kind = d.pick(names)
    given = {name: v for name, v in OPTIMIZERS[kind].items() if d.chance(0.4)}
    if given.get("nesterov"):
        given["momentum"] = 0.9
    if "learning_rate" in OPTIMIZERS[kind] and d.chance(0.2):
        given["learning_rate"] = d.pick((0, 1e-30, 1e3, 1e30, 1e300))
    return kind(**given)


def schedule(d):
    if d.chance(0.3):
        return own(d.pick(ANSWERS), lambda epoch: 0.1 / (epoch + 1))
    kind = d.pick(tuple(SCHEDULES))
    found = kind(**{k: v for k, v in SCHEDULES[kind].items() if k != "each" or d.chance(0.5)})
    return {d.pick(("learning_rate", "weight_decay", "dropout")): found} if d.chance(0.3) else found


def factors(d):
    """Of tensors by patterns, some of which match none."""
    names = ("W1", "b1", "W2", "b2", "*", "W*", "b?", "s1")
    return {d.pick(names): d.pick((0, 1, 0.5, 3.0)) for _ in range(d.below(4))}


def validation(s, d):
    if d.chance(0.3):
        return 0.3
    found = data(s, d)
    parts = found["X"], found["Y"]
    return (*parts, s.weight[: len(found["X"])]) if d.chance(0.2) else parts


def stopping(d):
    monitor = d.pick(("loss", "loss", "validation_loss", "validation_accuracy", "validation_mine"))
    mode = "max" if monitor == "validation_mine" else None
    return fastbp.EarlyStopping(1 + d.below(2), d.pick((0.0, 0.1)), monitor, mode)


def metrics(d):
    return d.pick(
        (
            "accuracy",
            ["mse", "mae"],
            ["r2", "rmse", "balanced_accuracy"],
            {"mine": own(d.pick(ANSWERS), lambda y, a: float(a.mean()))},
        )
    )


FIT = {  # each with how it is made
    "epochs": lambda s, d: 1 + d.below(4),
    "batch_size": lambda s, d: 1 + d.below(12),
    "optimizer": lambda s, d: optimizer(d),
    "shuffle": lambda s, d: d.pick(
        (True, False, own(d.pick(("good", "raise", "abc", None)), lambda e, n: np.arange(n)[::-1]))
    ),
    "drop_last": lambda s, d: d.chance(0.5),
    "seed": lambda s, d: d.below(5),
    "validation": validation,
    "l2": lambda s, d: d.pick((0.1, 1e3)),
    "l1": lambda s, d: 0.1,
    "sample_weight": lambda s, d: form(d, s.weight * d.pick((1.0, 1.0, 1.0, 1e-40, 1e30))),
    "clip_value": lambda s, d: d.pick((0.01, 1e3)),
    "clip_norm": lambda s, d: d.pick((0.01, 1e3)),
    "dropout": lambda s, d: d.pick((0.2, [0.5] * (len(s.net.sizes) - 1), 0)),
    "ignore_missing": lambda s, d: True,
    "callbacks": lambda s, d: [
        Callback(d.pick(Callback.KINDS), d.chance(0.3)) for _ in range(1 + d.below(2))
    ],
    "threads": lambda s, d: 1 + d.chance(0.3),
    "resume": lambda s, d: s.history,
    "schedule": lambda s, d: schedule(d),
    "rates": lambda s, d: factors(d),
    "decays": lambda s, d: factors(d),
    "metrics": lambda s, d: metrics(d),
    "early_stopping": lambda s, d: stopping(d),
    "time_limit": lambda s, d: d.pick((1e-9, 1e-4, 60.0)),
    "ema": lambda s, d: d.pick((0.0, 0.9)),
    "class_weight": lambda s, d: d.pick(("balanced", {0: 2.0}, {1: 0, 0: 1e30}, {-1: 1.0})),
    "label_smoothing": lambda s, d: 0.1,
    "loss": lambda s, d: OwnLoss(d.pick(OwnLoss.KINDS)),
    "checkpoint": lambda s, d: s.folder / "run.ckpt",
    "every": lambda s, d: 0.0,
}
SHARES = {"seed": 0.9, "epochs": 0.9, "checkpoint": 0.03, "progress": 0.0, "time_limit": 0.04}
UNTIMELY = "time_limit", "loss", "checkpoint"  # with which nothing is asked to repeat


def fit(s, d):
    net, arguments = s.net, data(s, d)
    few = d.pick((0.0, 0.1, 0.1, 0.3))
    for name, make in FIT.items():
        if d.chance(SHARES.get(name, few)):
            arguments[name] = make(s, d)
    arguments.setdefault("epochs", 2)  # and not 30
    if "sample_weight" in arguments or "resume" in arguments or "validation" in arguments:
        arguments |= {"X": s.X, "Y": s.Y if s.labels is None else s.labels}
    if "seed" not in arguments:
        arguments["seed"] = 0
    again = None
    if d.chance(0.2) and not any(name in arguments for name in UNTIMELY):
        other, same = net.copy(), arguments | {"threads": 1 + d.chance(0.2)}
        if "callbacks" in arguments:
            same["callbacks"] = [Callback(c.kind, c.steps) for c in arguments["callbacks"]]

        def again():
            history = other.fit(**same)
            return other.parameters, history

    def keep(history):
        s.history = history
        return net.parameters, history

    return Call(
        net.fit, arguments, owner=net, twice=again, keep=keep,
        touches_files="checkpoint" in arguments,
    )  # fmt: skip


SEVERAL = (  # options of which networks may have their own
    "epochs", "batch_size", "optimizer", "seed", "l2", "l1", "clip_value", "clip_norm", "schedule",
    "rates", "decays", "early_stopping", "ema", "class_weight", "label_smoothing", "validation",
)  # fmt: skip
WHOLE = ("threads", "resume", "checkpoint", "every", "time_limit")


def fit_many(s, d):
    """The session's network among copies of it, each as its own fit leaves it."""
    few = d.pick((0.0, 0.1, 0.1, 0.3))
    n, n_rows = 1 + d.below(20), len(s.X)
    nets = [s.net, *(s.net.copy() for _ in range(n - 1))]
    for net in nets[1:]:
        net.parameters[...] *= d.pick((0.5, 1.0, 2.0))
    arguments, twins = {}, [net.copy() for net in nets]
    for name, make in FIT.items():
        if name not in WHOLE and d.chance(SHARES.get(name, few)):
            arguments[name] = make(s, d)
            if name in SEVERAL and d.chance(0.5):
                arguments[name] = [make(s, d) for _ in nets]
    arguments.setdefault("epochs", 2)
    arguments.setdefault("seed", 0)
    own = dict(arguments)
    arguments |= {
        "networks": nets, "X": s.X, "Y": s.Y if s.labels is None else s.labels,
        "threads": 1 + d.below(3),
    }  # fmt: skip
    rows = [np.arange(n_rows)] * n
    if d.chance(0.4):
        rows = [d.of_rows(n_rows) for _ in nets]
        arguments["rows"] = rows
    untimely = any(name in own for name in UNTIMELY)
    if "callbacks" in own:
        own["callbacks"] = [Callback(c.kind, c.steps) for c in own["callbacks"]]
        untimely = untimely or n > 1  # one object for all: in which order it is called

    def again():
        histories = []
        for i, (net, of) in enumerate(zip(twins, rows, strict=True)):
            one = {k: v[i] if k in SEVERAL and isinstance(v, list) else v for k, v in own.items()}
            if one.get("sample_weight") is not None:
                one["sample_weight"] = np.asarray(one["sample_weight"])[of]
            try:
                history = net.fit(s.X[of], arguments["Y"][of], **one)
            except fastbp.DivergenceError as error:
                history = str(error)
            histories.append((net.parameters.copy(), history))
        return histories

    def keep(histories):
        s.history = None
        return [
            (net.parameters.copy(), str(h.error) if h.error is not None else h)
            for net, h in zip(nets, histories, strict=False)  # bad ones may be fewer
        ]

    return Call(
        fastbp.fit_many, arguments, owner=s.net, keep=keep,
        twice=None if untimely or d.chance(0.6) else again, writes=("networks",),
    )  # fmt: skip


def options(table):
    """One of a table of classes, with some of its arguments."""

    def made(s, d):
        kind = d.pick(tuple(table))
        needed = NEEDED.get(kind)
        given = {name: v for name, v in table[kind].items() if name == needed or d.chance(0.6)}
        return Call(kind, given, repeats=True, keep=rates if table is SCHEDULES else lambda o: o)

    return made


def rates(schedule):
    """What a schedule says is a rate, for as long as a run may be."""
    for start in (0.1, 1e-30, 1e300):
        generator = schedule.rates(start, 3000, 10**6)
        try:
            found = next(generator)
            for epoch in range(30):
                found = generator.send(1.0 / (epoch + 1) if epoch < 5 else 1.0)
                assert found is None or 0 <= found < np.inf, found
        except ValueError as error:
            assert str(error).startswith("schedule: expected finite rates"), error


SMALL = {
    fastbp.EarlyStopping: {"patience": 2, "min_delta": 0.1, "monitor": "loss", "mode": "min"},
    fastbp.Dropout: {"rate": 0.5, "seed": 1, "step": 2},
    fastbp.each_step: {"callback": own("good", lambda event: None)},
    functions.activation: {"text": "relu", "argument": "activation"},
    functions.loss: {"text": "mse"},
    benchmark.chosen: {"letters": "A,b"},
    fastbp.History: {"earlier": None},
}


NEEDED = {
    schedules.Step: "every",
    schedules.Exponential: "factor",
    fastbp.Dropout: "rate",
    fastbp.each_step: "callback",
    functions.activation: "text",
    functions.loss: "text",
    benchmark.chosen: "letters",
}


def masks(s, d):
    return Call(
        fastbp.Dropout(0.5, seed=d.below(5)).masks, {"net": s.net, "n": 1 + d.below(5)},
        repeats=True,
    )  # fmt: skip


def norms(s, d):
    watch = callbacks.DeltaNorms(**data(s, d))
    return Call(watch.record, {"net": s.net}, keep=lambda _: watch.norms)


# data


def readers(s, d):
    path = s.folder / "table.csv"
    path.write_text("a,b,kind\n1,2,x\n3,4,y\n5,6.5,x\n")
    kind = d.below(3)
    if kind == 0:
        arguments = {"path": path, "target": "kind", "task": d.pick(("classification", None))}
        return Call(datasets.read, arguments, touches_files=True)
    if kind == 1:
        arguments = {"path": str(path), "columns": ["a", "b"], "target": "kind", "task": None}
        return Call(datasets.read_inputs, arguments, touches_files=True)
    return Call(datasets.read_idx, {"path": path}, touches_files=True)


def tables(s, d):
    if d.chance(0.3):
        return Call(scaling.Scaling.of, {"X": s.X.astype(np.float64)}, repeats=True)
    return Call(splitting.held_out, {"Y": s.Y, "share": 0.3, "seed": 1}, repeats=True)


# checks: each takes milliseconds


def check_gradients(s, d):
    arguments = {"net": s.net, "X": s.X[:2], "Y": s.Y[:2], "seed": d.below(3)}
    arguments |= {"mode": d.pick(("full", "fast")), "max_parameters": 4 + d.below(9)}
    if d.chance(0.3):
        arguments["gradient"] = s.net.gradient
    for name, value in (
        ("sample_weight", s.weight[:2]), ("l2", 0.1), ("l1", 0.1), ("tolerance", 1e-5),
        ("dropout", fastbp.Dropout(0.3)), ("ignore_missing", True), ("method", "differences"),
        ("decays", {"*": 0.5, "b*": 0.0}),
    ):  # fmt: skip
        if d.chance(0.15):
            arguments[name] = value
    return Call(check.gradients, arguments, keep=shown)


def check_gradient(s, d):
    x = d.normal(3)
    arguments = {
        "f": own(d.pick(ANSWERS), lambda x: float(np.sum(np.asarray(x) ** 2))),
        "grad": d.pick((own(d.pick(ANSWERS), lambda x: 2 * np.asarray(x)), 2 * x)),
        "x": form(d, x),
        "tolerance": 1e-6,
        "method": d.pick(("auto", "differences", "complex")),
        "max_elements": 2 + d.below(3),
        "seed": d.below(3),
    }
    return Call(check.gradient, arguments, keep=shown)


def check_structure(s, d):
    arguments = {"activation": d.pick((*ACTIVATIONS, own(d.pick(ANSWERS), np.cumsum)))}
    arguments |= {"n": 1 + d.below(4), "seed": d.below(3)}
    return Call(check.structure, arguments, keep=shown)


def check_error(s, d):
    if d.chance(0.5):
        arguments = {"net": s.net, "x": s.X[0], "y": s.Y[0]}
        return Call(d.pick((check.output_error, check.recurrence)), arguments, keep=shown)
    arguments = {"z": d.normal(3), "y": np.abs(d.normal(3)), "activation": d.pick(ACTIVATIONS)}
    arguments["cost"] = d.pick((*LOSSES, own(d.pick(ANSWERS), lambda a, y: float(np.sum(a * y)))))
    if d.chance(0.3):
        arguments["delta"] = d.pick((d.normal(3), own(d.pick(ANSWERS), lambda z, y: z)))
    if d.chance(0.3):
        arguments["activation_prime"] = own(d.pick(ANSWERS), lambda z: z)
    if d.chance(0.3):
        arguments["cost_prime"] = own(d.pick(ANSWERS), lambda a, y: a)
    return Call(check.output_error, arguments, keep=shown)


def explained(s, d):
    arguments = {"nets": d.pick((s.net, [s.net])), "x": s.X[0], "y": s.Y[0]}
    n = s.net.sizes[-1]
    for name, value in (
        ("neuron", 1), ("labels", ["a"] * n), ("image", (1, s.net.sizes[0])), ("source", "here"),
        ("note", "so"),
    ):  # fmt: skip
        if d.chance(0.3):
            arguments[name] = value
    return Call(explain.explain, arguments, keep=lambda found: (str(found), found.to_dict()))


def shown(result):
    """Nothing of it may raise."""
    return str(result), result.to_dict(), result.ok


# the estimators: a millisecond each

ESTIMATOR = {
    "hidden_layer_sizes": lambda s, d: d.pick((3, (2, 3), [4], ())),
    "activation": lambda s, d: d.pick(("relu", "logistic", "tanh", "identity", "gelu")),
    "solver": lambda s, d: d.pick(("adam", "sgd", "lbfgs", fastbp.AdamW(0.01), fastbp.Lion())),
    "alpha": lambda s, d: d.pick((0.0, 0.1, 1e3)),
    "batch_size": lambda s, d: d.pick(("auto", 2)),
    "learning_rate": lambda s, d: d.pick(
        ("constant", "invscaling", "adaptive", schedules.Cosine(), own("good", lambda e: 0.1))
    ),
    "learning_rate_init": lambda s, d: d.pick((0.1, 1e30)),
    "power_t": lambda s, d: d.pick((0.5, 400.0)),
    "shuffle": lambda s, d: False,
    "tol": lambda s, d: d.pick((0.0, 1e30)),
    "warm_start": lambda s, d: True,
    "momentum": lambda s, d: d.pick((0.0, 1.0)),
    "nesterovs_momentum": lambda s, d: False,
    "early_stopping": lambda s, d: True,
    "validation_fraction": lambda s, d: d.pick((0.3, 0.0)),
    "beta_1": lambda s, d: 0.5,
    "epsilon": lambda s, d: 1e-3,
    "n_iter_no_change": lambda s, d: 1,
    "max_fun": lambda s, d: 5,
    "loss": lambda s, d: d.pick(LOSSES),
    "dropout": lambda s, d: 0.3,
    "scoring": lambda s, d: d.pick(("accuracy", "r2", own(d.pick(ANSWERS), lambda m, X, y: 0.5))),
    "callbacks": lambda s, d: [Callback(d.pick(Callback.KINDS[:5]), False)],
    "time_limit": lambda s, d: d.pick((1e-9, 60.0)),
    "n_threads": lambda s, d: 1 + d.chance(0.2),
    "class_weight": lambda s, d: d.pick(("balanced", {0: 2.0}, {"a": 1.0, "b": 1e30})),
}


def estimator(s, d):
    kind = d.pick((MLPClassifier, MLPRegressor))
    given = {"max_iter": 1 + d.below(3), "random_state": d.below(3), "time_limit": 1.0}
    for name, make in ESTIMATOR.items():
        if d.chance(0.1) and (kind is MLPClassifier or name != "class_weight"):
            given[name] = make(s, d)
    s.estimated = {"X": form(d, d.normal(12, 2) * d.pick((1.0, 1.0, 1.0, 1e30, 0.0)))}
    y = d.normal(12) if kind is MLPRegressor else np.array(list("abcabcabcabc"))
    if d.chance(0.3):
        y = (np.arange(12) % 2)[:, None] if d.chance(0.3) else np.arange(12) % 2
    s.estimated["y"] = form(d, y)

    def keep(model):
        s.model = model

    return Call(kind, given, keep=keep)


def estimator_fit(s, d):
    if s.model is None:
        return estimator(s, d)
    arguments = dict(s.estimated)
    if d.chance(0.2):
        arguments["sample_weight"] = np.abs(d.normal(12)) + 0.1
    name = "fit"
    if d.chance(0.2) and hasattr(s.model, "partial_fit"):
        name = "partial_fit"
        if isinstance(s.model, MLPClassifier):
            arguments["classes"] = np.unique(np.ravel(s.estimated["y"]))
    elif d.chance(0.2) and s.model.early_stopping is True:
        arguments |= {"X_val": s.estimated["X"], "y_val": s.estimated["y"]}
    return Call(getattr(s.model, name), arguments, owner=s.model)


def estimator_asked(s, d):
    if getattr(s.model, "coefs_", None) is None:
        return estimator(s, d)
    name = d.pick(("predict", "predict_proba", "predict_log_proba", "score"))
    if not hasattr(s.model, name):
        name = "predict"
    arguments = {"X": s.estimated["X"]}
    if name == "score":
        arguments["y"] = s.estimated["y"]
    return Call(getattr(s.model, name), arguments, repeats=True)


OPERATIONS = {  # each with how often it comes
    network: 8,
    asked("loss", "sample_weight", "l2", "l1", "dropout", "ignore_missing"): 6,
    asked("costs", "dropout", "ignore_missing"): 4,
    asked("deltas", "dropout", "ignore_missing"): 4,
    asked("input_gradient"): 3,
    gradient: 6,
    perturbed: 4,
    **{of_inputs(name): 3 for name in ("predict", "feedforward", "jacobian", "vjp", "jvp")},
    assign: 5,
    twin: 1,
    file: 0.3,
    load: 0.3,
    fit: 30,
    fit_many: 6,
    options(OPTIMIZERS): 6,
    options(SCHEDULES): 3,
    options(SMALL): 8,
    masks: 2,
    norms: 2,
    readers: 0.5,
    tables: 1,
    check_gradients: 0.15,
    check_gradient: 0.5,
    check_structure: 0.3,
    check_error: 0.4,
    explained: 0.03,
    estimator: 0.8,
    estimator_fit: 1.2,
    estimator_asked: 1,
}
