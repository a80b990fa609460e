"""The lines of a file of text: decoded, numbered, and refused where they are none.

What belongs here: encodings, byte order marks, zero bytes, endless lines. What does not: what a
line holds (dialect.py).
"""

import codecs
import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from fastbp.functions import shown
from fastbp.tabular.compressed import CHUNK, opened

LONGEST_LINE = 1 << 24  # characters; a longer one is no table, and may be a decompression bomb
BYTE_ORDER_MARK = codecs.BOM_UTF8
WIDE = {codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE}


def check_encoding(encoding: object) -> str:
    """The codec's name; refuses what is none of text."""
    if not isinstance(encoding, str):
        raise TypeError(f"encoding: expected a name such as 'utf-8'; got {shown(encoding)}")
    try:
        name = codecs.lookup(encoding).name
        b"\0\0\0\0".decode(encoding)  # hex, zip and others are codecs, too
    except (LookupError, ValueError):  # ValueError: a zero byte
        raise ValueError(
            f"encoding: expected a name that Python knows, such as utf-8, latin-1, cp1252 or "
            f"utf-16; got {shown(encoding)}"
        ) from None
    return "utf-8" if name in ("utf-8-sig", "ascii") else name


class _Recoded(io.RawIOBase):
    """A stream of text in another encoding as one of UTF-8."""

    def __init__(self, stream: IO[bytes], encoding: str):
        self._stream, self._left = stream, b""
        self._decoder = codecs.getincrementaldecoder(encoding)()
        self._starts = True

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._left:
            piece = self._stream.read(CHUNK)
            text = self._decoder.decode(piece, final=not piece)
            if text and self._starts:
                text, self._starts = text.removeprefix("\ufeff"), False
            self._left = text.encode()
            if not piece:
                break
        n = min(len(buffer), len(self._left))
        buffer[:n], self._left = self._left[:n], self._left[n:]
        return n


@contextmanager
def as_utf8(path: Path, encoding: str) -> Iterator[IO[bytes]]:
    """The bytes of a file of text in UTF-8, decompressed, without a byte order mark."""
    with opened(path) as (stream, _, _):
        if encoding != "utf-8":
            with _decoding(path.name, encoding):
                yield io.BufferedReader(_Recoded(stream, encoding), CHUNK)
            return
        buffered = stream if hasattr(stream, "peek") else io.BufferedReader(_Raw(stream), CHUNK)
        start = buffered.peek(3)[:3]
        if start[:2] in WIDE:
            raise ValueError(
                f"{path.name}: expected UTF-8 text, found UTF-16: read it with encoding='utf-16' "
                "(--encoding utf-16), or save it as UTF-8"
            )
        if start == BYTE_ORDER_MARK:
            buffered.read(3)
        yield buffered


class _Raw(io.RawIOBase):
    """pyarrow's streams, of which io's buffers ask whether they are readable."""

    def __init__(self, stream: Any):
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._stream.readinto(buffer)


@contextmanager
def _decoding(name: str, encoding: str) -> Iterator[None]:
    try:
        yield
    except UnicodeDecodeError as error:
        found = error.object[error.start : error.start + 1].hex()
        raise ValueError(
            f"{name}: expected text in {encoding}, found the byte {found}: {error.reason}"
        ) from None


def lines(name: str, stream: IO[bytes]) -> Iterator[str]:
    """The lines of UTF-8 bytes, each with the mark that ends it: LF, CRLF or CR."""
    text = io.TextIOWrapper(stream, "utf-8", errors="surrogateescape", newline="")
    number = 0
    try:
        while line := text.readline(LONGEST_LINE):
            number += 1
            if len(line) == LONGEST_LINE:
                raise ValueError(f"{name}: line {number} is longer than {LONGEST_LINE} characters")
            if "\0" in line:
                raise ValueError(
                    f"{name}: line {number}: expected text, found a zero byte (if it is UTF-16: "
                    "encoding='utf-16-le' or 'utf-16-be')"
                )
            if not line.isascii():
                _check_bytes(name, number, line)
            yield line
    finally:
        with suppress(ValueError):  # the stream may be closed already
            text.detach()


def _check_bytes(name: str, number: int, line: str) -> None:
    try:
        line.encode()
    except UnicodeEncodeError as error:
        place = len(line[: error.start].encode()) + 1
        raise ValueError(
            f"{name}: line {number}: expected UTF-8 text, found the byte "
            f"{ord(line[error.start]) & 0xFF:02x} at place {place}: read it with "
            "encoding='latin-1' (--encoding latin-1) or what it is in, or save it as UTF-8"
        ) from None
