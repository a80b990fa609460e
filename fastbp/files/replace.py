"""New content for a file in one step: it holds the old one or the new one, whole.

What belongs here: where such a file goes, whether it can be written, the writing. What does not:
what stands in it (model.py; checkpoint.py).
"""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterable
from pathlib import Path

from fastbp import inputs


def destination(path: Path, name: str) -> Path:
    """The file whose place a new one takes, links followed; `name`: of the argument."""
    try:
        path = Path(os.path.realpath(path))  # a link stays a link to the file that is replaced
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.parent.is_dir():
            return path
        told = f"{name}: there is no folder"
        raise FileNotFoundError(errno.ENOENT, told, str(path.parent)) from None
    except OSError as error:  # a loop of links, a file for a folder
        raise OSError(error.errno, f"{name}: {error.strerror}", str(path)) from None
    inputs.check_regular(mode, path, name)
    return path


def _beside(path: Path, name: str) -> tuple[int, Path]:
    """A new file in the folder of `path`, open for writing, and its name."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        return os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666), temporary
    except OSError as error:
        told = f"{name}: no file can be made there: {error.strerror}"
        raise OSError(error.errno, told, str(path)) from None


def check_destination(path: Path, name: str) -> None:
    """Refuse a path that `replace` could not write, before the work whose result it is to hold."""
    descriptor, temporary = _beside(destination(path, name), name)
    os.close(descriptor)
    os.unlink(temporary)


def replace(path: Path, content: bytes | Iterable[bytes], name: str = "path") -> None:
    """Give a file new content in one step: it holds the old one or the new one, whole.

    content: all of it, or its parts one by one where it is larger than what it is made of.
    """
    path = destination(path, name)
    descriptor, temporary = _beside(path, name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            for part in [content] if isinstance(content, bytes) else content:
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):  # of which the user knows no other name
            error.filename = str(path)
            del error.filename2
        raise
    if hasattr(os, "O_DIRECTORY"):  # the rename itself is on the disk when its folder is
        # where that cannot be had (a folder that may not be read), the file is whole all the same
        with contextlib.suppress(OSError):
            folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
