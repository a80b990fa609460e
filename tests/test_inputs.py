"""What a user hands over: what is refused and how, what is accepted, and that nothing is harmed.

What belongs here: arguments of the public API. What does not: model files (test_persistence.py),
the numbers that come out (test_network.py).
"""

import itertools
import os
import re
import subprocess
import sys
import textwrap
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from cases import shown
from scipy import sparse

import fastbp
from fastbp import benchmark, functions, initialization, inputs, persistence
from fastbp.callbacks import DeltaNorms
from fastbp.datasets.scaling import Scaling
from fastbp.datasets.splitting import held_out
from fastbp.explain import explain
from fastbp.training.own_loss import value_and_slope

pytestmark = pytest.mark.sanitizers


N, N_IN, N_OUT = 6, 3, 2
rng = np.random.default_rng(0)
X = rng.standard_normal((N, N_IN)).astype(np.float32)
LABELS = np.array([0, 1, 1, 0, 1, 0])
ONE_HOT = np.eye(N_OUT, dtype=np.float32)[LABELS]
WEIGHT = rng.uniform(0.5, 2, N).astype(np.float32)
V_OUT = rng.standard_normal((N, N_OUT)).astype(np.float32)
V_IN = rng.standard_normal((N, N_IN)).astype(np.float32)
ENVIRONMENT = os.environ | {"PYTHONPATH": str(Path(fastbp.__file__).parents[1])}


def network(**options):
    return fastbp.Network([N_IN, 4, N_OUT], **{"seed": 0} | options)


# Every method that takes data, by the names of its arguments, and what makes a good call.
METHODS = {
    "predict": {"X": X},
    "feedforward": {"X": X},
    "loss": {"X": X, "Y": LABELS, "sample_weight": WEIGHT},
    "deltas": {"X": X, "Y": LABELS},
    "gradient": {"X": X, "Y": LABELS, "sample_weight": WEIGHT},
    "input_gradient": {"X": X, "Y": LABELS},
    "jacobian": {"X": X},
    "vjp": {"X": X, "V": V_OUT},
    "jvp": {"X": X, "V": V_IN},
    "fit": {"X": X, "Y": LABELS, "sample_weight": WEIGHT, "epochs": 2, "seed": 1},
}


def call(net, method, **changed):
    return getattr(net, method)(**METHODS[method] | changed)


def methods_with(name):
    return [method for method, arguments in METHODS.items() if name in arguments]


def refused(net, method, kind, *words, **arguments):
    """Call and hold the refusal against its kind and words, and the network against its bits."""
    before = net.parameters.copy()
    given = {k: v.tobytes() for k, v in arguments.items() if isinstance(v, np.ndarray)}
    with pytest.raises(kind) as caught:
        call(net, method, **arguments)
    assert caught.type is kind
    for word in words:
        assert word in str(caught.value), str(caught.value)
    assert net.parameters.tobytes() == before.tobytes()
    for name, content in given.items():
        assert arguments[name].tobytes() == content


# arrays

BAD_X = {
    "one row flat": (X[0], ValueError, ["2 dimensions", "(3,)", "reshape(1, -1)"]),
    "three dimensions": (X[None], ValueError, ["2 dimensions", "(1, 6, 3)"]),
    "scalar": (1.0, ValueError, ["2 dimensions", "()"]),
    "columns": (X[:, :2], ValueError, ["3 columns", "got 2"]),
    "no rows": (X[:0], ValueError, ["at least one row", "(0, 3)"]),
    "empty list": ([], ValueError, ["2 dimensions", "(0,)"]),
    "nan": (np.where(np.arange(18).reshape(6, 3) == 7, np.nan, X), ValueError,
            ["finite", "NaN at [2, 1]"]),
    "infinity": ([[0, 0, -np.inf]] * N, ValueError, ["finite", "infinity at [0, 2]", "6 such"]),
    "too large": (np.full((N, 3), 1e300), ValueError, ["float32 holds", "1e+300"]),
    "strings": ([["a", "b", "c"]] * N, TypeError, ["numbers", "<U1"]),
    "numbers as text": ([["1", "2", "3"]] * N, TypeError, ["numbers", "<U1"]),
    "objects": (np.full((N, 3), None), TypeError, ["numbers", "object"]),
    "none": (None, TypeError, ["numbers", "NoneType"]),
    "complex": (X + 1j, TypeError, ["numbers", "complex"]),
    "dates": (np.zeros((N, 3), "M8[s]"), TypeError, ["numbers", "datetime64"]),
    "ragged": ([[1, 2, 3], [1, 2]], ValueError, ["rectangular"]),
    "masked": (np.ma.array(X, mask=X > 1), ValueError, ["masked"]),
    "text objects": (np.where(X > 1, "far", X.astype(object)), TypeError, ["numbers", "'far' at"]),
    "missing": (pd.DataFrame({"a": pd.array([1, None] * 3, "Int64"), "b": 1.0, "c": True}),
                TypeError, ["numbers", "missing value <NA> (3 in all) at [1, 0], column 'a'"]),
    "missing in polars": (pl.DataFrame({"a": [True, None] * 3, "b": [False] * 6, "c": [True] * 6}),
                          TypeError, ["numbers", "missing value None (3 in all) at [1, 0]"]),
    "another's sparse": (type("COO", (), {"nnz": 1, "todense": None})(), TypeError,
                         ["a dense array", "COO", "toarray"]),
    "enormous": ([[10**400, 1, 1]] * N, TypeError, ["numbers"]),
    "huge integers": ([[10**30, 1, 1]] * N, TypeError, ["numbers", "object"]),
    "frame with text": (pd.DataFrame({"a": [1.0], "b": ["x"], "c": [2.0]}), TypeError, ["numbers"]),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", BAD_X)
def test_bad_X(method, case):
    value, kind, words = BAD_X[case]
    refused(network(), method, kind, "X: expected", *words, X=value)


BAD_Y = {
    "fewer rows": (LABELS[:4], ValueError, ["6 rows", "got 4"]),
    "fewer rows of targets": (ONE_HOT[:4], ValueError, ["6 rows", "got 4"]),
    "columns": (np.zeros((N, 3)), ValueError, ["(6, 2)", "(6, 3)"]),
    "three dimensions": (ONE_HOT[None], ValueError, ["(6, 2)", "(1, 6, 2)"]),
    "column of labels": (LABELS[:, None], ValueError, ["(6,)", "(6, 1)"]),
    "scalar": (1, ValueError, ["()"]),
    "label too large": ([0, 1, 2, 0, 1, 0], ValueError, ["0..1", "got 2 at [2]"]),
    "label negative": ([0, 1, 1, -1, 1, 0], ValueError, ["0..1", "got -1 at [3]"]),
    "label not whole": ([0, 1, 0.5, 0, 1, 0], ValueError, ["whole", "0.5 at [2]"]),
    "label nan": ([0, 1, np.nan, 0, 1, 0], ValueError, ["whole", "nan at [2]"]),
    "label infinite": ([0, 1, np.inf, 0, 1, 0], ValueError, ["whole", "inf at [2]"]),
    "label text": (["a"] * N, TypeError, ["0..1", "<U1"]),
    "label names": (list("abbaba"), TypeError, ["0..1", "such as 'a'", "unique", "MLPClassifier"]),
    "label strings": (pd.Series(list("abbaba")), TypeError, ["such as 'a'", "MLPClassifier"]),
    "categories": (pd.Series(list("abbaba"), dtype="category"), TypeError, ["'a'", "unique"]),
    "a column of names": (np.array(list("abbaba"))[:, None], TypeError, ["'a'", "unique"]),
    "missing labels": (pd.Series([0, 1, None] * 2, dtype="Int64"), ValueError, ["nan at [2]"]),
    "missing flags": (pd.Series([False, True, None] * 2, dtype="boolean"), TypeError,
                      ["0..1", "missing value <NA> (2 in all) at [2]"]),
    "sparse targets": (sparse.csr_matrix(ONE_HOT), TypeError, ["a dense array", "csr_matrix"]),
    "label objects": (np.array([0, 1, None, 0, 1, 0]), TypeError, ["0..1", "object"]),
    "target nan": (np.where(ONE_HOT == 1, np.nan, 0), ValueError, ["finite", "NaN at [0, 0]"]),
    "target infinite": (np.full((N, 2), np.inf), ValueError, ["finite", "infinity at [0, 0]"]),
    "target negative": (ONE_HOT - 1, ValueError, ["at least 0", "-1 at [0, 1]"]),
    "target text": ([["a", "b"]] * N, TypeError, ["numbers"]),
    "none": (None, TypeError, ["numbers", "NoneType"]),
    "ragged": ([[0, 1], [1]] * 3, ValueError, ["rectangular"]),
    "masked labels": (np.ma.array(LABELS, mask=LABELS == 1), ValueError, ["masked", "got 3"]),
    "masked targets": (np.ma.array(ONE_HOT, mask=ONE_HOT == 1), ValueError, ["masked"]),
}  # fmt: skip


@pytest.mark.parametrize("method", methods_with("Y"))
@pytest.mark.parametrize("case", BAD_Y)
def test_bad_Y(method, case):
    value, kind, words = BAD_Y[case]
    refused(network(), method, kind, "Y: ", *words, Y=value)


@pytest.mark.parametrize(
    ("output", "loss", "bad", "rule"),
    [
        ("sigmoid", "binary_cross_entropy", 1.5, "in [0, 1]"),
        ("sigmoid", "binary_cross_entropy", -0.1, "in [0, 1]"),
        ("identity", "hinge", 0.0, "-1 or 1"),
        ("identity", "squared_hinge", 2.0, "-1 or 1"),
        ("exp", "poisson", -1.0, "at least 0"),
        ("softmax", "kl", -0.5, "at least 0"),
    ],
)
@pytest.mark.parametrize("method", methods_with("Y"))
def test_targets_that_a_loss_cannot_take(method, output, loss, bad, rule):
    Y = np.ones((N, N_OUT))
    Y[4, 1] = bad
    net = network(output=output, loss=loss)
    refused(net, method, ValueError, "Y: ", repr(loss), rule, f"{bad:g} at [4, 1]", Y=Y)


BAD_WEIGHT = {
    "rows": (WEIGHT[:5], ValueError, ["(6,)", "(5,)"]),
    "matrix": (WEIGHT[:, None], ValueError, ["(6,)", "(6, 1)"]),
    "scalar": (1.0, ValueError, ["(6,)", "()"]),
    "negative": (WEIGHT - 2, ValueError, [">= 0", "at ["]),
    "zeros": (np.zeros(N), ValueError, ["above 0", "zeros"]),
    "nan": (np.full(N, np.nan), ValueError, ["finite", "NaN at [0]"]),
    "infinity": (np.full(N, np.inf), ValueError, ["finite", "infinity at [0]"]),
    "text": (["a"] * N, TypeError, ["numbers", "<U1"]),
    "word": ("balanced", TypeError, ["numbers"]),
    "ragged": ([[1], [2, 3]], ValueError, ["rectangular"]),
}


@pytest.mark.parametrize("method", methods_with("sample_weight"))
@pytest.mark.parametrize("case", BAD_WEIGHT)
def test_bad_sample_weight(method, case):
    value, kind, words = BAD_WEIGHT[case]
    refused(network(), method, kind, "sample_weight: expected", *words, sample_weight=value)


@pytest.mark.parametrize("method", ["vjp", "jvp"])
@pytest.mark.parametrize("case", ["columns", "rows", "flat", "nan", "text", "none"])
def test_bad_V(method, case):
    V = METHODS[method]["V"]
    value, kind, words = {
        "columns": (np.zeros((N, 5)), ValueError, [f"{V.shape[1]} columns", "got 5"]),
        "rows": (V[:4], ValueError, ["6 rows", "got 4"]),
        "flat": (V[0], ValueError, ["2 dimensions", f"({V.shape[1]},)"]),
        "nan": (V * np.float32(np.nan), ValueError, ["finite", "NaN at [0, 0]"]),
        "text": ([["a"]], TypeError, ["numbers"]),
        "none": (None, TypeError, ["numbers", "NoneType"]),
    }[case]
    refused(network(), method, kind, "V: expected", *words, V=value)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (-np.inf, "infinity")])
def test_parameters_that_somebody_spoiled(method, value, word):
    net = network()
    net.biases[0][1] = value
    refused(net, method, ValueError, "parameters: expected finite", f"{word} at [13]")


# out=

OUT = {
    "predict": ((N, N_OUT), {}),
    "gradient": ((26,), {}),
}


@pytest.mark.parametrize("method", OUT)
def test_bad_out(method):
    shape, _ = OUT[method]
    net = network()
    good = np.empty(shape, np.float32)
    readonly = np.full(shape, 7, np.float32)
    readonly.flags.writeable = False
    unaligned = np.zeros(good.nbytes + 1, np.uint8)[1:].view(np.float32).reshape(shape)
    wide = np.full((2, *shape), 7, np.float32).T  # Fortran order of more dimensions
    strided = np.full((*shape, 2), 7, np.float32)[..., 0]
    for out, kind, words in [
        (np.full((9, *shape[1:]), 7, np.float32), ValueError, [str(shape), "(9,"]),
        (np.full(shape, 7, np.float64), ValueError, ["float32", "float64"]),
        (np.full(shape, 7, ">f4"), ValueError, ["float32", ">f4"]),
        (wide, ValueError, [str(shape)]),
        (readonly, ValueError, ["writable", "C-contiguous"]),
        (strided, ValueError, ["writable", "C-contiguous"]),
        (unaligned, ValueError, ["C-contiguous"]),
        (good.tolist(), TypeError, ["NumPy array", "list"]),
        ("x", TypeError, ["NumPy array", "str"]),
    ]:
        refused(net, method, kind, "out: expected", *words, out=out)


def test_out_that_overlaps():
    net = network(dtype="float32")
    for alias in (net.parameters, net.parameters[::-1][::-1]):
        refused(net, "gradient", ValueError, "out: expected memory apart", out=alias)
    square = fastbp.Network([3, 4, 2], seed=0)
    before = square.parameters.copy()
    with pytest.raises(ValueError, match=r"out: expected memory apart"):
        square.predict(np.zeros((4, 3)), out=square.weights[1])
    assert square.parameters.tobytes() == before.tobytes()
    # gradient's memory with its inputs
    store = np.zeros(26, np.float32)
    store[:18] = X.ravel()
    refused(net, "gradient", ValueError, "out: expected memory apart",
            X=store[:18].reshape(6, 3), out=store)  # fmt: skip
    store = np.zeros(26, np.float32)
    store[:6] = WEIGHT
    refused(net, "gradient", ValueError, "out: expected memory apart",
            sample_weight=store[:6], out=store)  # fmt: skip
    store = np.zeros(26, np.float32)
    store[:12] = ONE_HOT.ravel()
    refused(net, "gradient", ValueError, "out: expected memory apart",
            Y=store[:12].reshape(6, 2), out=store)  # fmt: skip
    # a prediction over its own input is made from a copy
    auto = fastbp.Network([3, 5, 3], seed=0)
    data = X.copy()
    expected = auto.predict(X)
    assert auto.predict(data, out=data) is data
    assert data.tobytes() == expected.tobytes()


def test_out_is_written_and_returned():
    net = network()
    for method, (shape, _) in OUT.items():
        out = np.full(shape, np.nan, np.float32)
        assert call(net, method, out=out) is out
        assert out.tobytes() == call(net, method).tobytes()


# accepted


def same(one, other):
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return np.asarray(one).tobytes() == np.asarray(other).tobytes()


def result(net, method, **arguments):
    net = net.copy()
    got = call(net, method, **arguments)
    return [net.parameters, got["loss"]] if method == "fit" else got


def readonly(array):
    array = array.copy()
    array.flags.writeable = False
    return array


def unaligned(array):
    raw = np.zeros(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape)
    raw[...] = array
    return raw


def memory_map(array, folder):
    np.save(folder / "array.npy", array)
    return np.load(folder / "array.npy", mmap_mode="r")


class ArrayLike:
    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return self.array if dtype is None else self.array.astype(dtype)


FORMS = {
    "every second row": lambda a: np.repeat(a, 2, axis=0)[::2],
    "reversed": lambda a: np.ascontiguousarray(a[::-1])[::-1],
    "every second column": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "Fortran": np.asfortranarray,
    "read-only": readonly,
    "unaligned": unaligned,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "float64": lambda a: a.astype(np.float64),
    "longdouble": lambda a: a.astype(np.longdouble),
    "list": lambda a: a.tolist(),
    "list of arrays": list,
    "tuple": lambda a: tuple(map(tuple, a.tolist())) if a.ndim > 1 else tuple(a.tolist()),
    "pandas": lambda a: pd.DataFrame(a) if a.ndim > 1 else pd.Series(a, index=range(5, 5 + len(a))),
    "nullable": lambda a: (
        pd.DataFrame(a).convert_dtypes(dtype_backend="numpy_nullable")
        if a.ndim > 1
        else pd.Series(a).convert_dtypes(dtype_backend="numpy_nullable")
    ),
    "polars": lambda a: pl.DataFrame(a) if a.ndim > 1 else pl.Series(a),
    "objects": lambda a: a.astype(object),
    "__array__": ArrayLike,
    "unmasked": np.ma.array,
    "subclass": lambda a: a.view(type("Sub", (np.ndarray,), {})),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("form", FORMS)
def test_any_array_gives_the_same_bits(method, form):
    net = network()
    arrays = {k: v for k, v in METHODS[method].items() if isinstance(v, np.ndarray)}
    expected = result(net, method)
    changed = {name: FORMS[form](array) for name, array in arrays.items()}
    assert same(result(net, method, **changed), expected)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", ["i1", "u1", "i4", ">i2", "i8", "u8", "f2", "?", "boolean"])
def test_whole_numbers_half_precision_and_bools(method, dtype):
    """Values that every type holds, in the type and as float32."""
    bits = rng.integers(0, 2, (N, N_IN))
    plain = {"X": bits, "V": bits[:, :N_OUT] if method == "vjp" else bits, "sample_weight": None}
    plain["sample_weight"] = np.array([1, 0, 1, 1, 0, 1])
    plain = {k: v for k, v in plain.items() if k in METHODS[method]}
    net = network()
    expected = result(net, method, **{k: v.astype(np.float32) for k, v in plain.items()})
    if dtype == "boolean":
        given = {k: v.astype(bool).tolist() for k, v in plain.items()}
    else:
        given = {k: v.astype(dtype) for k, v in plain.items()}
    assert same(result(net, method, **given), expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_engine_gets_aligned_memory_alone(dtype):
    """A load at half a number is undefined in C, though x86 makes it."""
    net, single = network(dtype=dtype), np.dtype("f4")
    dense, one_hot = unaligned(X.astype(dtype)), unaligned(ONE_HOT.astype(dtype))
    taken = [
        inputs.as_numbers(dense, "X", net.dtype),
        inputs.as_numbers(dense, "X", single),
        inputs.as_indices(unaligned(LABELS), "rows", N),
        inputs.as_targets(unaligned(LABELS), N, N_OUT, net._loss, net.dtype)[1],
        inputs.as_targets(one_hot, N, N_OUT, net._loss, net.dtype)[0],
        value_and_slope(lambda *_: (0.0, one_hot), ONE_HOT.astype(dtype), ONE_HOT, WEIGHT)[1],
    ]
    assert all(array.flags.c_contiguous and array.flags.aligned for array in taken)


@pytest.mark.parametrize("method", METHODS)
def test_memory_maps(method, tmp_path):
    net = network()
    expected = result(net, method)
    assert same(result(net, method, X=memory_map(X, tmp_path)), expected)


@pytest.mark.parametrize("method", methods_with("Y"))
def test_forms_of_labels(method):
    net = network()
    expected = result(net, method)
    for dtype in ("u1", "i2", ">i8", "u8", "f2", "f8"):
        assert same(result(net, method, Y=LABELS.astype(dtype)), expected), dtype
    assert same(result(net, method, Y=unaligned(LABELS)), expected)
    assert same(result(net, method, Y=ONE_HOT), expected)
    assert same(result(net, method, Y=ONE_HOT.astype(bool)), expected)
    assert same(result(net, method, Y=pd.Series(LABELS, index=range(9, 15))), expected)
    one = fastbp.Network([N_IN, 4, 1], output="identity", loss="mse", seed=0)
    y = V_OUT[:, 0].copy()
    assert same(result(one, method, Y=y), result(one, method, Y=y[:, None]))


def test_truth_values_are_classes_and_numbers():
    plain = network().loss(X, LABELS)
    for made in (LABELS.astype(bool), LABELS.astype(bool).astype(object),
                 pd.Series(LABELS, dtype="boolean"), pl.Series(LABELS.astype(bool))):  # fmt: skip
        assert network().loss(X, made) == plain
    frame = pd.DataFrame({"a": [True, False], "b": pd.array([1.5, 2.0], "Float64"), "c": [1, 2]})
    assert same(network().predict(frame), network().predict([[1, 1.5, 1], [0, 2, 2]]))


def test_names_of_two_classes_for_one_output():
    for loss, told in (("binary_cross_entropy", "in [0, 1]"), ("hinge", "-1 or 1")):
        output = "sigmoid" if loss == "binary_cross_entropy" else "identity"
        net = fastbp.Network([N_IN, 1], output=output, loss=loss)
        with pytest.raises(TypeError, match=re.escape(told) + ".*such as 'no'.*MLPClassifier"):
            net.fit(X, ["no", "yes"] * 3)


def test_what_is_missing_may_be_told_so():
    net = fastbp.Network([N_IN, 2], output="identity", loss="mse")
    numbers = np.arange(12.0).reshape(6, 2)
    numbers[1, 0] = np.nan
    frame = pd.DataFrame(numbers).convert_dtypes(dtype_backend="numpy_nullable")
    assert frame.isna().sum().sum() == 1
    expected = net.loss(X, numbers, ignore_missing=True)
    assert net.loss(X, frame, ignore_missing=True) == expected
    absent = np.where(np.isnan(numbers), None, numbers)
    assert net.loss(X, absent, ignore_missing=True) == expected


@pytest.mark.parametrize("method", METHODS)
def test_inputs_are_not_changed(method):
    arguments = {k: np.copy(v) for k, v in METHODS[method].items() if isinstance(v, np.ndarray)}
    call(network(), method, **arguments)
    for name, array in arguments.items():
        assert array.tobytes() == METHODS[method][name].tobytes()


# networks


@pytest.mark.parametrize(
    ("sizes", "kind", "words"),
    [
        ([3, 0], ValueError, ["sizes[1]", ">= 1", "got 0"]),
        ([-3, 2], ValueError, ["sizes[0]", "got -3"]),
        ([3, 2.0], TypeError, ["sizes[1]", "2.0"]),
        ([3, True], TypeError, ["sizes[1]", "True"]),
        ([3, "2"], TypeError, ["sizes[1]", "'2'"]),
        ([3, None], TypeError, ["sizes[1]", "None"]),
        (np.array([[3, 2], [1, 2]]), TypeError, ["sizes[0]", "[3, 2]"]),
        (np.array([3.0, 2.0]), TypeError, ["sizes[0]", "3.0"]),
        ([], ValueError, ["sizes", "at least an input and an output"]),
        ([3], ValueError, ["sizes", "at least", "[3]"]),
        (5, TypeError, ["sizes", "[784, 30, 10]", "got 5"]),
        (None, TypeError, ["sizes", "None"]),
        ("784", TypeError, ["sizes", "'784'"]),
        ([10**10, 10**10], MemoryError, ["sizes", "100,000,000,010,000,000,000"]),
        ([10**30, 2], MemoryError, ["sizes", "do not fit in memory"]),
        ([10**5000, 2], MemoryError, ["sizes", "do not fit in memory"]),
        ([1, 2**62, 2], MemoryError, ["sizes", "do not fit in memory"]),
    ],
)
def test_bad_sizes(sizes, kind, words):
    with pytest.raises(kind) as caught:
        fastbp.Network(sizes)
    for word in words:
        assert word in str(caught.value)


def test_sizes_beyond_this_machine():
    for sizes in ([10**8, 10**8], [2, 10**15]):
        with pytest.raises(MemoryError):
            fastbp.Network(sizes)


def test_a_fit_too_large_for_memory():
    net = fastbp.Network([1, 10**6, 1], output="identity", loss="mse", init="zeros")
    with pytest.raises(MemoryError, match=r"\d bytes of memory|\d bytes"):
        # a loss in Python sees a whole batch; without, one thread would do with a block of it
        net.fit(np.zeros((10**6, 1)), np.zeros(10**6), batch_size=10**6, threads=2,
                loss=lambda a, y, w: (0.0, a))  # fmt: skip
    assert not net.parameters.any()


def test_good_sizes():
    for sizes in ((3, 2), range(2, 4), np.array([3, 2]), [np.int8(3), 2], iter([3, 2])):
        assert isinstance(fastbp.Network(sizes).sizes[0], int)


NAMES = {
    "activation": (functions.ACTIVATIONS, "sigmiod", "sigmoid"),
    "output": (functions.ACTIVATIONS, "sofmax", "softmax"),
    "loss": (functions.LOSSES, "crossentropy", "cross_entropy"),
    "init": (initialization.SCHEMES, "glorot-uniform", "glorot_uniform"),
    "dtype": (("float32", "float64"), "float_32", "float32"),
}


@pytest.mark.parametrize("argument", NAMES)
def test_unknown_names(argument):
    known, wrong, nearest = NAMES[argument]
    with pytest.raises(ValueError) as caught:
        network(**{argument: wrong})
    message = str(caught.value)
    assert message.startswith(f"{argument}: expected one of ") and repr(wrong) in message
    assert f"Did you mean {nearest!r}?" in message
    listed = re.search(r"one of (.*); got", message)[1].split(", ")
    assert listed == list(known)


@pytest.mark.parametrize("argument", ["activation", "output", "loss"])
@pytest.mark.parametrize("value", [3, 2.5, b"relu", object()], ids=shown)
def test_names_that_are_no_text(argument, value):
    with pytest.raises((TypeError, ValueError), match=f"{argument}: expected"):
        network(**{argument: value})


@pytest.mark.parametrize(
    "dtype", ["f2", "float16", ">f4", int, "a", ",", "i4,,f", {}, object(), None, 3, [1]], ids=shown
)
def test_bad_dtype(dtype):
    with pytest.raises(ValueError, match="dtype: expected one of float32, float64"):
        network(dtype=dtype)


@pytest.mark.parametrize("dtype", ["float64", float, np.float64, "d", np.dtype("f8")], ids=str)
def test_good_dtype(dtype):
    assert network(dtype=dtype).dtype == np.float64


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": ["relu", "tanh"]}, ["activation", "1 hidden", "'tanh'"]),
        ({"activation": []}, ["activation", "1 hidden"]),
        ({"activation": "relu(3)"}, ["activation", "'relu' has no parameter"]),
        ({"activation": "leaky_relu(x)"}, ["activation", "number in the brackets"]),
        ({"activation": "leaky_relu(nan)"}, ["activation", "finite", "nan"]),
        ({"activation": "elu(-1)"}, ["activation", "above 0", "-1"]),
        ({"activation": "maxout(2.5)"}, ["activation", "whole number", "2.5"]),
        ({"activation": "maxout(0)"}, ["activation", "whole number", "got 0"]),
        ({"activation": "layer_norm(0)"}, ["activation", "other than 0"]),
        ({"output": "softmax()"}, ["output", "number in the brackets"]),
        ({"loss": "pinball(1)"}, ["loss", "(0, 1)", "got 1"]),
        ({"loss": "huber(0)"}, ["loss", "above 0"]),
        ({"loss": "mae(2)"}, ["loss", "no parameter"]),
        ({"output": "tanh"}, ["loss", "'cross_entropy'", "above 0", "'tanh'", "softmax"]),
        ({"output": "exp", "loss": "binary_cross_entropy"}, ["loss", "in (0, 1)", "sigmoid"]),
        ({"output": "identity", "loss": "poisson"}, ["loss", "above 0", "softplus, exp"]),
    ],
)
def test_bad_functions(options, words):
    with pytest.raises(ValueError) as caught:
        network(**options)
    for word in words:
        assert word in str(caught.value)


def test_gaussian_nll_needs_pairs_of_outputs():
    with pytest.raises(ValueError, match=r"sizes: loss 'gaussian_nll' needs an even number.*got 3"):
        fastbp.Network([2, 3], output="identity", loss="gaussian_nll")


@pytest.mark.parametrize("seed", ["x", 1.5, -1, object(), {}], ids=shown)
def test_bad_seed_of_a_network(seed):
    with pytest.raises((TypeError, ValueError), match="seed: expected a whole number"):
        network(seed=seed)


BAD_PARAMETERS = {
    "shape": (np.zeros(5), ValueError, ["(26,)", "(5,)"]),
    "rank": (np.zeros((26, 1)), ValueError, ["(26,)", "(26, 1)"]),
    "scalar": (0.0, ValueError, ["(26,)", "()"]),
    "nan": (np.full(26, np.nan), ValueError, ["finite", "NaN at [0]"]),
    "too large": (np.full(26, 1e99), ValueError, ["float32 holds"]),
    "text": (["a"] * 26, TypeError, ["numbers"]),
    "none": (None, TypeError, ["numbers"]),
}


@pytest.mark.parametrize("case", BAD_PARAMETERS)
def test_bad_parameters(case):
    value, kind, words = BAD_PARAMETERS[case]
    net = network()
    before = net.parameters.copy()
    with pytest.raises(kind) as caught:
        net.parameters = value
    for word in ["parameters: expected", *words]:
        assert word in str(caught.value)
    assert net.parameters.tobytes() == before.tobytes()


# fit and penalties

NUMBERS = [
    ("x", TypeError, "'x'"),
    ("0.5", TypeError, "'0.5'"),
    (None, TypeError, "None"),
    (True, TypeError, "True"),
    ([0.1], TypeError, "[0.1]"),
    (np.array([0.1]), TypeError, "0.1"),
    (1j, TypeError, "1j"),
    (-0.1, ValueError, "-0.1"),
    (np.nan, ValueError, "nan"),
    (np.inf, ValueError, "inf"),
    (10**400, ValueError, "larger"),
]


@pytest.mark.parametrize("method", ["loss", "gradient", "fit"])
@pytest.mark.parametrize("name", ["l2", "l1"])
@pytest.mark.parametrize(("value", "kind", "word"), NUMBERS, ids=[str(v[0])[:9] for v in NUMBERS])
def test_bad_penalties(method, name, value, kind, word):
    refused(network(), method, kind, f"{name}: expected", ">= 0", word, **{name: value})


def event_error(event):
    raise AssertionError("training began")


BAD_FIT = {
    "epochs 0": ({"epochs": 0}, ValueError, ["epochs: expected", ">= 1", "got 0"]),
    "epochs negative": ({"epochs": -5}, ValueError, ["epochs", "got -5"]),
    "epochs float": ({"epochs": 2.0}, TypeError, ["epochs", "2.0"]),
    "epochs text": ({"epochs": "3"}, TypeError, ["epochs", "'3'"]),
    "epochs none": ({"epochs": None}, TypeError, ["epochs", "None"]),
    "epochs bool": ({"epochs": True}, TypeError, ["epochs", "True"]),
    "epochs array": ({"epochs": np.array([2])}, TypeError, ["epochs", "array([2])"]),
    "batch 0": ({"batch_size": 0}, ValueError, ["batch_size", ">= 1", "got 0"]),
    "batch negative": ({"batch_size": -1}, ValueError, ["batch_size", "got -1"]),
    "batch float": ({"batch_size": 2.5}, TypeError, ["batch_size", "2.5"]),
    "batch none": ({"batch_size": None}, TypeError, ["batch_size", "None"]),
    "optimizer text": ({"optimizer": "adim"}, ValueError, ["optimizer", "sgd, adam", "'adam'?"]),
    "optimizer class": ({"optimizer": fastbp.SGD}, TypeError, ["optimizer", "with its numbers"]),
    "shuffle text": ({"shuffle": "yes"}, TypeError, ["shuffle", "'yes'"]),
    "shuffle none": ({"shuffle": None}, TypeError, ["shuffle", "None"]),
    "shuffle number": ({"shuffle": 1}, TypeError, ["shuffle", "got 1"]),
    "seed text": ({"seed": "x"}, TypeError, ["seed", "'x'"]),
    "seed float": ({"seed": 1.5}, TypeError, ["seed", "1.5"]),
    "seed negative": ({"seed": -1}, ValueError, ["seed", "got -1"]),
    "threads 0": ({"threads": 0}, ValueError, ["threads", "got 0"]),
    "threads text": ({"threads": "2"}, TypeError, ["threads", "'2'"]),
    "threads float": ({"threads": 2.0}, TypeError, ["threads", "2.0"]),
    "callback": ({"callbacks": [3]}, TypeError, ["callbacks", "got 3"]),
    "callbacks no list": ({"callbacks": event_error}, TypeError, ["callbacks", "a list"]),
    "callbacks number": ({"callbacks": 5}, TypeError, ["callbacks", "got 5"]),
    "callbacks text": ({"callbacks": "abc"}, TypeError, ["callbacks", "'abc'"]),
    "progress": ({"progress": np.array([1, 2])}, TypeError, ["progress", "True or False"]),
    "resume": ({"resume": 5}, TypeError, ["resume", "History", "got 5"]),
    "resume unused": ({"resume": fastbp.History()}, ValueError, ["resume", "finished fit"]),
    "validation rank": ({"validation": (X[0], [0])}, ValueError, ["validation: X:", "2 dim"]),
    "validation rows": ({"validation": (X, LABELS[:3])}, ValueError, ["validation: Y:", "6 rows"]),
    "validation columns": ({"validation": (X[:, :1], LABELS)}, ValueError, ["validation: X:"]),
    "validation nan": ({"validation": (X * np.nan, LABELS)}, ValueError, ["validation: X:", "NaN"]),
    "validation label": ({"validation": (X, LABELS + 1)}, ValueError, ["validation: Y:", "0..1"]),
    "validation text": ({"validation": (X, ["a"] * N)}, TypeError, ["validation: Y:"]),
    "validation weights": (
        {"validation": (X, LABELS, -WEIGHT)}, ValueError, ["validation: sample_weight:"]
    ),
    "validation share 0": ({"validation": 0.0}, ValueError, ["validation", "(0, 1)", "0.0 of 6"]),
    "validation share 1": ({"validation": 1.0}, ValueError, ["validation", "(0, 1)"]),
    "validation share nan": ({"validation": np.nan}, ValueError, ["validation", "nan"]),
    "validation whole": ({"validation": 2}, TypeError, ["validation", "share", "int"]),
    "validation flag": ({"validation": True}, TypeError, ["validation", "bool"]),
    "validation array": ({"validation": X}, TypeError, ["validation", "(X, Y)", "ndarray"]),
    "validation four": ({"validation": (X, LABELS, None, None)}, TypeError, ["validation"]),
    "unknown": ({"epoch": 3}, TypeError, ["epoch"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_FIT)
def test_bad_arguments_of_fit(case):
    changed, kind, words = BAD_FIT[case]
    refused(network(), "fit", kind, *words, **{"callbacks": [event_error]} | changed)


@pytest.mark.parametrize("hot", range(N))
def test_a_share_whose_weights_are_all_zero(hot):
    weight = np.zeros(N)
    weight[hot] = 1  # in one part only, wherever it falls
    refused(network(), "fit", ValueError, "validation: expected weights above 0", "only zeros",
            sample_weight=weight, validation=0.5, callbacks=[event_error])  # fmt: skip


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (lambda e, n: np.zeros(n, int), ["permutation of 0..5", "repeats"]),
        (lambda e, n: np.arange(n) + 1, ["repeats or leaves that range"]),
        (lambda e, n: np.arange(n) - 1, ["repeats or leaves that range"]),
        (lambda e, n: np.arange(n, dtype="u8") << np.uint64(61), ["repeats or leaves"]),
        (lambda e, n: np.arange(n - 1), ["(6,)", "(5,)"]),
        (lambda e, n: np.arange(n)[None], ["(6,)", "(1, 6)"]),
        (lambda e, n: np.arange(n) * 1.0, ["integers", "float64"]),
        (lambda e, n: None, ["permutation", "object"]),
        (lambda e, n: "012345", ["permutation", "<U6"]),
        (lambda e, n: np.ones(n, bool), ["integers", "bool"]),
    ],
)
def test_shuffles_that_are_no_permutation(order, words):
    refused(network(), "fit", ValueError, "shuffle: expected", *words, "epoch 0", shuffle=order)


def test_a_bad_order_later_keeps_whole_epochs():
    def order(epoch, n):
        return np.arange(n) if epoch < 2 else np.zeros(n, int)

    net, twin = network(), network()
    with pytest.raises(ValueError, match="epoch 2"):
        call(net, "fit", epochs=5, batch_size=2, shuffle=order)
    call(twin, "fit", epochs=2, batch_size=2, shuffle=order)
    assert net.parameters.tobytes() == twin.parameters.tobytes()


@pytest.mark.parametrize("dtype", ["u1", "u8", ">i4", "i8"])
def test_orders_of_any_whole_type(dtype):
    expected = result(network(), "fit", shuffle=lambda e, n: np.arange(n)[::-1])
    assert same(
        result(network(), "fit", shuffle=lambda e, n: np.arange(n)[::-1].astype(dtype)), expected
    )


def test_a_batch_larger_than_the_data_is_all_of_it():
    whole = result(network(), "fit", batch_size=N)
    for size in (N + 1, 10**6, 10**30, np.int64(2**62)):
        assert same(result(network(), "fit", batch_size=size), whole)
    assert not same(result(network(), "fit", batch_size=N - 1), whole)


def test_more_epochs_than_memory_holds():
    seen = []

    def stop(event):
        seen.append(event.epochs)
        return True

    history = call(network(), "fit", epochs=10**30, callbacks=[stop])
    assert history.epochs == 1 and seen == [10**30]


def test_resume_of_another_run():
    history = call(network(), "fit", batch_size=2)
    for changed, words in [
        ({"X": X[:4], "Y": LABELS[:4], "sample_weight": None}, ["same n", "6", "4"]),
        ({"batch_size": 3}, ["same batch_size", "2", "3"]),
        ({"batch_size": 2, "seed": 5}, ["same seed"]),
        ({"batch_size": 2, "optimizer": fastbp.SGD(0.1)}, ["same kind of optimizer", "SGD"]),
        ({"batch_size": 2, "shuffle": False}, ["same shuffle", "True", "False"]),
    ]:
        refused(network(), "fit", ValueError, "resume: expected", *words,
                resume=history, **changed)  # fmt: skip
    refused(network(dtype="float64"), "fit", ValueError, "resume: expected a network as",
            "float32", "float64", resume=history, batch_size=2)  # fmt: skip
    wider = fastbp.Network([N_IN, 5, N_OUT])
    refused(wider, "fit", ValueError, "resume: expected a network as", "26", "32",
            resume=history, batch_size=2)  # fmt: skip


@pytest.mark.parametrize(
    ("make", "kind", "words"),
    [
        (lambda: fastbp.SGD(-1), ValueError, ["SGD.learning_rate", ">= 0", "-1"]),
        (lambda: fastbp.SGD(np.nan), ValueError, ["SGD.learning_rate", "nan"]),
        (lambda: fastbp.SGD("0.1"), TypeError, ["SGD.learning_rate", "'0.1'"]),
        (lambda: fastbp.SGD(None), TypeError, ["SGD.learning_rate", "None"]),
        (lambda: fastbp.SGD(0.1, momentum=1.0), ValueError, ["SGD.momentum", "[0, 1)"]),
        (lambda: fastbp.SGD(0.1, nesterov=True), ValueError, ["SGD.nesterov", "momentum"]),
        (lambda: fastbp.Adam(beta1=1), ValueError, ["Adam.beta1", "[0, 1)"]),
        (lambda: fastbp.Adam(beta2=-0.1), ValueError, ["Adam.beta2"]),
        (lambda: fastbp.Adam(epsilon=0), ValueError, ["Adam.epsilon"]),
        (lambda: fastbp.AdamW(weight_decay=-1), ValueError, ["AdamW.weight_decay"]),
        (lambda: fastbp.Adam(np.array([1.0])), TypeError, ["Adam.learning_rate"]),
    ],
)
def test_bad_optimizers(make, kind, words):
    with pytest.raises(kind) as caught:
        make()
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: fastbp.SGD(10**400), ValueError),
        (lambda: fastbp.SGD(True), TypeError),
        (lambda: fastbp.SGD(0.1, 0.9, nesterov="no"), TypeError),
        (lambda: fastbp.SGD(0.1, 0.9, nesterov=np.array([1, 2])), TypeError),
    ],
)
def test_optimizers_take_numbers_alone(make, kind):
    with pytest.raises((ValueError, TypeError), match=r"SGD\.") as caught:
        make()
    assert caught.type is kind


# what is no number, no name and no network (all of it: tests/fuzz)


class Tensor:
    """As of another library: on a device that NumPy cannot read."""

    def __array__(self, *args, **options):
        raise RuntimeError("cannot convert a tensor that needs a gradient")

    __float__ = __len__ = __iter__ = __bool__ = __array__


ARRAY = np.array([1.0, 2.0])
FIT = {
    "metrics": ([["accuracy"]], [{}], {"loss": max}, 5),
    "l2": (ARRAY, 1j, np.complex64(1j), 10**400, Tensor(), np.ma.masked, "0.1", np.array(None)),
    "label_smoothing": (ARRAY, pd.NA, "x", [], 10**400),
    "ignore_missing": (ARRAY, pd.NA, pd.DataFrame({"a": [1, 2]}), 1, None),
    "dropout": (np.array(None), np.timedelta64(1, "s"), np.array("a"), 10**400, 1j, {0.5}),
    "ema": (ARRAY, Tensor(), 10**400),
    "class_weight": ({(1, 2): 1.0}, {0: ARRAY}, {0: 10**400}, ARRAY),
    "seed": (ARRAY, 1j, Tensor(), np.array(1.5)),
    "callbacks": (Tensor(), 5, [5], np.array(1)),
    "progress": (ARRAY, Tensor(), 1),
    "every": (ARRAY, "a", -1, None),
    "optimizer": (ARRAY, fastbp.Adam, Tensor()),
    "sample_weight": (Tensor(), {}, 1j),
    "X": (Tensor(), {}, 10**400, 10**5000),
    "Y": (Tensor(), {}, pd.NA),
    "checkpoint": (10**5000, np.array("a")),
    "validation": (Tensor(), 1j, (Tensor(), LABELS), (np.full((6, 3), Decimal("sNaN")), LABELS)),
}


@pytest.mark.parametrize("name", FIT)
def test_fit_names_what_it_refuses(name):
    for value in FIT[name]:
        net = network()
        before = net.parameters.copy()
        with pytest.raises((TypeError, ValueError), match=rf"^{name}(\[.*\])?: ") as caught:
            net.fit(**{"X": X, "Y": LABELS, "epochs": 1} | {name: value})
        assert caught.type in (TypeError, ValueError)
        assert net.parameters.tobytes() == before.tobytes()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: network(dtype=np.float32(1)), "dtype"),
        (lambda: network(dtype=ARRAY), "dtype"),
        (lambda: network(init=ARRAY), "init"),
        (lambda: network(init=["zeros"]), "init"),
        (lambda: network(output=10**5000), "output"),
        (lambda: network(output="maxout(1e400)"), "output"),
        (lambda: network(seed=Tensor()), "seed"),
        (lambda: fastbp.Network({3, 4}), "sizes"),
        (lambda: fastbp.datasets.read(__file__, header=ARRAY), "header"),
        (lambda: fastbp.check.gradient(sum, [1.0], Tensor()), "x"),
        (lambda: fastbp.schedules.Cosine(warmup=10**5000, epochs=5), "Cosine.warmup"),
        (lambda: fastbp.Network(np.array(3)), "sizes"),
        (lambda: fastbp.Network(Tensor()), "sizes"),
        (lambda: fastbp.SGD(np.complex64(1j)), "SGD.learning_rate"),
        (lambda: fastbp.SGD(Tensor()), "SGD.learning_rate"),
        (lambda: fastbp.LBFGS(max_iter=Tensor()), "LBFGS.max_iter"),
        (lambda: fastbp.EarlyStopping(mode=ARRAY), "EarlyStopping.mode"),
        (lambda: fastbp.EarlyStopping(min_delta=1j), "EarlyStopping.min_delta"),
        (lambda: fastbp.schedules.Adaptive(np.complex64(1j)), "Adaptive.tol"),
        (lambda: fastbp.schedules.OneCycle(epochs=10**400), "OneCycle.epochs"),
        (lambda: fastbp.Dropout(10**400), "Dropout.rate"),
        (lambda: fastbp.Dropout(0.5).masks("net", 3), "net"),
        (lambda: fastbp.Dropout(0.5).masks(network(), 2**62), "n"),
        (lambda: DeltaNorms(X, LABELS).record(ARRAY), "net"),
        (lambda: fastbp.History(5), "earlier"),
        (lambda: persistence.save(5, "net"), "net"),
        (lambda: benchmark.chosen(5), "letters"),
        (lambda: fastbp.check.structure("relu", 10**9), "n"),
        (lambda: fastbp.check.gradients(network(), X, LABELS, mode=ARRAY), "mode"),
        (lambda: fastbp.check.gradients(network(), X, LABELS, l2=ARRAY), "l2"),
        (lambda: fastbp.check.gradients(network(), X, LABELS, ignore_missing=5), "ignore_missing"),
        (lambda: fastbp.check.gradient(lambda x: 10**400, [1.0], [1.0]), "f"),
        (lambda: fastbp.check.gradient(sum, [1.0], [1.0], method=["auto"]), "method"),
        (lambda: explain(5, X[0], 1), "nets"),
        (lambda: explain([network(), 5], X[0], 1), "nets[1]"),
        (lambda: explain(network(), X[0], 1, labels=5), "labels"),
        (lambda: explain(network(), X[0], 1, image=(1, 1)), "image"),
        (lambda: explain(network(), X[0], 1, neuron="a"), "neuron"),
        (lambda: explain(network(), X[0], 1, source=5), "source"),
        (lambda: Scaling.of(5), "X"),
        (lambda: held_out(LABELS, 1j, 0), "share"),
        (lambda: fastbp.datasets.read(__file__, task=["regression"]), "task"),
        (lambda: fastbp.datasets.read(__file__, target=5), "target"),
        (lambda: fastbp.datasets.read_inputs(__file__, columns="ab"), "columns"),
    ],
)
def test_what_is_refused_is_named(make, name):
    with pytest.raises((TypeError, ValueError)) as caught:
        make()
    assert str(caught.value).startswith(f"{name}: "), str(caught.value)


def test_a_seed_that_holds_itself():
    seed = []
    seed.append(seed)  # NumPy would recurse until the process ends
    with pytest.raises(TypeError, match="seed: expected"):
        network(seed=seed)


def test_numbers_of_other_kinds_are_numbers():
    for value in (Fraction(1, 2), Decimal("0.5"), np.float16(0.5), np.array(0.5)):
        assert fastbp.SGD(value) == fastbp.SGD(0.5)
        assert (
            list(itertools.islice(fastbp.schedules.Exponential(value).rates(1.0, 2, 9), 2))[1]
            == 0.5
        )
        assert network().loss(X, LABELS, l2=value) == network().loss(X, LABELS, l2=0.5)


def test_class_indices_of_gaussian_nll_are_those_of_its_means():
    net = fastbp.Network([2, 4], output="identity", loss="gaussian_nll")
    with pytest.raises(ValueError, match=r"Y: expected class indices 0\.\.1"):
        net.loss([[1.0, 2.0]], [2])


# what is used as an index is nobody else's to write once it is checked


@pytest.mark.parametrize("dtype", [np.intp, np.int32, np.float64])
def test_indices_are_copies(dtype):
    values = np.array([0, 1, 1, 0, 1, 0], dtype)
    _, labels = inputs.as_targets(values, N, N_OUT, functions.loss("cross_entropy"), X.dtype)
    for copy in (labels, inputs.as_indices(values.astype(np.intp), "index", 9)):
        assert copy.dtype == np.intp and copy.tolist() == values.tolist()
    for given in (np.arange(6), np.empty(0, np.intp)):
        assert not np.may_share_memory(inputs.as_indices(given, "index", 9), given)
    assert not np.may_share_memory(labels, values)


WRITTEN = """
    import sys
    import numpy as np
    import fastbp

    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((64, 3)), rng.integers(0, 4, 64)
    WILD = 10**int(sys.argv[1])

    def made(threads, write):
        labels, held_out, orders = Y.copy(), Y[:9].copy(), np.arange(64)[::-1].copy()

        def spoil(*_):
            if write:
                labels[:] = held_out[:] = orders[:] = WILD

        def order(epoch, n):
            orders[:] = np.random.default_rng(epoch).permutation(n)
            return orders

        def metric(y, a):
            if write:
                y[:] = WILD
            return 0.0

        def loss(a, y, weight):
            value = float((weight * (a[np.arange(len(y)), y] - 1) ** 2).sum())
            slope = np.zeros_like(a)
            slope[np.arange(len(y)), y] = 2 * weight * (a[np.arange(len(y)), y] - 1)
            if write:
                y[:] = WILD
                weight[:] = np.nan
            return value, slope

        found = []
        for options in ({"threads": threads, "metrics": {"own": metric}}, {"loss": loss},
                        {"optimizer": fastbp.LBFGS(9), "batch_size": 32}):
            if "optimizer" not in options:
                options["shuffle"] = order
            labels[:], held_out[:] = Y, Y[:9]
            net = fastbp.Network([3, 8, 4], dtype="float64")
            watch = lambda event: [spoil() for _ in range(2)] and None
            options = {"batch_size": 16, "callbacks": [fastbp.each_step(watch)]} | options
            history = net.fit(X, labels, validation=(X[:9], held_out), epochs=4, **options)
            found += [net.parameters.tobytes()]
            found += [history[name].tobytes() for name in ("loss", "validation_loss")]
        return found

    for threads in (1, 2):
        assert made(threads, True) == made(threads, False)
"""


@pytest.mark.parametrize("power", [1, 7, 17])
def test_what_is_written_into_targets_while_a_fit_goes_on_has_no_effect(power):
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(WRITTEN), str(power)],
        capture_output=True, text=True, env=ENVIRONMENT, timeout=180,
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-3000:])
