"""What is trained, and a graph that is run, in the tests of estimators and of pipelines."""

import numpy as np

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def session(proto):
    import onnxruntime as ort  # not everywhere: this file is looked into where it is not, too

    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def ends(proto):
    """Names and types of inputs and outputs."""
    opened = session(proto)
    return [(v.name, v.type.removeprefix("tensor")) for v in
            [*opened.get_inputs(), *opened.get_outputs()]]  # fmt: skip


def samples(dtype="float32", n=80):
    return np.random.default_rng(0).standard_normal((n, 4)).astype(dtype)


def digitized(x):
    return np.digitize(x, [-0.5, 0.5])


TARGETS = {
    "two texts": lambda X: np.where(X[:, 0] > 0, "yes", "no"),
    "booleans": lambda X: X[:, 0] > 0,
    "numbers": lambda X: 5 * (X[:, 0] > 0),
    "floats": lambda X: 2.0 * (X[:, 0] > 0),
    "three": lambda X: digitized(X[:, 1]),
    "three texts": lambda X: np.array(["a", "b", "c"])[digitized(X[:, 1])],
    "objects": lambda X: np.array(["a", "bb", "c"], object)[digitized(X[:, 1])],
    "labels": lambda X: (X[:, :3] > 0).astype(int),
    "one class": lambda X: np.zeros(len(X), int),
}
