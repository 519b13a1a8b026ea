"""The principal axes of a stream that normalisations read, as an orthogonal matrix that leaves their mean alone.

In its principal axes a stream has its variance in the first channels, and the last ones can go: no choice of as many
channels as they are leaves less behind. Where normalisations take out the mean, a matrix that may stand in front of
them has to map the mean to the mean. The rest has one dimension less than there are channels; it is laid over them so
that the last k channels hold almost nothing but the last k axes, which the rows of a Helmert matrix do.
"""

import numpy as np
import scipy.linalg

from onnxprune.values.axes import FloatArray


def principal_axes(covariance: FloatArray, *, centred: bool) -> FloatArray:
    """Return the orthogonal matrix that turns a stream, [channels, channels]: turned = matrix @ stream.

    Args:
        covariance: of the stream behind its normalisations, before their scales, [channels, channels].
        centred: whether these take out the mean; the matrix then has the vector of ones as an eigenvector.

    Example:
        >>> import numpy as np
        >>> turn = principal_axes(np.diag([1.0, 9.0, 4.0]), centred=False)
        >>> np.abs(turn).round(6).tolist()
        [[0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]
    """
    if not centred:
        return _axes(covariance)
    size = len(covariance)
    # columns that add up to 0, column j having the first j + 2 channels alone
    helmert = np.asarray(scipy.linalg.helmert(size)).T
    axes = _axes(helmert.T @ covariance @ helmert)
    return np.asarray(helmert @ axes @ helmert.T + np.full((size, size), 1 / size))


def _axes(covariance: FloatArray) -> FloatArray:
    """Return the eigenvectors as rows, those of the largest variances first, the largest entry of each above 0."""
    found = np.linalg.eigh(covariance)[1][:, ::-1].T
    largest = np.take_along_axis(found, np.abs(found).argmax(axis=1)[:, None], axis=1)
    return np.asarray(found * np.where(largest < 0, -1.0, 1.0))
