"""One sample at a time: a network's `predict_one` and `learn_one`.

What belongs here: rows that come one by one, and what is refused of them. What does not: optimizers
that keep a state (training/online.py), the step itself (kernels/doors/online.pxi).
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from fastbp import inputs
from fastbp.inputs import ArrayLike, Rows
from fastbp.questions import Questions

if TYPE_CHECKING:
    from fastbp.kernels.engine import Learner

_ALLOWED = {"in [0, 1]": 1, "at least 0": 2, "-1 or 1": 3}  # doors/online.pxi: AllowedTargets


class OneSample(Questions):
    """What a network does with single rows. Plain ones, arrays of its dtype, take the short way."""

    if TYPE_CHECKING:  # network.py has it

        def predict(self, X: Rows) -> np.ndarray: ...

    def predict_one(self, x: ArrayLike) -> np.ndarray:
        """Output a^L of one row.

        Parameters
        ----------
        x : array_like (n_0,)
            An ndarray of the network's dtype needs no conversion. Of a frame's row the columns are
            found by name, as `predict` finds a frame's.

        Returns
        -------
        ndarray (n_L,)
            As `predict` gives the row, without the axis of samples.

        Raises
        ------
        TypeError, ValueError
            `x` is no row of n_0 finite numbers.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([2, 1], output="identity", loss="mse", init="zeros")
        >>> net.predict_one([1.0, 2.0])
        array([0.], dtype=float32)
        """
        result = self._predictor.predict_one(x)
        if result is None:
            row = self._row(x)
            result = self._predictor.predict_one(row)
            if result is None:  # too large for its stack, or not finite
                result = self.predict(row[None])[0]
        return result

    def learn_one(self, x: ArrayLike, y: ArrayLike, learning_rate: float = 0.01) -> float:
        """One step of plain SGD on one sample: what `fit` of that sample alone would do.

        Parameters
        ----------
        x : array_like (n_0,)
            An ndarray of the network's dtype needs no conversion.
        y : int, float or array_like (n_L,)
            A class index, the target of a single output, or all targets.
        learning_rate : float
            Eta, how far the step goes along the negative gradient; at least 0.

        Returns
        -------
        float
            C of the sample, before the step.

        Raises
        ------
        ArithmeticError
            The loss or a step is NaN or infinite; the network is as it was.

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> net = fastbp.Network([1, 1], output="identity", loss="mse", init="zeros")
        >>> x = np.ones(1, np.float32)
        >>> [net.learn_one(x, 1.0, 0.25) for _ in range(3)]
        [1.0, 0.0, 0.0]
        >>> net.weights[0]
        array([[0.5]], dtype=float32)
        """
        loss: float | None = self._learner.learn(x, y, learning_rate)
        if loss is None:
            rate = inputs.as_penalty(learning_rate, "learning_rate")
            loss = self._learner.learn(*self._one(x, y), rate)
            if loss is None:
                raise ArithmeticError(
                    f"learn_one: the loss or a step with learning rate {rate:g} is NaN or "
                    "infinite; the network is as it was"
                )
        return loss

    @cached_property
    def _learner(self) -> Learner:
        return self._doors.Learner(*self._of_samples)

    @property
    def _of_samples(self) -> tuple[Any, np.ndarray, int, type]:
        """What an engine's door for single samples is made of."""
        allowed = _ALLOWED.get(self._loss.targets, 0)
        return self._compiled, self._parameters, allowed, np.generic

    def _row(self, x: ArrayLike) -> np.ndarray:
        """x as a row that needs no conversion, and the parameters checked."""
        if type(x) is not np.ndarray and (columns := self.columns):
            from fastbp.tabular.names import row_by_name

            x = row_by_name(x, "x", columns)
        row = inputs.as_numbers(x, "x", self._dtype)
        if row.shape != (self._sizes[0],):
            raise ValueError(f"x: expected shape ({self._sizes[0]},); got shape {row.shape}")
        if not self._doors.is_finite(self._parameters):
            inputs.as_numbers(self._parameters, "parameters", self._dtype)
        return row

    def _one(self, x: ArrayLike, y: ArrayLike) -> tuple[np.ndarray, Any]:
        """A sample, as the short way takes it."""
        row = self._row(x)
        target = inputs.as_array(y, "y")
        if target.shape not in ((), (self._n_targets,)):
            raise ValueError(
                f"y: expected one sample's, shape () or ({self._n_targets},); got shape "
                f"{target.shape}"
            )
        try:
            dense, labels = self._targets(target[None], 1)
        except (TypeError, ValueError) as error:
            told = str(error)
            raise type(error)(f"y{told[1:]}" if told.startswith("Y") else told) from None
        if labels is not None:
            return row, int(labels[0])
        assert dense is not None
        return row, dense[0]
