"""Mutated files of every kind for some seconds, and that the fuzzer finds what there is to find."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import fastbp

FOLDER = Path(__file__).parent
ENVIRONMENT = os.environ | {
    "PYTHONPATH": os.pathsep.join([str(Path(fastbp.__file__).parents[1]), str(FOLDER)])
}
pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the cases run in a fork")


def run(*command):
    return subprocess.run(
        [sys.executable, *map(str, command)],
        capture_output=True, text=True, timeout=120, env=ENVIRONMENT,
    )  # fmt: skip


def test_mutated_files():
    done = run(FOLDER / "files.py", "--budget", 12, "--seed", 0)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(", seed 0: 0 found\n")


PLANTED = """
import os, sys, time
import files

def read(path):
    number = int(path.read_bytes()[0])
    if number == 1:
        raise KeyError("planted")
    if number == 2:
        os.abort()
    if number == 3:
        time.sleep(60)
    if number == 4:
        files.refused(lambda: bytearray(1 << 40), path)
    if number == 5:
        files.refused(lambda: int("x"), path)

files.SECONDS = 0.5
change = lambda chance, content, others: bytes([chance.randrange(6)])
files.READERS = (files.Reader("some", [b"0"], (change,), read),)
sys.exit(files.main(["--count", "40", "--most", "99"]))
"""


def test_what_is_planted_is_found():
    done = run("-c", PLANTED)
    assert done.returncode == 1 and done.stdout.startswith("seed 0, case "), done.stderr
    for words in ("KeyError: 'planted'", "the process died, -6", "a hang", "MemoryError", "int()"):
        assert words in done.stdout
    assert "\n40 files in" in done.stdout
