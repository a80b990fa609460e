"""Tables on the command line: trained on as they are, predicted, checked, explained.

What belongs here: mixed tables and both ways to train on them. What does not: how files are read
(tabular/), arrays and plain numbers (test_cli.py).
"""

import csv
import json

import cli_cases
import numpy as np
import pytest
from cli_cases import strict, write_csv

import fastbp

pyarrow = pytest.importorskip("pyarrow")


TabularClassifier = pytest.importorskip("fastbp.estimators").TabularClassifier
TabularRegressor = fastbp.estimators.TabularRegressor

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures

N = 400


def homes(n=N, seed=0):
    """Numbers with gaps, texts, codes, dates, an id, a constant; price and kind follow them."""
    rng = np.random.default_rng(seed)
    area, wood = rng.uniform(20, 200, n), rng.choice(["oak", "elm", "ash"], n)
    days = rng.integers(0, 2000, n)
    price = 10 * area + 500 * (wood == "oak") + days / 4 + rng.normal(0, 20, n)
    return {
        "id": np.arange(100, 100 + n),
        "area": np.where(rng.random(n) < 0.1, "?", area.round(2).astype(str)),
        "wood": np.where(rng.random(n) < 0.1, "NA", wood),
        "zip": rng.choice(["02134", "10001", "00501"], n),
        "sold": np.datetime64("2015-01-01") + days,
        "garden": np.full(n, "no"),
        "price": price.round(1),
        "kind": np.where(price > np.median(price), "dear", "cheap"),
    }


def without(table, *names):
    return {name: column for name, column in table.items() if name not in names}


@pytest.fixture
def table(tmp_path):
    write_csv(tmp_path / "homes.csv", homes())
    return homes()


TRAIN = ("train", "homes.csv", "--drop", "kind", "--target", "price")


@pytest.mark.parametrize("options", [(), ("--preset", "mlp", "--epochs", 60)], ids=str)
def test_numbers(run, table, options):
    code, out, err = run(*TRAIN, *options, "--save", "m", "--json")
    assert code == 0, err
    document = strict(out)
    assert document["test"]["r2"] > 0.8 > 0.05 > document["baseline"]["r2"]
    assert document["baseline"]["predicts"] == [pytest.approx(table["price"].mean(), rel=0.05)]
    assert document["gradient_check"]["ok"]
    assert next(iter(document["importances"])) == "area"
    if not options:
        assert document["data"]["left_out"].keys() == {"id", "garden", "kind"}
        assert type(fastbp.load("m")) is TabularRegressor
    else:
        assert type(fastbp.load("m")) is fastbp.Network
    write = without(homes(7, seed=5), "kind", "price")
    write["extra"] = np.arange(7)
    write_csv(_here("new.csv"), {name: write[name] for name in [*write][::-1]})
    code, out, err = run("predict", "m", "new.csv", "--out", "p.csv")
    assert code == 0, err
    with open("p.csv") as stream:
        found = list(csv.DictReader(stream))
    expected = homes(7, seed=5)["price"]
    assert [*found[0]] == ["price"] and len(found) == 7
    assert np.corrcoef([float(row["price"]) for row in found], expected)[0, 1] > 0.8


def _here(name):
    from pathlib import Path

    return Path(name)


@pytest.mark.parametrize("options", [(), ("--hidden", "20", "--epochs", 60)], ids=str)
def test_classes(run, table, options):
    train = ("train", "homes.csv", "--drop", "price,id", "--target", "kind", *options)
    code, out, err = run(*train, "--save", "m")
    assert code == 0, err
    lines = out.splitlines()
    said = {line.split()[0]: line for line in lines}
    assert "2 classes" in out and "left out: garden" in out
    assert "baseline accuracy 5" in out and "always" in said["baseline"]
    assert "area" in said["matter"] and "gradient check: pass" in out
    document = strict(run("predict", "m", "homes.csv", "--json")[1])
    assert document["accuracy"] > 0.85 and document["rows"] == N
    assert {record["class"] for record in document["predictions"]} == {"dear", "cheap"}
    assert all(0.5 <= record["probability"] <= 1 for record in document["predictions"])
    for command in (("check", "m", "homes.csv"), ("explain", "m", "homes.csv", "--row", "3")):
        code, out, err = run(*command)
        assert code == 0, out + err
    assert "class dear" in out or "class cheap" in out
    code, out, _ = run("info", "m")
    assert code == 0 and ("TabularClassifier" in out) == (not options)


def test_the_default_is_the_estimator_s(run, table):
    code, _, err = run(*TRAIN, "--test", 0, "--save", "m", "--seed", 3, "--no-check")
    assert code == 0, err
    kept = without(table, "id", "garden", "kind", "price")
    kept["area"] = [None if v == "?" else float(v) for v in kept["area"]]
    kept["wood"] = [None if v == "NA" else v for v in kept["wood"]]
    expected = TabularRegressor(random_state=3).fit(kept, table["price"])
    assert (fastbp.load("m").predict(kept) == expected.predict(kept)).all()


def test_columns_as_the_user_says(run, table):
    options = ("--columns", "id,area,zip", "--categorical", "zip", "--json", "--no-check")
    document = strict(run("train", "homes.csv", "--target", "price", *options)[1])
    assert document["data"]["kinds"] == {"id": "numbers", "area": "numbers", "zip": "texts"}
    options = ("--id", "id", "--drop", "kind", "--save", "m", "--no-check")
    assert run("train", "homes.csv", "--target", "price", *options)[0] == 0
    assert run("predict", "m", "homes.csv", "--out", "p.parquet")[0] == 0
    from pyarrow import parquet

    found = parquet.read_table("p.parquet")
    assert found.column_names == ["id", "price"]
    assert [int(v) for v in found["id"].to_pylist()] == table["id"].tolist()
    first = run("predict", "m", "homes.csv")[1].splitlines()[0].split("\t")
    assert first[0] == "100" and float(first[1]) == pytest.approx(
        found["price"][0].as_py(), rel=1e-5
    )


def test_rows_without_a_target(run, tmp_path):
    table = homes()
    table["price"] = table["price"].astype(str)
    table["price"][[3, 7]] = ["?", ""]
    write_csv(tmp_path / "homes.csv", table)
    code, out, err = run(*TRAIN, "--save", "m", "--no-check")
    assert code == 0 and "2 rows without a target" in out, err
    code, out, err = run(*TRAIN, "--strict")
    assert code == 2 and "line 5" in err and "'price'" in err
    document = strict(run("predict", "m", "homes.csv", "--json")[1])
    assert len(document["predictions"]) == N == document["rows"]
    assert document["rows_compared"] == N - 2
    assert document["r2"] > 0.8


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: without(t, "wood"), "no column 'wood'"),
        (lambda t: t | {"area": ["big"] * len(t["area"])}, "'area'"),
        (lambda t: t | {"sold": ["soon"] * len(t["area"])}, "'sold'"),
    ],
)
def test_other_columns_than_in_training(run, table, tmp_path, change, words):
    assert run(*TRAIN, "--save", "m", "--no-check", "--epochs", 2)[0] == 0
    write_csv(tmp_path / "other.csv", change(homes(20)))
    code, _, err = run("predict", "m", "other.csv")
    assert code == 2 and words in err and err.count("\n") == 1 and "other.csv" in err
    table = homes(20)
    table["wood"] = np.full(20, "?")  # nothing known, and a new place
    table["zip"] = np.full(20, "99999")
    write_csv(tmp_path / "other.csv", table)
    assert run("predict", "m", "other.csv")[0] == 0


def test_codes_of_few_rows_stay_texts(run, table, tmp_path):
    """Of new rows whose codes all look like numbers."""
    assert run(*TRAIN, "--save", "m", "--no-check", "--epochs", 2)[0] == 0
    few = homes(30)
    few["zip"] = np.full(30, "10001")
    write_csv(tmp_path / "few.csv", few)
    code, _, err = run("predict", "m", "few.csv", "--out", "few.npy")
    assert code == 0, err
    whole = fastbp.load("m")
    few["area"] = [None if v == "?" else float(v) for v in few["area"]]
    few["wood"] = [None if v == "NA" else v for v in few["wood"]]
    np.testing.assert_allclose(np.load("few.npy")[:, 0], whole.predict(few), rtol=1e-12)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--preset", "best", "--hidden", "9"), "--hidden is for one network"),
        (("--preset", "none"), "invalid choice"),
        (("--drop", "prise"), "prise"),
        (("--columns", "price,area"), "price"),
        (("--drop", "price"), "price"),
        (("--categorical", "area", "--numeric", "area"), "area"),
        (("--drop", ","), "expected names"),
        (("--numeric", "wood"), "wood"),
        (("--encoding", "klingon"), "klingon"),
        (("--time-limit", "0"), "positive"),
    ],
)
def test_what_does_not_go_together(run, table, options, words):
    code, _, err = run("train", "homes.csv", "--target", "price", *options)
    assert code == 2 and words in err and err.count("\n") == 1, err


def test_options_of_tables_are_for_tables(run, tmp_path):
    np.savez(tmp_path / "a.npz", X=np.zeros((9, 2)), y=np.arange(9) % 2)
    for options in (("--drop", "a"), ("--preset", "best"), ("--strict",), ("--encoding", "utf-8")):
        code, _, err = run("train", "a.npz", *options)
        assert code == 2 and options[0] in err and "tables" in err
    assert run("train", "a.npz", "--preset", "mlp", "--epochs", 1)[0] == 0


@pytest.mark.parametrize("ending", ["parquet", "feather"])
def test_other_files(run, table, ending):
    from pyarrow import feather, parquet

    columns = table | {"area": [None if v == "?" else float(v) for v in table["area"]]}
    data = pyarrow.table(columns)
    (parquet.write_table if ending == "parquet" else feather.write_feather)(data, f"a.{ending}")
    code, _, err = run("train", f"a.{ending}", *TRAIN[2:], "--save", "m")
    assert code == 0, err
    assert strict(run("predict", "m", f"a.{ending}", "--json")[1])["r2"] > 0.8


def test_what_a_model_remembers_of_its_file(run, tmp_path):
    table = homes()
    table["wood"] = np.where(table["wood"] == "oak", "Möbel", table["wood"])
    rows = zip(*(map(str, column) for column in table.values()), strict=True)
    text = "\n".join([";".join(table), *(";".join(row).replace(".", ",") for row in rows)])
    (tmp_path / "homes.csv").write_bytes(text.encode("latin-1"))
    code, _, err = run(*TRAIN)
    assert code == 2 and "--encoding" in err
    code, _, err = run(*TRAIN, "--encoding", "latin-1", "--save", "m", "--no-check")
    assert code == 0, err
    document = strict(run("predict", "m", "homes.csv", "--json")[1])
    assert document["r2"] > 0.8


def test_no_importances(run, table):
    code, out, _ = run(*TRAIN, "--importance", "0", "--no-check", "--epochs", 2)
    assert code == 0 and "matter most" not in out
    code, out, _ = run(*TRAIN, "--importance", "1", "--no-check", "--epochs", 9, "--json")
    assert [*strict(out)["importances"]] == ["area"]


def test_epochs_and_time_are_caps(run, table):
    for preset in ("default", "mlp"):
        document = strict(run(*TRAIN, "--preset", preset, "--epochs", 2, "--json")[1])
        if preset == "default":
            assert set(document["networks"]["epochs"]) == {2}
        else:
            assert len(document["training"]["epochs"]) == 2
    document = strict(run(*TRAIN, "--time-limit", 0.05, "--json", "--no-check")[1])
    assert document["seconds"] < 5


def test_a_class_of_one_member(run, tmp_path):
    table = homes()
    table["kind"][5] = "rare"
    write_csv(tmp_path / "homes.csv", table)
    options = ("--drop", "price", "--target", "kind", "--no-check", "--epochs", 5)
    code, out, err = run("train", "homes.csv", *options, "--save", "m")
    assert code == 0 and "3 classes" in out, err
    assert json.loads(json.dumps(fastbp.load("m").metadata_))["classes"] == [
        "cheap",
        "dear",
        "rare",
    ]
    assert type(fastbp.load("m")) is TabularClassifier


def test_marks_of_numbers_are_remembered(run, tmp_path):
    """5.500 without a decimal comma beside it is what it was in training."""
    rng = np.random.default_rng(0)
    area, y = rng.integers(1000, 9000, 200), rng.integers(10, 99, 200)
    rows = [f"{a // 1000}.{a % 1000:03};{b},5" for a, b in zip(area, y, strict=True)]
    (tmp_path / "a.csv").write_text("\n".join(["area;y", *rows]))
    assert (
        run("train", "a.csv", "--target", "y", "--save", "m", "--no-check", "--epochs", 3)[0] == 0
    )
    assert fastbp.load("m").metadata_["decimal"] == ","
    (tmp_path / "new.csv").write_text("area;note\n5.500;x\n")
    code, out, err = run("predict", "m", "new.csv")
    assert code == 0 and "columns that the model does not know: 'note'" in err
    assert float(out) == pytest.approx(fastbp.load("m").predict({"area": [5500.0]})[0], rel=1e-5)


def test_what_is_read_is_not_written_over(run, table, tmp_path):
    before = (tmp_path / "homes.csv").read_bytes()
    for options in (("--save", "homes.csv"), ("--save", "./homes.csv")):
        code, _, err = run(*TRAIN, *options)
        assert code == 2 and "--save: expected another file" in err
    assert run(*TRAIN, "--save", "m.csv", "--no-check", "--epochs", 1)[0] == 0
    for out in ("homes.csv", "m.csv"):
        code, _, err = run("predict", "m.csv", "homes.csv", "--out", out)
        assert code == 2 and "--out: expected another file" in err
    assert (tmp_path / "homes.csv").read_bytes() == before


def test_wide_tables_are_not_shuffled_unasked(run, tmp_path):
    rng = np.random.default_rng(0)
    write_csv(tmp_path / "a.csv", {f"c{j}": rng.integers(0, 9, 60) for j in range(130)})
    options = (
        "train",
        "a.csv",
        "--target",
        "c0",
        "--task",
        "regression",
        "--epochs",
        2,
        "--no-check",
    )
    assert "matter most" not in run(*options)[1]
    assert run(*options, "--importance")[1].split("matter most")[1].count(" c") == 5


def test_counts_that_are_taken_for_classes_are_told(run, tmp_path):
    rng = np.random.default_rng(0)
    write_csv(tmp_path / "a.csv", {"a": rng.random(300), "n": rng.integers(0, 30, 300)})
    options = ("train", "a.csv", "--target", "n", "--epochs", 2, "--no-check")
    assert "30 values are taken for classes; --task regression" in run(*options)[1]
    assert "taken for classes" not in run(*options, "--task", "regression")[1]


def test_what_the_model_does_not_know_is_told(run, table, tmp_path):
    assert run(*TRAIN, "--save", "m", "--no-check", "--epochs", 2)[0] == 0
    other = homes(9)
    other["wood"] = np.array(["teak", "oak", "yew"] * 3)
    other["price"] = np.array(["dear"] * 9)
    write_csv(tmp_path / "other.csv", other)
    code, out, err = run("predict", "m", "other.csv")
    assert code == 0 and len(out.splitlines()) == 9
    assert "column 'wood': categories that the model does not know: 'teak', 'yew'" in err
    assert "'dear': the column is not compared with" in err
    assert run("predict", "m", "other.csv", "--target", "price")[0] == 2
    other["area"] = np.array(["1", "2", "big", *["3"] * 6])
    write_csv(tmp_path / "other.csv", other)
    err = run("predict", "m", "other.csv")[2]
    assert "column 'area', line 4" in err and "'big'" in err


def test_columns_within_columns_can_be_dropped(run, tmp_path):
    from pyarrow import parquet

    table = {"a": np.arange(40.0) % 7, "l": [[1, 2]] * 40, "y": np.arange(40.0) % 7}
    parquet.write_table(pyarrow.table(table), "a.parquet")
    options = ("train", "a.parquet", "--target", "y", "--task", "regression", "--epochs", 2)
    code, _, err = run(*options)
    assert code == 2 and "column 'l': expected a value a row" in err and "--drop" in err
    code, out, err = run(*options, "--drop", "l", "--save", "m")
    assert code == 0 and "left out: l" in out, err


@pytest.mark.parametrize("preset", ["mlp", "default"])
@pytest.mark.parametrize("mixed", [False, True])
def test_how_a_table_is_written_is_remembered_by_every_model(run, tmp_path, preset, mixed):
    """5.500 is 5500 also to a network, plain or behind an encoder; umlauts stay readable."""
    rng = np.random.default_rng(0)
    wood = rng.choice(["Ahorn", "Lärche"], 200) if mixed else rng.integers(0, 9, 200)
    area, y = rng.integers(1000, 9000, 200), rng.integers(10, 99, 200)
    rows = [f"{a // 1000}.{a % 1000:03};{w};{b},5" for a, w, b in zip(area, wood, y, strict=True)]
    (tmp_path / "a.csv").write_bytes("\n".join(["fläche;holz;y", *rows]).encode("latin-1"))
    options = ("--encoding", "latin-1", "--preset", preset, "--save", "m", "--no-check")
    assert run("train", "a.csv", "--target", "y", *options, "--epochs", 3)[0] == 0
    new = f"fläche;holz\n5.500;{wood[0]}\n".encode("latin-1")
    (tmp_path / "new.csv").write_bytes(new)
    (tmp_path / "plain.csv").write_bytes(new.replace(b"5.500", b"5500"))
    code, out, err = run("predict", "m", "new.csv")
    assert code == 0, err
    assert out == run("predict", "m", "plain.csv")[1]


def test_marks_in_parquet_texts_are_what_they_were_in_training(run, tmp_path):
    """A file with types says itself what is missing: its "?" is a category, then and later."""
    from pyarrow import parquet

    wood = ["?", "oak", "elm"] * 40
    table = {"wood": wood, "y": [float("?oakelm".index(w[0])) for w in wood]}
    parquet.write_table(pyarrow.table(table), "a.parquet")
    assert run("train", "a.parquet", "--target", "y", "--save", "m", "--no-check")[0] == 0
    model = fastbp.load("m")
    run("predict", "m", "a.parquet", "--out", "p.npy")
    np.testing.assert_allclose(np.load("p.npy")[:, 0], model.predict({"wood": wood}), rtol=1e-6)
