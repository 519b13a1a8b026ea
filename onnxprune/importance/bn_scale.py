"""The scale of the batch normalisation behind a layer: a baseline that needs no data, but a normalisation as a node."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.errors import InputError
from onnxprune.importance.method import Method, register
from onnxprune.importance.relative import score_by_layer
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import BN_SCALE, Scores, Statistics


def bn_scale_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by |gamma|; a group without a normalisation as a node is neither favoured nor blamed.

    Raises:
        InputError: the model has no batch normalisation as a node at all.
    """
    scales = {
        name: np.abs(layer.values[BN_SCALE][0]) for name, layer in statistics.layers.items() if BN_SCALE in layer.values
    }
    if not scales:
        raise InputError(
            "Method bn-scale needs BatchNormalization nodes and this model has none behind its layers (exporters fold "
            "them into the weights); choose another method, such as l2.",
            "wrong-method",
        )
    return score_by_layer(groups, scales)


register(
    Method(
        name="bn-scale",
        summary="The scale of the batch normalisation behind a layer, where it is a node.",
        formula="s_j = abs(gamma_j) / mean_j of the same",
        source="Liu et al. 2017, arXiv 1708.06519 (the criterion; no sparse training here)",
        cost="reads the model alone",
        needs=lambda options: frozenset({BN_SCALE}),
        score=bn_scale_scores,
    )
)
