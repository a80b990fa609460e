"""`from_parquet`: the bits of the same rows in memory, files that are damaged, gone or different.

What does not belong here: what holds for chunks of any source (test_chunk_fits.py,
test_chunk_errors.py), memory (test_chunk_memory.py).
"""

import os
from pathlib import Path

import numpy as np
import pytest
from chunk_cases import assert_no_readers, order_of

import fastbp
import fastbp.data

pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

N = 230
RNG = np.random.default_rng(0)
TABLE = {
    "a": RNG.standard_normal(N).astype("float32"),
    "b": RNG.integers(-5, 5, N),
    "c": RNG.standard_normal(N),
    "d": RNG.random(N) < 0.5,
    "row": np.arange(N),
    "w": RNG.random(N),
    "y": RNG.integers(0, 3, N).astype("int8"),
}
X = np.stack([TABLE["a"], TABLE["b"], TABLE["c"], TABLE["d"]], axis=1, dtype="float64")


def write(folder, table=TABLE, sizes=(100, 100, 30), group=33):
    """Files of so many rows, in row groups of that many."""
    at = 0
    for number, size in enumerate(sizes):
        part = {name: column[at : at + size] for name, column in table.items()}
        path = folder / f"part-{number}.parquet"
        parquet.write_table(pyarrow.table(part), path, row_group_size=group)
        at += size
    return folder


def net(k=4, dtype="float64"):
    return fastbp.Network([k, 6, 3], dtype=dtype, seed=1)


def chunks_of(path, columns=("a", "b", "c", "d"), **options):
    return fastbp.data.from_parquet(
        path, **({"target": "y", "columns": list(columns), "shuffle_buffer": 50} | options)
    )


@pytest.fixture(autouse=True)
def ends():
    yield
    assert_no_readers()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["folder", "glob", "list", "pathlib", "one file"])
def test_bits_of_the_same_order_in_memory(tmp_path, dtype, kind):
    sizes = (N,) if kind == "one file" else (100, 100, 30)
    write(tmp_path, sizes=sizes)
    paths = sorted(tmp_path.iterdir())
    path = {
        "folder": str(tmp_path), "glob": str(tmp_path / "part-*.parquet"), "list": paths,
        "pathlib": tmp_path, "one file": paths[0],
    }[kind]  # fmt: skip
    chunks = chunks_of(path, weight="w")
    assert chunks.n_rows == N and chunks.n_features == 4
    memory, streamed = net(dtype=dtype), net(dtype=dtype)
    order = order_of(chunks_of(path, ["row"]), N, 5)
    options = {"epochs": 3, "batch_size": 16, "seed": 5}
    first = memory.fit(X, TABLE["y"], sample_weight=TABLE["w"], shuffle=order, **options)
    second = streamed.fit(chunks, **options)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()
    assert first["loss"].tobytes() == second["loss"].tobytes()


def test_numbers_and_several_targets(tmp_path):
    write(tmp_path)
    memory, streamed = (
        fastbp.Network([2, 4, 2], output="identity", loss="mse", seed=0) for _ in range(2)
    )
    Y = np.stack([TABLE["c"], TABLE["w"]], axis=1)
    memory.fit(X[:, :2], Y, shuffle=False, epochs=2)
    streamed.fit(chunks_of(tmp_path, ["a", "b"], target=["c", "w"]), shuffle=False, epochs=2)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()


def test_all_other_columns_are_the_features(tmp_path):
    chunks = chunks_of(write(tmp_path), columns=None or ["a"])
    assert chunks.columns == ["a"]
    chunks = fastbp.data.from_parquet(tmp_path, target="y", weight="w")
    assert chunks.columns == ["a", "b", "c", "d", "row"]
    assert sum(len(block[1]) for block in chunks) == N
    assert "230 rows" in repr(chunks)


def test_folders_as_hive_names_them(tmp_path):
    for year in (2023, 2024):
        folder = tmp_path / f"year={year}"
        folder.mkdir()
        write(folder)
    chunks = chunks_of(tmp_path, ["year", "a"])
    found = np.concatenate([block[0] for block in chunks])
    assert found[:, 0].tolist() == [2023.0] * N + [2024.0] * N


def test_only_the_wanted_columns_are_read(tmp_path, monkeypatch):
    asked = []
    original = parquet.ParquetFile.iter_batches

    def noted(self, *args, columns, **options):
        asked.append(columns)
        return original(self, *args, columns=columns, **options)

    monkeypatch.setattr(parquet.ParquetFile, "iter_batches", noted)
    net(1).fit(chunks_of(write(tmp_path), ["a"], shuffle=False), epochs=1)
    assert set(map(tuple, asked)) == {("a", "y")}
    asked.clear()
    net(1).fit(chunks_of(tmp_path, ["a"]), epochs=1, class_weight="balanced")
    assert ("y",) in map(tuple, asked)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"target": "z"}, "target: expected columns of the data"),
        ({"target": "A"}, r"target: .*Did you mean 'a'"),
        ({"target": 3}, "target: expected names"),
        ({"columns": ["a", "z"]}, "columns: expected columns of the data"),
        ({"columns": ["a", "a"]}, "columns: expected names of columns, each once"),
        ({"columns": []}, "columns: expected names"),
        ({"columns": ["a", "y"]}, "columns: expected other columns than target"),
        ({"weight": "z"}, "weight: expected columns"),
        ({"weight": ["w"] * 2}, "weight: expected names"),
        ({"shuffle_buffer": 0}, "shuffle_buffer"),
        ({"encoder": 3}, "encoder"),
    ],
    ids=str,
)
def test_refused(tmp_path, options, told):
    with pytest.raises((TypeError, ValueError), match=told):
        chunks_of(write(tmp_path), **options)


def test_paths_that_are_none(tmp_path):
    (tmp_path / "text.parquet").write_text("a,b\n1,2\n")
    (tmp_path / "empty").mkdir()
    for path, error, told in (
        (tmp_path / "none.parquet", FileNotFoundError, "none.parquet"),
        (str(tmp_path / "*.csv"), FileNotFoundError, r"\*.csv"),
        ([], ValueError, "at least one file"),
        (3, TypeError, "path: expected a path"),
        (tmp_path / "text.parquet", (OSError, ValueError), "text.parquet"),
        (tmp_path / "empty", (OSError, ValueError), "path"),
    ):
        with pytest.raises(error, match=told):
            chunks_of(path)


def test_files_whose_columns_differ(tmp_path):
    write(tmp_path)
    for column, error, told in (
        ({"a": ["x"] * 3}, TypeError, "part-9.parquet: column 'a': expected float"),
        ({"z": [1.0] * 3}, ValueError, "part-9.parquet: expected a column 'a'"),
    ):
        rest = {name: values[:3] for name, values in TABLE.items() if name != "a"}
        parquet.write_table(pyarrow.table({**column, **rest}), tmp_path / "part-9.parquet")
        with pytest.raises(error, match=told):
            chunks_of(tmp_path)


def test_texts_need_an_encoder(tmp_path):
    with pytest.raises(TypeError, match=r"column 't' is of string.*encoder"):
        write(tmp_path, TABLE | {"t": np.full(N, "a")})
        net(2).fit(chunks_of(tmp_path, ["a", "t"]))


@pytest.mark.parametrize("value", [None, np.nan, np.inf])
def test_what_is_not_finite_is_named(tmp_path, value):
    column = list(map(float, TABLE["a"]))
    column[150] = value
    write(tmp_path, TABLE | {"a": column})
    network = net()
    with pytest.raises(ValueError, match=r"part-1.parquet, row group 1.*column 'a': X: expected"):
        network.fit(chunks_of(tmp_path), epochs=2, seed=0)
    with pytest.raises(ValueError, match=r"part-1.parquet, row group 1.*\[17, 0\]"):
        network.fit(chunks_of(tmp_path, shuffle_buffer=N), epochs=2, seed=0)
    assert np.isfinite(network.parameters).all()


def test_a_wrong_label_is_named(tmp_path):
    column = TABLE["y"].copy()
    column[220] = 3
    write(tmp_path, TABLE | {"y": column})
    with pytest.raises(ValueError, match=r"part-2.parquet, row group 0.*Y: expected class indices"):
        net().fit(chunks_of(tmp_path), seed=0)
    texts = TABLE | {"y": np.array(["a", "b", "c"])[TABLE["y"]]}
    with pytest.raises(TypeError, match=r"part-.*, row group .*Y: .*strings such as"):
        net().fit(chunks_of(write(tmp_path, texts)), seed=0)


def test_a_truncated_file(tmp_path):
    write(tmp_path)
    path = tmp_path / "part-1.parquet"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises((OSError, ValueError), match=r"part-1.parquet"):
        chunks_of(tmp_path)


def test_a_damaged_row_group(tmp_path):
    write(tmp_path)
    path = tmp_path / "part-1.parquet"
    whole = bytearray(path.read_bytes())
    at = parquet.ParquetFile(path).metadata.row_group(2).column(0).data_page_offset
    whole[at : at + 40] = b"\xff" * 40
    path.write_bytes(whole)
    chunks, network = chunks_of(tmp_path, shuffle_buffer=20), net()
    with pytest.raises((OSError, ValueError), match=r"part-1.parquet, row group 2"):
        network.fit(chunks, seed=0, batch_size=8)
    assert np.isfinite(network.parameters).all()


@pytest.mark.parametrize("change", ["gone", "longer", "touched"])
def test_a_file_that_changes_between_epochs(tmp_path, change):
    write(tmp_path)
    path, whole = tmp_path / "part-1.parquet", net()

    def changes(event):
        if event.epoch == 2:
            if change == "gone":
                path.unlink(missing_ok=True)
            elif change == "longer":
                longer = tmp_path.with_name("longer")  # whole at once: the reader may be at it
                longer.write_bytes(path.read_bytes() + b"x")
                longer.replace(path)
            else:
                os.utime(path, ns=(1, 1))

    told = "part-1.parquet: the file (is no longer there|has changed)"
    with pytest.raises((OSError, ValueError), match=told):
        whole.fit(chunks_of(tmp_path), epochs=100, seed=0, callbacks=[changes])
    assert np.isfinite(whole.parameters).all()


@pytest.mark.parametrize("change", ["gone", "foreign"])
def test_a_file_that_changes_while_it_is_read(tmp_path, change):
    write(tmp_path)
    chunks, path = chunks_of(tmp_path), tmp_path / "part-0.parquet"
    first = next(unit for unit in range(3) if str(path) in chunks._name(unit, 0))
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(b"no Parquet")
    told = "part-0.parquet: the file (is no longer there|has changed)"
    with pytest.raises((OSError, ValueError), match=told):
        list(chunks._batches(first, chunks.columns))


def test_the_checkpoint_knows_its_files(tmp_path):
    folder, path = tmp_path / "data", tmp_path / "run.safetensors"
    folder.mkdir()
    options = {"epochs": 2, "seed": 0, "checkpoint": path}
    net().fit(chunks_of(write(folder)), **options)
    moved = folder.rename(tmp_path / "elsewhere")
    net().fit(chunks_of(moved), **options)  # the same files in another place
    with pytest.raises(ValueError, match="expected the same"):
        net().fit(chunks_of(moved, ["b", "a", "c", "d"]), **options)
    with pytest.raises(ValueError, match="expected the same"):
        net().fit(chunks_of(write(moved, group=34)), **options)


def test_without_pyarrow(tmp_path, monkeypatch):
    import builtins

    original = builtins.__import__

    def missing(name, *args):
        if name.split(".")[0] == "pyarrow":
            raise ImportError(name)
        return original(name, *args)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(ImportError, match=r"Parquet files need pyarrow: pip install .*\[data\]"):
        chunks_of(Path(tmp_path))


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9])
def test_split_parts_have_every_row_once(tmp_path, share):
    chunks = chunks_of(write(tmp_path), ["row"])
    kept, held = chunks.split(share, seed=3)
    parts = [np.concatenate([b[0][:, 0] for b in part]) for part in (kept, held)]
    assert sorted(np.concatenate(parts)) == list(range(N))
    assert [len(part) for part in parts] == [kept.n_rows, held.n_rows]
    again = chunks_of(tmp_path, ["row"], shuffle_buffer=7).split(share, seed=3)[1]
    assert np.concatenate([b[0][:, 0] for b in again]).tolist() == parts[1].tolist()
    first, second = kept.split(0.5)
    assert first.n_rows + second.n_rows == kept.n_rows
    assert kept.identity() != held.identity() != chunks.identity()
    known = chunks_of(tmp_path, weight="w").split(share, seed=3)
    network = net()
    history = network.fit(known[0], validation=known[1], epochs=2, l2=0.1, class_weight="balanced")
    assert history["validation_accuracy"].shape == (2,)


def test_split_refuses(tmp_path):
    chunks = chunks_of(write(tmp_path))
    for share in (0, 1, 1.5, -0.1, "x", None, 1e-9, np.nan):
        with pytest.raises((TypeError, ValueError), match="share: expected"):
            chunks.split(share)
    with pytest.raises((TypeError, ValueError), match="seed"):
        chunks.split(0.5, seed=-1)


def test_parts_of_parts_are_drawn_anew(tmp_path):
    parquet.write_table(pyarrow.table({"x": np.zeros(4000), "y": np.zeros(4000, int)}),
                        tmp_path / "a.parquet", row_group_size=1000)  # fmt: skip
    chunks = fastbp.data.from_parquet(tmp_path, target="y")
    kept, held = chunks.split(0.2)
    for part, share in ((kept, 0.2), (kept, 0.3), (held, 0.1)):
        first, second = part.split(share)
        assert first.n_rows + second.n_rows == part.n_rows
        assert abs(second.n_rows / part.n_rows - share) < 0.05


def test_folders_in_lists_and_globs(tmp_path, monkeypatch):
    for name in ("one", "two"):
        (tmp_path / "run=3" / name).mkdir(parents=True)
        write(tmp_path / "run=3" / name)
    monkeypatch.chdir(tmp_path / "run=3")
    told = chunks_of("one").n_rows
    for path in (["one", "two"], "*", ["one", "two/*.parquet"], "*/"):
        chunks = fastbp.data.from_parquet(path, target="y")
        assert chunks.n_rows == 2 * told
        assert chunks.columns == [name for name in TABLE if name != "y"]
    for path in (["one", "one"], ["one", "one/part-0.parquet"], ["one/part-0.parquet"] * 2):
        with pytest.raises(ValueError, match=r"each once; got .*one.part-0.parquet again"):
            chunks_of(path)
    chunks = chunks_of("one/*.parquet")
    monkeypatch.chdir(tmp_path)  # a relative path is of the folder at the time
    assert sum(len(block[1]) for block in chunks) == told


def test_a_foreign_file_in_a_folder(tmp_path):
    write(tmp_path)
    (tmp_path / "read.me").write_text("about these files")
    with pytest.raises((OSError, ValueError), match=r"read.me.*folder/\*\*/\*.parquet"):
        chunks_of(tmp_path)
    assert chunks_of(tmp_path / "**" / "*.parquet").n_rows == N


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_column_that_one_file_has_beside_the_others(tmp_path, at):
    write(tmp_path)
    path = tmp_path / f"part-{at}.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.append_column("z", [np.ones(len(table))]), path)
    with pytest.raises(ValueError, match=r"part-.\.parquet: expected .* 'z'"):
        fastbp.data.from_parquet(tmp_path, target="y")
    assert chunks_of(tmp_path).n_rows == N


@pytest.mark.parametrize("at", [0, 1, 2])
@pytest.mark.parametrize("text", [False, True])
def test_a_file_whose_column_is_all_missing(tmp_path, at, text):
    from fastbp.tabular import Encoder

    column = np.where(np.arange(N) % 2, "p", "q") if text else TABLE["a"]
    write(tmp_path, TABLE | {"a": column})
    path = tmp_path / f"part-{at}.parquet"
    table = parquet.read_table(path)
    parquet.write_table(table.set_column(0, "a", pyarrow.nulls(len(table))), path)
    chunks = chunks_of(tmp_path, ["a", "b"], encoder=Encoder())
    chunks.encoder.fit(chunks)
    assert net(chunks.n_features).fit(chunks, epochs=1).epochs == 1
    if not text:
        with pytest.raises(ValueError, match=rf"part-{at}.parquet, row group 0.*'a'.* got NaN"):
            net().fit(chunks_of(tmp_path, shuffle=False))


def test_an_index_of_pandas_is_no_feature(tmp_path):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(TABLE)
    frame.iloc[[5, 6, 9]].to_parquet(tmp_path / "a.parquet")
    chunks = fastbp.data.from_parquet(tmp_path, target="y")
    assert chunks.columns == [name for name in TABLE if name != "y"]
    (index,) = set(chunks.schema.names) - set(TABLE)
    assert next(iter(chunks_of(tmp_path, [index])))[0][0] == [5]


def test_finite_numbers_that_are_too_large(tmp_path):
    column = np.array(TABLE["c"])
    column[150] = -1e300
    told = r"X: expected values that float32 holds; got one of magnitude 1e\+300"
    with pytest.raises(ValueError, match=rf"part-1.parquet, row group 1: column 'c': {told}"):
        net(dtype="float32").fit(chunks_of(write(tmp_path, TABLE | {"c": column})), seed=0)
    arrays = fastbp.data.from_arrays(column[:, None], TABLE["y"], rows=100)
    with pytest.raises(ValueError, match=f"rows from 100 on: {told}"):
        net(1, "float32").fit(arrays, seed=0)


def test_weights_that_are_no_numbers(tmp_path):
    with pytest.raises(TypeError, match="weight: expected numbers; column 't' is of string"):
        chunks_of(write(tmp_path, TABLE | {"t": np.full(N, "a")}), weight="t")


@pytest.mark.parametrize("kind", ["file", "array", "map"])
@pytest.mark.parametrize("name", ["data", "validation"])
def test_a_checkpoint_of_other_values(tmp_path, kind, name):
    """Of files of one size and arrays of one shape; also where they validate."""

    def chunks(sign):
        a = sign * TABLE["a"]
        if kind == "file":
            parquet.write_table(pyarrow.table({"a": a, "y": TABLE["y"]}), tmp_path / "a.parquet")
            return chunks_of(tmp_path / "a.parquet", ["a"])
        if kind == "map":
            np.save(tmp_path / "a.npy", a[:, None])
            return fastbp.data.from_arrays(np.load(tmp_path / "a.npy", mmap_mode="r"), TABLE["y"])
        return fastbp.data.from_arrays(a[:, None], TABLE["y"])

    def fit(sign):
        options = {"epochs": 1, "seed": 0, "checkpoint": tmp_path / "run"}
        if name == "data":
            net(1).fit(chunks(sign), **options)
        else:
            net(1).fit(TABLE["c"][:, None], TABLE["y"], validation=chunks(sign), **options)

    fit(1)
    with pytest.raises(ValueError, match=f"expected the same {name}"):
        fit(-1)
    if kind != "map":  # whose file is a new one
        fit(1)
