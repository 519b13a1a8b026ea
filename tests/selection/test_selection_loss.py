"""Losses by width, in whatever order, against least squares solved anew at every width."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from least_squares import lost_without, moments_of

from onnxprune.selection.loss import loss_curves, tail_losses
from onnxprune.values.axes import Axis, FloatArray, Ref
from onnxprune.values.groups import ChannelGroup, Member
from onnxprune.values.statistics import COMPARABLE, Consumer, Scores


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(1, 3), st.integers(0, 3))
def test_tail_losses_are_those_of_the_best_fit_at_every_width(seed: int, size: int, taps: int, others: int) -> None:
    rng = np.random.default_rng(seed)
    total = size * taps + others
    x = rng.normal(size=(80, total)) @ rng.normal(size=(total, total))
    w = rng.normal(size=(total, 2))
    mixed = rng.permutation(total)
    groups = [mixed[: size * taps].reshape(size, taps), mixed[size * taps :, None]][: 1 + (others > 0)]
    for inputs, found in zip(groups, tail_losses(moments_of(x), w, groups), strict=True):
        assert found.shape == (len(inputs) + 1,)
        for width in range(len(inputs) + 1):
            gone = inputs[width:].ravel()
            expected = lost_without(x, w, np.setdiff1d(np.arange(total), gone)) if len(gone) else 0.0
            assert found[width] == pytest.approx(expected, rel=1e-4, abs=1e-6 * found[0])


def group(name: str, size: int, readers: int) -> ChannelGroup:
    positions = np.arange(size)[:, None]
    axes = [Axis(Ref(f"w{name}", i, 1), 1) for i in range(readers)]
    members = (Member(Axis(Ref(name), 1), positions, "produces"), *(Member(a, positions, "weight") for a in axes))
    return ChannelGroup(name, size, members, (name,))


def read_by(group: ChannelGroup, x: FloatArray, w: FloatArray, scale: float = 1.0, reader: int = 1) -> Consumer:
    return Consumer("y", group.members[reader].axis, w[None], moments_of(x)[None], x.shape[1], scale)


@pytest.fixture
def example() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(300, 5)) @ rng.normal(size=(5, 5)), rng.normal(size=(5, 3))


def test_curves_follow_the_ranking_of_the_scores(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    a = group("a", 5, 1)
    values = np.array([0.3, 0.1, 0.5, 0.2, 0.4])
    curve = loss_curves([a], Scores({"a": values}), [read_by(a, x, w)])["a"]
    order = np.argsort(-values)
    expected = [-lost_without(x, w, order[:width]) for width in range(1, 5)]
    assert curve[1:5] == pytest.approx(expected, rel=0.1), "up to the ridge"
    assert curve[5] == 0.0
    assert (np.diff(curve) >= 0).all()
    backwards = loss_curves([a], Scores({"a": -values}), [read_by(a, x, w)])["a"]
    assert backwards[0] == pytest.approx(curve[0], rel=1e-6)
    assert backwards[1:5] != pytest.approx(curve[1:5], rel=0.1)


def test_what_two_readers_miss_adds_up_by_amplitude_and_by_the_spread_of_their_targets(
    example: tuple[FloatArray, FloatArray],
) -> None:
    x, w = example
    a = group("a", 5, 2)
    scores = Scores({"a": np.arange(5.0)})
    one = loss_curves([a], scores, [read_by(a, x, w)])["a"]
    both = loss_curves([a], scores, [read_by(a, x, w), read_by(a, x, 2 * w, reader=2)])["a"]
    assert both == pytest.approx(9 * one), "(1 + 2)^2, not 1^2 + 2^2"
    assert loss_curves([a], scores, [read_by(a, x, w, scale=16.0)])["a"] == pytest.approx(one / 16 ** (2 * COMPARABLE))


def test_a_group_that_nothing_was_seen_to_read_loses_as_the_others_do(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    a, b = group("a", 5, 1), group("b", 10, 1)
    scores = Scores({"a": np.arange(5.0), "b": np.arange(10.0)})
    curves = loss_curves([a, b], scores, [read_by(a, x, w)])
    assert curves["b"][::2] == pytest.approx(curves["a"])
    assert loss_curves([a, b], scores, []) == {}
    assert loss_curves([a, b], scores, [read_by(a, x, w, scale=0.0)]) == {}


def test_channels_that_copy_each_other_are_lost_for_nothing() -> None:
    rng = np.random.default_rng(3)
    x = np.repeat(rng.normal(size=(200, 3)), 2, axis=1) + 1e-4 * rng.normal(size=(200, 6))
    a = group("a", 6, 1)
    curve = loss_curves([a], Scores({"a": np.tile([1.0, 0.0], 3)}), [read_by(a, x, rng.normal(size=(6, 2)))])["a"]
    assert abs(curve[3]) < 0.01 * abs(curve[2]), "one of each pair is enough"


def test_moments_that_rounding_has_spoilt_still_give_a_curve() -> None:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(200, 5))
    spoilt = moments_of(x) - 1.005 * np.linalg.eigvalsh(moments_of(x))[0] * np.eye(5)
    with pytest.raises(np.linalg.LinAlgError):
        np.linalg.cholesky(spoilt)
    for moments in (spoilt, -spoilt, 0 * spoilt):
        for inputs in (np.arange(5), np.arange(3)):
            (curve,) = tail_losses(moments, rng.normal(size=(5, 2)), [inputs[:, None]])
            assert np.isfinite(curve).all()
            assert (np.diff(curve) <= 0).all()
