"""Networks as C99: `to_c`."""

from fastbp.exchange.c.source import CSource, to_c

__all__ = ["CSource", "to_c"]
