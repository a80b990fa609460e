"""pyarrow, imported when a table comes."""

from types import ModuleType

from fastbp import hints


def pyarrow() -> ModuleType:
    """The library with its compute functions and its reader of delimited text."""
    try:
        import pyarrow
        import pyarrow.compute
        import pyarrow.csv
    except ImportError as error:
        raise hints.missing("tables need", "pyarrow", "tables") from error
    return pyarrow
