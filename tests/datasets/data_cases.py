"""What the tests of reading data share: how a refusal must look."""

from pathlib import Path

import pytest

from fastbp import datasets


def refusal(path, **options):
    """Read what must be refused; the message must begin with the file's name."""
    with pytest.raises(ValueError) as caught:
        datasets.read(path, **options)
    message = str(caught.value)
    assert message.startswith(Path(path).name), message
    assert "\n" not in message
    return message
