"""Anybody's function and gradient: what passes, what fails, what is said, what is refused."""

import collections
import json
import re
import zlib

import numpy as np
import pytest

from fastbp.check import judging
from fastbp.check.gradients.function import FunctionCheck, UncheckableError, gradient

RNG = np.random.default_rng(0)
DATA = RNG.normal(size=(5, 3))
W, B = RNG.normal(size=(3, 3)), RNG.normal(size=3)
X = np.array([0.3, -1.2, 2.0, 0.7])


def layer(p):
    return np.tanh(DATA @ p["W"] + p["b"]).sum()


def layer_gradient(p):
    delta = 1 - np.tanh(DATA @ p["W"] + p["b"]) ** 2
    return {"W": DATA.T @ delta, "b": delta.sum(axis=0)}


def changed(**parts):
    """layer_gradient with a tensor changed."""
    return lambda p: (
        layer_gradient(p)
        | {name: part(layer_gradient(p)[name], p[name]) for name, part in parts.items()}
    )


def both(**parts):
    return gradient(layer, changed(**parts), {"W": W, "b": B})


# what is right


@pytest.mark.parametrize("method", ["auto", "differences", "complex"])
@pytest.mark.parametrize(
    ("f", "grad", "x"),
    [
        (lambda x: np.sin(x).sum(), np.cos, X),
        (lambda x: np.sin(x).sum(), np.cos, X.reshape(2, 2)),
        (lambda x: (x**3).prod(), lambda x: 3 * (x**3).prod() / x, X),
        (lambda x: 1e-30 * np.exp(x).sum(), lambda x: 1e-30 * np.exp(x), X),
        (lambda x: np.sin(1e8 * x).sum(), lambda x: 1e8 * np.cos(1e8 * x), 1e-8 * X),
        (lambda x: np.log(x).sum(), lambda x: 1 / x, np.array([1e-9, 1e-5, 1e-3])),
        (lambda x: np.exp(x), np.exp, 0.5),
        (lambda x: np.exp(x), np.exp, np.array(0.5)),
        (lambda x: np.array([[x @ x]]), lambda x: 2 * x, X),
        (lambda x: 3.0, np.zeros_like, X),
        (lambda x: x[0] * 2, lambda x: np.array([2, 0, 0, 0]), X),
    ],
)
def test_right_gradients_pass(f, grad, x, method):
    if method == "complex" and f(np.asarray(x)) == 3:
        pytest.skip("a constant has no imaginary part, which is right")
    found = gradient(f, grad, x, method=method)
    assert found.verdict.startswith("pass"), str(found)
    assert found.ok
    assert found.n_checked == np.size(x)


def test_the_gradient_may_be_given_as_its_value():
    assert gradient(lambda x: np.sin(x).sum(), np.cos(X), X).verdict.startswith("pass")
    assert gradient(lambda x: x @ x, [0.6, -2.4, 4.0, 1.4], X).verdict.startswith("pass")


def test_structures_of_tensors():
    found = gradient(layer, layer_gradient, {"W": W, "b": B})
    assert [t.name for t in found.tensors] == ["x['W']", "x['b']"]
    assert [t.shape for t in found.tensors] == [(3, 3), (3,)]
    assert found.verdict.startswith("pass")
    for kind in (list, tuple):

        def f(p, kind=kind):
            assert type(p) is kind
            return layer({"W": p[0], "b": p[1]})

        def grad(p):
            return list(layer_gradient({"W": p[0], "b": p[1]}).values())

        found = gradient(f, grad, kind([W, B]))
        assert [t.name for t in found.tensors] == ["x[0]", "x[1]"]
        assert found.verdict.startswith("pass")
    found = gradient(lambda p: p["a"] * p["b"].sum(), lambda p: {"a": 3.0, "b": [2.0, 2.0]},
                     {"a": 2, "b": [1, 2]})  # fmt: skip
    assert found.verdict.startswith("pass")


def test_a_list_of_numbers_is_an_array():
    assert gradient(lambda x: x @ x, lambda x: 2 * x, [1.0, 2.0]).tensors[0].name == "x"


def test_functions_that_write_into_their_argument_do_no_harm():
    x = {"W": W.copy(), "b": B.copy()}

    def f(p):
        p["W"] *= 2
        p["b"] += p["W"][0]
        return np.sin(p["b"]).sum()

    def grad(p):
        d = np.cos(p["b"] + 2 * p["W"][0])
        out = {"W": np.zeros((3, 3)), "b": d}
        out["W"][0] = 2 * d
        p["W"][...] = np.nan
        p["b"][...] = np.nan
        return out

    assert gradient(f, grad, x).verdict.startswith("pass")
    assert np.array_equal(x["W"], W)


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_a_gradient_of_fewer_digits_is_judged_by_them(dtype):
    found = gradient(layer, changed(W=lambda g, _: g.astype(dtype)), {"W": W, "b": B})
    assert found.verdict.startswith("pass")


def test_float32_inside_f_is_named_and_passes():
    def f(x):
        return float(np.tanh(x.astype(np.float32)).sum(dtype=np.float32))

    for n in (1, 4, 50):
        x = np.random.default_rng(n).normal(size=n)
        found = gradient(f, lambda x: (1 - np.tanh(x) ** 2).astype(np.float32), x)
        assert found.verdict.startswith("pass"), str(found)
        assert re.search(r"about [678] digits \(computed in float32\?\)", str(found.findings))
        assert not gradient(f, lambda x: 1.2 * (1 - np.tanh(x) ** 2), x).ok


@pytest.mark.parametrize("seed", range(3))
def test_selection_of_many_elements_is_told(seed):
    x = [np.linspace(-1, 1, 400), np.linspace(0, 1, 7)]
    found = gradient(
        lambda x: np.sin(x[0]).sum() + np.cos(x[1]).sum(),
        lambda x: [np.cos(x[0]), -np.sin(x[1])],
        x,
        max_elements=50,
        seed=seed,
    )
    assert [t.n_checked for t in found.tensors] == [43, 7]
    assert found.n_checked == 50 == len(found.points.analytic)
    assert "checked 50 of 407 elements" in found.findings[-1]
    assert found.points.index[:43].tolist() == np.linspace(0, 399, 43).astype(int).tolist()
    assert found.points.index[43:].tolist() == list(range(7))


# kinks


def relu(x):
    return np.maximum(x, 0).sum()


@pytest.mark.parametrize("at_zero", [0.0, 0.5, 1.0, 0.3])
def test_every_subgradient_on_a_kink_passes(at_zero):
    x = np.array([0.0, 1.0, -1.0])
    found = gradient(relu, lambda x: np.where(x == 0, at_zero, x > 0), x)
    assert found.verdict.startswith("pass"), str(found)
    assert found.tensors[0].kinks == (at_zero != 0.5)  # 0.5 is the central difference's own answer


@pytest.mark.parametrize("at_zero", [-0.01, 1.01, -1.0])
def test_what_lies_outside_both_slopes_fails(at_zero):
    found = gradient(relu, lambda x: np.where(x == 0, at_zero, x > 0), np.array([0.0, 1.0]))
    assert not found.ok
    assert found.tensors[0].worst == (0,)
    assert any("x lies on a kink at x[0]: slope 0 on the left, 1" in s for s in found.findings)


@pytest.mark.parametrize("distance", [1e-7, 1e-5, 1e-3, 0.1])
@pytest.mark.parametrize("side", [-1, 1])
def test_beside_a_kink_only_one_side_is_right(distance, side):
    x = np.array([side * distance, 1.0])
    assert gradient(lambda x: np.abs(x).sum(), np.sign, x).verdict.startswith("pass")
    for wrong in (0.0, -side):
        found = gradient(lambda x: np.abs(x).sum(), np.array([wrong, 1.0]), x)
        assert not found.ok


# what is wrong, and what is said of it


def test_constant_factors_are_named():
    found = both(W=lambda g, _: 3 * g, b=lambda g, _: 3 * g)
    assert not found.ok
    assert found.findings[0] == "the gradient is exactly 3 times the slope"
    found = both(W=lambda g, _: -g, b=lambda g, _: -g)
    assert found.findings[0] == ("the gradient is exactly -1 times the slope: the sign is wrong")
    found = both(W=lambda g, _: g / 64)
    assert found.findings == (
        "the gradient by x['W'] is exactly 1/64 of the slope",
        "right: x['b']",
    )
    found = both(b=lambda g, _: g * 1.2345)
    assert found.findings[0] == "the gradient by x['b'] is 1.2345 times the slope"


def test_transposed_gradients_are_named():
    found = both(W=lambda g, _: g.T)
    assert not found.ok
    assert found.findings[0].startswith("transposed: the gradient by x['W'] matches the slope")
    p = np.arange(6.0).reshape(2, 3)
    found = gradient(lambda x: np.sin(x).sum(), lambda x: np.cos(x).T, p)
    assert found.verdict == "FAIL: the gradient by x is transposed"
    assert found.tensors[0].failed == 0
    assert found.findings[0].startswith("transposed: the gradient by x has shape (3, 2)")
    found = gradient(lambda x: np.sin(x).sum(), lambda x: -np.cos(x).T, p)
    assert "sign is wrong" in found.findings[1]


def test_zeros_and_strangers_are_named():
    found = both(b=lambda g, _: 0 * g)
    assert found.findings[0] == "the gradient by x['b'] is 0 throughout, the slope is not"
    found = gradient(lambda x: np.sin(x[0]).sum(), lambda x: [np.cos(x[0]), np.ones(4)], [X, X])
    assert found.findings[0] == "the gradient by x[1] is not 0, but f does not depend on x[1]"


def test_a_missing_penalty_is_named():
    found = both(W=lambda g, W: g + 0.01 * W)
    assert "0.01 times x['W']: the derivative of an L2 penalty" in found.findings[0]


def test_one_wrong_element_is_found_whatever_its_size():
    for size in (1.0, 1e-3, 1e-6):
        x = np.array([1.0, 2.0, size])

        def f(x):
            return (x**3).sum()

        g = 3 * x**2
        g[2] *= 1.001
        found = gradient(f, g, x)
        assert found.tensors[0].worst == (2,)
        assert found.ok == (size < 1e-4)  # there 0.001 of it is below what rounding leaves of f
    found = both(W=lambda g, _: g + np.outer([0, 1e-4, 0], [0, 0, 1]))
    assert (found.tensors[0].worst, found.tensors[0].failed) == ((1, 2), 1)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_fail(value):
    found = both(W=lambda g, _: np.where(np.eye(3) == 1, value, g))
    assert not found.ok
    assert "3 values that are not finite" in found.findings[0]
    assert json.dumps(found.to_dict(), allow_nan=False)


def test_tolerance():
    for tolerance, ok in ((1e-3, True), (1e-5, False)):
        found = gradient(
            layer, changed(W=lambda g, _: g * 1.0001), {"W": W, "b": B}, tolerance=tolerance
        )
        assert found.ok is ok


# what cannot be told


def test_noise_leaves_it_open():
    def f(x):
        return np.sin(x).sum() + 1e-3 * (zlib.crc32(x.tobytes()) % 1000) / 1000

    found = gradient(f, np.cos, X)
    assert found.verdict.startswith("inconclusive")
    assert any("values of f carry about 3 digits (noise)" in s for s in found.findings)
    assert not gradient(f, lambda x: np.cos(x) + 10, X).ok


def test_a_large_offset_leaves_it_open_for_differences_only():
    def f(x):
        return 1e13 + np.sin(x).sum()

    assert gradient(f, np.cos, X).verdict.startswith("inconclusive")
    assert not gradient(f, np.cos(X) + 1, X).ok  # so much can be told
    assert gradient(f, np.cos, X, method="complex").verdict.startswith("pass")
    assert not gradient(f, np.zeros(4), X, method="complex").ok


def test_points_without_values_are_told():
    found = gradient(lambda x: np.log(x).sum(), lambda x: 1 / x, np.array([1e-3, 1.0, 2.0]))
    assert found.verdict.startswith("pass")
    found = gradient(lambda x: np.sqrt(x).sum(), lambda x: np.ones(2), np.array([0.0, 1.0]))
    assert any("f is nan at" in s for s in found.findings)

    def f(x):
        if (x < 0).any():
            raise ArithmeticError("negative")
        return np.sqrt(x).sum()

    found = gradient(f, lambda x: 0.5 / np.sqrt(x + 1e-300), np.array([0.0, 1.0]))
    assert any("f raises ArithmeticError (negative) at" in s for s in found.findings)


# methods


def test_complex_steps_are_taken_where_they_agree():
    assert gradient(layer, layer_gradient, {"W": W, "b": B}).method == "complex"
    assert gradient(layer, layer_gradient, {"W": W, "b": B}, method="differences").method == (
        "differences"
    )


@pytest.mark.parametrize(
    ("f", "grad"),
    [
        (lambda x: np.abs(x).sum(), np.sign),
        (lambda x: (x * np.conj(x)).real.sum(), lambda x: 2 * x),
        (lambda x: float(np.sin(np.real(x)).sum()), np.cos),
        (lambda x: np.logaddexp(x, 0).sum(), lambda x: 1 / (1 + np.exp(-x))),
        (lambda x: np.sin(x.astype(float)).sum(), np.cos),
    ],
)
def test_complex_traps_are_stepped_over(f, grad):
    found = gradient(f, grad, X)
    assert found.method == "differences"
    assert found.verdict.startswith("pass")
    with pytest.raises(ValueError, match="method: 'complex'"):
        gradient(f, grad, X, method="complex")


def test_mpmath():
    mpmath = pytest.importorskip("mpmath")

    def f(x):
        return sum(mpmath.sin(v) for v in x)

    found = gradient(f, np.cos, X, method="mpmath")
    assert (found.method, found.ok) == ("mpmath", True)
    assert found.points.bound.max() < 1e-15
    assert not gradient(f, np.cos(X) * (1 + 2e-6), X, method="mpmath").ok
    with pytest.raises(ValueError, match="needs an f that computes with mpmath's numbers"):
        gradient(lambda x: np.sin(x).sum(), np.cos, X, method="mpmath")


# what is refused


def raising(x):
    raise KeyError("weights")


def test_f_that_cannot_be_checked_is_told():
    for f, told in (
        (raising, "f: expected a number at x; got KeyError: 'weights'"),
        (lambda x: x, r"f: expected one real number at x; got an array of shape \(4,\)"),
        (lambda x: [1.0, 2.0], r"got an array of shape \(2,\)"),
        (lambda x: None, "f: expected one real number at x; got None"),
        (lambda x: "text", "got 'text'"),
        (lambda x: np.sum(x) + 1j, "got the complex number"),
        (lambda x: np.nan, "f: expected a finite number at x; got nan"),
        (lambda x: np.inf, "f: expected a finite number at x; got inf"),
    ):
        with pytest.raises(UncheckableError, match=told):
            gradient(f, np.cos, X)
    with pytest.raises(UncheckableError) as raised:
        gradient(raising, np.cos, X)
    assert isinstance(raised.value.__cause__, KeyError)


def test_grad_that_cannot_be_checked_is_told():
    def f(x):
        return np.sin(x).sum()

    for grad, told in (
        (raising, "grad: expected a gradient at x; got KeyError: 'weights'"),
        (lambda x: np.ones(3), r"grad: expected shape \(4,\), that of x; got \(3,\)"),
        (lambda x: np.ones((4, 1)), r"grad: expected shape \(4,\), that of x; got \(4, 1\)"),
        (lambda x: 1.0, r"grad: expected shape \(4,\), that of x; got \(\)"),
        (lambda x: None, "grad: expected real numbers; got None"),
        (lambda x: 1j * x, "grad: expected real numbers; got an array of dtype complex128"),
        (lambda x: [[1], [2, 3]], "grad: expected an array"),
    ):
        with pytest.raises(UncheckableError, match=told):
            gradient(f, grad, X)


def test_gradients_of_another_structure_are_told():
    for grad, told in (
        (lambda p: {"W": W}, r"a dict with the keys \['W', 'b'\], as x has; got \['W'\]"),
        (lambda p: [W, B], "as x has; got list"),
        (lambda p: {"W": W, "b": W}, r"grad\['b'\]: expected shape \(3,\)"),
    ):
        with pytest.raises(UncheckableError, match=told):
            gradient(layer, grad, {"W": W, "b": B})
    with pytest.raises(UncheckableError, match="expected a list or tuple of 2 arrays, as x is"):
        gradient(lambda p: p[0].sum(), lambda p: p[0], [X, X])


def test_functions_with_a_state_are_told():
    rng = np.random.default_rng(0)
    with pytest.raises(UncheckableError, match="f: expected the same value for the same x; a rep"):
        gradient(lambda x: x.sum() * rng.random(), np.ones(4), X)
    with pytest.raises(UncheckableError, match="grad: expected the same gradient for the same x"):
        gradient(lambda x: x.sum(), lambda x: np.ones(4) + 1e-9 * rng.random(4), X)
    calls = []

    def tired(x):
        calls.append(0)
        return x.sum() + (len(calls) > 30)

    with pytest.raises(UncheckableError, match=r"depends on x alone; after \d+ other calls f\(x\)"):
        gradient(tired, np.ones(4), X)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"method": "forward"}, "method: expected one of auto, differences"),
        ({"tolerance": 0}, "tolerance: expected a number above 0"),
        ({"tolerance": 2.0}, "tolerance: expected a number above 0"),
        ({"max_elements": 0}, "max_elements: expected a whole number >= 1"),
        ({"x": np.array([np.nan])}, "x: expected finite numbers; got NaN"),
        ({"x": []}, "x: expected at least one number"),
        ({"x": {"a": [np.inf]}}, r"x\['a'\]: expected finite numbers"),
    ],
)
def test_wrong_values_are_refused(arguments, told):
    arguments = {"x": X} | arguments
    with pytest.raises(ValueError, match=told):
        gradient(lambda x: np.sum(x), np.ones_like, **arguments)


def test_wrong_types_are_refused():
    with pytest.raises(TypeError, match="f: expected a callable"):
        gradient(3, np.cos, X)
    with pytest.raises(TypeError, match="x: expected numbers"):
        gradient(np.sum, np.cos, X + 0j)


# the result


def test_result_shows_itself():
    found = both(W=lambda g, _: 3 * g)
    assert isinstance(found, FunctionCheck)
    text = str(found)
    assert text.startswith("gradient of a function: FAIL: 9 of 12 elements of the gradient are wr")
    assert max(map(len, text.splitlines())) <= 100
    assert "<table>" in found._repr_html_()
    told = found.to_dict()
    json.dumps(told, allow_nan=False)
    assert told["ok"] is False
    assert told["tensors"][0]["failed"] == 9
    assert len(told["points"]["numeric"]) == 12


def test_points_of_large_checks_are_left_out_of_the_dictionary(monkeypatch):
    from fastbp.check.gradients import function

    monkeypatch.setattr(function, "MOST_POINTS", 11)
    assert "points" not in gradient(layer, layer_gradient, {"W": W, "b": B}).to_dict()


# the rule itself


def judged(a, n, bound=0.0, left=None, right=None, side_bound=0.0, **options):
    a, n = np.atleast_1d(a).astype(float), np.atleast_1d(n).astype(float)
    left = n if left is None else np.atleast_1d(left)
    right = n if right is None else np.atleast_1d(right)
    bound, side_bound = (np.full(a.shape, b) for b in (bound, side_bound))
    options = {"tolerance": 1e-6} | options
    check, status = judging.judge(
        "x",
        a.shape,
        np.arange(a.size),
        a,
        n,
        bound,
        left,
        side_bound,
        right,
        side_bound,
        **options,
    )
    return check, status.tolist()


def test_judge():
    P, K, I, F = judging.PASS, judging.KINK, judging.INCONCLUSIVE, judging.FAIL
    assert judged([1, 2], [1, 2])[1] == [P, P]
    assert judged([1, 2], [1, 2.1])[1] == [P, F]
    assert judged([1, 2], [1, 2.1], rounding=0.2)[1] == [P, P]
    assert judged([1, 2], [1, 2.1], rounding=np.array([0, 0.2]))[1] == [P, P]
    assert judged([1, 2], [1, 2.1], bound=0.2)[1] == [I, I]
    assert judged([1, 2], [1, 2.1], bound=0.2, resolution=0.1)[1] == [P, P]
    assert judged([1, 2], [1, 3.1], bound=0.2)[1] == [I, F]
    assert judged([1, 2], [np.nan, 2], bound=np.inf)[1] == [I, I]
    assert judged([np.nan, np.inf, 1], [1, 1, 1])[1] == [F, F, P]
    assert judged([0.0, 0.0], [0, 0], bound=1e-12)[1] == [P, P]
    assert judged([0.0, 0.0], [0, 0], bound=1e-3)[1] == [I, I]
    assert judged([0.0, 0.0], [0, 0], bound=1e-3, zero=1e-2)[1] == [P, P]
    kink = {"left": [-1.0], "right": [1.0]}
    assert judged(0.3, 0, **kink)[1] == [K]
    assert judged(1.0, 0, **kink)[1] == [K]
    assert judged(1.001, 0, **kink)[1] == [F]
    assert judged(1.001, 0, side_bound=0.01, **kink)[1] == [K]
    assert judged(0.3, 0, side_bound=1.1, **kink)[1] == [F]  # no kink: the bounds overlap


def test_judge_of_nothing():
    check, status = judged([], [])
    assert (check.n_checked, check.worst, status) == (0, (), [])
    assert judging.verdict_of([check]).startswith("pass: 0")


def test_verdict_of():
    right = judged([1.0] * 200, [1.0] * 200)[0]
    blind = judged([1.0] * 2, [1.0] * 2, bound=np.inf)[0]
    wrong = judged([1.0], [2.0])[0]
    assert judging.verdict_of([right], "weights") == "pass: 200 weights checked"
    assert judging.verdict_of([right, blind]).startswith("inconclusive: 2 of 202")
    assert judging.verdict_of([blind]).startswith("inconclusive: none of 2")
    assert judging.verdict_of([right, blind, wrong]).startswith("FAIL: 1 of 203")


def test_bounds_that_are_wrong_once_in_thousands_do_not_fail_right_gradients():
    rng = np.random.default_rng(5)
    for _ in range(200):
        w = 10 ** rng.uniform(-3, 1.5, 6)
        x = rng.normal(size=6)

        def f(x, w=w):
            return np.tanh(w * x).sum() + np.exp(np.sin(x).sum())

        def grad(x, w=w):
            return w / np.cosh(w * x) ** 2 + np.cos(x) * np.exp(np.sin(x).sum())

        found = gradient(f, grad, x, method="differences")
        assert found.ok, str(found)


def test_an_f_that_complex_numbers_spoil_is_checked_all_the_same():
    """A model that keeps a velocity, say: the complex step comes after all other questions."""
    kept = np.zeros(2)

    def f(x):
        nonlocal kept
        kept = 0 * x + kept  # complex from then on
        total = np.sum(x**2) + kept.sum()
        if np.iscomplexobj(kept) and not np.iscomplexobj(x):
            raise RuntimeError("spoilt")
        return total if not np.iscomplexobj(x) else "nothing"

    found = gradient(f, lambda x: 2 * x, np.array([1.0, 2.0]))
    assert found.verdict.startswith("pass") and found.method == "differences"


# structures within structures

Pair = collections.namedtuple("Pair", "W b")


def cubes(x):
    """The sum of the cubes of all numbers in x."""
    if isinstance(x, dict):
        return sum(cubes(v) for v in x.values())
    return sum(cubes(v) for v in x) if isinstance(x, (list, tuple)) else np.sum(np.asarray(x) ** 3)


def squares(x):
    """Its gradient."""
    if isinstance(x, dict):
        return {key: squares(v) for key, v in x.items()}
    if isinstance(x, (list, tuple)):
        return type(x)._make(map(squares, x)) if hasattr(x, "_fields") else list(map(squares, x))
    return np.array(3 * np.asarray(x) ** 2)


NESTED = [
    ({"a": {"W": X, "b": 0.5}, "c": X[:2]}, ["x['a']['W']", "x['a']['b']", "x['c']"]),
    ([{"W": X}, {"W": X[:1], "b": 2.0}], ["x[0]['W']", "x[1]['W']", "x[1]['b']"]),
    (Pair(X, 2.0), ["x.W", "x.b"]),
    ([Pair(X, X[:2]), Pair(X[:1], X)], ["x[0].W", "x[0].b", "x[1].W", "x[1].b"]),
    ([[1.0, 2.0], [3.0]], ["x[0]", "x[1]"]),
    ([0.5, [1.0, 2.0]], ["x[0]", "x[1]"]),
    ([[[1.0, 2.0], [3.0]], [[4.0]]], ["x[0][0]", "x[0][1]", "x[1]"]),
    (([X], {"b": [X, X[:2]]}), ["x[0][0]", "x[1]['b'][0]", "x[1]['b'][1]"]),
    ([[1.0, 2.0], [3.0, 4.0]], ["x"]),
]


@pytest.mark.parametrize(("x", "names"), NESTED)
def test_nested_structures(x, names):
    seen = []

    def f(x):
        seen.append(x)
        return cubes(x)

    found = gradient(f, squares, x)
    assert found.verdict.startswith("pass"), found
    assert [t.name for t in found.tensors] == names
    if names != ["x"]:
        assert type(seen[0]) is type(x) and len(seen[0]) == len(x)
    wrong = gradient(cubes, squares_but_the_last, x)
    assert wrong.ok is False and wrong.verdict.partition("; ")[2].startswith(names[-1]), wrong


def squares_but_the_last(x):
    found = squares(x)
    last = found
    while isinstance(last, (list, tuple, dict)):
        last = list(last.values())[-1] if isinstance(last, dict) else last[-1]
    last *= 1.01  # an array, in place
    return found


def test_a_gradient_of_another_structure_is_refused_where_it_differs():
    x = {"a": [{"W": X}, X]}
    for wrong, message in (
        ({"a": [{"V": X}, X]}, r"grad\['a'\]\[0\]: expected a dict with the keys \['W'\]"),
        ({"a": [{"W": X}]}, r"grad\['a'\]: expected a list or tuple of 2 arrays, .* got 1"),
        ({"a": [{"W": X}, X[:1]]}, r"grad\['a'\]\[1\]: expected shape \(4,\)"),
    ):
        with pytest.raises(UncheckableError, match=message):
            gradient(cubes, wrong, x)
    own = [X]
    own.append(own)
    with pytest.raises(ValueError, match="x: expected no list or dict that holds itself"):
        gradient(cubes, squares, own)
    with pytest.raises(TypeError, match=r"x\['a'\]\['b'\]: expected numbers"):
        gradient(cubes, squares, {"a": {"b": "text"}})


# elements of very different sizes


@pytest.mark.parametrize("method", ["auto", "differences"])
@pytest.mark.parametrize("small", [1e-4, 1e-6, 1e-9, 1e-12, 1e-30, 1e-300])
def test_each_element_has_steps_of_its_own(small, method):
    p, y = np.array([small, 0.3, 0.7]), np.array([0.2, 0.3, 0.5])

    def f(p):
        return -(y * np.log(p)).sum()

    found = gradient(f, lambda p: -y / p, p, method=method)
    assert found.verdict == "pass: 3 elements of the gradient checked", found
    for i in range(3):  # no element hides behind a larger one
        factor = np.where(np.arange(3) == i, 1 + 1e-4, 1)
        assert gradient(f, lambda p, c=factor: -c * y / p, p, method=method).ok is False, i


def test_of_a_class_that_is_not_the_true_one_the_probability_may_be_tiny():
    y = np.array([0.0, 1.0, 0.0])
    p = np.array([1e-12, 0.3, 0.7])
    assert gradient(lambda p: -(y * np.log(p)).sum(), lambda p: -y / p, p).ok


def test_nothing_resolved_is_neither_right_nor_wrong():
    def f(x):
        return np.sin(x).sum() + (zlib.crc32(x.tobytes()) % 1000)

    found = gradient(f, np.cos, X)
    assert found.verdict.startswith("inconclusive: none of 4") and found.ok is None
    assert found.to_dict()["ok"] is None


def test_a_gradient_that_float64_does_not_hold():
    found = gradient(lambda x: float(x), np.longdouble("1e4000"), 0.5)  # no bare warning
    assert found.verdict.startswith("FAIL")


@pytest.mark.parametrize("method", ["differences", "complex", "auto"])
@pytest.mark.parametrize("x", [5e-324, 1e-310, 2e-308, 1e-300, 1e-200, 1e-160])
def test_a_function_whose_values_vanish_is_not_called_constant(x, method):
    found = gradient(lambda x: x * x, lambda x: 2 * x, x, method=method)
    assert found.ok is not False
