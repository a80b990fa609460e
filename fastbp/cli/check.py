"""``fastbp check``."""

import argparse
import os
from collections.abc import Iterator
from typing import Any

import numpy as np

import fastbp
from fastbp import check, functions
from fastbp.check.report import Result
from fastbp.cli.output import print_json
from fastbp.cli.samples import Samples, for_model, of_digits

ACTIVATION_WIDTH = 4  # of the structures that are shown


def run(options: argparse.Namespace) -> int:
    """Run every check, on a saved network or on two fresh ones."""
    if options.model is None and (options.target or options.labels):
        raise ValueError("--target and --labels need MODEL and DATA")
    document: dict[str, Any] = {"fastbp": fastbp.__version__, "checks": []}
    results = []
    for name, found in _until_ctrl_c(_checks(options), options, document):
        results.append(found)
        if options.json:
            said = {key: value for key, value in found.to_dict().items() if key != "points"}
            document["checks"].append({"of": name, "what": found.title, **said})
        elif options.tables or not found.ok:
            print(f"{name}\n{found}\n")
        else:
            print(f"{name}: {found.title}: {found.verdict}")
    found_ok = {result.ok for result in results}
    ok = False if False in found_ok else None if None in found_ok else True
    unclear = sum(result.verdict.startswith("inconclusive") for result in results)
    if options.json:
        print_json({**document, "ok": ok, "inconclusive": unclear})
    else:
        print(_in_words(ok, unclear, len(results)))
    return 1 if ok is False else 0


def _in_words(ok: bool | None, unclear: int, n: int) -> str:
    open_ = f"{unclear} of {n} checks could not tell" if unclear else ""
    if ok is False:
        return "something is wrong" + (f"; {open_}" if unclear else "")
    return f"nothing is wrong as far as could be told: {open_}" if unclear else "all agree"


def _until_ctrl_c(
    checks: Iterator[tuple[str, Result]], options: argparse.Namespace, document: dict[str, Any]
) -> Iterator[tuple[str, Result]]:
    """The checks; where Ctrl-C ends them, what was found until then is told."""
    try:
        yield from checks
    except KeyboardInterrupt:
        if options.json:
            is_wrong = any(found["ok"] is False for found in document["checks"])
            print_json({**document, "ok": False if is_wrong else None, "interrupted": True})
        raise


def _checks(options: argparse.Namespace) -> Iterator[tuple[str, Result]]:
    if options.model is not None:
        net, samples = for_model(options, options.rows)
        yield from _of_network(os.path.basename(options.model), net, samples, options)
        return
    for activation in functions.ACTIVATIONS:
        yield activation, check.structure(activation, ACTIVATION_WIDTH)
    for output, loss in (("sigmoid", "quadratic"), ("softmax", "cross_entropy")):
        for dtype in ("float64", "float32"):
            net = fastbp.Network([64, 30, 10], output=output, loss=loss, dtype=dtype, seed=0)
            name = f"64,30,10 {output}, {loss}, {dtype}"
            yield from _of_network(name, net, of_digits(), options)


def _of_network(
    name: str, net: Any, samples: Samples, options: argparse.Namespace
) -> Iterator[tuple[str, Result]]:
    X, Y = samples.X[: options.rows], samples.Y[: options.rows]
    y = Y[0]
    yield name, check.output_error(net, X[0], int(y) if np.ndim(y) == 0 else y)
    yield name, check.recurrence(net, X[0], int(y) if np.ndim(y) == 0 else y)
    limit = options.time_limit
    yield name, check.gradients(net, X, Y, mode="fast", time_limit=limit)
    most = options.max_parameters
    yield name, check.gradients(net, X, Y, max_parameters=most, time_limit=limit)
