"""CATRO: trace ratio against brute force, the scatters against their definition, and the awkward channels."""

import itertools
import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from channel_groups import group, scored_by
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.importance.catro import (
    EPSILON,
    class_covariances,
    group_curve,
    scatter,
    trace_ratio,
    utilities,
    value_curve,
)
from onnxprune.values.axes import FloatArray
from onnxprune.values.statistics import COVARIANCES, LayerStatistics, Statistics

scored = partial(scored_by, "catro", impact="single", feature="map", tau=0.5)
together = partial(scored_by, "catro", impact="joint", feature="map")


def statistics_of(features: dict[str, FloatArray], labels: list[int], classes: int) -> Statistics:
    """Build what calibration would gather from features [images, channels, positions] by layer."""
    mine = np.equal.outer(np.arange(classes), labels).astype(float)
    layers = {}
    for name, x in features.items():
        sums = np.tensordot(mine, x, axes=1)
        squares = (mine @ np.square(x).sum(axis=2)).astype(float)
        values = {"position sums": sums, "squares": squares, COVARIANCES: within_covariance(x, labels)}
        layers[name] = LayerStatistics(name, name, "map", x.shape[2], values)
    return Statistics(layers, mine.sum(axis=1).astype(np.int64))


def within_covariance(x: FloatArray, labels: list[int]) -> FloatArray:
    own = [x[np.equal(labels, c)] for c in sorted(set(labels))]
    rows = np.concatenate([(y - y.mean(axis=(0, 2))[:, None]).transpose(0, 2, 1).reshape(-1, x.shape[1]) for y in own])
    return np.asarray(rows.T @ rows / len(rows))


def literal_scatter(x: FloatArray, labels: list[int]) -> tuple[list[float], list[float]]:
    between, within = [], []
    for channel in range(x.shape[1]):
        b = w = 0.0
        for position in range(x.shape[2]):
            values = x[:, channel, position]
            for label in sorted(set(labels)):
                own = [v for v, y in zip(values, labels, strict=True) if y == label]
                b += len(own) * (np.mean(own) - np.mean(values)) ** 2
                w += sum((v - np.mean(own)) ** 2 for v in own)
        between.append(b)
        within.append(w)
    return between, within


def test_scatters_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(3)
    labels = [0, 0, 1, 1, 1, 3]
    x = rng.normal(size=(6, 4, 5))
    statistics = statistics_of({"a": x}, labels, classes=4)  # class 2 has no image
    values = statistics.layers["a"].values
    between, within = scatter(values["position sums"], values["squares"], statistics.samples)
    expected = literal_scatter(x, labels)
    assert between == pytest.approx(expected[0], rel=1e-9)
    assert within == pytest.approx(expected[1], rel=1e-9)


def test_a_hand_computed_example() -> None:
    # one position, two classes of two images: channel 0 separates them perfectly, channel 1 does not at all
    x = np.array([[1.0, 0.0], [1.0, 2.0], [5.0, 0.0], [5.0, 2.0]])[:, :, None]
    values = statistics_of({"a": x}, [0, 0, 1, 1], 2).layers["a"].values
    between, within = scatter(values["position sums"], values["squares"], np.array([2, 2]))
    assert between == pytest.approx([16.0, 0.0])
    assert within == pytest.approx([0.0, 4.0])


def test_covariances_of_the_classes_and_of_all_are_those_of_the_definition() -> None:
    rng = np.random.default_rng(5)
    labels = [0, 0, 1, 1, 1, 3]
    x = rng.normal(size=(6, 4, 5))
    statistics = statistics_of({"a": x}, labels, classes=4)
    values = statistics.layers["a"].values
    between, total = class_covariances(values[COVARIANCES], values["position sums"], statistics.samples)
    assert np.diag(between) == pytest.approx(np.array(literal_scatter(x, labels)[0]) / (6 * 5), rel=1e-9)
    rows = x.transpose(0, 2, 1).reshape(-1, 4)
    assert total == pytest.approx(np.cov(rows.T, bias=True), rel=1e-9)


def test_together_a_copy_of_a_good_channel_adds_nothing() -> None:
    rng, labels = np.random.default_rng(0), [0, 1, 2] * 60
    good = np.array(labels, dtype=float)[:, None] + 0.3 * rng.normal(size=(180, 1))
    copy = good + 0.01 * rng.normal(size=(180, 1))
    fair = 0.4 * np.equal(labels, 1)[:, None] + 0.3 * rng.normal(size=(180, 1))
    statistics = statistics_of({"a": np.concatenate([good, copy, fair], axis=1)[:, :, None]}, labels, 3)
    alone = scored([group("a", size=3)], statistics, tau=0.0).values["a"]
    assert alone[2] < min(alone[:2])
    found = together([group("a", size=3)], statistics).values["a"]
    assert int(np.argmin(found)) in (0, 1)
    assert int(np.argmax(found)) in (0, 1)
    assert found[2] > 2 * found.min()


def test_together_scores_follow_a_permutation_and_say_what_was_not_measured() -> None:
    rng = np.random.default_rng(1)
    x, labels, order = rng.normal(size=(60, 6, 4)), [0, 1, 2] * 20, rng.permutation(6)
    plain = together([group("a", size=6), group("elsewhere", size=2)], statistics_of({"a": x}, labels, 3))
    mixed = together([group("a", size=6)], statistics_of({"a": x[:, order]}, labels, 3))
    assert mixed.values["a"] == pytest.approx(plain.values["a"][order], rel=1e-6)
    assert plain.choose is None
    assert plain.values["elsewhere"].tolist() == [1.0, 1.0]
    assert any("elsewhere" in note for note in plain.notes)


def test_together_silence_is_finite() -> None:
    silent = together([group("a", size=3)], statistics_of({"a": np.zeros((4, 3, 2))}, [0, 0, 1, 1], 2))
    assert silent.values["a"].tolist() == [1.0, 1.0, 1.0]


@given(st.integers(0, 10**6), st.integers(2, 9), st.data())
def test_trace_ratio_finds_the_global_optimum(seed: int, channels: int, data: st.DataObject) -> None:
    rng = np.random.default_rng(seed)
    between, within = rng.exponential(size=channels), rng.exponential(size=channels) + 1e-3
    count = data.draw(st.integers(1, channels))
    best = max(
        between[list(chosen)].sum() / within[list(chosen)].sum()
        for chosen in itertools.combinations(range(channels), count)
    )
    mask, reached = trace_ratio(between, within, count)
    assert mask.sum() == count
    assert between[mask].sum() / within[mask].sum() == pytest.approx(reached)
    assert reached == pytest.approx(best, rel=1e-9)


def test_the_joint_optimum_is_not_that_of_the_single_ratios() -> None:
    # Single ratios are 10, 5 and 4, but beside channel 0 the light channel 2 (100.4 / 10.1) beats channel 1 (105 / 11).
    mask, reached = trace_ratio(np.array([100.0, 5.0, 0.4]), np.array([10.0, 1.0, 0.1]), 2)
    assert mask.tolist() == [True, False, True]
    assert reached == pytest.approx(100.4 / 10.1)


def test_dead_channels_are_taken_last() -> None:
    between, within = np.array([0.0, 0.1, 0.0, 5.0]), np.array([0.0, 50.0, 0.0, 1.0])
    assert trace_ratio(between, within, 2)[0].tolist() == [False, True, False, True]
    assert trace_ratio(between, within, 3)[0].sum() == 3


def test_perfect_separation_and_silence_are_finite() -> None:
    mask, reached = trace_ratio(np.array([1.0, 2.0]), np.zeros(2), 1)
    assert (mask.tolist(), reached) == ([False, True], math.inf)
    assert utilities(np.array([1.0, 2.0]), np.zeros(2), 0.5) == pytest.approx([1.0, 2.0])
    assert np.isfinite(value_curve(np.zeros(3))).all()
    silent = scored([group("a", size=3)], statistics_of({"a": np.zeros((4, 3, 2))}, [0, 0, 1, 1], 2))
    assert silent.values["a"].tolist() == [1.0, 1.0, 1.0]


def test_utilities_charge_the_within_scatter_at_the_ratio_of_the_layer() -> None:
    # J = 6 / 4 = 1.5; u = b - 0.5 * 1.5 * w
    assert utilities(np.array([5.0, 1.0]), np.array([2.0, 2.0]), 0.5) == pytest.approx([3.5, 0.0])


def test_the_value_curve_is_the_log_of_the_share_kept() -> None:
    curve = value_curve(np.array([3.0, 1.0]))
    assert curve == pytest.approx([math.log(EPSILON), math.log(EPSILON + 0.75), math.log(EPSILON + 1.0)])


def test_every_layer_of_a_group_has_a_term_that_counts_by_its_trace_ratio() -> None:
    # J = 4 / 2 and 3 / 6; with tau = 0 the shares of channel 1, which comes first, are 3 / 4 and 1 / 3
    layers = [(np.array([1.0, 3.0]), np.ones(2)), (np.array([2.0, 1.0]), np.full(2, 3.0))]
    curve = group_curve(layers, np.array([1, 0]), tau=0.0)
    assert curve[1] == pytest.approx(2.0 * math.log(EPSILON + 0.75) + 0.5 * math.log(EPSILON + 1 / 3))
    assert curve[2] == pytest.approx(2.5 * math.log(EPSILON + 1.0))


def test_a_layer_that_separates_perfectly_counts_finitely() -> None:
    curve = group_curve([(np.array([1.0, 3.0]), np.zeros(2))], np.array([1, 0]), tau=0.0)
    assert np.isfinite(curve).all()
    assert (np.diff(curve) > 0).all()


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=12))
def test_the_value_curve_rises_with_diminishing_returns(utility: list[float]) -> None:
    steps = np.diff(value_curve(np.sort(utility)[::-1]))
    assert (steps >= -1e-12).all()
    assert (np.diff(steps) <= 1e-9).all()


def test_scores_follow_a_permutation_of_the_channels() -> None:
    rng = np.random.default_rng(1)
    x, labels, order = rng.normal(size=(12, 6, 4)), [0, 1, 2] * 4, rng.permutation(6)
    plain = scored([group("a", size=6)], statistics_of({"a": x}, labels, 3))
    mixed = scored([group("a", size=6)], statistics_of({"a": x[:, order]}, labels, 3))
    assert mixed.values["a"] == pytest.approx(plain.values["a"][order])
    assert plain.choose is not None
    assert mixed.choose is not None
    assert mixed.choose("a", 3).tolist() == plain.choose("a", 3)[order].tolist()


def test_the_scatters_of_coupled_layers_add_up() -> None:
    rng = np.random.default_rng(2)
    features = {name: rng.normal(size=(8, 3, 2)) for name in ("a", "b")}
    together = scored([group("a", "b", size=3)], statistics_of(features, [0, 1] * 4, 2))
    side_by_side = {"ab": np.concatenate([features["a"], features["b"]], axis=2)}
    joined = scored([group("ab", size=3)], statistics_of(side_by_side, [0, 1] * 4, 2))
    assert together.values["a"] == pytest.approx(joined.values["ab"])


def test_a_class_without_images_and_a_group_without_measurements_are_told() -> None:
    statistics = statistics_of({"a": np.ones((3, 2, 1))}, [0, 0, 2], 3)
    scores = scored([group("a", size=2), group("elsewhere", size=2)], statistics)
    assert any("No calibration image of: 1" in note for note in scores.notes)
    assert any("1 class(es) have a single image" in note for note in scores.notes)
    assert any("elsewhere" in note for note in scores.notes)
    assert scores.values["elsewhere"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("labelled", [True, False])
def test_one_class_has_nothing_to_be_told_apart_from(labelled: bool) -> None:
    statistics = replace(statistics_of({"a": np.ones((2, 2, 1))}, [0, 0], 2), labelled=labelled)
    with refused("no-labels", "catro", "two classes"):
        scored([group("a", size=2)], statistics)
