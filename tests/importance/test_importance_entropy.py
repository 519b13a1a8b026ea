"""Scores by entropy and incoming zeros: the formulas against the rules written out, and the awkward layers."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from channel_groups import scored_by
from hypothesis import given
from hypothesis import strategies as st
from refusals import refused

from onnxprune.importance.entropy import relative_activity, relative_conditional, relative_entropy
from onnxprune.importance.method import find_method
from onnxprune.values.axes import Axis, FloatArray, Ref
from onnxprune.values.groups import ChannelGroup, Member
from onnxprune.values.statistics import LayerKind, LayerStatistics, Statistics

scored = partial(scored_by, "entropy", variant="map")

EXACT = 1e-12
H = np.array([[1.0, 2.0, 3.0], [4.0, 1.0, 1.0]])


def group(*layers: str, size: int = 3) -> ChannelGroup:
    positions = np.arange(size)[:, None]
    members = tuple(Member(Axis(Ref(layer), 1), positions, "produces") for layer in layers)
    weight = Member(Axis(Ref("w", 0, 1), 0), positions, "weight")
    return ChannelGroup(layers[0], size, (*members, weight), layers)


def layer(name: str, kind: LayerKind = "map", **values: Any) -> LayerStatistics:
    arrays = {key.replace("_", " "): np.asarray(value, dtype=np.float64) for key, value in values.items()}
    some = next(iter(arrays.values()))
    return LayerStatistics(name, name, kind, 16, {"mean magnitude": np.ones_like(some), **arrays})


def statistics(*layers: LayerStatistics, samples: Any = (5, 5), **more: Any) -> Statistics:
    by_name: Mapping[str, LayerStatistics] = {entry.layer: entry for entry in layers}
    return Statistics(by_name, np.asarray(samples), **more)


def literally_removed(entropy: FloatArray, alpha: float, rule: str, q: float) -> set[int]:
    """Return the channels that the rule of the method's page removes, written with loops as it stands there."""
    classes, channels = entropy.shape
    t = [sum(entropy[c]) / channels for c in range(classes)]
    threshold = sum(t) / classes
    if rule == "mean":
        return {j for j in range(channels) if sum(entropy[:, j]) / classes < alpha * threshold}
    votes = [sum(entropy[c, j] < alpha * t[c] for c in range(classes)) for j in range(channels)]
    return {j for j in range(channels) if votes[j] >= q * classes}


def random_entropy(seed: int) -> FloatArray:
    rng = np.random.default_rng(seed)
    return rng.uniform(0.05, 5.0, (int(rng.integers(1, 8)), int(rng.integers(2, 12))))


def test_the_mean_rule_divides_the_class_mean_by_the_layer_mean() -> None:
    # mean over classes 2.5, 1.5, 2; mean of all 2
    assert relative_entropy(H, "mean", 1.0) == pytest.approx([1.25, 0.75, 1.0], abs=EXACT)


def test_a_full_vote_takes_the_largest_ratio_over_the_classes() -> None:
    # by class relative to its own mean (2 and 2): [0.5, 1, 1.5] and [2, 0.5, 0.5]
    assert relative_entropy(H, "vote", 1.0) == pytest.approx([2.0, 1.0, 1.5], abs=EXACT)


def test_half_a_vote_of_two_classes_takes_the_smallest_ratio() -> None:
    assert relative_entropy(H, "vote", 0.5) == pytest.approx([0.5, 0.5, 0.5], abs=EXACT)


def test_two_of_three_classes_decide_at_a_share_between_one_and_two_thirds() -> None:
    entropy = np.array([[1.0, 3.0], [2.0, 2.0], [3.0, 1.0]])
    for q, expected in ((0.3, [0.5, 0.5]), (0.34, [1.0, 1.0]), (2 / 3, [1.0, 1.0]), (0.67, [1.5, 1.5])):
        assert relative_entropy(entropy, "vote", q) == pytest.approx(expected, abs=EXACT), q


@pytest.mark.parametrize(("rule", "q"), [("mean", 1.0), ("vote", 1.0), ("vote", 0.5), ("vote", 0.25), ("vote", 0.8)])
@given(seed=st.integers(0, 10_000), alpha=st.floats(0.2, 1.8))
def test_scores_below_alpha_are_what_the_rule_removes(rule: str, q: float, seed: int, alpha: float) -> None:
    entropy = random_entropy(seed)
    score = relative_entropy(entropy, rule, q)
    assert {int(j) for j in np.flatnonzero(score < alpha)} == literally_removed(entropy, alpha, rule, q)


@given(seed=st.integers(0, 10_000), rule=st.sampled_from(["mean", "vote"]), q=st.sampled_from([0.5, 1.0]))
def test_permuted_channels_have_permuted_scores(seed: int, rule: str, q: float) -> None:
    entropy = random_entropy(seed)
    order = np.random.default_rng(seed).permutation(entropy.shape[1])
    moved = relative_entropy(entropy[:, order], rule, q)
    assert moved == pytest.approx(relative_entropy(entropy, rule, q)[order], abs=EXACT)


def test_activity_is_compared_with_the_layer_mean() -> None:
    zeros = np.array([[0.0, 0.5, 1.0], [0.0, 0.7, 1.0]])  # active 1, 0.4 and 0 of the time, on average 1.4 / 3
    expected = [3 / 1.4, 1.2 / 1.4, 0.0]
    assert relative_activity(zeros) == pytest.approx(expected, abs=EXACT)


@given(seed=st.integers(0, 10_000))
def test_activity_below_one_is_more_zeros_than_the_mean(seed: int) -> None:
    rng = np.random.default_rng(seed)
    zeros = rng.uniform(0.0, 1.0, (int(rng.integers(1, 6)), int(rng.integers(2, 10))))
    by_neuron = [sum(zeros[:, j]) / len(zeros) for j in range(zeros.shape[1])]
    mean = sum(by_neuron) / len(by_neuron)
    removed = {j for j, share in enumerate(by_neuron) if share > mean}
    assert {int(j) for j in np.flatnonzero(relative_activity(zeros) < 1)} == removed


@pytest.mark.parametrize("value", [0.1, 0.7, 1 / 3, 5.545177444479562])
@pytest.mark.parametrize("channels", [3, 7, 10, 33])
@pytest.mark.parametrize("classes", [1, 3, 6, 10])
def test_equal_channels_are_all_at_the_threshold_and_stay(value: float, channels: int, classes: int) -> None:
    """Rounding must not put a layer of equal channels below its own mean and so remove all of it."""
    entropy = np.full((classes, channels), value)
    for rule in ("mean", "vote"):
        assert (relative_entropy(entropy, rule, 1.0) == 1.0).all()
    assert (relative_activity(entropy / 6) == 1.0).all()


def test_equal_channels_with_classes_that_differ_are_at_the_threshold() -> None:
    entropy = np.repeat(np.random.default_rng(0).uniform(0.1, 5.0, (10, 1)), 48, axis=1)
    for rule in ("mean", "vote"):
        assert (relative_entropy(entropy, rule, 1.0) == 1.0).all()


@given(seed=st.integers(0, 10_000), alpha=st.floats(0.2, 1.8))
def test_entropies_given_the_others_are_compared_with_their_mean(seed: int, alpha: float) -> None:
    entropies = np.random.default_rng(seed).normal(0.0, 2.0, 7)
    threshold = sum(entropies) / 7 + math.log(alpha)
    removed = {j for j, entropy in enumerate(entropies) if entropy < threshold}
    assert {int(j) for j in np.flatnonzero(relative_conditional(entropies) < alpha)} == removed


def test_channels_of_equal_entropy_given_the_others_stay() -> None:
    assert (relative_conditional(np.full(7, -1.3)) == 1.0).all()


def test_by_default_maps_are_scored_given_the_others_and_vectors_by_activity() -> None:
    # Independent channels: H_j is half the logarithm of the variance and a constant.
    maps = layer("conv", covariances=np.diag([1.0, math.e**2, math.e**4]), mean_magnitude=np.ones((2, 3)))
    fc = layer("fc", "vector", zeros=[[0.0, 0.5, 1.0], [0.0, 0.7, 1.0]], covariances=np.eye(3))
    found = scored([group("conv"), group("fc")], statistics(maps, fc), variant="conditional")
    assert found.values["conv"] == pytest.approx([1 / math.e, 1.0, math.e], rel=0.03)  # but for the ridge
    assert found.values["fc"] == pytest.approx([3 / 1.4, 1.2 / 1.4, 0.0], abs=EXACT)


def test_a_vote_takes_histograms() -> None:
    with refused("missing-option", "rule", "variant", "map or gap"):
        find_method("entropy").settle({"rule": "vote"})


def test_a_dead_channel_scores_zero_and_the_others_share_the_rest() -> None:
    entropy = np.array([[0.0, 2.0, 2.0], [0.0, 2.0, 2.0]])
    for rule in ("mean", "vote"):
        assert relative_entropy(entropy, rule, 1.0) == pytest.approx([0.0, 1.5, 1.5], abs=EXACT)


def test_a_dead_layer_scores_one_throughout() -> None:
    dead = np.zeros((2, 3))
    for rule in ("mean", "vote"):
        assert (relative_entropy(dead, rule, 0.5) == 1.0).all()
    assert (relative_activity(np.ones((2, 3))) == 1.0).all()


def test_a_class_in_which_a_layer_is_dead_leaves_scores_finite() -> None:
    entropy = np.array([[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    assert relative_entropy(entropy, "vote", 1.0) == pytest.approx([1.0, 1.0, 1.5], abs=EXACT)
    assert relative_entropy(entropy, "mean", 1.0) == pytest.approx([0.5, 1.0, 1.5], abs=EXACT)


def test_maps_are_scored_by_entropy_and_vectors_by_activity() -> None:
    found = scored(
        [group("conv"), group("fc")],
        statistics(layer("conv", map_entropy=H), layer("fc", "vector", zeros=[[0.0, 0.5, 1.0], [0.0, 0.7, 1.0]])),
    )
    assert found.values["conv"] == pytest.approx([1.25, 0.75, 1.0], abs=EXACT)
    assert found.values["fc"] == pytest.approx([3 / 1.4, 1.2 / 1.4, 0.0], abs=EXACT)


def test_the_variant_chooses_the_entropy_and_the_rule_is_passed_on() -> None:
    both = statistics(layer("conv", map_entropy=H, gap_entropy=H[:, ::-1]))
    assert scored([group("conv")], both, variant="gap").values["conv"] == pytest.approx([1.0, 0.75, 1.25], abs=EXACT)
    voted = scored([group("conv")], both, rule="vote", q=0.5)
    assert voted.values["conv"] == pytest.approx([0.5, 0.5, 0.5], abs=EXACT)


def test_coupled_layers_are_averaged_each_relative_to_its_own_threshold() -> None:
    loud = layer("a", map_entropy=100 * H)
    quiet = layer("b", map_entropy=H[:, ::-1])
    found = scored([group("a", "b")], statistics(loud, quiet))
    assert found.values["a"] == pytest.approx([1.125, 0.75, 1.125], abs=EXACT)


def test_ties_are_decided_by_the_mean_magnitude_relative_to_the_layer() -> None:
    entry = layer("conv", map_entropy=np.ones((2, 3)), mean_magnitude=[[1.0, 2.0, 3.0], [3.0, 2.0, 7.0]])
    found = scored([group("conv")], statistics(entry))
    assert found.ties["conv"] == pytest.approx([2 / 3, 2 / 3, 5 / 3], abs=EXACT)


def test_a_class_without_images_has_no_say_and_is_named() -> None:
    entropy = np.vstack([H, np.zeros((1, 3))])
    found = scored(
        [group("conv")],
        statistics(layer("conv", map_entropy=entropy), samples=(5, 5, 0), class_names=("cat", "dog", "eel")),
    )
    assert found.values["conv"] == pytest.approx([1.25, 0.75, 1.0], abs=EXACT)
    assert found.notes == ("No calibration image of: eel; these classes have no say.",)


def test_a_class_without_images_neither_votes_nor_counts_as_active() -> None:
    entropy = np.vstack([H, np.zeros((1, 3))])
    zeros = np.array([[0.0, 0.5, 1.0], [0.0, 0.7, 1.0], [0.0, 0.0, 0.0]])
    some = statistics(layer("conv", map_entropy=entropy), layer("fc", "vector", zeros=zeros), samples=(5, 5, 0))
    found = scored([group("conv"), group("fc")], some, rule="vote", q=0.5)
    assert found.values["conv"] == pytest.approx([0.5, 0.5, 0.5], abs=EXACT)
    assert found.values["fc"] == pytest.approx([3 / 1.4, 1.2 / 1.4, 0.0], abs=EXACT)


def test_notes_say_what_was_not_labelled_and_not_measured() -> None:
    found = scored(
        [group("conv"), group("lost")],
        statistics(layer("conv", map_entropy=H[:1]), samples=(5,), labelled=False),
    )
    assert (found.values["lost"] == 1.0).all()
    assert (found.ties["lost"] == 0.0).all()
    assert found.notes == (
        "The data has no labels: all images count as one class.",
        "Not measured, so neither favoured nor blamed: lost.",
    )


def test_a_layer_with_many_values_outside_its_range_is_told_of() -> None:
    wide = replace(layer("wide", map_entropy=H), clipped=0.25)
    narrow = replace(layer("narrow", map_entropy=H), clipped=0.001)
    notes = scored([group("wide"), group("narrow")], statistics(wide, narrow)).notes
    assert len(notes) == 1
    assert notes[0].startswith(
        "Up to 25.0 % of the values lay outside the histograms' range in 1 of 2 layers (such as wide)"
    )


def test_dead_layers_of_every_kind_give_finite_scores_and_ties() -> None:
    dead = np.zeros((2, 3))
    found = scored(
        [group("conv"), group("fc")],
        statistics(
            layer("conv", map_entropy=dead, mean_magnitude=dead),
            layer("fc", "vector", zeros=np.ones((2, 3)), mean_magnitude=dead),
        ),
    )
    for name in ("conv", "fc"):
        assert np.isfinite(found.values[name]).all()
        assert np.isfinite(found.ties[name]).all()


def test_the_method_asks_only_for_what_it_reads() -> None:
    method = find_method("entropy")
    assert method.needs(method.settle({})) == {"covariances", "zeros", "mean magnitude"}
    assert method.needs(method.settle({"variant": "map"})) == {"map entropy", "zeros", "mean magnitude"}
    assert method.needs(method.settle({"variant": "gap"})) == {"gap entropy", "zeros", "mean magnitude"}
    assert math.isclose(method.threshold or 0.0, 1.0)
