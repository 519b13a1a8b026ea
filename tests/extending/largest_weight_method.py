"""An importance method of another package: the largest absolute weight that makes a channel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.method import Method
from onnxprune.importance.relative import score_by_layer
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import WEIGHTS, Scores, Statistics


def scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by the largest weights of their layers, each layer relative to its own mean."""
    largest = {name: np.abs(layer.weight_rows).max(axis=1) for name, layer in statistics.weighted.items()}
    return score_by_layer(groups, largest)


METHOD = Method(
    name="largest-weight",
    summary="The largest absolute weight that makes a channel.",
    formula="s_j = max_k abs(W[j,k]) / mean_j of the same",
    source="an example",
    cost="reads the model alone",
    needs=lambda options: frozenset({WEIGHTS}),
    score=scores,
)
