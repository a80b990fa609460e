"""Which a_k depend on which z_j: every kind is told, and what is no such function is refused.

What belongs here: `fastbp.check.structure`, and derivatives from values at kinks. What does not:
costs (test_ladder.py).
"""

import itertools
import json

import numpy as np
import pytest
from cases import ACTIVATIONS

from fastbp import functions, reference
from fastbp.check.numeric.derivative import changes, derivatives, numeric_jacobian
from fastbp.check.terms.structure import Structure, dependence, structure


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def softmax_of_one_sample(z):
    e = np.exp(z - np.max(z))
    return e / np.sum(e)


def batch_norm(z):
    return (z - z.mean(axis=0)) / np.sqrt(z.var(axis=0) + 1e-5)


def gated(z):
    u, v = np.split(z, 2, axis=-1)
    return u / (1 + np.exp(-v))


def largest_of_pairs(z):
    return z.reshape(*z.shape[:-1], -1, 2).max(axis=-1)


def two_pairs(z):
    return np.concatenate([softmax(z[..., :2]), softmax(z[..., 2:])], axis=-1)


def turned(z):
    return np.tanh(z)[..., ::-1]


def crelu(z):
    return np.concatenate([np.maximum(z, 0), np.maximum(-z, 0)], axis=-1)


KINDS = {
    "softmax": "dense",
    "log_softmax": "dense",
    "layer_norm": "dense",
    "maxout": "one-survivor",
    "glu": "block",
}
CALLABLES = {
    np.tanh: ("diagonal", True),
    softmax: ("dense", True),
    gated: ("block", False),
    largest_of_pairs: ("one-survivor", False),
    two_pairs: ("block", True),
    turned: ("block", False),
    crelu: ("block", False),
    np.sort: ("one-survivor", False),
    batch_norm: ("couples samples", True),
    softmax_of_one_sample: ("couples samples", True),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_of_its_kind(name):
    kind = functions.activation(name).kind
    found = structure(name)
    assert found.kind == KINDS.get(kind, "diagonal"), found
    assert found.collapses == (found.kind == "diagonal") and found.ok
    assert found.verdict.startswith(f"{found.kind}: ")
    assert (found.n_a, found.n_z) == (4, reference.activation_width(name, 4))
    assert found.depends.shape == found.jacobian.shape == (found.n_a, found.n_z)
    assert found.symmetric == (kind not in ("log_softmax", "maxout", "glu"))
    if found.collapses:
        assert not found.depends[~np.eye(4, dtype=bool)].any()


@pytest.mark.parametrize("function", CALLABLES, ids=lambda f: f.__name__)
def test_callables(function):
    kind, symmetric = CALLABLES[function]
    found = structure(function)
    assert (found.kind, found.symmetric) == (kind, symmetric), found
    assert found.activation == function.__name__


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("name", "n"), [*itertools.product(["softmax", "maxout(3)", "glu"], [2, 7])]
)
def test_the_points_do_not_matter(name, n, seed):
    assert structure(name, n, seed=seed).kind == KINDS[name.partition("(")[0]]


def test_a_callable_has_the_jacobian_of_its_name():
    for function, name in ((softmax, "softmax"), (gated, "glu"), (largest_of_pairs, "maxout")):
        mine, known = structure(function, 6), structure(name, 6 // (2 if name != "softmax" else 1))
        np.testing.assert_allclose(mine.jacobian, known.jacobian, atol=1e-9)
        assert (mine.depends == known.depends).all()


def test_which_depend_on_which():
    maxout = structure("maxout(3)", 2).depends
    assert maxout.tolist() == [[True] * 3 + [False] * 3, [False] * 3 + [True] * 3]
    glu = structure("glu", 2).depends
    assert glu.tolist() == [[True, False, True, False], [False, True, False, True]]
    assert structure(np.sort, 3).depends.all()


def test_borders():
    assert structure("maxout(1)").kind == "diagonal"
    assert structure("sigmoid", 1).kind == "diagonal"
    assert structure("glu", 1).kind == "dense"
    one = structure("softmax", 1)
    assert one.kind == "diagonal" and not one.depends.any() and "constant" in one.verdict
    part = structure(lambda z: z[..., :2], 3)
    assert part.collapses and (part.n_a, part.n_z) == (2, 3)
    assert "z_3 changes no a_k" in str(part)


def test_a_rounding_is_no_dependence():
    def shifted(z):
        largest = z.max(axis=-1, keepdims=True)
        return np.exp(z - largest) * np.exp(largest)

    found = structure(shifted)
    assert found.collapses and "in its last digits only" in str(found)
    leaking = structure(lambda z: np.exp(z) + 1e-9 * z.sum(axis=-1, keepdims=True))
    assert leaking.kind == "dense"


def test_a_batch():
    assert "takes one z at a time" in str(structure(lambda z: np.tanh(z) if z.ndim == 1 else None))
    assert "takes one z" not in str(structure(np.tanh))
    mixed = structure(batch_norm)
    assert "another sample" in mixed.verdict and not mixed.collapses
    assert structure(lambda z: z + 0.01 * z.mean()).kind == "couples samples"


def test_what_a_test_cannot_see_is_said():
    assert "J where J^T belongs gives the same" in str(structure("softmax"))
    assert "J where J^T belongs gives other" in str(structure("log_softmax"))
    assert "does not even fit" in str(structure("glu"))
    assert "has all z_j in its denominator" in str(structure("softmax(0.7)")).replace("\n  ", " ")
    assert "da_k/dz_j = 0 for k" in str(structure("relu"))


@pytest.mark.parametrize("name", ["sigmoid", "softmax", "glu", "maxout(3)"])
def test_the_result(name):
    found = structure(name)
    text = str(found)
    assert max(map(len, text.splitlines())) <= 100 and found.verdict.split(":")[0] in text
    back = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert back["kind"] == found.kind and back["depends"] == found.depends.tolist()
    assert isinstance(found._repr_html_(), str) and isinstance(found, Structure)
    with pytest.raises(AttributeError):
        found.kind = "dense"


def test_wide_results_fit():
    assert max(map(len, str(structure("softmax", 60)).splitlines())) <= 100


def raising(z):
    raise RuntimeError("boiler")


def drifting():
    numbers = itertools.count()
    return lambda z: z + next(numbers)


BAD = {
    "name": (("softmaxx",), ValueError, "activation: expected one of .*got 'softmaxx'"),
    "type": ((3,), TypeError, r"activation: expected a name \(str\); got 3"),
    "raises": ((raising,), ValueError, "activation: expected a function of z, .*RuntimeError: bo"),
    "nan": ((lambda z: z * np.nan,), ValueError, "activation: expected finite numbers; got NaN"),
    "inf": ((lambda z: z / 0.0,), ValueError, "activation: expected finite numbers; got infinity"),
    "text": ((lambda z: "a",), TypeError, "activation: expected numbers; got"),
    "nothing": ((lambda z: None,), TypeError, "activation: expected numbers; got"),
    "complex": ((lambda z: z + 1j,), TypeError, "activation: expected numbers; got .*complex"),
    "scalar": ((lambda z: z.sum(),), ValueError, r"activation: expected shape \(n,\).*got \(\)"),
    "matrix": ((lambda z: np.outer(z, z),), ValueError, r"activation: expected shape .*\(4, 4\)"),
    "length": ((lambda z: z[z > 0],), ValueError, "activation: expected shape .*as before"),
    "drifts": ((drifting(),), ValueError, "activation: expected the same result"),
    "n": (("relu", 0), ValueError, "n: expected a whole number >= 1; got 0"),
    "half": (("relu", 2.5), TypeError, "n: expected a whole number"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input(case):
    arguments, kind, message = BAD[case]
    with pytest.raises(kind, match=message):
        structure(*arguments)


def test_bad_seeds():
    with pytest.raises(ValueError, match="seed: expected a whole number >= 0; got -1"):
        structure("relu", seed=-1)


def test_the_cause_is_kept():
    with pytest.raises(ValueError, match="boiler") as caught:
        structure(raising)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_a_function_that_writes_into_z():
    def greedy(z):
        z -= z.max(axis=-1, keepdims=True)
        np.exp(z, out=z)
        z /= z.sum(axis=-1, keepdims=True)
        return z

    np.testing.assert_allclose(structure(greedy).jacobian, structure(softmax).jacobian, atol=1e-9)


def test_dependence_takes_what_lies_outside_the_domain():
    def logarithm(z):
        if (z <= 0).any():
            raise ValueError
        return np.log(z)

    def evaluate(z):
        try:
            return logarithm(z)
        except ValueError:
            return np.full(2, np.nan)

    depends, rounding = dependence(evaluate, [np.array([1.0, 2.0])])
    assert (depends == np.eye(2, dtype=bool)).all() and not rounding.any()


# derivatives from values, where a function is not smooth


@pytest.mark.parametrize("distance", [0.0, 1e-14, 1e-6, 1e-4, 0.01, -1e-14, -1e-5, -0.3])
@pytest.mark.parametrize("slopes", [(0.0, 1.0), (-1.0, 1.0), (0.2, 1.0), (3.0, -2.0)])
def test_kinks_and_what_lies_beside_them(slopes, distance):
    left, right = slopes

    def f(x):
        return np.where(x > 0, right * x, left * x) + 0.5 * x**2

    x = np.array([distance])
    found = derivatives(changes(f, x), f, x)
    low, high, bound = found.low.item(), found.high.item(), found.bound.item()
    if abs(distance) < 1e-12:
        assert found.kink.item()
        np.testing.assert_allclose((low, high), sorted(slopes), atol=3e-5)
    else:
        true = (right if distance > 0 else left) + distance
        assert low == high and abs(low - true) <= bound + 1e-12
    assert bound < 1e-4


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_numeric_jacobians(name):
    z = np.random.default_rng(0).standard_normal(reference.activation_width(name, 3))
    found = numeric_jacobian(lambda z: reference.activation(name, z), z)
    J = reference.activation_jacobian(name, z)
    assert (np.abs(found.value.T - J) <= found.bound.T + 1e-12).all()
    assert found.bound.max() < 1e-6 and not found.kink.any()


def test_a_picture():
    matplotlib = pytest.importorskip("matplotlib")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    ax = structure("maxout(3)").plot()
    assert ax.images[0].get_array().shape == (4, 12)
    assert structure("softmax").plot(ax) is ax
    pyplot.close("all")


def test_a_number_in_a_name_costs_no_more_than_a_selection(monkeypatch):
    asked, right = [], reference.activation
    monkeypatch.setattr(reference, "activation", lambda name, z: asked.append(1) or right(name, z))
    found = structure("maxout(1024)")
    assert len(asked) < 512 * 42 + 100
    assert (found.kind, found.n_z, found.n_a) == ("one-survivor", 4096, 4)
    assert found.depends.any(axis=1).all() and found.depends.sum() >= 512
    assert "Changed were 512 of 4,096 z_j, evenly spaced." in found.findings
    assert not any("changes no a_k" in text for text in found.findings)
    assert max(map(len, str(found).splitlines())) <= 100
    with pytest.raises(ValueError, match=r"^n: expected a Jacobian of at most"):
        structure("relu", 3000)
    wide = structure("softmax", 600)
    assert wide.kind == "dense" and wide.depends.all()
    assert structure("maxout(3)", 5).depends.sum() == 15
