"""Files of several networks and of what stands around them: safetensors with JSON metadata.

What belongs here: how networks lie beside each other in one file. What does not: a network's own
tensors (model.py), what the facts beside them mean (fastbp/estimators/tabular_ensemble.py).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from fastbp import inputs
from fastbp.files.model import (
    check_tensors,
    content_of,
    fill,
    of_file,
    read_description,
    refuse_others,
)
from fastbp.files.replace import replace
from fastbp.network import Network

FORMAT = "fastbp tabular model"
VERSION = 1


def save(path: str | os.PathLike[str], networks: Sequence[Network], facts: dict[str, Any]) -> None:
    """Write networks and JSON-able facts to a file, which takes an old one's place whole.

    Raises
    ------
    TypeError
        The facts are not JSON-able.
    OSError
    """
    path = inputs.as_path(path, "path")
    for net in networks:  # such a file would be refused
        inputs.as_numbers(net.parameters, "parameters", net.dtype)
    tensors = {
        f"{i}.{name}": tensor
        for i, net in enumerate(networks)
        for name, tensor in net.tensors.items()
    }
    description = {
        "format": FORMAT,
        "version": VERSION,
        "networks": [net.architecture for net in networks],
        "facts": facts,
    }
    replace(path, content_of(tensors, FORMAT, description, "facts"))


def load(path: str | os.PathLike[str]) -> tuple[list[Network], dict[str, Any]]:
    """The networks and facts that `save` wrote.

    Raises
    ------
    ValueError
        The file is truncated, of another kind, from a later version, or does not fit its own
        description; the message begins with its name.
    OSError
    """
    import safetensors

    path = inputs.as_file(path, "path")
    with of_file(path, "the networks do"):
        description = read_description(path, FORMAT, VERSION)
        given, facts = description.get("networks"), description.get("facts")
        if type(given) is not list or not given or not all(type(a) is dict for a in given):
            raise ValueError(f"expected 'networks' in its description; got {str(given)[:200]}")
        if type(facts) is not dict:
            raise ValueError(f"expected 'facts' in its description; got {str(facts)[:200]}")
        with safetensors.safe_open(path, framework="numpy") as file:
            names = [
                name
                for i, architecture in enumerate(given)
                for name in check_tensors(architecture, file, f"{i}.")
            ]
            refuse_others(file, names)
            networks = [Network(**{**architecture, "init": "zeros"}) for architecture in given]
            for i, net in enumerate(networks):
                fill(net, file, f"{i}.")
    return networks, facts
