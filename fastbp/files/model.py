"""Model files: safetensors with versioned JSON metadata, never pickle.

What belongs here: what stands in a file, and reading that refuses what it does not know. What does
not: putting a file in another's place (replace.py), other formats.

Version 2 has layers other than dense ones among its "sizes"; a network of dense layers alone is
written as version 1, which older fastbp reads.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastbp import functions, inputs, layers
from fastbp.files.replace import replace
from fastbp.network import Network, as_network

FORMAT = "fastbp"
VERSION = 2
_HEADER_LIMIT = 100_000_000  # safetensors' own limit of its JSON header, in bytes


def save(
    net: Network, path: str | os.PathLike[str], *, metadata: dict[str, Any] | None = None
) -> None:
    """Write a network to a file.

    The bytes go to a temporary file beside it, are flushed to the disk, and take the name in one
    step: a crash or a full disk leaves the old file as it was.

    Parameters
    ----------
    net : Network
    path : str or path-like
    metadata : dict, optional
        JSON-able; replaces `net.metadata` in the file.

    Raises
    ------
    TypeError
        The metadata is not JSON-able.
    OSError
        There is no such folder, `path` is no regular file (a device, a FIFO), the disk is full, ...

    Examples
    --------
    >>> import fastbp, tempfile, os
    >>> net = fastbp.Network([2, 1], output="identity", loss="mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "net.safetensors"), metadata={"made": "today"})
    ...     twin = fastbp.load(os.path.join(folder, "net.safetensors"))
    >>> twin.metadata, bool((twin.parameters == net.parameters).all())
    ({'made': 'today'}, True)
    """
    path, net = inputs.as_path(path, "path"), as_network(net)
    inputs.as_numbers(net.parameters, "parameters", net.dtype)  # such a file would be refused
    metadata = net.metadata if metadata is None else metadata
    if not isinstance(metadata, dict):
        raise TypeError(f"metadata: expected a dict; got {type(metadata).__name__}")
    description = {
        "format": FORMAT,
        "version": _version_of(net),
        "architecture": net.architecture,
        "metadata": metadata,
    }
    replace(path, content_of(net.tensors, FORMAT, description, "metadata"))


def content_of(
    tensors: Mapping[str, np.ndarray], kind: str, description: dict[str, Any], told: str
) -> bytes:
    """A file's bytes; `told`: of what of the description a refusal speaks."""
    import safetensors.numpy

    try:
        text = json.dumps(description, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise TypeError(f"{told}: expected values that JSON holds; {error}") from None
    content: bytes = safetensors.numpy.save(dict(tensors), {kind: text})
    if struct.unpack("<Q", content[:8])[0] > _HEADER_LIMIT:
        raise ValueError(
            f"{told}: expected less than {_HEADER_LIMIT:,} bytes of JSON; got {len(text):,}"
        )
    return content


def _version_of(net: Network) -> int:
    """The lowest that can hold it."""
    return 1 if all(isinstance(layer, layers.Dense) for layer in net.layers) else VERSION


def load(path: str | os.PathLike[str]) -> Network:
    """Read a network that `Network.save` wrote.

    Raises
    ------
    ValueError
        The file is truncated, of another kind, from a later version, or does not fit its own
        description; the message begins with its name.
    OSError
    """
    import safetensors

    path = inputs.as_file(path, "path")
    with of_file(path, "the network does"):
        description = read_description(path, FORMAT, 1, VERSION)
        for key in ("architecture", "metadata"):
            if not isinstance(description.get(key), dict):
                raise ValueError(
                    f"expected {key!r} in its description; got {description.get(key)!r}"
                )
        with safetensors.safe_open(path, framework="numpy") as file:
            names = check_tensors(description["architecture"], file)
            refuse_others(file, names)
            net = Network(**{**description["architecture"], "init": "zeros"})
            fill(net, file)
        net.metadata = description["metadata"]
    return net


@contextmanager
def of_file(path: Path, what: str) -> Iterator[None]:
    """Have refusals begin with the file's name; `what` it is that may not fit in memory."""
    import safetensors

    try:
        yield
    except safetensors.SafetensorError as error:
        raise ValueError(f"{path}: truncated or damaged: {error}") from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ValueError(f"{path}: {error}") from None
    except MemoryError as error:
        raise MemoryError(f"{path}: {what} not fit in memory: {error}") from None


def read_description(path: Path, kind: str, *versions: int) -> dict[str, Any]:
    """A file's JSON description, checked as far as another program may have written it.

    kind: the entry of the file's metadata that holds it, and the format that it names; versions:
    those that are known.
    """
    import safetensors

    what = "model" if kind == FORMAT else kind.removeprefix(f"{FORMAT} ")
    if not _is_safetensors(path):
        raise ValueError(
            f"expected a {what} file of fastbp (safetensors); this is another kind of file, or "
            "a truncated one"
        )
    with safetensors.safe_open(path, framework="numpy") as file:
        text = (file.metadata() or {}).get(kind)
    if text is None:
        raise ValueError(
            f"expected a {what} file of fastbp; this safetensors file has no such metadata"
        )
    description = json.loads(text, parse_constant=_refuse_number, parse_float=_as_finite)
    if not isinstance(description, dict) or description.get("format") != kind:
        raise ValueError(f"expected the metadata of a fastbp {what}; got another")
    found = description.get("version")
    if type(found) is not int or found not in versions:
        raise ValueError(
            f"expected format version {' or '.join(map(str, versions))}; got {found!r}"
            + ("; a later fastbp wrote this file" if isinstance(found, int) else "")
        )
    return description


def kinds_of(path: Path) -> set[str]:
    """The kinds that a file's metadata have; of one that is no safetensors file none."""
    import safetensors

    if not _is_safetensors(path):
        return set()
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            return set(file.metadata() or ())
    except (safetensors.SafetensorError, MemoryError):  # told by whoever reads it in earnest
        return set()


def _is_safetensors(path: Path) -> bool:
    """As far as its first bytes tell: before the parser sees it, so that a message may."""
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
    return len(start) == 8 and 2 <= struct.unpack("<Q", start)[0] <= min(_HEADER_LIMIT, size - 8)


def read_tensor(file: Any, name: str) -> np.ndarray:
    """One array of a safetensors file."""
    found = file.get_slice(name)
    # asked for here, where a want of memory is a MemoryError: in safetensors it is a panic
    bytearray(math.prod(found.get_shape()) * (8 if found.get_dtype() == "F64" else 4))
    return file.get_tensor(name)


def _refuse_number(text: str) -> float:
    raise ValueError(f"expected finite numbers in its description; got {text:.40}")


def _as_finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def check_tensors(architecture: dict[str, Any], file: Any, prefix: str = "") -> list[str]:
    """Hold the tensors against the architecture, before memory is taken for what it claims.

    Returns their names in the file, which begin with `prefix`.
    """
    sizes, hidden = architecture.get("sizes"), architecture.get("activation")
    if not isinstance(sizes, list) or not all(type(n) in (int, str) for n in sizes):
        raise ValueError(
            f"expected 'sizes' as a list of whole numbers and names of layers; got "
            f"{str(sizes)[:200]}"
        )
    n_inputs, given = layers.as_sizes(sizes)
    n_hidden = sum(isinstance(layer, layers.Dense) for layer in given) - 1
    if not isinstance(hidden, list) or len(hidden) != n_hidden:
        raise ValueError(
            f"expected 'activation' as a list, one a hidden layer; got {str(hidden)[:200]}"
        )
    codes = {"float32": "F32", "float64": "F64"}
    dtype = str(architecture.get("dtype"))
    if dtype not in codes:
        raise ValueError(functions.unknown("dtype", dtype, codes))
    names, seen = set(file.keys()), []
    own = layers.of({"output": None, **architecture})
    z_per_a = [functions.activation(layer.activation).z_per_a for layer in own]
    for name, tensor in layers.tensors(n_inputs, given, z_per_a):
        shape = list(tensor.shape)
        name = prefix + name
        if name not in names:
            raise ValueError(f"expected a tensor {name!r} {shape}; there is none")
        seen.append(name)
        found = file.get_slice(name)
        if found.get_shape() != shape or found.get_dtype() != codes[dtype]:
            raise ValueError(
                f"expected tensor {name!r} of shape {shape} and dtype {codes[dtype]}; got "
                f"{found.get_shape()} and {found.get_dtype()}"
            )
    return seen


def refuse_others(file: Any, names: list[str]) -> None:
    """Refuse tensors that nobody asked for."""
    others = set(file.keys()).difference(names)
    if others:
        raise ValueError(f"expected no further tensors; got {', '.join(sorted(others))}")


def fill(net: Network, file: Any, prefix: str = "") -> None:
    """Read a network's tensors."""
    for name, own in net.tensors.items():
        own[...] = read_tensor(file, prefix + name)
    inputs.as_numbers(net.parameters, "parameters", net.dtype)
