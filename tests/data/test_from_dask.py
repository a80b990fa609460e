"""`from_dask`: the bits of the same rows in memory, and what is refused.

What does not belong here: what holds for chunks of any source (test_chunk_fits.py).
"""

import numpy as np
import pytest
from chunk_cases import assert_no_readers, order_of

import fastbp
import fastbp.data

dask = pytest.importorskip("dask")
array = pytest.importorskip("dask.array")
pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")

N = 110
RNG = np.random.default_rng(0)
X, Y, WEIGHT = RNG.standard_normal((N, 4)), RNG.integers(0, 3, N), RNG.random(N)


@pytest.fixture(autouse=True)
def threads():
    with dask.config.set(scheduler="synchronous"):
        yield
    assert_no_readers()


def net():
    return fastbp.Network([4, 5, 3], seed=1)


@pytest.mark.parametrize("chunks", [(N, 4), (30, 4), ((1, 50, 59), (2, 2))])
@pytest.mark.parametrize("of_y", ["dask", "other chunks", "numpy"])
def test_bits_of_arrays(chunks, of_y):
    def blocks(X):
        big = array.from_array(X, chunks=(chunks[0], -1) if X.shape[1] == 1 else chunks)
        y = {"dask": array.from_array(Y, chunks=chunks[0]),
             "other chunks": array.from_array(Y, chunks=7), "numpy": Y}[of_y]  # fmt: skip
        return fastbp.data.from_dask(big, y, WEIGHT, shuffle_buffer=40)

    memory, streamed = net(), net()
    order = order_of(blocks(np.arange(float(N))[:, None]), N, 2)
    options = {"epochs": 2, "batch_size": 8, "seed": 2}
    memory.fit(X, Y, sample_weight=WEIGHT, shuffle=order, **options)
    streamed.fit(blocks(X), **options)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()


def test_chunks_of_unknown_length():
    big, y = array.from_array(X, chunks=(30, 4)), array.from_array(Y, chunks=30)
    some = big[:, 0] > -1
    chunks = fastbp.data.from_dask(big[some], y[some])
    assert chunks.n_rows is None
    memory, streamed = net(), net()
    kept = X[:, 0] > -1
    memory.fit(X[kept], Y[kept], shuffle=False, epochs=2)
    streamed.fit(chunks, shuffle=False, epochs=2)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()
    wrong = fastbp.data.from_dask(big[some], y[~some])
    with pytest.raises(ValueError, match=r"partition \d: expected .* rows"):
        net().fit(wrong)


def test_data_frames():
    pandas = pytest.importorskip("pandas")
    frames = pytest.importorskip("dask.dataframe")
    pytest.importorskip("pyarrow")
    table = pandas.DataFrame(X, columns=list("abcd")).assign(y=Y, w=WEIGHT, t=list("xyz+-") * 22)
    frame = frames.from_pandas(table, npartitions=3)
    memory, streamed = net(), net()
    memory.fit(X, Y, sample_weight=WEIGHT, shuffle=False, epochs=2)
    options = {"target": "y", "weight": "w", "columns": list("abcd")}
    streamed.fit(fastbp.data.from_dask(frame, **options), shuffle=False, epochs=2)
    assert memory.parameters.tobytes() == streamed.parameters.tobytes()
    encoder = fastbp.tabular.Encoder()
    options |= {"columns": ["a", "t"], "encoder": encoder, "n_rows": N}
    chunks = fastbp.data.from_dask(frame, **options)
    encoder.fit(chunks)
    assert encoder.to_dict() == fastbp.tabular.Encoder().fit(table[["a", "t"]]).to_dict()
    fastbp.Network([6, 3]).fit(chunks, l2=0.1)
    for n_rows, told in ((N - 1, "got more"), (N + 1, f"has {N}")):
        with pytest.raises(ValueError, match=rf"expected {n_rows} rows.*n_rows.*{told}"):
            wrong = fastbp.data.from_dask(frame, **options | {"n_rows": n_rows})
            fastbp.Network([6, 3]).fit(wrong)
    with pytest.raises(ValueError, match="target: expected columns of the data"):
        fastbp.data.from_dask(frame, target="z")
    with pytest.raises(TypeError, match="target: expected the name"):
        fastbp.data.from_dask(frame)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda big: (big,), "Y: expected an array"),
        (lambda big: (X, Y), "data: expected a Dask array or data frame"),
        (lambda big: (big[:, 0], Y), "data: expected 2 dimensions"),
        (lambda big: (big, Y[1:]), "Y: expected 110 rows"),
        (lambda big: (big, Y, WEIGHT[1:]), "weight: expected 110 rows"),
        (lambda big: (big.astype(complex), Y), "data: expected numbers"),
    ],
)
def test_refused(make, told):
    big = array.from_array(X, chunks=(30, 4))
    with pytest.raises((TypeError, ValueError), match=told):
        fastbp.data.from_dask(*make(big))
    with pytest.raises(ValueError, match="n_rows: expected 110, as data has; got 10"):
        fastbp.data.from_dask(big, Y, n_rows=10)
    with pytest.raises(TypeError, match="target: expected None beside an array"):
        fastbp.data.from_dask(big, Y, target="y")


def test_what_is_wrong_is_named_by_its_partition():
    bad = X.copy()
    bad[70, 1] = np.nan
    chunks = fastbp.data.from_dask(array.from_array(bad, chunks=(30, 4)), Y)
    with pytest.raises(ValueError, match=r"partition 2: X: expected finite.* NaN at \[10, 1\]"):
        net().fit(chunks)
