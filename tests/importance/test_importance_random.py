"""The random baseline."""

import numpy as np

from onnxprune.importance.method import find_method
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Statistics

GROUPS = [ChannelGroup("a", 50, (), ("a",)), ChannelGroup("b", 70, (), ("b",))]


def draw(seed: int) -> dict[str, FloatArray]:
    method = find_method("random")
    empty = Statistics({}, np.zeros(0, dtype=np.int64))
    return dict(method.score(GROUPS, empty, method.settle({}), np.random.default_rng(seed)).values)


def test_the_same_seed_gives_the_same_scores() -> None:
    for name, values in draw(3).items():
        assert np.array_equal(values, draw(3)[name])


def test_another_seed_gives_other_scores() -> None:
    assert not np.array_equal(draw(3)["a"], draw(4)["a"])


def test_scores_are_in_range_and_groups_are_drawn_apart() -> None:
    values = draw(0)
    assert {name: len(score) for name, score in values.items()} == {"a": 50, "b": 70}
    together = np.concatenate(list(values.values()))
    assert ((together >= 0) & (together < 1)).all()
    assert len(np.unique(together)) == 120


def test_the_baseline_needs_no_data_and_only_ranks() -> None:
    method = find_method("random")
    assert method.needs({}) == frozenset()
    assert method.threshold is None
