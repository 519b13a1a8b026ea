"""Class-aware scores: the number of classes that a channel matters for, its threshold, ties and awkward channels."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from channel_groups import group, scored_by

from onnxprune.importance.class_aware import times_threshold
from onnxprune.importance.method import find_method
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.groups import Member
from onnxprune.values.statistics import Consumer, LayerStatistics, Statistics

scored = partial(scored_by, "class-aware")


def statistics_of(wins: dict[str, list[float]], samples: list[int], consumers: tuple[Consumer, ...] = ()) -> Statistics:
    layers = {
        name: LayerStatistics(name, name, "map", 9, {"class wins": np.asarray([counts])})
        for name, counts in wins.items()
    }
    return Statistics(layers, np.asarray(samples), consumers=consumers)


def test_three_of_ten_classes_are_the_threshold() -> None:
    scores = scored([group("a", size=4)], statistics_of({"a": [0.0, 2.9, 3.0, 10.0]}, [5] * 10))
    assert scores.values["a"] == pytest.approx([0.0, 2.9 / 3, 1.0, 3.0])
    assert (scores.values["a"] < 1).tolist() == [True, True, False, False]


def test_a_class_without_images_does_not_raise_the_threshold() -> None:
    scores = scored([group("a", size=2)], statistics_of({"a": [1.0, 4.0]}, [5, 5, 0, 5, 5]), threshold=0.5)
    assert scores.values["a"] == pytest.approx([0.5, 2.0])
    assert any("No calibration image of: 2" in note for note in scores.notes)


def test_counts_below_the_threshold_count_as_they_are_and_others_by_whole_multiples() -> None:
    found = times_threshold(np.array([0.0, 0.4, 0.999, 1.0, 1.9, 2.0, 3.3, 1 - 1e-15]))
    assert found.tolist() == [0.0, 0.4, 0.999, 1.0, 1.0, 2.0, 3.0, 1.0]


def test_between_as_many_times_the_threshold_the_loss_of_the_readers_decides() -> None:
    whole = group("a", size=3)
    axis = Axis(Ref("w", 0, 1), 1)
    read = replace(whole, members=(*whole.members, Member(axis, np.arange(3)[:, None], "weight")))
    reader = Consumer("y", axis, np.array([[[3.0], [1.0], [2.0]]]), np.eye(3)[None], 3, scale=1.0)
    scores = scored([read], statistics_of({"a": [3.2, 5.9, 6.0]}, [5] * 10, (reader,)))
    assert scores.values["a"][0] == scores.values["a"][1] < scores.values["a"][2]
    assert scores.ties["a"][0] > scores.ties["a"][1]


def test_scores_are_global_and_averaged_over_the_layers_of_a_channel() -> None:
    statistics = statistics_of({"a": [1.0, 2.0], "b": [3.0, 4.0], "c": [10.0, 9.0]}, [5] * 10)
    scores = scored([group("a", "b", size=2), group("c", size=2)], statistics, threshold=0.1)
    assert scores.values["a"] == pytest.approx([2.0, 3.0])
    assert scores.values["c"] == pytest.approx([10.0, 9.0])


def test_dead_layers_and_unmeasured_groups_stay_finite() -> None:
    statistics = statistics_of({"a": [0.0, 0.0]}, [2, 2])
    scores = scored([group("a", size=2), group("elsewhere", size=3)], statistics)
    assert scores.values["a"].tolist() == [0.0, 0.0]
    assert np.isfinite(scores.ties["a"]).all()
    assert (scores.values["elsewhere"] > 1).all(), "what was not measured matters for all classes"
    assert any("elsewhere" in note for note in scores.notes)


def test_scores_follow_a_permutation() -> None:
    wins, order = [3.0, 1.0, 2.0, 2.0], [2, 0, 3, 1]
    plain = scored([group("a", size=4)], statistics_of({"a": wins}, [1] * 4)).values["a"]
    mixed = scored([group("a", size=4)], statistics_of({"a": [wins[i] for i in order]}, [1] * 4)).values["a"]
    assert mixed.tolist() == plain[order].tolist()


def test_the_cap_is_an_option() -> None:
    method = find_method("class-aware")
    assert method.cap(method.settle({})) == 0.1
    assert method.cap(method.settle({"cap": 1})) == 1.0
