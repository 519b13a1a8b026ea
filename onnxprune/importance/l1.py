"""The L1 norm of the weights that make a channel: a baseline that needs no data."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.method import Method, register
from onnxprune.importance.relative import score_by_layer
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import WEIGHTS, Scores, Statistics


def norms(rows: FloatArray) -> FloatArray:
    """Return the norm of every row of [channels, weights of a channel]."""
    return np.asarray(np.abs(np.asarray(rows, dtype=np.float64)).sum(axis=1))


def l1_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by the norms of their layers' weights, each layer relative to its own mean."""
    return score_by_layer(groups, {name: norms(layer.weight_rows) for name, layer in statistics.weighted.items()})


register(
    Method(
        name="l1",
        summary="The sum of the absolute weights that make a channel.",
        formula="s_j = sum_k abs(W[j,k]) / mean_j of the same",
        source="Li et al. 2017, arXiv 1608.08710",
        cost="reads the model alone",
        needs=lambda options: frozenset({WEIGHTS}),
        score=l1_scores,
    )
)
