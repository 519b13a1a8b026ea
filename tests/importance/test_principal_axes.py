"""Principal axes: orthogonal, the mean untouched, and the variance in the first channels."""

import numpy as np
import pytest

from onnxprune.importance.principal_axes import principal_axes


def covariance(size: int, *, centred: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((500, size)) * 0.8 ** np.arange(size) @ rng.standard_normal((size, size))
    rows = rows - rows.mean(axis=1, keepdims=True) if centred else rows
    return np.asarray(np.cov(rows.T))


@pytest.mark.parametrize("size", [2, 5, 32])
def test_a_centred_stream_stays_centred(size: int) -> None:
    turn = principal_axes(covariance(size, centred=True), centred=True)
    assert np.allclose(turn @ turn.T, np.eye(size), atol=1e-9)
    assert np.allclose(turn @ np.ones(size), 1, atol=1e-9)


@pytest.mark.parametrize("centred", [False, True])
def test_the_last_channels_hold_hardly_more_than_the_least_axes(*, centred: bool) -> None:
    found = covariance(32, centred=centred)
    turn = principal_axes(found, centred=centred)
    variances = np.diag(turn @ found @ turn.T)
    least = np.sort(np.linalg.eigvalsh(found))
    for dropped in (4, 8, 16):
        rest = least[: dropped + centred].sum()  # one of the axes is the mean, of which there is nothing
        assert variances[-dropped:].sum() <= 1.25 * rest < 0.05 * variances.sum()


def test_axes_of_two_channels_by_hand() -> None:
    """All that is left of two channels without their mean is their difference."""
    assert np.allclose(principal_axes(np.array([[1.0, -1.0], [-1.0, 1.0]]), centred=True) ** 2, np.eye(2) * 1.0)
