"""Checkpoint files: a run that is killed goes on as if it had not been.

What belongs here: real processes killed at random moments, full disks, files of other runs. What
does not: resuming within a process (test_interruption.py), model files (test_persistence.py).
"""

import errno
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from safetensors import safe_open

import fastbp
from fastbp import checkpoint as checkpoint_module
from fastbp import persistence, schedules

ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}
rng = np.random.default_rng(0)
N = 60
X, Y = rng.standard_normal((N, 3)), rng.integers(0, 3, N)


def network(**options):
    return fastbp.Network(**{"sizes": [3, 6, 3], "activation": "tanh", "seed": 0} | options)


def fit(net, path=None, **options):
    defaults = {"epochs": 6, "batch_size": 7, "seed": 1, "every": 0.0, "threads": 1}
    return net.fit(*options.pop("data", (X, Y)), checkpoint=path, **defaults | options)


# killed

KILLED = """
    import os, sys
    import numpy as np
    import fastbp
    from fastbp import schedules

    path, out, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((4000, 20)), rng.integers(0, 3, 4000)
    net = fastbp.Network([20, 40, 3], activation="tanh", seed=0)
    print("go", flush=True)
    history = net.fit(
        X, Y, epochs=EPOCHS, batch_size=32, optimizer=fastbp.Adam(0.003), threads=threads,
        validation=0.2, checkpoint=path, every=0.01, OPTIONS
    )
    record = {k: v for k, v in history.items() if k != "seconds"}
    np.savez(out, parameters=net.parameters, slots=history._state.slots, **record)
"""
KINDS = {
    "plain": (150, "seed=5"),
    "seed drawn": (150, "shuffle=False"),
    "all": (
        12,
        "seed=5, ema=0.99, schedule=schedules.Cosine(warmup=2), class_weight='balanced', "
        "early_stopping=fastbp.EarlyStopping(99, monitor='validation_accuracy'), l2=0.1",
    ),
}


def script(kind):
    epochs, options = KINDS[kind]
    return textwrap.dedent(KILLED).replace("EPOCHS", str(epochs)).replace("OPTIONS", options)


def start(kind, path, out, threads):
    return subprocess.Popen(
        [sys.executable, "-c", script(kind), str(path), str(out), str(threads)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip


def finish(process):
    try:
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0, errors


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(("kind", "threads"), [("plain", 1), ("all", 1), ("plain", 2)])
def test_killed_runs_end_with_the_same_bits(kind, threads, tmp_path):
    path, out, whole = tmp_path / "run.ckpt", tmp_path / "out.npz", tmp_path / "whole.npz"
    began = time.monotonic()
    finish(start(kind, tmp_path / "whole.ckpt", whole, 1))
    seconds = time.monotonic() - began
    chance = np.random.default_rng(threads)
    killed, positions = 0, []
    while killed < 6:
        process = start(kind, path, out, threads)
        assert process.stdout.readline() == "go\n", process.stderr.read()
        while killed % 2 and not path.exists() and process.poll() is None:
            time.sleep(0.001)  # every other kill comes after a checkpoint
        time.sleep(chance.uniform(0.0, seconds / 8))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        killed += process.returncode == -signal.SIGKILL
        if path.exists():
            description = persistence.read_description(path, "fastbp checkpoint", 1)
            positions.append(description["position"][2])
        if out.exists():
            break
    assert killed >= 2 and positions == sorted(positions), positions
    finish(start(kind, path, out, threads))
    assert positions and positions[0] > 0, "no kill came after a checkpoint"
    one, other = np.load(whole), np.load(out)
    assert set(one) == set(other)
    for name in one:
        assert one[name].tobytes() == other[name].tobytes(), name
    left = {p.name for p in tmp_path.iterdir()} - {"run.ckpt", "whole.ckpt", "out.npz", "whole.npz"}
    assert not left, left  # what was half written when the process was killed


def stopped_after(n_writes, monkeypatch, **options):
    """A fit whose process ends with its n-th checkpoint, as its file leaves it."""
    real, count = checkpoint_module.Checkpoint.write, []

    def write(self, *args):
        real(self, *args)
        count.append(0)
        if len(count) == n_writes:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint_module.Checkpoint, "write", write)
        with pytest.raises(SystemExit):
            fit(network(), **options)


OPTIONS = {
    "plain": {},
    "momentum": {"optimizer": fastbp.SGD(0.1, momentum=0.9)},
    "as they lie": {"shuffle": False, "seed": None},
    "drawn": {"seed": None, "validation": 0.25},
    "orders": {"shuffle": lambda epoch, n: np.random.default_rng(epoch).permutation(n)},
    "average": {"ema": 0.9, "validation": (X[:9], Y[:9])},
    "stopping": {"early_stopping": fastbp.EarlyStopping(2, monitor="loss"), "epochs": 40,
                 "optimizer": fastbp.SGD(1.5), "seed": 3},
    "schedule": {"schedule": schedules.OneCycle(3.0), "l1": 0.01},
    "plateau": {"schedule": schedules.HalveOnPlateau(1, "validation_accuracy"),
                "validation": (X[:9], Y[:9])},
    "smoothed": {"label_smoothing": 0.1, "class_weight": {0: 2.0}},
}  # fmt: skip


@pytest.mark.parametrize("name", OPTIONS)
@pytest.mark.parametrize("n_writes", [1, 2, 4])
def test_a_new_process_goes_on(name, n_writes, tmp_path, monkeypatch):
    """Within an epoch too; and the file of the end says the same as one that was never stopped."""
    monkeypatch.setattr(fastbp.run, "SLICE_SECONDS", 1e-9)  # a step a slice, from the first
    monkeypatch.setattr(fastbp.run, "flops", lambda *args: 1e9)
    options, path = OPTIONS[name], tmp_path / "run.ckpt"
    stopped_after(n_writes, monkeypatch, path=path, **options)
    description = persistence.read_description(path, "fastbp checkpoint", 1)
    if name == "drawn":
        options = options | {"seed": None}
    resumed = network(seed=9)  # its parameters come from the file
    history = fit(resumed, path, **options)
    if name == "drawn":  # nobody knows the seed of another run: the file does
        monkeypatch.setattr(fastbp.training, "_as_seed", lambda *a, **k: description["seed"])
    twin, other = network(), tmp_path / "other.ckpt"
    whole = fit(twin, other, **options)
    plain = network()
    fit(plain, **options)
    assert resumed.parameters.tobytes() == twin.parameters.tobytes() == plain.parameters.tobytes()
    assert history._state.slots.tobytes() == whole._state.slots.tobytes()
    for key in whole:
        if key != "seconds":
            assert history[key].tobytes() == whole[key].tobytes(), key
    assert (np.diff(history["seconds"]) > 0).all()
    files = [safetensors.numpy.load_file(p) for p in (path, other)]
    for key in files[0].keys() - {"history.seconds"}:
        assert files[0][key].tobytes() == files[1][key].tobytes(), key
    if name == "stopping":
        assert 2 < history.epochs < 40


def test_a_finished_run_is_not_made_again(tmp_path):
    path = tmp_path / "run.ckpt"
    for options in (
        {},
        {"early_stopping": fastbp.EarlyStopping(1, monitor="loss"), "epochs": 99,
         "optimizer": fastbp.SGD(0.0)},
        {"callbacks": [lambda event: event.epoch == 2]},
    ):  # fmt: skip
        net, again = network(), network(seed=4)
        history = fit(net, path, **options)
        content = path.read_bytes()
        calls = []
        if "callbacks" in options:
            options = options | {"callbacks": [calls.append]}
        second = fit(again, path, **options)
        assert again.parameters.tobytes() == net.parameters.tobytes()
        assert second.to_dict() == history.to_dict() and not calls
        assert path.read_bytes() == content
        path.unlink()


def test_more_epochs_go_on(tmp_path):
    net, twin, path = network(), network(), tmp_path / "run.ckpt"
    fit(net, path, epochs=4)
    history = fit(net, path, epochs=9)
    fit(twin, epochs=9)
    assert history.epochs == 9 and net.parameters.tobytes() == twin.parameters.tobytes()


def test_the_file_does_not_change_the_run(tmp_path):
    net, twin = network(), network()
    fit(net, tmp_path / "run.ckpt")
    fit(twin)
    assert net.parameters.tobytes() == twin.parameters.tobytes()
    assert [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]


def test_every_says_how_often(tmp_path, monkeypatch):
    written = []
    real = persistence.replace
    monkeypatch.setattr(
        persistence, "replace", lambda *args: (written.append(time.monotonic()), real(*args))
    )
    wait = [lambda event: time.sleep(0.02)]
    fit(network(), tmp_path / "a", every=1e9, epochs=5, callbacks=wait)
    assert len(written) == 1  # the end
    written.clear()
    fit(network(), tmp_path / "b", every=0.0, epochs=5, callbacks=wait)
    assert len(written) >= 6
    written.clear()
    fit(network(), tmp_path / "c", every=0.05, epochs=10, callbacks=wait)
    assert 3 <= len(written) <= 5
    assert (np.diff(written)[:-1] >= 0.05).all()


@pytest.mark.threads
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_leaves_a_file_to_go_on_from(threads, tmp_path, monkeypatch):
    net, twin, path, calls = network(), network(), tmp_path / "run.ckpt", []
    real = fastbp.run.Run._train

    def stop(self, n_steps, end_epoch):
        made = real(self, min(n_steps, 3), end_epoch)
        calls.append(0)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return made

    with monkeypatch.context() as patch:
        patch.setattr(fastbp.run.Run, "_train", stop)
        with pytest.raises(KeyboardInterrupt):
            fit(net, path, every=1e9, threads=threads)
    position = persistence.read_description(path, "fastbp checkpoint", 1)["position"]
    assert position[:3] == [1, 42, 15]
    fit(net, path, threads=threads)
    fit(twin)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


# a disk that is full


class FullDisk:
    def __init__(self, file, room):
        self.file, self.room = file, room

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.file.close()

    def __getattr__(self, name):
        return getattr(self.file, name)

    def write(self, content):
        self.file.write(content[: self.room])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("what", ["write", "fsync"])
def test_a_full_disk_loses_nothing(what, tmp_path, monkeypatch):
    net, path = network(), tmp_path / "run.ckpt"
    fit(net, path, epochs=3)
    content = path.read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        if what == "write":
            real = os.fdopen
            patch.setattr(persistence.os, "fdopen", lambda fd, mode: FullDisk(real(fd, mode), 100))
        else:
            patch.setattr(persistence.os, "fsync", full)
        with pytest.raises(OSError, match="checkpoint: not written, the file is as it was") as told:
            fit(net, path, epochs=8)
    assert told.value.errno == errno.ENOSPC and told.value.filename == str(path)
    assert np.isfinite(net.parameters).all()
    assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
    twin = network()
    fit(net, path, epochs=8)
    fit(twin, epochs=8)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


# files of other runs


OTHERS = {
    "sizes": {"net": {"sizes": [3, 7, 3]}},
    "activation": {"net": {"activation": "relu"}},
    "dtype": {"net": {"dtype": "float64"}},
    "loss": {"net": {"loss": "kl"}},
    "optimizer": {"optimizer": fastbp.Adam(0.1)},
    "n": {"data": (X[:50], Y[:50])},
    "data": {"data": (X + 1e-9, Y)},
    "batch_size": {"batch_size": 8},
    "shuffle": {"shuffle": False},
    "seed": {"seed": 2},
    "l2": {"l2": 0.5},
    "ema": {"ema": 0.5},
    "schedule": {"schedule": schedules.Step(2)},
    "early_stopping": {"early_stopping": fastbp.EarlyStopping(monitor="loss")},
    "clipping": {"clip_norm": 1.0},
    "label_smoothing": {"label_smoothing": 0.2},
    "class_weight": {"class_weight": "balanced"},
    "validation": {"validation": (X[:5], Y[:5])},
}


@pytest.mark.parametrize("name", OTHERS)
def test_another_run_is_refused_by_name(name, tmp_path):
    path, options = tmp_path / "run.ckpt", dict(OTHERS[name])
    fit(network(dtype="float64" if name == "data" else "float32"), path)
    content = path.read_bytes()
    if name == "data":
        options["net"] = {"dtype": "float64"}
    net = network(**options.pop("net", {}))
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=rf"checkpoint: .*run.ckpt: expected the same {name} as"):
        fit(net, path, **options)
    assert path.read_bytes() == content and net.parameters.tobytes() == before.tobytes()


def spoiled(content, how):
    if how == "truncated":
        return content[: len(content) // 2]
    if how == "short":
        return content[:5]
    if how == "garbage":
        return bytes(np.random.default_rng(0).integers(0, 256, 500, dtype=np.uint8))
    if how == "text":
        return b"epoch,loss\n1,0.5\n" * 20
    return b""


@pytest.mark.parametrize("how", ["truncated", "short", "garbage", "text", "empty"])
def test_what_is_no_checkpoint_is_refused(how, tmp_path):
    path, net = tmp_path / "run.ckpt", network()
    fit(net, path)
    path.write_bytes(content := spoiled(path.read_bytes(), how))
    before = net.parameters.copy()
    with pytest.raises(ValueError, match=r"checkpoint: .*run\.ckpt: .*(truncated|another kind)"):
        fit(net, path)
    assert path.read_bytes() == content and net.parameters.tobytes() == before.tobytes()


def test_a_model_file_is_refused_and_kept(tmp_path):
    path, net = tmp_path / "net.safetensors", network()
    net.save(path)
    content = path.read_bytes()
    with pytest.raises(ValueError, match="expected a checkpoint file of fastbp"):
        fit(net, path)
    assert path.read_bytes() == content
    fit(net, other := tmp_path / "run.ckpt")
    with pytest.raises(ValueError, match="expected a model file of fastbp"):
        fastbp.load(other)


def rewritten(path, change):
    """The file with another description or other arrays."""
    with safe_open(path, framework="numpy") as file:
        description = json.loads(file.metadata()["fastbp checkpoint"])
    tensors = safetensors.numpy.load_file(path)
    change(description, tensors)
    safetensors.numpy.save_file(tensors, path, {"fastbp checkpoint": json.dumps(description)})


CHANGES = {
    "version": (lambda d, t: d.update(version=2), "expected format version 1; got 2; a later"),
    "no position": (lambda d, t: d.pop("position"), "description does not fit"),
    "short position": (lambda d, t: d.update(position=[1, 2]), "not enough values"),
    "row": (lambda d, t: d["position"].__setitem__(1, 10**6), "arrays that fit"),
    "epochs": (lambda d, t: d["position"].__setitem__(0, 2), "arrays that fit"),
    "NaN": (lambda d, t: t["parameters"].__setitem__(3, np.nan), "arrays that fit"),
    "slots": (lambda d, t: t.update(slots=t["slots"][:, 1:].copy()), "arrays that fit"),
    "extra": (lambda d, t: t.update(more=np.zeros(3)), "arrays that fit"),
    "missing": (lambda d, t: t.pop("parameters") is None, "description does not fit"),
    "identity": (lambda d, t: d["identity"].update(n=61), "the same n as in that run, 61; got 60"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_contradicts_itself_is_refused(name, tmp_path):
    path, net = tmp_path / "run.ckpt", network()
    fit(net, path)
    change, told = CHANGES[name]
    rewritten(path, change)
    content, before = path.read_bytes(), net.parameters.copy()
    with pytest.raises(ValueError, match=rf"checkpoint: .*run\.ckpt: .*{told}"):
        fit(net, path, epochs=9)
    assert path.read_bytes() == content and net.parameters.tobytes() == before.tobytes()


def test_bad_arguments(tmp_path):
    net = network()
    with pytest.raises(IsADirectoryError, match="checkpoint: expected a file"):
        fit(net, tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint: there is no folder"):
        fit(net, tmp_path / "none" / "run.ckpt")
    with pytest.raises(TypeError, match="checkpoint: expected the name of a file; got 3"):
        fit(net, 3)
    with pytest.raises(ValueError, match="every: expected a finite number >= 0"):
        fit(net, tmp_path / "run.ckpt", every=-1)
    with pytest.raises(ValueError, match="resume: expected None with a checkpoint"):
        fit(net, tmp_path / "run.ckpt", resume=fit(network()))
    assert not list(tmp_path.iterdir())


def test_large_data_are_told_apart_by_some_rows(monkeypatch):
    monkeypatch.setattr(checkpoint_module, "_FINGERPRINT_BYTES", 1000)
    data = rng.standard_normal((5000, 4))
    found = checkpoint_module.fingerprint([data, None])
    assert found == checkpoint_module.fingerprint([data.copy(), None])
    assert found != checkpoint_module.fingerprint([data + 1, None])
    assert found != checkpoint_module.fingerprint([data[:4999], None])
    assert found != checkpoint_module.fingerprint([data.astype("f4"), None])
    assert found != checkpoint_module.fingerprint([None, data])
