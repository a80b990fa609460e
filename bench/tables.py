"""Tables as people have them: errors and seconds beside boosting, scikit-learn's MLP, pytabkit.

What belongs here: who is compared, how, and the ablation that the presets' numbers come from. What
does not: the tables (table_data.py), reading and encoding (encoding.py), tests (tests/).

Usage: python bench/tables.py [--seeds 0,1] [--rows 6000 | --rows 500,1000,2000,4000,all]
    [--only TEXT] [--more] [--sides A,B] [--ablation [TEXT,TEXT]] [--lists] [--json]

All sides are fitted in one process, in turn, on the same rows, one thread each (pin the process to
one core). An error is 1 - R2 of numbers or 1 - AUC of classes, the mean over the seeds, of which
each has a split of its own; an error over the best is divided by the smallest of those that are not
ours (boosting, scikit-learn's MLP, pytabkit's RealMLP-TD-S where it is installed). --more takes
other tables, --rows several numbers of training rows, --ablation one change of the default after
the other (those that have one of the texts), --lists the same networks on arrays and on lists. Exit
code 1: the default's geometric mean is above 1.05, or it takes more than 15 seconds for the eight
tables.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
from dataclasses import replace

import numpy as np
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import r2_score, roc_auc_score
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from threadpoolctl import threadpool_limits

import table_data
from fastbp import AdamW, estimators, schedules
from fastbp.estimators import TabularClassifier, TabularRegressor, design, presets

AIM, AIM_SECONDS = 1.05, 15.0


def pipeline(classifier, regressor):
    """The usual way to a network: median, standardised; categories one-hot."""

    def make(classes, seed):
        numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
        encoded = make_column_transformer(
            (numbers, make_column_selector(dtype_include="number")),
            (
                OneHotEncoder(handle_unknown="ignore", sparse_output=False),
                make_column_selector(dtype_exclude="number"),
            ),
        )
        return make_pipeline(encoded, (classifier if classes else regressor)(random_state=seed))

    return make


def boosting(classes, seed):
    made = HistGradientBoostingClassifier if classes else HistGradientBoostingRegressor
    return made(random_state=seed)


def pytabkit(classes, seed):
    from pytabkit import RealMLP_TD_S_Classifier, RealMLP_TD_S_Regressor

    made = RealMLP_TD_S_Classifier if classes else RealMLP_TD_S_Regressor
    filled = make_column_transformer(  # of numbers it takes none that is missing
        (SimpleImputer(strategy="median"), make_column_selector(dtype_include="number")),
        remainder="passthrough",
        verbose_feature_names_out=False,
    ).set_output(transform="pandas")
    return make_pipeline(filled, made(random_state=seed, device="cpu", n_threads=1))


def tabular(preset):
    def make(classes, seed):
        made = TabularClassifier if classes else TabularRegressor
        return made(preset, random_state=seed, n_threads=1)

    return make


OTHERS = {
    "boosting": boosting,
    "scikit-learn's MLP": pipeline(MLPClassifier, MLPRegressor),
    "pytabkit's RealMLP-TD-S": pytabkit,
}
OURS = {
    "MLPClassifier, MLPRegressor": pipeline(estimators.MLPClassifier, estimators.MLPRegressor),
    **{name: tabular(name) for name in presets.PRESETS},
}


def error(model, split):
    if split.classes:
        return 1 - roc_auc_score(split.y_test, model.predict_proba(split.X_test)[:, 1])
    return 1 - r2_score(split.y_test, np.ravel(model.predict(split.X_test)))


def measure(make, split, seed):
    """Error, and seconds of the fit."""
    began = time.perf_counter()
    model = make(split.classes, seed).fit(split.X, split.y)
    seconds = time.perf_counter() - began
    return float(error(model, split)), seconds


def compare(sides, names, seeds, rows, told):
    """Of each side and table the mean error and seconds over the seeds."""
    found = {(side, name): [] for side in sides for name in names}
    for seed in seeds:
        for name in names:
            split = table_data.split(name, seed, rows)
            for side, make in sides.items():
                found[side, name].append(measure(make, split, seed))
                told(f"{side}, {name}, seed {seed}: {found[side, name][-1]}")
    return {key: np.mean(values, axis=0) for key, values in found.items()}


def summary(found, sides, names):
    """Of each side the geometric mean of its error over the best of the others', and seconds."""
    others = [side for side in sides if side in OTHERS]
    best = {name: min(found[side, name][0] for side in others) for name in names}
    return {
        side: (
            float(np.exp(np.mean([np.log(found[side, name][0] / best[name]) for name in names]))),
            float(sum(found[side, name][1] for name in names)),
        )
        for side in sides
    }


def show(found, sides, names):
    print(f"| | {' | '.join(sides)} |\n|{'---|' * (len(sides) + 1)}")
    for name in names:
        print(f"| {name} | {' | '.join(f'{found[side, name][0]:.4f}' for side in sides)} |")
    total = summary(found, sides, names)
    print(f"| error / best of the others | {' | '.join(f'{total[s][0]:.3f}' for s in sides)} |")
    print(f"| seconds in all | {' | '.join(f'{total[s][1]:.1f}' for s in sides)} |", flush=True)
    return total


# what the default is made of

DEFAULT = presets.PRESETS["default"]
NO_SCALE = {"scale": False, "rates": {}}
CHANGES = {
    "the default": {},
    "no bins": {"bins": 0},
    "no learned scale": NO_SCALE,
    "neither": {"bins": 0, **NO_SCALE},
    "bins 16": {"bins": 16},
    "bins 48": {"bins": 48},
    "members 1": {"members": 1},
    "members 2": {"members": 2},
    "members 8": {"members": 8},
    "hidden 64": {"hidden": (64,)},
    "hidden 128": {"hidden": (128,)},
    "hidden 32, 32": {"hidden": (32, 32)},
    "hidden 128, 128": {"hidden": (128, 128)},
    "hidden 64, 64, 64": {"hidden": (64, 64, 64)},
    "silu": {"activation": "silu"},
    "mish": {"activation": "mish"},
    "selu": {"activation": "selu"},
    "scale's rate 1": {"rates": {"s*": 1.0}},
    "scale's rate 3": {"rates": {"s*": 3.0}},
    "scale's rate 6": {"rates": {"s*": 6.0}},
    "scale's rate 25": {"rates": {"s*": 25.0}},
    "rate 3e-3": {"optimizer": AdamW(3e-3, weight_decay=0.1)},
    "rate 1e-2": {"optimizer": AdamW(1e-2, weight_decay=0.1)},
    "decay 0.01": {"optimizer": AdamW(6e-3, weight_decay=0.01)},
    "decay 0.3": {"optimizer": AdamW(6e-3, weight_decay=0.3)},
    "beta2 0.99": {"optimizer": AdamW(6e-3, beta2=0.99, weight_decay=0.1)},
    "batches of 32": {"batch_size": 32},
    "batches of 128": {"batch_size": 128},
    "batches of 256": {"batch_size": 256},
    "epochs 30": {"epochs": 30},
    "epochs 100": {"epochs": 100},
    "a constant rate": {"schedule": schedules.Constant()},
    "dropout 0.1": {"dropout": 0.1},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "watched by the metric": {"watched": ("validation_accuracy", "validation_rmse"), "last": True},
}


def changed(change):
    """The default with a change, of classes and of numbers."""
    own = []
    for of, recipe in enumerate(DEFAULT):
        part = {k: v[of] if k == "watched" else v for k, v in change.items()}
        own.append(replace(recipe, **part))
    return tuple(own)


def ablation(text, names, seeds, rows, told):
    """Changes whose titles have one of the texts, beside the default."""
    print("| | error / the default's | seconds | worst table | best table |")
    print("|---|---|---|---|---|")
    plain = None
    for title, change in CHANGES.items():
        if plain is not None and not any(part in title for part in text.split(",")):
            continue
        presets.PRESETS["default"] = changed(change)
        found = compare({title: tabular(None)}, names, seeds, rows, told)
        errors, seconds = np.array([found[title, name] for name in names]).T
        plain = errors if plain is None else plain
        by = errors / plain
        worst, best = int(by.argmax()), int(by.argmin())
        print(
            f"| {title} | {np.exp(np.log(by).mean()):.3f} | {seconds.sum():.1f} | "
            f"{names[worst]} {by[worst]:.3f} | {names[best]} {by[best]:.3f} |",
            flush=True,
        )
    presets.PRESETS["default"] = DEFAULT


def lists():
    """The same networks on an array and on lists, by columns."""
    print("| categories | numbers | nonzeros a row | columns | array, s | lists, s |")
    print("|---|---|---|---|---|---|")
    draws, known = np.random.default_rng(0), design.SPARSE
    for n_columns, n_values, n_numbers in LISTS:
        codes = draws.integers(0, n_values, (4000, n_columns))
        X = {f"c{j}": codes[:, j].astype(str) for j in range(n_columns)}
        X |= {f"x{j}": draws.standard_normal(4000) for j in range(n_numbers)}
        y = draws.standard_normal((n_columns, n_values))[np.arange(n_columns), codes].sum(axis=1)
        seconds = []
        for limit in (np.inf, 0):
            design.SPARSE = limit
            began = time.perf_counter()
            model = TabularRegressor(random_state=0, n_threads=1).fit(X, y)
            seconds.append(time.perf_counter() - began)
        matrix = model._design.transform(X)
        nonzeros = matrix.nnz / matrix.shape[0]
        print(
            f"| {n_columns} of {n_values} | {n_numbers} | {nonzeros:.0f} | {matrix.shape[1]} | "
            f"{seconds[0]:.2f} | {seconds[1]:.2f} |"
        )
    design.SPARSE = known


LISTS = [  # columns of categories, values of each, columns of numbers
    (4, 8, 0), (4, 16, 0), (8, 16, 0), (8, 32, 0), (8, 64, 0), (8, 512, 0), (2, 2000, 0),
    (2, 100, 2), (2, 400, 2), (2, 100, 8), (2, 400, 8), (2, 2000, 8),
]  # fmt: skip


def is_there(side):
    if side not in OTHERS or "pytabkit" not in side:
        return True
    try:
        import pytabkit  # noqa: F401
    except ImportError:
        return False
    return True


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seeds", default="0,1")
    parser.add_argument("--rows", default="6000", help="of training; 'all' among them")
    parser.add_argument("--only", default="", help="tables whose name has this")
    parser.add_argument("--more", action="store_true", help="the other tables")
    parser.add_argument("--sides", default="", help="names, divided by commas")
    parser.add_argument("--ablation", nargs="?", const="", default=None, metavar="TEXT")
    parser.add_argument("--lists", action="store_true", help="arrays beside lists")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # that scikit-learn's fits have not converged
    threadpool_limits(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    seeds = [int(seed) for seed in options.seeds.split(",")]
    numbers = [None if rows == "all" else int(rows) for rows in options.rows.split(",")]
    tables = table_data.MORE if options.more else table_data.TABLES
    names = [name for name in tables if options.only in name]

    def told(line):
        if sys.stderr.isatty():
            print(line, file=sys.stderr)

    if options.lists:
        return lists()
    if options.ablation is not None:
        return ablation(options.ablation, names, seeds, numbers[0], told)
    asked = [side for side in options.sides.split(",") if side]
    sides = {
        side: make
        for side, make in {**OTHERS, **OURS}.items()
        if is_there(side) and (not asked or side in asked or side in OTHERS)
    }
    ok, results = True, []
    for rows in numbers:
        found = compare(sides, names, seeds, rows, told)
        if options.json:
            results += [
                {"rows": rows, "side": side, "table": name, "error": e, "seconds": s}
                for (side, name), (e, s) in found.items()
            ]
            total = summary(found, sides, names)
        else:
            print(f"\n{'all' if rows is None else rows} rows\n")
            total = show(found, sides, names)
        if "default" in total and rows == 6000 and len(names) == len(table_data.TABLES):
            mean, seconds = total["default"]
            ok = ok and mean <= AIM and seconds <= AIM_SECONDS
    if options.json:
        print(json.dumps(results))
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main())
