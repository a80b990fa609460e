"""Opening files that may be gzip-compressed, with errors that name the file."""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

# Deflate cannot expand by more than this factor: what a header claims beyond it is a lie that
# can be told before anything is allocated.
MOST_EXPANSION = 1032
CHUNK = 1 << 20  # bytes read at once: a compressed stream may end early


@contextmanager
def fits_in_memory(name: str) -> Iterator[None]:
    """Say of which file the contents did not: a small one can hold much, compressed."""
    try:
        yield
    except MemoryError as error:
        told = " ".join(str(error).split())
        raise MemoryError(
            f"{name}: its contents do not fit in memory" + (f": {told}" if told else "")
        ) from None


@contextmanager
def opened(path: Path) -> Iterator[tuple[IO[bytes], int | None, int]]:
    """Open `path`, decompressing gzip; yield (stream, exact size or None, most bytes it can hold).

    A name ending in .gz must be gzip; other names are looked into, since downloads lose suffixes.
    """
    with open(path, "rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        start = raw.peek(2)[:2]
        if start != b"\x1f\x8b":
            if path.suffix.lower() == ".gz":
                raise ValueError(
                    f"{path.name}: not gzip: expected the first bytes 1f 8b, "
                    f"found {start.hex(' ') or 'an empty file'}"
                    + (" (already decompressed? then drop the .gz)" if start else "")
                )
            yield raw, size, size
            return
        try:
            with gzip.GzipFile(fileobj=raw) as stream:
                yield cast(IO[bytes], stream), None, size * MOST_EXPANSION
        except EOFError:
            raise ValueError(
                f"{path.name}: truncated: expected the end mark of the gzip data, "
                f"found the end of the file after {size} bytes"
            ) from None
        except (gzip.BadGzipFile, zlib.error) as error:
            raise ValueError(f"{path.name}: damaged gzip data: {error}") from None
