"""``fastbp train --stream``: Parquet chunk by chunk, and its model to the other commands.

What does not belong here: tables that are read whole (test_cli_tables.py), chunks (tests/data).
"""

import cli_cases
import numpy as np
import pytest
from cli_cases import strict

import fastbp
from fastbp.cli import stream

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")
pytest.importorskip("narwhals")
pytest.importorskip("sklearn")

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures
N = 1200


def homes(n=N, seed=0):
    rng = np.random.default_rng(seed)
    area, wood = rng.uniform(20, 200, n), rng.choice(["oak", "elm", "ash"], n)
    price = 10 * area + 500 * (wood == "oak") + rng.normal(0, 20, n)
    return {
        "area": [None if i % 10 == 0 else v for i, v in enumerate(area)],
        "wood": wood,
        "sold": np.datetime64("2015-01-01", "us") + rng.integers(0, 2000, n).astype("m8[D]"),
        "garden": np.full(n, "no"),
        "price": price,
        "kind": np.where(price > np.median(price), "dear", "cheap"),
        "rooms": (area // 50).astype(int),
    }


@pytest.fixture
def table(tmp_path):
    parquet.write_table(pyarrow.table(homes()), tmp_path / "homes.parquet", row_group_size=150)
    return homes()


TRAIN = ("train", "homes.parquet", "--stream", "--drop", "garden")


def test_numbers(run, table):
    code, out, err = run(
        *TRAIN, "--drop", "kind,garden", "--target", "price", "--epochs", 20, "--batch-size", 32,
        "--save", "homes.safetensors",
    )  # fmt: skip
    assert code == 0, err
    assert "test R^2" in out and "gradient check: pass" in out and "saved to" in out
    code, out, err = run("predict", "homes.safetensors", "homes.parquet", "--json")
    assert code == 0 and strict(out)["r2"] > 0.8, out[:300]
    net = fastbp.load("homes.safetensors")
    assert net.metadata["target"] == "price" and "encoder" in net.metadata


@pytest.mark.parametrize("target", ["kind", "rooms"])
def test_classes(run, table, target):
    code, out, err = run(
        *TRAIN, "--target", target, "--epochs", 15, "--batch-size", 32, "--save", "m.safetensors",
        "--json", "--seed", 1, "--drop", "garden,price" if target == "kind" else "garden",
    )  # fmt: skip
    document = strict(out)
    assert code == 0, err
    assert document["test"]["accuracy"] > document["baseline"]["accuracy"]
    assert document["data"]["train_rows"] > document["data"]["test_rows"] > 0
    code, out, err = run("predict", "m.safetensors", "homes.parquet", "--json")
    found = strict(out)
    assert code == 0 and found["accuracy"] > 0.6
    assert {record["class"] for record in found["predictions"]} <= set(table[target])


def test_a_folder_and_a_checkpoint(run, table, tmp_path):
    (tmp_path / "parts").mkdir()
    for i in range(3):
        parquet.write_table(pyarrow.table(homes(seed=i)), tmp_path / "parts" / f"{i}.parquet")
    command = ("train", "parts", "--stream", "--target", "price", "--columns", "area,wood",
               "--epochs", 2, "--checkpoint", "run.safetensors", "--no-check")  # fmt: skip
    code, out, err = run(*command)
    assert code == 0 and "epoch 2/2" in out, err
    code, out, err = run(*command)
    assert code == 0 and "epoch 1/2" not in out, err


def test_a_file_too_large_for_memory_is_streamed(run, table, monkeypatch):
    monkeypatch.setattr(stream, "_free_memory", lambda: 1000)
    code, out, _ = run("train", "homes.parquet", "--target", "kind", "--epochs", 1, "--no-check")
    assert code == 0 and "targets and encoder, a pass each" in out
    monkeypatch.setattr(stream, "_free_memory", lambda: None)
    code, out, _ = run("train", "homes.parquet", "--target", "kind", "--epochs", 1, "--no-check")
    assert code == 0 and "a pass each" not in out


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "*.csv", "a.parquet", "plain"])
def test_other_files_are_refused_as_such(run, tmp_path, name):
    (tmp_path / name.replace("*", "b")).write_text("a,t\n1,x\n2,y\n")
    code, _, err = run("train", name, "--stream", "--target", "t")
    told = name.replace("*", "b")
    assert code == 2 and "magic" not in err
    assert err == f"fastbp: error: --stream: expected Parquet; got {told}, which is another file\n"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--target"),
        (("--target", "nix"), "no column 'nix'"),
        (("--target", "price", "--preset", "best"), "--preset: not with --stream"),
        (("--target", "price", "--drop", "nix"), "drop: no column 'nix'"),
        (("--target", "wood", "--task", "regression"), "expected numbers for --task regression"),
        (("--target", "price", "--task", "classification"), "labels must be whole numbers"),
        (("--target", "garden"), "expected at least 2 classes"),
        (("--target", "area", "--strict"), "row group 0: column 'area': missing value"),
        (("--target", "sold"), "column 'sold': targets must be numbers or strings"),
        (("--target", "price", "--columns", "area,wood,area"), "got 'area' twice"),
        (("--target", "price", "--columns", "area,wood", "--drop", "area"), "is among columns"),
        (("--target", "price", "--drop", "price"), "is the target, which is no input"),
        (("--target", "price", "--header", "yes"), "--header: not with --stream"),
        (("--target", "price", "--importance", "3"), "--importance: not with --stream"),
        (("--target", "price", "--mpi"), "--mpi: not with --stream"),
        (("--target", "price", "--momentum", ".5"), "--momentum is for --optimizer sgd"),
    ],
)
def test_refused(run, table, options, told):
    code, _, err = run("train", "homes.parquet", "--stream", *options)
    assert code == 2 and told in err and len(err.splitlines()) == 1, err
    code, _, err = run("train", "none.parquet", "--stream", "--target", "y")
    assert code == 2 and "none.parquet" in err


def written(tmp_path, **columns):
    table = pyarrow.table(homes() | columns)
    parquet.write_table(table, tmp_path / "homes.parquet", row_group_size=150)


SHORT = ("--epochs", 1, "--no-check", "--json")


def test_columns_that_say_nothing_are_left_out(run, tmp_path):
    names = [f"n{i}" for i in range(N)]
    written(
        tmp_path, number=np.arange(5, N + 5), real=np.arange(N) + 2.0, name=names, two=[7] * N,
        none=pyarrow.nulls(N), nan=np.full(N, np.nan), gap=[None, *[3] * (N - 1)],
        twice=[*names[:-1], "n0"], late=[*np.arange(N - 1), 0],
        __index_level_0__=np.arange(N)[::-1],
        code=pyarrow.array(["same"] * N).dictionary_encode(),
    )  # fmt: skip
    code, out, err = run("train", "homes.parquet", "--stream", "--target", "price", *SHORT)
    assert code == 0, err
    left = strict(out)["data"]["left_out"]
    assert "left out: number (whole numbers that rise" in err
    _, _, whole = run("train", "homes.parquet", "--target", "price", "--preset", "mlp", *SHORT)
    told = [line for line in err.splitlines() if line.startswith("left out")]
    assert told == [line for line in whole.splitlines() if line.startswith("left out")]
    assert "gap" not in left and "late" not in left and len(left) == 9
    code, out, err = run(
        "train", "homes.parquet", "--stream", "--target", "price", "--columns", "area,two", *SHORT
    )
    assert strict(out)["data"]["columns"] == ["area", "two"]


def test_texts_without_a_repetition_are_not_compared_for_ever(monkeypatch):
    from fastbp.tabular import selection

    monkeypatch.setattr(selection, "DISTINCT", 50)
    monkeypatch.setattr(selection, "FIRST", 20)
    read = []

    def parts(names):
        for at in range(0, 200, 10):
            read.append((at, tuple(names)))
            columns = {
                "id": [f"n{i}" for i in range(at, at + 10)], "say": [str(i % 3) for i in range(10)],
                "count": list(range(at, at + 10)),
            }  # fmt: skip
            yield "", pyarrow.record_batch({name: columns[name] for name in names})

    found = selection.judged_in_parts(parts, ["id", "say", "count"])
    assert found["id"].endswith("others in every row of the first 50") and not found["say"]
    assert found["count"] == "whole numbers that rise by one from row to row"
    assert read[:2] == [(0, ("id", "say", "count")), (10, ("id", "say", "count"))]
    assert read[2] == (0, ("id", "count"))


@pytest.mark.parametrize(
    ("name", "values", "told"),
    [
        ("kind", [f"n{i}" for i in range(N)], "1200 different texts in 1200 rows: too many"),
        ("price", [1.0] * 310 + [np.inf] + [2.0] * (N - 311), "row group 2: column 'price': t"),
        ("kind", ["", "a", "b"] * (N // 3), "column 'kind': missing value"),
        ("kind", ["1.5", "2.5", "7"] * (N // 3), "expected classes, or numbers as numbers"),
        ("kind", [True] * N, "at least 2 classes, found only True"),
        ("kind", [None] * N, "missing value in every row"),
        ("kind", [[1]] * N, "expected a value a row"),
        ("two", [[1]] * N, "column 'two': expected a value a row"),
    ],
)
def test_refused_columns(run, tmp_path, name, values, told):
    written(tmp_path, **{name: values})
    target = name if name != "two" else "price"
    code, _, err = run("train", "homes.parquet", "--stream", "--target", target)
    assert code == 2 and told in err and len(err.splitlines()) == 1, err


def test_another_type_in_a_later_file(run, tmp_path):
    (tmp_path / "parts").mkdir()
    parquet.write_table(pyarrow.table(homes()), tmp_path / "parts" / "0.parquet")
    other = pyarrow.table(homes() | {"area": ["wide"] * N})
    parquet.write_table(other, tmp_path / "parts" / "1.parquet")
    code, _, err = run("train", "parts", "--stream", "--target", "price")
    assert code == 2 and "1.parquet" in err and "'area'" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("target", ["price", "kind", "rooms"])
@pytest.mark.parametrize("parts", [(), ("--test", 0, "--validation", 0)])
def test_rows_without_a_target_are_left_out(run, tmp_path, target, parts):
    table = homes()
    gaps = [None if i % 7 == 3 or i < 200 else v for i, v in enumerate(table[target].tolist())]
    # what only rows without a target have is not learnt
    wood = ["gone" if gap is None else w for w, gap in zip(table["wood"], gaps, strict=True)]
    written(tmp_path, **{target: gaps, "wood": wood})
    command = ("train", "homes.parquet", "--stream", "--target", target, *parts, "--columns",
               "wood", "--batch-size", 32, *SHORT)  # fmt: skip
    code, out, err = run(*command)
    assert code == 0, err
    data = strict(out)["data"]
    n = sum(gap is None for gap in gaps)
    assert data["rows_without_target"] == n and f"left out: {n} rows without a target" in err
    assert sum(data.get(f"{of}_rows", 0) for of in ("train", "test", "validate")) == N - n
    assert "gone" not in str(data["encoder"])


def test_classes_are_those_of_tables_in_memory(run, tmp_path):
    written(tmp_path, kind=["10", "9", "1", "1"] * (N // 4), price=np.arange(N) % 2 == 0)
    for target, classes in (("kind", ["1", "9", "10"]), ("price", [False, True])):
        code, out, err = run("train", "homes.parquet", "--stream", "--target", target,
                           "--save", "m.safetensors", *SHORT)  # fmt: skip
        assert code == 0 and strict(out)["data"]["classes"] == classes, err
        code, out, _ = run("predict", "m.safetensors", "homes.parquet", "--json")
        assert code == 0 and strict(out)["accuracy"] > 0.3


def test_classes_that_training_has_not(run, tmp_path):
    kinds = ["rare", *["a", "b"] * ((N - 2) // 2), "rarest"]
    written(tmp_path, kind=kinds)
    code, out, _ = run("train", "homes.parquet", "--stream", "--target", "kind", "--test", ".5",
                       *SHORT)  # fmt: skip
    assert code == 0 and strict(out)["data"]["classes"] == ["a", "b", "rare", "rarest"]


def test_nothing_is_said_of_the_speed_of_no_step(run, table):
    command = (*TRAIN, "--target", "price", "--epochs", 1, "--no-check")
    code, out, err = run(*command, "--time-limit", "1e-9")
    assert code == 1 and "nothing was trained" in err and "nan" not in out + err
    code, _, _ = run(*command, "--checkpoint", "run.safetensors")
    assert code == 0
    code, out, err = run(*command, "--checkpoint", "run.safetensors")
    assert code == 0 and "nan" not in out + err, err


def test_predictions_of_several_files(run, table, tmp_path):
    code, _, err = run(*TRAIN, "--target", "price", "--save", "m.safetensors", *SHORT)
    assert code == 0, err
    (tmp_path / "parts").mkdir()
    for i in range(3):
        table = pyarrow.table(homes(n=100, seed=i))
        if i == 1:  # of a type that holds nothing else
            table = table.set_column(0, "area", pyarrow.nulls(100))
        parquet.write_table(table, tmp_path / "parts" / f"{i}.parquet")
    found = []
    for data in ("parts", "parts/*.parquet"):
        code, out, err = run("predict", "m.safetensors", data, "--json")
        assert code == 0 and strict(out)["rows"] == 300, err
        found.append(strict(out)["predictions"])
    code, out, _ = run("predict", "m.safetensors", "parts/2.parquet", "--json")
    assert found[0] == found[1] and found[0][200:] == strict(out)["predictions"]
    (tmp_path / "empty").mkdir()
    for data in ("empty", "none/*.parquet"):
        code, _, err = run("predict", "m.safetensors", data)
        assert code == 2 and len(err.splitlines()) == 1
    code, _, err = run("predict", "m.safetensors", "parts", "--decimal", ",")
    assert code == 2 and "--decimal" in err
