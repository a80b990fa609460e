"""Tables as people have them, and what a network sees of them."""

from fastbp.tabular.reading import Source, read_source, read_table

__all__ = ["Source", "read_source", "read_table"]
