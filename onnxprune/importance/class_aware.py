"""Class-aware pruning: filters that matter for few classes go.

After Jiang et al., "Class-Aware Pruning for Efficient Neural Networks", DATE 2024, in a
forward-only form, which needs no gradient, or by the gradient as the authors have it; docs/methods/class-aware.md says
what the paper states and what is our reading.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from onnxprune.importance.elimination import elimination_scores
from onnxprune.importance.method import Method, Setting, over_layers, register
from onnxprune.importance.notes import class_notes, unmeasured_note
from onnxprune.values.axes import FloatArray
from onnxprune.values.groups import ChannelGroup
from onnxprune.values.statistics import GRADIENT_WINS, MOMENTS, Scores, Statistics

WINS = "class wins"
COUNTED = {"forward": WINS, "gradient": GRADIENT_WINS}


def class_aware_scores(
    groups: Sequence[ChannelGroup], statistics: Statistics, options: Mapping[str, Any], rng: np.random.Generator
) -> Scores:
    """Score all groups by the number of classes that a channel matters for, as a multiple of the threshold.

    A channel's number of classes is max_p sum_c sbar_c[p], the share of a class's images for which it is active at
    position p (`forward`) or for which activation times gradient is not 0 there (`gradient`), summed over the classes
    first. A score below 1 is below the threshold. A channel made by several layers gets the mean over them. Between
    channels that reach as many times the threshold the loss decides at which `elimination` would take them.
    """
    threshold = options["threshold"] * max(1, len(statistics.present))
    counted = COUNTED[options["score"]]
    counts = {name: layer.values[counted][0] for name, layer in statistics.layers.items()}
    losses = elimination_scores(groups, statistics.consumers, lambda consumer: consumer.relative)
    values, unmeasured = {}, []
    for group in groups:
        count = over_layers(group, counts)
        if count is None:
            unmeasured.append(group.name)
            count = np.full(group.size, float(len(statistics.present)))
        values[group.name] = times_threshold(count / threshold)
    return Scores(values, losses.values, (*class_notes(statistics), *unmeasured_note(unmeasured)))


def times_threshold(share: FloatArray) -> FloatArray:
    """Return scores, [channels], from counts of classes as shares of the threshold.

    Channels below it go by their counts, lowest first. Above it counts tell little, as most channels are active
    somewhere for most classes, so that only whole multiples of the threshold tell channels apart.
    """
    share = np.round(share, 12)
    return np.where(share < 1, share, np.floor(share))


register(
    Method(
        name="class-aware",
        summary="Filters that matter for few classes go.",
        formula="s_j = max_p sum_c sbar_c[j,p] / (threshold * C), sbar the share of a class's images active at p, or "
        "with a * g != 0 there",
        source="Jiang et al. 2024, arXiv 2312.05875 (score stated; forward-only form, threshold and cap our reading)",
        cost="one pass over the data, one number per channel and position leaves the runtime per call; and what "
        "reconstruction takes",
        needs=lambda options: frozenset({COUNTED[options["score"]], MOMENTS}),
        score=class_aware_scores,
        options={
            "threshold": Setting(0.3, "share of the classes that a filter has to matter for", low=1e-4, high=1.0),
            "score": Setting(
                "forward",
                "whether a channel counts where it is active, or where the gradient of the loss reaches it (torch)",
                choices=tuple(COUNTED),
            ),
            "cap": Setting(0.1, "most of all channels that the threshold removes in one run", low=0.0, high=1.0),
        },
        threshold=1.0,
        cap=lambda options: float(options["cap"]),
    )
)
