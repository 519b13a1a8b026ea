"""Covariances that know how few samples they come from.

A sample covariance of d inputs over n samples has no rank beyond n: any input past the n-th is an exact linear sum of
the others, on these samples alone. Covariances are drawn towards nothing, variances stay, by the share that minimises
the expected squared error (Ledoit & Wolf 2004 with the target of Schaefer & Strimmer 2005). How far they scatter is
seen from sample to sample, as the positions of one sample are no independent rows.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxprune.values.axes import FloatArray


class Spread:
    """How far the second moments of single samples lie from each other, by group of a layer."""

    def __init__(self, groups: int) -> None:
        self._samples = 0
        self._squares = np.zeros(groups)

    def add(self, x: NDArray[Any]) -> None:
        """Take inputs about a fixed point: [groups, samples, rows of a sample, inputs]."""
        rows = x.shape[2]
        products = x @ x.transpose(0, 1, 3, 2)  # has the same squares as the moments, and is small
        own = np.square(x, dtype=np.float64).sum(axis=2)
        off = np.square(products, dtype=np.float64).sum(axis=(1, 2, 3)) - np.square(own).sum(axis=(1, 2))
        self._squares += off / rows**2
        self._samples += x.shape[1]

    def share(self, moments: FloatArray) -> FloatArray:
        """Return how much of the covariances is chance, 0 to 1, by group; all of it where one sample was seen.

        Args:
            moments: second moments about the fixed point, over all samples: [groups, inputs, inputs].
        """
        n = self._samples
        if n < 2:
            return np.ones(len(moments))
        diagonal = np.diagonal(moments, axis1=1, axis2=2)
        off = np.square(moments).sum(axis=(1, 2)) - np.square(diagonal).sum(axis=1)
        variance = np.maximum(self._squares / n - off, 0.0) / (n - 1)
        return np.asarray(np.minimum(1.0, variance / np.maximum(off, np.finfo(np.float64).tiny)))
