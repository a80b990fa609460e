"""Model files by their public name. What belongs here: names, and which kind of file holds what."""

import os
from typing import Any

from fastbp import inputs
from fastbp.files import ensemble, model
from fastbp.files.model import FORMAT, VERSION, read_description, save
from fastbp.files.model import read_tensor as tensor
from fastbp.files.replace import check_destination, destination, replace

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


def load(path: str | os.PathLike[str]) -> Any:
    """Read a model: a network that `Network.save` wrote, or a tabular estimator.

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Network, TabularClassifier or TabularRegressor

    Raises
    ------
    ValueError
        The file is truncated, of another kind, from a later version, or does not fit its own
        description; the message begins with its name.
    OSError
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
