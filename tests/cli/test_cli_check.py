"""`fastbp check`: what it runs, what it prints, and its exit codes.

What belongs here: the command. What does not: what the checks find (test_check.py and others).
"""

import cli_cases
import numpy as np
import pytest
from cli_cases import MLP, command, flowers, houses, strict, write_csv

import fastbp

elsewhere, run = cli_cases.elsewhere, cli_cases.run  # fixtures

TITLES = ["output error", "recurrence", "gradient check"]


def test_without_a_model(run):
    code, out, err = run("check")
    assert code == 0 and not err
    lines = out.splitlines()
    assert lines[-1] == "all agree"
    assert sum("structure" in line for line in lines) == len(fastbp.functions.ACTIVATIONS)
    for title in TITLES:
        found = [line for line in lines if f"{title}: pass" in line]
        assert len(found) == (8 if title == "gradient check" else 4), title


def test_as_a_program():
    done = command("check", "--json")
    assert done.returncode == 0, done.stderr
    document = strict(done.stdout)
    assert document["ok"] is True
    assert {c["what"] for c in document["checks"]} == {"structure", *TITLES}
    assert all(c["ok"] for c in document["checks"])
    assert not any("points" in c for c in document["checks"])


@pytest.mark.parametrize(
    ("data", "options"),
    [
        (flowers, ["--target", "kind"]),
        (houses, ["--target", "price"]),
        # prices of 10^5 whose errors count in 10^3: float32 would leave most unresolved
        (houses, ["--target", "price", "--loss", "gaussian_nll", "--dtype", "float64"]),
    ],
)
def test_a_saved_network_and_its_data(run, tmp_path, data, options):
    write_csv(tmp_path / "a.csv", data())
    assert run("train", "a.csv", *options, *MLP, "--epochs", 5, "--save", "net")[0] == 0
    code, out, err = run("check", "net", "a.csv", "--rows", 5, "--tables")
    assert code == 0, out + err
    assert out.rstrip().endswith("all agree")
    assert max(map(len, out.splitlines())) <= 100
    for word in ("(1) dC/dz_j", "slope 2: right, 1: wrong", "worst at", "W1", "delta1"):
        assert word in out
    document = strict(run("check", "net", "a.csv", "--rows", 5, "--json")[1])
    assert [c["what"] for c in document["checks"]] == [*TITLES, TITLES[-1]]


def test_a_table_model_of_sixty_rows(run, tmp_path):
    """Its delta is a small difference of float32 numbers, and is told from their rounding."""
    random = np.random.default_rng(0)
    area, rooms = random.uniform(50, 200, 60).round(1), random.integers(1, 6, 60)
    given = {"area": area, "rooms": rooms, "town": random.choice(["a", "b", "c"], 60)}
    price = (150 + 2 * area + 10 * rooms + random.normal(0, 10, 60)).round(1)
    write_csv(tmp_path / "house.csv", {**given, "price": price})
    fastbp.estimators.TabularRegressor(random_state=0).fit(given, price).save("house.safetensors")
    code, out, err = run("check", "house.safetensors", "house.csv", "--target", "price")
    assert code == 0, out + err
    assert "output error: pass" in out and out.rstrip().endswith("all agree"), out


def test_one_output_and_two_classes(run, tmp_path):
    data = flowers()
    data["kind"] = np.where(data["kind"] == "lily", "no", "yes")
    write_csv(tmp_path / "a.csv", data)
    for loss in ("binary_cross_entropy", "hinge"):
        train = ("train", "a.csv", "--target", "kind", "--sizes", "auto,8,1", "--loss", loss)
        assert run(*train, "--epochs", 5, "--save", "net")[0] == 0
        code, out, err = run("check", "net", "a.csv")
        assert code == 0, out + err


def test_digits_are_the_data_of_a_network_that_fits_them(run):
    fastbp.Network([64, 7, 10], seed=3).save("net")
    code, out, _ = run("check", "net", "--max-parameters", 50)
    assert code == 0 and "net: gradient check: pass" in out


@pytest.mark.parametrize("method", ["deltas", "gradient", "input_gradient"])
def test_what_is_wrong_is_shown_and_is_exit_code_1(run, monkeypatch, method):
    right = getattr(fastbp.Network, method)

    def wrong(self, *args, **options):
        found = right(self, *args, **options)
        return [2 * d for d in found] if method == "deltas" else 2 * found

    monkeypatch.setattr(fastbp.Network, method, wrong)
    code, out, _ = run("check")
    assert code == 1
    assert "FAIL" in out and out.rstrip().endswith("something is wrong")
    assert strict(run("check", "--json")[1])["ok"] is False


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "No such file"),
        (["net"], "DATA is needed"),
        (["net", "a.csv", "--target", "kind"], "the network takes 5 inputs, found 3"),
        (["--target", "kind"], "--target and --labels need MODEL and DATA"),
        (["net", "a.csv", "--rows", "0"], "--rows"),
        (["net", "a.csv", "--max-parameters", "x"], "--max-parameters"),
    ],
)
def test_bad_usage(run, tmp_path, arguments, message):
    write_csv(tmp_path / "a.csv", flowers())
    fastbp.Network([5, 3, 2]).save("net")
    code, _, err = run("check", *arguments)
    assert code == 2 and message in err and err.startswith("fastbp: error:")
    assert len(err.splitlines()) == 1


def test_classes_that_the_network_does_not_know(run, tmp_path):
    data = flowers()
    write_csv(tmp_path / "a.csv", data)
    assert run("train", "a.csv", "--target", "kind", "--epochs", 1, "--save", "net", *MLP)[0] == 0
    data["kind"][5] = "oak"
    write_csv(tmp_path / "b.csv", data)
    code, _, err = run("check", "net", "b.csv")
    assert code == 2 and "knows no class 'oak'" in err


def test_what_cannot_be_told_is_told_and_is_no_exit_code(run):
    net = fastbp.Network([64, 7, 10], seed=3, dtype="float64")
    net.weights[1][...] *= 1e25  # a loss in which small slopes drown
    net.save("net")
    code, out, _ = run("check", "net", "--max-parameters", 50)
    n = sum(": inconclusive" in line for line in out.splitlines())
    assert n and "something is wrong" not in out and "all agree" not in out.splitlines()
    assert code == 0
    last = out.splitlines()[-1]
    assert last == f"nothing is wrong as far as could be told: {n} of 4 checks could not tell"
    document = strict(run("check", "net", "--max-parameters", 50, "--json")[1])
    assert document["inconclusive"] == n
    assert document["ok"] is (None if None in [c["ok"] for c in document["checks"]] else True)


def test_wrong_and_unclear(run, monkeypatch):
    monkeypatch.setattr(fastbp.Network, "deltas", lambda self, X, Y: wrong(self, X, Y))
    net = fastbp.Network([64, 7, 10], seed=3, dtype="float64")
    net.weights[1][...] *= 1e25
    net.save("net")
    code, out, _ = run("check", "net", "--max-parameters", 50)
    assert code == 1 and out.splitlines()[-1].startswith("something is wrong")


DELTAS = fastbp.Network.deltas


def wrong(net, X, Y):
    return [2 * delta for delta in DELTAS(net, X, Y)]


def test_ctrl_c_tells_what_was_found(run, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastbp.check.recurrence", interrupted)
    fastbp.Network([64, 7, 10]).save("net")
    code, out, err = run("check", "net")
    assert code == 130 and out.startswith("net: output error: pass") and "all agree" not in out
    assert err == "fastbp: interrupted\n"
    code, out, _ = run("check", "net", "--json")
    document = strict(out)
    assert code == 130 and document["interrupted"] is True and len(document["checks"]) == 1


def test_a_time_limit(run):
    fastbp.Network([64, 30, 10]).save("net")
    code, out, err = run("check", "net", "--time-limit", 0.2)
    assert code == 0, out + err
    assert run("check", "net", "--time-limit", 0)[0] == 2
