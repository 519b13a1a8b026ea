"""Groups of channels without a network, and what methods score them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from onnxprune.importance.method import find_method
from onnxprune.values.axes import Axis, Ref
from onnxprune.values.groups import ChannelGroup, Member
from onnxprune.values.statistics import Scores, Statistics


def group(*layers: str, size: int) -> ChannelGroup:
    """Return a group of layers that are added up."""
    positions = np.arange(size)[:, None]
    return ChannelGroup(layers[0], size, tuple(Member(Axis(Ref(x), 1), positions, "produces") for x in layers), layers)


def scored_by(method: str, groups: Sequence[ChannelGroup], statistics: Statistics, **options: Any) -> Scores:
    """Score by a method with its options."""
    chosen = find_method(method)
    return chosen.score(groups, statistics, chosen.settle(options), np.random.default_rng(0))
