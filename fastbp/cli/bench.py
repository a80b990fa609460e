"""``fastbp bench``."""

import argparse
from dataclasses import asdict
from typing import Any

import fastbp
from fastbp import benchmark
from fastbp.cli.output import print_json
from fastbp.kernels import dispatch

ROUNDS = 9  # timed; with all cases below a minute


def run(options: argparse.Namespace) -> int:
    """Measure this machine, then steps of training on it."""
    cases = benchmark.chosen(options.cases)
    document: dict[str, Any] = {
        "fastbp": fastbp.__version__,
        "machine": benchmark.machine(),
        "cpu_level": dispatch.level,
        "dtype": options.dtype,
        "peak_gflops": benchmark.peaks(),
        "cases": [],
    }
    if not options.json:
        _print_machine(document)
    memory = benchmark.Memory()
    for name, case in cases.items():
        now = benchmark.limits(options.dtype, memory)
        side = benchmark.fastbp_side(case, case.network(options.dtype), *case.data(options.dtype))
        timing = benchmark.measure({"fastbp": side}, case.steps, ROUNDS)["fastbp"]
        found = {
            "case": name,
            "title": case.title,
            **benchmark.record(case, timing.us_per_step, now),
            "limits": asdict(now),
            "first_loss": timing.losses[0],
            "last_loss": timing.losses[-1],
        }
        document["cases"].append(found)
        if not options.json:
            _print_case(found)
    if options.json:
        print_json(document)
    return 0


def _print_machine(document: dict[str, Any]) -> None:
    print(
        f"fastbp {document['fastbp']} on {document['machine']}\n\n"
        "multiply-adds of one core, GFLOP/s"
    )
    for level, peak in document["peak_gflops"].items():
        used = "  (in use)" if level == document["cpu_level"] else ""
        print(f"  {level:10} float32 {peak['float32']:6.1f}  float64 {peak['float64']:6.1f}{used}")
    print(
        f"\ntraining in {document['dtype']} on one thread; peak and bandwidth before each case\n\n"
        f"{'':42}{'us a step':>10}{'GFLOP/s':>9}{'of peak':>9}{'GB/s':>7}"
    )


def _print_case(found: dict[str, Any]) -> None:
    print(
        f"{found['case']} {found['title']:40}{found['us_per_step']:10.2f}{found['gflops']:9.1f}"
        f"{found['percent_of_peak']:7.1f} %{found['limits']['gb_per_second']:7.1f}",
        flush=True,
    )
