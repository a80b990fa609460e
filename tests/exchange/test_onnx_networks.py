"""Networks as ONNX, run by ONNX Runtime, and back."""

import os

import exchange_cases as cases
import numpy as np
import pytest

import fastbp
from fastbp import functions
from fastbp.exchange import from_onnx, to_onnx

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}


def session(proto):
    return ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])


def run(proto, X):
    return session(proto).run(None, {"X": X})[0]


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_100_networks_of_all_activations(dtype):
    seen = set()
    for i, net in enumerate(cases.networks(100, dtype)):
        X = np.random.default_rng(i).standard_normal((20, net.sizes[0])).astype(dtype)
        wanted = cases.outputs(net, X)
        assert np.isfinite(wanted).all()
        proto = to_onnx(net)
        found = run(proto, X)
        assert found.dtype == wanted.dtype and found.shape == wanted.shape
        scale = np.abs(wanted).max()
        assert np.abs(found - wanted).max() <= TOLERANCE[dtype] * scale, net
        assert [opset.version for opset in proto.opset_import] == [13]
        seen |= {f.kind for f in net._sigmas}
    assert seen == set(functions.ACTIVATIONS)


ODD = [0.0, -0.0, 1e-30, 1e4, -1e4, np.inf, -np.inf, np.nan, 80, -80, 30, -30]


def of_z(name, dtype):
    """An activation alone, and z from far and near."""
    f = functions.activation(name)
    n = 4 if f.coupled else 1
    k = n * f.z_per_a
    net = fastbp.Network([k, n], activation=[], output=name, loss="mse", dtype=dtype, init="zeros")
    net.weights[0][...] = np.eye(k)
    near = np.geomspace(1e-8, 20, 60)
    draws = np.random.default_rng(0).normal(0, [[1], [10]], (2, 60)).ravel()
    z = np.concatenate([ODD, near, -near, draws]).astype(dtype)
    return net, np.ascontiguousarray(z[: len(z) // k * k].reshape(-1, k))


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", cases.NAMES)
def test_each_activation_keeps_its_tails_and_nan(name, dtype):
    net, Z = of_z(name, dtype)
    wanted, found = cases.of_engine(net, Z), run(to_onnx(net), Z)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(wanted))
    np.testing.assert_array_equal(np.isinf(found), np.isinf(wanted))
    there = np.isfinite(wanted) & np.isfinite(found)
    least = 1e4 * np.finfo(dtype).tiny
    error = np.abs(found[there] - wanted[there])
    assert (error <= TOLERANCE[dtype] * np.abs(wanted[there]) + least).all(), error.max()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_layer_norm_of_numbers_whose_squares_overflow(dtype):
    net = fastbp.Network([3, 3], output="layer_norm", loss="mse", dtype=dtype, init="zeros")
    net.weights[0][...] = np.eye(3)
    large = np.sqrt(np.finfo(dtype).max)
    X = np.array([[1, 2, 4], [1, -1, 0.5]]).astype(dtype) * dtype_of(dtype)(large)
    np.testing.assert_allclose(run(to_onnx(net), X), cases.of_engine(net, X), rtol=1e-5)


def dtype_of(name):
    return np.dtype(name).type


def test_names_and_a_batch_of_any_size():
    net = cases.network([3, 4, 2], ["maxout(3)"], "glu", "float32")
    opened = session(to_onnx(net))
    (x,), (y,) = opened.get_inputs(), opened.get_outputs()
    assert (x.name, x.type, x.shape) == ("X", "tensor(float)", ["n", 3])
    assert (y.name, y.type, y.shape) == ("outputs", "tensor(float)", ["n", 2])
    for n in (0, 1, 2, 7, 33):
        X = np.ones((n, 3), np.float32)
        assert opened.run(None, {"X": X})[0].shape == (n, 2)


@pytest.mark.parametrize(
    ("sizes", "output", "loss", "classes"),
    [
        ([3, 4], "softmax", "cross_entropy", ["a", "b", "c", "d"]),
        ([3, 1], "sigmoid", "binary_cross_entropy", ["no", "yes"]),
        ([3, 1], "identity", "hinge", [3, 8]),
        ([3, 3], "sigmoid", "quadratic", [0.5, 1.5, 2.5]),
    ],
)
def test_labels_of_a_network_that_knows_its_classes(sizes, output, loss, classes):
    from fastbp.metrics import decide

    net = fastbp.Network(sizes, output=output, loss=loss, seed=1)
    net.metadata["classes"] = classes
    net.biases[0][...] = 0
    X = np.random.default_rng(0).standard_normal((30, 3)).astype("float32")
    outputs, labels = session(to_onnx(net)).run(None, {"X": X})
    np.testing.assert_allclose(outputs, net.predict(X), rtol=1e-5)
    wanted = [classes[i] for i in decide(net, net.predict(X))]
    assert labels.tolist() == wanted and len(set(wanted)) > 1


def test_a_file_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    net = cases.network([3, 4, 2], ["tanh"], "softmax", "float32")
    path = tmp_path / "net.onnx"
    made = to_onnx(net, path)
    assert path.read_bytes() == made.SerializeToString()
    onnx.checker.check_model(str(path), full_check=True)

    def refuse(*args, **kwargs):
        raise onnx.checker.ValidationError("no")

    monkeypatch.setattr(onnx.checker, "check_model", refuse)
    with pytest.raises(onnx.checker.ValidationError):
        to_onnx(cases.network([3, 2], [], "tanh", "float32"), path)
    assert path.read_bytes() == made.SerializeToString() and os.listdir(tmp_path) == ["net.onnx"]
    with pytest.raises(OSError):
        to_onnx(net, tmp_path / "none" / "net.onnx")
    net.parameters[0] = np.inf
    with pytest.raises(ValueError, match="parameters"):
        to_onnx(net, path)


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_there_and_back_to_the_bit(dtype, tmp_path):
    for net in cases.networks(len(cases.NAMES), dtype, seed=2):
        net.metadata = {"columns": ["a"] * net.sizes[0], "k": [1, None]}
        to_onnx(net, tmp_path / "net.onnx")
        twin = from_onnx(tmp_path / "net.onnx")
        assert twin.architecture == net.architecture and twin.metadata == net.metadata
        assert twin.parameters.tobytes() == net.parameters.tobytes()
    assert from_onnx(to_onnx(net), loss="huber(2)").architecture["loss"] == "huber(2)"


# other people's graphs


def graph(nodes, dtype="float32", n_in=2, n_out=None, **tensors):
    kind = onnx.helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    made = onnx.helper.make_graph(
        [onnx.helper.make_node(op, given, out, **more) for op, given, out, more in nodes], "g",
        [onnx.helper.make_tensor_value_info("x", kind, [None, n_in])],
        [onnx.helper.make_tensor_value_info("y", kind, [None, n_out])],
        [onnx.numpy_helper.from_array(np.asarray(v), k) for k, v in tensors.items()],
    )  # fmt: skip
    proto = onnx.helper.make_model(made, opset_imports=[onnx.helper.make_opsetid("", 20)])
    proto.ir_version = 9
    return proto


W = np.arange(6, dtype=np.float32).reshape(2, 3) / 4
V = np.arange(3, dtype=np.float32).reshape(3, 1) - 1
B = np.array([0.5, -0.5, 1], np.float32)
ACTIVATIONS = [
    ("Sigmoid", {}, "sigmoid"), ("Tanh", {}, "tanh"), ("Relu", {}, "relu"),
    ("LeakyRelu", {"alpha": 0.2}, "leaky_relu(0.2)"), ("LeakyRelu", {}, "leaky_relu"),
    ("Elu", {"alpha": 0.7}, "elu(0.7)"), ("Selu", {}, "selu"), ("Gelu", {}, "gelu"),
    ("Gelu", {"approximate": "tanh"}, "gelu_tanh"), ("Mish", {}, "mish"),
    ("Softplus", {}, "softplus"), ("Softsign", {}, "softsign"), ("Exp", {}, "exp"),
    ("Softmax", {"axis": -1}, "softmax"), ("LogSoftmax", {}, "log_softmax"),
]  # fmt: skip


@pytest.mark.parametrize(("op", "more", "name"), ACTIVATIONS)
def test_from_onnx_reads_operators(op, more, name):
    proto = graph(
        [("Gemm", ["x", "w", "b"], ["z"], {"transB": 1}), (op, ["z"], ["a"], more),
         ("MatMul", ["a", "v"], ["y"], {})], w=W.T.copy(), b=B, v=V,
    )  # fmt: skip
    net = from_onnx(proto)
    assert net.layers == (fastbp.layers.Dense(3, name), fastbp.layers.Dense(1, "identity"))
    assert (net.weights[0] == W).all() and (net.biases[0] == B).all() and not net.biases[1].any()
    X = np.array([[1, -2], [0.3, 0.1]], np.float32)
    found = session(proto).run(None, {"x": X})[0]
    np.testing.assert_allclose(net.predict(X), found, rtol=1e-4, atol=1e-6)


def test_from_onnx_reads_matmul_add_scale_and_what_is_composed():
    half, one, root = np.float32(0.5), np.float32(1), np.float32(np.sqrt(2))
    proto = graph(
        [("Mul", ["x", "s"], ["x1"], {}), ("MatMul", ["x1", "w"], ["h"], {}),
         ("Add", ["h", "b"], ["z"], {}), ("Div", ["z", "root"], ["d"], {}),
         ("Erf", ["d"], ["e"], {}), ("Add", ["e", "one"], ["p"], {}),
         ("Mul", ["z", "p"], ["q"], {}), ("Mul", ["q", "half"], ["g"], {}),
         ("Gemm", ["g", "v"], ["u"], {}), ("Sigmoid", ["u"], ["t"], {}),
         ("Mul", ["u", "t"], ["y0"], {}), ("Reshape", ["y0", "shape"], ["y"], {})],
        s=np.array([2, 3], np.float32), w=W, b=B[None], v=V, half=half, one=one, root=root,
        shape=np.array([-1, 1], np.int64),
    )  # fmt: skip
    net = from_onnx(proto, loss="mae")
    assert net.architecture["sizes"] == [2, "scale", 3, 1]
    assert (net.architecture["activation"], net.architecture["output"]) == (["gelu"], "silu")
    X = np.array([[1, -2], [0.3, 0.1]], np.float32)
    found = session(proto).run(None, {"x": X})[0]
    np.testing.assert_allclose(net.predict(X), found, rtol=1e-5, atol=1e-6)


def test_from_onnx_reads_what_torch_makes_of_softplus_and_glu():
    U = np.arange(12, dtype=np.float32).reshape(2, 6) / 8 - 0.5
    proto = graph(
        [("Gemm", ["x", "u"], ["z"], {}),
         ("Split", ["z"], ["l", "r"], {"num_outputs": 2, "axis": -1}),
         ("Sigmoid", ["r"], ["s"], {}), ("Mul", ["l", "s"], ["a"], {}),
         ("Gemm", ["a", "v"], ["h"], {}),
         ("Softplus", ["h"], ["p"], {}), ("Greater", ["h", "far"], ["is"], {}),
         ("Where", ["is", "h", "p"], ["y"], {})], u=U, v=V, far=np.float32(20),
    )  # fmt: skip
    net = from_onnx(proto)
    assert (net.architecture["activation"], net.architecture["output"]) == (
        ["glu"], "softplus"
    )  # fmt: skip
    X = np.array([[1, -2], [30, 0.1]], np.float32)
    found = session(proto).run(None, {"x": X})[0]
    np.testing.assert_allclose(net.predict(X), found, rtol=1e-5, atol=1e-6)


FOLDED = [
    [("Identity", ["w0"], ["w"], {})],
    [("Transpose", ["wt"], ["w"], {})],
    [("Transpose", ["wt"], ["w1"], {"perm": [1, 0]}), ("Cast", ["w1"], ["w"], {"to": 1})],
    [("Constant", [], ["w"], {"value": onnx.numpy_helper.from_array(W)})],
]


@pytest.mark.parametrize("nodes", FOLDED, ids=lambda nodes: nodes[-1][0])
def test_from_onnx_reads_weights_behind_nodes(nodes):
    biases = ("Constant", [], ["b"], {"value_floats": B.tolist()})
    proto = graph([*nodes, biases, ("Gemm", ["x", "w", "b"], ["y"], {})], w0=W, wt=W.T.copy())
    net = from_onnx(proto)
    assert net.dtype == np.float32 and (net.weights[0] == W).all() and (net.biases[0] == B).all()


GEMM = ("Gemm", ["x", "w", "b"], ["z"], {})
REFUSED = [
    ([GEMM, ("HardSwish", ["z"], ["y"], {})], r"node 'y' \(HardSwish\)"),
    ([GEMM, ("Relu", ["z"], ["r"], {}), ("Tanh", ["r"], ["y"], {})], "'relu' and 'tanh'"),
    ([GEMM, ("Add", ["z", "z"], ["y"], {})], "2 inputs that vary"),
    ([GEMM, ("Add", ["z", "b"], ["y"], {})], "a MatMul before what is added"),
    ([("Gemm", ["x", "w", "b"], ["y"], {"alpha": 2.0})], "x W . b"),
    ([GEMM, ("Softmax", ["z"], ["y"], {"axis": 0})], "Softmax as fastbp has it"),
    ([GEMM, ("Reshape", ["z", "shape"], ["y"], {})], "3 columns, as before"),
    ([GEMM, ("Selu", ["z"], ["y"], {"alpha": 1.0})], "Selu as fastbp has it"),
    ([GEMM, ("Clip", ["z", "zero", "six"], ["y"], {})], "Clip as fastbp has it"),
    ([GEMM, ("ArgMax", ["z"], ["y"], {})], "got ArgMax"),
    ([("Relu", ["x"], ["y"], {})], "a dense layer before 'relu'"),
    ([("Identity", ["x"], ["y"], {})], "at least one dense layer"),
    ([("MatMul", ["x", "x"], ["y"], {})], "2 inputs that vary"),
    ([("Tanh", ["z"], ["y"], {}), ("Relu", ["y"], ["z"], {})], "layers between input and output"),
    ([("Identity", ["y"], ["y"], {})], "layers between input and output"),
    ([GEMM, ("Flatten", ["z"], ["y"], {"axis": 0})], r"node 'y' \(Flatten\): expected rows"),
    ([GEMM, ("Squeeze", ["z", "zeros"], ["y"], {})], r"node 'y' \(Squeeze\): expected rows"),
    (
        [("Reshape", ["x", "ones"], ["z"], {}), ("MatMul", ["z", "v"], ["y"], {})],
        "got a shape|2 in",
    ),
    ([("Flatten", ["x"], ["z"], {"axis": 2}), ("MatMul", ["z", "row"], ["y"], {})], "2 inputs, as"),
    ([("Gemm", ["x", "w", "column"], ["y"], {})], r"3 biases; got shape \(3, 1\)"),
    ([("Mul", ["x", "tall"], ["z"], {}), ("MatMul", ["z", "w"], ["y"], {})], "factor for each col"),
    ([GEMM, ("Identity", ["z"], ["y"], {"domain": "own"})], r"operator of ONNX; got one of own"),
    ([GEMM, ("Elu", ["z"], ["y"], {"alpha": 0.0})], r"node 'y' \(Elu\): the parameter of 'elu'"),
    ([GEMM, ("Gelu", ["z"], ["y"], {"approximate": "fast"})], "Gelu as fastbp has it"),
    ([GEMM, ("Clip", ["z", "b"], ["y"], {})], "model: expected"),
    ([GEMM, ("Add", ["z"], ["y"], {})], "model: expected"),
    ([("Constant", [], ["w1"], {}), ("MatMul", ["x", "w1"], ["y"], {})], "numbers; got nothing"),
]


@pytest.mark.parametrize(("nodes", "told"), REFUSED)
def test_from_onnx_names_what_it_does_not_know(nodes, told):
    proto = graph(nodes, w=W, b=B, v=V, shape=np.array([-1, 1], np.int64), zero=np.float32(0),
                  six=np.float32(6), zeros=np.array([0]), ones=np.array([-1, 1]), row=V.T.copy(),
                  column=B[:, None], tall=np.ones((2, 1), np.float32))  # fmt: skip
    with pytest.raises(ValueError, match=told):
        from_onnx(proto)


def test_from_onnx_believes_nodes_and_not_the_description():
    proto = to_onnx(cases.network([2, 3, 1], ["relu"], "identity", "float32"))
    next(node for node in proto.graph.node if node.op_type == "Relu").op_type = "Tanh"
    assert from_onnx(proto).architecture["activation"] == ["tanh"]


def _external(tensor):
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../there"


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensor: setattr(tensor, "raw_data", b"abc"),
        lambda tensor: setattr(tensor, "data_type", 0),
        _external,
    ],
    ids=["short", "untyped", "external"],
)
@pytest.mark.parametrize("own", [True, False])
def test_from_onnx_names_a_damaged_tensor(own, damage):
    proto = to_onnx(cases.network([2, 3, 1], ["relu"], "identity", "float32"))
    if not own:
        del proto.metadata_props[:]
    damage(proto.graph.initializer[0])
    for given in (proto, proto.SerializeToString()):
        with pytest.raises(ValueError, match="model: tensor 'W1': expected its numbers"):
            from_onnx(given)


def test_from_onnx_reads_on_where_the_description_is_nonsense():
    proto = to_onnx(cases.network([2, 3, 1], ["relu"], "identity", "float32"))
    for nonsense in ("[" * 100_000, "[1]", "{}", "null", '{"nodes": 3}'):
        proto.metadata_props[0].value = nonsense
        assert from_onnx(proto).sizes == [2, 3, 1]


def test_from_onnx_refuses_files_that_are_none(tmp_path):
    whole = to_onnx(cases.network([2, 3, 1], ["relu"], "identity", "float32"), tmp_path / "a")
    content = whole.SerializeToString()
    for broken in (b"", b"abc", content[:40], content[: len(content) // 2]):
        (tmp_path / "b").write_bytes(broken)
        for given in (broken, tmp_path / "b"):
            with pytest.raises(ValueError):
                from_onnx(given)
    for nonsense in (None, 3, [1]):
        with pytest.raises(TypeError, match="model: expected"):
            from_onnx(nonsense)
    with pytest.raises(OSError):
        from_onnx(tmp_path / "none")
    with pytest.raises(ValueError, match="output: expected one of y"):
        from_onnx(graph([("Gemm", ["x", "w"], ["y"], {})], w=W), output="z")
    half = graph([("Gemm", ["x", "w"], ["y"], {})], "float16", w=W.astype(np.float16))
    with pytest.raises(ValueError, match="float16"):
        from_onnx(half)
    nan = graph([("Gemm", ["x", "w"], ["y"], {})], w=W * np.nan)
    with pytest.raises(ValueError, match="finite"):
        from_onnx(nan)
