"""Model files by their public name. What belongs here: names alone; the work is in files/."""

from fastbp.files.model import FORMAT, VERSION, load, read_description, save
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
