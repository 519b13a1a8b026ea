"""What is foreseen of a cut: near the truth from few samples, and nearer than counting them."""

import numpy as np
import pytest

from onnxprune.evaluation.foresight import Margins, foresee
from onnxprune.evaluation.top1 import Predictions


def said(margins: Margins) -> Predictions:
    labels = np.zeros(len(margins), dtype=np.int64)
    return Predictions("y", 2, (margins <= 0).astype(np.int64), labels, None, margins)


def test_a_model_that_says_the_same_loses_nothing() -> None:
    margins = np.random.default_rng(0).normal(2, 2, size=200)
    found = foresee(margins, said(margins[:40]), said(margins[:40]))
    assert (found.lost, found.gained) == (0.0, 0.0)


def test_it_is_nearer_to_the_truth_than_counting() -> None:
    """Margins shrink and scatter: of many draws of 40 samples that judge, against a million samples."""
    rng = np.random.default_rng(0)
    before = rng.normal(2, 2, size=1_000_000)
    after = 0.9 * before - 0.1 + rng.normal(0, 0.5, size=len(before))
    lost = np.mean((before > 0) & (after <= 0))
    gained = np.mean((before <= 0) & (after > 0))
    foreseen, counted = [], []
    for _ in range(100):
        rows = rng.integers(len(before), size=200)
        judge = rows[:40]
        found = foresee(before[rows], said(before[judge]), said(after[judge]))
        foreseen.append(found.lost - found.gained)
        counted.append(
            np.mean((before[judge] > 0) & (after[judge] <= 0)) - np.mean((before[judge] <= 0) & (after[judge] > 0))
        )
    truth = lost - gained
    assert np.mean(foreseen) == pytest.approx(truth, abs=0.005)
    assert np.std(foreseen) < 0.5 * np.std(counted)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_handful_of_samples_is_taken_as_it_is(count: int) -> None:
    margins = np.linspace(-1, 9, 20)
    found = foresee(margins, said(margins[:count]), said(margins[:count] - 3))
    expected = np.mean((margins > 0) & (margins <= 3)) if count else 1.0
    assert found.lost == pytest.approx(expected)
    assert found.gained == 0.0
