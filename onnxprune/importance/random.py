"""Random scores: the baseline that every criterion has to beat."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.method import Method, register
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import Scores, Statistics


def random_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Return uniform random scores in [0, 1), drawn group by group."""
    return Scores({group.name: rng.random(group.size) for group in groups})


register(
    Method(
        name="random",
        summary="Random scores: the baseline that every criterion has to beat.",
        formula="s ~ U[0, 1)",
        source="none",
        cost="nothing",
        needs=lambda options: frozenset(),
        score=random_scores,
    )
)
