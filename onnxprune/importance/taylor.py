"""First-order Taylor expansion of the loss: what it would be without a channel."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.method import Method, over_layers, register
from onnxprune.importance.notes import class_notes, unmeasured_note
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import TAYLOR, Scores, Statistics


def taylor_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by mean |mean_p a * g|, over classes and images, each layer's scores scaled to the norm 1.

    A channel made by several layers gets the mean over them.
    """
    present = statistics.present
    scaled = {}
    for name, layer in statistics.layers.items():
        if TAYLOR in layer.values:
            score = layer.values[TAYLOR][present].mean(axis=0)
            norm = np.linalg.norm(score)
            scaled[name] = score / norm if norm else score
    values, unmeasured = {}, []
    for group in groups:
        found = over_layers(group, scaled)
        if found is None:
            unmeasured.append(group.name)
        values[group.name] = np.full(group.size, group.size**-0.5) if found is None else found
    return Scores(values, notes=(*class_notes(statistics), *unmeasured_note(unmeasured)))


register(
    Method(
        name="taylor",
        summary="Channels whose absence would change the loss least, by its gradient.",
        formula="s_j = mean over classes and images of |mean_p a_j * dL/da_j|, scaled to norm 1 in each layer",
        source="Molchanov et al., ICLR 2017, arXiv 1611.06440",
        cost="one pass forwards and one backwards over the labelled data; needs torch",
        needs=lambda options: frozenset({TAYLOR}),
        score=taylor_scores,
    )
)
