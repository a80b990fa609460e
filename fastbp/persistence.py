"""Model files by their public name. What belongs here: names, and which kind of file holds what."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from fastbp import inputs
from fastbp.files import ensemble, model
from fastbp.files.model import FORMAT, VERSION, read_description, read_tensor as tensor, save
from fastbp.files.replace import check_destination, destination, replace

if TYPE_CHECKING:
    from fastbp.estimators import TabularClassifier, TabularRegressor
    from fastbp.network import Network

__all__ = [
    "FORMAT",
    "VERSION",
    "check_destination",
    "destination",
    "load",
    "read_description",
    "replace",
    "save",
    "tensor",
]


def load(path: str | os.PathLike[str]) -> Network | TabularClassifier | TabularRegressor:
    """Read a model: a network that `Network.save` wrote, or a tabular estimator.

    Parameters
    ----------
    path : str or path-like
        A file that `Network.save` or a tabular estimator's `save` wrote.

    Returns
    -------
    Network, TabularClassifier or TabularRegressor
        What the file holds, with the bits that were saved.

    Raises
    ------
    ValueError
        The file is truncated, of another kind, from a later version, or does not fit its own
        description; the message begins with its name.
    OSError
        There is no such file, or it is no regular one (a folder, a device, a FIFO).
    ImportError
        A tabular estimator needs scikit-learn.

    Examples
    --------
    >>> import fastbp, tempfile, os
    >>> net = fastbp.Network([2, 1], output="identity", loss="mse")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     net.save(os.path.join(folder, "net.safetensors"))
    ...     twin = fastbp.load(os.path.join(folder, "net.safetensors"))
    >>> twin.sizes
    [2, 1]
    """
    if ensemble.FORMAT in model.kinds_of(inputs.as_file(path, "path")):
        from fastbp.estimators import saved

        return saved.load(path)  # type: ignore[no-untyped-call]
    return model.load(path)
