"""Pictures. What belongs here: matplotlib, imported where it is used and nowhere else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import hints

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D


def pyplot() -> ModuleType:
    try:
        from matplotlib import pyplot
    except ImportError as error:
        raise hints.missing("plots need", "matplotlib", "plot") from error
    return pyplot


def new_axes() -> Axes:
    return pyplot().subplots(layout="constrained")[1]  # which leaves room for labels and legend


def _legend(ax: Axes, lines: Sequence[Line2D]) -> None:
    """Above the axes: no curve is under it, those of a second y axis included."""
    if not lines:
        return
    columns = min(len(lines), 3)
    ax.legend(
        handles=lines,
        loc="lower center",
        bbox_to_anchor=(0.5, 1.0),
        borderaxespad=0.2,
        ncols=columns,
        frameon=False,
    )
    if ax.get_title():  # of axes that were given
        ax.set_title(ax.get_title(), pad=6 + 18 * -(-len(lines) // columns))


def delta_norms(norms: np.ndarray, ax: Axes | None = None) -> Axes:
    """Draw the norm of delta by epoch, a curve a layer (records, layers); returns the Axes."""
    ax = new_axes() if ax is None else ax
    for layer, column in enumerate(norms.T, 1):
        ax.semilogy(column, label=f"layer {layer}")
    ax.set_xlabel("record")
    ax.set_ylabel("norm of the mean of delta")
    _legend(ax, ax.lines)
    return ax


def history(run: Mapping[str, np.ndarray], ax: Axes | None = None) -> Axes:
    """Draw losses by epoch, and accuracy on a second axis where there is one; returns the Axes."""
    ax = new_axes() if ax is None else ax
    epochs = range(1, len(run["loss"]) + 1)
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
    _legend(ax, lines)
    return ax


class LossCurveDisplay:
    """Training loss, and validation scores where there are some, of a fitted estimator.

    Parameters
    ----------
    loss_curve : sequence of float
        The training loss of each epoch.
    validation_scores : sequence of float, optional
        The score of each epoch, drawn on a second axis.
    name : str, optional
        What the legend calls the loss.

    Attributes
    ----------
    ax_, figure_ : matplotlib.axes.Axes, matplotlib.figure.Figure
        Where it was drawn.
    lines_ : list
        The loss, then the scores.

    Examples
    --------
    >>> LossCurveDisplay([1.0, 0.5], name="model").name
    'model'
    """

    def __init__(
        self,
        loss_curve: Sequence[float],
        *,
        validation_scores: Sequence[float] | None = None,
        name: str | None = None,
    ) -> None:
        self.loss_curve, self.validation_scores, self.name = loss_curve, validation_scores, name

    @classmethod
    def from_estimator(
        cls, estimator: object, *, ax: Axes | None = None, name: str | None = None, **line: object
    ) -> LossCurveDisplay:
        """Draw the curves of a fitted MLPClassifier or MLPRegressor.

        Parameters
        ----------
        estimator : object with loss_curve_
            Fitted by a stochastic solver.
        ax : matplotlib.axes.Axes, optional
            What is drawn in; a new figure's when None.
        name : str, optional
            In the legend; the estimator's class unless told otherwise.
        **line : as in matplotlib's `plot`
            For the line of the loss.

        Returns
        -------
        LossCurveDisplay
            Drawn already.

        Raises
        ------
        ValueError
            The estimator has no `loss_curve_`.
        ImportError
            matplotlib is missing.
        """
        curve = getattr(estimator, "loss_curve_", None)
        if curve is None:
            raise ValueError(
                "estimator: expected one fitted with a stochastic solver, which has loss_curve_; "
                f"got {estimator!r}"
            )
        scores = getattr(estimator, "validation_scores_", None)
        name = type(estimator).__name__ if name is None else name
        options: dict[str, Any] = line
        return cls(curve, validation_scores=scores, name=name).plot(ax=ax, **options)

    def plot(
        self, *, ax: Axes | None = None, name: str | None = None, **line: object
    ) -> LossCurveDisplay:
        """Draw the loss, and the scores on a second axis where there are some.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            What is drawn in; a new figure's when None.
        name : str, optional
            In the legend; that of the constructor unless told otherwise.
        **line : as in matplotlib's `plot`
            For the line of the loss.

        Returns
        -------
        LossCurveDisplay
            Itself, with `ax_`, `figure_` and `lines_`.

        Raises
        ------
        ImportError
            matplotlib is missing.
        """
        ax = new_axes() if ax is None else ax
        name = self.name if name is None else name
        options: dict[str, Any] = {"label": "training loss" if name is None else name} | line
        self.lines_ = ax.plot(range(1, len(self.loss_curve) + 1), self.loss_curve, **options)
        ax.set_xlabel("epoch")
        ax.set_ylabel("training loss")
        if self.validation_scores is not None:
            right = ax.twinx()
            epochs = range(1, len(self.validation_scores) + 1)
            self.lines_ += right.plot(epochs, self.validation_scores, "C2", label="validation")
            right.set_ylabel("validation score")
        _legend(ax, self.lines_)
        self.ax_, self.figure_ = ax, ax.figure
        return self
