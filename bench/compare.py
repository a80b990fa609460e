"""fastbp beside other libraries, on one core and in one run: training, or with --predict answers.

    python bench/compare.py
    python bench/compare.py --cases A,C --optimizer adam --json adam.json --plot adam.png
    python bench/compare.py --predict
    python bench/compare.py --against BUILD    # another build of fastbp: before and after a change

What belongs here: sides in turn, what they must agree on, tables, JSON, the picture. What does not:
the cases, calibration and timing (fastbp/benchmark.py), the other libraries (peers.py; those that
are not installed are left out; extra: bench), processes of another build (builds.py).

All sides train from the same parameters on the same batches with the same updates. The loss of
every epoch is held against fastbp's: nobody is fast by doing something else. Per cent is of the
multiply-adds that this core made just before the case.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import warnings
from dataclasses import asdict, replace
from importlib import metadata
from pathlib import Path

# before NumPy is imported: some machines set these for old builds of OpenBLAS, and slow new ones
for variable in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
    os.environ.pop(variable, None)
# before anything that starts threads of its own is imported
for variable in ("OMP", "MKL", "OPENBLAS", "NUMEXPR"):
    os.environ.setdefault(f"{variable}_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault(
    "XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
)

import numpy as np  # noqa: E402

import builds  # noqa: E402
import fastbp  # noqa: E402
import peers  # noqa: E402
from fastbp import benchmark  # noqa: E402
from fastbp.kernels import dispatch  # noqa: E402

LIBRARIES = (
    "numpy", "torch", "jax", "scikit-learn", "onnxruntime", "numba", "keras", "tinygrad",
)  # fmt: skip
OPTIMIZERS = {"sgd": fastbp.SGD(0.01), "adam": fastbp.Adam(1e-3)}  # where a case has another
PREDICTIONS = {"one row of C": ("C", 1), "one row of B": ("B", 1), "1,024 rows of B": ("B", 1024)}
# Of the loss of an epoch and of a predicted number, relative. Rounding grows with every step, but a
# rate 1 % off shows more in the first epochs of each case.
ROUNDING = {"float32": 1e-3, "float64": 1e-9}


def available(makers, *arguments):
    """{name: side} of the libraries that are here, {name: why} of those that are not."""
    sides, missing = {}, {}
    for name, make in makers.items():
        try:
            sides[name] = make(*arguments)
        except ImportError as error:
            missing[name] = str(error)
    return sides, missing


def train(case, options, limits):
    net, (X, Y) = case.network(options.dtype), case.data(options.dtype)
    makers = {
        name: lambda make=make: make(case, net.copy(), X, Y)
        for name, make in peers.TRAINING.items()
    }
    sides, missing = available(makers)
    timings = benchmark.measure(sides, case.steps, options.repeats)
    epochs = min(len(timing.losses) for timing in timings.values())
    ours = np.array(timings["fastbp"].losses[:epochs])
    rows = {}
    for name, timing in timings.items():
        losses = np.array(timing.losses[:epochs])
        off = float((abs(losses - ours) / abs(ours)).max())
        rows[name] = {
            **benchmark.record(case, timing.us_per_step, limits),
            "times_fastbp": timing.us_per_step / timings["fastbp"].us_per_step,
            "first_loss": timing.losses[0],
            "loss": timing.losses[epochs - 1],
            "differs": off,
            "agrees": off <= ROUNDING[options.dtype],
        }
    return {
        "title": case.title,
        "epochs": epochs,
        "flops": case.flops,
        "bytes": case.bytes_moved(options.dtype),
        "limits": asdict(limits),
        "sides": rows,
        "missing": missing,
    }


def predict(name, options, limits):
    letter, n = PREDICTIONS[name]
    case = benchmark.CASES[letter]
    net = case.network(options.dtype)
    x = case.data(options.dtype)[0][:n]
    calls, missing = available(peers.PREDICTION, net, x)
    ours = calls["fastbp"]().copy()

    def repeated(call):
        def run(times):
            for _ in range(times):
                call()
            return []

        return run

    timings = benchmark.measure(
        {side: repeated(call) for side, call in calls.items()}, 1, options.repeats
    )
    flops = 2 * n * sum(case.products)
    rows = {}
    for side, timing in timings.items():
        off = float(abs(np.asarray(calls[side]()).reshape(ours.shape) - ours).max())
        rows[side] = {
            "us": timing.us_per_step,
            "gflops": flops / timing.us_per_step / 1e3,
            "percent_of_peak": flops / timing.us_per_step / 10 / limits.gflops,
            "times_fastbp": timing.us_per_step / timings["fastbp"].us_per_step,
            "differs": off,
            "agrees": off <= ROUNDING[options.dtype],
        }
    layers = "-".join(map(str, case.sizes))
    return {
        "title": f"{layers} {case.activation}, {n:,} row{'s' * (n > 1)}",
        "flops": flops,
        "limits": asdict(limits),
        "sides": rows,
        "missing": missing,
    }


def against(name, options):
    """A case or a call in this build and in the other."""
    what, letter = builds.CALLS.get(name, ("train", name))
    case = with_optimizer(benchmark.CASES[letter], options)
    if name in builds.IMAGES:
        batch, steps = builds.IMAGES[name]
        case = replace(case, batch=batch, steps=steps)
    ours = Path(fastbp.__file__).parents[1]
    found = builds.compare(ours, options.against, case, options.dtype, options.repeats, what)
    agrees = found["differs"] <= ROUNDING[options.dtype]
    return {"title": case.title if what == "train" else what, **found, "agrees": agrees}


def with_optimizer(case, options):
    if options.optimizer in (None, case.optimizer.policy):
        return case
    return replace(case, optimizer=OPTIMIZERS[options.optimizer])


# output


def print_against(name, found):
    us, (first, third) = found["us"], found["noise_quartiles"]
    bits = f"differs by {found['differs']:.1e}" if found["differs"] else "same bits"
    print(
        f"{name:18}{us['ours']:11.2f}{us['other']:11.2f}{found['ratio']:12.3f}"
        f"{found['noise']:12.3f} ({first:.3f} to {third:.3f})   {bits}"
        f"{'' if found['agrees'] else '  <-- MISMATCH'}"
    )
    sys.stdout.flush()


def print_case(name, found):
    limits = found["limits"]
    print(
        f"\n{name}: {found['title']}   (peak {limits['gflops']:.0f} GFLOP/s, memory "
        f"{limits['gb_per_second']:.1f} GB/s)"
    )
    what = f"loss, epoch {found['epochs']}" if "epochs" in found else "differs by"
    print(f"  {'':18}{'us':>11}{'GFLOP/s':>9}{'of peak':>9}{'x fastbp':>10}{what:>19}")
    for side, row in found["sides"].items():
        us, last = row.get("us_per_step", row.get("us")), row.get("loss", row["differs"])
        mark = "" if row["agrees"] else f"  <-- MISMATCH, differs by {row['differs']:.1e}"
        print(
            f"  {side:18}{us:11.2f}{row['gflops']:9.1f}{row['percent_of_peak']:7.1f} %"
            f"{row['times_fastbp']:10.2f}{last:19.6g}{mark}"
        )
    for side, why in found["missing"].items():
        print(f"  {side:18} left out: {why}")
    sys.stdout.flush()


def geometric_means(document):
    """Of each side, its times of fastbp's over the cases that it is in."""
    times = {}
    for found in document["cases"].values():
        for side, row in found["sides"].items():
            times.setdefault(side, []).append(row["times_fastbp"])
    return {
        side: {"times_fastbp": statistics.geometric_mean(of), "cases": len(of)}
        for side, of in times.items()
    }


def print_means(means):
    print("\ngeometric means, in times of fastbp's")
    for side, mean in means.items():
        print(f"  {side:18}{mean['times_fastbp']:10.2f}   of {mean['cases']} cases")


def plot(document, path):
    """The roofline: GFLOP/s over flops a byte, under the peak and the bandwidth of this machine."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    cases = document["cases"]
    peak = max(found["limits"]["gflops"] for found in cases.values())
    bandwidth = max(found["limits"]["gb_per_second"] for found in cases.values())
    intensity = {name: found["flops"] / found["bytes"] for name, found in cases.items()}
    x = np.geomspace(min(intensity.values()) / 4, max([*intensity.values(), peak / bandwidth]) * 2)
    figure, axes = pyplot.subplots(figsize=(9, 6), layout="constrained")
    axes.loglog(x, np.minimum(peak, bandwidth * x), "k-")
    axes.annotate(f"{peak:.0f} GFLOP/s", (x[-1], peak), ha="right", va="bottom")
    axes.annotate(f"{bandwidth:.1f} GB/s", (x[0], bandwidth * x[0]), rotation=30, va="bottom")
    for number, side in enumerate(peers.TRAINING):
        there = [name for name in cases if side in cases[name]["sides"]]
        if there:
            axes.plot(
                [intensity[name] for name in there],
                [cases[name]["sides"][side]["gflops"] for name in there],
                "os^vDPX<>*"[number],
                label=side,
                zorder=3 if side == "fastbp" else 2,
            )
    for number, (name, at) in enumerate(intensity.items()):  # B and D are close together
        axes.annotate(
            name, (at, 0.01 + 0.03 * (number % 3)), xycoords=("data", "axes fraction"), ha="center"
        )
    axes.set(
        xlabel="flops of a step a byte of parameters, samples and activations",
        ylabel="GFLOP/s",
        title=f"Training on one core, {document['dtype']}\n{document['machine']}",
    )
    axes.legend()
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=150)


def pin():
    """Stay on one core: threads that another side left behind would wait for theirs elsewhere."""
    if hasattr(os, "sched_setaffinity") and len(os.sched_getaffinity(0)) > 1:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})


def versions():
    found = {}
    for library in LIBRARIES:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            found[library] = None
    return found


def count(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number of at least 1, found {text!r}")
    return int(text)


def arguments(argv):
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", metavar="A,...", default=",".join(benchmark.CASES))
    parser.add_argument("--optimizer", choices=("sgd", "adam"), help="(default: G adam, else sgd)")
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--repeats", type=count, default=9, metavar="N", help="(default: 9)")
    parser.add_argument("--predict", action="store_true", help="time predictions instead")
    parser.add_argument(
        "--against", metavar="BUILD",
        help="time another build of fastbp instead: a Python that has it, its virtual environment, "
        "or the folder that it lies in",
    )  # fmt: skip
    parser.add_argument("--json", metavar="FILE", help="write everything there")
    parser.add_argument("--plot", metavar="FILE.png", help="draw the roofline there")
    options = parser.parse_args(argv)
    for other in ("predict", "against"):
        if getattr(options, other) and options.plot:
            parser.error(f"--plot: expected a run of training, got --{other}")
    if options.against and options.predict:
        parser.error("--predict: expected without --against, which has predictions of its own")
    try:
        options.cases = benchmark.chosen(options.cases)
    except ValueError as error:
        parser.error(f"--{error}")
    if options.against:
        try:
            builds.command_of(options.against)
        except ValueError as error:
            parser.error(f"--against: {error}")
    for name, file in (("--json", options.json), ("--plot", options.plot)):
        if file is not None and not os.path.isdir(os.path.dirname(file) or "."):
            parser.error(f"{name}: expected a file in a folder that is there, got {file}")
    return options


def write(document, options):
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(document, file, indent=1)


def compare_builds(document, options):
    print(f"on {document['machine']}, {options.dtype}, microseconds a step, a call or a row")
    print(f"{'':18}{'this':>11}{'other':>11}{'this/other':>12}{'this/this':>12}")
    for name in [*options.cases, *builds.CALLS]:
        try:
            found = against(name, options)
        except RuntimeError as error:
            print(f"--against: {error}", file=sys.stderr)
            return 2
        document["cases"][name] = found
        print_against(name, found)
    for side, about in found["builds"].items():
        print(f"{side}: fastbp {about['version']} ({about['level']}) in {about['folder']}")
    write(document, options)
    return 0 if all(found["agrees"] for found in document["cases"].values()) else 1


def main(argv=None):
    options = arguments(argv)
    warnings.filterwarnings("ignore")  # of the libraries: they would fill the tables
    pin()
    document = {
        "fastbp": fastbp.__version__,
        "machine": benchmark.machine(),
        "cpu_level": dispatch.level,
        "dtype": options.dtype,
        "versions": versions(),
        "peak_gflops": benchmark.peaks(),
        "cases": {},
    }
    if options.against:
        return compare_builds(document, options)
    print(f"fastbp {fastbp.__version__} ({dispatch.level}) on {document['machine']}")
    print(", ".join(f"{name} {version}" for name, version in document["versions"].items()))
    for level, peak in document["peak_gflops"].items():
        print(f"{level}: " + ", ".join(f"{dtype} {x:.0f} GFLOP/s" for dtype, x in peak.items()))
    memory = benchmark.Memory()
    for name in PREDICTIONS if options.predict else options.cases:
        limits = benchmark.limits(options.dtype, memory)
        if options.predict:
            found = predict(name, options, limits)
        else:
            found = train(with_optimizer(options.cases[name], options), options, limits)
        document["cases"][name] = found
        print_case(name, found)
    document["geometric_means"] = geometric_means(document)
    print_means(document["geometric_means"])
    write(document, options)
    if options.plot:
        plot(document, options.plot)
    rows = [row for found in document["cases"].values() for row in found["sides"].values()]
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
