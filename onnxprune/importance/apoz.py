"""Average percentage of zeros: channels that are silent most of the time go first."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.method import Method, register
from onnxprune.importance.relative import score_by_layer
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores, Statistics

ACTIVE = "active share"


def apoz_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by the share of values that are not zero, over all images and positions."""
    samples = statistics.samples
    weights = samples / max(1, int(samples.sum()))
    return score_by_layer(groups, {name: weights @ layer.values[ACTIVE] for name, layer in statistics.layers.items()})


register(
    Method(
        name="apoz",
        summary="The share of values that are not zero.",
        formula="s_j = (1 - APoZ_j) / mean_j of the same",
        source="Hu et al. 2016, arXiv 1607.03250",
        cost="one pass over the data; one number per image and channel leaves the runtime",
        needs=lambda options: frozenset({ACTIVE}),
        score=apoz_scores,
    )
)
