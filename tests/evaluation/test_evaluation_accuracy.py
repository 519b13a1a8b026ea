"""Accuracy and the paired change as numbers: intervals against published values, counts, chance."""

import json

import numpy as np
import pytest
from refusals import refused

from onnxprune.evaluation import PairedChange, Predictions, chance_level_message, is_near_chance_level, paired
from onnxprune.values.accuracy import Accuracy, count_accuracy, wilson
from onnxprune.values.progress import silent


def plain(correct: int, total: int, classes: int = 10) -> Accuracy:
    zeros = (0,) * (classes - 1)
    return Accuracy(correct, total, (correct, *zeros), (total, *zeros))


def predictions(predicted: list[int], labels: list[int] | None) -> Predictions:
    truth = None if labels is None else np.array(labels)
    return Predictions("y", 3, np.array(predicted), truth, None)


@pytest.mark.parametrize(
    ("correct", "total", "expected"),
    # Newcombe (1998), table I, method 3.
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_wilson_matches_published_intervals(correct: int, total: int, expected: tuple[float, float]) -> None:
    assert wilson(correct, total) == pytest.approx(expected, abs=5e-5)
    assert plain(correct, total).interval == wilson(correct, total)


def test_counts_per_class() -> None:
    accuracy = count_accuracy(np.array([0, 1, 1, 3]), np.array([0, 1, 3, 3]), classes=5)
    assert (accuracy.correct, accuracy.total, accuracy.top1) == (3, 4, 0.75)
    assert accuracy.class_top1 == (1.0, 1.0, None, 0.5, None)
    assert json.loads(json.dumps(accuracy.to_json()))["class_total"] == [1, 1, 0, 2, 0]


def test_counts_that_contradict_are_refused() -> None:
    with pytest.raises(ValueError, match="do not add up"):
        Accuracy(1, 2, (0, 0), (1, 1))
    with pytest.raises(ValueError, match="at least one"):
        Accuracy(0, 0, (0,), (0,))


def test_paired_change_counts_the_discordant_samples() -> None:
    labels = [0, 1, 2, 0, 1]
    change = paired(predictions([0, 1, 0, 1, 0], labels), predictions([0, 0, 2, 0, 0], labels))
    assert (change.gained, change.lost, change.total) == (2, 1, 5)
    assert change.change == pytest.approx(0.2, abs=1e-12)
    assert json.loads(json.dumps(change.to_json()))["gained"] == 2


def test_paired_interval_covers_the_true_change_about_95_percent_of_the_time() -> None:
    generator = np.random.default_rng(5)
    gain, loss = 0.05, 0.02
    covered = 0
    for _ in range(2000):
        gained, lost, _ = generator.multinomial(300, [gain, loss, 1 - gain - loss])
        low, high = PairedChange(int(gained), int(lost), 300).interval
        covered += low <= gain - loss <= high
    assert 0.93 < covered / 2000 < 0.98


def test_paired_interval_stays_open_without_discordant_samples_and_within_bounds() -> None:
    low, high = PairedChange(0, 0, 50).interval
    assert -0.1 < low < 0 < high < 0.1
    assert PairedChange(0, 5, 5).interval[0] >= -1
    assert PairedChange(10, 2, 90).interval[0] == pytest.approx(-PairedChange(2, 10, 90).interval[1], abs=1e-12)


def test_paired_is_narrower_than_separate_intervals() -> None:
    low, high = PairedChange(10, 30, 1000).interval
    alone = wilson(850, 1000)
    assert high - low < alone[1] - alone[0]


def test_paired_refuses_missing_or_other_labels() -> None:
    with refused("no-labels"):
        paired(predictions([0], None), predictions([0], [0]))
    with pytest.raises(ValueError, match="different samples"):
        paired(predictions([0], [1]), predictions([0], [0]))


@pytest.mark.parametrize(
    ("correct", "total", "classes", "verdict"),
    [
        (980, 10_000, 10, True),
        (1, 10, 10, True),
        (0, 5, 10, True),
        (8_755, 10_000, 10, False),
        (6, 10, 10, False),
        (500, 1000, 2, True),
        (650, 1000, 2, False),
        (2, 2, 2, False),
        (3, 1000, 1000, True),
        (50, 1000, 1000, False),
    ],
)
def test_near_chance(correct: int, total: int, classes: int, verdict: bool) -> None:
    assert is_near_chance_level(plain(correct, total, classes)) is verdict


def test_chance_message_names_causes_and_options() -> None:
    message = chance_level_message(plain(98, 1000))
    for part in ("98 of 1000", "9.8 %", "10.0 %", "--labels", "--preprocess auto", "--mean", "--channel-order bgr"):
        assert part in message


def test_silent_track_passes_items_through() -> None:
    items = [[1, 2], [3]]
    assert list(silent(items, total=3, what="testing")) == items
