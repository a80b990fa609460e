"""`cimport fastbp`: a consumer package is built against the installed .pxd files and run."""

import importlib.util
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastbp
from fastbp import reference

pytestmark = pytest.mark.sanitizers

EXAMPLE = Path(__file__).parent / "cimport_example"


@pytest.fixture(scope="module")
def consumer(tmp_path_factory):
    pytest.importorskip("Cython")
    pytest.importorskip("setuptools")
    folder = tmp_path_factory.mktemp("consumer")
    for name in ("consumer.pyx", "setup.py"):
        shutil.copy(EXAMPLE / name, folder)
    package_parent = Path(fastbp.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "setup.py", "-q", "build_ext", "--inplace"],
        cwd=folder,
        capture_output=True,
        text=True,
        # an editable install is no folder on the path that Cython's search would see
        env={**__import__("os").environ, "PYTHONPATH": str(package_parent)},
    )
    assert done.returncode == 0, done.stderr
    (built,) = [p for p in folder.iterdir() if p.suffix in (".so", ".pyd")]
    spec = importlib.util.spec_from_file_location("consumer", built)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_slack(parameters):
    """A copy of one's own, followed by the 64 readable bytes that the interface asks for."""
    memory = np.zeros(parameters.size + 16, parameters.dtype)
    memory[: parameters.size] = parameters
    return memory[: parameters.size]


@pytest.mark.parametrize("n", [1, 3, 2000])
def test_forward_is_predict(consumer, n):
    for dtype, forward in (("float64", consumer.forward), ("float32", consumer.forward_f32)):
        net = fastbp.Network([5, 9, 3], activation="tanh", dtype=dtype)
        X = np.random.default_rng(0).standard_normal((n, 5)).astype(dtype)
        out = np.empty((n, 3), dtype)
        assert forward(net, with_slack(net.parameters), X, out) == 0
        assert np.array_equal(out, net.predict(X))


def test_gradient_descends_as_the_reference_does(consumer):
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((7, 4)), rng.standard_normal((7, 2))
    net = fastbp.Network([4, 6, 2], output="identity", loss="quadratic", dtype="float64")
    oracle = reference.Network([4, 6, 2], "sigmoid", "identity", "quadratic", net.parameters)
    parameters = with_slack(net.parameters)
    gradient = np.empty_like(parameters)
    loss = consumer.descend(net, parameters, X, Y, 0.1, 5, gradient)
    for _ in range(5):
        expected_loss, nabla = oracle.loss(X, Y), oracle.gradient(X, Y)
        oracle.parameters = oracle.parameters - 0.1 * nabla
    assert loss == pytest.approx(expected_loss, rel=1e-12)
    np.testing.assert_allclose(gradient, nabla, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(parameters, oracle.parameters, rtol=1e-12)


def test_scales_go_through_the_door(consumer):
    """The same two functions: a consumer's code knows no kind of layer."""
    rng = np.random.default_rng(2)
    sizes = [4, "scale", 6, "scale", 2]
    X, Y = rng.standard_normal((300, 4)), rng.standard_normal((300, 2))
    for dtype, forward in (("float64", consumer.forward), ("float32", consumer.forward_f32)):
        net = fastbp.Network(sizes, output="identity", loss="quadratic", dtype=dtype)
        net.tensors["s1"][...] = rng.standard_normal(4)
        net.tensors["s3"][...] = rng.standard_normal(6)
        out = np.empty((300, 2), dtype)
        assert forward(net, with_slack(net.parameters), X.astype(dtype), out) == 0
        assert np.array_equal(out, net.predict(X))
    net = fastbp.Network(sizes, output="identity", loss="quadratic", dtype="float64")
    oracle = reference.Network(sizes, "sigmoid", "identity", "quadratic", net.parameters)
    parameters = with_slack(net.parameters)
    gradient = np.empty_like(parameters)
    consumer.descend(net, parameters, X, Y, 0.1, 3, gradient)
    for _ in range(3):
        nabla = oracle.gradient(X, Y)
        oracle.parameters = oracle.parameters - 0.1 * nabla
    np.testing.assert_allclose(gradient, nabla, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose(parameters, oracle.parameters, rtol=1e-11)


def test_wrong_dtype_and_wrong_object_are_refused(consumer):
    net = fastbp.Network([5, 3], dtype="float32")
    out = np.full((1, 3), 7.0)
    assert consumer.forward(net, np.zeros(100), np.zeros((1, 5)), out) == -1
    assert (out == 7.0).all()
    with pytest.raises((TypeError, AttributeError)):
        consumer.forward(object(), np.zeros(100), np.zeros((1, 5)), out)
