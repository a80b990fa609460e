"""`OnlineTrainer`: steps of one sample, or of a batch whose derivative somebody else has.

What belongs here: an optimizer's state between calls. What does not: plain SGD, which has none
(fastbp/one_sample.py), the step itself (kernels/doors/online.pxi).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from fastbp import inputs
from fastbp.inputs import ArrayLike
from fastbp.network import Network, as_network
from fastbp.optimizers import LBFGS, Adam, Optimizer
from fastbp.training.driver import DivergenceError, check_fit
from fastbp.training.request import as_clipping, as_optimizer


@inputs.named
class OnlineTrainer:
    """Trains a network step by step, for whoever has the samples or the loop himself.

    Parameters
    ----------
    net : Network
        Trained in place; its parameters may be written between steps.
    optimizer : of fastbp.optimizers, or its name
        Adam() when None. Its state is kept here, beside the network.
    clip_value, clip_norm : float, optional
        As in `Network.fit`.

    Attributes
    ----------
    net : Network
        The one that was given, trained so far.
    optimizer : Optimizer
        With its numbers.
    step : int
        Steps made.
    slots : ndarray (slots, n_parameters)
        A copy of what the optimizer keeps.

    Notes
    -----
    A trainer belongs to one thread. It can be copied and pickled, with its network.

    Examples
    --------
    >>> import fastbp, numpy as np
    >>> net = fastbp.Network([2, 8, 1], activation="tanh", output="identity", loss="mse", seed=0)
    >>> trainer = fastbp.OnlineTrainer(net, fastbp.Adam(0.01))
    >>> rng = np.random.default_rng(0)
    >>> for x in rng.uniform(-1, 1, (2000, 2)).astype("float32"):
    ...     loss = trainer.learn_one(x, float(x[0] - x[1]))
    >>> bool(abs(net.predict_one([0.5, 0.25])[0] - 0.25) < 0.1)
    True
    """

    def __init__(
        self,
        net: Network,
        optimizer: Optimizer | str | None = None,
        *,
        clip_value: float | None = None,
        clip_norm: float | None = None,
    ) -> None:
        self._net = as_network(net)
        known = as_optimizer(Adam() if optimizer is None else optimizer, "optimizer")
        if isinstance(known, LBFGS):
            raise ValueError("optimizer: expected one of single steps; got LBFGS, which has none")
        self._optimizer: Optimizer = known
        self._numbers = {**known.numbers, "l2": 0.0, "l1": 0.0}
        self._numbers |= as_clipping(clip_value, clip_norm)
        check_fit(self._numbers, net.dtype)
        self._stand(None, 0)

    def _stand(self, slots: np.ndarray | None, step: int, most: int = 1) -> None:
        """Have an engine for batches of up to `most` rows, which stands after so many steps.

        `slots`: what the optimizer keeps; as it begins when None.
        """
        net, doors = self.net, self.net._doors
        self._trainer = doors.Trainer(
            net._compiled, self.optimizer.policy, self._numbers, most, most, 1, False, 0, None, True
        )
        if slots is None:
            shape = self._trainer.n_slots, net.n_parameters
            slots = np.full(shape, self.optimizer.initial_slot, net.dtype)
        doors.load_state(self._trainer, net.parameters, slots)
        self._trainer.position = (0, 0, step, 0.0, 0.0)
        self._most = most
        self._stepper = doors.Stepper(*net._of_samples, self._trainer)

    @property
    def net(self) -> Network:
        """The network that is trained."""
        return self._net

    @property
    def optimizer(self) -> Optimizer:
        """What makes the steps; another one takes a trainer of its own."""
        return self._optimizer

    @property
    def step(self) -> int:
        """Steps made."""
        return int(self._trainer.position[2])

    @property
    def slots(self) -> np.ndarray:
        """A copy of what the optimizer keeps, (slots, n_parameters)."""
        slots = np.empty((self._trainer.n_slots, self.net.n_parameters), self.net.dtype)
        self.net._doors.store_state(self._trainer, np.empty_like(self.net.parameters), slots)
        return slots

    def learn_one(self, x: ArrayLike, y: ArrayLike) -> float:
        """One step on one sample.

        Parameters
        ----------
        x : array_like (n_0,)
            An ndarray of the network's dtype needs no conversion.
        y : int, float or array_like (n_L,)
            A class index, the target of a single output, or all targets.

        Returns
        -------
        float
            C of the sample, before the step.

        Raises
        ------
        DivergenceError
            The loss, a parameter or the optimizer's state would be NaN or infinite; network and
            trainer are as they were.

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> net = fastbp.Network([1, 1], output="identity", loss="mse", init="zeros")
        >>> trainer = fastbp.OnlineTrainer(net, fastbp.SGD(0.25, momentum=0.5))
        >>> x = np.ones(1, np.float32)
        >>> [trainer.learn_one(x, 1.0) for _ in range(3)], trainer.step
        ([1.0, 0.0, 0.25], 3)
        """
        loss: float | None = self._stepper.learn(x, y, 0.0)
        if loss is None:
            loss = self._stepper.learn(*self.net._one(x, y), 0.0)
            if loss is None:
                raise self._diverged()
        return loss

    def learn_many(self, X: ArrayLike, Y: ArrayLike) -> float:
        """One step on a batch: the mean of its samples' gradients.

        Parameters
        ----------
        X : array_like (m, n_0)
            The rows of the batch; as many as there are this time.
        Y : array_like
            Class indices (m,), or targets (m, n_L); for one output also targets (m,).

        Returns
        -------
        float
            The mean C of the samples, before the step.

        Raises
        ------
        DivergenceError
            As in `learn_one`.

        Examples
        --------
        >>> import fastbp
        >>> net = fastbp.Network([1, 1], output="identity", loss="mse", init="zeros")
        >>> trainer = fastbp.OnlineTrainer(net, fastbp.SGD(0.25))
        >>> trainer.learn_many([[1.0], [-1.0]], [1.0, -1.0]), net.weights[0].item()
        (1.0, 0.5)
        """
        X = self._rows(X)
        loss: float | None = self._stepper.learn_many(X, *self.net._targets(Y, len(X)))
        if loss is None:
            raise self._diverged()
        return loss

    def vjp_step(self, X: ArrayLike, V: ArrayLike) -> None:
        """One step with the derivative of a loss of your own: of a policy, of a part of a model.

        Parameters
        ----------
        X : array_like (m, n_0)
            The rows that V is the derivative at.
        V : array_like (m, n_L)
            d loss / d a^L of the rows, weights and 1/m included; what is to grow has V < 0.

        Raises
        ------
        DivergenceError
            A parameter or the optimizer's state would be NaN or infinite; network and trainer are
            as they were.

        Examples
        --------
        >>> import fastbp, numpy as np
        >>> net = fastbp.Network([1, 1], output="identity", loss="mse", init="zeros")
        >>> trainer = fastbp.OnlineTrainer(net, fastbp.SGD(0.5))
        >>> trainer.vjp_step([[2.0]], [[-1.0]])
        >>> net.weights[0], net.biases[0]
        (array([[1.]], dtype=float32), array([0.5], dtype=float32))
        """
        done: bool | None = self._stepper.pull(X, V)
        if done is None:
            X = self._rows(X)
            V = inputs.as_matrix(V, "V", self.net.sizes[-1], self.net.dtype)
            inputs.check_rows(V, "V", len(X))
            done = self._stepper.pull(X, V)
        if not done:
            inputs.as_numbers(X, "X", self.net.dtype)
            inputs.as_numbers(V, "V", self.net.dtype)
            raise self._diverged()

    def _rows(self, X: ArrayLike) -> np.ndarray:
        """X checked, and an engine for as many rows."""
        rows = self.net._ready(X)
        if not isinstance(rows, np.ndarray):
            raise TypeError("X: expected a dense array; got a sparse one")
        if len(rows) > self._most:
            self._stand(self.slots, self.step, len(rows))
        return rows

    def _diverged(self) -> DivergenceError:
        inputs.as_numbers(self.net.parameters, "parameters", self.net.dtype)
        return DivergenceError(self.step, 0, self._numbers["learning_rate"])

    def __getstate__(self) -> dict[str, Any]:
        engine = ("_trainer", "_stepper")
        state = {name: value for name, value in self.__dict__.items() if name not in engine}
        return state | {"slots": self.slots, "step": self.step}

    def __setstate__(self, state: dict[str, Any]) -> None:
        slots, step = state.pop("slots"), state.pop("step")
        self.__dict__.update(state)
        self._stand(slots, step)
