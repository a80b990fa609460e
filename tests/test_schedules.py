"""The rate of every epoch and step.

What belongs here: schedules against their formulas and PyTorch's, alone and in `fit`. What does
not: how a step uses the rate (test_optimizers.py).
"""

import dataclasses
import math
import warnings

import numpy as np
import pytest
from cases import shown

import fastbp
from fastbp import schedules

rng = np.random.default_rng(0)
X, Y = rng.standard_normal((20, 3)), rng.integers(0, 3, 20)


def rates(schedule, epochs, start=0.1, n=50, values=None):
    """Rates of so many epochs; None ends them."""
    course = schedule.rates(start, epochs, n)
    found = [next(course)]
    for value in [math.nan] * (epochs - 1) if values is None else values:
        found.append(course.send(value))
    return found


def fit(net=None, **options):
    net = fastbp.Network([3, 5, 3], seed=0) if net is None else net
    defaults = {"epochs": 6, "seed": 0, "optimizer": fastbp.SGD(0.1), "batch_size": 7}
    return net.fit(X, Y, **defaults | options)


@pytest.mark.parametrize(
    ("schedule", "formula"),
    [
        (schedules.Constant(), lambda e: 0.1),
        (schedules.Step(3, 0.5), lambda e: 0.1 * 0.5 ** (e // 3)),
        (schedules.Step(2), lambda e: 0.1 * 0.1 ** (e // 2)),
        (schedules.Exponential(0.9), lambda e: 0.1 * 0.9**e),
        (schedules.Cosine(), lambda e: 0.05 * (1 + math.cos(math.pi * e / 12))),
        (schedules.Cosine(final=0.2), lambda e: 0.02 + 0.04 * (1 + math.cos(math.pi * e / 12))),
        (
            schedules.Cosine(warmup=3),
            lambda e: 0.1 * (e + 1) / 4 if e < 3 else 0.05 * (1 + math.cos(math.pi * (e - 3) / 9)),
        ),
        (
            schedules.Cosine(epochs=5, final=0.1),
            lambda e: 0.01 + 0.045 * (1 + math.cos(math.pi * min(1, e / 5))),
        ),
        (schedules.InverseScaling(), lambda e: 0.1 / math.sqrt(50 * e + 1)),
        (schedules.InverseScaling(0.25), lambda e: 0.1 / (50 * e + 1) ** 0.25),
    ],
)
def test_formulas(schedule, formula):
    assert rates(schedule, 12) == pytest.approx([formula(e) for e in range(12)], rel=1e-12)


def test_one_cycle_rises_and_falls():
    found = rates(schedules.OneCycle(5.0, 0.4, 0.01), 20, start=1.0)
    assert found[0] == pytest.approx(1) and found[7] == pytest.approx(5)
    assert found[-1] == pytest.approx(0.01)
    assert (np.diff(found[:8]) > 0).all() and (np.diff(found[7:]) < 0).all()
    assert rates(schedules.OneCycle(5.0, 0.5), 2, start=1.0) == pytest.approx([5, 1e-4])
    assert rates(schedules.OneCycle(epochs=1), 3, start=1.0) == pytest.approx([1e-4] * 3)


torch_cases = [
    ("StepLR", {"step_size": 3, "gamma": 0.5}, schedules.Step(3, 0.5), 1.0),
    ("ExponentialLR", {"gamma": 0.93}, schedules.Exponential(0.93), 1.0),
    ("CosineAnnealingLR", {"T_max": 17}, schedules.Cosine(), 1.0),
    ("CosineAnnealingLR", {"T_max": 17, "eta_min": 0.02}, schedules.Cosine(final=0.2), 1.0),
    (
        "OneCycleLR",
        {"max_lr": 0.8, "total_steps": 17, "div_factor": 8, "final_div_factor": 1e3},
        schedules.OneCycle(8.0, final_factor=1e-3),
        1.0,
    ),
    (
        "OneCycleLR",
        {"max_lr": 1.0, "total_steps": 17, "pct_start": 0.61, "div_factor": 10},
        schedules.OneCycle(warmup=0.61),
        1.0,
    ),
]


def rates_of_torch(name, options, count):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = getattr(torch.optim.lr_scheduler, name)(optimizer, **options)
        found = []
        for _ in range(count):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if len(found) < count:
                peer.step()
    return found


@pytest.mark.parametrize(("name", "options", "schedule", "start"), torch_cases)
def test_torch_has_the_same_rates(name, options, schedule, start):
    expected = rates_of_torch(name, options, 17)
    # torch multiplies on from epoch to epoch and rounds each time
    assert rates(schedule, 17) == pytest.approx(expected, rel=1e-9)


def test_warm_up_is_torchs_sequence():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    kinds = torch.optim.lr_scheduler
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        parts = [
            kinds.LinearLR(optimizer, start_factor=1 / 5, total_iters=4),
            kinds.CosineAnnealingLR(optimizer, T_max=13),
        ]
        peer = kinds.SequentialLR(optimizer, parts, milestones=[4])
        expected = []
        for _ in range(17):
            expected.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            peer.step()
    assert rates(schedules.Cosine(warmup=4), 17) == pytest.approx(expected, rel=1e-9)


def steps(schedule, epochs, per_epoch, start=0.1, n=50):
    """Rates of all steps of a run."""
    return schedule.of_steps(start, epochs, n, per_epoch, 0, epochs * per_epoch).tolist()


@pytest.mark.parametrize(
    ("schedule", "formula"),  # of step i; 12 epochs of 5 steps over 50 samples
    [
        (schedules.Exponential(0.9, each="step"), lambda i: 0.1 * 0.9 ** (i / 5)),
        (schedules.Cosine(each="step"), lambda i: 0.05 * (1 + math.cos(math.pi * i / 60))),
        (
            schedules.Cosine(warmup=3, final=0.2, each="step"),
            lambda i: 0.1 * (i + 1) / 16 if i < 15
            else 0.02 + 0.04 * (1 + math.cos(math.pi * (i - 15) / 45)),
        ),
        (
            schedules.Cosine(epochs=4, each="step"),
            lambda i: 0.05 * (1 + math.cos(math.pi * min(1, i / 20))),
        ),
        (
            schedules.CosineLog(),
            lambda i: 0.05 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * i / 60))),
        ),
        (
            schedules.CosineLog(2, epochs=6),
            lambda i: 0.05 * (1 - math.cos(2 * math.pi * math.log2(1 + 3 * min(1, i / 30)))),
        ),
        (schedules.InverseScaling(0.7, each="step"), lambda i: 0.1 / (10 * i + 1) ** 0.7),
        (
            schedules.OneCycle(8.0, 0.25, 0.01, each="step"),  # up to step 14, down to step 59
            lambda i: 0.1 + 0.35 * (1 - math.cos(math.pi * i / 14)) if i <= 14
            else 0.001 + 0.3995 * (1 + math.cos(math.pi * (i - 14) / 45)),
        ),
        (schedules.Step(5, 0.5), lambda i: 0.1 * 0.5 ** (i // 25)),
        (schedules.Constant(), lambda i: 0.1),
    ],
    ids=shown,
)  # fmt: skip
def test_formulas_of_steps(schedule, formula):
    found = steps(schedule, 12, 5)
    assert found == pytest.approx([formula(i) for i in range(60)], rel=1e-11)
    # each by itself, whatever it is asked together with
    for first, count in ((0, 1), (17, 1), (58, 2), (3, 40)):
        part = schedule.of_steps(0.1, 12, 50, 5, first, count)
        assert part.tolist() == found[first : first + count]


@pytest.mark.parametrize(
    "schedule",
    [schedules.Exponential(0.9), schedules.Cosine(2, 0.1), schedules.OneCycle(),
     schedules.InverseScaling()],
    ids=shown,
)  # fmt: skip
def test_a_step_an_epoch_is_the_schedule_of_epochs(schedule):
    by_step = dataclasses.replace(schedule, each="step")
    assert steps(by_step, 12, 1) == pytest.approx(rates(schedule, 12), rel=1e-13)
    assert by_step != schedule and repr(by_step) == f"{repr(schedule)[:-1]}, each='step')"
    assert eval(repr(by_step), vars(schedules)) == by_step
    with pytest.raises(ValueError, match=r"\.each: expected 'epoch' or 'step'; got 'batch'"):
        dataclasses.replace(schedule, each="batch")


@pytest.mark.parametrize(
    ("name", "options", "schedule"),  # 68 steps: 17 epochs of 4
    [
        ("ExponentialLR", {"gamma": 0.93}, schedules.Exponential(0.93**4, each="step")),
        ("CosineAnnealingLR", {"T_max": 68}, schedules.Cosine(each="step")),
        (
            "CosineAnnealingLR",
            {"T_max": 68, "eta_min": 0.02},
            schedules.Cosine(final=0.2, each="step"),
        ),
        (
            "OneCycleLR",
            {"max_lr": 0.8, "total_steps": 68, "div_factor": 8, "final_div_factor": 1e3},
            schedules.OneCycle(8.0, final_factor=1e-3, each="step"),
        ),
        (
            "OneCycleLR",
            {"max_lr": 1.0, "total_steps": 68, "pct_start": 0.61, "div_factor": 10},
            schedules.OneCycle(warmup=0.61, each="step"),
        ),
    ],
)
def test_torch_has_the_same_rates_of_steps(name, options, schedule):
    expected = rates_of_torch(name, options, 68)
    assert steps(schedule, 17, 4) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("kind", [schedules.Step, schedules.Constant, schedules.Adaptive,
                                  schedules.HalveOnPlateau])  # fmt: skip
def test_what_changes_between_epochs_alone_has_no_each(kind):
    with pytest.raises(TypeError, match="unexpected argument 'each'"):
        kind(each="step")


def test_adaptive_as_scikit_learn_does_it():
    """Count > n_iter_no_change epochs without a fall by tol, a fifth each time; ends at 1e-6."""
    schedule = schedules.Adaptive(tol=0.1, n_iter_no_change=2)
    #         1     falls  too little, three times  falls
    losses = [1.0, 0.5, 0.45, 0.44, 0.43, 0.2, 0.2, 0.2, 0.2]
    found = rates(schedule, 10, start=1.0, values=losses)
    assert found == pytest.approx([1, 1, 1, 1, 1, 0.2, 0.2, 0.2, 0.2, 0.04])
    course = schedules.Adaptive(n_iter_no_change=1).rates(4e-6, 99, 50)
    next(course)
    course.send(1.0)
    answers = [course.send(1.0) for _ in range(5)]
    assert answers[:2] == pytest.approx([4e-6, 8e-7])  # above 1e-6: divided once more
    assert answers[2:4] == [pytest.approx(8e-7), None]
    assert answers[4] == pytest.approx(8e-7)  # asked on, it stays


def test_adaptive_in_scikit_learn_itself():
    neural_network = pytest.importorskip("sklearn.neural_network")
    data = np.random.default_rng(3)
    inputs, targets = data.standard_normal((40, 3)), data.integers(0, 2, 40)
    model = neural_network.MLPClassifier(
        (4,), solver="sgd", learning_rate="adaptive", learning_rate_init=0.5, tol=1e-2, alpha=0,
        n_iter_no_change=2, max_iter=400, random_state=0, shuffle=False, momentum=0,
    )  # fmt: skip
    seen = []
    real = model._update_no_improvement_count

    def spy(*args):
        seen.append(model._optimizer.learning_rate)
        return real(*args)

    model._update_no_improvement_count = spy
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(inputs, targets)
    course = schedules.Adaptive(1e-2, 2).rates(0.5, 400, 40)
    found, answer = [], next(course)
    for loss in model.loss_curve_:
        found.append(answer)
        answer = course.send(loss)
    assert answer is None and len(set(seen)) > 3
    assert found == pytest.approx(seen)


def test_halve_on_plateau_ends_at_a_128th():
    schedule = schedules.HalveOnPlateau(2, "validation_accuracy")
    values = [0.5, 0.6, 0.6, 0.55, 0.61, 0.6, 0.6]
    found = rates(schedule, 8, start=1.0, values=values)
    assert found == [1, 1, 1, 1, 0.5, 0.5, 0.5, 0.25]
    found = rates(schedule, 20, start=1.0, values=[1.0] * 19)
    assert found[::2][:7] == [1, 1, 0.5, 0.25, 0.125, 0.0625, 0.03125]
    assert found.index(None) == 15 and found[13] == 1 / 64


def test_fit_uses_and_records_the_rates():
    net, twin = (fastbp.Network([3, 5, 3], seed=0) for _ in range(2))
    history = fit(net, schedule=schedules.Step(2, 0.5))
    assert history["learning_rate"].tolist() == [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    parts = None
    for rate in (0.1, 0.05, 0.025):
        parts = fit(twin, epochs=2, optimizer=fastbp.SGD(rate), resume=parts)
    assert net.parameters.tobytes() == twin.parameters.tobytes()
    plain = fastbp.Network([3, 5, 3], seed=0)
    fit(plain)
    assert plain.parameters.tobytes() != net.parameters.tobytes()
    same = fastbp.Network([3, 5, 3], seed=0)
    fit(same, schedule=schedules.Constant())
    assert same.parameters.tobytes() == plain.parameters.tobytes()


def test_a_callable_gives_the_rate_itself():
    asked = []

    def rate(epoch):
        asked.append(epoch)
        return 0.2 / (epoch + 1)

    history = fit(schedule=rate)
    assert asked == list(range(6))
    assert history["learning_rate"] == pytest.approx(0.2 / np.arange(1, 7), rel=1e-15)


@pytest.mark.parametrize("bad", [-1.0, math.nan, "fast", None])
def test_a_rate_that_is_none_is_refused(bad):
    net = fastbp.Network([3, 5, 3], seed=0)
    before = net.parameters.copy()
    with pytest.raises((TypeError, ValueError), match="schedule: rate of epoch 0: expected a"):
        fit(net, schedule=lambda epoch: bad)
    assert net.parameters.tobytes() == before.tobytes()


@pytest.mark.parametrize("what", ["cosine", 0.1, schedules.Cosine, {}])
def test_what_is_no_schedule_is_refused(what):
    with pytest.raises(TypeError, match=r"schedule: expected one of fastbp\.schedules"):
        fit(schedule=what)


@pytest.mark.parametrize(
    "schedule",
    [
        schedules.Exponential(0.8),
        schedules.Cosine(warmup=2, epochs=9),
        schedules.OneCycle(epochs=9),
        schedules.InverseScaling(),
        schedules.Adaptive(0.5, 1),
        schedules.HalveOnPlateau(1, "validation_accuracy"),
        schedules.OneCycle(epochs=9, each="step"),
        schedules.CosineLog(epochs=9),
        {"learning_rate": schedules.InverseScaling(each="step")},
        lambda epoch: 0.3 / (1 + epoch),
    ],
    ids=lambda schedule: str(schedule).partition(" at 0x")[0],
)
@pytest.mark.parametrize("threads", [1, 2])
def test_resumed_is_not_stopped(schedule, threads):
    net, twin = (fastbp.Network([3, 5, 3], seed=0) for _ in range(2))
    options = {"schedule": schedule, "validation": (X[:8], Y[:8]), "threads": threads}
    options["optimizer"] = fastbp.Adam(0.05)
    whole = fit(net, epochs=9, **options)
    history = fit(twin, epochs=4, **options)
    history = fit(twin, epochs=5, resume=history, **options)
    assert net.parameters.tobytes() == twin.parameters.tobytes()
    assert whole["learning_rate"].tolist() == history["learning_rate"].tolist()
    assert len(set(whole["learning_rate"])) > 1


def test_fit_ends_where_the_schedule_says():
    # at a rate of 0 nothing improves
    history = fit(epochs=99, schedule=schedules.HalveOnPlateau(3, "loss"), shuffle=False,
                  optimizer=fastbp.SGD(0.0))  # fmt: skip
    assert history.epochs == 4
    history = fit(epochs=99, schedule=schedules.Adaptive(1e9, 1), optimizer=fastbp.SGD(1e-5))
    assert history.epochs == 3 + 2 + 2
    more = fit(epochs=1, resume=history, schedule=schedules.Adaptive(1e9, 1),
               optimizer=fastbp.SGD(1e-5))  # fmt: skip
    assert more.epochs == 8


def test_divergence_tells_the_rate_of_then():
    net = fastbp.Network([3, 4, 3], output="identity", loss="quadratic", activation="identity")
    targets = np.eye(3)[Y]
    with pytest.raises(fastbp.DivergenceError) as caught:
        net.fit(X, targets, epochs=60, optimizer=fastbp.SGD(),
                schedule=lambda e: 1e-3 if e < 3 else 1e9, seed=0)  # fmt: skip
    assert caught.value.learning_rate == 1e9 and caught.value.epoch >= 3
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: schedules.Step(0), "Step.every: expected a whole number >= 1; got 0"),
        (lambda: schedules.Step(2, -1.0), "Step.factor"),
        (lambda: schedules.Exponential(0), "Exponential.factor: expected a number above 0"),
        (lambda: schedules.Cosine(warmup=-1), "Cosine.warmup"),
        (lambda: schedules.Cosine(final=1.5), r"Cosine.final: expected a share in \[0, 1\]"),
        (lambda: schedules.Cosine(warmup=5, epochs=5), "Cosine.warmup: expected fewer"),
        (lambda: schedules.OneCycle(warmup=1.0), r"OneCycle.warmup: expected a share in \(0, 1\)"),
        (lambda: schedules.OneCycle(epochs=0), "OneCycle.epochs"),
        (lambda: schedules.CosineLog(0), "CosineLog.cycles: expected a whole number >= 1"),
        (lambda: schedules.CosineLog(65), "CosineLog.cycles"),
        (lambda: schedules.CosineLog(each="wave"), "CosineLog.each"),
        (lambda: schedules.InverseScaling(-1), "InverseScaling.power"),
        (lambda: schedules.Adaptive(n_iter_no_change=0), "Adaptive.n_iter_no_change"),
        (lambda: schedules.HalveOnPlateau(0), "HalveOnPlateau.patience"),
        (lambda: schedules.HalveOnPlateau(mode="up"), "HalveOnPlateau.mode"),
        (lambda: schedules.HalveOnPlateau(monitor="mine"), "HalveOnPlateau.mode: expected"),
    ],
)
def test_bad_numbers(make, told):
    with pytest.raises(ValueError, match=told):
        make()


def test_a_schedule_that_watches_validation_needs_some():
    with pytest.raises(ValueError, match=r"schedule: expected validation data, for 'validation_l"):
        fit(schedule=schedules.HalveOnPlateau())


def test_the_monitor_of_keras_is_told_what_it_is_called_here():
    with pytest.raises(ValueError, match=r"'val_loss'.*Did you mean 'validation_loss'\?"):
        fastbp.EarlyStopping(monitor="val_loss")


@pytest.mark.parametrize(
    ("schedule", "epochs"),
    [
        (schedules.Exponential(2.0), 1023),
        (schedules.Step(1, 10), 308),
        (schedules.Step(2, 10), 617),
    ],
    ids=shown,
)
def test_rates_that_no_number_holds(schedule, epochs):
    found = rates(schedule, epochs, start=1.0)
    assert len(found) == epochs and math.isfinite(found[-1])
    with pytest.raises(
        ValueError, match=rf"schedule: expected finite rates; .* of {schedule.__class__.__name__}"
    ):
        rates(schedule, epochs + 20, start=1.0)
    with pytest.raises(ValueError, match="schedule: expected finite rates; got infinity for epoch"):
        fit(epochs=1200, schedule=schedule, optimizer=fastbp.SGD(1e-300), shuffle=False,
            callbacks=[lambda event: event.network.parameters.fill(0)])  # fmt: skip


def test_schedules_of_extreme_numbers():
    assert rates(schedules.InverseScaling(400), 3) == [0.1, 0.0, 0.0]
    found = rates(schedules.OneCycle(1e308), 10)
    assert found[0] == 0.1 and max(found) == pytest.approx(1e307)
    assert rates(schedules.Exponential(1e-300), 4)[2:] == [0.0, 0.0]


def test_a_step_after_more_epochs_than_a_float_holds_never_comes():
    schedule = schedules.Step(10**400)
    assert rates(schedule, 3, start=0.5) == [0.5, 0.5, 0.5]
    for each in ("epoch", "step"):
        schedule = schedules.Cosine(warmup=10**400, each=each)
        assert steps(schedule, 3, 2) == pytest.approx([0.0] * 6, abs=1e-17)
