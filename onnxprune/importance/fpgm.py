"""Distance to the geometric median: filters near it are what the others can replace. A baseline that needs no data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.spatial.distance import cdist

from onnxprune.importance.method import Method, register
from onnxprune.importance.relative import score_by_layer
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import WEIGHTS, Scores, Statistics


def total_distances(rows: FloatArray) -> FloatArray:
    """Return the sum of the Euclidean distances of every row of [channels, weights] to all rows."""
    return np.asarray(cdist(rows, rows).sum(axis=1))


def fpgm_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by how far their layers' filters lie from the others, each layer relative to its own mean."""
    layers = statistics.weighted.items()
    return score_by_layer(groups, {name: total_distances(layer.weight_rows) for name, layer in layers})


register(
    Method(
        name="fpgm",
        summary="The distance of a channel's weights to those of the others: near the geometric median goes first.",
        formula="s_j = sum_i |W[j] - W[i]|_2 / mean_j of the same",
        source="He et al. 2019, arXiv 1811.00250",
        cost="reads the model alone; quadratic in the channels of a layer",
        needs=lambda options: frozenset({WEIGHTS}),
        score=fpgm_scores,
    )
)
