"""What estimators take of `Network.fit` beyond scikit-learn: averages, clipping, smoothing, files.

What belongs here: that each does what `Network.fit` does on the same draws, and that a stopped fit
goes on to the same bits. What does not: scikit-learn's own parameters (test_estimators.py).
"""

import numpy as np
import pytest

import fastbp
from fastbp import persistence
from fastbp.training import driver

pytest.importorskip("sklearn")
from fastbp.estimators import MLPClassifier, MLPRegressor
from fastbp.training.watchers.checkpoint import Checkpoint

rng = np.random.default_rng(0)
N = 90
X = rng.standard_normal((N, 4))
NUMBERS = X @ [1.0, -2.0, 0.5, 0.0] + 0.1 * rng.standard_normal(N)
CLASSES = (X[:, 0] > 0).astype(int) + (X[:, 1] > 0.3)
THREE = np.array(["a", "b", "c"])[CLASSES]
WEIGHT = rng.uniform(0.2, 2.0, N)


def settings(**more):
    return {
        "hidden_layer_sizes": (5,), "random_state": 3, "max_iter": 4, "batch_size": 20,
        "alpha": 0.0, "solver": fastbp.SGD(0.3, momentum=0.5),
    } | more  # fmt: skip


def start(cls, y, **more):
    """The network before its first step, and the order of each epoch: scikit-learn's draws."""
    still = cls(**settings(solver=fastbp.SGD(0.0), max_iter=1)).fit(X, y)
    net, draws = still.network_.copy(), np.random.RandomState(3)
    for W, b in zip(net.weights, net.biases, strict=True):
        draws.uniform(-1, 1, W.shape)
        draws.uniform(-1, 1, b.shape)
    orders = [np.arange(N)]
    for _ in range(4):
        permutation = np.arange(N)
        draws.shuffle(permutation)
        orders.append(orders[-1][permutation])
    return net, lambda epoch, n: orders[epoch + 1]


OPTIONS = {
    "nothing": {},
    "ema": {"ema": 0.8},
    "clip_value": {"clip_value": 0.01},
    "clip_norm": {"clip_norm": 0.05},
    "label_smoothing": {"label_smoothing": 0.2},
    "all": {"ema": 0.5, "clip_value": 0.1, "clip_norm": 0.2, "label_smoothing": 0.1},
}


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("name", OPTIONS)
def test_as_network_fit_on_the_same_draws(name, kind):
    options = dict(OPTIONS[name])
    y, targets = (THREE, CLASSES) if kind is MLPClassifier else (NUMBERS, NUMBERS)
    if kind is MLPRegressor:
        options.pop("label_smoothing", None)
    with_weights = {"sample_weight": WEIGHT} if kind is MLPRegressor else {}
    model = kind(**settings(**options)).fit(X, y, **with_weights)
    net, shuffle = start(kind, y)
    history = net.fit(X, targets, epochs=4, batch_size=20, shuffle=shuffle, seed=0,
                      optimizer=model.solver, **with_weights, **options)  # fmt: skip
    assert model.network_.parameters.tobytes() == net.parameters.tobytes()
    if not with_weights:
        np.testing.assert_allclose(model.loss_curve_, history["loss"], rtol=1e-12)
    plain = kind(**settings()).fit(X, y, **with_weights)
    same = plain.network_.parameters.tobytes() == net.parameters.tobytes()
    assert same == (not options)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_early_stopping_judges_the_average():
    scores = []

    def look(event):
        judged = event.network.copy()
        judged.parameters = event.average
        scores.append((judged.predict(X).argmax(1) == CLASSES).mean())

    model = MLPClassifier(**settings(ema=0.9, early_stopping=True, callbacks=[look], max_iter=8))
    model.fit(X, THREE, X_val=X, y_val=THREE)
    assert model.validation_scores_ == scores
    assert model.score(X, THREE) == max(scores)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_partial_fit_goes_on_with_the_average():
    parts = MLPClassifier(**settings(ema=0.8, shuffle=False))
    for _ in range(4):
        parts.partial_fit(X, THREE, classes=["a", "b", "c"])
    whole = MLPClassifier(**settings(ema=0.8, shuffle=False)).fit(X, THREE)
    assert parts.network_.parameters.tobytes() == whole.network_.parameters.tobytes()


# checkpoints


def same(one, other):
    assert one.network_.parameters.tobytes() == other.network_.parameters.tobytes()
    for name in ("loss_curve_", "validation_scores_", "n_iter_", "t_", "loss_", "best_loss_",
                 "best_validation_score_", "_no_improvement_count"):  # fmt: skip
        assert getattr(one, name) == getattr(other, name), name


KINDS = {
    "adam": {"solver": "adam", "alpha": 0.01},
    "average": {"ema": 0.9, "clip_norm": 1.0, "dropout": 0.2},
    "adaptive": {"solver": "sgd", "learning_rate": "adaptive", "learning_rate_init": 0.5,
                 "tol": 0.5, "n_iter_no_change": 1, "max_iter": 12},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "learning_rate_init": 0.5},
    "scores": {"solver": "adam", "early_stopping": True, "n_iter_no_change": 2, "max_iter": 30,
               "learning_rate_init": 0.05},
    "schedule": {"learning_rate": fastbp.schedules.Cosine(warmup=2)},
    "as they lie": {"shuffle": False},
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("n_writes", [1, 3])
@pytest.mark.parametrize("name", KINDS)
def test_a_stopped_fit_goes_on_to_the_same_bits(name, n_writes, kind, tmp_path, monkeypatch):
    options = settings(max_iter=7, every=0.0) | KINDS[name]
    y, more = (THREE, {}) if kind is MLPClassifier else (np.exp(NUMBERS / 9), {"loss": "poisson"})
    real, count = Checkpoint.write, []

    def write(self, *args):
        real(self, *args)
        count.append(0)
        if len(count) == n_writes:
            raise SystemExit

    path = tmp_path / "fit.ckpt"
    with monkeypatch.context() as patch:
        patch.setattr(Checkpoint, "write", write)
        train = driver.Run._train  # three steps at most: also in the middle of an epoch
        patch.setattr(driver.Run, "_train", lambda self, n, end: train(self, min(n, 3), end))
        with pytest.raises(SystemExit):
            kind(**options, **more, checkpoint=path).fit(X, y)
    assert persistence.read_description(path, "fastbp checkpoint", 1)["position"][2] > 0
    resumed = kind(**options, **more, checkpoint=path).fit(X, y)
    whole = kind(**options, **more).fit(X, y)
    same(resumed, whole)
    content = path.read_bytes()
    again = kind(**options, **more, checkpoint=str(path)).fit(X, y)  # which has nothing left to do
    same(again, whole)
    assert path.read_bytes() == content


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_more_iterations_go_on(tmp_path):
    path = tmp_path / "fit.ckpt"
    MLPClassifier(**settings(checkpoint=path)).fit(X, THREE)
    more = MLPClassifier(**settings(checkpoint=path, max_iter=9, verbose=False)).fit(X, THREE)
    same(more, MLPClassifier(**settings(max_iter=9)).fit(X, THREE))
    with pytest.warns(UserWarning, match="has made 9 epochs .*max_iter=2"):
        MLPClassifier(**settings(checkpoint=path, max_iter=2)).fit(X, THREE)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"random_state": 4}, "model.random_state"),
        ({"alpha": 0.5}, "model.alpha"),
        ({"hidden_layer_sizes": (6,)}, "sizes"),
        ({"ema": 0.5}, "model.ema"),
        ({"early_stopping": True}, "n"),
        ({"tol": 0.1}, "model.tol"),
        ({"batch_size": 21}, "batch_size"),
    ],
)
def test_a_file_of_another_fit_is_refused(change, name, tmp_path):
    path = tmp_path / "fit.ckpt"
    MLPClassifier(**settings(checkpoint=path)).fit(X, THREE)
    content, model = path.read_bytes(), MLPClassifier(**settings(checkpoint=path) | change)
    with pytest.raises(ValueError, match=rf"checkpoint: .*: expected the same {name} as"):
        model.fit(X, THREE)
    assert path.read_bytes() == content and not hasattr(model, "coefs_")
    with pytest.raises(ValueError, match="expected the same data as"):
        MLPClassifier(**settings(checkpoint=path)).fit(X + 1e-3, THREE)
    with pytest.raises(ValueError, match="expected the same data as"):
        MLPClassifier(**settings(checkpoint=path)).fit(X, THREE[::-1])


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_other_validation_data_are_refused(tmp_path):
    options = settings(checkpoint=tmp_path / "fit.ckpt", early_stopping=True)
    for labels in (THREE, THREE.astype(object)):
        options["checkpoint"].unlink(missing_ok=True)
        MLPClassifier(**options).fit(X, THREE, X_val=X[:9], y_val=labels[:9])
        with pytest.raises(ValueError, match="expected the same validation as"):
            MLPClassifier(**options).fit(X, THREE, X_val=X[:9], y_val=labels[1:10])


# refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ema": 1.0}, "'ema' parameter"),
        ({"ema": -0.1}, "'ema' parameter"),
        ({"clip_value": 0.0}, "'clip_value' parameter"),
        ({"clip_norm": -1.0}, "'clip_norm' parameter"),
        ({"label_smoothing": 1.0}, "'label_smoothing' parameter"),
        ({"checkpoint": 3}, "'checkpoint' parameter"),
        ({"every": -1}, "'every' parameter"),
        ({"solver": "lbfgs", "ema": 0.5}, "ema: expected none with lbfgs"),
        ({"solver": "lbfgs", "clip_value": 0.5}, "clip_value: expected none with lbfgs"),
        ({"solver": "lbfgs", "clip_norm": 0.5}, "clip_norm: expected none with lbfgs"),
        ({"solver": "lbfgs", "checkpoint": "f"}, "checkpoint: expected none with lbfgs"),
        ({"checkpoint": "f", "random_state": None}, "random_state: expected a whole number with"),
        ({"checkpoint": "f", "warm_start": True}, "warm_start: expected False with"),
        ({"loss": "mse", "label_smoothing": 0.1}, "label_smoothing: expected a network with loss"),
    ],
)
def test_what_cannot_work_is_refused(options, words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    model = MLPClassifier(**settings() | options)
    with pytest.raises(ValueError, match=words):
        model.fit(X, THREE)
    assert not hasattr(model, "coefs_") and not list(tmp_path.iterdir())


def test_partial_fit_keeps_no_file(tmp_path):
    model = MLPRegressor(**settings(checkpoint=tmp_path / "f"))
    with pytest.raises(ValueError, match="partial_fit does not support a checkpoint"):
        model.partial_fit(X, NUMBERS)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("solver", ["sgd", "lbfgs"])
@pytest.mark.filterwarnings("ignore")
def test_label_smoothing_with_each_solver(solver):
    plain, smooth = (
        MLPClassifier(**settings(label_smoothing=share) | {"solver": solver, "max_iter": 60})
        for share in (0.0, 0.3)
    )
    with np.errstate(all="ignore"):
        sure, less = (model.fit(X, THREE).predict_proba(X).max() for model in (plain, smooth))
    assert less < sure
