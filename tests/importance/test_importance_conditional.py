"""What channels have that those which stay do not: against least squares, the chain rule and order of removal."""

import numpy as np
import pytest
from channel_groups import group
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.importance.conditional import RIDGE, by_removal, conditional_entropies, residuals
from onnxprune.values.axes import FloatArray, IntArray
from onnxprune.values.statistics import COVARIANCES, LayerStatistics


def features(seed: int, channels: int = 5, rows: int = 200) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, channels)) @ rng.normal(size=(channels, channels))


def covariance_of(x: FloatArray) -> FloatArray:
    """Return the covariance without the ridge that `residuals` adds, so that results are those of x itself."""
    found = np.cov(x.T, bias=True)
    return np.asarray(found - RIDGE / (1 + RIDGE) * np.trace(found) / len(found) * np.eye(len(found)))


def residual(x: FloatArray, channel: int, others: list[int]) -> FloatArray:
    """Return what is left of a channel when others predict it, bias included: [rows]."""
    known = np.column_stack([x[:, others], np.ones(len(x))])
    return np.asarray(x[:, channel] - known @ np.linalg.lstsq(known, x[:, channel], rcond=None)[0])


def alone(channels: int) -> IntArray:
    return np.arange(channels)[:, None]


def layer(covariance: FloatArray) -> LayerStatistics:
    return LayerStatistics("a", "a", "map", 4, {COVARIANCES: covariance})


@given(st.integers(0, 10_000))
def test_the_worth_is_of_the_variance_that_least_squares_leaves(seed: int) -> None:
    x = features(seed)
    found = residuals(covariance_of(x), alone(5), lambda variance, _: variance)
    expected = [residual(x, c, [k for k in range(5) if k != c]).var() for c in range(5)]
    assert found.losses(np.arange(5)) == pytest.approx(expected, rel=1e-5)
    found.remove(np.array([1, 3]))
    left = [residual(x, c, [k for k in (0, 2, 4) if k != c]).var() for c in (0, 2, 4)]
    assert found.losses(np.array([0, 2, 4])) == pytest.approx(left, rel=1e-5)


@given(st.integers(0, 10_000))
def test_the_worth_is_of_what_of_another_covariance_is_in_the_residual(seed: int) -> None:
    x, labels = features(seed), np.arange(200) % 3
    means = np.array([x[labels == c].mean(axis=0) for c in range(3)])[labels]
    between = np.cov(means.T, bias=True)
    found = residuals(covariance_of(x), alone(5), lambda _, other: other, between)
    found.remove(np.array([2]))
    for channel in (0, 1, 3, 4):
        left = residual(x, channel, [k for k in (0, 1, 3, 4) if k != channel])
        expected = np.var([left[labels == c].mean() for c in labels])
        assert found.losses(np.array([channel])) == pytest.approx(expected, rel=1e-4, abs=1e-9)


@given(st.integers(0, 10_000))
def test_conditional_entropies_add_up_to_the_joint_entropy(seed: int) -> None:
    covariance = covariance_of(features(seed))
    found = conditional_entropies(group("a", size=5), {"a": layer(covariance)})
    assert found is not None
    ridge = RIDGE * np.trace(covariance) / 5
    _, logdet = np.linalg.slogdet(2 * np.pi * np.e * (covariance + ridge * np.eye(5)))
    order = by_removal([residuals(covariance, alone(5), lambda v, _: np.log(v) / 2)], 5)[0]
    assert np.argsort(found, kind="stable")[0] == order[0]
    # Entropies do not fall in the order of removal, so that what adds up is at most a little more.
    assert found.sum() >= 0.5 * logdet - 1e-9
    assert found[order[0]] == pytest.approx(found.min())


def test_of_two_copies_one_goes_first_and_the_other_late() -> None:
    x = np.random.default_rng(3).normal(size=(500, 4))
    x = np.column_stack([x, 3 * x[:, 2] + 1e-3 * np.random.default_rng(4).normal(size=500)])
    found = conditional_entropies(group("a", size=5), {"a": layer(covariance_of(x))})
    assert found is not None
    order = np.argsort(found)
    assert order[0] in (2, 4)
    assert order[1] not in (2, 4)


def test_layers_that_make_the_same_channels_count_alike() -> None:
    one, two = covariance_of(features(1)), covariance_of(features(2))
    both = conditional_entropies(group("a", "b", size=5), {"a": layer(one), "b": layer(two)})
    louder = conditional_entropies(group("a", "b", size=5), {"a": layer(100 * one), "b": layer(two)})
    assert both is not None
    assert louder is not None
    assert louder == pytest.approx(both + np.log(100) / 4)


def test_entropies_follow_a_permutation_of_the_channels() -> None:
    covariance, order = covariance_of(features(5)), np.array([3, 0, 4, 1, 2])
    plain = conditional_entropies(group("a", size=5), {"a": layer(covariance)})
    mixed = conditional_entropies(group("a", size=5), {"a": layer(covariance[np.ix_(order, order)])})
    assert plain is not None
    assert mixed == pytest.approx(plain[order])


def test_a_channel_of_several_positions_goes_as_a_whole_and_others_stay() -> None:
    x = features(6, channels=6)
    pairs = np.array([[0, 1], [2, 3]])  # 4 and 5 belong to another group and stay
    found = residuals(covariance_of(x), pairs, lambda variance, _: variance)
    order, worth = by_removal([found], 2)
    first, last = pairs[order[0]], pairs[order[1]]
    expected = np.mean([residual(x, c, [k for k in range(6) if k != c]).var() for c in first])
    assert worth[0] == pytest.approx(expected, rel=1e-5)
    left = [*last, 4, 5]
    later = np.mean([residual(x, c, [k for k in left if k != c]).var() for c in last])
    assert worth[1] == pytest.approx(max(worth[0], later), rel=1e-5)


def test_dead_channels_and_dead_layers_are_finite_and_go_first() -> None:
    covariance = np.diag([0.0, 2.0, 1.0])
    found = conditional_entropies(group("a", size=3), {"a": layer(covariance)})
    assert found is not None
    assert np.argsort(found).tolist() == [0, 2, 1]
    silent = conditional_entropies(group("a", size=3), {"a": layer(np.zeros((3, 3)))})
    assert silent is not None
    assert np.isfinite(silent).all()
    assert conditional_entropies(group("elsewhere", size=3), {"a": layer(covariance)}) is None
