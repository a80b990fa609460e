"""A user's typed program, which test_types.py has `mypy --strict` check; it is not run.

What belongs here: every public name, as a program uses it. What does not: what it computes.
"""

from pathlib import Path
from typing import reveal_type

import numpy as np

import fastbp
from fastbp import check, datasets, layers, schedules, tabular, training
from fastbp import data as chunks
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
    fastbp.load("net.safetensors")
    return net


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


def elsewhere(net: fastbp.Network) -> CSource:
    to_onnx(net, "net.onnx"), to_torch(net), to_sklearn(net)
    network: fastbp.Network = from_torch(to_torch(net))
    print(from_onnx("net.onnx"), from_keras(None), from_sklearn(None), network)
    return to_c(net, "net.c")
