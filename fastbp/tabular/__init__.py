"""Tables as people have them, and what a network sees of them."""

from fastbp.tabular.reading import Source, read_source, read_table
from fastbp.tabular.selection import Selection, choose

__all__ = ["Selection", "Source", "choose", "read_source", "read_table"]
