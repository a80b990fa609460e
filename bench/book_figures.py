"""Pictures of the book's experiments: what was published beside ours.

What belongs here: matplotlib. What does not: runs and their numbers (book.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

matplotlib.use("Agg")

OURS = {"color": "C0", "linewidth": 1.0}
PUBLISHED = {"color": "C1", "linewidth": 4.0, "alpha": 0.4}
MOST_COLUMNS = 4


def draw(
    rows: Iterable[Any],
    experiments: Mapping[str, Any],
    published: Callable[[str], dict[str, list[float]]],
    folder: Path,
) -> list[Path]:
    """Write a picture for each chapter that has rows; returns the files."""
    panels: dict[int, list[Callable[[Any], None]]] = {}
    for row in rows:
        e = experiments.get(row.name)
        if e is not None:
            theirs = published(row.name)
            keys = list(theirs) or ["accuracy"]
            for key in keys:
                panels.setdefault(e.chapter, []).append(
                    lambda ax, row=row, key=key, theirs=theirs: _curve(ax, row, key, theirs)
                )
        elif row.curves:
            panels.setdefault(5, []).append(lambda ax, row=row: _starts(ax, row.curves[:-1]))
            panels[5].append(lambda ax, row=row: _norms(ax, row.curves[-1]))
    return [_written(chapter, drawn, folder) for chapter, drawn in sorted(panels.items())]


def _written(chapter: int, panels: list[Callable[[Any], None]], folder: Path) -> Path:
    columns = min(len(panels), MOST_COLUMNS)
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(4.2 * columns, 3.2 * lines), layout="constrained")
    axes = np.ravel(figure.subplots(lines, columns, squeeze=False))
    for ax, panel in zip(axes, panels, strict=False):
        panel(ax)
        ax.grid(alpha=0.3)
    for ax in axes[len(panels) :]:
        ax.remove()
    path = folder / f"chapter{chapter}.png"
    figure.savefig(path, dpi=110)
    return path


def _curve(ax: Any, row: Any, key: str, theirs: dict[str, list[float]]) -> None:
    """One value by epoch; without a published curve, the published accuracies as lines."""
    if key in theirs:
        ax.plot(range(1, len(theirs[key]) + 1), theirs[key], label="published", **PUBLISHED)
    else:
        for value in row.published:
            ax.axhline(value, label="published", **PUBLISHED)
    for curve in row.curves:
        ax.plot(range(1, len(curve[key]) + 1), curve[key], label="fastbp", **OURS)
    ax.set_title(row.name)
    ax.set_xlabel("epoch")
    ax.set_ylabel("accuracy, %" if key == "accuracy" else key.replace("_", " "))
    _legend(ax)


def _starts(ax: Any, networks: list[dict[str, list[float]]]) -> None:
    for network in networks:
        for label, style in (("published", PUBLISHED), ("ours", OURS)):
            values = network[label]
            name = "fastbp" if label == "ours" else label
            ax.semilogy(range(1, len(values) + 1), values, "o-", label=name, **style)
    ax.set_title("at the start: 2, 3 and 4 hidden layers")
    ax.set_xlabel("hidden layer")
    ax.set_ylabel("norm of the mean of delta")
    _legend(ax)


def _norms(ax: Any, curves: dict[str, list[float]]) -> None:
    from fastbp import plotting

    plotting.delta_norms(np.transpose(list(curves.values())), ax)
    ax.set_title("784-30-30-30-30-10 in training")
    ax.set_xlabel("epoch")


def _legend(ax: Any) -> None:
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(*zip(*dict(zip(labels, zip(handles, labels, strict=True), strict=True)).values(),
                   strict=True))  # fmt: skip
