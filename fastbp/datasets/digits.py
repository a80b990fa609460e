"""The handwritten digits that the package carries."""

import numpy as np

from fastbp.datasets.dataset import Dataset

ATTRIBUTION = (
    "Optical Recognition of Handwritten Digits. Alpaydin, E. & Kaynak, C. (1998). "
    "UCI Machine Learning Repository. https://doi.org/10.24432/C50P49. Licensed CC BY 4.0. "
    "The 1,797 images of the test part; 8x8 pixels of 0..16."
)


def load_digits() -> Dataset:
    """Return the 1,797 handwritten digits of 8x8 pixels that the package carries.

    Returns
    -------
    Dataset
        ``X`` (1797, 64) float32 in [0, 1]: the pixels, 0 to 16, divided by 16, row by row;
        ``Y`` (1797,) int64: the digit.

    Notes
    -----
    Optical Recognition of Handwritten Digits, its test part. Alpaydin, E. & Kaynak, C. (1998),
    UCI Machine Learning Repository, https://doi.org/10.24432/C50P49, CC BY 4.0.

    Examples
    --------
    >>> from fastbp.datasets import load_digits
    >>> digits = load_digits()
    >>> digits.X.shape, int(digits.Y[0]), digits.classes[3]
    ((1797, 64), 0, 3)
    """
    from importlib import resources  # costs 7 ms

    file = resources.files(__package__).joinpath("digits.npz")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
        images, labels = archive["images"], archive["labels"]
    return Dataset(
        X=np.divide(images.reshape(-1, 64), np.float32(16), dtype=np.float32),
        Y=labels.astype(np.int64),
        classes=tuple(range(10)),
        name="digits",
        attribution=ATTRIBUTION,
    )
