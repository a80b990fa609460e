"""What does a moving average of the parameters cost a step?

    python bench/ema.py
    python bench/ema.py --cases A,F --repeats 31

What belongs here: steps with `ema` and without, in turn, by SGD and by Adam. What does not: whether
the average is right (tests/training/test_rates.py).

The engine goes over all parameters once more after each step: it reads them and the average, and
writes that, 12 bytes a parameter (float64: 24). "chance" is the ratio of a fit without to itself.
"""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace

import fastbp
from fastbp import benchmark


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", metavar="A,...", default="A,B,C,E,F")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=int, default=9, metavar="N", help="(default: 9)")
    options = parser.parse_args(argv)
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    print(f"{'':46}{'us a step':>11}{'with ema':>11}{'ratio':>8}{'chance':>8}")
    for name, of in benchmark.chosen(options.cases).items():
        X, Y = of.data(options.dtype)
        for optimizer in (fastbp.SGD(1e-3), fastbp.Adam(1e-4)):
            case = replace(of, optimizer=optimizer)
            sides = {
                side: benchmark.fastbp_side(case, case.network(options.dtype), X, Y, **given)
                for side, given in (("without", {}), ("with", {"ema": 0.99}), ("again", {}))
            }
            us = {
                side: timing.us_per_step
                for side, timing in benchmark.measure(sides, case.steps, options.repeats).items()
            }
            print(
                f"{name}: {case.title:43}{us['without']:11.2f}{us['with']:11.2f}"
                f"{us['with'] / us['without']:8.3f}{us['again'] / us['without']:8.3f}"
            )
            sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
