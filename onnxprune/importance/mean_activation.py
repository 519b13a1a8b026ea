"""Mean absolute activation: channels that say little go first."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.method import Method, register
from onnxprune.importance.relative import score_by_layer
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores, Statistics

MAGNITUDE = "mean magnitude"


def mean_activation_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by their mean absolute activation over all images and positions."""
    samples = statistics.samples
    weights = samples / max(1, int(samples.sum()))
    layers = statistics.layers.items()
    return score_by_layer(groups, {name: weights @ layer.values[MAGNITUDE] for name, layer in layers})


register(
    Method(
        name="mean-activation",
        summary="The mean absolute activation.",
        formula="s_j = mean abs(x_j) / mean_j of the same",
        source="Molchanov et al. 2017, arXiv 1611.06440 (one of its baselines)",
        cost="one pass over the data; one number per image and channel leaves the runtime",
        needs=lambda options: frozenset({MAGNITUDE}),
        score=mean_activation_scores,
    )
)
