"""Covariances that know how few samples they come from: chance never looks like redundancy."""

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxprune.calibration.shrinkage import Spread
from onnxprune.selection.loss import tail_losses
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.statistics import Consumer

Array = NDArray[np.float64]


def covariance(x: Array) -> Array:
    """Shrink the covariance of [samples, rows of a sample, inputs]."""
    spread = Spread(1)
    spread.add(x[None])
    flat = x.reshape(-1, x.shape[2])
    share = spread.share((flat.T @ flat / len(flat))[None])
    moments = np.cov(flat.T, bias=True)[None]
    axis = Axis(Ref("w", 0, 1), 0)
    consumer = Consumer("y", axis, np.eye(len(moments[0]))[None], moments, len(moments[0]), 1.0, share)
    return np.asarray(consumer.damped[0])


def relative_losses(x: Array) -> Array:
    """Loss when the channels after the first d go, as a share of losing all that a sum of them says."""
    count = x.shape[2]
    lost = tail_losses(covariance(x), np.eye(count), [np.arange(count)[:, None]])[0]
    return np.asarray(lost / lost[0])


@pytest.mark.parametrize(("samples", "channels"), [(50, 40), (50, 100), (100, 400)])
def test_channels_of_noise_never_look_free(samples: int, channels: int) -> None:
    noise = np.random.default_rng(0).normal(size=(samples, 1, channels))
    lost = relative_losses(noise)
    assert lost[channels // 2] > 0.4, "half of the channels say half of what all say, however few samples there are"
    assert lost[channels * 9 // 10] > 0.08


@pytest.mark.parametrize("samples", [100, 400])
def test_channels_that_follow_from_others_stay_free(samples: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(samples, 1, 10)) @ rng.normal(size=(10, 60))
    lost = relative_losses(x + 0.01 * rng.normal(size=x.shape))
    assert lost[30] < 0.1


def test_positions_of_one_sample_are_no_samples() -> None:
    rng = np.random.default_rng(0)
    alike = np.repeat(rng.normal(size=(20, 1, 60)), 50, axis=1) + 0.01 * rng.normal(size=(20, 50, 60))
    spread = Spread(1)
    spread.add(alike[None])
    flat = alike.reshape(-1, 60)
    assert spread.share((flat.T @ flat / len(flat))[None])[0] > 0.9


def test_what_is_found_settles_as_samples_are_added() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(12, 80))
    x = rng.normal(size=(3200, 1, 12)) @ mixed + 0.5 * rng.normal(size=(3200, 1, 80))
    last = relative_losses(x)
    errors = [float(np.abs(relative_losses(x[:count]) - last).max()) for count in (50, 200, 800)]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 0.05


def test_one_sample_tells_nothing_of_covariances() -> None:
    spread = Spread(2)
    spread.add(np.ones((2, 1, 5, 3)))
    assert spread.share(np.ones((2, 3, 3))).tolist() == [1.0, 1.0]
