"""Reconstruction: losses and removals against least squares solved anew."""

from typing import Any

import numpy as np
import pytest
from least_squares import lost_without, moments_of

from onnxprune.importance.elimination import System, eliminate
from onnxprune.importance.method import find_method
from onnxprune.importance.reconstruction import reconstruction_scores
from onnxprune.values.axes import Axis, FloatArray, Ref
from onnxprune.values.groups import ChannelGroup, Member
from onnxprune.values.statistics import COMPARABLE, DAMPING, Consumer, Statistics


def system(x: FloatArray, w: FloatArray, taps: int = 1) -> System:
    inputs = np.arange(x.shape[1]).reshape(-1, taps)
    return System(np.asarray(np.linalg.inv(moments_of(x))), w.copy(), inputs)


@pytest.fixture
def example() -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 6)) @ rng.normal(size=(6, 6)), rng.normal(size=(6, 3))


def test_the_loss_of_a_channel_is_that_of_the_best_fit_without_it(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    expected = [lost_without(x, w, [k for k in range(6) if k != c]) for c in range(6)]
    assert system(x, w).losses(np.arange(6)) == pytest.approx(expected, rel=1e-6)


def test_a_channel_of_several_taps_goes_as_a_block(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    expected = [lost_without(x, w, [k for k in range(6) if k // 2 != c]) for c in range(3)]
    assert system(x, w, taps=2).losses(np.arange(3)) == pytest.approx(expected, rel=1e-6)


def test_losses_add_up_over_removals_to_that_of_all_removed(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    order, lost = eliminate([system(x, w)], 6)
    for gone in range(1, 6):
        kept = sorted(set(range(6)) - set(order[:gone].tolist()))
        assert lost[gone - 1] == pytest.approx(lost_without(x, w, kept), rel=1e-6)
    assert lost[-1] == pytest.approx(lost_without(x, w, []), rel=1e-6)


def test_the_cheapest_channel_goes_first_and_a_copy_costs_nothing() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(100, 3))
    x = np.column_stack([x, x[:, 0] + 1e-4 * rng.normal(size=100)])
    order, lost = eliminate([system(x, np.ones((4, 2)))], 4)
    assert order[0] in (0, 3)
    assert lost[0] < 1e-6 < lost[1]


def test_several_readers_add_up(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    both = np.sum([s.losses(np.arange(6)) for s in (system(x, w), system(x, 2 * w))], axis=0)
    assert both == pytest.approx(5 * system(x, w).losses(np.arange(6)), rel=1e-6)


def test_two_readers_that_miss_the_same_channels_lose_by_amplitude(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    alone, both = (eliminate(systems, 6)[1] for systems in ([system(x, w)], [system(x, w), system(x, 2 * w)]))
    assert both == pytest.approx(9 * alone, rel=1e-6), "(1 + 2)^2, not 1^2 + 2^2"


def test_losses_count_by_a_power_of_the_mean_square_of_the_target(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    assert scored(x, w, scale=16.0).values["a"] == pytest.approx(
        scored(x, w).values["a"] / 16.0 ** (2 * COMPARABLE), rel=1e-6
    )


def scored(x: FloatArray, w: FloatArray, scale: float = 1.0) -> Any:
    axis = Axis(Ref("w", 1, 1), 1)
    size = x.shape[1]
    positions = np.arange(size)[:, None]
    members = (Member(Axis(Ref("a"), 1), positions, "produces"), Member(axis, positions, "weight"))
    consumer = Consumer("y", axis, w[None], moments_of(x)[None], size, scale)
    statistics = Statistics({}, np.array([1]), consumers=(consumer,))
    method = find_method("reconstruction")
    return method.score([ChannelGroup("a", size, members, ("a",))], statistics, {}, np.random.default_rng(0))


def test_scores_rank_by_the_order_of_removal_and_follow_permutations(example: tuple[FloatArray, FloatArray]) -> None:
    x, w = example
    order, _ = eliminate(
        [
            System(
                np.linalg.inv(moments_of(x) + DAMPING * np.trace(moments_of(x)) / 6 * np.eye(6)),
                w.copy(),
                np.arange(6)[:, None],
            )
        ],
        6,
    )
    values = scored(x, w).values["a"]
    assert np.argsort(values, kind="stable").tolist() == order.tolist()
    mixed = np.random.default_rng(5).permutation(6)
    assert scored(x[:, mixed], w[mixed]).values["a"] == pytest.approx(values[mixed], rel=1e-6)


def test_dead_and_constant_channels_cost_nothing_and_stay_finite() -> None:
    rng = np.random.default_rng(2)
    x = np.column_stack([rng.normal(size=(50, 2)), np.zeros(50), np.full(50, 3.0)])
    values = scored(x, rng.normal(size=(4, 2))).values["a"]
    assert np.isfinite(values).all()
    assert set(np.argsort(values)[:2].tolist()) == {2, 3}


def test_a_group_that_nothing_sums_over_is_told() -> None:
    lone = ChannelGroup("b", 2, (Member(Axis(Ref("b"), 1), np.arange(2)[:, None], "produces"),), ("b",))
    scores = reconstruction_scores([lone], Statistics({}, np.array([1])), {}, np.random.default_rng(0))
    assert scores.values["b"].tolist() == [1.0, 1.0]
    assert "b" in scores.notes[0]
