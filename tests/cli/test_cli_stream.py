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
    assert {record["class"] for record in found["predictions"]} <= set(map(str, table[target]))


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


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "--target"),
        (("--target", "nix"), "target: expected columns of the data"),
        (("--target", "price", "--preset", "best"), "--preset: not with --stream"),
        (("--target", "price", "--drop", "nix"), "there is no column 'nix'"),
        (("--target", "wood", "--task", "regression"), "expected numbers for --task regression"),
        (("--target", "price", "--task", "classification"), "expected at most 100 classes"),
        (("--target", "garden"), "expected at least 2 classes"),
        (("--target", "area"), "rows and more without a target"),
    ],
)
def test_refused(run, table, options, told):
    code, _, err = run("train", "homes.parquet", "--stream", *options)
    assert code == 2 and told in err and len(err.splitlines()) == 1, err
    code, _, err = run("train", "none.parquet", "--stream", "--target", "y")
    assert code == 2 and "none.parquet" in err
