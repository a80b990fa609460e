"""`History`: what a run of `fit` recorded.

What belongs here: arrays of one value an epoch, by name. What does not: pictures (plotting.py), the
run itself (loop.py).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from fastbp.training.state import State


class History(Mapping[str, np.ndarray]):
    """What a run recorded: arrays of one value an epoch, by name.

    "loss": mean data loss of the epoch's batches, each taken before its update, without penalties;
    "seconds": time from the start; "learning_rate", not with LBFGS; with validation
    "validation_loss", for classes "validation_accuracy", and other metrics with "validation_"
    before their names (NaN for epochs without, where a resumed run changed it). Where no epoch
    ended, the arrays are empty.

    Parameters
    ----------
    earlier : History, optional
        A run whose values this one begins with, copied.

    Attributes
    ----------
    epochs : int
        Epochs that came to an end.
    seconds : float
        Time spent in training, without validation and callbacks; of data in chunks with the time
        that was waited for them.
    samples_per_second : float
        Training samples by `seconds`; NaN where there are none.
    state : State or None
        What ``fit(resume=...)`` goes on from; None where no run has ended, and with LBFGS.
    error : DivergenceError or None
        What ended a run of `fit_many` before its time.

    Examples
    --------
    >>> import fastbp
    >>> net = fastbp.Network([1, 1], output="identity", loss="mse", seed=0)
    >>> history = net.fit([[0.0], [1.0]], [0.0, 1.0], epochs=3, seed=0)
    >>> history.epochs, list(history), history["loss"].shape
    (3, ['loss', 'learning_rate', 'seconds'], (3,))
    """

    def __init__(self, earlier: History | None = None) -> None:
        self._columns: dict[str, list[float]] = {}
        # where a column began later than the run, the epoch it did: no value is not NaN as a value
        self._begun: dict[str, int] = {}
        self.seconds = 0.0
        self.samples = 0
        self.state: State | None = None
        self.error: ArithmeticError | None = None
        if earlier is None:
            return
        if not isinstance(earlier, History):
            raise TypeError(f"earlier: expected a History or None; got {type(earlier).__name__}")
        self._columns = {name: list(values) for name, values in earlier._columns.items()}
        self._begun = dict(earlier._begun)
        self.seconds, self.samples = earlier.seconds, earlier.samples

    def begin(self, names: Iterable[str]) -> None:
        """Have columns of these names, "loss" first, also where no epoch comes to an end.

        Parameters
        ----------
        names : iterable of str
            Of columns, empty until `extend` adds to them.
        """
        if self._columns:
            self.extend(**{name: [] for name in names})
            return
        for name in names:
            self._columns[name] = []

    def extend(self, **values: list[float]) -> None:
        """Add epochs, "loss" first, which every epoch has, or to the last epochs what is new.

        Parameters
        ----------
        **values : list of float
            By name of the column, one value an epoch.
        """
        columns = self._columns
        for name, more in values.items():
            if (column := columns.get(name)) is None:
                column = columns[name] = []
            # of "loss" itself none
            missing = len(columns.get("loss", ())) - len(more) - len(column)
            if missing > 0:
                if not column:
                    self._begun[name] = missing
                column += [math.nan] * missing
            column += more

    def amend(self, name: str, value: float) -> None:
        """Give the last epoch another value.

        Parameters
        ----------
        name : str
            Of a column.
        value : float
            What stands in the place of its last value.
        """
        self._columns[name][-1] = value

    def __getitem__(self, name: str) -> np.ndarray:
        column = self._columns[name]
        return np.array(column + [math.nan] * (self.epochs - len(column)))

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __iter__(self) -> Iterator[str]:
        return iter(self._columns)

    def __len__(self) -> int:
        return len(self._columns)

    def __repr__(self) -> str:
        return f"History({self.epochs} epochs: {self.in_words()})"

    def _repr_html_(self) -> str:
        import html

        rows = "".join(
            f"<tr><td>{html.escape(name)}</td>"
            + "".join(f"<td>{value:.4g}</td>" for value in _first_last_least_greatest(values))
            + "</tr>"
            for name, values in self.items()
        )
        speed = f", {self.samples_per_second:,.0f} samples a second" if self.seconds else ""
        return (
            "<table><thead><tr><th>by epoch</th><th>first</th><th>last</th><th>least</th>"
            f"<th>greatest</th></tr></thead><tbody>{rows}</tbody><tfoot><tr><td colspan=5>"
            f"{self.epochs} epochs, {self.seconds:.3g} s{speed}</td></tr></tfoot></table>"
        )

    def began(self, name: str) -> int:
        """The first epoch that such a value was recorded in; one to come where none was.

        Parameters
        ----------
        name : str
            Of a column, there or not.

        Returns
        -------
        int
            Counted from 0.
        """
        return self._begun.get(name, 0) if name in self._columns else self.epochs

    def latest(self, name: str) -> float:
        """Value of the last epoch.

        Parameters
        ----------
        name : str
            Of a column.

        Returns
        -------
        float
            NaN where the last epoch has none.
        """
        column = self._columns.get(name, [])
        return column[-1] if column and len(column) == self.epochs else math.nan

    def last(self, name: str, n: int) -> list[float]:
        """Give the values of the last n epochs, which all have one.

        Parameters
        ----------
        name : str
            Of a column.
        n : int
            How many epochs, at least 1.

        Returns
        -------
        list of float
            The last epoch's last.
        """
        return self._columns[name][-n:]

    def in_words(self) -> str:
        """The values of the last epoch, in words; before the first none.

        Returns
        -------
        str
            As "loss 0.25, learning_rate 0.001".
        """
        values = {name: self.latest(name) for name in self._columns} if self.epochs else {}
        return ", ".join(f"{name} {value:.4g}" for name, value in values.items())

    @property
    def epochs(self) -> int:
        """Epochs recorded."""
        return len(self._columns.get("loss", ()))

    @property
    def samples_per_second(self) -> float:
        """Training samples a second."""
        return self.samples / self.seconds if self.seconds else math.nan

    def to_dict(self) -> dict[str, list[float | None]]:
        """The arrays as lists; JSON-able.

        Returns
        -------
        dict of str: list of float or None
            By name; None where a value is NaN.
        """
        return {
            name: [None if math.isnan(value) else value for value in values.tolist()]
            for name, values in self.items()
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the curves (needs fastbp's extra ``plot``).

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            What is drawn in; a new figure's when None.

        Returns
        -------
        matplotlib.axes.Axes
            With a curve for each value that was recorded.

        Raises
        ------
        ImportError
            matplotlib is missing.
        """
        from fastbp import plotting

        return plotting.history(self, ax)


def _first_last_least_greatest(values: np.ndarray) -> list[float]:
    known = values[~np.isnan(values)]
    if not known.size:
        return [math.nan] * 4
    return [float(known[0]), float(values[-1]), float(known.min()), float(known.max())]
