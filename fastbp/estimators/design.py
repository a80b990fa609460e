"""What a tabular estimator's networks see of a table: encoded columns, and bins of the numbers.

What belongs here: from a table to one matrix, dense or sparse, and how that is written down. What
does not: a column (fastbp/tabular/), networks and training (tabular.py).
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from fastbp.tabular import Encoder
from fastbp.tabular.bins import Bins
from fastbp.tabular.facts import Facts

BLOCK = 1 << 20  # elements of a matrix that a prediction makes at a time, in the cache
# Columns for each nonzero of a row from which on lists are faster than an array, which then has as
# many times the lists' numbers (bench/tables.py --lists).
SPARSE = 8


class Design:
    """A table's columns as a network's inputs.

    Attributes
    ----------
    encoder : Encoder
    bins : Bins
    lists : bool
        Whether the network gets sparse rows.
    """

    def __init__(self, encoder, bins, lists):
        self.encoder, self.bins, self.lists = encoder, bins, lists

    @classmethod
    def fit(cls, columns, n_bins, encoder=None):
        """The design of a table, and its matrix; with the parameters of an encoder."""
        parameters = {} if encoder is None else encoder.get_params()
        encoder = Encoder(**parameters).set_output(transform="default")
        encoded = encoder.fit_transform(columns)
        bins = Bins.fit(encoded, n_bins) if n_bins else Bins([], [])
        lists = False
        if sparse.issparse(encoded):
            nonzeros = encoded.nnz / encoded.shape[0] + bins.n_columns / 2
            lists = encoded.shape[1] + bins.n_columns > SPARSE * nonzeros
        design = cls(encoder, bins, lists)
        return design, design.matrix(encoded)

    @property
    def n_columns(self):
        """Of a matrix."""
        return len(self.encoder.feature_names_out()) + self.bins.n_columns

    def matrix(self, encoded):
        """What networks see of an encoded table."""
        if self.lists:
            parts = [encoded, sparse.csr_array(self.bins.transform(encoded))]
            return sparse.hstack(parts, format="csr") if self.bins.columns else encoded
        if not self.bins.columns and isinstance(encoded, np.ndarray):
            return encoded
        k = encoded.shape[1]
        out = np.zeros((encoded.shape[0], k + self.bins.n_columns), encoded.dtype)
        if sparse.issparse(encoded):
            rows = np.repeat(np.arange(encoded.shape[0]), np.diff(encoded.indptr))
            out[rows, encoded.indices] = encoded.data
        else:
            out[:, :k] = encoded
        out[:, k:] = self.bins.transform(encoded)
        return out

    def transform(self, columns):
        """The matrix of a table."""
        return self.matrix(self.encoder.transform(columns))

    def blocks(self, columns):
        """Matrices of a table's rows, one part after the other."""
        encoded = self.encoder.transform(columns)
        if encoded.shape[0] == 0:
            raise ValueError("X: expected at least one row; got none (0 samples)")
        step = max(1, BLOCK // (encoded.shape[1] + self.bins.n_columns))
        for start in range(0, encoded.shape[0], step):
            yield self.matrix(encoded[start : start + step])

    def to_dict(self):
        """Of what JSON has."""
        encoder, bins = self.encoder.to_dict(), self.bins.to_dict()
        return {"encoder": encoder, "bins": bins, "lists": bool(self.lists)}

    @classmethod
    def from_dict(cls, learnt):
        """What `to_dict` wrote down, checked."""
        of = Facts(learnt, "design")
        encoder = Encoder.from_dict(of.value("encoder")).set_output(transform="default")
        n_encoded = len(encoder.feature_names_out())
        design = cls(encoder, Bins.from_dict(of.value("bins"), n_encoded), of.flag("lists"))
        of.close()
        return design
