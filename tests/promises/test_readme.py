"""What README.md says is so: its example runs, its lists are complete, its limits are named."""

import re
from pathlib import Path

import pytest

import fastbp
from fastbp import functions, initialization

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    first, training, many, tables, sklearn, scaling, exchange, checks, torch = blocks
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    assert "gradient check: pass" in capsys.readouterr().out
    assert names["history"]["validation_accuracy"][-1] > 0.95
    assert fastbp.load("digits.safetensors").n_parameters == 2260
    exec(compile(training, "README.md", "exec"), names)
    assert names["history"]["validation_balanced_accuracy"].max() > 0.95
    exec(compile(many, "README.md", "exec"), names)
    assert max(h["validation_accuracy"].max() for h in names["histories"]) > 0.9
    exec(compile(tables, "README.md", "exec"), names)
    assert fastbp.load("prices.safetensors").predict(names["table"])[0] == pytest.approx(90, abs=5)
    exec(compile(sklearn, "README.md", "exec"), names)
    assert names["model"].score(names["digits"].X, names["digits"].Y) > 0.93
    exec(compile(scaling, "README.md", "exec"), names)
    digits, net = names["digits"], names["net"]
    assert names["search"].best_score_ > 0.8
    assert (net.predict(digits.X).argmax(axis=1) == digits.Y).mean() > 0.9
    exec(compile(exchange, "README.md", "exec"), names)
    assert "_predict(const float *x, float *y)" in (tmp_path / "digits.c").read_text()
    capsys.readouterr()
    exec(compile(checks, "README.md", "exec"), names)
    out = capsys.readouterr().out
    assert out.count("check: pass") == 2 and out.count("function: pass") == 1
    assert out.count("FAIL") == 1 and "exactly 2 times" in out
    pytest.importorskip("torch")
    exec(compile(torch, "README.md", "exec"), names)
    assert "gradient of a function: pass" in capsys.readouterr().out


def test_the_lists_of_names_are_complete():
    words = set(re.findall(r"[a-z_0-9]+", README))
    for known in (functions.ACTIVATIONS, functions.LOSSES, initialization.SCHEMES):
        assert set(known) <= words


def test_the_two_commands_are_there():
    """.ci/run takes them from here and runs them in a fresh clone."""
    assert re.search(r"^python3 -m venv \.venv && .*fastbp train$", README, re.MULTILINE)
    assert re.search(r"^\.venv/bin/pip install .* && .*pytest -n auto$", README, re.MULTILINE)
