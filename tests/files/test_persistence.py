"""Networks on disk and in copies: the same bits come back, and every other file is refused.

What belongs here: save, load, pickle, copy, and the parameters as a store. What does not: data
files (test_datasets.py), the command line (test_cli.py).
"""

import copy
import errno
import io
import json
import math
import os
import pickle
import socket
import stat
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from numpy.testing import assert_allclose
from safetensors import safe_open

import fastbp
from fastbp import datasets, functions
from fastbp.files import model
from fastbp.layers import Dense, Scale

pytestmark = pytest.mark.sanitizers

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
X = np.random.default_rng(0).standard_normal((5, 4))

KINDS = [
    *({"activation": name} for name in functions.ACTIVATIONS),
    {"activation": "leaky_relu(0.02)"},
    {"activation": "maxout(3)"},
    {"activation": ["maxout(3)", "glu", "layer_norm(0.3)"], "sizes": [4, 3, 5, 6, 2]},
    {"output": "softmax(0.7)", "loss": "kl"},
    {"output": "identity", "loss": "huber(1.5)"},
    {"output": "glu", "loss": "pinball(0.9)"},
    {"output": "maxout", "loss": "gaussian_nll"},
    {"sizes": [4, 1], "output": "exp", "loss": "poisson"},
    {"sizes": [4, Scale(), 3, Scale(), Dense(5, "glu"), 2]},
]


def network(**options):
    return fastbp.Network(**{"sizes": [4, 3, 2], "seed": 7} | options)


def assert_same(one, other):
    assert type(one) is type(other)
    assert one.architecture == other.architecture
    assert one.metadata == other.metadata
    assert one.parameters.dtype == other.parameters.dtype
    assert one.parameters.tobytes() == other.parameters.tobytes()
    assert one.predict(X).tobytes() == other.predict(X).tobytes()


def assert_independent(one, other):
    assert not np.shares_memory(one.parameters, other.parameters)
    before = one.predict(X)
    other.parameters += 1
    other.tensors[next(iter(other.tensors))].flat[0] -= 3
    assert one.predict(X).tobytes() == before.tobytes()
    assert other.predict(X).tobytes() != before.tobytes()


# round trips


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_file_brings_back_the_bits(kind, dtype, tmp_path):
    net = network(dtype=dtype, **kind)
    net.parameters[:2] = -0.0, np.finfo(dtype).smallest_subnormal
    net.metadata = {"a": [1, None, {"b": "ü\ud800"}], "": 1e-300}
    net.save(tmp_path / "net")
    twin = fastbp.load(str(tmp_path / "net"))
    assert_same(net, twin)
    assert_independent(net, twin)


def test_the_file_is_safetensors_with_versioned_json(tmp_path):
    net = network(activation="maxout(2)")
    net.save(tmp_path / "net", metadata={"made": "today"})
    with safe_open(tmp_path / "net", framework="numpy") as file:
        assert list(file.metadata()) == ["fastbp"]
        description = json.loads(file.metadata()["fastbp"])
        assert description["format"] == "fastbp" and description["version"] == 1
        assert description["metadata"] == {"made": "today"}
        assert fastbp.Network(**description["architecture"]).architecture == net.architecture
        assert sorted(file.keys()) == ["W1", "W2", "b1", "b2"]
        assert file.get_tensor("W1").tobytes() == net.weights[0].tobytes()
        assert file.get_tensor("b2").tobytes() == net.biases[1].tobytes()
    assert net.metadata == {}  # what is given to save is the file's only


def test_what_a_file_cannot_hold_is_refused_before_writing(tmp_path):
    net = network()
    path = tmp_path / "net"
    path.write_text("old")
    circular = []
    circular.append(circular)
    deep = []
    for _ in range(100_000):
        deep = [deep]
    for metadata in ({"a": object()}, {"a": np.float32(1)}, {"a": float("nan")}, {(1, 2): 3},
                     {"a": circular}, {"a": deep}, [1], "x"):  # fmt: skip
        with pytest.raises(TypeError, match="metadata: expected"):
            net.save(path, metadata=metadata)
    net.parameters[3] = np.inf
    with pytest.raises(ValueError, match="parameters: expected finite"):
        net.save(path)
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["net"]


# refusals


@pytest.fixture
def content(tmp_path):
    network(sizes=[4, 3, 2]).save(tmp_path / "good")
    return (tmp_path / "good").read_bytes()


def refusal(path, content=None):
    """The message about a bad file, which must begin with its name."""
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError) as caught:
        fastbp.load(path)
    message = str(caught.value)
    assert message.startswith(f"{path}: "), message
    return message


def test_truncated_at_every_byte(content, tmp_path):
    path = tmp_path / "cut"
    for n in range(len(content)):
        assert "truncated" in refusal(path, content[:n])
    path.write_bytes(content)
    fastbp.load(path)


@pytest.mark.parametrize("tail", [b"\0", b"\n", b"x" * 1000])
def test_trailing_garbage(content, tmp_path, tail):
    assert "truncated or damaged" in refusal(tmp_path / "long", content + tail)


def test_damaged_headers(content, tmp_path):
    path = tmp_path / "bad"
    length = struct.unpack("<Q", content[:8])[0]
    for claimed in (0, 1, length - 1, length + 1, 2**31, 2**63, 2**64 - 1):
        refusal(path, struct.pack("<Q", claimed) + content[8:])
    refusal(path, content[:8] + b"\xff" * length + content[8 + length :])
    refusal(path, content[:8] + b"[" * length + content[8 + length :])


def foreign_files():
    archive, arrays = io.BytesIO(), io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("a", "b")
    np.savez(arrays, W1=np.zeros((2, 2)))
    return {
        "text": b"epoch,loss\n1,0.5\n" * 10,
        "json": b'{"format": "fastbp", "version": 1}',
        "pickle": pickle.dumps({"a": np.zeros(100)}),
        "zip": archive.getvalue(),
        "npz": arrays.getvalue(),
        "png": b"\x89PNG\r\n\x1a\n" + b"\0" * 100,
        "gzip": b"\x1f\x8b\x08" + b"\0" * 100,
        "zeros": b"\0" * 200,
        "ones": b"\xff" * 200,
        "safetensors": safetensors.numpy.save({"W1": np.zeros((2, 2))}),
        "safetensors of another": safetensors.numpy.save({"a": np.zeros(2)}, {"format": "pt"}),
    }


@pytest.mark.parametrize("kind", foreign_files())
def test_foreign_files(kind, tmp_path):
    assert "expected a model file of fastbp" in refusal(tmp_path / "it", foreign_files()[kind])


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_are_not_run(protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    refusal(tmp_path / "bomb", pickle.dumps(Bomb(), protocol) + b"\0" * 100)
    assert os.listdir(tmp_path) == ["bomb"]
    monkeypatch.setattr(pickle, "Unpickler", None)
    monkeypatch.setattr(pickle, "loads", None)
    monkeypatch.setattr(np.lib.format, "read_array", None)
    network().save(tmp_path / "net")
    fastbp.load(tmp_path / "net")


def forged(tensors=None, *, without=(), drop=(), architecture=(), **changes):
    """A model file with changes to its description or tensors."""
    net = network()
    tensors_now = {"W1": net.weights[0], "b1": net.biases[0], "W2": net.weights[1],
                   "b2": net.biases[1]}  # fmt: skip
    tensors_now |= tensors or {}
    description = {"format": "fastbp", "version": 1, "metadata": {}} | changes
    if "architecture" not in description:
        description["architecture"] = net.architecture | dict(architecture)
    for key in drop:
        del description["architecture"][key]
    text = description.pop("text", None)
    for name in without:
        (tensors_now if name in tensors_now else description).pop(name)
    return safetensors.numpy.save(
        {k: np.ascontiguousarray(v) for k, v in tensors_now.items()},
        {"fastbp": json.dumps(description) if text is None else text},
    )


def test_the_forger_can_forge(tmp_path):
    (tmp_path / "it").write_bytes(forged())
    assert_same(fastbp.load(tmp_path / "it"), network())


F4 = np.float32
FORGED = {
    "future": (forged(version=3), ["version 1 or 2", "got 3", "later fastbp"]),
    "far future": (forged(version=10**9), ["version 1", "later fastbp"]),
    "version text": (forged(version="1"), ["version 1", "'1'"]),
    "version missing": (forged(without=["version"]), ["version 1", "None"]),
    "format": (forged(format="other"), ["fastbp model"]),
    "list": (forged(text="[1]"), ["fastbp model"]),
    "no json": (forged(text="{"), []),
    "empty": (forged(text=""), []),
    "deep json": (forged(text="[" * 200_000), []),
    "architecture missing": (forged(without=["architecture"]), ["'architecture'", "None"]),
    "architecture list": (forged(text='{"format":"fastbp","version":1,"metadata":{},'
                                      '"architecture":[1]}'), ["'architecture'", "[1]"]),
    "metadata NaN": (forged(metadata={"a": [float("nan")]}), ["finite numbers", "NaN"]),
    "metadata infinity": (forged(metadata={"a": -math.inf}), ["finite numbers", "-Infinity"]),
    "metadata beyond": (forged(text='{"format":"fastbp","version":1,"metadata":{"a":1e999},'
                                    '"architecture":{}}'), ["finite numbers", "1e999"]),
    "metadata list": (forged(metadata=[1]), ["'metadata'", "[1]"]),
    "metadata missing": (forged(without=["metadata"]), ["'metadata'", "None"]),
    "one softmax output": (
        forged({"W2": np.ones((3, 1), np.float32), "b2": np.ones(1, np.float32)},
               architecture={"sizes": [4, 3, 1]}),
        ["2 units", "'softmax'", "got 1"]),
    "sizes missing": (forged(drop=["sizes"]), ["'sizes'", "None"]),
    "sizes text": (forged(architecture={"sizes": "432"}), ["'sizes'", "432"]),
    "sizes floats": (forged(architecture={"sizes": [4.0, 3, 2]}), ["'sizes'", "4.0"]),
    "sizes flags": (forged(architecture={"sizes": [True, 3, 2]}), ["'sizes'", "True"]),
    "sizes shorter": (forged(architecture={"sizes": [4, 2]}), ["'activation'"]),
    "sizes empty": (forged(architecture={"sizes": []}), ["sizes", "an output"]),
    "sizes of strangers": (forged(architecture={"sizes": [4, "conv", 3, 2]}), ["sizes[1]", "conv"]),
    "sizes with a scale": (forged(architecture={"sizes": [4, "scale", 3, 2]}), ["'s1'", "[4]"]),
    "sizes with a scale last": (forged(architecture={"sizes": [4, 3, 2, "scale"]}), ["Scale()"]),
    "sizes other": (forged(architecture={"sizes": [4, 5, 2]}), ["'W1'", "[4, 5]", "[4, 3]"]),
    "sizes 0": (forged({"W1": np.zeros((4, 0), F4), "b1": np.zeros(0, F4),
                        "W2": np.zeros((0, 2), F4)}, architecture={"sizes": [4, 0, 2]}),
                ["sizes[1]", "got 0"]),
    "sizes huge": (forged(architecture={"sizes": [10**5, 10**5, 2]}), ["'W1'", "[100000, 100000]"]),
    "sizes beyond": (forged(architecture={"sizes": [10**30, 3, 2]}), ["'W1'"]),
    "maxout huge": (forged(architecture={"activation": ["maxout(1024)"]}), ["'W1'", "3072"]),
    "activation unknown": (forged(architecture={"activation": ["sigmiod"]}), ["'sigmoid'"]),
    "activation number": (forged(architecture={"activation": [3]}), ["activation", "3"]),
    "activation text": (forged(architecture={"activation": "relu"}), ["'activation'"]),
    "output missing": (forged(drop=["output"]), ["activation", "None"]),
    "loss unknown": (forged(architecture={"loss": "cross"}), ["loss", "cross_entropy"]),
    "pair": (forged(architecture={"output": "tanh"}), ["loss", "'tanh'"]),
    "dtype unknown": (forged(architecture={"dtype": "float16"}), ["dtype", "float16"]),
    "dtype list": (forged(architecture={"dtype": ["float32"]}), ["dtype"]),
    "dtype other": (forged(architecture={"dtype": "float64"}), ["'W1'", "F64", "F32"]),
    "unknown key": (forged(architecture={"depth": 3}), ["depth"]),
    "missing tensor": (forged(without=["b2"]), ["'b2'", "none"]),
    "further tensor": (forged({"W3": np.zeros((2, 2), F4), "z": np.zeros(1)}),
                       ["further", "W3, z"]),
    "shape": (forged({"W1": np.zeros((3, 4), F4)}), ["'W1'", "[4, 3]", "[3, 4]"]),
    "rank": (forged({"b1": np.zeros((1, 3), F4)}), ["'b1'", "[3]", "[1, 3]"]),
    "half": (forged({"W2": np.zeros((3, 2), np.float16)}), ["'W2'", "F32", "F16"]),
    "whole": (forged({"W2": np.zeros((3, 2), np.int32)}), ["'W2'", "F32", "I32"]),
    "nan": (forged({"b1": np.array([0, np.nan, 0], F4)}), ["finite", "NaN at [13]"]),
    "infinity": (forged({"W1": np.full((4, 3), np.inf, F4)}), ["finite", "infinity at [0]"]),
}  # fmt: skip


@pytest.mark.parametrize("case", FORGED)
def test_files_that_do_not_fit_themselves(case, tmp_path):
    content, words = FORGED[case]
    message = refusal(tmp_path / "forged", content)
    for word in words:
        assert word in message


CLAIMS = """
import resource, sys
import fastbp
import safetensors.numpy
for path in sys.argv[1:]:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        fastbp.load(path)
    except ValueError:
        pass
    else:
        raise SystemExit(f"{path} was taken")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    if grown > 20_000:  # KiB
        raise SystemExit(f"{path} took {grown} KiB")
"""


def test_a_small_file_cannot_claim_much_memory(tmp_path):
    """Sizes that this machine would grant: 400 MB and more, if they were believed."""
    paths = []
    for i, architecture in enumerate([
        {"sizes": [10**4, 10**4, 2]},
        {"sizes": [4, 3, 2 * 10**7]},
        {"sizes": [3 * 10**7, 3, 2]},
        {"sizes": [1] * 100_000, "activation": ["relu"] * 99_998},
    ]):  # fmt: skip
        paths.append(tmp_path / f"claim{i}")
        paths[-1].write_bytes(forged(architecture=architecture))
    done = subprocess.run(
        [sys.executable, "-c", CLAIMS, *map(str, paths)],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


SCARCE = """
import resource, sys
import numpy as np
import fastbp
X, Y = np.ones((4, 1500)), np.arange(4) % 3
net = fastbp.Network([1500, 2000, 3])
net.save(sys.argv[1])
fit = lambda: net.fit(X, Y, epochs=1, checkpoint=sys.argv[2], threads=1, seed=0)
fit()
asked = [lambda: fastbp.load(sys.argv[1]), fit]
before = net.parameters.copy()
for n in range(2, 60, 6):
    size = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + n * 1_000_000, resource.RLIM_INFINITY))
    for ask in asked:
        try:
            ask()
        except MemoryError as error:
            print(n, error)
        assert np.array_equal(before, net.parameters)
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)
"""


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits of memory as Linux has")
def test_a_want_of_memory_is_told_with_the_name_of_the_file(tmp_path):
    names = [str(tmp_path / name) for name in ("net", "run")]
    done = subprocess.run(
        [sys.executable, "-c", SCARCE, *names],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0 and not done.stderr, done.stderr
    for name in names:
        assert sum(f"{name}: " in line for line in done.stdout.splitlines()) > 3, done.stdout


def test_paths_that_are_no_file(tmp_path):
    net = network()
    with pytest.raises(IsADirectoryError):
        fastbp.load(tmp_path)
    with pytest.raises(FileNotFoundError):
        fastbp.load(tmp_path / "none")
    with pytest.raises(FileNotFoundError):
        net.save(tmp_path / "none" / "net")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError):
        net.save(tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"] and not os.listdir(tmp_path / "folder")
    for ask in (net.save, fastbp.load):
        for path in (None, 3, b"x", ["x"], 0.5):
            with pytest.raises(TypeError, match="path: expected a path"):
                ask(path)
        for path in ("", "a\0b", "\ud800"):
            with pytest.raises(ValueError, match="path: expected a path that a file can have"):
                ask(path)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"path: there is no folder: '.*/nowhere'$"):
        network().save(tmp_path / "nowhere" / "a.st")
    (tmp_path / "link").symlink_to(tmp_path / "gone" / "a.st")
    with pytest.raises(FileNotFoundError, match=r"path: there is no folder: '.*/gone'$"):
        network().save(tmp_path / "link")


@pytest.mark.skipif(os.name == "nt", reason="files of POSIX")
@pytest.mark.parametrize("kind", ["device", "FIFO", "socket"])
def test_what_is_no_regular_file_is_neither_replaced_nor_read(kind, tmp_path):
    """In a process of its own: who opens a FIFO waits."""
    path = tmp_path / "it"
    if kind == "device":
        path.symlink_to("/dev/null")
    elif kind == "FIFO":
        os.mkfifo(path)
    else:
        with socket.socket(socket.AF_UNIX) as it:
            it.bind(str(path))
    before = os.stat(path)
    net = network()
    for ask in (net.save, fastbp.load, datasets.read_idx, datasets.read, datasets.read_inputs):
        with pytest.raises(OSError, match=f"path: expected a regular file; this is a {kind}"):
            ask(path)
    with pytest.raises(OSError, match=f"labels: expected a regular file; this is a {kind}"):
        datasets.read(tmp_path, labels=path)
    after = os.stat(path)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert os.listdir(tmp_path) == ["it"]


def test_an_error_of_writing_names_the_file(tmp_path, monkeypatch):
    def fail(*args):
        raise OSError(errno.ENOSPC, "No space left", ".hidden", None, ".other")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match=r"No space left: '.*/net'$"):
        network().save(tmp_path / "net")


def test_a_folder_that_cannot_be_read_holds_the_file_all_the_same(tmp_path, monkeypatch):
    real = os.open

    def refuse(name, flags, *args):
        if flags & os.O_DIRECTORY:
            raise PermissionError(errno.EACCES, "Permission denied", str(name))
        return real(name, flags, *args)

    monkeypatch.setattr(os, "open", refuse)
    network().save(tmp_path / "net")
    assert_same(fastbp.load(tmp_path / "net"), network())


def test_what_could_not_be_read_again_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(model, "_HEADER_LIMIT", 1000)
    network().save(tmp_path / "net", metadata={"a": "x" * 100})
    fastbp.load(tmp_path / "net")
    with pytest.raises(ValueError, match="metadata: expected less than 1,000 bytes"):
        network().save(tmp_path / "net", metadata={"a": "x" * 1000})
    fastbp.load(tmp_path / "net")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may do all")
def test_no_permission(tmp_path):
    network().save(tmp_path / "net")
    (tmp_path / "net").chmod(0)
    with pytest.raises(PermissionError):
        fastbp.load(tmp_path / "net")
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(PermissionError):
            network().save(tmp_path / "other")
    finally:
        tmp_path.chmod(0o700)


# writing


@pytest.mark.parametrize("name", ["fsync", "replace", "fdopen"])
@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left"), KeyboardInterrupt()])
def test_a_failed_save_leaves_the_old_file(name, old, error, tmp_path, monkeypatch):
    path = tmp_path / "net"
    if old:
        network(seed=1).save(path)
    before = path.read_bytes() if old else None

    def fail(*args, **kwargs):
        if name == "fdopen":
            os.close(args[0])
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(os, name, fail)
        with pytest.raises(type(error)):
            network(seed=2).save(path)
    assert os.listdir(tmp_path) == (["net"] if old else [])
    if old:
        assert path.read_bytes() == before
    network(seed=2).save(path)  # and the next one works
    assert_same(fastbp.load(path), network(seed=2))


def test_a_write_that_ends_early(tmp_path, monkeypatch):
    path = tmp_path / "net"
    network(seed=1).save(path)
    before = path.read_bytes()
    real = os.fdopen

    class Full(io.BytesIO):
        def __init__(self, descriptor):
            super().__init__()
            self.file = real(descriptor, "wb")

        def write(self, content):
            self.file.write(content[:10])
            self.file.close()
            raise OSError(errno.ENOSPC, "No space left")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fdopen", lambda descriptor, mode: Full(descriptor))
        with pytest.raises(OSError, match="No space"):
            network(seed=2).save(path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["net"]


def test_the_order_of_writing(tmp_path, monkeypatch):
    """The whole content is on the disk before the file takes its name."""
    seen = []
    fsync, replace = os.fsync, os.replace

    def spy_fsync(descriptor):
        info = os.fstat(descriptor)
        seen.append(("folder", 0) if stat.S_ISDIR(info.st_mode) else ("file", info.st_size))
        fsync(descriptor)

    def spy_replace(source, target):
        seen.append(("named", os.stat(source).st_size))
        assert Path(source).parent == Path(target).parent
        replace(source, target)

    monkeypatch.setattr(os, "fsync", spy_fsync)
    monkeypatch.setattr(os, "replace", spy_replace)
    network().save(tmp_path / "net")
    size = (tmp_path / "net").stat().st_size
    assert seen == [("file", size), ("named", size), ("folder", 0)]


def test_permissions_are_those_of_any_new_file(tmp_path):
    old = os.umask(0o027)
    try:
        network().save(tmp_path / "net")
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / "net").stat().st_mode) == 0o640


# copies


class Special(fastbp.Network):
    """A subclass with attributes of its own."""


def special(dtype="float32"):
    net = Special([4, 3, 2], activation="glu", dtype=dtype, seed=3)
    net.metadata = {"list": [1]}
    net.public, net._private = [1, 2], {"a": 1}
    return net


COPIES = {
    "copy.copy": copy.copy,
    "copy.deepcopy": copy.deepcopy,
    "net.copy": lambda net: net.copy(),
} | {
    f"pickle {p}": lambda net, p=p: pickle.loads(pickle.dumps(net, p))
    for p in range(pickle.HIGHEST_PROTOCOL + 1)
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("how", COPIES)
def test_copies(how, dtype):
    net = special(dtype)
    twin = COPIES[how](net)
    assert_same(net, twin)
    assert twin.public == [1, 2] and twin._private == {"a": 1}
    if how != "copy.copy":  # which is shallow beside the network's own store
        assert twin.public is not net.public and twin.metadata is not net.metadata
    for views in (twin.weights, twin.biases):
        assert all(np.shares_memory(view, twin.parameters) for view in views)
    assert_independent(net, twin)
    history = twin.fit(X, [0, 1, 0, 1, 0], epochs=2)
    assert history.epochs == 2


def test_a_copy_of_a_network_with_bad_parameters_is_still_a_copy():
    net = network()
    net.parameters[0] = np.nan
    for make in COPIES.values():
        assert np.isnan(make(net).parameters[0])


def test_repr():
    assert repr(network(activation="relu")) == (
        "Network([4, 3, 2], activation='relu', output='softmax', loss='cross_entropy', "
        "dtype='float32': 23 parameters)"
    )
    deep = network(sizes=[4, 30, 300, 2], activation=["relu", "elu(0.5)"], dtype="float64")
    assert "activation=['relu', 'elu(0.5)']" in repr(deep) and "'float64'" in repr(deep)
    assert f"{deep.n_parameters:,} parameters" in repr(deep)


# the store


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_layout_of_parameters(kind):
    net = network(**kind)
    flat = np.concatenate([tensor.ravel() for tensor in net.tensors.values()])
    assert flat.tobytes() == net.parameters.tobytes()
    assert net.n_parameters == net.parameters.size
    assert net.parameters.flags.c_contiguous and net.parameters.flags.writeable
    for W, n_in in zip(net.weights, net.sizes, strict=False):
        assert W.shape[0] == n_in
    assert [*net.tensors] == [f"{k}{l}" for l, layer in enumerate(net.layers, 1)
                              for k in ("s" if isinstance(layer, Scale) else "Wb")]  # fmt: skip


def test_views_write_through():
    net = network()
    for array in (*net.weights, *net.biases, net.parameters):
        assert np.shares_memory(array, net.parameters)
        before = net.predict(X)
        array += 0.5
        # the same shift of every output is invisible to softmax
        array.flat[0] += 0.25
        assert net.predict(X).tobytes() != before.tobytes()


def test_an_assignment_copies_into_the_store():
    net, other = network(seed=1), network(seed=2)
    store, W = net.parameters, net.weights[0]
    for value in (other.parameters, other.parameters.tolist(), other.parameters.astype(">f8")):
        net.parameters = 0 * store
        net.parameters = value
        assert net.parameters is store and np.shares_memory(W, store)
        assert_same(net, other)
    net.parameters = net.parameters[::-1]  # a view of itself
    assert net.parameters.tobytes() == other.parameters[::-1].tobytes()
    net.parameters += 1
    assert net.parameters is store


def test_lists_of_views_are_the_callers():
    net = network()
    net.weights.clear()
    net.biases[0] = None
    net.sizes.append(3)
    assert len(net.weights) == 2 and net.biases[0].shape == (3,) and net.sizes == [4, 3, 2]
    for name in ("weights", "biases", "sizes", "dtype", "n_parameters", "architecture"):
        with pytest.raises(AttributeError):
            setattr(net, name, [])


def test_save_follows_a_link_and_honours_the_umask(tmp_path):
    (tmp_path / "store").mkdir()
    network(seed=1).save(tmp_path / "store" / "net")
    (tmp_path / "link").symlink_to(tmp_path / "store" / "net")
    network(seed=2).save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert np.array_equal(
        fastbp.load(tmp_path / "store" / "net").parameters, network(seed=2).parameters
    )
    before = os.umask(0o027)
    try:
        network().save(tmp_path / "private")
    finally:
        os.umask(before)
    assert (tmp_path / "private").stat().st_mode & 0o777 == 0o640


# files of earlier versions (tests/data/, written by fastbp before version 2)

DATA = Path(__file__).parents[1] / "data"
EARLIER = json.loads((DATA / "version_1.json").read_text())


def description(path):
    with safe_open(path, framework="numpy") as file:
        return json.loads(file.metadata()["fastbp"])


@pytest.mark.parametrize("name", EARLIER)
def test_version_1_loads_to_the_same_parameters(name, tmp_path):
    """And to the same predictions, but for roundings of formulas that were others then."""
    path, told = DATA / f"{name}.safetensors", EARLIER[name]
    net = fastbp.load(path)
    assert net.parameters.tolist() == told["parameters"]
    assert_allclose(net.predict(told["X"]), told["predictions"], rtol=1e-6)
    net.save(tmp_path / "again")  # dense layers alone: for older fastbp, too
    assert description(tmp_path / "again") == description(path)
    assert description(path)["version"] == 1
