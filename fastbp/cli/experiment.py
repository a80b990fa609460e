"""One network, its data, and the scaling between them: what `fastbp train` trains by options.

What belongs here: the choices that a user left open, the scaling and its folding into the network.
What does not: what is printed and saved (train.py), options (options.py), training (training/).
"""

from __future__ import annotations

import argparse
import sys
from typing import Any, TextIO

import numpy as np

import fastbp
from fastbp import functions
from fastbp.cli.output import fail, progress_bar, say
from fastbp.cli.report import dense, worst_fitted
from fastbp.cli.scores import kind, scores
from fastbp.cli.targets import Standardised, begin_at_mean
from fastbp.datasets import Dataset
from fastbp.datasets.dataset import Array
from fastbp.datasets.scaling import Scaling
from fastbp.datasets.splitting import Parts
from fastbp.metrics import decide
from fastbp.optimizers import OPTIMIZERS
from fastbp.tabular import Columns, Encoder
from fastbp.training.reduce import Ranks

# The loss that goes with an output activation of classes.
LOSSES = {"softmax": "cross_entropy", "sigmoid": "binary_cross_entropy"}
LEAST_DEVIATION, MOST = 0.1, 10.0  # of targets that a network learns as they are


class Experiment:
    """A network, its data, and the scaling between them.

    `encoder`: made the data's X, which may be sparse, of a table; `remembered`: of that, what
    `predict` needs to know.
    """

    def __init__(
        self,
        options: argparse.Namespace,
        data: Dataset,
        parts: Parts,
        encoder: Encoder | None = None,
        remembered: dict[str, Any] | None = None,
    ):
        self.options, self.data, self.parts, self.encoder = options, data, parts, encoder
        self.remembered = remembered or {}
        self.epochs: list[dict[str, Any]] = []
        Y = parts.train[1]
        self.sizes = self._sizes(data.X.shape[1], 1 if Y.ndim == 1 else Y.shape[1])
        self.output, self.loss = self._output_and_loss()
        hidden = [name.strip() for name in options.activation.split(",")]
        rectified = all(functions.activation(name).rectifier for name in hidden)
        self.init = options.init or ("he_normal" if rectified else "glorot_uniform")
        self.input_scaling = self._input_scaling(parts.train[0])
        self.targets = self._standardised(parts.train[1])
        self.net = fastbp.Network(
            self.sizes,
            activation=hidden if len(hidden) > 1 else options.activation,
            output=self.output,
            loss=self.loss if self.targets is None else self.targets.loss,
            dtype=options.dtype,
            init=self.init,
            seed=options.seed,
        )
        if data.classes is None and self.targets is None and not options.no_scaling:
            self._warn_of_targets(Y.reshape(len(Y), -1))
            begin_at_mean(self.net, Y.reshape(len(Y), -1))

    def _sizes(self, n_inputs: int, n_targets: int) -> list[int]:
        sizes = self.options.sizes or self.options.hidden or [None, 30, None]
        classes = self.data.classes
        n_outputs = n_targets if classes is None else len(classes)
        if self.options.loss:  # a mean and the logarithm of a variance for each target, it may be
            n_outputs *= functions.loss(self.options.loss).outputs_per_target
        full = [sizes[0] or n_inputs, *sizes[1:-1], sizes[-1] or n_outputs]
        single = full[-1] == 1 and classes is not None and n_outputs == 2
        if full[0] != n_inputs or (full[-1] != n_outputs and not single):
            found = f"{n_outputs} {'target(s)' if classes is None else 'classes'}"
            raise ValueError(
                f"--sizes: {self.data.name} has {n_inputs} inputs and {found}, which asks for "
                f"{n_inputs},...,{n_outputs}; found {','.join(map(str, full))}"
            )
        return full

    def _output_and_loss(self) -> tuple[str, str]:
        output, loss = self.options.output, self.options.loss
        if self.data.classes is None:
            usual, usual_loss = "identity", "mse"
        else:
            usual = "sigmoid" if self.sizes[-1] == 1 else "softmax"
            usual_loss = LOSSES.get(output or usual, "mse")
        fitting = (functions.loss(loss).output if loss else None) or usual
        if self.sizes[-1] == 1 and fitting == "softmax":  # which is always 1
            fitting = "sigmoid"
        return output or fitting, loss or usual_loss

    def _input_scaling(self, X: Array) -> Scaling | None:
        if self.encoder is not None:
            return None
        self._check_range(self.data.X, self.data.X_test)
        wanted = self.data.columns is not None or X.min() < 0 or X.max() > 1
        return self._scaling(X) if wanted and not self.options.no_scaling else None

    def _standardised(self, Y: Array) -> Standardised | None:
        self._check_range(self.data.Y, self.data.Y_test)
        loss = functions.loss(self.loss)
        linear = self.output == "identity" and loss.scale_power is not None
        if self.data.classes is not None or not linear or self.options.no_scaling:
            return None
        Y = Y.reshape(len(Y), -1)
        return Standardised(Y, loss, self._scaling(Y))

    def _warn_of_targets(self, Y: Array) -> None:
        """Say so where targets that are not standardised are far from what the outputs begin at."""
        low, high = functions.activation(self.output).reach
        scale = self._scaling(Y)
        size, spread = np.abs(scale.mean) + scale.deviation, scale.deviation
        far = (size > MOST) | (spread < LEAST_DEVIATION)
        if kind(self.output) == "exp":  # its z is their logarithm
            far[...] = False
        far |= (Y.min(axis=0) < low) | (Y.max(axis=0) > high)
        scaled = [n for n in functions.LOSSES if functions.loss(n).scale_power is not None]
        for column in np.flatnonzero(far)[:1]:
            which = f"target {column}" if Y.shape[1] > 1 else "the target"
            fail(
                f"warning: --loss {self.loss} with --output {self.output}: {which}, of mean "
                f"{scale.mean[column]:.4g} and deviation {spread[column]:.4g}, is not standardised "
                f"and may be out of reach; only with --output identity and one of "
                f"{', '.join(scaled)} it would be. Scale it yourself, or use --loss mse"
            )

    def _check_range(self, *arrays: Array | None) -> None:
        for array in arrays:
            if array is not None and np.abs(array).max() > np.finfo(self.options.dtype).max:
                raise ValueError(
                    f"{self.data.name}: {np.abs(array).max():g} does not fit "
                    f"{self.options.dtype}; use --dtype float64"
                )

    def _scaling(self, columns: Array) -> Scaling:
        try:
            return Scaling.of(columns)
        except ValueError as error:
            raise ValueError(f"{self.data.name}: {error}") from None

    def prepared(self, rows: tuple[Array, Array]) -> tuple[Array, Array]:
        """Return X and Y as the network is trained on them."""
        X, Y = rows
        if self.input_scaling is not None:
            X = self.input_scaling.apply(X)
        if self.targets is not None:
            Y = self.targets.apply(Y.reshape(len(Y), -1))
        if self.data.classes is None or self.sizes[-1] == 1:
            Y = Y.astype(self.options.dtype, copy=False)
            if self.data.classes is not None and functions.loss(self.loss).signed:
                Y = 2 * Y - 1
        return X.astype(self.options.dtype, copy=False), Y

    def in_words(self) -> str:
        """Return what is trained on what, in two lines."""
        data = self.data
        what = "regression" if data.classes is None else f"{len(data.classes)} classes"
        counts = ", ".join(
            f"{len(rows[1])} to {purpose}"
            for rows, purpose in zip(self.parts, ("train", "validate", "test"), strict=True)
            if rows is not None
        )
        scaled = "" if self.input_scaling is None else ", standardised"
        if self.encoder is not None:
            scaled = f" of {self.encoder.n_features_in_} columns"
        return (
            f"{data.name}: {data.X.shape[1]} inputs{scaled}, {what}; {counts}\n"
            f"network: {','.join(map(str, self.sizes))}; {self.options.activation}, {self.output}, "
            f"{self.loss}; {self.net.n_parameters:,} parameters, {self.options.dtype}"
        )

    def fit(self, optimizer: Any, out: TextIO, ranks: Ranks | None = None) -> Any:
        """Train, with a line an epoch on `out` and a bar on a terminal.

        On several ranks, of which each has all data and trains on its share, the first one tells.
        """
        tells = ranks is None or ranks.is_first
        X, Y = self.prepared(self.parts.train)
        watched = self.parts.validation
        prepared = None if watched is None else self.prepared(watched)
        # told in the targets' units, unless it is another sum there
        factor, constant = 1.0, 0.0
        if self.targets is not None and self.targets.factor is not None:
            factor, constant = self.targets.factor, self.targets.constant

        patience, schedules = self.options.patience, fastbp.schedules
        schedule = {"cosine": schedules.Cosine(), "one-cycle": schedules.OneCycle()}
        with progress_bar(self.options.epochs) as bar:

            def each_epoch(event: Any) -> None:
                record: dict[str, Any] = {
                    "epoch": event.epoch + 1,
                    "loss": factor * float(event.history["loss"][-1]) + constant,
                }
                if watched is not None:
                    watched_loss = float(event.history["validation_loss"][-1])
                    validation_loss = factor * watched_loss + constant
                    outputs = event.outputs
                    if prepared is not None and ranks is not None:  # those are of a share
                        outputs = self.net.predict(prepared[0])
                    if self.targets is not None:
                        outputs = self.targets.undo(outputs)
                    found = scores(outputs, watched[1], self.data.classes, self.net)
                    record["validation"] = {"loss": validation_loss} | found
                self.epochs.append(record)
                say(bar, self._epoch_in_words(record), out)

            return self.net.fit(
                X,
                Y,
                epochs=self.options.epochs,
                batch_size=self.options.batch_size or min(16, len(Y)),
                optimizer=optimizer,
                seed=self.options.seed,
                validation=prepared,
                l2=self.options.l2,
                l1=self.options.l1,
                callbacks=[each_epoch] if tells else [],
                threads=self.options.threads,
                schedule=schedule.get(self.options.schedule),
                early_stopping=None if patience is None else fastbp.EarlyStopping(patience),
                time_limit=self.options.time_limit,
                checkpoint=self.options.checkpoint,
                comm=None if ranks is None else ranks.comm,
                shard=ranks is not None,
            )

    def worst_fitted_rows(self, net: fastbp.Network, n: int) -> tuple[Array, Array]:
        """Return the training rows (of the first ones) with the largest output errors."""
        most = max(n, min(5000, 10**8 // net.n_parameters))  # the work of a blink
        X, Y = self.prepared((self.parts.train[0][:most], self.parts.train[1][:most]))
        rows = worst_fitted(net, X, Y, n)
        X = X[rows]
        return X if self.encoder is None else dense(X), Y[rows]

    def _epoch_in_words(self, record: dict[str, Any]) -> str:
        width = len(str(self.options.epochs))
        line = f"epoch {record['epoch']:>{width}}/{self.options.epochs}  loss {record['loss']:.4g}"
        if "validation" not in record:
            return line
        watched = record["validation"]
        if "accuracy" in watched:
            score = f"validation accuracy {100 * watched['accuracy']:.2f} %"
        else:
            score = (
                f"validation R^2 {'-' if watched['r2'] is None else format(watched['r2'], '.4f')}"
            )
        return f"{line}  validation loss {watched['loss']:.4g}  {score}"

    def fold(self) -> None:
        """Fold the scaling into the network, which from then on takes and gives raw numbers."""
        net, X = self.net, self.parts.train[0][:1000]
        before = net.predict(self.prepared((X, self.parts.train[1][:1000]))[0])
        if self.targets is not None:
            before = self.targets.undo(before)
            self.net = net = self.targets.unfold(net)
        if self.input_scaling is not None:
            self.input_scaling.fold_into_inputs(net.weights[0], net.biases[0])
        after = net.predict(X.astype(self.options.dtype, copy=False))
        change = np.abs(after - before).max() / (np.ptp(before) or 1.0)
        if not change < 1e-3:
            print(
                f"fastbp: warning: {self.options.dtype} is too coarse for raw inputs so far from "
                f"zero for their spread: outputs of the network change by {100 * change:.2g} %; "
                "use --dtype float64",
                file=sys.stderr,
            )

    def scores(self, rows: tuple[Array, Array]) -> dict[str, Any]:
        """Return how well the network, the scaling folded in, predicts the rows."""
        X, Y = rows
        outputs = self.net.predict(X.astype(self.options.dtype, copy=False))
        return scores(outputs, Y, self.data.classes, self.net)

    def predicted(self, columns: Columns) -> Array:
        """Class numbers, or the targets, of a table's rows."""
        if self.encoder is None:
            X = np.column_stack([column.values for column in columns.columns])
        else:
            X = self.encoder.transform(columns)
        outputs = self.net.predict(X.astype(self.options.dtype, copy=False))
        if self.data.classes is not None:
            return decide(self.net, outputs)
        return outputs[:, : self.parts.train[1].reshape(len(self.parts.train[1]), -1).shape[1]]

    def metadata(self) -> dict[str, Any]:
        """Return what `predict` needs to know of the data."""
        found = {
            "task": "regression" if self.data.classes is None else "classification",
            "classes": self.data.classes,
            "columns": self.data.columns,
            "target": self.options.target,
            "encoder": self.encoder and self.encoder.to_dict(),
            **self.remembered,
        }
        return {key: list(v) if isinstance(v, tuple) else v for key, v in found.items() if v}

    def document(self) -> dict[str, Any]:
        """Return data, network, options and epochs for JSON."""
        counts = {
            f"{part}_rows": rows and len(rows[1]) for part, rows in self.parts._asdict().items()
        }
        return {
            "fastbp": fastbp.__version__,
            "data": {
                "name": self.data.name,
                "inputs": self.data.X.shape[1],
                "standardised": self.input_scaling is not None,
                "attribution": self.data.attribution or None,
                **counts,
                **self.metadata(),
            },
            "network": {
                "sizes": self.sizes,
                "activation": self.options.activation,
                "output": self.output,
                "loss": self.loss,
                "dtype": self.options.dtype,
                "init": self.init,
                "parameters": self.net.n_parameters,
                "seed": self.options.seed,
            },
            "training": {
                "optimizer": self.options.optimizer,
                "learning_rate": self.options.learning_rate
                or OPTIMIZERS[self.options.optimizer].of_tables,
                "batch_size": self.options.batch_size or min(16, len(self.parts.train[1])),
                "l2": self.options.l2,
                "l1": self.options.l1,
                "epochs": self.epochs,
            },
        }


def optimizer_of(options: argparse.Namespace) -> Any:
    """As the options say."""
    rate = options.learning_rate or OPTIMIZERS[options.optimizer].of_tables
    if options.momentum is not None and options.optimizer != "sgd":
        raise ValueError(f"--momentum is for --optimizer sgd, found {options.optimizer}")
    if options.optimizer == "sgd":
        return fastbp.SGD(rate, momentum=0.9 if options.momentum is None else options.momentum)
    return OPTIMIZERS[options.optimizer](rate)
