"""What README.md says is so: examples run, the two commands and the pages named are there.

What does not belong here: the pages of docs/ (tests/docs).
"""

import re
from pathlib import Path

import fastbp

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_examples_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    first, sklearn = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(first, "README.md", "exec"), names)
    assert "gradient check: pass" in capsys.readouterr().out
    assert names["history"]["validation_accuracy"][-1] > 0.95
    assert fastbp.load("digits.safetensors").n_parameters == 2260
    exec(compile(sklearn, "README.md", "exec"), names)
    assert names["model"].score(names["digits"].X, names["digits"].Y) > 0.93


def test_the_two_commands_are_there():
    """.ci/run takes them from here and runs them in a fresh clone."""
    assert re.search(r"^python3 -m venv \.venv && .*fastbp train$", README, re.MULTILINE)
    assert re.search(r"^\.venv/bin/pip install .* && .*pytest -n auto$", README, re.MULTILINE)


def test_the_pages_are_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert len(links) > 15
    assert not [link for link in links if not (ROOT / link).is_file()]
