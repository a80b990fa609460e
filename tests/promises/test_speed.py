"""Speed without a clock: instructions a step, and machine code of the innermost loops.

    python tests/promises/test_speed.py      # count again and write instructions.json

What belongs here: what makes the engine slow and shows at any load of the machine – more
instructions, loops that lost their vectors, doubles among singles, accumulators out of their
registers. What does not: times and their ratios (bench/). Skipped without valgrind or objdump.
"""

import json
import platform
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from disassembly import Instruction, disassembled, functions, innermost_loops
from instructions import CASES, LANES, LEVEL, count

from fastbp.kernels import cpu, dispatch

RECORD = Path(__file__).with_name("instructions.json")
SLACK = 0.05  # above the record, of the compiler that it was made with
OTHER_SLACK = 0.25  # above the record, of another compiler
STALE = 0.15  # below the record: a guard that far behind guards nothing
REGISTER = {"avx2": "%ymm", "avx512": "%zmm"}
EXPONENTIAL = (
    "sigmoid", "tanh", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus", "exp",
)  # fmt: skip
UPDATES = ("sgd", "momentum", "nesterov", "adam", "adamw")
VECTOR_LEVELS = [level for level in REGISTER if level in cpu.built_levels]

pytestmark = [
    pytest.mark.skipif(
        platform.machine().lower() not in ("x86_64", "amd64") or platform.system() != "Linux",
        reason="reads machine code of x86-64 Linux",
    ),
    pytest.mark.skipif("-O1" in cpu.flags[dispatch.level].split(), reason="a debug build"),
    pytest.mark.skipif(shutil.which("objdump") is None, reason="objdump is not installed"),
]


def code_of(level):
    (path,) = Path(cpu.__file__).parent.glob(f"engine_{level}_f32.*.so")
    code = disassembled(path)
    if not any(name.startswith("__pyx_") for name in code):
        pytest.skip("the build is stripped of its symbols")
    return code


@pytest.fixture(scope="module", params=VECTOR_LEVELS)
def engine(request):
    """The level and its functions."""
    return request.param, code_of(request.param)


# -- what is executed ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def countable():
    if shutil.which("valgrind") is None:
        pytest.skip("valgrind is not installed")
    if LEVEL not in dispatch.available_levels():
        pytest.skip(f"this CPU or build has no {LEVEL}")
    return {i.address: i for body in code_of(LEVEL).values() for i in body}


@pytest.mark.parametrize(
    "case",
    [
        *list(CASES)[:2],
        *list(LANES)[:1],
        *(
            pytest.param(case, marks=pytest.mark.exhaustive)
            for case in [*list(CASES)[2:], *list(LANES)[1:]]
        ),
    ],
)
def test_a_step_executes_no_more_than_recorded(countable, case):
    instructions, executed = count(case)
    record = json.loads(RECORD.read_text())
    recorded, compiler = record["instructions"][case], dispatch.build_info()["compiler"]
    same = major_version(compiler) == major_version(record["compiler"])
    print(f"{case}: {instructions:.0f} instructions a step, recorded {recorded}, {compiler}")
    assert instructions <= recorded * (1 + (SLACK if same else OTHER_SLACK))
    if same:
        again = "faster; write the new record with: python tests/promises/test_speed.py"
        assert instructions >= recorded * (1 - STALE), again
    # scalars: a sample's cost, a row's sum. One output alone has no vectors to be put in.
    kinds = arithmetic(executed, countable)
    share = 1 - kinds["ps"] / kinds.total()
    assert share <= (0.2 if case.startswith("2-16-1") else 0.03), kinds


def major_version(compiler):
    """`GCC 12` of `GCC 12.2.0`."""
    return compiler.partition(".")[0]


def arithmetic(executed, instructions):
    """How often each kind of floating-point arithmetic was executed."""
    kinds = Counter()
    for address, times in executed.items():
        if kind := instructions[address].kind:
            kinds[kind] += times
    assert kinds
    return kinds


# -- what was compiled -----------------------------------------------------------------------------


def compiled_from(code, stem):
    """Bodies of the functions that are compiled from one name, by symbol."""
    name_of = re.compile(rf"(__pyx_(fuse_\d+__pyx_)?f_\w*_)?{stem}(\.|$)")  # Cython's, or C's own
    found = {name: body for name, body in code.items() if name_of.match(name)}
    assert found, f"no function of the engine is called {stem} any more"
    return found


def kinds_in(loop):
    return {i.kind for i in loop} - {""}


def fmas(loop):
    return sum("fmadd" in i.mnemonic for i in loop)


def spills(loop):
    """What a loop whose sums stay in registers does not do: store vectors, or read the stack."""
    return [str(i) for i in loop if i.stores or "%rsp" in i.memory]


def rows_and_vectors(level):
    """The tallest tile of a level, from the header as the compiler sees it."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    header = Path(cpu.__file__).parent / "arithmetic/tile.h"
    command = ["gcc", "-dM", "-E", *cpu.flags[level].split(), str(header)]
    macros = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [
        int(re.search(rf"FASTBP_TILE_{what} (\d+)", macros).group(1))
        for what in ("ROWS", "VECTORS")
    ]


@pytest.mark.parametrize("stem", ["tile_rows", "tile_columns", "tile_rows_from"])
def test_tiles_multiply_and_add_in_registers(engine, stem):
    level, code = engine
    rows, vectors = rows_and_vectors(level)
    tallest = 0
    for name, body in compiled_from(code, stem).items():
        for loop in innermost_loops(body):
            if not fmas(loop):
                continue
            tallest = max(tallest, fmas(loop))
            assert kinds_in(loop) == {"ps"}, (name, list(map(str, loop)))
            assert not spills(loop), (name, spills(loop))
            assert all(REGISTER[level] in i.operands for i in loop if i.kind), name
    # a loop may make several k in one round
    assert tallest and tallest % (rows * vectors) == 0, (tallest, rows, vectors)


@pytest.mark.parametrize("stem", ["list_times_rows", "column_times_rows"])
def test_lists_multiply_and_add_in_registers(engine, stem):
    level, code = engine
    n_loops = 0
    for name, body in compiled_from(code, stem).items():
        for loop in innermost_loops(body):
            if fmas(loop):
                n_loops += 1
                assert kinds_in(loop) == {"ps"}, (name, list(map(str, loop)))
                assert not spills(loop), (name, spills(loop))
                assert all(REGISTER[level] in i.operands for i in loop if i.kind), name
    assert n_loops


@pytest.mark.parametrize(
    "stem",
    ["values", "values_and_slopes", "softmax", r"\w+_product", r"\w+_vjp", "terms_and_slopes"],
)
def test_loops_on_singles_hold_no_doubles(engine, stem):
    """An untyped literal of a formula does that: 1 / (1 + e) computes in double."""
    _, code = engine
    for name, body in compiled_from(code, stem).items():
        loops = innermost_loops(body)
        assert loops
        for loop in loops:
            assert not kinds_in(loop) & {"sd", "pd"}, (name, list(map(str, loop)))


def test_dots_are_made_in_vectors(engine):
    """Of one unit: its sums lie in registers, in 16 parts of each of one or several rows."""
    level, code = engine
    most = 0
    for name, body in compiled_from(code, "dots").items():
        for loop in innermost_loops(body):
            if fmas(loop) and kinds_in(loop) == {"ps"} and not spills(loop):
                assert all(REGISTER[level] in i.operands for i in loop if i.kind), name
                most = max(most, fmas(loop))
    assert most >= 4, most  # four rows


@pytest.mark.parametrize("stem", ["lanes_forward", "lanes_back", "lanes_gradient"])
def test_tiles_of_lanes_multiply_and_add_in_registers(engine, stem):
    """And load what several products share once, but for a vector where registers are few."""
    level, code = engine
    most, tile = 0, []
    for name, body in compiled_from(code, stem).items():
        for loop in innermost_loops(body):
            if not fmas(loop):
                continue
            assert kinds_in(loop) == {"ps"}, (name, list(map(str, loop)))
            assert not spills(loop), (name, spills(loop))
            assert all(REGISTER[level] in i.operands for i in loop if i.kind), name
            if fmas(loop) > most:
                most, tile = fmas(loop), loop
    assert most % (24 if level == "avx512" else 12) == 0, most
    assert sum(bool(i.kind and i.memory) for i in tile) <= (0 if level == "avx512" else most // 3)


def test_lanes_hold_no_scalars(engine):
    """Whatever is computed of all networks at once: sums, dot products, updates, output errors."""
    level, code = engine
    found = 0
    for stem in ("lanes_(dots|sum)", "update_kind_of_lanes", "(dot|scale)_back_lanes"):
        for name, body in compiled_from(code, stem).items():
            for i in body:
                if i.kind:
                    found += 1
                    assert i.kind == "ps" and REGISTER[level] in i.operands, (name, str(i))
    assert found > 100


def test_updates_are_made_in_vectors_alone(engine):
    """The step's numbers are doubles, and become vectors before the loop."""
    level, code = engine
    found = 0
    for name, body in compiled_from(code, "update_kind").items():
        for loop in innermost_loops(body):
            if "ps" in kinds_in(loop) and any(i.stores for i in loop):
                found += 1
                assert kinds_in(loop) == {"ps"}, (name, list(map(str, loop)))
                assert all(REGISTER[level] in i.operands for i in loop if i.kind), name
    assert found >= len(UPDATES), found


def test_blocks_are_transposed_without_arithmetic(engine):
    _, code = engine
    for body in compiled_from(code, "transpose").values():
        assert body and not kinds_in(body)


def test_exponentials_have_loops_of_whole_vectors(engine):
    """Each activation that holds one, its value alone and with the slope."""
    level, code = engine
    whole = 0
    for body in compiled_from(code, "values(_and_slopes)?").values():
        for loop in innermost_loops(body):
            is_whole = all(REGISTER[level] in i.operands for i in loop if i.kind)
            whole += fmas(loop) > 1 and kinds_in(loop) == {"ps"} and is_whole
    assert whole >= 2 * len(EXPONENTIAL), whole


# -- the reading itself ----------------------------------------------------------------------------

CANNED = """
0000000000001000 <spilling>:
    1000:\tvxorps %xmm0,%xmm0,%xmm0
    1004:\tjmp    1010 <spilling+0x10>
    1010:\tvbroadcastss (%rdi,%rax,4),%zmm1
    1017:\tvfmadd231ps 0x40(%rsp),%zmm1,%zmm0
    101f:\tvmovaps %zmm0,0x40(%rsp)
    1027:\tinc    %rax
    102a:\tcmp    %rax,%rsi
    102d:\tjne    1010 <spilling+0x10>
    102f:\tvcvtss2sd %xmm0,%xmm0,%xmm0
    1033:\tdec    %rdx
    1036:\tjne    1004 <spilling+0x4>
    1038:\tret

0000000000001040 <clean>:
    1040:\tvfmadd231ps (%rdx){1to16},%zmm1,%zmm0
    1046:\tvpermpd $0xd8,%zmm2,%zmm2
    104c:\tjb     1040 <clean>
    104e:\tret
"""


def test_spills_are_seen_in_the_innermost_loop_alone():
    code = functions(CANNED)
    (loop,) = innermost_loops(code["spilling"])
    assert loop[0].address == 0x1010 and loop[-1].address == 0x102D
    assert fmas(loop) == 1 and kinds_in(loop) == {"ps"}
    assert [spill.partition(":")[0] for spill in spills(loop)] == ["1017", "101f"]
    (loop,) = innermost_loops(code["clean"])
    assert fmas(loop) == 1 and kinds_in(loop) == {"ps"} and not spills(loop)


@pytest.mark.parametrize(
    ("mnemonic", "kind"),
    [
        ("vfmadd231ps", "ps"),
        ("vfnmadd132sd", "sd"),
        ("mulss", "ss"),
        ("vdivpd", "pd"),
        ("vsqrtss", "ss"),
        ("vcmpltps", "ps"),
        ("vucomiss", "ss"),
        ("vcvtps2pd", "pd"),
        ("vcvtss2sd", "sd"),
        ("vcvtsd2ss", "sd"),
        ("vcvtpd2psy", "pd"),
        ("vcvtsi2ss", "ss"),
        ("vcvtdq2ps", "ps"),
        ("vcvttps2dq", "ps"),
        ("vbroadcastss", ""),
        ("vmovsd", ""),
        ("vpermpd", ""),
        ("vandpd", ""),
        ("add", ""),
    ],
)
def test_arithmetic_is_told_from_moves(mnemonic, kind):
    assert Instruction(0, mnemonic, "").kind == kind


@pytest.mark.parametrize(
    ("formula", "kinds"),
    [("x[i] * 0.1f + 1", {"ps"}), ("x[i] * 0.1 + 1", {"pd"}), ("x[i - 1] * 0.1f", {"ss"})],
)
def test_a_compiled_loop_shows_what_it_computes_in(tmp_path, formula, kinds):
    """Singles; an untyped literal; a loop that nobody can vectorise."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = tmp_path / "loop.c"
    source.write_text(
        f"void loop(float *x, int n) {{ for (int i = 16; i < 16 * n; i++) x[i] = {formula}; }}"
    )
    built = source.with_suffix(".o")
    command = ["gcc", "-O3", "-mavx2", "-ffp-contract=off", "-c", str(source), "-o", str(built)]
    subprocess.run(command, check=True)
    loops = innermost_loops(disassembled(built)["loop"])
    found = {kind for loop in loops for kind in kinds_in(loop)}
    assert kinds <= found
    assert bool(found & {"sd", "pd"}) == ("pd" in kinds)


def record() -> None:
    """Count every case and write the record."""
    instructions = {case: round(count(case)[0]) for case in CASES | LANES}
    text = {"compiler": dispatch.build_info()["compiler"], "instructions": instructions}
    RECORD.write_text(json.dumps(text, indent=1) + "\n")
    print(RECORD.read_text(), end="")


if __name__ == "__main__":
    record()
