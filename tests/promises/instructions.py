"""Instructions that one step of training executes, counted by valgrind: no clock, no noise.

    python tests/promises/instructions.py CASE    # makes the steps; count() runs it under callgrind

What belongs here: the cases and how they are counted. What does not: what is expected
(test_speed.py, instructions.json), times (bench/).
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

LEVEL = "avx2"  # the highest that valgrind simulates
CASES = {  # name: sizes, hidden activation, batch, steps
    "784-30-10 sigmoid, batch 10": ([784, 30, 10], "sigmoid", 10, 100),
    "32-64-64-1 tanh, batch 32": ([32, 64, 64, 1], "tanh", 32, 100),
    "64-64-1 relu, batch 32": ([64, 64, 1], "relu", 32, 100),
    "2-16-1 tanh, batch 8": ([2, 16, 1], "tanh", 8, 1000),
}
LANES = {  # the same of as many networks as a vector has lanes, all at once
    "lanes of 2-16-1 tanh, batch 8": ([2, 16, 1], "tanh", 8, 1000),
    "lanes of 32-16-16-1 tanh, batch 32": ([32, 16, 16, 1], "tanh", 32, 100),
}
STEPS_PER_EPOCH = 10


def train(case: str) -> None:
    import numpy as np

    import fastbp
    from fastbp.training import driver as run

    # slices as long as they come, or their number would depend on the time they take
    run.SLICE_SECONDS = run.SYNC_SECONDS = float("inf")
    sizes, activation, batch, steps = CASES[case]
    n, n_L = batch * STEPS_PER_EPOCH, sizes[-1]
    rng = np.random.default_rng(0)
    X = rng.random((n, sizes[0]), dtype=np.float32)
    if n_L == 1:
        net = fastbp.Network(
            sizes, activation=activation, output="identity", loss="quadratic", seed=0
        )
        Y = rng.random(n, dtype=np.float32)
    else:
        net = fastbp.Network(sizes, activation=activation, seed=0)
        Y = rng.integers(0, n_L, n)
    epochs = steps // STEPS_PER_EPOCH
    optimizer = fastbp.SGD(0.01)
    net.fit(X, Y, epochs=epochs, batch_size=batch, optimizer=optimizer, threads=1, seed=0)


def train_in_lanes(case: str) -> None:
    import numpy as np

    import fastbp

    sizes, activation, batch, steps = LANES[case]
    n = batch * STEPS_PER_EPOCH
    rng = np.random.default_rng(0)
    X = rng.random((n, sizes[0]), dtype=np.float32)
    Y = rng.random((n, sizes[-1]), dtype=np.float32)
    net = fastbp.Network(sizes, activation=activation, output="identity", loss="quadratic", seed=0)
    doors, numbers = net._doors, {"learning_rate": 0.01, "l2": 0.0, "l1": 0.0}
    lanes = doors.Lanes(net._compiled, "sgd", batch, False)
    slots = np.empty((0, net.n_parameters), np.float32)
    for lane in range(lanes.n_lanes):
        lanes.load(
            lane, X, Y, None, None, None, np.arange(n), n, lane, True, numbers, None, None, None,
            net.parameters, slots, (0, 0, 0, 0.0, 0.0), False,
        )  # fmt: skip
    ends, firsts = np.full(lanes.n_lanes, steps), np.zeros(lanes.n_lanes, np.intp)
    losses, clock = np.empty((2, lanes.n_lanes, steps))
    assert doors.train_lanes(lanes, steps, ends, firsts, losses, clock) == steps


def count(case: str) -> tuple[float, Counter[int]]:
    """Instructions a step within the engine, and how often each of its addresses was executed."""
    import fastbp

    door = "train_lanes" if case in LANES else "train"

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "callgrind"
        command = ["valgrind", "--tool=callgrind", f"--callgrind-out-file={out}"]
        command += ["--dump-instr=yes", "--compress-pos=no", "--compress-strings=no"]
        command += ["--collect-atstart=no", f"--toggle-collect=__pyx_pw_*engine_*{door}"]
        # the fastbp that is tested, whatever folder it was found in
        folders = [str(Path(fastbp.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
        environment = os.environ | {
            "FASTBP_ISA": LEVEL,
            "PYTHONPATH": os.pathsep.join(filter(None, folders)),
        }
        done = subprocess.run(
            [*command, sys.executable, __file__, case],
            capture_output=True,
            text=True,
            env=environment,
        )
        assert done.returncode == 0, done.stderr
        text = out.read_text()
    total = int(re.search(r"^summary: (\d+)", text, re.MULTILINE).group(1))
    assert total > 0, "no function of the engine is called ...train any more"
    return total / (CASES | LANES)[case][3], executions(text)


def executions(text: str) -> Counter[int]:
    """How often each address of the engine was executed, from what callgrind wrote."""
    found: Counter[int] = Counter()
    in_engine = of_callee = False
    for line in text.splitlines():
        if line.startswith("ob="):
            in_engine = f"engine_{LEVEL}_f32." in line
        elif line.startswith("calls="):
            of_callee = True  # the next line counts what the called function executed
        elif line.startswith("0x"):
            if in_engine and not of_callee:
                address, _, times = line.split()
                found[int(address, 16)] += int(times)
            of_callee = False
    return found


if __name__ == "__main__":
    (train_in_lanes if sys.argv[1] in LANES else train)(sys.argv[1])
