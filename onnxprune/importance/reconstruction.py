"""Backward elimination by the reconstruction loss of the consumer layers: what they make up for best goes first.

Losses count relative to the standard deviation of the tensor in which the error of the layer shows, and add up over all
consumer layers of a group, see `elimination`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.elimination import elimination_scores
from onnxprune.importance.method import Method, register
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import MOMENTS, Scores, Statistics


def reconstruction_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by the reconstruction loss at which a channel would go."""
    return elimination_scores(groups, statistics.consumers, lambda consumer: consumer.relative)


register(
    Method(
        name="reconstruction",
        summary="The reconstruction loss of the consumer layers that make up for the channel by least squares.",
        formula="s_c = tr(W_c' (inv(H)_cc)^-1 W_c), H the covariance of what these read; greedy, backward",
        source="our own, after optimal brain surgeon (Hassibi & Stork 1993) on whole channels",
        cost="one pass over the data, all inputs of the readers leave the runtime; cubic in the inputs of a layer",
        needs=lambda options: frozenset({MOMENTS}),
        score=reconstruction_scores,
    )
)
