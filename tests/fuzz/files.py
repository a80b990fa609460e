"""Mutated files for every reader: each is read, or refused by its name, and nothing else happens.

    python tests/fuzz/files.py --count 100000 --seed 1 --budget 600 --keep FOLDER

What belongs here: the readers, their seeds (which the library writes), the law. What does not: how
files are changed (mutation.py). A case is told by its seed and number: `--first N --count 1` makes
it again. The cases run in a child with a limit of memory and of time, so that a hang and a crash
are found too.
"""

import argparse
import contextlib
import functools
import gzip
import io
import mmap
import os
import random
import signal
import struct
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import mutation
import numpy as np
import pyarrow
import pyarrow.feather
import pyarrow.parquet

import fastbp
from fastbp import cli, datasets, estimators, schedules, tabular

SECONDS = 20  # of one case, after which it hangs
MEMORY = 1 << 31  # bytes beyond those of a child that has read nothing yet

cli.parser = functools.cache(cli.parser)  # a quarter of the time otherwise
chance = np.random.default_rng(0)
N = 12
X, Y = chance.standard_normal((N, 3)), np.arange(N) % 3


class Finding(AssertionError):
    """The law is broken."""


class Reader(NamedTuple):
    """A kind of file: its name, what was written, how it is changed, what is asked of it."""

    name: str
    seeds: list[bytes]
    changes: tuple[Callable, ...]
    read: Callable[[Path], object]


def refused(call, path, start=None):
    """What the call gives; None where it refuses the file in words that begin with its name."""
    try:
        return call()
    except (ValueError, MemoryError) as error:
        if not str(error).startswith(start or path.name):
            raise Finding(f"no name of a file: {error!r:.300}") from error
        if len(str(error)) > 20_000:
            raise Finding(f"{len(str(error))} characters of words") from error
        return None


def check(fine, what):
    if not fine:
        raise Finding(what)


# model files


def make_models():
    options = (
        {"sizes": [3, 4, 2]},
        {"sizes": [3, 1], "output": "exp", "loss": "poisson", "dtype": "float64"},
        {"sizes": [3, 5, 4, 2], "activation": ["maxout(3)", "leaky_relu(0.02)"]},
        {"sizes": [3, "scale", 5, "scale", 2]},
    )
    metadata = (
        {},
        {"columns": ["a", "b", "c"], "target": "d", "task": "regression"},
        {"classes": ["no", "yes"], "columns": ["a", "b", "c"], "target": "d", "x": [1.5, None, {}]},
        {"note": "scales"},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net"
        for about, told in zip(options, metadata, strict=True):
            fastbp.Network(**about, seed=1).save(path, metadata=told)
            yield path.read_bytes()


def read_model(path):
    net = refused(lambda: fastbp.load(path), path, f"{path}: ")
    if net is None:
        return
    twin = path.with_name("twin")
    net.save(twin)
    other = fastbp.load(twin)
    check(other.architecture == net.architecture, "another architecture after a round trip")
    check(other.metadata == net.metadata, "other metadata after a round trip")
    check(other.parameters.tobytes() == net.parameters.tobytes(), "other bits")
    check(net.classes is None or len(net.classes) > 0, "classes without names")
    rows = np.ones((2, net.sizes[0]))
    try:
        outputs = net.predict(rows)
    except RuntimeWarning:  # of infinities, which large weights give
        return
    check(np.isfinite(outputs).all(), "outputs that are not finite, without a word")


def use_model(path):
    """The command line with a model's metadata: an answer or one line of refusal."""
    warnings.simplefilter("always")  # a line each
    errors = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(errors):
        code = cli.main(["predict", str(path), str(path.with_name("given.csv"))])
    check(code in (0, 2), f"exit code {code}")
    check(code == 0 or "error" in errors.getvalue(), "no word of an error")


# files of tabular estimators

KNOWN = {
    "size": [*X[:-1, 0].tolist(), None],
    "wood": ["oak", "elm", "ash"] * (N // 3),
    "when": np.datetime64("2024-01-01") + np.arange(N),
}


def make_estimators():
    classes, numbers = estimators.TabularClassifier, estimators.TabularRegressor
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model"
        for kind, y in ((classes, Y), (classes, Y.astype(str)), (numbers, X[:, :2])):
            for preset in ("default", "mlp"):
                kind(preset, n_ensemble=2, random_state=0).partial_fit(KNOWN, y).save(path)
                yield path.read_bytes()


def read_estimator(path):
    model = refused(lambda: fastbp.load(path), path, f"{path}: ")
    if model is None:
        return
    twin = path.with_name("twin")
    model.save(twin)
    before = twin.read_bytes()
    fastbp.load(twin).save(twin)
    check(twin.read_bytes() == before, "another file after a round trip")
    if list(getattr(model, "feature_names_in_", ())) != list(KNOWN):
        return
    with np.errstate(all="ignore"):
        outputs = refused(lambda: model.predict(KNOWN), path, ("X", "networks"))
    check(outputs is None or len(outputs) == N, "too few outputs")


# checkpoints


def options_of(which):
    return {
        "sgd": {"optimizer": fastbp.SGD(0.1)},
        "all": {
            "optimizer": fastbp.Adam(0.01),
            "ema": 0.9,
            "early_stopping": fastbp.EarlyStopping(9, monitor="loss"),
            "schedule": schedules.Cosine(),
            "validation": 0.25,
        },
        "amsgrad": {"optimizer": fastbp.AMSGrad(0.01), "shuffle": False, "seed": None},
    }[which]


def fit(net, path, which, epochs):
    told = {"batch_size": 5, "seed": 1, "threads": 1, "every": 1e9, "epochs": epochs}
    return net.fit(X, Y, checkpoint=path, **told | options_of(which))


def make_checkpoints(which):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "run"
        for epochs in (1, 3):
            fit(fastbp.Network([3, 4, 3]), path, which, epochs)
            yield path.read_bytes()
        path.unlink()

        def within(event):
            if event.step == 4:
                raise KeyboardInterrupt

        with contextlib.suppress(KeyboardInterrupt):
            told = options_of(which) | {"batch_size": 5, "seed": 1, "every": 0.0, "epochs": 3}
            fastbp.Network([3, 4, 3]).fit(
                X, Y, checkpoint=path, callbacks=[fastbp.each_step(within)], **told
            )
        yield path.read_bytes()


def read_checkpoint(which):
    def read(path):
        net, content = fastbp.Network([3, 4, 3], seed=3), path.read_bytes()
        before, names = net.parameters.copy(), sorted(os.listdir(path.parent))
        told = f"checkpoint: {path}: "
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                history = refused(lambda: fit(net, path, which, 4), path, told)
            except fastbp.DivergenceError:  # from numbers that a run may have held
                check(np.isfinite(net.parameters).all(), "parameters that are not finite")
                return
            for warning in caught:
                check(str(warning.message).startswith(told), f"{warning.message}")
        if history is None:
            check(net.parameters.tobytes() == before.tobytes(), "the network has changed")
            check(path.read_bytes() == content, "the file has changed")
            check(sorted(os.listdir(path.parent)) == names, "other files")
            return
        check(np.isfinite(net.parameters).all(), "parameters that are not finite")
        check(np.isfinite(history["loss"]).all(), "a loss that is not finite")
        if not caught:
            twin = fastbp.Network([3, 4, 3], seed=5)
            again = fit(twin, path, which, 4)
            check(twin.parameters.tobytes() == net.parameters.tobytes(), "other bits then")
            check(again.epochs == history.epochs <= 4, "other epochs then")

    return read


# data


def idx(array):
    codes = {"u1": 0x08, "i4": 0x0C, "f4": 0x0D}
    head = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim])
    head += struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(array.dtype.newbyteorder(">")).tobytes()


def saved(save, *arrays, **named):
    stream = io.BytesIO()
    save(stream, *arrays, **named)
    return stream.getvalue()


IMAGES = chance.integers(0, 256, (N, 2, 3)).astype(np.uint8)
IDX = [idx(IMAGES), idx(Y.astype(np.int32)), idx(X.astype(np.float32))]
LABELS = idx(Y.astype(np.uint8))
NPY = [saved(np.save, a) for a in (X, X.astype(">f4").T, IMAGES, Y, Y > 0, Y.astype("U2"),
                                   Y.astype("S2"), np.eye(3)[Y])]  # fmt: skip
NPZ = [
    saved(np.savez, X=X, y=Y),
    saved(np.savez_compressed, X=IMAGES, y=Y.astype("U2")),
    saved(np.savez_compressed, x_train=X, y_train=X[:, :2], x_test=X[:4], y_test=X[:4, :2]),
]
CSV = [
    b"a,b,c,d\n" + b"".join(b"%.3f,%d,%d,%d\n" % (x, i, i * i, y) for i, (x, y) in
                            enumerate(zip(X[:, 0], Y, strict=True))),
    b'a,"b ""c""",c,d\n1,2,3,yes\n4.5,-5e-3,6,"no, not"\n' * 1,
    "\ufeffa;b;c;d\r\n1;2;3;0,5\r\n".encode(),
]  # fmt: skip

MIXED = (
    b"# a table\nday,price,zip,kind,of,note\n"
    b'2020-01-31,"1,200",02134,True,?, "a, b"\n31.1.2020,3.5,7,false,NA,"c\nd"\n'
    b"\n2020-1-1 9:00,-.5e3,1,TRUE,,#\n"
)
TEXTS = [
    *CSV,
    MIXED,
    MIXED.replace(b"\n", b"\r\n"),
    MIXED.replace(b",", b"\t"),
    b"sep=;\na;b\n1,5;2\n",
]
TABLE = pyarrow.table({
    "a": [*range(50)], "b": [None, 1.5] * 25, "c": ["x", "yes"] * 25,
    "d": pyarrow.array(["u", None] * 25).dictionary_encode(), "e": [[1]] * 50,
})  # fmt: skip


def binary(save, **options):
    """Files of the table, with and without the column that is refused."""
    for table in (TABLE.drop(["e"]), TABLE):
        stream = pyarrow.BufferOutputStream()
        save(table, stream, **options)
        yield stream.getvalue().to_pybytes()


def check_data(data):
    if data is None:
        return
    X, Y = data.X, data.Y
    check(X.ndim == 2 and X.size and X.dtype in (np.float32, np.float64), f"X {X.shape} {X.dtype}")
    check(np.isfinite(X).all(), "X is not finite")
    if Y is None:
        return
    check(len(Y) == len(X) and Y.size and Y.ndim in (1, 2), f"Y {Y.shape}")
    if data.classes is None:
        check(Y.dtype.kind == "f" and np.isfinite(Y).all(), "targets that are no numbers")
    else:
        check(Y.dtype == np.int64 and Y.ndim == 1, f"classes of {Y.dtype}")
        check(0 <= Y.min() and Y.max() < len(data.classes), "a class beyond the names")
        "".join(map(str, data.classes)).encode()


def read_idx(path):
    array = refused(lambda: datasets.read_idx(path), path)
    check(array is None or (array.dtype.isnative and array.flags.writeable), "no array")
    labels = path.with_name("labels")
    check_data(refused(lambda: datasets.read(path, labels=labels), path, (path.name, "labels")))
    beside = (path.name, "some-labels")
    check_data(refused(lambda: datasets.read_inputs(path), path, beside))
    given = path.with_name("given-images")  # and as the labels of images
    check_data(refused(lambda: datasets.read(given, labels=path), path, (path.name, given.name)))


def read_npy(path):
    check_data(refused(lambda: datasets.read_inputs(path), path))
    given = path.with_name("given.npy")
    for task in (None, "classification", "regression"):
        check_data(refused(lambda t=task: datasets.read(given, labels=path, task=t), path))


def read_npz(path):
    for task in (None, "classification", "regression"):
        check_data(refused(lambda t=task: datasets.read(path, task=t), path))
    check_data(refused(lambda: datasets.read_inputs(path), path))


def read_csv(path):
    for task in (None, "classification", "regression"):
        check_data(refused(lambda t=task: datasets.read(path, target="d", task=t), path))
    check_data(refused(lambda: datasets.read_inputs(path, target="d", columns=["a", "b"]), path))


def read_table(path):
    """Every column is of a known kind, of one length, and has places; what is read is sound."""
    for options in ({}, {"header": "no", "comments": "no"}, {"encoding": "latin-1"}):
        if options and ".csv" not in path.name:
            continue
        source = refused(lambda told=options: tabular.read_source(path, **told), path)
        if source is None:
            continue
        source.table.validate(full=True)
        check(source.table.num_rows > 0 and source.table.num_columns > 0, "an empty table")
        check(len(set(source.table.column_names)) == source.table.num_columns, "a name twice")
        last = source.table.num_rows - 1
        for name in source.table.column_names:
            check(source.where(name, last).startswith(f"{path.name}: column "), "no place")
        if options or ".csv" in path.name:
            check("line" in source.place(last), f"no line: {source.place(last)}")
            source.cell(name, last)
        refused(lambda found=source: tabular.choose(found.table), path, "expected at least")


ZIPPED = (mutation.bytes_of, mutation.packed(mutation.bytes_of))
MODELS = list(make_models())
SAFE = (mutation.bytes_of, mutation.safetensors_of, mutation.safetensors_of)
READERS = (
    Reader("model.safetensors", MODELS, SAFE, read_model),
    Reader("table.safetensors", list(make_estimators()), SAFE, read_estimator),
    Reader("used.safetensors", MODELS[1:], (mutation.safetensors_of,), use_model),
    *(
        Reader(f"{which}.ckpt", list(make_checkpoints(which)), SAFE, read_checkpoint(which))
        for which in ("sgd", "all", "amsgrad")
    ),
    Reader("some-images-idx3-ubyte", IDX, (mutation.bytes_of,), read_idx),
    Reader("some-images-idx3-ubyte.gz", [gzip.compress(a) for a in IDX], ZIPPED, read_idx),
    Reader("some.npy", NPY, (mutation.bytes_of, mutation.npy_of), read_npy),
    Reader("some.npz", NPZ, (mutation.bytes_of, mutation.npz_of, mutation.npz_of), read_npz),
    Reader("some.csv", CSV, (mutation.bytes_of, mutation.csv_of), read_csv),
    Reader(
        "some.csv.gz",
        [gzip.compress(text) for text in CSV],
        (*ZIPPED, mutation.packed(mutation.csv_of)),
        read_csv,
    ),
    Reader("table.csv", TEXTS, (mutation.bytes_of, mutation.csv_of), read_table),
    Reader(
        "table.csv.zst",
        [pyarrow.compress(text, "zstd", asbytes=True) for text in TEXTS],
        (mutation.bytes_of,),
        read_table,
    ),
    Reader(
        "table.parquet", [*binary(pyarrow.parquet.write_table)], (mutation.bytes_of,), read_table
    ),
    Reader(
        "table.arrow", [*binary(pyarrow.feather.write_feather)], (mutation.bytes_of,), read_table
    ),
)


@contextlib.contextmanager
def bench():
    """A folder in memory with the files that stay as they are."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as name:
        folder = Path(name)
        for name in ("labels", "some-labels-idx1-ubyte"):  # the second is found beside the images
            (folder / name).write_bytes(LABELS)
        (folder / "given-images").write_bytes(IDX[0])
        (folder / "given.npy").write_bytes(NPY[0])
        (folder / "given.csv").write_bytes(CSV[0])
        yield folder


def make(seed, number, readers=READERS):
    """The reader and the content of one case."""
    chance = random.Random(f"{seed} {number}")
    reader = chance.choice(readers)
    content = chance.choice(reader.seeds)
    return reader, chance.choice(reader.changes)(chance, content, reader.seeds)


def try_one(reader, content, folder):
    """Hold one file against the law; raises what breaks it."""
    path = folder / reader.name
    path.write_bytes(content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            reader.read(path)
    finally:
        path.unlink()


def run_cases(seed, first, count, deadline, readers, at):
    """Run cases in this process; yields the numbers that break the law."""
    with bench() as folder:
        for number in range(first, first + count):
            if time.monotonic() > deadline:
                break
            at[:8] = struct.pack("<Q", number)
            reader, content = make(seed, number, readers)
            if hasattr(signal, "setitimer"):
                signal.setitimer(signal.ITIMER_REAL, SECONDS)  # it ends the process
            try:
                try_one(reader, content, folder)
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                yield number, reader, content, error
        else:
            number = first + count
            at[:8] = struct.pack("<Q", number)
        if hasattr(signal, "setitimer"):
            signal.setitimer(signal.ITIMER_REAL, 0)


def report(seed, number, what, keep, reader=None, content=b""):
    print(f"seed {seed}, case {number}: {what}", flush=True)
    if keep is not None and reader is not None:
        (keep / f"{seed}-{number}-{reader.name}").write_bytes(content)


def child(options, first, deadline, readers, at):
    """The cases from `first` on, with a limit of memory; returns how many break the law."""
    import resource

    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY
    pyarrow.set_memory_pool(pyarrow.system_memory_pool())  # others reserve more than they use
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    found = 0
    count = options.first + options.count - first
    cases = run_cases(options.seed, first, count, deadline, readers, at)
    for number, reader, content, error in cases:
        found += 1
        lines = traceback.format_exception(error)
        report(options.seed, number, f"{reader.name}\n{''.join(lines[-6:])}", options.keep, reader,
               content)  # fmt: skip
        if found >= options.most:
            break
    return found


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=10**9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--budget", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--first", type=int, default=0, metavar="N")
    parser.add_argument("--only", metavar="READER", help="readers whose file's name holds this")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="for files that break the law")
    parser.add_argument("--most", type=int, default=20, metavar="N", help="end after so many")
    options = parser.parse_args(argv)
    sys.stdout.reconfigure(errors="backslashreplace")  # halves of pairs in what is found
    readers = tuple(r for r in READERS if options.only is None or options.only in r.name)
    if options.keep is not None:
        options.keep.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    deadline = began + options.budget
    at = mmap.mmap(-1, 8)  # the case at hand, also when the child is gone
    first, found = options.first, 0
    while first < options.first + options.count and time.monotonic() < deadline:
        sys.stdout.flush()
        process = os.fork()
        if process == 0:
            code = 255
            try:
                code = min(child(options, first, deadline, readers, at), 250)
            except BaseException:
                traceback.print_exc(file=sys.stdout)
            finally:
                sys.stdout.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        first = struct.unpack("<Q", at[:8])[0]
        if 0 <= code < 250:
            found += code
            break
        what = "a hang" if code == -signal.SIGALRM else f"the process died, {code}"
        report(options.seed, first, f"{make(options.seed, first, readers)[0].name}: {what}",
               options.keep, *make(options.seed, first, readers))  # fmt: skip
        found, first = found + 1, first + 1
        if found >= options.most:
            break
    seconds = time.monotonic() - began
    print(f"{first - options.first:,} files in {seconds:.1f} s, seed {options.seed}: {found} found")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
