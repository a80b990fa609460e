"""Pictures. What belongs here: matplotlib, imported where it is used and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastbp.history import History


def _new_axes() -> Any:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise ImportError("plots need matplotlib: pip install 'fastbp[plot]'") from error
    return pyplot.subplots()[1]


def delta_norms(norms: Any, ax: Any = None) -> Any:
    """Draw the norm of delta by epoch, a curve a layer (records, layers); returns the Axes."""
    ax = _new_axes() if ax is None else ax
    for layer, column in enumerate(norms.T, 1):
        ax.semilogy(column, label=f"layer {layer}")
    ax.set_xlabel("record")
    ax.set_ylabel("norm of the mean of delta")
    ax.legend()
    return ax


def history(run: History, ax: Any = None) -> Any:
    """Draw losses by epoch, and accuracy on a second axis where there is one; returns the Axes."""
    ax = _new_axes() if ax is None else ax
    epochs = range(1, run.epochs + 1)
    ax.plot(epochs, run["loss"], label="training loss")
    if "validation_loss" in run:
        ax.plot(epochs, run["validation_loss"], label="validation loss")
    ax.set_xlabel("epoch")
    ax.set_ylabel("loss")
    lines = list(ax.lines)
    if "validation_accuracy" in run:
        right = ax.twinx()
        right.plot(epochs, run["validation_accuracy"], "C2", label="validation accuracy")
        right.set_ylabel("accuracy")
        lines += list(right.lines)
    ax.legend(handles=lines)
    return ax
