"""Tables as people have them, and what a network sees of them.

>>> from fastbp.tabular import Encoder
>>> encoder = Encoder().fit({"size": [1.0, 2.0, 4.0], "kind": ["oak", "elm", "ash"]})
>>> encoder.feature_names_out()
['size', 'kind=ash', 'kind=elm', 'kind=oak']
"""

from fastbp.tabular.columns import Columns, as_columns
from fastbp.tabular.encoder import Encoder
from fastbp.tabular.reading import Source, read_source, read_table
from fastbp.tabular.selection import Selection, choose

__all__ = [
    "Columns",
    "Encoder",
    "Selection",
    "Source",
    "as_columns",
    "choose",
    "read_source",
    "read_table",
]
