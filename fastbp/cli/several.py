"""Parquet of several files as one table: a folder, or a pattern with *.

What belongs here: such a table read whole. What does not: chunks (stream.py), one file
(tabular/reading.py).
"""

from __future__ import annotations

import argparse
import glob
import os
from pathlib import Path
from typing import Any

from fastbp.cli.tables import READ_BY
from fastbp.data.parquet import _opened
from fastbp.tabular import memory
from fastbp.tabular.arrow import pyarrow
from fastbp.tabular.compressed import fits_in_memory
from fastbp.tabular.reading import Source, check_schema, reading


def is_several(path: str) -> bool:
    """Whether a name is a folder's, or a pattern that is no file's own name."""
    return os.path.isdir(path) or (glob.has_magic(path) and not os.path.exists(path))


def refuse_reading(options: argparse.Namespace) -> None:
    """Refuse what says how text is read."""
    for name in READ_BY:
        if getattr(options, name, None) not in (None, "auto"):
            raise ValueError(f"{options.data}: --{name}: only a file of text has one")


def read_several(path: str) -> Source:
    """All rows, file by file in the order of their names, of the columns that any file has."""
    arrow = pyarrow()
    found = _opened(path)
    name = os.path.basename(os.path.normpath(path))
    with fits_in_memory(name), reading(name, "Parquet"):
        schemas = [fragment.physical_schema for fragment in found.get_fragments()]
        schema: Any = arrow.unify_schemas([*schemas, found.schema], promote_options="permissive")
        dataset = found.replace_schema(schema)
        check_schema(name, schema, None, set())
        n_rows = dataset.count_rows()
        if 8.0 * n_rows * len(schema) > memory.available():
            raise MemoryError(f"{n_rows} rows of {len(schema)} columns")
        if not n_rows:
            raise ValueError(f"{name}: expected rows, found none")
        table = dataset.to_table()
        table.validate(full=True)
    return Source(Path(os.path.normpath(path)), table)
