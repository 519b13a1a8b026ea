"""What a layer loses without some of its inputs, by least squares solved anew: the reference of all losses."""

import numpy as np

from onnxprune.values.axes import FloatArray, IntArray


def moments_of(x: FloatArray) -> FloatArray:
    """Return the second moments of [rows, inputs] about their means."""
    centred = x - x.mean(axis=0)
    return np.asarray(centred.T @ centred / len(x))


def lost_without(x: FloatArray, w: FloatArray, kept: list[int] | IntArray) -> float:
    """Return the mean squared error of the best affine map from the kept inputs to the whole output."""
    y = x @ w - (x @ w).mean(axis=0)
    inputs = x[:, kept] - x[:, kept].mean(axis=0)
    solved, *_ = np.linalg.lstsq(inputs, y, rcond=None)
    return float(np.square(y - inputs @ solved).sum() / len(x))
