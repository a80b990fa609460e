"""One network on two ranks of one core each against one rank, and against PyTorch's DDP (gloo).

    python bench/mpi.py [--rounds 5] [--json]       # needs two cores of its own, and mpiexec

What belongs here: samples a second of case F (1024-1024-1024-10, 256 rows a rank) on one rank and
on two, the time of the sums shown apart; PyTorch's DistributedDataParallel on the same, in the same
run, where there is torch (FASTBP_TORCH: a Python that has it); small networks with a sum a step and
with `sync_every`; what an Allreduce takes by its bytes, fitted by alpha + beta bytes. Programs take
turns, and every ratio is of two that followed each other. Exit code 1 where two ranks are not 1.5
times one, or not 1.3 times DDP. What does not: threads (threads.py), other libraries (compare.py).
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import shutil
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

LEAST_OF_ONE, LEAST_OF_DDP = 1.5, 1.3
SECONDS = 1.0  # about, of each timing
SMALL = ("A", "C", "D")
EVERY = 32
SIZES = [1 << power for power in range(6, 25, 2)]  # bytes of an Allreduce
TORCH = os.environ.get("FASTBP_TORCH", sys.executable)


# what a rank does


class Timed:
    """A communicator that adds up what sums of gradients take, waiting included."""

    def __init__(self, comm):
        self.comm, self.seconds, self.calls = comm, 0.0, 0

    def __getattr__(self, name):
        return getattr(self.comm, name)

    def Allreduce(self, place, array, op):
        began = time.perf_counter()
        self.comm.Allreduce(place, array, op)
        if array.dtype.kind == "f":
            self.seconds += time.perf_counter() - began
            self.calls += 1


def on_own_core(rank):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[rank % len(cores)]})


def rank_of_fastbp(letter, every):
    """Samples a second, milliseconds of sums a step."""
    from mpi4py import MPI

    from fastbp.benchmark import CASES

    comm, case = Timed(MPI.COMM_WORLD), CASES[letter]
    on_own_core(comm.rank)
    X, Y = case.data()
    net = case.network()
    given = {"batch_size": case.batch * comm.size, "optimizer": case.optimizer, "seed": 0}
    given |= {"threads": 1, "comm": comm, "sync_every": int(every) or None}

    def seconds(epochs):
        comm.seconds, comm.calls = 0.0, 0
        comm.Barrier()
        began = time.perf_counter()
        net.fit(X, Y, epochs=epochs, **given)
        return time.perf_counter() - began

    took = seconds(2)
    epochs = comm.bcast(max(2, round(2 * SECONDS / took)), 0)
    took = seconds(epochs)
    steps = epochs * case.steps
    return {
        "samples": comm.size * case.batch * steps / took,
        "step_ms": 1e3 * took / steps,
        "sum_ms": 1e3 * comm.seconds / steps,
    }


def rank_of_ddp(letter, port):
    import torch
    from torch import nn
    from torch.nn.parallel import DistributedDataParallel

    rank = int(os.environ["RANK"])
    on_own_core(rank)
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    sizes, batch = (1024, 1024, 1024, 10), 256  # case F
    layers = []
    for n_in, n_out in itertools.pairwise(sizes[:-1]):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()]
    model = nn.Sequential(*layers, nn.Linear(*sizes[-2:]))
    model = DistributedDataParallel(model, gradient_as_bucket_view=True)
    optimizer = torch.optim.SGD(model.parameters(), 0.01)
    X, Y, loss = torch.randn(1024, sizes[0]), torch.randint(0, 10, (1024,)), nn.CrossEntropyLoss()

    def seconds(steps):
        torch.distributed.barrier()
        began = time.perf_counter()
        for step in range(steps):
            rows = slice(step % 4 * batch, step % 4 * batch + batch)
            optimizer.zero_grad(set_to_none=False)
            loss(model(X[rows]), Y[rows]).backward()
            optimizer.step()
        return time.perf_counter() - began

    seconds(8)
    steps = 80
    took = seconds(steps)
    torch.distributed.destroy_process_group()
    return {"samples": 2 * batch * steps / took, "step_ms": 1e3 * took / steps}


def rank_of_sums():
    """Microseconds of an Allreduce in place, by its bytes."""
    from mpi4py import MPI

    comm = MPI.COMM_WORLD
    on_own_core(comm.rank)
    found = {}
    for size in SIZES:
        array, times = np.zeros(size // 4, np.float32), []
        for _ in range(200 if size < 1 << 20 else 30):
            comm.Barrier()
            began = time.perf_counter()
            comm.Allreduce(MPI.IN_PLACE, array, MPI.SUM)
            times.append(time.perf_counter() - began)
        found[size] = 1e6 * statistics.median(times)
    return found


# the programs, and what comes of them


def by_mpi(n_ranks, *told):
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    program = [shutil.which("mpiexec", path=path), "-n", str(n_ranks), sys.executable, __file__]
    return json.loads(output_of([*program, "--rank", *told]))


def by_ddp(letter):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    program = [TORCH, __file__, "--rank", "ddp", letter, port]
    other = subprocess.Popen(program, env=os.environ | {"RANK": "1"}, stdout=subprocess.DEVNULL)
    try:
        return json.loads(output_of(program, RANK="0"))
    finally:
        other.kill()
        other.wait()


def output_of(program, **environment):
    told = {"timeout": 300, "env": os.environ | environment, "text": True, "check": True}
    return subprocess.run(program, stdout=subprocess.PIPE, **told).stdout


def has_torch():
    told = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run([TORCH, "-c", "import torch"], **told).returncode == 0


def medians(runs):
    return {name: statistics.median(run[name] for run in runs) for name in runs[0]}


def ratio(over, under):
    """Median over rounds, and the quarters about it."""
    ratios = [a["samples"] / b["samples"] for a, b in zip(over, under, strict=True)]
    return [float(q) for q in np.quantile(ratios, (0.25, 0.5, 0.75))]


def large(rounds, with_ddp):
    one, two, ddp = [], [], []
    for _ in range(rounds):
        one.append(by_mpi(1, "fastbp", "F", "0"))
        two.append(by_mpi(2, "fastbp", "F", "0"))
        if with_ddp:
            ddp.append(by_ddp("F"))
    found = {"one": medians(one), "two": medians(two), "two_to_one": ratio(two, one)}
    return found | ({"ddp": medians(ddp), "two_to_ddp": ratio(two, ddp)} if ddp else {})


def small(letter, rounds):
    told = {"one": (1, 0), "two": (2, 0), f"every {EVERY}": (2, EVERY)}
    runs = {name: [] for name in told}
    for _ in range(rounds):
        for name, (n_ranks, every) in told.items():
            runs[name].append(by_mpi(n_ranks, "fastbp", letter, str(every)))
    return {name: medians(of) for name, of in runs.items()} | {
        f"{name} to one": ratio(runs[name], runs["one"]) for name in list(told)[1:]
    }


def sums():
    times = {int(size): float(took) for size, took in by_mpi(2, "sums").items()}
    bytes_, took = np.array(list(times)), np.array(list(times.values()))
    terms = np.column_stack([np.ones_like(took), bytes_]) / took[:, None]
    alpha, beta = np.linalg.lstsq(terms, np.ones_like(took))[0]  # by relative errors
    return {"microseconds": times, "alpha_us": float(alpha), "us_per_MB": float(beta * 1e6)}


def told(document):
    f = document["F"]
    for name in ("one", "two", "ddp"):
        if name in f:
            apart = f", {f[name]['sum_ms']:.2f} of them sums" if "sum_ms" in f[name] else ""
            of = f[name]
            print(f"F {name:5} {of['samples']:9,.0f}/s, {of['step_ms']:.2f} ms a step{apart}")
    for name in ("two_to_one", "two_to_ddp"):
        if name in f:
            low, mid, high = f[name]
            print(f"F {name} {mid:.2f} ({low:.2f}-{high:.2f})")
    for letter, of in document["small"].items():
        for name, value in of.items():
            if isinstance(value, list):
                print(f"{letter} {name}: {value[1]:.2f} ({value[0]:.2f}-{value[2]:.2f})")
            else:
                print(f"{letter} {name:9} {value['samples']:11,.0f}/s, {value['step_ms']:.4f} ms")
    of = document["sums"]
    print(f"an Allreduce takes {of['alpha_us']:.1f} us + {of['us_per_MB']:.0f} us a MB")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rank", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.rank:
        kind, *rest = options.rank
        work = {"fastbp": rank_of_fastbp, "ddp": rank_of_ddp, "sums": rank_of_sums}[kind]
        found = work(*rest)
        number = os.environ.get("RANK", os.environ.get("PMI_RANK", "0"))
        if number == "0":
            print(json.dumps(found))
        return 0
    document = {"F": large(options.rounds, has_torch()), "sums": sums()}
    document["small"] = {letter: small(letter, max(2, options.rounds // 2)) for letter in SMALL}
    if options.json:
        print(json.dumps(document))
    else:
        told(document)
    f = document["F"]
    missed = f["two_to_one"][1] < LEAST_OF_ONE
    missed = missed or ("two_to_ddp" in f and f["two_to_ddp"][1] < LEAST_OF_DDP)
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
