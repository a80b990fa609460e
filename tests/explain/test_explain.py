"""`fastbp explain`: what is told, the numbers in it, the page without a browser, bad input."""

import re
import xml.etree.ElementTree as ElementTree

import cli_cases
import numpy as np
import pytest
from cli_cases import MLP, command, flowers, houses, strict, write_csv

import fastbp
from fastbp.check.terms.ladder import output_error
from fastbp.check.terms.recurrence import recurrence
from fastbp.explain import blocks, explain
from fastbp.explain.formula import as_mathml, as_text, html_of, signed, text_of

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures

SECTIONS = ["question", "numbers", "ladder", "structure", "recurrence", "weights", "summary"]


@pytest.fixture(scope="module")
def nets():
    made = [
        fastbp.Network([6, 5, 4], output=output, loss="quadratic", dtype="float64", seed=3)
        for output in ("sigmoid", "softmax")
    ]
    usual = fastbp.Network([6, 5, 4], output="softmax", loss="cross_entropy", dtype="float64")
    usual.parameters = made[1].parameters
    return [*made, usual]


X = np.random.default_rng(1).uniform(0, 1, 6)


@pytest.fixture(scope="module")
def found(nets):
    return explain(nets, X, 2, labels=["ant", "b<e>e", "cat & co", "d$og"])


def read(page):
    """The page as XML; what it holds for the browser alone is left out."""
    return ElementTree.fromstring(page.removeprefix("<!DOCTYPE html>\n"))


def words(element):
    return "".join(element.itertext())


def panels(page):
    return [e for e in read(page).iter("div") if e.get("class") == "panel"]


# formulas


@pytest.mark.parametrize(
    ("formula", "text", "mathml"),
    [
        ("z_10", "z_10", "<msub><mi>z</mi><mn>10</mn></msub>"),
        ("δ_j^l", "δ_j^l", "<msubsup><mi>δ</mi><mi>j</mi><mi>l</mi></msubsup>"),
        (
            "1/{2 n}",
            "1/(2 n)",
            "<mfrac><mn>1</mn><mrow><mn>2</mn>"
            '<mspace width="0.25em"></mspace><mi>n</mi></mrow></mfrac>',
        ),
        (
            "∑_{k≠j} g_k",
            "∑_(k≠j) g_k",
            "<munder><mo>∑</mo><mrow><mi>k</mi><mo>≠</mo><mi>j</mi></mrow></munder>"
            '<mspace width="0.25em"></mspace><msub><mi>g</mi><mi>k</mi></msub>',
        ),
        ("a < b", "a < b", "<mi>a</mi><mo>&lt;</mo><mi>b</mi>"),
    ],
)
def test_formulas(formula, text, mathml):
    assert as_text(formula) == text
    assert as_mathml(formula) == f"<math>{mathml}</math>"
    assert ElementTree.fromstring(as_mathml(formula)).tag == "math"


def test_sentences():
    assert text_of("if $W_{kj}^{l+1}$ < 0") == "if W_kj^(l+1) < 0"
    assert (
        html_of("if $k$ < 0 & 3e−09") == "if <math><mi>k</mi></math> &lt; 0 &amp; 3×10<sup>−9</sup>"
    )


# what is told


def test_the_sections(found):
    assert [section.name for section in found.sections] == SECTIONS
    assert found.ok and found.verdict == "pass: all 9 checks agree within their bounds"
    text = str(found)
    assert [int(n) for n in re.findall(r"(?m)^(\d)\. .+\n=+$", text)] == list(range(1, 8))
    assert max(map(len, text.splitlines())) <= 100
    assert "the chain rule puts the sum there, the model removes it" in " ".join(text.split())


def test_every_term_is_written_out(found, nets):
    """The text holds the numbers that the checks give."""
    text = str(found)
    j = found.neuron
    for net in nets:
        result = output_error(net, X, 2)
        for k in range(4):
            g, J, term = result.g[k], result.jacobian[k, j], result.terms[k, j]
            line = rf"(?m)^ +{k + 1} +{signed(g)} × +{signed(J)} = +{signed(term)}$"
            assert re.search(line, text), (net, k)
        for value in (result.total[j], result.diagonal[j]):
            assert signed(value) in text
        assert f"{signed(result.black_box[j])} ± " in text
    hidden = recurrence(nets[0], X, 2).layers[0]
    i = int(np.argmax(np.abs(hidden.total)))
    weight, bp2 = nets[0].weights[1], nets[0].deltas([X], [2])[1][0]
    for k in range(4):
        term = hidden.terms[k, i]
        factors = rf"{signed(weight[i, k])} × +{signed(bp2[k])} × +\S+ = +{signed(term)}"
        assert re.search(factors, text), k
    nabla = nets[0].gradient([X], [2])[-4 - 20 + i * 4 + j]
    assert re.search(rf"BP4 .* = {signed(nabla)} ", text)


def test_the_default_neuron_has_the_largest_error(nets, found):
    delta = np.abs(nets[0].deltas([X], [2])[-1][0])
    assert found.neuron == int(np.argmax(delta))
    assert explain(nets, X, 2, neuron=1).neuron == 0


def test_softmax_is_told_from_sigmoid(found):
    text = " ".join(str(found).split())
    assert "With sigmoid the sum has 4 terms, and all but k = j are exactly 0." in text
    assert "With softmax (2) and (3) part at 4 of 4 neurons." in text
    assert "With softmax (2) and (3) part at 3 of 4 neurons." in text  # not at the true class
    assert "which is 0 for all but the true class, neuron 3 (class cat & co)." in text
    assert text.count("true class") == 2  # of cross entropy alone
    assert "The weights are those of sigmoid + quadratic; the activation is another." in text
    assert "The weights are those of softmax + quadratic; the cost is another." in text


@pytest.mark.parametrize(
    ("options", "y"),
    [
        ({"output": "glu", "loss": "mse"}, 1),
        ({"output": "maxout(2)", "loss": "mse"}, 1),
        ({"output": "log_softmax", "loss": "mae"}, 1),
        ({"output": "layer_norm", "loss": "mae"}, [1]),
        ({"activation": "layer_norm", "output": "identity", "loss": "huber(1.5)"}, 0),
        ({"activation": "glu", "output": "tanh", "loss": "mse"}, 0),
        ({"activation": "relu", "output": "softmax(2)", "loss": "cross_entropy"}, 0),
        ({"output": "identity", "loss": "gaussian_nll"}, [0.5, -1.0]),
    ],
)
@pytest.mark.parametrize("sizes", [[6, 4], [6, 5, 4], [6, 3, 5, 4]])
def test_any_network(options, y, sizes):
    if len(sizes) == 2:
        options = {k: v for k, v in options.items() if k != "activation"}
    found = explain(fastbp.Network(sizes, seed=1, **options), X.astype("f4"), y)
    assert found.ok, found.verdict
    assert "nan" not in str(found)
    assert read(found.to_html()) is not None


def test_wide_layers_are_cut_to_their_largest():
    net = fastbp.Network([6, 60, 50], output="softmax", loss="cross_entropy", seed=0)
    found = explain(net, X, 7, neuron=50)
    assert len(found.neurons) == blocks.SHOWN and 49 in found.neurons
    assert "the other 26 terms" in str(found)
    result = output_error(net, X, 7)
    hidden = [e for e in panels(found.to_html()) if e.get("data-j")]
    assert len(hidden) == blocks.SHOWN
    assert str(found).count(signed(result.total[49])) >= 2
    assert len(found.to_html()) < 300_000


def test_what_does_not_fit(nets):
    with pytest.raises(ValueError, match=r"neuron: expected one of 1\.\.4; got 5"):
        explain(nets, X, 2, neuron=5)
    with pytest.raises(ValueError, match=r"labels: expected 4 names, one for each output; got 1"):
        explain(nets, X, 2, labels=["a"])
    with pytest.raises(ValueError, match="networks of the same sizes"):
        explain([nets[0], fastbp.Network([6, 4])], X, 2)
    with pytest.raises(ValueError, match="at least one network"):
        explain([], X, 2)
    with pytest.raises(ValueError, match="x: expected one sample"):
        explain(nets, X[:3], 2)


# the page


def test_the_page_is_whole(found):
    page = found.to_html()
    tree = read(page)
    assert tree.tag == "html" and tree.get("lang") == "en"
    assert [e.get("id") for e in tree.iter("section")] == SECTIONS
    assert len(page.encode()) < 300_000
    maths = list(tree.iter("math"))
    assert len(maths) > 50
    assert all(words(m).strip() for m in maths)
    assert {"mfrac", "munder", "msub", "msup"} <= {e.tag for e in tree.iter()}
    known = {"math", "mrow", "mfrac", "munder", "msub", "msup", "msubsup", "mi", "mo", "mn"}
    inside = {e.tag for m in maths for e in m.iter()}
    assert inside <= known | {"mspace"}
    for e in (e for m in maths for e in m.iter()):  # scripts have the children they need
        wanted = {"mfrac": 2, "munder": 2, "msub": 2, "msup": 2, "msubsup": 3}.get(e.tag)
        assert wanted in (None, len(e)), ElementTree.tostring(e)


def test_the_page_asks_nobody(found):
    page = found.to_html()
    for e in read(page).iter():
        assert e.tag not in ("link", "img", "iframe", "object", "embed", "base")
        for name in e.attrib:
            assert name.rpartition("}")[2] not in ("src", "href", "srcset", "data", "action")
    assert not re.search(r"url\(|@import|fetch\(|import\(|XMLHttp|@font-face", page)
    assert "http:" not in page and "https:" not in page
    assert "default-src 'none'" in page


def test_names_are_escaped(found):
    page = found.to_html()
    assert "b&lt;e&gt;e" in page and "<e>" not in page
    assert "cat &amp; co" in page
    assert "d$og" in page


def test_the_page_has_the_sum_of_each_neuron(found, nets):
    shown = [e for e in panels(found.to_html()) if e.get("data-j")]
    assert len(shown) == 4 * len(nets)
    for place, panel in enumerate(shown):
        result, j = output_error(nets[place // 4], X, 2), place % 4
        assert panel.get("data-j") == str(j)
        # without JavaScript the chosen neuron is there, and nothing else in its place
        assert (panel.get("hidden") is None) == (j == found.neuron)
        terms = [words(e) for e in panel.iter("td") if e.get("class") == "term"]
        values = [*result.terms[:, j], result.total[j]]
        wanted = [re.sub(r"e−0?(\d+)", r"×10−\1", signed(v)) for v in values]
        assert terms == wanted


def test_the_jacobian_picture(found, nets):
    matrices = [e for e in read(found.to_html()).iter("svg") if e.get("class") == "matrix"]
    assert len(matrices) == 2  # the second and the third network have one and the same
    for svg, net, zeros in zip(matrices, nets, (12, 0), strict=False):
        J = output_error(net, X, 2).jacobian
        cells = {words(t): r for r in svg.iter("rect") for t in r.iter("title")}
        assert len(cells) == 16
        assert sum(r.get("class") == "none" for r in cells.values()) == zeros
        for k in range(4):
            for j in range(4):
                assert f"k = {k + 1}, j = {j + 1}: {signed(J[k, j])}" in cells
        assert svg.get("role") == "img" and svg.get("aria-label")


def test_the_neurons_are_buttons(found):
    buttons = list(read(found.to_html()).iter("button"))
    assert [b.get("data-j") for b in buttons] == ["0", "1", "2", "3"]
    pressed = [b.get("aria-pressed") for b in buttons]
    assert pressed.count("true") == 1 and pressed[found.neuron] == "true"
    assert buttons[1].get("aria-label") == "neuron 2, class b<e>e"


def test_in_a_notebook(found):
    frame = ElementTree.fromstring(found._repr_html_())
    assert frame.tag == "iframe" and frame.get("srcdoc").split() == found.to_html().split()


# the command


def test_default(run, tmp_path):
    code, out, err = run("explain")
    assert code == 0 and err == ""
    assert "a handwritten 0" in out and "CC BY 4.0" in out
    for name in ("sigmoid + quadratic", "softmax + quadratic", "softmax + cross_entropy"):
        assert f"--- {name} ---" in out
    assert "██" in out
    assert list(tmp_path.iterdir()) == []


def test_the_same_each_time(run):
    assert run("explain", "--row", 3) == run("explain", "--row", 3)


def test_a_terminal_without_greek():
    cli_cases.ENVIRONMENT["PYTHONIOENCODING"] = "ascii"
    try:
        done = command("explain")
    finally:
        del cli_cases.ENVIRONMENT["PYTHONIOENCODING"]
    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii() and done.stdout.count("?") == 1  # the question itself
    assert "delta_j = sum_k dC/da_k da_k/dz_j" in done.stdout


def test_json(run):
    code, out, _ = run("explain", "--json", "--row", 5, "--neuron", 3)
    document = strict(out)
    assert code == 0 and document["ok"] is True
    assert document["fastbp"] == fastbp.__version__
    assert document["neuron"] == 3 and document["html"] is None
    assert [n["name"] for n in document["networks"]] == [
        "sigmoid + quadratic",
        "softmax + quadratic",
        "softmax + cross_entropy",
    ]
    for network in document["networks"]:
        error = network["output_error"]
        assert np.allclose(np.sum(error["terms"], axis=0), error["total"], atol=1e-12)
        assert network["recurrence"]["ok"] and network["gradients"]["ok"]
    assert [n["output_error"]["collapses"] for n in document["networks"]] == [True, False, False]


def test_html(run, tmp_path):
    (tmp_path / "page.html").write_text("old")
    code, out, _ = run("explain", "--html", "page.html")
    assert code == 0
    assert out == "pass: all 9 checks agree within their bounds\npage written to page.html\n"
    page = (tmp_path / "page.html").read_text("utf-8")
    assert read(page).tag == "html"
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    code, out, _ = run("explain", "--html", "page.html", "--json")
    assert strict(out)["html"] == "page.html"
    digits = [e for e in read(page).iter("svg") if e.get("class") == "digit"]
    pixels = fastbp.datasets.load_digits().X[0]
    assert len(list(digits[0].iter("rect"))) == np.count_nonzero(pixels)


def test_a_page_that_cannot_be_written_leaves_the_old_one(run, tmp_path, monkeypatch):
    (tmp_path / "page.html").write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    code, _, err = run("explain", "--html", "page.html")
    assert code == 2 and "No space left" in err
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
    assert (tmp_path / "page.html").read_text() == "old"


def test_a_wrong_engine_is_told(run, monkeypatch):
    right = fastbp.Network.deltas
    monkeypatch.setattr(
        fastbp.Network, "deltas", lambda self, X, Y: [2 * d for d in right(self, X, Y)]
    )
    code, out, _ = run("explain")
    assert code == 1 and "FAIL" in out
    assert "exactly" in out or "2 times" in out
    code, out, _ = run("explain", "--json")
    assert code == 1 and strict(out)["ok"] is False


def test_a_model(run, tmp_path):
    write_csv(tmp_path / "flowers.csv", flowers())
    assert (
        run("train", "flowers.csv", "--target", "kind", "--save", "net", "--epochs", 5, *MLP)[0]
        == 0
    )
    code, out, err = run("explain", "net", "flowers.csv", "--row", 4, "--neuron", 2)
    assert code == 0, err
    kind = flowers()["kind"][4]
    assert f"row 4 of flowers.csv, class {kind}" in out
    assert "Neuron 2 (class lily)" in out and "--- softmax + cross_entropy ---" in out
    assert "sigmoid + quadratic" not in out


def test_a_model_of_numbers_and_one_of_two_classes(run, tmp_path):
    write_csv(tmp_path / "houses.csv", houses())
    assert (
        run("train", "houses.csv", "--target", "price", "--save", "net", "--epochs", 20, *MLP)[0]
        == 0
    )
    code, out, err = run("explain", "net", "houses.csv")
    assert code == 0, err + out
    assert "target " in out
    rng = np.random.default_rng(0)
    np.savez("two.npz", X=rng.normal(size=(8, 3)), y=np.arange(8) % 2)
    for loss in ("binary_cross_entropy", "hinge"):
        output = "identity" if loss == "hinge" else "sigmoid"
        fastbp.Network([3, 4, 1], output=output, loss=loss, seed=0).save("two")
        code, out, err = run("explain", "two", "two.npz", "--row", 0, "--json")
        assert code == 0, err
        error = strict(out)["networks"][0]["output_error"]
        assert error["y"] == [-1.0 if loss == "hinge" else 0.0]


def test_a_model_of_digits_needs_no_data(run):
    fastbp.Network([64, 8, 10], seed=0).save("net")
    code, out, _ = run("explain", "net", "--row", 2)
    assert code == 0 and "row 2 of digits, class 2" in out and "░" in out


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--row", "1797"], ["--row", "0..1796", "1797"]),
        (["--row", "-1"], ["--row", "at least 0"]),
        (["--neuron", "11"], ["neuron", "1..10", "11"]),
        (["--neuron", "0"], ["--neuron", "at least 1"]),
        (["--html", "no/page.html"], ["--html", "no folder:"]),
        (["--html", "."], ["--html", "is a folder"]),
        (["--target", "kind"], ["--target", "MODEL"]),
        (["nowhere"], ["nowhere"]),
        (["small"], ["DATA is needed", "3,2"]),
        (["small", "digits"], ["3 inputs", "64"]),
        (["small", "bare.npy"], ["bare.npy", "no targets"]),
        (["small", "three.npz"], ["3", "classes"]),
        (["small", "numbers.npz"], ["2 targets", "1"]),
    ],
)
def test_bad_input(run, argv, expected):
    fastbp.Network([3, 2], seed=0).save("small")
    rng = np.random.default_rng(0)
    np.save("bare.npy", rng.normal(size=(4, 3)))
    np.savez("three.npz", X=rng.normal(size=(6, 3)), y=np.arange(6) % 3)
    np.savez("numbers.npz", X=rng.normal(size=(6, 3)), y=rng.normal(size=6))
    code, out, err = run("explain", *argv)
    assert code == 2 and out == ""
    assert len(err.splitlines()) == 1
    for part in expected:
        assert part in err, err


def test_help(run):
    code, out, _ = run("explain", "--help")
    assert code == 0 and "example:" in out and "--neuron J" in out


def test_it_starts_where_a_dropped_sum_shows():
    """Not at the true class of softmax with cross_entropy: there k = j alone is right."""
    z, y = np.array([1.0, 2.0, 3.0]), 2
    net = fastbp.Network([3, 3], dtype="float64", init="zeros")
    net.biases[0][...] = z
    found = explain(net, np.zeros(3), y)
    error = found.cases[0].output_error
    assert np.abs(error.total).argmax() == 2 and error.diagonal[2] == error.total[2]
    assert found.neuron == 1 and error.diagonal[1] == 0
    assert "Neuron 2" in str(found) and "not (2): the terms k ≠ 2 add 0.244728" in str(found)
    assert explain(net, np.zeros(3), y, neuron=3).neuron == 2


def test_n_is_said():
    net = fastbp.Network([6, 4, 3], output="identity", loss="mse", dtype="float64", seed=0)
    found = explain(net, X, [0.0, 1.0, 2.0])
    assert re.search(r"C = 1/n ∑_k .* with n = 3, the number of outputs", str(found))
    assert "the number of outputs" in found.to_html()


@pytest.mark.parametrize(
    ("output", "n", "reached"),
    [("sigmoid", 4, 1), ("softmax", 4, 3), ("softmax", 2, 2), ("maxout(2)", 4, 1),
     ("identity", 1, 1)],
)  # fmt: skip
def test_the_paths_are_drawn(output, n, reached):
    net = fastbp.Network([6, 5, n], output=output, loss="mse", dtype="float64", seed=0)
    found = explain(net, X, np.zeros(n) if n > 1 else 0.0)
    drawing = next(e for e in read(found.to_html()).iter("svg") if e.get("class") == "paths")
    lines = [e.get("class") for e in drawing.iter("line")]
    assert lines.count("path") == 2 * reached  # z_j to a_k, a_k to C
    assert len(lines) - 2 * reached == min(n, 3) - reached  # of the others only a_k to C
    text = str(found)
    assert text.index("── C") < text.index("2. The numbers")
    drawn = text[: text.index("2. The numbers")].splitlines()
    top = next(i for i, line in enumerate(drawn) if "┐" in line or "── C" in line)
    rows = [line for line in drawn[top:] if line.startswith("    ")]
    joints = {line.rstrip(" C─").rindex(line.rstrip(" C─")[-1]) for line in rows if n > 1}
    assert len(joints) <= 1  # the upright line is straight


def test_a_weight_beside_which_the_steps_are_lost():
    net = fastbp.Network([1, 2], output="identity", loss="quadratic", dtype="float64")
    net.parameters = [1e17, 1.0, 0.0, 0.0]
    found = explain(net, [0.5], [1.0, 2.0], neuron=1)  # no 0 / 0, which would warn
    assert found.ok and "nan" not in str(found)


def test_a_sample_whose_weighted_inputs_overflow_is_refused():
    net = fastbp.Network([2, 3, 2], seed=0)
    net.parameters *= np.float32(1e20)
    with pytest.raises(ValueError, match=r"^x: expected a sample whose weighted inputs float32"):
        explain(net, np.float32([1e30, -1e30]), 0)


@pytest.mark.parametrize("image", [None, (1, 3)])
def test_a_ragged_sample_is_refused_by_name(image):
    with pytest.raises(ValueError, match=r"^x: "):
        explain(fastbp.Network([3, 4, 2], seed=0), [[1, 2], [1]], 0, image=image)
