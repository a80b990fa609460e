"""What the commands print."""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import Event, Thread
from typing import Any, TextIO


def fail(message: str, code: int = 2) -> int:
    """Print one line on stderr; return the exit code."""
    print(f"fastbp: {' '.join(message.split())}", file=sys.stderr)
    return code


def print_json(document: Mapping[str, Any]) -> None:
    """Print strict JSON: a number that is not finite becomes null."""
    from fastbp.check.report import plain  # and with it all checks: not for --help

    print(json.dumps(plain(document), indent=2, ensure_ascii=False, allow_nan=False))


def progress_bar(total: int) -> AbstractContextManager[Any]:
    """Return a bar over the epochs on stderr; None inside where that is no terminal."""
    if not sys.stderr.isatty():
        return nullcontext()
    from tqdm import tqdm

    bar: AbstractContextManager[Any] = tqdm(
        total=total, unit="epoch", leave=False, dynamic_ncols=True, file=sys.stderr
    )
    return bar


@contextmanager
def waiting_bar(what: str, seconds: float) -> Iterator[None]:
    """Show a bar over about so many seconds on a terminal, from the first half on."""
    if not sys.stderr.isatty():
        yield
        return
    ended, began = Event(), time.monotonic()

    def show() -> None:
        if ended.wait(0.5):
            return
        from tqdm import tqdm

        shown = "{desc}: {bar} {elapsed}"
        with tqdm(total=seconds, desc=what, leave=False, file=sys.stderr, bar_format=shown) as bar:
            while not ended.wait(0.1):
                bar.n = min(time.monotonic() - began, seconds)
                bar.refresh()

    thread = Thread(target=show)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def say(bar: Any, line: str, file: TextIO) -> None:
    """Print a line above the bar and advance it."""
    if bar is None:
        print(line, file=file, flush=True)
    else:
        bar.write(line, file=file)
        bar.update()


def scores_in_words(scores: Mapping[str, Any]) -> str:
    """Return accuracy, or R^2 and the root of the mean square error."""
    if "accuracy" in scores:
        return (
            f"accuracy {100 * scores['accuracy']:.2f} % ({scores['correct']} of {scores['rows']})"
        )
    r2 = "undefined" if scores["r2"] is None else f"{scores['r2']:.4f}"
    return f"R^2 {r2}, root mean square error {scores['rmse']:.4g}"


def check_writable(option: str, path: str | None, *read: str | None) -> None:
    """Refuse, before the work, a file that could not be written after it, or that is read."""
    if path is None:
        return
    for other in read:
        if other is not None and os.path.exists(path) and os.path.exists(other):
            if os.path.samefile(path, other):
                raise ValueError(f"{option}: expected another file than {other}, which is read")
    from fastbp.files.replace import check_destination
    from fastbp.inputs import as_path

    if not os.path.basename(path):
        raise ValueError(f"{option}: {path} is a folder")
    check_destination(as_path(path, option), option)
