"""How much memory there is, so that a file that holds more is refused before it has taken it."""

import os
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

SHARE = 0.75  # of what is free, that a table of texts may take: its numbers come on top


def available() -> float:
    """Bytes that this process may still take, as far as the system tells; infinite where it does
    not."""
    return min(_limits(), default=float("inf"))


def _limits() -> Iterator[float]:
    if sys.platform == "linux":
        with suppress(OSError, ValueError, IndexError):
            told = Path("/proc/meminfo").read_text()
            yield 1024.0 * int(told.split("MemAvailable:")[1].split()[0])
        group = Path("/sys/fs/cgroup")
        with suppress(OSError, ValueError):
            most, used = (
                int((group / f"memory.{name}").read_text()) for name in ("max", "current")
            )
            cached = (group / "memory.stat").read_text().split("inactive_file ")[1].split()[0]
            yield float(most - used + int(cached))
    elif hasattr(os, "sysconf") and "SC_AVPHYS_PAGES" in os.sysconf_names:
        with suppress(OSError, ValueError):
            yield float(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))


class Budget:
    """What pyarrow may take for one file."""

    def __init__(self, name: str):
        import pyarrow

        self._taken = pyarrow.total_allocated_bytes
        self._name, self._most = name, self._taken() + SHARE * available()

    def check(self) -> None:
        if self._taken() > self._most:
            raise MemoryError(f"{self._taken() / 1e9:.1f} GB taken, and there is more of it")
