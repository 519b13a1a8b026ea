"""Which channels stay: by score, then by tie-break, then the lower index."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxprune.selection.masks import keep_best, ranking
from onnxprune.values.statistics import Scores


def test_the_best_scores_stay() -> None:
    masks = keep_best(Scores({"g": np.array([0.3, 0.9, 0.1, 0.5])}), {"g": 2})
    assert masks["g"].tolist() == [False, True, False, True]


def test_equal_scores_are_decided_by_the_tie_break() -> None:
    scores = Scores({"g": np.array([1.0, 1.0, 1.0, 2.0])}, {"g": np.array([0.1, 0.3, 0.2, 0.0])})
    assert ranking(scores, "g").tolist() == [3, 1, 2, 0]
    assert keep_best(scores, {"g": 2})["g"].tolist() == [False, True, False, True]


def test_equal_tie_breaks_are_decided_by_the_lower_index() -> None:
    assert keep_best(Scores({"g": np.ones(5)}, {"g": np.ones(5)}), {"g": 2})["g"].tolist() == [True, True] + [False] * 3
    assert keep_best(Scores({"g": np.ones(5)}), {"g": 3})["g"].tolist() == [True, True, True, False, False]


def test_masks_are_read_only() -> None:
    mask = keep_best(Scores({"g": np.ones(3)}), {"g": 1})["g"]
    with pytest.raises(ValueError, match="read-only"):
        mask[0] = False


@given(values=st.lists(st.integers(0, 4), min_size=1, max_size=20), share=st.floats(0, 1))
def test_no_removed_channel_beats_a_kept_one(values: list[int], share: float) -> None:
    score = np.array(values, dtype=np.float64)
    count = round(share * len(values))
    mask = keep_best(Scores({"g": score}), {"g": count})["g"]
    assert mask.sum() == count
    if 0 < count < len(values):
        assert score[mask].min() >= score[~mask].max()
