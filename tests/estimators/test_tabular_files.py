"""Files of tabular estimators: the same predictions come back, and every other file is refused.

What belongs here: `save` of the tabular estimators, `fastbp.load`. What does not: files of single
networks (tests/files/test_persistence.py), the encoder's own description (tests/tabular/).
"""

import errno
import json
import os
import random
import struct

import numpy as np
import pytest

pytest.importorskip("sklearn")

import safetensors.numpy
from safetensors import safe_open

import fastbp
from fastbp.estimators import TabularClassifier, TabularRegressor
from fastbp.files import ensemble

N = 60
DRAWS = np.random.default_rng(0)
TABLE = {
    "size": [None if i == 3 else x for i, x in enumerate(DRAWS.standard_normal(N).tolist())],
    "wood": DRAWS.choice(["ash", "elm", "oak"], N),
    "when": np.datetime64("2024-01-01") + DRAWS.integers(0, 500, N),
}
CLASSES = DRAWS.choice(["no", "yes", "perhaps"], N)
NUMBERS = DRAWS.standard_normal(N)

MODELS = {
    "classes": lambda: TabularClassifier(random_state=0).fit(TABLE, CLASSES),
    "numbers": lambda: TabularRegressor(random_state=0, verbose=False).fit(TABLE, NUMBERS),
    "several numbers": lambda: TabularRegressor().fit(TABLE, np.c_[NUMBERS, NUMBERS]),
    "several labels": lambda: TabularClassifier().fit(TABLE, np.c_[NUMBERS, -NUMBERS] > 0),
    "array": lambda: TabularRegressor(n_ensemble=1).fit(NUMBERS[:, None], NUMBERS),
    "objects": lambda: TabularClassifier("mlp").fit(TABLE, CLASSES.astype(object)),
    "bools": lambda: TabularClassifier("mlp").fit(TABLE, NUMBERS > 0),
    "ints": lambda: TabularClassifier("mlp").fit(TABLE, (NUMBERS > 0) * np.int8(7)),
    "floats": lambda: TabularClassifier("mlp").fit(TABLE, np.where(NUMBERS > 0, 1.0, -3.0)),
    "realmlp": lambda: TabularRegressor(
        "realmlp-td-s", time_limit=0.2, callbacks=[print], random_state=np.random.RandomState(0)
    ).fit(TABLE, NUMBERS),
}  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A file of a classifier, its description and its tensors."""
    path = tmp_path_factory.mktemp("tabular") / "model.safetensors"
    MODELS["classes"]().save(path)
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()[ensemble.FORMAT])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    return path, description, tensors


def written(path, description, tensors):
    path.write_bytes(safetensors.numpy.save(tensors, {ensemble.FORMAT: json.dumps(description)}))
    return path


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", MODELS)
def test_the_same_predictions(name, tmp_path, capsys):
    model = MODELS[name]()
    table = NUMBERS[:, None] if name == "array" else TABLE
    model.save(tmp_path / "model")
    twin = fastbp.load(tmp_path / "model")
    assert type(twin) is type(model)
    for method in ("predict", "predict_proba"):
        if hasattr(model, method):
            one, other = getattr(model, method)(table), getattr(twin, method)(table)
            assert one.dtype == other.dtype and (one == other).all()
    if hasattr(model, "classes_"):
        assert model.classes_.dtype == twin.classes_.dtype
        assert model.classes_.tolist() == twin.classes_.tolist()
    told = model.get_params() | {"callbacks": None}
    told |= {} if isinstance(told["random_state"], int) else {"random_state": None}
    assert twin.get_params() == told
    for attribute in ("n_features_in_", "n_iter_", "n_outputs_"):
        assert getattr(twin, attribute) == getattr(model, attribute)
    assert hasattr(twin, "feature_names_in_") == hasattr(model, "feature_names_in_")
    for net, other in zip(model.networks_, twin.networks_, strict=True):
        assert (net.parameters == other.parameters).all()
    twin.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "model").read_bytes()
    twin.partial_fit(table, model.predict(table))


def test_a_network_stays_a_network(tmp_path):
    net = fastbp.Network([2, 3, 1], output="identity", loss="mse")
    net.save(tmp_path / "net")
    assert type(fastbp.load(tmp_path / "net")) is fastbp.Network
    with pytest.raises(ValueError, match="expected a tabular model file of fastbp"):
        ensemble.load(tmp_path / "net")


def test_what_no_file_can_hold(tmp_path):
    days = np.where(NUMBERS > 0, np.datetime64("2020"), np.datetime64("2021"))
    model = TabularClassifier("mlp").fit(TABLE, days)
    with pytest.raises(TypeError, match="classes that a file can hold"):
        model.save(tmp_path / "model")
    assert list(tmp_path.iterdir()) == []
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        TabularClassifier().save(tmp_path / "model")


def test_a_disk_that_is_full_leaves_the_old_file(whole, tmp_path, monkeypatch):
    path = tmp_path / "model"
    model = fastbp.load(whole[0])
    model.save(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        model.save(path)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]


CHANGES = {  # of the description: where, what, what is told
    "version": (("version",), 2, "a later fastbp"),
    "format": (("format",), "fastbp", "metadata of a fastbp tabular model"),
    "networks": (("networks",), {}, "expected 'networks'"),
    "no networks": (("networks",), [], "expected 'networks'"),
    "a network": (("networks", 0), 3, "expected 'networks'"),
    "facts": (("facts",), [], "expected 'facts'"),
    "more networks": (("networks", 4), None, "expected 'networks'"),
    "sizes": (("networks", 1, "sizes", -1), 4, "expected tensor '1.W4' of shape"),
    "large": (("networks", 1, "sizes", 2), 10**12, "expected tensor '1.W2' of shape"),
    "loss": (("networks", 1, "loss"), "kl", r"networks\[1\]: expected inputs, outputs and loss"),
    "output": (("networks", 0, "output"), "sigmoid", "sigmoid"),
    "estimator": (("facts", "estimator"), "TabularRanker", "TabularClassifier, TabularRegressor"),
    "regressor": (("facts", "estimator"), "TabularRegressor", "that of TabularRegressor"),
    "more facts": (("facts", "more"), 1, "expected"),
    "n_iter": (("facts", "n_iter"), -1, "n_iter"),
    "preset": (("facts", "parameters", "preset"), "worst", "preset"),
    "parameter": (("facts", "parameters", "power"), 1, "power"),
    "parameters": (("facts", "parameters"), None, "parameters: expected a dict"),
    "design": (("facts", "design"), {}, "design: expected 'encoder'"),
    "lists": (("facts", "design", "lists"), 0, "true or false"),
    "scale": (("facts", "design", "encoder", "columns", 0, "scale"), -1.0, "scale"),
    "a column less": (("facts", "design", "encoder", "columns", 0), None, "encoder"),
    "bins": (("facts", "design", "bins", "columns"), [99], "columns"),
    "fewer bins": (("facts", "design", "bins", "edges", 0), [0.0, 1.0], "inputs, outputs"),
    "kind": (("facts", "targets", "kind"), "ranks", "classes, labels, numbers"),
    "numbers": (("facts", "targets", "kind"), "numbers", "that of TabularClassifier"),
    "values": (("facts", "targets", "values"), ["a", "a", "b"], "distinct"),
    "one value": (("facts", "targets", "values"), ["a"], "a list of classes"),
    "fewer values": (("facts", "targets", "values"), ["a", "b"], "outputs and loss"),
    "values of others": (("facts", "targets", "values"), ["a", 1, None], "a list of classes"),
    "long values": (("facts", "targets", "values"), ["a", "b", "longer than dtype"], "distinct"),
    "dtype": (("facts", "targets", "dtype"), "<f8", "a type of its values"),
    "no dtype": (("facts", "targets", "dtype"), "V7", "a type of labels"),
    "large dtype": (("facts", "targets", "dtype"), "<U999999999", "dtype"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_description_that_does_not_fit(name, whole, tmp_path):
    _, description, tensors = whole
    place, value, told = CHANGES[name]
    description = json.loads(json.dumps(description))
    at = description
    for key in place[:-1]:
        at = at[key]
    if isinstance(at, list) and place[-1] == len(at):
        at.append(value)
    else:
        at[place[-1]] = value
    path = written(tmp_path / "model", description, tensors)
    with pytest.raises(ValueError, match=told) as caught:
        fastbp.load(path)
    assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.parametrize("change", ["less", "more", "other shape", "other type", "NaN"])
def test_tensors_that_do_not_fit(change, whole, tmp_path):
    _, description, tensors = whole
    tensors = dict(tensors)
    if change == "less":
        del tensors["2.b3"]
    elif change == "more":
        tensors["9.W1"] = np.zeros(3, np.float32)
    elif change == "other shape":
        tensors["2.b3"] = tensors["2.b3"][1:]
    elif change == "other type":
        tensors["2.b3"] = tensors["2.b3"].astype(float)
    else:
        tensors["2.b3"] = np.full_like(tensors["2.b3"], np.nan)
    path = written(tmp_path / "model", description, tensors)
    with pytest.raises(ValueError, match=r"tensor|finite") as caught:
        fastbp.load(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_files_cut_short_and_spoilt(whole, tmp_path):
    content = whole[0].read_bytes()
    path, chance = tmp_path / "model", random.Random(0)
    (length,) = struct.unpack("<Q", content[:8])
    cuts = [0, 1, 7, 8, 9, 100, length, length + 8, length + 9, len(content) - 1]
    for cut in cuts:
        path.write_bytes(content[:cut])
        with pytest.raises(ValueError) as caught:
            fastbp.load(path)
        assert str(caught.value).startswith(f"{path}: ")
    for _ in range(300):
        spoilt = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            spoilt[chance.randrange(length + 8)] = chance.randrange(256)
        path.write_bytes(spoilt)
        try:
            fastbp.load(path).predict(TABLE)
        except (ValueError, TypeError) as error:
            assert str(path) in str(error) or "column" in str(error)


def test_a_file_is_needed(tmp_path):
    with pytest.raises(FileNotFoundError):
        fastbp.load(tmp_path / "none")
    with pytest.raises(TypeError, match="path"):
        fastbp.load(3)
