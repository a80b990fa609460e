"""Machine code of a built engine: its functions, their innermost loops, the kind of arithmetic.

What belongs here: reading what objdump prints for x86-64. What does not: what is expected of the
code (test_speed.py).
"""

import re
import subprocess
from dataclasses import dataclass

# What computes on floating-point numbers. Moves, shuffles and bit operations do not: compilers use
# their double forms on single-precision data.
ARITHMETIC = re.compile(
    r"v?(?:fn?m(?:add|sub|addsub|subadd)(?:132|213|231)|add|sub|addsub|hadd|mul|div|sqrt|rcp(?:14)?"
    r"|rsqrt(?:14)?|min|max|round|rndscale|reduce|getexp|getmant|scalef|cmp\w*?)(ps|pd|ss|sd)"
)
COMPARISON = re.compile(r"vu?comi(ss|sd)|u?comi(ss|sd)")
CONVERSION = re.compile(r"v?cvtt?(\w+?)2(\w+)")


@dataclass(frozen=True)
class Instruction:
    """One line of objdump."""

    address: int
    mnemonic: str
    operands: str

    @property
    def kind(self) -> str:
        """What it computes on: "ps", "pd", "ss" or "sd"; "" where it does not compute."""
        if found := ARITHMETIC.fullmatch(self.mnemonic) or COMPARISON.fullmatch(self.mnemonic):
            return next(filter(None, found.groups()))
        if found := CONVERSION.fullmatch(self.mnemonic):
            ends = found.group(1), found.group(2).removesuffix("x").removesuffix("y")
            # a double at either end; a scalar at either end; packed integers
            return next((kind for kind in ("sd", "pd", "ss", "ps") if kind in ends), "")
        return ""

    @property
    def memory(self) -> str:
        """The operand in memory of an instruction on vectors, "" where there is none."""
        found = re.search(r"[^\s,]*\([^)]*\)", self.operands)
        return found.group() if found and re.search(r"%[xyz]mm", self.operands) else ""

    @property
    def stores(self) -> bool:
        return bool(self.memory) and self.operands.rstrip().endswith(")")

    def __str__(self) -> str:
        return f"{self.address:x}: {self.mnemonic} {self.operands}"


def disassembled(path) -> dict[str, list[Instruction]]:
    """Functions of a built module, by symbol."""
    command = ["objdump", "-d", "--no-show-raw-insn", "-j", ".text", str(path)]
    return functions(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def functions(text: str) -> dict[str, list[Instruction]]:
    """Functions in what objdump printed, by symbol."""
    found: dict[str, list[Instruction]] = {}
    body: list[Instruction] = []
    for line in text.splitlines():
        if header := re.fullmatch(r"[0-9a-f]+ <(.+)>:", line):
            body = found.setdefault(header.group(1), [])
        elif instruction := re.match(r"\s*([0-9a-f]+):\t(?:notrack )?(\S+)\s*([^#<]*)", line):
            address, mnemonic, operands = instruction.groups()
            body.append(Instruction(int(address, 16), mnemonic, operands.strip()))
    return found


def innermost_loops(function: list[Instruction]) -> list[list[Instruction]]:
    """From the target of each jump backwards to the jump, where no other such range lies within."""
    if not function:
        return []
    first = function[0].address
    ranges = set()
    for jump in function:
        if jump.mnemonic.startswith("j") and re.fullmatch("[0-9a-f]+", jump.operands):
            target = int(jump.operands, 16)
            if first <= target <= jump.address:
                ranges.add((target, jump.address))
    return [
        [i for i in function if begin <= i.address <= end]
        for begin, end in sorted(ranges)
        if not any((begin, end) != (b, e) and begin <= b and e <= end for b, e in ranges)
    ]
