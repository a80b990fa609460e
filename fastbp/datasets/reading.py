"""Reading data from files: which reader reads what.

What belongs here: the table of suffixes, and what all readers share. What does not: any one format,
which has a file of its own.
"""

import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fastbp.datasets.dataset import Dataset, Inputs, features
from fastbp.datasets.labels import check_task
from fastbp.functions import one_of, shown
from fastbp.inputs import as_file, as_path, check_regular
from fastbp.tabular.compressed import fits_in_memory
from fastbp.tabular.reading import is_table, is_text

# The readers are imported when they are needed: `import fastbp` stays quick.

HEADERS = ("auto", "yes", "no")
KNOWN = (
    "IDX files or a folder of them (train-images-idx3-ubyte, ..., also .gz), .npz, .npy, "
    ".csv, .tsv or .txt (also .gz, .zst), .parquet, .arrow, .feather"
)


def read(
    path: str | os.PathLike[str],
    *,
    target: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    task: str | None = None,
    header: str = "auto",
) -> Dataset:
    """Read training data from IDX, ``.npz``, ``.npy`` or CSV files.

    Parameters
    ----------
    path : path-like
        One of

        - a folder with the IDX files of MNIST or Fashion-MNIST under their usual names
          (``train-images-idx3-ubyte``, ``train-images.idx3-ubyte``, plain or ``.gz``),
          which gives a training and a test set;
        - an IDX image file, whose label file lies beside it or is given by `labels`;
        - ``.npz`` with the arrays ``X, y``; ``x_train, y_train, x_test, y_test``;
          ``data, target``; or ``images, labels``, in any case;
        - ``.npy`` with the inputs, and `labels`;
        - a table, as `fastbp.tabular.read_table` reads it: ``.csv``, ``.tsv`` or ``.txt``, plain
          or ``.gz`` or ``.zst``, ``.parquet``, ``.arrow`` or ``.feather``. All columns but the
          target hold numbers, and none of these is missing.
    target : str, optional
        The column of a table to be predicted; needed there.
    labels : path-like, optional
        The label file of an IDX image file or of a ``.npy`` file.
    task : {'classification', 'regression'}, optional
        What the targets are. By default texts, one-hot rows, the labels of IDX files, and whole
        numbers (written without a decimal point, or 0 and 1 alone) of at most 100 distinct values
        are classes; everything else is fitted as numbers, also ``3,5`` and ``1 200`` where a whole
        column reads so. Texts that may be numbers (``$12.50``, ``45%``) are refused without
        it. ``1`` and ``1.0``, ``True`` and ``true`` are one class; ``02134`` is a text.
    header : {'auto', 'yes', 'no'}
        Whether the first line of a CSV file names the columns. "auto": yes, but one with numbers
        is refused, for it may be data. Without names the columns are "1", "2", ...

    Returns
    -------
    Dataset
        Bytes (uint8 features) are divided by 255; more than two dimensions are flattened to
        (n, n_inputs). Classes are numbered in the order of their names, numbers in their own.

    Raises
    ------
    ValueError
        The data are not as above; the message begins with the file's name.
    OSError
        The file cannot be opened.

    Examples
    --------
    >>> import os, tempfile
    >>> import fastbp.datasets
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "iris.csv")
    ...     with open(path, "w") as stream:
    ...         _ = stream.write("length,width,kind\\n5.1,3.5,setosa\\n6.4,3.2,versicolor\\n")
    ...     data = fastbp.datasets.read(path, target="kind")
    >>> data.columns, data.classes, data.Y.tolist()
    (('length', 'width'), ('setosa', 'versicolor'), [0, 1])
    """
    _check_names(target)
    path, kind, labels = _checked(path, labels, task, header)
    if target is not None and kind not in ("csv", "table"):
        raise ValueError(
            f"{path.name}: only a CSV file or another table has a target column, found {kind}"
        )
    with fits_in_memory(path.name):
        return _read(path, kind, target, labels, task, header)


def _read(
    path: Path, kind: str, target: str | None, labels: Path | None, task: str | None, header: str
) -> Dataset:
    if kind in ("csv", "table"):
        from fastbp.datasets.table import read_dataset

        return read_dataset(path, target, task, header=header)
    if kind == "npz":
        from fastbp.datasets.archive import read_npz

        return read_npz(path, task)
    if kind == "npy":
        from fastbp.datasets.archive import read_npy_file

        return read_npy_file(path, labels, task)
    from fastbp.datasets import idx

    if kind == "folder":
        return idx.read_folder(path, task)
    return idx.read_image_file(path, labels, task)


def read_inputs(
    path: str | os.PathLike[str],
    *,
    columns: Sequence[str] | None = None,
    target: str | None = None,
    labels: str | os.PathLike[str] | None = None,
    task: str | None = None,
    header: str = "auto",
    target_required: bool = False,
    encoding: str = "utf-8",
    delimiter: str | None = None,
    decimal: str | None = None,
) -> Inputs:
    """Read rows to predict, and their labels where the data have them.

    Parameters
    ----------
    path : path-like
        As in `read`. Of data with a test set, the test set is read.
    columns : sequence of str, optional
        The columns of a CSV file to read, in this order, whatever else it holds; by default all
        but the target.
    target : str, optional
        The column of a CSV file with the labels; it may be missing.
    labels, task, header : as in `read`
        Where the labels are, what they are, and whether the first line names the columns.
    target_required : bool
        Refuse a CSV file without the column `target`.
    encoding, delimiter, decimal : as in `fastbp.tabular.read_table`
        Of a CSV file; other files have none.

    Returns
    -------
    Inputs
        The named tuple ``(X, Y, classes)``; `Y` is None where there are no labels.

    Raises
    ------
    ValueError, OSError
        As `read`.

    Examples
    --------
    >>> import os, tempfile
    >>> import numpy as np
    >>> from fastbp.datasets import read_inputs
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = os.path.join(folder, "new.npz")
    ...     np.savez(path, X=np.ones((3, 2)))
    ...     rows = read_inputs(path)
    >>> rows.X.shape, rows.Y
    ((3, 2), None)
    """
    columns = _check_names(target, columns)
    path, kind, labels = _checked(path, labels, task, header)
    dialect = {"encoding": encoding, "delimiter": delimiter, "decimal": decimal}
    with fits_in_memory(path.name):
        if kind in ("csv", "table"):
            from fastbp.datasets.table import read_rows

            dialect["header"] = header
            return read_rows(path, columns, target, task, target_required, **dialect)
        if (encoding, delimiter, decimal) != ("utf-8", None, None):
            raise ValueError(
                f"{path.name}: only a CSV file has an encoding, a delimiter and a decimal mark, "
                f"found {kind}"
            )
        return _read_inputs(path, kind, labels, task)


def _read_inputs(path: Path, kind: str, labels: Path | None, task: str | None) -> Inputs:
    """Of what is no table."""
    if kind == "npz":
        from fastbp.datasets.archive import read_npz_inputs

        return read_npz_inputs(path, task)
    if kind == "npy" and labels is None:
        from fastbp.datasets.archive import read_npy

        return Inputs(features(read_npy(path), path.name), None, None)
    if kind == "IDX" and labels is None:
        from fastbp.datasets import idx

        try:
            labels = idx.find_labels(path)
        except ValueError:
            return Inputs(idx.read_images(path), None, None)
    data = _read(path, kind, None, labels, task, "auto")
    if data.X_test is not None:
        return Inputs(data.X_test, data.Y_test, data.classes)
    return Inputs(data.X, data.Y, data.classes)


def _check_names(target: object, columns: Any = None) -> Sequence[str] | None:
    """Refuse what names no column; returns the columns."""
    if not isinstance(target, str | None):
        raise TypeError(f"target: expected the name of a column or None; got {shown(target)}")
    if columns is None:
        return None
    is_list = isinstance(columns, Sequence) and not isinstance(columns, (str, bytes))
    if not is_list or not all(isinstance(name, str) for name in columns):
        raise TypeError(f"columns: expected a list of names or None; got {shown(columns)}")
    return columns


def _checked(
    path: str | os.PathLike[str],
    labels: str | os.PathLike[str] | None,
    task: str | None,
    header: str,
) -> tuple[Path, str, Path | None]:
    """Return the path, the kind of its data, and the label file."""
    check_task(task)
    one_of("header", header, HEADERS)
    path = as_path(path, "path")
    name = path.name.lower()
    # a missing file is reported as such, before anything about its labels
    is_folder = stat.S_ISDIR(mode := path.stat().st_mode)
    if not is_folder:
        check_regular(mode, path, "path")
    labels = None if labels is None else as_file(labels, "labels")
    if is_folder:
        path, kind = path.resolve(), "folder"
    elif is_table(name):
        kind = "csv" if is_text(name) else "table"
    elif name.endswith(".npz"):
        kind = "npz"
    elif name.endswith(".npy"):
        kind = "npy"
    else:
        from fastbp.datasets.idx import looks_like_idx

        if not looks_like_idx(path):
            raise ValueError(f"{path.name}: expected {KNOWN}, found none of these")
        kind = "IDX"
    if header != "auto" and kind != "csv":
        raise ValueError(f"{path.name}: only a CSV file has a header line, found {kind}")
    if labels is not None and kind not in ("IDX", "npy"):
        raise ValueError(f"{path.name}: a label file is for an IDX image file or .npy, not {kind}")
    return path, kind, labels
