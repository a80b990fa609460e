"""A user's typed program, which test_types.py has `mypy --strict` check; it is not run.

What belongs here: every public name, as a program uses it. What does not: what it computes.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self, reveal_type

import numpy as np

import fastbp
from fastbp import check, data as chunks, datasets, layers, schedules, tabular, training
from fastbp.callbacks import DeltaNorms
from fastbp.data import Block, Chunks, from_arrays, from_dask, from_iterable, from_parquet
from fastbp.datasets import ATTRIBUTION, Dataset, Inputs, load_digits, read, read_idx, read_inputs
from fastbp.estimators import (
    BaggingClassifier,
    BaggingRegressor,
    GridSearchCV,
    Groups,
    HalvingRandomSearchCV,
    LossCurveDisplay,
    MLPClassifier,
    MLPRegressor,
    RandomizedSearchCV,
    TabularClassifier,
    TabularRegressor,
    cross_val_predict,
    cross_val_score,
    cross_validate,
    fit_groups,
    learning_curve,
    validation_curve,
)
from fastbp.exchange import (
    CSource,
    from_keras,
    from_onnx,
    from_sklearn,
    from_torch,
    to_c,
    to_onnx,
    to_sklearn,
    to_torch,
)
from fastbp.tabular import (
    Columns,
    Encoder,
    Selection,
    Source,
    as_columns,
    choose,
    read_source,
    read_table,
)

Array = np.ndarray


class Framed:
    """A frame of no library that has to be there."""

    def __array__(self, dtype: object = None, copy: bool | None = None) -> Array:
        return np.zeros((2, 2))


class Listed:
    """Of scipy.sparse, which has no types of its own."""

    shape = 2, 2

    def tocsr(self, copy: bool = False) -> Self:
        return self


class Squares:
    """Chunks of a user's own."""

    n_features, n_rows = 1, None

    def __iter__(self) -> Iterator[tuple[Array, Array]]:
        yield np.ones((1, 1)), np.ones(1)


def absolute(a: Array, y: Array, weight: Array) -> tuple[float, Array]:
    return float(np.abs(a - y).sum()), np.sign(a - y)


def networks(X: Array, Y: Array) -> fastbp.Network:
    net = fastbp.Network(
        [64, layers.Scale(), layers.Dense(32, "gelu"), 10],
        activation=["relu"],
        output="softmax",
        loss="cross_entropy",
        dtype="float32",
        seed=0,
    )
    reveal_type(net.predict(X))
    reveal_type(net.feedforward(X))
    reveal_type(net.loss(X, Y))
    reveal_type(net.costs(X, Y))
    reveal_type(net.deltas(X, Y, dropout=fastbp.Dropout(0.1, seed=1)))
    reveal_type(net.gradient(X, Y, l2=0.1))
    reveal_type(net.input_gradient(X, Y))
    reveal_type(net.jacobian(X))
    reveal_type(net.vjp(X, Y))
    reveal_type(net.jvp(X, X))
    reveal_type(net.parameters)
    reveal_type(net.weights)
    reveal_type(net.n_parameters)
    reveal_type(net.predict_one(X[0]))
    reveal_type(net.learn_one(X[0], 1, 0.01))
    net.save(Path("net.safetensors"))
    again = fastbp.load("net.safetensors")
    reveal_type(again)
    reveal_type(again.predict(X))
    assert isinstance(again, fastbp.Network)
    reveal_type(again.classes)
    return again


def inputs_of_all_kinds(net: fastbp.Network, frame: Framed, sparse: Listed) -> None:
    """What NumPy takes, frames and sparse matrices."""
    net.predict([[1.0, 2.0], [3.0, 4.0]]), net.predict(((1, 2), (3, 4))), net.predict(frame)
    net.predict(sparse), net.vjp(sparse, [[1.0, 2.0]]), net.loss(sparse, [0, 1], decays={"W*": 0.5})
    net.fit(frame, [0, 1], validation=(frame, (0, 1)), seed=np.random.default_rng(0))
    net.fit(sparse, [0, 1], validation=(sparse, [0, 1], None), seed=np.int64(1), metrics="accuracy")
    net.fit(Squares(), validation=Squares(), shuffle=lambda epoch, n: np.arange(n))
    net.fit([[1.0]], [0], class_weight={0: 1.0}, loss=absolute, schedule=lambda epoch: 0.1 / epoch)
    net.fit([[1.0]], [0], class_weight="balanced", metrics={"own": lambda y, a: np.float32(0.0)})
    MLPClassifier().fit(sparse, ["a", "b"]).score(frame, ["a", "b"])
    TabularRegressor().fit({"a": [1.0], "b": ["x"]}, [1.0]).predict(frame)
    reveal_type(MLPRegressor().predict(frame, return_std=True))
    fastbp.Network([1, 1], dtype=np.float32, seed=np.random.SeedSequence(1))
    fastbp.fit_many([net], [frame], [[0, 1]], rows=[[0], [1]])


def mistakes(net: fastbp.Network, X: Array, Y: Array) -> None:
    """What a checker refuses; --strict tells of a line here that it lets pass."""
    net.predict(None)  # type: ignore[arg-type]
    net.predict(object())  # type: ignore[arg-type]
    print(net.predict(X).weights)  # type: ignore[attr-defined]
    net.gradient(X, Y, decays=[1.0])  # type: ignore[arg-type]
    net.fit(X, Y, seed="0")  # type: ignore[arg-type]
    net.fit(X, Y, epoch=1)  # type: ignore[call-arg]
    net.fit(X, Y, validation=(X,))  # type: ignore[arg-type]
    net.fit(X, Y, callbacks=[1])  # type: ignore[list-item]
    net.fit(X, Y, comm=1)  # type: ignore[arg-type]
    net.learn_one(None, 1)  # type: ignore[arg-type]
    fastbp.Network([1, 1], seed=1.5)  # type: ignore[arg-type]
    fastbp.load(1)  # type: ignore[arg-type]
    print(fastbp.load("net.safetensors").weights)  # type: ignore[union-attr]
    print(fastbp.Adm)  # type: ignore[attr-defined]
    print(chunks.from_csv)  # type: ignore[attr-defined]
    check.gradients(1, X, Y)  # type: ignore[arg-type]
    check.structure(1)  # type: ignore[arg-type]
    print(as_columns({}).missing)  # type: ignore[attr-defined]
    MLPClassifier().fit(None, Y)  # type: ignore[arg-type]
    TabularClassifier().fit({"a": [1.0]}, None)  # type: ignore[arg-type]


def stop(event: training.Event) -> bool:
    return event.epoch > 3


def runs(net: fastbp.Network, X: Array, Y: Array) -> fastbp.History:
    for optimizer in (
        fastbp.SGD(0.1, momentum=0.9, nesterov=True),
        fastbp.Adam(),
        fastbp.AdamW(weight_decay=0.1),
        fastbp.AMSGrad(),
        fastbp.RMSprop(),
        fastbp.Adagrad(),
        fastbp.Adadelta(),
        fastbp.Lion(),
    ):
        net.fit(X, Y, optimizer=optimizer, epochs=1)
    net.fit(X, Y, optimizer=fastbp.LBFGS(), epochs=1)
    for schedule in (
        schedules.Adaptive(),
        schedules.Constant(),
        schedules.Cosine(warmup=2),
        schedules.CosineLog(),
        schedules.Exponential(0.9),
        schedules.HalveOnPlateau(),
        schedules.InverseScaling(),
        schedules.OneCycle(),
        schedules.Step(2),
    ):
        named: schedules.Schedule = schedule
        net.fit(X, Y, schedule=named, epochs=1)
    norms = DeltaNorms(X, Y)
    history = net.fit(
        X,
        Y,
        epochs=3,
        batch_size=32,
        validation=0.2,
        metrics=["accuracy"],
        early_stopping=fastbp.EarlyStopping(patience=3),
        callbacks=[stop, fastbp.each_step(stop), norms],
        clip_norm=1.0,
        dropout=0.1,
        seed=0,
    )
    reveal_type(history)
    reveal_type(history["loss"])
    reveal_type(history.epochs)
    reveal_type(fastbp.fit_many([net], X, Y, epochs=1))
    trainer = fastbp.OnlineTrainer(net, fastbp.Adam())
    reveal_type(trainer.learn_one(X[0], 1))
    reveal_type(trainer.learn_many(X, Y))
    trainer.vjp_step(X, Y)
    try:
        net.fit(X, Y, epochs=1, optimizer="adam")
    except (fastbp.DivergenceError, training.RankError) as error:
        print(error)
    return history


def f(x: Array) -> float:
    return float((x**2).sum())


def df(x: Array) -> Array:
    return 2 * x


def checks(net: fastbp.Network, X: Array, Y: Array) -> bool | None:
    whole: check.GradientCheck = check.gradients(net, X, Y)
    own: check.FunctionCheck = check.gradient(f, df, np.ones(3))
    check.assert_gradients(f, df, np.ones(3))
    error: check.OutputError = check.output_error(
        z=[1.0], y=[0.0], activation="sigmoid", cost="quadratic"
    )
    hidden: check.Recurrence = check.recurrence(net, X[0], Y[0])
    structure: check.Structure = check.structure("softmax")
    reveal_type(whole.ok)
    reveal_type(error.total)
    reveal_type(structure.collapses)
    print(own, hidden, check.UncheckableError)
    return whole.ok


def tables(path: Path) -> Array:
    digits: Dataset = load_digits()
    again: Dataset = read(path)
    rows: Inputs = read_inputs(path)
    reveal_type(digits.X)
    reveal_type(read_idx(path))
    print(ATTRIBUTION, again.name, rows.X, datasets.load_digits)
    columns: Columns = as_columns({"a": [1.0, 2.0]})
    source: Source = read_source(path)
    chosen: Selection = choose(read_table(path), target="price")
    encoder: Encoder = Encoder().fit({"a": [1.0, 2.0]})
    reveal_type(encoder.feature_names_out())
    print(columns, source, chosen, tabular.Encoder)
    return digits.X


def blocks(X: Array, Y: Array) -> Chunks:
    print(Block, from_dask, from_iterable, from_parquet, chunks)
    found: Chunks = from_arrays(X, Y)
    return found


def estimators(X: Array, y: Array) -> None:
    model = MLPClassifier((8,), random_state=0).fit(X, y)
    print(model.predict(X), LossCurveDisplay.from_estimator(model))
    MLPRegressor(solver=fastbp.AdamW(1e-3)).fit(X, y)
    TabularClassifier(random_state=0).fit(X, y)
    TabularRegressor(random_state=0).fit(X, y)
    GridSearchCV(model, {"alpha": [1e-4, 1e-2]}).fit(X, y)
    RandomizedSearchCV(model, {"alpha": [1e-4, 1e-2]}).fit(X, y)
    HalvingRandomSearchCV(model, {"alpha": [1e-4, 1e-2]}).fit(X, y)
    BaggingClassifier(model).fit(X, y)
    BaggingRegressor(MLPRegressor()).fit(X, y)
    groups: Groups = fit_groups(model, X, y, y)
    cross_validate(model, X, y), cross_val_score(model, X, y), cross_val_predict(model, X, y)
    learning_curve(model, X, y)
    validation_curve(model, X, y, param_name="alpha", param_range=[1e-4])
    print(groups)


def elsewhere(net: fastbp.Network, of_keras: Any, of_sklearn: Any) -> CSource:
    to_onnx(net, "net.onnx"), to_torch(net), to_sklearn(net)
    network: fastbp.Network = from_torch(to_torch(net))
    print(from_onnx("net.onnx"), from_keras(of_keras), from_sklearn(of_sklearn), network)
    reveal_type(from_sklearn(of_sklearn).predict([[1.0]]))
    return to_c(net, "net.c")
