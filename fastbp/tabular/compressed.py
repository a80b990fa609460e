"""Opening files that may be compressed, gzip or zstd, with errors that name the file.

What belongs here: formats of compression, and what is told where a file is truncated or damaged.
What does not: what the file holds.
"""

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NamedTuple, cast

from fastbp import hints

CHUNK = 1 << 20  # bytes read at once: a compressed stream may end early


class Format(NamedTuple):
    """Name, suffix and first bytes of a format; the most that it expands what it holds by.

    What a header claims beyond that is a lie that can be told before anything is allocated.
    """

    name: str
    suffix: str
    magic: bytes
    most_expansion: int


GZIP = Format("gzip", ".gz", b"\x1f\x8b", 1032)  # deflate: 258 bytes of 2 bits
ZSTD = Format("zstd", ".zst", b"\x28\xb5\x2f\xfd", 1 << 15)  # 128 KiB repeating one byte of 4
MOST_EXPANSION = GZIP.most_expansion


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
    """Open `path`, decompressing it; yield (stream, exact size or None, most bytes it can hold).

    A name ending in .gz or .zst must be that; other names are looked into, since downloads lose
    suffixes.
    """
    with open(path, "rb") as raw:
        size = os.fstat(raw.fileno()).st_size
        start = raw.peek(4)[:4]
        for form in (GZIP, ZSTD):
            if start.startswith(form.magic):
                with _FORMATS[form](raw, path.name, size) as stream:
                    yield stream, None, size * form.most_expansion
                return
            if path.suffix.lower() == form.suffix:
                found = start[: len(form.magic)].hex(" ")
                raise ValueError(
                    f"{path.name}: not {form.name}: expected the first bytes "
                    f"{form.magic.hex(' ')}, found {found or 'an empty file'}"
                    + (f" (already decompressed? then drop the {form.suffix})" if start else "")
                )
        yield raw, size, size


def _truncated(name: str, form: Format, size: int) -> ValueError:
    return ValueError(
        f"{name}: truncated: expected the end mark of the {form.name} data, found the end of the "
        f"file after {size} bytes"
    )


@contextmanager
def _gunzipped(raw: IO[bytes], name: str, size: int) -> Iterator[IO[bytes]]:
    try:
        with gzip.GzipFile(fileobj=raw) as stream:
            yield cast(IO[bytes], stream)
    except EOFError:
        raise _truncated(name, GZIP, size) from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise ValueError(f"{name}: damaged gzip data: {error}") from None


@contextmanager
def _unzstd(raw: IO[bytes], name: str, size: int) -> Iterator[IO[bytes]]:
    try:
        import pyarrow  # Python has zstd from 3.14 on
    except ImportError as error:
        raise hints.missing(".zst files need", "pyarrow", "tables") from error
    try:
        with pyarrow.CompressedInputStream(pyarrow.PythonFile(raw, mode="r"), "zstd") as stream:
            yield stream
    except OSError as error:
        if "Truncated" in str(error):
            raise _truncated(name, ZSTD, size) from None
        if "ZSTD" in str(error):
            raise ValueError(f"{name}: damaged zstd data: {error}") from None
        raise


_FORMATS = {GZIP: _gunzipped, ZSTD: _unzstd}
