"""Reading tables from files: dialects, what cells mean, what is refused and where it stands."""

import datetime
import gzip
import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp.tabular import read_source, read_table
from fastbp.tabular.selection import choose

pyarrow = pytest.importorskip("pyarrow")
from pyarrow import feather, parquet  # noqa: E402


def write(path, content):
    content = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def read(path, content, **options):
    return read_table(write(path / "a.csv", content), **options).to_pydict()


def refusal(path, error=ValueError, **options):
    with pytest.raises(error) as caught:
        read_table(path, **options)
    message = str(caught.value)
    assert message.startswith(f"{path.name}: ") and "\n" not in message, message
    return message


def column(path, *cells, delimiter=";", beside="x", **options):
    """What a column of these cells is read as."""
    rows = "".join(f"{cell}{delimiter}{beside}\n" for cell in cells)
    return read(path, f"a{delimiter}b\n{rows}", **options)["a"]


# what cells mean


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["1", "-2", "9007199254740993"], [1, -2, 9007199254740993]),
        (["1", "+2.5", ".5", "1.", "-1E+3"], [1.0, 2.5, 0.5, 1.0, -1000.0]),
        (["1", "99999999999999999999"], [1.0, 1e20]),
        (["1", "", "?", "NA", "n/a", "NaN", "null", "None", " ? "], [1, *[None] * 8]),
        (["3,5", "2", "-,5"], [3.5, 2.0, -0.5]),
        (["1,200,000", "1,200", "7"], [1200000, 1200, 7]),
        (["1,200.5", "1,200", "7"], [1200.5, 1200.0, 7.0]),
        (["1.234,56", "1.200", "7"], [1234.56, 1200.0, 7.0]),
        (["1'200", "1'200'000"], [1200, 1200000]),
        (["1’200", "12.5"], [1200.0, 12.5]),
        (["1 200", "1\u00a0200", "1\u202f200,5"], [1200.0, 1200.0, 1200.5]),
        (["02134", "10001"], ["02134", "10001"]),
        (["1.5", "02134"], ["1.5", "02134"]),
        (["-007", "2"], ["-007", "2"]),
        (["0", "0.5", "-0", "00.5"], [0.0, 0.5, -0.0, 0.5]),
        (["0,5", "007"], ["0,5", "007"]),
        (["1_000", "2"], ["1_000", "2"]),
        (["0x1F", "2"], ["0x1F", "2"]),
        (["1.2.3", "2.3.4"], ["1.2.3", "2.3.4"]),
        (["12,34", "1,200"], [12.34, 1.2]),
        (["0,200", "1,200"], [0.2, 1.2]),
        (["$3", "4"], ["$3", "4"]),
        (["inf", "x"], ["inf", "x"]),
        (["True", "true", "FALSE"], ["true", "true", "false"]),
        (["True", "maybe"], ["True", "maybe"]),
        ([" red ", "\u00a0blue", "café"], ["red", "blue", "café"]),
        (["?", "NA", ""], [None] * 3),
    ],
)
def test_cells(tmp_path, cells, values):
    assert column(tmp_path, *cells) == values


def day(year, month, day, *clock):
    return datetime.datetime(year, month, day, *clock)


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["2020-01-31", "1999-12-01"], [day(2020, 1, 31), day(1999, 12, 1)]),
        (["2020-1-31 9:05", "2020-1-1"], [day(2020, 1, 31, 9, 5), day(2020, 1, 1)]),
        (["2020-01-31T01:02:03.5", "?"], [day(2020, 1, 31, 1, 2, 3, 500000), None]),
        (["2020-01-31 01:02:03.123456789"], [day(2020, 1, 31, 1, 2, 3, 123456)]),
        (["2020/1/31", "2020/12/1"], [day(2020, 1, 31), day(2020, 12, 1)]),
        (["31.1.2020", "1.12.2020 10:00"], [day(2020, 1, 31), day(2020, 12, 1, 10)]),
        (["31/1/2020", "1/12/2020"], [day(2020, 1, 31), day(2020, 12, 1)]),
        (["1/31/2020", "12/1/2020"], [day(2020, 1, 31), day(2020, 12, 1)]),
        (["31-1-2020", "1-12-2020"], [day(2020, 1, 31), day(2020, 12, 1)]),
        (["1/2/2020", "3/4/2020"], ["1/2/2020", "3/4/2020"]),
        (["5/5/2020", "6/6/2020"], [day(2020, 5, 5), day(2020, 6, 6)]),
        (["2020-02-30", "2020-02-01"], ["2020-02-30", "2020-02-01"]),
        (["2020-02-03", "soon"], ["2020-02-03", "soon"]),
    ],
)
def test_dates(tmp_path, cells, values):
    assert column(tmp_path, *cells) == values


def test_times_with_a_zone_become_utc(tmp_path):
    utc = datetime.UTC
    found = column(tmp_path, "2020-01-01T00:30:00+02:00", "2020-01-01T00:30:00Z")
    assert found == [
        datetime.datetime(2019, 12, 31, 22, 30, tzinfo=utc),
        datetime.datetime(2020, 1, 1, 0, 30, tzinfo=utc),
    ]


def test_numbers_are_those_of_python(tmp_path):
    chance = random.Random(1)
    texts = []
    for _ in range(4000):
        value = chance.choice(
            (chance.gauss(0, 1), chance.uniform(-1, 1) * 10.0 ** chance.randint(-320, 308))
        )
        form = chance.choice(("{!r}", "{:.17g}", "{:e}", "{:.3f}", "{:+.5g}", "{:.30f}"))
        texts.append(form.format(value))
    texts += ["5e-324", "2.4703282292062328e-324", "1e-400", "9007199254740993.0", "0." + "1" * 400]
    found = np.array(column(tmp_path, *texts))
    assert found.tobytes() == np.array(list(map(float, texts))).tobytes()


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_a_mark_that_may_be_either_is_refused(tmp_path, delimiter):
    path = write(tmp_path / "a.csv", f"a{delimiter}b\n7{delimiter}x\n1,200{delimiter}y\n")
    message = refusal(path)
    for words in (
        "column 'a', line 3",
        "'1,200'",
        "1200 or 1.2",
        "decimal='.' or ','",
        "--decimal",
    ):
        assert words in message
    assert read_table(path, decimal=".")["a"].to_pylist() == [7, 1200]
    assert read_table(path, decimal=",")["a"].to_pylist() == [7, 1.2]
    assert read_table(path, thousands=",")["a"].to_pylist() == [7, 1200]


def test_other_columns_tell_the_decimal_mark(tmp_path):
    assert column(tmp_path, "1,200", "3,500", beside="0.5") == [1200, 3500]
    assert column(tmp_path, "1,200", "3,500", beside="0,5") == [1.2, 3.5]
    assert column(tmp_path, "1.200", "3.500", beside="0,5") == [1200, 3500]
    assert column(tmp_path, "1.200", "3.500", beside="x") == [1.2, 3.5]
    assert column(tmp_path, '"1,200"', '"3,500"', delimiter=",") == [1200, 3500]
    assert column(tmp_path, "3,5", decimal=".") == ["3,5"]


@pytest.mark.parametrize("cell", ["inf", "-Infinity", "1e999", "1" * 400])
def test_infinite_numbers_are_refused(tmp_path, cell):
    message = refusal(write(tmp_path / "a.csv", f"a,b\n1,x\n\n{cell},y\n"))
    assert "column 'a', line 4: expected a finite number" in message


def test_a_text_among_numbers_is_told(tmp_path):
    source = read_source(write(tmp_path / "a.csv", "a,b\n1,x\n2,y\n\nfew,z\n3,z\n"))
    assert source.notes["a"].startswith("column 'a' is of texts: line 5 has 'few', where most are")
    assert read_source(write(tmp_path / "a.csv", "a\n1\nx\ny\nz\n")).notes == {}


def test_columns_that_stay_as_they_are_written(tmp_path):
    path = write(tmp_path / "a.csv", "a,t\n1,1.0\n2,True\n3, ? \n")
    assert read_source(path, texts=["t", "u"]).table["t"].to_pylist() == ["1.0", "True", None]


# how it is written


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffa,b\n1,x\n2,y\n",
        "a,b\r\n1,x\r\n2,y\r\n",
        "a,b\r1,x\r2,y\r",
        "\n\na,b\n\n1,x\n  \n2,y\n\n",
        "a;b\n1;x\n2;y\n",
        "a\tb\n1\tx\n2\ty",
        "a|b\n1|x\n2|y",
        'a, b\n1, "x"\n2,   "y"\n',
        " a , b \n 1 , x \n2,y\n",
        "sep=;\na;b\n1;x\n2;y\n",
        "# made by hand\n# on a day, or two, or three\na,b\n1,x\n# and\n2,y\n",
        "# a,b\n1,x\n2,y\n",
        "#a,b\n1,x\n2,y\n",
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".txt", ".csv.zst"])
def test_dialects(tmp_path, content, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix.endswith("zst"):
        path.write_bytes(pyarrow.compress(content.encode(), "zstd", asbytes=True))
    else:
        write(path, content)
    assert read_table(path).to_pydict() == {"a": [1, 2], "b": ["x", "y"]}


def test_delimiters_within_cells(tmp_path):
    assert read(tmp_path, 'a,b\n1,"x;y|z"\n') == {"a": [1], "b": ["x;y|z"]}
    assert read(tmp_path, "1,5;2,5\n3,5;4,5\n", header="no") == {"1": [1.5, 3.5], "2": [2.5, 4.5]}
    assert read(tmp_path, 'a, b\n1, "x, y"\n') == {"a": [1], "b": ["x, y"]}
    assert read(tmp_path, "a:b\n1:2\n", delimiter=":") == {"a": [1], "b": [2]}
    assert read(tmp_path, 'a,b\n5" pipe,x\n6",y\n') == {"a": ['5" pipe', '6"'], "b": ["x", "y"]}
    assert read(tmp_path, 'a,b\n"say ""x""",1\n') == {"a": ['say "x"'], "b": [1]}


@pytest.mark.parametrize(
    "encoding", ["latin-1", "cp1252", "utf-16", "utf-16-le", "UTF8", "utf-8-sig"]
)
def test_encodings(tmp_path, encoding):
    path = write(tmp_path / "a.csv", "naïve,b\n1,é\n2,ß\n".encode(encoding))
    assert read_table(path, encoding=encoding).to_pydict() == {"naïve": [1, 2], "b": ["é", "ß"]}


def test_comments_that_may_be_rows(tmp_path):
    path = write(tmp_path / "a.csv", "a,b\n1,x\n#2,y\n")
    assert "line 3 begins with '#'" in refusal(path) and "comments='yes' or 'no'" in refusal(path)
    assert read_table(path, comments="yes")["a"].to_pylist() == [1]
    assert read_table(path, comments="no")["a"].to_pylist() == ["1", "#2"]
    assert read(tmp_path, "a,b\n#fff,1\n# so\nred,2\n") == {"a": ["#fff", "red"], "b": [1, 2]}
    assert "comment or the names" in refusal(write(path, "#a,b\nc,d\ne,f\n"))
    assert read(tmp_path, "#a,b\nc,d\n1,f\n") == {"c": [1], "d": ["f"]}


def test_a_header_line_or_none(tmp_path):
    path = write(tmp_path / "a.csv", "5.1,setosa\n6.4,virginica\n")
    for words in ("first line, found numbers, '5.1'", "header='no' or 'yes'", "--header no or yes"):
        assert words in refusal(path)
    assert read_table(path, header="no").to_pydict() == {
        "1": [5.1, 6.4],
        "2": ["setosa", "virginica"],
    }
    assert read_table(path, header="yes").column_names == ["5.1", "setosa"]
    for cell in ("2020-01-31", "?", "3,5", "1/31/2020"):
        assert f"{cell!r}" in refusal(write(path, f"a;{cell}\nb;c\n"))
    assert read(tmp_path, "Na,Mg\n1,2\n") == {"Na": [1], "Mg": [2]}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty", "header line"]),
        ("\n\n", ["empty"]),
        ("a,b\n", ["rows below the header line", "found none"]),
        ("a,b\n1,2\n3\n", ["line 3: expected 2 fields as in the header, found 1"]),
        ("a,b\n1,2,3\n3,4\n", ["line 2: expected 2 fields", "found 3"]),
        ('# x\n\na,b\n"1\n2",2\n\n3\n', ["line 7: expected 2 fields"]),
        ("a,b,a\n1,2,3\n", ["'a' twice, as columns 1 and 3"]),
        ('a,b\n1,"x\n2,y\n', ["line"]),
        (b"a,b\n1,x\n2,caf\xe9\n", ["line 3", "byte e9 at place 6", "--encoding latin-1"]),
        (b"a,caf\xe9\n1,x\n", ["line 1", "byte e9"]),
        ("a,b\n1,x\n".encode("utf-16"), ["UTF-16", "--encoding utf-16"]),
        ("a,b\n1,x\n".encode("utf-16-le"), ["line 1", "zero byte", "utf-16-le"]),
        (b"a,b\n1,\0\n", ["line 2", "zero byte"]),
        ("sep=é\na,b\n1,2\n", ["line 1: expected 'sep=' and one ASCII character"]),
    ],
)
@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_refusals(tmp_path, content, words, suffix):
    message = refusal(write(tmp_path / f"a{suffix}", content))
    for word in words:
        assert word in message


def test_arguments(tmp_path):
    path = write(tmp_path / "a.csv", "area,b\n1,x\n")
    assert "no column 'Area'" in refusal(path, columns=["Area"])
    assert "did you mean 'area'?" in refusal(path, columns=["Area"])
    assert read_table(path, columns=["b", "area"]).column_names == ["b", "area"]
    for options, words in (
        ({"header": "maybe"}, "header: expected one of auto, yes, no"),
        ({"comments": "#"}, "comments: expected one of"),
        ({"encoding": "klingon"}, "encoding: expected a name that Python knows"),
        ({"encoding": "hex"}, "encoding: expected a name that Python knows"),
        ({"decimal": ";"}, "decimal: expected one of"),
        ({"decimal": ",", "thousands": ","}, "thousands: expected another mark"),
        ({"delimiter": ";;"}, "delimiter: expected one ASCII character"),
        ({"columns": []}, "columns: expected at least one"),
        ({"columns": ["b", "b"]}, "columns: expected each name once"),
    ):
        with pytest.raises(ValueError, match=words):
            read_table(path, **options)
    for options in ({"encoding": 8}, {"columns": "b"}, {"columns": [1]}):
        with pytest.raises(TypeError, match=next(iter(options))):
            read_table(path, **options)
    parquet.write_table(read_table(path), tmp_path / "a.parquet")
    assert "only a file of text" in refusal(tmp_path / "a.parquet", header="no")
    assert "expected a name ending in .csv" in refusal(write(tmp_path / "a.xls", ""))
    for place in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(OSError):
            read_table(place)
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(OSError, match="FIFO"):
        read_table(tmp_path / "pipe.csv")


# large files, of which pyarrow reads columns itself as far as their first piece tells

N = 60_000  # rows of some 25 bytes; a piece is 1 MB


def large(changes, header="a,b,c,d,e\n", quote=""):
    """A table of whole numbers, decimal ones, dates, texts, with some rows as given."""
    rows = [
        f"{i % 7},{i},{i / 8},2020-01-{i % 28 + 1:02},{quote}text{i % 5}{quote}" for i in range(N)
    ]
    for at, row in changes.items():
        rows[at] = row
    return header + "\n".join(rows) + "\n"


def types(table):
    return [str(kind) for kind in table.schema.types]


@pytest.mark.parametrize("quote", ["", '"'])
@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ("1,2,3.5,2020-01-01,x", ["int64", "int64", "double", "timestamp[us]", "string"]),
        ("1,2.5,3.5,2020-01-01,x", ["int64", "double", "double", "timestamp[us]", "string"]),
        ("1,02134,3.5,2020-01-01,x", ["int64", "string", "double", "timestamp[us]", "string"]),
        ("1,0x1F,3.5,2020-01-01,x", ["int64", "string", "double", "timestamp[us]", "string"]),
        ('1,"02134",3.5,2020-01-01,x', ["int64", "string", "double", "timestamp[us]", "string"]),
        ("02134,2,3,2020-01-01,x", ["string", "int64", "double", "timestamp[us]", "string"]),
        ("1,2,few,2020-01-01,x", ["int64", "int64", "string", "timestamp[us]", "string"]),
        ("few,few,3,2020-01-01,x", ["string", "string", "double", "timestamp[us]", "string"]),
        ("1,2,3,2020-1-1 9:00,x", ["int64", "int64", "double", "timestamp[us]", "string"]),
        ("1,2,3,once,x", ["int64", "int64", "double", "string", "string"]),
        ("?,NA,,none,x", ["int64", "int64", "double", "timestamp[us]", "string"]),
        (" ? , NA,,none,0123", ["int64", "int64", "double", "timestamp[us]", "string"]),
    ],
)
def test_what_comes_late_counts_as_what_comes_early(tmp_path, row, expected, quote):
    found = [
        read_table(write(tmp_path / "a.csv", large({at: row}, quote=quote))) for at in (5, N - 1)
    ]
    assert types(found[0]) == types(found[1]) == expected
    for early, late in zip(found[0], found[1], strict=True):
        assert early[5].as_py() == late[N - 1].as_py()
        assert early[:5].to_pylist() == late[:5].to_pylist()


def test_a_code_late_among_decimal_numbers_is_a_number(tmp_path):
    found = read_table(write(tmp_path / "a.csv", large({50_000: "1,2,02134,2020-01-01,x"})))
    assert found["c"][50_000].as_py() == 2134.0
    early = read_table(write(tmp_path / "a.csv", large({50: "1,2,02134,2020-01-01,x"})))
    assert early["c"][50].as_py() == "02134"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("1,2,inf,2020-01-01,x", "column 'c', line 50002: expected a finite number, found 'inf'"),
        ("1,2,1e999,2020-01-01,x", "column 'c', line 50002: expected a finite number"),
        ("1,2,3", "line 50002: expected 5 fields as in the header, found 3"),
        (
            "1,2,3,2020-01-01,\udcff",
            "line 50002: expected UTF-8 text, found the byte ff at place 18",
        ),
        ("1,2,3,2020-01-01,\0", "line 50002: expected text, found a zero byte"),
        ("#,2,3,2020-01-01,x", "line 50002 begins with '#'"),
        ('1,2,3,2020-01-01,"x', "line 50002: expected a quote that closes the one opened here"),
    ],
)
def test_refusals_of_what_comes_late(tmp_path, row, words):
    content = large({50_000: row}).encode(errors="surrogateescape")
    assert words in refusal(write(tmp_path / "a.csv", content))
    assert words in refusal(write(tmp_path / "a.csv.gz", content))


@pytest.mark.parametrize("every", [1, 3, 1000])
def test_line_breaks_within_cells(tmp_path, every):
    rows = {i: f'{i},1,2.5,2020-01-01,"line {i}\nand, ""another"""' for i in range(0, N, every)}
    source = read_source(write(tmp_path / "a.csv", large(rows)))
    texts = source.table["e"].to_pylist()
    assert len(texts) == N and all(texts[i] == f'line {i}\nand, "another"' for i in rows)
    assert source.where("a", N - 1) == f"a.csv: column 'a', line {1 + N + (N - 2) // every + 1}"
    assert source.cell("a", 3 * every) == str(3 * every)


@pytest.mark.parametrize(
    ("row", "text"), [('1,2,3,2020-01-01, "x, y"', "x, y"), ("# so\n1,2,3,2020-01-01,x", "x")]
)
def test_what_pyarrow_does_not_take_may_come_late(tmp_path, row, text):
    source = read_source(write(tmp_path / "a.csv", large({50_000: row})))
    assert source.table["e"][50_000].as_py() == text and source.table.num_rows == N
    assert source.place(50_001) == f"line {50_003 + row.count(chr(10))}"


def test_random_tables_are_read_alike_by_both_ways(tmp_path):
    """pyarrow's, and Python's csv module before it, which a comment in the first lines asks for."""
    cells = [
        "1",
        "02",
        "x",
        "",
        '"a\nb"',
        '"q""q"',
        "3.5",
        "?",
        "é",
        '"a,b"',
        "-1",
        "True",
        "2020-01-01",
    ]
    for seed in range(60):
        chance = random.Random(seed)
        n = chance.choice((2, 3))
        text = [",".join(f"h{i}" for i in range(n))]
        kinds = [chance.choices(cells, k=chance.choice((1, 2, 6))) for _ in range(n)]
        text += [",".join(chance.choice(kind) for kind in kinds) for _ in range(40)]
        content = chance.choice(("\n", "\r\n")).join(text)
        found = [
            read_table(write(tmp_path / "a.csv", lead + content))
            for lead in ("", "\n# one comment\n")
        ]
        content = content.split("\n", 1)
        again = read_table(
            write(tmp_path / "a.csv", content[0] + "\n# a comment of one field\n" + content[1])
        )
        assert found[0].equals(found[1]) and found[0].equals(again), seed


def test_endless_lines_and_wide_ones(tmp_path):
    path = write(tmp_path / "bomb.csv.gz", b"a,b\n1,2\n" + b"1" * 20_000_000)
    assert "line 3 is longer than" in refusal(path)
    names = [f"c{i}" for i in range(30_000)]
    wide = ",".join(names) + "\n" + 3 * (",".join(["1234567"] * len(names)) + "\n")
    assert read_table(write(tmp_path / "wide.csv", wide)).shape == (3, 30_000)


# other files


def test_parquet_and_arrow(tmp_path):
    table = pyarrow.table(
        {"a": [1, None], "b": ["x", "y"], "c": pyarrow.array([1.5, 2], "float32")}
    )
    table = table.append_column("d", pyarrow.array(["u", "v"]).dictionary_encode())
    parquet.write_table(table, tmp_path / "a.parquet")
    feather.write_feather(table, tmp_path / "a.feather")
    with pyarrow.ipc.new_stream(tmp_path / "a.arrow", table.schema) as stream:
        stream.write_table(table)
    for suffix in ("parquet", "feather", "arrow"):
        source = read_source(tmp_path / f"a.{suffix}")
        assert source.table.equals(table), suffix
        assert source.where("a", 1) == f"a.{suffix}: column 'a', row 1"
        found = read_table(tmp_path / f"a.{suffix}", columns=["c", "a"])
        assert found.equals(table.select(["c", "a"]))
        assert "did you mean 'a'" in refusal(tmp_path / f"a.{suffix}", columns=["A"])


@pytest.mark.parametrize("suffix", ["parquet", "feather"])
def test_refusals_of_binary_files(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    save = parquet.write_table if suffix == "parquet" else feather.write_feather
    save(pyarrow.table({"a": [1], "b": [[1, 2]]}), path)
    assert "column 'b': expected a value a row; got list" in refusal(path)
    assert read_table(path, columns=["a"]).to_pydict() == {"a": [1]}
    save(pyarrow.table({"a": [{"x": 1}]}), path)
    assert "column 'a': expected a value a row" in refusal(path)
    save(pyarrow.table({"a": pyarrow.array([], "int64")}), path)
    assert "expected rows, found none" in refusal(path)
    save(pyarrow.table({"a": list(range(1000))}), path)
    content = path.read_bytes()
    for damaged in (b"", content[:4], content[: len(content) // 2], content[9:], b"hello" * 9):
        path.write_bytes(damaged)
        assert "not a sound" in refusal(path)


def test_truncated_and_damaged_streams(tmp_path):
    content = large({}).encode()
    for suffix, packed in (
        ("gz", gzip.compress(content)), ("zst", pyarrow.compress(content, "zstd", asbytes=True)),
    ):  # fmt: skip
        path = tmp_path / f"a.csv.{suffix}"
        path.write_bytes(packed)
        assert read_table(path).num_rows == N
        path.write_bytes(packed[: len(packed) // 2])
        assert "truncated" in refusal(path)
        path.write_bytes(packed[:5000] + b"xxxx" + packed[5004:])
        refusal(path)
        path.write_bytes(content)
        assert "already decompressed? then drop" in refusal(path)


BOMB = r"""
import sys
import pyarrow.csv
from fastbp.tabular import memory, read_table
memory.available = lambda: 60e6
try:
    read_table(sys.argv[1])
except MemoryError as error:
    print(error)
print(pyarrow.total_allocated_bytes(), pyarrow.default_memory_pool().max_memory())
"""


@pytest.mark.parametrize("suffix", ["gz", "zst"])
def test_what_grows_beyond_memory_is_refused_before_it_has_taken_it(tmp_path, suffix):
    content = b"a,b\n" + b"1,x\n" * 20_000_000
    path = tmp_path / f"bomb.csv.{suffix}"
    packed = (
        gzip.compress(content, 1)
        if suffix == "gz"
        else pyarrow.compress(content, "zstd", asbytes=True)
    )
    path.write_bytes(packed)
    done = subprocess.run(
        [sys.executable, "-c", BOMB, str(path)], capture_output=True, text=True, timeout=100,
        env=os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])},
    )  # fmt: skip
    words, numbers = done.stdout.splitlines()
    assert words.startswith(f"bomb.csv.{suffix}: its contents do not fit in memory"), done.stderr
    assert int(numbers.split()[1]) < 150e6


def test_columns_without_a_name(tmp_path):
    """They are called as pandas calls them, and no input unless they are asked for."""
    path = tmp_path / "a.csv"
    path.write_text('"",a,,b\n3,1,2,x\n1,2,,y\n4,4,,x\n')
    table = read_table(path)
    assert table.column_names == ["Unnamed: 0", "a", "Unnamed: 2", "b"]
    chosen = choose(table, target="b")
    assert chosen.features == ["a"]
    assert "without a name" in chosen.left_out["Unnamed: 0"]
    assert choose(table, target="b", columns=["Unnamed: 0"]).features == ["Unnamed: 0"]
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1.0, 3.0, 2.0]}, index=[7, 3, 5])
    frame.to_parquet(tmp_path / "a.parquet")
    assert choose(read_table(tmp_path / "a.parquet")).features == ["a"]


def test_a_large_file_of_nothing_but_the_target(tmp_path):
    rows = "".join(f"{i % 9},{i % 7}\n" for i in range(300_000))
    source = read_source(write(tmp_path / "a.csv", "a,y\n" + rows), texts=["y"])
    assert str(source.table["y"].type) == "string" and source.table.num_rows == 300_000
    only = read_source(write(tmp_path / "a.csv", "a,y\n" + rows), texts=["a", "y"])
    assert only.table["a"].to_pylist() == source.table["a"].cast("string").to_pylist()


@pytest.mark.parametrize(
    "cells",
    [["12%", "5 %"], ["$96.78", "$1"], ["5 kg", "1", "2", "3"], ["05-Jan-2020", "06-Feb-2021"],
     ["10:30", "11:45"], ["2020-01", "2020-02"], ["01/02/2020", "03/04/2020"],
     ["2020-01-31", "2020-02-30"]],
)  # fmt: skip
def test_texts_that_may_be_numbers_or_dates_are_told(tmp_path, cells):
    source = read_source(write(tmp_path / "a.csv", "a,b\n" + "".join(f"{c},1\n" for c in cells)))
    assert "'a' is of texts: line 2 has" in source.notes["a"]


@pytest.mark.parametrize("cells", [["oak", "elm"], ["a1", "b2"], ["02134", "10001"], ["x-1", "1"]])
def test_plain_texts_are_not_told_of(tmp_path, cells):
    source = read_source(write(tmp_path / "a.csv", "a,b\n" + "".join(f"{c},1\n" for c in cells)))
    assert not source.notes


def test_the_decimal_mark_that_numbers_show(tmp_path):
    for text, mark in (("a;b\n1,5;x\n", ","), ("a;b\n1.5;x\n", None), ("a;b\n1;x\n", None)):
        assert read_source(write(tmp_path / "a.csv", text)).decimal == mark
