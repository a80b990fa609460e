"""Checkpoint files: a run that is killed goes on as if it had not been.

What belongs here: real processes killed at random moments, full disks, files of other runs. What
does not: resuming within a process (test_interruption.py), model files (test_persistence.py).
"""

import errno
import json
import math
import os
import signal
import stat
import subprocess
import sys
import textwrap
import time
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from cases import OPTIMIZERS
from numpy.testing import assert_allclose
from safetensors import safe_open

import fastbp
from fastbp import persistence, schedules
from fastbp.files import checkpoint as checkpoint_files, replace as replace_file
from fastbp.optimizers import SLOTS
from fastbp.training import driver
from fastbp.training.watchers.checkpoint import Checkpoint

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
    np.savez(out, parameters=net.parameters, slots=history.state.slots, **record)
"""
SEVERAL = """
    import os, sys
    import numpy as np
    import fastbp

    path, out, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((900, 8)), rng.integers(0, 3, 900)
    kinds = ["tanh"] * 21 + ["layer_norm"] * 2
    nets = [fastbp.Network([8, 9, 3], activation=kind, seed=0) for kind in kinds]
    rows = [rng.integers(0, 900, 400 + 20 * i) for i in range(23)]
    early = [fastbp.EarlyStopping(99), None, None] * 7 + [None] * 2
    print("go", flush=True)
    histories = fastbp.fit_many(
        nets, X, Y, rows=rows, epochs=[40 + i for i in range(23)], batch_size=16, seed=5,
        optimizer=fastbp.Adam(0.003), threads=threads, early_stopping=early, validation="rest",
        checkpoint=path, every=0.01,
    )
    record = {}
    for i, (net, history) in enumerate(zip(nets, histories)):
        record |= {f"{k} {i}": v for k, v in history.items() if k != "seconds"}
        record |= {f"parameters {i}": net.parameters, f"slots {i}": history.state.slots}
    np.savez(out, **record)
"""
KINDS = {
    "several": (0, ""),
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
    if kind == "several":
        return textwrap.dedent(SEVERAL)
    return textwrap.dedent(KILLED).replace("EPOCHS", str(epochs)).replace("OPTIONS", options)


def start(kind, path, out, threads):
    return subprocess.Popen(
        [sys.executable, "-c", script(kind), str(path), str(out), str(threads)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=ENVIRONMENT,
    )  # fmt: skip


def finish(process):
    try:
        _, errors = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 0, errors


def steps_on(path, kind):
    """Steps that a file knows of, of all runs together."""
    if kind != "several":
        return persistence.read_description(path, "fastbp checkpoint", 1)["position"][2]
    runs = persistence.read_description(path, "fastbp checkpoint of many", 1)["runs"]
    return sum(run["position"][2] for run in runs.values())


@pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("kind", "threads"), [("plain", 1), ("all", 1), ("plain", 2), ("several", 1), ("several", 2)]
)
def test_killed_runs_end_with_the_same_bits(kind, threads, tmp_path):
    path, out, whole = tmp_path / "run.ckpt", tmp_path / "out.npz", tmp_path / "whole.npz"
    process = start(kind, tmp_path / "whole.ckpt", whole, 1)
    assert process.stdout.readline() == "go\n", process.stderr.read()
    began = time.monotonic()
    finish(process)
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
            positions.append(steps_on(path, kind))
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
    real, count = Checkpoint.write, []

    def write(self, *args):
        real(self, *args)
        count.append(0)
        if len(count) == n_writes:
            raise SystemExit

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", write)
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
    monkeypatch.setattr(driver, "SLICE_SECONDS", 1e-9)  # a step a slice, from the first
    monkeypatch.setattr(driver, "flops", lambda *args: 1e9)
    options, path = OPTIONS[name], tmp_path / "run.ckpt"
    stopped_after(n_writes, monkeypatch, path=path, **options)
    description = persistence.read_description(path, "fastbp checkpoint", 1)
    if name == "drawn":
        options = options | {"seed": None}
    resumed = network(seed=9)  # its parameters come from the file
    history = fit(resumed, path, **options)
    if name == "drawn":  # nobody knows the seed of another run: the file does
        request = import_module("fastbp.training.request")
        monkeypatch.setattr(request, "as_seed", lambda *a, **k: description["seed"])
    twin, other = network(), tmp_path / "other.ckpt"
    whole = fit(twin, other, **options)
    plain = network()
    fit(plain, **options)
    assert resumed.parameters.tobytes() == twin.parameters.tobytes() == plain.parameters.tobytes()
    assert history.state.slots.tobytes() == whole.state.slots.tobytes()
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
    real = replace_file.replace
    monkeypatch.setattr(
        replace_file, "replace", lambda *args: (written.append(time.monotonic()), real(*args))
    )
    wait = [lambda event: time.sleep(0.02)]
    fit(network(), tmp_path / "a", every=1e9, epochs=5, callbacks=wait)
    assert len(written) == 1  # the end
    written.clear()
    fit(network(), tmp_path / "b", every=0.0, epochs=5, callbacks=wait)
    assert len(written) >= 6
    written.clear()
    began = time.monotonic()
    fit(network(), tmp_path / "c", every=0.05, epochs=10, callbacks=wait)
    assert 3 <= len(written) <= 1 + (time.monotonic() - began) / 0.05
    assert (np.diff(written)[:-1] >= 0.05).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_leaves_a_file_to_go_on_from(threads, tmp_path, monkeypatch):
    net, twin, path, calls = network(), network(), tmp_path / "run.ckpt", []
    real = driver.Run._train

    def stop(self, n_steps, end_epoch):
        made = real(self, min(n_steps, 3), end_epoch)
        calls.append(0)
        if len(calls) == 5:
            raise KeyboardInterrupt
        return made

    with monkeypatch.context() as patch:
        patch.setattr(driver.Run, "_train", stop)
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
            patch.setattr(os, "fdopen", lambda fd, mode: FullDisk(real(fd, mode), 100))
        else:
            patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="checkpoint: not written, the file is as it was") as told:
            fit(net, path, epochs=8)
    assert told.value.errno == errno.ENOSPC and told.value.filename == str(path)
    assert np.isfinite(net.parameters).all()
    assert path.read_bytes() == content and [p.name for p in tmp_path.iterdir()] == ["run.ckpt"]
    twin = network()
    fit(net, path, epochs=8)
    fit(twin, epochs=8)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


def test_slots_that_overflowed_are_not_written(tmp_path):
    """What could not be gone on from; the file keeps the state before."""
    path, large = tmp_path / "run.ckpt", X.copy()
    large[:, 0] = 1e25  # whose square float32 does not hold
    net = network(sizes=[3, 3])
    with pytest.raises(fastbp.DivergenceError, match=r"state of W1\[0, 0\] \(feature X\[:, 0\]\)"):
        fit(net, path, data=(large, Y), optimizer=fastbp.Adagrad(1e-3), every=1e9)
    assert not path.exists()


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


def at(place, value):
    return lambda d, t: d["position"].__setitem__(place, value)


def array(name, value, place=...):
    return lambda d, t: t[name].__setitem__(place, value)


def told(name, value):
    return lambda d, t: d.__setitem__(name, value)


def tensor(name, change):
    return lambda d, t: t.__setitem__(name, np.ascontiguousarray(change(t.get(name))))


WHOLE = [*(-1, 1.5, True, None, "1", math.inf, 1e300), 10**400]
CHANGES = {
    "version": (told("version", 2), "expected format version 1; got 2; a later"),
    "no position": (lambda d, t: d.pop("position"), "expected 'position', 5 numbers; got None"),
    "short position": (told("position", [1, 2]), "5 numbers"),
    "row": (at(1, 10**6), "row, a whole number"),
    "epochs": (at(0, 2), "expected 'position', one of batches of 7 of 60 samples"),
    "row within": (at(1, 14), "expected 'position'"),
    "between batches": (lambda d, t: d.update(position=[0, 3, 1, 0.0, 0.0]), "'position'"),
    "sum of losses": (at(3, 1e300), "'position'"),
    "no sum": (at(3, None), "sum of losses, a finite number"),
    "sum of weights": (at(4, -1.0), "sum of weights, a finite number"),
    **{f"epoch {v!r:.9}": (at(0, v), "epoch, a whole|finite numbers") for v in WHOLE},
    **{f"t {v!r:.9}": (at(2, v), "steps, a whole|finite numbers") for v in WHOLE},
    **{f"seed {v!r:.9}": (told("seed", v), "'seed', a whole|finite numbers") for v in WHOLE},
    **{f"n {v!r:.9}": (lambda d, t, v=v: d["identity"].update(n=v), "n, a|finite") for v in WHOLE},
    **{f"seconds {v!r:.9}": (told("seconds", v), "'seconds', a finite|finite numbers")
       for v in (-1.0, None, "1", False, math.inf, math.nan, 10**400)},
    "samples": (told("samples", 0.5), "'samples', a whole number"),
    "stopped": (told("stopped", 1), "'stopped', true or false; got 1"),
    "identity list": (told("identity", [1]), "'identity', a dict"),
    "batch size": (lambda d, t: d["identity"].update(batch_size=0), "batch_size, a number above 0"),
    "columns": (told("columns", ["loss"]), "no further ones"),
    "columns twice": (told("columns", ["loss", "loss"]), "'history.loss'"),
    "columns number": (told("columns", 3), "'columns', names"),
    "columns of lists": (told("columns", [["loss"]]), "'columns', names"),
    "no column": (lambda d, t: t.pop("history.loss"), "'history.loss', an array that fits"),
    "short column": (tensor("history.seconds", lambda a: a[1:]), "'history.seconds', an array"),
    "float32 column": (tensor("history.loss", lambda a: a.astype("f4")), "'history.loss', an arr"),
    "complex column": (tensor("history.loss", lambda a: a.astype("c8")), "dtype F32 or F64"),
    "column of a scalar": (tensor("history.loss", lambda a: a[0]), "'history.loss', an array"),
    "NaN column": (array("history.loss", np.nan, 2), "'history.loss', finite"),
    "NaN": (array("parameters", np.nan, 3), "'parameters', finite"),
    "best NaN": (array("best", np.nan, 3), "'best', finite"),
    "best infinite": (array("best", np.inf, 0), "'best', finite"),
    "average NaN": (array("average", np.nan, -1), "'average', finite"),
    "no average": (lambda d, t: t.pop("average"), "'average', an array that fits"),
    "average wide": (tensor("average", lambda a: a.astype("f8")), "'average', an array that fits"),
    "best short": (tensor("best", lambda a: a[:1]), "'best', an array that fits"),
    "slots": (tensor("slots", lambda a: a[:, 1:]), "'slots', an array that fits"),
    "one slot": (tensor("slots", lambda a: a[:1]), "'slots', an array that fits"),
    "flat slots": (tensor("slots", lambda a: a[0]), "'slots', an array that fits"),
    "no slots": (lambda d, t: t.pop("slots"), "'slots', an array that fits"),
    "slots NaN": (array("slots", np.nan, (0, 0)), "'slots', finite"),
    "slots infinite": (array("slots", np.inf, (1, 5)), "'slots', finite"),
    "slots below 0": (array("slots", -1.0, (1, 5)), "'slots', squares, none below 0"),
    "one parameter": (lambda d, t: t.update({k: np.ascontiguousarray(t[k][..., :1]) for k in
                                             ("slots", "parameters", "average", "best")}),
                      "an array that fits"),
    "extra": (lambda d, t: t.update(more=np.zeros(3)), "arrays that fit"),
    "missing": (lambda d, t: t.pop("parameters"), "'parameters', an array that fits"),
    "whole": (tensor("parameters", lambda a: a.astype("i4")), "dtype F32 or F64; got 'I32'"),
    "identity": (lambda d, t: d["identity"].update(n=62), "the same n as in that run, 62; got 60"),
}  # fmt: skip
ALL = {
    "ema": 0.9,
    "early_stopping": fastbp.EarlyStopping(99, monitor="loss"),
    "optimizer": fastbp.Adam(0.01),
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    fit(network(), path := tmp_path_factory.mktemp("run") / "run.ckpt", **ALL)
    return path.read_bytes()


@pytest.mark.parametrize("name", CHANGES)
def test_a_file_that_contradicts_itself_is_refused(name, finished, tmp_path):
    path, net = tmp_path / "run.ckpt", network()
    path.write_bytes(finished)
    change, expected = CHANGES[name]
    rewritten(path, change)
    content, before = path.read_bytes(), net.parameters.copy()
    with pytest.raises(ValueError, match=rf"checkpoint: .*run\.ckpt: .*({expected})"):
        fit(net, path, epochs=9, **ALL)
    assert path.read_bytes() == content and net.parameters.tobytes() == before.tobytes()


def test_the_file_that_is_changed_is_taken_as_it_is(finished, tmp_path):
    (tmp_path / "run.ckpt").write_bytes(finished)
    rewritten(tmp_path / "run.ckpt", lambda d, t: None)
    assert fit(network(), tmp_path / "run.ckpt", epochs=9, **ALL).epochs == 9


def test_every_optimizer_says_what_its_slots_hold():
    policies = {optimizer.policy: optimizer for optimizer, _ in OPTIMIZERS.values()}
    assert set(policies) == set(SLOTS)
    for policy, optimizer in policies.items():
        slots = fit(network(), optimizer=optimizer).state.slots
        assert len(slots) == len(SLOTS[policy])
        for slot, sign in zip(slots, SLOTS[policy], strict=True):
            assert (slot < 0).any() == (sign == "~"), policy


def test_fewer_epochs_than_on_file(tmp_path):
    """Nothing is trained and the file stays; a warning says so."""
    path, net, again = tmp_path / "run.ckpt", network(), network(seed=4)
    fit(net, path, epochs=8)
    content = path.read_bytes()
    with pytest.warns(UserWarning, match=r"run\.ckpt: that run has made 8 epochs .*epochs=4"):
        history = fit(again, path, epochs=4)
    assert history.epochs == 8 and path.read_bytes() == content
    assert again.parameters.tobytes() == net.parameters.tobytes()


def no_room(*args):
    raise MemoryError


@pytest.mark.parametrize("what", ["Trainer", "load_state"])
def test_what_does_not_fit_in_memory_changes_nothing(what, tmp_path, monkeypatch):
    net = network()
    history = fit(net, path := tmp_path / "run.ckpt", ema=0.9)
    other = network(seed=5)
    before, content = other.parameters.copy(), path.read_bytes()
    monkeypatch.setattr(other._doors, what, no_room)
    for options in ({"checkpoint": path, "epochs": 9}, {"resume": history, "epochs": 3}):
        with pytest.raises(MemoryError):
            other.fit(X, Y, batch_size=7, seed=1, ema=0.9, threads=2, **options)
        assert other.parameters.tobytes() == before.tobytes() and path.read_bytes() == content


# where a file cannot be written


def destinations(folder):
    (folder / "loop").symlink_to("loop")
    (folder / "dangling").symlink_to("none/run.ckpt")
    (folder / "device").symlink_to("/dev/null")
    os.mkfifo(folder / "fifo")
    (folder / "file").write_text("")
    return {
        "loop": (folder / "loop", OSError, "Too many levels"),
        "dangling": (folder / "dangling", FileNotFoundError, "no folder: '.*none'"),
        "device": (folder / "device", OSError, "a regular file; this is a device: '/dev/null'"),
        "fifo": (folder / "fifo", OSError, "a regular file; this is a FIFO: '.*fifo'"),
        "folder": (folder, OSError, "a regular file; this is a folder"),
        "below a file": (folder / "file" / "run.ckpt", NotADirectoryError, "Not a directory"),
        "name": (folder / ("a" * 250), OSError, "no file can be made there: File name too long"),
        "zero byte": (str(folder / "a") + "\0b", ValueError, "a path that a file can have"),
        "empty": ("", ValueError, "a path that a file can have; got ''"),
        "surrogate": ("\ud800", ValueError, "a path that a file can have"),
        "bytes": (b"run.ckpt", TypeError, "a path .*got b'run.ckpt'"),
    }


@pytest.mark.skipif(os.name == "nt", reason="files of POSIX")
def test_a_destination_is_tried_before_training(tmp_path):
    calls, net = [], network()
    for path, kind, words in destinations(tmp_path).values():
        before = sorted(p.name for p in tmp_path.iterdir())
        with pytest.raises(kind, match=f"checkpoint: .*{words}"):
            fit(net, path, callbacks=[calls.append])
        assert sorted(p.name for p in tmp_path.iterdir()) == before and not calls
    target = tmp_path / "there"
    (link := tmp_path / "link").symlink_to(target)  # whose folder is there
    (left := tmp_path / f".there.{'0' * 16}").write_text("of a run that was killed")
    fit(net, link)
    assert link.is_symlink() and target.is_file() and not left.exists()
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    calls, net, path = [], network(), tmp_path / "run.ckpt"
    fit(net, other := tmp_path / "finished.ckpt")
    real = os.open

    def refused(name, flags, *args):
        if flags & os.O_CREAT:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(name))
        return real(name, flags, *args)

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(OSError, match=r"checkpoint: no file can .*Read-only.*/run\.ckpt'"):
        fit(net, path, callbacks=[calls.append])
    with pytest.raises(OSError, match=r"checkpoint: no file can .*Read-only"):
        fit(net, other, epochs=9)
    assert not calls
    fit(net, other)  # which has nothing left to write


def test_bad_arguments(tmp_path):
    net = network()
    with pytest.raises(IsADirectoryError, match="checkpoint: expected a regular file"):
        fit(net, tmp_path)
    with pytest.raises(FileNotFoundError, match="checkpoint: there is no folder"):
        fit(net, tmp_path / "none" / "run.ckpt")
    with pytest.raises(TypeError, match=r"checkpoint: expected a path .*; got 3"):
        fit(net, 3)
    with pytest.raises(ValueError, match="every: expected a finite number >= 0"):
        fit(net, tmp_path / "run.ckpt", every=-1)
    with pytest.raises(ValueError, match="resume: expected None with a checkpoint"):
        fit(net, tmp_path / "run.ckpt", resume=fit(network()))
    assert not list(tmp_path.iterdir())


def test_large_data_are_told_apart_by_some_rows(monkeypatch):
    monkeypatch.setattr(checkpoint_files, "_FINGERPRINT_BYTES", 1000)
    data = rng.standard_normal((5000, 4))
    found = checkpoint_files.fingerprint([data, None])
    assert found == checkpoint_files.fingerprint([data.copy(), None])
    assert found != checkpoint_files.fingerprint([data + 1, None])
    assert found != checkpoint_files.fingerprint([data[:4999], None])
    assert found != checkpoint_files.fingerprint([data.astype("f4"), None])
    assert found != checkpoint_files.fingerprint([None, data])


# files of earlier versions (tests/data/, written before the training room was), each of a run that
# was stopped within an epoch

OLD_X = ((np.arange(69) * 37) % 19 - 9).reshape(23, 3) / 8.0
OLD_Y = np.arange(23) * 5 % 3
OLD = {
    "momentum_float64": {"optimizer": fastbp.SGD(0.1, momentum=0.9)},
    "stopping_float64": {"optimizer": fastbp.SGD(1.5), "schedule": schedules.Cosine(warmup=2),
                         "early_stopping": fastbp.EarlyStopping(2, monitor="loss")},
    "all_float32": {
        "optimizer": fastbp.AdamW(0.01), "ema": 0.9, "validation": (OLD_X[:9], OLD_Y[:9]),
        "metrics": ["accuracy", "mae"], "l2": 0.1, "l1": 0.01, "clip_norm": 1.0, "clip_value": 0.5,
        "early_stopping": fastbp.EarlyStopping(3, monitor="validation_accuracy"), "dropout": 0.2,
        "class_weight": {0: 2.0}, "label_smoothing": 0.1,
        "schedule": schedules.HalveOnPlateau(1, "validation_loss"),
    },
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_a_file_of_before_goes_on_as_the_whole_run_does(name, tmp_path):
    """But for roundings of formulas that were others when it was written."""
    path, dtype = tmp_path / "run.ckpt", name.rpartition("_")[2]
    old = Path(__file__).parents[1] / "data" / f"checkpoint_version_1_{name}.safetensors"
    path.write_bytes(old.read_bytes())
    epoch, row, *_ = persistence.read_description(path, "fastbp checkpoint", 1)["position"]
    assert epoch > 0 and row > 0
    options = {"data": (OLD_X, OLD_Y), "batch_size": 4, **OLD[name]}
    resumed, whole = (network(sizes=[3, 4, 3], dtype=dtype, seed=seed) for seed in (9, 0))
    history, expected = fit(resumed, path, **options), fit(whole, **options)
    near = {"rtol": 1e-4 if dtype == "float32" else 1e-11}
    assert_allclose(resumed.parameters, whole.parameters, atol=near["rtol"] / 100, **near)
    for key in expected.keys() - {"seconds"}:
        assert_allclose(history[key], expected[key], err_msg=key, **near)
    assert history.epochs == expected.epochs > epoch
