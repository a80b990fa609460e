"""Reading CSV files: dialects, classes and numbers, and what is refused and how."""

import csv
import gzip
import time

import numpy as np
import pytest
from data_cases import refusal

from fastbp import datasets

pytest.importorskip("pyarrow")


def write(path, content):
    if isinstance(content, str):
        content = content.encode()
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)
    return path


def test_csv_classes(tmp_path):
    text = "kind,length,width\nlily,1,2.5\nrose,-3e1, 4\nlily,.5,6\n"
    for path in (tmp_path / "a.csv", tmp_path / "a.csv.gz"):
        data = datasets.read(write(path, text), target="kind")
        assert data.X.tolist() == [[1, 2.5], [-30, 4], [0.5, 6]]
        assert data.columns == ("length", "width") and data.classes == ("lily", "rose")
        assert data.Y.tolist() == [0, 1, 0] and data.Y.dtype == np.int64


@pytest.mark.parametrize(
    ("values", "classes", "Y"),
    [
        (["1", "10", "9"], (1, 9, 10), [0, 2, 1]),
        (["1.0", "10", "9"], None, [1.0, 10.0, 9.0]),
        (["yes", "no", "yes"], ("no", "yes"), [1, 0, 1]),
        (["1", "2", "unknown"], ("1", "2", "unknown"), [0, 1, 2]),
        (["True", "False", "True"], (False, True), [1, 0, 1]),
        (["-1", "+1", "-1"], (-1, 1), [0, 1, 0]),
        (["1e3", "2e3", "9" * 30], None, [1e3, 2e3, 1e30]),
        (["True", "false", "true"], (False, True), [1, 0, 1]),
        (["0.0", "1.0", "1"], (0, 1), [0, 1, 1]),
        (["02134", "10001", "02134"], ("02134", "10001"), [0, 1, 0]),
        (["1.2.3", "v2", "v2"], ("1.2.3", "v2"), [0, 1, 1]),
    ],
)
def test_csv_targets(tmp_path, values, classes, Y):
    text = "a,t\n" + "".join(f"1,{value}\n" for value in values)
    data = datasets.read(write(tmp_path / "a.csv", text), target="t")
    assert data.classes == classes and data.Y.tolist() == Y
    assert classes is None or {*map(type, data.classes)} == {type(classes[0])}


@pytest.mark.parametrize(
    ("values", "classes"),
    [
        (["1.0", "1", "+1", "10", "9.5"], ("1", "9.5", "10")),
        (["12345678901234567", "12345678901234568"], (12345678901234567, 12345678901234568)),
        (["9" * 20, "-8"], ("-8", "9" * 20)),
        (["02134", "2134"], ("02134", "2134")),
        (["$3", "$12"], ("$12", "$3")),
    ],
)
def test_what_is_one_class_where_classes_are_asked_for(tmp_path, values, classes):
    text = "a,t\n" + "".join(f"1,{value}\n" for value in values)
    path = write(tmp_path / "a.csv", text)
    assert datasets.read(path, target="t", task="classification").classes == classes


@pytest.mark.parametrize(
    ("values", "numbers"),
    [
        (["2", "3,5"], [2, 3.5]),
        (["1.234,56", "-7"], [1234.56, -7]),
        (["1 200", "17"], [1200, 17]),
        (["1'200,5", "?"], [1200.5]),
    ],
)
def test_numbers_are_read_as_those_of_other_columns(tmp_path, values, numbers):
    rows = "".join(f"1;{value}\n" for value in values)
    path = write(tmp_path / "a.csv", f"a;t\n{rows}".replace("1;?\n", ""))
    data = datasets.read(path, target="t", task="regression")
    assert data.Y.tolist() == numbers and data.classes is None
    assert set(datasets.read(path, target="t", task="classification").classes) <= set(values)


def test_a_target_that_may_be_two_numbers_is_refused(tmp_path):
    path = write(tmp_path / "a.csv", "a;t\n1;1,200\n2;3,500\n")
    assert "column 't', line 2: '1,200' may be 1200 or 1.2" in refusal(path, target="t")


@pytest.mark.parametrize(
    "value", ["$12.50", "45%", "-€3", "12 USD", "1_000", "\u22125", "3,5 %", "$ 1.234,56"]
)
@pytest.mark.parametrize("others", [["2"], ["x", "y"], []])
def test_numbers_that_are_not_written_as_such_are_no_classes_unasked(tmp_path, value, others):
    path = write(tmp_path / "a.csv", "a;t\n" + "".join(f"1;{v}\n" for v in [*others, value]))
    line = f"line {2 + len(others)}"
    for word in ("column 't'", line, repr(value), "task='classification'"):
        assert word in refusal(path, target="t")
    assert value in datasets.read(path, target="t", task="classification").classes
    assert "expected a number" in refusal(path, target="t", task="regression")
    Y = np.array([*others, value])
    np.savez(tmp_path / "a.npz", X=np.ones((len(Y), 1)), y=Y)
    assert f"target {len(others)}: {value!r} may be a number" in refusal(tmp_path / "a.npz")


@pytest.mark.parametrize("mark", ["?", "NA", "n/a", "None"])
def test_marks_of_missing_among_numbers_are_no_class(tmp_path, mark):
    path = write(tmp_path / "a.csv", f"a,t\n1,1\n2,2\n3,{mark}\n")
    assert f"column 't', line 4: missing value ({mark!r})" in refusal(path, target="t")


def test_codes_of_many_values_are_not_fitted(tmp_path):
    codes = [f"{i % 150:05}" for i in range(600)]
    path = write(tmp_path / "a.csv", "a,t\n" + "".join(f"1,{code}\n" for code in codes))
    assert datasets.read(path, target="t").classes == tuple(sorted(set(codes)))
    assert datasets.read(path, target="t", task="regression").classes is None


def test_csv_whole_numbers_of_many_values_are_fitted(tmp_path):
    text = "a,t\n" + "".join(f"{i},{i % 101}\n" for i in range(500))
    path = write(tmp_path / "a.csv", text)
    assert datasets.read(path, target="t").classes is None
    assert len(datasets.read(path, target="t", task="classification").classes) == 101
    path = write(path, "a,t\n1,3\n2,4\n")
    assert datasets.read(path, target="t").classes == (3, 4)
    assert datasets.read(path, target="t", task="regression").Y.tolist() == [3.0, 4.0]


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffa,t\n1,x\n2,y\n",
        "a,t\r\n1,x\r\n2,y\r\n",
        "\n\na,t\n\n1,x\n2,y\n\n",
        "a;t\n1;x\n2;y\n",
        "a\tt\n1\tx\n2\ty",
        '"a","t"\n"1","x"\n"2","y"\n',
        " a , t \n 1 , x \n2,y\n",
        'a, "t"\n1, "x"\n2,   "y"\n',
        "a|t\n1|x\n2|y\n",
        "sep=;\na;t\n1;x\n2;y\n",
        '"sep=;"\r\na;t\r\n1;x\r\n2;y\r\n',
        "SEP=\t\na\tt\n1\tx\n2\ty\n",
        "sep=:\na:t\n1:x\n2:y\n",
    ],
)
def test_csv_dialects(tmp_path, content):
    data = datasets.read(write(tmp_path / "a.csv", content), target="t")
    assert data.columns == ("a",) and data.X.tolist() == [[1], [2]] and data.classes == ("x", "y")


@pytest.mark.parametrize(
    ("content", "column"),
    [
        ('"a, mm";"t"\n1;x\n', "a, mm"),
        ("a, mm, in, ft;t\n1;x\n", "a, mm, in, ft"),
        ('"a; b|c";t\n1;x\n', "a; b|c"),
        ('a,t\n1,"x;y|z"\n', "a"),
    ],
)
def test_csv_delimiters_among_the_names(tmp_path, content, column):
    data = datasets.read(write(tmp_path / "a.csv", content), target="t")
    assert data.columns == (column,) and data.X.tolist() == [[1]]


def test_csv_without_a_header_line(tmp_path):
    path = write(tmp_path / "a.csv", "5.1,3.5,setosa\n6.4,3.2,versicolor\n")
    for word in ("names of the columns", "'5.1'", "header='no'", "--header no"):
        assert word in refusal(path, target="setosa")
    data = datasets.read(path, target="3", header="no")
    assert data.columns == ("1", "2") and data.X.tolist() == [[5.1, 3.5], [6.4, 3.2]]
    assert data.classes == ("setosa", "versicolor")
    assert datasets.read_inputs(path, columns=["2"], header="no").X.tolist() == [[3.5], [3.2]]
    path = write(path, "2019,2020,t\n1,2,x\n")
    assert "'2019'" in refusal(path, target="t")
    assert datasets.read(path, target="t", header="yes").columns == ("2019", "2020")
    path = write(path, "0,1,2,t\n1,2,3,x\n")  # pandas names columns so
    assert datasets.read(path, target="t").columns == ("0", "1", "2")
    assert "first line, found 1" in refusal(write(path, "1,x\n2\n"), target="2", header="no")
    with pytest.raises(ValueError, match="header: expected one of auto, yes, no; got 'maybe'"):
        datasets.read(path, target="t", header="maybe")
    np.savez(tmp_path / "a.npz", X=np.ones((1, 1)), y=[0])
    assert "only a CSV file has a header" in refusal(tmp_path / "a.npz", header="no")


def test_csv_quoted_names_and_line_breaks(tmp_path):
    path = tmp_path / "a.csv"
    with open(path, "w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerows([["a, b", "the\nkind"], [1, "x\ny"], [2, "z"], ["?", "z"]])
    assert "'a, b', line 6: missing value" in refusal(path, target="the\nkind")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["empty", "header line"]),
        ("\n\n", ["empty"]),
        ("\ufeff", ["empty"]),
        ("a,t\n", ["rows below the header", "found none"]),
        ("a,b\n1,2\n", ["no column 't'", "'a', 'b'"]),
        ("a,T_\n1,2\n", ["did you mean 'T_'"]),
        ("t\n1\n", ["columns besides the target", "found none"]),
        ("a,a,t\n1,2,3\n", ["'a' twice"]),
        (",a,t\n0,1,2\n", ["column 1 has no name", "row index"]),
        ("1,2,3\n4,5,6\n", ["names of the columns", "found numbers"]),
        ("a,t\n1,2\n3\n", ["line 3", "expected 2 fields", "found 1"]),
        ("a,t\n1,2,3\n", ["line 2", "expected 2 fields", "found 3"]),
        ("a,t\n1,x\n,y\n", ["column 'a'", "line 3", "missing value"]),
        ("a,t\n1,x\nNA,y\n", ["column 'a'", "line 3", "missing value ('NA')"]),
        ("a,t\n1,x\nnan,y\n", ["missing value ('nan')"]),
        ("a,t\n1,x\ninf,y\n", ["column 'a'", "line 3", "finite number", "'inf'"]),
        ("a,t\n1,x\n1e999,y\n", ["finite number", "'1e999'"]),
        ("a,t\n1,x\nred,y\n", ["column 'a'", "line 3", "found 'red'"]),
        ("a,t\n1,x\n1_000,y\n", ["found '1_000'"]),
        ("a,b,t\n1,2,x\n1,3 m,y\n", ["column 'b'", "line 3", "found '3 m'"]),
        ("a,t\n1,x\n2,\n", ["column 't'", "line 3", "missing value"]),
        ("a,t\n1,1.5\n2,n/a\n", ["column 't'", "line 3", "missing value ('n/a')"]),
        ("a,t\n1,yes\n2,?\n", ["column 't'", "line 3", "missing value ('?')"]),
        ("a,t\n1,1.5\n2,few\n", ["column 't'", "numbers and words", "line 3", "'few'"]),
        ("a,t\n1,1.5\n2,inf\n", ["column 't'", "line 3", "finite"]),
        ("a,t\n" + "".join(f"1,id{i}\n" for i in range(200)), ["200 different", "classes"]),
        ('a,t\n1,"x\n2,y\n', ["line"]),
        (b"a,t\n1,caf\xe9\n", ["line 2", "UTF-8", "byte e9"]),
        ("a,t\n1,x\n".encode("utf-16"), ["UTF-16"]),
        (b"a,t\n1,\0\n", ["line 2", "zero byte"]),
        (b"PK\x03\x04" + bytes(range(256)), ["expected"]),
    ],
)
def test_csv_refuses(tmp_path, content, words):
    for path in (tmp_path / "some.csv", tmp_path / "some.csv.gz"):
        message = refusal(write(path, content), target="t")
        for word in words:
            assert word in message


def test_csv_needs_a_target(tmp_path):
    message = refusal(write(tmp_path / "a.csv", "a,t\n1,2\n"))
    assert "target" in message and "'a', 't'" in message


def test_csv_refuses_one_endless_line(tmp_path):
    path = write(tmp_path / "bomb.csv.gz", b"a,t\n" + b"1" * 20_000_000)
    assert "line 2 is longer than" in refusal(path, target="t")


def test_csv_inputs_are_picked_by_name(tmp_path):
    path = write(tmp_path / "a.csv", "note,b,t,a\nhello,2,x,1\nworld,4,y,3\n")
    found = datasets.read_inputs(path, columns=["a", "b"], target="t")
    assert found.X.tolist() == [[1, 2], [3, 4]]
    assert found.Y.tolist() == [0, 1] and found.classes == ("x", "y")
    assert datasets.read_inputs(path, columns=["a"], target="absent").Y is None
    with pytest.raises(ValueError, match=r"^a.csv: no column 'bb'.*did you mean 'b'"):
        datasets.read_inputs(path, columns=["a", "bb"])
    with pytest.raises(ValueError, match=r"'A', 'bb'; .*did you mean 'a', 'b'\?"):
        datasets.read_inputs(path, columns=["A", "bb"])
    with pytest.raises(ValueError, match=r"no column 'tt'.*did you mean 't'"):
        datasets.read_inputs(path, columns=["a"], target="tt", target_required=True)
    path = write(tmp_path / "b.csv", "a,t\n1,\n2,\n")
    assert datasets.read_inputs(path, target="t").Y is None  # to be filled in


def test_a_table_of_very_many_columns_is_read_in_time_that_grows_with_them(tmp_path):
    names = [f"column{i}" for i in range(40_000)]
    path = tmp_path / "wide.csv"
    path.write_text(",".join(names) + "\n" + ",".join("1" * len(names)) + "\n")
    began = time.process_time()
    assert datasets.read(path, target="column0").X.shape == (1, 39_999)
    assert time.process_time() - began < 10  # half a minute where each name is sought in a list


@pytest.mark.parametrize("values", [["1.0", "0.0"], ["1", "0.0"], ["1.00", "0", "1"]])
def test_0_and_1_are_classes_however_they_are_written(tmp_path, values):
    path = write(tmp_path / "a.csv", "a,t\n" + "".join(f"1,{value}\n" for value in values))
    data = datasets.read(path, target="t")
    assert len(data.classes) == 2 and data.Y.tolist() == [int(float(v)) for v in values]
    assert datasets.read(path, target="t", task="regression").classes is None
