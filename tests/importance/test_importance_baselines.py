"""The baselines: hand-computed examples, permutations, dead and constant channels, classes without images."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from channel_groups import group, scored_by
from refusals import refused

from onnxprune.importance.fpgm import total_distances
from onnxprune.values.axes import FloatArray
from onnxprune.values.statistics import BN_SCALE, LayerStatistics, Statistics

STORED = ("l1", "l2", "fpgm")
MEASURED = {"apoz": "active share", "mean-activation": "mean magnitude"}


def weighted(rows: Mapping[str, FloatArray]) -> Statistics:
    layers = {
        name: LayerStatistics(name, name, "map", 0, {}, weight_rows=np.asarray(r, dtype=np.float32))
        for name, r in rows.items()
    }
    return Statistics(layers, np.zeros(0, dtype=np.int64), labelled=False)


def measured(values: Mapping[str, Mapping[str, FloatArray]], samples: list[int]) -> Statistics:
    layers = {name: LayerStatistics(name, name, "map", 4, entry) for name, entry in values.items()}
    return Statistics(layers, np.asarray(samples))


ROWS = np.array([[3.0, -4.0], [0.0, 0.0], [1.0, 1.0]])


@pytest.mark.parametrize(
    ("method", "expected"),
    [("l1", [7, 0, 2]), ("l2", [5, 0, 2**0.5]), ("fpgm", [5 + 29**0.5, 5 + 2**0.5, 29**0.5 + 2**0.5])],
)
def test_scores_of_weights_by_hand(method: str, expected: list[float]) -> None:
    found = scored_by(method, [group("a", size=3)], weighted({"a": ROWS})).values["a"]
    assert found == pytest.approx(np.asarray(expected) / np.mean(expected))


def test_the_filter_at_the_median_is_the_nearest_to_all() -> None:
    assert total_distances(np.array([[0.0], [1.0], [5.0]])).tolist() == [6.0, 5.0, 9.0]


@pytest.mark.parametrize("method", STORED)
def test_equal_and_zero_weights_score_alike(method: str) -> None:
    for rows in (np.zeros((4, 3)), np.ones((4, 3))):
        assert scored_by(method, [group("a", size=4)], weighted({"a": rows})).values["a"].tolist() == [1.0] * 4


@pytest.mark.parametrize("method", STORED)
def test_scores_of_weights_follow_a_permutation(method: str) -> None:
    rng = np.random.default_rng(0)
    rows, order = rng.normal(size=(6, 9)), rng.permutation(6)
    plain = scored_by(method, [group("a", size=6)], weighted({"a": rows})).values["a"]
    assert scored_by(method, [group("a", size=6)], weighted({"a": rows[order]})).values["a"] == pytest.approx(
        plain[order]
    )


@pytest.mark.parametrize("method", STORED)
def test_a_channel_of_several_layers_is_their_mean_and_scale_does_not_count(method: str) -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(3, 5)), rng.normal(size=(3, 2))
    alone = [scored_by(method, [group(n, size=3)], weighted({n: r})).values[n] for n, r in (("a", a), ("b", b))]
    both = scored_by(method, [group("a", "b", size=3)], weighted({"a": 100 * a, "b": b})).values["a"]
    assert both == pytest.approx((alone[0] + alone[1]) / 2, rel=1e-5)


def test_a_group_whose_weights_are_not_known_is_named() -> None:
    statistics = weighted({"a": ROWS, "b": np.zeros((0, 0))})
    scores = scored_by("l1", [group("a", size=3), group("b", size=2)], statistics)
    assert scores.values["b"].tolist() == [1.0, 1.0]
    assert scores.notes == ("Not measured, so neither favoured nor blamed: b.",)


@pytest.mark.parametrize(("method", "statistic"), MEASURED.items())
def test_means_over_the_images_of_all_classes(method: str, statistic: str) -> None:
    # class 0: 3 images, class 1: 1 image, class 2: none, whose zeros have no say
    values = np.array([[0.2, 0.0, 1.0], [0.6, 0.0, 0.2], [0.0, 0.0, 0.0]])
    found = scored_by(method, [group("a", size=3)], measured({"a": {statistic: values}}, [3, 1, 0])).values["a"]
    by_hand = np.array([0.75 * 0.2 + 0.25 * 0.6, 0.0, 0.75 + 0.05])
    assert found == pytest.approx(by_hand / by_hand.mean())


@pytest.mark.parametrize(("method", "statistic"), MEASURED.items())
def test_layers_that_are_silent_throughout_stay_finite(method: str, statistic: str) -> None:
    statistics = measured({"a": {statistic: np.zeros((2, 4))}}, [2, 2])
    assert scored_by(method, [group("a", size=4)], statistics).values["a"].tolist() == [1.0] * 4


def scales(values: Mapping[str, Any]) -> Statistics:
    layers = {
        name: LayerStatistics(name, name, "map", 0, {} if v is None else {BN_SCALE: np.asarray([v])})
        for name, v in values.items()
    }
    return Statistics(layers, np.zeros(0, dtype=np.int64), labelled=False)


def test_scales_count_by_size_alone_and_where_there_are_any() -> None:
    groups = [group("a", size=3), group("b", size=2)]
    scores = scored_by("bn-scale", groups, scales({"a": [-2.0, 0.0, 1.0], "b": None}))
    assert scores.values["a"].tolist() == [2.0, 0.0, 1.0]
    assert scores.values["b"].tolist() == [1.0, 1.0]
    assert scores.notes == ("Not measured, so neither favoured nor blamed: b.",)


def test_a_model_without_normalisations_is_refused() -> None:
    with refused("wrong-method", "bn-scale", "BatchNormalization"):
        scored_by("bn-scale", [group("a", size=3)], scales({"a": None}))
