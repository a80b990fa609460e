"""Pictures of what the checks found.

What belongs here: matplotlib, imported where it is used and nowhere else. What does not: training
histories (fastbp/plotting.py), numbers that are not in a result already.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp.plotting import new_axes, pyplot

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

    from fastbp.check.gradients.taylor import DirectionCheck
    from fastbp.check.judging import Points

MOST_NAMED = 10  # terms that a legend names


def _count_on(*axes: Axis) -> None:
    """Have ticks at whole numbers alone."""
    for axis in axes:
        locator: Any = axis.get_major_locator()
        locator.set_params(integer=True)


def heat_map(J: np.ndarray, title: str, ax: Axes | None = None) -> Axes:
    """Draw a Jacobian; returns the Axes."""
    ax = new_axes() if ax is None else ax
    n_a, n_z = J.shape
    finite = np.abs(J[np.isfinite(J)])
    top = float(finite.max(initial=0.0)) or 1.0
    edges = (0.5, n_z + 0.5, n_a + 0.5, 0.5)
    image = ax.imshow(J, cmap="RdBu_r", vmin=-top, vmax=top, extent=edges, aspect="auto")
    ax.figure.colorbar(image, ax=ax)
    _count_on(ax.xaxis, ax.yaxis)
    ax.set_xlabel("j")
    ax.set_ylabel("k")
    ax.set_title(title)
    return ax


def terms(
    terms: np.ndarray,
    measured: np.ndarray,
    claimed: np.ndarray | None,
    claimant: str,
    J: np.ndarray,
    title: str,
    ax: Axes | None = None,
) -> Axes | Figure:
    """Draw the terms [k, j] of each delta_j as stacked bars and, beside them, the Jacobian.

    measured: dC/dz_j from values of C; claimed: delta_j by `claimant`. Returns the Figure; where an
    Axes is given, it takes the bars alone and is returned.
    """
    right = None
    if ax is not None:
        bars = ax
    else:
        figure, (bars, right) = pyplot().subplots(1, 2, figsize=(10, 4), layout="constrained")
    j = np.arange(1, len(measured) + 1)
    up, down = np.zeros(len(j)), np.zeros(len(j))
    for k, row in enumerate(np.where(np.isfinite(terms), terms, 0.0), 1):
        bars.bar(j, row, bottom=np.where(row > 0, up, down), label=f"k = {k}")
        up += np.maximum(row, 0)
        down += np.minimum(row, 0)
    bars.plot(j, measured, "k_", markersize=18, label="dC/dz_j")
    if claimed is not None:
        bars.plot(j, claimed, "kx", label=claimant)
    bars.axhline(0, color="black", linewidth=0.8)
    _count_on(bars.xaxis)
    bars.set_xlabel("neuron j")
    bars.set_ylabel("dC/da_k da_k/dz_j")
    bars.set_title(title)
    named = len(terms) <= MOST_NAMED
    if right is None:
        if named:
            bars.legend()
        return bars
    if named:  # beside the axes: many bars leave no room within
        figure.legend(loc="outside right upper")
    heat_map(J, "da_k/dz_j", right)
    return figure


def norms(by_formula: Sequence[float], by_engine: Sequence[float], ax: Axes | None = None) -> Axes:
    """Draw ||delta^l|| by layer on a logarithmic scale; returns the Axes."""
    ax = new_axes() if ax is None else ax
    layers = np.arange(1, len(by_formula) + 1)
    ax.plot(layers, by_formula, "o-", label="formula")
    ax.plot(layers, by_engine, "x", label="engine")
    if any(norm > 0 for norm in by_formula):
        ax.set_yscale("log")
    _count_on(ax.xaxis)
    ax.set_xlabel("layer l")
    ax.set_ylabel("||delta^l||")
    ax.legend()
    return ax


def points(found: Points, names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Draw every checked gradient against its slope, with the slope's error bound; the Axes."""
    from fastbp.check.judging import FAIL, INCONCLUSIVE

    ax = new_axes() if ax is None else ax
    for place, name in enumerate(names):
        at = (found.tensor == place) & np.isfinite(found.numeric) & np.isfinite(found.analytic)
        sure = at & (found.status != INCONCLUSIVE)
        bound = np.where(np.isfinite(found.bound), found.bound, 0.0)[sure]
        ax.errorbar(
            found.numeric[sure], found.analytic[sure], xerr=bound, fmt=".", label=name, alpha=0.7
        )
    wrong = (found.status == FAIL) & np.isfinite(found.numeric) & np.isfinite(found.analytic)
    if wrong.any():
        ax.plot(found.numeric[wrong], found.analytic[wrong], "rx", label="FAIL", zorder=3)
    ax.axline((0.0, 0.0), slope=1.0, color="0.6", linewidth=0.8, zorder=0)
    ax.set_xlabel("slope, by differences")
    ax.set_ylabel("gradient")
    if len(names):
        ax.legend()
    return ax


def remainders(found: Sequence[DirectionCheck], ax: Axes | None = None) -> Axes:
    """Draw the Taylor remainder of each direction by step, beside h and h^2; the Axes."""
    ax = new_axes() if ax is None else ax
    for direction in found:
        steps, values = np.array(direction.steps), np.array(direction.remainders)
        shown = np.isfinite(values) & (values > 0)
        if shown.any():
            ax.loglog(
                steps[shown], values[shown], ".-", label=f"{direction.name}: {direction.status}"
            )
    if ax.lines:
        steps = np.array(found[0].steps)
        top = max(float(np.max(line.get_ydata())) for line in ax.lines)
        for power, style in ((1, ":"), (2, "--")):
            label = "h" if power == 1 else "h^2"
            scale = top / steps[0] ** power
            ax.loglog(steps, scale * steps**power, style, color="0.6", label=label)
        ax.legend()
    ax.set_xlabel("step h")
    ax.set_ylabel("Taylor remainder")
    return ax
