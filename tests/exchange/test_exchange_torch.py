"""Networks as PyTorch's modules, and back."""

import importlib
import pickle

import exchange_cases as cases
import numpy as np
import pytest

import fastbp
from fastbp.exchange import from_torch, to_torch
from fastbp.layers import Scale

torch = pytest.importorskip("torch")
nn = torch.nn

TOLERANCE = {"float32": 1e-5, "float64": 1e-12}
pytestmark = pytest.mark.filterwarnings("ignore")  # torch's own, by its release


def outputs(module, X):
    with torch.no_grad():
        return module(torch.from_numpy(X)).numpy()


@pytest.mark.parametrize("dtype", TOLERANCE)
def test_100_networks_there_and_back(dtype):
    for i, net in enumerate(cases.networks(100, dtype)):
        X = np.random.default_rng(i).standard_normal((20, net.sizes[0])).astype(dtype)
        module = to_torch(net)
        assert isinstance(module, nn.Sequential) and not module.training
        wanted = cases.outputs(net, X)
        error = np.abs(outputs(module, X) - wanted).max()
        assert error <= TOLERANCE[dtype] * np.abs(wanted).max(), net
        twin = from_torch(module)
        assert twin.architecture == net.architecture
        assert twin.parameters.tobytes() == net.parameters.tobytes()
        again = to_torch(twin).state_dict()
        assert all(torch.equal(v, again[k]) for k, v in module.state_dict().items())


def test_a_state_dict_with_its_activations():
    net = cases.network([3, Scale(), 4, 2], ["elu(0.7)"], "softmax", "float64")
    state = to_torch(net).state_dict()
    assert list(state) == ["0.s", "1.weight", "1.bias", "3.weight", "3.bias"]
    twin = from_torch(state, activation="elu(0.7)", output="softmax")
    assert twin.architecture == net.architecture
    assert twin.parameters.tobytes() == net.parameters.tobytes()
    named = {f"body.{k}": v for k, v in state.items()}
    assert from_torch(named, activation=["tanh"]).architecture["output"] == "identity"
    for activation in (None, [], ["tanh", "tanh"]):
        with pytest.raises(ValueError, match="activation: expected one name"):
            from_torch(state, activation=activation)
    with pytest.raises(ValueError, match=r"module: conv.weight: expected weights"):
        from_torch({"conv.weight": torch.zeros(2, 2, 2)})


def test_pickled_and_scripted(tmp_path):
    net = cases.network(
        [3, Scale(), 4, 4, 4, 2], ["exp", "maxout(2)", "layer_norm(2)"], "softmax(2)", "float32"
    )
    module, X = to_torch(net), cases.inputs(net)[10:]
    wanted = outputs(module, X)
    twins = [pickle.loads(pickle.dumps(module)), torch.jit.script(module)]
    torch.save(module, tmp_path / "a.pt")
    twins.append(torch.load(tmp_path / "a.pt", weights_only=False))
    for twin in twins:
        np.testing.assert_array_equal(outputs(twin, X), wanted)
    assert "Scale" in repr(module) and "gain=2" in repr(module)


def test_to_torch_leaves_the_random_numbers_alone_and_shares_nothing():
    net = cases.network([3, 4, 2], ["relu"], "identity", "float32")
    before = torch.get_rng_state()
    module = to_torch(net)
    assert torch.equal(torch.get_rng_state(), before)
    kept = net.parameters.copy()
    with torch.no_grad():
        for p in module.parameters():
            p += 1
    assert (net.parameters == kept).all()
    twin = from_torch(module)
    twin.parameters[:] = 0
    assert all((p != 0).any() for p in module.parameters())


class Own(nn.Module):
    """With activations as functions and methods."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(4, 8), nn.Linear(8, 8, bias=False)
        self.c, self.drop = nn.Linear(8, 3), nn.Dropout(0.3)

    def forward(self, x):
        x = self.drop(torch.relu(self.a(torch.flatten(x, 1))))
        x = nn.functional.leaky_relu(self.b(x), 0.2)
        return nn.functional.softmax(self.c(x), dim=1)


class Skip(Own):
    def forward(self, x):
        return self.c(self.b(self.a(x)) + self.a(x))


class Asks(Own):
    def forward(self, x):
        return self.a(x) if x.sum() > 0 else self.a(-x)


class Method(Own):
    def forward(self, x):
        return self.c(self.a(x).tanh()).sigmoid()


def test_a_forward_is_followed():
    module = Own().eval()
    net = from_torch(module, loss="cross_entropy")
    assert net.architecture["activation"] == ["relu", "leaky_relu(0.2)"]
    assert (net.architecture["output"], net.architecture["loss"]) == ("softmax", "cross_entropy")
    X = np.random.default_rng(0).standard_normal((9, 4)).astype("float32")
    np.testing.assert_allclose(net.predict(X), outputs(module, X), rtol=1e-5)
    assert from_torch(Method()).layers == (
        fastbp.layers.Dense(8, "tanh"), fastbp.layers.Dense(3, "sigmoid")
    )  # fmt: skip
    assert from_torch(nn.Linear(2, 3)).sizes == [2, 3]
    within = nn.Sequential(nn.Flatten(), nn.Sequential(nn.Linear(2, 4), nn.LayerNorm(4)))
    assert from_torch(within).architecture["output"] == "layer_norm"


class Optional(Own):
    def forward(self, x, mask=None):
        return self.c(torch.tanh(self.a(x)))


class AlwaysDrops(Own):
    def forward(self, x):
        return self.c(nn.functional.dropout(self.a(x), 0.5))


class Drops(Own):
    def forward(self, x):
        return self.c(nn.functional.dropout(self.a(x), 0.5, self.training))


class Doubles(Own):
    def forward(self, x):
        return torch.softmax(self.a(x), 1, torch.float64)


@torch.fx.wrap
def relu(x):
    return 2 * x


class Borrows(Own):
    def forward(self, x):
        return relu(self.a(x))


def test_a_forward_with_more_than_layers():
    assert from_torch(Optional()).architecture["activation"] == ["tanh"]
    assert from_torch(Drops().eval()).sizes == [4, 8, 3]
    assert from_torch(Drops()).sizes == [4, 8, 3]


def test_a_state_whose_names_were_sorted():
    module = nn.Sequential(*(nn.Linear(4, 4) for _ in range(12)))
    state = module.state_dict()
    X = np.ones((1, 4), np.float32)
    wanted = outputs(module, X)
    for prefix in ("", "body.fc"):
        for names in (state, sorted(state)):
            given = {f"{prefix}{name}": state[name] for name in names}
            found = from_torch(given, activation="identity").predict(X)
            np.testing.assert_allclose(found, wanted, rtol=1e-4)
    backwards = {"2.weight": torch.ones(3, 2), "1.weight": torch.ones(1, 3)}
    assert from_torch(backwards, activation="tanh").sizes == [2, 3, 1]


def hooked(of, name):
    module = stack(nn.Tanh())
    getattr(module if of is None else module[of], name)(lambda *args: None)
    return module


def pruned():
    module = stack(nn.Tanh())
    importlib.import_module("torch.nn.utils.prune").random_unstructured(module[0], "weight", 0.5)
    return module


def stack(*behind):
    return nn.Sequential(nn.Linear(2, 4), *behind)


REFUSED = [
    (lambda: stack(nn.BatchNorm1d(4)), r"1 \(BatchNorm1d\)"),
    (lambda: stack(nn.ReLU6()), r"1 \(ReLU6\)"),
    (lambda: stack(nn.Softplus(beta=2)), "Softplus"),
    (lambda: stack(nn.Softmax(dim=0)), "Softmax"),
    (lambda: stack(nn.Hardtanh(0, 1)), "Hardtanh"),
    (lambda: stack(nn.ReLU(), nn.Tanh()), "'relu' and 'tanh'"),
    (lambda: stack(nn.LayerNorm(4, eps=1e-3)), "LayerNorm"),
    (lambda: nn.Sequential(nn.Conv1d(1, 1, 1)), "Conv1d"),
    (lambda: nn.Sequential(), "at least one dense layer"),
    (lambda: nn.ReLU(), "a dense layer before 'relu'"),
    (lambda: nn.Linear(2, 2).half(), "float16"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 2)), "expected 4 inputs|got 4"),
    (lambda: nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2).double()), "one type"),
    (lambda: nn.LSTM(2, 2), "LSTM"),
    (Skip, "one behind the other|once behind the other"),
    (Asks, "torch.fx"),
    (lambda: AlwaysDrops().eval(), "no dropout in evaluation"),
    (Doubles, "no other dtype; got torch.float64"),
    (Borrows, r"got relu"),
    (lambda: hooked(0, "register_forward_hook"), r"0 \(Linear\): expected no hooks"),
    (lambda: hooked(1, "register_forward_pre_hook"), r"1 \(Tanh\): expected no hooks"),
    (lambda: hooked(None, "register_forward_hook"), r"the module \(Sequential\): expected no hook"),
    (pruned, "no hooks"),
    (lambda: stack(nn.ELU(0.0)), r"1 \(ELU\): the parameter of 'elu'"),
    (lambda: nn.Linear(2, 3, device="meta"), "numbers; got on meta"),
    (lambda: nn.Linear(2, 0), "weights of 2 dimensions"),
]


@pytest.mark.parametrize(("made", "told"), REFUSED)
def test_from_torch_names_what_it_does_not_know(made, told):
    with pytest.raises(ValueError, match=told):
        from_torch(made())


@pytest.mark.parametrize(("loss", "output"), [("cross_entropy", "softmax"), ("mse", "tanh"),
                                               ("binary_cross_entropy", "sigmoid")])  # fmt: skip
def test_what_is_left_to_the_loss(loss, output):
    """Logits, as CrossEntropyLoss takes them."""
    module = stack(nn.Linear(4, 3))
    net = from_torch(module, loss, output=output)
    assert net.architecture["output"] == output and net.architecture["loss"] == loss
    assert np.array_equal(net.weights[-1].T, module[-1].weight.detach().numpy())
    with pytest.raises(ValueError, match=r"output: .*expected one activation"):
        from_torch(nn.Sequential(*module, nn.Sigmoid()), loss, output=output)
    if loss != "mse":
        with pytest.raises(ValueError, match=f"loss: .* output={output!r}"):
            from_torch(module, loss)


def test_refusals():
    for nonsense in (3, None, "module", [1]):
        with pytest.raises(TypeError, match="module: expected"):
            from_torch(nonsense)
        with pytest.raises(TypeError, match="model: expected"):
            to_torch(nonsense)
    with pytest.raises(ValueError, match="activation: expected none with a module"):
        from_torch(nn.Linear(2, 2), activation="relu")
    with pytest.raises(ValueError, match="loss"):
        from_torch(stack(nn.Tanh()), loss="kl")
    for state in ({}, {"weight": torch.ones(2, 2).to_sparse()}):
        with pytest.raises(ValueError, match=r"module: .*(at least one dense|sparse)"):
            from_torch(state)
    broken = nn.Linear(2, 2)
    with torch.no_grad():
        broken.weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite"):
        from_torch(broken)
