"""SciPy's sparse matrices as X: their kinds and forms, what is refused, what is left as it was.

What belongs here: `fastbp.sparse` and the doors of `Network`. What does not: kernels
(tests/kernels/test_lists.py), runs (tests/training/test_sparse_fits.py), estimators.
"""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse

import fastbp
from fastbp.explain import explain
from fastbp.sparse import Lists, as_lists

pytestmark = pytest.mark.sanitizers

FORMS = ("csr", "csc", "coo", "bsr", "dia", "dok", "lil")
X = np.array([[0, 2, 0], [0, 0, 0], [1, 0, -3], [0, 0, 4], [5, 6, 0], [0, 0, 0]], np.float32)
LABELS = np.array([0, 1, 1, 0, 1, 0])
F32 = np.dtype(np.float32)


def network(**options):
    return fastbp.Network([3, 4, 2], **{"seed": 0} | options)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", ["matrix", "array"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.uint64, bool, np.longdouble])
def test_every_form_gives_the_same(form, kind, dtype, never_dense):
    dense = X.astype(dtype) if dtype not in (np.uint64, bool) else np.abs(X).astype(dtype)
    given = sparse.coo_matrix(dense.astype(float) if dtype is np.longdouble else dense)
    if dtype is np.longdouble:
        given.data = given.data.astype(dtype)
    given = getattr(sparse, f"{form}_{kind}")(given)
    net, dense = network(), dense.astype(np.float32)
    assert_array_equal(net.predict(given), net.predict(dense))
    assert_array_equal(net.gradient(given, LABELS), net.gradient(dense, LABELS))
    slopes = net.input_gradient(given, LABELS)
    assert type(slopes) is (sparse.csr_matrix if kind == "matrix" else sparse.csr_array)


def odd_matrix():
    """Rows not sorted, an element in two parts, a 0 among them, 64-bit indices."""
    values = np.array([6.0, 5.0, 0.0, 1.0, 2.0, 7.0], np.float32)
    index = np.array([2, 0, 1, 2, 1, 0], np.int64)
    return sparse.csr_array((values, index, np.array([0, 4, 4, 6], np.int64)), shape=(3, 3))


def test_rows_that_are_not_canonical(never_dense):
    given, net = odd_matrix(), network()
    before = [part.copy() for part in (given.data, given.indices, given.indptr)]
    dense = np.array([[5, 0, 7], [0, 0, 0], [7, 2, 0]], np.float32)
    assert_array_equal(net.predict(given), net.predict(dense))
    assert_array_equal(net.gradient(given, [0, 1, 0]), net.gradient(dense, [0, 1, 0]))
    for part, kept in zip((given.data, given.indices, given.indptr), before, strict=True):
        assert_array_equal(part, kept)  # and nobody sorted it
    lists = as_lists(given, "X", 3, F32)
    assert lists.starts.tolist() == [0, 3, 3, 5] and lists.index.tolist() == [0, 1, 2, 0, 1]
    given.has_canonical_format = True  # which is not so
    assert_array_equal(net.predict(given), net.predict(dense))


def test_explicit_zeros_stay_elements():
    given = sparse.csr_matrix((np.array([0.0, 1.0]), [0, 2], [0, 2]), shape=(1, 3))
    net = network()
    assert_array_equal(net.predict(given), net.predict([[0, 0, 1]]))
    slopes = net.input_gradient(given, [0])
    assert slopes.indices.tolist() == [0, 2] and slopes.data[0] != 0


BAD = {
    "columns": (sparse.csr_matrix(X[:, :2]), ValueError, ["3 columns; got 2"]),
    "one row": (sparse.coo_array(X[0]), ValueError, ["2 dimensions, (samples, 3)", "(3,)"]),
    "no rows": (sparse.csr_array((0, 3)), ValueError, ["at least one row"]),
    "nan": (sparse.csc_array([[0, 1, 0], [0, 0, np.nan], [2, 0, np.nan]]), ValueError,
            ["finite", "NaN at [1, 2] (2 such values)"]),
    "infinite": (sparse.coo_matrix([[0, -np.inf, 0]]), ValueError, ["infinity at [0, 1]"]),
    "complex": (sparse.csr_array(1j * X), TypeError, ["numbers", "csr_array", "complex"]),
    "out of range": (sparse.csr_array(1e300 * X.astype(float)), ValueError, ["float32 holds"]),
}  # fmt: skip
METHODS = {
    "predict": (), "feedforward": (), "loss": (LABELS,), "costs": (LABELS,), "deltas": (LABELS,),
    "gradient": (LABELS,), "input_gradient": (LABELS,), "vjp": (np.ones((6, 2)),),
    "jvp": (X,), "fit": (LABELS,),
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", BAD)
def test_bad_X(method, case):
    value, kind, words = BAD[case]
    net = network()
    before = net.parameters.copy()
    with pytest.raises(kind) as caught:
        getattr(net, method)(value, *METHODS[method])
    for word in ("X: expected", *words):
        assert word in str(caught.value), str(caught.value)
    assert_array_equal(net.parameters, before)


def broken(index, starts):
    given = sparse.csr_matrix(X)
    given.indices, given.indptr = np.array(index, np.int32), np.array(starts, np.int32)
    return given


@pytest.mark.parametrize(
    "given",
    [
        broken([1, 0, 2, 2, 0, 9], [0, 1, 1, 3, 4, 6, 6]),
        broken([1, 0, 2, 2, 0, -1], [0, 1, 1, 3, 4, 6, 6]),
        broken([1, 0, 2, 2, 0, 1], [0, 1, 1, 3, 4, 60, 60]),
        broken([1, 0, 2, 2, 0, 1], [0, 4, 1, 3, 4, 6, 6]),
        broken([1, 0, 2, 2, 0, 1], [1, 1, 1, 3, 4, 6, 6]),
        broken([1, 0, 2], [0, 1, 1, 3, 4, 6, 6]),
    ],
)
def test_matrices_that_contradict_themselves_are_refused(given):
    """The engine would read memory that is not theirs."""
    with pytest.raises(ValueError, match="X: expected"):
        network().predict(given)


def test_what_takes_no_sparse_rows_says_so():
    net, given = network(), sparse.csr_matrix(X)
    with pytest.raises(TypeError, match="X: expected a dense array, for a Jacobian is one"):
        net.jacobian(given)
    for call in (
        lambda: net.jvp(X, given),
        lambda: net.vjp(X, sparse.csr_matrix(np.ones((6, 2)))),
        lambda: net.loss(X, sparse.csr_matrix(np.eye(2)[LABELS])),
        lambda: fastbp.check.gradients(net, given, LABELS),
        lambda: explain(net, given[:1], 1),
    ):
        with pytest.raises(TypeError, match=r"expected a dense array; got csr_matrix"):
            call()


def test_out_may_lie_over_the_values():
    """They are read before they are overwritten."""
    rng = np.random.default_rng(0)
    dense = rng.standard_normal((6, 3)).astype(np.float32)
    net = fastbp.Network([3, 4, 3])
    given, want = sparse.csr_matrix(dense), net.predict(dense)
    out = given.data.reshape(6, 3)
    assert net.predict(given, out=out) is out
    assert_array_equal(out, want)


def test_lists_are_taken_apart():
    rng = np.random.default_rng(0)
    dense = np.where(rng.random((40, 9)) < 0.2, rng.random((40, 9)), 0).astype(np.float32)
    lists = as_lists(sparse.csr_matrix(dense), "X", 9, F32)
    for rows in (np.array([3, 1, 1, 39]), np.arange(40)[::-1], np.array([], int)):
        taken = lists[rows]
        assert isinstance(taken, Lists) and len(taken) == len(rows) and taken.shape[1] == 9
        assert_array_equal(taken.tocsr().toarray(), dense[rows])
    lengths = np.sort((dense != 0).sum(axis=1))
    assert [lists.most(n) for n in (1, 7, 40, 50)] == [lengths[-n:].sum() for n in (1, 7, 40, 40)]


def test_networks_forget_how_they_read_lists():
    net = network()
    net.predict(sparse.csr_matrix(X))
    for twin in (net.copy(), pickle.loads(pickle.dumps(net))):
        assert_array_equal(twin.predict(sparse.csr_matrix(X)), net.predict(X))
    assert "_compiled_for_lists" not in net.__getstate__()["attributes"]


def test_scipy_is_not_imported_for_arrays():
    code = (
        "import sys, fastbp; net = fastbp.Network([2, 3, 2]); "
        "net.fit([[0, 1], [1, 0]], [0, 1], epochs=1); assert 'scipy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
