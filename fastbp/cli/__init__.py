"""The command line: ``fastbp``, also ``python -m fastbp``.

Exit codes: 0 done; 1 checked and found wrong, or the training diverged; 2 bad usage or bad input;
130 interrupted. Errors are one line on stderr. With ``--json`` stdout holds one JSON document.

`options` says what can be asked; the module that does it is imported when it is asked for, so that
``--help`` and usage errors are quick.
"""

import contextlib
import os
import sys
import threading
import warnings
from collections.abc import Iterator, Sequence
from importlib import import_module

from fastbp.cli.options import parser
from fastbp.cli.output import fail

__all__ = ["main"]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit code.

    Examples
    --------
    >>> from fastbp.cli import main
    >>> main(["--version"])  # doctest: +ELLIPSIS
    fastbp ...
    0
    """
    try:
        options = parser().parse_args(argv)
        with _short_warnings():
            code: int = import_module(f".{options.command}", __package__).run(options)
        sys.stdout.flush()
        return code
    except SystemExit as stop:  # argparse: --help, --version, or a usage error it has reported
        return stop.code if isinstance(stop.code, int) else 2
    except KeyboardInterrupt:
        return fail("interrupted", code=130)
    except BrokenPipeError:  # as in `fastbp predict ... | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + 13
    except MemoryError as error:
        return fail(f"error: not enough memory{f': {error}' if str(error) else ''}")
    except OSError as error:
        where = f": {error.filename}" if error.strerror and error.filename is not None else ""
        return fail(f"error: {error.strerror or error}{where}")
    except (ValueError, ImportError) as error:  # what is not installed is named with its extra
        return fail(f"error: {error}")


@contextlib.contextmanager
def _short_warnings() -> Iterator[None]:
    """Warnings as one line, where that is this thread's to say: the hook is the whole process's."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    with warnings.catch_warnings():
        warnings.showwarning = _one_line
        yield


def _one_line(message: Warning | str, *_: object, **__: object) -> None:
    fail(f"warning: {message}")
